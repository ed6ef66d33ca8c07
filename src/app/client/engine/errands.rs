//! Work that takes its time, on threads of its own that end with it: few at a time for all
//! torrents together, in the order in which it came.

use super::Work;
use crate::app::client::check::{self, Thorough};
use crate::app::client::{Event, News, TorrentId, claim};
use crate::io::mailbox::Post;
use crate::io::reason;
use crate::proto::geometry::PieceIndex;
use crate::proto::sorted;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Errands of different kinds do not wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::app::client) enum Kind {
    /// Looks at what is on disk, as far as that is quick.
    Look,
    /// Hashes what is on disk.
    Check,
    /// Hashes a file that somebody else has changed.
    CheckAgain,
    /// Hashes all the data, because the user wishes it.
    Recheck,
    /// Claims the space without which a torrent does not begin.
    Claim,
    /// Claims space beside the download.
    ClaimAlong,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Errand {
    Look,
    Check,
    CheckAgain(usize, Vec<PieceIndex>),
    Recheck,
    Claim,
    ClaimAlong,
}

impl Errand {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Errand::Look => Kind::Look,
            Errand::Check => Kind::Check,
            Errand::CheckAgain(..) => Kind::CheckAgain,
            Errand::Recheck => Kind::Recheck,
            Errand::Claim => Kind::Claim,
            Errand::ClaimAlong => Kind::ClaimAlong,
        }
    }
}

/// For the thread of an errand: whose it is, and the way back.
pub(in crate::app::client) struct Errant {
    id: TorrentId,
    post: Post<Event>,
    kind: Kind,
    begun: bool,
}

impl Errant {
    /// To be called on its thread: from now on its end is told, however it ends.
    pub(in crate::app::client) fn begin(&mut self) {
        self.begun = true;
    }

    /// Tells the torrent, unless `stop` is set; waits while the mailbox is full.
    pub(in crate::app::client) fn tell_unless(&self, stop: &AtomicBool, news: News) {
        self.post.queue(Event::Of(self.id, news), stop);
        self.post.ring();
    }

    /// Tells the torrent; waits while the mailbox is full.
    pub(in crate::app::client) fn tell(&self, news: News) {
        self.post.send(Event::Of(self.id, news));
    }
}

impl Drop for Errant {
    fn drop(&mut self) {
        if self.begun {
            self.post.send(Event::Over(self.kind));
        }
    }
}

/// Those that are under way, one of each kind, and those that wait.
#[derive(Debug, Default)]
pub(super) struct Errands {
    running: sorted::Map<Kind, TorrentId>,
    waiting: VecDeque<(TorrentId, Errand)>,
}

impl Errands {
    pub(super) fn add(&mut self, id: TorrentId, errand: Errand) {
        self.waiting.push_back((id, errand));
    }

    /// One has ended: its thread is gone.
    pub(super) fn on_over(&mut self, kind: Kind) {
        self.running.remove(&kind);
    }

    /// A torrent has gone, and with it what waits for it.
    pub(super) fn forget(&mut self, id: TorrentId) {
        self.waiting.retain(|(other, _)| *other != id);
    }

    /// Whether nothing is done or waits that keeps a check from beginning at once.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.running.contains_key(&Kind::Check)
    }

    /// The next one that can be begun.
    pub(super) fn next(&mut self) -> Option<(TorrentId, Errand)> {
        let is_free = |(_, errand): &(_, Errand)| !self.running.contains_key(&errand.kind());
        let n = self.waiting.iter().position(is_free)?;
        let (id, errand) = self.waiting.remove(n)?;
        self.running.insert(errand.kind(), id);
        Some((id, errand))
    }

    /// Whether this torrent waits for its turn to be hashed.
    pub(super) fn waits_for_check(&self, id: TorrentId) -> bool {
        let is_its = |(other, errand): &(_, Errand)| {
            *other == id && matches!(errand, Errand::Look | Errand::Check)
        };
        self.waiting.iter().any(is_its)
    }
}

impl Work<'_> {
    /// Has something done, as soon as it can be.
    pub(super) fn send_on(&mut self, errand: Errand) {
        if self.own.ending.is_none() {
            self.hub.errands.add(self.own.id, errand);
        }
    }

    /// Begins an errand, whose turn it is.
    pub(super) fn begin(&mut self, errand: Errand, now: Instant) {
        let kind = errand.kind();
        let errant = Errant { id: self.own.id, post: self.hub.post.clone(), kind, begun: false };
        if let Err(e) = self.spawn(errand, errant) {
            self.hub.errands.on_over(kind);
            self.end(Some(format!("cannot start a thread: {}", reason(&e))), now);
        }
    }

    fn spawn(&mut self, errand: Errand, errant: Errant) -> io::Result<()> {
        match errand {
            Errand::Look => check::start(self.own.check(), Thorough::No, errant),
            Errand::Check => check::start(self.own.check(), Thorough::Yes, errant),
            Errand::CheckAgain(file, pieces) => {
                check::again(self.own.check(), file, pieces, errant)
            }
            Errand::Recheck => check::whole(self.own.check(), errant),
            Errand::Claim | Errand::ClaimAlong => {
                let (storage, stop) = (Arc::clone(&self.own.storage), Arc::clone(&self.own.stop));
                claim::start(storage, stop, errant)
            }
        }
    }
}
