//! Magnet links (BEP 9, and BEP 53 for which files): what a link says of a torrent.
//!
//! Used by the clients, and by those who show links. Never panics; what it takes is bounded by the
//! length of the link and [`MAX_ADDRESSES`].

use crate::proto::announce::answer::pairs;
use crate::proto::ids::InfoHash;
use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

/// Of trackers, peers and ranges of files no more than this are taken of each.
pub const MAX_ADDRESSES: usize = 256;

/// What a magnet link says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Magnet {
    /// The torrent (`xt=urn:btih:`).
    pub info_hash: InfoHash,
    /// What it is called (`dn`), as long as nobody knows better.
    pub name: Option<String>,
    /// Bytes of the content (`xl`), as the link has it.
    pub length: Option<u64>,
    /// Its trackers (`tr`), in order and each once.
    pub trackers: Vec<String>,
    /// Peers to ask (`x.pe`).
    pub peers: Vec<PeerAddress>,
    /// Web seeds in GetRight's style (`ws`).
    pub web_seeds: Vec<String>,
    /// Which files are wanted (`so`), counted from 0 in the torrent's order; `None` for all.
    pub select: Option<Vec<RangeInclusive<u32>>>,
}

/// Where a peer is, in a magnet link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerAddress {
    /// An address.
    At(SocketAddr),
    /// A name that is to be looked up, and the port.
    Named(String, u16),
}

/// Why a magnet link is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MagnetError {
    /// It does not begin as a magnet link.
    NotAMagnet,
    /// It names no torrent.
    NoHash,
    /// What it names by `urn:btih:` is no info hash.
    BadHash(String),
    /// It names one of BitTorrent version 2 alone.
    Version2,
    /// The list of files makes no sense.
    Select(String),
}

impl fmt::Display for MagnetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MagnetError::NotAMagnet => f.write_str("not a magnet link"),
            MagnetError::NoHash => f.write_str("no 'xt=urn:btih:' with an info hash in it"),
            MagnetError::BadHash(text) => write!(f, "bad info hash '{text}'"),
            MagnetError::Version2 => {
                f.write_str("this torrent is of BitTorrent version 2 only, which is not supported")
            }
            MagnetError::Select(text) => write!(f, "bad list of files 'so={text}'"),
        }
    }
}

impl std::error::Error for MagnetError {}

impl Magnet {
    /// Reads a link. Keys may be numbered (`tr.1`); keys that are not known are passed over, and
    /// so are addresses that make no sense.
    ///
    /// # Errors
    /// Without an info hash of version 1, or with a list of files that makes no sense.
    pub fn parse(link: &str) -> Result<Magnet, MagnetError> {
        let scheme = "magnet:?";
        let query = match link.get(..scheme.len()) {
            Some(start) if start.eq_ignore_ascii_case(scheme) => &link[scheme.len()..],
            _ => return Err(MagnetError::NotAMagnet),
        };
        let mut magnet = Magnet {
            info_hash: InfoHash([0; 20]),
            name: None,
            length: None,
            trackers: Vec::new(),
            peers: Vec::new(),
            web_seeds: Vec::new(),
            select: None,
        };
        let (mut hash, mut version_2) = (None, false);
        for (key, value) in pairs(query.as_bytes()) {
            let value = String::from_utf8_lossy(&value).into_owned();
            let is_number = |n: &[u8]| n.iter().all(u8::is_ascii_digit);
            let key = match key.iter().rposition(|b| *b == b'.') {
                Some(dot) if is_number(&key[dot + 1..]) => &key[..dot],
                _ => &key[..],
            };
            match (key, scheme_of(&value)) {
                (b"xt", Some("urn:btih")) if hash.is_none() => hash = Some(read_hash(&value[9..])?),
                (b"xt", Some("urn:btmh")) => version_2 = true,
                _ => magnet.take(key, value)?,
            }
        }
        match hash {
            Some(hash) => Ok(Magnet { info_hash: hash, ..magnet }),
            None if version_2 => Err(MagnetError::Version2),
            None => Err(MagnetError::NoHash),
        }
    }

    fn take(&mut self, key: &[u8], value: String) -> Result<(), MagnetError> {
        let add = |list: &mut Vec<String>, value: String| {
            if !value.is_empty() && list.len() < MAX_ADDRESSES && !list.contains(&value) {
                list.push(value);
            }
        };
        match key {
            b"dn" => self.name = Some(value).filter(|name| !name.is_empty()),
            b"xl" => self.length = value.parse().ok(),
            b"tr" => add(&mut self.trackers, value),
            b"ws" => add(&mut self.web_seeds, value),
            b"x.pe" => {
                let peer = read_peer(&value).filter(|_| self.peers.len() < MAX_ADDRESSES);
                self.peers.extend(peer);
            }
            b"so" => match read_ranges(&value) {
                Some(ranges) => self.select.get_or_insert_default().extend(ranges),
                None => return Err(MagnetError::Select(value)),
            },
            _ => {}
        }
        Ok(())
    }

    /// Whether a file of this number is wanted.
    pub fn selects(&self, file: u32) -> bool {
        self.select.as_ref().is_none_or(|ranges| ranges.iter().any(|range| range.contains(&file)))
    }
}

