//! What the descriptors that the system allows us are spent on.
//!
//! Everything that opens one has its part, and keeps to it, so that nothing has to go without:
//! where few are allowed there are fewer peers and files, and no refusals.

use super::engine::FETCH_THREADS;
use crate::io::sys;

/// Where nobody can say how many descriptors are open.
const UNKNOWN: usize = 20;

/// What is opened for good later: sockets of the hash table, of UDP trackers, of neighbours and of
/// the gateway, the folder of the files, the file aside.
const LATER: usize = 4;

/// What is open for a moment: a saved state, a file's folders on the way to it, one file for each
/// thread that reads or writes whatever else is open.
const PASSING: usize = 4;

/// The parts of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    /// Open files.
    pub files: usize,
    /// Connections of peers.
    pub peers: usize,
    /// Connections of those who have not said what they want.
    pub strangers: usize,
    /// Far ends of streams over UDP.
    pub streams: usize,
    /// Threads that ask trackers.
    pub fetchers: usize,
}

impl Budget {
    /// Of what is allowed now, with what is open already.
    pub(super) fn now() -> Budget {
        let allowed = usize::try_from(sys::raise_descriptor_limit()).unwrap_or(usize::MAX);
        Budget::of(allowed, sys::open_descriptors().unwrap_or(UNKNOWN))
    }

    fn of(allowed: usize, open: usize) -> Budget {
        let free = allowed.saturating_sub(open + LATER + PASSING);
        let fetchers = (free / 8).clamp(1, FETCH_THREADS);
        let free = free.saturating_sub(fetchers);
        // A stream has two descriptors, of which one counts as a connection. Where they are few
        // peers are met by TCP.
        let (strangers, streams) = ((free / 8).max(2), free / 16);
        let files = (free / 4 + 1).max(2);
        let peers = free.saturating_sub(files + strangers + streams).max(2);
        Budget { files, peers, strangers, streams, fetchers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_spent_than_there_is() {
        for allowed in 32..5_000 {
            let budget = Budget::of(allowed, 14);
            let Budget { files, peers, strangers, streams, fetchers } = budget;
            let spent = files + peers + strangers + streams + fetchers;
            assert!(spent + 14 + LATER + PASSING <= allowed, "{allowed}: {budget:?}");
        }
    }

    #[test]
    fn however_little_there_is_all_have_something() {
        for allowed in [0, 10, 32] {
            let budget = Budget::of(allowed, 14);
            assert!(budget.peers >= 2 && budget.files >= 2 && budget.fetchers > 0, "{budget:?}");
        }
        assert!(Budget::of(usize::MAX, 14).peers > 1_000_000);
    }
}
