//! What a download remembers: nothing is lost by a kill, nothing is believed that may not be so.
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod util;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use util::{Background, Cmd, Dir, content, until};

/// Everything here is done much sooner.
const SOON: Duration = Duration::from_secs(90);

/// An end may take so long: a tracker is told first.
const STOP: Duration = Duration::from_secs(20);

const COMPLETE: &str = "download complete";

const PIECE: usize = 32 * 1024;

/// A tracker, a file, its torrent, and perhaps a seed.
struct Stage {
    dir: Dir,
    bytes: Vec<u8>,
    tracker: Background,
}

impl Stage {
    fn new(pieces: usize) -> Stage {
        Stage::of(pieces * PIECE, PIECE)
    }

    fn of(size: usize, piece: usize) -> Stage {
        let dir = Dir::new();
        let mut tracker = dir
            .cmd("bttrack")
            .args(["--port", "0", "--bind", "127.0.0.1", "--dfile", "state"])
            .args(["--min_time_between_log_flushes", "0"])
            .start();
        let port = tracker.wait_for_listening(SOON);
        let bytes = content("resume", size);
        dir.write("file", &bytes);
        let url = format!("http://127.0.0.1:{port}/announce");
        let power = piece.ilog2().to_string();
        let make = dir.cmd("btmakemetafile").args([&url, "file", "--piece_size_pow2", &power]);
        make.run().expect(0);
        Stage { dir, bytes, tracker }
    }

    fn client(&self, saveas: &str) -> Cmd {
        self.dir
            .cmd("btdownload")
            .args(["--bind", "127.0.0.1", "--minport", "10000", "--maxport", "60000"])
            .args(["--random_port", "1", "--display_interval", "0.1"])
            .args(["file.torrent", "--saveas", saveas])
    }

    fn complete(&self, saveas: &str) -> Background {
        let mut client = self.client(saveas).start();
        client.wait_for(COMPLETE, SOON);
        client
    }

    /// The files in which states are kept.
    fn states(&self) -> Vec<PathBuf> {
        let dir = self.dir.join("../.local/state/bittornado");
        let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// What the seed has sent, by its last word to the tracker.
    fn uploaded(&self) -> usize {
        let last = || said_at_the_end(&self.tracker.out(), "uploaded").last().copied();
        until(SOON, "the last announce", last)
    }

    /// What all have received, by the last words of so many.
    fn downloaded(&self, runs: usize) -> usize {
        until(SOON, "the last announces", || {
            let each = said_at_the_end(&self.tracker.out(), "downloaded");
            (each.len() == runs).then(|| each.iter().sum())
        })
    }

    /// How many of a copy's pieces are good.
    fn good_pieces(&self, copy: &str) -> usize {
        let check = self.dir.cmd("btcheck").args(["--json", "file.torrent", copy]).run();
        let (_, rest) = check.out.split_once("\"good_pieces\":").unwrap();
        rest.split_once(',').unwrap().0.parse().unwrap()
    }

    fn modified(&self, name: &str) -> SystemTime {
        fs::metadata(self.dir.join(name)).unwrap().modified().unwrap()
    }

    fn set_modified(&self, name: &str, time: SystemTime) {
        File::options().write(true).open(self.dir.join(name)).unwrap().set_modified(time).unwrap();
    }
}

/// How often a download said that all is there.
/// The values of a parameter in the last words to a tracker, from its log.
fn said_at_the_end(log: &str, parameter: &str) -> Vec<usize> {
    let value = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("&{name}="))?;
        Some(rest.split_once('&')?.0.to_owned())
    };
    // Who ends while it hears from the tracker says it again, as that may have come before.
    let mut last: Vec<(String, usize)> = Vec::new();
    for line in log.lines().filter(|line| line.contains("event=stopped")) {
        if let (Some(peer), Some(value)) = (value(line, "peer_id"), value(line, parameter)) {
            last.retain(|(who, _)| *who != peer);
            last.push((peer, value.parse().unwrap()));
        }
    }
    last.into_iter().map(|(_, value)| value).collect()
}

fn completions(client: &Background) -> usize {
    client.out().matches(COMPLETE).count()
}

/// How far a download said it was when it opened its door.
fn first_percent(client: &mut Background) -> usize {
    client.wait_for("listening", SOON);
    until(SOON, "the first figures", || {
        let out = client.out();
        if out.contains(COMPLETE) {
            return Some(100);
        }
        let line = out.lines().find(|line| line.starts_with("downloading: "))?;
        line.trim_start_matches("downloading: ").split('%').next()?.parse().ok()
    })
}

