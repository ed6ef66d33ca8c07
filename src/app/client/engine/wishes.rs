//! What users wish while the torrent runs: above all which files are wanted.
//!
//! A file that was kept aside first comes to its own place, and then is asked for; one that is
//! wanted no more is first asked for no more, and then kept aside. So nothing is ever written to
//! the place where a file was.

use super::Work;
use super::errands::Errand;
use crate::app::client::{Report, claim};
use crate::io::disk::Job;
use crate::io::storage::DiskError;
use crate::logic::priority::Priority;
use crate::logic::torrent::Torrent;
use std::time::Instant;

/// What was wished for and is not so yet.
#[derive(Default)]
pub(super) struct Wishes {
    /// The newest wish.
    wish: Option<Vec<Priority>>,
    /// Files are on their way to their place or from it: where they are is not known.
    moving: bool,
}

impl Work<'_> {
    /// It is to rest, or to go on. Before there is a torrent, that is how it will begin.
    pub(super) fn on_pause(&mut self, paused: bool, now: Instant) {
        self.own.settings.config.paused = paused;
        self.with_torrent(|torrent| torrent.set_paused(paused, now));
        self.own.outlet.hurry();
    }

    /// The limits are to be these.
    pub(super) fn on_limit(&mut self, upload: Option<u64>, download: Option<u64>, now: Instant) {
        self.hub.share.set_limits(upload, download, now);
        self.with_torrent(|torrent| torrent.on_turn(now));
    }

    /// Somebody wants the files so much; of several wishes the last counts.
    pub(super) fn on_wish(&mut self, mut files: Vec<Priority>, now: Instant) {
        files.resize(self.own.geometry.file_count(), Priority::default());
        self.own.wishes.wish = Some(files);
        self.fulfil_wish(now);
    }

    /// Does what was wished for, as far as it can be done by now.
    pub(super) fn fulfil_wish(&mut self, now: Instant) {
        if self.own.wishes.moving || self.own.ending.is_some() || self.torrent().is_none() {
            return;
        }
        let Some(wish) = self.own.wishes.wish.take() else { return };
        let aside = |file: &usize| wish[*file].is_wanted() && self.own.storage.is_aside(*file);
        let files: Vec<usize> = (0..wish.len()).filter(aside).collect();
        if files.is_empty() {
            return self.want(&wish, now);
        }
        self.own.wishes = Wishes { wish: Some(wish), moving: true };
        self.own.saving.on_move(&files);
        self.order(Job::Settle { files, wanted: true }, now);
    }

    /// All that is wanted is in its place.
    fn want(&mut self, wish: &[Priority], now: Instant) {
        let Some(before) = self.torrent().map(Torrent::priorities) else { return };
        self.with_torrent(|torrent| torrent.set_priorities(wish, now));
        let changed = before.iter().zip(wish).enumerate().filter(|(_, (old, new))| old != new);
        let off = changed.filter(|(_, (_, new))| !new.is_wanted()).map(|(file, _)| file);
        let files: Vec<usize> = off.collect();
        if !files.is_empty() {
            // It finds its turn behind the last block that was written for them.
            self.own.saving.on_move(&files);
            self.own.wishes.moving = true;
            self.order(Job::Settle { files, wanted: false }, now);
        }
        self.look_for_more();
        self.own.saving.hurry();
        self.own.outlet.hurry();
    }

    /// Files are kept aside from now on, unless something of them is there.
    pub(super) fn on_put_off(&mut self, files: &[usize], now: Instant) {
        self.own.wishes.moving = false;
        self.own.saving.on_moved(files);
        self.fulfil_wish(now);
    }

    /// Files are in their place, or cannot get there: then all stays as it was.
    pub(super) fn on_taken_up(
        &mut self,
        files: &[usize],
        result: Result<Vec<usize>, DiskError>,
        now: Instant,
    ) {
        self.own.wishes.moving = false;
        // What is known of the file aside is of no more use.
        self.own.windows.forget();
        self.own.saving.on_moved(files);
        match result {
            Ok(strange) => strange.into_iter().for_each(|file| self.distrust(file, now)),
            Err(e) => {
                self.own.wishes.wish = None;
                let text = format!("{e}; the files are wanted as before");
                return self.own.outlet.push(Report::Notice(text));
            }
        }
        if claim::goes_along(&self.own.storage)
            && !self.own.is_claiming
            && self.own.ending.is_none()
        {
            self.start_claiming(Errand::ClaimAlong);
        }
        self.fulfil_wish(now);
    }
}
