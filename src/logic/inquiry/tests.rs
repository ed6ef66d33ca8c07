//! An inquiry and the peers it asks, in virtual time.

use super::*;
use crate::proto::hash::sha1;
use crate::proto::wire::{Exchange, Extended, Hello, Other, metadata_part_length, metadata_parts};
use std::collections::BTreeMap;

const US: PeerId = PeerId(*b"T050-----us000000000");

/// How a peer behaves.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Gives what it is asked for, so many milliseconds later.
    Honest(u64),
    /// Gives something else in place of this part.
    Liar(u32),
    /// Never answers.
    Silent,
    /// Refuses everything.
    Refusing,
    /// Has no metadata.
    Poor,
}

struct Play {
    start: Instant,
    now: Instant,
    inquiry: Inquiry,
    content: Vec<u8>,
    /// By the last number of their addresses.
    kinds: Vec<Kind>,
    keys: BTreeMap<PeerKey, usize>,
    /// What they will say, and when.
    mail: BTreeMap<(Instant, u64), (PeerKey, Message)>,
    said: u64,
    /// How often each was asked for a part.
    asked: Vec<usize>,
    closed: Vec<usize>,
    reports: Vec<String>,
}

fn address(n: usize) -> SocketAddr {
    format!("20.0.{n}.1:7007").parse().unwrap()
}

impl Play {
    fn new(size: usize, kinds: &[Kind]) -> Play {
        let content: Vec<u8> = (0..size).map(|n| (n % 241) as u8).collect();
        let now = Instant::now();
        let setup = Setup {
            info_hash: InfoHash(sha1(&content)),
            peer_id: US,
            trackers: vec![],
            port: 6881,
            seed: 3,
        };
        let config = Config { peer_exchange: true, ..Config::default() };
        let mut inquiry = Inquiry::new(setup, config, now);
        let addresses: Vec<SocketAddr> = (0..kinds.len()).map(address).collect();
        inquiry.add_candidates(&addresses, Source::Tracker, now);
        Play {
            start: now,
            now,
            inquiry,
            content,
            kinds: kinds.to_vec(),
            keys: BTreeMap::new(),
            mail: BTreeMap::new(),
            said: 0,
            asked: vec![0; kinds.len()],
            closed: Vec::new(),
            reports: Vec::new(),
        }
    }

    fn post(&mut self, key: PeerKey, message: Message, delay: u64) {
        self.said += 1;
        let at = self.now + Duration::from_millis(delay);
        self.mail.insert((at, self.said), (key, message));
    }

    fn size(&self, kind: Kind) -> Option<u32> {
        (kind != Kind::Poor).then_some(self.content.len() as u32)
    }

    /// A peer's side of the handshakes.
    fn opens(&mut self, key: PeerKey, n: usize) {
        let hello =
            Hello { reserved: [0, 0, 0, 0, 0, 0x10, 0, 4], info_hash: self.inquiry.info_hash() };
        self.inquiry.on_hello(key, hello, self.now);
        self.inquiry.on_peer_id(key, PeerId([n as u8 + 1; 20]), self.now);
        let told = Extended {
            metadata: Some(3),
            metadata_size: self.size(self.kinds[n]),
            ..Extended::default()
        };
        self.post(key, Message::Extended(Box::new(told)), 1);
    }

    fn answers(&mut self, key: PeerKey, n: usize, part: u32) {
        self.asked[n] += 1;
        let total = self.content.len() as u32;
        let begin = part as usize * METADATA_PART;
        let bytes = &self.content[begin..begin + metadata_part_length(total, part)];
        let mut bytes = bytes.to_vec();
        let (delay, word) = match self.kinds[n] {
            Kind::Silent | Kind::Poor => return,
            Kind::Refusing => (1, MetadataWord::Reject),
            Kind::Liar(wrong) => {
                if part == wrong {
                    bytes[0] ^= 1;
                }
                (1, MetadataWord::Data { total, bytes })
            }
            Kind::Honest(delay) => (delay, MetadataWord::Data { total, bytes }),
        };
        let answer = Metadata { number: crate::proto::wire::METADATA, part, word };
        self.post(key, Message::Metadata(Box::new(answer)), delay);
    }

