//! Super-seeding (BEP 16): a seed that hands out every piece once before any piece twice.
//!
//! To its peers it looks like one that has nothing and gets piece after piece: each is told of a
//! piece that the fewest have, and of the next one only when the last has been seen at somebody
//! else too. So who shares gets more, and the seed uploads little more than one copy until the
//! swarm has everything. [`Torrent`](super::torrent::Torrent) tells what peers have and sends what
//! is offered; nothing here is sent.

use super::PeerKey;
use super::rng::Rng;
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::{Geometry, PieceIndex};
use crate::proto::sorted;
use std::time::{Duration, Instant};

/// Pieces offered to a peer and not yet seen elsewhere: one on its way, and one that spreads.
const MAX_OPEN: usize = 2;

/// An offer of which nothing comes for so long holds nobody up any more: it may be that the peer
/// is choked, slow, or knows nobody else.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
struct Offer {
    piece: PieceIndex,
    /// Bytes of it that were sent to the peer.
    sent: u64,
    /// The peer has it now.
    taken: bool,
    since: Instant,
}

#[derive(Debug)]
struct Guest {
    /// All that was ever offered to it, and may be asked for.
    offered: Bitfield,
    /// What has not been seen elsewhere yet; no more than [`MAX_OPEN`].
    open: Vec<Offer>,
}

/// What was offered to whom.
#[derive(Debug)]
pub struct SuperSeed {
    guests: sorted::Map<PeerKey, Guest>,
    /// How often each piece was offered.
    times: Vec<u32>,
}

impl SuperSeed {
    /// Nothing is offered yet, of a torrent of so many pieces.
    pub fn new(pieces: u32) -> SuperSeed {
        SuperSeed { guests: sorted::Map::new(), times: vec![0; pieces as usize] }
    }

    /// A peer has gone. What it was offered and nobody has is to be offered again.
    pub fn left(&mut self, key: PeerKey) {
        let Some(guest) = self.guests.remove(&key) else { return };
        for offer in guest.open {
            self.forgive(offer.piece);
        }
    }

    /// Whether a peer may ask for a piece.
    pub fn is_offered(&self, key: PeerKey, piece: PieceIndex) -> bool {
        self.guests.get(&key).is_some_and(|guest| guest.offered.get(piece.get()))
    }

    /// A peer has got a piece. With `spread` there is nobody left who could get it from it.
    pub fn on_have(&mut self, key: PeerKey, piece: PieceIndex, spread: bool) {
        for (other, guest) in self.guests.iter_mut() {
            let own = *other == key;
            if own && !spread {
                guest.open.iter_mut().filter(|o| o.piece == piece).for_each(|o| o.taken = true);
            } else {
                guest.open.retain(|offer| offer.piece != piece || !own && !offer.taken);
            }
        }
    }

    /// So many bytes of a piece of `size` bytes were sent to a peer. Tells whether it has all of the
    /// piece by that, while this matters: it may never say so, since we seem to have it too.
    pub fn on_sent(&mut self, key: PeerKey, piece: PieceIndex, bytes: u32, size: u32) -> bool {
        let open = self.guests.get_mut(&key).and_then(|guest| {
            guest.open.iter_mut().find(|offer| offer.piece == piece && !offer.taken)
        });
        let Some(offer) = open else { return false };
        offer.sent += u64::from(bytes);
        offer.sent >= u64::from(size)
    }

    /// Gives up offers of which nothing has come for long.
    pub fn expire(&mut self, now: Instant) {
        let mut lost = Vec::new();
        for guest in self.guests.values_mut() {
            guest.open.retain(|offer| {
                let keeps = now.saturating_duration_since(offer.since) < PATIENCE;
                if !keeps && !offer.taken {
                    lost.push(offer.piece);
                }
                keeps
            });
        }
        lost.into_iter().for_each(|piece| self.forgive(piece));
    }

