//! A client that nobody looks after: it ends when it has done what was asked for, runs the user's
//! command, and goes on under odd circumstances.
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod util;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bittornado::proto::metainfo::Metainfo;
use rustix::process::Signal;
use util::{Background, Cmd, Dir, content, until};

/// Everything here is done much sooner.
const SOON: Duration = Duration::from_secs(60);

/// An end may take so long.
const STOP: Duration = Duration::from_secs(20);

const COMPLETE: &str = "download complete";

const PIECE: usize = 32 * 1024;

/// A tracker, and the torrents of the folder `origin`.
struct Stage {
    dir: Dir,
    tracker: Background,
    port: u16,
}

impl Stage {
    /// With the torrent `shared.torrent` of a file or folder in `origin`.
    fn new(files: &[(&str, usize)]) -> Stage {
        let dir = Dir::new();
        for (name, size) in files {
            dir.write(format!("origin/shared/{name}"), content(name, *size));
        }
        let mut tracker = dir
            .cmd("bttrack")
            .args(["--port", "0", "--bind", "127.0.0.1", "--dfile", "state"])
            .args(["--min_time_between_log_flushes", "0"])
            .start();
        let port = tracker.wait_for_listening(SOON);
        let url = format!("http://127.0.0.1:{port}/announce");
        let make = dir.cmd("btmakemetafile").args([&url, "origin/shared"]);
        make.args(["--target", "shared.torrent", "--piece_size_pow2", "15"]).run().expect(0);
        Stage { dir, tracker, port }
    }

    /// Of one file of so many pieces.
    fn of_pieces(count: usize) -> Stage {
        Stage::new(&[("file", count * PIECE)])
    }

    fn client(&self, saveas: &str) -> Cmd {
        with_options(self.dir.cmd("btdownload"), saveas)
    }

    /// A connection to a client, with both handshakes done.
    fn peer_of(&self, port: u16) -> TcpStream {
        let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
        peer.set_read_timeout(Some(SOON)).unwrap();
        let hash = Metainfo::decode(&self.dir.read("shared.torrent")).unwrap().info_hash;
        let mut hello = b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0".to_vec();
        hello.extend(hash.0);
        hello.extend(b"-XX0000-wait-a-while");
        peer.write_all(&hello).unwrap();
        peer.read_exact(&mut [0; 68]).unwrap();
        peer
    }

    fn seed(&self) -> Background {
        let mut seed = self.client("origin/shared").start();
        seed.wait_for(COMPLETE, SOON);
        self.wait_for_counts(1, 0, 0);
        seed
    }

    /// What the tracker knows, once it is this: seeds, downloads that ended, other peers.
    fn wait_for_counts(&self, complete: u32, downloaded: u32, incomplete: u32) {
        let counts =
            format!("8:completei{complete}e10:downloadedi{downloaded}e10:incompletei{incomplete}e");
        until(SOON, &counts, || self.scrape().contains(&counts).then_some(()));
    }

    fn scrape(&self) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "GET /scrape HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn assert_arrived(&self, saveas: &str) {
        for entry in fs::read_dir(self.dir.join("origin/shared")).unwrap() {
            let name = entry.unwrap().file_name();
            let path = |folder: &str| Path::new(folder).join(&name);
            let (sent, got) = (path("origin/shared"), path(saveas));
            assert!(self.dir.read(sent) == self.dir.read(got), "{name:?} differs");
        }
    }
}

const OPTIONS: [&str; 10] = [
    "--bind",
    "127.0.0.1",
    "--minport",
    "10000",
    "--maxport",
    "60000",
    "--random_port",
    "1",
    "--display_interval",
    "0.1",
];

/// Where a client listens.
fn port_of(client: &Background) -> u16 {
    until(SOON, "the port", || {
        let out = client.out();
        out.split_once("listening on port ")?.1.split_once('\n')?.0.parse().ok()
    })
}

fn with_options(cmd: Cmd, saveas: &str) -> Cmd {
    cmd.args(OPTIONS).args(["shared.torrent", "--saveas", saveas])
}

