//! What all torrents of a session share: the reactor and its sockets, workers, buffers.

use super::errands::Errands;
use super::{DESCRIPTORS_SHORT, DOOR_SHUT, MAX_NOTICES, MIN_BLOCKS, Parts};
use crate::app::client::dht::{self, Node};
use crate::app::client::links::Links;
use crate::app::client::lsd::Lsd;
use crate::app::client::ports::Ports;
use crate::app::client::secrecy::Secrecy;
use crate::app::client::state::Saver;
use crate::app::client::udp::Udp;
use crate::app::client::utp::{Manner, Utp};
use crate::app::client::{Event, Report, SessionSettings, Told, TorrentId};
use crate::io::conn::{Outcome, Staging};
use crate::io::datagrams::Datagrams;
use crate::io::disk::{self, Disk, DiskTorrent};
use crate::io::fetch::{Bounds, Fetch};
use crate::io::mailbox::{JobSender, Mailbox, Post};
use crate::io::origin::Origin;
use crate::io::reactor::{self, Reactor};
use crate::io::reason;
use crate::logic::share::Share;
use crate::proto::geometry::{BLOCK_LENGTH, BlockRef};
use crate::proto::ids::InfoHash;
use crate::proto::sorted;
use crate::proto::wire::Pool;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// So many threads tell trackers that it ends.
const FAREWELL_THREADS: usize = 32;

/// See the head of this file.
pub(super) struct Hub {
    pub reactor: Reactor,
    pub post: Post<Event>,
    pub reports: JobSender<Told>,
    /// Messages about the session, and the last ones of torrents that have ended.
    pub notices: VecDeque<Told>,
    /// Set by anybody: all of it ends soon.
    pub stop: Arc<AtomicBool>,
    pub settings: SessionSettings,
    /// The time of this turn.
    pub now: Instant,
    /// The limits, and the number of connections.
    pub share: Share<TorrentId>,
    pub port: u16,
    /// Where others are spoken to from.
    pub origin: Origin,
    pub links: Links,
    pub secrecy: Secrecy,
    /// The torrents that strangers may ask for.
    pub names: sorted::Map<InfoHash, TorrentId>,
    pub pool: Pool,
    pub disk: Disk,
    pub saver: Saver,
    pub errands: Errands,
    /// Ranges to be made ready that the disk's queue had no room for.
    pub unready: VecDeque<(Arc<DiskTorrent>, BlockRef)>,
    /// When to try them again, after there was no descriptor for a file of theirs.
    pub retry_unready: Option<Instant>,
    /// Descriptors are short: nobody is to keep files open for sending.
    pub descriptors_short: bool,
    pub fetch: Fetch,
    pub udp: Udp,
    pub dht: Option<Node>,
    pub lsd: Option<Lsd>,
    pub ports: Option<Ports>,
    pub utp: Option<Utp>,
    pub staging: Staging,
    pub flushed: Outcome,
    /// Block buffers were given back since somebody last looked for one.
    pub buffers_came: bool,
    /// No connections are taken before this time.
    pub door_opens: Option<Instant>,
    /// How many files one torrent may keep open for sending.
    pub window_files: usize,
    /// How many streams over UDP may be open.
    max_streams: usize,
}

/// The workers of a session.
pub(super) type Workers = (Disk, Saver);

impl Hub {
    pub(super) fn start_workers(
        settings: &SessionSettings,
        post: &Post<Event>,
    ) -> io::Result<Workers> {
        let disk = Disk::start(settings.write_buffer, post.clone())?;
        Ok((disk, Saver::start(post.clone())?))
    }

    pub(super) fn new(parts: Parts, (disk, saver): Workers, now: Instant) -> (Hub, Mailbox<Event>) {
        let Parts { post, reporter, stop, settings, company, mail } = parts;
        let local_only = settings.config.local_only;
        let first = settings.map_ports.filter(|_| !local_only);
        let origin = settings.door.origin();
        let bind = &settings.door.bind;
        let begin = |first| Ports::new(bind, origin.clone(), company.port, first);
        let ports = company.ports.or_else(|| first.and_then(begin));
        let bounds = Bounds { local_only, origin: origin.clone() };
        // All others can then be had beside them within the user's limit.
        let allowed = match settings.max_files_open {
            0 => usize::MAX,
            most => most / 2,
        };
        let budget = company.budget;
        let hub = Hub {
            now,
            share: Share::new(&settings.config, now),
            fetch: Fetch::within(budget.fetchers, bounds, post.clone()),
            udp: Udp::new(bind, origin.clone()),
            origin,
            secrecy: Secrecy::new(company.seed, now),
            pool: pool(settings.write_buffer, settings.slice_size),
            reactor: company.reactor,
            links: company.links,
            port: company.port,
            dht: company.dht,
            lsd: company.lsd,
            names: sorted::Map::new(),
            reports: reporter,
            notices: VecDeque::new(),
            errands: Errands::default(),
            unready: VecDeque::new(),
            retry_unready: None,
            descriptors_short: false,
            ports,
            utp: company.utp,
            staging: Staging::default(),
            flushed: Outcome::default(),
            buffers_came: false,
            door_opens: None,
            window_files: (budget.files / 2).min(allowed),
            max_streams: budget.streams,
            post,
            stop,
            settings,
            disk,
            saver,
        };
        (hub, mail)
    }

