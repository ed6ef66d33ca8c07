//! When the state is saved: after something changed, now and then, and at the end.

use super::{Stage, Work};
use crate::app::client::Report;
use crate::app::client::check::Found;
use crate::app::client::state::{Place, SaveFailure, SaveJob, Saved, Snapshot};
use crate::logic::priority::Priority;
use crate::logic::torrent::Torrent;
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::{BlockRef, Geometry, PieceIndex};
use crate::proto::resume::client::{ClientState, Stamp};
use crate::proto::sorted;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// While there is news, the state is saved this often: what came since the last time is read and
/// checked again after a crash.
const SAVE_EVERY: Duration = Duration::from_secs(20);

/// What is saved, and what has changed since.
pub(super) struct Saving {
    place: Option<Arc<Place>>,
    geometry: Arc<Geometry>,
    /// What was last known of the disk, and the totals of earlier runs.
    state: ClientState,
    /// Files with writes since they were looked at.
    written: sorted::Set<usize>,
    /// Blocks on their way to the disk.
    on_way: sorted::Set<BlockRef>,
    /// Files on their way to their place or from it.
    moving: sorted::Set<usize>,
    /// The files that are being looked at, ascending.
    in_save: Vec<usize>,
    /// A snapshot is being saved.
    busy: bool,
    /// The hash of what was saved last.
    digest: Option<[u8; 20]>,
    changed: bool,
    last: Option<Instant>,
    /// Trouble that was told already.
    told: Option<String>,
}

impl Saving {
    pub(super) fn new(place: Option<Arc<Place>>, geometry: Arc<Geometry>) -> Saving {
        let state = ClientState::empty(&geometry);
        let (written, on_way, moving) = Default::default();
        let (in_save, busy, digest, changed, last, told) = Default::default();
        Saving {
            place,
            geometry,
            state,
            written,
            on_way,
            moving,
            in_save,
            busy,
            digest,
            changed,
            last,
            told,
        }
    }

    /// Where it is saved, if it is.
    pub(super) fn place(&self) -> Option<Arc<Place>> {
        self.place.clone()
    }

    /// The check is over.
    pub(super) fn begin(&mut self, found: &Found) {
        self.state = ClientState { files: found.files.clone(), ..found.state.clone() };
        self.changed |= found.is_news;
    }

    /// How a file looked when it was last known to be good; `None` while we write it, and until
    /// it was looked at after that.
    pub(super) fn look(&self, file: usize) -> Option<Stamp> {
        let is_looked_at = || self.busy && self.in_save.binary_search(&file).is_ok();
        self.state.files[file].filter(|_| !self.written.contains(&file) && !is_looked_at())
    }

    /// Whether a file was written since the last save began.
    fn is_written(&self, file: usize) -> bool {
        self.written.contains(&file)
    }

    /// Nobody vouches for a file.
    pub(super) fn forget(&mut self, file: usize) {
        self.written.remove(&file);
        self.state.files[file] = None;
        self.changed = true;
    }

    /// A file was checked again, and looked like this before.
    pub(super) fn look_again(&mut self, file: usize, stamp: Option<Stamp>) {
        self.state.files[file] = stamp;
        self.changed = true;
    }

    /// What has changed is to be saved now.
    pub(super) fn hurry(&mut self) {
        self.changed = true;
        self.last = None;
    }

    /// Payload that came in and went out in earlier runs, in bytes, as far as it is remembered.
    pub(super) fn earlier(&self) -> (u64, u64) {
        (self.state.downloaded, self.state.uploaded)
    }

    /// A block goes to the disk.
    pub(super) fn on_write(&mut self, block: BlockRef) {
        self.on_way.insert(block);
        self.written.extend(self.geometry.file_ranges(block).map(|part| part.file));
    }

    /// The files were given length or space, and look different now.
    pub(super) fn on_claimed(&mut self) {
        self.written.extend(0..self.geometry.file_count());
        self.changed = true;
    }

    /// Files go to their place, or are kept aside from now on.
    pub(super) fn on_move(&mut self, files: &[usize]) {
        self.moving.extend(files.iter().copied());
        self.written.extend(files.iter().copied());
    }

    /// They are there, and look different now.
    pub(super) fn on_moved(&mut self, files: &[usize]) {
        files.iter().for_each(|file| _ = self.moving.remove(file));
        self.written.extend(files.iter().copied());
        self.changed = true;
    }

    /// It has got there, or not.
    pub(super) fn on_written(&mut self, block: BlockRef) {
        self.on_way.remove(&block);
        self.changed = true;
    }

