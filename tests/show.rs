//! `btshowmetainfo` beyond what the original has: its forms of output, standard input and URLs.
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod util;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

use serde_json::{Value as Json, json};
use util::{Dir, Done};

/// A bencoded string.
fn s(text: &str) -> String {
    format!("{}:{text}", text.len())
}

/// A bencoded list of strings.
fn l(texts: &[&str]) -> String {
    format!("l{}e", texts.iter().map(|text| s(text)).collect::<String>())
}

/// Bidi and control characters, quotes, and a character beyond 16 bits.
const COMMENT: &str = "\"a\\b\"\n\u{202e}\u{61c}\x1b[2J \u{7f} \u{1f600}";

/// A folder of three files and a padding, with everything in it that is shown.
fn rich() -> String {
    let file =
        |length: u64, path: &[&str]| format!("d{}i{length}e{}{}e", s("length"), s("path"), l(path));
    let pad = format!("d{}1:p{}i10e{}{}e", s("attr"), s("length"), s("path"), l(&[".pad", "10"]));
    let files = [
        file(20, &["z", "deep", "er\tson"]),
        pad,
        file(3, &["a b"]),
        file(0, &["z", "a"]),
        file(4, &["z", "deep", "x"]),
    ];
    let info = format!(
        "d{}l{}e{}{}{}i32e{}{}{}i1ee",
        s("files"),
        files.concat(),
        s("name"),
        s("dir\u{202e} & ü"),
        s("piece length"),
        s("pieces"),
        s(&"p".repeat(40)),
        s("private"),
    );
    let tiers = format!("l{}{}e", l(&["http://t/a?k=1&b", "udp://u:1"]), l(&["http://t/a?k=1&b"]));
    format!(
        "d{}{}{}{tiers}{}{}{}{}{}i1700000000e{}{}{}{info}{}{}e",
        s("announce"),
        s("http://t/a?k=1&b"),
        s("announce-list"),
        s("comment"),
        s(COMMENT),
        s("created by"),
        s("maker/1"),
        s("creation date"),
        s("httpseeds"),
        l(&["http://h/1"]),
        s("info"),
        s("url-list"),
        s("http://w/ü"),
    )
}

/// As little as a .torrent may have.
fn poor() -> String {
    format!("d4:infod6:lengthi5e4:name1:n12:piece lengthi16384e6:pieces{}ee", s(&"p".repeat(20)))
}

/// The SHA-1 of `info`, which runs to the key behind it.
fn hash(torrent: &str, next: &str) -> String {
    let start = torrent.find("4:info").unwrap() + 6;
    let end = torrent.rfind(next).unwrap();
    sha1_smol::Sha1::from(&torrent[start..end]).digest().to_string()
}

fn rich_hash() -> String {
    hash(&rich(), "8:url-list")
}

fn poor_hash() -> String {
    hash(&poor(), "e")
}

/// A folder with both, and a bad one.
fn folder() -> Dir {
    let dir = Dir::new();
    dir.write("rich.torrent", rich());
    dir.write("poor.torrent", poor());
    dir.write("bad.torrent", "d4:info");
    dir
}

fn show(dir: &Dir, args: &[&str], code: i32) -> Done {
    dir.cmd("btshowmetainfo").args(args).run().expect(code)
}

#[test]
fn json_has_every_key_with_its_raw_value() {
    let dir = folder();
    let out = show(&dir, &["--json", "rich.torrent", "poor.torrent"], 0).out;
    let lines: Vec<Json> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rich = json!({
        "file": "rich.torrent",
        "info_hash": rich_hash(),
        "info_hash_v2": null,
        "name": "dir\u{202e} & ü",
        "multi_file": true,
        "files": [
            {"path": "z/deep/er\tson", "length": 20, "pad": false},
            {"path": ".pad/10", "length": 10, "pad": true},
            {"path": "a b", "length": 3, "pad": false},
            {"path": "z/a", "length": 0, "pad": false},
            {"path": "z/deep/x", "length": 4, "pad": false},
        ],
        "total": 37,
        "piece_length": 32,
        "pieces": 2,
        "announce": "http://t/a?k=1&b",
        "announce_list": [["http://t/a?k=1&b", "udp://u:1"], ["http://t/a?k=1&b"]],
        "httpseeds": ["http://h/1"],
        "url_list": ["http://w/ü"],
        "comment": COMMENT,
        "created_by": "maker/1",
        "creation_date": 1_700_000_000,
        "private": true,
        "trailing": 0,
    });
    let poor = json!({
        "file": "poor.torrent",
        "info_hash": poor_hash(),
        "info_hash_v2": null,
        "name": "n",
        "multi_file": false,
        "files": [{"path": "n", "length": 5, "pad": false}],
        "total": 5,
        "piece_length": 16384,
        "pieces": 1,
        "announce": null,
        "announce_list": [],
        "httpseeds": [],
        "url_list": [],
        "comment": null,
        "created_by": null,
        "creation_date": null,
        "private": false,
        "trailing": 0,
    });
    assert_eq!(lines, [rich, poor]);
    // Nothing in it can play with a terminal either.
    assert!(!out.contains(['\x1b', '\x7f', '\u{202e}', '\u{61c}']), "{out}");
}

