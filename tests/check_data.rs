//! `btcheck`, called as users call it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod util;

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use util::{Dir, Done, content};

/// Five pieces of 16 KiB: `a` lies in 0-1, `c` in 1-2, `d/e` in 2-4, the empty `b` in none.
const FILES: [(&str, usize); 4] = [("a", 20_000), ("b", 0), ("c", 20_000), ("d/e", 30_000)];

/// A folder `data` with `FILES`, and its .torrent.
fn data() -> Dir {
    let dir = Dir::new();
    for (name, length) in FILES {
        dir.write(format!("data/{name}"), content(name, length));
    }
    make(&dir, "data");
    dir
}

fn make(dir: &Dir, what: &str) {
    let args = ["http://t.test/announce", what, "--piece_size_pow2", "14", "--force"];
    dir.cmd("btmakemetafile").args(args).run().expect(0);
}

fn check(dir: &Dir, args: &[&str]) -> Done {
    dir.cmd("btcheck").arg("data.torrent").args(args).run()
}

/// Checks and expects these lines, and nothing on standard error.
#[track_caller]
fn expect(dir: &Dir, args: &[&str], code: i32, lines: &[&str]) {
    let done = check(dir, args).expect(code);
    let said: Vec<&str> = done.out.lines().collect();
    assert_eq!((said.as_slice(), done.err.as_str()), (lines, ""));
}

fn flip(dir: &Dir, name: &str, at: usize) {
    let mut bytes = dir.read(name);
    bytes[at] ^= 1;
    dir.write(name, bytes);
}

#[test]
fn data_as_it_was_made_is_ok() {
    let dir = data();
    let all = ["a: ok", "b: ok", "c: ok", "d/e: ok", "4 files: 4 ok; 5 of 5 pieces ok"];
    expect(&dir, &[], 0, &all);
    expect(&dir, &["data"], 0, &all);
    // A folder that holds others' things too: the torrent's own lies in it.
    expect(&dir, &["."], 0, &all);
    expect(&dir, &["--quiet"], 0, &[]);
    symlink("data", dir.join("link")).unwrap();
    fs::rename(dir.join("data/c"), dir.join("elsewhere")).unwrap();
    symlink("../elsewhere", dir.join("data/c")).unwrap();
    expect(&dir, &["link"], 0, &all);
}

#[test]
fn a_damaged_byte_is_found_in_its_piece() {
    let dir = data();
    flip(&dir, "data/d/e", 29_999);
    let damaged = "d/e: damaged, pieces 4";
    let summary = "4 files: 3 ok, 1 damaged; 4 of 5 pieces ok";
    expect(&dir, &[], 6, &["a: ok", "b: ok", "c: ok", damaged, summary]);
    expect(&dir, &["--quiet"], 6, &[damaged, summary]);
    let quick = "4 files: 4 ok; only sizes were looked at";
    expect(&dir, &["--quick"], 0, &["a: ok", "b: ok", "c: ok", "d/e: ok", quick]);
}

#[test]
fn a_damaged_piece_is_blamed_on_every_file_it_lies_in() {
    let dir = data();
    flip(&dir, "data/a", 19_999);
    flip(&dir, "data/d/e", 0);
    flip(&dir, "data/d/e", 10_000);
    let lines = [
        "a: damaged, pieces 1",
        "b: ok",
        "c: damaged, pieces 1-2",
        "d/e: damaged, pieces 2-3",
        "4 files: 1 ok, 3 damaged; 2 of 5 pieces ok",
    ];
    expect(&dir, &[], 6, &lines);
    flip(&dir, "data/d/e", 0);
    flip(&dir, "data/d/e", 10_000);
    flip(&dir, "data/a", 19_999);
    flip(&dir, "data/d/e", 29_000);
    flip(&dir, "data/d/e", 0);
    let done = check(&dir, &[]).expect(6);
    assert!(done.out.contains("d/e: damaged, pieces 2, 4\n"), "{}", done.out);
}

#[test]
fn what_is_missing_leaves_its_neighbours_unverified_and_not_damaged() {
    let dir = data();
    fs::remove_file(dir.join("data/c")).unwrap();
    fs::remove_file(dir.join("data/b")).unwrap();
    let lines = [
        "a: unverified, pieces 1",
        "b: missing",
        "c: missing",
        "d/e: unverified, pieces 2",
        "4 files: 2 missing, 2 unverified; 3 of 5 pieces ok",
    ];
    expect(&dir, &[], 6, &lines);
    expect(
        &dir,
        &["--quick"],
        6,
        &[
            "a: ok",
            "b: missing",
            "c: missing",
            "d/e: ok",
            "4 files: 2 ok, 2 missing; only sizes were looked at",
        ],
    );
    assert_eq!(fs::read_dir(dir.join("data")).unwrap().count(), 2, "nothing was made");
}

