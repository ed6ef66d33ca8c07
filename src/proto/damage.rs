//! Damaged bytes for the tests of decoders: the same for the same seed, which a failure names.
//!
//! For tests alone; uses nothing of this crate, so that those outside can include it too.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Numbers that look like chance.
pub struct Random(u64);

impl Random {
    /// Always the same from the same seed, which is not zero.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// One of the numbers from zero to below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }

    /// `whole` with so many changes, of the kinds that bencoded bytes suffer from.
    pub fn damage(&mut self, whole: &[u8], changes: usize) -> Vec<u8> {
        let mut bytes = whole.to_vec();
        for _ in 0..changes {
            let at = self.below(bytes.len());
            match self.below(4) {
                0 => bytes[at] = self.below(256) as u8,
                1 => bytes[at] = b"0123456789deli:-"[self.below(16)],
                2 if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        bytes
    }
}

/// Has `judge` look at what `make` makes of each of so many seeds, and returns how many it took. A
/// panic is told with the seed and the bytes.
#[track_caller]
pub fn survived(
    seeds: u64,
    make: impl Fn(&mut Random) -> Vec<u8>,
    judge: impl Fn(&[u8], &mut Random) -> bool,
) -> usize {
    let took = |seed: &u64| {
        let mut random = Random::new(*seed);
        let bytes = make(&mut random);
        let outcome = catch_unwind(AssertUnwindSafe(|| judge(&bytes, &mut random)));
        outcome.unwrap_or_else(|_| panic!("seed {seed}: {}", bytes.escape_ascii()))
    };
    (1..=seeds).filter(took).count()
}
