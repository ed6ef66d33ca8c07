//! Floor 2: joins brain and hands. The loops are here: events to logic, actions to io; no
//! decisions of their own.

pub mod checker;
pub mod client;
pub mod clock;
pub mod maker;
pub mod many;
pub mod publisher;
pub mod service;
mod target;
mod torrent_files;
pub mod tracker;
