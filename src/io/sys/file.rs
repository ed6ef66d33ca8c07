//! Files: positioned reads and writes, the page cache, opening beneath a directory.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{
    Access, Advice, AtFlags, FallocateFlags, FileType, FlockOperation, MemfdFlags, Mode, OFlags,
    ResolveFlags, SeekFrom,
};
use rustix::io::{Errno, ReadWriteFlags, retry_on_intr};

use crate::proto::resume::client::Stamp;

/// Reads at an offset, without moving the file's position; 0 is the end of the file.
///
/// # Errors
/// What pread(2) says.
pub fn pread(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::io::pread(file, &mut *buffer, offset))?)
}

/// Reads at an offset into several buffers, one behind the other; 0 is the end of the file.
///
/// # Errors
/// What preadv(2) says.
pub fn preadv(file: &File, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::io::preadv(file, buffers, offset))?)
}

/// Like [`preadv`], but only what can be read without waiting for a disk: `None` where that is
/// nothing, or where the kernel or the file's system cannot tell.
///
/// # Errors
/// What preadv2(2) says.
pub fn preadv_cached(
    file: &File,
    buffers: &mut [IoSliceMut<'_>],
    offset: u64,
) -> io::Result<Option<usize>> {
    match retry_on_intr(|| rustix::io::preadv2(file, buffers, offset, ReadWriteFlags::NOWAIT)) {
        Ok(n) => Ok(Some(n)),
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Writes at an offset, at most 1024 buffers, and says how many bytes went.
///
/// # Errors
/// What pwritev(2) says.
pub fn pwritev(file: &File, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::io::pwritev(file, buffers, offset))?)
}

/// Whether the byte at this offset could be read without waiting for a disk: `None` where the
/// kernel or the file's system cannot tell.
///
/// # Errors
/// What preadv2(2) says; the end of the file is `UnexpectedEof`.
pub fn is_cached(file: &File, offset: u64) -> io::Result<Option<bool>> {
    let mut byte = [0];
    let read = retry_on_intr(|| {
        let mut buffers = [IoSliceMut::new(&mut byte)];
        rustix::io::preadv2(file, &mut buffers, offset, ReadWriteFlags::NOWAIT)
    });
    match read {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => Ok(Some(true)),
        Err(Errno::AGAIN) => Ok(Some(false)),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Asks the kernel to read a range into the page cache. Only advice: nothing tells whether it was
/// taken.
pub fn will_need(file: &File, offset: u64, length: u64) {
    let _ = rustix::fs::fadvise(file, offset, std::num::NonZeroU64::new(length), Advice::WillNeed);
}

/// Gives the space of a range of a file back to its file system; it then reads as zeros. Only where
/// the file system can do that.
pub fn give_back(file: &File, offset: u64, length: u64) {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let _ = rustix::fs::fallocate(file, flags, offset, length);
}

/// A file in memory that reads as so many zeros, and takes none.
///
/// # Errors
/// What memfd_create(2) and ftruncate(2) say.
pub fn zeros(length: u64) -> io::Result<File> {
    let file = rustix::fs::memfd_create("zeros", MemfdFlags::CLOEXEC)?;
    rustix::fs::ftruncate(&file, length)?;
    Ok(file.into())
}

/// Makes a directory, and those above it, for this user alone.
///
/// # Errors
/// What mkdir(2) says; one that is there already is as good.
pub fn make_private_dirs(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Asks the kernel to forget what it holds of a range of a file; what is not on the disk yet stays.
/// Only advice.
pub fn forget(file: &File, offset: u64, length: u64) {
    let _ = rustix::fs::fadvise(file, offset, std::num::NonZeroU64::new(length), Advice::DontNeed);
}

/// Locks an open file for us alone, or, `shared`, against those that want it alone; until it is
/// closed or unlocked. Never waits: `false` if another program, or another open file of this one,
/// has it.
///
/// # Errors
/// What flock(2) says; [`has_no_locks`] tells whether it is no use to try again.
pub fn lock(file: &File, shared: bool) -> io::Result<bool> {
    let how = match shared {
        true => FlockOperation::NonBlockingLockShared,
        false => FlockOperation::NonBlockingLockExclusive,
    };
    match retry_on_intr(|| rustix::fs::flock(file, how)) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether an error says that there are no locks where a file lies: NFS without its lock daemon,
/// FUSE, and the like.
pub fn has_no_locks(error: &io::Error) -> bool {
    let without = [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL];
    Errno::from_io_error(error).is_some_and(|errno| without.contains(&errno))
}

/// Gives a lock back while the file stays open.
pub fn unlock(file: &File) {
    let _ = rustix::fs::flock(file, FlockOperation::NonBlockingUnlock);
}

/// Claims space for a range of a file, and lengthens the file if it ends before; what is in it
/// stays.
///
/// # Errors
/// What fallocate(2) says; [`cannot_claim`] tells whether its file system has no such thing.
pub fn claim(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let flags = FallocateFlags::empty();
    Ok(retry_on_intr(|| rustix::fs::fallocate(file, flags, offset, length))?)
}

/// Whether an error says that a file system has no way to claim space.
pub fn cannot_claim(error: &io::Error) -> bool {
    let without = [Errno::OPNOTSUPP, Errno::NOSYS];
    Errno::from_io_error(error).is_some_and(|errno| without.contains(&errno))
}

/// Lengthens a file by a hole; one that is as long stays as it is.
///
/// # Errors
/// What fstat(2) and ftruncate(2) say.
pub fn stretch(file: &File, to: u64) -> io::Result<()> {
    if length(file)? < to {
        retry_on_intr(|| rustix::fs::ftruncate(file, to))?;
    }
    Ok(())
}

/// Where the next hole begins, from this offset on; the end of the file if there is none before,
/// and `from` itself behind it. Moves the file's position.
///
/// # Errors
/// What lseek(2) says.
pub fn next_hole(file: &File, from: u64) -> io::Result<u64> {
    match rustix::fs::seek(file, SeekFrom::Hole(from)) {
        Ok(at) => Ok(at),
        Err(Errno::NXIO) => Ok(from),
        Err(Errno::INVAL) => Ok(length(file)?.max(from)),
        Err(error) => Err(error.into()),
    }
}

/// Where the next bytes that are no hole begin, from this offset on; `None` if there are none.
/// Moves the file's position.
///
/// # Errors
/// What lseek(2) says.
pub fn next_data(file: &File, from: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, SeekFrom::Data(from)) {
        Ok(at) => Ok(Some(at)),
        Err(Errno::NXIO) => Ok(None),
        Err(Errno::INVAL) => Ok(Some(from).filter(|from| length(file).is_ok_and(|l| *from < l))),
        Err(error) => Err(error.into()),
    }
}

/// How many bytes of space a file of this name in `dir` has on its disk.
///
/// # Errors
/// What fstatat(2) says.
pub fn claimed_at(dir: &OwnedFd, name: &OsStr, follow: bool) -> io::Result<u64> {
    let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    let stat = rustix::fs::statat(dir, name, flags)?;
    // The unit is 512 bytes whatever the file system's is.
    Ok(u64::try_from(stat.st_blocks).unwrap_or(0) * 512)
}

/// The number of the device that a file of this name in `dir` is on.
///
/// # Errors
/// What fstatat(2) says.
pub fn device_at(dir: &OwnedFd, name: &OsStr) -> io::Result<u64> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    // Some machines have it narrower.
    #[allow(clippy::useless_conversion, reason = "not on all machines")]
    Ok(stat.st_dev.into())
}

/// Waits until all that was written to the file system of an open file is on the disk itself.
///
/// # Errors
/// What syncfs(2) says.
pub fn sync_file_system(of: &File) -> io::Result<()> {
    Ok(rustix::fs::syncfs(of)?)
}

/// How many bytes are free for us on the file system of this path.
///
/// # Errors
/// What statvfs(2) says.
pub fn free(path: &Path) -> io::Result<u64> {
    let stat = retry_on_intr(|| rustix::fs::statvfs(path))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The length of an open file, in bytes.
///
/// # Errors
/// What fstat(2) says.
pub fn length(file: impl AsFd) -> io::Result<u64> {
    let stat = rustix::fs::fstat(file)?;
    Ok(u64::try_from(stat.st_size).unwrap_or(0))
}

/// How an open file looks from outside.
///
/// # Errors
/// What fstat(2) says; `NotFound` if it has no name any more, in any directory.
pub fn stamp(file: impl AsFd) -> io::Result<Stamp> {
    let stat = rustix::fs::fstat(file)?;
    if stat.st_nlink == 0 { Err(io::ErrorKind::NotFound.into()) } else { Ok(stamp_of(&stat)) }
}

/// What the name in `dir` stands for, and how it looks from outside.
///
/// # Errors
/// What fstatat(2) says, so `NotFound` for nothing.
pub fn look_at(dir: &OwnedFd, name: &OsStr, follow: bool) -> io::Result<(Kind, Stamp)> {
    let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    let stat = rustix::fs::statat(dir, name, flags)?;
    Ok((kind(&stat), stamp_of(&stat)))
}

fn stamp_of(stat: &rustix::fs::Stat) -> Stamp {
    // Only ever compared, so that a time beyond the year 2262 may wrap.
    let (seconds, rest): (i64, i64) = (stat.st_mtime as _, stat.st_mtime_nsec as _);
    let mtime = seconds.wrapping_mul(1_000_000_000).wrapping_add(rest);
    Stamp { size: u64::try_from(stat.st_size).unwrap_or(0), mtime }
}

/// How to open a file beneath a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenMode {
    /// For reading and writing, and made if it is not there; else for reading only.
    pub write: bool,
    /// Whether a symbolic link of this name is followed or is an error.
    pub follow: bool,
}

/// What a name in a directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file of this many bytes.
    File(u64),
    /// A directory.
    Directory,
    /// A symbolic link that was not followed.
    Link,
    /// A device, a socket or a pipe.
    Other,
}

/// Opens a directory as a place to look up names in, nothing else; it follows symbolic links.
///
/// # Errors
/// What open(2) says.
pub fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?)
}

