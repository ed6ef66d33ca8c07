//! The connections of a download: who stands behind which token.

use super::secrecy::Secrecy;
use crate::io::conn::{Conn, Fill, Outcome, Staging};
use crate::io::reactor::{Interest, Reactor, Token};
use crate::io::sys;
use crate::logic::PeerKey;
use crate::proto::geometry::{BlockRef, Geometry};
use crate::proto::mse::Methods;
use crate::proto::sorted;
use crate::proto::wire::{Hello, Incoming, Limits, Next, PeerFault, Pool};
use std::cmp::Reverse;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections that have not said which torrent they are about, at a time.
pub(super) const MAX_STRANGERS: usize = 64;

/// They have so long to say it,
const STRANGER_TIMEOUT: Duration = Duration::from_secs(30);

/// and where there is no room for others this, divided by the number of them: 50 ms for each of
/// sixty-four, so that a flood of them is over soon, and a few have time to speak.
const STRANGERS_TURN: Duration = Duration::from_millis(3_200);

/// Bytes that wait in memory for peers to take them, for all connections together. When it is
/// more, somebody who does not read is dropped,
const MAX_QUEUED: usize = 4 * 1024 * 1024;

/// but nobody for whom no more than this waits, as for a slow reader: a block and some messages.
const USUAL_QUEUE: usize = 24 * 1024;

/// A block may take so long to come, from its first byte to its last, while others wait for the
/// buffer it is in.
const BLOCK_TIME: Duration = Duration::from_secs(20);

/// From one peer so many times is read in a turn, so that none starves the others.
const READS_PER_TURN: usize = 32;

/// Who is meant by a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// A listening socket.
    Listener(usize),
    /// Somebody who has not said what he wants.
    Stranger,
    /// A peer.
    Peer(PeerKey),
}

/// A connection and its place in the reactor.
pub(super) struct Link {
    pub conn: Conn,
    token: Token,
    interest: Interest,
    /// Being dialled: the first word of the reactor is whether it stands.
    pub dialing: bool,
    /// Not read from until a block buffer is free.
    pub stalled: bool,
    /// When it began a block that is not whole yet.
    pub block_began: Option<Instant>,
    /// What waited for it when that was last looked at.
    queued: usize,
    /// What it had taken by then, and when it last took something.
    taken: u64,
    took_at: Option<Instant>,
}

/// How far a peer was heard in this turn.
#[derive(Default)]
pub(super) struct Hearing {
    reads: usize,
    drained: bool,
}

/// What a peer said.
pub(super) enum Heard {
    /// A handshake or a message.
    Got(Incoming),
    /// A block, for which there is no buffer.
    NoBuffer,
    /// No more in this turn.
    Enough,
    /// The connection has ended.
    Ended,
    /// Something that is against the rules.
    Fault(PeerFault),
}

impl Link {
    /// What it says next. Blocks of which `is_asked` says no are passed over.
    pub(super) fn hear(
        &mut self,
        hearing: &mut Hearing,
        pool: &mut Pool,
        is_asked: impl Fn(BlockRef) -> bool,
    ) -> Heard {
        loop {
            match self.conn.next_if(pool, &is_asked) {
                Ok(Next::Got(incoming)) => return Heard::Got(incoming),
                Ok(Next::NoBuffer) => return Heard::NoBuffer,
                Err(fault) => return Heard::Fault(fault),
                Ok(Next::More) if hearing.drained || hearing.reads >= READS_PER_TURN => {
                    return Heard::Enough;
                }
                Ok(Next::More) => {
                    hearing.reads += 1;
                    match self.conn.fill() {
                        Ok(Fill::Some) => {}
                        Ok(Fill::Drained) => hearing.drained = true,
                        Ok(Fill::Ended) | Err(_) => return Heard::Ended,
                    }
                }
            }
        }
    }
}

/// What it takes to hear strangers.
pub(super) struct Reception<'a> {
    pub secrecy: &'a mut Secrecy,
    pub staging: &'a mut Staging,
    pub pool: &'a mut Pool,
}

/// A stranger who has said which torrent it is about.
pub(super) struct Introduced {
    pub hello: Hello,
    pub address: SocketAddr,
    pub encrypted: bool,
}

struct Stranger {
    link: Link,
    address: SocketAddr,
    since: Instant,
}

