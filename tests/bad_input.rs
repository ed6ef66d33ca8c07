//! What a user, a stranger or the machine can do wrong to `btdownload` and `bttrack`: one clear
//! line on standard error, the right exit code, nothing made and nothing lost.
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod util;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use util::{Cmd, Dir, content, free_port, until};

const SOON: Duration = Duration::from_secs(90);

/// The user that may do least.
const NOBODY: u32 = 65534;

/// A folder with `file`, `file.torrent`, `tree/` and `tree.torrent`, of a tracker that is not
/// there.
fn folder() -> (Dir, String) {
    let dir = Dir::new();
    dir.write("file", content("file", 100_000));
    dir.write("tree/sub/x", content("x", 50_000));
    dir.write("tree/empty", "");
    let url = format!("http://127.0.0.1:{}/announce", free_port());
    dir.cmd("btmakemetafile").args([&url, "file", "tree"]).run().expect(0);
    (dir, url)
}

/// Everything below a folder: files with their content, folders without.
fn everything(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                all.insert(path.clone(), None);
                folders.push(path);
            } else {
                all.insert(path.clone(), Some(fs::read(path).unwrap()));
            }
        }
    }
    all
}

/// Runs a command that must fail with this exit code, one line on standard error that holds
/// `said`, nothing on standard output, and leave its folder as it was.
#[track_caller]
fn refused(dir: &Dir, command: Cmd, code: i32, said: &str) {
    let before = everything(dir.path());
    let done = command.limit(SOON).run().expect(code);
    one_line(&done.err, said);
    assert_eq!(done.out, "", "{}", done.err);
    assert!(everything(dir.path()) == before, "the folder has changed: {}", done.err);
}

#[track_caller]
fn one_line(err: &str, said: &str) {
    let (command, _) = err.split_once(": ").unwrap_or_default();
    assert!(command.starts_with("bt") && err.contains(said), "'{said}' is not in: {err}");
    assert!(err.lines().count() == 1 && err.ends_with('\n'), "not one line: {err}");
}

/// A client on loopback, at any port.
fn client(dir: &Dir) -> Cmd {
    dir.cmd("btdownload")
        .args(["--bind", "127.0.0.1", "--minport", "10000", "--maxport", "60000"])
        .args(["--random_port", "1"])
}

fn tracker(dir: &Dir) -> Cmd {
    dir.cmd("bttrack").args(["--bind", "127.0.0.1", "--port", "0"])
}

/// A web server that answers every request so.
fn web(answer: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let answer = answer.to_owned();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                head.push(byte[0]);
            }
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    format!("http://{at}/x.torrent")
}

#[test]
fn a_torrent_that_is_none_is_refused() {
    let (dir, _) = folder();
    let whole = dir.read("file.torrent");
    dir.write("cut.torrent", &whole[..whole.len() / 2]);
    dir.write("empty.torrent", "");
    dir.write("text.torrent", "<html>\nnot a torrent\n</html>\n");
    for (name, said) in [
        ("cut.torrent", "it ends too early"),
        ("empty.torrent", "it ends too early at byte 0"),
        ("text.torrent", "unexpected byte at byte 0"),
        ("missing.torrent", "missing.torrent': No such file or directory"),
        ("tree", "tree': Is a directory"),
        ("/dev/zero", "'/dev/zero' is not a valid metafile: larger than 64 MiB"),
    ] {
        refused(&dir, client(&dir).arg(name), 1, said);
    }
}

#[test]
fn a_hostile_torrent_is_refused() {
    let dir = Dir::new();
    let torrents = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torrents");
    let mut seen = 0;
    for entry in fs::read_dir(torrents).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("good-") {
            refused(&dir, client(&dir).arg(&path), 1, &name);
            seen += 1;
        }
    }
    assert!(seen > 30, "only {seen} torrents");
}

