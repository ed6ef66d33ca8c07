//! What a client says: to programs, and to a service manager.

use super::*;
use serde_json::Value;
use std::os::unix::net::UnixDatagram;

/// A client that has all, has said so in objects, and has a service manager.
fn seed(dir: &Dir, manager: &Path) -> Background {
    dir.write("data", content("face", 100_000));
    let make = dir.cmd("btmakemetafile").args(["http://127.0.0.1:9/announce", "data"]);
    make.run().expect(0);
    let seed =
        client(dir).args(["data.torrent", "--saveas", "data", "--local_only", "1", "--json"]);
    let mut seed = seed.env("NOTIFY_SOCKET", manager).env("WATCHDOG_USEC", "400000").start();
    seed.wait_for(r#""event":"done""#, SOON);
    seed
}

#[test]
fn programs_and_a_service_manager_hear_how_it_goes() {
    let dir = Dir::new();
    let manager = UnixDatagram::bind(dir.join("notify")).unwrap();
    manager.set_read_timeout(Some(SOON)).unwrap();
    let hear = || {
        let mut buffer = [0; 500];
        let heard = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..heard].to_vec()).unwrap()
    };
    let mut seed = seed(&dir, &dir.join("notify"));
    assert_eq!(hear(), "READY=1");
    // It is idle soon, and lives.
    let is_seeding = |words: &str| words.starts_with("STATUS=seeding: 100%");
    for _ in 0..3 {
        until(SOON, "a word of life", || {
            let words = hear();
            assert!(words.ends_with("\nWATCHDOG=1"), "{words}");
            is_seeding(&words).then_some(())
        });
    }
    seed.signal(Signal::USR1);
    seed.wait_for(r#""event":"files""#, SOON);
    let done = seed.stop(STOP).expect(0);
    let words =
        until(SOON, "the end", || Some(hear()).filter(|words| !words.starts_with("STATUS=")));
    assert_eq!(words, "STOPPING=1");
    let lines: Result<Vec<Value>, _> = done.out.lines().map(serde_json::from_str).collect();
    let lines = lines.unwrap();
    let kind = |line: &Value| line["event"].as_str().unwrap().to_owned();
    assert_eq!((kind(&lines[0]), kind(lines.last().unwrap())), ("started".into(), "ended".into()));
    assert_eq!(lines.last().unwrap()["ok"], true);
    for (event, key, value) in [
        ("started", "length", Value::from(100_000)),
        ("done", "complete", true.into()),
        ("peers", "peers", Value::Array(Vec::new())),
        ("figures", "total", 100_000.into()),
    ] {
        let line = lines.iter().find(|line| kind(line) == event);
        assert_eq!(line.unwrap_or_else(|| panic!("no {event}"))[key], value);
    }
    // The tracker that is not there is told among them, and nowhere else.
    assert!(lines.iter().any(|line| kind(line) == "notice"));
    assert_eq!(done.err, "");
}

#[test]
fn labels_are_those_of_the_original_and_quiet_is_quiet() {
    let dir = Dir::new();
    dir.write("data", content("face", 100_000));
    let make = dir.cmd("btmakemetafile").args(["http://127.0.0.1:9/announce", "data"]);
    make.run().expect(0);
    let args = ["data.torrent", "--saveas", "data", "--local_only", "1"];
    let mut seed = client(&dir).args(args).arg("--labels").start();
    seed.wait_for("Download Succeeded!", SOON);
    let labels = seed.stop(STOP).expect(0).out;
    let block = labels.rsplit("\n\n").find(|block| block.contains("Succeeded")).unwrap();
    let columns: Vec<&str> = block.lines().map(|line| line.split_at(16).0.trim_end()).collect();
    assert_eq!(
        columns,
        [
            "saving:",
            "percent done:",
            "time left:",
            "download to:",
            "download rate:",
            "upload rate:",
            "share rating:",
            "seed status:",
            "peer status:"
        ]
    );
    assert!(block.contains("percent done:   100\n"), "{block}");
    let mut seed = client(&dir).args(args).arg("--quiet").start();
    // What is wrong is told with its time.
    seed.wait_for("Connection refused", SOON);
    let done = seed.stop(STOP);
    assert_eq!(done.out, "");
    let (_, rest) = done.err.split_once("btdownload: [").unwrap();
    let time: Vec<&str> = rest[..8].split(':').collect();
    assert!(time.len() == 3 && rest[8..].starts_with("] "), "{}", done.err);
}
