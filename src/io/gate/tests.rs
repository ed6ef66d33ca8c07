use super::*;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

/// Everything comes much sooner.
const PATIENCE: Duration = Duration::from_secs(60);

/// A gate whose every request is answered with its own path, and a clock set by hand.
struct Door {
    reactor: Reactor,
    gate: Gate,
    on: SocketAddr,
    now: Instant,
    /// Bodies are so many times the path.
    times: usize,
    /// What is behind `/file`.
    file: Option<PathBuf>,
    /// Whether what is cold stays so.
    frozen: bool,
    sent: Vec<Sent>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.file.iter().for_each(|path| _ = std::fs::remove_file(path));
    }
}

fn settings() -> Settings {
    Settings {
        timeout: Duration::from_secs(15),
        check_interval: Duration::from_secs(5),
        keep_alive: None,
        connections: 50,
    }
}

fn door(settings: Settings) -> Door {
    let (mut reactor, now) = (Reactor::new().unwrap(), Instant::now());
    let mut gate = Gate::new(settings, now);
    let on = gate.listen(&mut reactor, "127.0.0.1:0".parse().unwrap()).unwrap();
    Door { reactor, gate, on, now, times: 1, file: None, frozen: false, sent: Vec::new() }
}

impl Door {
    fn visit(&self) -> TcpStream {
        let stream = TcpStream::connect(self.on).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    }

    /// One turn that waits 10 ms at most; answers what is asked.
    fn turn(&mut self) {
        let mut events = Vec::new();
        self.gate.go_on(&mut self.reactor, self.now);
        self.answer_all();
        self.reactor.turn(Some(Duration::from_millis(10)), &mut events).unwrap();
        for event in &events {
            assert!(self.gate.on_event(&mut self.reactor, event, self.now));
        }
        self.answer_all();
        if !self.frozen {
            self.thaw();
        }
    }

    fn answer_all(&mut self) {
        while let Some((visitor, request)) = self.gate.next_request() {
            let answer = match request.path == b"/file" {
                true => self.content().answer(&request),
                false => Answer::new(200, "OK", "text/plain").body(request.path.repeat(self.times)),
            };
            self.sent.extend(self.gate.answer(&mut self.reactor, visitor, answer, self.now));
        }
    }

    /// Brings in what is cold, and counts that.
    fn thaw(&mut self) -> usize {
        let cold: Vec<_> = std::iter::from_fn(|| self.gate.next_cold()).collect();
        for (visitor, part) in &cold {
            let good = crate::io::disk::ready::fetch(part, 0).is_ok();
            self.gate.warmed(&mut self.reactor, *visitor, good, self.now);
        }
        cold.len()
    }

    /// Puts so many bytes, each of its own value, behind `/file`.
    fn share(&mut self, name: &str, length: usize) -> Vec<u8> {
        let path = std::env::temp_dir().join(format!("bt-gate-{name}-{}", std::process::id()));
        let bytes: Vec<u8> = (0..length).map(|at| (at / 7 + at % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        self.file = Some(path);
        bytes
    }

    /// The same of zeros that are nowhere, far more than the kernel takes at once.
    fn share_holes(&mut self, name: &str, length: u64) {
        self.share(name, 0);
        let file = File::options().write(true).open(self.file.as_ref().unwrap()).unwrap();
        file.set_len(length).unwrap();
    }

    fn content(&self) -> Content {
        let file = Arc::new(File::open(self.file.as_ref().unwrap()).unwrap());
        let looks = sys::stamp(&file).unwrap();
        let (etag, modified) = ("tag".into(), "Thu, 01 Jan 1970 00:00:00 GMT".into());
        Content { file, looks, content_type: "text/x".into(), etag, modified }
    }

    /// The head and the body of the answer to a request for the file with these headers.
    fn fetch(&mut self, method: &str, headers: &str) -> (String, Vec<u8>) {
        let mut stream = self.visit();
        let request = format!("{method} /file HTTP/1.0\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let all = self.read_to_end(&stream);
        let end = all.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
        (String::from_utf8(all[..end].to_vec()).unwrap(), all[end..].to_vec())
    }

    fn turns(&mut self, done: impl Fn(&Door) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "it does not come to that");
            self.turn();
        }
    }

    /// Turns until the gate closes the connection, and gives all that came.
    fn read_to_end(&mut self, mut stream: &TcpStream) -> Vec<u8> {
        let (mut all, mut buffer) = (Vec::new(), [0; 65536]);
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            match stream.read(&mut buffer) {
                Ok(0) => return all,
                Ok(n) => all.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.turn(),
                Err(e) => panic!("{e} after {} bytes", all.len()),
            }
        }
        panic!("the connection stays open");
    }

