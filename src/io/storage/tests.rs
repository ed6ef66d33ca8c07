use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// An empty folder that is gone with the test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bittornado-storage-{}-{n}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir(&dir).unwrap();
        Dir(dir)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn storage(root: &Path, piece: u32, files: &[(&str, u64)], options: impl Into<Options>) -> Storage {
    let geometry = Geometry::new(piece, files.iter().map(|f| f.1)).unwrap();
    let files = files.iter().map(|(p, l)| FileEntry::new(p.into(), *l)).collect();
    Storage::new(root.into(), files, Arc::new(geometry), options)
}

fn range(storage: &Storage, piece: u32, begin: u32, length: u32) -> BlockRef {
    storage.geometry().range(piece, begin, length).unwrap()
}

#[test]
fn a_range_over_many_files_is_written_and_read_back() {
    let dir = Dir::new();
    let s = storage(
        &dir.join("t"),
        100,
        &[("a", 30), ("e", 0), ("d/b", 5), ("d/x/c", 80)],
        Links::Refuse,
    );
    s.prepare().unwrap();
    assert_eq!(fs::read(dir.join("t/e")).unwrap(), b"");
    assert!(!dir.join("t/a").exists(), "files come with their first byte");
    let data: Vec<u8> = (0..100).collect();
    let (one, two) = data[..90].split_at(33);
    s.write_vectored(range(&s, 0, 10, 90), &[one, b"", two]).unwrap();
    let mut back = [0; 90];
    s.read(range(&s, 0, 10, 90), &mut back).unwrap();
    assert_eq!(back, data[..90]);
    assert_eq!(fs::read(dir.join("t/a")).unwrap(), [&[0; 10], &data[..20]].concat());
    assert_eq!(fs::read(dir.join("t/d/b")).unwrap(), &data[20..25]);
    assert_eq!(fs::read(dir.join("t/d/x/c")).unwrap(), &data[25..90]);
    let parts = s.parts(range(&s, 0, 28, 10)).unwrap();
    let parts: Vec<_> = parts.iter().map(|p| (p.offset, p.length)).collect();
    assert_eq!(parts, [(28, 2), (0, 5), (0, 3)]);
    s.sync().unwrap();
}

#[test]
fn more_buffers_than_one_call_takes_are_all_written() {
    let dir = Dir::new();
    let s = storage(&dir.join("f"), 256, &[("", 256)], Links::Refuse);
    let data: Vec<u8> = (0..=255).collect();
    let pieces: Vec<&[u8]> = data.chunks(3).collect();
    assert!(pieces.len() > BUFFERS_A_CALL);
    s.write_vectored(range(&s, 0, 0, 256), &pieces).unwrap();
    assert_eq!(fs::read(dir.join("f")).unwrap(), data);
}

#[test]
fn what_is_missing_or_short_is_absent_and_other_trouble_is_not() {
    let dir = Dir::new();
    let s = storage(&dir.join("t"), 100, &[("a", 100), ("b", 100), ("c", 100)], Links::Refuse);
    let mut buffer = [0; 100];
    assert!(s.read(range(&s, 0, 0, 100), &mut buffer).unwrap_err().is_absent());
    fs::create_dir_all(dir.join("t/c")).unwrap();
    fs::write(dir.join("t/a"), [1; 99]).unwrap();
    let error = s.read(range(&s, 0, 0, 100), &mut buffer).unwrap_err();
    assert!(error.is_absent());
    assert!(error.to_string().ends_with("t/a': the file is too short"), "{error}");
    assert!(s.read(range(&s, 1, 0, 100), &mut buffer).unwrap_err().is_absent());
    let error = s.read(range(&s, 2, 0, 100), &mut buffer).unwrap_err();
    assert!(!error.is_absent());
    assert!(error.to_string().ends_with("t/c': it is a directory"), "{error}");
    assert!(!dir.join("t/b").exists(), "reading makes nothing");
}

