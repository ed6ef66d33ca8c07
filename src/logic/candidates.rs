//! Addresses we know of: where from, when to try again, banned or not.
//!
//! [`logic::torrent`](crate::logic::torrent) tells what happened to an address and asks whom to
//! dial now; nothing here dials. Each address is in one of two states: waiting for its time (then
//! it stands in the queue), or taken (being dialed, or connected). Everything costs O(log n),
//! except that adding to a full list and choosing whom to dial look at all of it once.

use crate::proto::sorted;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::logic::rng::Rng;
use crate::proto::address::{dialable, is_local};
use crate::proto::peer_priority::peer_priority;

/// How many addresses one torrent remembers; above it the worst one makes room.
pub const MAX_CANDIDATES: usize = 1000;

/// How many banned addresses one torrent remembers; above it the oldest ban ends.
pub const MAX_BANS: usize = 1000;

/// How many own addresses are remembered; above it the oldest is forgotten.
pub const MAX_OWN: usize = 16;

/// Addresses of one host that are taken from peers: strangers could have us knock at all its ports.
const MAX_TOLD_OF_HOST: usize = 8;

/// Ports below this are of other services, at which strangers could have us knock.
const FIRST_PORT: u16 = 1024;

/// When to dial again after the first failure, and after a useful connection ended; doubles with
/// each failure.
pub const FIRST_RETRY: Duration = Duration::from_secs(30);

/// One that was giving when its connection broke may only have been started anew: it is tried so
/// soon, then after twice as long,
const QUICK_RETRY: Duration = Duration::from_secs(4);

/// and so often before it counts as one that fails.
const QUICK_RETRIES: u8 = 3;

/// Who failed so often in a row is not dialed sooner because we are in a hurry.
const MANY_FAILURES: u32 = 3;

/// The longest wait between two attempts, before jitter.
pub const LONGEST_RETRY: Duration = Duration::from_secs(3600);

/// Who told us of an address, the most trusted first: when the list is full, one that we have
/// from a peer makes room for one that a tracker sent, never the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A tracker.
    Tracker,
    /// Another peer, or the peer itself when it dialed us and named its port.
    Peer,
}

/// The place of a waiting address in the queue: its time, then chance.
type Turn = (Instant, u64);

#[derive(Debug)]
struct Candidate {
    source: Source,
    /// See [`Candidates::worth`].
    worth: u32,
    /// Attempts and useless connections in a row.
    failures: u32,
    /// Attempts left that come soon one after another.
    quick: u8,
    /// It did not understand encryption when that was last tried, so it is plain text's turn.
    plain: bool,
    /// Somebody says that it understands encryption.
    encrypts: bool,
    /// `None` while it is being dialed or connected; then it is not in the queue either.
    turn: Option<Turn>,
}

/// The addresses one torrent knows of.
#[derive(Debug)]
pub struct Candidates {
    known: sorted::Map<SocketAddr, Candidate>,
    /// Those with a `turn`, in order.
    queue: sorted::Set<(Turn, SocketAddr)>,
    banned: sorted::Set<IpAddr>,
    /// The members of `banned`, oldest first.
    ban_order: VecDeque<IpAddr>,
    own: VecDeque<SocketAddr>,
    /// Our address as others see it, once it is known.
    seen_as: Option<SocketAddr>,
    /// Nobody outside is dialled.
    local_only: bool,
    rng: Rng,
}

impl Candidates {
    /// An empty list. Addresses added at the same time are tried in an order drawn from `rng`,
    /// which also gives the jitter of retries.
    pub fn new(rng: Rng) -> Candidates {
        Candidates {
            known: sorted::Map::new(),
            queue: sorted::Set::new(),
            banned: sorted::Set::new(),
            ban_order: VecDeque::new(),
            own: VecDeque::new(),
            seen_as: None,
            local_only: false,
            rng,
        }
    }

    /// The same; where `local_only` is set, addresses outside are neither taken nor kept.
    pub fn within(self, local_only: bool) -> Candidates {
        Candidates { local_only, ..self }
    }

