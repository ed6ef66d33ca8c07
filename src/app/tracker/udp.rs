//! The tracker's UDP door (BEP 15), on the reactor of the other.
//!
//! A packet is answered at once or not at all. Until an asker has proved its address by its
//! connection id, no answer is longer than its question.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use crate::io::reactor::{Event, Guess, Interest, Reactor, Token};
use crate::io::sys;
use crate::logic::registry::connection::Ids;
use crate::logic::registry::{Asker, Refused};
use crate::proto::announce::answer::{Announce, Reply};
use crate::proto::udp::{
    Ask, Bad, MAX_PACKET, Request, is_answer, put_announced, put_connected, put_error, put_scraped,
};

use super::desk::Desk;

/// Packets answered in one turn; more wait for the next, so that others are served between.
const AT_ONCE: usize = 128;

/// Answers sent together: so many that who asks in a crowd waits no longer than he must.
const TOGETHER: usize = 32;

/// To look for a packet that is not there costs nearly as much as a turn.
const PATIENCE: u32 = 4;

struct Socket {
    token: Token,
    socket: Arc<OwnedFd>,
    guess: Guess,
}

/// The door.
pub struct Udp {
    sockets: Vec<Socket>,
    ids: Ids,
    packet: Box<[u8; MAX_PACKET]>,
    answer: Vec<u8>,
    /// The first of them wait to be sent together; the rest are room for more.
    answers: Vec<(SocketAddr, Vec<u8>)>,
}

impl Udp {
    /// A door that nobody can reach yet.
    pub fn new(secret: [u64; 2], now: Instant) -> Udp {
        let (packet, answer) = (Box::new([0; MAX_PACKET]), Vec::new());
        let (sockets, answers) = (Vec::new(), Vec::new());
        Udp { sockets, ids: Ids::new(secret, now), packet, answer, answers }
    }

    /// Opens it at an address; an IPv6 one takes IPv6 only.
    ///
    /// # Errors
    /// The port is taken, the address not ours, or the right to it missing.
    pub fn listen(&mut self, reactor: &mut Reactor, on: SocketAddr) -> io::Result<()> {
        self.adopt(reactor, sys::bind_udp(on, false)?)
    }

    /// Opens it at a socket that is bound already.
    ///
    /// # Errors
    /// It is no open socket.
    pub fn adopt(&mut self, reactor: &mut Reactor, socket: OwnedFd) -> io::Result<()> {
        sys::set_nonblocking(&socket)?;
        let socket = Arc::new(socket);
        let token = reactor.add(Arc::clone(&socket), Interest::READ);
        self.sockets.push(Socket { token, socket, guess: Guess::new(AT_ONCE, PATIENCE) });
        Ok(())
    }

    /// Takes an event; `false` if it is not of this door.
    pub fn on_event(&mut self, desk: &mut Desk, event: &Event, now: Instant) -> bool {
        let Some(place) = self.sockets.iter().position(|s| s.token == event.token) else {
            return false;
        };
        let socket = Arc::clone(&self.sockets[place].socket);
        let mut waiting = 0;
        for taken in 0..self.sockets[place].guess.next() {
            match sys::recv_from(&socket, &mut self.packet[..]) {
                Ok((length, from)) => {
                    if self.answer(desk, length, from, now) {
                        self.put_off(waiting, from);
                        waiting += 1;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.sockets[place].guess.was(taken);
                    break;
                }
                // An answer to somebody could not be delivered: not a matter of this socket.
                Err(_) => {}
            }
            if waiting == TOGETHER {
                self.send(&socket, waiting);
                waiting = 0;
            }
        }
        self.send(&socket, waiting);
        true
    }

    /// Lets the answer that was just written wait, behind so many others.
    fn put_off(&mut self, waiting: usize, to: SocketAddr) {
        if self.answers.len() == waiting {
            self.answers.push((to, Vec::new()));
        }
        self.answers[waiting].0 = to;
        std::mem::swap(&mut self.answers[waiting].1, &mut self.answer);
    }

    /// Sends those that wait. What finds no room is lost, as any packet may be: the asker asks
    /// again.
    fn send(&self, socket: &OwnedFd, waiting: usize) {
        match &self.answers[..waiting] {
            [] => {}
            [(to, one)] => _ = sys::send_to(socket, one, *to),
            many => sys::send_all_to(socket, many),
        }
    }

    /// Writes the answer to a packet, if there is one.
    fn answer(&mut self, desk: &mut Desk, length: usize, from: SocketAddr, now: Instant) -> bool {
        let ip = from.ip().to_canonical();
        if !desk.registry.access.serves(ip) {
            return false;
        }
        desk.counters.udp_packets += 1;
        let out = &mut self.answer;
        let (connection, transaction, ask) = match Request::read(&self.packet[..length]) {
            Ok(Request { connection, transaction, ask }) => (connection, transaction, Some(ask)),
            Err(Bad::Request(connection, transaction)) => (connection, transaction, None),
            Err(Bad::Packet) => return false,
        };
        if let Some(Ask::Connect) = ask {
            put_connected(out, transaction, self.ids.give(ip, now));
            return true;
        }
        if is_answer(connection) {
            return false;
        }
        if !self.ids.knows(connection, ip, now) {
            put_error(out, transaction, "connection id unknown");
            return out.len() <= length;
        }
        match ask {
            Some(Ask::Announce(mut announce)) => {
                // There is no room for an address of the asker's own family.
                announce.given_ip = announce.given_ip.filter(|_| ip.is_ipv4());
                let asker = Asker { ip, six: Some(ip.is_ipv6()) };
                match announced(desk, &announce, asker, now) {
                    Ok(reply) => put_announced(out, transaction, &reply),
                    Err(refused) => put_error(out, transaction, &refused.to_string()),
                }
            }
            Some(Ask::Scrape(hashes)) => {
                desk.counters.scrapes += 1;
                match desk.registry.may_scrape(false) {
                    Ok(()) => {
                        let counts = hashes.iter().map(|hash| desk.registry.scraped(hash).counts);
                        put_scraped(out, transaction, counts);
                    }
                    Err(refused) => put_error(out, transaction, &refused.to_string()),
                }
            }
            _ => put_error(out, transaction, "bad request"),
        }
        true
    }

    /// Closes it.
    pub fn close(&mut self, reactor: &mut Reactor) {
        self.sockets.drain(..).for_each(|s| reactor.remove(s.token));
    }
}

fn announced(
    desk: &mut Desk,
    announce: &Announce,
    asker: Asker,
    now: Instant,
) -> Result<Reply, Refused> {
    desk.counters.announces += 1;
    let limited = desk.limit.exceeded(asker.ip, now);
    let result = match limited {
        true => Err(Refused::TooOften),
        false => desk.registry.announce(announce, asker, &mut desk.rng),
    };
    desk.counters.refused += u64::from(result.is_err());
    result
}
