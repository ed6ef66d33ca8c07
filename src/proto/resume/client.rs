//! The form of a download's saved state: what of a torrent was on the disk, and how its files
//! looked then.
//!
//! A dictionary of two entries: `checksum`, the SHA-1 of the bytes of `state`; and `state`, whose
//! keys are those below. Whoever reads it says what it must be about, and gets nothing that is
//! about something else. Used by `app/client`. Never panics on any bytes, and allocates no more
//! than a small multiple of them.

use std::fmt;

use crate::proto::bencode::{self, Value, put_bytes, put_int};
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::{Geometry, PieceIndex};
use crate::proto::hash::sha1;
use crate::proto::ids::InfoHash;

/// Of this form; others are not read.
const VERSION: i64 = 1;

/// A file takes so many bytes: its size and its time.
const STAMP: usize = 16;

/// The size of a file that is not there, which no file has.
const ABSENT: u64 = u64::MAX;

/// How a file looks from outside: if this is as it was, so are its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Its length in bytes.
    pub size: u64,
    /// When it was last written, in nanoseconds since 1970; only ever compared.
    pub mtime: i64,
}

/// What a state must be about, to be of use.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Where its data is, as the bytes of an absolute path.
    pub target: &'a [u8],
    /// Its measures.
    pub geometry: &'a Geometry,
}

/// What was on the disk, and what else is to be remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientState {
    /// How each file looked, in the order of the torrent; `None` if it was not there, or nobody
    /// can vouch for it.
    pub files: Vec<Option<Stamp>>,
    /// The pieces that were there and had been checked.
    pub pieces: Bitfield,
    /// Of pieces that were not whole, the blocks that had been written, one bit a block. Not
    /// checked: only the hash of the whole piece can tell.
    pub partials: Vec<(PieceIndex, Bitfield)>,
    /// Payload bytes sent, over all runs.
    pub uploaded: u64,
    /// Payload bytes received, over all runs.
    pub downloaded: u64,
    /// What the user thinks of each file, as in `--priority`; empty if nothing was said.
    pub priority: Vec<i8>,
}

/// Why a saved state is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientStateError {
    /// It is not what was written: cut, changed, or no saved state at all.
    Damaged,
    /// It was written by a later or earlier program, in another form.
    Version,
    /// It is about another torrent, or one that is saved elsewhere.
    Foreign,
}

impl fmt::Display for ClientStateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ClientStateError::Damaged => "it is damaged",
            ClientStateError::Version => "it is in the form of another version",
            ClientStateError::Foreign => "it is about another download",
        })
    }
}

impl std::error::Error for ClientStateError {}

impl ClientState {
    /// Nothing on the disk, of a torrent of these measures.
    pub fn empty(geometry: &Geometry) -> ClientState {
        ClientState {
            files: vec![None; geometry.file_count()],
            pieces: Bitfield::new(geometry.piece_count()),
            partials: Vec::new(),
            uploaded: 0,
            downloaded: 0,
            priority: Vec::new(),
        }
    }

    /// The bytes of the state file.
    pub fn encode(&self, about: About<'_>) -> Vec<u8> {
        let state = self.encode_state(about);
        let mut out = b"d8:checksum".to_vec();
        put_bytes(&mut out, &sha1(&state));
        out.extend_from_slice(b"5:state");
        out.extend_from_slice(&state);
        out.push(b'e');
        out
    }

    fn encode_state(&self, about: About<'_>) -> Vec<u8> {
        let mut out = b"d12:block length".to_vec();
        put_int(&mut out, about.geometry.block_length().into());
        let number = |out: &mut Vec<u8>, key: &[u8], n: u64| {
            put_bytes(out, key);
            put_int(out, i64::try_from(n).unwrap_or(i64::MAX));
        };
        number(&mut out, b"downloaded", self.downloaded);
        put_bytes(&mut out, b"files");
        put_bytes(&mut out, &encode_stamps(&self.files));
        put_bytes(&mut out, b"info hash");
        put_bytes(&mut out, &about.info_hash.0);
        put_bytes(&mut out, b"partials");
        out.push(b'l');
        for (piece, blocks) in &self.partials {
            put_int(&mut out, piece.get().into());
            put_bytes(&mut out, blocks.as_bytes());
        }
        out.push(b'e');
        number(&mut out, b"piece length", about.geometry.piece_length().into());
        put_bytes(&mut out, b"pieces");
        put_bytes(&mut out, self.pieces.as_bytes());
        put_bytes(&mut out, b"priority");
        put_bytes(&mut out, &self.priority.iter().map(|p| *p as u8).collect::<Vec<u8>>());
        put_bytes(&mut out, b"target");
        put_bytes(&mut out, about.target);
        number(&mut out, b"uploaded", self.uploaded);
        put_bytes(&mut out, b"version");
        put_int(&mut out, VERSION);
        out.push(b'e');
        out
    }

