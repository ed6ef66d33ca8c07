//! uTP (BEP 29): streams over UDP that give way to others, as many as there are on one socket.
//!
//! Whoever has the socket brings what came to [`Streams::on_packet`], sends what
//! [`Streams::next_packet`] gives, and reads and writes the streams. Time and randomness come in
//! as arguments. Strangers get no more than they sent until they have proved their address, and
//! all that they can make us keep is bounded.

mod connection;
mod inbound;
mod ledbat;
mod outbound;
#[cfg(test)]
mod tests;

use crate::proto::sorted;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::logic::rng::Rng;
use crate::proto::utp::{HEADER_LENGTH, Header, Kind, Packet};
use connection::{Connection, Stage};

pub use inbound::MAX_KEPT;
pub use ledbat::TARGET;
pub use outbound::MAX_QUEUED;

/// Bytes of a packet that we send, without the headers of UDP and IP: with those of IPv6 it leaves
/// 52 bytes of an Ethernet's 1,500 for tunnels.
pub const MAX_PACKET: usize = 1_400;

/// Bytes of a stream in a packet.
const MAX_PAYLOAD: usize = MAX_PACKET - HEADER_LENGTH;

/// Streams at most, those that were not accepted yet too.
pub const MAX_STREAMS: usize = 1_000;

/// Streams that strangers asked for and have not proved their address in; of more, the oldest go.
pub const MAX_UNPROVEN: usize = 64;

/// Bytes that all streams together keep before each may keep but little.
pub const MAX_KEPT_BY_ALL: usize = 16 << 20;

/// Packets in a second that are answered with a word that their connection is unknown.
pub const MAX_RESETS: usize = 20;

/// Which stream is meant; given out ascending, and never again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamKey(pub u64);

/// Why a stream is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Both sides have said all.
    Ended,
    /// The other side does not know it, or gave it up.
    Reset,
    /// Nothing was heard for too long.
    Silent,
}

/// What happened to a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Somebody at this address has opened it, and it is his address.
    Accepted(StreamKey, SocketAddr),
    /// The other side has answered our [`Streams::dial`].
    Opened(StreamKey),
    /// Bytes can be read. Told again when more come after [`Streams::read`] has given the last.
    Readable(StreamKey),
    /// There is room again after a [`Streams::write`] that did not take all.
    Writable(StreamKey),
    /// The other side's bytes have all come.
    Heard(StreamKey),
    /// It is over. What had come can still be read; [`Streams::leave`] it then.
    Over(StreamKey, Why),
}

#[derive(Debug)]
struct Stream {
    address: SocketAddr,
    connection: Connection,
    /// What was last told of it.
    told: Stage,
    /// Its part of what all keep.
    kept: usize,
    is_readable_told: bool,
    is_heard_told: bool,
    /// A write found no room for all.
    is_full: bool,
}

/// All the streams of a socket.
#[derive(Debug)]
pub struct Streams {
    rng: Rng,
    epoch: Instant,
    streams: HashMap<StreamKey, Stream>,
    /// By the other side's address, and the number that it writes into its packets.
    index: HashMap<(SocketAddr, u16), StreamKey>,
    next_key: u64,
    unproven: VecDeque<StreamKey>,
    /// Those that may have something to send.
    stirred: sorted::Set<StreamKey>,
    /// Bytes that all keep, as far as they were counted last.
    kept: usize,
    events: VecDeque<Event>,
    resets: VecDeque<(SocketAddr, Header)>,
    /// The second in which resets are counted, and how many it has had.
    resets_in: (Instant, usize),
}

impl Streams {
    /// No streams yet. The numbers that strangers have to guess come from `seed`.
    pub fn new(seed: u64, now: Instant) -> Streams {
        Streams {
            rng: Rng::new(seed),
            epoch: now,
            streams: HashMap::new(),
            index: HashMap::new(),
            next_key: 0,
            unproven: VecDeque::new(),
            stirred: sorted::Set::new(),
            kept: 0,
            events: VecDeque::new(),
            resets: VecDeque::new(),
            resets_in: (now, 0),
        }
    }

    /// Streams there are, the ones not proven too.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Begins a stream to an address. `None` if there are [`MAX_STREAMS`].
    pub fn dial(&mut self, to: SocketAddr, now: Instant) -> Option<StreamKey> {
        if self.streams.len() >= MAX_STREAMS {
            return None;
        }
        // Two numbers are taken: ours, and the one above it that is theirs.
        let id = (0..64).map(|_| self.rng.next_u64() as u16).find(|id| {
            [*id, id.wrapping_add(1)].iter().all(|id| !self.index.contains_key(&(to, *id)))
        })?;
        let seq = self.rng.next_u64() as u16;
        Some(self.add(to, Connection::dial(id, seq, self.epoch, now)))
    }

