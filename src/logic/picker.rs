//! Which block to ask of a peer next.
//!
//! The torrent's brain tells the picker who has what, and asks it for blocks whenever a peer's
//! queue has room. The picker reads the [`Ledger`] and never changes it.
//!
//! # The rules
//! A peer goes on with the pieces it is being asked for. Then, as BitTornado does, started pieces
//! first and common ones before rare ones until [`RAREST_FIRST_CUTOFF`] pieces are complete; from
//! then on the rarest piece that the peer has. A piece of a better priority is begun before all
//! others; this too is stricter than BitTornado, where rarity counted against it. Apart from BitTornado, a piece has a *lead*, the
//! peer that fills it, and others keep off it as long as there are pieces to begin: so blocks come
//! in order, and can be hashed while they are hot. Peers too slow for a piece of their own share
//! pieces with each other. A piece that one peer alone spoilt comes last among those that are as
//! good, so that another may be asked for it. What is asked for already is asked again by others
//! (`torrent::endgame`), not here.

mod order;

use self::order::{CLASSES, Order};
use super::PeerKey;
use super::ledger::{Ledger, PieceState};
use super::priority::Priority;
use super::rng::Rng;
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::{BlockRef, PieceIndex};
use crate::proto::sorted;
use std::ops::Range;

/// Complete pieces before rarest-first starts (`rarest_first_cutoff`): to have something to give
/// soon matters more at first.
pub const RAREST_FIRST_CUTOFF: u32 = 2;

/// From how many owners on a piece is common (`rarest_first_priority_cutoff`): it is taken first
/// at the beginning, and never begun later while another waits to be finished.
pub const PRIORITY_CUTOFF: u32 = 5;

/// A peer that would take longer than this for a piece is not given one of its own.
const LONGEST_FILL_SECONDS: usize = 60;

/// How many seconds' worth of blocks a peer's queue holds: what is outstanding tells its rate.
const QUEUE_SECONDS: usize = 4;

/// How far a new piece is looked for among the rarest, before it is looked for among what the peer
/// has.
const SCAN_LIMIT: u32 = 256;

/// So many of what the peer has are compared then.
const SAMPLE: usize = 64;

/// How a started piece stands towards the peer that blocks are wanted for; best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// It was filling the piece last.
    Own,
    /// Nobody is filling it.
    Orphan,
    /// A slow peer is filling it.
    Slow,
    /// A fast peer is filling it.
    Fast,
}

/// A started piece with blocks to be had, in the order in which they are finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Started {
    claim: Claim,
    priority: Priority,
    availability: u32,
    piece: PieceIndex,
}

/// For whom blocks are wanted.
#[derive(Clone, Copy)]
struct Asker<'a> {
    ledger: &'a Ledger,
    from: &'a Bitfield,
    peer: PeerKey,
    /// Whether common pieces go before rare ones still.
    early: bool,
    /// Started pieces with a claim up to this are finished before a new one is begun.
    finish: Claim,
}

/// Knows who has what, and chooses.
#[derive(Debug)]
pub struct Picker {
    order: Order,
    /// Peers that have everything: counted apart, for they change nothing in the order.
    seeds: u32,
    rarest_first_cutoff: u32,
    priority_cutoff: u32,
    /// Pieces that one peer alone spoilt.
    spoilt: sorted::Set<u32>,
    /// Pieces looked at, for the tests.
    #[cfg(test)]
    steps: u64,
}

impl Picker {
    /// A torrent of `piece_count` pieces that nobody has.
    pub fn new(piece_count: u32) -> Picker {
        Picker {
            order: Order::new(piece_count),
            seeds: 0,
            rarest_first_cutoff: RAREST_FIRST_CUTOFF,
            priority_cutoff: PRIORITY_CUTOFF,
            spoilt: sorted::Set::new(),
            #[cfg(test)]
            steps: 0,
        }
    }

