//! The tracker's side of the world: swarms, announce, scrape, expiry.
//!
//! Called by `app/tracker`, on the reactor's thread, which owns the registry. Knows no sockets, no
//! files and no clock: time comes in as an argument. What it holds is bounded by [`MAX_SWARMS`],
//! [`MAX_PEERS`] and [`MAX_PAST`].

pub mod access;
pub mod address;
mod rules;
pub mod swarm;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::logic::rng::Rng;
use crate::proto::announce::answer::{Announce, Counts, Form, Key, More, Reply, Scraped, Told};
use crate::proto::ids::InfoHash;
use crate::proto::resume::{SavedPeer, StateWriter, TrackerState};
use access::{Access, Torrent};
use address::is_local;
pub use rules::*;
use swarm::{Peer, Swarm};

/// Torrents tracked at most. Beyond them a new one is answered, and not remembered.
pub const MAX_SWARMS: usize = 1 << 19;

/// Peers remembered at most, in all swarms together: some 150 MB.
pub const MAX_PEERS: usize = 1 << 20;

/// Torrents at most whose completed downloads are remembered after their last peer has gone.
pub const MAX_PAST: usize = 1 << 18;

/// All torrents that the tracker knows, and their peers.
#[derive(Debug)]
pub struct Registry {
    settings: Settings,
    /// Who may use the tracker. May change at any time; what is known already stays.
    pub access: Access,
    swarms: HashMap<InfoHash, Swarm>,
    /// Completed downloads of torrents that have no swarm now.
    past: HashMap<InfoHash, u32>,
    /// Peers in all swarms.
    peers: usize,
    born: Instant,
    /// When peers were last expired, in seconds of [`Registry::clock`].
    swept: u32,
    changed: bool,
    turned_away: u64,
}

impl Registry {
    /// A registry that knows nothing yet. `now` begins its clock.
    pub fn new(settings: Settings, now: Instant) -> Registry {
        Registry {
            settings,
            access: Access::default(),
            swarms: HashMap::new(),
            past: HashMap::new(),
            peers: 0,
            born: now,
            swept: 1,
            changed: false,
            turned_away: 0,
        }
    }

    /// How it is run.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Seconds since it was made, and one: 0 stays free for "not in this run".
    fn clock(&self, now: Instant) -> u32 {
        let age = now.saturating_duration_since(self.born).as_secs();
        u32::try_from(age).unwrap_or(u32::MAX - 1).saturating_add(1)
    }

    /// Notes what a peer at `from` says, and lists others for it.
    ///
    /// # Errors
    /// The rules of this tracker are against it; nothing is noted then.
    pub fn announce(
        &mut self,
        now: Instant,
        request: &Announce,
        from: IpAddr,
        rng: &mut Rng,
    ) -> Result<Reply, Refused> {
        let warning = self.permitted(request)?;
        if request.from_tracker {
            return Ok(self.for_tracker(request, rng));
        }
        let form = request.form(self.settings.compact_required).ok_or(Refused::OldClient)?;
        self.note(self.clock(now), request, from.to_canonical());
        let want = match request.event {
            Told::Stopped => 0,
            _ => self.wanted(request),
        };
        let empty = Swarm::default();
        let swarm = self.swarms.get(&request.info_hash).unwrap_or(&empty);
        let counts = swarm.counts();
        let seeded = request.check_seeded && swarm.seeded;
        let scrape = request.scrape.then(|| self.scraped(&request.info_hash));
        Ok(Reply {
            complete: counts.complete,
            incomplete: counts.incomplete,
            interval: self.settings.interval,
            form,
            peers: swarm.choose(want, form, request.left == 0, rng),
            more: More { scrape, seeded, warning, ..More::default() },
        })
    }

    fn wanted(&self, request: &Announce) -> usize {
        let most = self.settings.response_size;
        request.wanted.unwrap_or(most).min(most) as usize
    }

    /// The rules before anything is noted. Gives the text that goes along with the answer.
    fn permitted(&self, request: &Announce) -> Result<Option<Arc<str>>, Refused> {
        if let Aggregator::Password(password) = &self.settings.aggregator {
            if request.password.as_deref() != Some(password) {
                return Err(Refused::NotAuthorized);
            }
        }
        let unknown = Torrent::default();
        let torrent = match &self.access.torrents {
            Some(allowed) => allowed.get(&request.info_hash).ok_or(Refused::NotAuthorized)?,
            None => &unknown,
        };
        if let Some(text) = &torrent.failure {
            return Err(Refused::Controlled(Arc::clone(text)));
        }
        if request.from_tracker {
            match self.settings.trackers {
                _ if self.settings.tracker_id == request.peer_id => return Err(Refused::Tracker),
                Trackers::None => return Err(Refused::Tracker),
                Trackers::All => {}
                Trackers::Autodetect if self.access.torrents.is_none() => {
                    return Err(Refused::Tracker);
                }
                Trackers::Autodetect if torrent.trackers.is_empty() => {
                    return Err(Refused::NotMultitracker);
                }
                Trackers::Autodetect => {}
            }
        }
        Ok(torrent.warning.clone())
    }

