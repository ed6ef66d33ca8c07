//! Has the gateway let others in: which way it is asked, when again, and that it is told at the end.
//!
//! One TCP and one UDP port of the same number. The Port Control Protocol comes first, then NAT-PMP,
//! then UPnP (`upnp`); what the gateway understands stays. `app::client::ports` does what [`PortMapper::next_step`]
//! says, and tells what came. Only the gateway is listened to, and nothing it says makes it be
//! asked more than a few times a minute.

mod upnp;

use crate::proto::port_mapping::pcp::{self, Nonce};
use crate::proto::port_mapping::{Answer, Mapping, Protocol, SERVER_PORT, nat_pmp};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};
use upnp::{News, Router};

/// What is asked for; it is asked for again at half of what was granted.
const LIFETIME: u32 = 3600;

/// What a gateway grants counts as no longer than this, in seconds.
const MAX_LIFETIME: u32 = 86_400;

/// No mapping is renewed sooner, however short its life.
const MIN_RENEWAL: Duration = Duration::from_secs(60);

/// The first answer is waited for so long, each further one twice as long; twice that for a search,
/// which routers may answer a second later.
const FIRST_PATIENCE: Duration = Duration::from_millis(250);

/// So often a question is sent before it counts as not understood.
const TRIES: u32 = 3;

/// An exchange over HTTP is over by then; they end by themselves sooner.
const EXCHANGE: Duration = Duration::from_secs(10);

/// At the end it is not waited for any longer.
const LAST_EXCHANGE: Duration = Duration::from_millis(750);

/// So often the gateway is told at the end.
const LAST_TRIES: u32 = 2;

/// After everything was in vain: routers are restarted, machines carried elsewhere.
const AGAIN: Duration = Duration::from_secs(900);

/// What can be tried, in this order.
const WAYS: [Way; 3] = [Way::Pcp, Way::NatPmp, Way::Upnp];

/// How a gateway is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By the Port Control Protocol (RFC 6887), and then in the ways below.
    Pcp,
    /// By NAT-PMP (RFC 6886), and then in the way below.
    NatPmp,
    /// By UPnP.
    Upnp,
}

/// Where we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Whom to ask.
    pub gateway: Ipv4Addr,
    /// Our own address towards it.
    pub own: Ipv4Addr,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Find out where we are, for [`PortMapper::on_place`].
    Locate,
    /// Send this packet.
    Send(SocketAddr, Vec<u8>),
    /// Connect, send the request, and take what comes until the connection ends, for
    /// [`PortMapper::on_exchanged`].
    Exchange {
        /// Names it.
        number: u64,
        /// Whom to connect to.
        host: SocketAddrV4,
        /// The request.
        request: Vec<u8>,
    },
    /// A port of the gateway leads to ours from now on.
    Mapped(Mapping),
}

/// What is known of one of the two mappings.
#[derive(Debug)]
struct Line {
    protocol: Protocol,
    /// The gateway's port, and how long it leads to ours.
    held: Option<(u16, Instant)>,
    /// How often it was asked for since the last answer.
    tries: u32,
    /// When it is asked for next.
    next: Option<Instant>,
}

impl Line {
    fn new(protocol: Protocol) -> Line {
        Line { protocol, held: None, tries: 0, next: None }
    }
}

/// See the head of this file.
#[derive(Debug)]
pub struct PortMapper {
    port: u16,
    nonce: Nonce,
    place: Option<Place>,
    first: Way,
    way: Way,
    router: Router,
    lines: [Line; 2],
    /// When to find out anew where we are.
    locate: Option<Instant>,
    has_ended: bool,
    steps: VecDeque<Step>,
}

impl PortMapper {
    /// Wants `port` to be reached, and begins to ask in the way `first`; `nonce` is chance.
    pub fn new(port: u16, first: Way, nonce: Nonce) -> PortMapper {
        PortMapper {
            port,
            nonce,
            place: None,
            first,
            way: first,
            router: Router::default(),
            lines: [Line::new(Protocol::Tcp), Line::new(Protocol::Udp)],
            locate: None,
            has_ended: false,
            steps: [Step::Locate].into(),
        }
    }

