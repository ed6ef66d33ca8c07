//! A terminal as a whole: taken, drawn on, and given back as it was, however the program ends.
//!
//! Who draws never waits for the terminal: a thread writes, always the newest picture and only what
//! differs from the one that is shown, so a slow line skips pictures and a stopped terminal holds up
//! nobody. Keys and signals come from threads of their own as calls of a function.
//!
//! The terminal is given back when [`Full`] is dropped, when any thread panics (before the panic is
//! told), and by [`restore`], for those who end the process at once.

use super::frame::{Frame, Ways};
use super::keys::{Decoder, Key};
use super::{Size, sys};
use crate::io::signals::{self, Signal};
use crate::io::sys::Modes;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Takes the alternate screen and empties it, for terminals that have none; hides the cursor;
/// what is written in the last column breaks no line.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[0m\x1b[2J";

/// Undoes all of it.
const LEAVE: &str = "\x1b[0m\x1b[2J\x1b[H\x1b[?7h\x1b[?25h\x1b[?1049l";

/// What follows an escape within this time belongs to it, also over a slow line.
const ESCAPE_TIME: Duration = Duration::from_millis(100);

/// A terminal that takes nothing for so long is left as it is.
const PATIENCE: Duration = Duration::from_millis(200);

const STACK: usize = 64 * 1024;

/// What a user, or the terminal, wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A key was pressed.
    Key(Key),
    /// The terminal has another size.
    Resized,
    /// The program is to be stopped for a while: [`Full::suspend`].
    Suspend,
    /// It goes on after it was stopped: [`Full::resumed`].
    Resumed,
    /// The terminal is gone.
    Closed,
}

/// What is to be undone at the end.
struct Held {
    input: OwnedFd,
    out: File,
    modes: Modes,
}

/// There is one terminal; who ends the process must find it without being handed anything.
static HELD: Mutex<Option<Held>> = Mutex::new(None);

/// Whoever writes to the terminal holds this.
static PEN: Mutex<()> = Mutex::new(());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives the terminal back, if it was taken and was not given back already.
pub fn restore() {
    let Some(mut held) = lock(&HELD).take() else { return };
    // It can only fail for a terminal that is gone.
    let _ = held.modes.set(&held.input);
    let began = Instant::now();
    // Whoever writes may be stuck, or be the very thread that panics.
    let _pen = loop {
        match PEN.try_lock() {
            Err(std::sync::TryLockError::WouldBlock) if began.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(5));
            }
            pen => break pen,
        }
    };
    if sys::wait_writable(&held.out, Some(PATIENCE)).unwrap_or(false) {
        let _ = held.out.write_all(LEAVE.as_bytes());
    }
}

/// A panic would be told to a screen that is about to vanish.
fn restore_before_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            tell(panic);
        }));
    });
}

/// What the thread that writes is to do.
#[derive(Default)]
struct Task {
    frame: Option<Frame>,
    /// What is shown is not known.
    anew: bool,
    end: bool,
}

type Desk = Arc<(Mutex<Task>, Condvar)>;

/// A terminal that was taken.
pub struct Full {
    input: OwnedFd,
    out: OwnedFd,
    desk: Desk,
    writer: Option<JoinHandle<()>>,
}

impl Full {
    /// Takes the terminal that `input` and `out` are.
    ///
    /// # Errors
    /// They are none, or the system has no thread or descriptor for us.
    pub fn open(input: OwnedFd, out: OwnedFd, ways: Ways) -> io::Result<Full> {
        restore_before_panics();
        let desk = Desk::default();
        let writer = Writer { out: out.try_clone()?.into(), ways, shown: None };
        let theirs = Arc::clone(&desk);
        enter(&input, &out)?;
        let write = move || writer.run(&theirs);
        let writer = thread::Builder::new().name("screen".into()).stack_size(STACK).spawn(write);
        match writer {
            Ok(writer) => Ok(Full { input, out, desk, writer: Some(writer) }),
            Err(e) => {
                restore();
                Err(e)
            }
        }
    }

    /// Its size; the usual one if it does not say.
    pub fn size(&self) -> Size {
        Size::of(&self.out).unwrap_or(Size { columns: 80, rows: 24 })
    }

    /// Shows a picture, as soon as the terminal takes it, unless a newer one comes before.
    pub fn show(&self, frame: Frame) {
        self.order(|task| task.frame = Some(frame));
    }

    /// What the terminal shows is not what was drawn: the next picture is drawn as a whole.
    pub fn spoilt(&self) {
        self.order(|task| task.anew = true);
    }

