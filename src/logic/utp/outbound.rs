//! What goes out: bytes that wait, packets that are under way, and which of these are lost.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::MAX_PAYLOAD;
use crate::proto::utp::{Kind, Packet};

/// Bytes that may wait to be sent, beside those that are under way.
pub const MAX_QUEUED: usize = 256 << 10;

/// And while all streams together keep too much.
const MAX_QUEUED_IN_NEED: usize = 16 << 10;

/// Packets that may be under way: fewer than the other side can acknowledge selectively.
pub const MAX_FLYING: usize = 1_000;

/// Acknowledgements may be so much older than the newest and still be believed: packets overtake
/// each other.
const MAX_BEHIND: u16 = 256;

/// A packet is overtaken when one that was sent so many packets later has arrived (BEP 29).
const LOST_BEHIND: u64 = 3;

/// For each loss that was one, the patience with those overtaken shrinks by one part in so many.
const FORGETS: u32 = 32;

/// A packet that was sent.
#[derive(Debug)]
struct Sent {
    kind: Kind,
    payload: Vec<u8>,
    /// When, the last time.
    at: Instant,
    /// The how manieth packet it was, the last time.
    order: u64,
    times: u32,
    state: State,
    /// Since when it has been overtaken.
    overtaken: Option<Instant>,
    /// It was called lost at the loss that was told last, and had been overtaken then.
    doubted: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Flying,
    Lost,
    Arrived,
}

/// What an acknowledgement told.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Acked {
    /// Something had not been acknowledged before.
    pub is_news: bool,
    /// Bytes of it.
    pub bytes: usize,
    /// The round trip of a packet that was sent only once.
    pub round_trip: Option<Duration>,
    /// Packets are lost, other than those that were under way at the loss before.
    pub is_loss: bool,
    /// What the loss before was told for has come after all: it was only overtaken.
    is_undone: bool,
}

impl Acked {
    /// Whether the loss before was none.
    pub fn is_undone(&self) -> bool {
        self.is_undone
    }
}

/// A loss that may have been none.
#[derive(Debug)]
struct Doubt {
    /// What [`Outbound::told_at`] was before.
    told_at: u64,
    /// Packets that were called lost, and those of them that have come after all.
    lost: usize,
    came: usize,
}

/// The sending half of a stream.
#[derive(Debug)]
pub struct Outbound {
    /// The number of the oldest packet that is not acknowledged.
    first: u16,
    /// From number `first` on.
    sent: VecDeque<Sent>,
    queue: VecDeque<u8>,
    /// Bytes under way: neither lost nor arrived.
    flying: usize,
    /// Bytes of `sent` that have not arrived, as far as is known.
    unsure: usize,
    /// How many of `sent` are to be sent again.
    lost: usize,
    /// Packets sent so far, the repeated ones too.
    order: u64,
    /// The latest of them that has arrived.
    newest: u64,
    /// How long one that was overtaken may take and still count as under way: as long as others
    /// took that came after all. Nothing where packets stay in order.
    patience: Duration,
    /// When the first of those overtaken will have taken longer.
    loss_by: Option<Instant>,
    /// How many had been sent when a loss was told last.
    told_at: u64,
    doubt: Option<Doubt>,
    /// Bytes that may wait now.
    most: usize,
    /// The stream is to end behind the queue.
    ends: bool,
    /// The packet that ends it has a number.
    has_ended: bool,
}

/// A packet to be sent.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// Of which kind.
    pub kind: Kind,
    /// Its number.
    pub seq: u16,
    /// Its bytes of the stream.
    pub payload: &'a [u8],
}

impl Outbound {
    /// Nothing was sent; the first packet gets this number.
    pub fn new(first: u16) -> Outbound {
        Outbound {
            first,
            sent: VecDeque::new(),
            queue: VecDeque::new(),
            flying: 0,
            unsure: 0,
            lost: 0,
            order: 0,
            newest: 0,
            patience: Duration::ZERO,
            loss_by: None,
            told_at: 0,
            doubt: None,
            most: MAX_QUEUED,
            ends: false,
            has_ended: false,
        }
    }

    /// The number of the next new packet.
    pub fn next_seq(&self) -> u16 {
        // At most MAX_FLYING packets and the one that ends the stream.
        self.first.wrapping_add(self.sent.len() as u16)
    }