    /// With other values for [`RAREST_FIRST_CUTOFF`] and [`PRIORITY_CUTOFF`].
    pub fn with_cutoffs(self, rarest_first: u32, priority: u32) -> Picker {
        Picker { rarest_first_cutoff: rarest_first, priority_cutoff: priority, ..self }
    }

    /// The priority of every piece from now on; at first it is normal. Those that are had already
    /// are sorted out again when they are met.
    pub fn set_priorities(&mut self, pieces: &[Priority]) {
        for (piece, priority) in (0..).zip(pieces) {
            if self.order.priority(piece) != *priority {
                self.order.place(piece, *priority);
            }
        }
    }

    /// A piece that was had is not any more: it is to be found again.
    pub fn lost(&mut self, piece: PieceIndex) {
        self.order.place(piece.get(), self.order.priority(piece.get()));
    }

    /// A piece that one peer alone spoilt is begun after all others of its kind.
    pub fn put_last(&mut self, piece: PieceIndex) {
        self.spoilt.insert(piece.get());
    }

    /// A peer has got a piece.
    pub fn add(&mut self, piece: PieceIndex) {
        self.order.increase(piece.get());
    }

    /// A peer with these pieces has come.
    pub fn add_all(&mut self, pieces: &Bitfield) {
        if pieces.is_full() {
            self.seeds += 1;
        } else {
            pieces.ones().for_each(|piece| self.order.increase(piece));
        }
    }

    /// A peer that had these pieces at last has gone.
    pub fn remove_all(&mut self, pieces: &Bitfield) {
        // It may be another than the one counted as seed: the sums are the same.
        if pieces.is_full() && self.seeds > 0 {
            self.seeds -= 1;
        } else {
            pieces.ones().for_each(|piece| self.order.decrease(piece));
        }
    }

    /// How many peers have a piece.
    pub fn availability(&self, piece: PieceIndex) -> u32 {
        self.order.count(piece.get()) + self.seeds
    }

    /// The priority of a piece.
    pub fn priority(&self, piece: PieceIndex) -> Priority {
        self.order.priority(piece.get())
    }

    /// Whether a peer that is no seed has a piece.
    pub fn is_spread(&self, piece: PieceIndex) -> bool {
        self.order.count(piece.get()) > 0
    }

    /// How many pieces no peer has that is no seed.
    pub fn unspread(&self) -> u32 {
        self.order.unspread()
    }

    /// How many times the whole content is there among the peers: the availability of the rarest
    /// piece, and the share of pieces that are less rare. Goes through all pieces.
    pub fn distributed_copies(&self) -> f64 {
        let counts = self.order.counts();
        let Some(rarest) = counts.iter().min() else { return f64::from(self.seeds) };
        let more = counts.iter().filter(|count| *count > rarest).count();
        f64::from(self.seeds + rarest) + more as f64 / counts.len() as f64
    }

    /// Appends to `out` up to `count` blocks to ask of `peer`, which has the pieces `from`; none
    /// twice, and none that it is being asked for already. `from` has one bit a piece.
    pub fn pick(
        &mut self,
        ledger: &Ledger,
        from: &Bitfield,
        peer: PeerKey,
        count: usize,
        rng: &mut Rng,
        out: &mut Vec<BlockRef>,
    ) {
        let full = out.len() + count;
        let early = ledger.have().count() < self.rarest_first_cutoff;
        let finish = if early || is_crowded(ledger) {
            Claim::Fast
        } else if is_slow(ledger, ledger.asked_count(peer) + count) {
            Claim::Slow
        } else {
            Claim::Own
        };
        let asker = Asker { ledger, from, peer, early, finish };
        let mut used = Vec::new();
        for piece in ledger.asked_pieces(peer).filter(|piece| asker.may_ask(*piece)) {
            out.extend(ledger.free_blocks_of(piece).take(full - out.len()));
            used.push(piece);
        }
        if out.len() == full {
            return;
        }
        let started = self.started(&asker);
        while let Some(piece) = self.next_piece(&asker, &started, &used, rng) {
            out.extend(ledger.free_blocks_of(piece).take(full - out.len()));
            if out.len() == full {
                return;
            }
            used.push(piece);
        }
    }

