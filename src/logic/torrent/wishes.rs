//! Which files are wanted, and what follows when that changes.

use super::{Action, Notice, Torrent};
use crate::logic::priority::{self, Priority};
use crate::proto::bitfield::Bitfield;
use crate::proto::wire::Message;
use std::time::Instant;

impl Torrent {
    /// How much each file is wanted, in the torrent's order.
    pub fn priorities(&self) -> Vec<Priority> {
        let files = 0..self.geometry.file_count();
        files.map(|file| self.priorities.get(file).copied().unwrap_or_default()).collect()
    }

    /// From now on the files are wanted so much; those beyond the list normally. What is not
    /// wanted any more is cancelled; pieces that are on their way to be hashed still are taken.
    pub fn set_priorities(&mut self, files: &[Priority], now: Instant) {
        let was_done = self.ledger.is_done() || self.was_done;
        self.priorities = files.to_vec();
        self.sort_out_pieces();
        for key in self.open_keys() {
            self.drop_unwanted(key, now);
            let Some(session) = self.peers.get_mut(&key).and_then(|p| p.session_mut()) else {
                continue;
            };
            session.useful = self.ledger.lacking_of(&session.have);
            self.tell_interest(key, now);
        }
        if self.ledger.is_done() && !was_done {
            self.on_done(now);
        } else if was_done && !self.ledger.is_done() {
            self.tell_all_of_us(now);
            // Those that were of no use to us are again.
            self.candidates.hurry(now);
        }
        // Which asks everybody.
        self.look_at_web_seeds(now);
    }

    /// Tells ledger and picker of the priorities.
    pub(super) fn sort_out_pieces(&mut self) {
        let pieces = priority::of_pieces(&self.geometry, &self.priorities);
        let mut wanted = Bitfield::new(self.geometry.piece_count());
        for (piece, priority) in (0..).zip(&pieces) {
            wanted.set(piece, priority.is_wanted());
        }
        self.picker.set_priorities(&pieces);
        // The sessions tell whom what is cancelled.
        self.ledger.set_wanted(wanted);
    }

    fn drop_unwanted(&mut self, key: crate::logic::PeerKey, now: Instant) {
        let Some(session) = self.peers.get_mut(&key).and_then(|p| p.session_mut()) else { return };
        let wanted = self.ledger.wanted();
        let gone = session.drop_asked(|block| !wanted.get(block.piece().get()));
        self.not_coming(&gone, now);
        for block in gone {
            self.say(key, Message::Cancel(block), now);
        }
    }

    /// All that is wanted is there.
    pub(super) fn on_done(&mut self, now: Instant) {
        let notice = if self.ledger.is_complete() { Notice::Complete } else { Notice::Done };
        self.actions.push_back(Action::Report(notice));
        self.begin_super_seed(now);
        self.abandon_all(now);
        for key in self.open_keys() {
            self.drop_if_useless(key, now);
        }
        self.tell_all_of_us(now);
        self.rechoke_soon(now);
    }
}
