//! The open files of a torrent, the least used closed first.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::sync::Arc;

use crate::io::sys;

/// How many files of one torrent are kept open by default, as in BitTornado.
pub const MAX_FILES_OPEN: usize = 50;

/// A torrent may use this part of the descriptors that the system allows us; the rest is for
/// peers, trackers and ourselves.
const SHARE: u64 = 4;

#[derive(Debug)]
struct Handle {
    writable: bool,
    locked: bool,
    file: Arc<File>,
    /// When it was used last, by the table's own count.
    used: u64,
}

/// Open files by number.
#[derive(Debug)]
pub(super) struct Handles {
    open: HashMap<usize, Handle>,
    uses: u64,
    limit: usize,
    /// Files written since the last sync, whether still open or not.
    pub dirty: BTreeSet<usize>,
}

impl Handle {
    /// A lock ends here even if somebody still sends from the file: it would be in our own way
    /// when the file is opened again.
    fn close(self) {
        if self.locked && Arc::strong_count(&self.file) > 1 {
            sys::unlock(&self.file);
        }
    }
}

/// A file that was just opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub file: File,
    pub writable: bool,
    pub locked: bool,
}

impl Handles {
    /// A table of at most `limit` files together with `others` that are open beside it, 0 for no
    /// limit; never more than our share of what the system allows.
    pub fn new(limit: usize, others: usize) -> Handles {
        let allowed = (sys::descriptor_limit() / SHARE).max(2);
        let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
        let limit = if limit == 0 { allowed } else { limit.min(allowed) };
        let limit = limit.saturating_sub(others).max(1);
        Handles { open: HashMap::new(), uses: 0, limit, dirty: BTreeSet::new() }
    }

    /// One more file is open beside those of the table from now on.
    pub fn share(&mut self) {
        self.limit = self.limit.saturating_sub(1).max(1);
    }

    /// The open file of this number, if it is good for this use.
    pub fn get(&mut self, number: usize, write: bool) -> Option<Arc<File>> {
        let handle = self.open.get_mut(&number)?;
        if write && !handle.writable {
            return None;
        }
        self.uses += 1;
        handle.used = self.uses;
        if write {
            self.dirty.insert(number);
        }
        Some(Arc::clone(&handle.file))
    }

    /// Closes the file of this number.
    pub fn close(&mut self, number: usize) {
        if let Some(handle) = self.open.remove(&number) {
            handle.close();
        }
    }

    /// Makes room for a file that is about to be opened.
    pub fn make_room(&mut self) {
        while self.open.len() >= self.limit {
            self.close_one();
        }
    }

    /// Keeps a file that was just opened, in the place of one that could do less; if another
    /// thread came first with one as good, that one stays.
    pub fn put(&mut self, number: usize, opened: Opened) -> Arc<File> {
        let Opened { file, writable, locked } = opened;
        if let Some(file) = self.get(number, writable) {
            return file;
        }
        self.close(number);
        self.make_room();
        let file = Arc::new(file);
        self.uses += 1;
        let handle = Handle { writable, locked, file: Arc::clone(&file), used: self.uses };
        self.open.insert(number, handle);
        if writable {
            self.dirty.insert(number);
        }
        file
    }

    /// Closes all files, as far as nobody uses them at this moment.
    pub fn close_all(&mut self) {
        self.open.drain().for_each(|(_, handle)| handle.close());
    }

    /// Closes the files that are open for writing.
    pub fn close_written(&mut self) {
        let open = std::mem::take(&mut self.open).into_iter();
        let (written, others): (HashMap<_, _>, _) = open.partition(|(_, handle)| handle.writable);
        self.open = others;
        written.into_values().for_each(Handle::close);
    }

    /// Closes the file used longest ago. One that is being sent or read would stay open whatever
    /// is done here, so it is the last choice.
    fn close_one(&mut self) {
        let in_use = |handle: &Handle| Arc::strong_count(&handle.file) > 1;
        let oldest = self.open.iter().min_by_key(|(_, handle)| (in_use(handle), handle.used));
        if let Some(number) = oldest.map(|(number, _)| *number) {
            self.close(number);
        }
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(writable: bool) -> Opened {
        Opened { file: File::open("/dev/null").unwrap(), writable, locked: false }
    }

    #[test]
    fn the_least_used_file_is_closed_unless_somebody_uses_it() {
        let mut handles = Handles::new(3, 0);
        let used = handles.put(0, file(false));
        for number in [1, 2] {
            handles.put(number, file(false));
        }
        handles.get(1, false);
        handles.put(3, file(true));
        let open: BTreeSet<usize> = handles.open.keys().copied().collect();
        assert_eq!(open, BTreeSet::from([0, 1, 3]));
        drop(used);
        handles.put(4, file(false));
        assert_eq!(handles.count(), 3);
        assert!(handles.get(0, false).is_none());
        assert!(handles.get(1, true).is_none(), "open for reading only");
        assert_eq!(handles.dirty, BTreeSet::from([3]));
    }

    #[test]
    fn no_limit_means_the_systems() {
        let limit = |wanted| Handles::new(wanted, 0).limit;
        assert!(limit(0) >= limit(usize::MAX) && limit(0) > 2);
        assert_eq!(limit(1), 1);
        assert_eq!((Handles::new(50, 2).limit, Handles::new(1, 2).limit), (48, 1));
    }
}
