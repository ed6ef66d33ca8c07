//! Rate meter and token bucket.
//!
//! [`Meter`] tells how fast bytes came lately; [`Bucket`] tells whether more may go now. Both are
//! cheap enough to be asked at every block.

pub mod auto;

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
    /// The span is taken to be so much longer, up to the window.
    head_start: Duration,
    total: u64,
}

impl Meter {
    /// Nothing seen yet. A `window` below 20 ms counts as 20 ms.
    pub fn new(now: Instant, window: Duration) -> Meter {
        let slot = (window / SLOTS as u32).max(Duration::from_millis(1));
        Meter {
            epoch: now,
            slot,
            bytes: [0; SLOTS],
            newest: 0,
            since: now,
            head_start: Duration::ZERO,
            total: 0,
        }
    }

    /// As if bytes had come for so much longer than they have: what a socket takes at first fills
    /// the system's buffers, and is no rate yet (`upload_rate_fudge`).
    pub fn with_head_start(self, head_start: Duration) -> Meter {
        Meter { head_start, ..self }
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
        let window = self.slot.as_secs_f64() * SLOTS as f64;
        // A meter older than its window has seen only a part of the newest slot.
        let seen = match oldest {
            0 => window,
            _ => self.age(now).as_secs_f64() - self.slot.as_secs_f64() * oldest as f64,
        };
        let span = (now.saturating_duration_since(self.since) + self.head_start).as_secs_f64();
        let span = span.min(seen);
        sum as f64 / span.max(SHORTEST_SPAN.as_secs_f64())
    }

    /// Bytes a second since the meter was made.
    pub fn mean(&self, now: Instant) -> f64 {
        self.total as f64 / self.age(now).max(SHORTEST_SPAN).as_secs_f64()
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
/// worth of the limit. It makes good what a late turn of the loop has missed.
const BURST: Duration = Duration::from_millis(250);

/// An empty bucket is looked at again after this long's worth of the limit has come in, so that a
/// high limit does not mean thousands of wake-ups a second.
const PACE: Duration = Duration::from_millis(5);

/// How much debt outlives a change of the limit, as time at the new limit, so that a big block
/// sent under a high limit does not silence a low one for minutes.
const LONGEST_INHERITED_DEBT: Duration = Duration::from_secs(3);

const NANOS: i128 = 1_000_000_000;

/// A limit on bytes a second, as a bucket that fills with time.
///
/// What goes is taken whole, if need be on credit: a bucket in debt is not
/// [`ready`](Bucket::ready) until time has paid. So the limit holds on average, and a block never
/// has to be cut to fit. A new bucket is empty: the first second is no faster than the others.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Bytes a second; `None` = no limit.
    limit: Option<u64>,
    /// The least that is worth to be handed out, in bytes.
    unit: u64,
    /// Tokens at `at`, in billionths of a byte: time and limit then multiply without rounding.
    level: i128,
    at: Instant,
}

impl Bucket {
    /// A bucket that lets `limit` bytes a second through, `None` for all. A limit of 0 lets
    /// nothing through.
    pub fn new(limit: Option<u64>, now: Instant) -> Bucket {
        Bucket { limit, unit: 1, level: 0, at: now }
    }

    /// With portions of no less than `unit` bytes (`upload_unit_size`).
    pub fn with_unit(self, unit: u64) -> Bucket {
        Bucket { unit: unit.max(1), ..self }
    }

    /// The limit in bytes a second, `None` if there is none.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// What is best handed out at a time, in bytes: what comes in between two looks at the
    /// bucket, and no less than the unit.
    pub fn portion(&self) -> u64 {
        let paced = self.limit.map(|limit| worth(limit, PACE) / NANOS);
        u64::try_from(paced.unwrap_or(i128::MAX)).unwrap_or(u64::MAX).max(self.unit)
    }

    /// Whether something may go at `now`, be it one byte or a whole block.
    pub fn ready(&self, now: Instant) -> bool {
        self.limit.is_none() || self.level_at(now) > 0
    }

    /// The bytes that may go at `now` without debt.
    pub fn available(&self, now: Instant) -> u64 {
        match self.limit {
            None => u64::MAX,
            Some(_) => u64::try_from(self.level_at(now) / NANOS).unwrap_or(0),
        }
    }

    /// Takes what went at `now`, into debt if it was more than the bucket held.
    pub fn take(&mut self, now: Instant, bytes: u64) {
        self.settle(now);
        if self.limit.is_some() {
            self.level -= i128::from(bytes) * NANOS;
        }
    }

    /// Gives back what was taken for something that will not go after all.
    pub fn give_back(&mut self, now: Instant, bytes: u64) {
        self.settle(now);
        if self.limit.is_some() {
            self.level = (self.level + i128::from(bytes) * NANOS).min(self.full());
        }
    }

    /// When to look again at a bucket that is not ready at `now`: when a portion has come in.
    /// `None` if it is ready, or never will be (limit 0).
    pub fn next_ready(&self, now: Instant) -> Option<Instant> {
        let limit = self.limit.filter(|limit| *limit > 0)?;
        let level = self.level_at(now);
        if level > 0 {
            return None;
        }
        let missing = i128::from(self.portion()) * NANOS - level;
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
        let debt = worth(limit.unwrap_or(0), LONGEST_INHERITED_DEBT);
        self.level = self.level.clamp(-debt, self.full());
    }

