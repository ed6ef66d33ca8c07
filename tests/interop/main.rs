//! Other people's clients and ours in one swarm, met through our tracker with its default
//! options: each downloads from our seed, and seeds to our client.

#![allow(clippy::unwrap_used, reason = "this is all tests")]

mod aria2;
mod exchange;
mod libtorrent;
mod magnet;
mod neighbours;
mod nginx;
mod ours;
mod ports;
mod qbittorrent;
mod rtorrent;
mod screen;
mod swarm;
mod table;
mod transmission;
#[path = "../util/mod.rs"]
mod util;
mod utp;
mod version2;
