//! Maps and sets kept in order in one piece of memory. The standard library's trees make six
//! kilobytes of code for each pair of types; ours are many, and most hold less than a hundred
//! entries, which a search by halves in a row finds sooner than a tree does.
//!
//! Entries move when one is put in or taken out before them, so that costs time in proportion to
//! their number: a microsecond for some thousand. What a stranger could make large without a
//! named limit belongs elsewhere.

use crate::proto::order;
use std::borrow::Borrow;
use std::ops::{Bound, Index, Range, RangeBounds};

/// Values by key, in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map<K, V> {
    entries: Vec<(K, V)>,
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Map::new()
    }
}

impl<K, V> Map<K, V> {
    /// Without entries, and without memory.
    pub const fn new() -> Map<K, V> {
        Map { entries: Vec::new() }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Each key with its value.
    pub fn iter(&self) -> Iter<'_, K, V> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// Each key with its value, which may be changed.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = (&K, &mut V)> {
        self.entries.iter_mut().map(|(key, value)| (&*key, value))
    }

    /// The keys.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> + ExactSizeIterator {
        self.entries.iter().map(|(key, _)| key)
    }

    /// The values.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> + ExactSizeIterator + Clone {
        self.entries.iter().map(|(_, value)| value)
    }

    /// The values, which may be changed.
    pub fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut V> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    /// The keys alone, of a map that is not needed any more.
    pub fn into_keys(self) -> impl DoubleEndedIterator<Item = K> {
        self.entries.into_iter().map(|(key, _)| key)
    }

    /// The values alone, of a map that is not needed any more.
    pub fn into_values(self) -> impl DoubleEndedIterator<Item = V> {
        self.entries.into_iter().map(|(_, value)| value)
    }

    /// Keeps those entries of which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.entries.retain_mut(|(key, value)| keep(key, value));
    }

    /// The entry with the lowest key.
    pub fn first_key_value(&self) -> Option<(&K, &V)> {
        self.iter().next()
    }

    /// Takes out the entry with the lowest key.
    pub fn pop_first(&mut self) -> Option<(K, V)> {
        (!self.is_empty()).then(|| self.entries.remove(0))
    }

    /// Takes out the entry with the highest key.
    pub fn pop_last(&mut self) -> Option<(K, V)> {
        self.entries.pop()
    }
}

impl<K: Ord, V> Map<K, V> {
    /// Where `key` is, or where it would have to be.
    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.entries.binary_search_by(|(have, _)| have.borrow().cmp(key))
    }

    /// The value of `key`.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.place(key).ok().map(|at| &self.entries[at].1)
    }

    /// The value of `key`, which may be changed.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.place(key).ok().map(|at| &mut self.entries[at].1)
    }

    /// Whether `key` has a value.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.place(key).is_ok()
    }

    /// Gives `key` a value; returns the one it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(at) => Some(std::mem::replace(&mut self.entries[at].1, value)),
            Err(at) => {
                self.entries.insert(at, (key, value));
                None
            }
        }
    }

    /// Takes out `key` and returns its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.place(key).ok().map(|at| self.entries.remove(at).1)
    }

    /// The place of `key`, to be filled if it is empty.
    pub fn entry(&mut self, key: K) -> Entry<'_, K, V> {
        let place = self.place(&key);
        Entry { map: self, key, place }
    }

    /// The entries whose keys lie in `keys`; none where its end comes before its start.
    pub fn range(&self, keys: impl RangeBounds<K>) -> Iter<'_, K, V> {
        let within = self.within(&keys);
        self.entries[within].iter().map(|(key, value)| (key, value))
    }

    fn within(&self, keys: &impl RangeBounds<K>) -> Range<usize> {
        let first = match keys.start_bound() {
            Bound::Included(key) => self.place(key).unwrap_or_else(|at| at),
            Bound::Excluded(key) => self.place(key).map_or_else(|at| at, |at| at + 1),
            Bound::Unbounded => 0,
        };
        let end = match keys.end_bound() {
            Bound::Included(key) => self.place(key).map_or_else(|at| at, |at| at + 1),
            Bound::Excluded(key) => self.place(key).unwrap_or_else(|at| at),
            Bound::Unbounded => self.entries.len(),
        };
        first.min(end)..end
    }
}

/// The entries of a [`Map`], in order.
pub type Iter<'a, K, V> =
    std::iter::Map<std::slice::Iter<'a, (K, V)>, fn(&'a (K, V)) -> (&'a K, &'a V)>;

/// A place of a [`Map`] that may be empty.
pub struct Entry<'a, K, V> {
    map: &'a mut Map<K, V>,
    key: K,
    place: Result<usize, usize>,
}

impl<'a, K, V> Entry<'a, K, V> {
    /// Its value, `fresh` if it had none.
    pub fn or_insert(self, fresh: V) -> &'a mut V {
        self.or_insert_with(|| fresh)
    }

    /// Its value, that of `fresh` if it had none.
    pub fn or_insert_with(self, fresh: impl FnOnce() -> V) -> &'a mut V {
        let at = match self.place {
            Ok(at) => at,
            Err(at) => {
                self.map.entries.insert(at, (self.key, fresh()));
                at
            }
        };
        &mut self.map.entries[at].1
    }

    /// Its value, the default one if it had none.
    pub fn or_default(self) -> &'a mut V
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Map<K, V> {
    /// Of those with one key the last counts.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(all: I) -> Self {
        let mut entries: Vec<(K, V)> = all.into_iter().collect();
        // Latest first, and of those alike the first is kept.
        entries.reverse();
        order::by(&mut entries, |a, b| a.0.cmp(&b.0));
        entries.dedup_by(|later, kept| later.0 == kept.0);
        Map { entries }
    }
}

