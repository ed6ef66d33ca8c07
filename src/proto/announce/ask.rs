//! The client's side: request to query, bencoded bytes to reply.
//!
//! [`url`] writes what the original client wrote, in its order; [`reply`] and [`http_reply`] take
//! whatever a tracker sends. They never panic, keep at most [`MAX_PEERS`] peers, and ignore keys
//! they do not know (the original lost such answers).

use std::fmt;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::{Peer, Request};
use crate::proto::address::dialable;
use crate::proto::bencode::{self, Kind, Value};
use crate::proto::ids::PeerId;

/// How many peers of one reply are kept; far more than trackers send.
pub const MAX_PEERS: usize = 2000;

/// How many bencoded values a reply may hold: what [`MAX_PEERS`] dictionaries need, and to spare.
const MAX_VALUES: usize = 10 * MAX_PEERS;

/// How many bytes of a tracker's text (warning, failure reason) are kept.
pub const MAX_TEXT: usize = 300;

/// How many bytes of a tracker id are kept and given back; a longer one is dropped.
pub const MAX_TRACKER_ID: usize = 256;

/// When to announce again where the tracker does not say (as BitTornado does).
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(1800);

/// The address to fetch for `request` from the tracker at `base`.
///
/// A query that `base` brings along (a passkey, say) is kept and comes first; a fragment is not
/// sent. Every byte but letters, digits and `-._~` is percent-encoded.
pub fn url(base: &str, request: &Request) -> String {
    let base = base.split('#').next().unwrap_or(base);
    let mut query = Query::after(base);
    query.bytes("info_hash", &request.info_hash.0);
    query.bytes("peer_id", &request.peer_id.0);
    if let Some(event) = request.event {
        query.bytes("event", event.as_str().as_bytes());
    }
    if let Some(ip) = &request.ip {
        query.bytes("ip", ip.as_bytes());
    }
    query.number("port", request.port.into());
    if let Some(seed_id) = &request.seed_id {
        query.bytes("seed_id", seed_id);
    }
    query.number("compact", 1);
    query.number("uploaded", request.uploaded);
    query.number("downloaded", request.downloaded);
    query.number("left", request.left);
    // A 0 is not said: BitTornado's tracker of old takes any word for yes.
    if request.supports_encryption {
        query.number("supportcrypto", 1);
    }
    if request.requires_encryption {
        query.number("requirecrypto", 1);
    }
    if let Some(port) = request.crypto_port {
        query.number("cryptoport", port.into());
    }
    if !request.key.is_empty() {
        query.bytes("key", request.key.as_bytes());
    }
    if let Some(id) = &request.tracker_id {
        query.bytes("trackerid", id);
    }
    if let Some(n) = request.numwant {
        query.number("numwant", n.into());
    }
    if request.no_peer_id {
        query.number("no_peer_id", 1);
    }
    query.text
}

/// A URL that grows by `key=value`.
struct Query {
    text: String,
}

impl Query {
    fn after(base: &str) -> Query {
        let mut text = base.to_owned();
        match base.split_once('?') {
            None => text.push('?'),
            Some((_, "")) => {}
            Some((_, query)) if query.ends_with('&') => {}
            Some(_) => text.push('&'),
        }
        Query { text }
    }

    fn key(&mut self, key: &str) {
        if !self.text.ends_with(['?', '&']) {
            self.text.push('&');
        }
        self.text.push_str(key);
        self.text.push('=');
    }

    fn number(&mut self, key: &str, n: u64) {
        self.key(key);
        write!(self.text, "{n}").expect("a String takes every write");
    }

    fn bytes(&mut self, key: &str, bytes: &[u8]) {
        self.key(key);
        percent_encode(&mut self.text, bytes);
    }
}

/// Appends a value of a query: all but RFC 3986's unreserved characters as `%XX`.
pub fn percent_encode(text: &mut String, bytes: &[u8]) {
    for b in bytes {
        if b.is_ascii_alphanumeric() || b"-._~".contains(b) {
            text.push(char::from(*b));
        } else {
            write!(text, "%{b:02X}").expect("a String takes every write");
        }
    }
}

