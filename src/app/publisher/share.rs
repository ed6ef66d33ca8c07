//! What is shared of a path: its versions, each a torrent, the newest first.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::host::Authority;
use super::works::Made;
use crate::app::maker;
use crate::app::target;
use crate::io::storage::{Links, Storage};
use crate::proto::announce::ask::percent_encode;
use crate::proto::ids::InfoHash;
use crate::proto::metainfo::edit::{Editor, Seeds};
use crate::proto::metainfo::{Info, Metainfo, MetainfoError};
use crate::proto::resume::client::Stamp;

/// What is going on with a path.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum State {
    /// So much of it has been read, 0 to 1.
    Reading(f64),
    /// It is shared.
    Shared,
    /// It is not there any more.
    Gone,
    /// It cannot be shared.
    Failed,
}

/// A path that is shared, or shall be.
pub(super) struct Share {
    pub path: PathBuf,
    /// What it is called.
    pub name: String,
    pub state: State,
    pub versions: Vec<Version>,
    /// How often the file was sent whole to web clients.
    pub by_web: u32,
}

impl Share {
    pub fn new(path: PathBuf) -> Share {
        let name = maker::name_of(&path).unwrap_or_default().to_string_lossy().into_owned();
        Share { path, name, state: State::Reading(0.0), versions: Vec::new(), by_web: 0 }
    }

    /// What is shared now.
    pub fn newest(&self) -> Option<&Version> {
        self.versions.first().filter(|_| self.state == State::Shared)
    }
}

/// A torrent of what is, or was, at a path.
pub(super) struct Version {
    pub hash: InfoHash,
    pub name: String,
    /// Bytes of its content.
    pub total: u64,
    /// The .torrent as others get it.
    pub torrent: Arc<Vec<u8>>,
    pub magnet: String,
    /// Its files: name and path with slashes between, and bytes; in the torrent's order.
    pub files: Vec<(String, u64)>,
    /// The same by name.
    places: HashMap<String, usize>,
    pub looks: Vec<Stamp>,
    pub storage: Arc<Storage>,
}

impl Version {
    /// Of what was made of a path, to be had at these addresses.
    ///
    /// # Errors
    /// The .torrent is none: somebody has spoilt what was kept of it.
    pub fn new(made: &Made, path: PathBuf, at: &[Authority]) -> Result<Version, MetainfoError> {
        let info = &made.metainfo.info;
        let hash = made.metainfo.info_hash;
        let torrent = with_trackers(&made.torrent, hash, at)?;
        let magnet = Metainfo::decode(&torrent)?.magnet();
        let files = names(info);
        let places = files.iter().enumerate().map(|(n, (name, _))| (name.clone(), n)).collect();
        let geometry = Arc::new(info.geometry());
        let storage = Storage::new(path, target::files(info), geometry, Links::Refuse);
        Ok(Version {
            hash,
            name: info.name.clone(),
            total: info.total(),
            torrent: Arc::new(torrent),
            magnet,
            files,
            places,
            looks: made.looks.clone(),
            storage: Arc::new(storage),
        })
    }

    /// The number of the file that is called so, its torrent's name included.
    pub fn file(&self, name: &[u8]) -> Option<usize> {
        self.places.get(std::str::from_utf8(name).ok()?).copied()
    }

    /// Whether it is one file, not a folder.
    pub fn is_file(&self) -> bool {
        matches!(&self.files[..], [(name, _)] if *name == self.name)
    }
}

fn names(info: &Info) -> Vec<(String, u64)> {
    let name = |file: &crate::proto::metainfo::File| {
        let mut name = info.name.clone();
        for step in &file.path {
            name.push('/');
            name.push_str(step);
        }
        (name, file.length)
    };
    info.files.iter().map(name).collect()
}

/// The .torrent with us as tracker and web seed.
fn with_trackers(
    torrent: &[u8],
    hash: InfoHash,
    at: &[Authority],
) -> Result<Vec<u8>, MetainfoError> {
    // A tier each, so that they are tried in this order.
    let tiers = at.iter().flat_map(|at| [format!("http://{at}/announce"), at.udp()]);
    let tiers: Vec<Vec<String>> = tiers.map(|url| vec![url]).collect();
    let seeds: Vec<String> = at.iter().map(|at| format!("http://{at}/data/{hash}/")).collect();
    let mut editor = Editor::new(torrent)?;
    editor.set_announce(&tiers[0][0]);
    editor.set_announce_list(&tiers);
    editor.set_seeds(Seeds::Url, &seeds);
    Ok(editor.finish())
}

/// Whether nothing else that is shared now has the name of this.
pub(super) fn is_lone(shares: &[Share], version: &Version) -> bool {
    let newest = shares.iter().filter_map(Share::newest);
    newest.filter(|other| other.name == version.name).count() <= 1
}

/// Where a .torrent is below the page's address: at its name, if no other has that.
pub(super) fn torrent_path(shares: &[Share], version: &Version) -> String {
    match is_lone(shares, version) {
        true => format!("{}.torrent", in_url(&version.name)),
        false => format!("{}.torrent", version.hash),
    }
}

/// Where a file of it is, by its name.
pub(super) fn data_path(shares: &[Share], version: &Version, name: &str) -> String {
    match is_lone(shares, version) {
        true => format!("data/{}", in_url(name)),
        false => format!("data/{}/{}", version.hash, in_url(name)),
    }
}

/// A name of a file as it stands in the path of a URL.
pub(super) fn in_url(name: &str) -> String {
    let mut url = String::with_capacity(name.len());
    for (n, step) in name.split('/').enumerate() {
        if n > 0 {
            url.push('/');
        }
        percent_encode(&mut url, step.as_bytes());
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::publisher::Host;

    #[test]
    fn every_address_is_a_tracker_and_a_web_seed() {
        let at = ["192.0.2.7", "2001:db8::7"].map(|ip| Authority::new(Host::read(ip).unwrap(), 80));
        let info = b"d6:lengthi1e4:name1:x12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae";
        let bare = [&b"d4:info"[..], info, b"e"].concat();
        let torrent = with_trackers(&bare, InfoHash([0xab; 20]), &at).unwrap();
        let torrent = Metainfo::decode(&torrent).unwrap();
        let (hosts, hash) = (["192.0.2.7", "[2001:db8::7]"], "ab".repeat(20));
        assert_eq!(torrent.announce.unwrap(), "http://192.0.2.7/announce");
        let tiers: Vec<String> = torrent.announce_list.concat();
        let doors = |host| [format!("http://{host}/announce"), format!("udp://{host}:80/announce")];
        assert_eq!(tiers, hosts.map(doors).concat());
        assert_eq!(torrent.url_list, hosts.map(|host| format!("http://{host}/data/{hash}/")));
    }
}
