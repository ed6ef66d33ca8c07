//! How the files look from outside: what tells whether somebody else has changed them.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::{MutexGuard, PoisonError};

use super::{DiskError, Storage, Use};
use crate::io::sys;
use crate::proto::resume::client::Stamp;

/// What is known of the lengths of files that are being written. Nobody else makes them shorter
/// without taking something away that we had written.
#[derive(Debug, Default)]
pub(super) struct Lengths {
    /// What each file has at least, in bytes; nothing of any before the first write.
    least: Vec<u64>,
    /// Those that were shorter.
    cut: Vec<usize>,
}

impl Storage {
    /// Whether a file that is about to be written has no name any more. If so, or if it was cut by
    /// somebody else, that is noted.
    pub(super) fn is_gone(&self, number: usize, file: &File) -> io::Result<bool> {
        if !self.is_file(number) {
            return Ok(false);
        }
        let size = match sys::stamp(file) {
            Ok(stamp) => Some(stamp.size),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        let mut lengths = self.lengths();
        lengths.least.resize(self.files.len(), 0);
        let least = std::mem::replace(&mut lengths.least[number], size.unwrap_or(0));
        if size.is_none_or(|size| size < least) {
            lengths.cut.push(number);
        }
        Ok(size.is_none())
    }

    /// A file was written up to here.
    pub(super) fn reaches(&self, number: usize, end: u64) {
        if let Some(least) = self.lengths().least.get_mut(number).filter(|_| self.is_file(number)) {
            *least = end.max(*least);
        }
    }

    /// The files of which it was noticed since the last call that somebody else has cut or removed
    /// them while we wrote.
    pub fn take_cut(&self) -> Vec<usize> {
        std::mem::take(&mut self.lengths().cut)
    }

    fn lengths(&self) -> MutexGuard<'_, Lengths> {
        // Numbers have no state in between: one thread's panic does not spoil them.
        self.lengths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How file number `file` looks on disk; `None` if there is nothing of its name, or something
    /// that is no file of ours. What is kept aside, and what is nowhere, looks always the same.
    ///
    /// # Errors
    /// What the system says.
    pub fn stamp(&self, file: usize) -> Result<Option<Stamp>, DiskError> {
        let elsewhere = Stamp { size: self.files[file].length, mtime: 0 };
        if self.files[file].used == Use::Pad {
            return Ok(Some(elsewhere));
        }
        if self.is_aside(file) {
            return Ok(self.has_aside().then_some(elsewhere));
        }
        match self.root.find(&self.files[file].path) {
            Ok(found) => Ok(found),
            Err(e) if e.kind() == ErrorKind::Other => Ok(None),
            Err(e) => Err(self.error("read", file, e)),
        }
    }

    /// How all the files look, as by [`Storage::stamp`]. The first time after
    /// [`Storage::prepare`] it is what that has seen of them: each look at many files tells.
    ///
    /// # Errors
    /// What the system says of the first that cannot be looked at.
    pub fn stamps(&self) -> Result<Vec<Option<Stamp>>, DiskError> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut found) = found else {
            return (0..self.files.len()).map(|file| self.stamp(file)).collect();
        };
        for (file, entry) in self.files.iter().enumerate() {
            // What has no bytes may have been made since, and what was aside moved in.
            if !self.is_file(file) || entry.length == 0 || self.has_moved_in(file) {
                found[file] = self.stamp(file)?;
            }
        }
        Ok(found)
    }

    /// Keeps what was seen for [`Storage::stamps`].
    pub(super) fn remember(&self, found: Vec<Option<Stamp>>) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
    }

    /// Whether the bytes of a file are in a file of its own name, whose looks tell of them.
    pub fn is_file(&self, file: usize) -> bool {
        self.files[file].used != Use::Pad && !self.is_aside(file)
    }

    /// Closes a file, so that the next use looks its name up anew: it may have been replaced.
    pub fn forget(&self, file: usize) {
        if let Some(least) = self.lengths().least.get_mut(file) {
            *least = 0;
        }
        self.handles().close(file);
    }

    /// Makes file number `file`, and the folders it is in, unless it is there.
    ///
    /// # Errors
    /// What the system says.
    pub fn make(&self, file: usize) -> Result<(), DiskError> {
        self.open(file, true).map(drop).map_err(|e| self.error("create", file, e))
    }

    /// The path of file number `file`, for messages.
    pub fn path(&self, file: usize) -> std::path::PathBuf {
        self.root.full(&self.files[file].path)
    }
}
