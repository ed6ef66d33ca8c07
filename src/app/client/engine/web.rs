//! Web seeds: a thread for each that is asked, and block buffers for what comes.

use super::{Stage, Work};
use crate::app::client::TorrentId;
use crate::io::fetch::stream::{Course, Request, Stream, StreamError, Streamed, What};
use crate::io::fetch::{Bounds, FetchError};
use crate::io::mailbox::{JobSender, jobs};
use crate::io::reason;
use crate::logic::torrent::Torrent;
use crate::logic::webseed::{Failure, Source, Style};
use crate::proto::address::is_local_url;
use crate::proto::geometry::FileRange;
use crate::proto::metainfo::{piece_url, seed_url};
use std::time::{Duration, Instant};

/// So many buffers wait at a web seed at most.
const MAX_LENT: usize = 32;

/// And so many at first; one more for each block that comes.
const FIRST_LENT: usize = 4;

/// Of the buffers there are, a web seed has no more than this part.
const SHARE: usize = 8;

/// An answer may take so long to begin or to go on, even if trackers may take longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What there is for web seeds.
#[derive(Default)]
pub(super) struct Web {
    servers: Vec<(Source, Stream)>,
    feeds: Vec<Feed>,
}

/// A run that is under way.
struct Feed {
    run: u64,
    source: Source,
    /// Takes the buffers to be filled; `None` once nothing more is wanted.
    buffers: Option<JobSender<Vec<u8>>>,
    /// So many are there now,
    lent: usize,
    /// and so many may be.
    most: usize,
    /// The file of each request.
    files: Vec<usize>,
}