    fn act(&mut self) {
        while let Some(action) = self.inquiry.next_action() {
            match action {
                Action::Dial { peer, address } => {
                    let SocketAddr::V4(v4) = address else { panic!("{address}") };
                    self.keys.insert(peer, v4.ip().octets()[2].into());
                    self.inquiry.on_connected(peer, self.now);
                }
                Action::Greet(key, _) => self.opens(key, self.keys[&key]),
                Action::Send(key, Message::Metadata(message)) => {
                    assert_eq!((message.number, &message.word), (3, &MetadataWord::Request));
                    self.answers(key, self.keys[&key], message.part);
                }
                Action::Send(..) => {}
                Action::Close(key) => {
                    self.mail.retain(|_, (to, _)| *to != key);
                    self.closed.push(self.keys[&key]);
                }
                Action::Announce { .. } => panic!("there is no tracker"),
                Action::Report(text) => self.reports.push(text),
            }
        }
    }

    /// Lets time pass until the metadata is there; says after how many milliseconds it was.
    fn run(&mut self, seconds: u64) -> Option<u64> {
        let end = self.start + Duration::from_secs(seconds);
        loop {
            self.act();
            if let Some(metadata) = self.inquiry.take_metadata() {
                assert!(metadata == self.content);
                return Some((self.now - self.start).as_millis() as u64);
            }
            let mail = self.mail.first_key_value().map(|((at, _), _)| *at);
            let next = mail.into_iter().chain(self.inquiry.next_deadline()).min()?;
            if next > end {
                return None;
            }
            self.now = self.now.max(next);
            while let Some(entry) = self.mail.first_entry().filter(|e| e.key().0 <= self.now) {
                let (key, message) = entry.remove();
                self.inquiry.on_message(key, message, self.now);
            }
            self.inquiry.on_time(self.now);
        }
    }
}

#[test]
fn one_peer_that_gives_is_enough() {
    for size in [1, METADATA_PART, METADATA_PART + 1, 20 * METADATA_PART - 1] {
        let mut play = Play::new(size, &[Kind::Honest(5)]);
        assert!(play.run(10).is_some_and(|ms| ms < 200), "{size}");
        assert_eq!(play.asked, [metadata_parts(size as u32) as usize]);
    }
}

#[test]
fn several_peers_share_the_work() {
    let mut play = Play::new(40 * METADATA_PART, &[Kind::Honest(50); 4]);
    let took = play.run(10).unwrap();
    assert!(took < 300, "{took} ms");
    assert_eq!(play.asked.iter().sum::<usize>(), 40, "{:?}", play.asked);
    assert!(play.asked.iter().all(|n| *n >= 8), "{:?}", play.asked);
}

#[test]
fn who_is_silent_or_slow_costs_two_seconds_and_who_refuses_nothing() {
    let kinds = [Kind::Silent, Kind::Silent, Kind::Poor, Kind::Honest(20)];
    let took = Play::new(10 * METADATA_PART, &kinds).run(60).unwrap();
    assert!((2000..4500).contains(&took), "{took} ms");
    let kinds = [Kind::Refusing, Kind::Refusing, Kind::Honest(20)];
    let took = Play::new(10 * METADATA_PART, &kinds).run(60).unwrap();
    assert!(took < 200, "{took} ms");
}

#[test]
fn who_gives_nothing_again_and_again_is_parted_from() {
    let mut play = Play::new(METADATA_PART, &[Kind::Silent, Kind::Refusing]);
    assert_eq!(play.run(29), None);
    assert!(play.closed.is_empty());
    assert_eq!(play.run(100), None);
    play.closed.sort();
    play.closed.dedup();
    assert_eq!(play.closed, [0, 1]);
}

