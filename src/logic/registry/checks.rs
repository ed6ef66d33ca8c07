//! Peers that are connected to before they are listed (BitTornado's NAT check).

use super::peer::Peer;
use super::{Aggregator, Registry};
use crate::proto::address::is_local;
use crate::proto::announce::answer::Crypto;
use crate::proto::ids::{InfoHash, PeerId};
use std::net::{IpAddr, SocketAddr};

/// Peers that wait to be connected to at most. Beyond, they wait for their next announce.
pub const MAX_CHECKS: usize = 1024;

/// A peer that is to be connected to before it is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// The torrent.
    pub hash: InfoHash,
    /// The peer.
    pub id: PeerId,
    /// Where it says that it listens.
    pub at: SocketAddr,
    /// Whether it takes only obfuscated connections.
    pub crypto: bool,
}

impl Registry {
    /// Whether peers are connected to before they are listed.
    pub(super) fn checks_peers(&self) -> bool {
        self.settings.nat_checks > 0 && self.settings.aggregator == Aggregator::No
    }

    /// Whether one from this address is: nobody can reach a stranger's local network from here.
    pub(super) fn is_to_check(&self, ip: IpAddr) -> bool {
        self.settings.check_local || !is_local(ip)
    }

    pub(super) fn want_check(&mut self, hash: InfoHash, peer: &Peer) {
        let due = (1..=self.settings.nat_checks).contains(&peer.unreached);
        if due && peer.port != 0 && self.checks.len() < MAX_CHECKS {
            let at = SocketAddr::new(peer.listed_ip(), peer.port);
            let crypto = peer.crypto == Crypto::Required;
            self.checks.push_back(Check { hash, id: peer.id, at, crypto });
        }
    }

    /// Whether [`Registry::next_check`] has one.
    pub fn wants_checks(&self) -> bool {
        !self.checks.is_empty()
    }

    /// A peer that is to be connected to. Each is yielded once, and its result is awaited.
    pub fn next_check(&mut self) -> Option<Check> {
        self.checks.pop_front()
    }

    /// What came of a check. `false` if the peer is not there any more, at that place.
    pub fn on_checked(&mut self, check: &Check, good: bool) -> bool {
        let secret = self.swarms.secret;
        let Some(swarm) = self.swarms.get_mut(&check.hash) else { return false };
        let Some(at) = swarm.find(secret, &check.id) else { return false };
        let old = swarm.get(at);
        if (old.listed_ip(), old.port) != (check.at.ip(), check.at.port()) {
            return false;
        }
        let unreached = match (old.unreached, good) {
            (0, _) | (_, true) => 0,
            (n, false) => n.saturating_add(1),
        };
        let heard = swarm.was_heard(at);
        swarm.update(secret, at, &Peer { unreached, ..old }, heard);
        self.changed |= old.unreached != unreached;
        true
    }
}
