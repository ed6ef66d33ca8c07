//! Thin safe wrappers over the system calls that the standard library lacks: poll, non-blocking
//! sockets, sendfile, probing the page cache, opening files beneath a directory.
//!
//! The rest of `io` calls these. Nothing here keeps state, decides, or retries anything but a
//! call that a signal interrupted. Errors are the system's own, without a word about what was
//! tried: that is for the caller to add.

mod file;
mod net;

pub use file::*;
pub use net::*;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::process::Resource;

/// What to wait for on a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interest {
    /// Wait until reading would not block (or would tell of an end or an error).
    pub read: bool,
    /// Wait until writing would not block (or would tell of an error).
    pub write: bool,
}

impl Interest {
    /// Wait for nothing, not even for a hang-up.
    pub const NONE: Interest = Interest { read: false, write: false };
    /// Wait until it can be read.
    pub const READ: Interest = Interest { read: true, write: false };
    /// Wait until it can be written.
    pub const WRITE: Interest = Interest { read: false, write: true };
    /// Wait for either.
    pub const BOTH: Interest = Interest { read: true, write: true };

    fn flags(self) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, self.read);
        flags.set(PollFlags::OUT, self.write);
        flags
    }
}

/// What poll found on a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// Reading will not block. Also set on a hang-up or an error: whoever reads meets it there.
    pub readable: bool,
    /// Writing will not block; also set on a hang-up or an error.
    pub writable: bool,
    /// The other side is gone in both directions, or the socket has an error.
    pub hangup: bool,
}

impl Ready {
    fn from_flags(flags: PollFlags) -> Ready {
        let hangup = flags.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
        Ready {
            readable: hangup || flags.contains(PollFlags::IN),
            writable: hangup || flags.contains(PollFlags::OUT),
            hangup,
        }
    }
}

/// Longer waits are cut to this: no clock overflows, and a turn too many once a day costs nothing.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// Waits until one of the descriptors is ready or the time is over (`None`: as long as it takes),
/// then calls `found` with the place of each ready one in `wanted`. A signal ends the wait early
/// with nothing found. Allocates one table for `count` entries (a hint).
///
/// # Errors
/// What poll(2) says, such as more descriptors than the process may have open.
pub fn poll<'a>(
    count: usize,
    wanted: impl Iterator<Item = (BorrowedFd<'a>, Interest)>,
    timeout: Option<Duration>,
    mut found: impl FnMut(usize, Ready),
) -> io::Result<()> {
    let mut fds = Vec::with_capacity(count);
    fds.extend(wanted.map(|(fd, interest)| PollFd::from_borrowed_fd(fd, interest.flags())));
    let timeout = timeout.map(|t| {
        let t = t.min(LONGEST_WAIT);
        Timespec { tv_sec: t.as_secs() as i64, tv_nsec: t.subsec_nanos() as _ }
    });
    let mut left = match rustix::event::poll(&mut fds, timeout.as_ref()) {
        Err(rustix::io::Errno::INTR) => 0,
        result => result?,
    };
    for (place, fd) in fds.iter().enumerate() {
        if left == 0 {
            break;
        }
        let flags = fd.revents();
        if !flags.is_empty() {
            left -= 1;
            found(place, Ready::from_flags(flags));
        }
    }
    Ok(())
}

/// A counter that poll can wait for, at zero; reading and writing it never block.
///
/// # Errors
/// Out of descriptors or memory.
pub fn event_counter() -> io::Result<OwnedFd> {
    Ok(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Makes an event counter readable. A counter that is full is readable already, so nothing can
/// go wrong that matters.
pub fn raise(counter: &OwnedFd) {
    let _ = rustix::io::retry_on_intr(|| rustix::io::write(counter, &1u64.to_ne_bytes()));
}

/// Makes an event counter unreadable again.
pub fn clear(counter: &OwnedFd) {
    let mut value = [0; 8];
    let _ = rustix::io::retry_on_intr(|| rustix::io::read(counter, &mut value));
}

/// Random bytes from the kernel: for names and seeds.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Up to 256 bytes come whole once the kernel has gathered enough at boot; before that it
    // waits, and a signal may end the wait.
    let flags = rustix::rand::GetRandomFlags::empty();
    let _ = rustix::io::retry_on_intr(|| rustix::rand::getrandom(&mut bytes, flags));
    bytes
}

/// A new handle of one of this process' own descriptors, by its number: the safe way to what was
/// handed over at the start.
///
/// # Errors
/// There is none with that number, or the kernel is older than 5.6.
pub fn own_descriptor(number: i32) -> io::Result<OwnedFd> {
    let this = rustix::process::pidfd_open(
        rustix::process::getpid(),
        rustix::process::PidfdFlags::empty(),
    )?;
    let flags = rustix::process::PidfdGetfdFlags::empty();
    Ok(rustix::process::pidfd_getfd(&this, number, flags)?)
}

/// Raises this process' limit of open descriptors as far as its owner may, and says what it is
/// now (`u64::MAX`: none).
pub fn raise_descriptor_limit() -> u64 {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    let now = match rustix::process::setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.maximum,
        Err(_) => before,
    };
    now.unwrap_or(u64::MAX)
}

/// How many descriptors this process may have (`u64::MAX`: no limit).
pub fn descriptor_limit() -> u64 {
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Columns and rows of a terminal, both at least 1; `None` if it is no terminal, or one that does
/// not know.
pub fn terminal_size(terminal: impl AsFd) -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn ready(fd: &OwnedFd) -> Vec<(usize, Ready)> {
        let mut found = Vec::new();
        let wanted = [(fd.as_fd(), Interest::READ)].into_iter();
        poll(1, wanted, Some(Duration::ZERO), |place, ready| found.push((place, ready))).unwrap();
        found
    }

    #[test]
    fn a_counter_is_readable_from_raise_to_clear() {
        let counter = event_counter().unwrap();
        assert_eq!(ready(&counter), []);
        raise(&counter);
        raise(&counter);
        assert_eq!(ready(&counter)[0].1, Ready { readable: true, writable: false, hangup: false });
        clear(&counter);
        assert_eq!(ready(&counter), []);
        clear(&counter);
    }

    #[test]
    fn the_descriptor_limit_only_grows() {
        let before = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert!(raise_descriptor_limit() >= before);
    }
}