    /// How many addresses are known, those in use included.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no address is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// All addresses that are known, those in use included.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.known.keys().copied()
    }

    /// Learns of an address; it may be dialed at once. One that is known keeps its wait, so that a
    /// dead one is not dialed at each announce. Ignored are banned, own and undialable ones, those
    /// that peers may only name to have a stranger bothered, and one for which the list has no room.
    /// Tells whether it was new and taken.
    pub fn add(&mut self, address: SocketAddr, source: Source, now: Instant) -> bool {
        let Some(address) = dialable(address) else { return false };
        let is_outside = self.local_only && !is_local(address.ip());
        if is_outside || self.banned.contains(&address.ip()) || self.own.contains(&address) {
            return false;
        }
        if let Some(known) = self.known.get_mut(&address) {
            known.source = known.source.min(source);
            return false;
        }
        if source == Source::Peer && self.may_be_a_target(address)
            || self.known.len() >= MAX_CANDIDATES && !self.make_room(source)
        {
            return false;
        }
        let worth = self.worth(address);
        let new = Candidate {
            source,
            worth,
            failures: 0,
            quick: 0,
            plain: false,
            encrypts: false,
            turn: None,
        };
        self.known.insert(address, new);
        self.wait_until(address, now);
        self.check();
        true
    }

    fn may_be_a_target(&self, address: SocketAddr) -> bool {
        let ip = address.ip();
        let told = || self.known.range(ports(ip)).filter(|(_, c)| c.source == Source::Peer);
        !is_local(ip) && (address.port() < FIRST_PORT || told().count() >= MAX_TOLD_OF_HOST)
    }

    /// Our address as others see it: from now on it decides, with theirs, who comes first.
    pub fn set_own(&mut self, own: SocketAddr) {
        if self.seen_as.replace(own) != Some(own) {
            self.known.iter_mut().for_each(|(address, c)| c.worth = peer_priority(own, *address));
        }
    }

    /// Whether our address is known.
    pub fn knows_own(&self) -> bool {
        self.seen_as.is_some()
    }

    /// How much a connection to an address is worth (BEP 40), more is better; the same for all
    /// while we do not know our own.
    pub fn worth(&self, address: SocketAddr) -> u32 {
        self.seen_as.map_or(0, |own| peer_priority(own, address))
    }

    /// Whom to dial now: of those whose time has come the one that is worth most, or, while that
    /// is not known, the one whose time came first. The address is taken from then on, until [`failed`](Self::failed) or
    /// [`lost`](Self::lost) tells what became of it.
    pub fn next(&mut self, now: Instant) -> Option<SocketAddr> {
        let mut due = self.queue.iter().take_while(|((at, _), _)| *at <= now).map(|(_, a)| *a);
        let address = match self.seen_as {
            None => due.next()?,
            Some(_) => due.max_by_key(|a| self.known.get(a).map_or(0, |c| c.worth))?,
        };
        self.take(address);
        self.check();
        Some(address)
    }

    /// When [`next`](Self::next) has someone to dial; in the past when it has now.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.queue.first().map(|((due, _), _)| *due)
    }

    /// Those that did not fail again and again may be dialed at once: we need them sooner than we
    /// thought.
    pub fn hurry(&mut self, now: Instant) {
        let waits = |(address, c): (&SocketAddr, &Candidate)| {
            (c.failures < MANY_FAILURES && c.turn.is_some()).then_some(*address)
        };
        let waiting: Vec<SocketAddr> = self.known.iter().filter_map(waits).collect();
        waiting.into_iter().for_each(|address| self.wait_until(address, now));
        self.check();
    }

    /// The attempt to dial it, or the handshake, came to nothing.
    pub fn failed(&mut self, address: SocketAddr, now: Instant) {
        self.retire(address, now, false);
    }

    /// Somebody says that this address understands encryption, or asks for it.
    pub fn told_to_encrypt(&mut self, address: SocketAddr) {
        if let Some(candidate) = self.known.get_mut(&canonical(address)) {
            candidate.encrypts = true;
        }
    }

    /// Whether to begin in plain text with this address, where either is possible.
    pub fn is_plain(&self, address: SocketAddr) -> bool {
        self.known.get(&canonical(address)).is_some_and(|c| c.plain)
    }

    /// It accepted a connection and ended it at the sight of our handshake, which was encrypted or
    /// not. The other way is next: plain text at once, unless encryption is said to be no riddle to
    /// it; encryption at the usual time.
    pub fn riddled(&mut self, address: SocketAddr, encrypted: bool, now: Instant) {
        let address = canonical(address);
        let Some(candidate) = self.known.get_mut(&address) else { return };
        candidate.plain = encrypted;
        match encrypted && !candidate.encrypts {
            true => self.wait_until(address, now),
            false => self.failed(address, now),
        }
        self.check();
    }

    /// It is connected, whoever dialed: there is no need to dial it. Unknown addresses (a peer
    /// that dialed us has a port of no use) are ignored.
    pub fn connected(&mut self, address: SocketAddr) {
        self.take(canonical(address));
        self.check();
    }

    /// The connection ended. After a `useful` one (data flowed, or it would have) it is tried
    /// again soon, after a useless one as late as after a failure.
    pub fn lost(&mut self, address: SocketAddr, now: Instant, useful: bool) {
        self.retire(address, now, useful);
    }

    /// The connection broke while it was giving. To be called after [`lost`](Self::lost).
    pub fn broke(&mut self, address: SocketAddr, now: Instant) {
        let address = canonical(address);
        let Some(candidate) = self.known.get_mut(&address) else { return };
        candidate.quick = QUICK_RETRIES;
        self.wait_with_jitter(address, QUICK_RETRY, now);
    }

    /// Forgets the address and will not learn it again: it is our own.
    pub fn exclude(&mut self, address: SocketAddr) {
        let address = canonical(address);
        self.forget(address);
        if !self.own.contains(&address) {
            if self.own.len() >= MAX_OWN {
                self.own.pop_front();
            }
            self.own.push_back(address);
        }
        self.check();
    }

    /// Forgets every address of this host and takes none of it again. Tells whether that is new.
    pub fn ban(&mut self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        if !self.banned.insert(ip) {
            return false;
        }
        self.ban_order.push_back(ip);
        if self.ban_order.len() > MAX_BANS {
            let oldest = self.ban_order.pop_front().expect("there are more than none");
            self.banned.remove(&oldest);
        }
        let known: Vec<SocketAddr> = self.known.range(ports(ip)).map(|(a, _)| *a).collect();
        known.into_iter().for_each(|address| self.forget(address));
        self.check();
        true
    }

    /// Whether this host was banned: its connections should be refused too.
    pub fn is_banned(&self, ip: IpAddr) -> bool {
        self.banned.contains(&ip.to_canonical())
    }

    /// Makes room for one from `source`: the one with the most failures goes, or else the least
    /// trusted if the new one is trusted more. Those in use stay.
    fn make_room(&mut self, source: Source) -> bool {
        let waiting = self.known.iter().filter(|(_, c)| c.turn.is_some());
        let worst = waiting.max_by_key(|(_, c)| (c.failures, c.source, c.turn));
        match worst {
            Some((address, c)) if c.failures > 0 || c.source > source => {
                let address = *address;
                self.forget(address);
                true
            }
            _ => false,
        }
    }

    fn retire(&mut self, address: SocketAddr, now: Instant, useful: bool) {
        let address = canonical(address);
        let Some(candidate) = self.known.get_mut(&address) else { return };
        candidate.quick = candidate.quick.saturating_sub(1);
        if candidate.quick > 0 && !useful {
            let tried = QUICK_RETRIES - candidate.quick;
            return self.wait_with_jitter(address, QUICK_RETRY * (1 << tried), now);
        }
        candidate.failures = if useful { 0 } else { candidate.failures.saturating_add(1) };
        let doublings = candidate.failures.saturating_sub(1).min(16);
        let wait = FIRST_RETRY.saturating_mul(1 << doublings).min(LONGEST_RETRY);
        self.wait_with_jitter(address, wait, now);
    }

    /// Up to a quarter more, so that two peers that dial each other do not collide for ever.
    fn wait_with_jitter(&mut self, address: SocketAddr, wait: Duration, now: Instant) {
        let jitter = wait / 4 * self.rng.below(1000) / 1000;
        self.wait_until(address, now + wait + jitter);
        self.check();
    }

    /// Puts a known address into the queue, wherever it was.
    fn wait_until(&mut self, address: SocketAddr, due: Instant) {
        self.take(address);
        let turn = (due, self.rng.next_u64());
        if let Some(candidate) = self.known.get_mut(&address) {
            candidate.turn = Some(turn);
            self.queue.insert((turn, address));
        }
    }

    /// Takes a known address out of the queue, if it is there.
    fn take(&mut self, address: SocketAddr) {
        if let Some(turn) = self.known.get_mut(&address).and_then(|c| c.turn.take()) {
            self.queue.remove(&(turn, address));
        }
    }

    fn forget(&mut self, address: SocketAddr) {
        self.take(address);
        self.known.remove(&address);
    }

    /// The queue holds exactly those that have a turn.
    fn check(&self) {
        debug_assert!(self.queue.len() <= self.known.len() && self.known.len() <= MAX_CANDIDATES);
        #[cfg(test)]
        {
            let waiting: sorted::Set<(Turn, SocketAddr)> =
                self.known.iter().filter_map(|(a, c)| Some((c.turn?, *a))).collect();
            assert_eq!(waiting, self.queue);
        }
    }
}

