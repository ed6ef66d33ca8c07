//! The packets of NAT-PMP (RFC 6886).

use super::{Answer, Mapping, Protocol, u16_at, u32_at};

const VERSION: u8 = 0;

/// Added to the number of what was asked.
const IS_ANSWER: u8 = 128;

/// The result of what was granted.
const SUCCESS: u16 = 0;

/// The result of what is asked in a version that the gateway does not know.
const UNSUPPORTED_VERSION: u16 = 1;

fn operation(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Udp => 1,
        Protocol::Tcp => 2,
    }
}

/// Asks for a mapping, or that it be removed.
pub fn request(wanted: &Mapping) -> Vec<u8> {
    let external = if wanted.lifetime == 0 { 0 } else { wanted.external };
    let mut packet = vec![VERSION, operation(wanted.protocol), 0, 0];
    packet.extend(wanted.internal.to_be_bytes());
    packet.extend(external.to_be_bytes());
    packet.extend(wanted.lifetime.to_be_bytes());
    packet
}

/// Reads an answer; `None` if it is none.
pub fn answer(packet: &[u8]) -> Option<Answer> {
    let (version, operation) = (*packet.first()?, *packet.get(1)?);
    let result = u16_at(packet, 2)?;
    if version != VERSION || operation < IS_ANSWER {
        return None;
    }
    let protocol = match operation - IS_ANSWER {
        1 => Some(Protocol::Udp),
        2 => Some(Protocol::Tcp),
        _ => None,
    };
    match result {
        SUCCESS => Some(Answer::Granted(Mapping {
            protocol: protocol?,
            internal: u16_at(packet, 8)?,
            external: u16_at(packet, 10)?,
            lifetime: u32_at(packet, 12)?,
        })),
        UNSUPPORTED_VERSION => Some(Answer::OtherVersion),
        why => Some(Answer::Refused(protocol, why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::damage::survived;

    const GRANTED: [u8; 16] = [0, 130, 0, 0, 0, 0, 0, 9, 0x1a, 0xe1, 0x1a, 0xe2, 0, 0, 0x0e, 0x10];

    #[test]
    fn a_request_is_laid_out_as_in_section_3_3() {
        let mut wanted =
            Mapping { protocol: Protocol::Udp, internal: 6881, external: 6881, lifetime: 3600 };
        let expected = [0, 1, 0, 0, 0x1a, 0xe1, 0x1a, 0xe1, 0, 0, 0x0e, 0x10];
        assert_eq!(request(&wanted), expected);
        (wanted.protocol, wanted.lifetime) = (Protocol::Tcp, 0);
        assert_eq!(request(&wanted), [0, 2, 0, 0, 0x1a, 0xe1, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn answers_are_told_apart() {
        let granted =
            Mapping { protocol: Protocol::Tcp, internal: 6881, external: 6882, lifetime: 3600 };
        assert_eq!(answer(&GRANTED), Some(Answer::Granted(granted)));
        let refused = Some(Answer::Refused(Some(Protocol::Udp), 2));
        assert_eq!(answer(&[0, 129, 0, 2, 0, 0, 0, 0]), refused);
        assert_eq!(answer(&[0, 129, 0, 1, 0, 0, 0, 0]), Some(Answer::OtherVersion));
        for other in [&GRANTED[..15], &[0, 2, 0, 0], &[2, 129, 0, 0], &[0, 131, 0, 0], &[]] {
            assert_eq!(answer(other), None, "{other:?}");
        }
    }

    #[test]
    fn damaged_answers_are_survived() {
        survived(2_000, |r| r.damage(&GRANTED, 3), |bytes, _| answer(bytes).is_some());
    }
}
