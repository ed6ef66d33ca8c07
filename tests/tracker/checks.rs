//! Connections back to peers, limits, and what is told only by option.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::*;

/// A peer that takes one connection and answers with this name.
fn peer(name: [u8; 20]) -> (u16, std::thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut heard = vec![0; 48];
        stream.read_exact(&mut heard).unwrap();
        stream.write_all(&heard).unwrap();
        stream.write_all(&name).unwrap();
        // Until the tracker closes.
        stream.read_to_end(&mut heard).unwrap();
        heard
    });
    (port, thread)
}

#[test]
fn a_peer_is_listed_once_it_was_reached_under_its_name() {
    let dir = Dir::new();
    let args = ["--nat_check", "2", "--nat_check_local", "1", "--log_nat_checks", "1"];
    let tracker = tracker(&dir, &[&args[..], &["--logfile", "log"]].concat());
    let (good, heard) = peer([b'a'; 20]);
    let (other, _) = peer([b'x'; 20]);
    let closed = util::free_port();
    for (name, port) in [('a', good), ('b', other), ('c', closed)] {
        let answer = tracker.announce(name, &format!("port={port}")).bencoded();
        let listed = answer["peers"].as_array().unwrap();
        assert!(!listed.iter().any(|p| p == &format!("127.0.0.1:{port}")), "{answer}");
    }
    let asked = || tracker.announce('d', "port=0").bencoded();
    let reached = serde_json::json!([format!("127.0.0.1:{good}")]);
    until(SOON, "the good peer", || (asked()["peers"] == reached).then_some(()));
    assert_eq!(asked()["incomplete"], 4);
    let heard = heard.join().unwrap();
    assert_eq!((&heard[..20], &heard[28..]), (&b"\x13BitTorrent protocol"[..], &[b'A'; 20][..]));
    // The second and last attempt, and none after it.
    let log = || std::fs::read_to_string(dir.join("log")).unwrap_or_default();
    let failed = format!("\"!natcheck-127.0.0.1:{closed}\" 503 0 - -\n");
    for times in [1, 2, 2] {
        until(SOON, "the attempt in the log", || {
            (log().matches(&failed).count() >= times).then_some(())
        });
        tracker.announce('c', &format!("port={closed}"));
    }
    tracker.stop();
    let log = log();
    assert_eq!(log.matches(&failed).count(), 2, "{log}");
    let names = ['a', 'b'].map(|c| format!("127.0.0.1 - {} [", c.to_string().repeat(20)));
    let line =
        |name: &str| log.lines().find(|l| l.starts_with(name)).unwrap_or_else(|| panic!("{log}"));
    assert!(line(&names[0]).ends_with(&format!("\"!natcheck-127.0.0.1:{good}\" 200 0 - -")));
    assert!(line(&names[1]).contains(" 503 0 - -"));
}

#[test]
fn a_client_may_have_another_name_for_each_connection() {
    let dir = Dir::new();
    let tracker = tracker(&dir, &["--nat_check_local", "1"]);
    let (good, _) = peer(*b"-LT2080-EAbrNSvVf4Ad");
    let announce = |port| {
        let query = format!("info_hash={0:A>20}&peer_id=-LT2080-Jmht.bu7y.oC&left=0&compact=1", "");
        tracker.get(&format!("/announce?{query}&port={port}"))
    };
    announce(good);
    let reached = serde_json::json!([format!("127.0.0.1:{good}")]);
    until(SOON, "the peer", || (tracker.announce('d', "port=0").peers() == reached).then_some(()));
}

#[test]
fn peers_of_the_local_network_are_listed_at_once() {
    let dir = Dir::new();
    let tracker = tracker(&dir, &["--nat_check", "3"]);
    assert_eq!(tracker.announce('a', "port=1").peers(), serde_json::json!(["127.0.0.1:1"]));
}

#[test]
fn who_announces_too_often_is_told_when_to_come_back() {
    let dir = Dir::new();
    let tracker = tracker(&dir, &["--announce_rate", "3"]);
    for _ in 0..3 {
        assert_eq!(tracker.announce('a', "port=1").status_line, "HTTP/1.0 200 OK");
    }
    let answer = tracker.announce('a', "port=1").bencoded();
    assert_eq!(answer["retry in"], 1);
    assert!(answer["failure reason"].as_str().unwrap().contains("too many"));
    assert!(tracker.get("/scrape").bencoded()["files"].is_object(), "only announces are counted");
}

#[test]
fn what_clients_are_told_by_option() {
    let dir = Dir::new();
    let args = ["--min_interval", "77", "--external_ip", "1", "--interval_jitter", "5"];
    let tracker = tracker(&dir, &[&args[..], &["--reannounce_interval", "100"]].concat());
    let answer = tracker.announce('a', "port=1").bencoded();
    assert_eq!(answer["min interval"], 77);
    assert_eq!(answer["external ip"], "\u{7f}\0\0\u{1}");
    assert!((100..=105).contains(&answer["interval"].as_u64().unwrap()), "{answer}");
}

#[test]
fn torrents_and_peers_stay_within_their_limits() {
    let dir = Dir::new();
    let tracker = tracker(&dir, &["--max_torrents", "2", "--max_peers", "3"]);
    for n in 0..9 {
        let hash = n.to_string().repeat(20);
        tracker.announce_of(&hash, 'a', "port=1");
        tracker.announce('b', "port=2");
    }
    let files = tracker.get("/scrape").bencoded()["files"].clone();
    assert_eq!(files.as_object().unwrap().len(), 2, "{files}");
    let done = tracker.stop();
    assert!(done.err.contains("had to go for others"), "{}", done.err);
}
