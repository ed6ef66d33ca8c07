use super::*;
use crate::io::mailbox::{Mailbox, mailbox};
use crate::io::reactor::Reactor;
use crate::io::storage::{Call, Fault, Faults, FileEntry, Locks, Options};
use crate::proto::geometry::BLOCK_LENGTH;
use crate::proto::hash::sha1;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

const PIECE: u32 = 8 * BLOCK_LENGTH;

/// All answers are there much sooner.
const PATIENCE: Duration = Duration::from_secs(60);

/// A torrent of two files, its right content, and a reactor's side of its disk workers.
struct Bench {
    dir: PathBuf,
    torrent: Arc<DiskTorrent>,
    content: Vec<u8>,
    reactor: Reactor,
    mailbox: Mailbox<Answer>,
    disk: Disk,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Bench {
    fn new(length: usize) -> Bench {
        Bench::with_mailbox(length, 64)
    }

    fn with_mailbox(length: usize, capacity: usize) -> Bench {
        Bench::with_options(length, capacity, Options::default())
    }

    fn with_options(length: usize, capacity: usize, options: Options) -> Bench {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("bittornado-disk-{}-{n}", std::process::id()));
        let content: Vec<u8> = (0..length as u64).map(|n| ((n * n) >> 7) as u8).collect();
        let lengths = [20_000, length as u64 - 20_000];
        let geometry = Arc::new(Geometry::new(PIECE, lengths).unwrap());
        let names = ["one", "two"].into_iter().zip(lengths);
        let files = names.map(|(n, length)| FileEntry::new(n.into(), length)).collect();
        let storage = Storage::new(dir.clone(), files, Arc::clone(&geometry), options);
        let hashes = content.chunks(PIECE as usize).map(sha1).collect();
        let write_buffer = storage.options().write_buffer;
        let storage = Arc::new(storage);
        let torrent = Arc::new(DiskTorrent { number: 3, storage, geometry, hashes });
        let reactor = Reactor::new().unwrap();
        let (post, mailbox) = mailbox(capacity, reactor.waker());
        let disk = Disk::start(write_buffer, post).unwrap();
        Bench { dir, torrent, content, reactor, mailbox, disk }
    }

    fn piece(&self, n: u32) -> PieceIndex {
        self.torrent.geometry.piece(n).unwrap()
    }

    fn block(&self, piece: u32, n: u32) -> BlockRef {
        self.torrent.geometry.block(self.piece(piece), n).unwrap()
    }

    fn data(&self, block: BlockRef) -> Vec<u8> {
        let start = self.torrent.geometry.piece_start(block.piece()) as usize;
        self.content[start + block.begin() as usize..start + block.end() as usize].to_vec()
    }

    fn write(&self, piece: u32, n: u32) {
        let block = self.block(piece, n);
        self.disk.try_send(&self.torrent, Job::Write { block, data: self.data(block) }).unwrap();
    }

    /// The next `count` answers.
    fn answers(&mut self, count: usize) -> Vec<Done> {
        let end = Instant::now() + PATIENCE;
        let (mut events, mut answers) = (vec![], vec![]);
        while answers.len() < count {
            assert!(Instant::now() < end, "{} of {count} answers", answers.len());
            self.reactor.turn(Some(Duration::from_secs(1)), &mut events).unwrap();
            answers.extend(std::iter::from_fn(|| self.mailbox.try_recv()).map(|a| a.done));
        }
        assert_eq!(answers.len(), count);
        answers
    }

