//! How fast: what the upload and download limits let through, and the limit that finds itself.

use super::{Action, Config, Timer, Torrent};
use crate::logic::PeerKey;
use crate::logic::rate::auto::{AutoLimit, FIRST_SLOTS};
use crate::logic::rate::{Bucket, Meter};
use crate::proto::geometry::{BLOCK_LENGTH, BlockRef};
use std::time::Instant;

/// With an automatic limit and more slots than this, so many connections beyond them are opened.
const MANY_SLOTS: usize = 30;
const CONNECTIONS_BEYOND_SLOTS: usize = 10;

/// What limits how fast payload leaves and is asked for. A torrent has its own, unless it is lent
/// those that several share: see [`Share`](crate::logic::share::Share).
#[derive(Debug)]
pub struct Limits {
    pub(super) upload: Bucket,
    pub(super) download: Bucket,
    /// It is the turn of others to send, or to ask.
    sending_shut: bool,
    asking_shut: bool,
    auto: Option<AutoLimit>,
    /// How many are served, as the automatic limit has found.
    slots: Option<usize>,
    /// What leaves of all torrents, for the automatic limit.
    up: Meter,
    /// Limits what acknowledgements take from the upload limit to a half of it: a fast download
    /// must not silence us, or others would have no reason to go on giving.
    acks: Bucket,
}

impl Limits {
    /// Those that a user has set.
    pub fn new(config: &Config, now: Instant) -> Limits {
        let upload = Bucket::new(None, now).with_unit(config.upload_unit_size.into());
        let auto = config.auto_upload_limit;
        let mut limits = Limits {
            upload,
            download: Bucket::new(config.download_limit, now),
            sending_shut: false,
            asking_shut: false,
            auto: auto.then(AutoLimit::new),
            slots: auto.then_some(FIRST_SLOTS),
            up: Meter::new(now, config.rate_window).with_head_start(config.upload_rate_fudge),
            acks: Bucket::new(None, now),
        };
        limits.set_upload(config.upload_limit, now);
        limits
    }

    fn set_upload(&mut self, limit: Option<u64>, now: Instant) {
        self.upload.set_limit(now, limit);
        self.acks.set_limit(now, limit.map(|limit| limit / 2));
    }

    /// From now on the limits are these, and none finds itself.
    pub fn fix(&mut self, upload: Option<u64>, download: Option<u64>, now: Instant) {
        (self.auto, self.slots) = (None, None);
        self.set_upload(upload, now);
        self.download.set_limit(now, download);
    }

    /// Whether something may be sent, and asked for, by whose turn it is.
    pub(in crate::logic) fn ready(&self, now: Instant) -> (bool, bool) {
        (self.upload.ready(now), self.download.ready(now))
    }

    /// When one of those may be sent, or asked for, that wait.
    pub(in crate::logic) fn next_ready(
        &self,
        sends: bool,
        asks: bool,
        now: Instant,
    ) -> Option<Instant> {
        let at = |bucket: &Bucket| match bucket.ready(now) {
            true => Some(now),
            false => bucket.next_ready(now),
        };
        let sends = sends.then(|| at(&self.upload)).flatten();
        sends.into_iter().chain(asks.then(|| at(&self.download)).flatten()).min()
    }

    /// For the next torrent: whether it is the turn of others.
    pub(in crate::logic) fn shut(&mut self, sending: bool, asking: bool) {
        (self.sending_shut, self.asking_shut) = (sending, asking);
    }

    pub(super) fn may_send(&self, now: Instant) -> bool {
        !self.sending_shut && self.upload.ready(now)
    }

    pub(super) fn is_our_turn(&self) -> bool {
        !self.sending_shut
    }

    /// Payload has left.
    pub(super) fn note_sent(&mut self, bytes: u64, now: Instant) {
        if self.auto.is_some() {
            self.up.add(now, bytes);
        }
    }

