//! Tokens with generations, readiness, one turn of the loop. It knows descriptors, not peers.
//!
//! The one thread that owns sockets calls [`Reactor::turn`] in a loop; any thread may end its
//! sleep through a [`Waker`]. Nothing else here blocks, and nothing here reads or writes what it
//! watches.
//!
//! poll(2) is told of every watched descriptor, which is O(n). That is plain, and cheap for the few
//! hundred sockets of a client, since while some are busy the quiet ones are asked only every few
//! milliseconds; should thousands ever matter, the call to replace is `sys::poll`, and nothing
//! outside this file would notice.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crate::io::sys;
pub use crate::io::sys::Interest;

/// With fewer descriptors than this all are polled each turn.
const MANY: usize = 64;

/// A descriptor is quiet when nothing was ready on it for so many turns.
const QUIET_AFTER: u64 = 64;

/// As long as others are ready, the quiet ones of many are polled so often only.
const QUIET_EVERY: Duration = Duration::from_millis(5);

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
    /// The connection has ended or failed, in both directions.
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
    watched: Option<(Arc<OwnedFd>, Interest)>,
    /// The turn in which something was last ready, or something else waited for.
    lively: u64,
}

/// Watches descriptors. Owned by one thread.
#[derive(Debug)]
pub struct Reactor {
    alarm: Arc<Alarm>,
    slots: Vec<Slot>,
    /// Slots that are not in use.
    free: Vec<u32>,
    /// The slots that this turn polls, in order; kept for its memory.
    polled: Vec<u32>,
    turns: u64,
    /// When all of them were last polled.
    all_polled: Instant,
}

impl Reactor {
    /// A reactor that watches nothing yet.
    ///
    /// # Errors
    /// No descriptor is left for its waker.
    pub fn new() -> io::Result<Reactor> {
        let state = AtomicU8::new(alarm::AWAKE);
        let alarm = Arc::new(Alarm { state, counter: sys::event_counter()? });
        let (slots, free, polled) = Default::default();
        Ok(Reactor { alarm, slots, free, polled, turns: 0, all_polled: Instant::now() })
    }

