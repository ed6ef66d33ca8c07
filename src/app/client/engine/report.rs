//! What whoever looks on gets to know: messages, all of them, and figures, while they change.

use super::{MAX_NOTICES, Room, Stage, Work};
use crate::app::client::{Figures, Look, Phase, Report, Told, TorrentId};
use crate::io::mailbox::JobSender;
use crate::logic::torrent::{Notice, Torrent};
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// When there is no room for a message, it is tried again so much later.
const NEXT_TRY: Duration = Duration::from_millis(100);

/// Of what strangers can make us say no more messages than this are told
const MAX_OF_STRANGERS: u32 = 20;

/// in so long a time: else they would fill the disk with our messages.
const STRANGERS_EVERY: Duration = Duration::from_secs(600);

/// The way out.
pub(super) struct Outlet {
    id: TorrentId,
    notices: VecDeque<Report>,
    interval: Duration,
    last: Option<Figures>,
    told: Option<Instant>,
    /// How many messages strangers made us say, and since when.
    of_strangers: (u32, Option<Instant>),
    /// Nothing has happened since the figures stood still: there is no need to wake up for them.
    asleep: bool,
}

impl Outlet {
    pub(super) fn new(id: TorrentId, interval: Duration) -> Outlet {
        let notices = VecDeque::new();
        let (last, told, of_strangers, asleep) = Default::default();
        Outlet { id, notices, interval, last, told, of_strangers, asleep }
    }

    /// A message that must not get lost.
    pub(super) fn push(&mut self, report: Report) {
        if self.notices.len() >= MAX_NOTICES {
            self.notices.pop_front();
        }
        self.notices.push_back(report);
        self.asleep = false;
    }

    /// A message about what strangers did, unless they did too much.
    fn push_of_strangers(&mut self, text: String, now: Instant) {
        let (count, since) = &mut self.of_strangers;
        if since.is_none_or(|since| since + STRANGERS_EVERY <= now) {
            (*count, *since) = (0, Some(now));
        }
        *count += 1;
        match (*count).cmp(&MAX_OF_STRANGERS) {
            Ordering::Less => self.push(Report::Notice(text)),
            Ordering::Equal => {
                self.push(Report::Notice(format!("{text}; more of this is not told for a while")));
            }
            Ordering::Greater => {}
        }
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
        let outlet = &mut self.own.outlet;
        outlet.push(match notice {
            Notice::Complete => Report::Complete,
            Notice::Done => Report::Done,
            Notice::HashFailed(piece) => {
                let text = format!("piece {} failed hash check, re-downloading it", piece.get());
                return outlet.push_of_strangers(text, self.hub.now);
            }
            Notice::SuperSeeding => Report::Remark(
                "** SUPER-SEED OPERATION ACTIVE **: every piece goes out once before any goes \
                 out twice"
                    .into(),
            ),
            Notice::Tracker(text) | Notice::WebSeed(text) => Report::Notice(text),
            Notice::Banned(address) => {
                let text = format!("{address} sent bad data again and again and is banned");
                return outlet.push_of_strangers(text, self.hub.now);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_make_us_say_more_than_a_little() {
        let (mut outlet, now) = (Outlet::new(TorrentId::of(0), NEXT_TRY), Instant::now());
        let mut say = |at, count| {
            for n in 0..count {
                outlet.push_of_strangers(format!("piece {n} failed"), at);
            }
            let told: Vec<_> = outlet.take_notices().collect();
            let last = told.last().map(
                |report| matches!(report, Report::Notice(text) if text.contains("more of this")),
            );
            (told.len(), last)
        };
        assert_eq!(say(now, 3), (3, Some(false)));
        assert_eq!(say(now, 1000), (MAX_OF_STRANGERS as usize - 3, Some(true)));
        assert_eq!(say(now + STRANGERS_EVERY / 2, 1000), (0, None));
        assert_eq!(say(now + STRANGERS_EVERY, 1), (1, Some(false)));
    }
}
