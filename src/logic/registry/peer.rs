//! A peer as the tracker keeps it: 42 bytes, in two parts.

use std::net::IpAddr;

use crate::proto::announce::answer::{Crypto, Form, Key};
use crate::proto::ids::PeerId;

/// A peer, unpacked: what it told of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub id: PeerId,
    /// The address it announces from.
    pub ip: IpAddr,
    /// The address it wants to be listed by, if that was believed.
    pub given: Option<IpAddr>,
    /// Where it listens; 0 = nowhere, and it is never listed.
    pub port: u16,
    /// How it stands to crypto.
    pub crypto: Crypto,
    /// Its secret.
    pub key: Option<Key>,
    /// Bytes it still needs; 0 = it is a seed. Beyond 2^48 - 1 it is cut.
    pub left: u64,
    /// 0 = it is listed. Else it is not, and this is one more than the failed attempts to reach it.
    pub unreached: u8,
}

impl Peer {
    /// The address it is listed by.
    pub fn listed_ip(&self) -> IpAddr {
        self.given.unwrap_or(self.ip)
    }
}

/// The addresses of a peer that has more than one, or one of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wide {
    /// Where it announces from, and the address it wants to be listed by.
    pub ips: (IpAddr, Option<IpAddr>),
}

/// What others are told of a peer, packed, and what has to be known to tell it. These lie together,
/// apart from the rest: an answer reads fifty of them, and so waits for an eighth of the memory.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// The IPv4 address, or the number of a [`Wide`].
    ip: [u8; 4],
    port: [u8; 2],
    flags: u8,
    unreached: u8,
}

/// The rest of a peer, packed.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    id: [u8; 20],
    key: [u8; Key::MAX],
    left: [u8; 6],
}

/// The largest `left` there is room for.
const MAX_LEFT: u64 = (1 << 48) - 1;

/// Bits of the flags: the key's length, the crypto, and two marks.
const KEY: u8 = 0b1111;
const SUPPORTED: u8 = 1 << 4;
const REQUIRED: u8 = 1 << 5;
const HEARD: u8 = 1 << 6;
const WIDE: u8 = 1 << 7;

/// Packs a peer that was heard of just now, or was not. Addresses for which there is no room go to
/// `wide`, which gives their number.
pub fn pack(peer: &Peer, heard: bool, wide: impl FnOnce(Wide) -> u32) -> (Shown, Kept) {
    let mut flags = match peer.crypto {
        Crypto::Plain => 0,
        Crypto::Supported => SUPPORTED,
        Crypto::Required => REQUIRED,
    };
    let mut key = [0; Key::MAX];
    if let Some(sent) = &peer.key {
        let bytes = sent.as_bytes();
        key[..bytes.len()].copy_from_slice(bytes);
        flags |= u8::try_from(bytes.len()).expect("it has at most Key::MAX bytes");
    }
    if heard {
        flags |= HEARD;
    }
    let ip = match (peer.ip, peer.given) {
        (IpAddr::V4(ip), None) => ip.octets(),
        _ => {
            flags |= WIDE;
            wide(Wide { ips: (peer.ip, peer.given) }).to_be_bytes()
        }
    };
    let mut left = [0; 6];
    left.copy_from_slice(&peer.left.min(MAX_LEFT).to_be_bytes()[2..]);
    let (port, unreached) = (peer.port.to_be_bytes(), peer.unreached);
    (Shown { ip, port, flags, unreached }, Kept { id: peer.id.0, key, left })
}

/// Unpacks a peer; `wide` gives the addresses with a number.
pub fn unpack(shown: &Shown, kept: &Kept, wide: impl FnOnce(u32) -> Wide) -> Peer {
    let (ip, given) = match shown.wide() {
        Some(number) => wide(number).ips,
        None => (shown.ip.into(), None),
    };
    let mut left = [0; 8];
    left[2..].copy_from_slice(&kept.left);
    Peer {
        id: PeerId(kept.id),
        ip,
        given,
        port: u16::from_be_bytes(shown.port),
        crypto: shown.crypto(),
        key: Key::new(&kept.key[..usize::from(shown.flags & KEY)]),
        left: u64::from_be_bytes(left),
        unreached: shown.unreached,
    }
}

