//! Big swarms in virtual time: hundreds of torrents joined by links of given width.
//!
//! Messages travel whole and blocks have no payload: a damaged one is marked as such. What counts
//! are the queues. A node's uplink sends one block at a time, its connections in turn; what a
//! connection has to say waits behind the blocks it sends; a downlink takes one block after the
//! other; on the way between are no more blocks of a connection than its window. Everything
//! follows from one seed number.

use bittornado::logic::PeerKey;
use bittornado::logic::rng::Rng;
use bittornado::logic::torrent::{Action, Config, Notice, Setup, Torrent};
use bittornado::proto::announce::Peer;
use bittornado::proto::bitfield::Bitfield;
use bittornado::proto::geometry::{BlockRef, Geometry, PieceIndex};
use bittornado::proto::ids::{InfoHash, PeerId};
use bittornado::proto::wire::{Framer, Hello, Incoming, Message, Next, Pool, handshake};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

const INFO_HASH: InfoHash = InfoHash([0x42; 20]);

/// Blocks of a connection between both ends: 1 MiB.
const WINDOW: usize = 64;

/// A tracker names so many peers at most.
const NUMWANT: usize = 50;

/// Hashing a piece takes so long.
const HASHING: Duration = Duration::from_micros(500);

/// One step in so many is followed by a check of the torrent it concerned.
const SAMPLING: u64 = 20_011;

/// A node's connection to the world.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// Bytes a second.
    pub up: f64,
    /// Bytes a second.
    pub down: f64,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Seed,
    Leecher,
    /// Takes and never unchokes anybody.
    FreeRider,
    /// Damages every block it sends.
    Villain,
    /// Says that it has everything, and lets everybody wait.
    Boaster,
}

/// One node to be.
#[derive(Debug, Clone)]
pub struct Part {
    pub role: Role,
    pub link: Link,
    pub joins: Duration,
    /// Leaves so long after it is complete.
    pub leaves: Option<Duration>,
    pub config: Config,
}

/// What is played.
pub struct Plan {
    pub seed: u64,
    pub geometry: Geometry,
    pub parts: Vec<Part>,
    /// A random connection is cut after so much time, again and again.
    pub cut_every: Option<Duration>,
    /// From end to end, in milliseconds, at least and less than.
    pub latency: (u32, u32),
}

enum Word {
    Hello,
    Message(Message),
}

enum Item {
    Words(Vec<Word>),
    Block(BlockRef),
}

/// What comes to a downlink.
enum Load {
    Words(Vec<Word>),
    Block(BlockRef, bool),
    End,
}

enum Event {
    Join,
    Leave,
    Arrived(PeerKey),
    Refused(PeerKey),
    Landed(PeerKey, Load),
    Lost(PeerKey),
    Words(PeerKey, Vec<Word>),
    Block(PeerKey, BlockRef, bool),
    /// The uplink has sent its block.
    Idle(PeerKey, BlockRef),
    Hashed(PieceIndex, bool),
    Announced(u64),
    Time,
    Cut,
}

struct Due {
    at: Instant,
    number: u64,
    node: usize,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        self.number == other.number
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// One end of a connection.
struct End {
    node: usize,
    key: PeerKey,
    latency: Duration,
    queue: VecDeque<Item>,
    /// Blocks that have left and not arrived.
    flying: usize,
    /// Stands in the uplink's round.
    waits: bool,
    /// When the last thing sent comes to the other end's downlink.
    lands: Instant,
    /// When the last thing that came to our downlink is through.
    through: Instant,
    /// Bytes of blocks that may leave.
    allowed: Option<u64>,
}

pub struct Node {
    pub part: Part,
    pub torrent: Option<Torrent>,
    pub complete_at: Option<Duration>,
    pub failed_pieces: usize,
    pub bans: usize,
    /// Payload that came, and that went.
    pub received: u64,
    pub sent: u64,
    ends: BTreeMap<PeerKey, End>,
    round: VecDeque<PeerKey>,
    sending: bool,
    down_free: Instant,
    damaged: BTreeSet<u32>,
    wakes_at: Option<Instant>,
}

pub struct World {
    plan: Plan,
    geometry: Arc<Geometry>,
    hello: Hello,
    rng: Rng,
    pub start: Instant,
    pub now: Instant,
    pub nodes: Vec<Node>,
    events: BinaryHeap<Reverse<Due>>,
    count: u64,
    pub steps: u64,
    digest: u64,
    incomplete: usize,
    /// What free riders had, of what honest leechers had, when the first of these was complete.
    pub riders: Option<f64>,
    outbox: Vec<(PeerKey, Word)>,
}

fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([20, (node >> 16) as u8, (node >> 8) as u8, node as u8], 6881))
}

