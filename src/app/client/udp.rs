//! Announces to UDP trackers: the sockets and look-ups of `logic::udp_tracker`.

use super::Event;
use crate::io::lookup::{self, LookedUp};
use crate::io::mailbox::Post;
use crate::io::reactor::{Interest, Reactor, Token};
use crate::io::{reason, sys};
use crate::logic::announcer::Failure;
use crate::logic::udp_tracker::{Step, UdpTrackers};
use crate::proto::announce::Request;
use crate::proto::announce::ask::Reply;
use crate::proto::udp::ask::MAX_ANSWER;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Packets taken in one turn; more wait for the next.
const PACKETS_PER_TURN: usize = 32;

/// What there is for UDP trackers; no socket before the first of them is asked.
pub(super) struct Udp {
    trackers: UdpTrackers,
    /// For IPv4 and for IPv6.
    sockets: [Option<(Arc<OwnedFd>, Token)>; 2],
    /// The addresses that peers are taken at.
    bind: Vec<IpAddr>,
}

impl Udp {
    pub(super) fn new(bind: Vec<IpAddr>) -> Udp {
        let trackers = UdpTrackers::new(u64::from_ne_bytes(sys::random()));
        Udp { trackers, sockets: [None, None], bind }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.trackers.next_deadline()
    }

    /// Begins an announce, which ends within `timeout`.
    pub(super) fn announce(
        &mut self,
        number: u64,
        (url, request): (&str, Request),
        timeout: Duration,
        now: Instant,
    ) {
        self.trackers.announce(number, url, request, timeout, now);
    }

    /// Takes what has come at a socket, if it is one of these.
    pub(super) fn hear(&mut self, token: Token, now: Instant) {
        let own = |socket: &&(Arc<OwnedFd>, Token)| socket.1 == token;
        let Some((socket, _)) = self.sockets.iter().flatten().find(own) else { return };
        let socket = Arc::clone(socket);
        let mut packet = vec![0; MAX_ANSWER];
        for _ in 0..PACKETS_PER_TURN {
            match sys::recv_from(&socket, &mut packet) {
                Ok((length, from)) => self.trackers.on_packet(from, &packet[..length], now),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // What somebody could not be sent is no matter of this socket.
                Err(_) => {}
            }
        }
    }

    pub(super) fn on_looked_up(&mut self, found: LookedUp, now: Instant) {
        self.trackers.on_found(found.id, found.result, now);
    }

    pub(super) fn on_time(&mut self, now: Instant) {
        if self.next_deadline().is_some_and(|at| at <= now) {
            self.trackers.on_time(now);
        }
    }

    /// Does what is to be done, up to the next announce that has ended.
    pub(super) fn work(
        &mut self,
        reactor: &mut Reactor,
        post: &Post<Event>,
        now: Instant,
    ) -> Option<(u64, Result<Reply, Failure>)> {
        while let Some(step) = self.trackers.next_step() {
            match step {
                Step::LookUp { number, host, port } => {
                    if let Err(e) = lookup::start(number, host, port, post.clone()) {
                        let why = Err(format!("cannot start a thread: {}", reason(&e)));
                        self.trackers.on_found(number, why, now);
                    }
                }
                Step::Send(to, packet) => {
                    if let Err(e) = self.send(to, &packet, reactor) {
                        self.trackers.on_unsent(to, &reason(&e), now);
                    }
                }
                Step::Ended(number, result) => return Some((number, result)),
            }
        }
        None
    }

    fn send(&mut self, to: SocketAddr, packet: &[u8], reactor: &mut Reactor) -> io::Result<()> {
        let socket = match &self.sockets[usize::from(to.is_ipv6())] {
            Some((socket, _)) => Arc::clone(socket),
            None => self.open(to.is_ipv6(), reactor)?,
        };
        match sys::send_to(&socket, packet, to) {
            // As good as lost on the way: it is sent again.
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => Err(e),
            _ => Ok(()),
        }
    }

    /// A socket at the address that peers are taken at, if that is only one.
    fn open(&mut self, six: bool, reactor: &mut Reactor) -> io::Result<Arc<OwnedFd>> {
        let any: IpAddr =
            if six { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let mut of_family = self.bind.iter().filter(|ip| ip.is_ipv6() == six);
        let ip = of_family.next().filter(|_| of_family.next().is_none()).copied().unwrap_or(any);
        let socket = sys::bind_udp(SocketAddr::new(ip, 0), false)?;
        sys::set_nonblocking(&socket)?;
        let socket = Arc::new(socket);
        let token = reactor.add(Arc::clone(&socket), Interest::READ);
        self.sockets[usize::from(six)] = Some((Arc::clone(&socket), token));
        Ok(socket)
    }

    /// Closes the sockets: what is under way will not be answered.
    pub(super) fn close(self, reactor: &mut Reactor) {
        self.sockets.into_iter().flatten().for_each(|(_, token)| reactor.remove(token));
    }
}
