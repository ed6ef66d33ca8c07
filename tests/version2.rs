//! Torrents of version 2 and hybrids (BEP 52): made, shown, checked and refused, held against
//! .torrents that libtorrent made of the same content (`tests/data/version2/make.py`).
#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "../src/proto/damage.rs"]
mod damage;
mod util;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bittornado::proto::bencode;
use bittornado::proto::metainfo::{Metainfo, Version};
use serde_json::{Value as Json, json};
use util::{Dir, content};

const URL: &str = "http://tracker.test:6969/announce";

/// What make.py makes its content of.
const FILES: [(&str, usize); 6] =
    [("a", 100_000), ("b", 16_384), ("empty", 0), ("sub/x", 40_000), ("sub/y", 1), ("z", 300_001)];

/// The info hashes that libtorrent told of what it made: versions 1 and 2.
const HASHES: [(&str, &str, &str); 6] = [
    ("v2-folder", "", "ed9acb991856388b45ec6cf09995ca859ae028cbacb7e066a43d51eb4343a2ea"),
    ("v2-file", "", "dc8178159b1b640f27174f33bcc3de1e8dca659d77076e33f54647b6b85670f7"),
    ("v2-piece", "", "b41a41e48de4ebb581444720d2d61509c8de715d8b2c631b6f6cfd83cf7f4c14"),
    (
        "hybrid-folder",
        "376b28b5b982783cc2bef4441cfe1e059815b0b8",
        "1b9ada858dea00627e8caf4466dc1467c727e1526820962da166df7b529a7334",
    ),
    (
        "hybrid-file",
        "079d335fbcef67ada91ffaa171e5584b9f9ff00d",
        "8d9afa05fd0c9c08eadb884b2b61e2384705883879f34d30ae8959e565facc1e",
    ),
    (
        "hybrid-piece",
        "b8ed3cf736ad00ac8072a83d97cd1e47077b2145",
        "2839719ddfe5bdc2a923b226b3fac58b63dbcdb741be6dbf6dc325f3f0f3b6ec",
    ),
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/version2/{name}.torrent"))
}

/// A folder with `data`, and libtorrent's .torrents of it.
fn folder() -> Dir {
    let dir = Dir::new();
    for (name, size) in FILES {
        dir.write(format!("data/{name}"), content(name, size));
    }
    for (name, ..) in HASHES {
        fs::copy(fixture(name), dir.join(format!("{name}.torrent"))).unwrap();
    }
    dir
}

/// The option for the kind of torrent that a name begins with, and the content it ends in.
fn of(name: &str) -> (&'static str, &'static str) {
    let (kind, shape) = name.split_once('-').unwrap();
    let option = if kind == "v2" { "--version_2" } else { "--hybrid" };
    let path = match shape {
        "folder" => "data",
        "file" => "data/z",
        _ => "data/b",
    };
    (option, path)
}

fn flip(dir: &Dir, name: &str, at: usize) {
    let mut bytes = dir.read(name);
    bytes[at] ^= 1;
    dir.write(name, bytes);
}

#[test]
fn the_same_files_give_the_same_torrent_as_libtorrent_to_the_byte() {
    let dir = folder();
    for (name, ..) in HASHES {
        let (option, path) = of(name);
        let args = [URL, path, option, "--piece_size=32KiB", "--no_date", "--target=made"];
        dir.cmd("btmakemetafile").args(args).arg("--force").run().expect(0);
        let (made, wanted) = (dir.read("made"), dir.read(format!("{name}.torrent")));
        assert!(made == wanted, "{name}: {} {}", made.escape_ascii(), wanted.escape_ascii());
        assert!(!bencode::decode(&made).unwrap().get("info").unwrap().span().is_empty());
    }
}

