//! Signals, service managers, proxies, and figures for machines.

use std::os::unix::net::UnixDatagram;

use super::*;

#[test]
fn figures_are_there_for_machines() {
    let dir = Dir::new();
    let running = tracker(&dir, &["--udp", "1"]);
    running.announce('a', "port=1");
    running.announce('b', "port=x");
    running.get("/scrape");
    let health = running.get("/health");
    assert_eq!((health.status_line.as_str(), health.text()), ("HTTP/1.0 200 OK", "ok\n".into()));
    let stats = running.get("/stats.json");
    assert_eq!(stats.header("Content-Type"), Some("application/json"));
    let value: Value = serde_json::from_str(&stats.text()).unwrap();
    for (name, figure) in [("torrents", 1), ("peers", 1), ("seeds", 0), ("announces_total", 2)] {
        assert_eq!(value[name], figure, "{name}");
    }
    assert_eq!(
        (&value["refused_announces_total"], &value["scrapes_total"]),
        (&1.into(), &1.into())
    );
    let metrics = running.get("/metrics");
    assert_eq!(metrics.header("Content-Type"), Some("text/plain; version=0.0.4"));
    assert!(metrics.text().contains("\nbttrack_peers 1\n"));
    let values = prometheus(&metrics.text());
    assert_eq!((values["bttrack_announces_total"], values["bttrack_torrents"]), (2.0, 1.0));
    assert_eq!(values.len(), value.as_object().unwrap().len() - 1, "all of them but the version");
    running.stop();
    let quiet = tracker(&dir, &["--stats", "0"]);
    assert!(quiet.get("/metrics").status_line.contains("404"));
    assert!(quiet.get("/health").status_line.contains("200"));
}

/// Reads the text form of Prometheus more strictly than it does: every figure has its help, its
/// kind and one value, in this order; names are names, counters end as they should, and grow.
fn prometheus(text: &str) -> std::collections::HashMap<String, f64> {
    let mut values = std::collections::HashMap::new();
    assert!(text.ends_with('\n'));
    let lines: Vec<&str> = text.lines().collect();
    for figure in lines.chunks(3) {
        let [help, kind, value] = figure else { panic!("{figure:?}") };
        let (name, number) = value.split_once(' ').unwrap();
        let letters = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(name.chars().all(letters) && name.starts_with("bttrack_"), "{name}");
        assert!(help.starts_with(&format!("# HELP {name} ")) && help.is_ascii(), "{help}");
        assert!(!help.contains('\\'), "{help}");
        let counter = name.ends_with("_total");
        let wanted = format!("# TYPE {name} {}", if counter { "counter" } else { "gauge" });
        assert_eq!(*kind, wanted);
        let number: f64 = number.parse().unwrap();
        assert!(number >= 0.0 && values.insert(name.to_owned(), number).is_none(), "{name}");
    }
    values
}

#[test]
fn it_says_how_it_goes_when_asked() {
    let dir = Dir::new();
    let mut tracker = tracker(&dir, &[]);
    tracker.announce('a', "port=1");
    tracker.process.signal(Signal::USR1);
    tracker.process.wait_for("1 torrents, 1 peers (0 seeds)", SOON);
    assert!(tracker.process.runs());
}

#[test]
fn a_service_manager_hears_of_start_life_and_stop() {
    let dir = Dir::new();
    let socket = UnixDatagram::bind(dir.join("notify")).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let command = dir.cmd("bttrack").args(["--port", "0", "--bind", "127.0.0.1", "--dfile", "d"]);
    let command = command.env("NOTIFY_SOCKET", dir.join("notify")).env("WATCHDOG_USEC", "400000");
    let mut process = command.start();
    process.wait_for("listening on ", SOON);
    let hear = || {
        let mut buffer = [0; 500];
        let n = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..n].to_vec()).unwrap()
    };
    assert_eq!(hear(), "READY=1");
    for _ in 0..3 {
        let alive = hear();
        assert!(
            alive.starts_with("STATUS=0 torrents") && alive.ends_with("\nWATCHDOG=1"),
            "{alive}"
        );
    }
    process.stop(SOON).expect(0);
    while hear() != "STOPPING=1" {}
}

