//! What a command is given: arguments, streams and the current folder, as values.
//!
//! `main` makes one from the process ([`Env::real`]); a test makes one that captures what is
//! written ([`Env::captured`]), so that most tests of a command need no process. Commands never
//! ask the process for any of this themselves.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cmd::Exit;
use crate::io::courier::Courier;
pub use crate::io::reason;
use crate::io::screen::printable;

/// Where a command reads environment variables: name to value.
pub type Vars = Box<dyn Fn(&str) -> Option<OsString> + Send>;

/// Everything a command gets from outside.
pub struct Env {
    /// Arguments, without the program's name. May hold bytes that are no UTF-8.
    pub args: Vec<OsString>,
    /// The command as the user called it, for usage and error lines.
    pub name: String,
    /// Where relative paths start.
    pub cwd: PathBuf,
    /// Standard input.
    pub stdin: Box<dyn Read + Send>,
    /// Standard output. Prefer [`say`](Self::say), which copes with a reader that has left.
    pub out: Box<dyn Write + Send>,
    /// Standard error. Prefer [`error`](Self::error).
    pub err: Box<dyn Write + Send>,
    /// Whether `out` is a terminal.
    pub out_is_terminal: bool,
    /// Whether `err` is a terminal.
    pub err_is_terminal: bool,
    /// Environment variables.
    pub vars: Vars,
    /// Why writing to `out` stopped.
    out_error: Option<io::Error>,
}

impl Env {
    /// The environment of this process. `args` is the whole command line, the program's name
    /// first.
    pub fn real(args: impl IntoIterator<Item = OsString>) -> Env {
        let mut args = args.into_iter();
        let called = args.next().map(PathBuf::from).unwrap_or_default();
        let base = called.file_name().map(|n| n.to_string_lossy().into_owned());
        Env {
            args: args.collect(),
            name: base.unwrap_or_else(|| "bittornado".into()),
            // A deleted folder has no name; relative paths then fail one by one, with a message.
            cwd: std::env::current_dir().unwrap_or_else(|_| ".".into()),
            stdin: Box::new(io::stdin()),
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            out_is_terminal: io::stdout().is_terminal(),
            err_is_terminal: io::stderr().is_terminal(),
            vars: Box::new(|name| std::env::var_os(name)),
            out_error: None,
        }
    }

    /// An environment without a process: empty input, no variables, output kept in the second
    /// value.
    pub fn captured<A: Into<OsString>>(
        name: &str,
        args: impl IntoIterator<Item = A>,
        cwd: impl Into<PathBuf>,
    ) -> (Env, Captured) {
        let captured = Captured::default();
        let env = Env {
            args: args.into_iter().map(Into::into).collect(),
            name: name.into(),
            cwd: cwd.into(),
            stdin: Box::new(io::empty()),
            out: Box::new(captured.out.clone()),
            err: Box::new(captured.err.clone()),
            out_is_terminal: false,
            err_is_terminal: false,
            vars: Box::new(|_| None),
            out_error: None,
        };
        (env, captured)
    }

    /// Writes one line to standard output. Once the reader has left, does nothing: the exit is
    /// then quiet. Any other trouble is reported at the exit.
    pub fn say(&mut self, line: impl Display) {
        self.put(format!("{line}\n").as_bytes());
    }

    /// Like [`say`](Self::say), for bytes as they are, without a line end.
    pub fn put(&mut self, bytes: &[u8]) {
        if self.out_error.is_none() {
            self.out_error = self.out.write_all(bytes).err();
        }
    }

    /// Writes `NAME: message` to standard error, in one line whatever the message holds.
    pub fn error(&mut self, message: impl Display) {
        let line = format!("{}: {message}", self.name);
        // Nobody is left to be told if standard error fails. In one piece, which a courier needs.
        let _ = self.err.write_all(format!("{}\n", printable(&line)).as_bytes());
        let _ = self.err.flush();
    }

    /// [`error`](Self::error), and the exit of a command that could not do its work.
    pub fn failed(&mut self, message: impl Display) -> Exit {
        self.error(message);
        Exit::Failed
    }

    /// [`error`](Self::error), and the exit of a command called wrongly.
    pub fn wrong_usage(&mut self, message: impl Display) -> Exit {
        self.error(message);
        Exit::Usage
    }

    /// An environment variable; `None` if it is unset or empty.
    pub fn var(&self, name: &str) -> Option<OsString> {
        (self.vars)(name).filter(|value| !value.is_empty())
    }

    /// From now on nothing that is written waits for a reader: for commands that go on for days
    /// and must end in time. What has no room is lost, and trouble with writing is not reported.
    pub fn never_wait(&mut self) {
        for stream in [&mut self.out, &mut self.err] {
            let plain = std::mem::replace(stream, Box::new(io::sink()));
            *stream = Box::new(Courier::new(plain));
        }
    }

    /// Gives the standard output away, for a screen that is drawn on from another thread. What
    /// is said afterwards is lost.
    pub fn take_out(&mut self) -> Box<dyn Write + Send> {
        std::mem::replace(&mut self.out, Box::new(io::sink()))
    }

    /// Flushes the output. A reader that has left changes nothing; any other trouble makes the
    /// command fail, since somebody counts on that text.
    pub(crate) fn finish(&mut self, exit: Exit) -> Exit {
        let flushed = self.out.flush();
        match self.out_error.take().or(flushed.err()) {
            Some(e) if e.kind() != io::ErrorKind::BrokenPipe => {
                self.failed(format_args!("cannot write to standard output: {}", reason(&e)))
            }
            _ => exit,
        }
    }
}

/// What a command run in [`Env::captured`] has written.
#[derive(Clone, Default)]
pub struct Captured {
    out: Pipe,
    err: Pipe,
}

impl Captured {
    /// Standard output so far; bytes that are no UTF-8 are replaced.
    pub fn out(&self) -> String {
        self.out.text()
    }

    /// Standard error so far; bytes that are no UTF-8 are replaced.
    pub fn err(&self) -> String {
        self.err.text()
    }
}

#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Vec<u8>>>);

impl Pipe {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refuses(io::ErrorKind);

    impl Write for Refuses {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_error_line_stays_one_line_whatever_it_quotes() {
        let (mut env, captured) = Env::captured("bttrack", [""; 0], "/");
        env.error("cannot read 'a\nb\x1b[2J'");
        assert_eq!(captured.err(), "bttrack: cannot read 'a\\nb\\x1b[2J'\n");
        assert_eq!(captured.out(), "");
    }

    #[test]
    fn a_reader_that_has_left_is_no_failure() {
        let (mut env, captured) = Env::captured("x", [""; 0], "/");
        env.out = Box::new(Refuses(io::ErrorKind::BrokenPipe));
        env.say("hello");
        assert_eq!(env.finish(Exit::Done), Exit::Done);
        assert_eq!(captured.err(), "");
    }

    #[test]
    fn a_full_disk_behind_standard_output_is_a_failure() {
        let (mut env, captured) = Env::captured("x", [""; 0], "/");
        env.out = Box::new(Refuses(io::ErrorKind::StorageFull));
        env.say("hello");
        assert_eq!(env.finish(Exit::Done), Exit::Failed);
        assert!(captured.err().starts_with("x: cannot write to standard output: "));
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let (mut env, _) = Env::captured("x", [""; 0], "/");
        env.vars = Box::new(|name| (name == "A").then(OsString::new).or(Some("b".into())));
        assert_eq!(env.var("A"), None);
        assert_eq!(env.var("B"), Some("b".into()));
    }
}
