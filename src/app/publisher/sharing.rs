//! What is shared: torrents come and go, and their clients with them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::seeding::Said;
use super::share::{Share, State, Version, torrent_path};
use super::works::{Made, News};
use super::{Notice, PublishError, Publisher, Seed, Shared};
use crate::io::reactor::Event;
use crate::logic::registry::access::{Allowed, Torrent};
use crate::proto::ids::InfoHash;

/// Versions of a path that are shared beside the newest, for those who have begun with them.
const MAX_OLD: usize = 3;

/// How long the session may take to say goodbye.
const GOODBYE: Duration = Duration::from_millis(2300);

/// Of the upload limit peers have so many percent, and the web the rest and what they leave.
pub(super) const PEERS_PERCENT: u64 = 90;

impl Publisher {
    pub(super) fn on_news(&mut self, news: News, now: Instant, tell: &mut dyn FnMut(Notice)) {
        match news {
            News::Progress(number, done, total) => {
                let share = &mut self.shares[number];
                if share.versions.is_empty() {
                    share.state = State::Reading(done as f64 / total.max(1) as f64);
                }
                tell(Notice::Reading { name: share.name.clone(), done, total });
            }
            News::Made(number, made) => self.publish(number, &made, now, tell),
            News::Withdrawn(number, hash) => {
                self.shares[number].versions.retain(|version| version.hash != hash);
                self.withdraw(hash);
            }
            News::Gone(number) => {
                let share = &mut self.shares[number];
                share.state = State::Gone;
                let gone: Vec<InfoHash> = share.versions.drain(..).map(|v| v.hash).collect();
                tell(Notice::Gone(share.path.clone()));
                gone.into_iter().for_each(|hash| self.withdraw(hash));
            }
            News::Trouble(number, text) => {
                let share = &mut self.shares[number];
                if share.versions.is_empty() {
                    share.state = State::Failed;
                    self.failed = true;
                    self.front.changed();
                }
                tell(Notice::Told(text));
                // Nothing is shared, and nothing will be for what we know.
                let hopeless = self.shares.iter().all(|share| share.state == State::Failed);
                self.ended |= hopeless;
            }
            News::Told(text) => tell(Notice::Told(text)),
        }
    }

    /// Shares a torrent from now on.
    fn publish(&mut self, number: usize, made: &Made, now: Instant, tell: &mut dyn FnMut(Notice)) {
        let hash = made.metainfo.info_hash;
        let path = self.shares[number].path.clone();
        let version = match Version::new(made, path.clone(), &self.front.reached) {
            Ok(version) => version,
            Err(e) => return tell(Notice::Told(format!("cannot share '{}': {e}", path.display()))),
        };
        let elsewhere = self.shares.iter().enumerate();
        let mut elsewhere = elsewhere.filter(|(other, _)| *other != number);
        if elsewhere.any(|(_, share)| share.versions.iter().any(|v| v.hash == hash)) {
            let text = "has the same name and content as another path, and is shared once";
            tell(Notice::Told(format!("'{}' {text}", path.display())));
        }
        let share = &mut self.shares[number];
        let again = !share.versions.is_empty();
        share.versions.retain(|version| version.hash != hash);
        share.versions.insert(0, version);
        share.state = State::Shared;
        let old = share.versions.len().min(1 + MAX_OLD);
        let dropped: Vec<InfoHash> = share.versions.drain(old..).map(|v| v.hash).collect();
        dropped.into_iter().for_each(|hash| self.withdraw(hash));
        self.track();
        self.seed(number, made, tell);
        let version = &self.shares[number].versions[0];
        tell(Notice::Shared(Shared {
            path,
            name: version.name.clone(),
            hash,
            total: version.total,
            files: version.files.len(),
            torrent: self.front.url() + &torrent_path(&self.shares, version),
            magnet: version.magnet.clone(),
            again,
        }));
        self.figures(now);
    }

    /// Has a torrent given to peers, if it is not already.
    fn seed(&mut self, number: usize, made: &Made, tell: &mut dyn FnMut(Notice)) {
        let hash = made.metainfo.info_hash;
        if self.seeding.contains_key(&hash) {
            return;
        }
        let Share { name, path, .. } = &self.shares[number];
        match self.seeds.add(&made.metainfo, path.clone()) {
            true => _ = self.seeding.insert(hash, Seed::default()),
            false => tell(Notice::Told(format!("no peers get '{name}': too many come at once"))),
        }
    }

    /// Ends sharing a torrent.
    fn withdraw(&mut self, hash: InfoHash) {
        let shared = |share: &Share| share.versions.iter().any(|version| version.hash == hash);
        if !self.shares.iter().any(shared) {
            self.seeds.remove(hash);
            // Should it come back its peers announce anew; ours will be another then.
            self.desk.registry.forget_peers(&hash);
        }
        self.track();
    }

    /// Tells the tracker what is shared, and has the page made anew.
    fn track(&mut self) {
        let versions = self.shares.iter().flat_map(|share| &share.versions);
        let entry = |version: &Version| {
            let name = Some(version.name.as_str().into());
            (version.hash, Torrent { name, length: version.total, ..Torrent::default() })
        };
        let torrents = versions.map(entry).collect();
        self.desk.registry.access.torrents = Some(Arc::new(Allowed::new(torrents)));
        self.front.changed();
    }

    pub(super) fn on_said(
        &mut self,
        hash: InfoHash,
        said: Said,
        now: Instant,
        tell: &mut dyn FnMut(Notice),
    ) {
        let Some(seed) = self.seeding.get_mut(&hash) else { return };
        match said {
            Said::Figures(figures) => {
                let status = figures.status.as_ref();
                seed.rate = status.map_or(0.0, |status| status.upload_rate);
                seed.uploaded = status.map_or(seed.uploaded, |status| status.uploaded);
                self.share_limit(now);
            }
            Said::Notice(text) => {
                tell(Notice::Told(format!("'{}': {text}", name_of(&self.shares, hash))));
            }
            Said::Ended(result) => {
                self.sent_before += seed.uploaded;
                self.seeding.remove(&hash);
                if let Err(e) = result {
                    let name = name_of(&self.shares, hash);
                    tell(Notice::Told(format!("no peers get '{name}' from here: {e}")));
                }
            }
        }
    }

    /// The web gets of the limit what the peers leave.
    fn share_limit(&mut self, now: Instant) {
        let Some(limit) = self.upload_limit else { return };
        let peers: f64 = self.seeding.values().map(|seed| seed.rate).sum();
        let least = limit - limit * PEERS_PERCENT / 100;
        self.bucket.set_limit(now, Some(limit.saturating_sub(peers as u64).max(least).max(1)));
    }

    /// Ends the session, while its last announces are answered.
    pub(super) fn goodbye(
        &mut self,
        events: &mut Vec<Event>,
        tell: &mut dyn FnMut(Notice),
    ) -> Result<(), PublishError> {
        self.seeds.stop();
        let end = Instant::now() + GOODBYE;
        while !self.seeds_ended {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let wait = self.next_deadline().saturating_duration_since(Instant::now());
            self.turn(wait.min(left), events, &mut |notice| {
                if let Notice::Told(_) = notice {
                    tell(notice);
                }
            })?;
        }
        Ok(())
    }
}

/// What a torrent is called.
fn name_of(shares: &[Share], hash: InfoHash) -> &str {
    let mut versions = shares.iter().flat_map(|share| &share.versions);
    let version = versions.find(|version| version.hash == hash);
    version.map_or("what was shared", |version| &version.name)
}