#[test]
fn symbolic_links_beneath_the_root_are_refused_unless_wanted() {
    let dir = Dir::new();
    fs::create_dir_all(dir.join("out")).unwrap();
    fs::create_dir_all(dir.join("real")).unwrap();
    symlink(dir.join("real"), dir.join("t")).unwrap();
    symlink(dir.join("out"), dir.join("real/d")).unwrap();
    symlink(dir.join("out/g"), dir.join("real/f")).unwrap();
    let files = [("d/a", 10), ("f", 10)];
    let s = storage(&dir.join("t"), 10, &files, Links::Refuse);
    for piece in [0, 1] {
        let error = s.write(range(&s, piece, 0, 10), &[1; 10]).unwrap_err();
        assert!(error.to_string().ends_with("a symbolic link is in the way"), "{error}");
        assert!(s.read(range(&s, piece, 0, 10), &mut [0; 10]).is_err());
    }
    assert!(s.prepare().is_err());
    assert_eq!(fs::read_dir(dir.join("out")).unwrap().count(), 0);
    let s = storage(&dir.join("t"), 10, &files, Links::Follow);
    s.prepare().unwrap();
    s.write(range(&s, 0, 0, 10), &[1; 10]).unwrap();
    s.write(range(&s, 1, 0, 10), &[2; 10]).unwrap();
    assert_eq!(fs::read(dir.join("out/a")).unwrap(), [1; 10]);
    assert_eq!(fs::read(dir.join("out/g")).unwrap(), [2; 10]);
}

#[test]
fn names_that_lead_out_of_the_root_are_refused() {
    let dir = Dir::new();
    for name in ["../a", "/etc/bittornado/a", "d/../../a", ".."] {
        let s = storage(&dir.join("t"), 10, &[(name, 10)], Links::Follow);
        assert!(s.write(range(&s, 0, 0, 10), &[1; 10]).is_err(), "{name}");
        assert!(!dir.join("a").exists());
    }
}

#[test]
fn prepare_refuses_what_is_in_the_way_and_makes_nothing() {
    let dir = Dir::new();
    let refused = |files: &[(&str, u64)], why: &str| {
        let s = storage(&dir.join("t"), 10, files, Links::Refuse);
        let error = s.prepare().unwrap_err().to_string();
        assert!(error.ends_with(why), "{error}");
        assert!(!dir.join("t/empty").exists());
    };
    fs::write(dir.join("t"), b"").unwrap();
    refused(&[("empty", 0), ("a", 5)], "t': Not a directory");
    fs::remove_file(dir.join("t")).unwrap();
    fs::create_dir_all(dir.join("t/d")).unwrap();
    refused(&[("", 5)], "t': it is a directory");
    refused(&[("empty", 0), ("d", 5)], "d': it is a directory");
    fs::write(dir.join("t/a"), b"123456").unwrap();
    refused(&[("empty", 0), ("a", 5)], "t/a': it has 6 bytes, the torrent says 5");
    assert_eq!(fs::read(dir.join("t/a")).unwrap(), b"123456");
    refused(&[("empty", 0), ("a/b", 5)], "t/a/b': Not a directory");
    let socket = std::os::unix::net::UnixListener::bind(dir.join("t/s")).unwrap();
    refused(&[("empty", 0), ("s", 5)], "t/s': it is not a regular file");
    drop(socket);
}

#[test]
fn prepare_makes_the_folders_above_a_new_root() {
    let dir = Dir::new();
    let s = storage(&dir.join("x/y/t"), 10, &[("d/empty", 0), ("a", 5)], Links::Refuse);
    s.prepare().unwrap();
    assert_eq!(fs::metadata(dir.join("x/y/t/d/empty")).unwrap().len(), 0);
    s.prepare().unwrap();
    let s = storage(&dir.join("z/file"), 10, &[("", 5)], Links::Refuse);
    s.prepare().unwrap();
    s.write(range(&s, 0, 0, 5), b"12345").unwrap();
    assert_eq!(fs::read(dir.join("z/file")).unwrap(), b"12345");
}

