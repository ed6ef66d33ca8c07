//! Other people's clients meet through our tracker and nothing else: what one has reaches the
//! other, over either door and either family. They live in a network of their own, at addresses
//! that are neither local nor anybody's, so that the tracker connects to each of them first.

use std::process::Command;

use super::*;
use util::{Background, content, free_port};

/// Set where the network is there already.
const NETWORK: &str = "BTTRACK_TEST_NETWORK";

/// Addresses for documentation: nobody has them.
const SETUP: &str = "ip link set lo up && for n in 1 2 3 4 5 6 7 8 9; do \
    ip address add 192.0.2.$n/24 dev lo && ip address add 2001:db8::$n/64 dev lo nodad || exit; \
    done && exec \"$0\" --exact \"$1\" --ignored --nocapture";

/// More than any of them needs; transmission looks around every ten seconds.
const MEET: Duration = Duration::from_secs(60);

/// Pieces are of 32 KiB.
const SIZE: usize = 1_000_003;

/// Whether this process is in a network of its own. If not, runs the test of this name there.
pub fn in_own_network(test: &str) -> bool {
    if std::env::var_os(NETWORK).is_some() {
        return true;
    }
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "sh", "-c", SETUP]);
    command.arg(std::env::current_exe().unwrap()).arg(test).env(NETWORK, "1");
    assert!(command.status().unwrap().success(), "see above");
    false
}

/// Arguments: address, torrent, folder. It scrapes when it has announced.
const LIBTORRENT: &str = r#"
import libtorrent as lt, sys
at, torrent, folder = sys.argv[1:]
session = lt.session({
    "listen_interfaces": at,
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_outgoing_utp": False, "enable_incoming_utp": False,
    "alert_mask": lt.alert.category_t.status_notification | lt.alert.category_t.tracker_notification
        | lt.alert.category_t.error_notification,
})
share = lt.add_torrent_params()
share.ti, share.save_path = lt.torrent_info(torrent), folder
share.flags |= lt.torrent_flags.disable_pex | lt.torrent_flags.disable_lsd
shared = session.add_torrent(share)
while True:
    session.wait_for_alert(60000)
    for alert in session.pop_alerts():
        if isinstance(alert, lt.tracker_reply_alert):
            shared.scrape_tracker()
        print(alert.what(), alert, flush=True)
"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    Aria2,
    Libtorrent,
    Rtorrent,
    Transmission,
}

use Client::{Aria2, Libtorrent, Rtorrent, Transmission};

/// A client to be started.
struct Start<'a> {
    dir: &'a Dir,
    torrent: PathBuf,
    /// Where the data is, or is to be.
    folder: PathBuf,
    /// It has this address alone.
    ip: IpAddr,
}

const PORT: &str = "7000";

