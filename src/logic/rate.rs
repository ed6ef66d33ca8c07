//! Rate meter and token bucket.
//!
//! [`Meter`] tells how fast bytes came lately; [`Bucket`] tells whether more may go now. Both are
//! cheap enough to be asked at every block.

use std::time::{Duration, Instant};

/// The window of a meter unless an option says otherwise (`max_rate_period`).
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(20);

/// How finely a meter cuts its window: old bytes are forgotten a slot at a time.
const SLOTS: usize = 20;

/// The shortest span a rate is taken over, so that the first block of a connection does not look
/// like a hundred megabytes a second.
const SHORTEST_SPAN: Duration = Duration::from_secs(1);

/// How fast bytes came, over at most the last `window`.
///
/// The span begins anew when bytes come after a window of silence: a peer that has just begun to
/// send is measured by what it does now.
#[derive(Debug, Clone)]
pub struct Meter {
    epoch: Instant,
    slot: Duration,
    bytes: [u64; SLOTS],
    /// Number of the newest slot, counted from `epoch`; it lives at `newest % SLOTS`.
    newest: u64,
    /// When the span being measured began.
    since: Instant,
    total: u64,
}

impl Meter {
    /// Nothing seen yet. A `window` below 20 ms counts as 20 ms.
    pub fn new(now: Instant, window: Duration) -> Meter {
        let slot = (window / SLOTS as u32).max(Duration::from_millis(1));
        Meter { epoch: now, slot, bytes: [0; SLOTS], newest: 0, since: now, total: 0 }
    }

    /// Counts `bytes` that came or went at `now`.
    pub fn add(&mut self, now: Instant, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let slot = self.slot_at(now);
        let forgotten = (slot - self.newest).min(SLOTS as u64);
        for n in 1..=forgotten {
            self.bytes[((self.newest + n) % SLOTS as u64) as usize] = 0;
        }
        self.newest = slot;
        if self.bytes.iter().all(|b| *b == 0) {
            self.since = now;
        }
        self.bytes[(slot % SLOTS as u64) as usize] += bytes;
        self.total += bytes;
    }

    /// Bytes a second over the window that ends at `now`.
    pub fn rate(&self, now: Instant) -> f64 {
        let slot = self.slot_at(now);
        // Slots numbered `oldest` to `newest` still count.
        let oldest = (slot + 1).saturating_sub(SLOTS as u64);
        let sum: u64 =
            (oldest..=self.newest).map(|n| self.bytes[(n % SLOTS as u64) as usize]).sum();
        let window = self.age(now).as_secs_f64() - self.slot.as_secs_f64() * oldest as f64;
        let span = now.saturating_duration_since(self.since).as_secs_f64().min(window);
        sum as f64 / span.max(SHORTEST_SPAN.as_secs_f64())
    }

    /// All bytes ever counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.epoch)
    }

    /// The slot `now` lies in, never before the newest.
    fn slot_at(&self, now: Instant) -> u64 {
        let slot = self.age(now).as_nanos() / self.slot.as_nanos();
        u64::try_from(slot).unwrap_or(u64::MAX / 2).max(self.newest)
    }
}

/// How long an unused bucket goes on filling: what may go at once after a pause is this long's
/// worth of the limit.
const BURST: Duration = Duration::from_secs(1);

/// How much debt outlives a change of the limit, as time at the new limit, so that a big block
/// sent under a high limit does not silence a low one for minutes.
const LONGEST_INHERITED_DEBT: Duration = Duration::from_secs(3);

const NANOS: i128 = 1_000_000_000;

/// A limit on bytes a second, as a bucket that fills with time.
///
/// What is sent is taken whole, if need be on credit: a bucket in debt is not
/// [`ready`](Bucket::ready) until time has paid. So the limit holds on average, and a block never
/// has to be cut to fit.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Bytes a second; `None` = no limit.
    limit: Option<u64>,
    /// Tokens at `at`, in billionths of a byte: time and limit then multiply without rounding.
    level: i128,
    at: Instant,
}

impl Bucket {
    /// A bucket that lets `limit` bytes a second through, `None` for all; full at first. A limit
    /// of 0 lets nothing through.
    pub fn new(limit: Option<u64>, now: Instant) -> Bucket {
        Bucket { limit, level: worth(limit.unwrap_or(0), BURST), at: now }
    }

    /// The limit in bytes a second, `None` if there is none.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Whether something may go at `now`, be it one byte or a whole block.
    pub fn ready(&self, now: Instant) -> bool {
        self.limit.is_none() || self.level_at(now) > 0
    }

    /// Takes what went at `now`, into debt if it was more than the bucket held.
    pub fn take(&mut self, now: Instant, bytes: u64) {
        self.settle(now);
        if self.limit.is_some() {
            self.level -= i128::from(bytes) * NANOS;
        }
    }

