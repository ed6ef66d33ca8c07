//! What of a torrent is on disk already: hashed on all cores before peers may come.

use super::Event;
use crate::io::hasher::{Hasher, threads};
use crate::io::mailbox::Post;
use crate::io::storage::{DiskError, Storage};
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::Geometry;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// So many steps of progress are told at most.
const STEPS: u32 = 200;

/// What the check needs to know.
pub(super) struct Check {
    pub storage: Arc<Storage>,
    pub geometry: Arc<Geometry>,
    pub hashes: Arc<[[u8; 20]]>,
    /// Set by anybody: the check then ends soon and tells nothing.
    pub stop: Arc<AtomicBool>,
}

/// Starts the check on a thread of its own, which posts its progress and its result.
///
/// # Errors
/// The system has no thread for us.
pub(super) fn start(check: Check, post: Post<Event>) -> io::Result<()> {
    std::thread::Builder::new().name("check".into()).spawn(move || run(&check, &post))?;
    Ok(())
}

fn run(check: &Check, post: &Post<Event>) {
    let geometry = &check.geometry;
    let count = geometry.piece_count();
    let step = count.div_ceil(STEPS).max(1);
    let mut have = Bitfield::new(count);
    let mut failure: Option<DiskError> = None;
    let mut done = 0;
    let hasher = Hasher { geometry, threads: threads(), stop: &check.stop };
    let read = |range, buffer: &mut [u8]| check.storage.read(range, buffer);
    hasher.run(geometry.pieces(), read, |piece, result| {
        match result {
            Ok(hash) => {
                have.set(piece.get(), hash == check.hashes[piece.at()]);
            }
            // Not there, or not yet so long: that is what a download is for.
            Err(e) if e.is_absent() => {}
            Err(e) => {
                check.stop.store(true, Ordering::Relaxed);
                failure = Some(e);
            }
        }
        done += 1;
        if done % step == 0 {
            post.send(Event::Checked(done));
        }
    });
    match failure {
        Some(e) => post.send(Event::CheckEnded(Err(e.to_string()))),
        None if done == count => post.send(Event::CheckEnded(Ok(have))),
        None => true,
    };
}
