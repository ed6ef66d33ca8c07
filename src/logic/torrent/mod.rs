//! One torrent's brain: puts ledger, picker, choker, candidates, announcer and peers together.
//!
//! Events go in by `on_*` with the time they happened; what is to be done comes out of
//! [`Torrent::next_action`], and when to come back without an event out of
//! [`Torrent::next_deadline`]. Nothing else gets in or out, so a whole swarm can be played in a
//! test. Called by `app::client`; owned by its reactor thread.
//!
//! The rooms: `connect` (from dialling to the open session), `introduce` (its first words), `talk`
//! (messages), `fast` (those of the fast extension), `download` (what we ask, what came, who is to
//! blame), `endgame`, `retry` (bad pieces, from one peer alone), `wishes` (which files are wanted),
//! `disk` (what is found there), `metadata` (for those who have only the hash), `news` (pieces told to others), `offers` (super-seeding), `upload` (choking, serving), `spread`
//! (what a seed sends first), `pause` (what users change while it runs), `web` (servers that have the content), `replan` (what others have by now), `limits` (how fast), `track`
//! (announces), `config` (what users set), `status`, `details` (what they see).

mod config;
mod connect;
mod details;
mod disk;
mod download;
mod endgame;
pub mod exchange;
mod fast;
mod introduce;
mod limits;
pub mod metadata;
mod news;
mod offers;
mod pause;
mod replan;
mod retry;
mod sequence;
mod spread;
mod status;
mod talk;
mod track;
mod upload;
mod web;
mod wishes;

#[cfg(test)]
mod tests;

pub use config::{Breakup, Config, Encryption};
pub use connect::{Acquaintance, Refused};
pub(in crate::logic) use connect::{HANDSHAKE_TIMEOUT, MAX_HALF_OPEN, is_exempt};
pub use details::{FileStatus, PeerStatus, PieceStatus};
pub(in crate::logic) use introduce::CLIENT;
pub use limits::Limits;
pub use status::Status;
pub use web::WebSeedStatus;

use super::PeerKey;
use super::announcer::{Announcer, keep_local};
use super::candidates::Candidates;
use super::choker::Choker;
use super::ledger::Ledger;
use super::peer::Peer;
use super::picker::Picker;
use super::priority::Priority;
use super::rate::Meter;
use super::rng::Rng;
use super::superseed::SuperSeed;
use super::timers::Timers;
use super::webseed::Source;
use crate::proto::announce::scrape::Counts;
use crate::proto::announce::{Request, ask};
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::{BlockRef, Geometry, PieceIndex};
use crate::proto::ids::{InfoHash, PeerId};
use crate::proto::mse::Methods;
use crate::proto::sorted;
use crate::proto::udp::ask::Place;
use crate::proto::wire::Message;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// What a torrent is made from.
#[derive(Debug)]
pub struct Setup {
    /// The swarm's name.
    pub info_hash: InfoHash,
    /// Our name in it.
    pub peer_id: PeerId,
    /// The measures of the content.
    pub geometry: Arc<Geometry>,
    /// The pieces that are on disk and have been checked.
    pub have: Bitfield,
    /// How much each file is wanted; those beyond the list normally.
    pub priorities: Vec<Priority>,
    /// Tiers of announce addresses (BEP 12).
    pub trackers: Vec<Vec<String>>,
    /// The port we listen on, as told to trackers.
    pub port: u16,
    /// The seed of all its random choices.
    pub seed: u64,
}

