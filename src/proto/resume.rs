//! The forms of saved states. Here: the tracker's, as the original's `--dfile` has it, so that
//! files of the original load and ours load there. A download's is in `client`.
//!
//! Used by `logic/registry`. Touches no file.

pub mod client;

use crate::proto::order;
use std::fmt;
use std::net::IpAddr;

use crate::proto::announce::answer::{Crypto, address};
use crate::proto::bencode::{self, Fault, Value, put_bytes, put_int};
use crate::proto::ids::{InfoHash, PeerId};

/// Bytes of a state file that are read at a time.
const WINDOW: usize = 64 * 1024;

/// A peer in a tracker's state file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedPeer {
    /// Its name.
    pub id: PeerId,
    /// The address it announced from.
    pub ip: IpAddr,
    /// The address it wanted to be listed by.
    pub given_ip: Option<IpAddr>,
    /// Where it listens; 0 = nowhere.
    pub port: u16,
    /// Bytes it still needs.
    pub left: u64,
    /// How it stands to crypto.
    pub crypto: Crypto,
    /// Its secret; empty = none.
    pub key: Vec<u8>,
    /// 0 = it is listed; else one more than the failed attempts to reach it. The original writes a
    /// very large number for peers that it has not tried yet.
    pub unreached: u8,
}

/// A piece of a tracker's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    /// Completed downloads of a torrent.
    Completed(InfoHash, u32),
    /// A torrent with a list of peers, which follow.
    Swarm(InfoHash),
    /// A peer of it.
    Peer(InfoHash, SavedPeer),
}

/// Why bytes are no tracker state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateError {
    /// They are no bencode.
    Bencode(bencode::Error),
    /// The named part is missing or has a wrong kind.
    Shape(&'static str),
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateError::Bencode(e) => e.fmt(f),
            StateError::Shape(part) => {
                write!(f, "bad tracker state: '{part}' is not as it should be")
            }
        }
    }
}

impl std::error::Error for StateError {}

/// Reads a state file from one end to the other, and hands over its pieces: as values all of it
/// would take many times the memory that the tracker needs for it. `more` appends further bytes,
/// some so many, and says whether there were any. Peers whose address or port cannot be used are
/// left out; keys that are not known are passed over (the original keeps its allowed torrents there).
///
/// # Errors
/// What is not bencode, or not of this shape. Pieces before that have been handed over.
pub fn read_state(
    more: &mut dyn FnMut(&mut Vec<u8>, usize) -> bool,
    take: &mut dyn FnMut(Saved),
) -> Result<(), StateError> {
    let mut walk = Walk { window: Vec::new(), at: 0, before: 0, more };
    // Whether there are keys, and none that a tracker's state has: it is something else then.
    let (mut known, mut foreign) = (false, false);
    walk.entries("the whole", &mut |walk, key| {
        match key {
            b"completed" | b"peers" => known = true,
            _ => foreign = true,
        }
        match key {
            b"completed" => walk.entries("completed", &mut |walk, hash| {
                let count = walk.value(|v| v.as_int())?.ok_or(StateError::Shape("completed"))?;
                let count = u32::try_from(count.max(0)).unwrap_or(u32::MAX);
                take(Saved::Completed(info_hash(hash, "completed")?, count));
                Ok(())
            }),
            b"peers" => walk.entries("peers", &mut |walk, hash| {
                let hash = info_hash(hash, "peers")?;
                take(Saved::Swarm(hash));
                walk.entries("peers", &mut |walk, id| {
                    let id = PeerId::from_bytes(id).ok_or(StateError::Shape("peers"))?;
                    let peer = walk.value(|v| v.as_dict().map(|_| saved_peer(id, v)))?;
                    let peer = peer.ok_or(StateError::Shape("peers"))?;
                    peer.into_iter().for_each(|peer| take(Saved::Peer(hash, peer)));
                    Ok(())
                })
            }),
            _ => walk.value(|_| ()),
        }
    })?;
    match walk.peek() {
        _ if foreign && !known => Err(StateError::Shape("peers")),
        Ok(_) => Err(walk.bad(Fault::Trailing)),
        Err(_) => Ok(()),
    }
}

/// A place in bencoded bytes.
struct Walk<'m> {
    /// The bytes about it.
    window: Vec<u8>,
    /// Where it is in them.
    at: usize,
    /// How many there were before them.
    before: usize,
    more: &'m mut dyn FnMut(&mut Vec<u8>, usize) -> bool,
}

/// Takes the value of an entry, whose key is given.
type Each<'e, 'm> = &'e mut dyn FnMut(&mut Walk<'m>, &[u8]) -> Result<(), StateError>;

impl<'m> Walk<'m> {
    fn bad(&self, fault: Fault) -> StateError {
        StateError::Bencode(bencode::Error { fault, at: self.before + self.at })
    }

    /// Gets further bytes; `false` = there are none.
    fn refill(&mut self) -> bool {
        self.window.drain(..self.at);
        self.before += std::mem::take(&mut self.at);
        // What did not fit is not tried again for every few bytes.
        let want = self.window.len().max(WINDOW);
        (self.more)(&mut self.window, want)
    }

