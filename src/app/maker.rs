//! Makes .torrent files out of files and folders.
//!
//! Joins the walk of a folder, the hash workers and the writer of metainfo. Called by the maker
//! commands, which print what happens and write the bytes to their place; nothing is written
//! here.

mod stream;

pub use stream::make_of_stream;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;
use std::{fmt, io};

use crate::io::hasher::{self, Hasher, Hashes, Wish};
use crate::io::signals::{self, Signal};
use crate::io::storage::{DiskError, FileEntry, Links, Storage, Use};
pub use crate::io::tree::Filter;
pub use crate::io::tree::Found;
use crate::io::tree::{self, Skipped, Tree, TreeError};
use crate::proto::geometry::{Geometry, PieceIndex};
use crate::proto::metainfo::{
    Content, Draft, Info, MAX_SIZE, Metainfo, MetainfoError, PIECE_LENGTHS, Slot, Version,
    automatic_piece_length, piece_length_within,
};

/// What to write besides the content.
#[derive(Debug, Clone, Default)]
pub struct Recipe {
    /// The tracker's address, taken as it is; `None` for a torrent without.
    pub announce: Option<String>,
    /// Tiers of trackers (BEP 12); may be empty.
    pub announce_list: Vec<Vec<String>>,
    /// Web seeds (BEP 17); may be empty.
    pub httpseeds: Vec<String>,
    /// Web seeds (BEP 19); may be empty.
    pub url_list: Vec<String>,
    /// Hosts and ports of the DHT (BEP 5); may be empty.
    pub nodes: Vec<(String, u16)>,
    /// Any text; may be empty.
    pub comment: String,
    /// The program that makes it; may be empty.
    pub created_by: String,
    /// When it is made.
    pub date: Date,
    /// The name of the torrent, or `None` for that of its path.
    pub name: Option<String>,
    /// Peers come from the trackers alone (BEP 27).
    pub private: bool,
    /// Whose torrent it is; may be empty.
    pub source: String,
    /// How many bytes a piece has.
    pub pieces: Pieces,
    /// Which hashes are written.
    pub version: Version,
    /// What is left out of folders.
    pub filter: Filter,
}

/// The date that is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Date {
    /// That of the moment it is made.
    #[default]
    Now,
    /// This one, in seconds since 1970.
    At(i64),
    /// None.
    Without,
}

/// How the piece length is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pieces {
    /// By the size of the content, see [`automatic_piece_length`].
    #[default]
    Automatic,
    /// So many bytes.
    Of(u32),
    /// The smallest with which there are no more pieces than this, see [`piece_length_within`].
    AtMost(u64),
}

/// Why no .torrent was made.
#[derive(Debug)]
pub enum MakeError {
    /// The path, or something below it, cannot be listed.
    Tree(TreeError),
    /// The path has no last component to name the torrent by.
    NoName(PathBuf),
    /// A name that is not UTF-8, which .torrent files demand.
    NotUtf8(PathBuf),
    /// A folder without any file that counts, though so many entries were left out for a reason
    /// that should be told.
    NoFiles(PathBuf, usize),
    /// More pieces than were allowed, even if they are as large as can be.
    TooManyPieces(PathBuf, u64),
    /// Readers would refuse the .torrent, for a name or for its measures.
    Refused(PathBuf, MetainfoError),
    /// A file could not be read.
    Disk(DiskError),
    /// What comes in cannot be read, or there is no thread to read it.
    Input(io::Error),
    /// A file was written to while it was read.
    Changed(PathBuf),
    /// Somebody asked to stop.
    Stopped,
}

impl fmt::Display for MakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MakeError::Tree(e) => write!(f, "{e}"),
            MakeError::NoName(path) => {
                write!(f, "'{}' has no name to call the torrent by", path.display())
            }
            MakeError::NotUtf8(path) => write!(f, "the name of '{}' is not UTF-8", path.display()),
            MakeError::NoFiles(path, 0) => write!(f, "there is no file in '{}'", path.display()),
            MakeError::NoFiles(path, left_out) => {
                write!(f, "there is no file in '{}' but what is left out", path.display())?;
                write!(f, " ({left_out} entries)")
            }
            MakeError::Refused(path, MetainfoError::Size) => write!(
                f,
                "the .torrent of '{}' would exceed {} MiB: choose larger pieces",
                path.display(),
                MAX_SIZE >> 20
            ),
            MakeError::Refused(path, e) => {
                write!(f, "cannot make a .torrent of '{}': {e}", path.display())
            }
            MakeError::TooManyPieces(path, most) => write!(
                f,
                "'{}' has more than {most} pieces of {} MiB, the largest there are",
                path.display(),
                PIECE_LENGTHS.end() >> 20
            ),
            MakeError::Disk(e) => write!(f, "{e}"),
            MakeError::Input(e) => {
                write!(f, "cannot read standard input: {}", crate::io::reason(e))
            }
            MakeError::Changed(path) => {
                write!(f, "'{}' changed while it was read", path.display())
            }
            MakeError::Stopped => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for MakeError {}

