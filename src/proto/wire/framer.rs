//! Bytes in, whole messages out.
//!
//! The framer owns the places where the next bytes of a connection go: a small buffer for heads
//! and short messages, and, once the head of a `piece` message has been read, a block buffer from
//! the [`Pool`], so that a block is read from the socket straight to where the disk takes it from.
//! One `readv` into [`Framer::space`] reads the rest of a block and the head of the next one.

mod head;

use super::{
    EXCHANGE, Exchange, Extended, HELLO_LENGTH, Hello, Incoming, Limits, METADATA, Message,
    Metadata, PIECE_HEAD_LENGTH, PROTOCOL, PeerFault, Pool, kind,
};
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::{BlockRef, Geometry};
use crate::proto::ids::{InfoHash, PeerId};
use std::sync::Arc;

/// Room for short messages, in bytes: a burst of a few dozen `have`s.
const SMALL_LENGTH: usize = 512;

/// So many bytes of messages that are of no interest are passed over in the life of a connection.
/// A sane peer stays far below.
const MAX_SKIPPED: u64 = 64 * 1024 * 1024;

/// So many bytes of messages are kept while the torrent's measures are unknown: the bitfield of a
/// million pieces, and many a `have`.
const MAX_KEPT: usize = 256 * 1024;

/// What [`Framer::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A whole one.
    Got(Incoming),
    /// More bytes are needed.
    More,
    /// A block follows, and the pool has no buffer for it: read no further until it has.
    NoBuffer,
}

#[derive(Debug)]
enum Stage {
    Hello,
    Id,
    /// Between messages, or inside a short one.
    Head,
    /// Inside the data of a `piece` message.
    Block {
        block: BlockRef,
        data: Vec<u8>,
        filled: usize,
    },
    /// Inside another message that is read as a whole.
    Body {
        of: Body,
        bytes: Vec<u8>,
        filled: usize,
    },
    /// Inside a message that is of no interest; so many bytes are left of it. It may be a block
    /// that was not asked for.
    Skip(usize, Option<BlockRef>),
    /// Inside a message that is kept until the torrent's measures are known; so many bytes are
    /// left of it.
    Keep(usize),
}

/// What a framer knows of the torrent.
#[derive(Debug)]
enum Torrent {
    /// Not even which one it is: nothing behind the handshake is read.
    Unknown,
    /// Which one, but not its measures: extended messages are read, the others kept.
    Named { kept: Vec<u8> },
    /// Its measures.
    Measured(Arc<Geometry>),
}

/// The messages that are read as a whole.
#[derive(Debug, Clone, Copy)]
enum Body {
    Bitfield,
    /// The handshake of extended messages.
    Extended,
    /// A message of peer exchange.
    Exchange,
    /// A message of metadata exchange.
    Metadata,
}

impl Body {
    /// The number of an extended message of this kind.
    fn number(self) -> Option<u8> {
        match self {
            Body::Bitfield => None,
            Body::Extended => Some(0),
            Body::Exchange => Some(EXCHANGE),
            Body::Metadata => Some(METADATA),
        }
    }
}

/// Puts the bytes of one connection together. Made when it opens; told the torrent's measures as
/// soon as they are known.
#[derive(Debug)]
pub struct Framer {
    stage: Stage,
    small: Box<[u8; SMALL_LENGTH]>,
    /// The unread bytes are `small[start..end]`.
    start: usize,
    end: usize,
    torrent: Torrent,
    /// What was kept and is read now, from such a place on, before what comes from the socket.
    again: (Vec<u8>, usize),
    limits: Limits,
    /// Bytes passed over so far.
    skipped: u64,
    /// Whether the last message was a block: then probably the next one is, and no more than its
    /// head should be read into the small buffer, since what follows it would have to be copied.
    after_block: bool,
}

impl Default for Framer {
    fn default() -> Framer {
        Framer::new()
    }
}

