//! The packets of UDP trackers (BEP 15), with the options that may stand behind an announce
//! (BEP 41): the tracker's side.
//!
//! Reads what strangers sent: never panics, and allocates only what a packet's length justifies.

pub mod ask;

use std::net::{Ipv4Addr, SocketAddr};

use crate::proto::address::dialable;
use crate::proto::announce::answer::{Announce, Counts, Crypto, Key, Listed, Reply, Secrets, Told};
use crate::proto::ids::{InfoHash, PeerId};

/// The number that a request to connect begins with.
pub const MAGIC: u64 = 0x417_2710_1980;

/// Connection ids that are given are at least this, so that no request begins as an answer does.
pub const LEAST_ID: u64 = 1 << 63;

/// The last of the actions that an answer begins with.
const LAST_ACTION: u64 = 3;

/// Whether a packet with this in the place of its connection id looks like the answer of a tracker.
/// Such a one must never be answered: two trackers that somebody has speak to each other, by asking
/// one in the other's name, would go on for ever.
pub fn is_answer(connection: u64) -> bool {
    connection >> 32 <= LAST_ACTION
}

/// Info hashes that one scrape may ask for.
pub const MAX_SCRAPED: usize = 74;

/// The longest packet that is looked at: an announce with options.
pub const MAX_PACKET: usize = 2048;

/// Bytes of an announce before its options.
const ANNOUNCE: usize = 98;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What the asker was given by the answer to [`Ask::Connect`]; `MAGIC` in a request to connect.
    pub connection: u64,
    /// The asker's number for it, to be given back.
    pub transaction: u32,
    /// What is asked.
    pub ask: Ask,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A connection id.
    Connect,
    /// An announce.
    Announce(Box<Announce>),
    /// The numbers of these torrents.
    Scrape(Vec<InfoHash>),
}

/// Why a packet gets no answer, or only an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// It is no request at all.
    Packet,
    /// It has this connection and this transaction, and nothing else in it is right.
    Request(u64, u32),
}

fn u32_at(packet: &[u8], at: usize) -> Option<u32> {
    packet.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn u64_at(packet: &[u8], at: usize) -> Option<u64> {
    packet.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes)
}

impl Request {
    /// Reads a packet.
    ///
    /// # Errors
    /// Whatever is no request of BEP 15.
    pub fn read(packet: &[u8]) -> Result<Request, Bad> {
        let connection = u64_at(packet, 0).ok_or(Bad::Packet)?;
        let action = u32_at(packet, 8).ok_or(Bad::Packet)?;
        let transaction = u32_at(packet, 12).ok_or(Bad::Packet)?;
        let ask = match action {
            0 if connection == MAGIC => Some(Ask::Connect),
            0 => return Err(Bad::Packet),
            1 => announce(packet).map(|announce| Ask::Announce(Box::new(announce))),
            2 => scrape(&packet[16..]),
            _ => None,
        };
        let ask = ask.ok_or(Bad::Request(connection, transaction))?;
        Ok(Request { connection, transaction, ask })
    }
}

fn scrape(hashes: &[u8]) -> Option<Ask> {
    let hashes = hashes.chunks_exact(20).take(MAX_SCRAPED).filter_map(InfoHash::from_bytes);
    let hashes: Vec<InfoHash> = hashes.collect();
    (!hashes.is_empty()).then_some(Ask::Scrape(hashes))
}

fn announce(packet: &[u8]) -> Option<Announce> {
    let options = packet.get(ANNOUNCE..)?;
    let ip = Ipv4Addr::from(u32_at(packet, 84)?);
    let key: [u8; 4] = packet[88..92].try_into().ok()?;
    let event = match u32_at(packet, 80)? {
        0 => Told::Nothing,
        1 => Told::Completed,
        2 => Told::Started,
        3 => Told::Stopped,
        _ => return None,
    };
    let query = query(options);
    let Secrets { seed_id, password } = Announce::secrets(&query);
    Some(Announce {
        info_hash: InfoHash::from_bytes(&packet[16..36])?,
        peer_id: PeerId::from_bytes(&packet[36..56])?,
        left: u64_at(packet, 64)?.min(i64::MAX as u64),
        event,
        given_ip: dialable(SocketAddr::new(ip.into(), 1)).map(|there| there.ip()),
        // Eight hex digits, as the same client would send it over HTTP.
        key: Key::new(&hex(key)),
        wanted: u32_at(packet, 92).filter(|n| *n <= i32::MAX as u32),
        port: u16::from_be_bytes(packet[96..98].try_into().ok()?),
        crypto: Crypto::Plain,
        compact: true,
        no_peer_id: true,
        from_tracker: false,
        check_seeded: false,
        scrape: false,
        seed_id,
        password,
    })
}

