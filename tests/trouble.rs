//! A disk that fails in the middle of a download: it waits, says so once, and goes on by itself.
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod util;

use bittornado::app::client::{Client, DiskOptions, Goal, Keep, Report, Settings};
use bittornado::io::storage::{Call, Fault, Faults};
use bittornado::proto::metainfo::Metainfo;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use util::{Background, Dir, content, until};

/// Everything here is done much sooner.
const SOON: Duration = Duration::from_secs(60);

const EIO: i32 = 5;

/// A tracker and a seed, and what they share.
struct Stage {
    dir: Dir,
    bytes: Vec<u8>,
    running: [Background; 2],
}

impl Stage {
    fn new() -> Stage {
        let dir = Dir::new();
        let tracker = ["--port", "0", "--bind", "127.0.0.1", "--dfile", "state"];
        let mut tracker = dir.cmd("bttrack").args(tracker).start();
        let url = format!("http://127.0.0.1:{}/announce", tracker.wait_for_listening(SOON));
        let bytes = content("trouble", 64 * 32 * 1024);
        dir.write("file", &bytes);
        dir.cmd("btmakemetafile").args([&url, "file", "--piece_size_pow2", "15"]).run().expect(0);
        let ports = ["--minport", "10000", "--maxport", "60000", "--random_port", "1"];
        let seed = dir.cmd("btdownload").args(["--bind", "127.0.0.1"]).args(ports);
        let mut seed = seed.args(["file.torrent", "--saveas", "file"]).start();
        seed.wait_for("download complete", SOON);
        Stage { dir, bytes, running: [tracker, seed] }
    }

    fn settings(&self, disk: DiskOptions) -> Settings {
        settings(&self.dir, "copy", disk)
    }

    /// Downloads, and tells what was said meanwhile.
    fn download(&self, disk: DiskOptions) -> Vec<String> {
        let (said, outcome) = self.try_to_download(disk);
        assert_eq!(outcome, Ok(()), "{said:?}");
        said
    }

    /// Downloads all of it, and tells what was said meanwhile, and how it ended.
    fn try_to_download(&self, disk: DiskOptions) -> (Vec<String>, Result<(), String>) {
        let client = Client::start(self.settings(disk)).unwrap();
        let (mut said, mut ended) = (Vec::new(), None);
        while let Some(report) = client.next_report() {
            match report {
                Report::Notice(text) | Report::Remark(text) => said.push(text),
                Report::Ended(outcome) => ended = Some(outcome),
                _ => {}
            }
        }
        assert!(self.dir.read("copy") == self.bytes, "{said:?}");
        (said, ended.unwrap())
    }
}

fn settings(dir: &Dir, saveas: &str, disk: DiskOptions) -> Settings {
    let metainfo = Metainfo::decode(&dir.read("file.torrent")).unwrap();
    Settings {
        ports: 10_000..=60_000,
        shuffle_ports: true,
        bind: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        disk,
        goal: Goal { exit_on_done: true, ..Goal::default() },
        http_timeout: Duration::from_secs(5),
        report_interval: Duration::from_millis(100),
        keep: Some(Keep { dir: dir.join("states"), expire: None }),
        ..Settings::new(metainfo, dir.join(saveas))
    }
}

/// Says something of the kind exactly once.
fn once(said: &[String], parts: [&str; 2]) -> bool {
    said.iter().filter(|text| parts.iter().all(|part| text.contains(part))).count() == 1
}

#[test]
fn a_write_that_fails_is_told_once_and_tried_again() {
    let faults = Faults::planned();
    faults.inject(Call::Write, 3..5, Fault::Error(EIO));
    let said = Stage::new().download(DiskOptions { faults, ..DiskOptions::default() });
    assert!(once(&said, ["cannot write", "copy': Input/output error"]), "{said:?}");
    assert!(!said.iter().any(|text| text.contains("hash check")), "nobody is blamed: {said:?}");
}

#[test]
fn a_piece_that_cannot_be_read_back_is_no_fault_of_those_who_gave_it() {
    let faults = Faults::planned();
    faults.inject(Call::Read, 1..2, Fault::Error(EIO));
    let disk = DiskOptions { triple_check: true, faults, ..DiskOptions::default() };
    let said = Stage::new().download(disk);
    assert!(once(&said, ["cannot read", "copy': Input/output error"]), "{said:?}");
    assert!(!said.iter().any(|text| text.contains("hash check")), "nobody is blamed: {said:?}");
}

