//! `io::fetch::stream`: long answers, against servers that are good, bad and strange.

use super::{LONG, head, serve, serve_bytes};
use bittornado::io::fetch::stream::{Course, Request, Stream, StreamError, Streamed, What};
use bittornado::io::fetch::{Bounds, Fault, FetchError};
use bittornado::io::mailbox::{Mailbox, jobs, mailbox};
use bittornado::io::reactor::Reactor;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const CONTENT: &[u8] = b"0123456789abcdefghij";

/// A thread for a server, and where it posts.
struct Place {
    reactor: Reactor,
    inbox: Mailbox<Streamed>,
    stream: Stream,
    asked: u64,
}

type Outcome = (Vec<u8>, Result<(), (usize, StreamError)>);

impl Place {
    fn new(patience: Duration) -> Place {
        let reactor = Reactor::new().unwrap();
        let (post, inbox) = mailbox(8, reactor.waker());
        let stream = Stream::start(patience, Bounds::default(), post).unwrap();
        Place { reactor, inbox, stream, asked: 0 }
    }

    /// Asks, with buffers of 7 bytes for all of it. Their course.
    fn ask(&mut self, requests: Vec<Request>) -> u64 {
        self.asked += 1;
        let total = requests.iter().map(|r| r.length).sum::<u64>() as usize;
        let (sender, buffers) = jobs(16);
        for at in (0..total).step_by(7) {
            sender.try_send(vec![0; 7.min(total - at)]).unwrap();
        }
        let course = Course { id: self.asked, requests, buffers };
        assert!(self.stream.try_send(course).is_ok());
        self.asked
    }

    fn outcome(&mut self, id: u64) -> Outcome {
        let (mut all, until) = (Vec::new(), Instant::now() + LONG);
        loop {
            match self.inbox.try_recv() {
                Some(Streamed::Filled { id: of, data }) if of == id => all.extend(data),
                Some(Streamed::Ended { id: of, result }) if of == id => return (all, result),
                Some(_) => {}
                None => {
                    assert!(Instant::now() < until, "it never ends");
                    let wait = Some(Duration::from_millis(200));
                    self.reactor.turn(wait, &mut Vec::new()).unwrap();
                }
            }
        }
    }

    fn fetch(&mut self, requests: Vec<Request>) -> Outcome {
        let id = self.ask(requests);
        self.outcome(id)
    }
}

fn part(url: &str, offset: u64, length: u64) -> Request {
    let size = CONTENT.len() as u64;
    Request { what: What::Part { url: url.into(), offset, size, whole: false }, length }
}

fn all(url: &str) -> Request {
    Request { what: What::All(url.into()), length: CONTENT.len() as u64 }
}

/// Answers requests for ranges, as many as come over one connection, as a good server does.
fn answer_well(first: &str, stream: &mut TcpStream) {
    let mut head_text = first.to_owned();
    while let Some((_, rest)) = head_text.to_ascii_lowercase().split_once("range: bytes=") {
        let (from, to) = rest.lines().next().unwrap().split_once('-').unwrap();
        let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
        let body = &CONTENT[from..=to];
        let lines = format!(
            "HTTP/1.1 206 Part\r\nContent-Range: bytes {from}-{to}/20\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[lines.as_bytes(), body].concat()).unwrap();
        head_text = head(stream);
    }
}

/// What comes of asking for bytes 5 to 9 when the answer is this.
fn answered_by(answer: &str) -> Outcome {
    let answer = answer.to_owned();
    let url = serve(move |_, stream| drop(stream.write_all(answer.as_bytes())));
    Place::new(LONG).fetch(vec![part(&url, 5, 5)])
}

#[test]
fn parts_of_files_come_over_one_connection_and_zeros_in_between() {
    let (tell, told) = mpsc::channel();
    let url = serve(move |head, stream| {
        tell.send(head.to_ascii_lowercase()).unwrap();
        answer_well(head, stream);
    });
    let mut place = Place::new(LONG);
    let zeros = Request { what: What::Zeros, length: 3 };
    let got = place.fetch(vec![part(&url, 2, 9), zeros, part(&url, 19, 1)]);
    assert_eq!(got, (b"23456789a\0\0\0j".to_vec(), Ok(())));
    assert_eq!(place.fetch(vec![part(&url, 0, 20)]), (CONTENT.to_vec(), Ok(())));
    let head = told.recv_timeout(LONG).unwrap();
    assert!(head.contains("\r\naccept-encoding: identity\r\n"), "{head}");
    assert!(told.try_recv().is_err(), "one connection was enough");
}

#[test]
fn a_whole_in_place_of_a_part_serves_as_far_as_it_is_not_too_far() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n0123456789abcdefghij";
    let url = serve(move |_, stream| drop(stream.write_all(answer.as_bytes())));
    let mut place = Place::new(LONG);
    assert_eq!(place.fetch(vec![part(&url, 0, 20)]), (CONTENT.to_vec(), Ok(())));
    assert_eq!(place.fetch(vec![part(&url, 0, 8)]), (b"01234567".to_vec(), Ok(())));
    assert_eq!(place.fetch(vec![part(&url, 5, 5)]), (b"56789".to_vec(), Ok(())));
    let (offset, size, whole) = (5_000_000, 6_000_000, false);
    let what = What::Part { url: serve_bytes(b"HTTP/1.0 200 OK\r\n\r\n"), offset, size, whole };
    let (_, result) = place.fetch(vec![part(&url, 0, 1), Request { what, length: 5 }]);
    assert_eq!(result, Err((1, StreamError::Undivided)));
}