/// Kills a download again and again at moments that the seed chooses, and lets it end.
fn kill(rounds: usize, mut seed: u64) {
    // A lost piece is a lot of few, and so is what a busy machine lets lie in a socket.
    const PIECES: usize = 64;
    let stage = Stage::of(PIECES * 8 * PIECE, 8 * PIECE);
    // The limit is the sender's: what he has sent is then not much more than what has arrived.
    let mut source = stage.client("file").args(["--max_upload_rate", "2000"]).start();
    source.wait_for(COMPLETE, SOON);
    let mut kills = 0;
    for _ in 0..rounds {
        let mut leech = stage.client("copy").start();
        let said = first_percent(&mut leech);
        assert!(!leech.err().contains("cannot"), "{}", leech.err());
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wait = Duration::from_millis(seed >> 32 & 0xff);
        let good = stage.dir.join("copy").exists().then(|| stage.good_pieces("copy"));
        // Pieces may have come since it spoke, but none can have gone.
        assert!(said <= good.unwrap_or_default() * 100 / PIECES, "{said} %, {good:?} pieces");
        std::thread::sleep(wait);
        if !leech.runs() || leech.out().contains(COMPLETE) {
            break;
        }
        leech.signal(Signal::KILL);
        leech.wait(STOP);
        kills += 1;
    }
    stage.complete("copy").stop(STOP).expect(0);
    assert!(stage.dir.read("copy") == stage.bytes, "the copy differs");
    source.stop(STOP).expect(0);
    let most = stage.bytes.len() + kills * stage.bytes.len() / 20;
    let sent = stage.uploaded();
    assert!(sent <= most, "{sent} of {} bytes sent after {kills} kills", stage.bytes.len());
    assert!(kills > rounds / 4, "only {kills} kills");
}

#[test]
fn a_download_that_is_killed_ten_times_goes_on_each_time() {
    kill(10, 4711);
}

#[test]
#[ignore = "long"]
fn long_a_download_that_is_killed_a_hundred_times_goes_on_each_time() {
    (0..10).for_each(|n| kill(10, 1000 + n));
}

#[test]
fn what_the_state_vouches_for_is_not_read_again_and_what_changed_is() {
    let stage = Stage::new(20);
    stage.complete("file").stop(STOP).expect(0);
    assert_eq!(stage.states().len(), 1);
    // A change that nobody could see from outside shows that nothing was read.
    let time = stage.modified("file");
    let mut changed = stage.bytes.clone();
    changed[5 * PIECE + 7] ^= 1;
    fs::write(stage.dir.join("file"), &changed).unwrap();
    stage.set_modified("file", time);
    stage.complete("file").stop(STOP).expect(0);
    // One that can be seen is found.
    stage.set_modified("file", time + Duration::from_nanos(100));
    let mut client = stage.client("file").start();
    assert_eq!(first_percent(&mut client), 95);
    client.stop(STOP).expect(1);
    // Now the state says so, without reading.
    let mut client = stage.client("file").start();
    assert_eq!(first_percent(&mut client), 95);
    client.stop(STOP).expect(1);
    // Without a state all is read.
    let mut client = stage.client("file").args(["--selector_enabled", "0"]).start();
    assert_eq!(first_percent(&mut client), 95);
    client.stop(STOP).expect(1);
    fs::remove_file(stage.dir.join("file")).unwrap();
    let mut client = stage.client("file").start();
    assert_eq!(first_percent(&mut client), 0);
}

#[test]
fn a_damaged_state_is_told_of_and_then_all_is_checked() {
    let stage = Stage::new(4);
    stage.complete("file").stop(STOP).expect(0);
    let path = stage.states().remove(0);
    let good = fs::read(&path).unwrap();
    let time = stage.modified("file");
    let mut changed = stage.bytes.clone();
    changed[0] ^= 1;
    fs::write(stage.dir.join("file"), &changed).unwrap();
    stage.set_modified("file", time);
    for cut in [&good[..good.len() / 2], b"", b"d8:checksum20:01234567890123456789e", b"\xff\xff"] {
        fs::write(&path, cut).unwrap();
        let mut client = stage.client("file").start();
        assert_eq!(first_percent(&mut client), 75);
        let done = client.stop(STOP).expect(1);
        let says = format!(
            "btdownload: cannot use the saved state '{}': it is damaged; checking all the data",
            fs::canonicalize(&path).unwrap().display()
        );
        assert_eq!(done.err.matches("it is damaged; checking all the data").count(), 1, "{says}");
    }
}