    /// Gives the terminal back, stops the process until somebody has it go on, and takes the
    /// terminal again. Where nobody could have it go on, nothing happens.
    pub fn suspend(&self) {
        if !sys::is_in_a_job() {
            return;
        }
        restore();
        sys::stop_self();
        self.resumed();
    }

    /// Takes the terminal again, after somebody else may have had it.
    pub fn resumed(&self) {
        // As it is set now need not be how it was at the start.
        let held = lock(&HELD).is_some();
        let _ = match held {
            true => Modes::of(&self.input).and_then(|modes| modes.raw().set(&self.input)),
            false => enter(&self.input, &self.out),
        };
        if held {
            let _pen = lock(&PEN);
            if let Ok(out) = self.out.try_clone() {
                let _ = File::from(out).write_all(ENTER.as_bytes());
            }
        }
        self.spoilt();
    }

    fn order(&self, change: impl FnOnce(&mut Task)) {
        change(&mut lock(&self.desk.0));
        self.desk.1.notify_one();
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        self.order(|task| task.end = true);
        let began = Instant::now();
        while self.writer.as_ref().is_some_and(|writer| !writer.is_finished()) {
            if began.elapsed() > PATIENCE {
                break;
            }
            thread::sleep(Duration::from_millis(2));
        }
        restore();
    }
}

/// Makes the terminal ours, and notes what it was before.
fn enter(input: &OwnedFd, out: &OwnedFd) -> io::Result<()> {
    let modes = Modes::of(input)?;
    let raw = modes.raw();
    let mut terminal: File = out.try_clone()?.into();
    let held = Held { input: input.try_clone()?, out: out.try_clone()?.into(), modes };
    *lock(&HELD) = Some(held);
    let _pen = lock(&PEN);
    raw.set(input).and_then(|()| terminal.write_all(ENTER.as_bytes()))
}

struct Writer {
    out: File,
    ways: Ways,
    shown: Option<Frame>,
}

impl Writer {
    fn run(mut self, desk: &Desk) {
        loop {
            let mut task = lock(&desk.0);
            while task.frame.is_none() && !task.end {
                task = desk.1.wait(task).unwrap_or_else(PoisonError::into_inner);
            }
            if task.end {
                return;
            }
            let (frame, anew) = (task.frame.take(), std::mem::take(&mut task.anew));
            drop(task);
            if anew {
                self.shown = None;
            }
            let Some(frame) = frame else { continue };
            let text = frame.changes(self.shown.as_ref(), self.ways);
            if !self.write(&text) {
                return;
            }
            self.shown = Some(frame);
        }
    }

    /// False if the terminal is gone.
    fn write(&mut self, text: &str) -> bool {
        let _pen = lock(&PEN);
        // It may have been given back meanwhile; what is drawn then is drawn anew later.
        let is_ours = lock(&HELD).is_some();
        !is_ours || self.out.write_all(text.as_bytes()).is_ok()
    }
}

/// Calls `heard` for each key and for what happens to the terminal, from threads that live as long
/// as the process.
///
/// # Errors
/// The system has no thread or descriptor for us.
pub fn listen(input: OwnedFd, heard: impl Fn(Input) + Clone + Send + 'static) -> io::Result<()> {
    let mut all = vec![Signal::WindowChange, Signal::Continue];
    if !signals::is_ignored(Signal::Suspend) {
        all.push(Signal::Suspend);
    }
    let tell = heard.clone();
    signals::watch(&all, move |signal| match signal {
        Signal::WindowChange => tell(Input::Resized),
        Signal::Suspend => tell(Input::Suspend),
        _ => tell(Input::Resumed),
    })?;
    let read = move || {
        // It ends when the terminal is gone.
        let _ = hear_keys(input.into(), &heard);
        heard(Input::Closed);
    };
    thread::Builder::new().name("keys".into()).stack_size(STACK).spawn(read).map(drop)
}

/// Has the whole job stop, as Ctrl-Z does in a terminal that is not raw.
pub fn suspend_job() {
    sys::suspend_job();
}

fn hear_keys(mut input: File, heard: &impl Fn(Input)) -> io::Result<()> {
    let mut decoder = Decoder::default();
    let mut bytes = [0; 1024];
    loop {
        let patience = decoder.has_begun().then_some(ESCAPE_TIME);
        if sys::wait_readable(input.as_fd(), patience)? {
            match input.read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(count) => decoder.feed(&bytes[..count]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // Somebody else may have set it not to wait.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        } else if patience.is_some() {
            decoder.pause();
        }
        while let Some(key) = decoder.next_key() {
            heard(Input::Key(key));
        }
    }
}
