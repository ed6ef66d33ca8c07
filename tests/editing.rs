//! The tools that change .torrent files, and the one that completes a folder, called as users
//! call them. What the original does is replayed in tests/metainfo.rs; here is what it lacked.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod util;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use bittornado::proto::metainfo::Metainfo;
use util::{Dir, Done};

const URL: &str = "http://tracker.test/announce";
/// Keys out of order, at the top and in `info`, and some that nobody knows.
const ODD: &str = "d4:zulu3:zzz8:announce8:http://o4:infod4:name1:n3:keyi7e6:lengthi0e6:pieces0:\
                   12:piece lengthi1ee5:nodesll1:hi1eeee";

fn text(dir: &Dir, name: &str) -> String {
    String::from_utf8(dir.read(name)).unwrap()
}

fn hash(bytes: &[u8]) -> String {
    Metainfo::decode(bytes).unwrap().info_hash.to_string()
}

/// One line of each command that changes `file`.
fn every_edit(file: &str) -> [Vec<&str>; 4] {
    [
        vec!["btreannounce", URL, file],
        vec!["btcopyannounce", "source", file],
        vec!["btrename", file, "new"],
        vec!["btsethttpseeds", "http://s", file],
    ]
}

fn call(dir: &Dir, line: &[&str], more: &[&str]) -> Done {
    dir.cmd(line[0]).args(&line[1..]).args(more).run()
}

/// A folder with `ODD` in the files named, and in `source` with another tracker.
fn folder(names: &[&str]) -> Dir {
    let dir = Dir::new();
    dir.write("source", ODD.replace("http://o", "http://s"));
    for name in names {
        dir.write(name, ODD);
    }
    dir
}

#[test]
fn all_but_what_is_changed_stays_byte_for_byte() {
    let dir = folder(&["f"]);
    let info = ODD.split("4:info").nth(1).unwrap();
    dir.cmd("btreannounce").args(["f", URL]).run().expect(2);
    dir.cmd("btreannounce").args([URL, "f"]).run().expect(0);
    let announced = ODD.replace("8:http://o", "28:http://tracker.test/announce");
    assert_eq!(text(&dir, "f"), announced);
    dir.cmd("btsethttpseeds").args(["http://s|http://t", "f"]).run().expect(0);
    let seeds = "9:httpseedsl8:http://s8:http://te";
    assert_eq!(text(&dir, "f"), announced.replacen('d', &format!("d{seeds}"), 1));
    dir.cmd("btsethttpseeds").args(["0", "f"]).run().expect(0);
    assert_eq!(text(&dir, "f"), announced);
    dir.cmd("btcopyannounce").args(["source", "f"]).run().expect(0);
    assert_eq!(text(&dir, "f"), text(&dir, "source"));
    assert!(text(&dir, "f").ends_with(info));
}

#[test]
fn a_new_name_changes_the_info_hash_and_nothing_else_and_both_hashes_are_told() {
    let dir = folder(&["f"]);
    let done = dir.cmd("btrename").args(["f", "new", "-v"]).run().expect(0);
    let new = ODD.replace("4:name1:n", "4:name3:new");
    assert_eq!((text(&dir, "f"), done.out.as_str()), (new.clone(), "f: n -> new\n"));
    let (old, new) = (hash(ODD.as_bytes()), hash(new.as_bytes()));
    assert_eq!(done.err, format!("btrename: 'f': the info hash {old} becomes {new}\n"));
    let done = dir.cmd("btrename").args(["f", "new"]).run().expect(0);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("", ""));
}

#[test]
fn names_that_nobody_takes_are_refused() {
    let dir = folder(&["f", ".torrent", "a.torrent", "a.tor"]);
    for name in ["", "..", "a/b", "~x", ".hidden"] {
        let done = dir.cmd("btrename").args(["f", name]).run().expect(2);
        let said = format!("btrename: name '{name}' disallowed for security reasons\n");
        assert_eq!(done.err, said);
    }
    assert_eq!(text(&dir, "f"), ODD);
    let done = dir.cmd("btrename").args(["a.tor", ".torrent", "-m", "a.torrent", "-v"]).run();
    let done = done.expect(1);
    let said: Vec<&str> = done.err.lines().collect();
    assert_eq!(said[0], "btrename: a.tor does not appear to be a .torrent file");
    assert_eq!(
        said[1],
        "btrename: cannot rename '.torrent': name '' disallowed for security reasons"
    );
    assert!(said[2].starts_with("btrename: 'a.torrent': the info hash ") && said.len() == 3);
    assert_eq!(done.out, "a.torrent: n -> a\n");
}

