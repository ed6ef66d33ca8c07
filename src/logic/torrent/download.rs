//! What we ask of peers, what came of it, and who is to blame when a piece is bad.

use super::connect::is_exempt;
use super::{Action, Notice, Torrent};
use crate::logic::PeerKey;
use crate::logic::ledger::{PieceState, Received};
use crate::proto::geometry::{BlockRef, PieceIndex};
use crate::proto::ids::PeerId;
use crate::proto::sorted;
use crate::proto::wire::{Message, PeerFault};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// So many bytes of blocks that nobody asked for may come from a peer, beside a quarter of what
/// was asked for: one that does not heed cancels sends as much as it was asked for at a time.
const MAX_UNASKED: u64 = 64 * 1024 * 1024;

impl Torrent {
    /// Sends as many requests to a peer as it should have out.
    pub(super) fn ask(&mut self, key: PeerKey, now: Instant) {
        if self.asks_nothing() {
            return;
        }
        let floor = self.config.request_backlog;
        let Some(session) = self.session(key) else { return };
        if !session.interested || session.choked && session.allowed.is_empty() {
            return;
        }
        let depth = session.depth(floor);
        let room = depth.saturating_sub(session.asked.len());
        // In portions, so that the price of a look at the picker is shared by several blocks.
        if room == 0 || room * 8 < depth && !session.asked.is_empty() {
            return;
        }
        if !self.ledger.all_asked() {
            self.ask_for(key, room, now);
        }
        // A retry that somebody slow has may free blocks even where all are asked for.
        if self.relieve(key, now) {
            self.ask_for(key, room, now);
        } else if self.ledger.all_asked() {
            self.endgame_soon(now);
        }
    }

    fn ask_for(&mut self, key: PeerKey, mut room: usize, now: Instant) {
        let mut picked = Vec::new();
        while room > 0 {
            let Some(portion) = self.may_ask_for(room, now) else { return };
            let Some(session) = self.peers.get(&key).and_then(|p| p.session()) else { return };
            let Some(offers) = session.offers() else { return };
            picked.clear();
            let (picker, ledger) = (&mut self.picker, &self.ledger);
            picker.pick(ledger, &offers, key, portion, &mut self.rng, &mut picked);
            if picked.is_empty() {
                if self.ledger.all_asked() {
                    self.endgame_soon(now);
                }
                return;
            }
            room = room.saturating_sub(picked.len());
            self.send_requests(key, &picked, now);
        }
    }

    pub(super) fn send_requests(&mut self, key: PeerKey, blocks: &[BlockRef], now: Instant) {
        let snub_at = now + self.config.snub_time;
        let Some(session) = self.session(key) else { return };
        session.ask(blocks, now);
        for block in blocks {
            self.ledger.ask(*block, key);
            self.limits.download.take(now, u64::from(block.length()));
            self.say(key, Message::Request(*block), now);
        }
        self.tick_by(snub_at);
    }

    /// Asks of everybody: after blocks became free again, or tokens came in.
    pub(super) fn ask_all(&mut self, now: Instant) {
        if self.asks_nothing() {
            return;
        }
        let mut keys = self.open_keys();
        // Nobody is always first, which matters under a download limit.
        let start = self.rng.below(keys.len().max(1) as u32) as usize;
        keys.rotate_left(start);
        for key in keys {
            if self.may_ask_for(1, now).is_none() {
                return;
            }
            self.ask(key, now);
        }
        self.ask_web_seeds(now);
    }

    /// A peer was asked and gave nothing for too long: what it was asked goes to others, and it
    /// gets one request at a time until it delivers.
    pub(super) fn snub(&mut self, key: PeerKey, now: Instant) {
        let Some(session) = self.session(key) else { return };
        session.snubbed = true;
        let asked = std::mem::take(&mut session.asked);
        self.not_coming(&asked, now);
        for block in asked {
            self.ledger.unask(block, key);
            self.say(key, Message::Cancel(block), now);
        }
        self.rechoke_soon(now);
    }

