//! Floor 1, the brain: decides, and touches nothing.
//!
//! Time and randomness come in as arguments, so that a whole swarm can be played in a test in
//! virtual time, the same every time.

pub mod announcer;
pub mod candidates;
pub mod choker;
pub mod clock;
pub mod dht;
pub mod goal;
pub mod inquiry;
pub mod ledger;
pub mod lsd;
pub mod peer;
pub mod picker;
pub mod pipeline;
pub mod port_mapping;
pub mod priority;
pub mod rate;
pub mod registry;
pub mod rng;
pub mod share;
pub mod superseed;
pub mod timers;
pub mod torrent;
pub mod udp_tracker;
pub mod utp;
pub mod webseed;

/// Which connection of a torrent is meant. Numbers are given out ascending and never again, so
/// that a late word about a lost peer cannot hit a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey(pub u64);

impl PeerKey {
    /// Stands for our own disk where something came from there and not from a connection. No peer
    /// has this number.
    pub const DISK: PeerKey = PeerKey(u64::MAX);
}
