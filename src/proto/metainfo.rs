//! Reading, checking and building .torrent files (BEP 3, BEP 12, BEP 17, BEP 19, BEP 27, BEP 47,
//! BEP 52).
//!
//! [`Metainfo::decode`] serves the client, the tracker and the tools that show; [`Draft`] serves
//! the makers. Decoding never panics and its memory is bounded by [`MAX_SIZE`] and
//! [`MAX_VALUES`]. The info hash is taken over the bytes of `info` as they stand in the file, so
//! keys unknown here do no harm. Nothing decoded is ever encoded again: whoever changes a .torrent
//! does so with an [`edit::Editor`] and loses nothing.

mod draft;
pub mod edit;
mod error;
mod magnet;
mod seed;
mod version2;

use crate::proto::bencode::{self, Value};
use crate::proto::geometry::{Geometry, GeometryError, PieceIndex};
use crate::proto::hash::{sha1, sha256};
use crate::proto::ids::{InfoHash, InfoHashV2};
use crate::proto::merkle::{Cut, Node};
use crate::proto::order;
use std::borrow::Cow;
use std::sync::Arc;

pub use error::MetainfoError;
pub use magnet::torrent_of;
pub use seed::{piece_url, seed_url};

pub use draft::{
    Content, Draft, PIECE_LENGTHS, Slot, automatic_piece_length, parse_nodes, parse_piece_length,
    parse_tiers, parse_urls, piece_length_within,
};

/// The largest .torrent taken, in bytes: at 20 bytes a piece, 3.3 million pieces.
pub const MAX_SIZE: u64 = 64 << 20;

/// How many bencoded values a .torrent may have: enough for some 400,000 files.
pub const MAX_VALUES: usize = 2_000_000;

/// How many a .torrent of so many bytes may have. A file with the shortest of names takes six bytes
/// a value; what has far less is made to fill the memory of who reads it.
fn most_values(bytes: usize) -> usize {
    const FEW: usize = 10_000;
    (FEW + bytes / 4).min(MAX_VALUES)
}

/// What a .torrent says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metainfo {
    /// The tracker's address.
    pub announce: Option<String>,
    /// Tiers of tracker addresses (BEP 12), without empty ones; see [`Metainfo::tiers`].
    pub announce_list: Vec<Vec<String>>,
    /// Whatever the maker wanted to say.
    pub comment: Option<String>,
    /// The program that made it.
    pub created_by: Option<String>,
    /// Seconds since 1970.
    pub creation_date: Option<i64>,
    /// Web seeds in Hoffman's style (BEP 17), without empty ones.
    pub httpseeds: Vec<String>,
    /// Web seeds in GetRight's style (BEP 19), without empty ones.
    pub url_list: Vec<String>,
    /// Nodes of the distributed hash table to begin with, host and port (BEP 5).
    pub nodes: Vec<(String, u16)>,
    /// The content.
    pub info: Info,
    /// The SHA-1 of the bytes of `info`, as they stand in the file; of version 2 alone what stands
    /// for the longer hash, see [`InfoHashV2::truncated`].
    pub info_hash: InfoHash,
    /// The SHA-256 of the same bytes, if they are of version 2.
    pub info_hash_v2: Option<InfoHashV2>,
    /// The bytes of `info`, as they stand in the file.
    pub info_bytes: Arc<[u8]>,
    /// How many bytes follow the dictionary. They are ignored, but worth a warning.
    pub trailing: usize,
}

