//! The tracker's side of the world: swarms, announce, scrape, expiry.
//!
//! Called by `app/tracker`, on the reactor's thread, which owns the registry. Knows no sockets, no
//! files and no clock: time comes in as an argument. What it holds is bounded by its settings,
//! [`MAX_PAST`] and [`MAX_CHECKS`].

pub mod access;
pub mod address;
mod checks;
pub mod connection;
mod expiry;
mod index;
pub mod limit;
pub mod multi;
mod peer;
mod room;
mod rules;
mod state;
mod swarm;
mod table;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crate::logic::rng::Rng;
use crate::proto::address::is_local;
use crate::proto::announce::answer::{
    Announce, Counts, Crypto, Form, Listed, More, Reply, Scraped, Told,
};
use crate::proto::ids::{InfoHash, PeerId};
use access::{Access, Torrent};
pub use checks::{Check, MAX_CHECKS};
use peer::Peer;
pub use rules::*;
pub use state::{Copy, Copying};
use swarm::{Asked, Swarm};
use table::Table;

/// Torrents at most whose completed downloads are remembered after their last peer has gone. Beyond,
/// those with few of them make room.
pub const MAX_PAST: usize = 1 << 18;

/// Who announces.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    /// The address it comes from.
    pub ip: IpAddr,
    /// Whether only peers with IPv6 addresses can be listed to it, or only others; `None` = both.
    pub six: Option<bool>,
}

/// What there is, in all torrents together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Torrents with a swarm.
    pub torrents: usize,
    /// Peers.
    pub peers: usize,
    /// How many of them are seeds.
    pub seeds: usize,
    /// Peers and torrents that had to make room for others, since the start.
    pub evicted: u64,
}

/// All torrents that the tracker knows, and their peers.
#[derive(Debug)]
pub struct Registry {
    settings: Settings,
    /// Who may use the tracker. May change at any time; what is known already stays.
    pub access: Access,
    /// Our name among trackers: whoever comes with it is ourselves.
    pub tracker_id: PeerId,
    swarms: Table<Swarm>,
    /// Completed downloads of torrents that have no swarm now.
    past: Table<u32>,
    /// Peers that other trackers told of.
    foreign: HashMap<InfoHash, Vec<SocketAddr>>,
    checks: VecDeque<Check>,
    /// Peers in all swarms, and how many of them are seeds.
    peers: usize,
    seeds: usize,
    evicted: u64,
    /// When the last expiry began.
    swept: Instant,
    /// The place up to which it is done, if it is not over.
    sweeping: Option<usize>,
    changed: bool,
}

impl Registry {
    /// A registry that knows nothing yet. `now` begins its clock; `secret` is for its tables.
    pub fn new(settings: Settings, now: Instant, secret: u64) -> Registry {
        Registry {
            settings,
            access: Access::default(),
            tracker_id: PeerId([0; 20]),
            swarms: Table::new(secret),
            past: Table::new(secret),
            foreign: HashMap::new(),
            checks: VecDeque::new(),
            peers: 0,
            seeds: 0,
            evicted: 0,
            swept: now,
            sweeping: None,
            changed: false,
        }
    }

    /// How it is run.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What there is.
    pub fn totals(&self) -> Totals {
        let (torrents, peers) = (self.swarms.len(), self.peers);
        Totals { torrents, peers, seeds: self.seeds, evicted: self.evicted }
    }

