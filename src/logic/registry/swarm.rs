//! The peers of one torrent, and the choice among them.

use super::index::{self, Index};
use super::peer::{Kept, Peer, Shown, Wide, pack, unpack};
use crate::logic::rng::Rng;
use crate::proto::announce::answer::{Counts, Form, Listed};
use crate::proto::ids::PeerId;
use std::ops::Range;

/// Peers looked at for one answer, beyond four times those wanted. A swarm in which nearly all are
/// unfit to be listed then costs a short list, not a walk through everybody.
const LOOKS: usize = 64;

/// Up to so many peers are searched one by one: that is faster than a table, and most swarms of a
/// tracker are as small as this.
const SEARCHED: usize = 24;

/// Room is made for so many further peers at least, but for one at first, since of what somebody
/// invents a second never comes: to move a small swarm costs a tenth of an announce.
const STEP: usize = 3;

/// Whom an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Peers wanted.
    pub want: usize,
    /// The shape of the list.
    pub form: Form,
    /// Whether the asker is a seed, to which others are of no use.
    pub for_seed: bool,
    /// Whether only peers with IPv6 addresses can be listed, or only others; `None` = both.
    pub six: Option<bool>,
}

/// The peers of one torrent. Its functions take the secret by which names are hashed
/// ([`index::hash`]), always the same.
#[derive(Debug, Default)]
pub struct Swarm {
    /// Leechers first, then seeds; else in no order.
    shown: Vec<Shown>,
    /// The rest of each, in the same order.
    kept: Vec<Kept>,
    /// How many of them are leechers.
    leechers: u32,
    /// Completed downloads.
    pub completed: u32,
    /// Where each stands, once they are more than [`SEARCHED`].
    places: Index,
    wides: Option<Box<Wides>>,
    /// Whether the dedicated seed was there.
    pub seeded: bool,
}

/// The addresses of peers that have not room enough for them.
#[derive(Debug, Default, Clone)]
struct Wides {
    list: Vec<Wide>,
    /// Numbers that are not in use.
    free: Vec<u32>,
}

impl Wides {
    fn add(&mut self, wide: Wide) -> u32 {
        if let Some(number) = self.free.pop() {
            self.list[number as usize] = wide;
            return number;
        }
        self.list.push(wide);
        u32::try_from(self.list.len() - 1).expect("fewer peers than 2^32")
    }
}

