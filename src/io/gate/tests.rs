use super::*;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

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
    sent: Vec<Sent>,
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
    Door { reactor, gate, on, now, times: 1, sent: Vec::new() }
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
    }

    fn answer_all(&mut self) {
        while let Some((visitor, request)) = self.gate.next_request() {
            let answer = Answer::new(200, "OK", "text/plain").body(request.path.repeat(self.times));
            self.sent.extend(self.gate.answer(&mut self.reactor, visitor, answer, self.now));
        }
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