#[test]
fn a_place_that_cannot_be_written_matters_only_if_something_is_missing() {
    // /proc refuses new files even to root.
    let s = storage(Path::new("/proc/bittornado"), 10, &[("a", 5)], Links::Refuse);
    let error = s.prepare().unwrap_err();
    assert!(!error.is_absent() && error.to_string().starts_with("cannot "), "{error}");
    // /proc/self/comm has no length, so this torrent lacks nothing there.
    storage(Path::new("/proc/self"), 10, &[("comm", 0)], Links::Refuse).prepare().unwrap();
}

#[test]
fn a_file_being_read_is_reopened_for_writing_and_few_stay_open() {
    let dir = Dir::new();
    let names: Vec<String> = (0..MAX_FILES_OPEN * 2).map(|n| format!("f{n}")).collect();
    let files: Vec<(&str, u64)> = names.iter().map(|n| (n.as_str(), 10)).collect();
    let s = storage(&dir.join("t"), 10, &files, Links::Refuse);
    for round in 1..=2 {
        for piece in s.geometry().pieces() {
            s.write(s.geometry().whole_piece(piece), &[round; 10]).unwrap();
            let mut buffer = [0; 10];
            s.read(s.geometry().whole_piece(piece), &mut buffer).unwrap();
            assert_eq!(buffer, [round; 10]);
            assert!(s.handles().count() <= MAX_FILES_OPEN);
        }
    }
    assert_eq!(s.handles().dirty.len(), names.len());
    s.sync().unwrap();
    assert_eq!(s.handles().dirty.len(), 0);
    let again = storage(&dir.join("t"), 10, &files, Links::Refuse);
    again.read(range(&again, 0, 0, 10), &mut [0; 10]).unwrap();
    again.write(range(&again, 0, 0, 10), &[3; 10]).unwrap();
    assert_eq!((again.handles().count(), fs::read(dir.join("t/f0")).unwrap()), (1, vec![3; 10]));
}

fn with_faults() -> (Options, Faults) {
    let faults = Faults::planned();
    (Options { faults: faults.clone(), ..Options::default() }, faults)
}

const EIO: i32 = 5;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;

#[test]
fn faults_come_when_they_were_planned_and_name_operation_and_path() {
    let dir = Dir::new();
    let (options, faults) = with_faults();
    let s = storage(&dir.join("f"), 100, &[("", 100)], options);
    let mut back = [0; 100];
    s.write(range(&s, 0, 0, 50), &[1; 50]).unwrap();
    faults.inject(Call::Write, 1..2, Fault::Error(ENOSPC));
    s.write(range(&s, 0, 50, 20), &[2; 20]).unwrap();
    let error = s.write(range(&s, 0, 70, 30), &[3; 30]).unwrap_err();
    let told = format!("cannot write '{}': No space left on device", dir.join("f").display());
    assert_eq!(error.to_string(), told);
    assert!(error.is_transient());
    s.write(range(&s, 0, 70, 30), &[3; 30]).unwrap();
    faults.inject(Call::Read, 0..usize::MAX, Fault::Error(EIO));
    let error = s.read(range(&s, 0, 0, 100), &mut back).unwrap_err();
    assert!(error.to_string().ends_with("f': Input/output error"), "{error}");
    assert!(!error.is_absent());
    faults.clear();
    s.read(range(&s, 0, 0, 100), &mut back).unwrap();
    assert_eq!(back[..], [[1; 50].as_slice(), &[2; 20], &[3; 30]].concat());
    faults.inject(Call::Sync, 0..1, Fault::Error(EIO));
    assert!(s.sync().unwrap_err().to_string().starts_with("cannot sync '"));
    s.sync().unwrap();
    assert_eq!(faults.count(Call::Sync), 2, "what failed is tried again");
}

