//! What of a torrent is on disk already: found out before peers may come.
//!
//! A file that looks as it did when the state was saved is taken as the state says; the pieces of
//! the others are hashed, on all cores. Without a state of use that is every piece. Nothing is
//! called had for any other reason, but where the user says that hashes need not be checked.

use super::News;
use super::engine::Errant;
use super::state::{self, Keep, Place};
use crate::io::hasher::{Hasher, threads};
use crate::io::sole::{self, Sole};
use crate::io::storage::{DiskError, Storage};
use crate::io::sys;
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::{BlockRef, Geometry, PieceIndex};
use crate::proto::ids::InfoHash;
use crate::proto::order;
use crate::proto::resume::client::{ClientState, Stamp};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

/// So many steps of progress are told at most.
const STEPS: u32 = 200;

/// A block that was written has something other than zeros in each part of this many bytes, if it
/// is like most; what was never written is zeros.
const PAGE: usize = 4096;

/// With fewer descriptors than this none is spent on keeping other processes away.
const FEW_DESCRIPTORS: u64 = 64;

/// What the check needs to know.
pub(super) struct Check {
    pub storage: Arc<Storage>,
    pub geometry: Arc<Geometry>,
    pub hashes: Arc<[[u8; 20]]>,
    /// Where the saved state is, if one is kept.
    pub place: Option<(Arc<Place>, Keep)>,
    /// Takes files of full length as they are, where there is no state to tell.
    pub trust: bool,
    /// The download's name among those on this machine, and where its data is.
    pub name: (Vec<u8>, PathBuf),
    /// Whether states that are too old are removed afterwards.
    pub expire: bool,
    /// Set by anybody: the check then ends soon and tells nothing.
    pub stop: Arc<AtomicBool>,
}

/// What is on the disk.
#[derive(Debug)]
pub(super) struct Found {
    /// The pieces that are had.
    pub have: Bitfield,
    /// Those of them that nobody ever hashed.
    pub unproven: Bitfield,
    /// Blocks of other pieces that are there, as far as one can see.
    pub blocks: Vec<BlockRef>,
    /// How the files looked before they were read.
    pub files: Vec<Option<Stamp>>,
    /// What else was remembered; its other parts are those above, as they were.
    pub state: ClientState,
    /// Whether the saved state is not what was found.
    pub is_news: bool,
    /// No other process downloads to the same place, as long as this exists; where nothing is
    /// missing nobody writes.
    pub sole: Option<Sole>,
}

/// Whether what has to be hashed is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thorough {
    /// If there is nothing to be hashed, what was found is told; else [`News::CheckDue`].
    No,
    /// It is.
    Yes,
}

/// Starts the check on a thread of its own, which tells its progress and its result.
///
/// # Errors
/// The system has no thread for us.
pub(super) fn start(check: Check, thorough: Thorough, mut errant: Errant) -> io::Result<()> {
    let work = move || {
        errant.begin();
        match run(&check, thorough, &errant) {
            Ok(Some(found)) => errant.tell(News::CheckEnded(Ok(Box::new(found)))),
            Ok(None) => {}
            Err(e) => errant.tell(News::CheckEnded(Err(e))),
        };
        if let (Some((_, keep)), true) = (&check.place, check.expire) {
            state::expire(keep, SystemTime::now());
        }
    };
    std::thread::Builder::new().name("check".into()).spawn(work).map(drop)
}

