//! The tools that make and show .torrent files, called as users call them: against the answers
//! recorded from the original, against broken .torrents, and against a machine that refuses.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod util;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use bittornado::proto::bencode::{self, Kind, Value};
use bittornado::proto::hash::sha1;
use bittornado::proto::metainfo::Metainfo;
use serde_json::{Value as Json, json};
use util::{Cmd, Dir, content, until};

const URL: &str = "http://tracker.test:6969/announce";

fn manifest(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |i| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

/// Makes a file as the recording describes it.
fn make_file(dir: &Dir, recipe: &Json) {
    let path = recipe["path"].as_str().unwrap();
    if recipe["dir"] == true {
        return fs::create_dir_all(dir.join(path)).unwrap();
    }
    let size = recipe["size"].as_u64().unwrap_or(0) as usize;
    let bytes = match recipe["gen"].as_str().unwrap() {
        "sha1ctr" => content(&recipe["seed"].to_string(), size),
        "repeat" => recipe["text"].as_str().unwrap().bytes().cycle().take(size).collect(),
        "hex" => unhex(recipe["data"].as_str().unwrap()),
        "zero" => Vec::new(),
        "literal" => recipe["text"].as_str().unwrap().into(),
        other => panic!("unknown content '{other}'"),
    };
    dir.write(path, &bytes);
    // Zeros need no room on the disk.
    File::options()
        .write(true)
        .open(dir.join(path))
        .unwrap()
        .set_len(size.max(bytes.len()) as u64)
        .unwrap();
}

/// A decoded .torrent as the recording writes it: without its date, pieces in hex or summed up.
fn to_json(value: &Value, like: &Json) -> Json {
    match &value.kind {
        Kind::Int(n) => json!(n),
        Kind::Bytes(b) if like.is_object() => {
            json!({"sha1_of_pieces": hex(&sha1(b)), "count": b.len() / 20})
        }
        Kind::Bytes(b) => std::str::from_utf8(b).map_or_else(|_| json!(hex(b)), |t| json!(t)),
        Kind::List(l) => l.iter().enumerate().map(|(i, v)| to_json(v, &like[i])).collect(),
        Kind::Dict(d) => {
            let entry = |(key, value): &(&[u8], Value)| {
                let key = String::from_utf8(key.to_vec()).unwrap();
                let value = match (key.as_str(), value.as_bytes(), &like[&key]) {
                    ("pieces", Some(pieces), Json::String(_)) => json!(hex(pieces)),
                    _ => to_json(value, &like[&key]),
                };
                (key, value)
            };
            let entries = d.iter().filter(|(key, _)| *key != b"creation date").map(entry);
            Json::Object(entries.collect())
        }
    }
}

fn check_torrent(id: &str, bytes: &[u8], wanted: &Json) {
    let top = bencode::decode_prefix(bytes).unwrap().0;
    assert_eq!(to_json(&top, &wanted["dict"]), wanted["dict"], "{id}");
    assert_eq!(top.get("creation date").is_some(), wanted["has_creation_date"] == true, "{id}");
    let metainfo = Metainfo::decode(bytes).unwrap();
    assert_eq!(json!(metainfo.info_hash.to_string()), wanted["infohash"], "{id}");
    let keys = |v: &Value| -> Vec<String> {
        let keys = v.as_dict().unwrap().iter().map(|(k, _)| String::from_utf8(k.to_vec()).unwrap());
        keys.collect()
    };
    let orders = [
        (&wanted["key_order"], keys(&top)),
        (&wanted["info_key_order"], keys(top.get("info").unwrap())),
    ];
    for (order, keys) in orders.into_iter().filter(|(order, _)| !order.is_null()) {
        assert_eq!(json!(keys), *order, "{id}");
    }
}

fn lines(recorded: &Json) -> String {
    let lines: Vec<&str> =
        recorded.as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
    lines.join("\n")
}

fn run_step(dir: &Dir, case: &Json, step: &Json) {
    let id = case["id"].as_str().unwrap();
    let args: Vec<&str> =
        step["cmd"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
    let done = dir.cmd(args[0]).args(&args[1..]).run();
    let wanted = if case["intended"].is_null() { step } else { &case["intended"] };
    assert_eq!(json!(done.code()), wanted["rc"], "{id}: {done:?}");
    match case["kind"].as_str().unwrap() {
        // The words of a usage text are ours.
        "usage" => {
            assert!(done.out.starts_with("usage: ") && done.err.is_empty(), "{id}: {done:?}")
        }
        "error" => assert_eq!(done.err.lines().count(), 1, "{id}: {done:?}"),
        // What was recorded is what is wrong.
        _ if args[0] == "btshowmetainfo" && !case["intended"].is_null() => {
            let hash = wanted["torrents"][args[1]]["infohash"].as_str().unwrap();
            assert!(done.out.contains(&format!("\ninfo hash.....: {hash}\n")), "{id}: {done:?}");
        }
        _ => {
            // Recorded lines of progress are no contract.
            let made = args[0] == "btmakemetafile";
            let said = if made { String::new() } else { lines(&step["stdout"]) };
            assert_eq!(done.out, said, "{id}");
            let notice = match args[0] {
                "btrename" => "': the info hash ",
                "btcompletedir" => "btcompletedir: left out '",
                "btshowmetainfo" => "warning: ",
                _ => "nothing",
            };
            assert!(done.err.lines().all(|line| line.contains(notice)), "{id}: {done:?}");
        }
    }
}

/// All .torrent files below the folder; fails for a temporary file left behind.
fn torrents(dir: &Dir) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![dir.path().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir.path()).unwrap().to_str().unwrap().to_string();
            assert!(!name.ends_with(".tmp"), "{name} is left over");
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".torrent") {
                found.insert(name);
            }
        }
    }
    found
}