    /// The started pieces that the peer could help with, best first.
    fn started(&mut self, asker: &Asker) -> Vec<Started> {
        let ledger = asker.ledger;
        let open = ledger.open_pieces();
        self.note_steps(open.len());
        let mut started: Vec<Started> = open
            .iter()
            .copied()
            .filter(|piece| asker.may_ask(*piece))
            .map(|piece| Started {
                claim: asker.claim(piece),
                priority: self.order.priority(piece.get()),
                availability: self.availability(piece),
                piece,
            })
            .collect();
        started.sort_unstable();
        started
    }

    /// The best piece that is not in `used`.
    fn next_piece(
        &mut self,
        asker: &Asker,
        started: &[Started],
        used: &[PieceIndex],
        rng: &mut Rng,
    ) -> Option<PieceIndex> {
        let best = started.iter().find(|started| !used.contains(&started.piece));
        if let Some(best) = best.filter(|best| best.claim <= asker.finish) {
            return Some(best.piece);
        }
        let new = self.new_piece(asker, used, rng);
        match (best, new) {
            (Some(best), Some(new)) if best.claim == Claim::Orphan => {
                let (priority, rarity) = (self.order.priority(new.get()), self.availability(new));
                let rarer = rarity < best.availability && rarity < self.priority_cutoff;
                let begin = priority < best.priority || priority == best.priority && rarer;
                Some(if begin { new } else { best.piece })
            }
            (best, new) => new.or(best.map(|best| best.piece)),
        }
    }

    /// A piece to begin: one of the rarest that the peer has, or early on any common one.
    fn new_piece(
        &mut self,
        asker: &Asker,
        used: &[PieceIndex],
        rng: &mut Rng,
    ) -> Option<PieceIndex> {
        let (mut looked, mut had, mut found) = (0, Vec::new(), None);
        for (class, range) in self.ranges(asker.early) {
            let length = range.end - range.start;
            // A random place to begin at, so that not all clients choose the same piece.
            let first = rng.below(length);
            for i in 0..length.min(SCAN_LIMIT - looked) {
                let index = self.order.at(class, range.start + (first + i) % length);
                looked += 1;
                if asker.ledger.have().get(index) {
                    had.push(index);
                    continue;
                }
                let Some(piece) = asker.new_piece(index, used) else { continue };
                let is_last = self.spoilt.contains(&index);
                found = if is_last { found.or(Some(piece)) } else { Some(piece) };
                if !is_last {
                    break;
                }
            }
            if found.is_some() || looked == SCAN_LIMIT {
                break;
            }
        }
        self.note_steps(looked as usize);
        for piece in had {
            self.order.remove(piece);
            self.spoilt.remove(&piece);
        }
        if found.is_none() && looked == SCAN_LIMIT {
            found = self.search(asker, used, rng);
        }
        found
    }

    /// Where to look for a new piece, one range of positions after the other.
    fn ranges(&self, early: bool) -> Vec<(Priority, Range<u32>)> {
        let mut ranges = Vec::new();
        for class in CLASSES {
            if early {
                let enough = self.priority_cutoff.saturating_sub(self.seeds) as usize;
                let common = self.order.start(class, enough);
                let end = self.order.start(class, usize::MAX);
                ranges.extend([(class, common..end), (class, 0..common)]);
            } else {
                ranges.extend(self.order.levels(class).map(|range| (class, range)));
            }
        }
        ranges
    }

