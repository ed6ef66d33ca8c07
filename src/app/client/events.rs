//! What reaches the reactor's thread from others: from workers through the mailbox, and from
//! whoever uses a [`Session`](super::Session).

use super::check::Found;
use super::session::{Newcomer, TorrentId};
use super::state::Saved;
use super::{Call, Look, engine};
use crate::io::disk;
use crate::io::fetch::{self, stream::Streamed};
use crate::io::gateway;
use crate::io::hook;
use crate::io::lookup;
use crate::io::storage::DiskError;
use crate::logic::priority::Priority;
use crate::proto::geometry::PieceIndex;
use crate::proto::resume::client::Stamp;

/// What reaches the reactor's thread from others.
pub(super) enum Event {
    /// A torrent comes into the session.
    Add(Box<Newcomer>),
    /// This one is to end.
    Remove(TorrentId),
    /// Whoever fetches the reports is called.
    Called(Call),
    /// All torrents are to show something.
    LookAtAll(Look),
    /// Something about one torrent.
    Of(TorrentId, News),
    Disk(disk::Answer),
    Fetch(fetch::Done),
    Streamed(Streamed),
    LookedUp(lookup::LookedUp),
    Exchanged(gateway::Exchanged),
    Hook(hook::Done),
    /// An errand of this kind has ended.
    Over(engine::Kind),
    /// The nodes that are known were written down.
    Remembered,
    Stop,
}

/// What reaches one torrent: what became of its errands, and what users wish.
pub(super) enum News {
    /// So many pieces have been looked at.
    Checked(u32),
    /// There is data that has to be hashed before it is known what is there.
    CheckDue,
    /// What the check has to say to the user.
    CheckNotice(String),
    /// What is there, or why it could not be read.
    CheckEnded(Result<Box<Found>, DiskError>),
    /// A piece was checked again: whether it is good.
    CheckedAgain(PieceIndex, bool),
    /// All pieces of this file were, and how it looked before.
    CheckAgainEnded(usize, Option<Stamp>),
    /// So much of the space is claimed, 0 to 1.
    Claimed(f64),
    /// All of it is, or why it is not.
    ClaimEnded(Result<(), DiskError>),
    /// What became of a snapshot.
    Saved(Saved),
    Look(Look),
    /// The files are to be wanted so much.
    Wish(Vec<Priority>),
    /// It is to rest, or to go on.
    Pause(bool),
    /// Upload and download are to be limited so.
    Limit(Option<u64>, Option<u64>),
    /// All the data is to be looked at again.
    Recheck,
    /// A piece was, at the user's wish: whether it is good.
    Rechecked(PieceIndex, bool),
    /// All pieces were.
    RecheckEnded,
}

impl From<disk::Answer> for Event {
    fn from(answer: disk::Answer) -> Event {
        Event::Disk(answer)
    }
}

impl From<lookup::LookedUp> for Event {
    fn from(found: lookup::LookedUp) -> Event {
        Event::LookedUp(found)
    }
}

impl From<gateway::Exchanged> for Event {
    fn from(exchanged: gateway::Exchanged) -> Event {
        Event::Exchanged(exchanged)
    }
}

impl From<hook::Done> for Event {
    fn from(done: hook::Done) -> Event {
        Event::Hook(done)
    }
}

impl From<Streamed> for Event {
    fn from(streamed: Streamed) -> Event {
        Event::Streamed(streamed)
    }
}

impl From<fetch::Done> for Event {
    fn from(done: fetch::Done) -> Event {
        Event::Fetch(done)
    }
}
