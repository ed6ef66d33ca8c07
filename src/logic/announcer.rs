//! Which tracker to ask when: tiers, events, intervals, backoff (BEP 3, BEP 12).
//!
//! [`logic::torrent`](crate::logic::torrent) asks at each deadline whether an announce is [`due`],
//! has it sent, and hands back what came of it; nothing here sends or reads a clock.
//!
//! A tracker that fails waits twice as long each time, and the next one in order is asked at once;
//! so a dead tracker is tried now and then, and a round ends by itself when all wait. One that
//! does not answer is waited for [`PATIENCE`], then the next is asked beside it: one that hangs
//! costs no more than that.
//!
//! [`due`]: Announcer::due

use std::fmt;
use std::time::{Duration, Instant};

use crate::logic::rng::Rng;
use crate::proto::address::is_local_url;
use crate::proto::announce::ask::{Reply, ReplyError, Retry};
use crate::proto::announce::{Event, Peer};
use crate::proto::udp::ask::Place;

/// The bounds of the time between two announces, whatever a tracker asks for.
pub const INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(24 * 3600);

/// When to ask a tracker again that failed once (as BitTornado does); doubles with each failure.
pub const FIRST_RETRY: Duration = Duration::from_secs(60);

/// The longest wait after failures, before jitter.
pub const LONGEST_RETRY: Duration = Duration::from_secs(1800);

/// How long an answer is waited for before the next tracker is asked too.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// So many announces are under way at a time at most, all but the last one longer than
/// [`PATIENCE`].
pub const MAX_PENDING: usize = 6;

/// The schemes that can be asked, beside UDP trackers (BEP 15).
const SCHEMES: [&str; 2] = ["http", "https"];

/// How well the torrent is supplied with peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supply {
    /// Too few: more are asked for before the interval has passed, if the tracker allows it.
    Short,
    /// Enough: it takes what the tracker sends anyway.
    Enough,
    /// No slot is free: none are asked for.
    Full,
}

/// An announce to be sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// To be given back with the reply.
    pub number: u64,
    /// The tracker's announce URL, as it stands in the torrent.
    pub tracker: String,
    /// For the request: see [`Request`](crate::proto::announce::Request).
    pub event: Option<Event>,
    /// For the request.
    pub numwant: Option<u32>,
    /// For the request.
    pub tracker_id: Option<Vec<u8>>,
}

/// Why an announce brought nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No answer; the text says what was tried and what came back.
    Unreachable(String),
    /// An answer, but no good one.
    Reply(ReplyError),
}

/// One line for the user, in the original's words. The same line about the same tracker comes
/// only once, until an announce has succeeded there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// This tracker will not be asked: we do not speak its protocol.
    Unsupported(String),
    /// Nor this one: it is outside, or has a name that would have to be looked up.
    Outside(String),
    /// An announce failed.
    Failed(Failure),
    /// The tracker's `warning message`.
    Warning(String),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Unsupported(url) => write!(f, "tracker of an unsupported kind left out: {url}"),
            Notice::Outside(url) => {
                write!(f, "--local_only: tracker that is no local address left out: {url}")
            }
            Notice::Failed(Failure::Unreachable(why)) => {
                write!(f, "Problem connecting to tracker - {why}")
            }
            Notice::Failed(Failure::Reply(why)) => why.fmt(f),
            Notice::Warning(text) => write!(f, "warning from tracker - {text}"),
        }
    }
}

/// What an answer means for the torrent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whom to add to the candidates; empty after a failure.
    pub peers: Vec<Peer>,
    /// Seeds in the swarm, if the tracker said so.
    pub complete: Option<u32>,
    /// Other peers in the swarm, if the tracker said so.
    pub incomplete: Option<u32>,
    /// The tracker that answered without these two numbers: its URL.
    pub silent: Option<String>,
    /// What the user should read.
    pub notice: Option<Notice>,
}

