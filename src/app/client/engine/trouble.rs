//! What the disk's workers answer, and what is done when the machine refuses: the download waits,
//! and tries again by itself.

use super::errands::Errand;
use super::{DESCRIPTORS_SHORT, Work};
use crate::app::client::Report;
use crate::app::client::ready::Warmth;
use crate::io::disk::{Done, Job};
use crate::io::storage::DiskError;
use crate::io::sys;
use crate::proto::geometry::{BlockRef, PieceIndex};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// After trouble with the disk it is tried again so soon,
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// and each time after twice as long, up to this.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Trouble that comes back within this time is the same trouble.
const CALM: Duration = Duration::from_secs(60);

/// Trouble with the disk.
#[derive(Default)]
pub(super) struct Trouble {
    /// What the user was told, while it lasts.
    told: Option<String>,
    /// The same for reading what peers ask for, which does not keep others from coming.
    told_of_reading: Option<String>,
    /// What was last said of that, and when: a bad place on a disk is met again and again.
    last_of_reading: Option<(String, Instant)>,
    /// The same as the last time, so nothing is said of it.
    is_old: bool,
    wait: Duration,
    /// How often there was no descriptor, in a row.
    short: u8,
    /// What is tried next, and when.
    probe: Option<Probe>,
    at: Option<Instant>,
    /// What is being tried.
    tried: Option<Tried>,
    /// Pieces that could not be read to be hashed.
    unread: Vec<PieceIndex>,
    /// When the last trouble was over.
    over: Option<Instant>,
}

/// Without a descriptor it is tried again this often before anything is told: those who send give
/// theirs back when they are asked to.
const SHORT_TRIES: u8 = 10;

/// What shows whether the trouble is over.
enum Probe {
    Write(BlockRef, Vec<u8>),
    Verify(PieceIndex),
    Save,
    Check,
}

#[derive(Debug, PartialEq, Eq)]
enum Tried {
    Write(BlockRef),
    Verify(PieceIndex),
    Save,
    Check,
}

impl Trouble {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.at
    }

    /// Whether there is any.
    pub(super) fn is_there(&self) -> bool {
        self.told.is_some() || self.told_of_reading.is_some()
    }

    /// Whether the next to be refused is the first of its kind.
    fn is_first(&self) -> bool {
        self.probe.is_none() && self.tried.is_none()
    }

    /// Nothing is tried any more: it ends.
    pub(super) fn give_up(&mut self) {
        *self = Trouble::default();
    }
}

/// Whether it may go well later.
fn may_pass(error: &DiskError) -> bool {
    use ErrorKind::{FileTooLarge, PermissionDenied};
    error.is_transient() || matches!(error.source.kind(), FileTooLarge | PermissionDenied)
}

