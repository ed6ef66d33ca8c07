//! Makes a range ready for sending: every page of it in the page cache, no byte copied for that.

use std::io;

use crate::io::storage::{Call, DiskError, Part, Storage};
use crate::io::sys;
use crate::proto::geometry::BlockRef;

/// The smallest page of any machine we run on; larger ones are only asked about more often.
const PAGE: u64 = 4096;

/// How much is read at a time, in bytes, where everything has to be.
const READ: usize = 64 * 1024;

/// The parts of a range, once each of their pages is in the page cache. May wait for the disk.
///
/// # Errors
/// What the system says; a file that ends before its part does.
pub(super) fn parts(storage: &Storage, range: BlockRef) -> Result<Vec<Part>, DiskError> {
    let parts = storage.parts(range)?;
    let ahead = match storage.options().read_ahead {
        true => u64::from(storage.geometry().piece_size(range.piece()) - range.end()),
        false => 0,
    };
    for (part, place) in parts.iter().zip(storage.geometry().file_ranges(range)) {
        let fetched = storage.faults().meet(Call::Read, 0).and_then(|_| fetch(part, ahead));
        fetched.map_err(|source| storage.error("read", place.file, source))?;
    }
    Ok(parts)
}

/// Brings a part into the page cache, and has the system bring `ahead` more bytes behind it, as
/// far as the file has them.
pub(in crate::io) fn fetch(part: &Part, ahead: u64) -> io::Result<()> {
    let mut advised = false;
    for at in pages(part) {
        match sys::is_cached(&part.file, at)? {
            Some(true) => continue,
            Some(false) => {}
            None => return read_through(part),
        }
        if !advised {
            // One order for all that is missing, before the first wait.
            sys::will_need(&part.file, at, part.offset + part.length - at + ahead);
            advised = true;
        }
        if sys::pread(&part.file, &mut [0], at)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// Where the system cannot tell what is cached, reading everything takes fewer calls than a byte
/// of each page.
fn read_through(part: &Part) -> io::Result<()> {
    let (mut at, end) = (part.offset, part.offset + part.length);
    let mut buffer = vec![0; READ];
    while at < end {
        let most = usize::try_from(end - at).unwrap_or(READ).min(READ);
        match sys::pread(&part.file, &mut buffer[..most], at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => at += n as u64,
        }
    }
    Ok(())
}

/// The last byte of the part in each page it touches: the very last one also tells whether the
/// file is long enough.
fn pages(part: &Part) -> impl Iterator<Item = u64> {
    let (first, last) = (part.offset, part.offset + part.length - 1);
    (first / PAGE..=last / PAGE).map(move |page| (page * PAGE + PAGE - 1).min(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::sync::Arc;

    #[test]
    fn a_file_that_cannot_tell_what_is_cached_is_read_to_its_end() {
        // Nothing tells so of /proc.
        let file = Arc::new(File::open("/proc/self/maps").unwrap());
        let part = |length| Part { file: Arc::clone(&file), offset: 10, length };
        fetch(&part(100), 0).unwrap();
        let error = fetch(&part(1 << 30), 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
