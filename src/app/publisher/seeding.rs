//! The clients that give what is shared to peers: one a torrent. They only ever give.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use super::Message;
use crate::app::client::{Client, Figures, Report, Settings, StartError, Stopper};
use crate::io::mailbox::Post;
use crate::proto::ids::InfoHash;
use crate::proto::metainfo::Metainfo;

/// How often a client tells its figures.
const FIGURES_EVERY: Duration = Duration::from_secs(1);

/// It hands on what its client reports, and no more.
const STACK: usize = 64 * 1024;

/// How the clients are run.
#[derive(Debug, Clone)]
pub struct Peers {
    /// The ports to try for listening.
    pub ports: RangeInclusive<u16>,
    /// Whether they are tried in random order, else ascending.
    pub shuffle_ports: bool,
    /// The addresses to listen on.
    pub bind: Vec<IpAddr>,
}

/// What a client says.
pub(super) enum Said {
    Figures(Box<Figures>),
    Notice(String),
    /// It has ended, and why if it was not told to.
    Ended(Result<(), String>),
}

/// What a client needs to know beside the torrent.
pub(super) struct Seeding<'s> {
    pub peers: &'s Peers,
    /// Where the data is.
    pub path: PathBuf,
    /// Our tracker as we reach it ourselves.
    pub announce: String,
    /// The address that others reach us by.
    pub ip: IpAddr,
    /// Bytes a second.
    pub upload_limit: Option<u64>,
    pub local_only: bool,
}

impl Seeding<'_> {
    /// Starts a client; what it says comes by `post`.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub fn start(self, metainfo: &Metainfo, post: &Post<Message>) -> Result<Stopper, StartError> {
        let (hash, private) = (metainfo.info_hash, metainfo.info.private);
        let metainfo = Metainfo {
            announce: Some(self.announce),
            announce_list: Vec::new(),
            httpseeds: Vec::new(),
            url_list: Vec::new(),
            nodes: Vec::new(),
            ..metainfo.clone()
        };
        let mut settings = Settings::new(metainfo, self.path);
        settings.ports = self.peers.ports.clone();
        settings.shuffle_ports = self.peers.shuffle_ports;
        settings.bind = self.peers.bind.clone();
        // They were hashed just now, or a while ago and look the same: each piece once more
        // before it is sent the first time.
        settings.check_hashes = false;
        settings.web_seeds = false;
        settings.report_interval = FIGURES_EVERY;
        settings.config.ip = Some(self.ip.to_string());
        settings.config.peer_exchange = !private;
        settings.config.local_only = self.local_only;
        settings.config.upload_limit = self.upload_limit;
        // Whatever becomes of the data here, nothing of it is ever fetched from others: it is the
        // user's, who may be at work on it.
        settings.config.download_limit = Some(0);
        let client = Client::start(settings)?;
        let (stopper, post) = (client.stopper(), post.clone());
        let relay = move || relay(&client, hash, &post);
        let thread = thread::Builder::new().name("reports".into()).stack_size(STACK);
        thread.spawn(relay).map_err(StartError::System)?;
        Ok(stopper)
    }
}

fn relay(client: &Client, hash: InfoHash, post: &Post<Message>) {
    while let Some(report) = client.next_report() {
        let said = match report {
            Report::Figures(figures) => Said::Figures(Box::new(figures)),
            Report::Notice(text) => Said::Notice(text),
            Report::Ended(result) => Said::Ended(result),
            _ => continue,
        };
        if !post.send(Message::Seed(hash, said)) {
            return;
        }
    }
}