impl<K, V> IntoIterator for Map<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<'a, K, V> IntoIterator for &'a Map<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K: Ord + Borrow<Q>, Q: Ord + ?Sized, V> Index<&Q> for Map<K, V> {
    type Output = V;

    fn index(&self, key: &Q) -> &V {
        self.get(key).expect("the key has a value")
    }
}

/// Things without values, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set<T> {
    items: Map<T, ()>,
}

impl<T> Default for Set<T> {
    fn default() -> Self {
        Set::new()
    }
}

impl<T> Set<T> {
    /// Without items, and without memory.
    pub const fn new() -> Set<T> {
        Set { items: Map::new() }
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.items.clear();
    }

    /// Each item.
    pub fn iter(&self) -> Items<'_, T> {
        self.items.entries.iter().map(|(item, ())| item)
    }

    /// The lowest.
    pub fn first(&self) -> Option<&T> {
        self.iter().next()
    }

    /// The highest.
    pub fn last(&self) -> Option<&T> {
        self.iter().next_back()
    }

    /// Takes out the lowest.
    pub fn pop_first(&mut self) -> Option<T> {
        self.items.pop_first().map(|(item, ())| item)
    }

    /// Keeps those items of which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.items.retain(|item, ()| keep(item));
    }
}

/// The items of a [`Set`], in order.
pub type Items<'a, T> = std::iter::Map<std::slice::Iter<'a, (T, ())>, fn(&'a (T, ())) -> &'a T>;

impl<T: Ord> Set<T> {
    /// Whether `item` is here.
    pub fn contains(&self, item: &T) -> bool {
        self.items.contains_key(item)
    }

    /// Puts `item` in; returns whether it is new.
    pub fn insert(&mut self, item: T) -> bool {
        self.items.insert(item, ()).is_none()
    }

    /// Takes `item` out; returns whether it was here.
    pub fn remove(&mut self, item: &T) -> bool {
        self.items.remove(item).is_some()
    }

    /// The items that lie in `range`.
    pub fn range(&self, range: impl RangeBounds<T>) -> impl DoubleEndedIterator<Item = &T> {
        self.items.range(range).map(|(item, ())| item)
    }
}

impl<T: Ord> FromIterator<T> for Set<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        Set { items: all.into_iter().map(|item| (item, ())).collect() }
    }
}

impl<T: Ord, const N: usize> From<[T; N]> for Set<T> {
    fn from(all: [T; N]) -> Self {
        all.into_iter().collect()
    }
}

impl<T: Ord> Extend<T> for Set<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, more: I) {
        more.into_iter().for_each(|item| {
            self.insert(item);
        });
    }
}

impl<T> IntoIterator for Set<T> {
    type Item = T;
    type IntoIter = std::iter::Map<std::vec::IntoIter<(T, ())>, fn((T, ())) -> T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter().map(|(item, ())| item)
    }
}

impl<'a, T> IntoIterator for &'a Set<T> {
    type Item = &'a T;
    type IntoIter = Items<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn it_answers_as_the_standard_librarys_tree_does() {
        let (mut ours, mut theirs) = (Map::new(), BTreeMap::new());
        let mut draw = 1_u32;
        for step in 0..20_000 {
            draw = draw.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (key, other) = (draw >> 24, draw >> 16 & 0xff);
            match draw >> 8 & 7 {
                0 | 1 => assert_eq!(ours.insert(key, step), theirs.insert(key, step)),
                2 | 3 => assert_eq!(ours.remove(&key), theirs.remove(&key)),
                4 => {
                    *ours.entry(key).or_insert(0) += 1;
                    *theirs.entry(key).or_insert(0) += 1;
                }
                5 if step % 9 == 0 => assert_eq!(ours.pop_first(), theirs.pop_first()),
                5 if step % 9 == 1 => assert_eq!(ours.pop_last(), theirs.pop_last()),
                _ => {
                    assert_eq!(ours.get(&key), theirs.get(&key));
                    let (low, high) = (key.min(other), key.max(other));
                    assert!(ours.range(low..high).eq(theirs.range(low..high)));
                    assert!(ours.range(low..=high).rev().eq(theirs.range(low..=high).rev()));
                    let after = (Bound::Excluded(low), Bound::Unbounded);
                    assert!(ours.range(after).eq(theirs.range(after)));
                }
            }
            assert!(ours.iter().eq(theirs.iter()) && ours.len() == theirs.len());
        }
        assert_eq!(ours.range((Bound::Included(9), Bound::Excluded(3))).count(), 0);
    }

    #[test]
    fn of_one_key_the_last_value_counts() {
        let pairs = [(3, 'a'), (1, 'b'), (3, 'c'), (2, 'd'), (1, 'e')];
        let ours: Map<i32, char> = pairs.into_iter().collect();
        assert!(ours.into_iter().eq(BTreeMap::from(pairs)));
        let mut set = Set::from([5, 1, 5, 3]);
        set.extend([2, 3]);
        assert!(set.into_iter().eq(BTreeSet::from([1, 2, 3, 5])));
    }
}
