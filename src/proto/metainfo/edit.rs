//! Changes a .torrent and keeps the rest of it, byte for byte.
//!
//! For the edit tools. Entries are changed where they stand: keys unknown here, their order, and
//! what is nobody's business stay as they are, and so does the info hash unless the name is
//! changed. A new key goes before the first that is greater, which is its place in a .torrent
//! with its keys in order. Little is demanded of a .torrent, so that one that clients refuse can
//! still be mended.

use crate::proto::sorted;
use std::ops::Range;

use crate::proto::bencode::{self, Item, Kind, Value, put_bytes};
use crate::proto::hash::{sha1, sha256};
use crate::proto::ids::{InfoHash, InfoHashV2};
use crate::proto::order;

use super::draft::list;
use super::{MAX_SIZE, MetainfoError, is_safe_name, is_version_2_only, most_values};
use super::{read_texts, read_tiers, text, told_name};

/// The two kinds of web seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seeds {
    /// `httpseeds`, in Hoffman's style (BEP 17).
    Http,
    /// `url-list`, in GetRight's style (BEP 19).
    Url,
}

impl Seeds {
    fn key(self) -> &'static str {
        match self {
            Seeds::Http => "httpseeds",
            Seeds::Url => "url-list",
        }
    }
}

/// A .torrent that is being changed.
#[derive(Debug)]
pub struct Editor<'a> {
    bytes: &'a [u8],
    top: Value<'a>,
    /// The new values of top-level keys; `None` for keys to be removed.
    changes: sorted::Map<&'static str, Option<Item>>,
    name: Option<String>,
}

