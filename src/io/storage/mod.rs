//! The files of a torrent: names, creation, an open-file limit, reads and writes by range.
//!
//! The disk workers, the check at start and the makers share one [`Storage`]. Every piece is
//! always at its final place. It never truncates, never
//! deletes, never checks a hash, and follows no symbolic link unless told to.

mod allocation;
mod aside;
mod beneath;
mod error;
mod faults;
mod handles;
mod locking;
mod looks;
mod options;

pub use allocation::{Allocating, Allocation, CLAIM};
pub use aside::Use;
pub use beneath::Links;
pub use error::DiskError;
pub use faults::{Call, Fault, Faults};
pub use handles::{MAX_FILES_OPEN, OpenFiles};
pub use options::{Locks, Options, WRITE_BUFFER};

use crate::proto::sorted;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::io::sys;
use crate::proto::geometry::{BlockRef, FileRange, Geometry};
use crate::proto::resume::client::Stamp;
use aside::{Aside, Place};
use beneath::Root;
use handles::{Handles, Opened};
use locking::Locking;
use looks::Lengths;

/// One file of a torrent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Its name beneath the root, of checked components; empty where the root is the file itself.
    pub path: PathBuf,
    /// Its length in the end, in bytes.
    pub length: u64,
    /// Whether it is to be on disk.
    pub used: Use,
}

impl FileEntry {
    /// A file that is wanted.
    pub fn new(path: PathBuf, length: u64) -> FileEntry {
        FileEntry { path, length, used: Use::Wanted }
    }
}

/// A range of one open file, to be sent as it is.
#[derive(Debug, Clone)]
pub struct Part {
    /// The file, open for reading at least.
    pub file: Arc<File>,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Number of bytes, at least 1.
    pub length: u64,
}

/// The files of one torrent. All calls may block on the disk and come from any thread.
#[derive(Debug)]
pub struct Storage {
    root: Root,
    files: Vec<FileEntry>,
    geometry: Arc<Geometry>,
    handles: Mutex<Handles>,
    locking: Locking,
    aside: Aside,
    has_pads: bool,
    options: Options,
    /// How long the files are that are being written.
    lengths: Mutex<Lengths>,
    /// How each file looked when the storage was prepared, until it is asked for.
    found: Mutex<Option<Vec<Option<Stamp>>>>,
}

/// How many buffers go into one system call.
const BUFFERS_A_CALL: usize = 32;

/// More files than this that wait for the disk are brought there together.
const MANY_DIRTY: usize = 100;

impl Storage {
    /// The files of a torrent beneath `root`, with the measures of `geometry`. Touches nothing.
    pub fn new(
        root: PathBuf,
        files: Vec<FileEntry>,
        geometry: Arc<Geometry>,
        options: impl Into<Options>,
    ) -> Storage {
        debug_assert_eq!(files.len(), geometry.file_count());
        let options = options.into();
        // The file aside and the zeros are open beside the others.
        let other = |used| usize::from(files.iter().any(|file| file.used == used));
        let others = other(Use::Unwanted) + other(Use::Pad);
        let has_pads = other(Use::Pad) > 0;
        let open = options.open_files.clone();
        let open = open.unwrap_or_else(|| OpenFiles::new(options.max_files_open));
        let root = Root::new(root, options.links, open.folders());
        let handles = Mutex::new(Handles::new(open, others));
        let aside = Aside::new(options.aside.clone());
        let locking = Locking::new(options.locks);
        let (lengths, found) = Default::default();
        Storage {
            root,
            files,
            geometry,
            handles,
            locking,
            aside,
            has_pads,
            options,
            lengths,
            found,
        }
    }

    /// What was chosen about the files.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The measures of the content.
    pub fn geometry(&self) -> &Arc<Geometry> {
        &self.geometry
    }

