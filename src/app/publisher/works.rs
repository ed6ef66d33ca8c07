//! Makes the .torrent of each path, and looks whether something has changed there: on a thread of
//! its own, since that reads the disk.
//!
//! A .torrent is kept as long as its files look as they did, so that the next start need not hash
//! them. What changes is left alone until it rests.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Message;
use crate::app::maker::{self, Found, MakeError, Recipe};
use crate::io::mailbox::{JobReceiver, JobSender, Post, jobs};
use crate::io::save::save;
use crate::io::sys;
use crate::io::tree::{self, Skipped, TreeError};
use crate::proto::hash::sha1;
use crate::proto::ids::InfoHash;
use crate::proto::metainfo::Metainfo;
use crate::proto::resume::client::Stamp;

/// A look at large folders takes no more than this part of the time.
const SHARE: u32 = 20;

/// What was made and is not used for so long is removed.
const KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// What the names of files end in that keep a .torrent.
const SUFFIX: &str = "published";

/// What could not be made is tried again after this long, then after twice that, and so on;
const FIRST_RETRY: Duration = Duration::from_secs(2);

/// but no later than that.
const LAST_RETRY: Duration = Duration::from_secs(60);

/// So many entries of a folder that are left out are named; of the others only their number.
const LEFT_OUT: usize = 10;

/// Progress is told so often.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// What is to be made.
pub(super) struct Job {
    /// Absolute paths.
    pub paths: Vec<PathBuf>,
    pub recipe: Recipe,
    /// The folder in which .torrent files are kept.
    pub cache: Option<PathBuf>,
    /// How often the paths are looked at.
    pub rescan: Duration,
}

/// What came of it. The number is that of the path.
#[derive(Debug)]
pub(super) enum News {
    /// So many bytes of so many have been hashed.
    Progress(usize, u64, u64),
    /// There is a .torrent.
    Made(usize, Box<Made>),
    /// Nothing is left of the data of this version.
    Withdrawn(usize, InfoHash),
    /// Nothing is at the path any more.
    Gone(usize),
    /// Something is wrong; it will be tried again.
    Trouble(usize, String),
    /// Something a user should know.
    Told(String),
}

/// A torrent of what is at a path.
#[derive(Debug)]
pub(super) struct Made {
    pub metainfo: Metainfo,
    /// The bytes of its .torrent, without tracker.
    pub torrent: Vec<u8>,
    /// How each of its files looks.
    pub looks: Vec<Stamp>,
}

/// The thread. It ends soon when this is dropped.
pub(super) struct Works {
    stop: Arc<AtomicBool>,
    _bell: JobSender<()>,
}

impl Works {
    /// Starts it; its news come by `post`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(job: Job, post: Post<Message>) -> std::io::Result<Works> {
        let stop = Arc::new(AtomicBool::new(false));
        let (bell, rung) = jobs(1);
        let watched = job.paths.iter().cloned().map(Watched::new).collect();
        let mut worker = Worker { job, post, stop: Arc::clone(&stop), watched };
        thread::Builder::new().name("works".into()).spawn(move || worker.run(&rung))?;
        Ok(Works { stop, _bell: bell })
    }
}

impl Drop for Works {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A path, and what is known of it.
struct Watched {
    path: PathBuf,
    /// How its files looked when their .torrent was made.
    known: Option<Vec<Found>>,
    /// How they looked the last time, if that was different: they may be being written to.
    restless: Option<Vec<Found>>,
    /// What is shared of it, with how the files looked.
    versions: Vec<(InfoHash, Vec<Found>)>,
    /// What was told of it last.
    told: Option<String>,
    /// When it is tried again, and how long that was waited for.
    retry: Option<(Instant, Duration)>,
    is_new: bool,
}

impl Watched {
    fn new(path: PathBuf) -> Watched {
        let (known, restless, versions, told, retry) = Default::default();
        Watched { path, known, restless, versions, told, retry, is_new: true }
    }
}

struct Worker {
    job: Job,
    post: Post<Message>,
    stop: Arc<AtomicBool>,
    watched: Vec<Watched>,
}

impl Worker {
    fn run(&mut self, rung: &JobReceiver<()>) {
        if let Some(dir) = &self.job.cache {
            expire(dir, SystemTime::now());
        }
        while !self.stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            for number in 0..self.watched.len() {
                self.look(number, Instant::now());
            }
            let pause = self.job.rescan.max(began.elapsed() * SHARE);
            // Nothing ever comes but the end.
            rung.recv_within(pause);
        }
    }

    fn say(&self, news: News) {
        self.post.queue(Message::News(news), &self.stop);
        self.post.ring();
    }

