//! Who is met with encryption, who in plain text, and what follows when that was wrong.

use super::*;
use crate::proto::announce::{Peer, ask};
use crate::proto::wire::{EXCHANGE, Exchange, Extended, Other};

const THERE: &str = "20.0.0.9:6881";

fn stage(encryption: Encryption) -> Stage {
    Stage::new(4, "#...", Config { encryption, peer_exchange: true, ..Config::default() })
}

fn reply(requires_encryption: bool) -> ask::Reply {
    let mut reply = ask::reply(b"d8:intervali1800e5:peers0:e").unwrap();
    reply.peers = vec![Peer { address: THERE.parse().unwrap(), id: None, requires_encryption }];
    reply
}

/// Lets it dial at this time, and tells how it greets; it does so in vain, for the other end closes
/// the connection. `None` if nobody is dialled.
fn greets_in_vain(stage: &mut Stage, at: u64) -> Option<Option<Methods>> {
    let now = stage.at(at);
    stage.torrent.on_time(now);
    let dial = |action: &Action| match action {
        Action::Dial { peer, .. } => Some(*peer),
        _ => None,
    };
    let peer = stage.says().iter().find_map(dial)?;
    stage.torrent.on_connected(peer, now);
    let greets = stage.says().iter().find_map(|action| match action {
        Action::Greet(key, methods) if *key == peer => Some(*methods),
        _ => None,
    });
    stage.torrent.on_lost(peer, now);
    greets
}

fn knows_somebody(encryption: Encryption) -> Stage {
    let mut stage = stage(encryption);
    let now = stage.start;
    stage.torrent.candidates.add(THERE.parse().unwrap(), Source::Tracker, now);
    stage
}

#[test]
fn who_does_not_understand_encryption_is_met_in_plain_text_at_once_and_that_is_remembered() {
    let mut stage = knows_somebody(Encryption::Allowed);
    assert_eq!(greets_in_vain(&mut stage, 0), Some(Some(Methods::Any)));
    assert_eq!(greets_in_vain(&mut stage, 0), Some(None));
    assert_eq!(greets_in_vain(&mut stage, 0), None);
    // It understood neither: the next time begins anew.
    assert_eq!(greets_in_vain(&mut stage, 40), Some(Some(Methods::Any)));
    let now = stage.at(40);
    stage.torrent.on_time(now);
    let Some(Action::Dial { peer, .. }) = stage.says().pop() else { panic!("no dial") };
    stage.torrent.on_connected(peer, now);
    stage.torrent.on_hello(peer, Hello { reserved: [0; 8], info_hash: HASH }, now);
    stage.torrent.on_peer_id(peer, PeerId([1; 20]), now);
    stage.torrent.on_lost(peer, now);
    stage.says();
    assert_eq!(greets_in_vain(&mut stage, 1000), Some(None));
}

#[test]
fn who_is_silent_at_an_encrypted_handshake_is_met_in_plain_text_soon() {
    for (encryption, again) in [(Encryption::Allowed, true), (Encryption::Only, false)] {
        let mut stage = knows_somebody(encryption);
        let now = stage.start;
        stage.torrent.on_time(now);
        let Some(Action::Dial { peer, .. }) = stage.says().pop() else { panic!("no dial") };
        stage.torrent.on_connected(peer, now);
        let dial = |action: &Action| matches!(action, Action::Dial { .. });
        assert!(!stage.until(9).iter().any(dial));
        let actions = stage.until(12);
        assert_eq!((closes(&actions, peer), actions.iter().any(dial)), (again, again));
    }
}

#[test]
fn what_is_wished_for_all_is_done_with_all() {
    for (encryption, methods) in [
        (Encryption::Never, None),
        (Encryption::Only, Some(Methods::Rc4)),
        (Encryption::Stealth, Some(Methods::Rc4)),
    ] {
        let mut stage = knows_somebody(encryption);
        assert_eq!(greets_in_vain(&mut stage, 0), Some(methods));
        assert_eq!(greets_in_vain(&mut stage, 0), None, "not at once");
        assert_eq!(greets_in_vain(&mut stage, 40), Some(methods));
    }
}