#[test]
fn short_reads_and_writes_go_on_where_they_stopped() {
    let dir = Dir::new();
    let (options, faults) = with_faults();
    let s = storage(&dir.join("t"), 100, &[("a", 60), ("b", 40)], options);
    let data: Vec<u8> = (0..100).collect();
    faults.inject(Call::Write, 0..70, Fault::Short);
    faults.inject(Call::Read, 10..80, Fault::Short);
    s.write_vectored(range(&s, 0, 0, 100), &[&data[..7], &data[7..]]).unwrap();
    let mut back = [0; 100];
    for _ in 0..2 {
        back.fill(0);
        s.read(range(&s, 0, 0, 100), &mut back).unwrap();
        assert_eq!(back[..], data);
    }
    assert!(faults.count(Call::Write) > 70);
}

#[test]
fn files_are_given_up_for_the_one_that_is_needed_when_descriptors_run_out() {
    let dir = Dir::new();
    let (options, faults) = with_faults();
    let s = storage(&dir.join("t"), 10, &[("a", 10), ("b", 10), ("c", 10)], options);
    s.write(range(&s, 0, 0, 10), &[1; 10]).unwrap();
    s.write(range(&s, 1, 0, 10), &[1; 10]).unwrap();
    faults.inject(Call::Open, 0..1, Fault::Error(EMFILE));
    s.write(range(&s, 2, 0, 10), &[1; 10]).unwrap();
    assert_eq!(s.handles().count(), 1);
    faults.inject(Call::Open, 0..2, Fault::Error(EMFILE));
    let error = s.write(range(&s, 0, 0, 10), &[1; 10]).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("Too many open files"), "{error}");
}

#[test]
fn a_file_that_another_program_has_locked_is_an_error_at_once() {
    let dir = Dir::new();
    let options = |locks| Options { locks, ..Options::default() };
    let open = |locks| storage(&dir.join("f"), 100, &[("", 100)], options(locks));
    let (mine, other) = (open(Locks::Written), open(Locks::Written));
    mine.write(range(&mine, 0, 0, 10), &[1; 10]).unwrap();
    let error = other.write(range(&other, 0, 0, 10), &[2; 10]).unwrap_err();
    assert!(error.to_string().ends_with("f': another program has locked it"), "{error}");
    assert!(!error.is_transient());
    other.read(range(&other, 0, 0, 10), &mut [0; 10]).unwrap();
    let careful = open(Locks::All);
    assert!(careful.read(range(&careful, 0, 0, 10), &mut [0; 10]).is_err());
    open(Locks::None).write(range(&mine, 0, 20, 10), &[3; 10]).unwrap();
    // Closed, it is free, even while somebody still sends from it.
    let parts = mine.parts(range(&mine, 0, 0, 10)).unwrap();
    mine.flush().unwrap();
    careful.read(range(&careful, 0, 0, 10), &mut [0; 10]).unwrap();
    open(Locks::All).read(range(&mine, 0, 0, 10), &mut [0; 10]).unwrap();
    assert!(other.write(range(&other, 0, 0, 10), &[2; 10]).is_err(), "somebody reads it");
    // Its own lock for reading is in nobody's way.
    let sent = careful.parts(range(&careful, 0, 0, 10)).unwrap();
    careful.write(range(&careful, 0, 0, 10), &[2; 10]).unwrap();
    assert_eq!((parts.len(), sent.len()), (1, 1));
    assert!(open(Locks::All).read(range(&mine, 0, 0, 10), &mut [0; 10]).is_err());
}

