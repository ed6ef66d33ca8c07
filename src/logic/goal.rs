//! When a torrent that is done has been shared enough. Asked by `app::client`, which then ends it.

use std::fmt;
use std::time::{Duration, Instant};

/// So long the end waits for a tracker to hear that the download is complete. What has been sent to
/// one by then is on its way.
const TRACKERS: Duration = Duration::from_secs(3);

/// What a user has set as the end of a torrent; with nothing set it is shared until it is stopped.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Goal {
    /// It ends as soon as it is done.
    pub exit_on_done: bool,
    /// It ends when so many bytes were sent for each byte of it; see [`Progress`]. Not negative.
    pub seed_ratio: Option<f64>,
    /// It ends when it has been shared for so long after it was done.
    pub seed_time: Option<Duration>,
}

/// How far a torrent is that is done.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Since when it is done.
    pub since: Instant,
    /// A tracker is still to hear that the download is complete, and may do so soon.
    pub untold: bool,
    /// Payload sent, in bytes.
    pub uploaded: u64,
    /// Payload that came in, in bytes.
    pub downloaded: u64,
    /// The bytes that were wanted.
    pub wanted: u64,
}

impl Progress {
    /// What was sent for each byte that was wanted, or that came in, whichever is more.
    pub fn ratio(&self) -> f64 {
        match self.wanted.max(self.downloaded) {
            // Of nothing, enough was sent.
            0 => f64::INFINITY,
            bytes => self.uploaded as f64 / bytes as f64,
        }
    }
}

/// Which goal was reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reached {
    /// It is done.
    Done,
    /// It was sent so many times.
    Ratio(f64),
    /// It was shared for so long.
    Time(Duration),
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reached::Done => f.write_str("done"),
            Reached::Ratio(ratio) => write!(f, "shared {ratio:.3} times"),
            Reached::Time(time) => write!(f, "shared for {:.1} minutes", time.as_secs_f64() / 60.0),
        }
    }
}

impl Goal {
    /// The goal that is reached by now, if one is.
    pub fn reached(&self, progress: &Progress, now: Instant) -> Option<Reached> {
        if progress.untold && now < progress.since + TRACKERS {
            return None;
        }
        let ratio = progress.ratio();
        let shared = now.saturating_duration_since(progress.since);
        if self.exit_on_done {
            Some(Reached::Done)
        } else if self.seed_ratio.is_some_and(|goal| ratio >= goal) {
            Some(Reached::Ratio(if ratio.is_finite() { ratio } else { 0.0 }))
        } else {
            self.seed_time.filter(|goal| shared >= *goal).map(|_| Reached::Time(shared))
        }
    }

    /// When to ask again, if nothing happens before.
    pub fn next_deadline(&self, progress: &Progress, now: Instant) -> Option<Instant> {
        let told = progress.untold.then_some(progress.since + TRACKERS);
        let time = self.seed_time.and_then(|time| progress.since.checked_add(time));
        let set = self.exit_on_done || self.seed_ratio.is_some() || self.seed_time.is_some();
        told.filter(|_| set).into_iter().chain(time).filter(|at| *at > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn progress(since: Instant, uploaded: u64) -> Progress {
        Progress { since, untold: false, uploaded, downloaded: 0, wanted: 1000 }
    }

    #[test]
    fn with_nothing_set_it_is_shared_for_ever() {
        let start = Instant::now();
        let progress = Progress { untold: true, ..progress(start, 1_000_000) };
        let goal = Goal::default();
        assert_eq!(goal.reached(&progress, start + 10_000 * MINUTE), None);
        assert_eq!(goal.next_deadline(&progress, start), None);
    }

    #[test]
    fn the_ratio_counts_what_is_wanted_or_came_in_whichever_is_more() {
        let start = Instant::now();
        let goal = Goal { seed_ratio: Some(1.5), ..Goal::default() };
        assert_eq!(goal.reached(&progress(start, 1499), start), None);
        let enough = progress(start, 1500);
        assert_eq!(goal.reached(&enough, start), Some(Reached::Ratio(1.5)));
        let fetched_twice = Progress { downloaded: 2000, ..enough };
        assert_eq!(goal.reached(&fetched_twice, start), None);
    }

    #[test]
    fn a_ratio_of_zero_and_a_torrent_of_nothing_are_reached_at_once() {
        let start = Instant::now();
        let at_once = Goal { seed_ratio: Some(0.0), ..Goal::default() };
        assert_eq!(at_once.reached(&progress(start, 0), start), Some(Reached::Ratio(0.0)));
        let nothing = Progress { wanted: 0, ..progress(start, 0) };
        let goal = Goal { seed_ratio: Some(2.0), ..Goal::default() };
        assert_eq!(goal.reached(&nothing, start), Some(Reached::Ratio(0.0)));
    }

    #[test]
    fn the_time_is_up_at_its_deadline_and_not_before() {
        let start = Instant::now();
        let goal = Goal { seed_time: Some(MINUTE), ..Goal::default() };
        let progress = progress(start, 0);
        let at = goal.next_deadline(&progress, start).unwrap();
        assert_eq!(goal.reached(&progress, at - Duration::from_millis(1)), None);
        assert_eq!(goal.reached(&progress, at), Some(Reached::Time(MINUTE)));
    }

    #[test]
    fn a_tracker_hears_of_the_end_first_but_not_for_ever() {
        let start = Instant::now();
        let goal = Goal { exit_on_done: true, ..Goal::default() };
        let untold = Progress { untold: true, ..progress(start, 0) };
        assert_eq!(goal.reached(&untold, start), None);
        let at = goal.next_deadline(&untold, start).unwrap();
        assert_eq!(goal.reached(&untold, at), Some(Reached::Done));
        assert_eq!(goal.reached(&progress(start, 0), start), Some(Reached::Done));
    }
}
