//! What is said first on an open connection: what we have, and what we are.

use super::{Breakup, Encryption, Torrent};
use crate::logic::PeerKey;
use crate::logic::peer::{MAX_ASKED, MAX_WAITING};
use crate::proto::wire::{EXCHANGE, Extended, METADATA, Message, PeerFault, Speaks};
use std::time::Instant;

/// What we call ourselves among peers.
pub(in crate::logic) const CLIENT: &str = concat!("BitTornado ", env!("CARGO_PKG_VERSION"));

/// From the first so many pieces those are drawn that a seed leaves out of its bitfield, as in
/// BitTornado.
const BREAKUP_RANGE: u32 = 32;

impl Torrent {
    /// Says the first words to a peer that speaks so much.
    pub(super) fn introduce(&mut self, key: PeerKey, speaks: Speaks, now: Instant) {
        self.tell_pieces(key, speaks.fast, now);
        if speaks.extended {
            self.tell_of_us(key, now);
        }
        self.tell_of_node(key, speaks, now);
        if speaks.fast && self.super_seed.is_none() {
            self.grant(key, now);
        }
        self.on_guest(now);
    }

    /// Says where our node of the distributed hash table is, to those who have one too.
    pub(super) fn tell_of_node(&mut self, key: PeerKey, speaks: Speaks, now: Instant) {
        if speaks.dht && self.config.hash_table && self.port > 0 {
            self.say(key, Message::Port(self.port), now);
        }
    }

    fn tell_pieces(&mut self, key: PeerKey, fast: bool, now: Instant) {
        let have = self.ledger.have();
        let breakup = match self.config.breakup_seed_bitfield {
            Breakup::Never => false,
            Breakup::Plain => !fast,
            Breakup::Always => true,
        };
        let nothing = have.count() == 0 || self.super_seed.is_some();
        match () {
            () if nothing && fast => self.say(key, Message::HaveNone, now),
            () if nothing => {}
            () if have.is_full() && breakup => self.tell_broken_up(key, now),
            () if have.is_full() && fast => self.say(key, Message::HaveAll, now),
            () => {
                let bits = have.clone();
                self.say(key, Message::Bitfield(bits), now);
            }
        }
    }

    /// A bitfield that is not quite full, and what it lacks right behind: as BitTornado does, for
    /// networks that disturb those who seed.
    fn tell_broken_up(&mut self, key: PeerKey, now: Instant) {
        let mut bits = self.ledger.have().clone();
        let mut numbers: Vec<u32> = (0..bits.len().min(BREAKUP_RANGE)).collect();
        self.rng.shuffle(&mut numbers);
        numbers.truncate(2 + self.rng.below(3) as usize);
        for number in &numbers {
            bits.set(*number, false);
        }
        self.say(key, Message::Bitfield(bits), now);
        let pieces: Vec<_> = numbers.iter().filter_map(|n| self.geometry.piece(*n)).collect();
        for piece in pieces {
            self.say(key, Message::Have(piece), now);
        }
    }

    pub(super) fn tell_of_us(&mut self, key: PeerKey, now: Instant) {
        let Some(peer) = self.peers.get(&key) else { return };
        let extended = Extended {
            client: Some(CLIENT.into()),
            exchange: self.config.peer_exchange.then_some(EXCHANGE),
            metadata: self.metadata.is_some().then_some(METADATA),
            metadata_size: self.metadata_size(),
            port: Some(self.port).filter(|port| *port > 0),
            request_limit: Some(MAX_WAITING as u32),
            encrypts: self.config.encryption != Encryption::Never,
            // Who seems to have nothing can be of no use by uploading alone.
            upload_only: self.ledger.is_done() && self.super_seed.is_none(),
            your_ip: Some(peer.address.ip()),
        };
        self.say(key, Message::Extended(Box::new(extended)), now);
    }

    /// Says again what we are, when that has changed.
    pub(super) fn tell_all_of_us(&mut self, now: Instant) {
        for key in self.open_keys() {
            if self.peers.get(&key).is_some_and(|p| p.speaks.extended) {
                self.tell_of_us(key, now);
            }
        }
    }

    /// A peer tells of itself.
    pub(super) fn on_extended(
        &mut self,
        key: PeerKey,
        extended: Extended,
        now: Instant,
    ) -> Result<(), PeerFault> {
        self.note_chatter(key, now)?;
        let Some(session) = self.session(key) else { return Ok(()) };
        if let Some(limit) = extended.request_limit {
            session.request_limit = (limit as usize).clamp(1, MAX_ASKED);
        }
        session.upload_only = extended.upload_only;
        session.encrypts = extended.encrypts;
        session.listens = extended.port;
        if let Some(ip) = extended.your_ip {
            self.learn_own_ip(ip);
        }
        self.on_metadata_number(key, extended.metadata);
        self.on_exchanger(key, extended.exchange, extended.port, now);
        if !self.drop_if_useless(key, now) {
            self.rechoke_soon(now);
        }
        Ok(())
    }
}
