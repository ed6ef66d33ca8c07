//! Publishes files and folders: makes their torrents, tracks and seeds them, and serves a page and
//! the data itself by HTTP, all on one thread and one port.
//!
//! The doors are the tracker's ([`crate::io::gate`], UDP), and so are the answers to announces
//! (`tracker::desk`). The rooms: `works` (the thread that makes the torrents and looks for
//! changes), `sharing` (torrents come and go), `share` (what is shared of a path), `seeding` (the
//! session that gives to peers), `serving` (the answers by HTTP), `web` (what is where), `page`, `host` (by which
//! address we are reached).

mod host;
mod notice;
mod page;
mod seeding;
mod serving;
mod share;
mod sharing;
mod web;
mod works;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use crate::app::maker::{Date, Filter, Pieces, Recipe};
pub use host::Host;
pub use notice::{Figures, Notice, PublishError, Shared, Until};
pub use seeding::Peers;

use crate::app::client::Stop;
use crate::app::service::Manager;
use crate::app::tracker::desk::{Desk, InfoPage};
use crate::app::tracker::udp::Udp;
use crate::app::tracker::{self, Ranges, Rules, TrackerError, door};
use crate::io::gate::{self, Files, Gate, Request, Visitor};
use crate::io::mailbox::{Mailbox, Post, mailbox};
use crate::io::reactor::{Event, Reactor};
use crate::io::sys;
use crate::logic::rate::{Bucket, DEFAULT_WINDOW, Meter};
use crate::logic::registry::Registry;
use crate::proto::ids::InfoHash;
use crate::proto::qr::Code;
use host::{Authority, own_addresses};
use seeding::{Said, Seeding, Seeds};
use share::Share;
use sharing::PEERS_PERCENT;
use works::{Job, News, Works};

/// Messages that may wait for the reactor.
const MESSAGES: usize = 256;

/// How often figures are told.
const FIGURES_EVERY: Duration = Duration::from_secs(1);

/// Peers ask again after so many seconds: a swarm here is small, and may begin all at once.
const ANNOUNCE_INTERVAL: u32 = 120;

/// The networks of [`Settings::local_only`].
const LOCAL: &[u8] = b"127.0.0.0/8\n10.0.0.0/8\n172.16.0.0/12\n192.168.0.0/16\n169.254.0.0/16\n\
    ::1\nfe80::/10\nfec0::/10\nfc00::/7\n";

/// How it is published.
pub struct Settings {
    /// What is shared: absolute paths.
    pub paths: Vec<PathBuf>,
    /// Where to listen by HTTP and UDP. Port 0 lets the system choose; all others with port 0 then
    /// get the same.
    pub listen: Vec<SocketAddr>,
    /// Listen at so many sockets that were handed over, instead of those addresses.
    pub inherited: u32,
    /// The service manager.
    pub manager: Manager,
    /// What links name; `None` for an address of this machine.
    pub host: Option<Host>,
    /// What the .torrent files say, but for trackers and web seeds.
    pub recipe: Recipe,
    /// The folder in which they are kept.
    pub cache: Option<PathBuf>,
    /// Bytes a second that are sent; `None` for no limit.
    pub upload_limit: Option<u64>,
    /// What the page is called; `None` for what is shared.
    pub title: Option<String>,
    /// When it ends by itself.
    pub until: Option<Until>,
    /// Whether there is a page.
    pub page: bool,
    /// Nobody outside this machine and its networks is served or asked.
    pub local_only: bool,
    /// Where peers are met.
    pub peers: Peers,
    /// HTTP connections at most.
    pub connections: usize,
    /// How often the paths are looked at.
    pub rescan: Duration,
}

/// What other threads tell.
enum Message {
    /// Somebody asks how it goes.
    Asked,
    Opened(gate::Done),
    News(News),
    Seed(InfoHash, Said),
    Told(String),
    SeedsEnded(Result<(), String>),
}

impl From<gate::Done> for Message {
    fn from(done: gate::Done) -> Message {
        Message::Opened(done)
    }
}

/// How it goes with the peers of a torrent.
#[derive(Default)]
struct Seed {
    rate: f64,
    uploaded: u64,
}