fn run(check: &Check, thorough: Thorough, errant: &Errant) -> Result<Option<Found>, DiskError> {
    let geometry = &check.geometry;
    let sole = match sole::take(&check.name.0) {
        // It takes one descriptor, and each counts then.
        _ if sys::descriptor_limit() < FEW_DESCRIPTORS => Ok(None),
        Ok(None) => Err(()),
        Ok(sole) => Ok(sole),
        // Where there are no such names it goes without.
        Err(_) => Ok(None),
    };
    let loaded = check.place.as_ref().map_or(Ok(None), |(place, _)| place.load());
    let (saved, unusable) = match loaded {
        Ok(saved) => (saved, None),
        Err(why) => (None, Some(why)),
    };
    let files = check.storage.stamps()?;
    let plan = Plan::new(check, saved.as_ref(), &files);
    let notice = plan.notice().filter(|_| !check.trust);
    let Plan { mut have, doubtful, whole } = plan;
    let pieces: Vec<PieceIndex> =
        geometry.pieces().filter(|p| doubtful.get(p.get()) && whole.get(p.get())).collect();
    if thorough == Thorough::No && !pieces.is_empty() && !check.trust {
        errant.tell(News::CheckDue);
        return Ok(None);
    }
    unusable.into_iter().chain(notice).for_each(|text| errant.tell(News::CheckNotice(text)));
    let mut unproven = Bitfield::new(geometry.piece_count());
    if check.trust {
        let all_there = |piece: &&PieceIndex| {
            geometry.file_ranges(geometry.whole_piece(**piece)).all(|part| {
                files[part.file].map(|stamp| stamp.size) == Some(geometry.file_length(part.file))
            })
        };
        for piece in pieces.iter().filter(all_there) {
            have.set(piece.get(), true);
            unproven.set(piece.get(), true);
        }
    } else if !hash(check, pieces, errant, &mut have)? {
        return Ok(None);
    }
    let sole = match sole {
        _ if have.is_full() => None,
        Ok(sole) => sole,
        Err(()) => {
            let source = io::Error::other("another process downloads to it");
            return Err(DiskError { op: "use", path: check.name.1.clone(), source });
        }
    };
    let is_known = saved.is_some();
    let state = saved.unwrap_or_else(|| ClientState::empty(geometry));
    let is_news = !is_known || state.files != files || state.pieces != have;
    let mut found = Found { have, unproven, blocks: Vec::new(), files, state, is_news, sole };
    found.blocks = blocks(check, &found, is_known.then_some(&doubtful));
    Ok(Some(found))
}

/// What is to be believed and what is to be looked at.
struct Plan {
    /// The pieces that the state vouches for.
    have: Bitfield,
    /// The pieces of files that do not look as they did.
    doubtful: Bitfield,
    /// The pieces that the files are long enough for.
    whole: Bitfield,
}

impl Plan {
    fn new(check: &Check, saved: Option<&ClientState>, files: &[Option<Stamp>]) -> Plan {
        let geometry = &check.geometry;
        let count = geometry.piece_count();
        let mut plan = Plan {
            have: Bitfield::new(count),
            doubtful: Bitfield::new(count),
            whole: Bitfield::new(count),
        };
        for piece in geometry.pieces() {
            let is_whole = holds(geometry, files, geometry.whole_piece(piece));
            plan.whole.set(piece.get(), is_whole);
        }
        // Bytes that we moved ourselves are what they were, if we are to believe that.
        let storage = &check.storage;
        let moved = |file| !storage.options().double_check && storage.has_moved_in(file);
        let same = |file: usize| {
            saved.is_some_and(|saved| saved.files[file] == files[file] || moved(file))
        };
        for file in (0..geometry.file_count()).filter(|file| !same(*file)) {
            geometry.pieces_of_file(file).for_each(|piece| _ = plan.doubtful.set(piece, true));
        }
        let vouched = saved.iter().flat_map(|saved| saved.pieces.ones());
        for piece in vouched.filter(|piece| !plan.doubtful.get(*piece) && plan.whole.get(*piece)) {
            plan.have.set(piece, true);
        }
        plan
    }

    /// What to say about it, if there is a state and something differs.
    fn notice(&self) -> Option<String> {
        let again = self.doubtful.ones().filter(|piece| self.whole.get(*piece)).count();
        let all = self.doubtful.len();
        let is_part = self.have.count() > 0 && again > 0;
        is_part.then(|| {
            format!("some files changed since the last time: {again} of {all} pieces are checked")
        })
    }
}

/// The name of a download to `target`, the same in every process, and the target for people.
pub(super) fn name(info_hash: InfoHash, target: &Path) -> (Vec<u8>, PathBuf) {
    let target = std::path::absolute(target).unwrap_or_else(|_| target.to_path_buf());
    (state::file_name(info_hash, &target, ".bittornado").into_bytes(), target)
}

/// Whether the files are long enough for a range.
fn holds(geometry: &Geometry, files: &[Option<Stamp>], range: BlockRef) -> bool {
    geometry
        .file_ranges(range)
        .all(|part| files[part.file].is_some_and(|stamp| part.offset + part.length <= stamp.size))
}

/// Hashes pieces of a file that was changed, on a thread of its own, which posts each result.
///
/// # Errors
/// The system has no thread for us.
pub(super) fn again(
    check: Check,
    file: usize,
    pieces: Vec<PieceIndex>,
    mut errant: Errant,
) -> io::Result<()> {
    let work = move || {
        errant.begin();
        // Before it is read, so that a change while it is will show.
        let stamp = check.storage.stamp(file).ok().flatten();
        let geometry = &check.geometry;
        // The rest goes on meanwhile: one thread.
        let hasher = Hasher { geometry, threads: 1, stop: &check.stop };
        let read = |range, buffer: &mut [u8]| check.storage.read(range, buffer);
        hasher.run(pieces.into_iter(), read, |piece, result| {
            let good = result.is_ok_and(|hash| hash == check.hashes[piece.at()]);
            errant.tell(News::CheckedAgain(piece, good));
        });
        errant.tell(News::CheckAgainEnded(file, stamp));
    };
    std::thread::Builder::new().name("check".into()).spawn(work).map(drop)
}

