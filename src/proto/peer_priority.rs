//! Which of many peers to be connected to (BEP 40).
//!
//! Both ends of a connection reckon the same number from their two addresses, so that the two
//! agree on how much it is worth, and nobody can choose his.

use crate::proto::hash::crc32c;
use std::net::{IpAddr, SocketAddr};

/// How much a connection between two addresses is worth; more is better. The same whichever end
/// asks. Addresses of different families have the least.
pub fn peer_priority(one: SocketAddr, other: SocketAddr) -> u32 {
    match (one.ip().to_canonical(), other.ip().to_canonical()) {
        (a, b) if a == b => pair(&one.port().to_be_bytes(), &other.port().to_be_bytes()),
        (IpAddr::V4(a), IpAddr::V4(b)) => masked(&a.octets(), &b.octets(), 1),
        (IpAddr::V6(a), IpAddr::V6(b)) => masked(&a.octets(), &b.octets(), 5),
        _ => 0,
    }
}

/// Neighbours tell nobody apart from strangers, so of addresses in different networks only a part
/// of the bits counts: all up to the byte behind the first that differs, `least` at least, and of
/// the rest every other bit.
fn masked(a: &[u8], b: &[u8], least: usize) -> u32 {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let whole = if same <= least { least + 1 } else { same + 1 };
    let mask = |address: &[u8]| -> Vec<u8> {
        let bytes = address.iter().enumerate();
        bytes.map(|(i, byte)| if i < whole { *byte } else { byte & 0x55 }).collect()
    };
    pair(&mask(a), &mask(b))
}

/// The checksum of both, the smaller one first.
fn pair(a: &[u8], b: &[u8]) -> u32 {
    let (first, second) = if a <= b { (a, b) } else { (b, a) };
    crc32c(first.iter().chain(second))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn priority(a: &str, b: &str) -> u32 {
        let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
        assert_eq!(peer_priority(a, b), peer_priority(b, a), "the same at both ends");
        peer_priority(a, b)
    }

    #[test]
    fn gives_the_numbers_that_bep_40_has_as_examples() {
        assert_eq!(priority("123.213.32.10:1", "98.76.54.32:2"), 0xec2d_7224);
        assert_eq!(priority("123.213.32.10:1", "123.213.32.234:2"), 0x9956_8189);
        assert_eq!(priority("[::ffff:123.213.32.10]:1", "98.76.54.32:2"), 0xec2d_7224);
    }

    #[test]
    fn peers_behind_one_address_are_told_apart_by_their_ports() {
        let ports = [0x1ae1u16, 0x1ae2].map(u16::to_be_bytes).concat();
        let expected = crc32c(&ports);
        assert_eq!(priority("1.2.3.4:6882", "1.2.3.4:6881"), expected);
        assert_eq!(priority("1.2.3.4:6882", "[2001:db8::1]:6881"), 0);
        assert_ne!(priority("[2001:db8::1]:1", "[2001:db9::1]:1"), 0);
    }
}
