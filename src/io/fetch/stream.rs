//! Long answers, put into buffers as they come: what web seeds send.
//!
//! A [`Stream`] is a thread for one server. It takes one [`Course`] after the other, keeps the
//! connection from one to the next (and the rest of an answer that is more than was asked for, since
//! the server gives no parts), and fills the buffers that it is given, in order; when there is
//! none it waits, and so, by TCP, does the server. Each buffer is posted when it is full, and the
//! end of the course after all of them. Neither a server that hangs nor one that never ends holds
//! anybody up: [`Stream::cancel`] breaks the connection, and so does dropping it.

use std::fmt;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ureq::http::Response;
use ureq::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, RETRY_AFTER};
use ureq::{Body, BodyReader};

use super::http::{Client, fault};
use super::{Bounds, Fault, FetchError, STACK};
use crate::io::mailbox::{JobReceiver, JobSender, Post, jobs};

/// No answer takes longer than this, however steadily it drips.
const LONGEST_ANSWER: Duration = Duration::from_secs(120);

/// How many courses may wait: the one that follows a cancelled one.
const MAX_COURSES: usize = 8;

/// Of a server that gives no parts, so much is taken and thrown away to come to what is wanted:
/// many a small server knows no better, and most of what it has is small. More only where it is
/// asked for.
const MAX_SKIPPED: u64 = 4 << 20;

/// A whole that is passed over may take so much longer: a second for so many bytes of it.
const LEAST_RATE: u64 = 16 * 1024;

/// So many bytes of an answer that says when to come again are read, at most.
const MAX_WORDS: u64 = 64;

/// What one request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Nobody is asked: zeros.
    Zeros,
    /// A part of what is at a URL.
    Part {
        /// An http or https URL.
        url: String,
        /// Where the part begins.
        offset: u64,
        /// How long all that is there must be.
        size: u64,
        /// The server is known to give no parts: what lies before may be passed over, however much.
        whole: bool,
    },
    /// All that is at a URL.
    All(String),
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it is for.
    pub what: What,
    /// How many bytes are wanted, at least 1.
    pub length: u64,
}

/// What is to be fetched in one go.
#[derive(Debug)]
pub struct Course {
    /// Comes back with all that comes of it; greater than those before.
    pub id: u64,
    /// One after the other.
    pub requests: Vec<Request>,
    /// What to fill: together as long as all that is asked for. When it is closed before, the
    /// course ends.
    pub buffers: JobReceiver<Vec<u8>>,
}

/// What comes of a [`Course`].
#[derive(Debug)]
pub enum Streamed {
    /// The next buffer is full.
    Filled {
        /// The course.
        id: u64,
        /// The buffer.
        data: Vec<u8>,
    },
    /// Nothing more comes. Buffers that were not filled are gone.
    Ended {
        /// The course.
        id: u64,
        /// Whether all has come; or which request it failed at.
        result: Result<(), (usize, StreamError)>,
    },
}

impl Streamed {
    /// The course.
    pub fn id(&self) -> u64 {
        match self {
            Streamed::Filled { id, .. } | Streamed::Ended { id, .. } => *id,
        }
    }
}

/// Why not all has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamError {
    /// The server has too much to do (status 429 or 503), and may have said when to come again.
    Busy(Option<Duration>),
    /// What is wanted is not there, or something else is: the words for the user.
    Absent(String),
    /// The server gives no parts, and what is there is too long to be passed over unasked.
    Undivided,
    /// No answer, or it broke off.
    Fetch(FetchError),
    /// The answer is not what was asked for: the words for the user.
    Wrong(String),
    /// Nobody wanted it any more.
    Cancelled,
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StreamError::Busy(_) => f.write_str("the server has too much to do"),
            StreamError::Absent(why) | StreamError::Wrong(why) => f.write_str(why),
            StreamError::Fetch(e) => e.fmt(f),
            StreamError::Undivided => f.write_str("the server gives no parts of files"),
            StreamError::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl std::error::Error for StreamError {}

/// The thread for one server: see the head of this file.
#[derive(Debug)]
pub struct Stream {
    courses: JobSender<Course>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    patience: Duration,
    /// Nothing but local addresses is asked.
    bounds: Bounds,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Courses up to this one are not wanted.
    cancelled: u64,
    client: Arc<Client>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // It is in no state in between.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    /// Starts the thread. A server may go silent for no longer than `patience`.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn start<E>(patience: Duration, bounds: Bounds, post: Post<E>) -> io::Result<Stream>
    where
        E: From<Streamed> + Send + 'static,
    {
        let (courses, receiver) = jobs(MAX_COURSES);
        let client = Arc::new(Client::keeping(patience, bounds.clone()));
        let state = Mutex::new(State { cancelled: 0, client });
        let shared = Arc::new(Shared { patience, bounds, state });
        let worker = Worker { shared: Arc::clone(&shared), post };
        thread::Builder::new()
            .name("web-seed".into())
            .stack_size(STACK)
            .spawn(move || worker.work(&receiver))?;
        Ok(Stream { courses, shared })
    }

