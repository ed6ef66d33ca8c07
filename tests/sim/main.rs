//! The logic of a whole swarm, played without a machine: no socket, file, thread or clock.

mod liar;
mod swarm;
mod table;
mod world;

use bittornado::logic::torrent::Config;
use bittornado::proto::announce::Peer;
use bittornado::proto::announce::ask::Reply;
use bittornado::proto::geometry::Geometry;
use std::time::Duration;
use swarm::Role;
use table::MIB;
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

/// A tracker's answer that names these peers.
fn reply(peers: Vec<Peer>) -> Reply {
    Reply {
        interval: Duration::from_secs(1800),
        min_interval: None,
        tracker_id: None,
        complete: None,
        incomplete: None,
        peers,
        external_ip: None,
        warning: None,
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
    // A seed that serves first what nobody has is near the bound already.
    assert!(took < long.mul_f64(1.2), "{took:?}, {long:?} without");
}

#[test]
fn one_seed_and_eight_leechers_come_near_the_bound() {
    let seed = table::part(Role::Seed, 4.0 * MIB, 100.0 * MIB);
    let leecher = table::part(Role::Leecher, 4.0 * MIB, 100.0 * MIB);
    let play = || table::run(table::broadcast(1, 64, 8, seed.clone(), leecher.clone()));
    let outcome = play();
    assert!(outcome.ratio() < 1.18, "{:.3} times the bound", outcome.ratio());
    assert!(outcome.copies < 1.18, "the seed sent {:.2} copies", outcome.copies);
    assert_eq!(outcome.digest, play().digest, "the same seed plays the same game");
}

#[test]
fn who_gives_nothing_gets_less_while_others_want_it() {
    let part = |role, up| table::part(role, up * MIB, 4.0 * MIB);
    let honest = table::some(18, part(Role::Leecher, 1.0));
    let riders = table::some(6, part(Role::FreeRider, 1.0));
    let parts = table::some(1, part(Role::Seed, 8.0)).chain(honest).chain(riders).collect();
    let share = table::run(table::plan(2, 24, parts)).riders.expect("there are some");
    assert!(share < 0.8, "a free rider got {:.0} % of what others got", share * 100.0);
}

#[test]
fn a_download_limit_holds_from_the_start_with_one_peer_and_with_fifty() {
    for (limit, seeds) in [(20 << 10, 1), (20 << 10, 50), (200 << 20, 1), (200 << 20, 50)] {
        let fast = 2048.0 * MIB;
        let mut leecher = table::part(Role::Leecher, fast, fast);
        leecher.config.download_limit = Some(limit);
        let parts =
            table::some(1, leecher).chain(table::some(seeds, table::part(Role::Seed, fast, fast)));
        let geometry = Geometry::new(4 << 20, [4 << 30]).expect("sound measures");
        let plan = swarm::Plan {
            seed: 3,
            geometry,
            parts: parts.collect(),
            cut_every: None,
            latency: (0, 1),
        };
        let mut world = swarm::World::new(plan);
        let mut at = |second: f64| {
            world.play_until(Duration::from_secs_f64(second));
            world.nodes[0].received as f64 / limit as f64
        };
        // All is set up within half a second.
        let (begun, second, end) = (at(0.5), at(1.5), at(10.5));
        let block = 16_384.0 / limit as f64;
        assert!(second - begun <= 1.05 + block, "{} in the first second", second - begun);
        let share = (end - begun) / 10.0;
        assert!((0.95..=1.05).contains(&share), "{share:.3} of {limit} from {seeds} peers");
    }
}

/// Some minutes with `--release`; prints the table. SWARM names a part of the games.
#[test]
#[ignore = "long"]
fn long_swarms_end_near_the_bound_of_their_links() {
    let only = std::env::var("SWARM").unwrap_or_default();
    let (mib, leechers) = (table::setting("SWARM_MIB", 256), table::setting("SWARM_LEECHERS", 100));
    let games = table::games(mib, leechers as usize);
    let slow = table::play(games.into_iter().filter(|game| game.name.contains(&only)).collect());
    assert!(slow.is_empty(), "too slow: {slow:?}");
}