    /// Checks that the torrent can live here, then makes its directories' root and its empty
    /// files. Whatever it refuses, it has made nothing. Data that is complete may be read-only.
    ///
    /// # Errors
    /// The first thing that is in the way: a root or file of the wrong kind, a file longer than
    /// the torrent says, a place or file that may not be written although something is missing.
    pub fn prepare(&self) -> Result<(), DiskError> {
        let about_root = |op| move |source| DiskError { op, path: self.root.path.clone(), source };
        let in_folder = self.files.iter().all(|file| !file.path.as_os_str().is_empty());
        if in_folder {
            self.root.check_folder().map_err(about_root("use"))?;
        }
        self.find_aside();
        let mut creatable = None;
        let mut found = vec![None; self.files.len()];
        for (number, file) in self.own_files() {
            let checked = self.check(file, &mut creatable);
            found[number] = checked.map_err(|source| self.error("use", number, source))?;
        }
        self.check_space()?;
        if in_folder {
            std::fs::create_dir_all(&self.root.path).map_err(about_root("create"))?;
            self.root.look_again();
        }
        self.move_in()?;
        for (number, file) in self.own_files().filter(|(_, f)| f.length == 0) {
            if found[number].is_none() {
                let made = self.root.open(&file.path, true);
                made.map_err(|source| self.error("create", number, source))?;
            }
        }
        self.remember(found);
        Ok(())
    }

    /// The files that are, or are to be, at their place on disk, and their numbers.
    fn own_files(&self) -> impl Iterator<Item = (usize, &FileEntry)> {
        let own = |(number, file): &(usize, &FileEntry)| {
            file.used == Use::Wanted || (file.used == Use::Unwanted && !self.is_aside(*number))
        };
        self.files.iter().enumerate().filter(own)
    }

