//! What the ledger promises, on pieces drawn as pictures.

use super::*;
use crate::proto::geometry::BLOCK_LENGTH;

const A: PeerKey = PeerKey(0);
const B: PeerKey = PeerKey(1);
const C: PeerKey = PeerKey(2);

/// Pieces of four blocks, `#` had and `.` missing; the last block of all is one byte short.
fn ledger(have: &str) -> Ledger {
    sized(have, 4)
}

fn sized(have: &str, blocks: u32) -> Ledger {
    let pieces = have.len() as u32;
    let length = blocks * BLOCK_LENGTH;
    let total = u64::from(pieces) * u64::from(length) - 1;
    let geometry = Geometry::new(length, [total]).unwrap();
    let mut bits = Bitfield::new(pieces);
    for (i, _) in have.match_indices('#') {
        bits.set(i as u32, true);
    }
    Ledger::new(Arc::new(geometry), bits)
}

/// One sign a piece: `.` missing, `-` partial, `?` being checked, `#` had.
fn pieces(ledger: &Ledger) -> String {
    ledger.check();
    let sign = |piece| match ledger.state(piece) {
        PieceState::Missing => '.',
        PieceState::Partial => '-',
        PieceState::Checking => '?',
        PieceState::Have => '#',
    };
    ledger.geometry().pieces().map(sign).collect()
}

/// One sign a block: `.` free, `a` asked of A, `*` asked of several, `A` given by A.
fn blocks(ledger: &Ledger, piece: u32) -> String {
    ledger.check();
    let piece = ledger.geometry().piece(piece).unwrap();
    let letter = |peer: PeerKey| (b'a' + peer.0 as u8) as char;
    (0..ledger.geometry().block_count(piece))
        .map(|n| match ledger.block(ledger.geometry().block(piece, n).unwrap()) {
            None | Some(Block::Free) => '.',
            Some(Block::Asked { first, more }) if more.is_empty() => letter(*first),
            Some(Block::Asked { .. }) => '*',
            Some(Block::Received(peer)) => letter(*peer).to_ascii_uppercase(),
        })
        .collect()
}

fn block(ledger: &Ledger, piece: u32, n: u32) -> BlockRef {
    let piece = ledger.geometry().piece(piece).unwrap();
    ledger.geometry().block(piece, n).unwrap()
}

/// Asks for the blocks of a piece as drawn: `ab.a` asks A, B, nobody, A.
fn ask(ledger: &mut Ledger, piece: u32, picture: &str) {
    for (n, letter) in picture.bytes().enumerate().filter(|(_, letter)| *letter != b'.') {
        let block = block(ledger, piece, n as u32);
        assert!(ledger.ask(block, PeerKey(u64::from(letter - b'a'))), "{block:?}");
    }
}

/// Receives the blocks of a piece as drawn: `AB.A`.
fn receive(ledger: &mut Ledger, piece: u32, picture: &str) {
    for (n, letter) in picture.bytes().enumerate().filter(|(_, letter)| *letter != b'.') {
        let block = block(ledger, piece, n as u32);
        let received = ledger.receive(block, PeerKey(u64::from(letter - b'A')));
        assert_ne!(received, Received::Duplicate, "{block:?}");
    }
}

fn verified(ledger: &mut Ledger, piece: u32, good: bool) -> Vec<PeerKey> {
    let piece = ledger.geometry().piece(piece).unwrap();
    ledger.verified(piece, good)
}

fn may_ask(ledger: &Ledger, piece: u32, peer: PeerKey) -> bool {
    ledger.may_ask(ledger.geometry().piece(piece).unwrap(), peer)
}

#[test]
fn a_piece_goes_from_missing_to_had() {
    let mut l = ledger("#..");
    assert_eq!((pieces(&l).as_str(), l.free_blocks()), ("#..", 8));
    assert_eq!(l.left(), 8 * u64::from(BLOCK_LENGTH) - 1);
    ask(&mut l, 1, "aab.");
    assert_eq!((pieces(&l).as_str(), l.free_blocks()), ("#-.", 5));
    receive(&mut l, 1, "AAB");
    let last = block(&l, 1, 3);
    assert!(l.ask(last, B));
    assert_eq!(l.receive(last, B), Received::New { piece_full: true });
    assert_eq!((pieces(&l).as_str(), l.partial_count()), ("#?.", 0));
    assert_eq!(l.free_blocks_of(last.piece()).next(), None);
    assert_eq!(verified(&mut l, 1, true), [A, B]);
    assert_eq!((pieces(&l).as_str(), l.left()), ("##.", 4 * u64::from(BLOCK_LENGTH) - 1));
    receive(&mut l, 2, "CCCC");
    verified(&mut l, 2, true);
    assert!(l.is_complete() && !l.all_asked() && l.left() == 0);
}