#[test]
fn where_there_are_no_locks_it_says_so_once_and_goes_on() {
    let dir = Dir::new();
    let (options, faults) = with_faults();
    let options = Options { locks: Locks::Written, ..options };
    let s = storage(&dir.join("t"), 10, &[("a", 10), ("b", 10)], options);
    const ENOLCK: i32 = 37;
    faults.inject(Call::Lock, 0..usize::MAX, Fault::Error(ENOLCK));
    assert_eq!(s.warning(), None);
    s.write(range(&s, 0, 0, 10), &[1; 10]).unwrap();
    let told = format!("cannot lock files in '{}', going on", dir.join("t").display());
    assert_eq!(s.warning(), Some(told));
    s.write(range(&s, 1, 0, 10), &[1; 10]).unwrap();
    assert_eq!((s.warning(), faults.count(Call::Lock)), (None, 1));
}

#[test]
fn a_flush_closes_what_was_written_and_leaves_the_rest_open() {
    let dir = Dir::new();
    let (options, faults) = with_faults();
    let s = storage(&dir.join("t"), 10, &[("a", 10), ("b", 10)], options);
    s.write(range(&s, 0, 0, 10), &[1; 10]).unwrap();
    s.write(range(&s, 1, 0, 10), &[1; 10]).unwrap();
    s.flush().unwrap();
    assert_eq!((s.handles().count(), faults.count(Call::Sync)), (0, 2));
    s.read(range(&s, 0, 0, 10), &mut [0; 10]).unwrap();
    s.flush().unwrap();
    assert_eq!((s.handles().count(), faults.count(Call::Sync)), (1, 2));
}

fn allocated(s: &Storage) -> Result<u64, DiskError> {
    let (mut steps, mut settled) = (s.allocate(), 0);
    while let Some(step) = steps.step(100_000) {
        settled += step?;
    }
    Ok(settled)
}

/// Two files of 300,000 bytes, of which the first has a hole between two pieces of data, and one
/// that is empty; its options with this allocation, and the data of the first.
fn half_there(dir: &Dir, allocation: Allocation) -> (Storage, Faults, Vec<u8>) {
    let (options, faults) = with_faults();
    let options = Options { allocation, ..options };
    let files = [("d/a", 300_000), ("b", 300_000), ("empty", 0)];
    let s = storage(&dir.join("t"), 1 << 18, &files, options);
    s.prepare().unwrap();
    s.write(range(&s, 0, 0, 5000), &[1; 5000]).unwrap();
    s.write(range(&s, 0, 200_000, 5001), &[2; 5001]).unwrap();
    let data = [&[1; 5000][..], &[0; 195_000], &[2; 5001]].concat();
    assert_eq!(fs::read(dir.join("t/d/a")).unwrap(), data);
    (s, faults, data)
}