impl Work<'_> {
    pub(super) fn on_disk(&mut self, done: Done, now: Instant) {
        if matches!(done, Done::Written { .. } | Done::Verified { .. } | Done::Settled { .. }) {
            self.own.unwritten -= 1;
        }
        match done {
            Done::Written { block, data, result } => self.on_written(block, data, result, now),
            Done::Verified { piece, result } => self.on_verified(piece, result, now),
            Done::Ready { range, result: Ok(parts) } => {
                self.can_read();
                self.on_ready(range, parts, Warmth::Warm, now);
                self.hub.send_unready();
            }
            Done::Ready { range, result: Err(e) } if sys::is_out_of_descriptors(&e.source) => {
                self.hub.wait_for_descriptors(&self.own.disk, range, now);
            }
            Done::Ready { range, result: Err(e) } => {
                self.on_unready(range, &e, now);
                self.hub.send_unready();
            }
            Done::Synced(Ok(())) | Done::Flushed(Ok(())) => {}
            // The next save tries the same, and waits if it fails.
            Done::Synced(Err(e)) | Done::Flushed(Err(e)) => {
                self.own.outlet.push(Report::Notice(e.to_string()));
            }
            Done::Settled { files, wanted: true, result } => self.on_taken_up(&files, result, now),
            Done::Settled { files, wanted: false, .. } => self.on_put_off(&files, now),
            Done::Cut(files) => files.into_iter().for_each(|file| self.on_cut(file, now)),
            Done::Warning(text) => self.own.outlet.push(Report::Notice(text)),
            // It is about all torrents.
            Done::Died(_) => {}
        }
    }

    fn on_written(
        &mut self,
        block: BlockRef,
        data: Vec<u8>,
        result: Result<(), DiskError>,
        now: Instant,
    ) {
        self.own.saving.on_written(block);
        let was_tried = self.own.trouble.tried == Some(Tried::Write(block));
        let Err(e) = result else {
            self.give_back(data);
            if was_tried {
                self.with_torrent(|t| t.on_found([block]));
                self.recover(now);
            }
            return;
        };
        if !was_tried {
            self.with_torrent(|t| t.on_unwritten(block, now));
        }
        if self.own.ending.is_none() && (was_tried || self.own.trouble.is_first()) {
            self.suffer(Probe::Write(block, data), e, now);
        } else {
            self.give_back(data);
        }
    }

    fn on_verified(&mut self, piece: PieceIndex, result: Result<bool, DiskError>, now: Instant) {
        self.own.saving.on_change();
        let was_tried = self.own.trouble.tried == Some(Tried::Verify(piece));
        let was_shaken = self.own.doubts.shaken.remove(&piece);
        let result = match self.on_proven(piece, result, now) {
            Some(result) => result,
            None => return,
        };
        match result {
            Ok(good) => {
                if was_tried {
                    self.recover(now);
                }
                self.with_torrent(|t| match good || !was_shaken {
                    true => t.on_verified(piece, good, now),
                    // Nobody gave anything wrong: it was taken away.
                    false => t.on_gone(piece, now),
                });
            }
            Err(e) if e.is_absent() => {
                if was_tried {
                    self.recover(now);
                }
                // If a block of it could not be written, nobody took it away.
                if self.is_checking(piece) {
                    self.with_torrent(|t| t.on_gone(piece, now));
                    self.distrust_all(self.own.geometry.whole_piece(piece), now);
                }
            }
            Err(e) if was_tried => self.suffer(Probe::Verify(piece), e, now),
            // A block of it could not be written: it is not whole, and what is said of it later
            // must not be taken for the hash of what comes then.
            Err(_) if !self.is_checking(piece) => {}
            Err(e) if self.own.trouble.is_first() => self.suffer(Probe::Verify(piece), e, now),
            Err(_) => self.own.trouble.unread.push(piece),
        }
    }

    fn is_checking(&self, piece: PieceIndex) -> bool {
        self.torrent().is_some_and(|torrent| torrent.is_checking(piece))
    }

    /// What peers asked for cannot be read.
    fn on_unready(&mut self, range: BlockRef, error: &DiskError, now: Instant) {
        for (peer, block) in self.own.windows.failed(range) {
            self.with_torrent(|t| t.on_unsent(peer, block, now));
        }
        if error.is_absent() {
            return self.distrust_all(range, now);
        }
        self.cannot_read(error.to_string(), now);
    }

    pub(super) fn cannot_read(&mut self, why: String, now: Instant) {
        let trouble = &mut self.own.trouble;
        if trouble.told_of_reading.as_ref() == Some(&why) {
            return;
        }
        let last = trouble.last_of_reading.take();
        trouble.is_old = last.is_some_and(|(last, at)| last == why && at + CALM > now);
        if !trouble.is_old {
            self.own.outlet.push(Report::Notice(format!("{why}; others wait for it")));
        }
        trouble.last_of_reading = Some((why.clone(), now));
        trouble.told_of_reading = Some(why);
    }

    /// Something was read for others.
    pub(super) fn can_read(&mut self) {
        if self.own.trouble.told_of_reading.take().is_some() && !self.own.trouble.is_old {
            self.own.outlet.push(Report::Remark("reading works again".into()));
        }
    }

    /// The machine refused something: nothing is fetched until the same has gone well.
    fn suffer(&mut self, probe: Probe, error: DiskError, now: Instant) {
        if !may_pass(&error) {
            return self.end(Some(error.to_string()), now);
        }
        if self.own.ending.is_some() {
            return;
        }
        let trouble = &mut self.own.trouble;
        if sys::is_out_of_descriptors(&error.source) && trouble.short < SHORT_TRIES {
            trouble.short += 1;
            (trouble.at, trouble.probe) = (Some(now + DESCRIPTORS_SHORT), Some(probe));
            trouble.tried = None;
            self.hub.descriptors_short = true;
            self.with_torrent(|t| t.hold(now));
            return;
        }
        let is_same = trouble.told.is_some()
            || trouble.over.is_some_and(|over| now.duration_since(over) < CALM);
        trouble.wait = if is_same { (trouble.wait * 2).min(RETRY_MAX) } else { RETRY_FIRST };
        trouble.at = Some(now + trouble.wait);
        (trouble.probe, trouble.tried) = (Some(probe), None);
        let text = error.to_string();
        if trouble.told.as_ref() != Some(&text) {
            let notice = format!("{text}; the download waits and tries again");
            self.own.outlet.push(Report::Notice(notice));
            self.own.trouble.told = Some(text);
        }
        self.own.outlet.hurry();
        self.with_torrent(|t| t.hold(now));
    }

    /// Tries again, if it is time.
    pub(super) fn try_again(&mut self, now: Instant) {
        if self.own.trouble.at.is_none_or(|at| at > now) {
            return;
        }
        self.own.trouble.at = None;
        let Some(probe) = self.own.trouble.probe.take() else { return };
        let (tried, job) = match probe {
            Probe::Write(block, data) => {
                self.own.saving.on_write(block);
                (Tried::Write(block), Some(Job::Write { block, data }))
            }
            Probe::Verify(piece) => (Tried::Verify(piece), Some(Job::Verify { piece })),
            Probe::Save => {
                self.own.saving.hurry();
                (Tried::Save, None)
            }
            Probe::Check => {
                self.send_on(Errand::Check);
                (Tried::Check, None)
            }
        };
        self.own.trouble.tried = Some(tried);
        // With the download held the queue is all but empty.
        if let Some(job) = job {
            self.order(job, now);
        }
    }

    /// What was refused has gone well.
    fn recover(&mut self, now: Instant) {
        let trouble = &mut self.own.trouble;
        let was_told = trouble.told.take().is_some();
        (trouble.tried, trouble.short) = (None, 0);
        if was_told {
            trouble.over = Some(now);
        }
        for piece in std::mem::take(&mut trouble.unread) {
            if self.is_checking(piece) {
                self.order(Job::Verify { piece }, now);
            }
        }
        if was_told {
            let text = "the disk works again: the download goes on";
            self.own.outlet.push(Report::Remark(text.into()));
        }
        self.own.outlet.hurry();
        self.with_torrent(|t| t.go_on(now));
    }

    /// The data could not be brought to the disk itself.
    pub(super) fn on_unsaved(&mut self, error: DiskError, now: Instant) {
        match &mut self.own.ending {
            // Nothing is left to try again, and whoever started us must not take it for safe.
            Some(ending) => ending.fail(error.to_string()),
            None if self.own.trouble.probe.is_some() => {}
            None => self.suffer(Probe::Save, error, now),
        }
    }

    /// It could.
    pub(super) fn on_safe(&mut self, now: Instant) {
        if self.own.trouble.tried == Some(Tried::Save) {
            self.recover(now);
        }
    }

    /// The check at the start has ended.
    pub(super) fn on_unchecked(&mut self, error: DiskError, now: Instant) {
        self.suffer(Probe::Check, error, now);
    }

    /// The check at the start went well.
    pub(super) fn on_found(&mut self, now: Instant) {
        if self.own.trouble.tried == Some(Tried::Check) {
            self.recover(now);
        }
    }
}
