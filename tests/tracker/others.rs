//! Trackers that trade peers, and aggregators.

use super::*;

/// A folder of one torrent whose announce-list has these trackers. Gives its hash in a query.
fn folder(dir: &Dir, trackers: &[&str]) -> String {
    std::fs::create_dir(dir.join("tor")).unwrap();
    let urls = trackers.iter().map(|url| format!("l{}:{url}e", url.len())).collect::<String>();
    let (text, hash) = torrent("shared", &format!("13:announce-listl{urls}e"));
    dir.write("tor/shared.torrent", text);
    hash
}

#[test]
fn two_trackers_trade_peers() {
    let (dir, other_dir) = (Dir::new(), Dir::new());
    let hash = folder(&other_dir, &["http://nowhere.invalid/announce"]);
    let other = tracker(&other_dir, &["--allowed_dir", "tor"]);
    other.announce_of(&hash, 'a', "port=7");
    other.announce_of(&hash, 'b', "port=8");

    let url = format!("http://{}/announce", other.on);
    folder(&dir, &[&url]);
    let args = ["--allowed_dir", "tor", "--multitracker_enabled", "1"];
    let more = ["--multitracker_reannounce_interval", "1", "--multitracker_maxpeers", "5"];
    let ours = tracker(&dir, &[&args[..], &more].concat());
    until(SOON, "the other tracker's peers", || {
        let peers = ours.announce_of(&hash, 'c', "port=9").peers();
        let all = serde_json::json!(["127.0.0.1:7", "127.0.0.1:8", "127.0.0.1:9"]);
        (peers == all).then_some(())
    });
    let counts = ours.announce_of(&hash, 'c', "port=9").bencoded();
    assert_eq!(counts["incomplete"], 1, "they are listed, and not counted as ours");
    let counts = other.announce_of(&hash, 'd', "port=0").bencoded();
    assert_eq!(counts["incomplete"], 3, "a, b and d: the other tracker was not noted");
    let asked = other.stop().out;
    let line = asked.lines().find(|line| line.contains("tracker=1")).unwrap();
    for part in ["event=stopped", "port=0", "left=1", "numwant=5", "compact=1"] {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn a_tracker_that_is_in_its_own_list_asks_itself_once() {
    let dir = Dir::new();
    let port = util::free_port();
    let hash = folder(&dir, &[&format!("http://127.0.0.1:{port}/announce")]);
    let args = ["--allowed_dir", "tor", "--multitracker_enabled", "1", "--port"];
    let number = port.to_string();
    let more = [number.as_str(), "--multitracker_reannounce_interval", "1", "--logfile", "log"];
    let flush = ["--min_time_between_log_flushes", "0"];
    let ours = tracker(&dir, &[&args[..], &more, &flush].concat());
    let log = || std::fs::read_to_string(dir.join("log")).unwrap_or_default();
    until(SOON, "the question to itself", || log().contains("tracker=1").then_some(()));
    for _ in 0..30 {
        ours.announce_of(&hash, 'a', "port=1");
        std::thread::sleep(Duration::from_millis(50));
    }
    ours.stop();
    assert_eq!(log().matches("tracker=1").count(), 1, "it said 'disallowed' to itself");
}

#[test]
fn trackers_that_are_not_allowed_are_refused() {
    let dir = Dir::new();
    let hash = folder(&dir, &["http://nowhere.invalid/announce"]);
    let query = "port=0&tracker=1&event=stopped";
    for (allowed, status) in [("none", "Not Authorized"), ("autodetect", "OK"), ("all", "OK")] {
        let args = ["--allowed_dir", "tor", "--multitracker_allowed", allowed];
        let tracker = tracker(&dir, &args);
        let answer = tracker.announce_of(&hash, 'a', query);
        assert!(answer.status_line.ends_with(status), "{allowed}: {answer:?}");
        if status == "OK" {
            assert_eq!(answer.bencoded()["interval"], 120);
        }
    }
}

#[test]
fn announces_are_forwarded_to_the_aggregator() {
    let (dir, other_dir) = (Dir::new(), Dir::new());
    let aggregator = tracker(&other_dir, &["--aggregator", "se same"]);
    let forward = format!("http://{}/announce,se same", aggregator.on);
    let ours = tracker(&dir, &["--aggregate_forward", &forward]);
    ours.announce('a', "port=7&key=%41%20%ff");
    ours.announce('b', "port=8&tracker=1");
    until(SOON, "the forwarded announce", || {
        let files = aggregator.get("/scrape").bencoded()["files"].clone();
        (files["41".repeat(20)]["incomplete"] == 1).then_some(())
    });
    let out = aggregator.stop().out;
    let lines: Vec<&str> = out.lines().filter(|line| line.contains("/announce")).collect();
    assert_eq!(lines.len(), 1, "{out}");
    assert!(lines[0].contains("&key=%41%20%ff&password=se%20same HTTP/1.1"), "{out}");
}
