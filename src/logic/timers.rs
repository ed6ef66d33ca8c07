//! Deadlines as data.
//!
//! A table of what is due when, kept by whoever owns the keys (a torrent, a peer, an announcer).
//! Nothing is called back: the owner sleeps until [`next`](Timers::next), then empties
//! [`expired`](Timers::expired).

use crate::proto::sorted;
use std::time::Instant;

/// At most one deadline for each key. Every call costs O(log n).
#[derive(Debug, Clone)]
pub struct Timers<K: Ord + Copy> {
    deadlines: sorted::Map<K, Instant>,
    /// The same pairs, soonest first.
    order: sorted::Set<(Instant, K)>,
}

impl<K: Ord + Copy> Timers<K> {
    /// No deadlines.
    pub fn new() -> Timers<K> {
        Timers { deadlines: sorted::Map::new(), order: sorted::Set::new() }
    }

    /// `key` is due at `at`, in place of what was set for it before.
    pub fn set(&mut self, key: K, at: Instant) {
        if let Some(old) = self.deadlines.insert(key, at) {
            self.order.remove(&(old, key));
        }
        self.order.insert((at, key));
    }

    /// Forgets the deadline of `key`, if it has one.
    pub fn clear(&mut self, key: K) {
        if let Some(old) = self.deadlines.remove(&key) {
            self.order.remove(&(old, key));
        }
    }

    /// When `key` is due, if a deadline is set for it.
    pub fn get(&self, key: K) -> Option<Instant> {
        self.deadlines.get(&key).copied()
    }

    /// The soonest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes out the soonest key that is due at `now`, the smaller key first if two are due at
    /// the same moment. To be called until it says `None`.
    pub fn expired(&mut self, now: Instant) -> Option<K> {
        let (_, key) = self.order.first().filter(|(at, _)| *at <= now).copied()?;
        self.clear(key);
        Some(key)
    }
}

impl<K: Ord + Copy> Default for Timers<K> {
    fn default() -> Timers<K> {
        Timers::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn deadlines_expire_in_order_and_once() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut timers = Timers::new();
        assert_eq!((timers.next(), timers.expired(at(99))), (None, None));
        for (key, s) in [('c', 3), ('b', 5), ('a', 5), ('d', 9)] {
            timers.set(key, at(s));
        }
        assert_eq!((timers.next(), timers.expired(at(2))), (Some(at(3)), None));
        let mut due = Vec::new();
        while let Some(key) = timers.expired(at(5)) {
            due.push(key);
        }
        assert_eq!(due, ['c', 'a', 'b']);
        assert_eq!(timers.next(), Some(at(9)));
    }

    #[test]
    fn a_key_has_one_deadline_the_last_one_set() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut timers = Timers::new();
        timers.set(1, at(1));
        timers.set(1, at(4));
        timers.set(2, at(2));
        timers.clear(2);
        timers.clear(3);
        assert_eq!((timers.get(1), timers.get(2)), (Some(at(4)), None));
        assert_eq!(timers.expired(at(3)), None);
        assert_eq!(timers.expired(at(4)), Some(1));
        assert_eq!(timers.next(), None);
    }
}
