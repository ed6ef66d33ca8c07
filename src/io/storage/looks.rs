//! How the files look from outside: what tells whether somebody else has changed them.

use std::io::ErrorKind;

use super::{DiskError, Storage, Use};
use crate::proto::resume::client::Stamp;

impl Storage {
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
        match self.root.stamp(&self.files[file].path) {
            Ok(stamp) => Ok(Some(stamp)),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Other) => Ok(None),
            Err(e) => Err(self.error("read", file, e)),
        }
    }

    /// Whether the bytes of a file are in a file of its own name, whose looks tell of them.
    pub fn is_file(&self, file: usize) -> bool {
        self.files[file].used != Use::Pad && !self.is_aside(file)
    }

    /// Closes a file, so that the next use looks its name up anew: it may have been replaced.
    pub fn forget(&self, file: usize) {
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
