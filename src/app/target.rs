//! Where a torrent's data goes: for the client, which puts it there, and for the check.

use crate::io::storage::{DiskError, FileEntry, Use};
use crate::proto::metainfo::{File, Info, Layout};
use std::fmt;
use std::path::{Path, PathBuf};

/// Why the data cannot go there: the operation, the path and the reason.
#[derive(Debug)]
pub struct TargetError(DiskError);

impl From<DiskError> for TargetError {
    fn from(error: DiskError) -> TargetError {
        TargetError(error)
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The path of the file or folder. As BitTornado does: a folder that is there, is not empty and
/// holds nothing of the torrent is a place for downloads, and the torrent's own folder goes into
/// it; else it is the torrent's folder itself.
pub fn choose(info: &Info, saveas: &Path) -> PathBuf {
    if info.layout == Layout::Single || !saveas.is_dir() {
        return saveas.to_path_buf();
    }
    let tops = || info.files.iter().filter_map(|f| f.path.first());
    let is_empty = std::fs::read_dir(saveas).is_ok_and(|mut entries| entries.next().is_none());
    let holds_some = tops().any(|top| saveas.join(top).symlink_metadata().is_ok());
    match is_empty || holds_some {
        true => saveas.to_path_buf(),
        false => saveas.join(&info.name),
    }
}

/// The files as the storage knows them, in the order of the torrent.
pub fn files(info: &Info) -> Vec<FileEntry> {
    let entry = |file: &File| FileEntry {
        path: match info.layout {
            Layout::Single => PathBuf::new(),
            Layout::Multi => file.path.iter().collect(),
        },
        length: file.length,
        used: if file.pad { Use::Pad } else { Use::Wanted },
    };
    info.files.iter().map(entry).collect()
}
