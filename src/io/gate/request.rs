//! From the bytes of a request's head to a checked [`Request`].

use std::io::BufRead;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::ops::Range;

use crate::proto::announce::answer::percent_decode;

/// The longest request head in bytes, empty lines before it included.
pub const MAX_HEAD: usize = 8 * 1024;

/// The most header lines in a head.
const MAX_HEADERS: usize = 64;

/// The headers that a request keeps; the names are those of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they would only repeat the names")]
pub enum Header {
    AcceptEncoding,
    ClientIp,
    Connection,
    ContentLength,
    From,
    IfModifiedSince,
    IfNoneMatch,
    IfRange,
    Range,
    Referer,
    TransferEncoding,
    UserAgent,
    Via,
    XForwardedFor,
}

/// Their names, in the same order.
const KEPT: [&str; 14] = [
    "accept-encoding",
    "client-ip",
    "connection",
    "content-length",
    "from",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "range",
    "referer",
    "transfer-encoding",
    "user-agent",
    "via",
    "x-forwarded-for",
];

/// How the other side speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A request line of two words. The answer has no headers.
    Bare,
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// A well-formed GET or HEAD.
#[derive(Debug, Clone)]
pub struct Request {
    /// HEAD: the answer goes without its body.
    pub head_only: bool,
    /// The path, percent-decoded once, `+` read as a blank; of an absolute target what follows
    /// the authority. May hold any bytes.
    pub path: Vec<u8>,
    /// Who asks.
    pub from: SocketAddr,
    /// How it speaks.
    pub version: Version,
    head: Vec<u8>,
    line: Range<usize>,
    target: Range<usize>,
    query: Range<usize>,
    headers: Headers,
}

/// Where the values of headers stand: in 16 bits, since a head is no longer than [`MAX_HEAD`], and
/// each request is moved several times.
type Headers = [Option<(u16, u16)>; KEPT.len()];

impl Request {
    /// The path as it was sent, percent-encoded.
    pub fn raw_path(&self) -> &[u8] {
        &self.head[self.target.clone()]
    }

    /// The query, as it was sent; empty if there is none.
    pub fn query(&self) -> &[u8] {
        &self.head[self.query.clone()]
    }

    /// The request line as it was sent, blanks around it cut off. May hold any bytes but LF.
    pub fn line(&self) -> &[u8] {
        &self.head[self.line.clone()]
    }

    /// The value of a header, the last where it is repeated.
    pub fn header(&self, name: Header) -> Option<&[u8]> {
        let (start, end) = self.headers[name as usize]?;
        Some(&self.head[start.into()..end.into()])
    }

    fn header_has(&self, name: Header, word: &[u8]) -> bool {
        let value = self.header(name).unwrap_or_default();
        value.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word))
    }

    /// Whether the answer may be compressed: as BitTornado, no weights are looked at.
    pub fn accepts_gzip(&self) -> bool {
        self.header_has(Header::AcceptEncoding, b"gzip")
    }

    /// Whether the other side would send a further request on this connection.
    pub(super) fn wants_to_stay(&self) -> bool {
        match self.version {
            Version::Bare => false,
            Version::Http10 => self.header_has(Header::Connection, b"keep-alive"),
            Version::Http11 => !self.header_has(Header::Connection, b"close"),
        }
    }

    /// Whether bytes may follow that are no request. They are never read as one.
    pub(super) fn has_body(&self) -> bool {
        self.header(Header::ContentLength).is_some_and(|n| n != b"0")
            || self.header(Header::TransferEncoding).is_some()
    }
}

/// What the bytes so far are.
#[derive(Debug)]
pub(super) enum Read {
    /// The beginning of a head.
    Partial,
    /// Nothing that gets an answer.
    Bad,
    /// A request, and the bytes that it took.
    Whole(Box<Request>, usize),
}

/// Reads a head from the beginning of `bytes`. Never panics; looks at [`MAX_HEAD`] bytes at most.
pub(super) fn read(bytes: &[u8], from: SocketAddr) -> Read {
    let seen = &bytes[..bytes.len().min(MAX_HEAD)];
    let unfinished = if bytes.len() < MAX_HEAD { Read::Partial } else { Read::Bad };
    // Nearly all are usual and have come whole: what the parser takes then, would be taken below.
    if let Some(whole) = parsed(seen, from) {
        return whole;
    }
    let blank = seen.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let Some(length) = line_end(&seen[blank..]) else { return unfinished };
    let line = trim(seen, blank..blank + length);
    let mut words = seen[line.clone()].split(u8::is_ascii_whitespace).filter(|w| !w.is_empty());
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(b"GET"), Some(target), None, None) => {
            let target = place_of(seen, target);
            let end = blank + length + 1;
            let (headers, version) = (Default::default(), Version::Bare);
            whole(&seen[..end], Parts { line, target, headers, version, head_only: false }, from)
        }
        (Some(b"GET" | b"HEAD"), Some(_), Some(_), None) => match head_end(&seen[blank..]) {
            Some(_) => Read::Bad,
            None => unfinished,
        },
        _ => Read::Bad,
    }
}

