//! Figures for machines: `/stats.json` and `/metrics`, the form of Prometheus.

use std::fmt::Write;
use std::time::Duration;

use crate::logic::registry::Totals;

/// What was done since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counters {
    /// HTTP requests.
    pub requests: u64,
    /// UDP packets.
    pub udp_packets: u64,
    /// Announces, by either way.
    pub announces: u64,
    /// How many of them were refused.
    pub refused: u64,
    /// Scrapes, by either way.
    pub scrapes: u64,
}

/// A figure: its name, what it is, and whether it only grows.
pub type Figure = (&'static str, &'static str, bool, u64);

/// How many there are.
pub const FIGURES: usize = 11;

/// All figures, in the order in which they are told.
pub fn figures(
    totals: &Totals,
    counters: &Counters,
    connections: usize,
    uptime: Duration,
) -> [Figure; FIGURES] {
    [
        ("torrents", "Torrents with peers.", false, totals.torrents as u64),
        ("peers", "Peers in all torrents.", false, totals.peers as u64),
        ("seeds", "Peers that have all of their torrent.", false, totals.seeds as u64),
        ("connections", "HTTP connections.", false, connections as u64),
        ("uptime_seconds", "Seconds since the start.", false, uptime.as_secs()),
        ("http_requests_total", "HTTP requests.", true, counters.requests),
        ("udp_packets_total", "UDP packets.", true, counters.udp_packets),
        ("announces_total", "Announces over HTTP and UDP.", true, counters.announces),
        ("refused_announces_total", "Announces that were refused.", true, counters.refused),
        ("scrapes_total", "Scrapes over HTTP and UDP.", true, counters.scrapes),
        ("evicted_total", "Peers and torrents that made room.", true, totals.evicted),
    ]
}

/// One object, its names as in [`figures`].
pub fn json(figures: &[Figure]) -> String {
    let mut text = format!("{{\"version\":\"{}\"", env!("CARGO_PKG_VERSION"));
    for (name, _, _, value) in figures {
        write!(text, ",\"{name}\":{value}").expect("a String takes every write");
    }
    text + "}\n"
}

/// The text form of Prometheus, version 0.0.4.
pub fn prometheus(figures: &[Figure]) -> String {
    let mut text = String::new();
    for (name, help, grows, value) in figures {
        let kind = if *grows { "counter" } else { "gauge" };
        let name = format!("bttrack_{name}");
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}")
            .expect("a String takes every write");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_can_read_it() {
        let totals = Totals { torrents: 1, peers: 3, seeds: 2, evicted: 0 };
        let counters = Counters { announces: 9, ..Counters::default() };
        let figures = figures(&totals, &counters, 4, Duration::from_secs(60));
        let value: serde_json::Value = serde_json::from_str(&json(&figures)).unwrap();
        assert_eq!((&value["peers"], &value["announces_total"]), (&3.into(), &9.into()));
        let text = prometheus(&figures);
        assert!(text.contains("\n# TYPE bttrack_seeds gauge\nbttrack_seeds 2\n"), "{text}");
        assert!(text.contains("# TYPE bttrack_scrapes_total counter\nbttrack_scrapes_total 0\n"));
        assert_eq!(text.lines().count(), 33);
    }
}
