//! Building .torrent files: what is to be written, as values, and its bytes.
//!
//! For the makers, which hash; nothing here reads a .torrent or touches a file.

use crate::proto::sorted;
use std::net::Ipv6Addr;

use crate::proto::bencode::Item;
use crate::proto::geometry::{Geometry, GeometryError};
use crate::proto::merkle::{self, Node};

use super::Version;
use super::version2::gap;

/// A torrent to be written: with nothing but its content, exactly the keys of BitTornado's makers.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The tracker's address; left out if `None`.
    pub announce: Option<String>,
    /// Tiers of trackers; left out if empty.
    pub announce_list: Vec<Vec<String>>,
    /// Left out if empty.
    pub comment: String,
    /// The program that made it; left out if empty.
    pub created_by: String,
    /// Seconds since 1970; left out if `None`.
    pub creation_date: Option<i64>,
    /// Web seeds in Hoffman's style (BEP 17); left out if empty.
    pub httpseeds: Vec<String>,
    /// Web seeds in GetRight's style (BEP 19); left out if empty.
    pub url_list: Vec<String>,
    /// Hosts and ports of the DHT to begin with (BEP 5); left out if empty.
    pub nodes: Vec<(String, u16)>,
    /// Peers come from the trackers alone (BEP 27); left out if not. Changes the info hash.
    pub private: bool,
    /// Whose torrent this is, to tell it from the same content elsewhere; left out if empty.
    /// Changes the info hash.
    pub source: String,
    /// The name of the file or folder.
    pub name: String,
    /// Bytes a piece.
    pub piece_length: u32,
    /// Its file, or its files.
    pub content: Content,
    /// Which hashes are written.
    pub version: Version,
    /// The SHA-1 of every piece; none in version 2 alone.
    pub pieces: Vec<[u8; 20]>,
    /// In version 2 the root of the tree over every piece.
    pub roots: Vec<Node>,
}

/// A file as pieces are counted, or what fills up the last piece of the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Bytes.
    pub length: u64,
    /// Padding, which is on no disk.
    pub pad: bool,
}

/// What a [`Draft`] is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// One file of so many bytes.
    File(u64),
    /// A folder of files: names from below the folder, and bytes.
    Folder(Vec<(Vec<String>, u64)>),
}

impl Content {
    /// Bytes of each file, in order.
    pub fn lengths(&self) -> Vec<u64> {
        match self {
            Content::File(length) => vec![*length],
            Content::Folder(files) => files.iter().map(|(_, length)| *length).collect(),
        }
    }
}

/// The files and, in version 2, behind each that does not fill its last piece, padding: but for
/// a lone file, as libtorrent does, so that both make the same of the same files.
fn slots(lengths: &[u64], version: Version, piece_length: u32) -> Vec<Slot> {
    let is_padded = version.has_two() && lengths.len() > 1;
    let padding = |length| if is_padded { gap(length, piece_length) } else { 0 };
    let both = |length: &u64| {
        let file = Slot { length: *length, pad: false };
        [file, Slot { length: padding(*length), pad: true }]
    };
    lengths.iter().flat_map(both).filter(|slot| !slot.pad || slot.length > 0).collect()
}

impl Draft {
    /// The files as pieces are counted, with what fills up their last pieces.
    pub fn slots(&self) -> Vec<Slot> {
        slots(&self.content.lengths(), self.version, self.piece_length)
    }

    /// The measures of the content.
    ///
    /// # Errors
    /// A piece length or a content that no client could hold.
    pub fn geometry(&self) -> Result<Geometry, GeometryError> {
        Geometry::new(self.piece_length, self.slots().iter().map(|slot| slot.length))
    }

    /// The bytes of the .torrent. In version 2 `roots` must have one entry a piece.
    pub fn encode(&self) -> Vec<u8> {
        let layers = if self.version.has_two() { self.layers() } else { Vec::new() };
        let text = |text: &str| (!text.is_empty()).then(|| Item::from(text));
        let urls = |urls: &[String]| (!urls.is_empty()).then(|| list(urls));
        dict([
            ("announce", self.announce.as_deref().map(Item::from)),
            ("announce-list", self.tiers()),
            ("comment", text(&self.comment)),
            ("created by", text(&self.created_by)),
            ("creation date", self.creation_date.map(Item::Int)),
            ("httpseeds", urls(&self.httpseeds)),
            ("info", Some(self.info(&layers))),
            ("nodes", self.nodes()),
            (
                "piece layers",
                self.version.has_two().then(|| told_layers(&layers, self.piece_length)),
            ),
            ("url-list", urls(&self.url_list)),
        ])
        .encode()
    }

    fn tiers(&self) -> Option<Item> {
        let tiers = self.announce_list.iter().map(|tier| list(tier)).collect();
        (!self.announce_list.is_empty()).then_some(Item::List(tiers))
    }