/// What the torrent wants done, in this order.
#[derive(Debug)]
pub enum Action {
    /// Open a connection; answer by `on_connected` or `on_connect_failed`.
    Dial {
        /// The number it goes by from now on.
        peer: PeerKey,
        /// Where to.
        address: SocketAddr,
    },
    /// Send our handshake; where methods are given, on a stream that begins encrypted.
    Greet(PeerKey, Option<Methods>),
    /// Send a message.
    Send(PeerKey, Message),
    /// Pieces came that peers are to be told of: by and by, [`Torrent::take_news`].
    News,
    /// Send a block from disk; answer by `on_block_sent`.
    SendBlock(PeerKey, BlockRef),
    /// Blocks leave this connection only as far as they are allowed to from now on: so many bytes
    /// of them more. A connection that was never told so sends at will.
    Allow(PeerKey, u64),
    /// Close a connection. No answer is expected.
    Close(PeerKey),
    /// Write a block to disk; answer by `on_written`.
    Write(BlockRef, Vec<u8>),
    /// Hash a piece, after all its writes; answer by `on_verified`.
    Verify(PieceIndex),
    /// The buffer of a block that is not wanted goes back to its pool.
    Recycle(Vec<u8>),
    /// Ask a tracker; answer by `on_announced`.
    Announce {
        /// To be given back with the answer.
        number: u64,
        /// Whom, and what to say.
        to: Tracker,
        /// Whether it is our last word: not worth waiting for when the program ends.
        last: bool,
    },
    /// Ask a tracker how many are in the swarm, if there is time for that: an answer goes to
    /// `on_scraped`.
    Scrape(String),
    /// Fetch a range of the content from a web seed: places for its blocks are to be asked for by
    /// [`Torrent::lend`], and each block is answered by `on_web_block`, the end by `on_web_end`.
    Fetch {
        /// To be given back with the answers.
        run: u64,
        /// From where. No two runs of one source are under way at a time, but for such as were
        /// abandoned.
        source: Source,
        /// Offset of its first byte in the content.
        start: u64,
        /// Bytes, at least 1.
        length: u64,
        /// The server is known to give no parts of files: what lies before is to be passed over.
        whole: bool,
    },
    /// Nothing more is wanted of this run. No answer is expected.
    Abandon(u64),
    /// A peer says that this is its node of the distributed hash table.
    Node(SocketAddr),
    /// Something a user may want to read.
    Report(Notice),
}

/// A tracker that is to be asked, and the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tracker {
    /// By HTTP: the URL says it all.
    Http(String),
    /// By UDP (BEP 15): the tracker's URL, and what to say.
    Udp(String, Box<Request>),
}

impl Tracker {
    /// Says this to the tracker of a URL.
    pub(super) fn told(url: String, request: Request) -> Tracker {
        match Place::of(&url) {
            Some(_) => Tracker::Udp(url, Box::new(request)),
            None => Tracker::Http(ask::url(&url, &request)),
        }
    }
}

/// Something a user may want to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A piece did not hash to what the .torrent says, and is fetched again.
    HashFailed(PieceIndex),
    /// Every piece is there.
    Complete,
    /// Every piece that is wanted is there, though not every piece. May come again when other
    /// files are wanted.
    Done,
    /// Super-seeding has begun: the peers are offered piece by piece.
    SuperSeeding,
    /// What a tracker said, or what became of asking it.
    Tracker(String),
    /// What became of asking a web seed.
    WebSeed(String),
    /// A peer gave bad data once too often.
    Banned(SocketAddr),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Choose anew whom to unchoke.
    Rechoke,
    /// Look through the peers for those that were silent too long.
    Tick,
    /// As a super-seed: offer what is due.
    Offer,
    /// The upload limit has tokens again.
    Upload,
    /// The download limit has tokens again.
    Download,
    /// Those who wait for others' first copies are looked at again.
    Spread,
    /// Find something for idle peers to do.
    Endgame,
    /// Look whether retries of bad pieces take too long.
    Retries,
    /// Tell peers of each other.
    Exchange,
    /// More of the metadata may leave.
    Metadata,
    /// Look whether web seeds are due, or take too long.
    WebSeeds,
}

