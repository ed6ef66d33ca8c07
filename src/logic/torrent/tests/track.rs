//! What trackers tell of the swarm.

use super::*;
use crate::proto::announce::ask;

/// A torrent whose tracker answers its first announce with these entries; what it says then.
fn answered(tracker: &str, entries: &str) -> (Torrent, Vec<Action>) {
    let geometry = Arc::new(Geometry::new(32_768, [32_768]).unwrap());
    let now = Instant::now();
    let setup = Setup {
        info_hash: HASH,
        peer_id: US,
        geometry,
        have: Bitfield::new(1),
        priorities: vec![],
        trackers: vec![vec![tracker.into()]],
        port: 6881,
        seed: 1,
    };
    let mut torrent = Torrent::new(setup, Config::default(), now);
    let Some(Action::Announce { number, .. }) = torrent.next_action() else {
        panic!("the tracker comes first")
    };
    let reply = ask::reply(format!("d{entries}e").as_bytes()).unwrap();
    torrent.on_announced(number, Ok(reply), now);
    let actions = std::iter::from_fn(|| torrent.next_action()).collect();
    (torrent, actions)
}

fn counts(torrent: &Torrent) -> Option<(u32, u32)> {
    torrent.status(Instant::now()).swarm.map(|counts| (counts.complete, counts.incomplete))
}

#[test]
fn a_tracker_that_counts_is_not_asked_again() {
    let (torrent, actions) = answered("http://h/announce", "8:completei3e10:incompletei4e");
    assert_eq!((counts(&torrent), actions.len()), (Some((3, 4)), 0));
}

#[test]
fn one_that_does_not_count_is_asked_for_just_that() {
    let (mut torrent, actions) = answered("http://h/announce?key=1", "");
    let [Action::Scrape(url)] = &actions[..] else { panic!("{actions:?}") };
    assert!(url.starts_with("http://h/scrape?key=1&info_hash=%07%07"), "{url}");
    assert_eq!(counts(&torrent), None);
    let hash = "\u{7}".repeat(20);
    let body = format!("d5:filesd20:{hash}d8:completei5e10:incompletei6eeee");
    torrent.on_scraped(body.as_bytes());
    torrent.on_scraped(b"junk");
    assert_eq!(counts(&torrent), Some((5, 6)));
    assert!(answered("http://h/elsewhere", "").1.is_empty(), "there is no place to ask");
}
