//! The operator's lists: the folder or list of allowed torrents, and both lists of addresses.
//!
//! Read at the start by whoever starts the tracker, and from then on by a thread of its own, which
//! posts what has changed. A list that cannot be read any more stays as it was last known.

use crate::proto::sorted;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use crate::app::torrent_files::{self, Stamp};
use crate::io::mailbox::{JobSender, Post, jobs};
use crate::io::{plain, reason};
use crate::logic::registry::access::{Access, Allowed, Ranges, Torrent, torrent_list};
use crate::proto::bencode;
use crate::proto::ids::InfoHash;
use crate::proto::metainfo::{MAX_SIZE, Metainfo};

use super::Message;

/// Troubles of one reading that are told; of more only the number.
const MAX_TOLD: usize = 10;

/// Bytes of a list of addresses or torrents: a million lines, and room.
const MAX_LIST: u64 = 64 << 20;

/// Where it is written what is allowed.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A folder of .torrent files.
    pub folder: Option<PathBuf>,
    /// A file of info hashes; not read if there is a folder.
    pub list: Option<PathBuf>,
    /// Whether .torrent files may carry reasons to refuse or to warn.
    pub controls: bool,
    /// The only addresses that are served.
    pub allowed_ips: Option<PathBuf>,
    /// Addresses that are not served.
    pub banned_ips: Option<PathBuf>,
}

impl Sources {
    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        [&self.folder, &self.list, &self.allowed_ips, &self.banned_ips].iter().all(|p| p.is_none())
    }
}

/// What the lists say now.
#[derive(Debug, Clone, Default)]
pub struct Lists {
    /// For the registry.
    pub access: Access,
    /// Where the .torrent files of allowed torrents are.
    pub files: Arc<HashMap<InfoHash, PathBuf>>,
}

/// What came of a reading.
#[derive(Debug)]
pub struct News {
    /// The lists, if anything has changed.
    pub lists: Option<Lists>,
    /// What is wrong, each told only once.
    pub troubles: Vec<String>,
}

/// What was read from a .torrent file.
type Read = Result<(Hashes, Torrent), String>;

/// What a torrent is announced by: its info hash, and of a hybrid also what stands for that of
/// version 2 at trackers.
type Hashes = (InfoHash, Option<InfoHash>);

/// Reads the lists, and remembers what it read.
pub struct Reader {
    sources: Sources,
    lists: Lists,
    /// Every .torrent file, in order of the paths.
    torrents: sorted::Map<PathBuf, (Stamp, Read)>,
    stamps: HashMap<PathBuf, Stamp>,
    /// Troubles there were at the last reading.
    told: HashSet<String>,
}

impl Reader {
    /// Reads everything for the first time.
    ///
    /// # Errors
    /// The path that cannot be read, and why.
    pub fn new(sources: Sources) -> Result<(Reader, News), (PathBuf, io::Error)> {
        for path in [&sources.list, &sources.allowed_ips, &sources.banned_ips].into_iter().flatten()
        {
            // Read here only to see that it can be: without it everything would be allowed.
            plain::read(path, MAX_LIST).map_err(|e| (path.clone(), e))?;
        }
        if let Some(folder) = &sources.folder {
            fs::read_dir(folder).map_err(|e| (folder.clone(), e))?;
        }
        let mut reader = Reader {
            sources,
            lists: Lists::default(),
            torrents: sorted::Map::new(),
            stamps: HashMap::new(),
            told: HashSet::new(),
        };
        let news = reader.read();
        Ok((reader, news))
    }

    /// Reads what has changed since the last time.
    pub fn read(&mut self) -> News {
        let mut troubles = Vec::new();
        let mut changed = match (self.sources.folder.clone(), self.sources.list.clone()) {
            (Some(folder), _) => self.read_folder(&folder, &mut troubles),
            (None, Some(list)) => self.read_list(&list, &mut troubles),
            (None, None) => false,
        };
        if let Some(path) = self.sources.allowed_ips.clone() {
            if let Some(ranges) = self.ranges(&path, &mut troubles) {
                self.lists.access.allowed_ips = Some(ranges);
                changed = true;
            }
        }
        if let Some(path) = self.sources.banned_ips.clone() {
            if let Some(ranges) = self.ranges(&path, &mut troubles) {
                self.lists.access.banned_ips = Some(ranges);
                changed = true;
            }
        }
        let lists = changed.then(|| self.lists.clone());
        News { lists, troubles: self.untold(troubles) }
    }