    /// When [`expire`](Self::expire) has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let offers = self.guests.values().flat_map(|guest| &guest.open);
        offers.map(|offer| offer.since + PATIENCE).min()
    }

    /// What to offer to a peer that has `have`, if it is due something: of the pieces that the
    /// fewest have one that was offered the fewest times, by chance. Goes through all pieces.
    pub fn next_offer(
        &mut self,
        key: PeerKey,
        have: &Bitfield,
        availability: impl Fn(PieceIndex) -> u32,
        geometry: &Geometry,
        now: Instant,
        rng: &mut Rng,
    ) -> Option<PieceIndex> {
        let pieces = geometry.piece_count();
        let fresh = || Guest { offered: Bitfield::new(pieces), open: Vec::new() };
        // What is on its way to somebody, or spreads from there, needs no second copy.
        let open = self.guests.values().flat_map(|guest| &guest.open);
        let held: sorted::Set<PieceIndex> = open.map(|offer| offer.piece).collect();
        let guest = self.guests.entry(key).or_insert_with(fresh);
        if guest.open.len() >= MAX_OPEN {
            return None;
        }
        let (offered, times) = (&guest.offered, &self.times);
        let lacks = |p: &PieceIndex| !have.get(p.get()) && !offered.get(p.get());
        let due = geometry.pieces().filter(|p| lacks(p) && !held.contains(p));
        let ranked = due.map(|piece| {
            // Whoever was offered a piece will have it: that counts as much as having it, nearly.
            let available = availability(piece);
            ((available.max(times[piece.at()]), available), piece)
        });
        let piece = rng.lowest(ranked)?;
        self.times[piece.at()] += 1;
        guest.offered.set(piece.get(), true);
        guest.open.push(Offer { piece, sent: 0, taken: false, since: now });
        Some(piece)
    }

    fn forgive(&mut self, piece: PieceIndex) {
        let times = &mut self.times[piece.at()];
        *times = times.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerKey = PeerKey(1);
    const B: PeerKey = PeerKey(2);

    struct Play {
        seed: SuperSeed,
        geometry: Geometry,
        start: Instant,
    }

    fn play(pieces: u32) -> Play {
        let geometry = Geometry::new(1, [u64::from(pieces)]).unwrap();
        Play { seed: SuperSeed::new(pieces), geometry, start: Instant::now() }
    }

    impl Play {
        fn offer_with(&mut self, key: PeerKey, have: &[u32], availability: &[u32]) -> Option<u32> {
            let mut bits = Bitfield::new(self.geometry.piece_count());
            have.iter().for_each(|n| _ = bits.set(*n, true));
            let available = |p: PieceIndex| availability.get(p.at()).copied().unwrap_or(0);
            let (g, mut rng) = (&self.geometry, Rng::new(3));
            self.seed.next_offer(key, &bits, available, g, self.start, &mut rng).map(|p| p.get())
        }

        fn offer(&mut self, key: PeerKey) -> Option<u32> {
            self.offer_with(key, &[], &[])
        }

        fn piece(&self, n: u32) -> PieceIndex {
            self.geometry.piece(n).unwrap()
        }
    }

    #[test]
    fn everybody_is_offered_something_else_and_no_more_than_two_at_a_time() {
        let mut p = play(8);
        let mut offered: Vec<u32> = [A, A, B, B].map(|key| p.offer(key).unwrap()).into();
        assert_eq!((p.offer(A), p.offer(B)), (None, None));
        assert!(p.seed.is_offered(A, p.piece(offered[0])));
        assert!(!p.seed.is_offered(B, p.piece(offered[0])));
        offered.sort_unstable();
        offered.dedup();
        assert_eq!(offered.len(), 4);
    }

    #[test]
    fn the_next_piece_comes_when_the_last_was_seen_elsewhere() {
        let mut p = play(8);
        let first = p.offer(A).unwrap();
        p.offer(A);
        p.seed.on_have(A, p.piece(first), false);
        assert_eq!(p.offer(A), None);
        p.seed.on_have(B, p.piece(first), false);
        assert!(p.offer(A).is_some());
        assert!(p.seed.is_offered(A, p.piece(first)), "it may still be asked for");
    }

    #[test]
    fn who_was_sent_all_of_a_piece_has_it_though_it_does_not_say_so() {
        let mut p = play(8);
        let first = p.offer(A).unwrap();
        let piece = p.piece(first);
        assert!(!p.seed.on_sent(A, piece, 10, 20) && !p.seed.on_sent(B, piece, 20, 20));
        assert!(p.seed.on_sent(A, piece, 10, 20));
        p.seed.on_have(A, piece, false);
        assert!(!p.seed.on_sent(A, piece, 10, 20), "it is known");
    }

    #[test]
    fn with_nobody_to_share_with_the_next_piece_comes_at_once() {
        let mut p = play(8);
        let first = p.offer(A).unwrap();
        p.offer(A);
        p.seed.on_have(A, p.piece(first), true);
        assert!(p.offer(A).is_some());
    }

    #[test]
    fn what_is_on_its_way_or_spreads_is_offered_to_nobody_else() {
        let mut p = play(3);
        let first = p.offer(A).unwrap();
        p.seed.on_have(A, p.piece(first), false);
        p.offer(A);
        assert!(p.offer(B).is_some());
        assert_eq!(p.offer(B), None);
        p.seed.expire(p.start + PATIENCE);
        assert!(p.offer(B).is_some(), "nobody waits for ever");
    }

    #[test]
    fn the_rarest_is_offered_and_nothing_that_the_peer_has() {
        let mut p = play(4);
        assert_eq!(p.offer_with(A, &[1], &[2, 0, 1, 2]), Some(2));
        assert_eq!(p.offer_with(B, &[0, 1, 2, 3], &[]), None);
    }

    #[test]
    fn what_a_peer_did_not_take_is_offered_to_others() {
        let mut p = play(2);
        let first = p.offer(A).unwrap();
        p.offer(A);
        p.seed.left(A);
        assert!(p.offer(B).is_some() && p.offer(B).is_some());
        let late = p.start + PATIENCE;
        assert_eq!(p.seed.next_deadline(), Some(late));
        p.seed.expire(late);
        assert_eq!((p.seed.next_deadline(), p.seed.times[first as usize]), (None, 0));
        assert_eq!(p.offer(B), None, "it has been offered all");
    }
}