#[test]
fn the_help_documents_every_key_of_json() {
    let dir = folder();
    let help = show(&dir, &["--help"], 0).out;
    let line = show(&dir, &["--json", "poor.torrent"], 0).out;
    let object: Json = serde_json::from_str(&line).unwrap();
    for key in object.as_object().unwrap().keys() {
        assert!(help.contains(&format!("\n  {key} ")), "{key}");
    }
}

#[test]
fn files_are_lines_of_path_tab_and_bytes() {
    let out = show(&folder(), &["--files", "rich.torrent", "poor.torrent"], 0).out;
    assert_eq!(out, "z/deep/er\\tson\t20\na b\t3\nz/a\t0\nz/deep/x\t4\nn\t5\n");
}

#[test]
fn a_tree_gathers_folders_and_adds_up_what_is_in_them() {
    let out = show(&folder(), &["--tree", "rich.torrent", "poor.torrent"], 0).out;
    let wanted = "\
dir\\u{202e} & ü/ (27)
  a b (3)
  z/ (24)
    a (0)
    deep/ (24)
      er\\tson (20)
      x (4)
n (5)
";
    assert_eq!(out, wanted);
}

#[test]
fn a_path_of_a_hundred_thousand_folders_is_shown_in_bounded_space() {
    let dir = Dir::new();
    let path = "3:dir".repeat(100_000);
    let file = format!("d6:lengthi5e4:pathl{path}ee");
    let pieces = s(&"p".repeat(20));
    let info = format!("d5:filesl{file}e4:name1:n12:piece lengthi16384e6:pieces{pieces}e");
    dir.write("deep.torrent", format!("d4:info{info}e"));
    let out = show(&dir, &["--tree", "deep.torrent"], 0).out;
    assert_eq!(out.lines().count(), 100_001);
    assert!(out.starts_with("n/ (5)\n  dir/ (5)\n    dir/ (5)\n") && out.ends_with(" dir (5)\n"));
    assert!(out.len() < 15_000_000, "{}", out.len());
}

#[test]
fn a_magnet_link_has_hash_name_size_trackers_once_and_web_seeds() {
    let out = show(&folder(), &["--magnet", "rich.torrent", "poor.torrent"], 0).out;
    let rich = format!(
        "magnet:?xt=urn:btih:{}&dn=dir%E2%80%AE%20%26%20%C3%BC&xl=37\
         &tr=http%3A%2F%2Ft%2Fa%3Fk%3D1%26b&tr=udp%3A%2F%2Fu%3A1&ws=http%3A%2F%2Fw%2F%C3%BC",
        rich_hash()
    );
    let poor = format!("magnet:?xt=urn:btih:{}&dn=n&xl=5", poor_hash());
    assert_eq!(out, format!("{rich}\n{poor}\n"));
}

#[test]
fn the_hash_stands_alone_and_a_bad_one_among_good_ones_is_reported() {
    let args = ["--hash", "rich.torrent", "bad.torrent", "nothere", "poor.torrent"];
    let done = show(&folder(), &args, 1);
    assert_eq!(done.out, format!("{}\n{}\n", rich_hash(), poor_hash()));
    let wanted = "btshowmetainfo: cannot read 'bad.torrent': bad bencoded data: it ends too early \
                  at byte 7\nbtshowmetainfo: cannot read 'nothere': No such file or directory\n";
    assert_eq!(done.err, wanted);
}