    /// Verifies a piece after `writes` writes that must all have gone well.
    fn verdict(&mut self, piece: u32, writes: usize) -> Result<bool, DiskError> {
        self.disk.try_send(&self.torrent, Job::Verify { piece: self.piece(piece) }).unwrap();
        let mut answers = self.answers(writes + 1);
        for written in answers.drain(..writes) {
            assert!(matches!(written, Done::Written { result: Ok(()), .. }), "{written:?}");
        }
        match answers.pop() {
            Some(Done::Verified { piece: p, result }) if p.get() == piece => result,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn blocks_in_any_order_make_a_good_piece() {
    let length = PIECE as usize + 50_000;
    let orders: [&[u32]; 5] = [
        &[0, 1, 2, 3, 4, 5, 6, 7],
        &[7, 6, 5, 4, 3, 2, 1, 0],
        &[1, 3, 0, 5, 2, 7, 4, 6],
        &[0, 1, 1, 2, 3, 0, 4, 5, 6, 7],
        &[4, 5, 6, 7, 0, 1, 2, 3],
    ];
    for order in orders {
        let mut bench = Bench::new(length);
        for (sent, n) in order.iter().enumerate() {
            bench.write(0, *n);
            // One at a time for the first ones, together for the rest.
            if sent < 4 {
                bench.answers(1);
            }
        }
        bench.write(1, 1);
        assert!(bench.verdict(0, order.len() - 3).unwrap(), "{order:?}");
        assert!(bench.verdict(1, 0).is_err(), "a block is missing");
        bench.write(1, 3);
        bench.write(1, 0);
        bench.write(1, 2);
        assert!(bench.verdict(1, 3).unwrap());
        let two = fs::read(bench.dir.join("two")).unwrap();
        assert!(two == bench.content[20_000..], "{order:?}");
    }
}

#[test]
fn mixed_pieces_are_all_good_even_when_they_outnumber_the_hash_cursors() {
    let pieces = cursors::MAX_CURSORS as u32 + 16;
    let mut bench = Bench::new((pieces * PIECE) as usize);
    for n in [0, 2, 1, 3, 4, 5, 7, 6] {
        for piece in 0..pieces {
            bench.write(piece, n);
            if piece % 32 == 31 {
                bench.answers(32);
            }
        }
        bench.answers(pieces as usize % 32);
    }
    for piece in 0..pieces {
        assert!(bench.verdict(piece, 0).unwrap(), "piece {piece}");
    }
}

#[test]
fn a_wrong_byte_makes_a_bad_piece_until_it_is_written_again() {
    let mut bench = Bench::new(2 * PIECE as usize);
    for n in [0, 1, 2, 3, 5, 6, 7] {
        bench.write(0, n);
    }
    let block = bench.block(0, 4);
    let mut data = bench.data(block);
    data[100] ^= 1;
    bench.disk.try_send(&bench.torrent, Job::Write { block, data }).unwrap();
    assert!(!bench.verdict(0, 8).unwrap());
    assert!(!bench.verdict(0, 0).unwrap(), "and read back it is no better");
    bench.write(0, 4);
    assert!(bench.verdict(0, 1).unwrap());
}

#[test]
fn what_somebody_cuts_off_while_it_is_written_is_noticed_and_not_taken_for_hashed() {
    let mut bench = Bench::new(2 * PIECE as usize);
    (2..7).for_each(|n| bench.write(0, n));
    bench.answers(5);
    let two = fs::File::options().write(true).open(bench.dir.join("two")).unwrap();
    two.set_len(2 * u64::from(BLOCK_LENGTH)).unwrap();
    bench.write(0, 7);
    let answers = bench.answers(2);
    assert!(matches!(&answers[0], Done::Cut(files) if *files == [1]), "{answers:?}");
    (0..2).for_each(|n| bench.write(0, n));
    assert!(!bench.verdict(0, 2).unwrap(), "told once, and read again");
    (2..7).for_each(|n| bench.write(0, n));
    assert!(bench.verdict(0, 5).unwrap());
}

#[test]
fn the_buffer_comes_back_with_the_answer() {
    let mut bench = Bench::new(PIECE as usize);
    let block = bench.block(0, 0);
    let data = bench.data(block);
    let place = data.as_ptr();
    bench.disk.try_send(&bench.torrent, Job::Write { block, data }).unwrap();
    match bench.answers(1).pop() {
        Some(Done::Written { block: b, data, result: Ok(()) }) => {
            assert_eq!((b, data.as_ptr()), (block, place));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_write_that_fails_is_told_and_the_others_are_tried() {
    let mut bench = Bench::new(PIECE as usize);
    // The first file takes blocks 0 and a part of 1; a directory is in its place.
    fs::create_dir_all(bench.dir.join("one")).unwrap();
    for n in 0..8 {
        bench.write(0, n);
    }
    for done in bench.answers(8) {
        let Done::Written { block, data, result } = done else { panic!("{done:?}") };
        assert_eq!(data.len(), BLOCK_LENGTH as usize);
        assert_eq!(result.is_err(), block.begin() < 20_000, "{block:?}");
        if let Err(error) = result {
            assert!(error.to_string().starts_with("cannot write"), "{error}");
        }
    }
    assert!(bench.verdict(0, 0).is_err());
    fs::remove_dir(bench.dir.join("one")).unwrap();
    bench.write(0, 1);
    bench.write(0, 0);
    assert!(bench.verdict(0, 2).unwrap());
    bench.disk.try_send(&bench.torrent, Job::Sync).unwrap();
    assert!(matches!(bench.answers(1).pop(), Some(Done::Synced(Ok(())))));
}

#[test]
fn what_was_hashed_and_then_not_written_does_not_count() {
    let faults = Faults::planned();
    let options = Options { faults: faults.clone(), ..Options::default() };
    let mut bench = Bench::with_options(PIECE as usize, 64, options);
    fs::create_dir_all(&bench.dir).unwrap();
    fs::write(bench.dir.join("one"), [7; 20_000]).unwrap();
    // The run, and then the block by itself.
    faults.inject(Call::Write, 0..2, Fault::Error(5));
    bench.write(0, 0);
    assert!(matches!(bench.answers(1)[..], [Done::Written { result: Err(_), .. }]));
    (1..8).for_each(|n| bench.write(0, n));
    assert!(!bench.verdict(0, 7).unwrap(), "the file has other bytes there");
    bench.write(0, 0);
    assert!(bench.verdict(0, 1).unwrap());
}

#[test]
fn ready_gives_the_parts_and_refuses_a_file_that_is_too_short() {
    let mut bench = Bench::new(PIECE as usize);
    let range = bench.torrent.geometry.range(0, 10_000, 50_000).unwrap();
    fs::create_dir(&bench.dir).unwrap();
    fs::write(bench.dir.join("one"), &bench.content[..20_000]).unwrap();
    fs::write(bench.dir.join("two"), &bench.content[20_000..60_000]).unwrap();
    assert!(bench.torrent.storage.parts_if_open(range).is_none(), "not open yet");
    bench.disk.try_send(&bench.torrent, Job::Ready { range }).unwrap();
    match bench.answers(1).pop() {
        Some(Done::Ready { range: r, result: Ok(parts) }) => {
            let parts: Vec<_> = parts.iter().map(|p| (p.offset, p.length)).collect();
            assert_eq!((r, parts), (range, vec![(10_000, 10_000), (0, 40_000)]));
        }
        other => panic!("{other:?}"),
    }
    let beyond = bench.torrent.geometry.range(0, 10_000, 50_001).unwrap();
    bench.disk.try_send(&bench.torrent, Job::Ready { range: beyond }).unwrap();
    match bench.answers(1).pop() {
        Some(Done::Ready { result: Err(error), .. }) => assert!(error.is_absent(), "{error}"),
        other => panic!("{other:?}"),
    }
    let parts = bench.torrent.storage.parts_if_open(range).unwrap();
    assert_eq!(parts.iter().map(|p| p.length).sum::<u64>(), 50_000);
}

#[test]
fn dropping_it_finishes_what_is_queued_though_nobody_empties_the_mailbox() {
    let mut bench = Bench::with_mailbox(2 * PIECE as usize, 1);
    for n in 0..16 {
        bench.write(n / 8, n % 8);
    }
    let (post, _mailbox) = mailbox::<Answer>(1, bench.reactor.waker());
    let other = Disk::start(1 << 20, post).unwrap();
    drop(std::mem::replace(&mut bench.disk, other));
    let two = fs::read(bench.dir.join("two")).unwrap();
    assert!(two == bench.content[20_000..]);
}

#[test]
fn a_full_queue_gives_the_job_back() {
    let bench = Bench::with_mailbox(PIECE as usize, 1);
    let piece = bench.piece(0);
    // With nobody reading the answers the worker stops after two; then the queue fills.
    let refused = (0..WRITE_QUEUE + 2 * 128 + 10)
        .find_map(|_| bench.disk.try_send(&bench.torrent, Job::Verify { piece }).err());
    assert_eq!(refused, Some(Job::Verify { piece }));
}

#[test]
fn the_triple_check_sees_what_changed_on_the_disk() {
    for triple_check in [false, true] {
        let faults = Faults::planned();
        let options = Options { triple_check, faults: faults.clone(), ..Options::default() };
        let mut bench = Bench::with_options(2 * PIECE as usize, 64, options);
        for n in 0..8 {
            bench.write(0, n);
        }
        bench.answers(8);
        // As if the disk gave back something else than it was given.
        let two = fs::read(bench.dir.join("two")).unwrap();
        fs::write(bench.dir.join("two"), [&two[..500], &[!two[500]], &two[501..]].concat())
            .unwrap();
        assert_eq!(bench.verdict(0, 0).unwrap(), !triple_check);
        assert_eq!(faults.count(Call::Sync), if triple_check { 2 } else { 0 });
        bench.write(0, 1);
        assert!(bench.verdict(0, 1).unwrap(), "written once more");
        faults.inject(Call::Sync, 0..1, Fault::Error(5));
        assert_eq!(bench.verdict(0, 0).is_err(), triple_check, "not on the disk, not had");
    }
}

#[test]
fn without_a_write_buffer_each_block_is_written_by_itself() {
    for (write_buffer, calls) in [(0, 10), (1 << 20, 4)] {
        let faults = Faults::planned();
        let options = Options { write_buffer, faults: faults.clone(), ..Options::default() };
        let mut bench = Bench::with_options(2 * PIECE as usize, 1, options);
        // The second answer waits for room, and meanwhile the rest comes together.
        bench.write(0, 0);
        bench.write(0, 2);
        let end = Instant::now() + Duration::from_secs(20);
        while faults.count(Call::Write) < 2 {
            assert!(Instant::now() < end);
            std::thread::yield_now();
        }
        for n in 0..8 {
            bench.write(1, n);
        }
        bench.answers(10);
        assert_eq!(faults.count(Call::Write), calls, "{write_buffer} bytes");
    }
}

#[test]
fn a_warning_comes_with_the_first_answer() {
    let faults = Faults::planned();
    faults.inject(Call::Lock, 0..9, Fault::Error(37));
    let options = Options { locks: Locks::Written, faults, ..Options::default() };
    let mut bench = Bench::with_options(2 * PIECE as usize, 64, options);
    bench.write(1, 0);
    let answers = bench.answers(2);
    assert!(matches!(&answers[0], Done::Written { result: Ok(()), .. }));
    assert!(matches!(&answers[1], Done::Warning(text) if text.contains("cannot lock files")));
    bench.disk.try_send(&bench.torrent, Job::Flush).unwrap();
    assert!(matches!(bench.answers(1)[..], [Done::Flushed(Ok(()))]));
}
