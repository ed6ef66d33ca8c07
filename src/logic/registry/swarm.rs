//! The peers of one torrent, and the choice among them.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::logic::rng::Rng;
use crate::proto::announce::answer::{Counts, Crypto, Form, Key, Listed};
use crate::proto::ids::PeerId;

/// Peers looked at for one answer, beyond four times those wanted. A swarm in which nearly all are
/// unfit to be listed then costs a short list, not a walk through everybody.
const LOOKS: usize = 64;

/// Up to so many peers are searched one by one: that is faster than a table, and most swarms of a
/// tracker are as small as this.
const SEARCHED: usize = 24;

/// Up to so many peers a swarm has memory for just those: a tracker has many swarms of one or two.
const EXACT: usize = 4;

/// A peer as the tracker knows it: 80 bytes, and some 30 of the table beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub id: PeerId,
    /// The address it announces from.
    pub ip: IpAddr,
    /// The address it wants to be listed by, if that was believed. Rare, hence the box.
    pub given: Option<Box<IpAddr>>,
    /// Where it listens; 0 = nowhere, and it is never listed.
    pub port: u16,
    /// How it stands to crypto.
    pub crypto: Crypto,
    /// Its secret.
    pub key: Option<Key>,
    /// Bytes it still needs; 0 = it is a seed.
    pub left: u64,
    /// When it was last heard of, in seconds of the registry's clock; 0 = not in this run.
    pub seen: u32,
}

impl Peer {
    fn is_seed(&self) -> bool {
        self.left == 0
    }

    fn suits(&self, form: Form) -> bool {
        let crypto = match form {
            Form::WithFlags => true,
            Form::CryptoOnly => self.crypto != Crypto::Plain,
            Form::Compact | Form::Dicts | Form::DictsWithoutId => self.crypto != Crypto::Required,
        };
        crypto && self.port != 0
    }

    fn listed(&self) -> Listed {
        let ip = self.given.as_deref().copied().unwrap_or(self.ip);
        Listed { id: self.id, ip, port: self.port, crypto: self.crypto }
    }
}

/// The peers of one torrent.
#[derive(Debug, Default)]
pub struct Swarm {
    /// Leechers first, then seeds; else in no order.
    peers: Vec<Peer>,
    /// How many of them are leechers.
    leechers: usize,
    /// Where each stands, once they are more than [`SEARCHED`].
    places: Option<HashMap<PeerId, u32>>,
    /// Completed downloads.
    pub completed: u32,
    /// Whether the dedicated seed was there.
    pub seeded: bool,
}

impl Swarm {
    /// How many peers there are.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// What a scrape tells.
    pub fn counts(&self) -> Counts {
        let count = |n| u32::try_from(n).unwrap_or(u32::MAX);
        Counts {
            complete: count(self.peers.len() - self.leechers),
            downloaded: self.completed,
            incomplete: count(self.leechers),
        }
    }

    /// All peers.
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// The place of a peer, until the next change of the swarm.
    pub fn find(&self, id: &PeerId) -> Option<usize> {
        match &self.places {
            Some(table) => table.get(id).map(|place| *place as usize),
            None => self.peers.iter().position(|p| p.id == *id),
        }
    }

    /// Adds a peer that is not there yet.
    pub fn insert(&mut self, peer: Peer) {
        let (last, leecher) = (self.peers.len(), !peer.is_seed());
        self.note(peer.id, last);
        if last < EXACT {
            self.peers.reserve_exact(1);
        }
        self.peers.push(peer);
        if leecher {
            self.swap(last, self.leechers);
            self.leechers += 1;
        }
        if self.places.is_none() && self.peers.len() > SEARCHED {
            self.places = Some((0..).zip(&self.peers).map(|(n, p)| (p.id, n)).collect());
        }
        self.check();
    }

    /// Changes the peer at a place, other than its name.
    pub fn update(&mut self, place: usize, change: impl FnOnce(&mut Peer)) {
        change(&mut self.peers[place]);
        match (place < self.leechers, self.peers[place].is_seed()) {
            (true, true) => {
                self.leechers -= 1;
                self.swap(place, self.leechers);
            }
            (false, false) => {
                self.swap(place, self.leechers);
                self.leechers += 1;
            }
            _ => {}
        }
        self.check();
    }

    /// Takes out the peer at a place.
    pub fn remove(&mut self, mut place: usize) -> Peer {
        if place < self.leechers {
            self.leechers -= 1;
            self.swap(place, self.leechers);
            place = self.leechers;
        }
        self.swap(place, self.peers.len() - 1);
        let gone = self.peers.pop().expect("a place is inside");
        if let Some(table) = &mut self.places {
            table.remove(&gone.id);
        }
        self.check();
        gone
    }