    fn peek(&mut self) -> Result<u8, StateError> {
        while self.at == self.window.len() {
            if !self.refill() {
                return Err(self.bad(Fault::Truncated));
            }
        }
        Ok(self.window[self.at])
    }

    /// Reads a value, and goes behind it.
    fn value<T>(&mut self, take: impl FnOnce(&Value) -> T) -> Result<T, StateError> {
        loop {
            let error = match bencode::decode_prefix(&self.window[self.at..]) {
                Ok((value, used)) => {
                    let taken = take(&value);
                    self.at += used;
                    return Ok(taken);
                }
                Err(error) => error,
            };
            if error.fault != Fault::Truncated || !self.refill() {
                self.at += error.at;
                return Err(self.bad(error.fault));
            }
        }
    }

    /// Goes through a dictionary, which is the named part.
    fn entries(&mut self, part: &'static str, each: Each<'_, 'm>) -> Result<(), StateError> {
        if self.peek()? != b'd' {
            self.value(|_| ())?;
            return Err(StateError::Shape(part));
        }
        self.at += 1;
        let mut last = None;
        loop {
            match self.peek()? {
                b'e' => break self.at += 1,
                b'0'..=b'9' => {}
                _ => return Err(self.bad(Fault::BadKey)),
            }
            let key = self.value(|v| v.as_bytes().map(<[u8]>::to_vec))?;
            if key == last {
                return Err(self.bad(Fault::BadKey));
            }
            each(self, key.as_deref().unwrap_or_default())?;
            last = key;
        }
        Ok(())
    }
}

fn info_hash(bytes: &[u8], part: &'static str) -> Result<InfoHash, StateError> {
    InfoHash::from_bytes(bytes).ok_or(StateError::Shape(part))
}

fn saved_peer(id: PeerId, value: &Value) -> Option<SavedPeer> {
    let number = |key| value.get(key).and_then(Value::as_int);
    let ip = |key| value.get(key).and_then(Value::as_bytes).and_then(address);
    let crypto = match (number("requirecrypto"), number("supportcrypto")) {
        (Some(n), _) if n != 0 => Crypto::Required,
        (_, Some(n)) if n != 0 => Crypto::Supported,
        _ => Crypto::Plain,
    };
    Some(SavedPeer {
        id,
        ip: ip("ip")?,
        given_ip: ip("given ip"),
        port: u16::try_from(number("port")?).ok()?,
        left: u64::try_from(number("left")?).ok()?,
        crypto,
        key: value.get("key").and_then(Value::as_bytes).unwrap_or_default().to_vec(),
        unreached: number("nat").map_or(0, |n| u8::try_from(n.max(0)).unwrap_or(1)),
    })
}

/// Writes a state file piece by piece, so that a large tracker needs no second copy of its peers.
/// Both parts in ascending order of their hashes: first all [`StateWriter::completed`], then all
/// [`StateWriter::swarm`].
#[derive(Debug)]
pub struct StateWriter {
    out: Vec<u8>,
    in_peers: bool,
}

impl Default for StateWriter {
    fn default() -> StateWriter {
        StateWriter { out: b"d9:completedd".to_vec(), in_peers: false }
    }
}

impl StateWriter {
    /// Notes completed downloads of a torrent.
    pub fn completed(&mut self, hash: InfoHash, count: u32) {
        put_bytes(&mut self.out, &hash.0);
        put_int(&mut self.out, count.into());
    }

    /// Notes a torrent's peers; puts them into order.
    pub fn swarm(&mut self, hash: InfoHash, peers: &mut [SavedPeer]) {
        self.begin_peers();
        order::by_key(peers, |p| p.id);
        put_bytes(&mut self.out, &hash.0);
        self.out.push(b'd');
        for peer in peers {
            put_bytes(&mut self.out, &peer.id.0);
            self.peer(peer);
        }
        self.out.push(b'e');
    }

    fn begin_peers(&mut self) {
        if !self.in_peers {
            self.out.extend_from_slice(b"e5:peersd");
            self.in_peers = true;
        }
    }

    fn peer(&mut self, peer: &SavedPeer) {
        self.out.push(b'd');
        if let Some(ip) = peer.given_ip {
            self.text("given ip", ip.to_string().as_bytes());
        }
        self.text("ip", peer.ip.to_string().as_bytes());
        if !peer.key.is_empty() {
            self.text("key", &peer.key);
        }
        self.number("left", i64::try_from(peer.left).unwrap_or(i64::MAX));
        self.number("nat", peer.unreached.into());
        self.number("port", peer.port.into());
        self.number("requirecrypto", (peer.crypto == Crypto::Required).into());
        self.number("supportcrypto", (peer.crypto != Crypto::Plain).into());
        self.out.push(b'e');
    }

    fn text(&mut self, key: &str, value: &[u8]) {
        put_bytes(&mut self.out, key.as_bytes());
        put_bytes(&mut self.out, value);
    }

    fn number(&mut self, key: &str, value: i64) {
        put_bytes(&mut self.out, key.as_bytes());
        put_int(&mut self.out, value);
    }

