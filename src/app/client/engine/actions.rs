//! What the logic wants done.

use super::ending::END;
use super::{MAX_REPLY, SCRAPE, Stage, Work};
use crate::app::client::Settings;
use crate::app::client::ready::{Warmth, Wish};
use crate::io::conn::Conn;
use crate::io::storage::Part;
use crate::io::{disk, fetch, reason};
use crate::logic::PeerKey;
use crate::logic::announcer::Failure;
use crate::logic::torrent::{Action, Tracker};
use crate::proto::geometry::BlockRef;
use crate::proto::wire::{Message, Speaks};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A `have` waits so long for others: in a fast download pieces come by the hundred a second, and
/// each is told to hundreds of peers.
const HAVE_DELAY: Duration = Duration::from_millis(25);

/// Those who cannot ask for them yet are told no oftener.
const HAVE_GAP: Duration = Duration::from_millis(250);

impl Work<'_> {
    /// Does all that is to be done, and sends all that is to be sent, once a turn.
    pub(super) fn perform(&mut self, now: Instant) {
        loop {
            self.drain_actions(now);
            let Some(key) = self.own.dirty.pop_first() else { return };
            self.flush(key, now);
        }
    }

    pub(super) fn drain_actions(&mut self, now: Instant) {
        while let Stage::Running(torrent) = &mut self.own.stage {
            let Some(action) = torrent.next_action() else { return };
            self.act(action, now);
        }
    }

    fn act(&mut self, action: Action, now: Instant) {
        match action {
            Action::Dial { peer, address } => self.dial(peer, address, now),
            Action::Greet(key, methods) => {
                let Settings { metainfo, config, .. } = &self.own.settings;
                let dht = config.hash_table && !metainfo.info.private;
                let speaks = Speaks { dht, ..Speaks::OURS };
                let ours = (metainfo.info_hash, self.own.peer_id, speaks);
                if let Some(link) = self.hub.links.peer(key) {
                    self.hub.secrecy.greet(&mut link.conn, methods, ours);
                    self.own.dirty.insert(key);
                }
            }
            Action::Send(key, message) => self.queue(key, |conn| conn.push(&message)),
            Action::News => _ = self.own.tell_at.get_or_insert(now + HAVE_DELAY),
            Action::SendBlock(key, block) => self.send_block(key, block, now),
            Action::Allow(key, bytes) => self.queue(key, |conn| conn.allow(bytes)),
            Action::Close(key) => self.close(key),
            Action::Write(block, data) => {
                self.own.saving.on_write(block);
                let job = disk::Job::Write { block, data };
                // The pool lends fewer buffers than the queue has places.
                self.order(job, now);
            }
            Action::Verify(piece) => self.order(disk::Job::Verify { piece }, now),
            Action::Recycle(data) => self.give_back(data),
            Action::Announce { number, to: Tracker::Http(url), last } => {
                self.announce(number, url, last, now);
            }
            Action::Announce { number, to: Tracker::Udp(url, request), last } => {
                let timeout = if last { END } else { self.own.settings.http_timeout };
                self.own.announces.sent(number, now);
                let tag = self.own.id.tag(number);
                self.hub.udp.announce(tag, (&url, *request), timeout, now);
            }
            Action::Scrape(url) => self.scrape(url),
            Action::Fetch { run, source, start, length, whole } => {
                self.fetch(run, (source, whole), (start, length), now);
            }
            Action::Abandon(run) => self.abandon(run),
            Action::Node(address) => {
                if let Some(node) = &mut self.hub.dht {
                    node.contact(address, now);
                }
            }
            Action::Report(notice) => self.on_notice(notice),
        }
    }

    /// A write or a check, which must not get lost.
    pub(super) fn order(&mut self, job: disk::Job, now: Instant) {
        match self.hub.disk.try_send(&self.own.disk, job) {
            Ok(()) => self.own.unwritten += 1,
            Err(_) => self.end(Some("the disk's worker has ended".into()), now),
        }
    }

    fn queue(&mut self, key: PeerKey, push: impl FnOnce(&mut Conn)) {
        if let Some(link) = self.hub.links.peer(key) {
            push(&mut link.conn);
            self.own.dirty.insert(key);
        }
    }

    /// Tells of the pieces that came, when that has waited long enough.
    pub(super) fn tell_news(&mut self, now: Instant) {
        if self.own.tell_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        let Stage::Running(torrent) = &mut self.own.stage else { return };
        let news = torrent.take_news(HAVE_GAP, now);
        self.own.tell_at = torrent.has_news().then_some(now + HAVE_DELAY);
        for (key, pieces) in news {
            let push = |conn: &mut Conn| pieces.iter().for_each(|p| conn.push(&Message::Have(*p)));
            self.queue(key, push);
        }
    }

    pub(super) fn dial_by_tcp(&mut self, key: PeerKey, address: SocketAddr, now: Instant) {
        match Conn::dial(address, &self.hub.origin) {
            Ok(conn) => {
                let geometry = Arc::clone(&self.own.geometry);
                self.hub.links.add_dialed(key, conn, Some(geometry), &mut self.hub.reactor);
            }
            Err(_) => _ = self.with_torrent(|t| t.on_connect_failed(key, now)),
        }
    }

    pub(super) fn send_block(&mut self, key: PeerKey, block: BlockRef, now: Instant) {
        if self.hub.links.peer(key).is_none() || !self.may_send(key, block, now) {
            return;
        }
        match self.own.windows.wish(key, block, now) {
            Wish::Wait => {}
            Wish::Ask(range) => match self.own.storage.parts_if_open(range) {
                Some(parts) => self.on_ready(range, parts, Warmth::Unknown, now),
                None => self.hub.warm_up(&self.own.disk, range),
            },
            Wish::Send(parts, _) if !self.look_right(block, &parts, now) => {
                self.with_torrent(|t| t.on_unsent(key, block, now));
            }
            Wish::Send(parts, warmth) => {
                let looks = self.looks(block);
                let Some(link) = self.hub.links.peer(key) else { return };
                link.conn.push_block(block, parts, looks, warmth == Warmth::Warm);
                self.own.dirty.insert(key);
            }
        }
    }

    /// Most of the time all is in the page cache; this block was not.
    fn send_cold(&mut self, key: PeerKey, block: BlockRef, now: Instant) {
        self.own.windows.chill(block);
        match self.own.windows.wish(key, block, now) {
            Wish::Wait => {}
            Wish::Ask(range) => self.hub.warm_up(&self.own.disk, range),
            Wish::Send(..) => self.send_block(key, block, now),
        }
    }

    pub(super) fn on_ready(
        &mut self,
        range: BlockRef,
        parts: Vec<Part>,
        warmth: Warmth,
        now: Instant,
    ) {
        for (peer, block) in self.own.windows.ready(range, parts, warmth, now) {
            self.send_block(peer, block, now);
        }
    }

    fn announce(&mut self, number: u64, url: String, last: bool, now: Instant) {
        let timeout = if last { END } else { self.own.settings.http_timeout };
        let id = self.own.id.tag(number);
        let job = fetch::Job { id, url, limit: MAX_REPLY, timeout };
        match self.hub.fetch.try_send(job) {
            Ok(()) => self.own.announces.sent(number, now),
            Err(_) => {
                let failure = Failure::Unreachable("too many announces wait".into());
                self.with_torrent(|t| t.on_announced(number, Err(failure), now));
            }
        }
    }

    /// Nothing is lost if it does not come about.
    fn scrape(&mut self, url: String) {
        let (id, timeout) = (SCRAPE | self.own.id.tag(0), self.own.settings.http_timeout);
        let _ = self.hub.fetch.try_send(fetch::Job { id, url, limit: MAX_REPLY, timeout });
    }

    fn flush(&mut self, key: PeerKey, now: Instant) {
        let Some(link) = self.hub.links.peer(key) else { return };
        if link.dialing {
            return;
        }
        let mut blocks = std::mem::take(&mut self.hub.flushed);
        let outcome = link.conn.flush(&mut self.hub.staging, &mut blocks);
        if !blocks.sent.is_empty() {
            self.can_read();
        }
        for block in blocks.sent.drain(..) {
            self.with_torrent(|t| t.on_block_sent(key, block, now));
        }
        for block in blocks.cold.drain(..) {
            self.send_cold(key, block, now);
        }
        self.hub.flushed = blocks;
        match outcome {
            Ok(()) => {
                self.hub.links.settle(key, &mut self.hub.reactor);
                while let Some(deaf) = self.hub.links.weigh(key, now) {
                    self.lose(deaf, now);
                }
            }
            Err(e) => {
                self.lose(key, now);
                match (e.kind(), e.raw_os_error()) {
                    (ErrorKind::UnexpectedEof, _) => self.look_around(now),
                    // Of all that a socket or a file says, this is about the disk.
                    (_, Some(5)) => {
                        let target = self.own.target.display();
                        self.cannot_read(format!("cannot read '{target}': {}", reason(&e)), now);
                    }
                    _ => {}
                }
            }
        }
    }
}
