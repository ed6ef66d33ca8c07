//! What the disk is found to hold, and what it may hold no longer.
//!
//! Blocks from the disk have no giver that could be blamed: [`PeerKey::DISK`] stands for it.

use super::partial::Block;
use super::{Ledger, Received};
use crate::logic::PeerKey;
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::{BlockRef, PieceIndex};

impl Ledger {
    /// A block lies on the disk already, as far as anybody knows; only the hash of its piece will
    /// tell. As [`Ledger::receive`].
    pub fn found(&mut self, block: BlockRef) -> Received {
        self.receive(block, PeerKey::DISK)
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
