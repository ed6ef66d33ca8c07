//! The loop of a download: events to logic, actions to io.

use super::check::{self, Check};
use super::links::{Links, Who};
use super::ready::{Windows, Wish};
use super::{Event, Figures, Phase, Report, Settings, identity};
use crate::io::conn::{Conn, Fill};
use crate::io::disk::{self, Disk, DiskTorrent};
use crate::io::fetch::{self, Fetch};
use crate::io::mailbox::{JobSender, Mailbox, Post};
use crate::io::reactor::{self, Reactor, Token};
use crate::io::storage::{Part, Storage};
use crate::io::{reason, sys};
use crate::logic::PeerKey;
use crate::logic::announcer::Failure;
use crate::logic::torrent::{Action, Notice, Setup, Torrent};
use crate::proto::announce::ask;
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::{BlockRef, Geometry};
use crate::proto::wire::{self, Incoming, Next, Pool};
use std::collections::{BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Block buffers between the sockets and the disk: 2 MiB. Also the bound of the disk's queue.
const MAX_BLOCKS: usize = 128;

/// From one peer so many times is read in a turn, so that none starves the others.
const READS_PER_TURN: usize = 32;

/// Announces under way at a time, and threads for them.
const FETCH_THREADS: usize = 3;

/// An answer to an announce is no longer than this, in bytes.
const MAX_REPLY: usize = 1024 * 1024;

/// Trackers have so long to hear our last word.
const GOODBYE: Duration = Duration::from_millis(2500);

/// Messages for the user that wait; the oldest give way.
const MAX_NOTICES: usize = 256;

/// What the loop is made from.
pub(super) struct Parts {
    pub reactor: Reactor,
    pub mail: Mailbox<Event>,
    pub post: Post<Event>,
    pub reporter: JobSender<Report>,
    pub stop: Arc<AtomicBool>,
    pub listeners: Vec<OwnedFd>,
    pub storage: Arc<Storage>,
    pub geometry: Arc<Geometry>,
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
    let Engine { disk, reporter, notices, .. } = engine;
    // Blocks that were taken from peers are written before the end is told.
    drop(disk);
    for report in notices.into_iter().chain([Report::Ended(outcome)]) {
        if !reporter.send(report) {
            return;
        }
    }
}

enum Stage {
    Checking { done: u32 },
    Running(Box<Torrent>),
}

struct Engine {
    reactor: Reactor,
    mail: Mailbox<Event>,
    reporter: JobSender<Report>,
    stop: Arc<AtomicBool>,
    geometry: Arc<Geometry>,
    target: PathBuf,
    settings: Settings,
    port: u16,
    links: Links,
    windows: Windows,
    /// Ranges to be made ready that the disk's queue had no room for.
    unready: VecDeque<BlockRef>,
    pool: Pool,
    disk: Disk,
    fetch: Fetch,
    stage: Stage,
    /// Connections with something new to send.
    dirty: BTreeSet<PeerKey>,
    sent: Vec<BlockRef>,
    /// Block buffers were given back since somebody last looked for one.
    buffers_came: bool,
    notices: VecDeque<Report>,
    next_report: Instant,
    /// Last announces that are under way.
    goodbyes: BTreeSet<u64>,
    ending: Option<Ending>,
}

/// The end has begun.
struct Ending {
    /// It comes at this time at the latest.
    at: Instant,
    /// Why, if it is not because somebody wished it.
    failure: Option<String>,
}

impl Engine {
    fn new(parts: Parts) -> Result<Engine, (JobSender<Report>, String)> {
        let Parts { mut reactor, mail, post, reporter, stop, listeners, .. } = parts;
        let Parts { storage, geometry, target, port, settings, .. } = parts;
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
            stop: Arc::clone(&stop),
        };
        let started = Disk::start(torrent, post.clone())
            .and_then(|disk| Ok((disk, Fetch::start(FETCH_THREADS, post.clone())?)))
            .and_then(|workers| check::start(check, post.clone()).map(|()| workers));
        let (disk, fetch) = match started {
            Ok(workers) => workers,
            Err(e) => return Err((reporter, format!("cannot start a thread: {}", reason(&e)))),
        };
        Ok(Engine {
            links: Links::new(listeners, &mut reactor),
            windows: Windows::new(Arc::clone(&geometry)),
            unready: VecDeque::new(),
            pool: Pool::new(MAX_BLOCKS),
            stage: Stage::Checking { done: 0 },
            dirty: BTreeSet::new(),
            sent: Vec::new(),
            buffers_came: false,
            notices: VecDeque::new(),
            next_report: Instant::now(),
            goodbyes: BTreeSet::new(),
            ending: None,
            reactor,
            mail,
            reporter,
            stop,
            geometry,
            target,
            settings,
            port,
            disk,
            fetch,
        })
    }

    fn run(&mut self) -> Result<(), String> {
        let mut events = Vec::new();
        loop {
            let timeout = self.next_deadline().map(|at| at.saturating_duration_since(now()));
            if let Err(e) = self.reactor.turn(timeout, &mut events) {
                return Err(format!("cannot wait for sockets: {}", reason(&e)));
            }
            let now = now();
            for event in &events {
                self.on_socket(*event, now);
            }
            while let Some(event) = self.mail.try_recv() {
                self.on_event(event, now);
            }
            self.resume_stalled(now);
            self.on_time(now);
            self.perform(now);
            self.report(now);
            if self.has_ended(now) {
                self.report_figures(now);
                return self.ending.take().and_then(|e| e.failure).map_or(Ok(()), Err);
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let torrent = self.torrent().and_then(Torrent::next_deadline);
        let ending = self.ending.as_ref().map(|e| e.at);
        [torrent, ending, self.links.next_deadline(), Some(self.next_report)]
            .into_iter()
            .flatten()
            .min()
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
        self.links.expire_strangers(now, &mut self.reactor);
        if self.torrent().and_then(Torrent::next_deadline).is_some_and(|at| at <= now) {
            self.with_torrent(|t| t.on_time(now));
        }
    }

    fn on_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Disk(done) => self.on_disk(done, now),
            Event::Fetch(done) => self.on_fetched(done, now),
            Event::Checked(pieces) => {
                if let Stage::Checking { done } = &mut self.stage {
                    *done = pieces;
                }
            }
            Event::CheckEnded(Ok(have)) => self.open(have, now),
            Event::CheckEnded(Err(failure)) => self.end(Some(failure), now),
            Event::Stop => {}
        }
    }

    /// What is on disk is known: now peers may come.
    fn open(&mut self, have: Bitfield, now: Instant) {
        if self.ending.is_some() {
            return;
        }
        let (peer_id, seed) = identity(&self.settings.random);
        let setup = Setup {
            info_hash: self.settings.metainfo.info_hash,
            peer_id,
            geometry: Arc::clone(&self.geometry),
            have,
            trackers: self.settings.metainfo.tiers(),
            port: self.port,
            seed,
        };
        let torrent = Torrent::new(setup, self.settings.config.clone(), now);
        if torrent.is_complete() {
            self.notices.push_back(Report::Complete);
        }
        self.stage = Stage::Running(Box::new(torrent));
        self.links.accept(true, &mut self.reactor);
        self.next_report = now;
    }

    /// Begins the end.
    fn end(&mut self, failure: Option<String>, now: Instant) {
        match &mut self.ending {
            Some(ending) => ending.failure = ending.failure.take().or(failure),
            None => self.ending = Some(Ending { at: now + GOODBYE, failure }),
        }
        self.stop.store(true, Ordering::Relaxed);
        self.links.accept(false, &mut self.reactor);
        self.with_torrent(|t| t.stop(now));
    }

    fn has_ended(&self, now: Instant) -> bool {
        let Some(ending) = &self.ending else { return false };
        let waits = self.torrent().is_some() && !self.goodbyes.is_empty();
        !waits || ending.at <= now
    }

    // Disk and trackers.

    fn on_disk(&mut self, done: disk::Done, now: Instant) {
        match done {
            disk::Done::Written { data, result, .. } => {
                self.give_back(data);
                if let Err(e) = result {
                    self.end(Some(e.to_string()), now);
                }
            }
            disk::Done::Verified { piece, result: Ok(good) } => {
                self.with_torrent(|t| t.on_verified(piece, good, now));
            }
            disk::Done::Ready { range, result: Ok(parts) } => {
                self.on_ready(range, parts, now);
                self.send_unready();
            }
            disk::Done::Synced(Ok(())) => {}
            disk::Done::Verified { result: Err(e), .. }
            | disk::Done::Ready { result: Err(e), .. }
            | disk::Done::Synced(Err(e)) => self.end(Some(e.to_string()), now),
        }
    }

    fn on_fetched(&mut self, done: fetch::Done, now: Instant) {
        self.goodbyes.remove(&done.id);
        let result = match done.result {
            Ok(reply) => ask::http_reply(reply.status, &reply.body).map_err(Failure::Reply),
            Err(e) => Err(Failure::Unreachable(e.to_string())),
        };
        self.with_torrent(|t| t.on_announced(done.id, result, now));
    }

    // Sockets.

    fn on_socket(&mut self, event: reactor::Event, now: Instant) {
        match self.links.who(event.token) {
            Some(Who::Listener(i)) => self.accept(i, now),
            Some(Who::Stranger) => self.hear_stranger(event.token, now),
            Some(Who::Peer(key)) => self.on_peer(key, event, now),
            None => {}
        }
    }

    fn accept(&mut self, listener: usize, now: Instant) {
        let socket = self.links.listener(listener);
        while self.links.has_room_for_strangers() {
            match sys::accept(&socket) {
                Ok((socket, address)) => {
                    let conn = Conn::new(socket);
                    self.links.add_stranger(conn, address, now, &mut self.reactor);
                }
                // Nobody is waiting, or this one has left again, or there are no descriptors:
                // whoever waits is met again at the next turn.
                Err(_) => return,
            }
        }
    }

    fn hear_stranger(&mut self, token: Token, now: Instant) {
        let Some((conn, address)) = self.links.stranger(token) else { return };
        let ended = !matches!(conn.fill(), Ok(Fill::Some | Fill::Drained));
        let hello = match conn.next(&mut self.pool) {
            Ok(Next::Got(Incoming::Hello(hello))) => hello,
            Ok(_) if !ended => return,
            _ => return self.links.drop_stranger(token, &mut self.reactor),
        };
        let Stage::Running(torrent) = &mut self.stage else { return };
        let taken = match hello.info_hash == torrent.info_hash() {
            true => torrent.on_incoming(address, now).ok(),
            false => None,
        };
        let Some(key) = taken else { return self.links.drop_stranger(token, &mut self.reactor) };
        self.links.promote(token, key, Arc::clone(&self.geometry));
        self.hear(key, now);
    }

    fn on_peer(&mut self, key: PeerKey, event: reactor::Event, now: Instant) {
        let Some(link) = self.links.peer(key) else { return };
        if link.dialing {
            return self.on_dialed(key, now);
        }
        if event.readable {
            self.hear(key, now);
        }
        if event.writable {
            self.dirty.insert(key);
        }
    }

    fn on_dialed(&mut self, key: PeerKey, now: Instant) {
        let Some(link) = self.links.peer(key) else { return };
        link.dialing = false;
        let stands = link.conn.connected().is_ok();
        if stands {
            self.with_torrent(|t| t.on_connected(key, now));
            self.links.settle(key, &mut self.reactor);
        } else {
            self.links.close(key, &mut self.pool, &mut self.reactor);
            self.with_torrent(|t| t.on_connect_failed(key, now));
        }
    }

    /// Takes in what a peer has said, as far as there are buffers for it.
    fn hear(&mut self, key: PeerKey, now: Instant) {
        let mut drained = false;
        let mut reads = 0;
        loop {
            let Some(link) = self.links.peer(key) else { return };
            match link.conn.next(&mut self.pool) {
                Ok(Next::Got(incoming)) => self.on_incoming(key, incoming, now),
                Ok(Next::NoBuffer) => {
                    link.stalled = true;
                    break;
                }
                Ok(Next::More) if drained || reads >= READS_PER_TURN => break,
                Ok(Next::More) => {
                    reads += 1;
                    match link.conn.fill() {
                        Ok(Fill::Some) => {}
                        Ok(Fill::Drained) => drained = true,
                        Ok(Fill::Ended) | Err(_) => return self.lose(key, now),
                    }
                }
                Err(fault) => {
                    self.with_torrent(|t| t.on_fault(key, fault, now));
                    break;
                }
            }
        }
        self.links.settle(key, &mut self.reactor);
    }

    fn on_incoming(&mut self, key: PeerKey, incoming: Incoming, now: Instant) {
        self.with_torrent(|torrent| match incoming {
            Incoming::Hello(hello) => torrent.on_hello(key, hello, now),
            Incoming::Id(id) => torrent.on_peer_id(key, id, now),
            Incoming::Message(message) => torrent.on_message(key, message, now),
        });
        // Closing comes before anything else is heard of the peer; blocks begin their way to disk.
        self.drain_actions(now);
    }

    fn give_back(&mut self, buffer: Vec<u8>) {
        self.pool.give(buffer);
        self.buffers_came = true;
    }

    /// Those that waited for a buffer may go on.
    fn resume_stalled(&mut self, now: Instant) {
        if !std::mem::take(&mut self.buffers_came) {
            return;
        }
        for key in self.links.stalled() {
            if !self.pool.has_room() {
                return;
            }
            if let Some(link) = self.links.peer(key) {
                link.stalled = false;
                self.hear(key, now);
            }
        }
    }

    fn lose(&mut self, key: PeerKey, now: Instant) {
        self.links.close(key, &mut self.pool, &mut self.reactor);
        self.with_torrent(|t| t.on_lost(key, now));
    }

    // Actions.

    /// Does all that is to be done, and sends all that is to be sent, once a turn.
    fn perform(&mut self, now: Instant) {
        loop {
            self.drain_actions(now);
            let Some(key) = self.dirty.pop_first() else { return };
            self.flush(key, now);
        }
    }

    fn drain_actions(&mut self, now: Instant) {
        while let Stage::Running(torrent) = &mut self.stage {
            let Some(action) = torrent.next_action() else { return };
            self.act(action, now);
        }
    }

    fn act(&mut self, action: Action, now: Instant) {
        match action {
            Action::Dial { peer, address } => self.dial(peer, address, now),
            Action::Greet(key) => {
                let (info_hash, id) = (self.settings.metainfo.info_hash, self.peer_id());
                self.queue(key, |conn| conn.push_bytes(&wire::handshake(info_hash, id)));
            }
            Action::Send(key, message) => self.queue(key, |conn| conn.push(&message)),
            Action::SendBlock(key, block) => self.send_block(key, block, now),
            Action::Close(key) => self.links.close(key, &mut self.pool, &mut self.reactor),
            Action::Write(block, data) => {
                let job = disk::Job::Write { block, data };
                // The pool lends fewer buffers than the queue has places.
                if self.disk.try_send(job).is_err() {
                    self.end(Some("the disk's worker has ended".into()), now);
                }
            }
            Action::Verify(piece) => {
                if self.disk.try_send(disk::Job::Verify { piece }).is_err() {
                    self.end(Some("the disk's worker has ended".into()), now);
                }
            }
            Action::Recycle(data) => self.give_back(data),
            Action::Announce { number, url, last } => self.announce(number, url, last, now),
            Action::Report(notice) => self.on_notice(notice),
        }
    }

    fn peer_id(&self) -> crate::proto::ids::PeerId {
        identity(&self.settings.random).0
    }

    fn queue(&mut self, key: PeerKey, push: impl FnOnce(&mut Conn)) {
        if let Some(link) = self.links.peer(key) {
            push(&mut link.conn);
            self.dirty.insert(key);
        }
    }

    fn dial(&mut self, key: PeerKey, address: std::net::SocketAddr, now: Instant) {
        match Conn::dial(address) {
            Ok(conn) => {
                let geometry = Arc::clone(&self.geometry);
                self.links.add_dialed(key, conn, geometry, &mut self.reactor);
            }
            Err(_) => self.with_torrent(|t| t.on_connect_failed(key, now)),
        }
    }

    fn send_block(&mut self, key: PeerKey, block: BlockRef, now: Instant) {
        if self.links.peer(key).is_none() {
            return;
        }
        match self.windows.wish(key, block, now) {
            Wish::Wait => {}
            Wish::Ask(range) => self.make_ready(range, now),
            Wish::Send(parts) => {
                let Some(link) = self.links.peer(key) else { return };
                match link.conn.push_block(block, parts) {
                    Ok(()) => {
                        self.dirty.insert(key);
                    }
                    Err(e) => self.cannot_read(&e, now),
                }
            }
        }
    }

    /// Most of the time all is in the page cache, which is known at once.
    fn make_ready(&mut self, range: BlockRef, now: Instant) {
        match self.disk.ready_now(range) {
            Some(parts) => self.on_ready(range, parts, now),
            None => self.unready.push_back(range),
        }
        self.send_unready();
    }

    fn send_unready(&mut self) {
        while let Some(range) = self.unready.pop_front() {
            if self.disk.try_send(disk::Job::Ready { range }).is_err() {
                return self.unready.push_front(range);
            }
        }
    }

    fn on_ready(&mut self, range: BlockRef, parts: Vec<Part>, now: Instant) {
        for (peer, block) in self.windows.ready(range, parts, now) {
            self.send_block(peer, block, now);
        }
    }

    fn announce(&mut self, number: u64, url: String, last: bool, now: Instant) {
        let timeout = if last { GOODBYE } else { self.settings.http_timeout };
        let job = fetch::Job { id: number, url, limit: MAX_REPLY, timeout };
        match self.fetch.try_send(job) {
            Ok(()) if last => {
                self.goodbyes.insert(number);
            }
            Ok(()) => {}
            Err(job) => {
                let failure = Failure::Unreachable("too many announces wait".into());
                self.with_torrent(|t| t.on_announced(job.id, Err(failure), now));
            }
        }
    }

    fn flush(&mut self, key: PeerKey, now: Instant) {
        let Some(link) = self.links.peer(key) else { return };
        if link.dialing {
            return;
        }
        self.sent.clear();
        let outcome = link.conn.flush(&mut self.sent);
        let sent = std::mem::take(&mut self.sent);
        for block in &sent {
            self.with_torrent(|t| t.on_block_sent(key, *block, now));
        }
        self.sent = sent;
        match outcome {
            Ok(()) => self.links.settle(key, &mut self.reactor),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => self.cannot_read(&e, now),
            Err(_) => self.lose(key, now),
        }
    }

    /// A file was changed behind our back: what we say we have may be gone.
    fn cannot_read(&mut self, error: &std::io::Error, now: Instant) {
        let target = self.target.display();
        self.end(Some(format!("cannot read '{target}': {}", reason(error))), now);
    }

    // Reports.

    fn on_notice(&mut self, notice: Notice) {
        let report = match notice {
            Notice::Complete => Report::Complete,
            Notice::HashFailed(piece) => Report::Notice(format!(
                "piece {} failed hash check, re-downloading it",
                piece.get()
            )),
            Notice::Tracker(text) => Report::Notice(text),
            Notice::Banned(address) => {
                Report::Notice(format!("{address} sent bad data again and again and is banned"))
            }
        };
        if self.notices.len() >= MAX_NOTICES {
            self.notices.pop_front();
        }
        self.notices.push_back(report);
    }

    fn report(&mut self, now: Instant) {
        while let Some(report) = self.notices.pop_front() {
            if let Err(report) = self.reporter.try_send(report) {
                self.notices.push_front(report);
                break;
            }
        }
        if self.next_report <= now {
            self.report_figures(now);
            self.next_report = now + self.settings.report_interval;
        }
    }

    fn report_figures(&mut self, now: Instant) {
        let total = self.geometry.total();
        let status = self.torrent().map(|t| t.status(now));
        let phase = match (&self.ending, &self.stage) {
            (Some(_), _) => Phase::Stopping,
            (None, Stage::Checking { done }) => {
                let count = self.geometry.piece_count().max(1);
                Phase::Checking(f64::from(*done) / f64::from(count))
            }
            (None, Stage::Running(torrent)) if torrent.is_complete() => Phase::Seeding,
            (None, Stage::Running(_)) => Phase::Downloading,
        };
        let left = status.as_ref().map_or(total, |s| s.left);
        // Whoever looks on is behind: the next figures are as good.
        let _ = self.reporter.try_send(Report::Figures(Figures { phase, total, left, status }));
    }
}

fn now() -> Instant {
    Instant::now()
}
