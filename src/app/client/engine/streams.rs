//! Peers over uTP: whom it brings, whom it does not reach, and what it shares with the hash table.

use super::{Engine, Report};
use crate::app::client::utp::{News, Utp};
use crate::io::conn::Conn;
use crate::io::{reactor, reason};
use crate::logic::PeerKey;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

impl Engine {
    /// Takes streams over UDP too, if they are wanted.
    pub(super) fn open_streams(&mut self, now: Instant) {
        if !self.settings.utp {
            return;
        }
        let place = (&self.settings.bind[..], self.port);
        let (shared, local_only) = (self.dht.is_some(), self.settings.config.local_only);
        let sockets = (!shared).then(|| self.origin.clone());
        match Utp::start(place, sockets, local_only, &mut self.reactor, now) {
            Ok(utp) => self.utp = Some(utp),
            Err(e) => {
                let why = format!("cannot use uTP: {}", reason(&e));
                self.outlet.push(Report::Notice(why));
            }
        }
    }

    /// Something came at a socket that is no peer's.
    pub(super) fn on_datagrams(&mut self, event: reactor::Event, now: Instant) {
        let Engine { dht, utp, ports, lsd, reactor, .. } = self;
        let stray = |from: SocketAddr, packet: &[u8]| {
            if let Some(utp) = utp {
                utp.on_packet(from, packet, now);
            }
        };
        let heard = dht.as_mut().is_some_and(|node| node.hear(event.token, now, stray))
            || utp.as_mut().is_some_and(|utp| utp.hear(event, reactor, now))
            || lsd.as_mut().is_some_and(|lsd| lsd.hear(event.token, now))
            || ports.as_mut().is_some_and(|ports| ports.hear(event.token, now));
        if !heard {
            self.udp.hear(event.token, now);
        }
    }

    /// Hears what became of the streams.
    pub(super) fn hear_streams(&mut self, now: Instant) {
        let Some(utp) = &mut self.utp else { return };
        for news in utp.on_time(&mut self.reactor, now) {
            match news {
                News::Accepted(near, address) => self.take_stream(near, address, now),
                News::Opened(key, near) => {
                    let geometry = Arc::clone(&self.geometry);
                    let conn = Conn::new(near);
                    self.links.add_dialed(key, conn, Some(geometry), &mut self.reactor);
                }
                News::Failed(key, address) => self.dial_by_tcp(key, address, now),
            }
        }
    }

    fn take_stream(&mut self, near: OwnedFd, address: SocketAddr, now: Instant) {
        // Without a place for it the near end is closed, and so the stream.
        if self.ending.is_none() && self.links.has_room_for_strangers() {
            let methods = self.settings.config.encryption.methods();
            self.links.add_stranger(near, address, methods, now, &mut self.reactor);
        }
    }

    /// Sends what the streams have to send.
    pub(super) fn send_streams(&mut self, now: Instant) {
        if let Some(utp) = &mut self.utp {
            utp.send(self.dht.as_ref(), now);
        }
    }

    /// The last word to all.
    pub(super) fn end_streams(&mut self, now: Instant) {
        if let Some(utp) = &mut self.utp {
            utp.end(self.dht.as_ref(), now);
        }
    }

    /// Dials by uTP, and by TCP whoever does not answer that.
    pub(super) fn dial(&mut self, key: PeerKey, address: SocketAddr, now: Instant) {
        if !self.utp.as_mut().is_some_and(|utp| utp.dial(key, address, now)) {
            self.dial_by_tcp(key, address, now);
        }
    }
}