fn replay(case: &Json) {
    let id = case["id"].as_str().unwrap();
    let dir = Dir::new();
    let recipes = case["files"].as_array().unwrap();
    recipes.iter().for_each(|recipe| make_file(&dir, recipe));
    case["steps"].as_array().unwrap().iter().for_each(|step| run_step(&dir, case, step));
    let fixed = !case["intended"].is_null();
    let wanted = if fixed { &case["intended"]["torrents"] } else { &case["torrents"] };
    let wanted = wanted.as_object().unwrap();
    for (name, wanted) in wanted {
        check_torrent(id, &dir.read(name), wanted);
    }
    let made = torrents(&dir)
        .into_iter()
        .filter(|name| !recipes.iter().any(|r| r["path"] == name.as_str()));
    let named = wanted.keys().filter(|name| !recipes.iter().any(|r| r["path"] == name.as_str()));
    assert!(made.eq(named.cloned()), "{id}");
    for (name, shown) in case["showmetainfo"].as_object().into_iter().flatten().filter(|_| !fixed) {
        let done = dir.cmd("btshowmetainfo").arg(name).run().expect(0);
        assert_eq!(done.out, lines(&shown["stdout"]), "{id}");
    }
}

#[test]
fn recorded_answers_of_the_original_come_out_again() {
    let text = fs::read_to_string(manifest("tests/data/original/metainfo.json")).unwrap();
    let recording: Json = serde_json::from_str(&text).unwrap();
    let cases = recording["cases"].as_array().unwrap();
    cases.iter().for_each(replay);
    assert_eq!(cases.len(), 64, "recorded cases");
}

