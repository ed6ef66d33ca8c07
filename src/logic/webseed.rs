//! One web seed: a server that has the content and speaks HTTP (BEP 17, BEP 19).
//!
//! Plain state with small questions; [`Torrent`](super::torrent::Torrent) decides what is fetched
//! when, and has it fetched in *runs*: ranges of the content that come in order, by one request or,
//! across files, a few.

use super::PeerKey;
use super::rate::Meter;
use super::rng::Rng;
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::BlockRef;
use std::time::{Duration, Instant};

/// So many web seeds of a torrent are used; some torrents name hundreds of mirrors.
pub const MAX_SEEDS: usize = 64;

/// From no more of them is something fetched at a time.
pub const MAX_BUSY: usize = 4;

/// The first request goes out after so many milliseconds at least, as in BitTornado: by then there
/// may be peers.
const FIRST_DELAY: u32 = 2_000;

/// And at most so many later.
const FIRST_SPREAD: u32 = 8_000;

/// How long to wait after a failure (as BitTornado does), as long as the server does not say.
const PAUSE: Duration = Duration::from_secs(30);

/// The longest pause after many failures in a row, before jitter.
const LONGEST_PAUSE: Duration = Duration::from_secs(1800);

/// The bounds of the pause that a server may ask for.
const ASKED_PAUSE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(5)..=Duration::from_secs(24 * 3600);

/// So many failures in a row make the pause no longer.
const PATIENCE: u32 = 3;

/// So many files in a row that a server has not got are asked for without a pause.
const FREE_MISSES: u32 = 4;

/// How many bytes a run has at first, if that is a piece or more,
const FIRST_RUN: u64 = 1 << 20;

/// and at most.
const LONGEST_RUN: u64 = 16 << 20;

/// A run should take about so many seconds.
const RUN_SECONDS: f64 = 10.0;

/// A run is cut after this time, so that no slow server keeps blocks from those who could be
/// quicker.
pub const LONGEST_STAY: Duration = Duration::from_secs(60);

/// What a web seed understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Requests for parts of pieces (BEP 17, `httpseeds`).
    Pieces,
    /// Requests for parts of files (BEP 19, `url-list`).
    Files,
}

/// Where a web seed is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its URL, as it stands in the torrent.
    pub url: String,
    /// What it understands.
    pub style: Style,
}

impl Source {
    /// Its URL without the query, which may hold a password: for messages.
    pub fn name(&self) -> &str {
        self.url.split(['?', '#']).next().unwrap_or_default()
    }
}

/// Why a run ended before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The server has too much to do; it may say when to come again.
    Busy(Option<Duration>),
    /// It cannot give this file: it has none, another one, or no parts of it.
    Lacks {
        /// The number of the file.
        file: usize,
        /// What it said.
        why: String,
    },
    /// It gives no parts of this file, only the whole from its beginning.
    Undivided,
    /// Anything else; what was tried and what came back.
    Failed(String),
}

/// A range of the content that is being fetched.
#[derive(Debug)]
pub struct Run {
    /// To be given back with all that comes of it.
    pub number: u64,
    /// What comes, in this order.
    pub blocks: Vec<BlockRef>,
    /// For so many of them there is a place.
    pub lent: usize,
    /// So many have come.
    pub came: usize,
    /// When it began.
    pub began: Instant,
    /// When a block last came, or the first place for one was given.
    pub heard: Instant,
}

impl Run {
    /// The blocks that there is a place for and that have not come.
    pub fn outstanding(&self) -> &[BlockRef] {
        &self.blocks[self.came..self.lent]
    }
}

/// What a web seed is doing.
#[derive(Debug)]
pub enum Stage {
    /// Nothing is asked of it before this time.
    Waiting(Instant),
    /// It has something for us, or may have.
    Fetching(Run),
    /// It is of no use any more.
    Gone,
}

