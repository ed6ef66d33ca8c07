//! Downloads from servers that know BEP 17, without any peer.

use crate::util::{Dir, content};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

const PIECE: usize = 32 * 1024;
const SIZE: usize = 20 * PIECE + 777;

/// A server that gives pieces of `content`, as long as the test's process lives.
fn serve(content: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/seed?key=1", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, content) = (stream.unwrap(), content.clone());
            thread::spawn(move || drop(give(stream, &content)));
        }
    });
    url
}

fn give(mut stream: TcpStream, content: &[u8]) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while let Some(Ok(request)) = lines.next() {
        assert!(request.starts_with("GET /seed?key=1&info_hash=%"), "{request}");
        let value = |key: &str| {
            let (_, rest) = request.split_once(&format!("&{key}="))?;
            Some(rest.split(['&', ' ']).next().unwrap().to_owned())
        };
        let start = value("piece").unwrap().parse::<usize>().unwrap() * PIECE;
        let piece = &content[start..content.len().min(start + PIECE)];
        let body = match value("ranges") {
            Some(range) => {
                let (first, last) = range.split_once('-').unwrap();
                &piece[first.parse().unwrap()..=last.parse().unwrap()]
            }
            None => piece,
        };
        lines.by_ref().find(|line| line.as_ref().is_ok_and(String::is_empty));
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), body].concat())?;
    }
    Ok(())
}

/// A server that gives all of `content` whatever part is asked for, and how often that was.
fn serve_whole(content: Vec<u8>) -> (String, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/file", listener.local_addr().unwrap());
    let times = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&times);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, content) = (stream.unwrap(), content.clone());
            counter.fetch_add(1, Ordering::Relaxed);
            thread::spawn(move || {
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                lines.map_while(Result::ok).find(String::is_empty);
                let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", content.len());
                // Who has what it wants may go.
                let _ = stream.write_all(&[head.as_bytes(), &content].concat());
            });
        }
    });
    (url, times)
}

#[test]
fn a_server_that_gives_no_parts_of_a_long_file_is_enough() {
    let dir = Dir::new();
    let bytes = content("whole", 9_000_000);
    dir.write("file", &bytes);
    let (url, times) = serve_whole(bytes.clone());
    let make = ["--no_tracker", "file", "--piece_size_pow2", "16", "--url_list", &url];
    dir.cmd("btmakemetafile").args(make).run().expect(0);
    // The second time half of it is there.
    for had in [0, 4_500_000] {
        dir.write("got", &bytes[..had]);
        times.store(0, Ordering::Relaxed);
        let options = ["file.torrent", "--saveas", "got", "--exit_on_done", "1"];
        let client = super::client(&dir).args(options).args(["--selector_enabled", "0", "--json"]);
        let done = client.limit(Duration::from_secs(60)).run().expect(0);
        assert!(dir.read("got") == bytes);
        let told = ["done", "enough"].map(|kind| done.out.find(&format!("\"event\":\"{kind}\"")));
        assert!(told[0].is_some() && told[0] < told[1], "{}", done.out);
        // Once for a part, and once for all.
        assert_eq!(times.load(Ordering::Relaxed), 2);
    }
}

#[test]
fn servers_that_give_pieces_are_enough_and_one_that_gives_bad_ones_is_banned() {
    let dir = Dir::new();
    let bytes = content("web", SIZE);
    dir.write("file", &bytes);
    let (good, bad) = (serve(bytes.clone()), serve(vec![0; SIZE]));
    let seeds = format!("{bad}|{good}");
    let make = ["--no_tracker", "file", "--piece_size_pow2", "15", "--httpseeds", &seeds];
    dir.cmd("btmakemetafile").args(make).run().expect(0);
    // So slow that both are asked more than once.
    let options = ["file.torrent", "--saveas", "got", "--exit_on_done", "1"];
    let client = super::client(&dir).args(options).args(["--max_download_rate", "400"]);
    let done = client.limit(Duration::from_secs(60)).run().expect(0);
    assert!(dir.read("got") == bytes);
    let name = bad.split('?').next().unwrap();
    let banned = format!("corrupt data from http seed again: '{name}' is banned");
    assert!(done.err.contains(&banned), "{done:#?}");
}