/// Every fixture that must be refused, by its name, and what is said about it.
const SICK: &[(&str, &str)] = &[
    ("absolute-name", "name '/etc/passwd' disallowed for security reasons"),
    ("absolute-path", "path '/etc/passwd' disallowed for security reasons"),
    ("backslash-in-path", "path 'd/..\\evil' disallowed for security reasons"),
    ("dot-component", "path 'a/./b' disallowed for security reasons"),
    ("duplicate-path", "bad metainfo: two files need the path 'a/b'"),
    ("empty", "bad bencoded data: it ends too early at byte 0"),
    ("empty-component", "path 'a//b' disallowed for security reasons"),
    ("empty-name", "name '' disallowed for security reasons"),
    ("empty-path", "bad metainfo: bad 'path'"),
    ("file-as-folder", "bad metainfo: two files need the path 'a'"),
    ("file-without-length", "bad metainfo: no 'length'"),
    ("file-without-path", "bad metainfo: no 'path'"),
    ("files-a-dictionary", "bad metainfo: bad 'files'"),
    ("hidden-path", "path '.bashrc' disallowed for security reasons"),
    ("hybrid-file-only-in-list", "bad metainfo: versions 1 and 2 do not agree about 'c'"),
    ("hybrid-file-only-in-tree", "bad metainfo: versions 1 and 2 do not agree about 'b'"),
    ("hybrid-no-tree", "bad metainfo: no 'file tree'"),
    ("hybrid-other-length", "bad metainfo: versions 1 and 2 do not agree about 'b'"),
    ("hybrid-other-name", "bad metainfo: versions 1 and 2 do not agree about 'c'"),
    (
        "hybrid-padding-of-two-pieces",
        "bad metainfo: versions 1 and 2 do not agree about '.pad/65535'",
    ),
    ("hybrid-too-few-pieces", "bad metainfo: total too big"),
    ("hybrid-without-padding", "bad metainfo: versions 1 and 2 do not agree about 'b'"),
    ("info-not-a-dictionary", "bad metainfo: bad 'info'"),
    ("integer-beyond-63-bits", "bad bencoded data: bad number at byte 63"),
    ("integer-empty", "bad bencoded data: bad number at byte 63"),
    ("integer-negative-zero", "bad bencoded data: bad number at byte 63"),
    ("integer-with-a-sign", "bad bencoded data: bad number at byte 63"),
    ("integer-without-end", "bad bencoded data: bad number at byte 63"),
    ("key-a-number", "bad bencoded data: bad dictionary key at byte 54"),
    ("leading-zero", "bad bencoded data: bad number at byte 63"),
    ("length-a-string", "bad metainfo: bad 'length'"),
    ("length-huge", "bad metainfo: too large"),
    ("length-and-files", "bad metainfo: exactly one of 'length' and 'files' must be there"),
    ("name-a-number", "bad metainfo: bad 'name'"),
    ("name-escape", "name '..' disallowed for security reasons"),
    ("negative-file-length", "bad metainfo: bad 'length'"),
    ("negative-length", "bad metainfo: bad 'length'"),
    ("negative-piece-length", "bad metainfo: bad 'piece length'"),
    ("neither-length-nor-files", "bad metainfo: exactly one of 'length' and 'files' must be there"),
    ("nested-too-deep", "bad bencoded data: nested too deep at byte 107"),
    ("no-files", "bad metainfo: bad 'files'"),
    ("no-info", "bad metainfo: no 'info'"),
    ("no-name", "bad metainfo: no 'name'"),
    ("no-piece-length", "bad metainfo: no 'piece length'"),
    ("no-pieces", "bad metainfo: no 'pieces'"),
    ("not-a-dictionary", "bad metainfo: not a dictionary"),
    ("not-bencoded", "bad bencoded data: unexpected byte at byte 0"),
    ("nul-in-path", "path 'a\\x00b' disallowed for security reasons"),
    ("path-a-string", "bad metainfo: bad 'path'"),
    ("path-escape", "path 'd/../../evil' disallowed for security reasons"),
    ("path-of-numbers", "bad metainfo: bad 'path'"),
    ("piece-length-1-gib", "bad metainfo: bad piece length"),
    ("piece-length-4-gib", "bad metainfo: bad 'piece length'"),
    ("piece-length-zero", "bad metainfo: bad 'piece length'"),
    ("pieces-a-list", "bad metainfo: bad 'pieces'"),
    ("pieces-cut", "bad metainfo: bad 'pieces'"),
    ("repeated-key", "bad bencoded data: bad dictionary key at byte 14"),
    ("slash-in-path", "path '../evil' disallowed for security reasons"),
    ("string-of-exabytes", "bad bencoded data: it ends too early at byte 32"),
    ("tilde-name", "name '~root' disallowed for security reasons"),
    ("too-few-pieces", "bad metainfo: total too big"),
    ("too-many-pieces", "bad metainfo: total too small"),
    ("total-overflow", "bad metainfo: too large"),
    ("truncated", "bad bencoded data: it ends too early at byte 123"),
    ("values-that-fill-the-memory", "bad bencoded data: too many values at byte 42182"),
    ("v2-absolute-path", "path '/etc/passwd' disallowed for security reasons"),
    ("v2-file-a-number", "bad metainfo: bad 'file tree'"),
    ("v2-file-and-folder", "bad metainfo: bad 'file tree'"),
    ("v2-file-without-name", "path '' disallowed for security reasons"),
    ("v2-hidden-path", "path 'd/.bashrc' disallowed for security reasons"),
    ("v2-layer-of-another-root", "bad metainfo: the piece layer of 'n' does not lead to its root"),
    ("v2-layer-too-long", "bad metainfo: wrong number of hashes in the piece layer of 'n'"),
    ("v2-layer-too-short", "bad metainfo: wrong number of hashes in the piece layer of 'n'"),
    ("v2-layers-a-list", "bad metainfo: bad 'piece layers'"),
    ("v2-meta-version-3", "bad metainfo: bad 'meta version'"),
    ("v2-meta-version-a-string", "bad metainfo: bad 'meta version'"),
    ("v2-negative-length", "bad metainfo: bad 'length'"),
    ("v2-no-layers", "bad metainfo: no 'piece layers'"),
    ("v2-no-length", "bad metainfo: no 'length'"),
    ("v2-no-root", "bad metainfo: no 'pieces root'"),
    ("v2-no-tree", "bad metainfo: no 'file tree'"),
    ("v2-nul-in-path", "path 'a\\x00b' disallowed for security reasons"),
    (
        "v2-one-root-for-two-lengths",
        "bad metainfo: wrong number of hashes in the piece layer of 'b'",
    ),
    ("v2-path-escape", "path 'd/..' disallowed for security reasons"),
    ("v2-paths-that-fill-the-memory", "bad metainfo: the paths in 'file tree' are too long"),
    ("v2-piece-length-8-kib", "bad metainfo: bad 'piece length'"),
    ("v2-piece-length-odd", "bad metainfo: bad 'piece length'"),
    ("v2-root-cut", "bad metainfo: bad 'pieces root'"),
    ("v2-slash-in-path", "path '../evil' disallowed for security reasons"),
    ("v2-too-many-pieces", "bad metainfo: too large"),
    ("v2-total-overflow", "bad metainfo: too large"),
    ("v2-tree-a-list", "bad metainfo: bad 'file tree'"),
    ("v2-tree-empty", "bad metainfo: bad 'file tree'"),
    ("v2-tree-of-folders", "bad metainfo: bad 'file tree'"),
    ("v2-tree-too-deep", "bad bencoded data: nested too deep at byte 461"),
];

