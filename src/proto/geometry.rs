//! Pieces, blocks and file ranges: all the arithmetic of a torrent's content, in one place.
//!
//! [`Geometry`] is the only maker of [`PieceIndex`] and [`BlockRef`]: integers from the wire are
//! checked once, here, and never again.

use std::fmt;

/// The usual length of a block, in bytes: what one `request` asks for.
/// [`Geometry::with_block_length`] sets another.
pub const BLOCK_LENGTH: u32 = 16 * 1024;

/// The largest piece length taken, in bytes (128 MiB, four times what any maker offers today).
pub const MAX_PIECE_LENGTH: u32 = 1 << 27;

/// The number of a piece that exists in the torrent it came from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PieceIndex(u32);

impl PieceIndex {
    /// The number, as on the wire.
    pub fn get(self) -> u32 {
        self.0
    }

    /// The number, for indexing a table with one entry a piece.
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for PieceIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A non-empty range of bytes inside one piece.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockRef {
    piece: PieceIndex,
    begin: u32,
    length: u32,
}

impl BlockRef {
    /// The piece it lies in.
    pub fn piece(self) -> PieceIndex {
        self.piece
    }

    /// Offset in the piece, in bytes.
    pub fn begin(self) -> u32 {
        self.begin
    }

    /// Number of bytes, at least 1.
    pub fn length(self) -> u32 {
        self.length
    }

    /// Offset behind its last byte, in the piece.
    pub fn end(self) -> u32 {
        self.begin + self.length
    }
}

impl fmt::Debug for BlockRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}[{}+{}]", self.piece, self.begin, self.length)
    }
}

/// A part of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileRange {
    /// Number of the file, in the order of the torrent.
    pub file: usize,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Number of bytes, at least 1.
    pub length: u64,
}

/// Why a torrent's measures make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeometryError {
    /// A piece length of 0 or above [`MAX_PIECE_LENGTH`].
    PieceLength,
    /// More bytes than 2^63, or more than 2^31 pieces.
    TooLarge,
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GeometryError::PieceLength => "bad piece length",
            GeometryError::TooLarge => "too large",
        })
    }
}

impl std::error::Error for GeometryError {}

/// The measures of a torrent's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Geometry {
    total: u64,
    piece_length: u32,
    pieces: u32,
    block_length: u32,
    /// Offset of each file's first byte in the content; one more entry than files, the last is
    /// `total`.
    starts: Box<[u64]>,
}

impl Geometry {
    /// Content made of files of these lengths (bytes), cut into pieces of `piece_length` bytes.
    ///
    /// # Errors
    /// A piece length of 0 or beyond [`MAX_PIECE_LENGTH`], or a total that no client could hold.
    pub fn new(
        piece_length: u32,
        file_lengths: impl IntoIterator<Item = u64>,
    ) -> Result<Geometry, GeometryError> {
        if piece_length == 0 || piece_length > MAX_PIECE_LENGTH {
            return Err(GeometryError::PieceLength);
        }
        let mut total = 0u64;
        let mut starts = vec![0];
        for length in file_lengths {
            total = total.checked_add(length).ok_or(GeometryError::TooLarge)?;
            starts.push(total);
        }
        let pieces = total.div_ceil(u64::from(piece_length));
        if total > i64::MAX as u64 || pieces > 1 << 31 {
            return Err(GeometryError::TooLarge);
        }
        let pieces = pieces as u32;
        let block_length = BLOCK_LENGTH;
        Ok(Geometry { total, piece_length, pieces, block_length, starts: starts.into() })
    }

    /// The same content, asked for in blocks of another length than [`BLOCK_LENGTH`] (bytes, at
    /// least 1).
    pub fn with_block_length(self, block_length: u32) -> Geometry {
        Geometry { block_length: block_length.max(1), ..self }
    }