/// Every socket of a download.
pub(super) struct Links {
    listeners: Vec<(Arc<OwnedFd>, Token)>,
    by_token: sorted::Map<Token, Who>,
    strangers: sorted::Map<Token, Stranger>,
    max_strangers: usize,
    peers: sorted::Map<PeerKey, Link>,
    accepting: bool,
    limits: Limits,
    /// Bytes that wait for all peers.
    queued: usize,
}

impl Links {
    pub(super) fn new(listeners: Vec<OwnedFd>, limits: Limits, reactor: &mut Reactor) -> Links {
        let mut by_token = sorted::Map::new();
        let mut add = |(i, socket): (usize, OwnedFd)| {
            let socket = Arc::new(socket);
            let token = reactor.add(Arc::clone(&socket), Interest::NONE);
            by_token.insert(token, Who::Listener(i));
            (socket, token)
        };
        let listeners = listeners.into_iter().enumerate().map(&mut add).collect();
        Links {
            listeners,
            by_token,
            strangers: sorted::Map::new(),
            max_strangers: MAX_STRANGERS,
            peers: sorted::Map::new(),
            accepting: false,
            limits,
            queued: 0,
        }
    }

    pub(super) fn who(&self, token: Token) -> Option<Who> {
        self.by_token.get(&token).copied()
    }

    /// Whether new connections are taken.
    pub(super) fn accept(&mut self, on: bool, reactor: &mut Reactor) {
        if self.accepting != on {
            self.accepting = on;
            let interest = if on { Interest::READ } else { Interest::NONE };
            self.listeners.iter().for_each(|(_, token)| reactor.set_interest(*token, interest));
        }
    }

    /// Whether there is room for one more, or will be when somebody goes who had time to speak.
    pub(super) fn has_room_for_strangers(&self, now: Instant) -> bool {
        self.strangers.len() < self.max_strangers
            || self.strangers.values().any(|s| s.since + self.turn() <= now)
    }

    fn turn(&self) -> Duration {
        STRANGERS_TURN / u32::try_from(self.max_strangers).unwrap_or(u32::MAX).max(1)
    }

    /// There are descriptors for no more than so many strangers.
    pub(super) fn limit_strangers(&mut self, most: usize) {
        self.max_strangers = most.min(MAX_STRANGERS);
    }

    /// Takes in those who knock at a listening socket, as far as there is room for them; they may
    /// begin encrypted by these methods, if there are any.
    ///
    /// # Errors
    /// The system refuses: whoever knocks goes on knocking, so it is no use to listen for a while.
    pub(super) fn take_in(
        &mut self,
        listener: usize,
        methods: Option<Methods>,
        now: Instant,
        reactor: &mut Reactor,
    ) -> io::Result<()> {
        let socket = Arc::clone(&self.listeners[listener].0);
        while self.has_room_for_strangers(now) {
            match sys::accept(&socket) {
                Ok((socket, address)) => {
                    self.add_stranger(socket, address, methods, now, reactor);
                }
                Err(e) => match e.kind() {
                    ErrorKind::WouldBlock | ErrorKind::ConnectionAborted => return Ok(()),
                    _ => return Err(e),
                },
            }
        }
        Ok(())
    }

    /// Takes in one who has connected, and may begin encrypted by these methods. Where there is no
    /// room somebody goes who had time to speak.
    pub(super) fn add_stranger(
        &mut self,
        socket: OwnedFd,
        address: SocketAddr,
        methods: Option<Methods>,
        now: Instant,
        reactor: &mut Reactor,
    ) {
        if self.strangers.len() >= self.max_strangers {
            let goes = self.most_common_stranger(now);
            goes.into_iter().for_each(|token| self.drop_stranger(token, reactor));
        }
        let mut conn = Conn::new(socket);
        if let Some(methods) = methods {
            conn.expect_encryption(methods);
        }
        let link = self.watch(conn, Interest::READ, Who::Stranger, reactor);
        self.strangers.insert(link.token, Stranger { link, address, since: now });
    }

