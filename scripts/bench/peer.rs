//! The other end of a measured transfer: a peer that costs next to nothing, so that what the
//! figures tell is the program's, and data that can be made again instead of being kept.
//!
//! usage: peer data DIR COUNT SIZE
//!            COUNT files of SIZE bytes in DIR, in the order of their names (0 files: DIR itself
//!            is one file of SIZE bytes)
//!        peer feed PORT INFOHASH TOTAL PIECE CONNECTIONS BUSY
//!            connects to the program at PORT and gives it what it asks for, from memory, without
//!            reading or hashing anything; BUSY of the CONNECTIONS have all pieces, the others
//!            none
//!        peer drain PORT INFOHASH TOTAL PIECE CONNECTIONS BUSY
//!            asks the program for everything and throws it away; BUSY of the CONNECTIONS share
//!            the pieces, the others want nothing
//!
//! feed and drain print "start" with the first byte of data, "end SECONDS BYTES" (from there)
//! with the last one, and end when their input does. INFOHASH is hexadecimal; sizes are in bytes.
//! No extension of the protocol is spoken. Needs nothing but rustc: rustc -O peer.rs

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The unit of requests, and of the data: every block begins with its number.
const BLOCK: usize = 16 * 1024;
/// Requests that a busy drain keeps out, and how many it sends at a time.
const PIPELINE: usize = 192;
const PORTION: usize = 32;
/// How often a connection is tried, and how long after the last time.
const MAX_TRIES: u32 = 1200;
const PAUSE: Duration = Duration::from_millis(50);

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["data", dir, count, size] => data(dir, count.parse()?, size.parse()?),
        [kind @ ("feed" | "drain"), port, hash, total, piece, connections, busy] => {
            let torrent = Torrent {
                port: port.parse()?,
                hash: unhex(hash)?,
                total: total.parse()?,
                piece: piece.parse()?,
                busy: busy.parse()?,
                clock: Clock::default(),
            };
            run(Arc::new(torrent), kind == "feed", connections.parse()?)
        }
        _ => Err("see the head of peer.rs for its usage".into()),
    }
}

// The data: blocks that differ, without a generator's price for each byte.

struct Source {
    block: Vec<u8>,
    used: bool,
}

impl Source {
    fn new() -> Source {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut byte = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        Source { block: (0..BLOCK).map(|_| byte()).collect(), used: false }
    }

    /// Appends the bytes from `offset` on.
    fn give(&mut self, out: &mut Vec<u8>, mut offset: u64, mut length: usize) {
        self.used = true;
        while length > 0 {
            self.block[..8].copy_from_slice(&(offset / BLOCK as u64).to_be_bytes());
            let at = (offset % BLOCK as u64) as usize;
            let n = length.min(BLOCK - at);
            out.extend_from_slice(&self.block[at..at + n]);
            offset += n as u64;
            length -= n;
        }
    }
}

fn data(dir: &str, count: usize, size: u64) -> Result<()> {
    let mut source = Source::new();
    if count == 0 {
        return write(&mut source, dir, 0, size);
    }
    fs::create_dir_all(dir)?;
    (0..count).try_for_each(|n| {
        let folder = format!("{dir}/{:03}", n / 500);
        if n % 500 == 0 {
            fs::create_dir_all(&folder)?;
        }
        write(&mut source, &format!("{folder}/{n:06}"), n as u64 * size, size)
    })
}

fn write(source: &mut Source, path: &str, offset: u64, size: u64) -> Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let (mut at, mut bytes) = (0, Vec::new());
    while at < size {
        bytes.clear();
        let n = (size - at).min(BLOCK as u64);
        source.give(&mut bytes, offset + at, n as usize);
        file.write_all(&bytes)?;
        at += n;
    }
    Ok(file.flush()?)
}

// The connections.

struct Torrent {
    port: u16,
    hash: [u8; 20],
    total: u64,
    piece: u64,
    busy: usize,
    clock: Clock,
}

