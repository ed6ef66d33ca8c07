//! Walks a folder in the order a torrent lists it.
//!
//! Depth first, the entries of each folder by the raw bytes of their names, names that begin with
//! a dot left out at every level, as BitTornado does. Symbolic links are followed. For the
//! makers; it opens no file and prints nothing: what was left out is told in the result.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fmt, io};

/// The most files a walk lists: as many as a reader takes in one .torrent, and an end for links
/// that multiply a small folder.
pub const MAX_FILES: usize = 400_000;

/// What a walk found.
#[derive(Debug, Default)]
pub struct Tree {
    /// The files, in order.
    pub files: Vec<Found>,
    /// What was left out and should be told; names that begin with a dot are not.
    pub skipped: Vec<Skipped>,
}

/// A file, as it was when the walk passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Path from below the root; empty if the root is the file.
    pub path: PathBuf,
    /// Bytes.
    pub length: u64,
    /// When it was last written to, where the file system knows.
    pub modified: Option<SystemTime>,
}

/// An entry that is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Path of the entry, the root's path included.
    pub path: PathBuf,
    /// Why.
    pub why: Why,
}

/// Why an entry is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its name is on the list of ignored names.
    Ignored,
    /// Neither file nor folder: a device, a socket, a link to nothing.
    NeitherFileNorFolder,
    /// A link to a folder that it lies in.
    Loop,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            Why::Ignored => "its name is on the list of ignored names",
            Why::NeitherFileNorFolder => "neither file nor folder",
            Why::Loop => "a link to a folder it lies in",
        };
        write!(f, "left out '{}': {why}", self.path.display())
    }
}

/// Why a walk ended early.
#[derive(Debug)]
pub enum TreeError {
    /// The system refused to read this.
    Read(PathBuf, io::Error),
    /// More than [`MAX_FILES`] files.
    TooMany(PathBuf),
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TreeError::Read(path, e) => {
                write!(f, "cannot read '{}': {}", path.display(), super::reason(e))
            }
            TreeError::TooMany(path) => {
                write!(f, "'{}' has more than {MAX_FILES} files", path.display())
            }
        }
    }
}

impl std::error::Error for TreeError {}

/// Lists the files below the folder `root`, without those called like a member of `ignore` and
/// all that is below folders called so.
///
/// # Errors
/// A folder that cannot be read, or too many files.
pub fn walk(root: &Path, ignore: &[OsString]) -> Result<Tree, TreeError> {
    let mut walk = Walk { root, ignore, above: Vec::new(), tree: Tree::default() };
    let metadata = stat(root)?;
    walk.folder(Path::new(""), &metadata)?;
    Ok(walk.tree)
}

/// A file as a walk would tell of it, or `None` for a folder.
///
/// # Errors
/// What cannot be looked at, or is neither file nor folder.
pub fn look(path: &Path) -> Result<Option<Found>, TreeError> {
    let metadata = stat(path)?;
    if metadata.is_dir() {
        return Ok(None);
    }
    if !metadata.is_file() {
        let e = io::Error::other("neither file nor folder");
        return Err(TreeError::Read(path.to_path_buf(), e));
    }
    Ok(Some(found(PathBuf::new(), &metadata)))
}