#[derive(Debug)]
struct Tracker {
    /// Which one it is, however the order changes.
    index: usize,
    url: String,
    id: Option<Vec<u8>>,
    /// It knows that we are here, and must hear it when we leave.
    told: bool,
    /// Failures in a row.
    failures: u32,
    /// Not to be asked earlier.
    not_before: Instant,
    /// It told us never to come back (BEP 31).
    gone: bool,
    /// The last failure and the last warning that the user has seen.
    shown: (Option<Failure>, Option<String>),
}

/// An announce that is under way.
#[derive(Debug)]
struct Pending {
    number: u64,
    tracker: usize,
    event: Option<Event>,
    /// From then on the next tracker may be asked.
    late: Instant,
}

/// When the next announce is wanted.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// At this time in any case.
    regular: Instant,
    /// At this time if peers are short.
    early: Instant,
}

/// The trackers of one torrent.
#[derive(Debug)]
pub struct Announcer {
    tiers: Vec<Vec<Tracker>>,
    plan: Plan,
    pending: Vec<Pending>,
    /// The last piece has arrived, and no tracker knows it yet.
    completed: bool,
    stopping: bool,
    /// How long to wait before more peers are asked for.
    rerequest: Duration,
    notices: Vec<Notice>,
    asked: u64,
    rng: Rng,
}

/// The trackers that stand at a local address, and a word about each of the others.
pub fn keep_local(tiers: &[Vec<String>]) -> (Vec<Vec<String>>, Vec<Notice>) {
    let local = |tier: &Vec<String>| tier.iter().filter(|url| is_local_url(url)).cloned().collect();
    let outside = tiers.iter().flatten().filter(|url| !is_local_url(url));
    (tiers.iter().map(local).collect(), outside.cloned().map(Notice::Outside).collect())
}

impl Announcer {
    /// For the trackers of an `announce-list`, or one tier of the one `announce`; there may be
    /// none at all. Each tier is shuffled here. The first announce is due `now`. `rerequest` is the
    /// time between two announces while peers are short.
    pub fn new(
        tiers: &[Vec<String>],
        rerequest: Duration,
        now: Instant,
        mut rng: Rng,
    ) -> Announcer {
        let mut notices = Vec::new();
        let mut index = 0;
        let mut used: Vec<Vec<Tracker>> = Vec::new();
        for tier in tiers {
            let mut trackers = Vec::new();
            for url in tier {
                if !is_supported(url) {
                    notices.push(Notice::Unsupported(url.clone()));
                } else if !used.iter().flatten().chain(&trackers).any(|t| t.url == *url) {
                    trackers.push(Tracker::new(index, url, now));
                    index += 1;
                }
            }
            rng.shuffle(&mut trackers);
            used.push(trackers);
        }
        Announcer {
            tiers: used,
            plan: Plan { regular: now, early: now },
            pending: Vec::new(),
            completed: false,
            stopping: false,
            rerequest,
            notices,
            asked: 0,
            rng,
        }
    }

