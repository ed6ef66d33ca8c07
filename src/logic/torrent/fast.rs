//! The fast extension (BEP 6): every request is answered or rejected, and a few pieces may be had
//! while choked. For peers that do not speak it the older rules hold, see `talk` and `upload`.

use super::Torrent;
use super::connect::BARRED;
use super::connect::is_exempt;
use crate::logic::PeerKey;
use crate::logic::peer::{MAX_ALLOWED, MAX_WAITING, MAX_WAITING_TOGETHER, USUAL_WAITING};
use crate::proto::geometry::{BlockRef, PieceIndex};
use crate::proto::wire::{Message, PeerFault, allowed_fast};
use std::net::IpAddr;
use std::time::Instant;

/// How many pieces a newcomer may be granted. BEP 6 has ten; a taste is enough, and the choker's
/// choice should matter.
const MAX_GRANTED: usize = 5;

/// Who has so many pieces has something to give, and needs no grants.
const NEWCOMER: u32 = 10;

/// Only pieces that so many peers have are granted: what is rare must not be sent to the same
/// part of the swarm over and over.
const COMMON: u32 = 5;

impl Torrent {
    /// Tells a newcomer what it may have while choked. The set follows from its public address;
    /// behind a private one there may be many, who would all have the same.
    pub(super) fn grant(&mut self, key: PeerKey, now: Instant) {
        let Some(peer) = self.peers.get(&key) else { return };
        let IpAddr::V4(ip) = peer.address.ip().to_canonical() else { return };
        if is_exempt(ip.into()) || self.ledger.have().count() == 0 {
            return;
        }
        let mut pieces = allowed_fast(ip, self.info_hash, &self.geometry, MAX_GRANTED);
        let have = self.ledger.have();
        pieces.retain(|p| have.get(p.get()) && self.picker.availability(*p) >= COMMON);
        for piece in &pieces {
            self.say(key, Message::AllowedFast(*piece), now);
        }
        let bytes = pieces.iter().map(|p| u64::from(self.geometry.piece_size(*p))).sum();
        if let Some(session) = self.session(key) {
            session.granted = pieces;
            session.granted_bytes = bytes;
        }
    }

    /// Whether a request of a choked peer is answered nevertheless. Each granted byte is given
    /// once.
    pub(super) fn is_granted(&mut self, key: PeerKey, block: BlockRef) -> bool {
        let Some(session) = self.session(key) else { return false };
        let length = u64::from(block.length());
        let granted = session.granted.contains(&block.piece())
            && session.have.count() < NEWCOMER
            && session.granted_bytes >= length;
        if granted {
            session.granted_bytes -= length;
        }
        granted
    }

    /// Says to a peer that a request of it will not be answered.
    pub(super) fn reject(
        &mut self,
        key: PeerKey,
        block: BlockRef,
        now: Instant,
    ) -> Result<(), PeerFault> {
        self.note_chatter(key, now)?;
        self.say(key, Message::Reject(block), now);
        Ok(())
    }

    /// The requests of a peer that wait are not answered any more: it was choked, or does not
    /// want them. It is told, if it can be.
    pub(super) fn drop_uploads(&mut self, key: PeerKey, now: Instant) {
        let Some(session) = self.session(key) else { return };
        let (dropped, fast) = (std::mem::take(&mut session.uploads), session.fast);
        for block in dropped.into_iter().filter(|_| fast) {
            self.say(key, Message::Reject(block), now);
        }
    }

    /// A peer will not answer a request of ours.
    pub(super) fn on_reject(
        &mut self,
        key: PeerKey,
        block: BlockRef,
        now: Instant,
    ) -> Result<(), PeerFault> {
        let Some(session) = self.session(key) else { return Ok(()) };
        // What was taken back is rejected too, and may have been asked for again since.
        if session.answers_cancelled(block) {
            return Ok(());
        }
        if !session.fast || !session.take_back(block) {
            return self.note_chatter(key, now);
        }
        if session.choked {
            session.allowed.retain(|piece| *piece != block.piece());
        } else {
            session.bar(block.piece(), now);
        }
        let idle = session.asked.is_empty();
        self.tick_by(now + BARRED);
        self.not_coming([&block], now);
        self.ledger.unask(block, key);
        match idle {
            true => self.ask_all(now),
            false => self.ask(key, now),
        }
        Ok(())
    }

    /// A peer lets us have a piece while it chokes us.
    pub(super) fn on_allowed(
        &mut self,
        key: PeerKey,
        piece: PieceIndex,
        now: Instant,
    ) -> Result<(), PeerFault> {
        let had = self.ledger.have().get(piece.get());
        let Some(session) = self.session(key) else { return Ok(()) };
        let known = session.allowed.contains(&piece) || session.allowed.len() >= MAX_ALLOWED;
        if !session.fast || had || known {
            return self.note_chatter(key, now);
        }
        session.allowed.push(piece);
        self.ask(key, now);
        Ok(())
    }

    /// A peer said something that leads to nothing.
    pub(super) fn note_chatter(&mut self, key: PeerKey, now: Instant) -> Result<(), PeerFault> {
        let bearable = self.session(key).is_none_or(|session| session.chatter.add(now));
        if bearable { Ok(()) } else { Err(PeerFault::Noise) }
    }

    /// How many requests may wait for one peer while so many are unchoked.
    fn share_of_waiting(&self) -> usize {
        let unchoked = self.sessions().filter(|(_, session)| !session.choking).count();
        MAX_WAITING_TOGETHER / unchoked.max(1)
    }

    /// A request comes in. `Ok(true)` if it is to be served; else it has been dealt with.
    pub(super) fn may_request(
        &mut self,
        key: PeerKey,
        block: BlockRef,
        now: Instant,
    ) -> Result<bool, PeerFault> {
        let had = self.ledger.have().get(block.piece().get());
        let offered = self.super_seed.as_ref().is_none_or(|s| s.is_offered(key, block.piece()));
        let Some(session) = self.session(key) else { return Ok(false) };
        let fault = if !session.wanting || !had || !offered {
            Some(PeerFault::BadRequest)
        } else if session.uploads.len() >= MAX_WAITING {
            Some(PeerFault::TooManyRequests)
        } else {
            None
        };
        let (fast, choking) = (session.fast, session.choking);
        let waiting = session.uploads.len();
        if fault.is_none() && waiting >= USUAL_WAITING && waiting >= self.share_of_waiting() {
            match fast {
                true => self.reject(key, block, now)?,
                false => {
                    self.set_choking(key, true, now);
                    self.rechoke_later(now);
                }
            }
            return Ok(false);
        }
        let may_be_granted = fast && !self.config.paused;
        if fault.is_none() && (!choking || may_be_granted && self.is_granted(key, block)) {
            return Ok(true);
        }
        match fault {
            _ if fast => self.reject(key, block, now)?,
            Some(fault) => return Err(fault),
            // A peer that does not know yet that it is choked.
            None => self.note_chatter(key, now)?,
        }
        Ok(false)
    }
}
