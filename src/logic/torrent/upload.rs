//! Whom we serve, and in what order.

use super::{Action, Timer, Torrent};
use crate::logic::PeerKey;
use crate::logic::choker::{PeerView, Slots, TRIAL, Trial, seeding_period};
use crate::logic::peer::Session;
use crate::proto::geometry::BlockRef;
use crate::proto::wire::{Message, PeerFault};
use std::time::{Duration, Instant};

/// The choice whom to unchoke is made anew this often, as in BitTornado.
const RECHOKE_PERIOD: Duration = Duration::from_secs(5);

/// Several changes within this time lead to one new choice.
const RECHOKE_DELAY: Duration = Duration::from_millis(10);

/// A peer that has taken nothing of what is sent to it for so long does not read: it takes no slot
/// from those who do. Shorter than [`RECHOKE_PERIOD`], so that the next choice knows.
const DEAF: Duration = Duration::from_secs(4);

/// Who was unchoked and asked for nothing within [`DEAF`] is no candidate for so long, unless it
/// asks.
const LAZY: Duration = Duration::from_secs(60);

impl Torrent {
    pub(super) fn on_request(
        &mut self,
        key: PeerKey,
        block: BlockRef,
        now: Instant,
    ) -> Result<(), PeerFault> {
        if !self.may_request(key, block, now)? {
            return Ok(());
        }
        let Some(session) = self.session(key) else { return Ok(()) };
        if session.uploads.is_empty() && session.sending == 0 {
            session.sent_at = now;
        }
        session.uploads.push_back(block);
        let was_lazy = session.lazy_until.take().is_some();
        let unchoked_at = session.unchoked_at.take();
        self.note_first_request(unchoked_at, now);
        if was_lazy {
            self.rechoke_soon(now);
        }
        self.enter_round(key);
        self.pump_uploads(now);
        Ok(())
    }

    pub(super) fn on_cancel(
        &mut self,
        key: PeerKey,
        block: BlockRef,
        now: Instant,
    ) -> Result<(), PeerFault> {
        let Some(session) = self.session(key) else { return Ok(()) };
        let before = session.uploads.len();
        session.uploads.retain(|b| *b != block);
        if session.uploads.len() == before {
            return self.note_chatter(key, now);
        }
        if session.fast {
            self.say(key, Message::Reject(block), now);
        }
        Ok(())
    }

    /// A block handed on by `SendBlock` has left our hands.
    pub fn on_block_sent(&mut self, key: PeerKey, block: BlockRef, now: Instant) {
        let length = u64::from(block.length());
        let Some(peer) = self.peers.get_mut(&key) else { return };
        peer.said = now;
        let Some(session) = peer.session_mut() else { return };
        let was_deaf = session.is_deaf(DEAF, now);
        session.on_sent(now);
        session.up.add(now, length);
        self.up.add(now, length);
        self.limits.note_sent(length, now);
        if was_deaf {
            self.rechoke_soon(now);
        }
        self.note_offer_sent(key, block, now);
        self.enter_round(key);
        self.pump_uploads(now);
    }

    pub(super) fn enter_round(&mut self, key: PeerKey) {
        let limited = self.limits.upload.limit().is_some();
        let Some(session) = self.session(key) else { return };
        let most = if limited { 1 } else { session.burst() };
        if !session.in_round && !session.uploads.is_empty() && session.sending < most {
            session.in_round = true;
            self.round.push_back(key);
        }
    }

    /// Hands on blocks, one a peer in turn, as far as the limit and the peers' windows allow.
    pub(super) fn pump_uploads(&mut self, now: Instant) {
        while let Some(key) = self.round.front().copied() {
            if !self.limits.may_send(now) {
                self.watch_upload_limit(now);
                return;
            }
            let paced = self.session(key).is_some_and(|s| s.paced);
            if paced || self.limits.upload.limit().is_some() {
                self.serve_portion(key, now);
            } else {
                self.serve_block(key, now);
            }
        }
    }

    /// Comes back when the limit has tokens. Whose turn it is then will be told, if others wait.
    fn watch_upload_limit(&mut self, now: Instant) {
        if let (Some(at), true) = (self.limits.upload.next_ready(now), self.limits.is_our_turn()) {
            self.timers.set(Timer::Upload, at);
        }
    }

