//! Room for new torrents and peers: who has to go when there is none.

use super::index;
use super::peer::Peer;
use super::swarm::Swarm;
use super::{MAX_PAST, Registry};
use crate::logic::rng::Rng;
use crate::proto::announce::answer::{Announce, Told};
use crate::proto::ids::InfoHash;

/// Torrents of which the emptiest makes room for a new one.
const SAMPLE: usize = 16;

impl Registry {
    /// Adds a new peer. If there is no room, others go. Gives the place of its swarm, if it got one.
    pub(super) fn add(&mut self, peer: &Peer, request: &Announce, rng: &mut Rng) -> Option<usize> {
        if self.settings.max_peers == 0 || self.settings.max_torrents == 0 {
            return None;
        }
        if self.peers >= self.settings.max_peers {
            self.evict_peer(&request.info_hash, rng);
        }
        let full = self.swarms.len() >= self.settings.max_torrents;
        if full && self.swarms.find(&request.info_hash).is_none() {
            self.evict_torrent(rng);
        }
        let (secret, place) = (self.swarms.secret, self.place(request.info_hash));
        let swarm = self.swarms.at_mut(place);
        if request.event == Told::Completed {
            swarm.completed = swarm.completed.saturating_add(1);
        }
        swarm.insert(secret, peer, true);
        self.peers += 1;
        self.seeds += usize::from(peer.left == 0);
        self.changed = true;
        Some(place)
    }

    /// Forgets the emptiest of some torrents.
    fn evict_torrent(&mut self, rng: &mut Rng) {
        let count = u32::try_from(self.swarms.len()).unwrap_or(u32::MAX);
        let drawn: Vec<usize> = (0..SAMPLE).map(|_| rng.below(count) as usize).collect();
        if let Some(place) = drawn.into_iter().min_by_key(|place| self.swarms.at(*place).1.len()) {
            self.forget(place);
            self.evicted += 1;
        }
    }

    /// Forgets a peer, best one that is silent, of the largest of some torrents: so a flood pushes
    /// out itself, and small torrents live.
    fn evict_peer(&mut self, hash: &InfoHash, rng: &mut Rng) {
        let count = u32::try_from(self.swarms.len()).unwrap_or(u32::MAX);
        let drawn: Vec<usize> = (0..SAMPLE).map(|_| rng.below(count) as usize).collect();
        let all = drawn.into_iter().chain(self.swarms.find(hash));
        let Some(place) = all.max_by_key(|place| self.swarms.at(*place).1.len()) else { return };
        let (secret, swarm) = (self.swarms.secret, self.swarms.at_mut(place));
        let Some(at) = swarm.oldest(rng) else { return };
        self.seeds -= usize::from(swarm.is_seed(at));
        swarm.remove(secret, at);
        self.peers -= 1;
        self.evicted += 1;
        self.changed = true;
        if swarm.is_empty() && !self.settings.keep_dead {
            self.forget(place);
        }
    }

    /// The place of a torrent's swarm, new or not.
    pub(super) fn place(&mut self, hash: InfoHash) -> usize {
        if let Some(place) = self.swarms.find(&hash) {
            return place;
        }
        let mut swarm = Swarm::default();
        if let Some(past) = self.past.find(&hash) {
            swarm.completed = self.past.remove(past).1;
        }
        self.swarms.push(hash, swarm)
    }

    /// Forgets the peers of a torrent; its completed downloads are remembered.
    pub fn forget_peers(&mut self, hash: &InfoHash) {
        if let Some(place) = self.swarms.find(hash) {
            self.forget(place);
        }
    }

    /// Takes out a swarm; its completed downloads are remembered.
    pub(super) fn forget(&mut self, place: usize) {
        let (hash, swarm) = self.swarms.remove(place);
        self.peers -= swarm.len();
        self.seeds -= swarm.seeds();
        self.remember(hash, swarm.completed, MAX_PAST);
        self.changed = true;
    }

    /// Remembers the completed downloads of a torrent that has no swarm. When so many are remembered
    /// already, the least of some make room: what somebody invents has few of them.
    pub(super) fn remember(&mut self, hash: InfoHash, completed: u32, most: usize) {
        if completed == 0 || self.past.find(&hash).is_some() {
            return;
        }
        if self.past.len() >= most {
            // Where nobody can foresee.
            let start = index::hash(self.past.secret, &hash.0) as usize;
            let drawn = (0..SAMPLE).map(|n| start.wrapping_add(n) % self.past.len());
            match drawn.min_by_key(|place| self.past.at(*place).1) {
                Some(place) if self.past.at(place).1 <= completed => self.past.remove(place),
                _ => return,
            };
        }
        self.past.push(hash, completed);
    }
}