fn hex(bytes: [u8; 4]) -> [u8; 8] {
    let digit = |n: usize| b"0123456789abcdef"[usize::from(bytes[n / 2] >> (4 - n % 2 * 4) & 15)];
    std::array::from_fn(digit)
}

/// The query of the URL that the asker was given, pieced together from the options (BEP 41).
fn query(mut options: &[u8]) -> Vec<u8> {
    let mut url = Vec::new();
    while let Some((kind, rest)) = options.split_first() {
        match kind {
            0 => break,
            1 => options = rest,
            kind => {
                let Some((length, rest)) = rest.split_first() else { break };
                let Some(data) = rest.get(..usize::from(*length)) else { break };
                if *kind == 2 {
                    url.extend_from_slice(data);
                }
                options = &rest[data.len()..];
            }
        }
    }
    let mark = url.iter().position(|b| *b == b'?');
    mark.map_or_else(Vec::new, |mark| url.split_off(mark + 1))
}

/// Writes the answer to a request to connect.
pub fn put_connected(out: &mut Vec<u8>, transaction: u32, connection: u64) {
    put_head(out, 0, transaction);
    out.extend_from_slice(&connection.to_be_bytes());
}

fn put_head(out: &mut Vec<u8>, action: u32, transaction: u32) {
    out.clear();
    out.extend_from_slice(&action.to_be_bytes());
    out.extend_from_slice(&transaction.to_be_bytes());
}

/// Writes the answer to an announce. Its peers are all of the asker's family.
pub fn put_announced(out: &mut Vec<u8>, transaction: u32, reply: &Reply) {
    put_head(out, 1, transaction);
    for number in [reply.interval, reply.incomplete, reply.complete] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    Listed::put_all(&reply.peers, out);
}

