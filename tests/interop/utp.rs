//! uTP (BEP 29) with libtorrent: what it seeds comes whole, whoever dials.

use crate::libtorrent::{LIBTORRENT, PYTHON};
use crate::swarm::{self, ORIGIN, Shape, Swarm};
use crate::util::{Background, Dir, content, free_port, until};
use bittornado::logic::utp::{Event, StreamKey, Streams};
use bittornado::proto::ids::{InfoHash, PeerId};
use bittornado::proto::wire::handshake;
use rustix::process::Signal;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);

const SIZE: usize = 8 << 20;

const BLOCK: usize = 16 << 10;

const PIECE: usize = 64 << 10;

/// Arguments: port, folder, port to connect to (0 for none), folder to save in. Speaks uTP only,
/// shares the file `x` of the first folder, and says the info hash, and when it has everything.
const CLIENT: &str = r#"
import sys, time, libtorrent as lt
port, folder, other, save = sys.argv[1:]
session = lt.session({
    "listen_interfaces": "127.0.0.1:" + port,
    "outgoing_interfaces": "127.0.0.1",
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_outgoing_utp": True, "enable_incoming_utp": True,
    "enable_outgoing_tcp": False, "enable_incoming_tcp": False,
    "allow_multiple_connections_per_ip": True,
    "in_enc_policy": 2, "out_enc_policy": 2,
})
files = lt.file_storage()
lt.add_files(files, folder + "/x")
made = lt.create_torrent(files, 65536, flags=lt.create_torrent.v1_only)
lt.set_piece_hashes(made, folder)
share = lt.add_torrent_params()
share.ti, share.save_path = lt.torrent_info(made.generate()), save
handle = session.add_torrent(share)
while save == folder and not handle.status().is_seeding:
    time.sleep(0.05)
print("hash %s." % share.ti.info_hash(), flush=True)
said = False
while True:
    if other != "0" and not handle.get_peer_info():
        handle.connect_peer(("127.0.0.1", int(other)))
    if not said and handle.status().is_seeding:
        said = True
        print("complete", flush=True)
    time.sleep(0.2)
"#;

/// A socket and its streams.
struct Host {
    socket: UdpSocket,
    streams: Streams,
    events: Vec<Event>,
    /// What came of the one stream.
    bytes: Vec<u8>,
    deadline: Instant,
}

impl Host {
    fn new() -> Host {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (streams, deadline) = (Streams::new(4, Instant::now()), Instant::now() + SOON);
        Host { socket, streams, events: Vec::new(), bytes: Vec::new(), deadline }
    }

    fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    /// Sends what there is, waits for a packet or a deadline, and takes what came.
    fn turn(&mut self) {
        assert!(Instant::now() < self.deadline, "{:?}, {} bytes", self.events, self.bytes.len());
        let mut packet = Vec::new();
        while let Some(to) = self.streams.next_packet(Instant::now(), &mut packet) {
            let _ = self.socket.send_to(&packet, to);
        }
        let wait =
            self.streams.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let wait = wait.unwrap_or(SOON).clamp(Duration::from_millis(1), Duration::from_millis(100));
        self.socket.set_nonblocking(false).unwrap();
        self.socket.set_read_timeout(Some(wait)).unwrap();
        let mut space = [0; 2048];
        for _ in 0..32 {
            let Ok((length, from)) = self.socket.recv_from(&mut space) else { break };
            self.streams.on_packet(from, &space[..length], Instant::now());
            self.socket.set_nonblocking(true).unwrap();
        }
        self.streams.on_time(Instant::now());
        while let Some(event) = self.streams.next_event() {
            match event {
                Event::Readable(key) => self.read(key),
                other => self.events.push(other),
            }
        }
    }

    fn read(&mut self, key: StreamKey) {
        let mut space = [0; 65_536];
        loop {
            let count = self.streams.read(key, &mut space);
            self.bytes.extend_from_slice(&space[..count]);
            if count < space.len() {
                return;
            }
        }
    }

    /// Turns until `count` bytes are there, and takes them.
    fn take(&mut self, count: usize) -> Vec<u8> {
        while self.bytes.len() < count {
            self.turn();
        }
        self.bytes.drain(..count).collect()
    }

