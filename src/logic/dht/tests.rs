use super::answers::MAX_ANSWERS;
use super::*;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::IpAddr;

fn at(n: u32) -> SocketAddr {
    SocketAddr::new(IpAddr::from((0x0500_0000 + n * 257).to_be_bytes()), 6881)
}

fn settings() -> Settings {
    Settings { read_only: false, families: [true, false], local_only: false, port: 6881 }
}

/// A packet on its way: when it comes, its number, to whom and from whom.
type Coming = (Instant, u64, SocketAddr, SocketAddr, Vec<u8>);

/// Many nodes in virtual time, with links that delay and lose.
struct World {
    start: Instant,
    now: Instant,
    nodes: BTreeMap<SocketAddr, Dht>,
    /// When a node has something to do.
    timers: BinaryHeap<Reverse<(Instant, SocketAddr)>>,
    /// When what comes where from whom.
    packets: BinaryHeap<Reverse<Coming>>,
    sent: u64,
    /// One packet of so many is lost; 0 = none.
    lossy: u32,
    rng: Rng,
    found: BTreeMap<SocketAddr, Vec<SocketAddr>>,
}

impl World {
    fn new(lossy: u32) -> World {
        let (nodes, timers, packets, found) = Default::default();
        let start = Instant::now();
        World { start, now: start, nodes, timers, packets, sent: 0, lossy, rng: Rng::new(1), found }
    }

    fn with(count: u32, lossy: u32) -> World {
        let mut world = World::new(lossy);
        for n in 0..count {
            let known = world.rng.below(n.max(1));
            world.join(at(n), settings(), (n > 0).then_some(at(known)));
            world.run(Duration::from_millis(100));
        }
        world
    }

    fn join(&mut self, place: SocketAddr, settings: Settings, known: Option<SocketAddr>) {
        let seed = self.rng.next_u64();
        let mut node = Dht::new(settings, &Saved::default(), !seed, seed, self.now);
        if let Some(known) = known {
            node.contact(known, self.now);
        }
        self.nodes.insert(place, node);
        self.act(place);
    }

    fn act(&mut self, place: SocketAddr) {
        let Some(node) = self.nodes.get_mut(&place) else { return };
        while let Some(step) = node.next_step() {
            match step {
                Step::Send(to, packet) => {
                    self.sent += 1;
                    let is_lost = self.lossy != 0 && self.rng.below(self.lossy) == 0;
                    let delay = Duration::from_millis(10 + u64::from(self.rng.below(90)));
                    if !is_lost {
                        let coming = (self.now + delay, self.sent, to, place, packet);
                        self.packets.push(Reverse(coming));
                    }
                }
                Step::Found(_, peers) => self.found.entry(place).or_default().extend(peers),
                Step::Bootstrap => node.contact(at(0), self.now),
            }
        }
        self.timers.push(Reverse((node.next_deadline(), place)));
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let timer = self.timers.peek().map(|Reverse((at, _))| *at);
            let packet = self.packets.peek().map(|Reverse((at, ..))| *at);
            let Some(next) = timer.into_iter().chain(packet).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if packet == Some(next) {
                let Some(Reverse((_, _, to, from, bytes))) = self.packets.pop() else { break };
                if let Some(node) = self.nodes.get_mut(&to) {
                    node.on_packet(from, &bytes, self.now);
                    self.act(to);
                }
            } else if let Some(Reverse((at, place))) = self.timers.pop() {
                // A timer of before, whose node has another by now, does nothing.
                let Some(node) = self.nodes.get_mut(&place) else { continue };
                if node.next_deadline() <= at {
                    node.on_time(self.now);
                    self.act(place);
                }
            }
        }
        self.now = end;
    }

    fn want(&mut self, place: SocketAddr, info_hash: InfoHash) {
        let now = self.now;
        if let Some(node) = self.nodes.get_mut(&place) {
            node.want(info_hash, now);
        }
        self.act(place);
    }
}

const HASH: InfoHash = InfoHash([0x42; 20]);