    /// A piece was found to be good or bad.
    pub(super) fn on_change(&mut self) {
        self.changed = true;
    }

    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let waits = self.changed && !self.busy;
        waits.then(|| self.last.map_or(now, |last| last + SAVE_EVERY))
    }

    /// Whether files were written that were not looked at since.
    pub(super) fn is_unlooked(&self) -> bool {
        self.busy || !self.written.is_empty()
    }

    /// Whether a snapshot is being saved.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Whether all is saved, or nothing is.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.busy && !self.changed && self.on_way.is_empty()
    }

    /// Whether to save now. `last` means that nothing will follow.
    fn is_due(&self, last: bool, now: Instant) -> bool {
        let is_due = self.next_deadline(now).is_some_and(|at| at <= now);
        let is_end = last && self.changed && self.on_way.is_empty();
        !self.busy && (is_due || is_end)
    }

    /// What is known now, to be saved.
    fn snapshot(&mut self, torrent: &Torrent, unproven: &Bitfield, now: Instant) -> Snapshot {
        let snapshot = Snapshot {
            state: self.state(torrent, unproven, now),
            written: self.written.iter().copied().collect(),
            digest: self.digest,
        };
        self.in_save.clone_from(&snapshot.written);
        (self.busy, self.changed, self.last) = (true, false, Some(now));
        let geometry = &self.geometry;
        let open = self.on_way.iter().flat_map(|block| geometry.file_ranges(*block));
        self.written = open.map(|part| part.file).chain(self.moving.iter().copied()).collect();
        snapshot
    }

    /// It could not be handed over.
    fn on_refused(&mut self) {
        self.written.extend(self.in_save.iter().copied());
        (self.busy, self.changed) = (false, true);
    }

    /// Only what the disk has answered for.
    fn state(&self, torrent: &Torrent, unproven: &Bitfield, now: Instant) -> ClientState {
        let written = |(piece, mut blocks): (PieceIndex, Bitfield)| {
            for n in blocks.clone().ones() {
                let block = self.geometry.block(piece, n);
                blocks.set(n, block.is_some_and(|block| !self.on_way.contains(&block)));
            }
            (piece, blocks)
        };
        let mut pieces = torrent.have().clone();
        unproven.ones().for_each(|piece| _ = pieces.set(piece, false));
        let status = torrent.status(now);
        ClientState {
            files: self.state.files.clone(),
            pieces,
            partials: torrent.received().map(written).collect(),
            uploaded: self.state.uploaded + status.uploaded,
            downloaded: self.state.downloaded + status.downloaded,
            priority: priorities(torrent),
        }
    }

    /// What became of it. Returns what is to be told, once.
    fn on_saved(&mut self, saved: &Saved) -> Option<String> {
        self.busy = false;
        let failure = match saved {
            Ok(safe) => {
                for (file, stamp) in &safe.looks {
                    self.state.files[*file] = *stamp;
                }
                self.digest = safe.digest;
                self.told = None;
                return None;
            }
            Err(SaveFailure::Data(_)) => {
                // What the system dropped then it will not write later: at the next start these
                // files are checked.
                self.in_save.iter().for_each(|file| self.state.files[*file] = None);
                return None;
            }
            Err(SaveFailure::State(e)) => {
                self.written.extend(self.in_save.iter().copied());
                format!("{e}; the next start will have to check the data")
            }
        };
        let is_new = self.told.as_ref() != Some(&failure);
        is_new.then(|| self.told.insert(failure).clone())
    }
}

/// As they are saved: empty where nothing is special.
fn priorities(torrent: &Torrent) -> Vec<i8> {
    let all = torrent.priorities();
    match all.iter().all(|priority| *priority == Priority::default()) {
        true => Vec::new(),
        // From -1 to 2.
        false => all.iter().map(|priority| priority.number() as i8).collect(),
    }
}

impl Work<'_> {
    /// Saves what is to be saved by now.
    pub(super) fn save(&mut self, now: Instant) {
        let Work { hub, own } = self;
        let Stage::Running(torrent) = &own.stage else { return };
        if !own.saving.is_due(own.ending.is_some(), now) {
            return;
        }
        let snapshot = own.saving.snapshot(torrent, &own.doubts.unproven, now);
        let (id, place, storage) = (own.id, own.saving.place.clone(), Arc::clone(&own.storage));
        if !hub.saver.save(SaveJob { id, place, storage, snapshot }) {
            own.saving.on_refused();
        }
    }

    pub(super) fn on_saved(&mut self, saved: Saved, now: Instant) {
        if let Some(trouble) = self.own.saving.on_saved(&saved) {
            self.own.outlet.push(Report::Notice(trouble));
        }
        match saved {
            Ok(safe) => {
                self.on_safe(now);
                // A file that we wrote, and that is gone or was cut meanwhile. One that we went on
                // writing is longer by now, and looked at the next time.
                for (file, stamp) in safe.looks {
                    if !self.own.saving.is_written(file) && self.is_too_short(file, stamp) {
                        self.distrust(file, now);
                    }
                }
            }
            // It would end now, and then nothing is left to try again.
            Err(SaveFailure::Data(e)) if self.own.finish.waits_for_save => {
                self.end(Some(e.to_string()), now);
            }
            Err(SaveFailure::Data(e)) => self.on_unsaved(e, now),
            Err(SaveFailure::State(_)) => self.own.finish.unsaved = true,
        }
    }
}