    /// Reads the bytes of a state file, if they are about this.
    ///
    /// # Errors
    /// They are not.
    pub fn decode(bytes: &[u8], about: About<'_>) -> Result<ClientState, ClientStateError> {
        let geometry = about.geometry;
        // The partial pieces alone take more than one value each.
        let values = 32 + 2 * geometry.piece_count() as usize;
        let root = match bencode::decode_prefix_within(bytes, values) {
            Ok((root, length)) if length == bytes.len() => root,
            _ => return Err(ClientStateError::Damaged),
        };
        let state = root.get("state").ok_or(ClientStateError::Damaged)?;
        let checksum = root.get("checksum").and_then(Value::as_bytes);
        if checksum != Some(&sha1(&bytes[state.span()])) {
            return Err(ClientStateError::Damaged);
        }
        if state.get("version").and_then(Value::as_int) != Some(VERSION) {
            return Err(ClientStateError::Version);
        }
        let text = |key| state.get(key).and_then(Value::as_bytes);
        let same = text("info hash") == Some(&about.info_hash.0)
            && text("target") == Some(about.target)
            && number(state, "piece length") == Some(geometry.piece_length().into());
        if !same {
            return Err(ClientStateError::Foreign);
        }
        decode_state(state, geometry).ok_or(ClientStateError::Damaged)
    }
}

fn decode_state(state: &Value<'_>, geometry: &Geometry) -> Option<ClientState> {
    let text = |key| state.get(key).and_then(Value::as_bytes);
    let priority: Vec<i8> = text("priority")?.iter().map(|p| *p as i8).collect();
    let result = ClientState {
        files: decode_stamps(text("files")?),
        pieces: Bitfield::from_bytes(text("pieces")?, geometry.piece_count())?,
        partials: match number(state, "block length")? == u64::from(geometry.block_length()) {
            true => decode_partials(state.get("partials")?.as_list()?, geometry)?,
            // The blocks were cut otherwise then.
            false => Vec::new(),
        },
        uploaded: number(state, "uploaded")?,
        downloaded: number(state, "downloaded")?,
        priority,
    };
    let files = geometry.file_count();
    let fits = result.files.len() == files && text("files")?.len() == files * STAMP;
    let known = result.priority.is_empty() || result.priority.len() == files;
    (fits && known).then_some(result)
}

