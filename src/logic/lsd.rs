//! Local service discovery (BEP 14): when those on the same link are told what we share, and who
//! of them shares the same.
//!
//! Played by `app::client::lsd`. It is for torrents that are not private, which is the caller's to
//! know, and for packets of hosts on our link, whom no stranger can be.

use crate::proto::ids::InfoHash;
use crate::proto::lsd::{Announce, MAX_TORRENTS};
use crate::proto::order;
use crate::proto::sorted;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A torrent is told so often.
const INTERVAL: Duration = Duration::from_secs(300);

/// Packets are no closer than this, whatever is to be told.
const GAP: Duration = Duration::from_secs(60);

/// Peers that are heard of in a minute; who tells of more is passed over.
const MAX_HEARD: usize = 100;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Tell everybody on the link.
    Tell(Announce),
    /// This one shares that torrent.
    Found(InfoHash, SocketAddr),
}

/// See the head of this file.
pub struct LocalDiscovery {
    port: u16,
    cookie: String,
    /// What is shared, and when it is to be told.
    torrents: sorted::Map<InfoHash, Instant>,
    /// When the next packet may leave.
    open: Instant,
    /// How many peers were heard of since then.
    heard: (Instant, usize),
    steps: VecDeque<Step>,
}

impl LocalDiscovery {
    /// Somebody who takes peers at this port; `random` is what its packets are known by.
    pub fn new(port: u16, random: u64, now: Instant) -> LocalDiscovery {
        LocalDiscovery {
            port,
            cookie: format!("{random:016x}"),
            torrents: sorted::Map::new(),
            open: now,
            heard: (now, 0),
            steps: VecDeque::new(),
        }
    }

    /// Shares this torrent from now on.
    pub fn want(&mut self, info_hash: InfoHash, now: Instant) {
        self.torrents.entry(info_hash).or_insert(now);
    }

    /// Shares it no more.
    pub fn forget(&mut self, info_hash: InfoHash) {
        self.torrents.remove(&info_hash);
    }

    /// Takes a packet from an address of our link.
    pub fn on_packet(&mut self, from: SocketAddr, packet: &[u8], now: Instant) {
        let Some(announce) = Announce::decode(packet) else { return };
        if announce.cookie.as_ref() == Some(&self.cookie) {
            return;
        }
        if self.heard.0 + GAP <= now {
            self.heard = (now, 0);
        }
        let peer = SocketAddr::new(from.ip(), announce.port);
        for info_hash in announce.torrents {
            if self.torrents.contains_key(&info_hash) && self.heard.1 < MAX_HEARD {
                self.heard.1 += 1;
                self.steps.push_back(Step::Found(info_hash, peer));
            }
        }
    }

    /// When there is something to be told.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.torrents.values().min().map(|due| (*due).max(self.open))
    }

    /// Tells what is due, those first that wait for the longest time.
    pub fn on_time(&mut self, now: Instant) {
        if self.next_deadline().is_none_or(|at| at > now) {
            return;
        }
        let mut due: Vec<(Instant, InfoHash)> =
            self.torrents.iter().filter(|(_, at)| **at <= now).map(|(h, at)| (*at, *h)).collect();
        order::by(&mut due, Ord::cmp);
        due.truncate(MAX_TORRENTS);
        for (_, info_hash) in &due {
            self.torrents.insert(*info_hash, now + INTERVAL);
        }
        self.open = now + GAP;
        let torrents = due.into_iter().map(|(_, info_hash)| info_hash).collect();
        let (port, cookie) = (self.port, Some(self.cookie.clone()));
        self.steps.push_back(Step::Tell(Announce { port, torrents, cookie }));
    }

    /// The next thing to do.
    pub fn next_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: InfoHash = InfoHash([1; 20]);
    const Y: InfoHash = InfoHash([2; 20]);

    fn told(lsd: &mut LocalDiscovery) -> Vec<Vec<InfoHash>> {
        let steps = std::iter::from_fn(|| lsd.next_step());
        let tell = |step| match step {
            Step::Tell(announce) => Some(announce.torrents),
            Step::Found(..) => None,
        };
        steps.filter_map(tell).collect()
    }

    #[test]
    fn a_torrent_is_told_every_five_minutes_and_no_two_packets_leave_in_one() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut lsd = LocalDiscovery::new(6881, 7, start);
        assert_eq!(lsd.next_deadline(), None);
        lsd.want(X, start);
        let mut packets = Vec::new();
        for second in 0..=700 {
            if second == 10 {
                lsd.want(X, at(10));
                lsd.want(Y, at(10));
            }
            if lsd.next_deadline().is_some_and(|due| due <= at(second)) {
                lsd.on_time(at(second));
                packets.extend(told(&mut lsd).into_iter().map(|torrents| (second, torrents)));
            }
        }
        let expected = [(0, X), (60, Y), (300, X), (360, Y), (600, X), (660, Y)];
        assert_eq!(packets, expected.map(|(second, torrent)| (second, vec![torrent])));
        lsd.forget(X);
        assert_eq!(lsd.next_deadline(), Some(at(960)));
    }

    #[test]
    fn of_more_than_a_packet_holds_those_leave_first_that_wait_longest() {
        let start = Instant::now();
        let mut lsd = LocalDiscovery::new(6881, 7, start);
        let all: Vec<InfoHash> = (0..60).map(|n| InfoHash([n; 20])).collect();
        all.iter().for_each(|torrent| lsd.want(*torrent, start));
        let mut seen = Vec::new();
        for minute in 0..3 {
            lsd.on_time(start + GAP * minute);
            let packets = told(&mut lsd);
            assert_eq!(packets.len(), 1);
            assert!(packets[0].len() <= MAX_TORRENTS);
            seen.extend(packets[0].clone());
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn who_shares_the_same_is_found_but_neither_ourselves_nor_more_than_can_be() {
        let start = Instant::now();
        let from = "192.168.0.9:6771".parse().unwrap();
        let mut lsd = LocalDiscovery::new(6881, 7, start);
        lsd.want(X, start);
        let packet = |torrents: &[InfoHash], cookie: &str| {
            Announce { port: 5, torrents: torrents.to_vec(), cookie: Some(cookie.into()) }
                .encode(false)
        };
        lsd.on_packet(from, &packet(&[X], "0000000000000007"), start);
        lsd.on_packet(from, b"junk", start);
        lsd.on_packet(from, &packet(&[Y], "x"), start);
        assert_eq!(lsd.next_step(), None);
        lsd.on_packet(from, &packet(&[Y, X], "x"), start);
        let peer = "192.168.0.9:5".parse().unwrap();
        assert_eq!(lsd.next_step(), Some(Step::Found(X, peer)));
        assert_eq!(lsd.next_step(), None);
        for _ in 0..2 * MAX_HEARD {
            lsd.on_packet(from, &packet(&[X], "x"), start);
        }
        assert_eq!(std::iter::from_fn(|| lsd.next_step()).count(), MAX_HEARD - 1);
        lsd.on_packet(from, &packet(&[X], "x"), start + GAP);
        assert_eq!(std::iter::from_fn(|| lsd.next_step()).count(), 1);
    }
}
