//! The logic of a whole swarm, played without a machine: no socket, file, thread or clock.

mod liar;
mod world;

use bittornado::logic::torrent::Config;
use bittornado::proto::geometry::Geometry;
use std::time::Duration;
use world::{Plan, Villain, World};

/// A megabyte in pieces of 64 KiB, cut into three files; each leecher opens four connections.
fn plan(seed: u64) -> Plan {
    let lengths = [500_000, 0, 548_000];
    Plan {
        seed,
        seeds: 1,
        leechers: 20,
        geometry: Geometry::new(65_536, lengths).expect("sound measures"),
        corrupt_one_in: 0,
        cut_every: None,
        villain: None,
        super_seed: false,
        config: Config { max_initiate: 4, ..Config::default() },
    }
}

const LIMIT: Duration = Duration::from_secs(3600);

#[test]
fn twenty_leechers_complete_though_peers_are_lost_and_blocks_damaged() {
    for seed in 1..=3 {
        let mut world = World::new(Plan {
            corrupt_one_in: 150,
            cut_every: Some(Duration::from_millis(400)),
            ..plan(seed)
        });
        world.play(LIMIT);
        for node in 0..world.nodes.len() {
            assert!(world.is_intact(node), "seed {seed}: node {node} has other data");
        }
        let failed: usize = world.nodes.iter().map(|n| n.failed_pieces).sum();
        assert!(failed > 0, "seed {seed}: no damage was noticed");
    }
}

#[test]
fn the_same_seed_plays_the_same_game() {
    let play = |seed| {
        let cut_every = Some(Duration::from_millis(300));
        World::new(Plan { corrupt_one_in: 200, cut_every, leechers: 8, ..plan(seed) }).play(LIMIT)
    };
    assert_eq!(play(7), play(7));
    assert_ne!(play(7).1, play(8).1);
}

#[test]
fn a_peer_that_damages_everything_is_banned_and_the_rest_complete() {
    // Slow enough that the villain, kicked for its second bad piece, comes back for its third.
    let config = Config { upload_limit: Some(15_000), ..plan(5).config };
    let villain = Villain { node: 3, lies_one_in: 1, upload_limit: None, chokes_after: 0 };
    let mut world = World::new(Plan { villain: Some(villain), leechers: 6, config, ..plan(5) });
    world.play(LIMIT);
    let banned: Vec<_> = world.nodes.iter().flat_map(|n| &n.banned).collect();
    assert!(!banned.is_empty() && banned.iter().all(|ip| **ip == World::ip(3)), "{banned:?}");
    assert!((0..world.nodes.len()).all(|node| world.is_intact(node)));
}

#[test]
fn the_seed_sends_little_more_than_one_copy_when_leechers_share() {
    let mut world = World::new(plan(11));
    let (took, _) = world.play(LIMIT);
    let now = std::time::Instant::now() + took;
    let sent = world.nodes[0].torrent.status(now).uploaded;
    let copies = sent as f64 / 1_048_000.0;
    assert!(copies < 8.0, "the seed sent {copies:.1} copies to 20 leechers");
}

#[test]
fn little_is_fetched_twice_even_of_a_small_torrent() {
    let mut world = World::new(plan(13));
    let (took, _) = world.play(LIMIT);
    let now = std::time::Instant::now() + took;
    let discarded: u64 = world.nodes.iter().map(|n| n.torrent.status(now).discarded).sum();
    let share = discarded as f64 / (20.0 * 1_048_000.0);
    assert!(share < 0.05, "{:.1} % was fetched in vain", share * 100.0);
}

/// Copies of the content that the seed of a torrent of many pieces has sent when everybody is
/// complete, and how long that took.
fn copies_sent(super_seed: bool) -> (f64, Duration) {
    const LENGTH: u64 = 60 * 65_536;
    let geometry = Geometry::new(65_536, [LENGTH]).expect("sound measures");
    // What the seed can send is what there is too little of.
    let config = Config { upload_limit: Some(100_000), max_initiate: 10, ..Config::default() };
    let mut world = World::new(Plan { geometry, super_seed, config, leechers: 8, ..plan(17) });
    let (took, _) = world.play(LIMIT);
    let now = std::time::Instant::now() + took;
    (world.nodes[0].torrent.status(now).uploaded as f64 / LENGTH as f64, took)
}

#[test]
fn a_super_seed_sends_little_more_than_one_copy() {
    let (normal, long) = copies_sent(false);
    let (copies, took) = copies_sent(true);
    println!("super-seeding {copies:.2} copies in {took:?}, else {normal:.2} in {long:?}");
    assert!(copies < 1.1, "{copies:.2} copies");
    assert!(copies < normal, "{copies:.2} copies, {normal:.2} without");
    assert!(took < long * 3 / 2, "{took:?}, {long:?} without");
}
