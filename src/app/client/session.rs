//! Many torrents at once: one thread, one reactor, one port, one pair of disk workers for all.
//!
//! [`Session::open`] opens the door, [`Session::add`] brings torrents in, [`Session::remove`] ends
//! one of them, and dropping it ends all. What happens comes out of [`Session::next_report`], with
//! the torrent that it is about. A [`Client`](super::Client) is a session of one torrent.

use super::company::Company;
use super::state::{self, Place};
use super::{
    Config, DhtOptions, DiskOptions, Door, Event, Look, MAX_MAIL, News, Priority, Report, STACK,
    Settings, StartError, Stopper, TargetError, Way, engine,
};
use crate::app::target;
use crate::io::mailbox::{JobReceiver, Post, jobs, mailbox};
use crate::io::signals;
use crate::io::storage::{OpenFiles, Storage, Use};
use crate::logic::PeerKey;
use crate::logic::inquiry::Legacy;
use crate::proto::geometry::{BLOCK_LENGTH, Geometry};
use crate::proto::ids::PeerId;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Reports that wait for whoever looks on; further figures are dropped, messages are kept back.
const MAX_REPORTS: usize = 1024;

/// Which torrent of a session is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TorrentId(u32);

/// Of the numbers that torrents share, the lower bits are the torrent's own.
const OWN_BITS: u32 = 32;

/// The same of the numbers of peers, of which there may be more.
const PEER_BITS: u32 = 36;

impl TorrentId {
    /// That of the first torrent.
    pub(super) const FIRST: TorrentId = TorrentId(0);

    pub(super) fn number(self) -> u64 {
        self.0.into()
    }

