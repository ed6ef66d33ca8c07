//! The end of a client, asked for by a signal: it comes in time whatever hangs.
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod util;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bittornado::proto::metainfo::Metainfo;
use rustix::process::Signal;
use util::{Background, Cmd, Dir, content, until};

/// Everything here is done much sooner.
const SOON: Duration = Duration::from_secs(90);

/// An end may take so long.
const STOP: Duration = Duration::from_secs(20);

const PIECE: usize = 32 * 1024;

/// The bytes of the one file.
const SIZE: usize = 64 * PIECE;

/// A folder with `file` and its torrent, whose tracker is at `url`.
fn share(url: &str) -> Dir {
    let dir = Dir::new();
    dir.write("file", content("stopping", SIZE));
    let make = dir.cmd("btmakemetafile").args([url, "file", "--piece_size_pow2", "15"]);
    make.run().expect(0);
    dir
}

fn client(dir: &Dir, saveas: &str) -> Cmd {
    dir.cmd("btdownload").args(OPTIONS).args(["file.torrent", "--saveas", saveas])
}

const OPTIONS: [&str; 8] =
    ["--bind", "127.0.0.1", "--minport", "10000", "--maxport", "60000", "--random_port", "1"];

/// Sends a signal, and expects the end in time.
#[track_caller]
fn ends(client: Background, signal: Signal) -> util::Done {
    let asked = Instant::now();
    client.signal(signal);
    let done = client.wait(SOON);
    assert!(asked.elapsed() < STOP, "it took {:?}: {done:#?}", asked.elapsed());
    done
}

/// A tracker's address at which connections come in and nobody ever answers.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/announce", listener.local_addr().unwrap());
    (listener, url)
}

#[test]
fn a_tracker_that_never_answers_does_not_delay_the_end() {
    let (tracker, url) = silent();
    let dir = share(&url);
    let mut seed = client(&dir, "file").start();
    seed.wait_for("download complete", SOON);
    let _asked = tracker.accept().unwrap();
    ends(seed, Signal::TERM).expect(0);
}

#[test]
fn a_tracker_that_answers_once_and_then_no_more_does_not_delay_the_end() {
    let (tracker, url) = silent();
    let dir = share(&url);
    let mut seed = client(&dir, "file").start();
    let (mut first, _) = tracker.accept().unwrap();
    let _ = first.read(&mut [0; 4096]).unwrap();
    first
        .write_all(
            b"HTTP/1.0 200 OK\r\n\r\nd8:completei1e10:incompletei0e8:intervali1800e5:peers0:e",
        )
        .unwrap();
    drop(first);
    seed.wait_for("download complete", SOON);
    let done = std::thread::spawn(move || ends(seed, Signal::INT));
    // The last word arrives, and has no answer.
    let (mut last, _) = tracker.accept().unwrap();
    let mut head = [0; 4096];
    let length = last.read(&mut head).unwrap();
    assert!(String::from_utf8_lossy(&head[..length]).contains("event=stopped"));
    done.join().unwrap().expect(0);
}

#[test]
fn a_tracker_that_does_not_even_accept_does_not_delay_the_end() {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    listen(&socket, 0).unwrap();
    let address: SocketAddr = getsockname(&socket).unwrap().try_into().unwrap();
    // Its queue is full after the first; from then on it does not answer to knocking.
    let _first = TcpStream::connect(address).unwrap();
    let full = TcpStream::connect_timeout(&address, Duration::from_millis(100));
    assert!(full.is_err(), "there was room for another");
    let dir = share(&format!("http://{address}/announce"));
    let mut seed = client(&dir, "file").start();
    seed.wait_for("download complete", SOON);
    ends(seed, Signal::TERM).expect(0);
}

#[test]
fn web_seeds_that_never_answer_or_drip_do_not_delay_the_end() {
    let (silent, url) = silent();
    let dripping = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let drips = format!("http://{}/file", dripping.local_addr().unwrap());
    let dir = Dir::new();
    dir.write("file", content("stopping", SIZE));
    let make = ["--no_tracker", "file", "--piece_size_pow2", "15"];
    let seeds = format!("{url}|{drips}");
    dir.cmd("btmakemetafile").args(make).args(["--url_list", &seeds]).run().expect(0);
    let ours = client(&dir, "new").start();
    let _hung = silent.accept().unwrap();
    let (mut drip, _) = dripping.accept().unwrap();
    drip.write_all(b"HTTP/1.1 200 OK\r\n\r\nx").unwrap();
    ends(ours, Signal::TERM).expect(1);
}

