//! What a user changes while the torrent runs: whether it rests, and how fast it may be.

use super::Torrent;
use std::time::Instant;

impl Torrent {
    /// Whether it rests: nobody is served, nothing is asked of anybody, nobody is dialled. Those
    /// who are connected stay, and who comes is taken; trackers are told as ever. As BitTornado's
    /// pause.
    pub fn is_paused(&self) -> bool {
        self.config.paused
    }

    /// Has it rest, or go on.
    pub fn set_paused(&mut self, paused: bool, now: Instant) {
        if std::mem::replace(&mut self.config.paused, paused) == paused {
            return;
        }
        if paused {
            self.take_back_requests(now);
        }
        for key in self.open_keys() {
            if paused {
                self.set_choking(key, true, now);
            }
            self.tell_interest(key, now);
        }
        if !paused {
            self.rechoke_soon(now);
            self.ask_all(now);
            self.look_at_web_seeds(now);
            self.dial(now);
        }
    }

    /// From now on payload leaves, and is asked for, at so many bytes a second; `None` for no
    /// limit. An upload limit that finds itself does so no more.
    pub fn set_limits(&mut self, upload: Option<u64>, download: Option<u64>, now: Instant) {
        (self.config.upload_limit, self.config.download_limit) = (upload, download);
        self.fix_limits(now);
        for key in self.open_keys() {
            self.enter_round(key);
        }
        self.pump_uploads(now);
        self.ask_all(now);
    }
}
