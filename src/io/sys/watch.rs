//! Waiting until descriptors are ready: epoll.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};

/// What to wait for on a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interest {
    /// Wait until reading would not block (or would tell of an end or an error).
    pub read: bool,
    /// Wait until writing would not block (or would tell of an error).
    pub write: bool,
    /// Tell of what comes only once, and of nothing that is there when the wait begins a second
    /// time: for those who read all there is. A change of what is waited for begins anew.
    pub once: bool,
}

impl Interest {
    /// Wait for nothing, not even for a hang-up.
    pub const NONE: Interest = Interest { read: false, write: false, once: false };
    /// Wait until it can be read.
    pub const READ: Interest = Interest { read: true, write: false, once: false };
    /// Wait until something more has come. Cheaper where it is waited for again and again.
    pub const NEWS: Interest = Interest { read: true, write: false, once: true };
    /// Wait until it can be written.
    pub const WRITE: Interest = Interest { read: false, write: true, once: false };
    /// Wait for either.
    pub const BOTH: Interest = Interest { read: true, write: true, once: false };

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.read);
        flags.set(EventFlags::OUT, self.write);
        flags.set(EventFlags::ET | EventFlags::RDHUP, self.once);
        flags
    }
}

/// What was found on a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// Reading will not block. Also set on a hang-up or an error: whoever reads meets it there.
    pub readable: bool,
    /// Writing will not block; also set on a hang-up or an error.
    pub writable: bool,
    /// The other side is gone in both directions, or the socket has an error; with
    /// [`Interest::once`] also that it will send no more.
    pub hangup: bool,
}

impl Ready {
    fn from_flags(flags: EventFlags) -> Ready {
        // The last of them is told only where it was asked for.
        let hangup = flags.intersects(EventFlags::HUP | EventFlags::ERR | EventFlags::RDHUP);
        Ready {
            readable: hangup || flags.contains(EventFlags::IN),
            writable: hangup || flags.contains(EventFlags::OUT),
            hangup,
        }
    }
}

/// Longer waits are cut to this: no clock overflows, and a turn too many once a day costs nothing.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// Descriptors told of by one wait at most; the others come first in the next one.
const MAX_FOUND: usize = 256;

/// Descriptors that are waited for, each under a number that its owner chose.
#[derive(Debug)]
pub struct Watch(OwnedFd);

impl Watch {
    /// One of nothing yet.
    ///
    /// # Errors
    /// Out of descriptors or memory.
    pub fn new() -> io::Result<Watch> {
        Ok(Watch(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Waits for a descriptor from now on. It must be taken out before it is closed.
    ///
    /// # Errors
    /// It is here already, it is of a kind that is always ready, or the kernel's memory for this
    /// is used up.
    pub fn add(&self, fd: impl AsFd, interest: Interest, number: u64) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, EventData::new_u64(number), interest.flags())?)
    }

    /// Waits for a counter of [`event_counter`] or a [`timer`], and tells of each raise and of each
    /// time that is up once.
    ///
    /// # Errors
    /// As for [`Watch::add`].
    pub fn add_counter(&self, counter: &OwnedFd, number: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::ET;
        Ok(epoll::add(&self.0, counter, EventData::new_u64(number), flags)?)
    }

    /// Waits for something else on a descriptor.
    ///
    /// # Errors
    /// It is not here.
    pub fn change(&self, fd: impl AsFd, interest: Interest, number: u64) -> io::Result<()> {
        Ok(epoll::modify(&self.0, fd, EventData::new_u64(number), interest.flags())?)
    }