    /// The length of what one `request` asks for, in bytes; the last of a piece may be shorter.
    pub fn block_length(&self) -> u32 {
        self.block_length
    }

    /// All bytes of the content.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Length of every piece but the last, in bytes.
    pub fn piece_length(&self) -> u32 {
        self.piece_length
    }

    /// Number of pieces; 0 for empty content.
    pub fn piece_count(&self) -> u32 {
        self.pieces
    }

    /// Number of files.
    pub fn file_count(&self) -> usize {
        self.starts.len() - 1
    }

    /// Length of file number `file`, in bytes.
    pub fn file_length(&self, file: usize) -> u64 {
        self.starts[file + 1] - self.starts[file]
    }

    /// Offset of the first byte of file number `file` in the content.
    pub fn file_start(&self, file: usize) -> u64 {
        self.starts[file]
    }

    /// The piece of this number, if there is one.
    pub fn piece(&self, index: u32) -> Option<PieceIndex> {
        (index < self.pieces).then_some(PieceIndex(index))
    }

    /// Every piece, ascending.
    pub fn pieces(&self) -> impl DoubleEndedIterator<Item = PieceIndex> + use<> {
        (0..self.pieces).map(PieceIndex)
    }

    /// Length of a piece in bytes; only the last may be shorter than the others.
    pub fn piece_size(&self, piece: PieceIndex) -> u32 {
        let start = self.piece_start(piece);
        u64::from(self.piece_length).min(self.total - start) as u32
    }

    /// Offset of a piece's first byte in the content.
    pub fn piece_start(&self, piece: PieceIndex) -> u64 {
        u64::from(piece.0) * u64::from(self.piece_length)
    }

    /// Number of blocks of a piece.
    pub fn block_count(&self, piece: PieceIndex) -> u32 {
        self.piece_size(piece).div_ceil(self.block_length)
    }

    /// Block number `n` of a piece, if there is one.
    pub fn block(&self, piece: PieceIndex, n: u32) -> Option<BlockRef> {
        let size = self.piece_size(piece);
        let begin = n.checked_mul(self.block_length).filter(|begin| *begin < size)?;
        Some(BlockRef { piece, begin, length: self.block_length.min(size - begin) })
    }

    /// Which of its piece's blocks this is; `None` if it is not exactly one of them.
    pub fn block_number(&self, block: BlockRef) -> Option<u32> {
        let n = block.begin / self.block_length;
        (self.block(block.piece, n) == Some(block)).then_some(n)
    }

    /// A range of bytes that a peer named, if it lies inside one piece and is not empty.
    pub fn range(&self, index: u32, begin: u32, length: u32) -> Option<BlockRef> {
        let piece = self.piece(index)?;
        let end = begin.checked_add(length)?;
        (length > 0 && end <= self.piece_size(piece)).then_some(BlockRef { piece, begin, length })
    }

    /// The whole of a piece as one range.
    pub fn whole_piece(&self, piece: PieceIndex) -> BlockRef {
        BlockRef { piece, begin: 0, length: self.piece_size(piece) }
    }