/// Who asked for a file that is being opened.
struct Asker {
    request: Box<Request>,
    hash: InfoHash,
    file: usize,
    /// By its name, as people ask: clients ask by the info hash.
    named: bool,
}

/// The page, and its figures.
type Bodies = (Arc<Vec<u8>>, Arc<Vec<u8>>);

/// What is served of the web.
struct Front {
    title: Option<String>,
    /// By what we are reached: the first stands in links, all in .torrent files.
    reached: Vec<Authority>,
    qr: Option<Code>,
    nonce: String,
    /// The page and its figures, and when they were made.
    made: Option<(Instant, Bodies)>,
    generation: u64,
    is_there: bool,
}

impl Front {
    fn url(&self) -> String {
        format!("http://{}/", self.reached[0])
    }

    /// The page has to be made anew: something else is shared.
    fn changed(&mut self) {
        self.generation += 1;
        self.made = None;
    }
}

/// A publisher that listens.
pub struct Publisher {
    reactor: Reactor,
    gate: Gate,
    udp: Udp,
    desk: Desk,
    files: Files,
    askers: HashMap<Visitor, Asker>,
    post: Post<Message>,
    mailbox: Mailbox<Message>,
    works: Option<Works>,
    shares: Vec<Share>,
    seeds: Seeds,
    seeding: HashMap<InfoHash, Seed>,
    seeds_ended: bool,
    /// Bytes that peers got of torrents that are given no more.
    sent_before: u64,
    front: Front,
    upload_limit: Option<u64>,
    bucket: Bucket,
    web: Meter,
    /// Bytes of files that had left at the last look.
    streamed: u64,
    until: Option<Until>,
    born: Instant,
    next_figures: Instant,
    manager: Manager,
    /// A path could not be shared when it was first tried.
    failed: bool,
    stop: Arc<AtomicBool>,
    ended: bool,
}

/// A handle to stop a publisher from another thread.
pub struct PublishStopper {
    post: Post<Message>,
    stop: Arc<AtomicBool>,
}

impl Stop for PublishStopper {
    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.post.ring();
    }

    fn show(&self) {
        // Who is that busy shows it by other lines.
        let _ = self.post.try_send(Message::Asked);
    }
}

impl Publisher {
    /// A handle to stop it by.
    pub fn stopper(&self) -> PublishStopper {
        PublishStopper { post: self.post.clone(), stop: Arc::clone(&self.stop) }
    }

    /// Opens the doors, and begins to make the torrents.
    ///
    /// # Errors
    /// The port is taken, or the system refuses something else.
    pub fn start(
        settings: Settings,
        tell: &mut dyn FnMut(Notice),
    ) -> Result<Publisher, PublishError> {
        let now = Instant::now();
        let machine = |e| PublishError::Start(TrackerError::Machine(e));
        let mut reactor = Reactor::new().map_err(machine)?;
        let mut udp = Udp::new([random(), random()], now);
        let (gate, listening) = door::open(&doors(&settings), &mut reactor, &mut udp, now)?;
        let on: Vec<SocketAddr> = listening
            .iter()
            .filter_map(|told| match told {
                tracker::Notice::Listening(on) => Some(*on),
                _ => None,
            })
            .collect();
        let port = on.first().map_or(0, SocketAddr::port);
        let own = own_addresses(&on);
        let ip = settings.host.as_ref().and_then(Host::ip).unwrap_or(own[0]);
        let front = front(&settings, &own, port);
        let (post, mailbox) = mailbox(MESSAGES, reactor.waker());
        let files = Files::start(&post).map_err(machine)?;
        let seeding = Seeding {
            peers: settings.peers,
            announce: format!("http://{}/announce", own_door(&on)),
            ip,
            upload_limit: settings.upload_limit.map(|limit| (limit * PEERS_PERCENT / 100).max(1)),
            local_only: settings.local_only,
        };
        let seeds = seeding.start(&post).map_err(PublishError::Peers)?;
        let (paths, cache, rescan) = (settings.paths.clone(), settings.cache, settings.rescan);
        let job = Job { paths, recipe: settings.recipe, cache, rescan };
        let works = Some(Works::start(job, post.clone()).map_err(machine)?);
        tell(Notice::Listening(front.url()));
        let all = on.iter().any(|on| on.ip().is_unspecified());
        if all && ip.is_loopback() && settings.host.is_none() {
            tell(Notice::Told("this machine is in no network: nobody else can reach it".into()));
        }
        Ok(Publisher {
            reactor,
            gate,
            udp,
            desk: desk(settings.local_only, now),
            files,
            askers: HashMap::new(),
            post,
            mailbox,
            works,
            shares: settings.paths.into_iter().map(Share::new).collect(),
            seeds,
            seeding: HashMap::new(),
            seeds_ended: false,
            sent_before: 0,
            front,
            upload_limit: settings.upload_limit,
            bucket: Bucket::new(settings.upload_limit, now),
            web: Meter::new(now, DEFAULT_WINDOW),
            streamed: 0,
            until: settings.until,
            born: now,
            next_figures: now + FIGURES_EVERY,
            manager: settings.manager,
            failed: false,
            stop: Arc::default(),
            ended: false,
        })
    }

