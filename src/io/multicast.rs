//! Talks to everybody on the links that this machine is on, by multicast; and says who is there.
//!
//! Its sockets hear what is sent to the group and nothing else, so that nobody far away can reach
//! them. It knows nothing of what packets say.

use crate::io::datagrams::Datagrams;
use crate::io::origin::Origin;
use crate::io::reactor::{Reactor, Token};
use crate::io::sys;
use crate::proto::address::is_local;
use crate::proto::interfaces::{self, Network};
use crate::proto::sorted;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};

/// The kernel's table of IPv4 routes.
const ROUTES: &str = "/proc/net/route";

/// Its table of our IPv6 addresses.
const ADDRESSES: &str = "/proc/net/if_inet6";

/// No more of either is read, in bytes.
const MAX_TABLE: u64 = 1024 * 1024;

/// More interfaces than this are left out.
const MAX_INTERFACES: usize = 16;

/// Where we are in the group: an interface, and our address there if it matters.
type Place = (u32, Option<IpAddr>);

/// See the head of this file.
pub struct Multicast {
    groups: [SocketAddr; 2],
    /// The addresses that we are to be seen at; unspecified for all of that family.
    bind: Vec<IpAddr>,
    /// Of this the interface, if it names one.
    origin: Origin,
    sockets: Datagrams,
    networks: Vec<Network>,
    joined: sorted::Set<Place>,
}

impl Multicast {
    /// For these groups, of IPv4 and of IPv6, with no socket yet. It is of the families of `bind`,
    /// and on the links where these addresses are, loopback left out.
    pub fn new(groups: [SocketAddr; 2], bind: &[IpAddr], origin: Origin) -> Multicast {
        let bind = bind.iter().filter(|ip| !ip.is_loopback()).copied().collect();
        let (sockets, networks, joined) =
            (Datagrams::new(origin.clone()), Vec::new(), sorted::Set::new());
        Multicast { groups, bind, origin, sockets, networks, joined }
    }

    /// Opens the sockets, and joins the groups on all links where that was not done yet. What the
    /// system refuses is left out: it is tried again the next time.
    pub fn join(&mut self, reactor: &mut Reactor) {
        self.networks = networks();
        for six in [false, true] {
            let group = self.groups[usize::from(six)];
            for place in self.places(six) {
                if self.joined.contains(&place) || self.sockets.open_shared(group, reactor).is_err()
                {
                    continue;
                }
                let socket = self.sockets.socket(six);
                if socket.is_some_and(|s| sys::join_group(s, group.ip(), place).is_ok()) {
                    self.joined.insert(place);
                }
            }
        }
    }

    fn places(&self, six: bool) -> sorted::Set<Place> {
        let on = |name: &str| self.origin.device().is_none_or(|device| device == name);
        let usable = |n: &&Network| {
            n.address.is_ipv6() == six && !n.address.is_loopback() && on(&n.interface)
        };
        let of = |network: &Network| {
            let mut own = self.bind.iter().filter(|ip| ip.is_ipv6() == six);
            let own = own.find(|ip| ip.is_unspecified() || network.contains(**ip))?;
            let index = sys::interface_number(&network.interface).ok()?;
            Some((index, Some(*own).filter(|ip| !ip.is_unspecified())))
        };
        self.networks.iter().filter(usable).filter_map(of).take(MAX_INTERFACES).collect()
    }

    /// Sends a packet to everybody; `packet` makes it for IPv4 or for IPv6. What cannot be sent is
    /// as good as lost on the way.
    pub fn send(&self, packet: impl Fn(bool) -> Vec<u8>) {
        for six in [false, true] {
            let Some(socket) = self.sockets.socket(six) else { continue };
            for place in self.places(six).iter().filter(|place| self.joined.contains(place)) {
                if sys::speak_to_group(socket, six, *place).is_ok() {
                    let _ = self.sockets.send(self.groups[usize::from(six)], &packet(six));
                }
            }
        }
    }

    /// Takes what has come from those on our links, into this space, if it is one of these sockets
    /// that the token is of.
    pub fn hear(
        &self,
        token: Token,
        space: &mut [u8],
        mut take: impl FnMut(SocketAddr, &[u8]),
    ) -> bool {
        self.sockets.hear(token, space, |from, packet| {
            let ip = from.ip();
            if is_local(ip) || self.networks.iter().any(|network| network.contains(ip)) {
                take(from, packet);
            }
        })
    }

    /// Closes the sockets.
    pub fn close(self, reactor: &mut Reactor) {
        self.sockets.close(reactor);
    }
}

/// Those that begin at this machine, as far as the system tells.
pub fn networks() -> Vec<Network> {
    let read = |path: &str| -> io::Result<String> {
        let mut table = String::new();
        File::open(path)?.take(MAX_TABLE).read_to_string(&mut table)?;
        Ok(table)
    };
    let mut all = interfaces::of_routes(&read(ROUTES).unwrap_or_default());
    all.extend(interfaces::of_addresses(&read(ADDRESSES).unwrap_or_default()));
    all
}
