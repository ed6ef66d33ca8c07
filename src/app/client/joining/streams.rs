//! What comes by UDP while the metadata is looked for: peers over uTP, as those of a download are
//! (see `engine/streams`), and what has its sockets beside it.

use super::turns::Search;
use crate::app::client::Company;
use crate::app::client::utp::{Manner, News, Utp};
use crate::io::conn::Conn;
use crate::io::reactor::Event;
use crate::io::reason;
use crate::logic::PeerKey;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

impl Search {
    /// Takes streams too, if they are wanted, at the sockets of the hash table if there is one.
    pub(super) fn open_streams(&mut self, now: Instant) {
        if !self.settings.utp {
            return;
        }
        let local_only = self.settings.config.local_only;
        let most = self.company.budget.streams;
        let manner = Manner { local_only, nearby: self.settings.utp_nearby, most };
        let Company { reactor, port, dht, .. } = &mut self.company;
        let sockets = dht.is_none().then(|| self.origin.clone());
        let place = (&self.settings.door.bind[..], *port);
        match Utp::start(place, sockets, manner, reactor, now) {
            Ok(utp) => self.company.utp = Some(utp),
            Err(e) => self.notice(format!("cannot use uTP: {}", reason(&e))),
        }
    }

    /// Whether it came at a socket of the hash table, of uTP, of local discovery or for the router.
    pub(super) fn on_datagrams(&mut self, event: Event, now: Instant) -> bool {
        let Company { reactor, dht, lsd, ports, utp, .. } = &mut self.company;
        let stray = |from: SocketAddr, packet: &[u8]| {
            utp.iter_mut().for_each(|utp| utp.on_packet(from, packet, now));
        };
        dht.as_mut().is_some_and(|node| node.hear(event.token, now, stray))
            || utp.as_mut().is_some_and(|utp| utp.hear(event, reactor, now))
            || lsd.as_mut().is_some_and(|lsd| lsd.hear(event.token, now))
            || ports.as_mut().is_some_and(|ports| ports.hear(event.token, now))
    }

    /// Hears what became of the streams.
    pub(super) fn hear_streams(&mut self, now: Instant) {
        let Company { reactor, utp, .. } = &mut self.company;
        let Some(utp) = utp else { return };
        for news in utp.on_time(reactor, now) {
            match news {
                News::Accepted(near, address) => self.take_stream(near, address, now),
                News::Opened(key, near) => {
                    let Company { links, reactor, .. } = &mut self.company;
                    links.add_dialed(key, Conn::new(near), None, reactor);
                }
                News::Failed(key, address) => self.dial_by_tcp(key, address, now),
            }
        }
    }

    fn take_stream(&mut self, near: OwnedFd, address: SocketAddr, now: Instant) {
        let methods = self.settings.config.encryption.methods();
        let Company { links, reactor, .. } = &mut self.company;
        // Without a place for it the near end is closed, and so the stream.
        if self.ending.is_none() && links.has_room_for_strangers(now) {
            links.add_stranger(near, address, methods, now, reactor);
        }
    }

    /// Dials by uTP, and by TCP whoever does not answer that.
    pub(super) fn dial(&mut self, key: PeerKey, address: SocketAddr, now: Instant) {
        if !self.company.utp.as_mut().is_some_and(|utp| utp.dial(key, address, now)) {
            self.dial_by_tcp(key, address, now);
        }
    }

    /// Sends what the streams have to send.
    pub(super) fn send_streams(&mut self, now: Instant) {
        let Company { utp, dht, .. } = &mut self.company;
        utp.iter_mut().for_each(|utp| utp.send(dht.as_ref(), now));
    }

    /// The last word to all.
    pub(super) fn end_streams(&mut self, now: Instant) {
        let Company { utp, dht, .. } = &mut self.company;
        utp.iter_mut().for_each(|utp| utp.end(dht.as_ref(), now));
    }
}
