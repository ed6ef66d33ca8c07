//! Channels that are bounded, but take memory only for what waits in them.
//!
//! A bounded channel of crossbeam writes to each of its places when it is made, which for all the
//! queues of an idle client is more memory than it has for anything else. So what is sent goes
//! through an unbounded channel, and a bounded one of nothing but permits, a few bytes each, says
//! how much may wait there. Only [`super`] uses this.

use crossbeam_channel::{RecvError, RecvTimeoutError, SendError, SendTimeoutError};
use crossbeam_channel::{TryRecvError, TrySendError};
use std::time::Duration;

/// The giving end.
#[derive(Debug)]
pub struct Sender<T> {
    permits: crossbeam_channel::Sender<()>,
    messages: crossbeam_channel::Sender<T>,
}

/// The taking end.
#[derive(Debug)]
pub struct Receiver<T> {
    permits: crossbeam_channel::Receiver<()>,
    messages: crossbeam_channel::Receiver<T>,
}

/// A channel in which at most `capacity` messages wait, at least 1.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (gives_permits, permits) = crossbeam_channel::bounded(capacity);
    let (sender, messages) = crossbeam_channel::unbounded();
    (Sender { permits: gives_permits, messages: sender }, Receiver { permits, messages })
}

impl<T> Sender<T> {
    /// Sends; waits while the channel is full.
    ///
    /// # Errors
    /// The message, if nobody takes any more.
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        match self.permits.send(()) {
            Ok(()) => self.messages.send(message),
            Err(_) => Err(SendError(message)),
        }
    }

    /// Sends; waits while the channel is full, but no longer than `patience`.
    ///
    /// # Errors
    /// The message, and why it was not sent.
    pub fn send_timeout(&self, message: T, patience: Duration) -> Result<(), SendTimeoutError<T>> {
        match self.permits.send_timeout((), patience) {
            Ok(()) => self.messages.send(message).map_err(SendTimeoutError::from),
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
            Ok(()) => self.messages.send(message).map_err(TrySendError::from),
            Err(TrySendError::Full(())) => Err(TrySendError::Full(message)),
            Err(TrySendError::Disconnected(())) => Err(TrySendError::Disconnected(message)),
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender { permits: self.permits.clone(), messages: self.messages.clone() }
    }
}

impl<T> Receiver<T> {
    /// The oldest message; waits for one.
    ///
    /// # Errors
    /// There is none, and nobody to send one.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.messages.recv().map(|message| self.make_room(message))
    }

    /// The oldest message; waits for one, but no longer than `patience`.
    ///
    /// # Errors
    /// There was none.
    pub fn recv_timeout(&self, patience: Duration) -> Result<T, RecvTimeoutError> {
        self.messages.recv_timeout(patience).map(|message| self.make_room(message))
    }

    /// The oldest message, if one waits.
    ///
    /// # Errors
    /// There is none.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.messages.try_recv().map(|message| self.make_room(message))
    }

    /// The permit of a message went in before it did, so there is one to be taken out.
    fn make_room(&self, message: T) -> T {
        let _ = self.permits.try_recv();
        message
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        Receiver { permits: self.permits.clone(), messages: self.messages.clone() }
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
}
