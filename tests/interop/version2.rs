//! Torrents of version 2 and hybrids (BEP 52) of random folders: ours are libtorrent's to the
//! byte, which also reads them and tells the same info hashes.

use std::fs;

use bittornado::proto::metainfo::Metainfo;

use crate::util::{Dir, content};

/// Debian's: it has the bindings, another Python in PATH has not.
const PYTHON: &str = "/usr/bin/python3";

const URL: &str = "http://tracker.test:6969/announce";

/// Arguments: piece length, kind, path, and where the .torrent goes. Prints the info hashes that
/// libtorrent reads in the .torrent of ours.
const MAKE: &str = r#"
import os, sys, libtorrent as lt
piece, kind, path, target, ours = sys.argv[1:]
files = lt.file_storage()
lt.add_files(files, path)
torrent = lt.create_torrent(files, int(piece), lt.create_torrent.v2_only if kind == "v2" else 0)
lt.set_piece_hashes(torrent, os.path.dirname(path))
made = torrent.generate()
made.pop(b"creation date", None)
made[b"announce"] = b"http://tracker.test:6969/announce"
open(target, "wb").write(lt.bencode(made))
hashes = lt.torrent_info(ours).info_hashes()
print(hashes.v1, hashes.v2)
"#;

/// A folder of random files, drawn from `seed`: around the borders of leaves and pieces.
fn folder(dir: &Dir, seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below
    };
    let _ = fs::remove_dir_all(dir.join("data"));
    for n in 0..1 + random(8) {
        let folder = ["", "a/", "a/b/", "Z/", "ü/"][random(5)];
        let size = match random(4) {
            0 => random(3) * 16_384,
            1 => random(6) * 16_384 + 1,
            2 => random(40_000),
            _ => random(400_000),
        };
        dir.write(format!("data/{folder}{n}"), content(&format!("{seed} {n}"), size));
    }
    // Of nothing there is no torrent.
    dir.write("data/last", "x");
}

#[test]
#[ignore = "needs libtorrent"]
fn random_folders_make_the_same_torrents() {
    let dir = Dir::new();
    for seed in 1..=12 {
        folder(&dir, seed);
        for (kind, option) in [("v2", "--version_2"), ("hybrid", "--hybrid")] {
            let piece = (16_384 << (seed % 4)).to_string();
            let args = [URL, "data", option, "--no_date", "--force", "--piece_size", &piece];
            dir.cmd("btmakemetafile").args(args).run().expect(0);
            let python = dir.program(PYTHON).args(["-c", MAKE, &piece, kind]);
            let python = python.arg(dir.join("data")).args(["theirs", "data.torrent"]);
            let told = python.run().expect(0).out;
            let (ours, theirs) = (dir.read("data.torrent"), dir.read("theirs"));
            assert!(ours == theirs, "seed {seed}, {kind}");
            let metainfo = Metainfo::decode_any(&ours).unwrap();
            let one = metainfo.hash_v1().map_or("0".repeat(40), |hash| hash.to_string());
            let two = metainfo.info_hash_v2.unwrap();
            assert_eq!(told, format!("{one} {two}\n"), "seed {seed}, {kind}");
            dir.cmd("btcheck").arg("theirs").run().expect(0);
        }
    }
}