    fn ask(&mut self, request: &str) -> String {
        let mut stream = self.visit();
        stream.write_all(request.as_bytes()).unwrap();
        String::from_utf8(self.read_to_end(&stream)).unwrap()
    }

    fn passes(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.gate.on_time(&mut self.reactor, self.now);
    }
}

#[test]
fn one_request_one_answer_and_the_connection_closes() {
    let mut d = door(settings());
    let answer = d.ask("GET /a%20b HTTP/1.1\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(
        answer,
        "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\n/a b"
    );
    assert_eq!(d.ask("GET /x\r\n\r\n"), "HTTP/1.0 200 OK\r\n/x");
    assert!(d.ask("HEAD /x HTTP/1.0\r\n\r\n").ends_with("Content-Length: 2\r\n\r\n"));
    assert_eq!(
        d.sent[2],
        Sent { bytes: 2, gzipped: false },
        "the log shows what a GET would be sent"
    );
    assert_eq!(d.ask("POST /x HTTP/1.0\r\n\r\n"), "");
    d.turns(|d| d.gate.connections() == 0);
}

#[test]
fn a_request_in_pieces_is_one_request() {
    let mut d = door(settings());
    let mut stream = d.visit();
    for piece in ["GE", "T /x HT", "TP/1.0\r", "\n\r", "\n"] {
        assert_eq!(d.sent.len(), 0);
        stream.write_all(piece.as_bytes()).unwrap();
        (0..3).for_each(|_| d.turn());
    }
    assert!(d.read_to_end(&stream).ends_with(b"\r\n\r\n/x"));
}

#[test]
fn an_answer_survives_what_the_client_sends_behind_its_request() {
    let mut d = door(settings());
    d.times = 100_000;
    let mut stream = d.visit();
    stream.write_all(b"GET /x HTTP/1.0\r\nContent-Length: 60000\r\n\r\n").unwrap();
    stream.write_all(&[b'z'; 60_000]).unwrap();
    assert_eq!(d.read_to_end(&stream).len(), 69 + 200_000);
    assert_eq!(d.sent.len(), 1, "and it is no second request");
    drop(stream);
    d.turns(|d| d.gate.connections() == 0);
}

#[test]
fn whoever_dawdles_over_a_head_is_closed() {
    let mut d = door(settings());
    let mut slow = d.visit();
    d.turns(|d| d.gate.connections() == 1);
    slow.write_all(b"GET / HTTP").unwrap();
    (0..3).for_each(|_| d.turn());
    d.passes(14);
    slow.write_all(b"/1.0\r\nA: ").unwrap();
    (0..3).for_each(|_| d.turn());
    assert_eq!(d.gate.connections(), 1);
    d.passes(6);
    assert_eq!(d.gate.connections(), 0, "dripping bytes buy no time");
    assert_eq!(d.gate.next_deadline(), None);
}

#[test]
fn whoever_does_not_read_is_closed_in_the_time_that_fits_the_length() {
    let mut d = door(settings());
    d.times = 10 << 20;
    let mut stream = d.visit();
    stream.write_all(b"GET /x HTTP/1.0\r\n\r\n").unwrap();
    d.turns(|d| d.sent.len() == 1);
    d.passes(15 + (20 << 20) / SLOWEST as u64 - 6);
    assert_eq!(d.gate.connections(), 1);
    d.passes(6);
    assert_eq!(d.gate.connections(), 0);
}

#[test]
fn when_all_places_are_taken_the_one_idle_longest_makes_room() {
    let mut d = door(Settings { connections: 3, ..settings() });
    let idle: Vec<TcpStream> = (0..3)
        .map(|n| {
            let stream = d.visit();
            d.now += Duration::from_secs(1);
            d.turns(|d| d.gate.connections() == n + 1);
            stream
        })
        .collect();
    assert!(d.ask("GET /x HTTP/1.0\r\n\r\n").ends_with("/x"));
    assert_eq!(d.read_to_end(&idle[0]), b"");
    (&idle[1]).write_all(b"GET /y HTTP/1.0\r\n\r\n").unwrap();
    assert!(d.read_to_end(&idle[1]).ends_with(b"/y"));
}

