//! Writes for somebody who must not wait: a pipe that nobody reads, a terminal that was stopped
//! and a file on a disk that hangs hold up a thread here, and nothing else.
//!
//! For commands that go on for days. What has no room any more is lost; who looks on so slowly
//! misses lines, and the next ones are newer.

use crate::io::mailbox::{Ended, JobReceiver, JobSender, jobs, life};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// So many bytes wait at most, a burst of lines or some screens, while as many are written.
const MAX_BYTES: usize = 1024 * 1024;

/// At the end so long is waited for what is not written yet.
const PATIENCE: Duration = Duration::from_millis(200);

/// The thread writes, and calls nothing deep.
const STACK: usize = 64 * 1024;

/// Hands on what is written to it, and never waits; see the head of this file. The thread starts
/// with the first write. When dropped, it waits a moment until all is written.
pub struct Courier {
    state: State,
}

enum State {
    Fresh(Box<dyn Write + Send>),
    /// The other end of the second is dropped when the thread has ended.
    Running(Queue, Ended),
    /// Nobody reads, or there is no thread.
    Ended,
}

/// What waits, and who is told of it.
struct Queue {
    bell: JobSender<()>,
    text: Arc<Mutex<Vec<u8>>>,
}

impl Queue {
    fn put(&self, text: &[u8]) {
        let mut waiting = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() + text.len() <= MAX_BYTES {
            waiting.extend_from_slice(text);
        }
        drop(waiting);
        // If the bell has rung already, what was put now is taken with the rest.
        let _ = self.bell.try_send(());
    }
}

impl Courier {
    /// Writes to `out`. Trouble with it ends all writing, and nothing else.
    pub fn new(out: Box<dyn Write + Send>) -> Courier {
        Courier { state: State::Fresh(out) }
    }

    fn start(out: Box<dyn Write + Send>) -> State {
        let (bell, rings) = jobs(1);
        let (alive, ended) = life();
        let text = Arc::default();
        let queue = Queue { bell, text: Arc::clone(&text) };
        let write = move || {
            carry(&rings, &text, out);
            drop(alive);
        };
        match thread::Builder::new().name("writer".into()).stack_size(STACK).spawn(write) {
            Ok(_) => State::Running(queue, ended),
            Err(_) => State::Ended,
        }
    }
}

fn carry(rings: &JobReceiver<()>, text: &Mutex<Vec<u8>>, mut out: Box<dyn Write + Send>) {
    while rings.recv().is_some() {
        let text = std::mem::take(&mut *text.lock().unwrap_or_else(PoisonError::into_inner));
        if out.write_all(&text).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

impl Write for Courier {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.state = match std::mem::replace(&mut self.state, State::Ended) {
            State::Fresh(out) => Courier::start(out),
            other => other,
        };
        if let State::Running(queue, _) = &self.state {
            queue.put(text);
        }
        Ok(text.len())
    }

    /// Does not wait either.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        if let State::Running(queue, ended) = std::mem::replace(&mut self.state, State::Ended) {
            drop(queue);
            let _ = ended.within(PATIENCE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    #[test]
    fn all_is_written_in_order_by_the_end() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut courier = Courier::new(Box::new(ours));
        for n in 0..5000 {
            courier.write_all(format!("line {n}\n").as_bytes()).unwrap();
        }
        drop(courier);
        let mut text = String::new();
        theirs.read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().count(), 5000);
        assert!(text.ends_with("line 4998\nline 4999\n"), "{text}");
    }

    #[test]
    fn a_reader_that_never_reads_holds_up_nobody() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let began = Instant::now();
        let mut courier = Courier::new(Box::new(ours));
        for _ in 0..2000 {
            courier.write_all(&[b'x'; 4096]).unwrap();
        }
        drop(courier);
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_reader_that_has_left_is_no_trouble() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let mut courier = Courier::new(Box::new(ours));
        for _ in 0..10 {
            courier.write_all(b"anybody there?").unwrap();
        }
    }

    #[test]
    fn nothing_written_needs_no_thread() {
        let courier = Courier::new(Box::new(io::sink()));
        assert!(matches!(courier.state, State::Fresh(_)));
    }
}