#[test]
fn a_server_without_parts_is_asked_once_for_all_that_lies_ahead() {
    const SIZE: usize = 6_000_000;
    let bytes: Vec<u8> = (0..SIZE).map(|n| (n / 7) as u8).collect();
    let (body, (tell, told)) = (bytes.clone(), mpsc::channel());
    let url = serve(move |_, stream| {
        tell.send(()).unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
        // It may be broken off.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
    });
    let wanted = |offset: usize| {
        let (offset, size) = (offset as u64, SIZE as u64);
        Request { what: What::Part { url: url.clone(), offset, size, whole: true }, length: 9 }
    };
    let mut place = Place::new(LONG);
    for offset in [10, 19, 5_500_000, SIZE - 9] {
        assert_eq!(place.fetch(vec![wanted(offset)]), (bytes[offset..][..9].to_vec(), Ok(())));
    }
    assert_eq!(told.try_iter().count(), 1);
    assert_eq!(place.fetch(vec![wanted(11)]), (bytes[11..20].to_vec(), Ok(())), "behind");
    let id = place.asked;
    place.stream.cancel(id);
    assert_eq!(place.fetch(vec![wanted(30)]), (bytes[30..39].to_vec(), Ok(())), "cancelled");
    assert_eq!(told.try_iter().count(), 2);
}

#[test]
fn answers_that_are_not_what_was_asked_for_are_refused() {
    for (answer, end) in [
        ("206 P\r\nContent-Range: bytes 0-4/20\r\n\r\n01234", "another part than was asked for"),
        ("206 P\r\nContent-Range: bytes 5-8/20\r\n\r\n5678", "another part than was asked for"),
        ("206 P\r\n\r\n56789", "does not say which part it sends"),
        ("206 P\r\nContent-Range: bytes 5-9/20\r\nContent-Length: 4\r\n\r\n5678", "asked for"),
        ("206 P\r\nContent-Range: bytes 5-9/21\r\n\r\n56789", "another length than in the torrent"),
        ("200 OK\r\nContent-Length: 21\r\n\r\n", "another length than in the torrent"),
        ("206 P\r\nContent-Range: bytes 5-9/20\r\nContent-Encoding: gzip\r\n\r\n56789", "as it is"),
        ("404 No\r\n\r\n", "is not there"),
        ("410 No\r\n\r\n", "is not there"),
        ("416 No\r\n\r\n", "is shorter than in the torrent"),
        ("403 No\r\n\r\n", "is answered by HTTP status 403"),
        ("302 Go\r\nLocation: /x\r\n\r\n", "too many redirects"),
        ("206 P\r\nContent-Range: bytes 5-9/20\r\n\r\n567", "it broke off"),
    ] {
        let (came, result) = answered_by(&format!("HTTP/1.1 {answer}"));
        let (0, error) = result.expect_err(answer) else { panic!("there is one request") };
        assert!(error.to_string().ends_with(end), "{error} for {answer}");
        assert!(came.is_empty(), "{answer}");
    }
}

#[test]
fn what_sends_without_an_end_is_left_when_all_is_there() {
    let url = serve(|_, stream| {
        stream.write_all(b"HTTP/1.1 206 P\r\nContent-Range: bytes 5-9/20\r\n\r\n56789").unwrap();
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let (came, result) = Place::new(LONG).fetch(vec![part(&url, 5, 5)]);
    assert_eq!(came, b"56789");
    let (_, error) = result.unwrap_err();
    assert!(error.to_string().ends_with("sends more than was asked for"), "{error}");
}

#[test]
fn a_busy_server_says_when_to_come_again() {
    for (answer, seconds) in [
        ("503 Busy\r\nContent-Length: 3\r\n\r\n 42", Some(42)),
        ("503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nsoon", Some(7)),
        ("429 Slow down\r\nContent-Length: 0\r\n\r\n", None),
    ] {
        let (_, result) = answered_by(&format!("HTTP/1.1 {answer}"));
        let wait = seconds.map(Duration::from_secs);
        assert_eq!(result, Err((0, StreamError::Busy(wait))), "{answer}");
    }
}

#[test]
fn the_whole_of_something_is_taken_only_if_it_is_as_long() {
    for (body, is_it) in [("0123456789abcdefghij", true), ("0123", false)] {
        let url = serve(move |_, stream| {
            let lines = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(lines.as_bytes()).unwrap();
        });
        let (came, result) = Place::new(LONG).fetch(vec![all(&url)]);
        assert_eq!((came.len() == CONTENT.len(), result.is_ok()), (is_it, is_it));
    }
}

#[test]
fn one_that_hangs_or_drips_is_left_when_it_is_cancelled_and_the_next_is_asked() {
    let hung = TcpListener::bind("127.0.0.1:0").unwrap();
    let hung = format!("http://{}/", hung.local_addr().unwrap());
    let dripping = serve(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 206 P\r\nContent-Range: bytes 5-9/20\r\n\r\n");
        while stream.write_all(b"5").is_ok() {
            std::thread::sleep(Duration::from_secs(3));
        }
    });
    let good = serve(answer_well);
    let mut place = Place::new(LONG);
    for url in [hung, dripping] {
        let left = place.ask(vec![part(&url, 5, 5)]);
        std::thread::sleep(Duration::from_millis(100));
        let next = place.ask(vec![part(&good, 5, 5)]);
        place.stream.cancel(left);
        assert_eq!(place.outcome(next), (b"56789".to_vec(), Ok(())));
    }
}

#[test]
fn silence_has_an_end_by_itself() {
    let hung = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", hung.local_addr().unwrap());
    let (_, result) = Place::new(Duration::from_millis(300)).fetch(vec![part(&url, 5, 5)]);
    let timed_out = StreamError::Fetch(FetchError { url, fault: Fault::TimedOut });
    assert_eq!(result, Err((0, timed_out)));
}
