//! Blocking HTTP(S) on a few threads: announces, and torrents by URL.
//!
//! [`Fetch`] takes jobs from the reactor's thread and posts what came of them; it never makes that
//! thread wait, not even when it is dropped: a request that hangs is left behind. [`get`] is the
//! plain way for a command that has nothing else to do meanwhile.
//!
//! Every request has a time limit over all it does, name look-up and redirects included, and
//! a limit to its answer. Answers are given back whatever their status: trackers put reasons into
//! those of their refusals.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::io::mailbox::{JobReceiver, JobSender, Post, jobs};
use http::Client;

mod http;
#[cfg(feature = "tls")]
mod roots;
mod url;

/// How we name ourselves in requests.
pub const USER_AGENT: &str = concat!("BitTornado/", env!("CARGO_PKG_VERSION"));

/// The longest a request may take, whatever a job says.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// How many jobs may wait for a thread.
pub const MAX_QUEUED: usize = 256;

/// How many redirects one request follows.
pub const MAX_REDIRECTS: u32 = 5;

/// Address space of a worker; a TLS handshake in an unoptimised build needs more than 128 KiB.
const STACK: usize = 512 * 1024;

/// Something to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Comes back with the result; means nothing here.
    pub id: u64,
    /// An http or https URL, with its query.
    pub url: String,
    /// How many bytes of body are taken; a longer answer is an error.
    pub limit: usize,
    /// How long it may take in all; at most [`MAX_TIMEOUT`].
    pub timeout: Duration,
}

/// What became of a [`Job`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The job's.
    pub id: u64,
    /// The answer, of any status.
    pub result: Result<Reply, FetchError>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status; never that of a redirect that could be followed.
    pub status: u16,
    /// All of the body.
    pub body: Vec<u8>,
    /// Where it came from in the end.
    pub url: String,
}

/// Why there is no answer, and from where. The text leaves the query of the URL away, which is
/// long and may hold a passkey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchError {
    /// The URL that failed: the job's own, or where a redirect led.
    pub url: String,
    /// What went wrong.
    pub fault: Fault,
}

/// What can go wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is no URL, or not one of http or https. The user or the torrent's maker must mend it.
    BadUrl,
    /// It is https, and this program was built without feature `tls`.
    NoTls,
    /// The system's certificates cannot be read: what was tried.
    NoCertificates(String),
    /// No connection, or it broke: the system's words.
    Unreachable(String),
    /// The time was over before the answer was complete.
    TimedOut,
    /// The body is longer than the job's limit, in bytes.
    TooLong(usize),
    /// More than [`MAX_REDIRECTS`] redirects.
    TooManyRedirects,
    /// A public server sent us on to an address of this host or its network.
    PrivateRedirect,
    /// The answer is no HTTP, or TLS found a fault: the words of the library.
    BadAnswer(String),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.split(['?', '#']).next().unwrap_or_default();
        match &self.fault {
            Fault::BadUrl => write!(f, "cannot fetch '{url}': it is no http or https URL"),
            Fault::NoTls => write!(f, "cannot fetch '{url}': https is not built in"),
            Fault::NoCertificates(why) => write!(f, "cannot fetch '{url}': {why}"),
            Fault::Unreachable(why) => write!(f, "cannot reach '{url}': {why}"),
            Fault::TimedOut => write!(f, "cannot reach '{url}': no answer in time"),
            Fault::TooLong(limit) => {
                write!(f, "cannot fetch '{url}': the answer is longer than {limit} bytes")
            }
            Fault::TooManyRedirects => write!(f, "cannot fetch '{url}': too many redirects"),
            Fault::PrivateRedirect => {
                write!(
                    f,
                    "cannot fetch '{url}': a redirect from outside leads to a private address"
                )
            }
            Fault::BadAnswer(why) => write!(f, "cannot fetch '{url}': bad answer: {why}"),
        }
    }
}

impl std::error::Error for FetchError {}

/// The threads that fetch. Dropping it waits for nothing: what is under way is left to end by
/// itself, and its result goes to the mailbox if that is still there.
#[derive(Debug)]
pub struct Fetch {
    jobs: JobSender<Job>,
}

impl Fetch {
    /// Starts `threads` threads (at least one) that post what they fetched.
    ///
    /// # Errors
    /// The system has no thread for us.
    pub fn start<E>(threads: usize, post: Post<E>) -> io::Result<Fetch>
    where
        E: From<Done> + Send + 'static,
    {
        let (sender, receiver) = jobs(MAX_QUEUED);
        let client = Arc::new(Client::new());
        for _ in 0..threads.max(1) {
            let (receiver, post, client) = (receiver.clone(), post.clone(), Arc::clone(&client));
            thread::Builder::new()
                .name("fetch".into())
                .stack_size(STACK)
                .spawn(move || work(&receiver, &post, &client))?;
        }
        Ok(Fetch { jobs: sender })
    }

    /// Queues a job, or gives it back when [`MAX_QUEUED`] wait already. Never waits.
    ///
    /// # Errors
    /// The job itself.
    pub fn try_send(&self, job: Job) -> Result<(), Job> {
        self.jobs.try_send(job)
    }
}

fn work<E: From<Done>>(jobs: &JobReceiver<Job>, post: &Post<E>, client: &Client) {
    while let Some(job) = jobs.recv() {
        // A server must not be able to end this thread, whatever the library thinks of its answer.
        let run = || client.get(&job.url, job.limit, job.timeout);
        let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
            let fault = Fault::BadAnswer("the HTTP library failed".into());
            Err(FetchError { url: job.url.clone(), fault })
        });
        if !post.send(Done { id: job.id, result }.into()) {
            return;
        }
    }
}

/// Fetches `url` on the caller's thread: at most `limit` bytes of body, in at most `timeout`
/// (and [`MAX_TIMEOUT`]).
///
/// # Errors
/// No complete answer; an answer of any status is none.
pub fn get(url: &str, limit: usize, timeout: Duration) -> Result<Reply, FetchError> {
    Client::new().get(url, limit, timeout)
}
