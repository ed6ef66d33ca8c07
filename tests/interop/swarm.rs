//! A torrent of ours, our tracker, and what every test of this kind does with them.

use crate::util::{Background, Cmd, Dir, content, free_port, until};
use bittornado::proto::bencode;
use rustix::process::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// More than any step needs, on a machine with other work too. Transmission alone looks only
/// every ten seconds at whom it could ask, and whom it should answer; and once it has the metadata
/// of a magnet link it hangs up, dials nobody on loopback, and waits for our next call.
pub const SOON: Duration = Duration::from_secs(120);

/// Where the complete data is, in the folder of the test.
pub const ORIGIN: &str = "origin";

/// The torrent, there too.
pub const TORRENT: &str = "shared.torrent";

/// What is shared.
#[derive(Clone, Copy)]
pub enum Shape {
    /// One file, whose last piece and last block are cut short.
    File,
    /// Folders; files that meet in a piece and files of many pieces; empty files at the start, in
    /// the middle and at the end; odd names.
    Tree,
    /// The same with names that some programs change: to suit Windows, or because they differ in
    /// case only.
    Wild,
    /// The same as the tree, in a torrent of versions 1 and 2 at once (BEP 52).
    Hybrid,
}

/// Lengths and paths. Pieces are of 32 KiB.
const FILES: [(usize, &str); 13] = [
    (0, "!first and empty"),
    (5, "$HOME `x` [brackets] {braces}"),
    (100_000, "-dash"),
    (1, "R"),
    (40_000, "README.TXT"),
    (300_001, "big/inner/deep er/\u{65e5}\u{672c}\u{8a9e}.bin"),
    (0, "big/inner/deep er/nothing"),
    (32_768, "big/inner/one piece long"),
    (16_383, "big/per%20cent+&'.txt"),
    (77_777, "e\u{301} is not \u{e9}"),
    (70_000, "semi;colon,#"),
    (200_000, "tail~"),
    (0, "\u{2603} last and empty"),
];

const WILD: [(usize, &str); 4] =
    [(50_000, "Readme.txt"), (1_000, "tail. "), (0, "nul"), (30_000, "\"<a:b|c?*>\"")];

impl Shape {
    /// The torrent's name.
    fn name(self) -> &'static str {
        match self {
            Shape::File => "one file.bin",
            Shape::Tree => "a tree \u{2603}",
            Shape::Wild => "wild",
            Shape::Hybrid => "hybrid",
        }
    }

    /// The files, as paths from the folder that holds the torrent's data, with their bytes.
    fn files(self) -> Vec<(PathBuf, Vec<u8>)> {
        let name = Path::new(self.name());
        let entries: Vec<_> = match self {
            Shape::File => return vec![(name.into(), content("file", 3_000_001))],
            Shape::Tree | Shape::Hybrid => FILES.into(),
            Shape::Wild => FILES.into_iter().chain(WILD).collect(),
        };
        let file = |(size, path)| (name.join(path), content(path, size));
        entries.into_iter().map(file).collect()
    }
}

/// A client of other people.
pub struct Client {
    /// Starts it with the torrent, and with the data in a folder: what is missing there it
    /// downloads, what is there it seeds.
    pub start: fn(&Swarm, folder: &str) -> Background,
    /// It dials peers on loopback.
    pub dials: bool,
    /// It makes files that are empty.
    pub makes_empty_files: bool,
}

/// A torrent and its tracker.
pub struct Swarm {
    _tracker: Background,
    on: SocketAddr,
    pub shape: Shape,
    pub dir: Dir,
    /// A magnet link, where that is all that those get who download.
    pub link: Option<String>,
}

impl Swarm {
    /// Data, a tracker for it, and the torrent.
    pub fn new(shape: Shape) -> Swarm {
        let dir = Dir::new();
        for (path, bytes) in shape.files() {
            dir.write(Path::new(ORIGIN).join(path), bytes);
        }
        let bind = ["--port", "0", "--bind", "127.0.0.1", "--dfile", "dstate"];
        let mut tracker = dir.cmd("bttrack").args(bind).env("TMPDIR", dir.path()).start();
        tracker.wait_for("listening on ", SOON);
        let on: SocketAddr = until(SOON, "the tracker's address", || {
            let err = tracker.err();
            err.split_once("listening on ")?.1.split_once('\n')?.0.parse().ok()
        });
        let announce = format!("http://{on}/announce");
        let hybrid = if matches!(shape, Shape::Hybrid) { "1" } else { "0" };
        let make = dir.cmd("btmakemetafile").args([&announce, "--target", TORRENT]);
        let make = make.args(["--hybrid", hybrid]);
        make.arg(Path::new(ORIGIN).join(shape.name())).run().expect(0);
        Swarm { _tracker: tracker, on, shape, dir, link: None }
    }

    /// The same, but those who download get a magnet link only.
    pub fn by_magnet(shape: Shape) -> Swarm {
        let mut swarm = Swarm::new(shape);
        let show = swarm.dir.cmd("btshowmetainfo").args(["--magnet", TORRENT]);
        swarm.link = Some(show.run().expect(0).out.trim().to_string());
        swarm
    }

    /// The info hash, in hexadecimal digits.
    pub fn hash(&self) -> String {
        let show = self.dir.cmd("btshowmetainfo").args(["--hash", TORRENT]);
        show.run().expect(0).out.trim().to_string()
    }

    /// What a client is started with that has its data in this folder.
    pub fn source(&self, folder: &str) -> String {
        match &self.link {
            Some(link) if folder != ORIGIN => link.clone(),
            _ => self.dir.join(TORRENT).to_str().unwrap().to_string(),
        }
    }

