//! The hash trees of version 2 (BEP 52): SHA-256 over blocks of 16 KiB, joined two by two.
//!
//! For those who make and check torrents. A tree is fed from left to right and holds no more than
//! one hash a level, whatever its size.

use crate::proto::hash::{Sha256, sha256};

/// Bytes under one leaf.
pub const LEAF: u32 = 16 * 1024;

/// A node of a tree: a SHA-256.
pub type Node = [u8; 32];

/// A tree whose leaves come one after the other.
#[derive(Debug, Clone)]
pub struct Tree {
    /// The complete subtree of each height that waits for its neighbour to the right.
    waiting: Vec<Option<Node>>,
    /// What stands for leaves that are not there.
    absent: Node,
}

impl Tree {
    /// A tree without leaves; `absent` stands for those that it lacks in the end.
    pub fn new(absent: Node) -> Tree {
        Tree { waiting: Vec::new(), absent }
    }

    /// Adds the next leaf.
    pub fn push(&mut self, leaf: Node) {
        let mut node = leaf;
        for waiting in &mut self.waiting {
            match waiting.take() {
                Some(left) => node = join(&left, &node),
                None => {
                    *waiting = Some(node);
                    return;
                }
            }
        }
        self.waiting.push(Some(node));
    }

    /// The root of the least tree that has room for all leaves and has at least `height` levels
    /// above them.
    pub fn root(self, height: u32) -> Node {
        let (mut root, mut absent) = (None, self.absent);
        let whole = self.waiting.iter().filter(|node| node.is_some()).count() == 1;
        // A complete tree is its own root; else the left half alone fills its last level.
        let own = self.waiting.len() as u32 - u32::from(whole && !self.waiting.is_empty());
        for level in 0..own.max(height) {
            let left = self.waiting.get(level as usize).copied().flatten();
            root = match (left, root) {
                (Some(left), Some(right)) => Some(join(&left, &right)),
                (Some(left), None) => Some(join(&left, &absent)),
                (None, Some(left)) => Some(join(&left, &absent)),
                (None, None) => None,
            };
            absent = join(&absent, &absent);
        }
        let top = self.waiting.get(own.max(height) as usize).copied().flatten();
        top.or(root).unwrap_or(absent)
    }
}

/// The node above two.
fn join(left: &Node, right: &Node) -> Node {
    let mut hash = Sha256::new();
    hash.update(left);
    hash.update(right);
    hash.finish()
}

/// How many levels a tree of so many leaves has above them.
pub fn height(leaves: u64) -> u32 {
    leaves.next_power_of_two().trailing_zeros()
}

/// How many levels the tree of a whole piece has above its leaves. `piece_length` is a power of two,
/// [`LEAF`] at least.
pub fn piece_height(piece_length: u32) -> u32 {
    height(u64::from(piece_length / LEAF))
}

/// The root over the nodes of a file's piece layer.
pub fn layer_root(nodes: &[Node], piece_length: u32) -> Node {
    // What stands for a piece that is not there is the tree over leaves that are not.
    let mut tree = Tree::new(Tree::new([0; 32]).root(piece_height(piece_length)));
    nodes.iter().for_each(|node| tree.push(*node));
    tree.root(0)
}

/// The part of a piece that belongs to a file, and the tree over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// How many bytes at the start of the piece are the file's; the others are padding, which is
    /// not hashed.
    pub length: u32,
    /// How many levels the tree has above its leaves, at least.
    pub height: u32,
}

/// A running tree over the bytes of one piece.
#[derive(Debug, Clone)]
pub struct PieceTree {
    tree: Tree,
    leaf: Sha256,
    /// Bytes in `leaf`.
    filled: u32,
    /// Bytes of the file that are still to come.
    left: u32,
    height: u32,
}

impl PieceTree {
    /// The tree over a piece of which nothing came yet.
    pub fn new(cut: Cut) -> PieceTree {
        let (tree, leaf) = (Tree::new([0; 32]), Sha256::new());
        PieceTree { tree, leaf, filled: 0, left: cut.length, height: cut.height }
    }

