//! The packets of UDP trackers (BEP 15), with the options behind an announce (BEP 41): the
//! client's side.
//!
//! What is read here came from whoever knows our port: it never panics, and nothing is kept of it
//! but what its length justifies.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::{MAGIC, u32_at, u64_at};
use crate::proto::address;
use crate::proto::announce::ask::{MAX_PEERS, Reply, percent_encode, printable};
use crate::proto::announce::{Event, Peer, Request};

/// A packet from a tracker is not looked at beyond this, in bytes: more peers than anybody sends.
pub const MAX_ANSWER: usize = 8192;

/// An option of BEP 41: a part of the URL that the user was given.
const URL_DATA: u8 = 2;

/// What the URL of a UDP tracker says: `udp://HOST:PORT/PATH?QUERY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// A name or an address, that of IPv6 without its brackets.
    pub host: &'a str,
    /// The UDP port.
    pub port: u16,
    /// All that follows, without a fragment; it is sent along, for it may hold a passkey.
    pub path: &'a str,
}

impl<'a> Place<'a> {
    /// Reads a URL. `None` if it is not that of a UDP tracker, or names no port.
    pub fn of(url: &'a str) -> Option<Place<'a>> {
        let (scheme, rest) = url.split_once("://")?;
        let rest = rest.split('#').next().filter(|_| scheme.eq_ignore_ascii_case("udp"))?;
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, port) = authority.rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(host) => host.strip_suffix(']').filter(|h| h.parse::<Ipv6Addr>().is_ok())?,
            None => Some(host).filter(|host| !host.is_empty() && !host.contains(['@', ':']))?,
        };
        let port = port.parse().ok().filter(|port| *port != 0)?;
        Some(Place { host, port, path })
    }

    /// Whether it is the same tracker, whatever is sent along.
    pub fn is_at(&self, other: &Place) -> bool {
        (self.host, self.port) == (other.host, other.port)
    }
}

/// Writes a request for a connection id.
pub fn put_connect(out: &mut Vec<u8>, transaction: u32) {
    out.clear();
    out.extend_from_slice(&MAGIC.to_be_bytes());
    put_numbers(out, &[0, transaction]);
}

/// Writes an announce; `path` is that of the tracker's URL.
pub fn put_announce(
    out: &mut Vec<u8>,
    connection: u64,
    transaction: u32,
    request: &Request,
    path: &str,
) {
    out.clear();
    out.extend_from_slice(&connection.to_be_bytes());
    put_numbers(out, &[1, transaction]);
    out.extend_from_slice(&request.info_hash.0);
    out.extend_from_slice(&request.peer_id.0);
    for number in [request.downloaded, request.left, request.uploaded] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    let event = match request.event {
        None => 0,
        Some(Event::Completed) => 1,
        Some(Event::Started) => 2,
        Some(Event::Stopped) => 3,
    };
    let ip = request.ip.as_deref().and_then(|ip| ip.parse().ok());
    let ip: Ipv4Addr = ip.unwrap_or(Ipv4Addr::UNSPECIFIED);
    // The same eight digits that a tracker of HTTP gets.
    let key = u32::from_str_radix(&request.key, 16).unwrap_or(0);
    put_numbers(out, &[event, ip.into(), key, request.numwant.unwrap_or(u32::MAX)]);
    out.extend_from_slice(&request.port.to_be_bytes());
    let url_data = match &request.seed_id {
        None if path == "/" => String::new(),
        None => path.to_owned(),
        Some(id) => with_seed_id(path, id),
    };
    for part in url_data.as_bytes().chunks(255) {
        out.extend_from_slice(&[URL_DATA, part.len() as u8]);
        out.extend_from_slice(part);
    }
}

/// The packet has no place for the secret of a dedicated seed: it goes where a tracker of HTTP
/// would find it.
fn with_seed_id(path: &str, id: &[u8]) -> String {
    let mut url = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
    url.push(if path.contains('?') { '&' } else { '?' });
    url.push_str("seed_id=");
    percent_encode(&mut url, id);
    url
}

