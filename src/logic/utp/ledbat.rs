//! How much of a stream may be under way: LEDBAT (RFC 6817), which gives way to others.
//!
//! It watches how much longer packets take than the quickest did. What is longer is a queue, most
//! often in the sender's own router; up to [`TARGET`] of it is taken, and when others fill the
//! queue, this stream becomes slower until it is hardly there.

use std::time::{Duration, Instant};

use super::MAX_PAYLOAD;

/// The queue that a stream may cause (BEP 29).
pub const TARGET: Duration = Duration::from_millis(100);

/// Bytes that may be under way at most.
pub const MAX_WINDOW: usize = 1 << 20;

/// Bytes that may always be under way: less, and losses would never be noticed quickly.
pub const MIN_WINDOW: usize = 2 * MAX_PAYLOAD;

/// Bytes by which the window grows in a round trip, at most: as other clients do.
const GAIN: f64 = 3_000.0;

/// Minutes for which the quickest packet is remembered: routes change, and clocks drift apart.
const MINUTES: usize = 10;

/// The last packets of which the quickest tells the queue of now (RFC 6817's filter).
const LATEST: usize = 4;

/// The window of one stream.
#[derive(Debug)]
pub struct Ledbat {
    /// Bytes that may be under way.
    window: f64,
    /// Above this window it grows slowly.
    threshold: f64,
    /// Both as they were before the last loss.
    before: (f64, f64),
    /// The smallest delay of each of the last minutes, the current one first, in microseconds.
    minutes: [Option<u32>; MINUTES],
    minute_began: Instant,
    latest: [Option<u32>; LATEST],
}

/// The smaller of two delays. They are differences of two clocks, and wrap.
fn smaller(a: u32, b: u32) -> u32 {
    if (a.wrapping_sub(b) as i32) < 0 { a } else { b }
}

fn smallest(delays: &[Option<u32>]) -> Option<u32> {
    delays.iter().flatten().copied().reduce(smaller)
}

impl Ledbat {
    /// The window of a new stream.
    pub fn new(now: Instant) -> Ledbat {
        Ledbat {
            window: MIN_WINDOW as f64,
            threshold: MAX_WINDOW as f64,
            before: (MIN_WINDOW as f64, MAX_WINDOW as f64),
            minutes: [None; MINUTES],
            minute_began: now,
            latest: [None; LATEST],
        }
    }

    /// Bytes that may be under way, from [`MIN_WINDOW`] to [`MAX_WINDOW`]; after silence, one
    /// packet.
    pub fn window(&self) -> usize {
        self.window as usize
    }

    /// How long packets wait in queues now; zero as long as nothing is known.
    pub fn queue(&self) -> Duration {
        let (Some(now), Some(base)) = (smallest(&self.latest), smallest(&self.minutes)) else {
            return Duration::ZERO;
        };
        let beyond = now.wrapping_sub(base);
        Duration::from_micros(if beyond > 1 << 31 { 0 } else { u64::from(beyond) })
    }

    /// A packet of ours took this long, in microseconds, by the other side's word.
    pub fn on_delay(&mut self, delay: u32, now: Instant) {
        let minute = Duration::from_secs(60);
        let gone = now.saturating_duration_since(self.minute_began).as_secs() / 60;
        for _ in 0..gone.min(MINUTES as u64) {
            self.minutes.rotate_right(1);
            self.minutes[0] = None;
        }
        self.minute_began += minute * u32::try_from(gone).unwrap_or(u32::MAX);
        self.minutes[0] = Some(self.minutes[0].map_or(delay, |least| smaller(least, delay)));
        self.latest.rotate_right(1);
        self.latest[0] = Some(delay);
    }

    /// So many bytes have arrived. `was_full`: the window held others back; if it did not, nothing
    /// tells that more would get through.
    pub fn on_acked(&mut self, bytes: usize, was_full: bool) {
        let bytes = bytes as f64;
        let queue = self.queue().as_secs_f64() / TARGET.as_secs_f64();
        let change = if queue > 1.0 {
            self.threshold = self.threshold.min(self.window);
            // In a round trip the excess, or half of the window: as fast as a loss would do.
            -bytes * (queue - 1.0).min(0.5)
        } else if !was_full {
            0.0
        } else if self.window < self.threshold && queue < 0.75 {
            bytes
        } else {
            GAIN * (1.0 - queue) * (bytes / self.window).min(1.0)
        };
        self.window = (self.window + change).clamp(MIN_WINDOW as f64, MAX_WINDOW as f64);
    }

    /// Packets were lost; to be told once for all that were under way together.
    pub fn on_loss(&mut self) {
        self.before = (self.window, self.threshold);
        self.window = (self.window / 2.0).max(MIN_WINDOW as f64);
        self.threshold = self.window;
    }

    /// What was told as a loss was none.
    pub fn on_undone(&mut self) {
        let (window, threshold) = self.before;
        self.window = self.window.max(window);
        self.threshold = self.threshold.max(threshold);
    }

    /// Nothing was heard for long: whatever was known of the way is void.
    pub fn on_silence(&mut self) {
        self.threshold = (self.window / 2.0).max(MIN_WINDOW as f64);
        self.window = MAX_PAYLOAD as f64;
    }
}

