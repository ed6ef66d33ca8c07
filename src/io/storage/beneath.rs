//! Names beneath the root of a torrent, looked up one component at a time.
//!
//! The names come from a stranger's .torrent, and the directory may hold symbolic links that
//! somebody else put there: a plain open of the joined path would follow them anywhere. Each
//! component is opened from the directory before it instead, so that a link is seen and refused
//! at the very step that would follow it. openat2(2) does the same in one call, and is tried first;
//! some kernels and sandboxes lack it, and it does not tell which step was the wrong one.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::io::sys::{self, Kind, OpenMode};
use crate::proto::resume::client::Stamp;

/// What to do about symbolic links beneath the root. The root itself is the user's choice and may
/// be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// A link is an error, wherever it leads.
    Refuse,
    /// A link is followed, wherever it leads.
    Follow,
}

/// The directory a torrent's files lie in, or the one file of a single-file torrent.
#[derive(Debug)]
pub(super) struct Root {
    pub path: PathBuf,
    pub links: Links,
    folders: Folders,
}

/// The directories that are kept open for all torrents that share it: one of each kind, however
/// many torrents there are.
#[derive(Debug, Clone, Default)]
pub(super) struct Folders(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// The root that was last used, open. Forgotten when something is not found beneath it: it may
    /// have been replaced.
    base: Option<(PathBuf, Arc<OwnedFd>)>,
    /// The directory in which a file was last looked up.
    last: Option<Looked>,
}

/// A directory that was looked into.
#[derive(Debug)]
struct Looked {
    root: PathBuf,
    /// Its name beneath the root.
    name: PathBuf,
    /// `None` if it is not there.
    dir: Option<Arc<OwnedFd>>,
    at: Instant,
}

