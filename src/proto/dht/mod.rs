//! The messages of the distributed hash table (BEP 5): both families of addresses (BEP 32), node
//! ids bound to addresses ([`id`], BEP 42), nodes that only ask (BEP 43), and the form in which a
//! node remembers others.
//!
//! What is read here came from whoever knows our port: nothing panics, and nothing is kept but
//! what the length of the packet justifies.

pub mod id;
pub mod saved;

use crate::proto::address;
use crate::proto::announce::ask::printable;
use crate::proto::bencode::{self, Item, Value};
use crate::proto::ids::InfoHash;
use id::NodeId;
use std::net::SocketAddr;

/// A packet is not looked at beyond this, in bytes: more than any network passes on whole.
pub const MAX_PACKET: usize = 1500;

/// Values in one packet.
const MAX_VALUES: usize = 256;

/// Transaction numbers and tokens of others are no longer, in bytes: they are sent back as they
/// came.
const MAX_ECHO: usize = 64;

/// Nodes and peers taken from one packet.
const MAX_LIST: usize = 64;

/// Ports below are those of services that want none of this: who names one has them disturbed.
const FIRST_PORT: u16 = 1024;

/// A node: its id, and where it is.
pub type Node = (NodeId, SocketAddr);

/// What a node asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Whether we are there.
    Ping,
    /// Nodes near an id.
    FindNode(NodeId),
    /// Peers of a torrent, and nodes near it.
    GetPeers(InfoHash),
    /// To be listed as a peer.
    Announce {
        /// Of which torrent.
        info_hash: InfoHash,
        /// The peer's port; `None` is that which the packet came from (`implied_port`).
        port: Option<u16>,
        /// What we gave its address when it asked for peers.
        token: Vec<u8>,
    },
    /// Something that we do not know.
    Other,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Who asks.
    pub id: NodeId,
    /// What for.
    pub ask: Ask,
    /// Which families of nodes are wanted, IPv4 and IPv6; `None` is that of the packet.
    pub want: Option<(bool, bool)>,
    /// It answers no questions itself.
    pub read_only: bool,
}

/// What is answered to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Who answers.
    pub id: NodeId,
    /// Nodes near what was asked for.
    pub nodes: Vec<Node>,
    /// Peers of the torrent that was asked for.
    pub peers: Vec<SocketAddr>,
    /// To be sent along by who wants to be listed.
    pub token: Option<Vec<u8>>,
    /// The address that the question came from.
    pub external: Option<SocketAddr>,
}

impl Answer {
    /// One that says no more than who gives it.
    pub fn new(id: NodeId) -> Answer {
        Answer { id, nodes: Vec::new(), peers: Vec::new(), token: None, external: None }
    }
}

/// What a packet says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A question.
    Query(Query),
    /// The answer to one.
    Answer(Answer),
    /// A question was not understood, or is refused: the code of BEP 5 and a printable text.
    Refusal(i64, String),
}

/// A packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// By which question and answer belong together.
    pub transaction: Vec<u8>,
    /// What it says.
    pub body: Body,
}

impl Packet {
    /// Reads a packet. `None` if it is none of these. Never panics.
    pub fn decode(bytes: &[u8]) -> Option<Packet> {
        let bytes = bytes.get(..MAX_PACKET.min(bytes.len()))?;
        let (value, _) = bencode::decode_prefix_within(bytes, MAX_VALUES).ok()?;
        let transaction = echo(&value, "t")?;
        let body = match string(&value, "y")? {
            b"q" => Body::Query(query(&value)?),
            b"r" => Body::Answer(answer(&value)?),
            b"e" => refusal(&value),
            _ => return None,
        };
        Some(Packet { transaction, body })
    }

    /// The bytes of a packet.
    pub fn encode(&self) -> Vec<u8> {
        let kind: &str = match &self.body {
            Body::Query(_) => "q",
            Body::Answer(_) => "r",
            Body::Refusal(..) => "e",
        };
        let mut entries = vec![("t", bytes(&self.transaction)), ("y", kind.into())];
        match &self.body {
            Body::Query(query) => put_query(&mut entries, query),
            Body::Answer(answer) => put_answer(&mut entries, answer),
            Body::Refusal(code, text) => {
                entries.push(("e", Item::List(vec![Item::Int(*code), text.as_str().into()])));
            }
        }
        dict(entries).encode()
    }
}

fn dict(entries: Vec<(&str, Item)>) -> Item {
    Item::Dict(entries.into_iter().map(|(key, item)| (key.as_bytes().to_vec(), item)).collect())
}

fn bytes(bytes: &[u8]) -> Item {
    Item::Bytes(bytes.to_vec())
}

fn string<'a>(value: &Value<'a>, key: &str) -> Option<&'a [u8]> {
    value.get(key).and_then(Value::as_bytes)
}

/// Something that is sent back as it came.
fn echo(value: &Value, key: &str) -> Option<Vec<u8>> {
    string(value, key).filter(|bytes| bytes.len() <= MAX_ECHO).map(<[u8]>::to_vec)
}

fn node_id(value: &Value, key: &str) -> Option<NodeId> {
    Some(NodeId(string(value, key)?.try_into().ok()?))
}

