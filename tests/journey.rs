//! The way of a torrent through the whole program: made, tracked, seeded, downloaded, compared.
//! `scripts/demo` in miniature, and what may happen on the way.
#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "journey/face.rs"]
mod face;
#[path = "journey/many.rs"]
mod many;
#[path = "journey/publish.rs"]
mod publish;
mod util;
#[path = "journey/web.rs"]
mod web;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use util::{Background, Cmd, Dir, content, until};

/// Everything here is done much sooner.
const SOON: Duration = Duration::from_secs(90);

/// An end may take so long: a tracker is told first.
const STOP: Duration = Duration::from_secs(20);

const COMPLETE: &str = "download complete";

const PIECE: usize = 32 * 1024;

/// A folder with a tracker in it.
struct Stage {
    dir: Dir,
    tracker: Background,
    port: u16,
}

impl Stage {
    fn new() -> Stage {
        let dir = Dir::new();
        let mut tracker = dir
            .cmd("bttrack")
            .args(["--port", "0", "--bind", "127.0.0.1", "--dfile", "state"])
            .args(["--min_time_between_log_flushes", "0"])
            .start();
        let port = tracker.wait_for_listening(SOON);
        Stage { dir, tracker, port }
    }

    /// Makes `NAME.torrent` of a file or folder.
    fn make(&self, name: &str) {
        let url = format!("http://127.0.0.1:{}/announce", self.port);
        let make = self.dir.cmd("btmakemetafile").args([&url, name, "--piece_size_pow2", "15"]);
        make.run().expect(0);
    }

    /// A client for that torrent.
    fn client(&self, name: &str, saveas: &str) -> Cmd {
        let torrent = format!("{name}.torrent");
        client(&self.dir).args([&torrent, "--saveas", saveas])
    }

    /// A client that has said that everything is there.
    fn complete(&self, name: &str, saveas: &str) -> Background {
        let mut client = self.client(name, saveas).start();
        client.wait_for(COMPLETE, SOON);
        client
    }

    /// What the tracker knows, once it is this: seeds, downloads that ended, other peers.
    fn wait_for_counts(&self, complete: u32, downloaded: u32, incomplete: u32) {
        let counts =
            format!("8:completei{complete}e10:downloadedi{downloaded}e10:incompletei{incomplete}e");
        until(STOP, &counts, || self.get("/scrape").contains(&counts).then_some(()));
    }

    fn get(&self, target: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "GET {target} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// What the last client that came to an end had downloaded, in bytes, by its own word.
    fn downloaded(&self) -> usize {
        until(SOON, "an announce of a completed download", || {
            let log = self.tracker.out();
            let line = log.lines().rfind(|line| line.contains("event=completed"))?;
            let (_, rest) = line.split_once("&downloaded=")?;
            rest.split_once('&')?.0.parse().ok()
        })
    }
}

fn client(dir: &Dir) -> Cmd {
    dir.cmd("btdownload")
        .args(["--bind", "127.0.0.1", "--minport", "10000", "--maxport", "60000"])
        .args(["--random_port", "1", "--display_interval", "0.1"])
}

/// Every file below a folder, and what it holds.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn add(root: &Path, below: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(root.join(below)).unwrap() {
            let path = below.join(entry.unwrap().file_name());
            match root.join(&path).is_dir() {
                true => add(root, &path, files),
                false => _ = files.insert(path.clone(), fs::read(root.join(&path)).unwrap()),
            }
        }
    }
    let mut all = BTreeMap::new();
    add(root, Path::new(""), &mut all);
    all
}

/// A tree with names of all kinds.
fn tree(dir: &Dir) {
    for (name, size) in [
        ("-rf", 3),
        ("with spaces  in it ", 70_000),
        ("Ünïcödé/日本語/🦀.txt", PIECE),
        ("one/two/three/four/five/six/seven/eight/deep", 2 * PIECE + 1),
        ("empty", 0),
        ("one/empty too", 0),
        ("it's \"quoted\" & $HOME; *", 1),
        ("z last", 0),
    ] {
        dir.write(format!("tree/{name}"), content(name, size));
    }
}

#[test]
fn a_tree_of_odd_names_arrives_whole() {
    let stage = Stage::new();
    tree(&stage.dir);
    let sent = files(&stage.dir.join("tree"));
    stage.dir.write("tree/.hidden", "not for others");
    stage.make("tree");
    let seed = stage.complete("tree", "tree");
    let leech = stage.complete("tree", "elsewhere/copy");
    stage.wait_for_counts(2, 1, 0);
    assert_eq!(files(&stage.dir.join("elsewhere/copy")), sent);
    assert_eq!(stage.downloaded(), sent.values().map(Vec::len).sum::<usize>());

    leech.stop(STOP).expect(0);
    stage.wait_for_counts(1, 1, 0);
    seed.signal(Signal::INT);
    seed.wait(STOP).expect(0);
    stage.wait_for_counts(0, 1, 0);
    assert_eq!(stage.dir.read("tree/.hidden"), b"not for others");
    assert_eq!(files(&stage.dir.join("tree")).len(), sent.len() + 1);
    stage.tracker.stop(STOP).expect(0);
}

