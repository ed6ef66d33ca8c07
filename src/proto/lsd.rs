//! The packets of local service discovery (BEP 14): who shares which torrents on this link.
//!
//! They look like the head of an HTTP request, with one line for each torrent.

use super::ids::InfoHash;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The group and port that those of IPv4 listen at.
pub const GROUP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(239, 192, 152, 143)), 6771);

/// The group and port that those of IPv6 listen at.
pub const GROUP_V6: SocketAddr =
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0xefc0, 0x988f)), 6771);

/// The longest packet, in bytes; what is longer is not looked at.
pub const MAX_PACKET: usize = 1400;

/// So many torrents fit into a packet beside the longest of the other lines.
pub const MAX_TORRENTS: usize = 23;

/// Of a cookie no more bytes than this are kept.
const MAX_COOKIE: usize = 64;

/// What a packet says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announce {
    /// The port that its sender takes peers at, never 0.
    pub port: u16,
    /// What it shares: one torrent at least, and no more than fit into a packet.
    pub torrents: Vec<InfoHash>,
    /// By what it knows its own packets, if it says so.
    pub cookie: Option<String>,
}

impl Announce {
    /// The bytes of a packet to the group of IPv4, or of IPv6. Torrents above [`MAX_TORRENTS`] are
    /// left out.
    pub fn encode(&self, six: bool) -> Vec<u8> {
        let group = if six { GROUP_V6 } else { GROUP };
        let mut text = format!("BT-SEARCH * HTTP/1.1\r\nHost: {group}\r\nPort: {}\r\n", self.port);
        for hash in self.torrents.iter().take(MAX_TORRENTS) {
            let _ = write!(text, "Infohash: {hash}\r\n");
        }
        if let Some(cookie) = &self.cookie {
            let _ = write!(text, "cookie: {cookie}\r\n");
        }
        text.push_str("\r\n\r\n");
        text.into_bytes()
    }

    /// From the bytes of a packet. `None` if it names no port or no torrent, or is none of these.
    /// Lines that are not known are passed over. Never panics.
    pub fn decode(bytes: &[u8]) -> Option<Announce> {
        let text = std::str::from_utf8(bytes.get(..bytes.len().min(MAX_PACKET))?).ok()?;
        let mut lines = text.lines();
        if !lines.next()?.starts_with("BT-SEARCH * HTTP/1.") {
            return None;
        }
        let (mut port, mut torrents, mut cookie) = (0, Vec::new(), None);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "port" => port = value.parse().unwrap_or(0),
                "infohash" => torrents.extend(InfoHash::from_hex(value)),
                "cookie" => cookie = Some(value.chars().take(MAX_COOKIE).collect()),
                _ => {}
            }
        }
        (port > 0 && !torrents.is_empty()).then_some(Announce { port, torrents, cookie })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::damage::survived;

    fn announce(torrents: usize) -> Announce {
        let torrents = (0..torrents).map(|n| InfoHash([n as u8; 20])).collect();
        Announce { port: 6881, torrents, cookie: Some("0123456789abcdef".into()) }
    }

    #[test]
    fn comes_out_as_it_went_in() {
        let packet = announce(1).encode(false);
        let expected = "BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: 6881\r\n\
            Infohash: 0000000000000000000000000000000000000000\r\ncookie: 0123456789abcdef\r\n\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&packet), expected);
        for torrents in [1, 2, MAX_TORRENTS] {
            let packet = announce(torrents).encode(true);
            assert_eq!(Announce::decode(&packet), Some(announce(torrents)));
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut long = announce(100);
        (long.port, long.cookie) = (65_535, Some("x".repeat(MAX_COOKIE)));
        let packet = long.encode(true);
        assert!(packet.len() <= MAX_PACKET, "{}", packet.len());
        assert_eq!(Announce::decode(&packet).unwrap().torrents.len(), MAX_TORRENTS);
    }

    #[test]
    fn names_count_in_any_case_and_unknown_lines_not_at_all() {
        let hash = "AB".repeat(20);
        let text = format!("BT-SEARCH * HTTP/1.0\r\nX: y\r\nPORT:7\r\nfoo\r\ninfohash:{hash}\r\n");
        let read = Announce::decode(text.as_bytes()).unwrap();
        assert_eq!((read.port, read.cookie), (7, None));
        assert_eq!(read.torrents, [InfoHash([0xab; 20])]);
        for bad in [
            format!("BT-SEARCH * HTTP/1.1\r\nPort: 0\r\nInfohash: {hash}\r\n"),
            format!("BT-SEARCH * HTTP/1.1\r\nPort: 65536\r\nInfohash: {hash}\r\n"),
            format!("BT-SEARCH * HTTP/1.1\r\nPort: 1\r\nInfohash: {hash}0\r\n"),
            format!("M-SEARCH * HTTP/1.1\r\nPort: 1\r\nInfohash: {hash}\r\n"),
            format!("BT-SEARCH * HTTP/1.1\r\nPort: 1\r\nX: \u{e9}{}", "y".repeat(MAX_PACKET)),
            String::new(),
        ] {
            assert_eq!(Announce::decode(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let good = announce(3).encode(false);
        survived(
            3000,
            |random| random.damage(&good, 3),
            |bytes, _| {
                Announce::decode(bytes).is_none_or(|read| read.torrents.len() <= MAX_TORRENTS + 4)
            },
        );
    }
}