    fn add(&mut self, address: SocketAddr, connection: Connection) -> StreamKey {
        let key = StreamKey(self.next_key);
        self.next_key += 1;
        self.index.insert((address, connection.our_id()), key);
        let told = connection.stage();
        let (is_readable_told, is_heard_told, is_full, kept) = (false, false, false, 0);
        let stream =
            Stream { address, connection, told, kept, is_readable_told, is_heard_told, is_full };
        self.streams.insert(key, stream);
        self.stirred.insert(key);
        key
    }

    fn remove(&mut self, key: StreamKey) {
        if let Some(stream) = self.streams.remove(&key) {
            self.kept -= stream.kept;
            self.index.remove(&(stream.address, stream.connection.our_id()));
        }
        self.stirred.remove(&key);
        self.unproven.retain(|one| *one != key);
    }

    /// A packet came. What is none of uTP, or of no stream, changes nothing.
    pub fn on_packet(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) {
        let Some(packet) = Packet::read(bytes) else { return };
        let header = packet.header;
        let Some(key) = self.find(from, &header) else {
            match header.kind {
                Kind::Syn => self.accept(from, &header, now),
                Kind::Reset => {}
                _ => self.refuse(from, header, now),
            }
            return;
        };
        if let Some(stream) = self.streams.get_mut(&key) {
            stream.connection.on_packet(&packet, now);
            self.after(key);
        }
    }

    fn find(&self, from: SocketAddr, header: &Header) -> Option<StreamKey> {
        let id = header.connection;
        let at = |id| self.index.get(&(from, id)).copied();
        match header.kind {
            // Its number is the one below that of the packets after it.
            Kind::Syn => at(id.wrapping_add(1)).filter(|key| self.their_id(*key) == Some(id)),
            // Who does not know the connection gives back the number that we have sent.
            Kind::Reset => at(id).or_else(|| {
                let mut beside =
                    [id.wrapping_sub(1), id.wrapping_add(1)].into_iter().filter_map(at);
                beside.find(|key| self.their_id(*key) == Some(id))
            }),
            _ => at(id),
        }
    }

    fn their_id(&self, key: StreamKey) -> Option<u16> {
        Some(self.streams.get(&key)?.connection.their_id())
    }

    fn accept(&mut self, from: SocketAddr, syn: &Header, now: Instant) {
        let is_taken = self.index.contains_key(&(from, syn.connection.wrapping_add(1)));
        if self.unproven.len() >= MAX_UNPROVEN {
            if let Some(oldest) = self.unproven.front().copied() {
                self.remove(oldest);
            }
        }
        if is_taken || self.streams.len() >= MAX_STREAMS {
            return;
        }
        let seq = self.rng.next_u64() as u16;
        let key = self.add(from, Connection::accept(syn, seq, self.epoch, now));
        self.unproven.push_back(key);
    }

    /// Says that a connection is unknown: in fewer bytes than the packet had, and seldom.
    fn refuse(&mut self, from: SocketAddr, header: Header, now: Instant) {
        if now.saturating_duration_since(self.resets_in.0) >= Duration::from_secs(1) {
            self.resets_in = (now, 0);
        }
        if self.resets_in.1 < MAX_RESETS && self.resets.len() < MAX_RESETS {
            self.resets_in.1 += 1;
            let (seq, sent) = (self.rng.next_u64() as u16, 0);
            let (kind, ack) = (Kind::Reset, header.seq);
            self.resets.push_back((from, Header { kind, seq, ack, sent, delay: 0, ..header }));
        }
    }

    /// Counts again what a stream keeps, and says how much it may.
    fn weigh(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        let kept = stream.connection.kept();
        self.kept = self.kept - stream.kept + kept;
        stream.kept = kept;
        stream.connection.economise(self.kept > MAX_KEPT_BY_ALL);
    }

