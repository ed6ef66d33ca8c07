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
}
