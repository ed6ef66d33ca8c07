//! Reads whole files that the user named. A pipe is not waited for, and what never ends, as some
//! devices, does not fill the memory.
//!
//! For the tracker's lists and its state. Torrents have ways of their own (`io/storage`).

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Opens a file for reading, but for pipes and sockets, which would be waited for.
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::FileTypeExt;
    let kind = fs::metadata(path)?.file_type();
    if kind.is_fifo() || kind.is_socket() {
        return Err(io::Error::other("it is no regular file"));
    }
    File::open(path)
}

/// All of a file, of so many bytes at most.
///
/// # Errors
/// It is longer, a pipe or a socket, or cannot be read.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other("it is too large"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_waited_for_and_nothing_is_endless() {
        let (null, zero) = (Path::new("/dev/null"), Path::new("/dev/zero"));
        assert_eq!(read(null, 10).unwrap(), b"");
        assert_eq!(read(zero, 10).unwrap_err().to_string(), "it is too large");
        let path = std::env::temp_dir().join(format!("bittornado-plain-{}", std::process::id()));
        fs::write(&path, "0123456789").unwrap();
        assert_eq!(read(&path, 10).unwrap(), b"0123456789");
        assert!(read(&path, 9).is_err());
        fs::remove_file(&path).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(open(&path).unwrap_err().to_string(), "it is no regular file");
        drop(socket);
        fs::remove_file(&path).unwrap();
    }
}
