//! The .torrent files of a folder: for the tracker, which allows them, and for those who share
//! them all.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The deepest folder below the one that is named that is looked into.
const MAX_DEPTH: usize = 32;

/// What shows that a file has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// When it was written, where the file system knows.
    pub modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl Stamp {
    /// That of a file that was looked at.
    pub fn of(metadata: &Metadata) -> Stamp {
        let modified = metadata.modified().ok();
        Stamp { modified, length: metadata.len(), inode: metadata.ino() }
    }
}

/// The .torrent files of a folder, or if it has none, those of its sub-folders by the same rule, as
/// BitTornado does. Hidden names are passed over.
///
/// # Errors
/// A folder cannot be read.
pub fn search(folder: &Path) -> io::Result<Vec<(PathBuf, Stamp)>> {
    let mut found = Vec::new();
    search_below(folder, MAX_DEPTH, &mut found)?;
    Ok(found)
}

fn search_below(folder: &Path, depth: usize, found: &mut Vec<(PathBuf, Stamp)>) -> io::Result<()> {
    let (mut torrents, mut folders) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if name.starts_with(b".") {
            continue;
        }
        // What has gone since the folder was read, or leads nowhere, is not there.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_dir() {
            folders.push(path);
        } else if name.ends_with(b".torrent") && metadata.is_file() {
            torrents.push((path, Stamp::of(&metadata)));
        }
    }
    if torrents.is_empty() && depth > 0 {
        for folder in folders {
            search_below(&folder, depth - 1, found)?;
        }
    }
    found.append(&mut torrents);
    Ok(())
}
