//! Peer exchange (BEP 11) with libtorrent: who has no tracker hears of the seed from the peer that
//! it knows, which itself gives next to nothing.

use crate::libtorrent::PYTHON;
use crate::util::{Background, Cmd, Dir, content, free_port, until};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(90);

/// libtorrent tells of others by and by, at most a minute later.
const BY_AND_BY: Duration = Duration::from_secs(100);

/// Arguments: port, torrent, folder, bytes a second both ways (0 for no limit), port to connect to
/// (0 for none). Says so when it has everything.
const CLIENT: &str = r#"
import sys, time, libtorrent as lt
port, torrent, folder, rate, other = sys.argv[1:]
session = lt.session({
    "listen_interfaces": "127.0.0.1:" + port,
    "outgoing_interfaces": "127.0.0.1",
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_outgoing_utp": False, "enable_incoming_utp": False,
    "allow_multiple_connections_per_ip": True,
})
share = lt.add_torrent_params()
share.ti, share.save_path = lt.torrent_info(torrent), folder
share.upload_limit = share.download_limit = int(rate)
handle = session.add_torrent(share)
while not handle.status().is_seeding:
    if other != "0" and not handle.get_peer_info():
        handle.connect_peer(("127.0.0.1", int(other)))
    time.sleep(0.2)
print("complete", flush=True)
while True:
    time.sleep(60)
"#;

struct Place {
    dir: Dir,
    _tracker: Background,
}

impl Place {
    /// With a tracker, `seeded.torrent` that names it, and `bare.torrent` that does not.
    fn new() -> Place {
        let dir = Dir::new();
        let tracker = dir.cmd("bttrack").args(["--port", "0", "--dfile", "state"]);
        let mut tracker = tracker.args(["--bind", "127.0.0.1"]).start();
        let port = tracker.wait_for_listening(SOON);
        dir.write("seed/x", content("exchange", 2_000_000));
        let announce = format!("http://127.0.0.1:{port}/announce");
        let make = [&announce[..], "seed/x", "--target", "seeded.torrent"];
        dir.cmd("btmakemetafile").args(make).run().expect(0);
        let entry = format!("8:announce{}:{announce}", announce.len());
        let bytes = dir.read("seeded.torrent");
        let rest = bytes[1..].strip_prefix(entry.as_bytes()).unwrap();
        dir.write("bare.torrent", [b"d", rest].concat());
        Place { dir, _tracker: tracker }
    }

    fn ours(&self, torrent: &str, saveas: &str) -> Cmd {
        self.dir
            .cmd("btdownload")
            .args([torrent, "--saveas", saveas, "--bind", "127.0.0.1"])
            .args(["--minport", "10000", "--maxport", "60000", "--random_port", "1"])
    }

    fn libtorrent(&self, torrent: &str, folder: &str, rate: &str, other: u16) -> (Background, u16) {
        std::fs::create_dir_all(self.dir.join(folder)).unwrap();
        let port = free_port();
        let args = [&port.to_string(), torrent, folder, rate, &other.to_string()];
        (self.dir.program(PYTHON).args(["-c", CLIENT]).args(args).start(), port)
    }
}

/// The port that one of ours listens on.
pub fn port_of(client: &mut Background) -> u16 {
    client.wait_for("listening on port ", SOON);
    until(SOON, "the whole line", || {
        let said = client.out();
        let (_, rest) = said.split_once("listening on port ")?;
        rest.split_once('\n')?.0.parse().ok()
    })
}

#[test]
#[ignore = "needs libtorrent"]
fn libtorrent_hears_of_a_seed_from_us() {
    let place = Place::new();
    let (mut seed, _) = place.libtorrent("seeded.torrent", "seed", "0", 0);
    seed.wait_for("complete", SOON);
    let slow = ["--max_upload_rate", "1", "--max_download_rate", "3"];
    let mut middle = place.ours("seeded.torrent", "middle").args(slow).start();
    let port = port_of(&mut middle);
    let (mut leech, _) = place.libtorrent("bare.torrent", "leech", "0", port);
    leech.wait_for("complete", BY_AND_BY);
    assert!(place.dir.read("leech/x") == place.dir.read("seed/x"));
}

#[test]
#[ignore = "needs libtorrent"]
fn we_hear_of_a_seed_from_libtorrent() {
    let place = Place::new();
    let mut seed = place.ours("seeded.torrent", "seed/x").start();
    seed.wait_for("download complete", SOON);
    let mut leech = place.ours("bare.torrent", "leech").start();
    let port = port_of(&mut leech);
    let (_middle, _) = place.libtorrent("seeded.torrent", "middle", "3000", port);
    leech.wait_for("download complete", BY_AND_BY);
    assert!(place.dir.read("leech") == place.dir.read("seed/x"));
}
