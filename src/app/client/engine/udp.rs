//! Announces to UDP trackers: the sockets and look-ups of `logic::udp_tracker`.

use super::Engine;
use super::ending::END;
use crate::io::lookup::{self, LookedUp};
use crate::io::reactor::{Interest, Token};
use crate::io::{reason, sys};
use crate::logic::udp_tracker::{Step, UdpTrackers};
use crate::proto::announce::Request;
use crate::proto::udp::ask::MAX_ANSWER;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

/// Packets taken in one turn; more wait for the next.
const PACKETS_PER_TURN: usize = 32;

/// What there is for UDP trackers; no socket before the first of them is asked.
pub(super) struct Udp {
    trackers: UdpTrackers,
    /// For IPv4 and for IPv6.
    sockets: [Option<(Arc<OwnedFd>, Token)>; 2],
}

impl Udp {
    pub(super) fn new() -> Udp {
        let trackers = UdpTrackers::new(u64::from_ne_bytes(sys::random()));
        Udp { trackers, sockets: [None, None] }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.trackers.next_deadline()
    }
}

impl Engine {
    pub(super) fn announce_udp(
        &mut self,
        number: u64,
        url: &str,
        request: Request,
        last: bool,
        now: Instant,
    ) {
        let timeout = if last { END } else { self.settings.http_timeout };
        self.announces.insert(number);
        self.udp.trackers.announce(number, url, request, timeout, now);
    }

    /// Takes what has come at a socket, if it is one of these.
    pub(super) fn hear_udp(&mut self, token: Token, now: Instant) {
        let own = |socket: &&(Arc<OwnedFd>, Token)| socket.1 == token;
        let Some((socket, _)) = self.udp.sockets.iter().flatten().find(own) else { return };
        let socket = Arc::clone(socket);
        let mut packet = vec![0; MAX_ANSWER];
        for _ in 0..PACKETS_PER_TURN {
            match sys::recv_from(&socket, &mut packet) {
                Ok((length, from)) => self.udp.trackers.on_packet(from, &packet[..length], now),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // What somebody could not be sent is no matter of this socket.
                Err(_) => {}
            }
        }
    }

    pub(super) fn on_looked_up(&mut self, found: LookedUp, now: Instant) {
        self.udp.trackers.on_found(found.id, found.result, now);
    }

    pub(super) fn on_udp_time(&mut self, now: Instant) {
        if self.udp.next_deadline().is_some_and(|at| at <= now) {
            self.udp.trackers.on_time(now);
        }
    }

    /// Does what is to be done for UDP trackers.
    pub(super) fn take_udp_steps(&mut self, now: Instant) {
        while let Some(step) = self.udp.trackers.next_step() {
            match step {
                Step::LookUp { number, host, port } => {
                    if let Err(e) = lookup::start(number, host, port, self.post.clone()) {
                        let why = Err(format!("cannot start a thread: {}", reason(&e)));
                        self.udp.trackers.on_found(number, why, now);
                    }
                }
                Step::Send(to, packet) => {
                    if let Err(e) = self.send_udp(to, &packet) {
                        self.udp.trackers.on_unsent(to, &reason(&e), now);
                    }
                }
                Step::Ended(number, result) => {
                    self.announces.remove(&number);
                    self.with_torrent(|t| t.on_announced(number, result, now));
                }
            }
        }
    }

    fn send_udp(&mut self, to: SocketAddr, packet: &[u8]) -> io::Result<()> {
        let socket = match &self.udp.sockets[usize::from(to.is_ipv6())] {
            Some((socket, _)) => Arc::clone(socket),
            None => self.open_udp(to.is_ipv6())?,
        };
        match sys::send_to(&socket, packet, to) {
            // As good as lost on the way: it is sent again.
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => Err(e),
            _ => Ok(()),
        }
    }

    /// A socket at the address that peers are taken at, if that is only one.
    fn open_udp(&mut self, six: bool) -> io::Result<Arc<OwnedFd>> {
        let any: IpAddr =
            if six { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let mut of_family = self.settings.bind.iter().filter(|ip| ip.is_ipv6() == six);
        let ip = of_family.next().filter(|_| of_family.next().is_none()).copied().unwrap_or(any);
        let socket = sys::bind_udp(SocketAddr::new(ip, 0), false)?;
        sys::set_nonblocking(&socket)?;
        let socket = Arc::new(socket);
        let token = self.reactor.add(Arc::clone(&socket), Interest::READ);
        self.udp.sockets[usize::from(six)] = Some((Arc::clone(&socket), token));
        Ok(socket)
    }
}
