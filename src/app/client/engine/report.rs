//! What whoever looks on gets to know: messages, all of them, and figures, while they change.

use super::{MAX_NOTICES, Room, Stage, Work};
use crate::app::client::{Figures, Look, Phase, Report, Told, TorrentId};
use crate::io::mailbox::JobSender;
use crate::logic::torrent::{Notice, Torrent};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// When there is no room for a message, it is tried again so much later.
const NEXT_TRY: Duration = Duration::from_millis(100);

/// The way out.
pub(super) struct Outlet {
    id: TorrentId,
    notices: VecDeque<Report>,
    interval: Duration,
    last: Option<Figures>,
    told: Option<Instant>,
    /// Nothing has happened since the figures stood still: there is no need to wake up for them.
    asleep: bool,
}

impl Outlet {
    pub(super) fn new(id: TorrentId, interval: Duration) -> Outlet {
        let notices = VecDeque::new();
        Outlet { id, notices, interval, last: None, told: None, asleep: false }
    }

    /// A message that must not get lost.
    pub(super) fn push(&mut self, report: Report) {
        if self.notices.len() >= MAX_NOTICES {
            self.notices.pop_front();
        }
        self.notices.push_back(report);
        self.asleep = false;
    }

    /// Something happened: the figures may have changed.
    pub(super) fn wake(&mut self) {
        self.asleep = false;
    }

    /// The figures to come are of another kind than the last ones: they are due now.
    pub(super) fn hurry(&mut self) {
        self.told = None;
        self.asleep = false;
    }

    /// When the next figures are due, if there may be new ones, or what waits is to be sent on.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        match self.notices.is_empty() {
            true => self.figures_due(now),
            false => Some(now + NEXT_TRY),
        }
    }

    fn figures_due(&self, now: Instant) -> Option<Instant> {
        (!self.asleep).then(|| self.told.map_or(now, |told| told + self.interval))
    }

    fn is_due(&self, now: Instant) -> bool {
        self.figures_due(now).is_some_and(|at| at <= now)
    }

    /// Sends the messages on, as far as there is room.
    fn send_notices(&mut self, reports: &JobSender<Told>) {
        while let Some(report) = self.notices.pop_front() {
            if let Err((_, report)) = reports.try_send((Some(self.id), report)) {
                return self.notices.push_front(report);
            }
        }
    }

    fn send_figures(&mut self, figures: Figures, reports: &JobSender<Told>, now: Instant) {
        self.told = Some(now);
        self.asleep = self.last.as_ref() == Some(&figures);
        if !self.asleep {
            // Whoever looks on is behind: the next figures are as good.
            let sent = reports.try_send((Some(self.id), Report::Figures(figures.clone())));
            self.last = sent.is_ok().then_some(figures);
        }
    }

    /// The messages that were not sent on.
    pub(super) fn take_notices(&mut self) -> impl Iterator<Item = Report> + use<> {
        std::mem::take(&mut self.notices).into_iter()
    }
}

impl Work<'_> {
    pub(super) fn on_notice(&mut self, notice: Notice) {
        if matches!(notice, Notice::Complete | Notice::Done) {
            self.own.saving.hurry();
        }
        self.own.outlet.push(match notice {
            Notice::Complete => Report::Complete,
            Notice::Done => Report::Done,
            Notice::HashFailed(piece) => Report::Notice(format!(
                "piece {} failed hash check, re-downloading it",
                piece.get()
            )),
            Notice::SuperSeeding => Report::Remark(
                "** SUPER-SEED OPERATION ACTIVE **: every piece goes out once before any goes \
                 out twice"
                    .into(),
            ),
            Notice::Tracker(text) | Notice::WebSeed(text) => Report::Notice(text),
            Notice::Banned(address) => {
                Report::Notice(format!("{address} sent bad data again and again and is banned"))
            }
        });
    }

    /// Answers who wants to look closer.
    pub(super) fn show(&mut self, look: Look, now: Instant) {
        let details = match (look, self.torrent()) {
            (Look::Figures, _) => {
                self.own.outlet.last = None;
                return self.report_figures(now);
            }
            (_, None) => return,
            (Look::Peers, Some(torrent)) => Report::Peers(torrent.peers(now)),
            (Look::Files, Some(torrent)) => Report::Files(torrent.files()),
            (Look::Pieces, Some(torrent)) => Report::Pieces(torrent.pieces()),
            (Look::WebSeeds, Some(torrent)) => Report::WebSeeds(torrent.web_seeds(now)),
        };
        // Whoever is behind will ask again.
        let _ = self.hub.reports.try_send((Some(self.own.id), details));
    }

    pub(super) fn report(&mut self, now: Instant) {
        self.own.outlet.send_notices(&self.hub.reports);
        if self.own.outlet.is_due(now) {
            self.report_figures(now);
        }
    }

    pub(super) fn report_figures(&mut self, now: Instant) {
        let status = self.torrent().map(|t| t.status(now));
        let total = status.as_ref().map_or(self.own.geometry.total(), |s| s.wanted);
        let phase = match (&self.own.ending, &self.own.stage) {
            (Some(_), _) => Phase::Stopping,
            _ if self.own.trouble.is_there() => Phase::Waiting,
            (None, Stage::Checking { .. }) if self.hub.errands.waits_for_check(self.own.id) => {
                Phase::Queued
            }
            (None, Stage::Checking { done }) => match self.own.room {
                Room::Waited(part) => Phase::Allocating(part),
                _ => {
                    let count = self.own.geometry.piece_count().max(1);
                    Phase::Checking(f64::from(*done) / f64::from(count))
                }
            },
            _ if self.own.recheck.is_some() => Phase::Checking(self.rechecked()),
            (None, Stage::Running(torrent)) if torrent.is_paused() => Phase::Paused,
            (None, Stage::Running(torrent)) if Torrent::is_done(torrent) => Phase::Seeding,
            (None, Stage::Running(_)) => Phase::Downloading,
        };
        let left = status.as_ref().map_or(total, |s| s.left);
        let figures = Figures { phase, total, left, status };
        self.own.outlet.send_figures(figures, &self.hub.reports, now);
    }
}
