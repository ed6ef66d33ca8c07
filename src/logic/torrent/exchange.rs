//! Peer exchange (BEP 11): telling peers of each other, so that a swarm holds together without its
//! tracker.
//!
//! A peer that knows the extension is told of the others at once, and of what changed once a
//! minute. Only addresses that can be dialled are told: those that we dialled ourselves, and those
//! of peers that named their port. What peers tell is believed less than what trackers do.

use super::{Timer, Torrent};
use crate::logic::PeerKey;
use crate::logic::candidates::Source;
use crate::logic::peer::{Direction, Peer};
use crate::proto::address::is_local;
use crate::proto::sorted;
use crate::proto::wire::{Exchange, Message, Other, PeerFault};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The time between two messages to a peer (BEP 11).
const PERIOD: Duration = Duration::from_secs(60);

/// Peers come and go at no even pace: so much sooner than [`PERIOD`] a message may be.
const SLACK: Duration = Duration::from_secs(15);

/// So many addresses are told at a time, and so many gone ones (BEP 11).
const MAX_TOLD: usize = 50;

/// What was exchanged with a peer.
#[derive(Debug, Default)]
pub struct Exchanged {
    /// The number it has for the extension; `None` if it does not know it.
    number: Option<u8>,
    /// The port that it says it listens on.
    port: Option<u16>,
    /// Those that it was told of.
    told: sorted::Set<SocketAddr>,
    /// When it last told us of any.
    heard: Option<Instant>,
}

impl Torrent {
    /// A peer says what it calls the extension, and where it listens.
    pub(super) fn on_exchanger(
        &mut self,
        key: PeerKey,
        number: Option<u8>,
        port: Option<u16>,
        now: Instant,
    ) {
        let Some(session) = self.session(key) else { return };
        let known = session.exchanged.number.is_some();
        session.exchanged.number = number;
        session.exchanged.port = port.or(session.exchanged.port);
        if self.config.peer_exchange && number.is_some() && !known {
            self.tell_of_others(key, now);
            if self.timers.get(Timer::Exchange).is_none() {
                self.timers.set(Timer::Exchange, now + PERIOD);
            }
        }
    }

    /// A minute has passed.
    pub(super) fn exchange(&mut self, now: Instant) {
        let exchangers = self.sessions().filter(|(_, s)| s.exchanged.number.is_some());
        let exchangers: Vec<PeerKey> = exchangers.map(|(key, _)| key).collect();
        for key in &exchangers {
            self.tell_of_others(*key, now);
        }
        if !exchangers.is_empty() {
            self.timers.set(Timer::Exchange, now + PERIOD);
        }
    }

    fn tell_of_others(&mut self, key: PeerKey, now: Instant) {
        let Some(is_near) = self.peers.get(&key).map(|peer| is_local(peer.address.ip())) else {
            return;
        };
        let others = self.peers.iter().filter(|(other, _)| **other != key);
        // What is in our network is nobody's business outside, and of no use there.
        let others = others.filter_map(|(_, peer)| listening(peer));
        let others: Vec<_> =
            others.filter(|other| is_near || !is_local(other.address.ip())).collect();
        let Some(session) = self.session(key) else { return };
        let exchanged = &mut session.exchanged;
        let Some(number) = exchanged.number else { return };
        let is_there = |told: &&SocketAddr| others.iter().any(|other| other.address == **told);
        let gone = exchanged.told.iter().filter(|told| !is_there(told)).take(MAX_TOLD);
        let dropped: Vec<SocketAddr> = gone.copied().collect();
        dropped.iter().for_each(|at| _ = exchanged.told.remove(at));
        let new = others.iter().filter(|other| !exchanged.told.contains(&other.address));
        let added: Vec<Other> = new.take(MAX_TOLD).copied().collect();
        exchanged.told.extend(added.iter().map(|other| other.address));
        if added.is_empty() && dropped.is_empty() {
            return;
        }
        self.say(key, Message::Exchange(Box::new(Exchange { number, added, dropped })), now);
    }

    /// A peer tells of others.
    pub(super) fn on_exchange(
        &mut self,
        key: PeerKey,
        exchange: &Exchange,
        now: Instant,
    ) -> Result<(), PeerFault> {
        self.note_chatter(key, now)?;
        let enabled = self.config.peer_exchange;
        let is_done = self.ledger.is_done();
        let is_near = self.peers.get(&key).is_some_and(|peer| is_local(peer.address.ip()));
        let Some(session) = self.session(key) else { return Ok(()) };
        let last = session.exchanged.heard;
        let too_soon = last.is_some_and(|last| now < last + PERIOD - SLACK);
        if !enabled || too_soon {
            return Ok(());
        }
        session.exchanged.heard = Some(now);
        // Seeds have no use for each other; and a stranger has none of our network, but that we
        // connect to things in it.
        let of_use = exchange.added.iter().filter(|other| !(other.seed && is_done));
        let of_use = of_use.filter(|other| is_near || !is_local(other.address.ip()));
        for other in of_use.take(2 * MAX_TOLD) {
            self.candidates.add(other.address, Source::Peer, now);
            if other.encrypts {
                self.candidates.told_to_encrypt(other.address);
            }
        }
        self.dial(now);
        Ok(())
    }
}

/// What others are told of a peer, if it can be dialled.
fn listening(peer: &Peer) -> Option<Other> {
    let session = peer.session()?;
    let port = match peer.direction {
        Direction::Outgoing => peer.address.port(),
        Direction::Incoming => session.exchanged.port?,
    };
    let address = SocketAddr::new(peer.address.ip().to_canonical(), port);
    let seed = session.is_seed() || session.upload_only;
    Some(Other { address, seed, encrypts: peer.encrypted || session.encrypts })
}
