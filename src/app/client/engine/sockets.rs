//! What sockets tell: somebody knocks, a connection stands, bytes came.

use super::{Engine, Hub, Work};
use crate::app::client::TorrentId;
use crate::app::client::links::{Heard, Hearing, Introduced, Reception, Who};
use crate::io::reactor::{self, Token};
use crate::logic::PeerKey;
use crate::proto::wire::Incoming;
use std::sync::Arc;
use std::time::Instant;

impl Engine {
    pub(super) fn on_socket(&mut self, event: reactor::Event, now: Instant) {
        match self.hub.links.who(event.token) {
            Some(Who::Listener(i)) => self.hub.accept(i, now),
            Some(Who::Stranger) => self.hear_stranger(event.token, now),
            Some(Who::Peer(key)) => {
                self.visit(TorrentId::of_key(key), |work| work.on_peer(key, event, now));
            }
            None => self.hub.on_datagrams(event, now),
        }
    }

    fn hear_stranger(&mut self, token: Token, now: Instant) {
        let Hub { secrecy, staging, pool, reactor, links, names, .. } = &mut self.hub;
        let with = Reception { secrecy, staging, pool };
        let Some(guest) = links.hear_stranger(token, with, now, reactor) else { return };
        match names.get(&guest.hello.info_hash).copied() {
            Some(id) => self.visit(id, |work| work.take_in(token, guest, now)),
            None => links.drop_stranger(token, reactor),
        }
    }

    /// Those that waited for a buffer may go on.
    pub(super) fn resume_stalled(&mut self, now: Instant) {
        if !std::mem::take(&mut self.hub.buffers_came) {
            return;
        }
        for key in self.hub.links.stalled() {
            if !self.hub.pool.has_room() {
                return;
            }
            self.visit(TorrentId::of_key(key), |work| work.resume(key, now));
        }
    }

    /// While others wait for a buffer nobody may keep one without filling it.
    pub(super) fn drop_dawdlers(&mut self, now: Instant) {
        if !self.hub.pool.has_room() {
            for key in self.hub.links.dawdlers(now) {
                self.visit(TorrentId::of_key(key), |work| work.lose(key, now));
            }
        }
    }
}

impl Work<'_> {
    /// A stranger has named this torrent.
    fn take_in(&mut self, token: Token, guest: Introduced, now: Instant) {
        let Introduced { hello, address, encrypted } = guest;
        let taken = self.with_torrent(|t| t.on_incoming(address, encrypted, now));
        let Some(Ok(key)) = taken else {
            return self.hub.links.drop_stranger(token, &mut self.hub.reactor);
        };
        self.with_torrent(|t| t.on_hello(key, hello, now));
        let geometry = Arc::clone(&self.own.geometry);
        self.hub.links.promote(token, key, Some(geometry));
        self.hear(key, now);
    }

    /// There are block buffers again.
    fn resume(&mut self, key: PeerKey, now: Instant) {
        if self.torrent().is_none() {
            return;
        }
        if let Some(link) = self.hub.links.peer(key) {
            link.stalled = false;
            self.hear(key, now);
        }
    }

    fn on_peer(&mut self, key: PeerKey, event: reactor::Event, now: Instant) {
        let Some(link) = self.hub.links.peer(key) else { return };
        if link.dialing {
            return self.on_dialed(key, now);
        }
        if event.readable {
            self.hear(key, now);
        }
        if event.writable {
            self.own.dirty.insert(key);
        }
    }

    fn on_dialed(&mut self, key: PeerKey, now: Instant) {
        let Some(link) = self.hub.links.peer(key) else { return };
        link.dialing = false;
        let stands = link.conn.connected().is_ok();
        if stands {
            self.with_torrent(|t| t.on_connected(key, now));
            self.hub.links.settle(key, &mut self.hub.reactor);
        } else {
            self.close(key);
            self.with_torrent(|t| t.on_connect_failed(key, now));
        }
    }

    /// Takes in what a peer has said, as far as there are buffers for it.
    pub(super) fn hear(&mut self, key: PeerKey, now: Instant) {
        let mut hearing = Hearing::default();
        loop {
            let Some(link) = self.hub.links.peer(key) else { return };
            let torrent = self.own.torrent();
            let is_asked = |block| torrent.is_some_and(|t| t.expects(key, block));
            match link.hear(&mut hearing, &mut self.hub.pool, is_asked) {
                Heard::Got(incoming) => {
                    link.block_began = None;
                    self.on_incoming(key, incoming, now);
                }
                Heard::NoBuffer => {
                    link.stalled = true;
                    break;
                }
                Heard::Enough => break,
                Heard::Ended => return self.lose(key, now),
                Heard::Fault(fault) => {
                    self.with_torrent(|t| t.on_fault(key, fault, now));
                    break;
                }
            }
        }
        if let Some(link) = self.hub.links.peer(key).filter(|link| link.conn.is_in_block()) {
            link.block_began.get_or_insert(now);
        }
        self.hub.links.settle(key, &mut self.hub.reactor);
    }

    fn on_incoming(&mut self, key: PeerKey, incoming: Incoming, now: Instant) {
        self.with_torrent(|torrent| match incoming {
            Incoming::Hello(hello) => torrent.on_hello(key, hello, now),
            Incoming::Id(id) => torrent.on_peer_id(key, id, now),
            Incoming::Message(message) => torrent.on_message(key, message, now),
            Incoming::Unasked(block) => torrent.on_unasked(key, block, now),
        });
        // Closing comes before anything else is heard of the peer; blocks begin their way to disk.
        self.drain_actions(now);
    }

    pub(super) fn give_back(&mut self, buffer: Vec<u8>) {
        self.hub.give_back(buffer);
    }

    pub(super) fn close(&mut self, key: PeerKey) {
        self.hub.links.close(key, &mut self.hub.pool, &mut self.hub.reactor);
        if let Some(utp) = &mut self.hub.utp {
            utp.forget(key);
        }
        self.hub.buffers_came = true;
    }

    pub(super) fn lose(&mut self, key: PeerKey, now: Instant) {
        self.close(key);
        self.with_torrent(|t| t.on_lost(key, now));
    }
}