    /// Troubles that were not there at the last reading, or only how many there are.
    fn untold(&mut self, troubles: Vec<String>) -> Vec<String> {
        let known = std::mem::take(&mut self.told);
        self.told.extend(troubles.iter().cloned());
        let mut new: Vec<String> = troubles.into_iter().filter(|t| !known.contains(t)).collect();
        if new.len() > MAX_TOLD {
            let more = new.len() - MAX_TOLD;
            new.truncate(MAX_TOLD);
            new.push(format!("and {more} more like these"));
        }
        new
    }

    /// The bytes of a list, if it has changed.
    fn changed(&mut self, path: &Path, troubles: &mut Vec<String>) -> Option<Vec<u8>> {
        let unreadable = |e: &io::Error| format!("cannot read '{}': {}", path.display(), reason(e));
        let stamp = match fs::metadata(path) {
            Ok(metadata) => Stamp::of(&metadata),
            Err(e) => {
                troubles.push(unreadable(&e));
                return None;
            }
        };
        if self.stamps.get(path) == Some(&stamp) {
            return None;
        }
        match plain::read(path, MAX_LIST) {
            Ok(bytes) => {
                self.stamps.insert(path.to_path_buf(), stamp);
                Some(bytes)
            }
            Err(e) => {
                troubles.push(unreadable(&e));
                None
            }
        }
    }

    fn ranges(&mut self, path: &Path, troubles: &mut Vec<String>) -> Option<Arc<Ranges>> {
        let (ranges, odd) = Ranges::read(&self.changed(path, troubles)?);
        let told = |line: String| format!("could not parse IP range: {}", line.escape_debug());
        troubles.extend(odd.into_iter().map(told));
        Some(Arc::new(ranges))
    }

    fn read_list(&mut self, path: &Path, troubles: &mut Vec<String>) -> bool {
        let Some(bytes) = self.changed(path, troubles) else { return false };
        let (allowed, odd) = torrent_list(&bytes);
        let told = |line: String| format!("no info hash in torrent list: {}", line.escape_debug());
        troubles.extend(odd.into_iter().map(told));
        self.lists.access.torrents = Some(Arc::new(allowed));
        true
    }

    fn read_folder(&mut self, folder: &Path, troubles: &mut Vec<String>) -> bool {
        let found = match torrent_files::search(folder) {
            Ok(found) => found,
            Err(e) => {
                troubles.push(format!("cannot read '{}': {}", folder.display(), reason(&e)));
                return false;
            }
        };
        let mut before = std::mem::take(&mut self.torrents);
        let count = before.len();
        let mut changed = false;
        for (path, stamp) in found {
            let entry = match before.remove(&path) {
                Some((old, read)) if old == stamp => (stamp, read),
                _ => {
                    changed = true;
                    let read = read_torrent(&path, self.sources.controls);
                    (stamp, read)
                }
            };
            self.torrents.insert(path, entry);
        }
        changed |= count != self.torrents.len() || self.lists.access.torrents.is_none();
        let (mut allowed, mut files) = (HashMap::new(), HashMap::<InfoHash, PathBuf>::new());
        for (path, (_, read)) in &self.torrents {
            match read {
                Err(why) => troubles.push(why.clone()),
                Ok(((hash, _), _)) if files.contains_key(hash) => {
                    let (again, first) = (path.display(), files[hash].display());
                    troubles.push(format!("{again} is a duplicate torrent for {first}"));
                }
                Ok((hashes, torrent)) => {
                    for hash in [Some(hashes.0), hashes.1].into_iter().flatten() {
                        files.insert(hash, path.clone());
                        allowed.insert(hash, torrent.clone());
                    }
                }
            }
        }
        if changed {
            self.lists.access.torrents = Some(Arc::new(Allowed::new(allowed)));
            self.lists.files = Arc::new(files);
        }
        changed
    }
}