    /// Takes in the next bytes of the piece; those behind the file's are passed over.
    pub fn update(&mut self, bytes: &[u8]) {
        let own = bytes.len().min(self.left as usize);
        let mut rest = &bytes[..own];
        // Both are at most what is left, which is a u32.
        self.left -= own as u32;
        while !rest.is_empty() {
            let room = (LEAF - self.filled) as usize;
            let (part, behind) = rest.split_at(rest.len().min(room));
            if part.len() == LEAF as usize {
                self.tree.push(sha256(part));
            } else {
                self.leaf.update(part);
                self.filled += part.len() as u32;
                self.close(LEAF);
            }
            rest = behind;
        }
    }

    /// Makes a leaf of what came, if it is that much.
    fn close(&mut self, least: u32) {
        if self.filled >= least {
            self.tree.push(std::mem::take(&mut self.leaf).finish());
            self.filled = 0;
        }
    }

    /// The root over all that came.
    pub fn finish(self) -> Node {
        let height = self.height;
        self.finish_at(height)
    }

    /// The same with another number of levels, at least, than was said at first.
    pub fn finish_at(mut self, height: u32) -> Node {
        self.close(1);
        self.tree.root(height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree as BEP 52 words it: all leaves in a row, filled up to a power of two.
    fn plain(mut row: Vec<Node>, absent: Node, width: usize) -> Node {
        row.resize(width.max(row.len().next_power_of_two()), absent);
        while row.len() > 1 {
            row = row.chunks(2).map(|pair| join(&pair[0], &pair[1])).collect();
        }
        row[0]
    }

    fn node(n: usize) -> Node {
        sha256(&n.to_be_bytes())
    }

    #[test]
    fn a_tree_fed_leaf_by_leaf_is_that_of_all_leaves_in_a_row() {
        for leaves in 0..40 {
            for height in 0..7 {
                let mut tree = Tree::new([7; 32]);
                (0..leaves).for_each(|n| tree.push(node(n)));
                let row = (0..leaves).map(node).collect();
                let wanted = plain(row, [7; 32], 1 << height);
                assert_eq!(tree.root(height), wanted, "{leaves} leaves, {height} levels");
            }
        }
    }

    #[test]
    fn the_bytes_of_a_piece_may_come_in_any_portions_and_padding_does_not_count() {
        let bytes: Vec<u8> = (0..100_000u32).map(|n| (n * 7 % 251) as u8).collect();
        for (length, height) in [(1, 0), (16_384, 0), (16_385, 1), (70_000, 3), (100_000, 5)] {
            let leaves = bytes[..length].chunks(LEAF as usize).map(sha256).collect();
            let wanted = plain(leaves, [0; 32], 1 << height);
            for portion in [1_000, 16_384, 40_000, 100_000] {
                let mut piece = PieceTree::new(Cut { length: length as u32, height });
                bytes.chunks(portion).for_each(|part| piece.update(part));
                assert_eq!(piece.finish(), wanted, "{length} bytes in portions of {portion}");
            }
        }
    }

    #[test]
    fn the_root_of_a_file_is_the_same_by_its_leaves_and_by_its_piece_layer() {
        let bytes: Vec<u8> = (0..200_000u32).map(|n| (n * 3 % 249) as u8).collect();
        let leaves = bytes.chunks(LEAF as usize).map(sha256).collect();
        let piece = |bytes: &[u8]| {
            let mut piece = PieceTree::new(Cut { length: bytes.len() as u32, height: 1 });
            piece.update(bytes);
            piece.finish()
        };
        let layer: Vec<Node> = bytes.chunks(32_768).map(piece).collect();
        assert_eq!(layer.len(), 7);
        assert_eq!(layer_root(&layer, 32_768), plain(leaves, [0; 32], 1));
    }
}