impl From<TreeError> for MakeError {
    fn from(e: TreeError) -> Self {
        MakeError::Tree(e)
    }
}

/// The last component of a path once its `.` and `..` are resolved, as BitTornado names torrents;
/// `None` for the root folder. `path` must be absolute.
pub fn name_of(path: &Path) -> Option<OsString> {
    normal(path).file_name().map(OsStr::to_os_string)
}

/// Where the .torrent of `path`, which must be absolute, belongs if nothing else is said: beside
/// it, with `.torrent` appended to its name; `None` for the root folder.
pub fn beside(path: &Path) -> Option<PathBuf> {
    // As it stands where possible: `link/../x` is not `x`.
    let place = if path.file_name().is_some() { path.to_path_buf() } else { normal(path) };
    let mut name = place.file_name()?.to_os_string();
    name.push(".torrent");
    Some(place.with_file_name(name))
}

/// The entries of a folder for which there is no .torrent.
#[derive(Debug)]
pub struct Lacking {
    /// Each entry, and the place of its .torrent.
    pub entries: Vec<(PathBuf, PathBuf)>,
    /// Those that shall have none, because of their names.
    pub left_out: Vec<Skipped>,
}

/// Finds what lacks a .torrent in `folder`, by BitTornado's rules: `NAME.torrent` is looked for
/// there and in `target`, where it would go; names that begin with a dot or end in `.torrent`, and
/// those that `filter` leaves out, need none.
///
/// # Errors
/// A folder that cannot be listed.
pub fn lacking(folder: &Path, target: &Path, filter: &Filter) -> Result<Lacking, MakeError> {
    const ENDING: &str = ".torrent";
    let there = |path: &Path| fs::symlink_metadata(path).is_ok();
    let mut lacking = Lacking { entries: Vec::new(), left_out: Vec::new() };
    for name in tree::names(folder)? {
        let (path, mut torrent) = (folder.join(&name), name.clone());
        torrent.push(ENDING);
        let is_torrent = name.as_bytes().ends_with(ENDING.as_bytes());
        if is_torrent || there(&folder.join(&torrent)) || there(&target.join(&torrent)) {
            continue;
        }
        match filter.leaves_out(Path::new(&name), path.is_dir(), false) {
            Some(why) => lacking.left_out.push(Skipped { path, why }),
            None => lacking.entries.push((path, target.join(torrent))),
        }
    }
    Ok(lacking)
}

fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

/// A .torrent that lacks nothing but its hashes.
#[derive(Debug)]
pub struct Prepared {
    path: PathBuf,
    tree: Tree,
    draft: Draft,
    geometry: Geometry,
    /// In version 2: what tells which part of each piece is hashed.
    cuts: Option<Info>,
}

/// Looks at the file or folder `path`, which must be absolute, and refuses all that can be
/// refused before its content is read.
///
/// # Errors
/// See [`MakeError`].
pub fn prepare(path: &Path, recipe: &Recipe) -> Result<Prepared, MakeError> {
    let (tree, content) = list(path, recipe)?;
    if tree.files.is_empty() {
        return Err(MakeError::NoFiles(path.to_path_buf(), tree.skipped.len()));
    }
    let refused = |e| MakeError::Refused(path.to_path_buf(), e);
    let mut draft = draft(path, recipe, content)?;
    let geometry = draft.geometry().map_err(|e| refused(e.into()))?;
    let (pieces, version) = (geometry.piece_count(), draft.version);
    let bytes = 20 * u64::from(version.has_one()) + 32 * u64::from(version.has_two());
    if u64::from(pieces) * bytes > MAX_SIZE {
        return Err(refused(MetainfoError::Size));
    }
    let count = |wanted| if wanted { pieces as usize } else { 0 };
    draft.pieces = vec![[0; 20]; count(version.has_one())];
    // Not zeros: these stand for what is behind a file's end, and would make files alike.
    draft.roots = vec![[1; 32]; count(version.has_two())];
    // With any hashes it must be a .torrent that we would take ourselves.
    let info = Metainfo::decode_any(&draft.encode()).map_err(refused)?.info;
    let cuts = if version.has_two() { Some(Info { pieces: Arc::new([]), ..info }) } else { None };
    Ok(Prepared { path: path.to_path_buf(), tree, draft, geometry, cuts })
}

