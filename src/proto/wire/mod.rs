//! The peer wire protocol (BEP 3, 6, 9, 10, 11): handshake and messages as values, and their bytes.
//!
//! [`Framer`] turns the bytes of a connection into [`Incoming`] values; this file holds the values
//! and their encoding. Every number a peer sends is checked against the torrent's [`Geometry`]
//! here, so that nobody behind has to. Nothing here panics on foreign bytes.
//!
//! [`Geometry`]: crate::proto::geometry::Geometry

mod allowed;
mod exchange;
mod extended;
mod framer;
mod metadata;
mod pool;

pub use allowed::allowed_fast;
pub use exchange::{EXCHANGE, Exchange, Other};
pub use extended::{Extended, MAX_EXTENDED_LENGTH};
pub use framer::{Framer, Next};
pub use metadata::{
    MAX_METADATA, MAX_METADATA_MESSAGE, METADATA, METADATA_PART, Metadata, MetadataWord,
    metadata_part_length, metadata_parts,
};
pub use pool::Pool;

use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::{BlockRef, PieceIndex};
use crate::proto::ids::{InfoHash, PeerId};
use std::fmt;

/// What every BitTorrent connection begins with.
pub const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";

/// Length of a whole handshake, in bytes.
pub const HANDSHAKE_LENGTH: usize = 68;

/// The part of a handshake that is enough to answer it: all but the peer id. A BitTornado of old
/// sends its id only after it has seen ours.
pub const HELLO_LENGTH: usize = 48;

/// Bytes before the data of a `piece` message: length, kind, index, begin.
pub const PIECE_HEAD_LENGTH: usize = 13;

/// The largest length prefix taken by default, as BitTornado's `max_message_length` has it.
pub const MAX_MESSAGE_LENGTH: u32 = 8 * 1024 * 1024;

/// The longest block a peer may ask for by default, as BitTornado's `max_slice_length` has it.
pub const MAX_SLICE_LENGTH: u32 = 128 * 1024;

/// What is taken of a peer; users may set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest length prefix (`max_message_length`), in bytes.
    pub message_length: u32,
    /// The longest block that may be asked of us (`max_slice_length`), in bytes.
    pub slice_length: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { message_length: MAX_MESSAGE_LENGTH, slice_length: MAX_SLICE_LENGTH }
    }
}

/// The first 48 bytes of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Eight bytes of flags for extensions.
    pub reserved: [u8; 8],
    /// The torrent it is about.
    pub info_hash: InfoHash,
}

/// Which extensions of the protocol a side speaks, as its handshake tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Speaks {
    /// The fast extension (BEP 6).
    pub fast: bool,
    /// Extended messages (BEP 10).
    pub extended: bool,
    /// It has a node of the distributed hash table, and would hear of ours (BEP 5).
    pub dht: bool,
}

impl Speaks {
    /// What we speak at least.
    pub const OURS: Speaks = Speaks { fast: true, extended: true, dht: false };

    fn reserved(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[5] |= if self.extended { 0x10 } else { 0 };
        bytes[7] |= if self.fast { 0x04 } else { 0 };
        bytes[7] |= u8::from(self.dht);
        bytes
    }
}

impl Hello {
    /// The extensions that the sender speaks.
    pub fn speaks(&self) -> Speaks {
        Speaks {
            fast: self.reserved[7] & 0x04 != 0,
            extended: self.reserved[5] & 0x10 != 0,
            dht: self.reserved[7] & 0x01 != 0,
        }
    }
}

/// What comes in over a connection, in this order: one hello, one id, then messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// The handshake up to the info hash.
    Hello(Hello),
    /// The rest of the handshake.
    Id(PeerId),
    /// Everything after it.
    Message(Message),
    /// A block that nobody asked for. It was passed over.
    Unasked(BlockRef),
}

/// A message between two peers. Messages of kinds not known here are skipped by the framer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Nothing, said to keep the connection open.
    KeepAlive,
    /// The sender will not answer requests.
    Choke,
    /// The sender will answer requests.
    Unchoke,
    /// The sender would like to download.
    Interested,
    /// The sender has no wish to download.
    NotInterested,
    /// The sender has this piece.
    Have(PieceIndex),
    /// The pieces the sender has; to be said only as the first message.
    Bitfield(Bitfield),
    /// Asks for these bytes.
    Request(BlockRef),
    /// The bytes of a block.
    Piece {
        /// Where they belong.
        block: BlockRef,
        /// The bytes, as many as the block is long. The buffer came from the [`Pool`].
        data: Vec<u8>,
    },
    /// The UDP port of the sender's node of the distributed hash table (BEP 5), never 0.
    Port(u16),
    /// Takes a request back.
    Cancel(BlockRef),
    /// The sender would be glad to be asked for this piece (BEP 6).
    Suggest(PieceIndex),
    /// The sender has every piece (BEP 6).
    HaveAll,
    /// The sender has no piece (BEP 6).
    HaveNone,
    /// The sender will not answer this request (BEP 6).
    Reject(BlockRef),
    /// The sender answers requests for this piece even while it chokes (BEP 6).
    AllowedFast(PieceIndex),
    /// What the sender tells of itself (BEP 10).
    Extended(Box<Extended>),
    /// What it tells of others (BEP 11).
    Exchange(Box<Exchange>),
    /// About a part of the torrent's metadata (BEP 9).
    Metadata(Box<Metadata>),
}

