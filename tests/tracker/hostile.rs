//! What a tracker on the open Internet meets: through all of it good announces are answered soon,
//! memory stays small, and nothing raw comes out.

use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::time::Instant;

use super::*;

impl Tracker {
    /// A good announce is answered soon: within two seconds, of a machine that is not busy.
    pub fn serves(&mut self, what: &str) {
        let began = Instant::now();
        let answer = self.announce('g', "port=9");
        assert!(answer.status_line.ends_with("200 OK"), "{what}: {answer:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{what}: {:?}", began.elapsed());
        assert!(self.process.runs(), "{what}");
    }

    /// Its memory in KiB.
    pub fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// Closes with a reset instead of an end.
fn reset(stream: TcpStream) {
    let socket = OwnedFd::from(stream);
    rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
}

#[test]
fn good_announces_are_answered_through_all_kinds_of_abuse() {
    let dir = Dir::new();
    let mut tracker = tracker(&dir, &["--keepalive", "5", "--udp", "1", "--logfile", "log"]);
    tracker.serves("in peace");
    let mut held = Vec::new();
    let good = b"GET /scrape HTTP/1.1\r\nHost: x\r\n\r\n";
    let requests: [(&str, Vec<u8>); 9] = [
        ("half a request", b"GET /announce?info_ha".to_vec()),
        ("pipelined by the thousand", good.repeat(20_000)),
        (
            "an absurd length",
            b"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n".into(),
        ),
        (
            "a body in chunks",
            b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n".into(),
        ),
        ("many headers", [&b"GET / HTTP/1.1\r\n"[..], &b"A: b\r\n".repeat(5000)].concat()),
        ("a long header", [&b"GET / HTTP/1.1\r\nA: "[..], &[b'a'; 100_000]].concat()),
        ("binary", (0..=255).cycle().take(20_000).collect()),
        ("another protocol", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        (
            "doubled parameters",
            b"GET /announce?info_hash=%00&info_hash=&left=-9&left=z&port=1&port \
            HTTP/1.0\r\n\r\n"
                .to_vec(),
        ),
    ];
    for (what, request) in &requests {
        for n in 0..20 {
            let mut stream = tracker.connect(None);
            stream.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
            // It may be closed or full meanwhile: that is as it should be.
            let _ = stream.write_all(request);
            match n % 3 {
                0 => reset(stream),
                1 => held.push(stream),
                _ => drop(stream),
            }
        }
        tracker.serves(what);
    }
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for n in 0..3000usize {
        let packet: Vec<u8> = (0..n % 2000).map(|b| (b * n) as u8).collect();
        let _ = socket.send_to(&packet, tracker.on);
    }
    tracker.serves("packets of nonsense");
    assert!(tracker.memory() < 64 * 1024, "{} KiB", tracker.memory());
    drop(held);
    tracker.stop();
    let log = dir.read("log");
    let raw = |b: &u8| !(b' '..=b'~').contains(b) && *b != b'\n';
    assert!(!log.iter().any(raw), "nothing raw in the log");
}

#[test]
fn invented_torrents_and_peers_do_not_fill_the_memory() {
    let dir = Dir::new();
    let args = ["--udp", "1", "--max_torrents", "20000", "--max_peers", "50000"];
    let mut tracker = tracker(&dir, &args);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.connect(tracker.on).unwrap();
    socket.send(&[&0x417_2710_1980u64.to_be_bytes()[..], &[0; 8]].concat()).unwrap();
    let mut answer = [0; 2048];
    socket.recv(&mut answer).unwrap();
    let connection: [u8; 8] = answer[8..16].try_into().unwrap();
    let mut sizes = Vec::new();
    for round in 0..4u32 {
        for n in 0..40_000u32 {
            let mut packet = [&connection[..], &[0, 0, 0, 1, 0, 0, 0, 9]].concat();
            packet.extend_from_slice(format!("{:020}", round * 40_000 + n).as_bytes());
            packet.extend_from_slice(format!("{n:020}").as_bytes());
            packet.extend_from_slice(&[0; 40]);
            packet.extend_from_slice(&[0, 9]);
            socket.send(&packet).unwrap();
            socket.recv(&mut answer).unwrap();
        }
        sizes.push(tracker.memory());
    }
    assert!(sizes[3] < 64 * 1024 && sizes[3] < sizes[0] * 3 / 2, "{sizes:?} KiB");
    tracker.serves("after the flood");
    assert_eq!(tracker.get("/stats.json").text().matches("\"torrents\":20000,").count(), 1);
}

#[test]
fn a_state_file_takes_no_more_memory_than_its_peers() {
    let dir = Dir::new();
    let mut empty = tracker(&dir, &[]);
    empty.serves("without peers");
    let before = empty.memory();
    empty.stop();
    let rest = "d2:ip7:9.0.0.14:lefti1e3:nati0e4:porti9e13:requirecryptoi0e13:supportcryptoi0ee";
    let peers: String = (0..40_000).map(|n| format!("20:{n:020}{rest}")).collect();
    dir.write("dstate", format!("d9:completedde5:peersd20:{:020}d{peers}eee", 7));
    let mut full = tracker(&dir, &[]);
    full.serves("with peers");
    let each = (full.memory() - before) * 1024 / 40_000;
    assert!((40..250).contains(&each), "{each} bytes a peer");
}

#[test]
fn nothing_raw_stands_in_page_header_or_log() {
    let dir = Dir::new();
    std::fs::create_dir(dir.join("tor")).unwrap();
    let (text, hash) = torrent("<script>\"'&\u{1b}[2J", "");
    dir.write("tor/a\"b\r\nX: y.torrent", text);
    let args = ["--allowed_dir", "tor", "--allow_get", "1"];
    let tracker = tracker(&dir, &args);
    let page = tracker.get("/").text();
    assert!(page.contains("&lt;script&gt;&quot;&#39;&amp;") && !page.contains('\u{1b}'), "{page}");
    assert!(!page.contains("<script"), "{page}");
    let file = tracker.get(&format!("/file?info_hash={hash}"));
    let disposition = file.header("Content-Disposition").unwrap();
    assert!(disposition.starts_with("attachment; filename=\"a_b__X__y.torrent\""), "{disposition}");
    assert_eq!(file.header("X"), None);
    tracker.ask(b"GET /\x1b[2J\" HTTP/1.0\r\nReferer: \xff\"\r\nUser-Agent: a\tb\r\n\r\n", None);
    let out = tracker.stop().out;
    assert!(!out.bytes().any(|b| b < b' ' && b != b'\n' || b > b'~'), "{out}");
}

#[test]
fn a_long_torrent_file_can_be_had() {
    let dir = Dir::new();
    let comment = "c".repeat(3 << 20);
    let (text, hash) = torrent("long", &format!("7:comment{}:{comment}", comment.len()));
    dir.write("tor/long.torrent", &text);
    let tracker = tracker(&dir, &["--allowed_dir", "tor", "--allow_get", "1"]);
    assert!(tracker.get(&format!("/file?info_hash={hash}")).body == text.as_bytes());
}

#[test]
fn those_who_ask_for_much_and_never_read_keep_nobody_out() {
    let dir = Dir::new();
    // A scrape that no kernel takes for somebody who does not read, and still far from all that
    // may be held.
    let list: String = (0..40_000).map(|n| format!("{n:040x}\n")).collect();
    dir.write("list", format!("{}\n{list}", "41".repeat(20)));
    let mut tracker = tracker(&dir, &["--allowed_list", "list", "--max_connections", "8"]);
    let mut held = Vec::new();
    for round in 0..3 {
        for _ in 0..8 {
            let socket = rustix::net::socket(
                rustix::net::AddressFamily::INET,
                rustix::net::SocketType::STREAM,
                None,
            );
            let socket = socket.unwrap();
            rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 1).unwrap();
            rustix::net::connect(&socket, &tracker.on).unwrap();
            let mut stream = TcpStream::from(socket);
            // What has been closed meanwhile takes nothing.
            let _ = stream.write_all(b"GET /scrape HTTP/1.0\r\n\r\n");
            held.push(stream);
        }
        tracker.serves(&format!("round {round}"));
    }
    assert!(tracker.memory() < 64 * 1024, "{} KiB", tracker.memory());
}

#[test]
fn a_crowd_that_wants_everything_compressed_or_never_reads_it_holds_nobody_up() {
    let dir = Dir::new();
    let list: String = (0..60_000).map(|n| format!("{n:040x}\n")).collect();
    dir.write("list", format!("{}\n{list}", "41".repeat(20)));
    // The full scrape is too long to be compressed, those of two hundred torrents are not.
    let some: String = (0..200).map(|n| format!("info_hash={n:020}&")).collect();
    let mut tracker = tracker(&dir, &["--allowed_list", "list"]);
    let gzip = "Accept-Encoding: gzip\r\n\r\n";
    for request in [
        format!("GET /scrape?{some} HTTP/1.1\r\n{gzip}"),
        format!("GET /scrape HTTP/1.1\r\n{gzip}"),
        format!("GET / HTTP/1.1\r\n{gzip}"),
    ] {
        let held: Vec<TcpStream> = (0..400)
            .map(|_| {
                let mut stream = tracker.connect(None);
                // It may have been closed already.
                let _ = stream.write_all(request.as_bytes());
                stream
            })
            .collect();
        tracker.serves(&request);
        assert!(tracker.memory() < 96 * 1024, "{} KiB", tracker.memory());
        drop(held);
    }
    tracker.stop();
}

#[test]
fn descriptors_that_run_out_come_back() {
    let dir = Dir::new();
    let script = "ulimit -n 256; exec \"$0\" bttrack --port 0 --bind 127.0.0.1 --dfile d --udp 1";
    let mut process =
        dir.program("sh").args(["-c", script, env!("CARGO_BIN_EXE_bittornado")]).start();
    let on = (Ipv4Addr::LOCALHOST, process.wait_for_listening(SOON)).into();
    let mut tracker = Tracker { process, on, temporary: Temporary::new() };
    bittornado::io::sys::raise_descriptor_limit();
    for round in 0..3 {
        let held: Vec<TcpStream> = (0..600)
            .map(|n| {
                let mut stream = tracker.connect(None);
                let half: &[u8] = if n % 2 == 0 { b"GET /announce?" } else { b"" };
                // It may have been closed already.
                let _ = stream.write_all(half);
                stream
            })
            .collect();
        tracker.serves(&format!("all taken, round {round}"));
        assert!(tracker.get("/").status_line.ends_with("200 OK"));
        drop(held);
        tracker.serves(&format!("all free, round {round}"));
    }
    assert!(tracker.memory() < 32 * 1024, "{} KiB", tracker.memory());
    tracker.process.signal(Signal::TERM);
    let done = tracker.process.wait(SOON).expect(0);
    assert!(!done.err.contains("panicked"), "{}", done.err);
}

#[test]
fn odd_parameters_get_a_plain_no_or_a_plain_yes() {
    let dir = Dir::new();
    let mut tracker = tracker(&dir, &[]);
    let (hash, id) = ("info_hash=AAAAAAAAAAAAAAAAAAAA", "peer_id=bbbbbbbbbbbbbbbbbbbb");
    let rest = "port=7&left=5&compact=1";
    let with = |more: &str| format!("/announce?{hash}&{id}&{rest}&{more}");
    let huge = "9".repeat(400);
    for (target, status) in [
        ("/announce".into(), "400 Bad Request"),
        (format!("/announce?{hash}"), "400 Bad Request"),
        (format!("/announce?{id}&{rest}"), "400 Bad Request"),
        (format!("/announce?{hash}&{id}&left=5&compact=1"), "400 Bad Request"),
        (format!("/announce?{hash}&{id}&port=7&compact=1"), "400 Bad Request"),
        (format!("/announce?info_hash=%00&{id}&{rest}"), "400 Bad Request"),
        (format!("/announce?{hash}&peer_id=%ff&{rest}"), "400 Bad Request"),
        (format!("/announce?{hash}&{id}&port=65536&left=5&compact=1"), "400 Bad Request"),
        (format!("/announce?{hash}&{id}&port=-1&left=5&compact=1"), "400 Bad Request"),
        (format!("/announce?{hash}&{id}&port=7&left=-1&compact=1"), "400 Bad Request"),
        (format!("/announce?{hash}&{id}&port=7&left={huge}x&compact=1"), "400 Bad Request"),
        (format!("/announce?{hash}&{id}&port={huge}&left=5&compact=1"), "400 Bad Request"),
        (with("event=exploded"), "400 Bad Request"),
        (with("compact=x&compact=1"), "200 OK"),
        (with("numwant=-1"), "200 OK"),
        (with("numwant=0"), "200 OK"),
        (with("numwant=99999999999"), "200 OK"),
        (with("uploaded=-5&downloaded=x"), "200 OK"),
        (with("ip="), "200 OK"),
        (with("ip=www.nowhere.invalid"), "200 OK"),
        (with("key=%00%ff%0d%0a"), "200 OK"),
        (with("&&&=&=x&%&%zz&a=%"), "200 OK"),
        (with(&format!("info_hash={0}&port=x&left=y", "B".repeat(20))), "200 OK"),
    ] {
        let answer = tracker.get(&target);
        assert!(answer.status_line.ends_with(status), "{target}: {answer:?}");
        assert!(answer.body.len() < 1000, "{target}: {answer:?}");
    }
    tracker.serves("odd parameters");
    let files = tracker.get("/scrape").bencoded()["files"].clone();
    assert_eq!(files.as_object().unwrap().len(), 1, "nothing else was noted: {files}");
}
