//! The disk's options and the disk's troubles, through the whole program.
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod util;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::FlockOperation;
use util::{Background, Cmd, Dir, Small, content, until};

/// Everything here is done much sooner.
const SOON: Duration = Duration::from_secs(90);

const COMPLETE: &str = "download complete";

const PIECE: usize = 32 * 1024;

/// A folder with a tracker, a torrent and a seed of it.
struct Stage {
    dir: Dir,
    _tracker: Background,
    seed: Background,
}

impl Stage {
    /// Files of these lengths in a folder `data`, named by their numbers.
    fn new(lengths: &[usize]) -> Stage {
        let dir = Dir::new();
        for (n, length) in lengths.iter().enumerate() {
            dir.write(format!("data/{n}"), content(&format!("file {n}"), *length));
        }
        let tracker = dir.cmd("bttrack").args(["--port", "0", "--bind", "127.0.0.1"]);
        let mut tracker = tracker.args(["--dfile", "state"]).start();
        let url = format!("http://127.0.0.1:{}/announce", tracker.wait_for_listening(SOON));
        let make = dir.cmd("btmakemetafile").args([&url, "data", "--piece_size_pow2", "15"]);
        make.run().expect(0);
        let mut seed = client(dir.cmd("btdownload")).args(["--saveas", "data"]).start();
        seed.wait_for(COMPLETE, SOON);
        Stage { dir, _tracker: tracker, seed }
    }

    fn leech(&self) -> Cmd {
        client(self.dir.cmd("btdownload")).args(["--saveas", "copy"])
    }

    /// A client under limits that the shell sets.
    fn limited(&self, limits: &str) -> Cmd {
        let shell = self.dir.program("sh").arg("-c").arg(format!("{limits}; exec \"$0\" \"$@\""));
        client(shell.args([env!("CARGO_BIN_EXE_bittornado"), "btdownload"]))
            .args(["--saveas", "copy"])
    }

    fn is_same(&self, n: usize) -> bool {
        self.dir.read(format!("copy/{n}")) == self.dir.read(format!("data/{n}"))
    }
}

fn client(command: Cmd) -> Cmd {
    command
        .args(["data.torrent", "--bind", "127.0.0.1", "--minport", "10000", "--maxport", "60000"])
        .args(["--random_port", "1", "--display_interval", "0.1"])
}

#[test]
fn unwanted_files_are_not_made_and_what_came_of_them_moves_in_later() {
    let stage = Stage::new(&[PIECE / 2, 3 * PIECE, PIECE / 2]);
    let mut leech = stage.leech().args(["--priority", "1,-1,1"]).start();
    leech.wait_for(COMPLETE, SOON);
    assert!(stage.is_same(0) && stage.is_same(2));
    assert!(!stage.dir.join("copy/1").exists());
    leech.stop(SOON).expect(0);
    // Kept aside across a restart, without fetching anything.
    let mut again = stage.leech().args(["--priority", "1,-1,1"]).start();
    again.wait_for(COMPLETE, SOON);
    assert!(!again.out().contains("downloading:"), "{}", again.out());
    again.stop(SOON).expect(0);
    let mut all = stage.leech().args(["--priority", "1,1,1"]).start();
    all.wait_for(COMPLETE, SOON);
    assert!((0..3).all(|n| stage.is_same(n)));
    all.stop(SOON).expect(0);
}

#[test]
fn a_file_that_another_program_has_locked_is_one_clear_error() {
    let stage = Stage::new(&[2 * PIECE]);
    let file = File::create(stage.dir.write("copy/0", "")).unwrap();
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    let done = stage.leech().run().expect(1);
    let path = stage.dir.join("copy/0");
    let told = format!("cannot write '{}': another program has locked it", path.display());
    assert!(done.err.contains(&told), "{}", done.err);
    let mut careless = stage.leech().args(["--lock_files", "0"]).start();
    careless.wait_for(COMPLETE, SOON);
    assert!(stage.is_same(0));
}

