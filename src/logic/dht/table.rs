//! The nodes that a node knows (BEP 5): many near itself, few far away. The far half of all ids is
//! one bucket, of the near half the far half the next, and so on; each holds [`K`] nodes.
//!
//! Whoever is in here has answered a question of ours. Nobody is in here twice, by id or by
//! address, so that a stranger with many ids at one address has one place.

use crate::proto::address::is_local;
use crate::proto::dht::Node;
use crate::proto::dht::id::NodeId;
use crate::proto::order;
use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Nodes in a bucket, and what is asked for and answered at once (BEP 5).
pub const K: usize = 8;

/// Buckets there can be. No table has that many; 2^24 nodes fill about 24.
const MAX_BUCKETS: usize = 64;

/// Who has not answered so many times in a row leaves when somebody else wants his place.
const FAILING: u8 = 2;

/// And so many times in a row, at once.
const GONE: u8 = 4;

/// After so long without a word it is asked whether a node is still there, and after so long
/// without news a bucket is searched for more (BEP 5).
pub const QUIET: Duration = Duration::from_secs(15 * 60);

#[derive(Debug, Clone)]
struct Known {
    id: NodeId,
    at: SocketAddr,
    heard: Instant,
    failures: u8,
}

#[derive(Debug)]
struct Bucket {
    nodes: Vec<Known>,
    /// Those that answered too, while there was no place.
    spare: Vec<Known>,
    /// When somebody was last looked for there.
    searched: Option<Instant>,
}

impl Bucket {
    fn new() -> Bucket {
        Bucket { nodes: Vec::new(), spare: Vec::new(), searched: None }
    }

    fn is_full(&self) -> bool {
        self.nodes.len() >= K
    }
}

/// The nodes of one family of addresses.
#[derive(Debug)]
pub struct Table {
    own: NodeId,
    /// The nth holds those that have n bits with us in common, the last all others.
    buckets: Vec<Bucket>,
}

impl Table {
    /// Of a node with this id, which knows nobody.
    pub fn new(own: NodeId) -> Table {
        Table { own, buckets: vec![Bucket::new()] }
    }

    /// The id of the node whose table it is.
    pub fn own(&self) -> NodeId {
        self.own
    }

    /// How many nodes there are in it, without the spare ones.
    pub fn len(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.nodes.len()).sum()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, those that were heard last first.
    pub fn nodes(&self) -> Vec<Node> {
        let mut all: Vec<&Known> = self.buckets.iter().flat_map(|bucket| &bucket.nodes).collect();
        order::by_key(&mut all, |node| Reverse(node.heard));
        all.into_iter().map(|node| (node.id, node.at)).collect()
    }

    /// The nodes that are nearest to a place, `K` at most, the nearest first. Without those that
    /// do not answer.
    pub fn nearest(&self, place: &NodeId) -> Vec<Node> {
        let all = self.buckets.iter().flat_map(|bucket| &bucket.nodes);
        let mut all: Vec<&Known> = all.filter(|node| node.failures < FAILING).collect();
        order::by_key(&mut all, |node| node.id.distance(place));
        all.into_iter().take(K).map(|node| (node.id, node.at)).collect()
    }

    /// Whether a node that asked us something would be of use, so that it is worth a question.
    pub fn wants(&self, id: &NodeId, at: SocketAddr) -> bool {
        if *id == self.own || self.holder(at).is_some() {
            return false;
        }
        let bucket = &self.buckets[self.index(id)];
        let is_last = self.index(id) + 1 == self.buckets.len();
        !bucket.nodes.iter().any(|node| node.id == *id)
            && (!bucket.is_full()
                || is_last && self.buckets.len() < MAX_BUCKETS
                || bucket.nodes.iter().any(|node| node.failures >= FAILING))
    }

    /// Whether a node on this host has answered.
    pub fn has_host(&self, at: SocketAddr) -> bool {
        self.holder(at).is_some()
    }

    /// A node answered. It stays, if there is a place for it.
    pub fn heard(&mut self, id: NodeId, at: SocketAddr, now: Instant) {
        if id == self.own {
            return;
        }
        match self.find(at) {
            Some(node) if node.id == id => {
                (node.heard, node.failures) = (now, 0);
                return;
            }
            // It has begun anew, under another name.
            Some(_) => self.remove(at),
            None => {}
        }
        // Another id at the same address is the same stranger; the same id elsewhere, another.
        let bucket = &self.buckets[self.index(&id)];
        if self.holder(at).is_some() || bucket.nodes.iter().any(|node| node.id == id) {
            return;
        }
        self.insert(Known { id, at, heard: now, failures: 0 });
    }

