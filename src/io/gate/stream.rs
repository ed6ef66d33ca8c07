//! Bodies that come from files: read when the socket takes bytes, without waiting for a disk.
//!
//! What is not in the page cache is told as cold; whoever keeps the gate has it brought in
//! ([`super::files`]). Read and send cost no more than sendfile would with its questions about
//! each page beforehand.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::os::fd::AsFd;

use crate::io::storage::Part;
use crate::io::sys;
use crate::proto::resume::client::Stamp;

/// The size of the buffer that all streams share, in bytes: more leaves the CPU's cache.
const STAGING: usize = 256 * 1024;

/// What a connection is thought to take at once, at least, in bytes.
const LEAST_ROOM: usize = 16 * 1024;

/// With a limit, no connection takes more than this at a time, in bytes, so that all have a turn.
const LIMITED_ROOM: u64 = 32 * 1024;

/// What is brought in from the disk at a time, in bytes.
const WINDOW: u64 = 512 * 1024;

/// A piece of a body.
#[derive(Debug, Clone)]
pub enum Chunk {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Bytes of a file, as long as it looks so: otherwise the connection is closed, for what it was
    /// told would be wrong.
    File(Part, Stamp),
}

impl Chunk {
    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        match self {
            Chunk::Bytes(bytes) => bytes.len() as u64,
            Chunk::File(part, _) => part.length,
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What all streams share.
#[derive(Debug, Default)]
pub(super) struct Pump {
    /// Made when the first stream is sent: a tracker has none.
    buffer: Vec<u8>,
    /// Bytes that may leave; `None` for as many as the sockets take.
    pub allowance: Option<u64>,
    /// Bytes of streams that have left so far.
    pub sent: u64,
}

/// How far a stream came.
#[derive(Debug)]
pub(super) enum Step {
    /// To its end.
    Done,
    /// There is more to send when the socket takes it.
    More,
    /// To what must come from the disk first.
    Cold(Part),
    /// To the end of what may leave.
    Starved,
}

/// A body on its way out.
#[derive(Debug)]
pub(super) struct Stream {
    chunks: VecDeque<Chunk>,
    left: u64,
    /// What the socket will probably take at once, in bytes.
    room: usize,
    /// So many bytes of the first file may be waited for: they were brought in just now.
    warm: u64,
}

impl Stream {
    pub fn new(chunks: Vec<Chunk>) -> Stream {
        let chunks: VecDeque<Chunk> = chunks.into_iter().filter(|c| !c.is_empty()).collect();
        let left = chunks.iter().map(Chunk::len).sum();
        Stream { chunks, left, room: STAGING / 2, warm: 0 }
    }

    /// Bytes that have not left.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// What was cold has been brought in.
    pub fn warmed(&mut self) {
        self.warm = WINDOW;
    }

    /// Sends what the socket takes at once. `more`: something follows behind the end at once.
    ///
    /// # Errors
    /// The connection's end; a file that is not what it was any more.
    pub fn send(&mut self, socket: impl AsFd, more: bool, pump: &mut Pump) -> io::Result<Step> {
        if self.left == 0 {
            return Ok(Step::Done);
        }
        let most = match pump.allowance {
            None => self.room,
            Some(0) => return Ok(Step::Starved),
            // No more than LIMITED_ROOM, so it fits.
            Some(allowed) => self.room.min(allowed.min(LIMITED_ROOM) as usize),
        };
        let filled = self.fill(pump, most)?;
        if let (0, Some(Chunk::File(part, _))) = (filled, self.chunks.front()) {
            let length = part.length.min(WINDOW);
            return Ok(Step::Cold(Part { length, ..part.clone() }));
        }
        let last = filled as u64 == self.left;
        match sys::send(&socket, &pump.buffer[..filled], more || !last) {
            Ok(sent) => {
                self.advance(sent as u64);
                pump.sent += sent as u64;
                pump.allowance = pump.allowance.map(|allowed| allowed - sent as u64);
                self.room = match sent < filled {
                    true => sent.max(LEAST_ROOM),
                    false => (self.room * 2).min(STAGING),
                };
                Ok(if self.left == 0 { Step::Done } else { Step::More })
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Step::More),
            Err(e) => Err(e),
        }
    }

    /// Puts as much as can be had into the buffer, and says how much that is.
    fn fill(&self, pump: &mut Pump, most: usize) -> io::Result<usize> {
        pump.buffer.resize(STAGING, 0);
        let (mut filled, mut warm) = (0, self.warm);
        for chunk in &self.chunks {
            let space = &mut pump.buffer[filled..most];
            // No longer than the space, so it fits.
            let wanted = chunk.len().min(space.len() as u64) as usize;
            let got = match chunk {
                Chunk::Bytes(bytes) => {
                    space[..wanted].copy_from_slice(&bytes[..wanted]);
                    wanted
                }
                Chunk::File(part, looks) => {
                    read(part, looks, &mut space[..wanted], std::mem::take(&mut warm))?
                }
            };
            filled += got;
            if got as u64 != chunk.len() || filled == most {
                break;
            }
        }
        Ok(filled)
    }

    fn advance(&mut self, mut sent: u64) {
        self.left -= sent;
        while let Some(chunk) = self.chunks.front_mut() {
            let gone = sent.min(chunk.len());
            sent -= gone;
            match chunk {
                Chunk::Bytes(bytes) => drop(bytes.drain(..gone as usize)),
                Chunk::File(part, _) => {
                    part.offset += gone;
                    part.length -= gone;
                    self.warm = self.warm.saturating_sub(gone);
                }
            }
            if !chunk.is_empty() {
                return;
            }
            if let Some(Chunk::File(..)) = self.chunks.pop_front() {
                self.warm = 0;
            }
        }
    }
}

/// Reads from the beginning of a part: without waiting for a disk, or what is warm of it in any
/// case. 0: nothing can be had without waiting.
fn read(part: &Part, looks: &Stamp, space: &mut [u8], warm: u64) -> io::Result<usize> {
    let got = match warm {
        0 => {
            let mut buffers = [IoSliceMut::new(space)];
            match sys::preadv_cached(&part.file, &mut buffers, part.offset)? {
                Some(got) => got,
                None => return Ok(0),
            }
        }
        // No more than the space, so it fits.
        warm => {
            let wanted = warm.min(space.len() as u64) as usize;
            sys::pread(&part.file, &mut space[..wanted], part.offset)?
        }
    };
    if got == 0 || sys::stamp(&part.file)? != *looks {
        return Err(io::Error::other("it changed"));
    }
    Ok(got)
}
