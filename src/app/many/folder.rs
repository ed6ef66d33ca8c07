//! What is in a folder of .torrent files, and what has changed there since the last look.
//!
//! A file is read when it is new or looks different, never otherwise. One that is no .torrent may
//! still be on its way: as long as it was written a moment ago nothing is said of it.

use crate::app::client::{LoadError, Source};
use crate::app::torrent_files::{Stamp, search};
use crate::io::fetch::Bounds;
use crate::io::reason;
use crate::proto::hash::sha1;
use crate::proto::ids::InfoHash;
use crate::proto::metainfo::Metainfo;
use crate::proto::order;
use crate::proto::sorted;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A file that was written so recently may not be all there yet.
const FRESH: Duration = Duration::from_secs(5);

/// No more .torrent files of a folder are looked at.
const MAX_FILES: usize = 100_000;

/// A change.
#[derive(Debug)]
pub(super) enum Change {
    /// A torrent is there.
    Came(PathBuf, Box<Metainfo>),
    /// A torrent is there no more, or another one is in its place.
    Went(PathBuf),
    /// Something a user should know.
    Trouble(String),
}

struct File {
    stamp: Stamp,
    /// The hash of its bytes, and the torrent in it, if it is one.
    content: Option<([u8; 20], InfoHash)>,
    /// It is none, and that was said.
    told: bool,
}

/// The folder, as it was seen last.
pub(super) struct Folder {
    path: PathBuf,
    files: sorted::Map<PathBuf, File>,
    /// The trouble with the folder itself that was told.
    trouble: Option<String>,
    /// Files that may be on their way.
    pending: bool,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Folder {
        Folder { path, files: sorted::Map::new(), trouble: None, pending: false }
    }

    /// Whether there are files that may be on their way: it is worth to look again soon.
    pub(super) fn is_pending(&self) -> bool {
        self.pending
    }

    /// Looks what has changed. What went comes before what came. While the folder cannot be read
    /// nothing has.
    pub(super) fn scan(&mut self, now: SystemTime) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut found = match search(&self.path) {
            Ok(found) => found,
            Err(e) => {
                let text = format!("cannot read '{}': {}", self.path.display(), reason(&e));
                if self.trouble.as_ref() != Some(&text) {
                    changes.push(Change::Trouble(format!("{text}; the torrents go on")));
                    self.trouble = Some(text);
                }
                return changes;
            }
        };
        if self.trouble.take().is_some() {
            let text = format!("'{}' can be read again", self.path.display());
            changes.push(Change::Trouble(text));
        }
        order::by(&mut found, Ord::cmp);
        found.truncate(MAX_FILES);
        let mut before = std::mem::take(&mut self.files);
        let mut came = Vec::new();
        self.pending = false;
        for (path, stamp) in found {
            let file = match before.remove(&path) {
                Some(file) if file.stamp == stamp && (file.content.is_some() || file.told) => file,
                old => self.read(&path, (stamp, old), now, (&mut changes, &mut came)),
            };
            self.files.insert(path, file);
        }
        let went = before.into_iter().filter(|(_, file)| file.content.is_some());
        changes.extend(went.map(|(path, _)| Change::Went(path)));
        changes.extend(came);
        changes
    }

    fn read(
        &mut self,
        path: &Path,
        (stamp, old): (Stamp, Option<File>),
        now: SystemTime,
        (changes, came): (&mut Vec<Change>, &mut Vec<Change>),
    ) -> File {
        let known = old.as_ref().and_then(|file| file.content);
        let went = || known.map(|_| Change::Went(path.to_path_buf()));
        match load(path) {
            Ok((metainfo, digest)) => {
                let content = Some((digest, metainfo.info_hash));
                if content != known {
                    changes.extend(went());
                    came.push(Change::Came(path.to_path_buf(), Box::new(metainfo)));
                }
                File { stamp, content, told: false }
            }
            Err(e) => {
                changes.extend(went());
                let told = !stamp.modified.is_some_and(|at| is_fresh(at, now));
                self.pending |= !told;
                if told {
                    changes.push(Change::Trouble(e.to_string()));
                }
                File { stamp, content: None, told }
            }
        }
    }
}

/// Whether something was written just now; clocks may differ a little.
fn is_fresh(at: SystemTime, now: SystemTime) -> bool {
    let (since, until) = (now.duration_since(at), at.duration_since(now));
    since.or(until).is_ok_and(|apart| apart < FRESH)
}