    fn nodes(&self) -> Option<Item> {
        let node = |(host, port): &(String, u16)| {
            Item::List(vec![Item::from(host.as_str()), Item::Int((*port).into())])
        };
        let nodes = self.nodes.iter().map(node).collect();
        (!self.nodes.is_empty()).then_some(Item::List(nodes))
    }

    fn info(&self, layers: &[&[Node]]) -> Item {
        let version = self.version;
        let source = (!self.source.is_empty()).then(|| Item::from(self.source.as_str()));
        let is_file = matches!(self.content, Content::File(_));
        dict([
            ("file tree", version.has_two().then(|| self.tree(layers))),
            ("files", (version.has_one() && !is_file).then(|| self.files())),
            ("length", (version.has_one() && is_file).then(|| int(self.content.lengths()[0]))),
            ("meta version", version.has_two().then_some(Item::Int(2))),
            ("name", Some(Item::from(self.name.as_str()))),
            ("piece length", Some(Item::Int(self.piece_length.into()))),
            ("pieces", version.has_one().then(|| Item::Bytes(self.pieces.concat()))),
            ("private", self.private.then_some(Item::Int(1))),
            ("source", source),
        ])
    }

    /// The list of version 1.
    fn files(&self) -> Item {
        let Content::Folder(files) = &self.content else { return Item::List(Vec::new()) };
        let mut paths = files.iter().map(|(path, _)| path);
        let entry = |slot: Slot| {
            let length = int(slot.length);
            if slot.pad {
                let path = list(&[".pad".to_string(), slot.length.to_string()]);
                return Item::dict([("attr", Item::from("p")), ("length", length), ("path", path)]);
            }
            let path = paths.next().expect("a slot for each file");
            Item::dict([("length", length), ("path", list(path))])
        };
        Item::List(self.slots().into_iter().map(entry).collect())
    }

    /// The roots of the pieces of each file.
    fn layers(&self) -> Vec<&[Node]> {
        let mut rest = &self.roots[..];
        let mut layers = Vec::new();
        for length in self.content.lengths() {
            let pieces = length.div_ceil(u64::from(self.piece_length)) as usize;
            let (own, behind) = rest.split_at(pieces);
            layers.push(own);
            rest = behind;
        }
        layers
    }

    /// The tree of files of version 2.
    fn tree(&self, layers: &[&[Node]]) -> Item {
        let name = vec![self.name.clone()];
        let files = match &self.content {
            Content::File(length) => vec![(&name, *length)],
            Content::Folder(files) => files.iter().map(|(path, n)| (path, *n)).collect(),
        };
        let mut tree = sorted::Map::new();
        for ((path, length), layer) in files.into_iter().zip(layers) {
            let root = file_root(layer, self.piece_length).map(|root| Item::Bytes(root.to_vec()));
            let entries = [("length", Some(int(length))), ("pieces root", root)];
            plant(&mut tree, path, dict(entries));
        }
        Item::Dict(tree)
    }
}

/// The root over all pieces of a file; `None` for an empty one.
fn file_root(layer: &[Node], piece_length: u32) -> Option<Node> {
    match layer {
        [] => None,
        [only] => Some(*only),
        _ => Some(merkle::layer_root(layer, piece_length)),
    }
}

/// The layers that a root alone does not tell.
fn told_layers(layers: &[&[Node]], piece_length: u32) -> Item {
    let several = layers.iter().filter(|layer| layer.len() > 1);
    let entry = |layer: &&[Node]| {
        Some((file_root(layer, piece_length)?.to_vec(), Item::Bytes(layer.concat())))
    };
    Item::Dict(several.filter_map(entry).collect())
}

/// Puts a file to its place in the tree. What is a file already stays one: a reader refuses it.
fn plant(folder: &mut sorted::Map<Vec<u8>, Item>, path: &[String], file: Item) {
    let mut folder = folder;
    for name in path {
        let inside = folder.entry(name.as_bytes().to_vec());
        let inside = inside.or_insert_with(|| Item::Dict(sorted::Map::new()));
        let Item::Dict(inside) = inside else { return };
        folder = inside;
    }
    folder.insert(Vec::new(), file);
}

/// A dictionary of those entries that have a value.
fn dict<const N: usize>(entries: [(&str, Option<Item>); N]) -> Item {
    let entries = entries.into_iter();
    Item::Dict(entries.filter_map(|(k, v)| Some((k.as_bytes().to_vec(), v?))).collect())
}

/// A list of strings.
pub(super) fn list(texts: &[String]) -> Item {
    Item::List(texts.iter().map(|t| Item::from(t.as_str())).collect())
}

fn int(length: u64) -> Item {
    Item::Int(i64::try_from(length).expect("Geometry bounds the total by 2^63"))
}

/// The least and the greatest piece length (bytes) that makers choose: smaller ones make a
/// .torrent that is large for nothing, larger ones are not read.
pub const PIECE_LENGTHS: std::ops::RangeInclusive<u32> = 1 << 14..=1 << 27;

