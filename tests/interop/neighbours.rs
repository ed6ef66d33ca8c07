//! Local service discovery (BEP 14) on a link of its own: with libtorrent, without a tracker; and
//! who is silent there.

use crate::exchange::port_of;
use crate::libtorrent::PYTHON;
use crate::util::{Background, Cmd, Dir, content, free_port, until};
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(90);

/// Set where the network is there already.
const LINK: &str = "BITTORNADO_TEST_LINK";

/// Set too: the process whose network is at the other end.
const FAR: &str = "BITTORNADO_TEST_FAR";

/// A link, and at its other end a network in which nothing runs yet.
const SETUP: &str = r#"
ip link set lo up
setpriv --pdeathsig KILL unshare --net sleep 3600 &
export BITTORNADO_TEST_FAR=$!
until [ "$(readlink /proc/$!/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.05; done
ip link add link0 type veth peer name far0 netns $! && ip address add 10.78.0.1/24 dev link0 &&
ip address add 10.78.0.3/24 dev link0 && ip link set link0 up &&
ip address add fd00:78::1/64 dev link0 nodad &&
nsenter --target $! --net sh -c '
    ip link set lo up && ip address add 10.78.0.2/24 dev far0 && ip link set far0 up &&
    ip route add default via 10.78.0.1
' && exec "$0" --exact "$1" --ignored --nocapture
"#;

/// Whether this process is on that link. If not, runs the test of this name there.
fn on_a_link(test: &str) -> bool {
    if std::env::var_os(LINK).is_some() {
        return true;
    }
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "sh", "-c", SETUP]);
    command.arg(std::env::current_exe().unwrap()).arg(test).env(LINK, "1");
    assert!(command.status().unwrap().success(), "see above");
    false
}

/// Arguments: address and port, torrent, folder.
const CLIENT: &str = r#"
import sys, libtorrent as lt
place, torrent, folder = sys.argv[1:]
session = lt.session({
    "listen_interfaces": place,
    "enable_dht": False, "enable_lsd": True, "enable_upnp": False, "enable_natpmp": False,
    "allow_multiple_connections_per_ip": True,
    "alert_mask": lt.alert.category_t.status_notification,
})
share = lt.add_torrent_params()
share.ti, share.save_path = lt.torrent_info(torrent), folder
session.add_torrent(share)
while True:
    session.wait_for_alert(60000)
    for alert in session.pop_alerts():
        print(alert.what(), flush=True)
"#;

/// Prints the torrents that are told, one a line.
const LISTENER: &str = r#"
import socket, struct
group = "239.192.152.143"
ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
ear.bind((group, 6771))
member = socket.inet_aton(group) + socket.inet_aton("10.78.0.1")
ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
print("listening", flush=True)
while True:
    for line in ear.recv(2000).decode().split("\r\n"):
        if line.startswith("Infohash: "):
            print("told", line[10:], flush=True)
"#;

/// A folder with torrents of these names, without a tracker, and their content in `seed`.
fn folder(torrents: &[(&str, &[&str])]) -> Dir {
    let dir = Dir::new();
    for (name, options) in torrents {
        let file = dir.write(format!("seed/{name}"), content(name, 1_000_000));
        let make = dir.cmd("btmakemetafile").args(["--no_tracker", "1"]).args(*options);
        make.arg(file).args(["--target", &format!("{name}.torrent")]).run().expect(0);
    }
    dir
}

fn ours(dir: &Dir, what: &str, saveas: &str, options: &[&str]) -> Background {
    let client = dir.cmd("btdownload").args([what, "--saveas", saveas, "--upnp_nat_access", "0"]);
    let ports = ["--minport", "10000", "--maxport", "60000", "--random_port", "1", "--dht", "0"];
    client.args(ports).args(options).start()
}

#[test]
#[ignore = "needs link"]
fn we_and_libtorrent_find_each_other_without_a_tracker() {
    if on_a_link("neighbours::we_and_libtorrent_find_each_other_without_a_tracker") {
        we_and_libtorrent_find_each_other("10.78.0.1", "10.78.0.3");
    }
}

#[test]
#[ignore = "needs link"]
fn we_and_libtorrent_find_each_other_by_ipv6_alone() {
    if on_a_link("neighbours::we_and_libtorrent_find_each_other_by_ipv6_alone") {
        we_and_libtorrent_find_each_other("[fd00:78::1]", "fd00:78::1");
    }
}

fn we_and_libtorrent_find_each_other(there: &str, here: &str) {
    let dir = folder(&[("x", &[])]);
    let place = format!("{there}:{}", free_port());
    let theirs = |folder: &str| {
        dir.program(PYTHON).args(["-c", CLIENT, &place, "x.torrent", folder]).start()
    };
    // They hear of us, or we of them: both tell when they begin.
    let options = ["--lsd", "1", "--bind", here];
    let seed = ours(&dir, "x.torrent", "seed/x", &options);
    let mut copier = theirs("copy");
    copier.wait_for("torrent_finished", SOON);
    drop(seed);
    let magnet = dir.cmd("btshowmetainfo").args(["--magnet", "x.torrent"]).run().expect(0).out;
    let leech =
        ours(&dir, magnet.trim(), "again", &[&options[..], &["--exit_on_done", "1"]].concat());
    leech.wait(SOON).expect(0);
    assert!(dir.read("again") == dir.read("seed/x"));
}

/// A program at the other end of the link.
fn far(dir: &Dir, program: &str) -> Cmd {
    let pid = std::env::var(FAR).unwrap();
    dir.program("nsenter").args(["--target", &pid, "--net", program])
}

