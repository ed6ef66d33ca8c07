//! The endgame: everything is asked for, and some peers have nothing to do.
//!
//! A block is asked of a second peer, and of a third, if that brings it much sooner than who was
//! asked before will. So little is fetched twice where all are quick, and nobody slow holds up the
//! end. The first answer cancels the others (`download`). The peers are looked through together,
//! now and then: to do so at every block would cost more than it brings.

use super::{Timer, Torrent};
use crate::logic::PeerKey;
use crate::logic::peer::Session;
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::BlockRef;
use crate::proto::order;
use crate::proto::sorted;
use std::time::{Duration, Instant};

/// How often the peers are looked through.
const SWEEP: Duration = Duration::from_millis(100);

/// How many peers a block is asked of at most.
const MAX_ASKED: usize = 3;

/// A block must come this much sooner, and in half the time, to be asked for twice.
const GAIN: Duration = Duration::from_millis(50);

/// So many blocks, the latest, are looked at for one peer in one sweep.
const MAX_LOOKED_AT: usize = 256;

/// A block that is asked for.
struct Late {
    block: BlockRef,
    /// When the first of those that it is asked of will have sent it.
    comes_in: Duration,
    askers: usize,
}

impl Torrent {
    /// A peer has room for requests, and there is nothing to ask for the first time.
    pub(super) fn endgame_soon(&mut self, now: Instant) {
        if self.timers.get(Timer::Endgame).is_none() {
            self.timers.set(Timer::Endgame, now + SWEEP);
        }
    }

    /// Finds blocks for peers that have room.
    pub(super) fn endgame(&mut self, now: Instant) {
        if !self.ledger.all_asked() || self.stopping || self.config.paused {
            return;
        }
        let mut late = self.late_blocks(now);
        let mut waits = false;
        for key in self.open_keys() {
            waits |= self.help_out(key, &mut late, now);
        }
        if let Some(last) = late.first() {
            waits |= self.help_from_web(last.block, last.comes_in, now);
        }
        if waits {
            self.timers.set(Timer::Endgame, now + SWEEP);
        }
    }

    /// All blocks that are asked for, those that come last first.
    fn late_blocks(&self, now: Instant) -> Vec<Late> {
        let mut blocks: sorted::Map<BlockRef, Late> = sorted::Map::new();
        for (_, session) in self.sessions() {
            let silence = now.saturating_duration_since(session.waiting_since);
            for (ahead, block) in session.asked.iter().enumerate() {
                let comes_in = session.pipeline.expected(ahead, silence);
                let new = Late { block: *block, comes_in, askers: 0 };
                let late = blocks.entry(*block).or_insert(new);
                late.comes_in = late.comes_in.min(comes_in);
                late.askers += 1;
            }
        }
        for (block, comes_in) in self.late_from_web(now) {
            let late = blocks.entry(block).or_insert(Late { block, comes_in, askers: 0 });
            late.comes_in = late.comes_in.min(comes_in);
            late.askers += 1;
        }
        let mut blocks: Vec<Late> = blocks.into_values().collect();
        order::by_key(&mut blocks, |late| std::cmp::Reverse(late.comes_in));
        blocks
    }

    /// Asks one peer for blocks that it can send much sooner. Says whether there are blocks that
    /// it may be asked for later.
    fn help_out(&mut self, key: PeerKey, late: &mut [Late], now: Instant) -> bool {
        let Some(session) = self.peers.get(&key).and_then(|p| p.session()) else { return false };
        let depth = session.depth(self.config.request_backlog);
        let Some(offers) = session.offers().filter(|_| session.interested) else { return false };
        let (mut picked, mut waits) = (Vec::new(), false);
        for late in late.iter_mut().take(MAX_LOOKED_AT) {
            let out = session.asked.len() + picked.len();
            if out >= depth || !self.limits.may_ask(now) {
                break;
            }
            if late.askers >= MAX_ASKED || !self.may_help(key, session, &offers, late.block) {
                continue;
            }
            waits = true;
            let takes = session.pipeline.takes(out);
            if late.comes_in < takes * 2 + GAIN {
                break;
            }
            picked.push(late.block);
            late.askers += 1;
            late.comes_in = takes;
        }
        self.send_requests(key, &picked, now);
        waits
    }

    fn may_help(
        &self,
        key: PeerKey,
        session: &Session,
        offers: &Bitfield,
        block: BlockRef,
    ) -> bool {
        offers.get(block.piece().get())
            && self.ledger.may_ask(block.piece(), key)
            && !session.asked.contains(&block)
    }
}
