//! From a checked request to its answer: which path means what, and in which words the tracker
//! says yes and no (status, reason, headers and texts as BitTornado has them).

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::io::gate::{Answer, Header, Request};
use crate::io::pages::{Page, Render};
use crate::io::plain;
use crate::logic::registry::access::Ranges;
use crate::logic::registry::address::{Forwarded, behind_proxies};
use crate::logic::registry::limit::{Limit, WINDOW};
use crate::logic::registry::{Aggregator, Asker, Refused, Registry};
use crate::logic::rng::Rng;
use crate::proto::announce::answer::{
    Announce, Garbage, encode_failure, encode_failure_for_now, encode_noted, encode_scrape,
    scraped_hashes,
};
use crate::proto::announce::ask::percent_encode;
use crate::proto::ids::InfoHash;
use crate::proto::metainfo::MAX_SIZE;

use super::lists::Lists;
use super::page::{Snapshot, Sort, escaped};
use super::stats::{self, Counters};

/// With more torrents than this, what tells of all of them is made at most every [`REUSED`].
const MANY: usize = 200;

/// How long it is used again then.
const REUSED: Duration = Duration::from_secs(5);

/// What is said of anything that does not exist.
const NOT_HERE: &str = "your file may exist elsewhere in the universe\nbut alas, not here\n";

/// Bytes of the icon at most: it stays in memory.
const MAX_ICON: u64 = 1 << 20;

/// Shorter answers to announces are never compressed: it would cost more than it saves.
const WORTH_GZIP: usize = 256;

/// What `/` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InfoPage {
    /// Nothing: it does not exist.
    Off,
    /// The torrents.
    Shown,
    /// The way to another page, this URL.
    Redirect(String),
}

/// What to do with a request.
pub enum Reply {
    /// Answer this.
    Now(Answer),
    /// Answer this, to an announce that is to be forwarded.
    Noted(Answer),
    /// Let this page be made, and put this into the header `Content-Disposition`.
    Page(Render, Option<String>),
}

/// Knows the answers.
pub struct Desk {
    /// What the tracker knows.
    pub registry: Registry,
    /// For the choice of peers.
    pub rng: Rng,
    /// What `/` shows.
    pub info_page: InfoPage,
    /// What `/favicon.ico` is.
    pub favicon: Option<Arc<Vec<u8>>>,
    /// Whether proxies may say for whom they ask.
    pub trust_forwarded: bool,
    /// Proxies whose word on others counts in any case.
    pub trusted_proxies: Option<Ranges>,
    /// Whether `/stats.json` and `/metrics` are there.
    pub stats: bool,
    /// What was done since the start.
    pub counters: Counters,
    /// HTTP connections there are.
    pub connections: usize,
    born: Instant,
    /// Whether .torrent files can be had.
    pub allow_get: bool,
    /// Whether good announces are to be forwarded.
    pub forwards: bool,
    /// How often an address may announce.
    pub limit: Limit,
    files: Arc<HashMap<InfoHash, PathBuf>>,
    scraped: Reused<Vec<u8>>,
    shown: Reused<Snapshot>,
}

/// Something that is made anew when it is too old.
struct Reused<T>(Option<(Instant, Arc<T>)>);

impl<T> Reused<T> {
    fn get(&mut self, now: Instant, many: bool, make: impl FnOnce() -> T) -> Arc<T> {
        match &self.0 {
            Some((made, old)) if many && now.duration_since(*made) < REUSED => Arc::clone(old),
            _ => {
                let new = Arc::new(make());
                // Of few torrents nothing is kept.
                self.0 = many.then(|| (now, Arc::clone(&new)));
                new
            }
        }
    }
}

impl Desk {
    /// A desk that shows the info page, has no icon and trusts nobody's word; the public fields
    /// change that.
    pub fn new(registry: Registry, seed: u64, now: Instant) -> Desk {
        Desk {
            registry,
            rng: Rng::new(seed),
            info_page: InfoPage::Shown,
            favicon: None,
            trust_forwarded: false,
            trusted_proxies: None,
            stats: false,
            counters: Counters::default(),
            connections: 0,
            born: now,
            allow_get: false,
            forwards: false,
            limit: Limit::new(0, now),
            files: Arc::default(),
            scraped: Reused(None),
            shown: Reused(None),
        }
    }

    /// Goes by other lists from now on.
    pub fn take(&mut self, lists: Lists) {
        self.registry.access = lists.access;
        self.files = lists.files;
        (self.scraped, self.shown) = (Reused(None), Reused(None));
    }

