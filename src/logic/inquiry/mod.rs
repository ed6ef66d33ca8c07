//! Asks peers for the metadata of a torrent of which nothing but the hash is known (BEP 9).
//!
//! Trackers, peer exchange and the magnet link tell of peers; each that knows the extension and
//! says how long the metadata is, is asked for parts of it. What it says is believed only as far
//! as the whole has the right hash: who lied is banned, who is silent or refuses is left out for
//! a while, and the parts are asked of the others.
//!
//! Events go in by `on_*` with the time they happened; what is to be done comes out of
//! [`Inquiry::next_action`], and when to come back without an event out of
//! [`Inquiry::next_deadline`]. Called by `app::client`, which goes on with the same connections
//! once [`Inquiry::take_metadata`] gives it.
//!
//! The rooms: `contact` (from dialling to the end of a connection), `assembly` (the parts that
//! came), here the asking, and the trackers.

mod assembly;
mod contact;

#[cfg(test)]
mod tests;

use super::PeerKey;
use super::announcer::{Announcer, Ask, Failure, Supply, keep_local};
use super::candidates::{Candidates, Source};
use super::rng::Rng;
use super::torrent::{Acquaintance, Config, Tracker};
use crate::proto::announce::Request;
use crate::proto::announce::ask::Reply;
use crate::proto::ids::{InfoHash, PeerId};
use crate::proto::mse::Methods;
use crate::proto::sorted;
use crate::proto::wire::{MAX_METADATA, METADATA_PART, Message, Metadata, MetadataWord, PeerFault};
use assembly::{Assembly, Outcome};
use contact::{Contact, Talk};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// So many parts are asked of a peer at a time.
const MAX_ASKED: usize = 4;

/// A part that has not come for so long is asked of another peer too.
const HEDGE: Duration = Duration::from_secs(2);

/// Nor for so long: it is not expected any more.
const PATIENCE: Duration = Duration::from_secs(10);

/// A peer that is silent or refuses is not asked for so long.
const REST: Duration = Duration::from_secs(20);

/// Who was silent or refused so often is parted from.
const MAX_FAILURES: u32 = 3;

/// Bytes of parts that are held, for all the lengths that peers claim. If it is more, what is
/// longest is given up: those who claim it cost us the most and are the least likely to be right.
const MAX_HELD: usize = 2 * MAX_METADATA as usize;

/// While there are connections they are looked through so often.
const TICK: Duration = Duration::from_secs(1);

/// What an inquiry is made from.
#[derive(Debug)]
pub struct Setup {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Our name.
    pub peer_id: PeerId,
    /// Tiers of trackers.
    pub trackers: Vec<Vec<String>>,
    /// The port we listen on.
    pub port: u16,
    /// The seed of all random choices.
    pub seed: u64,
}

/// What is to be done, in this order.
#[derive(Debug)]
pub enum Action {
    /// Open a connection; answer by `on_connected` or `on_connect_failed`.
    Dial {
        /// The number it goes by from now on.
        peer: PeerKey,
        /// Where to.
        address: SocketAddr,
    },
    /// Send our handshake; where methods are given, on a stream that begins encrypted.
    Greet(PeerKey, Option<Methods>),
    /// Send a message.
    Send(PeerKey, Message),
    /// Close a connection. No answer is expected.
    Close(PeerKey),
    /// Ask a tracker; answer by `on_announced`.
    Announce {
        /// To be given back with the answer.
        number: u64,
        /// Whom, and what to say.
        to: Tracker,
        /// Whether it is our last word.
        last: bool,
    },
    /// Something a user may want to read.
    Report(String),
}