/// A peer that has shaken hands with the client, by the port it has named.
fn peer(dir: &Dir, client: &Background) -> TcpStream {
    let port: u16 = until(SOON, "the port", || {
        let out = client.out();
        out.split_once("listening on port ")?.1.split_once('\n')?.0.parse().ok()
    });
    let hash = Metainfo::decode(&dir.read("file.torrent")).unwrap().info_hash;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut hello = b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0".to_vec();
    hello.extend(hash.0);
    hello.extend(b"-XX0000-stopping-one");
    stream.write_all(&hello).unwrap();
    stream.read_exact(&mut [0; 68]).unwrap();
    stream
}

#[test]
fn a_peer_that_asks_and_never_reads_does_not_delay_the_end() {
    let (_tracker, url) = silent();
    let dir = share(&url);
    let mut seed = client(&dir, "file").start();
    seed.wait_for("download complete", SOON);
    let mut peer = peer(&dir, &seed);
    peer.write_all(&[0, 0, 0, 1, 2]).unwrap();
    for piece in 0..64u32 {
        let mut request = vec![0, 0, 0, 13, 6];
        request.extend(piece.to_be_bytes());
        request.extend([0; 6]);
        request.extend([0x40, 0]);
        peer.write_all(&request).unwrap();
    }
    // Something has come, so that it stands in the middle of sending.
    peer.read_exact(&mut [0; 5]).unwrap();
    ends(seed, Signal::TERM).expect(0);
}

/// The client with a pipe full to its brim, which nobody reads, in place of an output.
fn muted(dir: &Dir, command: &str) -> (Background, UnixStream) {
    let (reader, writer) = UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    while (&writer).write(&[b'.'; 4096]).is_ok() {}
    while (&writer).write(b".").is_ok() {}
    writer.set_nonblocking(false).unwrap();
    let input = Stdio::from(std::os::fd::OwnedFd::from(writer));
    let btdownload = dir.cmd("btdownload");
    let mut shell = Command::new("/bin/sh");
    shell.current_dir(dir.path()).stdin(input);
    // The pipe comes as standard input, and becomes what it should be.
    shell.args(["-c", command, "sh"]).arg(btdownload.name()).args(OPTIONS);
    shell.args(["--display_interval", "0.1", "file.torrent", "--saveas"]);
    (dir.background(shell), reader)
}

#[test]
fn outputs_that_nobody_reads_delay_neither_the_work_nor_the_end() {
    let (tracker, url) = silent();
    let dir = share(&url);
    for redirect in ["1>&0", "2>&0", "1>&0 2>&0"] {
        let command = format!("exec \"$@\" file {redirect}");
        let (client, _reader) = muted(&dir, &command);
        // Its asking shows that it has got through the check and into its work.
        let (mut asked, _) = tracker.accept().unwrap();
        let _ = asked.read(&mut [0; 4096]).unwrap();
        asked.write_all(b"HTTP/1.0 200 OK\r\n\r\nd14:failure reason4:nope").unwrap();
        drop(asked);
        ends(client, Signal::TERM).expect(0);
    }
}

#[test]
fn a_second_signal_ends_it_at_once_though_nobody_reads_what_it_says() {
    let (tracker, url) = silent();
    let dir = share(&url);
    let (client, _reader) = muted(&dir, "exec \"$@\" file 1>&0 2>&0");
    let (mut asked, _) = tracker.accept().unwrap();
    let _ = asked.read(&mut [0; 4096]).unwrap();
    asked
        .write_all(
            b"HTTP/1.0 200 OK\r\n\r\nd8:completei1e10:incompletei0e8:intervali1800e5:peers0:e",
        )
        .unwrap();
    drop(asked);
    client.signal(Signal::INT);
    // The last word is never answered: without the second signal it would wait for that.
    let _last = tracker.accept().unwrap();
    // An end that was not cut short would be one of success.
    let done = ends(client, Signal::INT);
    assert_eq!(done.code(), Some(1), "{done:#?}");
}

