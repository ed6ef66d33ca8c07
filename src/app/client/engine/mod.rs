//! The loop of a download: events to logic, actions to io.
//!
//! The rooms: here the loop itself, its beginning, and the workers' answers; `sockets` (what peers
//! say), `actions` (what the logic wants done), `report` (what users get to know), `saving` (what
//! is remembered for the next time), `finish` (what happens when it is done), `ending` (how it ends in time),
//! `trouble` (what the machine refuses), `doubt` (files that somebody else may have changed),
//! `wishes` (which files are wanted, as that changes), `recheck` (what is on disk, looked at again
//! at the user's wish), `web` (web seeds).

mod actions;
mod doubt;
mod ending;
mod finish;
mod recheck;
mod report;
mod room;
mod saving;
mod sockets;
mod streams;
mod trouble;
mod web;
mod wishes;

use super::check::{self, Check, Found};
use super::claim;
use super::dht::{self, Node};
use super::links::Links;
use super::lsd::Lsd;
use super::ports::Ports;
use super::ready::{Warmth, Windows};
use super::secrecy::Secrecy;
use super::state::{Place, Saver};
use super::udp::Udp;
use super::utp::Utp;
use super::{Event, Report, Settings};
use crate::io::conn::{Outcome, Staging};
use crate::io::disk::{self, Disk, DiskTorrent};
use crate::io::fetch::{self, Bounds, Fetch};
use crate::io::mailbox::{JobSender, Mailbox, Post};
use crate::io::origin::Origin;
use crate::io::reactor::Reactor;
use crate::io::reason;
use crate::io::sole::Sole;
use crate::io::storage::Storage;
use crate::io::sys;
use crate::logic::PeerKey;
use crate::logic::announcer::{Failure, MAX_PENDING};
use crate::logic::candidates::Source;
use crate::logic::clock::Clock;
use crate::logic::inquiry::Legacy;
use crate::logic::torrent::{Setup, Torrent};
use crate::proto::announce::ask;
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::{BLOCK_LENGTH, BlockRef, Geometry};
use crate::proto::ids::PeerId;
use crate::proto::wire::Pool;
use doubt::Doubts;
pub(super) use ending::END;
use ending::Ending;
use finish::Finish;
use recheck::Recheck;
use report::Outlet;
use saving::Saving;
use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use trouble::Trouble;
use web::Web;
use wishes::Wishes;

/// Of blocks longer than usual there are fewer buffers, but no fewer than this.
const MIN_BLOCKS: usize = 32;

/// Threads for announces: one each for those that may be under way, and for our last word to one
/// that answers.
pub(super) const FETCH_THREADS: usize = MAX_PENDING + 1;

/// What is fetched by this number is no announce, but the counts of a swarm.
const SCRAPE: u64 = u64::MAX;

/// An answer to an announce is no longer than this, in bytes.
pub(super) const MAX_REPLY: usize = 1024 * 1024;

/// When the system has no descriptor for another connection, the door stays shut so long.
pub(super) const DOOR_SHUT: Duration = Duration::from_secs(1);

/// When it has none for a file that is to be sent, so long is waited for one.
const DESCRIPTORS_SHORT: Duration = Duration::from_millis(100);

/// What the loop is made from.
pub(super) struct Parts {
    pub reactor: Reactor,
    pub mail: Mailbox<Event>,
    pub post: Post<Event>,
    pub reporter: JobSender<Report>,
    pub stop: Arc<AtomicBool>,
    pub links: Links,
    pub legacy: Option<Legacy>,
    pub dht: Option<Node>,
    pub lsd: Option<Lsd>,
    pub storage: Arc<Storage>,
    pub place: Option<Arc<Place>>,
    pub geometry: Arc<Geometry>,
    pub peer_id: PeerId,
    pub seed: u64,
    pub target: PathBuf,
    pub port: u16,
    pub settings: Settings,
}

