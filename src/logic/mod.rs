//! Floor 1, the brain: decides, and touches nothing.
//!
//! Time and randomness come in as arguments, so that a whole swarm can be played in a test in
//! virtual time, the same every time.

pub mod announcer;
pub mod candidates;
pub mod choker;
pub mod ledger;
pub mod peer;
pub mod picker;
pub mod rate;
pub mod registry;
pub mod rng;
pub mod timers;
pub mod torrent;