/// Hashes all pieces, on a thread of its own, which tells each result and then that it is through.
///
/// # Errors
/// The system has no thread for us.
pub(super) fn whole(check: Check, mut errant: Errant) -> io::Result<()> {
    let work = move || {
        errant.begin();
        let geometry = &check.geometry;
        let hasher = Hasher { geometry, threads: 1, stop: &check.stop };
        let read = |range, buffer: &mut [u8]| check.storage.read(range, buffer);
        hasher.run(geometry.pieces(), read, |piece, result| {
            let good = result.is_ok_and(|hash| hash == check.hashes[piece.at()]);
            errant.tell_unless(&check.stop, News::Rechecked(piece, good));
        });
        errant.tell_unless(&check.stop, News::RecheckEnded);
    };
    std::thread::Builder::new().name("check".into()).spawn(work).map(drop)
}

/// Notes in `have` which of the pieces have their hash. False if it was stopped.
fn hash(
    check: &Check,
    pieces: Vec<PieceIndex>,
    errant: &Errant,
    have: &mut Bitfield,
) -> Result<bool, DiskError> {
    let (geometry, expected) = (&check.geometry, pieces.len() as u32);
    let step = expected.div_ceil(STEPS).max(1);
    // What needs no check counts as done.
    let before = geometry.piece_count() - expected;
    let mut done = 0;
    let mut failure = None;
    let ended = AtomicBool::new(false);
    let hasher = Hasher { geometry, threads: threads(), stop: &ended };
    let read = |range, buffer: &mut [u8]| {
        if check.stop.load(Ordering::Relaxed) {
            ended.store(true, Ordering::Relaxed);
        }
        check.storage.read(range, buffer)
    };
    hasher.run(pieces.into_iter(), read, |piece, result| {
        match result {
            Ok(hash) => _ = have.set(piece.get(), hash == check.hashes[piece.at()]),
            // Gone or cut in this very moment.
            Err(e) if e.is_absent() => {}
            Err(e) => {
                ended.store(true, Ordering::Relaxed);
                failure.get_or_insert(e);
            }
        }
        done += 1;
        if done % step == 0 {
            errant.tell(News::Checked(before + done));
        }
    });
    failure.map_or(Ok(done == expected), Err)
}

/// The blocks that are there of pieces that are not had: as the state says, and, where a file was
/// written after the state was, as the file itself looks. That may err: their piece is hashed as
/// a whole before it counts.
fn blocks(check: &Check, found: &Found, doubtful: Option<&Bitfield>) -> Vec<BlockRef> {
    let geometry = &check.geometry;
    let mut blocks = Vec::new();
    for (piece, bits) in found.state.partials.iter().filter(|(p, _)| !found.have.get(p.get())) {
        let recorded = bits.ones().filter_map(|n| geometry.block(*piece, n));
        blocks.extend(recorded.filter(|block| holds(geometry, &found.files, *block)));
    }
    for piece in doubtful.into_iter().flat_map(Bitfield::ones).filter(|p| !found.have.get(*p)) {
        if check.stop.load(Ordering::Relaxed) {
            break;
        }
        let Some(piece) = geometry.piece(piece) else { continue };
        let seen = written_blocks(check, &found.files, piece);
        // One that looks written through and through is a bad piece, not an unfinished one.
        if seen.len() < geometry.block_count(piece) as usize {
            blocks.extend(seen);
        }
    }
    order::by(&mut blocks, Ord::cmp);
    blocks.dedup();
    blocks
}

fn written_blocks(check: &Check, files: &[Option<Stamp>], piece: PieceIndex) -> Vec<BlockRef> {
    let geometry = &check.geometry;
    let blocks = (0..geometry.block_count(piece)).filter_map(|n| geometry.block(piece, n));
    let mut buffer = [0; PAGE];
    let mut is_written = |block: &BlockRef| {
        holds(geometry, files, *block)
            && (block.begin()..block.end()).step_by(PAGE).all(|begin| {
                let length = (block.end() - begin).min(PAGE as u32);
                let range = geometry.range(piece.get(), begin, length);
                let bytes = &mut buffer[..length as usize];
                let range = range.expect("inside the block");
                check.storage.read(range, bytes).is_ok() && bytes.iter().any(|byte| *byte != 0)
            })
    };
    blocks.filter(|block| is_written(block)).collect()
}
