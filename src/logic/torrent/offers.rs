//! Super-seeding: sends what [`SuperSeed`] offers, and tells it what becomes of it.

use super::{Action, Notice, Timer, Torrent};
use crate::logic::PeerKey;
use crate::logic::superseed::SuperSeed;
use crate::proto::geometry::{BlockRef, PieceIndex};
use crate::proto::wire::Message;
use std::time::{Duration, Instant};

/// What happens together is looked at together, before the next pieces are offered.
const OFFER_DELAY: Duration = Duration::from_millis(100);

/// A newcomer has so long to tell what it has, before it is offered anything.
const HEARING: Duration = Duration::from_secs(1);

impl Torrent {
    /// Begins to super-seed, if that is wished and all is here. Those who know us as a seed part.
    pub(super) fn begin_super_seed(&mut self, now: Instant) {
        if !self.config.super_seeder || !self.ledger.is_complete() || self.super_seed.is_some() {
            return;
        }
        self.super_seed = Some(SuperSeed::new(self.geometry.piece_count()));
        self.actions.push_back(Action::Report(Notice::SuperSeeding));
        for key in self.open_keys() {
            self.close(key, now);
        }
    }

    /// A peer has come that will be offered something.
    pub(super) fn on_guest(&mut self, now: Instant) {
        if self.super_seed.is_some() {
            self.offer_by(now + HEARING);
        }
    }

    /// A peer has got a piece, maybe one it was offered, or from one who was.
    pub(super) fn on_spread(&mut self, key: PeerKey, piece: PieceIndex, now: Instant) {
        if self.super_seed.is_none() {
            return;
        }
        let lacks =
            |(k, s): (PeerKey, &crate::logic::peer::Session)| k != key && !s.have.get(piece.get());
        let spread = !self.sessions().any(lacks);
        if let Some(super_seed) = &mut self.super_seed {
            super_seed.on_have(key, piece, spread);
        }
        self.offer_by(now + OFFER_DELAY);
    }

    /// A block has left: perhaps the last one of what the peer was offered.
    pub(super) fn note_offer_sent(&mut self, key: PeerKey, block: BlockRef, now: Instant) {
        let Some(super_seed) = &mut self.super_seed else { return };
        let (piece, size) = (block.piece(), self.geometry.piece_size(block.piece()));
        if super_seed.on_sent(key, piece, block.length(), size) {
            self.on_spread(key, piece, now);
        }
    }

    /// Offers to everybody what he is due.
    pub(super) fn offer_all(&mut self, now: Instant) {
        let Some(mut super_seed) = self.super_seed.take() else { return };
        super_seed.expire(now);
        for key in self.open_keys() {
            while let Some(piece) = self.offer(&mut super_seed, key, now) {
                self.say(key, Message::Have(piece), now);
            }
        }
        let deadline = super_seed.next_deadline();
        self.super_seed = Some(super_seed);
        if let Some(at) = deadline {
            self.offer_by(at);
        }
    }

    fn offer(
        &mut self,
        super_seed: &mut SuperSeed,
        key: PeerKey,
        now: Instant,
    ) -> Option<PieceIndex> {
        let session = self.peers.get(&key)?.session()?;
        let availability = |piece| self.picker.availability(piece);
        let rng = &mut self.rng;
        super_seed.next_offer(key, &session.have, availability, &self.geometry, now, rng)
    }

    fn offer_by(&mut self, at: Instant) {
        if self.timers.get(Timer::Offer).is_none_or(|set| set > at) {
            self.timers.set(Timer::Offer, at);
        }
    }
}
