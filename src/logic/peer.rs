//! One connection's talk: how far it is, the flags of both sides, what was asked of whom.
//!
//! Plain state with small questions; [`Torrent`](super::torrent::Torrent) makes the decisions.

use super::pipeline::Pipeline;
use super::rate::Meter;
use super::torrent::exchange::Exchanged;
use super::torrent::metadata::Wishes;
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::{BlockRef, PieceIndex};
use crate::proto::ids::PeerId;
use crate::proto::wire::Speaks;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The most requests we have out at one peer that does not say how many it takes. Peers that tell no limit of theirs take at least
/// 250 (what libtorrent assumes of a peer that is silent about it).
pub const MAX_ASKED: usize = 250;

/// The most requests a peer may have waiting with us; one that sends more is dropped.
pub const MAX_WAITING: usize = 2048;

/// No more requests wait for all peers together, if many are unchoked: one that has more than its
/// share is rejected, in the words that it knows.
pub const MAX_WAITING_TOGETHER: usize = 32 * MAX_WAITING;

/// So many may wait for each peer whatever the others do.
pub const USUAL_WAITING: usize = MAX_ASKED;

/// So many requests that were taken back are remembered.
const MAX_CANCELLED: usize = 2 * MAX_ASKED;

/// Of so many pieces a peer may say that we may ask for them while it chokes us; BEP 6 has ten.
pub const MAX_ALLOWED: usize = 64;

/// So many messages that lead to nothing may come from a peer within [`CHATTER_PERIOD`]. A peer
/// that is choked may have as many requests rejected as may wait.
const MAX_CHATTER: u32 = MAX_WAITING as u32 + 1000;

/// See [`MAX_CHATTER`].
const CHATTER_PERIOD: Duration = Duration::from_secs(10);

/// The time between two blocks that are sent to a peer, while nothing is known.
const UNKNOWN_PACE: Duration = Duration::from_millis(60);

/// Blocks handed on for a peer and not yet sent are no more than it takes in this time.
const HANDED_ON: Duration = Duration::from_millis(250);

/// How many blocks may be handed on for one peer at least: while one leaves, the next is ready.
const MIN_SENDING: usize = 2;

/// And at most. Enough to fill its socket in one turn.
const MAX_SENDING: usize = 16;

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
    /// The extensions it speaks, as far as it has said.
    pub speaks: Speaks,
    /// The stream is encrypted, or is to be, or its handshake was.
    pub encrypted: bool,
    /// It has said its handshake.
    pub greeted: bool,
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
        Peer {
            address,
            direction,
            speaks: Speaks::default(),
            encrypted: false,
            greeted: false,
            stage,
            since: now,
            heard: now,
            said: now,
        }
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
    /// Both sides speak the fast extension (BEP 6).
    pub fast: bool,
    /// It said that it will not download any more (BEP 21).
    pub upload_only: bool,
    /// It said that it would rather be dialled encrypted.
    pub encrypts: bool,
    /// It has said where its node of the distributed hash table is.
    pub told_node: bool,
    /// The port at which it says that it listens (BEP 10).
    pub listens: Option<u16>,
    /// No more requests may be out at it.
    pub request_limit: usize,
    /// The pieces the peer has.
    pub have: Bitfield,
    /// Pieces it answers requests for while it chokes us; no more than [`MAX_ALLOWED`].
    pub allowed: Vec<PieceIndex>,
    /// The pieces it has, less those of which it rejected a request since it unchoked us.
    pub askable: Option<Bitfield>,
    /// When that last became less.
    pub barred_at: Instant,
    /// Requests that were taken back and not answered yet, which a fast peer does by the block or
    /// by a rejection (BEP 6); no more than `MAX_CANCELLED`.
    pub cancelled: VecDeque<BlockRef>,
    /// Bytes of blocks that came from it and were not asked for.
    pub unasked: u64,
    /// Pieces that we serve while we choke it.
    pub granted: Vec<PieceIndex>,
    /// So many bytes of them may still be had.
    pub granted_bytes: u64,
    /// Talk of it that led to nothing.
    pub chatter: Chatter,
    /// Of the pieces that came so many were told to it, or were had when it was told all.
    pub told: u64,
    /// When it was last told of any.
    pub told_at: Option<Instant>,
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
    /// How many there should be.
    pub pipeline: Pipeline,
    /// The last block came then, or the first request went out if that was later.
    pub waiting_since: Instant,
    /// Asked, and silent for too long.
    pub snubbed: bool,
    /// Its requests that have not been handed on.
    pub uploads: VecDeque<BlockRef>,
    /// Blocks handed on to be sent, and not yet said to be sent.
    pub sending: usize,
    /// From one block sent to the next, while there are any to send: a mean of the latest.
    pub pace: Duration,
    /// When the last of them was sent, or the first was asked for or all of it allowed to leave,
    /// whatever was last.
    pub sent_at: Instant,
    /// Whether it stands in the round of uploads.
    pub in_round: bool,
    /// Its blocks leave as far as they are allowed to only, because there is an upload limit.
    pub paced: bool,
    /// It waits since then because others ask for what nobody has.
    pub held_since: Option<Instant>,
    /// Bytes of the block handed on last that were not allowed to leave yet.
    pub withheld: u32,
    /// It was unchoked then while it was interested, and has asked for nothing since.
    pub unchoked_at: Option<Instant>,
    /// It was first unchoked then while it was interested.
    pub tried_at: Option<Instant>,
    /// It was unchoked and asked for nothing: until then it counts as not interested.
    pub lazy_until: Option<Instant>,
    /// Payload that came from it.
    pub down: Meter,
    /// Payload that went to it.
    pub up: Meter,
    /// Bytes of the pieces that it said it has got.
    pub gains: Meter,
    /// What was told to it and by it of other peers.
    pub exchanged: Exchanged,
    /// What it asks for of the metadata.
    pub metadata: Wishes,
}