/// strace holds every write to the files up for some seconds: a disk that hangs.
#[test]
#[ignore = "needs strace"]
fn a_disk_that_hangs_does_not_delay_the_end() {
    let (tracker, url) = silent();
    let dir = share(&url);
    let mut seed = client(&dir, "file").start();
    seed.wait_for("download complete", SOON);
    let (_seed_asked, _) = tracker.accept().unwrap();
    let port: u16 = until(SOON, "the port", || {
        let out = seed.out();
        out.split_once("listening on port ")?.1.split_once('\n')?.0.parse().ok()
    });
    let btdownload = dir.cmd("btdownload");
    let calls = "pwritev,pwrite64,pwritev2";
    let mut leech = dir
        .program("strace")
        .args(["-D", "-f", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("trace={calls}"))
        .arg("-e")
        .arg(format!("inject={calls}:delay_enter=6000000"))
        .arg(btdownload.name())
        .args(OPTIONS)
        .args(["file.torrent", "--saveas", "copy"])
        .start();
    let (mut asked, _) = tracker.accept().unwrap();
    let _ = asked.read(&mut [0; 4096]).unwrap();
    let mut answer = b"HTTP/1.0 200 OK\r\n\r\nd8:completei1e10:incompletei0e8:intervali1800e5:peers6:\x7f\0\0\x01".to_vec();
    answer.extend(port.to_be_bytes());
    answer.push(b'e');
    asked.write_all(&answer).unwrap();
    drop(asked);
    until(SOON, "the first write", || dir.join("copy").exists().then_some(()));
    leech.signal(Signal::TERM);
    leech.wait_for("the disk hangs", STOP);
    // strace lets nobody go before the delay is over.
    assert_eq!(leech.wait(SOON).code(), Some(1));
}

/// The next announce, soon.
fn asked(tracker: &TcpListener) -> TcpStream {
    tracker.set_nonblocking(true).unwrap();
    let (stream, _) = until(SOON, "an announce", || tracker.accept().ok());
    stream.set_nonblocking(false).unwrap();
    stream
}

#[test]
fn it_says_goodbye_when_its_terminal_closes() {
    let (tracker, url) = silent();
    let dir = share(&url);
    // Whoever runs the tests under nohup hands its deafness on.
    let mut seed = client(&dir, "file").under(&["env", "--default-signal=HUP"]).start();
    let mut first = asked(&tracker);
    let _ = first.read(&mut [0; 4096]).unwrap();
    first
        .write_all(
            b"HTTP/1.0 200 OK\r\n\r\nd8:completei1e10:incompletei0e8:intervali1800e5:peers0:e",
        )
        .unwrap();
    drop(first);
    seed.wait_for("download complete", SOON);
    seed.signal(Signal::HUP);
    let mut last = asked(&tracker);
    // The shell says it again.
    seed.signal(Signal::HUP);
    let mut head = [0; 4096];
    let length = last.read(&mut head).unwrap();
    assert!(String::from_utf8_lossy(&head[..length]).contains("event=stopped"));
    let done = seed.wait(STOP).expect(0);
    assert!(!done.err.contains("at once"), "{}", done.err);
}

#[test]
fn a_tracker_whose_answer_comes_during_the_end_hears_the_last_word() {
    let (tracker, url) = silent();
    let dir = share(&url);
    let mut seed = client(&dir, "file").start();
    seed.wait_for("download complete", SOON);
    let mut first = asked(&tracker);
    let _ = first.read(&mut [0; 4096]).unwrap();
    seed.signal(Signal::TERM);
    first
        .write_all(
            b"HTTP/1.0 200 OK\r\n\r\nd8:completei1e10:incompletei0e8:intervali1800e5:peers0:e",
        )
        .unwrap();
    drop(first);
    let mut head = [0; 4096];
    let length = asked(&tracker).read(&mut head).unwrap();
    assert!(String::from_utf8_lossy(&head[..length]).contains("event=stopped"));
    seed.wait(STOP).expect(0);
}

#[test]
fn a_client_that_was_told_to_outlive_its_terminal_does() {
    let (_tracker, url) = silent();
    let dir = share(&url);
    let shell = dir.program("sh").args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]);
    let shell = shell.arg(dir.cmd("btdownload").name()).args(OPTIONS);
    let mut seed = shell.args(["file.torrent", "--saveas", "file"]).start();
    seed.wait_for("download complete", SOON);
    let status = std::fs::read_to_string(format!("/proc/{}/status", seed.id())).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
    assert_eq!(ignored & 1, 1, "SIGHUP is heard: {status}");
    ends(seed, Signal::TERM).expect(0);
}

