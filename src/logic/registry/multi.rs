//! Trackers that trade peers (BitTornado's "T2T"): which to ask when, and what they said.
//!
//! Each tracker in the announce-list of each allowed torrent is asked now and then, as a peer that
//! has nothing and stops would ask. Called by `app/tracker`, which does the asking.

use crate::proto::order;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::access::Allowed;
use crate::logic::rng::Rng;
use crate::proto::ids::InfoHash;

/// Answers of a tracker that are remembered, of a torrent.
const ANSWERS: usize = 10;

/// Refusals after which a tracker is not asked again for a torrent.
const REFUSALS: u32 = 3;

/// Failures in a row from which on the interval grows.
const FAILURES: u32 = 3;

/// The longest interval that failures or a tracker may bring about.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// What is to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// To be given back with the answer.
    pub id: u64,
    /// The torrent.
    pub hash: InfoHash,
    /// The tracker.
    pub url: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Peers, and the time to wait before the next question.
    Peers(Vec<SocketAddr>, Duration),
    /// The tracker said no, in these words.
    Refused(String),
    /// There was no answer, or none that can be read.
    Failed,
}

#[derive(Debug)]
struct Poll {
    next: Instant,
    interval: Duration,
    /// The number of a question that is out.
    asked: Option<u64>,
    failures: u32,
    refusals: u32,
    answers: VecDeque<Vec<SocketAddr>>,
}

/// The other trackers.
#[derive(Debug)]
pub struct Others {
    interval: Duration,
    polls: HashMap<(InfoHash, String), Poll>,
    /// Who is asked by which question.
    out: HashMap<u64, (InfoHash, String)>,
    /// Trackers that want to hear of us no more.
    never: HashSet<String>,
    next_id: u64,
    /// The earliest moment at which any is to be asked, or an earlier one.
    next: Option<Instant>,
}

impl Others {
    /// Nobody is asked yet; an interval counts where a tracker gives none.
    pub fn new(interval: Duration) -> Others {
        Others {
            interval,
            polls: HashMap::new(),
            out: HashMap::new(),
            never: HashSet::new(),
            next_id: 0,
            next: None,
        }
    }

    /// Asks the trackers of these torrents from now on, and no others. Those that are new are
    /// first asked at some moment of the interval, so that not all are asked at once.
    pub fn set(&mut self, allowed: &Allowed, now: Instant, rng: &mut Rng) {
        let mut old = std::mem::take(&mut self.polls);
        for (hash, torrent) in allowed.iter() {
            for url in torrent.trackers.iter().filter(|url| !self.never.contains(*url)) {
                let key = (*hash, url.clone());
                let poll = old.remove(&key).unwrap_or_else(|| {
                    let millis = u32::try_from(self.interval.as_millis()).unwrap_or(u32::MAX);
                    Poll {
                        next: now + Duration::from_millis(rng.below(millis).into()),
                        interval: self.interval,
                        asked: None,
                        failures: 0,
                        refusals: 0,
                        answers: VecDeque::new(),
                    }
                });
                self.polls.insert(key, poll);
            }
        }
        self.find_next();
    }

    fn find_next(&mut self) {
        let waiting = self.polls.values().filter(|poll| poll.is_asked());
        self.next = waiting.map(|poll| poll.next).min();
    }

    /// When [`Others::next_ask`] has something to say; `None` = never.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next
    }

    /// A tracker that is to be asked now. Each must get [`Others::on_told`] in the end.
    pub fn next_ask(&mut self, now: Instant) -> Option<Ask> {
        if self.next.is_none_or(|next| now < next) {
            return None;
        }
        let due =
            |(_, poll): &(&(InfoHash, String), &mut Poll)| poll.is_asked() && poll.next <= now;
        let id = self.next_id;
        let found = self.polls.iter_mut().find(due).map(|(key, poll)| {
            poll.asked = Some(id);
            key.clone()
        });
        let Some(key) = found else {
            self.find_next();
            return None;
        };
        self.next_id += 1;
        self.out.insert(id, key.clone());
        Some(Ask { id, hash: key.0, url: key.1 })
    }

    /// What a tracker said. Gives all that trackers said of this torrent, if that has changed.
    pub fn on_told(
        &mut self,
        id: u64,
        told: Told,
        now: Instant,
    ) -> Option<(InfoHash, Vec<SocketAddr>)> {
        let key = self.out.remove(&id)?;
        let poll = self.polls.get_mut(&key)?;
        poll.asked = None;
        let mut changed = false;
        match told {
            Told::Peers(peers, interval) => {
                (poll.failures, poll.refusals) = (0, 0);
                poll.interval = interval.clamp(self.interval.min(LONGEST), LONGEST);
                if poll.answers.len() >= ANSWERS {
                    poll.answers.pop_front();
                }
                poll.answers.push_back(peers);
                changed = true;
            }
            Told::Refused(text) => {
                poll.refusals += 1;
                if text.contains("disallowed") {
                    self.never.insert(key.1.clone());
                    let never = &self.never;
                    self.polls.retain(|(_, url), _| !never.contains(url));
                }
            }
            Told::Failed => {
                poll.failures += 1;
                if poll.failures >= FAILURES {
                    poll.interval = (poll.interval * 2).min(LONGEST);
                }
            }
        }
        if let Some(poll) = self.polls.get_mut(&key) {
            poll.next = now + poll.interval;
        }
        self.find_next();
        changed.then(|| (key.0, self.harvest(&key.0)))
    }

    /// All that trackers said of a torrent, each address once.
    fn harvest(&self, hash: &InfoHash) -> Vec<SocketAddr> {
        let of_it = self.polls.iter().filter(|((h, _), _)| h == hash);
        let mut all: Vec<SocketAddr> =
            of_it.flat_map(|(_, poll)| poll.answers.iter().flatten().copied()).collect();
        order::by(&mut all, Ord::cmp);
        all.dedup();
        all
    }
}