impl Start<'_> {
    fn start(&self, client: Client) -> Background {
        match client {
            Aria2 => self.aria2(),
            Libtorrent => self.libtorrent(),
            Rtorrent => self.rtorrent(),
            Transmission => self.transmission(),
        }
    }

    /// Packets to trackers go through its DHT, which finds nobody here.
    fn aria2(&self) -> Background {
        let (ip, four) = (self.ip.to_string(), self.ip.is_ipv4());
        let command = self.dir.program("aria2c").args(["--no-conf", "--interface", &ip]);
        let command = match four {
            true => command.arg("--disable-ipv6"),
            false => command.arg("--enable-dht6").args(["--dht-listen-addr6", &ip]),
        };
        let dht = self.folder.with_extension("dht");
        let command = command.arg(format!("--dht-file-path={}", dht.display()));
        let command = command.args(["--dht-listen-port", PORT, "--listen-port", PORT]);
        let options =
            ["--bt-enable-lpd=false", "--enable-peer-exchange=false", "--check-integrity"];
        let command =
            command.args(options).args(["--seed-ratio=0", "--summary-interval=0", "--dir"]);
        command.arg(&self.folder).arg(&self.torrent).start()
    }

    fn libtorrent(&self) -> Background {
        let at = SocketAddr::new(self.ip, PORT.parse().unwrap()).to_string();
        let python = self.dir.program("/usr/bin/python3").args(["-c", LIBTORRENT, &at]);
        python.arg(&self.torrent).arg(&self.folder).start()
    }

    fn rtorrent(&self) -> Background {
        let session = self.folder.with_extension("session");
        std::fs::create_dir_all(&session).unwrap();
        let settings = format!(
            "system.daemon.set = true\n\
             session.path.set = {session}\n\
             directory.default.set = {folder}\n\
             network.bind_address.set = {ip}\n\
             network.port_range.set = {PORT}-{PORT}\n\
             network.port_random.set = no\n\
             dht.mode.set = disable\n\
             protocol.pex.set = no\n\
             trackers.use_udp.set = yes\n\
             pieces.hash.on_completion.set = no\n\
             load.start = {torrent}\n",
            session = session.display(),
            folder = self.folder.display(),
            torrent = self.torrent.display(),
            ip = self.ip,
        );
        let rc = self.dir.write(self.folder.with_extension("rc"), settings);
        let import = format!("import={}", rc.display());
        self.dir.program("rtorrent").args(["-n", "-o", &import]).start()
    }

    fn transmission(&self) -> Background {
        let config = self.folder.with_extension("config");
        let control = free_port();
        let family = if self.ip.is_ipv4() { "ipv4" } else { "ipv6" };
        let settings = serde_json::json!({
            format!("bind-address-{family}"): self.ip.to_string(),
            "pex-enabled": false, "dht-enabled": false, "lpd-enabled": false,
            "utp-enabled": false, "port-forwarding-enabled": false,
            "peer-port": PORT.parse::<u16>().unwrap(), "download-dir": self.folder,
            "rpc-bind-address": "127.0.0.1", "rpc-port": control, "rpc-whitelist-enabled": false,
        });
        self.dir.write(config.join("settings.json"), settings.to_string());
        let daemon = self.dir.program("transmission-daemon").args(["--foreground", "--log-info"]);
        let daemon = daemon.arg("--config-dir").arg(config).start();
        util::wait_for_port(control, SOON);
        let remote = self.dir.program("transmission-remote").arg(format!("127.0.0.1:{control}"));
        remote.arg("--add").arg(&self.torrent).run().expect(0);
        daemon
    }
}