/// The content of a torrent: checked, so that names are safe to be created below a folder and
/// the pieces cover the files exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The name of the file or folder.
    pub name: String,
    /// Bytes a piece, at least 1.
    pub piece_length: u32,
    /// The SHA-1 of every piece; none in version 2 alone.
    pub pieces: Arc<[[u8; 20]]>,
    /// The files in order; exactly one with an empty path if the layout is single. In version 2
    /// alone there are pad files that no .torrent tells of, so that each file begins a piece.
    pub files: Vec<File>,
    /// Which hashes there are.
    pub version: Version,
    /// Of each of `files` in version 2 the roots of its pieces' trees (BEP 52), none for an empty
    /// or a pad file; no entries in version 1. Files that are alike share them.
    pub roots: Vec<Option<Arc<[Node]>>>,
    /// One file, or a folder of files.
    pub layout: Layout,
    /// Peers come from the trackers alone (BEP 27).
    pub private: bool,
}

/// Which versions of BitTorrent a torrent is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Version {
    /// Version 1 (BEP 3): SHA-1.
    #[default]
    One,
    /// Version 2 alone (BEP 52): SHA-256, in a tree a file.
    Two,
    /// Both, of the same content.
    Hybrid,
}

impl Version {
    /// Whether there is the SHA-1 of each piece.
    pub fn has_one(self) -> bool {
        self != Version::Two
    }

    /// Whether there is a hash tree of each file.
    pub fn has_two(self) -> bool {
        self != Version::One
    }
}

/// Whether the content is a file or a folder. A folder may well hold a single file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `length`: one file, called by the torrent's name.
    Single,
    /// `files`: a folder, called by the torrent's name.
    Multi,
}

/// One file of a torrent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The names from below the torrent's folder down to the file; empty in a single layout.
    pub path: Vec<String>,
    /// Bytes.
    pub length: u64,
    /// Zeros that only fill up a piece (BEP 47); its path is `.pad/LENGTH`, whatever it was, so
    /// two of one path are alike.
    pub pad: bool,
}

impl Metainfo {
    /// Reads and checks the bytes of a .torrent that has a version 1, as [`decode_any`] does.
    ///
    /// # Errors
    /// [`MetainfoError::Version2`] for one that has not, and those of [`decode_any`].
    ///
    /// [`decode_any`]: Metainfo::decode_any
    pub fn decode(bytes: &[u8]) -> Result<Metainfo, MetainfoError> {
        Metainfo::read(bytes, false)
    }

    /// Reads and checks the bytes of a .torrent of any version. Names in another encoding than UTF-8 are taken
    /// from `name.utf-8` and `path.utf-8` where these are, else every odd byte becomes `%XX`.
    ///
    /// # Errors
    /// Whatever would make it useless or dangerous; see [`MetainfoError`].
    pub fn decode_any(bytes: &[u8]) -> Result<Metainfo, MetainfoError> {
        Metainfo::read(bytes, true)
    }

    fn read(bytes: &[u8], any: bool) -> Result<Metainfo, MetainfoError> {
        if bytes.len() as u64 > MAX_SIZE {
            return Err(MetainfoError::Size);
        }
        let (top, used) = bencode::decode_prefix_within(bytes, most_values(bytes.len()))?;
        if top.as_dict().is_none() {
            return Err(MetainfoError::NotADictionary);
        }
        let info = top.get("info").ok_or(MetainfoError::Missing("info"))?;
        let raw = &bytes[info.span()];
        let info = match info.as_dict() {
            None => return Err(MetainfoError::Bad("info")),
            Some(_) if !any && is_version_2_only(info) => return Err(MetainfoError::Version2),
            Some(_) => Info::read(info, &top, bytes.len(), any)?,
        };
        let info_hash_v2 = info.version.has_two().then(|| InfoHashV2(sha256(raw)));
        let info_hash = match info_hash_v2 {
            Some(hash) if info.version == Version::Two => hash.truncated(),
            _ => InfoHash(sha1(raw)),
        };
        Ok(Metainfo {
            announce: text(&top, "announce").filter(|a| !a.is_empty()),
            announce_list: top.get("announce-list").map(read_tiers).unwrap_or_default(),
            comment: text(&top, "comment").filter(|c| !c.is_empty()),
            created_by: text(&top, "created by"),
            creation_date: top.get("creation date").and_then(Value::as_int),
            httpseeds: top.get("httpseeds").map(read_texts).unwrap_or_default(),
            url_list: top.get("url-list").map(read_texts).unwrap_or_default(),
            nodes: top.get("nodes").map(read_nodes).unwrap_or_default(),
            info,
            info_hash,
            info_hash_v2,
            info_bytes: raw.into(),
            trailing: bytes.len() - used,
        })
    }

