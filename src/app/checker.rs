//! Checks data on disk against a torrent, on all cores.
//!
//! Called by `btcheck`, which prints the report. Only reads, and follows symbolic links, since
//! nothing leaves the machine by it; a [`repair`](Checker::repair) writes, and follows none.

mod repair;

pub use repair::{Mending, Source, is_url};

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::app::target;
use crate::io::hasher::{Hasher, Hashes, Wish, threads};
use crate::io::reason;
use crate::io::storage::{DiskError, Links, Options, Storage};
use crate::proto::geometry::{BlockRef, FileRange, Geometry, PieceIndex};
use crate::proto::metainfo::{Info, Layout};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The files that were to be checked, in the order of the torrent, without pad files.
    pub files: Vec<FileReport>,
    /// How many pieces these files lie in; 0 if only sizes were looked at.
    pub pieces: u32,
    /// How many of these have the right hash.
    pub good_pieces: u32,
}

/// What was found of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// Its path in the torrent, the names joined by `/`; the torrent's name if that is the file.
    pub path: String,
    /// The bytes it should have.
    pub length: u64,
    /// The bytes it has; `None` if it is missing or cannot be looked at.
    pub found: Option<u64>,
    /// What that comes to.
    pub state: State,
    /// The pieces that are wrong, or lack bytes of this file.
    pub damaged: Ranges,
    /// The pieces that cannot be judged since bytes of other files are lacking.
    pub unverified: Ranges,
}

/// How good a file is. Where several would be true, it is the last of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// All of it is right, as far as was to be looked at.
    Good,
    /// Nothing of it is known to be wrong, but the pieces it shares with files that are missing,
    /// too short or unreadable cannot be judged.
    Unverified,
    /// Some of its pieces are wrong; where a piece lies in several files, any of these may be to
    /// blame.
    Damaged,
    /// It is longer or shorter than it should be.
    WrongSize,
    /// It is not there.
    Missing,
    /// The system would not let it be read, for this reason.
    Unreadable(String),
}

/// Ascending piece numbers, as ranges of which both ends belong to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    /// Adds a number greater than all before.
    fn push(&mut self, number: u32) {
        match self.0.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => self.0.push((number, number)),
        }
    }

    /// First and last number of each range.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + Clone + '_ {
        self.0.iter().copied()
    }

    /// Whether there is no number in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The place of a torrent's data if the user names `path`: what a download saved there would use
/// (see [`Client::start`](crate::app::client::Client::start)); and for a single file also the
/// folder it lies in.
pub fn find(info: &Info, path: &Path) -> PathBuf {
    if info.layout == Layout::Single && path.is_dir() {
        return path.join(&info.name);
    }
    target::choose(info, path)
}

/// A torrent and the place of its data.
pub struct Checker<'a> {
    info: &'a Info,
    geometry: Arc<Geometry>,
    storage: Storage,
    files: Vec<File>,
}

/// What is known of a file so far.
struct File {
    wanted: bool,
    /// `None` for a missing file, and before anybody looked.
    found: Option<u64>,
    error: Option<String>,
    damaged: Ranges,
    unverified: Ranges,
}

/// What is known of a piece.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// No wanted file lies in it.
    Unwanted,
    /// It could not be read, or is still to be.
    Unread,
    Good,
    Bad,
}