fn node_at(address: SocketAddr) -> usize {
    let IpAddr::V4(ip) = address.ip() else { panic!("a strange address") };
    let [_, a, b, c] = ip.octets();
    usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
}

fn id(node: usize) -> PeerId {
    let mut id = *b"-SI0001-000000000000";
    id[8..16].copy_from_slice(&(node as u64).to_be_bytes());
    PeerId(id)
}

/// What the other end makes of our handshake.
fn hello() -> Hello {
    let (mut framer, mut pool) = (Framer::new(), Pool::new(1));
    let bytes = handshake(INFO_HASH, id(0));
    let mut rest = &bytes[..];
    loop {
        match framer.next(&mut pool) {
            Ok(Next::Got(Incoming::Hello(hello))) => return hello,
            Ok(Next::More) => {
                let (space, _) = framer.space();
                let n = space.len().min(rest.len());
                space[..n].copy_from_slice(&rest[..n]);
                framer.filled(n);
                rest = &rest[n..];
            }
            _ => panic!("our handshake is none"),
        }
    }
}

impl World {
    pub fn new(mut plan: Plan) -> World {
        let start = Instant::now();
        let parts = std::mem::take(&mut plan.parts);
        let node = |part: Part| Node {
            part,
            torrent: None,
            complete_at: None,
            failed_pieces: 0,
            bans: 0,
            received: 0,
            sent: 0,
            ends: BTreeMap::new(),
            round: VecDeque::new(),
            sending: false,
            down_free: start,
            damaged: BTreeSet::new(),
            wakes_at: None,
        };
        let mut world = World {
            geometry: Arc::new(plan.geometry.clone()),
            hello: hello(),
            rng: Rng::new(plan.seed),
            start,
            now: start,
            nodes: parts.into_iter().map(node).collect(),
            events: BinaryHeap::new(),
            count: 0,
            steps: 0,
            digest: 0xcbf2_9ce4_8422_2325,
            incomplete: 0,
            riders: None,
            outbox: Vec::new(),
            plan,
        };
        for node in 0..world.nodes.len() {
            let joins = start + world.nodes[node].part.joins;
            world.incomplete += usize::from(world.is_awaited(node));
            world.at(joins, node, Event::Join);
        }
        world.plan_cut();
        world
    }

    fn is_awaited(&self, node: usize) -> bool {
        self.nodes[node].part.role == Role::Leecher
    }

    /// Plays until everybody who is honest is complete; returns when the last was, and a digest
    /// of all that happened.
    pub fn play(&mut self, limit: Duration) -> (Duration, u64) {
        while self.incomplete > 0 {
            let elapsed = self.now.duration_since(self.start);
            assert!(elapsed < limit, "{} not complete after {limit:?}", self.incomplete);
            self.step();
        }
        (self.now.duration_since(self.start), self.digest)
    }

    /// Plays up to a time.
    pub fn play_until(&mut self, end: Duration) {
        let end = self.start + end;
        while self.events.peek().is_some_and(|Reverse(due)| due.at <= end) {
            self.step();
        }
        self.now = end;
    }

