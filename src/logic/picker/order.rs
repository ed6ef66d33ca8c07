//! The pieces by priority, and in order of availability within, kept so at every change.
//!
//! For each priority one table holds its pieces, rarest first; all of one availability (a *level*)
//! stand together. A piece that becomes more common by one changes places with the last of its
//! level, and the border moves by one: no change costs more than that, however many pieces there
//! are. Pieces that are not to be looked for stand nowhere, but are counted.

use crate::logic::priority::Priority;
use std::ops::Range;

/// The priorities that have a table.
pub(super) const CLASSES: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];

/// The position of a piece that stands nowhere.
const GONE: u32 = u32::MAX;

#[derive(Debug, Default)]
struct Table {
    /// Rarest first.
    pieces: Vec<u32>,
    /// Where in `pieces` each level ends; it begins where the one before it ends.
    ends: Vec<u32>,
}

#[derive(Debug)]
pub(super) struct Order {
    /// How many peers have each piece, wherever it stands.
    counts: Vec<u32>,
    /// How many of them are 0.
    zeros: u32,
    priorities: Vec<Priority>,
    /// Where in its table a piece stands.
    positions: Vec<u32>,
    tables: [Table; 3],
}

impl Order {
    /// `count` pieces of normal priority that nobody has.
    pub(super) fn new(count: u32) -> Order {
        let normal = Table { pieces: (0..count).collect(), ends: vec![count] };
        Order {
            counts: vec![0; count as usize],
            zeros: count,
            priorities: vec![Priority::Normal; count as usize],
            positions: (0..count).collect(),
            tables: [Table::default(), normal, Table::default()],
        }
    }

    /// How many peers have a piece.
    pub(super) fn count(&self, piece: u32) -> u32 {
        self.counts[piece as usize]
    }

    /// How many pieces nobody has.
    pub(super) fn unspread(&self) -> u32 {
        self.zeros
    }

    /// How many peers have each piece.
    pub(super) fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// The priority of a piece.
    pub(super) fn priority(&self, piece: u32) -> Priority {
        self.priorities[piece as usize]
    }

    /// The piece at a position among those of a priority that has a table.
    pub(super) fn at(&self, class: Priority, position: u32) -> u32 {
        self.tables[class as usize].pieces[position as usize]
    }

    /// The positions of every level of a priority that has a table, rarest first.
    pub(super) fn levels(&self, class: Priority) -> impl Iterator<Item = Range<u32>> + '_ {
        let table = &self.tables[class as usize];
        (0..table.ends.len()).map(|level| table.start(level)..table.ends[level])
    }

    /// The first position, in such a table, of a piece that at least `count` peers have.
    pub(super) fn start(&self, class: Priority, count: usize) -> u32 {
        self.tables[class as usize].start(count)
    }

    /// One more peer has a piece.
    pub(super) fn increase(&mut self, piece: u32) {
        let level = self.count(piece) as usize;
        self.zeros -= u32::from(self.counts[piece as usize] == 0);
        self.counts[piece as usize] += 1;
        if let Some(table) = self.table(piece) {
            table.reach(level + 1);
            table.ends[level] -= 1;
            let last = table.ends[level];
            self.put(piece, last);
        }
    }

    /// One peer less has a piece; nothing happens if none had it.
    pub(super) fn decrease(&mut self, piece: u32) {
        let level = self.count(piece) as usize;
        if level == 0 {
            return;
        }
        self.counts[piece as usize] -= 1;
        self.zeros += u32::from(self.counts[piece as usize] == 0);
        if let Some(table) = self.table(piece) {
            let first = table.ends[level - 1];
            table.ends[level - 1] += 1;
            self.put(piece, first);
        }
    }

    /// Takes a piece out of its table, if it stands in one; it is still counted.
    pub(super) fn remove(&mut self, piece: u32) {
        let level = self.count(piece) as usize;
        let Some(levels) = self.table(piece).map(|table| table.ends.len()) else { return };
        // Level by level it moves behind the last of them.
        for level in level..levels {
            let table = self.table(piece).expect("looked at just now");
            table.ends[level] -= 1;
            let last = table.ends[level];
            self.put(piece, last);
        }
        self.table(piece).expect("looked at just now").pieces.pop();
        self.positions[piece as usize] = GONE;
    }

    /// Gives a piece a priority. It stands in its table then, if that has one.
    pub(super) fn place(&mut self, piece: u32, priority: Priority) {
        self.remove(piece);
        self.priorities[piece as usize] = priority;
        if priority == Priority::Off {
            return;
        }
        let level = self.count(piece) as usize;
        let table = &mut self.tables[priority as usize];
        self.positions[piece as usize] = table.pieces.len() as u32;
        table.pieces.push(piece);
        table.reach(level);
        // From behind the last level it moves down to its own.
        let highest = table.ends.len() - 1;
        self.tables[priority as usize].ends[highest] += 1;
        for below in (level..highest).rev() {
            let first = self.tables[priority as usize].ends[below];
            self.put(piece, first);
            self.tables[priority as usize].ends[below] += 1;
        }
    }

    /// The table a piece stands in.
    fn table(&mut self, piece: u32) -> Option<&mut Table> {
        if self.positions[piece as usize] == GONE {
            return None;
        }
        let priority = self.priority(piece);
        self.tables.get_mut(priority as usize)
    }

    /// Puts a piece at a position of its table, and the one that was there in its place.
    fn put(&mut self, piece: u32, position: u32) {
        let from = self.positions[piece as usize];
        let table = &mut self.tables[self.priorities[piece as usize] as usize];
        let other = table.pieces[position as usize];
        table.pieces.swap(from as usize, position as usize);
        self.positions[other as usize] = from;
        self.positions[piece as usize] = position;
    }
}