/// One torrent: see the head of this file.
#[derive(Debug)]
pub struct Torrent {
    info_hash: InfoHash,
    peer_id: PeerId,
    port: u16,
    started: Instant,
    /// Somebody has connected to us from outside: others can.
    reached: bool,
    /// While we super-seed.
    super_seed: Option<SuperSeed>,
    geometry: Arc<Geometry>,
    config: Config,
    rng: Rng,
    priorities: Vec<Priority>,
    ledger: Ledger,
    picker: Picker,
    choker: Choker,
    candidates: Candidates,
    announcer: Announcer,
    key: String,
    /// How many there are, as a tracker said last.
    swarm: Option<Counts>,
    peers: sorted::Map<PeerKey, Peer>,
    next_key: u64,
    conduct: download::Conduct,
    retries: retry::Retries,
    /// Peers with uploads waiting, in the order they get their next block.
    round: VecDeque<PeerKey>,
    limits: Limits,
    /// So many connections more may be opened, where others share their number.
    room: usize,
    /// More would be dialled if there were fewer connections of others.
    crowded: bool,
    /// Somebody is to be asked for more once the download limit has tokens.
    thirsty: bool,
    spread: spread::Spread,
    /// What is given of the metadata; `None` if it is not.
    metadata: Option<metadata::Given>,
    web: web::WebSeeds,
    news: news::News,
    up: Meter,
    down: Meter,
    discarded: u64,
    timers: Timers<Timer>,
    stopping: bool,
    /// The disk takes nothing: nothing is asked for.
    held: bool,
    /// All was there before it was doubted: its end need not be told again.
    was_done: bool,
    actions: VecDeque<Action>,
}

impl Torrent {
    /// A torrent that starts now. Its first actions are announces and, if addresses are known,
    /// dialling.
    pub fn new(setup: Setup, config: Config, now: Instant) -> Torrent {
        let mut rng = Rng::new(setup.seed);
        let pieces = setup.geometry.piece_count();
        let key = format!("{:08x}", rng.next_u64() as u32);
        let (trackers, outside) = match config.local_only {
            true => keep_local(&setup.trackers),
            false => (setup.trackers, Vec::new()),
        };
        let announcer =
            Announcer::new(&trackers, config.rerequest_interval, now, Rng::new(rng.next_u64()));
        let candidates = Candidates::new(Rng::new(rng.next_u64())).within(config.local_only);
        let mut torrent = Torrent {
            info_hash: setup.info_hash,
            peer_id: setup.peer_id,
            port: setup.port,
            started: now,
            reached: false,
            super_seed: None,
            ledger: Ledger::new(setup.geometry.clone(), setup.have),
            geometry: setup.geometry,
            priorities: setup.priorities,
            picker: Picker::new(pieces)
                .with_cutoffs(config.rarest_first_cutoff, config.rarest_first_priority_cutoff),
            choker: Choker::new(),
            candidates,
            announcer,
            key,
            swarm: None,
            peers: sorted::Map::new(),
            next_key: 0,
            conduct: download::Conduct::default(),
            retries: retry::Retries::new(),
            round: VecDeque::new(),
            limits: Limits::new(&config, now),
            room: usize::MAX,
            crowded: false,
            thirsty: false,
            spread: spread::Spread::default(),
            metadata: None,
            web: web::WebSeeds::default(),
            news: news::News::default(),
            up: Meter::new(now, config.rate_window).with_head_start(config.upload_rate_fudge),
            down: Meter::new(now, config.rate_window),
            discarded: 0,
            timers: Timers::new(),
            stopping: false,
            held: false,
            was_done: false,
            actions: VecDeque::new(),
            rng,
            config,
        };
        torrent.sort_out_pieces();
        torrent.begin_limits();
        let notices = torrent.announcer.take_notices();
        torrent.report_tracker(notices.into_iter().chain(outside));
        if let Some(ip) = torrent.config.ip.as_ref().and_then(|ip| ip.parse().ok()) {
            torrent.learn_own_ip(ip);
        }
        torrent.begin_super_seed(now);
        torrent.on_time(now);
        torrent
    }

    /// Its peers, which have no numbers yet, are numbered from here on: those of no two torrents may
    /// be alike where they share what knows peers by them.
    pub fn with_keys_from(self, first: u64) -> Torrent {
        debug_assert!(self.peers.is_empty() && first >= self.next_key);
        Torrent { next_key: first, ..self }
    }