    fn step(&mut self) {
        let Reverse(due) = self.events.pop().expect("somebody always has a deadline");
        assert!(due.at >= self.now, "time runs backwards");
        self.now = due.at;
        self.steps += 1;
        self.happen(due.node, due.event);
        if self.steps % SAMPLING == 0 {
            self.nodes[due.node].torrent.iter().for_each(Torrent::check);
        }
    }

    fn at(&mut self, at: Instant, node: usize, event: Event) {
        self.count += 1;
        self.events.push(Reverse(Due { at, number: self.count, node, event }));
    }

    fn note(&mut self, kind: u64, node: usize, number: u64) {
        let at = self.now.duration_since(self.start).as_nanos() as u64;
        for word in [kind, at, node as u64, number] {
            self.digest = (self.digest ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
    }

    fn happen(&mut self, node: usize, event: Event) {
        let now = self.now;
        match event {
            Event::Cut => return self.cut(),
            Event::Join => self.join(node),
            Event::Leave => return self.leave(node),
            Event::Idle(key, block) => self.idle(node, key, block),
            Event::Block(key, block, good) => return self.on_block(node, key, block, good),
            Event::Landed(key, load) => return self.on_landed(node, key, load),
            Event::Lost(key) => {
                if self.nodes[node].ends.remove(&key).is_none() {
                    return;
                }
                self.torrent(node, |t| t.on_lost(key, now));
            }
            Event::Words(key, words) => {
                for word in words {
                    if !self.nodes[node].ends.contains_key(&key) {
                        return;
                    }
                    self.on_word(node, key, word);
                }
                return;
            }
            Event::Arrived(key) => self.torrent(node, |t| t.on_connected(key, now)),
            Event::Refused(key) => self.torrent(node, |t| t.on_connect_failed(key, now)),
            Event::Hashed(piece, good) => {
                self.note(1, node, piece.get().into());
                self.torrent(node, |t| t.on_verified(piece, good, now));
            }
            Event::Announced(number) => self.announced(node, number),
            Event::Time => {
                self.nodes[node].wakes_at = None;
                self.torrent(node, |t| t.on_time(now));
            }
        }
        self.perform(node);
    }

    /// The downlink takes blocks as they come; what else a connection brings waits behind its own.
    fn on_landed(&mut self, node: usize, key: PeerKey, load: Load) {
        let now = self.now;
        let here = &mut self.nodes[node];
        let Some(end) = here.ends.get_mut(&key) else { return };
        if let Load::Block(block, _) = &load {
            let takes = Duration::from_secs_f64(f64::from(block.length()) / here.part.link.down);
            here.down_free = here.down_free.max(now) + takes;
            end.through = here.down_free;
        }
        let (at, is_through) = (end.through.max(now), end.through < now);
        let event = match load {
            Load::Words(words) => Event::Words(key, words),
            Load::Block(block, good) => Event::Block(key, block, good),
            Load::End => Event::Lost(key),
        };
        match is_through {
            true => self.happen(node, event),
            false => self.at(at, node, event),
        }
    }

    fn torrent(&mut self, node: usize, act: impl FnOnce(&mut Torrent)) {
        if let Some(torrent) = &mut self.nodes[node].torrent {
            act(torrent);
        }
    }

    fn join(&mut self, node: usize) {
        let part = &self.nodes[node].part;
        let pieces = self.geometry.piece_count();
        let has_all = matches!(part.role, Role::Seed | Role::Boaster);
        let setup = Setup {
            info_hash: INFO_HASH,
            peer_id: id(node),
            geometry: Arc::clone(&self.geometry),
            have: if has_all { Bitfield::full(pieces) } else { Bitfield::new(pieces) },
            priorities: Vec::new(),
            trackers: vec![vec!["http://tracker.test/announce".into()]],
            port: 6881,
            seed: self.rng.next_u64(),
        };
        let torrent = Torrent::new(setup, part.config.clone(), self.now);
        self.nodes[node].torrent = Some(torrent);
    }

    fn leave(&mut self, node: usize) {
        let keys: Vec<PeerKey> = self.nodes[node].ends.keys().copied().collect();
        keys.into_iter().for_each(|key| self.close(node, key));
        self.nodes[node].torrent = None;
        self.nodes[node].round.clear();
    }

    fn announced(&mut self, node: usize, number: u64) {
        let there = |i: &usize| *i != node && self.nodes[*i].torrent.is_some();
        let mut others: Vec<usize> = (0..self.nodes.len()).filter(there).collect();
        self.rng.shuffle(&mut others);
        others.truncate(NUMWANT);
        let peers = others
            .into_iter()
            .map(|i| Peer { address: address(i), id: None, requires_encryption: false })
            .collect();
        let now = self.now;
        self.torrent(node, |t| t.on_announced(number, Ok(super::reply(peers)), now));
    }

    fn on_word(&mut self, node: usize, key: PeerKey, word: Word) {
        let (now, hello) = (self.now, self.hello);
        match word {
            Word::Hello => {
                let id = id(self.nodes[node].ends[&key].node);
                self.torrent(node, |t| t.on_hello(key, hello, now));
                self.perform(node);
                self.torrent(node, |t| t.on_peer_id(key, id, now));
            }
            Word::Message(message) => self.torrent(node, |t| t.on_message(key, message, now)),
        }
        self.perform(node);
    }

    fn on_block(&mut self, node: usize, key: PeerKey, block: BlockRef, good: bool) {
        let now = self.now;
        let Some(end) = self.nodes[node].ends.get(&key) else { return };
        let (from, from_key) = (end.node, end.key);
        self.nodes[node].received += u64::from(block.length());
        let data = if good { Vec::new() } else { vec![1] };
        self.torrent(node, |t| t.on_message(key, Message::Piece { block, data }, now));
        self.perform(node);
        if let Some(end) = self.nodes[from].ends.get_mut(&from_key) {
            end.flying -= 1;
            self.line_up(from, from_key);
        }
    }

    fn perform(&mut self, node: usize) {
        while let Some(action) = self.nodes[node].torrent.as_mut().and_then(Torrent::next_action) {
            self.act(node, action);
        }
        self.deliver_words(node);
        let here = &mut self.nodes[node];
        let deadline = here.torrent.as_ref().and_then(Torrent::next_deadline);
        if let Some(at) = deadline.filter(|at| here.wakes_at.is_none_or(|set| set > *at)) {
            here.wakes_at = Some(at);
            self.at(at.max(self.now), node, Event::Time);
        }
    }

    fn act(&mut self, node: usize, action: Action) {
        match action {
            Action::Dial { peer, address } => self.dial(node, peer, address),
            Action::Greet(key, _) => self.outbox.push((key, Word::Hello)),
            Action::Send(_, Message::Unchoke) if self.nodes[node].part.role == Role::FreeRider => {}
            Action::Send(key, message) => self.outbox.push((key, Word::Message(message))),
            Action::News => {
                let torrent = self.nodes[node].torrent.as_mut();
                let news = torrent.map(|t| t.take_news(Duration::ZERO, self.now));
                for (key, pieces) in news.into_iter().flatten() {
                    let haves = pieces.into_iter().map(Message::Have);
                    self.outbox.extend(haves.map(|have| (key, Word::Message(have))));
                }
            }
            Action::SendBlock(key, block) => {
                self.deliver_words(node);
                if self.nodes[node].part.role == Role::Boaster {
                    return;
                }
                if let Some(end) = self.nodes[node].ends.get_mut(&key) {
                    end.queue.push_back(Item::Block(block));
                    self.line_up(node, key);
                }
            }
            Action::Allow(key, bytes) => {
                let here = &mut self.nodes[node];
                here.sent += bytes;
                if let Some(end) = here.ends.get_mut(&key) {
                    end.allowed = Some(end.allowed.unwrap_or(0) + bytes);
                    self.line_up(node, key);
                }
            }
            Action::Close(key) => {
                self.deliver_words(node);
                self.close(node, key);
            }
            Action::Write(block, data) => {
                if !data.is_empty() {
                    self.nodes[node].damaged.insert(block.piece().get());
                }
            }
            Action::Verify(piece) => {
                let good = !self.nodes[node].damaged.remove(&piece.get());
                self.at(self.now + HASHING, node, Event::Hashed(piece, good));
            }
            Action::Recycle(_) => {}
            Action::Announce { number, .. } => {
                let delay = Duration::from_millis(10 + u64::from(self.rng.below(200)));
                self.at(self.now + delay, node, Event::Announced(number));
            }
            Action::Scrape(_) => {}
            Action::Node(_) => unreachable!("there is no hash table"),
            Action::Fetch { .. } | Action::Abandon(_) => unreachable!("there are no web seeds"),
            Action::Report(notice) => self.report(node, notice),
        }
    }

    fn report(&mut self, node: usize, notice: Notice) {
        let awaited = self.is_awaited(node);
        let here = &mut self.nodes[node];
        match notice {
            Notice::HashFailed(_) => here.failed_pieces += 1,
            Notice::Banned(_) => here.bans += 1,
            Notice::Complete => {
                here.complete_at = Some(self.now.duration_since(self.start));
                let leaves = here.part.leaves;
                self.incomplete -= usize::from(awaited);
                self.weigh_riders();
                if let Some(stay) = leaves {
                    self.at(self.now + stay, node, Event::Leave);
                }
            }
            _ => {}
        }
    }

    /// While all still want the bandwidth: later those who are complete have no other use for it.
    fn weigh_riders(&mut self) {
        let mean = |role: Role| {
            let all = self.nodes.iter().filter(|node| node.part.role == role);
            let got: Vec<f64> = all.map(|node| node.received as f64).collect();
            got.iter().sum::<f64>() / got.len() as f64
        };
        let share = mean(Role::FreeRider) / mean(Role::Leecher);
        self.riders = self.riders.or(Some(share));
    }

    /// What was said in this turn goes off: at once, or behind the blocks that wait.
    fn deliver_words(&mut self, node: usize) {
        let mut outbox = std::mem::take(&mut self.outbox);
        outbox.sort_by_key(|(key, _)| *key);
        let mut words = outbox.drain(..).peekable();
        while let Some((key, first)) = words.next() {
            let mut batch = vec![first];
            while let Some((_, word)) = words.next_if(|(k, _)| *k == key) {
                batch.push(word);
            }
            self.send_words(node, key, batch);
        }
        drop(words);
        self.outbox = outbox;
    }

    fn send_words(&mut self, node: usize, key: PeerKey, batch: Vec<Word>) {
        let now = self.now;
        let Some(end) = self.nodes[node].ends.get_mut(&key) else { return };
        if !end.queue.is_empty() {
            return match end.queue.back_mut() {
                Some(Item::Words(words)) => words.extend(batch),
                _ => end.queue.push_back(Item::Words(batch)),
            };
        }
        let at = end.lands.max(now + end.latency);
        end.lands = at;
        let (to, to_key) = (end.node, end.key);
        self.at(at, to, Event::Landed(to_key, Load::Words(batch)));
    }

    /// A connection that has a block to send takes its place in the uplink's round.
    fn line_up(&mut self, node: usize, key: PeerKey) {
        let here = &mut self.nodes[node];
        let Some(end) = here.ends.get_mut(&key) else { return };
        let next = end.queue.iter().find_map(|item| match item {
            Item::Block(block) => Some(u64::from(block.length())),
            Item::Words(_) => None,
        });
        let may = next.is_some_and(|length| end.allowed.is_none_or(|allowed| allowed >= length));
        if !may || end.waits || end.flying >= WINDOW {
            return;
        }
        end.waits = true;
        here.round.push_back(key);
        self.transmit(node);
    }

    /// The uplink takes the next block.
    fn transmit(&mut self, node: usize) {
        while !self.nodes[node].sending {
            let here = &mut self.nodes[node];
            let Some(key) = here.round.pop_front() else { return };
            let Some(end) = here.ends.get_mut(&key) else { continue };
            end.waits = false;
            self.pass_words(node, key);
            let here = &mut self.nodes[node];
            let Some(end) = here.ends.get_mut(&key) else { continue };
            let Some(Item::Block(block)) = end.queue.pop_front() else { continue };
            end.flying += 1;
            if let Some(allowed) = &mut end.allowed {
                *allowed -= u64::from(block.length());
            } else {
                here.sent += u64::from(block.length());
            }
            here.sending = true;
            let takes = Duration::from_secs_f64(f64::from(block.length()) / here.part.link.up);
            self.at(self.now + takes, node, Event::Idle(key, block));
        }
    }

    /// Words before the next block leave with it.
    fn pass_words(&mut self, node: usize, key: PeerKey) {
        let now = self.now;
        let Some(end) = self.nodes[node].ends.get_mut(&key) else { return };
        if !matches!(end.queue.front(), Some(Item::Words(_))) {
            return;
        }
        let Some(Item::Words(words)) = end.queue.pop_front() else { return };
        let at = end.lands.max(now + end.latency);
        end.lands = at;
        let (to, to_key) = (end.node, end.key);
        self.at(at, to, Event::Landed(to_key, Load::Words(words)));
    }

    /// The uplink has sent a block: it is on its way, and the next one's turn.
    fn idle(&mut self, node: usize, key: PeerKey, block: BlockRef) {
        let now = self.now;
        self.nodes[node].sending = false;
        let good = self.nodes[node].part.role != Role::Villain;
        if let Some(end) = self.nodes[node].ends.get_mut(&key) {
            let at = end.lands.max(now + end.latency);
            end.lands = at;
            let (to, to_key) = (end.node, end.key);
            self.at(at, to, Event::Landed(to_key, Load::Block(block, good)));
            let end = &self.nodes[node].ends[&key];
            if !end.queue.iter().any(|item| matches!(item, Item::Block(_))) {
                self.pass_words(node, key);
            }
            self.torrent(node, |t| t.on_block_sent(key, block, now));
            self.line_up(node, key);
        }
        self.transmit(node);
    }

    fn dial(&mut self, node: usize, key: PeerKey, to: SocketAddr) {
        let other = node_at(to);
        let from = SocketAddr::from((address(node).ip(), 40_000 + (key.0 % 20_000) as u16));
        let now = self.now;
        let (low, high) = self.plan.latency;
        let latency = Duration::from_micros(u64::from(
            low * 1000 + self.rng.below((high - low).max(1) * 1000),
        ));
        let stands = now + latency;
        let taken = self.nodes[other].torrent.as_mut().map(|t| t.on_incoming(from, false, now));
        let Some(Ok(other_key)) = taken else {
            return self.at(stands, node, Event::Refused(key));
        };
        let end = |node, key| End {
            node,
            key,
            latency,
            queue: VecDeque::new(),
            flying: 0,
            waits: false,
            lands: stands,
            through: stands,
            allowed: None,
        };
        self.nodes[node].ends.insert(key, end(other, other_key));
        self.nodes[other].ends.insert(other_key, end(node, key));
        self.at(stands, node, Event::Arrived(key));
        let outbox = std::mem::take(&mut self.outbox);
        self.perform(other);
        self.outbox = outbox;
    }

    fn close(&mut self, node: usize, key: PeerKey) {
        let Some(end) = self.nodes[node].ends.remove(&key) else { return };
        let at = end.lands.max(self.now) + Duration::from_millis(1);
        self.at(at, end.node, Event::Landed(end.key, Load::End));
    }

    fn plan_cut(&mut self) {
        if let Some(period) = self.plan.cut_every {
            self.at(self.now + period, 0, Event::Cut);
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
        let (key, now) = (keys[self.rng.below(keys.len() as u32) as usize], self.now);
        self.close(node, key);
        self.torrent(node, |t| t.on_lost(key, now));
        self.perform(node);
    }
}