/// The names of a folder's entries, in order, without those that begin with a dot.
///
/// # Errors
/// A folder that cannot be read.
pub fn names(folder: &Path) -> Result<Vec<OsString>, TreeError> {
    let read = |e| TreeError::Read(folder.to_path_buf(), e);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(read)? {
        let name = entry.map_err(read)?.file_name();
        if !name.as_bytes().starts_with(b".") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn stat(path: &Path) -> Result<Metadata, TreeError> {
    fs::metadata(path).map_err(|e| TreeError::Read(path.to_path_buf(), e))
}

fn found(path: PathBuf, metadata: &Metadata) -> Found {
    Found { path, length: metadata.len(), modified: metadata.modified().ok() }
}

struct Walk<'a> {
    root: &'a Path,
    ignore: &'a [OsString],
    /// Device and inode of the folders on the way down here.
    above: Vec<(u64, u64)>,
    tree: Tree,
}

impl Walk<'_> {
    fn folder(&mut self, path: &Path, metadata: &Metadata) -> Result<(), TreeError> {
        let identity = (metadata.dev(), metadata.ino());
        if self.above.contains(&identity) {
            self.skip(path, Why::Loop);
            return Ok(());
        }
        // No folder stays open while its entries are walked, however deep the tree is.
        let names = names(&self.full(path))?;
        self.above.push(identity);
        for name in names {
            self.entry(path.join(name))?;
        }
        self.above.pop();
        Ok(())
    }

    fn entry(&mut self, path: PathBuf) -> Result<(), TreeError> {
        let name: &OsStr = path.file_name().expect("joined from a name");
        if self.ignore.iter().any(|i| i == name) {
            self.skip(&path, Why::Ignored);
            return Ok(());
        }
        let metadata = match stat(&self.full(&path)) {
            // A link that leads nowhere, or to itself.
            Err(_) if fs::symlink_metadata(self.full(&path)).is_ok_and(|m| m.is_symlink()) => {
                self.skip(&path, Why::NeitherFileNorFolder);
                return Ok(());
            }
            other => other?,
        };
        if metadata.is_dir() {
            return self.folder(&path, &metadata);
        }
        if !metadata.is_file() {
            self.skip(&path, Why::NeitherFileNorFolder);
            return Ok(());
        }
        if self.tree.files.len() == MAX_FILES {
            return Err(TreeError::TooMany(self.root.to_path_buf()));
        }
        self.tree.files.push(found(path, &metadata));
        Ok(())
    }

    fn skip(&mut self, path: &Path, why: Why) {
        self.tree.skipped.push(Skipped { path: self.full(path), why });
    }

    fn full(&self, path: &Path) -> PathBuf {
        if path.as_os_str().is_empty() { self.root.to_path_buf() } else { self.root.join(path) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str, files: &[&str]) -> Folder {
            let name = format!("bt-tree-{name}-{}", std::process::id());
            let folder = Folder(std::env::temp_dir().join(name));
            fs::create_dir_all(&folder.0).unwrap();
            for file in files {
                let path = folder.0.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, file).unwrap();
            }
            folder
        }

        fn walk(&self, ignore: &[&str]) -> (Vec<String>, Vec<(String, Why)>) {
            let ignore: Vec<OsString> = ignore.iter().map(OsString::from).collect();
            let tree = walk(&self.0, &ignore).unwrap();
            let below = |s: Skipped| {
                (s.path.strip_prefix(&self.0).unwrap().to_str().unwrap().to_string(), s.why)
            };
            let files = tree.files.iter().map(|f| f.path.to_str().unwrap().to_string());
            (files.collect(), tree.skipped.into_iter().map(below).collect())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn files_and_folders_come_mixed_by_the_bytes_of_their_names() {
        let folder = Folder::new("order", &["b.txt", "B.txt", "a/2", "a/1/x", "a.b", "é", "z"]);
        let (files, skipped) = folder.walk(&[]);
        assert_eq!(files, ["B.txt", "a/1/x", "a/2", "a.b", "b.txt", "z", "é"]);
        assert_eq!(skipped, []);
    }

    #[test]
    fn dot_names_go_silently_and_ignored_names_are_told() {
        let folder = Folder::new("ignore", &[".a", "d/.git/x", "d/CVS/Root", "d/core", "d/cores"]);
        let (files, skipped) = folder.walk(&["core", "CVS"]);
        assert_eq!(files, ["d/cores"]);
        assert_eq!(skipped, [("d/CVS".into(), Why::Ignored), ("d/core".into(), Why::Ignored)]);
        assert_eq!(folder.walk(&[]).0, ["d/CVS/Root", "d/core", "d/cores"]);
    }

    #[test]
    fn links_are_followed_but_not_in_circles() {
        let folder = Folder::new("links", &["d/f"]);
        symlink("f", folder.0.join("d/g")).unwrap();
        symlink("..", folder.0.join("d/up")).unwrap();
        symlink("nothing", folder.0.join("lost")).unwrap();
        symlink("self", folder.0.join("self")).unwrap();
        symlink("d", folder.0.join("twice")).unwrap();
        let (files, skipped) = folder.walk(&[]);
        assert_eq!(files, ["d/f", "d/g", "twice/f", "twice/g"]);
        let wanted = [
            ("d/up", Why::Loop),
            ("lost", Why::NeitherFileNorFolder),
            ("self", Why::NeitherFileNorFolder),
            ("twice/up", Why::Loop),
        ];
        assert_eq!(skipped, wanted.map(|(p, w)| (p.to_string(), w)));
    }

    #[test]
    fn a_socket_is_told_and_left_out() {
        let folder = Folder::new("socket", &["f"]);
        let _door = std::os::unix::net::UnixListener::bind(folder.0.join("s")).unwrap();
        let (files, skipped) = folder.walk(&[]);
        assert_eq!(files, ["f"]);
        assert_eq!(skipped, [("s".into(), Why::NeitherFileNorFolder)]);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let e = walk(Path::new("/nowhere/at/all"), &[]).unwrap_err();
        assert_eq!(e.to_string(), "cannot read '/nowhere/at/all': No such file or directory");
        let e = look(Path::new("/dev/null")).unwrap_err();
        assert_eq!(e.to_string(), "cannot read '/dev/null': neither file nor folder");
    }
}
