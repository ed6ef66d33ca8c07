//! What `btpublish` shares is had by peers, by web clients and by both, and its data is only read.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use bittornado::proto::ids::InfoHash;

use super::util::{Background, Cmd, Dir, content, free_port, until};
use super::{COMPLETE, PIECE, SOON, STOP, client, files, tree};

/// A publisher that runs, and where its page is.
struct Published {
    publisher: Background,
    port: u16,
}

fn publish(dir: &Dir) -> Cmd {
    dir.cmd("btpublish").args(["--bind", "127.0.0.1", "--port", "0", "--local_only", "1"]).args([
        "--minport",
        "10000",
        "--maxport",
        "60000",
        "--random_port",
        "1",
    ])
}

impl Published {
    /// Starts it, and waits until so many torrents are shared.
    fn start(cmd: Cmd, torrents: usize) -> Published {
        let mut publisher = cmd.start();
        publisher.wait_for("http://127.0.0.1:", SOON);
        let shared = |out: &str| out.matches("sharing: ").count() >= torrents;
        until(SOON, "all is shared", || shared(&publisher.out()).then_some(()));
        let out = publisher.out();
        let (_, rest) = out.split_once("http://127.0.0.1:").unwrap();
        let port = rest.split('/').next().unwrap().parse().unwrap();
        Published { publisher, port }
    }

    /// The head and the body of an answer.
    fn ask(&self, request: &str) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let head =
            answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
        (String::from_utf8(answer[..head].to_vec()).unwrap(), answer[head..].to_vec())
    }

    fn get(&self, target: &str) -> (String, Vec<u8>) {
        self.ask(&format!("GET {target} HTTP/1.0\r\n\r\n"))
    }

    fn text(&self, target: &str) -> String {
        String::from_utf8(self.get(target).1).unwrap()
    }
}

#[test]
fn a_tree_is_had_from_peers_and_from_the_web_and_then_it_ends() {
    let dir = Dir::new();
    tree(&dir);
    dir.write("tree/a+b <i>&.bin", content("plus", 5));
    let sent = files(&dir.join("tree"));
    let bytes = content("one file", 10 * PIECE + 17);
    dir.write("one file.iso", &bytes);
    let cmd = publish(&dir).args(["tree", "one file.iso", "--exit_after", "2", "--title", "<A>"]);
    let published = Published::start(cmd, 2);

    let page = published.text("/");
    for part in
        ["<h1>&lt;A&gt;</h1>", "<bdi>a+b &lt;i&gt;&amp;.bin</bdi>", "href=\"magnet:?xt=", "<svg "]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(page.contains("/data/tree/a%2Bb%20%3Ci%3E%26.bin"), "{page}");
    let (head, torrent) = published.get("/one%20file.iso.torrent");
    assert!(head.contains("\r\nContent-Type: application/x-bittorrent\r\n"), "{head}");
    assert!(torrent.starts_with(b"d8:announce"));
    for name in ["a+b%20%3Ci%3E%26.bin", "a%2Bb%20%3Ci%3E%26.bin"] {
        assert_eq!(published.get(&format!("/data/tree/{name}")).1, content("plus", 5));
    }
    let range = "GET /data/one%20file.iso HTTP/1.0\r\nRange: bytes=5-9\r\n\r\n";
    let (head, part) = published.ask(range);
    assert!(head.starts_with("HTTP/1.0 206 ") && part == bytes[5..10], "{head}");

    let url = format!("http://127.0.0.1:{}/", published.port);
    let several = client(&dir).args([&url, "--local_only", "1"]).run().expect(1);
    let choice = format!("choose one: {url}tree.torrent, {url}one%20file.iso.torrent\n");
    assert!(several.err.ends_with(&choice), "{several:#?}");

    // By the web alone: no tracker tells of any peer. It asks by the name, so it is the first.
    let seed = format!("http://127.0.0.1:{}/data/", published.port);
    let make = ["--no_tracker", "one file.iso", "--url_list", &seed, "--target", "web.torrent"];
    dir.cmd("btmakemetafile").args(make).run().expect(0);
    let options = ["web.torrent", "--saveas", "web.iso", "--local_only", "1"];
    client(&dir).args(options).args(["--exit_on_done", "1"]).limit(SOON).run().expect(0);
    assert!(dir.read("web.iso") == bytes);

    let url = format!("http://127.0.0.1:{}/tree.torrent", published.port);
    let options = [&url, "--saveas", "copy", "--local_only", "1", "--web_seeds", "0"];
    let mut peer = client(&dir).args(options).start();
    peer.wait_for(COMPLETE, SOON);
    assert_eq!(files(&dir.join("copy")), sent);
    let done = published.publisher.wait(SOON).expect(0);
    assert!(done.out.contains("2 downloads are completed: stopping"), "{done:#?}");
    assert_eq!(files(&dir.join("tree")), sent);
}