#[test]
fn a_second_client_that_would_write_to_the_same_place_is_one_clear_error() {
    let stage = Stage::new(&[64 * PIECE]);
    let mut first = stage.leech().args(["--max_download_rate", "100"]).start();
    first.wait_for("downloading", SOON);
    let done = stage.leech().run().expect(1);
    let path = stage.dir.join("copy");
    let told = format!("cannot use '{}': another process downloads to it", path.display());
    assert!(done.err.contains(&told), "{}", done.err);
    first.signal(rustix::process::Signal::KILL);
    drop(first);
    // A kill leaves nothing in the way; and to share what is whole is no writing.
    let mut next = stage.leech().start();
    next.wait_for(COMPLETE, SOON);
    let mut other = stage.leech().start();
    other.wait_for(COMPLETE, SOON);
    assert!(stage.is_same(0));
}

#[test]
fn every_way_to_claim_space_ends_in_the_same_files() {
    for how in ["normal", "sparse", "background", "pre-allocate"] {
        let stage = Stage::new(&[3 * PIECE, 0, 2 * PIECE + 1]);
        stage.dir.write("copy/0", content("file 0", PIECE));
        let mut leech = stage.leech().args(["--alloc_type", how, "--triple_check"]).start();
        leech.wait_for(COMPLETE, SOON);
        assert!((0..3).all(|n| stage.is_same(n)), "{how}");
        leech.stop(SOON).expect(0);
    }
}

#[test]
fn space_is_claimed_before_a_peer_is_met() {
    let stage = Stage::new(&[64 * PIECE]);
    let alone = ["--max_download_rate", "10", "--alloc_type"];
    for (how, space) in [("sparse", 0), ("pre-allocate", 64 * PIECE as u64)] {
        let leech = stage.leech().args(alone).arg(how).start();
        let file = stage.dir.join("copy/0");
        until(SOON, "its whole length", || {
            let meta = fs::metadata(&file).ok()?;
            (meta.len() == 64 * PIECE as u64 && meta.blocks() * 512 >= space).then_some(())
        });
        drop(leech);
        fs::remove_dir_all(stage.dir.join("copy")).unwrap();
    }
}

#[test]
fn few_descriptors_are_enough_for_many_files() {
    let stage = Stage::new(&[PIECE / 3; 120]);
    let leech = stage.limited("ulimit -n 32").start();
    let (mut most, mut most_of_seed) = (0, 0);
    until(SOON, "the end", || {
        most = most.max(open_in("copy", leech.id()));
        most_of_seed = most_of_seed.max(open_in("data", stage.seed.id()));
        leech.out().contains(COMPLETE).then_some(())
    });
    // Descriptors come and go while they are counted, so a few may be counted twice.
    assert!((1..=8 + 4).contains(&most), "{most} of 32 descriptors");
    assert!((1..=50 + 10).contains(&most_of_seed), "{most_of_seed}, and 50 by default");
    assert!((0..120).all(|n| stage.is_same(n)));
    leech.stop(SOON).expect(0);
}

/// How many files in a folder of this name a process has open.
fn open_in(folder: &str, process: u32) -> usize {
    let open = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let target = |entry: fs::DirEntry| fs::read_link(entry.path()).unwrap_or_default();
    let is_in = |path: &PathBuf| path.parent().is_some_and(|dir| dir.ends_with(folder));
    open.map(target).filter(is_in).count()
}

#[test]
fn a_limit_of_file_sizes_is_an_error_with_a_name_and_not_the_end_of_the_process() {
    let stage = Stage::new(&[8 * PIECE]);
    let mut leech = stage.limited("ulimit -f 100").start();
    leech.wait_for("waiting for the disk", SOON);
    let done = leech.stop(SOON).expect(1);
    let told = format!("cannot write '{}': File too large", stage.dir.join("copy/0").display());
    assert!(done.err.contains(&told), "{}", done.err);
    assert!(!done.err.contains("somebody else"), "{}", done.err);
    let mut again = stage.leech().start();
    again.wait_for(COMPLETE, SOON);
    assert!(stage.is_same(0));
}

