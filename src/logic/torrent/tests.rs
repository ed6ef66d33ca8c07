//! One torrent and the peers it talks to, with the time in the line.

mod asleep;
mod encryption;
mod exchange;
mod extensions;
mod limits;
mod metadata;
mod mutated;
mod news;
mod pause;
mod share;
mod track;
mod web;

use super::*;
use crate::logic::candidates::Source;
use crate::proto::wire::Hello;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

const HASH: InfoHash = InfoHash([7; 20]);
const US: PeerId = PeerId(*b"T050-----us000000000");

/// A torrent of `pieces` pieces of two blocks each, and the time.
struct Stage {
    start: Instant,
    torrent: Torrent,
    geometry: Arc<Geometry>,
}

impl Stage {
    fn new(pieces: u32, have: &str, config: Config) -> Stage {
        let geometry = Arc::new(Geometry::new(32_768, [u64::from(pieces) * 32_768]).unwrap());
        let start = Instant::now();
        let mut bits = Bitfield::new(pieces);
        have.bytes().enumerate().for_each(|(i, b)| {
            bits.set(i as u32, b == b'#');
        });
        let setup = Setup {
            info_hash: HASH,
            peer_id: US,
            geometry: Arc::clone(&geometry),
            have: bits,
            priorities: vec![],
            trackers: vec![],
            port: 6881,
            seed: 1,
        };
        let torrent = Torrent::new(setup, config, start);
        Stage { start, torrent, geometry }
    }

    /// A torrent of four pieces with nothing yet.
    fn empty() -> Stage {
        Stage::new(4, "....", Config::default())
    }

