//! What a seed sends first: what nobody else has.
//!
//! Until every piece is somewhere else too, the seed's uplink is what the whole swarm waits for,
//! and a piece sent twice is one that others could have passed on. So as a seed we serve a peer's
//! requests for pieces that nobody has, and that we are not sending to another, before its others;
//! and a peer that asks for copies alone waits while others ask for first ones, though not for
//! long. A peer with a piece of its own gets all of it.

use super::{Timer, Torrent};
use crate::logic::PeerKey;
use crate::proto::geometry::{BlockRef, PieceIndex};
use crate::proto::sorted;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Who waits is looked at again this often.
const LOOK: Duration = Duration::from_millis(100);

/// A peer waits so long at most, and then is served for as long in any case.
const PATIENCE: Duration = Duration::from_secs(10);

/// Nobody waits for a peer that has taken nothing for so long.
const STUCK: Duration = Duration::from_secs(2);

/// Who gets which first copy.
#[derive(Debug, Default)]
pub(super) struct Spread {
    /// Pieces that nobody has, and the peer we are sending them to.
    owners: sorted::Map<PieceIndex, PeerKey>,
    /// Peers that wait.
    held: sorted::Set<PeerKey>,
}

impl Torrent {
    /// The peer's next request, taken out of its queue; `None` if it has none, or waits.
    pub(super) fn next_upload(&mut self, key: PeerKey, now: Instant) -> Option<BlockRef> {
        // A super-seed has chosen by what it offers.
        let spreads =
            self.ledger.is_complete() && self.super_seed.is_none() && self.picker.unspread() > 0;
        if spreads && !self.bring_first_forward(key) && self.must_wait(key, now) {
            self.spread.held.insert(key);
            self.timers.set(Timer::Spread, now + LOOK);
            return None;
        }
        let block = self.session(key)?.uploads.pop_front()?;
        if spreads && !self.picker.is_spread(block.piece()) && self.is_first(key, block.piece()) {
            self.spread.owners.insert(block.piece(), key);
        }
        if self.session(key).is_some_and(|s| s.uploads.is_empty()) {
            self.release_held();
        }
        Some(block)
    }

    /// Those who wait may try again.
    pub(super) fn release_held(&mut self) {
        for key in std::mem::take(&mut self.spread.held) {
            self.enter_round(key);
        }
    }

    /// Whether sending of this piece to this peer makes a first copy.
    fn is_first(&self, key: PeerKey, piece: PieceIndex) -> bool {
        !self.picker.is_spread(piece)
            && self.spread.owners.get(&piece).is_none_or(|owner| {
                let other = self.peers.get(owner).and_then(|p| p.session());
                *owner == key || other.is_none_or(|s| s.choking)
            })
    }

    /// The first of a peer's requests that makes a first copy. Those for one piece mostly follow each
    /// other, and the answer is the same for all of them: asked for each, this is most of what a
    /// seed of many peers does.
    fn first_copy(&self, key: PeerKey, requests: &VecDeque<BlockRef>) -> Option<usize> {
        let mut last = None;
        requests.iter().position(|block| {
            let piece = block.piece();
            last.replace(piece) != Some(piece) && self.is_first(key, piece)
        })
    }

    /// Puts requests for a first copy at the head of the peer's queue; false if there are none.
    fn bring_first_forward(&mut self, key: PeerKey) -> bool {
        let Some(session) = self.peers.get(&key).and_then(|p| p.session()) else { return false };
        let Some(first) = self.first_copy(key, &session.uploads) else { return false };
        let Some(session) = self.session(key) else { return false };
        if first > 0 {
            let piece = session.uploads[first].piece();
            let queue = std::mem::take(&mut session.uploads);
            let (firsts, others): (Vec<BlockRef>, Vec<BlockRef>) =
                queue.into_iter().partition(|block| block.piece() == piece);
            session.uploads = firsts.into_iter().chain(others).collect();
        }
        session.held_since = None;
        true
    }

    /// Whether a peer that asks for copies alone gives way to others.
    fn must_wait(&mut self, key: PeerKey, now: Instant) -> bool {
        let wanted = self.sessions().any(|(other, session)| {
            other != key
                && !session.choking
                && !session.is_deaf(STUCK, now)
                && self.first_copy(other, &session.uploads).is_some()
        });
        let Some(session) = self.session(key) else { return false };
        let since = *session.held_since.get_or_insert(now);
        let waited = now.saturating_duration_since(since);
        if waited >= 2 * PATIENCE {
            session.held_since = Some(now);
        }
        wanted && (waited < PATIENCE || waited >= 2 * PATIENCE)
    }
}
