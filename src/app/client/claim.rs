//! Space for the files, before peers come or while they do: on a thread of its own, since a file
//! system may take its time.

use super::News;
use super::engine::Errant;
use crate::io::storage::{Allocation, CLAIM, DiskError, Storage};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// In the background space is claimed so often.
const EVERY: Duration = Duration::from_millis(500);

/// So many steps of progress are told at most.
const STEPS: u64 = 200;

/// Whether peers have to wait until the files have their length or space.
pub(super) fn comes_first(storage: &Storage) -> bool {
    matches!(storage.options().allocation, Allocation::Sparse | Allocation::Full)
}

/// Whether space is to be claimed while peers come.
pub(super) fn goes_along(storage: &Storage) -> bool {
    matches!(storage.options().allocation, Allocation::Background { .. })
}

/// Starts the thread, which tells its progress and its result. Once `stop` is set by anybody it
/// ends soon and tells nothing.
///
/// # Errors
/// The system has no thread for us.
pub(super) fn start(
    storage: Arc<Storage>,
    stop: Arc<AtomicBool>,
    mut errant: Errant,
) -> io::Result<()> {
    let work = move || {
        errant.begin();
        if let Some(result) = run(&storage, &stop, &errant) {
            errant.tell(News::ClaimEnded(result));
        }
    };
    std::thread::Builder::new().name("claim".into()).spawn(work).map(drop)
}

fn run(storage: &Storage, stop: &AtomicBool, errant: &Errant) -> Option<Result<(), DiskError>> {
    let pace = match storage.options().allocation {
        Allocation::Background { rate } => Some(rate),
        _ => None,
    };
    let limit = pace.map_or(CLAIM, |rate| rate.div_ceil(2).min(CLAIM));
    let total = storage.geometry().total();
    let (mut settled, mut told) = (0, 0);
    let mut steps = storage.allocate();
    while let Some(step) = steps.step(limit) {
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        match step {
            Ok(bytes) => settled += bytes,
            Err(e) => return Some(Err(e)),
        }
        if settled - told > total / STEPS {
            told = settled;
            errant.tell(News::Claimed(settled as f64 / total as f64));
        }
        if pace.is_some() {
            std::thread::sleep(EVERY);
        }
    }
    Some(Ok(()))
}