    /// Of those who had time to speak the one that came first of the address of which there are
    /// most.
    fn most_common_stranger(&self, now: Instant) -> Option<Token> {
        let from = |ip| self.strangers.values().filter(|s| s.address.ip() == ip).count();
        let had_time = self.strangers.iter().filter(|(_, s)| s.since + self.turn() <= now);
        let most = had_time.max_by_key(|(_, s)| (from(s.address.ip()), Reverse(s.since)));
        most.map(|(token, _)| *token)
    }

    /// Hears a stranger, until it has said which torrent it is about. One that ends, or says
    /// anything else, is dropped.
    pub(super) fn hear_stranger(
        &mut self,
        token: Token,
        with: Reception<'_>,
        now: Instant,
        reactor: &mut Reactor,
    ) -> Option<Introduced> {
        let Stranger { link: Link { conn, .. }, address, .. } = self.strangers.get_mut(&token)?;
        let filled = with.secrecy.meet(now, |door| conn.fill_at_door(door));
        // What it hears before it has said what it wants fits into any socket.
        let answered = conn.flush(with.staging, &mut Outcome::default());
        let goes_on = matches!(filled, Ok(Fill::Some | Fill::Drained))
            && answered.is_ok()
            && !conn.is_sending();
        let encrypted = conn.was_encrypted();
        match conn.next(with.pool) {
            Ok(Next::Got(Incoming::Hello(hello))) => {
                return Some(Introduced { hello, address: *address, encrypted });
            }
            Ok(_) if goes_on => {}
            _ => self.drop_stranger(token, reactor),
        }
        None
    }

    /// A stranger has become a peer.
    pub(super) fn promote(&mut self, token: Token, key: PeerKey, geometry: Option<Arc<Geometry>>) {
        if let Some(mut stranger) = self.strangers.remove(&token) {
            attach(&mut stranger.link.conn, geometry, self.limits);
            self.by_token.insert(token, Who::Peer(key));
            self.peers.insert(key, stranger.link);
        }
    }

    pub(super) fn drop_stranger(&mut self, token: Token, reactor: &mut Reactor) {
        if self.strangers.remove(&token).is_some() {
            self.by_token.remove(&token);
            reactor.remove(token);
        }
    }

