//! What others ask of us. Anybody can write anybody's address on a packet, so that until somebody
//! has shown that he is where he says, by an answer to a question of ours or by the token that was
//! sent there, he is sent no more than came in his name: else a stranger could have us, and all
//! nodes like us, flood whom he likes with several times what he sends himself.

use super::{About, Dht, MAX_PENDING, Step, family};
use crate::proto::address::is_local;
use crate::proto::dht::id::NodeId;
use crate::proto::dht::{Answer, Ask, Body, Node, Packet, Query};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Answers in a second.
pub(super) const MAX_ANSWERS: u32 = 100;

/// Addresses that are remembered as somebody's, beside those in the table.
const MAX_PROVED: usize = 256;

/// And for how long.
const PROVED: Duration = Duration::from_secs(60 * 60);

impl Dht {
    pub(super) fn on_query(
        &mut self,
        from: SocketAddr,
        (transaction, length): (Vec<u8>, usize),
        query: &Query,
        now: Instant,
    ) {
        if self.settings.read_only || self.is_too_much(from, now) {
            return;
        }
        let n = family(from);
        if query.id == self.nets[n].table.own() {
            return;
        }
        let body = self.answer(from, query, now);
        let mut packet = Packet { transaction, body };
        if !self.is_proved(from, now) {
            cut(&mut packet, length);
        }
        self.steps.push_back(Step::Send(from, packet.encode()));
        let is_wanted = !query.read_only && self.nets[n].table.wants(&query.id, from);
        let is_asked = self.pending.iter().any(|pending| pending.to == from);
        if is_wanted && !is_asked && self.pending.len() < MAX_PENDING / 2 {
            self.ask(from, Ask::Ping, About::Presence, now);
        }
    }

    /// Somebody is at this address.
    pub(super) fn prove(&mut self, ip: IpAddr, now: Instant) {
        self.proved.retain(|(other, _)| *other != ip);
        if self.proved.len() >= MAX_PROVED {
            self.proved.remove(0);
        }
        self.proved.push((ip, now));
    }

    fn is_proved(&self, at: SocketAddr, now: Instant) -> bool {
        let is_it = |(ip, since): &(IpAddr, Instant)| {
            *ip == at.ip() && now.saturating_duration_since(*since) < PROVED
        };
        self.proved.iter().any(is_it) || self.nets[family(at)].table.has_host(at)
    }

    fn is_too_much(&mut self, from: SocketAddr, now: Instant) -> bool {
        if now.saturating_duration_since(self.answers.0) >= Duration::from_secs(1) {
            self.answers = (now, 0);
        }
        if self.answers.1 >= MAX_ANSWERS || self.limit.exceeded(from.ip(), now) {
            return true;
        }
        self.answers.1 += 1;
        false
    }

    fn answer(&mut self, from: SocketAddr, query: &Query, now: Instant) -> Body {
        let n = family(from);
        let mut answer = Answer::new(self.nets[n].table.own());
        answer.external = Some(from);
        match &query.ask {
            Ask::Ping => {}
            Ask::FindNode(place) => answer.nodes = self.near(place, query, from),
            Ask::GetPeers(info_hash) => {
                answer.nodes = self.near(&NodeId(info_hash.0), query, from);
                answer.peers = self.store.peers(info_hash, n == 1, &mut self.rng);
                answer.token = Some(self.store.token(from.ip(), now));
            }
            Ask::Announce { info_hash, port, token } => {
                if !self.store.is_token(token, from.ip(), now) {
                    return Body::Refusal(203, "bad token".into());
                }
                self.prove(from.ip(), now);
                let port = port.unwrap_or(from.port());
                self.store.list(*info_hash, SocketAddr::new(from.ip(), port), now);
            }
            Ask::Other => return Body::Refusal(204, "unknown method".into()),
        }
        Body::Answer(answer)
    }

    /// The nearest nodes of the families that are wanted. What is at home is only told at home.
    fn near(&self, place: &NodeId, query: &Query, from: SocketAddr) -> Vec<Node> {
        let (four, six) = query.want.unwrap_or((from.is_ipv4(), from.is_ipv6()));
        let nets = self.nets.iter().zip([four, six]).filter(|(_, wanted)| *wanted);
        let nodes = nets.flat_map(|(net, _)| net.table.nearest(place));
        nodes.filter(|(_, at)| is_local(from.ip()) || !is_local(at.ip())).collect()
    }
}

/// Takes from an answer what makes it longer than the question was. One peer or the nearest node
/// stays: with IPv4 the shortest question has room for it beside the token, with IPv6 there are 13
/// bytes too many, without which nobody could begin to search.
fn cut(packet: &mut Packet, length: usize) {
    let is_fit = |packet: &Packet| packet.encode().len() <= length;
    let mut external = None;
    while !is_fit(packet) {
        let Body::Answer(answer) = &mut packet.body else { return };
        external = external.or(answer.external.take());
        if answer.nodes.len() + answer.peers.len() <= 1 {
            break;
        }
        if answer.nodes.pop().is_none() {
            answer.peers.pop();
        }
    }
    let Body::Answer(answer) = &mut packet.body else { return };
    answer.external = answer.external.or(external);
    if !is_fit(packet) {
        let Body::Answer(answer) = &mut packet.body else { return };
        answer.external = None;
    }
}