#[test]
fn a_dash_is_standard_input() {
    let dir = folder();
    dir.write("long", poor() + "\n");
    let show = |args: &[&str]| {
        dir.cmd("btshowmetainfo").args(args).input(dir.join("long")).run().expect(0)
    };
    let done = show(&["--hash", "-", "rich.torrent"]);
    assert_eq!(done.out, format!("{}\n{}\n", poor_hash(), rich_hash()));
    assert_eq!(done.err, "btshowmetainfo: warning: '-': bytes after the end of the metainfo\n");
    let object: Json = serde_json::from_str(&show(&["--json", "-"]).out).unwrap();
    assert_eq!((&object["file"], &object["trailing"]), (&json!("-"), &json!(1)));
    assert!(show(&["-"]).out.contains("\nmetainfo file.: -\ninfo hash.....: "));
}

#[test]
fn an_empty_standard_input_is_named() {
    let done = show(&Dir::new(), &["-"], 1);
    let why = "bad bencoded data: it ends too early at byte 0";
    assert_eq!(done.err, format!("btshowmetainfo: cannot read '-': {why}\n"));
}

/// A server of 127.0.0.1 with one good page, as long as the test's process lives.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<String> =
                lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let (status, body) = match head[0].split(' ').nth(1) {
                Some("/good.torrent") => ("200 OK", poor()),
                Some("/page") => ("200 OK", "<html>".into()),
                _ => ("404 Not Found", String::new()),
            };
            let length = body.len();
            let reply = format!("HTTP/1.0 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
            let _ = stream.write_all(reply.as_bytes());
        }
    });
    url
}

#[test]
fn torrents_are_fetched_by_http() {
    let (dir, url) = (folder(), serve());
    let [good, page, none] = ["good.torrent", "page", "none"].map(|path| format!("{url}/{path}"));
    let done = show(&dir, &["--hash", &good, &page, &none, "rich.torrent"], 1);
    assert_eq!(done.out, format!("{}\n{}\n", poor_hash(), rich_hash()));
    let wanted = format!(
        "btshowmetainfo: the page '{page}' links to no .torrent\n\
         btshowmetainfo: cannot fetch '{none}': the server answered 404\n"
    );
    assert_eq!(done.err, wanted);
    let done = show(&dir, &[&good], 0);
    assert!(done.out.contains("\nmetainfo file.: good.torrent\n"), "{done:?}");
}

#[test]
fn names_and_comments_are_escaped_in_the_original_form_too() {
    let out = show(&folder(), &["rich.torrent"], 0).out;
    assert!(out.contains("\ndirectory name: dir\\u{202e} & ü\n"), "{out}");
    assert!(out.contains("\\n\\u{202e}\\u{61c}\\x1b[2J \\x7f \u{1f600}\n"), "{out}");
    assert!(out.contains("\n   z/deep/er\\tson (20)\n"), "{out}");
}

#[test]
fn of_a_magnet_link_what_it_holds_is_shown() {
    let (dir, hash) = (folder(), "0123456789012345678901234567890123456789");
    let link = format!("magnet:?xt=urn:btih:{hash}&dn=a%0ab&tr=http%3A%2F%2Ft&x.pe=p:1&xl=7");
    let out = show(&dir, &[&link], 0).out;
    let (_, shown) = out.split_once("\n\n").unwrap();
    let head = format!("info hash.....: {hash}\nfile name.....: a\\nb\nfile size.....: 7\n");
    assert_eq!(shown, format!("{head}announce url..: http://t\npeer..........: p:1\n"));
    assert_eq!(show(&dir, &["--hash", &link], 0).out, format!("{hash}\n"));
    let done = show(&dir, &["--files", &link], 1);
    assert!(done.err.contains("a magnet link, which holds no .torrent"), "{}", done.err);
}

#[test]
fn one_form_of_output_at_a_time() {
    let dir = folder();
    for (args, problem) in [
        (&["--json", "--tree", "x"][..], "--json and --tree cannot be used together"),
        (&["--hash", "--magnet", "--files", "x"], "--files and --magnet cannot be used together"),
        (&["--hash"], "needs at least one .torrent file"),
        (&["-", "-"], "'-' is there twice, but standard input can only be read once"),
    ] {
        let done = show(&dir, args, 2);
        assert_eq!((done.err, done.out.as_str()), (format!("btshowmetainfo: {problem}\n"), ""));
    }
    let done = show(&dir, &["--json=0", "--hash", "poor.torrent"], 0);
    assert_eq!(done.out, format!("{}\n", poor_hash()));
}
