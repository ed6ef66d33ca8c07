//! From a checked request to its answer: which path means what, and in which words the tracker
//! says yes and no (status, reason, headers and texts as BitTornado has them).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::io::gate::{Answer, Request};
use crate::io::pages::Render;
use crate::logic::registry::address::Forwarded;
use crate::logic::registry::{Refused, Registry};
use crate::logic::rng::Rng;
use crate::proto::announce::answer::{
    Announce, Garbage, encode_failure, encode_scrape, scraped_hashes,
};

use super::page::{Snapshot, escaped};

/// With more torrents than this, what tells of all of them is made at most every [`REUSED`].
const MANY: usize = 2000;

/// How long it is used again then.
const REUSED: Duration = Duration::from_secs(5);

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
    /// Let this page be made.
    Page(Render),
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
    pub fn new(registry: Registry, seed: u64) -> Desk {
        Desk {
            registry,
            rng: Rng::new(seed),
            info_page: InfoPage::Shown,
            favicon: None,
            trust_forwarded: false,
            scraped: Reused(None),
            shown: Reused(None),
        }
    }

    /// The answer to a request.
    pub fn reply(&mut self, request: &Request, now: Instant) -> Reply {
        match &request.path[..] {
            b"" | b"/" | b"//" | b"/index.html" => self.info_page(now),
            b"/announce" | b"/announce.php" | b"/tracker.php/announce" => {
                Reply::Now(self.announce(request, now))
            }
            b"/scrape" | b"/scrape.php" | b"/tracker.php/scrape" => {
                Reply::Now(self.scrape(request, now))
            }
            b"/file" => {
                let text = "get function is not available with this tracker.";
                Reply::Now(uncached(400, "Not Authorized").body(text))
            }
            b"/favicon.ico" => Reply::Now(match &self.favicon {
                Some(icon) => {
                    Answer { body: Arc::clone(icon), ..Answer::new(200, "OK", "image/x-icon") }
                }
                None => not_found(),
            }),
            _ => Reply::Now(not_found()),
        }
    }

    fn info_page(&mut self, now: Instant) -> Reply {
        match &self.info_page {
            InfoPage::Off => Reply::Now(not_found()),
            InfoPage::Redirect(url) => {
                let link = format!("<A HREF=\"{}\">Click Here</A>", escaped(url));
                let answer = Answer::new(302, "Found", "text/html").header("Location", url.clone());
                Reply::Now(answer.body(link))
            }
            InfoPage::Shown => {
                let (many, icon) = (self.registry.len() > MANY, self.favicon.is_some());
                let registry = &self.registry;
                let shown = self.shown.get(now, many, || Snapshot::of(registry, icon));
                Reply::Page(Box::new(move || shown.page()))
            }
        }
    }

    fn announce(&mut self, request: &Request, now: Instant) -> Answer {
        let announce = match Announce::from_query(request.query()) {
            Ok(announce) => announce,
            Err(garbage) => return malformed(&garbage),
        };
        let from = self.requester(request);
        match self.registry.announce(now, &announce, from, &mut self.rng) {
            Ok(reply) => uncached(200, "OK").body(reply.encode()),
            Err(refused @ Refused::OldClient) => {
                Answer::new(400, "Bad Request", "text/plain").body(refused.to_string())
            }
            // With status 200, since many clients show the reason only then.
            Err(refused) => uncached(200, "Not Authorized").body(failure(refused)),
        }
    }

    fn requester(&self, request: &Request) -> IpAddr {
        let forwarded = Forwarded {
            x_forwarded_for: request.header("x-forwarded-for"),
            client_ip: request.header("client-ip"),
            via: request.header("via"),
            from: request.header("from"),
        };
        let said = if self.trust_forwarded { forwarded.address() } else { None };
        said.unwrap_or(request.from.ip())
    }

    fn scrape(&mut self, request: &Request, now: Instant) -> Answer {
        let named = scraped_hashes(request.query());
        let all = named.is_none();
        match self.registry.scrape(named.as_deref()) {
            Err(refused) => uncached(400, "Not Authorized").body(failure(refused)),
            Ok(mut files) => {
                let many = all && files.len() > MANY;
                let body = self.scraped.get(now, many, || encode_scrape(&mut files));
                Answer { body, ..Answer::new(200, "OK", "text/plain") }
            }
        }
    }
}

fn uncached(status: u16, reason: &'static str) -> Answer {
    Answer::new(status, reason, "text/plain").header("Pragma", "no-cache")
}

fn malformed(garbage: &Garbage) -> Answer {
    let text = format!("you sent me garbage - {garbage}");
    Answer::new(400, "Bad Request", "text/plain").body(text)
}

fn failure(refused: Refused) -> Vec<u8> {
    encode_failure(&refused.to_string())
}

fn not_found() -> Answer {
    let text = "your file may exist elsewhere in the universe\nbut alas, not here\n";
    uncached(404, "Not Found").body(text)
}

#[cfg(test)]
mod tests {
    use super::*;

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
