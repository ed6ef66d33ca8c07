//! Runs a user's program beside ours and tells how it ended. No shell, no arguments: what it should
//! know is in its environment.
//!
//! It is started and waited for on a thread of its own, since even the start may hang; it gets no
//! input, and shares our outputs. In its own process group it survives a Ctrl-C that is meant for
//! us, and our end.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

use crate::io::mailbox::Post;
use crate::io::reason;

/// The thread calls nothing deep.
const STACK: usize = 128 * 1024;

/// A program to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Comes back with its end; means nothing here.
    pub number: u64,
    /// The program; one without a slash is looked for in PATH.
    pub program: PathBuf,
    /// What is added to our own environment.
    pub variables: Vec<(&'static str, OsString)>,
}

/// How a program ended.
#[derive(Debug)]
pub struct Done {
    /// The hook's.
    pub number: u64,
    program: PathBuf,
    result: io::Result<ExitStatus>,
}

impl Done {
    /// What a user should know of it: nothing, if all went well.
    pub fn trouble(&self) -> Option<HookError<'_>> {
        let bad = !self.result.as_ref().is_ok_and(ExitStatus::success);
        bad.then_some(HookError(self))
    }
}

/// Why a program did not do its work.
#[derive(Debug)]
pub struct HookError<'a>(&'a Done);

impl fmt::Display for HookError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.0.program.display();
        match &self.0.result {
            Err(e) => write!(f, "cannot run '{program}': {}", reason(e)),
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => write!(f, "'{program}' failed with exit code {code}"),
                (None, Some(signal)) => write!(f, "'{program}' was ended by signal {signal}"),
                (None, None) => write!(f, "'{program}' failed"),
            },
        }
    }
}

impl std::error::Error for HookError<'_> {}

/// Runs it; how it ended is posted. Never waits.
///
/// # Errors
/// The system has no thread for it.
pub fn run<E: From<Done> + Send + 'static>(hook: Hook, post: Post<E>) -> io::Result<()> {
    let thread = thread::Builder::new().name("hook".into()).stack_size(STACK);
    thread.spawn(move || {
        let result = Command::new(&hook.program)
            .envs(hook.variables)
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .and_then(|mut child| child.wait());
        post.send(Done { number: hook.number, program: hook.program, result }.into());
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::mailbox::mailbox;
    use crate::io::reactor::Reactor;
    use std::time::{Duration, Instant};

    /// What is said of a program with these variables.
    fn said(program: &str, variables: Vec<(&'static str, OsString)>) -> Option<String> {
        let mut reactor = Reactor::new().unwrap();
        let (post, mailbox) = mailbox::<Done>(1, reactor.waker());
        run(Hook { number: 4, program: program.into(), variables }, post).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut events = vec![];
        loop {
            reactor.turn(Some(Duration::from_secs(1)), &mut events).unwrap();
            if let Some(done) = mailbox.try_recv() {
                return done.trouble().map(|e| e.to_string());
            }
            assert!(Instant::now() < deadline, "no word of {program}");
        }
    }

    #[test]
    fn a_program_that_does_its_work_is_not_worth_a_word() {
        assert_eq!(said("true", vec![]), None);
    }

    #[test]
    fn a_program_that_fails_or_is_not_there_is_named() {
        assert_eq!(said("false", vec![]).unwrap(), "'false' failed with exit code 1");
        let missing = said("/nowhere/to be found", vec![]).unwrap();
        assert_eq!(missing, "cannot run '/nowhere/to be found': No such file or directory");
    }
}
