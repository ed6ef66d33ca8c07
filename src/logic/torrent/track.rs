//! Announces: whom to ask and when is the announcer's; what to say and what follows is here.

use super::{Action, Notice, Torrent, Tracker};
use crate::logic::announcer::{Ask, Failure, Supply};
use crate::logic::candidates::Source;
use crate::proto::announce::ask::Reply;
use crate::proto::announce::scrape::{self, Counts};
use crate::proto::announce::{Peer, Request};
use crate::proto::udp::ask::Place;
use std::net::SocketAddr;
use std::time::Instant;

impl Torrent {
    pub(super) fn announce_if_due(&mut self, now: Instant) {
        if self.stopping {
            return;
        }
        let supply = self.supply(now);
        if let Some(ask) = self.announcer.due(now, supply) {
            self.announce(ask, false);
        }
    }

    fn supply(&self, now: Instant) -> Supply {
        let peers = self.peers.len();
        let idle = self.candidates.next_deadline().is_none_or(|at| at > now);
        if peers >= self.config.max_initiate {
            Supply::Full
        } else if peers < self.config.min_peers && idle && !self.asks_nothing() {
            Supply::Short
        } else {
            Supply::Enough
        }
    }

    pub(super) fn announce_stopped(&mut self) {
        for ask in self.announcer.stop() {
            self.announce(ask, true);
        }
    }

    fn announce(&mut self, ask: Ask, last: bool) {
        let mut request = Request {
            uploaded: self.up.total(),
            downloaded: self.down.total(),
            left: self.ledger.left(),
            event: ask.event,
            numwant: ask.numwant,
            key: self.key.clone(),
            tracker_id: ask.tracker_id,
            ip: self.config.ip.clone(),
            seed_id: self.config.seed_id.clone().map(String::into_bytes),
            no_peer_id: true,
            ..Request::new(self.info_hash, self.peer_id, self.port)
        };
        self.config.encryption.tell(&mut request);
        let to = Tracker::told(ask.tracker, request);
        self.actions.push_back(Action::Announce { number: ask.number, to, last });
    }

    /// From now on others reach us at this port, not at the one that we listen on; trackers and
    /// peers are told it where they are told next.
    pub fn be_reached_at(&mut self, port: u16) {
        self.port = port;
    }

    /// What became of the announce `number`.
    pub fn on_announced(&mut self, number: u64, result: Result<Reply, Failure>, now: Instant) {
        if let Some(ip) = result.as_ref().ok().and_then(|reply| reply.external_ip) {
            self.candidates.set_own(SocketAddr::new(ip, self.port));
        }
        let outcome = self.announcer.on_reply(now, number, result);
        self.report_tracker(outcome.notice);
        if self.stopping {
            self.announce_stopped();
            return;
        }
        if let (Some(complete), Some(incomplete)) = (outcome.complete, outcome.incomplete) {
            self.swarm = Some(Counts { complete, incomplete });
        }
        let silent = outcome.silent.filter(|url| Place::of(url).is_none());
        if let Some(url) = silent.and_then(|url| scrape::url(&url, self.info_hash)) {
            self.actions.push_back(Action::Scrape(url));
        }
        self.take_peers(&outcome.peers, now);
        self.announce_if_due(now);
    }

    /// What the tracker said of the swarm when it was asked just for that.
    pub fn on_scraped(&mut self, body: &[u8]) {
        self.swarm = scrape::reply(body, self.info_hash).or(self.swarm);
    }

    pub(super) fn report_tracker(
        &mut self,
        notices: impl IntoIterator<Item = crate::logic::announcer::Notice>,
    ) {
        for notice in notices {
            self.actions.push_back(Action::Report(Notice::Tracker(notice.to_string())));
        }
    }

    /// Trackers list everybody, us too; a seed has no use for the other seeds, but cannot tell
    /// them apart.
    pub(super) fn take_peers(&mut self, peers: &[Peer], now: Instant) {
        let others = peers.iter().filter(|p| p.id != Some(self.peer_id));
        for peer in others {
            self.candidates.add(peer.address, Source::Tracker, now);
            if peer.requires_encryption {
                self.candidates.told_to_encrypt(peer.address);
            }
        }
        self.dial(now);
    }
}
