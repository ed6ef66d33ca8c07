//! Room on the disk: claimed before peers come, or while they do.

use super::{Engine, Room};
use crate::app::client::{Report, claim};
use crate::io::reason;
use crate::io::storage::DiskError;
use std::sync::Arc;
use std::time::Instant;

impl Engine {
    pub(super) fn start_claiming(&mut self, now: Instant) {
        let (storage, stop) = (Arc::clone(&self.storage), Arc::clone(&self.stop));
        self.is_claiming = true;
        if let Err(e) = claim::start(storage, stop, self.post.clone()) {
            self.end(Some(format!("cannot start a thread: {}", reason(&e))), now);
        }
    }

    pub(super) fn on_claimed(&mut self, part: f64) {
        self.saving.on_claimed();
        if let Room::Waited(known) = &mut self.room {
            *known = part;
        }
    }

    pub(super) fn on_claim_ended(&mut self, result: Result<(), DiskError>, now: Instant) {
        self.is_claiming = false;
        self.saving.on_claimed();
        let Some(found) = self.held.take() else {
            // Pieces may come all the same; if there is no room for one, its write will say so.
            if let Err(e) = result {
                self.outlet.push(Report::Notice(e.to_string()));
            }
            return;
        };
        self.room = Room::Claimed;
        match result {
            Ok(()) => self.on_event(found, now),
            Err(e) => self.end(Some(e.to_string()), now),
        }
    }
}
