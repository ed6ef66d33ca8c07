//! `btcheck --repair` and `btcheck` of several torrents, called as users call them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod util;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use util::{Dir, Done, content, until};

const SOON: Duration = Duration::from_secs(90);

/// Five pieces of 16 KiB: `a` lies in 0-1, `c` in 1-2, `d/e` in 2-4, the empty `b` in none.
const FILES: [(&str, usize); 4] = [("a", 20_000), ("b", 0), ("c", 20_000), ("d/e", 30_000)];

/// Folders `data` and `copy` with `FILES`, and their .torrent.
fn folders() -> Dir {
    let dir = Dir::new();
    for (name, length) in FILES {
        dir.write(format!("data/{name}"), content(name, length));
        dir.write(format!("copy/{name}"), content(name, length));
    }
    make(&dir, "data", &[]);
    dir
}

fn make(dir: &Dir, what: &str, args: &[&str]) {
    let all = ["http://t.test/announce", what, "--piece_size_pow2", "14", "--force"];
    dir.cmd("btmakemetafile").args(all).args(args).run().expect(0);
}

fn repair(dir: &Dir, from: &str) -> Done {
    dir.cmd("btcheck").args(["data.torrent", "--repair", "--from", from]).limit(SOON).run()
}

fn flip(dir: &Dir, name: &str, at: usize) {
    let mut bytes = dir.read(name);
    bytes[at] ^= 1;
    dir.write(name, bytes);
}

#[track_caller]
fn is_whole(dir: &Dir) {
    for (name, length) in FILES {
        assert!(dir.read(format!("data/{name}")) == content(name, length), "{name}");
    }
}

/// A web server of the files below a folder, and what it was asked: `PATH FIRST-LAST`.
struct Web {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

/// What a server does with each request.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    GivesParts,
    GivesAll,
    /// After this many answers it never answers again.
    Falls(usize),
}

