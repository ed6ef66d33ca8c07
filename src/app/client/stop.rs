//! How a download is told to end.

use super::{Client, Event, StartError};
use crate::io::mailbox::Post;
use crate::io::signals::{Signal, watch};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

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

    /// Ends the download soon: trackers are told, which takes some seconds at most.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        // Nothing is lost if the mailbox is full: the flag is seen at the next turn.
        let _ = self.post.try_send(Event::Stop);
    }
}

/// SIGINT and SIGTERM stop a download from now on, instead of ending the process. They are heard
/// from before the download starts, so that no tracker learns of a client that cannot say goodbye.
pub struct StopSignals(Arc<Heard>);

#[derive(Default)]
struct Heard {
    came: AtomicBool,
    stopper: OnceLock<Stopper>,
}

impl StopSignals {
    /// Listens from now on. The second signal calls `impatient`.
    ///
    /// # Errors
    /// The system has no thread or descriptor for us.
    pub fn listen(impatient: impl Fn() + Send + 'static) -> Result<StopSignals, StartError> {
        let heard = Arc::new(Heard::default());
        let ours = Arc::clone(&heard);
        let on_signal = move |_| {
            if heard.came.swap(true, Ordering::SeqCst) {
                impatient();
            } else if let Some(stopper) = heard.stopper.get() {
                stopper.stop();
            }
        };
        watch(&[Signal::Interrupt, Signal::Terminate], on_signal).map_err(StartError::System)?;
        Ok(StopSignals(ours))
    }

    /// This is what they stop; at once, if one has come already.
    pub fn stop(&self, client: &Client) {
        let stopper = client.stopper();
        // First the stopper, then the look at the flag; the signal does it the other way round,
        // so one of both sees the other.
        let _ = self.0.stopper.set(stopper.clone());
        if self.0.came.load(Ordering::SeqCst) {
            stopper.stop();
        }
    }
}
