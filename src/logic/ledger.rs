//! The state of every piece and block, with one owner.
//!
//! The torrent's brain tells the ledger what was asked, what came and what the hash said; the
//! picker only reads it. Nothing here chooses, and nothing here knows a message or a clock.
//! Only started pieces take memory beyond two bits.
//!
//! # Wanted pieces
//! Pieces may be unwanted ([`Ledger::set_wanted`]): they are never asked for and count for nothing
//! here. What came of them before is kept, for they may be wanted again.
//!
//! # Retries from one peer
//! When a piece with several givers fails its hash, nobody knows who lied. The retry is therefore
//! *exclusive*: the first peer that is asked for a block of it owns the piece, and nobody else may
//! be asked ([`Ledger::may_ask`]), so that a second failure has one culprit. When the owner has
//! nothing outstanding there any more (it choked us, timed out, left), the next peer takes over and
//! what the last owner gave is thrown away. That could go on for ever with peers that choke after
//! half a piece: after [`MAX_OWNERS`] owners that left something behind, the piece is open to all
//! again and keeps what is there.

mod disk;
mod partial;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::partial::{Block, Partial};
use super::PeerKey;
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::{BlockRef, Geometry, PieceIndex};

/// How many peers may own an exclusive retry one after the other, throwing away what the one
/// before them gave, before the piece is shared again.
pub const MAX_OWNERS: u8 = 3;

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

/// A piece whose retry is to come from one peer.
#[derive(Debug, Default)]
struct Exclusive {
    owner: Option<PeerKey>,
    /// Owners that left something behind.
    gone: u8,
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
    partials: BTreeMap<PieceIndex, Partial>,
    /// What came of pieces that are not wanted; nothing is asked there.
    parked: BTreeMap<PieceIndex, Partial>,
    /// Those of `partials` that have free blocks.
    open: BTreeSet<PieceIndex>,
    /// How many of `partials` are being checked.
    checking: usize,
    exclusive: BTreeMap<PieceIndex, Exclusive>,
    /// What is outstanding, by peer; no peer is listed with nothing.
    asks: BTreeMap<PeerKey, BTreeSet<BlockRef>>,
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
            partials: BTreeMap::new(),
            parked: BTreeMap::new(),
            open: BTreeSet::new(),
            checking: 0,
            exclusive: BTreeMap::new(),
            asks: BTreeMap::new(),
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

    /// Whether every wanted piece is here and verified.
    pub fn is_done(&self) -> bool {
        self.left_wanted == 0
    }

    /// Bytes not yet verified, wanted or not.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Bytes of all wanted pieces.
    pub fn total_wanted(&self) -> u64 {
        self.total_wanted
    }

