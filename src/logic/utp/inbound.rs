//! What comes in: packets in any order, bytes in theirs.

use std::collections::VecDeque;

use crate::proto::utp::MAX_SELECTIVE;

/// Bytes that are kept for whom they are for: in order and before their turn.
pub const MAX_KEPT: usize = 512 << 10;

/// And while all streams together keep too much.
const MAX_KEPT_IN_NEED: usize = 32 << 10;

/// How far ahead of the next packet one may be to be kept. As many can be acknowledged selectively.
pub const MAX_AHEAD: usize = MAX_SELECTIVE * 8;

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It was the next, or the one that was missing before others.
    InTurn,
    /// It was kept, or is not needed, or there is no room: the sender should hear at once what is
    /// here.
    OutOfTurn,
    /// No honest sender has sent this.
    Absurd,
}

/// The receiving half of a stream.
#[derive(Debug)]
pub struct Inbound {
    /// Up to this number everything has come.
    ack: u16,
    /// The bytes that are in order.
    ready: VecDeque<u8>,
    /// What came before its turn; the first place is that of number `ack` + 2.
    early: VecDeque<Option<Box<[u8]>>>,
    early_bytes: usize,
    /// The number of the last packet, if that is known.
    last: Option<u16>,
    /// Nobody reads any more.
    is_discarded: bool,
    /// Bytes that may be kept now.
    most: usize,
}

impl Inbound {
    /// Nothing has come but number `ack`.
    pub fn new(ack: u16) -> Inbound {
        Inbound {
            ack,
            ready: VecDeque::new(),
            early: VecDeque::new(),
            early_bytes: 0,
            last: None,
            is_discarded: false,
            most: MAX_KEPT,
        }
    }

    /// Whether memory is scarce from now on, so that less is kept.
    pub fn economise(&mut self, is_scarce: bool) {
        self.most = if is_scarce { MAX_KEPT_IN_NEED } else { MAX_KEPT };
    }

    /// Bytes that may be kept now.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Bytes that are kept.
    pub fn kept(&self) -> usize {
        self.ready.len() + self.early_bytes
    }

    /// Up to this number everything has come.
    pub fn ack(&self) -> u16 {
        self.ack
    }

    /// Bytes that there is room for.
    pub fn room(&self) -> usize {
        self.most.saturating_sub(self.kept())
    }

    /// Bytes that can be read.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Whether the whole stream has come.
    pub fn is_ended(&self) -> bool {
        self.last == Some(self.ack)
    }

    /// Whether something came before its turn.
    pub fn has_gaps(&self) -> bool {
        !self.early.is_empty()
    }

    /// Moves what is in order into `out`, and says how much that was.
    pub fn read(&mut self, out: &mut [u8]) -> usize {
        let count = out.len().min(self.ready.len());
        let (front, back) = self.ready.as_slices();
        let split = count.min(front.len());
        out[..split].copy_from_slice(&front[..split]);
        out[split..count].copy_from_slice(&back[..count - split]);
        self.ready.drain(..count);
        if self.ready.is_empty() {
            // Idle streams are many: what one held in its best time is given back.
            self.ready.shrink_to(4096);
        }
        count
    }

    /// Nobody will read what comes: it is acknowledged and thrown away.
    pub fn discard(&mut self) {
        self.is_discarded = true;
        self.ready = VecDeque::new();
    }

    /// A packet of this number came; `is_last`: the stream ends with it.
    pub fn take(&mut self, seq: u16, payload: &[u8], is_last: bool) -> Taken {
        let ahead = usize::from(seq.wrapping_sub(self.ack.wrapping_add(1)));
        let behind = usize::from(self.ack.wrapping_sub(seq));
        if behind < MAX_AHEAD {
            return Taken::OutOfTurn;
        }
        let is_behind = |last: u16| seq.wrapping_sub(last) as i16 > 0;
        if ahead > MAX_AHEAD || self.last.is_some_and(is_behind) {
            return Taken::Absurd;
        }
        if ahead == 0 {
            // What came early does not count here: it waits for this one.
            if self.ready.len() + payload.len() > self.most {
                return Taken::OutOfTurn;
            }
            self.note_last(seq, is_last);
            self.advance(payload);
            return Taken::InTurn;
        }
        self.keep(ahead - 1, payload, || (seq, is_last))
    }

