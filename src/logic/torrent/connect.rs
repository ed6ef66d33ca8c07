//! From dialling to the open session, and to its end.

use super::upload::is_servable;
use super::{Action, Encryption, Timer, Torrent};
use crate::logic::PeerKey;
use crate::logic::announcer::Announcer;
use crate::logic::candidates::Source;
use crate::logic::peer::{Direction, Peer, Session, Stage};
use crate::proto::ids::PeerId;
use crate::proto::wire::{Extended, Hello, Message, PeerFault, Speaks};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// How many connections may be between dialling and open at a time, as in BitTornado.
pub(in crate::logic) const MAX_HALF_OPEN: usize = 8;

/// A handshake takes no longer than this, as in BitTornado.
pub(in crate::logic) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// After so long of them it is tried in plain text who does not answer an encrypted handshake.
const RIDDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// A piece of which a peer rejected a request is not asked of it for so long, or longer, unless it
/// unchokes us anew.
pub(super) const BARRED: Duration = Duration::from_secs(15);

/// A connection may be of no use for so long before another takes its place,
const LEAST_STAY: Duration = Duration::from_secs(20);

/// and one without a whole handshake for so long.
const LEAST_GREETING: Duration = Duration::from_secs(5);

/// The peers are looked through no more often than this.
const TICK: Duration = Duration::from_secs(1);

/// Why an incoming connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There are as many connections as there may be.
    Full,
    /// The address gave bad data too often.
    Banned,
    /// The address has a connection already.
    Duplicate,
    /// The torrent is being stopped.
    Stopping,
    /// It speaks in plain text, which is not even answered.
    Plain,
    /// The address is outside, and only those inside are dealt with.
    Outside,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::Full => "too many connections",
            Refused::Banned => "banned",
            Refused::Duplicate => "connected already",
            Refused::Stopping => "stopping",
            Refused::Plain => "not encrypted",
            Refused::Outside => "from outside",
        })
    }
}

/// A connection that stands, and all that its other end has said but for what needs the torrent's
/// measures: it said that we have nothing, and what we are.
#[derive(Debug)]
pub struct Acquaintance {
    /// The number it goes by, and will.
    pub key: PeerKey,
    /// The other end.
    pub address: SocketAddr,
    /// Who opened it.
    pub direction: Direction,
    /// The extensions it speaks.
    pub speaks: Speaks,
    /// The stream is encrypted, or its handshake was.
    pub encrypted: bool,
    /// Its name for itself.
    pub id: PeerId,
    /// What it told of itself.
    pub told: Option<Extended>,
}

/// Whether the rule of one connection an address leaves this address alone: behind a loopback or
/// private address there may be many peers, in a lab, a LAN or a test.
pub(in crate::logic) fn is_exempt(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(v4) => is_exempt(IpAddr::V4(v4)),
            None => {
                let first = ip.segments()[0];
                // Unique local (fc00::/7) and link local (fe80::/10).
                ip.is_loopback() || first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80
            }
        },
    }
}

impl Torrent {
    /// Adds addresses that may be peers.
    pub fn add_candidates(&mut self, addresses: &[SocketAddr], source: Source, now: Instant) {
        for address in addresses {
            self.candidates.add(*address, source, now);
        }
        self.dial(now);
    }

    /// Somebody connected to us and named our torrent, on a stream that may be encrypted. The
    /// answer is the connection's number, and a `Greet` among the actions.
    ///
    /// # Errors
    /// Why the connection is to be closed at once.
    pub fn on_incoming(
        &mut self,
        address: SocketAddr,
        encrypted: bool,
        now: Instant,
    ) -> Result<PeerKey, Refused> {
        if self.stopping {
            return Err(Refused::Stopping);
        }
        if !encrypted && self.config.encryption == Encryption::Stealth {
            return Err(Refused::Plain);
        }
        let others = self.peers.values().map(|peer| peer.address);
        self.config.admit(address, &self.candidates, others)?;
        let is_full = self.peers.len() >= self.config.max_connections || self.room == 0;
        if is_full && !self.make_room(address, now) {
            return Err(Refused::Full);
        }
        let key = self.new_peer(address, Direction::Incoming, encrypted, now);
        self.actions.push_back(Action::Greet(key, None));
        Ok(key)
    }

    /// Goes on with trackers that were asked before, under this key.
    pub fn take_trackers(&mut self, announcer: Announcer, key: String, now: Instant) {
        (self.announcer, self.key) = (announcer, key);
        self.announce_if_due(now);
    }

