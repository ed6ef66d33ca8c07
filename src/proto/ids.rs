//! The names of BitTorrent: of torrents and of peers, and their text forms.

use std::fmt;

/// The SHA-1 of a torrent's `info` bytes: what a swarm is known by (BEP 3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InfoHash(pub [u8; 20]);

/// The SHA-256 of a torrent's `info` bytes: what a torrent of version 2 is known by (BEP 52).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InfoHashV2(pub [u8; 32]);

/// The name a client gives itself for one run (BEP 20).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 20]);

impl InfoHash {
    /// From exactly 20 bytes; `None` for any other number.
    pub fn from_bytes(bytes: &[u8]) -> Option<InfoHash> {
        bytes.try_into().ok().map(InfoHash)
    }

    /// From 40 hex digits of either case; `None` for anything else.
    pub fn from_hex(text: &str) -> Option<InfoHash> {
        if text.len() != 40 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let mut hash = [0; 20];
        for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(InfoHash(hash))
    }

    /// From 32 digits of base 32 (RFC 4648) of either case, as some magnet links have it; `None`
    /// for anything else.
    pub fn from_base32(text: &str) -> Option<InfoHash> {
        if text.len() != 32 {
            return None;
        }
        let mut hash = [0; 20];
        for (five, eight) in hash.chunks_exact_mut(5).zip(text.as_bytes().chunks_exact(8)) {
            let mut bits = 0u64;
            for digit in eight {
                bits = bits << 5 | u64::from(base32(digit.to_ascii_uppercase())?);
            }
            five.copy_from_slice(&bits.to_be_bytes()[3..]);
        }
        Some(InfoHash(hash))
    }
}

fn base32(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'2'..=b'7' => Some(digit - b'2' + 26),
        _ => None,
    }
}

impl fmt::Display for InfoHash {
    /// 40 lower-case hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InfoHash({self})")
    }
}

impl InfoHashV2 {
    /// Its first 20 bytes: what stands for it where there is no room for more, as at trackers.
    pub fn truncated(&self) -> InfoHash {
        InfoHash(self.0[..20].try_into().expect("20 of 32 bytes"))
    }
}

impl fmt::Display for InfoHashV2 {
    /// 64 lower-case hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for InfoHashV2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InfoHashV2({self})")
    }
}

/// The alphabet of peer ids in Shadow's style, as BitTornado writes them.
const ALPHABET: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz.-";

impl PeerId {
    /// From exactly 20 bytes; `None` for any other number.
    pub fn from_bytes(bytes: &[u8]) -> Option<PeerId> {
        bytes.try_into().ok().map(PeerId)
    }

    /// A new id of this program, in Shadow's style as BitTornado always had it: `T050-----`
    /// and eleven characters made from `random`.
    pub fn generate(random: [u8; 11]) -> PeerId {
        let mut id = *b"T050-----00000000000";
        for (place, byte) in id[9..].iter_mut().zip(random) {
            *place = ALPHABET[usize::from(byte % 64)];
        }
        PeerId(id)
    }

    /// The program and version an id tells of, or the printable part of the id where its style is
    /// unknown. Never contains control characters.
    pub fn client(&self) -> String {
        self.azureus_style().or_else(|| self.shadow_style()).unwrap_or_else(|| {
            let end = self.0.iter().position(|b| !b.is_ascii_graphic()).unwrap_or(20);
            String::from_utf8_lossy(&self.0[..end.min(8)]).into_owned()
        })
    }

    /// Whether both ids are of the same program and version, and say so in the style that most
    /// programs have (`-XX1234-…`, BEP 20).
    pub fn is_same_client(&self, other: &PeerId) -> bool {
        self.tag().is_some_and(|tag| other.tag() == Some(tag))
    }

    /// The beginning of an id in that style.
    fn tag(&self) -> Option<&[u8]> {
        let id = &self.0;
        let fits = id[0] == b'-' && id[7] == b'-' && id[1..7].iter().all(u8::is_ascii_alphanumeric);
        fits.then_some(&id[..8])
    }

    fn azureus_style(&self) -> Option<String> {
        let id = self.tag()?;
        let name = match &id[1..3] {
            b"TR" => "Transmission",
            b"LT" => "libtorrent",
            b"lt" => "rTorrent",
            b"qB" => "qBittorrent",
            b"DE" => "Deluge",
            b"UT" => "µTorrent",
            b"AZ" => "Vuze",
            b"KT" => "KTorrent",
            other => {
                return Some(format!(
                    "{} {}",
                    String::from_utf8_lossy(other),
                    String::from_utf8_lossy(&id[3..7])
                ));
            }
        };
        Some(format!("{name} {}", String::from_utf8_lossy(&id[3..7])))
    }

    /// `T041-----…`: a letter, then version digits, padded with `-`.
    fn shadow_style(&self) -> Option<String> {
        let name = match self.0[0] {
            b'T' => "BitTornado",
            b'S' => "Shadow",
            b'A' if self.0.starts_with(b"A2-") => return Some("aria2".into()),
            b'A' => "ABC",
            _ => return None,
        };
        let digits: Vec<u8> = self.0[1..6].iter().copied().take_while(|b| *b != b'-').collect();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_alphanumeric) {
            return None;
        }
        let version: Vec<String> = digits.iter().map(|b| char::from(*b).to_string()).collect();
        Some(format!("{name} {}", version.join(".")))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({})", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_both_ways_and_only_with_forty_digits() {
        let text = "0123456789abcdef0123456789abcdef01234567";
        let hash = InfoHash::from_hex(text).unwrap();
        assert_eq!(hash.to_string(), text);
        assert_eq!(InfoHash::from_hex(&text.to_uppercase()), Some(hash));
        assert_eq!(InfoHash::from_hex(&text[1..]), None);
        assert_eq!(InfoHash::from_hex(&text.replace('0', "+")), None);
    }

    #[test]
    fn our_ids_have_bittornados_style() {
        let id = PeerId::generate([0, 1, 9, 10, 35, 36, 61, 62, 63, 64, 255]);
        assert_eq!(&id.0, b"T050-----019AZaz.-0-");
        assert_eq!(id.client(), "BitTornado 0.5.0");
    }

    #[test]
    fn names_the_client_of_a_peer_id() {
        let name = |id: &[u8; 20]| PeerId(*id).client();
        assert_eq!(name(b"-TR3000-abcdefghijkl"), "Transmission 3000");
        assert_eq!(name(b"-XY12a4-abcdefghijkl"), "XY 12a4");
        assert_eq!(name(b"A2-1-36-0-abcdefghij"), "aria2");
        assert_eq!(name(b"T041-----K1O5q-V00kO"), "BitTornado 0.4.1");
        assert_eq!(name(b"\x01\x02xxxxxxxxxxxxxxxxxx"), "");
    }

    #[test]
    fn ids_of_one_client_are_known_by_their_beginning() {
        let same = |a: &[u8; 20], b: &[u8; 20]| PeerId(*a).is_same_client(&PeerId(*b));
        assert!(same(b"-LT2080-Jmht~bu7y~oC", b"-LT2080-EAbrNSvVf4Ad"));
        assert!(!same(b"-LT2080-Jmht~bu7y~oC", b"-LT2090-Jmht~bu7y~oC"));
        assert!(!same(b"T050-----abcdefghijk", b"T050-----abcdefghijk"), "it says nothing");
    }
}