#[test]
fn who_is_said_to_understand_encryption_is_not_met_in_plain_text_at_once() {
    let mut stage = stage(Encryption::Allowed);
    stage.torrent.take_peers(&reply(true).peers, stage.start);
    assert_eq!(greets_in_vain(&mut stage, 0), Some(Some(Methods::Any)));
    assert_eq!(greets_in_vain(&mut stage, 0), None);
    let key = stage.joins("20.0.0.1:5", 1, 0);
    let other = Other { address: "20.0.0.8:7001".parse().unwrap(), seed: false, encrypts: true };
    let exchange = Exchange { number: EXCHANGE, added: vec![other], dropped: vec![] };
    let now = stage.start;
    stage.torrent.on_message(key, Message::Exchange(Box::new(exchange)), now);
    assert_eq!(greets_in_vain(&mut stage, 0), Some(Some(Methods::Any)));
    assert_eq!(greets_in_vain(&mut stage, 0), None);
}

#[test]
fn a_plain_peer_is_taken_or_hears_us_and_has_to_go_or_hears_nothing() {
    let address: SocketAddr = "20.0.0.1:5".parse().unwrap();
    for (encryption, goes) in [(Encryption::Allowed, false), (Encryption::Only, true)] {
        let mut stage = stage(encryption);
        let now = stage.start;
        let key = stage.torrent.on_incoming(address, false, now).unwrap();
        assert!(matches!(stage.says()[..], [Action::Greet(k, None)] if k == key));
        stage.torrent.on_hello(key, Hello { reserved: [0; 8], info_hash: HASH }, now);
        stage.torrent.on_peer_id(key, PeerId([1; 20]), now);
        assert!(!closes(&stage.says(), key), "not before it has heard us");
        assert_eq!(closes(&stage.until(2), key), goes, "{encryption:?}");
        assert_eq!(stage.torrent.sessions().count(), usize::from(!goes));
    }
    let mut stage = stage(Encryption::Stealth);
    let now = stage.start;
    assert_eq!(stage.torrent.on_incoming(address, false, now), Err(Refused::Plain));
    let key = stage.torrent.on_incoming(address, true, now).unwrap();
    stage.torrent.on_peer_id(key, PeerId([1; 20]), now);
    assert!(!closes(&stage.says(), key));
}

#[test]
fn trackers_and_peers_are_told_of_encryption() {
    let says = |encryption| {
        let mut stage = stage(encryption);
        stage.torrent.announcer = Announcer::new(
            &[vec!["http://t/a".into()]],
            Duration::from_secs(60),
            stage.start,
            Rng::new(1),
        );
        let now = stage.start;
        stage.torrent.on_time(now);
        let url = stage.says().into_iter().find_map(|action| match action {
            Action::Announce { to: Tracker::Http(url), .. } => Some(url),
            _ => None,
        });
        let url = url.unwrap();
        let wanted = ["port=", "supportcrypto", "requirecrypto", "cryptoport"];
        let words = url.split(['?', '&']).filter(|w| wanted.iter().any(|key| w.starts_with(key)));
        words.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(says(Encryption::Never), "port=6881");
    assert_eq!(says(Encryption::Allowed), "port=6881 supportcrypto=1");
    assert_eq!(says(Encryption::Only), "port=6881 supportcrypto=1 requirecrypto=1");
    let hidden = "port=0 supportcrypto=1 requirecrypto=1 cryptoport=6881";
    assert_eq!(says(Encryption::Stealth), hidden);

    let mut stage = stage(Encryption::Allowed);
    let now = stage.start;
    for (n, encrypted) in [(1, true), (2, false), (3, false)] {
        let from = SocketAddr::from(([20, 0, 0, n], 5));
        let key = stage.torrent.on_incoming(from, encrypted, now).unwrap();
        let speaks = Hello { reserved: [0, 0, 0, 0, 0, 0x10, 0, 0], info_hash: HASH };
        stage.torrent.on_hello(key, speaks, now);
        stage.torrent.on_peer_id(key, PeerId([n; 20]), now);
        stage.says();
        let tells = Extended { exchange: Some(1), port: Some(7), ..Extended::default() };
        let told = stage.hears(key, Message::Extended(Box::new(tells)), 0);
        let told = told.into_iter().find_map(|action| match action {
            Action::Send(_, Message::Exchange(exchange)) => Some(exchange.added),
            _ => None,
        });
        let flags: Vec<bool> = told.unwrap_or_default().iter().map(|o| o.encrypts).collect();
        assert_eq!(flags, [true, false][..usize::from(n) - 1]);
    }
}