impl Framer {
    /// A framer that expects a handshake.
    pub fn new() -> Framer {
        Framer {
            stage: Stage::Hello,
            small: Box::new([0; SMALL_LENGTH]),
            start: 0,
            end: 0,
            torrent: Torrent::Unknown,
            again: (Vec::new(), 0),
            limits: Limits::default(),
            skipped: 0,
            after_block: false,
        }
    }

    /// Tells the measures of the torrent the connection is about, and what is taken of a peer.
    /// Until then nothing behind the handshake is read.
    pub fn attach(&mut self, geometry: Arc<Geometry>, limits: Limits) {
        self.limits = limits;
        if let Torrent::Named { kept } =
            std::mem::replace(&mut self.torrent, Torrent::Measured(geometry))
        {
            self.read_again(kept);
        }
    }

    /// Tells that the torrent the connection is about is known, and its measures are not. Until
    /// [`attach`](Self::attach) extended messages come out as they come in; whatever depends on
    /// the measures is kept, within bounds, and comes out then.
    pub fn attach_named(&mut self, limits: Limits) {
        self.limits = limits;
        self.torrent = Torrent::Named { kept: Vec::new() };
    }

    /// What was kept, and what stands in the buffers behind it, is what comes next.
    fn read_again(&mut self, mut kept: Vec<u8>) {
        match std::mem::replace(&mut self.stage, Stage::Head) {
            Stage::Hello => return self.stage = Stage::Hello,
            Stage::Id => return self.stage = Stage::Id,
            Stage::Body { of, bytes, filled } => {
                put_number(&mut kept, of.number(), bytes.len());
                kept.extend_from_slice(&bytes[..filled]);
            }
            Stage::Skip(left, _) => put_number(&mut kept, None, left),
            Stage::Head | Stage::Keep(_) | Stage::Block { .. } => {}
        }
        kept.extend_from_slice(&self.small[self.start..self.end]);
        (self.start, self.end) = (0, 0);
        self.again = (kept, 0);
    }

    /// Takes more of what is to be read again; false if nothing is left of it.
    fn refill(&mut self) -> bool {
        let (bytes, at) = std::mem::take(&mut self.again);
        let mut n = 0;
        for space in <[&mut [u8]; 2]>::from(self.space()) {
            let part = space.len().min(bytes.len() - at - n);
            space[..part].copy_from_slice(&bytes[at + n..at + n + part]);
            n += part;
        }
        self.filled(n);
        if at + n < bytes.len() {
            self.again = (bytes, at + n);
        }
        n > 0
    }

    /// Where the next bytes go: into the first slice, and when that is full into the second. Both
    /// are empty only while [`next`](Self::next) has not been asked for all it has.
    pub fn space(&mut self) -> (&mut [u8], &mut [u8]) {
        self.compact();
        let free = match self.stage {
            Stage::Block { .. } | Stage::Body { .. } => PIECE_HEAD_LENGTH,
            Stage::Head if self.after_block => PIECE_HEAD_LENGTH.saturating_sub(self.end),
            _ => SMALL_LENGTH - self.end,
        };
        let small = &mut self.small[self.end..self.end + free];
        match &mut self.stage {
            Stage::Block { data, filled, .. } => (&mut data[*filled..], small),
            Stage::Body { bytes, filled, .. } => (&mut bytes[*filled..], small),
            _ => (small, &mut []),
        }
    }

    /// Says that `n` bytes were put into [`space`](Self::space).
    pub fn filled(&mut self, n: usize) {
        let large = match &mut self.stage {
            Stage::Block { data, filled, .. } => fill(data.len(), filled, n),
            Stage::Body { bytes, filled, .. } => fill(bytes.len(), filled, n),
            _ => 0,
        };
        self.end = (self.end + n - large).min(SMALL_LENGTH);
    }

    /// The next whole thing, if it is there. To be called again until it is not.
    ///
    /// # Errors
    /// What the peer did wrong; the connection cannot be used after it.
    pub fn next(&mut self, pool: &mut Pool) -> Result<Next, PeerFault> {
        self.next_if(pool, |_| true)
    }

