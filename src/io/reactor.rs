//! Tokens with generations, readiness, one turn of the loop. It knows descriptors, not peers.
//!
//! The one thread that owns sockets calls [`Reactor::turn`] in a loop; any thread may end its
//! sleep through a [`Waker`]. Nothing else here blocks, and nothing here reads or writes what it
//! watches.
//!
//! The kernel (epoll) is told of a change only when the next turn begins, and only if there is one
//! then: a socket that came, was answered and closed between two turns costs no call at all, and a
//! thousand that are quiet cost a turn nothing.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

pub use crate::io::sys::Interest;
use crate::io::sys::{self, Watch};

/// The alarm's number in the kernel's table. No slot has it.
const ALARM: u64 = u64::MAX;

/// The timer's.
const TIMER: u64 = u64::MAX - 1;

/// Waits shorter than this are not worth setting the timer.
const SHORT: Duration = Duration::from_millis(20);

/// A watched descriptor's name. It never names a later one, even where the kernel gives the same
/// number again: a token whose descriptor was removed does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    slot: u32,
    generation: u32,
}

/// What a turn found on one descriptor. At least one of the three is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Whose event it is.
    pub token: Token,
    /// Reading will not block; only where [`Interest::read`] is set. Hang-ups and errors count:
    /// whoever reads will meet them.
    pub readable: bool,
    /// Writing will not block; only where [`Interest::write`] is set, else as `readable`.
    pub writable: bool,
    /// The connection has ended or failed, in both directions; with [`Interest::once`] also in
    /// that of the other side alone.
    pub hangup: bool,
}

/// The states of the alarm between wakers and the reactor.
///
/// A waker sets RUNG and pays for a system call only when it finds ASLEEP. Before it sleeps the
/// reactor goes from AWAKE to ASLEEP, and if it finds RUNG instead it does not sleep. All three
/// steps are read-modify-writes of one atomic, so they have one order, and no ring is lost:
/// a ring before "ASLEEP" makes the turn not sleep; a ring after it raises the counter, which
/// ends the sleep. The reactor goes back to AWAKE before `turn` returns, and that step sees what
/// the waker did before it rang (Release to Acquire), so whatever was queued before a ring that
/// this step swallowed is visible to the caller of `turn`.
mod alarm {
    pub const AWAKE: u8 = 0;
    pub const RUNG: u8 = 1;
    pub const ASLEEP: u8 = 2;
}

#[derive(Debug)]
struct Alarm {
    state: AtomicU8,
    counter: OwnedFd,
}

/// Ends a sleep of its reactor, from any thread.
#[derive(Debug, Clone)]
pub struct Waker(Arc<Alarm>);

impl Waker {
    /// Makes the turn that runs now, or else the next one, return at once. Whatever was done
    /// before this call is visible to the reactor's thread when that turn returns.
    pub fn wake(&self) {
        if self.0.state.swap(alarm::RUNG, Ordering::AcqRel) == alarm::ASLEEP {
            sys::raise(&self.0.counter);
        }
    }
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    fd: Option<Arc<OwnedFd>>,
    wanted: Interest,
    /// What the kernel was told; `NONE` = it does not know the descriptor.
    told: Interest,
    /// Whether it is in the list of those that may have changed.
    listed: bool,
}

/// Watches descriptors. Owned by one thread.
#[derive(Debug)]
pub struct Reactor {
    alarm: Arc<Alarm>,
    watch: Watch,
    slots: Vec<Slot>,
    /// Slots that are not in use.
    free: Vec<u32>,
    /// Slots of which the kernel may have to be told something else.
    changed: Vec<u32>,
    /// For [`Reactor::turn_until`], once that was called; and the next time of which it tells.
    timer: Option<(OwnedFd, Option<Instant>)>,
}

impl Reactor {
    /// A reactor that watches nothing yet.
    ///
    /// # Errors
    /// No descriptor is left for it and its waker.
    pub fn new() -> io::Result<Reactor> {
        let state = AtomicU8::new(alarm::AWAKE);
        let alarm = Arc::new(Alarm { state, counter: sys::event_counter()? });
        let watch = Watch::new()?;
        watch.add_counter(&alarm.counter, ALARM)?;
        let (slots, free, changed) = Default::default();
        Ok(Reactor { alarm, watch, slots, free, changed, timer: None })
    }