#[test]
fn a_url_that_brings_no_torrent_is_refused() {
    let (dir, _) = folder();
    let missing = web("HTTP/1.0 404 Not Found\r\nContent-Length: 4\r\n\r\ngone");
    let page = web("HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\n<html>");
    let text = web("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let nobody = format!("http://127.0.0.1:{}/x.torrent", free_port());
    for (url, said) in [
        (missing.as_str(), "x.torrent': the server answered 404"),
        (&page, "x.torrent' links to no .torrent"),
        (&text, "x.torrent' is not a valid metafile: "),
        (&nobody, "x.torrent': Connection refused"),
    ] {
        refused(&dir, client(&dir).arg(url), 1, said);
        refused(&dir, client(&dir).args(["--url", url]), 1, said);
    }
    refused(&dir, client(&dir).args(["--url", "ftp://127.0.0.1/x"]), 1, "no http or https URL");
    for (magnet, said) in [
        ("magnet:?dn=x", "bad magnet link: no 'xt=urn:btih:'"),
        ("magnet:?xt=urn:btih:xyz", "bad magnet link: bad info hash 'xyz'"),
        ("magnet:?xt=urn:btmh:1220ab", "version 2 only, which is not supported"),
    ] {
        refused(&dir, client(&dir).arg(magnet), 1, said);
        refused(&dir, client(&dir).args(["--url", magnet]), 1, said);
    }
}

#[test]
fn wrong_usage_is_told_by_option_and_value() {
    let (dir, url) = folder();
    let done = dir.cmd("btdownload").run().expect(2);
    assert!(done.out.starts_with("usage: btdownload ") && done.err.is_empty(), "{}", done.err);
    for (args, said) in [
        (&["--nosuch", "1", "file.torrent"][..], "--nosuch"),
        (&["--max_uploads", "many", "file.torrent"], "--max_uploads: 'many'"),
        (&["--minport", "0", "file.torrent"], "--minport: '0'"),
        (&["--minport", "7000", "--maxport", "6999", "file.torrent"], "--maxport: 6999"),
        (&["--bind", "300.1.1.1", "file.torrent"], "--bind: '300.1.1.1'"),
        (&["--ip", "here", "--local_only", "file.torrent"], "--ip: 'here' is a name"),
        (&["--metafile", "file.torrent", "--url", &url], "--metafile"),
        (&["file.torrent", "tree.torrent"], "'tree.torrent'"),
        (&["--saveas", "x"], ".torrent"),
        (&["file.torrent", "--saveas"], "--saveas"),
    ] {
        refused(&dir, dir.cmd("btdownload").args(args), 2, said);
    }
}

#[test]
fn a_port_that_is_taken_is_told() {
    let (dir, _) = folder();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let args = ["--bind", "127.0.0.1", "--minport", &port, "--maxport", &port, "tree.torrent"];
    let said = format!("cannot listen on port {port}: Address");
    // Into a place of its own, which must not be made either.
    let command = dir.cmd("btdownload").args(args).args(["--saveas", "new/place"]);
    refused(&dir, command, 1, &said);
    let command = dir.cmd("bttrack").args(["--bind", "127.0.0.1", "--port", &port]);
    let said = format!("cannot listen on 127.0.0.1:{port}: Address");
    refused(&dir, command.args(["--dfile", "state"]), 1, &said);
}

#[test]
fn a_target_of_the_wrong_kind_is_refused_and_untouched() {
    let (dir, _) = folder();
    dir.write("mine/keep", "mine");
    dir.write("tree2/sub", "a file where a folder should be");
    dir.write("tree3/sub/x/y", "a folder where a file should be");
    dir.write("longer", content("longer", 100_001));
    dir.write("tree4/empty", "not empty");
    for (torrent, target, said) in [
        ("file.torrent", "mine", "mine': it is a directory"),
        ("file.torrent", "/dev/null", "'/dev/null': it is not a regular file"),
        ("file.torrent", "longer", "longer': it has 100001 bytes, the torrent says 100000"),
        ("file.torrent", "file/below", "Not a directory"),
        ("tree.torrent", "file", "file': Not a directory"),
        ("tree.torrent", "tree2", "tree2/sub/x': Not a directory"),
        ("tree.torrent", "tree3", "tree3/sub/x': it is a directory"),
        ("tree.torrent", "tree4", "tree4/empty': it has 9 bytes, the torrent says 0"),
        ("tree.torrent", "/proc/nosuch", "'/proc/nosuch': No such file or directory"),
    ] {
        refused(&dir, client(&dir).args([torrent, "--saveas", target]), 1, said);
    }
}

#[test]
fn a_target_that_may_not_be_written_is_refused() {
    let (dir, _) = folder();
    let home = std::env::temp_dir().join(format!("bad-input-{}", std::process::id()));
    fs::create_dir_all(home.join("closed/kept")).unwrap();
    for name in ["file.torrent", "tree.torrent"] {
        fs::copy(dir.join(name), home.join(name)).unwrap();
    }
    // The folders above the binary may be closed to nobody.
    let binary = home.join("btdownload");
    fs::copy(env!("CARGO_BIN_EXE_bittornado"), &binary).unwrap();
    fs::write(home.join("closed/file"), "short").unwrap();
    fs::set_permissions(home.join("closed/file"), Permissions::from_mode(0o444)).unwrap();
    for closed in ["closed/kept", "closed", "."] {
        fs::set_permissions(home.join(closed), Permissions::from_mode(0o555)).unwrap();
    }
    let before = everything(&home);
    let results: Vec<(&str, Output)> = [
        ("file.torrent", "closed/new", "closed/new': Permission denied"),
        ("file.torrent", "closed/new/er", "closed/new/er': Permission denied"),
        ("file.torrent", "closed/file", "closed/file': Permission denied"),
        ("tree.torrent", "closed/new", "Permission denied"),
        ("tree.torrent", "closed/kept", "Permission denied"),
    ]
    .into_iter()
    .map(|(torrent, target, said)| {
        let mut command = Command::new(&binary);
        command.current_dir(&home).args(["--bind", "127.0.0.1", "--minport", "10000"]);
        command.args(["--maxport", "60000", torrent, "--saveas", target]);
        (said, as_nobody(command))
    })
    .collect();
    let after = everything(&home);
    let _ = fs::set_permissions(&home, Permissions::from_mode(0o755));
    let _ = fs::set_permissions(home.join("closed"), Permissions::from_mode(0o755));
    fs::remove_dir_all(&home).unwrap();
    for (said, output) in results {
        one_line(&String::from_utf8_lossy(&output.stderr), said);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
    assert!(after == before, "something was made or lost");
}

#[test]
fn of_what_may_not_be_read_no_torrent_is_made() {
    let home = std::env::temp_dir().join(format!("bad-input-read-{}", std::process::id()));
    fs::create_dir_all(home.join("tree/closed")).unwrap();
    fs::create_dir_all(home.join("other")).unwrap();
    let binary = home.join("btmakemetafile");
    fs::copy(env!("CARGO_BIN_EXE_bittornado"), &binary).unwrap();
    for (name, mode) in [("tree/a", 0o644), ("tree/secret", 0o000), ("other/x", 0o644)] {
        fs::write(home.join(name), name).unwrap();
        fs::set_permissions(home.join(name), Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(home.join("tree/closed"), Permissions::from_mode(0o000)).unwrap();
    for open in [home.clone(), home.join("tree")] {
        fs::set_permissions(open, Permissions::from_mode(0o777)).unwrap();
    }
    let make = |path: &str| {
        let mut command = Command::new(&binary);
        command.current_dir(&home).args(["http://t/announce", path]);
        as_nobody(command)
    };
    let results = [
        ("tree/secret", "tree/secret': Permission denied", make("tree/secret")),
        ("tree", "tree/closed': Permission denied", make("tree")),
        ("tree", "tree/secret': Permission denied", {
            fs::set_permissions(home.join("tree/closed"), Permissions::from_mode(0o755)).unwrap();
            make("tree")
        }),
    ];
    let made = make("other");
    let names = everything(&home);
    fs::remove_dir_all(&home).unwrap();
    for (path, said, output) in results {
        one_line(&String::from_utf8_lossy(&output.stderr), said);
        assert_eq!(output.status.code(), Some(1), "{path}: {output:?}");
    }
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let torrents = names.keys().filter(|path| path.extension().is_some_and(|e| e == "torrent"));
    assert!(torrents.eq([&home.join("other.torrent")]), "{:?}", names.keys());
}

/// Runs a command as a user who may not do everything, as root may.
fn as_nobody(mut command: Command) -> Output {
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    // Another test's child may hold the copy of the binary open for a moment.
    until(SOON, "the copied binary to be free", || match command.output() {
        Err(e) if e.kind() == ErrorKind::ExecutableFileBusy => None,
        output => Some(output.unwrap()),
    })
}

#[test]
fn a_tracker_that_cannot_be_reached_is_one_line_and_no_end() {
    let (dir, _) = folder();
    let mut client = client(&dir).args(["file.torrent", "--saveas", "copy"]).start();
    client.wait_for("Problem connecting to tracker", SOON);
    let err = client.err();
    one_line(&err, "Connection refused");
    assert!(client.runs());
    // It is not told again at the end, where the tracker is still not there.
    let done = client.stop(SOON).expect(1);
    assert_eq!(done.err, format!("{err}btdownload: stopped before the download was complete\n"));
}

#[test]
fn a_tracker_that_never_answers_does_not_delay_the_end() {
    let (dir, _) = folder();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/announce", silent.local_addr().unwrap());
    dir.cmd("btmakemetafile").args([&url, "file", "--force"]).run().expect(0);
    let client = client(&dir).args(["file.torrent", "--saveas", "file"]).start();
    let _asked = silent.accept().unwrap();
    client.stop(SOON).expect(0);
}

#[test]
fn a_disk_that_takes_nothing_ends_the_download_with_one_line() {
    let (dir, _) = folder();
    let mut tracker = tracker(&dir).args(["--dfile", "state"]).start();
    let port = tracker.wait_for_listening(SOON);
    let url = format!("http://127.0.0.1:{port}/announce");
    dir.cmd("btmakemetafile").args([&url, "file", "--force"]).run().expect(0);
    let mut seed = client(&dir).args(["file.torrent", "--saveas", "file"]).start();
    seed.wait_for("download complete", SOON);
    // Root may write everywhere, as far as one can know before; the kernel makes no file there.
    let place =
        if rustix::process::geteuid().is_root() { "/proc/nosuch" } else { "/dev/shm/../x/y" };
    let done = client(&dir).args(["file.torrent", "--saveas", place]).limit(SOON).run().expect(1);
    one_line(&done.err, &format!("'{place}': "));
    assert!(tracker.runs() && seed.runs());
}

#[test]
fn a_tracker_called_wrongly_says_why() {
    let dir = Dir::new();
    dir.write("folder/x", "x");
    let done = dir.cmd("bttrack").run().expect(2);
    assert!(done.out.starts_with("usage: bttrack ") && done.err.is_empty(), "{}", done.err);
    for (args, code, said) in [
        (&["--interval", "1"][..], 2, "--interval"),
        (&["--reannounce_interval", "60"], 2, "--dfile: it is required"),
        (&["--dfile", "d", "--port", "70000"], 2, "--port: '70000'"),
        (&["--dfile", "d", "--bind", ","], 2, "--bind: ','"),
        (&["--dfile", "d", "--bind", "192.0.2.1"], 1, "cannot listen on 192.0.2.1"),
        (&["--dfile", "d", "extra"], 2, "'extra'"),
        (&["--dfile", "folder"], 1, "folder': Is a directory"),
        (&["--dfile", "missing/d"], 1, "missing/d': No such file or directory"),
        (&["--dfile", "/proc/nosuch"], 1, "'/proc/nosuch"),
        (&["--dfile", "folder/x/d"], 1, "folder/x/d': Not a directory"),
    ] {
        refused(&dir, tracker(&dir).args(args), code, said);
    }
}

#[test]
fn a_damaged_state_file_is_kept_and_the_tracker_runs() {
    let dir = Dir::new();
    dir.write("state", "d5:peersd20:cut");
    let mut tracker = tracker(&dir).args(["--dfile", "state"]).start();
    tracker.wait_for_listening(SOON);
    let err = tracker.err();
    let line = err.lines().next().unwrap();
    assert!(
        line.starts_with("bttrack: warning: state file '") && err.lines().count() == 2,
        "{err}"
    );
    assert!(line.contains("state.damaged'"), "{line}");
    tracker.stop(SOON).expect(0);
    assert_eq!(dir.read("state.damaged"), b"d5:peersd20:cut");
    assert_eq!(dir.names(), ["state", "state.damaged"]);
}
