//! The end: peers go first; what was taken from them is written, and meanwhile the trackers hear
//! our last word. All of it has a limit, so that neither a tracker nor a disk that hangs delays
//! the end.

use super::Work;
use crate::app::client::Report;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The whole end of a download takes no longer than this.
pub const END: Duration = Duration::from_millis(2000);

/// When all that can be waited for is done, the disk's workers have so long to come to an end.
pub(super) const WORKERS: Duration = Duration::from_millis(300);

/// An announce that has taken so long when the end begins is not waited for: its tracker hangs.
const PROMPT: Duration = Duration::from_secs(1);

/// Announces under way. The end waits for them too: an answer may show that one more tracker knows
/// of us, and must hear our last word.
#[derive(Default)]
pub struct Announces(Vec<(u64, Instant)>);

impl Announces {
    /// One of this number leaves.
    pub fn sent(&mut self, number: u64, now: Instant) {
        self.0.push((number, now));
    }

    /// One is over.
    pub fn over(&mut self, number: u64) {
        self.0.retain(|(under_way, _)| *under_way != number);
    }

    /// The end begins, and our last words are still to be said.
    pub fn end(&mut self, now: Instant) {
        self.0.retain(|(_, since)| now.saturating_duration_since(*since) < PROMPT);
    }

    /// Whether none is waited for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The end has begun.
pub(super) struct Ending {
    /// It comes at this time at the latest.
    at: Instant,
    /// Why, if it is not because somebody wished it.
    failure: Option<String>,
}

impl Ending {
    /// What was found on the way out: it did not end well.
    pub(super) fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }

    pub(super) fn deadline(&self) -> Instant {
        self.at
    }
}

impl Work<'_> {
    /// Begins the end.
    pub(super) fn end(&mut self, failure: Option<String>, now: Instant) {
        let patience = self.hub.settings.patience;
        match &mut self.own.ending {
            Some(ending) => ending.failure = ending.failure.take().or(failure),
            None => {
                self.own.ending = Some(Ending { at: now + patience, failure });
                self.own.announces.end(now);
            }
        }
        self.own.stop.store(true, Ordering::Relaxed);
        self.own.trouble.give_up();
        self.hub.shut(self.own.settings.metainfo.info_hash, self.own.id);
        self.hub.errands.forget(self.own.id);
        // The totals.
        self.own.saving.on_change();
        self.with_torrent(|t| t.stop(now));
    }

    /// Whether nothing is left to be waited for, or there is no more time.
    pub(super) fn has_ended(&self, now: Instant) -> bool {
        let Some(ending) = &self.own.ending else { return false };
        let own = &*self.own;
        let is_told = own.announces.is_empty();
        let at_rest = is_told && own.unwritten == 0 && own.saving.is_at_rest();
        at_rest || self.torrent().is_none() || ending.at <= now
    }

    /// The last of it: what was not told yet, and how it ended.
    pub(super) fn close_all(&mut self, now: Instant) {
        self.report_figures(now);
        self.give_up_web();
        let outcome = self.outcome();
        let id = Some(self.own.id);
        for report in self.own.outlet.take_notices().chain([Report::Ended(outcome)]) {
            self.hub.tell(id, report);
        }
    }

    fn outcome(&mut self) -> Result<(), String> {
        let failure = self.own.ending.take().and_then(|e| e.failure);
        let late = || {
            let count = self.own.unwritten;
            format!("the disk hangs: {count} blocks and checks were not done in time")
        };
        match failure.or_else(|| (self.own.unwritten > 0).then(late)) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_waits_for_announces_that_are_new_and_for_last_words() {
        let (mut announces, start) = (Announces::default(), Instant::now());
        announces.sent(1, start);
        announces.end(start + PROMPT);
        assert!(announces.is_empty(), "that tracker hangs");
        announces.sent(2, start);
        announces.end(start + PROMPT / 2);
        assert!(!announces.is_empty());
        announces.over(1);
        assert!(!announces.is_empty());
        announces.over(2);
        assert!(announces.is_empty());
    }
}
