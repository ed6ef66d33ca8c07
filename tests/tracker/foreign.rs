//! Other people's clients announce to us, over both doors, on loopback.

use super::*;

fn announces(program: &str, udp: bool) {
    let dir = Dir::new();
    let tracker = tracker(&dir, &["--udp", "1"]);
    let scheme = if udp { "udp" } else { "http" };
    let url = format!("{scheme}://{}/announce", tracker.on);
    let (text, hash) = torrent("shared", &format!("13:announce-listll{}:{url}ee", url.len()));
    dir.write("t.torrent", text);
    tracker.announce_of(&hash, 'a', "port=7");
    let port = util::free_port().to_string();
    let control = util::free_port().to_string();
    let client = match program {
        "aria2c" => dir.program(program).args([
            "--no-conf",
            "--interface=127.0.0.1",
            "--disable-ipv6",
            "--enable-dht=false",
            "--bt-enable-lpd=false",
            "--enable-peer-exchange=false",
            "--listen-port",
            &port,
            "t.torrent",
        ]),
        "transmission-daemon" => dir.program(program).args([
            "--foreground",
            "--bind-address-ipv4=127.0.0.1",
            "--bind-address-ipv6=::1",
            "--rpc-bind-address=127.0.0.1",
            "--no-auth",
            "--no-dht",
            "--no-lpd",
            "--no-utp",
            "--no-portmap",
            "--port",
            &control,
            "--peerport",
            &port,
            "--config-dir",
            "config",
        ]),
        _ => dir.program("/usr/bin/python3").args([
            "-c",
            "import libtorrent as lt, sys, time\n\
             s = lt.session({'listen_interfaces': '127.0.0.1:' + sys.argv[1], 'enable_dht': False,\n\
               'enable_lsd': False, 'enable_upnp': False, 'enable_natpmp': False})\n\
             s.add_torrent({'ti': lt.torrent_info('t.torrent'), 'save_path': '.'})\n\
             time.sleep(60)\n",
            &port,
        ]),
    };
    let client = client.start();
    if program == "transmission-daemon" {
        util::wait_for_port(control.parse().unwrap(), SOON);
        let remote = dir.program("transmission-remote").arg(format!("127.0.0.1:{control}"));
        remote.arg("--add").arg(dir.join("t.torrent")).run().expect(0);
    }
    let ours = serde_json::json!(format!("127.0.0.1:{port}"));
    until(SOON, "the client among the peers", || {
        let peers = tracker.announce_of(&hash, 'a', "port=7").peers();
        peers.as_array().unwrap().contains(&ours).then_some(())
    });
    let stats: Value = serde_json::from_str(&tracker.get("/stats.json").text()).unwrap();
    assert_eq!(stats["udp_packets_total"].as_u64().unwrap() > 0, udp, "{stats}");
    drop(client);
}

#[test]
#[ignore = "needs aria2"]
fn aria2_announces() {
    // Its packets to trackers need its DHT, which would look for peers elsewhere.
    announces("aria2c", false);
}

#[test]
#[ignore = "needs transmission"]
fn transmission_announces() {
    announces("transmission-daemon", false);
    announces("transmission-daemon", true);
}

#[test]
#[ignore = "needs libtorrent"]
fn libtorrent_announces() {
    announces("libtorrent", false);
    announces("libtorrent", true);
}