/// How long a round trip takes, and so when a packet counts as lost (RFC 6298).
#[derive(Debug, Default)]
pub struct RoundTrip {
    smooth: Option<Duration>,
    variance: Duration,
}

/// Before this nothing is sent again for want of an answer (BEP 29).
pub const MIN_WAIT: Duration = Duration::from_millis(500);

/// The longest that an answer is waited for.
pub const MAX_WAIT: Duration = Duration::from_secs(30);

impl RoundTrip {
    /// A packet that was sent once was acknowledged after this time.
    pub fn on_sample(&mut self, took: Duration) {
        let took = took.min(MAX_WAIT);
        let Some(smooth) = self.smooth else {
            (self.smooth, self.variance) = (Some(took), took / 2);
            return;
        };
        self.variance = (self.variance * 3 + smooth.abs_diff(took)) / 4;
        self.smooth = Some((smooth * 7 + took) / 8);
    }

    /// In less time nothing is answered: half of the usual.
    pub fn soon(&self) -> Duration {
        self.smooth.unwrap_or_default() / 2
    }

    /// How long an answer is waited for, when so many waits were in vain.
    pub fn wait(&self, in_vain: u32) -> Duration {
        let first = self.smooth.map_or(Duration::from_secs(1), |smooth| smooth + self.variance * 4);
        (first.max(MIN_WAIT) * (1 << in_vain.min(6))).min(MAX_WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledbat() -> (Ledbat, Instant) {
        let now = Instant::now();
        (Ledbat::new(now), now)
    }

    #[test]
    fn the_window_doubles_in_each_round_trip_until_a_loss_and_then_grows_by_little() {
        let (mut ledbat, now) = ledbat();
        ledbat.on_delay(5_000, now);
        for _ in 0..4 {
            ledbat.on_acked(ledbat.window(), true);
        }
        assert_eq!(ledbat.window(), 16 * MIN_WINDOW);
        ledbat.on_loss();
        assert_eq!(ledbat.window(), 8 * MIN_WINDOW);
        ledbat.on_acked(ledbat.window(), true);
        assert_eq!(ledbat.window(), 8 * MIN_WINDOW + GAIN as usize);
        for _ in 0..10_000 {
            ledbat.on_acked(ledbat.window(), true);
        }
        assert_eq!(ledbat.window(), MAX_WINDOW);
        ledbat.on_silence();
        assert_eq!(ledbat.window(), MAX_PAYLOAD);
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        let (mut ledbat, now) = ledbat();
        ledbat.on_delay(5_000, now);
        ledbat.on_acked(MAX_PAYLOAD, false);
        assert_eq!(ledbat.window(), MIN_WINDOW);
    }

    #[test]
    fn it_gives_way_when_packets_take_longer_than_the_target() {
        let (mut ledbat, now) = ledbat();
        // The clocks differ so that the numbers wrap between the quickest and the slower ones.
        let base = u32::MAX - 10_000;
        ledbat.on_delay(base, now);
        for _ in 0..6 {
            ledbat.on_acked(ledbat.window(), true);
        }
        let grown = ledbat.window();
        for _ in 0..LATEST {
            ledbat.on_delay(base.wrapping_add(100_000), now);
        }
        assert_eq!(ledbat.queue(), TARGET);
        ledbat.on_acked(grown, true);
        assert_eq!(ledbat.window(), grown, "at the target it stays");
        for _ in 0..LATEST {
            ledbat.on_delay(base.wrapping_add(300_000), now);
        }
        for _ in 0..8 {
            ledbat.on_acked(ledbat.window(), true);
        }
        assert_eq!(ledbat.window(), MIN_WINDOW);
    }

    #[test]
    fn one_slow_packet_is_no_queue_and_the_quickest_is_forgotten_in_time() {
        let (mut ledbat, now) = ledbat();
        ledbat.on_delay(1_000, now);
        ledbat.on_delay(900_000, now);
        assert_eq!(ledbat.queue(), Duration::ZERO);
        for minute in 1..MINUTES as u64 {
            for _ in 0..LATEST {
                ledbat.on_delay(201_000, now + Duration::from_secs(60 * minute));
            }
            assert_eq!(ledbat.queue(), Duration::from_millis(200));
        }
        ledbat.on_delay(201_000, now + Duration::from_secs(60 * MINUTES as u64));
        assert_eq!(ledbat.queue(), Duration::ZERO, "it is the way that is longer");
    }

    #[test]
    fn waits_follow_the_round_trip_and_double() {
        let mut trip = RoundTrip::default();
        assert_eq!(trip.wait(0), Duration::from_secs(1));
        for _ in 0..50 {
            trip.on_sample(Duration::from_secs(2));
        }
        assert_eq!(trip.wait(0).as_millis(), 2_000);
        assert_eq!(trip.wait(2).as_millis(), 8_000);
        assert_eq!(trip.wait(60), MAX_WAIT);
        let mut quick = RoundTrip::default();
        quick.on_sample(Duration::from_millis(1));
        assert_eq!(quick.wait(0), MIN_WAIT);
    }
}
