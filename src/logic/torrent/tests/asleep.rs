//! A day in which the process could not run.

use super::*;
use crate::logic::clock::Clock;

#[test]
fn a_day_slept_away_costs_no_peer_but_the_same_silence_while_awake_does() {
    let mut stage = Stage::seed();
    let peers = [1, 2, 3].map(|n| stage.joins(&format!("10.0.0.{n}:7"), n, 0));
    stage.says();
    let mut clock = Clock::new(stage.start);
    // The loop goes to sleep until the next deadline, and wakes up a day later.
    let mut system = stage.at(86_400);
    clock.sleep(stage.torrent.next_deadline());
    let woken = clock.at(system);
    let mut now = woken;
    stage.torrent.on_time(now);
    let actions = stage.says();
    assert!(peers.iter().all(|key| !closes(&actions, *key)), "{actions:?}");

    let mut closed = 0;
    while closed < peers.len() {
        let due = stage.torrent.next_deadline().unwrap();
        clock.sleep(Some(due));
        system += due - now;
        now = clock.at(system);
        stage.torrent.on_time(now);
        let actions = stage.says();
        closed += peers.iter().filter(|key| closes(&actions, **key)).count();
        assert!(now < woken + 2 * Config::default().timeout, "they are never dropped");
    }
    assert!(now + Duration::from_secs(30) > stage.start + Config::default().timeout);
}
