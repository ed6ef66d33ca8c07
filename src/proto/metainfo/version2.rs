//! What version 2 (BEP 52) adds to a .torrent: the tree of files, and the hash trees over them.
//!
//! Called by [`super::Metainfo`] when it reads. Folders nest as deep as bencode may, and all paths
//! together are bounded by [`PATHS`], so that a small .torrent cannot fill the memory.

use std::collections::HashMap;
use std::sync::Arc;

use crate::proto::bencode::Value;
use crate::proto::geometry::GeometryError;
use crate::proto::merkle::{self, Cut, LEAF, Node};

use super::{File, Info, Layout, MAX_SIZE, MetainfoError, Version};
use super::{is_safe_name, need, read_length, readable, refuse_clashes};

/// How many times the size of the .torrent all paths together may take.
const PATHS: usize = 16;

/// What one name in a path takes beside its bytes.
const NAME: usize = size_of::<String>();

/// The most pieces: somewhat more than have room in a .torrent, since files that are alike share
/// their hashes.
const MAX_PIECES: u64 = MAX_SIZE / 16;

/// A file of the tree.
struct Leaf {
    path: Vec<String>,
    length: u64,
    /// `None` for an empty file.
    root: Option<Node>,
}

/// Completes what version 1 told, or tells all if there is none. `size` is that of the whole
/// .torrent, in bytes.
pub(super) fn read(
    info: &mut Info,
    value: &Value,
    top: &Value,
    size: usize,
) -> Result<(), MetainfoError> {
    if !info.piece_length.is_power_of_two() || info.piece_length < LEAF {
        return Err(MetainfoError::Bad("piece length"));
    }
    let mut walk = Walk { path: Vec::new(), leaves: Vec::new(), room: size.saturating_mul(PATHS) };
    walk.folder(need(value, "file tree")?)?;
    let leaves = walk.leaves;
    if leaves.is_empty() {
        return Err(MetainfoError::Bad("file tree"));
    }
    let pieces = |leaf: &Leaf| leaf.length.div_ceil(u64::from(info.piece_length));
    let total = leaves.iter().try_fold(0u64, |sum, leaf| sum.checked_add(pieces(leaf)));
    if total.is_none_or(|total| total > MAX_PIECES) {
        return Err(GeometryError::TooLarge.into());
    }
    let roots = Layers::new(top, info.piece_length)?.roots(&leaves)?;
    match info.version {
        Version::Two => fill(info, leaves, roots),
        _ => compare(info, &leaves, roots),
    }
}

/// The part of a piece that is hashed, if its file has `pieces` of them and `length` bytes in it.
pub(super) fn cut(piece_length: u32, pieces: usize, length: u64) -> Cut {
    let height = match pieces {
        // A file that has but one piece is a tree of its own.
        1 => merkle::height(length.div_ceil(u64::from(LEAF))),
        _ => merkle::piece_height(piece_length),
    };
    // A part of a piece, whose length is a u32.
    Cut { length: length as u32, height }
}

/// A walk through the tree of files.
struct Walk {
    /// The names on the way down here.
    path: Vec<String>,
    leaves: Vec<Leaf>,
    /// Bytes that the paths to come may take.
    room: usize,
}

impl Walk {
    /// Goes no deeper than bencode may nest.
    fn folder(&mut self, folder: &Value) -> Result<(), MetainfoError> {
        let entries = folder.as_dict().ok_or(MetainfoError::Bad("file tree"))?;
        for (name, entry) in entries {
            let name = readable(name).into_owned();
            let safe = is_safe_name(&name);
            self.path.push(name);
            if !safe {
                return Err(MetainfoError::Path(self.path.join("/")));
            }
            match entry.as_dict() {
                Some([(b"", file)]) => self.file(file)?,
                Some(inside) if inside.iter().all(|(name, _)| !name.is_empty()) => {
                    self.folder(entry)?;
                }
                // Neither a file nor a folder, or both.
                _ => return Err(MetainfoError::Bad("file tree")),
            }
            self.path.pop();
        }
        Ok(())
    }

    fn file(&mut self, file: &Value) -> Result<(), MetainfoError> {
        let takes = self.path.iter().map(|name| name.len() + NAME).sum();
        self.room = self.room.checked_sub(takes).ok_or(MetainfoError::Paths)?;
        let length = read_length(need(file, "length")?)?;
        let root = match length {
            0 => None,
            _ => {
                let root = need(file, "pieces root")?.as_bytes().and_then(|b| b.try_into().ok());
                Some(root.ok_or(MetainfoError::Bad("pieces root"))?)
            }
        };
        self.leaves.push(Leaf { path: self.path.clone(), length, root });
        Ok(())
    }
}

/// The hashes of the pieces of those files that have several.
struct Layers<'a> {
    piece_length: u32,
    /// By the root of the file.
    told: HashMap<&'a [u8], &'a [u8]>,
    /// Those that were found right, which files that are alike share.
    right: HashMap<Node, Arc<[Node]>>,
}

