//! What the disk is found to hold or to have lost, and what it refuses.

use super::{Action, Torrent};
use crate::logic::PeerKey;
use crate::logic::ledger::{PieceState, Received};
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::{BlockRef, PieceIndex};
use crate::proto::wire::Message;
use std::time::Instant;

impl Torrent {
    /// Blocks of unfinished pieces lie on the disk, left there by an earlier run. They count when
    /// their piece is whole and has its hash, and nobody is blamed if it has not.
    pub fn on_found(&mut self, blocks: impl IntoIterator<Item = BlockRef>) {
        for block in blocks {
            if let Received::New { piece_full: true } = self.ledger.found(block) {
                self.actions.push_back(Action::Verify(block.piece()));
            }
        }
    }

    /// The blocks that came of pieces that are not had, one bit a block. They may still be on
    /// their way to the disk.
    pub fn received(&self) -> impl Iterator<Item = (PieceIndex, Bitfield)> + '_ {
        self.ledger.received()
    }

    /// A block could not be written: it is to be fetched again.
    pub fn on_unwritten(&mut self, block: BlockRef, now: Instant) {
        self.ledger.write_failed(block);
        self.ask_all(now);
    }

    /// The disk takes nothing now: nothing is asked of anybody until [`Torrent::go_on`]. What is
    /// had is still given.
    pub fn hold(&mut self, now: Instant) {
        if std::mem::replace(&mut self.held, true) {
            return;
        }
        self.take_back_requests(now);
    }

    /// What was asked for and has not come is not wanted now.
    pub(super) fn take_back_requests(&mut self, now: Instant) {
        for key in self.open_keys() {
            let Some(session) = self.session(key) else { continue };
            let asked = std::mem::take(&mut session.asked);
            self.not_coming(&asked, now);
            for block in asked {
                self.ledger.unask(block, key);
                self.say(key, Message::Cancel(block), now);
            }
        }
        self.abandon_all(now);
    }

    /// The disk takes something again.
    pub fn go_on(&mut self, now: Instant) {
        self.held = false;
        self.ask_all(now);
    }

    /// Whether nothing is asked of anybody, for whatever reason.
    pub(super) fn asks_nothing(&self) -> bool {
        self.ledger.is_done() || self.stopping || self.held || self.config.paused
    }

    /// All of a piece lies on the disk, as far as anybody knows, put there by somebody else. As
    /// [`Torrent::on_found`]; of a piece that has been begun, or is not wanted, nothing is
    /// believed: false.
    pub fn on_found_piece(&mut self, piece: PieceIndex) -> bool {
        let is_new = self.ledger.state(piece) == PieceState::Missing;
        if !is_new || !self.ledger.lacks(piece.get()) {
            return false;
        }
        let blocks = 0..self.geometry.block_count(piece);
        let blocks: Vec<_> = blocks.filter_map(|n| self.geometry.block(piece, n)).collect();
        self.on_found(blocks);
        true
    }

    /// A block handed on by `SendBlock` cannot be read: the peer is told so, in the words that it
    /// knows, and may ask again when it is unchoked the next time.
    pub fn on_unsent(&mut self, key: PeerKey, block: BlockRef, now: Instant) {
        let Some(session) = self.session(key) else { return };
        session.sending = session.sending.saturating_sub(1);
        if session.fast {
            return self.say(key, Message::Reject(block), now);
        }
        self.set_choking(key, true, now);
        self.rechoke_later(now);
    }

    /// Whether all of a piece was written, as far as is known, and its hash is awaited.
    pub fn is_checking(&self, piece: PieceIndex) -> bool {
        self.ledger.state(piece) == PieceState::Checking
    }

    /// The blocks of a piece that was to be hashed are not there any more.
    pub fn on_gone(&mut self, piece: PieceIndex, now: Instant) {
        self.ledger.verified(piece, false);
        self.ask_all(now);
    }

    /// What is on the disk of these pieces may be gone. Returns those that were had: they are to
    /// be hashed, and each told of by [`Torrent::on_checked_again`].
    pub fn doubt(
        &mut self,
        pieces: impl IntoIterator<Item = PieceIndex>,
        now: Instant,
    ) -> Vec<PieceIndex> {
        let was_done = self.ledger.is_done();
        let doubted: Vec<PieceIndex> =
            pieces.into_iter().filter(|piece| self.ledger.doubt(*piece)).collect();
        self.was_done |= was_done && !doubted.is_empty();
        for key in self.open_keys() {
            let Some(session) = self.peers.get_mut(&key).and_then(|p| p.session_mut()) else {
                continue;
            };
            session.useful = self.ledger.lacking_of(&session.have);
            let had = self.ledger.have();
            if session.uploads.iter().any(|block| !had.get(block.piece().get())) {
                // There is no word to take a `have` back by, but one to drop all requests.
                self.set_choking(key, true, now);
                self.rechoke_later(now);
            }
            self.tell_interest(key, now);
        }
        self.ask_all(now);
        doubted
    }

    /// A doubted piece was hashed. Nobody is blamed if it is bad: it was good when it came.
    pub fn on_checked_again(&mut self, piece: PieceIndex, good: bool, now: Instant) {
        if self.ledger.state(piece) != PieceState::Checking {
            return;
        }
        let lacked = self.ledger.lacks(piece.get());
        self.ledger.verified(piece, good);
        if !good {
            self.picker.lost(piece);
            if std::mem::take(&mut self.was_done) {
                // Those that were of no use to us are again.
                self.candidates.hurry(now);
            }
            return self.ask_all(now);
        }
        for key in self.open_keys() {
            let Some(session) = self.session(key) else { continue };
            if session.have.get(piece.get()) && lacked {
                session.useful -= 1;
                self.tell_interest(key, now);
            }
        }
        if self.ledger.is_done() && !std::mem::take(&mut self.was_done) {
            self.after_piece(false, now);
        }
    }

    /// All doubted pieces were hashed: who was choked meanwhile may come to its turn.
    pub fn on_check_over(&mut self, now: Instant) {
        self.rechoke_soon(now);
    }
}