#[test]
fn one_bad_file_does_not_keep_the_others_from_being_changed() {
    let dir = folder(&["a", "z", "d/x"]);
    dir.write("bad", "no torrent");
    for line in
        [["btreannounce", URL], ["btcopyannounce", "source"], ["btsethttpseeds", "http://s"]]
    {
        dir.write("a", ODD);
        dir.write("z", ODD);
        let done = call(&dir, &line, &["a", "bad", "nothere", "d", "/dev/null", "z"]).expect(1);
        let wanted = [
            "'bad': bad bencoded data: unexpected byte at byte 0",
            "'nothere': No such file or directory",
            "'d': Is a directory",
            "'/dev/null': not a regular file (--output names one to write)",
        ];
        let wanted = wanted.map(|w| format!("{}: cannot read {w}\n", line[0])).concat();
        assert_eq!((done.err, done.out.as_str()), (wanted, ""));
        assert_ne!(text(&dir, "a"), ODD);
        assert_eq!(text(&dir, "a"), text(&dir, "z"));
        assert_eq!(text(&dir, "bad"), "no torrent");
    }
    assert_eq!(dir.names(), ["a", "bad", "d", "source", "z"]);
}

#[test]
fn a_dry_run_tells_what_it_would_do_and_writes_nothing() {
    let dir = folder(&["f"]);
    for line in every_edit("f") {
        let before = fs::metadata(dir.join("f")).unwrap();
        let done = call(&dir, &line, &["--dry-run"]).expect(0);
        assert!(done.out.ends_with("would write 'f'\n"), "{done:?}");
        assert_eq!(text(&dir, "f"), ODD);
        let after = fs::metadata(dir.join("f")).unwrap();
        assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
        let done = call(&dir, &line, &["--dry-run", "--output", "g"]).expect(0);
        assert!(done.out.ends_with("would write 'g'\n"), "{done:?}");
    }
    let done = dir.cmd("btreannounce").args(["http://o", "f", "--dry-run"]).run().expect(0);
    assert_eq!(done.out, "old announce for f: http://o\n");
    assert_eq!(dir.names(), ["f", "source"]);
}

#[test]
fn output_takes_the_result_and_leaves_the_file_alone() {
    for at in 0..4 {
        let dir = folder(&["f"]);
        call(&dir, &every_edit("f")[at], &["--output", "g"]).expect(0);
        assert_eq!(text(&dir, "f"), ODD);
        let result = dir.read("g");
        call(&dir, &every_edit("f")[at], &[]).expect(0);
        assert_eq!(dir.read("f"), result);
        assert_ne!(result, ODD.as_bytes());
    }
    let dir = folder(&["f", "g"]);
    for line in [["btreannounce", URL], ["btcopyannounce", "source"], ["btsethttpseeds", "0"]] {
        let done = call(&dir, &line, &["f", "g", "--output=h"]).expect(2);
        assert_eq!(done.err, format!("{}: --output: can only take one .torrent file\n", line[0]));
    }
    // Through a pipe, and without a change too.
    let args = ["http://o", "/dev/stdin", "--output", "/dev/stdout"];
    let done = dir.cmd("btreannounce").args(args).input(dir.join("f")).run().expect(0);
    assert_eq!((done.out.as_str(), dir.names()), (ODD, folder(&["f", "g"]).names()));
}

#[test]
fn mode_owner_and_link_are_kept_and_what_stays_the_same_is_not_written() {
    let dir = folder(&["real"]);
    let real = dir.join("real");
    fs::set_permissions(&real, Permissions::from_mode(0o640)).unwrap();
    let root = fs::metadata(&real).unwrap().uid() == 0;
    if root {
        chown(&real, Some(65534), Some(65534)).unwrap();
    }
    symlink("real", dir.join("link")).unwrap();
    let state = || {
        let m = fs::metadata(&real).unwrap();
        (m.mode(), m.uid(), m.gid())
    };
    let before = state();
    dir.cmd("btreannounce").args([URL, "link"]).run().expect(0);
    assert!(fs::symlink_metadata(dir.join("link")).unwrap().is_symlink());
    assert_ne!(text(&dir, "real"), ODD);
    assert_eq!(state(), before);
    let inode = fs::metadata(&real).unwrap().ino();
    dir.cmd("btreannounce").args([URL, "link"]).run().expect(0);
    assert_eq!(fs::metadata(&real).unwrap().ino(), inode);
}