impl<'a> Layers<'a> {
    fn new(top: &Value<'a>, piece_length: u32) -> Result<Layers<'a>, MetainfoError> {
        let bad = MetainfoError::Bad("piece layers");
        let mut told = HashMap::new();
        if let Some(layers) = top.get("piece layers") {
            for (root, layer) in layers.as_dict().ok_or(bad.clone())? {
                told.insert(*root, layer.as_bytes().ok_or(bad.clone())?);
            }
        }
        Ok(Layers { piece_length, told, right: HashMap::new() })
    }

    /// The roots of all pieces of each file.
    fn roots(mut self, leaves: &[Leaf]) -> Result<Vec<Option<Arc<[Node]>>>, MetainfoError> {
        leaves.iter().map(|leaf| leaf.root.map(|root| self.of(leaf, root)).transpose()).collect()
    }

    fn of(&mut self, leaf: &Leaf, root: Node) -> Result<Arc<[Node]>, MetainfoError> {
        let pieces = leaf.length.div_ceil(u64::from(self.piece_length));
        if pieces == 1 {
            return Ok(Arc::new([root]));
        }
        let path = || leaf.path.join("/");
        let layer = match self.right.get(&root) {
            Some(layer) => Arc::clone(layer),
            None => {
                let told = self.told.get(&root[..]);
                let told = *told.ok_or(MetainfoError::Missing("piece layers"))?;
                if told.len() as u64 != 32 * pieces {
                    return Err(MetainfoError::LayerLength(path()));
                }
                let nodes = told.chunks_exact(32);
                let layer: Arc<[Node]> =
                    nodes.map(|n| n.try_into().expect("chunks of 32")).collect();
                if merkle::layer_root(&layer, self.piece_length) != root {
                    return Err(MetainfoError::LayerRoot(path()));
                }
                self.right.insert(root, Arc::clone(&layer));
                layer
            }
        };
        if layer.len() as u64 != pieces {
            return Err(MetainfoError::LayerLength(path()));
        }
        Ok(layer)
    }
}

/// Makes the list of files out of the tree alone, each at the begin of a piece.
fn fill(
    info: &mut Info,
    leaves: Vec<Leaf>,
    roots: Vec<Option<Arc<[Node]>>>,
) -> Result<(), MetainfoError> {
    let is_single = matches!(&leaves[..], [leaf] if leaf.path == [info.name.as_str()]);
    info.layout = if is_single { Layout::Single } else { Layout::Multi };
    let last = leaves.len() - 1;
    for (number, (leaf, roots)) in leaves.into_iter().zip(roots).enumerate() {
        let path = if is_single { Vec::new() } else { leaf.path };
        info.files.push(File { path, length: leaf.length, pad: false });
        info.roots.push(roots);
        let gap = gap(leaf.length, info.piece_length);
        if gap > 0 && number < last {
            info.files.push(pad(gap));
            info.roots.push(None);
        }
    }
    info.measure()?;
    refuse_clashes(&info.files)
}

/// What lacks behind so many bytes to the end of their last piece.
pub(super) fn gap(length: u64, piece_length: u32) -> u64 {
    let length_of_piece = u64::from(piece_length);
    (length_of_piece - length % length_of_piece) % length_of_piece
}

/// Padding of so many bytes.
pub(super) fn pad(length: u64) -> File {
    File { path: vec![".pad".to_string(), length.to_string()], length, pad: true }
}

/// Holds the tree against the list of version 1, in which each file must begin a piece.
fn compare(
    info: &mut Info,
    leaves: &[Leaf],
    roots: Vec<Option<Arc<[Node]>>>,
) -> Result<(), MetainfoError> {
    let piece_length = u64::from(info.piece_length);
    let (mut at, mut pairs) = (0u64, leaves.iter().zip(roots));
    for file in &info.files {
        if file.pad {
            let begun = at % piece_length != 0;
            // Padding that fills up no piece, or more than one.
            let fits = begun && at.next_multiple_of(piece_length) == at + file.length;
            if !fits {
                return Err(MetainfoError::Differ(file.path.join("/")));
            }
            info.roots.push(None);
        } else {
            let path = || match info.layout {
                Layout::Single => info.name.clone(),
                Layout::Multi => file.path.join("/"),
            };
            let (leaf, roots) = pairs.next().ok_or_else(|| MetainfoError::Differ(path()))?;
            let same = match info.layout {
                Layout::Single => leaf.path == [info.name.as_str()],
                Layout::Multi => leaf.path == file.path,
            };
            let aligned = file.length == 0 || at % piece_length == 0;
            if !same || leaf.length != file.length || !aligned {
                return Err(MetainfoError::Differ(path()));
            }
            info.roots.push(roots);
        }
        at += file.length;
    }
    match pairs.next() {
        Some((leaf, _)) => Err(MetainfoError::Differ(leaf.path.join("/"))),
        None => Ok(()),
    }
}
