//! The loop of a search: events to logic, actions to io.

use super::asking::PEER_NAMES;
use super::{JoinReport, JoinSettings, Joined};
use crate::app::client::dht::Node;
use crate::app::client::engine::{Announces, DOOR_SHUT, END, MAX_REPLY};
use crate::app::client::links::{Heard, Hearing, Introduced, Reception, Who};
use crate::app::client::lsd::Lsd;
use crate::app::client::ports::Ports;
use crate::app::client::secrecy::Secrecy;
use crate::app::client::udp::Udp;
use crate::app::client::utp::Utp;
use crate::app::client::{Company, Event, Look};
use crate::io::conn::{Conn, Outcome, Staging};
use crate::io::fetch::{self, Bounds, Fetch};
use crate::io::mailbox::{JobSender, Mailbox, Post};
use crate::io::origin::Origin;
use crate::io::reactor::{self, Token};
use crate::io::reason;
use crate::logic::PeerKey;
use crate::logic::announcer::Failure;
use crate::logic::candidates::Source;
use crate::logic::clock::Clock;
use crate::logic::inquiry::{Action, Inquiry};
use crate::logic::torrent::Tracker;
use crate::proto::announce::ask;
use crate::proto::metainfo::{Metainfo, torrent_of};
use crate::proto::port_mapping::Protocol;
use crate::proto::sorted;
use crate::proto::wire::{Incoming, Pool, Speaks};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What the loop is made from.
pub(super) struct Parts {
    pub company: Company,
    pub inquiry: Inquiry,
    pub settings: JoinSettings,
    pub mail: Mailbox<Event>,
    pub post: Post<Event>,
    pub stop: Arc<AtomicBool>,
    pub reporter: JobSender<JoinReport>,
}

/// Runs the search to its end, and reports it.
pub(super) fn run(parts: Parts) {
    let reporter = parts.reporter.clone();
    let search = Search::new(parts);
    let _ = reporter.send(JoinReport::Ended(search.run()));
}

pub(super) struct Search {
    pub(super) company: Company,
    pub(super) inquiry: Inquiry,
    pub(super) settings: JoinSettings,
    mail: Mailbox<Event>,
    pub(super) post: Post<Event>,
    stop: Arc<AtomicBool>,
    reporter: JobSender<JoinReport>,
    pub(super) origin: Origin,
    fetch: Fetch,
    udp: Udp,
    secrecy: Secrecy,
    announces: Announces,
    /// Connections with something new to send.
    dirty: sorted::Set<PeerKey>,
    door_opens: Option<Instant>,
    /// The end has begun, and comes at this time at the latest.
    pub(super) ending: Option<Instant>,
    /// How many peers were reported, and when.
    told: Option<(usize, Instant)>,
    /// Nobody sends blocks here.
    pool: Pool,
    staging: Staging,
    clock: Clock,
}

impl Search {
    fn new(parts: Parts) -> Search {
        let Parts { company, inquiry, settings, mail, post, stop, reporter } = parts;
        let mut secrecy = Secrecy::new(company.seed, Instant::now());
        secrecy.admit(settings.magnet.info_hash);
        let origin = settings.door.origin();
        let bounds = Bounds { local_only: settings.config.local_only, origin: origin.clone() };
        Search {
            fetch: Fetch::within(company.budget.fetchers, bounds, post.clone()),
            udp: Udp::new(&settings.door.bind, origin.clone()),
            origin,
            secrecy,
            company,
            inquiry,
            settings,
            mail,
            post,
            stop,
            reporter,
            announces: Announces::default(),
            dirty: sorted::Set::new(),
            door_opens: None,
            ending: None,
            told: None,
            pool: Pool::new(0),
            staging: Staging::default(),
            clock: Clock::new(Instant::now()),
        }
    }

    fn run(mut self) -> Result<Option<Box<Joined>>, String> {
        let start = self.clock.at(Instant::now());
        self.ask_link(start);
        self.ask_table(start);
        self.open_streams(start);
        self.ask_neighbours(start);
        self.ask_gateway();
        let mut events = Vec::new();
        loop {
            let began = self.clock.at(Instant::now());
            self.perform(began);
            let due = self.next_deadline(began);
            self.clock.sleep(due);
            let timeout = due.map(|at| at.saturating_duration_since(began));
            if let Err(e) = self.company.reactor.turn(timeout, &mut events) {
                return Err(format!("cannot wait for sockets: {}", reason(&e)));
            }
            let now = self.clock.at(Instant::now());
            for event in &events {
                self.on_socket(*event, now);
            }
            while let Some(event) = self.mail.try_recv() {
                self.on_event(event, now);
            }
            self.on_time(now);
            self.perform(now);
            if let Some(metadata) = self.inquiry.take_metadata() {
                return self.leave(&metadata, now);
            }
            let ports = &self.company.ports;
            let at_rest = self.announces.is_empty() && ports.as_ref().is_none_or(Ports::is_at_rest);
            if self.ending.is_some_and(|at| at_rest || at <= now) {
                self.end_streams(now);
                return Ok(None);
            }
        }
    }

