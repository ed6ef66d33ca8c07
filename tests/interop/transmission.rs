//! Transmission's daemon, on loopback, without what would look for peers elsewhere.
//!
//! It dials nobody on loopback, and leaves out empty files.

use crate::swarm::{
    Client, SOON, Shape, Swarm, downloads_from_us, downloads_from_us_by_magnet, seeds_to_us,
    seeds_to_us_by_magnet,
};
use crate::util::{Background, free_port, wait_for_port};

const TRANSMISSION: Client = Client { start, dials: false, makes_empty_files: false };

/// It has encrypted connections only.
const ENCRYPTED: Client = Client { start: start_encrypted, ..TRANSMISSION };

pub fn start(swarm: &Swarm, folder: &str) -> Background {
    start_with(swarm, folder, "--encryption-preferred")
}

fn start_encrypted(swarm: &Swarm, folder: &str) -> Background {
    start_with(swarm, folder, "--encryption-required")
}

fn start_with(swarm: &Swarm, folder: &str, encryption: &str) -> Background {
    let (port, control) = (free_port().to_string(), free_port());
    let control_port = control.to_string();
    let options = [
        "--foreground",
        "--log-info",
        "--bind-address-ipv4=127.0.0.1",
        "--bind-address-ipv6=::1",
        "--rpc-bind-address=127.0.0.1",
        "--no-auth",
        "--no-dht",
        "--no-lpd",
        "--no-utp",
        "--no-portmap",
        "--no-global-seedratio",
        encryption,
    ];
    let config = format!("transmission-{port}");
    let daemon = swarm.dir.program("transmission-daemon").args(options);
    let daemon = daemon.args(["--port", &control_port, "--peerport", &port]);
    let daemon = daemon.arg("--config-dir").arg(swarm.dir.join(config)).start();
    wait_for_port(control, SOON);
    let remote = swarm.dir.program("transmission-remote").arg(format!("127.0.0.1:{control}"));
    let add = remote.arg("--add").arg(swarm.source(folder)).arg("--download-dir");
    add.arg(swarm.dir.join(folder)).run().expect(0);
    daemon
}

#[test]
#[ignore = "needs transmission"]
fn downloads_a_file_from_us() {
    downloads_from_us(Shape::File, &TRANSMISSION);
}

#[test]
#[ignore = "needs transmission"]
fn downloads_a_tree_from_us() {
    downloads_from_us(Shape::Tree, &TRANSMISSION);
}

#[test]
#[ignore = "needs transmission"]
fn seeds_a_file_to_us() {
    seeds_to_us(Shape::File, &TRANSMISSION);
}

#[test]
#[ignore = "needs transmission"]
fn seeds_a_tree_to_us() {
    seeds_to_us(Shape::Tree, &TRANSMISSION);
}

#[test]
#[ignore = "needs transmission"]
fn long_downloads_from_us_with_a_magnet_link() {
    downloads_from_us_by_magnet(&TRANSMISSION);
}

#[test]
#[ignore = "needs transmission"]
fn seeds_to_us_who_have_a_magnet_link() {
    seeds_to_us_by_magnet(&TRANSMISSION);
}

#[test]
#[ignore = "needs transmission"]
fn downloads_encrypted_from_us() {
    downloads_from_us(Shape::File, &ENCRYPTED);
}

#[test]
#[ignore = "needs transmission"]
fn seeds_encrypted_to_us() {
    seeds_to_us(Shape::File, &ENCRYPTED);
}
