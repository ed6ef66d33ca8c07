//! What is where on the HTTP port, and answers that need no look at a disk.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::share::{Share, Version};
use crate::app::clock::Civil;
use crate::app::tracker::desk::attached;
use crate::io::gate::{Answer, Content, Request};
use crate::proto::announce::answer::percent_decode;
use crate::proto::ids::InfoHash;
use crate::proto::resume::client::Stamp;

/// What a request is for.
pub(super) enum Wanted<'s> {
    /// The page.
    Page,
    /// The figures of the page.
    Figures,
    /// A .torrent.
    Torrent(&'s Version),
    /// A file of a torrent, and whether it is asked for by its name alone.
    File(&'s Version, usize, bool),
    /// The tracker, or nothing there is.
    Other,
}

/// What a request is for, among what is shared.
pub(super) fn wanted<'s>(request: &Request, shares: &'s [Share]) -> Wanted<'s> {
    match &request.path[..] {
        b"" | b"/" | b"/index.html" => return Wanted::Page,
        b"/figures.json" => return Wanted::Figures,
        _ => {}
    }
    // In paths a plus is a plus.
    let raw = request.raw_path();
    let path = match raw.contains(&b'+') {
        true => {
            let parts: Vec<&[u8]> = raw.split(|b| *b == b'+').collect();
            Cow::Owned(percent_decode(&parts.join(&b"%2B"[..])).into_owned())
        }
        false => percent_decode(raw),
    };
    if let Some(name) = path.strip_prefix(b"/data/") {
        return file(name, shares).unwrap_or(Wanted::Other);
    }
    let name = path.strip_prefix(b"/").and_then(|path| path.strip_suffix(b".torrent"));
    let version = name.and_then(|name| {
        let by_name = || newest(shares).find(|version| version.name.as_bytes() == name);
        by_hash(name, shares).or_else(by_name)
    });
    version.map_or(Wanted::Other, Wanted::Torrent)
}

fn newest(shares: &[Share]) -> impl Iterator<Item = &Version> {
    shares.iter().filter_map(Share::newest)
}

fn by_hash<'s>(text: &[u8], shares: &'s [Share]) -> Option<&'s Version> {
    let hash = InfoHash::from_hex(std::str::from_utf8(text).ok()?)?;
    shares.iter().flat_map(|share| &share.versions).find(|version| version.hash == hash)
}

/// The file of this name: behind an info hash one of that torrent, as web seeds are asked for it,
/// else one of what is shared now.
fn file<'s>(name: &[u8], shares: &'s [Share]) -> Option<Wanted<'s>> {
    let slash = name.iter().position(|b| *b == b'/');
    let hashed = slash.and_then(|at| Some((by_hash(&name[..at], shares)?, &name[at + 1..])));
    if let Some((version, name)) = hashed {
        return Some(Wanted::File(version, version.file(name)?, false));
    }
    newest(shares).find_map(|version| Some(Wanted::File(version, version.file(name)?, true)))
}

/// The answer to a request for a .torrent.
pub(super) fn torrent(version: &Version) -> Answer {
    let name = attached(Path::new(&format!("{}.torrent", version.name)));
    let answer = Answer::new(200, "OK", "application/x-bittorrent")
        .header("Content-Disposition", name)
        .header("Cache-Control", "no-cache");
    Answer { body: Arc::clone(&version.torrent), plain: true, ..answer }
}

/// The answer to a request for a file that is open now and looks like this; `None` if it is not
/// what it was.
pub(super) fn answer(
    request: &Request,
    version: &Version,
    number: usize,
    (file, looks): (Arc<std::fs::File>, Stamp),
) -> Option<Answer> {
    if version.looks.get(number) != Some(&looks) {
        return None;
    }
    let content = Content {
        file,
        looks,
        content_type: kind(&version.files[number].0).into(),
        etag: format!("{}-{number}", version.hash),
        modified: date(looks),
    };
    // What is shared may be a page of somebody's: it has no part in ours.
    Some(content.answer(request).header("Content-Security-Policy", "sandbox"))
}

/// When a file was last written to, as HTTP has dates.
fn date(looks: Stamp) -> String {
    let since = Duration::from_nanos(u64::try_from(looks.mtime).unwrap_or(0));
    Civil::from(UNIX_EPOCH + since).http_date().to_string()
}

/// What kind of content a file has, by the end of its name.
fn kind(name: &str) -> &'static str {
    let ending = name.rsplit('/').next().and_then(|name| name.rsplit_once('.'));
    let ending = ending.map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default();
    match &ending[..] {
        "txt" | "log" | "md" | "asc" | "sha256" | "sha512" | "csv" => "text/plain; charset=utf-8",
        "html" | "htm" => "text/html; charset=utf-8",
        "json" => "application/json",
        "xml" => "application/xml",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        "mp3" => "audio/mpeg",
        "ogg" | "oga" | "opus" => "audio/ogg",
        "flac" => "audio/flac",
        "mp4" | "m4v" => "video/mp4",
        "webm" => "video/webm",
        "mkv" => "video/x-matroska",
        "zip" => "application/zip",
        "gz" | "tgz" => "application/gzip",
        "xz" | "txz" => "application/x-xz",
        "zst" => "application/zstd",
        "iso" => "application/x-iso9660-image",
        "torrent" => "application/x-bittorrent",
        _ => "application/octet-stream",
    }
}
