//! Peers on the same link: the multicast sockets of `logic::lsd`.

use crate::io::multicast::Multicast;
use crate::io::origin::Origin;
use crate::io::reactor::{Reactor, Token};
use crate::io::sys;
use crate::logic::lsd::{LocalDiscovery, Step};
use crate::proto::ids::InfoHash;
use crate::proto::lsd::{GROUP, GROUP_V6, MAX_PACKET};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// What there is for it.
pub(super) struct Lsd {
    logic: LocalDiscovery,
    multicast: Multicast,
}

impl Lsd {
    /// For those who take peers at these addresses and this port. `None`: nobody else is on a link
    /// with these. Nothing is sent before a torrent is wanted.
    pub(super) fn new((bind, port): (&[IpAddr], u16), origin: Origin, now: Instant) -> Option<Lsd> {
        if bind.iter().all(IpAddr::is_loopback) {
            return None;
        }
        let multicast = Multicast::new([GROUP, GROUP_V6], bind, origin);
        let logic = LocalDiscovery::new(port, u64::from_ne_bytes(sys::random()), now);
        Some(Lsd { logic, multicast })
    }

    /// Tells of this torrent, which is not private, and hears who shares it.
    pub(super) fn want(&mut self, info_hash: InfoHash, now: Instant) {
        self.logic.want(info_hash, now);
    }

    /// Tells of it no more.
    pub(super) fn forget(&mut self, info_hash: InfoHash) {
        self.logic.forget(info_hash);
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.logic.next_deadline()
    }

    pub(super) fn on_time(&mut self, reactor: &mut Reactor, now: Instant) {
        if self.next_deadline().is_some_and(|at| at <= now) {
            // Links come and go.
            self.multicast.join(reactor);
            self.logic.on_time(now);
        }
    }

    /// Takes what has come at a socket, if it is one of these.
    pub(super) fn hear(&mut self, token: Token, now: Instant) -> bool {
        let Lsd { logic, multicast } = self;
        multicast.hear(token, &mut [0; MAX_PACKET + 1], |from, packet| {
            // Such an address means nothing to those who do not know which link it is of.
            let link_local = matches!(from.ip(), IpAddr::V6(ip) if ip.is_unicast_link_local());
            if packet.len() <= MAX_PACKET && !link_local {
                logic.on_packet(from, packet, now);
            }
        })
    }

    /// Does what is to be done, up to the next peer that was found.
    pub(super) fn work(&mut self) -> Option<(InfoHash, SocketAddr)> {
        while let Some(step) = self.logic.next_step() {
            match step {
                Step::Tell(announce) => self.multicast.send(|six| announce.encode(six)),
                Step::Found(info_hash, peer) => return Some((info_hash, peer)),
            }
        }
        None
    }

    /// Closes the sockets.
    pub(super) fn close(self, reactor: &mut Reactor) {
        self.multicast.close(reactor);
    }
}
