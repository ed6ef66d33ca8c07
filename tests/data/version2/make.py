#!/usr/bin/python3
"""Makes the .torrents beside it with libtorrent, from content that the tests make again.

usage: /usr/bin/python3 tests/data/version2/make.py        (needs python3-libtorrent; 2.0.8 made them)

Prints the info hashes that libtorrent tells, which tests/version2.rs holds ours against.
"""
import hashlib, os, tempfile
import libtorrent as lt

FILES = {"a": 100_000, "b": 16_384, "empty": 0, "sub/x": 40_000, "sub/y": 1, "z": 300_001}
PIECE = 32_768


def content(seed, size):
    blocks = (hashlib.sha1(f"{seed}:{n}".encode()).digest() for n in range(size // 20 + 1))
    return b"".join(blocks)[:size]


here = os.path.dirname(os.path.abspath(__file__))
with tempfile.TemporaryDirectory() as top:
    for name, size in FILES.items():
        path = os.path.join(top, "data", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(content(name, size))
    for kind, flags in (("v2", lt.create_torrent.v2_only), ("hybrid", 0)):
        for shape, path in (("folder", "data"), ("file", "data/z"), ("piece", "data/b")):
            files = lt.file_storage()
            lt.add_files(files, os.path.join(top, path))
            torrent = lt.create_torrent(files, PIECE, flags)
            lt.set_piece_hashes(torrent, os.path.dirname(os.path.join(top, path)))
            made = torrent.generate()
            made.pop(b"creation date", None)
            made[b"announce"] = b"http://tracker.test:6969/announce"
            data = lt.bencode(made)
            with open(os.path.join(here, f"{kind}-{shape}.torrent"), "wb") as f:
                f.write(data)
            hashes = lt.torrent_info(data).info_hashes()
            print(f"{kind}-{shape}", hashes.v1, hashes.v2)