impl<'a> Editor<'a> {
    /// Begins to change the .torrent of these bytes.
    ///
    /// # Errors
    /// What is too large, is no dictionary, or has no dictionary called `info`.
    pub fn new(bytes: &'a [u8]) -> Result<Editor<'a>, MetainfoError> {
        if bytes.len() as u64 > MAX_SIZE {
            return Err(MetainfoError::Size);
        }
        let (top, _) = bencode::decode_prefix_within(bytes, most_values(bytes.len()))?;
        if top.as_dict().is_none() {
            return Err(MetainfoError::NotADictionary);
        }
        let info = top.get("info").ok_or(MetainfoError::Missing("info"))?;
        if info.as_dict().is_none() {
            return Err(MetainfoError::Bad("info"));
        }
        Ok(Editor { bytes, top, changes: sorted::Map::new(), name: None })
    }

    /// The tracker's address before the changes; `None` also if it is empty.
    pub fn announce(&self) -> Option<String> {
        text(&self.top, "announce").filter(|a| !a.is_empty())
    }

    /// The tiers of trackers before the changes, without empty ones.
    pub fn announce_list(&self) -> Vec<Vec<String>> {
        self.top.get("announce-list").map(read_tiers).unwrap_or_default()
    }

    /// The web seeds of a kind before the changes, without empty ones.
    pub fn seeds(&self, kind: Seeds) -> Vec<String> {
        self.top.get(kind.key()).map(read_texts).unwrap_or_default()
    }

    /// The name before the changes. It may be one that is not safe.
    ///
    /// # Errors
    /// There is none, or it is no string.
    pub fn name(&self) -> Result<String, MetainfoError> {
        told_name(self.info())
    }

    /// The info hash before the changes: of version 2 alone the SHA-256, else the SHA-1.
    pub fn info_hash(&self) -> String {
        let info = &self.bytes[self.info().span()];
        match is_version_2_only(self.info()) {
            true => InfoHashV2(sha256(info)).to_string(),
            false => InfoHash(sha1(info)).to_string(),
        }
    }

    /// Sets the tracker's address.
    pub fn set_announce(&mut self, url: &str) {
        self.changes.insert("announce", Some(Item::from(url)));
    }

    /// Sets the tiers of trackers (BEP 12), or removes them if there are none.
    pub fn set_announce_list(&mut self, tiers: &[Vec<String>]) {
        let item = Item::List(tiers.iter().map(|tier| list(tier)).collect());
        self.changes.insert("announce-list", (!tiers.is_empty()).then_some(item));
    }

    /// Takes over the address and the tiers of trackers as they stand in `source`, and removes
    /// what is not there.
    pub fn copy_trackers(&mut self, source: &Editor) {
        let raw = |value: &Value| Item::Raw(source.bytes[value.span()].to_vec());
        let announce = source.top.get("announce").filter(|v| v.as_bytes().is_some());
        let tiers = source.top.get("announce-list").filter(|v| !read_tiers(v).is_empty());
        self.changes.insert("announce", announce.map(raw));
        self.changes.insert("announce-list", tiers.map(raw));
    }

    /// Replaces the text `old`, which must not be empty, by `new` wherever it is in the address
    /// and the tiers of trackers.
    pub fn replace_in_trackers(&mut self, old: &str, new: &str) {
        for key in ["announce", "announce-list"] {
            if let Some(value) = self.top.get(key) {
                let item = self.replaced(value, old.as_bytes(), new.as_bytes());
                self.changes.insert(key, Some(item));
            }
        }
    }

    fn replaced(&self, value: &Value, old: &[u8], new: &[u8]) -> Item {
        match &value.kind {
            Kind::Bytes(bytes) => Item::Bytes(replaced_bytes(bytes, old, new)),
            Kind::List(l) => Item::List(l.iter().map(|v| self.replaced(v, old, new)).collect()),
            _ => Item::Raw(self.bytes[value.span()].to_vec()),
        }
    }

    /// Sets the web seeds of a kind, or removes them if there are none.
    pub fn set_seeds(&mut self, kind: Seeds, urls: &[String]) {
        self.changes.insert(kind.key(), (!urls.is_empty()).then(|| list(urls)));
    }

    /// Sets the name of the file or folder, also in its second form `name.utf-8` where that is
    /// there, and that of a lone file in the tree of version 2. This changes the info hash.
    ///
    /// # Errors
    /// A name that nobody would take, or a .torrent that has none yet.
    pub fn set_name(&mut self, name: &str) -> Result<(), MetainfoError> {
        if !is_safe_name(name) {
            return Err(MetainfoError::Name(name.to_string()));
        }
        self.name()?;
        self.name = Some(name.to_string());
        Ok(())
    }

    /// The bytes of the changed .torrent.
    pub fn finish(&self) -> Vec<u8> {
        let top = self.changes.iter().filter_map(|(key, item)| splice(&self.top, key, item));
        let mut splices: Vec<Splice> = top.collect();
        for key in ["name", "name.utf-8"] {
            if let (Some(name), Some(_)) = (&self.name, self.info().get(key)) {
                splices.extend(splice(self.info(), key, &Some(Item::from(name.as_str()))));
            }
        }
        splices.extend(self.name.as_ref().and_then(|name| self.rename_leaf(name)));
        // Stable: new keys that share a place stay in order.
        order::by_key(&mut splices, |(range, _)| (range.start, range.end));
        let (mut out, mut kept) = (Vec::with_capacity(self.bytes.len()), 0);
        for (range, new) in splices {
            out.extend_from_slice(&self.bytes[kept..range.start]);
            out.extend_from_slice(&new);
            kept = range.end;
        }
        out.extend_from_slice(&self.bytes[kept..]);
        out
    }

    /// Renames the file in the tree of version 2 that is called like the torrent, if it is the only
    /// one; elsewhere the name is that of the folder around the tree.
    fn rename_leaf(&self, name: &str) -> Option<Splice> {
        let [(old, file)] = self.info().get("file tree")?.as_dict()? else { return None };
        let is_file = matches!(file.as_dict(), Some([(b"", _)]));
        // With a list of version 1 that knows a folder, it is one.
        let named = self.info().get("name").and_then(Value::as_bytes) == Some(*old);
        if !is_file || !named || self.info().get("files").is_some() {
            return None;
        }
        let key = |name: &[u8]| {
            let mut key = Vec::new();
            put_bytes(&mut key, name);
            key
        };
        let end = file.span().start;
        Some((end - key(old).len()..end, key(name.as_bytes())))
    }

    fn info(&self) -> &Value<'a> {
        self.top.get("info").expect("checked at the start")
    }
}

