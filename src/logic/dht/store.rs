//! The peers that other nodes had listed with us (BEP 5), and the tokens by which they prove that
//! they are where they say.

use super::table::is_same_host;
use crate::logic::rng::Rng;
use crate::proto::hash::sha1;
use crate::proto::ids::InfoHash;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Torrents whose peers are listed; further ones are not taken.
const MAX_TORRENTS: usize = 1000;

/// Peers listed of one torrent; the oldest goes when another comes.
const MAX_PEERS: usize = 100;

/// Peers listed of all torrents.
const MAX_ALL: usize = 10_000;

/// Peers of one host listed of one torrent, and torrents of which it may be listed before they are
/// listed for others too: nobody fills the lists alone. At home each port is a host.
const MAX_EACH: (usize, usize) = (4, 50);

/// Peers in one answer, so that it stays in one packet.
const MAX_ANSWER: usize = 32;

/// A peer that does not say so again is forgotten after this.
const LIFE: Duration = Duration::from_secs(45 * 60);

/// A token in bytes: few, for it is part of the first answer that somebody gets, and many enough for
/// sixty guesses a minute.
const TOKEN: usize = 3;

/// A token is good for at least this, and at most twice as long (BEP 5).
const TOKEN_LIFE: Duration = Duration::from_secs(5 * 60);

/// Listed peers, and the secret behind the tokens.
#[derive(Debug)]
pub struct Store {
    torrents: HashMap<InfoHash, Vec<(SocketAddr, Instant)>>,
    count: usize,
    secret: u64,
    began: Instant,
}

impl Store {
    /// An empty one. Whoever can guess the secret can list others.
    pub fn new(secret: u64, now: Instant) -> Store {
        Store { torrents: HashMap::new(), count: 0, secret, began: now }
    }

    /// What somebody at this address must say to be listed.
    pub fn token(&self, ip: IpAddr, now: Instant) -> Vec<u8> {
        self.token_of(ip, self.epoch(now))
    }

    /// Whether it is what he was told a short time ago.
    pub fn is_token(&self, token: &[u8], ip: IpAddr, now: Instant) -> bool {
        let epoch = self.epoch(now);
        [Some(epoch), epoch.checked_sub(1)]
            .into_iter()
            .flatten()
            .any(|epoch| token == self.token_of(ip, epoch))
    }

    fn epoch(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs() / TOKEN_LIFE.as_secs()
    }

    fn token_of(&self, ip: IpAddr, epoch: u64) -> Vec<u8> {
        let ip = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let secret = [self.secret.to_be_bytes(), epoch.to_be_bytes()].concat();
        sha1(&[secret, ip].concat())[..TOKEN].to_vec()
    }

    /// Lists a peer.
    pub fn list(&mut self, info_hash: InfoHash, peer: SocketAddr, now: Instant) {
        let is_here = |(at, _): &(SocketAddr, Instant)| is_same_host(*at, peer);
        if !self.torrents.contains_key(&info_hash) {
            if self.torrents.len() >= MAX_TORRENTS || self.count >= MAX_ALL {
                return;
            }
            let of_host = self.torrents.values().filter(|peers| peers.iter().any(is_here));
            if of_host.count() >= MAX_EACH.1 {
                return;
            }
        }
        let peers = self.torrents.entry(info_hash).or_default();
        if let Some((_, since)) = peers.iter_mut().find(|(at, _)| *at == peer) {
            *since = now;
            return;
        }
        let has_enough = peers.iter().filter(|at| is_here(at)).count() >= MAX_EACH.0;
        let is_full = has_enough || peers.len() >= MAX_PEERS || self.count >= MAX_ALL;
        let replaced = (0..peers.len()).filter(|n| !has_enough || is_here(&peers[*n]));
        if let Some(oldest) = replaced.min_by_key(|n| peers[*n].1).filter(|_| is_full) {
            peers[oldest] = (peer, now);
            return;
        }
        peers.push((peer, now));
        self.count += 1;
    }

    /// Some peers of a torrent, of one family.
    pub fn peers(&self, info_hash: &InfoHash, six: bool, rng: &mut Rng) -> Vec<SocketAddr> {
        let all = self.torrents.get(info_hash).into_iter().flatten();
        let mut peers: Vec<SocketAddr> =
            all.map(|(at, _)| *at).filter(|at| at.is_ipv6() == six).collect();
        if peers.len() > MAX_ANSWER {
            rng.shuffle(&mut peers);
            peers.truncate(MAX_ANSWER);
        }
        peers
    }

