//! The distributed hash table (BEP 5) with libtorrent's node: two of ours that know nobody but it
//! find each other, without a tracker.

use crate::exchange::port_of;
use crate::libtorrent::PYTHON;
use crate::util::{Dir, content, free_port};
use std::time::Duration;

/// Who finds nobody at first asks again a minute later.
const SOON: Duration = Duration::from_secs(180);

/// Argument: port. Says so when somebody is listed with it.
const NODE: &str = r#"
import sys, libtorrent as lt
session = lt.session({
    "listen_interfaces": "127.0.0.1:" + sys.argv[1],
    "outgoing_interfaces": "127.0.0.1",
    "enable_dht": True, "dht_bootstrap_nodes": "",
    "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    # On loopback all nodes have one address.
    "dht_restrict_routing_ips": False, "dht_restrict_search_ips": False,
    "dht_ignore_dark_internet": False, "dht_enforce_node_id": False,
    "dht_prefer_verified_node_ids": False,
    "alert_mask": lt.alert.category_t.dht_notification,
})
print("node", flush=True)
while True:
    session.wait_for_alert(60000)
    for alert in session.pop_alerts():
        if isinstance(alert, lt.dht_announce_alert):
            print("listed", flush=True)
"#;

/// Arguments: port, torrent, folder, port of a peer. Tells what that peer says of itself, then of
/// each node it hears of.
const PEER: &str = r#"
import sys, time, libtorrent as lt
port, torrent, folder, other = sys.argv[1:]
session = lt.session({
    "listen_interfaces": "127.0.0.1:" + port,
    "outgoing_interfaces": "127.0.0.1",
    "enable_dht": True, "dht_bootstrap_nodes": "",
    "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_outgoing_utp": False, "enable_incoming_utp": False,
    "dht_restrict_routing_ips": False, "dht_restrict_search_ips": False,
    "dht_ignore_dark_internet": False, "dht_enforce_node_id": False,
    "dht_prefer_verified_node_ids": False,
    "alert_mask": lt.alert.category_t.peer_log_notification | lt.alert.category_t.dht_log_notification
        | lt.alert.category_t.peer_notification,
})
share = lt.add_torrent_params()
share.ti, share.save_path = lt.torrent_info(torrent), folder
handle = session.add_torrent(share)
handle.connect_peer(("127.0.0.1", int(other)))
while True:
    session.wait_for_alert(60000)
    for alert in session.pop_alerts():
        if "EXTENDED" in str(alert) or "DHT_PORT" in str(alert) or "find_node" in str(alert):
            print(alert, flush=True)
"#;

/// What we say of ourselves by BEP 10, and where nodes are, as libtorrent hears it; and with no
/// other node named ours is found by its.
#[test]
#[ignore = "needs libtorrent"]
fn libtorrent_hears_what_we_are_and_where_our_node_is() {
    let dir = Dir::new();
    dir.write("seed/x", content("port", 1_000_000));
    let make = ["--no_tracker", "1", "seed/x", "--target", "x.torrent"];
    dir.cmd("btmakemetafile").args(make).run().expect(0);
    std::fs::create_dir(dir.join("copy")).unwrap();
    let options = ["--bind", "127.0.0.1", "--dht_routers", "", "--random_port", "1"];
    let seed = dir.cmd("btdownload").args(["x.torrent", "--saveas", "seed/x"]).args(options);
    let mut seed = seed.args(["--minport", "10000", "--maxport", "60000"]).start();
    seed.wait_for("download complete", SOON);
    let ours = port_of(&mut seed).to_string();
    let args = ["-c", PEER, &free_port().to_string(), "x.torrent", "copy", &ours];
    let mut theirs = dir.program(PYTHON).args(args).start();
    theirs.wait_for("DHT_PORT", SOON);
    theirs.wait_for("<== EXTENDED_HANDSHAKE", SOON);
    let said = theirs.out();
    let told = said.lines().find(|line| line.contains("<== EXTENDED_HANDSHAKE")).unwrap();
    for word in ["'e': 1", "'v': 'BitTornado", "'reqq': 2048", "'upload_only': 1", "'yourip': "] {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert!(told.contains(&format!("'p': {ours}")), "{told}");
    theirs.wait_for("find_node", SOON);
}

#[test]
#[ignore = "needs libtorrent"]
fn two_find_each_other_by_a_node_of_libtorrent() {
    let dir = Dir::new();
    let router = free_port();
    let mut node = dir.program(PYTHON).args(["-c", NODE, &router.to_string()]).start();
    node.wait_for("node", SOON);
    dir.write("x", content("table", 1_000_000));
    let ours = |name: &str, saveas: &str| {
        let client = dir.cmd("btdownload").args([name, "--saveas", saveas, "--dht", "1"]);
        let client = client.args(["--dht_routers", &format!("127.0.0.1:{router}")]);
        let state = dir.join(format!("state-{saveas}"));
        let client = client.env("XDG_STATE_HOME", &state).args(["--bind", "127.0.0.1"]);
        client.args(["--minport", "10000", "--maxport", "60000", "--random_port", "1"])
    };
    // The file names a node too: that alone must do for the seed.
    let host = format!("127.0.0.1:{router}");
    dir.cmd("btmakemetafile").args(["--no_tracker", "1", "--node", &host, "x"]).run().expect(0);
    let seed = ours("x.torrent", "x").args(["--dht_routers", ""]);
    let _seed = seed.start();
    node.wait_for("listed", SOON);
    let magnet = dir.cmd("btshowmetainfo").args(["--magnet", "x.torrent"]).run().expect(0).out;
    let leech = ours(magnet.trim(), "copy").arg("--exit_on_done");
    leech.start().wait(SOON).expect(0);
    assert!(dir.read("copy") == dir.read("x"));
    assert!(dir.join("state-copy/bittornado/dht.nodes").exists(), "nodes are remembered");
}