    /// Queues a course, or gives it back when too many wait. Never waits.
    ///
    /// # Errors
    /// The course itself.
    pub fn try_send(&self, course: Course) -> Result<(), Course> {
        self.courses.try_send(course)
    }

    /// The course `id`, and those before, are not wanted any more. Never waits; what is under way
    /// ends soon after.
    pub fn cancel(&self, id: u64) {
        let mut state = self.shared.lock();
        state.cancelled = state.cancelled.max(id);
        let fresh = Arc::new(Client::keeping(self.shared.patience, self.shared.bounds.clone()));
        let old = std::mem::replace(&mut state.client, fresh);
        drop(state);
        old.shut_down();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.cancel(u64::MAX);
    }
}

struct Worker<E> {
    shared: Arc<Shared>,
    post: Post<E>,
}

/// The answer of a server that gives the whole in place of a part, as far as it was read.
struct Whole {
    url: String,
    /// Where it comes from in the end.
    from: String,
    /// The place it has come to.
    at: u64,
    /// Which connections it belongs to.
    client: Arc<Client>,
    body: BodyReader<'static>,
}

impl Whole {
    /// Whether what is wanted lies ahead in it, and near enough.
    fn leads_to(&self, request: &Request, client: &Arc<Client>) -> bool {
        let What::Part { url, offset, whole, .. } = &request.what else { return false };
        let ahead = offset.checked_sub(self.at);
        *url == self.url
            && Arc::ptr_eq(client, &self.client)
            && ahead.is_some_and(|ahead| *whole || ahead <= MAX_SKIPPED)
    }
}

/// A buffer that is being filled.
#[derive(Default)]
struct Vessel {
    data: Vec<u8>,
    filled: usize,
}

impl<E: From<Streamed>> Worker<E> {
    fn work(&self, courses: &JobReceiver<Course>) {
        let mut rest = None;
        while let Some(course) = courses.recv() {
            // A server must not be able to end this thread, whatever the library thinks of its
            // answer.
            let run = || self.follow(&course, &mut rest);
            let result = catch_unwind(AssertUnwindSafe(run))
                .unwrap_or_else(|_| Err((0, StreamError::Wrong("the HTTP library failed".into()))));
            let id = course.id;
            drop(course);
            if !self.post.send(Streamed::Ended { id, result }.into()) {
                return;
            }
        }
    }

    fn follow(
        &self,
        course: &Course,
        rest: &mut Option<Whole>,
    ) -> Result<(), (usize, StreamError)> {
        let mut vessel = Vessel::default();
        for (n, request) in course.requests.iter().enumerate() {
            let client = {
                let state = self.shared.lock();
                if course.id <= state.cancelled {
                    return Err((n, StreamError::Cancelled));
                }
                Arc::clone(&state.client)
            };
            let whole = rest.take().filter(|whole| whole.leads_to(request, &client));
            let result = match whole {
                Some(whole) => self.go_on(course, request, whole, &mut vessel).map(Some),
                None => self.fetch(course, request, &client, &mut vessel),
            };
            *rest = result.map_err(|e| (n, e))?;
        }
        Ok(())
    }

    /// Asks anew. Returns what is left of an answer that is longer than what was asked for.
    fn fetch(
        &self,
        course: &Course,
        request: &Request,
        client: &Arc<Client>,
        vessel: &mut Vessel,
    ) -> Result<Option<Whole>, StreamError> {
        let mut longest = LONGEST_ANSWER;
        let (url, part) = match &request.what {
            What::Zeros => {
                self.fill(course, &mut io::repeat(0), request.length, "", vessel)?;
                return Ok(None);
            }
            What::Part { url, offset, size, whole } => {
                longest += Duration::from_secs(if *whole { size / LEAST_RATE } else { 0 });
                (url, Some((*offset, request.length)))
            }
            What::All(url) => (url, None),
        };
        let deadline = Instant::now() + longest;
        let (response, from) = client.open(url, part, deadline).map_err(StreamError::Fetch)?;
        let name = from.split(['?', '#']).next().unwrap_or_default();
        let sent = match judge(request, &response, name) {
            Err(StreamError::Busy(None)) => return Err(StreamError::Busy(when(response))),
            sent => sent?,
        };
        let mut body = response.into_body().into_reader();
        if sent == Sent::Whole {
            let (url, client) = (url.clone(), Arc::clone(client));
            let whole = Whole { url, from, at: 0, client, body };
            return self.go_on(course, request, whole, vessel).map(Some);
        }
        self.fill(course, &mut body, request.length, &from, vessel)?;
        // Its end has to be seen for the connection to be of further use.
        match body.read(&mut [0]).is_ok_and(|n| n > 0) {
            true => Err(StreamError::Wrong(format!("'{name}' sends more than was asked for"))),
            false => Ok(None),
        }
    }

    /// Takes what is wanted out of a whole, which is ahead. Returns what is left of it.
    fn go_on(
        &self,
        course: &Course,
        request: &Request,
        mut whole: Whole,
        vessel: &mut Vessel,
    ) -> Result<Whole, StreamError> {
        let What::Part { offset, .. } = request.what else { return Ok(whole) };
        let mut before = (&mut whole.body).take(offset - whole.at);
        io::copy(&mut before, &mut io::sink()).map_err(|e| {
            StreamError::Fetch(FetchError { url: whole.from.clone(), fault: of_io(e) })
        })?;
        self.fill(course, &mut whole.body, request.length, &whole.from, vessel)?;
        whole.at = offset + request.length;
        Ok(whole)
    }

