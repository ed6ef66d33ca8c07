//! Announces to UDP trackers (BEP 15): what to send to whom when, and what the answers mean.
//!
//! The engine hands over announces, what became of look-ups, and packets, and does the [`Step`]s.
//! A packet that is lost is sent again after 15 seconds, then after 30, and so on, to each of the
//! tracker's addresses in turn, until the announce's own time is over. Nothing here knows a socket
//! or reads a clock. At most [`MAX_EXCHANGES`] announces are under way, and a name is looked up once
//! for all of them.

use crate::proto::sorted;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::logic::announcer::Failure;
use crate::proto::announce::Request;
use crate::proto::announce::ask::{Reply, ReplyError};
use crate::proto::hash::sha1;
use crate::proto::udp::ask::{Place, Said, put_announce, put_connect, read};

/// Announces under way at a time: some torrents may have the same tracker, which no other's are to
/// wait for. For one tracker there are half as many.
pub const MAX_EXCHANGES: usize = 1024;

/// Connection ids that are kept.
const MAX_IDS: usize = 64;

/// Names that are looked up at a time, each by a thread.
const MAX_LOOK_UPS: usize = 8;

/// Addresses of one tracker that are tried.
const MAX_ADDRESSES: usize = 8;

/// A connection id is good for so long (BEP 15).
const ID_LIFE: Duration = Duration::from_secs(60);

/// How long is waited for the first packet to be answered; twice as long for each further one
/// (BEP 15). An announce that has less time tries [`TRIES`] times in it.
const FIRST_WAIT: Duration = Duration::from_secs(15);

/// See [`FIRST_WAIT`].
const TRIES: u32 = 4;

/// While there are addresses that were not tried yet, none is waited for longer than this: often
/// enough one family of them leads nowhere.
const NEXT_PLACE: Duration = Duration::from_secs(2);

/// Something for the engine to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// To look a name up, and call [`UdpTrackers::on_found`].
    LookUp {
        /// The announce.
        number: u64,
        /// The name of a host.
        host: String,
        /// Its port, to be part of the addresses.
        port: u16,
    },
    /// To send a packet.
    Send(SocketAddr, Vec<u8>),
    /// The announce of this number has ended.
    Ended(u64, Result<Reply, Failure>),
}

#[derive(Debug)]
struct Exchange {
    number: u64,
    /// The tracker's URL, and of it the part that is sent along.
    url: String,
    request: Request,
    /// Where the tracker is; empty while that is looked up.
    places: VecDeque<SocketAddr>,
    /// It is looked up under this exchange's number.
    looks_up: bool,
    /// The number of the packet that is to be answered.
    transaction: u32,
    /// The connection id that the packet had, if it was an announce.
    connection: Option<u64>,
    /// That id was given for this very announce, not for one before.
    is_fresh: bool,
    wait: Duration,
    /// Addresses that nothing was sent to yet, but that of the packet.
    untried: usize,
    again: Instant,
    deadline: Instant,
}

/// The announces to UDP trackers that are under way.
#[derive(Debug)]
pub struct UdpTrackers {
    exchanges: Vec<Exchange>,
    /// Connection ids, and when each came.
    ids: sorted::Map<SocketAddr, (u64, Instant)>,
    steps: VecDeque<Step>,
    secret: u64,
    /// Packets sent so far.
    sent: u64,
}

impl UdpTrackers {
    /// With nothing under way. Whoever can guess `secret` can answer in a tracker's place.
    pub fn new(secret: u64) -> UdpTrackers {
        let (exchanges, ids, steps) = Default::default();
        UdpTrackers { exchanges, ids, steps, secret, sent: 0 }
    }

