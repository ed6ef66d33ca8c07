//! Downloads and seeds one torrent, or many.
//!
//! [`Client::start`] makes the target ready and starts the reactor's thread, which checks what is
//! on disk, then opens the door to peers. What happens comes out of [`Client::next_report`]; the
//! last report is [`Report::Ended`]. Used by `cmd::btdownloadheadless`.
//!
//! The rooms: `engine` (the loop: events to logic, actions to io), `events` (what it hears of from
//! other threads), `links` (connections),
//! `joining` (what comes before that, if there is but a magnet link), `company` (what the one leaves
//! to the other), `source` (where the .torrent comes from),
//! `ready` (which parts of files can be sent without waiting for the disk), `check` (what is on
//! disk at the start), `state` (what is remembered of that), `claim` (space for what is not),
//! `wanted` (which files are), `udp` (UDP trackers), `ports` (the gateway's), `lsd` (peers nearby).

mod budget;
mod check;
mod claim;
mod company;
mod dht;
mod engine;
mod events;
mod joining;
mod links;
mod lsd;
mod ports;
mod ready;
mod secrecy;
mod session;
mod source;
mod state;
mod stop;
mod udp;
mod utp;
mod wanted;

use crate::io::lookup;
use crate::io::reason;
use crate::proto::geometry::BLOCK_LENGTH;
use crate::proto::metainfo::Metainfo;
use events::{Event, News};
use session::Told;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use crate::app::target::TargetError;
pub use crate::io::fetch::Bounds;
pub use crate::io::origin::Origin;
pub use crate::io::storage::{Allocation, Locks, Options as DiskOptions};
pub use crate::logic::goal::{Goal, Reached};
pub use crate::logic::port_mapping::Way;
pub use crate::logic::priority::Priority;
pub use crate::logic::torrent::{
    Breakup, Config, Encryption, FileStatus, PeerStatus, PieceStatus, Status, WebSeedStatus,
};
pub use crate::proto::wire::Limits;
pub use company::{Company, Door};
pub use dht::DhtOptions;
pub use engine::END;
pub use joining::{JoinReport, JoinSettings, Joined, Joining};
pub use session::{Added, Session, SessionSettings, TorrentId};
pub use source::{LoadError, Source};
pub use state::Keep;
pub use stop::{Haste, Stop, StopSignals, Stopper};
pub use wanted::priorities;

/// Messages from workers that wait for the reactor; its memory is taken at once. A disk that is
/// much ahead of the reactor waits for it, which is as well.
const MAX_MAIL: usize = 256;

/// At the start no longer than this is waited for the address of a name.
const NAME_TIME: Duration = Duration::from_secs(10);

/// The reactor's thread calls nothing deep.
const STACK: usize = 256 * 1024;

/// What a download is started with.
pub struct Settings {
    /// The torrent.
    pub metainfo: Metainfo,
    /// Where the data goes: see [`Client::start`]. The torrent's name if the user named nothing.
    pub saveas: PathBuf,
    /// How much each file is wanted, in the torrent's order; those beyond the list normally.
    pub priorities: Vec<Priority>,
    /// The ports to try for listening.
    pub ports: RangeInclusive<u16>,
    /// Whether they are tried in random order, else ascending.
    pub shuffle_ports: bool,
    /// The addresses to listen on, and to speak to others from unless one is unspecified.
    pub bind: Vec<IpAddr>,
    /// The only network interface that is used, if one is named.
    pub device: Option<String>,
    /// How many bytes one request asks for.
    pub slice_size: u32,
    /// What is asked of the logic.
    pub config: Config,
    /// How the files are treated. Where the bytes of unwanted files go need not be said.
    pub disk: DiskOptions,
    /// When it ends by itself.
    pub goal: Goal,
    /// What is run when the download has become complete.
    pub on_done: Option<PathBuf>,
    /// The folder for what is remembered of downloads; made when it is needed.
    pub state_dir: Option<PathBuf>,
    /// How the distributed hash table is used (BEP 5), if it is; never for a private torrent.
    pub dht: Option<DhtOptions>,
    /// Whether peers on the same link are told and heard (BEP 14); never for a private torrent, nor
    /// if [`Config::local_only`] says to stay at home.
    pub lsd: bool,
    /// In which way the gateway is asked first to let peers in, if it is; never if
    /// [`Config::local_only`] says to stay at home.
    pub map_ports: Option<Way>,
    /// Whether peers are dialled by uTP (BEP 29), and by TCP if they do not answer that; and heard.
    pub utp: bool,
    /// Whether those with local addresses are dialled by it too: no uplink is filled on the way there.
    pub utp_nearby: bool,
    /// Whether web seeds are asked too.
    pub web_seeds: bool,
    /// How long an announce may take.
    pub http_timeout: Duration,
    /// How often figures are reported.
    pub report_interval: Duration,
    /// Where the state is saved; `None`: none is read, and none written.
    pub keep: Option<Keep>,
    /// Whether data that no state vouches for is checked at the start.
    pub check_hashes: bool,
    /// Those whom it is shared with already, if the metadata came from them: see [`Joining`].
    pub company: Option<Company>,
}

