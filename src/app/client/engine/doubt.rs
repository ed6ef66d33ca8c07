//! Files that somebody else may have changed: noticed before the next block of them is sent, and
//! checked again while the rest goes on. And pieces that nobody ever hashed, see `check`.

use super::Work;
use super::errands::Errand;
use crate::app::client::Report;
use crate::app::client::ready::Waiting;
use crate::io::disk::Job;
use crate::io::storage::{DiskError, Part};
use crate::io::sys;
use crate::logic::PeerKey;
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::{BlockRef, PieceIndex};
use crate::proto::resume::client::Stamp;
use crate::proto::sorted;
use std::time::Instant;

/// What is not quite believed.
pub(super) struct Doubts {
    /// Files that are being checked again.
    again: sorted::Set<usize>,
    /// Those of them that were cut meanwhile.
    anew: sorted::Set<usize>,
    /// Pieces that were being fetched when a file of theirs was cut: what came of them may be gone.
    pub shaken: sorted::Set<PieceIndex>,
    /// Pieces that are had because the user says so.
    pub unproven: Bitfield,
    /// Those of them that are being hashed, and who waits for that.
    proving: sorted::Map<PieceIndex, Vec<Waiting>>,
    /// The file looked at last, in this turn: a look a turn will do.
    looked: Option<usize>,
}

impl Doubts {
    pub(super) fn new(unproven: Bitfield) -> Doubts {
        let (again, anew, shaken, proving, looked) = Default::default();
        Doubts { again, anew, shaken, unproven, proving, looked }
    }

    pub(super) fn begin_turn(&mut self) {
        self.looked = None;
    }
}