    /// The same as [`new_piece`](Self::new_piece), by going through what the peer has and we have
    /// not, from a random place on: the best of the first few, and of all for a peer that has
    /// little.
    fn search(&mut self, asker: &Asker, used: &[PieceIndex], rng: &mut Rng) -> Option<PieceIndex> {
        let mut looked = 0;
        let found = lacking(asker.from, asker.ledger, rng)
            .inspect(|_| looked += 1)
            .filter_map(|index| asker.new_piece(index, used));
        let ranked = found.take(SAMPLE).map(|piece| {
            let index = piece.get();
            let availability = self.availability(piece);
            let rarity = match asker.early {
                true => u32::from(availability < self.priority_cutoff),
                false => availability,
            };
            ((self.order.priority(index), rarity, self.spoilt.contains(&index)), piece)
        });
        let best = rng.lowest(ranked);
        self.note_steps(looked);
        best
    }

    #[cfg(test)]
    fn note_steps(&mut self, steps: usize) {
        self.steps += steps as u64;
    }

    #[cfg(not(test))]
    fn note_steps(&mut self, _steps: usize) {}
}

impl Asker<'_> {
    fn may_ask(&self, piece: PieceIndex) -> bool {
        self.from.get(piece.get()) && self.ledger.may_ask(piece, self.peer)
    }

    fn claim(&self, piece: PieceIndex) -> Claim {
        if self.ledger.last_lead(piece) == Some(self.peer) {
            return Claim::Own;
        }
        match self.ledger.lead(piece) {
            None => Claim::Orphan,
            Some(lead) if is_slow(self.ledger, self.ledger.asked_count(lead)) => Claim::Slow,
            Some(_) => Claim::Fast,
        }
    }

    /// The piece of this number, if the peer could begin it.
    fn new_piece(&self, index: u32, used: &[PieceIndex]) -> Option<PieceIndex> {
        let piece = self.ledger.geometry().piece(index)?;
        let good = self.may_ask(piece)
            && self.ledger.state(piece) == PieceState::Missing
            && !used.contains(&piece);
        good.then_some(piece)
    }
}

/// Whether more pieces are started than the peers at work account for.
fn is_crowded(ledger: &Ledger) -> bool {
    let peers = ledger.asked_peers();
    ledger.open_pieces().len() > peers + peers / 2 + 1
}

/// Whether a peer with this many blocks in its queue is too slow for a piece of its own.
fn is_slow(ledger: &Ledger, queued: usize) -> bool {
    let geometry = ledger.geometry();
    let blocks = geometry.piece_length().div_ceil(geometry.block_length()) as usize;
    queued * LONGEST_FILL_SECONDS < blocks * QUEUE_SECONDS
}

/// The pieces in `from` that are wanted and not had, 64 at a step, from a random place on.
fn lacking<'a>(
    from: &'a Bitfield,
    ledger: &'a Ledger,
    rng: &mut Rng,
) -> impl Iterator<Item = u32> + use<'a> {
    let steps = from.len().div_ceil(64);
    let first = rng.below(steps);
    (first..steps).chain(0..first).flat_map(move |n| {
        let [theirs, wanted, have] =
            [from, ledger.wanted(), ledger.have()].map(|bits| load(bits, n));
        let mut word = theirs & wanted & !have;
        std::iter::from_fn(move || {
            let bit = word.checked_ilog2()?;
            word ^= 1 << bit;
            Some(n * 64 + 63 - bit)
        })
    })
}