/// A program in the folder.
fn script(dir: &Dir, name: &str, lines: &str) -> String {
    let path = dir.write(name, format!("#!/bin/sh\n{lines}\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

// --- The end of the work ---

#[test]
fn it_exits_when_done_after_the_tracker_has_heard_of_it() {
    let stage = Stage::new(&[("one", 100_000), ("two", 0), ("three", 10)]);
    let _seed = stage.seed();
    stage.client("copy").arg("--exit_on_done").run().expect(0);
    stage.assert_arrived("copy");
    stage.wait_for_counts(1, 1, 0);
    let log = stage.tracker.out();
    let events: Vec<_> = ["started", "completed", "stopped"]
        .map(|event| log.rfind(&format!("event={event}")).unwrap())
        .into();
    assert!(events.is_sorted(), "{log}");
    // What is there already is done at once.
    stage.client("copy").arg("--exit_on_done=1").run().expect(0);
}

#[test]
fn it_exits_when_done_though_no_tracker_listens() {
    let stage = Stage::of_pieces(2);
    let Stage { dir, tracker, .. } = stage;
    tracker.stop(STOP).expect(0);
    let began = Instant::now();
    with_options(dir.cmd("btdownload"), "origin/shared").arg("--exit_on_done").run().expect(0);
    assert!(began.elapsed() < STOP, "{:?}", began.elapsed());
}

#[test]
fn it_shares_as_much_as_it_was_told_to() {
    let stage = Stage::of_pieces(8);
    let seed = stage.client("origin/shared").args(["--seed_ratio", "2"]).start();
    for copy in ["first", "second"] {
        stage.client(copy).args(["--seed_ratio", "0"]).run().expect(0);
        stage.assert_arrived(copy);
    }
    let done = seed.wait(SOON).expect(0);
    assert!(done.out.contains("shared 2.000 times"), "{done:#?}");
    stage.wait_for_counts(0, 2, 0);
}

#[test]
fn it_shares_as_long_as_it_was_told_to() {
    let stage = Stage::of_pieces(1);
    let began = Instant::now();
    let done = stage.client("origin/shared").args(["--seed_time", "0.02"]).run().expect(0);
    assert!(began.elapsed() >= Duration::from_millis(1200), "{:?}", began.elapsed());
    assert!(done.out.contains("shared for 0.0 minutes"), "{done:#?}");
}

// --- The command ---

#[test]
fn the_command_runs_once_and_learns_what_transmission_would_tell_it() {
    let stage = Stage::of_pieces(3);
    let _seed = stage.seed();
    let lines = "env | grep ^TR_ | sort > \"$TR_TORRENT_DIR/env.$$\"; cat; echo from the script";
    let command = script(&stage.dir, "on done", lines);
    let client = stage.client("a copy").args(["--exit_on_done", "--on_done", &command]);
    let done = client.env("TZ", "HALF-12").run().expect(0);
    assert!(done.out.contains("from the script"), "{done:#?}");
    let names = stage.dir.names();
    let written: Vec<_> = names.iter().filter(|name| name.starts_with("env.")).collect();
    assert_eq!(written.len(), 1, "{names:?}");
    let text = String::from_utf8(stage.dir.read(written[0])).unwrap();
    let hash = Metainfo::decode(&stage.dir.read("shared.torrent")).unwrap().info_hash;
    let lines: Vec<_> = text.lines().filter(|l| !l.starts_with("TR_TIME_LOCALTIME=")).collect();
    let expected = [
        "TR_APP_VERSION=0.5.0".to_owned(),
        format!("TR_TORRENT_BYTES_DOWNLOADED={}", 3 * PIECE),
        format!("TR_TORRENT_DIR={}", stage.dir.path().display()),
        format!("TR_TORRENT_HASH={hash}"),
        "TR_TORRENT_ID=1".into(),
        "TR_TORRENT_LABELS=".into(),
        "TR_TORRENT_NAME=a copy".into(),
        "TR_TORRENT_PRIORITY=0".into(),
        format!("TR_TORRENT_TRACKERS=http://127.0.0.1:{}/announce", stage.port),
    ];
    assert_eq!(lines, expected);
    let shown = text.lines().find_map(|l| l.strip_prefix("TR_TIME_LOCALTIME=")).unwrap();
    let clock = shown.split_whitespace().nth(3).unwrap().split(':').map(|n| n.parse::<u64>());
    let shown = clock.fold(0, |seconds, n| seconds * 60 + n.unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let ahead = (shown + 86_400 - now % 86_400) % 86_400;
    assert!((41_000..=43_200).contains(&ahead), "half a day before or after: {text}");
    // What is there already was not downloaded by this run.
    stage.client("a copy").args(["--exit_on_done", "--on_done", &command]).run().expect(0);
    assert_eq!(stage.dir.names(), names);
}

#[test]
fn a_command_that_fails_is_reported_and_changes_nothing_else() {
    let stage = Stage::of_pieces(3);
    let _seed = stage.seed();
    let command = script(&stage.dir, "fails", "exit 7");
    for (copy, command, complaint) in [
        ("one", command.as_str(), "failed with exit code 7"),
        ("two", "./is not there", "cannot run"),
        ("three", "origin", "cannot run"),
    ] {
        let client = stage.client(copy).args(["--exit_on_done", "--on_done", command]);
        let done = client.run().expect(0);
        assert!(done.err.contains(complaint), "{done:#?}");
        stage.assert_arrived(copy);
    }
}

#[test]
fn a_command_that_hangs_delays_neither_the_sharing_nor_the_end() {
    let stage = Stage::of_pieces(3);
    let seed = stage.seed();
    let command = script(&stage.dir, "hangs", "echo $$ > pid; exec sleep 60");
    let mut client = stage.client("copy").args(["--exit_on_done", "--on_done", &command]).start();
    client.wait_for(COMPLETE, SOON);
    let pid: i32 = until(SOON, "the command", || {
        fs::read_to_string(stage.dir.join("pid")).ok()?.trim().parse().ok()
    });
    stage.wait_for_counts(2, 1, 0);
    seed.stop(STOP).expect(0);
    // The end waits for the command; meanwhile the torrent is shared.
    stage.client("other").arg("--exit_on_done").run().expect(0);
    client.stop(STOP).expect(0);
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

#[test]
fn a_command_that_has_ended_leaves_no_zombie() {
    let stage = Stage::of_pieces(3);
    let _seed = stage.seed();
    let command = script(&stage.dir, "quick", "echo $$ > pid.new; mv pid.new pid");
    let mut client = stage.client("copy").args(["--on_done", &command]).start();
    let pid: i32 = until(SOON, "the command", || {
        fs::read_to_string(stage.dir.join("pid")).ok()?.trim().parse().ok()
    });
    let entry = format!("/proc/{pid}");
    until(SOON, "its end", || (!Path::new(&entry).exists()).then_some(()));
    assert!(client.runs());
}

// --- Odd circumstances ---

/// The client in a shell that changes something first.
fn in_shell(stage: &Stage, preparation: &str, saveas: &str) -> Cmd {
    let client = stage.dir.cmd("btdownload");
    let shell = stage.dir.program("/bin/sh").arg("-c");
    let shell = shell.arg(format!("{preparation}; exec \"$@\"")).arg("sh").arg(client.name());
    with_options(shell, saveas)
}

#[test]
fn with_few_descriptors_it_downloads_and_seeds() {
    let files: Vec<_> = (0..60).map(|n| format!("file {n:02}")).collect();
    let files: Vec<_> = files.iter().map(|name| (name.as_str(), 50_000)).collect();
    let stage = Stage::new(&files);
    let mut seed = in_shell(&stage, "ulimit -n 32", "origin/shared").start();
    seed.wait_for(COMPLETE, SOON);
    stage.wait_for_counts(1, 0, 0);
    let leeches: Vec<_> = ["a", "b", "c", "d"]
        .map(|copy| (copy, in_shell(&stage, "ulimit -n 32", copy).arg("--exit_on_done").start()))
        .into();
    for (copy, leech) in leeches {
        let done = leech.wait(SOON).expect(0);
        assert_eq!(done.err, "", "{done:#?}");
        stage.assert_arrived(copy);
    }
    assert_eq!(seed.stop(STOP).expect(0).err, "");
}

#[test]
fn closed_outputs_and_a_reader_that_leaves_do_not_end_it() {
    let stage = Stage::of_pieces(10);
    let _seed = stage.seed();
    for (copy, preparation) in [
        ("a", "exec >&-"),
        ("b", "exec 2>&-"),
        ("c", "exec <&- >&- 2>&-"),
        ("d", "exec > /dev/full 2> /dev/full"),
        ("e", "mkfifo d.fifo; true < d.fifo & exec > d.fifo 2>&1"),
    ] {
        in_shell(&stage, preparation, copy).arg("--exit_on_done").run().expect(0);
        stage.assert_arrived(copy);
    }
}

#[test]
fn without_home_and_path_it_works() {
    let stage = Stage::of_pieces(3);
    let _seed = stage.seed();
    let client = stage.dir.cmd("btdownload");
    let mut bare = Command::new(client.name());
    bare.env_clear().current_dir(stage.dir.path()).args(OPTIONS);
    bare.args(["shared.torrent", "--saveas", "copy", "--exit_on_done"]);
    let done = stage.dir.background(bare).wait(SOON).expect(0);
    // Only what it has is not remembered anywhere.
    assert_eq!(done.err.lines().count(), 1, "{done:#?}");
    stage.assert_arrived("copy");
}

#[test]
fn a_user_without_any_rights_can_download_and_seed() {
    const NOBODY: u32 = 65_534;
    // Whoever is not root has no rights to lose.
    let is_root = rustix::process::geteuid().is_root();
    let stage = Stage::of_pieces(3);
    let _seed = stage.seed();
    // Not below the folder of the tests, which may be root's alone.
    let home = std::env::temp_dir().join(format!("bittornado-nobody-{}", std::process::id()));
    // One that was killed, and had this number, may have left it.
    let _ = fs::remove_dir_all(&home);
    fs::create_dir(&home).unwrap();
    let binary = home.join("btdownload");
    fs::copy(env!("CARGO_BIN_EXE_bittornado"), &binary).unwrap();
    fs::copy(stage.dir.join("shared.torrent"), home.join("shared.torrent")).unwrap();
    if is_root {
        chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let run = || {
        let mut client = Command::new(&binary);
        client.env_clear().env("HOME", "/nonexistent").current_dir(&home);
        if is_root {
            client.uid(NOBODY).gid(NOBODY);
        }
        client.args(OPTIONS).args(["shared.torrent", "--saveas", "copy", "--exit_on_done"]);
        stage.dir.background(client).wait(SOON)
    };
    let (first, second) = (run(), run());
    let same = fs::read(home.join("copy/file")).ok() == Some(stage.dir.read("origin/shared/file"));
    fs::remove_dir_all(&home).unwrap();
    assert_eq!((first.code(), second.code()), (Some(0), Some(0)), "{first:#?} {second:#?}");
    assert!(same, "{first:#?}");
}

#[test]
fn one_that_was_killed_listens_on_its_port_again_at_once() {
    let stage = Stage::of_pieces(1);
    let mut client = stage.client("origin/shared").start();
    client.wait_for(COMPLETE, SOON);
    let port = port_of(&client);
    let _peer = stage.peer_of(port);
    drop(client);
    let ports = ["--minport", &port.to_string(), "--maxport", &port.to_string()];
    let mut again = stage.client("origin/shared").args(ports).start();
    again.wait_for(COMPLETE, SOON);
    assert_eq!(port_of(&again), port);
}

#[test]
fn a_process_that_was_stopped_for_a_while_keeps_its_peers() {
    let stage = Stage::of_pieces(3);
    let mut client = stage
        .client("origin/shared")
        .args(["--timeout", "5", "--timeout_check_interval", "1"])
        .start();
    client.wait_for(COMPLETE, SOON);
    let mut peer = stage.peer_of(port_of(&client));
    client.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(8));
    client.signal(Signal::CONT);
    // The client would have closed the connection at once: nothing was heard for eight seconds.
    peer.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    let mut bytes = [0; 1024];
    let ended = loop {
        match peer.read(&mut bytes) {
            Ok(0) => break true,
            Ok(_) => {}
            Err(e) => break e.kind() != ErrorKind::WouldBlock,
        }
    };
    assert!(!ended, "the connection is closed");
    // Whoever stays silent for as long while it runs does lose the connection.
    peer.set_read_timeout(Some(SOON)).unwrap();
    until(SOON, "the end of the connection", || match peer.read(&mut bytes) {
        Ok(0) | Err(_) => Some(()),
        Ok(_) => None,
    });
    client.stop(STOP).expect(0);
}