    /// Sends those away who took too long.
    pub(super) fn expire_strangers(&mut self, now: Instant, reactor: &mut Reactor) {
        let late = self.strangers.iter().filter(|(_, s)| s.since + STRANGER_TIMEOUT <= now);
        for token in late.map(|(t, _)| *t).collect::<Vec<_>>() {
            self.drop_stranger(token, reactor);
        }
    }

    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let first = self.strangers.values().map(|s| s.since).min();
        let patience =
            if self.has_room_for_strangers(now) { STRANGER_TIMEOUT } else { self.turn() };
        first.map(|since| since + patience)
    }

    /// The measures of the torrent are known now: a peer is heard from here on.
    pub(super) fn measure(&mut self, key: PeerKey, geometry: Arc<Geometry>) {
        if let Some(link) = self.peers.get_mut(&key) {
            attach(&mut link.conn, Some(geometry), self.limits);
            link.stalled = false;
        }
    }

    /// Leaves nobody but these peers, and reads nothing of them for the time being.
    pub(super) fn keep_only(&mut self, keys: &[PeerKey], reactor: &mut Reactor) {
        for token in self.strangers.keys().copied().collect::<Vec<_>>() {
            self.drop_stranger(token, reactor);
        }
        for key in self.peers.keys().copied().collect::<Vec<_>>() {
            if keys.contains(&key) {
                self.peers.get_mut(&key).into_iter().for_each(|link| link.stalled = true);
                self.settle(key, reactor);
            } else {
                self.close(key, &mut Pool::new(0), reactor);
            }
        }
    }

    /// A peer that is being dialled.
    pub(super) fn add_dialed(
        &mut self,
        key: PeerKey,
        mut conn: Conn,
        geometry: Option<Arc<Geometry>>,
        reactor: &mut Reactor,
    ) {
        attach(&mut conn, geometry, self.limits);
        let mut link = self.watch(conn, Interest::WRITE, Who::Peer(key), reactor);
        link.dialing = true;
        self.peers.insert(key, link);
    }

    fn watch(&mut self, conn: Conn, interest: Interest, who: Who, reactor: &mut Reactor) -> Link {
        let token = reactor.add(conn.socket(), interest);
        self.by_token.insert(token, who);
        Link {
            conn,
            token,
            interest,
            dialing: false,
            stalled: false,
            block_began: None,
            queued: 0,
            taken: 0,
            took_at: None,
        }
    }

    pub(super) fn peer(&mut self, key: PeerKey) -> Option<&mut Link> {
        self.peers.get_mut(&key)
    }

    /// Closes a connection; its half-filled buffer goes back.
    pub(super) fn close(&mut self, key: PeerKey, pool: &mut Pool, reactor: &mut Reactor) {
        if let Some(mut link) = self.peers.remove(&key) {
            link.conn.release(pool);
            self.queued -= link.queued;
            self.by_token.remove(&link.token);
            reactor.remove(link.token);
        }
    }

    /// Brings what the reactor waits for in line with what the connection can do.
    pub(super) fn settle(&mut self, key: PeerKey, reactor: &mut Reactor) {
        let Some(link) = self.peers.get_mut(&key) else { return };
        let interest = match link.dialing {
            true => Interest::WRITE,
            false => Interest { read: !link.stalled, write: link.conn.is_sending(), once: false },
        };
        if interest != link.interest {
            link.interest = interest;
            reactor.set_interest(link.token, interest);
        }
    }

    /// Notes what waits for a peer after it was sent what it takes. If that is too much for all
    /// together, says whom to drop: of those for whom more than usual waits the one that took
    /// nothing for the longest time.
    pub(super) fn weigh(&mut self, key: PeerKey, now: Instant) -> Option<PeerKey> {
        let link = self.peers.get_mut(&key)?;
        let (queued, taken) = (link.conn.queued(), link.conn.taken());
        if taken != link.taken {
            (link.taken, link.took_at) = (taken, Some(now));
        }
        self.queued = self.queued - link.queued + queued;
        link.queued = queued;
        if self.queued <= MAX_QUEUED {
            return None;
        }
        let greedy = self.peers.iter().filter(|(_, link)| link.queued > USUAL_QUEUE);
        greedy.min_by_key(|(_, link)| link.took_at).map(|(key, _)| *key)
    }

    /// Whether anybody waits for a block buffer.
    pub(super) fn waits_for_buffer(&self) -> bool {
        self.peers.values().any(|link| link.stalled)
    }

    /// When the next of those that fill theirs too slowly has to give it up, if anybody waits.
    pub(super) fn dawdling_until(&self) -> Option<Instant> {
        let began = self.peers.values().filter_map(|link| link.block_began).min();
        began.filter(|_| self.waits_for_buffer()).map(|began| began + BLOCK_TIME)
    }

    /// Those that have to give theirs up now.
    pub(super) fn dawdlers(&self, now: Instant) -> Vec<PeerKey> {
        if !self.waits_for_buffer() {
            return Vec::new();
        }
        let is_late = |link: &Link| link.block_began.is_some_and(|at| at + BLOCK_TIME <= now);
        self.peers.iter().filter(|(_, link)| is_late(link)).map(|(key, _)| *key).collect()
    }

    /// Those that wait for a block buffer.
    pub(super) fn stalled(&self) -> Vec<PeerKey> {
        self.peers.iter().filter(|(_, l)| l.stalled).map(|(k, _)| *k).collect()
    }
}

