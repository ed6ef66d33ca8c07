//! Pieces that are had, told to those who lack them.
//!
//! Each piece is to be told to each of some hundred peers, and in a fast download pieces come by
//! the hundred a second. So what came is kept once, in order, each session remembers how far it was
//! told, and whoever sends takes for each peer all that is new to it at once.

use super::{Action, Torrent};
use crate::logic::PeerKey;
use crate::proto::geometry::PieceIndex;
use std::time::{Duration, Instant};

/// The pieces that came, as far as somebody was not told yet; as many as there are at most, but
/// for those that were lost and came again.
#[derive(Debug, Default)]
pub(super) struct News {
    pieces: Vec<PieceIndex>,
    /// So many came before them.
    before: u64,
}

impl News {
    /// How many pieces have come.
    pub(super) fn end(&self) -> u64 {
        self.before + self.pieces.len() as u64
    }

    /// Those behind the first `told`.
    fn since(&self, told: u64) -> &[PieceIndex] {
        let skip = usize::try_from(told.saturating_sub(self.before)).unwrap_or(usize::MAX);
        self.pieces.get(skip..).unwrap_or_default()
    }
}

impl Torrent {
    /// A piece is had now; `lacked`: and it was wanted.
    pub(super) fn on_piece(&mut self, piece: PieceIndex, lacked: bool, now: Instant) {
        let mut useless = Vec::new();
        for (key, peer) in self.peers.iter_mut() {
            let Some(session) = peer.session_mut() else { continue };
            if lacked && session.have.get(piece.get()) {
                session.useful -= 1;
                if session.useful == 0 {
                    useless.push(*key);
                }
            }
        }
        for key in useless {
            self.tell_interest(key, now);
        }
        if self.news.pieces.is_empty() {
            self.actions.push_back(Action::News);
        }
        self.news.pieces.push(piece);
    }

    /// The pieces that each peer lacks and is to be told of now by a `have`. Who may ask for
    /// nothing yet, or wants nothing, is told no oftener than every `gap`: to be asked again as
    /// long as there [is something left](Self::has_news).
    pub fn take_news(&mut self, gap: Duration, now: Instant) -> Vec<(PeerKey, Vec<PieceIndex>)> {
        let (end, had) = (self.news.end(), self.ledger.have());
        let (mut told, mut least) = (Vec::new(), end);
        for (key, peer) in self.peers.iter_mut() {
            let Some(session) = peer.session_mut() else { continue };
            let is_served = !session.choking && session.wanting;
            let next = session.told_at.map(|at| at + gap).filter(|_| !is_served);
            if session.told < end && next.is_some_and(|at| at > now) {
                least = least.min(session.told);
                continue;
            }
            let new = self.news.since(session.told).iter();
            let is_new =
                |piece: &&PieceIndex| !session.have.get(piece.get()) && had.get(piece.get());
            let pieces: Vec<PieceIndex> = new.filter(is_new).copied().collect();
            session.told = end;
            if !pieces.is_empty() {
                session.told_at = Some(now);
                peer.said = now;
                told.push((*key, pieces));
            }
        }
        let known = usize::try_from(least - self.news.before).unwrap_or(usize::MAX);
        if known == self.news.pieces.len() {
            self.news.pieces.clear();
            self.news.before = end;
        }
        told
    }

    /// Whether somebody may not have been told of a piece yet.
    pub fn has_news(&self) -> bool {
        !self.news.pieces.is_empty()
    }
}
