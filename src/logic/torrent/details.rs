//! More than the figures, for those who look closer: each peer, each file, each piece. Nothing of
//! it is kept ready: who does not ask pays nothing.

use super::Torrent;
use crate::logic::PeerKey;
use crate::logic::peer::{Direction, Peer, Session};
use crate::logic::priority::Priority;
use std::net::SocketAddr;
use std::time::Instant;

/// One connection, its handshake done.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerStatus {
    /// The other end.
    pub address: SocketAddr,
    /// The program there, as its peer id tells.
    pub client: String,
    /// Whether it connected to us, and not we to it.
    pub incoming: bool,
    /// The stream is encrypted, or its handshake was.
    pub encrypted: bool,
    /// We would like to download from it.
    pub interested: bool,
    /// It does not answer our requests.
    pub choked: bool,
    /// It would like to download from us.
    pub wanting: bool,
    /// We do not answer its requests.
    pub choking: bool,
    /// It was asked and gave nothing for too long.
    pub snubbed: bool,
    /// It is its turn: it stands first for the optimistic slot. BitTornado's spew marks one peer so.
    pub optimistic: bool,
    /// Payload that comes from it, bytes a second.
    pub download_rate: f64,
    /// Payload that goes to it, bytes a second.
    pub upload_rate: f64,
    /// Payload that came from it.
    pub downloaded: u64,
    /// Payload that went to it.
    pub uploaded: u64,
    /// What it has of the whole, 0 to 1.
    pub progress: f64,
    /// How fast it downloads from anybody, bytes a second, as the pieces tell that it says it has.
    pub gain_rate: f64,
    /// Our requests that are outstanding.
    pub requests: usize,
}

/// One file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStatus {
    /// Its length in bytes.
    pub length: u64,
    /// How many of them lie in pieces that are had.
    pub had: u64,
    /// How much it is wanted.
    pub priority: Priority,
}

/// The pieces. The lists have an entry for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PieceStatus {
    /// Whether it is had.
    pub had: Vec<bool>,
    /// How many connected peers have it.
    pub availability: Vec<u32>,
    /// How many wanted pieces are being downloaded.
    pub started: usize,
    /// How many blocks came of pieces that are not had.
    pub blocks: u64,
}

impl Torrent {
    /// The connections, the oldest first.
    pub fn peers(&self, now: Instant) -> Vec<PeerStatus> {
        let first = self.choker.first();
        let open = self.peers.iter().filter_map(|(k, peer)| peer.session().map(|s| (k, peer, s)));
        let status = |(key, peer, session): (&PeerKey, &Peer, &Session)| PeerStatus {
            optimistic: first == Some(*key),
            ..peer_status(peer, session, now)
        };
        open.map(status).collect()
    }

    /// The files, in the torrent's order.
    pub fn files(&self) -> Vec<FileStatus> {
        let mut had = vec![0; self.geometry.file_count()];
        for piece in self.geometry.pieces().filter(|p| self.ledger.have().get(p.get())) {
            for part in self.geometry.file_ranges(self.geometry.whole_piece(piece)) {
                had[part.file] += part.length;
            }
        }
        let all = had.into_iter().zip(self.priorities()).enumerate();
        let status = |(file, (had, priority))| FileStatus {
            length: self.geometry.file_length(file),
            had,
            priority,
        };
        all.map(status).collect()
    }

    /// The pieces.
    pub fn pieces(&self) -> PieceStatus {
        let all = || self.geometry.pieces();
        let blocks = self.ledger.received().map(|(_, blocks)| u64::from(blocks.count()));
        PieceStatus {
            had: all().map(|piece| self.ledger.have().get(piece.get())).collect(),
            availability: all().map(|piece| self.picker.availability(piece)).collect(),
            started: self.ledger.partial_count(),
            blocks: blocks.sum(),
        }
    }
}

fn peer_status(peer: &Peer, session: &Session, now: Instant) -> PeerStatus {
    PeerStatus {
        address: peer.address,
        client: session.id.client(),
        incoming: peer.direction == Direction::Incoming,
        encrypted: peer.encrypted,
        interested: session.interested,
        choked: session.choked,
        wanting: session.wanting,
        choking: session.choking,
        snubbed: session.snubbed,
        optimistic: false,
        download_rate: session.down.rate(now),
        upload_rate: session.up.rate(now),
        downloaded: session.down.total(),
        uploaded: session.up.total(),
        progress: f64::from(session.have.count()) / f64::from(session.have.len().max(1)),
        gain_rate: session.gains.rate(now),
        requests: session.asked.len(),
    }
}