impl Session {
    /// A session that opens now, with a peer that has told nothing of its `pieces` pieces yet.
    pub fn new(id: PeerId, pieces: u32, window: Duration, now: Instant) -> Session {
        Session {
            id,
            fast: false,
            upload_only: false,
            encrypts: false,
            told_node: false,
            listens: None,
            request_limit: MAX_ASKED,
            have: Bitfield::new(pieces),
            allowed: Vec::new(),
            askable: None,
            barred_at: now,
            cancelled: VecDeque::new(),
            unasked: 0,
            granted: Vec::new(),
            granted_bytes: 0,
            chatter: Chatter::new(now),
            told: 0,
            told_at: None,
            choking: true,
            interested: false,
            choked: true,
            wanting: false,
            useful: 0,
            asked: VecDeque::new(),
            pipeline: Pipeline::default(),
            waiting_since: now,
            snubbed: false,
            uploads: VecDeque::new(),
            sending: 0,
            pace: UNKNOWN_PACE,
            sent_at: now,
            in_round: false,
            paced: false,
            withheld: 0,
            held_since: None,
            unchoked_at: None,
            tried_at: None,
            lazy_until: None,
            down: Meter::new(now, window),
            up: Meter::new(now, window),
            gains: Meter::new(now, window),
            exchanged: Exchanged::default(),
            metadata: Wishes::default(),
        }
    }

    /// Whether the peer has every piece.
    pub fn is_seed(&self) -> bool {
        self.have.is_full()
    }

    /// How many requests to keep out at this peer, never below `floor` while it delivers.
    pub fn depth(&self, floor: usize) -> usize {
        if self.snubbed {
            return 1;
        }
        self.pipeline.window(floor, self.request_limit.max(1))
    }

    /// Notes that `blocks` are asked for now.
    pub fn ask(&mut self, blocks: &[BlockRef], now: Instant) {
        let Some(last) = blocks.last() else { return };
        if self.asked.is_empty() {
            self.waiting_since = now;
        }
        self.asked.extend(blocks);
        self.pipeline.sent(*last, self.asked.len(), now);
    }

    /// Notes that `block` came, and tells whether it had been asked for; `floor` as for
    /// [`depth`](Self::depth). Blocks nearly always come in the order they were asked.
    pub fn answered(&mut self, block: BlockRef, floor: usize, now: Instant) -> bool {
        self.waiting_since = now;
        let out = self.asked.len();
        let asked = self.take_back(block);
        if asked {
            self.pipeline.answered(block, out, (floor, self.request_limit.max(1)), now);
        }
        asked
    }

    /// Takes `block` from what it was asked for; false if it was not.
    pub fn take_back(&mut self, block: BlockRef) -> bool {
        let at = self.asked.iter().position(|b| *b == block);
        // From the front of a queue this moves nothing.
        at.and_then(|n| self.asked.remove(n)).is_some()
    }

    /// Forgets the requests that `gone` says so of, and returns them.
    pub fn drop_asked(&mut self, gone: impl Fn(BlockRef) -> bool) -> Vec<BlockRef> {
        let dropped = self.asked.iter().copied().filter(|block| gone(*block)).collect();
        self.asked.retain(|block| !gone(*block));
        dropped
    }

    /// Notes that the peer has `piece`; false if that was known.
    pub fn learn(&mut self, piece: PieceIndex) -> bool {
        if let Some(askable) = &mut self.askable {
            askable.set(piece.get(), true);
        }
        self.have.set(piece.get(), true)
    }

    /// Whether it has taken nothing of what is being sent to it for `patience`. What our limit
    /// keeps back it cannot take.
    pub fn is_deaf(&self, patience: Duration, now: Instant) -> bool {
        self.sending > 0
            && self.withheld == 0
            && now.saturating_duration_since(self.sent_at) >= patience
    }