#[test]
fn what_changes_is_shared_anew_and_nothing_is_ever_written() {
    let dir = Dir::new();
    let old = content("old", 3 * PIECE);
    dir.write("folder/changes", &old);
    dir.write("folder/stays", content("stays", 3 * PIECE));
    let cmd = publish(&dir).args(["folder", "--rescan", "0.1"]);
    let published = Published::start(cmd, 1);
    let figures = published.text("/figures.json");
    let (_, rest) = figures.split_once("\"info_hash\":\"").unwrap();
    let hash = &rest[..40];
    dir.write("old.torrent", published.get("/folder.torrent").1);
    let options = ["old.torrent", "--local_only", "1", "--web_seeds", "0", "--saveas"];
    // The page is as good as the torrent on it.
    let page = format!("http://127.0.0.1:{}/", published.port);
    let mut first = client(&dir).args(&options[1..]).args(["first", "--url", &page]).start();
    first.wait_for(COMPLETE, SOON);
    first.stop(STOP).expect(0);
    let new = content("new", 3 * PIECE);
    dir.write("folder/changes", &new);
    until(SOON, "it is shared anew", || {
        published.publisher.out().contains("sharing anew: folder").then_some(())
    });
    assert_eq!(published.get("/data/folder/changes").1, new);
    let status = |target: &str| published.get(target).0[9..12].to_owned();
    assert_eq!(status(&format!("/data/{hash}/folder/stays")), "200", "the old one goes on");
    assert_eq!(status(&format!("/data/{hash}/folder/changes")), "404");
    // Who has begun with the old one gets what is left of it, and the rest from others; which is
    // not taken for a chance to mend it here.
    let mut second = client(&dir).args(options).arg("second").start();
    until(SOON, "the change to be noticed", || {
        published.publisher.err().contains("changed").then_some(())
    });
    let first = client(&dir).args(options).arg("first").start();
    second.wait_for(COMPLETE, SOON);
    assert_eq!(dir.read("second/changes"), old);
    drop((first, second));
    fs::rename(dir.join("folder"), dir.join("away")).unwrap();
    until(SOON, "it is gone", || published.publisher.err().contains("is gone").then_some(()));
    assert_eq!(status("/data/folder/stays"), "404");
    fs::rename(dir.join("away"), dir.join("folder")).unwrap();
    until(SOON, "it is back", || (status("/data/folder/stays") == "200").then_some(()));
    assert_eq!(dir.read("folder/changes"), new);
    published.publisher.stop(STOP).expect(0);
}

#[test]
fn nothing_but_what_is_shared_is_served_and_trouble_is_one_line() {
    let dir = Dir::new();
    dir.write("secret", "secret");
    dir.write("folder/file", "shared");
    dir.write("folder/later", "shared");
    let link = |name: &str| std::os::unix::fs::symlink(dir.join("secret"), dir.join(name)).unwrap();
    link("folder/link");
    let published = Published::start(publish(&dir).args(["folder", "gone", "--no_page"]), 1);
    // What was a file when it was looked at leads elsewhere now.
    fs::remove_file(dir.join("folder/later")).unwrap();
    link("folder/later");
    for target in [
        "/",
        "/figures.json",
        "/data/",
        "/data/folder",
        "/data/folder/later",
        "/data/folder/link",
        "/data/folder/../secret",
        "/data/folder/%2e%2e/secret",
        "/data/secret",
        "//etc/passwd",
        "/data//etc/passwd",
        "/data/folder%00/file",
        "/secret.torrent",
        "/data/0000000000000000000000000000000000000000/folder/file",
    ] {
        assert!(published.get(target).0.starts_with("HTTP/1.0 404 "), "{target}");
    }
    assert_eq!(published.text("/data/folder/file"), "shared");
    let (head, body) =
        published.ask("GET http://elsewhere/data/folder/file HTTP/1.0\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.0 200 ") && body == b"shared", "{head}");
    let (head, _) = published.ask("GET /data/folder/file HTTP/1.0\r\nRange: bytes=6-\r\n\r\n");
    assert!(head.starts_with("HTTP/1.0 416 "), "{head}");
    assert_eq!(published.ask("PUT /data/folder/file HTTP/1.0\r\n\r\n").0, "");

    let port = published.port.to_string();
    let taken = publish(&dir).args(["folder", "--port", &port]).run().expect(1);
    assert!(taken.err.contains("cannot listen on 127.0.0.1:"), "{taken:#?}");
    let done = published.publisher.stop(STOP).expect(1);
    let told = |parts: [&str; 2]| {
        let line = |line: &&str| parts.iter().all(|part| line.contains(part));
        assert_eq!(done.err.lines().filter(line).count(), 1, "{parts:?}: {done:#?}");
    };
    told(["cannot read '", "gone': No such file"]);
    told(["left out '", "folder/link': it is a symbolic link"]);

    dir.write("empty/.hidden", "");
    for path in ["empty", "nothing"] {
        let done = publish(&dir).arg(path).limit(SOON).run().expect(1);
        assert_eq!(done.err.lines().count(), 1, "{done:#?}");
        assert!(done.err.contains(path), "{done:#?}");
    }
}