    /// The info hash of version 1, if it is of that version.
    pub fn hash_v1(&self) -> Option<InfoHash> {
        self.info.version.has_one().then_some(self.info_hash)
    }

    /// The trackers to ask, tier by tier: `announce-list` if there is one, else `announce`
    /// (BEP 12); empty if there is neither.
    pub fn tiers(&self) -> Vec<Vec<String>> {
        if !self.announce_list.is_empty() {
            return self.announce_list.clone();
        }
        self.announce.iter().map(|a| vec![a.clone()]).collect()
    }
}

impl Info {
    /// `size` is that of the whole .torrent, in bytes. Unless version 2 is wanted (`any`), a hybrid
    /// without its hashes is one of version 1: peers give no more than `info`.
    fn read(value: &Value, top: &Value, size: usize, any: bool) -> Result<Info, MetainfoError> {
        let name = read_name(value)?;
        let piece_length = need(value, "piece length")?.as_int();
        let piece_length = piece_length.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
        let mut info = Info {
            piece_length: piece_length.ok_or(MetainfoError::Bad("piece length"))?,
            private: value.get("private").and_then(Value::as_int).is_some_and(|n| n != 0),
            version: read_version(value)?,
            name,
            pieces: Arc::new([]),
            files: Vec::new(),
            layout: Layout::Single,
            roots: Vec::new(),
        }
        .with_files(value)?;
        if info.version.has_two() {
            match version2::read(&mut info, value, top, size) {
                Err(MetainfoError::Missing("piece layers")) if !any && info.version.has_one() => {
                    info.version = Version::One;
                }
                result => result?,
            }
        }
        Ok(info)
    }

    /// The same with what version 1 tells, if it is there.
    fn with_files(mut self, info: &Value) -> Result<Info, MetainfoError> {
        if !self.version.has_one() {
            return Ok(self);
        }
        (self.layout, self.files) = read_files(info)?;
        self.pieces = read_pieces(need(info, "pieces")?)?;
        let wanted = self.measure()?.piece_count() as usize;
        match self.pieces.len().cmp(&wanted) {
            std::cmp::Ordering::Less => Err(MetainfoError::TooBig),
            std::cmp::Ordering::Greater => Err(MetainfoError::TooSmall),
            std::cmp::Ordering::Equal => Ok(self),
        }
    }

    fn measure(&self) -> Result<Geometry, GeometryError> {
        Geometry::new(self.piece_length, self.files.iter().map(|f| f.length))
    }

    /// The measures of the content.
    pub fn geometry(&self) -> Geometry {
        self.measure().expect("checked when it was read")
    }

    /// Bytes of all files together, without the padding that no .torrent tells of.
    pub fn total(&self) -> u64 {
        let told = |f: &&File| !f.pad || self.version.has_one();
        self.files.iter().filter(told).map(|f| f.length).sum()
    }

    /// How many pieces there are.
    pub fn piece_count(&self) -> u32 {
        self.geometry().piece_count()
    }

    /// What version 2 says of a piece of `geometry`, which is that of this content: the part that
    /// is hashed, and the root of the tree over it; `None` without version 2.
    pub fn root(&self, geometry: &Geometry, piece: PieceIndex) -> Option<(Cut, Node)> {
        if !self.version.has_two() {
            return None;
        }
        // Checked when it was read: a file begins here, or goes on.
        let part = geometry.file_ranges(geometry.whole_piece(piece)).next()?;
        let pieces = geometry.pieces_of_file(part.file);
        let roots = self.roots.get(part.file)?.as_ref()?;
        let root = roots.get((piece.get() - pieces.start) as usize)?;
        Some((version2::cut(self.piece_length, pieces.len(), part.length), *root))
    }
}