/// A tracker that got these sockets, all of one port, as numbers 3 and up: for IPv4, IPv6 or both
/// (`4`, `6`, `b`), and for TCP or UDP (`t`, `u`).
fn activated(dir: &Dir, sockets: &str) -> Option<Tracker> {
    // A helper opens the sockets, and becomes the tracker.
    let script = "import os, socket, sys\n\
        port, all = 0, []\n\
        for word in sys.argv[2].split():\n\
        \x20 family = socket.AF_INET if word[0] == '4' else socket.AF_INET6\n\
        \x20 s = socket.socket(family, socket.SOCK_STREAM if word[1] == 't' else socket.SOCK_DGRAM)\n\
        \x20 if word[0] != '4': s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, word[0] == '6')\n\
        \x20 s.bind(({'4': '127.0.0.1', '6': '::1', 'b': '::'}[word[0]], port))\n\
        \x20 port = s.getsockname()[1]\n\
        \x20 if word[1] == 't': s.listen()\n\
        \x20 all.append(os.dup2(s.fileno(), 20 + len(all)))\n\
        for n, s in enumerate(all): os.dup2(s, 3 + n)\n\
        os.environ['LISTEN_PID'], os.environ['LISTEN_FDS'] = str(os.getpid()), str(len(all))\n\
        os.execv(sys.argv[1], ['bittornado', 'bttrack', '--dfile', 'd'])\n";
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        return None; // No helper on this machine.
    }
    let args = ["-c", script, env!("CARGO_BIN_EXE_bittornado"), sockets];
    let mut process = dir.program("python3").args(args).start();
    process.wait_for("listening on ", SOON);
    process.signal(Signal::USR1);
    process.wait_for(" torrents, ", SOON);
    let err = process.err();
    let first = err.lines().next().unwrap().split(' ').nth(3).unwrap();
    let on: SocketAddr = first.parse().unwrap();
    let on = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), on.port());
    assert_eq!(err.matches("listening on ").count(), sockets.split(' ').count(), "{err}");
    Some(Tracker { process, on, temporary: Temporary::new() })
}

#[test]
fn sockets_that_were_handed_over_are_used() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return; // No IPv6 on this machine.
    }
    let dir = Dir::new();
    let Some(mut tracker) = activated(&dir, "4t 4u 6t 6u") else { return };
    assert_eq!(tracker.announce('a', "port=7").peers()[0], "127.0.0.1:7");
    assert_eq!(udp::scrape(&tracker, "127.0.0.1"), [0, 0, 1]);
    tracker.on.set_ip("::1".parse().unwrap());
    assert_eq!(tracker.announce('b', "port=8").bencoded()["peers6"][0], "[::1]:8");
    assert_eq!(udp::scrape(&tracker, "::1"), [0, 0, 2]);
    tracker.stop();
}

#[test]
fn sockets_for_both_families_are_used_too() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return; // No IPv6 on this machine.
    }
    let dir = Dir::new();
    let Some(tracker) = activated(&dir, "bt bu") else { return };
    assert_eq!(tracker.announce('a', "port=7").peers()[0], "127.0.0.1:7");
    assert_eq!(udp::scrape(&tracker, "127.0.0.1"), [0, 0, 1]);
    tracker.stop();
}

#[test]
fn it_saves_and_stops_soon_whatever_two_hundred_connections_do() {
    let dir = Dir::new();
    // A scrape that is longer than what a kernel takes for somebody who does not read.
    let list: String = (0..60_000).map(|n| format!("{n:040x}\n")).collect();
    dir.write("list", format!("{}\n{list}", "41".repeat(20)));
    let tracker = tracker(&dir, &["--allowed_list", "list", "--keepalive", "30"]);
    let requests = [&b""[..], b"GET /announce?info", b"GET /scrape HTTP/1.0\r\n\r\n"];
    let mut open: Vec<_> = (0..200).map(|_| tracker.connect(None)).collect();
    for (n, stream) in open.iter_mut().enumerate() {
        // Few of the long answers: they are not made for nothing.
        let request = if n % 20 == 0 { 2 } else { n % 2 };
        stream.write_all(requests[request]).unwrap();
    }
    tracker.announce('a', "port=7");
    let began = std::time::Instant::now();
    tracker.stop();
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    assert!(dir.read("dstate").windows(20).any(|w| w == [b'a'; 20]), "the peer is saved");
}

