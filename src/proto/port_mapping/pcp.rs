//! The packets of the Port Control Protocol (RFC 6887): mappings for IPv4.

use super::{Answer, Mapping, Protocol, u16_at, u32_at};
use std::net::Ipv4Addr;

const VERSION: u8 = 2;

/// The operation MAP.
const MAP: u8 = 1;

/// Set in the operation of an answer.
const IS_ANSWER: u8 = 0x80;

/// The result of what was granted.
const SUCCESS: u8 = 0;

/// The result of what is asked in a version that the gateway does not know.
const UNSUPPORTED_VERSION: u8 = 1;

/// Bytes before what belongs to the operation.
const HEAD: usize = 24;

/// By which a mapping is known again, so that nobody else changes it.
pub type Nonce = [u8; 12];

/// The numbers of IANA.
fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

/// Asks for a mapping to our address, which the packet must come from, or that it be removed.
pub fn request(wanted: &Mapping, own: Ipv4Addr, nonce: &Nonce) -> Vec<u8> {
    let external = if wanted.lifetime == 0 { 0 } else { wanted.external };
    let mut packet = vec![VERSION, MAP, 0, 0];
    packet.extend(wanted.lifetime.to_be_bytes());
    packet.extend(own.to_ipv6_mapped().octets());
    packet.extend(nonce);
    packet.extend([number(wanted.protocol), 0, 0, 0]);
    packet.extend(wanted.internal.to_be_bytes());
    packet.extend(external.to_be_bytes());
    packet.extend(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().octets());
    packet
}

/// Reads an answer to a request with this nonce; `None` if it is none.
pub fn answer(packet: &[u8], nonce: &Nonce) -> Option<Answer> {
    let (version, operation) = (*packet.first()?, *packet.get(1)?);
    if operation & IS_ANSWER == 0 {
        return None;
    }
    if version != VERSION {
        // Who knows no version but NAT-PMP's says so in its words.
        return (u16_at(packet, 2)? == u16::from(UNSUPPORTED_VERSION))
            .then_some(Answer::OtherVersion);
    }
    let result = *packet.get(3)?;
    if result == UNSUPPORTED_VERSION {
        return Some(Answer::OtherVersion);
    }
    let lifetime = u32_at(packet, 4)?;
    let map = packet.get(HEAD..)?;
    if operation != IS_ANSWER | MAP || map.get(..nonce.len())? != nonce {
        return None;
    }
    let protocol = match map.get(12)? {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        _ => return None,
    };
    let (internal, external) = (u16_at(map, 16)?, u16_at(map, 18)?);
    match result {
        SUCCESS => Some(Answer::Granted(Mapping { protocol, internal, external, lifetime })),
        why => Some(Answer::Refused(Some(protocol), why.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::damage::survived;

    const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    const NONCE: Nonce = *b"abcdefghijkl";
    const WANTED: Mapping =
        Mapping { protocol: Protocol::Tcp, internal: 6881, external: 6881, lifetime: 3600 };

    /// The request as a gateway sends it back.
    fn granted() -> Vec<u8> {
        let mut packet = request(&WANTED, OWN, &NONCE);
        packet[1] |= IS_ANSWER;
        packet[8..24].fill(0);
        packet
    }

    #[test]
    fn a_request_is_laid_out_as_in_sections_7_and_11() {
        let packet = request(&WANTED, OWN, &NONCE);
        let head = [2, 1, 0, 0, 0, 0, 0x0e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255];
        assert_eq!(
            (packet.len(), &packet[..20], &packet[20..24]),
            (60, &head[..], &OWN.octets()[..])
        );
        assert_eq!(packet[24..44], *b"abcdefghijkl\x06\0\0\0\x1a\xe1\x1a\xe1");
        let removal = request(&Mapping { lifetime: 0, ..WANTED }, OWN, &NONCE);
        assert_eq!((&removal[4..8], &removal[42..44]), (&[0; 4][..], &[0; 2][..]));
    }

    #[test]
    fn answers_are_told_apart() {
        let mut packet = granted();
        assert_eq!(answer(&packet, &NONCE), Some(Answer::Granted(WANTED)));
        assert_eq!(answer(&packet, b"somebodyelse"), None);
        assert_eq!(answer(&packet[..40], &NONCE), None);
        packet[3] = 2;
        assert_eq!(answer(&packet, &NONCE), Some(Answer::Refused(Some(Protocol::Tcp), 2)));
        packet[3] = 1;
        assert_eq!(answer(&packet, &NONCE), Some(Answer::OtherVersion));
        assert_eq!(answer(&[0, 129, 0, 1, 0, 0, 0, 0], &NONCE), Some(Answer::OtherVersion));
        assert_eq!(answer(&request(&WANTED, OWN, &NONCE), &NONCE), None);
    }

    #[test]
    fn damaged_answers_are_survived() {
        let whole = granted();
        survived(2_000, |r| r.damage(&whole, 3), |bytes, _| answer(bytes, &NONCE).is_some());
    }
}