    /// Notes what a peer says, and lists others for it.
    ///
    /// # Errors
    /// The rules of this tracker are against it; nothing is noted then.
    pub fn announce(
        &mut self,
        request: &Announce,
        asker: Asker,
        rng: &mut Rng,
    ) -> Result<Reply, Refused> {
        let warning = self.permitted(request)?;
        if request.from_tracker {
            return Ok(self.for_tracker(request, rng));
        }
        let form = request.form(self.settings.compact_required).ok_or(Refused::OldClient)?;
        let from = asker.ip.to_canonical();
        let place = self.note(request, from, rng);
        let want = match request.event {
            Told::Stopped => 0,
            _ => self.wanted(request),
        };
        let asked = Asked { want, form, for_seed: request.left == 0, six: asker.six };
        let none = Swarm::default();
        let swarm = place.map_or(&none, |place| &self.swarms.at(place).1);
        let counts = swarm.counts();
        let (mut peers, names) = swarm.choose(&asked, rng);
        let seeded = request.check_seeded && swarm.seeded;
        if let Some(foreign) = self.foreign.get(&request.info_hash) {
            mix_in(&mut peers, foreign, &asked, rng);
        }
        let scrape = request.scrape.then(|| self.scraped(&request.info_hash));
        let external_ip = self.settings.external_ip.then_some(from);
        let min_interval = self.settings.min_interval;
        Ok(Reply {
            complete: counts.complete,
            incomplete: counts.incomplete,
            interval: self.interval(rng),
            form,
            peers,
            names,
            more: More { scrape, seeded, warning, external_ip, min_interval },
        })
    }

    fn interval(&self, rng: &mut Rng) -> u32 {
        match self.settings.jitter {
            0 => self.settings.interval,
            jitter => self.settings.interval.saturating_add(rng.below(jitter.saturating_add(1))),
        }
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
                _ if self.tracker_id == request.peer_id => return Err(Refused::Tracker),
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
        let none = Swarm::default();
        let swarm = self.swarms.get(&request.info_hash).unwrap_or(&none);
        let (counts, form) = (swarm.counts(), Form::Compact);
        let want = self.wanted(request);
        let asked = Asked { want, form, for_seed: false, six: None };
        let (peers, names) = swarm.choose(&asked, rng);
        Reply {
            complete: counts.complete,
            incomplete: counts.incomplete,
            interval: self.settings.tracker_interval,
            form,
            peers,
            names,
            more: More::default(),
        }
    }

    /// Notes what the rules do not forbid. Gives the place of the torrent's swarm, if it has one.
    fn note(&mut self, request: &Announce, from: IpAddr, rng: &mut Rng) -> Option<usize> {
        let believed = self.settings.believe_given_ip || is_local(from);
        let mut told = Peer {
            id: request.peer_id,
            ip: from,
            // A stranger who names an address of our network would have us connect to it.
            given: request
                .given_ip
                .filter(|ip| believed && *ip != from && (is_local(from) || !is_local(*ip))),
            port: request.port,
            crypto: request.crypto,
            key: request.key,
            left: request.left,
            unreached: u8::from(self.checks_peers() && self.is_to_check(from)),
        };
        let (secret, stopped) = (self.swarms.secret, request.event == Told::Stopped);
        let mut found = self.swarms.find(&request.info_hash);
        let known = found.and_then(|place| {
            let at = self.swarms.at(place).1.find(secret, &told.id)?;
            Some((place, at))
        });
        match known {
            None if stopped => return found,
            None => found = self.add(&told, request, rng),
            Some((place, at)) => {
                let swarm = self.swarms.at_mut(place);
                let old = swarm.get(at);
                // Two absent keys prove nothing.
                if old.ip != from && (old.key.is_none() || old.key != told.key) {
                    return found;
                }
                if stopped {
                    swarm.remove(secret, at);
                    self.peers -= 1;
                    self.seeds -= usize::from(old.left == 0);
                    self.changed = true;
                    return found;
                }
                // It keeps its first key.
                told.key = old.key;
                if (old.listed_ip(), old.port) == (told.listed_ip(), told.port) {
                    told.unreached = old.unreached;
                }
                if old.left > 0 && told.left == 0 {
                    // Whatever the event says: the change is what counts.
                    swarm.completed = swarm.completed.saturating_add(1);
                }
                swarm.update(secret, at, &told, true);
                self.seeds += usize::from(told.left == 0);
                self.seeds -= usize::from(old.left == 0);
                self.changed |= old != told;
            }
        }
        self.mark_dedicated(request);
        self.want_check(request.info_hash, &told);
        found
    }

