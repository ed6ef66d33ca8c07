//! Walks a folder in the order a torrent lists it.
//!
//! Depth first, the entries of each folder by the raw bytes of their names, names that begin with
//! a dot left out at every level, as BitTornado does. Symbolic links are followed. For the
//! makers; it opens no file and prints nothing: what was left out is told in the result.

use crate::proto::order;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::proto::glob::fits;

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
    /// It fits a pattern of what is left out.
    Excluded,
    /// It fits none of the patterns of what is taken.
    NotIncluded,
    /// Neither file nor folder: a socket, a link to nothing.
    NeitherFileNorFolder,
    /// It is a symbolic link, and these are not wanted.
    Link,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            Why::Ignored => "its name is on the list of ignored names",
            Why::Excluded => "it fits a pattern to exclude",
            Why::NotIncluded => "it fits no pattern to include",
            Why::NeitherFileNorFolder => "neither file nor folder",
            Why::Link => "it is a symbolic link",
        };
        write!(f, "left out '{}': {why}", self.path.display())
    }
}

/// Which entries of a folder count. The default takes all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Names that are left out, of files and of folders with all that is in them.
    pub ignore: Vec<OsString>,
    /// The same by patterns; see [`fits`].
    pub exclude: Vec<String>,
    /// Unless empty: only files that fit one of these, or are in a folder that does, count.
    pub include: Vec<String>,
    /// Symbolic links below the root are left out, instead of being followed.
    pub no_links: bool,
}

impl Filter {
    /// Why an entry is left out, by its path from below the root; `None` if it is taken.
    /// `taken` says whether a folder above fits [`include`](Filter::include).
    pub fn leaves_out(&self, path: &Path, folder: bool, taken: bool) -> Option<Why> {
        match () {
            () if self.ignore.iter().any(|i| Some(&**i) == path.file_name()) => Some(Why::Ignored),
            () if one_fits(&self.exclude, path) => Some(Why::Excluded),
            () if folder || taken || self.includes(path) => None,
            () => Some(Why::NotIncluded),
        }
    }

    fn includes(&self, path: &Path) -> bool {
        self.include.is_empty() || one_fits(&self.include, path)
    }
}

fn one_fits(patterns: &[String], path: &Path) -> bool {
    let path = path.to_string_lossy();
    patterns.iter().any(|pattern| fits(pattern, &path))
}

/// Why a walk ended early.
#[derive(Debug)]
pub enum TreeError {
    /// The system refused to read this, or it is nothing that can be read to an end: a device, a
    /// pipe, a link that leads in a circle.
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

/// Lists the files below the folder `root` that `filter` takes.
///
/// # Errors
/// A folder that cannot be read, or too many files.
pub fn walk(root: &Path, filter: &Filter) -> Result<Tree, TreeError> {
    let mut walk = Walk { root, filter, above: Vec::new(), tree: Tree::default() };
    let metadata = stat(root)?;
    walk.folder(Path::new(""), &metadata, false)?;
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
    order::by(&mut names, Ord::cmp);
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
    filter: &'a Filter,
    /// Device and inode of the folders on the way down here.
    above: Vec<(u64, u64)>,
    tree: Tree,
}

impl Walk<'_> {
    fn folder(&mut self, path: &Path, metadata: &Metadata, taken: bool) -> Result<(), TreeError> {
        let identity = (metadata.dev(), metadata.ino());
        if self.above.contains(&identity) {
            return Err(self.refuse(path, "it is a link to a folder it lies in"));
        }
        // No folder stays open while its entries are walked, however deep the tree is.
        let names = names(&self.full(path))?;
        self.above.push(identity);
        for name in names {
            self.entry(path.join(name), taken)?;
        }
        self.above.pop();
        Ok(())
    }

