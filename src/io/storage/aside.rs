//! What lies elsewhere than in a file of the torrent.
//!
//! * The bytes of files that the user does not want, as far as they share pieces with files that
//!   are wanted: they are kept in one file aside, each byte at its offset in the whole content, so
//!   that no index is needed. It is sparse, with at most two pieces of data a file.
//! * Padding (BEP 47): zeros, which are nowhere.
//!
//! A file that the user does not want, but that is there with no more bytes than it should have,
//! is used where it is. When a file that was kept aside is wanted later, its bytes move in: at the
//! next start, or at once while the torrent runs.

use crate::proto::sorted;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::{DiskError, Storage};
use crate::io::sys::{self, OpenMode};
use crate::proto::geometry::{BlockRef, FileRange, PieceIndex};

/// Bytes move in by this many.
const MOVE: usize = 64 * 1024;

/// Whether a file is to be on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Use {
    /// It is.
    #[default]
    Wanted,
    /// It is not; those of its bytes that come with wanted ones are kept aside.
    Unwanted,
    /// It never is: padding, all zeros.
    Pad,
}

/// Where a part of a file is.
pub(super) enum Place {
    /// In an open file, at this offset.
    File(Arc<File>, u64),
    /// Nowhere: it is zeros.
    Zeros,
}

/// The file aside.
#[derive(Debug)]
pub(super) struct Aside {
    /// `None`: nothing can be kept aside, and files that are not wanted are made like others.
    path: Option<PathBuf>,
    file: Mutex<Option<Arc<File>>>,
    /// Written since the last sync.
    dirty: AtomicBool,
    /// Which files are kept aside; known once it is known which are on disk.
    kept: OnceLock<Vec<AtomicBool>>,
    /// As many zeros as a piece is long, for those who send from files.
    zeros: OnceLock<Arc<File>>,
    /// Files that moved in at this start.
    moved: Mutex<Vec<usize>>,
    /// Files that began to move in since then: what is at their place was put there by us.
    begun: Mutex<sorted::Set<usize>>,
}

impl Aside {
    pub fn new(path: Option<PathBuf>) -> Aside {
        Aside {
            path,
            file: Mutex::default(),
            dirty: AtomicBool::new(false),
            kept: OnceLock::new(),
            zeros: OnceLock::new(),
            moved: Mutex::default(),
            begun: Mutex::default(),
        }
    }

    fn keeps(&self, number: usize) -> bool {
        self.kept.get().is_some_and(|kept| kept[number].load(Ordering::Acquire))
    }

    /// The file, opened if it is not; for writing it is made if it is missing.
    fn open(&self, write: bool) -> io::Result<Arc<File>> {
        let mut open = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if write {
            self.dirty.store(true, Ordering::Release);
        }
        if let Some(file) = &*open {
            return Ok(Arc::clone(file));
        }
        let path = self.path.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let (dir, name) = path.parent().zip(path.file_name()).ok_or(io::ErrorKind::NotFound)?;
        if write {
            sys::make_private_dirs(dir)?;
        } else if sys::kind_at(&sys::open_dir(dir)?, name, false).is_err() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mode = OpenMode { write: true, follow: false };
        let file = sys::open_file_at(&sys::open_dir(dir)?, name, mode)?;
        if !matches!(sys::kind_of(&file)?, sys::Kind::File(_)) {
            return Err(io::Error::other("it is not a regular file"));
        }
        let file = Arc::new(file);
        *open = Some(Arc::clone(&file));
        Ok(file)
    }

    fn if_open(&self) -> Option<Arc<File>> {
        self.file.try_lock().ok()?.clone()
    }
}

impl Storage {
    /// Whether file number `file` is kept aside, instead of at its own place. Known from
    /// [`Storage::prepare`] on; [`Storage::take_up`] and [`Storage::put_off`] change it.
    pub fn is_aside(&self, file: usize) -> bool {
        self.aside.keeps(file)
    }

    /// Whether anything is kept aside by now.
    pub(super) fn has_aside(&self) -> bool {
        self.aside.open(false).is_ok()
    }

    /// Whether the bytes of file number `file` that were kept aside moved to their own place at
    /// this start.
    pub fn has_moved_in(&self, file: usize) -> bool {
        self.aside.moved.lock().unwrap_or_else(PoisonError::into_inner).contains(&file)
    }

