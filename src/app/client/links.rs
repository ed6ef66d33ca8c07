//! The connections of a download: who stands behind which token.

use crate::io::conn::Conn;
use crate::io::reactor::{Interest, Reactor, Token};
use crate::logic::PeerKey;
use crate::proto::geometry::Geometry;
use crate::proto::wire::{Limits, Pool};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections that have not said which torrent they are about, at a time.
pub(super) const MAX_STRANGERS: usize = 64;

/// They have so long to say it.
const STRANGER_TIMEOUT: Duration = Duration::from_secs(30);

/// Who is meant by a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// A listening socket.
    Listener(usize),
    /// Somebody who has not said what he wants.
    Stranger,
    /// A peer.
    Peer(PeerKey),
}

/// A connection and its place in the reactor.
pub(super) struct Link {
    pub conn: Conn,
    token: Token,
    interest: Interest,
    /// Being dialled: the first word of the reactor is whether it stands.
    pub dialing: bool,
    /// Not read from until a block buffer is free.
    pub stalled: bool,
}

struct Stranger {
    link: Link,
    address: SocketAddr,
    deadline: Instant,
}

/// Every socket of a download.
pub(super) struct Links {
    listeners: Vec<(Arc<OwnedFd>, Token)>,
    by_token: BTreeMap<Token, Who>,
    strangers: BTreeMap<Token, Stranger>,
    peers: BTreeMap<PeerKey, Link>,
    accepting: bool,
    limits: Limits,
}

impl Links {
    pub(super) fn new(listeners: Vec<OwnedFd>, limits: Limits, reactor: &mut Reactor) -> Links {
        let mut by_token = BTreeMap::new();
        let mut add = |(i, socket): (usize, OwnedFd)| {
            let socket = Arc::new(socket);
            let token = reactor.add(Arc::clone(&socket), Interest::NONE);
            by_token.insert(token, Who::Listener(i));
            (socket, token)
        };
        let listeners = listeners.into_iter().enumerate().map(&mut add).collect();
        Links {
            listeners,
            by_token,
            strangers: BTreeMap::new(),
            peers: BTreeMap::new(),
            accepting: false,
            limits,
        }
    }

    pub(super) fn who(&self, token: Token) -> Option<Who> {
        self.by_token.get(&token).copied()
    }

    pub(super) fn listener(&self, i: usize) -> Arc<OwnedFd> {
        Arc::clone(&self.listeners[i].0)
    }

    /// Whether new connections are taken.
    pub(super) fn accept(&mut self, on: bool, reactor: &mut Reactor) {
        if self.accepting != on {
            self.accepting = on;
            let interest = if on { Interest::READ } else { Interest::NONE };
            self.listeners.iter().for_each(|(_, token)| reactor.set_interest(*token, interest));
        }
    }

    pub(super) fn has_room_for_strangers(&self) -> bool {
        self.strangers.len() < MAX_STRANGERS
    }

    pub(super) fn add_stranger(
        &mut self,
        conn: Conn,
        address: SocketAddr,
        now: Instant,
        reactor: &mut Reactor,
    ) {
        let link = self.watch(conn, Interest::READ, Who::Stranger, reactor);
        let deadline = now + STRANGER_TIMEOUT;
        self.strangers.insert(link.token, Stranger { link, address, deadline });
    }

    pub(super) fn stranger(&mut self, token: Token) -> Option<(&mut Conn, SocketAddr)> {
        self.strangers.get_mut(&token).map(|s| (&mut s.link.conn, s.address))
    }

    /// A stranger has become a peer.
    pub(super) fn promote(&mut self, token: Token, key: PeerKey, geometry: Arc<Geometry>) {
        if let Some(mut stranger) = self.strangers.remove(&token) {
            stranger.link.conn.attach(geometry, self.limits);
            self.by_token.insert(token, Who::Peer(key));
            self.peers.insert(key, stranger.link);
        }
    }

    pub(super) fn drop_stranger(&mut self, token: Token, reactor: &mut Reactor) {
        if self.strangers.remove(&token).is_some() {
            self.by_token.remove(&token);
            reactor.remove(token);
        }
    }

    /// Sends those away who took too long.
    pub(super) fn expire_strangers(&mut self, now: Instant, reactor: &mut Reactor) {
        let late = self.strangers.iter().filter(|(_, s)| s.deadline <= now);
        for token in late.map(|(t, _)| *t).collect::<Vec<_>>() {
            self.drop_stranger(token, reactor);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.strangers.values().map(|s| s.deadline).min()
    }

    /// A peer that is being dialled.
    pub(super) fn add_dialed(
        &mut self,
        key: PeerKey,
        mut conn: Conn,
        geometry: Arc<Geometry>,
        reactor: &mut Reactor,
    ) {
        conn.attach(geometry, self.limits);
        let mut link = self.watch(conn, Interest::WRITE, Who::Peer(key), reactor);
        link.dialing = true;
        self.peers.insert(key, link);
    }

    fn watch(&mut self, conn: Conn, interest: Interest, who: Who, reactor: &mut Reactor) -> Link {
        let token = reactor.add(conn.socket(), interest);
        self.by_token.insert(token, who);
        Link { conn, token, interest, dialing: false, stalled: false }
    }

    pub(super) fn peer(&mut self, key: PeerKey) -> Option<&mut Link> {
        self.peers.get_mut(&key)
    }

    /// Closes a connection; its half-filled buffer goes back.
    pub(super) fn close(&mut self, key: PeerKey, pool: &mut Pool, reactor: &mut Reactor) {
        if let Some(mut link) = self.peers.remove(&key) {
            link.conn.release(pool);
            self.by_token.remove(&link.token);
            reactor.remove(link.token);
        }
    }

    /// Brings what the reactor waits for in line with what the connection can do.
    pub(super) fn settle(&mut self, key: PeerKey, reactor: &mut Reactor) {
        let Some(link) = self.peers.get_mut(&key) else { return };
        let interest = match link.dialing {
            true => Interest::WRITE,
            false => Interest { read: !link.stalled, write: link.conn.is_sending() },
        };
        if interest != link.interest {
            link.interest = interest;
            reactor.set_interest(link.token, interest);
        }
    }

    /// Those that wait for a block buffer.
    pub(super) fn stalled(&self) -> Vec<PeerKey> {
        self.peers.iter().filter(|(_, l)| l.stalled).map(|(k, _)| *k).collect()
    }
}
