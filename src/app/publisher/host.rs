//! By which address others reach this machine: what stands in links and .torrent files.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::io::multicast::networks;
use crate::io::sys;

/// What the user wants links to name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// A name, or the literal of an address without brackets.
    pub name: String,
    /// Another port than that which is listened on.
    pub port: Option<u16>,
}

impl Host {
    /// Reads `NAME`, `NAME:PORT`, `ADDRESS`, `ADDRESS:PORT`, `[ADDRESS]:PORT`; `None` if it is none
    /// of these.
    pub fn read(text: &str) -> Option<Host> {
        if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return Some(Host { name: ip.to_string(), port: None });
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Some(Host { name: address.ip().to_string(), port: Some(address.port()) });
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok().filter(|port| *port > 0)?)),
            None => (text, None),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        (!name.is_empty() && name.chars().all(plain)).then(|| Host { name: name.into(), port })
    }

    /// The address that it is the literal of.
    pub fn ip(&self) -> Option<IpAddr> {
        self.name.parse().ok()
    }
}

/// Where the page is: what stands between `http://` and the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Authority {
    host: Host,
    port: u16,
}

impl Authority {
    /// The host at this port, unless it names another itself.
    pub fn new(host: Host, listening: u16) -> Authority {
        let port = host.port.unwrap_or(listening);
        Authority { host, port }
    }

    /// The host without the port, as it stands in a URL.
    fn name(&self) -> String {
        match self.host.ip() {
            Some(IpAddr::V6(six)) => format!("[{six}]"),
            _ => self.host.name.clone(),
        }
    }

    /// The address of its UDP door.
    pub fn udp(&self) -> String {
        format!("udp://{}:{}/announce", self.name(), self.port)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            80 => f.write_str(&self.name()),
            port => write!(f, "{}:{port}", self.name()),
        }
    }
}

/// The addresses of this machine by which others reach it, for somebody who listens on these: one
/// of each family at most, and one at least. Asks the kernel's tables alone: nothing is sent, no
/// name is looked up.
pub(super) fn own_addresses(listening: &[SocketAddr]) -> Vec<IpAddr> {
    let bound = listening.iter().map(|on| on.ip()).filter(|ip| !ip.is_unspecified());
    // Addresses of documentation stand for the Internet; then the networks around.
    let far = ["192.0.2.1:9", "[2001:db8::1]:9"].map(|to| to.parse().expect("an address"));
    let near = networks().into_iter().map(|network| match network.address {
        // The first host of the network, or any: it is only about the interface.
        IpAddr::V4(v4) => SocketAddr::from((Ipv4Addr::from(u32::from(v4) | 1), 9)),
        own => SocketAddr::new(own, 9),
    });
    let sources = far.into_iter().chain(near).filter_map(|to| sys::source_towards(to).ok());
    let usable = |ip: &IpAddr| match ip {
        IpAddr::V4(v4) => !v4.is_loopback(),
        // Link-local addresses are of no use in links.
        IpAddr::V6(v6) => !v6.is_loopback() && v6.segments()[0] & 0xffc0 != 0xfe80,
    };
    let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    // A socket of one family hears nothing of the other.
    let heard = |ip: &IpAddr| {
        listening.iter().any(|on| on.ip().is_unspecified() && on.is_ipv6() == ip.is_ipv6())
    };
    let unbound = sources.filter(usable).chain(loopback).filter(heard);
    let own: Vec<IpAddr> = bound.chain(unbound).collect();
    let best = |six: bool| {
        let of = || own.iter().filter(|ip| ip.is_ipv6() == six);
        of().find(|ip| !ip.is_loopback()).or_else(|| of().next()).copied()
    };
    let both = [best(false), best(true)].into_iter().flatten();
    let inside = both.clone().all(|ip| ip.is_loopback());
    both.filter(|ip| inside || !ip.is_loopback()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_in_all_their_forms_and_stand_in_links() {
        for (text, link) in [
            ("box.lan", "box.lan:8000"),
            ("box.lan:80", "box.lan"),
            ("192.168.1.5", "192.168.1.5:8000"),
            ("192.168.1.5:81", "192.168.1.5:81"),
            ("2001:db8::1", "[2001:db8::1]:8000"),
            ("[2001:db8::1]", "[2001:db8::1]:8000"),
            ("[2001:db8::1]:80", "[2001:db8::1]"),
        ] {
            let host = Host::read(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(Authority::new(host, 8000).to_string(), link, "{text}");
        }
        for text in ["", ":80", "a b", "a/b", "http://a", "a:0", "a:x", "a:99999", "ä", "a\"b"] {
            assert_eq!(Host::read(text), None, "{text}");
        }
    }

    #[test]
    fn who_is_bound_to_an_address_is_reached_by_it() {
        let own = |on: &[&str]| {
            let on: Vec<SocketAddr> = on.iter().map(|a| a.parse().unwrap()).collect();
            own_addresses(&on).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(own(&["127.0.0.1:80", "192.0.2.7:80"]), ["192.0.2.7"]);
        assert_eq!(own(&["127.0.0.9:80"]), ["127.0.0.9"]);
        assert_eq!(own(&["[2001:db8::7]:80", "192.0.2.7:80"]), ["192.0.2.7", "2001:db8::7"]);
        assert_eq!(own(&["[::1]:80", "127.0.0.1:80"]), ["127.0.0.1", "::1"]);
        assert_eq!(own(&["[::1]:80", "192.0.2.7:80"]), ["192.0.2.7"]);
        // Whatever addresses this machine has.
        assert!(matches!(&own(&["0.0.0.0:80"])[..], [four] if !four.contains(':')));
        assert!(matches!(&own(&["[::]:80"])[..], [six] if six.contains(':')));
    }
}