#[test]
fn both_info_hashes_are_shown_in_every_form() {
    let dir = folder();
    let show = |args: &[&str]| dir.cmd("btshowmetainfo").args(args).run().expect(0).out;
    for (name, one, two) in HASHES {
        let file = format!("{name}.torrent");
        let text = show(&[&file]);
        assert_eq!(text.contains(&format!("info hash.....: {one}\n")), !one.is_empty(), "{text}");
        assert!(text.contains(&format!("info hash v2..: {two}\n")), "{text}");
        let said: Json = serde_json::from_str(&show(&["--json", &file])).unwrap();
        let hash = if one.is_empty() { json!(null) } else { json!(one) };
        assert_eq!((&said["info_hash"], &said["info_hash_v2"]), (&hash, &json!(two)));
        let link = show(&["--magnet", &file]);
        let topics = match one {
            "" => format!("magnet:?xt=urn:btmh:1220{two}&dn="),
            _ => format!("magnet:?xt=urn:btih:{one}&xt=urn:btmh:1220{two}&dn="),
        };
        assert!(link.starts_with(&topics), "{link}");
        let alone = if one.is_empty() { two } else { one };
        assert_eq!(show(&["--hash", &file]), format!("{alone}\n"));
    }
    let said: Json = serde_json::from_str(&show(&["--json", "v2-folder.torrent"])).unwrap();
    assert_eq!((&said["total"], &said["pieces"]), (&json!(456_386), &json!(18)));
    let paths = said["files"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap());
    assert!(paths.eq(FILES.map(|(path, _)| path)), "{said}");
    assert_eq!(
        show(&["--files", "hybrid-folder.torrent"]),
        show(&["--files", "v2-folder.torrent"])
    );
}

#[test]
fn content_is_checked_by_the_roots_of_its_pieces() {
    let dir = folder();
    let check = |name: &str, code| {
        let path = of(name).1;
        let done = dir.cmd("btcheck").args([&format!("{name}.torrent"), path]).run();
        done.expect(code).out
    };
    for (name, ..) in HASHES {
        let said = check(name, 0);
        assert!(said.lines().all(|line| line.contains("ok")), "{name}: {said}");
    }
    flip(&dir, "data/z", 300_000);
    flip(&dir, "data/b", 0);
    for kind in ["v2", "hybrid"] {
        let said = check(&format!("{kind}-folder"), 6);
        assert!(said.contains("b: damaged, pieces 4\n"), "{said}");
        assert!(said.contains("z: damaged, pieces 17\n"), "{said}");
        assert!(said.ends_with("6 files: 4 ok, 2 damaged; 16 of 18 pieces ok\n"), "{said}");
        assert!(check(&format!("{kind}-file"), 6).starts_with("z: damaged, pieces 9\n"));
        assert!(check(&format!("{kind}-piece"), 6).starts_with("b: damaged, pieces 0\n"));
    }
}

/// Changes one byte behind where `mark` ends in a .torrent.
fn spoil(dir: &Dir, name: &str, mark: &[u8]) {
    let mut bytes = dir.read(name);
    let at = bytes.windows(mark.len()).position(|w| w == mark).unwrap() + mark.len();
    bytes[at] ^= 1;
    dir.write("spoilt.torrent", bytes);
}

#[test]
fn a_hybrid_must_fit_by_both_versions() {
    let dir = folder();
    for mark in [&b"6:pieces20:"[..], b"11:pieces root32:"] {
        spoil(&dir, "hybrid-piece.torrent", mark);
        let done = dir.cmd("btcheck").args(["spoilt.torrent", "data/b"]).run().expect(6);
        assert!(done.out.starts_with("b: damaged, pieces 0\n"), "{}", done.out);
    }
}

