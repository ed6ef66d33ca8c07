//! A node of the distributed hash table (BEP 5, 32, 42, 43): what it sends to whom when, and what
//! the packets that come mean.
//!
//! The engine hands over packets and the time, and does the [`Step`]s; nothing here knows a socket
//! or reads a clock. The rooms: [`table`] (the nodes that are known), [`search`] (looking for the
//! nearest), [`store`] (what others had listed here), `votes` (what others say our address is),
//! `answers` (what they ask of us).
//!
//! Everything is bounded: questions under way, searches, answers a second, and what is listed.
//! Nobody is sent more than a few packets for what comes in his name.

mod answers;
pub mod search;
pub mod store;
pub mod table;
mod votes;

use crate::logic::registry::limit::Limit;
use crate::logic::rng::Rng;
use crate::proto::address::is_local;
use crate::proto::dht::id::NodeId;
use crate::proto::dht::saved::{MAX_NODES, Net as SavedNet, Saved};
use crate::proto::dht::{Answer, Ask, Body, Node, Packet, Query};
use crate::proto::hash::sha1;
use crate::proto::ids::InfoHash;
use search::Search;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use store::Store;
use table::{K, Table};
use votes::Votes;

/// Questions under way at a time.
const MAX_PENDING: usize = 128;

/// Searches under way at a time.
const MAX_SEARCHES: usize = 16;

/// Torrents whose peers are looked for.
pub const MAX_WANTED: usize = 4096;

/// Who has not answered after this is not waited for any more by a search, but may still answer.
const SLOW: Duration = Duration::from_millis(1500);

/// And after this not at all.
const LOST: Duration = Duration::from_secs(8);

/// How often it is looked whether a node or a bucket has been quiet for long.
const TICK: Duration = Duration::from_secs(5);

/// How often peers are looked for and we are listed, if somebody answered.
const AGAIN: Duration = Duration::from_secs(10 * 60);

/// And if nobody did.
const SOON: Duration = Duration::from_secs(60);

/// Who knows hardly anybody asks for nodes to begin with after so long, and then ever less often: a
/// few that know each other alone would stay so.
const LONELY: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(15 * 60));

/// Nodes outside have no ports below this.
const FIRST_PORT: u16 = 1024;

/// Answers to one address in a minute.
const MAX_ANSWERS_EACH: u32 = 60;

/// Something for the engine to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// To send a packet.
    Send(SocketAddr, Vec<u8>),
    /// Peers of a torrent.
    Found(InfoHash, Vec<SocketAddr>),
    /// Hardly any node is known: to name some by [`Dht::contact`].
    Bootstrap,
}

/// How a node behaves.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// It only asks, and says so (BEP 43).
    pub read_only: bool,
    /// Whether it speaks IPv4, and IPv6.
    pub families: [bool; 2],
    /// Nobody outside this machine and its networks is asked, answered or told of.
    pub local_only: bool,
    /// Where its peers are listening: what is listed elsewhere.
    pub port: u16,
}

/// What a question was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Presence,
    Search(u64),
    Listing,
}

#[derive(Debug)]
struct Pending {
    transaction: [u8; 4],
    to: SocketAddr,
    sent: Instant,
    is_slow: bool,
    about: About,
}

impl Pending {
    fn deadline(&self) -> Instant {
        self.sent + if self.is_slow { LOST } else { SLOW }
    }
}

/// What a search is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    Nodes(NodeId),
    Peers(InfoHash),
}

#[derive(Debug)]
struct Running {
    number: u64,
    six: bool,
    goal: Goal,
    search: Search,
}

/// One family of addresses.
#[derive(Debug)]
struct Net {
    table: Table,
    votes: Votes,
    is_on: bool,
}

/// A torrent whose peers are looked for, and when next, by family.
#[derive(Debug)]
struct Wanted {
    info_hash: InfoHash,
    next: [Instant; 2],
}

/// A node of the distributed hash table.
#[derive(Debug)]
pub struct Dht {
    settings: Settings,
    nets: [Net; 2],
    store: Store,
    pending: Vec<Pending>,
    searches: Vec<Running>,
    wanted: Vec<Wanted>,
    steps: VecDeque<Step>,
    limit: Limit,
    /// Answers given in the second that began then.
    answers: (Instant, u32),
    /// Addresses that are somebody's, and since when that is known; the oldest first.
    proved: Vec<(IpAddr, Instant)>,
    tick: Instant,
    lonely: (Instant, Duration),
    secret: u64,
    /// Questions asked, and searches begun.
    count: u64,
    rng: Rng,
}

