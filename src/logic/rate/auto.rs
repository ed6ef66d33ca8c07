//! The upload limit that finds itself.
//!
//! A peer that is unchoked asks at once; how long its first request takes tells how much waits
//! before it in the queues of our line. When most are late the line is flooded: the limit goes
//! below what went lately. When they come at once for some time it is raised little by little. How
//! many peers are served at a time follows from it. Used by the torrent's brain under
//! `max_upload_rate` -1; the constants are BitTornado's.

use std::time::Duration;

/// Peers served at a time while there is no limit yet.
pub const FIRST_SLOTS: usize = 6;

/// A first request later than this is a sign of a flooded line.
const LATE: Duration = Duration::from_millis(1200);

/// So many requests make a judgement; the first of them is not counted.
const SAMPLES: usize = 8;

/// So many of those counted must be late.
const MANY: usize = 5;

/// After the line was flooded so many calm judgements pass before the limit is raised...
const CALM_FIRST: u32 = 5;

/// ...and after that so many between one raise and the next.
const CALM_NEXT: u32 = 2;

/// The limit never falls below this, in bytes a second: who gives nothing gets nothing.
const LEAST: f64 = 2_000.0;

/// The slots are the root of the limit (bytes a second) times this.
const SLOTS_FACTOR: f64 = 1.66 / 1000.0;

/// What the judgement changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The new limit, bytes a second.
    pub limit: u64,
    /// How many peers to serve at a time.
    pub slots: usize,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub struct AutoLimit {
    seen: usize,
    late: usize,
    /// `None` until the line was flooded once.
    limit: Option<f64>,
    calm: u32,
}

impl AutoLimit {
    /// No limit yet.
    pub fn new() -> AutoLimit {
        AutoLimit::default()
    }

    /// The first request of a peer came `delay` after it was unchoked, while we sent `rate` bytes
    /// a second. Tells what is to change.
    pub fn on_request(&mut self, delay: Duration, rate: f64) -> Option<Change> {
        if self.seen > 0 && delay > LATE {
            self.late += 1;
        }
        self.seen += 1;
        if self.seen < SAMPLES {
            return None;
        }
        let flooded = self.late >= MANY;
        (self.seen, self.late) = (0, 0);
        let limit = if flooded { self.lower(rate) } else { self.raise()? };
        self.limit = Some(limit);
        let slots = ((limit * SLOTS_FACTOR).sqrt() as usize).max(1);
        Some(Change { limit: limit as u64, slots })
    }

    fn lower(&mut self, rate: f64) -> f64 {
        self.calm = 0;
        let lately = rate * 1.1;
        (0.95 * self.limit.map_or(lately, |limit| limit.min(lately))).max(LEAST)
    }

    /// Without a limit there is nothing to raise.
    fn raise(&mut self) -> Option<f64> {
        let limit = self.limit?;
        self.calm += 1;
        if self.calm < CALM_FIRST {
            return None;
        }
        self.calm = CALM_FIRST - CALM_NEXT;
        Some(limit * 1.05)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One judgement: so many late requests among eight, the late ones last.
    fn judge(auto: &mut AutoLimit, late: usize, rate: f64) -> Option<Change> {
        let delay = |i| Duration::from_millis(if i >= SAMPLES - late { 1201 } else { 1200 });
        let changes: Vec<Option<Change>> =
            (0..SAMPLES).map(|i| auto.on_request(delay(i), rate)).collect();
        let (last, before) = changes.split_last().unwrap();
        assert!(before.iter().all(Option::is_none));
        *last
    }

    #[test]
    fn a_flooded_line_gets_a_limit_below_what_went() {
        let mut auto = AutoLimit::new();
        assert_eq!(judge(&mut auto, 4, 100_000.0), None);
        let change = judge(&mut auto, 5, 100_000.0).unwrap();
        assert_eq!(change, Change { limit: 104_500, slots: 13 });
        let change = judge(&mut auto, 7, 200_000.0).unwrap();
        assert_eq!(change.limit, 99_275);
        assert_eq!(judge(&mut auto, 7, 0.0).unwrap(), Change { limit: 2_000, slots: 1 });
    }

    #[test]
    fn a_calm_line_raises_a_limit_slowly_and_never_makes_one() {
        let mut auto = AutoLimit::new();
        assert!((0..20).all(|_| judge(&mut auto, 0, 50_000.0).is_none()));
        judge(&mut auto, 8, 50_000.0).unwrap();
        let raises: Vec<usize> =
            (1..=9).filter(|_| judge(&mut auto, 0, 50_000.0).is_some()).collect();
        assert_eq!(raises, [5, 7, 9]);
        assert_eq!(auto.limit.unwrap() as u64, (52_250.0 * 1.05f64.powi(3)) as u64);
    }

    #[test]
    fn the_first_request_of_a_judgement_is_not_counted() {
        let mut auto = AutoLimit::new();
        for i in 0..SAMPLES {
            let late = i == 0 || (1..5).contains(&i);
            let delay = Duration::from_secs(if late { 9 } else { 0 });
            assert_eq!(auto.on_request(delay, 9_000.0), None);
        }
    }
}