    /// The most a bucket holds.
    fn full(&self) -> i128 {
        match self.limit {
            None | Some(0) => 0,
            Some(limit) => worth(limit, BURST).max(i128::from(self.portion()) * NANOS),
        }
    }

    fn level_at(&self, now: Instant) -> i128 {
        let limit = self.limit.unwrap_or(0);
        let filled = self.level + worth(limit, now.saturating_duration_since(self.at));
        filled.min(self.full())
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
    fn a_mean_is_over_all_the_time_that_there_was() {
        let start = Instant::now();
        let mut meter = Meter::new(start, DEFAULT_WINDOW);
        meter.add(start, 600);
        assert_eq!(meter.mean(start), 600.0);
        meter.add(start + Duration::from_secs(50), 600);
        assert_eq!(meter.mean(start + Duration::from_secs(100)), 12.0);
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
    fn a_head_start_makes_the_first_rates_small_and_no_later_ones() {
        let at = clock();
        let fudge = Duration::from_secs(5);
        let mut meter = Meter::new(at(0), DEFAULT_WINDOW).with_head_start(fudge);
        meter.add(at(0), 50_000);
        assert!(near(meter.rate(at(0)), 10_000.0), "{}", meter.rate(at(0)));
        for second in 1..=60 {
            meter.add(at(second * 1000), 10_000);
        }
        assert!(near(meter.rate(at(60_000)), 10_000.0), "{}", meter.rate(at(60_000)));
    }

    /// Sends pieces of `bytes` for so many seconds, as often as the bucket allows; the times it was
    /// looked at, and what went in any ten seconds at least and at most.
    fn drain(mut bucket: Bucket, bytes: u64, seconds: u64) -> (u64, u64, u64) {
        let at = clock();
        let (mut now, mut sent, mut looks) = (at(0), Vec::new(), 0);
        bucket.settle(now);
        while now < at(seconds * 1000) {
            looks += 1;
            while bucket.ready(now) {
                bucket.take(now, bytes);
                sent.push((now, bytes));
            }
            now = bucket.next_ready(now).expect("it is in debt");
            assert!(bucket.ready(now));
        }
        let window = |from: u64| -> u64 {
            let (from, to) = (at(from), at(from + 10_000));
            sent.iter().filter(|(t, _)| (from..to).contains(t)).map(|(_, bytes)| bytes).sum()
        };
        let windows: Vec<u64> = (0..=(seconds - 10) * 4).map(|n| window(n * 250)).collect();
        (looks, *windows.iter().min().unwrap(), *windows.iter().max().unwrap())
    }

    #[test]
    fn a_limit_holds_over_any_ten_seconds_and_wakes_seldom() {
        for (limit, bytes) in [(20_480, 1_460), (20_480, 16_384), (200 << 20, 16_384), (3_000, 99)]
        {
            let bucket = Bucket::new(Some(limit), Instant::now()).with_unit(bytes.min(1_460));
            let (looks, least, most) = drain(bucket, bytes, 15);
            let (low, high) = (limit as f64 * 9.5, limit as f64 * 10.5);
            assert!(least as f64 >= low, "{limit}: {least} in 10 s");
            assert!(most as f64 <= high, "{limit}: {most} in 10 s");
            assert!(looks <= 15 * 200, "{limit}: {looks} wake-ups");
        }
    }

    #[test]
    fn a_bucket_begins_empty_and_a_pause_saves_up_a_quarter_of_a_second() {
        let at = clock();
        let mut bucket = Bucket::new(Some(100_000), at(0));
        assert!(!bucket.ready(at(0)) && bucket.available(at(0)) == 0);
        assert_eq!(bucket.available(at(100)), 10_000);
        assert_eq!(bucket.available(at(3_600_000)), 25_000);
        bucket.take(at(3_600_000), 25_000);
        assert!(!bucket.ready(at(3_600_000)));
        assert_eq!(bucket.next_ready(at(3_600_000)), Some(at(3_600_005)));
    }

    #[test]
    fn what_is_given_back_may_go_again() {
        let at = clock();
        let mut bucket = Bucket::new(Some(100_000), at(0));
        bucket.take(at(0), 50_000);
        bucket.give_back(at(0), 49_000);
        assert_eq!(bucket.available(at(20)), 1_000);
        bucket.give_back(at(20), 1 << 40);
        assert_eq!(bucket.available(at(20)), 25_000);
    }

    #[test]
    fn a_unit_above_the_burst_is_waited_for() {
        let at = clock();
        let bucket = Bucket::new(Some(1_000), at(0)).with_unit(1_460);
        assert_eq!(bucket.next_ready(at(0)), Some(at(1_460)));
        assert_eq!(bucket.available(at(1_460)), 1_460);
        assert_eq!(bucket.portion(), 1_460);
    }

    #[test]
    fn no_limit_is_always_ready_and_a_limit_of_nothing_never() {
        let at = clock();
        let mut free = Bucket::new(None, at(0));
        free.take(at(0), u64::MAX);
        assert!(free.ready(at(0)) && free.next_ready(at(0)).is_none());
        assert_eq!(free.portion(), u64::MAX);
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
        assert!(bucket.ready(at(3_200)) && !bucket.ready(at(3_100)));
    }
}
