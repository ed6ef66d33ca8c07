//! Which parts of files can be sent without waiting for the disk.
//!
//! Files that are open are taken to be in the page cache until reading says otherwise: then a
//! disk worker warms the window up that the block lies in, one word for sixteen blocks. A window
//! counts as ready, or warm, for some seconds.

use crate::io::storage::Part;
use crate::logic::PeerKey;
use crate::proto::geometry::{BlockRef, Geometry};
use crate::proto::sorted;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is made ready at a time, in bytes.
const WINDOW: u32 = 256 * 1024;

/// For so long a window counts as ready.
const LIFE: Duration = Duration::from_secs(10);

/// So many windows are ready at a time.
const MAX_WINDOWS: usize = 64;

/// So many parts all ready windows hold together; one window of many small files may have more,
/// and is then the only one.
const MAX_PARTS: usize = 256;

/// A block that waits, and for whom.
pub(super) type Waiting = (PeerKey, BlockRef);

enum State {
    Asked { waiting: Vec<Waiting> },
    Ready { parts: Vec<Part>, warmth: Warmth, until: Instant },
}

/// What is known about the page cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Warmth {
    /// Nothing: whoever reads must not wait.
    Unknown,
    /// A disk worker has just brought it in.
    Warm,
}

/// What becomes of a wish to send a block.
pub(super) enum Wish {
    /// It can be sent at once, from these parts.
    Send(Vec<Part>, Warmth),
    /// It waits, and this range is to be made ready.
    Ask(BlockRef),
    /// It waits for a range that is being made ready.
    Wait,
}

/// The windows of one torrent, by the range of their piece. There are as many that were asked
/// for as blocks are being sent, at most.
pub(super) struct Windows {
    geometry: Arc<Geometry>,
    states: sorted::Map<BlockRef, State>,
    /// The ready ones, oldest first.
    order: VecDeque<BlockRef>,
    parts: usize,
    /// The open files that they are parts of, by their address in memory, and of how many parts.
    files: sorted::Map<usize, usize>,
    max_files: usize,
}

impl Windows {
    /// With at most so many open files, but for one window that lies in more of them.
    pub(super) fn new(geometry: Arc<Geometry>, max_files: usize) -> Windows {
        let (states, order, files) = Default::default();
        Windows { geometry, states, order, parts: 0, files, max_files }
    }

    /// A block is to be sent to a peer.
    pub(super) fn wish(&mut self, peer: PeerKey, block: BlockRef, now: Instant) -> Wish {
        self.expire(now);
        let range = self.range_around(block);
        match self.states.get_mut(&range) {
            Some(State::Ready { parts, warmth, .. }) => {
                let from = u64::from(block.begin() - range.begin());
                Wish::Send(cut(parts, from, block.length()), *warmth)
            }
            Some(State::Asked { waiting }) => {
                waiting.push((peer, block));
                Wish::Wait
            }
            None => {
                self.states.insert(range, State::Asked { waiting: vec![(peer, block)] });
                Wish::Ask(range)
            }
        }
    }

    /// A range is ready. Returns the blocks that waited for it: to be wished for again.
    pub(super) fn ready(
        &mut self,
        range: BlockRef,
        parts: Vec<Part>,
        warmth: Warmth,
        now: Instant,
    ) -> Vec<Waiting> {
        self.parts += parts.len();
        for part in &parts {
            *self.files.entry(address(part)).or_default() += 1;
        }
        self.order.push_back(range);
        let ready = State::Ready { parts, warmth, until: now + LIFE };
        let waiting = match self.states.insert(range, ready) {
            Some(State::Asked { waiting }) => waiting,
            _ => Vec::new(),
        };
        while self.order.len() > 1 && self.is_too_much() {
            self.drop_oldest();
        }
        waiting
    }

    fn is_too_much(&self) -> bool {
        let (windows, files) = (self.order.len(), self.files.len());
        windows > MAX_WINDOWS || self.parts > MAX_PARTS || files > self.max_files
    }