#[test]
fn every_sick_torrent_is_refused_for_its_sickness() {
    let folder = manifest("tests/data/torrents");
    let mut sick: BTreeMap<String, &str> =
        SICK.iter().map(|(name, why)| (format!("{name}.torrent"), *why)).collect();
    let names =
        fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let (good, names): (Vec<String>, Vec<String>) = names.partition(|n| n.starts_with("good-"));
    let dir = Dir::new();
    // All in one call: one bad file does not keep the others from being shown.
    let done = dir.cmd("btshowmetainfo").cwd(&folder).args(&names).args(&good).run().expect(1);
    let mut said = done.err.lines();
    for name in names {
        let why = sick.remove(&name).unwrap_or_else(|| panic!("{name} is not in the table"));
        let line = format!("btshowmetainfo: cannot read '{name}': {why}");
        assert_eq!(said.next(), Some(line.as_str()));
    }
    assert_eq!(said.next(), None);
    assert!(sick.is_empty(), "no fixture for {sick:?}");
    assert_eq!(done.out.matches("metainfo file.: good-").count(), good.len());
}

fn show_fixture(name: &str) -> String {
    let dir = Dir::new();
    let done = dir.cmd("btshowmetainfo").cwd(manifest("tests/data/torrents")).arg(name).run();
    done.expect(0).out
}

#[test]
fn text_of_strangers_cannot_play_with_the_terminal() {
    let out = show_fixture("good-control-characters.torrent");
    assert!(out.contains("file name.....: a\\x1bb\n"), "{out}");
    assert!(out.contains("comment.......: line 1\\nline 2 \\x1b[2J\\u{202e}gnp\n"), "{out}");
}