    /// Begins an announce, which ends within `timeout`.
    pub fn announce(
        &mut self,
        number: u64,
        url: &str,
        request: Request,
        timeout: Duration,
        now: Instant,
    ) {
        let here = |place: &Place| {
            self.exchanges
                .iter()
                .filter(|e| Place::of(&e.url).is_some_and(|e| e.is_at(place)))
                .count()
        };
        let may =
            |place: &Place| self.exchanges.len() < MAX_EXCHANGES && here(place) < MAX_EXCHANGES / 2;
        let Some(place) = Place::of(url).filter(may) else {
            let why = Failure::Unreachable("too many announces wait".into());
            return self.steps.push_back(Step::Ended(number, Err(why)));
        };
        let literal = place.host.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, place.port));
        let mut exchange = Exchange {
            number,
            url: url.to_owned(),
            request,
            places: literal.iter().copied().collect(),
            looks_up: false,
            transaction: 0,
            connection: None,
            is_fresh: false,
            wait: FIRST_WAIT.min(timeout / TRIES),
            untried: 0,
            again: now + timeout,
            deadline: now + timeout,
        };
        self.send(&mut exchange, now);
        self.exchanges.push(exchange);
        self.look_up();
    }

    /// Has names looked up, as many as may be, each once.
    fn look_up(&mut self) {
        let all = &mut self.exchanges;
        let mut askers: Vec<usize> = (0..all.len()).filter(|n| all[*n].looks_up).collect();
        for n in 0..all.len() {
            if askers.len() >= MAX_LOOK_UPS {
                return;
            }
            let Some(place) = Place::of(&all[n].url) else { continue };
            let is_same = |asker: &usize| {
                Place::of(&all[*asker].url).is_some_and(|asked| asked.is_at(&place))
            };
            if all[n].places.is_empty() && !askers.iter().any(is_same) {
                let (number, host, port) = (all[n].number, place.host.to_owned(), place.port);
                self.steps.push_back(Step::LookUp { number, host, port });
                all[n].looks_up = true;
                askers.push(n);
            }
        }
    }

    /// What became of a look-up: addresses, the best first, or why there are none.
    pub fn on_found(&mut self, number: u64, found: Result<Vec<SocketAddr>, String>, now: Instant) {
        let asker = self.exchanges.iter().find(|e| e.number == number && e.looks_up);
        let Some(url) = asker.map(|e| e.url.clone()) else { return };
        let Some(place) = Place::of(&url) else { return };
        let found = found.and_then(|places| match places.is_empty() {
            true => Err("the name has no address".to_owned()),
            false => Ok(places),
        });
        // All that wait for this name go on.
        for mut exchange in std::mem::take(&mut self.exchanges) {
            let is_there = Place::of(&exchange.url).is_some_and(|e| e.is_at(&place));
            if !exchange.places.is_empty() || !is_there {
                self.exchanges.push(exchange);
                continue;
            }
            match &found {
                Ok(places) => {
                    exchange.looks_up = false;
                    exchange.places.extend(places.iter().copied().take(MAX_ADDRESSES));
                    exchange.untried = exchange.places.len() - 1;
                    self.send(&mut exchange, now);
                    self.exchanges.push(exchange);
                }
                Err(why) => self.fail(&exchange, why),
            }
        }
        self.look_up();
    }

    /// The system would not send to this address.
    pub fn on_unsent(&mut self, to: SocketAddr, why: &str, now: Instant) {
        while let Some(at) = self.exchanges.iter().position(|e| e.places.front() == Some(&to)) {
            let mut exchange = self.exchanges.swap_remove(at);
            exchange.places.pop_front();
            exchange.untried = exchange.untried.saturating_sub(1);
            if exchange.places.is_empty() {
                self.fail(&exchange, why);
                continue;
            }
            self.send(&mut exchange, now);
            self.exchanges.push(exchange);
        }
    }

    /// A packet came. Whatever is not the answer that is waited for is passed over.
    pub fn on_packet(&mut self, from: SocketAddr, packet: &[u8], now: Instant) {
        let Some((transaction, said)) = read(packet, from.is_ipv6()) else { return };
        let asked = |e: &Exchange| e.transaction == transaction && e.places.front() == Some(&from);
        let Some(at) = self.exchanges.iter().position(asked) else { return };
        let mut exchange = self.exchanges.swap_remove(at);
        match (said, exchange.connection) {
            (Said::Connected(id), None) => {
                exchange.is_fresh = true;
                self.keep(from, id, now);
                self.send(&mut exchange, now);
                self.exchanges.push(exchange);
            }
            (Said::Announced(reply), Some(_)) => {
                self.steps.push_back(Step::Ended(exchange.number, Ok(reply)));
            }
            // The tracker may be younger than the id.
            (Said::Refused(_), Some(_)) if !exchange.is_fresh => {
                self.ids.remove(&from);
                self.send(&mut exchange, now);
                self.exchanges.push(exchange);
            }
            (Said::Refused(reason), _) => {
                let why = Failure::Reply(ReplyError::Rejected { reason, retry: None });
                self.steps.push_back(Step::Ended(exchange.number, Err(why)));
            }
            _ => self.exchanges.push(exchange),
        }
    }

    /// When [`UdpTrackers::on_time`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.exchanges.iter().map(|e| e.again.min(e.deadline)).min()
    }

    /// Sends again what was not answered, and gives up what has had its time.
    pub fn on_time(&mut self, now: Instant) {
        for mut exchange in std::mem::take(&mut self.exchanges) {
            if exchange.deadline <= now {
                self.fail(&exchange, "no answer in time");
                continue;
            }
            if exchange.again <= now {
                match exchange.untried.checked_sub(1) {
                    Some(left) => exchange.untried = left,
                    None => exchange.wait *= 2,
                }
                exchange.places.rotate_left(1);
                self.send(&mut exchange, now);
            }
            self.exchanges.push(exchange);
        }
        // Those whose time is over made room.
        self.look_up();
    }

    /// The next thing to do, if any.
    pub fn next_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    fn keep(&mut self, from: SocketAddr, id: u64, now: Instant) {
        self.ids.retain(|_, (_, at)| now.duration_since(*at) < ID_LIFE);
        if self.ids.len() < MAX_IDS {
            self.ids.insert(from, (id, now));
        }
    }

    /// Sends what an exchange has to say next to the first of its places.
    fn send(&mut self, exchange: &mut Exchange, now: Instant) {
        let Some(to) = exchange.places.front() else { return };
        let fresh = |(_, at): &&(u64, Instant)| now.duration_since(*at) < ID_LIFE;
        exchange.connection = self.ids.get(to).filter(fresh).map(|(id, _)| *id);
        exchange.transaction = self.transaction();
        let patience = match exchange.untried {
            0 => exchange.wait,
            _ => exchange.wait.min(NEXT_PLACE),
        };
        exchange.again = now + patience;
        let mut packet = Vec::new();
        match exchange.connection {
            None => put_connect(&mut packet, exchange.transaction),
            Some(id) => {
                let path = Place::of(&exchange.url).map_or("", |place| place.path);
                put_announce(&mut packet, id, exchange.transaction, &exchange.request, path);
            }
        }
        self.steps.push_back(Step::Send(*to, packet));
    }

    /// A number that does not follow from those before it.
    fn transaction(&mut self) -> u32 {
        self.sent += 1;
        let hash = sha1(&[self.secret.to_be_bytes(), self.sent.to_be_bytes()].concat());
        u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
    }

    fn fail(&mut self, exchange: &Exchange, why: &str) {
        // The query is long and may hold a passkey.
        let url = exchange.url.split(['?', '#']).next().unwrap_or_default();
        let why = Failure::Unreachable(format!("cannot reach '{url}': {why}"));
        self.steps.push_back(Step::Ended(exchange.number, Err(why)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ids::{InfoHash, PeerId};
    use crate::proto::udp::{self, put_connected, put_error};

    const HERE: &str = "udp://127.0.0.1:80/announce";
    const TIMEOUT: Duration = Duration::from_secs(60);

    struct Play {
        trackers: UdpTrackers,
        start: Instant,
    }

    fn play() -> Play {
        Play { trackers: UdpTrackers::new(1), start: Instant::now() }
    }

    impl Play {
        fn now(&self, millis: u64) -> Instant {
            self.start + Duration::from_millis(millis)
        }

        fn announce(&mut self, number: u64, url: &str, millis: u64) {
            let request = Request::new(InfoHash([1; 20]), PeerId([2; 20]), 6881);
            let now = self.now(millis);
            self.trackers.announce(number, url, request, TIMEOUT, now);
        }

        /// What is sent next: to whom, and what a tracker reads.
        fn sent(&mut self) -> (SocketAddr, udp::Request) {
            match self.trackers.next_step() {
                Some(Step::Send(to, packet)) => (to, udp::Request::read(&packet).unwrap()),
                other => panic!("{other:?}"),
            }
        }

        fn connected(&mut self, to: SocketAddr, asked: &udp::Request, id: u64, millis: u64) {
            let mut packet = Vec::new();
            put_connected(&mut packet, asked.transaction, id);
            let now = self.now(millis);
            self.trackers.on_packet(to, &packet, now);
        }

        fn announced(&mut self, to: SocketAddr, asked: &udp::Request, millis: u64) {
            let packet = [1, asked.transaction, 900, 2, 3].map(u32::to_be_bytes).concat();
            let now = self.now(millis);
            self.trackers.on_packet(to, &packet, now);
        }

        fn refused(&mut self, to: SocketAddr, asked: &udp::Request, millis: u64) {
            let mut packet = Vec::new();
            put_error(&mut packet, asked.transaction, "no");
            let now = self.now(millis);
            self.trackers.on_packet(to, &packet, now);
        }

        fn ended(&mut self) -> (u64, Result<Option<u32>, String>) {
            match self.trackers.next_step() {
                Some(Step::Ended(number, Ok(reply))) => (number, Ok(reply.complete)),
                Some(Step::Ended(number, Err(Failure::Unreachable(why)))) => (number, Err(why)),
                Some(Step::Ended(number, Err(Failure::Reply(why)))) => {
                    (number, Err(why.to_string()))
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn an_announce_asks_for_an_id_and_keeps_it_for_a_minute() {
        let mut play = play();
        play.announce(1, HERE, 0);
        let (to, asked) = play.sent();
        assert_eq!((to.to_string().as_str(), &asked.ask), ("127.0.0.1:80", &udp::Ask::Connect));
        play.connected(to, &asked, 77, 10);
        let (to, asked) = play.sent();
        assert_eq!(asked.connection, 77);
        play.announced(to, &asked, 20);
        assert_eq!(play.ended(), (1, Ok(Some(3))));
        assert_eq!(play.trackers.next_deadline(), None);
        play.announce(2, HERE, 59_000);
        let (to, asked) = play.sent();
        assert_eq!(asked.connection, 77);
        play.announced(to, &asked, 59_010);
        assert_eq!(play.ended().0, 2);
        play.announce(3, HERE, 60_011);
        assert_eq!(play.sent().1.ask, udp::Ask::Connect);
    }

    #[test]
    fn what_is_lost_is_sent_again_to_the_next_address_until_the_time_is_over() {
        let mut play = play();
        play.announce(1, "udp://tracker.example:80", 0);
        let step = Step::LookUp { number: 1, host: "tracker.example".into(), port: 80 };
        assert_eq!(play.trackers.next_step(), Some(step));
        let places = ["127.0.0.1:80", "127.0.0.2:80"].map(|at| at.parse().unwrap());
        let now = play.now(0);
        play.trackers.on_found(1, Ok(places.to_vec()), now);
        let mut sent = vec![(0, play.sent().0)];
        while let Some(at) = play.trackers.next_deadline() {
            play.trackers.on_time(at);
            let second = (at - play.start).as_secs();
            match play.trackers.next_step() {
                Some(Step::Send(to, _)) => sent.push((second, to)),
                Some(Step::Ended(1, Err(Failure::Unreachable(why)))) => {
                    assert_eq!(second, 60);
                    assert_eq!(why, "cannot reach 'udp://tracker.example:80': no answer in time");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(sent, [(0, places[0]), (2, places[1]), (17, places[0]), (47, places[1])]);
    }

    #[test]
    fn an_old_id_that_is_refused_is_asked_for_once_more_and_a_new_one_is_not() {
        let mut play = play();
        play.announce(1, HERE, 0);
        let (to, asked) = play.sent();
        play.connected(to, &asked, 77, 10);
        let (_, asked) = play.sent();
        play.announced(to, &asked, 20);
        assert_eq!(play.ended().0, 1);
        // The tracker was started anew.
        play.announce(2, HERE, 30);
        let (_, asked) = play.sent();
        play.refused(to, &asked, 40);
        let (_, asked) = play.sent();
        assert_eq!(asked.ask, udp::Ask::Connect);
        play.connected(to, &asked, 78, 50);
        let (_, asked) = play.sent();
        assert_eq!(asked.connection, 78);
        play.refused(to, &asked, 60);
        assert_eq!(play.ended(), (2, Err("rejected by tracker - no".into())));
    }

    #[test]
    fn only_the_tracker_that_was_asked_is_heard_and_only_about_that() {
        let mut play = play();
        play.announce(1, HERE, 0);
        let (to, asked) = play.sent();
        let other = "127.0.0.2:80".parse().unwrap();
        play.connected(other, &asked, 66, 1);
        let guessed = udp::Request { transaction: asked.transaction ^ 1, ..asked.clone() };
        play.connected(to, &guessed, 66, 1);
        // No announce was made that this could answer.
        play.announced(to, &asked, 1);
        assert_eq!(play.trackers.next_step(), None);
        play.connected(to, &asked, 77, 2);
        assert_eq!(play.sent().1.connection, 77);
    }

    #[test]
    fn an_address_that_cannot_be_sent_to_makes_way_for_the_next() {
        let mut play = play();
        play.announce(1, "udp://t.example:80", 0);
        play.trackers.next_step();
        let places = ["[::1]:80", "127.0.0.1:80"].map(|at| at.parse().unwrap());
        let now = play.now(0);
        play.trackers.on_found(1, Ok(places.to_vec()), now);
        assert_eq!(play.sent().0, places[0]);
        play.trackers.on_unsent(places[0], "Network is unreachable", now);
        assert_eq!(play.sent().0, places[1]);
        play.trackers.on_unsent(places[1], "Network is unreachable", now);
        let why = "cannot reach 'udp://t.example:80': Network is unreachable";
        assert_eq!(play.ended(), (1, Err(why.into())));
        play.announce(2, "udp://t.example:80?k=secret", 0);
        play.trackers.next_step();
        play.trackers.on_found(2, Err("no such host".into()), now);
        let why = "cannot reach 'udp://t.example:80': no such host";
        assert_eq!(play.ended(), (2, Err(why.into())));
    }

    #[test]
    fn no_more_are_under_way_than_may_be() {
        let mut play = play();
        let half = MAX_EXCHANGES as u64 / 2;
        for number in 0..=half {
            play.announce(number, HERE, 0);
        }
        let steps: Vec<Step> = std::iter::from_fn(|| play.trackers.next_step()).collect();
        let ended = |step: &&Step| matches!(step, Step::Ended(512, Err(_)));
        assert_eq!((steps.len(), steps.iter().filter(ended).count()), (half as usize + 1, 1));
        // Those to another tracker are.
        play.announce(half + 1, "udp://127.0.0.2:80/announce", 0);
        assert_eq!(play.sent().0, "127.0.0.2:80".parse().unwrap());
    }

    #[test]
    fn a_name_is_looked_up_once_for_all_who_wait_for_it_and_few_are_at_a_time() {
        let mut play = play();
        for number in 0..30 {
            play.announce(number, &format!("udp://t{}.example:80/{number}", number / 3), 0);
        }
        let mut asked = Vec::new();
        let mut names = |play: &mut Play| {
            let Some(Step::LookUp { number, host, .. }) = play.trackers.next_step() else {
                return false;
            };
            asked.push((number, host));
            true
        };
        (0..8).for_each(|_| assert!(names(&mut play)));
        assert_eq!(play.trackers.next_step(), None);
        let (now, places) = (play.now(1), vec!["127.0.0.1:80".parse().unwrap()]);
        play.trackers.on_found(1, Ok(places.clone()), now);
        assert_eq!(play.trackers.next_step(), None, "that number did not ask");
        play.trackers.on_found(0, Ok(places), now);
        (0..3).for_each(|_| assert_eq!(play.sent().1.ask, udp::Ask::Connect));
        assert!(names(&mut play));
        play.trackers.on_found(3, Err("no such host".into()), now);
        for number in [3, 4, 5] {
            assert_eq!(play.ended().0, number);
        }
        assert!(names(&mut play));
        assert_eq!(play.trackers.next_step(), None);
        let numbers: Vec<u64> = asked.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [0, 3, 6, 9, 12, 15, 18, 21, 24, 27]);
    }
}
