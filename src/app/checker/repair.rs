//! Mends data by another copy: the pieces that are bad are taken from there, held against the
//! torrent in memory, and only then written. Each byte that is written is right, so whatever ends
//! the work in between, nothing that was right becomes wrong.

use std::sync::Arc;
use std::time::Duration;

use crate::app::target;
use crate::io::fetch;
use crate::io::hasher;
use crate::io::storage::{Links, Locks, Options, Storage};
use crate::proto::geometry::{FileRange, Geometry, PieceIndex};
use crate::proto::metainfo::{Info, seed_url};

use super::{Checker, Ranges, Report, Verdict, find};

/// How long a web seed may take for a part of [`PART`] bytes.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The most bytes asked of a web seed at once: even a slow one brings them in time.
const PART: u32 = 1 << 20;

/// How files are opened that may be written: no link is followed, and nobody else may have them
/// locked.
pub(super) fn options() -> Options {
    Options { links: Links::Refuse, locks: Locks::Written, ..Options::default() }
}

/// Where right bytes are to be had.
pub enum Source {
    /// Another copy on this machine.
    Copy(Box<Storage>),
    /// A web seed (BEP 19).
    Web(String),
}

impl Source {
    /// What a user means by `from`: a URL, or a place as [`find`] takes it.
    pub fn of(info: &Info, from: &std::path::Path) -> Source {
        match from.to_str().filter(|text| is_url(text)) {
            Some(url) => Source::Web(url.to_string()),
            None => {
                let files = target::files(info);
                let geometry = Arc::new(info.geometry());
                let storage = Storage::new(find(info, from), files, geometry, Links::Follow);
                Source::Copy(Box::new(storage))
            }
        }
    }

    /// Fills `bytes` with the part of a file.
    fn read(&self, info: &Info, geometry: &Geometry, at: Place) -> Result<(), Trouble> {
        let Place { part, piece, begin, bytes } = at;
        match self {
            Source::Copy(storage) => {
                let range = geometry.range(piece.get(), begin, bytes.len() as u32);
                let range = range.expect("cut from the piece");
                storage.read(range, bytes).map_err(|e| Trouble::File(e.to_string()))
            }
            Source::Web(base) => {
                let url = seed_url(base, info, part.file);
                let step = PART as usize;
                for (n, bytes) in bytes.chunks_mut(step).enumerate() {
                    let offset = part.offset + n as u64 * u64::from(PART);
                    download(&url, offset, bytes)?;
                }
                Ok(())
            }
        }
    }
}

/// Whether a source is a web seed's address.
pub fn is_url(text: &str) -> bool {
    let is = |scheme: &str| {
        text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    is("http://") || is("https://")
}

/// Bytes of one file in one piece, to be read.
struct Place<'b> {
    part: FileRange,
    piece: PieceIndex,
    /// Offset in the piece.
    begin: u32,
    bytes: &'b mut [u8],
}

/// Why a piece cannot be had from a source.
enum Trouble {
    /// This file is not to be had there.
    File(String),
    /// Nothing is, now.
    Source(String),
}

/// Fills `bytes` from a server's file.
fn download(url: &str, offset: u64, bytes: &mut [u8]) -> Result<(), Trouble> {
    // At most PART.
    let length = bytes.len() as u32;
    let reply = fetch::get_part(url, offset, length, TIMEOUT);
    let reply = reply.map_err(|e| Trouble::Source(e.to_string()))?;
    let cannot = |why: String| Err(Trouble::File(format!("cannot fetch '{url}': {why}")));
    if !matches!(reply.status, 200 | 206) {
        return cannot(format!("the server answered {}", reply.status));
    }
    if reply.body.len() != bytes.len() {
        return cannot(format!("{} bytes came instead of {length}", reply.body.len()));
    }
    bytes.copy_from_slice(&reply.body);
    Ok(())
}

/// What became of a repair.
#[derive(Debug, Default)]
pub struct Mending {
    /// The pieces that were written.
    pub written: Ranges,
    /// What went wrong, in words for the user, each once.
    pub troubles: Vec<String>,
    /// Whether the machine or the source refused something; else the source has only bad data too.
    pub has_failed: bool,
}

impl Mending {
    fn trouble(&mut self, why: String, failed: bool) {
        self.has_failed |= failed;
        if !self.troubles.contains(&why) {
            self.troubles.push(why);
        }
    }
}