fn family(at: SocketAddr) -> usize {
    usize::from(at.is_ipv6())
}

impl Dht {
    /// A node that remembers what is `saved`. Whoever can guess `secret` can answer in others'
    /// names.
    pub fn new(settings: Settings, saved: &Saved, secret: u64, seed: u64, now: Instant) -> Dht {
        let mut rng = Rng::new(seed);
        let mut net = |n: usize| {
            let own = saved.nets[n].own.unwrap_or_else(|| NodeId(random(&mut rng)));
            Net { table: Table::new(own), votes: Votes::default(), is_on: settings.families[n] }
        };
        let nets = [net(0), net(1)];
        let mut dht = Dht {
            settings,
            nets,
            store: Store::new(secret, now),
            pending: Vec::new(),
            searches: Vec::new(),
            wanted: Vec::new(),
            steps: VecDeque::new(),
            limit: Limit::new(MAX_ANSWERS_EACH, now),
            answers: (now, 0),
            proved: Vec::new(),
            tick: now,
            lonely: (now, LONELY.0),
            secret,
            count: 0,
            rng,
        };
        for n in 0..2 {
            let mut nodes = saved.nets[n].nodes.clone();
            nodes.retain(|(_, at)| !dht.is_shunned(*at));
            dht.meet(n, &nodes, now);
        }
        dht
    }

    /// What is to be remembered.
    pub fn saved(&self) -> Saved {
        let net = |net: &Net| {
            let mut nodes = net.table.nodes();
            nodes.truncate(MAX_NODES);
            SavedNet { own: Some(net.table.own()), nodes }
        };
        Saved { nets: [net(&self.nets[0]), net(&self.nets[1])] }
    }

