//! Bounded channels: how every worker reaches the reactor, and how jobs reach the workers.
//!
//! * [`mailbox`]: from any thread to the reactor's; every post wakes it, or is
//!   one of several that ring together.
//! * [`jobs`]: from the reactor (or any thread) to a pool of workers that sleep until one comes.
//! * [`life`]: whether threads have ended, for who cannot wait for ever.
//!
//! The rule that keeps two bounded queues free of deadlock: the reactor only tries (`try_send`,
//! `try_recv`), the workers may wait (`send`, `recv`).

mod lean;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, SendTimeoutError, TrySendError};

use crate::io::reactor::Waker;
use lean::{Receiver, Sender, bounded};

/// How often a worker that waits for room in a mailbox looks whether it should stop.
const LOOK_UP_EVERY: Duration = Duration::from_millis(50);

/// The workers' end of a mailbox.
#[derive(Debug)]
pub struct Post<T> {
    sender: Sender<T>,
    waker: Waker,
}

/// The reactor's end of a mailbox.
#[derive(Debug)]
pub struct Mailbox<T> {
    receiver: Receiver<T>,
}

/// A queue of at most `capacity` messages (at least 1) towards the reactor that `waker` wakes.
pub fn mailbox<T>(capacity: usize, waker: Waker) -> (Post<T>, Mailbox<T>) {
    let (sender, receiver) = bounded(capacity.max(1));
    (Post { sender, waker }, Mailbox { receiver })
}

impl<T> Post<T> {
    /// Posts a message and wakes the reactor; waits while the mailbox is full, so the reactor's
    /// own thread must not call it. `false`: the mailbox is gone and so is the message.
    pub fn send(&self, message: T) -> bool {
        // Those that filled the mailbox have each rung, so the reactor is on its way to empty it
        // and this wait ends. The message goes in before the ring, never after: a ring promises
        // the reactor that there is something to see (the waker tells why none is lost and why
        // most cost no system call).
        let sent = self.sender.send(message).is_ok();
        self.waker.wake();
        sent
    }

    /// Posts a message for a later [`Post::ring`], so that a worker with several answers at hand
    /// wakes the reactor once. It rings by itself before it waits for room. Once `stop` is set it
    /// no longer waits, and drops what finds no room: for workers that are joined by the very
    /// thread that should empty the mailbox. `false`: the message is lost.
    pub fn queue(&self, message: T, stop: &AtomicBool) -> bool {
        let mut refused = match self.sender.try_send(message) {
            Ok(()) => return true,
            Err(TrySendError::Disconnected(_)) => return false,
            Err(TrySendError::Full(message)) => message,
        };
        self.ring();
        while !stop.load(Ordering::Acquire) {
            match self.sender.send_timeout(refused, LOOK_UP_EVERY) {
                Err(SendTimeoutError::Timeout(message)) => refused = message,
                result => return result.is_ok(),
            }
        }
        false
    }

    /// Wakes the reactor for what was queued.
    pub fn ring(&self) {
        self.waker.wake();
    }

    /// Posts a message and wakes the reactor, or gives it back if the mailbox is full or gone.
    ///
    /// # Errors
    /// The message itself.
    pub fn try_send(&self, message: T) -> Result<(), T> {
        self.sender.try_send(message).map_err(TrySendError::into_inner)?;
        self.waker.wake();
        Ok(())
    }
}

impl<T> Clone for Post<T> {
    fn clone(&self) -> Post<T> {
        Post { sender: self.sender.clone(), waker: self.waker.clone() }
    }
}