    fn seed() -> Stage {
        Stage::new(4, "####", Config::default())
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    /// Everything the torrent wants done by now.
    fn says(&mut self) -> Vec<Action> {
        self.torrent.check();
        std::iter::from_fn(|| self.torrent.next_action()).collect()
    }

    /// Lets the time pass, deadline by deadline.
    fn until(&mut self, seconds: u64) -> Vec<Action> {
        let end = self.at(seconds);
        let mut actions = self.says();
        for _ in 0..10_000 {
            match self.torrent.next_deadline() {
                Some(at) if at <= end => self.torrent.on_time(at),
                _ => return actions,
            }
            actions.extend(self.says());
        }
        panic!("its deadlines never end");
    }

    /// Somebody connects to us at once, by this address and name.
    fn joins(&mut self, address: &str, name: u8, at: u64) -> PeerKey {
        let now = self.at(at);
        let key = self.torrent.on_incoming(address.parse().unwrap(), false, now).expect("welcome");
        self.torrent.on_peer_id(key, PeerId([name; 20]), now);
        key
    }

    fn hears(&mut self, key: PeerKey, message: Message, at: u64) -> Vec<Action> {
        let now = self.at(at);
        self.torrent.on_message(key, message, now);
        self.says()
    }

    fn has(&mut self, key: PeerKey, have: &str, at: u64) -> Vec<Action> {
        let mut bits = Bitfield::new(have.len() as u32);
        have.bytes().enumerate().for_each(|(i, b)| {
            bits.set(i as u32, b == b'#');
        });
        self.hears(key, Message::Bitfield(bits), at)
    }

    fn block(&self, piece: u32, n: u32) -> BlockRef {
        self.geometry.block(self.geometry.piece(piece).unwrap(), n).unwrap()
    }

    fn gives(&mut self, key: PeerKey, block: BlockRef, at: u64) -> Vec<Action> {
        self.hears(key, Message::Piece { block, data: vec![0; block.length() as usize] }, at)
    }
}

/// The requests among the actions, by peer.
fn requests(actions: &[Action]) -> Vec<(PeerKey, BlockRef)> {
    let request = |a: &Action| match a {
        Action::Send(key, Message::Request(block)) => Some((*key, *block)),
        _ => None,
    };
    actions.iter().filter_map(request).collect()
}

fn sends(actions: &[Action], key: PeerKey, wanted: &Message) -> bool {
    actions.iter().any(|a| matches!(a, Action::Send(k, m) if *k == key && m == wanted))
}

fn closes(actions: &[Action], key: PeerKey) -> bool {
    actions.iter().any(|a| matches!(a, Action::Close(k) if *k == key))
}

/// Gives all that is asked of these peers until nothing is asked any more; every piece is good.
fn feed(stage: &mut Stage, mut actions: Vec<Action>, at: u64) -> Vec<Action> {
    let mut all = Vec::new();
    while !actions.is_empty() {
        let mut next = Vec::new();
        for (key, block) in requests(&actions) {
            next.extend(stage.gives(key, block, at));
        }
        for action in &actions {
            if let Action::Verify(piece) = action {
                let now = stage.at(at);
                stage.torrent.on_verified(*piece, true, now);
                next.extend(stage.says());
            }
        }
        all.append(&mut actions);
        actions = next;
    }
    all
}

#[test]
fn downloads_from_a_peer_that_lets_us() {
    let mut stage = Stage::empty();
    let key = stage.joins("20.0.0.1:5", 1, 0);
    assert!(matches!(stage.says()[..], [Action::Greet(k, None)] if k == key));
    assert!(sends(&stage.has(key, "####", 0), key, &Message::Interested));
    let asked = stage.hears(key, Message::Unchoke, 1);
    assert_eq!(requests(&asked).len(), 8);
    let all = feed(&mut stage, asked, 2);
    assert!(stage.torrent.is_complete());
    assert!(all.iter().any(|a| matches!(a, Action::Report(Notice::Complete))));
    // A seed and now we: nothing left to say to each other.
    assert!(closes(&all, key));
    assert_eq!(stage.torrent.status(stage.at(2)).downloaded, 4 * 32_768);
}

#[test]
fn without_peers_their_progress_is_zero_and_shown_so() {
    let stage = Stage::empty();
    assert_eq!(stage.torrent.status(stage.at(0)).peers_progress.to_string(), "0");
}

#[test]
fn does_not_request_pieces_we_have() {
    let mut stage = Stage::new(4, "#.#.", Config::default());
    let key = stage.joins("20.0.0.1:5", 1, 0);
    stage.has(key, "####", 0);
    let asked = requests(&stage.hears(key, Message::Unchoke, 1));
    let mut pieces: Vec<u32> = asked.iter().map(|(_, b)| b.piece().get()).collect();
    pieces.sort_unstable();
    assert_eq!(pieces, [1, 1, 3, 3]);
}

#[test]
fn is_not_interested_in_what_we_have_and_says_when_that_changes() {
    let mut stage = Stage::new(4, "##..", Config::default());
    let key = stage.joins("20.0.0.1:5", 1, 0);
    stage.says();
    assert!(!sends(&stage.has(key, "##..", 0), key, &Message::Interested));
    let piece = stage.geometry.piece(2).unwrap();
    assert!(sends(&stage.hears(key, Message::Have(piece), 1), key, &Message::Interested));
    let asked = stage.hears(key, Message::Unchoke, 2);
    assert!(sends(&feed(&mut stage, asked, 2), key, &Message::NotInterested));
}

#[test]
fn what_a_choking_or_lost_peer_was_asked_goes_to_another() {
    for lost in [false, true] {
        let mut stage = Stage::empty();
        let a = stage.joins("20.0.0.1:5", 1, 0);
        let b = stage.joins("20.0.0.2:5", 2, 0);
        stage.has(a, "##..", 0);
        stage.has(b, "##..", 0);
        assert_eq!(requests(&stage.hears(a, Message::Unchoke, 1)).len(), 4);
        stage.hears(b, Message::Unchoke, 1);
        let actions = if lost {
            let now = stage.at(2);
            stage.torrent.on_lost(a, now);
            stage.says()
        } else {
            stage.hears(a, Message::Choke, 2)
        };
        let _ = actions;
        let asked: Vec<BlockRef> =
            stage.torrent.session(b).unwrap().asked.iter().copied().collect();
        assert_eq!(asked.len(), 4, "lost: {lost}");
    }
}

#[test]
fn the_first_answer_in_the_endgame_cancels_the_others() {
    let mut stage = Stage::new(1, ".", Config::default());
    let a = stage.joins("20.0.0.1:5", 1, 0);
    let b = stage.joins("20.0.0.2:5", 2, 0);
    stage.has(a, "#", 0);
    stage.has(b, "#", 0);
    assert_eq!(requests(&stage.hears(a, Message::Unchoke, 1)).len(), 2);
    assert_eq!(requests(&stage.hears(b, Message::Unchoke, 1)), [], "a may be quick");
    let doubled = requests(&stage.until(5));
    assert_eq!(doubled.len(), 2, "a is slow: {doubled:?}");
    assert!(doubled.iter().all(|(key, _)| *key == b));
    let block = doubled[1].1;
    assert!(sends(&stage.gives(a, block, 6), b, &Message::Cancel(block)));
    let late = stage.gives(b, block, 6);
    assert!(late.iter().any(|a| matches!(a, Action::Recycle(_))));
}

#[test]
fn in_the_endgame_only_what_comes_too_late_is_asked_for_twice() {
    // Both have shown how quick they are: a block a second, and ten.
    let mut stage = Stage::new(40, &".".repeat(40), Config::default());
    let slow = stage.joins("20.0.0.1:5", 1, 0);
    let fast = stage.joins("20.0.0.2:5", 2, 0);
    let mut asked: BTreeMap<PeerKey, VecDeque<BlockRef>> = BTreeMap::new();
    let mut twice = 0;
    let mut seen = std::collections::BTreeSet::new();
    let mut actions = stage.has(slow, &"#".repeat(40), 0);
    actions.extend(stage.has(fast, &"#".repeat(40), 0));
    actions.extend(stage.hears(slow, Message::Unchoke, 0));
    actions.extend(stage.hears(fast, Message::Unchoke, 0));
    let mut tenths = 0;
    while !stage.torrent.is_complete() {
        for action in std::mem::take(&mut actions) {
            match action {
                Action::Send(key, Message::Request(block)) => {
                    twice += usize::from(!seen.insert(block));
                    asked.entry(key).or_default().push_back(block);
                }
                Action::Send(key, Message::Cancel(block)) => {
                    asked.entry(key).or_default().retain(|b| *b != block);
                }
                Action::Verify(piece) => {
                    let now = stage.start + Duration::from_millis(tenths * 100);
                    stage.torrent.on_verified(piece, true, now);
                    actions.extend(stage.says());
                }
                _ => {}
            }
        }
        tenths += 1;
        let now = stage.start + Duration::from_millis(tenths * 100);
        while stage.torrent.next_deadline().is_some_and(|at| at <= now) {
            stage.torrent.on_time(now);
        }
        let givers = if tenths % 10 == 0 { vec![slow, fast] } else { vec![fast] };
        for key in givers {
            let Some(block) = asked.entry(key).or_default().pop_front() else { continue };
            let data = vec![0; block.length() as usize];
            stage.torrent.on_message(key, Message::Piece { block, data }, now);
        }
        actions.extend(stage.says());
        assert!(tenths < 150, "the slow one holds up the end");
    }
    // The slow one had ten requests out, of which it would have answered one in the last second.
    assert!((5..=20).contains(&twice), "{twice} blocks were asked for twice");
}

#[test]
fn a_fast_peer_far_away_is_kept_busy() {
    const RATE: f64 = 10e6;
    const WAY: f64 = 0.1;
    let mut stage = Stage::new(1500, &".".repeat(1500), Config::default());
    let key = stage.joins("20.0.0.1:5", 1, 0);
    stage.has(key, &"#".repeat(1500), 0);
    let start = stage.start;
    let mut actions = stage.hears(key, Message::Unchoke, 0);
    let (mut arrivals, mut busy, mut now) = (VecDeque::new(), 0.0f64, 0.0f64);
    while !stage.torrent.is_complete() {
        for (_, block) in requests(&actions) {
            busy = busy.max(now + WAY) + f64::from(block.length()) / RATE;
            arrivals.push_back((busy + WAY, block));
        }
        let verify: Vec<PieceIndex> = actions
            .iter()
            .filter_map(|a| if let Action::Verify(piece) = a { Some(*piece) } else { None })
            .collect();
        for piece in verify {
            stage.torrent.on_verified(piece, true, start + Duration::from_secs_f64(now));
        }
        let Some((at, block)) = arrivals.pop_front() else { break };
        now = at;
        let data = vec![0; block.length() as usize];
        let message = Message::Piece { block, data };
        stage.torrent.on_message(key, message, start + Duration::from_secs_f64(now));
        // Without the checks of `says`, which would go through all pieces at every block.
        actions = std::iter::from_fn(|| stage.torrent.next_action()).collect();
    }
    let ideal = 1500.0 * 32_768.0 / RATE;
    assert!(stage.torrent.is_complete());
    assert!(now < ideal + 1.2, "{now} s for what takes {ideal} s at best");
}

#[test]
fn a_retry_does_not_stay_for_ever_with_a_slow_peer() {
    let mut stage = Stage::new(1, ".", Config::default());
    let a = stage.joins("20.0.0.1:5", 1, 0);
    let b = stage.joins("20.0.0.2:5", 2, 0);
    stage.has(a, "#", 0);
    stage.has(b, "#", 0);
    stage.hears(a, Message::Unchoke, 0);
    stage.hears(b, Message::Unchoke, 0);
    stage.until(5);
    // Each gives one block, and one of them is bad.
    stage.gives(a, stage.block(0, 0), 5);
    let full = stage.gives(b, stage.block(0, 1), 5);
    assert!(full.iter().any(|action| matches!(action, Action::Verify(_))));
    let now = stage.at(5);
    stage.torrent.on_verified(stage.geometry.piece(0).unwrap(), false, now);
    let owner = requests(&stage.says())[0].0;
    let other = if owner == a { b } else { a };
    // It gives a block now and then, which is not enough to be snubbed.
    let mut at = 5;
    let taken = loop {
        at += 20;
        assert!(at < 120, "it still has it");
        let asked = requests(&stage.until(at));
        if asked.iter().any(|(key, _)| *key == other) {
            break asked;
        }
        if at == 25 {
            stage.gives(owner, stage.block(0, 0), at);
        }
    };
    assert!(taken.iter().any(|(key, block)| *key == other && *block == stage.block(0, 0)));
}

#[test]
fn a_peer_that_gives_nothing_is_snubbed_and_asked_for_one_block_later() {
    let mut stage = Stage::empty();
    let key = stage.joins("20.0.0.1:5", 1, 0);
    stage.has(key, "####", 0);
    stage.hears(key, Message::Unchoke, 1);
    let actions = stage.until(35);
    let cancelled = actions.iter().filter(|a| matches!(a, Action::Send(_, Message::Cancel(_))));
    assert_eq!(cancelled.count(), 8);
    assert_eq!(stage.torrent.session(key).unwrap().asked.len(), 1);
    let first = stage.torrent.session(key).unwrap().asked[0];
    stage.gives(key, first, 36);
    assert!(stage.torrent.session(key).unwrap().asked.len() > 1);
}

#[test]
fn a_single_giver_of_bad_pieces_is_kicked_then_banned() {
    let mut stage = Stage::empty();
    for round in 0..3 {
        let key = stage.joins("20.0.0.1:5", 1, round);
        stage.has(key, "####", round);
        let mut asked = requests(&stage.hears(key, Message::Unchoke, round));
        let mut failures = 0;
        while let Some((_, block)) = asked.pop() {
            for action in stage.gives(key, block, round) {
                if let Action::Verify(piece) = action {
                    if failures < 3 {
                        failures += 1;
                        let now = stage.at(round);
                        stage.torrent.on_verified(piece, false, now);
                    }
                }
            }
            asked.extend(requests(&stage.says()));
        }
        if stage.torrent.on_incoming("20.0.0.1:9".parse().unwrap(), false, stage.at(round)).is_err()
        {
            assert!(!stage.torrent.peers.contains_key(&key));
            return;
        }
        stage.torrent.peers.clear();
    }
    panic!("never banned");
}

#[test]
fn serves_only_interested_peers_and_only_while_unchoked() {
    let mut stage = Stage::seed();
    let key = stage.joins("20.0.0.1:5", 1, 0);
    stage.says();
    let block = stage.block(1, 1);
    assert!(
        !stage.hears(key, Message::Interested, 0).iter().any(|a| matches!(a, Action::Close(_)))
    );
    assert!(stage.hears(key, Message::Request(block), 0).is_empty(), "choked: not served");
    let actions = stage.until(1);
    assert!(sends(&actions, key, &Message::Unchoke));
    let served = stage.hears(key, Message::Request(block), 1);
    assert!(matches!(served[..], [Action::SendBlock(k, b)] if k == key && b == block));
    stage.hears(key, Message::NotInterested, 2);
    assert!(closes(&stage.hears(key, Message::Request(block), 2), key));
}

#[test]
fn a_cancelled_request_is_not_served() {
    let mut stage = Stage::seed();
    let key = stage.joins("20.0.0.1:5", 1, 0);
    stage.hears(key, Message::Interested, 0);
    stage.until(1);
    let block = stage.block(0, 0);
    let mut handed = 0;
    for _ in 0..20 {
        handed += stage.hears(key, Message::Request(block), 1).len();
    }
    assert_eq!(handed, 4, "the window of blocks handed on is full");
    stage.hears(key, Message::Cancel(block), 1);
    let now = stage.at(1);
    stage.torrent.on_block_sent(key, block, now);
    assert!(stage.says().is_empty());
}

/// A seed under an upload limit whose peers, so many, ask for more than it may give. Plays whole
/// seconds; tells what was let through, how often the torrent was woken, and the largest portion.
fn serve_limited(config: Config, peers: u8, seconds: u64) -> (u64, usize, u64) {
    let mut stage = Stage::new(4, "####", config);
    let keys: Vec<PeerKey> =
        (1..=peers).map(|n| stage.joins(&format!("20.0.0.{n}:5"), n, 0)).collect();
    let mut queue: VecDeque<Action> = VecDeque::new();
    for key in &keys {
        queue.extend(stage.hears(*key, Message::Interested, 0));
    }
    let (block, end) = (stage.block(1, 1), stage.at(seconds));
    let (mut now, mut sent, mut wakes, mut largest) = (stage.start, 0, 0, 0);
    let mut unsent: BTreeMap<PeerKey, (u64, u64)> = BTreeMap::new();
    loop {
        queue.extend(stage.says());
        let Some(action) = queue.pop_front() else {
            match stage.torrent.next_deadline() {
                Some(at) if at <= end => now = at,
                _ => return (sent, wakes, largest),
            }
            stage.torrent.on_time(now);
            wakes += 1;
            continue;
        };
        match action {
            Action::Send(key, Message::Unchoke) => {
                (0..40).for_each(|_| stage.torrent.on_message(key, Message::Request(block), now));
            }
            Action::SendBlock(key, _) => unsent.entry(key).or_default().0 += 16_384,
            Action::Allow(key, bytes) => {
                sent += bytes;
                largest = largest.max(bytes);
                let (queued, allowed) = unsent.entry(key).or_default();
                *allowed += bytes;
                if *queued > 0 && allowed == queued {
                    (*queued, *allowed) = (0, 0);
                    stage.torrent.on_block_sent(key, block, now);
                    stage.torrent.on_message(key, Message::Request(block), now);
                }
            }
            _ => {}
        }
    }
}

#[test]
fn an_upload_limit_holds_in_small_portions_and_few_wake_ups() {
    for (limit, peers) in [(20_480, 1), (20_480, 50), (200 << 20, 1), (200 << 20, 50)] {
        let config = Config { upload_limit: Some(limit), ..Config::default() };
        let (sent, wakes, largest) = serve_limited(config, peers, 10);
        let share = sent as f64 / (limit as f64 * 10.0);
        assert!((0.95..=1.05).contains(&share), "{share} of {limit} with {peers} peers");
        assert!(wakes < 2_100, "{wakes} wake-ups at {limit}");
        assert!(largest <= 1_460.max(limit / 200), "{largest} bytes at once at {limit}");
    }
}

#[test]
fn a_unit_is_the_least_a_socket_gets_at_a_time() {
    let config =
        |unit| Config { upload_limit: Some(20_000), upload_unit_size: unit, ..Config::default() };
    let (sent, wakes, largest) = serve_limited(config(8_000), 1, 10);
    assert_eq!(largest, 8_000);
    assert!((190_000..=210_000).contains(&sent) && wakes < 50, "{sent} {wakes}");
    assert_eq!(serve_limited(config(500), 1, 10).2, 500);
}

#[test]
fn what_comes_in_is_charged_to_the_upload_limit_but_half_of_it_at_most() {
    let served = |bytes: u64, fudge: f64| {
        let config =
            Config { upload_limit: Some(100_000), tcp_ack_fudge: fudge, ..Config::default() };
        let mut stage = Stage::new(4, "....", config);
        let (mut free, start) = (0, stage.start);
        for tenth in 0..100 {
            let now = start + Duration::from_millis(tenth * 100);
            (0..100).for_each(|_| stage.torrent.charge_acks(bytes / 1_000, now));
            if stage.torrent.limits.upload.ready(now) {
                let available = stage.torrent.limits.upload.available(now);
                stage.torrent.limits.upload.take(now, available);
                free += available;
            }
        }
        free / 10
    };
    let near = |value: u64, expected: u64| value.abs_diff(expected) < 6_000;
    assert!(near(served(1_000_000, 0.03), 70_000), "{}", served(1_000_000, 0.03));
    assert!(near(served(1_000_000, 0.0), 100_000), "{}", served(1_000_000, 0.0));
    assert!(near(served(100_000_000, 0.03), 50_000), "{}", served(100_000_000, 0.03));
}

#[test]
fn late_first_requests_bring_an_upload_limit_and_fewer_slots() {
    let config = Config { auto_upload_limit: true, ..Config::default() };
    let mut stage = Stage::new(4, "####", config);
    let block = stage.block(1, 1);
    assert_eq!(stage.torrent.config.max_uploads, 6);
    for n in 1..=8 {
        let second = u64::from(n) * 10;
        let key = stage.joins(&format!("20.0.0.{n}:5"), n, second);
        stage.hears(key, Message::Interested, second);
        let unchoked = sends(&stage.until(second + 1), key, &Message::Unchoke);
        assert!(unchoked, "{n} is unchoked at once");
        stage.hears(key, Message::Request(block), second + 3);
        let now = stage.at(second + 3);
        stage.torrent.on_block_sent(key, block, now);
        stage.torrent.on_lost(key, now);
        assert_eq!(stage.torrent.limits.upload.limit().is_some(), n == 8);
    }
    let limit = stage.torrent.limits.upload.limit().unwrap();
    assert!(limit < 5_000, "{limit}");
    assert!(stage.torrent.config.max_uploads < 6);
}

#[test]
fn the_download_limit_holds_with_a_single_peer() {
    let config = Config { download_limit: Some(16_384), ..Config::default() };
    let mut stage = Stage::new(40, &".".repeat(40), config);
    let key = stage.joins("20.0.0.1:5", 1, 0);
    stage.has(key, &"#".repeat(40), 0);
    let mut asked = requests(&stage.hears(key, Message::Unchoke, 0));
    let mut total = asked.len();
    for second in 1..=20 {
        for (key, block) in std::mem::take(&mut asked) {
            asked.extend(requests(&stage.gives(key, block, second)));
        }
        asked.extend(requests(&stage.until(second)));
        total += asked.len();
    }
    assert!((18..=23).contains(&total), "{total} blocks in 20 seconds at a block a second");
}

#[test]
fn what_is_not_coming_is_not_charged_to_the_download_limit() {
    let config = Config { download_limit: Some(100_000), ..Config::default() };
    let mut stage = Stage::new(40, &".".repeat(40), config);
    let (first, second) = (stage.joins("20.0.0.1:5", 1, 0), stage.joins("20.0.0.2:5", 2, 0));
    stage.has(first, &"#".repeat(40), 0);
    stage.has(second, &"#".repeat(40), 0);
    let asked = requests(&stage.hears(first, Message::Unchoke, 1));
    assert!(asked.len() > 1 && !stage.torrent.limits.download.ready(stage.at(1)));
    stage.hears(first, Message::Choke, 1);
    let again = requests(&stage.hears(second, Message::Unchoke, 1));
    assert_eq!(again.len(), asked.len());
}

#[test]
fn what_waits_at_a_seed_and_others_have_by_now_is_taken_back_for_something_rarer() {
    let mut stage = Stage::new(40, &".".repeat(40), Config::default());
    let (seed, other) = (stage.joins("20.0.0.1:5", 1, 0), stage.joins("20.0.0.2:5", 2, 0));
    stage.has(seed, &"#".repeat(40), 0);
    let asked = requests(&stage.hears(seed, Message::Unchoke, 0));
    let piece = asked.last().unwrap().1.piece();
    let waits: Vec<BlockRef> =
        asked.iter().map(|(_, block)| *block).filter(|block| block.piece() == piece).collect();
    assert_eq!(waits.len(), 2, "{asked:?}");
    let actions = stage.hears(other, Message::Have(piece), 1);
    for block in waits {
        assert!(sends(&actions, seed, &Message::Cancel(block)), "{actions:?}");
    }
    let instead = requests(&actions);
    assert!(instead.iter().all(|(key, block)| *key == seed && block.piece() != piece));
    assert_eq!(instead.len(), 2);
}

#[test]
fn a_seed_sends_first_what_nobody_has_and_lets_copies_wait_for_those_who_take() {
    let mut stage = Stage::new(40, &"#".repeat(40), Config::default());
    let (a, b) = (stage.joins("20.0.0.1:5", 1, 0), stage.joins("20.0.0.2:5", 2, 0));
    stage.hears(a, Message::Interested, 0);
    stage.hears(b, Message::Interested, 0);
    stage.until(1);
    let served = |actions: &[Action]| -> Vec<(PeerKey, BlockRef)> {
        let served = actions.iter().filter_map(|action| match action {
            Action::SendBlock(key, block) => Some((*key, *block)),
            _ => None,
        });
        served.collect()
    };
    for n in 0..20 {
        let block = stage.block(n / 2, n % 2);
        stage.hears(a, Message::Request(block), 1);
    }
    let (copy, first) = (stage.block(0, 0), stage.block(30, 0));
    assert_eq!(served(&stage.hears(b, Message::Request(copy), 1)), [], "a copy waits");
    assert_eq!(served(&stage.hears(b, Message::Request(first), 1)), [(b, first)]);
    let now = stage.at(2);
    // Slow, so that there are no more than two of its blocks under way.
    (0..3).for_each(|_| stage.torrent.on_block_sent(a, copy, now));
    let next = stage.block(2, 0);
    assert_eq!(served(&stage.until(3)), [(a, next)]);
    assert_eq!(served(&stage.until(5)), [(b, copy)], "nobody waits for who takes nothing");
}

#[test]
fn keeps_silent_connections_alive_and_drops_those_of_silent_peers() {
    let mut stage = Stage::empty();
    let key = stage.joins("20.0.0.1:5", 1, 0);
    let actions = stage.until(290);
    let alive = actions.iter().filter(|a| matches!(a, Action::Send(_, Message::KeepAlive)));
    assert_eq!(alive.count(), 2);
    assert!(!closes(&actions, key));
    assert!(closes(&stage.until(302), key));
}

#[test]
fn a_handshake_that_never_comes_ends_after_thirty_seconds() {
    let mut stage = Stage::empty();
    let now = stage.start;
    let key = stage.torrent.on_incoming("20.0.0.1:5".parse().unwrap(), false, now).unwrap();
    assert!(!closes(&stage.until(29), key));
    assert!(closes(&stage.until(31), key));
}

#[test]
fn dials_candidates_but_not_ourselves_again() {
    let mut stage = Stage::empty();
    let address: SocketAddr = "20.0.0.9:6881".parse().unwrap();
    let now = stage.start;
    stage.torrent.add_candidates(&[address], Source::Tracker, now);
    let Action::Dial { peer, address: to } = stage.says().remove(0) else { panic!("no dial") };
    assert_eq!(to, address);
    stage.torrent.on_connected(peer, now);
    stage.torrent.on_hello(peer, Hello { reserved: [0; 8], info_hash: HASH }, now);
    stage.torrent.on_peer_id(peer, US, now);
    assert!(closes(&stage.says(), peer));
    let again = stage.until(7200);
    assert!(!again.iter().any(|a| matches!(a, Action::Dial { .. })), "{again:?}");
}

#[test]
fn another_torrents_handshake_is_a_fault() {
    let mut stage = Stage::empty();
    let now = stage.start;
    let address: SocketAddr = "20.0.0.9:6881".parse().unwrap();
    stage.torrent.add_candidates(&[address], Source::Tracker, now);
    let Action::Dial { peer, .. } = stage.says().remove(0) else { panic!("no dial") };
    stage.torrent.on_connected(peer, now);
    stage.torrent.on_hello(peer, Hello { reserved: [0; 8], info_hash: InfoHash([8; 20]) }, now);
    assert!(closes(&stage.says(), peer));
}

#[test]
fn one_connection_for_each_public_address_but_many_behind_a_private_one() {
    let mut stage = Stage::empty();
    stage.joins("20.0.0.1:5", 1, 0);
    let now = stage.start;
    let again = stage.torrent.on_incoming("20.0.0.1:6".parse().unwrap(), false, now);
    assert_eq!(again, Err(Refused::Duplicate));
    stage.joins("192.168.0.7:5", 2, 0);
    stage.joins("192.168.0.7:6", 3, 0);
    stage.joins("127.0.0.1:6", 4, 0);
    stage.joins("127.0.0.1:7", 5, 0);
    assert_eq!(stage.torrent.sessions().count(), 5);
}

#[test]
fn the_same_peer_from_the_same_host_replaces_its_dead_connection() {
    let mut stage = Stage::empty();
    let old = stage.joins("192.168.0.7:5", 1, 0);
    let new = stage.joins("192.168.0.7:6", 1, 1);
    assert!(closes(&stage.says(), old));
    let impostor = stage.joins("192.168.0.8:6", 1, 1);
    assert!(closes(&stage.says(), impostor));
    assert_eq!(stage.open_keys(), [new]);
}

#[test]
fn a_bitfield_adds_to_what_is_known_whenever_it_comes() {
    let mut stage = Stage::empty();
    let key = stage.joins("20.0.0.1:5", 1, 0);
    stage.says();
    for (bits, copies) in [("#...", 0.25), (".#..", 0.5), ("##..", 0.5), ("..##", 0.0)] {
        assert!(!closes(&stage.has(key, bits, 0), key));
        stage.torrent.check();
        let status = stage.torrent.status(stage.at(0));
        assert_eq!(status.distributed_copies, copies, "after {bits}");
    }
    assert_eq!(stage.torrent.status(stage.at(0)).seeds, 1);
    stage.torrent.on_lost(key, stage.at(1));
    stage.torrent.check();
    assert_eq!(stage.torrent.status(stage.at(1)).distributed_copies, 0.0);
}

#[test]
fn stops_once_and_closes_everything() {
    let mut stage = Stage::seed();
    let key = stage.joins("20.0.0.1:5", 1, 0);
    let now = stage.at(1);
    stage.torrent.stop(now);
    stage.torrent.stop(now);
    let closed = stage.says().iter().filter(|a| matches!(a, Action::Close(k) if *k == key)).count();
    assert_eq!(closed, 1);
    let refused = stage.torrent.on_incoming("20.0.0.2:5".parse().unwrap(), false, now);
    assert_eq!(refused, Err(Refused::Stopping));
}

impl Stage {
    fn open_keys(&self) -> Vec<PeerKey> {
        self.torrent.open_keys()
    }
}

#[test]
fn which_addresses_may_have_several_peers() {
    let exempt = |ip: &str| super::connect::is_exempt(ip.parse::<IpAddr>().unwrap());
    for ip in ["127.0.0.1", "10.1.2.3", "192.168.1.1", "172.16.0.1", "169.254.0.1"] {
        assert!(exempt(ip), "{ip}");
    }
    for ip in ["::1", "fe80::1", "fd00::1", "::ffff:10.0.0.1"] {
        assert!(exempt(ip), "{ip}");
    }
    for ip in ["8.8.8.8", "172.32.0.1", "2001:db8::1", "::ffff:8.8.8.8"] {
        assert!(!exempt(ip), "{ip}");
    }
}

/// Lets the files of the torrent be its pieces.
fn piece_by_piece(have: &str) -> Stage {
    let mut stage = Stage::new(4, have, Config::default());
    stage.geometry = Arc::new(Geometry::new(32_768, [32_768; 4]).unwrap());
    let setup = Setup {
        info_hash: HASH,
        peer_id: US,
        geometry: Arc::clone(&stage.geometry),
        have: stage.torrent.have().clone(),
        priorities: vec![],
        trackers: vec![],
        port: 6881,
        seed: 1,
    };
    stage.torrent = Torrent::new(setup, Config::default(), stage.start);
    stage
}

/// One sign a file: `0` to `2`, or `-` for those that are not wanted.
fn priorities(picture: &str) -> Vec<Priority> {
    let number = |c: char| c.to_digit(10).map_or(-1, i64::from);
    picture.chars().map(|c| Priority::from_number(number(c)).unwrap()).collect()
}

impl Stage {
    fn wants(&mut self, picture: &str, at: u64) -> Vec<Action> {
        let now = self.at(at);
        self.torrent.set_priorities(&priorities(picture), now);
        self.says()
    }
}

fn reports(actions: &[Action]) -> Vec<Notice> {
    let notices = actions.iter().filter_map(|a| match a {
        Action::Report(notice) => Some(notice.clone()),
        _ => None,
    });
    notices.collect()
}

#[test]
fn unwanted_files_are_not_fetched_and_the_end_is_done_not_complete() {
    let mut stage = piece_by_piece("....");
    stage.wants("-1-0", 0);
    let key = stage.joins("20.0.0.1:5", 1, 0);
    stage.says();
    assert!(!sends(&stage.has(key, "#.#.", 0), key, &Message::Interested));
    assert!(sends(&stage.has(key, "##.#", 0), key, &Message::Interested));
    let asked = stage.hears(key, Message::Unchoke, 1);
    let pieces: Vec<u32> = requests(&asked).iter().map(|(_, b)| b.piece().get()).collect();
    assert_eq!(pieces, [3, 3, 1, 1]);
    let all = feed(&mut stage, asked, 2);
    assert_eq!(reports(&all), [Notice::Done]);
    assert!(closes(&all, key), "a seed has nothing for us any more");
    assert!(stage.torrent.is_done() && !stage.torrent.is_complete());
    let status = stage.torrent.status(stage.at(2));
    assert_eq!((status.left, status.wanted), (0, 2 * 32_768));
}

#[test]
fn a_file_that_is_put_off_is_cancelled_and_one_that_is_taken_up_is_asked_for() {
    let mut stage = piece_by_piece("....");
    stage.wants("1---", 0);
    let key = stage.joins("20.0.0.1:5", 1, 0);
    stage.has(key, "##..", 0);
    let asked = requests(&stage.hears(key, Message::Unchoke, 1));
    assert_eq!(asked.iter().map(|(_, b)| b.piece().get()).collect::<Vec<_>>(), [0, 0]);
    let changed = stage.wants("-1--", 2);
    for (_, block) in &asked {
        assert!(sends(&changed, key, &Message::Cancel(*block)), "{block:?}");
    }
    let now: Vec<u32> = requests(&changed).iter().map(|(_, b)| b.piece().get()).collect();
    assert_eq!(now, [1, 1]);
    let none = stage.wants("---1", 3);
    assert!(sends(&none, key, &Message::NotInterested));
    assert!(reports(&none).is_empty());
    assert!(sends(&stage.wants("1111", 4), key, &Message::Interested));
}

#[test]
fn to_want_no_more_than_what_is_there_is_to_be_done() {
    let mut stage = piece_by_piece("##..");
    assert_eq!(reports(&stage.wants("11--", 0)), [Notice::Done]);
    assert!(reports(&stage.wants("1---", 0)).is_empty());
    assert!(reports(&stage.wants("--1-", 0)).is_empty());
    assert!(!stage.torrent.is_done());
    assert_eq!(stage.torrent.priorities(), priorities("--1-"));
}

#[test]
fn a_piece_put_off_while_it_is_hashed_still_counts() {
    let mut stage = piece_by_piece("###.");
    let key = stage.joins("20.0.0.1:5", 1, 0);
    stage.has(key, "####", 0);
    let asked = requests(&stage.hears(key, Message::Unchoke, 1));
    for (_, block) in asked {
        stage.gives(key, block, 1);
    }
    let done = stage.wants("111-", 2);
    assert_eq!(reports(&done), [Notice::Done]);
    let now = stage.at(2);
    stage.torrent.on_verified(stage.geometry.piece(3).unwrap(), true, now);
    assert_eq!(reports(&stage.says()), [Notice::Complete]);
}

#[test]
fn details_tell_of_peers_files_and_pieces() {
    let mut stage = piece_by_piece("#...");
    stage.wants("011-", 0);
    let a = stage.joins("20.0.0.1:5", b'S', 0);
    stage.says();
    stage.has(a, "##..", 0);
    stage.hears(a, Message::Have(stage.geometry.piece(2).unwrap()), 1);
    let asked = requests(&stage.hears(a, Message::Unchoke, 1));
    assert_eq!(asked.len(), 4);
    stage.gives(a, asked[0].1, 2);
    let peers = stage.torrent.peers(stage.at(2));
    assert_eq!(peers.len(), 1);
    let peer = &peers[0];
    assert_eq!((peer.address, peer.incoming), ("20.0.0.1:5".parse().unwrap(), true));
    assert_eq!(
        (peer.interested, peer.choked, peer.wanting, peer.choking, peer.snubbed),
        (true, false, false, true, false)
    );
    assert_eq!((peer.downloaded, peer.uploaded, peer.requests), (16_384, 0, 3));
    assert_eq!((peer.progress, peer.gain_rate), (0.75, 32_768.0));
    let pieces = stage.torrent.pieces();
    assert_eq!(
        (pieces.had, pieces.availability),
        (vec![true, false, false, false], vec![1, 1, 1, 0])
    );
    assert_eq!((pieces.started, pieces.blocks), (2, 1));
    let files = stage.torrent.files();
    let (had, wanted): (Vec<u64>, Vec<i64>) =
        files.iter().map(|f| (f.had, f.priority.number())).unzip();
    assert_eq!((had, wanted), (vec![32_768, 0, 0, 0], vec![0, 1, 1, -1]));
    assert_eq!(stage.torrent.status(stage.at(2)).peers_rate, 32_768.0);
}

#[test]
fn one_peer_is_marked_as_first_for_the_optimistic_slot() {
    let mut stage = piece_by_piece("####");
    stage.torrent.config.max_uploads = 2;
    for n in 0..4_u8 {
        let peer = stage.joins(&format!("20.0.{n}.1:5"), b'a' + n, 0);
        stage.hears(peer, Message::Interested, 0);
    }
    let now = stage.at(10);
    stage.torrent.on_time(now);
    let peers = stage.torrent.peers(now);
    let marked: Vec<_> = peers.iter().filter(|peer| peer.optimistic).collect();
    assert_eq!(marked.len(), 1);
    assert!(!marked[0].choking, "it is its turn");
}

#[test]
fn a_file_that_shares_its_pieces_counts_only_its_own_bytes() {
    let geometry = Arc::new(Geometry::new(32_768, [10, 40_000, 0, 25_526]).unwrap());
    let mut have = Bitfield::new(2);
    have.set(0, true);
    let start = Instant::now();
    let setup = Setup {
        info_hash: HASH,
        peer_id: US,
        geometry,
        have,
        priorities: vec![],
        trackers: vec![],
        port: 6881,
        seed: 1,
    };
    let torrent = Torrent::new(setup, Config::default(), start);
    let had: Vec<u64> = torrent.files().iter().map(|f| f.had).collect();
    assert_eq!(had, [10, 32_758, 0, 0]);
}

/// Whether a peer may download from us.
fn is_unchoked(stage: &mut Stage, key: PeerKey) -> bool {
    !stage.torrent.session(key).unwrap().choking
}

#[test]
fn the_slots_are_given_anew_when_who_has_one_leaves_or_wants_nothing_and_after_five_seconds() {
    // One slot, for two peers.
    let config =
        Config { max_uploads: 1, round_robin_period: Duration::from_secs(4), ..Config::default() };
    let mut stage = Stage::new(4, "####", config);
    let keys = [1, 2].map(|n| stage.joins(&format!("20.0.0.{n}:5"), n, 0));
    for key in keys {
        stage.hears(key, Message::Interested, 0);
    }
    let holder = |stage: &mut Stage| {
        let [a, b] = keys.map(|key| is_unchoked(stage, key));
        assert!(a != b, "one of them has the slot");
        if a { (keys[0], keys[1]) } else { (keys[1], keys[0]) }
    };
    stage.until(1);
    let (first, second) = holder(&mut stage);
    for key in keys {
        stage.hears(key, Message::Request(stage.block(0, 0)), 1);
    }
    stage.until(4);
    assert_eq!(holder(&mut stage).0, first, "nothing happened, and it is not time yet");
    stage.until(6);
    assert_eq!(holder(&mut stage).0, second, "the turn has come to the other");
    stage.hears(second, Message::NotInterested, 6);
    stage.until(7);
    assert!(is_unchoked(&mut stage, first), "who wants nothing gives way at once");
    stage.hears(second, Message::Interested, 7);
    stage.until(8);
    let (gone, heir) = holder(&mut stage);
    let now = stage.at(8);
    stage.torrent.on_lost(gone, now);
    stage.until(9);
    assert!(is_unchoked(&mut stage, heir), "the slot of who has left is given at once");
}

#[test]
fn a_leecher_gives_its_optimistic_slot_to_who_has_least_until_that_one_took_and_gave_nothing() {
    let config = Config { max_uploads: 1, ..Config::default() };
    let mut stage = Stage::new(4, "##..", config);
    let much = stage.joins("20.0.0.1:5", 1, 0);
    let little = stage.joins("20.0.0.2:5", 2, 0);
    stage.has(much, "..##", 0);
    stage.has(little, "..#.", 0);
    for key in [much, little] {
        stage.hears(key, Message::Interested, 0);
    }
    stage.until(1);
    assert!(is_unchoked(&mut stage, little) && !is_unchoked(&mut stage, much));
    // A piece and a block.
    for (piece, n) in [(0, 0), (0, 1), (1, 0)] {
        let block = stage.block(piece, n);
        stage.hears(little, Message::Request(block), 1);
        let now = stage.at(1);
        stage.torrent.on_block_sent(little, block, now);
    }
    stage.until(7);
    assert!(is_unchoked(&mut stage, much) && !is_unchoked(&mut stage, little));
}
