//! Answers on their way out.

use std::borrow::Cow;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::sync::Arc;

use super::request::Version;
use super::stream::{Chunk, Pump, Step, Stream};
use crate::io::sys;
use crate::proto::bencode::put_digits;

/// Bodies above this many bytes go out as they are: to compress a megabyte would hold up everybody
/// else for tens of milliseconds.
#[cfg(feature = "gzip")]
const MAX_COMPRESSED: usize = 64 * 1024;

/// Room for a usual head.
const HEAD: usize = 256;

/// Bodies up to this length are copied behind the head: cheaper than sending two pieces.
const JOINED: usize = 2048;

/// Bytes of an answer that leave in one turn at most, so that a reader who keeps up, and has asked
/// for much, does not hold up everybody else.
const PORTION: usize = 64 * 1024;

/// What a request is answered with.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The words behind it.
    pub reason: Cow<'static, str>,
    /// The first header lines, as they are to be sent: for what is always the same.
    pub fixed: &'static str,
    /// Headers, in this order. `Content-Length` and what else the gate adds do not belong here.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body; shared, since many may be sent the same.
    pub body: Arc<Vec<u8>>,
    /// Whether the body is compressed already.
    pub gzipped: bool,
    /// Whether it must not be.
    pub plain: bool,
    /// What follows the body, mostly from files; such an answer is never compressed.
    pub stream: Vec<Chunk>,
    /// What [`super::Gate::next_receipt`] yields when a GET has been sent all of it.
    pub receipt: Option<usize>,
}

impl Answer {
    /// An answer with one header, `Content-Type`.
    pub fn new(status: u16, reason: &'static str, content_type: &'static str) -> Answer {
        Answer::empty(status, reason).header("Content-Type", content_type)
    }

    /// An answer without headers.
    pub fn empty(status: u16, reason: &'static str) -> Answer {
        Answer {
            status,
            reason: reason.into(),
            fixed: "",
            headers: Vec::new(),
            body: Arc::default(),
            gzipped: false,
            plain: false,
            stream: Vec::new(),
            receipt: None,
        }
    }

    /// The same with a further header.
    pub fn header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    /// The same with a body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Answer {
        self.body = Arc::new(body.into());
        self
    }

    /// The same with a body that comes from files.
    pub fn stream(mut self, chunks: Vec<Chunk>) -> Answer {
        self.stream = chunks;
        self
    }

    /// Bytes that a GET is sent.
    pub fn length(&self) -> u64 {
        self.body.len() as u64 + self.stream.iter().map(Chunk::len).sum::<u64>()
    }

    /// Compresses the body if that is shorter. Without the feature `gzip` it never is.
    pub(super) fn compress(&mut self) {
        #[cfg(feature = "gzip")]
        let suits = !self.gzipped && !self.plain && self.stream.is_empty();
        #[cfg(feature = "gzip")]
        if suits && self.body.len() <= MAX_COMPRESSED {
            let small = crate::io::gzip::packed(&self.body);
            if small.len() < self.body.len() {
                self.body = Arc::new(small);
                self.gzipped = true;
            }
        }
    }

    /// The head: with `Content-Length` last, and without `Date` and `Server`, as BitTornado does.
    pub(super) fn head(&self, version: Version, stays: Option<bool>) -> Vec<u8> {
        // With connections that stay, the version must allow it; without, all is as recorded.
        let minor = u8::from(stays.is_some() && version == Version::Http11);
        let body = if self.body.len() <= JOINED { self.body.len() } else { 0 };
        let mut head = Vec::with_capacity(HEAD + body);
        let put = |head: &mut Vec<u8>, part: &str| head.extend_from_slice(part.as_bytes());
        match (minor, self.status, &*self.reason) {
            (0, 200, "OK") => put(&mut head, "HTTP/1.0 200 OK\r\n"),
            (1, 200, "OK") => put(&mut head, "HTTP/1.1 200 OK\r\n"),
            (_, _, reason) => {
                put(&mut head, if minor == 1 { "HTTP/1.1 " } else { "HTTP/1.0 " });
                put_digits(&mut head, self.status.into());
                [" ", &clean(reason), "\r\n"].iter().for_each(|part| put(&mut head, part));
            }
        }
        if version == Version::Bare {
            return head;
        }
        put(&mut head, self.fixed);
        for (name, value) in &self.headers {
            [name, ": ", &clean(value), "\r\n"].iter().for_each(|part| put(&mut head, part));
        }
        if self.gzipped {
            put(&mut head, "Content-Encoding: gzip\r\n");
        }
        match (stays, version) {
            (Some(true), Version::Http10) => put(&mut head, "Connection: keep-alive\r\n"),
            (Some(false), Version::Http11) => put(&mut head, "Connection: close\r\n"),
            _ => {}
        }
        // Of what the other side has already no length is told but its own.
        match self.status {
            304 => put(&mut head, "\r\n"),
            _ => {
                put(&mut head, "Content-Length: ");
                put_digits(&mut head, self.length());
                put(&mut head, "\r\n\r\n");
            }
        }
        head
    }
}

