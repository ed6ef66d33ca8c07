use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;
use crate::proto::damage::Random;

const LEFT: usize = 0;
const RIGHT: usize = 1;

/// The way from one side to the other.
#[derive(Clone)]
struct Link {
    delay: Duration,
    /// Of a thousand packets.
    lost: usize,
    /// Of a thousand packets, which come so many milliseconds late.
    late: usize,
    late_by: u64,
    /// Bytes in a second.
    rate: u64,
    /// Bytes that wait before it; more are dropped.
    queue: u64,
    busy_until: Instant,
}

impl Link {
    fn send(&mut self, size: usize, now: Instant, random: &mut Random) -> Option<Instant> {
        let begin = self.busy_until.max(now);
        let waiting = (begin - now).as_micros() as u64 * self.rate / 1_000_000;
        if waiting + size as u64 > self.queue {
            return None;
        }
        self.busy_until = begin + Duration::from_micros(size as u64 * 1_000_000 / self.rate);
        let late = if random.below(1_000) < self.late { self.late_by } else { 0 };
        let is_lost = random.below(1_000) < self.lost;
        (!is_lost).then(|| self.busy_until + self.delay + Duration::from_millis(late))
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Packet(usize, Vec<u8>),
    /// A packet of the rival's has arrived, and its sender knows.
    RivalAcked,
    /// One was dropped, and its sender knows.
    RivalLost,
}

/// A flow that fills queues until something is dropped, as TCP does.
struct Rival {
    window: f64,
    flying: usize,
    cut_at: Instant,
    in_slow_start: bool,
}

struct World {
    now: Instant,
    sides: [Streams; 2],
    links: [Link; 2],
    random: Random,
    things: BinaryHeap<Reverse<(Instant, u64, Thing)>>,
    count: u64,
    rival: Option<Rival>,
    events: [Vec<Event>; 2],
    received: [Vec<u8>; 2],
    /// Whether what comes is read at once.
    reads: [bool; 2],
}

fn address(side: usize) -> SocketAddr {
    SocketAddr::from(([9, 0, 0, side as u8 + 1], 6881))
}

fn link(megabits: u64, delay: u64) -> Link {
    let (rate, delay) = (megabits * 125_000, Duration::from_millis(delay));
    Link { delay, lost: 0, late: 0, late_by: 3, rate, queue: rate, busy_until: Instant::now() }
}

impl World {
    fn new(link: Link) -> World {
        let now = link.busy_until;
        World {
            now,
            sides: [Streams::new(1, now), Streams::new(2, now - Duration::from_secs(5_000))],
            links: [link.clone(), link],
            random: Random::new(7),
            things: BinaryHeap::new(),
            count: 0,
            rival: None,
            events: [Vec::new(), Vec::new()],
            received: [Vec::new(), Vec::new()],
            reads: [true, true],
        }
    }

    /// A world in which the left has dialled the right.
    fn open(link: Link) -> (World, StreamKey, StreamKey) {
        let mut world = World::new(link);
        let dialled = world.sides[LEFT].dial(address(RIGHT), world.now).unwrap();
        world.run(Duration::from_secs(2));
        assert_eq!(world.events[LEFT], [Event::Opened(dialled)]);
        // The first packet behind the handshake proves the address.
        world.sides[LEFT].write(dialled, b"!");
        world.run(Duration::from_secs(2));
        let Event::Accepted(accepted, from) = world.events[RIGHT][0] else { panic!() };
        assert_eq!((from, &world.received[RIGHT][..]), (address(LEFT), &b"!"[..]));
        world.received[RIGHT].clear();
        world.events = [Vec::new(), Vec::new()];
        (world, dialled, accepted)
    }

    fn later(&mut self, at: Instant, thing: Thing) {
        self.count += 1;
        self.things.push(Reverse((at, self.count, thing)));
    }

    fn drain(&mut self) {
        for side in [LEFT, RIGHT] {
            while let Some(event) = self.sides[side].next_event() {
                if let (Event::Readable(key), true) = (event, self.reads[side]) {
                    self.read(side, key);
                } else {
                    self.events[side].push(event);
                }
            }
            let mut packet = Vec::new();
            while let Some(to) = self.sides[side].next_packet(self.now, &mut packet) {
                assert!(packet.len() <= MAX_PACKET && to == address(1 - side));
                let size = packet.len() + 28;
                if let Some(at) = self.links[side].send(size, self.now, &mut self.random) {
                    self.later(at, Thing::Packet(1 - side, packet.clone()));
                }
            }
        }
        self.drive_rival();
    }

