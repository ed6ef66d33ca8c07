//! Channels that are bounded, but take memory only for what waits in them, and code only once.
//!
//! A bounded channel of crossbeam writes to each of its places when it is made, which for all the
//! queues of an idle client is more memory than it has for anything else; and each type of message
//! is another seven kilobytes of code. So what is sent lies in a plain queue, and two channels of
//! nothing say how much may wait there and how much does. Only [`super`] uses this.

use crossbeam_channel::{RecvError, RecvTimeoutError, SendError, SendTimeoutError};
use crossbeam_channel::{TryRecvError, TrySendError};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// For how many messages an empty queue keeps its memory.
const KEPT: usize = 64;

/// What waits, the oldest first.
type Messages<T> = Arc<Mutex<VecDeque<T>>>;

/// The giving end.
#[derive(Debug)]
pub struct Sender<T> {
    permits: crossbeam_channel::Sender<()>,
    notices: crossbeam_channel::Sender<()>,
    messages: Messages<T>,
}

/// The taking end.
#[derive(Debug)]
pub struct Receiver<T> {
    permits: crossbeam_channel::Receiver<()>,
    notices: crossbeam_channel::Receiver<()>,
    messages: Arc<Taken<T>>,
}

/// What all the taking ends share: with the last of them goes what nobody will take.
#[derive(Debug)]
struct Taken<T>(Messages<T>);

impl<T> Drop for Taken<T> {
    fn drop(&mut self) {
        // Out of the lock: a message may hold an end of this very channel.
        let rest = std::mem::take(&mut *open(&self.0));
        drop(rest);
    }
}

/// A channel in which at most `capacity` messages wait, at least 1.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (gives_permits, permits) = crossbeam_channel::bounded(capacity);
    let (gives_notices, notices) = crossbeam_channel::unbounded();
    let messages = Messages::default();
    let taken = Arc::new(Taken(Arc::clone(&messages)));
    let sender = Sender { permits: gives_permits, notices: gives_notices, messages };
    (sender, Receiver { permits, notices, messages: taken })
}

/// Nothing panics while it holds a queue, so there is none that could be half changed.
fn open<T>(messages: &Messages<T>) -> MutexGuard<'_, VecDeque<T>> {
    messages.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Sender<T> {
    /// Sends; waits while the channel is full.
    ///
    /// # Errors
    /// The message, if nobody takes any more.
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        match self.permits.send(()) {
            Ok(()) => self.put(message),
            Err(_) => Err(SendError(message)),
        }
    }

    /// Sends; waits while the channel is full, but no longer than `patience`.
    ///
    /// # Errors
    /// The message, and why it was not sent.
    pub fn send_timeout(&self, message: T, patience: Duration) -> Result<(), SendTimeoutError<T>> {
        match self.permits.send_timeout((), patience) {
            Ok(()) => self.put(message).map_err(SendTimeoutError::from),
            Err(SendTimeoutError::Timeout(())) => Err(SendTimeoutError::Timeout(message)),
            Err(SendTimeoutError::Disconnected(())) => Err(SendTimeoutError::Disconnected(message)),
        }
    }

    /// Sends, if there is room.
    ///
    /// # Errors
    /// The message, and why it was not sent.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        match self.permits.try_send(()) {
            Ok(()) => self.put(message).map_err(TrySendError::from),
            Err(TrySendError::Full(())) => Err(TrySendError::Full(message)),
            Err(TrySendError::Disconnected(())) => Err(TrySendError::Disconnected(message)),
        }
    }

    /// The message first: whoever takes the notice finds it.
    fn put(&self, message: T) -> Result<(), SendError<T>> {
        open(&self.messages).push_back(message);
        self.notices.send(()).or_else(|_| match open(&self.messages).pop_back() {
            Some(refused) => Err(SendError(refused)),
            // Thrown away with all that the last of them left.
            None => Ok(()),
        })
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender {
            permits: self.permits.clone(),
            notices: self.notices.clone(),
            messages: Arc::clone(&self.messages),
        }
    }
}

impl<T> Receiver<T> {
    /// The oldest message; waits for one.
    ///
    /// # Errors
    /// There is none, and nobody to send one.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.notices.recv().map(|()| self.take())
    }

    /// The oldest message; waits for one, but no longer than `patience`.
    ///
    /// # Errors
    /// There was none.
    pub fn recv_timeout(&self, patience: Duration) -> Result<T, RecvTimeoutError> {
        self.notices.recv_timeout(patience).map(|()| self.take())
    }

    /// The oldest message, if one waits.
    ///
    /// # Errors
    /// There is none.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.notices.try_recv().map(|()| self.take())
    }

    /// A notice was taken, so there is a message, and its permit to be given back.
    fn take(&self) -> T {
        let mut messages = open(&self.messages.0);
        let message = messages.pop_front().expect("a notice comes after its message");
        if messages.is_empty() && messages.capacity() > KEPT {
            *messages = VecDeque::new();
        }
        drop(messages);
        let _ = self.permits.try_recv();
        message
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        Receiver {
            permits: self.permits.clone(),
            notices: self.notices.clone(),
            messages: Arc::clone(&self.messages),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_messages_wait_as_there_is_room_for_and_each_that_is_taken_makes_some() {
        let (sender, receiver) = bounded(2);
        assert!(sender.send(1).is_ok() && sender.try_send(2).is_ok());
        assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)));
        let timeout = Duration::from_millis(1);
        assert_eq!(sender.send_timeout(3, timeout), Err(SendTimeoutError::Timeout(3)));
        assert_eq!(receiver.recv(), Ok(1));
        assert_eq!(sender.try_send(3), Ok(()));
        assert_eq!(sender.try_send(4), Err(TrySendError::Full(4)));
        assert_eq!((receiver.try_recv(), receiver.recv_timeout(timeout)), (Ok(2), Ok(3)));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    }

    #[test]
    fn whoever_waits_for_room_goes_on_when_a_message_is_taken() {
        let (sender, receiver) = bounded(1);
        let work = std::thread::spawn(move || (0..10_000).all(|n| sender.send(n).is_ok()));
        assert!((0..10_000).all(|n| receiver.recv() == Ok(n)));
        assert!(work.join().unwrap());
        assert_eq!(receiver.recv(), Err(RecvError));
    }

    #[test]
    fn nobody_waits_for_room_when_nobody_takes() {
        let (sender, receiver) = bounded(1);
        assert!(sender.send(1).is_ok());
        let other = sender.clone();
        let work = std::thread::spawn(move || other.send(2));
        drop(receiver);
        assert_eq!(work.join().unwrap(), Err(SendError(2)));
        assert_eq!(sender.try_send(3), Err(TrySendError::Disconnected(3)));
    }

    #[test]
    fn what_nobody_will_take_is_thrown_away_with_the_last_who_could() {
        let (sender, receiver) = bounded(4);
        let message = Arc::new(());
        assert!(sender.send(Arc::clone(&message)).is_ok());
        let other = receiver.clone();
        drop(receiver);
        assert_eq!(Arc::strong_count(&message), 2);
        drop(other);
        assert_eq!(Arc::strong_count(&message), 1);
        assert!(sender.send(message).is_err());
    }
}
