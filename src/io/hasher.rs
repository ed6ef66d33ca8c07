//! Hash workers for the makers and for checking data at start.
//!
//! The pieces are handed out in the order given, so that with all threads together the disk sees
//! one nearly sequential read; their hashes come back as they get ready, hardly out of order.
//! Memory is [`BUFFER`] a thread, whatever the piece length. Decides nothing: what a piece should
//! hash to is not known here.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::io::mailbox::{JobSender, jobs};
use crate::proto::geometry::{BlockRef, Geometry, PieceIndex};
use crate::proto::hash::Sha1;
use crate::proto::merkle::{Cut, Node, PieceTree};

/// How much a thread reads at once, in bytes: stays in the CPU's cache until it is hashed.
pub const BUFFER: u32 = 128 * 1024;

/// How much a thread hashes before it tells of it, in bytes: to wake another for each small piece
/// would cost as much as to hash it.
const PORTION: u32 = 4 << 20;

/// And how many pieces, whatever their length.
const MAX_PORTION: usize = 64;

/// The most threads used: more only wait for memory or the disk.
pub const MAX_THREADS: usize = 16;

/// One run over many pieces.
#[derive(Debug, Clone, Copy)]
pub struct Hasher<'a> {
    /// The measures of the content.
    pub geometry: &'a Geometry,
    /// How many threads; between 1 and [`MAX_THREADS`] are used. See [`threads`].
    pub threads: usize,
    /// Set by anybody: the run then ends soon, with pieces left out.
    pub stop: &'a AtomicBool,
}

/// Which hashes of a piece are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// The SHA-1 of all of it.
    pub sha1: bool,
    /// The root of the tree over this part of it (BEP 52).
    pub tree: Option<Cut>,
}

/// What was wished for of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashes {
    /// The SHA-1.
    pub sha1: Option<[u8; 20]>,
    /// The root of the tree.
    pub root: Option<Node>,
}

/// A piece and its hashes, or why there are none.
type Told<E> = (PieceIndex, Result<Hashes, E>);

/// The hashes of a piece of which all bytes are there.
pub fn hashes(bytes: &[u8], wish: Wish) -> Hashes {
    // A piece is never longer than a u32 says.
    let mut running = Running::new(wish, bytes.len() as u32);
    running.update(bytes);
    running.finish()
}

/// The hashes of a piece that is being read.
struct Running {
    sha1: Option<Sha1>,
    tree: Option<PieceTree>,
    /// How many bytes of the piece have to be read.
    length: u32,
}

impl Running {
    /// For a piece of `size` bytes: what is padding for the tree need not be read for it.
    fn new(wish: Wish, size: u32) -> Running {
        let length = match wish.tree {
            Some(cut) if !wish.sha1 => cut.length.min(size),
            _ => size,
        };
        Running { sha1: wish.sha1.then(Sha1::new), tree: wish.tree.map(PieceTree::new), length }
    }

    fn update(&mut self, bytes: &[u8]) {
        if let Some(sha1) = &mut self.sha1 {
            sha1.update(bytes);
        }
        if let Some(tree) = &mut self.tree {
            tree.update(bytes);
        }
    }

    fn finish(self) -> Hashes {
        let root = self.tree.map(PieceTree::finish);
        Hashes { sha1: self.sha1.map(Sha1::finish), root }
    }
}

/// As many threads as the machine runs at once.
pub fn threads() -> usize {
    thread::available_parallelism().map_or(1, |n| n.get()).min(MAX_THREADS)
}

