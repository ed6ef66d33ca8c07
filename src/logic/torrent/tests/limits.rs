//! How many connections, for how long, and what becomes of those that misbehave.

use super::*;

fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    change(&mut config);
    config
}

fn dials(actions: &[Action]) -> Vec<(PeerKey, SocketAddr)> {
    let dial = |a: &Action| match a {
        Action::Dial { peer, address } => Some((*peer, *address)),
        _ => None,
    };
    actions.iter().filter_map(dial).collect()
}

#[test]
fn the_silent_are_looked_for_as_often_as_is_set() {
    for (interval, leaves_at) in [(60, 180), (7, 133), (1, 130)] {
        let mut stage = Stage::new(
            4,
            "....",
            config(|c| {
                c.timeout = Duration::from_secs(100);
                c.timeout_check_interval = Duration::from_secs(interval);
            }),
        );
        let key = stage.joins("20.0.0.1:5", 1, 0);
        stage.until(30);
        stage.hears(key, Message::KeepAlive, 30);
        let early = stage.until(leaves_at - 1);
        assert!(!closes(&early, key), "every {interval} s");
        assert!(closes(&stage.until(leaves_at + 1), key), "every {interval} s");
        assert!(stage.torrent.next_deadline().is_none(), "nobody is left to look for");
    }
}

#[test]
fn opens_half_as_many_connections_more_until_somebody_connects_to_us() {
    let mut stage = Stage::new(4, "....", config(|c| c.max_initiate = 4));
    let addresses: Vec<SocketAddr> =
        (1..40).map(|n| format!("20.0.{n}.1:6881").parse().unwrap()).collect();
    let now = stage.start;
    stage.torrent.add_candidates(&addresses, Source::Tracker, now);
    let open = |stage: &mut Stage, dialed: Vec<(PeerKey, SocketAddr)>| {
        for (key, _) in &dialed {
            stage.torrent.on_connected(*key, now);
            stage.torrent.on_peer_id(*key, PeerId([50 + key.0 as u8; 20]), now);
        }
        dialed.len()
    };
    let dialed = dials(&stage.says());
    assert_eq!(open(&mut stage, dialed), 6);
    stage.joins("20.1.0.1:5", 1, 0);
    let keys = stage.open_keys();
    for key in &keys[..4] {
        stage.torrent.on_lost(*key, now);
    }
    assert_eq!(dials(&stage.says()).len(), 1, "two are left, and the one who came");
}

#[test]
fn a_giver_whose_connection_breaks_is_dialed_again_within_seconds() {
    for (gives, again) in [(true, 5), (false, 38)] {
        let mut stage = Stage::new(4, "....", Config::default());
        let now = stage.at(0);
        let address = "20.0.0.1:6881".parse().unwrap();
        stage.torrent.add_candidates(&[address], Source::Tracker, now);
        let [(key, _)] = dials(&stage.says())[..] else { panic!("it is not dialed") };
        stage.torrent.on_connected(key, now);
        stage.torrent.on_peer_id(key, PeerId([9; 20]), now);
        stage.has(key, "####", 0);
        let (_, block) = requests(&stage.hears(key, Message::Unchoke, 0))[0];
        if gives {
            stage.gives(key, block, 0);
        }
        stage.torrent.on_lost(key, now);
        assert!(dials(&stage.until(3)).is_empty());
        assert_eq!(dials(&stage.until(6)).len(), usize::from(again < 6), "gives: {gives}");
        assert_eq!(dials(&stage.until(39)).is_empty(), again < 6, "gives: {gives}");
    }
}

#[test]
fn a_newcomer_takes_the_place_of_one_that_is_of_no_use() {
    let mut stage = Stage::new(4, "#...", config(|c| c.max_connections = 3));
    let taker = stage.joins("20.0.0.1:5", 1, 0);
    let idle = stage.joins("20.0.0.2:5", 2, 0);
    let giver = stage.joins("20.0.0.3:5", 3, 0);
    stage.hears(taker, Message::Interested, 0);
    stage.has(giver, ".#..", 0);
    let knock = |stage: &mut Stage, at| {
        let now = stage.at(at);
        stage.torrent.on_incoming("20.0.0.9:5".parse().unwrap(), false, now)
    };
    assert_eq!(knock(&mut stage, 19), Err(Refused::Full));
    let new = knock(&mut stage, 20).expect("there is room");
    assert!(closes(&stage.says(), idle));
    let now = stage.at(20);
    stage.torrent.on_peer_id(new, PeerId([9; 20]), now);
    assert_eq!(stage.open_keys(), [taker, giver, new]);
    assert_eq!(
        stage.torrent.on_incoming("20.0.0.10:5".parse().unwrap(), false, now),
        Err(Refused::Full),
        "all are of use or new"
    );
}

