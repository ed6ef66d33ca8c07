//! Figures for those who look on, as plain values.

use super::Torrent;
use crate::logic::webseed::WebSeed;
use crate::proto::announce::scrape::Counts;
use std::time::Instant;

/// Figures for those who look on.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Bytes of wanted pieces.
    pub wanted: u64,
    /// Bytes of wanted pieces not yet had.
    pub left: u64,
    /// Pieces had.
    pub pieces: u32,
    /// Payload that came in, and was asked for, since the start.
    pub downloaded: u64,
    /// Payload that went out since the start.
    pub uploaded: u64,
    /// Bytes that came in and were of no use.
    pub discarded: u64,
    /// Bytes a second.
    pub download_rate: f64,
    /// Bytes a second.
    pub upload_rate: f64,
    /// Connected peers that have everything, and web seeds that gave something.
    pub seeds: usize,
    /// Of these, the web seeds.
    pub web_seeds: usize,
    /// Of `download_rate`, what comes from web seeds.
    pub web_rate: f64,
    /// Connected peers that have not.
    pub peers: usize,
    /// How many are in the swarm, as a tracker said last.
    pub swarm: Option<Counts>,
    /// Full copies among the connected peers that are no seeds, and a fraction.
    pub distributed_copies: f64,
    /// How far those peers are on average, 0 to 1.
    pub peers_progress: f64,
    /// How fast all peers together download, bytes a second, as their pieces tell.
    pub peers_rate: f64,
}

impl Torrent {
    /// The figures of this moment.
    pub fn status(&self, now: Instant) -> Status {
        let sessions: Vec<_> = self.sessions().map(|(_, s)| s).collect();
        let seeds = sessions.iter().filter(|s| s.is_seed()).count();
        let peers = sessions.len() - seeds;
        let progress: f64 = sessions
            .iter()
            .filter(|s| !s.is_seed())
            .map(|s| f64::from(s.have.count()) / f64::from(s.have.len().max(1)))
            // The standard library's sum of nothing is -0.0, and shown so.
            .fold(0.0, |sum, part| sum + part);
        let web: Vec<&WebSeed> =
            self.web.seeds.iter().filter(|seed| seed.down.total() > 0).collect();
        Status {
            wanted: self.ledger.total_wanted(),
            left: self.ledger.left_wanted(),
            pieces: self.ledger.have().count(),
            downloaded: self.down.total(),
            uploaded: self.up.total(),
            discarded: self.discarded,
            download_rate: self.down.rate(now),
            upload_rate: self.up.rate(now),
            seeds: seeds + web.len(),
            swarm: self.swarm,
            web_seeds: web.len(),
            web_rate: web.iter().map(|seed| seed.down.rate(now)).fold(0.0, |sum, r| sum + r),
            peers,
            distributed_copies: (self.picker.distributed_copies() - seeds as f64).max(0.0),
            // The sum of nothing is -0.0.
            peers_rate: sessions.iter().map(|s| s.gains.rate(now)).fold(0.0, |sum, r| sum + r),
            peers_progress: progress.max(0.0) / (peers.max(1) as f64),
        }
    }
}