    /// The number up to which everything has arrived.
    pub fn acked(&self) -> u16 {
        self.first.wrapping_sub(1)
    }

    /// Bytes that the queue has room for; none once the stream is to end.
    pub fn room(&self) -> usize {
        if self.ends { 0 } else { self.most.saturating_sub(self.queue.len()) }
    }

    /// Whether memory is scarce from now on, so that less may wait.
    pub fn economise(&mut self, is_scarce: bool) {
        self.most = if is_scarce { MAX_QUEUED_IN_NEED } else { MAX_QUEUED };
    }

    /// Bytes that may wait now.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Bytes that wait, or are not acknowledged.
    pub fn kept(&self) -> usize {
        self.queue.len() + self.unsure
    }

    /// Takes as many of the bytes as there is room for, and says how many.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        self.queue.extend(&bytes[..count]);
        count
    }

    /// Ends the stream behind what waits.
    pub fn end(&mut self) {
        self.ends = true;
    }

    /// Whether all has arrived, the end too.
    pub fn is_ended(&self) -> bool {
        self.has_ended && self.sent.is_empty()
    }

    /// Whether anything waits for an acknowledgement.
    pub fn is_awaiting(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Whether there are bytes, or the end, that were never sent.
    pub fn has_new(&self) -> bool {
        !self.queue.is_empty() || self.ends && !self.has_ended
    }

    /// Bytes under way.
    pub fn flying(&self) -> usize {
        self.flying
    }

    /// Whether an acknowledgement can be honest: of something that was sent, and not of long ago.
    pub fn is_plausible(&self, ack: u16) -> bool {
        let newest = self.next_seq().wrapping_sub(1);
        usize::from(newest.wrapping_sub(ack)) <= self.sent.len() + usize::from(MAX_BEHIND)
    }

    /// Sends the first packet of a connection.
    pub fn dial(&mut self, now: Instant) -> Outgoing<'_> {
        self.send_new(Kind::Syn, Vec::new(), now)
    }

    /// The next packet: one that was lost, else a new one. `window` is how many bytes the net
    /// bears, `peer_window` how many the other side has room for.
    pub fn next(
        &mut self,
        window: usize,
        peer_window: usize,
        now: Instant,
    ) -> Option<Outgoing<'_>> {
        let free = window.saturating_sub(self.flying);
        if self.lost > 0 {
            let place = self.sent.iter().position(|sent| sent.state == State::Lost)?;
            return (self.sent[place].payload.len() <= free).then(|| self.send_again(place, now));
        }
        if self.sent.len() >= MAX_FLYING {
            return None;
        }
        if self.queue.is_empty() {
            return (self.ends && !self.has_ended).then(|| {
                self.has_ended = true;
                self.send_new(Kind::Fin, Vec::new(), now)
            });
        }
        // Short packets only where the stream is short: a part of a window is waited for.
        let length = self.queue.len().min(MAX_PAYLOAD);
        let room = free.min(peer_window.saturating_sub(self.flying));
        if room < length {
            return None;
        }
        let payload = self.queue.drain(..length).collect();
        Some(self.send_new(Kind::Data, payload, now))
    }

    fn send_new(&mut self, kind: Kind, payload: Vec<u8>, now: Instant) -> Outgoing<'_> {
        let seq = self.next_seq();
        self.order += 1;
        self.flying += payload.len();
        self.unsure += payload.len();
        let (order, state) = (self.order, State::Flying);
        self.sent.push_back(Sent {
            kind,
            payload,
            at: now,
            order,
            times: 1,
            state,
            overtaken: None,
            doubted: None,
        });
        let payload = &self.sent[self.sent.len() - 1].payload;
        Outgoing { kind, seq, payload }
    }

    fn send_again(&mut self, place: usize, now: Instant) -> Outgoing<'_> {
        self.order += 1;
        self.lost -= 1;
        let seq = self.first.wrapping_add(place as u16);
        let sent = &mut self.sent[place];
        self.flying += sent.payload.len();
        (sent.at, sent.order, sent.state) = (now, self.order, State::Flying);
        (sent.times, sent.overtaken) = (sent.times + 1, None);
        Outgoing { kind: sent.kind, seq, payload: &sent.payload }
    }

    /// Reads what a packet acknowledges, which must be [plausible](Outbound::is_plausible). `soon`:
    /// what was sent again cannot be acknowledged in less time.
    pub fn on_ack(&mut self, packet: &Packet<'_>, soon: Duration, now: Instant) -> Acked {
        let mut acked = Acked::default();
        // From the oldest up to number `ack`; nothing if the packet was overtaken.
        let whole = usize::from(packet.header.ack.wrapping_add(1).wrapping_sub(self.first));
        let whole = if whole <= self.sent.len() { whole } else { 0 };
        for place in 0..whole {
            self.undoubt(place, soon, now, &mut acked);
            self.arrived(place, soon, now, &mut acked);
        }
        for seq in packet.selected() {
            let place = usize::from(seq.wrapping_sub(self.first));
            if place < self.sent.len() {
                self.undoubt(place, soon, now, &mut acked);
                self.arrived(place, soon, now, &mut acked);
            }
        }
        while self.sent.front().is_some_and(|sent| sent.state == State::Arrived) {
            self.sent.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        acked.is_loss = self.miss(now);
        acked
    }

    /// When [`miss`](Outbound::miss) is to be called, if nothing is heard before.
    pub fn loss_by(&self) -> Option<Instant> {
        self.loss_by
    }

    /// Calls those lost that were overtaken for too long; whether that is news, see
    /// [`Acked::is_loss`].
    pub fn miss(&mut self, now: Instant) -> bool {
        let is_flying = |sent: &&mut Sent| sent.state == State::Flying;
        let mut first = None;
        for sent in self.sent.iter_mut().filter(is_flying) {
            if sent.order + LOST_BEHIND <= self.newest {
                let since = *sent.overtaken.get_or_insert(now);
                first = Some(first.map_or(since, |first: Instant| first.min(since)));
            }
        }
        let patience = self.patience;
        let is_over = |since: Instant| since + patience <= now;
        self.loss_by = first.map(|since| since + patience);
        if !first.is_some_and(is_over) {
            return false;
        }
        self.loss_by = None;
        let is_news = self.lose(|sent| sent.overtaken.is_some_and(is_over));
        if is_news {
            self.patience -= self.patience / FORGETS;
        }
        is_news
    }

    /// A packet that was called lost and came too soon for its repetition was only overtaken. When
    /// that is so of all, there was no loss.
    fn undoubt(&mut self, place: usize, soon: Duration, now: Instant, acked: &mut Acked) {
        let sent = &mut self.sent[place];
        let is_too_soon = match sent.state {
            State::Lost => true,
            State::Flying => now.saturating_duration_since(sent.at) < soon,
            State::Arrived => false,
        };
        let Some(since) = sent.doubted.take().filter(|_| is_too_soon) else { return };
        self.patience = self.patience.max(late(since, soon, now));
        let Some(doubt) = &mut self.doubt else { return };
        doubt.came += 1;
        if doubt.came == doubt.lost {
            acked.is_undone = true;
            self.told_at = doubt.told_at;
            self.doubt = None;
        }
    }

    fn arrived(&mut self, place: usize, soon: Duration, now: Instant, acked: &mut Acked) {
        let sent = &mut self.sent[place];
        self.newest = self.newest.max(sent.order);
        match sent.state {
            State::Arrived => return,
            State::Lost => self.lost -= 1,
            State::Flying => {
                self.flying -= sent.payload.len();
                if let Some(since) = sent.overtaken {
                    self.patience = self.patience.max(late(since, soon, now));
                }
            }
        }
        sent.state = State::Arrived;
        acked.is_news = true;
        acked.bytes += sent.payload.len();
        self.unsure -= sent.payload.len();
        if sent.times == 1 {
            acked.round_trip = Some(now.saturating_duration_since(sent.at));
        }
        sent.payload = Vec::new();
    }

    /// Calls those lost that `is_lost` says; whether that is news, see [`Acked::is_loss`].
    fn lose(&mut self, is_lost: impl Fn(&Sent) -> bool) -> bool {
        let is_new = |sent: &Sent| sent.state == State::Flying && is_lost(sent);
        if !self.sent.iter().any(is_new) {
            return false;
        }
        let is_news = self.sent.iter().any(|sent| is_new(sent) && sent.order > self.told_at);
        if is_news {
            self.doubt = Some(Doubt { told_at: self.told_at, lost: 0, came: 0 });
            self.told_at = self.order;
            self.sent.iter_mut().for_each(|sent| sent.doubted = None);
        }
        for sent in self.sent.iter_mut().filter(|sent| is_new(sent)) {
            sent.state = State::Lost;
            self.lost += 1;
            self.flying -= sent.payload.len();
            if let Some(doubt) = &mut self.doubt {
                sent.doubted = sent.overtaken;
                doubt.lost += 1;
            }
        }
        is_news
    }

    /// Nothing was heard for too long: all that is under way counts as lost.
    pub fn lose_all(&mut self) {
        self.lose(|_| true);
        self.doubt = None;
    }
}