    fn entry(&mut self, path: PathBuf, taken: bool) -> Result<(), TreeError> {
        // What is left out whatever it is need not be readable.
        if let Some(why) = self.filter.leaves_out(&path, true, taken) {
            self.skip(&path, why);
            return Ok(());
        }
        if self.filter.no_links && self.is_link(&path) {
            self.skip(&path, Why::Link);
            return Ok(());
        }
        let metadata = match stat(&self.full(&path)) {
            Err(TreeError::Read(_, e))
                if e.kind() == ErrorKind::NotFound && self.is_link(&path) =>
            {
                self.skip(&path, Why::NeitherFileNorFolder);
                return Ok(());
            }
            other => other?,
        };
        if metadata.is_dir() {
            let taken = taken || self.filter.includes(&path);
            return self.folder(&path, &metadata, taken);
        }
        if let Some(why) = self.filter.leaves_out(&path, false, taken) {
            self.skip(&path, why);
            return Ok(());
        }
        if metadata.file_type().is_socket() {
            self.skip(&path, Why::NeitherFileNorFolder);
            return Ok(());
        }
        if !metadata.is_file() {
            return Err(self.refuse(&path, "neither file nor folder"));
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

    fn refuse(&self, path: &Path, why: &'static str) -> TreeError {
        TreeError::Read(self.full(path), io::Error::other(why))
    }

    fn is_link(&self, path: &Path) -> bool {
        fs::symlink_metadata(self.full(path)).is_ok_and(|m| m.is_symlink())
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
            let ignore = ignore.iter().map(OsString::from).collect();
            self.walk_by(Filter { ignore, ..Filter::default() })
        }

        fn walk_by(&self, filter: Filter) -> (Vec<String>, Vec<(String, Why)>) {
            let tree = walk(&self.0, &filter).unwrap();
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
    fn patterns_take_files_and_leave_out_files_and_folders() {
        let files = ["a.mp3", "a.nfo", "art/x.png", "cd/b.mp3", "cd/b.nfo", "cd/tmp/c.mp3"];
        let folder = Folder::new("globs", &files);
        let walk = |exclude: &[&str], include: &[&str]| {
            let texts = |texts: &[&str]| texts.iter().map(|t| t.to_string()).collect();
            let (exclude, include) = (texts(exclude), texts(include));
            let (files, skipped) = folder.walk_by(Filter { exclude, include, ..Filter::default() });
            (files.join(" "), skipped)
        };
        let (files, skipped) = walk(&["*.nfo", "cd/t?p"], &[]);
        assert_eq!(files, "a.mp3 art/x.png cd/b.mp3");
        let excluded = |path: &str| (path.to_string(), Why::Excluded);
        assert_eq!(skipped, ["a.nfo", "cd/b.nfo", "cd/tmp"].map(excluded));
        let (files, skipped) = walk(&["tmp"], &["*.mp3", "art"]);
        assert_eq!(files, "a.mp3 art/x.png cd/b.mp3");
        let not = |path: &str| (path.to_string(), Why::NotIncluded);
        assert_eq!(skipped, [not("a.nfo"), not("cd/b.nfo"), excluded("cd/tmp")]);
    }

    #[test]
    fn links_are_followed_but_not_in_circles() {
        let folder = Folder::new("links", &["d/f"]);
        symlink("f", folder.0.join("d/g")).unwrap();
        symlink("nothing", folder.0.join("lost")).unwrap();
        symlink("d", folder.0.join("twice")).unwrap();
        let (files, skipped) = folder.walk(&[]);
        assert_eq!(files, ["d/f", "d/g", "twice/f", "twice/g"]);
        assert_eq!(skipped, [("lost".into(), Why::NeitherFileNorFolder)]);
        for (to, why) in [
            ("..", "it is a link to a folder it lies in"),
            ("odd", "Too many levels of symbolic links"),
            ("/dev/zero", "neither file nor folder"),
        ] {
            let odd = folder.0.join("d/odd");
            symlink(to, &odd).unwrap();
            let e = walk(&folder.0, &Filter::default()).unwrap_err();
            assert_eq!(e.to_string(), format!("cannot read '{}': {why}", odd.display()));
            // Who does not want it can say so.
            assert_eq!(folder.walk(&["odd"]).0, files);
            fs::remove_file(odd).unwrap();
        }
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
        let e = walk(Path::new("/nowhere/at/all"), &Filter::default()).unwrap_err();
        assert_eq!(e.to_string(), "cannot read '/nowhere/at/all': No such file or directory");
        let e = look(Path::new("/dev/null")).unwrap_err();
        assert_eq!(e.to_string(), "cannot read '/dev/null': neither file nor folder");
    }
}
