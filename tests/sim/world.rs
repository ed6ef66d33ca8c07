//! A swarm in virtual time: torrents joined by pipes, a tracker that knows them all, a disk that
//! takes its time. Everything follows from one seed number.

use bittornado::logic::PeerKey;
use bittornado::logic::rng::Rng;
use bittornado::logic::torrent::{Action, Config, Notice, Setup, Torrent};
use bittornado::proto::announce::Peer;
use bittornado::proto::bitfield::Bitfield;
use bittornado::proto::geometry::{BlockRef, Geometry, PieceIndex};
use bittornado::proto::hash::{Sha1, sha1};
use bittornado::proto::ids::{InfoHash, PeerId};
use bittornado::proto::wire::{Framer, Incoming, Limits, Message, Next, Pool, handshake};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

const INFO_HASH: InfoHash = InfoHash([0x42; 20]);

/// What the swarm is made of.
pub struct Plan {
    pub seed: u64,
    /// The first nodes are seeds.
    pub seeds: usize,
    pub leechers: usize,
    pub geometry: Geometry,
    /// One block in so many is damaged on its way; 0 for none.
    pub corrupt_one_in: u32,
    /// A random connection is cut after so much time, again and again.
    pub cut_every: Option<Duration>,
    pub villain: Option<Villain>,
    /// The seed super-seeds.
    pub super_seed: bool,
    pub config: Config,
}

/// One that damages what it sends.
#[derive(Clone, Copy)]
pub struct Villain {
    pub node: usize,
    /// One block in so many is damaged; 1 for every one.
    pub lies_one_in: u32,
    /// Bytes a second; `None` for as fast as the others.
    pub upload_limit: Option<u64>,
    /// After so many blocks it chokes and unchokes again; 0 for never.
    pub chokes_after: u32,
}

enum Event {
    Bytes { node: usize, key: PeerKey, bytes: Vec<u8> },
    Arrived { node: usize, key: PeerKey },
    Refused { node: usize, key: PeerKey },
    Lost { node: usize, key: PeerKey },
    Sent { node: usize, key: PeerKey, block: BlockRef },
    Hashed { node: usize, piece: PieceIndex, good: bool },
    Announced { node: usize, number: u64, peers: Vec<Peer> },
    Time { node: usize },
    Cut,
}

/// One end of a connection.
struct End {
    node: usize,
    /// The number at the other end, once it has one.
    key: Option<PeerKey>,
    framer: Framer,
    /// When the last byte on its way to the other end arrives there.
    busy_until: Instant,
}

pub struct Node {
    pub torrent: Torrent,
    pub store: Vec<u8>,
    pub failed_pieces: usize,
    pub banned: Vec<IpAddr>,
    pub complete_at: Option<Duration>,
    ends: BTreeMap<PeerKey, End>,
    pool: Pool,
    wakes_at: Option<Instant>,
}

pub struct World {
    plan: Plan,
    content: Vec<u8>,
    rng: Rng,
    start: Instant,
    now: Instant,
    pub nodes: Vec<Node>,
    events: BTreeMap<(Instant, u64), Event>,
    count: u64,
    trace: Sha1,
    villain_sent: u32,
}

fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([20, 0, 0, 1 + node as u8], 6881))
}

impl World {
    pub fn new(plan: Plan) -> World {
        let mut rng = Rng::new(plan.seed);
        let start = Instant::now();
        let content: Vec<u8> =
            (0..plan.geometry.total()).map(|_| (rng.next_u64() >> 32) as u8).collect();
        let geometry = Arc::new(plan.geometry.clone());
        let pieces = geometry.piece_count();
        let node = |i: usize, seed: u64| {
            let have = if i < plan.seeds { Bitfield::full(pieces) } else { Bitfield::new(pieces) };
            let mut id = *b"-SI0001-000000000000";
            id[8..16].copy_from_slice(&(i as u64).to_be_bytes());
            let setup = Setup {
                info_hash: INFO_HASH,
                peer_id: PeerId(id),
                geometry: Arc::clone(&geometry),
                have,
                priorities: Vec::new(),
                trackers: vec![vec!["http://tracker.test/announce".into()]],
                port: 6881,
                seed,
            };
            let super_seeder = plan.super_seed && i == 0;
            let mut config = Config { super_seeder, ..plan.config.clone() };
            if let Some(villain) = plan.villain.filter(|v| v.node == i) {
                config.upload_limit = villain.upload_limit.or(config.upload_limit);
            }
            Node {
                torrent: Torrent::new(setup, config, start),
                store: if i < plan.seeds { content.clone() } else { vec![0; content.len()] },
                failed_pieces: 0,
                banned: Vec::new(),
                complete_at: None,
                ends: BTreeMap::new(),
                pool: Pool::new(64),
                wakes_at: None,
            }
        };
        let nodes = (0..plan.seeds + plan.leechers).map(|i| node(i, rng.next_u64())).collect();
        let mut world = World {
            plan,
            content,
            rng,
            start,
            now: start,
            nodes,
            events: BTreeMap::new(),
            count: 0,
            trace: Sha1::new(),
            villain_sent: 0,
        };
        (0..world.nodes.len()).for_each(|node| world.perform(node));
        world.plan_cut();
        world
    }