impl Prepared {
    /// What is in the folder but not in the torrent, except names that begin with a dot.
    pub fn left_out(&self) -> &[Skipped] {
        &self.tree.skipped
    }

    /// The files, in the torrent's order, as they looked.
    pub fn found(&self) -> &[Found] {
        &self.tree.files
    }

    /// Hashes the content and returns the bytes of the .torrent. Calls `progress` with the number
    /// of bytes hashed so far and that of all. Ends with [`MakeError::Stopped`] soon after `stop`
    /// is set.
    ///
    /// # Errors
    /// See [`MakeError`].
    pub fn make(
        mut self,
        stop: &AtomicBool,
        progress: impl FnMut(u64, u64),
    ) -> Result<Vec<u8>, MakeError> {
        self.hash(stop, progress)?;
        self.tree.files.iter().try_for_each(|file| unchanged(&self.path, file))?;
        Ok(self.draft.encode())
    }

    fn hash(
        &mut self,
        stop: &AtomicBool,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<(), MakeError> {
        let geometry = Arc::new(self.geometry.clone());
        let storage =
            Storage::new(self.path.clone(), self.files(), Arc::clone(&geometry), Links::Follow);
        let (mut done, mut failed) = (0, None);
        // Ends the run early for an error as well as for a wish.
        let halt = AtomicBool::new(false);
        let hasher = Hasher { geometry: &geometry, threads: hasher::threads(), stop: &halt };
        let (sha1, cuts) = (self.draft.version.has_one(), self.cuts.take());
        let cut = |piece| Some(cuts.as_ref()?.root(&geometry, piece)?.0);
        let wish = |piece| Wish { sha1, tree: cut(piece) };
        let each = |piece: PieceIndex, hashes| {
            match hashes {
                Ok(hashes) => {
                    keep(&mut self.draft, piece, hashes);
                    done += u64::from(geometry.piece_size(piece));
                    progress(done, geometry.total());
                }
                Err(e) => drop(failed.get_or_insert(e)),
            }
            if failed.is_some() || stop.load(Ordering::Relaxed) {
                halt.store(true, Ordering::Relaxed);
            }
        };
        let read = |range, buffer: &mut [u8]| storage.read(range, buffer);
        hasher.run_for(geometry.pieces(), wish, read, each);
        match failed {
            Some(e) => Err(MakeError::Disk(e)),
            None if stop.load(Ordering::Relaxed) => Err(MakeError::Stopped),
            None => Ok(()),
        }
    }
}

impl Prepared {
    /// The files as the storage knows them, with the padding between them.
    fn files(&self) -> Vec<FileEntry> {
        let mut found = self.tree.files.iter();
        let entry = |slot: Slot| match slot.pad {
            true => FileEntry { path: PathBuf::new(), length: slot.length, used: Use::Pad },
            false => {
                let file = found.next().expect("a slot for each file");
                FileEntry::new(file.path.clone(), file.length)
            }
        };
        self.draft.slots().into_iter().map(entry).collect()
    }
}

/// Puts the hashes of a piece to their places.
fn keep(draft: &mut Draft, piece: PieceIndex, hashes: Hashes) {
    if let Some(hash) = hashes.sha1 {
        draft.pieces[piece.at()] = hash;
    }
    if let Some(root) = hashes.root {
        draft.roots[piece.at()] = root;
    }
}

/// A wish to stop that SIGINT and SIGTERM set from now on, instead of ending the process.
///
/// # Errors
/// No descriptor or thread to be had.
pub fn stop_on_signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let wish = Arc::clone(&stop);
    let ends = [Signal::Interrupt, Signal::Terminate];
    signals::watch(&ends, move |_| wish.store(true, Ordering::Relaxed))?;
    Ok(stop)
}