fn space(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn sparse_files_have_their_length_and_no_space_from_the_start() {
    let dir = Dir::new();
    let (s, _, data) = half_there(&dir, Allocation::Sparse);
    assert_eq!(allocated(&s).unwrap(), 600_000);
    let a = fs::read(dir.join("t/d/a")).unwrap();
    assert_eq!(a.len(), 300_000);
    assert_eq!((&a[..data.len()], space(&dir.join("t/b"))), (&data[..], 0));
    assert_eq!(fs::metadata(dir.join("t/b")).unwrap().len(), 300_000);
    assert_eq!(fs::metadata(dir.join("t/empty")).unwrap().len(), 0);
}

#[test]
fn all_space_is_claimed_and_the_data_stays() {
    for (allocation, lacks) in [
        (Allocation::Full, false),
        (Allocation::Full, true),
        (Allocation::Background { rate: 1 }, false),
    ] {
        let dir = Dir::new();
        let (s, faults, data) = half_there(&dir, allocation);
        const EOPNOTSUPP: i32 = 95;
        if lacks {
            faults.inject(Call::Claim, 0..usize::MAX, Fault::Error(EOPNOTSUPP));
            faults.inject(Call::Write, 1..3, Fault::Short);
        }
        assert_eq!(allocated(&s).unwrap(), 600_000);
        let a = fs::read(dir.join("t/d/a")).unwrap();
        assert_eq!(a.len(), 300_000);
        assert!(a[..data.len()] == data && a[data.len()..].iter().all(|byte| *byte == 0));
        for name in ["t/d/a", "t/b"] {
            assert!(space(&dir.join(name)) >= 300_000, "{name}, {allocation:?}, {lacks}");
        }
        assert_eq!(faults.count(Call::Claim), 6);
        assert_eq!(allocated(&s).unwrap(), 600_000);
        assert_eq!(faults.count(Call::Claim), 6, "all is claimed");
    }
}

#[test]
fn nothing_is_written_in_the_background_where_space_cannot_be_claimed() {
    let dir = Dir::new();
    let (s, faults, data) = half_there(&dir, Allocation::Background { rate: 1 });
    faults.inject(Call::Claim, 0..usize::MAX, Fault::Error(95));
    let error = allocated(&s).unwrap_err();
    let told = format!(
        "cannot allocate '{}': its file system cannot claim space without writing",
        dir.join("t/d/a").display()
    );
    assert_eq!(error.to_string(), told);
    assert_eq!(fs::read(dir.join("t/d/a")).unwrap(), data);
}

#[test]
fn what_does_not_fit_is_not_started() {
    let dir = Dir::new();
    let files = [("a", 1u64 << 50), ("empty", 0)];
    let options = Options { allocation: Allocation::Full, ..Options::default() };
    let s = storage(&dir.join("x/t"), 1 << 27, &files, options);
    let error = s.prepare().unwrap_err();
    let told =
        format!("cannot allocate '{}': 1073741824 MiB are needed, ", dir.join("x/t").display());
    assert!(error.to_string().starts_with(&told), "{error}");
    assert!(error.to_string().ends_with(" MiB are free") && error.is_transient(), "{error}");
    assert!(!dir.join("x").exists());
    let s = storage(&dir.join("x/t"), 1 << 27, &files, Options::default());
    s.prepare().unwrap();
}

/// Files with their use, in pieces of 100 bytes, and the place for what is kept aside.
fn mixed(dir: &Dir, files: &[(&str, u64, Use)]) -> Storage {
    let geometry = Geometry::new(100, files.iter().map(|f| f.1)).unwrap();
    let entry = |f: &(&str, u64, Use)| FileEntry { path: f.0.into(), length: f.1, used: f.2 };
    let options = Options { aside: Some(dir.join("state/x/parts")), ..Options::default() };
    let files = files.iter().map(entry).collect();
    Storage::new(dir.join("t"), files, Arc::new(geometry), options)
}

#[test]
fn bytes_of_unwanted_files_are_kept_aside_and_move_in_when_they_are_wanted() {
    use Use::{Unwanted, Wanted};
    let dir = Dir::new();
    let content: Vec<u8> = (1..=250).cycle().take(12_000).collect();
    // `b` shares piece 0 with `a`, and piece 90 with `c`.
    let files = |b| [("a", 50, Wanted), ("d/b", 9000, b), ("c", 2950, Wanted), ("e", 0, b)];
    let s = mixed(&dir, &files(Unwanted));
    s.prepare().unwrap();
    for piece in [0, 90] {
        let whole = s.geometry().whole_piece(s.geometry().piece(piece).unwrap());
        let data = &content[piece as usize * 100..][..100];
        assert!(s.read(whole, &mut [0; 100]).unwrap_err().is_absent());
        s.write(whole, data).unwrap();
        let mut back = [0; 100];
        s.read(whole, &mut back).unwrap();
        assert_eq!(back, data);
        let parts = s.parts(whole).unwrap();
        let sent = parts.iter().flat_map(|part| {
            let mut bytes = vec![0; part.length as usize];
            sys::pread(&part.file, &mut bytes, part.offset).unwrap();
            bytes
        });
        assert!(sent.eq(data.iter().copied()));
        assert!(s.parts_if_open(whole).is_some());
    }
    s.sync().unwrap();
    assert!(s.is_aside(1) && !s.is_aside(0));
    assert!(!dir.join("t/d").exists() && !dir.join("t/e").exists());
    assert_eq!(fs::read(dir.join("t/a")).unwrap(), &content[..50]);
    // Nobody wants any file of piece 5: it cannot be there, and nothing is read to find that out.
    let error = s.read(range(&s, 5, 0, 100), &mut [0; 100]).unwrap_err();
    assert!(error.is_absent() && error.to_string().contains("state/x/parts"), "{error}");

    let again = mixed(&dir, &files(Unwanted));
    again.prepare().unwrap();
    let mut back = [0; 100];
    again.read(range(&again, 0, 0, 100), &mut back).unwrap();
    assert_eq!(back, content[..100]);

    let all = mixed(&dir, &files(Wanted));
    all.prepare().unwrap();
    assert!(all.has_moved_in(1) && !all.has_moved_in(0) && !all.is_aside(1));
    for piece in [0, 90] {
        all.read(range(&all, piece, 0, 100), &mut back).unwrap();
        assert_eq!(back, content[piece as usize * 100..][..100]);
    }
    assert_eq!(fs::metadata(dir.join("t/e")).unwrap().len(), 0);
    // What is at its place stays there, wanted or not, and what is in it is not written over.
    fs::write(dir.join("t/d/b"), [7; 9000]).unwrap();
    for b in [Unwanted, Wanted] {
        let s = mixed(&dir, &files(b));
        s.prepare().unwrap();
        assert!(!s.is_aside(1) && !s.has_moved_in(1));
        assert_eq!(fs::read(dir.join("t/d/b")).unwrap(), [7; 9000]);
    }
}

#[test]
fn an_unwanted_file_that_is_not_ours_is_left_alone() {
    let dir = Dir::new();
    let files = [("a", 50, Use::Wanted), ("b", 50, Use::Unwanted)];
    fs::create_dir(dir.join("t")).unwrap();
    fs::write(dir.join("t/b"), [7; 60]).unwrap();
    let s = mixed(&dir, &files);
    s.prepare().unwrap();
    s.write(range(&s, 0, 0, 100), &[1; 100]).unwrap();
    assert_eq!(fs::read(dir.join("t/b")).unwrap(), [7; 60]);
    let mut back = [0; 100];
    s.read(range(&s, 0, 0, 100), &mut back).unwrap();
    assert_eq!(back, [1; 100]);
}

#[test]
fn padding_reads_as_zeros_and_is_never_written() {
    let dir = Dir::new();
    let files = [("a", 60, Use::Wanted), (".pad/40", 40, Use::Pad), ("b", 100, Use::Wanted)];
    let s = mixed(&dir, &files);
    s.prepare().unwrap();
    let whole = range(&s, 0, 0, 100);
    let mut data = [9; 100];
    s.blank(whole, &mut data);
    assert_eq!(data, *[[9; 60].as_slice(), &[0; 40]].concat());
    s.write(whole, &[9; 100]).unwrap();
    let mut back = [1; 100];
    s.read(whole, &mut back).unwrap();
    assert_eq!(back, data);
    assert!(!dir.join("t/.pad").exists());
    let parts = s.parts(range(&s, 0, 50, 50)).unwrap();
    let mut sent = [1; 40];
    assert_eq!(sys::pread(&parts[1].file, &mut sent, parts[1].offset).unwrap(), 40);
    assert_eq!(sent, [0; 40]);
    assert!(s.parts_if_open(whole).is_some());
}

#[test]
fn a_root_that_was_replaced_is_found_again() {
    let dir = Dir::new();
    let s = storage(&dir.join("t"), 10, &[("d/a", 10), ("d/b", 10), ("d/c", 10)], Links::Refuse);
    s.write(range(&s, 0, 0, 10), &[1; 10]).unwrap();
    s.write(range(&s, 1, 0, 10), &[1; 10]).unwrap();
    fs::remove_dir_all(dir.join("t")).unwrap();
    s.write(range(&s, 2, 0, 10), &[1; 10]).unwrap();
    assert_eq!(fs::read(dir.join("t/d/c")).unwrap(), [1; 10]);
    // A link put in the way later is seen as well.
    fs::rename(dir.join("t/d"), dir.join("out")).unwrap();
    symlink(dir.join("out"), dir.join("t/d")).unwrap();
    s.flush().unwrap();
    let error = s.write(range(&s, 2, 0, 10), &[2; 10]).unwrap_err();
    assert!(error.to_string().ends_with("a symbolic link is in the way"), "{error}");
    assert_eq!(fs::read(dir.join("out/c")).unwrap(), [1; 10]);
}

#[test]
fn what_prepare_saw_of_the_files_is_told_once() {
    let dir = Dir::new();
    fs::write(dir.join("a"), [1; 30]).unwrap();
    let s = storage(&dir.0, 100, &[("a", 40), ("b", 10), ("e", 0)], Links::Refuse);
    s.prepare().unwrap();
    let sizes = || -> Vec<_> {
        s.stamps().unwrap().into_iter().map(|found| found.map(|stamp| stamp.size)).collect()
    };
    fs::write(dir.join("a"), [1; 40]).unwrap();
    fs::write(dir.join("b"), [1; 10]).unwrap();
    assert_eq!(sizes(), [Some(30), None, Some(0)], "as it was, and what prepare made");
    assert_eq!(sizes(), [Some(40), Some(10), Some(0)]);
    assert_eq!(s.stamp(0).unwrap(), s.stamps().unwrap()[0]);
}

#[test]
fn many_files_are_brought_to_the_disk_together() {
    let dir = Dir::new();
    let names: Vec<String> = (0..MANY_DIRTY + 1).map(|n| format!("d/f{n}")).collect();
    let files: Vec<(&str, u64)> = names.iter().map(|n| (n.as_str(), 10)).collect();
    let (options, faults) = with_faults();
    let s = storage(&dir.join("t"), 10, &files, options);
    let write = || {
        for piece in s.geometry().pieces() {
            s.write(s.geometry().whole_piece(piece), &[1; 10]).unwrap();
        }
    };
    write();
    s.sync().unwrap();
    assert_eq!((faults.count(Call::Sync), s.handles().dirty.len()), (1, 0));
    write();
    faults.inject(Call::Sync, 0..1, Fault::Error(EIO));
    s.sync().unwrap();
    assert_eq!(faults.count(Call::Sync), 2 + names.len(), "and else one by one");
    write();
    faults.inject(Call::Sync, 0..2, Fault::Error(EIO));
    assert!(s.sync().is_err());
    assert_eq!(s.handles().dirty.len(), 1);
}

#[test]
fn however_many_torrents_there_are_few_folders_stay_open() {
    let dir = Dir::new();
    let files = OpenFiles::new(2);
    let torrents: Vec<Storage> = (0..8)
        .map(|n| {
            let options = Options { open_files: Some(files.clone()), ..Options::default() };
            storage(&dir.join(&format!("t{n}")), 10, &[("d/a", 10), ("b", 10)], options)
        })
        .collect();
    for round in 0..2 {
        for (n, s) in torrents.iter().enumerate() {
            s.prepare().unwrap();
            s.write_vectored(range(s, 0, 0, 10), &[&[n as u8 + round; 10]]).unwrap();
            assert_eq!(s.length(0).unwrap(), Some(10));
            assert_eq!(fs::read(dir.join(&format!("t{n}/d/a"))).unwrap(), [n as u8 + round; 10]);
        }
    }
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let open = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    let folders = open.filter(|path| path.starts_with(&dir.0) && path.is_dir()).count();
    assert!(folders <= 2, "{folders}");
}