fn need<'v, 'a>(dict: &'v Value<'a>, key: &'static str) -> Result<&'v Value<'a>, MetainfoError> {
    dict.get(key).ok_or(MetainfoError::Missing(key))
}

fn text(dict: &Value, key: &str) -> Option<String> {
    dict.get(key)?.as_bytes().map(|b| readable(b).into_owned())
}

/// Strings of a list, or the one string that some write in its place; other kinds and empty
/// strings are left out.
fn read_texts(value: &Value) -> Vec<String> {
    let members = value.as_list().unwrap_or(std::slice::from_ref(value));
    let texts = members.iter().filter_map(Value::as_bytes).filter(|b| !b.is_empty());
    texts.map(|b| readable(b).into_owned()).collect()
}

/// Of the nodes that a .torrent names no more than this are of interest.
const MAX_NODES: usize = 16;

/// Pairs of host and port; what is none is left out, and so is all beyond [`MAX_NODES`].
fn read_nodes(value: &Value) -> Vec<(String, u16)> {
    let pair = |pair: &Value| {
        let [host, port] = pair.as_list()? else { return None };
        let port = u16::try_from(port.as_int()?).ok().filter(|port| *port != 0)?;
        Some((host.as_str().filter(|host| !host.is_empty())?.to_string(), port))
    };
    value.as_list().unwrap_or_default().iter().filter_map(pair).take(MAX_NODES).collect()
}

fn read_tiers(value: &Value) -> Vec<Vec<String>> {
    let tiers = value.as_list().unwrap_or_default().iter().map(read_texts);
    tiers.filter(|tier| !tier.is_empty()).collect()
}

fn read_pieces(value: &Value) -> Result<Arc<[[u8; 20]]>, MetainfoError> {
    let bytes = value.as_bytes().filter(|b| b.len() % 20 == 0);
    let bytes = bytes.ok_or(MetainfoError::Bad("pieces"))?;
    Ok(bytes.chunks_exact(20).map(|c| c.try_into().expect("chunks of 20")).collect())
}

fn read_version(info: &Value) -> Result<Version, MetainfoError> {
    match info.get("meta version").map(Value::as_int) {
        None | Some(Some(1)) => Ok(Version::One),
        Some(Some(2)) if is_version_2_only(info) => Ok(Version::Two),
        Some(Some(2)) => Ok(Version::Hybrid),
        Some(_) => Err(MetainfoError::Bad("meta version")),
    }
}

fn is_version_2_only(info: &Value) -> bool {
    info.get("pieces").is_none() && info.get("meta version").is_some()
}

fn read_name(info: &Value) -> Result<String, MetainfoError> {
    let name = told_name(info)?;
    if is_safe_name(&name) { Ok(name) } else { Err(MetainfoError::Name(name)) }
}

/// The name as it is, safe or not.
fn told_name(info: &Value) -> Result<String, MetainfoError> {
    let name = need(info, "name")?.as_bytes().ok_or(MetainfoError::Bad("name"))?;
    let utf8 = info.get("name.utf-8").and_then(Value::as_str);
    Ok(match (std::str::from_utf8(name), utf8) {
        (Err(_), Some(utf8)) => utf8.to_string(),
        _ => readable(name).into_owned(),
    })
}

fn read_files(info: &Value) -> Result<(Layout, Vec<File>), MetainfoError> {
    match (info.get("length"), info.get("files")) {
        (Some(length), None) => {
            let length = read_length(length)?;
            Ok((Layout::Single, vec![File { path: Vec::new(), length, pad: false }]))
        }
        (None, Some(files)) => {
            let files = files.as_list().filter(|l| !l.is_empty());
            let files = files.ok_or(MetainfoError::Bad("files"))?;
            let files = files.iter().map(read_file).collect::<Result<Vec<File>, _>>()?;
            refuse_clashes(&files)?;
            Ok((Layout::Multi, files))
        }
        _ => Err(MetainfoError::Layout),
    }
}