    fn read(&mut self, side: usize, key: StreamKey) {
        let mut bytes = [0; 5_000];
        loop {
            let count = self.sides[side].read(key, &mut bytes);
            self.received[side].extend_from_slice(&bytes[..count]);
            if count < bytes.len() {
                return;
            }
        }
    }

    fn drive_rival(&mut self) {
        while let Some(rival) =
            self.rival.as_mut().filter(|it| it.flying + 1500 < it.window as usize)
        {
            rival.flying += 1500;
            let link = &mut self.links[LEFT];
            let delay = link.delay;
            let (at, thing) = match link.send(1500, self.now, &mut self.random) {
                Some(at) => (at + delay, Thing::RivalAcked),
                None => (link.busy_until + delay * 2, Thing::RivalLost),
            };
            self.later(at, thing);
        }
    }

    fn rival_hears(&mut self, acked: bool) {
        let Some(rival) = &mut self.rival else { return };
        rival.flying -= 1500;
        if acked {
            rival.window +=
                if rival.in_slow_start { 1500.0 } else { 1500.0 * 1500.0 / rival.window };
        } else if self.now > rival.cut_at + Duration::from_millis(600) {
            rival.window = (rival.window / 2.0).max(3000.0);
            (rival.cut_at, rival.in_slow_start) = (self.now, false);
        }
    }