    pub(super) fn may_ask(&self, now: Instant) -> bool {
        !self.asking_shut && self.download.ready(now)
    }
}

impl Torrent {
    /// Lends it the limits of all for a call, with `room` for so many connections more; or takes
    /// them back.
    pub(in crate::logic) fn swap_limits(&mut self, limits: &mut Limits, room: usize) {
        std::mem::swap(&mut self.limits, limits);
        self.room = room;
        if let Some(slots) = self.limits.slots.filter(|n| *n != self.config.max_uploads) {
            self.set_slots(slots);
        }
    }

    /// Connections, those that are being dialled too.
    pub fn connections(&self) -> usize {
        self.peers.len()
    }

    /// Whether something is to be sent, and to be asked for, that its limit keeps back.
    pub(in crate::logic) fn waits(&self) -> (bool, bool) {
        (!self.round.is_empty(), self.thirsty)
    }

    /// Whether it would dial if others had fewer connections.
    pub(in crate::logic) fn is_crowded(&self) -> bool {
        self.crowded
    }

    /// Its turn has come to use what it shares with others.
    pub fn on_turn(&mut self, now: Instant) {
        self.pump_uploads(now);
        if std::mem::take(&mut self.thirsty) {
            self.ask_all(now);
        }
        self.dial(now);
    }

    pub(super) fn begin_limits(&mut self) {
        if let Some(slots) = self.limits.slots {
            self.set_slots(slots);
        }
    }

    /// Has the limits be those that are set.
    pub(super) fn fix_limits(&mut self, now: Instant) {
        self.limits.fix(self.config.upload_limit, self.config.download_limit, now);
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
        let rate = self.limits.up.rate(now);
        if let Some(change) = auto.on_request(now.saturating_duration_since(at), rate) {
            self.limits.set_upload(Some(change.limit), now);
            self.limits.slots = Some(change.slots);
            self.set_slots(change.slots);
            self.rechoke_soon(now);
        }
    }

    /// Lets the first of the round send a portion. It keeps its turn until its block is through:
    /// many blocks sent side by side would all take long.
    pub(super) fn serve_portion(&mut self, key: PeerKey, now: Instant) {
        let portion = u32::try_from(self.limits.upload.portion()).unwrap_or(u32::MAX);
        if !self.begin_block(key, now) {
            return self.leave_round(key);
        }
        let Some(session) = self.session(key) else { return };
        let bytes = session.withheld.min(portion);
        session.withheld -= bytes;
        let through = session.withheld == 0;
        if through {
            session.sent_at = now;
        }
        self.limits.upload.take(now, bytes.into());
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
        if cost > 0 && self.limits.upload.limit().is_some() && self.limits.acks.ready(now) {
            self.limits.acks.take(now, cost);
            self.limits.upload.take(now, cost);
        }
    }

    /// How many blocks may be asked for now, of `most`; `None` until the limit has tokens again,
    /// which a timer watches.
    pub(super) fn may_ask_for(&mut self, most: usize, now: Instant) -> Option<usize> {
        if !self.limits.may_ask(now) {
            self.thirsty = true;
            // Whose turn it is will be told, if others wait too.
            let at = self.limits.download.next_ready(now).filter(|_| !self.limits.asking_shut);
            at.into_iter().for_each(|at| self.timers.set(Timer::Download, at));
            return None;
        }
        // The last one may be on credit.
        let blocks = self.limits.download.available(now) / u64::from(BLOCK_LENGTH) + 1;
        Some(most.min(usize::try_from(blocks).unwrap_or(usize::MAX)))
    }

    /// Blocks that were asked for will not come: their tokens serve for others.
    pub(super) fn not_coming<'a>(
        &mut self,
        blocks: impl IntoIterator<Item = &'a BlockRef>,
        now: Instant,
    ) {
        if self.limits.download.limit().is_some() {
            let bytes = blocks.into_iter().map(|block| u64::from(block.length())).sum();
            self.limits.download.give_back(now, bytes);
        }
    }
}
