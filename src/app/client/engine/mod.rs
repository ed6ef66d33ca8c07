//! The loop of a session: events to logic, actions to io.
//!
//! One thread and one reactor for all torrents. What they share is in [`Hub`], what is each one's
//! own in [`Download`]; [`Work`] is one of them with the hub, and all that happens to a torrent is
//! done there. In a turn only those are looked at to which something happened, or whose time has
//! come.
//!
//! The rooms: here the loop itself; `hub` and `download`; `sockets` (what peers
//! say), `actions` (what the logic wants done), `report` (what users get to know), `saving` (what
//! is remembered for the next time), `finish` (what happens when it is done), `ending` (how it ends in time),
//! `trouble` (what the machine refuses), `doubt` (files that somebody else may have changed),
//! `wishes` (what users wish meanwhile), `recheck` (what is on disk, looked at again
//! at the user's wish), `web` (web seeds), `errands` (what takes its
//! time: checks of data, claims of space).

mod actions;
mod doubt;
mod download;
mod ending;
mod errands;
mod finish;
mod hub;
mod recheck;
mod report;
mod room;
mod saving;
mod sockets;
mod streams;
mod trouble;
mod web;
mod wishes;

use super::company::Company;
use super::lsd::Lsd;
use super::{Event, Report, SessionSettings, Told, TorrentId};
use crate::io::disk::Done;
use crate::io::fetch;
use crate::io::mailbox::{JobSender, Mailbox, Post};
use crate::io::reason;
use crate::logic::announcer::MAX_PENDING;
use crate::logic::candidates::Source;
use crate::logic::clock::Clock;
use crate::logic::timers::Timers;
use crate::logic::torrent::Torrent;
use crate::proto::port_mapping::{Mapping, Protocol};
use crate::proto::sorted;
use download::{Download, Work};
use ending::Ending;
pub use ending::{Announces, END};
pub(super) use errands::{Errant, Kind};
use hub::Hub;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Of blocks longer than usual there are fewer buffers, but no fewer than this.
const MIN_BLOCKS: usize = 32;

/// Threads for announces: two each for those of one torrent that may be under way, so that with many
/// torrents some are left when others wait for trackers that hang.
pub(super) const FETCH_THREADS: usize = 2 * MAX_PENDING;

/// What is fetched by a number with this bit is no announce, but the counts of a swarm.
const SCRAPE: u64 = 1 << 63;

/// An answer to an announce is no longer than this, in bytes.
pub(super) const MAX_REPLY: usize = 1024 * 1024;

/// When the system has no descriptor for another connection, the door stays shut so long.
pub(super) const DOOR_SHUT: Duration = Duration::from_secs(1);

/// When it has none for a file, so long is waited for one.
const DESCRIPTORS_SHORT: Duration = Duration::from_millis(100);

/// Messages of a torrent for the user that wait, and those of all that have ended; the oldest give
/// way.
const MAX_NOTICES: usize = 256;

/// What the loop is made from.
pub(super) struct Parts {
    pub company: Company,
    pub mail: Mailbox<Event>,
    pub post: Post<Event>,
    pub reporter: JobSender<Told>,
    pub stop: Arc<AtomicBool>,
    pub settings: SessionSettings,
}

/// Runs the session to its end, and reports it.
pub(super) fn run(parts: Parts) {
    let workers = match Hub::start_workers(&parts.settings, &parts.post) {
        Ok(workers) => workers,
        Err(e) => {
            let why = format!("cannot start a thread: {}", reason(&e));
            let _ = parts.reporter.send((None, Report::Ended(Err(why))));
            return;
        }
    };
    let mut engine = Engine::new(parts, workers, Instant::now());
    let outcome = engine.run();
    let (disk, reports, notices) = engine.hub.close();
    // What is still queued is reading for nobody.
    disk.end(ending::WORKERS);
    for told in notices.into_iter().chain([(None, Report::Ended(outcome))]) {
        if !reports.send(told) {
            return;
        }
    }
}

/// How far the files have the room they are to have before peers come.
#[derive(PartialEq)]
enum Room {
    /// It is to be claimed once it is known what is on disk.
    Wanted,
    /// So much of it is claimed, 0 to 1.
    Waited(f64),
    /// They have it, or need none.
    Claimed,
}

enum Stage {
    Checking { done: u32 },
    Running(Box<Torrent>),
}

struct Engine {
    hub: Hub,
    mail: Mailbox<Event>,
    downloads: sorted::Map<TorrentId, Download>,
    /// When each of them has to be looked at.
    due: Timers<TorrentId>,
    /// Those to which something happened in this turn.
    touched: sorted::Set<TorrentId>,
    clock: Clock,
    /// The end has begun, and comes at this time at the latest.
    ending: Option<Instant>,
    /// There was a torrent.
    has_begun: bool,
}

