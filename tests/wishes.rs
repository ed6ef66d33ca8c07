//! Which files are wanted, changed while the client runs.
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod util;

use bittornado::app::client::{
    Client, DiskOptions, FileStatus, Keep, Look, Phase, Priority, Report, Settings, Status,
    priorities,
};
use bittornado::proto::metainfo::Metainfo;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use util::{Background, Dir, content, until};

/// Everything here is done much sooner.
const SOON: Duration = Duration::from_secs(90);

const PIECE: usize = 32 * 1024;

/// A tracker and a seed, and what they share: files named by their numbers.
struct Stage {
    dir: Dir,
    metainfo: Metainfo,
    running: [Background; 2],
}

impl Stage {
    fn new(lengths: &[usize], seed: &[&str]) -> Stage {
        let dir = Dir::new();
        for (n, length) in lengths.iter().enumerate() {
            dir.write(format!("data/{n}"), content(&format!("wish {n}"), *length));
        }
        let tracker = ["--port", "0", "--bind", "127.0.0.1", "--dfile", "state"];
        let mut tracker = dir.cmd("bttrack").args(tracker).start();
        let url = format!("http://127.0.0.1:{}/announce", tracker.wait_for_listening(SOON));
        dir.cmd("btmakemetafile").args([&url, "data", "--piece_size_pow2", "15"]).run().expect(0);
        let ports = ["--minport", "10000", "--maxport", "60000", "--random_port", "1"];
        let client = dir.cmd("btdownload").args(["--bind", "127.0.0.1"]).args(ports).args(seed);
        let mut seed = client.args(["data.torrent", "--saveas", "data"]).start();
        seed.wait_for("download complete", SOON);
        let metainfo = Metainfo::decode(&dir.read("data.torrent")).unwrap();
        Stage { dir, metainfo, running: [tracker, seed] }
    }

    /// Waits until the seed has seen that a client of which it was of no more use is gone; until
    /// then it might take the next connection for one too many.
    fn quiet(&self) {
        let seed = format!("/proc/{}", self.running[1].id());
        until(SOON, "the seed to be alone", || {
            let files = fs::read_dir(format!("{seed}/fd")).unwrap().flatten();
            let links = files.flat_map(|file| fs::read_link(file.path()));
            let sockets: Vec<String> = links.map(|to| to.display().to_string()).collect();
            let table = fs::read_to_string(format!("{seed}/net/tcp")).unwrap();
            let is_ours = |line: &&str| {
                let words: Vec<&str> = line.split_whitespace().collect();
                words[3] != "0A" && sockets.contains(&format!("socket:[{}]", words[9]))
            };
            table.lines().skip(1).find(is_ours).is_none().then_some(())
        });
    }

    /// A client that wants the files so much: `.` not at all, `o` as usual, `!` first; with an
    /// empty picture as the last time.
    fn client(&self, wish: &str) -> Run {
        self.client_with(wish, DiskOptions::default())
    }

    fn client_with(&self, wish: &str, disk: DiskOptions) -> Run {
        let settings = Settings {
            priorities: self.picture(wish),
            ports: 10_000..=60_000,
            shuffle_ports: true,
            bind: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            disk,
            state_dir: Some(self.dir.join("states")),
            http_timeout: Duration::from_secs(5),
            report_interval: Duration::from_millis(20),
            keep: Some(Keep { dir: self.dir.join("states"), expire: None }),
            ..Settings::new(self.metainfo.clone(), self.dir.join("copy"))
        };
        let client = Client::start(settings).unwrap();
        let late = client.stopper();
        // Reports only come while something happens.
        std::thread::spawn(move || {
            std::thread::sleep(SOON);
            late.stop();
        });
        Run { client, said: Vec::new(), last: None }
    }

    fn picture(&self, wish: &str) -> Vec<Priority> {
        let one = |sign| match sign {
            '.' => Priority::Off,
            'o' => Priority::Normal,
            _ => Priority::High,
        };
        match wish.chars().map(one).collect::<Vec<_>>() {
            none if none.is_empty() => none,
            given => priorities(&self.metainfo.info, &given).unwrap(),
        }
    }

    /// The files that are there as they should be; panics if one is there and differs.
    fn there(&self) -> String {
        let count = self.metainfo.info.files.len();
        let sign = |n| match fs::read(self.dir.join(format!("copy/{n}"))) {
            Ok(bytes) if bytes == self.dir.read(format!("data/{n}")) => 'o',
            Ok(_) => '?',
            Err(_) => '.',
        };
        (0..count).map(sign).collect()
    }
}

