//! From a magnet link to the metadata of its torrent: peers are looked for and asked.
//!
//! [`Joining::start`] starts a thread with a loop of its own, smaller than the engine's: there are
//! no pieces and no disk. What happens comes out of [`Joining::next_report`]; the last report is
//! [`JoinReport::Ended`], with the metadata and with the [`Company`] that a download goes on with.

mod asking;
mod streams;
mod turns;

use super::company::Door;
use super::dht::DhtOptions;
use super::{Company, Event, MAX_MAIL, STACK, StartError, Stopper};
use crate::io::mailbox::{JobReceiver, Post, jobs, mailbox};
use crate::logic::inquiry;
use crate::logic::port_mapping::Way;
use crate::logic::torrent::Config;
use crate::proto::magnet::Magnet;
use crate::proto::metainfo::Metainfo;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Reports that wait for whoever looks on.
const MAX_REPORTS: usize = 64;

/// What it takes to look for the metadata.
pub struct JoinSettings {
    /// What is known of the torrent.
    pub magnet: Magnet,
    /// Where to listen.
    pub door: Door,
    /// Of this what is about connections and trackers.
    pub config: Config,
    /// How the distributed hash table is used, if it is.
    pub dht: Option<DhtOptions>,
    /// Whether peers on the same link are told and heard (BEP 14), unless [`Config::local_only`] says
    /// to stay at home.
    pub lsd: bool,
    /// How the gateway is asked first to let peers in; `None`: not at all. With
    /// [`Config::local_only`] nobody is asked.
    pub map_ports: Option<Way>,
    /// As in [`Settings::utp`](super::Settings::utp).
    pub utp: bool,
    /// As in [`Settings::utp_nearby`](super::Settings::utp_nearby).
    pub utp_nearby: bool,
    /// How long an announce may take.
    pub http_timeout: Duration,
    /// How often the number of peers is reported, if it changes.
    pub report_interval: Duration,
}

/// What happens.
pub enum JoinReport {
    /// So many peers are connected.
    Peers(usize),
    /// Something a user may want to read.
    Notice(String),
    /// It has ended: with the metadata, or `None` if it was stopped, or else why.
    Ended(Result<Option<Box<Joined>>, String>),
}

/// What came of it.
pub struct Joined {
    /// The torrent: it has the hash of the link.
    pub metainfo: Metainfo,
    /// The bytes of a .torrent that says the same.
    pub bytes: Vec<u8>,
    /// For [`Settings::company`](super::Settings::company).
    pub company: Company,
}

/// A search that runs.
pub struct Joining {
    post: Post<Event>,
    stop: Arc<AtomicBool>,
    reports: JobReceiver<JoinReport>,
    thread: Option<JoinHandle<()>>,
    port: u16,
}

impl Joining {
    /// Starts.
    ///
    /// # Errors
    /// What keeps it from starting. Nothing is left running then.
    pub fn start(mut settings: JoinSettings) -> Result<Joining, StartError> {
        let company = Company::alone(&settings.door, settings.config.limits)?;
        let most = settings.config.max_connections.min(company.budget.peers);
        settings.config.max_connections = most;
        let (post, mail) = mailbox(MAX_MAIL, company.reactor.waker());
        let (reporter, reports) = jobs(MAX_REPORTS);
        let stop = Arc::new(AtomicBool::new(false));
        let setup = inquiry::Setup {
            info_hash: settings.magnet.info_hash,
            peer_id: company.peer_id,
            trackers: settings.magnet.trackers.iter().map(|url| vec![url.clone()]).collect(),
            port: company.port,
            seed: company.seed,
        };
        let port = company.port;
        let inquiry = inquiry::Inquiry::new(setup, settings.config.clone(), Instant::now());
        let parts = turns::Parts {
            company,
            inquiry,
            settings,
            mail,
            post: post.clone(),
            stop: Arc::clone(&stop),
            reporter,
        };
        let thread = std::thread::Builder::new()
            .name("joining".into())
            .stack_size(STACK)
            .spawn(move || turns::run(parts))
            .map_err(StartError::System)?;
        Ok(Joining { post, stop, reports, thread: Some(thread), port })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for the next report. `None` after the last one.
    pub fn next_report(&self) -> Option<JoinReport> {
        self.reports.recv()
    }

    /// A handle to stop it by.
    pub fn stopper(&self) -> Stopper {
        Stopper::new(self.post.clone(), Arc::clone(&self.stop))
    }
}

impl Drop for Joining {
    fn drop(&mut self) {
        self.stopper().stop();
        while self.reports.recv().is_some() {}
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
