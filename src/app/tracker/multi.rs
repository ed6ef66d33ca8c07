//! What the tracker asks and tells others: trackers that trade peers with it, and the aggregator
//! that announces are forwarded to. By threads that fetch; their answers come as messages.

use std::time::{Duration, Instant};

use crate::io::fetch::{Done, Fetch, Job};
use crate::io::mailbox::Post;
use crate::logic::registry::Registry;
use crate::logic::registry::multi::{Others, Told};
use crate::logic::rng::Rng;
use crate::proto::announce::ask::{self, ReplyError};
use crate::proto::announce::{Event, Request};
use crate::proto::ids::PeerId;

use super::Message;

/// Threads that ask other trackers.
const ASKING: usize = 2;

/// Bytes of an answer that are read.
const LIMIT: usize = 256 * 1024;

/// The id of what is forwarded; nobody waits for an answer.
const FORWARDED: u64 = u64::MAX;

/// How the tracker deals with other trackers.
#[derive(Debug, Clone)]
pub struct Dealings {
    /// Whether others are asked for peers.
    pub enabled: bool,
    /// How often, unless they say otherwise.
    pub interval: Duration,
    /// How many peers they are asked for.
    pub max_peers: u32,
    /// Where announces are forwarded to, and with which password.
    pub forward: Option<(String, Option<String>)>,
    /// How long a request may take.
    pub timeout: Duration,
}

/// The tracker's dealings with others.
pub struct Multi {
    dealings: Dealings,
    tracker_id: PeerId,
    others: Others,
    asking: Option<Fetch>,
    forwarding: Option<Fetch>,
}

impl Multi {
    /// Deals as it is told to; what comes of it goes to `post`.
    pub fn new(dealings: Dealings, tracker_id: PeerId, post: &Post<Message>) -> Multi {
        let asking = dealings.enabled.then(|| Fetch::new(ASKING, post.clone()));
        let forwarding = dealings.forward.is_some().then(|| Fetch::new(1, post.clone()));
        let others = Others::new(dealings.interval);
        Multi { dealings, tracker_id, others, asking, forwarding }
    }

    /// Asks the trackers of what is allowed now.
    pub fn on_lists(&mut self, registry: &Registry, now: Instant, rng: &mut Rng) {
        if let (Some(_), Some(allowed)) = (&self.asking, &registry.access.torrents) {
            self.others.set(allowed, now, rng);
        }
    }

    /// Whether announces are forwarded.
    pub fn forwards(&self) -> bool {
        self.forwarding.is_some()
    }

    /// Forwards the query of an announce. What finds no room is lost: it is only statistics.
    pub fn forward(&self, query: &[u8]) {
        let (Some(fetch), Some((url, password))) = (&self.forwarding, &self.dealings.forward)
        else {
            return;
        };
        let mut url = format!("{url}{}", if url.contains('?') { '&' } else { '?' });
        for byte in query {
            // As it came, but for what cannot stand in a URL.
            match byte {
                b'!' | b'$'..=b';' | b'=' | b'?'..=b'Z' | b'_' | b'a'..=b'z' | b'~' => {
                    url.push(char::from(*byte));
                }
                _ => ask::percent_encode(&mut url, &[*byte]),
            }
        }
        if let Some(password) = password {
            url.push_str("&password=");
            ask::percent_encode(&mut url, password.as_bytes());
        }
        let timeout = self.dealings.timeout;
        let _ = fetch.try_send(Job { id: FORWARDED, url, limit: LIMIT, timeout });
    }

    /// When [`Multi::on_time`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.others.next_deadline()
    }

    /// Asks those whose time has come.
    pub fn on_time(&mut self, now: Instant) {
        let Some(fetch) = &self.asking else { return };
        while let Some(next) = self.others.next_ask(now) {
            let mut request = Request::new(next.hash, self.tracker_id, 0);
            request.left = 1;
            request.event = Some(Event::Stopped);
            request.numwant = Some(self.dealings.max_peers);
            let url = format!("{}&tracker=1", ask::url(&next.url, &request));
            let timeout = self.dealings.timeout;
            let job = Job { id: next.id, url, limit: LIMIT, timeout };
            if fetch.try_send(job).is_err() {
                self.others.on_told(next.id, Told::Failed, now);
            }
        }
    }

    /// Takes an answer.
    pub fn on_fetched(&mut self, done: Done, registry: &mut Registry, now: Instant) {
        if done.id == FORWARDED {
            return;
        }
        let reply = done.result.ok().map(|reply| ask::http_reply(reply.status, &reply.body));
        let told = match reply {
            Some(Ok(reply)) => {
                let peers = reply.peers.iter().map(|peer| peer.address).collect();
                Told::Peers(peers, reply.interval)
            }
            Some(Err(ReplyError::Rejected { reason, .. })) => Told::Refused(reason),
            _ => Told::Failed,
        };
        if let Some((hash, peers)) = self.others.on_told(done.id, told, now) {
            registry.set_foreign(hash, peers);
        }
    }
}
