//! One connection of an inquiry: from dialling to its end, and what the peer says of itself and of
//! others.

use super::{Action, Inquiry, PATIENCE, TICK};
use crate::logic::PeerKey;
use crate::logic::candidates::Source;
use crate::logic::peer::{Chatter, Direction, MAX_WAITING};
use crate::logic::torrent::{
    CLIENT, Encryption, HANDSHAKE_TIMEOUT, MAX_HALF_OPEN, Refused, is_exempt,
};
use crate::proto::ids::PeerId;
use crate::proto::wire::{
    EXCHANGE, Exchange, Extended, Hello, MAX_METADATA, METADATA, Message, PeerFault, Speaks,
};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// An open connection on which no extended handshake came for so long is of no use.
const MUTE: Duration = Duration::from_secs(30);

/// A peer tells of others no more often than this, and is heard.
const EXCHANGE_PERIOD: Duration = Duration::from_secs(45);

/// So many addresses are taken from a peer at a time.
const MAX_TOLD: usize = 100;

/// A connection.
#[derive(Debug)]
pub(super) struct Contact {
    pub address: SocketAddr,
    pub direction: Direction,
    /// The extensions it speaks, as far as it has said.
    pub speaks: Speaks,
    stage: Stage,
    since: Instant,
    /// When anything last came in.
    pub heard: Instant,
    /// When we last said anything.
    pub said: Instant,
    /// The stream is encrypted, or is to be, or its handshake was.
    pub encrypted: bool,
    /// It has said its handshake.
    greeted: bool,
}

#[derive(Debug)]
enum Stage {
    Dialing,
    Greeting,
    Open(Box<Talk>),
}

/// The talk behind the handshake.
#[derive(Debug)]
pub(super) struct Talk {
    pub id: PeerId,
    /// What it told of itself.
    pub told: Option<Extended>,
    /// The parts it was asked for, and when.
    pub asked: Vec<(u32, Instant)>,
    /// How often it was silent or refused.
    pub failures: u32,
    /// It is not asked before this time.
    pub rests_until: Option<Instant>,
    pub chatter: Chatter,
    /// When it last told of others.
    exchanged: Option<Instant>,
}

impl Talk {
    fn new(id: PeerId, now: Instant) -> Talk {
        Talk {
            id,
            told: None,
            asked: Vec::new(),
            failures: 0,
            rests_until: None,
            chatter: Chatter::new(now),
            exchanged: None,
        }
    }

    /// What it calls the extension.
    pub(super) fn number(&self) -> Option<u8> {
        self.told.as_ref()?.metadata
    }

    /// Bytes of the metadata, as it says.
    pub(super) fn size(&self) -> Option<u32> {
        self.told.as_ref().filter(|told| told.metadata.is_some())?.metadata_size
    }

    /// Takes a part from what it was asked for; false if it was not.
    pub(super) fn take_back(&mut self, part: u32) -> bool {
        let at = self.asked.iter().position(|(asked, _)| *asked == part);
        at.map(|n| self.asked.swap_remove(n)).is_some()
    }
}

impl Contact {
    fn new(address: SocketAddr, direction: Direction, now: Instant) -> Contact {
        let stage = match direction {
            Direction::Outgoing => Stage::Dialing,
            Direction::Incoming => Stage::Greeting,
        };
        Contact {
            address,
            direction,
            speaks: Speaks::default(),
            stage,
            since: now,
            heard: now,
            said: now,
            encrypted: false,
            greeted: false,
        }
    }

    /// The talk, if the connection is open.
    pub(super) fn talk(&self) -> Option<&Talk> {
        match &self.stage {
            Stage::Open(talk) => Some(talk),
            _ => None,
        }
    }

    /// The same, to change it.
    pub(super) fn talk_mut(&mut self) -> Option<&mut Talk> {
        match &mut self.stage {
            Stage::Open(talk) => Some(talk),
            _ => None,
        }
    }

    /// The same, to keep it.
    pub(super) fn into_talk(self) -> Option<Talk> {
        match self.stage {
            Stage::Open(talk) => Some(*talk),
            _ => None,
        }
    }
}

impl Inquiry {
    /// Adds addresses that may be peers.
    pub fn add_candidates(&mut self, addresses: &[SocketAddr], source: Source, now: Instant) {
        for address in addresses {
            self.candidates.add(*address, source, now);
        }
        self.dial(now);
    }