    fn insert(&mut self, node: Known) {
        loop {
            let index = self.index(&node.id);
            if !self.buckets[index].is_full() {
                return self.buckets[index].nodes.push(node);
            }
            if index + 1 < self.buckets.len() || self.buckets.len() >= MAX_BUCKETS {
                return self.replace(index, node);
            }
            self.split();
        }
    }

    /// The last bucket becomes two.
    fn split(&mut self) {
        let depth = self.buckets.len() as u32;
        let own = self.own;
        let near = |node: &Known| node.id.common_bits(&own) >= depth;
        let Some(last) = self.buckets.last_mut() else { return };
        let mut next = Bucket { searched: last.searched, ..Bucket::new() };
        (next.nodes, last.nodes) = last.nodes.drain(..).partition(near);
        (next.spare, last.spare) = last.spare.drain(..).partition(near);
        self.buckets.push(next);
    }

    /// Takes the place of one that fails, or of one whose id does not belong to its address (BEP
    /// 42), or waits for one.
    fn replace(&mut self, index: usize, node: Known) {
        let Bucket { nodes, spare, .. } = &mut self.buckets[index];
        let is_bound = |node: &Known| node.id.belongs_to(node.at.ip());
        let failing = nodes.iter().position(|node| node.failures >= FAILING);
        let unbound = || nodes.iter().position(|node| !is_bound(node)).filter(|_| is_bound(&node));
        if let Some(place) = failing.or_else(unbound) {
            nodes[place] = node;
            return;
        }
        spare.retain(|known| !is_same_host(known.at, node.at) && known.id != node.id);
        if spare.len() >= K {
            spare.remove(0);
        }
        spare.push(node);
    }

    /// A node did not answer.
    pub fn failed(&mut self, at: SocketAddr) {
        for Bucket { nodes, spare, .. } in &mut self.buckets {
            let Some(place) = nodes.iter().position(|node| node.at == at) else { continue };
            nodes[place].failures = nodes[place].failures.saturating_add(1);
            match (nodes[place].failures, spare.pop()) {
                (FAILING.., Some(other)) => nodes[place] = other,
                (GONE.., None) => _ = nodes.swap_remove(place),
                (_, other) => spare.extend(other),
            }
        }
    }

    /// The node that was heard least lately, if that is long ago.
    pub fn quiet(&self, now: Instant) -> Option<Node> {
        let all = self.buckets.iter().flat_map(|bucket| &bucket.nodes);
        let node = all.min_by_key(|node| node.heard)?;
        (now.duration_since(node.heard) >= QUIET).then_some((node.id, node.at))
    }

    /// A place in a bucket where nobody was looked for in a long time, made from random bytes; it
    /// counts as looked at from now on.
    pub fn stale(&mut self, random: [u8; 20], now: Instant) -> Option<NodeId> {
        let is_stale =
            |bucket: &Bucket| bucket.searched.is_none_or(|at| now.duration_since(at) >= QUIET);
        let index = self.buckets.iter().position(is_stale)?;
        self.buckets[index].searched = Some(now);
        let is_last = index + 1 == self.buckets.len();
        // As many bits as the bucket has with us in common, then one that differs, then any.
        let mut place = random;
        for bit in 0..=index {
            let (byte, mask) = (bit / 8, 0x80 >> (bit % 8));
            let other = if bit == index && !is_last { mask } else { 0 };
            place[byte] = place[byte] & !mask | (self.own.0[byte] ^ other) & mask;
        }
        Some(NodeId(place))
    }

    /// The same nodes around another id.
    pub fn moved_to(&mut self, own: NodeId) {
        let old = std::mem::replace(self, Table::new(own));
        for node in old.buckets.into_iter().flat_map(|bucket| bucket.nodes) {
            if node.id != own {
                self.insert(node);
            }
        }
    }

    fn index(&self, id: &NodeId) -> usize {
        (id.common_bits(&self.own) as usize).min(self.buckets.len() - 1)
    }

    fn find(&mut self, at: SocketAddr) -> Option<&mut Known> {
        self.buckets.iter_mut().flat_map(|bucket| &mut bucket.nodes).find(|node| node.at == at)
    }

    fn remove(&mut self, at: SocketAddr) {
        self.buckets.iter_mut().for_each(|bucket| bucket.nodes.retain(|node| node.at != at));
    }

    /// Who has the place of this host.
    fn holder(&self, at: SocketAddr) -> Option<&Known> {
        let mut all = self.buckets.iter().flat_map(|bucket| &bucket.nodes);
        all.find(|node| is_same_host(node.at, at))
    }
}

