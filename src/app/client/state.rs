//! The saved state of a download: one file for each torrent and place, so that a torrent that is
//! downloaded twice keeps two.
//!
//! It is read at the start by the check, and written by a thread of its own: first the data goes
//! to the disk itself, then the state that speaks of it is written, whole or not at all. Nothing
//! here is trusted by others but through `check`.

use super::{Event, News, TorrentId};
use crate::io::mailbox::{JobSender, Post, jobs};
use crate::io::reason;
use crate::io::save::{SaveError, save};
use crate::io::storage::{DiskError, Storage};
use crate::logic::priority::Priority;
use crate::proto::geometry::Geometry;
use crate::proto::hash::sha1;
use crate::proto::ids::InfoHash;
use crate::proto::resume::client::{About, ClientState, Stamp};
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

/// A state file is never larger, in bytes: enough for 2^28 pieces or a million files.
const MAX_SIZE: u64 = 64 * 1024 * 1024;

/// What the name of a state file ends in.
const SUFFIX: &str = ".resume";

/// What the name of a file ends in that keeps the bytes of unwanted files; the rest of it is as
/// for the state.
pub(super) const PARTS: &str = ".parts";

/// Hexadecimal digits of a state file's name: of the info hash, and of the place.
const DIGITS: (usize, usize) = (40, 16);

/// Where states are kept, and for how long.
#[derive(Debug, Clone)]
pub struct Keep {
    /// The folder; it is made when it is needed.
    pub dir: PathBuf,
    /// States of torrents that were not used for so long are removed; `None` keeps them.
    pub expire: Option<Duration>,
}

/// The name of what is kept for a torrent that is saved at `target`, an absolute path.
pub(super) fn file_name(info_hash: InfoHash, target: &Path, suffix: &str) -> String {
    let place = &sha1(target.as_os_str().as_bytes())[..DIGITS.1 / 2];
    let place: String = place.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{info_hash}-{place}{suffix}")
}

/// The place of one download's state.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    info_hash: InfoHash,
    target: Vec<u8>,
    geometry: Arc<Geometry>,
}

impl Place {
    /// Where the state of a torrent is that is saved at `target`, an absolute path.
    pub(super) fn new(
        dir: &Path,
        info_hash: InfoHash,
        target: &Path,
        geometry: Arc<Geometry>,
    ) -> Place {
        let path = dir.join(file_name(info_hash, target, SUFFIX));
        let target = target.as_os_str().as_bytes().to_vec();
        Place { path, info_hash, target, geometry }
    }