/// Transmission's daemon there, with local discovery and nothing else that finds peers; its control
/// is at port 9091.
fn transmission(dir: &Dir, folder: &str) -> Background {
    std::fs::create_dir_all(dir.join(folder)).unwrap();
    let options = [
        "--foreground",
        "--bind-address-ipv4=10.78.0.2",
        "--rpc-bind-address=127.0.0.1",
        "--no-auth",
        "--no-dht",
        "--lpd",
        "--utp",
        "--no-portmap",
        "--no-global-seedratio",
        "--config-dir",
        "transmission",
    ];
    let daemon = far(dir, "transmission-daemon").args(options);
    let daemon = daemon.args(["--port", "9091", "--peerport", "6000"]).start();
    let place = dir.join(folder);
    let add = ["--add", "x.torrent", "--download-dir", place.to_str().unwrap()];
    until(SOON, "its control", || remote(dir, &add).contains("success").then_some(()));
    daemon
}

/// What it says to a question.
fn remote(dir: &Dir, args: &[&str]) -> String {
    far(dir, "transmission-remote").arg("127.0.0.1:9091").args(args).run().out
}

#[test]
#[ignore = "needs link"]
fn long_we_and_transmission_find_each_other_and_speak_utp() {
    if !on_a_link("neighbours::long_we_and_transmission_find_each_other_and_speak_utp") {
        return;
    }
    let dir = folder(&[("x", &[])]);
    let options = ["--lsd", "1", "--utp", "1", "--bind", "10.78.0.3"];
    let seed = ours(&dir, "x.torrent", "seed/x", &options);
    let theirs = transmission(&dir, "copy");
    until(SOON, "the copy", || {
        (std::fs::read(dir.join("copy/x")).ok()? == dir.read("seed/x")).then_some(())
    });
    drop(seed);
    // At another address: who seeds goes to no known seed.
    let options = ["--lsd", "1", "--utp", "1", "--bind", "10.78.0.1", "--max_download_rate", "100"];
    let leech = ours(&dir, "x.torrent", "again", &options);
    // `T` among the flags of a peer says uTP.
    until(SOON, "a peer by uTP", || {
        let peers = remote(&dir, &["--torrent", "1", "--info-peers"]);
        let ours = peers.lines().find(|line| line.contains("10.78.0.1"))?;
        ours.split_whitespace().nth(1)?.contains('T').then_some(())
    });
    let done = || (std::fs::read(dir.join("again")).ok()? == dir.read("seed/x")).then_some(());
    until(SOON, "our copy", done);
    drop((leech, theirs));
}

/// Arguments: port. Prints the address of each that connects, and answers nothing.
const SERVER: &str = r#"
import socket, sys
server = socket.create_server(("10.78.0.2", 8080))
print("listening", flush=True)
while True:
    print("from", server.accept()[1][0], flush=True)
"#;

/// What speaks through one interface alone reaches nobody beside the other, not even a tracker.
#[test]
#[ignore = "needs link"]
fn through_the_interface_that_was_named_and_no_other() {
    if !on_a_link("neighbours::through_the_interface_that_was_named_and_no_other") {
        return;
    }
    let dir = folder(&[]);
    dir.write("seed/x", content("x", 100_000));
    let announce = ["http://10.78.0.2:8080/announce", "seed/x", "--target", "x.torrent"];
    dir.cmd("btmakemetafile").args(announce).run().expect(0);
    let pid = std::env::var(FAR).unwrap();
    let server = dir.program("nsenter").args(["--target", &pid, "--net", PYTHON, "-c", SERVER]);
    let mut server = server.start();
    server.wait_for("listening", SOON);
    let hasty = ["--bind_device", "lo", "--http_timeout", "2"];
    let failed = "Problem connecting to tracker";
    let mut outside = ours(&dir, "x.torrent", "seed/x", &hasty);
    outside.wait_for(failed, SOON);
    assert_eq!(server.out().lines().count(), 1, "{}", server.out());
    let options = ["--bind_device", "link0", "--bind", "10.78.0.3"];
    let _inside = ours(&dir, "x.torrent", "seed/x", &options);
    server.wait_for("from 10.78.0.3", SOON);
}

#[test]
#[ignore = "needs link"]
fn private_torrents_and_those_who_stay_at_home_are_not_told() {
    if !on_a_link("neighbours::private_torrents_and_those_who_stay_at_home_are_not_told") {
        return;
    }
    let dir = folder(&[("open", &[]), ("private", &["--private", "1"]), ("told", &[])]);
    let mut listener = dir.program(PYTHON).args(["-c", LISTENER]).start();
    listener.wait_for("listening", SOON);
    let mut all = Vec::new();
    for (name, options) in [
        ("private", &["--lsd", "1"][..]),
        ("open", &["--lsd", "0"]),
        ("open", &["--lsd", "1", "--local_only", "1"]),
        ("open", &["--lsd", "1", "--bind", "127.0.0.1"]),
        ("told", &["--lsd", "1", "--bind", "127.0.0.1,10.78.0.1"]),
    ] {
        let mut client = ours(&dir, &format!("{name}.torrent"), &format!("seed/{name}"), options);
        port_of(&mut client);
        client.wait_for("seed", SOON);
        all.push(client);
    }
    listener.wait_for("told", SOON);
    assert_eq!(listener.out().lines().count(), 2, "{}", listener.out());
}
