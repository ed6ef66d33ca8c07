//! Clients that meet through a UDP tracker alone (BEP 15): ours, and a foreign one.
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod util;

use std::process::Command;
use std::time::Duration;
use util::{Background, Dir, content, free_port};

/// Everything here is done much sooner.
const SOON: Duration = Duration::from_secs(90);

/// Our tracker, listening at `ip`, and its port.
fn tracker(dir: &Dir, ip: &str) -> (Background, u16) {
    let tracker = dir.cmd("bttrack").args(["--port", "0", "--dfile", "state", "--udp", "1"]);
    let mut tracker = tracker.args(["--bind", ip, "--ipv6_enabled", "1"]).start();
    tracker.wait_for(" for UDP", SOON);
    let said = tracker.err();
    let (before, _) = said.split_once(" for UDP").unwrap();
    (tracker, before.rsplit(':').next().unwrap().parse().unwrap())
}

/// Makes `file`, and `file.torrent` for it.
fn make(dir: &Dir, announce: &str) {
    dir.write("file", content("udp", 300_000));
    dir.cmd("btmakemetafile").args([announce, "file"]).run().expect(0);
}

/// A seed and a download find each other by the tracker of `file.torrent`, both listening at `ip`.
fn meet(dir: &Dir, ip: &str) {
    let client = |saveas: &str| {
        dir.cmd("btdownload").args(["file.torrent", "--saveas", saveas, "--bind", ip]).args([
            "--minport",
            "10000",
            "--maxport",
            "60000",
            "--random_port",
            "1",
        ])
    };
    let mut seed = client("file").start();
    seed.wait_for("download complete", SOON);
    let done = client("copy").args(["--exit_on_done", "1"]).limit(SOON).run().expect(0);
    assert_eq!(done.err, "");
    assert!(dir.read("copy") == dir.read("file"));
    assert_eq!(seed.stop(SOON).expect(0).err, "");
}

#[test]
fn peers_meet_through_udp_alone() {
    let dir = Dir::new();
    let (mut tracker, port) = tracker(&dir, "127.0.0.1");
    make(&dir, &format!("udp://127.0.0.1:{port}/announce"));
    meet(&dir, "127.0.0.1");
    // Both said goodbye.
    tracker.signal(rustix::process::Signal::USR1);
    tracker.wait_for(" 0 peers (0 seeds)", SOON);
}

#[test]
fn a_name_whose_first_address_is_silent_leads_to_the_tracker_by_its_next() {
    let dir = Dir::new();
    // Most machines have ::1 for it too, and nobody answers there.
    let (_tracker, port) = tracker(&dir, "127.0.0.1");
    make(&dir, &format!("udp://localhost:{port}"));
    meet(&dir, "127.0.0.1");
}

#[test]
fn peers_meet_over_ipv6() {
    let dir = Dir::new();
    let (_tracker, port) = tracker(&dir, "::1");
    make(&dir, &format!("udp://[::1]:{port}/announce"));
    meet(&dir, "::1");
}

#[test]
#[ignore = "needs opentracker"]
fn peers_meet_through_opentracker() {
    let dir = Dir::new();
    let port = free_port();
    make(&dir, &format!("udp://127.0.0.1:{port}/announce"));
    // As Debian builds it, it tracks nothing but what it is told to.
    let hash = dir.cmd("btshowmetainfo").args(["--hash", "file.torrent"]).run().expect(0).out;
    dir.write("allowed", hash);
    let number = port.to_string();
    let mut command = Command::new("opentracker");
    command.args(["-i", "127.0.0.1", "-p", &number, "-P", &number, "-w", "allowed", "-d"]);
    command.arg(dir.path());
    let _tracker = dir.background(command);
    util::wait_for_port(port, SOON);
    meet(&dir, "127.0.0.1");
}
