//! Building .torrent files: what is to be written, as values, and its bytes.
//!
//! For the makers, which hash; nothing here reads a .torrent or touches a file.

use crate::proto::bencode::Item;

/// A torrent to be written: the keys that BitTornado's makers write, no others.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The tracker's address, always written.
    pub announce: String,
    /// Tiers of trackers; left out if empty.
    pub announce_list: Vec<Vec<String>>,
    /// Left out if empty.
    pub comment: String,
    /// Seconds since 1970.
    pub creation_date: i64,
    /// Web seeds in Hoffman's style; left out if empty.
    pub httpseeds: Vec<String>,
    /// The name of the file or folder.
    pub name: String,
    /// Bytes a piece.
    pub piece_length: u32,
    /// Its file, or its files.
    pub content: Content,
    /// The SHA-1 of every piece.
    pub pieces: Vec<[u8; 20]>,
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

impl Draft {
    /// The bytes of the .torrent.
    pub fn encode(&self) -> Vec<u8> {
        let mut entries = vec![
            ("announce", Item::from(self.announce.as_str())),
            ("creation date", Item::Int(self.creation_date)),
            ("info", self.info()),
        ];
        if !self.announce_list.is_empty() {
            let tiers = self.announce_list.iter().map(|tier| list(tier)).collect();
            entries.push(("announce-list", Item::List(tiers)));
        }
        if !self.comment.is_empty() {
            entries.push(("comment", Item::from(self.comment.as_str())));
        }
        if !self.httpseeds.is_empty() {
            entries.push(("httpseeds", list(&self.httpseeds)));
        }
        let entries = entries.into_iter().map(|(k, v)| (k.as_bytes().to_vec(), v));
        Item::Dict(entries.collect()).encode()
    }

    fn info(&self) -> Item {
        let (key, content) = match &self.content {
            Content::File(length) => ("length", int(*length)),
            Content::Folder(files) => {
                let file = |(path, length): &(Vec<String>, u64)| {
                    Item::dict([("length", int(*length)), ("path", list(path))])
                };
                ("files", Item::List(files.iter().map(file).collect()))
            }
        };
        Item::dict([
            (key, content),
            ("name", Item::from(self.name.as_str())),
            ("piece length", Item::Int(self.piece_length.into())),
            ("pieces", Item::Bytes(self.pieces.concat())),
        ])
    }
}

pub(super) fn list(texts: &[String]) -> Item {
    Item::List(texts.iter().map(|t| Item::from(t.as_str())).collect())
}

fn int(length: u64) -> Item {
    Item::Int(i64::try_from(length).expect("Geometry bounds the total by 2^63"))
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
