//! The jobs that wait for a thread, and whose turn it is.
//!
//! In order, but for this: a server that hangs must not hold every thread, however many jobs are for
//! it. So each has its share of the threads, and one that did not answer in time is asked by one of
//! them alone until it answers again; what waits for it longer than it may take has failed.

use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Fault, FetchError, Job, MAX_QUEUED, Reply};

/// A thread that has had nothing to do for so long ends: announces are half an hour apart.
const IDLE: Duration = Duration::from_secs(5);

/// Of so many servers it is remembered that they did not answer in time.
const MAX_SLOW: usize = 64;

/// What a thread is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// To ask for it.
    Ask(Job),
    /// To say that there was no answer in time: its server takes too long with others.
    TooLate(Job),
}

/// See the head of this file. Shared by the threads.
#[derive(Debug)]
pub(super) struct Queue {
    crew: Mutex<Crew>,
    bell: Condvar,
}

#[derive(Debug)]
struct Crew {
    /// Threads that run, and may run.
    threads: usize,
    most: usize,
    waiting: VecDeque<(Job, Instant)>,
    /// The server of each job that is under way.
    busy: Vec<String>,
    /// Those that did not answer in time the last time.
    slow: Vec<String>,
    is_closed: bool,
}

impl Queue {
    /// For so many threads.
    pub(super) fn new(most: usize) -> Queue {
        let (waiting, busy, slow) = Default::default();
        let crew = Crew { threads: 0, most, waiting, busy, slow, is_closed: false };
        Queue { crew: Mutex::new(crew), bell: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Crew> {
        // It is in no state in between.
        self.crew.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on there may be so many threads, if there were fewer.
    pub(super) fn widen(&self, most: usize) {
        let mut crew = self.lock();
        crew.most = crew.most.max(most);
    }

    /// Takes a job, or gives it back; `start` starts a thread.
    pub(super) fn try_send(&self, job: Job, start: &dyn Fn() -> io::Result<()>) -> Result<(), Job> {
        let mut crew = self.lock();
        let jobs = crew.waiting.len() + crew.busy.len();
        if jobs >= crew.threads && crew.threads < crew.most && start().is_ok() {
            crew.threads += 1;
        }
        if crew.threads == 0 || crew.waiting.len() >= MAX_QUEUED {
            return Err(job);
        }
        crew.waiting.push_back((job, Instant::now()));
        drop(crew);
        self.bell.notify_one();
        Ok(())
    }

    /// What a thread is to do next; `None` ends it, and it is no longer counted.
    pub(super) fn next(&self) -> Option<Turn> {
        let mut crew = self.lock();
        loop {
            if let Some(turn) = crew.turn(Instant::now()) {
                return Some(turn);
            }
            let idle = crew.waiting.is_empty();
            if !crew.is_closed {
                let waited = self.bell.wait_timeout(crew, IDLE);
                let (again, time) = waited.unwrap_or_else(PoisonError::into_inner);
                crew = again;
                if !(idle && time.timed_out() && crew.waiting.is_empty()) {
                    continue;
                }
            }
            crew.threads -= 1;
            return None;
        }
    }

    /// What was asked for by [`Turn::Ask`] has come, or not.
    pub(super) fn done(&self, url: &str, result: &Result<Reply, FetchError>) {
        let mut crew = self.lock();
        let server = server(url);
        if let Some(at) = crew.busy.iter().position(|busy| busy == server) {
            crew.busy.swap_remove(at);
        }
        crew.slow.retain(|slow| slow != server);
        if matches!(result, Err(FetchError { fault: Fault::TimedOut, .. })) {
            if crew.slow.len() >= MAX_SLOW {
                crew.slow.remove(0);
            }
            crew.slow.push(server.to_owned());
        }
        let more = !crew.waiting.is_empty();
        drop(crew);
        if more {
            self.bell.notify_all();
        }
    }

    /// A thread ends of itself.
    pub(super) fn leave(&self) {
        self.lock().threads -= 1;
    }

    /// Nobody waits for anything any more.
    pub(super) fn close(&self) {
        let mut crew = self.lock();
        crew.is_closed = true;
        crew.waiting.clear();
        drop(crew);
        self.bell.notify_all();
    }

    #[cfg(test)]
    pub(super) fn threads(&self) -> usize {
        self.lock().threads
    }
}

impl Crew {
    fn turn(&mut self, now: Instant) -> Option<Turn> {
        let is_slow = |server: &str| self.slow.iter().any(|slow| slow == server);
        let slow_ones = self.busy.iter().filter(|server| is_slow(server)).count();
        let may_ask = |server: &str| {
            let here = self.busy.iter().filter(|busy| *busy == server).count();
            match is_slow(server) {
                true => here == 0 && slow_ones < self.most.div_ceil(2),
                false => here < self.most.div_ceil(3),
            }
        };
        let found = self.waiting.iter().position(|(job, _)| may_ask(server(&job.url)));
        if let Some(at) = found {
            let (job, _) = self.waiting.remove(at)?;
            self.busy.push(server(&job.url).to_owned());
            return Some(Turn::Ask(job));
        }
        let is_late = |(job, since): &(Job, Instant)| {
            is_slow(server(&job.url)) && now.saturating_duration_since(*since) >= job.timeout
        };
        let at = self.waiting.iter().position(is_late)?;
        self.waiting.remove(at).map(|(job, _)| Turn::TooLate(job))
    }
}

/// The scheme, host and port of a URL.
fn server(url: &str) -> &str {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let path = url[authority..].find(['/', '?', '#']);
    &url[..path.map_or(url.len(), |at| authority + at)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    fn send(queue: &Queue, id: u64, server: &str) {
        let url = format!("http://{server}/announce?{id}");
        let job = Job { id, url, limit: 1, timeout: TIMEOUT };
        queue.try_send(job, &|| Ok(())).unwrap();
    }

    /// Whom the threads that have nothing to do would ask, at this time.
    fn asked(queue: &Queue, now: Instant) -> String {
        let mut crew = queue.lock();
        let turns = std::iter::from_fn(|| crew.turn(now));
        turns
            .map(
                |turn| {
                    if let Turn::Ask(job) = turn { job.url[7..8].into() } else { "-".to_owned() }
                },
            )
            .collect()
    }

    fn ends(queue: &Queue, server: &str, fault: Fault) {
        let url = format!("http://{server}/announce");
        queue.done(&url, &Err(FetchError { url: url.clone(), fault }));
    }

    #[test]
    fn one_server_has_a_third_of_the_threads_and_one_that_hung_a_single_one() {
        let (queue, now) = (Queue::new(6), Instant::now());
        (0..9).for_each(|id| send(&queue, id, "a"));
        assert_eq!(asked(&queue, now), "aa");
        (10..19).for_each(|id| send(&queue, id, "b"));
        send(&queue, 20, "c");
        assert_eq!(asked(&queue, now), "bbc");
        ends(&queue, "a", Fault::TimedOut);
        assert_eq!(asked(&queue, now), "", "the other one is still asked");
        ends(&queue, "a", Fault::TimedOut);
        assert_eq!(asked(&queue, now), "a");
        // It is back.
        ends(&queue, "a", Fault::BadAnswer("x".into()));
        assert_eq!(asked(&queue, now), "aa");
    }

    #[test]
    fn a_thread_ends_when_nobody_will_want_it() {
        let queue = Queue::new(6);
        send(&queue, 0, "a");
        assert_eq!(queue.threads(), 1);
        assert!(matches!(queue.next(), Some(Turn::Ask(job)) if job.id == 0));
        send(&queue, 1, "a");
        assert_eq!(queue.threads(), 2);
        queue.close();
        assert_eq!((queue.next(), queue.next()), (None, None));
        assert_eq!(queue.threads(), 0);
    }

    #[test]
    fn what_waits_for_a_server_that_hangs_fails_in_time() {
        let (queue, now) = (Queue::new(6), Instant::now());
        (0..5).for_each(|id| send(&queue, id, "a"));
        assert_eq!(asked(&queue, now), "aa");
        // One that is only busy is waited for.
        let later = now + 2 * TIMEOUT;
        assert_eq!(asked(&queue, later), "");
        ends(&queue, "a", Fault::TimedOut);
        assert_eq!(asked(&queue, now), "");
        assert_eq!(asked(&queue, later), "---");
    }

    #[test]
    fn servers_that_hang_have_half_of_the_threads_together() {
        let (queue, now) = (Queue::new(6), Instant::now());
        let servers = ["a", "b", "c", "d", "e"];
        servers.iter().for_each(|server| send(&queue, 0, server));
        assert_eq!(asked(&queue, now), "abcde");
        for server in servers {
            ends(&queue, server, Fault::TimedOut);
            send(&queue, 1, server);
        }
        assert_eq!(asked(&queue, now), "abc");
        send(&queue, 2, "f");
        assert_eq!(asked(&queue, now), "f");
    }
}