#[test]
#[ignore = "needs root"]
fn a_full_disk_costs_no_state_and_is_told() {
    if !rustix::process::getuid().is_root() {
        eprintln!("only root may mount a small file system: skipped");
        return;
    }
    let dir = Dir::new();
    let _small = util::Small::new(dir.join("small"), "64k");
    let args = ["--save_dfile_interval", "1", "--dfile", "small/d"];
    let mut tracker = tracker(&dir, &args);
    tracker.announce('a', "port=7");
    let saved = |name: u8| dir.read("small/d").windows(20).any(|w| w == [name; 20]);
    until(SOON, "the first peer in the file", || saved(b'a').then_some(()));
    // No room for a file of another hundred peers.
    let free = dir.join("small/filling");
    std::fs::write(&free, vec![0; 40 * 1024]).unwrap();
    for n in 0..300 {
        let (hash, id) = ("A".repeat(20), format!("{n:020}"));
        tracker.get(&format!("/announce?info_hash={hash}&peer_id={id}&left=1&compact=1&port=9"));
    }
    tracker.process.wait_for("No space left on device", SOON);
    assert!(saved(b'a'), "the last good file is there");
    tracker.announce('b', "port=8");
    std::fs::remove_file(free).unwrap();
    until(SOON, "the second peer in the file", || saved(b'b').then_some(()));
    let names: Vec<_> =
        std::fs::read_dir(dir.join("small")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing half written is left: {names:?}");
    tracker.stop();
}

#[test]
#[ignore = "needs root"]
fn a_folder_that_cannot_be_written_is_said_at_the_start() {
    if !rustix::process::getuid().is_root() {
        eprintln!("only root can become somebody else: skipped");
        return;
    }
    let dir = Dir::new();
    // Whoever nobody is, it reaches neither this folder nor this program, but for copies of them.
    let folder = Temporary::new();
    let program = folder.0.join("bittornado");
    std::fs::copy(env!("CARGO_BIN_EXE_bittornado"), &program).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&folder.0, mode).unwrap();
    let nobody = dir.program("setpriv").args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    let command = nobody.arg(&program).args(["bttrack", "--port", "0", "--bind", "127.0.0.1"]);
    let done = command.args(["--dfile", "d"]).cwd(&folder.0).run().expect(1);
    let said = format!("cannot create '{}/d': Permission denied\n", folder.0.display());
    assert!(done.err.ends_with(&said) && done.err.lines().count() == 1, "{}", done.err);
}

#[test]
fn only_the_word_of_trusted_proxies_counts() {
    let dir = Dir::new();
    let tracker =
        tracker(&dir, &["--trusted_proxies", "127.0.0.2,127.0.0.8/31", "--nat_check", "0"]);
    let listed = |from: [u8; 4], peer: char, header: &str| {
        let (hash, id) = ("B".repeat(20), peer.to_string().repeat(20));
        let query = format!("info_hash={hash}&peer_id={id}&left=5&compact=1&port=1");
        let text = format!("GET /announce?{query} HTTP/1.0\r\n{header}\r\n\r\n");
        let peers = Answer::read(&tracker.ask(text.as_bytes(), Some(from.into()))).peers();
        peers.as_array().unwrap().iter().map(|p| p.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    listed([127, 0, 0, 2], 'a', "X-Forwarded-For: 6.6.6.6, 7.7.7.7");
    listed([127, 0, 0, 9], 'b', "X-Forwarded-For: 5.5.5.5,127.0.0.2");
    listed([127, 0, 0, 3], 'c', "X-Forwarded-For: 4.4.4.4");
    let all = listed([127, 0, 0, 2], 'd', "Client-IP: 3.3.3.3");
    let mut all: Vec<&str> = all.iter().map(String::as_str).collect();
    all.sort_unstable();
    assert_eq!(all, ["127.0.0.2:1", "127.0.0.3:1", "5.5.5.5:1", "7.7.7.7:1"]);
}
