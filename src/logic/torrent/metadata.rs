//! Giving the torrent's metadata to those who have only its hash (BEP 9).
//!
//! A request is some thirty bytes long and its answer 16 KiB, so there are limits: on how many
//! requests of a peer wait, on how often it may have the whole, and on how fast all of it goes.

use super::{Timer, Torrent};
use crate::logic::PeerKey;
use crate::logic::rate::Bucket;
use crate::proto::wire::{METADATA_PART, Message, Metadata, MetadataWord, PeerFault};
use crate::proto::wire::{metadata_part_length, metadata_parts};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Requests of a peer that wait; more are rejected.
const MAX_WISHES: usize = 64;

/// A peer may have the whole so many times.
const MAX_TIMES: u64 = 3;

/// So many bytes of metadata leave a second, for all peers together.
const RATE: u64 = 2 * 1024 * 1024;

/// What there is to give.
#[derive(Debug)]
pub struct Given {
    bytes: Arc<[u8]>,
    bucket: Bucket,
    /// Those whose requests wait, in the order they get their next part.
    round: VecDeque<PeerKey>,
}

/// What a peer asks for.
#[derive(Debug, Default)]
pub struct Wishes {
    /// The number it has for the extension; `None` if it does not know it.
    number: Option<u8>,
    /// The parts that it asked for and has not been sent.
    waiting: VecDeque<u32>,
    /// Bytes that it was sent.
    sent: u64,
}

impl Torrent {
    /// Gives peers the metadata from now on: the bytes of `info`, exactly. Not for a private
    /// torrent. To be called before there are peers.
    pub fn give_metadata(&mut self, bytes: Arc<[u8]>, now: Instant) {
        self.metadata =
            Some(Given { bytes, bucket: Bucket::new(Some(RATE), now), round: VecDeque::new() });
    }

    /// Bytes of the metadata, if it is given.
    pub(super) fn metadata_size(&self) -> Option<u32> {
        self.metadata.as_ref().and_then(|given| u32::try_from(given.bytes.len()).ok())
    }

    /// A peer says what it calls the extension.
    pub(super) fn on_metadata_number(&mut self, key: PeerKey, number: Option<u8>) {
        if let Some(session) = self.session(key) {
            session.metadata.number = number;
        }
    }

    /// A word about the metadata. We ask nobody, so that only requests mean something.
    pub(super) fn on_metadata(
        &mut self,
        key: PeerKey,
        message: &Metadata,
        now: Instant,
    ) -> Result<(), PeerFault> {
        self.note_chatter(key, now)?;
        if message.word != MetadataWord::Request {
            return Ok(());
        }
        let size = self.metadata_size().unwrap_or(0);
        let Some(session) = self.session(key) else { return Ok(()) };
        let wishes = &mut session.metadata;
        let length = metadata_part_length(size, message.part) as u64;
        let fits = wishes.sent + length <= MAX_TIMES * u64::from(size);
        if length == 0 || !fits || wishes.waiting.len() >= MAX_WISHES {
            let Some(number) = wishes.number else { return Ok(()) };
            let reject = Metadata { number, part: message.part, word: MetadataWord::Reject };
            self.say(key, Message::Metadata(Box::new(reject)), now);
            return Ok(());
        }
        wishes.sent += length;
        wishes.waiting.push_back(message.part);
        if let Some(given) = &mut self.metadata {
            if !given.round.contains(&key) {
                given.round.push_back(key);
            }
        }
        self.pump_metadata(now);
        Ok(())
    }

    /// Sends what waits, as far as it may leave.
    pub(super) fn pump_metadata(&mut self, now: Instant) {
        while let Some(given) = &mut self.metadata {
            if given.round.is_empty() {
                return;
            }
            if let Some(at) = given.bucket.next_ready(now) {
                return self.timers.set(Timer::Metadata, at);
            }
            let Some(key) = given.round.pop_front() else { return };
            self.send_metadata(key, now);
        }
    }

    fn send_metadata(&mut self, key: PeerKey, now: Instant) {
        let Some(session) = self.session(key) else { return };
        let wishes = &mut session.metadata;
        let (Some(part), Some(number)) = (wishes.waiting.pop_front(), wishes.number) else {
            return;
        };
        let has_more = !wishes.waiting.is_empty();
        let Some(given) = &mut self.metadata else { return };
        let total = given.bytes.len() as u32;
        let begin = part as usize * METADATA_PART;
        let end = begin + metadata_part_length(total, part);
        debug_assert!(part < metadata_parts(total));
        let bytes = given.bytes[begin..end].to_vec();
        given.bucket.take(now, bytes.len() as u64);
        if has_more {
            given.round.push_back(key);
        }
        self.limits.upload.take(now, bytes.len() as u64);
        let word = MetadataWord::Data { total, bytes };
        self.say(key, Message::Metadata(Box::new(Metadata { number, part, word })), now);
    }
}