    /// Forgets who has not been heard of for long.
    pub fn expire(&mut self, now: Instant) {
        self.torrents.retain(|_, peers| {
            peers.retain(|(_, since)| now.saturating_duration_since(*since) < LIFE);
            !peers.is_empty()
        });
        self.count = self.torrents.values().map(Vec::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u32) -> SocketAddr {
        SocketAddr::new(IpAddr::from((0x0500_0000 + n).to_be_bytes()), 6881)
    }

    #[test]
    fn a_token_is_good_for_its_address_and_some_minutes() {
        let now = Instant::now();
        let store = Store::new(7, now);
        let token = store.token(at(1).ip(), now);
        for (minutes, good) in [(0, true), (5, true), (9, true), (10, false), (500, false)] {
            let later = now + Duration::from_secs(60 * minutes);
            assert_eq!(store.is_token(&token, at(1).ip(), later), good, "{minutes}");
        }
        assert!(!store.is_token(&token, at(2).ip(), now) && !store.is_token(b"", at(1).ip(), now));
        assert!(!Store::new(8, now).is_token(&token, at(1).ip(), now), "another secret");
    }

    #[test]
    fn who_is_listed_is_found_until_he_is_forgotten() {
        let (mut rng, now) = (Rng::new(1), Instant::now());
        let (mut store, hash) = (Store::new(1, now), InfoHash([1; 20]));
        store.list(hash, at(1), now);
        store.list(hash, at(2), now + LIFE / 2);
        store.list(hash, "[2001:db8::1]:5".parse().unwrap(), now + LIFE / 2);
        assert_eq!(store.peers(&hash, false, &mut rng), [at(1), at(2)]);
        assert_eq!(store.peers(&hash, true, &mut rng).len(), 1);
        assert!(store.peers(&InfoHash([2; 20]), false, &mut rng).is_empty());
        store.expire(now + LIFE);
        assert_eq!(store.peers(&hash, false, &mut rng), [at(2)]);
        store.expire(now + LIFE * 2);
        assert_eq!((store.torrents.len(), store.count), (0, 0));
    }

    #[test]
    fn nobody_fills_the_lists_alone() {
        let (mut rng, now) = (Rng::new(1), Instant::now());
        let mut store = Store::new(1, now);
        let [hash, other] = [InfoHash([1; 20]), InfoHash([2; 20])];
        store.list(hash, at(1), now);
        let later = now + Duration::from_secs(1);
        for port in 2000..4000 {
            store.list(hash, SocketAddr::new(at(2).ip(), port), later);
        }
        let peers = store.peers(&hash, false, &mut rng);
        assert!(peers.contains(&at(1)) && peers.len() == 1 + MAX_EACH.0, "{peers:?}");
        for n in 0..2000u16 {
            let hash = std::array::from_fn(|i| (n >> (i % 2 * 8)) as u8);
            store.list(InfoHash(hash), at(2), later);
        }
        assert!(store.torrents.len() <= MAX_EACH.1);
        store.list(other, at(3), later);
        assert_eq!(store.peers(&other, false, &mut rng), [at(3)]);
        for port in 2000..2010 {
            store.list(other, SocketAddr::new([192, 168, 1, 1].into(), port), later);
        }
        assert_eq!(store.peers(&other, false, &mut rng).len(), 11, "at home there may be many");
    }

    #[test]
    fn what_is_listed_is_bounded() {
        let (mut rng, now) = (Rng::new(1), Instant::now());
        let mut store = Store::new(1, now);
        for n in 0..150_000u32 {
            let hash: [u8; 20] = std::array::from_fn(|i| ((n % 1500) >> (i % 2 * 8)) as u8);
            store.list(InfoHash(hash), at(n), now);
        }
        assert!(store.torrents.len() <= MAX_TORRENTS && store.count <= MAX_ALL);
        assert!(store.torrents.values().all(|peers| peers.len() <= MAX_PEERS));
        assert_eq!(store.peers(&InfoHash([0; 20]), false, &mut rng).len(), 10.min(MAX_ANSWER));
    }
}