    /// Waits for a descriptor no longer. What is not here cannot be taken out, which is no harm.
    pub fn remove(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.0, fd);
    }

    /// Waits until a descriptor is ready or the time is over (`None`: as long as it takes), then
    /// calls `found` with the number of each ready one. A signal ends the wait early with nothing
    /// found. Times are rounded up to milliseconds.
    ///
    /// # Errors
    /// What epoll_wait(2) says.
    pub fn wait(
        &self,
        timeout: Option<Duration>,
        mut found: impl FnMut(u64, Ready),
    ) -> io::Result<()> {
        let timeout = timeout.map(timespec);
        let mut room = [const { MaybeUninit::uninit() }; MAX_FOUND];
        let ready = match epoll::wait(&self.0, &mut room[..], timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok(()),
            result => result?.0,
        };
        for event in ready {
            let (flags, data) = (event.flags, event.data);
            found(data.u64(), Ready::from_flags(flags));
        }
        Ok(())
    }
}

fn timespec(t: Duration) -> Timespec {
    let t = t.min(LONGEST_WAIT);
    Timespec { tv_sec: t.as_secs() as i64, tv_nsec: t.subsec_nanos() as _ }
}

/// A timer that can be waited for, and stands still.
///
/// # Errors
/// Out of descriptors or memory.
pub fn timer() -> io::Result<OwnedFd> {
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    Ok(rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?)
}

/// Has a [`timer`] tell once when this time is over, a day at most, and not of an earlier one any
/// more.
///
/// # Errors
/// It is no timer.
pub fn set_timer(timer: &OwnedFd, wait: Duration) -> io::Result<()> {
    let once = Timespec { tv_sec: 0, tv_nsec: 0 };
    // Zero would stop it.
    let wait = timespec(wait.max(Duration::from_nanos(1)));
    let spec = Itimerspec { it_interval: once, it_value: wait };
    rustix::time::timerfd_settime(timer, TimerfdTimerFlags::empty(), &spec)?;
    Ok(())
}

/// A counter that can be waited for, at zero; writing it never blocks.
///
/// # Errors
/// Out of descriptors or memory.
pub fn event_counter() -> io::Result<OwnedFd> {
    Ok(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Raises an event counter. One that cannot be raised higher tells of it all the same, so nothing
/// can go wrong that matters.
pub fn raise(counter: &OwnedFd) {
    let _ = rustix::io::retry_on_intr(|| rustix::io::write(counter, &1u64.to_ne_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(watch: &Watch) -> Vec<(u64, Ready)> {
        let mut all = Vec::new();
        watch.wait(Some(Duration::ZERO), |number, ready| all.push((number, ready))).unwrap();
        all
    }

    #[test]
    fn each_raise_of_a_counter_is_told_once() {
        let (counter, watch) = (event_counter().unwrap(), Watch::new().unwrap());
        watch.add_counter(&counter, 7).unwrap();
        assert_eq!(found(&watch), []);
        for _ in 0..2 {
            raise(&counter);
            raise(&counter);
            let ready = Ready { readable: true, writable: false, hangup: false };
            assert_eq!(found(&watch), [(7, ready)]);
            assert_eq!(found(&watch), []);
        }
    }

    #[test]
    fn news_are_told_once_each_and_the_end_with_them() {
        use std::io::Write;
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let watch = Watch::new().unwrap();
        watch.add(&ours, Interest::NEWS, 1).unwrap();
        assert_eq!(found(&watch), []);
        for _ in 0..2 {
            theirs.write_all(b"x").unwrap();
            assert_eq!(
                found(&watch),
                [(1, Ready { readable: true, writable: false, hangup: false })]
            );
            assert_eq!(found(&watch), []);
        }
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(found(&watch)[0].1.hangup);
        // All of it is still there for who asks in the ordinary way.
        watch.change(&ours, Interest::READ, 1).unwrap();
        assert!(found(&watch)[0].1.readable);
    }

    #[test]
    fn only_what_is_there_is_told_of() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let watch = Watch::new().unwrap();
        watch.add(&ours, Interest::WRITE, 1).unwrap();
        assert!(watch.add(&ours, Interest::READ, 2).is_err(), "it is there already");
        assert_eq!(found(&watch)[0].0, 1);
        watch.change(&ours, Interest::READ, 3).unwrap();
        assert_eq!(found(&watch), []);
        drop(theirs);
        assert!(found(&watch)[0].1.hangup);
        watch.remove(&ours);
        assert_eq!(found(&watch), []);
    }
}
