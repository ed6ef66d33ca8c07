//! Shares all torrents of a folder, in one [`Session`].
//!
//! The folder is looked through now and then: what came is added, what went is stopped, and its
//! data stays. [`Many::next`] does that, and tells what happens. Used by `cmd::btlaunchmany`; it
//! runs on its caller's thread, and never prints.

mod folder;

use crate::app::client::{
    Added, Call, Look, Report, Session, SessionSettings, Settings, StartError, Stop, Stopper,
    TorrentId,
};
use crate::proto::ids::InfoHash;
use crate::proto::metainfo::{Layout, Metainfo};
use crate::proto::sorted;
use folder::{Change, Folder};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// When files may be on their way, the folder is looked through again after this time.
const SOON: Duration = Duration::from_secs(2);

/// The whole end takes no longer than this, whatever hangs.
const END: Duration = Duration::from_millis(3_500);

/// The process need not be ended before this time is over.
const PATIENCE: Duration = Duration::from_millis(4_600);

/// Where the data of a torrent goes, below the folder for data (`saveas_style`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// By the name of the .torrent file.
    File,
    /// By the name in it.
    Name,
    /// By both: a file goes into a folder with the name of the .torrent file.
    Both,
}

/// What it is started with.
pub struct ManySettings {
    /// The folder of .torrent files.
    pub folder: PathBuf,
    /// The folder for data; `None` for that of each .torrent file.
    pub saveas: Option<PathBuf>,
    /// Where below it the data goes.
    pub style: Style,
    /// How often the folder is looked through.
    pub interval: Duration,
    /// What all torrents share.
    pub session: SessionSettings,
}

/// What happens.
#[derive(Debug)]
pub enum Event {
    /// A torrent was added.
    Added(TorrentId, Arc<Torrent>),
    /// A torrent is stopped, since its file went, its goal is reached, or the end has come.
    Dropped(TorrentId, Arc<Torrent>),
    /// A torrent cannot go on, and why.
    Died(TorrentId, Arc<Torrent>, String),
    /// Something a user may want to read, about one torrent or about all: there was some trouble.
    Notice(Option<TorrentId>, String),
    /// The same, and there was no trouble.
    Remark(Option<TorrentId>, String),
    /// A report of a torrent.
    Report(TorrentId, Report),
    /// The user wants to see how it goes.
    Show,
    /// It begins to end.
    Stopping,
    /// It has ended, and why, if nobody wished it.
    Ended(Result<(), String>),
}

/// A torrent of the folder.
#[derive(Debug)]
pub struct Torrent {
    /// Its .torrent file.
    pub path: PathBuf,
    /// Its name in that.
    pub name: String,
    /// What swarms know it by.
    pub info_hash: InfoHash,
    /// Where its data is.
    pub target: PathBuf,
    /// Where it was to be.
    saveas: PathBuf,
}

/// A torrent that runs, or is on its way out.
struct Running {
    torrent: Arc<Torrent>,
    /// It was told to end, and that was said.
    dropped: bool,
}

/// A file that waits until a torrent in its way has gone.
struct Waiting {
    info_hash: InfoHash,
    saveas: PathBuf,
    /// It was said what it waits for.
    told: bool,
}

/// Makes the settings of one torrent, for the place of its data.
pub type Maker = Box<dyn FnMut(Metainfo, PathBuf) -> Settings + Send>;

/// A folder of torrents that are shared.
pub struct Many {
    session: Session,
    folder: Folder,
    maker: Maker,
    saveas: Option<PathBuf>,
    style: Style,
    interval: Duration,
    next_scan: Instant,
    torrents: sorted::Map<TorrentId, Running>,
    waiting: sorted::Map<PathBuf, Waiting>,
    events: VecDeque<Event>,
    stopping: bool,
}

