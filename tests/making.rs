//! What the makers of .torrent files offer beyond the original, called as users call them. What
//! they made is read by the library, and its keys as they stand.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod util;

use std::fs::File;
use std::os::unix::fs::symlink;

use bittornado::cmd;
use bittornado::cmd::env::Env;
use bittornado::proto::bencode::{self, Value};
use bittornado::proto::metainfo::Metainfo;
use util::{Dir, Done, content};

const URL: &str = "http://tracker.test:6969/announce";

/// Makes `a.torrent` of `a`, a .torrent that is there already or not, and reads it.
#[track_caller]
fn make(dir: &Dir, args: &[&str]) -> Metainfo {
    let command = dir.cmd("btmakemetafile").args([URL, "a", "--force"]);
    let done = command.args(args).run().expect(0);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("", ""));
    Metainfo::decode(&dir.read("a.torrent")).unwrap()
}

/// A folder with a file `a` of 100,000 bytes.
fn folder() -> Dir {
    let dir = Dir::new();
    dir.write("a", content("a", 100_000));
    dir
}

/// The keys of `a.torrent` in their order, those of its `info` too.
fn keys(dir: &Dir) -> (String, String) {
    let bytes = dir.read("a.torrent");
    let top = bencode::decode(&bytes).unwrap();
    let keys = |dict: &Value| {
        let keys = dict.as_dict().unwrap().iter().map(|(k, _)| String::from_utf8_lossy(k));
        keys.collect::<Vec<_>>().join(",")
    };
    (keys(&top), keys(top.get("info").unwrap()))
}

#[track_caller]
fn refused(dir: &Dir, command: &str, args: &[&str], code: i32, why: &str) -> Done {
    let before = dir.names();
    let done = dir.cmd(command).args(args).run().expect(code);
    assert!(done.err.starts_with(&format!("{command}: {why}")), "{done:?}");
    assert_eq!((done.err.lines().count(), done.out.as_str()), (1, ""), "{done:?}");
    assert_eq!(dir.names(), before);
    done
}

#[test]
fn without_options_there_are_the_keys_of_the_original_alone() {
    let dir = folder();
    make(&dir, &[]);
    let wanted = ("announce,creation date,info", "length,name,piece length,pieces");
    assert_eq!(keys(&dir), (wanted.0.into(), wanted.1.into()));
}

#[test]
fn private_and_source_are_part_of_the_info_hash_and_the_rest_is_not() {
    let dir = folder();
    let plain = make(&dir, &[]).info_hash;
    let private = make(&dir, &["--private"]);
    assert!(private.info.private);
    let sourced = make(&dir, &["--source", "ours"]).info_hash;
    let both = make(&dir, &["--private", "--source=ours"]).info_hash;
    let mut hashes = vec![plain, private.info_hash, sourced, both];
    hashes.sort_unstable_by_key(|hash| hash.0);
    hashes.dedup();
    assert_eq!(hashes.len(), 4);
    assert_eq!(keys(&dir).1, "length,name,piece length,pieces,private,source");
    let bytes = dir.read("a.torrent");
    assert!(bytes.ends_with(b"7:privatei1e6:source4:oursee"));
    let outside = ["--web_seed", "http://w/", "--node", "h:1", "--created_by=x", "--no_date"];
    assert_eq!(make(&dir, &outside).info_hash, plain);
}

#[test]
fn seeds_nodes_and_maker_are_written_in_the_order_of_their_keys() {
    let dir = folder();
    let made = make(
        &dir,
        &[
            "--url_list=http://w/a|https://v/a",
            "--node",
            "dht.example:6881,[2001:db8::1]:80",
            "--created_by",
            "my script 1.0",
            "--httpseeds",
            "http://h/seed",
            "--comment=c",
            "--announce_list=http://x/,http://y/|http://z/",
        ],
    );
    assert_eq!(made.url_list, ["http://w/a", "https://v/a"]);
    assert_eq!(made.httpseeds, ["http://h/seed"]);
    assert_eq!(made.created_by.as_deref(), Some("my script 1.0"));
    let wanted = "announce,announce-list,comment,created by,creation date,httpseeds,info,nodes,\
                  url-list";
    assert_eq!(keys(&dir).0, wanted);
    let bytes = dir.read("a.torrent");
    let nodes = b"5:nodesll11:dht.examplei6881eel11:2001:db8::1i80eee8:url-listl";
    assert!(bytes.windows(nodes.len()).any(|w| w == nodes), "{}", bytes.escape_ascii());
    // A list even for one, which every reader takes.
    make(&dir, &["--web-seed", "http://w/a"]);
    assert!(dir.read("a.torrent").ends_with(b"8:url-listl10:http://w/aee"));
}