    /// Our client, as its defaults are but for the port: tests run side by side.
    pub fn ours(&self, folder: &str) -> Background {
        let port = free_port().to_string();
        self.btdownload(folder).args(["--minport", &port, "--maxport", &port]).start()
    }

    /// Our client with nothing but defaults, in the folder of the data; on loopback alone, so that it
    /// asks no router, no node and nobody on our links.
    pub fn btdownload(&self, folder: &str) -> Cmd {
        let source = self.source(folder);
        let folder = self.dir.join(folder);
        fs::create_dir_all(&folder).unwrap();
        self.dir.cmd("btdownload").arg(source).args(["--bind", "127.0.0.1"]).cwd(folder)
    }

    /// Waits until the tracker knows the torrent, with so many seeds and finished downloads.
    pub fn wait_for(&self, seeds: i64, downloaded: i64) {
        let what = format!("{seeds} seeds and {downloaded} downloads at the tracker");
        until(SOON, &what, || (self.counts()? == [seeds, downloaded]).then_some(()));
    }

    /// Seeds and finished downloads; `None` if the tracker knows of no torrent.
    fn counts(&self) -> Option<[i64; 2]> {
        let reply = self.get("/scrape");
        let scrape = bencode::decode(&reply).unwrap();
        let (_, counts) = scrape.get("files").unwrap().as_dict().unwrap().first()?;
        Some(["complete", "downloaded"].map(|key| counts.get(key).unwrap().as_int().unwrap()))
    }

    /// What the tracker answers, without its head.
    pub fn get(&self, target: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.on).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(stream, "GET {target} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let head = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        answer.split_off(head + 4)
    }

    /// Waits until the folder holds every file with every byte.
    pub fn wait_for_copy(&self, folder: &str) {
        self.wait_for_files(folder, self.shape.files());
    }

    fn wait_for_files(&self, folder: &str, files: Vec<(PathBuf, Vec<u8>)>) {
        for (path, bytes) in files {
            let path = self.dir.join(folder).join(path);
            let what = format!("the {} bytes of '{}'", bytes.len(), path.display());
            until(SOON, &what, || (fs::read(&path).ok()? == bytes).then_some(()));
        }
    }
}

/// Ends our client, and expects that it is content.
pub fn end(ours: Background, signal: Signal) {
    ours.signal(signal);
    let done = ours.wait(SOON).expect(0);
    assert_eq!(done.err, "", "{done:#?}");
}

/// The other client downloads from ours.
pub fn downloads_from_us(shape: Shape, theirs: &Client) {
    downloads_from_ours(&Swarm::new(shape), theirs);
}

/// The other client downloads from ours, and has a magnet link only.
pub fn downloads_from_us_by_magnet(theirs: &Client) {
    downloads_from_ours(&Swarm::by_magnet(Shape::Tree), theirs);
}

fn downloads_from_ours(swarm: &Swarm, theirs: &Client) {
    // Who comes second learns of the first, and dials.
    let (ours, _theirs);
    if theirs.dials {
        ours = swarm.ours(ORIGIN);
        swarm.wait_for(1, 0);
        _theirs = (theirs.start)(swarm, "copy");
    } else {
        _theirs = (theirs.start)(swarm, "copy");
        swarm.wait_for(0, 0);
        ours = swarm.ours(ORIGIN);
    }
    swarm.wait_for(2, 1);
    let mut files = swarm.shape.files();
    files.retain(|(_, bytes)| theirs.makes_empty_files || !bytes.is_empty());
    swarm.wait_for_files("copy", files);
    end(ours, Signal::INT);
    swarm.wait_for(1, 1);
}

/// The other client seeds to ours.
pub fn seeds_to_us(shape: Shape, theirs: &Client) {
    seeds_to_ours(&Swarm::new(shape), theirs);
}

/// The other client seeds to ours, which has a magnet link only.
pub fn seeds_to_us_by_magnet(theirs: &Client) {
    seeds_to_ours(&Swarm::by_magnet(Shape::Tree), theirs);
}

fn seeds_to_ours(swarm: &Swarm, theirs: &Client) {
    let _theirs = (theirs.start)(swarm, ORIGIN);
    swarm.wait_for(1, 0);
    let mut ours = swarm.ours("copy");
    ours.wait_for("download complete", SOON);
    swarm.wait_for_copy("copy");
    swarm.wait_for(2, 1);
    end(ours, Signal::TERM);
    swarm.wait_for(1, 1);
}

/// The other client seeds to ours, which is killed several times and goes on each time.
pub fn seeds_to_ours_that_is_killed(theirs: &Client) {
    let swarm = Swarm::new(Shape::File);
    let _theirs = (theirs.start)(&swarm, ORIGIN);
    swarm.wait_for(1, 0);
    let ours = |rate: &str| {
        let port = free_port().to_string();
        let ports = ["--minport", &port, "--maxport", &port, "--display_interval", "0.1"];
        swarm.btdownload("copy").args(ports).args(["--max_download_rate", rate]).start()
    };
    // A third of it or so has come when the last kill does.
    for round in 1..=3 {
        let running = ours("200");
        until(SOON, "some more of it", || {
            let out = running.out();
            let figures = out.lines().filter_map(|line| line.strip_prefix("downloading: "));
            let percent = figures.filter_map(|rest| rest.split_once('%')?.0.parse::<u32>().ok());
            percent.max().filter(|percent| *percent >= 9 * round)
        });
        running.signal(Signal::KILL);
        running.wait(SOON);
    }
    let mut last = ours("0");
    last.wait_for("download complete", SOON);
    swarm.wait_for_copy("copy");
    let done = last.stop(SOON).expect(0);
    assert!(!done.err.contains("hash"), "{}", done.err);
}