    /// Notes that the dedicated seed is there, if this is it.
    fn mark_dedicated(&mut self, request: &Announce) {
        let is_it = self.settings.dedicated_seed_id.is_some()
            && self.settings.dedicated_seed_id == request.seed_id
            && request.left == 0;
        if !is_it {
            return;
        }
        if let Some(swarm) = self.swarms.get_mut(&request.info_hash) {
            swarm.seeded = true;
        }
    }

    /// What a scrape tells: of the torrents `named`, those unknown left out, or of all.
    ///
    /// # Errors
    /// The settings are against it.
    pub fn scrape(&self, named: Option<&[InfoHash]>) -> Result<Vec<(InfoHash, Scraped)>, Refused> {
        self.may_scrape(named.is_none())?;
        let Some(hashes) = named else { return Ok(self.torrents().collect()) };
        let known = |hash: &&InfoHash| match &self.access.torrents {
            Some(allowed) => allowed.get(hash).is_some(),
            None => self.swarms.find(hash).is_some(),
        };
        Ok(hashes.iter().filter(known).map(|h| (*h, self.scraped(h))).collect())
    }

    /// Whether torrents may be scraped that are named, or all.
    ///
    /// # Errors
    /// The settings are against it.
    pub fn may_scrape(&self, all: bool) -> Result<(), Refused> {
        match (all, self.settings.scraping) {
            (_, Scraping::Full) | (false, Scraping::Specific) => Ok(()),
            (true, _) => Err(Refused::FullScrape),
            (false, Scraping::None) => Err(Refused::SpecificScrape),
        }
    }

    /// What a scrape would tell of a torrent, known or not.
    pub fn scraped(&self, hash: &InfoHash) -> Scraped {
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
        let named = allowed.into_iter().flat_map(|allowed| allowed.iter().map(|(hash, _)| *hash));
        let named = named.map(|hash| (hash, self.scraped(&hash)));
        let any = self.swarms.iter().filter(move |_| allowed.is_none());
        let plain = |counts| Scraped { counts, name: None };
        named.chain(any.map(move |(hash, swarm)| (*hash, plain(swarm.counts()))))
    }

    /// How many torrents [`Registry::torrents`] yields.
    pub fn len(&self) -> usize {
        self.access.torrents.as_ref().map_or(self.swarms.len(), |allowed| allowed.len())
    }

    /// Whether that is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes over what other trackers say of a torrent, in place of what they said before.
    pub fn set_foreign(&mut self, hash: InfoHash, peers: Vec<SocketAddr>) {
        match peers.is_empty() {
            true => _ = self.foreign.remove(&hash),
            false => _ = self.foreign.insert(hash, peers),
        }
    }

    /// Whether anything that the state file holds has changed since the last copy was begun.
    pub fn has_changed(&self) -> bool {
        self.changed
    }

    /// Makes the next [`Registry::has_changed`] true: the last copy is lost.
    pub fn mark_changed(&mut self) {
        self.changed = true;
    }
}

/// Puts peers that other trackers told of among our own: their share of the list is their share of
/// all, or more if ours are too few. Nothing more is known of them than where they are.
fn mix_in(peers: &mut Vec<Listed>, foreign: &[SocketAddr], asked: &Asked, rng: &mut Rng) {
    if matches!(asked.form, Form::Dicts | Form::CryptoOnly) || asked.want == 0 {
        return;
    }
    let share = (asked.want * foreign.len()).div_ceil(peers.len() + foreign.len());
    peers.truncate(asked.want.saturating_sub(share.min(foreign.len())));
    let start = rng.below(u32::try_from(foreign.len()).unwrap_or(u32::MAX)) as usize;
    let (before, behind) = foreign.split_at(start);
    for at in behind.iter().chain(before).take(asked.want - peers.len()) {
        let known = peers.iter().any(|p| (p.ip, p.port) == (at.ip(), at.port()));
        if !known && asked.six.is_none_or(|six| six == at.is_ipv6()) {
            let (ip, port) = (at.ip(), at.port());
            peers.push(Listed { ip, port, crypto: Crypto::Plain });
        }
    }
}

#[cfg(test)]
mod tests;
