//! aria2, on loopback, without what would look for peers elsewhere.

use crate::exchange::port_of;
use crate::swarm::{
    Client, ORIGIN, Shape, Swarm, downloads_from_us, end, seeds_to_ours_that_is_killed,
    seeds_to_us, seeds_to_us_by_magnet,
};
use crate::util::{Background, free_port};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

const ARIA2: Client = Client { start, dials: true, makes_empty_files: true };

/// It has encrypted connections only, in RC4.
const ENCRYPTED: Client = Client { start: start_encrypted, ..ARIA2 };

/// The same, in plain text behind the handshake.
const IN_PLAIN_TEXT: Client = Client { start: start_in_plain_text, ..ARIA2 };

fn start_in_plain_text(swarm: &Swarm, folder: &str) -> Background {
    start_with(swarm, folder, &["--bt-require-crypto=true", "--bt-min-crypto-level=plain"])
}

fn start(swarm: &Swarm, folder: &str) -> Background {
    start_with(swarm, folder, &[])
}

fn start_encrypted(swarm: &Swarm, folder: &str) -> Background {
    start_with(swarm, folder, &["--bt-require-crypto=true", "--bt-min-crypto-level=arc4"])
}

fn start_with(swarm: &Swarm, folder: &str, encryption: &[&str]) -> Background {
    let port = free_port().to_string();
    let options = [
        "--no-conf",
        "--interface=127.0.0.1",
        "--disable-ipv6",
        "--enable-dht=false",
        "--enable-dht6=false",
        "--bt-enable-lpd=false",
        "--enable-peer-exchange=false",
        // Looks at what is there first, and shares it without an end.
        "--check-integrity",
        "--seed-ratio=0",
        "--console-log-level=notice",
        "--summary-interval=0",
    ];
    let aria2c = swarm.dir.program("aria2c").args(options).args(encryption);
    aria2c.args(["--listen-port", &port, "--dir", folder, &swarm.source(folder)]).start()
}

#[test]
#[ignore = "needs aria2"]
fn downloads_a_file_from_us() {
    downloads_from_us(Shape::File, &ARIA2);
}

#[test]
#[ignore = "needs aria2"]
fn downloads_a_tree_from_us() {
    downloads_from_us(Shape::Tree, &ARIA2);
}

#[test]
#[ignore = "needs aria2"]
fn seeds_a_file_to_us() {
    seeds_to_us(Shape::File, &ARIA2);
}

#[test]
#[ignore = "needs aria2"]
fn seeds_a_tree_to_us() {
    seeds_to_us(Shape::Tree, &ARIA2);
}

#[test]
#[ignore = "needs aria2"]
fn seeds_a_file_to_ours_though_that_is_killed() {
    seeds_to_ours_that_is_killed(&ARIA2);
}

/// A tracker that tells everybody of one peer. aria2 says that it lacks nothing as long as it has
/// no metadata, and whom our tracker takes for a seed, that one it tells of no seeds.
fn tracker_of(peer: u16) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/announce", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let head = b"HTTP/1.0 200 OK\r\n\r\nd8:intervali60e5:peers6:\x7f\0\0\x01";
            let answer = [&head[..], &peer.to_be_bytes(), b"e"].concat();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&answer);
        }
    });
    url
}

#[test]
#[ignore = "needs aria2"]
fn downloads_from_us_with_a_magnet_link() {
    let mut swarm = Swarm::new(Shape::Tree);
    let mut ours = swarm.ours(ORIGIN);
    let tracker = tracker_of(port_of(&mut ours));
    swarm.link = Some(format!("magnet:?xt=urn:btih:{}&tr={tracker}", swarm.hash()));
    let _theirs = start(&swarm, "copy");
    swarm.wait_for_copy("copy");
    end(ours, Signal::INT);
}

#[test]
#[ignore = "needs aria2"]
fn seeds_to_us_who_have_a_magnet_link() {
    seeds_to_us_by_magnet(&ARIA2);
}

#[test]
#[ignore = "needs aria2"]
fn downloads_encrypted_from_us() {
    downloads_from_us(Shape::File, &ENCRYPTED);
}

#[test]
#[ignore = "needs aria2"]
fn seeds_encrypted_to_us() {
    seeds_to_us(Shape::File, &ENCRYPTED);
}

#[test]
#[ignore = "needs aria2"]
fn downloads_encrypted_from_us_with_plain_text_behind_the_handshake() {
    downloads_from_us(Shape::File, &IN_PLAIN_TEXT);
}

#[test]
#[ignore = "needs aria2"]
fn seeds_encrypted_to_us_with_plain_text_behind_the_handshake() {
    seeds_to_us(Shape::File, &IN_PLAIN_TEXT);
}