impl Work<'_> {
    /// Whether a block may be sent: its piece is had, and is known to be. If not, that is seen to.
    pub(super) fn may_send(&mut self, key: PeerKey, block: BlockRef, now: Instant) -> bool {
        let piece = block.piece();
        if !self.torrent().is_some_and(|torrent| torrent.have().get(piece.get())) {
            self.with_torrent(|torrent| torrent.on_unsent(key, block, now));
            return false;
        }
        if !self.own.doubts.unproven.get(piece.get()) {
            return true;
        }
        self.prove(piece, Some((key, block)), now);
        false
    }

    /// Has a piece hashed that is had, but perhaps wrongly, for somebody who may wait for it.
    pub(super) fn prove(&mut self, piece: PieceIndex, waiting: Option<Waiting>, now: Instant) {
        if !self.own.doubts.proving.contains_key(&piece) {
            self.order(Job::Verify { piece }, now);
        }
        self.own.doubts.proving.entry(piece).or_default().extend(waiting);
    }

    /// Takes the hash of a piece that was not proven; gives back what is about another one.
    pub(super) fn on_proven(
        &mut self,
        piece: PieceIndex,
        result: Result<bool, DiskError>,
        now: Instant,
    ) -> Option<Result<bool, DiskError>> {
        let Some(waiting) = self.own.doubts.proving.remove(&piece) else { return Some(result) };
        self.own.doubts.unproven.set(piece.get(), false);
        if let Ok(true) = result {
            waiting.into_iter().for_each(|(peer, block)| self.send_block(peer, block, now));
            return None;
        }
        let text = format!("piece {} on the disk is bad: it counts as missing", piece.get());
        self.own.outlet.push(Report::Notice(text));
        self.with_torrent(|torrent| {
            torrent.doubt([piece], now);
            torrent.on_checked_again(piece, false, now);
            waiting.into_iter().for_each(|(peer, block)| torrent.on_unsent(peer, block, now));
        });
        None
    }

    /// How the files of a block must look, as far as anybody knows.
    pub(super) fn looks(&self, block: BlockRef) -> Vec<Option<Stamp>> {
        self.own.geometry.file_ranges(block).map(|place| self.known_look(place.file)).collect()
    }

    fn known_look(&self, file: usize) -> Option<Stamp> {
        let is_file = !self.own.is_claiming && self.own.storage.is_file(file);
        self.own.saving.look(file).filter(|_| is_file)
    }

    /// Whether the files of a block look as they did when they were known to be good.
    pub(super) fn look_right(&mut self, block: BlockRef, parts: &[Part], now: Instant) -> bool {
        let mut changed = Vec::new();
        for (place, part) in self.own.geometry.file_ranges(block).zip(parts) {
            let Some(look) = self.known_look(place.file) else { continue };
            if self.own.doubts.looked == Some(place.file) {
                continue;
            }
            match sys::stamp(&*part.file) {
                Ok(stamp) if stamp == look => self.own.doubts.looked = Some(place.file),
                _ => changed.push(place.file),
            }
        }
        changed.iter().for_each(|file| self.distrust(*file, now));
        changed.is_empty()
    }

    /// Something is wrong with some file of a range.
    pub(super) fn distrust_all(&mut self, range: BlockRef, now: Instant) {
        let files: Vec<usize> =
            self.own.geometry.file_ranges(range).map(|place| place.file).collect();
        for file in files {
            let stamp = self.own.storage.stamp(file).ok().flatten();
            let is_right = stamp.is_some() && stamp == self.own.saving.look(file);
            if !is_right {
                self.distrust(file, now);
            }
        }
    }

    /// Somewhere a file ended too early.
    pub(super) fn look_around(&mut self, now: Instant) {
        for file in 0..self.own.geometry.file_count() {
            let look = self.own.saving.look(file);
            let stamp = self.own.storage.stamp(file).ok().flatten();
            if look.is_some_and(|look| Some(look) != stamp) || self.is_too_short(file, stamp) {
                self.distrust(file, now);
            }
        }
    }

    /// Whether a file is shorter than the pieces that are had of it, or is not there.
    pub(super) fn is_too_short(&self, file: usize, stamp: Option<Stamp>) -> bool {
        let Some(torrent) = self.torrent() else { return false };
        let last = self.own.geometry.pieces_of_file(file).rev().find(|p| torrent.have().get(*p));
        let Some(piece) = last.and_then(|piece| self.own.geometry.piece(piece)) else {
            return false;
        };
        let places = self.own.geometry.file_ranges(self.own.geometry.whole_piece(piece));
        let ends = places.filter(|place| place.file == file).map(|p| p.offset + p.length);
        ends.max().unwrap_or(0) > stamp.map_or(0, |stamp| stamp.size)
    }

    /// A file is not what it was: its pieces are not had until they were hashed again.
    pub(super) fn distrust(&mut self, file: usize, now: Instant) {
        if self.own.ending.is_some() || !self.own.doubts.again.insert(file) {
            return;
        }
        let path = self.own.storage.path(file);
        let text = format!(
            "'{}' was changed by somebody else: its pieces are checked again",
            path.display()
        );
        self.own.outlet.push(Report::Notice(text));
        self.own.outlet.hurry();
        self.own.storage.forget(file);
        self.own.windows.forget();
        self.own.saving.forget(file);
        let pieces = self.own.geometry.pieces_of_file(file);
        let pieces: Vec<PieceIndex> = pieces.filter_map(|p| self.own.geometry.piece(p)).collect();
        let doubted = self.with_torrent(|torrent| torrent.doubt(pieces, now)).unwrap_or_default();
        self.send_on(Errand::CheckAgain(file, doubted));
    }

    /// Somebody has cut a file that we are writing.
    pub(super) fn on_cut(&mut self, file: usize, now: Instant) {
        let pieces = self.own.geometry.pieces_of_file(file);
        if let Some(torrent) = self.torrent() {
            let begun = torrent.received().map(|(piece, _)| piece);
            let shaken: Vec<PieceIndex> = begun.filter(|p| pieces.contains(&p.get())).collect();
            self.own.doubts.shaken.extend(shaken);
        }
        match self.own.doubts.again.contains(&file) {
            true => _ = self.own.doubts.anew.insert(file),
            false => self.distrust(file, now),
        }
    }

    pub(super) fn on_checked_again(&mut self, piece: PieceIndex, good: bool, now: Instant) {
        self.own.doubts.unproven.set(piece.get(), false);
        self.with_torrent(|torrent| torrent.on_checked_again(piece, good, now));
    }

    pub(super) fn on_check_again_ended(&mut self, file: usize, stamp: Option<Stamp>, now: Instant) {
        self.with_torrent(|torrent| torrent.on_check_over(now));
        self.own.doubts.again.remove(&file);
        self.own.saving.look_again(file, stamp);
        self.own.outlet.hurry();
        if self.own.doubts.anew.remove(&file) {
            self.distrust(file, now);
        }
    }
}
