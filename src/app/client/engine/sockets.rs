//! What sockets tell: somebody knocks, a connection stands, bytes came.

use super::{DOOR_SHUT, Engine, Stage};
use crate::app::client::links::{Heard, Hearing, Introduced, Reception, Who};
use crate::io::reactor::{self, Token};
use crate::logic::PeerKey;
use crate::proto::wire::Incoming;
use std::sync::Arc;
use std::time::Instant;

impl Engine {
    pub(super) fn on_socket(&mut self, event: reactor::Event, now: Instant) {
        match self.links.who(event.token) {
            Some(Who::Listener(i)) => self.accept(i, now),
            Some(Who::Stranger) => self.hear_stranger(event.token, now),
            Some(Who::Peer(key)) => self.on_peer(key, event, now),
            None => self.on_datagrams(event, now),
        }
    }

    fn accept(&mut self, listener: usize, now: Instant) {
        let methods = self.settings.config.encryption.methods();
        if self.links.take_in(listener, methods, now, &mut self.reactor).is_err() {
            self.door_opens = Some(now + DOOR_SHUT);
        }
    }

    fn hear_stranger(&mut self, token: Token, now: Instant) {
        let Engine { secrecy, staging, pool, reactor, .. } = self;
        let with = Reception { secrecy, staging, pool };
        let guest = self.links.hear_stranger(token, with, now, reactor);
        let Some(Introduced { hello, address, encrypted }) = guest else { return };
        let Stage::Running(torrent) = &mut self.stage else { return };
        let taken = match hello.info_hash == torrent.info_hash() {
            true => torrent.on_incoming(address, encrypted, now).ok(),
            false => None,
        };
        let Some(key) = taken else { return self.links.drop_stranger(token, &mut self.reactor) };
        torrent.on_hello(key, hello, now);
        self.links.promote(token, key, Some(Arc::clone(&self.geometry)));
        self.hear(key, now);
    }

    fn on_peer(&mut self, key: PeerKey, event: reactor::Event, now: Instant) {
        let Some(link) = self.links.peer(key) else { return };
        if link.dialing {
            return self.on_dialed(key, now);
        }
        if event.readable {
            self.hear(key, now);
        }
        if event.writable {
            self.dirty.insert(key);
        }
    }

    fn on_dialed(&mut self, key: PeerKey, now: Instant) {
        let Some(link) = self.links.peer(key) else { return };
        link.dialing = false;
        let stands = link.conn.connected().is_ok();
        if stands {
            self.with_torrent(|t| t.on_connected(key, now));
            self.links.settle(key, &mut self.reactor);
        } else {
            self.close(key);
            self.with_torrent(|t| t.on_connect_failed(key, now));
        }
    }

    /// Takes in what a peer has said, as far as there are buffers for it.
    pub(super) fn hear(&mut self, key: PeerKey, now: Instant) {
        let mut hearing = Hearing::default();
        loop {
            let Some(link) = self.links.peer(key) else { return };
            let torrent = match &self.stage {
                Stage::Running(torrent) => Some(torrent),
                Stage::Checking { .. } => None,
            };
            let is_asked = |block| torrent.is_some_and(|t| t.expects(key, block));
            match link.hear(&mut hearing, &mut self.pool, is_asked) {
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
        if let Some(link) = self.links.peer(key).filter(|link| link.conn.is_in_block()) {
            link.block_began.get_or_insert(now);
        }
        self.links.settle(key, &mut self.reactor);
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
        self.pool.give(buffer);
        self.buffers_came = true;
    }

    /// Those that waited for a buffer may go on.
    pub(super) fn resume_stalled(&mut self, now: Instant) {
        if !std::mem::take(&mut self.buffers_came) || self.torrent().is_none() {
            return;
        }
        for key in self.links.stalled() {
            if !self.pool.has_room() {
                return;
            }
            if let Some(link) = self.links.peer(key) {
                link.stalled = false;
                self.hear(key, now);
            }
        }
    }

    /// While others wait for a buffer nobody may keep one without filling it.
    pub(super) fn drop_dawdlers(&mut self, now: Instant) {
        if !self.pool.has_room() {
            for key in self.links.dawdlers(now) {
                self.lose(key, now);
            }
        }
    }

    pub(super) fn close(&mut self, key: PeerKey) {
        self.links.close(key, &mut self.pool, &mut self.reactor);
        if let Some(utp) = &mut self.utp {
            utp.forget(key);
        }
        self.buffers_came = true;
    }

    pub(super) fn lose(&mut self, key: PeerKey, now: Instant) {
        self.close(key);
        self.with_torrent(|t| t.on_lost(key, now));
    }
}