fn put_numbers(out: &mut Vec<u8>, numbers: &[u32]) {
    for number in numbers {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// What a tracker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The id for the requests of the next minute.
    Connected(u64),
    /// The answer to an announce.
    Announced(Reply),
    /// It will not; its words, printable.
    Refused(String),
}

/// Reads a packet: the transaction it is about, and what it says. `six` tells that it came over
/// IPv6, as do the addresses in it. `None` if it is no answer of BEP 15.
pub fn read(packet: &[u8], six: bool) -> Option<(u32, Said)> {
    let transaction = u32_at(packet, 4)?;
    let said = match u32_at(packet, 0)? {
        0 => Said::Connected(u64_at(packet, 8)?),
        1 => Said::Announced(announced(packet, six)?),
        3 => Said::Refused(printable(packet.get(8..)?)),
        _ => return None,
    };
    Some((transaction, said))
}

fn announced(packet: &[u8], six: bool) -> Option<Reply> {
    let (interval, leechers, seeds) =
        (u32_at(packet, 8)?, u32_at(packet, 12)?, u32_at(packet, 16)?);
    let peers = packet.get(20..)?.chunks_exact(address::length(six));
    let peers = peers.filter_map(address::read).take(MAX_PEERS);
    Some(Reply {
        interval: Duration::from_secs(interval.into()),
        min_interval: None,
        tracker_id: None,
        complete: Some(seeds),
        incomplete: Some(leechers),
        peers: peers
            .map(|address| Peer { address, id: None, requires_encryption: false })
            .collect(),
        external_ip: None,
        warning: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::announce::answer::{self, Crypto, Form, Key, Listed, More, Told};
    use crate::proto::damage::{Random, survived};
    use crate::proto::ids::{InfoHash, PeerId};
    use crate::proto::udp as tracker;

    #[test]
    fn a_url_says_host_port_and_what_is_sent_along() {
        let place = |url| Place::of(url).map(|p| (p.host, p.port, p.path));
        assert_eq!(place("udp://t.example:6969"), Some(("t.example", 6969, "")));
        assert_eq!(
            place("UDP://1.2.3.4:80/announce?k=a:b#f"),
            Some(("1.2.3.4", 80, "/announce?k=a:b"))
        );
        assert_eq!(place("udp://[2001:db8::1]:7?x"), Some(("2001:db8::1", 7, "?x")));
        for bad in [
            "http://h:1",
            "udp://h",
            "udp://h/",
            "udp://h:0",
            "udp://h:65536",
            "udp://:1",
            "udp:h:1",
            "udp://2001:db8::1:7",
            "udp://[h]:1",
            "udp://[::1:2",
            "udp://u@h:1",
            "",
        ] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_tracker_reads_what_we_write() {
        let mut out = vec![9];
        put_connect(&mut out, 7);
        let read = tracker::Request::read(&out).unwrap();
        assert_eq!(
            (read.connection, read.transaction, read.ask),
            (MAGIC, 7, tracker::Ask::Connect)
        );
        let long = format!("/announce?password=x&pad={}", "y".repeat(600));
        for (path, password) in [("/announce", None), (&long[..], Some(b"x".to_vec()))] {
            let request = Request {
                uploaded: 1,
                downloaded: 2,
                left: 3,
                event: Some(Event::Completed),
                numwant: Some(17),
                key: "00c0ffee".into(),
                ip: Some("9.8.7.6".into()),
                ..Request::new(InfoHash([1; 20]), PeerId([2; 20]), 6881)
            };
            put_announce(&mut out, 5, 8, &request, path);
            let read = tracker::Request::read(&out).unwrap();
            assert_eq!((read.connection, read.transaction), (5, 8));
            let tracker::Ask::Announce(told) = read.ask else { panic!("{:?}", read.ask) };
            assert_eq!((told.info_hash, told.peer_id), (request.info_hash, request.peer_id));
            assert_eq!((told.left, told.event, told.port), (3, Told::Completed, 6881));
            assert_eq!((told.wanted, told.key), (Some(17), Key::new(b"00c0ffee")));
            assert_eq!(told.given_ip, Some("9.8.7.6".parse().unwrap()));
            assert_eq!(told.password.as_deref(), password.as_deref());
        }
        put_announce(&mut out, 5, 8, &Request::new(InfoHash([1; 20]), PeerId([2; 20]), 1), "/");
        assert_eq!(out.len(), 98);
    }

    #[test]
    fn the_secret_of_a_dedicated_seed_is_sent_behind_the_query_of_the_url() {
        let mut out = Vec::new();
        let request = Request {
            seed_id: Some(b"s &d".to_vec()),
            ..Request::new(InfoHash([1; 20]), PeerId([2; 20]), 1)
        };
        for (path, password) in [("", None), ("/", None), ("/a?password=x", Some(&b"x"[..]))] {
            put_announce(&mut out, 5, 8, &request, path);
            let tracker::Ask::Announce(told) = tracker::Request::read(&out).unwrap().ask else {
                panic!("{path}")
            };
            assert_eq!(told.seed_id.as_deref(), Some(&b"s &d"[..]), "{path}");
            assert_eq!(told.password.as_deref(), password, "{path}");
        }
    }

    #[test]
    fn we_read_what_the_tracker_writes() {
        let mut out = Vec::new();
        tracker::put_connected(&mut out, 7, 99);
        assert_eq!(read(&out, false), Some((7, Said::Connected(99))));
        tracker::put_error(&mut out, 8, "no\u{1b}[2J");
        assert_eq!(read(&out, false), Some((8, Said::Refused(printable(b"no\x1b[2J")))));
        let listed = |ip: &str, port| {
            let ip = ip.parse().unwrap();
            Listed { ip, port, crypto: Crypto::Plain }
        };
        for (six, ips) in [(false, ["1.2.3.4", "5.6.7.8"]), (true, ["2001:db8::1", "::1"])] {
            let reply = answer::Reply {
                complete: 3,
                incomplete: 4,
                interval: 1800,
                form: Form::Compact,
                peers: vec![listed(ips[0], 1), listed(ips[1], 0), listed(ips[1], 2)],
                names: Vec::new(),
                more: More::default(),
            };
            tracker::put_announced(&mut out, 9, &reply);
            let Some((9, Said::Announced(read))) = read(&out, six) else { panic!("{out:?}") };
            assert_eq!((read.complete, read.incomplete), (Some(3), Some(4)));
            assert_eq!(read.interval, Duration::from_secs(1800));
            let peers: Vec<_> =
                read.peers.iter().map(|p| (p.address.ip(), p.address.port())).collect();
            assert_eq!(peers, [(ips[0].parse().unwrap(), 1), (ips[1].parse().unwrap(), 2)]);
        }
    }

    #[test]
    fn a_cut_or_foreign_packet_says_nothing() {
        let mut out = Vec::new();
        tracker::put_connected(&mut out, 7, 99);
        for length in 0..out.len() {
            assert_eq!(read(&out[..length], false), None, "{length}");
        }
        let announced = [1u32, 7, 1800, 0, 0].map(u32::to_be_bytes).concat();
        for length in 0..20 {
            assert_eq!(read(&announced[..length], true), None, "{length}");
        }
        for action in [2u32, 4, u32::MAX] {
            assert_eq!(read(&[&action.to_be_bytes()[..], &[0; 30]].concat(), false), None);
        }
        // Half an address at the end is none.
        let half = [&announced[..], &[1, 2, 3, 4, 5, 6, 7]].concat();
        let Some((7, Said::Announced(reply))) = read(&half, false) else { panic!() };
        assert_eq!(reply.peers.len(), 1);
    }

    #[test]
    fn damaged_answers_never_panic() {
        let damaged = |random: &mut Random| {
            let mut packet = vec![0, 0, 0, random.below(5) as u8];
            packet.extend((0..random.below(80)).map(|_| random.below(256) as u8));
            packet.truncate(random.below(packet.len() + 1));
            packet
        };
        survived(4000, damaged, |packet, random| {
            let six = random.below(2) == 0;
            match read(packet, six) {
                Some((_, Said::Announced(reply))) => {
                    assert!(reply.peers.len() <= packet.len() / 6);
                    assert!(reply.peers.iter().all(|peer| peer.address.is_ipv6() == six));
                    true
                }
                Some((_, Said::Refused(words))) => {
                    assert!(words.len() <= 4 * packet.len());
                    true
                }
                _ => false,
            }
        });
    }
}