/// A large file without a byte in it, and a torrent that wants it otherwise.
#[test]
fn a_check_at_the_start_does_not_delay_the_end_nor_is_its_state_damaged_by_it() {
    let (_tracker, url) = silent();
    let dir = share(&url);
    let mut leech = client(&dir, "file").start();
    leech.wait_for("download complete", SOON);
    ends(leech, Signal::TERM).expect(0);
    let folder = dir.join("../.local/state/bittornado");
    let states = || -> Vec<(std::path::PathBuf, Vec<u8>)> {
        let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let mut states: Vec<_> = entries.map(|p| (p.clone(), std::fs::read(p).unwrap())).collect();
        states.sort();
        states
    };
    dir.write("big", "");
    let size = 4 << 30;
    std::fs::OpenOptions::new().write(true).open(dir.join("big")).unwrap().set_len(size).unwrap();
    let mut torrent = b"d8:announce".to_vec();
    torrent.extend(format!("{}:{url}4:infod6:lengthi{size}e4:name3:big", url.len()).bytes());
    torrent.extend(format!("12:piece lengthi{}e6:pieces{}:", 4 << 20, 1024 * 20).bytes());
    torrent.extend([7; 1024 * 20]);
    torrent.extend(b"ee");
    dir.write("big.torrent", torrent);
    let before = states();
    for signal in [Signal::TERM, Signal::INT] {
        let checking = dir.cmd("btdownload").args(OPTIONS).args(["big.torrent", "--saveas", "big"]);
        let mut checking = checking.args(["--display_interval", "0.1"]).start();
        checking.wait_for("checking existing data", SOON);
        let done = ends(checking, signal).expect(1);
        assert!(!done.out.contains("downloading"), "the check was over: {}", done.out);
        assert!(!done.err.contains("at once"), "{}", done.err);
        assert_eq!(states().len(), before.len(), "what was not found out was saved");
        assert!(states() == before);
    }
}

#[test]
fn a_torrent_that_is_being_fetched_does_not_delay_the_end() {
    let (server, url) = silent();
    let dir = Dir::new();
    let fetching = dir.cmd("btdownload").args(OPTIONS).args([&url, "--saveas", "copy"]).start();
    let _asked = server.accept().unwrap();
    let done = ends(fetching, Signal::TERM);
    assert!(matches!(done.code(), None | Some(1)), "{done:#?}");
}

#[test]
fn space_that_is_being_claimed_does_not_delay_the_end() {
    let (_tracker, url) = silent();
    let dir = share(&url);
    // It would take many seconds.
    let slow = ["--alloc_type", "background", "--alloc_rate", "0.1"];
    let mut leech = client(&dir, "copy").args(slow).start();
    leech.wait_for("downloading", SOON);
    ends(leech, Signal::TERM).expect(1);
}

#[test]
#[ignore = "needs root"]
fn a_look_up_of_a_name_that_hangs_does_not_delay_the_end() {
    if !rustix::process::getuid().is_root() {
        eprintln!("only root may give a process another resolver: skipped");
        return;
    }
    let dir = share("http://tracker.example/announce");
    // Asked, it never answers.
    let resolver = std::net::UdpSocket::bind(("127.0.0.53", 53)).unwrap();
    resolver.set_read_timeout(Some(SOON)).unwrap();
    dir.write("resolv.conf", "nameserver 127.0.0.53\noptions timeout:30 attempts:5\n");
    dir.write("nsswitch.conf", "hosts: dns\n");
    let mount = "mount --bind resolv.conf /etc/resolv.conf; \
                 mount --bind nsswitch.conf /etc/nsswitch.conf; exec \"$0\" \"$@\"";
    let seed = client(&dir, "file").under(&["unshare", "-m", "sh", "-c", mount]).start();
    resolver.recv(&mut [0; 512]).expect("it asks for the tracker's name");
    ends(seed, Signal::TERM).expect(0);
}
