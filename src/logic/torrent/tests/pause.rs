//! A torrent that rests, and limits that change while it runs.

use super::*;

fn uploads(actions: &[Action]) -> usize {
    actions.iter().filter(|a| matches!(a, Action::SendBlock(..))).count()
}

#[test]
fn while_it_rests_nothing_is_asked_and_nobody_is_dialled_or_served() {
    let mut stage = Stage::new(4, "##..", Config::default());
    let key = stage.joins("20.0.0.1:5", 1, 0);
    stage.has(key, "..##", 0);
    let asked = requests(&stage.hears(key, Message::Unchoke, 0));
    assert_eq!(asked.len(), 4);
    stage.hears(key, Message::Interested, 0);
    assert!(sends(&stage.until(1), key, &Message::Unchoke));

    let now = stage.at(1);
    stage.torrent.set_paused(true, now);
    let actions = stage.says();
    assert!(asked.iter().all(|(_, block)| sends(&actions, key, &Message::Cancel(*block))));
    assert!(sends(&actions, key, &Message::Choke), "{actions:?}");
    assert!(sends(&actions, key, &Message::NotInterested), "{actions:?}");
    let elsewhere: SocketAddr = "20.0.0.9:5".parse().unwrap();
    stage.torrent.add_candidates(&[elsewhere], Source::Tracker, now);
    let newcomer = stage.joins("20.0.0.2:5", 2, 1);
    let mut actions = stage.has(newcomer, "####", 1);
    actions.extend(stage.hears(newcomer, Message::Unchoke, 1));
    actions.extend(stage.hears(newcomer, Message::Interested, 1));
    let first = stage.block(0, 0);
    actions.extend(stage.hears(key, Message::Request(first), 1));
    actions.extend(stage.until(100));
    assert_eq!((requests(&actions), uploads(&actions)), (vec![], 0));
    assert!(!actions.iter().any(|a| matches!(a, Action::Dial { .. })), "{actions:?}");
    assert!(!sends(&actions, newcomer, &Message::Unchoke));

    let now = stage.at(100);
    stage.torrent.set_paused(false, now);
    let mut actions = stage.says();
    actions.extend(stage.until(102));
    assert!(!requests(&actions).is_empty(), "{actions:?}");
    assert!(sends(&actions, newcomer, &Message::Interested));
    assert!(sends(&actions, key, &Message::Unchoke), "{actions:?}");
    let dialed = |a: &Action| matches!(a, Action::Dial { address, .. } if *address == elsewhere);
    assert!(actions.iter().any(dialed), "{actions:?}");
}

#[test]
fn new_limits_count_from_now_on() {
    let mut stage = Stage::new(400, &".".repeat(400), Config::default());
    let key = stage.joins("20.0.0.1:5", 1, 0);
    stage.has(key, &"#".repeat(400), 0);
    let now = stage.at(0);
    stage.torrent.set_limits(None, Some(16_384), now);
    let mut actions = stage.hears(key, Message::Unchoke, 0);
    let mut came = 0;
    for second in 1..=10 {
        let mut more = stage.until(second);
        for (_, block) in requests(&actions) {
            came += 1;
            more.extend(stage.gives(key, block, second));
        }
        actions = more;
    }
    assert!((8..=12).contains(&came), "{came} blocks in ten seconds of one each");
    let now = stage.at(10);
    stage.torrent.set_limits(None, None, now);
    assert!(requests(&stage.says()).len() > 4, "what waited for the limit is asked for at once");
}

#[test]
fn an_upload_limit_may_come_and_go_while_blocks_wait() {
    let mut stage = Stage::seed();
    let key = stage.joins("20.0.0.1:5", 1, 0);
    let now = stage.at(0);
    stage.torrent.set_limits(Some(1000), None, now);
    stage.hears(key, Message::Interested, 0);
    stage.until(1);
    let mut actions = Vec::new();
    for (piece, n) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let block = stage.block(piece, n);
        actions.extend(stage.hears(key, Message::Request(block), 1));
    }
    actions.extend(stage.until(10));
    assert_eq!(uploads(&actions), 1, "one at a time under a limit");
    let now = stage.at(10);
    stage.torrent.set_limits(None, None, now);
    let first = stage.block(0, 0);
    stage.torrent.on_block_sent(key, first, now);
    assert!(uploads(&stage.says()) > 0, "without a limit nothing waits");
}