    /// A block came.
    pub(super) fn on_block(
        &mut self,
        key: PeerKey,
        block: BlockRef,
        data: Vec<u8>,
        now: Instant,
    ) -> Result<(), PeerFault> {
        let length = u64::from(block.length());
        let floor = self.config.request_backlog;
        let Some(session) = self.session(key) else { return Ok(()) };
        let asked = session.answered(block, floor, now);
        session.snubbed &= !asked;
        if !asked {
            self.actions.push_back(Action::Recycle(data));
            return self.note_unasked(key, block, now);
        }
        session.answers_cancelled(block);
        session.down.add(now, length);
        self.down.add(now, length);
        self.charge_acks(length, now);
        let whole = self.geometry.block_number(block).is_some();
        if !whole || self.stopping {
            self.discard(length, data);
            return Ok(());
        }
        self.cancel_elsewhere(key, block, now);
        self.take_block(key, block, data);
        self.ask(key, now);
        Ok(())
    }

    /// Whether this block is expected of this peer, perhaps because a cancel came too late.
    pub fn expects(&self, key: PeerKey, block: BlockRef) -> bool {
        let session = self.peers.get(&key).and_then(|peer| peer.session());
        session.is_some_and(|s| s.asked.contains(&block) || s.cancelled.contains(&block))
    }

    /// A block came that was not expected, and was not looked at.
    pub fn on_unasked(&mut self, key: PeerKey, block: BlockRef, now: Instant) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        peer.heard = now;
        if let Err(fault) = self.note_unasked(key, block, now) {
            self.on_fault(key, fault, now);
        }
    }

    /// Blocks may come late, as after a cancel, but not without end.
    fn note_unasked(
        &mut self,
        key: PeerKey,
        block: BlockRef,
        now: Instant,
    ) -> Result<(), PeerFault> {
        let length = u64::from(block.length());
        self.discarded += length;
        self.limits.download.take(now, length);
        self.charge_acks(length, now);
        let Some(session) = self.session(key) else { return Ok(()) };
        if !session.answers_cancelled(block) {
            session.unasked += length;
        }
        let limit = MAX_UNASKED + session.down.total() / 4;
        if session.unasked > limit { Err(PeerFault::Noise) } else { Ok(()) }
    }

    /// A block is here: it is written, and its piece is hashed if it was the last of it.
    pub(super) fn take_block(&mut self, key: PeerKey, block: BlockRef, data: Vec<u8>) {
        match self.ledger.receive(block, key) {
            Received::Duplicate => self.discard(u64::from(block.length()), data),
            Received::New { piece_full } => {
                self.actions.push_back(Action::Write(block, data));
                if piece_full {
                    self.actions.push_back(Action::Verify(block.piece()));
                }
            }
        }
    }

    pub(super) fn discard(&mut self, length: u64, data: Vec<u8>) {
        self.discarded += length;
        self.actions.push_back(Action::Recycle(data));
    }

    /// In the endgame a block is asked of several peers; the first answer cancels the others.
    pub(super) fn cancel_elsewhere(&mut self, from: PeerKey, block: BlockRef, now: Instant) {
        let others: Vec<PeerKey> = self.ledger.asked_of(block).filter(|k| *k != from).collect();
        for other in others {
            if let Some(session) = self.session(other) {
                session.asked.retain(|b| *b != block);
                self.not_coming([&block], now);
                self.say(other, Message::Cancel(block), now);
            } else {
                self.came_elsewhere(other, now);
            }
        }
    }

    /// The disk has hashed a piece.
    pub fn on_verified(&mut self, piece: PieceIndex, good: bool, now: Instant) {
        if self.ledger.state(piece) != PieceState::Checking {
            // A block of it turned out not to be written.
            return;
        }
        let (lacked, was_done) = (self.ledger.lacks(piece.get()), self.ledger.is_done());
        let givers = self.ledger.verified(piece, good);
        if good {
            self.conduct.praise(&givers);
            self.praise_web_seeds(&givers);
            self.on_piece(piece, lacked, now);
            self.after_piece(was_done, now);
        } else {
            self.actions.push_back(Action::Report(Notice::HashFailed(piece)));
            self.discarded += u64::from(self.geometry.piece_size(piece));
            match givers.len() {
                1 => self.picker.put_last(piece),
                _ => self.watch_retries(now),
            }
            self.blame(&givers, now);
            self.blame_web_seeds(&givers, now);
            self.ask_all(now);
        }
    }

    pub(super) fn after_piece(&mut self, was_done: bool, now: Instant) {
        let complete = self.ledger.is_complete();
        // The last piece may be one that was put off while its hash was taken.
        if complete || self.ledger.is_done() && !was_done {
            self.on_done(now);
        }
        if complete {
            self.announcer.completed(now);
            self.announce_if_due(now);
        }
    }

    /// A bad piece that came from one peer alone is that peer's fault. Where several gave, the
    /// ledger has the piece fetched again from one, and then it is certain.
    fn blame(&mut self, givers: &[PeerKey], now: Instant) {
        let [culprit] = givers else { return };
        match self.conduct.blame(*culprit) {
            Verdict::Bear => {}
            _ if !self.config.auto_kick => {}
            Verdict::Kick => self.close(*culprit, now),
            Verdict::Ban(who, address) => {
                // Of what it gave before there may be more that turns out bad later.
                let new = match who {
                    Who::Address(ip) => self.candidates.ban(ip),
                    Who::Id(id) => self.conduct.ban(id),
                };
                if new {
                    self.actions.push_back(Action::Report(Notice::Banned(address)));
                }
                self.close(*culprit, now);
            }
        }
    }
}

