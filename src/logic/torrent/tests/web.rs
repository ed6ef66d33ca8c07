//! Web seeds: what is fetched from them when, beside peers, and what becomes of bad ones.

use super::*;
use crate::logic::webseed::{Failure, Source, Style};

fn source(name: &str, style: Style) -> Source {
    Source { url: format!("http://{name}/x"), style }
}

/// A run as it was ordered: its number, whose it is, its first piece and how many there are.
type Ordered = (u64, String, u32, u64);

fn fetches(actions: &[Action]) -> Vec<Ordered> {
    let fetch = |action: &Action| match action {
        Action::Fetch { run, source, start, length, .. } => {
            Some((*run, source.url[7..8].to_owned(), (start / 32_768) as u32, length / 32_768))
        }
        _ => None,
    };
    actions.iter().filter_map(fetch).collect()
}

fn abandons(actions: &[Action]) -> Vec<u64> {
    let abandon = |action: &Action| match action {
        Action::Abandon(run) => Some(*run),
        _ => None,
    };
    actions.iter().filter_map(abandon).collect()
}

fn told(actions: &[Action]) -> Vec<String> {
    let text = |action: &Action| match action {
        Action::Report(Notice::WebSeed(text)) => Some(text.clone()),
        _ => None,
    };
    actions.iter().filter_map(text).collect()
}

impl Stage {
    fn web(&mut self, names: &str, at: u64) -> Vec<Action> {
        let sources = names.chars().map(|c| source(&c.to_string(), Style::Files)).collect();
        let now = self.at(at);
        self.torrent.add_web_seeds(sources, now);
        self.says()
    }

    /// Up to `count` blocks of a run come, all that have a place.
    fn streams(&mut self, run: u64, count: usize, at: u64) -> Vec<Action> {
        let (now, mut actions) = (self.at(at), Vec::new());
        for _ in 0..count {
            let Some(block) = self.torrent.lend(run, now) else { break };
            self.torrent.on_web_block(run, vec![0; block.length() as usize], now);
            actions.extend(self.says());
        }
        actions
    }

    /// What was verified among the actions is good, or not.
    fn proves(&mut self, actions: &[Action], good: bool, at: u64) -> Vec<Action> {
        let now = self.at(at);
        for action in actions {
            if let Action::Verify(piece) = action {
                self.torrent.on_verified(*piece, good, now);
            }
        }
        self.says()
    }

    fn ends(&mut self, run: u64, result: Result<(), Failure>, at: u64) -> Vec<Action> {
        let now = self.at(at);
        self.torrent.on_web_end(run, result, now);
        self.says()
    }

    fn fails(&mut self, run: u64, why: &str, at: u64) -> Vec<Action> {
        self.ends(run, Err(Failure::Failed(why.into())), at)
    }
}

#[test]
fn alone_it_brings_everything_in_one_run() {
    let mut stage = Stage::empty();
    let begun = stage.web("a", 0);
    let [(run, _, first, 4)] = fetches(&begun)[..] else { panic!("{begun:?}") };
    assert_eq!(first, 0);
    let came = stage.streams(run, 99, 1);
    let proven = stage.proves(&came, true, 1);
    assert!(proven.iter().any(|a| matches!(a, Action::Report(Notice::Complete))));
    assert!(stage.ends(run, Ok(()), 1).is_empty());
    let status = stage.torrent.status(stage.at(2));
    assert_eq!((status.downloaded, status.seeds, status.web_seeds), (4 * 32_768, 1, 1));
    assert_eq!(status.web_rate, status.download_rate);
    assert!(status.web_rate > 0.0);
    assert_eq!(stage.torrent.web_seeds(stage.at(2))[0].downloaded, 4 * 32_768);
}

#[test]
fn one_of_pieces_is_asked_for_one_piece_at_a_time() {
    let mut stage = Stage::empty();
    let now = stage.at(0);
    stage.torrent.add_web_seeds(vec![source("a", Style::Pieces)], now);
    let mut actions = stage.says();
    for _ in 0..4 {
        let [(run, _, _, 1)] = fetches(&actions)[..] else { panic!("{actions:?}") };
        let came = stage.streams(run, 99, 1);
        stage.proves(&came, true, 1);
        actions = stage.ends(run, Ok(()), 1);
    }
    assert!(stage.torrent.is_complete());
}