#[test]
fn a_liar_is_found_and_does_not_come_back() {
    let mut play = Play::new(METADATA_PART, &[Kind::Liar(0)]);
    assert_eq!(play.run(3600), None);
    assert_eq!((&play.closed[..], &play.asked[..]), (&[0][..], &[1][..]));
    assert_eq!(play.reports, [format!("{} sent wrong metadata", address(0))]);
}

#[test]
fn liars_among_others_cost_time_and_nothing_else() {
    for at in 0..4 {
        let mut kinds = vec![Kind::Honest(30); 4];
        kinds[at] = Kind::Liar(7);
        kinds.insert(0, Kind::Liar(8));
        let mut play = Play::new(12 * METADATA_PART, &kinds);
        let took = play.run(60).unwrap();
        assert!(took < 2000, "{took} ms");
        assert!(play.closed.iter().all(|n| play.kinds[*n] != Kind::Honest(30)), "{at}");
    }
}

#[test]
fn one_that_gives_alone_and_falls_silent_makes_room_for_the_next() {
    // The two liars make it clear that somebody lies; then the silent one may be chosen.
    let kinds = [Kind::Liar(0), Kind::Liar(1), Kind::Silent, Kind::Silent, Kind::Honest(5)];
    let mut play = Play::new(4 * METADATA_PART, &kinds);
    assert!(play.run(120).is_some());
}

/// Somebody who connects to us and says so much of itself.
fn claims(play: &mut Play, n: usize, size: u32) -> PeerKey {
    let from = format!("30.0.{n}.1:9").parse().unwrap();
    let key = play.inquiry.on_incoming(from, false, play.now).unwrap();
    let hello = Hello { reserved: [0, 0, 0, 0, 0, 0x10, 0, 4], info_hash: play.inquiry.info_hash };
    play.inquiry.on_hello(key, hello, play.now);
    play.inquiry.on_peer_id(key, PeerId([100 + n as u8; 20]), play.now);
    let (metadata, metadata_size) = (Some(9), Some(size));
    let told = Extended { metadata, metadata_size, ..Extended::default() };
    play.inquiry.on_message(key, Message::Extended(Box::new(told)), play.now);
    key
}

fn actions(play: &mut Play) -> Vec<Action> {
    std::iter::from_fn(|| play.inquiry.next_action()).collect()
}

fn closes(actions: &[Action], key: PeerKey) -> bool {
    actions.iter().any(|a| matches!(a, Action::Close(k) if *k == key))
}

fn data(part: u32, total: u32, length: usize) -> Message {
    let word = MetadataWord::Data { total, bytes: vec![0; length] };
    Message::Metadata(Box::new(Metadata { number: 2, part, word }))
}

#[test]
fn absurd_and_changing_lengths_are_not_believed() {
    let mut play = Play::new(1, &[]);
    let key = claims(&mut play, 0, MAX_METADATA + 1);
    assert!(closes(&actions(&mut play), key));
    let key = claims(&mut play, 1, 5000);
    assert!(!closes(&actions(&mut play), key));
    let told = Extended { metadata: Some(9), metadata_size: Some(6000), ..Extended::default() };
    play.inquiry.on_message(key, Message::Extended(Box::new(told)), play.now);
    assert!(closes(&actions(&mut play), key));
    for (total, length) in [(5001, 5001), (5000, 4999), (5000, 0)] {
        let key = claims(&mut play, 2, 5000);
        play.inquiry.on_message(key, data(0, total, length), play.now);
        assert!(closes(&actions(&mut play), key), "{total} {length}");
    }
}

#[test]
fn what_nobody_asked_for_is_not_taken_and_floods_end() {
    let mut play = Play::new(1, &[]);
    let key = claims(&mut play, 0, 200 * METADATA_PART as u32);
    for _ in 0..1000 {
        play.inquiry.on_message(key, data(150, 200 * METADATA_PART as u32, 16_384), play.now);
    }
    assert_eq!(play.inquiry.assemblies.values().map(Assembly::held).sum::<usize>(), 0);
    for _ in 0..3000 {
        let ask = Metadata { number: 2, part: 0, word: MetadataWord::Request };
        play.inquiry.on_message(key, Message::Metadata(Box::new(ask)), play.now);
    }
    let actions = actions(&mut play);
    assert!(closes(&actions, key));
    let rejects = actions.iter().filter(
        |a| matches!(a, Action::Send(_, Message::Metadata(m)) if m.word == MetadataWord::Reject),
    );
    assert!((500..3000).contains(&rejects.count()));
}