    /// The one of this number; they are counted in the order in which they came.
    pub fn of(number: u64) -> TorrentId {
        // Only what `number` gave comes back.
        TorrentId(u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// The first number of its peers.
    pub(super) fn first_key(self) -> u64 {
        self.number() << PEER_BITS
    }

    /// Whose peer it is.
    pub(super) fn of_key(key: PeerKey) -> TorrentId {
        TorrentId::of(key.0 >> PEER_BITS)
    }

    /// A number of the torrent's own, for those who work for all torrents.
    pub(super) fn tag(self, number: u64) -> u64 {
        self.number() << OWN_BITS | number & ((1 << OWN_BITS) - 1)
    }

    /// Whose number it is, and which.
    pub(super) fn of_tag(tag: u64) -> (TorrentId, u64) {
        (TorrentId::of(tag >> OWN_BITS), tag & ((1 << OWN_BITS) - 1))
    }
}

/// No session has more torrents in its life: then their numbers would meet others.
const MAX_TORRENTS: u32 = 1 << 28;

/// A report, and the torrent it is about; `None` for the session.
pub(super) type Told = (Option<TorrentId>, Report);

/// What a session is opened with.
pub struct SessionSettings {
    /// Where it listens.
    pub door: Door,
    /// Of this what is about all torrents together: connections, encryption, limits, and whether
    /// it is local.
    pub config: Config,
    /// How the distributed hash table is used (BEP 5), if it is; never for a private torrent.
    pub dht: Option<DhtOptions>,
    /// Whether peers on the same link are told and heard (BEP 14); never of a private torrent, nor
    /// if [`Config::local_only`] says to stay at home.
    pub lsd: bool,
    /// In which way the gateway is asked first to let peers in, if it is; never if
    /// [`Config::local_only`] says to stay at home.
    pub map_ports: Option<Way>,
    /// Whether peers are dialled by uTP (BEP 29), and by TCP if they do not answer that; and heard.
    pub utp: bool,
    /// Whether those with local addresses are dialled by it too.
    pub utp_nearby: bool,
    /// How many bytes one request asks for, at most.
    pub slice_size: u32,
    /// How many bytes may wait to be written, for all torrents together.
    pub write_buffer: usize,
    /// How many files are open at a time, at most; 0 for as many as the system allows.
    pub max_files_open: usize,
    /// Its end, and that of a torrent, takes no longer than this.
    pub patience: Duration,
    /// Whether it ends with its last torrent.
    pub ends_with_last: bool,
}

impl SessionSettings {
    /// A session that listens there, asks neither hash table nor gateway, and has no limits.
    pub fn new(door: Door) -> SessionSettings {
        let disk = DiskOptions::default();
        SessionSettings {
            door,
            config: Config::default(),
            dht: None,
            lsd: false,
            map_ports: None,
            utp: false,
            utp_nearby: false,
            slice_size: BLOCK_LENGTH,
            write_buffer: disk.write_buffer,
            max_files_open: disk.max_files_open,
            patience: engine::END,
            ends_with_last: false,
        }
    }

    /// What a download's settings say about the session that it would be alone in.
    pub fn of(settings: &Settings) -> SessionSettings {
        SessionSettings {
            door: settings.door(),
            config: settings.config.clone(),
            dht: settings.dht.clone(),
            lsd: settings.lsd,
            map_ports: settings.map_ports,
            utp: settings.utp,
            utp_nearby: settings.utp_nearby,
            slice_size: settings.slice_size,
            write_buffer: settings.disk.write_buffer,
            max_files_open: settings.disk.max_files_open,
            patience: engine::END,
            ends_with_last: false,
        }
    }
}

/// A torrent that comes into a session.
pub(super) struct Newcomer {
    pub id: TorrentId,
    pub settings: Settings,
    pub geometry: Arc<Geometry>,
    pub storage: Arc<Storage>,
    pub place: Option<Arc<Place>>,
    pub target: PathBuf,
    pub peer_id: PeerId,
    pub seed: u64,
    /// What there was before the torrent's measures were known.
    pub legacy: Option<Legacy>,
}

/// A torrent that has come into a session.
#[derive(Debug)]
pub struct Added {
    /// What it goes by.
    pub id: TorrentId,
    /// Where its data is.
    pub target: PathBuf,
}

/// A session that runs.
pub struct Session {
    post: Post<Event>,
    reports: JobReceiver<Told>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    port: u16,
    next: AtomicU32,
    /// The open files of all torrents.
    files: OpenFiles,
}

impl Session {
    /// Opens the door, for no torrent yet.
    ///
    /// # Errors
    /// What keeps it from starting. Nothing is left running then.
    pub fn open(settings: SessionSettings) -> Result<Session, StartError> {
        let company = Company::alone(&settings.door, settings.config.limits)?;
        Session::open_with(settings, company)
    }

    /// Goes on where somebody else listened before.
    pub(super) fn open_with(
        mut settings: SessionSettings,
        company: Company,
    ) -> Result<Session, StartError> {
        signals::survive_size_limit().map_err(StartError::System)?;
        let budget = company.budget;
        let most = settings.config.max_connections.min(budget.peers);
        settings.config.max_connections = most;
        let (post, mail) = mailbox(MAX_MAIL, company.reactor.waker());
        let (reporter, reports) = jobs(MAX_REPORTS);
        let stop = Arc::new(AtomicBool::new(false));
        let port = company.port;
        let files = OpenFiles::within(settings.max_files_open, budget.files);
        let parts = engine::Parts {
            company,
            mail,
            post: post.clone(),
            reporter,
            stop: Arc::clone(&stop),
            settings,
        };
        let thread = std::thread::Builder::new()
            .name("reactor".into())
            .stack_size(STACK)
            .spawn(move || engine::run(parts))
            .map_err(StartError::System)?;
        let next = AtomicU32::new(0);
        Ok(Session { post, reports, stop, thread: Some(thread), port, next, files })
    }

    /// Brings a torrent in. Of its settings those that are about the session say nothing here: see
    /// [`SessionSettings`]. The data goes where [`Client::start`](super::Client::start) says.
    ///
    /// # Errors
    /// What keeps it from starting; nothing was made then, and the others go on.
    pub fn add(&self, settings: Settings) -> Result<Added, StartError> {
        let (peer_id, seed) = super::company::identity();
        self.add_as(settings, peer_id, (seed, None))
    }

    /// Brings a torrent in that has a name and perhaps peers already.
    pub(super) fn add_as(
        &self,
        mut settings: Settings,
        peer_id: PeerId,
        (seed, legacy): (u64, Option<Legacy>),
    ) -> Result<Added, StartError> {
        settings.disk.open_files = Some(self.files.clone());
        // The session has its own.
        (settings.dht, settings.bind, settings.device) = (None, Vec::new(), None);
        let geometry = settings.metainfo.info.geometry();
        let geometry = Arc::new(geometry.with_block_length(settings.slice_size));
        let target = target::choose(&settings.metainfo.info, &settings.saveas);
        let place = place(&settings, &target, &geometry);
        if let (Some(place), true) = (&place, settings.priorities.is_empty()) {
            settings.priorities = place.priorities();
        }
        let storage = Arc::new(storage(&settings, target.clone(), &geometry));
        // The storage knows them now, and a torrent may have very many. Web seeds are asked for
        // them by their names.
        if settings.metainfo.url_list.is_empty() {
            settings.metainfo.info.files = Vec::new();
        }
        // Hybrids are taken as version 1.
        settings.metainfo.info.roots = Vec::new();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= MAX_TORRENTS {
            return Err(StartError::TooMany);
        }
        let id = TorrentId(number);
        // Last, since it makes folders.
        storage.prepare().map_err(|e| StartError::Target(TargetError::from(e)))?;
        let added = Added { id, target: target.clone() };
        let newcomer =
            Newcomer { id, settings, geometry, storage, place, target, peer_id, seed, legacy };
        // If nobody listens any more, that is told by the reports.
        self.post.send(Event::Add(Box::new(newcomer)));
        Ok(added)
    }

    /// Ends a torrent; its data stays. Its last report is [`Report::Ended`].
    pub fn remove(&self, id: TorrentId) {
        self.send(Event::Remove(id));
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for the next report, and says which torrent it is about; `None` for the session, of
    /// which [`Report::Ended`] is the last one. `None` after that.
    pub fn next_report(&self) -> Option<(Option<TorrentId>, Report)> {
        self.reports.recv()
    }

    /// Waits for the next report until `deadline`. `None`: there was none by then. `Some(None)`
    /// after the last one.
    pub fn next_report_by(&self, deadline: Instant) -> Option<Option<(Option<TorrentId>, Report)>> {
        self.reports.recv_by(deadline)
    }

    /// Asks for one look at the details of a torrent: see [`Client::look`](super::Client::look).
    pub fn look(&self, id: TorrentId, look: Look) {
        // A mailbox that is full is as good a reason for no answer.
        let _ = self.post.try_send(Event::Of(id, News::Look(look)));
    }

    /// From now on the files of a torrent are wanted so much: see
    /// [`Client::set_priorities`](super::Client::set_priorities).
    pub fn set_priorities(&self, id: TorrentId, files: Vec<Priority>) {
        self.send(Event::Of(id, News::Wish(files)));
    }

    /// Has a torrent rest, or go on: see [`Client::pause`](super::Client::pause).
    pub fn pause(&self, id: TorrentId, paused: bool) {
        self.send(Event::Of(id, News::Pause(paused)));
    }

    /// Has all the data of a torrent be looked at again: see
    /// [`Client::recheck`](super::Client::recheck).
    pub fn recheck(&self, id: TorrentId) {
        self.send(Event::Of(id, News::Recheck));
    }

    /// Changes the limits: see [`Client::set_limits`](super::Client::set_limits).
    pub(super) fn limit(&self, id: TorrentId, upload: Option<u64>, download: Option<u64>) {
        self.send(Event::Of(id, News::Limit(upload, download)));
    }

    /// A handle to stop all of it by.
    pub fn stopper(&self) -> Stopper {
        Stopper::new(self.post.clone(), Arc::clone(&self.stop))
    }

    /// Whether it was told to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whoever has been told to stop hears no more wishes.
    fn send(&self, event: Event) {
        self.post.queue(event, &self.stop);
        self.post.ring();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stopper().stop();
        // Its reports have nowhere to go any more; it only has to end.
        while self.reports.recv().is_some() {}
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn storage(settings: &Settings, root: PathBuf, geometry: &Arc<Geometry>) -> Storage {
    let mut files = target::files(&settings.metainfo.info);
    let mut disk = settings.disk.clone();
    for (file, priority) in files.iter_mut().zip(&settings.priorities) {
        if file.used == Use::Wanted && !priority.is_wanted() {
            file.used = Use::Unwanted;
        }
    }
    disk.aside = disk.aside.or_else(|| aside(settings, &root));
    Storage::new(root, files, Arc::clone(geometry), disk)
}

/// Where the bytes of unwanted files go: with the other things that we remember, or else beside
/// the torrent's folder; by the info hash and the place, since a torrent may be downloaded twice.
fn aside(settings: &Settings, root: &Path) -> Option<PathBuf> {
    let root = std::path::absolute(root).ok()?;
    let name = state::file_name(settings.metainfo.info_hash, &root, state::PARTS);
    match &settings.state_dir {
        Some(dir) => Some(dir.join(name)),
        None => Some(root.parent()?.join(format!(".{name}"))),
    }
}

fn place(settings: &Settings, target: &Path, geometry: &Arc<Geometry>) -> Option<Arc<Place>> {
    let keep = settings.keep.as_ref()?;
    // It can only fail for an empty path, which has no state worth saving.
    let target = std::path::absolute(target).ok()?;
    let info_hash = settings.metainfo.info_hash;
    Some(Arc::new(Place::new(&keep.dir, info_hash, &target, Arc::clone(geometry))))
}
