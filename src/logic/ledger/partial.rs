//! A started piece, block by block.

use crate::logic::PeerKey;
use crate::proto::sorted;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Block {
    Free,
    /// Asked of `first`, and in the endgame of others too. The list takes no memory while empty.
    Asked {
        first: PeerKey,
        more: Vec<PeerKey>,
    },
    Received(PeerKey),
}

/// A started piece.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) blocks: Box<[Block]>,
    pub(super) free: u32,
    pub(super) received: u32,
    /// No block below this number is free.
    pub(super) lowest_free: u32,
    /// Who is filling it: the peer asked first, until it has nothing outstanding here and another
    /// is asked.
    pub(super) lead: PeerKey,
    pub(super) checking: bool,
}

impl Partial {
    pub(super) fn new(blocks: u32, lead: PeerKey) -> Partial {
        Partial {
            blocks: vec![Block::Free; blocks as usize].into(),
            free: blocks,
            received: 0,
            lowest_free: 0,
            lead,
            checking: false,
        }
    }

    pub(super) fn set(&mut self, n: u32, block: Block) -> Block {
        let is_free = block == Block::Free;
        let is_received = matches!(block, Block::Received(_));
        let old = std::mem::replace(&mut self.blocks[n as usize], block);
        self.free = self.free + u32::from(is_free) - u32::from(old == Block::Free);
        self.received =
            self.received + u32::from(is_received) - u32::from(matches!(old, Block::Received(_)));
        if is_free {
            self.lowest_free = self.lowest_free.min(n);
        }
        while self.blocks.get(self.lowest_free as usize).is_some_and(|b| *b != Block::Free) {
            self.lowest_free += 1;
        }
        old
    }

    pub(super) fn is_idle(&self) -> bool {
        self.free as usize == self.blocks.len()
    }

    /// The distinct peers that gave blocks of it, ascending.
    pub(super) fn givers(&self) -> Vec<PeerKey> {
        let givers = self.blocks.iter().filter_map(|block| match block {
            Block::Received(peer) => Some(*peer),
            _ => None,
        });
        givers.collect::<sorted::Set<PeerKey>>().into_iter().collect()
    }
}
