//! The client's side of scrape over HTTP (BEP 48): how many are in a swarm, for trackers that do
//! not tell in their answers to announces.

use super::ask::percent_encode;
use crate::proto::bencode::{self, Value};
use crate::proto::ids::InfoHash;

/// How many bencoded values an answer may hold: it is about one torrent.
const MAX_VALUES: usize = 1000;

/// How many are in a swarm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that have everything.
    pub complete: u32,
    /// The others.
    pub incomplete: u32,
}

/// Where to ask the tracker at `announce` about a swarm; `None` if its URL is not one that leads to
/// a place for that: the last name in its path must begin with `announce`.
pub fn url(announce: &str, info_hash: InfoHash) -> Option<String> {
    let announce = announce.split('#').next()?;
    let (path, query) = match announce.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (announce, None),
    };
    let authority = path.find("://")? + 3;
    let (before, name) = path.rsplit_once('/').filter(|(before, _)| before.len() >= authority)?;
    let rest = name.strip_prefix("announce")?;
    let mut url = format!("{before}/scrape{rest}?");
    if let Some(query) = query.filter(|query| !query.is_empty()) {
        url.push_str(query);
        url.push('&');
    }
    url.push_str("info_hash=");
    percent_encode(&mut url, &info_hash.0);
    Some(url)
}

/// Reads the body of an answer. Whatever is not one has no counts; it never panics, and takes
/// memory for a thousand values at most.
pub fn reply(body: &[u8], info_hash: InfoHash) -> Option<Counts> {
    let (value, _) = bencode::decode_prefix_within(body, MAX_VALUES).ok()?;
    let files = value.get("files")?.as_dict()?;
    let (_, file) = files.iter().find(|(hash, _)| *hash == info_hash.0)?;
    let count = |key| u32::try_from(file.get(key).and_then(Value::as_int)?).ok();
    Some(Counts { complete: count("complete")?, incomplete: count("incomplete")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::announce::answer::scraped_hashes;

    const HASH: InfoHash = InfoHash(*b"a&bcdefghijklmnopqr~");

    #[test]
    fn the_place_to_ask_follows_from_the_announce_url() {
        let hash = "info_hash=a%26bcdefghijklmnopqr~";
        for (announce, expected) in [
            ("http://h/announce", Some(format!("http://h/scrape?{hash}"))),
            ("http://h/x/announce.php?key=1", Some(format!("http://h/x/scrape.php?key=1&{hash}"))),
            ("http://h/announce?#x", Some(format!("http://h/scrape?{hash}"))),
            ("http://h/a", None),
            ("http://h/announce/x", None),
            ("http://announce", None),
            ("nonsense", None),
        ] {
            assert_eq!(url(announce, HASH), expected, "{announce}");
        }
    }

    #[test]
    fn a_tracker_understands_it() {
        let url = url("http://h/announce?x=1", HASH).unwrap();
        let query = url.split_once('?').unwrap().1;
        assert_eq!(scraped_hashes(query.as_bytes()), Some(vec![HASH]));
    }

    #[test]
    fn counts_are_those_of_the_torrent_and_nothing_else_is_taken_for_them() {
        let file = |hash: &str, counts: &str| format!("d5:filesd20:{hash}d{counts}eee");
        let ours = "a&bcdefghijklmnopqr~";
        let counts = "8:completei3e10:downloadedi9e10:incompletei4e";
        let expected = Some(Counts { complete: 3, incomplete: 4 });
        assert_eq!(reply(file(ours, counts).as_bytes(), HASH), expected);
        for body in [
            file("bbbbbbbbbbbbbbbbbbbb", counts),
            file(ours, "8:completei-3e10:incompletei4e"),
            file(ours, "8:completei3e"),
            file(ours, "8:completei99999999999e10:incompletei4e"),
            "d5:filesle".into(),
            "de".into(),
            "le".into(),
            String::new(),
            "d14:failure reason2:noe".into(),
        ] {
            assert_eq!(reply(body.as_bytes(), HASH), None, "{body}");
        }
    }
}
