//! The HTTP door on the reactor: for the tracker and the publisher, who never meet a raw byte of a
//! stranger.
//!
//! It yields checked GET and HEAD requests ([`Gate::next_request`]) and takes an answer to each
//! ([`Gate::answer`]). Everything else gets no answer at all. It knows nothing of what is asked
//! for, decides nothing, never blocks, and bounds what a connection can cost: a head has a length
//! and a deadline, an answer a deadline that fits its length, connections a number. A connection
//! has one request under way; what it sends beyond waits in the kernel.
//!
//! An answer may come from files ([`Content`]): then its reader needs to go on reading, however
//! slowly within reason, and only a part of all connections can be had for such answers. What is
//! not in the page cache comes out of [`Gate::next_cold`], and [`Files`] brings it in.

mod answer;
mod connection;
mod content;
mod door;
mod feeding;
mod files;
mod request;
mod stream;

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

pub use answer::Answer;
use answer::{Outgoing, Wait};
use connection::{Connection, End, Manner, Plain, Stage};
pub use content::Content;
use door::{Listener, spare};
pub use files::{Done, Files};
pub use request::{Header, MAX_HEAD, Request, Version};
use request::{Read, read};
pub use stream::Chunk;
use stream::{Pump, Step};

use crate::io::reactor::{Event, Interest, Reactor, Token};
use crate::io::storage::Part;
use crate::io::sys;

/// Bytes read at once, more than a head may have.
const READ_SIZE: usize = 16 * 1024;

/// How long the other side may take to close after the answer, where bytes of it may be under way:
/// closing first would make its kernel throw the answer away.
const LINGER: Duration = Duration::from_secs(2);

/// Bytes in a second at which an answer must be taken, beyond the ordinary time.
const SLOWEST: usize = 16 * 1024;

/// An answer longer than this may wait for its reader.
const LONG: usize = 16 * 1024;

/// Bytes of a long answer that the kernel may hold for its reader, besides as many of its own.
const KERNEL_ROOM: usize = 128 * 1024;

/// Bytes of answers that may wait for their readers, all together. Beyond, the slowest are closed.
const MAX_HELD: usize = 32 << 20;

/// Time of a second that goes into compressing. Who asks beyond gets answers as they are: a crowd
/// that wants all there is compressed must not keep others waiting.
const MAX_COMPRESSING: Duration = Duration::from_millis(200);

/// Bytes of a file that its reader must take each time that [`Settings::timeout`] passes.
const MIN_PROGRESS: u64 = 16 * 1024;

/// How the door is kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Time for a request's head, from the connection (or the head's first byte) on.
    pub timeout: Duration,
    /// How often connections are looked through for those whose time is over.
    pub check_interval: Duration,
    /// How long a connection may wait for a further request; `None` = one request, then close.
    pub keep_alive: Option<Duration>,
    /// Connections at most. Beyond, the one that has been idle longest makes room.
    pub connections: usize,
}

impl Settings {
    fn end_of(&self, request: &Request, all_read: bool) -> End {
        match self.keep_alive {
            Some(_) if request.wants_to_stay() && !request.has_body() => End::Stay,
            // Nothing more is to come, so nothing is thrown away by closing at once.
            _ if all_read && request.version != Version::Bare && !request.has_body() => End::Close,
            _ => End::Linger,
        }
    }
}

/// A request's place in the gate, to which its answer goes. One that is gone swallows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Visitor(Token);

/// What was sent, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Bytes of the body that a GET is sent.
    pub bytes: u64,
    /// Whether they are compressed.
    pub gzipped: bool,
}

/// The door.
#[derive(Debug)]
pub struct Gate {
    settings: Settings,
    listeners: Vec<Listener>,
    /// Whether the listeners are not watched, since no descriptor is left.
    paused: bool,
    /// A descriptor to give up when there is no other, so that a connection can be taken and
    /// closed instead of waking us for ever.
    spare: Option<File>,
    connections: HashMap<Token, Connection, Plain>,
    asked: VecDeque<(Visitor, Box<Request>)>,
    /// Connections that stay and have sent more already: their next requests are looked at in the
    /// next turn, so that thousands of them in one packet do not hold up everybody else.
    behind: Vec<(Token, Instant)>,
    pump: Pump,
    /// What must be brought in from a disk, and for whom.
    cold: VecDeque<(Visitor, Part)>,
    /// Connections that wait until more of files may leave, in the order in which they will go on.
    starved: VecDeque<Token>,
    /// Of answers that have been sent whole.
    receipts: Vec<usize>,
    /// The beginning of a second, and the time of it that went into compressing.
    compressing_since: Instant,
    compressed_for: Duration,
    next_check: Instant,
    buffer: Box<[u8; READ_SIZE]>,
}

