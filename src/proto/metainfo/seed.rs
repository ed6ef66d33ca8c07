//! What to ask web seeds for: those in GetRight's style (BEP 19) for the files of a torrent, those
//! in Hoffman's (BEP 17) for its pieces.

use crate::proto::announce::ask::percent_encode;

use super::{Info, Layout};
use crate::proto::geometry::BlockRef;
use crate::proto::ids::InfoHash;
use std::fmt::Write;

/// The URL of file number `file` at the web seed `base`: that itself for a lone file, unless it
/// ends in a slash; else the torrent's name and the path in it below it.
pub fn seed_url(base: &str, info: &Info, file: usize) -> String {
    let mut url = base.to_string();
    if info.layout == Layout::Single && !base.ends_with('/') {
        return url;
    }
    if !url.ends_with('/') {
        url.push('/');
    }
    percent_encode(&mut url, info.name.as_bytes());
    for name in &info.files[file].path {
        url.push('/');
        percent_encode(&mut url, name.as_bytes());
    }
    url
}

/// The URL of a range of a piece at the web seed `base`; `whole` if that is all of the piece.
pub fn piece_url(base: &str, info_hash: InfoHash, range: BlockRef, whole: bool) -> String {
    let base = base.split('#').next().unwrap_or_default();
    let mut url = base.to_string();
    url.push(if base.contains('?') { '&' } else { '?' });
    url.push_str("info_hash=");
    percent_encode(&mut url, &info_hash.0);
    write!(url, "&piece={}", range.piece().get()).expect("a String takes every write");
    if !whole {
        let (first, last) = (range.begin(), range.end() - 1);
        write!(url, "&ranges={first}-{last}").expect("a String takes every write");
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::geometry::Geometry;

    #[test]
    fn pieces_are_asked_for_by_number_and_parts_of_them_by_offsets() {
        let geometry = Geometry::new(100, [250]).unwrap();
        let hash = InfoHash(*b"a !bcdefghijklmnopq~");
        let of = |base, index, begin, length| {
            let range = geometry.range(index, begin, length).unwrap();
            let whole = range == geometry.whole_piece(range.piece());
            piece_url(base, hash, range, whole)
        };
        let start = "info_hash=a%20%21bcdefghijklmnopq~&piece=";
        assert_eq!(of("http://h/s", 2, 0, 50), format!("http://h/s?{start}2"));
        assert_eq!(
            of("http://h/s?x=1#y", 0, 10, 90),
            format!("http://h/s?x=1&{start}0&ranges=10-99")
        );
    }
    use crate::proto::metainfo::Metainfo;

    #[test]
    fn names_are_put_behind_the_base_and_escaped() {
        let info = |content: &str| {
            let pieces = "6:pieces20:01234567890123456789";
            let text = format!("d4:infod{content}4:name3:a b12:piece lengthi16384e{pieces}ee");
            Metainfo::decode(text.as_bytes()).unwrap().info
        };
        let file = info("6:lengthi1e");
        assert_eq!(seed_url("http://h/x?y", &file, 0), "http://h/x?y");
        assert_eq!(seed_url("http://h/d/", &file, 0), "http://h/d/a%20b");
        let folder = info("5:filesld6:lengthi0e4:pathl1:zeed6:lengthi1e4:pathl1:d3:\u{e9}#eee");
        for base in ["http://h/d/", "http://h/d"] {
            assert_eq!(seed_url(base, &folder, 1), "http://h/d/a%20b/d/%C3%A9%23");
        }
    }
}
