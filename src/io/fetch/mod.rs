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

use crate::io::mailbox::Post;
use crate::io::origin::Origin;
use http::Client;
use queue::{Queue, Turn};

mod connector;
mod http;
mod queue;
#[cfg(feature = "tls")]
mod roots;
pub mod stream;
mod url;

/// How we name ourselves in requests.
pub const USER_AGENT: &str = concat!("BitTornado/", env!("CARGO_PKG_VERSION"));

/// The longest a request may take, whatever a job says.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// How many jobs may wait for a thread.
pub const MAX_QUEUED: usize = 4096;

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
    /// A server sent us on to where redirects of its kind must not lead: to this host, its link, or
    /// from outside into its network.
    PrivateRedirect,
    /// It is outside, or has a name, and only local addresses are to be asked.
    Outside,
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
            Fault::Outside => {
                write!(f, "cannot fetch '{url}': --local_only, and it is no local address")
            }
            Fault::TooManyRedirects => write!(f, "cannot fetch '{url}': too many redirects"),
            Fault::PrivateRedirect => {
                write!(
                    f,
                    "cannot fetch '{url}': a redirect leads to an address inside that it must not lead to"
                )
            }
            Fault::BadAnswer(why) => write!(f, "cannot fetch '{url}': bad answer: {why}"),
        }
    }
}

impl std::error::Error for FetchError {}

/// The threads that fetch, started when there is something to do. Dropping it waits for nothing:
/// what is under way is left to end by itself, and its result goes to the mailbox if that is
/// still there. No server gets more than a third of the threads, and one that did not answer in
/// time the last time a single one.
pub struct Fetch {
    queue: Arc<Queue>,
    start: Box<dyn Fn() -> io::Result<()> + Send>,
}

/// How far requests may go, and from where they come.
#[derive(Debug, Clone, Default)]
pub struct Bounds {
    /// Nothing but local addresses is asked, and no name is looked up.
    pub local_only: bool,
    /// Where they come from.
    pub origin: Origin,
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl Fetch {
    /// Posts what is fetched by `threads` threads at most (at least one).
    pub fn new<E>(threads: usize, post: Post<E>) -> Fetch
    where
        E: From<Done> + Send + 'static,
    {
        Fetch::within(threads, Bounds::default(), post)
    }

    /// The same, within these bounds.
    pub fn within<E>(threads: usize, bounds: Bounds, post: Post<E>) -> Fetch
    where
        E: From<Done> + Send + 'static,
    {
        let (client, queue) = (Arc::new(Client::new(bounds)), Arc::new(Queue::new(threads.max(1))));
        let theirs = Arc::clone(&queue);
        let start = move || {
            let (client, queue, post) = (Arc::clone(&client), Arc::clone(&theirs), post.clone());
            thread::Builder::new()
                .name("fetch".into())
                .stack_size(STACK)
                .spawn(move || work(&queue, &post, &client))
                .map(drop)
        };
        Fetch { queue, start: Box::new(start) }
    }

    /// From now on there may be so many threads, if there were fewer.
    pub fn widen(&mut self, threads: usize) {
        self.queue.widen(threads);
    }

    /// Queues a job, or gives it back when [`MAX_QUEUED`] wait already, or the system has no
    /// thread for it. Never waits.
    ///
    /// # Errors
    /// The job itself.
    pub fn try_send(&self, job: Job) -> Result<(), Job> {
        self.queue.try_send(job, &*self.start)
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.queue.close();
    }
}

fn work<E: From<Done>>(queue: &Queue, post: &Post<E>, client: &Client) {
    while let Some(turn) = queue.next() {
        let (id, result) = match turn {
            Turn::Ask(job) => {
                // A server must not be able to end this thread, whatever the library thinks of its
                // answer.
                let run = || client.get(&job.url, job.limit, job.timeout);
                let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
                    let fault = Fault::BadAnswer("the HTTP library failed".into());
                    Err(FetchError { url: job.url.clone(), fault })
                });
                queue.done(&job.url, &result);
                (job.id, result)
            }
            Turn::TooLate(job) => {
                (job.id, Err(FetchError { url: job.url, fault: Fault::TimedOut }))
            }
        };
        if !post.send(Done { id, result }.into()) {
            return queue.leave();
        }
    }
}

/// Fetches `url` on the caller's thread: at most `limit` bytes of body, in at most `timeout`
/// (and [`MAX_TIMEOUT`]).
///
/// # Errors
/// No complete answer; an answer of any status is none.
pub fn get(url: &str, limit: usize, timeout: Duration) -> Result<Reply, FetchError> {
    get_within(url, limit, timeout, &Bounds::default())
}

/// The same, within these bounds.
///
/// # Errors
/// As [`get`].
pub fn get_within(
    url: &str,
    limit: usize,
    timeout: Duration,
    bounds: &Bounds,
) -> Result<Reply, FetchError> {
    Client::new(bounds.clone()).get(url, limit, timeout)
}

/// Like [`get_within`]; but `link` may name in the answer what is meant instead, and then that is
/// fetched, relative to where the answer came from. Where it may lead is judged as for a redirect.
///
/// # Errors
/// As [`get`].
pub fn get_linked(
    url: &str,
    limit: usize,
    timeout: Duration,
    bounds: &Bounds,
    link: impl FnOnce(&Reply) -> Option<String>,
) -> Result<Reply, FetchError> {
    Client::new(bounds.clone()).get_linked(url, limit, timeout, link)
}

/// Where a link leads that stands on the page at `base`, an absolute URL.
pub fn joined(base: &str, link: &str) -> String {
    url::join(base, link)
}

/// Like [`get`], for a part of what is there: `length` bytes (at least one) from `offset` on. A server
/// that gives parts answers with status 206; no more than `length` bytes are taken. One that does
/// not answers with 200 and all there is: then the part is cut out of that, so all before it must
/// come within the time too.
///
/// # Errors
/// No complete answer; an answer of any status is none.
pub fn get_part(
    url: &str,
    offset: u64,
    length: u32,
    timeout: Duration,
) -> Result<Reply, FetchError> {
    let limit = usize::try_from(length).unwrap_or(usize::MAX);
    Client::new(Bounds::default()).get_part(url, Some((offset, length.into())), limit, timeout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::mailbox::mailbox;
    use crate::io::reactor::Reactor;

    #[test]
    fn there_are_no_more_threads_than_jobs() {
        let mut reactor = Reactor::new().unwrap();
        let (post, inbox) = mailbox::<Done>(4, reactor.waker());
        let fetch = Fetch::new(3, post);
        assert_eq!(fetch.queue.threads(), 0);
        let job = Job { id: 7, url: "none".into(), limit: 1, timeout: MAX_TIMEOUT };
        fetch.try_send(job).unwrap();
        assert_eq!(fetch.queue.threads(), 1);
        let done = (0..10).find_map(|_| {
            reactor.turn(Some(Duration::from_secs(5)), &mut Vec::new()).unwrap();
            inbox.try_recv()
        });
        assert_eq!(done.map(|done| done.id), Some(7));
    }
}
