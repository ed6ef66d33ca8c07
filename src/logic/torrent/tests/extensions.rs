//! The fast extension and extended messages: what is said and what follows.

use super::*;
use crate::proto::wire::{Extended, Speaks};

impl Stage {
    /// As `joins`, by a peer that speaks all that we do.
    pub(super) fn joins_speaking(&mut self, address: &str, name: u8, at: u64) -> PeerKey {
        let now = self.at(at);
        let key = self.torrent.on_incoming(address.parse().unwrap(), false, now).expect("welcome");
        let hello = Hello { reserved: [0, 0, 0, 0, 0, 0x10, 0, 0x04], info_hash: HASH };
        assert_eq!(hello.speaks(), Speaks::OURS);
        self.torrent.on_hello(key, hello, now);
        self.torrent.on_peer_id(key, PeerId([name; 20]), now);
        key
    }

    fn piece(&self, n: u32) -> PieceIndex {
        self.geometry.piece(n).unwrap()
    }
}

/// What is sent to a peer.
fn sent(actions: &[Action], key: PeerKey) -> Vec<&Message> {
    let mut messages = Vec::new();
    for action in actions {
        match action {
            Action::Send(to, message) if *to == key => messages.push(message),
            _ => {}
        }
    }
    messages
}

fn rejects(actions: &[Action], key: PeerKey) -> usize {
    sent(actions, key).iter().filter(|m| matches!(m, Message::Reject(_))).count()
}

#[test]
fn the_first_words_fit_what_we_have() {
    for (have, expected) in [("####", Message::HaveAll), ("....", Message::HaveNone)] {
        let mut stage = Stage::new(4, have, Config::default());
        let key = stage.joins_speaking("20.0.0.1:5", 1, 0);
        let says = stage.says();
        let words = sent(&says, key);
        assert_eq!(words[0], &expected);
        let Message::Extended(ours) = words[1] else { panic!("{words:?}") };
        assert_eq!(ours.upload_only, have == "####");
        assert_eq!((ours.port, ours.request_limit), (Some(6881), Some(2048)));
        assert_eq!(ours.your_ip, Some("20.0.0.1".parse().unwrap()));
    }
    let mut stage = Stage::new(4, "#...", Config::default());
    let key = stage.joins_speaking("20.0.0.1:5", 1, 0);
    assert!(matches!(sent(&stage.says(), key)[0], Message::Bitfield(_)));
    let plain = stage.joins("20.0.0.2:5", 2, 0);
    assert!(matches!(sent(&stage.says(), plain)[..], [Message::Bitfield(_)]));
    let mut stage = Stage::empty();
    let plain = stage.joins("20.0.0.2:5", 2, 0);
    assert!(sent(&stage.says(), plain).is_empty());
}

#[test]
fn nodes_are_told_to_those_who_have_one_and_heard_of_once() {
    for (hash_table, expected) in [(true, 1), (false, 0)] {
        let config = Config { hash_table, ..Config::default() };
        let mut stage = Stage::new(4, "....", config);
        let now = stage.at(0);
        let key = stage.torrent.on_incoming("20.0.0.1:5".parse().unwrap(), false, now).unwrap();
        let hello = Hello { reserved: [0, 0, 0, 0, 0, 0, 0, 1], info_hash: HASH };
        stage.torrent.on_hello(key, hello, now);
        stage.torrent.on_peer_id(key, PeerId([1; 20]), now);
        let plain = stage.joins_speaking("20.0.0.2:5", 2, 0);
        let says = stage.says();
        let told = |key| sent(&says, key).iter().filter(|m| ***m == Message::Port(6881)).count();
        assert_eq!((told(key), told(plain)), (expected, 0));
        let mut says = stage.hears(key, Message::Port(7000), 1);
        says.extend(stage.hears(key, Message::Port(7001), 1));
        let nodes = says.into_iter().filter_map(|action| match action {
            Action::Node(at) => Some(at),
            _ => None,
        });
        let at = "20.0.0.1:7000".parse().unwrap();
        assert_eq!(nodes.collect::<Vec<_>>(), vec![at; expected]);
    }
}