    /// How the file looks, if it is there. `creatable` is the folder in which a file could be made
    /// last: it is asked once.
    fn check<'a>(
        &self,
        file: &'a FileEntry,
        creatable: &mut Option<&'a Path>,
    ) -> io::Result<Option<Stamp>> {
        let found = self.root.find(&file.path)?;
        match found.map(|stamp| stamp.size) {
            None if file.path.parent().is_some() && *creatable == file.path.parent() => {}
            None => {
                self.root.may_create(&file.path)?;
                *creatable = file.path.parent();
            }
            Some(is) if is > file.length => {
                let says = file.length;
                return Err(io::Error::other(format!(
                    "it has {is} bytes, the torrent says {says}"
                )));
            }
            Some(is) if is < file.length => self.root.may_write(&file.path)?,
            Some(_) => {}
        }
        Ok(found)
    }

    /// How many bytes file number `file` has on disk; `None` if there is nothing of its name.
    ///
    /// # Errors
    /// What the system says, or that something other than a file has the name.
    pub fn length(&self, file: usize) -> Result<Option<u64>, DiskError> {
        self.root.length(&self.files[file].path).map_err(|e| self.error("read", file, e))
    }

    /// Fills `buffer`, which must be as long as `range`, from the files.
    ///
    /// # Errors
    /// [`DiskError::is_absent`] if a file is missing or too short; else what the system says.
    pub fn read(&self, range: BlockRef, buffer: &mut [u8]) -> Result<(), DiskError> {
        debug_assert_eq!(buffer.len(), range.length() as usize);
        if let Some(file) = self.nowhere(range.piece()) {
            return Err(self.error("read", file, ErrorKind::NotFound.into()));
        }
        let mut rest = buffer;
        for part in self.geometry.file_ranges(range) {
            // A part is no longer than its piece, so its length fits usize.
            let (head, tail) = rest.split_at_mut(part.length as usize);
            rest = tail;
            self.read_part(part, head).map_err(|e| self.error("read", part.file, e))?;
        }
        Ok(())
    }

    fn read_part(&self, part: FileRange, mut buffer: &mut [u8]) -> io::Result<()> {
        let Place::File(file, mut offset) = self.place(part, false)? else {
            buffer.fill(0);
            return Ok(());
        };
        while !buffer.is_empty() {
            let most = self.faults().meet(Call::Read, buffer.len())?;
            let got = sys::pread(&file, &mut buffer[..most], offset)?;
            if got == 0 {
                return Err(too_short());
            }
            offset += got as u64;
            buffer = &mut buffer[got..];
        }
        Ok(())
    }

    /// Writes `data`, which must be as long as `range`, to the files, and makes those that are
    /// missing.
    ///
    /// # Errors
    /// What the system says; a part of the data may be written then.
    pub fn write(&self, range: BlockRef, data: &[u8]) -> Result<(), DiskError> {
        self.write_vectored(range, &[data])
    }

    /// Like [`Storage::write`], for data in several buffers, one behind the other.
    ///
    /// # Errors
    /// As for [`Storage::write`].
    pub fn write_vectored(&self, range: BlockRef, data: &[&[u8]]) -> Result<(), DiskError> {
        let mut source = Source { data, used: 0 };
        for part in self.geometry.file_ranges(range) {
            self.write_part(part, &mut source).map_err(|e| self.error("write", part.file, e))?;
        }
        debug_assert!(source.data.is_empty(), "data as long as its range");
        Ok(())
    }

    fn write_part(&self, part: FileRange, source: &mut Source<'_>) -> io::Result<()> {
        let mut left = part.length as usize;
        let Place::File(mut file, mut offset) = self.place(part, true)? else {
            source.advance(left);
            return Ok(());
        };
        if self.is_gone(part.file, &file)? {
            self.handles().close(part.file);
            file = self.open(part.file, true)?;
        }
        while left > 0 {
            let mut buffers = [IoSlice::new(&[]); BUFFERS_A_CALL];
            let most = self.faults().meet(Call::Write, left)?;
            let count = source.slices(most, &mut buffers);
            let put = sys::pwritev(&file, &buffers[..count], offset)?;
            if put == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            source.advance(put);
            offset += put as u64;
            left -= put;
        }
        self.reaches(part.file, offset);
        Ok(())
    }

    /// The open files and offsets where a range lies. Whether they are long enough is not checked.
    ///
    /// # Errors
    /// A file cannot be opened, or is missing ([`DiskError::is_absent`]); or there would be no
    /// descriptor left for those who write.
    pub fn parts(&self, range: BlockRef) -> Result<Vec<Part>, DiskError> {
        if self.handles().is_crowded() {
            let file = self.geometry.file_ranges(range).next().map_or(0, |part| part.file);
            let refusal = || self.error("read", file, sys::out_of_descriptors());
            return self.parts_if_open(range).ok_or_else(refusal);
        }
        let part = |part: FileRange| match self.place(part, false) {
            Ok(Place::File(file, offset)) => Ok(Part { file, offset, length: part.length }),
            Ok(Place::Zeros) => self
                .zeros()
                .map(|file| Part { file, offset: 0, length: part.length })
                .map_err(|source| self.error("read", part.file, source)),
            Err(source) => Err(self.error("read", part.file, source)),
        };
        self.geometry.file_ranges(range).map(part).collect()
    }

    /// Like [`Storage::parts`], but never waits: `None` unless every file is open already.
    pub fn parts_if_open(&self, range: BlockRef) -> Option<Vec<Part>> {
        let part = |part: FileRange| match self.place_if_open(part)? {
            Place::File(file, offset) => Some(Part { file, offset, length: part.length }),
            Place::Zeros => Some(Part { file: self.zeros().ok()?, offset: 0, length: part.length }),
        };
        self.geometry.file_ranges(range).map(part).collect()
    }

    /// File number `file`, open for reading at least, and how it looks. May wait for the disk.
    ///
    /// # Errors
    /// It cannot be opened, or is missing ([`DiskError::is_absent`]).
    pub fn file(&self, file: usize) -> Result<(Arc<File>, Stamp), DiskError> {
        let opened = self.open(file, false).and_then(|open| {
            let looks = sys::stamp(&open)?;
            Ok((open, looks))
        });
        opened.map_err(|source| self.error("read", file, source))
    }

    /// Waits until everything written so far is on the disk itself.
    ///
    /// # Errors
    /// The first file that failed; what failed is tried again by the next call.
    pub fn sync(&self) -> Result<(), DiskError> {
        let dirty = std::mem::take(&mut self.handles().dirty);
        let mut first = self.sync_aside().err().map(|source| DiskError {
            op: "sync",
            path: self.options.aside.clone().unwrap_or_default(),
            source,
        });
        let dirty = match dirty.len() {
            ..=MANY_DIRTY => dirty,
            // Many files are much sooner on the disk together; one by one is the other way.
            _ => self.sync_together(&dirty).unwrap_or(dirty),
        };
        for number in dirty {
            let synced = self.open(number, false).and_then(|file| {
                self.faults().meet(Call::Sync, 0)?;
                file.sync_data()
            });
            if let Err(source) = synced {
                self.handles().dirty.insert(number);
                first.get_or_insert(self.error("sync", number, source));
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Brings all that is on the root's file system to the disk, and says which files are left.
    fn sync_together(&self, dirty: &sorted::Set<usize>) -> io::Result<sorted::Set<usize>> {
        let (root, device) = self.root.whole()?;
        self.faults().meet(Call::Sync, 0)?;
        sys::sync_file_system(&root)?;
        let elsewhere = |file: &usize| {
            !self.root.device(&self.files[*file].path).is_ok_and(|other| other == device)
        };
        Ok(dirty.iter().copied().filter(elsewhere).collect())
    }

    /// Like [`Storage::sync`], and closes the files that were written.
    ///
    /// # Errors
    /// As for [`Storage::sync`]; the files are closed all the same.
    pub fn flush(&self) -> Result<(), DiskError> {
        let synced = self.sync();
        self.handles().close_written();
        synced
    }

    /// Waits until a range is on the disk itself, and has the system forget it, so that it is
    /// next read from there.
    ///
    /// # Errors
    /// What the system says.
    pub fn settle(&self, range: BlockRef) -> Result<(), DiskError> {
        for part in self.geometry.file_ranges(range) {
            let settled = self.place(part, false).and_then(|place| {
                let Place::File(file, offset) = place else { return Ok(()) };
                self.faults().meet(Call::Sync, 0)?;
                file.sync_data()?;
                sys::forget(&file, offset, part.length);
                Ok(())
            });
            settled.map_err(|source| self.error("sync", part.file, source))?;
        }
        Ok(())
    }

    /// What a user should know and was not told before: an oddity of the place of the files.
    pub fn warning(&self) -> Option<String> {
        let failed = self.locking.has_failed();
        failed.then(|| format!("cannot lock files in '{}', going on", self.root.path.display()))
    }

    fn open(&self, number: usize, write: bool) -> io::Result<Arc<File>> {
        if let Some(file) = self.handles().get(number, write) {
            return Ok(file);
        }
        let turn = self.locking.turn(write);
        if turn.is_some() {
            let mut handles = self.handles();
            // Whoever had the turn before may have opened it.
            if let Some(file) = handles.get(number, write) {
                return Ok(file);
            }
            // Our own lock for reading would be in the way of that for writing.
            handles.close(number);
        }
        let file = match self.open_anew(number, write) {
            // Other parts of the program may have taken what there was: what we have is given up
            // for the one that is needed now.
            Err(error) if sys::is_out_of_descriptors(&error) => {
                self.handles().close_all();
                self.open_anew(number, write)?
            }
            opened => opened?,
        };
        let locked = turn.is_some() && self.locking.lock(&file, write, self.faults())?;
        Ok(self.handles().put(number, Opened { file, writable: write, locked }))
    }

    fn open_anew(&self, number: usize, write: bool) -> io::Result<File> {
        self.faults().meet(Call::Open, 0)?;
        self.handles().make_room();
        self.root.open(&self.files[number].path, write)
    }

    pub(in crate::io) fn faults(&self) -> &Faults {
        &self.options.faults
    }

    fn handles(&self) -> MutexGuard<'_, Handles> {
        // A table of open files has no state in between: one thread's panic does not spoil it.
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error about file number `file`.
    pub(in crate::io) fn error(
        &self,
        op: &'static str,
        file: usize,
        source: io::Error,
    ) -> DiskError {
        DiskError { op, path: self.place_name(file), source }
    }
}

fn too_short() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the file is too short")
}

/// Buffers that are written one behind the other, in steps that need not end where they do.
struct Source<'a> {
    data: &'a [&'a [u8]],
    /// How much of the first buffer is written.
    used: usize,
}

impl<'a> Source<'a> {
    /// Puts the next bytes, at most `limit`, into `out` and says how many places that took.
    fn slices(&self, limit: usize, out: &mut [IoSlice<'a>]) -> usize {
        let (mut left, mut skip, mut count) = (limit, self.used, 0);
        for (place, data) in out.iter_mut().zip(self.data) {
            if left == 0 {
                break;
            }
            let data = &data[skip..];
            skip = 0;
            *place = IoSlice::new(&data[..data.len().min(left)]);
            left -= place.len();
            count += 1;
        }
        count
    }

    fn advance(&mut self, written: usize) {
        self.used += written;
        while let Some(first) = self.data.first().filter(|first| first.len() <= self.used) {
            self.used -= first.len();
            self.data = &self.data[1..];
        }
    }
}

#[cfg(test)]
mod tests;
