//! The session that gives what is shared to peers. It only ever gives.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::Message;
use crate::app::client::{
    Config, Door, Figures, Report, Session, SessionSettings, Settings, StartError, Stopper,
    TorrentId,
};
use crate::io::mailbox::{JobReceiver, JobSender, Post, jobs};
use crate::proto::ids::InfoHash;
use crate::proto::metainfo::Metainfo;

/// How often figures are told.
const FIGURES_EVERY: Duration = Duration::from_secs(1);

/// Torrents that may wait to be brought in or taken out.
const MAX_JOBS: usize = 1024;

/// The session hands on what it reports; a newcomer's files are looked up.
const STACK: usize = 256 * 1024;

/// Where peers are met.
#[derive(Debug, Clone)]
pub struct Peers {
    /// The ports to try for listening.
    pub ports: RangeInclusive<u16>,
    /// Whether they are tried in random order, else ascending.
    pub shuffle_ports: bool,
    /// The addresses to listen on.
    pub bind: Vec<IpAddr>,
}

/// What is said of a torrent, or of all of them.
pub(super) enum Said {
    Figures(Box<Figures>),
    Notice(String),
    /// It has ended, and why if it was not told to.
    Ended(Result<(), String>),
}

/// How the session is run.
pub(super) struct Seeding {
    pub peers: Peers,
    /// Our tracker as we reach it ourselves.
    pub announce: String,
    /// The address that others reach us by.
    pub ip: IpAddr,
    /// Bytes a second.
    pub upload_limit: Option<u64>,
    pub local_only: bool,
}

enum Job {
    Add(Box<Metainfo>, PathBuf),
    Remove(InfoHash),
}

/// Which torrent of the session has which hash.
type Known = Mutex<HashMap<TorrentId, InfoHash>>;

/// The session, with a thread that brings torrents in, for which disks are asked, and one that
/// hands on what it says.
pub(super) struct Seeds {
    jobs: JobSender<Job>,
    stopper: Stopper,
}

impl Seeding {
    /// Opens the session, for no torrent yet; what it says comes by `post`.
    ///
    /// # Errors
    /// No port is free, or the system gives no thread.
    pub fn start(self, post: &Post<Message>) -> Result<Seeds, StartError> {
        let session = Arc::new(Session::open(self.session())?);
        let stopper = session.stopper();
        let known = Arc::new(Known::default());
        let (sender, waiting) = jobs(MAX_JOBS);
        let (theirs, names, reports) = (Arc::clone(&session), Arc::clone(&known), post.clone());
        let spawn = |name: &str| thread::Builder::new().name(name.into()).stack_size(STACK);
        spawn("reports")
            .spawn(move || relay(&theirs, &names, &reports))
            .map_err(StartError::System)?;
        let post = post.clone();
        spawn("seeds")
            .spawn(move || self.work(&waiting, &session, &known, &post))
            .map_err(StartError::System)?;
        Ok(Seeds { jobs: sender, stopper })
    }

    fn config(&self) -> Config {
        Config {
            ip: Some(self.ip.to_string()),
            local_only: self.local_only,
            upload_limit: self.upload_limit,
            // Whatever becomes of the data here, nothing of it is ever fetched from others: it is
            // the user's, who may be at work on it.
            download_limit: Some(0),
            ..Config::default()
        }
    }

    fn session(&self) -> SessionSettings {
        let Peers { ports, shuffle_ports, bind } = self.peers.clone();
        let mut settings = SessionSettings::new(Door { ports, shuffle_ports, bind, device: None });
        settings.config = self.config();
        settings
    }

    fn work(
        &self,
        waiting: &JobReceiver<Job>,
        session: &Session,
        known: &Known,
        post: &Post<Message>,
    ) {
        while let Some(job) = waiting.recv() {
            match job {
                Job::Add(metainfo, path) => {
                    let hash = metainfo.info_hash;
                    // Its first report waits until it is known whose it is.
                    let mut known = lock(known);
                    match session.add(self.torrent(*metainfo, path)) {
                        Ok(added) => _ = known.insert(added.id, hash),
                        Err(e) => {
                            drop(known);
                            post.send(Message::Seed(hash, Said::Ended(Err(e.to_string()))));
                        }
                    }
                }
                Job::Remove(hash) => {
                    let known = lock(known);
                    let ids = known.iter().filter(|(_, other)| **other == hash);
                    ids.for_each(|(id, _)| session.remove(*id));
                }
            }
        }
    }

    fn torrent(&self, metainfo: Metainfo, path: PathBuf) -> Settings {
        let private = metainfo.info.private;
        let metainfo = Metainfo {
            announce: Some(self.announce.clone()),
            announce_list: Vec::new(),
            httpseeds: Vec::new(),
            url_list: Vec::new(),
            nodes: Vec::new(),
            ..metainfo
        };
        let mut settings = Settings::new(metainfo, path);
        // They were hashed just now, or a while ago and look the same: each piece once more
        // before it is sent the first time.
        settings.check_hashes = false;
        settings.web_seeds = false;
        settings.report_interval = FIGURES_EVERY;
        settings.config = Config { peer_exchange: !private, ..self.config() };
        settings
    }
}

impl Seeds {
    /// Gives a torrent, whose data is there, to peers. `false`: too many wait for that.
    pub fn add(&self, metainfo: &Metainfo, path: PathBuf) -> bool {
        self.jobs.try_send(Job::Add(Box::new(metainfo.clone()), path)).is_ok()
    }

    /// Gives it to nobody any more.
    pub fn remove(&self, hash: InfoHash) {
        // Where so many wait it is only given a little longer.
        let _ = self.jobs.try_send(Job::Remove(hash));
    }

    /// Ends the session; [`Message::SeedsEnded`] comes when that is done.
    pub fn stop(&self) {
        self.stopper.stop();
    }
}

fn relay(session: &Session, known: &Known, post: &Post<Message>) {
    while let Some((id, report)) = session.next_report() {
        let said = match report {
            Report::Figures(figures) => Said::Figures(Box::new(figures)),
            Report::Notice(text) | Report::Remark(text) => Said::Notice(text),
            Report::Ended(result) => Said::Ended(result),
            _ => continue,
        };
        let message = match (id, said) {
            (None, Said::Ended(result)) => Message::SeedsEnded(result),
            (None, Said::Notice(text)) => Message::Told(text),
            (None, Said::Figures(_)) => continue,
            (Some(id), said) => {
                let mut known = lock(known);
                let Some(hash) = known.get(&id).copied() else { continue };
                if let Said::Ended(_) = said {
                    known.remove(&id);
                }
                Message::Seed(hash, said)
            }
        };
        if !post.send(message) {
            return;
        }
    }
}

fn lock(known: &Known) -> MutexGuard<'_, HashMap<TorrentId, InfoHash>> {
    // A table has no state in between.
    known.lock().unwrap_or_else(PoisonError::into_inner)
}
