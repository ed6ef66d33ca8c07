//! Announces to a tracker, as scripts/bench/announce wants it, and measures how long each took.
//! Also the plainest of all trackers, which always says the same: what the kernel alone costs.
//!
//! usage: announcer http|staying|udp PORT FIRST COUNT TORRENTS RATE AT_ONCE
//!        announcer bare-http|bare-staying|bare-udp
//!
//! Announce number n is of peer n, for torrent n modulo TORRENTS. RATE: announces a second, each
//! waited for from the moment it was due; 0 = one after the other. AT_ONCE: packets sent before
//! their answers are read (udp without a rate only). Prints median, 99th percentile and longest
//! wait in microseconds, and how many answers listed a peer.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// Nobody waits longer for an answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Peers that the plain trackers list.
const LISTED: usize = 50;

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words[0].as_str() {
        "bare-http" => return bare_http(false),
        "bare-staying" => return bare_http(true),
        "bare-udp" => return bare_udp(),
        _ => {}
    }
    let numbers: Vec<u64> = words[1..].iter().map(|w| w.parse().expect("a number")).collect();
    let [port, first, count, torrents, rate, at_once] = numbers[..] else {
        panic!("six numbers are needed");
    };
    let listed = Cell::new(0);
    let load = Load { port: port as u16, first, count, torrents, rate, at_once, listed };
    let mut waits = match words[0].as_str() {
        "http" => load.paced(|n| load.http(n)),
        "staying" => {
            let mut stream = load.connect()?;
            load.paced(|n| load.ask(&mut stream, n, true))
        }
        "udp" => load.udp(),
        other => panic!("there is no '{other}'"),
    }?;
    waits.sort_unstable();
    let part = |of: usize| waits[(waits.len() * of / 1000).min(waits.len() - 1)].as_micros();
    println!("{} {} {} {}", part(500), part(990), part(1000), load.listed.get());
    Ok(())
}

struct Load {
    port: u16,
    first: u64,
    count: u64,
    torrents: u64,
    rate: u64,
    at_once: u64,
    listed: Cell<u64>,
}

impl Load {
    /// Calls `one` with each number when it is due, and gives how long each took since then.
    fn paced(&self, mut one: impl FnMut(u64) -> io::Result<()>) -> io::Result<Vec<Duration>> {
        let start = Instant::now();
        let mut waits = Vec::with_capacity(self.count as usize);
        for n in 0..self.count {
            let due = match self.rate {
                0 => Instant::now(),
                rate => start + Duration::from_secs_f64(n as f64 / rate as f64),
            };
            // A sleep would last longer than what is to be measured.
            while Instant::now() < due {
                std::hint::spin_loop();
            }
            one(self.first + n)?;
            waits.push(due.elapsed());
        }
        Ok(waits)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn http(&self, n: u64) -> io::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        self.ask(&mut stream, n, false)
    }

    fn ask(&self, stream: &mut TcpStream, n: u64, stays: bool) -> io::Result<()> {
        let (hash, port, left) = (n % self.torrents, 1 + n % 60000, n % 4);
        let head = format!(
            "GET /announce?info_hash={hash:020}&peer_id={n:020}&port={port}&uploaded=0&downloaded=0\
             &left={left}&compact=1&key={:08x} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
            n as u32
        );
        stream.write_all(head.as_bytes())?;
        let (mut answer, mut length) = ([0; 4096], 0);
        loop {
            let read = stream.read(&mut answer[length..])?;
            length += read;
            if read == 0 || (stays && is_whole(&answer[..length])) {
                break;
            }
        }
        let has = |text: &[u8]| answer[..length].windows(text.len()).any(|w| w == text);
        self.listed.set(self.listed.get() + u64::from(!has(b"5:peers0:")));
        let good = answer.starts_with(b"HTTP/1.") && answer[8..].starts_with(b" 200 OK")
            && has(b"5:peers");
        if good { Ok(()) } else { Err(io::Error::other("no good answer")) }
    }

    fn udp(&self) -> io::Result<Vec<Duration>> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(LIMIT))?;
        socket.connect(("127.0.0.1", self.port))?;
        let mut answer = [0; 2048];
        let hello = [&0x0417_2710_1980u64.to_be_bytes()[..], &[0; 4], &[7; 4]].concat();
        socket.send(&hello)?;
        socket.recv(&mut answer)?;
        let connection: [u8; 8] = answer[8..16].try_into().expect("eight bytes");
        let mut heard = |socket: &UdpSocket| match socket.recv(&mut answer)? {
            n if n >= 20 && answer[..4] == [0, 0, 0, 1] => {
                self.listed.set(self.listed.get() + u64::from(n > 20));
                Ok(())
            }
            _ => Err(io::Error::other("no good answer")),
        };
        if self.at_once <= 1 {
            return self.paced(|n| {
                socket.send(&self.packet(connection, n))?;
                heard(&socket)
            });
        }
        let mut waits = Vec::new();
        for some in 0..self.count.div_ceil(self.at_once) {
            let (begin, sent) = (Instant::now(), some * self.at_once);
            let end = (sent + self.at_once).min(self.count);
            (sent..end).try_for_each(|n| {
                socket.send(&self.packet(connection, self.first + n)).map(drop)
            })?;
            (sent..end).try_for_each(|_| heard(&socket))?;
            waits.push(begin.elapsed());
        }
        Ok(waits)
    }

    fn packet(&self, connection: [u8; 8], n: u64) -> Vec<u8> {
        let mut packet = connection.to_vec();
        packet.extend([1, n as u32].map(u32::to_be_bytes).concat());
        packet.extend(format!("{:020}{n:020}", n % self.torrents).bytes());
        packet.extend([0, n % 4, 0].map(u64::to_be_bytes).concat());
        packet.extend([2, 0, n as u32, LISTED as u32].map(u32::to_be_bytes).concat());
        packet.extend(((1 + n % 60000) as u16).to_be_bytes());
        packet
    }
}

/// Whether an answer is there with all of its body.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n") else { return false };
    let head = std::str::from_utf8(&answer[..end]).unwrap_or_default();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    length.and_then(|n| n.parse().ok()).is_some_and(|n: usize| answer.len() >= end + 4 + n)
}

fn bare_http(stays: bool) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    let list = "x".repeat(6 * LISTED);
    let body = format!("HTTP/1.0 200 OK\r\nContent-Length: 313\r\n\r\nd5:peers300:{list}e");
    let mut request = [0; 4096];
    loop {
        let (mut stream, _) = listener.accept()?;
        while stream.read(&mut request)? > 0 {
            stream.write_all(body.as_bytes())?;
            if !stays {
                break;
            }
        }
    }
}

fn bare_udp() -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    println!("{}", socket.local_addr()?.port());
    let (mut packet, mut answer) = ([0; 2048], [0; 20 + 6 * LISTED]);
    loop {
        let (length, from) = socket.recv_from(&mut packet)?;
        answer[3] = u8::from(length > 16);
        socket.send_to(&answer, from)?;
    }
}