    /// Serves until somebody [stops](Publisher::stopper) it, or what [`Settings::until`] says.
    ///
    /// # Errors
    /// Some of the paths could not be shared at all, or the wait for events fails.
    pub fn run(mut self, tell: &mut dyn FnMut(Notice)) -> Result<(), PublishError> {
        let mut events = Vec::new();
        self.manager.ready();
        while !self.ended {
            let wait = self.next_deadline().saturating_duration_since(Instant::now());
            self.turn(wait, &mut events, tell)?;
        }
        self.manager.stopping();
        self.works = None;
        self.goodbye(&mut events, tell)?;
        tell(Notice::Ended(self.figures(Instant::now())));
        let shared = self.shares.iter().any(|share| !share.versions.is_empty());
        match self.failed {
            true if shared => Err(PublishError::Some),
            true => Err(PublishError::Nothing),
            false => Ok(()),
        }
    }

    fn turn(
        &mut self,
        wait: Duration,
        events: &mut Vec<Event>,
        tell: &mut dyn FnMut(Notice),
    ) -> Result<(), PublishError> {
        self.reactor.turn(Some(wait), events).map_err(TrackerError::Machine)?;
        let now = Instant::now();
        self.ended |= self.stop.load(Ordering::Relaxed);
        self.allow(now);
        while let Some(message) = self.mailbox.try_recv() {
            self.on_message(message, now, tell);
        }
        self.desk.connections = self.gate.connections();
        for event in &*events {
            let _ = self.udp.on_event(&mut self.desk, event, now)
                || self.gate.on_event(&mut self.reactor, event, now);
        }
        self.serve(now);
        while let Some(number) = self.gate.next_receipt() {
            self.shares[number].by_web += 1;
        }
        self.on_time(now, tell);
        Ok(())
    }

    fn next_deadline(&self) -> Instant {
        let starved = if self.gate.is_starved() {
            self.bucket.next_ready(Instant::now()).or(Some(Instant::now()))
        } else {
            None
        };
        let until = match self.until {
            Some(Until::Time(time)) => self.born.checked_add(time),
            _ => None,
        };
        let alive = self.manager.next_deadline();
        let expiry = Some(self.desk.registry.next_expiry());
        let deadlines = [self.gate.next_deadline(), starved, until, alive, expiry];
        deadlines.into_iter().flatten().fold(self.next_figures, Instant::min)
    }

    /// Counts what has left, and says how much more may.
    fn allow(&mut self, now: Instant) {
        let streamed = self.gate.streamed();
        let new = streamed - std::mem::replace(&mut self.streamed, streamed);
        if new > 0 {
            self.web.add(now, new);
            self.bucket.take(now, new);
        }
        if self.upload_limit.is_some() {
            self.gate.allow(&mut self.reactor, Some(self.bucket.available(now)), now);
        }
    }

