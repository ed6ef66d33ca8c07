//! Things of torrents by their hashes, above all the swarms, in one list, so that one can be drawn
//! at random and they can be gone through in parts.

use super::index::{self, Index};
use crate::proto::ids::InfoHash;

/// The things.
#[derive(Debug)]
pub struct Table<T> {
    list: Vec<(InfoHash, T)>,
    index: Index,
    /// By which names are hashed.
    pub secret: u64,
}

impl<T> Table<T> {
    /// An empty one, with a secret that no stranger knows.
    pub fn new(secret: u64) -> Table<T> {
        Table { list: Vec::new(), index: Index::default(), secret }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The place of a torrent's, until one is removed.
    pub fn find(&self, hash: &InfoHash) -> Option<usize> {
        let is = |place: u32| self.list[place as usize].0 == *hash;
        self.index.find(index::hash(self.secret, &hash.0), is).map(|place| place as usize)
    }

    /// That of a torrent.
    pub fn get(&self, hash: &InfoHash) -> Option<&T> {
        self.find(hash).map(|place| &self.list[place].1)
    }

    /// That of a torrent.
    pub fn get_mut(&mut self, hash: &InfoHash) -> Option<&mut T> {
        self.find(hash).map(|place| &mut self.list[place].1)
    }

    /// The torrent at a place, and what is its.
    pub fn at(&self, place: usize) -> &(InfoHash, T) {
        &self.list[place]
    }

    /// What is at a place.
    pub fn at_mut(&mut self, place: usize) -> &mut T {
        &mut self.list[place].1
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &(InfoHash, T)> {
        self.list.iter()
    }

    /// Adds that of a torrent that has none yet, as the last one. Returns its place.
    pub fn push(&mut self, hash: InfoHash, what: T) -> usize {
        let place = self.list.len();
        self.list.push((hash, what));
        let (list, secret) = (&self.list, self.secret);
        let hash_of = |place: u32| index::hash(secret, &list[place as usize].0.0);
        let number = u32::try_from(place).expect("there are far fewer torrents than 2^32");
        self.index.insert(index::hash(secret, &hash.0), number, hash_of);
        place
    }

    /// Takes out what is at a place; the last one takes that place.
    pub fn remove(&mut self, place: usize) -> (InfoHash, T) {
        let (list, secret) = (&self.list, self.secret);
        let hash_of = |place: u32| index::hash(secret, &list[place as usize].0.0);
        let last = u32::try_from(list.len() - 1).expect("there are far fewer torrents than 2^32");
        let number = place as u32;
        self.index.remove(hash_of(number), number, hash_of);
        if last != number {
            self.index.moved(hash_of(last), last, number);
        }
        self.list.swap_remove(place)
    }

    /// Gives unused memory back.
    pub fn shrink(&mut self) {
        if self.list.len() < self.list.capacity() / 4 {
            self.list.shrink_to(self.list.len() * 2);
        }
        let (list, secret) = (&self.list, self.secret);
        self.index.shrink(|place| index::hash(secret, &list[place as usize].0.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::rng::Rng;

    #[test]
    fn everything_is_found_through_any_changes() {
        let (mut table, mut rng) = (Table::new(3), Rng::new(1));
        let mut model = std::collections::BTreeSet::new();
        for step in 0..5000 {
            let hash = InfoHash([rng.below(100) as u8; 20]);
            match table.find(&hash) {
                Some(place) => {
                    assert!(model.remove(&hash));
                    assert_eq!(table.remove(place).0, hash);
                }
                None => {
                    model.insert(hash);
                    let place = table.push(hash, step);
                    assert_eq!(table.at(place).0, hash);
                }
            }
            if step % 100 == 0 {
                table.shrink();
                assert!(model.iter().all(|hash| table.get(hash).is_some()));
                assert_eq!(table.iter().count(), model.len());
            }
        }
    }
}