/// Tells when the first and the last byte of all connections went.
#[derive(Default)]
struct Clock {
    began: Mutex<Option<Instant>>,
    bytes: AtomicU64,
}

impl Clock {
    fn count(&self, bytes: usize, total: u64) {
        if bytes == 0 {
            return;
        }
        if self.bytes.load(Ordering::Relaxed) == 0 {
            let mut began = self.began.lock().expect("nobody panics with it");
            if began.is_none() {
                *began = Some(Instant::now());
                println!("start");
            }
        }
        let before = self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let after = before + bytes as u64;
        if before < total && after >= total {
            let began = self.began.lock().expect("nobody panics with it");
            let seconds = began.map_or(0.0, |at| at.elapsed().as_secs_f64());
            println!("end {seconds:.6} {after}");
        }
    }
}

impl Torrent {
    fn pieces(&self) -> u64 {
        self.total.div_ceil(self.piece)
    }

    /// The requests of busy connection `number`: every BUSYth piece from it on.
    fn requests(&self, number: usize) -> impl Iterator<Item = (u32, u32, u32)> + '_ {
        let pieces = (number as u64..self.pieces()).step_by(self.busy);
        pieces.flat_map(|piece| {
            let size = self.piece.min(self.total - piece * self.piece);
            (0..size).step_by(BLOCK).map(move |begin| {
                (piece as u32, begin as u32, (size - begin).min(BLOCK as u64) as u32)
            })
        })
    }
}

fn run(torrent: Arc<Torrent>, feed: bool, connections: usize) -> Result<()> {
    // First those that do nothing, so that they are there when it begins.
    let idle = (torrent.busy..connections).map(|number| open(&torrent, number, false));
    let _idle: Vec<TcpStream> = idle.collect::<Result<_>>()?;
    let _busy: Vec<_> = (0..torrent.busy)
        .map(|number| {
            let torrent = Arc::clone(&torrent);
            let builder = thread::Builder::new().stack_size(256 * 1024);
            builder.spawn(move || talk(&torrent, number, feed))
        })
        .collect();
    // Whoever started us tells by it that all is done.
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

/// Has one busy connection do its part. A program that is not ready yet may refuse or close it:
/// then it is tried again, as long as no byte of data went.
fn talk(torrent: &Torrent, number: usize, feed: bool) {
    for _ in 0..MAX_TRIES {
        let done = open(torrent, number, feed).and_then(|stream| match feed {
            true => give(torrent, stream),
            false => take(torrent, stream, number),
        });
        match done {
            Err(_) if torrent.clock.bytes.load(Ordering::Relaxed) == 0 => {}
            Err(error) => return eprintln!("connection {number}: {error}"),
            Ok(()) => return,
        }
        thread::sleep(PAUSE);
    }
    eprintln!("connection {number}: no data after {MAX_TRIES} tries");
}

/// Connects and shakes hands; tells that we have all pieces, or none.
fn open(torrent: &Torrent, number: usize, all: bool) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", torrent.port))?;
    stream.set_nodelay(true)?;
    let mut hello = b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0".to_vec();
    hello.extend_from_slice(&torrent.hash);
    hello.extend_from_slice(format!("-XX0000-{number:012}").as_bytes());
    stream.write_all(&hello)?;
    stream.read_exact(&mut [0; 68])?;
    if all {
        // Some do not take it before they have shaken hands.
        let mut bits = Vec::new();
        let pieces = torrent.pieces() as usize;
        bits.extend_from_slice(&(1 + pieces.div_ceil(8) as u32).to_be_bytes());
        bits.push(5);
        bits.extend((0..pieces.div_ceil(8)).map(|_| 0xff));
        let spare = pieces.div_ceil(8) * 8 - pieces;
        if let Some(last) = bits.last_mut() {
            *last <<= spare;
        }
        stream.write_all(&bits)?;
    }
    Ok(stream)
}