#[test]
fn a_piece_size_is_set_by_its_size_or_by_the_number_of_pieces() {
    let dir = folder();
    let size = |args: &[&str]| make(&dir, args).info.piece_length;
    assert_eq!(size(&[]), 32 << 10);
    assert_eq!(size(&["--piece_size", "16KiB"]), 16 << 10);
    assert_eq!(size(&["--piece_size", "65536"]), 64 << 10);
    assert_eq!(size(&["--piece-size=128MiB"]), 128 << 20);
    assert_eq!(size(&["--max_pieces", "0"]), 32 << 10);
    for (most, length, count) in [("7", 16 << 10, 7), ("6", 32 << 10, 4), ("1", 128 << 10, 1)] {
        let made = make(&dir, &["--max_pieces", most]);
        assert_eq!((made.info.piece_length, made.info.pieces.len()), (length, count), "{most}");
    }
    File::create(dir.join("big")).unwrap().set_len(1 << 40).unwrap();
    let args = [URL, "big", "--max_pieces", "8191"];
    let done = refused(&dir, "btmakemetafile", &args, 1, "'");
    assert!(done.err.ends_with("' has more than 8191 pieces of 128 MiB, the largest there are\n"));
}

#[test]
fn a_name_replaces_that_of_the_path_in_the_torrent_alone() {
    let dir = folder();
    let made = make(&dir, &["--name", "other name.bin"]);
    assert_eq!(made.info.name, "other name.bin");
    assert_eq!(dir.names(), ["a", "a.torrent"]);
}

#[test]
fn the_date_can_be_left_out_or_set_from_outside() {
    let dir = folder();
    let at = |epoch: &str, args: &[&str]| {
        let command = dir.cmd("btmakemetafile").args([URL, "a", "--force"]).args(args);
        command.env("SOURCE_DATE_EPOCH", epoch).run().expect(0);
        dir.read("a.torrent")
    };
    let dated = at("1234567890", &[]);
    assert_eq!(Metainfo::decode(&dated).unwrap().creation_date, Some(1_234_567_890));
    // The same again, to the byte.
    assert_eq!(at("1234567890", &[]), dated);
    let empty = Metainfo::decode(&at("", &[])).unwrap().creation_date;
    assert!(empty.unwrap() > 1_600_000_000);
    assert_eq!(Metainfo::decode(&at("1234567890", &["--no_date"])).unwrap().creation_date, None);
    assert_eq!(keys(&dir).0, "announce,info");
    for wrong in ["yesterday", "-1", "1.5"] {
        let command = dir.cmd("btmakemetafile").args([URL, "a", "--force"]);
        let done = command.env("SOURCE_DATE_EPOCH", wrong).run().expect(2);
        let line = format!("btmakemetafile: SOURCE_DATE_EPOCH: '{wrong}' is no count of seconds\n");
        assert_eq!(done.err, line);
    }
}