    /// Goes on with a connection that stands. To be called before others come. One to whom we have
    /// something by now must be met anew, and is not taken: false.
    pub fn adopt(&mut self, known: Acquaintance, now: Instant) -> bool {
        if self.ledger.have().count() > 0 || self.stopping {
            return false;
        }
        let mut peer = Peer::new(known.address, known.direction, now);
        peer.stage = Stage::Greeting;
        peer.speaks = known.speaks;
        (peer.encrypted, peer.greeted) = (known.encrypted, true);
        self.peers.insert(known.key, peer);
        self.room = self.room.saturating_sub(1);
        self.next_key = self.next_key.max(known.key.0 + 1);
        if known.direction == Direction::Outgoing {
            self.candidates.add(known.address, Source::Tracker, now);
        }
        self.open(known.key, known.id, now);
        if known.speaks.extended {
            self.tell_of_us(known.key, now);
        }
        self.tell_of_node(known.key, known.speaks, now);
        if let Some(told) = known.told {
            // What it tells of itself can only close it, as before.
            self.on_message(known.key, Message::Extended(Box::new(told)), now);
        }
        true
    }

    /// A connection we dialled stands.
    pub fn on_connected(&mut self, key: PeerKey, now: Instant) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        peer.stage = Stage::Greeting;
        peer.heard = now;
        let methods = self.config.encryption.methods().filter(|_| peer.encrypted);
        self.tick_by(now + RIDDLE_TIMEOUT);
        self.actions.push_back(Action::Greet(key, methods));
    }

    /// A connection we dialled did not come about.
    pub fn on_connect_failed(&mut self, key: PeerKey, now: Instant) {
        if let Some(peer) = self.remove(key, now) {
            self.candidates.failed(peer.address, now);
            self.dial(now);
        }
    }

    /// The first part of a handshake.
    pub fn on_hello(&mut self, key: PeerKey, hello: Hello, now: Instant) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        peer.heard = now;
        peer.greeted = true;
        peer.speaks = hello.speaks();
        if hello.info_hash != self.info_hash {
            self.on_fault(key, PeerFault::WrongTorrent, now);
        }
        self.tick_by(now + TICK);
    }

    /// Whether it speaks in plain text where that is not wanted. It hears our handshake, as
    /// trackers do that ask whether we can be reached, and has to go a moment later.
    fn is_turned_away(&self, peer: &Peer) -> bool {
        peer.greeted && !peer.encrypted && self.config.encryption.is_required()
    }

    /// The second part of a handshake: the session is open, unless we are connected already, or
    /// to ourselves.
    pub fn on_peer_id(&mut self, key: PeerKey, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get(&key) else { return };
        let (address, direction, speaks) = (peer.address, peer.direction, peer.speaks);
        if self.is_turned_away(peer) {
            return;
        }
        if id == self.peer_id {
            if direction == Direction::Outgoing {
                self.candidates.exclude(address);
            }
            self.forget(key, now);
            return;
        }
        if self.conduct.is_banned(id) {
            self.forget(key, now);
            return;
        }
        let twin = self.sessions().find(|(k, s)| *k != key && s.id == id).map(|(k, _)| k);
        // Without security a peer may come as often as it likes.
        let crosses =
            |twin: &PeerKey| self.peers.get(twin).is_some_and(|p| p.direction != direction);
        let twin = twin.filter(|twin| self.config.security || crosses(twin));
        if let Some(twin) = twin {
            let same_host = self.peers.get(&twin).is_some_and(|p| p.address.ip() == address.ip());
            // As BitTornado does: the same host came again, so its older connection is dead; from
            // another host it is an impostor. Two that dialled each other at the same moment must
            // keep the same one of both connections, so there the greater id decides.
            let keep_new = match crosses(&twin) {
                true => (direction == Direction::Outgoing) == (self.peer_id > id),
                false => same_host,
            };
            let (kept, gone) = if keep_new { (key, twin) } else { (twin, key) };
            self.forget(gone, now);
            if kept == twin {
                return;
            }
        }
        self.open(key, id, now);
        self.introduce(key, speaks, now);
    }

    fn open(&mut self, key: PeerKey, id: PeerId, now: Instant) {
        let pieces = self.geometry.piece_count();
        let Some(peer) = self.peers.get_mut(&key) else { return };
        peer.heard = now;
        let mut session = Session::new(id, pieces, self.config.rate_window, now);
        session.fast = peer.speaks.fast;
        session.told = self.news.end();
        session.up = session.up.with_head_start(self.config.upload_rate_fudge);
        peer.stage = Stage::Open(Box::new(session));
        match peer.direction {
            Direction::Outgoing => self.candidates.connected(peer.address),
            Direction::Incoming => self.reached = true,
        }
        self.conduct.meet(key, peer.address, id);
        self.tick_by(now + TICK);
        self.rechoke_soon(now);
    }

    /// A connection ended by itself.
    pub fn on_lost(&mut self, key: PeerKey, now: Instant) {
        let broken = self.peers.get(&key).filter(|peer| {
            let gave = peer.session().is_some_and(|session| session.down.total() > 0);
            gave && peer.direction == Direction::Outgoing && !self.ledger.is_done()
        });
        let broken = broken.map(|peer| peer.address);
        self.lose(key, now);
        if let Some(address) = broken {
            self.candidates.broke(address, now);
        }
    }

    fn lose(&mut self, key: PeerKey, now: Instant) {
        let was_open = self.sessions().any(|(k, _)| k == key);
        if let Some(peer) = self.remove(key, now) {
            if peer.direction == Direction::Outgoing && !was_open {
                self.failed_to_greet(&peer, now);
            }
            self.dial(now);
        }
    }

    /// A connection that we dialled stood, and has ended before its session began. It may be that
    /// the peer does not understand encryption, or nothing else.
    fn failed_to_greet(&mut self, peer: &Peer, now: Instant) {
        let greeting = matches!(peer.stage, Stage::Greeting) && !peer.greeted;
        match self.config.encryption == Encryption::Allowed && greeting {
            true => self.candidates.riddled(peer.address, peer.encrypted, now),
            false => self.candidates.failed(peer.address, now),
        }
    }

    /// Whether it may be that it does not answer because it does not understand encryption.
    fn is_riddled(&self, peer: &Peer) -> bool {
        self.config.encryption == Encryption::Allowed
            && peer.encrypted
            && !peer.greeted
            && matches!((&peer.stage, peer.direction), (Stage::Greeting, Direction::Outgoing))
    }

    /// A peer broke the rules: its connection is closed, nothing else.
    pub fn on_fault(&mut self, key: PeerKey, _fault: PeerFault, now: Instant) {
        self.actions.push_back(Action::Close(key));
        self.lose(key, now);
    }

    /// Closes a connection that did nothing wrong.
    pub(super) fn close(&mut self, key: PeerKey, now: Instant) {
        if self.remove(key, now).is_some() {
            self.actions.push_back(Action::Close(key));
        }
    }

    /// Closes a connection that is not to be tried again.
    fn forget(&mut self, key: PeerKey, now: Instant) {
        self.close(key, now);
        self.dial(now);
    }

    /// Takes a peer out of every table. What it was asked for goes to others.
    fn remove(&mut self, key: PeerKey, now: Instant) -> Option<Peer> {
        let peer = self.peers.remove(&key)?;
        self.room = self.room.saturating_add(1);
        let Stage::Open(session) = &peer.stage else { return Some(peer) };
        self.picker.remove_all(&session.have);
        if let Some(super_seed) = &mut self.super_seed {
            super_seed.left(key);
        }
        self.ledger.unask_all(key);
        self.not_coming(&session.asked, now);
        if peer.direction == Direction::Outgoing {
            self.candidates.lost(peer.address, now, session.down.total() > 0);
        }
        if !session.asked.is_empty() {
            self.ask_all(now);
        }
        if !session.choking && session.wanting && !self.stopping {
            self.rechoke_soon(now);
        }
        Some(peer)
    }

    /// There are as many connections as there may be, and somebody knocks: closes one that has
    /// been of no use to either side for a while, if there is one, and it is worth less (BEP 40).
    /// Who wants something and does not read, or does not ask when its turn comes, is of no use.
    fn make_room(&mut self, newcomer: SocketAddr, now: Instant) -> bool {
        let useless = |peer: &&Peer| match peer.session() {
            Some(session) => {
                let served = session.wanting && is_servable(session, now);
                peer.since + LEAST_STAY <= now && !session.interested && !served
            }
            None => peer.direction == Direction::Incoming && peer.since + LEAST_GREETING <= now,
        };
        let worth = |address| self.candidates.worth(address);
        let peers = self.peers.iter().filter(|(_, peer)| useless(peer));
        let worst = peers.map(|(key, peer)| (worth(peer.address), *key)).min();
        match worst {
            Some((least, key)) if least <= worth(newcomer) => {
                self.close(key, now);
                true
            }
            _ => false,
        }
    }

    /// Our own address, as somebody sees it; the tracker's word counts more.
    pub(super) fn learn_own_ip(&mut self, ip: IpAddr) {
        if !self.candidates.knows_own() && !is_exempt(ip) && !ip.is_unspecified() {
            self.candidates.set_own(SocketAddr::new(ip, self.port));
        }
    }

    /// The first look for silent peers at `due` or later.
    fn next_check(&self, due: Instant) -> Instant {
        let interval = self.config.timeout_check_interval.max(TICK);
        let elapsed = due.saturating_duration_since(self.started).as_nanos();
        let looks = elapsed.div_ceil(interval.as_nanos());
        let looks = u32::try_from(looks).unwrap_or(u32::MAX);
        self.started + interval.checked_mul(looks).unwrap_or(interval)
    }

    fn new_peer(
        &mut self,
        address: SocketAddr,
        direction: Direction,
        encrypted: bool,
        now: Instant,
    ) -> PeerKey {
        let key = PeerKey(self.next_key);
        self.next_key += 1;
        self.room = self.room.saturating_sub(1);
        self.peers.insert(key, Peer { encrypted, ..Peer::new(address, direction, now) });
        self.tick_by(now + HANDSHAKE_TIMEOUT);
        key
    }

    /// Whether it would dial, if it is let.
    fn would_dial(&self) -> bool {
        let half_open = || self.peers.values().filter(|p| p.session().is_none()).count();
        let wished = self.config.max_initiate;
        let wished = if self.reached { wished } else { wished.saturating_add(wished / 2) };
        let limit = wished.min(self.config.max_connections);
        let rests = self.stopping || self.config.paused;
        !rests && self.peers.len() < limit && half_open() < MAX_HALF_OPEN
    }

    pub(super) fn may_dial(&self) -> bool {
        self.room > 0 && self.would_dial()
    }

    /// Opens as many connections as there may be.
    pub(super) fn dial(&mut self, now: Instant) {
        self.dial_all(now);
        let crowded = self.room == 0 && self.would_dial();
        self.crowded = crowded && self.candidates.next_deadline().is_some();
    }

    fn dial_all(&mut self, now: Instant) {
        while self.may_dial() {
            let Some(address) = self.candidates.next(now) else { return };
            let others = self.peers.values().map(|peer| peer.address);
            if self.config.is_taken(address, others) {
                self.candidates.failed(address, now);
                continue;
            }
            let encrypted = self.config.encryption.is_tried(self.candidates.is_plain(address));
            let peer = self.new_peer(address, Direction::Outgoing, encrypted, now);
            self.actions.push_back(Action::Dial { peer, address });
        }
    }

    /// Sets the tick to `at`, unless it comes before.
    pub(super) fn tick_by(&mut self, at: Instant) {
        if self.timers.get(Timer::Tick).is_none_or(|set| set > at) {
            self.timers.set(Timer::Tick, at);
        }
    }

    /// Looks through the peers: who is silent too long, to whom we are.
    pub(super) fn tick(&mut self, now: Instant) {
        let mut next: Option<Instant> = None;
        for key in self.peers.keys().copied().collect::<Vec<_>>() {
            let Some(deadline) = self.tick_peer(key, now) else { continue };
            next = Some(next.map_or(deadline, |n| n.min(deadline)));
        }
        if let Some(at) = next {
            self.tick_by(at.max(now + TICK));
        }
        self.ask_all(now);
    }

    /// Does what one peer is due; returns when to look again, `None` if it is gone.
    fn tick_peer(&mut self, key: PeerKey, now: Instant) -> Option<Instant> {
        let (keepalive, snub) = (self.config.keepalive_interval, self.config.snub_time);
        let peer = self.peers.get(&key)?;
        let silent = match peer.session() {
            Some(_) => self.next_check(peer.heard + self.config.timeout),
            None if self.is_turned_away(peer) => peer.heard + TICK,
            None if self.is_riddled(peer) => peer.heard + RIDDLE_TIMEOUT,
            None => peer.since + HANDSHAKE_TIMEOUT,
        };
        if silent <= now {
            match peer.stage {
                Stage::Dialing => {
                    self.actions.push_back(Action::Close(key));
                    self.on_connect_failed(key, now);
                }
                _ => {
                    self.actions.push_back(Action::Close(key));
                    self.lose(key, now);
                }
            }
            return None;
        }
        if let Some(session) = self.session(key) {
            if session.barred_at + BARRED <= now {
                session.askable = None;
            }
        }
        let peer = self.peers.get(&key)?;
        let mut deadline = silent;
        if let Some(session) = peer.session() {
            let mut said = peer.said;
            let barred_until = session.askable.is_some().then(|| session.barred_at + BARRED);
            let waits = !session.asked.is_empty() && !session.snubbed;
            let snubs_at = session.waiting_since + snub;
            if said + keepalive <= now {
                self.say(key, Message::KeepAlive, now);
                said = now;
            }
            deadline = deadline.min(said + keepalive);
            if let Some(at) = barred_until {
                deadline = deadline.min(at);
            }
            if waits && snubs_at <= now {
                self.snub(key, now);
            } else if waits {
                deadline = deadline.min(snubs_at);
            }
        }
        Some(deadline)
    }
}
