//! Terminals, and what belongs to them: modes, readiness, stopping and going on.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, getpgid, getppid, getsid};
use rustix::termios::{OptionalActions, Termios};

/// Columns and rows of a terminal, both at least 1; `None` if it is no terminal, or one that does
/// not know.
pub fn terminal_size(terminal: impl AsFd) -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// How a terminal is set.
#[derive(Debug, Clone)]
pub struct Modes(Termios);

impl Modes {
    /// Those of a terminal.
    ///
    /// # Errors
    /// It is none.
    pub fn of(terminal: impl AsFd) -> io::Result<Modes> {
        Ok(Modes(rustix::termios::tcgetattr(terminal)?))
    }

    /// The same, but every key comes at once and as it is, and nothing is echoed or translated.
    pub fn raw(&self) -> Modes {
        let mut modes = self.0.clone();
        modes.make_raw();
        Modes(modes)
    }

    /// Sets a terminal so, at once.
    ///
    /// # Errors
    /// It is none, or is gone.
    pub fn set(&self, terminal: impl AsFd) -> io::Result<()> {
        Ok(rustix::termios::tcsetattr(terminal, OptionalActions::Now, &self.0)?)
    }
}

/// Waits until something can be read, or the other end is gone; `None` waits for ever. False if
/// the time is over, or a signal came.
///
/// # Errors
/// It cannot be waited for.
pub fn wait_readable(source: impl AsFd, patience: Option<Duration>) -> io::Result<bool> {
    wait(&source, PollFlags::IN, patience)
}

/// Waits until something can be written without waiting. As [`wait_readable`].
///
/// # Errors
/// It cannot be waited for.
pub fn wait_writable(sink: impl AsFd, patience: Option<Duration>) -> io::Result<bool> {
    wait(&sink, PollFlags::OUT, patience)
}

fn wait(what: &impl AsFd, flags: PollFlags, patience: Option<Duration>) -> io::Result<bool> {
    let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
    match poll(&mut [PollFd::new(what, flags)], patience.as_ref()) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Whether somebody is there who could have this process go on after it was stopped: a shell that
/// has it in a job of its own. Of others it would stay stopped for good.
pub fn is_in_a_job() -> bool {
    let (group, session) = (getpgid(None), getsid(None));
    let mut parent = getppid();
    // A job may begin with a process that has begun this one, and so on.
    for _ in 0..MAX_GENERATIONS {
        let Some(pid) = parent else { return false };
        if getpgid(Some(pid)) != group {
            return getsid(Some(pid)) == session;
        }
        parent = parent_of(pid);
    }
    false
}

const MAX_GENERATIONS: usize = 32;

fn parent_of(pid: Pid) -> Option<Pid> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    Pid::from_raw(parent.trim().parse().ok()?)
}

/// Stops this process until somebody has it go on.
pub fn stop_self() {
    // One may always stop oneself.
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::STOP);
}

/// Asks all processes of this one's job to stop, as a terminal does when Ctrl-Z is pressed.
pub fn suspend_job() {
    let _ = rustix::process::kill_current_process_group(Signal::TSTP);
}
