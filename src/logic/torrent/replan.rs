//! Requests that wait at a peer for a piece that others have by now.
//!
//! Who has everything should give what nobody else has. Several of its peers may choose the same
//! rare piece, for each of them learns only from a `have` that another has got it; by then its
//! own requests may still wait in the queue. They are taken back then, and what is rarer is asked
//! for instead: the piece will be had from those who have it.

use super::Torrent;
use crate::logic::PeerKey;
use crate::logic::ledger::PieceState;
use crate::proto::geometry::PieceIndex;
use crate::proto::wire::Message;
use std::time::{Duration, Instant};

/// Requests among the first so many at a peer are not taken back: they may be on their way.
const SOON: usize = 4;

/// Unless nothing came from the peer for so long.
const SILENT: Duration = Duration::from_millis(500);

impl Torrent {
    /// Another peer has got `piece`.
    pub(super) fn replan(&mut self, piece: PieceIndex, now: Instant) {
        if self.ledger.state(piece) != PieceState::Partial {
            return;
        }
        let Some(peer) = self.ledger.lead(piece) else { return };
        if !self.waits_at_seed(peer, piece, now) || !self.has_rarer(peer, piece) {
            return;
        }
        let Some(session) = self.session(peer) else { return };
        let blocks = session.drop_asked(|block| block.piece() == piece);
        self.not_coming(&blocks, now);
        for block in blocks {
            self.ledger.unask(block, peer);
            self.say(peer, Message::Cancel(block), now);
        }
        self.ask(peer, now);
    }

    /// Whether a seed was asked for all of a piece, and none of it has come or comes soon.
    fn waits_at_seed(&self, peer: PeerKey, piece: PieceIndex, now: Instant) -> bool {
        let Some(session) = self.peers.get(&peer).and_then(|p| p.session()) else { return false };
        let mut asked = session.asked.iter().map(|block| block.piece() == piece);
        let Some(first) = asked.position(|is_of_piece| is_of_piece) else { return false };
        let count = 1 + asked.filter(|is_of_piece| *is_of_piece).count();
        let soon = first < SOON && now < session.waiting_since + SILENT;
        session.is_seed() && !soon && count == self.geometry.block_count(piece) as usize
    }

    /// Whether a peer has a rarer piece that could be asked for.
    fn has_rarer(&mut self, peer: PeerKey, piece: PieceIndex) -> bool {
        let Some(session) = self.peers.get(&peer).and_then(|p| p.session()) else { return false };
        let Some(offers) = session.offers() else { return false };
        let mut found = Vec::new();
        self.picker.pick(&self.ledger, &offers, peer, 1, &mut self.rng, &mut found);
        let limit = self.picker.availability(piece);
        found.first().is_some_and(|block| self.picker.availability(block.piece()) < limit)
    }
}