#[test]
#[ignore = "needs root"]
fn a_full_disk_is_told_and_nothing_is_lost_by_it() {
    if !rustix::process::getuid().is_root() {
        eprintln!("only root may mount a small file system: skipped");
        return;
    }
    let stage = Stage::new(&[64 * PIECE]);
    let small = Small::new(stage.dir.join("copy"), "1m");
    let refused = stage.leech().args(["--alloc_type", "pre-allocate"]).run().expect(1);
    assert!(refused.err.contains("2 MiB are needed, 1 MiB are free"), "{}", refused.err);
    assert_eq!(fs::read_dir(stage.dir.join("copy")).unwrap().count(), 0);
    let leech = stage.leech().start();
    let path = stage.dir.join("copy/0");
    let told = format!("cannot write '{}': No space left on device", path.display());
    until(SOON, "that the disk is full", || leech.err().contains(&told).then_some(()));
    drop(leech);
    let part = fs::read(&path).unwrap();
    drop(small);
    fs::write(&path, &part).unwrap();
    let mut again = stage.leech().start();
    again.wait_for(COMPLETE, SOON);
    assert!(stage.is_same(0));
}

#[test]
fn bytes_that_moved_in_are_checked_again_unless_the_user_trusts_them() {
    for (double_check, is_same) in [("1", true), ("0", false)] {
        let stage = Stage::new(&[PIECE / 2, 3 * PIECE]);
        let mut leech = stage.leech().args(["--priority", "1,-1"]).start();
        leech.wait_for(COMPLETE, SOON);
        leech.stop(SOON).expect(0);
        let state = stage.dir.join("../.local/state/bittornado");
        let parts = fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path());
        let parts = parts.filter(|path| path.extension().is_some_and(|e| e == "parts"));
        for path in parts {
            let mut bytes = fs::read(&path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(&path, bytes).unwrap();
        }
        let all = ["--priority", "1,1", "--double_check", double_check];
        let mut all = stage.leech().args(all).start();
        all.wait_for(COMPLETE, SOON);
        assert_eq!(stage.is_same(1), is_same, "--double_check {double_check}");
    }
}

/// How many bytes of a cold file of two pieces the seed has the system bring in at a time, at most.
fn brought_in(buffer_reads: &str) -> u64 {
    let dir = Dir::new();
    let path = dir.write("data", content("cold", 2 << 20));
    let mut tracker = dir.cmd("bttrack").args(["--port", "0", "--bind", "127.0.0.1"]);
    tracker = tracker.args(["--dfile", "state"]);
    let mut tracker = tracker.start();
    let url = format!("http://127.0.0.1:{}/announce", tracker.wait_for_listening(SOON));
    dir.cmd("btmakemetafile").args([&url, "data", "--piece_size_pow2", "20"]).run().expect(0);
    let strace = dir.program("strace").args(["-D", "-f", "-qq", "-o", "calls"]);
    let strace = strace.args(["-e", "trace=fadvise64"]).arg(dir.cmd("btdownload").name());
    let seed = client(strace).args(["--saveas", "data", "--buffer_reads", buffer_reads]);
    let mut seed = seed.start();
    seed.wait_for(COMPLETE, SOON);
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let leech = client(dir.cmd("btdownload")).args(["--saveas", "copy", "--exit_on_done"]);
    leech.run().expect(0);
    seed.stop(SOON).expect(0);
    let calls = String::from_utf8(dir.read("calls")).unwrap();
    let asked = calls.lines().filter(|line| line.contains("POSIX_FADV_WILLNEED"));
    let length = |line: &str| line.split(", ").nth(2)?.parse().ok();
    asked.filter_map(length).max().unwrap_or(0)
}

#[test]
#[ignore = "needs strace"]
fn a_seed_that_buffers_reads_has_the_rest_of_a_piece_brought_in() {
    let (without, with) = (brought_in("0"), brought_in("1"));
    if (without, with) == (0, 0) {
        println!("nothing is ever cold on this file system");
        return;
    }
    // A window is a quarter of a piece.
    assert!((1..=256 << 10).contains(&without), "{without}");
    assert!((257 << 10..=1 << 20).contains(&with), "{with}");
}