#[test]
fn those_who_only_keep_places_taken_give_them_up() {
    let mut stage = Stage::new(4, "####", config(|c| c.max_connections = 4));
    let reader = stage.joins("20.0.0.1:5", 1, 0);
    let deaf = stage.joins("20.0.0.2:5", 2, 0);
    let lazy = stage.joins("20.0.0.3:5", 3, 0);
    let now = stage.at(0);
    let mute = stage.torrent.on_incoming("20.0.0.4:5".parse().unwrap(), false, now).unwrap();
    for key in [reader, deaf, lazy] {
        stage.hears(key, Message::Interested, 0);
    }
    let block = stage.block(0, 0);
    stage.until(1);
    stage.hears(reader, Message::Request(block), 1);
    stage.hears(deaf, Message::Request(block), 1);
    let now = stage.at(1);
    stage.torrent.on_block_sent(reader, block, now);
    let knock = |stage: &mut Stage, at| {
        stage.until(at);
        let now = stage.at(at);
        let new = stage.torrent.on_incoming(format!("20.0.1.{at}:5").parse().unwrap(), false, now);
        new.map(|_| stage.says())
    };
    assert!(knock(&mut stage, 4).is_err());
    assert!(closes(&knock(&mut stage, 5).unwrap(), mute));
    let mut gone = knock(&mut stage, 21).unwrap();
    gone.extend(knock(&mut stage, 22).unwrap());
    assert!(closes(&gone, deaf) && closes(&gone, lazy) && !closes(&gone, reader), "{gone:?}");
}

#[test]
fn one_worth_less_takes_nobodys_place() {
    for (newcomer, taken) in [("98.76.54.32:5", true), ("98.77.54.32:5", false)] {
        let mut stage = Stage::new(
            4,
            "....",
            config(|c| {
                c.max_connections = 1;
                c.ip = Some("123.213.32.10".into());
            }),
        );
        let worth = |a: &str| stage.torrent.candidates.worth(a.parse().unwrap());
        let between = (0..255).map(|n| format!("50.{n}.1.1:5")).find(|a| {
            let (low, high) = (worth("98.77.54.32:5"), worth("98.76.54.32:5"));
            assert!(low < high);
            (low..high).contains(&worth(a)) && worth(a) > low
        });
        stage.joins(&between.unwrap(), 1, 0);
        let now = stage.at(100);
        let outcome = stage.torrent.on_incoming(newcomer.parse().unwrap(), false, now);
        assert_eq!(outcome.is_ok(), taken, "{newcomer}");
    }
}

#[test]
fn who_comes_again_by_the_same_name_takes_its_own_place_unless_security_is_off() {
    for (security, host, stay) in [(true, 1, &[false, true]), (true, 2, &[true, false])]
        .into_iter()
        .chain([(false, 1, &[true, true]), (false, 2, &[true, true])])
    {
        let mut stage = Stage::new(4, "....", config(|c| c.security = security));
        let first = stage.joins("127.0.0.1:5", 1, 0);
        let second = stage.joins(&format!("127.0.0.{host}:6"), 1, 0);
        let open = stage.open_keys();
        assert_eq!(&[first, second].map(|key| open.contains(&key)), stay, "{security} {host}");
    }
}

#[test]
fn a_ban_is_told_of_once_however_much_more_turns_out_bad() {
    let mut stage = Stage::new(8, "........", config(|_| ()));
    let key = stage.joins("20.0.0.1:5", 1, 0);
    stage.has(key, "########", 0);
    let mut asked = requests(&stage.hears(key, Message::Unchoke, 1));
    let mut whole = Vec::new();
    while let Some((_, block)) = asked.pop() {
        for action in stage.gives(key, block, 2) {
            match action {
                Action::Verify(piece) => whole.push(piece),
                action => asked.extend(requests(&[action])),
            }
        }
        asked.extend(requests(&stage.says()));
    }
    assert_eq!(whole.len(), 8);
    let now = stage.at(3);
    whole.into_iter().for_each(|piece| stage.torrent.on_verified(piece, false, now));
    let banned = |a: &&Action| matches!(a, Action::Report(Notice::Banned(_)));
    assert_eq!(stage.says().iter().filter(banned).count(), 1);
}

#[test]
fn without_auto_kick_a_liar_is_borne() {
    for auto_kick in [true, false] {
        let mut stage = Stage::new(8, "........", config(|c| c.auto_kick = auto_kick));
        let key = stage.joins("20.0.0.1:5", 1, 0);
        stage.has(key, "########", 0);
        let mut actions = stage.hears(key, Message::Unchoke, 1);
        let mut gone = false;
        for _ in 0..200 {
            let asked = requests(&actions);
            actions.clear();
            for (key, block) in asked {
                for action in stage.gives(key, block, 2) {
                    if let Action::Verify(piece) = action {
                        let now = stage.at(2);
                        stage.torrent.on_verified(piece, false, now);
                    }
                    actions.push(action);
                }
                actions.extend(stage.says());
            }
            gone |= closes(&actions, key);
        }
        assert_eq!(gone, auto_kick);
    }
}

