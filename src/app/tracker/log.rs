//! The access log: lines in the original's form, and the thread that writes them, since a disk or
//! a reader that stalls must not hold up the reactor.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::io::gate::{Header, Request, Sent};
use crate::io::mailbox::{Ended, JobReceiver, JobSender, Post, jobs, life};
use crate::io::reason;
use crate::logic::registry::Check;
use crate::proto::announce::ask::percent_encode;
use crate::proto::bencode::put_digits;
use crate::proto::zone::Zone;

use super::Message;
use super::nat::Outcome;
use crate::app::clock::Civil;

/// Chunks that may wait for the writing thread.
const WAITING: usize = 4;

/// Why writing to memory is expected to go well.
const NO_ERROR: &str = "a Vec takes every write";

/// Text that is handed over without waiting for its time. The writing thread may take the core on
/// which an announce would have been answered, and then this one waits for milliseconds: so it runs
/// seldom rather than briefly.
const CHUNK: usize = 256 * 1024;

/// Room for the lines that make it more than that.
const ROOM: usize = 4 * 1024;

/// Text kept while the writing thread is behind; beyond it lines are lost, and counted.
const KEPT: usize = 1024 * 1024;

/// How long the end of the program waits for the last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Where the log goes.
pub enum Target {
    /// To this, usually standard output.
    Out(Box<dyn Write + Send>),
    /// To the end of a file.
    File(PathBuf),
}

enum Job {
    Text(Vec<u8>),
    Reopen(Vec<u8>),
}

/// The log.
pub struct Log {
    jobs: JobSender<Job>,
    /// Ends when the writing thread has ended.
    ended: Ended,
    text: Vec<u8>,
    flush_interval: Duration,
    flushed: Instant,
    lost: u64,
    date: Date,
}

/// The date as lines have it: local, made anew once a second.
struct Date {
    zone: Zone,
    /// When the second is over: the other clock is looked at for every announce anyway.
    until: Instant,
    text: String,
}

impl Date {
    fn new(zone: Zone, now: Instant) -> Date {
        Date { zone, until: now, text: String::new() }
    }

    fn at(&mut self, now: Instant) -> &str {
        if self.until <= now {
            let on_the_wall = SystemTime::now();
            // Moments before 1970 are taken as its beginning, here as by `Civil`.
            let gone = on_the_wall.duration_since(UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
            self.until = now + Duration::from_nanos(1_000_000_000 - u64::from(gone));
            self.text = Civil::local(on_the_wall, &self.zone).log_date().to_string();
        }
        &self.text
    }
}

impl Log {
    /// Opens the log and starts its thread. A file gets a first line that says when; that is in
    /// UTC, as it says, while requests have the time of a zone, as BitTornado's.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread be had.
    pub fn start(
        target: Target,
        zone: Zone,
        flush_interval: Duration,
        post: Post<Message>,
        now: Instant,
    ) -> io::Result<Log> {
        let (sender, receiver) = jobs(WAITING);
        let (alive, ended) = life();
        let mut text = Vec::new();
        let output = match target {
            Target::Out(out) => Output { file: None, out },
            Target::File(path) => {
                text.extend_from_slice(remark("Log Started").as_bytes());
                Output { out: Box::new(open(&path)?), file: Some(path) }
            }
        };
        thread::Builder::new().name("log".into()).spawn(move || {
            write_all(output, &receiver, &post);
            drop(alive);
        })?;
        Ok(Log {
            jobs: sender,
            ended,
            text,
            flush_interval,
            flushed: now,
            lost: 0,
            date: Date::new(zone, now),
        })
    }

    /// Notes a request that was answered.
    pub fn access(&mut self, request: &Request, status: u16, sent: Sent, now: Instant) {
        if self.text.len() >= KEPT {
            self.lost += 1;
            return;
        }
        if self.text.capacity() == 0 {
            // Memory that is not written to is not taken, and growing to this would copy it all.
            self.text.reserve_exact(CHUNK + ROOM);
        }
        let date = self.date.at(now);
        put_access(&mut self.text, date, request, status, sent);
    }

    /// Notes what came of a connection to a peer, in BitTornado's form.
    pub fn nat_check(&mut self, check: &Check, outcome: Outcome, now: Instant) {
        let code = match outcome {
            Outcome::Good => 200,
            Outcome::Failed => 503,
            Outcome::Gone => 404,
        };
        let mut id = String::new();
        percent_encode(&mut id, &check.id.0);
        let date = self.date.at(now);
        let (ip, port) = (check.at.ip(), check.at.port());
        let line = format!("{ip} - {id} [{date}] \"!natcheck-{ip}:{port}\" {code} 0 - -\n");
        if self.text.len() < KEPT {
            self.text.extend_from_slice(line.as_bytes());
        }
    }

    /// When [`Log::on_time`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        (!self.text.is_empty()).then(|| self.flushed + self.flush_interval)
    }

    /// Hands over what has gathered, if it is time or much.
    pub fn on_time(&mut self, now: Instant) {
        let due = self.next_deadline().is_some_and(|deadline| deadline <= now);
        if due || self.text.len() >= CHUNK {
            self.hand_over(now);
        }
    }

    fn hand_over(&mut self, now: Instant) {
        if self.text.is_empty() {
            return;
        }
        match self.jobs.try_send(Job::Text(std::mem::take(&mut self.text))) {
            Err(Job::Text(text) | Job::Reopen(text)) => self.text = text,
            Ok(()) => {}
        }
        self.flushed = now;
    }