impl Gate {
    /// A door that nobody can reach yet.
    pub fn new(settings: Settings, now: Instant) -> Gate {
        Gate {
            next_check: now + settings.check_interval,
            settings,
            listeners: Vec::new(),
            paused: false,
            spare: spare(),
            connections: HashMap::default(),
            asked: VecDeque::new(),
            behind: Vec::new(),
            pump: Pump::default(),
            cold: VecDeque::new(),
            starved: VecDeque::new(),
            receipts: Vec::new(),
            compressing_since: now,
            compressed_for: Duration::ZERO,
            buffer: Box::new([0; READ_SIZE]),
        }
    }

    /// Connections there are.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Takes an event; `false` if it is not of the gate.
    pub fn on_event(&mut self, reactor: &mut Reactor, event: &Event, now: Instant) -> bool {
        if let Some(place) = self.listeners.iter().position(|l| l.token == event.token) {
            self.accept(reactor, place, now);
            return true;
        }
        let Some(connection) = self.connections.get(&event.token) else { return false };
        match connection.stage {
            Stage::Head | Stage::Lingering => {
                self.receive(reactor, event.token, event.hangup, now);
            }
            Stage::Answering(ref outgoing, _) if outgoing.wait == Wait::Socket => {
                self.send(reactor, event.token, now);
            }
            Stage::Answering(..) | Stage::Asked(_) => {}
        }
        true
    }

    fn close(&mut self, reactor: &mut Reactor, token: Token) -> bool {
        reactor.remove(token);
        self.connections.remove(&token).is_some()
    }

    /// Reads once. `ended`: the end of it may be there already.
    fn receive(&mut self, reactor: &mut Reactor, token: Token, ended: bool, now: Instant) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        match sys::recv(&connection.socket, &mut self.buffer[..]) {
            Ok(n) if n > 0 => {
                connection.more = n == READ_SIZE || ended;
                if connection.more {
                    reactor.set_interest(token, Interest::READ);
                }
                if let Stage::Head = connection.stage {
                    if connection.input.is_empty() {
                        connection.deadline = now + self.settings.timeout;
                    }
                    self.look_for_request(reactor, token, n, now);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            _ => {
                self.close(reactor, token);
            }
        }
    }

    /// Hands on the request that has come, if it is whole. So many bytes of it are in the buffer.
    fn look_for_request(&mut self, reactor: &mut Reactor, token: Token, new: usize, now: Instant) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let (input, new) = (&mut connection.input, &self.buffer[..new]);
        // Mostly it has come whole, and needs no place of its own.
        let found = match input.is_empty() {
            true => read(new, connection.from),
            false => {
                input.extend_from_slice(new);
                read(input, connection.from)
            }
        };
        match found {
            Read::Partial if input.is_empty() => input.extend_from_slice(new),
            Read::Partial => {}
            Read::Bad => {
                self.close(reactor, token);
            }
            Read::Whole(request, used) => {
                match input.is_empty() {
                    true => input.extend_from_slice(&new[used..]),
                    false => drop(input.drain(..used)),
                }
                connection.stage = Stage::Asked(Manner {
                    version: request.version,
                    head_only: request.head_only,
                    gzip: request.accepts_gzip(),
                    end: self.settings.end_of(&request, connection.input.is_empty()),
                });
                connection.since = now;
                reactor.set_interest(token, Interest::NONE);
                self.asked.push_back((Visitor(token), request));
            }
        }
    }

    /// A request that waits for its answer, and whose it is. Each is yielded once, and each must
    /// be answered: its connection has no deadline until then.
    pub fn next_request(&mut self) -> Option<(Visitor, Box<Request>)> {
        self.asked.pop_front()
    }

    /// Answers a request. `None`: the visitor has gone, or had its answer.
    pub fn answer(
        &mut self,
        reactor: &mut Reactor,
        visitor: Visitor,
        mut answer: Answer,
        now: Instant,
    ) -> Option<Sent> {
        let Stage::Asked(manner) = self.connections.get(&visitor.0)?.stage else { return None };
        if !answer.stream.is_empty() && !manner.head_only && !self.has_place(reactor, visitor.0) {
            answer = Answer::new(503, "Service Unavailable", "text/plain")
                .header("Retry-After", "10")
                .body("too many others are being served, try again later\n");
        }
        if manner.gzip && self.may_compress(now) {
            let began = Instant::now();
            answer.compress();
            self.compressed_for += began.elapsed();
        }
        let sent = Sent { bytes: answer.length(), gzipped: answer.gzipped };
        let stays = self.settings.keep_alive.map(|_| manner.end == End::Stay);
        let head = answer.head(manner.version, stays);
        let (body, stream, receipt) = match manner.head_only {
            true => Default::default(),
            false => (answer.body, answer.stream, answer.receipt),
        };
        let mut outgoing = Outgoing::new(head, body, stream);
        outgoing.receipt = receipt;
        let extra = Duration::from_secs((outgoing.len() / SLOWEST) as u64);
        let connection = self.connections.get_mut(&visitor.0)?;
        connection.deadline = now + self.settings.timeout + extra;
        connection.since = now;
        connection.left = u64::MAX;
        let long = outgoing.len() > LONG;
        if long && outgoing.stream.is_none() {
            // Of itself it would take megabytes, of a thousand who never read them.
            let _ = sys::limit_send_buffer(&connection.socket, KERNEL_ROOM);
        }
        connection.stage = Stage::Answering(outgoing, manner.end);
        self.send(reactor, visitor.0, now);
        if long {
            self.bound_held(reactor, visitor.0);
        }
        Some(sent)
    }