#[test]
fn blocks_of_unfinished_pieces_are_not_fetched_twice() {
    const BLOCK: usize = 16 * 1024;
    let stage = Stage::of(128 * BLOCK, 64 * BLOCK);
    let mut source = stage.client("file").args(["--max_upload_rate", "400"]).start();
    source.wait_for(COMPLETE, SOON);
    let mut leech = stage.client("copy").start();
    until(SOON, "a part", || stage.dir.join("copy").exists().then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    assert!(leech.runs() && !leech.out().contains(COMPLETE));
    leech.stop(STOP).expect(1);
    stage.complete("copy").stop(STOP).expect(0);
    source.stop(STOP).expect(0);
    // What was sent and not received any more does not count.
    let again = stage.downloaded(3) - stage.bytes.len();
    assert!(again <= 4 * BLOCK, "{again} bytes were fetched twice");
}

#[test]
fn no_state_is_kept_without_a_place_for_it_or_a_wish() {
    let stage = Stage::new(4);
    let args = ["--selector_enabled", "0"];
    let mut client = stage.client("file").args(args).start();
    client.wait_for(COMPLETE, SOON);
    client.stop(STOP).expect(0);
    let mut client = stage.client("file").env("HOME", "").start();
    client.wait_for(COMPLETE, SOON);
    let done = client.stop(STOP).expect(0);
    assert_eq!(done.err.matches("neither XDG_STATE_HOME nor HOME is set").count(), 1);
    assert!(stage.states().is_empty());
    let place = stage.dir.join("elsewhere");
    let mut client = stage.client("file").env("XDG_STATE_HOME", &place).start();
    client.wait_for(COMPLETE, SOON);
    client.stop(STOP).expect(0);
    assert_eq!(fs::read_dir(place.join("bittornado")).unwrap().count(), 1);
    assert!(stage.states().is_empty());
}

#[test]
fn a_disk_that_takes_nothing_is_waited_for() {
    use rustix::process::{Pid, Resource, getrlimit, prlimit};
    let stage = Stage::new(64);
    let _source = stage.complete("file");
    // Blocks of 512 bytes for some shells and of 1024 for others: a quarter or half of the file.
    let script = "ulimit -S -f 1024; exec \"$@\"";
    let leech = stage.client("copy");
    let mut leech = leech.under(&["sh", "-c", script, "sh"]).start();
    leech.wait_for("cannot write", SOON);
    leech.wait_for("waiting for the disk", SOON);
    let err = leech.err();
    assert!(err.contains("copy': File too large; the download waits and tries again"), "{err}");
    assert_eq!(completions(&leech), 0);
    let pid = Pid::from_raw(leech.id() as i32);
    prlimit(pid, Resource::Fsize, getrlimit(Resource::Fsize)).unwrap();
    leech.wait_for(COMPLETE, SOON);
    leech.wait_for("the disk works again", SOON);
    assert!(stage.dir.read("copy") == stage.bytes, "the copy differs");
    let err = leech.err();
    assert_eq!(err.matches("cannot write").count(), 1, "{err}");
    assert!(!err.contains("failed hash check") && !err.contains("banned"), "{err}");
    leech.stop(STOP).expect(0);
}

#[test]
fn a_file_that_changes_under_a_seed_is_noticed_before_its_next_block_is_sent() {
    let stage = Stage::new(64);
    let mut source = stage.client("file").args(["--max_upload_rate", "400"]).start();
    source.wait_for(COMPLETE, SOON);
    let mut leech = stage.client("copy").start();
    until(SOON, "a part", || stage.dir.join("copy").exists().then_some(()));
    // Pieces that have not gone yet; perhaps some of them have.
    let mut changed = stage.bytes.clone();
    (0..64).for_each(|piece| changed[piece * PIECE + 5] ^= 1);
    fs::write(stage.dir.join("file"), &changed).unwrap();
    source.wait_for("was changed by somebody else", SOON);
    fs::write(stage.dir.join("file"), &stage.bytes).unwrap();
    // It was right in the end: started again it says so, and the download ends.
    source.stop(STOP);
    stage.complete("file");
    let again = stage.complete("file");
    leech.wait_for(COMPLETE, SOON);
    assert!(stage.dir.read("copy") == stage.bytes, "the copy differs");
    assert!(!leech.err().contains("failed hash check"), "{}", leech.err());
    drop(again);
}

#[test]
fn a_file_that_is_removed_during_the_download_is_fetched_again() {
    let stage = Stage::new(32);
    let mut source = stage.client("file").args(["--max_upload_rate", "1000"]).start();
    source.wait_for(COMPLETE, SOON);
    let mut leech = stage.client("copy").start();
    until(SOON, "a part", || {
        let size = fs::metadata(stage.dir.join("copy")).map_or(0, |meta| meta.len());
        (size as usize > stage.bytes.len() / 4).then_some(())
    });
    fs::remove_file(stage.dir.join("copy")).unwrap();
    leech.wait_for("copy' was changed by somebody else", SOON);
    until(SOON, "the whole copy", || {
        let is_whole = fs::read(stage.dir.join("copy")).is_ok_and(|bytes| bytes == stage.bytes);
        is_whole.then_some(())
    });
    until(SOON, "the word", || (completions(&leech) == 1).then_some(()));
    assert!(!leech.err().contains("failed hash check"), "{}", leech.err());
    leech.stop(STOP).expect(0);
}

#[test]
fn no_end_is_good_while_the_file_is_gone() {
    let stage = Stage::new(32);
    let mut source = stage.client("file").args(["--max_upload_rate", "400"]).start();
    source.wait_for(COMPLETE, SOON);
    let leech = stage.client("copy").arg("--exit_on_done").start();
    until(SOON, "a part", || {
        let size = fs::metadata(stage.dir.join("copy")).map_or(0, |meta| meta.len());
        (size as usize > stage.bytes.len() / 4).then_some(())
    });
    fs::remove_file(stage.dir.join("copy")).unwrap();
    let done = leech.wait(SOON).expect(0);
    assert!(done.err.contains("copy' was changed by somebody else"), "{}", done.err);
    assert!(fs::read(stage.dir.join("copy")).unwrap() == stage.bytes);
}

#[test]
fn what_is_cut_off_during_the_download_is_fetched_again_and_nobody_is_blamed() {
    let stage = Stage::new(128);
    let mut source = stage.client("file").args(["--max_upload_rate", "1000"]).start();
    source.wait_for(COMPLETE, SOON);
    let leech = stage.client("copy").arg("--exit_on_done").start();
    let copy = stage.dir.join("copy");
    for _ in 0..2 {
        // Pieces come in any order: it is long soon, and what is cut off is some of them.
        until(SOON, "a part", || {
            let blocks = fs::metadata(&copy).map_or(0, |meta| meta.blocks());
            (blocks * 512 > stage.bytes.len() as u64 / 3).then_some(())
        });
        File::options().write(true).open(&copy).unwrap().set_len(PIECE as u64).unwrap();
    }
    let done = leech.wait(SOON).expect(0);
    assert!(done.err.contains("copy' was changed by somebody else"), "{}", done.err);
    assert!(!done.err.contains("banned"), "{}", done.err);
    assert!(fs::read(copy).unwrap() == stage.bytes);
}

#[test]
fn what_is_taken_as_it_is_is_checked_before_it_is_sent() {
    let stage = Stage::new(16);
    let mut bad = stage.bytes.clone();
    bad[3 * PIECE] ^= 1;
    stage.dir.write("file", &bad);
    let mut source = stage.client("file").args(["--check_hashes", "0"]).start();
    source.wait_for(COMPLETE, SOON);
    let leech = stage.client("copy").start();
    source.wait_for("piece 3 on the disk is bad", SOON);
    until(SOON, "all but one piece", || {
        (stage.dir.join("copy").exists() && stage.good_pieces("copy") == 15).then_some(())
    });
    assert!(!leech.err().contains("failed hash check"), "{}", leech.err());
    // What was not proven is not remembered as had.
    leech.stop(STOP).expect(1);
    source.stop(STOP);
    let mut source = stage.client("file").start();
    assert_eq!(first_percent(&mut source), 93);
}

#[test]
fn priorities_are_remembered_until_others_are_given() {
    let stage = Stage::new(1);
    for name in ["a", "b"] {
        stage.dir.write(format!("tree/{name}"), content(name, 2 * PIECE));
    }
    let url = "http://127.0.0.1:9/announce";
    stage.dir.cmd("btmakemetafile").args([url, "tree", "--piece_size_pow2", "15"]).run().expect(0);
    let run = |args: &[&str]| {
        let args = ["tree.torrent", "--saveas", "tree"].iter().chain(args);
        let mut client = stage
            .dir
            .cmd("btdownload")
            .args(["--bind", "127.0.0.1", "--minport", "10000", "--maxport", "60000"])
            .args(args)
            .start();
        client.wait_for("listening", SOON);
        until(SOON, "the check", || {
            ["seeding: ", "downloading: "].iter().any(|s| client.out().contains(s)).then_some(())
        });
        client.stop(STOP);
        let saved = fs::read(stage.states().remove(0)).unwrap();
        let at = saved.windows(11).position(|w| w.starts_with(b"8:priority")).unwrap();
        saved[at + 10..at + 14].to_vec()
    };
    assert_eq!(run(&["--priority", "-1,1"]), b"2:\xff\x01");
    assert_eq!(run(&[]), b"2:\xff\x01");
    assert_eq!(run(&["--priority", "1,1"]), b"0:6:");
    assert_eq!(run(&[]), b"0:6:");
}