impl Checker<'_> {
    /// Like [`full`](Checker::full), but mends what it finds bad by `source`, and then looks at it
    /// again. Files that are missing are made. Files that are too long are not cut, and no link
    /// below the root is followed. The checker must be [`for_repair`](Checker::for_repair).
    pub fn repair(
        mut self,
        source: &Source,
        mut progress: impl FnMut(u64, u64),
    ) -> (Report, Mending) {
        (0..self.files.len()).for_each(|number| self.look(number));
        let mut verdicts = self.verdicts();
        self.hash(&mut verdicts, &mut progress);
        let mut mending = Mending::default();
        self.make_missing(&mut mending);
        self.mend(&mut verdicts, source, &mut mending, &mut progress);
        if let Err(e) = self.storage.sync() {
            mending.trouble(e.to_string(), true);
        }
        (0..self.files.len()).for_each(|number| self.look(number));
        // What was written counts as read from the disk, like all else.
        self.hash(&mut verdicts, progress);
        self.blame(&verdicts);
        (self.report(&verdicts), mending)
    }

    /// Makes the empty files; the others come with their bytes.
    fn make_missing(&mut self, mending: &mut Mending) {
        for (number, file) in self.files.iter().enumerate() {
            let lacks = file.wanted && file.found.is_none() && file.error.is_none();
            if lacks && self.info.files[number].length == 0 {
                if let Err(e) = self.storage.make(number) {
                    mending.trouble(e.to_string(), true);
                }
            }
        }
    }

    fn mend(
        &self,
        verdicts: &mut [Verdict],
        source: &Source,
        mending: &mut Mending,
        progress: &mut impl FnMut(u64, u64),
    ) {
        let is_bad =
            |piece: &PieceIndex| matches!(verdicts[piece.at()], Verdict::Bad | Verdict::Unread);
        let bad: Vec<PieceIndex> = self.geometry.pieces().filter(is_bad).collect();
        let size = |piece: &PieceIndex| u64::from(self.geometry.piece_size(*piece));
        let (mut done, total) = (0, bad.iter().map(size).sum());
        let mut buffer = Vec::new();
        for piece in bad {
            buffer.resize(self.geometry.piece_size(piece) as usize, 0);
            match self.obtain(piece, source, &mut buffer) {
                Ok(true) => {
                    match self.write(piece, &buffer) {
                        Ok(()) => mending.written.push(piece.get()),
                        Err(e) => mending.trouble(e, true),
                    }
                    verdicts[piece.at()] = Verdict::Unread;
                }
                Ok(false) => {
                    let why = format!("piece {} is damaged there too", piece.get());
                    mending.trouble(why, false);
                }
                Err(Trouble::File(why)) => mending.trouble(why, true),
                Err(Trouble::Source(why)) => {
                    mending.trouble(why, true);
                    return;
                }
            }
            done += u64::from(self.geometry.piece_size(piece));
            progress(done, total);
        }
    }

    /// Fills `buffer` with the piece from the source; whether it is right.
    fn obtain(
        &self,
        piece: PieceIndex,
        source: &Source,
        buffer: &mut [u8],
    ) -> Result<bool, Trouble> {
        let (mut begin, mut rest) = (0, &mut *buffer);
        for part in self.geometry.file_ranges(self.geometry.whole_piece(piece)) {
            // A part of a piece, whose size is a u32.
            let (bytes, behind) = rest.split_at_mut(part.length as usize);
            rest = behind;
            if self.info.files[part.file].pad {
                bytes.fill(0);
            } else {
                let place = Place { part, piece, begin, bytes };
                source.read(self.info, &self.geometry, place)?;
            }
            begin += part.length as u32;
        }
        Ok(self.is_right(piece, hasher::hashes(buffer, self.wish(piece))))
    }

    /// Writes the parts of a piece that lie in wanted files.
    fn write(&self, piece: PieceIndex, bytes: &[u8]) -> Result<(), String> {
        let mut begin = 0;
        for part in self.geometry.file_ranges(self.geometry.whole_piece(piece)) {
            let length = part.length as u32;
            let file = &self.files[part.file];
            if let (true, Some(why)) = (file.wanted, &file.error) {
                let path = self.storage.path(part.file);
                return Err(format!("cannot write '{}': {why}", path.display()));
            }
            if file.wanted {
                let range = self.geometry.range(piece.get(), begin, length);
                let own = &bytes[begin as usize..(begin + length) as usize];
                let range = range.expect("cut from the piece");
                self.storage.write(range, own).map_err(|e| e.to_string())?;
            }
            begin += length;
        }
        Ok(())
    }
}