/// The kind of a name of the form `urn:KIND:…`, in lower case, if it is one of ours.
fn scheme_of(value: &str) -> Option<&'static str> {
    let start = value.get(..9)?.strip_suffix(':')?;
    ["urn:btih", "urn:btmh"].into_iter().find(|kind| start.eq_ignore_ascii_case(kind))
}

fn read_hash(text: &str) -> Result<InfoHash, MagnetError> {
    let hash = InfoHash::from_hex(text).or_else(|| InfoHash::from_base32(text));
    hash.ok_or_else(|| MagnetError::BadHash(text.to_string()))
}

fn read_peer(text: &str) -> Option<PeerAddress> {
    if let Ok(address) = text.parse() {
        return Some(PeerAddress::At(address)).filter(|_| !text.ends_with(":0"));
    }
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let is_name = !host.is_empty() && host.parse::<Ipv6Addr>().is_err();
    let is_name = is_name && !host.contains([':', '[', ']', '/', '@', ' ', '\0']);
    is_name.then(|| PeerAddress::Named(host.to_string(), port))
}

/// `0,2,4-6`.
fn read_ranges(text: &str) -> Option<Vec<RangeInclusive<u32>>> {
    let parts: Vec<&str> = text.split(',').collect();
    if parts.len() > MAX_ADDRESSES {
        return None;
    }
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last).then_some(first..=last)
    };
    parts.into_iter().map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::damage::survived;

    const HEX: &str = "0102030405060708090a0b0c0d0e0f1011121314";

    fn hash() -> InfoHash {
        InfoHash::from_hex(HEX).unwrap()
    }

    #[test]
    fn all_that_a_link_holds_comes_out() {
        let link = format!(
            "magnet:?xt=urn:btmh:1220{HEX}&xt=urn:btih:{HEX}&dn=a+%c3%bc&xl=12&\
             tr=http%3A%2F%2Ft.test%2Fannounce%3Fkey%3D1&tr.1=udp%3A%2F%2Ft.test%3A6969&\
             tr=http%3A%2F%2Ft.test%2Fannounce%3Fkey%3D1&ws=http%3A%2F%2Fw.test%2F&\
             x.pe=127.0.0.1%3A5&x.pe=[::1]:6&x.pe=peer.test:7&x.pe=1.2.3.4:0&x.pe=::1:6&so=0,2,4-6&odd"
        );
        let magnet = Magnet::parse(&link).unwrap();
        let at = |text: &str| PeerAddress::At(text.parse().unwrap());
        let named = PeerAddress::Named("peer.test".into(), 7);
        assert_eq!(
            magnet,
            Magnet {
                info_hash: hash(),
                name: Some("a ü".into()),
                length: Some(12),
                trackers: vec!["http://t.test/announce?key=1".into(), "udp://t.test:6969".into()],
                peers: vec![at("127.0.0.1:5"), at("[::1]:6"), named],
                web_seeds: vec!["http://w.test/".into()],
                select: Some(vec![0..=0, 2..=2, 4..=6]),
            }
        );
        let wanted: Vec<u32> = (0..9).filter(|n| magnet.selects(*n)).collect();
        assert_eq!(wanted, [0, 2, 4, 5, 6]);
    }

    #[test]
    fn a_hash_may_be_in_base_32() {
        let link = "MAGNET:?xt=urn:BTIH:AEBAGBAFAYDQQCIKBMGA2DQPCAIREEYU";
        assert_eq!(Magnet::parse(link).unwrap().info_hash, hash());
        assert_eq!(Magnet::parse(&link.to_lowercase()).unwrap().info_hash, hash());
        assert!(Magnet::parse(link).unwrap().selects(7));
    }

    #[test]
    fn what_is_of_no_use_is_refused() {
        let v2 = "1220".to_string() + &"ab".repeat(32);
        for (link, error) in [
            ("http://x", MagnetError::NotAMagnet),
            ("magnet:", MagnetError::NotAMagnet),
            ("magnet:?dn=x", MagnetError::NoHash),
            ("magnet:?xt=urn:sha1:ABC", MagnetError::NoHash),
            ("magnet:?xt=urn:btih:ü", MagnetError::BadHash("ü".into())),
            ("magnet:?xt=urn:btih:012", MagnetError::BadHash("012".into())),
            (&format!("magnet:?xt=urn:btmh:{v2}"), MagnetError::Version2),
            (&format!("magnet:?xt=urn:btih:{HEX}&so=3-1"), MagnetError::Select("3-1".into())),
            (&format!("magnet:?xt=urn:btih:{HEX}&so=,"), MagnetError::Select(",".into())),
        ] {
            assert_eq!(Magnet::parse(link), Err(error), "{link}");
        }
        let many = format!("magnet:?xt=urn:btih:{HEX}");
        let many = (0..1000).fold(many, |link, n| format!("{link}&tr={n}&x.pe=1.1.1.1:{}", n + 1));
        let magnet = Magnet::parse(&many).unwrap();
        assert_eq!((magnet.trackers.len(), magnet.peers.len()), (MAX_ADDRESSES, MAX_ADDRESSES));
    }

    #[test]
    fn damaged_links_never_panic() {
        let good = format!("magnet:?xt=urn:btih:{HEX}&dn=%c3%bc&x.pe=[::1]:6&so=0,4-6&tr=x&xl=1");
        survived(
            3000,
            |random| random.damage(good.as_bytes(), 3),
            |bytes, _| Magnet::parse(&String::from_utf8_lossy(bytes)).is_ok(),
        );
    }
}
