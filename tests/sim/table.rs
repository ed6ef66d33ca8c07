//! The table of swarms: how long each takes, against what its links allow.

use crate::swarm::{Link, Part, Plan, Role, World};
use bittornado::logic::torrent::Config;
use bittornado::proto::geometry::Geometry;
use std::time::{Duration, Instant};

pub const MIB: f64 = 1024.0 * 1024.0;

pub fn part(role: Role, up: f64, down: f64) -> Part {
    let link = Link { up, down };
    Part { role, link, joins: Duration::ZERO, leaves: None, config: Config::default() }
}

pub fn some(count: usize, part: Part) -> impl Iterator<Item = Part> {
    std::iter::repeat_n(part, count)
}

/// A game of the table.
pub struct Game {
    pub name: &'static str,
    pub plan: Plan,
    /// The last one may take so many times the bound; `None` where it is only told.
    pub most: Option<f64>,
}

/// A number from the environment.
pub fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// A torrent of so many MiB in pieces of 256 KiB.
pub fn plan(seed: u64, mib: u64, parts: Vec<Part>) -> Plan {
    let seed = seed + setting("SWARM_SEED", 0);
    let geometry = Geometry::new(256 << 10, [mib << 20]).expect("sound measures");
    Plan { seed, geometry, parts, cut_every: None, latency: (10, 60) }
}

/// What came out.
pub struct Outcome {
    /// Seconds; see [`bound`].
    pub bound: f64,
    /// Seconds that the slowest leecher took, from when it joined.
    pub last: f64,
    /// Seconds that half of the leechers took at most.
    pub median: f64,
    /// What the seeds sent, in copies of the content.
    pub copies: f64,
    /// Share of what came that was of no use.
    pub waste: f64,
    /// What a free rider had of what an honest leecher had, when the first of these was complete.
    pub riders: Option<f64>,
    pub bans: usize,
    pub digest: u64,
}

impl Outcome {
    pub fn ratio(&self) -> f64 {
        self.last / self.bound
    }
}

/// No swarm is faster than this, in seconds: the seeds must send every byte once, the slowest
/// must take all, and all together cannot send more than their uplinks carry.
fn bound(plan: &Plan) -> f64 {
    let total = plan.geometry.total() as f64;
    let seeds: f64 = plan.parts.iter().filter(|p| p.role == Role::Seed).map(|p| p.link.up).sum();
    let takers: Vec<&Part> = plan.parts.iter().filter(|p| p.role == Role::Leecher).collect();
    let slowest = takers.iter().map(|p| p.link.down).fold(f64::INFINITY, f64::min);
    (total / seeds).max(total / slowest).max(together(seeds, &takers, total * takers.len() as f64))
}

/// If nobody takes longer than this from when it joined, `wanted` bytes can have been sent in all.
///
/// Who comes later and leaves when it has all lends its uplink for no longer than that, so the sum
/// of all uplinks would be too much at any time, and the time of all together too long for each.
/// Where all come at the start and stay, it is `wanted` by the sum of the uplinks.
fn together(seeds: f64, takers: &[&Part], wanted: f64) -> f64 {
    let last = takers.iter().map(|p| p.joins.as_secs_f64()).fold(0.0, f64::max);
    let sent = |each: f64| {
        let end = last + each;
        let of = |p: &&Part| {
            let there = end - p.joins.as_secs_f64();
            p.link.up * p.leaves.map_or(there, |stay| there.min(each + stay.as_secs_f64()))
        };
        seeds * end + takers.iter().map(of).sum::<f64>()
    };
    let (mut low, mut high) = (0.0, wanted / seeds);
    // Each step halves what is not known: a millionth of a second is left of a month.
    for _ in 0..42 {
        let middle = (low + high) / 2.0;
        if sent(middle) < wanted { low = middle } else { high = middle }
    }
    high
}

pub fn run(plan: Plan) -> Outcome {
    let (bound, total) = (bound(&plan), plan.geometry.total() as f64);
    let mut world = World::new(plan);
    let (_, digest) = world.play(Duration::from_secs(24 * 3600));
    let end = world.now;
    let (mut times, mut copies, mut came, mut waste, mut bans) = (vec![], 0.0, 0, 0, 0);
    for node in &world.nodes {
        bans += node.bans;
        match node.part.role {
            Role::Seed => copies += node.sent as f64 / total,
            Role::Leecher => {
                let at = node.complete_at.expect("complete").saturating_sub(node.part.joins);
                times.push(at.as_secs_f64());
                came += node.received;
                waste += node.torrent.as_ref().map_or(0, |t| t.status(end).discarded);
            }
            Role::FreeRider | Role::Villain | Role::Boaster => {}
        }
    }
    times.sort_by(f64::total_cmp);
    Outcome {
        bound,
        last: times[times.len() - 1],
        median: times[times.len() / 2],
        copies,
        waste: waste as f64 / came.max(1) as f64,
        riders: world.riders.filter(|share| share.is_finite()),
        bans,
        digest,
    }
}