impl<T> Mailbox<T> {
    /// The oldest message, if there is one. After each turn call it until there is none: the wake
    /// for what is left would not come again.
    pub fn try_recv(&self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

/// The giving end of a job queue. When the last is dropped, the workers finish what is queued and
/// then their `recv` ends.
#[derive(Debug)]
pub struct JobSender<J> {
    sender: Sender<J>,
}

/// The workers' end of a job queue; each job goes to one of its clones.
#[derive(Debug)]
pub struct JobReceiver<J> {
    receiver: Receiver<J>,
}

/// A queue of at most `capacity` jobs (at least 1).
pub fn jobs<J>(capacity: usize) -> (JobSender<J>, JobReceiver<J>) {
    let (sender, receiver) = bounded(capacity.max(1));
    (JobSender { sender }, JobReceiver { receiver })
}

impl<J> JobSender<J> {
    /// Queues a job, or gives it back if the queue is full or every worker gone. Never waits.
    ///
    /// # Errors
    /// The job itself.
    pub fn try_send(&self, job: J) -> Result<(), J> {
        self.sender.try_send(job).map_err(TrySendError::into_inner)
    }

    /// Queues a job and waits for room if there is none; not for the reactor's thread.
    /// `false`: every worker is gone and so is the job.
    pub fn send(&self, job: J) -> bool {
        self.sender.send(job).is_ok()
    }
}

impl<J> Clone for JobSender<J> {
    fn clone(&self) -> JobSender<J> {
        JobSender { sender: self.sender.clone() }
    }
}

impl<J> JobReceiver<J> {
    /// The oldest job; waits for one. `None`: there will never be another.
    pub fn recv(&self) -> Option<J> {
        self.receiver.recv().ok()
    }

    /// The oldest job; waits for one, but no longer than `patience`.
    pub fn recv_within(&self, patience: Duration) -> Option<J> {
        self.receiver.recv_timeout(patience).ok()
    }

    /// The oldest job; waits for one until `deadline`. `None`: it did not come by then. Of
    /// `Some(None)` there is no end: there will never be another.
    pub fn recv_by(&self, deadline: Instant) -> Option<Option<J>> {
        let patience = deadline.saturating_duration_since(Instant::now());
        match self.receiver.recv_timeout(patience) {
            Ok(job) => Some(Some(job)),
            Err(RecvTimeoutError::Disconnected) => Some(None),
            Err(RecvTimeoutError::Timeout) => None,
        }
    }

    /// The oldest job, if one waits.
    pub fn try_recv(&self) -> Option<J> {
        self.receiver.try_recv().ok()
    }
}

impl<J> Clone for JobReceiver<J> {
    fn clone(&self) -> JobReceiver<J> {
        JobReceiver { receiver: self.receiver.clone() }
    }
}

/// What each of some threads holds as long as it works.
#[derive(Debug, Clone)]
pub struct Alive(
    #[expect(dead_code, reason = "only its end is seen")] crossbeam_channel::Sender<()>,
);

/// Sees the end of those threads.
#[derive(Debug)]
pub struct Ended(crossbeam_channel::Receiver<()>);

/// For somebody who waits for threads, but not for ever, as a join would.
pub fn life() -> (Alive, Ended) {
    let (alive, ended) = crossbeam_channel::bounded(1);
    (Alive(alive), Ended(ended))
}

impl Ended {
    /// Whether all of them end within this time.
    pub fn within(&self, patience: Duration) -> bool {
        self.0.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::reactor::Reactor;
    use std::time::Instant;

    #[test]
    fn no_message_waits_for_a_wake_that_was_lost() {
        const EACH: u32 = 20_000;
        let mut reactor = Reactor::new().unwrap();
        let (post, mailbox) = mailbox::<u32>(8, reactor.waker());
        let senders: Vec<_> = (0..3)
            .map(|_| {
                let post = post.clone();
                std::thread::spawn(move || (0..EACH).all(|n| post.send(n)))
            })
            .collect();
        let (mut events, mut got) = (vec![], 0);
        let mut longest = Duration::ZERO;
        while got < 3 * EACH {
            // A lost wake leaves everybody asleep until this long wait is over.
            let start = Instant::now();
            reactor.turn(Some(Duration::from_secs(20)), &mut events).unwrap();
            longest = longest.max(start.elapsed());
            while mailbox.try_recv().is_some() {
                got += 1;
            }
        }
        assert!(longest < Duration::from_secs(20), "slept through a wake");
        assert!(senders.into_iter().all(|s| s.join().unwrap()));
    }

    #[test]
    fn a_full_or_closed_mailbox_gives_the_message_back() {
        let reactor = Reactor::new().unwrap();
        let (post, mailbox) = mailbox(1, reactor.waker());
        assert_eq!(post.try_send('a'), Ok(()));
        assert_eq!(post.try_send('b'), Err('b'));
        assert_eq!((mailbox.try_recv(), mailbox.try_recv()), (Some('a'), None));
        drop(mailbox);
        assert_eq!(post.try_send('c'), Err('c'));
        assert!(!post.send('d'));
    }

    #[test]
    fn a_wait_for_room_ends_when_it_should_stop() {
        let reactor = Reactor::new().unwrap();
        let (post, mailbox) = mailbox(1, reactor.waker());
        let stop = AtomicBool::new(true);
        assert!(post.queue('a', &stop));
        assert!(!post.queue('b', &stop));
        assert_eq!((mailbox.try_recv(), mailbox.try_recv()), (Some('a'), None));
    }

    #[test]
    fn workers_finish_what_is_queued_when_the_sender_is_gone() {
        let (sender, receiver) = jobs(2);
        assert_eq!(sender.try_send(1), Ok(()));
        assert_eq!(sender.try_send(2), Ok(()));
        assert_eq!(sender.try_send(3), Err(3));
        let other = receiver.clone();
        drop(sender);
        assert_eq!((receiver.recv(), other.try_recv()), (Some(1), Some(2)));
        assert_eq!((receiver.recv(), other.try_recv()), (None, None));
    }
}