impl<'a> Checker<'a> {
    /// Of the data at `root` (see [`find`]), only the files are checked whose path in the torrent
    /// is `wanted`. Touches nothing yet.
    pub fn new(info: &'a Info, root: PathBuf, wanted: impl Fn(&str) -> bool) -> Checker<'a> {
        Checker::with(info, root, wanted, Links::Follow.into())
    }

    /// The same for a [`repair`](Checker::repair).
    pub fn for_repair(info: &'a Info, root: PathBuf, wanted: impl Fn(&str) -> bool) -> Checker<'a> {
        Checker::with(info, root, wanted, repair::options())
    }

    fn with(
        info: &'a Info,
        root: PathBuf,
        wanted: impl Fn(&str) -> bool,
        options: Options,
    ) -> Checker<'a> {
        let geometry = Arc::new(info.geometry());
        let files = info.files.iter().enumerate().map(|(number, file)| File {
            wanted: !file.pad && wanted(&path(info, number)),
            // Zeros need not be on disk.
            found: file.pad.then_some(file.length),
            error: None,
            damaged: Ranges::default(),
            unverified: Ranges::default(),
        });
        let files = files.collect();
        let storage = Storage::new(root, target::files(info), Arc::clone(&geometry), options);
        Checker { info, geometry, storage, files }
    }

    /// How many files are wanted.
    pub fn wanted(&self) -> usize {
        self.files.iter().filter(|file| file.wanted).count()
    }

    /// Looks at the sizes of the files alone.
    pub fn quick(mut self) -> Report {
        for number in 0..self.files.len() {
            if self.files[number].wanted {
                self.look(number);
            }
        }
        self.report(&[])
    }

    /// Hashes every piece in which a wanted file lies. Calls `progress` with the number of bytes
    /// hashed so far and that of all to be hashed.
    pub fn full(mut self, progress: impl FnMut(u64, u64)) -> Report {
        // The unwanted too: they may share a piece with the wanted.
        (0..self.files.len()).for_each(|number| self.look(number));
        let mut verdicts = self.verdicts();
        self.hash(&mut verdicts, progress);
        self.blame(&verdicts);
        self.report(&verdicts)
    }

    fn look(&mut self, number: usize) {
        if self.info.files[number].pad {
            return;
        }
        let file = &mut self.files[number];
        (file.found, file.error) = (None, None);
        // The place that the user named may be a link, but nothing is written through one.
        let is_place = self.info.layout == Layout::Single;
        let refuses = self.storage.options().links == Links::Refuse;
        if is_place && refuses && self.storage.path(number).is_symlink() {
            file.error = Some("a symbolic link is in the way".into());
            return;
        }
        match self.storage.length(number) {
            Ok(found) => file.found = found,
            // A file where a folder should be: what is below it is not there.
            Err(e) if e.source.kind() == ErrorKind::NotADirectory => {}
            Err(e) => file.error = Some(reason(&e.source)),
        }
    }

    /// The verdicts before anything is hashed.
    fn verdicts(&self) -> Vec<Verdict> {
        let mut verdicts = vec![Verdict::Unwanted; self.geometry.piece_count() as usize];
        for number in (0..self.files.len()).filter(|number| self.files[*number].wanted) {
            let pieces = self.geometry.pieces_of_file(number);
            verdicts[pieces.start as usize..pieces.end as usize].fill(Verdict::Unread);
        }
        verdicts
    }

    fn hash(&mut self, verdicts: &mut [Verdict], mut progress: impl FnMut(u64, u64)) {
        let whole = |piece: &PieceIndex| {
            let mut parts = self.geometry.file_ranges(self.geometry.whole_piece(*piece));
            verdicts[piece.at()] == Verdict::Unread && parts.all(|p| self.has(p))
        };
        let pieces: Vec<PieceIndex> = self.geometry.pieces().filter(whole).collect();
        let size = |piece| u64::from(self.geometry.piece_size(piece));
        let total = pieces.iter().map(|piece| size(*piece)).sum();
        let (mut done, mut errors) = (0, Vec::new());
        let stop = AtomicBool::new(false);
        let hasher = Hasher { geometry: &self.geometry, threads: threads(), stop: &stop };
        let read = |range, buffer: &mut [u8]| self.read(range, buffer);
        let wish = |piece| self.wish(piece);
        hasher.run_for(pieces.into_iter(), wish, read, |piece, result| {
            match result {
                Ok(hashes) if self.is_right(piece, hashes) => {
                    verdicts[piece.at()] = Verdict::Good;
                }
                Ok(_) => verdicts[piece.at()] = Verdict::Bad,
                Err(e) => errors.push(e),
            }
            done += size(piece);
            progress(done, total);
        });
        for (number, e) in errors {
            self.files[number].error.get_or_insert(reason(&e.source));
        }
    }

    /// Which hashes of a piece the torrent tells.
    fn wish(&self, piece: PieceIndex) -> Wish {
        let tree = self.info.root(&self.geometry, piece).map(|(cut, _)| cut);
        Wish { sha1: self.info.version.has_one(), tree }
    }

    /// Whether all hashes of a piece are those that the torrent tells.
    fn is_right(&self, piece: PieceIndex, hashes: Hashes) -> bool {
        let sha1 = self.info.pieces.get(piece.at()).copied();
        let root = self.info.root(&self.geometry, piece).map(|(_, root)| root);
        hashes == Hashes { sha1, root }
    }

    /// Whether a part of a file is there, by what was found before hashing.
    fn has(&self, part: FileRange) -> bool {
        let file = &self.files[part.file];
        file.error.is_none() && file.found.is_some_and(|found| part.offset + part.length <= found)
    }

    /// Fills `buffer`; an error comes with the number of its file.
    fn read(&self, range: BlockRef, buffer: &mut [u8]) -> Result<(), (usize, DiskError)> {
        let (mut begin, mut rest) = (range.begin(), buffer);
        for part in self.geometry.file_ranges(range) {
            // No longer than the range, which fits both.
            let length = part.length as u32;
            let (head, tail) = rest.split_at_mut(length as usize);
            rest = tail;
            if self.info.files[part.file].pad {
                head.fill(0);
            } else {
                let own = self.geometry.range(range.piece().get(), begin, length);
                let own = own.expect("cut from a range of the piece");
                self.storage.read(own, head).map_err(|e| (part.file, e))?;
            }
            begin += length;
        }
        Ok(())
    }

    /// Tells the files of the pieces that are not good.
    fn blame(&mut self, verdicts: &[Verdict]) {
        for piece in self.geometry.pieces() {
            let verdict = verdicts[piece.at()];
            if !matches!(verdict, Verdict::Bad | Verdict::Unread) {
                continue;
            }
            for part in self.geometry.file_ranges(self.geometry.whole_piece(piece)) {
                let own = verdict == Verdict::Bad || !self.has(part);
                let file = &mut self.files[part.file];
                let ranges = if own { &mut file.damaged } else { &mut file.unverified };
                ranges.push(piece.get());
            }
        }
    }

    fn report(self, verdicts: &[Verdict]) -> Report {
        let count = |wanted: fn(&Verdict) -> bool| verdicts.iter().filter(|v| wanted(v)).count();
        // Both are at most the number of pieces, which is a u32.
        let pieces = count(|v| *v != Verdict::Unwanted) as u32;
        let good_pieces = count(|v| *v == Verdict::Good) as u32;
        let info = self.info;
        let files = self.files.into_iter().enumerate().filter(|(_, file)| file.wanted);
        let files = files.map(|(number, file)| file.report(info, number)).collect();
        Report { files, pieces, good_pieces }
    }
}

impl File {
    fn report(self, info: &Info, number: usize) -> FileReport {
        let File { found, damaged, unverified, .. } = self;
        let length = info.files[number].length;
        let state = match (self.error, found) {
            (Some(why), _) => State::Unreadable(why),
            (None, None) => State::Missing,
            (None, Some(found)) if found != length => State::WrongSize,
            _ if !damaged.is_empty() => State::Damaged,
            _ if !unverified.is_empty() => State::Unverified,
            _ => State::Good,
        };
        FileReport { path: path(info, number), length, found, state, damaged, unverified }
    }
}

fn path(info: &Info, number: usize) -> String {
    match info.layout {
        Layout::Single => info.name.clone(),
        Layout::Multi => info.files[number].path.join("/"),
    }
}