    fn look(&mut self, number: usize, now: Instant) {
        let watched = &mut self.watched[number];
        if watched.retry.is_some_and(|(at, _)| now < at) {
            return;
        }
        let found = match scan(&watched.path, &self.job.recipe) {
            Ok(found) => found,
            Err(TreeError::Read(path, e))
                if e.kind() == ErrorKind::NotFound && path == watched.path && !watched.is_new =>
            {
                return self.lose(number);
            }
            Err(e) => return self.trouble(number, e.to_string(), now),
        };
        if watched.known.as_ref() == Some(&found) {
            watched.restless = None;
            return;
        }
        let rests = watched.is_new || watched.restless.as_ref() == Some(&found);
        if !rests {
            watched.restless = Some(found);
            return;
        }
        match self.make(number) {
            Ok(made) => self.publish(number, made),
            Err(MakeError::Stopped) => {}
            Err(e @ MakeError::Changed(_)) => self.wait(number, &e),
            Err(e) => self.trouble(number, e.to_string(), now),
        }
    }

    /// What was there is gone.
    fn lose(&mut self, number: usize) {
        let watched = &mut self.watched[number];
        (watched.known, watched.restless, watched.retry) = (None, None, None);
        if !watched.versions.is_empty() {
            watched.versions.clear();
            self.say(News::Gone(number));
        }
    }

    /// Somebody is at work on it: that is no failure, it only takes longer.
    fn wait(&mut self, number: usize, why: &MakeError) {
        let text = format!("{why}: it is read again when it rests");
        let watched = &mut self.watched[number];
        (watched.is_new, watched.restless) = (false, None);
        if watched.told.as_ref() != Some(&text) {
            watched.told = Some(text.clone());
            self.say(News::Told(text));
        }
    }

    fn trouble(&mut self, number: usize, text: String, now: Instant) {
        let watched = &mut self.watched[number];
        watched.is_new = false;
        let wait = watched.retry.map_or(FIRST_RETRY, |(_, before)| (before * 2).min(LAST_RETRY));
        watched.retry = Some((now + wait, wait));
        if watched.told.as_ref() != Some(&text) {
            watched.told = Some(text.clone());
            self.say(News::Trouble(number, text));
        }
    }

    fn make(&self, number: usize) -> Result<(Made, Vec<Found>), MakeError> {
        let prepared = maker::prepare(&self.watched[number].path, &self.job.recipe)?;
        if self.watched[number].is_new {
            self.tell_left_out(&self.watched[number].path, prepared.left_out());
        }
        let found = prepared.found().to_vec();
        let place = self.place(number, &found);
        let kept = place.as_ref().and_then(|place| read(place));
        let torrent = match kept {
            Some(kept) => kept,
            None => {
                let mut told = Instant::now();
                let torrent = prepared.make(&self.stop, |done, total| {
                    if told.elapsed() >= TELL_EVERY {
                        told = Instant::now();
                        self.say(News::Progress(number, done, total));
                    }
                })?;
                if let Some(place) = &place {
                    keep(place, &torrent);
                }
                torrent
            }
        };
        let path = &self.watched[number].path;
        let metainfo =
            Metainfo::decode(&torrent).map_err(|e| MakeError::Refused(path.clone(), e))?;
        let looks = found.iter().map(stamp).collect();
        Ok((Made { metainfo, torrent, looks }, found))
    }

    fn tell_left_out(&self, path: &Path, left_out: &[Skipped]) {
        for skipped in left_out.iter().take(LEFT_OUT) {
            self.say(News::Told(skipped.to_string()));
        }
        if let more @ 1.. = left_out.len().saturating_sub(LEFT_OUT) {
            self.say(News::Told(format!("left out {more} more in '{}'", path.display())));
        }
    }

    /// Where the .torrent of these files is kept, if they tell when they were written to.
    fn place(&self, number: usize, found: &[Found]) -> Option<PathBuf> {
        let dir = self.job.cache.as_ref()?;
        let recipe = &self.job.recipe;
        let mut text = format!("{:?} {} {:?} ", recipe.pieces, recipe.private, recipe.comment);
        text.push_str(&format!("{:?} {:?}", recipe.source, recipe.version));
        let mut all = text.into_bytes();
        all.extend_from_slice(self.watched[number].path.as_os_str().as_bytes());
        for file in found {
            file.modified?;
            let stamp = stamp(file);
            all.extend_from_slice(format!("\0{} {} ", stamp.size, stamp.mtime).as_bytes());
            all.extend_from_slice(file.path.as_os_str().as_bytes());
        }
        Some(dir.join(format!("{}.{SUFFIX}", InfoHash(sha1(&all)))))
    }