    /// Plays until every leecher is complete, or the time is over. Returns how long it took in
    /// virtual time, and a digest of all that happened.
    pub fn play(&mut self, limit: Duration) -> (Duration, [u8; 20]) {
        while self.nodes.iter().any(|n| !n.torrent.is_complete()) {
            let ((at, _), event) = self.events.pop_first().expect("somebody always has a deadline");
            assert!(at >= self.now, "time runs backwards");
            self.now = at;
            let elapsed = at.duration_since(self.start);
            assert!(elapsed < limit, "not complete after {limit:?}: {:?}", self.progress());
            self.happen(event);
        }
        (self.now.duration_since(self.start), self.trace.clone().finish())
    }

    /// The address of a node.
    pub fn ip(node: usize) -> IpAddr {
        address(node).ip()
    }

    /// Whether a node's data is that of the seed.
    pub fn is_intact(&self, node: usize) -> bool {
        self.nodes[node].store == self.content
    }

    fn progress(&self) -> Vec<u32> {
        self.nodes.iter().map(|n| n.torrent.have().count()).collect()
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.count += 1;
        self.events.insert((at, self.count), event);
    }

    fn soon(&mut self, up_to_ms: u32, event: Event) {
        let delay = Duration::from_micros(u64::from(self.rng.below(up_to_ms * 1000)) + 100);
        self.at(self.now + delay, event);
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        let node = match event {
            Event::Bytes { node, key, bytes } => {
                self.note(b"bytes", node, bytes.len());
                self.hear(node, key, &bytes);
                node
            }
            Event::Arrived { node, key } => {
                self.note(b"arrived", node, key.0 as usize);
                self.nodes[node].torrent.on_connected(key, now);
                node
            }
            Event::Refused { node, key } => {
                self.nodes[node].torrent.on_connect_failed(key, now);
                node
            }
            Event::Lost { node, key } => {
                self.note(b"lost", node, key.0 as usize);
                if self.nodes[node].ends.remove(&key).is_some() {
                    self.nodes[node].torrent.on_lost(key, now);
                }
                node
            }
            Event::Sent { node, key, block } => {
                self.nodes[node].torrent.on_block_sent(key, block, now);
                node
            }
            Event::Hashed { node, piece, good } => {
                self.note(b"hashed", node, piece.at());
                self.nodes[node].torrent.on_verified(piece, good, now);
                node
            }
            Event::Announced { node, number, peers } => {
                self.nodes[node].torrent.on_announced(number, Ok(super::reply(peers)), now);
                node
            }
            Event::Time { node } => {
                self.nodes[node].wakes_at = None;
                self.nodes[node].torrent.on_time(now);
                node
            }
            Event::Cut => return self.cut(),
        };
        self.perform(node);
        self.nodes[node].torrent.check();
    }

    fn note(&mut self, what: &[u8], node: usize, number: usize) {
        let at = self.now.duration_since(self.start).as_nanos() as u64;
        self.trace.update(what);
        self.trace.update(&at.to_be_bytes());
        self.trace.update(&(node as u64).to_be_bytes());
        self.trace.update(&(number as u64).to_be_bytes());
    }

