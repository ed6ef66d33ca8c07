//! One stream: its states, its deadlines, and what it answers.

use std::time::{Duration, Instant};

use super::Why;
use super::inbound::{Inbound, MAX_KEPT, Taken};
use super::ledbat::{Ledbat, RoundTrip};
use super::outbound::{Outbound, Outgoing};
use super::{MAX_PACKET, MAX_PAYLOAD};
use crate::proto::utp::{HEADER_LENGTH, Header, Kind, Packet, is_before};

/// How long a lone packet goes without an acknowledgement, which one for two saves, and bytes that
/// go the other way carry for nothing.
const ACK_DELAY: Duration = Duration::from_millis(50);

/// Waits for an answer that may be in vain, one after the other, before the other side is gone.
const MAX_IN_VAIN: u32 = 6;

/// The same for the first packet: who does not answer that does not speak uTP.
const MAX_DIALS: u32 = 3;

/// How long who accepted a connection waits for a packet that proves the sender's address.
pub const PROOF_WAIT: Duration = Duration::from_secs(10);

/// How long a stream that nobody uses any more has to deliver its last bytes.
const LINGER: Duration = Duration::from_secs(20);

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// We asked; no answer yet.
    Dialing,
    /// We were asked; the sender may have written another's address.
    Unproven,
    /// Bytes can go both ways.
    Open,
    /// It is over.
    Over(Why),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ack {
    NotDue,
    By(Instant),
    Now,
}

/// A stream.
#[derive(Debug)]
pub struct Connection {
    /// The number in the packets that we send; but in the first, which has the other one.
    their_id: u16,
    our_id: u16,
    stage: Stage,
    inbound: Inbound,
    outbound: Outbound,
    ledbat: Ledbat,
    trip: RoundTrip,
    /// The zero of our time stamps.
    epoch: Instant,
    /// How long the last packet took, in the other side's words plus the difference of the clocks.
    delay: u32,
    /// Bytes that the other side has room for.
    peer_window: usize,
    /// Bytes that we said we have room for.
    told_window: usize,
    ack: Ack,
    /// When too much time has gone without an answer, or with a window too small.
    answer_by: Option<Instant>,
    in_vain: u32,
    /// The window is too small, and has been for long: see whether it still is.
    probes: bool,
    /// Whether the net's window, not a lack of bytes, held something back.
    was_full: bool,
    /// When it is over whatever happens.
    over_by: Option<Instant>,
    is_left: bool,
}

impl Connection {
    /// Asks for a connection, under the numbers `our_id` and the one above it.
    pub fn dial(our_id: u16, seq: u16, epoch: Instant, now: Instant) -> Connection {
        let dialing = Connection::new(our_id, our_id.wrapping_add(1), seq, epoch, now);
        Connection { stage: Stage::Dialing, ack: Ack::Now, ..dialing }
    }

    /// Takes the connection that a packet of the kind [`Kind::Syn`] asks for; our bytes begin with
    /// number `seq`.
    pub fn accept(syn: &Header, seq: u16, epoch: Instant, now: Instant) -> Connection {
        let accepted =
            Connection::new(syn.connection.wrapping_add(1), syn.connection, seq, epoch, now);
        Connection {
            inbound: Inbound::new(syn.seq),
            delay: stamp(epoch, now).wrapping_sub(syn.sent),
            peer_window: syn.window as usize,
            ack: Ack::Now,
            over_by: Some(now + PROOF_WAIT),
            ..accepted
        }
    }

    fn new(our_id: u16, their_id: u16, seq: u16, epoch: Instant, now: Instant) -> Connection {
        Connection {
            their_id,
            our_id,
            stage: Stage::Unproven,
            inbound: Inbound::new(0),
            outbound: Outbound::new(seq),
            ledbat: Ledbat::new(now),
            trip: RoundTrip::default(),
            epoch,
            delay: 0,
            peer_window: 0,
            told_window: MAX_KEPT,
            ack: Ack::NotDue,
            answer_by: None,
            in_vain: 0,
            probes: false,
            was_full: false,
            over_by: None,
            is_left: false,
        }
    }

    /// Where it stands.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The number under which the other side sends to us.
    pub fn our_id(&self) -> u16 {
        self.our_id
    }

    /// The number under which we send.
    pub fn their_id(&self) -> u16 {
        self.their_id
    }

    /// Bytes that [`read`](Connection::read) would give.
    pub fn ready(&self) -> usize {
        self.inbound.ready()
    }

    /// Whether the other side has ended its stream, and all of it came.
    pub fn has_heard_all(&self) -> bool {
        self.inbound.is_ended()
    }

    /// Whether it would take so many that it is worth while to say so.
    pub fn is_roomy(&self) -> bool {
        self.room() >= self.outbound.most() / 2 && self.room() > 0
    }

    /// Bytes that it keeps, both ways.
    pub fn kept(&self) -> usize {
        self.inbound.kept() + self.outbound.kept()
    }

    /// Whether memory is scarce from now on, so that it may keep less.
    pub fn economise(&mut self, is_scarce: bool) {
        self.inbound.economise(is_scarce);
        self.outbound.economise(is_scarce);
    }