/// The address of a host that this machine is known by, IPv4 if it has one. Waits for it, some
/// seconds at most.
///
/// # Errors
/// Why there is none, in the system's words.
pub fn address_of(name: &str) -> Result<IpAddr, String> {
    let all = lookup::wait(name, NAME_TIME)?;
    let best = all.iter().find(|ip| ip.is_ipv4()).or(all.first());
    best.copied().ok_or_else(|| "it has no address".into())
}

impl Settings {
    /// A download of `metainfo` to `saveas` that listens on one of the ports 6881 to 6889,
    /// remembers nothing, and seeds until it is stopped.
    pub fn new(metainfo: Metainfo, saveas: impl Into<PathBuf>) -> Settings {
        Settings {
            metainfo,
            saveas: saveas.into(),
            priorities: Vec::new(),
            ports: 6881..=6889,
            shuffle_ports: false,
            bind: vec![Ipv4Addr::UNSPECIFIED.into()],
            device: None,
            slice_size: BLOCK_LENGTH,
            config: Config::default(),
            disk: DiskOptions::default(),
            goal: Goal::default(),
            on_done: None,
            state_dir: None,
            dht: None,
            lsd: false,
            map_ports: None,
            utp: false,
            utp_nearby: true,
            web_seeds: true,
            http_timeout: Duration::from_secs(60),
            report_interval: Duration::from_secs(1),
            keep: None,
            check_hashes: true,
            company: None,
        }
    }

    fn door(&self) -> Door {
        let (ports, bind, device) = (self.ports.clone(), self.bind.clone(), self.device.clone());
        Door { ports, shuffle_ports: self.shuffle_ports, bind, device }
    }
}

/// What happens to a download.
#[derive(Debug)]
pub enum Report {
    /// The figures of this moment.
    Figures(Figures),
    /// Something a user may want to read: there was some trouble.
    Notice(String),
    /// The same, and there was none.
    Remark(String),
    /// Every piece is there and was checked.
    Complete,
    /// Every piece that is wanted is there and was checked, though not every piece.
    Done,
    /// It ends, since this goal is reached.
    Enough(Reached),
    /// The peers, as [`Client::look`] asked for them.
    Peers(Vec<PeerStatus>),
    /// The files, in the torrent's order, as [`Client::look`] asked for them.
    Files(Vec<FileStatus>),
    /// The pieces, as [`Client::look`] asked for them.
    Pieces(PieceStatus),
    /// The web seeds, as [`Client::look`] asked for them.
    WebSeeds(Vec<WebSeedStatus>),
    /// Somebody called, by [`Stopper::call`].
    Called(Call),
    /// It has ended: stopped, or failed, and then why.
    Ended(Result<(), String>),
}

/// What whoever fetches the reports is called for. It means nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// To look for new torrents.
    Scan,
    /// To show how it goes.
    Show,
}

/// What somebody wants to look at more closely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// [`Report::Figures`] is the answer, though nothing may have changed: the loop lives.
    Figures,
    /// [`Report::Peers`] is the answer.
    Peers,
    /// [`Report::Files`] is the answer.
    Files,
    /// [`Report::Pieces`] is the answer.
    Pieces,
    /// [`Report::WebSeeds`] is the answer.
    WebSeeds,
}

/// The figures of a download.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// What it is doing.
    pub phase: Phase,
    /// Bytes of all the pieces that are wanted.
    pub total: u64,
    /// Bytes of those not yet there.
    pub left: u64,
    /// The torrent's own figures, once peers can come.
    pub status: Option<Status>,
}

/// What a download is doing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Phase {
    /// Waiting until the data on disk is looked at: that of other torrents comes first.
    Queued,
    /// Looking at the data on disk; so much of it has been looked at, 0 to 1.
    Checking(f64),
    /// Making room on the disk for what is missing; so much of it is made, 0 to 1.
    Allocating(f64),
    /// Downloading, or looking for peers to do so.
    Downloading,
    /// Resting, as the user wishes.
    Paused,
    /// All that is wanted is there, and there for others.
    Seeding,
    /// Waiting until the disk works again; the reason was told.
    Waiting,
    /// Saying goodbye.
    Stopping,
}