    /// Keeps only the peers that `stays` says, and gives unused memory back.
    pub fn retain(&mut self, stays: impl Fn(&Peer) -> bool) {
        for place in (0..self.peers.len()).rev() {
            if !stays(&self.peers[place]) {
                self.remove(place);
            }
        }
        if self.peers.len() < self.peers.capacity() / 2 {
            self.peers.shrink_to_fit();
            if self.peers.len() <= SEARCHED {
                self.places = None;
            } else if let Some(table) = &mut self.places {
                table.shrink_to_fit();
            }
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        if a != b {
            self.peers.swap(a, b);
            self.note(self.peers[a].id, a);
            self.note(self.peers[b].id, b);
        }
    }

    fn note(&mut self, id: PeerId, place: usize) {
        if let Some(table) = &mut self.places {
            table.insert(id, u32::try_from(place).expect("MAX_PEERS is far below 2^32"));
        }
    }

    /// Up to `want` peers that suit `form`, at random. Leechers get their share of the answer as
    /// they have of the swarm, the rest are seeds; a seed is told of leechers only. Costs O(want),
    /// however large the swarm.
    pub fn choose(&self, want: usize, form: Form, for_seed: bool, rng: &mut Rng) -> Vec<Listed> {
        let (leechers, seeds) = self.peers.split_at(self.leechers);
        let mut walk = Walk::new(leechers, want, rng);
        let mut chosen = Vec::with_capacity(want.min(self.peers.len()));
        if !for_seed {
            // 128 bits: a product of two counts may pass 32, and usize may have no more.
            let share = want as u128 * leechers.len() as u128 / self.peers.len().max(1) as u128;
            walk.take(share as usize, form, &mut chosen);
            Walk::new(seeds, want, rng).take(want, form, &mut chosen);
        }
        walk.take(want, form, &mut chosen);
        chosen
    }

    #[cfg(not(debug_assertions))]
    fn check(&self) {}

    /// The borders between leechers and seeds, and the table, are true.
    #[cfg(debug_assertions)]
    fn check(&self) {
        if self.peers.len() > 200 {
            return;
        }
        assert!(self.peers[..self.leechers].iter().all(|p| !p.is_seed()));
        assert!(self.peers[self.leechers..].iter().all(Peer::is_seed));
        if let Some(table) = &self.places {
            assert_eq!(table.len(), self.peers.len());
            assert!(self.peers.iter().enumerate().all(|(n, p)| table[&p.id] as usize == n));
        }
    }
}

/// A walk through peers that meets each once, from a random start with a random stride, so that
/// all are listed equally often and neighbours are not always listed together.
struct Walk<'a> {
    peers: &'a [Peer],
    at: usize,
    stride: usize,
    /// Peers it may still look at.
    looks: usize,
}

impl<'a> Walk<'a> {
    fn new(peers: &'a [Peer], want: usize, rng: &mut Rng) -> Walk<'a> {
        let n = u32::try_from(peers.len()).unwrap_or(u32::MAX);
        let mut stride = 1;
        // Most numbers have no divisor in common with n; a few draws find one. 1 always does.
        for _ in 0..8 {
            let draw = 1 + rng.below(n);
            if gcd(draw, n) == 1 {
                stride = draw as usize;
                break;
            }
        }
        let looks = peers.len().min(want.saturating_mul(4).saturating_add(LOOKS));
        Walk { peers, at: rng.below(n) as usize, stride, looks }
    }

    /// Goes on until `chosen` holds `up_to`.
    fn take(&mut self, up_to: usize, form: Form, chosen: &mut Vec<Listed>) {
        while chosen.len() < up_to && self.looks > 0 {
            self.looks -= 1;
            let peer = &self.peers[self.at];
            if peer.suits(form) {
                chosen.push(peer.listed());
            }
            self.at = (self.at + self.stride) % self.peers.len();
        }
    }
}

fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::net::Ipv4Addr;

    fn peer(n: u32, left: u64) -> Peer {
        let mut id = [0; 20];
        id[..4].copy_from_slice(&n.to_be_bytes());
        Peer {
            id: PeerId(id),
            ip: Ipv4Addr::from(n).into(),
            given: None,
            port: 1,
            crypto: Crypto::Plain,
            key: None,
            left,
            seen: 0,
        }
    }

