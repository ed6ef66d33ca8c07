//! The state of every piece and block, with one owner.
//!
//! The torrent's brain tells the ledger what was asked, what came and what the hash said; the
//! picker only reads it. Nothing here chooses, and nothing here knows a message or a clock.
//! Only started pieces take memory beyond two bits.
//!
//! Rooms: `wanted` (pieces may be unwanted), `exclusive` (retries from one peer), `disk` (what the
//! disk holds), `partial` (a started piece), `audit` (whether the books agree).

mod audit;
mod disk;
mod exclusive;
mod partial;
mod wanted;

use crate::proto::sorted;
use std::sync::Arc;

use self::exclusive::Exclusive;
pub use self::exclusive::MAX_OWNERS;
use self::partial::{Block, Partial};
use super::PeerKey;
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::{BlockRef, Geometry, PieceIndex};

/// Pieces of more blocks than this are not gone through after every change in debug builds.
const CHECKED_BLOCKS: usize = 64;

/// Where a piece stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceState {
    /// Nothing of it is here or asked for.
    Missing,
    /// Some block is asked for or here.
    Partial,
    /// All blocks are here; the hash is being taken.
    Checking,
    /// Here, and its hash was right.
    Have,
}

/// What became of a block that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Not had before: to be written. With `piece_full` it was the last of its piece, which is now
    /// [`PieceState::Checking`] and waits for [`Ledger::verified`].
    New {
        /// Whether the piece has all its blocks now.
        piece_full: bool,
    },
    /// Of no use, to be thrown away: here already, or not a block of ours, or of a piece that
    /// another peer owns or that is not wanted.
    Duplicate,
}

/// The state of every piece and block of a torrent.
#[derive(Debug)]
pub struct Ledger {
    geometry: Arc<Geometry>,
    have: Bitfield,
    wanted: Bitfield,
    left: u64,
    total_wanted: u64,
    left_wanted: u64,
    /// Blocks neither asked for nor here, of all wanted pieces that we do not have.
    free: u64,
    partials: sorted::Map<PieceIndex, Partial>,
    /// What came of pieces that are not wanted; nothing is asked there.
    parked: sorted::Map<PieceIndex, Partial>,
    /// Those of `partials` that have free blocks.
    open: sorted::Set<PieceIndex>,
    /// How many of `partials` are being checked.
    checking: usize,
    exclusive: sorted::Map<PieceIndex, Exclusive>,
    /// What is outstanding, by peer; no peer is listed with nothing.
    asks: sorted::Map<PeerKey, sorted::Set<BlockRef>>,
}

impl Ledger {
    /// A torrent of which the pieces in `have` are here and verified, and all others are wanted.
    ///
    /// # Panics
    /// If `have` has not one bit a piece.
    pub fn new(geometry: Arc<Geometry>, have: Bitfield) -> Ledger {
        assert_eq!(have.len(), geometry.piece_count(), "one bit a piece");
        let (mut left, mut free) = (0, 0);
        for piece in geometry.pieces().filter(|piece| !have.get(piece.get())) {
            left += u64::from(geometry.piece_size(piece));
            free += u64::from(geometry.block_count(piece));
        }
        Ledger {
            wanted: Bitfield::full(geometry.piece_count()),
            total_wanted: geometry.total(),
            geometry,
            have,
            left,
            left_wanted: left,
            free,
            partials: sorted::Map::new(),
            parked: sorted::Map::new(),
            open: sorted::Set::new(),
            checking: 0,
            exclusive: sorted::Map::new(),
            asks: sorted::Map::new(),
        }
    }

    /// The measures of the content.
    pub fn geometry(&self) -> &Arc<Geometry> {
        &self.geometry
    }

    /// The pieces that are here and verified.
    pub fn have(&self) -> &Bitfield {
        &self.have
    }

