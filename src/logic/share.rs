//! What the torrents of a session share: the limits on what is sent and asked for, and the number
//! of connections.
//!
//! There is one [`Limits`] for all. Whoever calls a torrent lends it to it for the call, by
//! [`Share::with`], so whatever goes is taken from the same buckets, and what one torrent does not
//! use is there for the next. When a bucket is empty, those that wait for it stand in a row: only
//! the first one may take, and then goes behind the others. So they get portions by turns, however
//! many peers each of them has.
//!
//! Called by `app::client`, which also wakes those that are [`due`](Share::due).

use super::torrent::{Config, Limits, Torrent};
use std::collections::VecDeque;
use std::time::Instant;

/// See the head of this file. `K` tells torrents apart.
#[derive(Debug)]
pub struct Share<K> {
    limits: Limits,
    /// Those that wait to send, and to ask, the next one first.
    sending: VecDeque<K>,
    asking: VecDeque<K>,
    /// Connections there may be, and are.
    most: usize,
    taken: usize,
    /// Those that would dial if there were fewer.
    crowded: VecDeque<K>,
}

impl<K: Copy + PartialEq> Share<K> {
    /// The limits and the number of connections are those of `config`, for all torrents together.
    pub fn new(config: &Config, now: Instant) -> Share<K> {
        let (sending, asking, crowded) = Default::default();
        let limits = Limits::new(config, now);
        Share { limits, sending, asking, most: config.max_connections, taken: 0, crowded }
    }

    /// Calls a torrent.
    pub fn with<T>(
        &mut self,
        id: K,
        torrent: &mut Torrent,
        now: Instant,
        act: impl FnOnce(&mut Torrent) -> T,
    ) -> T {
        let turn = |row: &VecDeque<K>| row.front().is_none_or(|first| *first == id);
        let turns = (turn(&self.sending), turn(&self.asking));
        let ready = self.limits.ready(now);
        self.limits.shut(!turns.0, !turns.1);
        let before = torrent.connections();
        let room = self.room();
        torrent.swap_limits(&mut self.limits, room);
        let result = act(torrent);
        self.taken = self.taken + torrent.connections() - before;
        let room = self.room();
        torrent.swap_limits(&mut self.limits, room);
        let (sends, asks) = torrent.waits();
        stand(&mut self.sending, id, sends, turns.0 && ready.0);
        stand(&mut self.asking, id, asks, turns.1 && ready.1);
        stand(&mut self.crowded, id, torrent.is_crowded(), false);
        result
    }

    /// A torrent has gone, without any connection.
    pub fn forget(&mut self, id: K) {
        for row in [&mut self.sending, &mut self.asking, &mut self.crowded] {
            row.retain(|other| *other != id);
        }
    }

    fn room(&self) -> usize {
        self.most.saturating_sub(self.taken)
    }

    /// Whether there are as many connections as there may be.
    pub fn is_full(&self) -> bool {
        self.taken >= self.most
    }

    /// When somebody is [`due`](Self::due), if nothing happens before.
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let (sends, asks) = (!self.sending.is_empty(), !self.asking.is_empty());
        let crowded = (!self.is_full() && !self.crowded.is_empty()).then_some(now);
        self.limits.next_ready(sends, asks, now).into_iter().chain(crowded).min()
    }

    /// Those whose turn has come: to be called with [`Torrent::on_turn`].
    pub fn due(&mut self, now: Instant) -> impl Iterator<Item = K> + use<K> {
        let ready = self.limits.ready(now);
        let sends = self.sending.front().copied().filter(|_| ready.0);
        let asks = self.asking.front().copied().filter(|_| ready.1);
        let crowded = if self.is_full() { None } else { self.crowded.pop_front() };
        [sends, asks, crowded].into_iter().flatten()
    }

    /// From now on payload leaves, and is asked for, at so many bytes a second; `None` for no
    /// limit. An upload limit that finds itself does so no more.
    pub fn set_limits(&mut self, upload: Option<u64>, download: Option<u64>, now: Instant) {
        self.limits.fix(upload, download, now);
    }
}

/// Brings the place of one in a row in line with whether it waits; who had its turn goes behind
/// the others.
fn stand<K: Copy + PartialEq>(row: &mut VecDeque<K>, id: K, waits: bool, had_turn: bool) {
    let place = row.iter().position(|other| *other == id);
    match (place, waits) {
        (Some(place), false) => _ = row.remove(place),
        (Some(place), true) if had_turn => {
            row.remove(place);
            row.push_back(id);
        }
        (None, true) => row.push_back(id),
        _ => {}
    }
}
