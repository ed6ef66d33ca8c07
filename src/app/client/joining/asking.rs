//! Whom a search asks for peers beside trackers: those in the link, nodes, neighbours, and the
//! gateway that is to let them in.

use super::turns::Search;
use crate::app::client::Company;
use crate::app::client::dht::{self, Node};
use crate::app::client::lsd::Lsd;
use crate::app::client::ports::Ports;
use crate::io::datagrams::Datagrams;
use crate::io::lookup::{self, LookedUp};
use crate::io::reason;
use crate::logic::candidates::Source;
use crate::proto::magnet::PeerAddress;
use std::time::Instant;

/// Of the peers in the link no more names than this are looked up.
const MAX_NAMES: usize = 16;

/// Look-ups of peers have numbers from here on; those of trackers have those of announces.
pub(super) const PEER_NAMES: u64 = 1 << 62;

impl Search {
    /// The peers that the link names.
    pub(super) fn ask_link(&mut self, now: Instant) {
        let mut names = 0;
        for peer in std::mem::take(&mut self.settings.magnet.peers) {
            match peer {
                PeerAddress::At(address) => {
                    self.inquiry.add_candidates(&[address], Source::Tracker, now);
                }
                PeerAddress::Named(..) if self.settings.config.local_only => {}
                PeerAddress::Named(host, port) if names < MAX_NAMES => {
                    names += 1;
                    let number = PEER_NAMES + names as u64;
                    if let Err(e) = lookup::start(number, host, port, self.post.clone()) {
                        self.notice(format!("cannot start a thread: {}", reason(&e)));
                    }
                }
                PeerAddress::Named(..) => {}
            }
        }
    }

    /// Looks for peers in the distributed hash table too.
    pub(super) fn ask_table(&mut self, now: Instant) {
        let Some(options) = &self.settings.dht else { return };
        let Company { reactor, port, .. } = &mut self.company;
        match Node::start(
            options,
            (&self.settings.door.bind, *port),
            Datagrams::new(self.origin.clone()),
            reactor,
            now,
        ) {
            Ok(mut node) => {
                node.want(self.settings.magnet.info_hash, Vec::new(), &self.post, now);
                self.company.dht = Some(node);
            }
            Err(e) => self.notice(dht::unusable(&e)),
        }
    }

    /// Looks for peers on the same link too.
    pub(super) fn ask_neighbours(&mut self, now: Instant) {
        if self.settings.lsd && !self.settings.config.local_only {
            let mut lsd =
                Lsd::new((&self.settings.door.bind, self.company.port), self.origin.clone(), now);
            lsd.iter_mut().for_each(|lsd| lsd.want(self.settings.magnet.info_hash, now));
            self.company.lsd = lsd;
        }
    }

    /// Has the router let peers in.
    pub(super) fn ask_gateway(&mut self) {
        let settings = &self.settings;
        let first = settings.map_ports.filter(|_| !settings.config.local_only);
        let (bind, port) = (&settings.door.bind, self.company.port);
        let begin = |first| Ports::new(bind, self.origin.clone(), port, first);
        self.company.ports = first.and_then(begin);
    }

    /// What became of a look-up.
    pub(super) fn on_peer_found(&mut self, found: LookedUp, now: Instant) {
        match found.result {
            Ok(addresses) => self.inquiry.add_candidates(&addresses, Source::Tracker, now),
            Err(why) => self.notice(format!("cannot look up a peer of the link: {why}")),
        }
    }
}