impl Table {
    /// The first position of a piece that at least `count` peers have.
    fn start(&self, count: usize) -> u32 {
        match count.checked_sub(1) {
            None => 0,
            Some(below) => self.ends.get(below).copied().unwrap_or(self.pieces.len() as u32),
        }
    }

    /// Makes sure that there is a level, if only an empty one.
    fn reach(&mut self, level: usize) {
        // A piece that is about to be placed is not counted in any level yet.
        let end = self.ends.last().copied().unwrap_or(0);
        while self.ends.len() <= level {
            self.ends.push(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::rng::Rng;

    fn check(order: &Order, gone: &[u32]) {
        let mut seen = Vec::new();
        for class in CLASSES {
            for (level, range) in order.levels(class).enumerate() {
                for position in range {
                    let piece = order.at(class, position);
                    assert_eq!(order.count(piece) as usize, level, "{order:?}");
                    assert_eq!(order.priority(piece), class, "{order:?}");
                    assert_eq!(order.positions[piece as usize], position, "{order:?}");
                    seen.push(piece);
                }
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
        for _ in 0..6_000 {
            let piece = rng.below(12);
            match rng.below(20) {
                0 => {
                    order.remove(piece);
                    gone.push(piece);
                }
                1 => {
                    let class = [Priority::High, Priority::Normal, Priority::Low, Priority::Off]
                        [rng.below(4) as usize];
                    order.place(piece, class);
                    gone.retain(|other| *other != piece);
                    gone.extend((class == Priority::Off).then_some(piece));
                }
                2..=10 => {
                    order.increase(piece);
                    counts[piece as usize] += 1;
                }
                _ => {
                    order.decrease(piece);
                    counts[piece as usize] = counts[piece as usize].saturating_sub(1);
                }
            }
            assert_eq!(order.counts(), counts);
            assert_eq!(order.unspread() as usize, counts.iter().filter(|c| **c == 0).count());
            check(&order, &gone);
        }
    }

    #[test]
    fn levels_begin_where_enough_peers_have_a_piece() {
        let mut order = Order::new(4);
        for piece in [1, 2, 2, 3, 3, 3] {
            order.increase(piece);
        }
        let normal = Priority::Normal;
        let starts: Vec<u32> = (0..6).map(|count| order.start(normal, count)).collect();
        assert_eq!(starts, [0, 1, 2, 3, 4, 4]);
        assert_eq!((0..4).map(|i| order.at(normal, i)).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(order.start(Priority::High, 3), 0);
    }
}