#[test]
fn a_connection_that_stays_serves_what_is_sent_ahead_in_order() {
    let keep_alive = Some(Duration::from_secs(30));
    let mut d = door(Settings { keep_alive, ..settings() });
    let mut stream = d.visit();
    let ahead = "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\nConnection: close\r\n\r\n";
    stream.write_all(ahead.as_bytes()).unwrap();
    let all = String::from_utf8(d.read_to_end(&stream)).unwrap();
    let bodies: Vec<&str> =
        all.split("HTTP/1.1 200 OK\r\n").map(|a| &a[a.len().max(2) - 2..]).collect();
    assert_eq!(bodies, ["", "/1", "/2", "/3"]);
    let mut idle = d.visit();
    idle.write_all(b"GET /1 HTTP/1.1\r\n\r\n").unwrap();
    d.turns(|d| d.sent.len() == 4);
    d.passes(29);
    assert_eq!(d.gate.connections(), 1);
    d.passes(5);
    assert_eq!(d.gate.connections(), 0);
    assert!(d.ask("GET /1 HTTP/1.0\r\n\r\n").contains("\r\nContent-Length: 2\r\n\r\n/1"));
}

#[test]
fn a_connection_that_stays_misses_neither_a_part_nor_a_flood_nor_the_end() {
    let keep_alive = Some(Duration::from_secs(30));
    let mut d = door(Settings { keep_alive, ..settings() });
    let mut stream = d.visit();
    let mut asked = 0;
    let flood = "GET /flood HTTP/1.1\r\n\r\n".repeat(2 * READ_SIZE / 23);
    // The parts come in turns of their own, and the flood is more than is read at once.
    for parts in
        [&["GET /a HTTP/1.1\r\n\r\n"][..], &["GE", "T /b HTT", "P/1.1\r\n\r", "\n"], &[&flood]]
    {
        for round in 0..2 {
            for part in parts {
                stream.write_all(part.as_bytes()).unwrap();
                d.turn();
            }
            asked += parts.concat().matches("GET").count();
            d.turns(|d| d.sent.len() == asked);
            let mut read = Vec::new();
            let _ = stream.read_to_end(&mut read);
            assert!(!read.is_empty(), "round {round}");
        }
    }
    // Its end may come along with its last request.
    stream.write_all(b"GET /last HTTP/1.1\r\n\r\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    d.turns(|d| d.sent.len() == asked + 1 && d.gate.connections() == 0);
}

#[test]
fn however_much_is_sent_ahead_others_have_their_turn() {
    let keep_alive = Some(Duration::from_secs(30));
    let mut d = door(Settings { keep_alive, ..settings() });
    let mut stream = d.visit();
    stream.write_all(&b"GET /a HTTP/1.1\r\n\r\n".repeat(100)).unwrap();
    d.turns(|d| !d.sent.is_empty());
    assert_eq!(d.sent.len(), 1);
    while d.sent.len() < 100 {
        let before = d.sent.len();
        d.turn();
        assert_eq!(d.sent.len(), before + 1, "one a turn");
        assert!(
            d.sent.len() == 100 || d.gate.next_deadline() <= Some(d.now),
            "and nothing is waited for in between"
        );
    }
}

#[test]
fn an_answer_to_one_who_left_goes_nowhere() {
    let mut d = door(settings());
    let mut stream = d.visit();
    stream.write_all(b"GET /x HTTP/1.0\r\n\r\n").unwrap();
    let mut events = Vec::new();
    let end = Instant::now() + PATIENCE;
    let asked = std::iter::repeat_with(|| {
        assert!(Instant::now() < end, "nothing is asked");
        d.reactor.turn(Some(Duration::from_millis(10)), &mut events).unwrap();
        events.iter().for_each(|e| _ = d.gate.on_event(&mut d.reactor, e, d.now));
        d.gate.next_request()
    });
    let (visitor, _) = asked.flatten().next().unwrap();
    let answer = Answer::new(200, "OK", "text/plain");
    assert!(d.gate.answer(&mut d.reactor, visitor, answer.clone(), d.now).is_some());
    assert_eq!(d.gate.answer(&mut d.reactor, visitor, answer, d.now), None, "only one answer");
}

#[test]
fn listens_on_both_families_at_one_port() {
    let mut d = door(settings());
    let six = SocketAddr::new("::1".parse().unwrap(), d.on.port());
    if d.gate.listen(&mut d.reactor, six).is_err() {
        return; // No IPv6 on this machine.
    }
    let mut stream = TcpStream::connect(six).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream.write_all(b"GET /six HTTP/1.0\r\n\r\n").unwrap();
    assert!(d.read_to_end(&stream).ends_with(b"/six"));
    d.gate.stop_listening(&mut d.reactor);
    assert!(TcpStream::connect(six).is_err());
}

#[cfg(feature = "gzip")]
#[test]
fn compresses_only_for_whom_it_suits_and_only_if_that_is_shorter() {
    let mut d = door(settings());
    let asked = "GET /xxxxxxxxxx HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n";
    assert!(!d.ask(asked).contains("Encoding"));
    d.times = 20;
    let mut stream = d.visit();
    stream.write_all(asked.as_bytes()).unwrap();
    let all = d.read_to_end(&stream);
    let head = String::from_utf8_lossy(&all);
    assert!(head.contains("\r\nContent-Encoding: gzip\r\nContent-Length: "), "{head}");
    assert!(d.sent[1].gzipped && d.sent[1].bytes < 60);
}

#[cfg(feature = "gzip")]
#[test]
fn compressing_has_its_part_of_each_second_and_no_more() {
    let mut d = door(settings());
    d.times = 20;
    let asked = "GET /xxxxxxxxxx HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n";
    let gzipped = |d: &mut Door| {
        let mut stream = d.visit();
        stream.write_all(asked.as_bytes()).unwrap();
        d.read_to_end(&stream);
        d.sent.pop().unwrap().gzipped
    };
    assert!(gzipped(&mut d));
    d.gate.compressed_for = MAX_COMPRESSING;
    assert!(!gzipped(&mut d));
    d.now += Duration::from_secs(1);
    assert!(gzipped(&mut d));
}

#[test]
fn a_reader_of_much_who_keeps_up_leaves_turns_to_others() {
    let mut d = door(settings());
    d.times = 4 << 20;
    let mut stream = d.visit();
    stream.write_all(b"GET /a HTTP/1.0\r\n\r\n").unwrap();
    stream.set_nonblocking(false).unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).map(|_| all.len())
    });
    let mut turns = 0;
    while !reader.is_finished() {
        d.turn();
        turns += 1;
    }
    assert!(reader.join().unwrap().unwrap() > 8 << 20);
    assert!(turns >= (8 << 20) / (64 << 10), "{turns}");
}

