//! What whoever looks on gets to know: messages, all of them, and figures, while they change.

use super::{Engine, Room, Stage};
use crate::app::client::{Figures, Look, Phase, Report};
use crate::io::mailbox::JobSender;
use crate::logic::torrent::{Notice, Torrent};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Messages for the user that wait; the oldest give way.
const MAX_NOTICES: usize = 256;

/// The way out.
pub(super) struct Outlet {
    reports: JobSender<Report>,
    notices: VecDeque<Report>,
    interval: Duration,
    last: Option<Figures>,
    told: Option<Instant>,
    /// Nothing has happened since the figures stood still: there is no need to wake up for them.
    asleep: bool,
}

impl Outlet {
    pub(super) fn new(reports: JobSender<Report>, interval: Duration) -> Outlet {
        let notices = VecDeque::new();
        Outlet { reports, notices, interval, last: None, told: None, asleep: false }
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

    /// When the next figures are due, if there may be new ones.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        (!self.asleep).then(|| self.told.map_or(now, |told| told + self.interval))
    }

    fn is_due(&self, now: Instant) -> bool {
        self.next_deadline(now).is_some_and(|at| at <= now)
    }

    /// Sends the messages on, as far as there is room.
    fn send_notices(&mut self) {
        while let Some(report) = self.notices.pop_front() {
            if let Err(report) = self.reports.try_send(report) {
                return self.notices.push_front(report);
            }
        }
    }

    fn send_figures(&mut self, figures: Figures, now: Instant) {
        self.told = Some(now);
        self.asleep = self.last.as_ref() == Some(&figures);
        if !self.asleep {
            self.last = Some(figures.clone());
            // Whoever looks on is behind: the next figures are as good.
            let _ = self.reports.try_send(Report::Figures(figures));
        }
    }

    /// Sends details on, if there is room: whoever is behind will ask again.
    fn send_details(&mut self, details: Report) {
        let _ = self.reports.try_send(details);
    }

    /// The last messages, waited for.
    pub(super) fn close(self, outcome: Result<(), String>) {
        for report in self.notices.into_iter().chain([Report::Ended(outcome)]) {
            if !self.reports.send(report) {
                return;
            }
        }
    }
}

impl Engine {
    pub(super) fn on_notice(&mut self, notice: Notice) {
        if matches!(notice, Notice::Complete | Notice::Done) {
            self.saving.hurry();
        }
        self.outlet.push(match notice {
            Notice::Complete => Report::Complete,
            Notice::Done => Report::Done,
            Notice::HashFailed(piece) => Report::Notice(format!(
                "piece {} failed hash check, re-downloading it",
                piece.get()
            )),
            Notice::SuperSeeding => Report::Notice(
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
                self.outlet.last = None;
                return self.report_figures(now);
            }
            (_, None) => return,
            (Look::Peers, Some(torrent)) => Report::Peers(torrent.peers(now)),
            (Look::Files, Some(torrent)) => Report::Files(torrent.files()),
            (Look::Pieces, Some(torrent)) => Report::Pieces(torrent.pieces()),
            (Look::WebSeeds, Some(torrent)) => Report::WebSeeds(torrent.web_seeds(now)),
        };
        self.outlet.send_details(details);
    }

    pub(super) fn report(&mut self, now: Instant) {
        self.outlet.send_notices();
        if self.outlet.is_due(now) {
            self.report_figures(now);
        }
    }

    pub(super) fn report_figures(&mut self, now: Instant) {
        let status = self.torrent().map(|t| t.status(now));
        let total = status.as_ref().map_or(self.geometry.total(), |s| s.wanted);
        let phase = match (&self.ending, &self.stage) {
            (Some(_), _) => Phase::Stopping,
            _ if self.trouble.is_there() => Phase::Waiting,
            (None, Stage::Checking { done }) => match self.room {
                Room::Waited(part) => Phase::Allocating(part),
                _ => {
                    let count = self.geometry.piece_count().max(1);
                    Phase::Checking(f64::from(*done) / f64::from(count))
                }
            },
            _ if self.recheck.is_some() => Phase::Checking(self.rechecked()),
            (None, Stage::Running(torrent)) if torrent.is_paused() => Phase::Paused,
            (None, Stage::Running(torrent)) if Torrent::is_done(torrent) => Phase::Seeding,
            (None, Stage::Running(_)) => Phase::Downloading,
        };
        let left = status.as_ref().map_or(total, |s| s.left);
        self.outlet.send_figures(Figures { phase, total, left, status }, now);
    }
}
