//! What went wrong with a file of a torrent.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

/// The machine refused something about a file: who reads it is the user, and who must act too.
#[derive(Debug)]
pub struct DiskError {
    /// What was tried, as a verb: `read`, `write`, `create`, `sync`, `use`.
    pub op: &'static str,
    /// The file or directory it was tried on.
    pub path: PathBuf,
    /// What came back.
    pub source: io::Error,
}

impl DiskError {
    /// Whether data to be read is simply not there yet: no such file, or one that ends too early. The
    /// opposite is a machine that fails to give what may well be there.
    pub fn is_absent(&self) -> bool {
        self.op == "read"
            && matches!(self.source.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof)
    }
}

impl DiskError {
    /// Whether the same may go well later, once somebody has made room, plugged the disk in again
    /// or closed other files: what was to be done may be tried again then. The opposite is
    /// trouble that only another command line, or another mode of a file, can end.
    pub fn is_transient(&self) -> bool {
        use ErrorKind::{
            Interrupted, OutOfMemory, QuotaExceeded, ReadOnlyFilesystem, ResourceBusy,
            StaleNetworkFileHandle, StorageFull, TimedOut, WouldBlock, WriteZero,
        };
        // EIO, ENFILE, EMFILE and ENODEV have no kind of their own.
        matches!(self.source.raw_os_error(), Some(5 | 19 | 23 | 24))
            || matches!(
                self.source.kind(),
                Interrupted
                    | OutOfMemory
                    | QuotaExceeded
                    | ReadOnlyFilesystem
                    | ResourceBusy
                    | StaleNetworkFileHandle
                    | StorageFull
                    | TimedOut
                    | WouldBlock
                    | WriteZero
            )
    }
}

impl fmt::Display for DiskError {
    /// `cannot read 'a/b': Permission denied`, on one line whatever the name holds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} '", self.op)?;
        for c in self.path.to_string_lossy().chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        let reason = self.source.to_string();
        let reason = reason.split(" (os error ").next().unwrap_or(&reason);
        write!(f, "': {reason}")
    }
}

impl std::error::Error for DiskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_was_tried_on_what_and_what_came_back() {
        let source = io::Error::from_raw_os_error(28);
        let error = DiskError { op: "write", path: "x/y\n\x1b[2J".into(), source };
        assert_eq!(error.to_string(), "cannot write 'x/y\\n\\u{1b}[2J': No space left on device");
        assert!(!error.is_absent());
    }
    #[test]
    fn a_full_disk_may_be_emptied_and_a_mode_stays() {
        let is_transient =
            |source| DiskError { op: "write", path: PathBuf::new(), source }.is_transient();
        // EIO, ENODEV, ENFILE, EMFILE, ENOSPC, EROFS, EDQUOT, ESTALE
        for number in [5, 19, 23, 24, 28, 30, 122, 116] {
            assert!(is_transient(io::Error::from_raw_os_error(number)), "{number}");
        }
        // EPERM, ENOENT, EACCES, ENOTDIR, EISDIR, EFBIG, ELOOP
        for number in [1, 2, 13, 20, 21, 27, 40] {
            assert!(!is_transient(io::Error::from_raw_os_error(number)), "{number}");
        }
        assert!(!is_transient(io::Error::other("a symbolic link is in the way")));
    }
}