/// A header's value with nothing in it that could end it.
fn clean(value: &str) -> Cow<'_, str> {
    let printable = |b: &u8| matches!(b, b' '..=b'~');
    if value.as_bytes().iter().all(printable) || !value.contains(char::is_control) {
        return value.into();
    }
    value.chars().filter(|c| !c.is_control()).collect()
}

/// Why an answer is not being sent at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// It is: whenever the socket takes bytes.
    Socket,
    /// What comes next is being brought in from the disk.
    Disk,
    /// No more bytes of files may leave.
    Allowance,
}

/// The bytes of an answer, and how far they are.
#[derive(Debug)]
pub(super) struct Outgoing {
    head: Vec<u8>,
    body: Arc<Vec<u8>>,
    sent: usize,
    /// What follows, from files.
    pub stream: Option<Box<Stream>>,
    pub wait: Wait,
    pub receipt: Option<usize>,
}

impl Outgoing {
    pub fn new(mut head: Vec<u8>, mut body: Arc<Vec<u8>>, stream: Vec<Chunk>) -> Outgoing {
        if body.len() <= JOINED {
            head.extend_from_slice(&body);
            body = Arc::default();
        }
        let stream = Some(stream).filter(|s| !s.is_empty()).map(|s| Box::new(Stream::new(s)));
        Outgoing { head, body, sent: 0, stream, wait: Wait::Socket, receipt: None }
    }

    /// Bytes of it in our memory.
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Sends what the socket takes. `more`: something follows at once, if only the end.
    ///
    /// # Errors
    /// The connection's end, or that of a file. `WouldBlock` is none.
    pub fn send(&mut self, socket: impl AsFd, more: bool, pump: &mut Pump) -> io::Result<Step> {
        let joined = more || self.stream.is_some();
        let turn_over = self.sent + PORTION;
        while self.sent < self.len() {
            let head = &self.head[self.sent.min(self.head.len())..];
            let body = &self.body[self.sent.saturating_sub(self.head.len())..];
            let room = turn_over.saturating_sub(self.sent);
            if room == 0 {
                return Ok(Step::More);
            }
            let body = &body[..body.len().min(room)];
            let sent = match body {
                [] => sys::send(&socket, head, joined),
                _ => sys::writev(&socket, &[IoSlice::new(head), IoSlice::new(body)], joined),
            };
            match sent {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Step::More),
                Err(e) => return Err(e),
            }
        }
        match &mut self.stream {
            Some(stream) => stream.send(socket, more, pump),
            None => Ok(Step::Done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        Answer::new(200, "OK", "text/plain").header("Pragma", "no-cache").body("hello")
    }

    fn head(version: Version, stays: Option<bool>) -> String {
        String::from_utf8(answer().head(version, stays)).unwrap()
    }

    #[test]
    fn a_head_is_as_recorded() {
        let recorded = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nPragma: no-cache\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(head(Version::Http10, None), recorded);
        assert_eq!(head(Version::Http11, None), recorded);
        assert_eq!(head(Version::Bare, None), "HTTP/1.0 200 OK\r\n");
    }

    #[test]
    fn with_connections_that_stay_the_head_says_so() {
        assert!(head(Version::Http11, Some(true)).starts_with("HTTP/1.1 200"));
        assert!(!head(Version::Http11, Some(true)).contains("Connection"));
        assert!(head(Version::Http11, Some(false)).contains("Connection: close\r\n"));
        assert!(head(Version::Http10, Some(true)).contains("Connection: keep-alive\r\n"));
        assert!(head(Version::Http10, Some(true)).starts_with("HTTP/1.0 200"));
    }

    #[test]
    fn no_value_can_end_its_header() {
        let answer = answer().header("Location", "a\r\nSet-Cookie: x");
        let head = String::from_utf8(answer.head(Version::Http10, None)).unwrap();
        assert!(head.contains("Location: aSet-Cookie: x\r\n"));
    }
}