    /// Where a part of a file is, opened; a file that is missing is made if it is to be written.
    pub(super) fn place(&self, part: FileRange, write: bool) -> io::Result<Place> {
        if self.files[part.file].used == Use::Pad {
            return Ok(Place::Zeros);
        }
        if self.is_aside(part.file) {
            let file = self.aside.open(write)?;
            return Ok(Place::File(file, self.geometry.file_start(part.file) + part.offset));
        }
        Ok(Place::File(self.open(part.file, write)?, part.offset))
    }

    /// The same for reading, if it is open already. Never waits.
    pub(super) fn place_if_open(&self, part: FileRange) -> Option<Place> {
        if self.files[part.file].used == Use::Pad {
            return self.aside.zeros.get().map(|_| Place::Zeros);
        }
        if self.is_aside(part.file) {
            let offset = self.geometry.file_start(part.file) + part.offset;
            return Some(Place::File(self.aside.if_open()?, offset));
        }
        let mut handles = self.handles.try_lock().ok()?;
        Some(Place::File(handles.get(part.file, false)?, part.offset))
    }

    /// A file of as many zeros as any padding in a piece has.
    pub(super) fn zeros(&self) -> io::Result<Arc<File>> {
        if let Some(zeros) = self.aside.zeros.get() {
            return Ok(Arc::clone(zeros));
        }
        let zeros = Arc::new(sys::zeros(u64::from(self.geometry.piece_length()))?);
        Ok(Arc::clone(self.aside.zeros.get_or_init(|| zeros)))
    }

    /// Makes zeros of what a block holds of padding, whatever a peer sent there: that is what is
    /// read back.
    pub fn blank(&self, block: BlockRef, data: &mut [u8]) {
        if !self.has_pads {
            return;
        }
        let mut at = 0;
        for part in self.geometry.file_ranges(block) {
            // No longer than the block.
            let end = at + part.length as usize;
            if self.files[part.file].used == Use::Pad {
                data[at..end].fill(0);
            }
            at = end;
        }
    }

    /// A file of a piece that cannot be there, since nobody wants any of its files: what is kept
    /// aside only came with what was wanted.
    pub(super) fn nowhere(&self, piece: PieceIndex) -> Option<usize> {
        self.aside.kept.get()?;
        let own = |file: usize| self.files[file].used != Use::Pad && !self.is_aside(file);
        let parts = || self.geometry.file_ranges(self.geometry.whole_piece(piece));
        let first = parts().next().map(|part| part.file)?;
        let none = !parts().any(|part| own(part.file));
        (none && self.is_aside(first)).then_some(first)
    }

    /// The path by which people know where the bytes of a file are.
    pub(super) fn place_name(&self, file: usize) -> PathBuf {
        match &self.aside.path {
            Some(path) if self.is_aside(file) => path.clone(),
            _ => self.root.full(&self.files[file].path),
        }
    }

    /// Finds out which files are kept aside: the unwanted that are not there. Those that are
    /// there with more bytes than they should have, or are no files, are nothing of ours.
    pub(super) fn find_aside(&self) {
        if self.aside.path.is_none() || self.files.iter().all(|file| file.used != Use::Unwanted) {
            return;
        }
        let is_kept = |file: &super::FileEntry| {
            let there = || self.root.length(&file.path).ok().flatten();
            file.used == Use::Unwanted && there().is_none_or(|length| length > file.length)
        };
        let kept = || self.files.iter().map(|file| AtomicBool::new(is_kept(file))).collect();
        self.aside.kept.get_or_init(kept);
    }

    /// Moves the bytes of files that were kept aside, and now are wanted, to their place. Only
    /// files that are not there at all get any, so nothing is overwritten.
    pub(super) fn move_in(&self) -> Result<(), DiskError> {
        let Ok(aside) = self.aside.open(false) else { return Ok(()) };
        for (number, file) in self.files.iter().enumerate() {
            if file.used != Use::Wanted || file.length == 0 {
                continue;
            }
            let missing = self.root.length(&file.path).is_ok_and(|length| length.is_none());
            let moved = if missing { self.move_file(number, &aside) } else { Ok(false) };
            if moved.is_ok() {
                // It is in its place now, or has long been.
                sys::give_back(&aside, self.geometry.file_start(number), file.length);
            }
            if moved.map_err(|source| self.error("write", number, source))? {
                self.aside.moved.lock().unwrap_or_else(PoisonError::into_inner).push(number);
            }
        }
        Ok(())
    }