#[test]
fn any_name_is_shared_or_refused_by_one_line_while_others_go_on() {
    let dir = Dir::new();
    dir.write("a\"<b>&\n%41.txt", "odd");
    let bad = OsStr::from_bytes(b"bad\xff");
    dir.write(bad, "bad");
    std::os::unix::fs::symlink("loop", dir.join("loop")).unwrap();
    let cmd = publish(&dir).args(["a\"<b>&\n%41.txt", "loop"]).arg(bad);
    let published = Published::start(cmd, 1);
    assert_eq!(published.text("/data/a%22%3Cb%3E%26%0A%2541.txt"), "odd");
    for target in ["/data/a%22%3Cb%3E%26%0A%41.txt", "/data/bad%FF", "/data/loop"] {
        assert!(published.get(target).0.starts_with("HTTP/1.0 404 "), "{target}");
    }
    let (head, _) = published.get("/a%22%3Cb%3E%26%0A%2541.txt.torrent");
    assert!(head.starts_with("HTTP/1.0 200 ") && !head.contains('<'), "{head}");
    let page = published.text("/");
    assert!(page.contains("a&quot;&lt;b&gt;&amp;") && !page.contains("<b>"), "{page}");
    let done = published.publisher.stop(STOP).expect(1);
    assert_eq!(done.out.matches("sharing: a\"<b>&\\n%41.txt (").count(), 1, "{done:#?}");
    assert_eq!(done.err.lines().count(), 2, "{done:#?}");
    assert!(done.err.contains("loop': Too many levels"), "{done:#?}");
    assert!(done.err.contains("' is not UTF-8"), "{done:#?}");
}

#[test]
fn a_file_that_is_being_written_is_no_failure_and_is_shared_when_it_rests() {
    let dir = Dir::new();
    let path = dir.write("grows", content("grows", 100 * PIECE));
    dir.write("rests", "rests");
    let writer = std::thread::spawn(move || {
        let mut file = fs::File::options().append(true).open(path).unwrap();
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            file.write_all(b"more").unwrap();
        }
    });
    let cmd = publish(&dir).args(["grows", "rests", "--rescan", "0.1"]);
    let published = Published::start(cmd, 1);
    until(SOON, "the other one is shared", || {
        (published.text("/data/rests") == "rests").then_some(())
    });
    writer.join().unwrap();
    let whole = dir.read("grows");
    until(SOON, "all of it is shared", || (published.get("/data/grows").1 == whole).then_some(()));
    published.publisher.stop(STOP).expect(0);
}

#[test]
fn a_file_that_the_web_has_got_whole_is_a_completed_download() {
    let dir = Dir::new();
    dir.write("one/file.bin", content("one", PIECE));
    dir.write("two/file.bin", content("two", PIECE));
    let cmd = publish(&dir).args(["one/file.bin", "two/file.bin", "--exit_after", "2"]);
    let published = Published::start(cmd, 2);
    // Each is to be had, though they are called the same.
    let page = published.text("/");
    let links = || page.split("href=\"/data/").skip(1).map(|rest| rest.split('"').next().unwrap());
    let got: Vec<_> = links().map(|at| published.get(&format!("/data/{at}")).1).collect();
    assert!(got == [content("one", PIECE), content("two", PIECE)], "{page}");
    // By its hash, in part, or its head alone: these are no downloads.
    for request in
        ["HEAD /data/file.bin HTTP/1.0\r\n", "GET /data/file.bin HTTP/1.0\r\nRange: bytes=1-\r\n"]
    {
        published.ask(&format!("{request}\r\n"));
    }
    assert!(!published.publisher.out().contains("1 completed"));
    for range in ["", "Range: bytes=0-\r\n"] {
        let (_, body) = published.ask(&format!("GET /data/file.bin HTTP/1.0\r\n{range}\r\n"));
        assert!(body == content("one", PIECE));
    }
    let done = published.publisher.wait(SOON).expect(0);
    assert!(done.out.contains("\nended: 2 completed, "), "{done:#?}");
}

