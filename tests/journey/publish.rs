//! What `btpublish` shares is had by peers, by web clients and by both, and its data is only read.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use super::util::{Background, Cmd, Dir, content, until};
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
        let shared = |out: &str| out.matches("sharing: ").count() == torrents;
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
    let cmd = publish(&dir).args(["tree", "one file.iso", "--exit_after", "1", "--title", "<A>"]);
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

    // By the web alone: no tracker tells of any peer.
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
    assert!(done.out.contains("1 downloads are completed: stopping"), "{done:#?}");
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
    let published = Published::start(publish(&dir).args(["folder", "gone", "--no_page"]), 1);
    // What was a file when it was looked at leads elsewhere now.
    fs::remove_file(dir.join("folder/later")).unwrap();
    std::os::unix::fs::symlink(dir.join("secret"), dir.join("folder/later")).unwrap();
    for target in [
        "/",
        "/figures.json",
        "/data/",
        "/data/folder",
        "/data/folder/later",
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
    let lines: Vec<&str> = done.err.lines().collect();
    assert!(lines[0].contains("cannot read '") && lines[0].contains("gone'"), "{lines:?}");

    dir.write("empty/.hidden", "");
    for path in ["empty", "nothing"] {
        let done = publish(&dir).arg(path).limit(SOON).run().expect(1);
        assert_eq!(done.err.lines().count(), 1, "{done:#?}");
        assert!(done.err.contains(path), "{done:#?}");
    }
}
