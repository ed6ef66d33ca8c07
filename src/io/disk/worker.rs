//! The worker itself: takes jobs in order, and writes runs of neighbouring blocks together.

use crate::proto::order;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::cursors::{Cursor, Cursors};
use super::{Answer, DiskTorrent, Done, Job, Order, ready};
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

/// A block that waits to be written, whose it is, and its bytes.
struct Block {
    torrent: Arc<DiskTorrent>,
    block: BlockRef,
    data: Vec<u8>,
}

/// The way back to the reactor.
pub(super) struct Answers<E> {
    pub post: Post<E>,
    /// Set when the reactor waits for the worker's end instead of its answers.
    pub stop: Arc<AtomicBool>,
}

impl<E: From<Answer>> Answers<E> {
    fn give(&self, torrent: &DiskTorrent, done: Done) {
        let answer = Answer { torrent: Some(torrent.number), done };
        self.post.queue(E::from(answer), &self.stop);
    }
}

pub(super) struct Worker<E> {
    /// So many bytes are written together at most.
    enough: usize,
    jobs: JobReceiver<Order>,
    answers: Answers<E>,
    cursors: Cursors,
    batch: Vec<Block>,
    results: Vec<Result<(), DiskError>>,
    /// For reading back; allocated at the first use, since many a worker never reads.
    scratch: Vec<u8>,
    /// When the reactor was last woken.
    rung: Instant,
}

impl<E: From<Answer>> Worker<E> {
    pub fn new(write_buffer: usize, jobs: JobReceiver<Order>, answers: Answers<E>) -> Worker<E> {
        let (cursors, batch, results, scratch) = Default::default();
        let enough = BATCH.min(write_buffer);
        Worker { enough, jobs, answers, cursors, batch, results, scratch, rung: Instant::now() }
    }

    /// Works until the queue is closed and empty.
    pub fn run(&mut self) {
        let mut held = None;
        while let Some((torrent, job)) = held.take().or_else(|| self.next_job()) {
            match job {
                Job::Write { block, data } => {
                    self.hold(Arc::clone(&torrent), block, data);
                    held = self.gather();
                    self.write_batch();
                }
                job => {
                    let done = self.work(&torrent, job);
                    self.answers.give(&torrent, done);
                }
            }
            if let Some(warning) = torrent.storage.warning() {
                self.answers.give(&torrent, Done::Warning(warning));
            }
        }
    }

    /// Does a job that is not gathered.
    fn work(&mut self, torrent: &DiskTorrent, job: Job) -> Done {
        let storage = &torrent.storage;
        match job {
            Job::Write { block, data } => {
                let result = storage.write(block, &data);
                Done::Written { block, data, result }
            }
            Job::Verify { piece } => Done::Verified { piece, result: self.verify(torrent, piece) },
            Job::Ready { range } => Done::Ready { range, result: ready::parts(storage, range) },
            Job::Sync => Done::Synced(storage.sync()),
            Job::Flush => Done::Flushed(storage.flush()),
            Job::Settle { files, wanted: true } => {
                let result = storage.take_up(&files);
                Done::Settled { files, wanted: true, result }
            }
            Job::Settle { files, wanted: false } => {
                storage.put_off(&files);
                Done::Settled { files, wanted: false, result: Ok(Vec::new()) }
            }
        }
    }

    /// Adds a write to the batch.
    fn hold(&mut self, torrent: Arc<DiskTorrent>, block: BlockRef, mut data: Vec<u8>) {
        torrent.storage.blank(block, &mut data);
        self.batch.push(Block { torrent, block, data });
    }

