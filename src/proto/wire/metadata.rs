//! Metadata exchange (BEP 9): the messages by which peers give each other the `info` of a torrent.

use crate::proto::bencode::{self, Item, Value};

/// The number that messages of metadata exchange bear that are meant for us.
pub const METADATA: u8 = 2;

/// What the extension is called in the handshake of extended messages.
pub const NAME: &str = "ut_metadata";

/// The metadata goes in parts of so many bytes; the last one may be shorter (BEP 9).
pub const METADATA_PART: usize = 16 * 1024;

/// The longest message that is read, in bytes: a part, and what tells which.
pub const MAX_METADATA_MESSAGE: u32 = METADATA_PART as u32 + 1024;

/// The longest metadata that is fetched, in bytes: some 1.6 million pieces.
pub const MAX_METADATA: u32 = 32 * 1024 * 1024;

/// No more bencoded values than this are taken from a message.
const MAX_VALUES: usize = 32;

/// A message of metadata exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The number that the receiver gave the extension.
    pub number: u8,
    /// The part it is about, counted from 0.
    pub part: u32,
    /// What is said about it.
    pub word: MetadataWord,
}

/// What is said about a part of the metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataWord {
    /// It is asked for.
    Request,
    /// Here it is.
    Data {
        /// Bytes of the whole metadata.
        total: u32,
        /// Those of the part.
        bytes: Vec<u8>,
    },
    /// It will not be sent.
    Reject,
}

impl Metadata {
    /// From the bytes of a message that came; `None` if they make no sense, or are of a kind that
    /// is not known. Never panics.
    pub fn decode(bytes: &[u8]) -> Option<Metadata> {
        let (value, used) = bencode::decode_prefix_within(bytes, MAX_VALUES).ok()?;
        let int = |key: &str| value.get(key).and_then(Value::as_int);
        let part = int("piece").and_then(|n| u32::try_from(n).ok())?;
        let word = match int("msg_type")? {
            0 => MetadataWord::Request,
            1 => {
                let total = int("total_size").and_then(|n| u32::try_from(n).ok())?;
                let bytes = bytes.get(used..).filter(|b| b.len() <= METADATA_PART)?;
                MetadataWord::Data { total, bytes: bytes.to_vec() }
            }
            2 => MetadataWord::Reject,
            _ => return None,
        };
        Some(Metadata { number: METADATA, part, word })
    }

    /// The bytes of this message, behind its number.
    pub fn encode(&self) -> Vec<u8> {
        let kind = match self.word {
            MetadataWord::Request => 0,
            MetadataWord::Data { .. } => 1,
            MetadataWord::Reject => 2,
        };
        let mut entries = vec![("msg_type", kind), ("piece", self.part.into())];
        if let MetadataWord::Data { total, .. } = &self.word {
            entries.push(("total_size", i64::from(*total)));
        }
        let entries = entries.into_iter().map(|(key, n)| (key.as_bytes().to_vec(), Item::Int(n)));
        let mut out = Item::Dict(entries.collect()).encode();
        if let MetadataWord::Data { bytes, .. } = &self.word {
            out.extend_from_slice(bytes);
        }
        out
    }
}

/// How many parts metadata of so many bytes has.
pub fn metadata_parts(total: u32) -> u32 {
    total.div_ceil(METADATA_PART as u32)
}

/// The bytes of a part of metadata of so many bytes; 0 if there is no such part.
pub fn metadata_part_length(total: u32, part: u32) -> usize {
    let begin = u64::from(part) * METADATA_PART as u64;
    u64::from(total).saturating_sub(begin).min(METADATA_PART as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::damage::survived;

    fn data() -> Metadata {
        let word = MetadataWord::Data { total: 34_256, bytes: b"d4:name".to_vec() };
        Metadata { number: METADATA, part: 1, word }
    }

    #[test]
    fn comes_out_as_it_went_in() {
        let expected = b"d8:msg_typei1e5:piecei1e10:total_sizei34256eed4:name";
        assert_eq!(data().encode(), expected);
        assert_eq!(Metadata::decode(expected), Some(data()));
        for word in [MetadataWord::Request, MetadataWord::Reject] {
            let message = Metadata { number: METADATA, part: 7, word };
            assert_eq!(Metadata::decode(&message.encode()), Some(message));
        }
    }

    #[test]
    fn what_makes_no_sense_is_no_message() {
        let long = [b"d8:msg_typei1e5:piecei0e10:total_sizei9ee".to_vec(), vec![0; 16_385]];
        for bytes in [
            &b""[..],
            b"le",
            b"d8:msg_typei0ee",
            b"d5:piecei0ee",
            b"d8:msg_typei3e5:piecei0ee",
            b"d8:msg_typei0e5:piecei-1ee",
            b"d8:msg_typei0e5:piecei4294967296ee",
            b"d8:msg_typei1e5:piecei0eeabc",
            b"d8:msg_typei1e5:piecei0e10:total_sizei-5eeabc",
            &long.concat(),
        ] {
            assert_eq!(Metadata::decode(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn the_last_part_is_what_is_left() {
        assert_eq!((metadata_parts(0), metadata_parts(1), metadata_parts(16_384)), (0, 1, 1));
        assert_eq!(metadata_parts(u32::MAX), 262_144);
        assert_eq!(metadata_part_length(16_385, 0), 16_384);
        assert_eq!(metadata_part_length(16_385, 1), 1);
        assert_eq!(metadata_part_length(16_385, 2), 0);
        assert_eq!(metadata_part_length(5, u32::MAX), 0);
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let good = data().encode();
        survived(
            3000,
            |random| random.damage(&good, 3),
            |bytes, _| {
                let _ = Metadata::decode(bytes).map(|message| message.encode());
                true
            },
        );
    }
}
