//! How fast: what the upload and download limits let through, and the limit that finds itself.

use super::{Action, Timer, Torrent};
use crate::logic::PeerKey;
use crate::logic::rate::Bucket;
use crate::logic::rate::auto::{AutoLimit, FIRST_SLOTS};
use crate::proto::geometry::{BLOCK_LENGTH, BlockRef};
use std::time::Instant;

/// With an automatic limit and more slots than this, so many connections beyond them are opened.
const MANY_SLOTS: usize = 30;
const CONNECTIONS_BEYOND_SLOTS: usize = 10;

/// What the limits remember beside their buckets.
#[derive(Debug)]
pub(super) struct Limits {
    auto: Option<AutoLimit>,
    /// Limits what acknowledgements take from the upload limit to a half of it: a fast download
    /// must not silence us, or others would have no reason to go on giving.
    acks: Bucket,
}

impl Limits {
    pub(super) fn new(auto: bool, now: Instant) -> Limits {
        Limits { auto: auto.then(AutoLimit::new), acks: Bucket::new(None, now) }
    }
}

impl Torrent {
    pub(super) fn begin_limits(&mut self, now: Instant) {
        self.set_upload_limit(self.config.upload_limit, now);
        if self.limits.auto.is_some() {
            self.set_slots(FIRST_SLOTS);
        }
    }

    /// Has the limits be those that are set.
    pub(super) fn fix_limits(&mut self, now: Instant) {
        self.limits.auto = None;
        self.set_upload_limit(self.config.upload_limit, now);
        self.download_bucket.set_limit(now, self.config.download_limit);
    }

    fn set_upload_limit(&mut self, limit: Option<u64>, now: Instant) {
        self.upload_bucket.set_limit(now, limit);
        self.limits.acks.set_limit(now, limit.map(|limit| limit / 2));
    }

    fn set_slots(&mut self, slots: usize) {
        self.config.max_uploads = slots;
        self.config.min_uploads = slots;
        if slots > MANY_SLOTS {
            self.config.max_initiate = slots + CONNECTIONS_BEYOND_SLOTS;
        }
    }

    /// A peer that was unchoked at `unchoked_at` has asked for its first block.
    pub(super) fn note_first_request(&mut self, unchoked_at: Option<Instant>, now: Instant) {
        let (Some(at), Some(auto)) = (unchoked_at, &mut self.limits.auto) else { return };
        let rate = self.up.rate(now);
        if let Some(change) = auto.on_request(now.saturating_duration_since(at), rate) {
            self.set_upload_limit(Some(change.limit), now);
            self.set_slots(change.slots);
            self.rechoke_soon(now);
        }
    }

    /// Lets the first of the round send a portion. It keeps its turn until its block is through:
    /// many blocks sent side by side would all take long.
    pub(super) fn serve_portion(&mut self, key: PeerKey, now: Instant) {
        let portion = u32::try_from(self.upload_bucket.portion()).unwrap_or(u32::MAX);
        if !self.begin_block(key, now) {
            return self.leave_round(key);
        }
        let Some(session) = self.session(key) else { return };
        let bytes = session.withheld.min(portion);
        session.withheld -= bytes;
        let through = session.withheld == 0;
        self.upload_bucket.take(now, bytes.into());
        self.actions.push_back(Action::Allow(key, bytes.into()));
        if through {
            self.leave_round(key);
            self.enter_round(key);
        }
    }

    /// Hands on the peer's next block, unless one is on its way; false if there is none.
    fn begin_block(&mut self, key: PeerKey, now: Instant) -> bool {
        let Some(session) = self.session(key) else { return false };
        if session.withheld > 0 {
            return true;
        }
        // What was handed on before there was a limit leaves first.
        if session.sending > 0 {
            return false;
        }
        let Some(block) = self.next_upload(key, now) else { return false };
        let Some(session) = self.session(key) else { return false };
        session.sending += 1;
        session.withheld = block.length();
        if !std::mem::replace(&mut session.paced, true) {
            self.actions.push_back(Action::Allow(key, 0));
        }
        self.actions.push_back(Action::SendBlock(key, block));
        true
    }

    /// Counts what acknowledging `bytes` that came costs (`tcp_ack_fudge`).
    pub(super) fn charge_acks(&mut self, bytes: u64, now: Instant) {
        let cost = (bytes as f64 * self.config.tcp_ack_fudge) as u64;
        if cost > 0 && self.upload_bucket.limit().is_some() && self.limits.acks.ready(now) {
            self.limits.acks.take(now, cost);
            self.upload_bucket.take(now, cost);
        }
    }

    /// How many blocks may be asked for now, of `most`; `None` until the limit has tokens again,
    /// which a timer watches.
    pub(super) fn may_ask_for(&mut self, most: usize, now: Instant) -> Option<usize> {
        if !self.download_bucket.ready(now) {
            if let Some(at) = self.download_bucket.next_ready(now) {
                self.timers.set(Timer::Download, at);
            }
            return None;
        }
        // The last one may be on credit.
        let blocks = self.download_bucket.available(now) / u64::from(BLOCK_LENGTH) + 1;
        Some(most.min(usize::try_from(blocks).unwrap_or(usize::MAX)))
    }

    /// Blocks that were asked for will not come: their tokens serve for others.
    pub(super) fn not_coming<'a>(
        &mut self,
        blocks: impl IntoIterator<Item = &'a BlockRef>,
        now: Instant,
    ) {
        if self.download_bucket.limit().is_some() {
            let bytes = blocks.into_iter().map(|block| u64::from(block.length())).sum();
            self.download_bucket.give_back(now, bytes);
        }
    }
}
