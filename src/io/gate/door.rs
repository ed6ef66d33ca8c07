//! Where connections come in, and which goes when there is no room: the gate's listeners.

use super::Gate;
use super::connection::{Connection, Stage};
use crate::io::reactor::{Guess, Interest, Reactor, Token};
use crate::io::sys;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

/// Connections accepted in one turn; more wait for the next, so that others are served between.
const ACCEPTS: usize = 64;

/// To look for a connection that is not there costs more than a turn: the kernel makes a socket
/// first.
const PATIENCE: u32 = 8;

/// An address that others connect to.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) token: Token,
    socket: Arc<OwnedFd>,
    guess: Guess,
}

/// A descriptor to hold back; see [`Gate`].
pub(super) fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

impl Gate {
    /// Opens it at an address; an IPv6 one takes IPv6 only. Returns the address with the port that
    /// the system chose for port 0.
    ///
    /// # Errors
    /// The port is taken, the address not ours, or the right to it missing.
    pub fn listen(&mut self, reactor: &mut Reactor, on: SocketAddr) -> io::Result<SocketAddr> {
        self.adopt(reactor, sys::listen(on, true)?)
    }

    /// Opens it at a socket that listens already. Returns its address.
    ///
    /// # Errors
    /// It is no socket of the internet.
    pub fn adopt(&mut self, reactor: &mut Reactor, socket: OwnedFd) -> io::Result<SocketAddr> {
        sys::set_nonblocking(&socket)?;
        let socket = Arc::new(socket);
        let on = sys::local_address(&socket)?;
        let token = reactor.add(Arc::clone(&socket), Interest::READ);
        self.listeners.push(Listener { token, socket, guess: Guess::new(ACCEPTS, PATIENCE) });
        Ok(on)
    }

    pub(super) fn accept(&mut self, reactor: &mut Reactor, place: usize, now: Instant) {
        for taken in 0..self.listeners[place].guess.next() {
            match sys::accept(&self.listeners[place].socket) {
                Ok((socket, from)) => self.admit(reactor, socket, from, now),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return self.listeners[place].guess.was(taken);
                }
                // Said also when nobody waits: the kernel looks for a descriptor first.
                Err(e) if sys::is_out_of_descriptors(&e) => {
                    if self.evict(reactor) {
                        continue;
                    }
                    match self.turn_away(place) {
                        Ok(()) => {}
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                        Err(_) => return self.pause(reactor, true),
                    }
                }
                // An error of that one connection, which is gone already.
                Err(_) => {}
            }
        }
    }

    fn admit(&mut self, reactor: &mut Reactor, socket: OwnedFd, from: SocketAddr, now: Instant) {
        if self.connections.len() >= self.settings.connections && !self.evict(reactor) {
            return;
        }
        let socket = Arc::new(socket);
        let token = reactor.add(Arc::clone(&socket), Interest::READ);
        let connection = Connection {
            socket,
            // IPv4 inside IPv6 is IPv4.
            from: SocketAddr::new(from.ip().to_canonical(), from.port()),
            stage: Stage::Head,
            input: Vec::new(),
            more: true,
            deadline: now + self.settings.timeout,
            since: now,
            left: 0,
        };
        self.connections.insert(token, connection);
        // Mostly the request has come along with the connection.
        self.receive(reactor, token, true, now);
    }

    /// Closes the connection that has been idle longest; if none is idle, the one that has been
    /// reading its answer longest. `false` if all wait for their answers.
    fn evict(&mut self, reactor: &mut Reactor) -> bool {
        let rank = |c: &Connection| match c.stage {
            Stage::Head | Stage::Lingering => Some(0),
            Stage::Answering(..) => Some(1),
            Stage::Asked(_) => None,
        };
        let all = self.connections.iter().filter_map(|(t, c)| Some(((rank(c)?, c.since), t)));
        let oldest = all.min_by_key(|(key, _)| *key);
        let token = oldest.map(|(_, token)| *token);
        token.is_some_and(|token| self.close(reactor, token))
    }

    /// Takes a connection by means of the spare descriptor and closes it.
    fn turn_away(&mut self, place: usize) -> io::Result<()> {
        self.spare = None;
        let taken = sys::accept(&self.listeners[place].socket).map(drop);
        self.spare = spare();
        taken
    }

    pub(super) fn pause(&mut self, reactor: &mut Reactor, paused: bool) {
        let interest = if paused { Interest::NONE } else { Interest::READ };
        self.listeners.iter().for_each(|l| reactor.set_interest(l.token, interest));
        self.paused = paused;
    }

    /// Takes no new connections any more.
    pub fn stop_listening(&mut self, reactor: &mut Reactor) {
        self.listeners.drain(..).for_each(|l| reactor.remove(l.token));
    }
}
