//! nginx as a web seed (BEP 19), of a file and of a tree, straight and by way of a redirect.

use crate::util::{Background, Dir, content, free_port, wait_for_port};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(90);

/// A download from there is a matter of a second or two.
const DONE: Duration = Duration::from_secs(60);

/// A server of what is below `www`, on loopback alone.
fn nginx(dir: &Dir) -> (Background, String) {
    let (port, root) = (free_port(), dir.path().display().to_string());
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {root}/{what};\n"))
        .concat();
    let config = format!(
        "daemon off; master_process off; pid {root}/nginx.pid; error_log {root}/error.log;\n\
         events {{ worker_connections 32; }}\n\
         http {{ access_log {root}/access.log; {temporary}\n\
         server {{ listen 127.0.0.1:{port}; root {root}/www;\n\
         location /moved/ {{ if ($request_uri ~ ^/moved/(.*)$) {{ return 302 /$1; }} }} }} }}\n"
    );
    dir.write("nginx.conf", config);
    let conf = dir.join("nginx.conf");
    let server = dir.program("nginx").arg("-p").arg(dir.path()).arg("-c").arg(conf);
    let server = server.arg("-e").arg(dir.join("error.log")).start();
    wait_for_port(port, SOON);
    (server, format!("http://127.0.0.1:{port}"))
}

/// Downloads what is at `path` below `www` from that server and a dead one, and nobody else.
fn downloads(dir: &Dir, path: &str, seeds: &str) {
    let make = ["--no_tracker", path, "--target", "it.torrent", "--url_list", seeds];
    dir.cmd("btmakemetafile").args(make).run().expect(0);
    let options = ["--bind", "127.0.0.1", "--minport", "10000", "--maxport", "60000"];
    let client = dir.cmd("btdownload").args(options).args(["--random_port", "1"]);
    let client = client.args(["it.torrent", "--saveas", "got", "--exit_on_done", "1"]);
    let done = client.limit(DONE).run().expect(0);
    assert!(done.err.contains("error accessing http seed: cannot reach 'http://127.0.0.1:"));
}

fn dead() -> String {
    format!("http://127.0.0.1:{}/", free_port())
}

#[test]
#[ignore = "needs nginx"]
fn gives_a_file() {
    let dir = Dir::new();
    let bytes = content("nginx", 9_000_000);
    dir.write("www/a file", &bytes);
    let (_server, url) = nginx(&dir);
    downloads(&dir, "www/a file", &format!("{url}/a%20file|{}", dead()));
    assert_eq!(dir.read("got"), bytes);
    let log = String::from_utf8(dir.read("access.log")).unwrap();
    assert!(log.lines().count() > 1 && log.lines().all(|l| l.contains("\" 206 ")), "{log}");
}

#[test]
#[ignore = "needs nginx"]
fn gives_a_tree_of_odd_names_where_a_redirect_leads() {
    let dir = Dir::new();
    let files = [("tree/a b%.bin", 700_001), ("tree/sub/\u{e9}?#", 3), ("tree/z", 2_000_000)];
    for (name, size) in files {
        dir.write(format!("www/{name}"), content(name, size));
    }
    dir.write("www/tree/nothing", "");
    let (_server, url) = nginx(&dir);
    downloads(&dir, "www/tree", &format!("{url}/moved/|{}", dead()));
    for (name, size) in files {
        let got = dir.read(name.replace("tree/", "got/"));
        assert!(got == content(name, size), "{name}");
    }
    assert_eq!(dir.read("got/nothing"), b"");
}
