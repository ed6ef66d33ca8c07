//! How the files of a torrent are treated: what a user can choose.

use super::{Faults, Links, MAX_FILES_OPEN};

/// What can be chosen about the files of a torrent.
#[derive(Debug, Clone)]
pub struct Options {
    /// What to do about symbolic links.
    pub links: Links,
    /// How many files are open at a time, at most; 0 for as many as the system allows. Never more
    /// than a quarter of these, whatever is asked.
    pub max_files_open: usize,
    /// Trouble for tests.
    pub faults: Faults,
}

impl Default for Options {
    fn default() -> Options {
        Options { links: Links::Refuse, max_files_open: MAX_FILES_OPEN, faults: Faults::default() }
    }
}

impl From<Links> for Options {
    /// The default but for what is done about symbolic links.
    fn from(links: Links) -> Options {
        Options { links, ..Options::default() }
    }
}