    fn about(&self) -> About<'_> {
        About { info_hash: self.info_hash, target: &self.target, geometry: &self.geometry }
    }

    /// The saved state; `None` if there is none. Reading counts as use.
    ///
    /// # Errors
    /// Why it is of no use, for one line.
    pub(super) fn load(&self) -> Result<Option<ClientState>, String> {
        let unusable = |why: &dyn fmt::Display| {
            let path = self.path.display();
            format!("cannot use the saved state '{path}': {why}; checking all the data")
        };
        let bytes = match read(&self.path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(unusable(&reason(&e))),
        };
        let state = ClientState::decode(&bytes, self.about()).map_err(|e| unusable(&e))?;
        self.touch();
        Ok(Some(state))
    }

    /// How much each file was wanted the last time; empty if that is not known.
    pub(super) fn priorities(&self) -> Vec<Priority> {
        // A state of no use is told of by the check.
        let saved = self.load().ok().flatten().map(|state| state.priority).unwrap_or_default();
        saved.into_iter().map_while(|n| Priority::from_number(n.into())).collect()
    }

    /// Notes that the state is still of use: the time of the file says so.
    fn touch(&self) {
        // It may be read-only, and then expires earlier.
        let opened = File::options().write(true).open(&self.path);
        let _ = opened.and_then(|file| file.set_modified(SystemTime::now()));
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // To open a pipe would be to wait for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_SIZE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Removes the states that were not used for so long, and what killed processes left half
/// written. Leaves everything else alone, whatever its name; trouble is nobody's concern.
pub(super) fn expire(keep: &Keep, now: SystemTime) {
    let (Some(age), Ok(entries)) = (keep.expire, fs::read_dir(&keep.dir)) else { return };
    for entry in entries.flatten() {
        let used = entry.metadata().and_then(|meta| meta.modified());
        let is_old = used.is_ok_and(|at| now.duration_since(at).is_ok_and(|since| since > age));
        let name = entry.file_name();
        // A state that is still good speaks of what is in there.
        let path = entry.path();
        let is_spoken_of = path.with_extension(&SUFFIX[1..]).exists()
            && name.as_bytes().ends_with(PARTS.as_bytes());
        if is_old && is_ours(name.as_bytes()) && !is_spoken_of {
            let _ = fs::remove_file(path);
        }
    }
}

fn is_ours(name: &[u8]) -> bool {
    let is_hex =
        |digits: &[u8]| digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let own = |suffix: &str| name.strip_suffix(suffix.as_bytes());
    if let Some(name) = own(SUFFIX).or_else(|| own(PARTS)) {
        let (hash, place) = name.split_at(DIGITS.0.min(name.len()));
        let fits = name.len() == DIGITS.0 + 1 + DIGITS.1 && place[0] == b'-';
        return fits && is_hex(hash) && is_hex(&place[1..]);
    }
    name.starts_with(b".bittornado-") && name.ends_with(b".tmp")
}

/// What is to be saved: what is known of the disk at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The state, with the looks of the files that were not written since the last time.
    pub state: ClientState,
    /// The other files, whose looks are taken when their data is on the disk.
    pub written: Vec<usize>,
    /// The hash of what was saved the last time: the same is not written twice.
    pub digest: Option<[u8; 20]>,
}

/// Why a state was not saved. The one before it still stands.
#[derive(Debug)]
pub(super) enum SaveFailure {
    /// The data did not get to the disk, or cannot be looked at.
    Data(DiskError),
    /// The state cannot be written.
    State(SaveError),
}

/// A state was saved.
#[derive(Debug)]
pub(super) struct Safe {
    /// How the written files look now.
    pub looks: Vec<(usize, Option<Stamp>)>,
    /// The hash of what is in the file.
    pub digest: Option<[u8; 20]>,
}

/// What became of a snapshot.
pub(super) type Saved = Result<Safe, SaveFailure>;

/// What the thread needs to save a state.
#[derive(Debug)]
pub(super) struct SaveJob {
    pub id: TorrentId,
    /// Where to; without a place the files are only looked at.
    pub place: Option<Arc<Place>>,
    pub storage: Arc<Storage>,
    pub snapshot: Snapshot,
}

/// So many states wait to be saved at a time.
const MAX_JOBS: usize = 4096;

/// The thread that saves states.
#[derive(Debug)]
pub(super) struct Saver(JobSender<SaveJob>);

impl Saver {
    /// Starts the thread. It tells of each snapshot by [`News::Saved`]. Nobody waits for its end:
    /// what it has not renamed into its place was never there.
    ///
    /// # Errors
    /// The system has no thread for us.
    pub(super) fn start(post: Post<Event>) -> io::Result<Saver> {
        let (sender, receiver) = jobs::<SaveJob>(MAX_JOBS);
        let work = move || {
            while let Some(SaveJob { id, place, storage, snapshot }) = receiver.recv() {
                let saved = put(place.as_deref(), &storage, snapshot);
                post.send(Event::Of(id, News::Saved(saved)));
            }
        };
        thread::Builder::new().name("state".into()).spawn(work)?;
        Ok(Saver(sender))
    }

    /// Hands a snapshot over. `false`: there is no room for it now.
    pub(super) fn save(&self, job: SaveJob) -> bool {
        self.0.try_send(job).is_ok()
    }
}

