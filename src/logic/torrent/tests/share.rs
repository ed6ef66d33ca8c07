//! Several torrents under one limit.

use super::*;
use crate::logic::share::Share;
use std::collections::BTreeMap;

/// Torrents that share limits, and a network on which all that may go arrives at once.
struct Session {
    stages: Vec<Stage>,
    share: Share<usize>,
    now: Instant,
    /// Handed on and allowed, of each peer.
    unsent: BTreeMap<(usize, PeerKey), (u64, u64)>,
    sent: Vec<u64>,
    asked: Vec<u64>,
    wakes: usize,
    /// Whose peers ask for more.
    greedy: Vec<bool>,
}

impl Session {
    /// So many peers for each torrent; `have` tells whether they are seeds.
    fn new(peers: &[u8], have: &str, config: &Config) -> Session {
        let stages = peers.iter().map(|_| Stage::new(have.len() as u32, have, config.clone()));
        let stages: Vec<Stage> = stages.collect();
        let now = stages[0].start;
        let mut session = Session {
            share: Share::new(config, now),
            unsent: BTreeMap::new(),
            sent: vec![0; peers.len()],
            asked: vec![0; peers.len()],
            greedy: vec![true; peers.len()],
            wakes: 0,
            stages,
            now,
        };
        for (id, peers) in peers.iter().enumerate() {
            (1..=*peers).for_each(|n| session.join(id, n));
        }
        session
    }

    fn with<T>(&mut self, id: usize, act: impl FnOnce(&mut Torrent) -> T) -> T {
        self.share.with(id, &mut self.stages[id].torrent, self.now, act)
    }

    fn join(&mut self, id: usize, n: u8) {
        let (now, pieces) = (self.now, self.stages[id].geometry.piece_count());
        let address = format!("20.0.{id}.{n}:5").parse().unwrap();
        let all = Bitfield::full(pieces);
        self.with(id, |t| {
            let key = t.on_incoming(address, false, now).expect("welcome");
            t.on_peer_id(key, PeerId([n; 20]), now);
            if t.is_done() {
                t.on_message(key, Message::Interested, now);
            } else {
                t.on_message(key, Message::Bitfield(all), now);
                t.on_message(key, Message::Unchoke, now);
            }
        });
    }

    fn act(&mut self, id: usize, action: Action) {
        let (now, block) = (self.now, self.stages[id].block(1, 1));
        let serves = self.stages[id].torrent.is_done();
        let more = if self.greedy[id] && serves { 40 } else { 0 };
        match action {
            Action::Send(key, Message::Unchoke) => self.with(id, |t| {
                (0..more).for_each(|_| t.on_message(key, Message::Request(block), now));
            }),
            Action::Send(key, Message::Request(block)) => {
                self.asked[id] += u64::from(block.length());
                let data = vec![0; block.length() as usize];
                self.with(id, |t| t.on_message(key, Message::Piece { block, data }, now));
            }
            Action::Verify(piece) => self.with(id, |t| t.on_verified(piece, true, now)),
            Action::SendBlock(key, _) => self.unsent.entry((id, key)).or_default().0 += 16_384,
            Action::Allow(key, bytes) => {
                self.sent[id] += bytes;
                let (queued, allowed) = self.unsent.entry((id, key)).or_default();
                *allowed += bytes;
                if *queued > 0 && allowed == queued {
                    (*queued, *allowed) = (0, 0);
                    self.with(id, |t| {
                        t.on_block_sent(key, block, now);
                        (0..more.min(1)).for_each(|_| {
                            t.on_message(key, Message::Request(block), now);
                        });
                    });
                }
            }
            _ => {}
        }
    }

    /// Lets so many milliseconds pass.
    fn pass(&mut self, milliseconds: u64) {
        let end = self.now + Duration::from_millis(milliseconds);
        loop {
            for id in 0..self.stages.len() {
                while let Some(action) = self.stages[id].torrent.next_action() {
                    self.act(id, action);
                }
            }
            let own = self.stages.iter().filter_map(|stage| stage.torrent.next_deadline()).min();
            let at = own.into_iter().chain(self.share.next_deadline(self.now)).min();
            let Some(at) = at.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            self.wakes += 1;
            assert!(self.wakes < 200_000, "its deadlines never end");
            let now = self.now;
            for id in 0..self.stages.len() {
                if self.stages[id].torrent.next_deadline().is_some_and(|at| at <= now) {
                    self.with(id, |t| t.on_time(now));
                }
            }
            for id in self.share.due(now) {
                self.with(id, |t| t.on_turn(now));
            }
        }
        self.now = end;
    }
}

