//! The worker itself: takes jobs in order, and writes runs of neighbouring blocks together.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::cursors::{Cursor, Cursors};
use super::{DiskTorrent, Done, Job, ready};
use crate::io::mailbox::{JobReceiver, Post};
use crate::io::storage::DiskError;
use crate::proto::geometry::{BlockRef, PieceIndex};

/// Writes are taken from the queue until this many bytes are at hand (or none is left), then
/// sorted: blocks of several pieces come mixed when several peers send.
const BATCH: usize = 512 * 1024;
/// The longest run of neighbours written by one call, in bytes: short enough to be in the CPU's
/// nearer caches still when the kernel copies what was just hashed. Of 16, 64 and 256 KiB the
/// middle one measured best, by a tenth.
const RUN: usize = 64 * 1024;
/// The most blocks in a run.
const RUN_BLOCKS: usize = 16;
/// How much is read back at a time, in bytes.
const READ_BACK: usize = 64 * 1024;
/// An answer waits no longer than this for the next ones, and the job after it.
const RING_EVERY: Duration = Duration::from_millis(1);

/// A block that waits to be written, and its bytes.
type Block = (BlockRef, Vec<u8>);

/// The way back to the reactor.
pub(super) struct Answers<E> {
    pub post: Post<E>,
    /// Set when the reactor waits for the worker's end instead of its answers.
    pub stop: Arc<AtomicBool>,
}

impl<E: From<Done>> Answers<E> {
    fn give(&self, done: Done) {
        self.post.queue(E::from(done), &self.stop);
    }
}

pub(super) struct Worker<E> {
    torrent: DiskTorrent,
    jobs: JobReceiver<Job>,
    answers: Answers<E>,
    cursors: Cursors,
    batch: Vec<Block>,
    results: Vec<Result<(), DiskError>>,
    /// For reading back; allocated at the first use, since many a worker never reads.
    scratch: Vec<u8>,
    /// When the reactor was last woken.
    rung: Instant,
}

impl<E: From<Done>> Worker<E> {
    pub fn new(torrent: DiskTorrent, jobs: JobReceiver<Job>, answers: Answers<E>) -> Worker<E> {
        let (cursors, batch, results, scratch) = Default::default();
        Worker { torrent, jobs, answers, cursors, batch, results, scratch, rung: Instant::now() }
    }

    /// Works until the queue is closed and empty.
    pub fn run(&mut self) {
        let mut held = None;
        while let Some(job) = held.take().or_else(|| self.next_job()) {
            match job {
                Job::Write { block, mut data } => {
                    self.torrent.storage.blank(block, &mut data);
                    self.batch.push((block, data));
                    held = self.gather();
                    self.write_batch();
                }
                Job::Verify { piece } => {
                    let result = self.verify(piece);
                    self.answers.give(Done::Verified { piece, result });
                }
                Job::Ready { range } => {
                    let result = ready::parts(&self.torrent.storage, range);
                    self.answers.give(Done::Ready { range, result });
                }
                Job::Sync => self.answers.give(Done::Synced(self.torrent.storage.sync())),
                Job::Flush => self.answers.give(Done::Flushed(self.torrent.storage.flush())),
                Job::Settle { files, wanted } => {
                    let storage = &self.torrent.storage;
                    let result = match wanted {
                        true => storage.take_up(&files),
                        false => {
                            storage.put_off(&files);
                            Ok(Vec::new())
                        }
                    };
                    self.answers.give(Done::Settled { files, wanted, result });
                }
            }
            if let Some(warning) = self.torrent.storage.warning() {
                self.answers.give(Done::Warning(warning));
            }
        }
    }

    /// The next job. To ring for each answer would have the reactor run, and this thread wait,
    /// once a block; so it rings after a batch of writes, before it sleeps, and in between when
    /// the jobs are slow.
    fn next_job(&mut self) -> Option<Job> {
        match self.jobs.try_recv() {
            Some(job) => {
                if self.rung.elapsed() >= RING_EVERY {
                    self.ring();
                }
                Some(job)
            }
            None => {
                self.ring();
                self.jobs.recv()
            }
        }
    }

    fn ring(&mut self) {
        self.answers.post.ring();
        self.rung = Instant::now();
    }

    /// Adds the writes that wait to the batch, up to the first job of another kind, which it
    /// returns: that one must see them written.
    fn gather(&mut self) -> Option<Job> {
        let mut bytes: usize = self.batch.iter().map(|(_, data)| data.len()).sum();
        let enough = BATCH.min(self.torrent.storage.options().write_buffer);
        while bytes < enough {
            match self.jobs.try_recv() {
                Some(Job::Write { block, mut data }) => {
                    self.torrent.storage.blank(block, &mut data);
                    bytes += data.len();
                    self.batch.push((block, data));
                }
                other => return other,
            }
        }
        None
    }