#[test]
fn a_client_takes_hybrids_as_version_1_and_says_what_it_cannot_take() {
    let dir = folder();
    let client = |args: &[&str]| {
        let client = dir.cmd("btdownload").args(["--bind", "127.0.0.1", "--minport", "10000"]);
        let client = client.args(["--local_only", "1"]);
        client.args(["--maxport", "60000", "--random_port", "1"]).args(args)
    };
    let done = client(&["v2-folder.torrent"]).run().expect(1);
    let line = "v2-folder.torrent': this torrent is of BitTorrent version 2 only, which is not \
                supported\n";
    assert!(done.err.ends_with(line) && done.err.lines().count() == 1, "{}", done.err);
    let mut seed = client(&["hybrid-folder.torrent", "--saveas", "data"]).start();
    seed.wait_for("download complete", Duration::from_secs(20));
    assert!(!dir.join("data/.pad").exists());
}

#[test]
fn what_was_made_is_read_back_with_its_roots() {
    let dir = folder();
    let m = Metainfo::decode_any(&dir.read("v2-folder.torrent")).unwrap();
    assert_eq!(m.info.version, Version::Two);
    assert_eq!(m.info_hash, m.info_hash_v2.unwrap().truncated());
    let geometry = m.info.geometry();
    let cuts: Vec<(u32, u32)> = geometry
        .pieces()
        .map(|piece| m.info.root(&geometry, piece).unwrap().0)
        .map(|cut| (cut.length, cut.height))
        .collect();
    let whole = (32_768, 1);
    assert_eq!(cuts[..5], [whole, whole, whole, (1_696, 1), (16_384, 0)]);
    assert_eq!(cuts[5..8], [whole, (7_232, 1), (1, 0)]);
    assert_eq!(cuts[17], (5_089, 1));
}

#[test]
fn a_name_changes_with_the_only_file_of_the_tree() {
    let dir = folder();
    for kind in ["v2", "hybrid"] {
        let file = format!("{kind}-file.torrent");
        let done = dir.cmd("btrename").args([&file, "new"]).run().expect(0);
        assert!(done.err.contains("the info hash "), "{done:?}");
        let m = Metainfo::decode_any(&dir.read(&file)).unwrap();
        assert_eq!((m.info.name.as_str(), m.info.files.len()), ("new", 1));
        dir.cmd("btcheck").args([&file, "data/z"]).run().expect(0);
        let folder = format!("{kind}-folder.torrent");
        dir.cmd("btrename").args([&folder, "new"]).run().expect(0);
        dir.cmd("btcheck").args([&folder, "data"]).run().expect(0);
    }
}

#[test]
fn options_of_a_folder_of_torrents_and_wrong_ones() {
    let dir = folder();
    dir.cmd("btcompletedir").args([URL, "data", "--hybrid"]).run().expect(0);
    let m = Metainfo::decode(&dir.read("data/z.torrent")).unwrap();
    assert_eq!(m.info.version, Version::Hybrid);
    let done = dir.cmd("btmakemetafile").args([URL, "data", "--hybrid", "--version-2"]).run();
    let line = "btmakemetafile: --hybrid: cannot be used together with --version_2\n";
    assert_eq!(done.expect(2).err, line);
}

#[test]
fn damaged_torrents_of_version_2_never_panic() {
    let whole =
        [fs::read(fixture("v2-folder")).unwrap(), fs::read(fixture("hybrid-folder")).unwrap()];
    let damaged = |random: &mut damage::Random| {
        let whole = &whole[random.below(2)];
        let changes = 1 + random.below(2);
        random.damage(whole, changes)
    };
    let taken = damage::survived(4000, damaged, |bytes, _| {
        let Ok(m) = Metainfo::decode_any(bytes) else { return false };
        let geometry = m.info.geometry();
        for piece in geometry.pieces() {
            let cut = m.info.root(&geometry, piece).map(|(cut, _)| cut.length);
            assert_eq!(cut.is_some(), m.info.version.has_two());
            assert!(cut.is_none_or(|cut| cut <= geometry.piece_size(piece)));
        }
        true
    });
    assert!(taken > 20, "only {taken} were taken: the damage is too great to test much");
}
