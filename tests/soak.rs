//! A seed that lives long among peers that come, go and die: it takes no more in the end than in
//! the beginning.
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod util;

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use util::{Background, Cmd, Dir, content, until};

/// Everything here is done much sooner.
const SOON: Duration = Duration::from_secs(60);

/// How long peers come and go.
const SOAK: Duration = Duration::from_secs(180);

/// So much memory may come and go, in KiB.
const SLACK: u64 = 1024;

const SIZE: usize = 8 << 20;

fn client(dir: &Dir, saveas: &str) -> Cmd {
    dir.cmd("btdownload")
        .args(["--bind", "127.0.0.1", "--minport", "10000", "--maxport", "60000"])
        .args(["--random_port", "1", "--display_interval", "0.1"])
        .args(["file.torrent", "--saveas", saveas])
}

/// What a process takes.
#[derive(Debug, Clone, Copy)]
struct Takes {
    /// In KiB.
    memory: u64,
    descriptors: usize,
    threads: usize,
}

impl Takes {
    /// The greater of each.
    fn max(self, other: Takes) -> Takes {
        Takes {
            memory: self.memory.max(other.memory),
            descriptors: self.descriptors.max(other.descriptors),
            threads: self.threads.max(other.threads),
        }
    }
}

fn takes(process: &Background) -> Takes {
    let at = |name: &str| format!("/proc/{}/{name}", process.id());
    let status = fs::read_to_string(at("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let memory = line.trim().trim_end_matches(" kB").parse().unwrap();
    let count = |name| fs::read_dir(at(name)).unwrap().count();
    Takes { memory, descriptors: count("fd"), threads: count("task") }
}

/// One leech ends when it is done, one is stopped on its way, one dies on it, and one never comes
/// far.
fn churn(dir: &Dir, seed: &Background) {
    let slow = ["--max_download_rate", "2000"];
    let done = client(dir, "done").args(slow).arg("--exit_on_done").start();
    let stopped = client(dir, "stopped").args(slow).start();
    let killed = client(dir, "killed").args(slow).start();
    let mut slowest = client(dir, "slowest").args(["--max_download_rate", "20"]).start();
    done.wait(SOON).expect(0);
    assert!(dir.read("done") == dir.read("file"), "the copy differs");
    stopped.signal(Signal::TERM);
    killed.signal(Signal::KILL);
    stopped.wait(SOON);
    killed.wait(SOON);
    assert!(slowest.runs());
    slowest.stop(SOON).expect(1);
    for name in ["done", "stopped", "killed", "slowest"] {
        let _ = fs::remove_file(dir.join(name));
    }
    until(SOON, "the seed to be alone", || {
        let out = seed.out();
        out.lines().last()?.contains("0 seeds, 0 peers").then_some(())
    });
}

#[test]
#[ignore = "takes minutes"]
fn long_churn_leaves_neither_memory_nor_descriptors_behind() {
    let dir = Dir::new();
    dir.write("file", content("soak", SIZE));
    let mut tracker =
        dir.cmd("bttrack").args(["--port", "0", "--bind", "127.0.0.1", "--dfile", "state"]).start();
    let url = format!("http://127.0.0.1:{}/announce", tracker.wait_for_listening(SOON));
    dir.cmd("btmakemetafile").args([&url, "file"]).run().expect(0);
    let mut seed = client(&dir, "file").args(["--max_upload_rate", "20000"]).start();
    seed.wait_for("download complete", SOON);
    let began = Instant::now();
    let mut rounds = Vec::new();
    while began.elapsed() < SOAK || rounds.len() < 9 {
        churn(&dir, &seed);
        rounds.push([takes(&seed), takes(&tracker)]);
    }
    println!("{} rounds: {rounds:?}", rounds.len());
    // The first rounds warm it up; of the rest, the last third is held against the first.
    let warm = &rounds[rounds.len() / 4..];
    let (early, late) = (&warm[..warm.len() / 3], &warm[warm.len() * 2 / 3..]);
    for (name, process) in [("the seed", 0), ("the tracker", 1)] {
        let most = |part: &[[Takes; 2]]| part.iter().map(|round| round[process]).reduce(Takes::max);
        let (before, after) = (most(early).unwrap(), most(late).unwrap());
        let told = format!("{name}: {before:?}, later {after:?}");
        assert!(after.memory <= before.memory + SLACK, "{told}");
        assert!(after.descriptors <= before.descriptors, "{told}");
        assert!(after.threads <= before.threads, "{told}");
    }
    seed.stop(SOON).expect(0);
}
