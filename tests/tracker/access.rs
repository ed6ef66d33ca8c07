//! Torrents and addresses that are allowed, or not.

use super::*;

#[test]
fn a_new_torrent_is_tracked_at_a_hangup_or_after_a_while() {
    let dir = Dir::new();
    std::fs::create_dir(dir.join("tor")).unwrap();
    for (name, args) in
        [("a", &["--parse_dir_interval", "3000"][..]), ("b", &["--parse_dir_interval", "1"])]
    {
        let tracker = tracker(&dir, &[&["--allowed_dir", "tor"], args].concat());
        let (text, hash) = torrent(name, "");
        assert_eq!(
            tracker.announce_of(&hash, 'a', "port=7").status_line,
            "HTTP/1.0 200 Not Authorized"
        );
        dir.write(format!("tor/{name}.torrent"), text);
        if name == "a" {
            tracker.process.signal(Signal::HUP);
        }
        until(SOON, "the new torrent", || {
            let answer = tracker.announce_of(&hash, 'a', "port=7");
            answer.status_line.ends_with("200 OK").then_some(())
        });
        assert!(tracker.get("/").text().contains(&format!(">{name}</bdi>")));
        tracker.stop();
    }
    let tracker = tracker(&dir, &["--allowed_dir", "tor", "--show_names", "0"]);
    assert!(!tracker.get("/").text().contains(">a</bdi>"));
}

#[test]
fn who_is_banned_while_it_runs_is_not_served_any_more() {
    let dir = Dir::new();
    dir.write("banned", "some one:127.0.0.9-127.0.0.11\nodd\n");
    let tracker = tracker(&dir, &["--banned_ips", "banned"]);
    let status = |from: [u8; 4]| {
        let answer = tracker.ask(b"GET /scrape HTTP/1.0\r\n\r\n", Some(from.into()));
        Answer::read(&answer).status_line
    };
    assert_eq!(status([127, 0, 0, 10]), "HTTP/1.0 400 Not Authorized");
    assert_eq!(status([127, 0, 0, 12]), "HTTP/1.0 200 OK");
    dir.write("banned", "127.0.0.12\n");
    tracker.process.signal(Signal::HUP);
    until(SOON, "the new list", || (status([127, 0, 0, 10]).ends_with("200 OK")).then_some(()));
    assert_eq!(status([127, 0, 0, 12]), "HTTP/1.0 400 Not Authorized");
    let done = tracker.stop();
    assert!(done.err.contains("could not parse IP range: odd"), "{}", done.err);
}

#[test]
fn peers_that_are_not_served_any_more_are_not_taken_over() {
    let dir = Dir::new();
    let first = tracker(&dir, &[]);
    first.announce('a', "port=7");
    first.stop();
    dir.write("allowed", "127.0.0.2/31\n10.0.0.0/8 # others\n");
    let args = ["--allowed_ips", "allowed"];
    let second = tracker(&dir, &args);
    let request = b"GET /scrape HTTP/1.0\r\n\r\n";
    let scrape = Answer::read(&second.ask(request, Some([127, 0, 0, 3].into())));
    assert_eq!(scrape.text(), "d5:filesdee");
}