/// What is taken of a peer, and the measures of the torrent as far as they are known.
fn attach(conn: &mut Conn, geometry: Option<Arc<Geometry>>, limits: Limits) {
    match geometry {
        Some(geometry) => conn.attach(geometry, limits),
        None => conn.attach_named(limits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::IpAddr;
    use std::os::unix::net::UnixStream;

    /// Links to so many peers, and their ends.
    fn links(count: u64) -> (Links, Reactor, Vec<UnixStream>) {
        let mut reactor = Reactor::new().unwrap();
        let mut links = Links::new(vec![], Limits::default(), &mut reactor);
        let geometry = Arc::new(Geometry::new(32_768, [32_768]).unwrap());
        let mut ends = Vec::new();
        for key in 0..count {
            let (ours, theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            theirs.set_nonblocking(true).unwrap();
            let conn = Conn::new(ours.into());
            links.add_dialed(PeerKey(key), conn, Some(Arc::clone(&geometry)), &mut reactor);
            ends.push(theirs);
        }
        (links, reactor, ends)
    }

    fn send(links: &mut Links, key: PeerKey, bytes: usize, now: Instant) -> Option<PeerKey> {
        let conn = &mut links.peer(key).unwrap().conn;
        conn.push_bytes(&vec![0; bytes]);
        conn.flush(&mut Staging::default(), &mut Outcome::default()).unwrap();
        links.weigh(key, now)
    }

    #[test]
    fn a_half_filled_buffer_is_kept_for_a_while_once_others_wait_for_one() {
        let (mut links, _reactor, _ends) = links(3);
        let start = Instant::now();
        let began = |n| start + Duration::from_secs(n);
        links.peer(PeerKey(1)).unwrap().block_began = Some(began(0));
        links.peer(PeerKey(2)).unwrap().block_began = Some(began(5));
        assert_eq!((links.dawdling_until(), links.dawdlers(began(90))), (None, vec![]));
        links.peer(PeerKey(0)).unwrap().stalled = true;
        assert_eq!(links.dawdling_until(), Some(start + BLOCK_TIME));
        assert_eq!(links.dawdlers(began(19)), []);
        assert_eq!(links.dawdlers(began(24)), [PeerKey(1)]);
        assert_eq!(links.dawdlers(began(25)), [PeerKey(1), PeerKey(2)]);
    }

    #[test]
    fn strangers_who_say_nothing_keep_nobody_out_for_long() {
        let (mut links, mut reactor, _ends) = links(0);
        let start = Instant::now();
        let at = |n| start + Duration::from_secs(n);
        let mut ends = Vec::new();
        let mut come = |links: &mut Links, ip: u8, seconds| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let from = SocketAddr::from(([10, 0, 0, ip], 5));
            links.add_stranger(ours.into(), from, None, at(seconds), &mut reactor);
            ends.push(theirs);
        };
        let count = |links: &Links, ip: u8| {
            let is_from = |s: &&Stranger| s.address.ip() == IpAddr::from([10, 0, 0, ip]);
            links.strangers.values().filter(is_from).count()
        };
        come(&mut links, 1, 0);
        (1..MAX_STRANGERS).for_each(|_| come(&mut links, 2, 1));
        assert!(!links.has_room_for_strangers(start) && links.has_room_for_strangers(at(1)));
        assert_eq!(links.next_deadline(start), Some(start + links.turn()));
        assert_eq!(links.next_deadline(at(1)), Some(at(30)), "the door is open");
        (0..10).for_each(|_| come(&mut links, 3, 3));
        let counts = [1, 2, 3].map(|ip| count(&links, ip));
        assert_eq!(counts, [1, MAX_STRANGERS - 11, 10], "of the most common one goes");
        links.expire_strangers(at(31), &mut reactor);
        assert_eq!([1, 2, 3].map(|ip| count(&links, ip)), [0, 0, 10]);
        links.expire_strangers(at(33), &mut reactor);
        assert!(links.strangers.is_empty());
    }

    #[test]
    fn those_who_never_read_take_a_few_megabytes_together_and_cost_no_reader_its_place() {
        const DEAF: u64 = 50;
        let (mut links, mut reactor, mut ends) = links(DEAF + 1);
        let (start, reader) = (Instant::now(), PeerKey(DEAF));
        let mut dropped = Vec::new();
        for step in 0..60 {
            let now = start + Duration::from_secs(step);
            for key in 0..=DEAF {
                let key = PeerKey(key);
                if links.peer(key).is_none() {
                    continue;
                }
                // To the one that reads the most is said.
                let bytes = if key == reader { 900_000 } else { 15_000 };
                let mut greedy = send(&mut links, key, bytes, now);
                while let Some(key) = greedy {
                    dropped.push(key);
                    links.close(key, &mut Pool::new(0), &mut reactor);
                    greedy = links.weigh(reader, now);
                }
                assert!(links.queued <= MAX_QUEUED);
            }
            while links.peer(reader).unwrap().conn.is_sending() {
                while ends[DEAF as usize].read(&mut [0; 65_536]).is_ok() {}
                assert_eq!(send(&mut links, reader, 0, now), None);
            }
        }
        assert!(!dropped.is_empty() && !dropped.contains(&reader), "{dropped:?}");
        let waiting: usize = links.peers.values().map(|link| link.conn.queued()).sum();
        assert_eq!(links.queued, waiting);
    }
}
