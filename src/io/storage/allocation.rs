//! Space for files, before their bytes come. Whatever is done here, not a byte of a file that is
//! there already is cut or overwritten.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice};

use super::{Call, DiskError, FileEntry, Storage, Use};
use crate::io::sys;

/// How and when space is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// Files grow as pieces come; nothing is claimed.
    Grow,
    /// Files get their length at the start; nothing is claimed.
    Sparse,
    /// Space is claimed while pieces come, so many bytes a second.
    Background {
        /// Bytes a second, at least 1.
        rate: u64,
    },
    /// All space is claimed before the first piece comes.
    Full,
}

/// So much is claimed at a time at most, in bytes: a wish to stop is heard in between.
pub const CLAIM: u64 = 64 * 1024 * 1024;

/// Zeros, where the file system cannot claim, are written by this many bytes.
const ZEROS: usize = 256 * 1024;

/// One walk over all files of a torrent, which gives them length or space.
#[derive(Debug)]
pub struct Allocating<'a> {
    storage: &'a Storage,
    file: usize,
    offset: u64,
}

impl Storage {
    /// Begins to give the files length or space, as [`Options::allocation`](super::Options) says.
    pub fn allocate(&self) -> Allocating<'_> {
        Allocating { storage: self, file: 0, offset: 0 }
    }

    /// Gives a file that came late the length or space that others got before peers came. For the
    /// thread that writes.
    pub(super) fn make_room(&self, file: usize) -> Result<(), DiskError> {
        if matches!(self.options.allocation, Allocation::Sparse | Allocation::Full) {
            let mut steps = Allocating { storage: self, file, offset: 0 };
            while steps.file == file {
                steps.step(CLAIM).transpose()?;
            }
        }
        Ok(())
    }

    /// Whether the space that is to be claimed before peers come is there at this moment.
    pub(super) fn check_space(&self) -> Result<(), DiskError> {
        if self.options.allocation != Allocation::Full {
            return Ok(());
        }
        let mut need = 0u64;
        for (number, file) in self.own_files() {
            let claimed = self.root.claimed(&file.path);
            let claimed = claimed.map_err(|source| self.error("use", number, source))?;
            need = need.saturating_add(file.length.saturating_sub(claimed));
        }
        // Where the system cannot tell, the claims will.
        match self.root.free() {
            Ok(free) if need > free => {
                let (need, free) = (mebibytes(need), mebibytes(free));
                let why = format!("{need} MiB are needed, {free} MiB are free");
                let source = io::Error::new(ErrorKind::StorageFull, why);
                Err(DiskError { op: "allocate", path: self.root.path.clone(), source })
            }
            _ => Ok(()),
        }
    }

    /// Claims a part of a file. `false`: its file system cannot do that.
    fn claim(&self, file: &File, offset: u64, length: u64) -> io::Result<bool> {
        match self.faults().meet(Call::Claim, 0).and_then(|_| sys::claim(file, offset, length)) {
            Err(error) if sys::cannot_claim(&error) => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// Writes zeros where a part of a file has nothing: in its holes and behind its end. Nobody
    /// else may write the file meanwhile.
    fn fill(&self, file: &File, offset: u64, end: u64) -> io::Result<()> {
        let mut at = offset;
        while at < end {
            let hole = sys::next_hole(file, at)?.min(end);
            let behind = sys::next_data(file, hole)?.unwrap_or(end).min(end);
            self.write_zeros(file, hole, behind)?;
            at = behind.max(hole);
        }
        Ok(())
    }

    fn write_zeros(&self, file: &File, mut at: u64, end: u64) -> io::Result<()> {
        let zeros = vec![0; ZEROS];
        while at < end {
            // No more than ZEROS.
            let length = (end - at).min(ZEROS as u64) as usize;
            let length = self.faults().meet(Call::Write, length)?;
            let put = sys::pwritev(file, &[IoSlice::new(&zeros[..length])], at)?;
            at += put as u64;
        }
        Ok(())
    }
}

impl Allocating<'_> {
    /// The next step: `limit` bytes at most, of one file. The bytes of files that are settled by
    /// now, or `None` when all are.
    ///
    /// # Errors
    /// The system refuses; or, in the background, there is no way to claim without writing: that
    /// is [`ErrorKind::Unsupported`].
    pub fn step(&mut self, limit: u64) -> Option<Result<u64, DiskError>> {
        let storage = self.storage;
        let file = storage.files.get(self.file)?;
        let end = match storage.options.allocation {
            Allocation::Grow => return None,
            Allocation::Sparse => file.length,
            _ => file.length.min(self.offset.saturating_add(limit)),
        };
        let own = file.used != Use::Pad && !storage.is_aside(self.file) && file.length > 0;
        let settled = if own { self.settle(end) } else { Ok(()) };
        let (number, length) = (self.file, end - self.offset);
        self.offset = end;
        if end == file.length {
            (self.file, self.offset) = (self.file + 1, 0);
        }
        Some(settled.map(|()| length).map_err(|e| storage.error("allocate", number, e)))
    }

    /// Gives the current file its length, or space up to `end`.
    fn settle(&self, end: u64) -> io::Result<()> {
        let (storage, number, offset) = (self.storage, self.file, self.offset);
        let FileEntry { path, length, .. } = &storage.files[number];
        let (there, claimed) = (storage.root.length(path)?, storage.root.claimed(path)?);
        let sparse = storage.options.allocation == Allocation::Sparse;
        if there == Some(*length) && (sparse || claimed >= *length) {
            // Nothing to do, and it may well be read-only.
            return Ok(());
        }
        let file = match storage.open(number, true) {
            // Whole, and compressed by its file system; there is no way to claim more for it.
            Err(e) if there == Some(*length) && e.kind() == ErrorKind::PermissionDenied => {
                return Ok(());
            }
            opened => opened?,
        };
        if sparse {
            return sys::stretch(&file, *length);
        }
        match storage.claim(&file, offset, end - offset)? {
            true => Ok(()),
            false if storage.options.allocation == Allocation::Full => {
                storage.fill(&file, offset, end)
            }
            // Zeros written now could meet a piece that is being written.
            false => Err(io::Error::new(
                ErrorKind::Unsupported,
                "its file system cannot claim space without writing",
            )),
        }
    }
}

fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1024 * 1024)
}