fn read_torrent(path: &Path, controls: bool) -> Read {
    let shown = path.display();
    let unreadable = |e: io::Error| format!("{shown} has errors: {}", reason(&e));
    let bytes = plain::read(path, MAX_SIZE).map_err(unreadable)?;
    let metainfo = Metainfo::decode_any(&bytes).map_err(|e| format!("{shown} has errors: {e}"))?;
    let (failure, warning) = if controls { said(&bytes) } else { (None, None) };
    let torrent = Torrent {
        name: Some(metainfo.info.name.as_str().into()),
        length: metainfo.info.total(),
        trackers: metainfo.announce_list.into_iter().flatten().collect(),
        failure,
        warning,
    };
    let other = metainfo.info_hash_v2.map(|hash| hash.truncated());
    let other = other.filter(|hash| *hash != metainfo.info_hash);
    Ok(((metainfo.info_hash, other), torrent))
}

/// What a .torrent says beside its content: `failure reason` and `warning message`.
fn said(bytes: &[u8]) -> (Option<Arc<str>>, Option<Arc<str>>) {
    let Ok((top, _)) = bencode::decode_prefix(bytes) else { return (None, None) };
    let text = |key| {
        let text = String::from_utf8_lossy(top.get(key)?.as_bytes()?).into_owned();
        (!text.is_empty()).then(|| Arc::from(text))
    };
    (text("failure reason"), text("warning message"))
}

/// The thread that reads the lists again.
pub struct Watcher {
    jobs: JobSender<()>,
}

impl Watcher {
    /// Starts it. It tells of each reading by [`Message::Lists`] if there is anything to tell.
    ///
    /// # Errors
    /// No thread is to be had.
    pub fn start(mut reader: Reader, post: Post<Message>) -> io::Result<Watcher> {
        let (jobs, receiver) = jobs::<()>(1);
        let work = move || {
            while let Some(()) = receiver.recv() {
                let news = reader.read();
                let quiet = news.lists.is_none() && news.troubles.is_empty();
                if !quiet && !post.send(Message::Lists(news)) {
                    return;
                }
            }
        };
        thread::Builder::new().name("lists".into()).spawn(work)?;
        Ok(Watcher { jobs })
    }

