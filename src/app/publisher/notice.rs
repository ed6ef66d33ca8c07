//! What the publisher tells its user, and why it ends.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::app::client::StartError;
use crate::app::tracker::TrackerError;
use crate::proto::ids::InfoHash;

/// When it ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// After so many completed downloads.
    Downloads(u64),
    /// After this time.
    Time(Duration),
}

/// What happens.
#[derive(Debug)]
pub enum Notice {
    /// The page is at this address.
    Listening(String),
    /// So much of a path has been read.
    Reading {
        /// Its name.
        name: String,
        /// Bytes.
        done: u64,
        /// All bytes.
        total: u64,
    },
    /// A torrent is shared.
    Shared(Shared),
    /// Nothing is at this path any more.
    Gone(PathBuf),
    /// Something a user should know.
    Told(String),
    /// How it goes.
    Figures(Figures),
    /// How it goes in one line, since somebody asked.
    Status(String),
    /// It ends, since that was the goal.
    Enough(Until),
    /// It has ended, and that is what came of it.
    Ended(Figures),
}

/// A torrent that is shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// The path.
    pub path: PathBuf,
    /// Its name.
    pub name: String,
    /// The info hash.
    pub hash: InfoHash,
    /// Bytes of its content.
    pub total: u64,
    /// How many files it has.
    pub files: usize,
    /// Where the .torrent is.
    pub torrent: String,
    /// The magnet link.
    pub magnet: String,
    /// Whether another torrent of the path was shared before.
    pub again: bool,
}

/// The figures of a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// Torrents that are shared.
    pub torrents: usize,
    /// Peers that have everything, ourselves included.
    pub seeds: u64,
    /// Peers that have not.
    pub peers: u64,
    /// Completed downloads: as peers told, and files that web clients were sent whole.
    pub completed: u64,
    /// Bytes a second that are sent, by HTTP and to peers.
    pub rate: f64,
    /// Bytes that were sent to peers.
    pub to_peers: u64,
    /// Bytes that were sent by HTTP.
    pub by_http: u64,
    /// HTTP connections.
    pub connections: usize,
}

/// Why the publisher does not start, or ends.
#[derive(Debug)]
pub enum PublishError {
    /// The doors cannot be opened, or the machine gives no thread.
    Start(TrackerError),
    /// Peers cannot be met.
    Peers(StartError),
    /// None of the paths can be shared; each was told.
    Nothing,
    /// Some of the paths could not be shared; each was told.
    Some,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PublishError::Start(e) => e.fmt(f),
            PublishError::Peers(e) => e.fmt(f),
            PublishError::Nothing => f.write_str("there is nothing to share"),
            PublishError::Some => f.write_str("not everything could be shared"),
        }
    }
}

impl std::error::Error for PublishError {}

impl From<TrackerError> for PublishError {
    fn from(e: TrackerError) -> PublishError {
        PublishError::Start(e)
    }
}