/// For so long a directory is taken to be the one that it was.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Root {
    pub fn new(path: PathBuf, links: Links, folders: Folders) -> Root {
        Root { path, links, folders }
    }

    /// For a moment: a disk that hangs must not stop the torrents of others.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // What is remembered here is whole at any time.
        self.folders.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The full name of a file, for messages.
    pub fn full(&self, path: &Path) -> PathBuf {
        if path.as_os_str().is_empty() { self.path.clone() } else { self.path.join(path) }
    }

    /// Whether the root of a torrent with many files is a folder, or is not there yet.
    pub fn check_folder(&self) -> io::Result<()> {
        match sys::open_dir(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Opens a regular file; for writing, it and its directories are made if they are missing.
    pub fn open(&self, path: &Path, write: bool) -> io::Result<File> {
        if let Some(file) = self.open_at_once(path, write) {
            return Ok(file);
        }
        let (dir, name) = self.parent(path, write)?;
        let mode = OpenMode { write, follow: self.follow(path) };
        let file = sys::open_file_at(&dir, name, mode)
            .map_err(|error| self.explain(error, &dir, name, path))?;
        match sys::kind_of(&file)? {
            Kind::File(_) => Ok(file),
            kind => Err(not_a_file(kind)),
        }
    }

    /// Opens a file by one call, if that goes without a link, a missing directory or another hitch.
    fn open_at_once(&self, path: &Path, write: bool) -> Option<File> {
        let is_plain = path.components().all(|step| matches!(step, Component::Normal(_)));
        if path.as_os_str().is_empty() || !is_plain || (write && self.follow(path)) {
            return None;
        }
        let base = self.base()?;
        let file = match self.follow(path) {
            true => sys::open_file_at(&base, path.as_os_str(), OpenMode { write, follow: true }),
            false => sys::open_file_beneath(&base, path, write),
        };
        let file = file.ok();
        let file = file.filter(|file| matches!(sys::kind_of(file), Ok(Kind::File(_))));
        if file.is_none() {
            self.kept().base = None;
        }
        file
    }

    fn base(&self) -> Option<Arc<OwnedFd>> {
        let known = self.kept().base.as_ref().filter(|(path, _)| self.is(path)).cloned();
        if let Some((_, base)) = known {
            return Some(base);
        }
        let base = Arc::new(sys::open_dir(or_here(&self.path)).ok()?);
        self.kept().base = Some((self.path.clone(), Arc::clone(&base)));
        Some(base)
    }

    fn is(&self, root: &Path) -> bool {
        root.as_os_str() == self.path.as_os_str()
    }

    /// The directory a file is in, and its name there, for a look: many files in a row are in one.
    fn look<'a>(&'a self, path: &'a Path) -> io::Result<(Arc<OwnedFd>, &'a OsStr)> {
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
            let is_there = |at: &&Looked| {
                at.at.elapsed() < LOOK_AGAIN && self.is(&at.root) && at.name == parent
            };
            if let Some(known) = self.kept().last.as_ref().filter(is_there) {
                let dir = known.dir.as_ref().ok_or(ErrorKind::NotFound)?;
                return Ok((Arc::clone(dir), name));
            }
        }
        let found = self.parent(path, false).map(|(dir, name)| (Arc::new(dir), name));
        let dir = match &found {
            Ok((dir, _)) => Some(Arc::clone(dir)),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(_) => return found,
        };
        // The root itself may be the file, and then the directory has no name beneath it.
        let root = self.path.clone();
        let looked = |name: &Path| Looked { root, name: name.into(), dir, at: Instant::now() };
        self.kept().last = path.parent().map(looked);
        found
    }

    /// The length of a regular file; `None` if there is nothing of this name.
    pub fn length(&self, path: &Path) -> io::Result<Option<u64>> {
        Ok(self.find(path)?.map(|stamp| stamp.size))
    }

    /// How a regular file looks from outside; `None` if there is nothing of this name.
    pub fn find(&self, path: &Path) -> io::Result<Option<Stamp>> {
        let found =
            self.look(path).and_then(|(dir, name)| sys::look_at(&dir, name, self.follow(path)));
        match found {
            Ok((Kind::File(_), stamp)) => Ok(Some(stamp)),
            Ok((kind, _)) => Err(not_a_file(kind)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many bytes of space a file has on its disk, at least; 0 if there is none of this name.
    pub fn claimed(&self, path: &Path) -> io::Result<u64> {
        let claimed =
            self.look(path).and_then(|(dir, name)| sys::claimed_at(&dir, name, self.follow(path)));
        match claimed {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            claimed => claimed,
        }
    }

    /// How many bytes are free where the root is, or will be.
    pub fn free(&self) -> io::Result<u64> {
        let mut outcome = Err(ErrorKind::NotFound.into());
        for above in self.path.ancestors() {
            outcome = sys::free(or_here(above));
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Whether an existing file may be written.
    pub fn may_write(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.look(path)?;
        sys::may_write_at(&dir, name)
    }

    /// Whether a missing file may be made: asks the deepest directory on the way to it.
    pub fn may_create(&self, path: &Path) -> io::Result<()> {
        let (base, steps, _) = self.split(path)?;
        let mut dir = None;
        for above in base.ancestors() {
            match sys::open_dir(or_here(above)) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                found => {
                    dir = Some((found?, above == base));
                    break;
                }
            }
        }
        let (mut dir, whole) = dir.ok_or(ErrorKind::NotFound)?;
        for step in steps.components().take_while(|_| whole) {
            match self.step(&dir, step, path) {
                Ok(next) => dir = next,
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
        }
        sys::may_write_at(&dir, OsStr::new("."))
    }

    /// Takes nothing for known any more: directories were made.
    pub fn look_again(&self) {
        self.kept().last = None;
    }

    /// The directory of the root, to bring all beneath it to the disk; and the number of its
    /// device.
    pub fn whole(&self) -> io::Result<(File, u64)> {
        let dir = File::open(or_here(&self.path))?;
        let device = dir.metadata()?.dev();
        Ok((dir, device))
    }

    /// The number of the device a file is on.
    pub fn device(&self, path: &Path) -> io::Result<u64> {
        let (dir, name) = self.look(path)?;
        sys::device_at(&dir, name)
    }

    /// Opens the directory a file lies in, and gives the file's name in it.
    fn parent<'a>(&'a self, path: &'a Path, create: bool) -> io::Result<(OwnedFd, &'a OsStr)> {
        let (base, steps, name) = self.split(path)?;
        let mut dir = match sys::open_dir(or_here(base)) {
            Err(error) if create && error.kind() == ErrorKind::NotFound => {
                self.look_again();
                std::fs::create_dir_all(base)?;
                sys::open_dir(base)?
            }
            result => result?,
        };
        for step in steps.components() {
            dir = match self.step(&dir, step, path) {
                Err(error) if create && error.kind() == ErrorKind::NotFound => {
                    self.look_again();
                    sys::make_dir_at(&dir, step.as_os_str())?;
                    self.step(&dir, step, path)?
                }
                result => result?,
            };
        }
        Ok((dir, name))
    }

    fn step(&self, dir: &OwnedFd, step: Component<'_>, path: &Path) -> io::Result<OwnedFd> {
        let Component::Normal(name) = step else {
            return Err(io::Error::new(ErrorKind::InvalidInput, "a name that leads elsewhere"));
        };
        sys::open_dir_at(dir, name, self.follow(path))
            .map_err(|error| self.explain(error, dir, name, path))
    }

    /// Where the walk starts (the user's own path), the directories below it, the file's name.
    fn split<'a>(&'a self, path: &'a Path) -> io::Result<(&'a Path, &'a Path, &'a OsStr)> {
        let nothing = Path::new("");
        let (base, path) = if path == nothing {
            (
                self.path.parent().unwrap_or(nothing),
                Path::new(self.path.file_name().unwrap_or_default()),
            )
        } else {
            (self.path.as_path(), path)
        };
        match (path.parent(), path.file_name()) {
            (Some(steps), Some(name)) => Ok((base, steps, name)),
            _ => Err(not_a_file(Kind::Directory)),
        }
    }

    fn follow(&self, path: &Path) -> bool {
        self.links == Links::Follow || path.as_os_str().is_empty()
    }

    /// The kernel says "not a directory" or "too many levels" of a link that it may not follow.
    fn explain(&self, error: io::Error, dir: &OwnedFd, name: &OsStr, path: &Path) -> io::Error {
        let link = sys::kind_at(dir, name, false).is_ok_and(|kind| kind == Kind::Link);
        if link && !self.follow(path) { not_a_file(Kind::Link) } else { error }
    }
}

/// The empty path means the current directory, but not to open(2).
fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn not_a_file(kind: Kind) -> io::Error {
    io::Error::other(match kind {
        Kind::Directory => "it is a directory",
        Kind::Link => "a symbolic link is in the way",
        _ => "it is not a regular file",
    })
}