impl Work<'_> {
    /// The web seeds of the .torrent, if they are to be used.
    pub(super) fn web_sources(&self) -> Vec<Source> {
        if !self.own.settings.web_seeds {
            return Vec::new();
        }
        let of = |urls: &[String], style| -> Vec<Source> {
            urls.iter().map(|url| Source { url: url.trim().to_owned(), style }).collect()
        };
        let metainfo = &self.own.settings.metainfo;
        let mut sources = of(&metainfo.httpseeds, Style::Pieces);
        sources.extend(of(&metainfo.url_list, Style::Files));
        sources.retain(|source| !self.own.settings.config.local_only || is_local_url(&source.url));
        sources
    }

    /// Begins a run.
    pub(super) fn fetch(
        &mut self,
        run: u64,
        (source, whole): (Source, bool),
        range: (u64, u64),
        now: Instant,
    ) {
        let parts: Vec<FileRange> =
            self.own.geometry.file_ranges_between(range.0, range.0 + range.1).collect();
        let requests = match source.style {
            Style::Pieces => self.request_of_piece(&source, range),
            Style::Files => {
                parts.iter().map(|part| self.request_of_file(&source, part, whole)).collect()
            }
        };
        let files = parts.iter().map(|part| part.file).collect();
        let (sender, buffers) = jobs(MAX_LENT);
        let tag = self.own.id.tag(run);
        let sent = self.server(&source).and_then(|stream| {
            stream.try_send(Course { id: tag, requests, buffers }).map_err(|_| "it hangs".into())
        });
        match sent {
            Ok(()) => self.own.web.feeds.push(Feed {
                run,
                source,
                buffers: Some(sender),
                lent: 0,
                most: FIRST_LENT,
                files,
            }),
            Err(why) => {
                let failure = Failure::Failed(why);
                self.with_torrent(|t| t.on_web_end(run, Err(failure), now));
            }
        }
    }

    /// The thread for a server.
    fn server(&mut self, source: &Source) -> Result<&Stream, String> {
        let known = self.own.web.servers.iter().position(|(known, _)| known == source);
        let n = match known {
            Some(n) => n,
            None => {
                let patience = self.own.settings.http_timeout.min(PATIENCE);
                let local_only = self.own.settings.config.local_only;
                let bounds = Bounds { local_only, origin: self.hub.origin.clone() };
                let stream = Stream::start(patience, bounds, self.hub.post.clone())
                    .map_err(|e| format!("cannot start a thread: {}", reason(&e)))?;
                self.own.web.servers.push((source.clone(), stream));
                self.own.web.servers.len() - 1
            }
        };
        Ok(&self.own.web.servers[n].1)
    }

    fn request_of_file(&self, source: &Source, part: &FileRange, whole: bool) -> Request {
        let info = &self.own.settings.metainfo.info;
        let what = match info.files.get(part.file) {
            Some(file) if !file.pad => What::Part {
                url: seed_url(&source.url, info, part.file),
                offset: part.offset,
                size: file.length,
                whole,
            },
            _ => What::Zeros,
        };
        Request { what, length: part.length }
    }

    /// Runs of this style lie in one piece.
    fn request_of_piece(&self, source: &Source, (start, length): (u64, u64)) -> Vec<Request> {
        let piece_length = u64::from(self.own.geometry.piece_length());
        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let (index, begin) = (number(start / piece_length), number(start % piece_length));
        let Some(range) = self.own.geometry.range(index, begin, number(length)) else {
            return Vec::new();
        };
        let whole = range == self.own.geometry.whole_piece(range.piece());
        let url = piece_url(&source.url, self.own.settings.metainfo.info_hash, range, whole);
        vec![Request { what: What::All(url), length }]
    }

    /// Ends a run of which nothing more is wanted.
    pub(super) fn abandon(&mut self, run: u64) {
        let Some(feed) = self.own.web.feeds.iter_mut().find(|feed| feed.run == run) else { return };
        feed.buffers = None;
        let mut servers = self.own.web.servers.iter();
        if let Some((_, stream)) = servers.find(|(source, _)| *source == feed.source) {
            stream.cancel(self.own.id.tag(run));
        }
    }

    /// Gives each run as many buffers as it may have now.
    pub(super) fn feed_web(&mut self, now: Instant) {
        let most = (self.hub.pool.limit() / SHARE).clamp(1, MAX_LENT);
        // Nobody is always first, which matters under a download limit.
        let first = usize::from(self.own.web.feeds.len() > 1);
        self.own.web.feeds.rotate_left(first);
        let Work { hub, own } = self;
        for feed in &mut own.web.feeds {
            let Stage::Running(torrent) = &mut own.stage else { return };
            while feed.lent < feed.most.min(most) && hub.pool.has_room() {
                let Some(sender) = &feed.buffers else { break };
                let lend = |torrent: &mut Torrent| torrent.lend(feed.run, now);
                let Some(block) = hub.share.with(own.id, torrent, now, lend) else { break };
                let length = usize::try_from(block.length()).unwrap_or(usize::MAX);
                let Some(buffer) = hub.pool.take(length) else { break };
                feed.lent += 1;
                // If the thread has gone the buffer has, too: its last word will tell.
                let _ = sender.try_send(buffer);
            }
        }
        if self.own.web.feeds.is_empty() && self.torrent().is_some_and(Torrent::is_done) {
            self.own.web.servers.clear();
        }
    }

    pub(super) fn on_streamed(&mut self, streamed: Streamed, now: Instant) {
        let (_, run) = TorrentId::of_tag(streamed.id());
        match streamed {
            Streamed::Filled { data, .. } => {
                let feeds = &mut self.own.web.feeds;
                if let Some(feed) = feeds.iter_mut().find(|feed| feed.run == run) {
                    feed.lent -= 1;
                    feed.most = (feed.most + 1).min(MAX_LENT);
                }
                self.with_torrent(|t| t.on_web_block(run, data, now));
            }
            Streamed::Ended { result, .. } => {
                let feeds = &mut self.own.web.feeds;
                let Some(n) = feeds.iter().position(|feed| feed.run == run) else { return };
                let feed = feeds.remove(n);
                self.hub.pool.write_off(feed.lent);
                self.hub.buffers_came |= feed.lent > 0;
                let result = result.map_err(|(request, error)| failure(&feed, request, error));
                self.with_torrent(|t| t.on_web_end(run, result, now));
            }
        }
    }

    /// Nothing more comes of any run: the buffers that were lent will not come back.
    pub(super) fn give_up_web(&mut self) {
        let web = std::mem::take(&mut self.own.web);
        let lent: usize = web.feeds.iter().map(|feed| feed.lent).sum();
        self.hub.pool.write_off(lent);
        self.hub.buffers_came |= lent > 0;
    }
}

/// What an error means for the torrent.
fn failure(feed: &Feed, request: usize, error: StreamError) -> Failure {
    match (error, feed.files.get(request)) {
        (StreamError::Busy(wait), _) => Failure::Busy(wait),
        (StreamError::Undivided, _) => Failure::Undivided,
        (StreamError::Absent(why), Some(file)) if feed.source.style == Style::Files => {
            Failure::Lacks { file: *file, why }
        }
        // The user need not read the same of each file.
        (StreamError::Fetch(e), _) if host(&e.url) == host(&feed.source.url) => {
            Failure::Failed(FetchError { url: feed.source.url.clone(), ..e }.to_string())
        }
        (error, _) => Failure::Failed(error.to_string()),
    }
}

/// The scheme, host and port of a URL.
fn host(url: &str) -> &str {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let path = url[authority..].find(['/', '?', '#']).map_or(url.len(), |at| authority + at);
    &url[..path]
}