    /// The files a range of bytes lies in, in order; files of length 0 are left out.
    pub fn file_ranges(&self, range: BlockRef) -> impl Iterator<Item = FileRange> + '_ {
        let begin = self.piece_start(range.piece) + u64::from(range.begin);
        self.file_ranges_between(begin, begin + u64::from(range.length))
    }

    /// The same for the bytes of the content from offset `begin` up to `end`, which is behind it.
    pub fn file_ranges_between(
        &self,
        begin: u64,
        end: u64,
    ) -> impl Iterator<Item = FileRange> + '_ {
        // The last file that starts at or before `begin`; empty files before it start there too.
        let first = self.starts.partition_point(|start| *start <= begin) - 1;
        (first..self.file_count()).take_while(move |f| self.starts[*f] < end).filter_map(move |f| {
            let from = begin.max(self.starts[f]);
            let to = end.min(self.starts[f + 1]);
            (from < to).then(|| FileRange {
                file: f,
                offset: from - self.starts[f],
                length: to - from,
            })
        })
    }

    /// The pieces that hold bytes of a file, as a range of piece numbers; empty for an empty file.
    pub fn pieces_of_file(&self, file: usize) -> std::ops::Range<u32> {
        let (start, end) = (self.starts[file], self.starts[file + 1]);
        let length = u64::from(self.piece_length);
        if start == end {
            return 0..0;
        }
        (start / length) as u32..end.div_ceil(length) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_piece_and_block_are_shorter() {
        let g = Geometry::new(40_000, [100_001]).unwrap();
        assert_eq!(g.piece_count(), 3);
        let sizes: Vec<u32> = g.pieces().map(|p| g.piece_size(p)).collect();
        assert_eq!(sizes, [40_000, 40_000, 20_001]);
        let last = g.piece(2).unwrap();
        assert_eq!(g.block_count(last), 2);
        assert_eq!(g.block(last, 1).unwrap().length(), 20_001 - 16_384);
        assert_eq!(g.block(last, 2), None);
        assert_eq!(g.piece(3), None);
    }

    #[test]
    fn blocks_are_as_long_as_is_set() {
        let g = Geometry::new(40_000, [100_001]).unwrap().with_block_length(30_000);
        let piece = g.piece(1).unwrap();
        assert_eq!((g.block_count(piece), g.block_length()), (2, 30_000));
        let block = g.block(piece, 1).unwrap();
        assert_eq!((block.begin(), block.length()), (30_000, 10_000));
        assert_eq!(g.block_number(block), Some(1));
        assert_eq!(g.block_number(g.range(1, 0, 16_384).unwrap()), None);
    }

    #[test]
    fn ranges_from_the_wire_are_checked() {
        let g = Geometry::new(32_768, [40_000]).unwrap();
        assert!(g.range(1, 0, 7_232).is_some());
        for bad in [(1, 0, 7_233), (2, 0, 1), (0, 32_768, 1), (0, 0, 0), (0, u32::MAX, 2)] {
            assert_eq!(g.range(bad.0, bad.1, bad.2), None, "{bad:?}");
        }
        let odd = g.range(0, 1, 16_384).unwrap();
        assert_eq!(g.block_number(odd), None);
        assert_eq!(g.block_number(g.range(0, 16_384, 16_384).unwrap()), Some(1));
    }

    #[test]
    fn a_range_is_spread_over_the_files_it_covers() {
        let g = Geometry::new(10, [4, 0, 3, 0, 0, 12, 0]).unwrap();
        let ranges = |p, b, l| -> Vec<(usize, u64, u64)> {
            let range = g.range(p, b, l).unwrap();
            g.file_ranges(range).map(|r| (r.file, r.offset, r.length)).collect()
        };
        assert_eq!(ranges(0, 0, 10), [(0, 0, 4), (2, 0, 3), (5, 0, 3)]);
        assert_eq!(ranges(0, 4, 3), [(2, 0, 3)]);
        assert_eq!(ranges(1, 2, 7), [(5, 5, 7)]);
        assert_eq!(g.pieces_of_file(5), 0..2);
        assert_eq!(g.pieces_of_file(3), 0..0);
    }

    #[test]
    fn refuses_measures_that_make_no_sense() {
        assert_eq!(Geometry::new(0, [1]), Err(GeometryError::PieceLength));
        assert_eq!(Geometry::new(u32::MAX, [1]), Err(GeometryError::PieceLength));
        assert_eq!(Geometry::new(1, [u64::MAX, 1]), Err(GeometryError::TooLarge));
        assert_eq!(Geometry::new(16_384, [u64::MAX / 2]), Err(GeometryError::TooLarge));
        assert_eq!(Geometry::new(16_384, [0]).unwrap().piece_count(), 0);
    }
}