/// Reads a .torrent file, once more.
pub(super) fn load(path: &Path) -> Result<(Metainfo, [u8; 20]), LoadError> {
    // No server is asked.
    let source = Source::File(path.to_path_buf());
    let (metainfo, bytes) = source.load_exact(Duration::ZERO, &Bounds::default())?;
    Ok((metainfo, sha1(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Lab(PathBuf, SystemTime);

    impl Lab {
        fn new(name: &str) -> Lab {
            let path = std::env::temp_dir().join(format!("bt-many-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            // All that is written is an hour old by then.
            Lab(path, SystemTime::now() + Duration::from_secs(3600))
        }

        fn write(&self, file: &str, bytes: &[u8]) {
            fs::write(self.0.join(file), bytes).unwrap();
        }

        /// The changes in short: `+a` came, `-a` went, `!` a trouble.
        fn scan(&self, folder: &mut Folder) -> String {
            let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
            let short = |change| match change {
                Change::Came(path, _) => format!("+{}", name(&path)),
                Change::Went(path) => format!("-{}", name(&path)),
                Change::Trouble(text) => {
                    format!("!{}", text.replace(&*self.0.to_string_lossy(), ""))
                }
            };
            let changes: Vec<String> = folder.scan(self.1).into_iter().map(short).collect();
            changes.join(" ")
        }
    }

    impl Drop for Lab {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn torrent(name: &str) -> Vec<u8> {
        let mut bytes = format!("d4:infod6:lengthi5e4:name{}:{name}", name.len()).into_bytes();
        bytes.extend(b"12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaaee");
        bytes
    }

    #[test]
    fn what_comes_goes_and_changes_is_told_once() {
        let lab = Lab::new("changes");
        let mut folder = Folder::new(lab.0.clone());
        lab.write("a.torrent", &torrent("a"));
        lab.write("b.torrent", &torrent("b"));
        lab.write("notes.txt", b"no");
        assert_eq!(lab.scan(&mut folder), "+a +b");
        assert_eq!(lab.scan(&mut folder), "");
        // Written anew, and the same.
        fs::remove_file(lab.0.join("a.torrent")).unwrap();
        lab.write("a.torrent", &torrent("a"));
        assert_eq!(lab.scan(&mut folder), "");
        lab.write("a.torrent", &torrent("other"));
        fs::remove_file(lab.0.join("b.torrent")).unwrap();
        lab.write("c.torrent", &torrent("c"));
        assert_eq!(lab.scan(&mut folder), "-a -b +a +c");
    }

    #[test]
    fn a_bad_file_is_told_once_and_taken_when_it_is_good() {
        let lab = Lab::new("bad");
        let mut folder = Folder::new(lab.0.clone());
        lab.write("a.torrent", &torrent("a")[..40]);
        lab.write("b.torrent", &torrent("b"));
        let said = lab.scan(&mut folder);
        assert!(said.starts_with("!'/a.torrent' is not a valid metafile: "), "{said}");
        assert!(said.ends_with("+b") && lab.scan(&mut folder).is_empty(), "{said}");
        lab.write("a.torrent", &torrent("a"));
        assert_eq!(lab.scan(&mut folder), "+a");
        lab.write("a.torrent", b"nothing of it is left");
        let said = lab.scan(&mut folder);
        assert!(said.starts_with("-a !'/a.torrent' is not a valid metafile"), "{said}");
    }

    #[test]
    fn of_what_was_written_a_moment_ago_nothing_bad_is_said() {
        let mut lab = Lab::new("fresh");
        let mut folder = Folder::new(lab.0.clone());
        lab.1 = SystemTime::now();
        lab.write("a.torrent", &torrent("a")[..40]);
        assert_eq!(lab.scan(&mut folder), "");
        assert!(folder.is_pending());
        lab.1 += 2 * FRESH;
        assert!(lab.scan(&mut folder).starts_with('!') && !folder.is_pending());
        assert_eq!(lab.scan(&mut folder), "");
    }

    #[test]
    fn a_folder_that_is_gone_for_a_while_takes_nothing_with_it() {
        let lab = Lab::new("gone");
        let mut folder = Folder::new(lab.0.clone());
        lab.write("a.torrent", &torrent("a"));
        assert_eq!(lab.scan(&mut folder), "+a");
        let away = lab.0.with_extension("away");
        fs::rename(&lab.0, &away).unwrap();
        assert!(lab.scan(&mut folder).starts_with("!cannot read ''"));
        assert_eq!(lab.scan(&mut folder), "");
        fs::rename(&away, &lab.0).unwrap();
        assert_eq!(lab.scan(&mut folder), "!'' can be read again");
        assert_eq!(lab.scan(&mut folder), "");
    }
}