    /// The next message that is no keep-alive: its number and the rest of it.
    fn message(&mut self) -> (u8, Vec<u8>) {
        loop {
            let length = u32::from_be_bytes(self.take(4).try_into().unwrap());
            let mut body = self.take(length as usize);
            if !body.is_empty() {
                return (body.remove(0), body);
            }
        }
    }

    /// Downloads the whole file from who is at the other end.
    fn download(&mut self, key: StreamKey, hash: InfoHash) -> Vec<u8> {
        self.streams.write(key, &handshake(hash, PeerId::from_bytes(&[b'u'; 20]).unwrap()));
        let answer = self.take(68);
        assert_eq!((&answer[1..20], &answer[28..48]), (&b"BitTorrent protocol"[..], &hash.0[..]));
        self.streams.write(key, b"\0\0\0\x01\x02");
        while self.message().0 != 1 {}
        let (mut asked, mut file, mut came) = (0, vec![0; SIZE], 0);
        while came < SIZE {
            while asked < SIZE && asked < came + (1 << 20) {
                let numbers =
                    [13, asked / PIECE, asked % PIECE, BLOCK].map(|n| (n as u32).to_be_bytes());
                let request = [&numbers[0][..], &[6], &numbers[1..].concat()].concat();
                assert_eq!(self.streams.write(key, &request), request.len());
                asked += BLOCK;
            }
            if let (7, block) = self.message() {
                let at =
                    |n: usize| u32::from_be_bytes(block[n..n + 4].try_into().unwrap()) as usize;
                let begin = at(0) * PIECE + at(4);
                file[begin..begin + BLOCK].copy_from_slice(&block[8..]);
                came += BLOCK;
            }
        }
        file
    }
}

impl Host {
    /// Writes all of it, as there is room.
    fn write(&mut self, key: StreamKey, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let count = self.streams.write(key, bytes);
            bytes = &bytes[count..];
            if !bytes.is_empty() {
                self.turn();
            }
        }
    }

    /// Gives who is at the other end of `file` what it asks for, so many blocks.
    fn seed(&mut self, key: StreamKey, hash: InfoHash, file: &[u8]) {
        assert_eq!(self.take(68)[28..48], hash.0[..]);
        self.write(key, &handshake(hash, PeerId::from_bytes(&[b'u'; 20]).unwrap()));
        let pieces = SIZE / PIECE / 8;
        let bitfield = [&(pieces as u32 + 1).to_be_bytes()[..], &[5], &vec![0xff; pieces]].concat();
        self.write(key, &bitfield);
        self.write(key, b"\0\0\0\x01\x01");
        let mut given = 0;
        while given < SIZE {
            if let (6, request) = self.message() {
                let at = |n: usize| u32::from_be_bytes(request[n..n + 4].try_into().unwrap());
                let begin = at(0) as usize * PIECE + at(4) as usize;
                let length = at(8) as usize;
                self.write(key, &[&(at(8) + 9).to_be_bytes()[..], &[7], &request[..8]].concat());
                self.write(key, &file[begin..begin + length]);
                given += length;
            }
        }
    }

    /// Turns until somebody has opened a stream.
    fn accept(&mut self) -> StreamKey {
        loop {
            self.turn();
            if let Some(Event::Accepted(key, _)) = self.events.first() {
                return *key;
            }
        }
    }
}

fn libtorrent(dir: &Dir, dials: u16, save: &str) -> (Background, SocketAddr, InfoHash) {
    dir.write("x", content("utp", SIZE));
    let port = free_port();
    let python = dir.program(PYTHON).args(["-c", CLIENT]).args([&port.to_string(), "."]);
    let mut python = python.args([dials.to_string()]).arg(save).start();
    python.wait_for("hash ", SOON);
    let hash = until(SOON, "the info hash", || {
        let out = python.out();
        InfoHash::from_hex(out.split_once("hash ")?.1.split_once('.')?.0)
    });
    (python, SocketAddr::from(([127, 0, 0, 1], port)), hash)
}

#[test]
#[ignore = "needs libtorrent"]
fn a_seed_that_we_dial_gives_the_file_and_hears_that_we_leave() {
    let (dir, mut host) = (Dir::new(), Host::new());
    let (_seed, address, hash) = libtorrent(&dir, 0, ".");
    let key = host.streams.dial(address, Instant::now()).unwrap();
    while host.events.is_empty() {
        host.turn();
    }
    assert_eq!(host.events, [Event::Opened(key)]);
    let began = Instant::now();
    assert!(host.download(key, hash) == content("utp", SIZE));
    println!("{} KiB/s", SIZE as u128 / began.elapsed().as_millis());
    host.streams.leave(key, Instant::now());
    while !host.streams.is_empty() {
        host.turn();
    }
}

