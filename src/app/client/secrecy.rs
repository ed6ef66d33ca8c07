//! Encrypted connections: whom to exchange keys with, and from what keys are made.

use crate::io::conn::{Conn, Door};
use crate::logic::rng::Rng;
use crate::proto::ids::{InfoHash, PeerId};
use crate::proto::mse::{Methods, Names};
use crate::proto::wire::{self, Speaks};
use std::time::{Duration, Instant};

/// With so many strangers a second keys are exchanged. It takes two hundred microseconds each time,
/// so that a flood of them costs no more than a hundredth of a core; who comes beyond is sent away.
const MAX_EXCHANGES: u32 = 50;

/// See [`MAX_EXCHANGES`].
const PERIOD: Duration = Duration::from_secs(1);

/// What encrypted connections need.
pub(super) struct Secrecy {
    names: Names,
    rng: Rng,
    /// Exchanges that are left, of those that may be until then.
    exchanges: u32,
    until: Instant,
}

impl Secrecy {
    /// For no torrent yet. Keys follow from the seed: what they hide is nothing that is worth more.
    pub(super) fn new(seed: u64, now: Instant) -> Secrecy {
        // Another sequence than the torrent's, whose choices others see.
        let rng = Rng::new(Rng::new(!seed).next_u64());
        Secrecy { names: Names::default(), rng, exchanges: MAX_EXCHANGES, until: now + PERIOD }
    }

    /// Strangers may mean this torrent.
    pub(super) fn admit(&mut self, info_hash: InfoHash) {
        self.names.add(info_hash);
    }

    /// They may not any more.
    pub(super) fn dismiss(&mut self, info_hash: InfoHash) {
        self.names.remove(info_hash);
    }

    /// Opens the door for a stranger.
    pub(super) fn meet<T>(&mut self, now: Instant, hear: impl FnOnce(&mut Door) -> T) -> T {
        if self.until <= now {
            (self.exchanges, self.until) = (MAX_EXCHANGES, now + PERIOD);
        }
        let Secrecy { names, rng, exchanges, .. } = self;
        hear(&mut Door { names, random: &mut || rng.next_u64(), exchanges })
    }

    /// Says our handshake, on a stream that begins encrypted where methods are given.
    pub(super) fn greet(
        &mut self,
        conn: &mut Conn,
        methods: Option<Methods>,
        (info_hash, peer_id, speaks): (InfoHash, PeerId, Speaks),
    ) {
        let (handshake, rng) = (wire::handshake_of(info_hash, peer_id, speaks), &mut self.rng);
        match methods {
            None => conn.push_bytes(&handshake),
            Some(methods) => conn.encrypt(info_hash, methods, &handshake, &mut || rng.next_u64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_exchanged_with_so_many_strangers_a_second_and_no_more() {
        let start = Instant::now();
        let mut secrecy = Secrecy::new(5, start);
        let mut exchange = |milliseconds| {
            secrecy.meet(start + Duration::from_millis(milliseconds), |door| {
                let may = *door.exchanges > 0;
                *door.exchanges -= u32::from(may);
                may
            })
        };
        assert_eq!((0..1000).filter(|n| exchange(*n)).count(), MAX_EXCHANGES as usize);
        assert!(exchange(1000));
    }
}
