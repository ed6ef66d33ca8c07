//! aria2, on loopback, without what would look for peers elsewhere.

use crate::swarm::{
    Client, Shape, Swarm, downloads_from_us, downloads_from_us_by_magnet,
    seeds_to_ours_that_is_killed, seeds_to_us, seeds_to_us_by_magnet,
};
use crate::util::{Background, free_port};

const ARIA2: Client = Client { start, dials: true, makes_empty_files: true };

fn start(swarm: &Swarm, folder: &str) -> Background {
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
    let aria2c = swarm.dir.program("aria2c").args(options);
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

#[test]
#[ignore = "needs aria2"]
fn downloads_from_us_with_a_magnet_link() {
    downloads_from_us_by_magnet(&ARIA2);
}

#[test]
#[ignore = "needs aria2"]
fn seeds_to_us_who_have_a_magnet_link() {
    seeds_to_us_by_magnet(&ARIA2);
}
