//! One liar among honest seeds: it never gets an honest peer banned, and costs at most as much
//! time again as the download takes without it.

use super::world::{Plan, Villain, World};
use bittornado::logic::torrent::Config;
use bittornado::proto::geometry::Geometry;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(3600);

/// Four megabytes in pieces of sixteen blocks; the seeds, then the liar, then one that downloads.
fn plan(seed: u64, honest: usize, villain: Option<Villain>) -> Plan {
    Plan {
        seed,
        seeds: honest + usize::from(villain.is_some()),
        leechers: 1,
        geometry: Geometry::new(262_144, [16 * 262_144]).expect("sound measures"),
        villain,
        corrupt_one_in: 0,
        cut_every: None,
        super_seed: false,
        config: Config::default(),
    }
}

/// What the liar is like.
#[derive(Debug, Clone, Copy)]
enum Temper {
    Fast,
    /// A block in four seconds.
    Slow,
    /// Chokes, and unchokes again, after half a piece.
    Fickle,
}

#[test]
fn one_liar_gets_no_honest_peer_banned_and_costs_no_more_than_the_clean_time() {
    let mut costs = Vec::new();
    for honest in 1..=5 {
        let seed = 100 + honest as u64;
        let (clean, _) = World::new(plan(seed, honest, None)).play(LIMIT);
        for temper in [Temper::Fast, Temper::Slow, Temper::Fickle] {
            for lies_one_in in [1, 50] {
                let villain = Villain {
                    node: honest,
                    lies_one_in,
                    upload_limit: matches!(temper, Temper::Slow).then_some(4096),
                    chokes_after: if matches!(temper, Temper::Fickle) { 8 } else { 0 },
                };
                let mut world = World::new(plan(seed, honest, Some(villain)));
                let (took, _) = world.play(LIMIT);
                let leecher = honest + 1;
                let what = format!("{honest} honest, {temper:?}, lies one in {lies_one_in}");
                assert!(world.is_intact(leecher), "{what}");
                let banned = &world.nodes[leecher].banned;
                let liar = World::ip(honest);
                assert!(banned.iter().all(|ip| *ip == liar), "{what}: banned {banned:?}");
                let cost = took.as_secs_f64() / clean.as_secs_f64();
                println!("{what}: {clean:?} clean, {took:?}, {cost:.2}");
                costs.push((cost, what));
            }
        }
    }
    costs.retain(|(cost, _)| *cost > 2.0);
    assert!(costs.is_empty(), "{costs:#?}");
}
