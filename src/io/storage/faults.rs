//! Trouble on demand: calls to the file system that fail as a test wants them to.
//!
//! A [`Faults`] travels in [`Options`](super::Options), so that tests of every floor can use it.
//! The default one has no plan, and asking it is one look at a null pointer.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The kinds of calls that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Opening a file, or making it.
    Open,
    /// Reading from one.
    Read,
    /// Writing to one.
    Write,
    /// Claiming space for one.
    Claim,
    /// Locking one.
    Lock,
    /// Waiting until what was written is on the disk itself.
    Sync,
}

/// What happens to a call instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails with this error number: 5 for EIO, 13 for EACCES, 28 for ENOSPC.
    Error(i32),
    /// It reads or writes one byte only, as the system may do at any time.
    Short,
}

/// A plan of faults, shared by all its clones; by default there is none.
#[derive(Debug, Clone, Default)]
pub struct Faults(Option<Arc<Mutex<Plan>>>);

#[derive(Debug, Default)]
struct Plan {
    rules: Vec<Rule>,
    /// How many calls of each kind there were.
    seen: [usize; 6],
}

#[derive(Debug)]
struct Rule {
    call: Call,
    nth: Range<usize>,
    fault: Fault,
}

impl Faults {
    /// A plan without a fault so far. It counts the calls.
    pub fn planned() -> Faults {
        Faults(Some(Arc::default()))
    }

    /// Lets some of the calls of this kind that come from now on fail: those in `nth`, from 0.
    pub fn inject(&self, call: Call, nth: Range<usize>, fault: Fault) {
        if let Some(mut plan) = self.plan() {
            let seen = plan.count(call);
            let nth = nth.start.saturating_add(seen)..nth.end.saturating_add(seen);
            plan.rules.push(Rule { call, nth, fault });
        }
    }

    /// From now on all is well.
    pub fn clear(&self) {
        if let Some(mut plan) = self.plan() {
            plan.rules.clear();
        }
    }

    /// How many calls of this kind there were.
    pub fn count(&self, call: Call) -> usize {
        self.plan().map_or(0, |plan| plan.count(call))
    }

    /// To be asked before a call; the bytes that it may read or write, of the `length` it wants.
    pub(in crate::io) fn meet(&self, call: Call, length: usize) -> io::Result<usize> {
        let Some(mut plan) = self.plan() else { return Ok(length) };
        let n = plan.count(call);
        plan.seen[call as usize] += 1;
        match plan.rules.iter().find(|rule| rule.call == call && rule.nth.contains(&n)) {
            None => Ok(length),
            Some(Rule { fault: Fault::Short, .. }) => Ok(length.min(1)),
            Some(Rule { fault: Fault::Error(number), .. }) => {
                Err(io::Error::from_raw_os_error(*number))
            }
        }
    }

    fn plan(&self) -> Option<MutexGuard<'_, Plan>> {
        let plan = self.0.as_ref()?;
        Some(plan.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Plan {
    fn count(&self, call: Call) -> usize {
        self.seen[call as usize]
    }
}
