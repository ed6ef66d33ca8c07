//! The client's streams over UDP (BEP 29): the sockets of `logic::utp`, on the port number that
//! peers are taken at.
//!
//! Each stream ends in a pair of connected sockets. Its near end is a connection like any other:
//! whatever speaks to peers need not know that there is uTP. What comes out of the far end goes
//! into the stream, and the other way around, here. A distributed hash table that has the port's
//! sockets shares them.

use super::dht::Node;
use crate::io::datagrams::Datagrams;
use crate::io::origin::Origin;
use crate::io::reactor::{self, Interest, Reactor, Token};
use crate::io::sys;
use crate::logic::PeerKey;
use crate::logic::utp::{Event, StreamKey, Streams};
use crate::proto::address::is_local;
use crate::proto::sorted;
use crate::proto::utp::begins;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes that are moved at a time.
const CHUNK: usize = 16 * 1024;

/// The longest packet that is looked at.
pub(super) const MAX_PACKET: usize = 2048;

/// A peer that has not answered by then is dialled by TCP: two first packets may get lost.
const DIAL_TIME: Duration = Duration::from_millis(3_500);

/// What became of whom.
pub(super) enum News {
    /// Somebody at this address has opened a stream, of which this is the near end.
    Accepted(OwnedFd, SocketAddr),
    /// A peer that was dialled has answered.
    Opened(PeerKey, OwnedFd),
    /// This one has not.
    Failed(PeerKey, SocketAddr),
}

/// The far end of a stream's pair.
struct Pipe {
    far: Arc<OwnedFd>,
    token: Token,
    /// What came from the stream, and the far end had no room for.
    waiting: Vec<u8>,
    /// The stream had no room for more.
    is_full: bool,
    /// Nothing more will come from the stream than what it has now.
    is_over: bool,
}

struct Dial {
    stream: StreamKey,
    address: SocketAddr,
    until: Instant,
}

/// All streams of a client.
pub(super) struct Utp {
    streams: Streams,
    /// Those of its own, where no hash table has any.
    sockets: Datagrams,
    pipes: sorted::Map<StreamKey, Pipe>,
    by_token: sorted::Map<Token, StreamKey>,
    dials: sorted::Map<PeerKey, Dial>,
    manner: Manner,
}

/// With whom streams are had.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// With local addresses alone.
    pub local_only: bool,
    /// Whether local addresses are dialled.
    pub nearby: bool,
    /// So many are open at a time: each takes a descriptor beside that of its connection.
    pub most: usize,
}

impl Utp {
    /// Streams at these addresses and this port; without an origin a hash table has the sockets
    /// there.
    ///
    /// # Errors
    /// The system has no socket for it there.
    pub(super) fn start(
        (bind, port): (&[IpAddr], u16),
        origin: Option<Origin>,
        manner: Manner,
        reactor: &mut Reactor,
        now: Instant,
    ) -> io::Result<Utp> {
        let own = if origin.is_some() { Origin::of_families(bind) } else { [None, None] };
        let mut sockets = Datagrams::new(origin.unwrap_or_default());
        for ip in own.into_iter().flatten() {
            if let Err(e) = sockets.open(SocketAddr::new(ip, port), reactor) {
                sockets.close(reactor);
                return Err(e);
            }
        }
        let streams = Streams::new(u64::from_ne_bytes(sys::random()), now);
        let (pipes, by_token, dials) = (sorted::Map::new(), sorted::Map::new(), sorted::Map::new());
        Ok(Utp { streams, sockets, pipes, by_token, dials, manner })
    }

    /// Leaves its sockets to a hash table that shares them from now on.
    pub(super) fn take_sockets(&mut self) -> Datagrams {
        std::mem::take(&mut self.sockets)
    }

    /// Begins to dial. `false` if that is not to be, or there are too many streams.
    pub(super) fn dial(&mut self, key: PeerKey, address: SocketAddr, now: Instant) -> bool {
        if !self.manner.nearby && is_local(address.ip()) {
            return false;
        }
        let Some(stream) = self.streams.dial(address, now) else { return false };
        self.dials.insert(key, Dial { stream, address, until: now + DIAL_TIME });
        true
    }

