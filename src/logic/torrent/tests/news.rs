//! What is told of pieces that came, to whom, and how often.

use super::*;

const GAP: Duration = Duration::from_millis(250);

impl Stage {
    fn gets(&mut self, n: u32, at: Instant) {
        let piece = self.geometry.piece(n).unwrap();
        let giver = PeerKey::DISK;
        for block in 0..2 {
            self.torrent.ledger.ask(self.block(n, block), giver);
            self.torrent.ledger.receive(self.block(n, block), giver);
        }
        self.torrent.on_verified(piece, true, at);
    }

    fn news(&mut self, at: Instant) -> Vec<(PeerKey, Vec<u32>)> {
        let news = self.torrent.take_news(GAP, at).into_iter();
        news.map(|(key, pieces)| (key, pieces.iter().map(|p| p.get()).collect())).collect()
    }
}

#[test]
fn a_piece_is_told_once_to_each_who_lacks_it() {
    let mut stage = Stage::empty();
    let start = stage.start;
    let a = stage.joins("20.0.0.1:5", 1, 0);
    let has_it = stage.joins("20.0.0.2:5", 2, 0);
    stage.has(has_it, ".#..", 0);
    stage.gets(1, start);
    assert!(stage.says().iter().any(|a| matches!(a, Action::News)));
    stage.gets(2, start);
    // Its first words tell of both.
    let late = stage.joins("20.0.0.3:5", 3, 0);
    assert_eq!(stage.news(start), [(a, vec![1, 2]), (has_it, vec![2])]);
    assert!(!stage.torrent.has_news());
    stage.gets(3, start);
    let told = stage.news(start + GAP);
    assert_eq!(told, [(a, vec![3]), (has_it, vec![3]), (late, vec![3])]);
}

#[test]
fn who_may_ask_is_told_at_once_and_others_when_the_time_comes() {
    let mut stage = Stage::empty();
    let start = stage.start;
    let idle = stage.joins("20.0.0.1:5", 1, 0);
    let served = stage.joins("20.0.0.2:5", 2, 0);
    stage.gets(0, start);
    assert_eq!(stage.news(start).len(), 2);
    stage.hears(served, Message::Interested, 0);
    stage.until(1);
    assert!(!stage.torrent.session(served).unwrap().choking);
    stage.gets(1, start);
    assert_eq!(stage.news(start), [(served, vec![1])]);
    assert!(stage.torrent.has_news());
    stage.gets(2, start);
    assert_eq!(stage.news(start + GAP), [(idle, vec![1, 2]), (served, vec![2])]);
    assert!(!stage.torrent.has_news());
}