#[test]
fn it_is_asked_for_what_no_peer_has_and_peers_for_the_rest() {
    let config = Config { rarest_first_cutoff: 0, ..Config::default() };
    let mut stage = Stage::new(6, "......", config);
    let peer = stage.joins("20.0.0.1:5", 1, 0);
    stage.has(peer, "##.###", 0);
    let begun = stage.web("a", 0);
    assert_eq!(fetches(&begun), [], "peers may be quicker");
    let begun = stage.until(11);
    let [(run, _, 2, 1)] = fetches(&begun)[..] else { panic!("{begun:?}") };
    let asked = requests(&stage.hears(peer, Message::Unchoke, 11));
    assert_eq!(asked.len(), 10, "the peer has five pieces");
    assert!(asked.iter().all(|(_, block)| block.piece().get() != 2));
    let came = stage.streams(run, 99, 12);
    stage.proves(&came, true, 12);
    assert_eq!(fetches(&stage.ends(run, Ok(()), 12)), [], "the rest is asked of the peer");
}

#[test]
fn urls_that_are_not_http_are_named_and_left_out_and_doubles_count_once() {
    let mut stage = Stage::empty();
    let now = stage.at(0);
    let ftp = Source { url: "ftp://h/x".into(), style: Style::Files };
    let one = source("a", Style::Files);
    stage.torrent.add_web_seeds(vec![ftp, one.clone(), one], now);
    assert_eq!(told(&stage.says()), ["http seed url not http: ftp://h/x"]);
    assert_eq!(stage.torrent.web_seeds(now).len(), 1);
}

#[test]
fn a_failure_gives_what_was_not_brought_to_others_and_is_told_once() {
    let mut stage = Stage::empty();
    let begun = stage.web("a", 0);
    let run = fetches(&begun)[0].0;
    stage.streams(run, 3, 1);
    let ended = stage.fails(run, "refused", 1);
    assert_eq!(told(&ended), ["error accessing http seed: refused"]);
    assert_eq!(fetches(&stage.until(30)), []);
    let again = fetches(&stage.until(40));
    let [(run, _, _, _)] = again[..] else { panic!("{again:?}") };
    assert_eq!(told(&stage.fails(run, "refused", 40)), [""; 0]);
    // Only blocks of the pieces that were begun are kept; the others can be had of a peer.
    let peer = stage.joins("20.0.0.1:5", 1, 41);
    stage.has(peer, "####", 41);
    assert_eq!(requests(&stage.hears(peer, Message::Unchoke, 41)).len(), 5);
}

#[test]
fn one_that_hangs_is_given_up_and_what_it_had_to_bring_is_asked_of_another() {
    let mut stage = Stage::empty();
    let begun = stage.web("ab", 0);
    let runs = fetches(&begun);
    let [(run, name, ..), ..] = &runs[..] else { panic!("{runs:?}") };
    let (run, name) = (*run, name.clone());
    assert!(stage.torrent.lend(run, stage.at(0)).is_some());
    for (other, ..) in &runs[1..] {
        let came = stage.streams(*other, 99, 1);
        stage.proves(&came, true, 1);
        stage.ends(*other, Ok(()), 1);
    }
    let then = stage.until(31);
    assert!(abandons(&then).contains(&run), "{then:?}");
    assert!(told(&then)[0].contains("sends nothing for 30 seconds"));
    assert!(fetches(&then).iter().any(|(_, other, ..)| *other != name), "{then:?}");
    // A late word of the run that was given up changes nothing.
    let now = stage.at(32);
    stage.torrent.on_web_block(run, vec![0; 16_384], now);
    stage.torrent.on_web_end(run, Ok(()), now);
    assert!(stage.says().iter().all(|a| matches!(a, Action::Recycle(_))));
}

#[test]
fn a_slow_run_is_cut_after_a_minute_and_goes_on_where_it_was() {
    let mut stage = Stage::empty();
    let begun = stage.web("a", 0);
    let (run, _, first, _) = fetches(&begun)[0].clone();
    for second in [20, 40] {
        stage.streams(run, 1, second);
    }
    assert_eq!(stage.until(59).len(), 0);
    stage.streams(run, 1, 59);
    let then = stage.until(61);
    assert_eq!(abandons(&then), [run]);
    let [(next, _, piece, _)] = fetches(&then)[..] else { panic!("{then:?}") };
    assert_eq!(piece, first + 1, "its second piece was begun");
    let came = stage.streams(next, 1, 61);
    assert!(came.iter().any(|a| matches!(a, Action::Verify(p) if p.get() == first + 1)));
}

#[test]
fn a_busy_server_is_asked_when_it_says() {
    let mut stage = Stage::empty();
    let begun = stage.web("a", 0);
    let busy = Failure::Busy(Some(Duration::from_secs(100)));
    let ended = stage.ends(fetches(&begun)[0].0, Err(busy), 0);
    assert_eq!(told(&ended), [""; 0]);
    assert_eq!(fetches(&stage.until(99)).len(), 0);
    assert_eq!(fetches(&stage.until(126)).len(), 1);
}