/// What a tracker answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// When to announce again, as the tracker wants it: any value, also 0.
    pub interval: Duration,
    /// The least time between two announces.
    pub min_interval: Option<Duration>,
    /// To be given back in the next announce.
    pub tracker_id: Option<Vec<u8>>,
    /// Seeds in the swarm.
    pub complete: Option<u32>,
    /// Other peers in the swarm.
    pub incomplete: Option<u32>,
    /// Whom to dial: addresses that can be dialled, IPv4 before IPv6, at most [`MAX_PEERS`].
    pub peers: Vec<Peer>,
    /// The address the tracker saw us come from (BEP 24).
    pub external_ip: Option<IpAddr>,
    /// What the user should read; printable.
    pub warning: Option<String>,
}

/// When one may ask a tracker again that refused (BEP 31).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Not before this time has passed.
    After(Duration),
    /// Not in this run.
    Never,
}

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyError {
    /// The tracker refused, with its `failure reason`; printable.
    Rejected {
        /// The tracker's words.
        reason: String,
        /// What it said of asking again.
        retry: Option<Retry>,
    },
    /// The HTTP status was not 200, and the body told no reason.
    Status(u16),
    /// The body is not bencoded.
    NotBencode(bencode::Error),
    /// The body is bencoded, but this part of it is not what it should be.
    Malformed(&'static str),
}

impl fmt::Display for ReplyError {
    /// Begins as the original's messages do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplyError::Rejected { reason, .. } => write!(f, "rejected by tracker - {reason}"),
            ReplyError::Status(n) => {
                write!(f, "Problem connecting to tracker - it answered with HTTP status {n}")
            }
            ReplyError::NotBencode(e) => write!(f, "bad data from tracker - {e}"),
            ReplyError::Malformed(what) => write!(f, "bad data from tracker - bad {what}"),
        }
    }
}

impl std::error::Error for ReplyError {}

/// Reads what came back over HTTP. Some trackers send their `failure reason` with a status that
/// is not 200: the reason counts.
///
/// # Errors
/// As [`reply`], and [`ReplyError::Status`] for a status other than 200.
pub fn http_reply(status: u16, body: &[u8]) -> Result<Reply, ReplyError> {
    match reply(body) {
        result if status == 200 => result,
        Err(rejected @ ReplyError::Rejected { .. }) => Err(rejected),
        _ => Err(ReplyError::Status(status)),
    }
}

/// Reads the body of an answer: compact peers, dictionaries, and `peers6` (BEP 3, 7, 23).
///
/// # Errors
/// What is no bencoded dictionary, has peers that are none, or is a refusal.
pub fn reply(body: &[u8]) -> Result<Reply, ReplyError> {
    let (value, used) =
        bencode::decode_prefix_within(body, MAX_VALUES).map_err(ReplyError::NotBencode)?;
    // Some trackers end their answers with a newline.
    if !body[used..].trim_ascii().is_empty() {
        let fault = bencode::Fault::Trailing;
        return Err(ReplyError::NotBencode(bencode::Error { fault, at: used }));
    }
    if value.as_dict().is_none() {
        return Err(ReplyError::Malformed("answer"));
    }
    if let Some(reason) = value.get("failure reason") {
        let reason = reason.as_bytes().map(printable).unwrap_or_default();
        return Err(ReplyError::Rejected { reason, retry: value.get("retry in").and_then(retry) });
    }
    let mut peers = Vec::new();
    if let Some(list) = value.get("peers") {
        let flags = value.get("crypto_flags").and_then(Value::as_bytes).unwrap_or_default();
        read_peers(list, flags, &mut peers)?;
    }
    if let Some(list) = value.get("peers6") {
        let bytes = list.as_bytes().ok_or(ReplyError::Malformed("peers6"))?;
        read_compact6(bytes, &mut peers)?;
    }
    let text = |key: &str| value.get(key).and_then(Value::as_bytes);
    Ok(Reply {
        interval: seconds(&value, "interval").unwrap_or(DEFAULT_INTERVAL),
        min_interval: seconds(&value, "min interval"),
        tracker_id: text("tracker id").filter(|b| b.len() <= MAX_TRACKER_ID).map(<[u8]>::to_vec),
        complete: count(&value, "complete"),
        incomplete: count(&value, "incomplete"),
        peers,
        external_ip: text("external ip").and_then(ip_from_bytes),
        warning: text("warning message").map(printable),
    })
}