    fn hear(&mut self, node: usize, key: PeerKey, mut bytes: &[u8]) {
        loop {
            let now = self.now;
            let here = &mut self.nodes[node];
            let Some(end) = here.ends.get_mut(&key) else { return };
            let is_asked = |block| here.torrent.expects(key, block);
            let next = end.framer.next_if(&mut here.pool, is_asked);
            match next.expect("we speak the protocol") {
                Next::Got(Incoming::Hello(mut hello)) => {
                    if self.plan.villain.is_some_and(|v| v.node == node) {
                        hello.reserved = [0; 8];
                    }
                    here.torrent.on_hello(key, hello, now);
                }
                Next::Got(Incoming::Id(id)) => here.torrent.on_peer_id(key, id, now),
                Next::Got(Incoming::Message(message)) => {
                    here.torrent.on_message(key, message, now);
                }
                Next::Got(Incoming::Unasked(block)) => here.torrent.on_unasked(key, block, now),
                Next::NoBuffer => panic!("buffers are lost"),
                Next::More if bytes.is_empty() => return,
                Next::More => {
                    let (first, second) = end.framer.space();
                    let a = first.len().min(bytes.len());
                    let b = second.len().min(bytes.len() - a);
                    first[..a].copy_from_slice(&bytes[..a]);
                    second[..b].copy_from_slice(&bytes[a..a + b]);
                    end.framer.filled(a + b);
                    bytes = &bytes[a + b..];
                }
            }
            self.perform(node);
        }
    }

    fn perform(&mut self, node: usize) {
        while let Some(action) = self.nodes[node].torrent.next_action() {
            self.act(node, action);
        }
        let deadline = self.nodes[node].torrent.next_deadline();
        let sooner = |at: Instant| self.nodes[node].wakes_at.is_none_or(|set| set > at);
        if let Some(at) = deadline.filter(|at| sooner(*at)) {
            self.nodes[node].wakes_at = Some(at);
            self.at(at.max(self.now), Event::Time { node });
        }
    }

    fn act(&mut self, node: usize, action: Action) {
        match action {
            Action::Dial { peer, address } => self.dial(node, peer, address),
            Action::Greet(key, _) => {
                let mut id = *b"-SI0001-000000000000";
                id[8..16].copy_from_slice(&(node as u64).to_be_bytes());
                let mut shake = handshake(INFO_HASH, PeerId(id));
                if self.plan.villain.is_some_and(|v| v.node == node) {
                    // It speaks no extension, so that a choke drops what it was asked.
                    shake[20..28].fill(0);
                }
                self.send(node, key, shake.to_vec());
            }
            Action::Send(key, message) => {
                let mut bytes = Vec::new();
                message.encode_to(&mut bytes);
                self.send(node, key, bytes);
            }
            Action::News => {
                for (key, pieces) in self.nodes[node].torrent.take_news(Duration::ZERO, self.now) {
                    for piece in pieces {
                        self.act(node, Action::Send(key, Message::Have(piece)));
                    }
                }
            }
            Action::SendBlock(key, block) => self.send_block(node, key, block),
            // The pipes have their own pace.
            Action::Allow(..) => {}
            Action::Close(key) => self.close(node, key),
            Action::Write(block, data) => {
                let start = self.offset(block);
                self.nodes[node].store[start..start + data.len()].copy_from_slice(&data);
                self.nodes[node].pool.give(data);
            }
            Action::Verify(piece) => {
                let whole = self.plan.geometry.whole_piece(piece);
                let (start, end) =
                    (self.offset(whole), self.offset(whole) + whole.length() as usize);
                let good =
                    sha1(&self.nodes[node].store[start..end]) == sha1(&self.content[start..end]);
                self.soon(5, Event::Hashed { node, piece, good });
            }
            Action::Recycle(data) => self.nodes[node].pool.give(data),
            Action::Announce { number, .. } => {
                let others = (0..self.nodes.len()).filter(|i| *i != node);
                let peers = others
                    .map(|i| Peer { address: address(i), id: None, requires_encryption: false })
                    .collect();
                self.soon(200, Event::Announced { node, number, peers });
            }
            Action::Scrape(_) => {}
            Action::Node(_) => unreachable!("there is no hash table"),
            Action::Fetch { .. } | Action::Abandon(_) => unreachable!("there are no web seeds"),
            Action::Report(notice) => self.report(node, notice),
        }
    }

    fn report(&mut self, node: usize, notice: Notice) {
        let here = &mut self.nodes[node];
        match notice {
            Notice::HashFailed(_) => here.failed_pieces += 1,
            Notice::SuperSeeding => {}
            Notice::Banned(address) => here.banned.push(address.ip()),
            Notice::Complete | Notice::Done => {
                here.complete_at = Some(self.now.duration_since(self.start))
            }
            Notice::Tracker(text) | Notice::WebSeed(text) => {
                panic!("the tracker is kind, and there are no web seeds, but: {text}")
            }
        }
    }

    fn offset(&self, block: BlockRef) -> usize {
        (self.plan.geometry.piece_start(block.piece()) + u64::from(block.begin())) as usize
    }

    fn framer(&self) -> Framer {
        let mut framer = Framer::new();
        framer.attach(Arc::new(self.plan.geometry.clone()), Limits::default());
        framer
    }