    fn write_batch(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        // Stable: of two writes of one block the later one stays the later one.
        batch.sort_by_key(|(block, _)| (block.piece(), block.begin()));
        let mut rest = &batch[..];
        while !rest.is_empty() {
            let (run, behind) = rest.split_at(run_length(rest));
            self.write_run(run);
            rest = behind;
        }
        for ((block, data), result) in batch.drain(..).zip(self.results.drain(..)) {
            self.answers.give(Done::Written { block, data, result });
        }
        self.batch = batch;
        self.ring();
    }

    /// Hashes and writes neighbours within a piece; one result a block.
    fn write_run(&mut self, run: &[Block]) {
        let piece = run[0].0.piece();
        let cursor = self.cursors.of(piece);
        for (block, data) in run {
            cursor.feed(*block, data);
        }
        if self.write_together(run).is_ok() {
            self.results.extend(run.iter().map(|_| Ok(())));
            self.catch_up(run);
            return;
        }
        // Some of it may be written and some not. Each block is tried by itself, so that each has
        // its own answer; what was hashed before it was written no longer counts.
        self.cursors.take(piece);
        for (block, data) in run {
            self.results.push(self.torrent.storage.write(*block, data));
        }
    }

    fn write_together(&self, run: &[Block]) -> Result<(), DiskError> {
        let (first, last) = (run[0].0, run[run.len() - 1].0);
        let length = last.end() - first.begin();
        let whole = self.torrent.geometry.range(first.piece().get(), first.begin(), length);
        let mut data: [&[u8]; RUN_BLOCKS] = [&[]; RUN_BLOCKS];
        for (place, block) in data.iter_mut().zip(run) {
            *place = &block.1;
        }
        let whole = whole.expect("from a block's begin to a block's end in one piece");
        self.torrent.storage.write_vectored(whole, &data[..run.len()])
    }

    /// Notes what was written, and hashes what came early and is due now.
    fn catch_up(&mut self, run: &[Block]) {
        let piece = run[0].0.piece();
        let mut cursor = self.cursors.take(piece);
        run.iter().for_each(|(block, _)| cursor.written(*block));
        let mut good = true;
        while let Some(end) = cursor.due().filter(|_| good) {
            good = self.read_back(piece, &mut cursor, end).is_ok();
        }
        // What cannot be read now is tried again, and told, when the piece is verified.
        if good {
            self.cursors.put(piece, cursor);
        }
    }

    /// Whether the piece has its hash: only what was not hashed on its way is read.
    fn verify(&mut self, piece: PieceIndex) -> Result<bool, DiskError> {
        let mut cursor = self.cursors.take(piece);
        let size = self.torrent.geometry.piece_size(piece);
        self.read_back(piece, &mut cursor, size)?;
        let storage = Arc::clone(&self.torrent.storage);
        let right = self.torrent.hashes.get(piece.at()) == Some(&cursor.hash.finish());
        if !right || !storage.options().triple_check {
            return Ok(right);
        }
        storage.settle(self.torrent.geometry.whole_piece(piece))?;
        let mut again = Cursor::default();
        self.read_back(piece, &mut again, size)?;
        Ok(self.torrent.hashes.get(piece.at()) == Some(&again.hash.finish()))
    }

    /// Hashes from the file up to `end`, an offset in the piece.
    fn read_back(
        &mut self,
        piece: PieceIndex,
        cursor: &mut Cursor,
        end: u32,
    ) -> Result<(), DiskError> {
        while cursor.next < end {
            self.scratch.resize(READ_BACK, 0);
            let length = (end - cursor.next).min(READ_BACK as u32);
            let range = self.torrent.geometry.range(piece.get(), cursor.next, length);
            let buffer = &mut self.scratch[..length as usize];
            self.torrent.storage.read(range.expect("inside the piece"), buffer)?;
            cursor.hash.update(buffer);
            cursor.next += length;
        }
        Ok(())
    }
}

/// How many of these sorted blocks, at least one, are neighbours and go into one call.
fn run_length(blocks: &[Block]) -> usize {
    let mut bytes = blocks[0].1.len();
    let joined = blocks.windows(2).take(RUN_BLOCKS - 1).take_while(|pair| {
        let (one, two) = (pair[0].0, pair[1].0);
        bytes += pair[1].1.len();
        bytes <= RUN && one.piece() == two.piece() && one.end() == two.begin()
    });
    1 + joined.count()
}
