//! Retries from one peer.
//!
//! When a piece with several givers fails its hash, nobody knows who lied. The retry is therefore
//! *exclusive*: the first peer that is asked for a block of it owns the piece, and nobody else may
//! be asked ([`Ledger::may_ask`]), so that a second failure has one culprit. When the owner has
//! nothing outstanding there any more (it choked us, timed out, left), the next peer takes over and
//! what the last owner gave is thrown away. That could go on for ever with peers that choke after
//! half a piece: after [`MAX_OWNERS`] owners that left something behind, the piece is open to all
//! again and keeps what is there.

use super::Ledger;
use crate::logic::PeerKey;
use crate::proto::geometry::{BlockRef, PieceIndex};

/// How many peers may own an exclusive retry one after the other, throwing away what the one
/// before them gave, before the piece is shared again.
pub const MAX_OWNERS: u8 = 3;

/// A piece whose retry is to come from one peer.
#[derive(Debug, Default)]
pub(super) struct Exclusive {
    pub(super) owner: Option<PeerKey>,
    /// Owners that left something behind.
    gone: u8,
}

impl Ledger {
    /// Whether a peer may be asked for blocks of a piece: always, but for an exclusive retry that
    /// another peer is busy with (see the module's head).
    pub fn may_ask(&self, piece: PieceIndex, peer: PeerKey) -> bool {
        match self.exclusive_owner(piece) {
            Some(owner) => owner == peer || !self.is_asked_in(owner, piece),
            None => true,
        }
    }

    /// The peer that an exclusive retry of a piece has been given to, if any.
    pub fn exclusive_owner(&self, piece: PieceIndex) -> Option<PeerKey> {
        self.exclusive.get(&piece).and_then(|exclusive| exclusive.owner)
    }

    /// The exclusive retries, and who has them.
    pub fn exclusives(&self) -> impl Iterator<Item = (PieceIndex, Option<PeerKey>)> + '_ {
        self.exclusive.iter().map(|(piece, exclusive)| (*piece, exclusive.owner))
    }

    /// Takes an exclusive retry away from its owner, and throws away what it gave; unless it is
    /// the last of [`MAX_OWNERS`]: then the piece is shared, and keeps what is there. Nothing is
    /// expected of the owner there any more. A piece that is being checked stays as it is.
    pub fn disown(&mut self, piece: PieceIndex) {
        let owner = self.exclusive_owner(piece).filter(|_| self.is_open(piece));
        let Some(owner) = owner else { return };
        let asked: Vec<BlockRef> =
            self.asked_from(owner).filter(|block| block.piece() == piece).collect();
        asked.into_iter().for_each(|block| self.unask(block, owner));
        let Some(exclusive) = self.exclusive.get_mut(&piece) else { return };
        exclusive.owner = None;
        self.next_owner(piece);
        self.touched(piece);
    }

    /// Makes `peer`, who may be asked, the owner of an exclusive piece.
    pub(super) fn give_to(&mut self, piece: PieceIndex, peer: PeerKey) {
        let Some(exclusive) = self.exclusive.get_mut(&piece) else { return };
        if exclusive.owner.replace(peer).is_none_or(|owner| owner == peer) {
            return;
        }
        self.next_owner(piece);
    }

    /// An owner of an exclusive piece is gone. What it gave is thrown away, or the piece shared.
    fn next_owner(&mut self, piece: PieceIndex) {
        let Some(partial) = self.partials.get_mut(&piece).filter(|p| p.received > 0) else {
            return;
        };
        let Some(exclusive) = self.exclusive.get_mut(&piece) else { return };
        exclusive.gone += 1;
        if exclusive.gone >= MAX_OWNERS {
            self.exclusive.remove(&piece);
            return;
        }
        // Nothing is asked of anybody here, or `peer` might not have been: what is left is free.
        self.free += u64::from(partial.received);
        self.partials.remove(&piece);
    }
}
