//! The gate's side of answers that come from files: who gets a place, what waits for a disk, and
//! how much may leave.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use super::answer::Wait;
use super::connection::Stage;
use super::{Gate, Visitor};
use crate::io::reactor::{Reactor, Token};
use crate::io::storage::Part;

/// Of all connections no more than one in so many can be had for answers from files.
const FILES_SHARE: usize = 2;

impl Gate {
    /// Whether a connection can be sent a file. When all places for that are taken, it gets one of
    /// an address that has more than its own would then have.
    pub(super) fn has_place(&mut self, reactor: &mut Reactor, token: Token) -> bool {
        let places = (self.settings.connections / FILES_SHARE).max(1);
        let streaming = || self.connections.iter().filter(|(_, c)| c.is_streaming());
        if streaming().count() < places {
            return true;
        }
        let mut held: HashMap<IpAddr, usize> = HashMap::new();
        streaming().for_each(|(_, c)| *held.entry(c.from.ip()).or_default() += 1);
        let own = self.connections.get(&token).and_then(|c| held.get(&c.from.ip())).copied();
        let Some((ip, most)) = held.iter().max_by_key(|(_, n)| **n).map(|(ip, n)| (*ip, *n)) else {
            return false;
        };
        let theirs = streaming().filter(|(_, c)| c.from.ip() == ip);
        let newest = theirs.max_by_key(|(_, c)| c.since).map(|(token, _)| *token);
        most > own.unwrap_or(0) + 1 && newest.is_some_and(|token| self.close(reactor, token))
    }

    /// What a connection needs to have brought in from a disk. Each is yielded once, and the answer
    /// to it is [`Gate::warmed`]: until then the connection waits.
    pub fn next_cold(&mut self) -> Option<(Visitor, Part)> {
        self.cold.pop_front()
    }

    /// What was cold has been brought in; if it cannot be had, the connection is closed.
    pub fn warmed(&mut self, reactor: &mut Reactor, visitor: Visitor, good: bool, now: Instant) {
        let Some(connection) = self.connections.get_mut(&visitor.0) else { return };
        let Stage::Answering(outgoing, _) = &mut connection.stage else { return };
        let (Wait::Disk, Some(stream)) = (outgoing.wait, &mut outgoing.stream) else { return };
        stream.warmed();
        match good {
            true => self.resume(reactor, visitor.0, now),
            false => _ = self.close(reactor, visitor.0),
        }
    }

    /// From now on so many bytes of files may leave, and no more; `None` for no limit.
    pub fn allow(&mut self, reactor: &mut Reactor, bytes: Option<u64>, now: Instant) {
        self.pump.allowance = bytes;
        // Who finds nothing left waits again, in front of those who had their turn.
        for token in std::mem::take(&mut self.starved) {
            match self.pump.allowance {
                Some(0) => self.starved.push_back(token),
                _ => self.resume(reactor, token, now),
            }
        }
    }

    /// What is left of the bytes that may leave.
    pub fn allowance(&self) -> Option<u64> {
        self.pump.allowance
    }

    /// Whether somebody waits until more bytes of files may leave.
    pub fn is_starved(&self) -> bool {
        !self.starved.is_empty()
    }

    /// The [receipt](super::Answer::receipt) of an answer of which the last byte has been handed to
    /// the system; each is yielded once.
    pub fn next_receipt(&mut self) -> Option<usize> {
        self.receipts.pop()
    }

    /// Bytes of files that have left so far.
    pub fn streamed(&self) -> u64 {
        self.pump.sent
    }

    /// Connections that are sent files.
    pub fn streams(&self) -> usize {
        self.connections.values().filter(|c| c.is_streaming()).count()
    }

    fn resume(&mut self, reactor: &mut Reactor, token: Token, now: Instant) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let Stage::Answering(outgoing, _) = &mut connection.stage else { return };
        outgoing.wait = Wait::Socket;
        connection.deadline = now + self.settings.timeout;
        self.send(reactor, token, now);
    }
}