/// Like [`open_dir`] for a name in `dir`. A symbolic link that is not followed is "not a
/// directory".
///
/// # Errors
/// What openat(2) says.
pub fn open_dir_at(dir: &OwnedFd, name: &OsStr, follow: bool) -> io::Result<OwnedFd> {
    let mut flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, !follow);
    Ok(retry_on_intr(|| rustix::fs::openat(dir, name, flags, Mode::empty()))?)
}

/// Makes a directory in `dir`; one that is there already is as good.
///
/// # Errors
/// What mkdirat(2) says.
pub fn make_dir_at(dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o777)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Opens a file in `dir`. A pipe or a device without another end does not hang it; whether it is
/// a regular file is for the caller to check.
///
/// # Errors
/// What openat(2) says.
pub fn open_file_at(dir: &OwnedFd, name: &OsStr, mode: OpenMode) -> io::Result<File> {
    let mut flags = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    flags |= if mode.write { OFlags::RDWR | OFlags::CREATE } else { OFlags::RDONLY };
    flags.set(OFlags::NOFOLLOW, !mode.follow);
    let permissions = Mode::from_raw_mode(0o666);
    Ok(retry_on_intr(|| rustix::fs::openat(dir, name, flags, permissions))?.into())
}

/// Opens a file by its path beneath a directory, which leads nowhere else and over no symbolic
/// link; for writing it is made if it is missing. Otherwise as [`open_file_at`].
///
/// # Errors
/// What openat2(2) says; also that there is no such call.
pub fn open_file_beneath(dir: &OwnedFd, path: &Path, write: bool) -> io::Result<File> {
    let mut flags = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    flags |= if write { OFlags::RDWR | OFlags::CREATE } else { OFlags::RDONLY };
    // Without O_CREAT it must be none.
    let permissions = Mode::from_raw_mode(if write { 0o666 } else { 0 });
    let only = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    Ok(rustix::fs::openat2(dir, path, flags, permissions, only)?.into())
}

