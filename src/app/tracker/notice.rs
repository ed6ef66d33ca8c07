//! What the tracker tells its operator, and why it does not start.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::io::reason;
use crate::io::save::SaveError;
use crate::proto::resume::StateError;

/// What the operator should know while the tracker runs.
#[derive(Debug)]
pub enum Notice {
    /// It listens here.
    Listening(SocketAddr),
    /// It takes UDP packets here.
    ListeningUdp(SocketAddr),
    /// How it goes, in one line.
    Status(String),
    /// The state file was damaged.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: StateError,
        /// Where it is now.
        kept_as: PathBuf,
        /// The older one that is taken instead; `None` = there is none.
        instead: Option<PathBuf>,
    },
    /// The state file could not be written. It will be tried again.
    NotSaved(SaveError),
    /// What is wrong with the log.
    LogTrouble(String),
    /// What is wrong with a list, or with a .torrent file.
    ListTrouble(String),
    /// The pages for people cannot be made.
    NoPages(io::Error),
    /// So many lines of the log were lost, since writing it takes too long.
    LinesLost(u64),
    /// So many peers and torrents had to make room for others.
    Evicted(u64),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Listening(on) => write!(f, "listening on {on}"),
            Notice::ListeningUdp(on) => write!(f, "listening on {on} for UDP"),
            Notice::Status(text) => f.write_str(text),
            Notice::Damaged { path, error, kept_as, instead } => {
                let (path, kept_as) = (path.display(), kept_as.display());
                write!(f, "warning: state file '{path}': {error}; kept as '{kept_as}', ")?;
                match instead {
                    Some(older) => write!(f, "going back to '{}'", older.display()),
                    None => f.write_str("starting with an empty one"),
                }
            }
            Notice::NotSaved(error) => write!(f, "warning: {error}"),
            Notice::LogTrouble(what) | Notice::ListTrouble(what) => write!(f, "warning: {what}"),
            Notice::NoPages(e) => write!(f, "warning: cannot make pages: {}", reason(e)),
            Notice::LinesLost(n) => {
                write!(f, "warning: the log cannot keep up, {n} lines are lost")
            }
            Notice::Evicted(n) => {
                write!(
                    f,
                    "warning: there is no more room, {n} peers or torrents had to go for others"
                )
            }
        }
    }
}

/// Why the tracker does not start, or ends.
#[derive(Debug)]
pub enum TrackerError {
    /// Listening at this address fails.
    Listen(SocketAddr, io::Error),
    /// The named file cannot be read.
    Read(PathBuf, io::Error),
    /// The log cannot be opened.
    Log(PathBuf, io::Error),
    /// The state file cannot be written.
    Save(SaveError),
    /// The machine gives no descriptor or thread, or polling fails.
    Machine(io::Error),
}

impl fmt::Display for TrackerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrackerError::Listen(on, e) => write!(f, "cannot listen on {on}: {}", reason(e)),
            TrackerError::Read(path, e) => {
                write!(f, "cannot read '{}': {}", path.display(), reason(e))
            }
            TrackerError::Log(path, e) => {
                write!(f, "cannot open the log '{}': {}", path.display(), reason(e))
            }
            TrackerError::Save(e) => e.fmt(f),
            TrackerError::Machine(e) => write!(f, "cannot run: {}", reason(e)),
        }
    }
}

impl std::error::Error for TrackerError {}
