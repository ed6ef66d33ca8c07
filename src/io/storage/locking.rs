//! Locks on open files, so that two programs do not write the same ones. Nothing here ever waits
//! for another program: a lock that is taken is an error.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Call, Faults, Locks};
use crate::io::sys;

/// What is to be locked, and what came of it.
#[derive(Debug)]
pub(super) struct Locking {
    locks: Locks,
    /// Held from before a file that is to be locked is opened until it is in the table of open
    /// files: two of our own threads would lock each other out.
    turn: Mutex<()>,
    /// There are no locks where the files lie: none is tried again.
    gone: AtomicBool,
    /// Nobody has been told so yet.
    untold: AtomicBool,
}

impl Locking {
    pub fn new(locks: Locks) -> Locking {
        let (gone, untold) = Default::default();
        Locking { locks, turn: Mutex::new(()), gone, untold }
    }

    /// Waits for the turn to open a file, if it is one to be locked.
    pub fn turn(&self, write: bool) -> Option<MutexGuard<'_, ()>> {
        let wanted = match self.locks {
            Locks::None => false,
            Locks::Written => write,
            Locks::All => true,
        };
        let turn = || self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        (wanted && !self.gone.load(Ordering::Relaxed)).then(turn)
    }

    /// Locks a file; `false` if there are no locks here.
    pub fn lock(&self, file: &File, write: bool, faults: &Faults) -> io::Result<bool> {
        match faults.meet(Call::Lock, 0).and_then(|_| sys::lock(file, !write)) {
            Ok(true) => Ok(true),
            Ok(false) => Err(io::Error::other("another program has locked it")),
            Err(error) if sys::has_no_locks(&error) => {
                self.gone.store(true, Ordering::Relaxed);
                self.untold.store(true, Ordering::Relaxed);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether there turned out to be no locks; says so once.
    pub fn has_failed(&self) -> bool {
        self.untold.load(Ordering::Relaxed) && self.untold.swap(false, Ordering::Relaxed)
    }
}