mod kind {
    pub const CHOKE: u8 = 0;
    pub const UNCHOKE: u8 = 1;
    pub const INTERESTED: u8 = 2;
    pub const NOT_INTERESTED: u8 = 3;
    pub const HAVE: u8 = 4;
    pub const BITFIELD: u8 = 5;
    pub const REQUEST: u8 = 6;
    pub const PIECE: u8 = 7;
    pub const CANCEL: u8 = 8;
    pub const PORT: u8 = 9;
    pub const SUGGEST: u8 = 13;
    pub const HAVE_ALL: u8 = 14;
    pub const HAVE_NONE: u8 = 15;
    pub const REJECT: u8 = 16;
    pub const ALLOWED_FAST: u8 = 17;
    pub const EXTENDED: u8 = 20;
}

impl Message {
    /// Appends the bytes of this message to `out`.
    pub fn encode_to(&self, out: &mut Vec<u8>) {
        match self {
            Message::KeepAlive => put_u32(out, 0),
            Message::Choke => put_head(out, kind::CHOKE, 0),
            Message::Unchoke => put_head(out, kind::UNCHOKE, 0),
            Message::Interested => put_head(out, kind::INTERESTED, 0),
            Message::NotInterested => put_head(out, kind::NOT_INTERESTED, 0),
            Message::HaveAll => put_head(out, kind::HAVE_ALL, 0),
            Message::HaveNone => put_head(out, kind::HAVE_NONE, 0),
            Message::Have(piece) => put_piece(out, kind::HAVE, *piece),
            Message::Suggest(piece) => put_piece(out, kind::SUGGEST, *piece),
            Message::AllowedFast(piece) => put_piece(out, kind::ALLOWED_FAST, *piece),
            Message::Bitfield(bits) => {
                put_head(out, kind::BITFIELD, bits.as_bytes().len() as u32);
                out.extend_from_slice(bits.as_bytes());
            }
            Message::Port(port) => {
                put_head(out, kind::PORT, 2);
                out.extend_from_slice(&port.to_be_bytes());
            }
            Message::Request(block) => put_block(out, kind::REQUEST, *block),
            Message::Cancel(block) => put_block(out, kind::CANCEL, *block),
            Message::Reject(block) => put_block(out, kind::REJECT, *block),
            Message::Extended(extended) => put_extended(out, 0, &extended.encode()),
            Message::Exchange(exchange) => put_extended(out, exchange.number, &exchange.encode()),
            Message::Metadata(metadata) => put_extended(out, metadata.number, &metadata.encode()),
            Message::Piece { block, data } => {
                out.extend_from_slice(&piece_head(*block));
                out.extend_from_slice(data);
            }
        }
    }
}

/// The bytes of a `piece` message before its data, for those who send the data from a file.
pub fn piece_head(block: BlockRef) -> [u8; PIECE_HEAD_LENGTH] {
    let mut head = [0; PIECE_HEAD_LENGTH];
    head[..4].copy_from_slice(&(9 + block.length()).to_be_bytes());
    head[4] = kind::PIECE;
    head[5..9].copy_from_slice(&block.piece().get().to_be_bytes());
    head[9..].copy_from_slice(&block.begin().to_be_bytes());
    head
}

/// A whole handshake, which says that we speak [`Speaks::OURS`].
pub fn handshake(info_hash: InfoHash, id: PeerId) -> [u8; HANDSHAKE_LENGTH] {
    handshake_of(info_hash, id, Speaks::OURS)
}

/// A whole handshake of one who speaks so much.
pub fn handshake_of(info_hash: InfoHash, id: PeerId, speaks: Speaks) -> [u8; HANDSHAKE_LENGTH] {
    let mut bytes = [0; HANDSHAKE_LENGTH];
    bytes[..20].copy_from_slice(PROTOCOL);
    bytes[20..28].copy_from_slice(&speaks.reserved());
    bytes[28..48].copy_from_slice(&info_hash.0);
    bytes[48..].copy_from_slice(&id.0);
    bytes
}

fn put_u32(out: &mut Vec<u8>, n: u32) {
    out.extend_from_slice(&n.to_be_bytes());
}

fn put_head(out: &mut Vec<u8>, kind: u8, payload: u32) {
    put_u32(out, payload + 1);
    out.push(kind);
}

fn put_extended(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    put_head(out, kind::EXTENDED, 1 + bytes.len() as u32);
    out.push(number);
    out.extend_from_slice(bytes);
}

fn put_piece(out: &mut Vec<u8>, kind: u8, piece: PieceIndex) {
    put_head(out, kind, 4);
    put_u32(out, piece.get());
}

fn put_block(out: &mut Vec<u8>, kind: u8, block: BlockRef) {
    put_head(out, kind, 12);
    put_u32(out, block.piece().get());
    put_u32(out, block.begin());
    put_u32(out, block.length());
}

/// What a peer did wrong. Closes that one connection, nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerFault {
    /// The first bytes are not a BitTorrent handshake.
    NotBitTorrent,
    /// The handshake names another torrent than the one asked for.
    WrongTorrent,
    /// A length prefix beyond [`Limits::message_length`].
    TooLong,
    /// A message whose length does not fit its kind.
    BadLength,
    /// A piece, block or bitfield that cannot be of this torrent.
    OutOfRange,
    /// A request longer than [`Limits::slice_length`], or without being interested.
    BadRequest,
    /// More requests waiting than a peer may have.
    TooManyRequests,
    /// More talk that leads to nothing than a sane peer has.
    Noise,
}

impl fmt::Display for PeerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PeerFault::NotBitTorrent => "no BitTorrent handshake",
            PeerFault::WrongTorrent => "handshake for another torrent",
            PeerFault::TooLong => "message too long",
            PeerFault::BadLength => "message of a wrong length",
            PeerFault::OutOfRange => "piece or block out of range",
            PeerFault::BadRequest => "request not allowed",
            PeerFault::TooManyRequests => "too many requests",
            PeerFault::Noise => "too much talk that leads to nothing",
        })
    }
}

impl std::error::Error for PeerFault {}