struct Run {
    client: Client,
    said: Vec<String>,
    last: Option<Status>,
}

impl Run {
    /// Waits for a report; notices are kept.
    fn wait<T>(&mut self, what: &str, mut wanted: impl FnMut(&Report) -> Option<T>) -> T {
        loop {
            let report = self.client.next_report().unwrap();
            if let Some(found) = wanted(&report) {
                return found;
            }
            match report {
                Report::Notice(text) | Report::Remark(text) => self.said.push(text),
                Report::Ended(outcome) => {
                    panic!("no {what} came: {outcome:?}, {:?}, {:?}", self.said, self.last)
                }
                Report::Figures(figures) => self.last = figures.status,
                _ => {}
            }
        }
    }

    /// Waits until all that is wanted is there.
    fn done(&mut self) {
        self.wait("the end", |r| matches!(r, Report::Done | Report::Complete).then_some(()));
    }

    fn wish(&self, stage: &Stage, wish: &str) {
        self.client.set_priorities(stage.picture(wish));
    }

    /// Waits until the client says that the files are wanted so.
    fn agreed(&mut self, stage: &Stage, wish: &str) -> Vec<FileStatus> {
        let wanted = stage.picture(wish);
        self.client.look(Look::Files);
        loop {
            let files = self.wait("the files", |report| match report {
                Report::Files(files) => Some(files.clone()),
                _ => None,
            });
            if files.iter().map(|file| file.priority).eq(wanted.iter().copied()) {
                return files;
            }
            self.client.look(Look::Files);
        }
    }

