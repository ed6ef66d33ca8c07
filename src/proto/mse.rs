//! The obfuscated handshake that BitTorrent's clients call Message Stream Encryption, or Protocol
//! Encryption: bytes in, bytes out.
//!
//! Both sides agree on a key that a third does not know, show each other that they mean the same
//! torrent without naming it, and choose how the stream goes on: in RC4, or in plain text. Here are
//! the two sides as machines without a socket, [`Initiator`] and [`Responder`], fed with bytes that
//! may be cut anywhere; what they want sent they append to a buffer. `io::conn` drives them.
//!
//! It hides what a connection is from those who look at it in passing. It proves nothing to
//! anybody, and is no protection from one who attacks.
//!
//! Whatever comes in, nothing panics, and no more is kept than the longest padding that is allowed
//! and what was fed at once. Random numbers come from outside.

mod dh;
mod initiator;
mod rc4;
mod responder;

pub use initiator::Initiator;
pub use rc4::Rc4;
pub use responder::Responder;

use crate::proto::hash::Sha1;
use crate::proto::ids::InfoHash;
use crate::proto::sorted;
use dh::{KEY_LENGTH, PRIVATE_LENGTH};
use std::fmt;

/// No padding is longer than this, in bytes. What does not come behind so much noise never will.
pub const MAX_PAD: usize = 512;

/// Where the encryption begins each side shows by eight zeros that it has the right key.
const VERIFICATION: [u8; 8] = [0; 8];

/// A source of random numbers: private keys and padding are made from it.
pub type Random<'a> = &'a mut dyn FnMut() -> u64;

/// How a stream goes on behind the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// As it is.
    Plain,
    /// In RC4, both ways.
    Rc4,
}

impl Method {
    fn bit(self) -> u32 {
        match self {
            Method::Plain => 1,
            Method::Rc4 => 2,
        }
    }
}

/// The methods that a side agrees to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Methods {
    /// Both. One that may choose takes plain text, which costs nothing.
    Any,
    /// RC4 alone.
    Rc4,
}

impl Methods {
    fn bits(self) -> u32 {
        match self {
            Methods::Any => Method::Plain.bit() | Method::Rc4.bit(),
            Methods::Rc4 => Method::Rc4.bit(),
        }
    }

    /// Of those that the other side offers.
    fn choose(self, offered: u32) -> Option<Method> {
        let common = offered & self.bits();
        [Method::Plain, Method::Rc4].into_iter().find(|method| common & method.bit() != 0)
    }

    /// What the other side has chosen, if it may.
    fn chosen(self, chosen: u32) -> Option<Method> {
        let known = [Method::Plain, Method::Rc4].into_iter().find(|m| m.bit() == chosen);
        known.filter(|method| method.bit() & self.bits() != 0)
    }
}

/// How far a handshake has come.
#[derive(Debug)]
pub enum Progress {
    /// More bytes are needed.
    More,
    /// It is no such handshake: the stream begins in plain text, with these bytes.
    Plain(Vec<u8>),
    /// The other side's key is there. [`Responder::exchange`] is to go on: it costs some hundred
    /// microseconds, so who calls may think of how many strangers he does that for.
    Key,
    /// It is done.
    Agreed(Box<Agreement>),
}

/// What came of a handshake.
#[derive(Debug)]
pub struct Agreement {
    /// The torrent it is about.
    pub info_hash: InfoHash,
    /// How the stream goes on.
    pub method: Method,
    /// For what is sent from now on; `None` where it goes as it is.
    pub send: Option<Rc4>,
    /// For what comes from now on.
    pub receive: Receive,
    /// What came behind the handshake already, decrypted.
    pub rest: Vec<u8>,
}

/// How what comes in is decrypted.
#[derive(Debug)]
pub struct Receive {
    cipher: Rc4,
    /// So many bytes more are encrypted; `None` for all.
    left: Option<usize>,
}

impl Receive {
    fn new(cipher: Rc4, method: Method, first: usize) -> Receive {
        Receive { cipher, left: (method == Method::Plain).then_some(first) }
    }

    /// Whether what comes from now on is plain text.
    pub fn is_over(&self) -> bool {
        self.left == Some(0)
    }

    /// Decrypts the next bytes of the stream, in place.
    pub fn apply(&mut self, bytes: &mut [u8]) {
        let count = self.left.map_or(bytes.len(), |left| left.min(bytes.len()));
        self.cipher.apply(&mut bytes[..count]);
        self.left = self.left.map(|left| left - count);
    }
}

/// The torrents that a stranger may mean. He names one by a hash of its name.
#[derive(Debug, Clone, Default)]
pub struct Names(sorted::Map<[u8; 20], InfoHash>);

impl Names {
    /// Those of these torrents.
    pub fn new(torrents: impl IntoIterator<Item = InfoHash>) -> Names {
        Names(torrents.into_iter().map(|name| (hidden(name), name)).collect())
    }