/// What this name in `dir` stands for.
///
/// # Errors
/// What fstatat(2) says, so `NotFound` for nothing.
pub fn kind_at(dir: &OwnedFd, name: &OsStr, follow: bool) -> io::Result<Kind> {
    Ok(look_at(dir, name, follow)?.0)
}

/// What an open file is.
///
/// # Errors
/// What fstat(2) says.
pub fn kind_of(file: impl AsFd) -> io::Result<Kind> {
    Ok(kind(&rustix::fs::fstat(file)?))
}

fn kind(stat: &rustix::fs::Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File(u64::try_from(stat.st_size).unwrap_or(0)),
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    }
}

/// Whether this process may write a file of this name in `dir`, or, for the name `.`, make new
/// ones there.
///
/// # Errors
/// Why not, as access(2) says.
pub fn may_write_at(dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let mut access = Access::WRITE_OK;
    access.set(Access::EXEC_OK, name == ".");
    Ok(rustix::fs::accessat(dir, name, access, AtFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positioned_reads_and_writes_do_not_move() {
        let path = std::env::temp_dir().join(format!("bittornado-pread-{}", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let parts = [IoSlice::new(b"abc"), IoSlice::new(b"def")];
        assert_eq!(pwritev(&file, &parts, 10).unwrap(), 6);
        assert_eq!(length(&file).unwrap(), 16);
        let mut buffer = [1; 8];
        assert_eq!(pread(&file, &mut buffer, 9).unwrap(), 7);
        assert_eq!(&buffer[..7], b"\0abcdef");
        assert_eq!(pread(&file, &mut buffer, 16).unwrap(), 0);
    }

    #[test]
    fn what_was_just_written_is_cached_and_the_end_is_told() {
        let path = std::env::temp_dir().join(format!("bittornado-cached-{}", std::process::id()));
        std::fs::write(&path, [7; 5000]).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_ne!(is_cached(&file, 4999).unwrap(), Some(false));
        assert_eq!(is_cached(&file, 5000).map_err(|e| e.kind()).unwrap_or(None), None);
        let (mut head, mut tail) = ([0; 3], [0; 9]);
        let mut buffers = [IoSliceMut::new(&mut head), IoSliceMut::new(&mut tail)];
        assert!(matches!(preadv_cached(&file, &mut buffers, 4990).unwrap(), None | Some(10)));
        assert_eq!(preadv(&file, &mut buffers, 4990).unwrap(), 10);
        assert_eq!((head, tail), ([7; 3], [7, 7, 7, 7, 7, 7, 7, 0, 0]));
        will_need(&file, 0, 5000);
    }
}
