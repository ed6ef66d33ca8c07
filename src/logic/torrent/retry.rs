//! Bad pieces that are fetched again from one peer alone: it must not hold them up.

use super::{Timer, Torrent};
use crate::logic::PeerKey;
use crate::proto::geometry::PieceIndex;
use crate::proto::sorted;
use crate::proto::wire::Message;
use std::time::{Duration, Instant};

/// How often the retries are looked at while there are any.
const LOOK: Duration = Duration::from_secs(5);

/// A peer has so long to bring a piece of which it has the retry, and
const LONGEST: Duration = Duration::from_secs(60);

/// so long, in nanoseconds, for each byte: 100 kB a second.
const NANOS_PER_BYTE: u64 = 10_000;

/// Who is so many times slower than one that has nothing to do gives its retry up to it.
const MUCH_SLOWER: f64 = 2.0;

/// Since when who has the retry of a piece.
pub(super) type Retries = sorted::Map<PieceIndex, (PeerKey, Instant)>;

impl Torrent {
    /// There may be a retry now.
    pub(super) fn watch_retries(&mut self, now: Instant) {
        if self.timers.get(Timer::Retries).is_none() {
            self.timers.set(Timer::Retries, now + LOOK);
        }
    }

    /// Takes retries away from peers that took too long, if somebody else could do better.
    pub(super) fn look_at_retries(&mut self, now: Instant) {
        let owners: Vec<(PieceIndex, Option<PeerKey>)> = self.ledger.exclusives().collect();
        let mut retries = Retries::new();
        for (piece, owner) in &owners {
            let Some(owner) = *owner else { continue };
            let known = self.retries.get(piece).filter(|(who, _)| *who == owner);
            let since = known.map_or(now, |(_, since)| *since);
            let size = u64::from(self.geometry.piece_size(*piece));
            let limit = LONGEST + Duration::from_nanos(size * NANOS_PER_BYTE);
            if now.saturating_duration_since(since) >= limit && self.has_other(*piece, owner) {
                self.take_away(*piece, owner, now);
            } else {
                retries.insert(*piece, (owner, since));
            }
        }
        self.retries = retries;
        if !owners.is_empty() {
            self.watch_retries(now);
        }
    }

    /// A peer that has nothing to do may have the retry that a much slower one has. Whether there
    /// was such a one.
    pub(super) fn relieve(&mut self, key: PeerKey, now: Instant) -> bool {
        let Some(session) = self.peers.get(&key).and_then(|p| p.session()) else { return false };
        if session.choked || session.snubbed || !session.asked.is_empty() {
            return false;
        }
        let rate = session.down.rate(now);
        let is_slow = |owner: PeerKey| {
            let session = self.peers.get(&owner).and_then(|p| p.session());
            owner != key && session.is_none_or(|s| s.down.rate(now) * MUCH_SLOWER < rate)
        };
        let retry = self.ledger.exclusives().find_map(|(piece, owner)| {
            let owner = owner.filter(|owner| is_slow(*owner))?;
            session.have.get(piece.get()).then_some((piece, owner))
        });
        let Some((piece, owner)) = retry else { return false };
        self.disown(piece, owner, now);
        true
    }

    fn disown(&mut self, piece: PieceIndex, owner: PeerKey, now: Instant) {
        self.ledger.disown(piece);
        let Some(session) = self.session(owner) else { return };
        let gone = session.drop_asked(|block| block.piece() == piece);
        self.not_coming(&gone, now);
        for block in gone {
            self.say(owner, Message::Cancel(block), now);
        }
    }

    fn has_other(&self, piece: PieceIndex, owner: PeerKey) -> bool {
        self.sessions().any(|(key, s)| key != owner && !s.choked && s.have.get(piece.get()))
    }

    fn take_away(&mut self, piece: PieceIndex, owner: PeerKey, now: Instant) {
        self.disown(piece, owner, now);
        // The others first: one of them is to have it.
        for key in self.open_keys().into_iter().filter(|key| *key != owner) {
            self.ask(key, now);
        }
        self.ask(owner, now);
    }
}