    /// Ends it: what it said, and its last figures.
    fn stop(mut self) -> (Vec<String>, Status) {
        self.client.stopper().stop();
        loop {
            match self.client.next_report().unwrap() {
                Report::Notice(text) | Report::Remark(text) => self.said.push(text),
                Report::Figures(figures) => self.last = figures.status,
                Report::Ended(outcome) => {
                    assert_eq!(outcome, Ok(()), "{:?}", self.said);
                    return (std::mem::take(&mut self.said), self.last.take().unwrap());
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_file_that_is_wanted_later_comes_to_its_place_and_nothing_is_fetched_twice() {
    let stage = Stage::new(&[PIECE / 2, 3 * PIECE, PIECE / 2], &[]);
    let mut run = stage.client("o..");
    run.done();
    stage.quiet();
    assert_eq!(stage.there(), "o..");
    run.wish(&stage, "oo.");
    run.done();
    assert_eq!(stage.there(), "oo.");
    let files = run.agreed(&stage, "oo.");
    assert_eq!(files.iter().map(|file| file.had).sum::<u64>(), 4 * PIECE as u64);
    run.wish(&stage, "ooo");
    run.agreed(&stage, "ooo");
    assert_eq!(stage.there(), "ooo", "its one half of a piece was there already");
    let (said, status) = run.stop();
    assert_eq!((status.downloaded, said), (4 * PIECE as u64, Vec::new()));
    // And that is what the next start finds.
    let mut again = stage.client("");
    again.done();
    again.agreed(&stage, "ooo");
    let (said, status) = again.stop();
    assert_eq!((status.downloaded, said), (0, Vec::new()));
}

#[test]
fn a_file_that_is_wanted_no_more_is_not_made_and_that_is_remembered() {
    let stage = Stage::new(&[PIECE / 2, 30 * PIECE, PIECE / 2], &["--max_upload_rate", "400"]);
    let mut run = stage.client("!oo");
    run.wish(&stage, "..o");
    run.done();
    assert_eq!(stage.there(), "..o");
    assert!(run.stop().1.downloaded < 6 * PIECE as u64);
    let mut again = stage.client("");
    again.done();
    again.agreed(&stage, "..o");
    assert_eq!(stage.there(), "..o");
    stage.quiet();
    again.wish(&stage, "o.o");
    again.done();
    assert_eq!(stage.there(), "o.o");
    assert_eq!(again.stop().1.downloaded, PIECE as u64);
}

#[test]
fn wishes_that_change_all_the_time_leave_nothing_wrong_behind() {
    let lengths = [PIECE / 2, 5 * PIECE + 7, 0, 100, 100, 9 * PIECE - 1, PIECE, 64 * PIECE];
    let stage = Stage::new(&lengths, &["--max_upload_rate", "1500"]);
    for alloc in ["grow", "sparse", "full"] {
        let allocation = match alloc {
            "grow" => bittornado::app::client::Allocation::Grow,
            "sparse" => bittornado::app::client::Allocation::Sparse,
            _ => bittornado::app::client::Allocation::Full,
        };
        let disk = DiskOptions { allocation, max_files_open: 3, ..DiskOptions::default() };
        // With something to fetch all the time, or the seed would be let go of.
        let mut run = stage.client_with(".......o", disk);
        run.wait("the end of the check", |report| match report {
            Report::Figures(figures) => (figures.phase == Phase::Downloading).then_some(()),
            _ => None,
        });
        let mut seed = 7_u32;
        for _ in 0..40 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let sign = |bit: u32| [".", "o", "o", "!"][(seed >> (8 + 2 * bit)) as usize & 3];
            let wish: String = (0..7).map(sign).chain(["o"]).collect();
            run.wish(&stage, &wish);
            run.agreed(&stage, &wish);
        }
        run.wish(&stage, "oooooooo");
        until(SOON, alloc, || (stage.there() == "oooooooo").then_some(()));
        let (said, _) = run.stop();
        assert!(
            !said.iter().any(|text| text.contains("hash") || text.contains("changed")),
            "{said:?}"
        );
        let mut again = stage.client("");
        again.wait("all", |r| matches!(r, Report::Complete).then_some(()));
        assert_eq!(again.stop().1.downloaded, 0);
        fs::remove_dir_all(stage.dir.join("copy")).unwrap();
        fs::remove_dir_all(stage.dir.join("states")).unwrap();
    }
}

#[test]
fn what_somebody_else_put_in_the_place_of_a_file_is_kept_or_refused() {
    let stage = Stage::new(&[PIECE / 2, 3 * PIECE], &[]);
    let mut run = stage.client("o.");
    run.done();
    stage.quiet();
    stage.dir.write("copy/1", content("foreign", 4 * PIECE));
    run.wish(&stage, "oo");
    let told = run.wait("a refusal", |report| match report {
        Report::Notice(text) => Some(text.clone()),
        _ => None,
    });
    let path = stage.dir.join("copy/1").display().to_string();
    let why = format!("it has {} bytes, the torrent says {}", 4 * PIECE, 3 * PIECE);
    assert_eq!(told, format!("cannot use '{path}': {why}; the files are wanted as before"));
    run.agreed(&stage, "o.");
    // What fits is made what it should be.
    let mut bytes = stage.dir.read("data/1");
    bytes[PIECE] ^= 1;
    stage.dir.write("copy/1", bytes);
    run.wish(&stage, "oo");
    run.done();
    assert_eq!(stage.there(), "oo");
    let (said, _) = run.stop();
    assert!(said.iter().any(|text| text.contains("was changed by somebody else")), "{said:?}");
}

#[test]
fn a_wish_during_the_check_waits_for_its_end() {
    let stage = Stage::new(&[PIECE / 2, 3 * PIECE], &[]);
    let mut run = stage.client("..");
    run.wish(&stage, "o.");
    run.done();
    stage.quiet();
    run.done();
    run.agreed(&stage, "o.");
    assert_eq!(stage.there(), "o.");
}

#[test]
fn a_client_rests_and_looks_again_at_its_data_when_it_is_told_to() {
    let stage = Stage::new(&[5 * PIECE, 3 * PIECE], &[]);
    let mut run = stage.client("oo");
    run.client.pause(true);
    run.wait("a rest", |report| match report {
        Report::Figures(figures) => (figures.phase == Phase::Paused).then_some(()),
        _ => None,
    });
    // What somebody puts in place meanwhile need not be fetched.
    stage.dir.write("copy/1", stage.dir.read("data/1"));
    let mut said = |what: &str| {
        run.client.recheck();
        run.wait(what, |report| match report {
            Report::Remark(text) => text.contains("checked again").then(|| text.clone()),
            _ => None,
        })
    };
    assert_eq!(said("a find"), "all data was checked again: 0 bad and 3 new good pieces");
    run.client.set_limits(Some(100_000_000), Some(100_000_000));
    run.client.pause(false);
    run.done();
    assert_eq!(stage.there(), "oo");
    stage.quiet();
    let mut bytes = stage.dir.read("data/0");
    bytes[2 * PIECE] ^= 1;
    stage.dir.write("copy/0", bytes);
    run.client.recheck();
    run.done();
    assert_eq!(stage.there(), "oo");
    let (said, status) = run.stop();
    assert_eq!(status.downloaded, 6 * PIECE as u64, "{said:?}");
    assert!(said.iter().any(|text| text.contains("piece 2 on the disk is bad")), "{said:?}");
}
