//! The lines of `--json`: an object each, with its kind as `event` and the time.
//!
//! What stands here is promised to those who read it: keys are added, never taken away or given
//! another meaning; kinds may be added too. The manual of btdownloadheadless lists them all.

use crate::app::client::{Figures, FileStatus, PeerStatus, Phase};
use crate::cmd::json::{Array, Nullable, Object, Text};
use std::time::{SystemTime, UNIX_EPOCH};

/// An event of this kind, now.
pub fn event(kind: &str) -> Object {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = format!("{}.{:03}", time.as_secs(), time.subsec_millis());
    Object::default().with("event", Text(kind)).with("time", time)
}

/// A phase's name.
pub fn phase(figures: &Figures) -> &'static str {
    match figures.phase {
        Phase::Queued => "queued",
        Phase::Checking(_) => "checking",
        Phase::Allocating(_) => "allocating",
        Phase::Downloading => "downloading",
        Phase::Seeding => "seeding",
        Phase::Waiting => "waiting",
        Phase::Paused => "paused",
        Phase::Stopping => "stopping",
    }
}

/// How far the present activity is, 0 to 1.
pub fn progress(figures: &Figures) -> f64 {
    match figures.phase {
        Phase::Checking(done) | Phase::Allocating(done) => done,
        _ if figures.total == 0 => 1.0,
        _ => 1.0 - figures.left as f64 / figures.total as f64,
    }
}

/// Seconds until all is there, if that can be foreseen.
pub fn seconds_left(figures: &Figures) -> Option<f64> {
    let rate = figures.status.as_ref().map_or(0.0, |status| status.download_rate);
    let downloads = figures.phase == Phase::Downloading && rate >= 1.0;
    downloads.then(|| figures.left as f64 / rate)
}

/// The figures of an event. Those that are not known yet are left out.
pub fn figures(event: Object, figures: &Figures) -> Object {
    // Cut, not rounded: 1 is for what is complete.
    let progress = (progress(figures) * 10_000.0).floor() / 10_000.0;
    let event = event
        .with("phase", Text(phase(figures)))
        .with("progress", progress)
        .with("total", figures.total)
        .with("left", figures.left);
    let Some(status) = &figures.status else { return event };
    let swarm = status.swarm;
    event
        .with("seconds_left", Nullable(seconds_left(figures).map(|s| s.ceil() as u64)))
        .with("downloaded", status.downloaded)
        .with("uploaded", status.uploaded)
        .with("discarded", status.discarded)
        .with("download_rate", status.download_rate as u64)
        .with("upload_rate", status.upload_rate as u64)
        .with("seeds", status.seeds)
        .with("web_seeds", status.web_seeds)
        .with("peers", status.peers)
        .with("distributed_copies", (status.distributed_copies * 1000.0).floor() / 1000.0)
        .with("swarm_seeds", Nullable(swarm.map(|swarm| swarm.complete)))
        .with("swarm_peers", Nullable(swarm.map(|swarm| swarm.incomplete)))
}

/// The peers of an event.
pub fn peers(event: Object, peers: &[PeerStatus]) -> Object {
    let one = |peer: &PeerStatus| {
        Object::default()
            .with("address", Text(&peer.address.to_string()))
            .with("client", Text(&peer.client))
            .with("incoming", peer.incoming)
            .with("encrypted", peer.encrypted)
            .with("progress", (peer.progress * 10_000.0).floor() / 10_000.0)
            .with("download_rate", peer.download_rate as u64)
            .with("upload_rate", peer.upload_rate as u64)
            .with("downloaded", peer.downloaded)
            .with("uploaded", peer.uploaded)
            .with("choked", peer.choked)
            .with("interested", peer.interested)
            .with("choking", peer.choking)
            .with("wanting", peer.wanting)
            .with("snubbed", peer.snubbed)
    };
    event.with("peers", Array(peers.iter().map(one)))
}

/// The files of an event, in the torrent's order.
pub fn files(event: Object, files: &[FileStatus]) -> Object {
    let one = |file: &FileStatus| {
        Object::default()
            .with("length", file.length)
            .with("had", file.had)
            .with("priority", file.priority.number())
    };
    event.with("files", Array(files.iter().map(one)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::client::{Priority, Status};
    use serde_json::Value;

    fn keys(value: &Value) -> String {
        value.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    /// A key that goes or changes its name breaks somebody's script; the manual has them all.
    #[test]
    fn the_keys_are_those_that_were_promised() {
        let status = Status {
            wanted: 3,
            left: 1,
            pieces: 0,
            downloaded: 2,
            uploaded: 0,
            discarded: 0,
            download_rate: 0.4,
            upload_rate: 1.6,
            seeds: 1,
            web_seeds: 0,
            web_rate: 0.0,
            peers: 2,
            swarm: None,
            distributed_copies: 0.12345,
            peers_progress: 0.5,
            peers_rate: 0.0,
        };
        let now = Figures { phase: Phase::Downloading, total: 3, left: 1, status: Some(status) };
        let file = FileStatus { length: 3, had: 2, priority: Priority::Off };
        let peer = PeerStatus {
            address: "[::1]:6881".parse().unwrap(),
            client: "a \"b\"".into(),
            incoming: true,
            encrypted: false,
            interested: true,
            choked: false,
            wanting: false,
            choking: true,
            snubbed: false,
            optimistic: false,
            download_rate: 1.5,
            upload_rate: 0.0,
            downloaded: 7,
            uploaded: 8,
            progress: 1.0,
            gain_rate: 0.0,
            requests: 0,
        };
        let read = |object: Object| serde_json::from_str::<Value>(&object.to_string()).unwrap();
        let value = read(figures(event("figures"), &now));
        assert_eq!(
            keys(&value),
            "discarded distributed_copies download_rate downloaded event left peers phase progress \
             seconds_left seeds swarm_peers swarm_seeds time total upload_rate uploaded web_seeds"
        );
        assert_eq!((&value["phase"], &value["progress"]), (&"downloading".into(), &0.6666.into()));
        assert_eq!((&value["upload_rate"], &value["seconds_left"]), (&1.into(), &Value::Null));
        assert!(value["time"].as_f64().unwrap() > 1e9);
        let value = read(peers(event("peers"), &[peer]));
        assert_eq!(
            keys(&value["peers"][0]),
            "address choked choking client download_rate downloaded encrypted incoming interested \
             progress snubbed upload_rate uploaded wanting"
        );
        let value = read(files(event("files"), &[file]));
        assert_eq!(value["files"].to_string(), r#"[{"had":2,"length":3,"priority":-1}]"#);
    }
}
