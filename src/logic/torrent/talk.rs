//! What peers say, and what follows from it.

use super::Torrent;
use crate::logic::PeerKey;
use crate::logic::candidates::Source;
use crate::logic::peer::Direction;
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::PieceIndex;
use crate::proto::wire::{Message, PeerFault};
use std::net::SocketAddr;
use std::time::Instant;

impl Torrent {
    /// A message of an open connection.
    pub fn on_message(&mut self, key: PeerKey, message: Message, now: Instant) {
        let Some(peer) = self.peers.get_mut(&key) else { return self.recycle(message) };
        peer.heard = now;
        if peer.session().is_none() {
            return self.recycle(message);
        }
        let outcome = match message {
            // The rarest piece is better for the swarm than the one it suggests.
            Message::KeepAlive | Message::Suggest(_) | Message::HaveNone => {
                self.note_chatter(key, now)
            }
            Message::Choke => self.on_choke(key, now),
            Message::Unchoke => self.on_unchoke(key, now),
            Message::Interested => self.on_interest(key, true, now),
            Message::NotInterested => self.on_interest(key, false, now),
            Message::Have(piece) => self.on_have(key, piece, now),
            Message::Bitfield(bits) => self.on_bitfield(key, bits, now),
            Message::Request(block) => self.on_request(key, block, now),
            Message::Cancel(block) => self.on_cancel(key, block, now),
            Message::HaveAll => self.on_have_all(key, now),
            Message::Reject(block) => self.on_reject(key, block, now),
            Message::AllowedFast(piece) => self.on_allowed(key, piece, now),
            Message::Port(port) => self.on_port(key, port, now),
            Message::Extended(extended) => self.on_extended(key, *extended, now),
            Message::Exchange(exchange) => self.on_exchange(key, &exchange, now),
            Message::Metadata(metadata) => self.on_metadata(key, &metadata, now),
            Message::Piece { block, data } => self.on_block(key, block, data, now),
        };
        if let Err(fault) = outcome {
            self.on_fault(key, fault, now);
        }
    }

    /// The buffer in a message nobody wants must find back to its pool.
    fn recycle(&mut self, message: Message) {
        if let Message::Piece { data, .. } = message {
            self.actions.push_back(super::Action::Recycle(data));
        }
    }

    fn on_choke(&mut self, key: PeerKey, now: Instant) -> Result<(), PeerFault> {
        self.note_chatter(key, now)?;
        let Some(session) = self.session(key) else { return Ok(()) };
        session.choked = true;
        if session.fast {
            // It rejects or answers what it was asked, one by one (BEP 6).
            return Ok(());
        }
        let asked = std::mem::take(&mut session.asked);
        // A choked peer does not answer what it was asked before (BEP 3).
        self.ledger.unask_all(key);
        self.not_coming(&asked, now);
        self.ask_all(now);
        Ok(())
    }

    fn on_unchoke(&mut self, key: PeerKey, now: Instant) -> Result<(), PeerFault> {
        self.note_chatter(key, now)?;
        let Some(session) = self.session(key) else { return Ok(()) };
        session.choked = false;
        session.snubbed = false;
        session.askable = None;
        self.ask(key, now);
        Ok(())
    }

    fn on_interest(&mut self, key: PeerKey, wants: bool, now: Instant) -> Result<(), PeerFault> {
        self.note_chatter(key, now)?;
        let Some(session) = self.session(key) else { return Ok(()) };
        let changed = session.wanting != wants;
        session.wanting = wants;
        if wants && changed && !session.choking && session.sending == 0 {
            session.unchoked_at = Some(now);
        }
        if !wants {
            self.drop_uploads(key, now);
        }
        if changed {
            self.rechoke_soon(now);
        }
        Ok(())
    }

    /// It says where its node is: at its own address, and once is enough.
    fn on_port(&mut self, key: PeerKey, port: u16, now: Instant) -> Result<(), PeerFault> {
        self.note_chatter(key, now)?;
        let Some(peer) = self.peers.get(&key) else { return Ok(()) };
        let address = SocketAddr::new(peer.address.ip(), port);
        let Some(session) = self.session(key) else { return Ok(()) };
        let is_first = !std::mem::replace(&mut session.told_node, true);
        if is_first && self.config.hash_table {
            self.actions.push_back(super::Action::Node(address));
        }
        Ok(())
    }

