//! BitTornado: a tracker, makers of .torrent files and clients, for small Linux boxes.
//!
//! The house has four floors; each uses only the floors below it (see ARCHITECTURE.md):
//!
//! * [`cmd`] (floor 3): one file per command; arguments in, text and exit codes out.
//! * [`app`] (floor 2): joins brain and hands into a client, a tracker, a maker.
//! * [`logic`] and [`io`] (floor 1): the brain decides and touches nothing, the hands touch
//!   things and decide nothing; neither knows the other.
//! * [`proto`] (floor 0): bytes to values and back, and arithmetic on them.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod app;
pub mod cmd;
pub mod io;
pub mod logic;
pub mod proto;