/// The bytes up to and including the empty line.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let mut start = 0;
    while let Some(length) = line_end(&bytes[start..]) {
        let (line, end) = (&bytes[start..start + length], start + length + 1);
        if start > 0 && matches!(line, b"" | b"\r") {
            return Some(end);
        }
        start = end;
    }
    None
}

/// The bytes before the first LF. By the library's search, which looks at many bytes at a time.
fn line_end(mut bytes: &[u8]) -> Option<usize> {
    let all = bytes;
    let passed = bytes.skip_until(b'\n').expect("memory can be read");
    (all[..passed].last() == Some(&b'\n')).then(|| passed - 1)
}

struct Parts {
    line: Range<usize>,
    target: Range<usize>,
    headers: Headers,
    version: Version,
    head_only: bool,
}

/// A request with a version, if it is good and all there.
fn parsed(seen: &[u8], from: SocketAddr) -> Option<Read> {
    let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    let Ok(httparse::Status::Complete(length)) = parsed.parse_with_uninit_headers(seen, &mut slots)
    else {
        return None;
    };
    let head = &seen[..length];
    let (method, target) = (parsed.method?, place_of(head, parsed.path?.as_bytes()));
    if !matches!(method, "GET" | "HEAD") {
        return None;
    }
    let mut headers = Headers::default();
    for header in parsed.headers.iter() {
        let kept = KEPT.iter().position(|kept| kept.eq_ignore_ascii_case(header.name));
        if let Some(place) = kept {
            let value = place_of(head, header.value);
            let short = |at| u16::try_from(at).expect("a head is no longer than MAX_HEAD");
            headers[place] = Some((short(value.start), short(value.end)));
        }
    }
    let version = if parsed.version == Some(0) { Version::Http10 } else { Version::Http11 };
    // The parser takes one blank between the words, and none behind the last.
    let line = target.start - method.len() - 1..target.end + " HTTP/1.x".len();
    Some(whole(head, Parts { line, target, headers, version, head_only: method == "HEAD" }, from))
}

fn whole(head: &[u8], parts: Parts, from: SocketAddr) -> Read {
    let Parts { line, target, headers, version, head_only } = parts;
    let target = without_authority(head, target);
    let mark = head[target.clone()].iter().position(|b| *b == b'?');
    let path_end = mark.map_or(target.end, |at| target.start + at);
    let query = mark.map_or(target.end, |at| target.start + at + 1)..target.end;
    let (target, head) = (target.start..path_end, head.to_vec());
    let path = percent_decode(&head[target.clone()]).into_owned();
    let used = head.len();
    let request = Request { head_only, path, from, version, head, line, target, query, headers };
    Read::Whole(Box::new(request), used)
}

/// Of `http://host/path` the place of `/path`; anything else as it is.
fn without_authority(head: &[u8], target: Range<usize>) -> Range<usize> {
    let text = &head[target.clone()];
    for scheme in ["http://", "https://"] {
        let begins = text.get(..scheme.len());
        if begins.is_some_and(|b| b.eq_ignore_ascii_case(scheme.as_bytes())) {
            let rest = &text[scheme.len()..];
            let at = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
            return target.start + scheme.len() + at..target.end;
        }
    }
    target
}

fn trim(bytes: &[u8], mut range: Range<usize>) -> Range<usize> {
    while !range.is_empty() && bytes[range.end - 1].is_ascii_whitespace() {
        range.end -= 1;
    }
    while !range.is_empty() && bytes[range.start].is_ascii_whitespace() {
        range.start += 1;
    }
    range
}

