//! Giving metadata to those who have only the hash.

use super::*;
use crate::proto::wire::{Extended, METADATA, METADATA_PART, Metadata, MetadataWord};

/// A seed that gives metadata of so many bytes, each of which tells its place.
fn giving(size: usize) -> Stage {
    let mut stage = Stage::seed();
    stage.torrent.give_metadata(content(size).into(), stage.start);
    stage
}

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n % 251) as u8).collect()
}

impl Stage {
    /// Somebody joins who calls the extension 5.
    fn curious(&mut self, address: &str, name: u8, at: u64) -> (PeerKey, Vec<Action>) {
        let key = self.joins_speaking(address, name, at);
        let actions = self.says();
        let tells = Extended { metadata: Some(5), ..Extended::default() };
        self.hears(key, Message::Extended(Box::new(tells)), at);
        (key, actions)
    }

    fn asks(&mut self, key: PeerKey, part: u32, at: u64) -> Vec<Action> {
        let ask = Metadata { number: METADATA, part, word: MetadataWord::Request };
        self.hears(key, Message::Metadata(Box::new(ask)), at)
    }
}

/// To whom, which part, its bytes.
type Given<'a> = (PeerKey, u32, &'a [u8]);

/// Who was given which parts, and who was refused which.
fn answers(actions: &[Action]) -> (Vec<Given<'_>>, Vec<(PeerKey, u32)>) {
    let (mut given, mut refused) = (Vec::new(), Vec::new());
    for action in actions {
        let Action::Send(key, Message::Metadata(message)) = action else { continue };
        assert_eq!(message.number, 5);
        match &message.word {
            MetadataWord::Data { bytes, .. } => given.push((*key, message.part, &bytes[..])),
            MetadataWord::Reject => refused.push((*key, message.part)),
            MetadataWord::Request => panic!("we have it"),
        }
    }
    (given, refused)
}

fn offer(actions: &[Action]) -> (Option<u8>, Option<u32>) {
    let told = actions.iter().find_map(|action| match action {
        Action::Send(_, Message::Extended(told)) => Some((told.metadata, told.metadata_size)),
        _ => None,
    });
    told.unwrap()
}

#[test]
fn who_asks_for_the_metadata_gets_its_exact_bytes() {
    let mut stage = giving(40_000);
    let (key, actions) = stage.curious("20.0.0.1:5", 1, 1);
    assert_eq!(offer(&actions), (Some(METADATA), Some(40_000)));
    let mut got = vec![0; 40_000];
    for part in [2, 0, 1] {
        let actions = stage.asks(key, part, 1);
        let (given, refused) = answers(&actions);
        let [(to, number, bytes)] = given[..] else { panic!("{} parts", given.len()) };
        assert_eq!((to, number, refused), (key, part, vec![]));
        let begin = part as usize * METADATA_PART;
        got[begin..begin + bytes.len()].copy_from_slice(bytes);
    }
    assert!(got == content(40_000));
    assert_eq!(answers(&stage.asks(key, 3, 1)), (vec![], vec![(key, 3)]), "beyond its end");
}

#[test]
fn without_metadata_none_is_offered_and_all_are_refused() {
    let mut stage = Stage::seed();
    let (key, actions) = stage.curious("20.0.0.1:5", 1, 1);
    assert_eq!(offer(&actions), (None, None));
    assert_eq!(answers(&stage.asks(key, 0, 1)), (vec![], vec![(key, 0)]));
}

#[test]
fn a_peer_gets_the_whole_three_times_and_is_dropped_when_it_goes_on() {
    let mut stage = giving(METADATA_PART);
    let (key, _) = stage.curious("20.0.0.1:5", 1, 1);
    let mut sent = 0;
    for n in 0..10_000 {
        let actions = stage.asks(key, 0, 1);
        sent += answers(&actions).0.len();
        if closes(&actions, key) {
            assert!(n > 1000);
            return assert_eq!(sent, 3);
        }
    }
    panic!("it may go on for ever");
}

#[test]
fn what_all_ask_for_at_once_leaves_by_and_by_and_in_turn() {
    const PARTS: u32 = 60;
    let mut stage = giving(PARTS as usize * METADATA_PART);
    let keys = [1, 2, 3].map(|n| stage.curious(&format!("20.0.0.{n}:5"), n, 1).0);
    let mut actions = Vec::new();
    for part in 0..PARTS {
        keys.iter().for_each(|key| actions.extend(stage.asks(*key, part, 1)));
    }
    let at_once = answers(&actions).0.len();
    assert!((16..=40).contains(&at_once), "{at_once} parts at once");
    let more = stage.asks(keys[0], 0, 1);
    let full: Vec<u32> = (0..40)
        .flat_map(|_| stage.asks(keys[0], 0, 1))
        .filter_map(|a| answers(&[a]).1.first().map(|(_, part)| *part))
        .collect();
    assert!(!full.is_empty(), "no more than some requests wait");
    actions.extend(more);
    actions.extend(stage.until(4));
    let (given, _) = answers(&actions);
    for key in keys {
        let of: Vec<u32> = given.iter().filter(|g| g.0 == key).map(|g| g.1).collect();
        assert!(of.starts_with(&(0..PARTS).collect::<Vec<_>>()), "{key:?} got {of:?}");
    }
    // Nobody is served before the others have had their turn.
    let mut turns = given.iter().skip(at_once).take(60).map(|g| g.0);
    let first: std::collections::BTreeSet<_> = turns.by_ref().take(3).collect();
    assert_eq!(first.len(), 3);
}
