//! The pieces in order of availability, kept so at every change.
//!
//! One table holds the pieces, rarest first; all of one availability (a *level*) stand together.
//! A piece that becomes more common by one changes places with the last of its level, and the
//! border moves by one: no change costs more than that, however many pieces there are.

use std::ops::Range;

/// The position of a piece that was taken out.
const GONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Order {
    /// How many peers have each piece, also of those taken out.
    counts: Vec<u32>,
    /// Pieces, rarest first.
    pieces: Vec<u32>,
    /// Where in `pieces` a piece stands.
    positions: Vec<u32>,
    /// Where in `pieces` each level ends; it begins where the one before it ends.
    ends: Vec<u32>,
}

impl Order {
    /// `count` pieces that nobody has.
    pub(super) fn new(count: u32) -> Order {
        Order {
            counts: vec![0; count as usize],
            pieces: (0..count).collect(),
            positions: (0..count).collect(),
            ends: vec![count],
        }
    }

    /// How many peers have a piece.
    pub(super) fn count(&self, piece: u32) -> u32 {
        self.counts[piece as usize]
    }

    /// How many peers have each piece.
    pub(super) fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// The piece at a position.
    pub(super) fn at(&self, position: u32) -> u32 {
        self.pieces[position as usize]
    }

    /// The positions of every level, rarest first.
    pub(super) fn levels(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        (0..self.ends.len()).map(|level| self.start(level)..self.ends[level])
    }

    /// The first position of a piece that at least `count` peers have.
    pub(super) fn start(&self, count: usize) -> u32 {
        match count.checked_sub(1) {
            None => 0,
            Some(below) => self.ends.get(below).copied().unwrap_or(self.pieces.len() as u32),
        }
    }

    /// One more peer has a piece.
    pub(super) fn increase(&mut self, piece: u32) {
        let level = self.count(piece) as usize;
        self.counts[piece as usize] += 1;
        if self.positions[piece as usize] == GONE {
            return;
        }
        while self.ends.len() <= level + 1 {
            self.ends.push(self.pieces.len() as u32);
        }
        self.ends[level] -= 1;
        self.put(piece, self.ends[level]);
    }

    /// One peer less has a piece; nothing happens if none had it.
    pub(super) fn decrease(&mut self, piece: u32) {
        let level = self.count(piece) as usize;
        if level == 0 {
            return;
        }
        self.counts[piece as usize] -= 1;
        if self.positions[piece as usize] != GONE {
            self.put(piece, self.ends[level - 1]);
            self.ends[level - 1] += 1;
        }
    }

    /// Takes a piece out, for good; it is still counted.
    pub(super) fn remove(&mut self, piece: u32) {
        if self.positions[piece as usize] == GONE {
            return;
        }
        // Level by level it moves behind the last of them.
        for level in self.count(piece) as usize..self.ends.len() {
            self.ends[level] -= 1;
            self.put(piece, self.ends[level]);
        }
        self.pieces.pop();
        self.positions[piece as usize] = GONE;
    }

    /// Puts a piece at a position, and the one that was there in its place.
    fn put(&mut self, piece: u32, position: u32) {
        let from = self.positions[piece as usize];
        let other = self.at(position);
        self.pieces.swap(from as usize, position as usize);
        self.positions[other as usize] = from;
        self.positions[piece as usize] = position;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::rng::Rng;

    fn check(order: &Order, gone: &[u32]) {
        let mut seen = Vec::new();
        for (level, range) in order.levels().enumerate() {
            for position in range {
                let piece = order.at(position);
                assert_eq!(order.count(piece) as usize, level, "{order:?}");
                assert_eq!(order.positions[piece as usize], position, "{order:?}");
                seen.push(piece);
            }
        }
        seen.sort_unstable();
        let expected = (0..order.counts.len() as u32).filter(|piece| !gone.contains(piece));
        assert_eq!(seen, expected.collect::<Vec<_>>());
    }

    #[test]
    fn pieces_stay_in_order_whatever_happens() {
        let mut rng = Rng::new(5);
        let mut order = Order::new(12);
        let (mut gone, mut counts) = (Vec::new(), [0u32; 12]);
        for step in 0..3_000 {
            let piece = rng.below(12);
            match rng.below(20) {
                0 if step > 2_000 => {
                    order.remove(piece);
                    gone.push(piece);
                }
                0..=10 => {
                    order.increase(piece);
                    counts[piece as usize] += 1;
                }
                _ => {
                    order.decrease(piece);
                    counts[piece as usize] = counts[piece as usize].saturating_sub(1);
                }
            }
            assert_eq!(order.counts(), counts);
            check(&order, &gone);
        }
        assert!(order.pieces.is_empty());
    }

    #[test]
    fn levels_begin_where_enough_peers_have_a_piece() {
        let mut order = Order::new(4);
        for piece in [1, 2, 2, 3, 3, 3] {
            order.increase(piece);
        }
        let starts: Vec<u32> = (0..6).map(|count| order.start(count)).collect();
        assert_eq!(starts, [0, 1, 2, 3, 4, 4]);
        assert_eq!((0..4).map(|i| order.at(i)).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }
}
