//! What is served: the answers to requests, the page, and the figures on it.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::page::{Totals, View};
use super::share::{Share, Version};
use super::web::{self, Wanted};
use super::{Asker, Bodies, Figures, Publisher};
use crate::app::tracker::desk::Reply;
use crate::io::gate::{Answer, Request, Visitor};
use crate::proto::announce::answer::Counts;
use crate::proto::resume::client::Stamp;

/// The page is made anew no more often than this, however many look at it.
const PAGE_REUSED: Duration = Duration::from_secs(1);

impl Publisher {
    /// Answers all that was asked.
    pub(super) fn serve(&mut self, now: Instant) {
        while let Some((visitor, request)) = self.gate.next_request() {
            if let Some(answer) = self.reply(visitor, request, now) {
                self.gate.answer(&mut self.reactor, visitor, answer, now);
            }
        }
        while let Some((visitor, part)) = self.gate.next_cold() {
            if !self.files.warm(visitor, part) {
                self.gate.warmed(&mut self.reactor, visitor, false, now);
            }
        }
    }

    /// The answer, unless a file has to be opened for it.
    fn reply(&mut self, visitor: Visitor, request: Box<Request>, now: Instant) -> Option<Answer> {
        if !self.desk.registry.access.serves(request.from.ip()) {
            return Some(Answer::new(403, "Forbidden", "text/plain").body("not from there\n"));
        }
        match web::wanted(&request, &self.shares) {
            Wanted::Page | Wanted::Figures if !self.front.is_there => {}
            Wanted::Page => return Some(self.page(now)),
            Wanted::Figures => return Some(self.page_figures(now)),
            Wanted::Torrent(version) => return Some(web::torrent(version)),
            Wanted::File(version, file, named) => {
                let (hash, storage) = (version.hash, Arc::clone(&version.storage));
                if !self.files.open(visitor, storage, file) {
                    return Some(busy());
                }
                self.askers.insert(visitor, Asker { request, hash, file, named });
                return None;
            }
            Wanted::Other => {}
        }
        match self.desk.reply(&request, now) {
            Reply::Now(answer) | Reply::Noted(answer) => Some(answer),
            // The tracker's own page is off.
            Reply::Page(..) => Some(not_found()),
        }
    }

    pub(super) fn on_opened(
        &mut self,
        visitor: Visitor,
        opened: Option<(Arc<File>, Stamp)>,
        now: Instant,
    ) {
        let Some(Asker { request, hash, file, named }) = self.askers.remove(&visitor) else {
            return;
        };
        let shared = self.shares.iter().enumerate();
        let mut versions = shared.flat_map(|(n, share)| share.versions.iter().map(move |v| (n, v)));
        let version = versions.find(|(_, version)| version.hash == hash);
        let answer = version.zip(opened).and_then(|((number, version), opened)| {
            let size = opened.1.size;
            let mut answer = web::answer(&request, version, file, opened)?;
            // Who has all of it from the web has completed a download: peers tell so themselves.
            let whole = matches!(answer.status, 200 | 206) && answer.length() == size;
            answer.receipt = Some(number).filter(|_| named && whole && version.is_file());
            Some(answer)
        });
        let answer = answer.unwrap_or_else(not_found);
        self.gate.answer(&mut self.reactor, visitor, answer, now);
    }

    fn page(&mut self, now: Instant) -> Answer {
        let policy = format!(
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-{}'; \
             connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'",
            self.front.nonce
        );
        let (html, _) = self.made(now);
        let answer = Answer::new(200, "OK", "text/html; charset=utf-8")
            .header("Cache-Control", "no-cache")
            .header("Content-Security-Policy", policy)
            .header("X-Content-Type-Options", "nosniff");
        Answer { body: html, ..answer }
    }

    fn page_figures(&mut self, now: Instant) -> Answer {
        let (_, json) = self.made(now);
        let answer = Answer::new(200, "OK", "application/json").header("Cache-Control", "no-cache");
        Answer { body: json, ..answer }
    }

    /// The page and its figures, made a moment ago at most.
    fn made(&mut self, now: Instant) -> Bodies {
        if let Some((when, bodies)) = &self.front.made {
            if now.duration_since(*when) < PAGE_REUSED {
                return bodies.clone();
            }
        }
        let figures = self.figures(now);
        let names = || self.shares.iter().map(|share| share.name.as_str());
        let title = match (&self.front.title, names().next(), names().count()) {
            (Some(title), ..) => title.clone(),
            (None, Some(name), 1) => name.to_owned(),
            _ => "Shared files".into(),
        };
        let url = self.front.url();
        let counts = self.shares.iter().map(|share| self.counts(share)).collect();
        let (sent, connections) = (figures.to_peers + figures.by_http, figures.connections);
        let view = View {
            title: &title,
            url: &url,
            qr: self.front.qr.as_ref(),
            generation: self.front.generation,
            shares: &self.shares,
            counts,
            totals: Totals { rate: figures.rate, sent, connections },
            nonce: &self.front.nonce,
        };
        let bodies: Bodies = (Arc::new(view.html().into()), Arc::new(view.json().into()));
        self.front.made = Some((now, bodies.clone()));
        bodies
    }

    /// The seeds and peers of what is shared of a path now, and completed downloads of all of it,
    /// by peers and by the web.
    fn counts(&self, share: &Share) -> Counts {
        let counts = |version: &Version| self.desk.registry.scraped(&version.hash).counts;
        let newest = share.newest().map(counts).unwrap_or_default();
        let told: u32 = share.versions.iter().map(|version| counts(version).downloaded).sum();
        Counts { downloaded: told.saturating_add(share.by_web), ..newest }
    }

    /// The figures of this moment.
    pub(super) fn figures(&self, now: Instant) -> Figures {
        let all: Vec<Counts> = self.shares.iter().map(|share| self.counts(share)).collect();
        let sum = |of: fn(&Counts) -> u64| all.iter().map(of).sum();
        let peers: f64 = self.seeding.values().map(|seed| seed.rate).fold(0.0, |sum, r| sum + r);
        Figures {
            torrents: self.shares.iter().filter_map(Share::newest).count(),
            seeds: sum(|counts| counts.complete.into()),
            peers: sum(|counts| counts.incomplete.into()),
            completed: sum(|counts| counts.downloaded.into()),
            rate: peers + self.web.rate(now),
            to_peers: self.sent_before
                + self.seeding.values().map(|seed| seed.uploaded).sum::<u64>(),
            by_http: self.gate.streamed(),
            connections: self.gate.connections(),
        }
    }

    /// How it goes, in one line.
    pub(super) fn status(&self, now: Instant) -> String {
        let Figures { torrents, seeds, peers, completed, .. } = self.figures(now);
        format!("{torrents} torrents, {peers} downloading, {seeds} seeds, {completed} completed")
    }
}

fn not_found() -> Answer {
    Answer::new(404, "Not Found", "text/plain").body("there is nothing like that here\n")
}

fn busy() -> Answer {
    let answer = Answer::new(503, "Service Unavailable", "text/plain").header("Retry-After", "10");
    answer.body("too many others are being served, try again later\n")
}
