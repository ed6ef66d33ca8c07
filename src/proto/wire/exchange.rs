//! Peer exchange (BEP 11): the message by which peers tell each other of others.

use crate::proto::address;
use crate::proto::bencode::{self, Item, Value};
use std::net::SocketAddr;

/// The number that messages of peer exchange bear that are meant for us.
pub const EXCHANGE: u8 = 1;

/// What the extension is called in the handshake of extended messages.
pub const NAME: &str = "ut_pex";

/// Of the addresses in one message no more than this are taken of each list; BEP 11 allows fewer.
pub const MAX_ADDRESSES: usize = 100;

/// No more bencoded values than this are taken from a message.
const MAX_VALUES: usize = 64;

/// The flag of a peer that encryption is welcome to (BEP 11).
const ENCRYPTS: u8 = 1;

/// The flag of a peer that has everything, or wants nothing (BEP 11).
const SEED: u8 = 2;

/// A peer that is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Other {
    /// Where it listens.
    pub address: SocketAddr,
    /// It has everything, or wants nothing.
    pub seed: bool,
    /// It understands encrypted connections.
    pub encrypts: bool,
}

/// A message of peer exchange.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exchange {
    /// The number that the receiver gave the extension.
    pub number: u8,
    /// Peers that the sender has a connection with since its last message.
    pub added: Vec<Other>,
    /// Peers that it has none with any more.
    pub dropped: Vec<SocketAddr>,
}

impl Exchange {
    /// From the bytes of a message that came. What makes no sense is left out. Never panics.
    pub fn decode(bytes: &[u8]) -> Exchange {
        let Ok((value, _)) = bencode::decode_prefix_within(bytes, MAX_VALUES) else {
            return Exchange { number: EXCHANGE, ..Exchange::default() };
        };
        let bytes = |key: &str| value.get(key).and_then(Value::as_bytes).unwrap_or_default();
        let mut exchange = Exchange { number: EXCHANGE, ..Exchange::default() };
        for (list, flags, length) in [("added", "added.f", 6), ("added6", "added6.f", 18)] {
            let flags = bytes(flags).iter().copied().chain(std::iter::repeat(0));
            let peers = bytes(list).chunks_exact(length).take(MAX_ADDRESSES).zip(flags);
            let peers = peers.filter_map(|(at, flags)| {
                let (seed, encrypts) = (flags & SEED != 0, flags & ENCRYPTS != 0);
                Some(Other { address: address::read(at)?, seed, encrypts })
            });
            exchange.added.extend(peers);
        }
        for (list, length) in [("dropped", 6), ("dropped6", 18)] {
            let peers = bytes(list).chunks_exact(length).take(MAX_ADDRESSES);
            exchange.dropped.extend(peers.filter_map(address::read));
        }
        exchange
    }

    /// The bytes of this message, behind its number.
    pub fn encode(&self) -> Vec<u8> {
        let mut lists: [Vec<u8>; 6] = Default::default();
        let [added, flags, added6, flags6, dropped, dropped6] = &mut lists;
        for Other { address: at, seed, encrypts } in &self.added {
            let flag = (u8::from(*seed) * SEED) | (u8::from(*encrypts) * ENCRYPTS);
            match at.is_ipv4() {
                true => (address::put(added, *at), flags.push(flag)),
                false => (address::put(added6, *at), flags6.push(flag)),
            };
        }
        for at in &self.dropped {
            address::put(if at.is_ipv4() { &mut *dropped } else { &mut *dropped6 }, *at);
        }
        let keys = ["added", "added.f", "added6", "added6.f", "dropped", "dropped6"];
        let entries = keys.iter().zip(lists);
        Item::Dict(
            entries.map(|(key, list)| (key.as_bytes().to_vec(), Item::Bytes(list))).collect(),
        )
        .encode()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::damage::survived;

    fn some() -> Exchange {
        let at = |text: &str| text.parse().unwrap();
        Exchange {
            number: EXCHANGE,
            added: vec![
                Other { address: at("1.2.3.4:5"), seed: true, encrypts: false },
                Other { address: at("6.7.8.9:10"), seed: false, encrypts: true },
                Other { address: at("[::1]:7"), seed: true, encrypts: true },
            ],
            dropped: vec![at("1.2.3.4:6"), at("[2001:db8::2]:9")],
        }
    }

    #[test]
    fn comes_out_as_it_went_in() {
        let expected =
            b"d5:added12:\x01\x02\x03\x04\0\x05\x06\x07\x08\x09\0\x0a7:added.f2:\x02\x01\
            6:added618:\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x078:added6.f1:\x03\
            7:dropped6:\x01\x02\x03\x04\0\x06\
            8:dropped618:\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\0\x09e";
        assert_eq!(some().encode(), expected);
        assert_eq!(Exchange::decode(expected), some());
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let none = Exchange { number: EXCHANGE, ..Exchange::default() };
        for bytes in [&b""[..], b"le", b"d5:added5:abcdee", b"d5:addedi5ee", b"d5:added6:abcd\0\0e"]
        {
            assert_eq!(Exchange::decode(bytes), none, "{bytes:?}");
        }
        // Flags may be missing, or too few; lists may be longer than anybody needs.
        let many = [b"d5:added6000:".as_slice(), &b"abcdef".repeat(1000), b"7:added.f1:\x02e"];
        let read = Exchange::decode(&many.concat());
        assert_eq!(read.added.len(), MAX_ADDRESSES);
        assert_eq!((read.added[0].seed, read.added[1].seed), (true, false));
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let good = some().encode();
        survived(
            3000,
            |random| random.damage(&good, 3),
            |bytes, _| {
                let _ = Exchange::decode(bytes).encode();
                true
            },
        );
    }
}