/// What an inquiry leaves to the download.
#[derive(Debug)]
pub struct Legacy {
    /// Those who are connected.
    pub acquaintances: Vec<Acquaintance>,
    /// All addresses that are known, theirs included.
    pub addresses: Vec<SocketAddr>,
    /// The trackers, some of which know of us.
    pub announcer: Announcer,
    /// What we are known by to them.
    pub key: String,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Inquiry {
    info_hash: InfoHash,
    peer_id: PeerId,
    port: u16,
    config: Config,
    candidates: Candidates,
    announcer: Announcer,
    key: String,
    contacts: sorted::Map<PeerKey, Contact>,
    next_key: u64,
    /// Those who lied, where an address may be that of many.
    liars: sorted::Set<PeerId>,
    /// By the length that peers claim; only of lengths that somebody claims.
    assemblies: sorted::Map<u32, Assembly>,
    metadata: Option<Vec<u8>>,
    /// When to look through the connections next.
    tick: Option<Instant>,
    stopping: bool,
    actions: VecDeque<Action>,
}

impl Inquiry {
    /// An inquiry that starts now. Of `config` it takes what is about connections and trackers.
    pub fn new(setup: Setup, config: Config, now: Instant) -> Inquiry {
        let mut rng = Rng::new(setup.seed);
        let interval = config.rerequest_interval;
        let (trackers, outside) = match config.local_only {
            true => keep_local(&setup.trackers),
            false => (setup.trackers, Vec::new()),
        };
        let announcer = Announcer::new(&trackers, interval, now, Rng::new(rng.next_u64()));
        let key = format!("{:08x}", rng.next_u64() as u32);
        let candidates = Candidates::new(Rng::new(rng.next_u64())).within(config.local_only);
        let mut inquiry = Inquiry {
            info_hash: setup.info_hash,
            peer_id: setup.peer_id,
            port: setup.port,
            config,
            key,
            candidates,
            announcer,
            contacts: sorted::Map::new(),
            next_key: 0,
            liars: sorted::Set::new(),
            assemblies: sorted::Map::new(),
            metadata: None,
            tick: None,
            stopping: false,
            actions: VecDeque::new(),
        };
        for notice in inquiry.announcer.take_notices().into_iter().chain(outside) {
            inquiry.actions.push_back(Action::Report(notice.to_string()));
        }
        inquiry.on_time(now);
        inquiry
    }

    /// The torrent's name.
    pub fn info_hash(&self) -> InfoHash {
        self.info_hash
    }

    /// How many peers are connected.
    pub fn peers(&self) -> usize {
        self.talks().count()
    }

    /// What is to be done next.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`on_time`](Self::on_time) if nothing happens before.
    pub fn next_deadline(&self) -> Option<Instant> {
        let dial = if self.may_dial() { self.candidates.next_deadline() } else { None };
        [self.tick, self.announcer.next_deadline(), dial].into_iter().flatten().min()
    }

    /// Does what is due by now.
    pub fn on_time(&mut self, now: Instant) {
        if self.tick.take_if(|at| *at <= now).is_some() {
            self.look_through(now);
        }
        self.dial(now);
        self.announce_if_due(now);
    }

    /// The bytes of `info`, once they are there: exactly those that have the hash.
    pub fn take_metadata(&mut self) -> Option<Vec<u8>> {
        self.metadata.take()
    }

    /// Ends it, with all that the download can go on with. The connections stay open.
    pub fn into_legacy(mut self, now: Instant) -> Legacy {
        self.announcer.forget(now);
        let known = self.contacts.into_iter().filter_map(|(key, contact)| {
            let (address, direction, speaks) = (contact.address, contact.direction, contact.speaks);
            let encrypted = contact.encrypted;
            let talk = contact.into_talk()?;
            let (id, told) = (talk.id, talk.told);
            Some(Acquaintance { key, address, direction, speaks, encrypted, id, told })
        });
        Legacy {
            acquaintances: known.collect(),
            addresses: self.candidates.addresses().collect(),
            announcer: self.announcer,
            key: self.key,
        }
    }

    /// Ends it for good: trackers are told, every connection is closed.
    pub fn stop(&mut self) {
        self.stopping = true;
        for key in std::mem::take(&mut self.contacts).into_keys() {
            self.actions.push_back(Action::Close(key));
        }
        for ask in self.announcer.stop() {
            self.announce(ask, true);
        }
    }

    /// A message of an open connection.
    pub fn on_message(&mut self, key: PeerKey, message: Message, now: Instant) {
        let Some(contact) = self.contacts.get_mut(&key) else { return };
        contact.heard = now;
        let Some(talk) = contact.talk_mut() else { return };
        if !talk.chatter.add(now) {
            return self.on_fault(key, PeerFault::Noise, now);
        }
        match message {
            Message::Extended(told) => self.on_extended(key, *told, now),
            Message::Exchange(exchange) => self.on_exchange(key, &exchange, now),
            Message::Metadata(message) => self.on_word(key, *message, now),
            // The others say nothing to who does not know how many pieces there are.
            _ => {}
        }
    }

