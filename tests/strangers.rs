//! Hostile peers over real sockets, against the real program: whatever they do, an honest peer is
//! still served at once, memory stays small, and nothing panics.
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod util;

use bittornado::proto::metainfo::Metainfo;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};
use util::{Background, Dir, content, free_port, until};

const SOON: Duration = Duration::from_secs(60);
const PIECE: usize = 32 * 1024;
const PIECES: usize = 37;
const BLOCK: usize = 16 * 1024;

/// What the program may take beyond what it had before it met anybody, in KiB.
const MOST_GROWTH: u64 = 16 * 1024;

/// The program with a torrent of its own.
struct Victim {
    _dir: Dir,
    process: Background,
    port: u16,
    info_hash: [u8; 20],
    content: Vec<u8>,
    rss: u64,
}

impl Victim {
    /// One that has everything.
    fn seed() -> Victim {
        Victim::start(true, &[])
    }

    /// One that has nothing.
    fn leecher() -> Victim {
        Victim::start(false, &[])
    }

    fn start(complete: bool, args: &[&str]) -> Victim {
        let dir = Dir::new();
        let content = content("strangers", PIECES * PIECE - 1000);
        dir.write("file", &content);
        let make = dir.cmd("btmakemetafile").args(["http://127.0.0.1:9/announce", "file"]);
        make.args(["--piece_size_pow2", "15"]).run().expect(0);
        let info = fs::read(dir.join("file.torrent")).unwrap();
        let info_hash = Metainfo::decode(&info).unwrap().info_hash.0;
        let port = free_port();
        let saveas = if complete { "file" } else { "copy" };
        let mut process = dir
            .cmd("btdownload")
            .args(["--bind", "127.0.0.1", "file.torrent", "--saveas", saveas])
            .args(["--minport", &port.to_string(), "--maxport", &port.to_string()])
            .args(args)
            .start();
        // It says so, or has it on its line of figures.
        let says = if complete { "download complete" } else { "downloading" };
        process.wait_for(says, SOON);
        let mut victim = Victim { _dir: dir, process, port, info_hash, content, rss: 0 };
        victim.rss = victim.memory();
        victim
    }

    /// Resident memory, in KiB.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        stream
    }

    fn shake(&self, reserved: [u8; 8], id: &str) -> Vec<u8> {
        let mut bytes = b"\x13BitTorrent protocol".to_vec();
        bytes.extend(reserved);
        bytes.extend(self.info_hash);
        let mut name = id.as_bytes().to_vec();
        name.resize(20, b'.');
        bytes.extend(name);
        bytes
    }

    /// A connection with both handshakes done.
    fn meet(&self, reserved: [u8; 8], id: &str) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(&self.shake(reserved, id)).unwrap();
        let mut theirs = [0; 68];
        stream.read_exact(&mut theirs).unwrap();
        stream
    }

    fn plain(&self, id: &str) -> TcpStream {
        self.meet([0; 8], id)
    }

    fn fast(&self, id: &str) -> TcpStream {
        self.meet([0, 0, 0, 0, 0, 0x10, 0, 4], id)
    }

    /// An honest peer gets a block, with the right bytes, soon.
    fn serves(&mut self, after: &str) {
        assert!(self.process.runs(), "it ended after {after}: {}", self.process.err());
        let began = Instant::now();
        let mut honest = self.plain(&format!("honest {}", began.elapsed().as_nanos()));
        say(&mut honest, 2, &[]);
        wait_for(&mut honest, 1);
        say(&mut honest, 6, &numbers(&[3, BLOCK as u32, BLOCK as u32]));
        let block = wait_for(&mut honest, 7);
        let at = 3 * PIECE + BLOCK;
        assert!(block[8..] == self.content[at..at + BLOCK], "wrong bytes after {after}");
        self.is_sound(after);
        assert!(began.elapsed() < Duration::from_secs(20), "{:?} after {after}", began.elapsed());
    }

    /// An honest peer brings everything, soon.
    fn learns(&mut self, after: &str) {
        let mut honest = self.plain("honest seed");
        let mut bits = vec![0xff; PIECES.div_ceil(8)];
        *bits.last_mut().unwrap() <<= 8 - PIECES % 8;
        say(&mut honest, 5, &bits);
        wait_for(&mut honest, 2);
        say(&mut honest, 1, &[]);
        let began = Instant::now();
        while !self.process.out().contains("download complete") {
            assert!(self.process.runs() && began.elapsed() < SOON, "after {after}");
            let Some((kind, payload)) = hear(&mut honest) else { break };
            if kind == 6 {
                give(&mut honest, &payload, &self.content);
            }
        }
        self.process.wait_for("download complete", SOON);
        self.is_sound(after);
    }

    fn is_sound(&mut self, after: &str) {
        assert!(self.process.runs(), "it ended after {after}");
        let err = self.process.err();
        assert!(!err.contains("panicked"), "after {after}: {err}");
        let grown = self.memory().saturating_sub(self.rss);
        assert!(grown < MOST_GROWTH, "{grown} KiB more after {after}");
    }

    /// The program closes this connection, soon.
    fn drops(&self, mut stream: TcpStream, after: &str) {
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return,
                Err(e) => panic!("not dropped after {after}: {e}"),
            }
        }
    }
}

fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_be_bytes()).collect()
}

fn message(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32 + 1).to_be_bytes().to_vec();
    bytes.push(kind);
    bytes.extend(payload);
    bytes
}

/// What a victim has closed may be written to in vain.
fn say(stream: &mut TcpStream, kind: u8, payload: &[u8]) {
    let _ = stream.write_all(&message(kind, payload));
}

/// The next message that is no keep-alive; `None` when the connection ended.
fn hear(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).ok()?;
        let length = u32::from_be_bytes(length) as usize;
        if length > 0 {
            let mut body = vec![0; length];
            stream.read_exact(&mut body).ok()?;
            return Some((body[0], body.split_off(1)));
        }
    }
}

fn wait_for(stream: &mut TcpStream, wanted: u8) -> Vec<u8> {
    loop {
        let (kind, payload) = hear(stream).unwrap_or_else(|| panic!("no message {wanted}"));
        if kind == wanted {
            return payload;
        }
    }
}

/// Answers a request.
fn give(stream: &mut TcpStream, request: &[u8], content: &[u8]) {
    let number = |i: usize| u32::from_be_bytes(request[i..i + 4].try_into().unwrap()) as usize;
    let at = number(0) * PIECE + number(4);
    let mut payload = request[..8].to_vec();
    payload.extend(&content[at..at + number(8)]);
    say(stream, 7, &payload);
}

/// Writes as much of this as is taken.
fn pour(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}

#[test]
fn handshakes_that_are_wrong_or_cut() {
    let mut victim = Victim::seed();
    let good = victim.shake([0; 8], "cut");
    let mut kept = Vec::new();
    for length in [0, 1, 19, 20, 27, 28, 47, 48, 67] {
        for closes in [true, false] {
            let mut stream = victim.connect();
            stream.write_all(&good[..length]).unwrap();
            match closes {
                true => stream.shutdown(Shutdown::Both).unwrap(),
                false => kept.push(stream),
            }
        }
    }
    for at in [0, 5, 19, 28, 47] {
        let mut wrong = good.clone();
        wrong[at] ^= 1;
        let mut stream = victim.connect();
        stream.write_all(&wrong).unwrap();
        // It may be the beginning of a key: only the end tells that it is not.
        stream.shutdown(Shutdown::Write).unwrap();
        victim.drops(stream, "a wrong handshake");
    }
    let mut stream = victim.connect();
    stream.write_all(b"GET /announce HTTP/1.1\r\n\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    victim.drops(stream, "HTTP");
    victim.serves("handshakes");
}

/// A key, or what is taken for one, and noise behind it.
fn noise(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|n| (n * n + 7 * n) as u8 ^ seed).collect()
}

