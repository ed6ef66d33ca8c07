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
    running.stop();
    let quiet = tracker(&dir, &["--stats", "0"]);
    assert!(quiet.get("/metrics").status_line.contains("404"));
    assert!(quiet.get("/health").status_line.contains("200"));
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

#[test]
fn sockets_that_were_handed_over_are_used() {
    let dir = Dir::new();
    // A helper opens the sockets as numbers 3 and 4, and becomes the tracker.
    let script = "import os, socket, sys\n\
        a = socket.socket(); a.bind(('127.0.0.1', 0)); a.listen()\n\
        b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); b.bind(('127.0.0.1', 0))\n\
        x, y = os.dup2(a.fileno(), 13), os.dup2(b.fileno(), 14)\n\
        os.dup2(13, 3); os.dup2(14, 4)\n\
        os.environ['LISTEN_PID'], os.environ['LISTEN_FDS'] = str(os.getpid()), '2'\n\
        os.execv(sys.argv[1], ['bittornado', 'bttrack', '--dfile', 'd'])\n";
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        return; // No helper on this machine.
    }
    let args = ["-c", script, env!("CARGO_BIN_EXE_bittornado")];
    let mut process = dir.program("python3").args(args).start();
    process.wait_for(" for UDP\n", SOON);
    let err = process.err();
    let on = err.lines().next().unwrap().rsplit_once(' ').unwrap().1.parse().unwrap();
    let tracker = Tracker { process, on, temporary: Temporary::new() };
    assert_eq!(tracker.announce('a', "port=7").peers()[0], "127.0.0.1:7");
    tracker.stop();
}

#[test]
fn it_stops_soon_with_many_connections_open() {
    let dir = Dir::new();
    let tracker = tracker(&dir, &[]);
    let idle: Vec<_> = (0..200).map(|_| tracker.connect(None)).collect();
    tracker.announce('a', "port=7");
    let began = std::time::Instant::now();
    tracker.stop();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    drop(idle);
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