    /// Plays up to the next thing, but not beyond `end`; whether there was one.
    fn step(&mut self, end: Instant) -> bool {
        self.drain();
        let arrival = self.things.peek().map(|Reverse((at, _, _))| *at);
        let deadlines = self.sides.iter().filter_map(Streams::next_deadline);
        let next = deadlines.chain(arrival).min().unwrap_or(end);
        if next >= end {
            self.now = end;
            return false;
        }
        self.now = self.now.max(next);
        while self.things.peek().is_some_and(|Reverse((at, _, _))| *at <= self.now) {
            let Some(Reverse((_, _, thing))) = self.things.pop() else { break };
            match thing {
                Thing::Packet(to, packet) => {
                    self.sides[to].on_packet(address(1 - to), &packet, self.now);
                }
                Thing::RivalAcked => self.rival_hears(true),
                Thing::RivalLost => self.rival_hears(false),
            }
        }
        for side in &mut self.sides {
            side.on_time(self.now);
        }
        true
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    /// Keeps the left writing for so long; bytes in a second that the right got.
    fn flood(&mut self, key: StreamKey, seconds: u64) -> usize {
        let (end, before) = (self.now + Duration::from_secs(seconds), self.received[RIGHT].len());
        let bytes = [b'x'; 16_384];
        loop {
            while self.sides[LEFT].write(key, &bytes) == bytes.len() {}
            if !self.step(end) {
                return (self.received[RIGHT].len() - before) / seconds as usize;
            }
        }
    }

    /// Has the left write `content`, and says how long it took until the right had all.
    fn transfer(&mut self, key: StreamKey, content: &[u8]) -> Duration {
        let (mut rest, began) = (content, self.now);
        let end = began + Duration::from_secs(600);
        while self.received[RIGHT].len() < content.len() {
            rest = &rest[self.sides[LEFT].write(key, rest)..];
            assert!(self.step(end), "{} bytes came", self.received[RIGHT].len());
        }
        assert!(self.received[RIGHT] == content, "other bytes than were sent");
        self.now - began
    }
}

fn content(length: usize) -> Vec<u8> {
    let mut rng = Rng::new(9);
    (0..length).map(|_| rng.next_u64() as u8).collect()
}

#[test]
fn every_byte_comes_in_order_over_a_link_that_loses_and_reorders() {
    let (mut world, key, _) = World::open(Link { lost: 10, late: 20, ..link(20, 25) });
    let took = world.transfer(key, &content(4 << 20));
    // Streams that halve their window at each loss do about 1.4 MTU / (RTT * sqrt(loss)).
    assert!(took < Duration::from_secs(20), "{took:?}");
    let (mut awful, key, _) = World::open(Link { lost: 200, late: 200, ..link(20, 25) });
    awful.transfer(key, &content(100_000));
}

#[test]
fn packets_that_are_only_overtaken_cost_nothing_beside_lost_ones_too() {
    for (lost, late) in [(0, 100), (10, 50)] {
        let rate = |late| {
            let late_by = 10;
            let (mut world, key, _) = World::open(Link { lost, late, late_by, ..link(6, 25) });
            world.flood(key, 2);
            world.flood(key, 15)
        };
        let (in_order, overtaken) = (rate(0), rate(late));
        assert!(overtaken * 10 > in_order * 9, "{overtaken}, and {in_order} in order");
    }
}

#[test]
fn a_link_is_used_and_its_queue_stays_short() {
    let (mut world, key, _) = World::open(link(20, 25));
    world.flood(key, 5);
    let rate = world.flood(key, 10);
    assert!(rate > 2_500_000 * 85 / 100, "{rate}");
    let queue = world.links[LEFT].busy_until.saturating_duration_since(world.now);
    assert!(queue < TARGET + Duration::from_millis(30), "{queue:?}");
}

#[test]
fn a_flow_that_fills_the_queue_gets_the_link_and_gives_it_back() {
    let (mut world, key, _) = World::open(Link { queue: 1_250_000, ..link(20, 25) });
    let alone = world.flood(key, 15);
    let (window, cut_at) = (3_000.0, world.now);
    world.rival = Some(Rival { window, flying: 0, cut_at, in_slow_start: true });
    world.flood(key, 10);
    let beside = world.flood(key, 10);
    world.rival = None;
    world.flood(key, 5);
    let after = world.flood(key, 10);
    assert!(beside * 10 < alone, "{beside} beside it, {alone} alone");
    assert!(after * 10 > alone * 8, "{after} after it, {alone} before");
}

#[test]
fn who_does_not_read_holds_the_sender_back_and_lets_it_go_on() {
    let (mut world, key, accepted) = World::open(link(100, 5));
    world.reads[RIGHT] = false;
    assert_eq!(world.flood(key, 100), 0);
    let kept = world.sides[RIGHT].streams[&accepted].connection.ready();
    assert!((MAX_KEPT - 2 * MAX_PACKET..=MAX_KEPT).contains(&kept), "{kept}");
    let held = world.sides[LEFT].streams[&key].connection.room();
    assert!(held < MAX_PACKET, "{held}");
    world.reads[RIGHT] = true;
    world.read(RIGHT, accepted);
    assert!(world.flood(key, 5) > 1_000_000);
}

#[test]
fn both_ends_close_and_nothing_remains() {
    let (mut world, key, accepted) = World::open(Link { lost: 100, ..link(20, 25) });
    world.sides[LEFT].write(key, b"the last words");
    world.sides[LEFT].leave(key, world.now);
    world.run(Duration::from_secs(5));
    assert_eq!(world.received[RIGHT], b"the last words");
    assert_eq!(world.events[RIGHT], [Event::Heard(accepted)]);
    world.sides[RIGHT].leave(accepted, world.now);
    world.run(Duration::from_secs(60));
    for side in world.sides {
        assert!(side.is_empty() && side.index.is_empty() && side.stirred.is_empty());
        assert!(side.next_deadline().is_none());
    }
}

#[test]
fn who_never_answers_is_given_up() {
    let mut world = World::new(Link { lost: 1_000, ..link(20, 25) });
    let key = world.sides[LEFT].dial(address(RIGHT), world.now).unwrap();
    world.run(Duration::from_secs(30));
    assert_eq!(world.events[LEFT], [Event::Over(key, Why::Silent)]);
    let (mut world, key, _) = World::open(link(20, 25));
    world.links[LEFT].lost = 1_000;
    world.sides[LEFT].write(key, b"anybody?");
    world.run(Duration::from_secs(300));
    assert_eq!(world.events[LEFT], [Event::Over(key, Why::Silent)]);
}

/// A packet as the left's stream would send it, with these numbers.
fn forged(world: &World, key: StreamKey, kind: Kind, seq: u16, ack: u16) -> Vec<u8> {
    let connection = world.sides[RIGHT].streams[&key].connection.our_id();
    let header = Header { kind, connection, sent: 1, delay: 1, window: 0, seq, ack };
    let mut bytes = Vec::new();
    Packet { header, selective: &[], payload: b"forged" }.write_to(&mut bytes);
    bytes
}

#[test]
fn forged_packets_with_numbers_out_of_the_windows_change_nothing() {
    let (mut world, key, accepted) = World::open(link(20, 25));
    let mut genuine = Vec::new();
    let header = {
        let copy = world.sides[LEFT].streams.get_mut(&key).unwrap();
        copy.connection.write(b"?");
        assert!(copy.connection.next_packet(world.now, &mut genuine));
        Packet::read(&genuine).unwrap().header
    };
    let state = |world: &World| format!("{:?}", world.sides[RIGHT].streams[&accepted].connection);
    let before = state(&world);
    for kind in [Kind::Data, Kind::Fin, Kind::State, Kind::Reset] {
        for ack in [header.ack.wrapping_add(1), header.ack.wrapping_sub(300)] {
            let packet = forged(&world, accepted, kind, header.seq, ack);
            world.sides[RIGHT].on_packet(address(LEFT), &packet, world.now);
        }
    }
    for seq in [header.seq.wrapping_add(inbound::MAX_AHEAD as u16 + 1), header.seq ^ 0x4000] {
        let packet = forged(&world, accepted, Kind::Data, seq, header.ack);
        world.sides[RIGHT].on_packet(address(LEFT), &packet, world.now);
    }
    let stranger = SocketAddr::from(([6, 6, 6, 6], 6));
    let reset = forged(&world, accepted, Kind::Reset, header.seq, header.ack);
    world.sides[RIGHT].on_packet(stranger, &reset, world.now);
    assert_eq!(state(&world), before);
    world.sides[RIGHT].on_packet(address(LEFT), &genuine, world.now);
    world.drain();
    assert_eq!(world.received[RIGHT], b"?");
    // With the right numbers it is over.
    world.sides[RIGHT].on_packet(address(LEFT), &reset, world.now);
    world.drain();
    assert_eq!(world.events[RIGHT], [Event::Over(accepted, Why::Reset)]);
}

#[test]
fn what_all_streams_keep_is_bounded_and_who_is_honest_goes_on() {
    const MANY: u16 = 200;
    let (mut world, key, _) = World::open(link(100, 5));
    let now = world.now;
    let mut out = Vec::new();
    for n in 0..MANY {
        let from = SocketAddr::from(([9, 9, (n >> 8) as u8, n as u8], 6881));
        let right = &mut world.sides[RIGHT];
        right.on_packet(from, &packet(Kind::Syn, 7, 100, 0), now);
        while right.next_packet(now, &mut out) != Some(from) {}
        let ack = Packet::read(&out).unwrap().header.seq.wrapping_sub(1);
        right.on_packet(from, &packet(Kind::Data, 8, 101, ack), now);
        // The next one never comes.
        for seq in 103..600 {
            let header =
                Header { kind: Kind::Data, connection: 8, sent: 5, delay: 0, window: 0, seq, ack };
            let mut bytes = Vec::new();
            let payload = &[b'y'; 1_300];
            Packet { header, selective: &[], payload }.write_to(&mut bytes);
            right.on_packet(from, &bytes, now);
        }
        while right.next_packet(now, &mut out).is_some() {}
    }
    let right = &world.sides[RIGHT];
    let kept: usize = right.streams.values().map(|stream| stream.connection.kept()).sum();
    assert_eq!(kept, right.kept);
    let most = MAX_KEPT_BY_ALL + MAX_KEPT + usize::from(MANY) * (32 << 10);
    assert!(right.streams.len() > usize::from(MANY) && kept < most, "{kept}");
    // What the others are sent goes nowhere.
    let (mut rest, end) = (&content(300_000)[..], world.now + Duration::from_secs(20));
    while world.received[RIGHT].len() < 300_000 && world.now < end {
        rest = &rest[world.sides[LEFT].write(key, rest)..];
        let step = (world.now + Duration::from_millis(10)).min(end);
        deliver(&mut world, step);
    }
    assert_eq!(world.received[RIGHT].len(), 300_000);
}

/// Plays up to then; what goes to others than the two gets lost.
fn deliver(world: &mut World, end: Instant) {
    let mut packet = Vec::new();
    while world.now < end {
        for side in [LEFT, RIGHT] {
            while let Some(event) = world.sides[side].next_event() {
                if let Event::Readable(key) = event {
                    world.read(side, key);
                }
            }
            while let Some(to) = world.sides[side].next_packet(world.now, &mut packet) {
                if to == address(1 - side) {
                    let at = world.now + Duration::from_millis(5);
                    world.later(at, Thing::Packet(1 - side, packet.clone()));
                }
            }
        }
        world.now += Duration::from_millis(1);
        while world.things.peek().is_some_and(|Reverse((at, _, _))| *at <= world.now) {
            if let Some(Reverse((_, _, Thing::Packet(to, packet)))) = world.things.pop() {
                world.sides[to].on_packet(address(1 - to), &packet, world.now);
            }
        }
        world.sides.iter_mut().for_each(|side| side.on_time(world.now));
    }
}

fn packet(kind: Kind, connection: u16, seq: u16, ack: u16) -> Vec<u8> {
    let header = Header { kind, connection, sent: 5, delay: 0, window: 1 << 20, seq, ack };
    let mut bytes = Vec::new();
    Packet { header, selective: &[], payload: &[] }.write_to(&mut bytes);
    bytes
}

#[test]
fn a_flood_of_openings_is_bounded_and_gets_no_more_than_it_sent() {
    let now = Instant::now();
    let mut streams = Streams::new(3, now);
    let (mut out, mut answered) = (Vec::new(), 0);
    let honest = SocketAddr::from(([9, 9, 9, 9], 9));
    for n in 0..20_000u32 {
        let from = SocketAddr::from((std::net::Ipv4Addr::from(n | 1 << 24), 6881));
        let syn = packet(Kind::Syn, n as u16, 1, 0);
        streams.on_packet(from, &syn, now);
        // Guesses of the number that went to whom they pretend to be.
        streams.on_packet(from, &packet(Kind::Data, n as u16 + 1, 2, n as u16), now);
        while streams.next_packet(now, &mut out).is_some() {
            answered += 1;
            assert!(out.len() <= syn.len());
        }
        assert!(streams.len() <= MAX_UNPROVEN + 8 && streams.unproven.len() <= MAX_UNPROVEN);
    }
    assert!(answered <= 20_000, "{answered}");
    assert!(streams.events.len() < 8, "guessed in spite of 65,536 possibilities");
    streams.on_packet(honest, &packet(Kind::Syn, 7, 100, 0), now);
    assert_eq!(streams.next_packet(now, &mut out), Some(honest));
    let answer = Packet::read(&out).unwrap().header;
    assert_eq!((answer.kind, answer.connection, answer.ack), (Kind::State, 7, 100));
    // Nothing is sent again to an address that was not proved, and it is forgotten.
    let later = now + connection::PROOF_WAIT;
    streams.on_time(later - Duration::from_millis(1));
    assert_eq!(streams.next_packet(later, &mut out), None);
    let proof = packet(Kind::Data, 8, 101, answer.seq.wrapping_sub(1));
    streams.on_packet(honest, &proof, later - Duration::from_millis(1));
    assert!(
        std::iter::from_fn(|| streams.next_event())
            .any(|e| matches!(e, Event::Accepted(_, a) if a == honest))
    );
    streams.on_time(later);
    assert!(streams.unproven.is_empty());
}

#[test]
fn unknown_connections_are_reset_seldom_and_resets_never() {
    let now = Instant::now();
    let mut streams = Streams::new(3, now);
    let mut out = Vec::new();
    let from = address(RIGHT);
    streams.on_packet(from, &packet(Kind::State, 5, 77, 6), now);
    assert_eq!(streams.next_packet(now, &mut out), Some(from));
    let reset = Packet::read(&out).unwrap().header;
    assert_eq!((reset.kind, reset.connection, reset.ack, out.len()), (Kind::Reset, 5, 77, 20));
    streams.on_packet(from, &packet(Kind::Reset, 5, 77, 6), now);
    assert_eq!(streams.next_packet(now, &mut out), None);
    let mut sent = 0;
    for n in 0..1_000 {
        streams.on_packet(from, &packet(Kind::Data, n, 1, 1), now);
        sent += usize::from(streams.next_packet(now, &mut out).is_some());
    }
    assert_eq!(sent, MAX_RESETS - 1);
    let later = now + Duration::from_secs(1);
    streams.on_packet(from, &packet(Kind::Data, 1, 1, 1), later);
    assert!(streams.next_packet(later, &mut out).is_some());
}

#[test]
fn damaged_packets_among_the_others_never_panic_and_what_is_kept_stays_bounded() {
    for seed in 1..40 {
        let (mut world, key, _) = World::open(link(20, 5));
        let mut random = Random::new(seed);
        for _ in 0..60 {
            world.sides[LEFT].write(key, &[1; 4_000]);
            let end = world.now + Duration::from_millis(random.below(9) as u64);
            while world.step(end) {}
            let mut damaged = Vec::new();
            for Reverse((_, _, thing)) in &world.things {
                if let Thing::Packet(to, packet) = thing {
                    damaged.push((*to, random.damage(packet, 1)));
                }
            }
            for (to, packet) in damaged {
                world.sides[to].on_packet(address(1 - to), &packet, world.now);
            }
            for stream in world.sides.iter().flat_map(|side| side.streams.values()) {
                assert!(stream.connection.ready() <= MAX_KEPT);
            }
            assert!(world.sides.iter().all(|side| side.len() <= MAX_UNPROVEN + 1));
        }
    }
}