#[test]
fn encrypted_handshakes_that_lead_to_nothing() {
    let mut victim = Victim::seed();
    let mut kept = Vec::new();
    for n in 0..40 {
        let mut stream = victim.connect();
        pour(&mut stream, &noise(96, n));
        kept.push(stream);
    }
    for n in 0..200 {
        let mut stream = victim.connect();
        pour(&mut stream, &noise(96 + 600, n));
        victim.drops(stream, "noise behind a key");
    }
    victim.serves("a flood of keys");
}

#[test]
fn those_in_plain_text_where_it_is_not_wanted() {
    let victim = Victim::start(true, &["--crypto_only"]);
    let stream = victim.plain("plain");
    victim.drops(stream, "a plain handshake");
    let victim = Victim::start(true, &["--crypto_stealth"]);
    let mut stream = victim.connect();
    pour(&mut stream, &victim.shake([0; 8], "plain"));
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard);
    assert!(heard.is_empty(), "{} bytes", heard.len());
}

#[test]
fn messages_that_lie() {
    let mut victim = Victim::seed();
    let short = |kind, length: u32| [&length.to_be_bytes()[..], &[kind]].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("an endless message", vec![0xff; 5]),
        ("a message longer than the limit", short(99, 8 * 1024 * 1024 + 1)),
        ("a choke with a body", message(0, &[1])),
        ("a short have", message(4, &[0, 0])),
        ("a have out of range", message(4, &numbers(&[PIECES as u32]))),
        ("a have far out of range", message(4, &numbers(&[u32::MAX]))),
        ("a short bitfield", message(5, &[0xff])),
        ("a long bitfield", message(5, &[0; 6])),
        ("a bitfield with spare bits", message(5, &[0, 0, 0, 0, 0xff])),
        ("a request out of range", message(6, &numbers(&[PIECES as u32, 0, 1]))),
        ("a request beyond the piece", message(6, &numbers(&[0, PIECE as u32 - 1, 2]))),
        ("a request that wraps", message(6, &numbers(&[0, u32::MAX, 2]))),
        ("a request for nothing", message(6, &numbers(&[0, 0, 0]))),
        ("a request for too much", message(6, &numbers(&[0, 0, 131_073]))),
        ("an early request", message(6, &numbers(&[0, 0, 1]))),
        ("a cancel out of range", message(8, &numbers(&[PIECES as u32, 0, 1]))),
        ("a block out of range", message(7, &numbers(&[PIECES as u32, 0, 0]))),
        ("a block too long", short(7, 9 + 16_385)),
        ("a short block", message(7, &[0; 4])),
        ("a reject out of range", message(16, &numbers(&[PIECES as u32, 0, 1]))),
        ("an allowed piece out of range", message(17, &numbers(&[PIECES as u32]))),
        ("a suggestion out of range", message(13, &numbers(&[PIECES as u32]))),
        ("an empty extended message", message(20, &[])),
    ];
    for (what, bytes) in &cases {
        let mut stream = victim.plain(what);
        pour(&mut stream, bytes);
        victim.drops(stream, what);
    }
    victim.serves("lies");
}

#[test]
fn floods() {
    let mut victim = Victim::seed();
    let mut deep = vec![0];
    deep.extend(b"d1:m".iter().chain(&[b'l'; 4000]));
    let mut kept = Vec::new();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("keep-alives", vec![0; 4]),
        ("unchokes and chokes", [message(1, &[]), message(0, &[])].concat()),
        ("interest", [message(2, &[]), message(3, &[])].concat()),
        ("haves", message(4, &numbers(&[1]))),
        ("bitfields", message(5, &[0xff, 0, 0, 0, 0])),
        ("requests", message(6, &numbers(&[0, 0, 1000]))),
        ("unasked blocks", message(7, &[0; 8 + BLOCK])),
        ("cancels", message(8, &numbers(&[0, 0, 1000]))),
        ("rejects", message(16, &numbers(&[0, 0, 1000]))),
        ("unknown kinds", message(99, &[7; 3000])),
        ("extended garbage", message(20, &[0xff; 3000])),
        ("extended handshakes", message(20, b"\0d1:md11:ut_metadatai3eee")),
        ("deep extended handshakes", message(20, &deep)),
    ];
    for (what, bytes) in &cases {
        let portion = bytes.repeat(1 + 60_000 / bytes.len());
        let mut stream = victim.fast(what);
        say(&mut stream, 2, &[]);
        for _ in 0..60 {
            if stream.write_all(&portion).is_err() {
                break;
            }
        }
        kept.push(stream);
        victim.serves(what);
    }
}