    /// Opens the file anew, at its path: what is there may have been moved away.
    pub fn reopen(&mut self, now: Instant) {
        self.hand_over(now);
        // If the thread is so far behind that there is no room, it will not miss one reopening.
        let _ = self.jobs.try_send(Job::Reopen(remark("Log reopened").into_bytes()));
    }

    /// Lines that were lost since the last such question.
    pub fn lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Writes a last line, and waits a moment until all is written.
    pub fn end(mut self, now: Instant) {
        self.text.extend_from_slice(remark("Shutting down").as_bytes());
        self.hand_over(now);
        drop(self.jobs);
        // If it takes too long we go all the same.
        let _ = self.ended.within(LAST_LINES);
    }
}

struct Output {
    out: Box<dyn Write + Send>,
    /// Where it is, if it can be opened anew.
    file: Option<PathBuf>,
}

fn open(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn write_all(mut output: Output, jobs: &JobReceiver<Job>, post: &Post<Message>) {
    let mut fine = true;
    while let Some(job) = jobs.recv() {
        let text = match job {
            Job::Text(text) => text,
            Job::Reopen(text) => {
                let Some(path) = &output.file else { continue };
                match open(path) {
                    Ok(file) => output.out = Box::new(file),
                    Err(e) => {
                        let (path, why) = (path.display(), reason(&e));
                        post.send(Message::LogTrouble(format!("cannot open '{path}': {why}")));
                        continue;
                    }
                }
                text
            }
        };
        let written = output.out.write_all(&text).and_then(|()| output.out.flush());
        match written {
            // Trouble is told once, not with every chunk.
            Err(e) if fine => {
                let message = format!("cannot write the log: {}", reason(&e));
                fine = !post.send(Message::LogTrouble(message));
            }
            result => fine = result.is_ok(),
        }
    }
}

/// `# Log Started:  2026-01-02 03:04 UTC`.
fn remark(what: &str) -> String {
    format!("# {what}:  {} UTC\n", Civil::from(SystemTime::now()).minute())
}

/// Appends `IP IDENT - [DATE] "REQUEST" STATUS BYTES "REFERER" "USER-AGENT"`.
fn put_access(text: &mut Vec<u8>, date: &str, request: &Request, status: u16, sent: Sent) {
    let ident = if sent.gzipped { "gzip" } else { "-" };
    match request.from.ip() {
        // A third of what this costs in all, done by `write!`.
        IpAddr::V4(ip) => {
            for (place, part) in ip.octets().into_iter().enumerate() {
                text.extend_from_slice(&b"."[..usize::from(place > 0)]);
                put_digits(text, part.into());
            }
        }
        IpAddr::V6(ip) => write!(text, "{ip}").expect(NO_ERROR),
    }
    for part in [" ", ident, " - [", date, "] \""] {
        text.extend_from_slice(part.as_bytes());
    }
    escape(text, request.line());
    text.extend_from_slice(b"\" ");
    put_digits(text, status.into());
    text.push(b' ');
    put_digits(text, sent.bytes);
    text.extend_from_slice(b" \"");
    escape(text, request.header(Header::Referer).unwrap_or(b"-"));
    text.extend_from_slice(b"\" \"");
    escape(text, request.header(Header::UserAgent).unwrap_or(b"-"));
    text.extend_from_slice(b"\"\n");
}

/// Appends what a stranger sent so that it can neither end its field nor its line.
fn escape(text: &mut Vec<u8>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let plain = plain_part(bytes);
        text.extend_from_slice(&bytes[..plain]);
        bytes = &bytes[plain..];
        let Some((first, rest)) = bytes.split_first() else { return };
        match first {
            b'"' | b'\\' => text.extend_from_slice(&[b'\\', *first]),
            _ => write!(text, "\\x{first:02x}").expect(NO_ERROR),
        }
        bytes = rest;
    }
}

/// How many bytes there are before the first that is to be escaped. Mostly there is none, so eight
/// are looked at together.
fn plain_part(bytes: &[u8]) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Where all bytes are below 0x80, and this says of none that it is zero, none is.
    let has_zero = |word: u64| word.wrapping_sub(EACH);
    let is_odd = |eight: &[u8]| {
        let word = u64::from_ne_bytes(eight.try_into().expect("there are eight"));
        let same = |byte: u8| has_zero(word ^ (EACH * u64::from(byte)));
        let controls = word.wrapping_sub(EACH * u64::from(b' '));
        (word | controls | same(b'"') | same(b'\\') | same(0x7f)) & HIGH != 0
    };
    let eights = bytes.chunks_exact(8).take_while(|eight| !is_odd(eight)).count();
    let odd = |b: &u8| !matches!(b, b' '..=b'~') || matches!(b, b'"' | b'\\');
    let rest = &bytes[8 * eights..];
    8 * eights + rest.iter().position(odd).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_odd_byte_is_found_wherever_it_stands() {
        for odd in 0..=255 {
            let is_plain = matches!(odd, b' '..=b'~') && !matches!(odd, b'"' | b'\\');
            for at in 0..20 {
                let mut bytes = *b"plain ~ text, 20 !#[";
                bytes[at] = odd;
                assert_eq!(plain_part(&bytes), if is_plain { 20 } else { at }, "{odd} at {at}");
            }
        }
    }

    #[test]
    fn strangers_cannot_forge_fields_or_lines() {
        let mut line = Vec::new();
        escape(&mut line, b"a\" 200 \\ \x1b[2J\r\xc3\xa4");
        assert_eq!(String::from_utf8(line).unwrap(), r#"a\" 200 \\ \x1b[2J\x0d\xc3\xa4"#);
    }
}
