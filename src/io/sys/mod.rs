//! Thin safe wrappers over the system calls that the standard library lacks: epoll, non-blocking
//! sockets, probing the page cache, opening files beneath a directory, terminals.
//!
//! The rest of `io` calls these. Nothing here keeps state, decides, or retries anything but a
//! call that a signal interrupted. Errors are the system's own, without a word about what was
//! tried: that is for the caller to add.

mod file;
mod net;
mod terminal;
mod watch;

pub use file::*;
pub use net::*;
pub use terminal::*;
pub use watch::*;

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::Resource;

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

/// Has others go before the thread that calls this, for good; of two that want the same core it gets
/// a quarter.
pub fn yield_to_others() {
    // It can only be refused to those who want to go before others. Of threads Linux keeps this
    // apart, whatever POSIX says.
    let _ = rustix::process::nice(6);
}

/// How many descriptors this process has open; `None` where the system does not say.
pub fn open_descriptors() -> Option<usize> {
    // One of them is for the reading itself.
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}

/// How many descriptors this process may have (`u64::MAX`: no limit).
pub fn descriptor_limit() -> u64 {
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptor_limit_only_grows() {
        let before = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert!(raise_descriptor_limit() >= before);
    }
}
