//! Announce and scrape over HTTP: query to value to bencoded reply, for client and tracker alike (BEP 3, 7, 23, 48).
//!
//! [`ask`] is the client's side, [`answer`] the tracker's, which must read much that we would never
//! write; so each has its own request and reply, and is tested against the other. What stands here
//! is the client's too; [`scrape`] is the client's alone.

use std::net::SocketAddr;

use crate::proto::ids::{InfoHash, PeerId};

pub mod answer;
pub mod ask;
pub mod scrape;

/// What a client tells a tracker besides that it is still there (BEP 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The first word of a run.
    Started,
    /// The last missing piece has arrived; never sent by one who started complete.
    Completed,
    /// The last word of a run.
    Stopped,
}

impl Event {
    /// The word that stands in a query.
    pub fn as_str(self) -> &'static str {
        match self {
            Event::Started => "started",
            Event::Completed => "completed",
            Event::Stopped => "stopped",
        }
    }
}

/// One announce, as a client means it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Our name in this run.
    pub peer_id: PeerId,
    /// The TCP port we listen on; 0 when we take no connections.
    pub port: u16,
    /// Payload bytes sent since the start of the run.
    pub uploaded: u64,
    /// Payload bytes received since the start of the run.
    pub downloaded: u64,
    /// Bytes still missing.
    pub left: u64,
    /// What happened, if anything.
    pub event: Option<Event>,
    /// How many peers to send; `None` leaves it to the tracker.
    pub numwant: Option<u32>,
    /// A secret by which the tracker knows us again when our address changes.
    pub key: String,
    /// What this tracker gave us as its id, given back (BEP 3 as practised).
    pub tracker_id: Option<Vec<u8>>,
    /// The address we want to be known by, where it is not the one we ask from.
    pub ip: Option<String>,
    /// BitTornado's mark of the dedicated seed of a torrent.
    pub seed_id: Option<Vec<u8>>,
    /// Peers may come without their ids, where the tracker sends dictionaries.
    pub no_peer_id: bool,
    /// We understand encrypted connections (`supportcrypto`).
    pub supports_encryption: bool,
    /// We take no others (`requirecrypto`).
    pub requires_encryption: bool,
    /// The port where we take encrypted connections and no others (`cryptoport`); [`port`](Self::port) is 0 then.
    pub crypto_port: Option<u16>,
}

impl Request {
    /// A plain announce: nothing transferred, nothing missing, every optional field empty.
    pub fn new(info_hash: InfoHash, peer_id: PeerId, port: u16) -> Request {
        Request {
            info_hash,
            peer_id,
            port,
            uploaded: 0,
            downloaded: 0,
            left: 0,
            event: None,
            numwant: None,
            key: String::new(),
            tracker_id: None,
            ip: None,
            seed_id: None,
            no_peer_id: false,
            supports_encryption: false,
            requires_encryption: false,
            crypto_port: None,
        }
    }
}

/// A peer that a tracker told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its id, which only replies of dictionaries carry.
    pub id: Option<PeerId>,
    /// It takes encrypted connections only, says the tracker (`crypto_flags`), or at least
    /// understands them.
    pub requires_encryption: bool,
}