/// Where `part`, a slice of `whole`, stands in it.
fn place_of(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from() -> SocketAddr {
        "127.0.0.1:9".parse().unwrap()
    }

    fn request(text: &str) -> Request {
        match read(text.as_bytes(), from()) {
            Read::Whole(request, used) => {
                assert_eq!(used, text.len());
                *request
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn reads_a_request_with_all_it_keeps() {
        let r = request(
            "GET /a%2fb+c%25?x=%31&y HTTP/1.1\r\nHost: h\r\nUSER-AGENT: me \r\nReferer: a\r\n\
             referer: b\r\nAccept-Encoding: deflate, GZIP\r\n\r\n",
        );
        assert_eq!((&r.path[..], r.query()), (&b"/a/b c%"[..], &b"x=%31&y"[..]));
        assert_eq!(r.raw_path(), b"/a%2fb+c%25");
        assert_eq!(r.line(), b"GET /a%2fb+c%25?x=%31&y HTTP/1.1");
        assert_eq!(r.header(Header::UserAgent), Some(&b"me"[..]));
        assert_eq!(r.header(Header::Referer), Some(&b"b"[..]), "the last one counts");
        assert_eq!(r.header(Header::Via), None);
        assert!(r.accepts_gzip() && !r.head_only && r.wants_to_stay() && !r.has_body());
    }

    #[test]
    fn takes_the_line_ends_and_targets_that_the_original_takes() {
        assert_eq!(request("GET / HTTP/1.0\n\n").path, b"/");
        assert_eq!(request("\r\n\nGET / HTTP/1.0\r\n\n").path, b"/");
        assert_eq!(request("GET http://x/scrape?a HTTP/1.0\r\n\r\n").path, b"/scrape");
        assert_eq!(request("GET HTTPS://x HTTP/1.0\r\n\r\n").path, b"");
        assert!(request("HEAD /scrape HTTP/1.0\r\n\r\n").head_only);
    }

    #[test]
    fn two_words_are_a_request_without_headers() {
        let r = request("GET /scrape?q\r\n");
        assert_eq!(
            (r.version, r.query(), r.line()),
            (Version::Bare, &b"q"[..], &b"GET /scrape?q"[..])
        );
        assert!(matches!(read(b"HEAD /scrape\n", from()), Read::Bad));
    }

    #[test]
    fn what_is_no_request_gets_no_answer() {
        for text in [
            "POST /announce HTTP/1.0\r\n\r\n",
            "GARBAGE\r\n\r\n",
            "GET /a b c HTTP/1.0\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "GET / FTP\r\n\r\n",
            "get / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.0\r\nno colon\r\n\r\n",
            "GET / HTTP/1.0\r\nA: 1\r\n folded\r\n\r\n",
            "\0\0\0\n\n",
        ] {
            assert!(matches!(read(text.as_bytes(), from()), Read::Bad), "{text:?}");
        }
    }

    #[test]
    fn a_head_is_whole_only_at_its_empty_line() {
        let text = b"\r\nGET /x HTTP/1.0\r\nA: 1\r\n\r\n";
        for cut in 0..text.len() {
            assert!(matches!(read(&text[..cut], from()), Read::Partial), "cut at {cut}");
        }
        assert!(matches!(read(b"GET / HTTP/1.0\r\n\r\nmore", from()), Read::Whole(_, 18)));
    }

    #[test]
    fn no_head_is_longer_than_the_limit() {
        let long = format!("GET /{} HTTP/1.0\r\n\r\n", "a".repeat(MAX_HEAD));
        assert!(matches!(read(&long.as_bytes()[..MAX_HEAD - 1], from()), Read::Partial));
        assert!(matches!(read(&long.as_bytes()[..MAX_HEAD], from()), Read::Bad));
        let many = format!("GET / HTTP/1.0\r\n{}\r\n", "A: 1\r\n".repeat(65));
        assert!(matches!(read(many.as_bytes(), from()), Read::Bad));
    }

    #[test]
    fn bodies_are_noticed_and_connections_end_as_asked() {
        let with = |header: &str| request(&format!("GET / HTTP/1.1\r\n{header}\r\n\r\n"));
        assert!(with("Content-Length: 5").has_body());
        assert!(!with("Content-Length: 0").has_body());
        assert!(with("Transfer-Encoding: chunked").has_body());
        assert!(!with("Connection: Close").wants_to_stay());
        assert!(!request("GET / HTTP/1.0\r\n\r\n").wants_to_stay());
        assert!(request("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").wants_to_stay());
    }

    #[test]
    fn damaged_heads_never_panic() {
        let good =
            b"GET http://h/a%20b?info_hash=%41 HTTP/1.1\r\nHost: x\r\nVia: a for 1.2.3.4\r\n\r\n";
        let mut seed = 11u64;
        for round in 0..50_000 {
            let mut bytes = good.to_vec();
            for _ in 0..1 + round % 4 {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (seed >> 33) as usize % bytes.len();
                match seed & 7 {
                    0 => bytes.truncate(at + 1),
                    1 => bytes.insert(at, b'\n'),
                    2 => bytes[at] = b' ',
                    _ => bytes[at] = (seed >> 24) as u8,
                }
            }
            if let Read::Whole(request, used) = read(&bytes, from()) {
                assert!(used <= bytes.len(), "round {round}");
                assert!(!request.line().contains(&b'\n'), "round {round}");
                let _ = (request.query(), request.header(Header::Via), request.accepts_gzip());
            }
        }
    }
}