/// Runs the download to its end, and reports it.
pub(super) fn run(parts: Parts) {
    let mut engine = match Engine::new(parts) {
        Ok(engine) => engine,
        Err((reporter, error)) => {
            let _ = reporter.send(Report::Ended(Err(error)));
            return;
        }
    };
    let outcome = engine.run();
    let Engine { disk, outlet, .. } = engine;
    // What is still queued is reading for nobody.
    disk.end(ending::WORKERS);
    outlet.close(outcome);
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
    reactor: Reactor,
    mail: Mailbox<Event>,
    post: Post<Event>,
    outlet: Outlet,
    stop: Arc<AtomicBool>,
    geometry: Arc<Geometry>,
    peer_id: PeerId,
    seed: u64,
    target: PathBuf,
    settings: Settings,
    port: u16,
    origin: Origin,
    links: Links,
    /// What there was before the torrent's measures were known.
    legacy: Option<Legacy>,
    secrecy: Secrecy,
    windows: Windows,
    /// Ranges to be made ready that the disk's queue had no room for.
    unready: VecDeque<BlockRef>,
    /// When to try them again, after there was no descriptor for a file of theirs.
    retry_unready: Option<Instant>,
    pool: Pool,
    disk: Disk,
    fetch: Fetch,
    udp: Udp,
    dht: Option<Node>,
    lsd: Option<Lsd>,
    ports: Option<Ports>,
    utp: Option<Utp>,
    web: Web,
    /// When the files that were written are closed next, if ever.
    flush: Option<Instant>,
    stage: Stage,
    storage: Arc<Storage>,
    room: Room,
    /// What was found on the disk, while room is made for the rest.
    held: Option<Event>,
    saving: Saving,
    trouble: Trouble,
    doubts: Doubts,
    wishes: Wishes,
    /// While all the data is looked at again.
    recheck: Option<Recheck>,
    /// For when data has to be checked again.
    check: Check,
    /// Nobody else writes where we do.
    sole: Option<Sole>,
    /// Space is being claimed, which changes how files look.
    is_claiming: bool,
    /// Connections with something new to send.
    dirty: BTreeSet<PeerKey>,
    /// When the peers are told of the pieces that came.
    tell_at: Option<Instant>,
    staging: Staging,
    flushed: Outcome,
    /// Block buffers were given back since somebody last looked for one.
    buffers_came: bool,
    /// No connections are taken before this time.
    door_opens: Option<Instant>,
    /// Writes and checks that the disk has not answered.
    unwritten: usize,
    /// Announces under way. The end waits for them too: an answer may show that one more tracker
    /// knows of us, and must hear our last word.
    announces: BTreeSet<u64>,
    finish: Finish,
    ending: Option<Ending>,
    clock: Clock,
}

impl Engine {
    fn new(parts: Parts) -> Result<Engine, (JobSender<Report>, String)> {
        let Parts { reactor, mail, post, reporter, stop, links, legacy, dht, lsd, .. } = parts;
        let Parts { storage, geometry, peer_id, seed, target, port, settings, place, .. } = parts;
        let hashes = Arc::clone(&settings.metainfo.info.pieces);
        let torrent = DiskTorrent {
            storage: Arc::clone(&storage),
            geometry: Arc::clone(&geometry),
            hashes: Arc::clone(&hashes),
        };
        let check = Check {
            storage: Arc::clone(&storage),
            geometry: Arc::clone(&geometry),
            hashes,
            place: place.clone().zip(settings.keep.clone()),
            trust: !settings.check_hashes,
            name: check::name(settings.metainfo.info_hash, &target),
            stop: Arc::clone(&stop),
        };
        let saver = || Saver::start(place, Arc::clone(&storage), post.clone());
        let started = Disk::start(torrent, post.clone())
            .and_then(|disk| Ok((disk, saver()?)))
            .and_then(|workers| check::start(check.clone(), post.clone()).map(|()| workers));
        let (disk, saver) = match started {
            Ok(workers) => workers,
            Err(e) => return Err((reporter, format!("cannot start a thread: {}", reason(&e)))),
        };
        let origin = settings.door().origin();
        let bounds = Bounds { local_only: settings.config.local_only, origin: origin.clone() };
        let fetch = Fetch::within(FETCH_THREADS, bounds, post.clone());
        let udp = Udp::new(&settings.bind, origin.clone());
        let first = settings.map_ports.filter(|_| !settings.config.local_only);
        let ports = first.and_then(|first| Ports::new(&settings.bind, origin.clone(), port, first));
        // All others can then be had beside them within the user's limit.
        let allowed = match storage.options().max_files_open {
            0 => usize::MAX,
            most => most / 2,
        };
        let files = usize::try_from(sys::descriptor_limit() / 8).unwrap_or(usize::MAX);
        let files = files.min(allowed);
        let now = Instant::now();
        Ok(Engine {
            origin,
            links,
            legacy,
            secrecy: Secrecy::new(settings.metainfo.info_hash, seed, now),
            dht,
            lsd,
            ports,
            windows: Windows::new(Arc::clone(&geometry), files),
            unready: VecDeque::new(),
            retry_unready: None,
            pool: pool(storage.options().write_buffer, geometry.block_length()),
            flush: settings.disk.flush_every.map(|every| now + every),
            stage: Stage::Checking { done: 0 },
            room: if claim::comes_first(&storage) { Room::Wanted } else { Room::Claimed },
            held: None,
            storage,
            post,
            saving: Saving::new(saver, Arc::clone(&geometry)),
            trouble: Trouble::default(),
            doubts: Doubts::new(Bitfield::new(geometry.piece_count())),
            wishes: Wishes::default(),
            recheck: None,
            check,
            sole: None,
            is_claiming: false,
            dirty: BTreeSet::new(),
            tell_at: None,
            staging: Staging::default(),
            flushed: Outcome::default(),
            buffers_came: false,
            door_opens: None,
            unwritten: 0,
            announces: BTreeSet::new(),
            finish: Finish::default(),
            ending: None,
            clock: Clock::new(now),
            outlet: Outlet::new(reporter, settings.report_interval),
            reactor,
            mail,
            stop,
            geometry,
            peer_id,
            seed,
            target,
            settings,
            port,
            disk,
            fetch,
            udp,
            utp: None,
            web: Web::default(),
        })
    }

