//! The state file: read at the start, written by a thread of its own.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use crate::io::mailbox::{JobSender, Post, jobs};
use crate::io::save::{SaveError, save_with};
use crate::io::sys;
use crate::logic::registry::Copy;
use crate::proto::resume::{Saved, StateError, read_state};

use super::{Message, Notice};

/// Names tried for a damaged file to be kept under.
const NAMES: u32 = 100;

/// Reads the state file. One that is not there is an empty state. One that is damaged is moved
/// aside and told of; the one before it is then read instead, or the state is empty.
///
/// # Errors
/// It is there and cannot be read, or not be moved.
pub fn load(
    path: &Path,
    tell: &mut dyn FnMut(Notice),
    take: &mut dyn FnMut(Saved),
) -> io::Result<()> {
    match fs::metadata(path) {
        // Anything else would be read as damaged, and make room for a file.
        Ok(there) if !there.is_file() && !there.is_dir() => {
            return Err(io::Error::other("it is no regular file"));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result.map(drop)?,
    }
    let file = File::open(path)?;
    // Once only to look, since of a damaged one nothing is taken.
    let Err(error) = read(&file, &mut |_| {})? else { return taken(&file, take) };
    let kept_as = set_aside(path)?;
    let before = before(path);
    let good = |file: &File| read(file, &mut |_| {}).is_ok_and(|looked| looked.is_ok());
    let older = File::open(&before).ok().filter(good);
    let instead = older.is_some().then_some(before);
    tell(Notice::Damaged { path: path.to_path_buf(), error, kept_as, instead });
    older.map_or(Ok(()), |file| taken(&file, take))
}

/// Reads a file that was looked through before.
fn taken(file: &File, take: &mut dyn FnMut(Saved)) -> io::Result<()> {
    read(file, take)?.map_err(|_| io::Error::other("it changed while it was read"))
}

/// Reads a file from its beginning.
fn read(mut file: &File, take: &mut dyn FnMut(Saved)) -> io::Result<Result<(), StateError>> {
    file.rewind()?;
    let mut trouble = None;
    let mut more = |window: &mut Vec<u8>, want: usize| {
        let got = file.take(want as u64).read_to_end(window);
        got.unwrap_or_else(|e| {
            trouble = Some(e);
            0
        }) > 0
    };
    let result = read_state(&mut more, take);
    trouble.map_or(Ok(result), Err)
}

/// Where the state file is that was there before this one.
fn before(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".old");
    name.into()
}

/// Keeps the present file beside the next one. Should that fail, there is only one less to go back
/// to, so the next is written all the same.
fn keep(path: &Path) -> io::Result<()> {
    // Behind a symbolic link, or it would be the link that is kept.
    let place = fs::canonicalize(path)?;
    if !fs::metadata(&place)?.is_file() {
        return Ok(());
    }
    let before = before(path);
    let mut name = before.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let link = PathBuf::from(name);
    // A new name for the same file first: a rename is one step, so there is always one.
    fs::hard_link(place, &link)?;
    fs::rename(&link, before).inspect_err(|_| _ = fs::remove_file(&link))?;
    // Of two names of the same file a rename leaves both.
    let _ = fs::remove_file(link);
    Ok(())
}

/// Renames a file to the first free of `FILE.damaged`, `FILE.damaged.1` and so on.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    for n in 0..NAMES {
        let mut name = path.as_os_str().to_owned();
        name.push(".damaged");
        if n > 0 {
            name.push(format!(".{n}"));
        }
        let aside = PathBuf::from(name);
        if fs::symlink_metadata(&aside).is_err() {
            return fs::rename(path, &aside).map(|()| aside);
        }
    }
    Err(io::Error::other("too many damaged state files are kept already"))
}

/// Writes the state file, whole or not at all; the old one stays until the new one is complete,
/// and then beside it as `FILE.old`.
///
/// # Errors
/// As for any file.
pub fn write(path: &Path, copy: Copy) -> Result<(), SaveError> {
    let _ = keep(path);
    save_with(path, |file| copy.write(|bytes| file.write_all(bytes)))
}

/// The thread that writes the state file.
pub struct Saver {
    jobs: JobSender<Copy>,
    thread: JoinHandle<()>,
    /// Whether a file is being written.
    busy: bool,
}