    /// Somebody connected to us and named our torrent. The answer is the connection's number, and
    /// a `Greet` among the actions.
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
        // A tracker that asks whether we can be reached gets its answer once the download runs.
        if !encrypted && self.config.encryption.is_required() {
            return Err(Refused::Plain);
        }
        let others = self.contacts.values().map(|contact| contact.address);
        self.config.admit(address, &self.candidates, others)?;
        if self.contacts.len() >= self.config.max_connections {
            return Err(Refused::Full);
        }
        let key = self.new_contact(address, Direction::Incoming, encrypted, now);
        self.actions.push_back(Action::Greet(key, None));
        Ok(key)
    }

    /// A connection we dialled stands.
    pub fn on_connected(&mut self, key: PeerKey, now: Instant) {
        let Some(contact) = self.contacts.get_mut(&key) else { return };
        contact.stage = Stage::Greeting;
        contact.heard = now;
        let methods = self.config.encryption.methods().filter(|_| contact.encrypted);
        self.actions.push_back(Action::Greet(key, methods));
    }

    /// A connection we dialled did not come about.
    pub fn on_connect_failed(&mut self, key: PeerKey, now: Instant) {
        if let Some(contact) = self.contacts.remove(&key) {
            self.candidates.failed(contact.address, now);
            self.dial(now);
        }
    }

    /// The first part of a handshake.
    pub fn on_hello(&mut self, key: PeerKey, hello: Hello, now: Instant) {
        let Some(contact) = self.contacts.get_mut(&key) else { return };
        contact.heard = now;
        contact.greeted = true;
        contact.speaks = hello.speaks();
        if hello.info_hash != self.info_hash {
            self.on_fault(key, PeerFault::WrongTorrent, now);
        }
    }

    /// The second part: now it can be asked, if it knows extended messages at all.
    pub fn on_peer_id(&mut self, key: PeerKey, id: PeerId, now: Instant) {
        let twin = self.talks().any(|(_, talk)| talk.id == id);
        let Some(contact) = self.contacts.get_mut(&key) else { return };
        let (address, outgoing) = (contact.address, contact.direction == Direction::Outgoing);
        contact.heard = now;
        if id == self.peer_id && outgoing {
            self.candidates.exclude(address);
        }
        if id == self.peer_id || twin || self.liars.contains(&id) {
            return self.part_from(key, now);
        }
        contact.stage = Stage::Open(Box::new(Talk::new(id, now)));
        let speaks = contact.speaks;
        if outgoing {
            self.candidates.connected(address);
        }
        if speaks.fast {
            self.say(key, Message::HaveNone, now);
        }
        if speaks.extended {
            self.tell_of_us(key, address, now);
        }
    }

    fn tell_of_us(&mut self, key: PeerKey, address: SocketAddr, now: Instant) {
        let extended = Extended {
            client: Some(CLIENT.into()),
            exchange: self.config.peer_exchange.then_some(EXCHANGE),
            metadata: Some(METADATA),
            port: Some(self.port).filter(|port| *port > 0),
            request_limit: Some(MAX_WAITING as u32),
            encrypts: self.config.encryption != Encryption::Never,
            your_ip: Some(address.ip()),
            ..Extended::default()
        };
        self.say(key, Message::Extended(Box::new(extended)), now);
    }

    /// A peer tells of itself. It may do so again, once it has the metadata.
    pub(super) fn on_extended(&mut self, key: PeerKey, told: Extended, now: Instant) {
        let before = self.talk(key).and_then(|talk| talk.size());
        if told.metadata_size.is_some_and(|size| size > MAX_METADATA) {
            return self.part_from(key, now);
        }
        let Some(talk) = self.talk(key) else { return };
        talk.told = Some(told);
        if before.is_some() && before != talk.size() {
            // It does not know what it says.
            return self.on_fault(key, PeerFault::BadLength, now);
        }
        self.ask_all(now);
    }

    /// A peer tells of others.
    pub(super) fn on_exchange(&mut self, key: PeerKey, exchange: &Exchange, now: Instant) {
        let enabled = self.config.peer_exchange;
        let is_near = self.contacts.get(&key).is_some_and(|c| is_exempt(c.address.ip()));
        let Some(talk) = self.talk(key) else { return };
        if !enabled || talk.exchanged.is_some_and(|last| now < last + EXCHANGE_PERIOD) {
            return;
        }
        talk.exchanged = Some(now);
        let addresses = exchange.added.iter().map(|other| other.address);
        let addresses = addresses.filter(|at| is_near || !is_exempt(at.ip()));
        let addresses: Vec<SocketAddr> = addresses.take(MAX_TOLD).collect();
        self.add_candidates(&addresses, Source::Peer, now);
    }

    /// A connection ended by itself.
    pub fn on_lost(&mut self, key: PeerKey, now: Instant) {
        let Some(contact) = self.contacts.remove(&key) else { return };
        if contact.direction == Direction::Outgoing {
            match contact.talk() {
                Some(_) => self.candidates.lost(contact.address, now, false),
                None => self.failed_to_greet(&contact, now),
            }
        }
        if let Some(size) = contact.talk().and_then(Talk::size) {
            if let Some(assembly) = self.assemblies.get_mut(&size) {
                assembly.give_up(key);
            }
        }
        self.dial(now);
        self.ask_all(now);
    }

    /// It ended before it was open: perhaps it does not understand how we began.
    fn failed_to_greet(&mut self, contact: &Contact, now: Instant) {
        let riddled = matches!(contact.stage, Stage::Greeting) && !contact.greeted;
        match self.config.encryption == Encryption::Allowed && riddled {
            true => self.candidates.riddled(contact.address, contact.encrypted, now),
            false => self.candidates.failed(contact.address, now),
        }
    }

    /// A peer broke the rules: its connection is closed, nothing else.
    pub fn on_fault(&mut self, key: PeerKey, _fault: PeerFault, now: Instant) {
        self.part_from(key, now);
    }

    /// Closes a connection that is of no use.
    pub(super) fn part_from(&mut self, key: PeerKey, now: Instant) {
        if self.contacts.contains_key(&key) {
            self.actions.push_back(Action::Close(key));
            self.on_lost(key, now);
        }
    }

    /// Looks for those that are silent too long.
    pub(super) fn look_through(&mut self, now: Instant) {
        for key in self.contacts.keys().copied().collect::<Vec<_>>() {
            let Some(contact) = self.contacts.get(&key) else { continue };
            let (keepalive, timeout) = (self.config.keepalive_interval, self.config.timeout);
            let (is_silent, is_late, says) = match contact.talk() {
                None => (contact.since + HANDSHAKE_TIMEOUT <= now, false, false),
                Some(talk) => {
                    let mute = talk.told.is_none() && contact.since + MUTE <= now;
                    let is_late = talk.asked.iter().any(|(_, at)| *at + PATIENCE <= now);
                    let silent = contact.heard + timeout <= now;
                    (mute || silent, is_late, contact.said + keepalive <= now)
                }
            };
            if is_silent {
                self.part_from(key, now);
            } else if is_late {
                self.on_failure(key, now);
            } else if says {
                self.say(key, Message::KeepAlive, now);
            }
        }
        self.ask_all(now);
        self.tick = (!self.contacts.is_empty()).then_some(now + TICK);
    }

    fn new_contact(
        &mut self,
        address: SocketAddr,
        direction: Direction,
        encrypted: bool,
        now: Instant,
    ) -> PeerKey {
        let key = PeerKey(self.next_key);
        self.next_key += 1;
        self.contacts.insert(key, Contact { encrypted, ..Contact::new(address, direction, now) });
        self.tick.get_or_insert(now + TICK);
        key
    }

    pub(super) fn may_dial(&self) -> bool {
        let half_open = || self.contacts.values().filter(|c| c.talk().is_none()).count();
        let limit = self.config.max_initiate.min(self.config.max_connections);
        let is_over = self.stopping || self.metadata.is_some();
        !is_over && self.contacts.len() < limit && half_open() < MAX_HALF_OPEN
    }

    /// Opens as many connections as there may be.
    pub(super) fn dial(&mut self, now: Instant) {
        while self.may_dial() {
            let Some(address) = self.candidates.next(now) else { return };
            let others = self.contacts.values().map(|contact| contact.address);
            if self.config.is_taken(address, others) {
                self.candidates.failed(address, now);
                continue;
            }
            let encrypted = self.config.encryption.is_tried(self.candidates.is_plain(address));
            let peer = self.new_contact(address, Direction::Outgoing, encrypted, now);
            self.actions.push_back(Action::Dial { peer, address });
        }
    }
}
