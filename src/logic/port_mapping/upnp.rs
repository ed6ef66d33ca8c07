//! The talk with a UPnP router: search, description, then calls, each an exchange over HTTP.

use super::{LIFETIME, Place, Step};
use crate::proto::port_mapping::upnp::{self, Called, SEARCH, Service, Url};
use crate::proto::port_mapping::{Mapping, Protocol};
use std::net::SocketAddrV4;

/// Where a single router takes searches.
const SEARCH_PORT: u16 = SEARCH.port();

/// So many ports after our own number are tried where the router's port leads elsewhere.
const MAX_CONFLICTS: u16 = 8;

/// How far it is known whom to call.
#[derive(Debug, Default)]
enum Stage {
    /// The router is to say where it is described.
    #[default]
    Searching,
    /// It is to say what can be called, in the exchange of this number.
    Describing(u64, Url),
    /// These services can be called; the first is.
    Calling(Vec<Service>),
}

/// What becomes of what was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It is not about anything that is waited for.
    Nothing,
    /// The services can be called.
    Ready,
    /// One of the two was granted, for so many seconds.
    Granted(Mapping),
    /// One of the two is to be asked for once more.
    Again(Protocol),
    /// One of the two is not to be had.
    Refused(Protocol),
    /// The router is of no use.
    Useless,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Router {
    stage: Stage,
    /// Numbers of exchanges that were given out.
    given: u64,
    /// Calls under way: their number, and what was asked for.
    calls: Vec<(u64, Mapping)>,
    /// It knows mappings without end alone.
    permanent: bool,
    /// How far the ports are from our own number.
    shifts: [u16; 2],
}

impl Router {
    /// Whether it is still unknown where the router is described.
    pub(super) fn is_sought(&self) -> bool {
        matches!(self.stage, Stage::Searching)
    }

    /// Searches, by a word to all and, where that is filtered, to the router alone.
    pub(super) fn search(place: Place) -> [Step; 2] {
        let alone = SocketAddrV4::new(place.gateway, SEARCH_PORT);
        [SEARCH, alone].map(|to| Step::Send(to.into(), upnp::search()))
    }

    fn exchange(&mut self, host: SocketAddrV4, request: Vec<u8>) -> (u64, Step) {
        self.given += 1;
        (self.given, Step::Exchange { number: self.given, host, request })
    }

    /// A packet has come from the gateway.
    pub(super) fn on_packet(&mut self, place: Place, packet: &[u8]) -> Option<Step> {
        let url = upnp::described_at(place.gateway, packet).filter(|_| self.is_sought())?;
        let (number, step) = self.exchange(url.host, url.get());
        self.stage = Stage::Describing(number, url);
        Some(step)
    }

    /// Has one of the two be opened, or shut if its lifetime is 0.
    pub(super) fn call(&mut self, place: Place, mut wanted: Mapping) -> Option<Step> {
        let Stage::Calling(services) = &self.stage else { return None };
        let service = services.first()?;
        let host = service.control.host;
        let request = match wanted.lifetime {
            0 => service.delete(wanted.protocol, wanted.external),
            _ => {
                let shift = self.shifts[wanted.protocol as usize];
                wanted.external = wanted.internal.checked_add(shift).unwrap_or(wanted.internal);
                wanted.lifetime = if self.permanent { 0 } else { LIFETIME };
                service.add(&wanted, place.own)
            }
        };
        let (number, step) = self.exchange(host, request);
        // What it is to last for us, who look after it as after any other.
        self.calls.retain(|(_, call)| call.protocol != wanted.protocol);
        self.calls.push((number, wanted));
        Some(step)
    }

    /// An exchange is over; without an answer if it failed.
    pub(super) fn on_exchanged(&mut self, number: u64, answer: Option<&[u8]>, last: bool) -> News {
        if let Stage::Describing(awaited, url) = &self.stage {
            if *awaited != number {
                return News::Nothing;
            }
            let services = upnp::services(url, answer.unwrap_or_default());
            if services.is_empty() {
                return News::Useless;
            }
            self.stage = Stage::Calling(services);
            return News::Ready;
        }
        let Some(i) = self.calls.iter().position(|(call, _)| *call == number) else {
            return News::Nothing;
        };
        let (_, mapping) = self.calls.swap_remove(i);
        let called = answer.map_or(Called::Refused, upnp::called);
        if last {
            return News::Granted(Mapping { lifetime: 0, ..mapping });
        }
        self.judge(called, mapping)
    }

    fn judge(&mut self, called: Called, mapping: Mapping) -> News {
        let shift = &mut self.shifts[mapping.protocol as usize];
        match called {
            Called::Done => News::Granted(Mapping { lifetime: LIFETIME, ..mapping }),
            Called::OnlyPermanent if !self.permanent => {
                self.permanent = true;
                News::Again(mapping.protocol)
            }
            // The other of the two was first to say so.
            Called::OnlyPermanent if mapping.lifetime > 0 => News::Again(mapping.protocol),
            Called::Conflict if *shift < MAX_CONFLICTS => {
                *shift += 1;
                News::Again(mapping.protocol)
            }
            _ => {
                // A router may have several, of which one is connected.
                if let Stage::Calling(services) = &mut self.stage {
                    if services.len() > 1 {
                        services.remove(0);
                        return News::Again(mapping.protocol);
                    }
                }
                News::Refused(mapping.protocol)
            }
        }
    }
}
