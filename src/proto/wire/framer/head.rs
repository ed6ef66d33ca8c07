//! The head of a message: what kind it is, and where the rest of it goes.

use super::{Body, Framer, MAX_KEPT, Next, Stage, Step, Torrent, be32};
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::{BlockRef, Geometry};
use crate::proto::wire::{
    EXCHANGE, MAX_EXTENDED_LENGTH, MAX_METADATA_MESSAGE, METADATA, Message, PIECE_HEAD_LENGTH,
    PeerFault, Pool, kind,
};
use std::sync::Arc;

impl Framer {
    pub(super) fn head(
        &mut self,
        pool: &mut Pool,
        is_asked: &impl Fn(BlockRef) -> bool,
    ) -> Result<Step, PeerFault> {
        let geometry = match &self.torrent {
            Torrent::Unknown => return Ok(Step::Say(Next::More)),
            Torrent::Named { .. } => return self.head_unmeasured(),
            Torrent::Measured(geometry) => Arc::clone(geometry),
        };
        let bytes = self.unread();
        let Some(length) = be32(bytes, 0) else { return Ok(Step::Say(Next::More)) };
        if length > self.limits.message_length {
            return Err(PeerFault::TooLong);
        }
        if length == 0 {
            return Ok(self.got(4, Message::KeepAlive));
        }
        let Some(&kind) = bytes.get(4) else { return Ok(Step::Say(Next::More)) };
        let payload = length - 1;
        match kind {
            kind::CHOKE => self.bare(payload, Message::Choke),
            kind::UNCHOKE => self.bare(payload, Message::Unchoke),
            kind::INTERESTED => self.bare(payload, Message::Interested),
            kind::NOT_INTERESTED => self.bare(payload, Message::NotInterested),
            kind::HAVE_ALL => self.bare(payload, Message::HaveAll),
            kind::HAVE_NONE => self.bare(payload, Message::HaveNone),
            kind::HAVE | kind::SUGGEST | kind::ALLOWED_FAST => self.piece(kind, payload, &geometry),
            kind::REQUEST | kind::CANCEL | kind::REJECT => self.request(kind, payload, &geometry),
            kind::BITFIELD => {
                let length = Bitfield::byte_len(geometry.piece_count());
                expect(payload, length as u32)?;
                Ok(self.begin_body(Body::Bitfield, 5, length))
            }
            kind::PORT => self.port(payload),
            kind::PIECE => self.begin_block(payload, &geometry, pool, is_asked),
            kind::EXTENDED => self.extended(payload),
            // As BEP 3 asks of the future: a kind that is not known is passed over.
            _ => Ok(self.begin_skip(payload)),
        }
    }

    /// The head of a message while the torrent's measures are unknown.
    fn head_unmeasured(&mut self) -> Result<Step, PeerFault> {
        let Some(length) = be32(self.unread(), 0) else { return Ok(Step::Say(Next::More)) };
        if length > self.limits.message_length {
            return Err(PeerFault::TooLong);
        }
        if length == 0 {
            return Ok(self.got(4, Message::KeepAlive));
        }
        let Some(&kind) = self.unread().get(4) else { return Ok(Step::Say(Next::More)) };
        match kind {
            kind::EXTENDED => self.extended(length - 1),
            // We have nothing, and have asked for nothing.
            kind::REQUEST | kind::CANCEL | kind::REJECT | kind::PIECE | kind::SUGGEST => {
                Ok(self.begin_skip(length - 1))
            }
            0..kind::EXTENDED => {
                self.stage = Stage::Keep(length as usize + 4);
                match &self.torrent {
                    Torrent::Named { kept } if kept.len() + length as usize > MAX_KEPT => {
                        Err(PeerFault::Noise)
                    }
                    _ => Ok(Step::Again),
                }
            }
            _ => Ok(self.begin_skip(length - 1)),
        }
    }

    /// A message of a kind alone.
    fn bare(&mut self, payload: u32, message: Message) -> Result<Step, PeerFault> {
        expect(payload, 0)?;
        Ok(self.got(5, message))
    }

    /// Where the node of the hash table is. One that is nowhere is passed over.
    fn port(&mut self, payload: u32) -> Result<Step, PeerFault> {
        expect(payload, 2)?;
        match self.unread().get(5..7) {
            None => Ok(Step::Say(Next::More)),
            Some([0, 0]) => Ok(self.begin_skip(payload)),
            Some(bytes) => {
                let port = u16::from_be_bytes([bytes[0], bytes[1]]);
                Ok(self.got(7, Message::Port(port)))
            }
        }
    }

