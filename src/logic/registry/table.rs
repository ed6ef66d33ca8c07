//! All swarms by their torrents' hashes, in one list, so that one can be drawn at random and they
//! can be gone through in parts.

use super::index::{self, Index};
use super::swarm::Swarm;
use crate::proto::ids::InfoHash;

/// The swarms.
#[derive(Debug, Default)]
pub struct Table {
    list: Vec<(InfoHash, Swarm)>,
    index: Index,
    /// By which names are hashed.
    pub secret: u64,
}

impl Table {
    /// An empty one, with a secret that no stranger knows.
    pub fn new(secret: u64) -> Table {
        Table { secret, ..Table::default() }
    }

    /// How many swarms there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The place of a swarm, until one is removed.
    pub fn find(&self, hash: &InfoHash) -> Option<usize> {
        let is = |place: u32| self.list[place as usize].0 == *hash;
        self.index.find(index::hash(self.secret, &hash.0), is).map(|place| place as usize)
    }

    /// The swarm of a torrent.
    pub fn get(&self, hash: &InfoHash) -> Option<&Swarm> {
        self.find(hash).map(|place| &self.list[place].1)
    }

    /// The swarm of a torrent.
    pub fn get_mut(&mut self, hash: &InfoHash) -> Option<&mut Swarm> {
        self.find(hash).map(|place| &mut self.list[place].1)
    }

    /// The torrent at a place, and its swarm.
    pub fn at(&self, place: usize) -> &(InfoHash, Swarm) {
        &self.list[place]
    }

    /// The swarm at a place.
    pub fn at_mut(&mut self, place: usize) -> &mut Swarm {
        &mut self.list[place].1
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &(InfoHash, Swarm)> {
        self.list.iter()
    }

    /// Adds the swarm of a torrent that has none yet, as the last one. Returns its place.
    pub fn push(&mut self, hash: InfoHash, swarm: Swarm) -> usize {
        let place = self.list.len();
        self.list.push((hash, swarm));
        let (list, secret) = (&self.list, self.secret);
        let hash_of = |place: u32| index::hash(secret, &list[place as usize].0.0);
        let number = u32::try_from(place).expect("there are far fewer torrents than 2^32");
        self.index.insert(index::hash(secret, &hash.0), number, hash_of);
        place
    }

    /// Takes out the swarm at a place; the last one takes that place.
    pub fn remove(&mut self, place: usize) -> (InfoHash, Swarm) {
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
    fn every_swarm_is_found_through_any_changes() {
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
                    let place = table.push(hash, Swarm::default());
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
