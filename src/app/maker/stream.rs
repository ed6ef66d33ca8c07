//! Makes a .torrent of what comes in through a pipe: read once, never kept.
//!
//! The piece length follows from the length of the content, which is known at the end only. So
//! the pieces of every length that is still possible are hashed at once, each by a thread of its
//! own, and the .torrent is that of a file with the same bytes.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::io::hasher::Hashes;
use crate::io::mailbox::{JobReceiver, JobSender, jobs};
use crate::proto::hash::Sha1;
use crate::proto::merkle::{self, Cut, LEAF, PieceTree};
use crate::proto::metainfo::{
    Content, Draft, MAX_SIZE, Metainfo, MetainfoError, PIECE_LENGTHS, Version,
    automatic_piece_length,
};

use super::{MakeError, Pieces, Recipe, draft};

/// How much is read at once, in bytes.
const CHUNK: usize = 256 * 1024;

/// How many chunks wait for a thread at most.
const WAITING: usize = 4;

/// How soon a wish to stop is heard while nothing comes in.
const PATIENCE: Duration = Duration::from_millis(100);

/// A piece length that may turn out to be the right one.
struct Candidate {
    piece_length: u32,
    /// For longer content it is not.
    most: u64,
    /// Where its thread gets the bytes from.
    chunks: JobSender<Arc<[u8]>>,
    thread: thread::JoinHandle<Vec<Hashes>>,
}

/// Reads `input` to its end and returns the bytes of the .torrent, which must have a name in
/// `recipe`. Calls `progress` with the number of bytes read so far. Ends with
/// [`MakeError::Stopped`] soon after `stop` is set, even if nothing comes in.
///
/// # Errors
/// See [`MakeError`].
pub fn make_of_stream(
    input: Box<dyn Read + Send>,
    recipe: &Recipe,
    stop: &AtomicBool,
    mut progress: impl FnMut(u64),
) -> Result<Vec<u8>, MakeError> {
    // All that can be refused before an hour of reading.
    let mut draft = empty(recipe)?;
    let mut candidates = candidates(recipe)?;
    let chunks = read_ahead(input)?;
    let mut total = 0u64;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(MakeError::Stopped);
        }
        let chunk = match chunks.recv_by(Instant::now() + PATIENCE) {
            Some(Some(chunk)) => chunk.map_err(MakeError::Input)?,
            None => continue,
            Some(None) => break,
        };
        total += chunk.len() as u64;
        candidates.retain(|candidate| total <= candidate.most);
        if candidates.is_empty() {
            return Err(too_long(recipe));
        }
        for candidate in &candidates {
            // It ends only with its sender.
            candidate.chunks.send(Arc::clone(&chunk));
        }
        progress(total);
    }
    // They stand in the order of their lengths, and the first that is possible is the one.
    let candidate = candidates.swap_remove(0);
    drop(candidate.chunks);
    let hashes = candidate.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    draft.piece_length = candidate.piece_length;
    draft.content = Content::File(total);
    draft.pieces = hashes.iter().filter_map(|hashes| hashes.sha1).collect();
    draft.roots = hashes.iter().filter_map(|hashes| hashes.root).collect();
    let bytes = draft.encode();
    Metainfo::decode_any(&bytes).map_err(|e| MakeError::Refused("-".into(), e))?;
    Ok(bytes)
}

/// The .torrent of nothing.
fn empty(recipe: &Recipe) -> Result<Draft, MakeError> {
    let draft = draft("-".as_ref(), recipe, Content::File(0))?;
    let refused = |e| MakeError::Refused("-".into(), e);
    Metainfo::decode_any(&draft.encode()).map_err(refused)?;
    Ok(draft)
}

fn too_long(recipe: &Recipe) -> MakeError {
    match recipe.pieces {
        Pieces::AtMost(most) => MakeError::TooManyPieces("-".into(), most),
        _ => MakeError::Refused("-".into(), MetainfoError::Size),
    }
}

/// The piece lengths that `recipe` may lead to, each with the longest content it is for.
fn candidates(recipe: &Recipe) -> Result<Vec<Candidate>, MakeError> {
    let version = recipe.version;
    let bytes = 20 * u64::from(version.has_one()) + 32 * u64::from(version.has_two());
    let powers =
        || (0..).map(|n| PIECE_LENGTHS.start() << n).take_while(|l| PIECE_LENGTHS.contains(l));
    let lengths: Vec<(u32, u64)> = match recipe.pieces {
        Pieces::Of(length) => vec![(length, u64::MAX)],
        Pieces::AtMost(most) => powers().map(|l| (l, most.saturating_mul(l.into()))).collect(),
        Pieces::Automatic => automatic(),
    };
    let candidate = |(piece_length, most): (u32, u64)| {
        let (sender, chunks) = jobs(WAITING);
        let thread = thread::Builder::new().name("hash".into());
        let thread = thread.spawn(move || hash(&chunks, piece_length, version));
        let thread = thread.map_err(MakeError::Input)?;
        let most = most.min(MAX_SIZE / bytes * u64::from(piece_length));
        Ok(Candidate { piece_length, most, chunks: sender, thread })
    };
    lengths.into_iter().map(candidate).collect()
}