    /// Bytes of wanted pieces not yet verified.
    pub fn left_wanted(&self) -> u64 {
        self.left_wanted
    }

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
    pub fn open_pieces(&self) -> &BTreeSet<PieceIndex> {
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

    /// The lowest block of a wanted piece that is neither asked for nor here.
    pub fn free_block(&self, piece: PieceIndex) -> Option<BlockRef> {
        self.free_blocks_of(piece).next()
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
        self.asks.get(&peer).map_or(0, BTreeSet::len)
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
            let partial = self.partials.remove(&piece);
            self.parked.extend(partial.map(|partial| (piece, partial)));
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
        assert_eq!(marked, self.asks.values().map(BTreeSet::len).sum::<usize>(), "asks");
        assert!(self.asks.values().all(|blocks| !blocks.is_empty()), "a peer listed for nothing");
        for (piece, exclusive) in &self.exclusive {
            assert!(!self.have.get(piece.get()), "{piece:?} needs no retry");
            let owner = exclusive.owner;
            let partial = self.partials.get(piece).or_else(|| self.parked.get(piece));
            let givers = partial.map(Partial::givers).unwrap_or_default();
            assert!(givers.iter().all(|giver| Some(*giver) == owner), "{piece:?} has one giver");
        }
    }

    fn check_piece(&self, piece: PieceIndex) {
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

    /// Makes `peer`, who may be asked, the owner of an exclusive piece.
    fn give_to(&mut self, piece: PieceIndex, peer: PeerKey) {
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

/// A piece of which nothing is here or asked for any more takes no memory.
fn forget_idle(partials: &mut BTreeMap<PieceIndex, Partial>, piece: PieceIndex) {
    if partials.get(&piece).is_some_and(Partial::is_idle) {
        partials.remove(&piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::geometry::BLOCK_LENGTH;

    const A: PeerKey = PeerKey(0);
    const B: PeerKey = PeerKey(1);
    const C: PeerKey = PeerKey(2);

    /// Pieces of four blocks, `#` had and `.` missing; the last block of all is one byte short.
    fn ledger(have: &str) -> Ledger {
        sized(have, 4)
    }

    fn sized(have: &str, blocks: u32) -> Ledger {
        let pieces = have.len() as u32;
        let length = blocks * BLOCK_LENGTH;
        let total = u64::from(pieces) * u64::from(length) - 1;
        let geometry = Geometry::new(length, [total]).unwrap();
        let mut bits = Bitfield::new(pieces);
        for (i, _) in have.match_indices('#') {
            bits.set(i as u32, true);
        }
        Ledger::new(Arc::new(geometry), bits)
    }

    /// One sign a piece: `.` missing, `-` partial, `?` being checked, `#` had.
    fn pieces(ledger: &Ledger) -> String {
        ledger.check();
        let sign = |piece| match ledger.state(piece) {
            PieceState::Missing => '.',
            PieceState::Partial => '-',
            PieceState::Checking => '?',
            PieceState::Have => '#',
        };
        ledger.geometry().pieces().map(sign).collect()
    }

    /// One sign a block: `.` free, `a` asked of A, `*` asked of several, `A` given by A.
    fn blocks(ledger: &Ledger, piece: u32) -> String {
        ledger.check();
        let piece = ledger.geometry().piece(piece).unwrap();
        let letter = |peer: PeerKey| (b'a' + peer.0 as u8) as char;
        (0..ledger.geometry().block_count(piece))
            .map(|n| match ledger.block(ledger.geometry().block(piece, n).unwrap()) {
                None | Some(Block::Free) => '.',
                Some(Block::Asked { first, more }) if more.is_empty() => letter(*first),
                Some(Block::Asked { .. }) => '*',
                Some(Block::Received(peer)) => letter(*peer).to_ascii_uppercase(),
            })
            .collect()
    }

    fn block(ledger: &Ledger, piece: u32, n: u32) -> BlockRef {
        let piece = ledger.geometry().piece(piece).unwrap();
        ledger.geometry().block(piece, n).unwrap()
    }

    /// Asks for the blocks of a piece as drawn: `ab.a` asks A, B, nobody, A.
    fn ask(ledger: &mut Ledger, piece: u32, picture: &str) {
        for (n, letter) in picture.bytes().enumerate().filter(|(_, letter)| *letter != b'.') {
            let block = block(ledger, piece, n as u32);
            assert!(ledger.ask(block, PeerKey(u64::from(letter - b'a'))), "{block:?}");
        }
    }

    /// Receives the blocks of a piece as drawn: `AB.A`.
    fn receive(ledger: &mut Ledger, piece: u32, picture: &str) {
        for (n, letter) in picture.bytes().enumerate().filter(|(_, letter)| *letter != b'.') {
            let block = block(ledger, piece, n as u32);
            let received = ledger.receive(block, PeerKey(u64::from(letter - b'A')));
            assert_ne!(received, Received::Duplicate, "{block:?}");
        }
    }

    fn verified(ledger: &mut Ledger, piece: u32, good: bool) -> Vec<PeerKey> {
        let piece = ledger.geometry().piece(piece).unwrap();
        ledger.verified(piece, good)
    }

    fn may_ask(ledger: &Ledger, piece: u32, peer: PeerKey) -> bool {
        ledger.may_ask(ledger.geometry().piece(piece).unwrap(), peer)
    }

    #[test]
    fn a_piece_goes_from_missing_to_had() {
        let mut l = ledger("#..");
        assert_eq!((pieces(&l).as_str(), l.free_blocks()), ("#..", 8));
        assert_eq!(l.left(), 8 * u64::from(BLOCK_LENGTH) - 1);
        ask(&mut l, 1, "aab.");
        assert_eq!((pieces(&l).as_str(), l.free_blocks()), ("#-.", 5));
        receive(&mut l, 1, "AAB");
        let last = block(&l, 1, 3);
        assert!(l.ask(last, B));
        assert_eq!(l.receive(last, B), Received::New { piece_full: true });
        assert_eq!((pieces(&l).as_str(), l.partial_count()), ("#?.", 0));
        assert_eq!(l.free_block(last.piece()), None);
        assert_eq!(verified(&mut l, 1, true), [A, B]);
        assert_eq!((pieces(&l).as_str(), l.left()), ("##.", 4 * u64::from(BLOCK_LENGTH) - 1));
        receive(&mut l, 2, "CCCC");
        verified(&mut l, 2, true);
        assert!(l.is_complete() && !l.all_asked() && l.left() == 0);
    }

    #[test]
    fn free_blocks_are_handed_out_from_the_lowest() {
        let mut l = ledger("..");
        let piece = l.geometry().piece(0).unwrap();
        assert_eq!(l.free_block(piece), Some(block(&l, 0, 0)));
        ask(&mut l, 0, "aaa.");
        assert_eq!(l.free_block(piece), Some(block(&l, 0, 3)));
        l.unask(block(&l, 0, 1), A);
        assert_eq!(l.free_blocks_of(piece).collect::<Vec<_>>(), [block(&l, 0, 1), block(&l, 0, 3)]);
        assert_eq!(blocks(&l, 0), "a.a.");
    }

    #[test]
    fn a_peer_that_leaves_frees_what_it_was_asked_for() {
        let mut l = ledger("...");
        ask(&mut l, 0, "aab.");
        ask(&mut l, 1, "a...");
        receive(&mut l, 0, "A...");
        assert_eq!((l.asked_count(A), l.asked_peers()), (2, 2));
        assert_eq!(l.asked_pieces(A).map(PieceIndex::get).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(l.unask_all(A), [block(&l, 0, 1), block(&l, 1, 0)]);
        assert_eq!((blocks(&l, 0).as_str(), pieces(&l).as_str()), ("A.b.", "-.."));
        assert_eq!(l.unask_all(A), []);
        l.unask(block(&l, 0, 2), C);
        assert_eq!(blocks(&l, 0), "A.b.");
    }

    #[test]
    fn the_endgame_begins_when_nothing_is_left_to_ask() {
        let mut l = ledger("#.");
        ask(&mut l, 1, "abb.");
        assert!(!l.all_asked());
        ask(&mut l, 1, "...c");
        assert!(l.all_asked());
        ask(&mut l, 1, "b...");
        assert_eq!(blocks(&l, 1), "*bbc");
        let first = block(&l, 1, 0);
        assert_eq!(l.asked_of(first).collect::<Vec<_>>(), [A, B]);
        assert_eq!(l.asked().filter(|(_, askers)| *askers == 2).count(), 1);
        assert_eq!(l.asked().count(), 4);
        l.unask(first, A);
        assert_eq!(blocks(&l, 1), "bbbc");
        ask(&mut l, 1, "c...");
        assert_eq!(l.receive(first, C), Received::New { piece_full: false });
        assert_eq!((l.asked_count(B), l.asked_count(C)), (2, 1));
        assert_eq!(blocks(&l, 1), "Cbbc");
        assert_eq!(l.receive(first, B), Received::Duplicate);
        l.unask_all(C);
        assert!(!l.all_asked());
    }

    #[test]
    fn what_makes_no_sense_changes_nothing() {
        let mut l = ledger("#.");
        let had = block(&l, 0, 0);
        assert!(!l.ask(had, A));
        assert_eq!(l.receive(had, A), Received::Duplicate);
        let odd = l.geometry().range(1, 1, BLOCK_LENGTH).unwrap();
        assert!(!l.ask(odd, A));
        assert_eq!(l.receive(odd, A), Received::Duplicate);
        let first = block(&l, 1, 0);
        assert!(l.ask(first, A) && !l.ask(first, A));
        l.receive(first, A);
        assert!(!l.ask(first, B));
        assert_eq!(verified(&mut l, 1, true), []);
        assert_eq!((pieces(&l).as_str(), blocks(&l, 1).as_str()), ("#-", "A..."));
    }

    #[test]
    fn a_block_nobody_was_asked_for_is_taken_too() {
        let mut l = ledger("..");
        assert_eq!(l.receive(block(&l, 1, 2), C), Received::New { piece_full: false });
        assert_eq!((blocks(&l, 1).as_str(), l.free_blocks()), ("..C.", 7));
    }

    #[test]
    fn a_failed_write_frees_the_block_even_while_checking() {
        let mut l = ledger("..");
        receive(&mut l, 0, "AAAA");
        l.write_failed(block(&l, 0, 2));
        assert_eq!((pieces(&l).as_str(), blocks(&l, 0).as_str()), ("-.", "AA.A"));
        assert_eq!(verified(&mut l, 0, false), []);
        for n in [0, 1, 3, 2] {
            l.write_failed(block(&l, 0, n));
        }
        assert_eq!((pieces(&l).as_str(), l.free_blocks()), ("..", 8));
    }

    #[test]
    fn one_giver_of_a_bad_piece_is_the_culprit() {
        let mut l = ledger("..");
        receive(&mut l, 0, "BBBB");
        assert_eq!(verified(&mut l, 0, false), [B]);
        assert_eq!((pieces(&l).as_str(), l.free_blocks()), ("..", 8));
        assert!(may_ask(&l, 0, A) && l.ask(block(&l, 0, 0), A) && may_ask(&l, 0, B));
    }

    #[test]
    fn a_bad_piece_of_several_is_fetched_again_from_one() {
        let mut l = ledger("..");
        receive(&mut l, 0, "ABAC");
        assert_eq!(verified(&mut l, 0, false), [A, B, C]);
        assert!(may_ask(&l, 0, A) && may_ask(&l, 0, B));
        ask(&mut l, 0, "bb..");
        assert!(!may_ask(&l, 0, A) && may_ask(&l, 0, B) && may_ask(&l, 1, A));
        assert!(!l.ask(block(&l, 0, 3), A));
        assert_eq!(l.receive(block(&l, 0, 3), A), Received::Duplicate);
        receive(&mut l, 0, "BBBB");
        assert_eq!(verified(&mut l, 0, false), [B]);
        assert!(may_ask(&l, 0, A));
    }

    #[test]
    fn who_takes_over_an_exclusive_piece_starts_from_nothing() {
        let mut l = ledger("..");
        receive(&mut l, 0, "ABAB");
        verified(&mut l, 0, false);
        ask(&mut l, 0, "bb..");
        receive(&mut l, 0, "B...");
        l.unask_all(B);
        assert!(may_ask(&l, 0, A) && may_ask(&l, 0, B));
        ask(&mut l, 0, "..a.");
        assert_eq!((blocks(&l, 0).as_str(), l.free_blocks()), ("..a.", 7));
        assert!(!may_ask(&l, 0, B));
    }

    #[test]
    fn owners_that_keep_leaving_do_not_hold_a_piece_up_for_ever() {
        let mut l = ledger("..");
        receive(&mut l, 0, "ABAB");
        verified(&mut l, 0, false);
        for owner in ["A...", ".B..", "..C.", "...A"] {
            receive(&mut l, 0, owner);
        }
        assert_eq!(blocks(&l, 0), "..CA");
        assert!(l.ask(block(&l, 0, 0), B) && l.ask(block(&l, 0, 1), C));
    }

    #[test]
    fn a_retry_that_is_taken_away_starts_anew_and_in_the_end_is_shared() {
        let mut l = ledger("..");
        receive(&mut l, 0, "ABAB");
        verified(&mut l, 0, false);
        let piece = l.geometry().piece(0).unwrap();
        assert_eq!(l.exclusives().collect::<Vec<_>>(), [(piece, None)]);
        for round in 1..=MAX_OWNERS {
            ask(&mut l, 0, "aa..");
            receive(&mut l, 0, "A...");
            assert_eq!(l.exclusives().collect::<Vec<_>>(), [(piece, Some(A))]);
            assert!(!may_ask(&l, 0, B));
            l.disown(piece);
            let kept = if round < MAX_OWNERS { "...." } else { "A..." };
            assert_eq!(blocks(&l, 0), kept);
            assert!(may_ask(&l, 0, B) && l.asked_count(A) == 0);
        }
        assert_eq!(l.exclusives().count(), 0);
    }

    #[test]
    fn the_lead_stays_with_a_piece_while_something_is_outstanding() {
        let mut l = ledger("..");
        let piece = l.geometry().piece(0).unwrap();
        assert_eq!(l.lead(piece), None);
        ask(&mut l, 0, "ab..");
        assert_eq!(l.lead(piece), Some(A));
        receive(&mut l, 0, "A...");
        assert_eq!((l.lead(piece), l.last_lead(piece)), (None, Some(A)));
        ask(&mut l, 0, "..b.");
        assert_eq!(l.lead(piece), Some(B));
    }

    #[test]
    fn a_piece_of_the_largest_size_is_kept_block_by_block() {
        let mut l = sized("..", 8192);
        let piece = l.geometry().piece(0).unwrap();
        while let Some(block) = l.free_block(piece) {
            assert!(l.ask(block, A));
            l.receive(block, A);
        }
        assert_eq!(pieces(&l), "?.");
        assert_eq!(verified(&mut l, 0, true), [A]);
    }

    fn wants(ledger: &mut Ledger, picture: &str) -> Vec<(PeerKey, BlockRef)> {
        let mut wanted = Bitfield::new(picture.len() as u32);
        for (i, _) in picture.match_indices('w') {
            wanted.set(i as u32, true);
        }
        ledger.set_wanted(wanted)
    }

    #[test]
    fn what_is_not_wanted_is_not_asked_for_and_not_waited_for() {
        let mut l = ledger("#...");
        wants(&mut l, ".w..");
        assert_eq!((l.free_blocks(), l.left_wanted()), (4, 4 * u64::from(BLOCK_LENGTH)));
        assert!(!l.ask(block(&l, 2, 0), A));
        assert_eq!(l.receive(block(&l, 2, 0), A), Received::Duplicate);
        assert_eq!(l.free_block(l.geometry().piece(2).unwrap()), None);
        ask(&mut l, 1, "aaaa");
        assert!(l.all_asked() && !l.is_done());
        receive(&mut l, 1, "AAAA");
        verified(&mut l, 1, true);
        assert!(l.is_done() && !l.is_complete() && !l.all_asked());
        assert_eq!((l.left_wanted(), l.left()), (0, 8 * u64::from(BLOCK_LENGTH) - 1));
        wants(&mut l, "wwww");
        assert!(!l.is_done());
        assert_eq!((l.free_blocks(), l.left_wanted()), (8, l.left()));
    }

    #[test]
    fn a_started_piece_that_is_put_off_keeps_what_came() {
        let mut l = ledger("...");
        ask(&mut l, 0, "abb.");
        ask(&mut l, 1, "a...");
        receive(&mut l, 0, "A...");
        let dropped = wants(&mut l, ".ww");
        assert_eq!(dropped, [(B, block(&l, 0, 1)), (B, block(&l, 0, 2))]);
        assert_eq!((l.partial_count(), l.asked_count(B), l.free_blocks()), (1, 0, 7));
        wants(&mut l, "www");
        assert_eq!((blocks(&l, 0).as_str(), l.partial_count(), l.free_blocks()), ("A...", 2, 10));
    }

    #[test]
    fn a_piece_put_off_while_its_hash_is_taken_is_had_or_missing() {
        for good in [true, false] {
            let mut l = ledger("..");
            receive(&mut l, 0, "AAAA");
            assert_eq!(wants(&mut l, ".w"), []);
            assert_eq!(pieces(&l), "?.");
            verified(&mut l, 0, good);
            assert_eq!(pieces(&l), if good { "#." } else { ".." });
            assert_eq!(l.free_blocks(), 4);
        }
        let mut l = ledger("..");
        receive(&mut l, 0, "AAAA");
        wants(&mut l, ".w");
        l.write_failed(block(&l, 0, 1));
        assert_eq!((pieces(&l).as_str(), l.free_blocks()), ("-.", 4));
    }

    #[test]
    fn any_order_of_events_keeps_the_books_right() {
        for seed in 0..60 {
            let mut rng = crate::logic::rng::Rng::new(seed);
            let mut l = ledger(".#...");
            for _ in 0..400 {
                let b = block(&l, rng.below(5), rng.below(4));
                let peer = PeerKey(u64::from(rng.below(3)));
                match rng.below(13) {
                    12 => {
                        let mut wanted = Bitfield::full(5);
                        wanted.set(rng.below(5), false);
                        wanted.set(rng.below(5), false);
                        l.set_wanted(wanted);
                    }
                    0..5 => drop(l.ask(b, peer)),
                    5..8 => drop(l.receive(b, peer)),
                    8 => l.unask(b, peer),
                    9 => drop(l.unask_all(peer)),
                    10 if rng.below(4) == 0 => l.disown(b.piece()),
                    10 => l.write_failed(b),
                    _ => drop(l.verified(b.piece(), rng.below(4) == 0)),
                }
                l.check();
            }
        }
    }
}
