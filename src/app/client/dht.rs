//! The client's node of the distributed hash table: the sockets, look-ups and file of `logic::dht`.
//!
//! It hears on the port number that peers are taken at. What it knew is read from its file at the
//! start and written there at the end, by a thread of its own; a file that cannot be read or
//! written costs a few questions the next time and is nobody's concern.

use super::Event;
use crate::io::datagrams::Datagrams;
use crate::io::lookup::{self, LookedUp};
use crate::io::mailbox::Post;
use crate::io::origin::Origin;
use crate::io::reactor::{Reactor, Token};
use crate::io::{reason, save, sys};
use crate::logic::dht::{Dht, Settings, Step};
use crate::proto::dht::MAX_PACKET;
use crate::proto::dht::saved::Saved;
use crate::proto::ids::InfoHash;
use crate::proto::utp;
use std::fs::{self, DirBuilder};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::Instant;

/// Names that are looked up at a time.
const MAX_NAMES: usize = 8;

/// Look-ups have numbers from here to the next power of two; others have none of these.
const NAMES: u64 = 1 << 61;

/// What the file is called.
const FILE: &str = "dht.nodes";

/// How the distributed hash table is used.
#[derive(Debug, Clone, Default)]
pub struct DhtOptions {
    /// Host and port of nodes to begin with, for when no other is known.
    pub routers: Vec<(String, u16)>,
    /// The folder where nodes are remembered; `None` forgets them.
    pub state_dir: Option<PathBuf>,
    /// Only ask, never answer (BEP 43).
    pub read_only: bool,
    /// Deal with local addresses alone, and look no name up.
    pub local_only: bool,
}

/// Peers that it found.
pub(super) type Found = (InfoHash, Vec<SocketAddr>);

/// What is told if there can be no node.
pub(super) fn unusable(error: &io::Error) -> String {
    format!("cannot use the distributed hash table: {}", reason(error))
}

/// The node and what it needs.
pub(super) struct Node {
    dht: Dht,
    sockets: Datagrams,
    routers: Vec<(String, u16)>,
    file: Option<PathBuf>,
    local_only: bool,
    /// Look-ups under way.
    names: usize,
    packet: Vec<u8>,
    /// What is known is being written down.
    is_saving: bool,
}

impl Node {
    /// One that hears at these addresses and this port, with these sockets if they are open already.
    ///
    /// # Errors
    /// The system has no socket for it there.
    pub(super) fn start(
        options: &DhtOptions,
        (bind, port): (&[IpAddr], u16),
        mut sockets: Datagrams,
        reactor: &mut Reactor,
        now: Instant,
    ) -> io::Result<Node> {
        let own = Origin::of_families(bind);
        for ip in own.into_iter().flatten() {
            if let Err(e) = sockets.open(SocketAddr::new(ip, port), reactor) {
                sockets.close(reactor);
                return Err(e);
            }
        }
        let file = options.state_dir.as_ref().map(|dir| dir.join(FILE));
        let saved = file.as_ref().and_then(|file| fs::read(file).ok());
        let saved = saved.map(|bytes| Saved::decode(&bytes)).unwrap_or_default();
        let DhtOptions { read_only, .. } = *options;
        // From loopback nobody else can be asked, so that no name is of use.
        let local_only = options.local_only || bind.iter().all(IpAddr::is_loopback);
        let families = own.map(|ip| ip.is_some());
        let settings = Settings { read_only, families, local_only, port };
        let random = || u64::from_ne_bytes(sys::random());
        let dht = Dht::new(settings, &saved, random(), random(), now);
        let routers = options.routers.clone();
        Ok(Node {
            dht,
            sockets,
            routers,
            file,
            local_only,
            names: 0,
            packet: vec![0; MAX_PACKET.max(super::utp::MAX_PACKET)],
            is_saving: false,
        })
    }

    /// Looks for peers of a torrent, beginning with nodes that its makers or users named.
    pub(super) fn want(
        &mut self,
        info_hash: InfoHash,
        nodes: Vec<(String, u16)>,
        post: &Post<Event>,
        now: Instant,
    ) {
        self.dht.want(info_hash, now);
        self.meet(nodes, post, now);
    }