    /// A message about a piece.
    fn piece(&mut self, kind: u8, payload: u32, geometry: &Geometry) -> Result<Step, PeerFault> {
        expect(payload, 4)?;
        let Some(index) = be32(self.unread(), 5) else { return Ok(Step::Say(Next::More)) };
        let piece = geometry.piece(index).ok_or(PeerFault::OutOfRange)?;
        let message = match kind {
            kind::HAVE => Message::Have(piece),
            kind::SUGGEST => Message::Suggest(piece),
            _ => Message::AllowedFast(piece),
        };
        Ok(self.got(9, message))
    }

    /// A message about a block.
    fn request(&mut self, kind: u8, payload: u32, geometry: &Geometry) -> Result<Step, PeerFault> {
        expect(payload, 12)?;
        let bytes = self.unread();
        let (Some(index), Some(begin), Some(length)) =
            (be32(bytes, 5), be32(bytes, 9), be32(bytes, 13))
        else {
            // The rest of a request is longer than the head of a block.
            self.after_block = false;
            return Ok(Step::Say(Next::More));
        };
        if kind == kind::REQUEST && length > self.limits.slice_length {
            return Err(PeerFault::BadRequest);
        }
        let block = geometry.range(index, begin, length).ok_or(PeerFault::OutOfRange)?;
        let message = match kind {
            kind::REQUEST => Message::Request(block),
            kind::CANCEL => Message::Cancel(block),
            _ => Message::Reject(block),
        };
        Ok(self.got(17, message))
    }

    /// An extended message: the handshake and the two exchanges are of interest.
    fn extended(&mut self, payload: u32) -> Result<Step, PeerFault> {
        let length = payload.checked_sub(1).ok_or(PeerFault::BadLength)?;
        match self.unread().get(5) {
            None => Ok(Step::Say(Next::More)),
            Some(0) if length <= MAX_EXTENDED_LENGTH => {
                Ok(self.begin_body(Body::Extended, 6, length as usize))
            }
            Some(&EXCHANGE) if length <= MAX_EXTENDED_LENGTH => {
                Ok(self.begin_body(Body::Exchange, 6, length as usize))
            }
            Some(&METADATA) if length <= MAX_METADATA_MESSAGE => {
                Ok(self.begin_body(Body::Metadata, 6, length as usize))
            }
            Some(_) => Ok(self.begin_skip(payload)),
        }
    }

    fn begin_skip(&mut self, payload: u32) -> Step {
        self.start += 5;
        self.after_block = false;
        self.stage = Stage::Skip(payload as usize, None);
        Step::Again
    }

    /// Begins a message of `length` bytes behind a head of `head` bytes.
    fn begin_body(&mut self, of: Body, head: usize, length: usize) -> Step {
        self.start += head;
        let mut bytes = vec![0; length];
        let filled = self.take_small(&mut bytes);
        self.stage = Stage::Body { of, bytes, filled };
        Step::Again
    }

    fn begin_block(
        &mut self,
        payload: u32,
        geometry: &Geometry,
        pool: &mut Pool,
        is_asked: &impl Fn(BlockRef) -> bool,
    ) -> Result<Step, PeerFault> {
        // We ask for blocks of this length or less, so a longer one was not asked for.
        let length = payload.checked_sub(8).ok_or(PeerFault::BadLength)?;
        if length > geometry.block_length() {
            return Err(PeerFault::TooLong);
        }
        let (Some(index), Some(begin)) = (be32(self.unread(), 5), be32(self.unread(), 9)) else {
            return Ok(Step::Say(Next::More));
        };
        let block = geometry.range(index, begin, length).ok_or(PeerFault::OutOfRange)?;
        if !is_asked(block) {
            self.start += PIECE_HEAD_LENGTH;
            self.after_block = false;
            self.stage = Stage::Skip(length as usize, Some(block));
            return Ok(Step::Again);
        }
        let Some(mut data) = pool.take(length as usize) else {
            return Ok(Step::Say(Next::NoBuffer));
        };
        self.start += PIECE_HEAD_LENGTH;
        let filled = self.take_small(&mut data);
        self.stage = Stage::Block { block, data, filled };
        Ok(Step::Again)
    }
}

fn expect(payload: u32, wanted: u32) -> Result<(), PeerFault> {
    if payload == wanted { Ok(()) } else { Err(PeerFault::BadLength) }
}