#[test]
fn patterns_choose_files_and_what_is_left_out_is_told_unless_quiet() {
    let dir = Dir::new();
    for file in ["d/a.mp3", "d/a.nfo", "d/art/x.png", "d/cd/b.mp3", "d/cd/tmp/c.mp3", "d/core"] {
        dir.write(file, file);
    }
    let files = |args: &[&str]| {
        let command = dir.cmd("btmakemetafile").args([URL, "d", "--force"]);
        let done = command.args(args).run().expect(0);
        let files = Metainfo::decode(&dir.read("d.torrent")).unwrap().info.files;
        let paths: Vec<String> = files.iter().map(|f| f.path.join("/")).collect();
        (paths.join(" "), done.err)
    };
    let (paths, told) = files(&["--exclude", "*.nfo,cd/t?p"]);
    assert_eq!(paths, "a.mp3 art/x.png cd/b.mp3");
    let told: Vec<&str> = told.lines().collect();
    assert!(told[0].ends_with("/d/a.nfo': it fits a pattern to exclude"), "{told:?}");
    assert!(told[1].ends_with("/d/cd/tmp': it fits a pattern to exclude"), "{told:?}");
    assert!(told[2].ends_with("/d/core': its name is on the list of ignored names"), "{told:?}");
    assert_eq!(told.len(), 3);
    let (paths, told) = files(&["--include", "*.mp3,art", "--exclude", "tmp"]);
    assert_eq!(paths, "a.mp3 art/x.png cd/b.mp3");
    assert!(told.contains("/d/a.nfo': it fits no pattern to include\n"), "{told}");
    assert_eq!(files(&["--include=*.mp3", "--quiet"]).1, "");
    let args = [URL, "d", "--include=*.flac", "--force", "--quiet"];
    let done = dir.cmd("btmakemetafile").args(args).run().expect(1);
    assert!(done.err.ends_with("' but what is left out (6 entries)\n"), "{done:?}");
}

#[test]
fn the_same_files_give_the_same_torrent_wherever_they_lie() {
    let dir = Dir::new();
    for (place, order) in [("x", ["B", "a/2", "a/1", "é"]), ("y", ["é", "a/1", "B", "a/2"])] {
        for file in order {
            dir.write(format!("{place}/t/{file}"), content(file, 20_000));
        }
    }
    let made = ["x/t", "y/t"].map(|path| {
        dir.cmd("btmakemetafile").args([URL, path, "--no_date"]).run().expect(0);
        dir.read(format!("{path}.torrent"))
    });
    assert_eq!(made[0], made[1]);
}

#[test]
fn a_torrent_that_is_there_is_only_replaced_by_force() {
    let dir = folder();
    let path = dir.write("a.torrent", "mine");
    let why = format!("'{}' exists already (--force replaces it)\n", path.display());
    refused(&dir, "btmakemetafile", &[URL, "a"], 1, &why);
    assert_eq!(dir.read("a.torrent"), b"mine");
    symlink("nothing", dir.join("link")).unwrap();
    symlink("a.torrent", dir.join("other")).unwrap();
    for target in ["link", "other", "a.torrent"] {
        refused(&dir, "btmakemetafile", &[URL, "a", "--target", target], 1, "'");
    }
    assert_eq!(dir.read("a.torrent"), b"mine");
    // The others are made all the same.
    dir.write("b", "b");
    let done = dir.cmd("btmakemetafile").args([URL, "a", "b"]).run().expect(1);
    assert_eq!(done.err, format!("btmakemetafile: {why}"));
    assert!(dir.join("b.torrent").exists());
    dir.cmd("btmakemetafile").args([URL, "a", "--target", "other", "--force"]).run().expect(0);
    assert_eq!(Metainfo::decode(&dir.read("a.torrent")).unwrap().info.name, "a");
    // Writing to a device replaces nothing.
    dir.cmd("btmakemetafile").args([URL, "a", "--target", "/dev/null"]).run().expect(0);
}

#[test]
fn a_dash_for_target_is_standard_output() {
    let dir = folder();
    let script = r#""$0" btmakemetafile "$1" a --target - --no_date > out"#;
    let shell = dir.program("sh").args(["-c", script, env!("CARGO_BIN_EXE_bittornado"), URL]);
    assert_eq!(shell.run().expect(0).err, "");
    make(&dir, &["--no_date"]);
    assert_eq!(dir.read("out"), dir.read("a.torrent"));
    dir.write("b", "b");
    let why = "'b' would overwrite what goes to standard output";
    refused(&dir, "btmakemetafile", &[URL, "a", "b", "--target", "-"], 2, why);
    refused(&dir, "btmakemetafile", &[URL, "none", "--target=-"], 1, "cannot read '");
    let script = r#""$0" btmakemetafile "$1" a --target - > /dev/full"#;
    let shell = dir.program("sh").args(["-c", script, env!("CARGO_BIN_EXE_bittornado"), URL]);
    let done = shell.run().expect(1);
    assert!(done.err.contains("cannot write to standard output: No space left"), "{done:?}");
}