    /// Bytes that [`write`](Connection::write) would take.
    pub fn room(&self) -> usize {
        if matches!(self.stage, Stage::Over(_)) { 0 } else { self.outbound.room() }
    }

    /// The window of this stream's congestion control, in bytes.
    pub fn window(&self) -> usize {
        self.ledbat.window()
    }

    /// Moves bytes that came into `out`, and says how many.
    pub fn read(&mut self, out: &mut [u8]) -> usize {
        let count = self.inbound.read(out);
        // Who was told of next to nothing waits for this word.
        let most = self.inbound.most();
        if self.told_window < most / 4 && self.inbound.room() > most / 2 {
            self.ack = Ack::Now;
        }
        count
    }

    /// Takes bytes to be sent, and says how many.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        if matches!(self.stage, Stage::Over(_)) { 0 } else { self.outbound.write(bytes) }
    }

    /// Nobody will read or write any more. What was written is still delivered, if that is soon.
    pub fn leave(&mut self, now: Instant) {
        self.is_left = true;
        self.outbound.end();
        self.inbound.discard();
        self.over_by = Some(now + LINGER);
        if self.stage != Stage::Open {
            self.stage = Stage::Over(Why::Ended);
        }
    }

    /// Whether nobody will read or write any more.
    pub fn is_left(&self) -> bool {
        self.is_left
    }

    /// A packet with our number came from the other side's address.
    pub fn on_packet(&mut self, packet: &Packet<'_>, now: Instant) {
        let header = &packet.header;
        let plausible = self.outbound.is_plausible(header.ack);
        match (self.stage, header.kind) {
            (Stage::Over(_), _) => {}
            (Stage::Unproven | Stage::Open, Kind::Syn) => self.on_syn_again(header),
            (_, Kind::Syn) => {}
            (_, Kind::Reset) if plausible => self.stage = Stage::Over(Why::Reset),
            (_, Kind::Reset) => {}
            (Stage::Dialing, Kind::State) => self.on_welcome(packet, now),
            (Stage::Dialing, _) => {}
            (Stage::Unproven, _) => self.on_proof(packet, now),
            (Stage::Open, _) if plausible => self.on_open(packet, now),
            (Stage::Open, _) => {}
        }
    }

    /// Our answer to the first packet was lost.
    fn on_syn_again(&mut self, header: &Header) {
        if header.connection == self.their_id && header.seq == self.inbound.ack() {
            self.ack = Ack::Now;
        }
    }

    /// The answer to our first packet: its number is that of the first bytes to come.
    fn on_welcome(&mut self, packet: &Packet<'_>, now: Instant) {
        if packet.header.ack != self.outbound.next_seq().wrapping_sub(1) {
            return;
        }
        self.stage = Stage::Open;
        self.inbound = Inbound::new(packet.header.seq.wrapping_sub(1));
        self.on_open(packet, now);
    }

    /// Only who got our answer can know the number in it: nothing was sent to an address yet that
    /// did not ask for it.
    fn on_proof(&mut self, packet: &Packet<'_>, now: Instant) {
        if packet.header.ack == self.outbound.next_seq().wrapping_sub(1) {
            self.stage = Stage::Open;
            self.over_by = None;
            self.on_open(packet, now);
        }
    }

    fn on_open(&mut self, packet: &Packet<'_>, now: Instant) {
        let Packet { header, payload, .. } = packet;
        if matches!(header.kind, Kind::Data | Kind::Fin) {
            match self.inbound.take(header.seq, payload, header.kind == Kind::Fin) {
                Taken::Absurd => return,
                Taken::OutOfTurn => self.ack = Ack::Now,
                Taken::InTurn => self.ack_soon(now),
            }
        }
        self.delay = stamp(self.epoch, now).wrapping_sub(header.sent);
        self.on_acks(packet, now);
        self.end_if_done();
    }

    fn ack_soon(&mut self, now: Instant) {
        let at_once = self.inbound.has_gaps() || self.inbound.is_ended();
        self.ack = match self.ack {
            Ack::NotDue if !at_once => Ack::By(now + ACK_DELAY),
            _ => Ack::Now,
        };
    }

    fn on_acks(&mut self, packet: &Packet<'_>, now: Instant) {
        // A packet that was overtaken knows less of the window than the one that overtook it.
        let had_room = self.peer_window >= MAX_PAYLOAD;
        if !is_before(packet.header.ack, self.outbound.acked()) {
            self.peer_window = packet.header.window as usize;
        }
        if self.in_vain > 0 && !had_room && self.peer_window >= MAX_PAYLOAD {
            // There was no room for what was sent to see whether there is; now it need not wait.
            self.outbound.lose_all();
        }
        let acked = self.outbound.on_ack(packet, self.trip.soon(), now);
        if acked.is_undone() {
            self.ledbat.on_undone();
        }
        if packet.header.delay != 0 && acked.is_news {
            self.ledbat.on_delay(packet.header.delay, now);
        }
        if let Some(took) = acked.round_trip {
            self.trip.on_sample(took);
        }
        if acked.is_loss {
            self.ledbat.on_loss();
        } else if acked.bytes > 0 {
            self.ledbat.on_acked(acked.bytes, self.was_full);
        }
        if acked.is_news {
            self.in_vain = 0;
            self.answer_by = self.outbound.is_awaiting().then(|| now + self.trip.wait(0));
        } else if self.peer_window < MAX_PAYLOAD {
            // It lives, though it has no room; it is asked more and more seldom.
            self.in_vain = self.in_vain.min(MAX_IN_VAIN - 1);
        }
    }

    fn end_if_done(&mut self) {
        if self.inbound.is_ended() && self.outbound.is_ended() && self.ack == Ack::NotDue {
            self.stage = Stage::Over(Why::Ended);
        }
    }

    /// When [`on_time`](Connection::on_time) is to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        if matches!(self.stage, Stage::Over(_)) {
            return None;
        }
        let ack = if let Ack::By(by) = self.ack { Some(by) } else { None };
        let loss_by = self.outbound.loss_by();
        [ack, self.answer_by, self.over_by, loss_by].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn on_time(&mut self, now: Instant) {
        if matches!(self.ack, Ack::By(by) if by <= now) {
            self.ack = Ack::Now;
        }
        if self.over_by.is_some_and(|by| by <= now) {
            self.stage = Stage::Over(Why::Silent);
        }
        if self.outbound.loss_by().is_some_and(|by| by <= now) && self.outbound.miss(now) {
            self.ledbat.on_loss();
        }
        if self.answer_by.is_none_or(|by| by > now) {
            return;
        }
        self.answer_by = None;
        self.in_vain += 1;
        let most = if self.stage == Stage::Dialing { MAX_DIALS } else { MAX_IN_VAIN };
        if self.in_vain > most {
            self.stage = Stage::Over(Why::Silent);
        } else if self.outbound.is_awaiting() {
            self.outbound.lose_all();
            self.ledbat.on_silence();
        } else {
            self.probes = true;
        }
    }

    /// Appends the next packet that is to be sent now; `false` if there is none.
    pub fn next_packet(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        let is_new = self.stage == Stage::Dialing && !self.outbound.is_awaiting();
        let peer_window = if self.probes { MAX_PAYLOAD } else { self.peer_window };
        let header = self.header(now);
        let window = self.ledbat.window();
        let outgoing = match self.stage {
            Stage::Over(_) => return false,
            Stage::Unproven => None,
            Stage::Dialing if is_new => Some(self.outbound.dial(now)),
            Stage::Dialing | Stage::Open => self.outbound.next(window, peer_window, now),
        };
        if let Some(outgoing) = outgoing {
            write_bytes(header, &outgoing, out);
            self.on_sent(now);
            return true;
        }
        self.wait_for_room(now);
        let due = self.ack == Ack::Now && self.stage != Stage::Dialing;
        if due {
            let selective = self.inbound.selective();
            Packet { header, selective: &selective, payload: &[] }.write_to(out);
            self.on_told();
            self.end_if_done();
        }
        due
    }

    fn header(&self, now: Instant) -> Header {
        let is_dialing = self.stage == Stage::Dialing;
        Header {
            kind: Kind::State,
            connection: if is_dialing { self.our_id } else { self.their_id },
            sent: stamp(self.epoch, now),
            delay: self.delay,
            window: self.inbound.room() as u32,
            seq: self.outbound.next_seq(),
            ack: self.inbound.ack(),
        }
    }

    fn on_sent(&mut self, now: Instant) {
        self.probes = false;
        if self.answer_by.is_none() || self.in_vain > 0 {
            self.answer_by = Some(now + self.trip.wait(self.in_vain));
        }
        // A packet with bytes has no room for what came before its turn.
        if !self.inbound.has_gaps() {
            self.on_told();
        }
    }

    fn on_told(&mut self) {
        self.ack = Ack::NotDue;
        self.told_window = self.inbound.room();
    }

    /// Something waits and nothing is under way that would bring an answer: it is the other side
    /// that has no room, and its word that there is some again may get lost.
    fn wait_for_room(&mut self, now: Instant) {
        let flying = self.outbound.flying();
        let is_waiting = self.stage == Stage::Open && self.outbound.has_new();
        self.was_full = is_waiting && flying + MAX_PAYLOAD > self.ledbat.window();
        if !self.outbound.is_awaiting() {
            let wait = self.trip.wait(self.in_vain);
            let by = self.answer_by.filter(|_| is_waiting);
            self.answer_by = is_waiting.then(|| by.unwrap_or(now + wait));
        }
    }
}

/// Our time in a packet: microseconds, and it wraps.
fn stamp(epoch: Instant, now: Instant) -> u32 {
    now.saturating_duration_since(epoch).as_micros() as u32
}

fn write_bytes(header: Header, outgoing: &Outgoing<'_>, out: &mut Vec<u8>) {
    let Outgoing { kind, seq, payload } = *outgoing;
    let began = out.len();
    Packet { header: Header { kind, seq, ..header }, selective: &[], payload }.write_to(out);
    debug_assert!(out.len() - began <= MAX_PACKET && HEADER_LENGTH + payload.len() <= MAX_PACKET);
}
