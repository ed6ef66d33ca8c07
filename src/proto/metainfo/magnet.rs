//! Writes the magnet link of a torrent (BEP 9). For those who show .torrents.

use std::collections::HashSet;

use crate::proto::announce::ask::percent_encode;

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