    /// The metadata is there: leaves all to the download.
    fn leave(self, metadata: &[u8], now: Instant) -> Result<Option<Box<Joined>>, String> {
        let bytes = torrent_of(&self.settings.magnet, metadata);
        let metainfo = match Metainfo::decode(&bytes) {
            Ok(metainfo) => metainfo,
            Err(e) => return Err(format!("what the peers gave is not a valid metafile: {e}")),
        };
        // It was hashed when it came.
        debug_assert_eq!(metainfo.info_hash, self.settings.magnet.info_hash);
        let legacy = self.inquiry.into_legacy(now);
        // Only trackers may tell of peers of a private torrent (BEP 27), and who told of whom is
        // not known any more: it begins anew.
        let legacy = Some(legacy).filter(|_| !metainfo.info.private);
        let known = legacy.iter().flat_map(|legacy| &legacy.acquaintances);
        let keys: Vec<PeerKey> = known.map(|known| known.key).collect();
        let Company {
            mut reactor,
            mut links,
            budget,
            port,
            peer_id,
            seed,
            mut dht,
            mut lsd,
            ports,
            mut utp,
            ..
        } = self.company;
        utp.iter_mut().for_each(Utp::forget_dials);
        // Its sockets may be those of the table.
        if let Some(utp) = utp.take_if(|_| metainfo.info.private) {
            utp.close(&mut reactor);
        }
        if let Some(node) = dht.take_if(|_| metainfo.info.private) {
            node.close(&mut reactor);
        }
        if let Some(lsd) = lsd.take_if(|_| metainfo.info.private) {
            lsd.close(&mut reactor);
        }
        links.keep_only(&keys, &mut reactor);
        links.accept(false, &mut reactor);
        self.udp.close(&mut reactor);
        let company =
            Company { reactor, links, budget, port, peer_id, seed, legacy, dht, lsd, ports, utp };
        Ok(Some(Box::new(Joined { metainfo, bytes, company })))
    }

    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let links = &self.company.links;
        let report = self.told.map_or(Some(now), |(peers, at)| {
            (peers != self.inquiry.peers()).then(|| at + self.settings.report_interval)
        });
        [self.inquiry.next_deadline(), links.next_deadline(now), self.udp.next_deadline()]
            .into_iter()
            .chain([self.door_opens, self.ending, report])
            .chain([self.company.dht.as_ref().map(Node::next_deadline)])
            .chain([self.company.lsd.as_ref().and_then(Lsd::next_deadline)])
            .chain([self.company.ports.as_ref().and_then(Ports::next_deadline)])
            .chain([self.company.utp.as_ref().and_then(Utp::next_deadline)])
            .flatten()
            .min()
    }

    fn on_time(&mut self, now: Instant) {
        if self.stop.load(Ordering::Relaxed) && self.ending.is_none() {
            self.announces.end(now);
            self.inquiry.stop();
            self.company.ports.iter_mut().for_each(|ports| ports.end(now));
            self.ending = Some(now + END);
        }
        self.udp.on_time(now);
        self.hear_streams(now);
        if let Some(node) = &mut self.company.dht {
            node.on_time(now);
        }
        let Company { links, reactor, lsd, ports, .. } = &mut self.company;
        lsd.iter_mut().for_each(|lsd| lsd.on_time(reactor, now));
        ports.iter_mut().for_each(|ports| ports.on_time(now));
        links.expire_strangers(now, reactor);
        self.door_opens = self.door_opens.filter(|at| *at > now);
        let has_room = links.has_room_for_strangers(now);
        links.accept(self.door_opens.is_none() && self.ending.is_none() && has_room, reactor);
        if self.inquiry.next_deadline().is_some_and(|at| at <= now) {
            self.inquiry.on_time(now);
        }
        let peers = self.inquiry.peers();
        let interval = self.settings.report_interval;
        if self.told.is_none_or(|(told, at)| told != peers && at + interval <= now) {
            self.told = Some((peers, now));
            // Whoever looks on is behind: the next number is as good.
            let _ = self.reporter.try_send(JoinReport::Peers(peers));
        }
    }

    fn on_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Fetch(done) => {
                self.announces.over(done.id);
                let result = match done.result {
                    Ok(reply) => ask::http_reply(reply.status, &reply.body).map_err(Failure::Reply),
                    Err(e) => Err(Failure::Unreachable(e.to_string())),
                };
                self.inquiry.on_announced(done.id, result, now);
            }
            Event::LookedUp(found)
                if self.company.dht.as_mut().is_some_and(|node| node.on_looked_up(&found, now)) => {
            }
            Event::LookedUp(found) if found.id >= PEER_NAMES => self.on_peer_found(found, now),
            Event::LookedUp(found) => self.udp.on_looked_up(found, now),
            Event::LookAtAll(Look::Figures) => self.told = None,
            Event::Exchanged(exchanged) => {
                let ports = &mut self.company.ports;
                ports.iter_mut().for_each(|ports| ports.on_exchanged(&exchanged, now));
            }
            // There is no disk here.
            _ => {}
        }
    }

    fn on_socket(&mut self, event: reactor::Event, now: Instant) {
        match self.company.links.who(event.token) {
            Some(Who::Listener(i)) => self.accept(i, now),
            Some(Who::Stranger) => self.hear_stranger(event.token, now),
            Some(Who::Peer(key)) => self.on_peer(key, event, now),
            None if self.on_datagrams(event, now) => {}
            None => self.udp.hear(event.token, now),
        }
    }

    fn accept(&mut self, listener: usize, now: Instant) {
        let methods = self.settings.config.encryption.methods();
        let Company { links, reactor, .. } = &mut self.company;
        if links.take_in(listener, methods, now, reactor).is_err() {
            self.door_opens = Some(now + DOOR_SHUT);
        }
    }

    fn hear_stranger(&mut self, token: Token, now: Instant) {
        let Search { secrecy, staging, pool, .. } = self;
        let Company { links, reactor, .. } = &mut self.company;
        let with = Reception { secrecy, staging, pool };
        let guest = links.hear_stranger(token, with, now, reactor);
        let Some(Introduced { hello, address, encrypted }) = guest else { return };
        let taken = match hello.info_hash == self.inquiry.info_hash() {
            true => self.inquiry.on_incoming(address, encrypted, now).ok(),
            false => None,
        };
        let Some(key) = taken else { return links.drop_stranger(token, reactor) };
        self.inquiry.on_hello(key, hello, now);
        links.promote(token, key, None);
        self.hear(key, now);
    }

    fn on_peer(&mut self, key: PeerKey, event: reactor::Event, now: Instant) {
        let Some(link) = self.company.links.peer(key) else { return };
        if link.dialing {
            link.dialing = false;
            return match link.conn.connected() {
                Ok(()) => {
                    self.inquiry.on_connected(key, now);
                    self.company.links.settle(key, &mut self.company.reactor);
                }
                Err(_) => {
                    self.close(key);
                    self.inquiry.on_connect_failed(key, now);
                }
            };
        }
        if event.readable {
            self.hear(key, now);
        }
        if event.writable {
            self.dirty.insert(key);
        }
    }

    fn hear(&mut self, key: PeerKey, now: Instant) {
        let mut hearing = Hearing::default();
        loop {
            let Some(link) = self.company.links.peer(key) else { return };
            match link.hear(&mut hearing, &mut self.pool, |_| true) {
                Heard::Got(incoming) => {
                    match incoming {
                        Incoming::Hello(hello) => self.inquiry.on_hello(key, hello, now),
                        Incoming::Id(id) => self.inquiry.on_peer_id(key, id, now),
                        Incoming::Message(message) => self.inquiry.on_message(key, message, now),
                        Incoming::Unasked(_) => {}
                    }
                    // Closing comes before anything else is heard.
                    self.drain_actions(now);
                }
                Heard::Enough => break,
                Heard::NoBuffer | Heard::Ended => return self.lose(key, now),
                Heard::Fault(fault) => {
                    self.inquiry.on_fault(key, fault, now);
                    break;
                }
            }
        }
        self.company.links.settle(key, &mut self.company.reactor);
    }

    /// The router has let peers in: they reach us at the port that it took.
    fn take_mappings(&mut self, now: Instant) {
        loop {
            let Company { ports, reactor, dht, .. } = &mut self.company;
            let mapping = ports.as_mut().and_then(|ports| ports.work(reactor, &self.post, now));
            let Some(mapping) = mapping else { return };
            if mapping.protocol == Protocol::Tcp {
                self.inquiry.be_reached_at(mapping.external);
                dht.iter_mut().for_each(|node| node.be_reached_at(mapping.external));
            }
        }
    }

    /// Does all that is to be done, and sends all that is to be sent.
    fn perform(&mut self, now: Instant) {
        self.take_mappings(now);
        loop {
            self.drain_actions(now);
            let reactor = &mut self.company.reactor;
            while let Some((number, result)) = self.udp.work(reactor, &self.post, now) {
                self.announces.over(number);
                self.inquiry.on_announced(number, result, now);
            }
            while let Some((_, peers)) =
                self.company.dht.as_mut().and_then(|node| node.work(&self.post, now))
            {
                self.inquiry.add_candidates(&peers, Source::Peer, now);
            }
            while let Some((_, peer)) = self.company.lsd.as_mut().and_then(Lsd::work) {
                self.inquiry.add_candidates(&[peer], Source::Tracker, now);
            }
            self.drain_actions(now);
            let Some(key) = self.dirty.pop_first() else { return self.send_streams(now) };
            self.flush(key, now);
        }
    }

    fn drain_actions(&mut self, now: Instant) {
        while let Some(action) = self.inquiry.next_action() {
            match action {
                Action::Dial { peer, address } => self.dial(peer, address, now),
                Action::Greet(key, methods) => {
                    let dht = self.settings.config.hash_table;
                    let speaks = Speaks { dht, ..Speaks::OURS };
                    let ours = (self.settings.magnet.info_hash, self.company.peer_id, speaks);
                    if let Some(link) = self.company.links.peer(key) {
                        self.secrecy.greet(&mut link.conn, methods, ours);
                        self.dirty.insert(key);
                    }
                }
                Action::Send(key, message) => self.queue(key, |conn| conn.push(&message)),
                Action::Close(key) => self.close(key),
                Action::Announce { number, to, last } => self.announce(number, to, last, now),
                Action::Report(text) => self.notice(text),
            }
        }
    }

    pub(super) fn dial_by_tcp(&mut self, key: PeerKey, address: SocketAddr, now: Instant) {
        match Conn::dial(address, &self.origin) {
            Ok(conn) => self.company.links.add_dialed(key, conn, None, &mut self.company.reactor),
            Err(_) => self.inquiry.on_connect_failed(key, now),
        }
    }

    fn queue(&mut self, key: PeerKey, push: impl FnOnce(&mut Conn)) {
        if let Some(link) = self.company.links.peer(key) {
            push(&mut link.conn);
            self.dirty.insert(key);
        }
    }

    fn announce(&mut self, number: u64, to: Tracker, last: bool, now: Instant) {
        let timeout = if last { END } else { self.settings.http_timeout };
        self.announces.sent(number, now);
        match to {
            Tracker::Udp(url, request) => self.udp.announce(number, (&url, *request), timeout, now),
            Tracker::Http(url) => {
                let job = fetch::Job { id: number, url, limit: MAX_REPLY, timeout };
                if self.fetch.try_send(job).is_err() {
                    self.announces.over(number);
                    let failure = Failure::Unreachable("too many announces wait".into());
                    self.inquiry.on_announced(number, Err(failure), now);
                }
            }
        }
    }

    fn flush(&mut self, key: PeerKey, now: Instant) {
        let Some(link) = self.company.links.peer(key).filter(|link| !link.dialing) else { return };
        if link.conn.flush(&mut self.staging, &mut Outcome::default()).is_err() {
            return self.lose(key, now);
        }
        self.company.links.settle(key, &mut self.company.reactor);
    }

    fn close(&mut self, key: PeerKey) {
        self.company.utp.iter_mut().for_each(|utp| utp.forget(key));
        self.company.links.close(key, &mut self.pool, &mut self.company.reactor);
    }

    fn lose(&mut self, key: PeerKey, now: Instant) {
        self.close(key);
        self.inquiry.on_lost(key, now);
    }

    /// Lines that nobody reads get lost.
    pub(super) fn notice(&self, text: String) {
        let _ = self.reporter.try_send(JoinReport::Notice(text));
    }
}