    /// The answer to another tracker: peers of all kinds, and nothing is noted.
    fn for_tracker(&self, request: &Announce, rng: &mut Rng) -> Reply {
        let empty = Swarm::default();
        let swarm = self.swarms.get(&request.info_hash).unwrap_or(&empty);
        let (counts, form) = (swarm.counts(), Form::Compact);
        Reply {
            complete: counts.complete,
            incomplete: counts.incomplete,
            interval: self.settings.tracker_interval,
            form,
            peers: swarm.choose(self.wanted(request), form, false, rng),
            more: More::default(),
        }
    }

    fn note(&mut self, clock: u32, request: &Announce, from: IpAddr) {
        let believed = self.settings.believe_given_ip || is_local(from);
        let given = request.given_ip.filter(|ip| believed && *ip != from).map(Box::new);
        let told = Peer {
            id: request.peer_id,
            ip: from,
            given,
            port: request.port,
            crypto: request.crypto,
            key: request.key,
            left: request.left,
            seen: clock,
        };
        let known = self.swarms.get_mut(&request.info_hash);
        match known.and_then(|swarm| swarm.find(&told.id).map(|place| (swarm, place))) {
            None if request.event == Told::Stopped => {}
            None => self.add(told, request),
            Some((swarm, place)) => {
                let peer = &swarm.peers()[place];
                // Two absent keys prove nothing.
                if peer.ip != from && (peer.key.is_none() || peer.key != request.key) {
                    return;
                }
                if request.event == Told::Stopped {
                    swarm.remove(place);
                    self.peers -= 1;
                    self.changed = true;
                } else {
                    self.changed |= renew(swarm, place, told);
                    self.mark_dedicated(request);
                }
            }
        }
    }

    /// Notes that the dedicated seed is there, if this is it.
    fn mark_dedicated(&mut self, request: &Announce) {
        let is_it = self.settings.dedicated_seed_id.is_some()
            && self.settings.dedicated_seed_id == request.seed_id
            && request.left == 0;
        if let (true, Some(swarm)) = (is_it, self.swarms.get_mut(&request.info_hash)) {
            swarm.seeded = true;
        }
    }

    /// Adds a new peer, unless there is no room for it.
    fn add(&mut self, peer: Peer, request: &Announce) {
        let room = self.swarms.len() < MAX_SWARMS || self.swarms.contains_key(&request.info_hash);
        if self.peers >= MAX_PEERS || !room {
            self.turned_away += 1;
            return;
        }
        let swarm = self.swarm(request.info_hash);
        if request.event == Told::Completed {
            swarm.completed = swarm.completed.saturating_add(1);
        }
        swarm.insert(peer);
        self.peers += 1;
        self.changed = true;
        self.mark_dedicated(request);
    }

