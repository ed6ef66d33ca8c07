//! Block buffers, lent and taken back.

use crate::proto::geometry::BLOCK_LENGTH;

/// Buffers of the length of a block, with a limit on how many are out at a time. The limit bounds
/// the memory between sockets and disk: who gets no buffer stops reading from its peer.
#[derive(Debug)]
pub struct Pool {
    free: Vec<Vec<u8>>,
    lent: usize,
    limit: usize,
    /// Length of a block, in bytes.
    length: usize,
}

impl Pool {
    /// A pool that lends at most `limit` buffers of [`BLOCK_LENGTH`] bytes at a time.
    pub fn new(limit: usize) -> Pool {
        Pool::with_block_length(limit, BLOCK_LENGTH)
    }

    /// The same, with buffers of another length (bytes).
    pub fn with_block_length(limit: usize, length: u32) -> Pool {
        Pool { free: Vec::new(), lent: 0, limit, length: length as usize }
    }

    /// A buffer of `length` bytes (at most a block's length) with any content, or `None` while
    /// all are out.
    pub fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        if self.lent >= self.limit || length > self.length {
            return None;
        }
        self.lent += 1;
        let mut buffer = self.free.pop().unwrap_or_else(|| vec![0; self.length]);
        // Grows again what the last short block of a torrent had cut.
        buffer.resize(length, 0);
        Some(buffer)
    }

    /// Takes a buffer back. One that was not lent here only adds to the free ones.
    pub fn give(&mut self, buffer: Vec<u8>) {
        self.lent = self.lent.saturating_sub(1);
        if self.free.len() < self.limit && buffer.capacity() >= self.length {
            self.free.push(buffer);
        }
    }

    /// So many buffers that were lent will not come back.
    pub fn write_off(&mut self, count: usize) {
        self.lent = self.lent.saturating_sub(count);
    }

    /// How many buffers are lent at most.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether a buffer could be had now.
    pub fn has_room(&self) -> bool {
        self.lent < self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lends_no_more_than_its_limit() {
        let mut pool = Pool::new(2);
        let a = pool.take(5).unwrap();
        let b = pool.take(16_384).unwrap();
        assert_eq!((a.len(), b.len()), (5, 16_384));
        assert!(pool.take(1).is_none() && !pool.has_room());
        pool.give(a);
        assert_eq!(pool.take(16_384).unwrap().len(), 16_384);
        assert!(!pool.has_room());
        pool.write_off(1);
        assert!(pool.take(1).is_some() && !pool.has_room());
    }
}
