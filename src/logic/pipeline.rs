//! How many requests to keep out at a peer, and how soon their answers can be expected.
//!
//! Requests are answered in order, so one of them at a time tells all: how long it took from
//! going out to being answered, and how many came meanwhile. While answers come almost as soon as
//! they can, the link is not full, and there are one more requests out for every block that
//! comes: twice as many after each round trip. When they wait too long in the peer's queue, there
//! are fewer: what waits there cannot be asked of others, and is lost when the peer chokes us.
//! Called by [`Session`](super::peer::Session).

use crate::proto::geometry::BlockRef;
use std::time::{Duration, Instant};

/// Answers that come so much later than the quickest ever did leave room for more requests.
const SHORT_QUEUE: Duration = Duration::from_millis(250);

/// Answers that come so much later than the quickest ever did have waited too long.
const LONG_QUEUE: Duration = Duration::from_secs(1);

/// No way is longer than this: what takes more waits in a queue.
const LONGEST_WAY: Duration = Duration::from_secs(2);

/// How long an answer takes while nothing is known.
const UNKNOWN: Duration = Duration::from_millis(500);

/// A request whose answer is timed.
#[derive(Debug, Clone, Copy)]
struct Probe {
    block: BlockRef,
    sent: Instant,
    /// Blocks that were outstanding when it was sent, itself included.
    ahead: usize,
    /// Blocks that came since.
    came: usize,
}

/// The requests that a peer should have out.
#[derive(Debug, Clone, Default)]
pub struct Pipeline {
    /// How many; 0 until the first requests are sent.
    window: usize,
    probe: Option<Probe>,
    /// From the last timed request to its answer.
    delay: Option<Duration>,
    /// The shortest such time ever.
    shortest: Option<Duration>,
    /// From one block to the next, while there are requests out.
    interval: Option<Duration>,
}

impl Pipeline {
    /// How many requests to have out, within bounds.
    pub fn window(&self, floor: usize, most: usize) -> usize {
        self.window.max(floor).min(most)
    }

    /// `block` was asked for as the last of `out` requests that are outstanding now.
    pub fn sent(&mut self, block: BlockRef, out: usize, now: Instant) {
        if self.probe.is_none() {
            self.probe = Some(Probe { block, sent: now, ahead: out, came: 0 });
        }
    }

    /// `block` came, that was one of `out` outstanding ones; `floor` and `most` bound the window.
    pub fn answered(
        &mut self,
        block: BlockRef,
        out: usize,
        (floor, most): (usize, usize),
        now: Instant,
    ) {
        self.window = self.window(floor, most);
        let Some(probe) = &mut self.probe else { return };
        probe.came += 1;
        let Probe { sent, ahead, came, block: timed } = *probe;
        let delay = now.saturating_duration_since(sent);
        if block == timed {
            self.probe = None;
            self.measured(delay, came, floor);
        } else if came > ahead + most {
            // It was cancelled, or the peer will not answer it.
            self.probe = None;
        }
        // Where there is less out than may be, something else is the limit.
        let is_full = out + out / 4 >= self.window;
        if is_full && self.delay.unwrap_or(delay) < self.way() + SHORT_QUEUE {
            self.window = (self.window + 1).min(most);
        }
    }

    fn measured(&mut self, delay: Duration, came: usize, floor: usize) {
        let interval = delay / u32::try_from(came).unwrap_or(u32::MAX);
        self.interval = Some(self.interval.map_or(interval, |old| (old + interval) / 2));
        self.shortest = Some(self.shortest.map_or(delay, |old| old.min(delay)));
        self.delay = Some(delay);
        if delay > self.way() + LONG_QUEUE {
            self.window = (self.window * 3 / 4).max(floor);
        }
    }

    fn way(&self) -> Duration {
        self.shortest.map_or(Duration::ZERO, |shortest| shortest.min(LONGEST_WAY))
    }

    /// How long the answer to a request takes that follows `ahead` others.
    pub fn takes(&self, ahead: usize) -> Duration {
        let Some(interval) = self.interval else { return UNKNOWN };
        let blocks = u32::try_from(ahead).unwrap_or(u32::MAX).saturating_add(1);
        interval.saturating_mul(blocks).max(self.way())
    }