    /// A handle by which any thread can end the sleep of a turn.
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.alarm))
    }

    /// Watches a descriptor from the next turn on, until [`Reactor::remove`].
    pub fn add(&mut self, fd: Arc<OwnedFd>, interest: Interest) -> Token {
        let watched = Some((fd, interest));
        if let Some(slot) = self.free.pop() {
            let place = &mut self.slots[slot as usize];
            place.watched = watched;
            place.lively = self.turns;
            return Token { slot, generation: place.generation };
        }
        let slot = u32::try_from(self.slots.len()).expect("fewer descriptors than 2^32");
        self.slots.push(Slot { generation: 0, watched, lively: self.turns });
        Token { slot, generation: 0 }
    }

    /// Changes what is waited for, from the next turn on.
    pub fn set_interest(&mut self, token: Token, interest: Interest) {
        let turns = self.turns;
        if let Some(slot) = self.slot(token) {
            slot.lively = turns;
            if let Some(watched) = &mut slot.watched {
                watched.1 = interest;
            }
        }
    }

    /// Watches this one no longer, and lets go of its descriptor.
    pub fn remove(&mut self, token: Token) {
        let Some(slot) = self.slot(token) else { return };
        slot.watched = None;
        // A slot whose generations are used up stays empty for ever rather than start again.
        if let Some(next) = slot.generation.checked_add(1) {
            slot.generation = next;
            self.free.push(token.slot);
        }
    }

    fn slot(&mut self, token: Token) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(token.slot as usize)?;
        (slot.generation == token.generation && slot.watched.is_some()).then_some(slot)
    }

    /// Waits until something is ready, a waker rang, or the time is over (`None`: no limit), and
    /// puts what it found into `events`, which it empties first. It may come back early with
    /// nothing. After each turn the caller empties its mailboxes: a wake is told only once.
    ///
    /// # Errors
    /// What poll(2) says; nothing is known about the descriptors then.
    pub fn turn(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        events.clear();
        let state = &self.alarm.state;
        let (awake, asleep) = (alarm::AWAKE, alarm::ASLEEP);
        let slept = timeout != Some(Duration::ZERO)
            && state.compare_exchange(awake, asleep, Ordering::AcqRel, Ordering::Acquire).is_ok();
        let result = self.poll(if slept { timeout } else { Some(Duration::ZERO) }, events);
        self.alarm.state.swap(alarm::AWAKE, Ordering::AcqRel);
        result
    }

    fn poll(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        self.turns += 1;
        if self.slots.len() >= MANY && self.all_polled.elapsed() < QUIET_EVERY {
            let since = self.turns.saturating_sub(QUIET_AFTER);
            if self.poll_those(since, Some(Duration::ZERO), events)? {
                return Ok(());
            }
        }
        let result = self.poll_those(0, timeout, events);
        self.all_polled = Instant::now();
        result.map(drop)
    }

    /// Polls those that were lively since a turn. Whether anything was ready, the waker included.
    fn poll_those(
        &mut self,
        since: u64,
        timeout: Option<Duration>,
        events: &mut Vec<Event>,
    ) -> io::Result<bool> {
        let Reactor { alarm, slots, polled, .. } = self;
        polled.clear();
        // What nobody wants to hear of is not polled at all: poll(2) would report hang-ups of it
        // at once, turn after turn.
        polled.extend((0u32..).zip(slots.iter()).filter_map(|(number, slot)| {
            let is_wanted = slot.watched.as_ref().is_some_and(|(_, i)| *i != Interest::NONE);
            (is_wanted && slot.lively >= since).then_some(number)
        }));
        if since > 0 && polled.is_empty() {
            return Ok(false);
        }
        let watched = |number: &u32| slots[*number as usize].watched.as_ref();
        let wanted = polled.iter().filter_map(watched).map(|(fd, i)| (fd.as_fd(), *i));
        let counter = std::iter::once((alarm.counter.as_fd(), Interest::READ));
        let mut rang = false;
        sys::poll(polled.len() + 1, counter.chain(wanted), timeout, |place, ready| {
            let Some(number) = place.checked_sub(1).map(|at| polled[at]) else {
                sys::clear(&alarm.counter);
                rang = true;
                return;
            };
            let slot = &slots[number as usize];
            let interest = slot.watched.as_ref().map_or(Interest::NONE, |w| w.1);
            events.push(Event {
                token: Token { slot: number, generation: slot.generation },
                readable: ready.readable && interest.read,
                writable: ready.writable && interest.write,
                hangup: ready.hangup,
            });
        })?;
        for event in events.iter() {
            slots[event.token.slot as usize].lively = self.turns;
        }
        Ok(rang || !events.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    const SOON: Option<Duration> = Some(Duration::from_secs(5));
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
    fn a_quiet_one_among_many_is_heard_while_others_are_busy() {
        let mut reactor = Reactor::new().unwrap();
        let mut ends: Vec<_> = (0..MANY).map(|_| pair()).collect();
        let tokens: Vec<_> =
            ends.iter().map(|(fd, _)| reactor.add(Arc::clone(fd), Interest::READ)).collect();
        // Nobody reads from the busy one, so it is ready in every turn.
        ends[1].1.write_all(b"x").unwrap();
        (0..2 * QUIET_AFTER).for_each(|_| drop(turn(&mut reactor, NOW)));
        ends[0].1.write_all(b"x").unwrap();
        let start = Instant::now();
        let mut turns = 0;
        while !turn(&mut reactor, NOW).iter().any(|event| event.token == tokens[0]) {
            assert!(start.elapsed() < Duration::from_secs(5), "not heard");
            turns += 1;
        }
        // From then on it is lively.
        assert_eq!(turn(&mut reactor, NOW).len(), 2, "after {turns} turns");
        // And with nothing busy all are waited for.
        let mut byte = [0];
        for n in [0, 1] {
            sys::recv(&ends[n].0, &mut byte).unwrap();
        }
        ends[7].1.write_all(b"x").unwrap();
        assert_eq!(turn(&mut reactor, SOON)[0].token, tokens[7]);
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