/// Three of `count` nodes look for a torrent, one after the other.
fn play(count: u32) {
    let mut world = World::with(count, 50);
    world.run(Duration::from_secs(200));
    let seekers = [7, count / 2, count - 7];
    for n in seekers {
        world.want(at(n), HASH);
        world.run(Duration::from_secs(30));
    }
    let found = |n: usize| world.found.get(&at(seekers[n])).cloned().unwrap_or_default();
    assert_eq!(found(0), []);
    assert!(found(1).contains(&at(7)));
    assert!(found(2).contains(&at(7)) && found(2).contains(&at(count / 2)), "{:?}", found(2));
    let sizes: Vec<usize> = world.nodes.values().map(Dht::len).collect();
    assert!(sizes.iter().all(|size| *size >= K), "{:?}", sizes.iter().min());
    // Ids follow the addresses that others have seen.
    let own = |(at, node): (&SocketAddr, &Dht)| node.nets[0].table.own().belongs_to(at.ip());
    let bound = world.nodes.iter().filter(|(at, node)| own((at, node))).count();
    assert!(bound as u32 > count * 9 / 10, "{bound}");
}

#[test]
fn nodes_find_each_other_and_a_torrent() {
    play(100);
}

#[test]
#[ignore = "takes a while"]
fn long_a_thousand_nodes_find_each_other_and_a_torrent() {
    play(1000);
}

/// Nodes that do nothing but look for one torrent, for some hours.
fn rest(hours: u32) {
    let mut world = World::with(20, 0);
    world.want(at(1), HASH);
    world.run(Duration::from_secs(600));
    let (before, began) = (world.sent, Instant::now());
    world.run(Duration::from_secs(3600) * hours);
    let each = (world.sent - before) as f64 / 20.0 / f64::from(3600 * hours);
    // What scripts/bench/dht prints.
    let took = began.elapsed().as_secs_f64() / 20.0;
    println!("rest: in {hours} h a node sends {each:.3} packets a second, and takes {took:.2} s");
    assert!(each < 0.5, "{each} packets a second");
    assert!(world.nodes.values().all(|node| node.len() >= K && node.pending.len() <= K));
    world.want(at(15), HASH);
    world.run(Duration::from_secs(30));
    assert!(world.found[&at(15)].contains(&at(1)));
    assert!(world.now > world.start);
}

#[test]
fn an_hour_of_rest_costs_little_and_nobody_is_forgotten() {
    rest(1);
}

#[test]
#[ignore = "takes a while"]
fn long_a_day_of_rest_costs_little_and_nobody_is_forgotten() {
    rest(24);
}

#[test]
fn who_knows_nobody_asks_for_some_ever_less_often() {
    let now = Instant::now();
    let mut node = Dht::new(settings(), &Saved::default(), 1, 2, now);
    let mut times = Vec::new();
    for second in 0..3600 {
        let now = now + Duration::from_secs(second);
        node.on_time(now);
        while let Some(step) = node.next_step() {
            assert_eq!(step, Step::Bootstrap);
            times.push(second);
        }
    }
    assert!(times.len() > 5 && times.len() < 12 && times[0] <= 5, "{times:?}");
}

#[test]
fn what_is_remembered_is_met_again() {
    let mut world = World::with(30, 0);
    world.run(Duration::from_secs(30));
    let saved = Saved::decode(&world.nodes[&at(5)].saved().encode());
    assert!(saved.nets[0].nodes.len() >= K);
    world.nodes.remove(&at(5));
    let node = Dht::new(settings(), &saved, 1, 2, world.now);
    assert_eq!(node.nets[0].table.own(), saved.nets[0].own.unwrap());
    world.nodes.insert(at(5), node);
    world.act(at(5));
    world.run(Duration::from_secs(30));
    assert!(world.nodes[&at(5)].len() >= K);
}

fn query(ask: Ask) -> Vec<u8> {
    let query = Query { id: NodeId([9; 20]), ask, want: None, read_only: true };
    Packet { transaction: vec![1], body: Body::Query(query) }.encode()
}

fn sent(node: &mut Dht) -> Vec<(SocketAddr, Packet)> {
    let sent = |step| match step {
        Step::Send(to, packet) => (to, Packet::decode(&packet).unwrap()),
        other => panic!("{other:?}"),
    };
    std::iter::from_fn(|| node.next_step()).map(sent).collect()
}