#[test]
fn an_empty_file_is_missed_too() {
    let dir = data();
    fs::remove_file(dir.join("data/b")).unwrap();
    let done = check(&dir, &["--quiet"]).expect(6);
    assert_eq!(done.out, "b: missing\n4 files: 3 ok, 1 missing; 5 of 5 pieces ok\n");
    dir.write("data/b", "x");
    let done = check(&dir, &["--quiet"]).expect(6);
    assert!(done.out.starts_with("b: wrong size (1 bytes, should be 0)\n"), "{}", done.out);
}

#[test]
fn a_folder_that_is_not_there_misses_all_files() {
    let dir = data();
    let summary = "4 files: 4 missing; 0 of 5 pieces ok";
    let missing = ["a: missing", "b: missing", "c: missing", "d/e: missing", summary];
    expect(&dir, &["nowhere"], 6, &missing);
    // Nor is anything below a file.
    fs::remove_dir_all(dir.join("data/d")).unwrap();
    dir.write("data/d", "a file");
    let done = check(&dir, &[]).expect(6);
    assert!(done.out.contains("d/e: missing\n"), "{}", done.out);
}

#[test]
fn a_wrong_size_is_told_and_what_is_there_is_judged() {
    let dir = data();
    let mut bytes = content("c", 20_000);
    bytes.extend([0; 100]);
    dir.write("data/c", &bytes);
    let long = "c: wrong size (20100 bytes, should be 20000)";
    let summary = "4 files: 3 ok, 1 wrong size; 5 of 5 pieces ok";
    expect(&dir, &[], 6, &["a: ok", "b: ok", long, "d/e: ok", summary]);
    dir.write("data/c", &bytes[..19_999]);
    let lines = [
        "a: ok",
        "b: ok",
        "c: wrong size (19999 bytes, should be 20000)",
        "d/e: unverified, pieces 2",
        "4 files: 2 ok, 1 wrong size, 1 unverified; 4 of 5 pieces ok",
    ];
    expect(&dir, &[], 6, &lines);
    let quick = "4 files: 3 ok, 1 wrong size; only sizes were looked at";
    expect(&dir, &["--quick"], 6, &["a: ok", "b: ok", lines[2], "d/e: ok", quick]);
}

#[test]
fn only_the_files_asked_for_are_checked() {
    let dir = data();
    flip(&dir, "data/a", 0);
    expect(&dir, &["--file", "c"], 0, &["c: ok", "1 file: 1 ok; 2 of 2 pieces ok"]);
    expect(&dir, &["--file", "d/*"], 0, &["d/e: ok", "1 file: 1 ok; 3 of 3 pieces ok"]);
    fs::remove_file(dir.join("data/a")).unwrap();
    fs::remove_file(dir.join("data/b")).unwrap();
    let done = check(&dir, &["--file", "?"]).expect(6);
    assert!(done.out.ends_with("4 files: 1 ok, 2 missing, 1 unverified; 3 of 5 pieces ok\n"));
    // What is shared with a file that is not asked for needs that file all the same.
    let alone = ["c: unverified, pieces 1", "1 file: 1 unverified; 1 of 2 pieces ok"];
    expect(&dir, &["--file", "c"], 6, &alone);
    expect(&dir, &["--file", "*e"], 0, &["d/e: ok", "1 file: 1 ok; 3 of 3 pieces ok"]);
    let done = check(&dir, &["--file", "[ce]"]).expect(1);
    let none = "btcheck: --file: no file of 'data.torrent' fits '[ce]'\n";
    assert_eq!((done.out.as_str(), done.err.as_str()), ("", none));
}

#[test]
fn json_tells_all_of_it_in_one_object() {
    let dir = data();
    flip(&dir, "data/d/e", 0);
    fs::remove_file(dir.join("data/a")).unwrap();
    let done = check(&dir, &["--json", "--quiet"]).expect(6);
    let said: Value = serde_json::from_str(&done.out).unwrap();
    let info = dir.cmd("btshowmetainfo").arg("data.torrent").run().expect(0).out;
    let hash = said["info_hash"].as_str().unwrap();
    assert!(hash.len() == 40 && info.contains(hash), "{hash}");
    let file = |path, length, found: Value, status, damaged: Value, unverified: Value| {
        json!({"path": path, "length": length, "found": found, "status": status,
               "damaged": damaged, "unverified": unverified, "error": null})
    };
    let wanted = json!({
        "torrent": "data.torrent",
        "info_hash": hash,
        "info_hash_v2": null,
        "name": "data",
        "path": dir.join("data").to_str().unwrap(),
        "quick": false,
        "ok": false,
        "pieces": 5,
        "good_pieces": 2,
        "repaired": [],
        "files": [
            file("a", 20_000, json!(null), "missing", json!([[0, 1]]), json!([])),
            file("b", 0, json!(0), "ok", json!([]), json!([])),
            file("c", 20_000, json!(20_000), "damaged", json!([[2, 2]]), json!([[1, 1]])),
            file("d/e", 30_000, json!(30_000), "damaged", json!([[2, 2]]), json!([])),
        ],
    });
    assert_eq!(said, wanted);
    assert_eq!(done.out.lines().count(), 1);
    dir.write("data/a", "");
    let done = check(&dir, &["--json", "--quick", "--file", "a"]).expect(6);
    let said: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(
        said["files"],
        json!([file("a", 20_000, json!(0), "wrong_size", json!([]), json!([]))])
    );
    assert_eq!((&said["quick"], &said["pieces"]), (&json!(true), &json!(0)));
}

