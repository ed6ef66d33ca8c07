//! Writes the magnet link of a torrent (BEP 9), and the .torrent of a magnet link once its `info`
//! is known. For those who show .torrents, and for the clients.

use std::collections::HashSet;

use crate::proto::announce::ask::percent_encode;
use crate::proto::bencode::put_bytes;
use crate::proto::magnet::Magnet;

use super::Metainfo;

impl Metainfo {
    /// The magnet link: info hashes (`xt`), name (`dn`), bytes (`xl`), every tracker once and in
    /// order (`tr`), web seeds in GetRight's style (`ws`). Those in Hoffman's style have no place
    /// in it.
    pub fn magnet(&self) -> String {
        // 12 20: a SHA-256 of 32 bytes, as multihashes say it.
        let one = self.hash_v1().map(|hash| format!("xt=urn:btih:{hash}&"));
        let two = self.info_hash_v2.map(|hash| format!("xt=urn:btmh:1220{hash}&"));
        let mut link: String = ["magnet:?".into()].into_iter().chain(one).chain(two).collect();
        link.push_str("dn=");
        percent_encode(&mut link, self.info.name.as_bytes());
        link.push_str(&format!("&xl={}", self.info.total()));
        let mut seen = HashSet::new();
        let tiers = self.tiers();
        let trackers = tiers.iter().flatten().filter(|url| seen.insert(url.as_str()));
        let trackers = trackers.map(|url| ("&tr=", url));
        for (key, url) in trackers.chain(self.url_list.iter().map(|url| ("&ws=", url))) {
            link.push_str(key);
            percent_encode(&mut link, url.as_bytes());
        }
        link
    }
}

/// The bytes of a .torrent: the trackers and web seeds of the link, each tracker a tier of its own,
/// since a link has no tiers and what it names first is meant to be asked first; and `info` as it
/// is.
pub fn torrent_of(magnet: &Magnet, info: &[u8]) -> Vec<u8> {
    let mut out = b"d".to_vec();
    if let Some(first) = magnet.trackers.first() {
        put_bytes(&mut out, b"announce");
        put_bytes(&mut out, first.as_bytes());
    }
    if magnet.trackers.len() > 1 {
        put_bytes(&mut out, b"announce-list");
        out.push(b'l');
        for tracker in &magnet.trackers {
            out.push(b'l');
            put_bytes(&mut out, tracker.as_bytes());
            out.push(b'e');
        }
        out.push(b'e');
    }
    put_bytes(&mut out, b"info");
    out.extend_from_slice(info);
    if !magnet.web_seeds.is_empty() {
        put_bytes(&mut out, b"url-list");
        out.push(b'l');
        magnet.web_seeds.iter().for_each(|url| put_bytes(&mut out, url.as_bytes()));
        out.push(b'e');
    }
    out.push(b'e');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::hash::sha1;

    #[test]
    fn a_link_and_its_info_make_a_torrent_that_says_the_same() {
        let info =
            b"d6:lengthi5e4:name1:x12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaa3:zzzi1ee";
        for trackers in [&[][..], &["http://a/"], &["http://a/", "udp://b:1"]] {
            let hash = sha1(info).map(|b| format!("{b:02x}")).concat();
            let link = format!("magnet:?xt=urn:btih:{hash}&ws=http://w/");
            let link = trackers.iter().fold(link, |link, tracker| format!("{link}&tr={tracker}"));
            let magnet = Magnet::parse(&link).unwrap();
            let bytes = torrent_of(&magnet, info);
            let metainfo = Metainfo::decode(&bytes).unwrap();
            assert_eq!((metainfo.info_hash, metainfo.trailing), (magnet.info_hash, 0));
            let tiers: Vec<Vec<&str>> = trackers.iter().map(|t| vec![*t]).collect();
            assert_eq!(metainfo.tiers(), tiers);
            assert_eq!(metainfo.url_list, ["http://w/"]);
            assert_eq!(metainfo.info_bytes[..], info[..]);
            assert_eq!(crate::proto::bencode::decode(&bytes).unwrap().to_item().encode(), bytes);
        }
    }
}