    /// What the end of the session gives back.
    pub(super) fn close(self) -> (Disk, JobSender<Told>, VecDeque<Told>) {
        (self.disk, self.reports, self.notices)
    }

    /// A message about the session, or the last of a torrent. The oldest give way.
    pub(super) fn tell(&mut self, torrent: Option<TorrentId>, report: Report) {
        if self.notices.len() >= MAX_NOTICES {
            self.notices.pop_front();
        }
        self.notices.push_back((torrent, report));
    }

    /// Sends them on, as far as there is room.
    pub(super) fn send_notices(&mut self) {
        while let Some(told) = self.notices.pop_front() {
            if let Err(told) = self.reports.try_send(told) {
                return self.notices.push_front(told);
            }
        }
    }

    /// A torrent is ready for peers: has all that brings them.
    pub(super) fn open(&mut self, info_hash: InfoHash, id: TorrentId, now: Instant) {
        if self.names.is_empty() {
            self.open_streams(now);
        }
        self.names.insert(info_hash, id);
        self.secrecy.admit(info_hash);
    }

    /// A torrent takes no peers any more.
    pub(super) fn shut(&mut self, info_hash: InfoHash, id: TorrentId) {
        if self.names.get(&info_hash) == Some(&id) {
            self.names.remove(&info_hash);
            self.secrecy.dismiss(info_hash);
            if let Some(node) = &mut self.dht {
                node.forget(&info_hash);
            }
            if let Some(lsd) = &mut self.lsd {
                lsd.forget(info_hash);
            }
        }
    }

    /// The node of the distributed hash table, if there is to be one.
    pub(super) fn table(&mut self, now: Instant) -> Option<&mut Node> {
        let options = self.settings.dht.as_ref()?;
        if self.dht.is_none() {
            let place = (&self.settings.door.bind[..], self.port);
            let sockets = match &mut self.utp {
                Some(utp) => utp.take_sockets(),
                None => Datagrams::new(self.origin.clone()),
            };
            match Node::start(options, place, sockets, &mut self.reactor, now) {
                Ok(mut node) => {
                    node.be_reached_at(self.ports.as_ref().map_or(self.port, Ports::public));
                    self.dht = Some(node);
                }
                Err(e) => self.tell(None, Report::Notice(dht::unusable(&e))),
            }
        }
        self.dht.as_mut()
    }

    /// Who tells of us on our link, if we are to be told of there.
    pub(super) fn lsd(&mut self, now: Instant) -> Option<&mut Lsd> {
        let SessionSettings { lsd, config, door, .. } = &self.settings;
        if self.lsd.is_none() && *lsd && !config.local_only {
            self.lsd = Lsd::new((&door.bind, self.port), self.origin.clone(), now);
        }
        self.lsd.as_mut()
    }

    /// Takes streams over UDP too, if they are wanted.
    fn open_streams(&mut self, now: Instant) {
        if !self.settings.utp || self.utp.is_some() {
            return;
        }
        let place = (&self.settings.door.bind[..], self.port);
        let manner = Manner {
            local_only: self.settings.config.local_only,
            nearby: self.settings.utp_nearby,
            most: self.max_streams,
        };
        let sockets = self.dht.is_none().then(|| self.origin.clone());
        match Utp::start(place, sockets, manner, &mut self.reactor, now) {
            Ok(utp) => self.utp = Some(utp),
            Err(e) => {
                let why = format!("cannot use uTP: {}", reason(&e));
                self.tell(None, Report::Notice(why));
            }
        }
    }

    pub(super) fn accept(&mut self, listener: usize, now: Instant) {
        let methods = self.settings.config.encryption.methods();
        if self.links.take_in(listener, methods, now, &mut self.reactor).is_err() {
            self.door_opens = Some(now + DOOR_SHUT);
        }
    }

    /// Takes connections while there is a torrent for them, and room.
    pub(super) fn open_door(&mut self, now: Instant) {
        self.door_opens = self.door_opens.filter(|at| *at > now);
        let open = !self.names.is_empty()
            && self.door_opens.is_none()
            && self.links.has_room_for_strangers(now);
        self.links.accept(open, &mut self.reactor);
    }

    /// Something came at a socket that is no peer's.
    pub(super) fn on_datagrams(&mut self, event: reactor::Event, now: Instant) {
        let Hub { dht, utp, ports, lsd, reactor, .. } = self;
        let stray = |from: SocketAddr, packet: &[u8]| {
            if let Some(utp) = utp {
                utp.on_packet(from, packet, now);
            }
        };
        let heard = dht.as_mut().is_some_and(|node| node.hear(event.token, now, stray))
            || utp.as_mut().is_some_and(|utp| utp.hear(event, reactor, now))
            || lsd.as_mut().is_some_and(|lsd| lsd.hear(event.token, now))
            || ports.as_mut().is_some_and(|ports| ports.hear(event.token, now));
        if !heard {
            self.udp.hear(event.token, now);
        }
    }