#[test]
fn a_seed_breaks_its_bitfield_up_for_those_it_is_set_for() {
    for (breakup, for_plain, for_fast) in [
        (Breakup::Never, false, false),
        (Breakup::Plain, true, false),
        (Breakup::Always, true, true),
    ] {
        let config = Config { breakup_seed_bitfield: breakup, ..Config::default() };
        let mut stage = Stage::new(40, &"#".repeat(40), config);
        let plain = stage.joins("20.0.0.1:5", 1, 0);
        let fast = stage.joins_speaking("20.0.0.2:5", 2, 0);
        let says = stage.says();
        for (key, broken) in [(plain, for_plain), (fast, for_fast)] {
            let words = sent(&says, key);
            let gaps = match words[0] {
                Message::Bitfield(bits) => 40 - bits.count(),
                _ => 0,
            };
            assert_eq!((2..=4).contains(&gaps), broken, "{breakup:?} {gaps}");
            let later: Vec<u32> = words
                .iter()
                .filter_map(|m| match m {
                    Message::Have(piece) => Some(piece.get()),
                    _ => None,
                })
                .collect();
            assert_eq!(later.len() as u32, gaps);
            if let Message::Bitfield(bits) = words[0] {
                assert!(later.iter().all(|n| *n < 32 && !bits.get(*n)));
            }
        }
    }
}

#[test]
fn a_choke_leaves_the_requests_at_a_fast_peer_until_each_is_rejected() {
    let mut stage = Stage::empty();
    let a = stage.joins_speaking("20.0.0.1:5", 1, 0);
    let b = stage.joins("20.0.0.2:5", 2, 0);
    stage.hears(a, Message::HaveAll, 0);
    stage.has(b, "####", 0);
    let asked = requests(&stage.hears(a, Message::Unchoke, 1));
    assert_eq!(asked.len(), 8);
    stage.hears(a, Message::Choke, 2);
    assert_eq!(stage.torrent.session(a).unwrap().asked.len(), 8);
    stage.gives(a, asked[0].1, 2);
    assert_eq!(stage.torrent.status(stage.at(2)).downloaded, 16_384);
    for (_, block) in &asked[1..] {
        stage.hears(a, Message::Reject(*block), 3);
    }
    let again = requests(&stage.hears(b, Message::Unchoke, 3));
    assert_eq!(again.len(), 7);
    assert_eq!(requests(&stage.hears(a, Message::Unchoke, 3)), [], "only the endgame is left");
}

#[test]
fn a_peer_that_rejects_while_it_does_not_choke_is_not_asked_for_that_piece_at_once() {
    let mut stage = Stage::new(1, ".", Config::default());
    let key = stage.joins_speaking("20.0.0.1:5", 1, 0);
    stage.hears(key, Message::HaveAll, 0);
    let asked = requests(&stage.hears(key, Message::Unchoke, 1));
    assert_eq!(asked.len(), 2);
    for (_, block) in &asked {
        assert!(requests(&stage.hears(key, Message::Reject(*block), 1)).is_empty());
    }
    assert!(requests(&stage.until(14)).is_empty());
    stage.hears(key, Message::Choke, 14);
    assert_eq!(requests(&stage.hears(key, Message::Unchoke, 14)).len(), 2);
}

#[test]
fn the_rejection_of_what_was_taken_back_is_not_that_of_the_same_request_made_anew() {
    let mut stage = Stage::new(1, ".", Config::default());
    let key = stage.joins_speaking("20.0.0.1:5", 1, 0);
    stage.hears(key, Message::HaveAll, 0);
    let block = requests(&stage.hears(key, Message::Unchoke, 1))[0].1;
    let now = stage.at(1);
    stage.torrent.say(key, Message::Cancel(block), now);
    stage.hears(key, Message::Reject(block), 1);
    assert!(stage.torrent.session(key).unwrap().asked.contains(&block), "as if asked again");
    stage.hears(key, Message::Reject(block), 1);
    assert!(!stage.torrent.session(key).unwrap().asked.contains(&block));
}

#[test]
fn what_a_fast_peer_asks_for_in_vain_is_rejected_and_a_plain_peer_is_dropped() {
    for fast in [true, false] {
        let mut stage = Stage::new(4, "#...", Config::default());
        let key = match fast {
            true => stage.joins_speaking("20.0.0.1:5", 1, 0),
            false => stage.joins("20.0.0.1:5", 1, 0),
        };
        stage.until(0);
        stage.hears(key, Message::Interested, 0);
        let lacking = Message::Request(stage.block(2, 0));
        let actions = stage.hears(key, lacking, 0);
        assert_eq!((rejects(&actions, key), closes(&actions, key)), (usize::from(fast), !fast));
    }
}

