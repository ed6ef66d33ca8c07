//! All the data on disk is looked at again, because the user wishes it, while the rest goes on.
//!
//! What the look finds is a hint alone, for the disk may have changed meanwhile: a piece that is
//! had and looks bad is hashed once more by the disk's worker, in turn with our own writes, and so
//! is one that is not had and looks good.

use super::Work;
use super::errands::Errand;
use crate::app::client::Report;
use crate::proto::geometry::PieceIndex;
use std::time::Instant;

/// How far the look has come.
#[derive(Default)]
pub(super) struct Recheck {
    done: u32,
    /// Pieces that are had and look bad.
    bad: u32,
    /// Pieces that are not had and look good.
    found: u32,
}

impl Work<'_> {
    pub(super) fn on_recheck(&mut self) {
        if self.torrent().is_none() || self.own.recheck.is_some() || self.own.ending.is_some() {
            return;
        }
        self.own.recheck = Some(Recheck::default());
        self.send_on(Errand::Recheck);
        self.own.outlet.hurry();
    }

    /// How much of it is done, 0 to 1.
    pub(super) fn rechecked(&self) -> f64 {
        let done = self.own.recheck.as_ref().map_or(0, |recheck| recheck.done);
        f64::from(done) / f64::from(self.own.geometry.piece_count().max(1))
    }

    pub(super) fn on_rechecked(&mut self, piece: PieceIndex, good: bool, now: Instant) {
        let had = self.torrent().is_some_and(|torrent| torrent.have().get(piece.get()));
        let Some(recheck) = &mut self.own.recheck else { return };
        recheck.done += 1;
        match (had, good) {
            (true, false) => {
                recheck.bad += 1;
                self.own.doubts.unproven.set(piece.get(), true);
                self.prove(piece, None, now);
            }
            (false, true) => {
                let begun = self.with_torrent(|torrent| torrent.on_found_piece(piece));
                if let (Some(recheck), Some(true)) = (&mut self.own.recheck, begun) {
                    recheck.found += 1;
                }
            }
            _ => {}
        }
    }

    pub(super) fn on_recheck_ended(&mut self) {
        let Some(Recheck { bad, found, .. }) = self.own.recheck.take() else { return };
        let text = match (bad, found) {
            (0, 0) => "all data was checked again: it is as it was known".into(),
            _ => format!("all data was checked again: {bad} bad and {found} new good pieces"),
        };
        self.own.outlet.push(if bad == 0 { Report::Remark(text) } else { Report::Notice(text) });
        self.own.outlet.hurry();
    }
}