/// Bytes of a connection, cut into messages.
struct Reader {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Reader {
    fn new(stream: TcpStream) -> Reader {
        Reader { stream, buffer: vec![0; 256 * 1024], start: 0, end: 0 }
    }

    /// The next message, if it is there whole: its kind and where its payload lies.
    fn buffered(&mut self) -> Option<(u8, std::ops::Range<usize>)> {
        loop {
            let bytes = &self.buffer[self.start..self.end];
            let length = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
            let kind = if length > 0 { *bytes.get(4 + length - 1).and(bytes.get(4))? } else { 0 };
            let payload = self.start + 5..self.start + 4 + length;
            self.start += 4 + length;
            if length > 0 {
                return Some((kind, payload));
            }
        }
    }

    /// Reads more; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let n = self.stream.read(&mut self.buffer[self.end..])?;
        self.end += n;
        Ok(n > 0)
    }
}

fn give(torrent: &Torrent, mut stream: TcpStream) -> Result<()> {
    stream.write_all(&[0, 0, 0, 1, 1])?;
    let mut reader = Reader::new(stream.try_clone()?);
    let (mut source, mut out) = (Source::new(), Vec::new());
    loop {
        let mut bytes = 0;
        while let Some((kind, payload)) = reader.buffered() {
            if kind == 6 {
                let word = |n: usize| be32(&reader.buffer[payload.start + 4 * n..]);
                let (piece, begin, length) = (word(0), word(1), word(2));
                out.extend_from_slice(&(9 + length).to_be_bytes());
                out.push(7);
                out.extend_from_slice(&reader.buffer[payload.start..payload.start + 8]);
                let offset = u64::from(piece) * torrent.piece + u64::from(begin);
                source.give(&mut out, offset, length as usize);
                bytes += length as usize;
            }
            if out.len() >= 16 * BLOCK {
                stream.write_all(&out)?;
                out.clear();
            }
        }
        stream.write_all(&out)?;
        out.clear();
        torrent.clock.count(bytes, torrent.total);
        if !reader.fill()? {
            return if source.used { Ok(()) } else { Err("closed before it asked".into()) };
        }
    }
}

fn take(torrent: &Torrent, mut stream: TcpStream, number: usize) -> Result<()> {
    stream.write_all(&[0, 0, 0, 1, 2])?;
    let mut reader = Reader::new(stream.try_clone()?);
    let mut requests = torrent.requests(number).peekable();
    let (mut choked, mut waiting, mut out) = (true, 0, Vec::new());
    while waiting > 0 || requests.peek().is_some() {
        if !choked && waiting + PORTION <= PIPELINE {
            let batch = requests.by_ref().take(PIPELINE - waiting);
            for (piece, begin, length) in batch {
                out.extend_from_slice(&[0, 0, 0, 13, 6]);
                [piece, begin, length].iter().for_each(|w| out.extend_from_slice(&w.to_be_bytes()));
                waiting += 1;
            }
            stream.write_all(&out)?;
            out.clear();
        }
        if !reader.fill()? {
            return Err("closed too early".into());
        }
        let mut bytes = 0;
        while let Some((kind, payload)) = reader.buffered() {
            match kind {
                0 => return Err("choked in the middle".into()),
                1 => choked = false,
                7 => {
                    waiting -= 1;
                    bytes += payload.len() - 8;
                }
                _ => {}
            }
        }
        torrent.clock.count(bytes, torrent.total);
    }
    // Open until all others are done, too.
    while reader.fill()? {
        reader.start = reader.end;
    }
    Ok(())
}

fn be32(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |word, byte| word << 8 | u32::from(*byte))
}

fn unhex(text: &str) -> Result<[u8; 20]> {
    let bytes = (0..text.len()).step_by(2).map(|i| {
        text.get(i..i + 2).and_then(|byte| u8::from_str_radix(byte, 16).ok()).ok_or("no hash")
    });
    let bytes: Vec<u8> = bytes.collect::<std::result::Result<_, _>>()?;
    Ok(bytes.try_into().map_err(|_| "no hash")?)
}