#[test]
fn what_it_lacks_is_not_asked_of_it_again_and_one_that_lacks_all_is_let_go() {
    let mut stage = Stage::empty();
    let begun = stage.web("a", 0);
    let lacks = Failure::Lacks { file: 0, why: "'http://a/x' is not there".into() };
    let ended = stage.ends(fetches(&begun)[0].0, Err(lacks), 0);
    let line = "error accessing http seed: 'http://a/x' is not there; it is not asked again";
    assert_eq!(told(&ended), [line]);
    assert!(stage.torrent.web_seeds(stage.at(0))[0].gone);
    assert_eq!(fetches(&stage.until(4000)), []);
}

#[test]
fn a_bad_piece_is_the_seeds_fault_and_after_the_second_it_is_banned() {
    let mut stage = Stage::empty();
    let begun = stage.web("a", 0);
    let run = fetches(&begun)[0].0;
    let came = stage.streams(run, 2, 1);
    let line = told(&stage.proves(&came, false, 1));
    assert_eq!(line, ["corrupt data from http seed - redownloading (http://a/x)"]);
    let came = stage.streams(run, 2, 1);
    let then = stage.proves(&came, false, 1);
    assert_eq!(told(&then), ["corrupt data from http seed again: 'http://a/x' is banned"]);
    assert_eq!(abandons(&then), [run]);
    assert_eq!(fetches(&stage.until(9999)), []);
}

#[test]
fn one_that_is_banned_is_told_of_once_however_much_it_has_given() {
    let mut stage = Stage::empty();
    let begun = stage.web("a", 0);
    let came = stage.streams(fetches(&begun)[0].0, 8, 1);
    assert_eq!(told(&stage.proves(&came, false, 1)).len(), 2);
}

#[test]
fn a_bad_piece_of_several_givers_is_nobodys_fault_until_one_gave_it_alone() {
    let mut stage = Stage::new(1, ".", Config::default());
    let peer = stage.joins("20.0.0.1:5", 1, 0);
    stage.has(peer, "#", 0);
    let asked = requests(&stage.hears(peer, Message::Unchoke, 0));
    stage.gives(peer, asked[0].1, 0);
    stage.hears(peer, Message::Choke, 0);
    stage.web("a", 0);
    let begun = stage.until(11);
    let run = fetches(&begun)[0].0;
    let came = stage.streams(run, 2, 11);
    let then = stage.proves(&came, false, 11);
    assert_eq!(told(&then), [""; 0]);
    assert!(!closes(&then, peer));
    // The seed gets it all alone, and is found out.
    let ended = stage.ends(run, Ok(()), 11);
    let [(run, _, 0, 1)] = fetches(&ended)[..] else { panic!("{ended:?}") };
    let came = stage.streams(run, 2, 11);
    assert_eq!(told(&stage.proves(&came, false, 11)).len(), 1);
}

#[test]
fn a_limit_holds_for_it_too_and_peers_take_the_tokens_first() {
    let config = Config { download_limit: Some(32_768), ..Config::default() };
    let mut stage = Stage::new(40, &".".repeat(40), config);
    let begun = stage.web("a", 0);
    let run = fetches(&begun)[0].0;
    let mut came = 0;
    for second in 1..=20 {
        stage.until(second);
        came += stage.streams(run, 99, second).len();
    }
    assert!((30..=42).contains(&came), "{came} blocks in 20 s at two a second");
}

#[test]
fn in_the_endgame_a_peer_helps_a_slow_seed_and_the_seed_need_not_go_on() {
    let mut stage = Stage::new(1, ".", Config::default());
    let begun = stage.web("a", 0);
    let run = fetches(&begun)[0].0;
    assert!(stage.torrent.lend(run, stage.at(0)).is_some());
    let peer = stage.joins("20.0.0.1:5", 1, 1);
    stage.has(peer, "#", 1);
    let mut asked = stage.hears(peer, Message::Unchoke, 1);
    asked.extend(stage.until(2));
    assert_eq!(requests(&asked).len(), 2, "{asked:?}");
    let all = feed(&mut stage, asked, 2);
    assert!(stage.torrent.is_complete());
    assert_eq!(abandons(&all), [run]);
}

#[test]
fn in_the_endgame_an_idle_seed_helps_a_peer_that_would_take_far_too_long() {
    let mut stage = Stage::new(1, ".", Config::default());
    let peer = stage.joins("20.0.0.1:5", 1, 0);
    stage.has(peer, "#", 0);
    assert_eq!(requests(&stage.hears(peer, Message::Unchoke, 0)).len(), 2);
    stage.web("a", 0);
    let then = stage.until(29);
    let [(run, _, 0, 1)] = fetches(&then)[..] else { panic!("{then:?}") };
    let came = stage.streams(run, 9, 29);
    assert!(came.iter().filter(|a| matches!(a, Action::Send(_, Message::Cancel(_)))).count() == 2);
    stage.proves(&came, true, 29);
    assert!(stage.torrent.is_complete());
}