    fn on_word(&mut self, key: PeerKey, message: Metadata, now: Instant) {
        let part = message.part;
        match message.word {
            MetadataWord::Request => {
                let Some(number) = self.talk(key).and_then(|talk| talk.number()) else { return };
                let reject = Metadata { number, part, word: MetadataWord::Reject };
                self.say(key, Message::Metadata(Box::new(reject)), now);
            }
            MetadataWord::Reject => {
                if self.talk(key).is_some_and(|talk| talk.take_back(part)) {
                    self.on_failure(key, now);
                }
            }
            MetadataWord::Data { total, bytes } => self.on_part(key, part, (total, &bytes), now),
        }
        self.ask_all(now);
    }

    fn on_part(&mut self, key: PeerKey, part: u32, (total, bytes): (u32, &[u8]), now: Instant) {
        let info_hash = self.info_hash;
        let Some(talk) = self.talk(key) else { return };
        // It may come too late, or nobody asked.
        if !talk.take_back(part) {
            return;
        }
        let outcome = match talk.size() {
            Some(size) if size == total => {
                let assembly = self.assemblies.get_mut(&size);
                assembly.and_then(|a| a.add((key, part), bytes, info_hash))
            }
            _ => None,
        };
        match outcome {
            None => self.on_fault(key, PeerFault::BadLength, now),
            Some(Outcome::More) => self.bound_held(now),
            Some(Outcome::Whole(whole)) => self.metadata = Some(whole),
            Some(Outcome::Lied(liar)) => self.blame(liar, now),
            Some(Outcome::Mixed) => {
                let of_size = |talk: &&mut Talk| talk.size() == Some(total);
                let talks = self.contacts.values_mut().filter_map(Contact::talk_mut);
                talks.filter(of_size).for_each(|talk| talk.asked.clear());
            }
        }
    }

    /// The part that a peer was asked for is not to be had of it now.
    fn on_failure(&mut self, key: PeerKey, now: Instant) {
        let Some(talk) = self.talk(key) else { return };
        talk.asked.clear();
        talk.rests_until = Some(now + REST);
        talk.failures += 1;
        let (size, failures) = (talk.size(), talk.failures);
        if let Some(assembly) = size.and_then(|size| self.assemblies.get_mut(&size)) {
            assembly.give_up(key);
        }
        if failures >= MAX_FAILURES {
            self.part_from(key, now);
        }
    }

    /// What a peer gave was wrong: it is not to come back.
    fn blame(&mut self, key: PeerKey, now: Instant) {
        let Some(contact) = self.contacts.get(&key) else { return };
        let address = contact.address;
        let id = contact.talk().map(|talk| talk.id);
        self.actions.push_back(Action::Report(format!("{address} sent wrong metadata")));
        if super::torrent::is_exempt(address.ip()) {
            self.candidates.exclude(address);
            self.liars.extend(id);
        } else {
            self.candidates.ban(address.ip());
        }
        self.part_from(key, now);
    }

    /// The least likely is given up when too much is held.
    fn bound_held(&mut self, now: Instant) {
        while self.assemblies.values().map(Assembly::held).sum::<usize>() > MAX_HELD {
            let Some((size, _)) = self.assemblies.pop_last() else { return };
            let claims = |talk: &Talk| talk.size() == Some(size);
            let keys: Vec<PeerKey> =
                self.talks().filter(|(_, talk)| claims(talk)).map(|(key, _)| key).collect();
            keys.into_iter().for_each(|key| self.part_from(key, now));
        }
    }

    /// Asks everybody for what there is to ask of him.
    fn ask_all(&mut self, now: Instant) {
        if self.metadata.is_some() || self.stopping {
            return;
        }
        let claimed: sorted::Set<u32> = self.talks().filter_map(|(_, talk)| talk.size()).collect();
        self.assemblies.retain(|size, _| claimed.contains(size));
        let mut keys: Vec<(u32, PeerKey)> =
            self.talks().map(|(key, talk)| (talk.failures, key)).collect();
        keys.sort_unstable();
        keys.into_iter().for_each(|(_, key)| self.ask(key, now));
    }