fn list(path: &Path, recipe: &Recipe) -> Result<(Tree, Content), MakeError> {
    if let Some(file) = tree::look(path)? {
        let content = Content::File(file.length);
        return Ok((Tree { files: vec![file], skipped: Vec::new() }, content));
    }
    let tree = tree::walk(path, &recipe.filter)?;
    let names = |file: &Found| {
        let names = file.path.iter().map(|n| n.to_str().map(str::to_string));
        names.collect::<Option<Vec<String>>>().map(|names| (names, file.length))
    };
    let named =
        |file| names(file).ok_or_else(|| MakeError::NotUtf8(path.join(file.path.as_path())));
    let files = tree.files.iter().map(named).collect::<Result<_, _>>()?;
    Ok((tree, Content::Folder(files)))
}

fn draft(path: &Path, recipe: &Recipe, content: Content) -> Result<Draft, MakeError> {
    let total = content.lengths().iter().fold(0u64, |sum, length| sum.saturating_add(*length));
    Ok(Draft {
        announce: recipe.announce.clone(),
        announce_list: recipe.announce_list.clone(),
        comment: recipe.comment.clone(),
        created_by: recipe.created_by.clone(),
        creation_date: recipe.date.seconds(),
        httpseeds: recipe.httpseeds.clone(),
        url_list: recipe.url_list.clone(),
        nodes: recipe.nodes.clone(),
        private: recipe.private,
        source: recipe.source.clone(),
        name: name(path, recipe)?,
        piece_length: piece_length(path, recipe.pieces, total)?,
        content,
        version: recipe.version,
        pieces: Vec::new(),
        roots: Vec::new(),
    })
}

impl Date {
    fn seconds(self) -> Option<i64> {
        match self {
            // A clock before 1970 knows no better date than its start.
            Date::Now => Some(
                SystemTime::now()
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .map_or(0, |d| d.as_secs() as i64),
            ),
            Date::At(seconds) => Some(seconds),
            Date::Without => None,
        }
    }
}

fn name(path: &Path, recipe: &Recipe) -> Result<String, MakeError> {
    if let Some(name) = &recipe.name {
        return Ok(name.clone());
    }
    let name = name_of(path).ok_or_else(|| MakeError::NoName(path.to_path_buf()))?;
    name.into_string().map_err(|_| MakeError::NotUtf8(path.to_path_buf()))
}

fn piece_length(path: &Path, pieces: Pieces, total: u64) -> Result<u32, MakeError> {
    match pieces {
        Pieces::Automatic => Ok(automatic_piece_length(total)),
        Pieces::Of(length) => Ok(length),
        Pieces::AtMost(most) => piece_length_within(total, most)
            .ok_or_else(|| MakeError::TooManyPieces(path.to_path_buf(), most)),
    }
}

fn unchanged(root: &Path, file: &Found) -> Result<(), MakeError> {
    let full = match file.path.as_os_str().is_empty() {
        true => root.to_path_buf(),
        false => root.join(&file.path),
    };
    match tree::look(&full)? {
        Some(now) if (now.length, now.modified) == (file.length, file.modified) => Ok(()),
        _ => Err(MakeError::Changed(full)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torrent_is_called_by_the_last_component_that_counts() {
        let name = |path| name_of(Path::new(path)).map(|n| n.into_string().unwrap());
        assert_eq!(name("/a/b/"), Some("b".into()));
        assert_eq!(name("/a/b/."), Some("b".into()));
        assert_eq!(name("/a/b/.."), Some("a".into()));
        assert_eq!(name("/a/../.."), None);
    }

    #[test]
    fn the_torrent_goes_beside_its_content() {
        let place = |path| beside(Path::new(path)).map(|p| p.into_os_string().into_string());
        assert_eq!(place("/a/b/"), Some(Ok("/a/b.torrent".into())));
        assert_eq!(place("/a/b.c/."), Some(Ok("/a/b.c.torrent".into())));
        assert_eq!(place("/l/../a"), Some(Ok("/l/../a.torrent".into())));
        assert_eq!(place("/a/b/.."), Some(Ok("/a.torrent".into())));
        assert_eq!(place("/"), None);
    }
}