#[test]
fn those_who_never_read() {
    let mut victim = Victim::seed();
    let mut kept = Vec::new();
    for n in 0..20 {
        let mut stream = victim.fast(&format!("deaf {n}"));
        say(&mut stream, 2, &[]);
        let ask = |i: u32| message(6, &numbers(&[i % 37, 0, 16_000]));
        pour(&mut stream, &(0..2000).flat_map(ask).collect::<Vec<u8>>());
        kept.push(stream);
    }
    victim.serves("many who never read");
}

#[test]
fn slow_drips_and_reset_storms() {
    // With so little room for what is to be written there are fewer buffers than peers.
    let mut victim = Victim::start(false, &["--write_buffer_size", "0"]);
    let mut kept = Vec::new();
    for n in 0..40 {
        // A block begun that never ends, of a piece nobody asked for.
        let mut stream = victim.plain(&format!("drip {n}"));
        let head = [&(9 + BLOCK as u32).to_be_bytes()[..], &[7], &[0; 8], &[1]].concat();
        pour(&mut stream, &head);
        kept.push(stream);
    }
    for n in 0..300 {
        let stream = match n % 3 {
            0 => victim.connect(),
            1 => victim.plain(&format!("storm {n}")),
            _ => victim.fast(&format!("storm {n}")),
        };
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    }
    victim.learns("drips and resets");
}

#[test]
fn our_own_name() {
    let mut victim = Victim::seed();
    let mut stream = victim.connect();
    stream.write_all(&victim.shake([0; 8], "asks for the name")).unwrap();
    let mut theirs = [0; 68];
    stream.read_exact(&mut theirs).unwrap();
    let mut mirror = victim.connect();
    let shake = [&victim.shake([0; 8], "")[..48], &theirs[48..]].concat();
    mirror.write_all(&shake).unwrap();
    victim.drops(mirror, "its own name");
    victim.serves("its own name");
}

/// Claims to have everything, and answers each request with what `answer` makes of it.
fn false_seed(victim: &Victim, id: &str, answer: impl Fn(&[u8]) -> Vec<u8>) -> TcpStream {
    let mut stream = victim.fast(id);
    say(&mut stream, 14, &[]);
    say(&mut stream, 1, &[]);
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    while let Some((kind, payload)) = hear(&mut stream) {
        if kind == 6 {
            pour(&mut stream, &answer(&payload));
        }
    }
    stream
}

#[test]
fn blocks_that_are_corrupt_unfinished_or_rejected() {
    let mut victim = Victim::leecher();
    let corrupt = |request: &[u8]| message(7, &[&request[..8], &[0x55; BLOCK]].concat());
    let unfinished = |request: &[u8]| {
        let block = message(7, &[&request[..8], &[0; BLOCK]].concat());
        block[..100].to_vec()
    };
    let rejected = |request: &[u8]| message(16, request);
    let kept = [
        false_seed(&victim, "corrupt", corrupt),
        false_seed(&victim, "unfinished", unfinished),
        false_seed(&victim, "rejects", rejected),
        false_seed(&victim, "silent", |_| Vec::new()),
    ];
    victim.learns("false seeds");
    until(SOON, "the ban of nobody honest", || {
        let err = victim.process.err();
        assert!(!err.contains("honest"), "{err}");
        Some(())
    });
    drop(kept);
}
