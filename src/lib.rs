//! BitTornado: a tracker, makers of .torrent files and clients, for small Linux boxes.
//!
//! All that the commands do can be done from here. Nothing is hidden behind a runtime: what takes
//! long has a thread of its own or runs on yours, and every error says what was tried, on what, and
//! what came back.
//!
//! # Make a torrent, read it and change it
//!
//! ```
//! use bittornado::app::maker::{self, Recipe};
//! use bittornado::proto::metainfo::{Metainfo, edit::Editor};
//! use std::sync::atomic::AtomicBool;
//!
//! # let folder = std::env::temp_dir().join(format!("bittornado-doc-make-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let holiday = folder.join("holiday.iso");
//! # std::fs::write(&holiday, vec![7; 100_000])?;
//! let recipe = Recipe { announce: Some("http://tracker.example/announce".into()), ..Recipe::default() };
//! // `holiday` is the absolute path of a file or folder. It is hashed on all cores.
//! let bytes = maker::prepare(&holiday, &recipe)?.make(&AtomicBool::new(false), |_done, _total| {})?;
//!
//! // Whatever would be useless or dangerous is refused when it is read.
//! let torrent = Metainfo::decode(&bytes)?;
//! assert_eq!(torrent.info.name, "holiday.iso");
//! assert_eq!((torrent.info.total(), torrent.info.pieces.len()), (100_000, 4));
//! println!("{}", torrent.magnet());
//!
//! // An edit keeps every byte that it is not about, so the info hash stays.
//! let mut editor = Editor::new(&bytes)?;
//! editor.set_announce("http://other.example/announce");
//! let changed = Metainfo::decode(&editor.finish())?;
//! assert_eq!(changed.announce.as_deref(), Some("http://other.example/announce"));
//! assert_eq!(changed.info_hash, torrent.info_hash);
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `Recipe::version` makes torrents of version 2 and hybrids, and
//! [`Draft`](proto::metainfo::Draft) writes a .torrent without any file at hand.
//!
//! # Verify a folder
//!
//! ```
//! use bittornado::app::checker::{self, Checker, State};
//! # use bittornado::{app::maker::{self, Recipe}, proto::metainfo::Metainfo};
//!
//! # let folder = std::env::temp_dir().join(format!("bittornado-doc-check-{}", std::process::id()));
//! # let album = folder.join("album");
//! # std::fs::create_dir_all(&album)?;
//! # for (name, size) in [("one.ogg", 100_000), ("two.ogg", 50_000)] {
//! #     std::fs::write(album.join(name), vec![1; size])?;
//! # }
//! # let bytes = maker::prepare(&album, &Recipe::default())?.make(&false.into(), |_, _| {})?;
//! # let torrent = Metainfo::decode(&bytes)?;
//! # std::fs::write(album.join("two.ogg"), vec![2; 50_000])?;
//! let root = checker::find(&torrent.info, &album);
//! let report = Checker::new(&torrent.info, root, |_path| true).full(|_done, _total| {});
//! for file in &report.files {
//!     println!("{}: {:?}", file.path, file.state);
//! }
//! assert_eq!((report.pieces, report.good_pieces), (5, 3));
//! assert_eq!(report.files[1].state, State::Damaged);
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Checker::repair`](app::checker::Checker::repair) mends it by another copy or a web seed.
//!
//! # Run a tracker, announce and scrape
//!
//! ```
//! use bittornado::app::tracker::{Settings, Tracker};
//! use bittornado::io::fetch;
//! use bittornado::proto::announce::{Event, Request, ask};
//! use bittornado::proto::bencode;
//! use bittornado::proto::ids::{InfoHash, PeerId};
//! use std::time::Duration;
//!
//! # let folder = std::env::temp_dir().join(format!("bittornado-doc-track-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let state = folder.join("state");
//! // Port 0 lets the system choose; `state` is where it remembers its peers. It runs until SIGTERM.
//! let settings = Settings::new("127.0.0.1:0".parse()?, state);
//! let mut notices = Vec::new();
//! let tracker = Tracker::start(settings, &mut |notice| notices.push(notice.to_string()))?;
//! std::thread::spawn(move || tracker.run(&mut |notice| eprintln!("{notice}")));
//!
//! let address = notices[0].strip_prefix("listening on ").expect("the first notice");
//! let (hash, id) = (InfoHash([7; 20]), PeerId::generate([0; 11]));
//! let request = Request { event: Some(Event::Started), ..Request::new(hash, id, 6881) };
//! let url = ask::url(&format!("http://{address}/announce"), &request);
//! let reply = fetch::get(&url, 1 << 20, Duration::from_secs(10))?;
//! let reply = ask::http_reply(reply.status, &reply.body)?;
//! assert_eq!((reply.complete, reply.incomplete), (Some(1), Some(0)));
//!
//! let scrape = fetch::get(&format!("http://{address}/scrape"), 1 << 20, Duration::from_secs(10))?;
//! let scrape = bencode::decode(&scrape.body)?;
//! assert_eq!(scrape.get("files").and_then(|files| files.as_dict()).map(|files| files[0].0), Some(&hash.0[..]));
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Download a torrent
//!
//! ```
//! use bittornado::app::client::{Client, Report, Settings};
//! # use bittornado::app::{maker::{self, Recipe}, tracker::{self, Tracker}};
//! use bittornado::proto::metainfo::Metainfo;
//!
//! # let folder = std::env::temp_dir().join(format!("bittornado-doc-load-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let (original, target) = (folder.join("holiday.iso"), folder.join("copy"));
//! # std::fs::write(&original, (0..300_000u32).map(|n| (n % 251) as u8).collect::<Vec<u8>>())?;
//! # let settings = tracker::Settings::new("127.0.0.1:0".parse()?, folder.join("state"));
//! # let mut notices = Vec::new();
//! # let tracker = Tracker::start(settings, &mut |notice| notices.push(notice.to_string()))?;
//! # std::thread::spawn(move || tracker.run(&mut |_| {}));
//! # let url = format!("http://{}/announce", notices[0].strip_prefix("listening on ").unwrap());
//! # let recipe = Recipe { announce: Some(url), ..Recipe::default() };
//! # let bytes = maker::prepare(&original, &recipe)?.make(&false.into(), |_, _| {})?;
//! # let torrent = folder.join("holiday.iso.torrent");
//! # std::fs::write(&torrent, &bytes)?;
//! # let mut seeding = Settings::new(Metainfo::decode(&bytes)?, &original);
//! # (seeding.ports, seeding.shuffle_ports) = (10_000..=60_000, true);
//! # seeding.bind = vec![std::net::Ipv4Addr::LOCALHOST.into()];
//! # let seed = Client::start(seeding)?;
//! # while !matches!(seed.next_report(), Some(Report::Complete)) {}
//! let metainfo = Metainfo::decode(&std::fs::read(&torrent)?)?;
//! let mut settings = Settings::new(metainfo, &target);
//! # (settings.ports, settings.shuffle_ports) = (10_000..=60_000, true);
//! # settings.bind = vec![std::net::Ipv4Addr::LOCALHOST.into()];
//! settings.goal.exit_on_done = true;
//! let client = Client::start(settings)?;
//! while let Some(report) = client.next_report() {
//!     match report {
//!         Report::Figures(figures) => println!("{} bytes are left", figures.left),
//!         Report::Ended(result) => result?,
//!         _ => {}
//!     }
//! }
//! # assert!(std::fs::read(&target)? == std::fs::read(&original)?);
//! # drop(seed);
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The house
//!
//! It has four floors; each uses only the floors below it (see ARCHITECTURE.md):
//!
//! * [`cmd`] (floor 3): one file per command; arguments in, text and exit codes out.
//! * [`app`] (floor 2): joins brain and hands into a client, a tracker, a maker.
//! * [`logic`] and [`io`] (floor 1): the brain decides and touches nothing, the hands touch
//!   things and decide nothing; neither knows the other.
//! * [`proto`] (floor 0): bytes to values and back, and arithmetic on them.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod app;
pub mod cmd;
pub mod io;
pub mod logic;
pub mod proto;