fn read_length(value: &Value) -> Result<u64, MetainfoError> {
    value.as_int().and_then(|n| u64::try_from(n).ok()).ok_or(MetainfoError::Bad("length"))
}

fn read_file(file: &Value) -> Result<File, MetainfoError> {
    let length = read_length(need(file, "length")?)?;
    if file.get("attr").and_then(Value::as_bytes).is_some_and(|a| a.contains(&b'p')) {
        let path = vec![".pad".to_string(), length.to_string()];
        return Ok(File { path, length, pad: true });
    }
    let path = path_names(need(file, "path")?).ok_or(MetainfoError::Bad("path"))?;
    let path = match file.get("path.utf-8").and_then(path_names) {
        Some(utf8) if path.iter().any(|n| std::str::from_utf8(n).is_err()) => utf8,
        _ => path,
    };
    let path: Vec<String> = path.into_iter().map(|n| readable(n).into_owned()).collect();
    if !path.iter().all(|name| is_safe_name(name)) {
        return Err(MetainfoError::Path(path.join("/")));
    }
    Ok(File { path, length, pad: false })
}

fn path_names<'a>(value: &Value<'a>) -> Option<Vec<&'a [u8]>> {
    let names = value.as_list().filter(|l| !l.is_empty())?;
    names.iter().map(Value::as_bytes).collect()
}

/// Refuses two files of one path, and a file whose path goes through another file.
fn refuse_clashes(files: &[File]) -> Result<(), MetainfoError> {
    let mut paths: Vec<&[String]> =
        files.iter().filter(|f| !f.pad).map(|f| f.path.as_slice()).collect();
    order::by(&mut paths, Ord::cmp);
    // A path sorts directly before those that go through it.
    match paths.windows(2).find(|w| w[1].starts_with(w[0])) {
        Some(pair) => Err(MetainfoError::Clash(pair[0].join("/"))),
        None => Ok(()),
    }
}

/// Whether a name may be created below a folder: not empty, not hidden, no other way out, as
/// BitTornado always demanded; and no NUL, which no file system takes.
pub fn is_safe_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(['.', '~']) && !name.contains(['/', '\\', '\0'])
}

