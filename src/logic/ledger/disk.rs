//! What the disk is found to hold, and what it may hold no longer.
//!
//! Blocks from the disk have no giver that could be blamed: [`PeerKey::DISK`] stands for it.

use super::partial::{Block, Partial};
use super::{Ledger, PieceState, Received};
use crate::logic::PeerKey;
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::{BlockRef, PieceIndex};

impl Ledger {
    /// A block lies on the disk already, as far as anybody knows; only the hash of its piece will
    /// tell. As [`Ledger::receive`].
    pub fn found(&mut self, block: BlockRef) -> Received {
        self.receive(block, PeerKey::DISK)
    }

    /// What was had or received of a piece may be gone. A piece that was had is being checked
    /// again: `true`, and [`Ledger::verified`] is to follow. Of one that was not, what came is
    /// forgotten.
    pub fn doubt(&mut self, piece: PieceIndex) -> bool {
        match self.state(piece) {
            PieceState::Have => {
                self.have.set(piece.get(), false);
                let size = u64::from(self.geometry.piece_size(piece));
                self.left += size;
                self.left_wanted += if self.wanted.get(piece.get()) { size } else { 0 };
                let count = self.geometry.block_count(piece);
                let mut partial = Partial::new(count, PeerKey::DISK);
                for n in 0..count {
                    partial.set(n, Block::Received(PeerKey::DISK));
                }
                partial.checking = true;
                self.checking += 1;
                self.partials.insert(piece, partial);
                self.touched(piece);
                true
            }
            PieceState::Partial => {
                for n in 0..self.geometry.block_count(piece) {
                    if let Some(block) = self.geometry.block(piece, n) {
                        self.write_failed(block);
                    }
                }
                false
            }
            PieceState::Missing | PieceState::Checking => false,
        }
    }

    /// The blocks that are here of pieces that are not had, one bit a block, in no order.
    pub fn received(&self) -> impl Iterator<Item = (PieceIndex, Bitfield)> + '_ {
        let all = self.partials.iter().chain(&self.parked);
        all.filter(|(_, partial)| partial.received > 0).map(|(piece, partial)| {
            let mut blocks = Bitfield::new(partial.blocks.len() as u32);
            for (n, block) in (0..).zip(partial.blocks.iter()) {
                blocks.set(n, matches!(block, Block::Received(_)));
            }
            (*piece, blocks)
        })
    }
}