    /// A handle by which any thread can end the sleep of a turn.
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.alarm))
    }

    /// Watches a descriptor from the next turn on, until [`Reactor::remove`]. No descriptor may be
    /// watched twice at a time.
    pub fn add(&mut self, fd: Arc<OwnedFd>, interest: Interest) -> Token {
        let slot = self.free.pop().unwrap_or_else(|| {
            let (fd, none) = (None, Interest::NONE);
            self.slots.push(Slot { generation: 0, fd, wanted: none, told: none, listed: false });
            u32::try_from(self.slots.len() - 1).expect("fewer descriptors than 2^32")
        });
        let place = &mut self.slots[slot as usize];
        place.fd = Some(fd);
        let token = Token { slot, generation: place.generation };
        self.set_interest(token, interest);
        token
    }

    /// Changes what is waited for, from the next turn on.
    pub fn set_interest(&mut self, token: Token, interest: Interest) {
        let Some(slot) = self.slot(token) else { return };
        slot.wanted = interest;
        if slot.told != interest && !slot.listed {
            slot.listed = true;
            self.changed.push(token.slot);
        }
    }

    /// Watches this one no longer, and lets go of its descriptor.
    pub fn remove(&mut self, token: Token) {
        let Some(slot) = self.slot(token) else { return };
        let fd = slot.fd.take();
        let told = std::mem::replace(&mut slot.told, Interest::NONE);
        slot.wanted = Interest::NONE;
        // A slot whose generations are used up stays empty for ever rather than start again.
        let next = slot.generation.checked_add(1);
        slot.generation = next.unwrap_or(slot.generation);
        if let (Some(fd), true) = (&fd, told != Interest::NONE) {
            // Closing it would not do: another process may have the same socket.
            self.watch.remove(fd);
        }
        if next.is_some() {
            self.free.push(token.slot);
        }
    }

    fn slot(&mut self, token: Token) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(token.slot as usize)?;
        (slot.generation == token.generation && slot.fd.is_some()).then_some(slot)
    }

    /// Waits until something is ready, a waker rang, or the time is over (`None`: no limit; it is
    /// rounded up to milliseconds), and puts what it found into `events`, which it empties first.
    /// It may come back early with nothing. After each turn the caller empties its mailboxes: a
    /// wake is told only once.
    ///
    /// # Errors
    /// What epoll_wait(2) says; nothing is known about the descriptors then.
    pub fn turn(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        events.clear();
        self.tell_changes();
        let state = &self.alarm.state;
        let (awake, asleep) = (alarm::AWAKE, alarm::ASLEEP);
        let slept = timeout != Some(Duration::ZERO)
            && state.compare_exchange(awake, asleep, Ordering::AcqRel, Ordering::Acquire).is_ok();
        let result = self.wait(if slept { timeout } else { Some(Duration::ZERO) }, events);
        self.alarm.state.swap(alarm::AWAKE, Ordering::AcqRel);
        result
    }

    /// Like [`Reactor::turn`], with the time at which the wait is over, and that of now or a little
    /// before. For those whose deadlines lie far apart, and hardly change from turn to turn: a wait
    /// without a limit, beside a timer that stands already, is half a microsecond cheaper.
    ///
    /// # Errors
    /// As for [`Reactor::turn`].
    pub fn turn_until(
        &mut self,
        deadline: Instant,
        now: Instant,
        events: &mut Vec<Event>,
    ) -> io::Result<()> {
        let wait = deadline.saturating_duration_since(now);
        let timed = wait >= SHORT && self.tells_by(deadline, now, wait);
        self.turn(if timed { None } else { Some(wait) }, events)
    }

    /// Whether the timer will tell at the deadline or before, which costs a turn in vain.
    fn tells_by(&mut self, deadline: Instant, now: Instant, wait: Duration) -> bool {
        if self.timer.is_none() {
            self.timer = sys::timer().ok().map(|timer| (timer, None));
            let Some((timer, _)) = &self.timer else { return false };
            if self.watch.add_counter(timer, TIMER).is_err() {
                self.timer = None;
            }
        }
        let Some((timer, set)) = &mut self.timer else { return false };
        if !set.is_some_and(|at| now < at && at <= deadline) {
            *set = sys::set_timer(timer, wait).is_ok().then_some(deadline);
        }
        set.is_some()
    }

    /// Tells the kernel what is waited for now. What it refuses for lack of memory is told again
    /// in the next turn; until then it is as if nothing came.
    fn tell_changes(&mut self) {
        let Reactor { watch, slots, changed, .. } = self;
        changed.retain(|number| {
            let slot = &mut slots[*number as usize];
            slot.listed = false;
            let Some(fd) = slot.fd.as_ref().filter(|_| slot.told != slot.wanted) else {
                return false;
            };
            let name = u64::from(slot.generation) << 32 | u64::from(*number);
            let done = match (slot.told, slot.wanted) {
                (Interest::NONE, wanted) => watch.add(fd, wanted, name),
                // Of what is there hang-ups would be told in any case, turn after turn.
                (_, Interest::NONE) => {
                    watch.remove(fd);
                    Ok(())
                }
                (_, wanted) => watch.change(fd, wanted, name),
            };
            if done.is_ok() {
                slot.told = slot.wanted;
            }
            slot.listed = done.is_err();
            slot.listed
        });
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        let Reactor { watch, slots, .. } = self;
        watch.wait(timeout, |name, ready| {
            if name >= TIMER {
                return;
            }
            let token = Token { slot: name as u32, generation: (name >> 32) as u32 };
            let interest = slots[token.slot as usize].told;
            events.push(Event {
                token,
                readable: ready.readable && interest.read,
                writable: ready.writable && interest.write,
                hangup: ready.hangup,
            });
        })
    }
}