    /// Where a piece stands.
    pub fn state(&self, piece: PieceIndex) -> PieceState {
        if self.have.get(piece.get()) {
            return PieceState::Have;
        }
        match self.partials.get(&piece).or_else(|| self.parked.get(&piece)) {
            None => PieceState::Missing,
            Some(partial) if partial.checking => PieceState::Checking,
            Some(_) => PieceState::Partial,
        }
    }

    /// Whether every piece is here and verified.
    pub fn is_complete(&self) -> bool {
        self.have.is_full()
    }

    /// Bytes not yet verified, wanted or not.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Blocks of wanted pieces neither asked for nor here.
    pub fn free_blocks(&self) -> u64 {
        self.free
    }

    /// Whether no wanted block is left to be asked for the first time, though something is
    /// missing: the endgame.
    pub fn all_asked(&self) -> bool {
        self.free == 0 && !self.is_done()
    }

    /// The started pieces that have blocks neither asked for nor here, ascending.
    pub fn open_pieces(&self) -> &sorted::Set<PieceIndex> {
        &self.open
    }

    /// How many wanted pieces are [`PieceState::Partial`].
    pub fn partial_count(&self) -> usize {
        self.partials.len() - self.checking
    }

    /// The blocks of a wanted piece that are neither asked for nor here, ascending.
    pub fn free_blocks_of(&self, piece: PieceIndex) -> impl Iterator<Item = BlockRef> + '_ {
        let partial = self.partials.get(&piece);
        let numbers = match partial {
            Some(partial) => partial.lowest_free..partial.blocks.len() as u32,
            None if !self.lacks(piece.get()) => 0..0,
            None => 0..self.geometry.block_count(piece),
        };
        numbers
            .filter(move |n| partial.is_none_or(|p| p.blocks[*n as usize] == Block::Free))
            .filter_map(move |n| self.geometry.block(piece, n))
    }

    /// The peers that a block is asked of; more than one only in the endgame.
    pub fn asked_of(&self, block: BlockRef) -> impl Iterator<Item = PeerKey> + '_ {
        let (first, more) = match self.block(block) {
            Some(Block::Asked { first, more }) => (Some(*first), more.as_slice()),
            _ => (None, &[][..]),
        };
        first.into_iter().chain(more.iter().copied())
    }

    /// The blocks asked of a peer and still outstanding, ascending.
    pub fn asked_from(&self, peer: PeerKey) -> impl Iterator<Item = BlockRef> + '_ {
        self.asks.get(&peer).into_iter().flatten().copied()
    }

    /// The pieces in which something is asked of a peer and still outstanding, ascending.
    pub fn asked_pieces(&self, peer: PeerKey) -> impl Iterator<Item = PieceIndex> + '_ {
        let asks = self.asks.get(&peer);
        let mut lowest = self.geometry.piece(0);
        std::iter::from_fn(move || {
            let first = self.geometry.block(lowest?, 0)?;
            let piece = asks?.range(first..).next()?.piece();
            lowest = self.geometry.piece(piece.get() + 1);
            Some(piece)
        })
    }

    /// How many blocks are asked of a peer and still outstanding.
    pub fn asked_count(&self, peer: PeerKey) -> usize {
        self.asks.get(&peer).map_or(0, sorted::Set::len)
    }

    /// How many peers have something outstanding.
    pub fn asked_peers(&self) -> usize {
        self.asks.len()
    }

    /// Every block that is asked for, once, with the number of peers it is asked of.
    pub fn asked(&self) -> impl Iterator<Item = (BlockRef, usize)> + '_ {
        self.asks.iter().flat_map(move |(peer, blocks)| {
            blocks.iter().filter_map(move |block| match self.block(*block) {
                Some(Block::Asked { first, more }) if first == peer => {
                    Some((*block, 1 + more.len()))
                }
                _ => None,
            })
        })
    }

    /// The peer that is filling a started piece; `None` if nobody is at it, that is if the last
    /// one has nothing outstanding there.
    pub fn lead(&self, piece: PieceIndex) -> Option<PeerKey> {
        self.last_lead(piece).filter(|lead| self.is_asked_in(*lead, piece))
    }

    /// The peer that was filling a started piece last, whether or not it has something
    /// outstanding there.
    pub fn last_lead(&self, piece: PieceIndex) -> Option<PeerKey> {
        self.partials.get(&piece).map(|partial| partial.lead)
    }

    /// A peer has been asked for a block. Says `false`, and changes nothing, if that makes no
    /// sense: the block is here or not wanted, this peer was asked for it before, or it may not be.
    pub fn ask(&mut self, block: BlockRef, peer: PeerKey) -> bool {
        let piece = block.piece();
        let open = self.is_open(piece);
        let Some(n) = self.geometry.block_number(block).filter(|_| open) else { return false };
        if !self.may_ask(piece, peer) {
            return false;
        }
        self.give_to(piece, peer);
        match self.block(block) {
            Some(Block::Received(_)) => return false,
            Some(Block::Asked { first, more }) if *first == peer || more.contains(&peer) => {
                return false;
            }
            _ => {}
        }
        let lead = self.lead(piece).unwrap_or(peer);
        let partial = self.start(piece, peer);
        partial.lead = lead;
        if let Block::Asked { more, .. } = &mut partial.blocks[n as usize] {
            more.push(peer);
        } else {
            partial.set(n, Block::Asked { first: peer, more: Vec::new() });
            self.free -= 1;
        }
        self.asks.entry(peer).or_default().insert(block);
        self.touched(piece);
        true
    }

    /// A block is no longer expected from a peer: it choked us, timed out, or was told to cancel.
    pub fn unask(&mut self, block: BlockRef, peer: PeerKey) {
        if !self.forget_ask(block, peer) {
            return;
        }
        let piece = block.piece();
        let n = self.geometry.block_number(block).expect("only our blocks are asked for");
        let partial = self.partials.get_mut(&piece).expect("asked for, so started");
        let Block::Asked { first, more } = &mut partial.blocks[n as usize] else {
            unreachable!("what a peer was asked for is marked as asked");
        };
        if let Some(at) = more.iter().position(|other| *other == peer) {
            more.remove(at);
        } else if !more.is_empty() {
            *first = more.remove(0);
        } else {
            partial.set(n, Block::Free);
            self.free += 1;
        }
        forget_idle(&mut self.partials, piece);
        self.touched(piece);
    }

    /// Nothing is expected from a peer any more. Returns what was, ascending.
    pub fn unask_all(&mut self, peer: PeerKey) -> Vec<BlockRef> {
        let blocks: Vec<BlockRef> = self.asked_from(peer).collect();
        for block in &blocks {
            self.unask(*block, peer);
        }
        blocks
    }

    /// The bytes of a block have come from a peer. Everybody's asks for it are dropped: ask
    /// [`asked_of`](Self::asked_of) before, to know whom to send a cancel.
    pub fn receive(&mut self, block: BlockRef, peer: PeerKey) -> Received {
        let piece = block.piece();
        let open = self.is_open(piece);
        let Some(n) = self.geometry.block_number(block).filter(|_| open) else {
            return Received::Duplicate;
        };
        if matches!(self.block(block), Some(Block::Received(_))) || !self.may_ask(piece, peer) {
            return Received::Duplicate;
        }
        self.give_to(piece, peer);
        let askers: Vec<PeerKey> = self.asked_of(block).collect();
        for asker in askers {
            self.forget_ask(block, asker);
        }
        let partial = self.start(piece, peer);
        let was_free = partial.set(n, Block::Received(peer)) == Block::Free;
        let piece_full = partial.received as usize == partial.blocks.len();
        partial.checking = piece_full;
        self.checking += usize::from(piece_full);
        self.free -= u64::from(was_free);
        self.touched(piece);
        Received::New { piece_full }
    }

    /// A block that came could not be written: it is free again, and its piece, if it was being
    /// checked, is not any more.
    pub fn write_failed(&mut self, block: BlockRef) {
        let piece = block.piece();
        let Some(n) = self.geometry.block_number(block) else { return };
        let Some(partial) = self.partials.get_mut(&piece).or_else(|| self.parked.get_mut(&piece))
        else {
            return;
        };
        if !matches!(partial.blocks[n as usize], Block::Received(_)) {
            return;
        }
        partial.set(n, Block::Free);
        self.checking -= usize::from(std::mem::take(&mut partial.checking));
        if self.wanted.get(piece.get()) {
            self.free += 1;
        } else if let Some(partial) = self.partials.remove(&piece) {
            self.parked.insert(piece, partial);
        }
        forget_idle(&mut self.partials, piece);
        forget_idle(&mut self.parked, piece);
        self.touched(piece);
    }

    /// The hash of a piece that was being checked is known. A good one is had; of a bad one every
    /// block is free again, and if it had several givers, its retry is exclusive. Returns the
    /// distinct peers that gave blocks of it, ascending: if the piece is bad and there is one, it
    /// is the culprit. Changes nothing if the piece is not being checked.
    pub fn verified(&mut self, piece: PieceIndex, good: bool) -> Vec<PeerKey> {
        if self.state(piece) != PieceState::Checking {
            return Vec::new();
        }
        let partial = self.partials.remove(&piece).expect("it is being checked");
        let givers = partial.givers();
        self.checking -= 1;
        self.exclusive.remove(&piece);
        if good {
            let size = u64::from(self.geometry.piece_size(piece));
            self.left -= size;
            self.left_wanted -= if self.lacks(piece.get()) { size } else { 0 };
            self.have.set(piece.get(), true);
        } else {
            self.free += if self.lacks(piece.get()) { partial.blocks.len() as u64 } else { 0 };
            if givers.len() > 1 {
                self.exclusive.insert(piece, Exclusive::default());
            }
        }
        self.touched(piece);
        givers
    }

    /// To be called at the end of whatever changes a piece.
    fn touched(&mut self, piece: PieceIndex) {
        match self.partials.get(&piece).is_some_and(|partial| partial.free > 0) {
            true => self.open.insert(piece),
            false => self.open.remove(&piece),
        };
        let small = |partial: &Partial| partial.blocks.len() <= CHECKED_BLOCKS;
        if cfg!(debug_assertions) && self.partials.get(&piece).is_some_and(small) {
            self.check_piece(piece);
        }
    }

    fn block(&self, block: BlockRef) -> Option<&Block> {
        let n = self.geometry.block_number(block)?;
        self.partials.get(&block.piece()).map(|partial| &partial.blocks[n as usize])
    }

    fn start(&mut self, piece: PieceIndex, lead: PeerKey) -> &mut Partial {
        let blocks = self.geometry.block_count(piece);
        self.partials.entry(piece).or_insert_with(|| Partial::new(blocks, lead))
    }

    /// Whether blocks of a piece may be asked for and taken.
    fn is_open(&self, piece: PieceIndex) -> bool {
        self.lacks(piece.get())
            && matches!(self.state(piece), PieceState::Missing | PieceState::Partial)
    }

    fn is_asked_in(&self, peer: PeerKey, piece: PieceIndex) -> bool {
        let Some(first) = self.geometry.block(piece, 0) else { return false };
        let asks = self.asks.get(&peer);
        asks.and_then(|asks| asks.range(first..).next()).is_some_and(|b| b.piece() == piece)
    }

    fn forget_ask(&mut self, block: BlockRef, peer: PeerKey) -> bool {
        let Some(asks) = self.asks.get_mut(&peer) else { return false };
        let known = asks.remove(&block);
        if asks.is_empty() {
            self.asks.remove(&peer);
        }
        known
    }
}

/// A piece of which nothing is here or asked for any more takes no memory.
fn forget_idle(partials: &mut sorted::Map<PieceIndex, Partial>, piece: PieceIndex) {
    if partials.get(&piece).is_some_and(Partial::is_idle) {
        partials.remove(&piece);
    }
}

#[cfg(test)]
mod tests;