    /// One more.
    pub fn add(&mut self, name: InfoHash) {
        self.0.insert(hidden(name), name);
    }

    /// One less.
    pub fn remove(&mut self, name: InfoHash) {
        self.0.remove(&hidden(name));
    }

    fn find(&self, hidden: &[u8; 20]) -> Option<InfoHash> {
        self.0.get(hidden).copied()
    }
}

/// By what a torrent is named in a handshake, before that is hidden by the secret too.
fn hidden(name: InfoHash) -> [u8; 20] {
    hash(b"req2", &[&name.0])
}

/// What is wrong with a handshake. Closes that one connection, nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MseFault {
    /// Behind the longest padding the handshake did not go on.
    NoSync,
    /// It is about a torrent that is not known here.
    UnknownTorrent,
    /// What was to be zeros is not.
    NotVerified,
    /// More padding than is allowed.
    PadTooLong,
    /// No method is offered, or chosen, that we agree to.
    NoMethod,
    /// The answer is a plain handshake.
    Plain,
}

impl fmt::Display for MseFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MseFault::NoSync => "no BitTorrent handshake, plain or encrypted",
            MseFault::UnknownTorrent => "encrypted handshake for another torrent",
            MseFault::NotVerified => "encrypted handshake with another key",
            MseFault::PadTooLong => "encrypted handshake with too much padding",
            MseFault::NoMethod => "no common method of encryption",
            MseFault::Plain => "plain handshake in answer to an encrypted one",
        })
    }
}

impl std::error::Error for MseFault {}

/// The SHA-1 of a word and what follows it.
fn hash(word: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let mut hash = Sha1::new();
    hash.update(word);
    parts.iter().for_each(|part| hash.update(part));
    hash.finish()
}

/// The torrent's name as it stands in the handshake: hidden by the secret.
fn mask(secret: &[u8; KEY_LENGTH], hidden: &[u8; 20]) -> [u8; 20] {
    let other = hash(b"req3", &[secret]);
    std::array::from_fn(|n| hidden[n] ^ other[n])
}

/// The two streams: of the one who opened the connection, and of the other.
fn ciphers(secret: &[u8; KEY_LENGTH], name: InfoHash) -> (Rc4, Rc4) {
    let cipher = |word: &[u8]| Rc4::new(hash(word, &[secret, &name.0]));
    (cipher(b"keyA"), cipher(b"keyB"))
}

fn private_key(random: Random) -> [u8; PRIVATE_LENGTH] {
    let mut key = [0; PRIVATE_LENGTH];
    key.chunks_mut(8).for_each(|part| part.copy_from_slice(&random().to_le_bytes()[..part.len()]));
    key
}

/// Padding of any length that is allowed.
fn pad(random: Random) -> Vec<u8> {
    let mut pad = vec![0; (random() % (MAX_PAD as u64 + 1)) as usize];
    pad.chunks_mut(8).for_each(|part| part.copy_from_slice(&random().to_le_bytes()[..part.len()]));
    pad
}

/// What came and was not read yet.
#[derive(Debug, Default)]
struct Input {
    bytes: Vec<u8>,
    /// In so many of them a mark was looked for in vain.
    looked: usize,
}

impl Input {
    /// The next `N` bytes, once they are there.
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = self.bytes.get(..N)?.try_into().ok()?;
        self.bytes.drain(..N);
        Some(taken)
    }

    /// The same, decrypted.
    fn decrypt<const N: usize>(&mut self, cipher: &mut Rc4) -> Option<[u8; N]> {
        let mut taken = self.take::<N>()?;
        cipher.apply(&mut taken);
        Some(taken)
    }

    /// Passes over so many encrypted bytes, once they are all there.
    fn skip(&mut self, count: usize, cipher: &mut Rc4) -> Option<()> {
        cipher.apply(self.bytes.get_mut(..count)?);
        self.bytes.drain(..count);
        Some(())
    }

    /// Passes over padding and the mark behind it; `false` if more bytes are needed.
    fn find(&mut self, mark: &[u8]) -> Result<bool, MseFault> {
        let end = self.bytes.len().min(MAX_PAD + mark.len());
        let looked_in = &self.bytes[self.looked..end];
        match looked_in.windows(mark.len()).position(|bytes| bytes == mark) {
            Some(at) => {
                self.bytes.drain(..self.looked + at + mark.len());
                Ok(true)
            }
            None if end == MAX_PAD + mark.len() => Err(MseFault::NoSync),
            None => {
                self.looked = end.saturating_sub(mark.len() - 1);
                Ok(false)
            }
        }
    }
}

fn be16(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte))
}

/// A length of padding that is allowed.
fn pad_length(bytes: &[u8]) -> Result<usize, MseFault> {
    Some(be16(bytes)).filter(|length| *length <= MAX_PAD).ok_or(MseFault::PadTooLong)
}

#[cfg(test)]
mod tests;