    /// When the bucket will be ready: `None` if it is so at `now`, or never will be (limit 0).
    pub fn next_ready(&self, now: Instant) -> Option<Instant> {
        let limit = self.limit.filter(|limit| *limit > 0)?;
        let missing = 1 - self.level_at(now);
        if missing <= 0 {
            return None;
        }
        let nanos = (missing as u128).div_ceil(u128::from(limit));
        now.checked_add(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// Changes the limit (bytes a second, `None` = no limit) from `now` on.
    pub fn set_limit(&mut self, now: Instant, limit: Option<u64>) {
        if limit == self.limit {
            return;
        }
        self.settle(now);
        self.limit = limit;
        let limit = limit.unwrap_or(0);
        self.level = self.level.clamp(-worth(limit, LONGEST_INHERITED_DEBT), worth(limit, BURST));
    }

    fn level_at(&self, now: Instant) -> i128 {
        let limit = self.limit.unwrap_or(0);
        let filled = self.level + worth(limit, now.saturating_duration_since(self.at));
        filled.min(worth(limit, BURST))
    }

    fn settle(&mut self, now: Instant) {
        self.level = self.level_at(now);
        self.at = self.at.max(now);
    }
}

/// What a limit lets through in some time, in billionths of a byte.
fn worth(limit: u64, time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX).saturating_mul(i128::from(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock: `at(1500)` is 1.5 s after the start.
    fn clock() -> impl Fn(u64) -> Instant {
        let start = Instant::now();
        move |ms| start + Duration::from_millis(ms)
    }

    fn near(value: f64, expected: f64) -> bool {
        (value - expected).abs() <= expected * 0.06
    }

    #[test]
    fn a_steady_stream_is_measured_as_what_it_is() {
        let at = clock();
        let mut meter = Meter::new(at(0), DEFAULT_WINDOW);
        for tenth in 1..=600 {
            meter.add(at(tenth * 100), 1_000);
            if tenth > 20 {
                let rate = meter.rate(at(tenth * 100));
                assert!(near(rate, 10_000.0), "{rate} after {tenth} tenths");
            }
        }
        assert_eq!(meter.total(), 600_000);
    }

    #[test]
    fn the_window_forgets() {
        let at = clock();
        let mut meter = Meter::new(at(0), DEFAULT_WINDOW);
        meter.add(at(0), 100_000);
        assert!(near(meter.rate(at(10_000)), 10_000.0));
        assert!(near(meter.rate(at(19_900)), 5_000.0));
        assert_eq!(meter.rate(at(21_000)), 0.0);
        meter.add(at(500_000), 7);
        assert_eq!(meter.total(), 100_007);
    }

    #[test]
    fn after_silence_the_span_begins_anew() {
        let at = clock();
        let mut meter = Meter::new(at(0), DEFAULT_WINDOW);
        meter.add(at(0), 5);
        meter.add(at(100_000), 10_000);
        assert!(near(meter.rate(at(100_100)), 10_000.0), "{}", meter.rate(at(100_100)));
        meter.add(at(102_000), 10_000);
        assert!(near(meter.rate(at(102_000)), 10_000.0));
    }

    #[test]
    fn a_clock_that_steps_back_harms_nothing() {
        let at = clock();
        let mut meter = Meter::new(at(5_000), Duration::ZERO);
        meter.add(at(9_000), 10);
        meter.add(at(1_000), 10);
        assert!(meter.rate(at(0)).is_finite());
        let mut bucket = Bucket::new(Some(10), at(5_000));
        bucket.take(at(1_000), 20);
        assert!(!bucket.ready(at(1_000)));
    }

    #[test]
    fn a_bucket_keeps_the_limit_on_average() {
        let at = clock();
        let mut bucket = Bucket::new(Some(10_000), at(0));
        let (mut now, mut sent) = (at(0), 0u64);
        while now < at(60_000) {
            while bucket.ready(now) {
                bucket.take(now, 16_384);
                sent += 16_384;
            }
            now = bucket.next_ready(now).expect("it is in debt");
            assert!(bucket.ready(now));
        }
        assert!((600_000..=600_000 + 10_000 + 16_384).contains(&sent), "{sent}");
    }

    #[test]
    fn a_pause_saves_up_one_second_and_no_more() {
        let at = clock();
        let mut bucket = Bucket::new(Some(1_000), at(0));
        bucket.take(at(3_600_000), 999);
        assert!(bucket.ready(at(3_600_000)));
        bucket.take(at(3_600_000), 1);
        assert!(!bucket.ready(at(3_600_000)));
        assert_eq!(bucket.next_ready(at(3_600_000)), Some(at(3_600_000) + Duration::new(0, 1)));
    }

    #[test]
    fn no_limit_is_always_ready_and_a_limit_of_nothing_never() {
        let at = clock();
        let mut free = Bucket::new(None, at(0));
        free.take(at(0), u64::MAX);
        assert!(free.ready(at(0)) && free.next_ready(at(0)).is_none());
        let shut = Bucket::new(Some(0), at(0));
        assert!(!shut.ready(at(9_000)) && shut.next_ready(at(9_000)).is_none());
    }

    #[test]
    fn a_lower_limit_inherits_only_a_little_debt() {
        let at = clock();
        let mut bucket = Bucket::new(Some(10_000_000), at(0));
        bucket.take(at(0), 20_000_000);
        bucket.set_limit(at(0), Some(1_000));
        assert!(!bucket.ready(at(2_900)) && bucket.ready(at(3_100)));
        bucket.set_limit(at(3_100), None);
        bucket.take(at(3_100), 1 << 40);
        bucket.set_limit(at(3_100), Some(1_000));
        assert!(bucket.ready(at(3_200)));
    }
}