    fn keep(&mut self, place: usize, payload: &[u8], told: impl Fn() -> (u16, bool)) -> Taken {
        if payload.len() <= self.room() && !matches!(self.early.get(place), Some(Some(_))) {
            let (seq, is_last) = told();
            self.note_last(seq, is_last);
            if self.early.len() <= place {
                self.early.resize(place + 1, None);
            }
            self.early[place] = Some(payload.into());
            self.early_bytes += payload.len();
        }
        Taken::OutOfTurn
    }

    fn note_last(&mut self, seq: u16, is_last: bool) {
        if is_last && self.last.is_none() {
            self.last = Some(seq);
        }
    }

    /// The next has come, and with it what waited for it.
    fn advance(&mut self, payload: &[u8]) {
        self.hand_over(payload);
        // The place in front is that of the number after the one that was missing.
        while let Some(Some(payload)) = self.early.front_mut().map(Option::take) {
            self.early_bytes -= payload.len();
            self.early.pop_front();
            self.hand_over(&payload);
        }
        // The gap that stopped it is the new next one, which has no place.
        self.early.pop_front();
    }

    fn hand_over(&mut self, payload: &[u8]) {
        self.ack = self.ack.wrapping_add(1);
        if !self.is_discarded {
            self.ready.extend(payload);
        }
    }

    /// The bits for what came before its turn, as a packet has them.
    pub fn selective(&self) -> Vec<u8> {
        let mut bits = vec![0; self.early.len().div_ceil(8).min(MAX_SELECTIVE)];
        for (n, _) in self.early.iter().enumerate().filter(|(_, place)| place.is_some()) {
            if let Some(byte) = bits.get_mut(n / 8) {
                *byte |= 1 << (n % 8);
            }
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(inbound: &mut Inbound) -> String {
        let mut out = [0; 64];
        let count = inbound.read(&mut out);
        String::from_utf8(out[..count].to_vec()).unwrap()
    }

    #[test]
    fn bytes_come_out_in_order_whatever_the_packets_order_was() {
        let mut inbound = Inbound::new(0xfffd);
        assert_eq!(inbound.take(0xffff, b"b", false), Taken::OutOfTurn);
        assert_eq!(inbound.take(1, b"d", true), Taken::OutOfTurn);
        assert_eq!(inbound.take(1, b"d", true), Taken::OutOfTurn, "again");
        assert_eq!(inbound.selective(), [0b101]);
        assert_eq!((inbound.ready(), inbound.room()), (0, MAX_KEPT - 2));
        assert_eq!(inbound.take(0xfffe, b"a", false), Taken::InTurn);
        assert_eq!((inbound.ack(), text(&mut inbound)), (0xffff, "ab".into()));
        assert_eq!(inbound.selective(), [1]);
        assert_eq!(inbound.take(0xfffe, b"x", false), Taken::OutOfTurn, "it is known");
        assert_eq!(inbound.take(2, b"x", false), Taken::Absurd, "the stream is over by then");
        assert_eq!(inbound.take(0, b"c", false), Taken::InTurn);
        assert_eq!((inbound.ack(), text(&mut inbound)), (1, "cd".into()));
        assert!(inbound.is_ended() && !inbound.has_gaps() && inbound.selective().is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded_in_packets_and_in_bytes() {
        let mut inbound = Inbound::new(0);
        assert_eq!(inbound.take(MAX_AHEAD as u16 + 2, b"far", false), Taken::Absurd);
        assert_eq!(inbound.take(MAX_AHEAD as u16 + 1, b"far", false), Taken::OutOfTurn);
        assert_eq!(inbound.selective().len(), MAX_SELECTIVE);
        let packet = [0; 10_000];
        for seq in 2..200 {
            inbound.take(seq, &packet, false);
        }
        assert!(inbound.room() < packet.len() && inbound.early_bytes <= MAX_KEPT);
        // What is missing is taken all the same: else both sides would wait for ever.
        assert_eq!(inbound.take(1, &packet, false), Taken::InTurn);
        assert_eq!(inbound.ready() % packet.len(), 0);
        for seq in 0..200 {
            inbound.take(inbound.ack().wrapping_add(1), &packet, seq == 199);
        }
        assert!(inbound.ready() <= MAX_KEPT + packet.len());
        assert!(!inbound.is_ended());
    }
}