    /// Moves what there is of one file; whether there was anything.
    fn move_file(&self, number: usize, aside: &File) -> io::Result<bool> {
        let (start, length) = (self.geometry.file_start(number), self.files[number].length);
        let piece = u64::from(self.geometry.piece_length());
        let first_end = (start / piece + 1) * piece - start;
        let last_begin = (start + length - 1) / piece * piece;
        let last_begin = last_begin.saturating_sub(start).max(first_end);
        let mut moved = false;
        for (from, to) in [(0, first_end.min(length)), (last_begin, length)] {
            let mut at = from;
            while let Some(data) = sys::next_data(aside, start + at)?.map(|data| data - start) {
                if data >= to {
                    break;
                }
                let end = (sys::next_hole(aside, start + data)? - start).min(to);
                let own = self.open(number, true)?;
                copy(aside, start + data, &own, data, end - data)?;
                (at, moved) = (end, true);
            }
        }
        if moved {
            self.open(number, true)?.sync_data()?;
        }
        Ok(moved)
    }

    /// Those of these files that are kept aside are wanted from now on: what there is of them
    /// moves to their place, and they get the room that [`Options::allocation`](super::Options)
    /// says. Returns those at whose place something is already that we have not put there: it is
    /// used as it is, and nobody knows what it is.
    ///
    /// To be called by the thread that writes, between writes. Others may read meanwhile: what was
    /// moved stays where it was too, until the next start.
    ///
    /// # Errors
    /// The first file that cannot be what it should; it and those behind it stay aside.
    pub fn take_up(&self, files: &[usize]) -> Result<Vec<usize>, DiskError> {
        let mut strange = Vec::new();
        for &number in files.iter().filter(|number| self.is_aside(**number)) {
            let taken = self.take_up_file(number).map_err(|e| self.own_error(number, e))?;
            if !taken {
                strange.push(number);
            }
            self.make_room(number)?;
        }
        Ok(strange)
    }

    /// Whether its place was free.
    fn take_up_file(&self, number: usize) -> io::Result<bool> {
        let file = &self.files[number];
        self.check(file, &mut None)?;
        let mut begun = self.aside.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = begun.contains(&number) || self.root.length(&file.path)?.is_none();
        if is_free {
            begun.insert(number);
            match self.aside.open(false) {
                Ok(aside) if file.length > 0 => _ = self.move_file(number, &aside)?,
                // Nothing was ever kept; empty files are made at once.
                _ if file.length == 0 => _ = self.open(number, true)?,
                _ => {}
            }
        }
        if let Some(kept) = self.aside.kept.get() {
            kept[number].store(false, Ordering::Release);
        }
        Ok(is_free)
    }

    /// Those of these files of which nothing is at their place are kept aside from now on; the
    /// others stay where they are. To be called by the thread that writes, between writes.
    pub fn put_off(&self, files: &[usize]) {
        if self.aside.path.is_none() {
            return;
        }
        for &number in files {
            let file = &self.files[number];
            let missing = self.root.length(&file.path).is_ok_and(|length| length.is_none());
            if file.used == Use::Pad || file.length == 0 || !missing {
                continue;
            }
            let kept = self.aside.kept.get_or_init(|| {
                // The file aside is open beside the others from now on.
                self.handles().share();
                self.files.iter().map(|_| AtomicBool::new(false)).collect()
            });
            // What is kept aside looks as if it were there as soon as there is a file aside. If
            // that cannot be made, the first write will say so.
            let _ = self.aside.open(true);
            kept[number].store(true, Ordering::Release);
        }
    }

    /// An error about a file at its own place, wherever its bytes are now.
    fn own_error(&self, number: usize, source: io::Error) -> DiskError {
        DiskError { op: "use", path: self.path(number), source }
    }

    /// Waits until the file aside is on the disk itself.
    pub(super) fn sync_aside(&self) -> io::Result<()> {
        if !self.aside.dirty.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let synced = self.aside.open(false).and_then(|file| file.sync_data());
        if synced.is_err() {
            self.aside.dirty.store(true, Ordering::Release);
        }
        synced
    }
}

fn copy(from: &File, mut at: u64, to: &File, mut offset: u64, length: u64) -> io::Result<()> {
    let mut buffer = vec![0; MOVE];
    let end = at + length;
    while at < end {
        // No more than MOVE.
        let most = (end - at).min(MOVE as u64) as usize;
        let got = sys::pread(from, &mut buffer[..most], at)?;
        if got == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..got];
        while !rest.is_empty() {
            let put = sys::pwritev(to, &[io::IoSlice::new(rest)], offset)?;
            if put == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = &rest[put..];
            offset += put as u64;
        }
        at += got as u64;
    }
    Ok(())
}