#[test]
fn those_who_never_read_cannot_fill_the_memory() {
    let mut door = door(settings());
    // Each answer is far longer than the kernel takes.
    door.times = 12 << 20;
    let mut visitors = Vec::new();
    for n in 0..6 {
        let mut visitor = door.visit();
        visitor.write_all(b"GET /a HTTP/1.0\r\n\r\n").unwrap();
        visitors.push(visitor);
        door.turns(|door| door.sent.len() > n);
        door.now += Duration::from_millis(1);
    }
    let held = |c: &Connection| match &c.stage {
        Stage::Answering(outgoing, _) => outgoing.len(),
        _ => 0,
    };
    let all: usize = door.gate.connections.values().map(held).sum();
    assert!(all <= MAX_HELD && door.gate.connections() == 1, "{all}");
}

#[test]
fn a_file_is_had_whole_in_part_and_by_its_head_alone() {
    let mut d = door(settings());
    let bytes = d.share("parts", 1_000_000);
    let (head, body) = d.fetch("GET", "");
    assert!(head.starts_with("HTTP/1.0 200 OK\r\n") && body == bytes, "{head}");
    for line in [
        "Content-Type: text/x",
        "ETag: \"tag\"",
        "Accept-Ranges: bytes",
        "Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT",
        "Content-Length: 1000000",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
    }
    let (head, body) = d.fetch("HEAD", "Range: bytes=0-9\r\n");
    assert!(head.starts_with("HTTP/1.0 200") && head.contains("Content-Length: 1000000\r\n"));
    assert!(body.is_empty());
    for (range, content) in
        [("10-19", 10..20), ("999999-", 999_999..1_000_000), ("-7", 999_993..1_000_000)]
    {
        let (head, body) = d.fetch("GET", &format!("Range: bytes={range}\r\n"));
        assert!(head.starts_with("HTTP/1.0 206 Partial Content\r\n"), "{head}");
        let said =
            format!("Content-Range: bytes {}-{}/1000000\r\n", content.start, content.end - 1);
        assert!(head.contains(&said), "{head}");
        assert_eq!(body, bytes[content]);
    }
    let (head, _) = d.fetch("GET", "Range: bytes=1000000-\r\n");
    assert!(head.starts_with("HTTP/1.0 416 ") && head.contains("Content-Range: bytes */1000000"));
}

