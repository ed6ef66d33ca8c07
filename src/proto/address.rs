//! What is known of an address before anybody talks to it, and its compact form (BEP 23, BEP 7):
//! the bytes of the IP and then the port, 6 of them for IPv4 and 18 for IPv6, both big-endian.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The bytes of a compact address: 6, or 18 of IPv6.
pub const fn length(six: bool) -> usize {
    if six { 18 } else { 6 }
}

/// Appends the compact form.
pub fn put(out: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    out.extend_from_slice(&address.port().to_be_bytes());
}

/// Reads a compact address of either length. `None` for other lengths, and for what is not
/// [`dialable`].
pub fn read(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk::<2>()?;
    let ip = match <[u8; 4]>::try_from(ip) {
        Ok(four) => IpAddr::from(four),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(ip).ok()?),
    };
    dialable(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

/// The address as one may dial it: IPv4 written as IPv6 becomes IPv4 again. `None` for port 0 and
/// for addresses that are no host's: unspecified, `0.0.0.0/8`, multicast, broadcast.
pub fn dialable(address: SocketAddr) -> Option<SocketAddr> {
    let ip = address.ip().to_canonical();
    let is_host = match ip {
        IpAddr::V4(v4) => v4.octets()[0] != 0 && !v4.is_multicast() && !v4.is_broadcast(),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast(),
    };
    (is_host && address.port() != 0).then(|| SocketAddr::new(ip, address.port()))
}

/// Whether a URL names a local address (see [`is_local`]) and no host that would have to be looked
/// up.
pub fn is_local_url(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(six) => six.split_once(']').map_or("", |(host, _)| host),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.parse().is_ok_and(is_local)
}

/// Whether an address is of this machine or of a network behind the same door, so that nobody
/// far away can be it: loopback, private, link-local, unique local.
pub fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => {
            let first = v6.segments()[0];
            let of = |net: u16, mask: u16| first & mask == net;
            // fec0::/10 are the site-local addresses of old.
            v6 == Ipv6Addr::LOCALHOST
                || of(0xfe80, 0xffc0)
                || of(0xfec0, 0xffc0)
                || of(0xfc00, 0xfe00)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_url_names_an_address_inside_and_no_name() {
        for url in [
            "http://127.0.0.1/announce",
            "udp://192.168.1.1:6969",
            "https://[::1]:8443/x?y",
            "http://[fe80::1]",
            "http://10.1.2.3?x",
        ] {
            assert!(is_local_url(url), "{url}");
        }
        for url in [
            "http://localhost/",
            "http://1.2.3.4/",
            "http://[2001:db8::1]/",
            "http://127.0.0.1@evil.test/",
            "http://evil.test/127.0.0.1",
            "http://evil.test\\@127.0.0.1/",
            "http://user:pw@127.0.0.1/",
            "http://127.1/",
            "127.0.0.1",
            "http://[::1/",
            "",
        ] {
            assert!(!is_local_url(url), "{url}");
        }
    }

    #[test]
    fn only_addresses_of_hosts_with_a_port_are_dialable() {
        let ok = |text: &str| dialable(text.parse().unwrap()).map(|a| a.to_string());
        assert_eq!(ok("1.2.3.4:5").as_deref(), Some("1.2.3.4:5"));
        assert_eq!(ok("127.0.0.1:6881").as_deref(), Some("127.0.0.1:6881"));
        assert_eq!(ok("[::ffff:1.2.3.4]:5").as_deref(), Some("1.2.3.4:5"));
        assert_eq!(ok("[2001:db8::1]:5").as_deref(), Some("[2001:db8::1]:5"));
        for bad in ["1.2.3.4:0", "0.0.0.0:5", "0.1.2.3:5", "224.0.0.1:5", "255.255.255.255:5"] {
            assert_eq!(ok(bad), None, "{bad}");
        }
        for bad in ["[::]:5", "[ff02::1]:5", "[::ffff:0.0.0.0]:5"] {
            assert_eq!(ok(bad), None, "{bad}");
        }
    }

    #[test]
    fn local_is_what_strangers_cannot_be() {
        for ip in ["127.0.0.9", "10.1.1.1", "172.31.0.1", "192.168.0.1", "169.254.1.1"] {
            assert!(is_local(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["::1", "fe80::1", "fec0::1", "fd00::1", "::ffff:10.0.0.1"] {
            assert!(is_local(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["172.32.0.1", "9.9.9.9", "2001:db8::1", "::ffff:9.9.9.9"] {
            assert!(!is_local(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn the_compact_form_comes_out_as_it_went_in() {
        for text in ["1.2.3.4:5", "[2001:db8::1]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut bytes = Vec::new();
            put(&mut bytes, address);
            assert_eq!((bytes.len(), read(&bytes)), (length(address.is_ipv6()), Some(address)));
            assert_eq!((read(&bytes[1..]), read(&bytes[..1])), (None, None));
        }
        assert_eq!(read(&[1, 2, 3, 4, 0, 0]), None, "port 0");
    }
}
