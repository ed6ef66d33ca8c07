//! The open files of a torrent: at most [`MAX_FILES_OPEN`], the least used closed first.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;

/// How many files of one torrent are kept open. What is being sent keeps its file open beyond
/// that, until it is sent.
pub const MAX_FILES_OPEN: usize = 50;

#[derive(Debug)]
struct Handle {
    number: usize,
    writable: bool,
    file: Arc<File>,
}

/// Open files by number, the one used last at the end: with so few, looking through them from
/// there costs less than any index.
#[derive(Debug, Default)]
pub(super) struct Handles {
    open: Vec<Handle>,
    /// Files written since the last sync, whether still open or not.
    pub dirty: BTreeSet<usize>,
}

impl Handles {
    /// The open file of this number, if it is good for this use.
    pub fn get(&mut self, number: usize, write: bool) -> Option<Arc<File>> {
        let place = self.open.iter().rposition(|h| h.number == number)?;
        if write && !self.open[place].writable {
            return None;
        }
        self.open[place..].rotate_left(1);
        if write {
            self.dirty.insert(number);
        }
        self.open.last().map(|h| Arc::clone(&h.file))
    }

    /// Keeps a file that was just opened, in the place of one that could do less; if another
    /// thread came first with one as good, that one stays.
    pub fn put(&mut self, number: usize, write: bool, file: File) -> Arc<File> {
        if let Some(file) = self.get(number, write) {
            return file;
        }
        self.open.retain(|h| h.number != number);
        if self.open.len() >= MAX_FILES_OPEN {
            self.open.remove(0);
        }
        let file = Arc::new(file);
        self.open.push(Handle { number, writable: write, file: Arc::clone(&file) });
        if write {
            self.dirty.insert(number);
        }
        file
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.open.len()
    }
}