    /// Bytes that [`StateWriter::take`] would give.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether that is none.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// The bytes since the last call, which are the caller's to put away.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// The rest of the file.
    pub fn finish(mut self) -> Vec<u8> {
        self.begin_peers();
        self.out.extend_from_slice(b"ee");
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::damage::{Random, survived};

    /// What a state file holds.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    struct Whole {
        completed: Vec<(InfoHash, u32)>,
        peers: Vec<(InfoHash, Vec<SavedPeer>)>,
    }

    fn decode(mut bytes: &[u8]) -> Result<Whole, StateError> {
        let mut whole = Whole::default();
        // In pieces that end anywhere.
        let mut more = |window: &mut Vec<u8>, _| {
            let (now, rest) = bytes.split_at(bytes.len().min(7));
            window.extend_from_slice(now);
            bytes = rest;
            !now.is_empty()
        };
        read_state(&mut more, &mut |saved| match saved {
            Saved::Completed(hash, n) => whole.completed.push((hash, n)),
            Saved::Swarm(hash) => whole.peers.push((hash, Vec::new())),
            Saved::Peer(_, peer) => whole.peers.last_mut().unwrap().1.push(peer),
        })?;
        Ok(whole)
    }

    fn state() -> Whole {
        let peer = |id, ip: &str| SavedPeer {
            id: PeerId([id; 20]),
            ip: ip.parse().unwrap(),
            given_ip: None,
            port: 99,
            left: 0,
            crypto: Crypto::Plain,
            key: Vec::new(),
            unreached: 0,
        };
        let crypto = SavedPeer {
            crypto: Crypto::Required,
            key: b"k".to_vec(),
            given_ip: "9.9.9.9".parse().ok(),
            unreached: 3,
            ..peer(b'b', "::1")
        };
        Whole {
            completed: vec![(InfoHash([b'D'; 20]), 7)],
            peers: vec![(InfoHash([b'D'; 20]), vec![peer(b'a', "127.0.0.1"), crypto])],
        }
    }

    fn encode(mut state: Whole) -> Vec<u8> {
        let mut writer = StateWriter::default();
        state.completed.iter().for_each(|(hash, n)| writer.completed(*hash, *n));
        state.peers.iter_mut().for_each(|(hash, peers)| writer.swarm(*hash, peers));
        writer.finish()
    }

    #[test]
    fn comes_back_as_it_was() {
        let bytes = encode(state());
        assert_eq!(decode(&bytes), Ok(state()));
        assert_eq!(bencode::decode(&bytes).unwrap().to_item().encode(), bytes);
        assert_eq!(encode(Whole::default()), b"d9:completedde5:peersdee");
    }

    #[test]
    fn a_peer_is_written_with_the_originals_keys() {
        let text = String::from_utf8(encode(state())).unwrap();
        assert!(text.contains(
            "d2:ip9:127.0.0.14:lefti0e3:nati0e4:porti99e13:requirecryptoi0e13:supportcryptoi0ee"
        ));
        assert!(text.contains("d8:given ip7:9.9.9.92:ip3:::13:key1:k4:left"));
    }

    #[test]
    fn refuses_what_has_another_shape_and_drops_peers_it_cannot_use() {
        let shape = |b: &[u8]| decode(b).unwrap_err();
        assert_eq!(shape(b"le"), StateError::Shape("the whole"));
        assert_eq!(shape(b"d9:completedi1ee"), StateError::Shape("completed"));
        assert_eq!(shape(b"d5:peersd2:hhdeee"), StateError::Shape("peers"));
        assert!(matches!(shape(b"d5:peers"), StateError::Bencode(_)));
        assert!(matches!(shape(b"d5:peersi1e5:peersi1ee"), StateError::Shape("peers")));
        let twice = shape(b"d1:ai1e1:ai1ee");
        assert_eq!(twice, StateError::Bencode(bencode::Error { fault: Fault::BadKey, at: 10 }));
        let odd = String::from_utf8(encode(state())).unwrap().replace("127.0.0.1", "localhost");
        assert_eq!(decode(odd.as_bytes()).unwrap().peers[0].1.len(), 1);
        assert_eq!(decode(b"de"), Ok(Whole::default()));
        assert_eq!(shape(b"d8:announce1:a4:infodee"), StateError::Shape("peers"));
        assert_eq!(decode(b"d7:allowedde9:completedde1:xi1ee"), Ok(Whole::default()));
    }

    #[test]
    fn damaged_states_never_panic() {
        let whole = encode(state());
        let damaged = |random: &mut Random| {
            let changes = 1 + random.below(2);
            random.damage(&whole, changes)
        };
        let taken = survived(4000, damaged, |bytes, _| {
            // What is taken can be written, and is the same then.
            let Ok(state) = decode(bytes) else { return false };
            let peers = state.peers.iter().map(|(_, peers)| peers.len()).sum::<usize>();
            assert!(peers <= bytes.len() / 20);
            decode(&encode(state)).expect("what we write");
            true
        });
        assert!(taken > 100, "only {taken} were taken: the damage is too great to test much");
    }
}
