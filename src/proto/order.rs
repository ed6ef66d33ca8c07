//! Sorting that is small rather than fast, for what is sorted now and then: all of it shares one
//! sort, where the standard library's makes five kilobytes of code for each type and key.

use std::cmp::Ordering;

/// Sorts stably by `compare`, which must be an order. As fast as the standard library's sort but
/// for some steps through memory; lists beyond `u32::MAX` entries are left as they are.
pub fn by<T>(items: &mut [T], mut compare: impl FnMut(&T, &T) -> Ordering) {
    let places = arrange(items.len(), &mut |a, b| compare(&items[a], &items[b]));
    put(items, places);
}

/// Sorts stably by a key.
pub fn by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    by(items, |a, b| key(a).cmp(&key(b)));
}

/// Sorts stably by a key that is dear to find: it is asked for once an item.
pub fn by_cached_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    let keys: Vec<K> = items.iter().map(key).collect();
    put(items, arrange(keys.len(), &mut |a, b| keys[a].cmp(&keys[b])));
}

/// The one sort: at each place the number of what belongs there.
#[inline(never)]
fn arrange(count: usize, compare: &mut dyn FnMut(usize, usize) -> Ordering) -> Vec<u32> {
    let mut places: Vec<u32> = (0..u32::try_from(count).unwrap_or(0)).collect();
    places.sort_by(|a, b| compare(*a as usize, *b as usize));
    places
}

/// Puts each item where it belongs.
fn put<T>(items: &mut [T], mut places: Vec<u32>) {
    for first in 0..places.len() {
        // What belongs here lies there; follow the circle until it is closed.
        let mut here = first;
        loop {
            let there = places[here] as usize;
            places[here] = here as u32;
            if there == first {
                break;
            }
            items.swap(here, there);
            here = there;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_sorts_as_the_standard_library_does() {
        for length in 0..200_u32 {
            // Many keys are alike, and in no order.
            let mut items: Vec<(u32, u32)> =
                (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 28, n)).collect();
            let mut expected = items.clone();
            expected.sort_by_key(|(key, _)| *key);
            by_key(&mut items, |(key, _)| *key);
            assert_eq!(items, expected);
            expected.sort_by(|a, b| b.cmp(a));
            by(&mut items, |a, b| b.cmp(a));
            assert_eq!(items, expected);
            by_cached_key(&mut items, |(key, n)| (n % 7, *key));
            expected.sort_by_key(|(key, n)| (n % 7, *key));
            assert_eq!(items, expected);
        }
    }
}