#[test]
fn a_single_file_is_found_by_its_name_its_path_or_its_folder() {
    let dir = Dir::new();
    dir.write("one", content("one", 40_000));
    make(&dir, "one");
    let call = |path: &[&str]| dir.cmd("btcheck").arg("one.torrent").args(path).run();
    for path in [&[][..], &["one"], &["."]] {
        let done = call(path).expect(0);
        assert_eq!(done.out, "one: ok\n1 file: 1 ok; 3 of 3 pieces ok\n", "{path:?}");
    }
    fs::rename(dir.join("one"), dir.join("other")).unwrap();
    call(&[]).expect(6);
    call(&["other"]).expect(0);
    flip(&dir, "other", 39_999);
    let done = call(&["other"]).expect(6);
    assert_eq!(done.out, "one: damaged, pieces 2\n1 file: 1 damaged; 2 of 3 pieces ok\n");
}

#[test]
fn names_of_strangers_are_escaped() {
    let dir = Dir::new();
    let name = "data/x\u{1b}[2J\"\n";
    dir.write(name, "hello");
    make(&dir, "data");
    let done = check(&dir, &[]).expect(0);
    assert!(done.out.starts_with("x\\x1b[2J\"\\n: ok\n"), "{}", done.out);
    let done = check(&dir, &["--json"]).expect(0);
    assert!(!done.out.contains('\u{1b}'));
    let said: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(said["files"][0]["path"], name[5..]);
}

#[test]
fn pad_files_need_not_be_on_disk_and_are_not_listed() {
    let dir = Dir::new();
    let bytes = content("x", 10);
    dir.write("n/x", &bytes);
    dir.write("n/y", "yy");
    let whole = [&bytes[..], &[0; 6]].concat();
    let hash = |bytes: &[u8]| sha1_smol::Sha1::from(bytes).digest().bytes();
    let mut torrent =
        b"d4:infod5:filesld6:lengthi10e4:pathl1:xeed4:attr1:p6:lengthi6e4:pathl4:.pad\
                        1:6eed6:lengthi2e4:pathl1:yeee4:name1:n12:piece lengthi16e6:pieces40:"
            .to_vec();
    torrent.extend(hash(&whole));
    torrent.extend(hash(b"yy"));
    torrent.extend(b"ee");
    dir.write("n.torrent", torrent);
    let done = dir.cmd("btcheck").arg("n.torrent").run().expect(0);
    assert_eq!(done.out, "x: ok\ny: ok\n2 files: 2 ok; 2 of 2 pieces ok\n");
}

#[test]
fn what_cannot_be_checked_is_a_failure() {
    let dir = data();
    let done = dir.cmd("btcheck").arg("nosuch").run().expect(1);
    assert_eq!(done.err, "btcheck: cannot read 'nosuch': No such file or directory\n");
    dir.write("bad", "no torrent");
    let done = dir.cmd("btcheck").arg("bad").run().expect(1);
    assert!(done.err.starts_with("btcheck: cannot read 'bad': "), "{}", done.err);
    fs::remove_file(dir.join("data/a")).unwrap();
    fs::create_dir(dir.join("data/a")).unwrap();
    let done = check(&dir, &["--quiet"]).expect(1);
    let lines = "a: unreadable (it is a directory)\nc: unverified, pieces 1\n\
                 4 files: 2 ok, 1 unverified, 1 unreadable; 3 of 5 pieces ok\n";
    assert_eq!(done.out, lines);
    assert_eq!(done.err, "btcheck: cannot read 'a': it is a directory\n");
}

#[test]
fn a_wrong_call_exits_with_2() {
    let dir = data();
    dir.cmd("btcheck").run().expect(2);
    dir.cmd("btcheck").arg("--quick").run().expect(2);
    check(&dir, &["a", "b"]).expect(2);
    check(&dir, &["--repair"]).expect(2);
    let help = dir.cmd("btcheck").arg("--help").run().expect(0);
    assert!(help.out.contains("6 if a file is damaged"), "{}", help.out);
}