/// Whom a good or bad deed is put down to: a public address, or the name of a peer behind an
/// address that it may share with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Address(IpAddr),
    Id(PeerId),
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Bear,
    Kick,
    Ban(Who, SocketAddr),
}

#[derive(Debug, Clone, Copy, Default)]
struct Deeds {
    good: u32,
    bad: u32,
}

/// How peers behaved, beyond the life of their connections. The rules are BitTornado's: kicked
/// after more than one bad piece, banned from three on if they are more than a thirtieth of the
/// good ones.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    met: sorted::Map<PeerKey, (Who, SocketAddr)>,
    deeds: sorted::Map<Who, Deeds>,
    banned: sorted::Set<PeerId>,
}

/// Of so many connections, the latest, it is remembered who they were.
const MAX_MET: usize = 4096;

/// So many ill-doers are remembered.
const MAX_DEEDS: usize = 4096;

impl Conduct {
    pub(super) fn meet(&mut self, key: PeerKey, address: SocketAddr, id: PeerId) {
        let who = match is_exempt(address.ip()) {
            true => Who::Id(id),
            false => Who::Address(address.ip()),
        };
        self.met.insert(key, (who, address));
        if self.met.len() > MAX_MET {
            self.met.pop_first();
        }
    }

    pub(super) fn is_banned(&self, id: PeerId) -> bool {
        self.banned.contains(&id)
    }

    /// Tells whether it was not banned before.
    fn ban(&mut self, id: PeerId) -> bool {
        if self.banned.len() >= MAX_DEEDS {
            self.banned.pop_first();
        }
        self.banned.insert(id)
    }

    fn praise(&mut self, givers: &[PeerKey]) {
        for key in givers {
            // Only those on record for something bad need their good deeds counted.
            let Some((who, _)) = self.met.get(key) else { continue };
            if let Some(deeds) = self.deeds.get_mut(who) {
                deeds.good += 1;
            }
        }
    }

    fn blame(&mut self, culprit: PeerKey) -> Verdict {
        let Some(&(who, address)) = self.met.get(&culprit) else { return Verdict::Bear };
        if self.deeds.len() >= MAX_DEEDS {
            self.deeds.pop_first();
        }
        let deeds = self.deeds.entry(who).or_default();
        deeds.bad += 1;
        if deeds.bad >= 3 && deeds.bad > deeds.good / 30 {
            return Verdict::Ban(who, address);
        }
        if deeds.bad > 1 { Verdict::Kick } else { Verdict::Bear }
    }
}