impl Web {
    fn new(root: PathBuf, kind: Kind) -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/seed/", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&asked);
        thread::spawn(move || {
            let mut held = Vec::new();
            for (n, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let line = answer(&mut stream, &root, kind, n);
                theirs.lock().unwrap().push(line);
                held.push(stream);
                if !matches!(kind, Kind::Falls(_)) {
                    held.clear();
                }
            }
        });
        Web { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(stream: &mut TcpStream, root: &Path, kind: Kind, n: usize) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().strip_prefix("/seed/").unwrap().to_string();
    let range = head.lines().find_map(|l| {
        let (name, value) = l.split_once(": ")?;
        name.eq_ignore_ascii_case("range").then(|| value.strip_prefix("bytes=").unwrap())
    });
    let (first, last) = range.unwrap().split_once('-').unwrap();
    let line = format!("{path} {first}-{last}");
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
    let reply = match fs::read(root.join(path.replace("data/", ""))) {
        Err(_) => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
        Ok(_) if matches!(kind, Kind::Falls(after) if n >= after) => return line,
        Ok(all) => {
            let (status, body) = match kind {
                Kind::GivesAll => ("200 OK", &all[..]),
                _ => ("206 Partial Content", &all[first..=last]),
            };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
            [head.as_bytes(), body].concat()
        }
    };
    // Who takes less than all hangs up.
    let _ = stream.write_all(&reply);
    line
}

#[test]
fn bad_pieces_are_replaced_by_those_of_another_copy_and_nothing_else_is_written() {
    let dir = folders();
    flip(&dir, "data/a", 19_999);
    flip(&dir, "data/d/e", 29_999);
    // In a piece that is good in the data and bad in the copy.
    flip(&dir, "copy/a", 0);
    let done = repair(&dir, "copy").expect(0);
    let lines = "a: ok\nb: ok\nc: ok\nd/e: ok\nrepaired: pieces 1, 4\n\
                 4 files: 4 ok; 5 of 5 pieces ok\n";
    assert_eq!((done.out.as_str(), done.err.as_str()), (lines, ""));
    is_whole(&dir);
    let before = fs::metadata(dir.join("data/c")).unwrap().modified().unwrap();
    let done = repair(&dir, "copy").expect(0);
    assert!(!done.out.contains("repaired"), "{}", done.out);
    assert_eq!(fs::metadata(dir.join("data/c")).unwrap().modified().unwrap(), before);
}

#[test]
fn missing_and_short_files_are_made_whole() {
    let dir = folders();
    fs::remove_file(dir.join("data/b")).unwrap();
    fs::remove_dir_all(dir.join("data/d")).unwrap();
    dir.write("data/c", &content("c", 20_000)[..5_000]);
    repair(&dir, "copy").expect(0);
    is_whole(&dir);
    fs::remove_dir_all(dir.join("data")).unwrap();
    let done = repair(&dir, "copy").expect(0);
    assert!(done.out.contains("repaired: pieces 0-4\n"), "{}", done.out);
    is_whole(&dir);
}

#[test]
fn a_web_seed_is_asked_for_the_bad_pieces_alone() {
    let dir = folders();
    flip(&dir, "data/c", 10_000);
    let web = Web::new(dir.join("copy"), Kind::GivesParts);
    let done = repair(&dir, &web.url).expect(0);
    assert!(done.out.contains("repaired: pieces 1\n"), "{}", done.out);
    is_whole(&dir);
    assert_eq!(web.asked(), ["data/a 16384-19999", "data/c 0-12767"]);
}

#[test]
fn a_server_that_gives_no_parts_serves_too() {
    let dir = folders();
    flip(&dir, "data/a", 0);
    flip(&dir, "data/d/e", 20_000);
    let web = Web::new(dir.join("copy"), Kind::GivesAll);
    repair(&dir, &web.url).expect(0);
    is_whole(&dir);
    let short = content("e", 16_384);
    dir.write("copy/d/e", &short);
    flip(&dir, "data/d/e", 20_000);
    let done = repair(&dir, &web.url).expect(1);
    assert!(done.err.contains(" bytes came instead of "), "{}", done.err);
}

#[test]
fn a_seed_that_does_not_give_all_files_is_told() {
    let dir = folders();
    flip(&dir, "data/d/e", 20_000);
    fs::remove_file(dir.join("copy/d/e")).unwrap();
    let web = Web::new(dir.join("copy"), Kind::GivesParts);
    let done = repair(&dir, &web.url).expect(1);
    let line = format!("btcheck: cannot fetch '{}data/d/e': the server answered 404\n", web.url);
    assert_eq!(done.err, line);
    assert!(done.out.contains("d/e: damaged, pieces 3\n"), "{}", done.out);
    let gone = format!("http://127.0.0.1:{}/", util::free_port());
    let done = repair(&dir, &gone).expect(1);
    assert!(done.err.contains("Connection refused"), "{}", done.err);
}

#[test]
fn what_is_bad_there_too_is_not_written() {
    let dir = folders();
    flip(&dir, "data/a", 0);
    flip(&dir, "data/c", 19_000);
    flip(&dir, "copy/a", 1);
    let done = repair(&dir, "copy").expect(6);
    assert_eq!(done.err, "btcheck: piece 0 is damaged there too\n");
    assert!(done.out.contains("a: damaged, pieces 0\n"), "{}", done.out);
    assert!(done.out.contains("repaired: pieces 2\n"), "{}", done.out);
    let mut bytes = content("a", 20_000);
    bytes[0] ^= 1;
    assert!(dir.read("data/a") == bytes, "not a byte of it has changed");
    let done = repair(&dir, "nowhere").expect(1);
    assert!(done.err.contains("nowhere/a': No such file or directory"), "{}", done.err);
}

#[test]
fn nothing_is_written_through_a_link_and_nothing_is_cut() {
    let dir = folders();
    flip(&dir, "data/c", 10_000);
    let bad = dir.read("data/c");
    fs::rename(dir.join("data/c"), dir.join("elsewhere")).unwrap();
    symlink("../elsewhere", dir.join("data/c")).unwrap();
    let done = repair(&dir, "copy").expect(1);
    assert!(done.err.contains("a symbolic link is in the way"), "{}", done.err);
    assert!(dir.read("elsewhere") == bad && dir.join("data/c").is_symlink());
    // Nor is a folder, nor the only file.
    fs::rename(dir.join("elsewhere"), dir.join("data/c")).unwrap();
    fs::rename(dir.join("data/d"), dir.join("folder")).unwrap();
    symlink("../folder", dir.join("data/d")).unwrap();
    flip(&dir, "folder/e", 29_000);
    let bad = dir.read("folder/e");
    repair(&dir, "copy").expect(1);
    assert!(dir.read("folder/e") == bad);
    dir.write("one", content("one", 40_000));
    make(&dir, "one", &[]);
    fs::rename(dir.join("one"), dir.join("copy/one")).unwrap();
    dir.write("bad", content("bad", 40_000));
    symlink("bad", dir.join("one")).unwrap();
    let args = ["one.torrent", "one", "--repair", "--from", "copy"];
    let done = dir.cmd("btcheck").args(args).run().expect(1);
    assert!(done.err.contains("a symbolic link is in the way"), "{}", done.err);
    assert!(dir.read("bad") == content("bad", 40_000));
    fs::remove_file(dir.join("one")).unwrap();
    dir.cmd("btcheck").args(args).run().expect(0);
    let long = [content("one", 40_000), b"more".to_vec()].concat();
    dir.write("one", &long);
    let done = dir.cmd("btcheck").args(args).run().expect(6);
    assert!(done.out.starts_with("one: wrong size (40004 bytes, should be 40000)\n"));
    assert!(dir.read("one") == long);
}

#[test]
fn files_that_are_not_asked_for_are_not_written() {
    let dir = folders();
    flip(&dir, "data/a", 19_999);
    fs::remove_file(dir.join("data/b")).unwrap();
    fs::remove_file(dir.join("data/c")).unwrap();
    let bad = dir.read("data/a");
    let args = ["data.torrent", "--repair", "--from", "copy", "--file", "c"];
    let done = dir.cmd("btcheck").args(args).run().expect(6);
    // What the piece lacks is in a file that was not to be touched.
    assert!(done.out.starts_with("c: damaged, pieces 1\n"), "{}", done.out);
    assert!(dir.read("data/c") == content("c", 20_000));
    assert!(dir.read("data/a") == bad && !dir.join("data/b").exists());
}

#[test]
fn version_2_is_repaired_by_its_roots() {
    let dir = folders();
    for option in ["--version_2", "--hybrid"] {
        make(&dir, "data", &[option]);
        flip(&dir, "data/a", 19_999);
        fs::remove_file(dir.join("data/d/e")).unwrap();
        let web = Web::new(dir.join("copy"), Kind::GivesParts);
        repair(&dir, &web.url).expect(0);
        is_whole(&dir);
        assert_eq!(web.asked(), ["data/a 16384-19999", "data/d/e 0-16383", "data/d/e 16384-29999"]);
    }
}

#[test]
fn a_kill_in_between_leaves_good_data_good() {
    let dir = folders();
    flip(&dir, "data/a", 0);
    flip(&dir, "data/d/e", 29_000);
    let web = Web::new(dir.join("copy"), Kind::Falls(1));
    let args = ["data.torrent", "--repair", "--from", &web.url];
    let run = dir.cmd("btcheck").args(args).start();
    until(SOON, "the second request", || (web.asked().len() == 2).then_some(()));
    let id = rustix::process::Pid::from_raw(run.id() as i32).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
    drop(run);
    let done = dir.cmd("btcheck").arg("data.torrent").run().expect(6);
    assert!(done.out.ends_with("4 files: 3 ok, 1 damaged; 4 of 5 pieces ok\n"), "{}", done.out);
    assert!(dir.read("data/a") == content("a", 20_000));
}

#[test]
fn repairs_are_told_in_json() {
    let dir = folders();
    flip(&dir, "data/a", 0);
    let args = ["data.torrent", "--repair", "--from", "copy", "--json"];
    let done = dir.cmd("btcheck").args(args).run().expect(0);
    let said: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((&said["repaired"], &said["ok"]), (&json!([[0, 0]]), &json!(true)));
}

#[test]
fn several_torrents_are_checked_each_at_its_place() {
    let dir = folders();
    dir.write("one", content("one", 40_000));
    make(&dir, "one", &[]);
    fs::rename(dir.join("data"), dir.join("moved")).unwrap();
    let check = |args: &[&str]| dir.cmd("btcheck").args(args).run();
    let done = check(&["data.torrent", "moved", "one.torrent"]).expect(0);
    let lines = "data.torrent:\na: ok\nb: ok\nc: ok\nd/e: ok\n4 files: 4 ok; 5 of 5 pieces ok\n\
                 one.torrent:\none: ok\n1 file: 1 ok; 3 of 3 pieces ok\n";
    assert_eq!(done.out, lines);
    assert_eq!(check(&["data.torrent", "moved", "one.torrent", "--quiet"]).expect(0).out, "");
    flip(&dir, "one", 0);
    let done = check(&["one.torrent", "data.torrent", "moved", "--quiet"]).expect(6);
    let lines = "one.torrent:\none: damaged, pieces 0\n1 file: 1 damaged; 2 of 3 pieces ok\n";
    assert_eq!(done.out, lines);
    // One that cannot be read keeps the others from nothing.
    let done = check(&["none.torrent", "one.torrent", "--json"]).expect(1);
    assert_eq!(done.err, "btcheck: cannot read 'none.torrent': No such file or directory\n");
    assert_eq!(done.out.lines().count(), 1);
    let done = check(&["one.torrent", "data.torrent", "moved", "--json"]).expect(6);
    let names = done.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert!(names.map(|said| said["name"].clone()).eq([json!("one"), json!("data")]));
}

#[test]
fn wrong_calls_are_told() {
    let dir = folders();
    for (args, said) in [
        (&["data.torrent", "a", "b"][..], "'b': 'data.torrent' has a PATH already"),
        (&["data.torrent", "--repair"], "--repair: needs --from, where the data is taken from"),
        (&["data.torrent", "--from", "copy"], "--from: is only for --repair"),
        (
            &["data.torrent", "--repair", "--from", "copy", "--quick"],
            "--repair: cannot be used with --quick",
        ),
        (
            &["data.torrent", "data.torrent", "--repair", "--from", "copy"],
            "--repair: can only repair one torrent",
        ),
    ] {
        let done = dir.cmd("btcheck").args(args).run().expect(2);
        assert_eq!((done.err, done.out.as_str()), (format!("btcheck: {said}\n"), ""));
    }
}