#[test]
fn a_part_of_all_addresses_is_replaced_in_many_files() {
    let dir = folder(&["f", "g"]);
    let tiers = "13:announce-listll8:http://oel8:http://pee";
    dir.write("g", ODD.replace("8:announce8:http://o", &format!("8:announce8:http://o{tiers}")));
    let args = ["--replace", "://o", "--by", "://host/key", "f", "g", "source", "-v"];
    let done = dir.cmd("btreannounce").args(args).run().expect(0);
    let said = "old announce for f: http://o\n\
                new announce for f: http://host/key\n\
                old announce for g: http://o\n\
                old announce-list for g: http://o|http://p\n\
                new announce for g: http://host/key\n\
                new announce-list for g: http://host/key|http://p\n\
                old announce for source: http://s\n";
    assert_eq!((done.out.as_str(), done.err.as_str()), (said, ""));
    assert_eq!(text(&dir, "f"), ODD.replace("8:http://o", "15:http://host/key"));
    assert_eq!(text(&dir, "source"), ODD.replace("http://o", "http://s"));
}

#[test]
fn web_seeds_of_one_kind_leave_the_other_alone() {
    let dir = folder(&["f"]);
    dir.cmd("btsethttpseeds").args(["http://s", "f"]).run().expect(0);
    let before = text(&dir, "f");
    dir.cmd("btsethttpseeds").args(["http://w", "f", "--kind", "url_list"]).run().expect(0);
    let metainfo = Metainfo::decode(&dir.read("f")).unwrap();
    assert_eq!((&metainfo.httpseeds[0][..], &metainfo.url_list[0][..]), ("http://s", "http://w"));
    let done = dir.cmd("btsethttpseeds").args(["-v", "0", "f", "--kind=url_list"]).run().expect(0);
    assert_eq!((done.out.as_str(), text(&dir, "f")), ("old url-list for f: http://w\n", before));
}

#[test]
fn a_source_without_tracker_is_one_error_and_nothing_changes() {
    let dir = folder(&["f", "g"]);
    dir.write("bare", ODD.replace("8:announce8:http://o", ""));
    let done = dir.cmd("btcopyannounce").args(["-v", "bare", "f", "g"]).run().expect(1);
    assert_eq!(done.err, "btcopyannounce: there is no tracker in 'bare' to be copied\n");
    assert_eq!((done.out.as_str(), text(&dir, "f")), ("", ODD.into()));
    let done = dir.cmd("btcopyannounce").args(["nothere", "f", "g"]).run().expect(1);
    assert_eq!(done.err.lines().count(), 1, "{done:?}");
    let done = dir.cmd("btcopyannounce").args(["source", "bare", "--verbose"]).run().expect(0);
    assert_eq!(done.out, "new announce:  http://s\nNo announce found.\n");
}

