//! What a node of the distributed hash table remembers from one start to the next: its ids, and
//! others that answered.

use super::id::NodeId;
use super::{Node, bytes, compact, dict, node_id, read_nodes, string};
use crate::proto::bencode;

/// Nodes that are remembered of each family; more than a table holds in practice.
pub const MAX_NODES: usize = 400;

/// For IPv4 and for IPv6: the own id, and others, those that answered last first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// Of the two families.
    pub nets: [Net; 2],
}

/// What is remembered of one family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Net {
    /// Our own id; `None` if there was none yet.
    pub own: Option<NodeId>,
    /// Other nodes.
    pub nodes: Vec<Node>,
}

/// The keys of a family's id and nodes.
const KEYS: [(&str, &str); 2] = [("id", "nodes"), ("id6", "nodes6")];

impl Saved {
    /// The bytes of a file.
    pub fn encode(&self) -> Vec<u8> {
        let mut entries = Vec::new();
        for (net, (id, nodes)) in self.nets.iter().zip(KEYS) {
            entries.extend(net.own.map(|own| (id, bytes(&own.0))));
            entries.push((nodes, bytes(&compact(net.nodes.iter().take(MAX_NODES)))));
        }
        dict(entries).encode()
    }

    /// Reads a file. What cannot be read is forgotten: it is found again.
    pub fn decode(file: &[u8]) -> Saved {
        let Ok(value) = bencode::decode(file) else { return Saved::default() };
        let net = |six: bool| {
            let (id, nodes) = KEYS[usize::from(six)];
            let list = string(&value, nodes).unwrap_or_default();
            let lists = list.chunks(64 * if six { 38 } else { 26 });
            let nodes = lists.flat_map(|list| read_nodes(list, six)).take(MAX_NODES).collect();
            Net { own: node_id(&value, id), nodes }
        };
        Saved { nets: [net(false), net(true)] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_out_as_it_went_in_and_junk_is_forgotten() {
        let node = |n: u16| (NodeId([n as u8; 20]), format!("9.8.7.6:{}", 2000 + n));
        let four = (0..150).map(node).map(|(id, at)| (id, at.parse().unwrap())).collect();
        let six = vec![(NodeId([9; 20]), "[2001:db8::1]:5000".parse().unwrap())];
        let nets = [Net { own: Some(NodeId([1; 20])), nodes: four }, Net { own: None, nodes: six }];
        let saved = Saved { nets };
        assert_eq!(Saved::decode(&saved.encode()), saved);
        for junk in [&b""[..], b"le", b"d2:idi1e5:nodes3:abce", b"d2:id3:abce"] {
            assert_eq!(Saved::decode(junk), Saved::default(), "{junk:?}");
        }
    }
}