    fn on_message(&mut self, message: Message, now: Instant, tell: &mut dyn FnMut(Notice)) {
        match message {
            Message::Asked => tell(Notice::Status(self.status(now))),
            Message::Opened(gate::Done::Opened(visitor, opened)) => {
                self.on_opened(visitor, opened.ok(), now);
            }
            Message::Opened(gate::Done::Warmed(visitor, good)) => {
                self.gate.warmed(&mut self.reactor, visitor, good, now);
            }
            Message::News(news) => self.on_news(news, now, tell),
            Message::Seed(hash, said) => self.on_said(hash, said, now, tell),
            Message::Told(text) => tell(Notice::Told(text)),
            Message::SeedsEnded(result) => {
                self.seeds_ended = true;
                if let Err(e) = result {
                    tell(Notice::Told(format!("no peers get anything from here any more: {e}")));
                }
            }
        }
    }

    fn on_time(&mut self, now: Instant, tell: &mut dyn FnMut(Notice)) {
        self.gate.on_time(&mut self.reactor, now);
        self.serve(now);
        self.desk.registry.expire(now);
        if self.manager.wants(now) {
            let status = self.status(now);
            self.manager.alive(&status, now);
        }
        let figures = self.figures(now);
        if self.next_figures <= now {
            self.next_figures = now + FIGURES_EVERY;
            tell(Notice::Figures(figures));
        }
        let reached = |until: &Until| match until {
            Until::Downloads(wanted) => figures.completed >= *wanted,
            Until::Time(time) => now.duration_since(self.born) >= *time,
        };
        if let Some(until) = self.until.take_if(|until| reached(until)) {
            tell(Notice::Figures(figures));
            tell(Notice::Enough(until));
            self.ended = true;
        }
    }
}

/// The doors, as the tracker opens its own.
fn doors(settings: &Settings) -> tracker::Settings {
    let mut doors = tracker::Settings::new(([0, 0, 0, 0], 0).into(), PathBuf::new());
    doors.listen.clone_from(&settings.listen);
    doors.inherited = settings.inherited;
    doors.udp = true;
    doors.gate.keep_alive = Some(Duration::from_secs(15));
    doors.gate.connections = settings.connections;
    doors
}

fn desk(local_only: bool, now: Instant) -> Desk {
    let rules = Rules {
        interval: ANNOUNCE_INTERVAL,
        expiry: Duration::from_secs(2 * u64::from(ANNOUNCE_INTERVAL)),
        // Whoever is on a network around us may name another address, as our own clients do.
        believe_given_ip: false,
        nat_checks: 0,
        ..Rules::default()
    };
    let mut desk = Desk::new(Registry::new(rules, now, random()), random(), now);
    desk.info_page = InfoPage::Off;
    desk.stats = true;
    desk.registry.access.torrents = Some(Arc::default());
    if local_only {
        desk.registry.access.allowed_ips = Some(Arc::new(Ranges::read(LOCAL).0));
    }
    desk
}

fn front(settings: &Settings, own: &[IpAddr], port: u16) -> Front {
    let hosts = match &settings.host {
        Some(host) => vec![host.clone()],
        None => own.iter().map(|ip| Host { name: ip.to_string(), port: None }).collect(),
    };
    let mut front = Front {
        title: settings.title.clone(),
        reached: hosts.into_iter().map(|host| Authority::new(host, port)).collect(),
        qr: None,
        nonce: format!("{:016x}", random()),
        made: None,
        generation: 0,
        is_there: settings.page,
    };
    front.qr = Code::of(front.url().as_bytes());
    front
}

/// Where our own clients reach us: by loopback, if that is listened on.
fn own_door(on: &[SocketAddr]) -> SocketAddr {
    let own = |address: &SocketAddr| match (address.ip(), address.ip().is_unspecified()) {
        (IpAddr::V4(_), true) => SocketAddr::from(([127, 0, 0, 1], address.port())),
        (IpAddr::V6(_), true) => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], address.port())),
        _ => *address,
    };
    on.first().map_or(SocketAddr::from(([127, 0, 0, 1], 0)), own)
}

/// A number from the system's own source of chance.
fn random() -> u64 {
    u64::from_ne_bytes(sys::random())
}