    fn on_have(&mut self, key: PeerKey, piece: PieceIndex, now: Instant) -> Result<(), PeerFault> {
        let lacking = self.ledger.lacks(piece.get());
        let size = u64::from(self.geometry.piece_size(piece));
        let Some(session) = self.session(key) else { return Ok(()) };
        if !session.learn(piece) {
            return self.note_chatter(key, now);
        }
        session.useful += u32::from(lacking);
        session.gains.add(now, size);
        self.picker.add(piece);
        self.replan(piece, now);
        self.on_spread(key, piece, now);
        if lacking || self.ledger.is_done() {
            self.after_learning(key, now);
        }
        Ok(())
    }

    fn on_have_all(&mut self, key: PeerKey, now: Instant) -> Result<(), PeerFault> {
        match self.session(key) {
            Some(session) if session.fast && !session.is_seed() => {
                let all = Bitfield::full(session.have.len());
                self.on_bitfield(key, all, now)
            }
            _ => self.note_chatter(key, now),
        }
    }

    /// BEP 3 has it as the first message only, but aria2 sends it again in place of many `have`s:
    /// so it adds to what is known, whenever it comes.
    fn on_bitfield(
        &mut self,
        key: PeerKey,
        mut bits: Bitfield,
        now: Instant,
    ) -> Result<(), PeerFault> {
        self.note_chatter(key, now)?;
        let Some(session) = self.session(key) else { return Ok(()) };
        session.askable = None;
        let before = session.have.clone();
        for piece in before.ones() {
            bits.set(piece, true);
        }
        if before.count() > 0 {
            self.picker.remove_all(&before);
        }
        self.picker.add_all(&bits);
        let useful = self.ledger.lacking_of(&bits);
        let length = u64::from(self.geometry.piece_length());
        let Some(session) = self.session(key) else { return Ok(()) };
        if before.count() > 0 {
            session.gains.add(now, length * u64::from(bits.count() - before.count()));
        }
        session.have = bits;
        session.useful = useful;
        self.after_learning(key, now);
        Ok(())
    }

    fn after_learning(&mut self, key: PeerKey, now: Instant) {
        if self.drop_if_useless(key, now) {
            return;
        }
        self.tell_interest(key, now);
        self.ask(key, now);
    }

    /// Who wants nothing any more and a seed, or another who wants nothing (BEP 21), have nothing
    /// to say to each other.
    pub(super) fn drop_if_useless(&mut self, key: PeerKey, now: Instant) -> bool {
        let theirs = self.session(key).is_some_and(|s| s.is_seed() || s.upload_only);
        let useless = theirs && self.ledger.is_done();
        if useless {
            if !self.ledger.is_complete() {
                // More may be wanted some day.
                self.remember(key, now);
            }
            self.close(key, now);
        }
        useless
    }

    /// Who connected to us can be dialled where it says that it listens.
    fn remember(&mut self, key: PeerKey, now: Instant) {
        let Some(peer) = self.peers.get(&key) else { return };
        let port = peer.session().and_then(|session| session.listens);
        let (Some(port), Direction::Incoming) = (port, peer.direction) else { return };
        let address = SocketAddr::new(peer.address.ip(), port);
        if self.candidates.add(address, Source::Peer, now) {
            self.candidates.lost(address, now, false);
        }
    }

    /// Says whether we are interested, if that changed.
    pub(super) fn tell_interest(&mut self, key: PeerKey, now: Instant) {
        let paused = self.config.paused;
        let Some(session) = self.session(key) else { return };
        let interested = session.useful > 0 && !paused;
        if session.interested != interested {
            session.interested = interested;
            let message = match interested {
                true => Message::Interested,
                false => Message::NotInterested,
            };
            self.say(key, message, now);
        }
    }
}