    fn dial(&mut self, node: usize, key: PeerKey, to: SocketAddr) {
        let other = (0..self.nodes.len()).find(|i| address(*i) == to).expect("a known address");
        let from = SocketAddr::from((address(node).ip(), 40_000 + (key.0 % 20_000) as u16));
        let now = self.now;
        let stands = now + Duration::from_micros(u64::from(self.rng.below(50_000)));
        let Ok(other_key) = self.nodes[other].torrent.on_incoming(from, false, now) else {
            return self.at(stands, Event::Refused { node, key });
        };
        // Nothing arrives before the connection stands at both ends.
        let end = |node, key, framer| End { node, key, framer, busy_until: stands };
        let (here, there) = (self.framer(), self.framer());
        self.nodes[node].ends.insert(key, end(other, Some(other_key), here));
        self.nodes[other].ends.insert(other_key, end(node, Some(key), there));
        self.at(stands, Event::Arrived { node, key });
        self.perform(other);
    }

    /// Bytes go off in portions of any size, and arrive in order.
    fn send(&mut self, node: usize, key: PeerKey, bytes: Vec<u8>) {
        let Some(end) = self.nodes[node].ends.get(&key) else { return };
        let (to, Some(to_key)) = (end.node, end.key) else { return };
        let mut at = end.busy_until.max(self.now + Duration::from_millis(1));
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let cut = 1 + self.rng.below(rest.len() as u32) as usize;
            let (portion, others) = rest.split_at(cut);
            rest = others;
            // About 2 MiB a second.
            at += Duration::from_micros(portion.len() as u64 / 2);
            let bytes = portion.to_vec();
            self.at(at, Event::Bytes { node: to, key: to_key, bytes });
        }
        if let Some(end) = self.nodes[node].ends.get_mut(&key) {
            end.busy_until = at;
        }
    }

    fn send_block(&mut self, node: usize, key: PeerKey, block: BlockRef) {
        let start = self.offset(block);
        let mut data = self.nodes[node].store[start..start + block.length() as usize].to_vec();
        let unlucky = self.plan.corrupt_one_in > 0 && self.rng.below(self.plan.corrupt_one_in) == 0;
        if unlucky || self.lies(node) {
            let at = self.rng.below(data.len() as u32) as usize;
            data[at] ^= 0x55;
        }
        let mut bytes = Vec::new();
        Message::Piece { block, data }.encode_to(&mut bytes);
        self.send(node, key, bytes);
        let left = self.nodes[node].ends.get(&key).map_or(self.now, |end| end.busy_until);
        self.at(left, Event::Sent { node, key, block });
        self.maybe_choke(node, key);
    }

    fn lies(&mut self, node: usize) -> bool {
        let Some(villain) = self.plan.villain.filter(|v| v.node == node) else { return false };
        self.rng.below(villain.lies_one_in) == 0
    }

    /// A fickle villain chokes behind its own back: what it was asked is forgotten.
    fn maybe_choke(&mut self, node: usize, key: PeerKey) {
        let Some(villain) = self.plan.villain.filter(|v| v.node == node) else { return };
        self.villain_sent += 1;
        if villain.chokes_after > 0 && self.villain_sent % villain.chokes_after == 0 {
            let mut bytes = Vec::new();
            Message::Choke.encode_to(&mut bytes);
            Message::Unchoke.encode_to(&mut bytes);
            self.send(node, key, bytes);
        }
    }

    fn close(&mut self, node: usize, key: PeerKey) {
        let Some(mut end) = self.nodes[node].ends.remove(&key) else { return };
        end.framer.release(&mut self.nodes[node].pool);
        if let Some(other) = end.key {
            let at = end.busy_until.max(self.now) + Duration::from_millis(1);
            self.at(at, Event::Lost { node: end.node, key: other });
        }
    }

    fn plan_cut(&mut self) {
        if let Some(period) = self.plan.cut_every {
            self.at(self.now + period, Event::Cut);
        }
    }

    /// Cuts a random connection: both ends notice.
    fn cut(&mut self) {
        self.plan_cut();
        let node = self.rng.below(self.nodes.len() as u32) as usize;
        let keys: Vec<PeerKey> = self.nodes[node].ends.keys().copied().collect();
        if keys.is_empty() {
            return;
        }
        let key = keys[self.rng.below(keys.len() as u32) as usize];
        self.close(node, key);
        self.nodes[node].torrent.on_lost(key, self.now);
        self.perform(node);
    }
}