    /// What is to be done next, if there is something.
    pub fn next_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// When [`PortMapper::on_time`] is to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.lines.iter().filter_map(|line| line.next).chain(self.locate).min()
    }

    /// Where we are, if there is a gateway that has to let others in.
    pub fn on_place(&mut self, place: Option<Place>, now: Instant) {
        (self.place, self.way, self.router) = (place, self.first, Router::default());
        match place {
            Some(_) => self.ask_all(now),
            None => self.rest(now),
        }
    }

    /// Time has passed.
    pub fn on_time(&mut self, now: Instant) {
        if self.locate.take_if(|at| *at <= now).is_some() {
            self.steps.push_back(Step::Locate);
        }
        for i in 0..self.lines.len() {
            if self.lines[i].next.is_none_or(|at| at > now) {
                continue;
            }
            let tries = if self.has_ended { LAST_TRIES } else { TRIES };
            match self.lines[i].tries < tries {
                true => self.ask(i, now),
                false if self.has_ended => self.lines[i].next = None,
                false => self.on_failure(i, now),
            }
        }
    }

    /// A packet has come.
    pub fn on_packet(&mut self, from: SocketAddr, packet: &[u8], now: Instant) {
        let Some(place) = self.place else { return };
        if from.ip() != place.gateway || (self.way != Way::Upnp && from != server(place)) {
            return;
        }
        let answer = match self.way {
            Way::Upnp => return self.on_found(place, packet, now),
            Way::Pcp => pcp::answer(packet, &self.nonce),
            Way::NatPmp => nat_pmp::answer(packet),
        };
        match answer {
            Some(Answer::Granted(mapping)) if mapping.internal == self.port => {
                self.on_granted(mapping, now);
            }
            Some(Answer::Refused(Some(protocol), _)) => self.on_refused(protocol, now),
            // Each of the two requests is answered so; the second answer comes after we went on.
            Some(Answer::OtherVersion) if self.way == Way::Pcp => {
                self.on_refused(Protocol::Tcp, now);
            }
            _ => {}
        }
    }

    /// Has what is held be given back. It is told twice, then the lease has to run out by itself.
    pub fn end(&mut self, now: Instant) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        self.locate = None;
        self.steps.clear();
        for i in 0..self.lines.len() {
            let line = &mut self.lines[i];
            let was_asked = line.tries > 0;
            (line.tries, line.next) = (0, None);
            // The answer to what was asked last may be on its way.
            if was_asked || line.held.is_some() {
                self.ask(i, now);
            }
        }
    }

    /// Whether the end need not be waited for: the gateway knows, or was told often enough.
    pub fn is_at_rest(&self) -> bool {
        self.lines.iter().all(|line| line.held.is_none() || line.next.is_none())
    }

    fn index(protocol: Protocol) -> usize {
        match protocol {
            Protocol::Tcp => 0,
            Protocol::Udp => 1,
        }
    }

    fn ask_all(&mut self, now: Instant) {
        for i in 0..self.lines.len() {
            self.lines[i].tries = 0;
            self.ask(i, now);
        }
    }

    fn ask(&mut self, i: usize, now: Instant) {
        let Some(place) = self.place else { return };
        let line = &mut self.lines[i];
        line.next = Some(now + FIRST_PATIENCE * (1 << line.tries));
        line.tries += 1;
        if self.way == Way::Upnp && self.router.is_sought() {
            line.next = Some(now + FIRST_PATIENCE * (1 << line.tries));
            // One search is for both.
            let searches = Router::search(place).into_iter().filter(|_| i == 0 && !self.has_ended);
            return self.steps.extend(searches);
        }
        let wanted = Mapping {
            protocol: line.protocol,
            internal: self.port,
            external: line.held.map_or(self.port, |(port, _)| port),
            lifetime: if self.has_ended { 0 } else { LIFETIME },
        };
        let packet = match self.way {
            Way::Upnp => {
                // An exchange is not sent again: that is the connection's.
                let last = self.has_ended;
                line.tries = if last { LAST_TRIES } else { TRIES };
                line.next = Some(now + if last { LAST_EXCHANGE } else { EXCHANGE });
                return self.steps.extend(self.router.call(place, wanted));
            }
            Way::Pcp => pcp::request(&wanted, place.own, &self.nonce),
            Way::NatPmp => nat_pmp::request(&wanted),
        };
        self.steps.push_back(Step::Send(server(place), packet));
    }

    fn on_granted(&mut self, mapping: Mapping, now: Instant) {
        let line = &mut self.lines[PortMapper::index(mapping.protocol)];
        if self.has_ended || mapping.lifetime == 0 || mapping.external == 0 {
            // Of a mapping that we did not ask to end we hear at the next renewal.
            if self.has_ended && mapping.lifetime == 0 {
                (line.held, line.next) = (None, None);
            }
            return;
        }
        // Who was not asked says nothing new.
        if line.tries == 0 {
            return;
        }
        let lifetime = Duration::from_secs(mapping.lifetime.min(MAX_LIFETIME).into());
        let before = line.held.replace((mapping.external, now + lifetime));
        line.tries = 0;
        line.next = Some(now + (lifetime / 2).max(MIN_RENEWAL));
        if before.is_none_or(|(port, _)| port != mapping.external) {
            self.steps.push_back(Step::Mapped(mapping));
        }
    }

    fn on_refused(&mut self, protocol: Protocol, now: Instant) {
        let i = PortMapper::index(protocol);
        if self.has_ended {
            self.lines[i].next = None;
        } else if self.lines[i].tries > 0 {
            self.on_failure(i, now);
        }
    }

    /// The gateway does not grant a mapping in this way, or says nothing.
    fn on_failure(&mut self, i: usize, now: Instant) {
        let other_is_held = self.lines[1 - i].held.is_some();
        let line = &mut self.lines[i];
        line.tries = 0;
        match line.held {
            // It may be busy, or just starting.
            Some((_, until)) if until > now => line.next = Some(until.min(now + MIN_RENEWAL)),
            _ if other_is_held => {
                line.held = None;
                line.next = Some(now + AGAIN);
            }
            Some(_) => {
                line.held = None;
                self.lines.iter_mut().for_each(|line| line.next = None);
                self.steps.push_back(Step::Locate);
            }
            None => self.try_next_way(now),
        }
    }

    fn try_next_way(&mut self, now: Instant) {
        match WAYS.into_iter().skip_while(|way| *way != self.way).nth(1) {
            Some(way) => {
                self.way = way;
                self.ask_all(now);
            }
            None => self.rest(now),
        }
    }

    /// A router may have answered the search.
    fn on_found(&mut self, place: Place, packet: &[u8], now: Instant) {
        if let (Some(step), false) = (self.router.on_packet(place, packet), self.has_ended) {
            self.steps.push_back(step);
            for line in &mut self.lines {
                (line.tries, line.next) = (TRIES, Some(now + EXCHANGE));
            }
        }
    }

    /// An exchange is over: all that came, or `None` if the connection failed.
    pub fn on_exchanged(&mut self, number: u64, answer: Option<&[u8]>, now: Instant) {
        if self.way != Way::Upnp {
            return;
        }
        match self.router.on_exchanged(number, answer, self.has_ended) {
            News::Nothing => {}
            News::Ready if self.has_ended => {}
            News::Ready => self.ask_all(now),
            News::Granted(mapping) => self.on_granted(mapping, now),
            News::Again(protocol) => self.ask(PortMapper::index(protocol), now),
            News::Refused(protocol) => self.on_refused(protocol, now),
            News::Useless if self.has_ended => {}
            News::Useless => self.try_next_way(now),
        }
    }

    fn rest(&mut self, now: Instant) {
        for line in &mut self.lines {
            *line = Line::new(line.protocol);
        }
        self.locate = Some(now + AGAIN);
    }
}

