//! What waits to be sent on one connection, in order.
//!
//! A block stays a place in a file until the socket takes bytes. Then as many blocks as it will
//! probably take are read side by side into the one [`Staging`] buffer of the reactor, their heads
//! between them, and leave by one `send`: two system calls for sixteen neighbouring blocks. That
//! costs a copy within the CPU's cache, and was measured to be cheaper than a `sendfile` a block,
//! which needs a `send` for the head, and questions beforehand about each page of the file.
//!
//! The reads do not wait for a disk: what is not in the page cache is given back as cold. So is
//! what lies in a file that was closed meanwhile: what waits here keeps no file open, or those who
//! read slowly would have more of them open than the user allows.
//!
//! Where the stream is encrypted, that is done where the bytes stand when they are about to leave,
//! in the buffer or in the queue. What the socket then does not take stays in the queue as it is:
//! a stream cipher goes on from where it was. So no more is encrypted at a time than may stay.

mod staging;

use crate::io::storage::Part;
use crate::io::sys;
use crate::proto::geometry::BlockRef;
use crate::proto::mse::Rc4;
use crate::proto::resume::client::Stamp;
use crate::proto::wire::PIECE_HEAD_LENGTH;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use staging::STAGING;
pub use staging::Staging;

/// More bytes of messages than this wait for no peer; who does not read is dropped.
const MAX_QUEUED: usize = 1024 * 1024;

/// What a new connection, or one that takes little, is thought to take at once, in bytes.
const LEAST_ROOM: usize = 2 * (16 * 1024 + PIECE_HEAD_LENGTH);

/// No more bytes of blocks than this are encrypted at a time, since what is encrypted stays in
/// memory until the socket takes it; and, once a socket took less, no more than a block.
const MAX_SEALED: usize = 4 * (16 * 1024 + PIECE_HEAD_LENGTH);

/// Messages of more bytes than this are sent from where they are.
const MAX_COPIED: usize = 20 * 1024;

/// What came of a flush, beside bytes sent. Lists to be emptied by the caller.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Blocks that have left.
    pub sent: Vec<BlockRef>,
    /// Blocks that could not be read without waiting for the disk, or whose files were closed or
    /// do not look as they should. They are no longer queued.
    pub cold: Vec<BlockRef>,
}

#[derive(Debug)]
enum Out {
    /// Bytes from our memory; so many have been sent, and so many are as they leave, encrypted if
    /// the stream is. With the last one, perhaps, ends a block.
    Bytes { bytes: Vec<u8>, sent: usize, sealed: usize, ends: Option<BlockRef> },
    /// A block in its files.
    Block { block: BlockRef, parts: Vec<Source>, looks: Vec<Option<Stamp>>, may_wait: bool },
}

/// A [`Part`], of a file that somebody else keeps open as long as he likes.
#[derive(Debug)]
struct Source {
    file: Weak<File>,
    offset: u64,
    length: u64,
}

impl From<Part> for Source {
    fn from(part: Part) -> Source {
        Source { file: Arc::downgrade(&part.file), offset: part.offset, length: part.length }
    }
}

impl Out {
    fn length(&self) -> usize {
        match self {
            Out::Bytes { bytes, sent, .. } => bytes.len() - sent,
            Out::Block { block, .. } => PIECE_HEAD_LENGTH + block.length() as usize,
        }
    }

    fn is_message(&self) -> bool {
        matches!(self, Out::Bytes { ends: None, .. })
    }
}

/// The queue of one connection.
#[derive(Debug)]
pub(super) struct Outbox {
    queue: VecDeque<Out>,
    /// Bytes from our memory that are not sent yet.
    queued: usize,
    /// All bytes that the socket has taken.
    taken: u64,
    /// A buffer that was sent, for the next one.
    spare: Vec<u8>,
    /// What the socket will probably take at once, in bytes.
    room: usize,
    /// Bytes of blocks, with their heads, that may leave; `None` for as many as the socket takes.
    allowance: Option<u64>,
    /// Encrypts what leaves.
    cipher: Option<Box<Rc4>>,
}

impl Outbox {
    pub fn new() -> Outbox {
        Outbox {
            queue: VecDeque::new(),
            queued: 0,
            taken: 0,
            spare: Vec::new(),
            room: LEAST_ROOM,
            allowance: None,
            cipher: None,
        }
    }