    fn ask(&mut self, key: PeerKey, now: Instant) {
        let Some(talk) = self.contacts.get(&key).and_then(Contact::talk) else { return };
        let (Some(number), Some(size)) = (talk.number(), talk.size()) else { return };
        if talk.rests_until.is_some_and(|at| at > now) || talk.asked.len() >= MAX_ASKED {
            return;
        }
        let assembly = self.assemblies.entry(size).or_insert_with(|| Assembly::new(size));
        if !assembly.may_ask(key) {
            return;
        }
        let own: Vec<u32> = talk.asked.iter().map(|(part, _)| *part).collect();
        let same = self.contacts.values().filter_map(Contact::talk);
        let same = same.filter(|talk| talk.size() == Some(size));
        let fresh: sorted::Set<u32> = same
            .flat_map(|talk| talk.asked.iter())
            .filter(|(_, at)| *at + HEDGE > now)
            .map(|(part, _)| *part)
            .collect();
        let open = assembly.missing().filter(|part| !fresh.contains(part) && !own.contains(part));
        let parts: Vec<u32> = open.take(MAX_ASKED - own.len()).collect();
        for part in parts {
            if let Some(talk) = self.talk(key) {
                talk.asked.push((part, now));
            }
            let ask = Metadata { number, part, word: MetadataWord::Request };
            self.say(key, Message::Metadata(Box::new(ask)), now);
        }
    }

    fn talks(&self) -> impl Iterator<Item = (PeerKey, &Talk)> {
        self.contacts.iter().filter_map(|(key, contact)| Some((*key, contact.talk()?)))
    }

    fn talk(&mut self, key: PeerKey) -> Option<&mut Talk> {
        self.contacts.get_mut(&key)?.talk_mut()
    }

    fn say(&mut self, key: PeerKey, message: Message, now: Instant) {
        if let Some(contact) = self.contacts.get_mut(&key) {
            contact.said = now;
            self.actions.push_back(Action::Send(key, message));
        }
    }

    fn announce_if_due(&mut self, now: Instant) {
        if self.stopping {
            return;
        }
        let idle = self.candidates.next_deadline().is_none_or(|at| at > now);
        let supply = match self.contacts.len() < self.config.min_peers && idle {
            true => Supply::Short,
            false => Supply::Enough,
        };
        if let Some(ask) = self.announcer.due(now, supply) {
            self.announce(ask, false);
        }
    }

    fn announce(&mut self, ask: Ask, last: bool) {
        let mut request = Request {
            // Who lacks nothing is told of no seeds, and nobody knows how much we lack.
            left: METADATA_PART as u64,
            event: ask.event,
            numwant: ask.numwant,
            key: self.key.clone(),
            tracker_id: ask.tracker_id,
            ip: self.config.ip.clone(),
            ..Request::new(self.info_hash, self.peer_id, self.port)
        };
        self.config.encryption.tell(&mut request);
        let to = Tracker::told(ask.tracker, request);
        self.actions.push_back(Action::Announce { number: ask.number, to, last });
    }

    /// From now on others reach us at this port, not at the one that we listen on.
    pub fn be_reached_at(&mut self, port: u16) {
        self.port = port;
    }

    /// What became of the announce `number`.
    pub fn on_announced(&mut self, number: u64, result: Result<Reply, Failure>, now: Instant) {
        let outcome = self.announcer.on_reply(now, number, result);
        if let Some(notice) = outcome.notice {
            self.actions.push_back(Action::Report(notice.to_string()));
        }
        if self.stopping {
            for ask in self.announcer.stop() {
                self.announce(ask, true);
            }
            return;
        }
        for peer in outcome.peers.iter().filter(|p| p.id != Some(self.peer_id)) {
            self.candidates.add(peer.address, Source::Tracker, now);
            if peer.requires_encryption {
                self.candidates.told_to_encrypt(peer.address);
            }
        }
        self.dial(now);
        self.announce_if_due(now);
    }
}
