//! Damaged talk, through framer and torrent together: nothing panics, and what must hold holds.

use super::*;
use crate::logic::rng::Rng;
use crate::proto::wire::{Framer, Incoming, Limits, Next, Pool, handshake};

/// A conversation with a peer that has much to say.
fn talk(stage: &Stage) -> Vec<u8> {
    let mut bytes = handshake(HASH, PeerId([3; 20])).to_vec();
    let piece = |n| stage.geometry.piece(n).unwrap();
    let mut bits = Bitfield::new(4);
    bits.set(1, true);
    let mut messages = vec![Message::Bitfield(bits), Message::Interested, Message::Unchoke];
    messages.push(Message::Extended(Box::default()));
    for n in 0..4 {
        let block = stage.block(n, n % 2);
        messages.extend([Message::Have(piece(n)), Message::Request(block)]);
        messages.extend([Message::AllowedFast(piece(n)), Message::Choke, Message::Cancel(block)]);
        messages.extend([Message::Piece { block, data: vec![7; 16_384] }, Message::Unchoke]);
        messages.extend([Message::Reject(block), Message::Suggest(piece(n)), Message::HaveAll]);
    }
    messages.iter().for_each(|m| m.encode_to(&mut bytes));
    bytes
}

fn play(stage: &mut Stage, bytes: &[u8], cut: usize) {
    let now = stage.at(1);
    let key = stage.torrent.on_incoming("20.0.0.1:5".parse().unwrap(), false, now).unwrap();
    let (mut framer, mut pool) = (Framer::new(), Pool::new(8));
    framer.attach(Arc::clone(&stage.geometry), Limits::default());
    for mut portion in bytes.chunks(cut) {
        loop {
            match framer.next_if(&mut pool, |block| stage.torrent.expects(key, block)) {
                Ok(Next::Got(Incoming::Hello(hello))) => stage.torrent.on_hello(key, hello, now),
                Ok(Next::Got(Incoming::Id(id))) => stage.torrent.on_peer_id(key, id, now),
                Ok(Next::Got(Incoming::Message(m))) => stage.torrent.on_message(key, m, now),
                Ok(Next::Got(Incoming::Unasked(b))) => stage.torrent.on_unasked(key, b, now),
                Ok(Next::NoBuffer) => panic!("a buffer was lost"),
                Err(fault) => {
                    stage.torrent.on_fault(key, fault, now);
                    stage.says();
                    return;
                }
                Ok(Next::More) if portion.is_empty() => break,
                Ok(Next::More) => {
                    let (a, b) = framer.space();
                    let first = a.len().min(portion.len());
                    let second = b.len().min(portion.len() - first);
                    a[..first].copy_from_slice(&portion[..first]);
                    b[..second].copy_from_slice(&portion[first..first + second]);
                    framer.filled(first + second);
                    portion = &portion[first + second..];
                }
            }
            for action in stage.says() {
                match action {
                    Action::Recycle(data) | Action::Write(_, data) => pool.give(data),
                    Action::Verify(piece) => stage.torrent.on_verified(piece, true, now),
                    Action::SendBlock(key, block) => stage.torrent.on_block_sent(key, block, now),
                    _ => {}
                }
            }
        }
    }
    stage.until(400);
}

#[test]
fn damaged_talk_never_panics_nor_loses_a_buffer() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let have = ["....", "#..#", "####"][rng.below(3) as usize];
        let mut stage = Stage::new(4, have, Config::default());
        let mut bytes = talk(&stage);
        for _ in 0..rng.below(6) {
            // Most of the bytes are those of blocks, so half of the damage goes to the beginning.
            let span = if rng.below(2) == 0 { bytes.len() } else { 300 };
            let at = 48 + rng.below(span as u32 - 48) as usize;
            bytes[at] = rng.next_u64() as u8 & if rng.below(2) == 0 { 0xff } else { 31 };
        }
        let cut = 1 + rng.below(20_000) as usize;
        play(&mut stage, &bytes, cut);
    }
}
