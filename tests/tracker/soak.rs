//! A tracker that runs long: it takes no more in the end than in the beginning.

use std::net::UdpSocket;

use super::*;

/// Announces all in all.
const ANNOUNCES: u32 = 1_000_000;

/// Looks at the memory in between.
const LOOKS: u32 = 20;

/// Torrents at a time; the oldest go as new ones come.
const TORRENTS: u32 = 500;

/// What may come and go, in KiB.
const SLACK: u64 = 2048;

/// One announce in so many comes over HTTP, on a connection that stays.
const HTTP: u32 = 64;

/// Packets that are under way at once.
const AT_ONCE: u32 = 64;

/// Peers and torrents come and go for a million announces, most over UDP; the state is saved
/// and the log written all the while.
#[test]
#[ignore = "takes a while"]
fn long_a_million_announces_leave_the_memory_as_it_was() {
    let dir = Dir::new();
    let args = ["--udp", "1", "--keepalive", "60", "--save_dfile_interval", "2"];
    let more = ["--timeout_downloaders_interval", "2", "--logfile", "log"];
    // How many there are at a time must not depend on how fast this machine is.
    let most = ["--max_peers", "5000", "--max_torrents", "600"];
    let mut tracker = tracker(&dir, &[&args[..], &more, &most].concat());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.connect(tracker.on).unwrap();
    let mut http = tracker.connect(None);
    let mut sizes = Vec::new();
    let mut answer = vec![0; 16 * 1024];
    for look in 0..LOOKS {
        // Ids live for some minutes: a new one each time.
        socket.send(&[&0x417_2710_1980u64.to_be_bytes()[..], &[0; 8]].concat()).unwrap();
        socket.recv(&mut answer).unwrap();
        let connection: [u8; 8] = answer[8..16].try_into().unwrap();
        let round = ANNOUNCES / LOOKS;
        for first in (look * round..(look + 1) * round).step_by(AT_ONCE as usize) {
            let some = first..(first + AT_ONCE).min((look + 1) * round);
            let (over_http, over_udp): (Vec<u32>, Vec<u32>) = some.partition(|n| n % HTTP == 0);
            for n in &over_udp {
                let mut packet = [&connection[..], &[0, 0, 0, 1, 0, 0, 0, 9]].concat();
                packet.extend_from_slice(format!("{:020}", torrent_of(*n)).as_bytes());
                packet.extend_from_slice(format!("{:020}", n % 300_000).as_bytes());
                packet.extend_from_slice(&[0; 15]);
                // Left, uploaded, event (some stop), ip, key, numwant, port.
                packet.extend_from_slice(&[(n % 4) as u8, 0, 0, 0, 0, 0, 0, 0, 0]);
                packet.extend_from_slice(&[0, 0, 0, if n % 7 == 0 { 3 } else { 2 }]);
                packet.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 50, 1, 2]);
                socket.send(&packet).unwrap();
            }
            for n in over_http {
                let (hash, id) = (format!("{:020}", torrent_of(n)), format!("{n:020}"));
                let query = format!("info_hash={hash}&peer_id={id}&port=7&left=1&compact=1");
                // In one piece: a second one would wait for the first to be acknowledged.
                let request = format!("GET /announce?{query} HTTP/1.1\r\nHost: x\r\n\r\n");
                http.write_all(request.as_bytes()).unwrap();
                let length = http.read(&mut answer).unwrap();
                assert!(answer[..length].starts_with(b"HTTP/1.1 200 OK\r\n"));
            }
            for _ in over_udp {
                socket.recv(&mut answer).unwrap();
                assert_eq!(answer[..4], [0, 0, 0, 1]);
            }
        }
        tracker.serves("between");
        sizes.push(tracker.memory());
    }
    let stats: Value = serde_json::from_str(&tracker.get("/stats.json").text()).unwrap();
    assert!(stats["announces_total"].as_u64().unwrap() >= ANNOUNCES.into(), "{stats}");
    eprintln!("KiB: {sizes:?}\n{stats}");
    let (early, late) = sizes.split_at(sizes.len() / 2);
    let most = |sizes: &[u64]| *sizes.iter().max().unwrap();
    assert!(most(late) <= most(early) + SLACK, "{sizes:?} KiB");
    drop(http);
    tracker.stop();
}

/// Torrents move on slowly, so that old ones die.
fn torrent_of(n: u32) -> u32 {
    n / 1000 + n % TORRENTS
}