    /// A block that was handed on has been sent.
    pub fn on_sent(&mut self, now: Instant) {
        self.sending = self.sending.saturating_sub(1);
        self.pace = (self.pace * 7 + now.saturating_duration_since(self.sent_at)) / 8;
        self.sent_at = now;
    }

    /// How many blocks may be handed on and not sent. What we say, requests too, waits behind
    /// them: for a slow peer they are few.
    pub fn burst(&self) -> usize {
        let blocks = HANDED_ON.as_nanos() / self.pace.as_nanos().max(1);
        usize::try_from(blocks).unwrap_or(MAX_SENDING).clamp(MIN_SENDING, MAX_SENDING)
    }

    /// Whether it wants to be served, now and by its own word.
    pub fn is_hungry(&self) -> bool {
        self.wanting && !self.upload_only
    }

    /// The pieces it may be asked for at present; `None` for none.
    pub fn offers(&self) -> Option<Cow<'_, Bitfield>> {
        if !self.choked {
            return Some(Cow::Borrowed(self.askable.as_ref().unwrap_or(&self.have)));
        }
        let mut allowed = Bitfield::new(self.have.len());
        for piece in self.allowed.iter().filter(|p| self.have.get(p.get())) {
            allowed.set(piece.get(), true);
        }
        (allowed.count() > 0).then_some(Cow::Owned(allowed))
    }

    /// Notes that a request was taken back.
    pub fn on_cancelled(&mut self, block: BlockRef) {
        if !self.fast {
            return;
        }
        if self.cancelled.len() >= MAX_CANCELLED {
            self.cancelled.pop_front();
        }
        self.cancelled.push_back(block);
    }

    /// Whether a block or rejection may be the answer to a request that was taken back. To be
    /// asked once for each: the request may have been made again since.
    pub fn answers_cancelled(&mut self, block: BlockRef) -> bool {
        match self.cancelled.iter().position(|b| *b == block) {
            Some(n) => self.cancelled.remove(n).is_some(),
            None => false,
        }
    }

    /// Notes that it rejected a request though it does not choke us: not to be asked for this
    /// piece again before it unchokes us anew, or it would go on for ever.
    pub fn bar(&mut self, piece: PieceIndex, now: Instant) {
        self.barred_at = now;
        self.askable.get_or_insert_with(|| self.have.clone()).set(piece.get(), false);
    }
}

/// Counts what a peer says that leads to nothing. Each such message is cheap to send and has its
/// price here, so there is a limit on how many may come in a time.
#[derive(Debug)]
pub struct Chatter {
    since: Instant,
    count: u32,
}

impl Chatter {
    /// Nothing said yet.
    pub fn new(now: Instant) -> Chatter {
        Chatter { since: now, count: 0 }
    }

    /// One more; false if it was one too many.
    pub fn add(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= CHATTER_PERIOD {
            *self = Chatter::new(now);
        }
        self.count += 1;
        self.count <= MAX_CHATTER
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
    fn a_snubbed_peer_is_asked_for_one_block_and_others_for_no_more_than_they_take() {
        let mut s = session(Instant::now());
        assert_eq!((s.depth(10), s.depth(300)), (10, MAX_ASKED));
        s.request_limit = 4;
        assert_eq!(s.depth(10), 4);
        s.snubbed = true;
        assert_eq!(s.depth(10), 1);
    }

    #[test]
    fn a_slow_peer_has_few_blocks_handed_on_and_a_fast_one_many() {
        let mut now = Instant::now();
        let mut s = session(now);
        let mut send = |s: &mut Session, gap: u64| {
            for _ in 0..40 {
                now += Duration::from_millis(gap);
                s.on_sent(now);
            }
            s.burst()
        };
        assert_eq!(send(&mut s, 1), MAX_SENDING);
        assert_eq!(send(&mut s, 50), 5);
        assert_eq!(send(&mut s, 1000), MIN_SENDING);
        assert_eq!(send(&mut s, 0), MAX_SENDING);
    }

    #[test]
    fn tells_answers_from_what_nobody_asked_for() {
        let now = Instant::now();
        let g = Geometry::new(65_536, [65_536]).unwrap();
        let piece = g.piece(0).unwrap();
        let mut s = session(now);
        let blocks: Vec<BlockRef> = (0..3).map(|n| g.block(piece, n).unwrap()).collect();
        s.ask(&blocks, now);
        assert!(s.answered(g.block(piece, 1).unwrap(), 10, now));
        assert!(!s.answered(g.block(piece, 1).unwrap(), 10, now));
        assert!(!s.answered(g.block(piece, 3).unwrap(), 10, now));
        assert_eq!(s.asked.len(), 2);
    }
}
