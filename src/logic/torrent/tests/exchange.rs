//! Peer exchange: who is told of whom, and who is believed.

use super::*;
use crate::proto::wire::{EXCHANGE, Exchange, Extended, Other};

impl Stage {
    fn exchanging() -> Stage {
        Stage::new(4, "#...", Config { peer_exchange: true, ..Config::default() })
    }

    /// Somebody joins who calls the extension by a number, and listens at a port.
    fn exchanger(
        &mut self,
        address: &str,
        name: u8,
        (number, port): (u8, u16),
        at: u64,
    ) -> (PeerKey, Vec<Action>) {
        let key = self.joins_speaking(address, name, at);
        let mut actions = self.says();
        let (exchange, port) = (Some(number), Some(port));
        let tells = Extended { exchange, port, ..Extended::default() };
        actions.extend(self.hears(key, Message::Extended(Box::new(tells)), at));
        (key, actions)
    }

    fn hears_of(&mut self, key: PeerKey, added: &[(&str, bool)], at: u64) -> Vec<String> {
        let added = added.iter().map(|(at, seed)| other(at, *seed)).collect();
        let exchange = Exchange { number: EXCHANGE, added, dropped: Vec::new() };
        dialled(self.hears(key, Message::Exchange(Box::new(exchange)), at))
    }
}

fn other(at: &str, seed: bool) -> Other {
    Other { address: at.parse().unwrap(), seed, encrypts: false }
}

/// What peers are told of others: to whom, by which number, who came and who went.
fn told(actions: Vec<Action>) -> Vec<(PeerKey, u8, String, String)> {
    let told = actions.into_iter().filter_map(|action| match action {
        Action::Send(key, Message::Exchange(exchange)) => {
            let Exchange { number, added, dropped } = *exchange;
            let added: Vec<String> = added.iter().map(|other| other.address.to_string()).collect();
            let dropped: Vec<String> = dropped.iter().map(SocketAddr::to_string).collect();
            Some((key, number, added.join(" "), dropped.join(" ")))
        }
        _ => None,
    });
    told.collect()
}

fn dialled(actions: Vec<Action>) -> Vec<String> {
    let dialled = actions.into_iter().filter_map(|action| match action {
        Action::Dial { address, .. } => Some(address.to_string()),
        _ => None,
    });
    let mut dialled: Vec<String> = dialled.collect();
    dialled.sort();
    dialled
}

fn offers(action: &Action) -> bool {
    matches!(action, Action::Send(_, Message::Extended(e)) if e.exchange.is_some())
}

#[test]
fn who_stays_at_home_deals_with_nobody_outside() {
    let config = Config { peer_exchange: true, local_only: true, ..Config::default() };
    let mut stage = Stage::new(4, "#...", config);
    let outside = "20.0.0.1:5".parse().unwrap();
    assert_eq!(stage.torrent.on_incoming(outside, false, stage.start), Err(Refused::Outside));
    stage.torrent.add_candidates(&[outside], Source::Tracker, stage.start);
    let (a, actions) = stage.exchanger("10.0.0.1:5", 1, (3, 1001), 0);
    assert!(dialled(actions).is_empty());
    let of = [("20.0.0.2:7007", false), ("192.168.0.2:7007", false), ("[2001:db8::1]:7007", false)];
    assert_eq!(stage.hears_of(a, &of, 0), ["192.168.0.2:7007"]);
}

#[test]
fn peers_are_told_of_each_other_and_of_who_left() {
    let mut stage = Stage::exchanging();
    let (a, actions) = stage.exchanger("20.0.0.1:5", 1, (3, 1001), 0);
    assert_eq!(told(actions), []);
    let (b, actions) = stage.exchanger("20.0.0.2:5", 2, (7, 1002), 1);
    assert_eq!(told(actions), [(b, 7, "20.0.0.1:1001".into(), "".into())]);
    // This one does not say where it listens, and knows no exchange.
    stage.joins("20.0.0.3:5", 3, 2);
    assert_eq!(told(stage.until(60)), [(a, 3, "20.0.0.2:1002".into(), "".into())]);
    let now = stage.at(61);
    stage.torrent.on_lost(b, now);
    assert_eq!(told(stage.until(119)), []);
    assert_eq!(told(stage.until(120)), [(a, 3, "".into(), "20.0.0.2:1002".into())]);
    assert_eq!(told(stage.until(180)), []);
}

#[test]
fn what_peers_tell_is_dialled_but_not_too_often() {
    let mut stage = Stage::exchanging();
    let (key, _) = stage.exchanger("20.0.0.1:5", 1, (3, 1001), 0);
    let both = stage.hears_of(key, &[("30.0.0.1:7007", false), ("30.0.0.2:7007", true)], 1);
    assert_eq!(both, ["30.0.0.1:7007", "30.0.0.2:7007"]);
    assert_eq!(stage.hears_of(key, &[("30.0.0.3:7007", false)], 30), [""; 0]);
    assert_eq!(stage.hears_of(key, &[("30.0.0.4:7007", false)], 61), ["30.0.0.4:7007"]);
}

#[test]
fn what_is_in_our_network_is_neither_told_outside_nor_believed_from_there() {
    let mut stage = Stage::exchanging();
    let (near, _) = stage.exchanger("192.168.0.2:5", 1, (3, 1001), 0);
    let (far, actions) = stage.exchanger("20.0.0.1:5", 2, (3, 1002), 0);
    assert_eq!(told(actions), []);
    let inside = [("192.168.0.9:7007", false), ("127.0.0.1:7007", false)];
    assert_eq!(stage.hears_of(far, &inside, 1), [""; 0]);
    assert_eq!(stage.hears_of(near, &inside[..1], 1), ["192.168.0.9:7007"]);
}

#[test]
fn a_seed_has_no_use_for_seeds() {
    let config = Config { peer_exchange: true, ..Config::default() };
    let mut stage = Stage::new(4, "####", config);
    let (key, _) = stage.exchanger("20.0.0.1:5", 1, (3, 1001), 0);
    let dialled = stage.hears_of(key, &[("30.0.0.1:7007", true), ("30.0.0.2:7007", false)], 1);
    assert_eq!(dialled, ["30.0.0.2:7007"]);
}

#[test]
fn where_it_is_not_wanted_nothing_is_offered_told_or_believed() {
    let mut stage = Stage::new(4, "#...", Config::default());
    let (_, actions) = stage.exchanger("20.0.0.1:5", 1, (3, 1001), 0);
    assert!(!actions.iter().any(offers));
    let (key, actions) = stage.exchanger("20.0.0.2:5", 2, (3, 1002), 0);
    assert_eq!(told(actions), []);
    assert_eq!(told(stage.until(60)), []);
    assert_eq!(stage.hears_of(key, &[("30.0.0.1:7007", false)], 60), [""; 0]);
    let (_, actions) = Stage::exchanging().exchanger("20.0.0.1:5", 1, (3, 1001), 0);
    assert!(actions.iter().any(offers));
}