/// First the data, then its looks, then the state that tells of both.
fn put(place: Option<&Place>, storage: &Storage, snapshot: Snapshot) -> Saved {
    let Snapshot { mut state, written, digest } = snapshot;
    if place.is_some() {
        storage.sync().map_err(SaveFailure::Data)?;
    }
    let mut looks = Vec::with_capacity(written.len());
    for file in written {
        let stamp = storage.stamp(file).map_err(SaveFailure::Data)?;
        state.files[file] = stamp;
        looks.push((file, stamp));
    }
    let Some(place) = place else { return Ok(Safe { looks, digest: None }) };
    let bytes = state.encode(place.about());
    let now = Some(sha1(&bytes));
    if now != digest {
        if let Some(dir) = place.path.parent() {
            // What goes wrong here is told when the file cannot be made.
            let _ = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        }
        save(&place.path, &bytes).map_err(SaveFailure::State)?;
    }
    Ok(Safe { looks, digest: now })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let dir = std::env::temp_dir().join(format!("bt-state-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir_all(&dir).unwrap();
            Dir(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn place(dir: &Path, target: &str) -> Place {
        let geometry = Arc::new(Geometry::new(16_384, [100_000]).unwrap());
        Place::new(dir, InfoHash([0xab; 20]), Path::new(target), geometry)
    }

    #[test]
    fn the_same_torrent_in_two_places_has_two_states() {
        let dir = Dir::new("two");
        let (one, two) = (place(&dir.0, "/one"), place(&dir.0, "/two"));
        assert_ne!(one.path, two.path);
        assert_eq!(one.load(), Ok(None));
        let state = ClientState { uploaded: 7, ..ClientState::empty(&one.geometry) };
        save(&one.path, &state.encode(one.about())).unwrap();
        assert_eq!((one.load(), two.load()), (Ok(Some(state)), Ok(None)));
        fs::copy(&one.path, &two.path).unwrap();
        let why = two.load().unwrap_err();
        assert!(why.ends_with("it is about another download; checking all the data"), "{why}");
        fs::write(&two.path, "d3:no").unwrap();
        assert!(two.load().unwrap_err().contains("it is damaged"));
        fs::remove_file(&two.path).unwrap();
        fs::create_dir(&two.path).unwrap();
        assert!(two.load().unwrap_err().contains("it is no file"));
    }

    #[test]
    fn only_old_states_are_removed_and_nothing_of_others() {
        let dir = Dir::new("expire");
        let ours = place(&dir.0, "/x").path.file_name().unwrap().to_str().unwrap().to_string();
        let foreign = [
            "notes.txt".to_string(),
            ours.replace(".resume", ".resume2"),
            ours.replace("-", "_"),
            ours.replace("ab", "zz"),
            ".resume".into(),
            "\u{e9}.resume".into(),
        ];
        let old = SystemTime::now() - Duration::from_secs(20 * 86_400);
        let left = ".bittornado-1-0.tmp".to_string();
        for name in foreign.iter().chain([&ours, &left]) {
            fs::write(dir.0.join(name), "x").unwrap();
            let file = File::options().write(true).open(dir.0.join(name)).unwrap();
            file.set_modified(old).unwrap();
        }
        let fresh = place(&dir.0, "/fresh");
        let state = ClientState::empty(&fresh.geometry).encode(fresh.about());
        fs::write(&fresh.path, state).unwrap();
        let days = |days: u64| Some(Duration::from_secs(days * 86_400));
        let keep = |expire| Keep { dir: dir.0.clone(), expire };
        let count = || fs::read_dir(&dir.0).unwrap().count();
        expire(&keep(None), SystemTime::now());
        expire(&keep(days(30)), SystemTime::now());
        assert_eq!(count(), foreign.len() + 3);
        expire(&keep(days(10)), SystemTime::now());
        assert_eq!(count(), foreign.len() + 1);
        assert!(foreign.iter().all(|name| dir.0.join(name).exists()) && fresh.path.exists());
        // Reading is use.
        let file = File::options().write(true).open(&fresh.path).unwrap();
        file.set_modified(old).unwrap();
        fresh.load().unwrap();
        expire(&keep(days(10)), SystemTime::now());
        assert!(fresh.path.exists());
    }
}