/// The lengths of [`automatic_piece_length`], each with the longest content it is for.
fn automatic() -> Vec<(u32, u64)> {
    let mut lengths: Vec<(u32, u64)> = Vec::new();
    for power in 0..u64::BITS {
        // The borders of that rule are powers of two.
        let total = 1u64 << power;
        let length = automatic_piece_length(total);
        match lengths.last_mut() {
            Some((last, most)) if *last == length => *most = total,
            _ => lengths.push((length, total)),
        }
    }
    if let Some((_, most)) = lengths.last_mut() {
        *most = u64::MAX;
    }
    lengths
}

/// Reads on a thread of its own, which is left behind when the reading is over for us but not for
/// the writer. The last message is the end or an error.
fn read_ahead(
    mut input: Box<dyn Read + Send>,
) -> Result<JobReceiver<io::Result<Arc<[u8]>>>, MakeError> {
    let (sender, chunks) = jobs(1);
    let read = move || {
        let mut buffer = vec![0; CHUNK];
        loop {
            let message = match fill(&mut input, &mut buffer) {
                Ok(0) => return,
                Ok(n) => Ok(Arc::from(&buffer[..n])),
                Err(e) => Err(e),
            };
            let is_last = message.is_err();
            if !sender.send(message) || is_last {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("input".into()).spawn(read);
    thread.map(|_| chunks).map_err(MakeError::Input)
}

/// Fills the buffer as far as the input goes: pipes come in small portions.
fn fill(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// The hashes of all pieces of one length.
fn hash(chunks: &JobReceiver<Arc<[u8]>>, piece_length: u32, version: Version) -> Vec<Hashes> {
    let mut pieces = Cutter::new(piece_length, version);
    while let Some(chunk) = chunks.recv() {
        pieces.update(&chunk);
    }
    pieces.finish()
}

/// Cuts a stream into pieces and hashes them.
struct Cutter {
    piece_length: u32,
    version: Version,
    hashes: Vec<Hashes>,
    sha1: Sha1,
    tree: PieceTree,
    /// Bytes of the piece that came.
    filled: u32,
}

impl Cutter {
    fn new(piece_length: u32, version: Version) -> Cutter {
        let (sha1, tree) = (Sha1::new(), Cutter::tree(piece_length));
        Cutter { piece_length, version, hashes: Vec::new(), sha1, tree, filled: 0 }
    }

    fn tree(piece_length: u32) -> PieceTree {
        PieceTree::new(Cut { length: piece_length, height: merkle::piece_height(piece_length) })
    }

    fn update(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = (self.piece_length - self.filled) as usize;
            let (part, behind) = rest.split_at(rest.len().min(room));
            if self.version.has_one() {
                self.sha1.update(part);
            }
            if self.version.has_two() {
                self.tree.update(part);
            }
            // No more than the room, which is a u32.
            self.filled += part.len() as u32;
            if self.filled == self.piece_length {
                self.close(merkle::piece_height(self.piece_length));
            }
            rest = behind;
        }
    }

    fn close(&mut self, height: u32) {
        let sha1 = std::mem::take(&mut self.sha1).finish();
        let tree = std::mem::replace(&mut self.tree, Cutter::tree(self.piece_length));
        self.hashes.push(Hashes {
            sha1: self.version.has_one().then_some(sha1),
            root: self.version.has_two().then(|| tree.finish_at(height)),
        });
        self.filled = 0;
    }

    fn finish(mut self) -> Vec<Hashes> {
        if self.filled > 0 {
            // A lone piece is a tree of its own.
            let height = match self.hashes.len() {
                0 => merkle::height(u64::from(self.filled.div_ceil(LEAF))),
                _ => merkle::piece_height(self.piece_length),
            };
            self.close(height);
        }
        self.hashes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lengths_that_are_possible_are_those_of_the_rule() {
        let lengths = automatic();
        let of = |total: u64| lengths.iter().find(|(_, most)| total <= *most).unwrap().0;
        for power in 0..45 {
            for total in [(1u64 << power) - 1, 1 << power, (1 << power) + 1] {
                assert_eq!(of(total), automatic_piece_length(total), "{total}");
            }
        }
        assert_eq!(lengths.len(), 7);
    }
}