/// Writes the answer to a scrape: the numbers in the order of the question.
pub fn put_scraped(out: &mut Vec<u8>, transaction: u32, all: impl Iterator<Item = Counts>) {
    put_head(out, 2, transaction);
    for Counts { complete, downloaded, incomplete } in all {
        for number in [complete, downloaded, incomplete] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// Writes an error.
pub fn put_error(out: &mut Vec<u8>, transaction: u32, text: &str) {
    put_head(out, 3, transaction);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::announce::answer::{Form, More};

    fn packet(options: &[u8]) -> Vec<u8> {
        let mut packet = 7u64.to_be_bytes().to_vec();
        for number in [1u32, 9] {
            packet.extend_from_slice(&number.to_be_bytes());
        }
        packet.extend_from_slice(&[b'H'; 20]);
        packet.extend_from_slice(&[b'P'; 20]);
        for number in [1u64, 77, 2] {
            packet.extend_from_slice(&number.to_be_bytes());
        }
        for number in [2u32, 0x0102_0304, 0xab, 30] {
            packet.extend_from_slice(&number.to_be_bytes());
        }
        packet.extend_from_slice(&6881u16.to_be_bytes());
        packet.extend_from_slice(options);
        packet
    }

    fn read(packet: &[u8]) -> Announce {
        match Request::read(packet).unwrap() {
            Request { connection: 7, transaction: 9, ask: Ask::Announce(announce) } => *announce,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_an_announce() {
        let a = read(&packet(b""));
        assert_eq!((a.info_hash, a.peer_id), (InfoHash([b'H'; 20]), PeerId([b'P'; 20])));
        assert_eq!((a.left, a.event, a.port, a.wanted), (77, Told::Started, 6881, Some(30)));
        assert_eq!((a.given_ip, a.key), ("1.2.3.4".parse().ok(), Key::new(b"000000ab")));
        assert_eq!(a.form(true), Some(Form::Compact));
        let mut all = packet(b"");
        all[92..96].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(read(&all).wanted, None, "-1 is as many as the tracker likes");
    }

    #[test]
    fn reads_the_options_behind_it() {
        let a = read(&packet(b"\x01\x02\x0b/ann?seed_i\x01\x02\x11d=a%20&password=b\x00\x02\x01x"));
        assert_eq!(a.seed_id.as_deref(), Some(&b"a "[..]));
        assert_eq!(a.password.as_deref(), Some(&b"b"[..]));
        assert_eq!(read(&packet(b"\x02\xff/short?password=b")).password, None);
        assert_eq!(read(&packet(b"\x09\x01x\x02")).password, None);
    }

    #[test]
    fn what_is_no_request_is_told_apart() {
        let connect = |magic: u64| [&magic.to_be_bytes()[..], &[0; 4], &[1; 4]].concat();
        assert_eq!(Request::read(&connect(MAGIC)).unwrap().ask, Ask::Connect);
        assert_eq!(Request::read(&connect(1)), Err(Bad::Packet));
        assert_eq!(Request::read(&packet(b"")[..15]), Err(Bad::Packet));
        assert_eq!(Request::read(&packet(b"")[..97]), Err(Bad::Request(7, 9)));
        let mut odd = packet(b"");
        odd[83] = 4;
        assert_eq!(Request::read(&odd), Err(Bad::Request(7, 9)), "no such event");
        odd[11] = 4;
        assert_eq!(Request::read(&odd), Err(Bad::Request(7, 9)), "no such action");
        odd[11] = 2;
        match Request::read(&odd[..60]).unwrap().ask {
            Ask::Scrape(hashes) => assert_eq!(hashes[0], InfoHash([b'H'; 20])),
            other => panic!("{other:?}"),
        }
        assert_eq!(Request::read(&odd[..30]), Err(Bad::Request(7, 9)), "nothing to scrape");
        let many = [&odd[..16], &[1; 20 * 100]].concat();
        match Request::read(&many).unwrap().ask {
            Ask::Scrape(hashes) => assert_eq!(hashes.len(), MAX_SCRAPED),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn writes_answers_as_the_standard_has_them() {
        let mut out = vec![1, 2, 3];
        put_connected(&mut out, 5, 6);
        assert_eq!(out, [&[0; 4][..], &[0, 0, 0, 5], &[0, 0, 0, 0, 0, 0, 0, 6]].concat());
        let ip = "1.2.3.4".parse().unwrap();
        let peers = vec![Listed { ip, port: 258, crypto: Crypto::Plain }];
        let (form, names, more) = (Form::Compact, Vec::new(), More::default());
        let reply = Reply { complete: 1, incomplete: 2, interval: 3, form, peers, names, more };
        put_announced(&mut out, 5, &reply);
        let numbers = [0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1];
        assert_eq!(out, [&numbers[..], &[1, 2, 3, 4, 1, 2]].concat());
        let counts = Counts { complete: 1, downloaded: 2, incomplete: 3 };
        put_scraped(&mut out, 5, [counts, Counts::default()].into_iter());
        assert_eq!(out[8..20], [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
        assert_eq!(out.len(), 32);
        put_error(&mut out, 5, "no");
        assert_eq!(out, [0, 0, 0, 3, 0, 0, 0, 5, b'n', b'o']);
    }

    #[test]
    fn damaged_packets_never_panic() {
        let good = packet(b"\x02\x0a/a?seed_id\x02\x02=x\x01\x00");
        let mut seed = 3u64;
        for round in 0..50_000 {
            let mut bytes = good.clone();
            for _ in 0..=round % 4 {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (seed >> 33) as usize % bytes.len();
                match seed & 3 {
                    0 => bytes.truncate(at + 1),
                    _ => bytes[at] = (seed >> 24) as u8,
                }
            }
            let _ = Request::read(&bytes);
        }
    }
}