/// One web seed.
#[derive(Debug)]
pub struct WebSeed {
    /// Where it is.
    pub source: Source,
    /// Its number in the ledger. No peer has it.
    pub key: PeerKey,
    /// The pieces that it is believed to have.
    pub have: Bitfield,
    /// What it is doing.
    pub stage: Stage,
    /// Payload that came from it.
    pub down: Meter,
    /// It is given no pieces of which others gave a part: one of those was bad, and nobody knows
    /// whose fault it was.
    pub alone: bool,
    /// Where its last run ended: a piece number, perhaps of none.
    pub next: u32,
    /// It gives no parts of files: each comes from its beginning on.
    pub undivided: bool,
    /// If so, where in the content its answer goes on that is still open.
    pub at: Option<u64>,
    /// Bytes that were thrown away, and not made up for by others that came since.
    wasted: u64,
    pause: Duration,
    failures: u32,
    good: u32,
    bad: u32,
    shown: Option<String>,
}

impl WebSeed {
    /// A web seed that is believed to have all of `pieces` pieces, and nothing is known of yet. It
    /// is to be asked at `first`.
    pub fn new(
        source: Source,
        key: PeerKey,
        pieces: u32,
        (window, first): (Duration, Instant),
        now: Instant,
    ) -> WebSeed {
        WebSeed {
            source,
            key,
            have: Bitfield::full(pieces),
            stage: Stage::Waiting(first),
            down: Meter::new(now, window),
            alone: false,
            next: 0,
            undivided: false,
            at: None,
            wasted: 0,
            pause: PAUSE,
            failures: 0,
            good: 0,
            bad: 0,
            shown: None,
        }
    }

    /// What is being fetched from it.
    pub fn run(&self) -> Option<&Run> {
        match &self.stage {
            Stage::Fetching(run) => Some(run),
            Stage::Waiting(_) | Stage::Gone => None,
        }
    }

    /// As [`run`](Self::run), to change it.
    pub fn run_mut(&mut self) -> Option<&mut Run> {
        match &mut self.stage {
            Stage::Fetching(run) => Some(run),
            Stage::Waiting(_) | Stage::Gone => None,
        }
    }

    /// Whether something may be asked of it now.
    pub fn is_due(&self, now: Instant) -> bool {
        matches!(self.stage, Stage::Waiting(until) if until <= now)
    }

    /// Nothing is asked of it before `until`.
    pub fn pause_until(&mut self, until: Instant) {
        self.stage = Stage::Waiting(until);
    }

    /// So many bytes will be thrown away.
    pub fn waste(&mut self, bytes: u64) {
        self.wasted = self.wasted.saturating_add(bytes);
    }

    /// So many bytes of payload came.
    pub fn came(&mut self, now: Instant, bytes: u64) {
        self.down.add(now, bytes);
        self.wasted = self.wasted.saturating_sub(bytes);
    }

    /// How long its next run should be, in bytes; a whole piece at least is meant.
    pub fn run_length(&self, now: Instant) -> u64 {
        let worth = (self.down.rate(now) * RUN_SECONDS) as u64;
        worth.clamp(FIRST_RUN, LONGEST_RUN)
    }

    /// When the next to come but `ahead` blocks of `length` bytes can be expected.
    pub fn expected(&self, ahead: usize, length: u32, now: Instant) -> Duration {
        let bytes = (ahead as f64 + 1.0) * f64::from(length);
        let rate = self.down.rate(now).max(f64::from(length) / LONGEST_STAY.as_secs_f64());
        Duration::from_secs_f64(bytes / rate)
    }

    /// All of a run has come, up to this place in the content.
    pub fn succeeded(&mut self, end: u64, now: Instant) {
        // One that breaks off after little more than what had to be thrown away is asked more and
        // more seldom.
        if self.wasted == 0 {
            (self.failures, self.pause, self.shown) = (0, PAUSE, None);
        }
        self.at = Some(end).filter(|_| self.undivided);
        self.stage = Stage::Waiting(now);
    }