impl Shown {
    /// The address it is listed by; `wide` gives those with a number.
    pub fn listed_ip(&self, wide: impl FnOnce(u32) -> Wide) -> IpAddr {
        match self.wide() {
            Some(number) => {
                let (ip, given) = wide(number).ips;
                given.unwrap_or(ip)
            }
            None => IpAddr::V4(self.ip.into()),
        }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        u16::from_be_bytes(self.port)
    }

    /// The number of its [`Wide`], if it has one.
    pub fn wide(&self) -> Option<u32> {
        (self.flags & WIDE != 0).then(|| u32::from_be_bytes(self.ip))
    }

    /// Gives its [`Wide`] another number.
    pub fn set_wide(&mut self, number: u32) {
        self.ip = number.to_be_bytes();
    }

    /// How it stands to crypto.
    pub fn crypto(&self) -> Crypto {
        match self.flags & (SUPPORTED | REQUIRED) {
            0 => Crypto::Plain,
            SUPPORTED => Crypto::Supported,
            _ => Crypto::Required,
        }
    }

    /// Whether it may be listed in this form.
    pub fn suits(&self, form: Form) -> bool {
        let crypto = match form {
            Form::WithFlags => true,
            Form::CryptoOnly => self.crypto() != Crypto::Plain,
            Form::Compact | Form::Dicts | Form::DictsWithoutId => self.crypto() != Crypto::Required,
        };
        crypto && self.port != [0; 2] && self.unreached == 0
    }

    /// Whether it was heard of since [`Shown::forget`].
    pub fn was_heard(&self) -> bool {
        self.flags & HEARD != 0
    }

    /// Has it count as not heard of.
    pub fn forget(&mut self) {
        self.flags &= !HEARD;
    }
}

impl Kept {
    /// Its name.
    pub fn id(&self) -> &[u8; 20] {
        &self.id
    }

    /// The last bytes of a name, which can be compared at once.
    pub fn end_of(id: &[u8; 20]) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = *id;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// Whether it is complete.
    pub fn is_seed(&self) -> bool {
        self.left == [0; 6]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        assert_eq!((size_of::<Shown>(), size_of::<Kept>()), (8, 34));
        let plain = Peer {
            id: PeerId(*b"abcdefghijklmnopqrst"),
            ip: "1.2.3.4".parse().unwrap(),
            given: None,
            port: 258,
            crypto: Crypto::Plain,
            key: None,
            left: 0,
            unreached: 0,
        };
        let four = Peer { given: "5.6.7.8".parse().ok(), crypto: Crypto::Supported, ..plain };
        let six = Peer { ip: "2001:db8::1".parse().unwrap(), left: 7, ..plain };
        let given = Peer { given: "::5".parse().ok(), crypto: Crypto::Required, ..plain };
        let keyed = Peer { key: Key::new(b"12345678"), left: MAX_LEFT, unreached: 3, ..plain };
        for (peer, wides) in [(plain, 0), (four, 1), (six, 1), (given, 1), (keyed, 0)] {
            let mut kept = None;
            let (shown, rest) = pack(&peer, true, |wide| {
                kept = Some(wide);
                77
            });
            assert_eq!(shown.wide().iter().count(), wides);
            let back = unpack(&shown, &rest, |number| {
                assert_eq!(number, 77);
                kept.unwrap()
            });
            assert_eq!(back, peer);
            let listed = shown.listed_ip(|_| kept.unwrap());
            assert_eq!((listed, shown.port(), *rest.id()), (peer.listed_ip(), 258, peer.id.0));
            assert_eq!(rest.is_seed(), peer.left == 0);
            assert_eq!(shown.crypto(), peer.crypto);
        }
        let (shown, rest) = pack(&Peer { left: u64::MAX, ..plain }, false, |_| 0);
        assert_eq!(unpack(&shown, &rest, |_| unreachable!()).left, MAX_LEFT);
        assert!(!shown.was_heard());
    }

    #[test]
    fn what_was_heard_is_forgotten() {
        let peer = Peer {
            id: PeerId([1; 20]),
            ip: "1.2.3.4".parse().unwrap(),
            given: None,
            port: 1,
            crypto: Crypto::Plain,
            key: None,
            left: 0,
            unreached: 0,
        };
        let (mut packed, _) = pack(&peer, true, |_| 0);
        assert!(packed.was_heard() && packed.suits(Form::Compact));
        packed.forget();
        assert!(!packed.was_heard());
        let (hidden, _) = pack(&Peer { unreached: 1, ..peer }, true, |_| 0);
        assert!(!hidden.suits(Form::Compact));
    }
}
