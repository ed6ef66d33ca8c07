//! Which pieces are wanted.
//!
//! Pieces may be unwanted ([`Ledger::set_wanted`]): they are never asked for and count for nothing
//! here. What came of them before is kept, for they may be wanted again.

use super::{Ledger, PieceState};
use crate::logic::PeerKey;
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::{BlockRef, PieceIndex};

impl Ledger {
    /// The pieces that are wanted, had or not.
    pub fn wanted(&self) -> &Bitfield {
        &self.wanted
    }

    /// Whether a piece is wanted and not had.
    pub fn lacks(&self, piece: u32) -> bool {
        self.wanted.get(piece) && !self.have.get(piece)
    }

    /// How many of these pieces are wanted and not had; one bit a piece.
    pub fn lacking_of(&self, pieces: &Bitfield) -> u32 {
        let ours = self.wanted.as_bytes().iter().zip(self.have.as_bytes());
        let all = pieces.as_bytes().iter().zip(ours);
        all.map(|(theirs, (wanted, have))| (theirs & wanted & !have).count_ones()).sum()
    }

    /// Whether every wanted piece is here and verified.
    pub fn is_done(&self) -> bool {
        self.left_wanted == 0
    }

    /// Bytes of all wanted pieces.
    pub fn total_wanted(&self) -> u64 {
        self.total_wanted
    }

    /// Bytes of wanted pieces not yet verified.
    pub fn left_wanted(&self) -> u64 {
        self.left_wanted
    }

    /// From now on these pieces are wanted and no others; one bit a piece. Returns what is not
    /// expected any more, and of whom.
    ///
    /// # Panics
    /// If `wanted` has not one bit a piece.
    pub fn set_wanted(&mut self, wanted: Bitfield) -> Vec<(PeerKey, BlockRef)> {
        assert_eq!(wanted.len(), self.geometry.piece_count(), "one bit a piece");
        let mut dropped = Vec::new();
        for piece in self.geometry.clone().pieces() {
            match (self.wanted.get(piece.get()), wanted.get(piece.get())) {
                (true, false) => self.put_off(piece, &mut dropped),
                (false, true) => self.take_up(piece),
                _ => {}
            }
        }
        dropped
    }

    fn put_off(&mut self, piece: PieceIndex, dropped: &mut Vec<(PeerKey, BlockRef)>) {
        let lacked = self.lacks(piece.get());
        for n in 0..self.geometry.block_count(piece) {
            let block = self.geometry.block(piece, n).expect("as many as the piece has");
            let askers: Vec<PeerKey> = self.asked_of(block).collect();
            for peer in askers {
                self.unask(block, peer);
                dropped.push((peer, block));
            }
        }
        self.free -= self.free_blocks_of(piece).count() as u64;
        self.wanted.set(piece.get(), false);
        let size = u64::from(self.geometry.piece_size(piece));
        self.total_wanted -= size;
        self.left_wanted -= if lacked { size } else { 0 };
        // The hash of a full one is on its way.
        if self.state(piece) == PieceState::Partial {
            if let Some(partial) = self.partials.remove(&piece) {
                self.parked.insert(piece, partial);
            }
        }
        self.touched(piece);
    }

    fn take_up(&mut self, piece: PieceIndex) {
        self.wanted.set(piece.get(), true);
        let size = u64::from(self.geometry.piece_size(piece));
        self.total_wanted += size;
        if let Some(partial) = self.parked.remove(&piece) {
            self.partials.insert(piece, partial);
        }
        if self.lacks(piece.get()) {
            self.free += self.free_blocks_of(piece).count() as u64;
            self.left_wanted += size;
        }
        self.touched(piece);
    }
}