#[test]
fn what_did_not_reach_the_disk_is_not_vouched_for() {
    let faults = Faults::planned();
    faults.inject(Call::Sync, 0..usize::MAX, Fault::Error(EIO));
    let stage = Stage::new();
    let disk = DiskOptions { faults: faults.clone(), ..DiskOptions::default() };
    let (said, outcome) = stage.try_to_download(disk);
    assert!(faults.count(Call::Sync) > 0);
    let why = outcome.unwrap_err();
    assert!(why.contains("copy': Input/output error"), "{why}, {said:?}");
    // Damaged now, with size and time as they were: only who reads it again can see that.
    let copy = stage.dir.join("copy");
    let modified = std::fs::metadata(&copy).unwrap().modified().unwrap();
    let mut bytes = stage.bytes.clone();
    bytes[100_000] ^= 1;
    std::fs::write(&copy, bytes).unwrap();
    std::fs::File::options().write(true).open(&copy).unwrap().set_modified(modified).unwrap();
    stage.download(DiskOptions::default());
}

#[test]
fn what_cannot_be_read_for_others_is_told_once_and_given_later() {
    let stage = Stage::new();
    let [_tracker, seed] = stage.running;
    seed.stop(SOON).expect(0);
    let faults = Faults::planned();
    let disk = DiskOptions { faults: faults.clone(), ..DiskOptions::default() };
    let start = |disk| {
        let settings = settings(&stage.dir, "file", disk);
        let client = Client::start(Settings { goal: Goal::default(), ..settings }).unwrap();
        while !matches!(client.next_report().unwrap(), Report::Complete) {}
        client
    };
    // The second start has nothing to check: what is read then is read for somebody.
    drop(start(DiskOptions::default()));
    faults.inject(Call::Read, 0..4, Fault::Error(EIO));
    let client = start(disk);
    let mut said = Vec::new();
    let leech = stage.dir.cmd("btdownload").args(["--bind", "127.0.0.1", "--exit_on_done"]);
    let leech = leech.args(["--minport", "10000", "--maxport", "60000", "--random_port", "1"]);
    let leech = leech.args(["file.torrent", "--saveas", "copy"]).start();
    let stopper = client.stopper();
    let done = std::thread::spawn(move || {
        let done = leech.wait(3 * SOON);
        stopper.stop();
        done
    });
    while let Some(report) = client.next_report() {
        match report {
            Report::Notice(text) | Report::Remark(text) => said.push(text),
            Report::Ended(outcome) => assert_eq!(outcome, Ok(()), "{said:?}"),
            _ => {}
        }
    }
    let done = done.join().unwrap().expect(0);
    assert!(faults.count(Call::Read) > 0);
    assert!(stage.dir.read("copy") == stage.bytes);
    assert!(once(&said, ["cannot read", "file': Input/output error; others wait"]), "{said:?}");
    assert!(once(&said, ["reading works again", ""]), "{said:?}");
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(!done.err.contains("ban") && !done.err.contains("hash"), "{}", done.err);
}

#[test]
fn what_was_written_is_brought_to_the_disk_as_often_as_is_set() {
    let stage = Stage::new();
    for flush_every in [None, Some(Duration::from_millis(20))] {
        let faults = Faults::planned();
        let disk = DiskOptions { flush_every, faults: faults.clone(), ..DiskOptions::default() };
        // Without a state to be saved nothing else asks for it.
        let settings = Settings { keep: None, goal: Goal::default(), ..stage.settings(disk) };
        let client = Client::start(settings).unwrap();
        while !matches!(client.next_report().unwrap(), Report::Complete) {}
        if flush_every.is_some() {
            until(SOON, "it on the disk", || (faults.count(Call::Sync) > 0).then_some(()));
        }
        drop(client);
        assert_eq!(faults.count(Call::Sync) > 0, flush_every.is_some());
        assert!(stage.dir.read("copy") == stage.bytes);
        std::fs::remove_file(stage.dir.join("copy")).unwrap();
    }
}
