//! What is fetched from a web seed that gives no parts of files, but only each from its beginning.
//!
//! A run then goes on where the last one ended, over what is there already; the answer stays open
//! in between. What lies before a run has to come too, and is thrown away: that is done when no
//! more is lost than is won, or when no peer has what is behind. Runs are not cut here, for the
//! next one would have to begin anew.

use super::Torrent;
use crate::logic::webseed::WebSeed;
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::BlockRef;
use std::time::{Duration, Instant};

/// So many bytes may always be thrown away.
const LITTLE: u64 = 4 << 20;

/// How long nothing is asked of one that has nothing worth its price.
const PAUSE: Duration = Duration::from_secs(30);

impl Torrent {
    /// The first block of the next run of seed `n`. `None`: there is none now.
    pub(super) fn next_in_sequence(
        &mut self,
        n: usize,
        offers: &Bitfield,
        now: Instant,
    ) -> Option<BlockRef> {
        let seed = &self.web.seeds[n];
        let ahead = seed.at.and_then(|at| {
            let part = self.geometry.file_ranges_between(at, at + 1).next()?;
            self.first_in_file(seed, part.file, at, offers)
        });
        let begins = || {
            let files = 0..self.geometry.file_count();
            let first =
                |file| self.first_in_file(seed, file, self.geometry.file_start(file), offers);
            let best = |(block, _): &(BlockRef, u64)| self.picker.priority(block.piece());
            files.filter_map(first).min_by_key(best)
        };
        let found = ahead.or_else(begins);
        let seed = &mut self.web.seeds[n];
        match found {
            Some((block, thrown_away)) => {
                seed.waste(thrown_away);
                // It comes over the line all the same.
                self.limits.download.take(now, thrown_away);
                Some(block)
            }
            None => {
                seed.pause_until(now + PAUSE);
                None
            }
        }
    }

    /// The first block of a file that begins at `from` or behind it and can be asked of a seed, and
    /// how much lies before it from `from` on, if it is worth that.
    fn first_in_file(
        &self,
        seed: &WebSeed,
        file: usize,
        from: u64,
        offers: &Bitfield,
    ) -> Option<(BlockRef, u64)> {
        let end = self.geometry.file_start(file) + self.geometry.file_length(file);
        let start_of =
            |block: BlockRef| self.geometry.piece_start(block.piece()) + u64::from(block.begin());
        let pieces = self.geometry.pieces_of_file(file);
        let behind = pieces.end;
        let may = |index: u32| {
            let piece = self.geometry.piece(index)?;
            (offers.get(index) && self.ledger.may_ask(piece, seed.key)).then_some(piece)
        };
        let skipped_pieces = (from / u64::from(self.geometry.piece_length())) as u32;
        let first =
            (pieces.start.max(skipped_pieces)..behind).filter_map(may).find_map(|piece| {
                self.ledger
                    .free_blocks_of(piece)
                    .find(|block| (from..end).contains(&start_of(*block)))
            })?;
        let thrown_away = start_of(first) - from;
        let is_worth = || {
            let lacking =
                (first.piece().get()..behind).filter(|n| offers.get(*n) && self.ledger.lacks(*n));
            let won = lacking.count() as u64 * u64::from(self.geometry.piece_length());
            won >= thrown_away || self.picker.availability(first.piece()) == 0
        };
        (thrown_away <= LITTLE || is_worth()).then_some((first, thrown_away))
    }
}