/// One message of a peer: what it is, and what it says.
fn hear(peer: &mut TcpStream) -> (u8, Vec<u8>) {
    loop {
        let mut length = [0; 4];
        peer.read_exact(&mut length).unwrap();
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        peer.read_exact(&mut body).unwrap();
        if !body.is_empty() {
            return (body[0], body.split_off(1));
        }
    }
}

#[test]
fn nothing_that_a_peer_sends_is_written_even_where_data_is_damaged() {
    const BLOCK: usize = 16 * 1024;
    let dir = Dir::new();
    let good = content("good", 3 * PIECE);
    let path = dir.write("shared", &good);
    let port = free_port().to_string();
    let options = ["shared", "--piece_size_pow2", "15", "--minport", &port, "--maxport", &port];
    let published = Published::start(publish(&dir).args(options), 1);
    let figures = published.text("/figures.json");
    let (_, rest) = figures.split_once("\"info_hash\":\"").unwrap();
    let hash = InfoHash::from_hex(&rest[..40]).unwrap();
    // Without a trace for those who only look at size and time.
    let file = fs::File::options().write(true).open(&path).unwrap();
    let before = file.metadata().unwrap().modified().unwrap();
    let damaged = [&good[..PIECE], &vec![7; PIECE][..], &good[2 * PIECE..]].concat();
    file.write_all_at(&damaged, 0).unwrap();
    file.set_modified(before).unwrap();

    // It has what is damaged as it was, and gives it whether it is asked for or not.
    let address = format!("127.0.0.1:{port}");
    let mut peer = until(SOON, "it takes peers", || TcpStream::connect(&address).ok());
    peer.set_read_timeout(Some(SOON)).unwrap();
    let hello =
        [b"\x13BitTorrent protocol\0\0\0\0\0\0\0\x04", &hash.0[..], &[b'x'; 20][..]].concat();
    peer.write_all(&hello).unwrap();
    peer.write_all(b"\0\0\0\x02\x05\x40\0\0\0\x01\x01\0\0\0\x01\x02").unwrap();
    peer.read_exact(&mut [0; 68]).unwrap();
    let message = |kind: u8, numbers: &[usize], bytes: &[u8]| {
        let length = (1 + 4 * numbers.len() + bytes.len()) as u32;
        let numbers = numbers.iter().flat_map(|n| (*n as u32).to_be_bytes());
        let head = length.to_be_bytes().into_iter().chain([kind]).chain(numbers);
        head.chain(bytes.iter().copied()).collect::<Vec<u8>>()
    };
    let block = |piece: usize, begin: usize| {
        let at = piece * PIECE + begin;
        message(7, &[piece, begin], &good[at..at + BLOCK])
    };
    while hear(&mut peer).0 != 1 {}
    // What is damaged is found when it shall be sent.
    peer.write_all(&message(6, &[1, 0, BLOCK], &[])).unwrap();
    until(SOON, "the damage to be found", || {
        published.publisher.err().contains("is bad").then_some(())
    });
    for _ in 0..10 {
        for piece in 0..3 {
            peer.write_all(&[block(piece, 0), block(piece, BLOCK)].concat()).unwrap();
        }
        peer.write_all(&message(6, &[0, 0, BLOCK], &[])).unwrap();
        // Until it answers, whatever it asks for it gets.
        loop {
            match hear(&mut peer) {
                (6, asked) => {
                    let number = |n: usize| u32::from_be_bytes(asked[n..n + 4].try_into().unwrap());
                    peer.write_all(&block(number(0) as usize, number(4) as usize)).unwrap();
                }
                // Choked, for the time being.
                (16, _) => break,
                (7, answer) => break assert!(answer[8..] == good[..BLOCK]),
                _ => {}
            }
        }
    }
    published.publisher.stop(STOP).expect(0);
    assert!(dir.read("shared") == damaged);
}
