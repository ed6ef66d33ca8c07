//! Floor 0: bytes to values and back, and the arithmetic on them.
//!
//! Nothing here touches the machine: no sockets, files, threads, clocks or printing. Decoders of
//! foreign bytes never panic and never allocate more than their input justifies.

pub mod address;
pub mod announce;
pub mod bencode;
pub mod bitfield;
#[cfg(test)]
pub(crate) mod damage;
pub mod dht;
pub mod geometry;
pub mod glob;
pub mod hash;
pub mod ids;
pub mod interfaces;
pub mod links;
pub mod lsd;
pub mod magnet;
pub mod merkle;
pub mod metainfo;
pub mod mse;
pub mod order;
pub mod peer_priority;
pub mod port_mapping;
pub mod qr;
pub mod ranges;
pub mod resume;
pub mod sorted;
pub mod udp;
pub mod utp;
pub mod wire;
pub mod zone;
