//! Magnet links among ourselves: with nothing but a peer in the link, and what is not given.

use crate::exchange::port_of;
use crate::swarm::{ORIGIN, SOON, Shape, Swarm, TORRENT, end};
use crate::util::{Dir, free_port};
use bittornado::proto::ids::PeerId;
use bittornado::proto::metainfo::Metainfo;
use bittornado::proto::wire::{Extended, handshake};
use rustix::process::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

#[test]
fn a_link_with_a_peer_in_it_brings_the_torrent_and_the_files_it_selects() {
    let mut swarm = Swarm::new(Shape::Tree);
    let mut seed = swarm.ours(ORIGIN);
    let port = port_of(&mut seed);
    seed.wait_for("download complete", SOON);
    let torrent = Metainfo::decode(&swarm.dir.read(TORRENT)).unwrap();
    // In a piece of its own is none of them: so others come in parts, which lie elsewhere.
    let wanted = [2, 4];
    let hash = torrent.info_hash.to_string().to_uppercase();
    swarm.link = Some(format!("magnet:?xt=urn:btih:{hash}&so=2,4&x.pe=127.0.0.1:{port}"));
    let port = free_port().to_string();
    let args = ["--minport", &port, "--maxport", &port, "--save_torrent", "got.torrent"];
    let mut leech = swarm.btdownload("copy").args(args).start();
    leech.wait_for("every piece of the wanted files checked", SOON);
    end(leech, Signal::INT);
    let root = PathBuf::from(&torrent.info.name);
    for (n, file) in torrent.info.files.iter().enumerate() {
        let path = root.join(file.path.join("/"));
        let copy = fs::read(swarm.dir.join("copy").join(&path));
        match wanted.contains(&n) {
            true => assert!(copy.unwrap() == swarm.dir.read(PathBuf::from(ORIGIN).join(&path))),
            false => assert!(copy.is_err(), "{}", path.display()),
        }
    }
    let got = Metainfo::decode(&swarm.dir.read("copy/got.torrent")).unwrap();
    assert_eq!((got.tiers(), got.info_bytes), (vec![], torrent.info_bytes));
    end(seed, Signal::TERM);
}

#[test]
fn who_finds_no_metadata_can_be_stopped() {
    let dir = Dir::new();
    let (port, nobody) = (free_port().to_string(), free_port());
    let link = format!("magnet:?xt=urn:btih:{}&x.pe=127.0.0.1:{nobody}", "0".repeat(40));
    let args = ["--bind", "127.0.0.1", "--local_only", "--minport", &port, "--maxport", &port];
    let mut client = dir.cmd("btdownload").arg(link).args(args).start();
    client.wait_for("fetching metadata from 0 peers", SOON);
    let done = client.stop(SOON).expect(1);
    assert_eq!(done.err, "btdownload: stopped before the metadata had come\n");
    assert_eq!(dir.names(), [""; 0]);
}

/// What a client tells of itself to who speaks extended messages.
fn told(port: u16, torrent: &Metainfo) -> Extended {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(&handshake(torrent.info_hash, PeerId([7; 20]))).unwrap();
    let mut head = [0; 68];
    stream.read_exact(&mut head).unwrap();
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut message = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut message).unwrap();
        if let [20, 0, bytes @ ..] = &message[..] {
            return Extended::decode(bytes);
        }
    }
}

#[test]
fn the_metadata_of_a_private_torrent_is_not_given() {
    let dir = Dir::new();
    dir.write("x", b"content");
    for private in ["0", "1"] {
        let make = ["http://127.0.0.1:1/announce", "x", "--private", private, "--force", "1"];
        dir.cmd("btmakemetafile").args(make).run().expect(0);
        let torrent = Metainfo::decode(&dir.read("x.torrent")).unwrap();
        let args = ["x.torrent", "--saveas", "x", "--bind", "127.0.0.1", "--random_port", "1"];
        let ports = ["--minport", "10000", "--maxport", "60000"];
        let mut seed = dir.cmd("btdownload").args(args).args(ports).start();
        seed.wait_for("download complete", SOON);
        let told = told(port_of(&mut seed), &torrent);
        let given = (told.metadata.is_some(), told.metadata_size.is_some());
        let open = private == "0";
        assert_eq!((given, told.exchange.is_some()), ((open, open), open));
    }
}
