//! libtorrent (rasterbar) from Python, on loopback, without what would look for peers elsewhere.

use crate::swarm::{
    Client, Shape, Swarm, downloads_from_us, downloads_from_us_by_magnet,
    seeds_to_ours_that_is_killed, seeds_to_us, seeds_to_us_by_magnet,
};
use crate::util::{Background, free_port};

/// Debian's: it has the bindings, another Python in PATH has not.
pub const PYTHON: &str = "/usr/bin/python3";

/// Arguments: port, torrent, folder; what methods of encryption there may be (1 plain text, 2 RC4;
/// 0 for as it likes).
const CLIENT: &str = r#"
import sys, libtorrent as lt
port, torrent, folder, methods = sys.argv[1:]
session = lt.session({
    "listen_interfaces": "127.0.0.1:" + port,
    "outgoing_interfaces": "127.0.0.1",
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_outgoing_utp": False, "enable_incoming_utp": False,
    **({} if methods == "0" else
        {"out_enc_policy": 0, "in_enc_policy": 0, "allowed_enc_level": int(methods)}),
    # On loopback there are several peers behind an address.
    "allow_multiple_connections_per_ip": True,
    "alert_mask": lt.alert.category_t.error_notification | lt.alert.category_t.status_notification
        | lt.alert.category_t.tracker_notification | lt.alert.category_t.connect_notification,
})
if torrent.startswith("magnet:"):
    share = lt.parse_magnet_uri(torrent)
else:
    share = lt.add_torrent_params()
    share.ti = lt.torrent_info(torrent)
share.save_path = folder
share.flags |= lt.torrent_flags.disable_pex | lt.torrent_flags.disable_lsd
session.add_torrent(share)
while True:
    session.wait_for_alert(60000)
    for alert in session.pop_alerts():
        print(alert, flush=True)
"#;

pub const LIBTORRENT: Client = Client { start, dials: true, makes_empty_files: true };

/// It has encrypted connections only, which go on in RC4, or in plain text.
const IN_RC4: Client = Client { start: |s, f| start_with(s, f, "2"), ..LIBTORRENT };
const IN_PLAIN_TEXT: Client = Client { start: |s, f| start_with(s, f, "1"), ..LIBTORRENT };

fn start(swarm: &Swarm, folder: &str) -> Background {
    start_with(swarm, folder, "0")
}

fn start_with(swarm: &Swarm, folder: &str, methods: &str) -> Background {
    let port = free_port().to_string();
    let python = swarm.dir.program(PYTHON).args(["-c", CLIENT]);
    python.args([&port, &swarm.source(folder), folder, methods]).start()
}

#[test]
#[ignore = "needs libtorrent"]
fn downloads_a_file_from_us() {
    downloads_from_us(Shape::File, &LIBTORRENT);
}

#[test]
#[ignore = "needs libtorrent"]
fn downloads_a_tree_from_us() {
    downloads_from_us(Shape::Tree, &LIBTORRENT);
}

#[test]
#[ignore = "needs libtorrent"]
fn seeds_a_file_to_us() {
    seeds_to_us(Shape::File, &LIBTORRENT);
}

#[test]
#[ignore = "needs libtorrent"]
fn seeds_a_tree_to_us() {
    seeds_to_us(Shape::Tree, &LIBTORRENT);
}

#[test]
#[ignore = "needs libtorrent"]
fn downloads_a_hybrid_from_us() {
    downloads_from_us(Shape::Hybrid, &LIBTORRENT);
}

#[test]
#[ignore = "needs libtorrent"]
fn seeds_a_hybrid_to_us() {
    seeds_to_us(Shape::Hybrid, &LIBTORRENT);
}

#[test]
#[ignore = "needs libtorrent"]
fn seeds_a_file_to_ours_though_that_is_killed() {
    seeds_to_ours_that_is_killed(&LIBTORRENT);
}

#[test]
#[ignore = "needs libtorrent"]
fn downloads_from_us_with_a_magnet_link() {
    downloads_from_us_by_magnet(&LIBTORRENT);
}

#[test]
#[ignore = "needs libtorrent"]
fn seeds_to_us_who_have_a_magnet_link() {
    seeds_to_us_by_magnet(&LIBTORRENT);
}

#[test]
#[ignore = "needs libtorrent"]
fn downloads_encrypted_from_us() {
    downloads_from_us(Shape::File, &IN_RC4);
}

#[test]
#[ignore = "needs libtorrent"]
fn seeds_encrypted_to_us() {
    seeds_to_us(Shape::File, &IN_RC4);
}

#[test]
#[ignore = "needs libtorrent"]
fn downloads_encrypted_from_us_with_plain_text_behind_the_handshake() {
    downloads_from_us(Shape::File, &IN_PLAIN_TEXT);
}

#[test]
#[ignore = "needs libtorrent"]
fn seeds_encrypted_to_us_with_plain_text_behind_the_handshake() {
    seeds_to_us(Shape::File, &IN_PLAIN_TEXT);
}