fn server(place: Place) -> SocketAddr {
    SocketAddrV4::new(place.gateway, SERVER_PORT).into()
}

/// Whether others on the Internet reach this address only if a gateway lets them in.
pub fn is_behind_gateway(own: Ipv4Addr) -> bool {
    let [first, second, ..] = own.octets();
    let is_shared = first == 100 && second & 0xc0 == 64;
    is_shared || crate::proto::address::is_local(IpAddr::V4(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place =
        Place { gateway: Ipv4Addr::new(10, 0, 0, 1), own: Ipv4Addr::new(10, 0, 0, 2) };
    const NONCE: Nonce = [7; 12];

    const FOUND: &[u8] = b"HTTP/1.1 200 OK\r\n\
        ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\
        LOCATION: http://10.0.0.1:5000/root.xml\r\n\r\n";

    const DESCRIPTION: &str = "HTTP/1.1 200 OK\r\n\r\n<service>\
        <serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>\
        <controlURL>/control</controlURL></service>";

    /// What a gateway understands.
    #[derive(Clone, Copy, PartialEq)]
    enum Speaks {
        Nothing,
        NatPmp,
        Pcp,
        /// The code of its fault to calls that open ports, if it has one, and how often.
        Upnp(&'static str, usize),
    }

    struct Stage {
        mapper: PortMapper,
        now: Instant,
        speaks: Speaks,
        /// Its mappings: protocol and port.
        mapped: Vec<(Protocol, u16)>,
        told: Vec<Mapping>,
        packets: usize,
        lifetime: u32,
    }

    impl Stage {
        fn new(speaks: Speaks) -> Stage {
            let (mapper, now) = (PortMapper::new(6881, Way::Pcp, NONCE), Instant::now());
            Stage { mapper, now, speaks, mapped: vec![], told: vec![], packets: 0, lifetime: 3600 }
        }

        /// Plays until nothing is left to be done at this moment.
        fn settle(&mut self) {
            while let Some(step) = self.mapper.next_step() {
                match step {
                    Step::Locate => self.mapper.on_place(Some(PLACE), self.now),
                    Step::Mapped(mapping) => self.told.push(mapping),
                    Step::Send(to, _) if to.port() == 1900 => {
                        self.packets += 1;
                        if let Speaks::Upnp(..) = self.speaks {
                            self.mapper.on_packet(to, FOUND, self.now);
                            let router = "10.0.0.1:1900".parse().unwrap();
                            self.mapper.on_packet(router, FOUND, self.now);
                        }
                    }
                    Step::Exchange { number, host, request } => {
                        assert_eq!(host, "10.0.0.1:5000".parse().unwrap());
                        let answer = self.exchanged(&String::from_utf8(request).unwrap());
                        self.mapper.on_exchanged(number, answer.as_deref(), self.now);
                    }
                    Step::Send(to, packet) => {
                        assert_eq!(to, "10.0.0.1:5351".parse().unwrap());
                        self.packets += 1;
                        if let Some(answer) = self.answer(&packet) {
                            self.mapper.on_packet(to, &answer, self.now);
                        }
                    }
                }
            }
        }

        fn answer(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
            match (self.speaks, packet[0]) {
                (Speaks::Nothing | Speaks::Upnp(..), _) => None,
                (Speaks::NatPmp, 2) => Some(vec![0, 129, 0, 1, 0, 0, 0, 0]),
                (Speaks::NatPmp, _) => {
                    let protocol = if packet[1] == 1 { Protocol::Udp } else { Protocol::Tcp };
                    let lifetime = self.keep(protocol, &packet[8..12]);
                    let ports = &packet[4..8];
                    Some([&[0, packet[1] + 128, 0, 0, 0, 0, 0, 0], ports, &lifetime].concat())
                }
                (Speaks::Pcp, _) => {
                    let protocol = if packet[36] == 17 { Protocol::Udp } else { Protocol::Tcp };
                    let lifetime = self.keep(protocol, &packet[4..8]);
                    let mut answer = packet.to_vec();
                    answer[1] |= 0x80;
                    answer[4..8].copy_from_slice(&lifetime);
                    Some(answer)
                }
            }
        }

        /// What a router with UPnP says.
        fn exchanged(&mut self, request: &str) -> Option<Vec<u8>> {
            let Speaks::Upnp(code, times) = &mut self.speaks else { return None };
            if request.starts_with("GET /root.xml ") {
                return Some(DESCRIPTION.into());
            }
            let value = |name: &str| {
                let (_, rest) = request.split_once(&format!("<{name}>")).unwrap();
                rest.split('<').next().unwrap()
            };
            let protocol =
                if value("NewProtocol") == "TCP" { Protocol::Tcp } else { Protocol::Udp };
            let external = value("NewExternalPort").parse().unwrap();
            if request.contains("#DeletePortMapping") {
                self.mapped.retain(|mapped| *mapped != (protocol, external));
            } else if *times > 0 {
                *times -= 1;
                let fault = format!("HTTP/1.1 500 No\r\n\r\n<errorCode>{code}</errorCode>");
                return Some(fault.into());
            } else {
                let lease = if *code == "725" { "0" } else { "3600" };
                assert_eq!((value("NewLeaseDuration"), value("NewInternalPort")), (lease, "6881"));
                self.mapped.retain(|(kept, _)| *kept != protocol);
                self.mapped.push((protocol, external));
            }
            Some(b"HTTP/1.1 200 OK\r\n\r\n".into())
        }

        fn keep(&mut self, protocol: Protocol, lifetime: &[u8]) -> [u8; 4] {
            self.mapped.retain(|(kept, _)| *kept != protocol);
            if lifetime == [0; 4] {
                return [0; 4];
            }
            self.mapped.push((protocol, 6881));
            self.lifetime.to_be_bytes()
        }

        /// Lets so much time pass.
        fn pass(&mut self, time: Duration) {
            let until = self.now + time;
            self.settle();
            while let Some(at) = self.mapper.next_deadline().filter(|at| *at <= until) {
                self.now = self.now.max(at);
                self.mapper.on_time(self.now);
                self.settle();
            }
            self.now = until;
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn both_ports_are_mapped_renewed_at_half_time_and_given_back() {
        for speaks in [Speaks::Pcp, Speaks::NatPmp] {
            let mut stage = Stage::new(speaks);
            stage.pass(MINUTE);
            assert_eq!(stage.mapped, [(Protocol::Tcp, 6881), (Protocol::Udp, 6881)]);
            assert_eq!(stage.told.len(), 2);
            stage.packets = 0;
            stage.pass(28 * MINUTE);
            assert_eq!(stage.packets, 0);
            stage.pass(2 * MINUTE);
            assert_eq!((stage.packets, stage.told.len()), (2, 2));
            stage.mapper.end(stage.now);
            assert!(!stage.mapper.is_at_rest());
            stage.settle();
            assert!(stage.mapper.is_at_rest());
            assert_eq!((stage.mapped.len(), stage.mapper.next_deadline()), (0, None));
        }
    }

    #[test]
    fn a_router_with_upnp_opens_both_ports_and_shuts_them() {
        let [port, next] = [6881, 6882].map(|port| [(Protocol::Tcp, port), (Protocol::Udp, 6881)]);
        for (code, times, expected) in [("", 0, port), ("725", 2, port), ("718", 1, next)] {
            let mut stage = Stage::new(Speaks::Upnp(code, times));
            stage.pass(MINUTE);
            stage.mapped.sort_by_key(|(protocol, _)| *protocol as u8);
            assert_eq!(stage.mapped, expected, "{code}");
            stage.packets = 0;
            stage.pass(60 * MINUTE);
            stage.mapped.sort_by_key(|(protocol, _)| *protocol as u8);
            assert_eq!((stage.packets, &stage.mapped[..]), (0, &expected[..]), "{code}");
            assert_eq!(stage.told.len(), 2);
            stage.mapper.end(stage.now);
            stage.settle();
            assert!(stage.mapper.is_at_rest() && stage.mapped.is_empty(), "{:?}", stage.mapped);
        }
    }

    #[test]
    fn a_router_that_refuses_all_is_left_alone_for_long() {
        let mut stage = Stage::new(Speaks::Upnp("606", usize::MAX));
        stage.pass(10 * MINUTE);
        assert!(stage.mapped.is_empty());
        let Speaks::Upnp(_, left) = stage.speaks else { unreachable!() };
        assert!(usize::MAX - left <= 2);
    }

    #[test]
    fn a_gateway_that_says_nothing_is_asked_in_all_ways_and_then_left_alone_for_long() {
        let mut stage = Stage::new(Speaks::Nothing);
        stage.pass(10 * MINUTE);
        assert_eq!(stage.packets, 2 * WAYS.len() * TRIES as usize);
        stage.mapper.end(stage.now);
        assert!(stage.mapper.is_at_rest());
        stage.settle();
        assert_eq!(stage.packets, 2 * WAYS.len() * TRIES as usize);
    }

    #[test]
    fn what_a_gateway_has_forgotten_is_asked_for_anew_in_whatever_way_it_understands_by_then() {
        let mut stage = Stage::new(Speaks::NatPmp);
        stage.pass(MINUTE);
        (stage.speaks, stage.mapped) = (Speaks::Nothing, vec![]);
        stage.pass(90 * MINUTE);
        stage.speaks = Speaks::Pcp;
        stage.pass(30 * MINUTE);
        assert_eq!((stage.mapped.len(), stage.told.len()), (2, 4));
    }

    #[test]
    fn at_the_end_a_gateway_that_went_away_is_waited_for_less_than_a_second() {
        let mut stage = Stage::new(Speaks::Pcp);
        stage.pass(MINUTE);
        stage.speaks = Speaks::Nothing;
        stage.mapper.end(stage.now);
        stage.packets = 0;
        stage.pass(Duration::from_millis(900));
        assert!(stage.mapper.is_at_rest());
        assert_eq!(stage.packets, 2 * LAST_TRIES as usize);
    }

    #[test]
    fn short_lives_and_unasked_answers_do_not_make_it_busy() {
        let mut stage = Stage::new(Speaks::Pcp);
        stage.lifetime = 1;
        stage.pass(60 * MINUTE);
        assert!(stage.packets <= 2 * 62, "{}", stage.packets);
        let mut granted = Stage::new(Speaks::Pcp);
        granted.pass(MINUTE);
        let deadline = granted.mapper.next_deadline();
        let wanted = Mapping { protocol: Protocol::Tcp, internal: 6881, external: 1, lifetime: 9 };
        let mut answer = pcp::request(&wanted, PLACE.own, &NONCE);
        answer[1] |= 0x80;
        granted.mapper.on_packet(server(PLACE), &answer, granted.now);
        let elsewhere = "10.0.0.3:5351".parse().unwrap();
        granted.mapper.on_packet(elsewhere, &answer, granted.now);
        assert_eq!((granted.mapper.next_deadline(), granted.mapper.next_step()), (deadline, None));
    }

    #[test]
    fn only_addresses_that_nobody_outside_can_reach_need_a_gateway() {
        let at = |ip: &str| is_behind_gateway(ip.parse().unwrap());
        assert!(at("10.0.0.2") && at("192.168.1.2") && at("100.64.0.1"));
        assert!(!at("100.128.0.1") && !at("203.0.113.9"));
    }
}
