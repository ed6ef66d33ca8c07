//! When everything wanted is there: the user's program is run, and the torrent ends once it has
//! been shared as much as the user wishes.

use super::{Download, Work};
use crate::app::client::Report;
use crate::app::clock::{self, Civil};
use crate::io::hook::{self, Hook};
use crate::io::reason;
use crate::logic::goal::Progress;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

/// The end waits so long for the user's program, and then it is said that it still runs.
const PATIENCE: Duration = Duration::from_secs(60);

/// How far that is.
#[derive(Debug, Default)]
pub(super) struct Finish {
    /// Since when everything wanted is there.
    since: Option<Instant>,
    /// Until when the end waits for the user's program, while it runs.
    hook: Option<Instant>,
    /// The end waits until what was written is on the disk, and was looked at.
    pub waits_for_save: bool,
    /// It need not: the state cannot be saved.
    pub unsaved: bool,
}

impl Finish {
    /// Of a torrent of which everything wanted was there already: nothing is run for it.
    pub(super) fn before(now: Instant) -> Finish {
        Finish { since: Some(now), ..Finish::default() }
    }
}

impl Download {
    /// When to look again, if nothing happens before.
    pub(super) fn goal_deadline(&self, now: Instant) -> Option<Instant> {
        let goal = self.progress().and_then(|p| self.settings.goal.next_deadline(&p, now));
        goal.into_iter().chain(self.finish.hook).filter(|_| self.ending.is_none()).min()
    }

    fn progress(&self) -> Option<Progress> {
        let (torrent, since) = (self.torrent()?, self.finish.since?);
        let (earlier, now) = (self.saving.earlier(), torrent.transferred());
        Some(Progress {
            since,
            untold: torrent.owes_completed(),
            downloaded: earlier.0 + now.0,
            uploaded: earlier.1 + now.1,
            wanted: torrent.wanted(),
        })
    }
}

impl Work<'_> {
    /// More may be wanted now: what follows when all is there follows anew. The user's program
    /// runs once.
    pub(super) fn look_for_more(&mut self) {
        if !self.torrent().is_some_and(|t| t.is_done()) {
            self.own.finish.since = None;
        }
    }

    /// To be called once a turn.
    pub(super) fn look_at_goal(&mut self, now: Instant) {
        if self.own.ending.is_some() || !self.torrent().is_some_and(|t| t.is_done()) {
            return;
        }
        if self.own.finish.since.is_none() {
            self.own.finish.since = Some(now);
            if let Some(program) = self.own.settings.on_done.take() {
                self.run_hook(program, now);
            }
        }
        if self.own.finish.hook.is_some_and(|until| until <= now) {
            self.own.finish.hook = None;
            let seconds = PATIENCE.as_secs();
            let text = format!("the command of --on_done still runs after {seconds} seconds");
            self.own.outlet.push(Report::Notice(text));
        }
        let progress = self.own.progress().filter(|_| self.own.finish.hook.is_none());
        if let Some(reached) = progress.and_then(|p| self.own.settings.goal.reached(&p, now)) {
            if self.waits_for_save() {
                return;
            }
            self.own.outlet.push(Report::Enough(reached));
            self.end(None, now);
        }
    }

    /// Whether there is something written that was not looked at since: somebody may have taken it
    /// away, and then it is not done.
    fn waits_for_save(&mut self) -> bool {
        let saving = &mut self.own.saving;
        let waits = saving.is_unlooked() && !self.own.finish.unsaved;
        if waits && !saving.is_busy() {
            saving.hurry();
        }
        self.own.finish.waits_for_save = waits;
        waits
    }

    fn run_hook(&mut self, program: PathBuf, now: Instant) {
        let variables = self.hook_variables();
        let number = self.own.id.number();
        match hook::run(Hook { number, program, variables }, self.hub.post.clone()) {
            Ok(()) => self.own.finish.hook = Some(now + PATIENCE),
            Err(e) => {
                let text = format!("cannot run the command of --on_done: {}", reason(&e));
                self.own.outlet.push(Report::Notice(text));
            }
        }
    }

    pub(super) fn on_hook(&mut self, done: &hook::Done) {
        self.own.finish.hook = None;
        if let Some(trouble) = done.trouble() {
            self.own.outlet.push(Report::Notice(trouble.to_string()));
        }
    }

    /// The names and meanings are transmission's. The data is at DIR/NAME, whatever its name in
    /// the torrent.
    fn hook_variables(&self) -> Vec<(&'static str, OsString)> {
        let target =
            std::path::absolute(&self.own.target).unwrap_or_else(|_| self.own.target.clone());
        let metainfo = &self.own.settings.metainfo;
        let now = self.torrent().map_or(0, |t| t.transferred().0);
        let downloaded = self.own.saving.earlier().0 + now;
        let zone = clock::zone(std::env::var_os("TZ").as_deref());
        let moment = Civil::local(SystemTime::now(), &zone).ctime().to_string();
        let trackers: Vec<String> = metainfo.tiers().into_iter().flatten().collect();
        vec![
            ("TR_APP_VERSION", env!("CARGO_PKG_VERSION").into()),
            ("TR_TIME_LOCALTIME", moment.into()),
            ("TR_TORRENT_BYTES_DOWNLOADED", downloaded.to_string().into()),
            ("TR_TORRENT_DIR", target.parent().unwrap_or(&target).into()),
            ("TR_TORRENT_HASH", metainfo.info_hash.to_string().into()),
            ("TR_TORRENT_ID", "1".into()),
            ("TR_TORRENT_LABELS", "".into()),
            ("TR_TORRENT_NAME", target.file_name().unwrap_or_default().into()),
            ("TR_TORRENT_PRIORITY", "0".into()),
            ("TR_TORRENT_TRACKERS", trackers.join(",").into()),
        ]
    }
}
