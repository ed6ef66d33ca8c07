//! Node ids: how near two are, and which belong to an address (BEP 42).

use crate::proto::address::is_local;
use crate::proto::hash::crc32c;
use std::net::IpAddr;

/// Which bits of an address count for its ids, of IPv4 and of the first half of IPv6 (BEP 42).
const MASK_4: [u8; 4] = [0x03, 0x0f, 0x3f, 0xff];
const MASK_6: [u8; 8] = [0x01, 0x03, 0x07, 0x0f, 0x1f, 0x3f, 0x7f, 0xff];

/// The id of a node, or a place among ids: info hashes are such places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 20]);

impl NodeId {
    /// How far it is to another: the bits in which they differ, the first weighs most (BEP 5).
    pub fn distance(&self, other: &NodeId) -> [u8; 20] {
        std::array::from_fn(|n| self.0[n] ^ other.0[n])
    }

    /// How many bits at the beginning both have in common, up to 160.
    pub fn common_bits(&self, other: &NodeId) -> u32 {
        let distance = self.distance(other);
        match distance.iter().position(|byte| *byte != 0) {
            Some(at) => at as u32 * 8 + distance[at].leading_zeros(),
            None => 160,
        }
    }

    /// An id that belongs to an address; all that is free in it comes from `random`.
    pub fn of(ip: IpAddr, random: [u8; 20]) -> NodeId {
        let mut id = random;
        if let Some(crc) = checksum(ip, random[19]) {
            let [a, b, c, _] = crc.to_be_bytes();
            (id[0], id[1]) = (a, b);
            id[2] = c & 0xf8 | random[2] & 0x07;
        }
        NodeId(id)
    }

    /// Whether somebody at this address may have this id. At a local address it may be any.
    pub fn belongs_to(&self, ip: IpAddr) -> bool {
        is_local(ip) || *self == NodeId::of(ip, self.0)
    }
}

/// What the first 21 bits are, for the last byte of the id. Local addresses are bound to none.
fn checksum(ip: IpAddr, last: u8) -> Option<u32> {
    let ip = ip.to_canonical();
    let masked = |bytes: &[u8], mask: &[u8]| {
        let mut bytes: Vec<u8> = bytes.iter().zip(mask).map(|(byte, mask)| byte & mask).collect();
        bytes[0] |= (last & 7) << 5;
        crc32c(&bytes)
    };
    (!is_local(ip)).then(|| match ip {
        IpAddr::V4(ip) => masked(&ip.octets(), &MASK_4),
        IpAddr::V6(ip) => masked(&ip.octets(), &MASK_6),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_belong_to_addresses_as_in_the_examples_of_bep_42() {
        for (ip, last, prefix) in [
            ("124.31.75.21", 1, [0x5f, 0xbf, 0xb8]),
            ("21.75.31.124", 86, [0x5a, 0x3c, 0xe8]),
            ("65.23.51.170", 22, [0xa5, 0xd4, 0x30]),
            ("84.124.73.14", 65, [0x1b, 0x03, 0x20]),
            ("43.213.53.83", 90, [0xe5, 0x6f, 0x68]),
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            let mut random = [0; 20];
            random[19] = last;
            let id = NodeId::of(ip, random);
            assert_eq!(id.0[..3], prefix, "{ip}");
            assert!(id.belongs_to(ip) && !id.belongs_to("9.9.9.9".parse().unwrap()));
            assert!(id.belongs_to("192.168.1.1".parse().unwrap()), "anything goes at home");
        }
        let six: IpAddr = "2001:db8::1".parse().unwrap();
        assert!(NodeId::of(six, [7; 20]).belongs_to(six) && !NodeId([7; 20]).belongs_to(six));
    }

    #[test]
    fn near_is_what_begins_alike() {
        let (zero, mut other) = (NodeId([0; 20]), NodeId([0; 20]));
        assert_eq!(zero.common_bits(&other), 160);
        other.0[2] = 0x10;
        assert_eq!(zero.common_bits(&other), 19);
        assert!(zero.distance(&other) > zero.distance(&zero));
    }
}
