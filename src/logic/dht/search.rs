//! A search for the nodes nearest to a place (BEP 5): the nearest that are known are asked for
//! nearer ones, a few at a time, until the nearest of all have answered.

use super::table::{K, is_same_host};
use crate::proto::dht::Node;
use crate::proto::dht::id::NodeId;
use std::net::SocketAddr;

/// Nodes that are asked at a time; those that take their time do not count.
const AT_ONCE: usize = 4;

/// Nodes that are remembered of one search: whoever is farther away than these is of no use.
const MAX_CANDIDATES: usize = 48;

/// Nodes that are asked in one search at most, whatever they say.
const MAX_ASKED: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    New,
    Asked,
    /// Asked, and somebody else takes its turn.
    Late,
    Answered(Option<Vec<u8>>),
    Failed,
}

#[derive(Debug)]
struct Candidate {
    id: NodeId,
    at: SocketAddr,
    state: State,
}

/// One search.
#[derive(Debug)]
pub struct Search {
    place: NodeId,
    /// The nearest first.
    candidates: Vec<Candidate>,
    asked: usize,
}

impl Search {
    /// A search that knows nobody yet.
    pub fn new(place: NodeId) -> Search {
        Search { place, candidates: Vec::new(), asked: 0 }
    }

    /// These nodes are said to be there.
    pub fn offer(&mut self, nodes: impl IntoIterator<Item = Node>) {
        for (id, at) in nodes {
            let known = |c: &Candidate| c.id == id || is_same_host(c.at, at);
            if self.candidates.iter().any(known) {
                continue;
            }
            let distance = id.distance(&self.place);
            let nearer = |c: &Candidate| c.id.distance(&self.place) < distance;
            let rank = self.candidates.partition_point(nearer);
            if rank < MAX_CANDIDATES {
                self.candidates.insert(rank, Candidate { id, at, state: State::New });
                self.candidates.truncate(MAX_CANDIDATES);
            }
        }
    }

    /// Whom to ask next, if somebody is to be asked now.
    pub fn to_ask(&mut self) -> Option<SocketAddr> {
        let waited = self.candidates.iter().filter(|c| c.state == State::Asked).count();
        if waited >= AT_ONCE || self.asked >= MAX_ASKED {
            return None;
        }
        let mut near = self.candidates.iter_mut().filter(|c| c.state != State::Failed).take(K);
        let next = near.find(|c| c.state == State::New)?;
        next.state = State::Asked;
        self.asked += 1;
        Some(next.at)
    }

    /// A node answered, by this name. Whether it is the one that was meant.
    pub fn answered(&mut self, id: &NodeId, at: SocketAddr, token: Option<Vec<u8>>) -> bool {
        let Some(candidate) = self.candidates.iter_mut().find(|c| c.at == at) else { return true };
        let is_meant = candidate.id == *id;
        candidate.state = if is_meant { State::Answered(token) } else { State::Failed };
        is_meant
    }

    /// A node takes its time.
    pub fn late(&mut self, at: SocketAddr) {
        self.put(at, State::Late);
    }

    /// A node has had its time.
    pub fn failed(&mut self, at: SocketAddr) {
        self.put(at, State::Failed);
    }

    fn put(&mut self, at: SocketAddr, state: State) {
        if let Some(candidate) = self.candidates.iter_mut().find(|c| c.at == at) {
            candidate.state = state;
        }
    }

    /// Whether nobody is to be asked any more and nobody is waited for.
    pub fn is_over(&self) -> bool {
        let near = self.candidates.iter().filter(|c| c.state != State::Failed).take(K);
        let is_open = |c: &Candidate| match c.state {
            State::New => self.asked < MAX_ASKED,
            State::Asked | State::Late => true,
            State::Answered(_) | State::Failed => false,
        };
        !near.into_iter().any(is_open)
    }

    /// The nearest that answered, and what each wants to hear from who is to be listed there.
    pub fn nearest(&self) -> impl Iterator<Item = (SocketAddr, Option<&[u8]>)> {
        let answered = self.candidates.iter().filter_map(|c| match &c.state {
            State::Answered(token) => Some((c.at, token.as_deref())),
            _ => None,
        });
        answered.take(K)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn node(n: u8) -> Node {
        (NodeId([n; 20]), SocketAddr::new(IpAddr::from([5, 0, 0, n]), 6881))
    }

    #[test]
    fn the_nearest_are_asked_first_and_a_few_at_a_time() {
        let mut search = Search::new(NodeId([0; 20]));
        search.offer((1..=20).rev().map(node));
        let asked: Vec<SocketAddr> = std::iter::from_fn(|| search.to_ask()).collect();
        assert_eq!(asked, [1, 2, 3, 4].map(|n| node(n).1));
        search.late(node(2).1);
        assert_eq!((search.to_ask(), search.to_ask()), (Some(node(5).1), None));
        assert!(search.answered(&node(1).0, node(1).1, Some(b"t".to_vec())));
        assert!(!search.answered(&node(9).0, node(3).1, None), "another name than was said");
        search.failed(node(4).1);
        let asked: Vec<SocketAddr> = std::iter::from_fn(|| search.to_ask()).collect();
        assert_eq!(asked, [6, 7, 8].map(|n| node(n).1));
        assert!(!search.is_over());
        for n in [2, 5, 6, 7, 8, 9, 10] {
            let _ = search.to_ask();
            search.answered(&node(n).0, node(n).1, None);
        }
        assert!(search.is_over() && search.to_ask().is_none());
        let nearest: Vec<SocketAddr> = search.nearest().map(|(at, _)| at).collect();
        assert_eq!(nearest, [1, 2, 5, 6, 7, 8, 9, 10].map(|n| node(n).1));
        assert_eq!(search.nearest().next(), Some((node(1).1, Some(&b"t"[..]))));
    }

    #[test]
    fn liars_do_not_keep_it_going() {
        let mut search = Search::new(NodeId([0; 20]));
        let mut asked = 0u32;
        let fresh = |n: u32| {
            let mut id = [0; 20];
            id[..4].copy_from_slice(&(u32::MAX / 2 - n * 1000).to_be_bytes());
            let there = IpAddr::from((0x0500_0000 + n).to_be_bytes());
            (NodeId(id), SocketAddr::new(there, 6881))
        };
        search.offer([fresh(0)]);
        while let Some(at) = search.to_ask() {
            asked += 1;
            let found = search.candidates.iter().find(|c| c.at == at).map(|c| c.id).unwrap();
            search.answered(&found, at, None);
            // Each knows one that is nearer still, and one that it has already told of.
            search.offer([fresh(asked), fresh(asked / 2)]);
        }
        assert_eq!(asked as usize, MAX_ASKED);
        assert!(search.is_over() && search.candidates.len() <= MAX_CANDIDATES);
    }
}