    /// The answer to a request.
    pub fn reply(&mut self, request: &Request, now: Instant) -> Reply {
        self.counters.requests += 1;
        let from = self.requester(request);
        let serves = |ip| self.registry.access.serves(ip);
        if !serves(request.from.ip()) || !serves(from) {
            let answer = uncached(400, "Not Authorized").body(failure(&Refused::Address));
            return Reply::Now(answer);
        }
        match &request.path[..] {
            b"" | b"/" | b"//" | b"/index.html" => self.info_page(request, now),
            b"/announce" | b"/announce.php" | b"/tracker.php/announce" => {
                self.announce(request, from, now)
            }
            b"/scrape" | b"/scrape.php" | b"/tracker.php/scrape" => {
                Reply::Now(self.scrape(request, now))
            }
            b"/file" => self.file(request),
            b"/health" => Reply::Now(uncached(200, "OK").body("ok\n")),
            b"/stats.json" | b"/metrics" => Reply::Now(self.statistics(&request.path, now)),
            b"/favicon.ico" => Reply::Now(match &self.favicon {
                Some(icon) => {
                    Answer { body: Arc::clone(icon), ..Answer::new(200, "OK", "image/x-icon") }
                }
                None => not_found(),
            }),
            _ => Reply::Now(not_found()),
        }
    }

    fn file(&self, request: &Request) -> Reply {
        if !self.allow_get {
            let text = "get function is not available with this tracker.";
            return Reply::Now(uncached(400, "Not Authorized").body(text));
        }
        let named = scraped_hashes(request.query()).unwrap_or_default();
        let Some(path) = named.first().and_then(|hash| self.files.get(hash)) else {
            return Reply::Now(not_found());
        };
        let (path, name) = (path.clone(), attached(path));
        // Not read here: a disk may take its time.
        let read = move || match plain::read(&path, MAX_SIZE) {
            Ok(body) => Page { status: 200, content_type: "application/x-bittorrent", body },
            Err(_) => Page { status: 404, content_type: "text/plain", body: NOT_HERE.into() },
        };
        Reply::Page(Box::new(read), Some(name))
    }

    fn info_page(&mut self, request: &Request, now: Instant) -> Reply {
        match &self.info_page {
            InfoPage::Off => Reply::Now(not_found()),
            InfoPage::Redirect(url) => {
                let link = format!("<A HREF=\"{}\">Click Here</A>", escaped(url));
                let answer = Answer::new(302, "Found", "text/html").header("Location", url.clone());
                Reply::Now(answer.body(link))
            }
            InfoPage::Shown => {
                let (many, icon) = (self.registry.len() > MANY, self.favicon.is_some());
                let (registry, linked) = (&self.registry, self.allow_get);
                let shown = self.shown.get(now, many, || Snapshot::of(registry, linked, icon));
                let sort = Sort::from_query(request.query());
                Reply::Page(Box::new(move || shown.page(sort)), None)
            }
        }
    }

    fn announce(&mut self, request: &Request, from: IpAddr, now: Instant) -> Reply {
        self.counters.announces += 1;
        let announce = match Announce::from_query(request.query()) {
            Ok(announce) => announce,
            Err(garbage) => return self.refuse(malformed(&garbage)),
        };
        let asker = Asker { ip: from, six: None };
        if self.limit.exceeded(asker.ip, now) {
            return self.refuse(too_often());
        }
        let answer = match self.registry.announce(&announce, asker, &mut self.rng) {
            Ok(_) if self.registry.settings().aggregator != Aggregator::No => {
                uncached(200, "OK").body(encode_noted())
            }
            Ok(reply) => {
                let body = reply.encode();
                let plain = body.len() < WORTH_GZIP;
                Answer { plain, ..uncached(200, "OK").body(body) }
            }
            Err(refused @ Refused::OldClient) => {
                let answer = Answer::new(400, "Bad Request", "text/plain");
                return self.refuse(answer.body(refused.to_string()));
            }
            // With status 200, since many clients show the reason only then.
            Err(refused) => {
                return self.refuse(uncached(200, "Not Authorized").body(failure(&refused)));
            }
        };
        match self.forwards && !announce.from_tracker {
            true => Reply::Noted(answer),
            false => Reply::Now(answer),
        }
    }

    fn refuse(&mut self, answer: Answer) -> Reply {
        self.counters.refused += 1;
        let plain = answer.body.len() < WORTH_GZIP;
        Reply::Now(Answer { plain, ..answer })
    }

