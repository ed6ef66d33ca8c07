//! Writes the magnet link of a torrent (BEP 9). For those who show .torrents.

use std::collections::HashSet;

use crate::proto::announce::ask::percent_encode;

use super::Metainfo;

impl Metainfo {
    /// The magnet link: info hash (`xt`), name (`dn`), bytes (`xl`), every tracker once and in
    /// order (`tr`), web seeds in GetRight's style (`ws`). Those in Hoffman's style have no place
    /// in it.
    pub fn magnet(&self) -> String {
        let mut link = format!("magnet:?xt=urn:btih:{}&dn=", self.info_hash);
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
