//! Floor 2: joins brain and hands. The loops are here: events to logic, actions to io; no
//! decisions of their own.

pub mod checker;
pub mod client;
pub mod clock;
pub mod maker;
pub mod publisher;
pub mod service;
mod target;
pub mod tracker;
