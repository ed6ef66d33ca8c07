//! Connects to new peers before they are listed, as BitTornado does: whoever cannot be reached is
//! of no use to others.
//!
//! On the tracker's reactor, a few at a time. A peer proves itself by the handshake of BEP 3 with
//! its own name in it, or at least its client's: libtorrent's clients have a name of their own for
//! each connection. One that takes only obfuscated connections does it by taking the connection.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::io::reactor::{Event, Interest, Reactor, Token};
use crate::io::sys;
use crate::logic::registry::{Check, Registry};
use crate::proto::ids::{InfoHash, PeerId};
use crate::proto::wire::{HANDSHAKE_LENGTH, PROTOCOL};

/// Connections at once.
const MAX_RUNNING: usize = 32;

/// How long one may take, all in all.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The peer was reached.
    Good,
    /// It was not.
    Failed,
    /// It has gone meanwhile, or moved.
    Gone,
}

struct Attempt {
    check: Check,
    socket: Arc<OwnedFd>,
    connected: bool,
    heard: Vec<u8>,
    deadline: Instant,
}

/// The checks that run.
pub struct Checks {
    running: HashMap<Token, Attempt>,
    /// Peers of these; none is connected to twice at a time.
    peers: HashSet<(InfoHash, PeerId)>,
}

impl Checks {
    /// None runs yet.
    pub fn new() -> Checks {
        Checks { running: HashMap::new(), peers: HashSet::new() }
    }

    /// Starts what waits, as far as there is room. Tells `done` of what failed at once.
    pub fn go_on(
        &mut self,
        reactor: &mut Reactor,
        registry: &mut Registry,
        now: Instant,
        mut done: impl FnMut(&Check, Outcome),
    ) {
        while self.running.len() < MAX_RUNNING {
            let Some(check) = registry.next_check() else { return };
            if !self.peers.insert((check.hash, check.id)) {
                continue;
            }
            match sys::connect(check.at, None) {
                Ok(socket) => {
                    let socket = Arc::new(socket);
                    let token = reactor.add(Arc::clone(&socket), Interest::WRITE);
                    let deadline = now + PATIENCE;
                    let (connected, heard) = (false, Vec::new());
                    let attempt = Attempt { check, socket, connected, heard, deadline };
                    self.running.insert(token, attempt);
                }
                // No reason to think ill of the peer: it waits for its next announce.
                Err(e) if sys::is_out_of_descriptors(&e) => {
                    self.peers.remove(&(check.hash, check.id));
                    return;
                }
                Err(_) => {
                    self.peers.remove(&(check.hash, check.id));
                    done(&check, told(registry, &check, false));
                }
            }
        }
    }

    /// Takes an event; `None` if it is of no check, else the check if it has ended.
    pub fn on_event(
        &mut self,
        reactor: &mut Reactor,
        registry: &mut Registry,
        event: &Event,
    ) -> Option<Option<(Check, Outcome)>> {
        let attempt = self.running.get_mut(&event.token)?;
        let good = match attempt.go_on() {
            Ok(None) => {
                if attempt.connected {
                    reactor.set_interest(event.token, Interest::READ);
                }
                return Some(None);
            }
            Ok(Some(good)) => good,
            Err(_) => false,
        };
        let check = self.end(reactor, event.token)?;
        let outcome = told(registry, &check, good);
        Some(Some((check, outcome)))
    }

    fn end(&mut self, reactor: &mut Reactor, token: Token) -> Option<Check> {
        reactor.remove(token);
        let check = self.running.remove(&token)?.check;
        self.peers.remove(&(check.hash, check.id));
        Some(check)
    }

    /// When [`Checks::on_time`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.running.values().map(|attempt| attempt.deadline).min()
    }

    /// Gives up what takes too long.
    pub fn on_time(
        &mut self,
        reactor: &mut Reactor,
        registry: &mut Registry,
        now: Instant,
        mut done: impl FnMut(&Check, Outcome),
    ) {
        let late: Vec<Token> =
            self.running.iter().filter(|(_, a)| a.deadline <= now).map(|(t, _)| *t).collect();
        for token in late {
            if let Some(check) = self.end(reactor, token) {
                done(&check, told(registry, &check, false));
            }
        }
    }
}

fn told(registry: &mut Registry, check: &Check, good: bool) -> Outcome {
    match (registry.on_checked(check, good), good) {
        (false, _) => Outcome::Gone,
        (true, true) => Outcome::Good,
        (true, false) => Outcome::Failed,
    }
}

impl Attempt {
    /// Takes the next step; whether the peer is good, once that is known.
    fn go_on(&mut self) -> io::Result<Option<bool>> {
        if !self.connected {
            sys::take_error(&self.socket)?;
            self.connected = true;
            if self.check.crypto {
                return Ok(Some(true));
            }
            // No extensions, and no name: the tracker is no peer.
            let ours = [&PROTOCOL[..], &[0; 8], &self.check.hash.0].concat();
            // A socket that nothing was sent on yet takes these few bytes.
            let whole = sys::send(&self.socket, &ours, false)? == ours.len();
            return Ok((!whole).then_some(false));
        }
        let mut buffer = [0; HANDSHAKE_LENGTH];
        match sys::recv(&self.socket, &mut buffer[..HANDSHAKE_LENGTH - self.heard.len()]) {
            Ok(0) => Ok(Some(false)),
            Ok(n) => {
                self.heard.extend_from_slice(&buffer[..n]);
                Ok((self.heard.len() == HANDSHAKE_LENGTH).then(|| self.is_right()))
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn is_right(&self) -> bool {
        let named = PeerId::from_bytes(&self.heard[48..]);
        // Its eight bytes of extensions are its own matter.
        self.heard[..20] == *PROTOCOL
            && self.heard[28..48] == self.check.hash.0
            && named.is_some_and(|id| id == self.check.id || id.is_same_client(&self.check.id))
    }
}