#[test]
fn a_torrent_without_tracker_is_shown_with_a_warning() {
    let out = show_fixture("good-no-announce.torrent");
    assert!(out.ends_with("announce url..: ***WARNING*** - no announce key\n"), "{out}");
}

#[test]
fn what_cannot_be_read_is_named_and_nothing_is_made() {
    let dir = Dir::new();
    dir.write("file", "x");
    dir.write("empty/.hidden", "x");
    dir.write("ignored/core", "x");
    for (path, why) in [
        ("nothere", "No such file or directory"),
        ("file/below", "Not a directory"),
        ("/dev/null", "neither file nor folder"),
    ] {
        let done = dir.cmd("btmakemetafile").args([URL, path]).run().expect(1);
        let full = dir.join(path);
        let line = format!("btmakemetafile: cannot read '{}': {why}\n", full.display());
        assert_eq!((done.err, done.out.as_str()), (line, ""));
        let done = dir.cmd("btshowmetainfo").arg(path).run().expect(1);
        assert!(done.err.starts_with(&format!("btshowmetainfo: cannot read '{path}': ")));
    }
    let done = dir.cmd("btmakemetafile").args([URL, "empty"]).run().expect(1);
    assert!(done.err.starts_with("btmakemetafile: there is no file in '"), "{done:?}");
    let done = dir.cmd("btmakemetafile").args([URL, "ignored"]).run().expect(1);
    assert!(done.err.ends_with("' but what is left out (1 entries)\n"), "{done:?}");
    let done = dir.cmd("btshowmetainfo").arg("empty").run().expect(1);
    assert_eq!(done.err, "btshowmetainfo: cannot read 'empty': Is a directory\n");
    assert_eq!(dir.names(), ["empty", "file", "ignored"]);
}

#[test]
fn a_target_that_cannot_be_written_leaves_nothing() {
    let dir = Dir::new();
    dir.write("a", "x");
    // Refused before it is read, which would take minutes.
    File::create(dir.join("big")).unwrap().set_len(1 << 40).unwrap();
    let args = [URL, "big", "--target", "no/where.torrent"];
    dir.cmd("btmakemetafile").args(args).run().expect(1);
    fs::remove_file(dir.join("big")).unwrap();
    for (target, why) in [
        ("no/where.torrent", "cannot create"),
        ("a/b.torrent", "cannot write"),
        ("/dev/full", "cannot write"),
    ] {
        let done = dir.cmd("btmakemetafile").args([URL, "a", "--target", target]).run().expect(1);
        assert!(done.err.starts_with(&format!("btmakemetafile: {why} '")), "{done:?}");
        assert_eq!((done.err.lines().count(), dir.names()), (1, vec!["a".to_string()]));
    }
}

#[test]
fn one_bad_input_does_not_keep_the_others_from_being_made() {
    let dir = Dir::new();
    dir.write("a", "x");
    dir.write("t/~backup", "x");
    dir.write("z", "x");
    let args = [URL, "a", "t", "nothere", "z"];
    let done = dir.cmd("btmakemetafile").args(args).run().expect(1);
    assert_eq!(done.err.lines().count(), 2, "{done:?}");
    assert!(done.err.contains("path '~backup' disallowed for security reasons"), "{done:?}");
    assert_eq!(dir.names(), ["a", "a.torrent", "t", "z", "z.torrent"]);
}

#[test]
fn a_file_name_that_is_not_utf8_is_refused_by_name() {
    use std::os::unix::ffi::OsStrExt;
    let dir = Dir::new();
    dir.write(Path::new("d").join(std::ffi::OsStr::from_bytes(b"\xe9t\xe9")), "x");
    let done = dir.cmd("btmakemetafile").args([URL, "d"]).run().expect(1);
    assert!(done.err.ends_with("is not UTF-8\n") && done.err.lines().count() == 1, "{done:?}");
    assert_eq!(dir.names(), ["d"]);
}

