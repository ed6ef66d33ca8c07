//! Where a .torrent comes from. Used by the commands that take a file or a URL.

use crate::io::fetch::{self, Bounds, Reply};
use crate::io::reason;
use crate::proto::links;
use crate::proto::magnet::{Magnet, MagnetError};
use crate::proto::metainfo::{MAX_SIZE, Metainfo, MetainfoError};
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a .torrent is to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In a file.
    File(PathBuf),
    /// By http or https.
    Url(String),
}

/// Why there is no torrent.
#[derive(Debug)]
pub enum LoadError {
    /// The file cannot be read.
    File(PathBuf, io::Error),
    /// The server cannot be reached, or gave too much.
    Fetch(fetch::FetchError),
    /// The server answered with this status.
    Status(String, u16),
    /// It is a magnet link: there is no .torrent to be fetched.
    Magnet(String),
    /// It is a page that links to several .torrent files: these.
    Several(String, Vec<String>),
    /// It is a page that links to no .torrent.
    Page(String),
    /// What came is no .torrent.
    Invalid(String, MetainfoError),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::File(path, e) => {
                write!(f, "cannot read '{}': {}", path.display(), reason(e))
            }
            LoadError::Fetch(e) => e.fmt(f),
            LoadError::Status(url, status) => {
                write!(f, "cannot fetch '{url}': the server answered {status}")
            }
            LoadError::Magnet(url) => {
                write!(f, "'{url}': a magnet link, which holds no .torrent: btdownload fetches it")
            }
            LoadError::Several(url, torrents) => {
                let all = torrents.join(", ");
                write!(f, "the page '{url}' has several torrents, choose one: {all}")
            }
            LoadError::Page(url) => write!(f, "the page '{url}' links to no .torrent"),
            LoadError::Invalid(name, MetainfoError::Version2) => {
                write!(f, "'{name}': {}", MetainfoError::Version2)
            }
            LoadError::Invalid(name, e) => write!(f, "'{name}' is not a valid metafile: {e}"),
        }
    }
}

impl std::error::Error for LoadError {}

/// A page that is longer is not looked through.
const MAX_PAGE: usize = 1024 * 1024;

type Decode = fn(&[u8]) -> Result<Metainfo, MetainfoError>;

impl Source {
    /// Whether a text is the kind of thing that is fetched, and no file's name.
    pub fn is_url(text: &str) -> bool {
        ["http://", "https://", "magnet:"].iter().any(|scheme| has_scheme(text, scheme))
    }

    /// What an argument means: a URL, unless there is a file of that name below `cwd`.
    pub fn of(argument: &OsStr, cwd: &Path) -> Source {
        let path = cwd.join(argument);
        match argument.to_str().filter(|text| Source::is_url(text)) {
            Some(url) if !path.exists() => Source::Url(url.into()),
            _ => Source::File(path),
        }
    }

    /// Reads or fetches the .torrent, which must have a version 1; a server has `timeout` for it.
    ///
    /// # Errors
    /// What was tried, and what came back.
    pub fn load(&self, timeout: Duration) -> Result<Metainfo, LoadError> {
        self.load_by(timeout, Metainfo::decode)
    }

    /// Like [`load`](Self::load), for any version: for those who only show it.
    ///
    /// # Errors
    /// What was tried, and what came back.
    pub fn load_any(&self, timeout: Duration) -> Result<Metainfo, LoadError> {
        self.load_by(timeout, Metainfo::decode_any)
    }

    fn load_by(&self, timeout: Duration, decode: Decode) -> Result<Metainfo, LoadError> {
        self.load_bytes((timeout, &Bounds::default()), decode).map(|(metainfo, _)| metainfo)
    }

    /// Like [`load`](Self::load), with the bytes as they are; from a URL within these
    /// bounds.
    ///
    /// # Errors
    /// What was tried, and what came back.
    pub fn load_exact(
        &self,
        timeout: Duration,
        bounds: &Bounds,
    ) -> Result<(Metainfo, Vec<u8>), LoadError> {
        self.load_bytes((timeout, bounds), Metainfo::decode)
    }

    /// The link, if it is a magnet link.
    ///
    /// # Errors
    /// It is one that is of no use.
    pub fn magnet(&self) -> Option<Result<Magnet, MagnetError>> {
        match self {
            Source::Url(url) if has_scheme(url, "magnet:") => Some(Magnet::parse(url)),
            _ => None,
        }
    }

    fn load_bytes(
        &self,
        (timeout, bounds): (Duration, &Bounds),
        decode: Decode,
    ) -> Result<(Metainfo, Vec<u8>), LoadError> {
        let (name, bytes) = match self {
            Source::File(path) => {
                let bytes = read(path).map_err(|e| LoadError::File(path.clone(), e))?;
                (path.display().to_string(), bytes)
            }
            Source::Url(url) if has_scheme(url, "magnet:") => {
                return Err(LoadError::Magnet(url.clone()));
            }
            Source::Url(url) => {
                let reply = fetched(url, timeout, bounds)?;
                (reply.url, reply.body)
            }
        };
        let metainfo = decode(&bytes).map_err(|e| LoadError::Invalid(name, e))?;
        Ok((metainfo, bytes))
    }
}

/// What is at a URL; of a page that links to one .torrent, that.
fn fetched(url: &str, timeout: Duration, bounds: &Bounds) -> Result<Reply, LoadError> {
    let limit = usize::try_from(MAX_SIZE).unwrap_or(usize::MAX);
    let mut found = None;
    let link = |reply: &Reply| {
        if reply.status != 200 || reply.body.len() > MAX_PAGE || !links::is_page(&reply.body) {
            return None;
        }
        let mut torrents = links::torrents(&reply.body);
        let only = (torrents.len() == 1).then(|| torrents.remove(0));
        found = only.is_none().then_some((reply.url.clone(), torrents));
        only
    };
    let reply = fetch::get_linked(url, limit, timeout, bounds, link);
    let reply = reply.map_err(LoadError::Fetch)?;
    match found {
        _ if reply.status != 200 => Err(LoadError::Status(reply.url, reply.status)),
        None => Ok(reply),
        Some((page, torrents)) if torrents.is_empty() => Err(LoadError::Page(page)),
        Some((page, torrents)) => {
            let torrents = torrents.iter().map(|torrent| fetch::joined(&page, torrent)).collect();
            Err(LoadError::Several(page, torrents))
        }
    }
}

fn has_scheme(text: &str, scheme: &str) -> bool {
    text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

/// A .torrent is never larger; a device or a film given by mistake is not read to its end.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