#[test]
fn free_blocks_are_handed_out_from_the_lowest() {
    let mut l = ledger("..");
    let piece = l.geometry().piece(0).unwrap();
    assert_eq!(l.free_blocks_of(piece).next(), Some(block(&l, 0, 0)));
    ask(&mut l, 0, "aaa.");
    assert_eq!(l.free_blocks_of(piece).next(), Some(block(&l, 0, 3)));
    l.unask(block(&l, 0, 1), A);
    assert_eq!(l.free_blocks_of(piece).collect::<Vec<_>>(), [block(&l, 0, 1), block(&l, 0, 3)]);
    assert_eq!(blocks(&l, 0), "a.a.");
}

#[test]
fn a_peer_that_leaves_frees_what_it_was_asked_for() {
    let mut l = ledger("...");
    ask(&mut l, 0, "aab.");
    ask(&mut l, 1, "a...");
    receive(&mut l, 0, "A...");
    assert_eq!((l.asked_count(A), l.asked_peers()), (2, 2));
    assert_eq!(l.asked_pieces(A).map(PieceIndex::get).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(l.unask_all(A), [block(&l, 0, 1), block(&l, 1, 0)]);
    assert_eq!((blocks(&l, 0).as_str(), pieces(&l).as_str()), ("A.b.", "-.."));
    assert_eq!(l.unask_all(A), []);
    l.unask(block(&l, 0, 2), C);
    assert_eq!(blocks(&l, 0), "A.b.");
}

#[test]
fn the_endgame_begins_when_nothing_is_left_to_ask() {
    let mut l = ledger("#.");
    ask(&mut l, 1, "abb.");
    assert!(!l.all_asked());
    ask(&mut l, 1, "...c");
    assert!(l.all_asked());
    ask(&mut l, 1, "b...");
    assert_eq!(blocks(&l, 1), "*bbc");
    let first = block(&l, 1, 0);
    assert_eq!(l.asked_of(first).collect::<Vec<_>>(), [A, B]);
    assert_eq!(l.asked().filter(|(_, askers)| *askers == 2).count(), 1);
    assert_eq!(l.asked().count(), 4);
    l.unask(first, A);
    assert_eq!(blocks(&l, 1), "bbbc");
    ask(&mut l, 1, "c...");
    assert_eq!(l.receive(first, C), Received::New { piece_full: false });
    assert_eq!((l.asked_count(B), l.asked_count(C)), (2, 1));
    assert_eq!(blocks(&l, 1), "Cbbc");
    assert_eq!(l.receive(first, B), Received::Duplicate);
    l.unask_all(C);
    assert!(!l.all_asked());
}

#[test]
fn what_makes_no_sense_changes_nothing() {
    let mut l = ledger("#.");
    let had = block(&l, 0, 0);
    assert!(!l.ask(had, A));
    assert_eq!(l.receive(had, A), Received::Duplicate);
    let odd = l.geometry().range(1, 1, BLOCK_LENGTH).unwrap();
    assert!(!l.ask(odd, A));
    assert_eq!(l.receive(odd, A), Received::Duplicate);
    let first = block(&l, 1, 0);
    assert!(l.ask(first, A) && !l.ask(first, A));
    l.receive(first, A);
    assert!(!l.ask(first, B));
    assert_eq!(verified(&mut l, 1, true), []);
    assert_eq!((pieces(&l).as_str(), blocks(&l, 1).as_str()), ("#-", "A..."));
}

#[test]
fn a_block_nobody_was_asked_for_is_taken_too() {
    let mut l = ledger("..");
    assert_eq!(l.receive(block(&l, 1, 2), C), Received::New { piece_full: false });
    assert_eq!((blocks(&l, 1).as_str(), l.free_blocks()), ("..C.", 7));
}

#[test]
fn a_failed_write_frees_the_block_even_while_checking() {
    let mut l = ledger("..");
    receive(&mut l, 0, "AAAA");
    l.write_failed(block(&l, 0, 2));
    assert_eq!((pieces(&l).as_str(), blocks(&l, 0).as_str()), ("-.", "AA.A"));
    assert_eq!(verified(&mut l, 0, false), []);
    for n in [0, 1, 3, 2] {
        l.write_failed(block(&l, 0, n));
    }
    assert_eq!((pieces(&l).as_str(), l.free_blocks()), ("..", 8));
}

#[test]
fn one_giver_of_a_bad_piece_is_the_culprit() {
    let mut l = ledger("..");
    receive(&mut l, 0, "BBBB");
    assert_eq!(verified(&mut l, 0, false), [B]);
    assert_eq!((pieces(&l).as_str(), l.free_blocks()), ("..", 8));
    assert!(may_ask(&l, 0, A) && l.ask(block(&l, 0, 0), A) && may_ask(&l, 0, B));
}

#[test]
fn a_bad_piece_of_several_is_fetched_again_from_one() {
    let mut l = ledger("..");
    receive(&mut l, 0, "ABAC");
    assert_eq!(verified(&mut l, 0, false), [A, B, C]);
    assert!(may_ask(&l, 0, A) && may_ask(&l, 0, B));
    ask(&mut l, 0, "bb..");
    assert!(!may_ask(&l, 0, A) && may_ask(&l, 0, B) && may_ask(&l, 1, A));
    assert!(!l.ask(block(&l, 0, 3), A));
    assert_eq!(l.receive(block(&l, 0, 3), A), Received::Duplicate);
    receive(&mut l, 0, "BBBB");
    assert_eq!(verified(&mut l, 0, false), [B]);
    assert!(may_ask(&l, 0, A));
}

#[test]
fn who_takes_over_an_exclusive_piece_starts_from_nothing() {
    let mut l = ledger("..");
    receive(&mut l, 0, "ABAB");
    verified(&mut l, 0, false);
    ask(&mut l, 0, "bb..");
    receive(&mut l, 0, "B...");
    l.unask_all(B);
    assert!(may_ask(&l, 0, A) && may_ask(&l, 0, B));
    ask(&mut l, 0, "..a.");
    assert_eq!((blocks(&l, 0).as_str(), l.free_blocks()), ("..a.", 7));
    assert!(!may_ask(&l, 0, B));
}

#[test]
fn owners_that_keep_leaving_do_not_hold_a_piece_up_for_ever() {
    let mut l = ledger("..");
    receive(&mut l, 0, "ABAB");
    verified(&mut l, 0, false);
    for owner in ["A...", ".B..", "..C.", "...A"] {
        receive(&mut l, 0, owner);
    }
    assert_eq!(blocks(&l, 0), "..CA");
    assert!(l.ask(block(&l, 0, 0), B) && l.ask(block(&l, 0, 1), C));
}

#[test]
fn a_retry_that_is_taken_away_starts_anew_and_in_the_end_is_shared() {
    let mut l = ledger("..");
    receive(&mut l, 0, "ABAB");
    verified(&mut l, 0, false);
    let piece = l.geometry().piece(0).unwrap();
    assert_eq!(l.exclusives().collect::<Vec<_>>(), [(piece, None)]);
    for round in 1..=MAX_OWNERS {
        ask(&mut l, 0, "aa..");
        receive(&mut l, 0, "A...");
        assert_eq!(l.exclusives().collect::<Vec<_>>(), [(piece, Some(A))]);
        assert!(!may_ask(&l, 0, B));
        l.disown(piece);
        let kept = if round < MAX_OWNERS { "...." } else { "A..." };
        assert_eq!(blocks(&l, 0), kept);
        assert!(may_ask(&l, 0, B) && l.asked_count(A) == 0);
    }
    assert_eq!(l.exclusives().count(), 0);
}

#[test]
fn the_lead_stays_with_a_piece_while_something_is_outstanding() {
    let mut l = ledger("..");
    let piece = l.geometry().piece(0).unwrap();
    assert_eq!(l.lead(piece), None);
    ask(&mut l, 0, "ab..");
    assert_eq!(l.lead(piece), Some(A));
    receive(&mut l, 0, "A...");
    assert_eq!((l.lead(piece), l.last_lead(piece)), (None, Some(A)));
    ask(&mut l, 0, "..b.");
    assert_eq!(l.lead(piece), Some(B));
}

#[test]
fn a_piece_of_the_largest_size_is_kept_block_by_block() {
    let mut l = sized("..", 8192);
    let piece = l.geometry().piece(0).unwrap();
    for block in l.free_blocks_of(piece).collect::<Vec<_>>() {
        assert!(l.ask(block, A));
        l.receive(block, A);
    }
    assert_eq!(pieces(&l), "?.");
    assert_eq!(verified(&mut l, 0, true), [A]);
}

fn wants(ledger: &mut Ledger, picture: &str) -> Vec<(PeerKey, BlockRef)> {
    let mut wanted = Bitfield::new(picture.len() as u32);
    for (i, _) in picture.match_indices('w') {
        wanted.set(i as u32, true);
    }
    ledger.set_wanted(wanted)
}

#[test]
fn what_is_not_wanted_is_not_asked_for_and_not_waited_for() {
    let mut l = ledger("#...");
    wants(&mut l, ".w..");
    assert_eq!((l.free_blocks(), l.left_wanted()), (4, 4 * u64::from(BLOCK_LENGTH)));
    assert!(!l.ask(block(&l, 2, 0), A));
    assert_eq!(l.receive(block(&l, 2, 0), A), Received::Duplicate);
    assert_eq!(l.free_blocks_of(l.geometry().piece(2).unwrap()).next(), None);
    ask(&mut l, 1, "aaaa");
    assert!(l.all_asked() && !l.is_done());
    receive(&mut l, 1, "AAAA");
    verified(&mut l, 1, true);
    assert!(l.is_done() && !l.is_complete() && !l.all_asked());
    assert_eq!((l.left_wanted(), l.left()), (0, 8 * u64::from(BLOCK_LENGTH) - 1));
    wants(&mut l, "wwww");
    assert!(!l.is_done());
    assert_eq!((l.free_blocks(), l.left_wanted()), (8, l.left()));
}

#[test]
fn a_started_piece_that_is_put_off_keeps_what_came() {
    let mut l = ledger("...");
    ask(&mut l, 0, "abb.");
    ask(&mut l, 1, "a...");
    receive(&mut l, 0, "A...");
    let dropped = wants(&mut l, ".ww");
    assert_eq!(dropped, [(B, block(&l, 0, 1)), (B, block(&l, 0, 2))]);
    assert_eq!((l.partial_count(), l.asked_count(B), l.free_blocks()), (1, 0, 7));
    wants(&mut l, "www");
    assert_eq!((blocks(&l, 0).as_str(), l.partial_count(), l.free_blocks()), ("A...", 2, 10));
}

#[test]
fn a_piece_put_off_while_its_hash_is_taken_is_had_or_missing() {
    for good in [true, false] {
        let mut l = ledger("..");
        receive(&mut l, 0, "AAAA");
        assert_eq!(wants(&mut l, ".w"), []);
        assert_eq!(pieces(&l), "?.");
        verified(&mut l, 0, good);
        assert_eq!(pieces(&l), if good { "#." } else { ".." });
        assert_eq!(l.free_blocks(), 4);
    }
    let mut l = ledger("..");
    receive(&mut l, 0, "AAAA");
    wants(&mut l, ".w");
    l.write_failed(block(&l, 0, 1));
    assert_eq!((pieces(&l).as_str(), l.free_blocks()), ("-.", 4));
}

#[test]
fn any_order_of_events_keeps_the_books_right() {
    for seed in 0..60 {
        let mut rng = crate::logic::rng::Rng::new(seed);
        let mut l = ledger(".#...");
        for _ in 0..400 {
            let b = block(&l, rng.below(5), rng.below(4));
            let peer = PeerKey(u64::from(rng.below(3)));
            match rng.below(13) {
                12 => {
                    let mut wanted = Bitfield::full(5);
                    wanted.set(rng.below(5), false);
                    wanted.set(rng.below(5), false);
                    l.set_wanted(wanted);
                }
                0..5 => drop(l.ask(b, peer)),
                5..8 => drop(l.receive(b, peer)),
                8 => l.unask(b, peer),
                9 => drop(l.unask_all(peer)),
                10 if rng.below(4) == 0 => l.disown(b.piece()),
                10 => l.write_failed(b),
                _ => drop(l.verified(b.piece(), rng.below(4) == 0)),
            }
            l.check();
        }
    }
}