    /// The same, but blocks of which `is_asked` says no get no buffer: they are passed over, and
    /// come out as [`Incoming::Unasked`].
    ///
    /// # Errors
    /// As for [`next`](Self::next).
    pub fn next_if(
        &mut self,
        pool: &mut Pool,
        is_asked: impl Fn(BlockRef) -> bool,
    ) -> Result<Next, PeerFault> {
        loop {
            let step = match &mut self.stage {
                Stage::Hello => self.hello()?,
                Stage::Id => self.id(),
                Stage::Head => self.head(pool, &is_asked)?,
                Stage::Block { .. } => self.block(),
                Stage::Body { .. } => self.body()?,
                Stage::Skip(..) => self.skip()?,
                Stage::Keep(_) => self.keep(),
            };
            match step {
                Step::Again => {}
                Step::Say(Next::More) if self.refill() => {}
                Step::Say(next) => return Ok(next),
            }
        }
    }

    /// Gives back a block buffer that is half filled, when the connection ends.
    pub fn release(&mut self, pool: &mut Pool) {
        if let Stage::Block { data, .. } = std::mem::replace(&mut self.stage, Stage::Head) {
            pool.give(data);
        }
    }

    /// Whether a block buffer is half filled.
    pub fn is_in_block(&self) -> bool {
        matches!(self.stage, Stage::Block { .. })
    }

    fn unread(&self) -> &[u8] {
        &self.small[self.start..self.end]
    }

    fn compact(&mut self) {
        self.small.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }

    fn hello(&mut self) -> Result<Step, PeerFault> {
        // A stranger who speaks something else is known by its first bytes, not after 48.
        let known = self.unread().len().min(PROTOCOL.len());
        if self.unread()[..known] != PROTOCOL[..known] {
            return Err(PeerFault::NotBitTorrent);
        }
        let Some((reserved, hash)) = self.unread().get(20..HELLO_LENGTH).map(|b| b.split_at(8))
        else {
            return Ok(Step::Say(Next::More));
        };
        let hello = Hello {
            reserved: reserved.try_into().expect("split after eight bytes"),
            info_hash: InfoHash::from_bytes(hash).expect("48 less 28 is 20"),
        };
        self.start += HELLO_LENGTH;
        self.stage = Stage::Id;
        Ok(Step::Say(Next::Got(Incoming::Hello(hello))))
    }

    fn id(&mut self) -> Step {
        let Some(id) = self.unread().get(..20).and_then(PeerId::from_bytes) else {
            return Step::Say(Next::More);
        };
        self.start += 20;
        self.stage = Stage::Head;
        Step::Say(Next::Got(Incoming::Id(id)))
    }

    fn keep(&mut self) -> Step {
        let Stage::Keep(left) = &mut self.stage else { return Step::Again };
        let n = (*left).min(self.end - self.start);
        if let Torrent::Named { kept } = &mut self.torrent {
            kept.extend_from_slice(&self.small[self.start..self.start + n]);
        }
        self.start += n;
        *left -= n;
        if *left > 0 {
            return Step::Say(Next::More);
        }
        self.stage = Stage::Head;
        Step::Again
    }

    fn got(&mut self, used: usize, message: Message) -> Step {
        self.start += used;
        Step::Say(Next::Got(Incoming::Message(message)))
    }

    /// Moves what the small buffer holds of a body to its place; returns how much that was.
    fn take_small(&mut self, body: &mut [u8]) -> usize {
        let n = body.len().min(self.end - self.start);
        body[..n].copy_from_slice(&self.small[self.start..self.start + n]);
        self.start += n;
        n
    }

    fn block(&mut self) -> Step {
        match std::mem::replace(&mut self.stage, Stage::Head) {
            Stage::Block { block, data, filled } if filled == data.len() => {
                self.after_block = true;
                self.got(0, Message::Piece { block, data })
            }
            unfinished => {
                self.stage = unfinished;
                Step::Say(Next::More)
            }
        }
    }

