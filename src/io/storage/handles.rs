//! The open files of one or more torrents, the least used closed first.

use crate::proto::sorted;
use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::beneath::Folders;
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

/// A torrent's number in the table, and that of its file.
type Key = (u64, usize);

/// A table of open files that several torrents share: together they have no more of them than its
/// limit says, and whoever needs one closes the one that was used longest ago, whosever it is.
#[derive(Debug, Clone)]
pub struct OpenFiles(Arc<Mutex<Table>>, Folders);

#[derive(Debug)]
struct Table {
    open: HashMap<Key, Handle>,
    uses: u64,
    limit: usize,
    /// For more there may be no descriptors.
    allowed: usize,
    /// Torrents there were.
    torrents: u64,
}

/// The open files of one torrent, by number.
#[derive(Debug)]
pub(super) struct Handles {
    files: OpenFiles,
    torrent: u64,
    /// So many files of this torrent are open beside those of the table.
    others: usize,
    /// Files written since the last sync, whether still open or not.
    pub dirty: sorted::Set<usize>,
}

impl Handle {
    fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.file) > 1
    }

    /// A lock ends here even if somebody still sends from the file: it would be in our own way
    /// when the file is opened again.
    fn close(self) {
        if self.locked && self.is_in_use() {
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

impl OpenFiles {
    /// A table of at most `limit` files, 0 for no limit; never more than a quarter of what the
    /// system allows.
    pub fn new(limit: usize) -> OpenFiles {
        let allowed = (sys::descriptor_limit() / SHARE).max(2);
        OpenFiles::within(limit, usize::try_from(allowed).unwrap_or(usize::MAX))
    }

    /// A table of at most `limit` files, 0 for no limit; never more than `allowed`.
    pub fn within(limit: usize, allowed: usize) -> OpenFiles {
        let limit = if limit == 0 { allowed } else { limit.min(allowed) };
        let open = HashMap::new();
        let table = Table { open, uses: 0, limit, allowed, torrents: 0 };
        OpenFiles(Arc::new(Mutex::new(table)), Folders::default())
    }

    /// The directories of the torrents whose files are in the table.
    pub(super) fn folders(&self) -> Folders {
        self.1.clone()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // A table of open files has no state in between: one thread's panic does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn close(&mut self, key: Key) {
        if let Some(handle) = self.open.remove(&key) {
            handle.close();
        }
    }

    /// Closes those files that are meant.
    fn close_all(&mut self, is_meant: impl Fn(&Key, &Handle) -> bool) {
        let open = std::mem::take(&mut self.open).into_iter();
        let (closed, kept): (HashMap<_, _>, _) = open.partition(|(key, file)| is_meant(key, file));
        self.open = kept;
        closed.into_values().for_each(Handle::close);
    }

    /// Closes the file used longest ago of those that nobody uses: one that is being sent or read
    /// would stay open whatever is done here. `false` if there is none.
    fn close_one(&mut self) -> bool {
        let idle = self.open.iter().filter(|(_, handle)| !handle.is_in_use());
        let oldest = idle.min_by_key(|(_, handle)| handle.used).map(|(key, _)| *key);
        oldest.into_iter().for_each(|key| self.close(key));
        oldest.is_some()
    }

    fn make_room(&mut self, others: usize) {
        while self.open.len() >= self.limit.saturating_sub(others).max(1) && self.close_one() {}
    }
}

impl Handles {
    /// Those of a torrent that has `others` open beside the table.
    pub fn new(files: OpenFiles, others: usize) -> Handles {
        let mut table = files.table();
        table.torrents += 1;
        let torrent = table.torrents;
        drop(table);
        Handles { files, torrent, others, dirty: sorted::Set::new() }
    }

    /// One more file is open beside those of the table from now on.
    pub fn share(&mut self) {
        self.others += 1;
    }

    /// The open file of this number, if it is good for this use.
    pub fn get(&mut self, number: usize, write: bool) -> Option<Arc<File>> {
        let mut table = self.files.table();
        table.uses += 1;
        let uses = table.uses;
        let handle = table.open.get_mut(&(self.torrent, number))?;
        if write && !handle.writable {
            return None;
        }
        handle.used = uses;
        let file = Arc::clone(&handle.file);
        if write {
            self.dirty.insert(number);
        }
        Some(file)
    }

    /// Closes the file of this number.
    pub fn close(&mut self, number: usize) {
        self.files.table().close((self.torrent, number));
    }

    /// Makes room for a file that is about to be opened.
    pub fn make_room(&mut self) {
        self.files.table().make_room(self.others);
    }

    /// Whether all the descriptors there are for files are in use.
    pub fn is_crowded(&self) -> bool {
        let table = self.files.table();
        let used = || table.open.values().filter(|handle| handle.is_in_use()).count();
        table.open.len() >= table.allowed && used() >= table.allowed
    }

    /// Keeps a file that was just opened, in the place of one that could do less; if another
    /// thread came first with one as good, that one stays.
    pub fn put(&mut self, number: usize, opened: Opened) -> Arc<File> {
        let Opened { file, writable, locked } = opened;
        if let Some(file) = self.get(number, writable) {
            return file;
        }
        let mut table = self.files.table();
        table.close((self.torrent, number));
        table.make_room(self.others);
        let file = Arc::new(file);
        table.uses += 1;
        let handle = Handle { writable, locked, file: Arc::clone(&file), used: table.uses };
        table.open.insert((self.torrent, number), handle);
        if writable {
            self.dirty.insert(number);
        }
        file
    }

    /// Closes all files of the table, as far as nobody uses them at this moment.
    pub fn close_all(&mut self) {
        self.files.table().close_all(|_, _| true);
    }

    /// Closes the files of this torrent that are open for writing.
    pub fn close_written(&mut self) {
        let torrent = self.torrent;
        self.files.table().close_all(|key, handle| key.0 == torrent && handle.writable);
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.files.table().open.len()
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        let torrent = self.torrent;
        self.files.table().close_all(|key, _| key.0 == torrent);
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
        let mut handles = Handles::new(OpenFiles::new(3), 0);
        let used = handles.put(0, file(false));
        for number in [1, 2] {
            handles.put(number, file(false));
        }
        handles.get(1, false);
        handles.put(3, file(true));
        let open: sorted::Set<usize> = handles.files.table().open.keys().map(|key| key.1).collect();
        assert_eq!(open, sorted::Set::from([0, 1, 3]));
        drop(used);
        handles.put(4, file(false));
        assert_eq!(handles.count(), 3);
        // Closing what is in use would free nothing, and it would have to be opened again.
        let held = [handles.get(1, false), handles.get(3, false), handles.get(4, false)];
        handles.put(5, file(false));
        assert!(handles.count() == 4 && held.iter().all(Option::is_some) && !handles.is_crowded());
        drop(held);
        handles.put(6, file(false));
        assert_eq!(handles.count(), 3);
        assert!(handles.get(0, false).is_none());
        assert!(handles.get(1, true).is_none(), "open for reading only");
        assert_eq!(handles.dirty, sorted::Set::from([3]));
    }

    #[test]
    fn it_is_known_when_all_that_may_be_open_is_in_use() {
        let mut handles = Handles::new(OpenFiles::within(0, 2), 0);
        let one = handles.put(0, file(false));
        let two = handles.put(1, file(false));
        assert!(handles.is_crowded());
        drop(one);
        assert!(!handles.is_crowded());
        drop(two);
    }

    #[test]
    fn torrents_that_share_a_table_take_each_others_places() {
        let files = OpenFiles::new(3);
        let (mut one, mut two) = (Handles::new(files.clone(), 0), Handles::new(files.clone(), 0));
        (0..3).for_each(|number| drop(one.put(number, file(false))));
        drop(two.put(0, file(true)));
        assert_eq!(one.count(), 3);
        assert!(one.get(0, false).is_none() && one.get(1, false).is_some());
        assert!(two.get(0, true).is_some());
        drop(one);
        assert_eq!(two.count(), 1, "what is left is the other's");
        two.close_all();
        assert_eq!(two.count(), 0);
    }

    #[test]
    fn no_limit_means_the_systems() {
        let limit = |wanted| OpenFiles::new(wanted).table().limit;
        assert!(limit(0) >= limit(usize::MAX) && limit(0) > 2);
        assert_eq!(limit(1), 1);
        let mut handles = Handles::new(OpenFiles::new(2), 1);
        (0..3).for_each(|number| drop(handles.put(number, file(false))));
        assert_eq!(handles.count(), 1, "one is open beside the table");
    }
}
