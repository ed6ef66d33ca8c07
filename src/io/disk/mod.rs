//! Disk workers: write, hash, check, make ready for sending.
//!
//! The order promise: the writes, verifies, moves and syncs of a torrent run on one worker, in the order
//! they were sent, so a `Verify` never overtakes the writes of its piece. `Ready` jobs run on a
//! second worker, in their own order, so that uploads do not wait for downloads.
//!
//! The reactor's thread sends the jobs and gets each answer as a message. Nothing here decides
//! what a bad piece means, and nothing is called good that was not written, then hashed.
//!
//! What a block costs here when all goes well: its hash while it is in the CPU's cache, its share
//! of one pwritev for a run of neighbours, no copy, no allocation.

mod cursors;
pub(in crate::io) mod ready;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::io::mailbox::{Ended, JobSender, Post, jobs, life};
use crate::io::storage::{DiskError, Part, Storage};
use crate::proto::geometry::{BLOCK_LENGTH, BlockRef, Geometry, PieceIndex};
use worker::{Answers, Worker};

/// A torrent as the disk workers need it.
#[derive(Debug)]
pub struct DiskTorrent {
    /// Comes back with its answers. No two torrents that use the workers at a time have the same.
    pub number: u64,
    /// Its files.
    pub storage: Arc<Storage>,
    /// Its measures.
    pub geometry: Arc<Geometry>,
    /// The SHA-1 of every piece, in order.
    pub hashes: Arc<[[u8; 20]]>,
}

/// What a disk worker can do.
#[derive(Debug, PartialEq, Eq)]
pub enum Job {
    /// Write a block to its place.
    Write {
        /// Where it belongs.
        block: BlockRef,
        /// Its bytes, as many as the block has.
        data: Vec<u8>,
    },
    /// Compare a piece with its hash.
    Verify {
        /// Which piece.
        piece: PieceIndex,
    },
    /// Bring a range into the page cache, so that sending it does not wait for the disk.
    Ready {
        /// Which bytes.
        range: BlockRef,
    },
    /// Wait until everything written is on the disk itself.
    Sync,
    /// The same, and close the files that were written.
    Flush,
    /// Bring files to their own place, or have them kept aside.
    Settle {
        /// Their numbers.
        files: Vec<usize>,
        /// Whether they are wanted from now on.
        wanted: bool,
    },
}

/// What a worker has to say.
#[derive(Debug)]
pub struct Answer {
    /// The torrent it is about; `None`: all of them.
    pub torrent: Option<u64>,
    /// What became of its job.
    pub done: Done,
}

