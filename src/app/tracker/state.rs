//! The state file: read at the start, written by a thread of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use crate::io::mailbox::{JobSender, Post, jobs};
use crate::io::save::{SaveError, save_with};
use crate::logic::registry::Copy;
use crate::proto::resume::TrackerState;

use super::{Message, Notice};

/// Names tried for a damaged file to be kept under.
const NAMES: u32 = 100;

/// Reads the state file. One that is not there is an empty state; one that is damaged is moved
/// aside, told of, and then as if it were not there.
///
/// # Errors
/// It is there and cannot be read, or not be moved.
pub fn load(path: &Path, tell: &mut dyn FnMut(Notice)) -> io::Result<TrackerState> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(TrackerState::default()),
        Err(e) => return Err(e),
    };
    TrackerState::decode(&bytes).or_else(|error| {
        let kept_as = set_aside(path)?;
        tell(Notice::Damaged { path: path.to_path_buf(), error, kept_as });
        Ok(TrackerState::default())
    })
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

/// Writes the state file, whole or not at all; the old one stays until the new one is complete.
///
/// # Errors
/// As for any file.
pub fn write(path: &Path, copy: Copy) -> Result<(), SaveError> {
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

    #[test]
    fn a_damaged_file_is_never_lost() {
        let dir = std::env::temp_dir().join(format!("bttrack-state-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("d");
        for (round, name) in ["d.damaged", "d.damaged.1"].iter().enumerate() {
            let text = format!("not bencode {round}");
            fs::write(&path, &text).unwrap();
            let mut told = Vec::new();
            let state = load(&path, &mut |notice| told.push(notice.to_string())).unwrap();
            assert_eq!(state, TrackerState::default());
            assert_eq!(fs::read_to_string(dir.join(name)).unwrap(), text);
            assert!(told[0].contains(name) && told.len() == 1, "{told:?}");
            assert!(!path.exists());
        }
        assert_eq!(load(&path, &mut |_| panic!()).unwrap(), TrackerState::default());
        assert!(load(&dir, &mut |_| panic!()).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
