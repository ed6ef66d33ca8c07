//! A clock that leaves out the time in which the process could not run: stopped by a signal, or by
//! a machine that slept. Nothing expires then only because nobody was there to see that it did
//! not. BitTornado has the same in its `clock.py`.
//!
//! Called by loops that sleep until a deadline: with the time of the system, which is handed in.

use std::time::{Duration, Instant};

/// A sleep that ends so much later than asked for was no sleep of ours.
const LATE: Duration = Duration::from_secs(1);

/// See the head of this file. Its time never goes back.
#[derive(Debug)]
pub struct Clock {
    /// The time left out so far.
    lost: Duration,
    last: Instant,
    /// When the sleep that went before should have ended, at the latest.
    due: Option<Instant>,
}

impl Clock {
    /// A clock that starts with the time of the system.
    pub fn new(system: Instant) -> Clock {
        Clock { lost: Duration::ZERO, last: system, due: None }
    }

    /// A sleep begins, until `due` in the time of this clock, or without an end.
    pub fn sleep(&mut self, due: Option<Instant>) {
        self.due = due;
    }

    /// The time, when the time of the system is this.
    pub fn at(&mut self, system: Instant) -> Instant {
        let mut now = system.checked_sub(self.lost).unwrap_or(self.last).max(self.last);
        let latest = self.due.map(|due| due.max(self.last));
        if let Some(latest) = latest.filter(|latest| now > *latest + LATE) {
            self.lost += now - latest;
            now = latest;
        }
        self.last = now;
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn it_goes_as_the_system_does_while_the_process_runs() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        for n in 1..100 {
            let at = start + n * Duration::from_millis(990);
            clock.sleep(Some(at - Duration::from_millis(500)));
            assert_eq!(clock.at(at), at);
        }
        clock.sleep(None);
        assert_eq!(clock.at(start + DAY), start + DAY, "a sleep without an end is never too long");
    }

    #[test]
    fn a_day_that_was_slept_away_does_not_count() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut clock = Clock::new(start);
        clock.sleep(Some(start + 5 * second));
        assert_eq!(clock.at(start + DAY), start + 5 * second);
        // The same moment, seen twice.
        assert_eq!(clock.at(start + DAY), start + 5 * second);
        clock.sleep(Some(start + 9 * second));
        assert_eq!(clock.at(start + DAY + 3 * second), start + 8 * second);
    }

    #[test]
    fn a_deadline_that_has_passed_already_does_not_turn_it_back() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        assert_eq!(clock.at(start + DAY), start + DAY);
        clock.sleep(Some(start));
        assert_eq!(clock.at(start + 2 * DAY), start + DAY);
        assert_eq!(clock.at(start), start + DAY);
    }
}