/// The patience that would have been enough with one that comes now.
fn late(since: Instant, most: Duration, now: Instant) -> Duration {
    let took = now.saturating_duration_since(since);
    (took + took / 4).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::utp::Header;

    const SOON: Duration = Duration::ZERO;

    fn ack(ack: u16, selective: &[u8]) -> Packet<'_> {
        let kind = Kind::State;
        let header = Header { kind, connection: 1, sent: 0, delay: 0, window: 0, seq: 0, ack };
        Packet { header, selective, payload: &[] }
    }

    /// Sends what it can, and says the numbers of it.
    fn send(outbound: &mut Outbound, now: Instant) -> Vec<u16> {
        let next = || Some(outbound.next(1 << 20, 1 << 20, now)?.seq);
        std::iter::from_fn(next).collect()
    }

    fn flying(packets: usize, now: Instant) -> Outbound {
        let mut outbound = Outbound::new(0xfffe);
        outbound.write(&vec![7; packets * MAX_PAYLOAD]);
        send(&mut outbound, now);
        outbound
    }

    #[test]
    fn what_three_later_ones_have_overtaken_is_sent_again_once() {
        let now = Instant::now();
        let mut outbound = flying(8, now);
        let acked = outbound.on_ack(&ack(0xfffe, &[0b01]), SOON, now + Duration::from_millis(9));
        assert_eq!(acked.round_trip, Some(Duration::from_millis(9)));
        assert_eq!((acked.bytes, acked.is_loss), (2 * MAX_PAYLOAD, false));
        assert!(send(&mut outbound, now).is_empty());
        assert!(outbound.on_ack(&ack(0xfffe, &[0b111]), SOON, now).is_loss);
        assert_eq!(send(&mut outbound, now), [0xffff]);
        // What was sent before the repetition tells nothing of it.
        let acked = outbound.on_ack(&ack(0xfffe, &[0b111111]), SOON, now);
        assert_eq!((acked.is_loss, send(&mut outbound, now)), (false, vec![]));
        assert_eq!(outbound.flying(), MAX_PAYLOAD);
        let acked = outbound.on_ack(&ack(5, &[]), SOON, now);
        assert_eq!(
            (acked.bytes, acked.round_trip),
            (MAX_PAYLOAD, None),
            "which of the two was it?"
        );
        assert!(!outbound.is_awaiting());
    }

    #[test]
    fn a_packet_that_was_only_overtaken_was_no_loss() {
        let now = Instant::now();
        let later = |milliseconds| now + Duration::from_millis(milliseconds);
        let soon = Duration::from_millis(25);
        for (sent_again, comes_at, expected) in
            [(false, 60, true), (true, 70, true), (true, 99, false)]
        {
            let mut outbound = flying(8, now);
            assert!(outbound.on_ack(&ack(0xfffe, &[0b111]), soon, later(50)).is_loss);
            if sent_again {
                assert_eq!(send(&mut outbound, later(50)), [0xffff]);
            }
            let acked = outbound.on_ack(&ack(2, &[]), soon, later(comes_at));
            assert_eq!(acked.is_undone(), expected, "{comes_at}");
            // Of two only one came after all.
            let mut outbound = flying(8, now);
            assert!(outbound.on_ack(&ack(0xfffe, &[0b11110]), soon, later(50)).is_loss);
            let acked = outbound.on_ack(&ack(0xffff, &[0b1111]), soon, later(60));
            assert!(!acked.is_undone());
        }
    }

    #[test]
    fn where_packets_overtake_others_these_get_as_long_as_it_took_before() {
        let now = Instant::now();
        let later = |milliseconds| now + Duration::from_millis(milliseconds);
        let soon = Duration::from_millis(25);
        let mut outbound = flying(20, now);
        assert!(outbound.on_ack(&ack(0xfffe, &[0b111]), soon, later(50)).is_loss, "nothing known");
        assert!(outbound.on_ack(&ack(2, &[]), soon, later(58)).is_undone());
        assert!(!outbound.on_ack(&ack(2, &[0b111]), soon, later(60)).is_loss);
        assert_eq!(outbound.loss_by(), Some(later(70)));
        assert!(!outbound.on_ack(&ack(6, &[]), soon, later(69)).is_loss, "it came");
        assert_eq!(outbound.loss_by(), None);
        assert!(!outbound.on_ack(&ack(6, &[0b111]), soon, later(80)).is_loss);
        assert!(!outbound.miss(later(90)));
        let by = outbound.loss_by().unwrap();
        assert!(by > later(91) && by < later(92), "a little more than the eleven");
        assert!(outbound.miss(by) && !outbound.miss(by));
        assert!(outbound.loss_by().is_none() && outbound.lost == 1);
    }

    #[test]
    fn the_losses_of_one_flight_are_one_loss() {
        let now = Instant::now();
        let mut outbound = flying(20, now);
        assert!(outbound.on_ack(&ack(0xfffd, &[0b1110]), SOON, now).is_loss);
        assert!(!outbound.on_ack(&ack(0xfffd, &[0b1110, 0b1110]), SOON, now).is_loss);
        send(&mut outbound, now);
        outbound.write(&[7; 9 * MAX_PAYLOAD]);
        send(&mut outbound, now);
        assert!(outbound.on_ack(&ack(18, &[0b1110]), SOON, now).is_loss, "of the next flight");
    }

    #[test]
    fn acknowledgements_of_what_was_never_sent_are_not_plausible_and_change_nothing() {
        let now = Instant::now();
        let mut outbound = flying(4, now);
        assert!(outbound.is_plausible(1) && outbound.is_plausible(0xfffd));
        assert!(!outbound.is_plausible(2) && !outbound.is_plausible(0x8000));
        assert!(!outbound.is_plausible(0xfffdu16.wrapping_sub(MAX_BEHIND + 1)));
        let all = [0xff; 255];
        assert_eq!(outbound.on_ack(&ack(2, &[]), SOON, now), Acked::default());
        let acked = outbound.on_ack(&ack(0xfffd, &all), SOON, now);
        assert_eq!(acked.bytes, 3 * MAX_PAYLOAD, "bits beyond are ignored");
    }

    #[test]
    fn the_other_sides_room_holds_new_bytes_back_and_no_repeated_ones() {
        let now = Instant::now();
        let mut outbound = flying(1, now);
        outbound.write(&[1; 10]);
        assert!(outbound.next(1 << 20, MAX_PAYLOAD + 9, now).is_none());
        outbound.lose_all();
        assert_eq!(outbound.next(1 << 20, 0, now).unwrap().seq, 0xfffe);
        assert!(outbound.next(1 << 20, MAX_PAYLOAD + 9, now).is_none());
        assert_eq!(outbound.next(1 << 20, MAX_PAYLOAD + 10, now).unwrap().payload, [1; 10]);
    }

    #[test]
    fn the_end_comes_behind_all_bytes_and_what_waits_is_bounded() {
        let now = Instant::now();
        let mut outbound = Outbound::new(0);
        assert_eq!(outbound.write(&vec![0; MAX_QUEUED + 1]), MAX_QUEUED);
        outbound.end();
        assert_eq!(outbound.write(b"late"), 0);
        let last = send(&mut outbound, now).pop().unwrap();
        assert!(!outbound.has_new() && !outbound.is_ended());
        outbound.on_ack(&ack(last, &[]), SOON, now);
        assert!(outbound.is_ended());
        let mut many = Outbound::new(0);
        for _ in 0..MAX_FLYING * 2 {
            many.write(b"x");
            send(&mut many, now);
        }
        assert_eq!(many.sent.len(), MAX_FLYING);
    }
}