    fn publish(&mut self, number: usize, (made, found): (Made, Vec<Found>)) {
        let watched = &mut self.watched[number];
        let hash = made.metainfo.info_hash;
        (watched.is_new, watched.told, watched.retry, watched.restless) = (false, None, None, None);
        watched.versions.retain(|(other, _)| *other != hash);
        let (kept, lost): (Vec<_>, Vec<_>) = std::mem::take(&mut watched.versions)
            .into_iter()
            .partition(|(_, looked)| is_there(looked, &found));
        watched.versions = kept;
        watched.versions.push((hash, found.clone()));
        watched.known = Some(found);
        for (lost, _) in lost {
            self.say(News::Withdrawn(number, lost));
        }
        self.say(News::Made(number, Box::new(made)));
    }
}

/// Whether some of the data of a version is there as it was.
fn is_there(looked: &[Found], now: &[Found]) -> bool {
    let now: std::collections::HashSet<(&Path, u64, Option<SystemTime>)> =
        now.iter().map(|file| (file.path.as_path(), file.length, file.modified)).collect();
    let mut filled = looked.iter().filter(|file| file.length > 0);
    filled.any(|file| now.contains(&(file.path.as_path(), file.length, file.modified)))
}

fn scan(path: &Path, recipe: &Recipe) -> Result<Vec<Found>, TreeError> {
    match tree::look(path)? {
        Some(file) => Ok(vec![file]),
        None => Ok(tree::walk(path, &recipe.filter)?.files),
    }
}

/// How a file looks, in the form in which open files tell it.
fn stamp(file: &Found) -> Stamp {
    let modified = file.modified.unwrap_or(UNIX_EPOCH);
    let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    let mtime = match modified.duration_since(UNIX_EPOCH) {
        Ok(since) => nanos(since),
        Err(before) => -nanos(before.duration()),
    };
    Stamp { size: file.length, mtime }
}

/// A .torrent that was kept: its hash stands before it, so that what a disk has spoilt is seen.
fn read(place: &Path) -> Option<Vec<u8>> {
    let mut bytes = fs::read(place).ok()?;
    let hash: [u8; 20] = bytes.get(..20)?.try_into().ok()?;
    bytes.drain(..20);
    if sha1(&bytes) != hash {
        return None;
    }
    // It is of use, as the time of the file says from now on.
    let opened = fs::File::options().write(true).open(place);
    let _ = opened.and_then(|file| file.set_modified(SystemTime::now()));
    Some(bytes)
}

/// Keeps it, if that can be done: the next start is only slower without.
fn keep(place: &Path, torrent: &[u8]) {
    let dir = place.parent().expect("a file in a folder");
    if sys::make_private_dirs(dir).is_ok() {
        let _ = save(place, &[&sha1(torrent)[..], torrent].concat());
    }
}

/// Removes what was not used for long.
fn expire(dir: &Path, now: SystemTime) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_ours = path.extension().is_some_and(|ending| ending == SUFFIX);
        let modified = entry.metadata().and_then(|about| about.modified());
        let age = modified.ok().and_then(|then| now.duration_since(then).ok());
        if is_ours && age.is_some_and(|age| age > KEPT) {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, length: u64, at: u64) -> Found {
        let modified = Some(UNIX_EPOCH + Duration::from_secs(at));
        Found { path: path.into(), length, modified }
    }

    #[test]
    fn a_version_is_there_while_one_of_its_files_is_as_it_was() {
        let old = [found("a", 5, 1), found("b", 6, 2), found("empty", 0, 3)];
        assert!(is_there(&old, &[found("a", 5, 9), found("b", 6, 2)]));
        assert!(!is_there(&old, &[found("a", 5, 9), found("b", 7, 2), found("empty", 0, 3)]));
        assert!(!is_there(&old, &[found("c", 5, 1)]));
    }

    #[test]
    fn what_is_kept_comes_back_unless_it_is_spoilt_and_goes_when_it_is_old() {
        let dir = std::env::temp_dir().join(format!("bt-published-{}", std::process::id()));
        let place = dir.join("x.published");
        keep(&place, b"d4:infode");
        assert_eq!(read(&place).as_deref(), Some(&b"d4:infode"[..]));
        expire(&dir, SystemTime::now() + KEPT / 2);
        let mut bytes = fs::read(&place).unwrap();
        bytes[25] ^= 1;
        fs::write(&place, bytes).unwrap();
        assert_eq!(read(&place), None);
        fs::write(dir.join("mine"), b"").unwrap();
        expire(&dir, SystemTime::now() + KEPT * 2);
        let left: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["mine"]);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_file_looks_the_same_from_its_name_and_when_it_is_open() {
        let path = std::env::temp_dir().join(format!("bt-looks-{}", std::process::id()));
        fs::write(&path, b"x").unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        for modified in [
            UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789),
            UNIX_EPOCH - Duration::from_millis(1500),
        ] {
            file.set_modified(modified).unwrap();
            let seen = tree::look(&path).unwrap().unwrap();
            assert_eq!(stamp(&seen), sys::stamp(&file).unwrap(), "{modified:?}");
        }
        fs::remove_file(path).unwrap();
    }
}