    /// Moves `left` bytes into buffers.
    fn fill(
        &self,
        course: &Course,
        body: &mut impl Read,
        mut left: u64,
        url: &str,
        vessel: &mut Vessel,
    ) -> Result<(), StreamError> {
        while left > 0 {
            if vessel.filled == vessel.data.len() {
                let data = course.buffers.recv().ok_or(StreamError::Cancelled)?;
                *vessel = Vessel { data, filled: 0 };
                continue;
            }
            let room = &mut vessel.data[vessel.filled..];
            let most = room.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let fault = |fault| StreamError::Fetch(FetchError { url: url.to_owned(), fault });
            match body.read(&mut room[..most]) {
                Ok(0) => return Err(fault(Fault::BadAnswer("it broke off".into()))),
                Ok(n) => {
                    vessel.filled += n;
                    left -= n as u64;
                }
                Err(e) => return Err(fault(of_io(e))),
            }
            if vessel.filled == vessel.data.len() {
                let data = std::mem::take(vessel).data;
                if !self.post.send(Streamed::Filled { id: course.id, data }.into()) {
                    return Err(StreamError::Cancelled);
                }
            }
        }
        Ok(())
    }
}

/// The library hides its errors in those of the system when a body is read.
fn of_io(error: io::Error) -> Fault {
    fault(ureq::Error::from(error), 0)
}

/// What a good answer brings.
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    /// Just what was asked for.
    Exactly,
    /// The whole in place of a part.
    Whole,
}

/// Whether an answer is what was asked for.
fn judge(request: &Request, response: &Response<Body>, name: &str) -> Result<Sent, StreamError> {
    let wrong = |what: String| Err(StreamError::Wrong(format!("'{name}' {what}")));
    let absent = |what: &str| Err(StreamError::Absent(format!("'{name}' {what}")));
    let status = response.status().as_u16();
    match status {
        429 | 503 => return Err(StreamError::Busy(None)),
        404 | 410 => return absent("is not there"),
        416 => return absent("is shorter than in the torrent"),
        200 | 206 => {}
        _ => return wrong(format!("is answered by HTTP status {status}")),
    }
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    if header(CONTENT_ENCODING).is_some_and(|how| !how.eq_ignore_ascii_case("identity")) {
        return wrong("comes compressed, though it was asked for as it is".into());
    }
    let length: Option<u64> = header(CONTENT_LENGTH).and_then(|length| length.trim().parse().ok());
    match &request.what {
        What::Part { offset, size, .. } if status == 206 => {
            let range = header(CONTENT_RANGE).and_then(content_range);
            let Some((first, last, total)) = range else {
                return wrong("does not say which part it sends".into());
            };
            if total.is_some_and(|total| total != *size) {
                return absent("has another length than in the torrent");
            }
            let is_it = first == *offset && last == offset + request.length - 1;
            match is_it && length.is_none_or(|length| length == request.length) {
                true => Ok(Sent::Exactly),
                false => wrong("sends another part than was asked for".into()),
            }
        }
        What::Part { size, whole, .. } => match length {
            Some(length) if length != *size => absent("has another length than in the torrent"),
            _ if request.length == *size => Ok(Sent::Exactly),
            _ if *whole || *size <= MAX_SKIPPED => Ok(Sent::Whole),
            _ => Err(StreamError::Undivided),
        },
        What::All(_) => match length {
            Some(length) if length != request.length => {
                wrong(format!("sends {length} bytes instead of {}", request.length))
            }
            _ => Ok(Sent::Exactly),
        },
        What::Zeros => Ok(Sent::Exactly),
    }
}

/// First byte, last byte, and length of the whole: `bytes 0-9/100`, where the whole may be `*`.
fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let total = if total.trim() == "*" { None } else { Some(number(total)?) };
    Some((number(first)?, number(last)?, total))
}

/// When to come again: seconds, in the body (BEP 17) or in a header.
fn when(response: Response<Body>) -> Option<Duration> {
    let number = |text: &str| text.trim().parse().ok().map(Duration::from_secs);
    let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let header = header.and_then(number);
    let body = response.into_body().into_with_config().limit(MAX_WORDS).read_to_vec().ok()?;
    std::str::from_utf8(&body).ok().and_then(number).or(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_with_or_without_the_length_of_the_whole() {
        for (text, expected) in [
            ("bytes 0-9/100", Some((0, 9, Some(100)))),
            (" bytes 5-5/* ", Some((5, 5, None))),
            ("bytes */100", None),
            ("bytes 0-9", None),
            ("bytes 0-9/x", None),
            ("bytes -9/100", None),
            ("items 0-9/100", None),
            ("bytes 0-99999999999999999999/1", None),
            ("", None),
        ] {
            assert_eq!(content_range(text), expected, "{text}");
        }
    }
}