    fn body(&mut self) -> Result<Step, PeerFault> {
        let Stage::Body { of, bytes, filled } = &self.stage else { return Ok(Step::Again) };
        if *filled < bytes.len() {
            return Ok(Step::Say(Next::More));
        }
        let message = match of {
            Body::Bitfield => {
                let Torrent::Measured(geometry) = &self.torrent else { return Ok(Step::Again) };
                let bits = Bitfield::from_bytes(bytes, geometry.piece_count());
                Some(Message::Bitfield(bits.ok_or(PeerFault::OutOfRange)?))
            }
            Body::Extended => Some(Message::Extended(Box::new(Extended::decode(bytes)))),
            Body::Exchange => Some(Message::Exchange(Box::new(Exchange::decode(bytes)))),
            Body::Metadata => Metadata::decode(bytes).map(|m| Message::Metadata(Box::new(m))),
        };
        let length = bytes.len() as u64;
        self.stage = Stage::Head;
        match message {
            Some(message) => Ok(self.got(0, message)),
            None => self.count_skipped(length).map(|()| Step::Again),
        }
    }

    fn count_skipped(&mut self, n: u64) -> Result<(), PeerFault> {
        self.skipped += n;
        if self.skipped > MAX_SKIPPED { Err(PeerFault::Noise) } else { Ok(()) }
    }

    fn skip(&mut self) -> Result<Step, PeerFault> {
        let Stage::Skip(left, block) = &mut self.stage else { return Ok(Step::Again) };
        let n = (*left).min(self.end - self.start);
        *left -= n;
        let (ended, block) = (*left == 0, *block);
        self.start += n;
        // Of blocks it depends on what else comes how many are too many.
        self.count_skipped(if block.is_some() { 0 } else { n as u64 })?;
        if !ended {
            return Ok(Step::Say(Next::More));
        }
        self.stage = Stage::Head;
        Ok(block.map_or(Step::Again, |block| Step::Say(Next::Got(Incoming::Unasked(block)))))
    }
}

/// Writes the head of a message of so many bytes behind it: of an extended one, or of a kind that
/// nobody knows.
fn put_number(out: &mut Vec<u8>, number: Option<u8>, length: usize) {
    match number {
        Some(number) => {
            out.extend_from_slice(&(length as u32 + 2).to_be_bytes());
            out.extend_from_slice(&[kind::EXTENDED, number]);
        }
        None => {
            out.extend_from_slice(&(length as u32 + 1).to_be_bytes());
            out.push(u8::MAX);
        }
    }
}

enum Step {
    Again,
    Say(Next),
}

/// Counts `n` new bytes towards a body of `length`; returns how many of them it took.
fn fill(length: usize, filled: &mut usize, n: usize) -> usize {
    let taken = n.min(length - *filled);
    *filled += taken;
    taken
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(four.try_into().expect("four bytes were taken")))
}

#[cfg(test)]
mod tests {
    use super::super::{MetadataWord, handshake};
    use super::*;

    fn geometry() -> Arc<Geometry> {
        Arc::new(Geometry::new(40_000, [100_001]).unwrap())
    }

    /// Feeds `bytes` in portions of at most `cut`, and collects what comes out.
    fn feed(framer: &mut Framer, bytes: &[u8], cut: usize) -> Result<Vec<Incoming>, PeerFault> {
        let mut pool = Pool::new(1000);
        let mut rest = bytes;
        let mut out = Vec::new();
        loop {
            while let Next::Got(incoming) = framer.next(&mut pool)? {
                out.push(incoming);
            }
            if rest.is_empty() {
                return Ok(out);
            }
            let (a, b) = framer.space();
            let n = cut.min(rest.len());
            let first = n.min(a.len());
            let second = (n - first).min(b.len());
            assert!(first > 0, "no space, and nothing to say");
            a[..first].copy_from_slice(&rest[..first]);
            b[..second].copy_from_slice(&rest[first..first + second]);
            framer.filled(first + second);
            rest = &rest[first + second..];
        }
    }