impl Hasher<'_> {
    /// Reads each of `pieces` by `read`, on several threads, and calls `each` with the SHA-1, or
    /// with the first error of the piece, here on this thread. Returns when all is done or
    /// stopped. A slow `each` slows the reading down.
    pub fn run<E: Send>(
        &self,
        pieces: impl Iterator<Item = PieceIndex> + Send,
        read: impl Fn(BlockRef, &mut [u8]) -> Result<(), E> + Sync,
        mut each: impl FnMut(PieceIndex, Result<[u8; 20], E>),
    ) {
        let wish = |_| Wish { sha1: true, tree: None };
        self.run_for(pieces, wish, read, |piece, hashes| {
            let sha1 = hashes.map(|hashes| hashes.sha1.expect("wished for"));
            each(piece, sha1);
        });
    }

    /// Like [`run`](Self::run), for the hashes that `wish` says of each piece. Each byte is read
    /// once, however many hashes it goes into.
    pub fn run_for<E: Send>(
        &self,
        pieces: impl Iterator<Item = PieceIndex> + Send,
        wish: impl Fn(PieceIndex) -> Wish + Sync,
        read: impl Fn(BlockRef, &mut [u8]) -> Result<(), E> + Sync,
        mut each: impl FnMut(PieceIndex, Result<Hashes, E>),
    ) {
        let threads = self.threads.clamp(1, MAX_THREADS);
        let pieces = Mutex::new(pieces);
        let (sender, told) = jobs(2 * threads);
        thread::scope(|scope| {
            for _ in 0..threads {
                let sender = sender.clone();
                scope.spawn(|| self.work(&pieces, &wish, &read, sender));
            }
            drop(sender);
            while let Some(portion) = told.recv() {
                portion.into_iter().for_each(|(piece, hashes)| each(piece, hashes));
            }
        });
    }

    fn work<E: Send>(
        &self,
        pieces: &Mutex<impl Iterator<Item = PieceIndex>>,
        wish: &impl Fn(PieceIndex) -> Wish,
        read: &impl Fn(BlockRef, &mut [u8]) -> Result<(), E>,
        sender: JobSender<Vec<Told<E>>>,
    ) {
        // On the stack, which goes back to the system when the thread ends: the heap of a thread
        // stays with us, and so much of it would be a quarter of what an idle client takes.
        let mut buffer = [0; BUFFER as usize];
        let (mut portion, mut bytes) = (Vec::new(), 0u32);
        loop {
            // A thread that panicked here ends the whole run at the end of its scope.
            let next = pieces.lock().ok().and_then(|mut pieces| pieces.next());
            let Some(piece) = next else { break };
            let size = self.geometry.piece_size(piece);
            let running = Running::new(wish(piece), size);
            let hashes = self.hash(piece, running, read, &mut buffer).transpose();
            let Some(hashes) = hashes else { break };
            // Who hears of an error may want to end the run.
            bytes = if hashes.is_err() { PORTION } else { bytes.saturating_add(size) };
            portion.push((piece, hashes));
            if bytes >= PORTION || portion.len() == MAX_PORTION {
                bytes = 0;
                if !sender.send(std::mem::take(&mut portion)) {
                    return;
                }
            }
        }
        // Who listens no more has no use for it.
        sender.send(portion);
    }

    /// The hashes of one piece; `None` if the run is to stop.
    fn hash<E>(
        &self,
        piece: PieceIndex,
        mut running: Running,
        read: &impl Fn(BlockRef, &mut [u8]) -> Result<(), E>,
        buffer: &mut [u8],
    ) -> Result<Option<Hashes>, E> {
        let mut begin = 0;
        while begin < running.length {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let length = (running.length - begin).min(BUFFER);
            let range = self.geometry.range(piece.get(), begin, length);
            let bytes = &mut buffer[..length as usize];
            read(range.expect("cut from the piece"), bytes)?;
            running.update(bytes);
            begin += length;
        }
        Ok(Some(running.finish()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::hash::sha1;

    /// Content in memory.
    fn reader<'a>(
        geometry: &'a Geometry,
        content: &'a [u8],
    ) -> impl Fn(BlockRef, &mut [u8]) -> Result<(), String> + Sync + 'a {
        move |range, buffer| {
            let at = geometry.piece_start(range.piece()) as usize + range.begin() as usize;
            let bytes = content.get(at..at + buffer.len()).ok_or(format!("{range:?}"))?;
            buffer.copy_from_slice(bytes);
            Ok(())
        }
    }

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n % 251 + n / 7919) as u8).collect()
    }

    #[test]
    fn every_piece_is_hashed_once_whatever_its_length_and_the_number_of_threads() {
        let content = content(1_400_000);
        for (piece_length, threads) in [(600_000, 1), (600_000, 3), (1_000, 4), (2_000_000, 0)] {
            let geometry = Geometry::new(piece_length, [content.len() as u64]).unwrap();
            let stop = AtomicBool::new(false);
            let hasher = Hasher { geometry: &geometry, threads, stop: &stop };
            let mut hashes = vec![None; geometry.piece_count() as usize];
            hasher.run(geometry.pieces(), reader(&geometry, &content), |piece, hash| {
                assert_eq!(hashes[piece.at()].replace(hash.unwrap()), None);
            });
            let wanted = content.chunks(piece_length as usize).map(|c| Some(sha1(c)));
            assert!(hashes.into_iter().eq(wanted), "{piece_length} bytes a piece");
        }
    }

    #[test]
    fn an_error_spoils_its_piece_alone() {
        let content = content(2_500);
        let geometry = Geometry::new(1_000, [3_000]).unwrap();
        let stop = AtomicBool::new(false);
        let hasher = Hasher { geometry: &geometry, threads: 2, stop: &stop };
        let mut good = 0;
        hasher.run(geometry.pieces(), reader(&geometry, &content), |piece, hash| match hash {
            Ok(_) => good += 1,
            Err(e) => assert_eq!((piece.get(), e.as_str()), (2, "#2[0+1000]")),
        });
        assert_eq!(good, 2);
    }

    #[test]
    fn a_run_that_is_stopped_ends_soon() {
        let content = content(1_000_000);
        let geometry = Geometry::new(10, [1_000_000]).unwrap();
        let stop = AtomicBool::new(false);
        let hasher = Hasher { geometry: &geometry, threads: 2, stop: &stop };
        let mut told = 0;
        hasher.run(geometry.pieces(), reader(&geometry, &content), |_, _| {
            stop.store(true, Ordering::Relaxed);
            told += 1;
        });
        assert!((1..20 * MAX_PORTION).contains(&told), "{told}");
    }
}
