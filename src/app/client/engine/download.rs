//! One torrent of a session: what is its own, and what it does in a turn.

use super::doubt::Doubts;
use super::ending::Announces;
use super::errands::Errand;
use super::finish::Finish;
use super::hub::Hub;
use super::recheck::Recheck;
use super::report::Outlet;
use super::saving::Saving;
use super::trouble::Trouble;
use super::web::Web;
use super::wishes::Wishes;
use super::{Ending, Room, Stage};
use crate::app::client::check::{self, Check, Found};
use crate::app::client::claim;
use crate::app::client::ports::Ports;
use crate::app::client::ready::Windows;
use crate::app::client::session::Newcomer;
use crate::app::client::{News, Report, Settings, TorrentId};
use crate::io::disk::{DiskTorrent, Job};
use crate::io::fetch;
use crate::io::sole::Sole;
use crate::io::storage::Storage;
use crate::logic::PeerKey;
use crate::logic::announcer::Failure;
use crate::logic::candidates::Source;
use crate::logic::inquiry::Legacy;
use crate::logic::torrent::{Setup, Torrent};
use crate::proto::announce::ask;
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::Geometry;
use crate::proto::ids::PeerId;
use crate::proto::sorted;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// What belongs to one torrent alone.
pub(super) struct Download {
    pub id: TorrentId,
    pub outlet: Outlet,
    /// Its errands end soon once it is set.
    pub stop: Arc<AtomicBool>,
    pub geometry: Arc<Geometry>,
    pub peer_id: PeerId,
    pub seed: u64,
    pub target: PathBuf,
    pub settings: Settings,
    /// What there was before the torrent's measures were known.
    pub legacy: Option<Legacy>,
    pub windows: Windows,
    pub web: Web,
    /// When the files that were written are closed next, if ever.
    pub flush: Option<Instant>,
    pub stage: Stage,
    pub storage: Arc<Storage>,
    /// The same for the disk's workers.
    pub disk: Arc<DiskTorrent>,
    pub room: Room,
    /// What was found on the disk, while room is made for the rest.
    pub held: Option<Box<Found>>,
    pub saving: Saving,
    pub trouble: Trouble,
    pub doubts: Doubts,
    pub wishes: Wishes,
    /// While all the data is looked at again.
    pub recheck: Option<Recheck>,
    /// After the check of the data old states are removed.
    pub expires: bool,
    /// Nobody else writes where we do.
    pub sole: Option<Sole>,
    /// Space is being claimed, which changes how files look.
    pub is_claiming: bool,
    /// Connections with something new to send.
    pub dirty: sorted::Set<PeerKey>,
    /// When the peers are told of the pieces that came.
    pub tell_at: Option<Instant>,
    /// Writes and checks that the disk has not answered.
    pub unwritten: usize,
    /// The end waits for them too.
    pub announces: Announces,
    pub finish: Finish,
    pub ending: Option<Ending>,
}

impl Download {
    pub(super) fn new(newcomer: Newcomer, hub: &Hub, now: Instant) -> Download {
        let Newcomer { id, settings, geometry, storage, place, .. } = newcomer;
        let Newcomer { target, peer_id, seed, legacy, .. } = newcomer;
        let disk = DiskTorrent {
            number: id.number(),
            storage: Arc::clone(&storage),
            geometry: Arc::clone(&geometry),
            hashes: Arc::clone(&settings.metainfo.info.pieces),
        };
        Download {
            id,
            outlet: Outlet::new(id, settings.report_interval),
            stop: Arc::default(),
            windows: Windows::new(Arc::clone(&geometry), hub.window_files),
            flush: settings.disk.flush_every.map(|every| now + every),
            stage: Stage::Checking { done: 0 },
            room: if claim::comes_first(&storage) { Room::Wanted } else { Room::Claimed },
            held: None,
            saving: Saving::new(place, Arc::clone(&geometry)),
            trouble: Trouble::default(),
            doubts: Doubts::new(Bitfield::new(geometry.piece_count())),
            wishes: Wishes::default(),
            recheck: None,
            expires: id == TorrentId::FIRST,
            sole: None,
            is_claiming: false,
            dirty: sorted::Set::new(),
            tell_at: None,
            unwritten: 0,
            announces: Announces::default(),
            finish: Finish::default(),
            ending: None,
            web: Web::default(),
            disk: Arc::new(disk),
            storage,
            geometry,
            peer_id,
            seed,
            target,
            settings,
            legacy,
        }
    }

    pub(super) fn torrent(&self) -> Option<&Torrent> {
        match &self.stage {
            Stage::Running(torrent) => Some(torrent),
            Stage::Checking { .. } => None,
        }
    }

