//! Whether everything that is recorded twice agrees.

use super::Ledger;
use super::partial::{Block, Partial};
use crate::logic::PeerKey;
use crate::proto::geometry::PieceIndex;
use crate::proto::sorted;

impl Ledger {
    /// Asserts that everything recorded twice agrees. Goes through all pieces: for tests and
    /// simulations; in debug builds every change checks the piece that it touched.
    ///
    /// # Panics
    /// If something does not agree: a fault of this module.
    pub fn check(&self) {
        let (mut left, mut left_wanted, mut free) = (0, 0, 0);
        for piece in self.geometry.pieces().filter(|piece| !self.have.get(piece.get())) {
            let size = u64::from(self.geometry.piece_size(piece));
            left += size;
            left_wanted += if self.wanted.get(piece.get()) { size } else { 0 };
            free += self.free_blocks_of(piece).count() as u64;
        }
        let ours = (self.left, self.left_wanted, self.free);
        assert_eq!(ours, (left, left_wanted, free), "left, left_wanted, free");
        for (piece, partial) in &self.parked {
            assert!(!self.lacks(piece.get()) && !self.have.get(piece.get()), "{piece:?} is parked");
            assert!(!partial.checking && !self.partials.contains_key(piece), "{piece:?} is parked");
            assert_eq!(partial.free + partial.received, partial.blocks.len() as u32);
        }
        let checking = self.partials.values().filter(|partial| partial.checking).count();
        assert_eq!(self.checking, checking, "pieces being checked");
        let open = self.partials.iter().filter(|(_, partial)| partial.free > 0);
        assert!(open.map(|(piece, _)| piece).eq(&self.open), "open pieces");
        self.partials.keys().for_each(|piece| self.check_piece(*piece));
        let marked: usize = self.asked().map(|(_, askers)| askers).sum();
        assert_eq!(marked, self.asks.values().map(sorted::Set::len).sum::<usize>(), "asks");
        assert!(self.asks.values().all(|blocks| !blocks.is_empty()), "a peer listed for nothing");
        for (piece, exclusive) in &self.exclusive {
            assert!(!self.have.get(piece.get()), "{piece:?} needs no retry");
            let owner = exclusive.owner;
            let partial = self.partials.get(piece).or_else(|| self.parked.get(piece));
            let givers = partial.map(Partial::givers).unwrap_or_default();
            assert!(givers.iter().all(|giver| Some(*giver) == owner), "{piece:?} has one giver");
        }
    }

    pub(super) fn check_piece(&self, piece: PieceIndex) {
        let Some(partial) = self.partials.get(&piece) else { return };
        assert!(!self.have.get(piece.get()), "{piece:?} is had and partial");
        assert!(!partial.is_idle(), "{piece:?} takes memory for nothing");
        assert!(self.wanted.get(piece.get()) || partial.checking, "{piece:?} is not wanted");
        let count = |f: fn(&Block) -> bool| partial.blocks.iter().filter(|b| f(b)).count();
        let free = count(|b| *b == Block::Free);
        let received = count(|b| matches!(b, Block::Received(_)));
        assert_eq!((partial.free as usize, partial.received as usize), (free, received));
        assert_eq!(partial.checking, received == partial.blocks.len(), "{piece:?} being checked");
        let lowest = partial.blocks.iter().position(|b| *b == Block::Free);
        assert_eq!(partial.lowest_free as usize, lowest.unwrap_or(partial.blocks.len()));
        for n in 0..partial.blocks.len() as u32 {
            let block = self.geometry.block(piece, n).expect("as many as the piece has");
            let askers: Vec<PeerKey> = self.asked_of(block).collect();
            for (i, peer) in askers.iter().enumerate() {
                assert!(!askers[..i].contains(peer), "{block:?} asked twice of {peer:?}");
                assert!(self.asks.get(peer).is_some_and(|asks| asks.contains(&block)));
            }
        }
    }
}
