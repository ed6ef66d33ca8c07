//! How the files of a torrent are treated: what a user can choose.

use std::path::PathBuf;
use std::time::Duration;

use super::{Allocation, Faults, Links, MAX_FILES_OPEN, OpenFiles};

/// The default of [`Options::write_buffer`].
pub const WRITE_BUFFER: usize = 2 * 1024 * 1024;

/// Which files are locked while they are open, against other programs that ask for locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locks {
    /// None.
    None,
    /// Those open for writing.
    Written,
    /// All; those open for reading may be read by others too.
    All,
}

/// What can be chosen about the files of a torrent.
#[derive(Debug, Clone)]
pub struct Options {
    /// What to do about symbolic links.
    pub links: Links,
    /// How and when space is claimed.
    pub allocation: Allocation,
    /// How many files are open at a time, at most; 0 for as many as the system allows. Never more
    /// than a quarter of these, whatever is asked.
    pub max_files_open: usize,
    /// Where open files are kept, if other torrents share it; then its limit is that of all.
    pub open_files: Option<OpenFiles>,
    /// Which files are locked.
    pub locks: Locks,
    /// Whether pieces are checked again whose bytes moved in from aside.
    pub double_check: bool,
    /// Whether a piece must be on the disk itself, and right when it is read back from there,
    /// before it counts as had.
    pub triple_check: bool,
    /// Bytes that may wait to be written. What waits together is written together; with 0 each
    /// block goes by itself.
    pub write_buffer: usize,
    /// Whether the rest of a piece is read ahead once a part of it is to be sent.
    pub read_ahead: bool,
    /// How often what was written is brought to the disk itself, and its files closed; `None` to
    /// leave that to the system.
    pub flush_every: Option<Duration>,
    /// The file for the bytes of unwanted files that come with wanted ones; without it these are
    /// made like others. No two torrents, nor two downloads of one, may share it.
    pub aside: Option<PathBuf>,
    /// Trouble for tests.
    pub faults: Faults,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            links: Links::Refuse,
            allocation: Allocation::Grow,
            max_files_open: MAX_FILES_OPEN,
            open_files: None,
            locks: Locks::None,
            double_check: true,
            triple_check: false,
            write_buffer: WRITE_BUFFER,
            read_ahead: false,
            flush_every: None,
            aside: None,
            faults: Faults::default(),
        }
    }
}

impl From<Links> for Options {
    /// The default but for what is done about symbolic links.
    fn from(links: Links) -> Options {
        Options { links, ..Options::default() }
    }
}