#[test]
fn no_torrent_goes_to_a_terminal() {
    let dir = folder();
    let args = [URL, "a", "--target", "-"];
    let (mut env, captured) = Env::captured("btmakemetafile", args, dir.path());
    env.out_is_terminal = true;
    assert_eq!(cmd::run(&mut env), cmd::Exit::Failed);
    let line = "btmakemetafile: a .torrent is not for a terminal: redirect standard output\n";
    assert_eq!((captured.err().as_str(), captured.out().as_str()), (line, ""));
}

#[test]
fn values_that_make_no_sense_are_wrong_usage() {
    let dir = folder();
    dir.write("b", "b");
    for (args, why) in [
        (&["--piece_size", "3MiB"][..], "--piece_size: '3MiB' is no power of two from 16KiB to"),
        (&["--piece_size="], "--piece_size: '' is no power of two"),
        (&["--piece_size=1MiB", "--piece_size_pow2=20"], "--piece_size: cannot be used together"),
        (&["--piece_size=1MiB", "--max_pieces=9"], "--max_pieces: cannot be used together with"),
        (&["--max_pieces=9", "--piece_size_pow2=20"], "--max_pieces: cannot be used together with"),
        (&["--max_pieces=-1"], "--max_pieces: '-1' is less than 0"),
        (&["--name="], "--name: '' is a name no client takes"),
        (&["--name=.."], "--name: '..' is a name no client takes"),
        (&["--name", "x/y"], "--name: 'x/y' is a name no client takes"),
        (&["b", "--name", "x"], "--name: can only name one torrent"),
        (&["--web_seed", "w/a"], "--url_list: 'w/a' is not a URL"),
        (&["--node", "h"], "--node: 'h' is not host:port"),
        (&["--node", "h:1", "--private"], "--node: clients of a --private torrent use no DHT"),
    ] {
        let args: Vec<&str> = [URL, "a"].iter().chain(args).copied().collect();
        refused(&dir, "btmakemetafile", &args, 2, why);
    }
}

#[test]
fn a_folder_is_completed_with_the_same_options() {
    let dir = Dir::new();
    for file in ["c/a.iso", "c/b.nfo", "c/d/x.mp3", "c/d/x.nfo", "c/core"] {
        dir.write(file, file);
    }
    let args = ["--private", "--source=s", "--exclude=*.nfo", "--no_date", "--web-seed=http://w/"];
    let done = dir.cmd("btcompletedir").args([URL, "c"]).args(args).run().expect(0);
    let told: Vec<&str> = done.err.lines().collect();
    assert!(told[0].ends_with("/c/b.nfo': it fits a pattern to exclude"), "{told:?}");
    assert!(told[1].ends_with("/c/core': its name is on the list of ignored names"), "{told:?}");
    assert!(told[2].ends_with("/c/d/x.nfo': it fits a pattern to exclude"), "{told:?}");
    assert_eq!(told.len(), 3);
    assert!(!dir.join("c/b.nfo.torrent").exists());
    for name in ["c/a.iso.torrent", "c/d.torrent"] {
        let made = Metainfo::decode(&dir.read(name)).unwrap();
        assert!(made.info.private && made.creation_date.is_none() && made.info.files.len() == 1);
        assert_eq!(made.url_list, ["http://w/"]);
    }
    dir.write("c/e/x.mp3", "x");
    let args = [URL, "c", "--include=*.mp3", "--quiet"];
    assert_eq!(dir.cmd("btcompletedir").args(args).run().expect(0).err, "");
    assert!(dir.join("c/e.torrent").exists() && !dir.join("c/core.torrent").exists());
}