impl Swarm {
    /// How many peers there are.
    pub fn len(&self) -> usize {
        self.shown.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    /// How many of them are seeds.
    pub fn seeds(&self) -> usize {
        self.shown.len() - self.leechers as usize
    }

    /// What a scrape tells.
    pub fn counts(&self) -> Counts {
        Counts {
            complete: u32::try_from(self.seeds()).unwrap_or(u32::MAX),
            downloaded: self.completed,
            incomplete: self.leechers,
        }
    }

    /// All peers as they are kept, in two parts.
    pub fn packed(&self) -> (&[Shown], &[Kept]) {
        (&self.shown, &self.kept)
    }

    /// Whether the peer at a place was heard of since the last [`Swarm::sweep`].
    pub fn was_heard(&self, place: usize) -> bool {
        self.shown[place].was_heard()
    }

    /// Whether the peer at a place is a seed.
    pub fn is_seed(&self, place: usize) -> bool {
        place >= self.leechers as usize
    }

    /// The addresses with this number.
    pub fn wide(&self, number: u32) -> Wide {
        self.wides.as_ref().expect("there is one with a number").list[number as usize]
    }

    /// The peer at a place.
    pub fn get(&self, place: usize) -> Peer {
        unpack(&self.shown[place], &self.kept[place], |number| self.wide(number))
    }

    /// The place of a peer, until the next change of the swarm.
    pub fn find(&self, secret: u64, id: &PeerId) -> Option<usize> {
        if self.places.capacity() == 0 {
            // The ends differ: most names begin with that of the same few programs.
            let end = Kept::end_of(&id.0);
            let is = |p: &Kept| Kept::end_of(p.id()) == end && *p.id() == id.0;
            return self.kept.iter().position(is);
        }
        let is = |place: u32| *self.kept[place as usize].id() == id.0;
        self.places.find(index::hash(secret, &id.0), is).map(|place| place as usize)
    }

    fn pack(&mut self, peer: &Peer, heard: bool) -> (Shown, Kept) {
        let wides = &mut self.wides;
        pack(peer, heard, |wide| wides.get_or_insert_default().add(wide))
    }

    /// Adds a peer that is not there yet.
    pub fn insert(&mut self, secret: u64, peer: &Peer, heard: bool) {
        let (shown, kept) = self.pack(peer, heard);
        let (last, leecher) = (self.shown.len(), !kept.is_seed());
        if last == self.shown.capacity() {
            // Doubling would waste a third of a tracker's memory.
            let more = if last == 0 { 1 } else { STEP + last / 16 };
            self.shown.reserve_exact(more);
            self.kept.reserve_exact(more);
        }
        self.shown.push(shown);
        self.kept.push(kept);
        if self.places.capacity() > 0 {
            let kept = &self.kept;
            let hash_of = |place: u32| index::hash(secret, kept[place as usize].id());
            self.places.insert(index::hash(secret, &peer.id.0), place(last), hash_of);
        } else if last >= SEARCHED {
            let kept = &self.kept;
            let hash_of = |place: u32| index::hash(secret, kept[place as usize].id());
            for n in 0..=place(last) {
                self.places.insert(hash_of(n), n, hash_of);
            }
        }
        if leecher {
            self.swap(secret, last, self.leechers as usize);
            self.leechers += 1;
        }
        self.check(secret);
    }

    /// Puts a peer in place of the one that stands there under the same name.
    pub fn update(&mut self, secret: u64, at: usize, peer: &Peer, heard: bool) {
        self.drop_wide(at);
        (self.shown[at], self.kept[at]) = self.pack(peer, heard);
        match (at < self.leechers as usize, self.kept[at].is_seed()) {
            (true, true) => {
                self.leechers -= 1;
                self.swap(secret, at, self.leechers as usize);
            }
            (false, false) => {
                self.swap(secret, at, self.leechers as usize);
                self.leechers += 1;
            }
            _ => {}
        }
        self.check(secret);
    }

    fn drop_wide(&mut self, at: usize) {
        if let (Some(number), Some(wides)) = (self.shown[at].wide(), &mut self.wides) {
            wides.free.push(number);
        }
    }

    /// Takes out the peer at a place.
    pub fn remove(&mut self, secret: u64, mut at: usize) {
        self.drop_wide(at);
        if at < self.leechers as usize {
            self.leechers -= 1;
            self.swap(secret, at, self.leechers as usize);
            at = self.leechers as usize;
        }
        let last = self.shown.len() - 1;
        self.swap(secret, at, last);
        let kept = &self.kept;
        let hash_of = |place: u32| index::hash(secret, kept[place as usize].id());
        self.places.remove(hash_of(place(last)), place(last), hash_of);
        self.shown.pop();
        self.kept.pop();
        self.check(secret);
    }

    /// Takes out the peers that were not heard of since the last call, and gives unused memory
    /// back.
    pub fn sweep(&mut self, secret: u64) {
        let silent = self.shown.iter().filter(|p| !p.was_heard()).count();
        if silent > self.shown.len() / 8 {
            self.keep_heard(secret);
        } else if silent > 0 {
            for at in (0..self.shown.len()).rev() {
                if !self.shown[at].was_heard() {
                    self.remove(secret, at);
                }
            }
        }
        self.shown.iter_mut().for_each(Shown::forget);
        if self.shown.len() < self.shown.capacity() / 2 {
            self.shown.shrink_to_fit();
            self.kept.shrink_to_fit();
        }
        if self.shown.len() <= SEARCHED {
            self.places = Index::default();
        } else {
            let kept = &self.kept;
            self.places.shrink(|place| index::hash(secret, kept[place as usize].id()));
        }
        self.gather_wides();
    }

    /// Takes out those that were not heard of: where they are many this is far faster than to take
    /// out one after the other.
    fn keep_heard(&mut self, secret: u64) {
        if let Some(wides) = &mut self.wides {
            let silent = self.shown.iter().filter(|p| !p.was_heard());
            wides.free.extend(silent.filter_map(Shown::wide));
        }
        let leechers = &self.shown[..self.leechers as usize];
        self.leechers = place(leechers.iter().filter(|p| p.was_heard()).count());
        let mut heard = self.shown.iter().map(Shown::was_heard);
        self.kept.retain(|_| heard.next() == Some(true));
        self.shown.retain(Shown::was_heard);
        if self.places.capacity() > 0 {
            let kept = &self.kept;
            let hash_of = |place: u32| index::hash(secret, kept[place as usize].id());
            self.places = Index::of(place(kept.len()), hash_of);
        }
        self.check(secret);
    }

    /// Numbers the wide addresses anew if most numbers are not in use.
    fn gather_wides(&mut self) {
        let Some(wides) = &mut self.wides else { return };
        if wides.free.len() <= wides.list.len() / 2 {
            return;
        }
        let old = std::mem::take(&mut **wides);
        for peer in &mut self.shown {
            if let Some(number) = peer.wide() {
                peer.set_wide(wides.add(old.list[number as usize]));
            }
        }
        if wides.list.is_empty() {
            self.wides = None;
        }
    }

    fn swap(&mut self, secret: u64, a: usize, b: usize) {
        if a == b {
            return;
        }
        if self.places.capacity() > 0 {
            let hash = |at: usize| index::hash(secret, self.kept[at].id());
            let (hash_a, hash_b) = (hash(a), hash(b));
            // By way of a place that no peer has, since two equal ones could not be told apart.
            self.places.moved(hash_a, place(a), ELSEWHERE);
            self.places.moved(hash_b, place(b), place(a));
            self.places.moved(hash_a, ELSEWHERE, place(b));
        }
        self.shown.swap(a, b);
        self.kept.swap(a, b);
    }

    /// Up to `want` peers that suit the asker, at random. Leechers get their share of the answer
    /// as they have of the swarm, the rest are seeds; a seed is told of leechers only. Costs
    /// O(want), however large the swarm. Their names, in the same order, only for
    /// [`Form::Dicts`].
    pub fn choose(&self, asked: &Asked, rng: &mut Rng) -> (Vec<Listed>, Vec<PeerId>) {
        let room = Vec::with_capacity(asked.want.min(self.shown.len()));
        let mut chosen = (room, Vec::new());
        let leechers = 0..self.leechers as usize;
        let seeds = leechers.end..self.len();
        let mut walk = Walk::new(self, leechers.clone(), asked, rng);
        if !asked.for_seed {
            // 128 bits: a product of two counts may pass 32, and usize may have no more.
            let of_all = asked.want as u128 * leechers.len() as u128;
            let share = of_all / self.shown.len().max(1) as u128;
            walk.take(share as usize, &mut chosen);
            Walk::new(self, seeds, asked, rng).take(asked.want, &mut chosen);
        }
        walk.take(asked.want, &mut chosen);
        chosen
    }

    /// A peer of which nothing was heard lately, if a few looks find one, else any.
    pub fn oldest(&self, rng: &mut Rng) -> Option<usize> {
        const TRIES: u32 = 8;
        let count = u32::try_from(self.shown.len()).ok().filter(|n| *n > 0)?;
        let mut at = 0;
        for _ in 0..TRIES {
            at = rng.below(count) as usize;
            if !self.was_heard(at) {
                break;
            }
        }
        Some(at)
    }

    #[cfg(not(debug_assertions))]
    fn check(&self, _: u64) {}

    /// The borders between leechers and seeds, and the table, are true.
    #[cfg(debug_assertions)]
    fn check(&self, secret: u64) {
        if self.shown.len() > 200 {
            return;
        }
        assert_eq!(self.shown.len(), self.kept.len());
        let (leechers, seeds) = self.kept.split_at(self.leechers as usize);
        assert!(leechers.iter().all(|p| !p.is_seed()) && seeds.iter().all(Kept::is_seed));
        for (at, peer) in self.kept.iter().enumerate() {
            assert_eq!(self.find(secret, &PeerId(*peer.id())), Some(at));
        }
    }
}

/// No place of a peer.
const ELSEWHERE: u32 = u32::MAX - 1;

fn place(at: usize) -> u32 {
    u32::try_from(at).expect("there are far fewer peers than 2^32")
}

/// A walk through peers that meets each once, from a random start with a random stride, so that
/// all are listed equally often and neighbours are not always listed together.
struct Walk<'a> {
    swarm: &'a Swarm,
    /// The places of those it goes through.
    places: Range<usize>,
    asked: &'a Asked,
    /// From the first of them.
    at: usize,
    stride: usize,
    /// Peers it may still look at.
    looks: usize,
}