    /// Lets go of the parts of a window.
    fn release(&mut self, parts: &[Part]) {
        self.parts -= parts.len();
        for part in parts {
            let Some(count) = self.files.get_mut(&address(part)) else { continue };
            *count -= 1;
            if *count == 0 {
                self.files.remove(&address(part));
            }
        }
    }

    /// A block was not in the page cache: unless its window has been warmed up meanwhile, it no
    /// longer counts as ready.
    pub(super) fn chill(&mut self, block: BlockRef) {
        let range = self.range_around(block);
        let is_unproven = |s: &State| matches!(s, State::Ready { warmth: Warmth::Unknown, .. });
        if self.states.get(&range).is_some_and(is_unproven) {
            self.order.retain(|other| *other != range);
            self.drop_window(range);
        }
    }

    /// A range cannot be made ready. Returns the blocks that waited for it.
    pub(super) fn failed(&mut self, range: BlockRef) -> Vec<Waiting> {
        match self.states.remove(&range) {
            Some(State::Asked { waiting }) => waiting,
            Some(ready) => {
                self.states.insert(range, ready);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Lets go of all files that are ready: they may be others now, or descriptors are short.
    pub(super) fn forget(&mut self) {
        while !self.order.is_empty() {
            self.drop_oldest();
        }
    }

    /// When the next window has had its time.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self.states.get(self.order.front()?)? {
            State::Ready { until, .. } => Some(*until),
            State::Asked { .. } => None,
        }
    }

    /// Lets go of those that have had theirs.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(oldest) = self.order.front() {
            match self.states.get(oldest) {
                Some(State::Ready { until, .. }) if *until > now => return,
                _ => self.drop_oldest(),
            }
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(range) = self.order.pop_front() {
            self.drop_window(range);
        }
    }

    fn drop_window(&mut self, range: BlockRef) {
        if let Some(State::Ready { parts, .. }) = self.states.remove(&range) {
            self.release(&parts);
        }
    }

    /// The whole windows of the piece that the block lies in: one for every block of the usual
    /// size; the block alone where they lie in more files than may be open for it.
    fn range_around(&self, block: BlockRef) -> BlockRef {
        let begin = block.begin() - block.begin() % WINDOW;
        let end = block.end().div_ceil(WINDOW) * WINDOW;
        let end = end.min(self.geometry.piece_size(block.piece()));
        let range = self.geometry.range(block.piece().get(), begin, end - begin);
        let range = range.expect("windows are cut at the piece's ends");
        let is_too_much = self.geometry.file_ranges(range).count() > self.max_files;
        if is_too_much { block } else { range }
    }
}

/// Where the open file of a part is in memory, which tells it from all others that are open.
fn address(part: &Part) -> usize {
    Arc::as_ptr(&part.file) as usize
}