#[test]
fn wrong_usage_is_one_line_and_exit_2() {
    let dir = Dir::new();
    dir.write("a", "x");
    dir.write("b", "x");
    dir.write("s/a", "x");
    for (args, problem) in [
        (&[URL][..], "needs at least one file or folder"),
        (&[URL, "a", "--piece_size_pow2", "28"], "--piece_size_pow2: '28' is not"),
        (&[URL, "a", "--piece_size_pow2", "13"], "--piece_size_pow2: '13' is neither"),
        (&[URL, "a", "--piece-size-pow2", "x"], "--piece_size_pow2: 'x' is not"),
        (&[URL, "a", "b", "--target", "t.torrent"], "'b' would overwrite '"),
        (&[URL, "a", "s/a", "--target", "s"], "'s/a' would overwrite '"),
    ] {
        let done = dir.cmd("btmakemetafile").args(args).run().expect(2);
        assert!(done.err.starts_with(&format!("btmakemetafile: {problem}")), "{done:?}");
        assert_eq!((done.err.lines().count(), done.out.as_str()), (1, ""));
    }
    assert_eq!(torrents(&dir).len(), 0);
}

#[test]
fn a_target_folder_takes_one_torrent_an_input() {
    let dir = Dir::new();
    dir.write("a", "x");
    dir.write("s/b", "y");
    fs::create_dir(dir.join("out")).unwrap();
    dir.cmd("btmakemetafile").args([URL, "a", "s/b", "--target", "out/"]).run().expect(0);
    assert!(torrents(&dir).iter().eq(["out/a.torrent", "out/b.torrent"]));
}

#[test]
fn names_on_the_ignore_list_are_left_out_and_told() {
    let dir = Dir::new();
    dir.write("d/core", "x");
    dir.write("d/e/CVS/Root", "x");
    dir.write("d/keep", "y");
    let files = |args: &[&str]| {
        let command = dir.cmd("btmakemetafile").args([URL, "d", "--force"]);
        let done = command.args(args).run().expect(0);
        let files = Metainfo::decode(&dir.read("d.torrent")).unwrap().info.files;
        let paths: Vec<String> = files.iter().map(|f| f.path.join("/")).collect();
        (paths.join(" "), done.err.lines().count())
    };
    assert_eq!(files(&[]), ("keep".into(), 2));
    assert_eq!(files(&["--ignore", "keep"]), ("core e/CVS/Root".into(), 1));
    assert_eq!(files(&["--ignore="]), ("core e/CVS/Root keep".into(), 0));
}

#[test]
fn a_dot_names_the_folder_and_the_torrent_goes_beside_it() {
    let dir = Dir::new();
    dir.write("d/x", "x");
    dir.cmd("btmakemetafile").cwd(dir.join("d")).args([URL, "."]).run().expect(0);
    assert_eq!(Metainfo::decode(&dir.read("d.torrent")).unwrap().info.name, "d");
}

#[test]
fn a_warning_for_the_option_without_effect() {
    let dir = Dir::new();
    dir.write("a", "x");
    let args = [URL, "a", "--filesystem_encoding", "latin-1"];
    let done = dir.cmd("btmakemetafile").args(args).run().expect(0);
    assert!(done.err.contains("warning: --filesystem_encoding has no effect"), "{done:?}");
    assert_eq!(done.err.lines().count(), 1);
}