    /// The swarm of a torrent, new or not.
    fn swarm(&mut self, hash: InfoHash) -> &mut Swarm {
        match self.swarms.entry(hash) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(room) => {
                let completed = self.past.remove(&hash).unwrap_or(0);
                let swarm = room.insert(Swarm::default());
                swarm.completed = completed;
                swarm
            }
        }
    }

    /// What a scrape tells: of the torrents `named`, those unknown left out, or of all.
    ///
    /// # Errors
    /// The settings are against it.
    pub fn scrape(&self, named: Option<&[InfoHash]>) -> Result<Vec<(InfoHash, Scraped)>, Refused> {
        match (named, self.settings.scraping) {
            (None, Scraping::Full) => Ok(self.torrents().collect()),
            (None, _) => Err(Refused::FullScrape),
            (Some(_), Scraping::None) => Err(Refused::SpecificScrape),
            (Some(hashes), _) => {
                let known = |hash: &&InfoHash| match &self.access.torrents {
                    Some(allowed) => allowed.get(hash).is_some(),
                    None => self.swarms.contains_key(hash),
                };
                Ok(hashes.iter().filter(known).map(|h| (*h, self.scraped(h))).collect())
            }
        }
    }

    fn scraped(&self, hash: &InfoHash) -> Scraped {
        let counts = match self.swarms.get(hash) {
            Some(swarm) => swarm.counts(),
            None => {
                let downloaded = self.past.get(hash).copied().unwrap_or(0);
                Counts { downloaded, ..Counts::default() }
            }
        };
        let torrent = self.access.torrents.as_ref().and_then(|allowed| allowed.get(hash));
        let name = torrent.filter(|_| self.settings.show_names).and_then(|t| t.name.clone());
        Scraped { counts, name }
    }

    /// All torrents that are tracked, those that are allowed without having peers included; in no
    /// order.
    pub fn torrents(&self) -> impl Iterator<Item = (InfoHash, Scraped)> {
        let allowed = self.access.torrents.as_ref();
        let named = allowed.into_iter().flat_map(|allowed| allowed.iter().map(|(hash, _)| hash));
        let any = self.swarms.keys().filter(move |_| allowed.is_none());
        named.chain(any).map(|hash| (*hash, self.scraped(hash)))
    }

    /// How many torrents [`Registry::torrents`] yields.
    pub fn len(&self) -> usize {
        self.access.torrents.as_ref().map_or(self.swarms.len(), |allowed| allowed.len())
    }

    /// Whether that is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When [`Registry::expire`] has something to do.
    pub fn next_expiry(&self) -> Instant {
        self.born + Duration::from_secs(u64::from(self.swept - 1)) + self.settings.expiry
    }

    /// Forgets, if it is time, the peers that were not heard of since the last time, and the
    /// torrents without peers. Walks through all of them: some ten milliseconds a million.
    pub fn expire(&mut self, now: Instant) {
        if now < self.next_expiry() {
            return;
        }
        let since = self.swept;
        for swarm in self.swarms.values_mut() {
            let before = swarm.len();
            swarm.retain(|peer| peer.seen >= since);
            self.peers -= before - swarm.len();
            self.changed |= before != swarm.len();
        }
        if !self.settings.keep_dead {
            let past = &mut self.past;
            self.swarms.retain(|hash, swarm| {
                if swarm.is_empty() && swarm.completed > 0 && past.len() < MAX_PAST {
                    past.insert(*hash, swarm.completed);
                }
                !swarm.is_empty()
            });
            self.swarms.shrink_to(self.swarms.len() * 2);
        }
        self.swept = self.clock(now);
    }

    /// Peers that found no room ([`MAX_SWARMS`], [`MAX_PEERS`]) since the last such question.
    pub fn turned_away(&mut self) -> u64 {
        std::mem::take(&mut self.turned_away)
    }

    /// Whether anything that the state file holds has changed since the last [`Registry::save`].
    pub fn has_changed(&self) -> bool {
        self.changed
    }

    /// Makes the next [`Registry::has_changed`] true: what [`Registry::save`] gave is lost.
    pub fn mark_changed(&mut self) {
        self.changed = true;
    }

    /// The bytes of a state file. Costs some 100 bytes and 200 nanoseconds a peer.
    pub fn save(&mut self) -> Vec<u8> {
        self.changed = false;
        let mut writer = StateWriter::default();
        let alive = self.swarms.iter().map(|(hash, swarm)| (*hash, swarm.completed));
        let mut completed: Vec<_> = alive.chain(self.past.iter().map(|(h, n)| (*h, *n))).collect();
        completed.retain(|(_, n)| *n > 0);
        completed.sort_unstable();
        completed.iter().for_each(|(hash, n)| writer.completed(*hash, *n));
        let mut swarms: Vec<_> = self.swarms.iter().collect();
        swarms.sort_unstable_by_key(|(hash, _)| **hash);
        for (hash, swarm) in swarms {
            let mut peers: Vec<SavedPeer> = swarm.peers().iter().map(saved).collect();
            writer.swarm(*hash, &mut peers);
        }
        writer.finish()
    }

    /// Takes over a state file, of a registry that knows nothing yet; peers that are not served any
    /// more are left out. Those it has go at the first expiry unless they announce.
    pub fn restore(&mut self, state: TrackerState) {
        self.past.extend(state.completed.into_iter().filter(|(_, n)| *n > 0).take(MAX_PAST));
        for (hash, mut peers) in state.peers.into_iter().take(MAX_SWARMS) {
            let believe = self.settings.believe_given_ip;
            peers.retain(|peer| self.access.serves(peer.ip));
            if peers.is_empty() && !self.settings.keep_dead {
                continue;
            }
            let room = MAX_PEERS - self.peers;
            let swarm = self.swarm(hash);
            for peer in peers.into_iter().take(room) {
                if swarm.find(&peer.id).is_none() {
                    swarm.insert(restored(peer, believe));
                }
            }
            self.peers += self.swarms[&hash].len();
        }
    }
}

/// Takes over what a known peer tells; it keeps its first key. Whether anything changed that the
/// state file holds.
fn renew(swarm: &mut Swarm, place: usize, told: Peer) -> bool {
    let peer = &swarm.peers()[place];
    let told = Peer { key: peer.key, ..told };
    let changed = *peer != Peer { seen: peer.seen, ..told.clone() };
    if peer.left > 0 && told.left == 0 {
        // Whatever the event says: the change is what counts.
        swarm.completed = swarm.completed.saturating_add(1);
    }
    swarm.update(place, |peer| *peer = told);
    changed
}

fn saved(peer: &Peer) -> SavedPeer {
    SavedPeer {
        id: peer.id,
        ip: peer.ip,
        given_ip: peer.given.as_deref().copied(),
        port: peer.port,
        left: peer.left,
        crypto: peer.crypto,
        key: peer.key.map(|k| k.as_bytes().to_vec()).unwrap_or_default(),
    }
}

fn restored(peer: SavedPeer, believe: bool) -> Peer {
    let believed = believe || is_local(peer.ip);
    Peer {
        id: peer.id,
        ip: peer.ip,
        given: peer.given_ip.filter(|ip| believed && *ip != peer.ip).map(Box::new),
        port: peer.port,
        crypto: peer.crypto,
        key: Key::new(&peer.key),
        left: peer.left,
        seen: 0,
    }
}

#[cfg(test)]
mod tests;