#[test]
fn nothing_is_fetched_while_the_disk_takes_nothing_or_nothing_is_wanted_or_at_the_end() {
    let mut stage = Stage::empty();
    let begun = stage.web("a", 0);
    let first = fetches(&begun)[0].0;
    let now = stage.at(1);
    stage.torrent.hold(now);
    assert_eq!(abandons(&stage.says()), [first]);
    assert_eq!(fetches(&stage.until(100)), []);
    let now = stage.at(100);
    stage.torrent.go_on(now);
    let second = fetches(&stage.says())[0].0;
    stage.torrent.set_priorities(&[Priority::Off], now);
    assert_eq!(abandons(&stage.says()), [second]);
    stage.torrent.set_priorities(&[Priority::Normal], now);
    let third = fetches(&stage.says())[0].0;
    stage.torrent.stop(now);
    assert_eq!(abandons(&stage.says()), [third]);
    assert_eq!(fetches(&stage.until(999)), []);
}

#[test]
fn one_that_gives_no_parts_is_read_in_order_and_never_cut() {
    let mut stage = Stage::new(300, &".".repeat(300), Config::default());
    let begun = stage.web("a", 0);
    let [(run, ..)] = fetches(&begun)[..] else { panic!("{begun:?}") };
    let anew = stage.ends(run, Err(Failure::Undivided), 0);
    assert_eq!(told(&anew), [""; 0]);
    let [(run, _, 0, count)] = fetches(&anew)[..] else { panic!("{anew:?}") };
    // Nothing came yet: the rest of the way is long.
    assert_eq!(abandons(&stage.until(100)), [0; 0]);
    let came = stage.streams(run, 1, 100);
    assert_eq!(abandons(&stage.until(125)), [0; 0], "nor is it cut later on");
    for came in [came, stage.streams(run, 9999, 125)] {
        stage.proves(&came, true, 125);
    }
    let goes_on = stage.ends(run, Ok(()), 125);
    let [(run, _, next, _)] = fetches(&goes_on)[..] else { panic!("{goes_on:?}") };
    assert_eq!(u64::from(next), count);
    assert!(stage.torrent.lend(run, stage.at(125)).is_some());
    stage.streams(run, 1, 126);
    assert!(stage.torrent.lend(run, stage.at(126)).is_some());
    assert_eq!(abandons(&stage.until(157)), [run], "but it must not fall silent");
}

#[test]
fn of_one_that_gives_no_parts_not_much_is_thrown_away_for_what_a_peer_has() {
    let have = "#".repeat(299) + ".";
    let mut stage = Stage::new(300, &have, Config::default());
    let begun = stage.web("a", 0);
    let peer = stage.joins("20.0.0.1:5", 1, 0);
    let all = "#".repeat(300);
    stage.has(peer, &all, 0);
    let ended = stage.ends(fetches(&begun)[0].0, Err(Failure::Undivided), 0);
    assert_eq!((fetches(&ended), fetches(&stage.until(100))), (vec![], vec![]));
    stage.torrent.on_lost(peer, stage.at(100));
    let asked = stage.until(200);
    let [(_, _, 299, 1)] = fetches(&asked)[..] else { panic!("{asked:?}") };
}

#[test]
fn one_that_breaks_off_after_little_is_asked_more_and_more_seldom() {
    let have = "#".repeat(1000) + &".".repeat(400);
    let mut stage = Stage::new(1400, &have, Config::default());
    let begun = stage.web("a", 0);
    let mut asked = stage.ends(fetches(&begun)[0].0, Err(Failure::Undivided), 0);
    let (mut at, mut pauses) = (0, Vec::new());
    while pauses.len() < 4 {
        let [(run, ..)] = fetches(&asked)[..] else { panic!("{asked:?}") };
        let came = stage.streams(run, 9999, at);
        stage.proves(&came, true, at);
        let more = stage.ends(run, Ok(()), at);
        stage.fails(fetches(&more)[0].0, "it broke off", at);
        let failed_at = at;
        loop {
            at += 1;
            asked = stage.until(at);
            if !fetches(&asked).is_empty() {
                break;
            }
        }
        pauses.push(at - failed_at);
    }
    assert!(pauses[..3].iter().all(|pause| (30..=38).contains(pause)), "{pauses:?}");
    assert!((60..=76).contains(&pauses[3]), "{pauses:?}");
}