#[test]
fn what_strangers_claim_fills_no_memory() {
    let mut play = Play::new(1, &[]);
    let sizes: Vec<u32> = (0..4).map(|n| MAX_METADATA - n).collect();
    let keys: Vec<PeerKey> = (0..4).map(|n| claims(&mut play, n, sizes[n])).collect();
    let mut left = keys.clone();
    for _ in 0..10_000 {
        for action in actions(&mut play) {
            match action {
                Action::Close(key) => left.retain(|k| *k != key),
                Action::Send(key, Message::Metadata(ask)) => {
                    // Whatever is asked comes, but for one part, so that it is never whole.
                    let n = keys.iter().position(|k| *k == key).unwrap();
                    let length = metadata_part_length(sizes[n], ask.part);
                    if ask.part != 5 {
                        play.now += Duration::from_millis(4);
                        let given = data(ask.part, sizes[n], length);
                        play.inquiry.on_message(key, given, play.now);
                    }
                }
                _ => {}
            }
        }
        let held: usize = play.inquiry.assemblies.values().map(Assembly::held).sum();
        assert!(held <= MAX_HELD, "{held}");
    }
    assert_eq!(left, keys[2..], "the longest went");
}

#[test]
fn peers_tell_of_others_who_are_asked_too() {
    let mut play = Play::new(1, &[Kind::Poor]);
    play.kinds.push(Kind::Honest(1));
    play.asked.push(0);
    assert_eq!(play.run(5), None);
    let (key, _) = play.inquiry.talks().next().unwrap();
    let near = "192.168.1.1:7".parse().unwrap();
    let other = |address| Other { address, seed: true, encrypts: false };
    let added = vec![other(address(1)), other(near)];
    let exchange = Exchange { number: 1, added, dropped: vec![] };
    play.inquiry.on_message(key, Message::Exchange(Box::new(exchange)), play.now);
    assert!(play.run(6).is_some());
    assert_eq!(play.keys.len(), 2, "a stranger's word of our network is not taken");
    let legacy = play.inquiry.into_legacy(play.now);
    assert_eq!((legacy.acquaintances.len(), legacy.addresses.len()), (2, 2));
}

#[test]
fn those_asked_are_met_with_encryption_as_is_set() {
    use crate::logic::torrent::Encryption;
    use crate::proto::mse::Methods;
    for (encryption, first, second) in [
        (Encryption::Never, None, None),
        (Encryption::Allowed, Some(Methods::Any), Some(None)),
        (Encryption::Only, Some(Methods::Rc4), None),
    ] {
        let mut play = Play::new(1, &[]);
        play.inquiry.config.encryption = encryption;
        let now = play.now;
        play.inquiry.add_candidates(&["20.0.0.9:1".parse().unwrap()], Source::Tracker, now);
        // Greets somebody who closes the connection at that.
        let mut greets = || {
            let actions = actions(&mut play);
            let dial = actions.iter().find_map(|action| match action {
                Action::Dial { peer, .. } => Some(*peer),
                _ => None,
            });
            play.inquiry.on_connected(dial?, now);
            let Some(Action::Greet(key, methods)) = play.inquiry.next_action() else { return None };
            play.inquiry.on_lost(key, now);
            Some(methods)
        };
        assert_eq!((greets(), greets()), (Some(first), second), "{encryption:?}");
        let from = "20.0.0.8:1".parse().unwrap();
        let plain = play.inquiry.on_incoming(from, false, now);
        assert_eq!(plain.is_err(), encryption == Encryption::Only);
    }
}