impl Engine {
    fn new(parts: Parts, workers: hub::Workers, now: Instant) -> Engine {
        let (hub, mail) = Hub::new(parts, workers, now);
        Engine {
            hub,
            mail,
            downloads: sorted::Map::new(),
            due: Timers::new(),
            touched: sorted::Set::new(),
            clock: Clock::new(now),
            ending: None,
            has_begun: false,
        }
    }

    fn run(&mut self) -> Result<(), String> {
        let mut events = Vec::new();
        loop {
            let began = self.clock.at(Instant::now());
            let due = self.next_deadline(began);
            self.clock.sleep(due);
            let timeout = due.map(|at| at.saturating_duration_since(began));
            if let Err(e) = self.hub.reactor.turn(timeout, &mut events) {
                return Err(format!("cannot wait for sockets: {}", reason(&e)));
            }
            let now = self.clock.at(Instant::now());
            self.hub.now = now;
            for event in &events {
                self.on_socket(*event, now);
            }
            while let Some(event) = self.mail.try_recv() {
                self.on_event(event, now);
            }
            self.on_time(now);
            self.work(now);
            if self.is_over() {
                self.end(now);
                self.work(now);
            }
            self.hub.send_streams(now);
            self.hub.send_notices();
            if self.has_ended(now) {
                self.hub.end_streams(now);
                return Ok(());
            }
        }
    }

    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        [self.due.next(), self.hub.next_deadline(now), self.ending].into_iter().flatten().min()
    }

    /// Has something happen to a torrent, if it is still there.
    fn visit(&mut self, id: TorrentId, act: impl FnOnce(&mut Work<'_>)) {
        let Some(own) = self.downloads.get_mut(&id) else { return };
        if self.touched.insert(id) {
            own.doubts.begin_turn();
        }
        own.outlet.wake();
        act(&mut Work { hub: &mut self.hub, own });
    }

    fn on_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Add(newcomer) => {
                let id = newcomer.id;
                self.has_begun = true;
                self.downloads.insert(id, Download::new(*newcomer, &self.hub, now));
                self.visit(id, |work| work.start());
            }
            Event::Remove(id) => self.visit(id, |work| work.end(None, now)),
            Event::Called(what) => self.hub.tell(None, Report::Called(what)),
            Event::LookAtAll(look) => {
                for id in self.all() {
                    self.visit(id, |work| work.show(look, now));
                }
            }
            Event::Of(id, news) => self.visit(id, |work| work.on_news(news, now)),
            Event::Disk(answer) => match answer.torrent {
                Some(number) => self.on_disk(TorrentId::of(number), answer.done, now),
                None => self.on_disk_lost(&answer.done, now),
            },
            Event::Fetch(done) => self.on_fetched(done, now),
            Event::Streamed(streamed) => {
                // The buffers of a torrent that has gone were written off.
                let (id, _) = TorrentId::of_tag(streamed.id());
                self.visit(id, |work| work.on_streamed(streamed, now));
            }
            Event::LookedUp(found)
                if self.hub.dht.as_mut().is_some_and(|node| node.on_looked_up(&found, now)) => {}
            Event::LookedUp(found) => self.hub.udp.on_looked_up(found, now),
            Event::Remembered => {
                if let Some(node) = &mut self.hub.dht {
                    node.on_remembered();
                }
            }
            Event::Exchanged(exchanged) => {
                if let Some(ports) = &mut self.hub.ports {
                    ports.on_exchanged(&exchanged, now);
                }
            }
            Event::Hook(done) => {
                self.visit(TorrentId::of(done.number), |work| work.on_hook(&done));
            }
            Event::Over(kind) => self.hub.errands.on_over(kind),
            Event::Stop => {}
        }
    }

    fn on_fetched(&mut self, done: fetch::Done, now: Instant) {
        let is_scrape = done.id & SCRAPE != 0;
        let (id, number) = TorrentId::of_tag(done.id & !SCRAPE);
        self.visit(id, |work| match (is_scrape, done.result) {
            (false, result) => work.on_fetched(number, result, now),
            (true, Ok(reply)) => _ = work.with_torrent(|t| t.on_scraped(&reply.body)),
            (true, Err(_)) => {}
        });
    }

    fn on_disk(&mut self, id: TorrentId, done: Done, now: Instant) {
        match done {
            Done::Written { data, .. } if !self.downloads.contains_key(&id) => {
                self.hub.give_back(data);
            }
            done => self.visit(id, |work| work.on_disk(done, now)),
        }
    }

    /// A worker of the disk has died, and with it what it was told to do.
    fn on_disk_lost(&mut self, done: &Done, now: Instant) {
        let Done::Died(thread) = done else { return };
        let why = format!("the thread '{thread}' has failed: a fault of this program");
        for id in self.all() {
            self.visit(id, |work| work.end(Some(why.clone()), now));
        }
    }

    fn all(&self) -> Vec<TorrentId> {
        self.downloads.keys().copied().collect()
    }

    fn on_time(&mut self, now: Instant) {
        if self.ending.is_none() && self.hub.stop.load(Ordering::Relaxed) {
            self.end(now);
        }
        while let Some(id) = self.due.expired(now) {
            if let Some(own) = self.downloads.get_mut(&id) {
                if self.touched.insert(id) {
                    own.doubts.begin_turn();
                }
            }
        }
        for id in self.hub.share.due(now) {
            self.visit(id, |work| _ = work.with_torrent(|t| t.on_turn(now)));
        }
        self.hub.on_time(now);
        self.hear_streams(now);
        self.resume_stalled(now);
        self.drop_dawdlers(now);
        if std::mem::take(&mut self.hub.descriptors_short) {
            self.downloads.values_mut().for_each(|own| own.windows.forget());
        }
    }

    /// Does what those want done to which something happened, and what follows from that.
    fn work(&mut self, now: Instant) {
        loop {
            while let Some((id, errand)) = self.hub.errands.next() {
                match self.downloads.contains_key(&id) {
                    true => self.visit(id, |work| work.begin(errand, now)),
                    false => self.hub.errands.on_over(errand.kind()),
                }
            }
            for id in std::mem::take(&mut self.touched) {
                self.work_on(id, now);
            }
            self.take_udp_answers(now);
            self.take_dht_finds(now);
            self.take_neighbours(now);
            self.take_mappings(now);
            if self.touched.is_empty() {
                return;
            }
        }
    }

    fn work_on(&mut self, id: TorrentId, now: Instant) {
        let Some(own) = self.downloads.get_mut(&id) else { return };
        let mut work = Work { hub: &mut self.hub, own };
        work.turn(now);
        if work.has_ended(now) {
            work.close_all(now);
            self.downloads.remove(&id);
            self.hub.share.forget(id);
            self.due.clear(id);
            return;
        }
        match own.next_deadline(now) {
            Some(at) => self.due.set(id, at),
            None => self.due.clear(id),
        }
    }

    fn take_udp_answers(&mut self, now: Instant) {
        loop {
            let Hub { udp, reactor, post, .. } = &mut self.hub;
            let Some((tag, result)) = udp.work(reactor, post, now) else { return };
            let (id, number) = TorrentId::of_tag(tag);
            self.visit(id, |work| work.on_announced(number, result, now));
        }
    }

    fn take_dht_finds(&mut self, now: Instant) {
        loop {
            let Hub { dht, post, names, .. } = &mut self.hub;
            let found = dht.as_mut().and_then(|node| node.work(post, now));
            let Some((info_hash, peers)) = found else { return };
            let Some(id) = names.get(&info_hash).copied() else { continue };
            self.visit(id, |work| {
                work.with_torrent(|t| t.add_candidates(&peers, Source::Peer, now));
            });
        }
    }

    fn take_neighbours(&mut self, now: Instant) {
        while let Some((info_hash, peer)) = self.hub.lsd.as_mut().and_then(Lsd::work) {
            let Some(id) = self.hub.names.get(&info_hash).copied() else { continue };
            self.visit(id, |work| {
                work.with_torrent(|t| t.add_candidates(&[peer], Source::Tracker, now));
            });
        }
    }

    fn take_mappings(&mut self, now: Instant) {
        loop {
            let Hub { ports, reactor, post, .. } = &mut self.hub;
            let mapping = ports.as_mut().and_then(|ports| ports.work(reactor, post, now));
            let Some(Mapping { external, internal, protocol, .. }) = mapping else { return };
            if protocol != Protocol::Tcp {
                continue;
            }
            if external != internal {
                let text = format!("the router took port {external} for our port {internal}");
                self.hub.tell(None, Report::Remark(text));
            }
            self.hub.dht.iter_mut().for_each(|node| node.be_reached_at(external));
            for own in self.downloads.values_mut() {
                if let Stage::Running(torrent) = &mut own.stage {
                    torrent.be_reached_at(external);
                }
            }
        }
    }

    /// Whether the last torrent ends, and the session was to end with it: what the session has to
    /// do for its end is done meanwhile.
    fn is_over(&self) -> bool {
        self.has_begun
            && self.ending.is_none()
            && self.hub.settings.ends_with_last
            && self.downloads.values().all(|own| own.ending.is_some())
    }

    /// Begins the end.
    fn end(&mut self, now: Instant) {
        self.ending = Some(self.hub.end(now));
        self.hub.stop.store(true, Ordering::Relaxed);
        for id in self.all() {
            self.visit(id, |work| work.end(None, now));
        }
    }

    /// Whether nothing is left to be waited for, or there is no more time.
    fn has_ended(&self, now: Instant) -> bool {
        let Some(at) = self.ending else { return false };
        self.downloads.is_empty() && (self.hub.is_at_rest() || at <= now)
    }
}