    /// What the user should read of the trackers that were left out; once.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// When to call [`due`](Self::due) again; in the past when at once. `None` where there is no
    /// tracker to ask, or all are being asked.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.stopping || self.pending.len() >= MAX_PENDING {
            return None;
        }
        if let Some(tracker) = self.to_be_told() {
            return Some(tracker.not_before.max(self.plan.regular));
        }
        let ready = self.askable().map(|t| t.not_before).min()?;
        let due = ready.max(self.plan.regular.min(self.plan.early));
        Some(self.pending.iter().map(|p| p.late).fold(due, Instant::max))
    }

    /// Those that are not being asked and may be, at one time or another.
    fn askable(&self) -> impl Iterator<Item = &Tracker> {
        let is_asked = |t: &Tracker| self.pending.iter().any(|p| p.tracker == t.index);
        self.trackers().filter(move |t| !t.gone && !is_asked(t))
    }

    /// Who hears that the last piece has arrived, if it was told of the start: it is not waited for
    /// others in front of it, which may hang, since the end may wait for it.
    fn to_be_told(&self) -> Option<&Tracker> {
        let is_told = self.pending.iter().any(|p| p.event == Some(Event::Completed));
        let mut knowing = self.askable().filter(|t| t.told && t.failures == 0);
        knowing.next().filter(|_| self.completed && !is_told)
    }

    /// The announce that should be sent now, if any.
    pub fn due(&mut self, now: Instant, supply: Supply) -> Option<Ask> {
        if self.next_deadline()? > now {
            return None;
        }
        if now < self.plan.regular && supply != Supply::Short {
            // Nothing is missing at the early time: look again a while later.
            self.plan.early = now + self.rerequest.max(*INTERVALS.start());
            return None;
        }
        let next = || self.askable().find(|t| t.not_before <= now);
        let tracker = self.to_be_told().filter(|t| t.not_before <= now).or_else(next)?;
        let event = match (tracker.told, self.completed) {
            (false, _) => Some(Event::Started),
            (true, true) => Some(Event::Completed),
            (true, false) => None,
        };
        let numwant = (supply == Supply::Full).then_some(0);
        let index = tracker.index;
        let ask = self.ask(index, event, numwant);
        let late = now + PATIENCE;
        self.pending.push(Pending { number: ask.number, tracker: index, event, late });
        Some(ask)
    }

    /// Nobody waits any more for announces that are under way: if there are any, another is due
    /// `now`.
    pub fn forget(&mut self, now: Instant) {
        if !std::mem::take(&mut self.pending).is_empty() {
            self.plan.regular = now;
        }
    }

    /// What became of the announce `number`. Words about any other are ignored.
    pub fn on_reply(
        &mut self,
        now: Instant,
        number: u64,
        result: Result<Reply, Failure>,
    ) -> Outcome {
        let Some(at) = self.pending.iter().position(|p| p.number == number) else {
            return Outcome::default();
        };
        let pending = self.pending.remove(at);
        match result {
            Ok(reply) => self.succeeded(now, &pending, reply),
            Err(failure) => {
                let notice = self.failed(now, &pending, failure);
                Outcome { notice, ..Outcome::default() }
            }
        }
    }

    /// The last missing piece has arrived: the tracker hears of it at once. Not for a torrent that
    /// was complete when it started.
    pub fn completed(&mut self, now: Instant) {
        self.completed = true;
        self.plan.regular = now;
    }

    /// Whether a tracker is still to hear that the last piece has arrived, and is likely to listen:
    /// it knows of us, or is being asked for the first time.
    pub fn owes_completed(&self) -> bool {
        let is_asked = |t: &Tracker| self.pending.iter().any(|p| p.tracker == t.index);
        let listens = |t: &Tracker| !t.gone && t.failures == 0 && (t.told || is_asked(t));
        self.completed && !self.stopping && self.trackers().any(listens)
    }

    /// The run ends: an announce for each tracker that knows of us. Nothing more is due afterwards;
    /// but when one is under way, its reply may show that one more tracker must hear it: then
    /// `stop` gives that announce when called again after [`on_reply`](Self::on_reply).
    pub fn stop(&mut self) -> Vec<Ask> {
        self.stopping = true;
        let told = self.trackers().filter(|t| t.told && !t.gone);
        let told: Vec<usize> = told.map(|t| t.index).collect();
        for index in &told {
            self.tracker(*index).told = false;
        }
        told.into_iter().map(|index| self.ask(index, Some(Event::Stopped), Some(0))).collect()
    }

    /// Whether there is any tracker to ask.
    pub fn has_any(&self) -> bool {
        self.trackers().next().is_some()
    }

    fn trackers(&self) -> impl Iterator<Item = &Tracker> {
        self.tiers.iter().flatten()
    }

    fn tracker(&mut self, index: usize) -> &mut Tracker {
        let found = self.tiers.iter_mut().flatten().find(|t| t.index == index);
        found.expect("trackers are never removed")
    }

    fn ask(&mut self, index: usize, event: Option<Event>, numwant: Option<u32>) -> Ask {
        self.asked += 1;
        let number = self.asked;
        let tracker = self.tracker(index);
        let (url, tracker_id) = (tracker.url.clone(), tracker.id.clone());
        Ask { number, tracker: url, event, numwant, tracker_id }
    }

    fn succeeded(&mut self, now: Instant, pending: &Pending, reply: Reply) -> Outcome {
        self.move_to_front(pending.tracker);
        let interval = clamp(reply.interval.max(reply.min_interval.unwrap_or_default()));
        let early = clamp(self.rerequest.max(reply.min_interval.unwrap_or_default()));
        self.plan = Plan { regular: now + interval, early: now + early };
        if pending.event == Some(Event::Completed) {
            self.completed = false;
        } else if self.completed {
            self.plan.regular = now;
        }
        let tracker = self.tracker(pending.tracker);
        tracker.told = true;
        tracker.failures = 0;
        tracker.shown.0 = None;
        // A reply without an id leaves the one from before in force.
        tracker.id = reply.tracker_id.or(tracker.id.take());
        let warning = reply.warning.filter(|w| tracker.shown.1.as_ref() != Some(w));
        if warning.is_some() {
            tracker.shown.1.clone_from(&warning);
        }
        let is_silent = reply.complete.is_none() && reply.incomplete.is_none();
        Outcome {
            silent: is_silent.then(|| tracker.url.clone()),
            peers: reply.peers,
            complete: reply.complete,
            incomplete: reply.incomplete,
            notice: warning.map(Notice::Warning),
        }
    }

    /// BEP 12: the one that answered is the first of its tier from now on.
    fn move_to_front(&mut self, index: usize) {
        for tier in &mut self.tiers {
            if let Some(at) = tier.iter().position(|t| t.index == index) {
                tier[..=at].rotate_right(1);
            }
        }
    }

    fn failed(&mut self, now: Instant, pending: &Pending, failure: Failure) -> Option<Notice> {
        if now < pending.late {
            // What was wanted is still wanted, from the next tracker or from this one later. Of a
            // late one it has been wanted of others since.
            self.plan.regular = self.plan.regular.min(now);
        }
        let chance = self.rng.below(1000);
        let tracker = self.tracker(pending.tracker);
        tracker.failures = tracker.failures.saturating_add(1);
        let doublings = (tracker.failures - 1).min(16);
        let wait = FIRST_RETRY.saturating_mul(1 << doublings).min(LONGEST_RETRY);
        // Up to a quarter more, so that a tracker that comes back is not asked by all at once.
        let mut wait = wait + wait / 4 * chance / 1000;
        if let Failure::Reply(ReplyError::Rejected { retry: Some(retry), .. }) = &failure {
            match retry {
                Retry::Never => tracker.gone = true,
                Retry::After(time) => wait = clamp(*time),
            }
        }
        tracker.not_before = now + wait;
        if tracker.shown.0.as_ref() == Some(&failure) {
            return None;
        }
        tracker.shown.0 = Some(failure.clone());
        Some(Notice::Failed(failure))
    }
}