    /// What is queued leaves as it is; what comes behind it is encrypted.
    pub fn encrypt(&mut self, cipher: Rc4) {
        for out in &mut self.queue {
            if let Out::Bytes { bytes, sealed, .. } = out {
                *sealed = bytes.len();
            }
        }
        self.cipher = Some(Box::new(cipher));
    }

    /// Bytes of our memory that wait.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Bytes that have left so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// So many bytes of blocks more may leave, and no others from now on.
    pub fn allow(&mut self, bytes: u64) {
        self.allowance = Some(self.allowance.unwrap_or(0).saturating_add(bytes));
    }

    /// The bytes that may leave now; as good as all, if there is no limit.
    pub fn sendable(&self) -> usize {
        let Some(mut allowed) = self.allowance else {
            return if self.queue.is_empty() { 0 } else { usize::MAX };
        };
        let mut bytes = 0;
        for out in &self.queue {
            let length = out.length();
            match out {
                Out::Bytes { ends: None, .. } => bytes += length,
                // A head alone is of no use to anybody.
                Out::Block { .. } if allowed <= PIECE_HEAD_LENGTH as u64 => break,
                _ if allowed >= length as u64 => {
                    allowed -= length as u64;
                    bytes += length;
                }
                _ => return bytes + allowed as usize,
            }
        }
        bytes
    }

    /// Adds to the bytes that go out with one call.
    pub fn gather(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if !matches!(self.queue.back(), Some(Out::Bytes { ends: None, .. })) {
            let mut bytes = std::mem::take(&mut self.spare);
            bytes.clear();
            self.queue.push_back(Out::Bytes { bytes, sent: 0, sealed: 0, ends: None });
        }
        let Some(Out::Bytes { bytes, sent, sealed, .. }) = self.queue.back_mut() else { return };
        // Who always leaves something behind must not make us keep all it ever took.
        if *sent > MAX_COPIED && *sent > bytes.len() / 2 {
            bytes.drain(..*sent);
            *sealed = sealed.saturating_sub(*sent);
            *sent = 0;
        }
        let before = bytes.len();
        write(bytes);
        self.queued += bytes.len() - before;
    }

    pub fn push_block(
        &mut self,
        block: BlockRef,
        parts: Vec<Part>,
        looks: Vec<Option<Stamp>>,
        may_wait: bool,
    ) {
        if let Some(allowed) = &mut self.allowance {
            *allowed += PIECE_HEAD_LENGTH as u64;
        }
        let parts = parts.into_iter().map(Source::from).collect();
        self.queue.push_back(Out::Block { block, parts, looks, may_wait });
    }

    /// Sends as much as the socket takes.
    pub fn flush(
        &mut self,
        socket: &OwnedFd,
        staging: &mut Staging,
        outcome: &mut Outcome,
    ) -> io::Result<()> {
        if self.queued > MAX_QUEUED {
            return Err(io::Error::new(ErrorKind::TimedOut, "the peer reads too little"));
        }
        loop {
            let most = self.sendable();
            if most == 0 {
                return Ok(());
            }
            let alone = self.queue.len() == 1;
            let (sent, wanted) = match self.queue.front_mut() {
                None => return Ok(()),
                Some(Out::Bytes { bytes, sent, sealed, .. })
                    if alone || bytes.len() - *sent > MAX_COPIED =>
                {
                    let end = *sent + most.min(bytes.len() - *sent);
                    if let (Some(cipher), true) = (&mut self.cipher, *sealed < end) {
                        cipher.apply(&mut bytes[*sealed..end]);
                        *sealed = end;
                    }
                    (took(sys::send(socket, &bytes[*sent..end], false))?, end - *sent)
                }
                Some(_) => match staging.fill(&self.queue, self.room)? {
                    0 => {
                        self.give_back_blocks(&mut outcome.cold);
                        continue;
                    }
                    length => {
                        let wanted = length.min(most);
                        self.seal(&mut staging.buffer[..wanted]);
                        (took(sys::send(socket, &staging.buffer[..wanted], false))?, wanted)
                    }
                },
            };
            self.settle(sent, staging, &mut outcome.sent);
            let (least, most) = self.rooms();
            if sent < wanted {
                self.keep(&staging.buffer, sent..wanted);
                self.room = sent.clamp(least, most);
                return Ok(());
            }
            self.room = (self.room * 2).min(most);
        }
    }

