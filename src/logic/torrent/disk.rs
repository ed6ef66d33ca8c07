//! What the disk is found to hold.

use super::{Action, Torrent};
use crate::logic::ledger::Received;
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::{BlockRef, PieceIndex};

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
}