/// The smallest power of two among [`PIECE_LENGTHS`] with which content of `total` bytes has no
/// more than `most` pieces; `None` if there is none.
pub fn piece_length_within(total: u64, most: u64) -> Option<u32> {
    let lengths = (0..).map(|power| PIECE_LENGTHS.start() << power);
    let mut lengths = lengths.take_while(|length| PIECE_LENGTHS.contains(length));
    lengths.find(|length| total.div_ceil(u64::from(*length)) <= most)
}

/// A piece length as users write it: a power of two among [`PIECE_LENGTHS`], in bytes, `KiB` or
/// `MiB`.
pub fn parse_piece_length(text: &str) -> Option<u32> {
    let text = text.trim();
    let (digits, shift) = match (text.strip_suffix("KiB"), text.strip_suffix("MiB")) {
        (Some(digits), _) => (digits.trim_end(), 10),
        (_, Some(digits)) => (digits.trim_end(), 20),
        _ => (text, 0),
    };
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    let length = digits.parse::<u32>().ok().filter(|_| plain)?.checked_mul(1 << shift)?;
    (length.is_power_of_two() && PIECE_LENGTHS.contains(&length)).then_some(length)
}

/// The piece length (bytes) for content of `total` bytes, as BitTornado chooses it.
pub fn automatic_piece_length(total: u64) -> u32 {
    const MIB: u64 = 1 << 20;
    let steps = [4 * MIB, 16 * MIB, 64 * MIB, 512 * MIB, 2048 * MIB, 8192 * MIB];
    let above = steps.iter().filter(|step| total > **step).count();
    (32 * 1024) << above
}

/// Tiers of trackers as users write them: `url,url|url`. Empty items and tiers are dropped.
pub fn parse_tiers(text: &str) -> Vec<Vec<String>> {
    let tiers = text.split('|').map(|tier| split(tier, ','));
    tiers.filter(|tier| !tier.is_empty()).collect()
}

/// Addresses as users write them: `url|url`. Empty ones are dropped.
pub fn parse_urls(text: &str) -> Vec<String> {
    split(text, '|')
}

fn split(text: &str, by: char) -> Vec<String> {
    text.split(by).filter(|item| !item.is_empty()).map(str::to_string).collect()
}

/// Nodes of the DHT as users write them: `host:port,[v6]:port`. Empty ones are dropped.
///
/// # Errors
/// The first that is no host with a port.
pub fn parse_nodes(text: &str) -> Result<Vec<(String, u16)>, String> {
    split(text, ',').into_iter().map(|node| parse_node(&node).ok_or(node)).collect()
}

fn parse_node(node: &str) -> Option<(String, u16)> {
    let (host, port) = node.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').filter(|v6| v6.parse::<Ipv6Addr>().is_ok())?,
        None => Some(host).filter(|host| !host.contains([':', '/', ']', ' ']))?,
    };
    (!host.is_empty()).then(|| (host.to_string(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piece_lengths_are_powers_of_two_in_bytes_or_with_a_unit() {
        for (text, length) in [
            ("16384", 16384),
            ("16KiB", 16384),
            ("4MiB", 4 << 20),
            ("4 MiB", 4 << 20),
            ("128MiB", 128 << 20),
            ("131072KiB", 128 << 20),
        ] {
            assert_eq!(parse_piece_length(text), Some(length), "{text}");
        }
        for text in
            ["", "0", "8KiB", "256MiB", "3MiB", "4MB", "MiB", "+4MiB", "-4MiB", "99999999999MiB"]
        {
            assert_eq!(parse_piece_length(text), None, "{text}");
        }
    }

    #[test]
    fn the_smallest_piece_length_that_stays_within_is_chosen() {
        let mib = 1u64 << 20;
        assert_eq!(piece_length_within(0, 1), Some(1 << 14));
        assert_eq!(piece_length_within(16384, 1), Some(1 << 14));
        assert_eq!(piece_length_within(16385, 1), Some(1 << 15));
        assert_eq!(piece_length_within(1000 * mib, 1000), Some(1 << 20));
        assert_eq!(piece_length_within(1000 * mib + 1, 1000), Some(1 << 21));
        assert_eq!(piece_length_within(128 * mib, 1), Some(1 << 27));
        assert_eq!(piece_length_within(128 * mib + 1, 1), None);
        assert_eq!(piece_length_within(u64::MAX, 1), None);
    }

    #[test]
    fn nodes_are_hosts_with_ports() {
        let nodes = parse_nodes("a.example:6881,,[2001:db8::1]:1,10.0.0.1:65535").unwrap();
        let wanted = [("a.example", 6881), ("2001:db8::1", 1), ("10.0.0.1", 65535)];
        assert!(nodes.iter().map(|(h, p)| (h.as_str(), *p)).eq(wanted), "{nodes:?}");
        for bad in ["a", "a:", ":1", "a:0", "a:65536", "::1:80", "[::1]", "[x]:1", "http://a:1"] {
            assert_eq!(parse_nodes(&format!("ok:1,{bad}")), Err(bad.to_string()));
        }
    }
}