    /// How much is sent at once at least, if there is so much, and at most.
    fn rooms(&self) -> (usize, usize) {
        match self.cipher {
            Some(_) => (1, MAX_SEALED),
            None => (LEAST_ROOM, STAGING),
        }
    }

    /// Encrypts the next bytes that leave, if the stream is encrypted, but for those that are
    /// already.
    fn seal(&mut self, bytes: &mut [u8]) {
        let Some(cipher) = &mut self.cipher else { return };
        let mut done = 0;
        for out in &self.queue {
            let Out::Bytes { bytes, sent, sealed, .. } = out else { break };
            done += sealed.saturating_sub(*sent);
            if *sealed < bytes.len() {
                break;
            }
        }
        if let Some(rest) = bytes.get_mut(done..) {
            cipher.apply(rest);
        }
    }

    /// What stands in this range of the buffer was encrypted and has not left: the queue, which
    /// begins with it, gets it back.
    fn keep(&mut self, buffer: &[u8], Range { mut start, end }: Range<usize>) {
        if self.cipher.is_none() {
            return;
        }
        for out in &mut self.queue {
            let length = out.length();
            let count = length.min(end - start);
            match out {
                _ if count == 0 => return,
                Out::Bytes { bytes, sent, sealed, .. } => {
                    if *sealed < *sent + count {
                        *sealed = *sent + count;
                        bytes[*sent..*sealed].copy_from_slice(&buffer[start..start + count]);
                    }
                }
                Out::Block { block, .. } => {
                    let bytes = buffer[start..start + length].to_vec();
                    self.queued += length;
                    *out = Out::Bytes { bytes, sent: 0, sealed: count, ends: Some(*block) };
                }
            }
            start += count;
        }
    }

    /// Takes from the queue what has left with the first `sent` bytes. What is left of a block
    /// that was begun becomes bytes of ours.
    fn settle(&mut self, mut sent: usize, staging: &Staging, blocks: &mut Vec<BlockRef>) {
        self.taken += sent as u64;
        let mut at = 0;
        while let Some(out) = self.queue.front_mut().filter(|_| sent > 0) {
            let length = out.length();
            let now = length.min(sent);
            if let (Some(allowed), false) = (&mut self.allowance, out.is_message()) {
                *allowed -= now as u64;
            }
            match out {
                Out::Bytes { sent, .. } => {
                    *sent += now;
                    self.queued -= now;
                }
                Out::Block { block, .. } if now < length => {
                    let bytes = staging.buffer[at + now..at + length].to_vec();
                    self.queued += bytes.len();
                    *out = Out::Bytes { bytes, sent: 0, sealed: 0, ends: Some(*block) };
                }
                Out::Block { .. } => {}
            }
            if now == length {
                match self.queue.pop_front() {
                    Some(Out::Bytes { bytes, ends, .. }) => {
                        if bytes.capacity() <= MAX_COPIED {
                            self.spare = bytes;
                        }
                        blocks.extend(ends);
                    }
                    Some(Out::Block { block, .. }) => blocks.push(block),
                    None => {}
                }
            }
            at += length;
            sent -= now;
        }
    }

    fn give_back_blocks(&mut self, cold: &mut Vec<BlockRef>) {
        self.queue.retain(|out| match out {
            Out::Block { block, .. } => {
                cold.push(*block);
                false
            }
            Out::Bytes { .. } => true,
        });
    }
}

/// A socket that takes nothing now took no bytes.
fn took(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_not_kept_for_one_who_always_leaves_something() {
        let (mut outbox, mut sent) = (Outbox::new(), Vec::new());
        outbox.gather(|out| out.extend([0; 1000]));
        for _ in 0..1000 {
            outbox.gather(|out| out.extend([0; 1000]));
            outbox.settle(1000, &Staging::default(), &mut sent);
        }
        let Some(Out::Bytes { bytes, .. }) = outbox.queue.front() else { panic!("it is empty") };
        assert!(bytes.capacity() < 100_000, "{} bytes", bytes.capacity());
        assert_eq!((outbox.queued(), outbox.taken()), (1000, 1_000_000));
    }
}