    /// Whether there is time to compress an answer.
    fn may_compress(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.compressing_since) >= Duration::from_secs(1) {
            (self.compressing_since, self.compressed_for) = (now, Duration::ZERO);
        }
        self.compressed_for < MAX_COMPRESSING
    }

    /// Closes those who take longest to read their answers while all answers that wait to be read
    /// are too much together, but not the last visitor.
    fn bound_held(&mut self, reactor: &mut Reactor, last: Token) {
        loop {
            let held = |c: &Connection| match &c.stage {
                Stage::Answering(outgoing, _) => outgoing.len(),
                _ => 0,
            };
            if self.connections.values().map(held).sum::<usize>() <= MAX_HELD {
                return;
            }
            let others = self.connections.iter().filter(|(t, c)| **t != last && held(c) > LONG);
            let Some(token) = others.min_by_key(|(_, c)| c.since).map(|(token, _)| *token) else {
                return;
            };
            self.close(reactor, token);
        }
    }

    fn send(&mut self, reactor: &mut Reactor, token: Token, now: Instant) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let Stage::Answering(outgoing, end) = &mut connection.stage else { return };
        // The end leaves in one packet with the answer's last bytes, if they may wait for it.
        let step = outgoing.send(&connection.socket, *end != End::Stay, &mut self.pump);
        if let Some(left) = outgoing.stream.as_ref().map(|stream| stream.left()) {
            if left.saturating_add(MIN_PROGRESS) <= connection.left {
                connection.left = left;
                connection.deadline = now + self.settings.timeout;
            }
        }
        if let Ok(Step::Done) = step {
            self.receipts.extend(outgoing.receipt.take());
        }
        match (step, *end) {
            (Ok(Step::More), _) => reactor.set_interest(token, Interest::WRITE),
            (Ok(Step::Cold(part)), _) => {
                outgoing.wait = Wait::Disk;
                reactor.set_interest(token, Interest::NONE);
                self.cold.push_back((Visitor(token), part));
            }
            (Ok(Step::Starved), _) => {
                outgoing.wait = Wait::Allowance;
                reactor.set_interest(token, Interest::NONE);
                self.starved.push_back(token);
            }
            (Ok(Step::Done), End::Stay) => {
                connection.stage = Stage::Head;
                connection.since = now;
                let patience = match connection.input.is_empty() {
                    true => self.settings.keep_alive.unwrap_or_default(),
                    false => self.settings.timeout,
                };
                connection.deadline = now + patience;
                match connection.input.is_empty() {
                    true if connection.more => reactor.set_interest(token, Interest::READ),
                    true => reactor.set_interest(token, Interest::NEWS),
                    false => self.behind.push((token, now)),
                }
            }
            (Ok(Step::Done), End::Linger) if sys::shutdown_write(&connection.socket).is_ok() => {
                connection.stage = Stage::Lingering;
                connection.since = now;
                connection.input = Vec::new();
                connection.deadline = now + LINGER;
                reactor.set_interest(token, Interest::READ);
            }
            _ => {
                self.close(reactor, token);
            }
        }
    }

    /// When [`Gate::on_time`] wants to be called; `None` = there is nothing to watch.
    pub fn next_deadline(&self) -> Option<Instant> {
        if let Some((_, now)) = self.behind.first() {
            return Some(*now);
        }
        (self.paused || !self.connections.is_empty()).then_some(self.next_check)
    }

    /// Looks at the next request of each connection that has sent more than one.
    fn go_on(&mut self, reactor: &mut Reactor, now: Instant) {
        for (token, _) in std::mem::take(&mut self.behind) {
            // What is there may be no more than a beginning.
            reactor.set_interest(token, Interest::READ);
            self.look_for_request(reactor, token, 0, now);
        }
    }

    /// Closes the connections whose time is over, tries a paused door again, and goes on with those
    /// that have sent several requests at once.
    pub fn on_time(&mut self, reactor: &mut Reactor, now: Instant) {
        self.go_on(reactor, now);
        if now < self.next_check {
            return;
        }
        self.next_check = now + self.settings.check_interval;
        let late = |c: &Connection| c.deadline <= now && c.is_due();
        let tokens: Vec<Token> =
            self.connections.iter().filter(|(_, c)| late(c)).map(|(token, _)| *token).collect();
        for token in tokens {
            self.close(reactor, token);
        }
        if self.paused {
            self.spare = self.spare.take().or_else(spare);
            self.pause(reactor, false);
        }
    }
}

#[cfg(test)]
mod tests;
