//! rtorrent without its screen, on loopback, without what would look for peers elsewhere.
//!
//! It knows one peer an address, and the first it hears of is itself: so it has an address alone.

use crate::swarm::{
    Client, Shape, Swarm, downloads_from_us, downloads_from_us_by_magnet, seeds_to_us,
    seeds_to_us_by_magnet,
};
use crate::util::{Background, free_port};
use std::fs;

const RTORRENT: Client = Client { start, dials: true, makes_empty_files: true };

/// It has encrypted connections only, in RC4.
const ENCRYPTED: Client = Client { start: start_encrypted, ..RTORRENT };

/// The same, in plain text behind the handshake.
const IN_PLAIN_TEXT: Client = Client { start: start_in_plain_text, ..RTORRENT };

fn start_in_plain_text(swarm: &Swarm, folder: &str) -> Background {
    start_with(swarm, folder, "allow_incoming,try_outgoing,require,prefer_plaintext")
}

fn start(swarm: &Swarm, folder: &str) -> Background {
    start_with(swarm, folder, "none")
}

fn start_encrypted(swarm: &Swarm, folder: &str) -> Background {
    start_with(swarm, folder, "allow_incoming,try_outgoing,require,require_RC4")
}

fn start_with(swarm: &Swarm, folder: &str, encryption: &str) -> Background {
    let port = free_port();
    let (data, session) = (swarm.dir.join(folder), swarm.dir.join(format!("rtorrent-{port}")));
    fs::create_dir_all(&data).unwrap();
    fs::create_dir_all(&session).unwrap();
    let torrent = swarm.source(folder);
    let settings = format!(
        "system.daemon.set = true\n\
         session.path.set = {session}\n\
         directory.default.set = {data}\n\
         network.bind_address.set = 127.0.0.3\n\
         network.port_range.set = {port}-{port}\n\
         network.port_random.set = no\n\
         dht.mode.set = disable\n\
         protocol.pex.set = no\n\
         protocol.encryption.set = {encryption}\n\
         trackers.use_udp.set = no\n\
         pieces.hash.on_completion.set = no\n\
         load.start = {torrent}\n",
        session = session.display(),
        data = data.display(),
    );
    let rc = swarm.dir.write(format!("rtorrent-{port}.rc"), settings);
    let import = format!("import={}", rc.display());
    swarm.dir.program("rtorrent").args(["-n", "-o", &import]).start()
}

#[test]
#[ignore = "needs rtorrent"]
fn downloads_a_file_from_us() {
    downloads_from_us(Shape::File, &RTORRENT);
}

#[test]
#[ignore = "needs rtorrent"]
fn downloads_a_tree_from_us() {
    downloads_from_us(Shape::Tree, &RTORRENT);
}

#[test]
#[ignore = "needs rtorrent"]
fn seeds_a_file_to_us() {
    seeds_to_us(Shape::File, &RTORRENT);
}

#[test]
#[ignore = "needs rtorrent"]
fn seeds_a_tree_to_us() {
    seeds_to_us(Shape::Tree, &RTORRENT);
}

#[test]
#[ignore = "needs rtorrent"]
fn downloads_from_us_with_a_magnet_link() {
    downloads_from_us_by_magnet(&RTORRENT);
}

#[test]
#[ignore = "needs rtorrent"]
fn seeds_to_us_who_have_a_magnet_link() {
    seeds_to_us_by_magnet(&RTORRENT);
}

#[test]
#[ignore = "needs rtorrent"]
fn downloads_encrypted_from_us() {
    downloads_from_us(Shape::File, &ENCRYPTED);
}

#[test]
#[ignore = "needs rtorrent"]
fn seeds_encrypted_to_us() {
    seeds_to_us(Shape::File, &ENCRYPTED);
}

#[test]
#[ignore = "needs rtorrent"]
fn downloads_encrypted_from_us_with_plain_text_behind_the_handshake() {
    downloads_from_us(Shape::File, &IN_PLAIN_TEXT);
}

#[test]
#[ignore = "needs rtorrent"]
fn seeds_encrypted_to_us_with_plain_text_behind_the_handshake() {
    seeds_to_us(Shape::File, &IN_PLAIN_TEXT);
}