#[test]
fn choked_cancelled_and_unwanted_requests_of_a_fast_peer_are_rejected() {
    // No upload gets through: all wait.
    let config = Config { upload_limit: Some(1), ..Config::default() };
    let mut stage = Stage::new(4, "####", config);
    let key = stage.joins_speaking("20.0.0.1:5", 1, 0);
    let early = Message::Request(stage.block(0, 0));
    stage.hears(key, Message::Interested, 0);
    assert_eq!(rejects(&stage.hears(key, early, 0), key), 1, "choked");
    stage.until(1);
    let ask = |stage: &mut Stage| {
        for n in 0..4 {
            let block = stage.block(n, 0);
            stage.hears(key, Message::Request(block), 2);
        }
    };
    ask(&mut stage);
    let waiting = stage.torrent.session(key).unwrap().uploads.clone();
    assert!(waiting.len() >= 2, "{waiting:?}");
    let cancel = Message::Cancel(waiting[0]);
    assert_eq!(rejects(&stage.hears(key, cancel.clone(), 2), key), 1);
    assert_eq!(rejects(&stage.hears(key, cancel, 2), key), 0, "once");
    let left = waiting.len() - 1;
    assert_eq!(rejects(&stage.hears(key, Message::NotInterested, 2), key), left);
}

#[test]
fn asks_a_choking_peer_for_what_it_allows() {
    let mut stage = Stage::empty();
    let key = stage.joins_speaking("20.0.0.1:5", 1, 0);
    stage.hears(key, Message::HaveAll, 0);
    let allowed = Message::AllowedFast(stage.piece(2));
    let asked = requests(&stage.hears(key, allowed.clone(), 1));
    assert!(asked.len() == 2 && asked.iter().all(|(_, b)| b.piece() == stage.piece(2)));
    stage.hears(key, Message::Reject(asked[0].1), 1);
    stage.hears(key, Message::Reject(asked[1].1), 1);
    assert!(requests(&stage.until(100)).is_empty());
    let plain = stage.joins("20.0.0.2:5", 2, 100);
    stage.has(plain, "####", 100);
    assert!(requests(&stage.hears(plain, allowed, 100)).is_empty());
}

#[test]
fn a_newcomer_gets_common_pieces_while_choked_and_no_byte_twice() {
    let mut stage = Stage::seed();
    let first = stage.joins_speaking("30.0.0.1:5", 9, 0);
    let granted = |says: &[Action], key| {
        let pieces = sent(says, key).into_iter().filter_map(|m| match m {
            Message::AllowedFast(piece) => Some(*piece),
            _ => None,
        });
        pieces.collect::<Vec<_>>()
    };
    assert!(granted(&stage.says(), first).is_empty(), "nothing is common yet");
    for n in 1..=5 {
        let key = stage.joins(&format!("20.0.0.{n}:5"), n, 0);
        stage.has(key, "###.", 0);
    }
    let key = stage.joins_speaking("30.0.0.2:5", 7, 0);
    let pieces = granted(&stage.says(), key);
    assert_eq!(pieces.len(), 3, "all but the rare one");
    stage.hears(key, Message::Interested, 0);
    let now = stage.at(0);
    let mut served = 0;
    for _ in 0..3 {
        for piece in &pieces {
            for n in 0..2 {
                let block = stage.geometry.block(*piece, n).unwrap();
                let actions = stage.hears(key, Message::Request(block), 0);
                served += actions.iter().filter(|a| matches!(a, Action::SendBlock(..))).count();
                stage.torrent.on_block_sent(key, block, now);
            }
        }
    }
    assert_eq!(served, 6, "each block once");
}

#[test]
fn two_that_only_upload_part_and_such_a_peer_takes_no_slot() {
    let tells = Message::Extended(Box::new(Extended { upload_only: true, ..Extended::default() }));
    let mut seed = Stage::seed();
    let key = seed.joins_speaking("20.0.0.1:5", 1, 0);
    assert!(closes(&seed.hears(key, tells.clone(), 0), key));

    let mut stage = Stage::new(4, "#...", Config::default());
    let key = stage.joins_speaking("20.0.0.1:5", 1, 0);
    assert!(!closes(&stage.hears(key, tells.clone(), 0), key));
    stage.hears(key, Message::Interested, 0);
    let others: Vec<PeerKey> =
        (2..9).map(|n| stage.joins(&format!("20.0.0.{n}:5"), n, 0)).collect();
    others.iter().for_each(|key| _ = stage.hears(*key, Message::Interested, 0));
    stage.until(1);
    let unchoked = others.iter().filter(|k| !stage.torrent.session(**k).unwrap().choking).count();
    assert_eq!(unchoked, 4, "as many as if it were not there");
}

#[test]
fn a_seed_that_was_of_no_use_is_dialled_where_it_listens_when_more_is_wanted() {
    let mut stage = piece_by_piece("#...");
    stage.wants("1---", 0);
    let key = stage.joins_speaking("20.0.0.1:5", 1, 0);
    let tells = Extended { upload_only: true, port: Some(7000), ..Extended::default() };
    assert!(closes(&stage.hears(key, Message::Extended(Box::new(tells)), 0), key));
    stage.wants("11--", 1);
    let now = stage.at(1);
    stage.torrent.on_time(now);
    let dialled = stage.says().into_iter().find_map(|action| match action {
        Action::Dial { address, .. } => Some(address),
        _ => None,
    });
    assert_eq!(dialled, Some("20.0.0.1:7000".parse().unwrap()));
}