    fn serve_block(&mut self, key: PeerKey, now: Instant) {
        self.leave_round(key);
        let Some(block) = self.next_upload(key, now) else { return };
        let Some(session) = self.session(key) else { return };
        session.sending += 1;
        self.actions.push_back(Action::SendBlock(key, block));
        self.enter_round(key);
    }

    /// Takes out the first of the round.
    pub(super) fn leave_round(&mut self, key: PeerKey) {
        self.round.pop_front();
        if let Some(session) = self.session(key) {
            session.in_round = false;
        }
    }

    /// Has the choice made anew shortly: what happens together is looked at together.
    pub(super) fn rechoke_soon(&mut self, now: Instant) {
        let at = now + RECHOKE_DELAY;
        if self.timers.get(Timer::Rechoke).is_none_or(|set| set > at) {
            self.timers.set(Timer::Rechoke, at);
        }
    }

    /// Has the choice made anew after a while, if it is not due before.
    pub(super) fn rechoke_later(&mut self, now: Instant) {
        if self.timers.get(Timer::Rechoke).is_none() {
            self.timers.set(Timer::Rechoke, now + RECHOKE_PERIOD);
        }
    }

    /// Who was unchoked and asks for nothing gives its slot up to others for a while.
    fn note_lazy(&mut self, now: Instant) {
        for peer in self.peers.values_mut() {
            let Some(session) = peer.session_mut() else { continue };
            let waited = session.unchoked_at.map(|at| now.saturating_duration_since(at));
            let known = session.lazy_until.is_some_and(|until| until > now);
            if !known && waited.is_some_and(|waited| waited >= DEAF) {
                session.lazy_until = Some(now + LAZY);
            }
        }
    }

    pub(super) fn rechoke(&mut self, now: Instant) {
        if self.config.paused {
            return;
        }
        self.note_lazy(now);
        let sessions = self.sessions();
        let views: Vec<PeerView> = sessions.map(|(key, session)| view(key, session, now)).collect();
        if views.iter().any(|v| v.interested) {
            self.timers.set(Timer::Rechoke, now + RECHOKE_PERIOD);
        }
        let seeding = self.ledger.is_done();
        let period = self.config.round_robin_period;
        let slots = Slots {
            max_uploads: self.config.max_uploads,
            min_uploads: self.config.min_uploads,
            round_robin_period: match seeding {
                true => seeding_period(period, self.geometry.piece_length()),
                false => period,
            },
            credit: self.geometry.piece_length().into(),
        };
        for verdict in self.choker.choose(&views, &slots, seeding, now, &mut self.rng) {
            self.set_choking(verdict.key, !verdict.unchoke, now);
        }
        for session in self.peers.values_mut().filter_map(|peer| peer.session_mut()) {
            if !session.choking && session.is_hungry() {
                session.tried_at.get_or_insert(now);
            }
        }
    }

    pub(super) fn set_choking(&mut self, key: PeerKey, choking: bool, now: Instant) {
        let Some(session) = self.session(key) else { return };
        if session.choking == choking {
            return;
        }
        session.choking = choking;
        let message = match choking {
            true => Message::Choke,
            false => Message::Unchoke,
        };
        let waits = !choking && session.wanting && session.sending == 0;
        session.unchoked_at = waits.then_some(now);
        self.say(key, message, now);
        if choking {
            self.drop_uploads(key, now);
        }
    }
}

/// Whether a slot would not be lost on it: it reads, and asks when it may.
pub(super) fn is_servable(session: &Session, now: Instant) -> bool {
    !session.is_deaf(DEAF, now) && session.lazy_until.is_none_or(|at| at <= now)
}

fn view(key: PeerKey, session: &Session, now: Instant) -> PeerView {
    PeerView {
        key,
        interested: session.is_hungry() && is_servable(session, now),
        unchoked: !session.choking,
        snubbed: session.snubbed,
        download_rate: session.down.rate(now),
        upload_rate: session.up.rate(now),
        given: session.down.total(),
        taken: session.up.total(),
        gain_rate: session.gains.mean(now) as u64,
        trial: match session.tried_at {
            None => Trial::Due,
            Some(at) if now.saturating_duration_since(at) < TRIAL => Trial::On,
            Some(_) => Trial::Over,
        },
    }
}
