//! How a download is told to end.

use super::{Call, Event, Look, StartError};
use crate::io::mailbox::Post;
use crate::io::signals::{Signal, is_ignored, watch};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The end takes no longer than this after the first signal. The loop ends in good order before;
/// this is for a machine that lets it not, such as a disk that hangs.
const PATIENCE: Duration = Duration::from_millis(2700);

/// The watch sleeps and makes a call.
const STACK: usize = 64 * 1024;

/// Why the process should end at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// A second signal came.
    Asked,
    /// The end takes too long.
    Late,
}

/// A handle to stop a download from another thread.
#[derive(Clone)]
pub struct Stopper {
    post: Post<Event>,
    stop: Arc<AtomicBool>,
}

impl Stopper {
    pub(super) fn new(post: Post<Event>, stop: Arc<AtomicBool>) -> Stopper {
        Stopper { post, stop }
    }

    /// Has the reports tell what there is to be told: figures, peers, files.
    pub fn show(&self) {
        for look in [Look::Figures, Look::Peers, Look::Files] {
            // Who is that busy shows itself by other reports.
            let _ = self.post.try_send(Event::LookAtAll(look));
        }
    }

    /// Has [`Report::Called`](super::Report::Called) be among the reports: for who waits for these,
    /// and has something to do.
    pub fn call(&self, what: Call) {
        let _ = self.post.try_send(Event::Called(what));
    }

    /// Ends the download soon: trackers are told, which takes some seconds at most.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        // Nothing is lost if the mailbox is full: the flag is seen at the next turn.
        let _ = self.post.try_send(Event::Stop);
    }
}

/// What signals are told to. Neither call may wait.
pub trait Stop: Send {
    /// Ends it soon.
    fn stop(&self);

    /// Has it show how it goes.
    fn show(&self);

    /// Whether SIGHUP means something else to it than to end, which is then done.
    fn hang_up(&self) -> bool {
        false
    }

    /// It ends by itself within this time.
    fn patience(&self) -> Duration {
        PATIENCE
    }
}

impl Stop for Stopper {
    fn stop(&self) {
        Stopper::stop(self);
    }

    fn show(&self) {
        Stopper::show(self);
    }
}

impl Heard {
    fn stopper(&self) -> MutexGuard<'_, Option<Box<dyn Stop>>> {
        // It is set whole or not at all.
        self.stopper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SIGINT and SIGTERM stop a download from now on, instead of ending the process; and so does
/// SIGHUP, unless it was ignored when the process started (nohup). SIGUSR1 has it show how it goes
/// ([`Stopper::show`]). They are heard from before the
/// download starts, so that no tracker learns of a client that cannot say goodbye.
pub struct StopSignals(Arc<Heard>);

#[derive(Default)]
struct Heard {
    came: AtomicBool,
    stopper: Mutex<Option<Box<dyn Stop>>>,
}

impl StopSignals {
    /// Listens from now on. `at_once` is called by the second signal, unless that is a SIGHUP, and
    /// some time after the first one: it should end the process.
    ///
    /// # Errors
    /// The system has no thread or descriptor for us.
    pub fn listen(
        at_once: impl Fn(Haste) + Send + Sync + 'static,
    ) -> Result<StopSignals, StartError> {
        let heard = Arc::new(Heard::default());
        let ours = Arc::clone(&heard);
        let at_once = Arc::new(at_once);
        let on_signal = move |signal| {
            if signal == Signal::User1 {
                heard.stopper().iter().for_each(|stopper| stopper.show());
                return;
            }
            let means_else = || heard.stopper().as_deref().is_some_and(Stop::hang_up);
            if signal == Signal::HangUp && means_else() {
                return;
            }
            if heard.came.swap(true, Ordering::SeqCst) {
                // When a terminal closes, both the system and the shell may say so.
                if signal != Signal::HangUp {
                    at_once(Haste::Asked);
                }
                return;
            }
            let mut patience = PATIENCE;
            if let Some(stopper) = &*heard.stopper() {
                stopper.stop();
                patience = stopper.patience();
            }
            let at_once = Arc::clone(&at_once);
            let watch = move || {
                thread::sleep(patience);
                at_once(Haste::Late);
            };
            // Without a thread for it there is still the second signal.
            let _ = thread::Builder::new().name("watch".into()).stack_size(STACK).spawn(watch);
        };
        let mut signals = vec![Signal::Interrupt, Signal::Terminate, Signal::User1];
        if !is_ignored(Signal::HangUp) {
            signals.push(Signal::HangUp);
        }
        watch(&signals, on_signal).map_err(StartError::System)?;
        Ok(StopSignals(ours))
    }

    /// This is what they stop from now on; at once, if one has come already.
    pub fn stop(&self, stopper: impl Stop + 'static) {
        // First the stopper, then the look at the flag; the signal does it the other way round,
        // so one of both sees the other.
        let mut place = self.0.stopper();
        let stopper = place.insert(Box::new(stopper));
        if self.0.came.load(Ordering::SeqCst) {
            stopper.stop();
        }
    }
}
