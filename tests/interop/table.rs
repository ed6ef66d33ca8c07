//! The distributed hash table (BEP 5) with libtorrent's node: two of ours that know nobody but it
//! find each other, without a tracker.

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