impl Many {
    /// Starts; the folder is looked through at the first [`Many::next`].
    ///
    /// # Errors
    /// What keeps it from starting.
    pub fn start(settings: ManySettings, maker: Maker) -> Result<Many, StartError> {
        let ManySettings { folder, saveas, style, interval, session } = settings;
        let session = Session::open(SessionSettings { patience: END, ..session })?;
        Ok(Many {
            session,
            folder: Folder::new(folder),
            maker,
            saveas,
            style,
            interval,
            next_scan: Instant::now(),
            torrents: sorted::Map::new(),
            waiting: sorted::Map::new(),
            events: VecDeque::new(),
            stopping: false,
        })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.session.port()
    }

    /// The torrents, in the order in which they came.
    pub fn torrents(&self) -> impl Iterator<Item = (TorrentId, &Torrent)> {
        self.torrents.iter().map(|(id, running)| (*id, &*running.torrent))
    }

    /// One of them, if it is still there.
    pub fn torrent(&self, id: TorrentId) -> Option<&Torrent> {
        self.torrents.get(&id).map(|running| &*running.torrent)
    }

    /// Asks for one look at the details of a torrent: see [`Session::look`].
    pub fn look(&self, id: TorrentId, look: Look) {
        self.session.look(id, look);
    }

    /// The session, for what else is to be asked of it.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// What signals are told to: SIGHUP looks through the folder at once, where `rescan` says so.
    pub fn stopper(&self, rescan: bool) -> ManyStopper {
        ManyStopper { stopper: self.session.stopper(), rescan }
    }