    /// Tells what has changed with a stream, and lets go of it if nobody wants it.
    fn after(&mut self, key: StreamKey) {
        self.weigh(key);
        let Some(stream) = self.streams.get_mut(&key) else { return };
        let stage = stream.connection.stage();
        let was = std::mem::replace(&mut stream.told, stage);
        if matches!(stage, Stage::Over(_))
            && (stream.connection.is_left() || was == Stage::Unproven)
        {
            self.remove(key);
            return;
        }
        self.stirred.insert(key);
        if was == Stage::Unproven && stage != was {
            self.unproven.retain(|one| *one != key);
            self.events.push_back(Event::Accepted(key, stream.address));
        }
        if was == Stage::Dialing && stage == Stage::Open {
            self.events.push_back(Event::Opened(key));
        }
        if stream.connection.is_left() {
            return;
        }
        if stream.connection.ready() > 0 && !stream.is_readable_told {
            stream.is_readable_told = true;
            self.events.push_back(Event::Readable(key));
        }
        if stream.is_full && stream.connection.is_roomy() {
            stream.is_full = false;
            self.events.push_back(Event::Writable(key));
        }
        if stream.connection.has_heard_all() && !stream.is_heard_told && was != Stage::Dialing {
            stream.is_heard_told = true;
            self.events.push_back(Event::Heard(key));
        }
        if let Stage::Over(why) = stage {
            if was != stage {
                self.events.push_back(Event::Over(key, why));
            }
        }
    }

    /// What happened; to be asked until there is nothing more, after each call that brings packets
    /// or time.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`on_time`](Streams::on_time) is to be called. Looks at each stream.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.streams.values().filter_map(|stream| stream.connection.next_deadline()).min()
    }

    /// Does what is due.
    pub fn on_time(&mut self, now: Instant) {
        let is_due =
            |stream: &Stream| stream.connection.next_deadline().is_some_and(|at| at <= now);
        let due = self.streams.iter().filter(|(_, stream)| is_due(stream));
        let mut due: Vec<StreamKey> = due.map(|(key, _)| *key).collect();
        due.sort_unstable();
        for key in due {
            if let Some(stream) = self.streams.get_mut(&key) {
                stream.connection.on_time(now);
            }
            self.after(key);
        }
    }

    /// Puts the next packet that is to be sent now into `out`, in place of what it holds, and says
    /// where it goes. To be asked until there is none, once all that came was brought.
    pub fn next_packet(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<SocketAddr> {
        out.clear();
        if let Some((to, header)) = self.resets.pop_front() {
            Packet { header, selective: &[], payload: &[] }.write_to(out);
            return Some(to);
        }
        while let Some(key) = self.stirred.first().copied() {
            if let Some(stream) = self.streams.get_mut(&key) {
                let to = stream.address;
                if stream.connection.next_packet(now, out) {
                    // Its last packet may have ended it.
                    if matches!(stream.connection.stage(), Stage::Over(_)) {
                        self.after(key);
                    }
                    return Some(to);
                }
            }
            self.stirred.remove(&key);
        }
        None
    }

    /// Moves bytes that came into `out`, and says how many: fewer than it has places if there are
    /// no more, or no such stream.
    pub fn read(&mut self, key: StreamKey, out: &mut [u8]) -> usize {
        let Some(stream) = self.streams.get_mut(&key) else { return 0 };
        let count = stream.connection.read(out);
        stream.is_readable_told = stream.connection.ready() > 0;
        self.stirred.insert(key);
        self.weigh(key);
        count
    }

    /// Takes bytes to be sent, and says how many: fewer if there is no room ([`MAX_QUEUED`]; see
    /// [`Event::Writable`]), none of a stream that is over.
    pub fn write(&mut self, key: StreamKey, bytes: &[u8]) -> usize {
        let Some(stream) = self.streams.get_mut(&key) else { return 0 };
        let count = stream.connection.write(bytes);
        stream.is_full = count < bytes.len();
        self.stirred.insert(key);
        self.weigh(key);
        count
    }

    /// Bytes that [`write`](Streams::write) would take. If that is none,
    /// [`Event::Writable`] tells when there is room again.
    pub fn room(&mut self, key: StreamKey) -> usize {
        let Some(stream) = self.streams.get_mut(&key) else { return 0 };
        let room = stream.connection.room();
        stream.is_full |= room == 0;
        room
    }

    /// Bytes that may be under way in a stream, by its congestion control.
    pub fn window(&self, key: StreamKey) -> usize {
        self.streams.get(&key).map_or(0, |stream| stream.connection.window())
    }

    /// Whoever had the stream wants it no more, and hears nothing more of it. What was written is
    /// still delivered, within seconds or not at all.
    pub fn leave(&mut self, key: StreamKey, now: Instant) {
        if let Some(stream) = self.streams.get_mut(&key) {
            let was_over = matches!(stream.connection.stage(), Stage::Over(_));
            if !was_over {
                stream.connection.leave(now);
            }
            if was_over { self.remove(key) } else { self.after(key) }
        }
    }
}