    /// What is to be done next; `None` until something happens or the time comes.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`on_time`](Self::on_time) if nothing happens before.
    pub fn next_deadline(&self) -> Option<Instant> {
        let dial = if self.may_dial() { self.candidates.next_deadline() } else { None };
        [self.timers.next(), self.announcer.next_deadline(), dial].into_iter().flatten().min()
    }

    /// Does what is due by now.
    pub fn on_time(&mut self, now: Instant) {
        while let Some(timer) = self.timers.expired(now) {
            match timer {
                Timer::Rechoke => self.rechoke(now),
                Timer::Tick => self.tick(now),
                Timer::Offer => self.offer_all(now),
                Timer::Upload => self.pump_uploads(now),
                Timer::Download => {
                    self.thirsty = false;
                    self.ask_all(now);
                }
                Timer::Spread => {
                    self.release_held();
                    self.pump_uploads(now);
                }
                Timer::Endgame => self.endgame(now),
                Timer::Retries => self.look_at_retries(now),
                Timer::Exchange => self.exchange(now),
                Timer::Metadata => self.pump_metadata(now),
                Timer::WebSeeds => self.look_at_web_seeds(now),
            }
        }
        self.dial(now);
        self.announce_if_due(now);
    }

    /// Ends the torrent: trackers are told, every connection is closed. Data on its way to disk
    /// still is written.
    pub fn stop(&mut self, now: Instant) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        let keys: Vec<PeerKey> = self.peers.keys().copied().collect();
        for key in keys {
            self.close(key, now);
        }
        self.abandon_all(now);
        self.announce_stopped();
    }

    /// The pieces that are had and checked.
    pub fn have(&self) -> &Bitfield {
        self.ledger.have()
    }

    /// Whether every piece is had.
    pub fn is_complete(&self) -> bool {
        self.ledger.is_complete()
    }

    /// Whether every piece that is wanted is had.
    pub fn is_done(&self) -> bool {
        self.ledger.is_done()
    }

    /// Bytes of wanted pieces.
    pub fn wanted(&self) -> u64 {
        self.ledger.total_wanted()
    }

    /// Payload that came in and went out since the start, in bytes.
    pub fn transferred(&self) -> (u64, u64) {
        (self.down.total(), self.up.total())
    }

    /// Whether a tracker is still to hear that the download is complete, and is likely to listen.
    pub fn owes_completed(&self) -> bool {
        self.announcer.owes_completed()
    }

    /// The swarm's name.
    pub fn info_hash(&self) -> InfoHash {
        self.info_hash
    }

    /// Asserts what must hold between the parts; for tests, after every step.
    ///
    /// # Panics
    /// When it does not hold.
    pub fn check(&self) {
        self.ledger.check();
        for (key, session) in self.sessions() {
            for block in &session.asked {
                let known = self.ledger.asked_of(*block).any(|k| k == key);
                assert!(known, "{key:?} was asked for {block:?}, which the ledger does not know");
            }
            let lacking = session.have.ones().filter(|i| self.ledger.lacks(*i)).count();
            assert_eq!(session.useful as usize, lacking, "useful pieces of {key:?}");
        }
        for seed in self.web.seeds.iter().filter(|seed| seed.run().is_none()) {
            assert_eq!(self.ledger.asked_count(seed.key), 0, "asked of {:?}", seed.source);
        }
    }

    fn sessions(&self) -> impl Iterator<Item = (PeerKey, &super::peer::Session)> {
        self.peers.iter().filter_map(|(k, p)| p.session().map(|s| (*k, s)))
    }

    fn session(&mut self, key: PeerKey) -> Option<&mut super::peer::Session> {
        self.peers.get_mut(&key)?.session_mut()
    }

    fn open_keys(&self) -> Vec<PeerKey> {
        self.sessions().map(|(k, _)| k).collect()
    }

    fn say(&mut self, key: PeerKey, message: Message, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.said = now;
            if let (Message::Cancel(block), Some(session)) = (&message, peer.session_mut()) {
                session.on_cancelled(*block);
            }
            self.actions.push_back(Action::Send(key, message));
        }
    }
}
