//! Signals as calls of a function on a thread of their own, which posts them where they belong.
//!
//! SIGPIPE needs no word here: the runtime of Rust ignores it in every program, and what is sent
//! asks for no signal anyway.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGUSR1, SIGWINCH, SIGXFSZ};
use signal_hook::{flag, low_level};

/// A signal that a program may want to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// SIGINT: the user pressed Ctrl-C.
    Interrupt,
    /// SIGTERM: the system asks to end.
    Terminate,
    /// SIGHUP: the terminal is gone. A tracker reopens its log and reads its lists again.
    HangUp,
    /// SIGUSR1: say more about what goes on.
    User1,
    /// SIGWINCH: the terminal has another size.
    WindowChange,
    /// SIGTSTP: the user wishes to stop the program for a while.
    Suspend,
    /// SIGCONT: it goes on.
    Continue,
}

impl Signal {
    fn number(self) -> i32 {
        match self {
            Signal::Interrupt => SIGINT,
            Signal::Terminate => SIGTERM,
            Signal::HangUp => SIGHUP,
            Signal::User1 => SIGUSR1,
            Signal::WindowChange => SIGWINCH,
            Signal::Suspend => SIGTSTP,
            Signal::Continue => SIGCONT,
        }
    }
}

/// Enough for a thread that reads a byte and posts a message.
const STACK: usize = 64 * 1024;

/// Calls `heard` for each of these signals that comes from now on, one at a time, on a thread
/// that lives as long as the process. Signals that come faster than they are heard are told once,
/// and two different ones not always in their order.
///
/// # Errors
/// No thread or descriptor to be had; then some of the signals may already be swallowed.
pub fn watch(signals: &[Signal], mut heard: impl FnMut(Signal) + Send + 'static) -> io::Result<()> {
    let (mut wake, ring) = UnixStream::pair()?;
    let mut flags = Vec::with_capacity(signals.len());
    for signal in signals {
        // The flag before the byte: actions run in the order of their registration, so whoever
        // has read the byte finds the flag set.
        let came = Arc::new(AtomicBool::new(false));
        flag::register(signal.number(), Arc::clone(&came))?;
        low_level::pipe::register(signal.number(), ring.try_clone()?)?;
        flags.push((*signal, came));
    }
    let listen = move || {
        let mut bytes = [0; 16];
        loop {
            // Before the first byte too: a signal that comes between a flag and its pipe sets the
            // flag alone.
            for (signal, came) in &flags {
                if came.swap(false, Ordering::AcqRel) {
                    heard(*signal);
                }
            }
            match wake.read(&mut bytes) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return,
                Ok(0) => return,
                _ => {}
            }
        }
    };
    thread::Builder::new().name("signals".into()).stack_size(STACK).spawn(listen).map(drop)
}

/// Whether the process was started with this signal ignored, as by nohup. Where /proc does not
/// tell, it counts as not.
pub fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal.number() - 1) & 1 == 1)
}

/// Lets a write beyond the user's limit of file sizes fail, instead of ending the process.
///
/// # Errors
/// The system does not let us.
pub fn survive_size_limit() -> io::Result<()> {
    flag::register(SIGXFSZ, Arc::default()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn each_signal_is_heard_under_its_own_name() {
        let (sender, heard) = channel();
        let signals = [Signal::User1, Signal::HangUp, Signal::WindowChange];
        watch(&signals, move |signal| sender.send(signal).unwrap()).unwrap();
        for signal in [Signal::HangUp, Signal::WindowChange, Signal::User1, Signal::User1] {
            low_level::raise(signal.number()).unwrap();
            assert_eq!(heard.recv_timeout(Duration::from_secs(60)), Ok(signal));
        }
    }
}
