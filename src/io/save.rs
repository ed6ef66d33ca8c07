//! Writes a file whole or not at all.
//!
//! For the makers, the edit tools, saved states and settings. A reader of the path sees the old
//! bytes or the new ones, never a part, also after a crash. Decides nothing: whether a file may
//! be replaced is the caller's question.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};
use std::{fmt, process};

/// Why a file could not be written. Nothing of it is left; an old file is as it was.
#[derive(Debug)]
pub struct SaveError {
    op: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl fmt::Display for SaveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} '{}': {}", self.op, self.path.display(), super::reason(&self.source))
    }
}

impl std::error::Error for SaveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Puts `bytes` at `path`, in place of what is there.
///
/// A new file gets the mode that the process creates files with; one that is replaced keeps its
/// own, and a symbolic link keeps pointing at it. What is no regular file (a terminal, a pipe) is
/// written through, for renaming over a device would destroy it.
///
/// # Errors
/// Whatever the system refuses; see [`SaveError`].
pub fn save(path: &Path, bytes: &[u8]) -> Result<(), SaveError> {
    save_with(path, |file| file.write_all(bytes))
}

/// Like [`save`], with bytes that `write` writes; it buffers them itself, if it has reason to.
///
/// # Errors
/// As [`save`]; what `write` says is one of writing.
pub fn save_with(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), SaveError> {
    let fail = |op| move |source| SaveError { op, path: path.to_path_buf(), source };
    let (place, old) = match look(path).map_err(fail("write"))? {
        Way::Replace(place, old) => (place, old),
        Way::Through => {
            return open(path).and_then(|mut f| write(&mut f)).map_err(fail("write"));
        }
    };
    let (temp, file) = create_beside(&place).map_err(fail("create"))?;
    let filled = fill(file, write, old).map_err(fail("write"));
    let done = filled.and_then(|()| fs::rename(&temp, &place).map_err(fail("replace")));
    if done.is_err() {
        // The first error is the one to tell; this file is ours, and hidden.
        let _ = fs::remove_file(&temp);
        return done;
    }
    // The file is complete and in place; only its survival of a power cut hangs on this, and
    // some file systems cannot do it for folders.
    let _ = File::open(folder_of(&place)).and_then(|folder| folder.sync_all());
    Ok(())
}

/// Finds out whether [`save`] could write there, for those who have long work to do first. Leaves
/// everything as it is.
///
/// # Errors
/// As [`save`].
pub fn check(path: &Path) -> Result<(), SaveError> {
    let fail = |op| move |source| SaveError { op, path: path.to_path_buf(), source };
    match look(path).map_err(fail("write"))? {
        Way::Replace(place, _) => {
            let (temp, _) = create_beside(&place).map_err(fail("create"))?;
            fs::remove_file(temp).map_err(fail("create"))
        }
        Way::Through => open(path).map(drop).map_err(fail("write")),
    }
}

/// How a path can be written.
enum Way {
    /// A new file is moved to this place, where there may be an old one.
    Replace(PathBuf, Option<Metadata>),
    /// No regular file.
    Through,
}

fn look(path: &Path) -> io::Result<Way> {
    match fs::metadata(path) {
        Ok(old) if old.is_file() => Ok(Way::Replace(fs::canonicalize(path)?, Some(old))),
        Ok(_) => Ok(Way::Through),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Way::Replace(path.to_path_buf(), None)),
        Err(e) => Err(e),
    }
}

/// For a folder this fails, with the right words.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A new hidden file in the same folder, since only there a rename is one step. Its name does not
/// contain the other's, which may have the greatest length already.
fn create_beside(place: &Path) -> io::Result<(PathBuf, File)> {
    const TRIES: u32 = 100;
    for n in 0.. {
        let temp = folder_of(place).join(format!(".bittornado-{}-{n}.tmp", process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&temp) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && n < TRIES => {}
            created => return created.map(|file| (temp, file)),
        }
    }
    unreachable!("the last try returns")
}

fn fill(
    mut file: File,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    old: Option<Metadata>,
) -> io::Result<()> {
    write(&mut file)?;
    if let Some(old) = old {
        // Only root can keep a stranger's file a stranger's.
        let _ = fchown(&file, Some(old.uid()), Some(old.gid()));
        file.set_permissions(old.permissions())?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A folder that is removed with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("bt-save-{name}-{}", process::id()));
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        fn names(&self) -> Vec<String> {
            let name = |e: io::Result<fs::DirEntry>| e.unwrap().file_name().into_string().unwrap();
            let mut names: Vec<String> = fs::read_dir(&self.0).unwrap().map(name).collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_and_its_link() {
        let folder = Folder::new("mode");
        let (real, link) = (folder.0.join("real"), folder.0.join("link"));
        save(&real, b"one").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("real", &link).unwrap();
        save(&link, b"two").unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"two");
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(folder.names(), ["link", "real"]);
    }

    #[test]
    fn a_name_of_the_greatest_length_can_be_written() {
        let folder = Folder::new("long");
        let name = "n".repeat(255);
        save(&folder.0.join(&name), b"x").unwrap();
        assert_eq!(folder.names(), [name]);
    }

    #[test]
    fn a_failure_names_the_path_and_leaves_nothing() {
        let folder = Folder::new("fail");
        let missing = folder.0.join("no/where");
        let says = |path: &Path| {
            let e = save(path, b"x").unwrap_err().to_string();
            assert_eq!(check(path).unwrap_err().to_string(), e);
            e
        };
        let wanted = format!("cannot create '{}': No such file or directory", missing.display());
        assert_eq!(says(&missing), wanted);
        let wanted = format!("cannot write '{}': Is a directory", folder.0.display());
        assert_eq!(says(&folder.0), wanted);
        let full = save(Path::new("/dev/full"), b"x").unwrap_err().to_string();
        assert_eq!(full, "cannot write '/dev/full': No space left on device");
        assert_eq!(folder.names(), [""; 0]);
    }

    #[test]
    fn a_check_changes_nothing() {
        let folder = Folder::new("check");
        let old = folder.0.join("old");
        fs::write(&old, b"old").unwrap();
        check(&old).unwrap();
        check(&folder.0.join("new")).unwrap();
        assert_eq!((folder.names(), fs::read(&old).unwrap()), (vec!["old".into()], b"old".into()));
    }

    #[test]
    fn a_leftover_of_a_killed_process_is_no_obstacle() {
        let folder = Folder::new("left");
        let left = folder.0.join(format!(".bittornado-{}-0.tmp", process::id()));
        fs::write(&left, b"old").unwrap();
        save(&folder.0.join("new"), b"new").unwrap();
        assert_eq!(fs::read(left).unwrap(), b"old");
    }
}
