//! The handshake of extended messages (BEP 10), with what BEP 21 adds to it.
//!
//! A dictionary that each side may send at any time, and again when something changes. In `m` it
//! says which extensions its sender knows, and by what number their messages are to be marked; of
//! those that exist we know peer exchange and metadata exchange.

use super::exchange::NAME as EXCHANGE;
use super::metadata::NAME as METADATA;
use crate::proto::bencode::{self, Item, Value};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest handshake that is read, in bytes; a longer one is passed over. Those of other
/// clients are of some hundred bytes.
pub const MAX_EXTENDED_LENGTH: u32 = 8 * 1024;

/// No more bencoded values than this are taken from a handshake.
const MAX_VALUES: usize = 512;

/// Of a client's name no more characters than this are kept.
const MAX_CLIENT_LENGTH: usize = 64;

/// What one side tells of itself. Every part may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extended {
    /// Name and version of the program (`v`), without control characters.
    pub client: Option<String>,
    /// The number of its messages of peer exchange (BEP 11), never 0; `None` if it wants none.
    pub exchange: Option<u8>,
    /// The number of its messages of metadata exchange (BEP 9), never 0; `None` if it wants none.
    pub metadata: Option<u8>,
    /// Bytes of the metadata that it gives (BEP 9), never 0.
    pub metadata_size: Option<u32>,
    /// The port it listens on (`p`), never 0.
    pub port: Option<u16>,
    /// How many requests it lets wait at a time (`reqq`).
    pub request_limit: Option<u32>,
    /// It would rather be dialled by encrypted connections (`e`, as other clients have it).
    pub encrypts: bool,
    /// It will not download any more (BEP 21).
    pub upload_only: bool,
    /// The other side's address, as the sender sees it (`yourip`).
    pub your_ip: Option<IpAddr>,
}

impl Extended {
    /// From the bytes of a handshake. What is missing or makes no sense is left out; bytes that
    /// are no dictionary at all tell nothing. Never panics.
    pub fn decode(bytes: &[u8]) -> Extended {
        // Some clients let other data follow, as in other extended messages.
        let Ok((value, _)) = bencode::decode_prefix_within(bytes, MAX_VALUES) else {
            return Extended::default();
        };
        let int = |key: &str| value.get(key).and_then(Value::as_int);
        let bytes = |key: &str| value.get(key).and_then(Value::as_bytes);
        let number = |name: &str| {
            let number = value.get("m").and_then(|m| m.get(name)).and_then(Value::as_int);
            number.and_then(|n| u8::try_from(n).ok()).filter(|n| *n > 0)
        };
        Extended {
            client: bytes("v").map(printable).filter(|name| !name.is_empty()),
            exchange: number(EXCHANGE),
            metadata: number(METADATA),
            metadata_size: int("metadata_size")
                .and_then(|n| u32::try_from(n).ok())
                .filter(|n| *n > 0),
            port: int("p").and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0),
            request_limit: int("reqq").and_then(|n| u32::try_from(n).ok()),
            encrypts: int("e").is_some_and(|n| n != 0),
            upload_only: int("upload_only").is_some_and(|n| n != 0),
            your_ip: bytes("yourip").and_then(address),
        }
    }

    /// The bytes of this handshake.
    pub fn encode(&self) -> Vec<u8> {
        let numbers = [(METADATA, self.metadata), (EXCHANGE, self.exchange)];
        let numbers = numbers.into_iter().filter_map(|(name, number)| {
            number.map(|n| (name.as_bytes().to_vec(), Item::Int(n.into())))
        });
        let entries = [
            self.encrypts.then_some(("e", Item::Int(1))),
            Some(("m", Item::Dict(numbers.collect()))),
            self.metadata_size.map(|n| ("metadata_size", Item::Int(n.into()))),
            self.port.map(|port| ("p", Item::Int(port.into()))),
            self.request_limit.map(|n| ("reqq", Item::Int(n.into()))),
            self.upload_only.then_some(("upload_only", Item::Int(1))),
            self.client.as_ref().map(|name| ("v", Item::Bytes(name.clone().into_bytes()))),
            self.your_ip.map(|ip| ("yourip", Item::Bytes(compact(ip)))),
        ];
        let entries = entries.into_iter().flatten();
        Item::Dict(entries.map(|(key, item)| (key.as_bytes().to_vec(), item)).collect()).encode()
    }
}

fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().filter(|c| !c.is_control()).take(MAX_CLIENT_LENGTH).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|b| Ipv4Addr::from(b).into()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|b| Ipv6Addr::from(b).into()),
        _ => None,
    }
}

fn compact(ip: IpAddr) -> Vec<u8> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::damage::survived;

    fn full() -> Extended {
        Extended {
            client: Some("BitTornado 0.5.0".into()),
            exchange: Some(3),
            metadata: Some(4),
            metadata_size: Some(31_235),
            port: Some(6881),
            request_limit: Some(250),
            encrypts: true,
            upload_only: true,
            your_ip: Some("1.2.3.4".parse().unwrap()),
        }
    }

    #[test]
    fn comes_out_as_it_went_in() {
        let expected =
            b"d1:ei1e1:md11:ut_metadatai4e6:ut_pexi3ee13:metadata_sizei31235e1:pi6881e4:reqqi250e\
              11:upload_onlyi1e1:v16:BitTornado 0.5.06:yourip4:\x01\x02\x03\x04e";
        assert_eq!(full().encode(), expected);
        assert_eq!(Extended::decode(expected), full());
        let six = Extended { your_ip: Some("2001:db8::1".parse().unwrap()), ..full() };
        assert_eq!(Extended::decode(&six.encode()), six);
        assert_eq!(Extended::default().encode(), b"d1:mdee");
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let odd: &[u8] = b"d1:md6:lt_donti3e11:ut_metadatai0e6:ut_pexi256ee13:metadata_sizei-1e\
                           1:pi0e4:reqqi-1e1:vi3e6:yourip3:abce";
        for bytes in [odd, b"", b"i3e", b"le", b"d1:m", b"d1:pi65536ee"] {
            assert_eq!(Extended::decode(bytes), Extended::default(), "{bytes:?}");
        }
        let named = Extended::decode(b"d1:v6:a\x1b\n\xff b4:reqqi9eerest");
        assert_eq!(named.client.as_deref(), Some("a\u{fffd} b"));
        let many = [b"d1:ml".as_slice(), &b"i1e".repeat(2000), b"e1:pi9ee"].concat();
        assert_eq!(Extended::decode(&many), Extended::default());
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let good = full().encode();
        survived(
            3000,
            |random| random.damage(&good, 3),
            |bytes, _| {
                let _ = Extended::decode(bytes).encode();
                true
            },
        );
    }
}