    fn open_framer() -> Framer {
        let mut framer = Framer::new();
        framer.attach(geometry(), Limits::default());
        let shake = handshake(InfoHash([7; 20]), PeerId([9; 20]));
        feed(&mut framer, &shake, 68).unwrap();
        framer
    }

    fn every_message() -> Vec<Message> {
        let g = geometry();
        let piece = g.piece(2).unwrap();
        let block = |n| g.block(piece, n).unwrap();
        let data = |b: BlockRef| (0..b.length()).map(|i| (i % 251) as u8).collect();
        vec![
            Message::Bitfield(Bitfield::full(3)),
            Message::KeepAlive,
            Message::Piece { block: block(0), data: data(block(0)) },
            Message::Piece { block: block(1), data: data(block(1)) },
            Message::Request(block(1)),
            Message::Choke,
            Message::Unchoke,
            Message::Piece { block: block(0), data: data(block(0)) },
            Message::Interested,
            Message::NotInterested,
            Message::Have(piece),
            Message::Cancel(block(0)),
            Message::Suggest(piece),
            Message::HaveAll,
            Message::HaveNone,
            Message::Reject(block(1)),
            Message::AllowedFast(piece),
            Message::Port(6881),
            Message::Extended(Box::new(Extended { port: Some(9), ..Extended::default() })),
            Message::Exchange(Box::new(Exchange {
                number: EXCHANGE,
                dropped: vec!["1.2.3.4:5".parse().unwrap()],
                ..Exchange::default()
            })),
            Message::Metadata(Box::new(Metadata {
                number: METADATA,
                part: 3,
                word: MetadataWord::Data { total: 65_000, bytes: vec![5; 14_000] },
            })),
        ]
    }

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let mut bytes = handshake(InfoHash([7; 20]), PeerId([9; 20])).to_vec();
        every_message().iter().for_each(|m| m.encode_to(&mut bytes));
        let mut wanted = vec![
            Incoming::Hello(Hello {
                reserved: [0, 0, 0, 0, 0, 0x10, 0, 0x04],
                info_hash: InfoHash([7; 20]),
            }),
            Incoming::Id(PeerId([9; 20])),
        ];
        wanted.extend(every_message().into_iter().map(Incoming::Message));
        for cut in [1, 2, 3, 13, 17, 100, 16_384, 1 << 20] {
            let mut framer = Framer::new();
            framer.attach(geometry(), Limits::default());
            assert_eq!(feed(&mut framer, &bytes, cut).unwrap(), wanted, "cut {cut}");
        }
    }

    #[test]
    fn what_depends_on_the_measures_comes_out_when_they_are_known_wherever_that_is() {
        let early = |m: &Message| {
            matches!(m, Message::Extended(_) | Message::Exchange(_) | Message::Metadata(_))
        };
        let lost = |m: &Message| {
            matches!(m, Message::Request(_) | Message::Cancel(_) | Message::Reject(_))
                || matches!(m, Message::Piece { .. } | Message::Suggest(_))
        };
        let mut bytes = handshake(InfoHash([7; 20]), PeerId([9; 20])).to_vec();
        bytes.extend([0, 0, 2, 0, 99]);
        bytes.resize(bytes.len() + 0x1ff, 7);
        every_message().iter().for_each(|m| m.encode_to(&mut bytes));
        let cuts = (0..bytes.len()).filter(|n| *n < 300 || n % 499 == 0 || n + 300 > bytes.len());
        for cut in cuts.chain([bytes.len()]) {
            let mut framer = Framer::new();
            framer.attach_named(Limits::default());
            let mut got = feed(&mut framer, &bytes[..cut], 300).unwrap();
            framer.attach(geometry(), Limits::default());
            got.extend(feed(&mut framer, &bytes[cut..], 300).unwrap());
            let got: Vec<Message> = got
                .into_iter()
                .filter_map(|i| match i {
                    Incoming::Message(message) => Some(message),
                    _ => None,
                })
                .collect();
            // What was kept keeps its order, and so do those that came out at once.
            for pick in [true, false] {
                let of = |all: &[Message]| -> Vec<Message> {
                    let kept = all.iter().filter(|m| **m != Message::KeepAlive);
                    kept.filter(|m| early(m) == pick && !lost(m)).cloned().collect()
                };
                assert_eq!(of(&got), of(&every_message()), "cut {cut}");
            }
        }
    }

    #[test]
    fn no_more_is_kept_than_a_sane_peer_says() {
        let mut framer = Framer::new();
        framer.attach_named(Limits::default());
        let mut have = Vec::new();
        Message::Have(geometry().piece(0).unwrap()).encode_to(&mut have);
        feed(&mut framer, &handshake(InfoHash([7; 20]), PeerId([9; 20])), 68).unwrap();
        assert_eq!(feed(&mut framer, &have.repeat(20_000), 500), Ok(vec![]));
        assert_eq!(feed(&mut framer, &have.repeat(20_000), 500), Err(PeerFault::Noise));
    }

    #[test]
    fn a_stranger_is_known_by_its_first_bytes() {
        let mut framer = Framer::new();
        assert_eq!(feed(&mut framer, b"GET / HTTP", 3), Err(PeerFault::NotBitTorrent));
    }

    #[test]
    fn a_hello_is_enough_to_be_answered() {
        let shake = handshake(InfoHash([7; 20]), PeerId([9; 20]));
        let got = feed(&mut Framer::new(), &shake[..48], 48).unwrap();
        assert!(matches!(got[..], [Incoming::Hello(_)]));
    }

    #[test]
    fn unknown_kinds_are_passed_over() {
        for (kind, id) in [(20, 1), (20, 0), (99, 7)] {
            // Too long for a handshake, where it could be one.
            let mut bytes = vec![0, 0, 0x24, 1, kind, id];
            bytes.extend([1; 0x23ff]);
            Message::Choke.encode_to(&mut bytes);
            let got = feed(&mut open_framer(), &bytes, 100).unwrap();
            assert_eq!(got, [Incoming::Message(Message::Choke)]);
        }
    }

    #[test]
    fn endless_noise_is_a_fault() {
        let mut framer = open_framer();
        let mut noise = vec![0, 0x80, 0, 0, 99];
        noise.resize(4 + 0x80_0000, 0);
        let portions = (0..9).map(|_| feed(&mut framer, &noise, 1 << 20));
        let outcomes: Vec<bool> = portions.map(|got| got.is_ok()).collect();
        assert_eq!(outcomes, [true, true, true, true, true, true, true, true, false]);
    }

    #[test]
    fn limits_are_those_that_are_set() {
        let mut bytes = vec![0, 0, 0, 101, 99];
        bytes.resize(105, 0);
        let limits = |message_length, slice_length| Limits { message_length, slice_length };
        let try_with = |limits, bytes: &[u8]| {
            let mut framer = open_framer();
            framer.attach(geometry(), limits);
            feed(&mut framer, bytes, 1000).err()
        };
        assert_eq!(try_with(limits(101, 1), &bytes), None);
        assert_eq!(try_with(limits(100, 1), &bytes), Some(PeerFault::TooLong));
        let mut request = Vec::new();
        let g = geometry();
        Message::Request(g.range(0, 0, 20_000).unwrap()).encode_to(&mut request);
        assert_eq!(try_with(limits(100, 20_000), &request), None);
        assert_eq!(try_with(limits(100, 19_999), &request), Some(PeerFault::BadRequest));
    }

    #[test]
    fn bad_messages_are_faults() {
        let request = |begin: u32, length: u32| {
            let mut m = vec![0, 0, 0, 13, 6, 0, 0, 0, 2];
            m.extend(begin.to_be_bytes());
            m.extend(length.to_be_bytes());
            m
        };
        let cases: Vec<(Vec<u8>, PeerFault)> = vec![
            (vec![0xff, 0, 0, 0], PeerFault::TooLong),
            (vec![0, 0, 0, 2, 0, 0], PeerFault::BadLength),
            (vec![0, 0, 0, 5, 4, 0, 0, 0, 3], PeerFault::OutOfRange),
            (vec![0, 0, 0, 3, 5, 0, 0], PeerFault::BadLength),
            (vec![0, 0, 0, 2, 5, 0xff], PeerFault::OutOfRange),
            (vec![0, 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0], PeerFault::BadLength),
            (vec![0, 0, 0, 9, 7, 0, 0, 0, 0, 0, 0, 0, 0], PeerFault::OutOfRange),
            (vec![0, 1, 0, 9, 7, 0, 0, 0, 0, 0, 0, 0, 0], PeerFault::TooLong),
            (request(0, 131_073), PeerFault::BadRequest),
            (vec![0, 0, 0, 5, 17, 0, 0, 0, 3], PeerFault::OutOfRange),
            (vec![0, 0, 0, 2, 14, 0], PeerFault::BadLength),
            (vec![0, 0, 0, 1, 20], PeerFault::BadLength),
            (request(20_000, 2), PeerFault::OutOfRange),
            (request(0, 0), PeerFault::OutOfRange),
        ];
        for (bytes, fault) in cases {
            assert_eq!(feed(&mut open_framer(), &bytes, 7), Err(fault), "{bytes:?}");
        }
    }

    #[test]
    fn stops_where_the_pool_is_empty_and_goes_on_when_it_is_not() {
        let mut framer = open_framer();
        let mut bytes = Vec::new();
        let message = every_message().swap_remove(2);
        message.encode_to(&mut bytes);
        let (a, _) = framer.space();
        a[..20].copy_from_slice(&bytes[..20]);
        framer.filled(20);
        assert_eq!(framer.next(&mut Pool::new(0)), Ok(Next::NoBuffer));
        let got = feed(&mut framer, &bytes[20..], 5_000).unwrap();
        assert_eq!(got, [Incoming::Message(message)]);
    }

    #[test]
    fn a_block_that_nobody_asked_for_takes_no_buffer() {
        let mut framer = open_framer();
        let blocks = [every_message().swap_remove(2), every_message().swap_remove(3)];
        let mut bytes = Vec::new();
        blocks.iter().for_each(|m| m.encode_to(&mut bytes));
        let Message::Piece { block: asked, .. } = &blocks[1] else { panic!("another message") };
        let (mut pool, mut rest, mut got) = (Pool::new(1), &bytes[..], Vec::new());
        loop {
            match framer.next_if(&mut pool, |block| block == *asked).unwrap() {
                Next::Got(incoming) => got.push(incoming),
                Next::NoBuffer => panic!("a buffer was lent for what nobody asked for"),
                Next::More if rest.is_empty() => break,
                Next::More => {
                    let space = framer.space().0;
                    let n = space.len().min(rest.len());
                    space[..n].copy_from_slice(&rest[..n]);
                    rest = &rest[n..];
                    framer.filled(n);
                }
            }
        }
        let Message::Piece { block: unasked, .. } = &blocks[0] else { panic!("another message") };
        assert_eq!(got[0], Incoming::Unasked(*unasked));
        assert_eq!(got[1..], [Incoming::Message(blocks[1].clone())]);
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let mut good = Vec::new();
        every_message().iter().for_each(|m| m.encode_to(&mut good));
        let mut seed = 3u64;
        for _ in 0..300 {
            let mut bytes = good.clone();
            for _ in 0..4 {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                // Half of the damage goes where the heads are.
                let span = if seed & 1 == 0 { bytes.len() } else { 40 };
                let at = (seed >> 33) as usize % span;
                bytes[at] = (seed >> 20) as u8 & if seed & 2 == 0 { 0xff } else { 7 };
            }
            let _ = feed(&mut open_framer(), &bytes, 1 + (seed >> 40) as usize % 5_000);
        }
    }
}
