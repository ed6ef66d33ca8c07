//! Has the gateway let others in: the socket and requests of `logic::port_mapping`.
//!
//! It sends to the gateway alone, but for the search of UPnP, which goes to our link, and nothing
//! at all where we listen on loopback alone, or at an address that can be reached without one.

use super::Event;
use crate::io::datagrams::Datagrams;
use crate::io::gateway::{self, Exchanged};
use crate::io::mailbox::Post;
use crate::io::origin::Origin;
use crate::io::reactor::{Reactor, Token};
use crate::io::sys;
use crate::logic::port_mapping::{Place, PortMapper, Step, Way, is_behind_gateway};
use crate::proto::port_mapping::{MAX_ANSWER, Mapping, Protocol};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

/// What there is for it.
pub(super) struct Ports {
    mapper: PortMapper,
    /// Where we listen; unspecified for everywhere.
    bind: Ipv4Addr,
    /// Our address towards the gateway, when there is a socket.
    own: Ipv4Addr,
    /// Of this the interface, if it names one.
    origin: Origin,
    socket: Datagrams,
    /// The TCP port at which others reach us.
    public: u16,
}

impl Ports {
    /// For `port` at these addresses, beginning in the way `first`. `None`: none of them is of use
    /// to anybody outside.
    pub(super) fn new(bind: &[IpAddr], origin: Origin, port: u16, first: Way) -> Option<Ports> {
        let outside = |ip: &IpAddr| match ip {
            IpAddr::V4(ip) if !ip.is_loopback() => Some(*ip),
            _ => None,
        };
        let bind = bind.iter().find_map(outside)?;
        let mapper = PortMapper::new(port, first, sys::random());
        Some(Ports { mapper, bind, own: bind, origin, socket: Datagrams::default(), public: port })
    }

    /// The TCP port at which others reach us, as far as is known.
    pub(super) fn public(&self) -> u16 {
        self.public
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.mapper.next_deadline()
    }

    pub(super) fn on_time(&mut self, now: Instant) {
        if self.next_deadline().is_some_and(|at| at <= now) {
            self.mapper.on_time(now);
        }
    }

    /// Takes what has come at a socket, if it is this one's.
    pub(super) fn hear(&mut self, token: Token, now: Instant) -> bool {
        let Ports { socket, mapper, .. } = self;
        socket.hear(token, &mut [0; MAX_ANSWER], |from, packet| mapper.on_packet(from, packet, now))
    }

    /// Does what is to be done, up to the next mapping that there is.
    pub(super) fn work(
        &mut self,
        reactor: &mut Reactor,
        post: &Post<Event>,
        now: Instant,
    ) -> Option<Mapping> {
        while let Some(step) = self.mapper.next_step() {
            match step {
                Step::Locate => {
                    let place = self.locate(reactor);
                    self.mapper.on_place(place, now);
                }
                Step::Send(to, packet) => {
                    // What cannot be sent is as good as lost on the way.
                    let _ = self.socket.send(to, &packet);
                }
                Step::Exchange { number, host, request } => {
                    let from = Origin::new(&[self.own.into()], self.origin.device());
                    let to = (from, host);
                    if gateway::exchange(number, to, request, post.clone()).is_err() {
                        self.mapper.on_exchanged(number, None, now);
                    }
                }
                Step::Mapped(mapping) => {
                    if mapping.protocol == Protocol::Tcp {
                        self.public = mapping.external;
                    }
                    return Some(mapping);
                }
            }
        }
        None
    }

    /// A request to the gateway is over.
    pub(super) fn on_exchanged(&mut self, exchanged: &Exchanged, now: Instant) {
        self.mapper.on_exchanged(exchanged.number, exchanged.answer.as_deref(), now);
    }

    /// Where we are, with a socket for there; `None` where there is nobody to be asked.
    fn locate(&mut self, reactor: &mut Reactor) -> Option<Place> {
        let fresh = Datagrams::new(self.origin.clone());
        std::mem::replace(&mut self.socket, fresh).close(reactor);
        let found = gateway::find(self.bind, self.origin.device());
        let (gateway, own) = found.filter(|(_, own)| is_behind_gateway(*own))?;
        self.socket.open(SocketAddr::new(own.into(), 0), reactor).ok()?;
        self.own = own;
        Some(Place { gateway, own })
    }

    /// Has what was granted be given back.
    pub(super) fn end(&mut self, now: Instant) {
        self.mapper.end(now);
    }

    /// Whether the end need not wait for this.
    pub(super) fn is_at_rest(&self) -> bool {
        self.mapper.is_at_rest()
    }
}