    /// The figures of this moment.
    pub fn figures(&self, now: Instant) -> [stats::Figure; stats::FIGURES] {
        let uptime = now.saturating_duration_since(self.born);
        stats::figures(&self.registry.totals(), &self.counters, self.connections, uptime)
    }

    fn statistics(&self, path: &[u8], now: Instant) -> Answer {
        let figures = self.figures(now);
        let (content_type, text) = match path {
            _ if !self.stats => return not_found(),
            b"/stats.json" => ("application/json", stats::json(&figures)),
            _ => ("text/plain; version=0.0.4", stats::prometheus(&figures)),
        };
        Answer::new(200, "OK", content_type).header("Cache-Control", "no-cache").body(text)
    }

    fn requester(&self, request: &Request) -> IpAddr {
        let socket = request.from.ip();
        if let Some(trusted) = self.trusted_proxies.as_ref().filter(|t| t.contains(socket)) {
            let list = request.header(Header::XForwardedFor);
            return list.and_then(|list| behind_proxies(list, trusted)).unwrap_or(socket);
        }
        if !self.trust_forwarded {
            return socket;
        }
        let forwarded = Forwarded {
            x_forwarded_for: request.header(Header::XForwardedFor),
            client_ip: request.header(Header::ClientIp),
            via: request.header(Header::Via),
            from: request.header(Header::From),
        };
        forwarded.address().unwrap_or(socket)
    }

    fn scrape(&mut self, request: &Request, now: Instant) -> Answer {
        self.counters.scrapes += 1;
        let named = scraped_hashes(request.query());
        if let Err(refused) = self.registry.may_scrape(named.is_none()) {
            return uncached(400, "Not Authorized").body(failure(&refused));
        }
        let (registry, named) = (&self.registry, named.as_deref());
        // Of all of many torrents even the list takes its time.
        let make = || encode_scrape(&mut registry.scrape(named).unwrap_or_default());
        let body = match named {
            None => self.scraped.get(now, registry.len() > MANY, make),
            Some(_) => Arc::new(make()),
        };
        Answer { body, ..Answer::new(200, "OK", "text/plain") }
    }
}

/// Reads what is to be `/favicon.ico`.
///
/// # Errors
/// There is no such file, or it is too large.
pub fn icon(path: &Path) -> io::Result<Vec<u8>> {
    plain::read(path, MAX_ICON)
}

fn uncached(status: u16, reason: &'static str) -> Answer {
    let fixed = "Content-Type: text/plain\r\nPragma: no-cache\r\n";
    Answer { fixed, ..Answer::empty(status, reason) }
}

fn malformed(garbage: &Garbage) -> Answer {
    let text = format!("you sent me garbage - {garbage}");
    Answer::new(400, "Bad Request", "text/plain").body(text)
}

fn failure(refused: &Refused) -> Vec<u8> {
    encode_failure(&refused.to_string())
}

fn not_found() -> Answer {
    uncached(404, "Not Found").body(NOT_HERE)
}

fn too_often() -> Answer {
    let minutes = WINDOW.as_secs().div_ceil(60);
    let text = Refused::TooOften.to_string();
    uncached(200, "Not Authorized").body(encode_failure_for_now(&text, minutes))
}

/// Says that a file is to be kept, and by which name.
pub(in crate::app) fn attached(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.chars().all(plain) {
        return format!("attachment; filename={name}");
    }
    let safe: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    let mut whole = format!("attachment; filename=\"{safe}\"; filename*=UTF-8''");
    percent_encode(&mut whole, name.as_bytes());
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_name_and_no_name_breaks_its_header() {
        assert_eq!(attached(Path::new("x/a.iso.torrent")), "attachment; filename=a.iso.torrent");
        assert_eq!(
            attached(Path::new("x/a \"b\";\u{e4}.torrent")),
            "attachment; filename=\"a__b___.torrent\"; filename*=UTF-8''a%20%22b%22%3B%C3%A4.torrent"
        );
    }

    #[test]
    fn what_tells_of_many_is_made_anew_only_when_it_is_old() {
        let (mut kept, now) = (Reused(None), Instant::now());
        let later = now + REUSED;
        assert_eq!(*kept.get(now, false, || 1), 1);
        assert_eq!(*kept.get(now, true, || 2), 2, "of few nothing was kept");
        assert_eq!(*kept.get(later - Duration::from_millis(1), true, || 3), 2);
        assert_eq!(*kept.get(later, true, || 4), 4);
        assert_eq!(*kept.get(later, false, || 5), 5);
    }
}