    /// Somebody has opened a stream over UDP.
    pub(super) fn take_stream(&mut self, near: OwnedFd, address: SocketAddr, now: Instant) {
        // Without a place for it the near end is closed, and so the stream.
        if !self.names.is_empty() && self.links.has_room_for_strangers(now) {
            let methods = self.settings.config.encryption.methods();
            self.links.add_stranger(near, address, methods, now, &mut self.reactor);
        }
    }

    pub(super) fn warm_up(&mut self, torrent: &Arc<DiskTorrent>, range: BlockRef) {
        self.unready.push_back((Arc::clone(torrent), range));
        self.send_unready();
    }

    pub(super) fn send_unready(&mut self) {
        if self.retry_unready.is_some() {
            return;
        }
        while let Some((torrent, range)) = self.unready.pop_front() {
            if self.disk.try_send(&torrent, disk::Job::Ready { range }).is_err() {
                return self.unready.push_front((torrent, range));
            }
        }
    }

    /// There was no descriptor for a file of this range. What is being sent holds files open. When
    /// it is sent, there is room again.
    pub(super) fn wait_for_descriptors(
        &mut self,
        torrent: &Arc<DiskTorrent>,
        range: BlockRef,
        now: Instant,
    ) {
        self.descriptors_short = true;
        self.unready.push_front((Arc::clone(torrent), range));
        self.retry_unready = Some(now + DESCRIPTORS_SHORT);
    }

    pub(super) fn on_time(&mut self, now: Instant) {
        self.udp.on_time(now);
        if let Some(node) = &mut self.dht {
            node.on_time(now);
        }
        if let Some(lsd) = &mut self.lsd {
            lsd.on_time(&mut self.reactor, now);
        }
        if let Some(ports) = &mut self.ports {
            ports.on_time(now);
        }
        self.links.expire_strangers(now, &mut self.reactor);
        self.open_door(now);
        if self.retry_unready.take_if(|at| *at <= now).is_some() {
            self.send_unready();
        }
    }

    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let news = (!self.notices.is_empty()).then(|| now + DESCRIPTORS_SHORT);
        [self.links.next_deadline(now), self.door_opens, self.retry_unready, news]
            .into_iter()
            .chain([self.share.next_deadline(now)])
            .chain([self.buffer_deadline(now), self.udp.next_deadline()])
            .chain([self.dht.as_ref().map(Node::next_deadline)])
            .chain([self.lsd.as_ref().and_then(Lsd::next_deadline)])
            .chain([self.ports.as_ref().and_then(Ports::next_deadline)])
            .chain([self.utp.as_ref().and_then(Utp::next_deadline)])
            .flatten()
            .min()
    }

    /// When those that wait for a block buffer may get one, beside when the disk gives one back.
    fn buffer_deadline(&self, now: Instant) -> Option<Instant> {
        match self.pool.has_room() {
            true => (self.buffers_came && self.links.waits_for_buffer()).then_some(now),
            false => self.links.dawdling_until(),
        }
    }

    pub(super) fn give_back(&mut self, buffer: Vec<u8>) {
        self.pool.give(buffer);
        self.buffers_came = true;
    }

    /// Sends what the streams have to send.
    pub(super) fn send_streams(&mut self, now: Instant) {
        if let Some(utp) = &mut self.utp {
            utp.send(self.dht.as_ref(), now);
        }
    }

    /// The last word to all.
    pub(super) fn end_streams(&mut self, now: Instant) {
        if let Some(utp) = &mut self.utp {
            utp.end(self.dht.as_ref(), now);
        }
    }

    /// The session ends: what is remembered is written down, what was granted given back. Returns
    /// when the end comes at the latest.
    pub(super) fn end(&mut self, now: Instant) -> Instant {
        // Many may have to say goodbye at the same moment.
        self.fetch.widen(FAREWELL_THREADS);
        if let Some(node) = self.dht.as_mut().filter(|node| !node.is_saving()) {
            node.remember(&self.post);
        }
        if let Some(ports) = &mut self.ports {
            ports.end(now);
        }
        now + self.settings.patience
    }

    /// Whether the end need not wait for any of this.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.dht.as_ref().is_some_and(Node::is_saving)
            && self.ports.as_ref().is_none_or(Ports::is_at_rest)
    }
}

fn pool(write_buffer: usize, block_length: u32) -> Pool {
    // The disk counts in blocks of the usual length; longer ones are fewer.
    let blocks = disk::blocks(write_buffer);
    let fit = blocks * BLOCK_LENGTH as usize / block_length as usize;
    Pool::with_block_length(fit.clamp(MIN_BLOCKS, blocks), block_length)
}