/// Pairs of a seed and a leech share a torrent each, and meet by the tracker at this address.
fn meet(scheme: &str, at: &str, pairs: &[(Client, Client)]) {
    let dir = Dir::new();
    let args = ["--udp", "1", "--bind", at, "--log_nat_checks", "1", "--logfile", "log"];
    let more = ["--min_time_between_log_flushes", "0"];
    let tracker = tracker(&dir, &[&args[..], &more].concat());
    let mut next_ip = 2;
    let mut clients = Vec::new();
    let mut start = |client: Client, pair: usize, folder: &str| {
        let ip = match tracker.on {
            SocketAddr::V4(_) => Ipv4Addr::new(192, 0, 2, next_ip).into(),
            SocketAddr::V6(_) => format!("2001:db8::{next_ip}").parse().unwrap(),
        };
        next_ip += 1;
        let torrent = dir.join(format!("{pair}.torrent"));
        let folder = dir.join(format!("{folder}{pair}"));
        std::fs::create_dir_all(&folder).unwrap();
        clients.push(Start { dir: &dir, torrent, folder, ip }.start(client));
        ip
    };
    let log = || String::from_utf8(dir.read("log")).unwrap();
    let hashes: Vec<String> = (0..pairs.len())
        .map(|pair| {
            let data =
                dir.write(format!("seed{pair}/{pair}.bin"), content(&pair.to_string(), SIZE));
            let url = format!("{scheme}://{}/announce", tracker.on);
            let (name, mut make) = (format!("{pair}.torrent"), dir.cmd("btmakemetafile"));
            make = make.args([&url, "--target", &name, "--piece_size", "32KiB"]);
            make.arg(data).run().expect(0);
            dir.cmd("btshowmetainfo").args(["--hash", &name]).run().expect(0).out.trim().to_owned()
        })
        .collect();
    for (pair, (seed, _)) in pairs.iter().enumerate() {
        let ip = start(*seed, pair, "seed");
        let reached = format!("\"!natcheck-{ip}:{PORT}\" 200 ");
        until(MEET, &format!("{seed:?} to be reached"), || log().contains(&reached).then_some(()));
    }
    for (pair, (_, leech)) in pairs.iter().enumerate() {
        start(*leech, pair, "copy");
    }
    // So that the log is not full of our own questions.
    let looks = Duration::from_millis(100);
    for (pair, which) in pairs.iter().enumerate() {
        let copy = dir.join(format!("copy{pair}/{pair}.bin"));
        let wanted = content(&pair.to_string(), SIZE);
        until(MEET, &format!("the copy of {which:?}"), || {
            (std::fs::read(&copy).ok()? == wanted).then_some(())
        });
        until(MEET, &format!("two seeds of {which:?} at the tracker"), || {
            let files = tracker.get("/scrape").bencoded()["files"].clone();
            let counts = &files[&hashes[pair]];
            std::thread::sleep(looks);
            (counts["complete"] == 2 && counts["downloaded"] == 1).then_some(())
        });
    }
    // Transmission and libtorrent also ask how many there are.
    until(MEET, "scrapes of theirs", || {
        let (stats, log) = (tracker.get("/stats.json").text(), log());
        let stats: Value = serde_json::from_str(&stats).unwrap();
        let number = |name: &str| stats[name].as_u64().unwrap();
        assert_eq!(number("udp_packets_total") > 0, scheme == "udp", "{stats}");
        assert_eq!(number("refused_announces_total"), 0, "{log}");
        let theirs = |agent| {
            let mut lines = log.lines().filter(|line| line.contains("GET /scrape?info_hash="));
            lines.any(|line| line.contains(agent))
        };
        let ours = log.matches("GET /scrape HTTP").count() as u64;
        match scheme {
            "http" => theirs("\"Transmission/") && theirs("\"libtorrent/"),
            _ => number("scrapes_total") >= ours + 2,
        }
        .then_some(())
    });
}

/// Each client of a list seeds to the next.
fn ring<const N: usize>(clients: [Client; N]) -> [(Client, Client); N] {
    std::array::from_fn(|n| (clients[n], clients[(n + 1) % N]))
}

#[test]
#[ignore = "needs clients"]
fn foreign_clients_meet_over_http() {
    if in_own_network("foreign::foreign_clients_meet_over_http") {
        meet("http", "192.0.2.1", &ring([Aria2, Libtorrent, Rtorrent, Transmission]));
    }
}

#[test]
#[ignore = "needs clients"]
fn foreign_clients_meet_over_udp() {
    if in_own_network("foreign::foreign_clients_meet_over_udp") {
        meet("udp", "192.0.2.1", &ring([Aria2, Libtorrent, Rtorrent, Transmission]));
    }
}

/// Rtorrent has no connections over IPv6.
#[test]
#[ignore = "needs clients"]
fn foreign_clients_meet_over_http_and_ipv6() {
    if in_own_network("foreign::foreign_clients_meet_over_http_and_ipv6") {
        meet("http", "2001:db8::1", &ring([Aria2, Libtorrent, Transmission]));
    }
}

/// The others ask no trackers over both.
#[test]
#[ignore = "needs clients"]
fn foreign_clients_meet_over_udp_and_ipv6() {
    if in_own_network("foreign::foreign_clients_meet_over_udp_and_ipv6") {
        meet("udp", "2001:db8::1", &[(Libtorrent, Libtorrent)]);
    }
}