/// A run over far more (sparse) data than can be hashed while the test looks, once it listens for
/// signals.
fn long_run(dir: &Dir) -> util::Background {
    File::create(dir.join("big")).unwrap().set_len(1 << 40).unwrap();
    let command: Cmd = dir.cmd("btmakemetafile").args([URL, "big"]);
    let run = command.start();
    let status = format!("/proc/{}/status", run.id());
    until(Duration::from_secs(20), "a handler for SIGTERM", || {
        let status = fs::read_to_string(&status).ok()?;
        let caught = status.lines().find_map(|l| l.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
        (caught & (1 << 14) != 0).then_some(())
    });
    run
}

#[test]
fn a_run_that_is_stopped_leaves_nothing() {
    let dir = Dir::new();
    let done = long_run(&dir).stop(Duration::from_secs(20)).expect(1);
    assert!(done.err.starts_with("btmakemetafile: stopped"), "{done:?}");
    assert_eq!(dir.names(), ["big"]);
}

/// Starts to hash `d/a`, of half a gigabyte of zeros, and `d/z` behind it.
fn run_over_two(dir: &Dir) -> util::Background {
    dir.write("d/a", "");
    File::options().write(true).open(dir.join("d/a")).unwrap().set_len(512 << 20).unwrap();
    dir.write("d/z", content("z", 100_000));
    let run = dir.cmd("btmakemetafile").args([URL, "d", "--quiet"]).start();
    has_read(&run);
    run
}

/// Waits until a run has looked at lengths, since it has read something.
fn has_read(run: &util::Background) {
    let io = format!("/proc/{}/io", run.id());
    until(Duration::from_secs(20), "the first reads", || {
        let io = fs::read_to_string(&io).ok()?;
        let read: u64 = io.lines().find_map(|l| l.strip_prefix("rchar: "))?.parse().unwrap();
        (read > 10 << 20).then_some(())
    });
}

#[test]
fn a_file_that_changes_or_vanishes_before_it_is_read_is_named() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("grows", |z| fs::write(z, content("z", 100_001)).unwrap()),
        ("is written to", |z| fs::write(z, content("y", 100_000)).unwrap()),
        ("shrinks", |z| fs::write(z, content("z", 99_999)).unwrap()),
        ("vanishes", |z| fs::remove_file(z).unwrap()),
    ];
    for (what, change) in changes {
        let dir = Dir::new();
        let run = run_over_two(&dir);
        change(&dir.join("d/z"));
        let done = run.wait(Duration::from_secs(50)).expect(1);
        let z = dir.join("d/z");
        let told = done.err.contains(&format!("'{}'", z.display()));
        assert!(told && done.err.lines().count() == 1, "{what}: {done:?}");
        assert_eq!(dir.names(), ["d"], "{what}");
    }
}

#[test]
fn what_is_no_file_is_refused() {
    use std::os::unix::fs::symlink;
    let dir = Dir::new();
    let fifo = rustix::fs::FileType::Fifo;
    let mode = rustix::fs::Mode::RWXU;
    dir.write("d/x", "x");
    rustix::fs::mknodat(rustix::fs::CWD, dir.join("fifo"), fifo, mode, 0).unwrap();
    symlink("loop", dir.join("loop")).unwrap();
    symlink("/dev/zero", dir.join("zero")).unwrap();
    symlink(".", dir.join("here")).unwrap();
    for (name, why) in [
        ("fifo", "neither file nor folder"),
        ("zero", "neither file nor folder"),
        ("loop", "Too many levels of symbolic links"),
        ("here", "it is a link to a folder it lies in"),
    ] {
        let inside = format!("d/{name}");
        fs::rename(dir.join(name), dir.join(&inside)).unwrap();
        // In a folder that is made into a torrent, and alone.
        for path in ["d", &inside].into_iter().take(if name == "here" { 1 } else { 2 }) {
            let done = dir.cmd("btmakemetafile").args([URL, path]).run().expect(1);
            let full = dir.join(&inside);
            let line = format!("btmakemetafile: cannot read '{}': {why}\n", full.display());
            assert_eq!(done.err, line);
        }
        assert!(torrents(&dir).is_empty());
        fs::remove_file(dir.join(&inside)).unwrap();
    }
    // Sockets and links to nothing are left out, as in the original.
    symlink("nothing", dir.join("d/lost")).unwrap();
    let _door = std::os::unix::net::UnixListener::bind(dir.join("d/sock")).unwrap();
    let done = dir.cmd("btmakemetafile").args([URL, "d"]).run().expect(0);
    let told = |name: &str| done.err.matches(&format!("/d/{name}': ")).count();
    assert_eq!(["lost", "sock"].map(told), [1; 2], "{done:?}");
    assert_eq!(Metainfo::decode(&dir.read("d.torrent")).unwrap().info.files.len(), 1);
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_named() {
    let dir = Dir::new();
    let run = long_run(&dir);
    has_read(&run);
    File::options().write(true).open(dir.join("big")).unwrap().set_len(1 << 20).unwrap();
    let done = run.wait(Duration::from_secs(20)).expect(1);
    assert!(done.err.starts_with("btmakemetafile: cannot read '"), "{done:?}");
    assert_eq!((done.err.lines().count(), dir.names()), (1, vec!["big".to_string()]));
}