    /// Nodes that are known.
    pub fn len(&self) -> usize {
        self.nets.iter().map(|net| net.table.len()).sum()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Somebody is said to be a node.
    pub fn contact(&mut self, at: SocketAddr, now: Instant) {
        let is_possible = self.nets[family(at)].is_on && !self.is_shunned(at);
        if is_possible && !self.pending.iter().any(|p| p.to == at) {
            let own = self.nets[family(at)].table.own();
            self.ask(at, Ask::FindNode(own), About::Presence, now);
        }
    }

    /// Peers of this torrent are looked for from now on, and we are listed as one.
    pub fn want(&mut self, info_hash: InfoHash, now: Instant) {
        let is_known = self.wanted.iter().any(|wanted| wanted.info_hash == info_hash);
        if !is_known && self.wanted.len() < MAX_WANTED {
            self.wanted.push(Wanted { info_hash, next: [now; 2] });
        }
    }

    /// They are not looked for any more.
    pub fn forget(&mut self, info_hash: &InfoHash) {
        self.wanted.retain(|wanted| wanted.info_hash != *info_hash);
        self.searches.retain(|running| running.goal != Goal::Peers(*info_hash));
    }

    /// The next thing to do, if any.
    pub fn next_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// When [`Dht::on_time`] has something to do.
    pub fn next_deadline(&self) -> Instant {
        let pending = self.pending.iter().map(Pending::deadline);
        pending.chain([self.tick]).chain(self.next_search()).min().unwrap_or(self.tick)
    }

    /// When peers are looked for next, if there is somebody to ask and room for a search.
    fn next_search(&self) -> Option<Instant> {
        if self.searches.len() >= MAX_SEARCHES {
            return None;
        }
        let nets = (0..2).filter(|n| !self.nets[*n].table.is_empty());
        nets.filter_map(|n| self.wanted.iter().map(|wanted| wanted.next[n]).min()).min()
    }

    /// Does what is due.
    pub fn on_time(&mut self, now: Instant) {
        self.look_at_pending(now);
        if self.tick <= now {
            self.tick = now + TICK;
            self.store.expire(now);
            self.look_around(now);
        }
        while self.next_search().is_some_and(|at| at <= now) {
            self.search_for_one(now);
        }
    }

    fn look_at_pending(&mut self, now: Instant) {
        let mut n = 0;
        while n < self.pending.len() {
            if self.pending[n].deadline() > now {
                n += 1;
                continue;
            }
            let Pending { to, about, is_slow, .. } = self.pending[n];
            if !is_slow {
                self.pending[n].is_slow = true;
                self.with_search(about, now, |search| search.late(to));
                continue;
            }
            self.pending.swap_remove(n);
            self.nets[family(to)].table.failed(to);
            self.with_search(about, now, |search| search.failed(to));
        }
    }

    /// Whether those that are known are still there, and whether somebody new is.
    fn look_around(&mut self, now: Instant) {
        for n in 0..2 {
            let random = random(&mut self.rng);
            let table = &mut self.nets[n].table;
            if table.is_empty() {
                continue;
            }
            if let Some((_, at)) = table.quiet(now).filter(|_| self.pending.len() < MAX_PENDING) {
                self.ask(at, Ask::Ping, About::Presence, now);
            }
            if self.searches.iter().any(|r| r.six == (n == 1) && matches!(r.goal, Goal::Nodes(_))) {
                continue;
            }
            if let Some(place) = self.nets[n].table.stale(random, now) {
                self.begin(n, Goal::Nodes(place), &[], now);
            }
        }
        if self.len() < K && self.searches.is_empty() && self.lonely.0 <= now {
            self.lonely = (now + self.lonely.1, (self.lonely.1 * 2).min(LONELY.1));
            self.steps.push_back(Step::Bootstrap);
        }
    }

    fn search_for_one(&mut self, now: Instant) {
        for n in 0..2 {
            let due = |wanted: &&mut Wanted| wanted.next[n] <= now;
            let Some(wanted) = self.wanted.iter_mut().find(due) else { continue };
            wanted.next[n] = now + SOON;
            let info_hash = wanted.info_hash;
            if !self.nets[n].table.is_empty() {
                return self.begin(n, Goal::Peers(info_hash), &[], now);
            }
        }
    }

    /// Nodes that are said to be there: looks for its own place among them, if it does nothing of
    /// the kind already.
    fn meet(&mut self, n: usize, nodes: &[Node], now: Instant) {
        let own = self.nets[n].table.own();
        let goal = Goal::Nodes(own);
        let is_at_it = self.searches.iter().any(|r| r.goal == goal && r.six == (n == 1));
        if self.nets[n].is_on && !is_at_it && !nodes.is_empty() {
            self.begin(n, goal, nodes, now);
        }
    }

    fn begin(&mut self, n: usize, goal: Goal, others: &[Node], now: Instant) {
        if self.searches.len() >= MAX_SEARCHES {
            return;
        }
        let place = match goal {
            Goal::Nodes(place) => place,
            Goal::Peers(info_hash) => NodeId(info_hash.0),
        };
        let mut search = Search::new(place);
        search.offer(self.nets[n].table.nearest(&place));
        search.offer(others.iter().copied());
        self.count += 1;
        let number = self.count;
        self.searches.push(Running { number, six: n == 1, goal, search });
        self.with_search(About::Search(number), now, |_| {});
    }

    /// Something happened to a search: it goes on, or is over.
    fn with_search(&mut self, about: About, now: Instant, act: impl FnOnce(&mut Search)) {
        let About::Search(number) = about else { return };
        let running = self.searches.iter().position(|running| running.number == number);
        let Some(index) = running else { return };
        act(&mut self.searches[index].search);
        let ask = match self.searches[index].goal {
            Goal::Nodes(place) => Ask::FindNode(place),
            Goal::Peers(info_hash) => Ask::GetPeers(info_hash),
        };
        while self.pending.len() < MAX_PENDING {
            let Some(at) = self.searches[index].search.to_ask() else { break };
            self.ask(at, ask.clone(), about, now);
        }
        let is_waited_for = self.pending.iter().any(|pending| pending.about == about);
        if self.searches[index].search.is_over() || !is_waited_for {
            let running = self.searches.swap_remove(index);
            self.end(&running, now);
        }
    }

    /// From now on our peers reach us at this port: what is listed elsewhere.
    pub fn be_reached_at(&mut self, port: u16) {
        self.settings.port = port;
    }

    /// We are listed by the nearest, and look again later.
    fn end(&mut self, running: &Running, now: Instant) {
        let Goal::Peers(info_hash) = running.goal else { return };
        let port = Some(self.settings.port);
        let mut answered = false;
        for (at, token) in running.search.nearest() {
            answered = true;
            if let Some(token) = token.map(<[u8]>::to_vec) {
                let ask = Ask::Announce { info_hash, port, token };
                self.ask(at, ask, About::Listing, now);
            }
        }
        let jitter = Duration::from_secs(self.rng.below(60).into());
        if let Some(wanted) = self.wanted.iter_mut().find(|w| w.info_hash == info_hash) {
            let wait = if answered { AGAIN } else { SOON };
            wanted.next[usize::from(running.six)] = now + wait + jitter;
        }
    }

    /// Nothing is sent there: it is outside, or some other service of a host that strangers want to
    /// have bothered.
    fn is_shunned(&self, at: SocketAddr) -> bool {
        !is_local(at.ip()) && (self.settings.local_only || at.port() < FIRST_PORT)
    }

    fn ask(&mut self, to: SocketAddr, ask: Ask, about: About, now: Instant) {
        let n = family(to);
        // Whoever knows one family may know the other.
        let wants_others = (0..2).all(|n| self.nets[n].is_on) && self.nets[1 - n].table.len() < K;
        let query = Query {
            id: self.nets[n].table.own(),
            ask,
            want: wants_others.then_some((true, true)),
            read_only: self.settings.read_only,
        };
        let transaction = self.transaction();
        let body = Body::Query(query);
        let packet = Packet { transaction: transaction.to_vec(), body }.encode();
        self.pending.push(Pending { transaction, to, sent: now, is_slow: false, about });
        self.steps.push_back(Step::Send(to, packet));
    }

    /// A number that does not follow from those before it.
    fn transaction(&mut self) -> [u8; 4] {
        self.count += 1;
        let hash = sha1(&[self.secret.to_be_bytes(), self.count.to_be_bytes()].concat());
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// A packet came. What is neither a question nor an answer that is waited for is passed over.
    pub fn on_packet(&mut self, from: SocketAddr, packet: &[u8], now: Instant) {
        if !self.nets[family(from)].is_on || self.is_shunned(from) {
            return;
        }
        let Some(Packet { transaction, body }) = Packet::decode(packet) else { return };
        if let Body::Query(query) = body {
            return self.on_query(from, (transaction, packet.len()), &query, now);
        }
        let is_it = |p: &Pending| p.to == from && p.transaction[..] == transaction[..];
        let Some(at) = self.pending.iter().position(is_it) else { return };
        let about = self.pending.swap_remove(at).about;
        self.prove(from.ip(), now);
        match body {
            Body::Answer(answer) => self.on_answer(from, answer, about, now),
            _ => self.with_search(about, now, |search| search.failed(from)),
        }
    }

    fn on_answer(&mut self, from: SocketAddr, answer: Answer, about: About, now: Instant) {
        let Answer { id, mut nodes, mut peers, token, external } = answer;
        let n = family(from);
        let knows_few = self.nets[n].table.len() < K;
        self.nets[n].table.heard(id, from, now);
        self.vote(from, external, now);
        // Strangers know nothing of the networks at home, and must not have them searched.
        let is_near = is_local(from.ip());
        nodes.retain(|(_, at)| is_near || !is_local(at.ip()));
        nodes.retain(|(_, at)| !self.is_shunned(*at));
        // We are near to ourselves, and told of.
        nodes.retain(|(id, at)| *id != self.nets[family(*at)].table.own());
        peers.retain(|at| is_near || !is_local(at.ip()));
        let (own, other): (Vec<Node>, Vec<Node>) =
            nodes.into_iter().partition(|(_, at)| family(*at) == n);
        if self.nets[1 - n].table.len() < K {
            self.meet(1 - n, &other, now);
        }
        if knows_few {
            self.meet(n, &own, now);
        }
        let About::Search(number) = about else { return };
        let running = self.searches.iter().find(|running| running.number == number);
        let goal = running.map(|running| running.goal);
        let mut is_meant = false;
        self.with_search(about, now, |search| {
            is_meant = search.answered(&id, from, token);
            if is_meant {
                search.offer(own);
            }
        });
        if let Some(Goal::Peers(info_hash)) = goal.filter(|_| is_meant && !peers.is_empty()) {
            self.steps.push_back(Step::Found(info_hash, peers));
        }
    }
}

fn random(rng: &mut Rng) -> [u8; 20] {
    std::array::from_fn(|_| rng.next_u64() as u8)
}

#[cfg(test)]
mod tests;