#[test]
fn says_again_what_we_are_when_complete() {
    let mut stage = Stage::new(1, ".", Config::default());
    let key = stage.joins_speaking("20.0.0.1:5", 1, 0);
    let other = stage.joins_speaking("20.0.0.2:5", 2, 0);
    stage.hears(key, Message::HaveAll, 0);
    let asked = stage.hears(key, Message::Unchoke, 1);
    let all = feed(&mut stage, asked, 2);
    let tells = |m: &&Message| matches!(m, Message::Extended(e) if e.upload_only);
    assert_eq!(sent(&all, other).iter().filter(|m| tells(m)).count(), 1);
}

#[test]
fn a_peers_own_limit_of_requests_is_kept() {
    let mut stage = Stage::empty();
    let key = stage.joins_speaking("20.0.0.1:5", 1, 0);
    let tells = Extended { request_limit: Some(3), ..Extended::default() };
    stage.hears(key, Message::Extended(Box::new(tells)), 0);
    stage.hears(key, Message::HaveAll, 0);
    assert_eq!(requests(&stage.hears(key, Message::Unchoke, 1)).len(), 3);
}

#[test]
fn talk_without_end_that_leads_to_nothing_is_a_fault() {
    let piece = Stage::empty().piece(0);
    let block = Stage::empty().block(0, 0);
    for (message, fast) in [
        (Message::KeepAlive, false),
        (Message::Choke, false),
        (Message::Unchoke, false),
        (Message::NotInterested, false),
        (Message::Have(piece), false),
        (Message::Bitfield(Bitfield::full(4)), false),
        (Message::HaveNone, true),
        (Message::HaveAll, true),
        (Message::Cancel(block), true),
        (Message::Reject(block), true),
        (Message::Request(block), true),
        (Message::AllowedFast(piece), true),
        (Message::Suggest(piece), true),
        (Message::Extended(Box::default()), true),
    ] {
        let mut stage = Stage::empty();
        let key = match fast {
            true => stage.joins_speaking("20.0.0.1:5", 1, 0),
            false => stage.joins("20.0.0.1:5", 1, 0),
        };
        let mut heard = 0;
        while !closes(&stage.hears(key, message.clone(), 5), key) {
            heard += 1;
            assert!(heard < 4_000, "{message:?}");
        }
        assert!(heard > 3_000, "{message:?} after {heard}");
        let patient = stage.joins("20.0.0.3:5", 3, 5);
        for n in 0..6_000 {
            assert!(!closes(&stage.hears(patient, Message::KeepAlive, 5 + n / 200), patient));
        }
    }
}

#[test]
fn who_sends_without_end_what_nobody_asked_for_is_dropped() {
    let mut stage = Stage::empty();
    let key = stage.joins("20.0.0.1:5", 1, 0);
    let (block, now) = (stage.block(1, 0), stage.at(1));
    assert!(!stage.torrent.expects(key, block));
    let mut sent = 0;
    let dropped = std::iter::repeat_with(|| {
        sent += u64::from(block.length());
        stage.torrent.on_unasked(key, block, now);
        stage.says().iter().any(|a| matches!(a, Action::Close(k) if *k == key))
    });
    assert!(dropped.take(10_000).any(|dropped| dropped));
    assert_eq!(sent, 64 * 1024 * 1024 + 16_384);
    // Who is asked is expected to answer.
    let key = stage.joins("20.0.0.2:5", 2, 2);
    stage.has(key, "####", 2);
    let (_, asked) = requests(&stage.hears(key, Message::Unchoke, 2))[0];
    assert!(stage.torrent.expects(key, asked));
}

#[test]
fn what_a_peer_rejected_is_asked_of_it_again_after_a_while() {
    let mut stage = Stage::new(1, ".", Config::default());
    let key = stage.joins_speaking("20.0.0.1:5", 1, 0);
    stage.hears(key, Message::HaveAll, 0);
    let asked = requests(&stage.hears(key, Message::Unchoke, 0));
    let mut again = Vec::new();
    for (_, block) in &asked {
        again.extend(requests(&stage.hears(key, Message::Reject(*block), 1)));
    }
    again.extend(requests(&stage.until(10)));
    assert_eq!(again, [], "not at once");
    assert_eq!(requests(&stage.until(20)), asked);
}