    fn swarm(leechers: u32, seeds: u32) -> Swarm {
        let mut swarm = Swarm::default();
        (0..leechers).for_each(|n| swarm.insert(peer(n, 1)));
        (leechers..leechers + seeds).for_each(|n| swarm.insert(peer(n, 0)));
        swarm
    }

    #[test]
    fn a_peer_is_as_small_as_promised() {
        assert!(size_of::<Peer>() <= 80, "{}", size_of::<Peer>());
    }

    #[test]
    fn borders_and_table_stay_true_through_any_changes() {
        let mut rng = Rng::new(3);
        let mut swarm = Swarm::default();
        let mut model = std::collections::HashMap::new();
        for _ in 0..4000 {
            let n = rng.below(60);
            let left = u64::from(rng.below(2));
            match (swarm.find(&peer(n, 0).id), rng.below(3)) {
                (Some(place), 0) => assert_eq!(swarm.remove(place).left, model.remove(&n).unwrap()),
                (Some(place), _) => {
                    swarm.update(place, |p| p.left = left);
                    model.insert(n, left);
                }
                (None, _) => {
                    swarm.insert(peer(n, left));
                    model.insert(n, left);
                }
            }
        }
        swarm.retain(|p| p.ip != Ipv4Addr::from(5));
        model.remove(&5);
        assert_eq!(swarm.len(), model.len());
        let seeds = model.values().filter(|l| **l == 0).count();
        assert_eq!(swarm.counts().complete as usize, seeds);
        swarm.retain(|_| false);
        assert!(swarm.is_empty() && swarm.places.is_none());
    }

    #[test]
    fn an_answer_never_lists_anybody_twice() {
        let mut rng = Rng::new(1);
        for (leechers, seeds) in [(0, 0), (1, 0), (0, 1), (7, 3), (100, 2), (3, 100), (64, 64)] {
            let swarm = swarm(leechers, seeds);
            for want in [0, 1, 5, 50, 1000] {
                let all = swarm.choose(want, Form::Compact, false, &mut rng);
                assert_eq!(all.len(), want.min(swarm.len()), "{leechers}+{seeds}, {want}");
                assert_eq!(all.iter().map(|p| p.id).collect::<HashSet<_>>().len(), all.len());
            }
        }
    }

    #[test]
    fn leechers_have_their_share_and_seeds_hear_of_leechers_only() {
        let (swarm, mut rng) = (swarm(90, 30), Rng::new(1));
        let leechers = |list: &[Listed]| list.iter().filter(|p| p.id < peer(90, 0).id).count();
        let list = swarm.choose(40, Form::Compact, false, &mut rng);
        assert_eq!((list.len(), leechers(&list)), (40, 30));
        let list = swarm.choose(100, Form::Compact, true, &mut rng);
        assert_eq!((list.len(), leechers(&list)), (90, 90));
    }

    #[test]
    fn everybody_is_listed_equally_often() {
        let (swarm, mut rng) = (swarm(200, 0), Rng::new(1));
        let mut times = std::collections::HashMap::new();
        for _ in 0..4000 {
            for listed in swarm.choose(10, Form::Compact, false, &mut rng) {
                *times.entry(listed.id).or_insert(0) += 1;
            }
        }
        // 200 expected; five standard deviations are 70.
        assert_eq!(times.len(), 200);
        assert!(times.values().all(|t| (130..270).contains(t)), "{times:?}");
    }

    #[test]
    fn a_swarm_of_hidden_peers_costs_no_walk_through_all_of_them() {
        let mut swarm = swarm(5000, 0);
        (0..4999).for_each(|place| swarm.peers[place].port = 0);
        assert!(swarm.choose(10, Form::Compact, false, &mut Rng::new(1)).len() <= 1);
        let walk = Walk::new(swarm.peers(), 10, &mut Rng::new(1));
        assert_eq!(walk.looks, 104);
    }

    #[test]
    fn crypto_decides_who_suits_whom() {
        let mut swarm = Swarm::default();
        for (n, crypto) in (1..).zip([Crypto::Plain, Crypto::Supported, Crypto::Required]) {
            swarm.insert(Peer { crypto, ..peer(n, 1) });
        }
        let ids = |form| {
            let list = swarm.choose(9, form, false, &mut Rng::new(1));
            let mut ids: Vec<u8> = list.iter().map(|p| p.id.0[3]).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(ids(Form::Compact), [1, 2]);
        assert_eq!(ids(Form::Dicts), [1, 2]);
        assert_eq!(ids(Form::CryptoOnly), [2, 3]);
        assert_eq!(ids(Form::WithFlags), [1, 2, 3]);
    }
}