fn query(value: &Value) -> Option<Query> {
    let about = value.get("a")?;
    let info_hash = || InfoHash::from_bytes(string(about, "info_hash")?);
    let ask = match string(value, "q")? {
        b"ping" => Ask::Ping,
        b"find_node" => Ask::FindNode(node_id(about, "target")?),
        b"get_peers" => Ask::GetPeers(info_hash()?),
        b"announce_peer" => {
            let implied = about.get("implied_port").and_then(Value::as_int).unwrap_or(0) != 0;
            let port = || about.get("port").and_then(Value::as_int);
            let port = match implied {
                true => None,
                false => Some(u16::try_from(port()?).ok().filter(|port| *port != 0)?),
            };
            Ask::Announce { info_hash: info_hash()?, port, token: echo(about, "token")? }
        }
        _ => Ask::Other,
    };
    let wants = |list: &[Value], what: &[u8]| list.iter().any(|v| v.as_bytes() == Some(what));
    let want = about.get("want").and_then(Value::as_list);
    let want = want.map(|list| (wants(list, b"n4"), wants(list, b"n6")));
    let read_only = value.get("ro").and_then(Value::as_int) == Some(1);
    Some(Query { id: node_id(about, "id")?, ask, want, read_only })
}

fn put_query(entries: &mut Vec<(&str, Item)>, query: &Query) {
    let mut about = vec![("id", bytes(&query.id.0))];
    let name = match &query.ask {
        Ask::Ping | Ask::Other => "ping",
        Ask::FindNode(target) => {
            about.push(("target", bytes(&target.0)));
            "find_node"
        }
        Ask::GetPeers(info_hash) => {
            about.push(("info_hash", bytes(&info_hash.0)));
            "get_peers"
        }
        Ask::Announce { info_hash, port, token } => {
            about.push(("info_hash", bytes(&info_hash.0)));
            about.push(("implied_port", Item::Int(port.is_none().into())));
            about.push(("port", Item::Int(port.unwrap_or(1).into())));
            about.push(("token", bytes(token)));
            "announce_peer"
        }
    };
    if let Some((four, six)) = query.want {
        let names = [(four, "n4"), (six, "n6")];
        let names = names.into_iter().filter(|(wanted, _)| *wanted).map(|(_, name)| name.into());
        about.push(("want", Item::List(names.collect())));
    }
    entries.extend([("q", name.into()), ("a", dict(about))]);
    if query.read_only {
        entries.push(("ro", Item::Int(1)));
    }
}

fn answer(value: &Value) -> Option<Answer> {
    let said = value.get("r")?;
    let mut nodes = Vec::new();
    for (key, six) in [("nodes", false), ("nodes6", true)] {
        nodes.extend(read_nodes(string(said, key).unwrap_or_default(), six));
    }
    let values = said.get("values").and_then(Value::as_list).unwrap_or_default();
    let peers = values.iter().take(MAX_LIST).filter_map(|v| address::read(v.as_bytes()?));
    Some(Answer {
        id: node_id(said, "id")?,
        nodes,
        peers: peers.filter(|at| at.port() >= FIRST_PORT).collect(),
        token: echo(said, "token"),
        external: string(value, "ip").and_then(address::read),
    })
}

fn put_answer(entries: &mut Vec<(&str, Item)>, answer: &Answer) {
    let mut said = vec![("id", bytes(&answer.id.0))];
    for (key, six) in [("nodes", false), ("nodes6", true)] {
        let list = compact(answer.nodes.iter().filter(|(_, at)| at.is_ipv6() == six));
        if !list.is_empty() {
            said.push((key, Item::Bytes(list)));
        }
    }
    if !answer.peers.is_empty() {
        said.push(("values", Item::List(answer.peers.iter().map(compact_address).collect())));
    }
    if let Some(token) = &answer.token {
        said.push(("token", bytes(token)));
    }
    entries.push(("r", dict(said)));
    if let Some(external) = &answer.external {
        entries.push(("ip", compact_address(external)));
    }
}

fn refusal(value: &Value) -> Body {
    let list = value.get("e").and_then(Value::as_list).unwrap_or_default();
    let code = list.first().and_then(Value::as_int).unwrap_or(0);
    let text = list.get(1).and_then(Value::as_bytes).unwrap_or_default();
    Body::Refusal(code, printable(text))
}

fn compact_address(at: &SocketAddr) -> Item {
    let mut out = Vec::with_capacity(address::length(true));
    address::put(&mut out, *at);
    Item::Bytes(out)
}

/// The compact form of nodes: the id and then the compact address, 26 bytes each or 38 of IPv6.
fn compact<'a>(nodes: impl Iterator<Item = &'a Node>) -> Vec<u8> {
    let mut out = Vec::new();
    for (id, at) in nodes {
        out.extend_from_slice(&id.0);
        address::put(&mut out, *at);
    }
    out
}

/// Reads it, and leaves out whom nobody should be sent to.
fn read_nodes(bytes: &[u8], six: bool) -> impl Iterator<Item = Node> {
    let nodes = bytes.chunks_exact(20 + address::length(six)).take(MAX_LIST);
    nodes.filter_map(|node| {
        let (id, at) = node.split_first_chunk::<20>()?;
        let at = address::read(at).filter(|at| at.port() >= FIRST_PORT)?;
        // An address of IPv4 in the clothes of IPv6 belongs to neither list.
        let is_mapped = node.len() > 26 && at.is_ipv4();
        (!is_mapped).then_some((NodeId(*id), at))
    })
}

#[cfg(test)]
mod tests;
