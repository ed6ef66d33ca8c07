//! The buffer that blocks pass through on their way to a socket, and how they get there.

use super::{Out, Source};
use crate::io::sys;
use crate::proto::resume::client::Stamp;
use crate::proto::wire::{PIECE_HEAD_LENGTH, piece_head};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSliceMut};
use std::sync::Weak;

/// The size of the buffer, in bytes: sixteen blocks of the usual size with their heads and some
/// messages. Longer runs gain nothing, since they leave the CPU's cache before they are sent.
pub(super) const STAGING: usize = 16 * (16 * 1024 + PIECE_HEAD_LENGTH) + 4096;

/// A part of a block in the queue, and its place in the buffer.
#[derive(Debug)]
struct Segment {
    entry: usize,
    part: usize,
    at: usize,
    length: usize,
}

/// The buffer that blocks pass through on their way to a socket: one for all connections of a
/// reactor, since nothing stays in it.
#[derive(Debug, Default)]
pub struct Staging {
    /// Allocated by the first who sends a block.
    pub(super) buffer: Vec<u8>,
    /// Where each entry ends in the buffer.
    ends: Vec<usize>,
    segments: Vec<Segment>,
}

impl Staging {
    /// Puts the bytes of the first entries of a queue into the buffer, about `room` of them, and
    /// says how many; none if the first entry is a block that cannot be read at once.
    pub(super) fn fill(&mut self, queue: &VecDeque<Out>, room: usize) -> io::Result<usize> {
        // Only where the user allows it are single blocks longer than many usual ones.
        let least = queue.front().map_or(0, Out::length).max(STAGING);
        if self.buffer.len() < least {
            self.buffer.resize(least, 0);
        }
        self.lay_out(queue, room);
        let mut whole = self.ends.len();
        let mut next = 0;
        while next < self.segments.len() {
            let count = self.run_length(next, queue);
            let run = &self.segments[next..next + count];
            if let Some(cold) = read_run(&mut self.buffer, run, queue)? {
                whole = cold;
                break;
            }
            next += count;
        }
        Ok(whole.checked_sub(1).map_or(0, |last| self.ends[last]))
    }

    /// Gives each entry its place, and puts there what needs no reading.
    fn lay_out(&mut self, queue: &VecDeque<Out>, room: usize) {
        self.ends.clear();
        self.segments.clear();
        let mut at = 0;
        for (entry, out) in queue.iter().enumerate() {
            let length = out.length();
            if entry > 0 && (at + length > room || length > STAGING - at) {
                break;
            }
            match out {
                Out::Bytes { bytes, sent, .. } => {
                    self.buffer[at..at + length].copy_from_slice(&bytes[*sent..]);
                }
                Out::Block { block, parts, .. } => {
                    let mut place = at + PIECE_HEAD_LENGTH;
                    self.buffer[at..place].copy_from_slice(&piece_head(*block));
                    for (part, Source { length, .. }) in parts.iter().enumerate() {
                        // A part is no longer than its block.
                        let length = *length as usize;
                        self.segments.push(Segment { entry, part, at: place, length });
                        place += length;
                    }
                }
            }
            at += length;
            self.ends.push(at);
        }
    }

    /// How many segments from `first` on lie behind one another in one file.
    fn run_length(&self, first: usize, queue: &VecDeque<Out>) -> usize {
        let joined = self.segments[first..].windows(2).take_while(|pair| {
            let ((a, a_waits), (b, b_waits)) = (part(&pair[0], queue), part(&pair[1], queue));
            let same = Weak::ptr_eq(&a.file, &b.file) && a_waits == b_waits;
            same && a.offset + a.length == b.offset
        });
        1 + joined.count()
    }
}

/// The place in a file that a segment stands for, and whether reading it may wait.
fn part<'a>(segment: &Segment, queue: &'a VecDeque<Out>) -> (&'a Source, bool) {
    match &queue[segment.entry] {
        Out::Block { parts, may_wait, .. } => (&parts[segment.part], *may_wait),
        Out::Bytes { .. } => unreachable!("only blocks have segments"),
    }
}

/// Reads segments that lie behind one another in one file. `Some` tells the first entry that would
/// have had to wait for the disk, or for its file to be opened.
fn read_run(
    buffer: &mut [u8],
    run: &[Segment],
    queue: &VecDeque<Out>,
) -> io::Result<Option<usize>> {
    let (first, may_wait) = part(&run[0], queue);
    let Some(file) = first.file.upgrade() else { return Ok(Some(run[0].entry)) };
    let wanted: usize = run.iter().map(|s| s.length).sum();
    let mut done = 0;
    while done < wanted {
        let mut places = places(buffer, run, done);
        let offset = first.offset + done as u64;
        let got = match may_wait {
            true => Some(sys::preadv(&file, &mut places, offset)?),
            // An error is met again, and told of, by whoever brings it into the cache.
            false => sys::preadv_cached(&file, &mut places, offset).unwrap_or(None),
        };
        match got {
            Some(0) => return Err(fell_short()),
            Some(n) => done += n,
            None => return Ok(Some(entry_at(run, done))),
        }
    }
    // Only now, so that what was read is what the file held when it still looked so.
    let look = look(&run[0], queue);
    let is_right = look.is_none_or(|look| sys::stamp(&*file).is_ok_and(|now| now == look));
    Ok((!is_right).then_some(run[0].entry))
}

/// How the file of a segment must look.
fn look(segment: &Segment, queue: &VecDeque<Out>) -> Option<Stamp> {
    match &queue[segment.entry] {
        Out::Block { looks, .. } => looks.get(segment.part).copied().flatten(),
        Out::Bytes { .. } => None,
    }
}

/// Where the bytes of a run go, from its byte `done` on.
fn places<'a>(mut rest: &'a mut [u8], run: &[Segment], done: usize) -> Vec<IoSliceMut<'a>> {
    let (mut at, mut skip) = (0, done);
    let mut places = Vec::with_capacity(run.len());
    for segment in run {
        let (place, behind) = rest[segment.at - at..].split_at_mut(segment.length);
        rest = behind;
        at = segment.at + segment.length;
        let skipped = skip.min(place.len());
        skip -= skipped;
        if skipped < segment.length {
            places.push(IoSliceMut::new(&mut place[skipped..]));
        }
    }
    places
}

/// The entry that byte `done` of a run belongs to.
fn entry_at(run: &[Segment], done: usize) -> usize {
    let mut end = 0;
    let found = run.iter().find(|segment| {
        end += segment.length;
        end > done
    });
    found.map_or(run[run.len() - 1].entry + 1, |segment| segment.entry)
}

fn fell_short() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the file became shorter")
}