/// Why a download cannot start. The user must change something.
#[derive(Debug)]
pub enum StartError {
    /// The data cannot go where it should.
    Target(TargetError),
    /// No port of the range is free; the last error.
    Listen {
        /// The ports that were tried.
        ports: RangeInclusive<u16>,
        /// What the system said of the last one.
        source: io::Error,
    },
    /// The system has no thread or descriptor for us.
    System(io::Error),
    /// The session has had more torrents than it can count.
    TooMany,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Target(e) => e.fmt(f),
            StartError::Listen { ports, source } => {
                let (first, last) = (ports.start(), ports.end());
                match first == last {
                    true => write!(f, "cannot listen on port {first}: {}", reason(source)),
                    false => {
                        write!(f, "cannot listen on ports {first} to {last}: {}", reason(source))
                    }
                }
            }
            StartError::TooMany => f.write_str("cannot start: too many torrents"),
            StartError::System(e) => write!(f, "cannot start: {}", reason(e)),
        }
    }
}

impl std::error::Error for StartError {}

/// A download that runs: a [`Session`] of one torrent.
pub struct Client {
    session: Session,
    id: TorrentId,
    target: PathBuf,
}

impl Client {
    /// Starts. The data goes to `saveas`; a folder goes *into* an existing folder of that name
    /// that holds other things, as BitTornado does.
    ///
    /// # Errors
    /// What keeps it from starting. Nothing is left running then, and nothing was made, unless
    /// the system has no thread for us.
    pub fn start(mut settings: Settings) -> Result<Client, StartError> {
        let mut company = match settings.company.take() {
            Some(company) => company,
            None => Company::alone(&settings.door(), settings.config.limits)?,
        };
        let (peer_id, seed, legacy) = (company.peer_id, company.seed, company.legacy.take());
        let ours = SessionSettings { ends_with_last: true, ..SessionSettings::of(&settings) };
        let session = Session::open_with(ours, company)?;
        let Added { id, target } = session.add_as(settings, peer_id, (seed, legacy))?;
        Ok(Client { session, id, target })
    }

    /// Where the data is.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.session.port()
    }

    /// Waits for the next report. `None` after the last one.
    pub fn next_report(&self) -> Option<Report> {
        loop {
            match self.session.next_report()? {
                // The torrent's end was told.
                (None, Report::Ended(Ok(()))) => {}
                (_, report) => return Some(report),
            }
        }
    }

    /// Waits for the next report until `deadline`. `None`: there was none by then. `Some(None)`
    /// after the last one.
    pub fn next_report_by(&self, deadline: Instant) -> Option<Option<Report>> {
        loop {
            match self.session.next_report_by(deadline)? {
                // The torrent's end was told.
                Some((None, Report::Ended(Ok(())))) => {}
                told => return Some(told.map(|(_, report)| report)),
            }
        }
    }

    /// Asks for one look at the details; the answer is among the next reports. Before what is on
    /// disk is known there is none but to [`Look::Figures`], nor when reports are not fetched as
    /// fast as they come.
    pub fn look(&self, look: Look) {
        self.session.look(self.id, look);
    }

    /// From now on the files are wanted so much: one [`Priority`] for each file of the torrent, as
    /// [`priorities`] makes them of what a user says; those beyond the list normally. Of several
    /// calls the last counts. What is wanted no more is cancelled, and what is there of it stays;
    /// what was kept aside of a file moves to its place. While the data on disk is still being
    /// looked at, it waits for the end of that. It is remembered for the next start.
    ///
    /// If a file cannot come to its place, that is a [`Report::Notice`], and nothing changes.
    pub fn set_priorities(&self, files: Vec<Priority>) {
        self.session.set_priorities(self.id, files);
    }

    /// Has it rest, or go on: while it rests nobody is served, nothing is asked of anybody and
    /// nobody is dialled. Connections stay, and trackers are told as ever. What is on disk is still
    /// looked at. It is not remembered for the next start.
    pub fn pause(&self, paused: bool) {
        self.session.pause(self.id, paused);
    }

    /// From now on payload leaves, and is asked for, at so many bytes a second; `None` for no
    /// limit. An upload limit that finds itself does so no more.
    pub fn set_limits(&self, upload: Option<u64>, download: Option<u64>) {
        self.session.limit(self.id, upload, download);
    }

    /// Has all the data on disk be looked at again, while the rest goes on: what is bad is fetched
    /// again, and what somebody else put there is taken. The end is a [`Report::Notice`]. Nothing
    /// happens while such a look is under way.
    pub fn recheck(&self) {
        self.session.recheck(self.id);
    }

    /// A handle to stop it by.
    pub fn stopper(&self) -> Stopper {
        self.session.stopper()
    }
}
