//! Announces to UDP trackers: the sockets and look-ups of `logic::udp_tracker`.

use super::Event;
use crate::io::datagrams::Datagrams;
use crate::io::lookup::{self, LookedUp};
use crate::io::mailbox::Post;
use crate::io::origin::Origin;
use crate::io::reactor::{Reactor, Token};
use crate::io::{reason, sys};
use crate::logic::announcer::Failure;
use crate::logic::udp_tracker::{Step, UdpTrackers};
use crate::proto::announce::Request;
use crate::proto::announce::ask::Reply;
use crate::proto::udp::ask::MAX_ANSWER;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// What there is for UDP trackers; no socket before the first of them is asked.
pub(super) struct Udp {
    trackers: UdpTrackers,
    sockets: Datagrams,
    /// Where packets of each family leave.
    own: [Option<IpAddr>; 2],
    origin: Origin,
}

impl Udp {
    /// For those who take peers at these addresses.
    pub(super) fn new(bind: &[IpAddr], origin: Origin) -> Udp {
        let trackers = UdpTrackers::new(u64::from_ne_bytes(sys::random()));
        let (sockets, own) = (Datagrams::new(origin.clone()), Origin::of_families(bind));
        Udp { trackers, sockets, own, origin }
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
        let Udp { sockets, trackers, .. } = self;
        sockets.hear(token, &mut [0; MAX_ANSWER], |from, packet| {
            trackers.on_packet(from, packet, now);
        });
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

    /// Sends from an address that peers are taken at. What is lost on the way is sent again.
    fn send(&mut self, to: SocketAddr, packet: &[u8], reactor: &mut Reactor) -> io::Result<()> {
        let any: IpAddr = match to.is_ipv6() {
            true => Ipv6Addr::UNSPECIFIED.into(),
            false => Ipv4Addr::UNSPECIFIED.into(),
        };
        self.origin.source(to.ip())?;
        let ip = self.own[usize::from(to.is_ipv6())].unwrap_or(any);
        self.sockets.open(SocketAddr::new(ip, 0), reactor)?;
        self.sockets.send(to, packet)
    }

    /// Closes the sockets: what is under way will not be answered.
    pub(super) fn close(self, reactor: &mut Reactor) {
        self.sockets.close(reactor);
    }
}
