//! One connection's talk: how far it is, the flags of both sides, what was asked of whom.
//!
//! Plain state with small questions; [`Torrent`](super::torrent::Torrent) makes the decisions.

use super::rate::Meter;
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::{BLOCK_LENGTH, BlockRef, PieceIndex};
use crate::proto::ids::PeerId;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The most requests we have out at one peer. Peers that tell no limit of theirs take at least
/// 250 (what libtorrent assumes of a peer that is silent about it).
pub const MAX_ASKED: usize = 250;

/// The most requests a peer may have waiting with us; one that sends more is dropped.
pub const MAX_WAITING: usize = 2048;

/// So much of a peer's measured rate is kept asked, in seconds: covers the round trip and the
/// other side's queue.
const PIPELINE_SECONDS: f64 = 3.0;

/// Who opened the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// We did; the address is one that others can reach too.
    Outgoing,
    /// The peer did, from a port of no meaning.
    Incoming,
}

/// How far a connection is.
#[derive(Debug)]
pub enum Stage {
    /// TCP is being set up.
    Dialing,
    /// Handshakes are under way.
    Greeting,
    /// Both handshakes are done.
    Open(Box<Session>),
}

/// One connection.
#[derive(Debug)]
pub struct Peer {
    /// The other end.
    pub address: SocketAddr,
    /// Who opened it.
    pub direction: Direction,
    /// How far it is.
    pub stage: Stage,
    /// When it was opened, or dialling began.
    pub since: Instant,
    /// When anything last came in.
    pub heard: Instant,
    /// When we last said anything.
    pub said: Instant,
}

impl Peer {
    /// A connection that begins now.
    pub fn new(address: SocketAddr, direction: Direction, now: Instant) -> Peer {
        let stage = match direction {
            Direction::Outgoing => Stage::Dialing,
            Direction::Incoming => Stage::Greeting,
        };
        Peer { address, direction, stage, since: now, heard: now, said: now }
    }

    /// The talk behind the handshake, if it has come to that.
    pub fn session(&self) -> Option<&Session> {
        match &self.stage {
            Stage::Open(session) => Some(session),
            _ => None,
        }
    }

    /// As [`session`](Self::session), to change it.
    pub fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.stage {
            Stage::Open(session) => Some(session),
            _ => None,
        }
    }
}

/// The state of an open connection. The four flags are those of the protocol (BEP 3).
#[derive(Debug)]
pub struct Session {
    /// The peer's name for itself.
    pub id: PeerId,
    /// The pieces the peer has.
    pub have: Bitfield,
    /// We do not answer its requests.
    pub choking: bool,
    /// We would like to download from it.
    pub interested: bool,
    /// It does not answer our requests.
    pub choked: bool,
    /// It would like to download from us.
    pub wanting: bool,
    /// Number of pieces it has and we lack.
    pub useful: u32,
    /// Our requests, in the order they were sent.
    pub asked: VecDeque<BlockRef>,
    /// The last block came then, or the first request went out if that was later.
    pub waiting_since: Instant,
    /// Asked, and silent for too long.
    pub snubbed: bool,
    /// Its requests that have not been handed on.
    pub uploads: VecDeque<BlockRef>,
    /// Blocks handed on to be sent, and not yet said to be sent.
    pub sending: usize,
    /// Whether it stands in the round of uploads.
    pub in_round: bool,
    /// Payload that came from it.
    pub down: Meter,
    /// Payload that went to it.
    pub up: Meter,
}

impl Session {
    /// A session that opens now, with a peer that has told nothing of its `pieces` pieces yet.
    pub fn new(id: PeerId, pieces: u32, window: Duration, now: Instant) -> Session {
        Session {
            id,
            have: Bitfield::new(pieces),
            choking: true,
            interested: false,
            choked: true,
            wanting: false,
            useful: 0,
            asked: VecDeque::new(),
            waiting_since: now,
            snubbed: false,
            uploads: VecDeque::new(),
            sending: 0,
            in_round: false,
            down: Meter::new(now, window),
            up: Meter::new(now, window),
        }
    }

    /// Whether the peer has every piece.
    pub fn is_seed(&self) -> bool {
        self.have.is_full()
    }

    /// How many requests to keep out at this peer, never below `floor` while it delivers.
    pub fn depth(&self, floor: usize, now: Instant) -> usize {
        if self.snubbed {
            return 1;
        }
        let blocks = self.down.rate(now) * PIPELINE_SECONDS / f64::from(BLOCK_LENGTH);
        (blocks as usize).clamp(floor.min(MAX_ASKED), MAX_ASKED)
    }

    /// Notes that `block` came, and tells whether it had been asked for. Blocks nearly always
    /// come in the order they were asked.
    pub fn answered(&mut self, block: BlockRef, now: Instant) -> bool {
        self.waiting_since = now;
        match self.asked.iter().position(|b| *b == block) {
            Some(0) => self.asked.pop_front().is_some(),
            Some(n) => self.asked.remove(n).is_some(),
            None => false,
        }
    }

    /// Forgets the requests that `gone` says so of, and returns them.
    pub fn drop_asked(&mut self, gone: impl Fn(BlockRef) -> bool) -> Vec<BlockRef> {
        let dropped = self.asked.iter().copied().filter(|block| gone(*block)).collect();
        self.asked.retain(|block| !gone(*block));
        dropped
    }

    /// Notes that the peer has `piece`; false if that was known.
    pub fn learn(&mut self, piece: PieceIndex) -> bool {
        self.have.set(piece.get(), true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::geometry::Geometry;

    fn session(now: Instant) -> Session {
        Session::new(PeerId([1; 20]), 4, Duration::from_secs(20), now)
    }

    #[test]
    fn the_pipeline_follows_the_rate_between_its_bounds() {
        let now = Instant::now();
        let mut s = session(now);
        assert_eq!(s.depth(10, now), 10);
        for second in 1..=20 {
            s.down.add(now + Duration::from_secs(second), 20 * 16_384);
        }
        let later = now + Duration::from_secs(20);
        assert!((50..=70).contains(&s.depth(10, later)), "{}", s.depth(10, later));
        s.down.add(later, 1 << 40);
        assert_eq!(s.depth(10, later), MAX_ASKED);
        s.snubbed = true;
        assert_eq!(s.depth(10, later), 1);
    }

    #[test]
    fn tells_answers_from_what_nobody_asked_for() {
        let now = Instant::now();
        let g = Geometry::new(65_536, [65_536]).unwrap();
        let piece = g.piece(0).unwrap();
        let mut s = session(now);
        s.asked.extend((0..3).map(|n| g.block(piece, n).unwrap()));
        assert!(s.answered(g.block(piece, 1).unwrap(), now));
        assert!(!s.answered(g.block(piece, 1).unwrap(), now));
        assert!(!s.answered(g.block(piece, 3).unwrap(), now));
        assert_eq!(s.asked.len(), 2);
    }
}