impl Saver {
    /// Starts the thread. It tells of each file by [`Message::Saved`].
    ///
    /// # Errors
    /// No thread is to be had.
    pub fn start(path: PathBuf, post: Post<Message>) -> io::Result<Saver> {
        let (sender, receiver) = jobs::<Copy>(1);
        let work = move || {
            sys::yield_to_others();
            while let Some(copy) = receiver.recv() {
                // Once the tracker has ended, nobody reads this; `end` asks in another way.
                post.send(Message::Saved(write(&path, copy)));
            }
        };
        let thread = thread::Builder::new().name("save".into()).spawn(work)?;
        Ok(Saver { jobs: sender, thread, busy: false })
    }

    /// Whether a file can be handed over.
    pub fn is_free(&self) -> bool {
        !self.busy
    }

    /// Hands over what is to be written; call it only when [`Saver::is_free`].
    pub fn save(&mut self, copy: Copy) {
        self.busy = self.jobs.try_send(copy).is_ok();
    }

    /// A file was written, well or badly.
    pub fn on_saved(&mut self) {
        self.busy = false;
    }

    /// Waits until the last file is written.
    pub fn end(self) {
        drop(self.jobs);
        // A panic of the thread has been reported by the runtime already.
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ids::InfoHash;

    #[test]
    fn the_file_before_is_kept_behind_links_too() {
        let dir = std::env::temp_dir().join(format!("bttrack-kept-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let (real, link, old) = (dir.join("real"), dir.join("link"), dir.join("link.old"));
        std::os::unix::fs::symlink("real", &link).unwrap();
        assert!(keep(&link).is_err(), "there is none yet");
        for text in ["one", "two", "two"] {
            fs::write(&real, text).unwrap();
            keep(&link).unwrap();
            assert_eq!(fs::read_to_string(&old).unwrap(), text);
        }
        assert!(!fs::symlink_metadata(&old).unwrap().is_symlink());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 3);
        fs::remove_dir_all(&dir).unwrap();
    }

    fn loaded(path: &Path, tell: &mut dyn FnMut(Notice)) -> io::Result<Vec<Saved>> {
        let mut all = Vec::new();
        load(path, tell, &mut |saved| all.push(saved)).map(|()| all)
    }

    #[test]
    fn a_damaged_file_is_never_lost() {
        let dir = std::env::temp_dir().join(format!("bttrack-state-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("d");
        for (round, name) in ["d.damaged", "d.damaged.1"].iter().enumerate() {
            let text = format!("not bencode {round}");
            fs::write(&path, &text).unwrap();
            let mut told = Vec::new();
            let state = loaded(&path, &mut |notice| told.push(notice.to_string())).unwrap();
            assert_eq!(state, []);
            assert!(told[0].ends_with("starting with an empty one"), "{told:?}");
            assert_eq!(fs::read_to_string(dir.join(name)).unwrap(), text);
            assert!(told[0].contains(name) && told.len() == 1, "{told:?}");
            assert!(!path.exists());
        }
        assert_eq!(loaded(&path, &mut |_| panic!()).unwrap(), []);
        let good = [&b"d9:completedd20:"[..], &[7; 20], b"i3ee5:peersdee"].concat();
        fs::write(dir.join("d.old"), &good).unwrap();
        assert_eq!(loaded(&path, &mut |_| panic!()).unwrap(), [], "not missed");
        fs::write(&path, "not bencode").unwrap();
        let mut told = String::new();
        let state = loaded(&path, &mut |notice| told = notice.to_string()).unwrap();
        assert_eq!(state, [Saved::Completed(InfoHash([7; 20]), 3)]);
        assert!(told.ends_with("d.old'"), "{told}");
        assert!(loaded(&dir, &mut |_| panic!()).is_err());
        // Nobody's devices are renamed.
        std::os::unix::fs::symlink("/dev/null", dir.join("null")).unwrap();
        assert!(loaded(&dir.join("null"), &mut |_| panic!()).is_err());
        assert!(dir.join("null").exists());
        // A .torrent, say.
        fs::write(&path, "d8:announce1:ae").unwrap();
        loaded(&path, &mut |notice| told = notice.to_string()).unwrap();
        assert!(told.contains("d.damaged") && !path.exists(), "{told}");
        fs::remove_dir_all(&dir).unwrap();
    }
}