/// The parts of `length` bytes, `from` bytes behind the first byte of `parts`.
fn cut(parts: &[Part], mut from: u64, length: u32) -> Vec<Part> {
    let mut left = u64::from(length);
    let mut result = Vec::with_capacity(1);
    for part in parts {
        if from >= part.length {
            from -= part.length;
            continue;
        }
        let length = left.min(part.length - from);
        result.push(Part { file: Arc::clone(&part.file), offset: part.offset + from, length });
        left -= length;
        from = 0;
        if left == 0 {
            break;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn windows() -> Windows {
        Windows::new(Arc::new(Geometry::new(1 << 20, [3 << 20]).unwrap()), MAX_PARTS)
    }

    fn part(offset: u64, length: u64) -> Part {
        Part { file: Arc::new(File::open("/dev/null").unwrap()), offset, length }
    }

    fn block(w: &Windows, begin: u32, length: u32) -> BlockRef {
        w.geometry.range(1, begin, length).unwrap()
    }

    #[test]
    fn blocks_of_a_window_wait_together_and_are_cut_from_its_parts() {
        let (mut w, now) = (windows(), Instant::now());
        let (a, b) = (block(&w, 16_384, 16_384), block(&w, 200_000, 1_000));
        let Wish::Ask(range) = w.wish(PeerKey(1), a, now) else { panic!("should ask") };
        assert_eq!((range.begin(), range.length()), (0, WINDOW));
        assert!(matches!(w.wish(PeerKey(2), b, now), Wish::Wait));
        let waiting = w.ready(range, vec![part(7, 20_000), part(0, 242_144)], Warmth::Warm, now);
        assert_eq!(waiting, [(PeerKey(1), a), (PeerKey(2), b)]);
        let Wish::Send(parts, _) = w.wish(PeerKey(1), a, now) else { panic!("should be ready") };
        let spans: Vec<_> = parts.iter().map(|p| (p.offset, p.length)).collect();
        assert_eq!(spans, [(16_391, 3_616), (0, 12_768)]);
    }

    #[test]
    fn a_window_is_asked_for_again_when_its_time_is_over() {
        let (mut w, now) = (windows(), Instant::now());
        let a = block(&w, 0, 16_384);
        let Wish::Ask(range) = w.wish(PeerKey(1), a, now) else { panic!("should ask") };
        w.ready(range, vec![part(0, 262_144)], Warmth::Warm, now);
        assert!(matches!(w.wish(PeerKey(1), a, now + LIFE / 2), Wish::Send(..)));
        assert!(matches!(w.wish(PeerKey(1), a, now + LIFE), Wish::Ask(_)));
        assert_eq!(w.parts, 0);
    }

    #[test]
    fn a_cold_block_has_its_window_asked_for_unless_that_is_warm() {
        let (mut w, now) = (windows(), Instant::now());
        let a = block(&w, 0, 16_384);
        let Wish::Ask(range) = w.wish(PeerKey(1), a, now) else { panic!("should ask") };
        w.ready(range, vec![part(0, 262_144)], Warmth::Unknown, now);
        assert!(matches!(w.wish(PeerKey(1), a, now), Wish::Send(_, Warmth::Unknown)));
        w.chill(a);
        assert_eq!((w.parts, w.order.len()), (0, 0));
        assert!(matches!(w.wish(PeerKey(1), a, now), Wish::Ask(_)));
        w.chill(a);
        assert!(matches!(w.wish(PeerKey(1), a, now), Wish::Wait));
        w.ready(range, vec![part(0, 262_144)], Warmth::Warm, now);
        w.chill(a);
        assert!(matches!(w.wish(PeerKey(1), a, now), Wish::Send(_, Warmth::Warm)));
    }

    #[test]
    fn a_block_across_two_windows_has_both_made_ready() {
        let (mut w, now) = (windows(), Instant::now());
        let odd = block(&w, 1_000_000, 48_576);
        let Wish::Ask(range) = w.wish(PeerKey(1), odd, now) else { panic!("should ask") };
        assert_eq!((range.begin(), range.end()), (786_432, 1 << 20));
        let odd = block(&w, 200_000, 100_000);
        let Wish::Ask(range) = w.wish(PeerKey(1), odd, now) else { panic!("should ask") };
        assert_eq!((range.begin(), range.end()), (0, 524_288));
    }

    #[test]
    fn windows_of_few_files_are_held() {
        let (geometry, now) = (windows().geometry, Instant::now());
        let mut w = Windows::new(geometry, 2);
        let (one, two) = (part(0, 1), part(0, 1));
        let parts = [&one, &two, &one, &part(0, 1)];
        for (part, held) in parts.into_iter().zip([1, 2, 3, 2]) {
            let range = block(&w, w.order.len() as u32 * WINDOW, WINDOW);
            w.ready(range, vec![part.clone()], Warmth::Warm, now);
            assert_eq!(w.order.len(), held);
        }
        w.forget();
        assert!(w.files.is_empty());
    }

    #[test]
    fn few_parts_and_windows_are_held() {
        let (mut w, now) = (windows(), Instant::now());
        let many = (0..200).map(|i| part(i, 1)).collect::<Vec<_>>();
        for begin in [0, WINDOW, 2 * WINDOW] {
            let range = block(&w, begin, WINDOW);
            w.ready(range, many.clone(), Warmth::Warm, now);
            assert_eq!((w.order.len(), w.parts), (1, 200));
        }
    }
}
