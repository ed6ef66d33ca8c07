//! The parts of metadata that is said to be so long, and who gave them.
//!
//! Only the whole can be checked. If it is wrong and one peer gave all of it, that one lied; if
//! several did, it is fetched again from one peer alone, and then it is clear.

use crate::logic::PeerKey;
use crate::proto::hash::sha1;
use crate::proto::ids::InfoHash;
use crate::proto::sorted;
use crate::proto::wire::{metadata_part_length, metadata_parts};

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Assembly {
    size: u32,
    got: sorted::Map<u32, (PeerKey, Vec<u8>)>,
    /// Which parts are there: looked through for each request.
    had: Vec<bool>,
    /// Bytes that it holds.
    held: usize,
    /// What several gave was wrong: now one has to give all.
    alone: bool,
    /// Who that is.
    owner: Option<PeerKey>,
}

/// What became of a part that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Others are missing.
    More,
    /// All is there, and right.
    Whole(Vec<u8>),
    /// All was there, and wrong; this peer gave it.
    Lied(PeerKey),
    /// All was there, and wrong; several gave it, and all that was asked is to be asked anew.
    Mixed,
}

impl Assembly {
    pub(super) fn new(size: u32) -> Assembly {
        let had = vec![false; metadata_parts(size) as usize];
        Assembly { size, got: sorted::Map::new(), had, held: 0, alone: false, owner: None }
    }

    /// Gives out what is there, and begins anew.
    fn empty(&mut self) -> sorted::Map<u32, (PeerKey, Vec<u8>)> {
        self.had.fill(false);
        self.held = 0;
        std::mem::take(&mut self.got)
    }

    /// Bytes that it holds.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Whether this peer may be asked for parts.
    pub(super) fn may_ask(&mut self, key: PeerKey) -> bool {
        !self.alone || *self.owner.get_or_insert(key) == key
    }

    /// The parts that are missing.
    pub(super) fn missing(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.had).filter(|(_, had)| !**had).map(|(part, _)| part)
    }

    /// A peer does not give what it was asked for: if it was to give all, somebody else is.
    pub(super) fn give_up(&mut self, key: PeerKey) {
        if self.owner == Some(key) {
            self.owner = None;
            self.empty();
        }
    }

    /// A part that was asked for came; `None` if it is not as long as it must be.
    pub(super) fn add(
        &mut self,
        (key, part): (PeerKey, u32),
        bytes: &[u8],
        info_hash: InfoHash,
    ) -> Option<Outcome> {
        if bytes.len() != metadata_part_length(self.size, part) || bytes.is_empty() {
            return None;
        }
        if !self.may_ask(key) {
            return Some(Outcome::More);
        }
        if !self.got.contains_key(&part) {
            self.got.insert(part, (key, bytes.to_vec()));
            self.held += bytes.len();
            self.had[part as usize] = true;
        }
        if self.got.len() < self.had.len() {
            return Some(Outcome::More);
        }
        let got = self.empty();
        let givers: sorted::Set<PeerKey> = got.values().map(|(from, _)| *from).collect();
        let whole: Vec<u8> = got.into_values().flat_map(|(_, bytes)| bytes).collect();
        if sha1(&whole) == info_hash.0 {
            return Some(Outcome::Whole(whole));
        }
        self.owner = None;
        if givers.len() == 1 {
            return Some(Outcome::Lied(key));
        }
        self.alone = true;
        Some(Outcome::Mixed)
    }
}
