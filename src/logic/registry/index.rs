//! Finds things by their 20 bytes: a table of places in a list that somebody else keeps.
//!
//! Four bytes a slot and no copy of the names, where a `HashMap` would hold each name again: a
//! tracker has a million peers. Open addressing with linear probing; at most four slots of five
//! are in use. Names come from strangers, so they are hashed with a secret.

/// A slot without a place.
const EMPTY: u32 = u32::MAX;

/// The hash of a name, keyed by a secret. Nobody ever sees one, so it needs to be no more than
/// impossible to foresee: two products, where a hash for messages takes ten times as long.
pub fn hash(secret: u64, name: &[u8; 20]) -> u32 {
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|n| name[at + n]));
    // Both factors depend on the secret, so that no name makes one of them nothing.
    let other = secret.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15;
    let first = folded(word(0) ^ secret, word(8) ^ other);
    // The last four bytes, and four that were there.
    let both = folded(first ^ word(12), other | 1);
    // The halves are equally good.
    (both >> 32) as u32
}

/// The halves of a product, one upon the other, so that each of its bits hangs on all of both.
fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The table. It never looks at the list itself: callers say what is at a place.
#[derive(Debug, Default, Clone)]
pub struct Index {
    slots: Box<[u32]>,
    used: usize,
}

impl Index {
    /// That of a list with so many places, all in use.
    pub fn of(places: u32, hash_of: impl Fn(u32) -> u32) -> Index {
        let used = places as usize;
        let mut index = Index { slots: vec![EMPTY; used + used / 4 + 8].into(), used };
        (0..places).for_each(|place| index.put(hash_of(place), place));
        index
    }