#[test]
fn several_ranges_are_parts_with_heads_of_their_own() {
    let mut d = door(settings());
    let bytes = d.share("several", 500_000);
    let (head, body) = d.fetch("GET", "Range: bytes=5-9, 100000-399999,-1\r\n");
    assert!(head.starts_with("HTTP/1.0 206 ") && !head.contains("Content-Range"), "{head}");
    let boundary = head.split("boundary=").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    let mut told = Vec::new();
    for range in [5..10, 100_000..400_000, 499_999..500_000] {
        let (first, last) = (range.start, range.end - 1);
        let line = format!("Content-Range: bytes {first}-{last}/500000");
        let head = format!("\r\n--{boundary}\r\nContent-Type: text/x\r\n{line}\r\n\r\n");
        told.extend_from_slice(head.as_bytes());
        told.extend_from_slice(&bytes[range]);
    }
    told.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    assert!(body == told, "{} bytes instead of {}", body.len(), told.len());
    assert!(head.contains(&format!("Content-Length: {}\r\n", told.len())));
}

#[test]
fn who_has_the_file_is_not_sent_it_again() {
    let mut d = door(settings());
    d.share("known", 10);
    const DATE: &str = "Thu, 01 Jan 1970 00:00:00 GMT";
    for (headers, status) in [
        ("If-None-Match: \"x\", W/\"tag\"\r\n".to_string(), 304),
        ("If-None-Match: *\r\n".into(), 304),
        (format!("If-Modified-Since: {DATE}\r\n"), 304),
        (format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {DATE}\r\n"), 200),
        ("Range: bytes=0-1\r\nIf-Range: \"tag\"\r\n".into(), 206),
        (format!("Range: bytes=0-1\r\nIf-Range: {DATE}\r\n"), 206),
        ("Range: bytes=0-1\r\nIf-Range: W/\"tag\"\r\n".into(), 200),
        ("Range: bytes=0-1\r\nIf-Range: \"other\"\r\n".into(), 200),
    ] {
        let (head, body) = d.fetch("GET", &headers);
        assert!(head.starts_with(&format!("HTTP/1.0 {status} ")), "{headers}: {head}");
        assert_eq!(head.contains("Content-Length"), status != 304, "{head}");
        assert_eq!(body.len(), [10, 2, 0][(status == 206) as usize + 2 * (status == 304) as usize]);
    }
}

#[test]
fn who_reads_slowly_stays_and_who_does_not_read_is_closed() {
    let mut d = door(settings());
    d.share_holes("slow", 256 << 20);
    let mut stream = d.visit();
    stream.write_all(b"GET /file HTTP/1.0\r\n\r\n").unwrap();
    d.turns(|d| d.gate.streams() == 1 && d.gate.streamed() > 0);
    let mut buffer = vec![0; 64 * 1024];
    for _ in 0..5 {
        let before = d.gate.streamed();
        // What the kernel holds is read before it takes more.
        while d.gate.streamed() < before + MIN_PROGRESS {
            let _ = stream.read(&mut buffer);
            d.turn();
        }
        d.passes(14);
        assert_eq!(d.gate.connections(), 1);
    }
    while d.gate.streamed() < 256 << 20 && d.gate.connections() == 1 {
        d.turn();
        d.passes(10);
    }
    assert_eq!(d.gate.connections(), 0, "all was taken, though nobody read");
}

#[test]
fn a_file_that_changes_while_it_is_sent_breaks_off() {
    let mut d = door(settings());
    d.share_holes("changed", 256 << 20);
    let mut stream = d.visit();
    stream.write_all(b"GET /file HTTP/1.0\r\n\r\n").unwrap();
    d.turns(|d| d.gate.streamed() > 0);
    let file = File::options().write(true).open(d.file.as_ref().unwrap()).unwrap();
    file.set_len(300 << 20).unwrap();
    assert!(d.read_to_end(&stream).len() < 256 << 20);
}

#[test]
fn no_more_of_files_leaves_than_is_allowed() {
    let mut d = door(settings());
    let bytes = d.share("allowed", 300_000);
    d.gate.allow(&mut d.reactor, Some(100_000), d.now);
    let mut stream = d.visit();
    stream.write_all(b"GET /file HTTP/1.0\r\n\r\n").unwrap();
    d.turns(|d| d.gate.is_starved());
    assert_eq!((d.gate.streamed(), d.gate.allowance()), (100_000, Some(0)));
    d.passes(1000);
    assert_eq!(d.gate.connections(), 1, "it is not the reader's fault");
    d.gate.allow(&mut d.reactor, None, d.now);
    assert!(d.read_to_end(&stream).ends_with(&bytes));
}

#[test]
fn what_is_cold_waits_for_the_disk_and_breaks_off_if_that_fails() {
    let mut d = door(settings());
    d.share("cold", 1000);
    // Nothing can tell what is in the page cache of this.
    let file = Arc::new(File::open("/proc/self/maps").unwrap());
    let looks = sys::stamp(&file).unwrap();
    for good in [true, false] {
        d.frozen = true;
        let mut stream = d.visit();
        stream.write_all(b"GET /cold HTTP/1.0\r\n\r\n").unwrap();
        let mut events = Vec::new();
        let visitor = loop {
            d.reactor.turn(Some(Duration::from_millis(10)), &mut events).unwrap();
            events.iter().for_each(|e| _ = d.gate.on_event(&mut d.reactor, e, d.now));
            if let Some((visitor, _)) = d.gate.next_request() {
                break visitor;
            }
        };
        let part = Part { file: Arc::clone(&file), offset: 0, length: 10 };
        let answer = Answer::empty(200, "OK").stream(vec![Chunk::File(part, looks)]);
        d.gate.answer(&mut d.reactor, visitor, answer, d.now);
        let (waits, part) = d.gate.next_cold().expect("it must be brought in");
        assert_eq!((waits, part.length), (visitor, 10));
        d.passes(1000);
        assert_eq!(d.gate.connections(), 1, "the disk may take its time");
        d.gate.warmed(&mut d.reactor, visitor, good, d.now);
        let all = d.read_to_end(&stream);
        assert_eq!(all.len(), 39 + if good { 10 } else { 0 }, "{}", all.escape_ascii());
    }
}

#[test]
fn no_address_has_all_the_places_for_files() {
    let mut d = door(Settings { connections: 6, ..settings() });
    d.share_holes("places", 256 << 20);
    let from = |d: &Door, last: u8| {
        let own = std::net::IpAddr::from([127, 0, 0, last]);
        let mut stream = TcpStream::from(sys::connect(d.on, Some(own)).unwrap());
        // It may still be on its way to be connected.
        while stream.write_all(b"GET /file HTTP/1.0\r\n\r\n").is_err() {
            std::thread::yield_now();
        }
        stream
    };
    let mut theirs = Vec::new();
    for n in 0..3 {
        theirs.push(from(&d, 9));
        d.turns(|d| d.gate.streams() == n + 1);
        d.now += Duration::from_millis(1);
    }
    let (head, _) = {
        let s = from(&d, 9);
        (String::from_utf8(d.read_to_end(&s)).unwrap(), ())
    };
    assert!(head.starts_with("HTTP/1.0 503 ") && head.contains("Retry-After: "), "{head}");
    let _other = from(&d, 8);
    d.turns(|d| d.sent.len() == 5);
    assert_eq!(d.gate.streams(), 3);
    let ips: Vec<_> =
        d.gate.connections.values().filter(|c| c.is_streaming()).map(|c| c.from.ip()).collect();
    assert_eq!(ips.iter().filter(|ip| ip.to_string() == "127.0.0.9").count(), 2);
}
