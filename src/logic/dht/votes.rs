//! What our address is, by what others say. One alone may lie, or sit behind the same door.

use super::{Dht, Goal, family, random};
use crate::logic::dht::table::is_same_host;
use crate::proto::dht::id::NodeId;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// The last so many that said something count.
const MAX_VOTES: usize = 12;

/// So many of them must agree.
const ENOUGH: usize = 5;

/// Who said what, the last at the end.
#[derive(Debug, Default)]
pub struct Votes {
    votes: Vec<(IpAddr, IpAddr)>,
}

impl Votes {
    /// Somebody says that our address is `ip`. Returns it, if enough others say so too.
    pub fn add(&mut self, voter: IpAddr, ip: IpAddr) -> Option<IpAddr> {
        let at = |ip| SocketAddr::new(ip, 1);
        self.votes.retain(|(other, _)| !is_same_host(at(*other), at(voter)));
        if self.votes.len() >= MAX_VOTES {
            self.votes.remove(0);
        }
        self.votes.push((voter, ip));
        let agree = self.votes.iter().filter(|(_, said)| *said == ip).count();
        (agree >= ENOUGH).then_some(ip)
    }
}

impl Dht {
    /// What a node says our address is. If enough agree, our id follows it (BEP 42).
    pub(super) fn vote(&mut self, from: SocketAddr, external: Option<SocketAddr>, now: Instant) {
        let n = family(from);
        let Some(ip) = external.filter(|at| family(*at) == n).map(|at| at.ip()) else { return };
        let net = &mut self.nets[n];
        let Some(ip) = net.votes.add(from.ip(), ip) else { return };
        if !net.table.own().belongs_to(ip) {
            net.table.moved_to(NodeId::of(ip, random(&mut self.rng)));
            let own = net.table.own();
            self.begin(n, Goal::Nodes(own), &[], now);
        }
    }
}