fn replaced_bytes(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    assert!(!old.is_empty(), "nothing is everywhere");
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        if bytes[at..].starts_with(old) {
            out.extend_from_slice(new);
            at += old.len();
        } else {
            out.push(*byte);
            at += 1;
        }
    }
    out
}

/// Bytes to be replaced, and by what.
type Splice = (Range<usize>, Vec<u8>);

/// What gives the entry `key` of a dictionary its new value, or removes it; `None` if there is
/// nothing to remove.
fn splice(dict: &Value, key: &str, item: &Option<Item>) -> Option<Splice> {
    let mut start = dict.span().start + 1;
    let mut place = None;
    for (name, value) in dict.as_dict().unwrap_or_default() {
        if *name == key.as_bytes() {
            return Some(match item {
                Some(item) => (value.span(), item.encode()),
                None => (start..value.span().end, Vec::new()),
            });
        }
        if *name > key.as_bytes() {
            place.get_or_insert(start);
        }
        start = value.span().end;
    }
    let place = place.unwrap_or(start);
    let mut entry = Vec::new();
    put_bytes(&mut entry, key.as_bytes());
    item.as_ref()?.encode_to(&mut entry);
    Some((place..place, entry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::damage::{Random, survived};
    use crate::proto::metainfo::{Metainfo, parse_tiers, parse_urls};

    /// With keys out of order, unknown ones, and bytes behind the end.
    const UNSORTED: &[u8] = b"d4:zulud1:bi1e1:ai2ee4:infod4:name1:n6:lengthi0e6:pieces0:\
        12:piece lengthi1e6:source3:yese8:announce8:http://o5:nodesll1:hi1eeee\r\n";
    const INFO: &[u8] = b"d4:name1:n6:lengthi0e6:pieces0:12:piece lengthi1e6:source3:yese";

    fn text_of(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    /// A sorted .torrent around `INFO`, with these other entries before and behind it.
    fn around(before: &str, behind: &str) -> Vec<u8> {
        format!("d{before}4:info{}{behind}e", text_of(INFO)).into_bytes()
    }

    fn edited(bytes: &[u8], change: impl Fn(&mut Editor)) -> String {
        let mut editor = Editor::new(bytes).unwrap();
        change(&mut editor);
        text_of(&editor.finish())
    }

    #[test]
    fn without_changes_every_byte_stays() {
        assert_eq!(edited(UNSORTED, |_| ()), text_of(UNSORTED));
        let old = around("8:announce0:", "1:xi1e");
        let same = edited(&old, |e| {
            e.set_announce("");
            e.set_announce_list(&[]);
            e.set_seeds(Seeds::Http, &[]);
            e.set_name("n").unwrap();
        });
        assert_eq!(same, text_of(&old));
    }

    #[test]
    fn a_change_touches_nothing_but_its_own_entry() {
        let new = edited(UNSORTED, |e| e.set_announce("http://new"));
        assert_eq!(new, text_of(UNSORTED).replace("8:http://o", "10:http://new"));
        let with = around("8:announce1:a13:announce-listll1:aee9:httpseedsl1:se", "1:xi1e");
        let without = edited(&with, |e| e.set_announce_list(&[]));
        assert_eq!(without, text_of(&around("8:announce1:a9:httpseedsl1:se", "1:xi1e")));
        let without = edited(&with, |e| e.set_seeds(Seeds::Http, &[]));
        assert_eq!(without, text_of(&around("8:announce1:a13:announce-listll1:aee", "1:xi1e")));
    }

    #[test]
    fn new_keys_go_to_their_canonical_place() {
        let change = |e: &mut Editor| {
            e.set_seeds(Seeds::Http, &parse_urls("s|t"));
            e.set_announce_list(&parse_tiers("a,b|c"));
            e.set_announce("u");
        };
        let all = "8:announce1:u13:announce-listll1:a1:bel1:cee";
        let seeds = "9:httpseedsl1:s1:te";
        let wanted = around(&format!("{all}{seeds}"), "");
        assert_eq!(edited(&around("", ""), change), text_of(&wanted));
        let between = around("7:comment1:c", "8:url-list1:w");
        let wanted = around(&format!("{all}7:comment1:c{seeds}"), "8:url-list1:w");
        assert_eq!(edited(&between, change), text_of(&wanted));
        let new = edited(UNSORTED, change);
        assert!(new.starts_with("d13:announce-list"), "{new}");
        assert!(new.contains("9:httpseedsl1:s1:te4:zulud1:bi1e1:ai2ee4:info"), "{new}");
        let reread = Editor::new(new.as_bytes()).unwrap();
        assert_eq!(reread.announce_list(), parse_tiers("a,b|c"));
        assert_eq!(reread.seeds(Seeds::Http), ["s", "t"]);
    }

    #[test]
    fn a_key_at_the_place_of_one_that_goes() {
        let old = around("13:announce-listll1:aee9:httpseedsl1:se", "");
        let new = edited(&old, |e| {
            e.set_announce("u");
            e.set_announce_list(&[]);
            e.set_seeds(Seeds::Http, &[]);
        });
        assert_eq!(new, text_of(&around("8:announce1:u", "")));
    }

    #[test]
    fn a_name_changes_alone_and_in_both_its_forms() {
        let new = edited(UNSORTED, |e| e.set_name("new").unwrap());
        assert_eq!(new, text_of(UNSORTED).replace("4:name1:n6", "4:name3:new6"));
        let old = b"d4:infod6:lengthi1e4:name1:\xe910:name.utf-82:\xc3\xa96:pieces0:ee";
        let mut editor = Editor::new(old).unwrap();
        assert_eq!(editor.name().unwrap(), "é");
        editor.set_name("new").unwrap();
        let wanted = "d4:infod6:lengthi1e4:name3:new10:name.utf-83:new6:pieces0:ee";
        assert_eq!(text_of(&editor.finish()), wanted);
    }

    #[test]
    fn the_only_file_of_version_2_is_renamed_in_its_tree_and_a_folder_around_it_is_not() {
        let renamed = |info: &str| edited(&info_only(info), |e| e.set_name("new").unwrap());
        let file = "d0:d6:lengthi0eee";
        let tree = |name: &str| format!("9:file treed{name}{file}e");
        let rest = |name: &str| format!("12:meta versioni2e4:name{name}");
        let single = renamed(&format!("{}{}", tree("1:n"), rest("1:n")));
        assert_eq!(single, text_of(&info_only(&format!("{}{}", tree("3:new"), rest("3:new")))));
        let folder = renamed(&format!("{}{}", tree("1:f"), rest("1:n")));
        assert_eq!(folder, text_of(&info_only(&format!("{}{}", tree("1:f"), rest("3:new")))));
        let listed = format!("{}5:filesle", tree("1:n"));
        let hybrid = renamed(&format!("{listed}{}", rest("1:n")));
        assert_eq!(hybrid, text_of(&info_only(&format!("{listed}{}", rest("3:new")))));
    }

    fn info_only(info: &str) -> Vec<u8> {
        format!("d4:infod{info}ee").into_bytes()
    }

    #[test]
    fn names_that_nobody_takes_are_refused() {
        let bytes = around("", "");
        for bad in ["", "..", ".x", "~x", "a/b", "a\\b", "a\0b"] {
            let e = Editor::new(&bytes).unwrap().set_name(bad);
            assert_eq!(e, Err(MetainfoError::Name(bad.into())));
        }
        let set = |info: &str| {
            let bytes = format!("d4:info{info}e");
            Editor::new(bytes.as_bytes()).unwrap().set_name("n")
        };
        assert_eq!(set("d6:pieces0:e"), Err(MetainfoError::Missing("name")));
        assert_eq!(set("d4:namei1e6:pieces0:e"), Err(MetainfoError::Bad("name")));
        // One that leads out can be mended.
        assert_eq!(set("d4:name2:..6:pieces0:e"), Ok(()));
    }

    #[test]
    fn trackers_are_copied_as_they_stand() {
        let source = b"d13:announce-listll1:\xe90:el1:bee4:infode8:announce3:\xe9%%e";
        let old = around("8:announce1:o", "");
        let mut editor = Editor::new(&old).unwrap();
        editor.copy_trackers(&Editor::new(source).unwrap());
        let head = b"d8:announce3:\xe9%%13:announce-listll1:\xe90:el1:bee4:info";
        assert!(editor.finish().starts_with(head));
        let old = around("8:announce1:o13:announce-listll1:aee", "");
        let bare = around("8:announce1:n13:announce-listle", "");
        let new = edited(&old, |e| e.copy_trackers(&Editor::new(&bare).unwrap()));
        assert_eq!(new, text_of(&around("8:announce1:n", "")));
    }

    #[test]
    fn a_text_is_replaced_in_all_trackers_and_nowhere_else() {
        let trackers = "8:announce5:u/k/k13:announce-listll1:k0:i1e2:kkel1:bee";
        let old = text_of(&around(trackers, "3:zzz1:k"));
        let new = edited(old.as_bytes(), |e| e.replace_in_trackers("k", "new"));
        let wanted = "8:announce9:u/new/new13:announce-listll3:new0:i1e6:newnewel1:bee";
        assert_eq!(new, text_of(&around(wanted, "3:zzz1:k")));
        assert_eq!(edited(old.as_bytes(), |e| e.replace_in_trackers("q", "r")), old);
        assert_eq!(replaced_bytes(b"aaa", b"aa", b""), b"a");
    }

    #[test]
    fn both_kinds_of_web_seeds_are_known() {
        let one = around("", "8:url-list1:w");
        assert_eq!(Editor::new(&one).unwrap().seeds(Seeds::Url), ["w"]);
        let new = edited(&one, |e| e.set_seeds(Seeds::Url, &parse_urls("v|w")));
        assert_eq!(new, text_of(&around("", "8:url-listl1:v1:we")));
        assert_eq!(edited(&one, |e| e.set_seeds(Seeds::Url, &[])), text_of(&around("", "")));
    }

    #[test]
    fn what_is_no_torrent_is_refused() {
        let fault = |bytes: &[u8]| Editor::new(bytes).map(drop).unwrap_err();
        assert_eq!(fault(b"le"), MetainfoError::NotADictionary);
        assert_eq!(fault(b"de"), MetainfoError::Missing("info"));
        assert_eq!(fault(b"d4:infolee"), MetainfoError::Bad("info"));
        assert!(matches!(fault(b""), MetainfoError::Bencode(_)));
        assert!(matches!(fault(b"d4:infode"), MetainfoError::Bencode(_)));
    }

    /// All changes that keep the info hash, chosen by the bits of `choice`.
    fn change(editor: &mut Editor, choice: usize) {
        let source = around("8:announce1:s13:announce-listll1:t0:ee", "");
        let some = |bit: usize| choice & bit != 0;
        if some(1) {
            editor.set_announce("http://new/announce");
        }
        if some(2) {
            editor.set_announce_list(&parse_tiers(if some(4) { "a,b|c" } else { "" }));
        }
        if some(8) {
            editor.set_seeds(Seeds::Http, &parse_urls(if some(16) { "s|t" } else { "" }));
        }
        if some(64) {
            editor.replace_in_trackers("a", "eee");
            editor.set_seeds(Seeds::Url, &parse_urls("w"));
        }
        if some(32) {
            editor.copy_trackers(&Editor::new(&source).unwrap());
        }
    }

    #[test]
    fn damaged_torrents_never_panic_and_what_is_written_can_be_read() {
        let sorted = around("8:announce1:a13:announce-listll1:aee9:httpseedsl1:se", "1:xi1e");
        let damaged = |random: &mut Random| {
            let whole = if random.below(2) == 0 { &sorted[..] } else { UNSORTED };
            let changes = random.below(4);
            random.damage(whole, changes)
        };
        let taken = survived(6000, damaged, |bytes, random| {
            let Ok(mut editor) = Editor::new(bytes) else { return false };
            change(&mut editor, random.below(128));
            let new = editor.finish();
            let again = Editor::new(&new).expect("readable");
            assert_eq!(again.info_hash(), editor.info_hash());
            assert_eq!(Metainfo::decode(&new).is_ok(), Metainfo::decode(bytes).is_ok());
            if editor.set_name("another").is_ok() {
                let new = editor.finish();
                assert_eq!(Editor::new(&new).expect("readable").name().unwrap(), "another");
            }
            true
        });
        assert!(taken > 2000, "only {taken} were taken: the damage is too great to test much");
    }
}