impl Tracker {
    fn new(index: usize, url: &str, now: Instant) -> Tracker {
        Tracker {
            index,
            url: url.to_owned(),
            id: None,
            told: false,
            failures: 0,
            not_before: now,
            gone: false,
            shown: (None, None),
        }
    }
}

fn is_supported(url: &str) -> bool {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    SCHEMES.iter().any(|s| s.eq_ignore_ascii_case(scheme)) || Place::of(url).is_some()
}

fn clamp(time: Duration) -> Duration {
    time.clamp(*INTERVALS.start(), *INTERVALS.end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::announce::ask;

    /// An announcer, a clock that starts at 0, and what was asked last.
    struct Play {
        announcer: Announcer,
        start: Instant,
        number: u64,
    }

    /// One line a tier, trackers by letters: `"ab/c"` is `http://a/` and `http://b/`, then
    /// `http://c/`.
    fn play(tiers: &str, seed: u64) -> Play {
        let tiers: Vec<Vec<String>> = tiers
            .split('/')
            .map(|tier| tier.chars().map(|c| format!("http://{c}/")).collect())
            .collect();
        let start = Instant::now();
        let rerequest = Duration::from_secs(300);
        Play {
            announcer: Announcer::new(&tiers, rerequest, start, Rng::new(seed)),
            start,
            number: 0,
        }
    }

    /// `"a started numwant=0 id=x"`.
    fn text(ask: &Ask) -> String {
        let mut line = ask.tracker[7..8].to_owned();
        line += ask.event.map_or("", |e| match e {
            Event::Started => " started",
            Event::Completed => " completed",
            Event::Stopped => " stopped",
        });
        line += &ask.numwant.map_or(String::new(), |n| format!(" numwant={n}"));
        let id = ask.tracker_id.as_deref().map(String::from_utf8_lossy);
        line + &id.map_or(String::new(), |id| format!(" id={id}"))
    }

    impl Play {
        fn now(&self, second: u64) -> Instant {
            self.start + Duration::from_secs(second)
        }

        fn asks_if(&mut self, second: u64, supply: Supply) -> String {
            match self.announcer.due(self.now(second), supply) {
                Some(ask) => {
                    self.number = ask.number;
                    text(&ask)
                }
                None => "nothing".into(),
            }
        }

        fn asks(&mut self, second: u64) -> String {
            self.asks_if(second, Supply::Enough)
        }

        /// The tracker answers with these bencoded entries.
        fn hears(&mut self, second: u64, entries: &str) -> Outcome {
            let reply = ask::reply(format!("d{entries}e").as_bytes()).map_err(Failure::Reply);
            self.announcer.on_reply(self.now(second), self.number, reply)
        }

        /// No answer; gives the line for the user.
        fn fails(&mut self, second: u64) -> String {
            let why = Failure::Unreachable("refused".into());
            let outcome = self.announcer.on_reply(self.now(second), self.number, Err(why));
            outcome.notice.map_or(String::new(), |n| n.to_string())
        }

        /// Whole seconds from the start to the deadline.
        fn deadline(&self) -> Option<u64> {
            self.announcer.next_deadline().map(|d| (d - self.start).as_secs())
        }

        fn stops(&mut self) -> Vec<String> {
            self.announcer.stop().iter().map(text).collect()
        }
    }

    #[test]
    fn trackers_outside_and_those_with_names_are_left_out_by_who_stays_at_home() {
        let tiers = [
            vec!["http://t.test/".to_string(), "http://10.0.0.1/a".into()],
            vec!["udp://1.2.3.4:5".into()],
        ];
        let (kept, notices) = keep_local(&tiers);
        assert_eq!(kept, [vec!["http://10.0.0.1/a".to_string()], vec![]]);
        let said: Vec<String> = notices.iter().map(Notice::to_string).collect();
        let left_out = "--local_only: tracker that is no local address left out: ";
        assert_eq!(
            said,
            ["http://t.test/", "udp://1.2.3.4:5"].map(|url| left_out.to_owned() + url)
        );
    }

    #[test]
    fn starts_keeps_announcing_completes_and_stops() {
        let mut p = play("a", 1);
        assert_eq!(p.deadline(), Some(0));
        assert_eq!(p.asks(0), "a started");
        assert_eq!((p.deadline(), p.asks(0)), (None, "nothing".into()));
        p.hears(1, "8:intervali900e10:tracker id1:x");
        assert_eq!(p.asks(900), "nothing");
        assert_eq!(p.asks(901), "a id=x");
        p.hears(902, "8:intervali900e");
        p.announcer.completed(p.now(1000));
        assert_eq!(p.deadline(), Some(1000));
        assert_eq!(p.asks(1000), "a completed id=x");
        p.hears(1001, "8:intervali900e");
        assert_eq!(p.asks(1901), "a id=x");
        p.hears(1902, "");
        assert_eq!(p.stops(), ["a stopped numwant=0 id=x"]);
        assert_eq!((p.deadline(), p.asks(99_999), p.stops()), (None, "nothing".into(), vec![]));
    }

    #[test]
    fn who_hangs_in_front_keeps_nobody_from_hearing_of_the_end() {
        let mut p = play("a/b", 1);
        assert_eq!((p.asks(0), p.asks(10)), ("a started".into(), "b started".into()));
        p.hears(10, "8:intervali900e");
        p.announcer.forget(p.now(20));
        assert_eq!(p.asks(20), "a started");
        p.announcer.completed(p.now(21));
        assert!(p.announcer.owes_completed());
        assert_eq!((p.deadline(), p.asks(21)), (Some(21), "b completed".into()));
        assert_eq!(p.deadline(), None, "both are being asked");
        p.hears(21, "8:intervali900e");
        assert!(!p.announcer.owes_completed());
    }

    #[test]
    fn nobody_is_waited_for_who_was_never_asked() {
        let mut p = play("a/b", 1);
        p.asks(0);
        p.fails(0);
        p.announcer.completed(p.now(0));
        assert!(!p.announcer.owes_completed());
        assert_eq!(p.asks(0), "b started");
        assert!(p.announcer.owes_completed());
        p.fails(0);
        assert!(!p.announcer.owes_completed());
    }

    #[test]
    fn says_started_until_it_was_heard_and_completed_only_after_it() {
        let mut p = play("a", 1);
        assert_eq!(p.asks(0), "a started");
        p.announcer.completed(p.now(1));
        p.fails(2);
        assert_eq!(p.asks(61), "nothing");
        assert_eq!(p.asks(80), "a started");
        p.hears(81, "");
        assert_eq!(p.asks(81), "a completed");
        p.fails(82);
        assert_eq!(p.asks(160), "a completed");
        p.hears(161, "");
        assert_eq!(p.asks(1961), "a");
    }

    #[test]
    fn who_was_never_heard_does_not_say_stopped() {
        let mut p = play("a/b", 1);
        assert_eq!(p.asks(0), "a started");
        p.fails(0);
        assert_eq!(p.asks(0), "b started");
        assert_eq!(p.stops(), [""; 0]);
        // The answer comes after all: b knows of us.
        p.hears(1, "");
        assert_eq!(p.stops(), ["b stopped numwant=0"]);
    }

    #[test]
    fn intervals_are_bounded_on_both_sides() {
        for (entries, seconds) in [
            ("8:intervali0e", 60),
            ("8:intervali-9e", 60),
            ("8:intervali9999999e", 86_400),
            ("8:intervali100e12:min intervali500e", 500),
            ("12:min intervali9999999e", 86_400),
            ("", 1800),
        ] {
            let mut p = play("a", 1);
            p.asks(0);
            p.hears(0, entries);
            assert_eq!(p.asks(seconds - 1), "nothing", "{entries}");
            assert_eq!(p.asks(seconds), "a", "{entries}");
        }
    }

    #[test]
    fn asks_early_only_when_short_of_peers_and_not_before_the_tracker_allows() {
        for (entries, short, asked_at) in [
            ("", Supply::Short, 300),
            ("12:min intervali400e", Supply::Short, 400),
            ("8:intervali100e", Supply::Short, 100),
            ("", Supply::Enough, 1800),
            ("", Supply::Full, 1800),
        ] {
            let mut p = play("a", 1);
            p.asks(0);
            p.hears(0, entries);
            let mut now = 0;
            while p.asks_if(now, short) == "nothing" {
                assert!(p.deadline().unwrap() > now, "the deadline moves on");
                now = p.deadline().unwrap();
            }
            assert_eq!(now, asked_at, "{entries} {short:?}");
        }
    }

    #[test]
    fn asks_for_no_peers_when_no_slot_is_free() {
        let mut p = play("a", 1);
        assert_eq!(p.asks_if(0, Supply::Full), "a started numwant=0");
    }

    #[test]
    fn a_failing_tracker_is_asked_ever_more_rarely_up_to_a_bound() {
        let mut p = play("a", 3);
        let mut now = 0;
        for wait in [60, 120, 240, 480, 960, 1800, 1800] {
            assert_eq!(p.asks(now), "a started");
            p.fails(now);
            let waits = p.deadline().unwrap() - now;
            assert!((wait..=wait * 5 / 4).contains(&waits), "{waits} for {wait}");
            now = p.deadline().unwrap() + 1;
        }
    }

    #[test]
    fn the_next_tracker_is_asked_at_once_and_a_success_goes_to_the_front_of_its_tier() {
        let mut p = play("abc/d", 2);
        let first = p.asks(0);
        p.fails(1);
        let second = p.asks(1);
        assert_ne!(first, second);
        p.hears(2, "8:intervali3600e");
        assert_eq!(p.asks(3602), second[..1]);
        // Then the others, those of the next tier last.
        let rest = [(); 4].map(|()| {
            p.fails(3603);
            p.asks(3603)
        });
        assert_eq!(rest[0], first);
        assert_eq!(rest[2..], ["d started", "nothing"]);
    }

    #[test]
    fn five_dead_tiers_before_a_good_one_cost_ten_seconds_each_and_it_is_kept_to() {
        let mut p = play("a/b/c/d/e/f", 1);
        let mut numbers = Vec::new();
        for (second, name) in (0..6).map(|n| n * 10).zip("abcdef".chars()) {
            if second > 0 {
                assert_eq!(p.asks(second - 1), "nothing");
            }
            assert_eq!(p.deadline(), Some(second));
            assert_eq!(p.asks(second), format!("{name} started"));
            numbers.push(p.number);
        }
        p.hears(51, "8:intervali900e");
        // The dead ones are given up one after the other, and nobody is asked for it.
        for (n, number) in numbers[..5].iter().enumerate() {
            p.number = *number;
            p.fails(60 + n as u64 * 10);
        }
        assert_eq!((p.deadline(), p.asks(950)), (Some(351), "nothing".into()));
        // A round later the first has not been forgotten.
        assert_eq!(p.asks(951), "a started");
        assert_eq!(p.asks(961), "b started");
    }

    #[test]
    fn five_trackers_that_refuse_cost_no_time_at_all() {
        let mut p = play("a/b/c/d/e/f", 1);
        for name in "abcde".chars() {
            assert_eq!(p.asks(0), format!("{name} started"));
            p.fails(0);
        }
        assert_eq!(p.asks(0), "f started");
    }

    #[test]
    fn no_more_than_a_few_are_asked_at_a_time_however_many_hang() {
        let mut p = play("abcdefghijklmnop", 1);
        let asked = (0..1000).filter(|second| p.asks(*second) != "nothing").count();
        assert_eq!(asked, MAX_PENDING);
        assert_eq!(p.deadline(), None);
        p.fails(1000);
        assert!(p.deadline() < Some(1000));
        assert_ne!(p.asks(1000), "nothing");
    }

    #[test]
    fn one_that_answers_late_is_welcome_and_hears_that_we_leave() {
        let mut p = play("a/b", 1);
        p.asks(0);
        let late = p.number;
        p.asks(10);
        p.hears(11, "8:intervali900e");
        p.number = late;
        let peers = "5:peers6:\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}";
        assert_eq!(p.hears(30, &format!("8:intervali600e{peers}")).peers.len(), 1);
        assert_eq!(p.deadline(), Some(330));
        assert_eq!(p.stops(), ["a stopped numwant=0", "b stopped numwant=0"]);
    }

    #[test]
    fn tiers_are_shuffled_inside_and_kept_in_order() {
        let order = |seed| {
            let mut p = play("abc/d", seed);
            let mut order = String::new();
            while p.deadline() == Some(0) {
                order += &p.asks(0)[..1];
                p.fails(0);
            }
            order
        };
        let orders: std::collections::BTreeSet<String> = (0..50).map(order).collect();
        assert_eq!(orders.len(), 6, "{orders:?}");
        assert!(orders.iter().all(|o| o.ends_with('d')));
        assert_eq!(order(4), order(4));
    }

    #[test]
    fn a_tracker_may_say_when_or_never_to_come_back() {
        let mut p = play("a", 1);
        p.asks(0);
        let refused = p.hears(0, "14:failure reason4:busy8:retry ini10e");
        assert_eq!(refused.notice.unwrap().to_string(), "rejected by tracker - busy");
        assert_eq!(p.deadline(), Some(600));
        p.asks(600);
        p.hears(600, "14:failure reason4:busy8:retry in5:never");
        assert_eq!(p.deadline(), None);
    }

    #[test]
    fn the_user_reads_each_trouble_once_until_it_is_over() {
        let mut p = play("a", 1);
        let line = "Problem connecting to tracker - refused";
        let warned = |o: Outcome| o.notice.map(|n| n.to_string());
        p.asks(0);
        assert_eq!(p.fails(0), line);
        p.asks(1000);
        assert_eq!(p.fails(1000), "");
        p.asks(2000);
        let warning = "15:warning message3:old";
        assert_eq!(warned(p.hears(2000, warning)).as_deref(), Some("warning from tracker - old"));
        p.asks(4000);
        assert_eq!(warned(p.hears(4000, warning)), None);
        p.asks(6000);
        assert_eq!(p.fails(6000), line);
    }

    #[test]
    fn trackers_we_cannot_speak_to_are_named_once_and_left_out() {
        let tiers = [
            vec!["wss://a/".to_owned(), "http://b/".to_owned()],
            vec!["HTTPS://c/".to_owned(), "http://b/".to_owned(), "nonsense".to_owned()],
        ];
        let now = Instant::now();
        let mut announcer = Announcer::new(&tiers, Duration::ZERO, now, Rng::new(1));
        let lines: Vec<String> = announcer.take_notices().iter().map(Notice::to_string).collect();
        assert_eq!(
            lines,
            [
                "tracker of an unsupported kind left out: wss://a/",
                "tracker of an unsupported kind left out: nonsense"
            ]
        );
        assert!(announcer.take_notices().is_empty());
        let urls: Vec<&str> = announcer.trackers().map(|t| t.url.as_str()).collect();
        assert_eq!(urls, ["http://b/", "HTTPS://c/"]);
    }

    #[test]
    fn without_trackers_nothing_is_ever_due() {
        let mut p = play("", 1);
        p.announcer.completed(p.now(1));
        assert_eq!((p.deadline(), p.asks(9)), (None, "nothing".into()));
        assert_eq!(p.stops(), [""; 0]);
    }

    #[test]
    fn a_late_or_foreign_reply_changes_nothing() {
        let mut p = play("a", 1);
        p.asks(0);
        let peers = "5:peers6:\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}";
        assert_eq!(p.hears(1, peers).peers.len(), 1);
        let deadline = p.deadline();
        assert_eq!(p.hears(2, peers), Outcome::default());
        assert_eq!(p.fails(3), "");
        assert_eq!(p.deadline(), deadline);
    }
}
