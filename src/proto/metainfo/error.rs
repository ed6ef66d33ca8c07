//! Why a .torrent is refused.

use std::fmt;

use crate::proto::bencode;
use crate::proto::geometry::GeometryError;

use super::MAX_SIZE;

/// Why a .torrent is refused. The user must get another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetainfoError {
    /// More than [`MAX_SIZE`] bytes.
    Size,
    /// No bencoded data.
    Bencode(bencode::Error),
    /// Something other than a dictionary.
    NotADictionary,
    /// This key is needed and is not there.
    Missing(&'static str),
    /// The value of this key is of the wrong kind, or makes no sense.
    Bad(&'static str),
    /// `length` and `files` are both there, or none is.
    Layout,
    /// The torrent's name could lead out of the folder it is saved in, or hides.
    Name(String),
    /// The path of a file could.
    Path(String),
    /// Two files have this path, or one of them needs the other for a folder.
    Clash(String),
    /// The pieces do not cover the files.
    TooBig,
    /// There are more pieces than the files have.
    TooSmall,
    /// The measures are beyond what a client can hold.
    Geometry(GeometryError),
    /// A torrent of BitTorrent version 2 alone (BEP 52).
    Version2,
    /// The paths of version 2 are far longer all together than the .torrent: such a tree of
    /// folders is made to fill the memory.
    Paths,
    /// The hashes of this file's pieces are too few or too many.
    LayerLength(String),
    /// The hashes of this file's pieces do not lead to its root.
    LayerRoot(String),
    /// The lists of files of version 1 and 2 differ, first at this path.
    Differ(String),
}

impl fmt::Display for MetainfoError {
    /// Names of files come as they are: whoever prints escapes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetainfoError::Size => write!(f, "larger than {} MiB", MAX_SIZE >> 20),
            MetainfoError::Bencode(e) => write!(f, "{e}"),
            MetainfoError::NotADictionary => f.write_str("bad metainfo: not a dictionary"),
            MetainfoError::Missing(key) => write!(f, "bad metainfo: no '{key}'"),
            MetainfoError::Bad(key) => write!(f, "bad metainfo: bad '{key}'"),
            MetainfoError::Layout => {
                f.write_str("bad metainfo: exactly one of 'length' and 'files' must be there")
            }
            MetainfoError::Name(name) => {
                write!(f, "name '{name}' disallowed for security reasons")
            }
            MetainfoError::Path(path) => {
                write!(f, "path '{path}' disallowed for security reasons")
            }
            MetainfoError::Clash(path) => {
                write!(f, "bad metainfo: two files need the path '{path}'")
            }
            MetainfoError::TooBig => f.write_str("bad metainfo: total too big"),
            MetainfoError::TooSmall => f.write_str("bad metainfo: total too small"),
            MetainfoError::Geometry(e) => write!(f, "bad metainfo: {e}"),
            MetainfoError::Version2 => {
                f.write_str("this torrent is of BitTorrent version 2 only, which is not supported")
            }
            MetainfoError::Paths => {
                f.write_str("bad metainfo: the paths in 'file tree' are too long")
            }
            MetainfoError::LayerLength(path) => {
                write!(f, "bad metainfo: wrong number of hashes in the piece layer of '{path}'")
            }
            MetainfoError::LayerRoot(path) => {
                write!(f, "bad metainfo: the piece layer of '{path}' does not lead to its root")
            }
            MetainfoError::Differ(path) => {
                write!(f, "bad metainfo: versions 1 and 2 do not agree about '{path}'")
            }
        }
    }
}

impl std::error::Error for MetainfoError {}

impl From<bencode::Error> for MetainfoError {
    fn from(e: bencode::Error) -> Self {
        MetainfoError::Bencode(e)
    }
}

impl From<GeometryError> for MetainfoError {
    fn from(e: GeometryError) -> Self {
        MetainfoError::Geometry(e)
    }
}