    /// Dials this one no more.
    pub(super) fn forget(&mut self, key: PeerKey) {
        if let Some(dial) = self.dials.remove(&key) {
            // Nothing was written that would take time to be delivered.
            self.streams.leave(dial.stream, dial.until);
        }
    }

    /// Dials nobody any more who has not answered yet.
    pub(super) fn forget_dials(&mut self) {
        for dial in std::mem::take(&mut self.dials).into_values() {
            self.streams.leave(dial.stream, dial.until);
        }
    }

    /// Lets go of all streams, without a word, and of its sockets.
    pub(super) fn close(self, reactor: &mut Reactor) {
        self.by_token.into_keys().for_each(|token| reactor.remove(token));
        self.sockets.close(reactor);
    }

    /// A packet came that is none of the hash table's.
    pub(super) fn on_packet(&mut self, from: SocketAddr, packet: &[u8], now: Instant) {
        let is_meant = packet.first().is_some_and(|first| begins(*first));
        if is_meant && (!self.manner.local_only || is_local(from.ip())) {
            self.streams.on_packet(from, packet, now);
        }
    }

    /// Takes what came at a socket or at a far end, if it is one of these.
    pub(super) fn hear(
        &mut self,
        event: reactor::Event,
        reactor: &mut Reactor,
        now: Instant,
    ) -> bool {
        if let Some(stream) = self.by_token.get(&event.token).copied() {
            self.on_far_end(stream, event, reactor, now);
            return true;
        }
        let sockets = std::mem::take(&mut self.sockets);
        let mut space = [0; MAX_PACKET];
        let take = |from, packet: &[u8]| self.on_packet(from, packet, now);
        let is_ours = sockets.hear(event.token, &mut space, take);
        self.sockets = sockets;
        is_ours
    }

    fn on_far_end(
        &mut self,
        stream: StreamKey,
        event: reactor::Event,
        reactor: &mut Reactor,
        now: Instant,
    ) {
        let stands = !event.readable || self.pump_out(stream);
        self.pump_in(stream);
        if stands && !event.hangup {
            self.settle(stream, reactor, now);
        } else {
            self.drop_pipe(stream, reactor, now);
        }
    }