impl Poll {
    /// Whether it waits for its next time.
    fn is_asked(&self) -> bool {
        self.asked.is_none() && self.refusals < REFUSALS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::registry::access::Torrent;

    const MINUTE: Duration = Duration::from_secs(60);

    struct Lab {
        others: Others,
        start: Instant,
    }

    fn allowed(list: &[(u8, &[&str])]) -> Allowed {
        let torrent = |urls: &[&str]| Torrent {
            trackers: urls.iter().map(|u| u.to_string()).collect(),
            ..Torrent::default()
        };
        Allowed::new(list.iter().map(|(n, urls)| (InfoHash([*n; 20]), torrent(urls))).collect())
    }

    fn lab(list: &[(u8, &[&str])]) -> Lab {
        let (mut others, start) = (Others::new(2 * MINUTE), Instant::now());
        others.set(&allowed(list), start, &mut Rng::new(1));
        Lab { others, start }
    }

    impl Lab {
        /// All that are asked up to a second, with the second.
        fn asks(&mut self, up_to: u64) -> Vec<(u64, Ask)> {
            let mut all = Vec::new();
            while let Some(next) = self.others.next_deadline() {
                let second = (next - self.start).as_secs();
                if second > up_to {
                    break;
                }
                while let Some(ask) = self.others.next_ask(next) {
                    all.push((second, ask));
                }
            }
            all
        }

        fn told(&mut self, second: u64, ask: &Ask, told: Told) -> Option<usize> {
            let now = self.start + Duration::from_secs(second);
            self.others.on_told(ask.id, told, now).map(|(_, peers)| peers.len())
        }
    }

    fn peers(list: &[&str]) -> Told {
        Told::Peers(list.iter().map(|p| p.parse().unwrap()).collect(), MINUTE)
    }

    #[test]
    fn the_first_questions_are_spread_over_the_interval() {
        let list: Vec<(u8, &[&str])> =
            (0..50).map(|n| (n, &["http://a/", "http://b/"][..])).collect();
        let mut lab = lab(&list);
        let asks = lab.asks(120);
        assert_eq!(asks.len(), 100);
        let early = asks.iter().filter(|(second, _)| *second < 60).count();
        assert!((25..75).contains(&early), "{early}");
        assert_eq!(lab.others.next_deadline(), None, "all questions are out");
    }

    #[test]
    fn answers_are_merged_and_asked_for_again() {
        let mut lab = lab(&[(1, &["http://a/", "http://b/"])]);
        let asks = lab.asks(120);
        assert_eq!(lab.told(120, &asks[0].1, peers(&["1.1.1.1:1", "2.2.2.2:2"])), Some(2));
        assert_eq!(lab.told(120, &asks[1].1, peers(&["1.1.1.1:1", "3.3.3.3:3"])), Some(3));
        let again = lab.asks(500);
        assert_eq!(again.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [240, 240]);
        for n in 0..ANSWERS {
            let ask = if n == 0 { again[0].1.clone() } else { lab.asks(9000)[0].1.clone() };
            lab.told(300 + n as u64, &ask, peers(&["9.9.9.9:9"]));
        }
        let ask = again[1].1.clone();
        assert!(lab.told(9000, &ask, peers(&[])).is_some_and(|count| count <= 3), "old ones go");
    }

    #[test]
    fn who_disallows_it_is_never_asked_again_and_who_refuses_thrice_not_for_that_torrent() {
        let mut lab = lab(&[(1, &["http://a/", "http://b/"]), (2, &["http://a/"])]);
        let mut count = 0;
        for round in 1..=5 {
            for (_, ask) in lab.asks(round * 1000) {
                count += 1;
                let text = if ask.url == "http://a/" { "disallowed" } else { "not authorized" };
                lab.told(round * 1000, &ask, Told::Refused(text.into()));
            }
        }
        // The other question to a may have been out already.
        assert!((4..=5).contains(&count), "{count}");
        assert_eq!(lab.others.next_deadline(), None);
        let (now, list) = (lab.start, allowed(&[(3, &["http://a/"])]));
        lab.others.set(&list, now, &mut Rng::new(1));
        assert_eq!(lab.others.next_deadline(), None, "not for another torrent either");
    }

    #[test]
    fn who_fails_again_and_again_is_asked_less_often() {
        let mut lab = lab(&[(1, &["http://a/"])]);
        let (mut now, mut gaps) = (0, Vec::new());
        for _ in 0..6 {
            let (second, ask) = lab.asks(1 << 20).remove(0);
            gaps.push(second - now);
            now = second;
            lab.told(now, &ask, Told::Failed);
        }
        assert_eq!(gaps[1..], [120, 120, 240, 480, 960]);
    }

    #[test]
    fn what_is_not_allowed_any_more_is_not_asked_for() {
        let mut lab = lab(&[(1, &["http://a/"]), (2, &["http://a/"])]);
        let (now, list) = (lab.start, allowed(&[(2, &["http://a/"])]));
        lab.others.set(&list, now, &mut Rng::new(1));
        let asks = lab.asks(1000);
        assert_eq!(asks.len(), 1);
        lab.others.set(&Allowed::default(), now, &mut Rng::new(1));
        assert_eq!(lab.told(5, &asks[0].1, peers(&["1.1.1.1:1"])), None);
    }
}