/// How many things wait at a socket that is ready, by what was found there before: to look once
/// more than there are costs a call, and to look too seldom a turn.
#[derive(Debug)]
pub struct Guess {
    most: usize,
    /// Turns after which more are expected, at first and now.
    least: u32,
    patience: u32,
    expected: usize,
    /// Turns in a row in which nothing told that there were fewer.
    right: u32,
    /// What was expected before it was last doubled.
    before: usize,
}

/// Turns after which more are expected where that was wrong again and again.
const MOST_PATIENCE: u32 = 64;

impl Guess {
    /// Begins with one; doubles, up to `most`, whenever it was not too many `patience` times.
    /// Where as many come every time, it doubles more and more seldom.
    pub fn new(most: usize, patience: u32) -> Guess {
        Guess { most, least: patience, patience, expected: 1, right: 0, before: 0 }
    }

    /// How many to look for in this turn.
    #[expect(clippy::should_implement_trait, reason = "it has no end")]
    pub fn next(&mut self) -> usize {
        let now = self.expected;
        self.right += 1;
        if self.right > 1 && now > self.before {
            // There were as many the last time.
            self.patience = self.least;
        }
        if self.right > self.patience {
            self.right = 0;
            self.before = now;
            self.expected = (now * 2).min(self.most);
        }
        now
    }

    /// There were only so many.
    pub fn was(&mut self, found: usize) {
        self.patience = match found == self.before {
            true => (self.patience * 2).min(MOST_PATIENCE),
            false => self.least,
        };
        self.expected = found.max(1);
        self.right = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    const SOON: Option<Duration> = Some(Duration::from_secs(60));
    const NOW: Option<Duration> = Some(Duration::ZERO);

    fn pair() -> (Arc<OwnedFd>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Arc::new(ours.into()), theirs)
    }

    fn turn(reactor: &mut Reactor, timeout: Option<Duration>) -> Vec<Event> {
        let mut events = vec![];
        reactor.turn(timeout, &mut events).unwrap();
        events
    }

    #[test]
    fn tells_what_was_asked_for_and_nothing_else() {
        let mut reactor = Reactor::new().unwrap();
        let (fd, mut other) = pair();
        let token = reactor.add(fd, Interest::READ);
        assert_eq!(turn(&mut reactor, NOW), []);
        other.write_all(b"x").unwrap();
        let readable = Event { token, readable: true, writable: false, hangup: false };
        assert_eq!(turn(&mut reactor, SOON), [readable]);
        reactor.set_interest(token, Interest::WRITE);
        assert_eq!(
            turn(&mut reactor, SOON),
            [Event { readable: false, writable: true, ..readable }]
        );
        reactor.set_interest(token, Interest::BOTH);
        assert_eq!(turn(&mut reactor, SOON), [Event { writable: true, ..readable }]);
    }

    #[test]
    fn what_was_there_between_two_turns_only_leaves_nothing() {
        let mut reactor = Reactor::new().unwrap();
        let (fd, mut other) = pair();
        other.write_all(b"x").unwrap();
        let first = reactor.add(Arc::clone(&fd), Interest::READ);
        reactor.remove(first);
        let second = reactor.add(Arc::clone(&fd), Interest::NONE);
        reactor.set_interest(second, Interest::BOTH);
        reactor.set_interest(second, Interest::READ);
        let events = turn(&mut reactor, SOON);
        assert_eq!(
            events.iter().map(|e| (e.token, e.writable)).collect::<Vec<_>>(),
            [(second, false)]
        );
        // Another handle of the same socket stays open, and nothing more is told of it.
        let kept = fd.try_clone().unwrap();
        reactor.remove(second);
        drop(fd);
        assert_eq!(turn(&mut reactor, NOW), []);
        let third = reactor.add(Arc::new(kept), Interest::READ);
        assert_eq!(turn(&mut reactor, SOON)[0].token, third);
    }

    #[test]
    fn more_than_one_wait_tells_of_come_in_the_next_turns() {
        let mut reactor = Reactor::new().unwrap();
        let pairs: Vec<_> = (0..400).map(|_| pair()).collect();
        let tokens = pairs.iter().map(|(fd, _)| reactor.add(Arc::clone(fd), Interest::WRITE));
        let tokens: std::collections::BTreeSet<_> = tokens.collect();
        let mut found = std::collections::BTreeSet::new();
        for _ in 0..2 {
            found.extend(turn(&mut reactor, SOON).iter().map(|event| event.token));
        }
        assert_eq!(found, tokens);
    }