fn decode_partials(list: &[Value<'_>], geometry: &Geometry) -> Option<Vec<(PieceIndex, Bitfield)>> {
    let pair = |pair: &[Value<'_>]| {
        let piece = u32::try_from(pair.first()?.as_int()?).ok()?;
        let piece = geometry.piece(piece)?;
        let blocks = Bitfield::from_bytes(pair.get(1)?.as_bytes()?, geometry.block_count(piece))?;
        Some((piece, blocks))
    };
    list.chunks(2).map(pair).collect()
}

fn number(state: &Value<'_>, key: &str) -> Option<u64> {
    u64::try_from(state.get(key)?.as_int()?).ok()
}

fn encode_stamps(files: &[Option<Stamp>]) -> Vec<u8> {
    let stamp = |file: &Option<Stamp>| {
        let Stamp { size, mtime } = file.unwrap_or(Stamp { size: ABSENT, mtime: 0 });
        [size.to_be_bytes(), mtime.to_be_bytes()]
    };
    files.iter().flat_map(stamp).flatten().collect()
}

fn decode_stamps(bytes: &[u8]) -> Vec<Option<Stamp>> {
    let word = |bytes: &[u8]| bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let stamp = |bytes: &[u8]| {
        let (size, mtime) = (word(&bytes[..8]), word(&bytes[8..]) as i64);
        (size != ABSENT).then_some(Stamp { size, mtime })
    };
    bytes.chunks_exact(STAMP).map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::geometry::BLOCK_LENGTH;

    fn geometry() -> Geometry {
        Geometry::new(4 * BLOCK_LENGTH, [100_000, 0, 500_000]).unwrap()
    }

    fn about(geometry: &Geometry) -> About<'_> {
        About { info_hash: InfoHash([7; 20]), target: b"/a/b\xff", geometry }
    }

    fn state(geometry: &Geometry) -> ClientState {
        let mut state = ClientState::empty(geometry);
        state.files[0] = Some(Stamp { size: 100_000, mtime: -5 });
        state.files[2] = Some(Stamp { size: 0, mtime: 1_700_000_000_123_456_789 });
        for piece in [0, 3, 8] {
            state.pieces.set(piece, true);
        }
        let last = geometry.piece(9).unwrap();
        for (piece, block) in [(geometry.piece(1).unwrap(), 3), (last, 0)] {
            let mut blocks = Bitfield::new(geometry.block_count(piece));
            assert!(blocks.set(block, true));
            state.partials.push((piece, blocks));
        }
        ClientState { uploaded: 1 << 40, downloaded: 17, priority: vec![1, -1, 0], ..state }
    }

    #[test]
    fn comes_back_as_it_was() {
        let geometry = geometry();
        for state in [state(&geometry), ClientState::empty(&geometry)] {
            let bytes = state.encode(about(&geometry));
            assert_eq!(bencode::decode(&bytes).unwrap().to_item().encode(), bytes, "canonical");
            assert_eq!(ClientState::decode(&bytes, about(&geometry)), Ok(state));
        }
    }

    #[test]
    fn any_changed_byte_and_any_cut_is_noticed() {
        let geometry = geometry();
        let bytes = state(&geometry).encode(about(&geometry));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                assert!(ClientState::decode(&bad, about(&geometry)).is_err(), "byte {at}");
            }
            let cut = ClientState::decode(&bytes[..at], about(&geometry));
            assert_eq!(cut, Err(ClientStateError::Damaged), "cut at {at}");
        }
        let longer = [&bytes[..], b"e"].concat();
        assert_eq!(ClientState::decode(&longer, about(&geometry)), Err(ClientStateError::Damaged));
    }

    #[test]
    fn is_of_no_use_to_another_torrent_place_or_version() {
        let geometry = geometry();
        let about = about(&geometry);
        let bytes = state(&geometry).encode(about);
        let other_measures = Geometry::new(8 * BLOCK_LENGTH, [100_000, 0, 500_000]).unwrap();
        let foreign = [
            About { info_hash: InfoHash([8; 20]), ..about },
            About { target: b"/a/c", ..about },
            About { geometry: &other_measures, ..about },
        ];
        for about in foreign {
            let result = ClientState::decode(&bytes, about);
            assert_eq!(result, Err(ClientStateError::Foreign), "{about:?}");
        }
        let text = state(&geometry).encode_state(about);
        let at = text.windows(9).position(|w| w == b"7:version").unwrap() + 10;
        let later = [&text[..at], b"2", &text[at + 1..]].concat();
        assert_eq!(ClientState::decode(&sealed(&later), about), Err(ClientStateError::Version));
    }

    /// A state file with a right checksum.
    fn sealed(state: &[u8]) -> Vec<u8> {
        let mut out = b"d8:checksum".to_vec();
        put_bytes(&mut out, &sha1(state));
        [&out[..], b"5:state", state, b"e"].concat()
    }

    #[test]
    fn what_has_a_right_checksum_and_a_wrong_shape_is_refused_too() {
        let geometry = geometry();
        let about = about(&geometry);
        let text = state(&geometry).encode_state(about);
        for at in 0..text.len() {
            for new in [b'0', b'9', b'e', b'i', 0xff] {
                let mut bad = text.clone();
                bad[at] = new;
                // Some of these are as good as the right one; none may panic, or break the shape.
                if let Ok(state) = ClientState::decode(&sealed(&bad), about) {
                    assert_eq!(state.files.len(), 3);
                    assert_eq!(state.pieces.len(), geometry.piece_count());
                    for (piece, blocks) in state.partials {
                        assert_eq!(blocks.len(), geometry.block_count(piece));
                    }
                }
            }
        }
        for cut in [b"de".to_vec(), b"d7:versioni1ee".to_vec(), b"le".to_vec()] {
            assert!(ClientState::decode(&sealed(&cut), about).is_err());
        }
    }
}