    /// Has the lists read again. If that is under way already, once more after it.
    pub fn read(&self) {
        // A job that waits already does for this one too.
        let _ = self.jobs.try_send(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Lab(PathBuf);

    impl Lab {
        fn new(name: &str) -> Lab {
            let path =
                std::env::temp_dir().join(format!("bttrack-lists-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Lab(path)
        }

        fn torrent(&self, path: &str, name: &str, more: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let info = format!(
                "d6:lengthi5e4:name{}:{name}12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae",
                name.len()
            );
            fs::write(path, format!("d8:announce9:http://a/{more}4:info{info}e")).unwrap();
        }

        fn folder(&self) -> Reader {
            let folder = Some(self.0.clone());
            Reader::new(Sources { folder, controls: true, ..Sources::default() }).unwrap().0
        }
    }

    impl Drop for Lab {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn names(reader: &Reader) -> Vec<String> {
        let allowed = reader.lists.access.torrents.as_ref().unwrap();
        let mut names: Vec<_> =
            allowed.iter().map(|(_, t)| t.name.as_deref().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_shallowest_torrents_of_each_branch_count() {
        let lab = Lab::new("shallow");
        for path in ["a/one.torrent", "a/deep/no.torrent", "b/c/two.torrent", ".h/no.torrent"] {
            lab.torrent(path, path.rsplit_once('/').unwrap().1, "");
        }
        lab.torrent("b/c/.hidden.torrent", "hidden", "");
        assert_eq!(names(&lab.folder()), ["one.torrent", "two.torrent"]);
        lab.torrent("top.torrent", "top", "");
        assert_eq!(names(&lab.folder()), ["top"]);
    }

    #[test]
    fn what_changes_is_read_again_and_what_goes_is_forgotten() {
        let lab = Lab::new("change");
        lab.torrent("a.torrent", "a", "");
        let mut reader = lab.folder();
        assert!(reader.read().lists.is_none(), "nothing has changed");
        lab.torrent("b.torrent", "b", "");
        assert!(reader.read().lists.is_some());
        assert_eq!(names(&reader), ["a", "b"]);
        lab.torrent("a.torrent", "another", "");
        fs::remove_file(lab.0.join("b.torrent")).unwrap();
        assert!(reader.read().lists.is_some());
        assert_eq!(names(&reader), ["another"]);
    }

    #[test]
    fn bad_files_and_duplicates_are_told_once_and_block_nothing() {
        let lab = Lab::new("bad");
        lab.torrent("a.torrent", "same", "");
        lab.torrent("b.torrent", "same", "");
        fs::write(lab.0.join("c.torrent"), "not bencode").unwrap();
        let folder = Some(lab.0.clone());
        let (mut reader, news) = Reader::new(Sources { folder, ..Sources::default() }).unwrap();
        assert_eq!(news.troubles.len(), 2, "{:?}", news.troubles);
        assert!(news.troubles[0].ends_with(&format!(
            "b.torrent is a duplicate torrent for {}",
            lab.0.join("a.torrent").display()
        )));
        assert!(news.troubles[1].contains("c.torrent has errors"), "{:?}", news.troubles);
        assert_eq!(reader.read().troubles, [""; 0], "once");
        fs::remove_file(lab.0.join("a.torrent")).unwrap();
        let news = reader.read();
        assert_eq!(names(&reader), ["same"], "the duplicate takes its place");
        assert_eq!(news.troubles, [""; 0]);
        assert!(reader.lists.files.values().all(|path| path.ends_with("b.torrent")));
    }

    #[test]
    fn version_2_is_known_by_the_start_of_its_hash_and_a_hybrid_by_both_hashes() {
        let lab = Lab::new("version2");
        let mut wanted = Vec::new();
        for name in ["good-hybrid.torrent", "good-v2-and-unknown-layers.torrent"] {
            let fixture =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torrents").join(name);
            let bytes = fs::read(fixture).unwrap();
            fs::write(lab.0.join(name), &bytes).unwrap();
            let metainfo = Metainfo::decode_any(&bytes).unwrap();
            wanted.push(metainfo.info_hash_v2.unwrap().truncated());
            wanted.extend(metainfo.hash_v1());
        }
        let reader = lab.folder();
        let allowed = reader.lists.access.torrents.clone().unwrap();
        assert_eq!((allowed.len(), wanted.len()), (3, 3));
        for hash in wanted {
            assert!(allowed.get(&hash).is_some() && reader.lists.files.contains_key(&hash));
        }
    }

    #[test]
    fn a_torrent_file_may_carry_words_for_clients_and_trackers() {
        let lab = Lab::new("words");
        lab.torrent(
            "a.torrent",
            "a",
            "13:announce-listll9:http://b/el9:http://c/ee14:failure reason2:no",
        );
        let of = |reader: &Reader| {
            let allowed = reader.lists.access.torrents.clone().unwrap();
            allowed.iter().next().unwrap().1.clone()
        };
        let torrent = of(&lab.folder());
        assert_eq!(torrent.trackers, ["http://b/", "http://c/"]);
        assert_eq!((torrent.failure.as_deref(), torrent.length), (Some("no"), 5));
        let folder = Some(lab.0.clone());
        let quiet = Reader::new(Sources { folder, ..Sources::default() }).unwrap().0;
        assert_eq!(of(&quiet).failure, None, "only where that is allowed");
    }

    #[test]
    fn a_list_that_goes_stays_as_it_was() {
        let lab = Lab::new("gone");
        let path = lab.0.join("ips");
        fs::write(&path, "1.2.3.4\nodd\n").unwrap();
        let sources = Sources { banned_ips: Some(path.clone()), ..Sources::default() };
        let (mut reader, news) = Reader::new(sources).unwrap();
        assert_eq!(news.troubles, ["could not parse IP range: odd"]);
        let serves = |reader: &Reader, ip: &str| reader.lists.access.serves(ip.parse().unwrap());
        assert!(!serves(&reader, "1.2.3.4"));
        fs::remove_file(&path).unwrap();
        let news = reader.read();
        assert!(news.lists.is_none() && news.troubles[0].contains("cannot read"), "{news:?}");
        assert!(!serves(&reader, "1.2.3.4"));
        fs::write(&path, "1.2.3.4-1.2.3.9\n").unwrap();
        assert!(reader.read().lists.is_some());
        assert!(!serves(&reader, "1.2.3.5"));
        let missing = Sources { allowed_ips: Some(lab.0.join("no")), ..Sources::default() };
        assert!(Reader::new(missing).is_err_and(|(path, _)| path.ends_with("no")));
    }
}