#[test]
#[ignore = "needs libtorrent"]
fn a_seed_that_dials_us_gives_the_file() {
    let (dir, mut host) = (Dir::new(), Host::new());
    let (_seed, _, hash) = libtorrent(&dir, host.port(), ".");
    let key = host.accept();
    assert!(host.download(key, hash) == content("utp", SIZE));
}

#[test]
#[ignore = "needs libtorrent"]
fn who_dials_us_gets_the_file() {
    let (dir, mut host) = (Dir::new(), Host::new());
    std::fs::create_dir(dir.join("got")).unwrap();
    let (python, _, hash) = libtorrent(&dir, host.port(), "got");
    let key = host.accept();
    let began = Instant::now();
    host.seed(key, hash, &content("utp", SIZE));
    println!("{} KiB/s", SIZE as u128 / began.elapsed().as_millis());
    while !python.out().contains("complete") {
        host.turn();
    }
    assert!(dir.read("got/x") == content("utp", SIZE));
}

/// Arguments: port, torrent, folder. Speaks uTP only.
const SHARER: &str = r#"
import sys, time, libtorrent as lt
port, torrent, folder = sys.argv[1:]
session = lt.session({
    "listen_interfaces": "127.0.0.1:" + port,
    "outgoing_interfaces": "127.0.0.1",
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_outgoing_utp": True, "enable_incoming_utp": True,
    "enable_outgoing_tcp": False, "enable_incoming_tcp": False,
    "allow_multiple_connections_per_ip": True,
})
share = lt.add_torrent_params()
share.ti, share.save_path = lt.torrent_info(torrent), folder
session.add_torrent(share)
while True:
    time.sleep(60)
"#;

fn sharer(swarm: &Swarm, folder: &str) -> Background {
    let port = free_port().to_string();
    let python = swarm.dir.program(PYTHON).args(["-c", SHARER]);
    python.args([&port, &swarm.source(folder), folder]).start()
}

/// Our client with uTP, and with these options.
fn ours(swarm: &Swarm, folder: &str, options: &[&str]) -> Background {
    let port = free_port().to_string();
    let ports = ["--minport", &port, "--maxport", &port, "--utp", "1"];
    swarm.btdownload(folder).args(ports).args(options).start()
}

/// Shares the port's sockets with the hash table, which itself finds nobody.
const WITH_TABLE: [&str; 6] = ["--dht", "1", "--dht_routers", "", "--local_only", "1"];

#[test]
#[ignore = "needs libtorrent"]
fn our_client_downloads_by_utp_alone() {
    let torrent = [&[][..], &WITH_TABLE].map(|options| (Swarm::new(Shape::Tree), options));
    let magnet = [&[][..], &WITH_TABLE].map(|options| (Swarm::by_magnet(Shape::Tree), options));
    for (swarm, options) in torrent.into_iter().chain(magnet) {
        let _theirs = sharer(&swarm, ORIGIN);
        swarm.wait_for(1, 0);
        let mut ours = ours(&swarm, "copy", options);
        ours.wait_for("download complete", swarm::SOON);
        swarm.wait_for_copy("copy");
        swarm::end(ours, Signal::TERM);
    }
}

#[test]
#[ignore = "needs libtorrent"]
fn our_client_seeds_by_utp_alone() {
    for options in [&[][..], &WITH_TABLE] {
        let swarm = Swarm::new(Shape::Tree);
        let ours = ours(&swarm, ORIGIN, options);
        swarm.wait_for(1, 0);
        let _theirs = sharer(&swarm, "copy");
        swarm.wait_for_copy("copy");
        swarm::end(ours, Signal::TERM);
    }
}

#[test]
#[ignore = "needs libtorrent"]
fn who_answers_by_tcp_alone_is_dialled_so() {
    let swarm = Swarm::new(Shape::File);
    let _theirs = (LIBTORRENT.start)(&swarm, ORIGIN);
    swarm.wait_for(1, 0);
    let mut ours = ours(&swarm, "copy", &[]);
    ours.wait_for("download complete", swarm::SOON);
    swarm::end(ours, Signal::TERM);
}
