//! Reactor, connections and name of a client: what stays when the metadata of a torrent has come
//! and the download begins.

use super::StartError;
use super::budget::Budget;
use super::dht::Node;
use super::links::Links;
use super::lsd::Lsd;
use super::ports::Ports;
use super::utp::Utp;
use crate::io::origin::Origin;
use crate::io::reactor::Reactor;
use crate::io::sys;
use crate::logic::inquiry::Legacy;
use crate::logic::rng::Rng;
use crate::proto::ids::PeerId;
use crate::proto::wire::Limits;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;

/// Where a client listens.
#[derive(Debug, Clone)]
pub struct Door {
    /// The ports to try.
    pub ports: RangeInclusive<u16>,
    /// Whether they are tried in random order, else ascending.
    pub shuffle_ports: bool,
    /// The addresses.
    pub bind: Vec<IpAddr>,
    /// The only network interface that is used, if one is named.
    pub device: Option<String>,
}

impl Door {
    /// Where others are spoken to from.
    pub(super) fn origin(&self) -> Origin {
        Origin::new(&self.bind, self.device.as_deref())
    }
}

/// See the head of this file.
pub struct Company {
    pub(super) reactor: Reactor,
    pub(super) links: Links,
    pub(super) budget: Budget,
    pub(super) port: u16,
    pub(super) peer_id: PeerId,
    pub(super) seed: u64,
    pub(super) legacy: Option<Legacy>,
    pub(super) dht: Option<Node>,
    pub(super) lsd: Option<Lsd>,
    pub(super) ports: Option<Ports>,
    pub(super) utp: Option<Utp>,
}

impl Company {
    /// Somebody who knows nobody yet, and listens.
    pub(super) fn alone(door: &Door, limits: Limits) -> Result<Company, StartError> {
        let (peer_id, seed) = identity();
        let (port, listeners) = listen(door, seed)?;
        let mut reactor = Reactor::new().map_err(StartError::System)?;
        let mut links = Links::new(listeners, limits, &mut reactor);
        let budget = Budget::now();
        links.limit_strangers(budget.strangers);
        let (legacy, dht, lsd, ports, utp) = (None, None, None, None, None);
        Ok(Company { reactor, links, budget, port, peer_id, seed, legacy, dht, lsd, ports, utp })
    }
}

/// Opens the first port that is free at all the addresses, for UDP too: streams and the hash table
/// have the same number. If there is none, the first that is free for TCP.
fn listen(door: &Door, seed: u64) -> Result<(u16, Vec<OwnedFd>), StartError> {
    let mut ports: Vec<u16> = door.ports.clone().collect();
    if door.shuffle_ports {
        Rng::new(seed).shuffle(&mut ports);
    }
    let origin = door.origin();
    let mut source = io::Error::from(io::ErrorKind::InvalidInput);
    let mut half_free = None;
    for port in ports {
        let open = |ip: &IpAddr| origin.listen(SocketAddr::new(*ip, port), true);
        let is_free = |ip: &IpAddr| origin.bind_udp(SocketAddr::new(*ip, port), false).is_ok();
        match door.bind.iter().map(open).collect::<io::Result<Vec<_>>>() {
            Ok(listeners) if door.bind.iter().all(is_free) => return Ok((port, listeners)),
            Ok(listeners) => _ = half_free.get_or_insert((port, listeners)),
            Err(e) => source = e,
        }
    }
    half_free.ok_or_else(|| StartError::Listen { ports: door.ports.clone(), source })
}

/// A new name for this run, and the seed of its random choices.
pub(super) fn identity() -> (PeerId, u64) {
    (PeerId::generate(sys::random()), u64::from_le_bytes(sys::random()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_port_that_is_taken_for_udp_is_the_last_choice() {
        let home: IpAddr = [127, 0, 0, 1].into();
        let opened = |ports| {
            let door = Door { ports, shuffle_ports: false, bind: vec![home], device: None };
            listen(&door, 1).ok().map(|(port, _)| port)
        };
        // Somebody else may have the TCP port of the same number.
        let found = (0..20).find_map(|_| {
            let taken = UdpSocket::bind((home, 0)).unwrap();
            let port = taken.local_addr().unwrap().port();
            let alone = opened(port..=port)?;
            Some((taken, port, alone))
        });
        let (_taken, port, alone) = found.expect("a port that is free for TCP");
        assert_eq!(alone, port);
        let other = opened(port.saturating_sub(40)..=port.saturating_add(40));
        assert!(other.is_some_and(|other| other != port), "{other:?}");
        let last = opened(port..=port.saturating_add(40));
        assert!(port > 65_500 || last.is_some_and(|other| other != port), "{last:?}");
    }
}