#[test]
fn a_flood_is_answered_a_little_and_a_guessed_answer_is_none() {
    let now = Instant::now();
    let mut node = Dht::new(settings(), &Saved::default(), 1, 2, now);
    for _ in 0..1000 {
        node.on_packet(at(1), &query(Ask::Ping), now);
    }
    assert_eq!(sent(&mut node).len(), MAX_ANSWERS_EACH as usize);
    for n in 10..5000 {
        node.on_packet(at(n), &query(Ask::GetPeers(HASH)), now);
    }
    assert_eq!(sent(&mut node).len(), (MAX_ANSWERS - MAX_ANSWERS_EACH) as usize);
    node.contact(at(2), now);
    let (_, asked) = sent(&mut node).remove(0);
    let body = Body::Answer(Answer::new(NodeId([7; 20])));
    let guessed = Packet { transaction: vec![0; 4], body: body.clone() };
    node.on_packet(at(2), &guessed.encode(), now);
    let spoofed = Packet { transaction: asked.transaction.clone(), body: body.clone() };
    node.on_packet(at(3), &spoofed.encode(), now);
    assert!(node.is_empty());
    node.on_packet(at(2), &Packet { transaction: asked.transaction, body }.encode(), now);
    assert_eq!(node.len(), 1);
}

#[test]
fn who_may_be_somebody_else_is_sent_no_more_than_came_in_his_name() {
    let mut world = World::with(30, 0);
    world.run(Duration::from_secs(30));
    let now = world.now;
    let node = world.nodes.get_mut(&at(3)).unwrap();
    let listed: Vec<SocketAddr> = (2000..2040).map(at).collect();
    let full = InfoHash([0x24; 20]);
    listed.iter().for_each(|peer| node.store.list(full, *peer, now));
    let target = Ask::FindNode(NodeId([0x42; 20]));
    let asks = [(target, 1, 0), (Ask::GetPeers(HASH), 1, 0), (Ask::GetPeers(full), 0, 4)];
    let mut ask = |from: u32, ask: &Ask| {
        let question = query(ask.clone());
        node.on_packet(at(from), &question, now);
        let (to, packet) = sent(node).remove(0);
        assert_eq!(to, at(from));
        let Body::Answer(answer) = &packet.body else { panic!("an answer") };
        (packet.encode().len() as i64 - question.len() as i64, answer.clone())
    };
    for (asked, nodes, peers) in &asks {
        let (longer, answer) = ask(1000, asked);
        assert!(longer <= 0, "{asked:?}: {longer}");
        assert_eq!((answer.nodes.len(), answer.peers.len()), (*nodes, *peers), "{asked:?}");
    }
    let token = ask(1000, &Ask::GetPeers(HASH)).1.token.unwrap();
    let listing = Ask::Announce { info_hash: HASH, port: Some(7000), token };
    for (known, proof) in [(1000, Some(&listing)), (4, None)] {
        proof.map(|proof| ask(known, proof));
        let (_, answer) = ask(known, &Ask::GetPeers(full));
        assert!(answer.nodes.len() == K && answer.peers.len() > 20, "{known}");
        assert_eq!(answer.external, Some(at(known)));
    }
}

#[test]
fn only_who_asked_before_is_listed_and_only_where_he_is() {
    let now = Instant::now();
    let mut node = Dht::new(settings(), &Saved::default(), 1, 2, now);
    let announce =
        |token: Vec<u8>| query(Ask::Announce { info_hash: HASH, port: Some(7000), token });
    node.on_packet(at(1), &announce(b"guess".to_vec()), now);
    assert!(matches!(sent(&mut node)[0].1.body, Body::Refusal(203, _)));
    node.on_packet(at(1), &query(Ask::GetPeers(HASH)), now);
    let Body::Answer(answer) = sent(&mut node).remove(0).1.body else { panic!("an answer") };
    let token = answer.token.unwrap();
    node.on_packet(at(2), &announce(token.clone()), now);
    assert!(matches!(sent(&mut node)[0].1.body, Body::Refusal(203, _)));
    node.on_packet(at(1), &announce(token), now);
    assert!(matches!(sent(&mut node)[0].1.body, Body::Answer(_)));
    node.on_packet(at(3), &query(Ask::GetPeers(HASH)), now);
    let Body::Answer(answer) = sent(&mut node).remove(0).1.body else { panic!("an answer") };
    assert_eq!(answer.peers, [SocketAddr::new(at(1).ip(), 7000)]);
}