    /// From the far end into the stream. `false` if the near end is closed.
    fn pump_out(&mut self, stream: StreamKey) -> bool {
        let Some(pipe) = self.pipes.get_mut(&stream) else { return true };
        let mut space = [0; CHUNK];
        loop {
            let room = self.streams.room(stream).min(CHUNK);
            pipe.is_full = room == 0;
            if room == 0 {
                return true;
            }
            match sys::recv(&pipe.far, &mut space[..room]) {
                Ok(0) => return false,
                Ok(count) => _ = self.streams.write(stream, &space[..count]),
                Err(e) => return e.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    /// From the stream into the far end, as far as that has room.
    fn pump_in(&mut self, stream: StreamKey) {
        let Some(pipe) = self.pipes.get_mut(&stream) else { return };
        loop {
            if pipe.waiting.is_empty() {
                pipe.waiting.resize(CHUNK, 0);
                let count = self.streams.read(stream, &mut pipe.waiting);
                pipe.waiting.truncate(count);
            }
            if pipe.waiting.is_empty() {
                pipe.waiting = Vec::new();
                return;
            }
            match sys::send(&pipe.far, &pipe.waiting, false) {
                Ok(count) => _ = pipe.waiting.drain(..count),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                // The near end is closed, which the reactor tells.
                Err(_) => return pipe.waiting.clear(),
            }
        }
    }

    fn settle(&mut self, stream: StreamKey, reactor: &mut Reactor, now: Instant) {
        let Some(pipe) = self.pipes.get(&stream) else { return };
        let write = !pipe.waiting.is_empty();
        if pipe.is_over && !write {
            return self.drop_pipe(stream, reactor, now);
        }
        reactor.set_interest(pipe.token, Interest { read: !pipe.is_full, write, once: false });
    }

    fn drop_pipe(&mut self, stream: StreamKey, reactor: &mut Reactor, now: Instant) {
        if let Some(pipe) = self.pipes.remove(&stream) {
            self.by_token.remove(&pipe.token);
            reactor.remove(pipe.token);
        }
        self.streams.leave(stream, now);
    }

    /// Makes the pair of a stream, and gives its near end. `None` if there are too many, or without
    /// descriptors.
    fn open_pipe(
        &mut self,
        stream: StreamKey,
        reactor: &mut Reactor,
        now: Instant,
    ) -> Option<OwnedFd> {
        let pair = (self.pipes.len() < self.manner.most).then(sys::socket_pair);
        let Some(Ok((near, far))) = pair else {
            self.streams.leave(stream, now);
            return None;
        };
        let far = Arc::new(far);
        let token = reactor.add(Arc::clone(&far), Interest::READ);
        let pipe = Pipe { far, token, waiting: Vec::new(), is_full: false, is_over: false };
        self.pipes.insert(stream, pipe);
        self.by_token.insert(token, stream);
        Some(near)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let dials = self.dials.values().map(|dial| dial.until);
        dials.chain(self.streams.next_deadline()).min()
    }

    /// Does what is due, and says what became of whom.
    pub(super) fn on_time(&mut self, reactor: &mut Reactor, now: Instant) -> Vec<News> {
        self.streams.on_time(now);
        let mut news = Vec::new();
        while let Some(event) = self.streams.next_event() {
            news.extend(self.on_event(event, reactor, now));
        }
        let late = self.dials.iter().filter(|(_, dial)| dial.until <= now);
        for key in late.map(|(key, _)| *key).collect::<Vec<_>>() {
            let address = self.dials[&key].address;
            self.forget(key);
            news.push(News::Failed(key, address));
        }
        news
    }

    fn on_event(&mut self, event: Event, reactor: &mut Reactor, now: Instant) -> Option<News> {
        match event {
            Event::Accepted(stream, address) => {
                let near = self.open_pipe(stream, reactor, now)?;
                return Some(News::Accepted(near, address));
            }
            Event::Opened(stream) => {
                let (key, address) = self.take_dial(stream)?;
                let near = self.open_pipe(stream, reactor, now);
                return Some(match near {
                    Some(near) => News::Opened(key, near),
                    None => News::Failed(key, address),
                });
            }
            Event::Readable(stream) => {
                self.pump_in(stream);
                self.settle(stream, reactor, now);
            }
            Event::Writable(stream) => {
                self.pump_out(stream);
                self.settle(stream, reactor, now);
            }
            Event::Heard(stream) | Event::Over(stream, _) => {
                if let Some((key, address)) = self.take_dial(stream) {
                    self.streams.leave(stream, now);
                    return Some(News::Failed(key, address));
                }
                self.pipes.get_mut(&stream)?.is_over = true;
                self.pump_in(stream);
                self.settle(stream, reactor, now);
            }
        }
        None
    }

    fn take_dial(&mut self, stream: StreamKey) -> Option<(PeerKey, SocketAddr)> {
        let key = *self.dials.iter().find(|(_, dial)| dial.stream == stream)?.0;
        Some((key, self.dials.remove(&key)?.address))
    }

    /// Sends what there is to send.
    pub(super) fn send(&mut self, node: Option<&Node>, now: Instant) {
        let mut packet = Vec::new();
        while let Some(to) = self.streams.next_packet(now, &mut packet) {
            let sockets = node.map_or(&self.sockets, Node::sockets);
            // What cannot be sent is as good as lost on the way.
            let _ = sockets.send(to, &packet);
        }
    }

    /// Tells all that we go, as far as one packet can.
    pub(super) fn end(&mut self, node: Option<&Node>, now: Instant) {
        for stream in std::mem::take(&mut self.pipes).into_keys() {
            self.streams.leave(stream, now);
        }
        self.send(node, now);
    }
}