#[test]
fn a_single_file_arrives_whole_under_the_name_in_the_torrent() {
    let stage = Stage::new();
    let bytes = content("single", 10 * PIECE + 17);
    stage.dir.write("a file.bin", &bytes);
    stage.make("a file.bin");
    let _seed = stage.complete("a file.bin", "a file.bin");
    fs::create_dir(stage.dir.join("elsewhere")).unwrap();
    let mut leech =
        client(&stage.dir).cwd(stage.dir.join("elsewhere")).arg("../a file.bin.torrent").start();
    leech.wait_for(COMPLETE, SOON);
    assert_eq!(stage.dir.read("elsewhere/a file.bin"), bytes);
    stage.wait_for_counts(2, 1, 0);
}

#[test]
fn two_of_five_files_are_fetched_and_that_is_done() {
    let stage = Stage::new();
    for n in 1..=5 {
        stage.dir.write(format!("five/{n}"), content(&format!("file {n}"), 3 * PIECE));
    }
    stage.make("five");
    let seed = stage.client("five", "five").args(["--priority", "1,1"]).start();
    until(SOON, "a warning", || {
        seed.err().contains("--priority: bad priority list given, ignored").then_some(())
    });
    let mut leech = stage.client("five", "copy").args(["--priority", "-1,0,-1,2,-1"]).start();
    leech.wait_for(COMPLETE, SOON);
    assert!(leech.out().contains("every piece of the wanted files checked"), "{}", leech.out());
    for n in [2, 4] {
        let (ours, theirs) = (format!("copy/{n}"), format!("five/{n}"));
        assert!(stage.dir.read(ours) == stage.dir.read(theirs), "file {n} differs");
    }
    leech.stop(STOP).expect(0);
    // It was not complete, and told the tracker so.
    stage.wait_for_counts(1, 0, 0);
}

#[test]
fn only_what_is_missing_or_damaged_is_fetched() {
    const PIECES: usize = 40;
    let stage = Stage::new();
    let bytes = content("resume", PIECES * PIECE);
    stage.dir.write("file", &bytes);
    stage.make("file");
    let _seed = stage.complete("file", "file");
    // The first half is there, but for a bit in piece 3 and one in piece 7.
    let mut part = bytes[..PIECES / 2 * PIECE].to_vec();
    part[3 * PIECE] ^= 1;
    part[8 * PIECE - 1] ^= 128;
    stage.dir.write("copy", part);
    let _leech = stage.complete("file", "copy");
    assert!(stage.dir.read("copy") == bytes, "the copy differs");
    assert_eq!(stage.downloaded(), (PIECES / 2 + 2) * PIECE);
    stage.wait_for_counts(2, 1, 0);
}

#[test]
fn a_download_that_was_killed_goes_on_where_it_was() {
    const SIZE: usize = 64 * PIECE;
    let stage = Stage::new();
    let bytes = content("killed", SIZE);
    stage.dir.write("file", &bytes);
    stage.make("file");
    let _seed = stage.complete("file", "file");

    let slow = ["--max_download_rate", "500"];
    let mut killed = stage.client("file", "copy").args(slow).start();
    until(SOON, "a quarter of the file", || {
        assert!(killed.runs(), "{}", killed.err());
        let done = percent(&killed.out());
        assert!(done < 90, "too fast to be killed in the middle");
        (done >= 25).then_some(())
    });
    killed.signal(Signal::KILL);
    assert_eq!(killed.wait(STOP).code(), None);

    let again = stage.complete("file", "copy");
    assert!(stage.dir.read("copy") == bytes, "the copy differs");
    let fetched = stage.downloaded();
    assert!(fetched > 0 && fetched <= SIZE * 4 / 5, "{fetched} of {SIZE} bytes fetched again");
    again.stop(STOP).expect(0);
}

#[test]
fn a_download_that_is_stopped_early_says_so_and_says_goodbye() {
    let stage = Stage::new();
    stage.dir.write("file", content("stopped", 64 * PIECE));
    stage.make("file");
    let _seed = stage.complete("file", "file");
    let mut leech = stage.client("file", "copy").args(["--max_download_rate", "100"]).start();
    until(SOON, "the first percent", || (percent(&leech.out()) > 0).then_some(()));
    assert!(leech.runs());
    stage.wait_for_counts(1, 0, 1);
    let done = leech.stop(STOP).expect(1);
    assert_eq!(done.err, "btdownload: stopped before the download was complete\n");
    stage.wait_for_counts(1, 0, 0);
}

/// How far a download is, by its last line.
fn percent(out: &str) -> u32 {
    let line = out.lines().rfind(|line| line.starts_with("downloading: ")).unwrap_or_default();
    let digits = line.trim_start_matches("downloading: ").split('%').next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}