/// IPv4 written as IPv6 (as a socket that takes both tells it) becomes IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// All addresses of a host.
fn ports(ip: IpAddr) -> std::ops::RangeInclusive<SocketAddr> {
    SocketAddr::new(ip, 0)..=SocketAddr::new(ip, u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list and a clock that starts at 0.
    struct Play {
        list: Candidates,
        start: Instant,
    }

    fn play() -> Play {
        Play { list: Candidates::new(Rng::new(5)), start: Instant::now() }
    }

    impl Play {
        fn at(&self, second: u64) -> Instant {
            self.start + Duration::from_secs(second)
        }

        fn adds(&mut self, second: u64, text: &str) -> bool {
            self.list.add(addr(text), Source::Tracker, self.at(second))
        }

        fn dials(&mut self, second: u64) -> Option<String> {
            self.list.next(self.at(second)).map(|a| a.to_string())
        }

        fn fails(&mut self, second: u64, text: &str) {
            self.list.failed(addr(text), self.at(second));
        }

        /// Seconds from the start to the next deadline.
        fn deadline(&self) -> Option<f64> {
            self.list.next_deadline().map(|d| (d - self.start).as_secs_f64())
        }
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn numbered(n: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, (n / 256) as u8, (n % 256) as u8], 6881))
    }

    #[test]
    fn an_address_is_dialed_once_and_not_while_it_is_in_use() {
        let mut p = play();
        assert!(p.adds(0, "1.2.3.4:5"));
        assert_eq!(p.deadline(), Some(0.0));
        assert_eq!(p.dials(0).as_deref(), Some("1.2.3.4:5"));
        assert!(!p.adds(1, "1.2.3.4:5"));
        assert!(!p.adds(1, "[::ffff:1.2.3.4]:5"));
        p.list.connected(addr("1.2.3.4:5"));
        assert_eq!((p.dials(99_999), p.deadline(), p.list.len()), (None, None, 1));
    }

    #[test]
    fn one_who_dialed_us_is_not_dialed() {
        let mut p = play();
        p.adds(0, "1.2.3.4:5");
        p.list.connected(addr("[::ffff:1.2.3.4]:5"));
        p.list.connected(addr("9.9.9.9:40000"));
        assert_eq!((p.dials(9), p.list.len()), (None, 1));
    }

    #[test]
    fn each_failure_doubles_the_wait_up_to_the_cap() {
        let mut p = play();
        p.adds(0, "1.2.3.4:5");
        let mut now = 0;
        for wait in [30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0] {
            assert!(p.dials(now).is_some());
            p.fails(now, "1.2.3.4:5");
            let waited = p.deadline().unwrap() - now as f64;
            assert!((wait..wait * 1.25).contains(&waited), "{waited} for {wait}");
            assert_eq!(p.dials(now + wait as u64 - 1), None);
            now += waited.ceil() as u64;
        }
    }

    #[test]
    fn being_told_again_does_not_shorten_the_wait() {
        let mut p = play();
        p.adds(0, "1.2.3.4:5");
        p.dials(0);
        p.fails(0, "1.2.3.4:5");
        assert!(!p.adds(1, "1.2.3.4:5"));
        assert_eq!(p.dials(29), None);
    }

    #[test]
    fn a_useful_connection_is_sought_again_soon_and_a_useless_one_ever_later() {
        let mut p = play();
        p.adds(0, "1.2.3.4:5");
        for (useful, waits) in [(false, 30.0..37.5), (false, 60.0..75.0), (true, 30.0..37.5)] {
            p.list.lost(addr("1.2.3.4:5"), p.at(0), useful);
            assert!(waits.contains(&p.deadline().unwrap()), "{:?}", p.deadline());
        }
    }

    #[test]
    fn one_that_was_giving_is_sought_at_once_and_then_as_any_other() {
        let mut p = play();
        p.adds(0, "1.2.3.4:5");
        p.list.lost(addr("1.2.3.4:5"), p.at(0), true);
        p.list.broke(addr("1.2.3.4:5"), p.at(0));
        for waits in [4.0..5.0, 8.0..10.0, 16.0..20.0, 30.0..37.5, 60.0..75.0] {
            assert!(waits.contains(&p.deadline().unwrap()), "{:?}", p.deadline());
            p.list.failed(addr("1.2.3.4:5"), p.at(0));
        }
    }

    #[test]
    fn a_banned_host_is_forgotten_on_all_ports_and_not_learnt_again() {
        let mut p = play();
        for text in ["1.2.3.4:5", "1.2.3.4:6", "1.2.3.5:5", "1.2.3.3:5"] {
            p.adds(0, text);
        }
        p.list.ban("::ffff:1.2.3.4".parse().unwrap());
        assert_eq!(p.list.len(), 2);
        assert!(p.list.is_banned("1.2.3.4".parse().unwrap()));
        assert!(!p.list.is_banned("1.2.3.5".parse().unwrap()));
        assert!(!p.adds(1, "1.2.3.4:7"));
        p.list.lost(addr("1.2.3.4:5"), p.at(1), true);
        assert_eq!(p.list.len(), 2);
    }

    #[test]
    fn bans_are_bounded_and_the_oldest_ends_first() {
        let mut p = play();
        for n in 0..=MAX_BANS {
            p.list.ban(numbered(n).ip());
            p.list.ban(numbered(n).ip());
        }
        assert!(!p.list.is_banned(numbered(0).ip()));
        assert!(p.list.is_banned(numbered(1).ip()) && p.list.is_banned(numbered(MAX_BANS).ip()));
    }

    #[test]
    fn our_own_address_is_not_dialed() {
        let mut p = play();
        p.adds(0, "1.2.3.4:5");
        p.dials(0);
        p.list.exclude(addr("1.2.3.4:5"));
        p.fails(0, "1.2.3.4:5");
        assert!(!p.adds(1, "1.2.3.4:5"));
        assert!(p.adds(1, "1.2.3.4:6") && p.list.len() == 1);
    }

    #[test]
    fn a_full_list_gives_up_the_worst_and_only_for_a_better_one() {
        let mut p = play();
        for n in 0..MAX_CANDIDATES {
            assert!(p.list.add(numbered(n), Source::Peer, p.at(0)));
        }
        assert!(!p.list.add(addr("1.1.1.1:6001"), Source::Peer, p.at(1)));
        assert!(p.list.add(addr("1.1.1.1:1"), Source::Tracker, p.at(1)));
        let dead = p.list.next(p.at(1)).unwrap();
        p.list.failed(dead, p.at(1));
        assert!(p.list.add(addr("1.1.1.1:6002"), Source::Peer, p.at(2)));
        assert!(!p.list.known.contains_key(&dead));
        assert_eq!(p.list.len(), MAX_CANDIDATES);
    }

    #[test]
    fn peers_cannot_have_us_knock_at_other_services_or_at_all_ports_of_a_stranger() {
        let mut p = play();
        let at = |ip: &str, port| addr(&format!("{ip}:{port}"));
        for (ip, expected) in [("1.2.3.4", MAX_TOLD_OF_HOST), ("192.168.1.2", 20)] {
            assert_eq!(p.list.add(at(ip, 25), Source::Peer, p.at(0)), ip != "1.2.3.4");
            let mut told = 0;
            for port in 2_000..2_020 {
                told += usize::from(p.list.add(at(ip, port), Source::Peer, p.at(0)));
            }
            assert_eq!(told, expected, "{ip}");
        }
        assert!(p.adds(0, "1.2.3.4:25") && p.adds(0, "1.2.3.4:3000"), "a tracker knows better");
    }

    #[test]
    fn those_in_use_never_make_room() {
        let mut p = play();
        for n in 0..MAX_CANDIDATES {
            p.list.add(numbered(n), Source::Peer, p.at(0));
            p.list.next(p.at(0));
        }
        assert!(!p.list.add(addr("1.1.1.1:1"), Source::Tracker, p.at(1)));
    }

    #[test]
    fn what_is_added_together_is_tried_in_an_order_the_seed_decides() {
        let order = |seed| {
            let (mut list, now) = (Candidates::new(Rng::new(seed)), Instant::now());
            (0..20).for_each(|n| assert!(list.add(numbered(n), Source::Tracker, now)));
            std::iter::from_fn(|| list.next(now)).collect::<Vec<_>>()
        };
        assert_eq!(order(1).len(), 20);
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }

    #[test]
    fn once_we_know_our_address_the_most_worthy_of_those_due_comes_first() {
        let own: SocketAddr = "123.213.32.10:6881".parse().unwrap();
        for learns_first in [true, false] {
            let mut p = play();
            if learns_first {
                p.list.set_own(own);
            }
            let addresses: Vec<SocketAddr> =
                (0..50u8).map(|n| SocketAddr::from(([98, n, 54, 32], 6881))).collect();
            for (n, address) in addresses.iter().enumerate() {
                p.list.add(*address, Source::Tracker, p.at(n as u64));
            }
            let late = addr("98.255.54.32:6881");
            p.list.add(late, Source::Tracker, p.at(1000));
            p.list.set_own(own);
            let got: Vec<SocketAddr> = std::iter::from_fn(|| p.list.next(p.at(100))).collect();
            let mut expected = addresses;
            expected.sort_by_key(|a| std::cmp::Reverse(peer_priority(own, *a)));
            assert_eq!(got, expected);
            assert!(p.list.worth(late) > 0);
        }
    }

    #[test]
    fn any_sequence_of_calls_keeps_the_queue_true() {
        let mut p = play();
        let mut rng = Rng::new(11);
        for second in 0..3000 {
            let now = p.at(second);
            let address = numbered(rng.below(40) as usize);
            match rng.below(9) {
                0 | 1 => drop(p.list.add(address, Source::Tracker, now)),
                2 | 3 => drop(p.list.next(now)),
                4 => p.list.failed(address, now),
                5 => p.list.connected(address),
                6 => p.list.lost(address, now, true),
                7 if second % 50 == 0 => drop(p.list.ban(address.ip())),
                8 if second % 50 == 0 => p.list.exclude(address),
                _ => p.list.lost(address, now, false),
            }
        }
        assert!(p.list.len() <= 40);
    }

    #[test]
    fn in_a_hurry_those_are_dialed_at_once_that_did_not_fail_often() {
        let now = Instant::now();
        let mut candidates = Candidates::new(Rng::new(1));
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        for (port, failures) in [(1, 0), (2, 1), (3, MANY_FAILURES)] {
            candidates.add(address(port), Source::Tracker, now);
            assert_eq!(candidates.next(now), Some(address(port)));
            candidates.lost(address(port), now, true);
            (0..failures).for_each(|_| candidates.failed(address(port), now));
        }
        assert_eq!(candidates.next(now), None);
        candidates.hurry(now);
        let mut next = [candidates.next(now), candidates.next(now)];
        next.sort();
        assert_eq!(next, [Some(address(1)), Some(address(2))]);
        assert_eq!(candidates.next(now), None);
    }
}