    /// The next job. To ring for each answer would have the reactor run, and this thread wait,
    /// once a block; so it rings after a batch of writes, before it sleeps, and in between when
    /// the jobs are slow.
    fn next_job(&mut self) -> Option<Order> {
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
    fn gather(&mut self) -> Option<Order> {
        let mut bytes: usize = self.batch.iter().map(|block| block.data.len()).sum();
        while bytes < self.enough {
            match self.jobs.try_recv() {
                Some((torrent, Job::Write { block, data })) => {
                    bytes += data.len();
                    self.hold(torrent, block, data);
                }
                other => return other,
            }
        }
        None
    }

    fn write_batch(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        // Stable: of two writes of one block the later one stays the later one.
        order::by_key(&mut batch, |b| (b.torrent.number, b.block.piece(), b.block.begin()));
        let mut rest = &batch[..];
        while !rest.is_empty() {
            let (run, behind) = rest.split_at(run_length(rest));
            self.write_run(run);
            rest = behind;
        }
        for (Block { torrent, block, data }, result) in batch.drain(..).zip(self.results.drain(..))
        {
            self.answers.give(&torrent, Done::Written { block, data, result });
        }
        self.batch = batch;
        self.ring();
    }

    /// Hashes and writes neighbours within a piece; one result a block.
    fn write_run(&mut self, run: &[Block]) {
        let (torrent, piece) = (&*run[0].torrent, run[0].block.piece());
        let cursor = self.cursors.of((torrent.number, piece));
        for Block { block, data, .. } in run {
            cursor.feed(*block, data);
        }
        let together = write_together(run);
        let cut = torrent.storage.take_cut();
        if !cut.is_empty() {
            // What was hashed on its way to the disk may not be there any more.
            self.cursors.forget(torrent.number);
            self.answers.give(torrent, Done::Cut(cut));
        }
        if together.is_ok() {
            self.results.extend(run.iter().map(|_| Ok(())));
            self.catch_up(run);
            return;
        }
        // Some of it may be written and some not. Each block is tried by itself, so that each has
        // its own answer; what was hashed before it was written no longer counts.
        self.cursors.take((torrent.number, piece));
        for Block { block, data, .. } in run {
            self.results.push(torrent.storage.write(*block, data));
        }
    }

    /// Notes what was written, and hashes what came early and is due now.
    fn catch_up(&mut self, run: &[Block]) {
        let (torrent, piece) = (&*run[0].torrent, run[0].block.piece());
        let mut cursor = self.cursors.take((torrent.number, piece));
        run.iter().for_each(|b| cursor.written(b.block));
        let mut good = true;
        while let Some(end) = cursor.due().filter(|_| good) {
            good = self.read_back(torrent, piece, (&mut cursor, end)).is_ok();
        }
        // What cannot be read now is tried again, and told, when the piece is verified.
        if good {
            self.cursors.put((torrent.number, piece), cursor);
        }
    }

    /// Whether the piece has its hash: only what was not hashed on its way is read.
    fn verify(&mut self, torrent: &DiskTorrent, piece: PieceIndex) -> Result<bool, DiskError> {
        let mut cursor = self.cursors.take((torrent.number, piece));
        let size = torrent.geometry.piece_size(piece);
        self.read_back(torrent, piece, (&mut cursor, size))?;
        let storage = &torrent.storage;
        let right = torrent.hashes.get(piece.at()) == Some(&cursor.hash.finish());
        if !right || !storage.options().triple_check {
            return Ok(right);
        }
        storage.settle(torrent.geometry.whole_piece(piece))?;
        let mut again = Cursor::default();
        self.read_back(torrent, piece, (&mut again, size))?;
        Ok(torrent.hashes.get(piece.at()) == Some(&again.hash.finish()))
    }

    /// Hashes from the file up to `end`, an offset in the piece.
    fn read_back(
        &mut self,
        torrent: &DiskTorrent,
        piece: PieceIndex,
        (cursor, end): (&mut Cursor, u32),
    ) -> Result<(), DiskError> {
        while cursor.next < end {
            self.scratch.resize(READ_BACK, 0);
            let length = (end - cursor.next).min(READ_BACK as u32);
            let range = torrent.geometry.range(piece.get(), cursor.next, length);
            let buffer = &mut self.scratch[..length as usize];
            torrent.storage.read(range.expect("inside the piece"), buffer)?;
            cursor.hash.update(buffer);
            cursor.next += length;
        }
        Ok(())
    }
}

fn write_together(run: &[Block]) -> Result<(), DiskError> {
    let (torrent, first, last) = (&run[0].torrent, run[0].block, run[run.len() - 1].block);
    let length = last.end() - first.begin();
    let whole = torrent.geometry.range(first.piece().get(), first.begin(), length);
    let mut data: [&[u8]; RUN_BLOCKS] = [&[]; RUN_BLOCKS];
    for (place, block) in data.iter_mut().zip(run) {
        *place = &block.data;
    }
    let whole = whole.expect("from a block's begin to a block's end in one piece");
    torrent.storage.write_vectored(whole, &data[..run.len()])
}

/// How many of these sorted blocks, at least one, are neighbours and go into one call.
fn run_length(blocks: &[Block]) -> usize {
    let mut bytes = blocks[0].data.len();
    let joined = blocks.windows(2).take(RUN_BLOCKS - 1).take_while(|pair| {
        let (one, two) = (pair[0].block, pair[1].block);
        bytes += pair[1].data.len();
        let same = pair[0].torrent.number == pair[1].torrent.number;
        bytes <= RUN && same && one.piece() == two.piece() && one.end() == two.begin()
    });
    1 + joined.count()
}