    /// Slots it has.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    fn home(&self, hash: u32) -> usize {
        // The high half of a product scales the hash to any number of slots.
        ((u64::from(hash) * self.slots.len() as u64) >> 32) as usize
    }

    fn next(&self, slot: usize) -> usize {
        if slot + 1 == self.slots.len() { 0 } else { slot + 1 }
    }

    fn slot(&self, hash: u32, is: impl Fn(u32) -> bool) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut slot = self.home(hash);
        // There is always an empty slot, so this ends.
        while self.slots[slot] != EMPTY {
            if is(self.slots[slot]) {
                return Some(slot);
            }
            slot = self.next(slot);
        }
        None
    }

    /// The place of what has this hash and is it.
    pub fn find(&self, hash: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.slot(hash, is).map(|slot| self.slots[slot])
    }

    /// Adds a place. `hash_of` gives the hash of what is at any place that was added.
    pub fn insert(&mut self, hash: u32, place: u32, hash_of: impl Fn(u32) -> u32) {
        if (self.used + 1) * 5 > self.slots.len() * 4 {
            self.resize(self.slots.len() + self.slots.len() / 4 + 8, hash_of);
        }
        self.put(hash, place);
        self.used += 1;
    }

    fn put(&mut self, hash: u32, place: u32) {
        let mut slot = self.home(hash);
        while self.slots[slot] != EMPTY {
            slot = self.next(slot);
        }
        self.slots[slot] = place;
    }

    /// Makes it as small as it may be, or as large as `slots`.
    fn resize(&mut self, slots: usize, hash_of: impl Fn(u32) -> u32) {
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; slots].into());
        old.iter().filter(|place| **place != EMPTY).for_each(|p| self.put(hash_of(*p), *p));
    }

    /// Gives back what it does not need, if that is much.
    pub fn shrink(&mut self, hash_of: impl Fn(u32) -> u32) {
        let enough = self.used * 2 + 8;
        if enough < self.slots.len() / 2 {
            self.resize(enough, hash_of);
        }
    }

    /// What was at one place is at another now.
    pub fn moved(&mut self, hash: u32, from: u32, to: u32) {
        if let Some(slot) = self.slot(hash, |place| place == from) {
            self.slots[slot] = to;
        }
    }

    /// Takes a place out.
    pub fn remove(&mut self, hash: u32, place: u32, hash_of: impl Fn(u32) -> u32) {
        let Some(mut hole) = self.slot(hash, |p| p == place) else { return };
        self.used -= 1;
        let mut slot = self.next(hole);
        // What was pushed behind the hole goes back as far as its home allows, so that no search
        // ends too early.
        while self.slots[slot] != EMPTY {
            let home = self.home(hash_of(self.slots[slot]));
            let stays = match hole < slot {
                true => hole < home && home <= slot,
                false => hole < home || home <= slot,
            };
            if !stays {
                self.slots[hole] = self.slots[slot];
                hole = slot;
            }
            slot = self.next(slot);
        }
        self.slots[hole] = EMPTY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::rng::Rng;

    fn name(n: u32) -> [u8; 20] {
        let mut name = [0; 20];
        name[..4].copy_from_slice(&n.to_be_bytes());
        name
    }

    #[test]
    fn finds_what_is_there_through_any_changes() {
        let (mut index, mut rng) = (Index::default(), Rng::new(7));
        // The list: at a place there is a number, or nothing.
        let mut list: Vec<Option<u32>> = vec![None; 300];
        for step in 0..20_000 {
            let place = rng.below(300);
            let before = list.clone();
            let hash_of = |p: u32| hash(9, &name(before[p as usize].unwrap()));
            match list[place as usize] {
                None => {
                    index.insert(hash(9, &name(step)), place, hash_of);
                    list[place as usize] = Some(step);
                }
                Some(n) if rng.below(2) == 0 => {
                    index.remove(hash(9, &name(n)), place, hash_of);
                    list[place as usize] = None;
                }
                Some(n) => {
                    if let Some(free) = list.iter().position(Option::is_none) {
                        index.moved(hash(9, &name(n)), place, free as u32);
                        list.swap(place as usize, free);
                    }
                }
            }
            if step % 64 == 0 {
                let now = list.clone();
                index.shrink(|p| hash(9, &name(now[p as usize].unwrap())));
                for (place, n) in (0..).zip(&list) {
                    let Some(n) = n else { continue };
                    let is = |p: u32| list[p as usize] == Some(*n);
                    assert_eq!(index.find(hash(9, &name(*n)), is), Some(place), "step {step}");
                }
            }
            assert_eq!(index.used, list.iter().flatten().count());
        }
        assert_eq!(index.find(hash(9, &name(99_999)), |_| false), None);
    }

    #[test]
    fn names_that_hardly_differ_go_everywhere_and_elsewhere_by_another_secret() {
        let mut homes = Vec::new();
        for (secret, at) in [(0, 0), (7, 6), (8, 10), (u64::MAX, 16)] {
            let mut counts = [0; 256];
            let hash_of = |n: u32| {
                let mut name = [b'-'; 20];
                name[at..at + 4].copy_from_slice(&n.to_be_bytes());
                hash(secret, &name) >> 24
            };
            (0..10_240).for_each(|n| counts[hash_of(n) as usize] += 1);
            // 40 expected; six standard deviations are 38.
            assert!(counts.iter().all(|n| (2..78).contains(n)), "{secret}, {at}: {counts:?}");
            homes.push((0..8).map(|n| hash(secret, &name(n)) >> 24).collect::<Vec<_>>());
        }
        homes.dedup();
        assert_eq!(homes.len(), 4);
    }

    #[test]
    fn it_is_neither_full_nor_mostly_empty() {
        let mut index = Index::default();
        for n in 0..10_000 {
            index.insert(hash(1, &name(n)), n, |p| hash(1, &name(p)));
            assert!(index.used * 5 <= index.capacity() * 4);
        }
        assert!(index.capacity() < 16_000, "{}", index.capacity());
        for n in 100..10_000 {
            index.remove(hash(1, &name(n)), n, |p| hash(1, &name(p)));
        }
        index.shrink(|p| hash(1, &name(p)));
        assert_eq!(index.capacity(), 208);
        assert_eq!(index.find(hash(1, &name(5)), |p| p == 5), Some(5));
    }
}
