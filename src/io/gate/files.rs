//! The workers behind the door: they open files, and bring what is cold of them into the page
//! cache, for the reactor's thread, which must not wait for a disk.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread;

use super::Visitor;
use crate::io::disk::ready;
use crate::io::mailbox::{JobReceiver, JobSender, Post, jobs};
use crate::io::storage::{DiskError, Part, Storage};
use crate::proto::resume::client::Stamp;

/// Workers: a disk that is slow for one may not be for the other.
const WORKERS: usize = 2;

/// Jobs that may wait for them.
const MAX_JOBS: usize = 1024;

/// The deepest path is the lookup of a file.
const STACK: usize = 256 * 1024;

#[derive(Debug)]
enum Job {
    Open(Visitor, Arc<Storage>, usize),
    Warm(Visitor, Part),
}

/// What became of a job.
#[derive(Debug)]
pub enum Done {
    /// A file is open, and looks like this; or it cannot be had.
    Opened(Visitor, Result<(Arc<File>, Stamp), DiskError>),
    /// What was cold has been brought in, or cannot be had: an answer to [`super::Gate::warmed`].
    Warmed(Visitor, bool),
}

/// The workers. They end when this is dropped, after what they are at.
#[derive(Debug)]
pub struct Files {
    jobs: JobSender<Job>,
}

impl Files {
    /// Starts them; they answer by `post`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start<M: From<Done> + Send + 'static>(post: &Post<M>) -> io::Result<Files> {
        let (sender, receiver) = jobs(MAX_JOBS);
        for _ in 0..WORKERS {
            let (waiting, post) = (receiver.clone(), post.clone());
            let work = move || work(&waiting, &post);
            thread::Builder::new().name("files".into()).stack_size(STACK).spawn(work)?;
        }
        Ok(Files { jobs: sender })
    }

    /// Has a file opened. `false`: too many wait already.
    pub fn open(&self, visitor: Visitor, storage: Arc<Storage>, file: usize) -> bool {
        self.jobs.try_send(Job::Open(visitor, storage, file)).is_ok()
    }

    /// Has a part of a file brought into the page cache. `false`: too many wait already.
    pub fn warm(&self, visitor: Visitor, part: Part) -> bool {
        self.jobs.try_send(Job::Warm(visitor, part)).is_ok()
    }
}

fn work<M: From<Done>>(waiting: &JobReceiver<Job>, post: &Post<M>) {
    while let Some(job) = waiting.recv() {
        let done = match job {
            Job::Open(visitor, storage, file) => Done::Opened(visitor, storage.file(file)),
            Job::Warm(visitor, part) => Done::Warmed(visitor, ready::fetch(&part, 0).is_ok()),
        };
        if !post.send(done.into()) {
            return;
        }
    }
}