fn seconds(value: &Value, key: &str) -> Option<Duration> {
    let n = value.get(key)?.as_int()?;
    Some(Duration::from_secs(u64::try_from(n).unwrap_or(0)))
}

fn count(value: &Value, key: &str) -> Option<u32> {
    value.get(key)?.as_int().and_then(|n| u32::try_from(n).ok())
}

/// `retry in` is a number of minutes or the word `never`; the number also comes as text.
fn retry(value: &Value) -> Option<Retry> {
    let minutes = match &value.kind {
        Kind::Bytes(b"never") => return Some(Retry::Never),
        Kind::Bytes(_) => value.as_str()?.parse().ok()?,
        _ => u64::try_from(value.as_int()?).ok()?,
    };
    Some(Retry::After(Duration::from_secs(minutes.saturating_mul(60))))
}

fn ip_from_bytes(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).to_canonical())
}

/// Text from a stranger, safe for a terminal and not longer than a line or two.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_TEXT)]);
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `flags` has a byte for each of the peers, not 0 for those that require encryption. Where it
/// ends nothing is known.
fn read_peers(value: &Value, flags: &[u8], peers: &mut Vec<Peer>) -> Result<(), ReplyError> {
    match &value.kind {
        Kind::Bytes(bytes) => {
            read_compact::<4, 6>(bytes, flags, peers).ok_or(ReplyError::Malformed("peers"))
        }
        Kind::List(list) => {
            let known = list.iter().filter_map(peer_from_dict).take(MAX_PEERS);
            peers.extend(known);
            Ok(())
        }
        // An empty dictionary is how some trackers written in PHP say "no peers".
        Kind::Dict(d) if d.is_empty() => Ok(()),
        _ => Err(ReplyError::Malformed("peers")),
    }
}

/// A peer of the dictionary form; `None` where the address is no literal or no host's. Names are
/// not looked up: a tracker must not make us ask for names of its choice.
fn peer_from_dict(value: &Value) -> Option<Peer> {
    let ip: IpAddr = value.get("ip")?.as_str()?.parse().ok()?;
    let port = u16::try_from(value.get("port")?.as_int()?).ok()?;
    let id = value.get("peer id").and_then(Value::as_bytes).and_then(PeerId::from_bytes);
    Some(Peer { address: dialable(SocketAddr::new(ip, port))?, id, requires_encryption: false })
}

fn read_compact6(bytes: &[u8], peers: &mut Vec<Peer>) -> Result<(), ReplyError> {
    read_compact::<16, 18>(bytes, &[], peers).ok_or(ReplyError::Malformed("peers6"))
}