#[test]
fn those_who_do_not_read_or_do_not_ask_take_no_slot() {
    for (asks, limit) in [(true, None), (false, None), (true, Some(1_000_000))] {
        let mut stage = Stage::new(4, "####", config(|c| c.upload_limit = limit));
        let deaf: Vec<PeerKey> =
            (1..8).map(|n| stage.joins(&format!("20.0.0.{n}:5"), n, 0)).collect();
        for key in &deaf {
            stage.hears(*key, Message::Interested, 0);
        }
        stage.until(1);
        let unchoked = |stage: &mut Stage, key| !stage.torrent.session(key).unwrap().choking;
        for key in &deaf {
            assert!(unchoked(&mut stage, *key), "there is a slot for each");
            let request = Message::Request(stage.block(0, 0));
            if asks {
                stage.hears(*key, request, 1);
            }
        }
        let readers: Vec<PeerKey> =
            (1..7).map(|n| stage.joins(&format!("20.0.1.{n}:5"), 50 + n, 2)).collect();
        for key in &readers {
            stage.hears(*key, Message::Interested, 2);
        }
        stage.until(8);
        let served = readers.iter().filter(|key| unchoked(&mut stage, **key)).count();
        assert_eq!(served, readers.len(), "asks: {asks}, limit: {limit:?}");
    }
}

#[test]
fn however_many_take_little_a_newcomer_to_a_seed_soon_shows_that_it_takes_much() {
    let mut stage = Stage::seed();
    let block = stage.block(0, 0);
    let slow: Vec<PeerKey> =
        (1..100).map(|n| stage.joins(&format!("20.0.0.{n}:5"), n, 0)).collect();
    slow.iter().for_each(|key| drop(stage.hears(*key, Message::Interested, 0)));
    for at in 1..20 {
        for key in &slow {
            if !stage.torrent.session(*key).unwrap().choking {
                stage.hears(*key, Message::Request(block), at);
                let now = stage.at(at);
                stage.torrent.on_block_sent(*key, block, now);
            }
        }
        stage.until(at);
    }
    let newcomer = stage.joins("20.0.1.1:5", 200, 20);
    let mut actions = stage.hears(newcomer, Message::Interested, 20);
    actions.extend(stage.until(26));
    assert!(sends(&actions, newcomer, &Message::Unchoke));
}

#[test]
fn whom_our_limit_keeps_waiting_is_not_taken_for_deaf() {
    // A block takes 16 s.
    let mut stage = Stage::new(4, "####", config(|c| c.upload_limit = Some(1024)));
    let key = stage.joins("20.0.0.1:5", 1, 0);
    stage.hears(key, Message::Interested, 0);
    stage.until(1);
    let request = Message::Request(stage.block(0, 0));
    stage.hears(key, request, 1);
    for at in 2..15 {
        stage.until(at);
        let now = stage.at(at);
        assert!(!stage.torrent.session(key).unwrap().is_deaf(Duration::from_secs(4), now), "{at}");
    }
    stage.until(25);
    let now = stage.at(25);
    assert!(stage.torrent.session(key).unwrap().is_deaf(Duration::from_secs(4), now));
}

#[test]
fn where_many_are_unchoked_nobody_may_have_more_than_its_share_of_requests_waiting() {
    let mut stage = Stage::new(4, "####", config(|c| c.max_connections = 200));
    let fast = stage.joins_speaking("20.1.0.1:5", 1, 0);
    let plain = stage.joins("20.1.0.2:5", 2, 0);
    for n in 0..98 {
        stage.joins(&format!("20.0.{n}.1:5"), 100 + n, 0);
    }
    for key in stage.open_keys() {
        let session = stage.torrent.session(key).unwrap();
        (session.choking, session.wanting) = (false, true);
    }
    stage.says();
    let share = crate::logic::peer::MAX_WAITING_TOGETHER / 100;
    let block = stage.block(1, 0);
    for key in [fast, plain] {
        let ask = |stage: &mut Stage, times: usize| {
            for _ in 0..times {
                stage.torrent.on_message(key, Message::Request(block), stage.start);
            }
            stage.says()
        };
        let taken = ask(&mut stage, share);
        assert!(!taken.iter().any(|a| matches!(a, Action::Send(..) | Action::Close(_))));
        // Some are handed on at once, and wait no more.
        let refused = ask(&mut stage, 20);
        let word = match key == fast {
            true => Message::Reject(block),
            false => Message::Choke,
        };
        let said = |a: &Action| matches!(a, Action::Send(k, m) if *k == key && *m == word);
        assert!(refused.iter().any(said), "{refused:?}");
        let waiting = stage.torrent.session(key).unwrap().uploads.len();
        assert!(waiting <= share, "{waiting}");
    }
}
