//! Who was not heard of for long is forgotten, a part at a time.

use super::Registry;
use std::time::{Duration, Instant};

/// An expiry that comes so much too late shows that the process did not run, or the machine slept:
/// nobody could announce meanwhile. BitTornado's clock has the same limit.
const ASLEEP: Duration = Duration::from_secs(100);

/// Peers looked at in one part of an expiry, which takes some hundred microseconds if they all go; a
/// swarm is never divided.
const SWEPT: usize = 2048;

impl Registry {
    /// When [`Registry::expire`] has something to do.
    pub fn next_expiry(&self) -> Instant {
        match self.sweeping {
            Some(_) => self.swept,
            None => self.swept + self.settings.expiry,
        }
    }

    /// Forgets, if it is time, the peers that were not heard of since the last time, and the
    /// torrents without peers: a part of them, and further calls the rest. If it comes far too late
    /// everybody gets another period instead.
    pub fn expire(&mut self, now: Instant) {
        let due = self.next_expiry();
        if now < due {
            return;
        }
        if self.sweeping.is_none() {
            self.swept = now;
            if now.saturating_duration_since(due) >= ASLEEP {
                return;
            }
        }
        self.sweep_part(self.sweeping.unwrap_or(0));
        if self.sweeping.is_none() {
            self.swarms.shrink();
        }
    }

    /// Goes on from a place. Whoever takes the place of a torrent that is taken out meanwhile comes
    /// from behind: so a few may be passed over, and live a period longer, but nobody is met twice.
    fn sweep_part(&mut self, mut place: usize) {
        let mut room = SWEPT;
        while place < self.swarms.len() {
            if room == 0 {
                return self.sweeping = Some(place);
            }
            let (secret, swarm) = (self.swarms.secret, self.swarms.at_mut(place));
            let before = (swarm.len(), swarm.seeds());
            // A torrent costs something too, also without peers.
            room = room.saturating_sub(before.0 + 8);
            swarm.sweep(secret);
            self.peers -= before.0 - swarm.len();
            self.seeds -= before.1 - swarm.seeds();
            self.changed |= before.0 != swarm.len();
            match swarm.is_empty() && !self.settings.keep_dead {
                true => self.forget(place),
                false => place += 1,
            }
        }
        self.sweeping = None;
    }
}
