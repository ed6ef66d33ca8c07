//! What is saved, and taken over again.
//!
//! A tracker with a million peers is copied in parts, between announces, as it is kept; another
//! thread then puts the copy into order and into the form of the file.

use super::peer::{Kept, Peer, Shown, Wide, unpack};
use super::swarm::Swarm;
use super::{MAX_PAST, Registry};
use crate::proto::address::is_local;
use crate::proto::announce::answer::Key;
use crate::proto::ids::InfoHash;
use crate::proto::order;
use crate::proto::resume::{Saved, SavedPeer, StateWriter};
use crate::proto::sorted;

/// Peers copied in one part, which takes some hundred microseconds; a swarm is never divided.
const PART: usize = 8 * 1024;

/// Bytes that are written at once.
const WRITE: usize = 64 * 1024;

/// A copy in the making: goes from the last swarm to the first, so that none is missed when one
/// is taken out meanwhile and the last takes its place. One may then be copied twice; new ones are
/// left to the next time.
#[derive(Debug)]
pub struct Copying {
    left: usize,
    copy: Copy,
}

/// A copy of what a registry knows.
#[derive(Debug, Default)]
pub struct Copy {
    completed: Vec<(InfoHash, u32)>,
    swarms: Vec<(InfoHash, Peers)>,
}

#[derive(Debug)]
struct Peers {
    shown: Vec<Shown>,
    kept: Vec<Kept>,
    wides: Vec<(u32, Wide)>,
}

impl Registry {
    /// Begins a copy; what changes from now on is for the next one.
    pub fn begin_copy(&mut self) -> Copying {
        self.changed = false;
        let completed = self.past.iter().copied().collect();
        Copying { left: self.swarms.len(), copy: Copy { completed, swarms: Vec::new() } }
    }

    /// Copies a further part. Gives the whole once there is no more.
    pub fn copy_part(&self, mut copying: Copying) -> Result<Copy, Copying> {
        let mut room = PART;
        copying.left = copying.left.min(self.swarms.len());
        while copying.left > 0 {
            if room == 0 {
                return Err(copying);
            }
            copying.left -= 1;
            let (hash, swarm) = self.swarms.at(copying.left);
            // A torrent costs something too, also without peers.
            room = room.saturating_sub(swarm.len() + 8);
            if swarm.completed > 0 {
                copying.copy.completed.push((*hash, swarm.completed));
            }
            copying.copy.swarms.push((*hash, Peers::of(swarm)));
        }
        Ok(copying.copy)
    }

    /// A copy of everything.
    pub fn copy(&mut self) -> Copy {
        let mut copying = self.begin_copy();
        loop {
            match self.copy_part(copying) {
                Ok(copy) => return copy,
                Err(unfinished) => copying = unfinished,
            }
        }
    }

    /// Takes over a piece of a state file; peers that are not served any more are left out. Those
    /// it has go at the first expiry unless they announce. Before any announce.
    pub fn restore(&mut self, saved: Saved) {
        match saved {
            Saved::Completed(hash, n) => self.remember(hash, n, MAX_PAST),
            Saved::Swarm(hash) if self.settings.keep_dead => _ = self.restored_place(hash),
            Saved::Swarm(_) => {}
            Saved::Peer(hash, peer) => self.restore_peer(hash, peer),
        }
    }

    fn restored_place(&mut self, hash: InfoHash) -> Option<usize> {
        let full = self.swarms.len() >= self.settings.max_torrents;
        self.swarms.find(&hash).or_else(|| (!full).then(|| self.place(hash)))
    }

    fn restore_peer(&mut self, hash: InfoHash, peer: SavedPeer) {
        if !self.access.serves(peer.ip) || self.peers >= self.settings.max_peers {
            return;
        }
        let Some(place) = self.restored_place(hash) else { return };
        let peer = restored(peer, self.settings.believe_given_ip, self.checks_peers());
        let (secret, swarm) = (self.swarms.secret, self.swarms.at_mut(place));
        if swarm.find(secret, &peer.id).is_none() {
            swarm.insert(secret, &peer, false);
            self.peers += 1;
            self.seeds += usize::from(peer.left == 0);
        }
    }
}

impl Peers {
    fn of(swarm: &Swarm) -> Peers {
        let (shown, kept) = swarm.packed();
        let numbers = shown.iter().filter_map(Shown::wide);
        let wides = numbers.map(|number| (number, swarm.wide(number))).collect();
        Peers { shown: shown.to_vec(), kept: kept.to_vec(), wides }
    }

    fn unpacked(&self) -> Vec<SavedPeer> {
        let wides: sorted::Map<u32, Wide> = self.wides.iter().copied().collect();
        let peers = self.shown.iter().zip(&self.kept);
        peers.map(|(shown, kept)| saved(&unpack(shown, kept, |number| wides[&number]))).collect()
    }
}

impl Copy {
    /// Writes a state file, in pieces, each handed to `sink`.
    ///
    /// # Errors
    /// What `sink` says.
    pub fn write<E>(mut self, mut sink: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut writer = StateWriter::default();
        order::by(&mut self.completed, Ord::cmp);
        self.completed.dedup_by_key(|(hash, _)| *hash);
        self.completed.iter().for_each(|(hash, n)| writer.completed(*hash, *n));
        order::by_key(&mut self.swarms, |(hash, _)| *hash);
        self.swarms.dedup_by_key(|(hash, _)| *hash);
        for (hash, peers) in self.swarms {
            writer.swarm(hash, &mut peers.unpacked());
            if writer.len() >= WRITE {
                sink(&writer.take())?;
            }
        }
        sink(&writer.finish())
    }

    /// A state file in memory.
    pub fn bytes(self) -> Vec<u8> {
        let mut all = Vec::new();
        let into_memory = |bytes: &[u8]| {
            all.extend_from_slice(bytes);
            Ok::<(), std::convert::Infallible>(())
        };
        match self.write(into_memory) {
            Ok(()) => all,
            Err(never) => match never {},
        }
    }
}

fn saved(peer: &Peer) -> SavedPeer {
    SavedPeer {
        id: peer.id,
        ip: peer.ip,
        given_ip: peer.given,
        port: peer.port,
        left: peer.left,
        crypto: peer.crypto,
        key: peer.key.map(|k| k.as_bytes().to_vec()).unwrap_or_default(),
        unreached: peer.unreached,
    }
}

fn restored(peer: SavedPeer, believe: bool, checked: bool) -> Peer {
    let believed = believe || is_local(peer.ip);
    Peer {
        id: peer.id,
        ip: peer.ip,
        given: peer.given_ip.filter(|ip| believed && *ip != peer.ip),
        port: peer.port,
        crypto: peer.crypto,
        key: Key::new(&peer.key),
        left: peer.left,
        unreached: if checked { peer.unreached } else { 0 },
    }
}