    #[test]
    fn a_guess_grows_by_patience_and_falls_at_once() {
        let mut guess = Guess::new(4, 2);
        let mut next = |n| (0..n).map(|_| guess.next()).collect::<Vec<_>>();
        assert_eq!(next(11), [1, 1, 1, 2, 2, 2, 4, 4, 4, 4, 4]);
        guess.was(3);
        assert_eq!(guess.next(), 3);
        guess.was(0);
        assert_eq!(guess.next(), 1);
    }

    #[test]
    fn where_one_comes_every_time_a_second_is_looked_for_more_and_more_seldom() {
        let mut guess = Guess::new(128, 4);
        let mut seconds = 0;
        for _ in 0..1000 {
            if guess.next() > 1 {
                guess.was(1);
                seconds += 1;
            }
        }
        assert!((10..25).contains(&seconds), "{seconds}");
        // But a crowd is noticed as soon as ever, once it was right to look for more.
        let taken: usize = (0..64 + 5 * 8).map(|_| guess.next()).sum();
        assert!(taken > 500, "{taken}");
    }

    #[test]
    fn a_stale_token_does_nothing_to_its_successor() {
        let mut reactor = Reactor::new().unwrap();
        let (first, _other) = pair();
        let old = reactor.add(first, Interest::WRITE);
        reactor.remove(old);
        let (second, _other) = pair();
        let new = reactor.add(second, Interest::WRITE);
        assert_eq!(old.slot, new.slot);
        reactor.set_interest(old, Interest::NONE);
        reactor.remove(old);
        reactor.remove(old);
        let events = turn(&mut reactor, SOON);
        assert_eq!(events.iter().map(|e| e.token).collect::<Vec<_>>(), [new]);
    }

    #[test]
    fn remove_lets_go_of_the_descriptor() {
        let mut reactor = Reactor::new().unwrap();
        let (fd, _other) = pair();
        let token = reactor.add(Arc::clone(&fd), Interest::READ);
        reactor.remove(token);
        assert_eq!(Arc::strong_count(&fd), 1);
    }

    #[test]
    fn a_hangup_is_told_while_anything_is_wanted_and_never_spins_otherwise() {
        let mut reactor = Reactor::new().unwrap();
        let (fd, other) = pair();
        let token = reactor.add(fd, Interest::WRITE);
        drop(other);
        let event = Event { token, readable: false, writable: true, hangup: true };
        assert_eq!(turn(&mut reactor, SOON), [event]);
        reactor.set_interest(token, Interest::NONE);
        let start = Instant::now();
        assert_eq!(turn(&mut reactor, Some(Duration::from_millis(20))), []);
        assert!(start.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn a_wake_before_the_turn_ends_it_at_once_and_only_once() {
        let mut reactor = Reactor::new().unwrap();
        reactor.waker().wake();
        reactor.waker().wake();
        let start = Instant::now();
        turn(&mut reactor, Some(Duration::from_secs(60)));
        assert!(start.elapsed() < Duration::from_secs(30));
        let start = Instant::now();
        turn(&mut reactor, Some(Duration::from_millis(20)));
        assert!(start.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn a_turn_until_a_deadline_ends_then_whatever_the_deadlines_before_it() {
        let mut reactor = Reactor::new().unwrap();
        let mut events = vec![];
        // Later, earlier, later: as they come and go in a program.
        for wait in [60_000, 40, 50, 30_000, 45, 5] {
            let begin = Instant::now();
            let deadline = begin + Duration::from_millis(wait);
            if wait > 1000 {
                reactor.waker().wake();
            }
            let mut turns = 0;
            while Instant::now() < deadline && !(wait > 1000 && turns > 0) {
                reactor.turn_until(deadline, Instant::now(), &mut events).unwrap();
                turns += 1;
            }
            // One may be in vain, for a deadline before; none of them spins.
            assert!(turns <= 4, "{turns} turns for {wait} ms");
            assert!(begin.elapsed() < Duration::from_secs(20), "{wait} ms");
        }
    }

    #[test]
    fn a_wake_from_another_thread_ends_a_sleep() {
        let mut reactor = Reactor::new().unwrap();
        let waker = reactor.waker();
        let asleep = Arc::clone(&reactor.alarm);
        let thread = std::thread::spawn(move || {
            while asleep.state.load(Ordering::Acquire) != alarm::ASLEEP {
                std::thread::yield_now();
            }
            waker.wake();
        });
        let start = Instant::now();
        turn(&mut reactor, Some(Duration::from_secs(60)));
        assert!(start.elapsed() < Duration::from_secs(30));
        thread.join().unwrap();
    }
}
