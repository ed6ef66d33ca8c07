//! Peers over uTP: whom it brings, whom it does not reach, and what it shares with the hash table.

use super::{Engine, Work};
use crate::app::client::TorrentId;
use crate::app::client::utp::News;
use crate::io::conn::Conn;
use crate::logic::PeerKey;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

impl Engine {
    /// Hears what became of the streams.
    pub(super) fn hear_streams(&mut self, now: Instant) {
        let Some(utp) = &mut self.hub.utp else { return };
        for news in utp.on_time(&mut self.hub.reactor, now) {
            match news {
                News::Accepted(near, address) => self.hub.take_stream(near, address, now),
                News::Opened(key, near) => {
                    self.visit(TorrentId::of_key(key), |work| work.on_opened(key, near));
                }
                News::Failed(key, address) => {
                    self.visit(TorrentId::of_key(key), |work| work.dial_by_tcp(key, address, now));
                }
            }
        }
    }
}

impl Work<'_> {
    fn on_opened(&mut self, key: PeerKey, near: OwnedFd) {
        let geometry = Arc::clone(&self.own.geometry);
        let conn = Conn::new(near);
        self.hub.links.add_dialed(key, conn, Some(geometry), &mut self.hub.reactor);
    }

    /// Dials by uTP, and by TCP whoever does not answer that.
    pub(super) fn dial(&mut self, key: PeerKey, address: SocketAddr, now: Instant) {
        if !self.hub.utp.as_mut().is_some_and(|utp| utp.dial(key, address, now)) {
            self.dial_by_tcp(key, address, now);
        }
    }
}