impl<'a> Walk<'a> {
    fn new(swarm: &'a Swarm, places: Range<usize>, asked: &'a Asked, rng: &mut Rng) -> Walk<'a> {
        let n = u32::try_from(places.len()).unwrap_or(u32::MAX);
        let mut stride = 1;
        // Most numbers have no divisor in common with n; a few draws find one. 1 always does.
        // Where all will be listed their order is all the same.
        let draws = if asked.want < places.len() { 8 } else { 0 };
        for _ in 0..draws {
            let draw = 1 + rng.below(n);
            if gcd(draw, n) == 1 {
                stride = draw as usize;
                break;
            }
        }
        let looks = places.len().min(asked.want.saturating_mul(4).saturating_add(LOOKS));
        Walk { swarm, places, asked, at: rng.below(n) as usize, stride, looks }
    }

    /// Goes on until `chosen` holds `up_to`.
    fn take(&mut self, up_to: usize, (chosen, names): &mut (Vec<Listed>, Vec<PeerId>)) {
        let Walk { swarm, asked, .. } = *self;
        let (shown, kept) = (&swarm.shown[self.places.clone()], &swarm.kept[self.places.clone()]);
        while chosen.len() < up_to && self.looks > 0 {
            self.looks -= 1;
            let peer = &shown[self.at];
            if peer.suits(asked.form) {
                let ip = peer.listed_ip(|number| swarm.wide(number));
                if asked.six.is_none_or(|six| six == ip.is_ipv6()) {
                    chosen.push(Listed { ip, port: peer.port(), crypto: peer.crypto() });
                    if asked.form == Form::Dicts {
                        names.push(PeerId(*kept[self.at].id()));
                    }
                }
            }
            self.at += self.stride;
            // The stride is at most as long as the list.
            if self.at >= shown.len() {
                self.at -= shown.len();
            }
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
    use crate::proto::announce::answer::Crypto;
    use std::collections::HashSet;
    use std::net::{IpAddr, Ipv4Addr};

    /// The secret of these tests.
    const S: u64 = 5;

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
            unreached: 0,
        }
    }

    fn swarm(leechers: u32, seeds: u32) -> Swarm {
        let mut swarm = Swarm::default();
        (0..leechers).for_each(|n| swarm.insert(S, &peer(n, 1), true));
        (leechers..leechers + seeds).for_each(|n| swarm.insert(S, &peer(n, 0), true));
        swarm
    }

    fn asked(want: usize, form: Form) -> Asked {
        Asked { want, form, for_seed: false, six: None }
    }

    #[test]
    fn borders_and_table_stay_true_through_any_changes() {
        let mut rng = Rng::new(3);
        let mut swarm = Swarm::default();
        let mut model = std::collections::HashMap::new();
        for step in 0..6000u32 {
            let n = rng.below(60);
            let left = u64::from(rng.below(2));
            let mut new = peer(n, left);
            if rng.below(3) == 0 {
                new.ip = std::net::Ipv6Addr::from(u128::from(n) << 64 | u128::from(step)).into();
            }
            match (swarm.find(S, &peer(n, 0).id), rng.below(3)) {
                (Some(place), 0) => {
                    swarm.remove(S, place);
                    model.remove(&n);
                }
                (Some(place), _) => {
                    swarm.update(S, place, &new, true);
                    model.insert(n, new);
                }
                (None, _) => {
                    swarm.insert(S, &new, true);
                    model.insert(n, new);
                }
            }
            if step % 500 == 0 {
                swarm.sweep(S);
                model.values().for_each(|p| {
                    let place = swarm.find(S, &p.id).unwrap();
                    swarm.update(S, place, p, true);
                });
            }
            assert_eq!(swarm.len(), model.len());
            for peer in model.values() {
                assert_eq!(swarm.get(swarm.find(S, &peer.id).unwrap()), *peer);
            }
        }
        let seeds = model.values().filter(|p| p.left == 0).count();
        assert_eq!(swarm.counts().complete as usize, seeds);
        swarm.sweep(S);
        swarm.sweep(S);
        assert!(swarm.is_empty() && swarm.places.capacity() == 0 && swarm.wides.is_none());
    }

    #[test]
    fn an_answer_never_lists_anybody_twice() {
        let mut rng = Rng::new(1);
        for (leechers, seeds) in [(0, 0), (1, 0), (0, 1), (7, 3), (100, 2), (3, 100), (64, 64)] {
            let swarm = swarm(leechers, seeds);
            for want in [0, 1, 5, 50, 1000] {
                let (all, _) = swarm.choose(&asked(want, Form::Compact), &mut rng);
                assert_eq!(all.len(), want.min(swarm.len()), "{leechers}+{seeds}, {want}");
                assert_eq!(all.iter().map(|p| p.ip).collect::<HashSet<_>>().len(), all.len());
            }
        }
    }

    #[test]
    fn leechers_have_their_share_and_seeds_hear_of_leechers_only() {
        let (swarm, mut rng) = (swarm(90, 30), Rng::new(1));
        let leechers = |list: &[Listed]| list.iter().filter(|p| p.ip < peer(90, 0).ip).count();
        let (list, _) = swarm.choose(&asked(40, Form::Compact), &mut rng);
        assert_eq!((list.len(), leechers(&list)), (40, 30));
        let for_seed = Asked { for_seed: true, ..asked(100, Form::Compact) };
        let (list, _) = swarm.choose(&for_seed, &mut rng);
        assert_eq!((list.len(), leechers(&list)), (90, 90));
    }

    #[test]
    fn everybody_is_listed_equally_often() {
        let (swarm, mut rng) = (swarm(200, 0), Rng::new(1));
        let mut times = std::collections::HashMap::new();
        for _ in 0..4000 {
            for listed in swarm.choose(&asked(10, Form::Compact), &mut rng).0 {
                *times.entry(listed.ip).or_insert(0) += 1;
            }
        }
        // 200 expected; five standard deviations are 70.
        assert_eq!(times.len(), 200);
        assert!(times.values().all(|t| (130..270).contains(t)), "{times:?}");
    }

    #[test]
    fn a_swarm_of_hidden_peers_costs_no_walk_through_all_of_them() {
        let mut swarm = Swarm::default();
        (0..5000).for_each(|n| swarm.insert(S, &Peer { port: 0, ..peer(n, 1) }, true));
        swarm.insert(S, &peer(5000, 1), true);
        let asked = asked(10, Form::Compact);
        assert!(swarm.choose(&asked, &mut Rng::new(1)).0.len() <= 1);
        let walk = Walk::new(&swarm, 0..swarm.len(), &asked, &mut Rng::new(1));
        assert_eq!(walk.looks, 104);
    }

    #[test]
    fn crypto_decides_who_suits_whom() {
        let mut swarm = Swarm::default();
        for (n, crypto) in (1..).zip([Crypto::Plain, Crypto::Supported, Crypto::Required]) {
            swarm.insert(S, &Peer { crypto, ..peer(n, 1) }, true);
        }
        let id_of = |listed: &Listed| match listed.ip {
            IpAddr::V4(ip) => peer(ip.into(), 1).id,
            IpAddr::V6(_) => unreachable!("there is none"),
        };
        let ids = |form| {
            let (list, names) = swarm.choose(&asked(9, form), &mut Rng::new(1));
            let told: Vec<PeerId> = list.iter().map(id_of).collect();
            assert_eq!(names, if form == Form::Dicts { told } else { vec![] });
            let mut ids: Vec<u8> = list.iter().map(|p| id_of(p).0[3]).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(ids(Form::Compact), [1, 2]);
        assert_eq!(ids(Form::Dicts), [1, 2]);
        assert_eq!(ids(Form::CryptoOnly), [2, 3]);
        assert_eq!(ids(Form::WithFlags), [1, 2, 3]);
    }

    #[test]
    fn one_family_alone_can_be_listed() {
        let mut swarm = swarm(3, 0);
        swarm.insert(S, &Peer { ip: "2001:db8::1".parse().unwrap(), ..peer(9, 1) }, true);
        let count = |six| {
            let asked = Asked { six, ..asked(9, Form::Compact) };
            swarm.choose(&asked, &mut Rng::new(1)).0.len()
        };
        assert_eq!((count(None), count(Some(true)), count(Some(false))), (4, 1, 3));
    }

    #[test]
    fn the_silent_go_first() {
        let mut swarm = swarm(3, 3);
        swarm.sweep(S);
        for n in 0..5 {
            let place = swarm.find(S, &peer(n, 1).id).unwrap();
            let known = swarm.get(place);
            swarm.update(S, place, &known, true);
        }
        let mut rng = Rng::new(2);
        let mut times = 0;
        for _ in 0..100 {
            let oldest = swarm.oldest(&mut rng).unwrap();
            times += u32::from(swarm.get(oldest).id == peer(5, 0).id);
        }
        assert!(times > 60, "{times}");
        swarm.sweep(S);
        assert_eq!(swarm.len(), 5);
    }
}