/// Text of unknown encoding: as it is if it is UTF-8, else with every odd byte as `%XX`.
fn readable(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|b| text.push_str(&format!("%{b:02X}")));
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::damage::{Random, survived};

    fn draft() -> Draft {
        Draft {
            announce: Some("http://t/a".into()),
            announce_list: Vec::new(),
            comment: String::new(),
            created_by: String::new(),
            creation_date: Some(1_000_000_000),
            httpseeds: Vec::new(),
            url_list: Vec::new(),
            nodes: Vec::new(),
            private: false,
            source: String::new(),
            name: "n".into(),
            piece_length: 32768,
            content: Content::File(40_000),
            version: Version::One,
            pieces: vec![[b'x'; 20]; 2],
            roots: Vec::new(),
        }
    }

    fn folder(files: &[(&str, u64)]) -> Draft {
        let split = |p: &str| p.split('/').map(str::to_string).collect();
        let files = files.iter().map(|(p, n)| (split(p), *n)).collect();
        Draft { content: Content::Folder(files), pieces: vec![[0; 20]], ..draft() }
    }

    /// A .torrent with this text for `info`.
    fn with_info(info: &str) -> Result<Metainfo, MetainfoError> {
        Metainfo::decode(format!("d4:info{info}e").as_bytes())
    }

    #[test]
    fn writes_exactly_the_keys_of_the_original() {
        let bytes = Draft { pieces: vec![], content: Content::File(0), ..draft() }.encode();
        let wanted = "d8:announce10:http://t/a13:creation datei1000000000e4:infod6:lengthi0e\
                      4:name1:n12:piece lengthi32768e6:pieces0:ee";
        assert_eq!(String::from_utf8(bytes).unwrap(), wanted);
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let draft = Draft {
            announce_list: parse_tiers("|http://1,,http://2||,|http://3|"),
            comment: "hello wörld".into(),
            httpseeds: parse_urls("http://s1|http://s2"),
            ..folder(&[("b/c", 7), ("a", 0), ("d", 100)])
        };
        let m = Metainfo::decode(&draft.encode()).unwrap();
        assert_eq!(m.announce.as_deref(), Some("http://t/a"));
        assert_eq!(m.announce_list, [vec!["http://1", "http://2"], vec!["http://3"]]);
        assert_eq!(m.comment.as_deref(), Some("hello wörld"));
        assert_eq!(m.creation_date, Some(1_000_000_000));
        assert_eq!(m.httpseeds, ["http://s1", "http://s2"]);
        assert_eq!(m.info.layout, Layout::Multi);
        let paths: Vec<String> = m.info.files.iter().map(|f| f.path.join("/")).collect();
        assert_eq!(paths, ["b/c", "a", "d"]);
        assert_eq!((m.info.total(), m.info.geometry().piece_count()), (107, 1));
        assert!(!m.info.private);
    }

    #[test]
    fn a_folder_with_one_file_stays_a_folder() {
        let m = Metainfo::decode(&folder(&[("only", 5)]).encode()).unwrap();
        assert_eq!((m.info.layout, m.info.files.len()), (Layout::Multi, 1));
    }

    #[test]
    fn the_info_hash_is_taken_over_the_bytes_as_they_stand() {
        let info = "d6:lengthi1e4:name1:n12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaa\
                    6:source3:yese";
        let m = with_info(info).unwrap();
        assert_eq!(m.info_hash.0, sha1(info.as_bytes()));
        let unsorted = "d4:name1:n6:lengthi0e6:pieces0:12:piece lengthi1ee";
        assert_eq!(with_info(unsorted).unwrap().info_hash.0, sha1(unsorted.as_bytes()));
    }

    #[test]
    fn the_announce_list_beats_announce() {
        let m = Metainfo::decode(&draft().encode()).unwrap();
        assert_eq!(m.tiers(), [["http://t/a"]]);
        let listed = Draft { announce_list: parse_tiers("u,v|w"), ..draft() };
        let m = Metainfo::decode(&listed.encode()).unwrap();
        assert_eq!(m.tiers(), [vec!["u", "v"], vec!["w"]]);
        let silent = with_info("d6:lengthi0e4:name1:n12:piece lengthi1e6:pieces0:e").unwrap();
        assert!(silent.tiers().is_empty());
    }

    #[test]
    fn names_that_lead_out_or_hide_are_refused() {
        for bad in ["", ".", "..", ".x", "~x", "/x", "\\x", "a/b", "a\\b", "a\0b"] {
            let named = Draft { name: bad.into(), ..draft() };
            let e = Metainfo::decode(&named.encode()).unwrap_err();
            assert_eq!(e, MetainfoError::Name(bad.into()));
            let mut filed = folder(&[("x", 1)]);
            filed.content = Content::Folder(vec![(vec!["d".into(), bad.into()], 1)]);
            let e = Metainfo::decode(&filed.encode()).unwrap_err();
            assert_eq!(e, MetainfoError::Path(format!("d/{bad}")));
        }
        assert!(is_safe_name("a~.b"));
    }

    #[test]
    fn files_that_cannot_stand_side_by_side_are_refused() {
        for files in [["a", "b", "a"], ["x/a", "c", "x"], ["x", "x/y/z", "xx"]] {
            let files: Vec<(&str, u64)> = files.iter().map(|p| (*p, 1)).collect();
            let e = Metainfo::decode(&folder(&files).encode()).unwrap_err();
            assert!(matches!(e, MetainfoError::Clash(_)), "{files:?}: {e}");
        }
        assert!(Metainfo::decode(&folder(&[("x", 1), ("xx/y", 1), ("x y", 1)]).encode()).is_ok());
    }

    #[test]
    fn pieces_must_cover_the_files_exactly() {
        let pieces = |n| Draft { pieces: vec![[0; 20]; n], ..draft() }.encode();
        assert_eq!(Metainfo::decode(&pieces(1)), Err(MetainfoError::TooBig));
        assert!(Metainfo::decode(&pieces(2)).is_ok());
        assert_eq!(Metainfo::decode(&pieces(3)), Err(MetainfoError::TooSmall));
    }

    #[test]
    fn names_in_other_encodings_come_out_readable() {
        let file = |extra: &[u8]| {
            let mut b = b"d4:infod5:filesld6:lengthi1e4:pathl2:\xe9xe".to_vec();
            b.extend_from_slice(extra);
            b.extend_from_slice(b"ee4:name3:\xfc%!12:piece lengthi1e6:pieces20:");
            b.extend_from_slice(&[7; 20]);
            b.extend_from_slice(b"ee");
            Metainfo::decode(&b).unwrap().info
        };
        let plain = file(b"");
        assert_eq!((plain.name.as_str(), plain.files[0].path[0].as_str()), ("%FC%!", "%E9x"));
        let told = file("10:path.utf-8l3:éxe".as_bytes());
        assert_eq!(told.files[0].path, ["éx"]);
    }

    #[test]
    fn padding_files_are_known() {
        let pad = "d4:attr1:p6:lengthi3e4:pathl4:.pad1:3ee";
        let m = with_info(&format!(
            "d5:filesld6:lengthi1e4:pathl1:aee{pad}d6:lengthi1e4:pathl1:bee{pad}e\
             4:name1:n12:piece lengthi4e6:pieces40:{}e",
            "x".repeat(40)
        ));
        let files = m.unwrap().info.files;
        assert_eq!(files.iter().map(|f| f.pad).collect::<Vec<_>>(), [false, true, false, true]);
        assert_eq!(files[1].path, [".pad", "3"]);
    }

    #[test]
    fn bytes_behind_the_end_are_only_counted() {
        let mut bytes = draft().encode();
        bytes.extend_from_slice(b"\r\n");
        assert_eq!(Metainfo::decode(&bytes).unwrap().trailing, 2);
    }

    #[test]
    fn piece_lengths_follow_the_table_of_the_original() {
        let mib = 1u64 << 20;
        for (total, kib) in [
            (0, 32),
            (4 * mib, 32),
            (4 * mib + 1, 64),
            (16 * mib, 64),
            (16 * mib + 1, 128),
            (64 * mib + 1, 256),
            (512 * mib, 256),
            (512 * mib + 1, 512),
            (2048 * mib + 1, 1024),
            (8192 * mib, 1024),
            (8192 * mib + 1, 2048),
            (1 << 50, 2048),
        ] {
            assert_eq!(automatic_piece_length(total), kib * 1024, "{total}");
        }
    }

    #[test]
    fn damaged_torrents_never_panic() {
        let whole = Draft {
            announce_list: parse_tiers("a,b|c"),
            comment: "c".into(),
            ..folder(&[("a/b", 3), ("c", 4)])
        }
        .encode();
        let damaged = |random: &mut Random| {
            let changes = 1 + random.below(3);
            random.damage(&whole, changes)
        };
        survived(3000, damaged, |bytes, _| {
            let Ok(m) = Metainfo::decode(bytes) else { return false };
            assert_eq!(m.info.geometry().total(), m.info.total());
            true
        });
    }
}