    fn run(&mut self) -> Result<(), String> {
        let mut events = Vec::new();
        loop {
            let began = self.clock.at(Instant::now());
            let due = self.next_deadline(began);
            self.clock.sleep(due);
            let timeout = due.map(|at| at.saturating_duration_since(began));
            if let Err(e) = self.reactor.turn(timeout, &mut events) {
                return Err(format!("cannot wait for sockets: {}", reason(&e)));
            }
            let now = self.clock.at(Instant::now());
            self.doubts.begin_turn();
            for event in &events {
                self.outlet.wake();
                self.on_socket(*event, now);
            }
            while let Some(event) = self.mail.try_recv() {
                self.outlet.wake();
                self.on_event(event, now);
            }
            self.resume_stalled(now);
            self.on_time(now);
            self.look_at_goal(now);
            self.perform(now);
            self.send_streams(now);
            self.feed_web(now);
            self.save(now);
            self.report(now);
            if self.has_ended(now) {
                self.report_figures(now);
                self.end_streams(now);
                return self.outcome();
            }
        }
    }

    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let torrent = self.torrent().and_then(Torrent::next_deadline);
        let ending = self.ending.as_ref().map(Ending::deadline);
        let (strangers, report) = (self.links.next_deadline(), self.outlet.next_deadline(now));
        let save = self.saving.next_deadline(now);
        let retry = self.trouble.next_deadline();
        let all = [torrent, ending, strangers, report, save, retry, self.door_opens, self.flush];
        all.into_iter()
            .chain([self.goal_deadline(now), self.retry_unready, self.tell_at])
            .chain([self.buffer_deadline(now), self.udp.next_deadline()])
            .chain([self.dht.as_ref().map(Node::next_deadline)])
            .chain([self.lsd.as_ref().and_then(Lsd::next_deadline)])
            .chain([self.ports.as_ref().and_then(Ports::next_deadline)])
            .chain([self.utp.as_ref().and_then(Utp::next_deadline)])
            .flatten()
            .min()
    }

    /// When those that wait for a block buffer may get one, beside when the disk gives one back.
    fn buffer_deadline(&self, now: Instant) -> Option<Instant> {
        match self.pool.has_room() {
            true => (self.buffers_came && self.links.waits_for_buffer()).then_some(now),
            false => self.links.dawdling_until(),
        }
    }

    fn torrent(&self) -> Option<&Torrent> {
        match &self.stage {
            Stage::Running(torrent) => Some(torrent),
            Stage::Checking { .. } => None,
        }
    }

    fn with_torrent(&mut self, act: impl FnOnce(&mut Torrent)) {
        if let Stage::Running(torrent) = &mut self.stage {
            act(torrent);
        }
    }

    fn on_time(&mut self, now: Instant) {
        if self.stop.load(Ordering::Relaxed) && self.ending.is_none() {
            self.end(None, now);
        }
        self.try_again(now);
        self.udp.on_time(now);
        if let Some(node) = &mut self.dht {
            node.on_time(now);
        }
        if let Some(lsd) = &mut self.lsd {
            lsd.on_time(&mut self.reactor, now);
        }
        if let Some(ports) = &mut self.ports {
            ports.on_time(now);
        }
        self.hear_streams(now);
        self.links.expire_strangers(now, &mut self.reactor);
        self.drop_dawdlers(now);
        self.open_door(now);
        self.tell_news(now);
        if self.retry_unready.take_if(|at| *at <= now).is_some() {
            self.send_unready();
        }
        if self.flush.is_some_and(|at| at <= now) {
            self.flush = self.settings.disk.flush_every.map(|every| now + every);
            // A queue that is full will be no fuller at the next time.
            let _ = self.disk.try_send(disk::Job::Flush);
        }
        if self.torrent().and_then(Torrent::next_deadline).is_some_and(|at| at <= now) {
            self.outlet.wake();
            self.with_torrent(|t| t.on_time(now));
        }
    }

    fn on_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Disk(done) => self.on_disk(done, now),
            Event::Fetch(done) => self.on_fetched(done, now),
            Event::Streamed(streamed) => self.on_streamed(streamed, now),
            Event::LookedUp(found)
                if self.dht.as_mut().is_some_and(|node| node.on_looked_up(&found, now)) => {}
            Event::Remembered => {
                if let Some(node) = &mut self.dht {
                    node.on_remembered();
                }
            }
            Event::Exchanged(exchanged) => {
                if let Some(ports) = &mut self.ports {
                    ports.on_exchanged(&exchanged, now);
                }
            }
            Event::LookedUp(found) => self.udp.on_looked_up(found, now),
            Event::Hook(done) => self.on_hook(&done),
            Event::Checked(pieces) => {
                if let Stage::Checking { done } = &mut self.stage {
                    *done = pieces;
                }
            }
            Event::CheckEnded(Ok(_)) if self.room == Room::Wanted => {
                self.room = Room::Waited(0.0);
                self.held = Some(event);
                self.start_claiming(now);
            }
            Event::CheckEnded(Ok(found)) => {
                self.open(*found, now);
                if claim::goes_along(&self.storage) && self.ending.is_none() {
                    self.start_claiming(now);
                }
            }
            Event::Claimed(part) => self.on_claimed(part),
            Event::ClaimEnded(result) => self.on_claim_ended(result, now),
            Event::CheckNotice(text) => self.outlet.push(Report::Notice(text)),
            Event::Look(look) => self.show(look, now),
            Event::Wish(files) => self.on_wish(files, now),
            Event::Pause(paused) => self.on_pause(paused, now),
            Event::Limit(upload, download) => self.on_limit(upload, download, now),
            Event::Recheck => self.on_recheck(),
            Event::Rechecked(piece, good) => self.on_rechecked(piece, good, now),
            Event::RecheckEnded => self.on_recheck_ended(),
            Event::Saved(saved) => self.on_saved(saved, now),
            Event::CheckEnded(Err(e)) => self.on_unchecked(e, now),
            Event::CheckedAgain(piece, good) => self.on_checked_again(piece, good, now),
            Event::CheckAgainEnded(file, stamp) => self.on_check_again_ended(file, stamp, now),
            Event::Stop => {}
        }
    }

    /// What is on disk is known: now peers may come.
    fn open(&mut self, mut found: Found, now: Instant) {
        if self.ending.is_some() {
            return;
        }
        self.sole = found.sole.take();
        let setup = Setup {
            info_hash: self.settings.metainfo.info_hash,
            peer_id: self.peer_id,
            geometry: Arc::clone(&self.geometry),
            have: found.have.clone(),
            priorities: self.settings.priorities.clone(),
            trackers: match &self.legacy {
                Some(_) => Vec::new(),
                None => self.settings.metainfo.tiers(),
            },
            port: self.ports.as_ref().map_or(self.port, Ports::public),
            seed: self.seed,
        };
        let mut config = self.settings.config.clone();
        config.peer_exchange &= !self.settings.metainfo.info.private;
        let mut torrent = Torrent::new(setup, config, now);
        if !self.settings.metainfo.info.private {
            torrent.give_metadata(Arc::clone(&self.settings.metainfo.info_bytes), now);
        }
        torrent.on_found(found.blocks.iter().copied());
        self.ask_table(now);
        self.ask_neighbours(now);
        self.open_streams(now);
        torrent.add_web_seeds(self.web_sources(), now);
        self.saving.begin(&found);
        self.doubts = Doubts::new(found.unproven.clone());
        if torrent.is_done() {
            let complete = torrent.is_complete();
            self.outlet.push(if complete { Report::Complete } else { Report::Done });
            self.finish = Finish::before(now);
        }
        let company = self.take_company(&mut torrent, now);
        self.stage = Stage::Running(Box::new(torrent));
        company.into_iter().for_each(|key| self.hear(key, now));
        self.outlet.hurry();
        self.on_found(now);
        self.fulfil_wish(now);
    }

    /// Looks for peers in the distributed hash table too.
    fn ask_table(&mut self, now: Instant) {
        let Some(options) = &self.settings.dht else { return };
        let metainfo = &self.settings.metainfo;
        if metainfo.info.private {
            return;
        }
        if self.dht.is_none() {
            let place = (&self.settings.bind[..], self.port);
            let origin = self.origin.clone();
            match Node::start(options, place, origin, &mut self.reactor, now) {
                Ok(node) => self.dht = Some(node),
                Err(e) => self.outlet.push(Report::Notice(dht::unusable(&e))),
            }
        }
        if let Some(node) = &mut self.dht {
            node.want(metainfo.info_hash, metainfo.nodes.clone(), &self.post, now);
        }
    }

    /// Looks for peers on the same link too.
    fn ask_neighbours(&mut self, now: Instant) {
        let Settings { lsd, metainfo, config, bind, .. } = &self.settings;
        if *lsd && !config.local_only && !metainfo.info.private {
            let start = || Lsd::new((bind, self.port), self.origin.clone(), now);
            self.lsd = self.lsd.take().or_else(start);
            self.lsd.iter_mut().for_each(|lsd| lsd.want(metainfo.info_hash, now));
        }
    }

    /// Goes on with the connections and trackers that there were before the measures were known.
    /// Says who has something to say.
    fn take_company(&mut self, torrent: &mut Torrent, now: Instant) -> Vec<PeerKey> {
        let Some(legacy) = self.legacy.take() else { return Vec::new() };
        torrent.take_trackers(legacy.announcer, legacy.key, now);
        let mut company = Vec::new();
        for known in legacy.acquaintances {
            let key = known.key;
            if self.links.peer(key).is_none() {
                continue;
            }
            if torrent.adopt(known, now) {
                self.links.measure(key, Arc::clone(&self.geometry));
                company.push(key);
            } else {
                self.close(key);
            }
        }
        torrent.add_candidates(&legacy.addresses, Source::Tracker, now);
        company
    }

    /// Takes connections while there is a torrent for them, and room.
    fn open_door(&mut self, now: Instant) {
        self.door_opens = self.door_opens.filter(|at| *at > now);
        let open = self.torrent().is_some()
            && self.ending.is_none()
            && self.door_opens.is_none()
            && self.links.has_room_for_strangers();
        self.links.accept(open, &mut self.reactor);
    }

    fn on_fetched(&mut self, done: fetch::Done, now: Instant) {
        if done.id == SCRAPE {
            if let Ok(reply) = done.result {
                self.with_torrent(|t| t.on_scraped(&reply.body));
            }
            return;
        }
        self.announces.remove(&done.id);
        let result = match done.result {
            Ok(reply) => ask::http_reply(reply.status, &reply.body).map_err(Failure::Reply),
            Err(e) => Err(Failure::Unreachable(e.to_string())),
        };
        self.with_torrent(|t| t.on_announced(done.id, result, now));
    }
}

fn pool(write_buffer: usize, block_length: u32) -> Pool {
    // The disk counts in blocks of the usual length; longer ones are fewer.
    let blocks = disk::blocks(write_buffer);
    let fit = blocks * BLOCK_LENGTH as usize / block_length as usize;
    Pool::with_block_length(fit.clamp(MIN_BLOCKS, blocks), block_length)
}