    /// Waits for the next event until `deadline`; `None`: there was none by then.
    pub fn next(&mut self, deadline: Option<Instant>) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let now = Instant::now();
            if self.next_scan <= now && !self.stopping {
                self.scan();
                continue;
            }
            let until = [Some(self.next_scan).filter(|_| !self.stopping), deadline];
            let until = until.into_iter().flatten().min();
            let told = match until {
                Some(until) => self.session.next_report_by(until),
                None => Some(self.session.next_report()),
            };
            match told {
                Some(Some((id, report))) => self.on_report(id, report),
                Some(None) => return Some(Event::Ended(Err("it has ended without a word".into()))),
                None if deadline.is_some_and(|at| at <= Instant::now()) => return None,
                None => {}
            }
        }
    }

    fn on_report(&mut self, id: Option<TorrentId>, report: Report) {
        let event = match (id, report) {
            (None, Report::Called(Call::Scan)) => {
                self.next_scan = Instant::now();
                return;
            }
            (None, Report::Called(Call::Show)) => Event::Show,
            (None, Report::Notice(text)) => Event::Notice(None, text),
            (None, Report::Remark(text)) => Event::Remark(None, text),
            (None, Report::Ended(result)) => Event::Ended(result),
            (None, _) => return,
            (Some(id), report) => return self.on_report_of(id, report),
        };
        self.events.push_back(event);
    }

    fn on_report_of(&mut self, id: TorrentId, report: Report) {
        let Some(running) = self.torrents.get(&id) else { return };
        match report {
            Report::Notice(text) => self.events.push_back(Event::Notice(Some(id), text)),
            Report::Remark(text) => self.events.push_back(Event::Remark(Some(id), text)),
            Report::Ended(result) => self.on_ended(id, result),
            Report::Figures(_) if running.dropped => {}
            report => self.events.push_back(Event::Report(id, report)),
        }
    }

    fn on_ended(&mut self, id: TorrentId, result: Result<(), String>) {
        if self.session.is_stopped() && !std::mem::replace(&mut self.stopping, true) {
            self.events.push_back(Event::Stopping);
        }
        let Some(Running { torrent, dropped }) = self.torrents.remove(&id) else { return };
        match result {
            Err(why) => self.events.push_back(Event::Died(id, Arc::clone(&torrent), why)),
            Ok(()) if !dropped => self.events.push_back(Event::Dropped(id, Arc::clone(&torrent))),
            Ok(()) => {}
        }
        if self.stopping {
            return;
        }
        let meets = |waiting: &Waiting| {
            waiting.info_hash == torrent.info_hash || waiting.saveas == torrent.saveas
        };
        let next: Vec<PathBuf> =
            self.waiting.iter().filter(|(_, w)| meets(w)).map(|(path, _)| path.clone()).collect();
        for path in next {
            // A file that cannot be read any more is told at the next scan, or has gone.
            if let Ok((metainfo, _)) = folder::load(&path) {
                self.add(path, metainfo);
            }
        }
    }

    fn scan(&mut self) {
        for change in self.folder.scan(SystemTime::now()) {
            match change {
                Change::Trouble(text) => self.events.push_back(Event::Notice(None, text)),
                Change::Went(path) => self.drop(&path),
                Change::Came(path, metainfo) => self.add(path, *metainfo),
            }
        }
        let wait = if self.folder.is_pending() { SOON.min(self.interval) } else { self.interval };
        self.next_scan = Instant::now() + wait;
    }

    fn drop(&mut self, path: &Path) {
        self.waiting.remove(path);
        let is_it = |(_, running): &(&TorrentId, &mut Running)| {
            running.torrent.path == path && !running.dropped
        };
        if let Some((id, running)) = self.torrents.iter_mut().find(is_it) {
            running.dropped = true;
            self.session.remove(*id);
            self.events.push_back(Event::Dropped(*id, Arc::clone(&running.torrent)));
        }
    }

    fn add(&mut self, path: PathBuf, metainfo: Metainfo) {
        let (saveas, info_hash) = (self.place(&path, &metainfo), metainfo.info_hash);
        let told = self.waiting.remove(&path).is_some_and(|waiting| waiting.told);
        if let Some(running) = self.in_the_way(&saveas, info_hash) {
            // One that is on its way out needs no word.
            let why = (!told && !running.dropped)
                .then(|| refusal(&path, &running.torrent, (&saveas, info_hash)));
            let told = told || why.is_some();
            self.waiting.insert(path, Waiting { info_hash, saveas, told });
            return self.events.extend(why.map(|text| Event::Notice(None, text)));
        }
        let name = metainfo.info.name.clone();
        let settings = (self.maker)(metainfo, saveas.clone());
        match self.session.add(settings) {
            Ok(Added { id, target }) => {
                let torrent = Arc::new(Torrent { path, name, info_hash, target, saveas });
                self.events.push_back(Event::Added(id, Arc::clone(&torrent)));
                self.torrents.insert(id, Running { torrent, dropped: false });
            }
            Err(e) => {
                let text = format!("cannot add '{}': {e}", path.display());
                self.events.push_back(Event::Notice(None, text));
            }
        }
    }

    /// The torrent that must go before this one can come.
    fn in_the_way(&self, saveas: &Path, info_hash: InfoHash) -> Option<&Running> {
        self.torrents.values().find(|Running { torrent, .. }| {
            torrent.info_hash == info_hash || torrent.saveas == saveas
        })
    }

    /// Where the data of a torrent goes.
    fn place(&self, path: &Path, metainfo: &Metainfo) -> PathBuf {
        let base = self.saveas.as_deref().or(path.parent()).unwrap_or(Path::new(""));
        let (file, name) = (path.file_stem().unwrap_or_default(), &metainfo.info.name);
        match self.style {
            Style::File => base.join(file),
            Style::Name => base.join(name),
            Style::Both if metainfo.info.layout == Layout::Single => base.join(file).join(name),
            Style::Both => base.join(file),
        }
    }
}

/// Why a file is left out.
fn refusal(path: &Path, other: &Torrent, (saveas, info_hash): (&Path, InfoHash)) -> String {
    let (this, first) = (path.display(), other.path.display());
    match other.info_hash == info_hash {
        true => format!("'{this}' is a duplicate torrent for '{first}'"),
        false => {
            let place = saveas.display();
            format!("'{this}' is left out: its data would go to '{place}', as that of '{first}'")
        }
    }
}

/// What signals are told to.
pub struct ManyStopper {
    stopper: Stopper,
    rescan: bool,
}

impl Stop for ManyStopper {
    fn stop(&self) {
        self.stopper.stop();
    }

    fn show(&self) {
        self.stopper.call(Call::Show);
    }

    fn hang_up(&self) -> bool {
        if self.rescan {
            self.stopper.call(Call::Scan);
        }
        self.rescan
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}