    /// A run failed. Returns how long nothing is to be asked of it.
    pub fn failed(&mut self, failure: &Failure, rng: &mut Rng) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let wait = match failure {
            Failure::Busy(asked) => {
                // As BitTornado does: what it says once holds for later failures too.
                let (least, most) = (*ASKED_PAUSE.start(), *ASKED_PAUSE.end());
                self.pause = asked.unwrap_or(self.pause).clamp(least, most);
                self.pause
            }
            Failure::Lacks { .. } if self.failures <= FREE_MISSES => return Duration::ZERO,
            _ => {
                let times = self.failures.saturating_sub(PATIENCE - 1).max(1);
                self.pause.saturating_mul(times).min(LONGEST_PAUSE.max(self.pause))
            }
        };
        // Up to a quarter more, so that not all come back together.
        wait + wait / 4 * rng.below(1000) / 1000
    }

    /// Whether the user has not read this of it yet. The same is told once until all is well.
    pub fn is_news(&mut self, text: &str) -> bool {
        self.shown.replace(text.to_owned()).is_none_or(|shown| shown != text)
    }

    /// A piece that it gave at least a part of was good.
    pub fn praise(&mut self) {
        self.good = self.good.saturating_add(1);
    }

    /// A piece that it alone gave was bad. Whether it is to be asked again: more than one in thirty
    /// is too much, once there were two.
    pub fn blame(&mut self) -> bool {
        self.bad = self.bad.saturating_add(1);
        self.bad < 2 || self.bad <= self.good / 30
    }
}

/// How long to wait before the first request to a web seed: none if nobody else can be expected to
/// give anything.
pub fn first_delay(may_have_peers: bool, rng: &mut Rng) -> Duration {
    match may_have_peers {
        true => Duration::from_millis((FIRST_DELAY + rng.below(FIRST_SPREAD)).into()),
        false => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed() -> WebSeed {
        let now = Instant::now();
        let source = Source { url: "http://h/a?key=secret".into(), style: Style::Files };
        WebSeed::new(source, PeerKey(1), 4, (Duration::from_secs(20), now), now)
    }

    fn waits(seed: &mut WebSeed, failure: &Failure) -> u64 {
        let wait = seed.failed(failure, &mut Rng::new(1));
        // Without jitter, which is a quarter at most.
        (wait.as_secs_f64() / 1.25).ceil() as u64
    }

    #[test]
    fn failures_in_a_row_make_it_wait_longer_and_a_success_forgets_them() {
        let mut seed = seed();
        let failure = Failure::Failed("x".into());
        let mut rng = Rng::new(3);
        let mut bounds = |seed: &mut WebSeed, least: u64| {
            let wait = seed.failed(&failure, &mut rng).as_secs();
            assert!((least..=least * 5 / 4).contains(&wait), "{wait} for {least}");
        };
        for least in [30, 30, 30, 60, 90] {
            bounds(&mut seed, least);
        }
        (0..100).for_each(|_| _ = seed.failed(&failure, &mut Rng::new(1)));
        bounds(&mut seed, 1800);
        seed.succeeded(0, Instant::now());
        bounds(&mut seed, 30);
    }

    #[test]
    fn a_busy_server_says_how_long_within_bounds_and_that_stays() {
        let mut seed = seed();
        let after = |seconds| Failure::Busy(Some(Duration::from_secs(seconds)));
        assert!((5..=6).contains(&waits(&mut seed, &after(6))));
        assert!((5..=6).contains(&waits(&mut seed, &Failure::Failed("x".into()))));
        assert!((4..=5).contains(&waits(&mut seed, &after(0))));
        assert!(waits(&mut seed, &after(u64::MAX)) <= 86_400);
    }

    #[test]
    fn files_that_are_missing_cost_no_pause_at_first() {
        let mut seed = seed();
        let lacks = Failure::Lacks { file: 0, why: String::new() };
        assert_eq!([(); 4].map(|()| waits(&mut seed, &lacks)), [0; 4]);
        assert!(waits(&mut seed, &lacks) > 0);
    }

    #[test]
    fn bad_pieces_are_borne_only_among_many_good_ones() {
        let mut one = seed();
        assert!(one.blame());
        assert!(!one.blame());
        let mut other = seed();
        (0..90).for_each(|_| other.praise());
        assert_eq!([(); 4].map(|()| other.blame()), [true, true, true, false]);
    }

    #[test]
    fn its_name_in_messages_keeps_the_query_secret() {
        assert_eq!(seed().source.name(), "http://h/a");
    }
}