    /// Looks for peers of a torrent no more.
    pub(super) fn forget(&mut self, info_hash: &InfoHash) {
        self.dht.forget(info_hash);
    }

    /// A peer has told of its node.
    pub(super) fn contact(&mut self, at: SocketAddr, now: Instant) {
        self.dht.contact(at, now);
    }

    pub(super) fn next_deadline(&self) -> Instant {
        self.dht.next_deadline()
    }

    pub(super) fn on_time(&mut self, now: Instant) {
        if self.dht.next_deadline() <= now {
            self.dht.on_time(now);
        }
    }

    /// Takes what has come at a socket, if it is one of these.
    /// What is of uTP goes to `stray`.
    pub(super) fn hear(
        &mut self,
        token: Token,
        now: Instant,
        mut stray: impl FnMut(SocketAddr, &[u8]),
    ) -> bool {
        let Node { sockets, dht, packet, .. } = self;
        sockets.hear(token, packet, |from, packet| match packet.first() {
            Some(first) if utp::begins(*first) => stray(from, packet),
            _ => dht.on_packet(from, packet, now),
        })
    }

    /// From now on others are told that peers reach us at this port.
    pub(super) fn be_reached_at(&mut self, port: u16) {
        self.dht.be_reached_at(port);
    }

    /// Its sockets, for those who share the port.
    pub(super) fn sockets(&self) -> &Datagrams {
        &self.sockets
    }

    /// Whether it was this that had a name looked up.
    pub(super) fn on_looked_up(&mut self, found: &LookedUp, now: Instant) -> bool {
        if found.id & NAMES == 0 || found.id >= NAMES << 1 {
            return false;
        }
        self.names = self.names.saturating_sub(1);
        for address in found.result.iter().flatten() {
            self.dht.contact(*address, now);
        }
        true
    }

    /// Does what is to be done, up to the next peers that were found.
    pub(super) fn work(&mut self, post: &Post<Event>, now: Instant) -> Option<Found> {
        while let Some(step) = self.dht.next_step() {
            match step {
                Step::Send(to, packet) => {
                    // What cannot be sent is as good as lost on the way.
                    let _ = self.sockets.send(to, &packet);
                }
                Step::Found(info_hash, peers) => return Some((info_hash, peers)),
                Step::Bootstrap => self.meet(self.routers.clone(), post, now),
            }
        }
        None
    }

    fn meet(&mut self, nodes: Vec<(String, u16)>, post: &Post<Event>, now: Instant) {
        for (host, port) in nodes {
            match host.parse::<IpAddr>() {
                Ok(ip) => self.dht.contact(SocketAddr::new(ip, port), now),
                Err(_) if self.names < MAX_NAMES && !self.local_only => {
                    let started = lookup::start(NAMES, host, port, post.clone());
                    self.names += usize::from(started.is_ok());
                }
                Err(_) => {}
            }
        }
    }

    /// Has a thread write down what is known, which posts [`Event::Remembered`].
    pub(super) fn remember(&mut self, post: &Post<Event>) {
        let (Some(file), false) = (self.file.clone(), self.dht.is_empty()) else { return };
        let (bytes, post) = (self.dht.saved().encode(), post.clone());
        let write = move || {
            if let Some(dir) = file.parent() {
                let _ = DirBuilder::new().recursive(true).mode(0o700).create(dir);
            }
            let _ = save::save(&file, &bytes);
            post.send(Event::Remembered);
        };
        let started = std::thread::Builder::new().name("nodes".into()).spawn(write);
        self.is_saving = started.is_ok();
    }

    pub(super) fn on_remembered(&mut self) {
        self.is_saving = false;
    }

    /// Whether something is being written down.
    pub(super) fn is_saving(&self) -> bool {
        self.is_saving
    }

    /// Closes the sockets.
    pub(super) fn close(self, reactor: &mut Reactor) {
        self.sockets.close(reactor);
    }
}