/// The bits of 64 pieces, the first one highest.
fn load(bits: &Bitfield, n: u32) -> u64 {
    let bytes = bits.as_bytes().get(n as usize * 8..).unwrap_or_default();
    let mut word = [0; 8];
    let length = bytes.len().min(8);
    word[..length].copy_from_slice(&bytes[..length]);
    u64::from_be_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::geometry::{BLOCK_LENGTH, Geometry};
    use std::sync::Arc;

    const A: PeerKey = PeerKey(0);
    const B: PeerKey = PeerKey(1);
    const C: PeerKey = PeerKey(2);
    const D: PeerKey = PeerKey(3);

    /// A swarm as drawn: how many peers have each piece, and what we have.
    struct Swarm {
        picker: Picker,
        ledger: Ledger,
        rng: Rng,
    }

    /// `swarm("avail: 2221222", "have:  ...#...")`, pieces of four blocks.
    fn swarm(avail: &str, have: &str) -> Swarm {
        sized(avail, have, 4)
    }

    fn sized(avail: &str, have: &str, blocks: u32) -> Swarm {
        let avail = avail.strip_prefix("avail:").unwrap().trim();
        let have = have.strip_prefix("have:").unwrap().trim();
        let total = avail.len() as u64 * u64::from(blocks * BLOCK_LENGTH);
        let geometry = Arc::new(Geometry::new(blocks * BLOCK_LENGTH, [total]).unwrap());
        let mut picker = Picker::new(geometry.piece_count());
        for (piece, peers) in geometry.pieces().zip(avail.chars()) {
            (0..peers.to_digit(10).unwrap()).for_each(|_| picker.add(piece));
        }
        let ledger = Ledger::new(geometry, bits(have));
        Swarm { picker, ledger, rng: Rng::new(1) }
    }

    fn bits(picture: &str) -> Bitfield {
        let mut bits = Bitfield::new(picture.len() as u32);
        for (i, _) in picture.match_indices('#') {
            bits.set(i as u32, true);
        }
        bits
    }

    impl Swarm {
        /// Picks and asks; the picks as (piece, number of the block).
        fn pick_from(&mut self, from: &Bitfield, peer: PeerKey, count: usize) -> Vec<(u32, u32)> {
            let mut out = Vec::new();
            self.picker.pick(&self.ledger, from, peer, count, &mut self.rng, &mut out);
            for block in &out {
                assert!(self.ledger.ask(*block, peer), "{block:?} cannot be asked of {peer:?}");
            }
            self.ledger.check();
            out.iter().map(|b| (b.piece().get(), b.begin() / BLOCK_LENGTH)).collect()
        }

        /// The same, for a peer that has everything.
        fn pick(&mut self, peer: PeerKey, count: usize) -> Vec<(u32, u32)> {
            self.pick_from(&Bitfield::full(self.ledger.have().len()), peer, count)
        }

        /// The distinct pieces that `count` blocks for a peer come from.
        fn pieces(&mut self, peer: PeerKey, count: usize) -> Vec<u32> {
            let mut pieces: Vec<u32> = self.pick(peer, count).iter().map(|pick| pick.0).collect();
            pieces.dedup();
            pieces
        }

        /// Everything asked of a peer comes.
        fn receive_all(&mut self, peer: PeerKey) {
            let blocks: Vec<BlockRef> = self.ledger.asked_from(peer).collect();
            for block in blocks {
                self.ledger.receive(block, peer);
                self.ledger.verified(block.piece(), true);
            }
        }
    }

    #[test]
    fn the_rarest_piece_comes_first_block_by_block() {
        let mut s = swarm("avail: 4332122", "have:  ##.....");
        assert_eq!(s.pick(A, 4), [(4, 0), (4, 1), (4, 2), (4, 3)]);
        assert!(matches!(s.pieces(A, 4)[..], [3 | 5 | 6]));
        s.pick(A, 8);
        assert_eq!(s.pieces(A, 4), [2]);
        assert_eq!(s.pick(A, 9), []);
    }

    /// One digit a piece: 0 high, 1 normal, 2 low, `-` off.
    fn prioritize(s: &mut Swarm, picture: &str) {
        let number = |c: char| c.to_digit(10).map_or(-1, i64::from);
        let pieces: Vec<Priority> =
            picture.chars().map(|c| Priority::from_number(number(c)).unwrap()).collect();
        let mut wanted = Bitfield::new(pieces.len() as u32);
        for (i, priority) in (0..).zip(&pieces) {
            wanted.set(i, priority.is_wanted());
        }
        s.picker.set_priorities(&pieces);
        s.ledger.set_wanted(wanted);
    }

    #[test]
    fn better_priorities_come_first_whatever_the_rarity_and_unwanted_pieces_never() {
        let mut s = swarm("avail: 9988122", "have:  ##.....");
        prioritize(&mut s, "1120-01");
        assert_eq!(s.pieces(A, 4), [5]);
        assert_eq!(s.pieces(A, 4), [3]);
        assert_eq!(s.pieces(A, 4), [6]);
        assert_eq!(s.pieces(A, 9), [2]);
        assert_eq!(s.pick(B, 9), []);
        prioritize(&mut s, "1122121");
        assert_eq!(s.pieces(B, 4), [4]);
    }

    #[test]
    fn a_better_piece_is_begun_before_an_abandoned_one_is_finished() {
        let mut s = swarm("avail: 22222", "have:  ##...");
        s.pick_from(&bits("..#.."), A, 2);
        s.receive_all(A);
        prioritize(&mut s, "11121");
        assert_eq!(s.pieces(B, 2), [2], "an abandoned one of the same priority goes first");
        s.receive_all(B);
        prioritize(&mut s, "11120");
        assert_eq!(s.pieces(C, 2), [4]);
    }

    #[test]
    fn a_piece_that_was_lost_is_begun_again_by_its_rarity() {
        let mut s = swarm("avail: 2122", "have:  #.##");
        assert_eq!(s.pieces(A, 4), [1]);
        s.receive_all(A);
        // Those that are had are met, and sorted out.
        assert_eq!(s.pick(A, 4), []);
        for n in [0, 1] {
            let piece = s.ledger.geometry().piece(n).unwrap();
            assert!(s.ledger.doubt(piece));
            s.ledger.verified(piece, false);
            s.picker.lost(piece);
        }
        assert_eq!(s.pieces(B, 9), [1, 0]);
    }

    #[test]
    fn only_pieces_that_the_peer_has_and_we_have_not() {
        let mut s = swarm("avail: 2221222", "have:  ...#.##");
        let picks = s.pick_from(&bits(".#.#.#."), A, 9);
        assert_eq!(picks, [(1, 0), (1, 1), (1, 2), (1, 3)]);
    }

    #[test]
    fn at_first_common_pieces_are_begun() {
        for seed in 0..20 {
            let mut s = swarm("avail: 1561", "have:  #...");
            s.rng = Rng::new(seed);
            assert!(matches!(s.pieces(A, 4)[..], [1 | 2]));
        }
        let mut s = swarm("avail: 1143", "have:  ....");
        (0..2).for_each(|_| s.picker.add_all(&Bitfield::full(4)));
        let mut pieces = s.pieces(A, 8);
        pieces.sort_unstable();
        assert_eq!(pieces, [2, 3]);
    }

    #[test]
    fn at_first_everybody_helps_with_what_is_begun() {
        let mut s = swarm("avail: 2222", "have:  #...");
        let begun = s.pieces(A, 2);
        assert_eq!(s.pieces(B, 2), begun);
        assert_ne!(s.pieces(C, 2), begun);
    }

    #[test]
    fn a_peer_fills_its_piece_while_another_fills_its_own() {
        let mut s = swarm("avail: 222222", "have:  ##....");
        let (a, b) = (s.pieces(A, 2), s.pieces(B, 2));
        assert_ne!(a, b);
        s.picker.add_all(&bits("....##"));
        assert_eq!((s.pieces(A, 2), s.pieces(B, 2)), (a, b));
    }

    #[test]
    fn a_peer_returns_to_its_piece_when_its_queue_had_run_dry() {
        let mut s = swarm("avail: 22222", "have:  ##...");
        let (a, b) = (s.pieces(A, 2), s.pieces(B, 2));
        s.receive_all(A);
        s.receive_all(B);
        assert_eq!((s.pieces(B, 2), s.pieces(A, 2)), (b, a));
    }

    #[test]
    fn peers_share_a_piece_when_there_is_none_to_begin() {
        let mut s = swarm("avail: 222", "have:  ##.");
        assert_eq!(s.pick(A, 2), [(2, 0), (2, 1)]);
        assert_eq!(s.pick(B, 9), [(2, 2), (2, 3)]);
    }

    #[test]
    fn an_abandoned_piece_is_finished_before_one_no_rarer() {
        let mut s = swarm("avail: 333333", "have:  ##....");
        let begun = s.pieces(A, 2);
        s.receive_all(A);
        assert_eq!(s.pieces(B, 2), begun);
    }

    #[test]
    fn a_rarer_piece_is_begun_before_an_abandoned_one_unless_it_is_common() {
        for (avail, expected) in [("avail: 99541", 4), ("avail: 99876", 2)] {
            let mut s = swarm(avail, "have:  ##...");
            s.pick_from(&bits("..#.."), A, 2);
            s.receive_all(A);
            assert_eq!(s.pieces(B, 2), [expected], "{avail}");
        }
    }

    #[test]
    fn slow_peers_share_pieces_with_each_other() {
        let mut s = sized("avail: 333333", "have:  ##....", 64);
        let fast = s.pieces(A, 8);
        let slow = s.pieces(B, 1);
        assert_ne!(fast, slow);
        assert_eq!(s.pieces(C, 1), slow);
        assert!(![&fast, &slow].contains(&&s.pieces(D, 8)));
    }

    #[test]
    fn too_many_started_pieces_are_finished_first() {
        let mut s = swarm("avail: 1999999", "have:  .##....");
        for piece in ["...#...", "....#..", ".....#.", "......#"] {
            s.pick_from(&bits(piece), A, 1);
        }
        s.receive_all(A);
        assert_eq!(s.pieces(B, 2), [3]);
    }

    #[test]
    fn an_exclusive_retry_is_asked_of_one_peer_only() {
        let mut s = swarm("avail: 333", "have:  ##.");
        s.pick(A, 2);
        s.pick(B, 2);
        let blocks: Vec<BlockRef> = s.ledger.asked().map(|(block, _)| block).collect();
        for (n, block) in blocks.iter().enumerate() {
            s.ledger.receive(*block, if n < 2 { A } else { B });
        }
        assert_eq!(s.ledger.verified(blocks[0].piece(), false), [A, B]);
        assert_eq!(s.pick(B, 3), [(2, 0), (2, 1), (2, 2)]);
        assert_eq!(s.pick(A, 9), []);
        assert_eq!(s.pick(B, 9), [(2, 3)]);
        assert_eq!(s.pick(A, 9), [], "not in the endgame either");
    }

    #[test]
    fn one_call_never_names_a_block_twice() {
        let mut s = swarm("avail: 1223334444", "have:  ##........");
        let mut picks = s.pick(A, 1000);
        assert_eq!(picks.len(), 32);
        picks.sort_unstable();
        picks.dedup();
        assert_eq!(picks.len(), 32);
    }

    #[test]
    fn availability_follows_peers_that_come_and_go() {
        let mut s = swarm("avail: 0000", "have:  ....");
        let mut b = bits("##..");
        s.picker.add_all(&Bitfield::full(4));
        s.picker.add_all(&b);
        assert_eq!(s.picker.distributed_copies(), 1.5);
        for index in [2, 3] {
            let piece = s.ledger.geometry().piece(index).unwrap();
            s.picker.add(piece);
            b.set(index, true);
        }
        assert_eq!(s.picker.distributed_copies(), 2.0);
        s.picker.remove_all(&b);
        s.picker.remove_all(&Bitfield::full(4));
        let left: Vec<u32> =
            s.ledger.geometry().pieces().map(|piece| s.picker.availability(piece)).collect();
        assert_eq!(left, [0; 4]);
        assert_eq!(Picker::new(0).distributed_copies(), 0.0);
    }

    #[test]
    fn clients_with_other_seeds_begin_elsewhere() {
        let begin = |seed| {
            let mut s = swarm("avail: 1111111111111111", "have:  ##..............");
            s.rng = Rng::new(seed);
            s.pieces(A, 4)[0]
        };
        let begun: std::collections::BTreeSet<u32> = (0..30).map(begin).collect();
        assert!(begun.len() > 6, "{begun:?}");
    }

    #[test]
    fn any_swarm_that_has_everything_comes_to_an_end() {
        for seed in 0..40 {
            let mut s = swarm("avail: 000000000000", "have:  ............");
            s.rng = Rng::new(seed);
            // Every piece is with two of six peers.
            let mut peers = vec![Bitfield::new(12); 6];
            for piece in 0..12 {
                for i in [0, 1] {
                    peers[(piece as usize + i) % 6].set(piece, true);
                }
            }
            peers.iter().for_each(|from| s.picker.add_all(from));
            let mut rounds = 0;
            while !s.ledger.is_complete() {
                rounds += 1;
                assert!(rounds < 2_000, "seed {seed} does not end");
                let key = s.rng.below(6);
                let peer = PeerKey(u64::from(key));
                s.pick_from(&peers[key as usize], peer, 3);
                // It gives some of what it was asked for, and now and then chokes us.
                let asked: Vec<BlockRef> = s.ledger.asked_from(peer).collect();
                for block in asked.into_iter().take(s.rng.below(4) as usize) {
                    s.ledger.receive(block, peer);
                    s.ledger.verified(block.piece(), s.rng.below(5) > 0);
                }
                if s.rng.below(5) == 0 {
                    s.ledger.unask_all(peer);
                }
            }
        }
    }

    /// A torrent of 100,000 pieces of 16 blocks.
    fn large(have: Bitfield) -> Swarm {
        let length = 16 * BLOCK_LENGTH;
        let geometry = Geometry::new(length, [100_000 * u64::from(length)]).unwrap();
        let ledger = Ledger::new(Arc::new(geometry), have);
        Swarm { picker: Picker::new(100_000), ledger, rng: Rng::new(4) }
    }

    #[test]
    fn a_block_costs_little_even_among_many_pieces_and_peers() {
        let mut s = large(Bitfield::new(100_000));
        // A hundred peers with half of the pieces each, in runs of various lengths.
        let mut peers = Vec::new();
        for key in 0..100u32 {
            let mut from = Bitfield::new(100_000);
            for piece in (0..100_000u32).filter(|piece| (piece / (key + 1)) % 2 == 0) {
                from.set(piece, true);
            }
            s.picker.add_all(&from);
            peers.push(from);
        }
        let mut blocks = 0;
        for _ in 0..32 {
            for (key, from) in peers.iter().enumerate() {
                let (peer, mut out) = (PeerKey(key as u64), Vec::new());
                s.picker.pick(&s.ledger, from, peer, 8, &mut s.rng, &mut out);
                blocks += out.len() as u64;
                for block in out {
                    assert!(s.ledger.ask(block, peer));
                    s.ledger.receive(block, peer);
                    s.ledger.verified(block.piece(), true);
                }
            }
        }
        assert_eq!(blocks, 32 * 100 * 8);
        assert!(s.picker.steps < 5 * blocks, "{} steps", s.picker.steps);
    }

    #[test]
    fn the_last_pieces_of_a_peer_with_little_are_found() {
        let mut have = Bitfield::full(100_000);
        for piece in (0..100_000).step_by(2) {
            have.set(piece, false);
        }
        let mut s = large(have);
        let mut from = Bitfield::new(100_000);
        for piece in [11, 70_001, 70_002] {
            from.set(piece, true);
        }
        s.picker.add_all(&from);
        assert_eq!(s.pick_from(&from, A, 1), [(70_002, 0)]);
        assert_eq!(s.pick_from(&from, A, 99).len(), 15);
        s.picker.steps = 0;
        assert_eq!(s.pick_from(&from, B, 99), []);
        assert!(s.picker.steps < 1_000, "{} steps", s.picker.steps);
    }
}