/// What became of a job.
#[derive(Debug)]
pub enum Done {
    /// Of [`Job::Write`].
    Written {
        /// The block.
        block: BlockRef,
        /// The buffer it came in, to be used again; its bytes are of no more use.
        data: Vec<u8>,
        /// Whether the block is in its file now.
        result: Result<(), DiskError>,
    },
    /// Of [`Job::Verify`].
    Verified {
        /// The piece.
        piece: PieceIndex,
        /// Whether it has its hash; an error if it cannot be read, or not all of it is there.
        result: Result<bool, DiskError>,
    },
    /// Of [`Job::Ready`].
    Ready {
        /// The range.
        range: BlockRef,
        /// The parts of files it consists of; each file was long enough a moment ago.
        result: Result<Vec<Part>, DiskError>,
    },
    /// Of [`Job::Sync`].
    Synced(Result<(), DiskError>),
    /// Of [`Job::Flush`].
    Flushed(Result<(), DiskError>),
    /// Of [`Job::Settle`].
    Settled {
        /// The files.
        files: Vec<usize>,
        /// Whether they are wanted.
        wanted: bool,
        /// Those at whose place somebody else had put something.
        result: Result<Vec<usize>, DiskError>,
    },
    /// Of no job: these files were cut by somebody else while they were being written. What was
    /// not verified yet of their pieces may be gone, and what was verified too.
    Cut(Vec<usize>),
    /// Of no job: something about the files that a user should know.
    Warning(String),
    /// A worker has panicked, which its message on standard error tells more of. This is its
    /// name; its jobs are lost, those of all torrents.
    Died(&'static str),
}

/// Tells of a worker's end that was none of its own making.
struct Obituary<E: From<Answer>> {
    name: &'static str,
    post: Post<E>,
    stop: Arc<AtomicBool>,
}

impl<E: From<Answer>> Drop for Obituary<E> {
    fn drop(&mut self) {
        if thread::panicking() {
            let answer = Answer { torrent: None, done: Done::Died(self.name) };
            self.post.queue(E::from(answer), &self.stop);
            self.post.ring();
        }
    }
}

/// How many verifies, syncs and flushes wait at most, those of all torrents, beside the blocks and a verify for each of
/// them. The blocks are bounded by the pool their buffers come from, which [`blocks`] measures.
const WRITE_QUEUE: usize = 4096;
/// A pool lends no fewer buffers, or many peers would wait for each other.
const MIN_BLOCKS: usize = 32;
/// How many ranges to be made ready wait at most.
const READY_QUEUE: usize = 256;
/// The workers keep their buffers elsewhere; the deepest path is the lookup of a file.
const STACK: usize = 256 * 1024;

/// The disk workers, for all torrents of a process. When dropped, it waits until they have done what is queued;
/// answers that the mailbox has no room for by then are lost.
#[derive(Debug)]
pub struct Disk {
    /// `None` only while dropping: that is what ends the workers.
    queues: Option<Queues>,
    workers: Vec<JoinHandle<()>>,
    /// Its other ends are dropped by the workers when they end.
    ended: Ended,
    stop: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Queues {
    writes: JobSender<Order>,
    ready: JobSender<Order>,
}

/// A job, and whose.
pub(super) type Order = (Arc<DiskTorrent>, Job);

/// How many block buffers go with a write buffer of so many bytes.
pub fn blocks(write_buffer: usize) -> usize {
    (write_buffer / BLOCK_LENGTH as usize).max(MIN_BLOCKS)
}

impl Disk {
    /// Starts the two workers, which answer by `post`; `write_buffer` bytes may wait to be written.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start<E>(write_buffer: usize, post: Post<E>) -> io::Result<Disk>
    where
        E: From<Answer> + Send + 'static,
    {
        let most = 2 * blocks(write_buffer) + WRITE_QUEUE;
        let (writes, write_jobs) = jobs(most);
        let (ready, ready_jobs) = jobs(READY_QUEUE);
        let (alive, ended) = life();
        let mut disk = Disk {
            queues: Some(Queues { writes, ready }),
            workers: Vec::with_capacity(2),
            ended,
            stop: Arc::new(AtomicBool::new(false)),
        };
        for (name, jobs) in [("disk-write", write_jobs), ("disk-ready", ready_jobs)] {
            let answers = Answers { post: post.clone(), stop: Arc::clone(&disk.stop) };
            let mut worker = Worker::new(write_buffer, jobs, answers);
            let alive = alive.clone();
            let (post, stop) = (post.clone(), Arc::clone(&disk.stop));
            let obituary = Obituary { name, post, stop };
            let work = move || {
                worker.run();
                drop((alive, obituary));
            };
            let thread = thread::Builder::new().name(name.into()).stack_size(STACK);
            disk.workers.push(thread.spawn(work)?);
        }
        Ok(disk)
    }

    /// Queues a job, or gives it back if its queue is full. Never waits.
    ///
    /// # Errors
    /// The job itself: stop reading from the peer it came from, and try again after an answer.
    pub fn try_send(&self, torrent: &Arc<DiskTorrent>, job: Job) -> Result<(), Job> {
        let Some(queues) = &self.queues else { return Err(job) };
        let queue = match job {
            Job::Ready { .. } => &queues.ready,
            _ => &queues.writes,
        };
        queue.try_send((Arc::clone(torrent), job)).map_err(|(_, job)| job)
    }
}

impl Disk {
    /// Like dropping it, but a disk that hangs is left behind after `patience`, with the threads
    /// that wait for it. Whether all that was queued is done.
    pub fn end(mut self, patience: Duration) -> bool {
        self.stop.store(true, Ordering::Release);
        self.queues = None;
        let all = self.ended.within(patience);
        if !all {
            self.workers.clear();
        }
        all
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.queues = None;
        for worker in self.workers.drain(..) {
            // A worker that panicked has said so already.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests;