    /// For when data is to be checked.
    pub(super) fn check(&self) -> Check {
        Check {
            storage: Arc::clone(&self.storage),
            geometry: Arc::clone(&self.geometry),
            hashes: Arc::clone(&self.disk.hashes),
            place: self.saving.place().zip(self.settings.keep.clone()),
            trust: !self.settings.check_hashes,
            name: check::name(self.settings.metainfo.info_hash, &self.target),
            expire: self.expires,
            stop: Arc::clone(&self.stop),
        }
    }

    /// When it has to be looked at if nothing happens before.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let torrent = self.torrent().and_then(Torrent::next_deadline);
        let ending = self.ending.as_ref().map(Ending::deadline);
        let report = self.outlet.next_deadline(now);
        let save = self.saving.next_deadline(now);
        let retry = self.trouble.next_deadline();
        [torrent, ending, report, save, retry, self.flush]
            .into_iter()
            .chain([self.goal_deadline(now), self.tell_at, self.windows.next_deadline()])
            .flatten()
            .min()
    }
}

/// A torrent and what it shares with the others: all that happens to one torrent is here.
pub(super) struct Work<'a> {
    pub hub: &'a mut Hub,
    pub own: &'a mut Download,
}

impl Work<'_> {
    pub(super) fn torrent(&self) -> Option<&Torrent> {
        self.own.torrent()
    }

    /// Calls the torrent, with what it shares with the others; `None` if there is none yet.
    pub(super) fn with_torrent<T>(&mut self, act: impl FnOnce(&mut Torrent) -> T) -> Option<T> {
        let Stage::Running(torrent) = &mut self.own.stage else { return None };
        Some(self.hub.share.with(self.own.id, torrent, self.hub.now, act))
    }

    /// It has come into the session.
    pub(super) fn start(&mut self) {
        // Where nothing else is checked there is nobody to be let pass.
        let alone = self.hub.errands.is_idle();
        self.send_on(if alone { Errand::Check } else { Errand::Look });
    }

    /// Its part in a turn in which something happened to it.
    pub(super) fn turn(&mut self, now: Instant) {
        self.on_time(now);
        self.perform(now);
        // Whoever looks on has been told by now that all is there.
        let goes_on = self.own.ending.is_none();
        self.look_at_goal(now);
        if goes_on && self.own.ending.is_some() {
            self.perform(now);
        }
        self.feed_web(now);
        self.save(now);
        self.report(now);
    }

    fn on_time(&mut self, now: Instant) {
        self.try_again(now);
        self.tell_news(now);
        self.own.windows.expire(now);
        if self.own.flush.is_some_and(|at| at <= now) {
            self.own.flush = self.own.settings.disk.flush_every.map(|every| now + every);
            // A queue that is full will be no fuller at the next time.
            let _ = self.hub.disk.try_send(&self.own.disk, Job::Flush);
        }
        if self.torrent().and_then(Torrent::next_deadline).is_some_and(|at| at <= now) {
            self.own.outlet.wake();
            self.with_torrent(|t| t.on_time(now));
        }
    }

    /// Something that is about this torrent alone.
    pub(super) fn on_news(&mut self, news: News, now: Instant) {
        match news {
            News::Checked(pieces) => {
                if let Stage::Checking { done } = &mut self.own.stage {
                    *done = pieces;
                }
            }
            News::CheckDue => self.send_on(Errand::Check),
            News::CheckEnded(Ok(found)) => self.on_check_ended(found, now),
            News::CheckEnded(Err(e)) => self.on_unchecked(e, now),
            News::CheckNotice(text) => self.own.outlet.push(Report::Notice(text)),
            News::CheckedAgain(piece, good) => self.on_checked_again(piece, good, now),
            News::CheckAgainEnded(file, stamp) => self.on_check_again_ended(file, stamp, now),
            News::Claimed(part) => self.on_claimed(part),
            News::ClaimEnded(result) => self.on_claim_ended(result, now),
            News::Pause(paused) => self.on_pause(paused, now),
            News::Limit(upload, download) => self.on_limit(upload, download, now),
            News::Recheck => self.on_recheck(),
            News::Rechecked(piece, good) => self.on_rechecked(piece, good, now),
            News::RecheckEnded => self.on_recheck_ended(),
            News::Saved(saved) => self.on_saved(saved, now),
            News::Look(look) => self.show(look, now),
            News::Wish(files) => self.on_wish(files, now),
        }
    }

    pub(super) fn on_check_ended(&mut self, found: Box<Found>, now: Instant) {
        self.own.expires = false;
        if self.own.room == Room::Wanted {
            self.own.room = Room::Waited(0.0);
            self.own.held = Some(found);
            return self.start_claiming(Errand::Claim);
        }
        self.open(*found, now);
        if claim::goes_along(&self.own.storage) && self.own.ending.is_none() {
            self.start_claiming(Errand::ClaimAlong);
        }
    }

    /// What is on disk is known: now peers may come.
    fn open(&mut self, mut found: Found, now: Instant) {
        if self.own.ending.is_some() {
            return;
        }
        let own = &mut *self.own;
        own.sole = found.sole.take();
        let setup = Setup {
            info_hash: own.settings.metainfo.info_hash,
            peer_id: own.peer_id,
            geometry: Arc::clone(&own.geometry),
            have: found.have.clone(),
            priorities: own.settings.priorities.clone(),
            trackers: match &own.legacy {
                Some(_) => Vec::new(),
                None => own.settings.metainfo.tiers(),
            },
            port: self.hub.ports.as_ref().map_or(self.hub.port, Ports::public),
            seed: own.seed,
        };
        let mut config = own.settings.config.clone();
        config.peer_exchange &= !own.settings.metainfo.info.private;
        config.hash_table &= !own.settings.metainfo.info.private;
        let mut torrent = Torrent::new(setup, config, now).with_keys_from(own.id.first_key());
        if !own.settings.metainfo.info.private {
            torrent.give_metadata(Arc::clone(&own.settings.metainfo.info_bytes), now);
        }
        torrent.on_found(found.blocks.iter().copied());
        self.ask_table(now);
        self.ask_neighbours(now);
        self.hub.open(self.own.settings.metainfo.info_hash, self.own.id, now);
        torrent.add_web_seeds(self.web_sources(), now);
        let own = &mut *self.own;
        own.saving.begin(&found);
        own.doubts = Doubts::new(found.unproven.clone());
        if torrent.is_done() {
            let complete = torrent.is_complete();
            own.outlet.push(if complete { Report::Complete } else { Report::Done });
            own.finish = Finish::before(now);
        }
        self.own.stage = Stage::Running(Box::new(torrent));
        let company = self.take_company(now);
        company.into_iter().for_each(|key| self.hear(key, now));
        self.own.outlet.hurry();
        self.on_found(now);
        self.fulfil_wish(now);
    }

    /// Looks for peers in the distributed hash table too.
    fn ask_table(&mut self, now: Instant) {
        let Work { hub, own } = self;
        let metainfo = &own.settings.metainfo;
        if metainfo.info.private || hub.table(now).is_none() {
            return;
        }
        if let Some(node) = &mut hub.dht {
            node.want(metainfo.info_hash, metainfo.nodes.clone(), &hub.post, now);
        }
    }

    /// Looks for peers on the same link too.
    fn ask_neighbours(&mut self, now: Instant) {
        let metainfo = &self.own.settings.metainfo;
        if !metainfo.info.private {
            self.hub.lsd(now).into_iter().for_each(|lsd| lsd.want(metainfo.info_hash, now));
        }
    }

    /// Goes on with the connections and trackers that there were before the measures were known.
    /// Says who has something to say.
    fn take_company(&mut self, now: Instant) -> Vec<PeerKey> {
        let Some(legacy) = self.own.legacy.take() else { return Vec::new() };
        self.with_torrent(|t| t.take_trackers(legacy.announcer, legacy.key, now));
        let mut company = Vec::new();
        for known in legacy.acquaintances {
            let key = known.key;
            if self.hub.links.peer(key).is_none() {
                continue;
            }
            if self.with_torrent(|t| t.adopt(known, now)) == Some(true) {
                self.hub.links.measure(key, Arc::clone(&self.own.geometry));
                company.push(key);
            } else {
                self.close(key);
            }
        }
        self.with_torrent(|t| t.add_candidates(&legacy.addresses, Source::Tracker, now));
        company
    }

    /// What became of an announce.
    pub(super) fn on_fetched(
        &mut self,
        number: u64,
        result: Result<fetch::Reply, fetch::FetchError>,
        now: Instant,
    ) {
        let result = match result {
            Ok(reply) => ask::http_reply(reply.status, &reply.body).map_err(Failure::Reply),
            Err(e) => Err(Failure::Unreachable(e.to_string())),
        };
        self.on_announced(number, result, now);
    }

    pub(super) fn on_announced(
        &mut self,
        number: u64,
        result: Result<ask::Reply, Failure>,
        now: Instant,
    ) {
        self.own.announces.over(number);
        self.with_torrent(|t| t.on_announced(number, result, now));
    }
}
