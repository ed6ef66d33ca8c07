//! A small seeded generator.
//!
//! For choices that should differ from client to client: which piece, whose turn, how much
//! jitter. The seed comes from outside, so a test or a simulation plays the same way each time.
//! Never for secrets: the whole sequence follows from any one output.

/// A generator of 64-bit numbers (SplitMix64: one addition and a mix, period 2^64).
#[derive(Debug, Clone)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The sequence that belongs to `seed`; every seed is a good one.
    pub fn new(seed: u64) -> Rng {
        Rng { state: seed }
    }

    /// The next number, uniform over all of `u64`.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `n` - 1; 0 for an `n` of 0. The bias is below 2^-32.
    pub fn below(&mut self, n: u32) -> u32 {
        // The high half of a 32 x 32 bit product is the draw scaled to `n`.
        (((self.next_u64() >> 32) * u64::from(n)) >> 32) as u32
    }

    /// Puts the items in random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            // More than 2^32 items would not fit into memory: the clamp is never felt.
            let other = self.below(u32::try_from(last + 1).unwrap_or(u32::MAX));
            items.swap(last, other as usize);
        }
    }

    /// The item of the lowest rank; of several such any, by equal chances.
    pub fn lowest<R: Ord, T>(&mut self, ranked: impl Iterator<Item = (R, T)>) -> Option<T> {
        let (mut best, mut ties) = (None, 0);
        for (rank, item) in ranked {
            match &best {
                Some((lowest, _)) if rank > *lowest => continue,
                Some((lowest, _)) if rank == *lowest => ties += 1,
                _ => ties = 1,
            }
            // The nth of them takes the place of those before with a chance of one in n.
            if self.below(ties) == 0 {
                best = Some((rank, item));
            }
        }
        best.map(|(_, item)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_plays_the_same_way_and_another_does_not() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            [(); 8].map(|()| rng.next_u64())
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        // The first outputs published for SplitMix64 with seed 0.
        assert_eq!(draw(0)[..2], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn numbers_below_a_bound_are_about_equally_frequent() {
        let mut rng = Rng::new(1);
        let mut seen = [0u32; 6];
        for _ in 0..6_000 {
            seen[rng.below(6) as usize] += 1;
        }
        assert!(seen.iter().all(|n| (850..1_150).contains(n)), "{seen:?}");
        assert_eq!((rng.below(1), rng.below(0)), (0, 0));
    }

    #[test]
    fn a_shuffle_keeps_the_items_and_reaches_every_order() {
        let mut rng = Rng::new(3);
        let mut orders = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let mut items = [1, 2, 3];
            rng.shuffle(&mut items);
            orders.insert(items);
        }
        assert_eq!(orders.len(), 6);
        rng.shuffle::<u8>(&mut []);
    }

    #[test]
    fn of_the_lowest_each_comes_as_often_as_the_others_and_nothing_higher_does() {
        let mut rng = Rng::new(4);
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..3_000 {
            let ranked = [(3, 'x'), (2, 'a'), (3, 'y'), (2, 'b'), (2, 'c'), (9, 'z')];
            *seen.entry(rng.lowest(ranked.into_iter()).unwrap()).or_insert(0) += 1;
        }
        assert_eq!(seen.keys().collect::<String>(), "abc");
        assert!(seen.values().all(|n| (850..1_150).contains(n)), "{seen:?}");
        assert_eq!(rng.lowest(std::iter::empty::<(u8, u8)>()), None);
    }
}
