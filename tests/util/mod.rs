//! What the tests of the whole program share: a folder of their own, the real binary called
//! through a real symlink, background processes that never outlive the test, bounded waits.
#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, reason = "this is part of tests")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a command may take if the test says nothing else; far more than any needs.
const LIMIT: Duration = Duration::from_secs(60);

/// A folder for one test, empty at first, removed at the end.
pub struct Dir {
    root: PathBuf,
    work: PathBuf,
}

impl Dir {
    /// A new folder.
    pub fn new() -> Dir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique);
        let _ = fs::remove_dir_all(&root);
        let work = root.join("work");
        fs::create_dir_all(&work).unwrap();
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::create_dir_all(root.join("log")).unwrap();
        Dir { root, work }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.work
    }

    /// A path in the folder.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.work.join(name)
    }

    /// Writes a file, making the folders above it, and says where.
    pub fn write(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Reads a file.
    pub fn read(&self, name: impl AsRef<Path>) -> Vec<u8> {
        let path = self.join(name);
        fs::read(&path).unwrap_or_else(|e| panic!("cannot read '{}': {e}", path.display()))
    }

    /// The names in the folder, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.work).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The command `name` of the real binary, called through a symlink of that name, in this
    /// folder, with a home and an environment of its own.
    pub fn cmd(&self, name: &str) -> Cmd {
        let link = self.root.join("bin").join(name);
        if !link.exists() {
            symlink(env!("CARGO_BIN_EXE_bittornado"), &link).unwrap();
        }
        self.program(&link)
    }

    /// Starts a command that a test has built by itself, with its output kept as of the others.
    pub fn background(&self, command: Command) -> Background {
        Cmd { command, log: self.root.join("log"), limit: LIMIT }.start()
    }

    /// Another program, in this folder and with the same environment.
    pub fn program(&self, program: impl AsRef<OsStr>) -> Cmd {
        let mut command = Command::new(program);
        command.current_dir(&self.work).stdin(Stdio::null());
        command.env_clear().env("HOME", &self.root).env("LC_ALL", "C.UTF-8");
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        Cmd { command, log: self.root.join("log"), limit: LIMIT }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// A small file system at a folder, for root alone; gone when dropped.
pub struct Small(PathBuf);

impl Small {
    /// One of this size (`64k`, `1m`) at a folder that is made if it is not there.
    pub fn new(at: PathBuf, size: &str) -> Small {
        fs::create_dir_all(&at).unwrap();
        let options = format!("size={size}");
        let arguments = ["-t", "tmpfs", "-o", &options, "tmpfs"];
        let mount = Command::new("mount").args(arguments).arg(&at).status();
        assert!(mount.unwrap().success());
        Small(at)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A command to be run.
pub struct Cmd {
    command: Command,
    log: PathBuf,
    limit: Duration,
}

impl Cmd {
    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Cmd {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Cmd {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Cmd {
        self.command.env(name, value);
        self
    }

    /// Runs it in another folder.
    pub fn cwd(mut self, dir: impl AsRef<Path>) -> Cmd {
        self.command.current_dir(dir);
        self
    }

    /// Runs it by way of another program, whose arguments it becomes the last of.
    pub fn under(mut self, program: &[&str]) -> Cmd {
        let mut outer = Command::new(program[0]);
        outer.args(&program[1..]).arg(self.command.get_program()).args(self.command.get_args());
        outer.stdin(Stdio::null()).env_clear();
        for (name, value) in self.command.get_envs() {
            value.map(|value| outer.env(name, value));
        }
        self.command.get_current_dir().map(|dir| outer.current_dir(dir));
        self.command = outer;
        self
    }

    /// Takes its input from a file.
    pub fn input(mut self, path: impl AsRef<Path>) -> Cmd {
        self.command.stdin(File::open(path).unwrap());
        self
    }

    /// Lets it take longer, or less long.
    pub fn limit(mut self, limit: Duration) -> Cmd {
        self.limit = limit;
        self
    }

    /// Runs it to its end. Kills it and panics when it takes too long.
    pub fn run(self) -> Done {
        let limit = self.limit;
        self.start().wait(limit)
    }

    /// The program.
    pub fn name(&self) -> &OsStr {
        self.command.get_program()
    }

    /// Starts it in the background.
    pub fn start(mut self) -> Background {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = COUNT.fetch_add(1, Ordering::Relaxed);
        let out = self.log.join(format!("{unique}.out"));
        let err = self.log.join(format!("{unique}.err"));
        // Files, not pipes: nothing has to be drained, and the text can be looked at while the
        // process runs.
        self.command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let child = self.command.spawn().unwrap_or_else(|e| panic!("{:?}: {e}", self.command));
        Background { child, what: format!("{:?}", self.command), out, err }
    }
}

/// What a command that has ended left behind.
#[derive(Debug)]
pub struct Done {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Done {
    /// The exit code; `None` if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Panics with all that was said unless the exit code is `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Done {
        assert_eq!(self.code(), Some(code), "{self:#?}");
        self
    }
}

/// A running process; killed when dropped.
pub struct Background {
    child: Child,
    what: String,
    out: PathBuf,
    err: PathBuf,
}

impl Background {
    /// Standard output so far.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.out).unwrap()).into_owned()
    }

    /// Standard error so far.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.err).unwrap()).into_owned()
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until its output or error text holds `needle`. Panics when that takes longer than
    /// `limit`, or when the process ends without.
    pub fn wait_for(&mut self, needle: &str, limit: Duration) {
        let what = format!("{} to say '{needle}'", self.what);
        until(limit, &what, || {
            let runs = self.runs();
            let (out, err) = (self.out(), self.err());
            let found = out.contains(needle) || err.contains(needle);
            assert!(found || runs, "{} ended without '{needle}':\n{out}\n{err}", self.what);
            found.then_some(())
        });
    }

    /// Waits until a tracker says on which port of 127.0.0.1 it listens.
    pub fn wait_for_listening(&mut self, limit: Duration) -> u16 {
        let said = "listening on 127.0.0.1:";
        self.wait_for(said, limit);
        until(limit, "the whole line", || {
            let err = self.err();
            let (_, rest) = err.split_once(said)?;
            rest.split_once('\n')?.0.parse().ok()
        })
    }

    /// Waits for its end. Kills it and panics when that takes longer than `limit`.
    pub fn wait(mut self, limit: Duration) -> Done {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Done { status, out: self.out(), err: self.err() };
            }
            if Instant::now() > deadline {
                let (out, err) = (self.out(), self.err());
                panic!("{} still runs after {limit:?}:\n{out}\n{err}", self.what);
            }
            thread::sleep(STEP);
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal)
            .unwrap();
    }

    /// Asks it to end (SIGTERM) and waits for that, `limit` at most.
    pub fn stop(self, limit: Duration) -> Done {
        self.signal(rustix::process::Signal::TERM);
        self.wait(limit)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let said =
                |path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
            eprintln!("{} said:\n{}\n{}", self.what, said(&self.out), said(&self.err));
        }
    }
}

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(5);

/// Asks again and again until there is an answer. Panics with `what` after `limit`.
#[track_caller]
pub fn until<T>(limit: Duration, what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} for {what}");
        thread::sleep(STEP);
    }
}

/// Waits until somebody listens on a port of 127.0.0.1.
#[track_caller]
pub fn wait_for_port(port: u16, limit: Duration) {
    until(limit, &format!("port {port}"), || TcpStream::connect(("127.0.0.1", port)).ok());
}

/// A port of 127.0.0.1 on which nobody listens now.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// `size` bytes that are the same every time for a seed and never compress: SHA1("SEED:0"),
/// SHA1("SEED:1") and so on.
pub fn content(seed: &str, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size + 20);
    for n in 0.. {
        if bytes.len() >= size {
            break;
        }
        bytes.extend(sha1_smol::Sha1::from(format!("{seed}:{n}")).digest().bytes());
    }
    bytes.truncate(size);
    bytes
}