/// Whether two addresses are of one host; at home several may share one. Of IPv6 a host has a whole
/// network.
pub fn is_same_host(a: SocketAddr, b: SocketAddr) -> bool {
    if is_local(a.ip()) || is_local(b.ip()) {
        return a == b;
    }
    match (a.ip(), b.ip()) {
        (IpAddr::V6(a), IpAddr::V6(b)) => a.octets()[..8] == b.octets()[..8],
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::rng::Rng;

    fn id(rng: &mut Rng) -> NodeId {
        NodeId(std::array::from_fn(|_| rng.next_u64() as u8))
    }

    fn at(n: u32) -> SocketAddr {
        SocketAddr::new(IpAddr::from((0x0500_0000 + n).to_be_bytes()), 6881)
    }

    #[test]
    fn many_are_known_nearby_and_few_far_away() {
        let (mut rng, now) = (Rng::new(1), Instant::now());
        let mut table = Table::new(id(&mut rng));
        let mut all = Vec::new();
        for n in 0..5000 {
            let node = (id(&mut rng), at(n));
            table.heard(node.0, node.1, now);
            all.push(node);
        }
        let buckets = table.buckets.len();
        assert!((8..16).contains(&buckets) && table.len() <= buckets * K, "{buckets}");
        assert!(table.buckets.iter().all(|bucket| bucket.nodes.len() <= K));
        all.sort_by_key(|(node, _)| node.distance(&table.own()));
        assert_eq!(table.nearest(&table.own())[..4], all[..4], "the nearest of all are known");
    }

    #[test]
    fn one_host_has_one_place_and_cannot_take_another() {
        let (mut rng, now) = (Rng::new(2), Instant::now());
        let mut table = Table::new(id(&mut rng));
        let good = id(&mut rng);
        table.heard(good, at(1), now);
        for n in 0..100 {
            let other = SocketAddr::new(at(1).ip(), 7000 + n);
            assert!(!table.wants(&id(&mut rng), other));
            table.heard(id(&mut rng), other, now);
            table.heard(good, at(1000 + u32::from(n)), now);
        }
        assert_eq!(table.nodes(), [(good, at(1))]);
        let own = table.own();
        table.heard(own, at(7), now);
        assert_eq!(table.len(), 1, "nobody else is us");
        let other = id(&mut rng);
        table.heard(other, at(1), now);
        assert_eq!(table.nodes(), [(other, at(1))], "it has begun anew");
    }

    #[test]
    fn who_does_not_answer_makes_room() {
        let (mut rng, now) = (Rng::new(3), Instant::now());
        let mut table = Table::new(NodeId([0; 20]));
        let far = |rng: &mut Rng| NodeId(std::array::from_fn(|_| 0x80 | rng.next_u64() as u8));
        (0..20).for_each(|n| table.heard(far(&mut rng), at(n), now));
        assert_eq!((table.len(), table.buckets[0].spare.len()), (K, K));
        table.failed(at(0));
        assert_eq!(table.nodes().len(), K);
        table.failed(at(0));
        assert!(table.nodes().contains(&table.nearest(&NodeId([0x80; 20]))[0]));
        assert!(!table.nodes().iter().any(|(_, there)| *there == at(0)), "a spare one came");
        for n in 1..20 {
            (0..GONE).for_each(|_| table.failed(at(n)));
        }
        assert!(table.is_empty(), "{:?}", table.nodes());
    }

    #[test]
    fn ids_that_belong_to_their_address_come_before_others() {
        let (mut rng, now) = (Rng::new(4), Instant::now());
        let mut table = Table::new(NodeId([0; 20]));
        let mut far = || NodeId(std::array::from_fn(|_| 0x80 | rng.next_u64() as u8));
        (0..8).for_each(|n| table.heard(far(), at(n), now));
        let bound = (100..200).map(|n| (NodeId::of(at(n).ip(), far().0), at(n)));
        let bound: Vec<Node> = bound.filter(|(id, _)| id.0[0] >= 0x80).take(K).collect();
        bound.iter().for_each(|(id, at)| table.heard(*id, *at, now));
        let mut known = table.nodes();
        known.sort();
        let mut expected = bound;
        expected.sort();
        assert_eq!(known, expected);
    }

    #[test]
    fn what_was_not_looked_at_for_long_is_looked_at_once() {
        let (mut rng, now) = (Rng::new(5), Instant::now());
        let mut table = Table::new(id(&mut rng));
        (0..1000).for_each(|n| table.heard(id(&mut rng), at(n), now));
        let buckets = table.buckets.len();
        let mut seen = Vec::new();
        while let Some(place) = table.stale(id(&mut rng).0, now) {
            seen.push(table.index(&place));
        }
        assert_eq!(seen, (0..buckets).collect::<Vec<_>>());
        assert_eq!(table.quiet(now), None);
        let later = now + QUIET;
        assert!(table.quiet(later).is_some() && table.stale([0; 20], later).is_some());
    }
}
