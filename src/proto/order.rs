//! Sorting that is small rather than fast, for what is sorted now and then: all of it shares one
//! sort, where the standard library's makes five kilobytes of code for each type and key.

use std::cmp::Ordering;

/// Sorts stably by `compare`, which must be an order. As fast as the standard library's sort but
/// for some steps through memory; lists beyond `u32::MAX` entries are left as they are.
pub fn by<T>(items: &mut [T], mut compare: impl FnMut(&T, &T) -> Ordering) {
    let Ok(count) = u32::try_from(items.len()) else { return };
    let mut order: Vec<u32> = (0..count).collect();
    arrange(&mut order, &mut |a, b| compare(&items[a as usize], &items[b as usize]));
    for first in 0..order.len() {
        // What belongs here lies there; follow the circle until it is closed.
        let mut here = first;
        loop {
            let there = order[here] as usize;
            order[here] = here as u32;
            if there == first {
                break;
            }
            items.swap(here, there);
            here = there;
        }
    }
}

/// Sorts stably by a key.
pub fn by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    by(items, |a, b| key(a).cmp(&key(b)));
}

/// The one sort.
#[inline(never)]
fn arrange(order: &mut [u32], compare: &mut dyn FnMut(u32, u32) -> Ordering) {
    order.sort_by(|a, b| compare(*a, *b));
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
        }
    }
}
