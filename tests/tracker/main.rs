//! `bttrack` as a program: what the original answered, and what it should have.

#![allow(clippy::unwrap_used, reason = "this is all tests")]

mod access;
mod checks;
mod foreign;
mod hostile;
mod options;
mod others;
mod recorded;
mod service;
mod soak;
mod udp;
#[path = "../util/mod.rs"]
mod util;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bittornado::proto::bencode::{self, Item};
use rustix::process::Signal;
use serde_json::Value;
use util::{Background, Dir, until};

const SOON: Duration = Duration::from_secs(90);

/// A running tracker, on loopback only.
struct Tracker {
    process: Background,
    on: SocketAddr,
    temporary: Temporary,
}

/// A folder with a short name, as a Unix socket needs it.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Temporary {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let n = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = PathBuf::from(format!("/tmp/bttrack-{}-{n}", std::process::id()));
            match std::fs::create_dir(&path) {
                // Of a test that was killed, and had the number of this process.
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => return made.map(|()| Temporary(path)).unwrap(),
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn tracker(dir: &Dir, args: &[&str]) -> Tracker {
    let bind = ["--port", "0", "--bind", "127.0.0.1", "--dfile", "dstate"];
    let temporary = Temporary::new();
    let command = dir.cmd("bttrack").args(bind).args(args).env("TMPDIR", &temporary.0);
    let mut process = command.start();
    process.wait_for("listening on ", SOON);
    let on = until(SOON, "the whole line", || {
        let err = process.err();
        let (_, rest) = err.split_once("listening on ")?;
        rest.split_once('\n')?.0.parse().ok()
    });
    Tracker { process, on, temporary }
}

impl Tracker {
    fn connect(&self, from: Option<Ipv4Addr>) -> TcpStream {
        let from = from.map(IpAddr::V4);
        let stream = TcpStream::from(bittornado::io::sys::connect(self.on, from).unwrap());
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }

    /// Sends a request, and reads until the tracker closes.
    fn ask(&self, request: &[u8], from: Option<Ipv4Addr>) -> Vec<u8> {
        let mut stream = self.connect(from);
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    }

    fn get(&self, target: &str) -> Answer {
        Answer::read(&self.ask(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes(), None))
    }

    fn announce(&self, peer: char, more: &str) -> Answer {
        let (hash, id) = ("A".repeat(20), peer.to_string().repeat(20));
        let query = format!("info_hash={hash}&peer_id={id}&left=5&compact=1&{more}");
        self.get(&format!("/announce?{query}"))
    }

    fn stop(self) -> util::Done {
        let done = self.process.stop(SOON).expect(0);
        assert_eq!(self.temporary.names(), [""; 0], "no private folder is left");
        done
    }
}

/// An answer, taken apart.
#[derive(Debug)]
struct Answer {
    status_line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn read(bytes: &[u8]) -> Answer {
        let line = bytes.windows(2).position(|w| w == b"\r\n").expect("an answer");
        let status_line = String::from_utf8(bytes[..line].to_vec()).unwrap();
        // An answer to a request line of two words has no headers and no empty line.
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        let head = end.map_or("", |end| std::str::from_utf8(&bytes[line..end]).unwrap());
        let headers = head.split("\r\n").filter(|l| !l.is_empty());
        Answer {
            status_line,
            headers: headers
                .map(|l| l.split_once(": ").unwrap())
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            body: bytes[end.map_or(line + 2, |end| end + 4)..].to_vec(),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The body in the form in which the recordings have it.
    fn bencoded(&self) -> Value {
        let body = match self.header("Content-Encoding") {
            Some(_) => unzipped(&self.body),
            None => self.body.clone(),
        };
        let value = bencode::decode(&body).unwrap_or_else(|e| panic!("{e}: {}", self.text()));
        shown(&value.to_item(), "")
    }

    fn peers(&self) -> Value {
        self.bencoded()["peers"].clone()
    }
}

#[cfg(feature = "gzip")]
fn unzipped(body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(body).read_to_end(&mut plain).unwrap();
    plain
}

#[cfg(not(feature = "gzip"))]
fn unzipped(_: &[u8]) -> Vec<u8> {
    panic!("nothing is compressed without the feature");
}

/// Peers as a sorted list, flags as their number, info hashes in hex, all else as it is.
fn shown(item: &Item, key: &str) -> Value {
    match item {
        Item::Int(n) => (*n).into(),
        Item::Bytes(b) if key == "peers" => compact(b, 4),
        Item::Bytes(b) if key == "peers6" => compact(b, 16),
        Item::Bytes(b) if key == "crypto_flags" => {
            let ones = b.iter().filter(|f| **f == 1).count();
            serde_json::json!({"length": b.len(), "ones": ones})
        }
        Item::Bytes(b) if key == "pieces" => {
            let hex: String = b.iter().map(|b| format!("{b:02x}")).collect();
            serde_json::json!({ "hex": hex })
        }
        Item::Bytes(b) => String::from_utf8_lossy(b).into(),
        Item::List(list) => {
            let mut list: Vec<Value> = list.iter().map(|i| shown(i, "")).collect();
            list.sort_by_key(Value::to_string);
            list.into()
        }
        Item::Dict(dict) => {
            let name = |k: &Vec<u8>| match std::str::from_utf8(k) {
                Ok(text) if key != "files" => text.to_owned(),
                _ => k.iter().map(|b| format!("{b:02x}")).collect(),
            };
            let entry = |(k, v): (&Vec<u8>, &Item)| (name(k), shown(v, &name(k)));
            Value::Object(dict.iter().map(entry).collect())
        }
        Item::Raw(_) => unreachable!("decoded values hold none"),
    }
}

fn compact(bytes: &[u8], size: usize) -> Value {
    let mut peers: Vec<String> = bytes
        .chunks(size + 2)
        .map(|peer| {
            let port = u16::from_be_bytes(peer[size..].try_into().unwrap());
            let ip: IpAddr = match size {
                4 => <[u8; 4]>::try_from(&peer[..4]).unwrap().into(),
                _ => <[u8; 16]>::try_from(&peer[..16]).unwrap().into(),
            };
            SocketAddr::new(ip, port).to_string()
        })
        .collect();
    peers.sort();
    peers.into()
}

#[test]
fn ipv6_peers_have_a_list_of_their_own() {
    let dir = Dir::new();
    let tracker = tracker(&dir, &[]);
    assert_eq!(
        tracker.announce('a', "port=1&ip=2001:db8::7").bencoded()["peers6"][0],
        "[2001:db8::7]:1"
    );
    let answer = tracker.announce('b', "port=2").bencoded();
    assert_eq!(answer["peers"], serde_json::json!(["127.0.0.1:2"]));
    assert_eq!(answer["peers6"], serde_json::json!(["[2001:db8::7]:1"]));
}

#[test]
fn listens_on_both_families_at_one_port() {
    let dir = Dir::new();
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return; // No IPv6 on this machine.
    }
    let mut tracker = tracker(&dir, &["--bind", "127.0.0.1, ::1"]);
    tracker.announce('a', "port=1");
    tracker.on = SocketAddr::new("::1".parse().unwrap(), tracker.on.port());
    let answer = tracker.announce('b', "port=2").bencoded();
    assert_eq!(answer["peers"], serde_json::json!(["127.0.0.1:1"]));
    assert_eq!(answer["peers6"], serde_json::json!(["[::1]:2"]));
    let done = tracker.stop();
    assert_eq!(done.err.matches("listening on ").count(), 2, "{}", done.err);
}

/// Addresses at which a tracker said to listen, and its end.
fn listens_with(args: &[&str]) -> (Vec<SocketAddr>, Tracker) {
    let dir = Dir::new();
    let mut process = dir.cmd("bttrack").args(["--port", "0", "--dfile", "d"]).args(args).start();
    process.wait_for("listening on ", SOON);
    // The first line that follows those about listening.
    process.signal(Signal::USR1);
    process.wait_for(" torrents, ", SOON);
    let err = process.err();
    let said = err.lines().filter_map(|line| line.split_once("listening on "));
    let all: Vec<SocketAddr> =
        said.filter_map(|(_, on)| on.strip_suffix(" for UDP").unwrap_or(on).parse().ok()).collect();
    let tracker = Tracker { process, on: all[0], temporary: Temporary::new() };
    (all, tracker)
}

#[test]
fn ipv6_is_listened_on_alone_or_beside_ipv4() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return; // No IPv6 on this machine.
    }
    let ips = |args: &[&str]| {
        let (all, _tracker) = listens_with(args);
        let of_one_port = all.iter().all(|on| on.port() == all[0].port());
        assert!(of_one_port, "{all:?}");
        all.iter().map(|on| on.ip().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(ips(&[]), ["0.0.0.0"]);
    assert_eq!(ips(&["--ipv6_binds_v4", "0"]), ["0.0.0.0"], "nothing without --ipv6_enabled");
    assert_eq!(ips(&["--ipv6_enabled", "1"]), ["0.0.0.0", "::"]);
    let both = ["--ipv6_enabled", "1", "--udp", "1"];
    assert_eq!(ips(&both), ["0.0.0.0", "0.0.0.0", "::", "::"]);
    let (all, mut alone) = listens_with(&[&both[..], &["--ipv6_binds_v4", "0"]].concat());
    assert_eq!(all.iter().map(|on| on.ip().to_string()).collect::<Vec<_>>(), ["::", "::"]);
    alone.on = SocketAddr::new("::1".parse().unwrap(), all[0].port());
    assert_eq!(alone.announce('a', "port=2").bencoded()["peers6"][0], "[::1]:2");
    let four = TcpStream::connect((Ipv4Addr::LOCALHOST, all[0].port()));
    assert_eq!(four.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn requests_are_logged_by_the_clock_on_the_wall() {
    let dir = Dir::new();
    let args = ["--port", "0", "--bind", "127.0.0.1", "--dfile", "d", "--logfile", "log"];
    let hour = |zone: &str| {
        let _ = std::fs::remove_file(dir.join("log"));
        let mut process = dir.cmd("bttrack").args(args).env("TZ", zone).start();
        let on = (Ipv4Addr::LOCALHOST, process.wait_for_listening(SOON)).into();
        let tracker = Tracker { process, on, temporary: Temporary::new() };
        tracker.get("/x");
        tracker.stop();
        let log = String::from_utf8(dir.read("log")).unwrap();
        let request = log.lines().nth(1).unwrap();
        // "127.0.0.1 - - [DD/Mon/YYYY:HH:MM:SS]", and "# Log Started:  YYYY-MM-DD HH:MM UTC".
        let local: i32 = request.split(':').nth(1).unwrap().parse().unwrap();
        let utc: i32 = log.split(' ').nth(5).unwrap().split_once(':').unwrap().0.parse().unwrap();
        (local - utc).rem_euclid(24)
    };
    // Should an hour begin just then, it is a whole one that is not counted.
    assert!([9, 10].contains(&hour("<+09>-9")));
    assert!([17, 18].contains(&hour("AAA7")));
    assert!([0, 1].contains(&hour("")));
}

#[test]
fn what_it_knows_survives_a_restart() {
    let dir = Dir::new();
    for (round, signal) in [Signal::TERM, Signal::INT].into_iter().enumerate() {
        let tracker = tracker(&dir, &[]);
        let peers = tracker.announce(if round == 0 { 'a' } else { 'b' }, "port=7&key=k").peers();
        assert_eq!(peers.as_array().unwrap().len(), round + 1);
        tracker.process.signal(signal);
        tracker.process.wait(SOON).expect(0);
    }
    let text = dir.read("dstate");
    let state = bencode::decode(&text).unwrap();
    assert_eq!(state.get("peers").unwrap().as_dict().unwrap()[0].1.as_dict().unwrap().len(), 2);
    assert_eq!(dir.names(), ["dstate", "dstate.old"], "and nothing else is left");
}

#[test]
fn a_change_is_saved_without_a_stop() {
    let dir = Dir::new();
    let mut tracker = tracker(&dir, &["--save_dfile_interval", "1"]);
    assert_eq!(dir.read("dstate"), b"d9:completedde5:peersdee");
    tracker.announce('a', "port=7");
    until(SOON, "the peer in the file", || {
        dir.read("dstate").windows(20).any(|w| w == [b'a'; 20]).then_some(())
    });
    assert!(tracker.process.runs());
}

#[test]
fn a_damaged_state_file_is_kept_and_told_of() {
    let dir = Dir::new();
    dir.write("dstate", "d9:completed");
    let first = tracker(&dir, &[]);
    assert_eq!(first.announce('a', "port=7").peers(), serde_json::json!(["127.0.0.1:7"]));
    let done = first.stop();
    assert!(done.err.contains("dstate.damaged"), "{}", done.err);
    assert_eq!(dir.read("dstate.damaged"), b"d9:completed");
    // Now there is one before it to go back to: that of the next start, with the peer.
    tracker(&dir, &[]).stop();
    dir.write("dstate", &dir.read("dstate")[..50]);
    let again = tracker(&dir, &[]);
    assert_eq!(again.announce('b', "port=8").peers().as_array().unwrap().len(), 2);
    let done = again.stop();
    let said = "kept as '".to_owned() + dir.join("dstate.damaged.1").to_str().unwrap();
    assert!(done.err.contains(&said) && done.err.contains("going back to '"), "{}", done.err);
}

#[test]
fn what_cannot_work_is_said_at_the_start() {
    let dir = Dir::new();
    let running = tracker(&dir, &[]);
    let port = running.on.port().to_string();
    let taken =
        dir.cmd("bttrack").args(["--dfile", "other", "--bind", "127.0.0.1", "--port", &port]);
    let done = taken.run().expect(1);
    assert_eq!(
        done.err,
        format!("bttrack: cannot listen on 127.0.0.1:{port}: Address already in use\n")
    );
    assert_eq!(dir.names(), ["dstate"], "the state of the other is not touched");

    dir.write("file", "");
    for (args, said) in [
        (["--dfile", "file/d", "--port", "0"], "bttrack: cannot "),
        (["--dfile", "no/d", "--port", "0"], "bttrack: cannot "),
        (["--dfile", ".", "--port", "0"], "bttrack: cannot read "),
    ] {
        let done = dir.cmd("bttrack").args(args).args(["--bind", "127.0.0.1"]).run().expect(1);
        assert!(done.err.starts_with(said) && done.err.lines().count() == 1, "{}", done.err);
    }
    let done = dir.cmd("bttrack").args(["--port", "0"]).run().expect(2);
    assert!(done.err.contains("--dfile"), "{}", done.err);
    let log = ["--dfile", "d", "--port", "0", "--bind", "127.0.0.1", "--logfile", "no/log"];
    let done = dir.cmd("bttrack").args(log).run().expect(1);
    assert!(done.err.contains("cannot open the log"), "{}", done.err);
}

#[test]
fn the_log_goes_to_its_file_and_is_reopened_at_a_hangup() {
    let dir = Dir::new();
    let tracker = tracker(&dir, &["--logfile", "log", "--min_time_between_log_flushes", "0"]);
    let wait = |name: &str, needle: &str| {
        until(SOON, needle, || {
            let text = std::fs::read_to_string(dir.join(name)).unwrap_or_default();
            text.contains(needle).then_some(text)
        })
    };
    tracker.get("/one");
    assert!(wait("log", "GET /one").starts_with("# Log Started:  2"));
    std::fs::rename(dir.join("log"), dir.join("log.old")).unwrap();
    tracker.process.signal(Signal::HUP);
    wait("log", "# Log reopened:  2");
    tracker.ask(b"GET /two HTTP/1.0\r\nUser-Agent: a\"b\xff\r\n\r\n", None);
    assert!(wait("log", "GET /two").ends_with("\"-\" \"a\\\"b\\xff\"\n"), "{}", wait("log", "two"));
    assert_eq!(tracker.stop().out, "");
    assert!(wait("log", "Shutting down").lines().count() == 3);
    assert!(!String::from_utf8(dir.read("log.old")).unwrap().contains("two"));
}

#[test]
fn the_info_page_shows_what_is_tracked() {
    let dir = Dir::new();
    dir.write("icon", "icon");
    let tracker = tracker(&dir, &["--favicon", "icon"]);
    assert!(tracker.get("/").text().contains("not tracking any files yet..."));
    tracker.announce('a', "port=7");
    let page = tracker.get("/").text();
    assert!(page.contains(&"41".repeat(20)) && page.contains(">1 file</td>"), "{page}");
    assert!(page.contains("/favicon.ico") && page.contains("0.5.0"), "{page}");
    let icon = tracker.get("/favicon.ico");
    assert_eq!((icon.header("Content-Type"), icon.text().as_str()), (Some("image/x-icon"), "icon"));
    let head = Answer::read(&tracker.ask(b"HEAD / HTTP/1.0\r\n\r\n", None));
    assert_eq!(head.header("Content-Length"), Some(page.len().to_string().as_str()));
    assert_eq!(head.body, b"");
    tracker.stop();
}

#[test]
fn the_info_page_can_be_elsewhere() {
    let dir = Dir::new();
    let tracker = tracker(&dir, &["--infopage_redirect", "http://x/?a&\"b"]);
    let answer = tracker.get("/");
    assert_eq!(answer.status_line, "HTTP/1.0 302 Found");
    let headers: Vec<(&str, &str)> =
        answer.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(headers[..2], [("Content-Type", "text/html"), ("Location", "http://x/?a&\"b")]);
    assert_eq!(answer.text(), "<A HREF=\"http://x/?a&amp;&quot;b\">Click Here</A>");
}

#[test]
fn when_pages_cannot_be_made_announces_go_on_and_pages_come_back() {
    let dir = Dir::new();
    let tracker = tracker(&dir, &[]);
    assert_eq!(tracker.get("/").status_line, "HTTP/1.0 200 OK");
    let private = tracker.temporary.0.join(&tracker.temporary.names()[0]);
    std::fs::remove_dir_all(&private).unwrap();
    std::fs::write(&private, "in the way").unwrap();
    assert_eq!(tracker.get("/").status_line, "HTTP/1.0 503 Service Unavailable");
    assert_eq!(tracker.announce('a', "port=7").peers(), serde_json::json!(["127.0.0.1:7"]));
    assert_eq!(tracker.get("/").status_line, "HTTP/1.0 200 OK", "started anew under another name");
}

#[test]
fn a_crowd_of_idle_connections_keeps_nobody_out() {
    let dir = Dir::new();
    bittornado::io::sys::raise_descriptor_limit();
    let tracker = tracker(&dir, &[]);
    // More than the tracker's thousand, or what this machine lets one process open.
    let idle: Vec<_> =
        (0..1200).map_while(|_| bittornado::io::sys::connect(tracker.on, None).ok()).collect();
    assert!(idle.len() > 200, "only {} connections", idle.len());
    for n in 0..20 {
        assert_eq!(
            tracker.announce('a', &format!("port={}", 7 + n)).peers()[0],
            format!("127.0.0.1:{}", 7 + n)
        );
    }
    drop(idle);
    tracker.stop();
}

#[test]
fn with_few_descriptors_it_serves_one_after_the_other() {
    let dir = Dir::new();
    let script = "ulimit -n 72; exec \"$0\" bttrack --port 0 --bind 127.0.0.1 --dfile d";
    let mut process =
        dir.program("sh").args(["-c", script, env!("CARGO_BIN_EXE_bittornado")]).start();
    process.wait_for("listening on ", SOON);
    let err = process.err();
    let on = err.split_once("listening on ").unwrap().1.trim().parse().unwrap();
    let tracker = Tracker { process, on, temporary: Temporary::new() };
    let idle: Vec<_> = (0..100).map(|_| tracker.connect(None)).collect();
    assert_eq!(tracker.announce('a', "port=7").peers()[0], "127.0.0.1:7");
    assert_eq!(tracker.get("/").status_line, "HTTP/1.0 200 OK");
    drop(idle);
    tracker.stop();
}

#[test]
fn with_no_descriptor_left_it_turns_away_and_lives() {
    let dir = Dir::new();
    let script = "ulimit -n $0; exec \"$1\" bttrack --port 0 --bind 127.0.0.1 --dfile d";
    // The fewest with which it starts leave none for a connection.
    let mut process = (8..40)
        .find_map(|n| {
            let args = ["-c", script, &n.to_string(), env!("CARGO_BIN_EXE_bittornado")];
            let mut process = dir.program("sh").args(args).start();
            until(SOON, "a start or an end", || {
                let listens = process.err().contains("listening on ");
                (listens || !process.runs()).then_some(listens)
            })
            .then_some(process)
        })
        .expect("40 are enough");
    process.wait_for("\n", SOON);
    let on = process.err().split_once("listening on ").unwrap().1.trim().parse().unwrap();
    let mut tracker = Tracker { process, on, temporary: Temporary::new() };
    let began = std::time::Instant::now();
    for _ in 0..20 {
        let mut stream = tracker.connect(None);
        // Closed before, while or after it is sent, or answered: but not left waiting.
        let _ = stream.write_all(b"GET /scrape HTTP/1.0\r\n\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert!(tracker.process.runs());
    tracker.stop();
}

#[cfg(feature = "gzip")]
#[test]
fn announces_are_compressed_for_those_who_ask_where_that_is_worth_it() {
    let dir = Dir::new();
    let tracker = tracker(&dir, &["--compact_reqd", "0"]);
    let announce = |peer: u8, more: &str| {
        let (hash, id) = ("A".repeat(20), char::from(peer).to_string().repeat(20));
        let query = format!("info_hash={hash}&peer_id={id}&left=5&port=7{more}");
        let request = format!("GET /announce?{query} HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n");
        Answer::read(&tracker.ask(request.as_bytes(), None))
    };
    let mut plain = 0;
    for peer in b'a'..=b'x' {
        // The first has nobody to tell of but itself; dictionaries of many have much in common.
        let answer = announce(peer, "");
        let peers = answer.bencoded()["peers"].as_array().unwrap().len();
        assert_eq!(peers, usize::from(peer - b'a') + 1);
        match answer.header("Content-Encoding") {
            Some(_) => assert!(peers > 3, "{answer:?}"),
            None => {
                assert!(answer.body.len() < 256, "{answer:?}");
                plain = plain.max(answer.body.len());
            }
        }
    }
    assert!(plain > 150, "{plain}: compressed it would be shorter all the same");
    assert_eq!(announce(b'a', "&compact=1").header("Content-Encoding"), None, "too short");
}

#[test]
fn a_connection_may_stay_where_that_is_allowed() {
    let dir = Dir::new();
    let tracker = tracker(&dir, &["--keepalive", "20"]);
    let mut stream = tracker.connect(None);
    for close in ["", "", "Connection: close\r\n"] {
        stream.write_all(format!("GET /x HTTP/1.1\r\n{close}\r\n").as_bytes()).unwrap();
    }
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all.matches("HTTP/1.1 404 Not Found\r\n").count(), 3, "{all}");
}

/// The bytes of a .torrent, and the info hash as it stands in a query.
fn torrent(name: &str, more: &str) -> (String, String) {
    let length = name.len();
    let pieces = "6:pieces20:aaaaaaaaaaaaaaaaaaaa";
    let info = format!("d6:lengthi5e4:name{length}:{name}12:piece lengthi16384e{pieces}e");
    let hash = bittornado::proto::hash::sha1(info.as_bytes());
    let hash = hash.iter().map(|b| format!("%{b:02x}")).collect();
    (format!("d8:announce9:http://a/{more}4:info{info}e"), hash)
}

impl Tracker {
    fn announce_of(&self, hash: &str, peer: char, more: &str) -> Answer {
        let id = peer.to_string().repeat(20);
        let query = format!("info_hash={hash}&peer_id={id}&left=5&compact=1&{more}");
        self.get(&format!("/announce?{query}"))
    }
}