/// Entries of `ENTRY` bytes: an address of `IP` bytes and a port. `None` where the bytes are no
/// whole number of entries.
fn read_compact<const IP: usize, const ENTRY: usize>(
    bytes: &[u8],
    flags: &[u8],
    peers: &mut Vec<Peer>,
) -> Option<()> {
    if bytes.len() % ENTRY != 0 {
        return None;
    }
    let room = MAX_PEERS.saturating_sub(peers.len());
    let flags = flags.iter().copied().chain(std::iter::repeat(0));
    let entries = bytes.chunks_exact(ENTRY).zip(flags).filter_map(|(entry, flag)| {
        let (ip, port) = entry.split_at(IP);
        let port = u16::from_be_bytes([port[0], port[1]]);
        let address = dialable(SocketAddr::new(ip_from_bytes(ip)?, port))?;
        Some(Peer { address, id: None, requires_encryption: flag != 0 })
    });
    peers.extend(entries.take(room));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::announce::Event;
    use crate::proto::announce::answer::{self, Announce};
    use crate::proto::bencode::Item;
    use crate::proto::ids::InfoHash;

    fn request() -> Request {
        Request::new(InfoHash([b'h'; 20]), PeerId(*b"T050-----0123456789-"), 6881)
    }

    fn addresses(reply: &Reply) -> Vec<String> {
        reply.peers.iter().map(|p| p.address.to_string()).collect()
    }

    #[test]
    fn a_plain_announce_has_the_originals_order() {
        assert_eq!(
            url("http://t/announce", &request()),
            "http://t/announce?info_hash=hhhhhhhhhhhhhhhhhhhh&peer_id=T050-----0123456789-\
             &port=6881&compact=1&uploaded=0&downloaded=0&left=0"
        );
    }

    #[test]
    fn a_full_announce_has_the_originals_order() {
        let full = Request {
            uploaded: 1,
            downloaded: 2,
            left: u64::MAX,
            event: Some(Event::Completed),
            numwant: Some(0),
            key: "k=y".into(),
            tracker_id: Some(b"\0~".to_vec()),
            ip: Some("::1".into()),
            seed_id: Some(b"s d".to_vec()),
            no_peer_id: true,
            supports_encryption: true,
            requires_encryption: true,
            crypto_port: Some(77),
            ..request()
        };
        assert_eq!(
            url("http://t/announce", &full),
            "http://t/announce?info_hash=hhhhhhhhhhhhhhhhhhhh&peer_id=T050-----0123456789-\
             &event=completed&ip=%3A%3A1&port=6881&seed_id=s%20d&compact=1&uploaded=1&downloaded=2\
             &left=18446744073709551615&supportcrypto=1&requirecrypto=1&cryptoport=77&key=k%3Dy&trackerid=%00~&numwant=0&no_peer_id=1"
        );
    }

    #[test]
    fn the_trackers_own_query_is_kept_and_its_fragment_not_sent() {
        let start = |base: &str| {
            let text = url(base, &request());
            text[..text.find("hash=").unwrap()].to_owned()
        };
        assert_eq!(start("http://t/a?passkey=x"), "http://t/a?passkey=x&info_");
        assert_eq!(start("http://t/a?passkey=x&"), "http://t/a?passkey=x&info_");
        assert_eq!(start("http://t/a?"), "http://t/a?info_");
        assert_eq!(start("http://t/a#top"), "http://t/a?info_");
    }

    #[test]
    fn every_byte_outside_unreserved_is_encoded() {
        let mut r = request();
        r.info_hash.0 = *b"\x00\xff%&+/=? #az09AZ-._~";
        assert!(
            url("http://t/", &r).contains("?info_hash=%00%FF%25%26%2B%2F%3D%3F%20%23az09AZ-._~&")
        );
    }

    #[test]
    fn reads_compact_peers_of_both_families() {
        let body = Item::dict([
            ("interval", 900.into()),
            ("min interval", 60.into()),
            ("tracker id", "abc".into()),
            ("complete", 3.into()),
            ("incomplete", 4.into()),
            ("downloaded", 99.into()),
            ("external ip", Item::Bytes(vec![9, 8, 7, 6])),
            ("peers", Item::Bytes(vec![1, 2, 3, 4, 0x1a, 0xe1, 5, 6, 7, 8, 0, 0])),
            ("peers6", Item::Bytes([&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1, 0, 80]].concat())),
            ("warning message", "be\x1b[31mware\n".into()),
        ]);
        let reply = reply(&body.encode()).unwrap();
        assert_eq!(reply.interval, Duration::from_secs(900));
        assert_eq!(reply.min_interval, Some(Duration::from_secs(60)));
        assert_eq!(reply.tracker_id.as_deref(), Some(&b"abc"[..]));
        assert_eq!((reply.complete, reply.incomplete), (Some(3), Some(4)));
        assert_eq!(reply.external_ip, Some("9.8.7.6".parse().unwrap()));
        assert_eq!(addresses(&reply), ["1.2.3.4:6881", "[2001:db8::1]:80"]);
        assert_eq!(reply.warning.as_deref(), Some("be [31mware"));
    }

    #[test]
    fn each_compact_peer_has_its_flag_though_others_are_dropped() {
        let reply = |flags: &[u8]| {
            let peers = [[1, 2, 3, 4, 0, 1], [0; 6], [1, 2, 3, 5, 0, 1]].concat();
            let body = Item::dict([
                ("crypto_flags", Item::Bytes(flags.to_vec())),
                ("peers", Item::Bytes(peers)),
                ("peers6", Item::Bytes([&[0x20, 1][..], &[7; 16]].concat())),
            ]);
            let reply = reply(&body.encode()).unwrap();
            reply.peers.iter().map(|p| p.requires_encryption).collect::<Vec<_>>()
        };
        assert_eq!(reply(&[0, 0, 1]), [false, true, false]);
        assert_eq!(reply(&[1, 0]), [true, false, false]);
        assert_eq!(reply(&[0, 1, 0, 1, 1]), [false; 3]);
    }

    #[test]
    fn reads_peers_that_are_dictionaries_and_drops_those_it_cannot_dial() {
        let reply = reply(
            b"d5:peersl\
              d2:ip7:1.2.3.47:peer id20:abcdefghijklmnopqrst4:porti80e4:xxxxi1ee\
              d2:ip11:example.com4:porti80ee\
              d2:ip3:::14:porti81eed2:ip7:1.2.3.44:porti65536eed2:ip7:1.2.3.44:porti0ee\
              i1eee\n",
        )
        .unwrap();
        assert_eq!(addresses(&reply), ["1.2.3.4:80", "[::1]:81"]);
        assert_eq!(reply.peers[0].id, Some(PeerId(*b"abcdefghijklmnopqrst")));
        assert_eq!(reply.interval, DEFAULT_INTERVAL);
    }

    #[test]
    fn keeps_a_bounded_number_of_peers() {
        let many = [1, 2, 3, 4, 0, 80].repeat(MAX_PEERS + 5);
        let body = Item::dict([("peers", Item::Bytes(many))]).encode();
        assert_eq!(reply(&body).unwrap().peers.len(), MAX_PEERS);
    }

    #[test]
    fn a_refusal_is_its_own_error_and_may_say_when_to_come_back() {
        let rejected = |body: &[u8]| match http_reply(400, body) {
            Err(ReplyError::Rejected { reason, retry }) => (reason, retry),
            other => panic!("{other:?}"),
        };
        let minutes = |n: u64| Some(Retry::After(Duration::from_secs(n * 60)));
        assert_eq!(rejected(b"d14:failure reason3:no\te"), ("no".into(), None));
        let with = |retry: &str| format!("d14:failure reason2:no8:retry in{retry}e").into_bytes();
        assert_eq!(rejected(&with("i5e")).1, minutes(5));
        assert_eq!(rejected(&with("2:15")).1, minutes(15));
        assert_eq!(rejected(&with("5:never")).1, Some(Retry::Never));
        assert_eq!(rejected(&with("i-5e")).1, None);
    }

    #[test]
    fn what_is_no_reply_says_what_is_wrong() {
        let says = |status, body: &[u8]| http_reply(status, body).unwrap_err().to_string();
        let status = "Problem connecting to tracker - it answered with HTTP status 404";
        assert_eq!(says(404, b"<html>"), status);
        assert_eq!(says(404, b"d8:intervali60ee"), status);
        assert_eq!(
            says(200, b"<html>"),
            "bad data from tracker - bad bencoded data: unexpected byte at byte 0"
        );
        assert_eq!(says(200, b"le"), "bad data from tracker - bad answer");
        assert_eq!(says(200, b"d5:peersi1ee"), "bad data from tracker - bad peers");
        assert_eq!(says(200, b"d5:peers7:1234567e"), "bad data from tracker - bad peers");
        assert_eq!(says(200, b"d6:peers66:123456e"), "bad data from tracker - bad peers6");
        assert_eq!(says(200, b"d14:failure reason2:noe"), "rejected by tracker - no");
    }

    #[test]
    fn odd_values_where_a_number_should_be_count_as_absent() {
        let reply =
            reply(b"d8:completei-1e10:incomplete1:x8:interval1:x12:min intervali-5ee").unwrap();
        assert_eq!((reply.complete, reply.incomplete), (None, None));
        assert_eq!(reply.interval, DEFAULT_INTERVAL);
        assert_eq!(reply.min_interval, Some(Duration::ZERO));
    }

    #[test]
    fn a_reply_of_countless_values_is_refused() {
        let body = format!("d5:peersl{}ee", "le".repeat(MAX_VALUES));
        assert!(matches!(reply(body.as_bytes()), Err(ReplyError::NotBencode(_))));
        assert!(matches!(reply(b"d5:peers0:e x"), Err(ReplyError::NotBencode(_))));
    }

    #[test]
    fn our_tracker_reads_what_our_client_writes_and_the_other_way_round() {
        let mut asked = request();
        asked.info_hash.0 = *b"\x00\xff%&+/=? #az09AZ-._~";
        asked.left = 7;
        asked.event = Some(Event::Completed);
        asked.numwant = Some(3);
        asked.key = "a+b".into();
        let url = url("http://t/announce", &asked);
        let read = Announce::from_query(url.split_once('?').unwrap().1.as_bytes()).unwrap();
        assert_eq!((read.info_hash, read.peer_id), (asked.info_hash, asked.peer_id));
        assert_eq!((read.port, read.left, read.wanted), (6881, 7, Some(3)));
        assert_eq!(read.event, answer::Told::Completed);
        assert_eq!(read.key, answer::Key::new(b"a+b"));
        assert_eq!(read.form(true), Some(answer::Form::Compact));

        let listed = |ip: &str| answer::Listed {
            ip: ip.parse().unwrap(),
            port: 81,
            crypto: answer::Crypto::Plain,
        };
        for form in [answer::Form::Compact, answer::Form::Dicts, answer::Form::DictsWithoutId] {
            let told = answer::Reply {
                complete: 2,
                incomplete: 3,
                interval: 900,
                form,
                peers: vec![listed("1.2.3.4"), listed("2001:db8::1")],
                names: match form {
                    answer::Form::Dicts => vec![PeerId(*b"abcdefghijklmnopqrst"); 2],
                    _ => Vec::new(),
                },
                more: answer::More::default(),
            };
            let heard = reply(&told.encode()).unwrap();
            assert_eq!(addresses(&heard), ["1.2.3.4:81", "[2001:db8::1]:81"], "{form:?}");
            assert_eq!((heard.complete, heard.incomplete), (Some(2), Some(3)));
            assert_eq!(heard.interval, Duration::from_secs(900));
            assert_eq!(heard.peers[0].id.is_some(), form == answer::Form::Dicts);
        }
    }

    #[test]
    fn damaged_replies_never_panic() {
        let good = b"d8:completei3e11:external ip4:abcd8:intervali900e5:peersl\
            d2:ip7:1.2.3.47:peer id20:abcdefghijklmnopqrst4:porti80eee\
            6:peers618:abcdefghijklmnopqr8:retry ini5e15:warning message2:hie";
        assert!(reply(good).is_ok());
        let mut seed = 7u64;
        for round in 0..20_000 {
            let mut bytes = good.to_vec();
            for _ in 0..1 + round % 4 {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (seed >> 33) as usize % bytes.len();
                bytes[at] = (seed >> 24) as u8;
                if seed & 15 == 0 {
                    bytes.truncate(at + 1);
                }
            }
            if let Ok(r) = reply(&bytes) {
                assert!(r.peers.iter().all(|p| p.address.port() != 0), "round {round}");
            }
        }
    }
}