#[test]
fn what_comes_through_a_pipe_gives_the_same_torrent_as_a_file() {
    let dir = Dir::new();
    let mib = 1 << 20;
    for size in [0, 1, 16_384, 100_000, 4 * mib, 4 * mib + 1, 17 * mib] {
        dir.write("x", content("x", size));
        for args in
            [&[][..], &["--hybrid"], &["--version_2"], &["--piece_size=16KiB"], &["--max_pieces=3"]]
        {
            // Several hashes of much would take long without the processor's help.
            if size > 5 * mib && !args.is_empty() {
                continue;
            }
            let all = [URL, "--no_date", "--force", "--quiet"];
            let file = dir.cmd("btmakemetafile").args(all).args(["x", "--target=file"]);
            file.args(args).run().expect(0);
            let pipe = dir.cmd("btmakemetafile").args(all).args(["-", "--name=x"]).args(args);
            let done = pipe.input(dir.join("x")).run().expect(0);
            assert_eq!((done.out.as_str(), done.err.as_str()), ("", ""));
            assert!(dir.read("x.torrent") == dir.read("file"), "{size} bytes, {args:?}");
        }
    }
    let script = r#"cat x | "$0" btmakemetafile "$1" - --name x --target - --no_date | cmp - file"#;
    dir.cmd("btmakemetafile")
        .args([URL, "x", "--no_date", "--target=file", "--force"])
        .run()
        .expect(0);
    let shell = dir.program("sh").args(["-c", script, env!("CARGO_BIN_EXE_bittornado"), URL]);
    assert_eq!(shell.run().expect(0).err, "");
}

#[test]
fn standard_input_has_no_name_of_its_own_and_comes_once() {
    let dir = folder();
    for (args, why) in [
        (&["-"][..], "'-': standard input needs a --name"),
        (&["-", "-", "--name=x"], "'-': standard input must be the only one"),
        (&["-", "a", "--name=x"], "'-': standard input must be the only one"),
        (&["-", "--name=.."], "--name: '..' is a name no client takes"),
    ] {
        let args: Vec<&str> = [URL].iter().chain(args).copied().collect();
        refused(&dir, "btmakemetafile", &args, 2, why);
    }
    let done = dir.cmd("btmakemetafile").args([URL, "-", "--name=x"]).input(dir.path()).run();
    let line = "btmakemetafile: cannot read standard input: Is a directory\n";
    assert_eq!(done.expect(1).err, line);
    // More than has room in a .torrent.
    let args = [URL, "-", "--name=x", "--max_pieces=1"];
    let done = dir.cmd("btmakemetafile").args(args).input("/dev/zero").run().expect(1);
    assert!(
        done.err.ends_with("has more than 1 pieces of 128 MiB, the largest there are\n"),
        "{done:?}"
    );
    assert_eq!(dir.names(), ["a"]);
}

#[test]
fn a_pipe_that_brings_nothing_does_not_hold_up_the_end() {
    let dir = Dir::new();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    // Opened for both, so that the other end is never closed.
    let script = r#"exec "$0" btmakemetafile "$1" - --name x <> pipe"#;
    let shell = dir.program("sh").args(["-c", script, env!("CARGO_BIN_EXE_bittornado"), URL]);
    let run = shell.start();
    let status = format!("/proc/{}/status", run.id());
    util::until(std::time::Duration::from_secs(60), "a handler for SIGTERM", || {
        let status = std::fs::read_to_string(&status).ok()?;
        let caught = status.lines().find_map(|l| l.strip_prefix("SigCgt:"))?;
        (u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << 14) != 0).then_some(())
    });
    let done = run.stop(std::time::Duration::from_secs(60)).expect(1);
    assert!(done.err.starts_with("btmakemetafile: stopped: '"), "{done:?}");
    assert_eq!(dir.names(), ["pipe"]);
}

#[test]
fn a_torrent_can_do_without_a_tracker() {
    let dir = folder();
    let args = ["--no_tracker", "a", "--no_date", "--force"];
    dir.cmd("btmakemetafile").args(args).run().expect(0);
    assert_eq!(keys(&dir).0, "info");
    dir.cmd("btmakemetafile")
        .args(args)
        .args(["--node=h:1", "--web_seed=http://w/"])
        .run()
        .expect(0);
    assert_eq!(keys(&dir).0, "info,nodes,url-list");
    assert!(Metainfo::decode(&dir.read("a.torrent")).unwrap().tiers().is_empty());
    dir.write("d/x", "x");
    dir.cmd("btcompletedir").args(["--no_tracker", "d"]).run().expect(0);
    assert!(dir.join("d/x.torrent").exists());
    refused(&dir, "btmakemetafile", &["--no_tracker"], 2, "needs at least one file or folder\n");
    let why = "--announce-list: cannot be used together with --no_tracker\n";
    refused(&dir, "btmakemetafile", &["--no_tracker", "a", "--announce-list=u"], 2, why);
}