    /// How soon the answer to such a request is to be expected when nothing came for `silence`.
    /// Who is late is taken to be late for as long again.
    pub fn expected(&self, ahead: usize, silence: Duration) -> Duration {
        let takes = self.takes(ahead);
        if silence < takes { takes - silence } else { silence }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::geometry::Geometry;
    use std::collections::VecDeque;

    /// A peer at the other end of a link: `rate` blocks a second, a way of `way` there and back.
    struct Link {
        rate: f64,
        way: f64,
    }

    /// The window after so many seconds of asking as much as it says.
    fn window_after(link: &Link, seconds: f64, limit: Option<usize>) -> (usize, f64) {
        let geometry = Geometry::new(1 << 26, [1 << 26]).unwrap();
        let piece = geometry.piece(0).unwrap();
        let start = Instant::now();
        let at = |t: f64| start + Duration::from_secs_f64(t);
        let (mut now, mut n, mut got) = (0.0, 0, 0.0);
        let mut pipeline = Pipeline::default();
        // Blocks that are outstanding, and when they come.
        let mut out: VecDeque<(BlockRef, f64)> = VecDeque::new();
        let mut busy = 0.0f64;
        while now < seconds {
            while out.len() < pipeline.window(10, 250).min(limit.unwrap_or(250)) {
                let block = geometry.block(piece, n % 4096).unwrap();
                n += 1;
                busy = busy.max(now + link.way / 2.0) + 1.0 / link.rate;
                out.push_back((block, busy + link.way / 2.0));
                pipeline.sent(block, out.len(), at(now));
            }
            let (block, comes) = out[0];
            now = comes;
            pipeline.answered(block, out.len(), (10, 250), at(now));
            out.pop_front();
            got += 1.0;
        }
        (pipeline.window(10, 250), got / now / link.rate)
    }

    #[test]
    fn a_long_fast_link_is_filled_within_a_few_round_trips() {
        // 10 MB/s at 200 ms: 122 blocks are on their way at any time.
        let link = Link { rate: 610.0, way: 0.2 };
        let (window, _) = window_after(&link, 1.2, None);
        assert!(window >= 122, "{window} after six round trips");
        let (_, share) = window_after(&link, 20.0, None);
        assert!(share > 0.95, "{share} of the link");
    }

    #[test]
    fn a_slow_link_is_not_asked_for_more_than_the_floor() {
        let (window, share) = window_after(&Link { rate: 1.5, way: 0.1 }, 60.0, None);
        assert!(window <= 12 && share > 0.95, "{window}, {share}");
    }

    #[test]
    fn the_queue_at_the_peer_stays_short() {
        for (rate, way) in [(60.0, 0.02), (60.0, 0.3), (100.0, 0.0)] {
            let (window, share) = window_after(&Link { rate, way }, 30.0, None);
            let seconds = window as f64 / rate;
            assert!(seconds < way + 1.3 && share > 0.97, "{seconds} s at {rate}, {way}: {share}");
        }
    }

    #[test]
    fn what_is_limited_elsewhere_lets_nothing_grow() {
        let (window, _) = window_after(&Link { rate: 100.0, way: 0.05 }, 20.0, Some(4));
        assert_eq!(window, 10);
    }

    #[test]
    fn a_timed_request_that_is_never_answered_is_given_up() {
        let geometry = Geometry::new(1 << 24, [1 << 24]).unwrap();
        let block = |n| geometry.block(geometry.piece(0).unwrap(), n).unwrap();
        let now = Instant::now();
        let mut pipeline = Pipeline::default();
        pipeline.sent(block(0), 1, now);
        for n in 1..40 {
            pipeline.sent(block(n), 2, now);
            pipeline.answered(block(n), 2, (10, 20), now);
        }
        assert!(pipeline.interval.is_some());
    }

    #[test]
    fn who_is_late_is_expected_later_and_later() {
        let ms = Duration::from_millis;
        let new = Pipeline::default();
        assert_eq!((new.takes(9), new.expected(0, ms(100))), (UNKNOWN, ms(400)));
        let pipeline =
            Pipeline { interval: Some(ms(10)), shortest: Some(ms(30)), ..Pipeline::default() };
        assert_eq!((pipeline.takes(0), pipeline.takes(9)), (ms(30), ms(100)));
        assert_eq!(pipeline.expected(9, ms(40)), ms(60));
        assert_eq!(pipeline.expected(9, ms(5_000)), ms(5_000));
    }
}