fn near(value: u64, expected: u64) -> bool {
    value.abs_diff(expected) <= expected / 20
}

#[test]
fn torrents_under_one_upload_limit_get_the_same_however_many_peers_they_have() {
    let config = Config { upload_limit: Some(200_000), ..Config::default() };
    let mut session = Session::new(&[1, 1, 30, 7], "####", &config);
    session.pass(40_000);
    let all: u64 = session.sent.iter().sum();
    assert!(near(all, 8_000_000), "{all}");
    assert!(session.sent.iter().all(|sent| near(*sent, all / 4)), "{:?}", session.sent);
    assert!(session.wakes < 40 * 450, "{} wake-ups", session.wakes);
}

#[test]
fn what_a_torrent_does_not_use_of_the_limit_goes_to_the_others() {
    let config = Config { upload_limit: Some(200_000), ..Config::default() };
    let mut session = Session::new(&[2, 2, 0], "####", &config);
    session.pass(10_000);
    session.greedy[0] = false;
    session.pass(15_000);
    let before = session.sent.clone();
    session.pass(20_000);
    assert_eq!(session.sent[0], before[0], "nobody asks it");
    assert!(near(session.sent[1] - before[1], 4_000_000), "{:?}", session.sent);
}

#[test]
fn torrents_under_one_download_limit_ask_for_the_same() {
    let config = Config { download_limit: Some(200_000), ..Config::default() };
    let mut session = Session::new(&[1, 1, 9], &".".repeat(400), &config);
    session.pass(30_000);
    let all: u64 = session.asked.iter().sum();
    assert!(near(all, 6_000_000), "{all}");
    assert!(session.asked.iter().all(|asked| near(*asked, all / 3)), "{:?}", session.asked);
}

#[test]
fn limits_that_change_hold_for_all() {
    let config = Config { upload_limit: Some(50_000), ..Config::default() };
    let mut session = Session::new(&[3, 3], "####", &config);
    session.pass(10_000);
    let (before, now) = (session.sent.iter().sum::<u64>(), session.now);
    session.share.set_limits(Some(400_000), None, now);
    session.pass(10_000);
    let after: u64 = session.sent.iter().sum::<u64>() - before;
    assert!(near(before, 500_000) && near(after, 4_000_000), "{before} {after}");
}

#[test]
fn there_are_no_more_connections_than_all_may_have_and_those_that_wait_get_what_is_free() {
    let config = Config { max_connections: 10, max_initiate: 10, ..Config::default() };
    let mut session = Session::new(&[0, 0, 0], "....", &config);
    let address = |n: u8| SocketAddr::from(([20, 0, 9, n], 5));
    let now = session.now;
    for id in 0..3 {
        let all: Vec<SocketAddr> = (0..40).map(address).collect();
        session.with(id, |t| t.add_candidates(&all, Source::Tracker, now));
    }
    let dialed = |session: &Session| -> Vec<usize> {
        session.stages.iter().map(|stage| stage.torrent.connections()).collect()
    };
    assert_eq!(dialed(&session), [MAX_HALF_OPEN, 2, 0]);
    assert!(session.share.is_full() && session.share.next_deadline(now).is_none());
    let refused = session.with(2, |t| t.on_incoming(address(99), false, now));
    assert_eq!(refused, Err(Refused::Full));
    // Nobody is there: those that wait come next.
    session.with(0, |t| t.stop(now));
    assert_eq!(session.share.next_deadline(now), Some(now));
    for id in [1, 2] {
        assert_eq!(session.share.due(now).collect::<Vec<_>>(), [id]);
        session.with(id, |t| t.on_turn(now));
    }
    assert_eq!(dialed(&session), [0, MAX_HALF_OPEN, 2]);
    session.share.forget(2);
    session.with(1, |t| t.stop(now));
    assert!(session.share.due(now).next().is_none());
}