#[test]
fn strangers_do_not_send_us_to_our_own_network() {
    let now = Instant::now();
    let mut node = Dht::new(settings(), &Saved::default(), 1, 2, now);
    node.contact(at(1), now);
    let (_, asked) = sent(&mut node).remove(0);
    let inside = ["127.0.0.1:5000", "192.168.1.1:5000", "169.254.1.1:5000", "5.5.5.5:5000"];
    let nodes = inside.iter().enumerate();
    let nodes = nodes.map(|(n, at)| (NodeId([n as u8; 20]), at.parse().unwrap())).collect();
    let body = Body::Answer(Answer { nodes, ..Answer::new(NodeId([7; 20])) });
    node.on_packet(at(1), &Packet { transaction: asked.transaction, body }.encode(), now);
    let asked: Vec<String> = sent(&mut node).iter().map(|(to, _)| to.to_string()).collect();
    assert!(asked.contains(&"5.5.5.5:5000".into()), "{asked:?}");
    assert!(!asked.iter().any(|to| inside[..3].contains(&&to[..])), "{asked:?}");
}

#[test]
fn strangers_do_not_send_us_to_other_services_of_others() {
    let now = Instant::now();
    let mut node = Dht::new(settings(), &Saved::default(), 1, 2, now);
    let resolver: SocketAddr = "5.5.5.5:53".parse().unwrap();
    node.on_packet(resolver, &query(Ask::GetPeers(HASH)), now);
    node.contact(resolver, now);
    assert_eq!(node.next_step(), None);
    node.contact(at(1), now);
    let (_, asked) = sent(&mut node).remove(0);
    let nodes = vec![(NodeId([1; 20]), resolver), (NodeId([2; 20]), at(2))];
    let body = Body::Answer(Answer { nodes, ..Answer::new(NodeId([7; 20])) });
    node.on_packet(at(1), &Packet { transaction: asked.transaction, body }.encode(), now);
    let asked: Vec<SocketAddr> = sent(&mut node).iter().map(|(to, _)| *to).collect();
    assert!(asked.contains(&at(2)) && !asked.contains(&resolver), "{asked:?}");
}

#[test]
fn who_stays_at_home_talks_to_nobody_outside() {
    let now = Instant::now();
    let home = Settings { local_only: true, ..settings() };
    let [outside, inside]: [SocketAddr; 2] = [at(1), "192.168.1.2:5000".parse().unwrap()];
    let nodes = vec![(NodeId([5; 20]), outside)];
    let saved = Saved { nets: [SavedNet { own: None, nodes: nodes.clone() }, SavedNet::default()] };
    let mut node = Dht::new(home, &saved, 1, 2, now);
    node.contact(outside, now);
    node.on_packet(outside, &query(Ask::Ping), now);
    assert_eq!(node.next_step(), None);
    node.contact(inside, now);
    let (_, asked) = sent(&mut node).remove(0);
    let body = Body::Answer(Answer { nodes, ..Answer::new(NodeId([7; 20])) });
    node.on_packet(inside, &Packet { transaction: asked.transaction, body }.encode(), now);
    assert_eq!((node.len(), node.next_step()), (1, None), "nor to those he is told of");
}

#[test]
fn who_only_asks_is_silent_and_in_nobodys_table() {
    let mut world = World::with(20, 0);
    let quiet = Settings { read_only: true, ..settings() };
    world.join(at(99), quiet, Some(at(3)));
    world.run(Duration::from_secs(60));
    assert!(world.nodes[&at(99)].len() >= K);
    let known = |node: &Dht| node.nets[0].table.nodes().iter().any(|(_, there)| *there == at(99));
    assert!(!world.nodes.values().any(known));
    let node = world.nodes.get_mut(&at(99)).unwrap();
    node.on_packet(at(1), &query(Ask::Ping), world.now);
    assert_eq!(node.next_step(), None);
}
