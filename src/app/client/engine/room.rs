//! Room on the disk: claimed before peers come, or while they do.

use super::errands::Errand;
use super::{Room, Work};
use crate::app::client::Report;
use crate::io::storage::DiskError;
use std::time::Instant;

impl Work<'_> {
    pub(super) fn start_claiming(&mut self, errand: Errand) {
        self.own.is_claiming = true;
        self.send_on(errand);
    }

    pub(super) fn on_claimed(&mut self, part: f64) {
        self.own.saving.on_claimed();
        if let Room::Waited(known) = &mut self.own.room {
            *known = part;
        }
    }

    pub(super) fn on_claim_ended(&mut self, result: Result<(), DiskError>, now: Instant) {
        self.own.is_claiming = false;
        self.own.saving.on_claimed();
        let Some(found) = self.own.held.take() else {
            // Pieces may come all the same; if there is no room for one, its write will say so.
            if let Err(e) = result {
                self.own.outlet.push(Report::Notice(e.to_string()));
            }
            return;
        };
        self.own.room = Room::Claimed;
        match result {
            Ok(()) => self.on_check_ended(found, now),
            Err(e) => self.end(Some(e.to_string()), now),
        }
    }
}
