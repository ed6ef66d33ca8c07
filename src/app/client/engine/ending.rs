//! The end: peers go first; what was taken from them is written, and meanwhile the trackers hear
//! our last word. All of it has a limit, so that neither a tracker nor a disk that hangs delays
//! the end.

use super::Engine;
use crate::app::client::dht::Node;
use crate::app::client::ports::Ports;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The whole end takes no longer than this.
pub(in crate::app::client) const END: Duration = Duration::from_millis(2000);

/// When all that can be waited for is done, the disk's workers have so long to come to an end.
pub(super) const WORKERS: Duration = Duration::from_millis(300);

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

impl Engine {
    /// Begins the end.
    pub(super) fn end(&mut self, failure: Option<String>, now: Instant) {
        match &mut self.ending {
            Some(ending) => ending.failure = ending.failure.take().or(failure),
            None => self.ending = Some(Ending { at: now + END, failure }),
        }
        self.stop.store(true, Ordering::Relaxed);
        self.trouble.give_up();
        if let Some(node) = self.dht.as_mut().filter(|node| !node.is_saving()) {
            node.remember(&self.post);
        }
        if let Some(ports) = &mut self.ports {
            ports.end(now);
        }
        // The totals.
        self.saving.on_change();
        self.with_torrent(|t| t.stop(now));
    }

    /// Whether nothing is left to be waited for, or there is no more time.
    pub(super) fn has_ended(&self, now: Instant) -> bool {
        let Some(ending) = &self.ending else { return false };
        let at_rest = self.announces.is_empty() && self.unwritten == 0 && self.saving.is_at_rest();
        let at_rest = at_rest && !self.dht.as_ref().is_some_and(Node::is_saving);
        let at_rest = at_rest && self.ports.as_ref().is_none_or(Ports::is_at_rest);
        at_rest || self.torrent().is_none() || ending.at <= now
    }

    /// How it ended, once it has.
    pub(super) fn outcome(&mut self) -> Result<(), String> {
        let failure = self.ending.take().and_then(|e| e.failure);
        let late = || {
            let count = self.unwritten;
            format!("the disk hangs: {count} blocks and checks were not done in time")
        };
        match failure.or_else(|| (self.unwritten > 0).then(late)) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }
}
