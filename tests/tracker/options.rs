//! Options whose effect no other test shows.

use std::net::TcpListener;
use std::time::Instant;

use super::*;

/// Whether the tracker has closed a connection.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let read = stream.read(&mut [0]);
    !read.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock)
}

#[test]
fn half_a_request_is_closed_when_its_time_is_over_and_somebody_looks() {
    let dirs = [Dir::new(), Dir::new(), Dir::new()];
    let half = |dir: &Dir, timeout: &str, interval: &str| {
        let args = ["--socket_timeout", timeout, "--timeout_check_interval", interval];
        let tracker = tracker(dir, &args);
        let mut stream = tracker.connect(None);
        stream.write_all(b"GET /announce?info").unwrap();
        (tracker, stream)
    };
    let (_long, mut stays) = half(&dirs[0], "3000", "1");
    let (_rare, mut unseen) = half(&dirs[1], "1", "3000");
    let began = Instant::now();
    let (_short, mut goes) = half(&dirs[2], "1", "1");
    until(SOON, "the end of the connection", || is_closed(&mut goes).then_some(()));
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(!is_closed(&mut stays) && !is_closed(&mut unseen));
}

#[test]
fn silent_peers_are_forgotten_and_dead_torrents_kept_by_option() {
    let (dir, other) = (Dir::new(), Dir::new());
    let args = ["--timeout_downloaders_interval", "1"];
    let forgets = tracker(&dir, &args);
    let keeps = tracker(&other, &[&args[..], &["--keep_dead", "1"]].concat());
    let files = |tracker: &Tracker| tracker.get("/scrape").bencoded()["files"].clone();
    for tracker in [&forgets, &keeps] {
        tracker.announce('a', "port=1");
        assert_eq!(files(tracker)["41".repeat(20)]["incomplete"], 1);
    }
    until(SOON, "the end of the torrent", || {
        (files(&forgets) == serde_json::json!({})).then_some(())
    });
    let dead = serde_json::json!({"complete": 0, "downloaded": 0, "incomplete": 0});
    until(SOON, "the end of the peer", || (files(&keeps)["41".repeat(20)] == dead).then_some(()));
}

#[test]
fn another_tracker_has_so_long_to_answer_and_no_longer() {
    let dir = Dir::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/announce", silent.local_addr().unwrap());
    let (text, _) = torrent("shared", &format!("13:announce-listll{}:{url}ee", url.len()));
    dir.write("tor/shared.torrent", text);
    let args = ["--allowed_dir", "tor", "--multitracker_enabled", "1", "--http_timeout", "1"];
    let more = ["--multitracker_reannounce_interval", "1"];
    let tracker = tracker(&dir, &[&args[..], &more].concat());
    silent.set_nonblocking(true).unwrap();
    let mut asked = until(SOON, "the question", || silent.accept().ok()).0;
    asked.set_nonblocking(false).unwrap();
    let began = Instant::now();
    asked.set_read_timeout(Some(SOON)).unwrap();
    let mut request = String::new();
    asked.read_to_string(&mut request).unwrap();
    assert!(request.contains("tracker=1"), "{request}");
    assert!(began.elapsed() > Duration::from_millis(500), "{:?}", began.elapsed());
    tracker.stop();
}

#[test]
fn of_too_many_connections_the_one_idle_longest_goes() {
    let dir = Dir::new();
    let tracker = tracker(&dir, &["--max_connections", "3"]);
    let mut idle: Vec<TcpStream> = (0..3).map(|_| tracker.connect(None)).collect();
    let stats = || serde_json::from_str::<Value>(&tracker.get("/stats.json").text()).unwrap();
    assert_eq!(stats()["connections"], 3, "one has made room");
    until(SOON, "the oldest to be closed", || is_closed(&mut idle[0]).then_some(()));
    assert!(!is_closed(&mut idle[2]));
}

#[test]
fn the_log_is_flushed_as_often_as_set() {
    let (dir, other) = (Dir::new(), Dir::new());
    let with = |dir: &Dir, seconds: &str| {
        tracker(dir, &["--logfile", "log", "--min_time_between_log_flushes", seconds])
    };
    let (at_once, late) = (with(&dir, "0"), with(&other, "3600"));
    late.get("/one");
    at_once.get("/one");
    until(SOON, "the line", || dir.read("log").ends_with(b"\"-\" \"-\"\n").then_some(()));
    assert_eq!(other.read("log"), b"");
    late.stop();
    assert_eq!(other.read("log").iter().filter(|b| **b == b'\n').count(), 3);
}

#[test]
fn historical_options_are_taken() {
    let dir = Dir::new();
    let args =
        ["--hupmonitor", "0", "--min_time_between_cache_refreshes", "60", "--logfile", "log"];
    let tracker = tracker(&dir, &args);
    tracker.process.signal(Signal::HUP);
    until(SOON, "a new beginning", || {
        String::from_utf8(dir.read("log")).unwrap().contains("# Log reopened").then_some(())
    });
    let done = tracker.stop();
    assert!(done.err.contains("min_time_between_cache_refreshes"), "{}", done.err);
}

/// Only in a network of its own a peer can have an address that is not local.
#[test]
#[ignore = "needs clients"]
fn a_strangers_word_on_its_address_counts_where_that_is_said() {
    if !foreign::in_own_network(
        "options::a_strangers_word_on_its_address_counts_where_that_is_said",
    ) {
        return;
    }
    for (whose, checks, believed) in
        [("0", "0", true), ("1", "0", false), ("2", "0", false), ("1", "1", false)]
    {
        let dir = Dir::new();
        let args =
            ["--bind", "192.0.2.1", "--only_local_override_ip", whose, "--nat_check", checks];
        let tracker = tracker(&dir, &args);
        let query = "info_hash=AAAAAAAAAAAAAAAAAAAA&peer_id=aaaaaaaaaaaaaaaaaaaa&left=5&compact=1";
        let request = format!("GET /announce?{query}&port=7&ip=198.51.100.7 HTTP/1.0\r\n\r\n");
        let answer = tracker.ask(request.as_bytes(), Some([192, 0, 2, 5].into()));
        let peers = Answer::read(&answer).peers();
        let wanted = match (believed, checks) {
            (true, _) => serde_json::json!(["198.51.100.7:7"]),
            (false, "0") => serde_json::json!(["192.0.2.5:7"]),
            _ => serde_json::json!([]),
        };
        assert_eq!(peers, wanted, "{whose} {checks}");
    }
    // With checks a stranger's word may be believed: what is false cannot be reached.
    let dir = Dir::new();
    let tracker = tracker(&dir, &["--bind", "192.0.2.1", "--log_nat_checks", "1"]);
    let query = "info_hash=AAAAAAAAAAAAAAAAAAAA&peer_id=aaaaaaaaaaaaaaaaaaaa&left=5&compact=1";
    let request = format!("GET /announce?{query}&port=7&ip=192.0.2.6 HTTP/1.0\r\n\r\n");
    tracker.ask(request.as_bytes(), Some([192, 0, 2, 5].into()));
    until(SOON, "a connection there", || {
        tracker.process.out().contains("\"!natcheck-192.0.2.6:7\" 503").then_some(())
    });
}
