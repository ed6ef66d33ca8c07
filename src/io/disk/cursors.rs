//! Running hashes of the pieces that are being written.
//!
//! A block that continues its piece is hashed at once, while it is in the CPU's cache. One that
//! comes early is only noted; when the gap before it closes it is read back from the page cache,
//! so one block out of order costs one block read back and not the rest of its piece.

use crate::proto::order;
use std::collections::HashMap;

use crate::proto::geometry::{BlockRef, PieceIndex};
use crate::proto::hash::Sha1;

/// How many pieces have a running hash at a time. The one touched longest ago gives way, and is
/// read back whole when it is verified.
pub(super) const MAX_CURSORS: usize = 64;

/// How many separate runs of early blocks are remembered of a piece. What is not remembered is
/// read back when the piece is verified.
const MAX_EARLY: usize = 256;

/// How far a piece is hashed. Everything before `next` was written and hashed as it was written.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    pub hash: Sha1,
    /// Offset of the first byte that is not hashed.
    pub next: u32,
    /// Ranges behind `next` that are written, ascending, apart from each other.
    early: Vec<(u32, u32)>,
    touched: u64,
}

/// A torrent's number, and a piece of it.
pub(super) type Key = (u64, PieceIndex);

#[derive(Debug, Default)]
pub(super) struct Cursors {
    by_piece: HashMap<Key, Cursor>,
    clock: u64,
}

impl Cursors {
    /// The cursor of a piece, a new one at its start if it has none.
    pub fn of(&mut self, key: Key) -> &mut Cursor {
        self.clock += 1;
        if self.by_piece.len() >= MAX_CURSORS && !self.by_piece.contains_key(&key) {
            let oldest = self.by_piece.iter().min_by_key(|(_, c)| c.touched).map(|(key, _)| *key);
            oldest.and_then(|key| self.by_piece.remove(&key));
        }
        let cursor = self.by_piece.entry(key).or_default();
        cursor.touched = self.clock;
        cursor
    }

    /// Takes the cursor of a piece away.
    pub fn take(&mut self, key: Key) -> Cursor {
        self.by_piece.remove(&key).unwrap_or_default()
    }

    /// Puts back what [`Cursors::take`] took.
    pub fn put(&mut self, key: Key, cursor: Cursor) {
        *self.of(key) = Cursor { touched: self.clock, ..cursor };
    }

    /// Takes the cursors of all pieces of a torrent away.
    pub fn forget(&mut self, torrent: u64) {
        self.by_piece.retain(|(number, _), _| *number != torrent);
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.by_piece.len()
    }
}

impl Cursor {
    /// Hashes a block if it comes next. One that lies before (written a second time) puts the
    /// cursor back to the start: what was hashed of it may no longer be what the file holds.
    pub fn feed(&mut self, block: BlockRef, data: &[u8]) {
        if block.begin() == self.next {
            self.hash.update(data);
            self.next = block.end();
        } else if block.begin() < self.next {
            *self = Cursor { touched: self.touched, ..Cursor::default() };
        }
    }

    /// Notes that a block is in its file, if it was not hashed already.
    pub fn written(&mut self, block: BlockRef) {
        if block.begin() < self.next || self.early.len() >= MAX_EARLY {
            return;
        }
        self.early.push((block.begin(), block.end()));
        order::by(&mut self.early, Ord::cmp);
        self.early.dedup_by(|later, first| {
            let joined = later.0 <= first.1;
            if joined {
                first.1 = first.1.max(later.1);
            }
            joined
        });
    }

    /// Up to where the bytes that come next are written, if they are: the caller hashes them from
    /// the file and moves `next` there.
    pub fn due(&mut self) -> Option<u32> {
        while let Some(&(_, end)) = self.early.first().filter(|run| run.0 <= self.next) {
            self.early.remove(0);
            if end > self.next {
                return Some(end);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::geometry::Geometry;

    #[test]
    fn the_piece_touched_longest_ago_gives_way() {
        let geometry = Geometry::new(1, [1000]).unwrap();
        let piece = |n| geometry.piece(n).unwrap();
        let mut cursors = Cursors::default();
        for n in 0..MAX_CURSORS as u32 {
            cursors.of((7, piece(n))).next = 1;
        }
        cursors.of((7, piece(0)));
        cursors.of((7, piece(999)));
        assert_eq!(cursors.count(), MAX_CURSORS);
        assert_eq!(cursors.take((7, piece(1))).next, 0, "gave way");
        assert_eq!(cursors.take((8, piece(0))).next, 0, "of another torrent");
        assert_eq!(cursors.take((7, piece(0))).next, 1, "was touched");
    }

    #[test]
    fn early_blocks_are_due_once_the_gap_closes() {
        let geometry = Geometry::new(100, [100]).unwrap();
        let block = |begin, length| geometry.range(0, begin, length).unwrap();
        let mut cursor = Cursor::default();
        for early in [(40, 10), (20, 10), (30, 10), (70, 10)] {
            cursor.feed(block(early.0, early.1), &[0; 10]);
            cursor.written(block(early.0, early.1));
        }
        assert_eq!((cursor.due(), cursor.next), (None, 0));
        cursor.feed(block(0, 20), &[0; 20]);
        cursor.written(block(0, 20));
        assert_eq!((cursor.next, cursor.due()), (20, Some(50)));
        cursor.next = 50;
        assert_eq!(cursor.due(), None);
        cursor.feed(block(0, 10), &[1; 10]);
        assert_eq!(cursor.next, 0, "a second write makes the hash void");
    }
}