/// Plays the games, prints the table, and names those that took too long.
pub fn play(games: Vec<Game>) -> Vec<&'static str> {
    println!(
        "{:<28} {:>8} {:>8} {:>6} {:>6} {:>8} {:>7} {:>6} {:>6} {:>5} {:>7}  digest",
        "swarm",
        "bound s",
        "last s",
        "ratio",
        "most",
        "median s",
        "copies",
        "waste",
        "riders",
        "bans",
        "took s"
    );
    let mut slow = Vec::new();
    for Game { name, plan, most } in games {
        let began = Instant::now();
        let o = run(plan);
        println!(
            "{name:<28} {:>8.1} {:>8.1} {:>6.3} {:>6} {:>8.1} {:>7.2} {:>5.1}% {:>6} {:>5} {:>7.1}  {:016x}",
            o.bound,
            o.last,
            o.ratio(),
            most.map_or("-".into(), |m| format!("{m:.2}")),
            o.median,
            o.copies,
            o.waste * 100.0,
            o.riders.map_or("-".into(), |r| format!("{:.0}%", r * 100.0)),
            o.bans,
            began.elapsed().as_secs_f64(),
            o.digest
        );
        if most.is_some_and(|most| o.ratio() > most) {
            slow.push(name);
        }
    }
    slow
}

/// One seed and `leechers` with the same links.
pub fn broadcast(seed: u64, mib: u64, leechers: usize, seeds: Part, others: Part) -> Plan {
    plan(seed, mib, some(1, seeds).chain(some(leechers, others)).collect())
}

/// All games, with so many MiB and so many leechers.
pub fn games(mib: u64, n: usize) -> Vec<Game> {
    let seed = |up| part(Role::Seed, up * MIB, 100.0 * MIB);
    let leecher = |up, down| part(Role::Leecher, up * MIB, down * MIB);
    let game = |name, plan, most| Game { name, plan, most };
    let mixed = |k: usize| {
        let links = [(0.25, 2.0), (0.5, 4.0), (1.0, 8.0), (4.0, 4.0), (2.0, 16.0)];
        let all = (0..k).map(move |i| leecher(links[i % 5].0, links[i % 5].1));
        std::iter::once(seed(2.0)).chain(all)
    };
    vec![
        game("8 of 4 MiB/s", broadcast(1, mib, 8, seed(4.0), leecher(4.0, 100.0)), Some(1.10)),
        // Who takes no more than he gives can never catch up after a standstill, and the last of a
        // hundred had most: 1.16 to 1.19, depending on the numbers drawn.
        game("symmetric 1/1", broadcast(2, mib, n, seed(1.0), leecher(1.0, 1.0)), Some(1.20)),
        game("symmetric 4/4", broadcast(3, mib, n, seed(4.0), leecher(4.0, 4.0)), Some(1.15)),
        game("asymmetric 0.5/4", broadcast(4, mib, n, seed(2.0), leecher(0.5, 4.0)), Some(1.15)),
        game("asymmetric, all sorts", plan(5, mib, mixed(n).collect()), Some(1.40)),
        game(
            "slow seed 0.5, fast 4/4",
            broadcast(6, mib, n, seed(0.5), leecher(4.0, 4.0)),
            Some(1.15),
        ),
        game(
            "a quarter rides free",
            plan(7, mib, {
                let rider = part(Role::FreeRider, MIB, 4.0 * MIB);
                let honest = some(n - n / 4, leecher(1.0, 4.0));
                some(1, seed(2.0)).chain(honest).chain(some(n / 4, rider)).collect()
            }),
            Some(1.15),
        ),
        game(
            "liars: 5 spoil, 5 boast",
            plan(8, mib, {
                let liars = some(5, part(Role::Villain, MIB, 4.0 * MIB))
                    .chain(some(5, part(Role::Boaster, MIB, 4.0 * MIB)));
                some(1, seed(2.0)).chain(some(n, leecher(1.0, 4.0))).chain(liars).collect()
            }),
            Some(1.15),
        ),
        game(
            "three times as many of 2/8",
            broadcast(10, mib / 4, 3 * n, seed(4.0), leecher(2.0, 8.0)),
            // A quarter of the content: the start counts for more.
            Some(1.20),
        ),
        game(
            "churn: come, cut, leave",
            {
                let come = (0..2 * n).map(|i| Part {
                    joins: Duration::from_secs_f64(i as f64 * 2.0),
                    leaves: Some(Duration::from_secs(10)),
                    ..leecher(1.0, 4.0)
                });
                let parts = some(1, seed(2.0)).chain(come).collect();
                Plan { cut_every: Some(Duration::from_millis(500)), ..plan(9, mib, parts) }
            },
            Some(1.22),
        ),
    ]
}