#[test]
fn wrong_usage_is_one_line_and_changes_nothing() {
    let dir = folder(&["f", "g"]);
    for (line, problem) in [
        (&["btreannounce", URL][..], "needs at least one .torrent file"),
        (&["btreannounce", "f", "g"], "'f' is not a tracker's URL"),
        (&["btreannounce", URL, "f", "-a", "g"], "'g' is not a tracker's URL"),
        (&["btreannounce", "--replace", "a", "f"], "--replace and --by need each other"),
        (&["btreannounce", "--replace=", "--by=x", "f"], "--replace: there is no text"),
        (&["btreannounce", "--replace=a", "--by=x", "-a", URL, "f"], "--announce_list: cannot"),
        (&["btcopyannounce", "-v", "source", "f", "g", "--output=h"], "--output: can only take"),
        (&["btrename", "f", "new", "--output", ""], "--output: needs a file's name"),
        (&["btcopyannounce", "f"], "needs at least one .torrent file"),
        (&["btcopyannounce", "-v"], "needs the .torrent file to copy from"),
        (&["btrename", "f"], "needs one .torrent file and its new name"),
        (&["btrename", "f", "g", "h"], "needs one .torrent file and its new name"),
        (&["btrename", "-m"], "needs at least one .torrent file"),
        (&["btsethttpseeds", "http://s"], "needs at least one .torrent file"),
        (&["btsethttpseeds", "|", "f"], "the list of seeds is empty"),
        // The zero belongs to the option.
        (&["btsethttpseeds", "--verbose", "0", "f", "g"], "'f' is not a seed's URL"),
        (&["btcompletedir", URL], "needs at least one folder"),
        (&["btcompletedir", URL, ".", "--target", "f"], "--target: '"),
    ] {
        let done = call(&dir, line, &[]).expect(2);
        assert!(done.err.starts_with(&format!("{}: {problem}", line[0])), "{done:?}");
        assert_eq!((done.err.lines().count(), done.out.as_str()), (1, ""));
    }
    assert_eq!((text(&dir, "f"), text(&dir, "g")), (ODD.into(), ODD.into()));
    assert_eq!(dir.names(), ["f", "g", "source"]);
    let done = dir.cmd("btrename").arg("-V").run().expect(0);
    assert_eq!(done.out, dir.cmd("btrename").arg("--version").run().expect(0).out);
}

#[test]
fn text_of_strangers_cannot_play_with_the_terminal() {
    let dir = folder(&[]);
    dir.write("f", ODD.replace("http://o", "http:/\x1b["));
    let done = dir.cmd("btreannounce").args(["-v", URL, "f"]).run().expect(0);
    assert_eq!(done.out, "old announce for f: http:/\\x1b[\n");
}

#[test]
fn an_entry_that_fails_does_not_keep_the_others_from_being_made() {
    let dir = Dir::new();
    dir.write("d/a", "x");
    fs::create_dir(dir.join("d/empty")).unwrap();
    dir.write("d/~backup", "x");
    symlink("nothing", dir.join("d/lost")).unwrap();
    dir.write("d/zero", "");
    dir.write("e/b/c", "x");
    let done = dir.cmd("btcompletedir").args([URL, "d", "nothere", "e"]).run().expect(1);
    assert_eq!(done.err.lines().count(), 4, "{done:?}");
    for why in ["there is no file in '", "cannot read '", "name '~backup' disallowed"] {
        assert!(done.err.contains(why), "{done:?}");
    }
    let torrents = |folder: &str| {
        let names = fs::read_dir(dir.join(folder)).unwrap();
        let names = names.map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|n| n.ends_with(".torrent")).collect();
        names.sort();
        names
    };
    assert_eq!(torrents("d"), ["a.torrent", "zero.torrent"]);
    assert_eq!(torrents("e"), ["b.torrent"]);
}

#[test]
fn a_target_folder_takes_the_torrents_and_what_is_there_already_stays() {
    let dir = Dir::new();
    for file in ["d/a", "d/b", "d/core", "d/b.torrent", "e/a", "e/c", "out/c.torrent"] {
        dir.write(file, file);
    }
    let args = [URL, "d", "e", "--target", "out", "--comment", "hello"];
    let done = dir.cmd("btcompletedir").args(args).run().expect(1);
    let said: Vec<&str> = done.err.lines().collect();
    assert!(said[0].ends_with("/d/core': its name is on the list of ignored names"), "{said:?}");
    assert!(said[1].contains("/e/a' would overwrite '") && said.len() == 2, "{said:?}");
    assert_eq!(text(&dir, "out/c.torrent"), "out/c.torrent");
    let made = Metainfo::decode(&dir.read("out/a.torrent")).unwrap();
    assert_eq!((made.info.total(), made.comment.as_deref()), (3, Some("hello")));
    assert!(!dir.join("out/b.torrent").exists() && !dir.join("d/a.torrent").exists());
    let args = [URL, "d", "--ignore="];
    dir.cmd("btcompletedir").args(args).run().expect(0);
    assert!(dir.join("d/core.torrent").exists() && dir.join("d/a.torrent").exists());
    assert_eq!(text(&dir, "d/b.torrent"), "d/b.torrent");
}
