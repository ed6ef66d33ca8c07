//! The tracker's side of announce and scrape: from the query to a checked value, from the reply
//! to bencode (BEP 3, 7, 23, 48).
//!
//! Used by `logic/registry` and `app/tracker`. Reads what strangers sent: never panics, and
//! allocates no more than the query's length. It decides nothing: what is well formed comes out.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

mod reply;

pub use reply::*;

use crate::proto::address::dialable;
use crate::proto::ids::{InfoHash, PeerId};

/// A key of a query and its value.
pub type Pair<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// The pairs of a query, in their order: split at `&` and the first `=`, `+` read as a blank, then
/// percent-decoded once. A key without `=` has an empty value.
pub fn pairs(query: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    let mut rest = query;
    std::iter::from_fn(move || {
        while let [b'&', more @ ..] = rest {
            rest = more;
        }
        let (pair, after) = first_pair(rest)?;
        rest = after;
        Some(pair)
    })
}

/// Which bytes stand for themselves in a query.
static PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    plain[b'&' as usize] = false;
    plain[b'=' as usize] = false;
    plain[b'%' as usize] = false;
    plain[b'+' as usize] = false;
    plain
};

/// The key and value at the beginning of a query, and what follows them. Looks at each byte once,
/// unless it is encoded.
fn first_pair(query: &[u8]) -> Option<(Pair<'_>, &[u8])> {
    let (mut equals, mut at, mut encoded) = (None, 0, [false; 2]);
    loop {
        at += query[at..].iter().take_while(|b| PLAIN[usize::from(**b)]).count();
        match query.get(at) {
            None | Some(b'&') => break,
            Some(b'=') => equals = equals.or(Some(at)),
            Some(_) => encoded[usize::from(equals.is_some())] = true,
        }
        at += 1;
    }
    let end = at;
    let part = &query[..end];
    let (key, value) = part.split_at(equals.unwrap_or(end));
    let decoded = |text, encoded| match encoded {
        true => percent_decode(text),
        false => Cow::Borrowed(text),
    };
    let value = value.get(1..).unwrap_or_default();
    let pair = (decoded(key, encoded[0]), decoded(value, encoded[1]));
    (!part.is_empty()).then_some((pair, &query[end..]))
}

/// Reads `+` as a blank and `%xx` as a byte; a `%` that no two hex digits follow stays.
pub fn percent_decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|b| matches!(b, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        match (first, more) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(h), Some(l)) => {
                    out.push(h << 4 | l);
                    rest = after;
                }
                _ => out.push(b'%'),
            },
            (other, _) => out.push(*other),
        }
    }
    Cow::Owned(out)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// What an announce tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// No event, an empty one, or the `snooped` of the original's tracker talk: an ordinary update.
    Nothing,
    /// The download begins.
    Started,
    /// The last piece came in.
    Completed,
    /// The peer leaves.
    Stopped,
}

/// How a peer stands to the obfuscated handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crypto {
    /// It said nothing, or `0`.
    Plain,
    /// `supportcrypto`.
    Supported,
    /// `requirecrypto`, which implies support.
    Required,
}

/// The secret with which a peer may change its address, kept inline because every peer of a
/// tracker has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Key {
    bytes: [u8; Key::MAX],
    length: u8,
}

impl Key {
    /// Bytes that are kept, as many as clients send. Of a longer key a hash of this length.
    pub const MAX: usize = 8;

    /// The key a peer sent; `None` if it is empty.
    pub fn new(sent: &[u8]) -> Option<Key> {
        let mut key = Key::default();
        let used = sent.len().min(Key::MAX);
        key.bytes[..used].copy_from_slice(&sent[..used]);
        if sent.len() > Key::MAX {
            // FNV-1a: nobody sees the result, so nobody can look for another key that has it.
            let mix = |hash: u64, b: &u8| (hash ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3);
            key.bytes = sent.iter().fold(0xcbf2_9ce4_8422_2325, mix).to_be_bytes();
        }
        key.length = u8::try_from(used).expect("MAX fits a byte");
        (used > 0).then_some(key)
    }

    /// Its bytes, 1 to [`Key::MAX`].
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// A well-formed announce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announce {
    /// The torrent meant.
    pub info_hash: InfoHash,
    /// Who announces.
    pub peer_id: PeerId,
    /// Where it listens: `cryptoport` if there is one, else `port`. 0 = nowhere.
    pub port: u16,
    /// Bytes it still needs; 0 makes it a seed. Cut to what bencode can hold.
    pub left: u64,
    /// What happened.
    pub event: Told,
    /// Peers wanted; `None` = as many as the tracker likes (absent or negative `numwant`).
    pub wanted: Option<u32>,
    /// The `ip` parameter, if it is the literal of an address a peer can have.
    pub given_ip: Option<IpAddr>,
    /// The `key` parameter.
    pub key: Option<Key>,
    /// `supportcrypto` and `requirecrypto`.
    pub crypto: Crypto,
    /// Whether `compact` was sent and is not 0.
    pub compact: bool,
    /// Whether `no_peer_id` was sent and is not 0.
    pub no_peer_id: bool,
    /// Whether another tracker asks (`tracker` was sent).
    pub from_tracker: bool,
    /// Whether it wants to know if the dedicated seed is there (`check_seeded`).
    pub check_seeded: bool,
    /// Whether it wants the numbers of a scrape along (`scrape` was sent).
    pub scrape: bool,
    /// The secret of the dedicated seed, if it sent one (`seed_id`).
    pub seed_id: Option<Box<[u8]>>,
    /// The password of those who forward announces to an aggregator (`password`).
    pub password: Option<Box<[u8]>>,
}

/// What only some know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Secrets {
    /// The secret of the dedicated seed.
    pub seed_id: Option<Box<[u8]>>,
    /// The password of those who forward announces to an aggregator.
    pub password: Option<Box<[u8]>>,
}

/// Why an announce is malformed. `Display` gives what the original put after
/// `you sent me garbage - `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Garbage {
    /// No `info_hash`, or an empty one.
    NoInfoHash,
    /// An `info_hash` that has not 20 bytes.
    InfoHashLength(Vec<u8>),
    /// No `peer_id`, or one that has not 20 bytes.
    PeerId,
    /// An event that does not exist.
    Event,
    /// No port, or one beyond 65535.
    Port,
    /// No `left`.
    NoLeft,
    /// A negative `left`.
    Left,
    /// The named parameter should be a whole number.
    Number(&'static str),
}

impl fmt::Display for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Garbage::NoInfoHash => f.write_str("no info hash"),
            Garbage::InfoHashLength(sent) => {
                write!(f, "invalid length for Infohash: b'{}'", sent.escape_ascii())
            }
            Garbage::PeerId => f.write_str("id not of length 20"),
            Garbage::Event => f.write_str("invalid event"),
            Garbage::Port => f.write_str("invalid port"),
            Garbage::NoLeft => f.write_str("amount left not sent"),
            Garbage::Left => f.write_str("invalid amount left"),
            Garbage::Number(name) => write!(f, "{name} is not a number"),
        }
    }
}

/// The parameters that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    InfoHash,
    PeerId,
    Port,
    CryptoPort,
    Left,
    Event,
    NumWant,
    Ip,
    Key,
    Compact,
    NoPeerId,
    SupportCrypto,
    RequireCrypto,
    Tracker,
    CheckSeeded,
    Scrape,
    SeedId,
    Password,
}

/// How many they are.
const NAMES: usize = Name::Password as usize + 1;

impl Name {
    /// The one that is written so. A `match` and not a table: this is done ten times an announce.
    fn of(key: &[u8]) -> Option<Name> {
        Some(match key {
            b"info_hash" => Name::InfoHash,
            b"peer_id" => Name::PeerId,
            b"port" => Name::Port,
            b"cryptoport" => Name::CryptoPort,
            b"left" => Name::Left,
            b"event" => Name::Event,
            b"numwant" => Name::NumWant,
            b"ip" => Name::Ip,
            b"key" => Name::Key,
            b"compact" => Name::Compact,
            b"no_peer_id" => Name::NoPeerId,
            b"supportcrypto" => Name::SupportCrypto,
            b"requirecrypto" => Name::RequireCrypto,
            b"tracker" => Name::Tracker,
            b"check_seeded" => Name::CheckSeeded,
            b"scrape" => Name::Scrape,
            b"seed_id" => Name::SeedId,
            b"password" => Name::Password,
            _ => return None,
        })
    }
}

/// The parameters that count, as they were sent; of a repeated one the first.
#[derive(Default)]
struct Sent<'a> {
    values: [Option<Cow<'a, [u8]>>; NAMES],
}

impl<'a> Sent<'a> {
    fn read(query: &'a [u8]) -> Sent<'a> {
        let mut sent = Sent::default();
        for (key, value) in pairs(query) {
            if let Some(name) = Name::of(&key) {
                sent.values[name as usize].get_or_insert(value);
            }
        }
        sent
    }

    fn get(&self, name: Name) -> Option<&[u8]> {
        self.values[name as usize].as_deref()
    }

    fn number(&self, name: Name, text: &'static str) -> Result<Option<i128>, Garbage> {
        match self.get(name) {
            None => Ok(None),
            Some(sent) => integer(sent).map(Some).ok_or(Garbage::Number(text)),
        }
    }

    fn flag(&self, name: Name, text: &'static str) -> Result<bool, Garbage> {
        Ok(self.number(name, text)?.is_some_and(|n| n != 0))
    }
}

/// A decimal number as the original reads it: a sign and blanks around it are fine.
fn integer(text: &[u8]) -> Option<i128> {
    // Nearly all are short and plain, and anything else costs more.
    if (1..=18).contains(&text.len()) && text.iter().all(u8::is_ascii_digit) {
        let digit = |n: i64, b: &u8| n * 10 + i64::from(b - b'0');
        return Some(text.iter().fold(0, digit).into());
    }
    let text = std::str::from_utf8(text).ok()?.trim();
    text.parse::<i64>().map(i128::from).or_else(|_| text.parse()).ok()
}

impl Announce {
    /// Reads the query of an announce, in the original's order of checks.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn from_query(query: &[u8]) -> Result<Announce, Garbage> {
        let sent = Sent::read(query);
        let info_hash = match sent.get(Name::InfoHash) {
            None | Some([]) => return Err(Garbage::NoInfoHash),
            Some(b) => {
                InfoHash::from_bytes(b).ok_or_else(|| Garbage::InfoHashLength(b.to_vec()))?
            }
        };
        let peer_id = sent.get(Name::PeerId).and_then(PeerId::from_bytes).ok_or(Garbage::PeerId)?;
        let event = event(sent.get(Name::Event))?;
        let port = sent.get(Name::CryptoPort).or(sent.get(Name::Port)).and_then(integer);
        let port = port.and_then(|p| u16::try_from(p).ok()).ok_or(Garbage::Port)?;
        let left = sent.number(Name::Left, "left")?.ok_or(Garbage::NoLeft)?;
        let left = u64::try_from(left.min(i64::MAX.into())).map_err(|_| Garbage::Left)?;
        let wanted = sent.number(Name::NumWant, "numwant")?.filter(|n| *n >= 0);
        let crypto = match (
            sent.flag(Name::SupportCrypto, "supportcrypto")?,
            sent.flag(Name::RequireCrypto, "requirecrypto")?,
        ) {
            (_, true) => Crypto::Required,
            (true, false) => Crypto::Supported,
            (false, false) => Crypto::Plain,
        };
        Ok(Announce {
            info_hash,
            peer_id,
            port,
            left,
            event,
            wanted: wanted.map(|n| u32::try_from(n).unwrap_or(u32::MAX)),
            given_ip: sent.get(Name::Ip).and_then(address),
            key: sent.get(Name::Key).and_then(Key::new),
            crypto,
            compact: sent.flag(Name::Compact, "compact")?,
            no_peer_id: sent.flag(Name::NoPeerId, "no_peer_id")?,
            from_tracker: sent.get(Name::Tracker).is_some(),
            check_seeded: sent.flag(Name::CheckSeeded, "check_seeded")?,
            scrape: sent.get(Name::Scrape).is_some(),
            seed_id: sent.get(Name::SeedId).map(Box::from),
            password: sent.get(Name::Password).map(Box::from),
        })
    }

    /// The `seed_id` and the `password` in a query, for announces that came in another way.
    pub fn secrets(query: &[u8]) -> Secrets {
        if query.is_empty() {
            return Secrets::default();
        }
        let sent = Sent::read(query);
        let own = |name| sent.get(name).map(Box::from);
        Secrets { seed_id: own(Name::SeedId), password: own(Name::Password) }
    }

    /// How the peers are to be listed for it; `None` if it did not ask for compact lists and
    /// `compact_required` says that it must.
    pub fn form(&self, compact_required: bool) -> Option<Form> {
        match (self.compact, self.crypto) {
            (true, Crypto::Plain) => Some(Form::Compact),
            (true, Crypto::Supported) => Some(Form::WithFlags),
            (true, Crypto::Required) => Some(Form::CryptoOnly),
            (false, _) if compact_required => None,
            (false, _) if self.no_peer_id => Some(Form::DictsWithoutId),
            (false, _) => Some(Form::Dicts),
        }
    }
}

fn event(sent: Option<&[u8]>) -> Result<Told, Garbage> {
    match sent {
        // BEP 3 allows the empty event; the original refused it.
        None | Some(b"" | b"snooped") => Ok(Told::Nothing),
        Some(b"started") => Ok(Told::Started),
        Some(b"completed") => Ok(Told::Completed),
        Some(b"stopped") => Ok(Told::Stopped),
        Some(_) => Err(Garbage::Event),
    }
}

/// An address literal that a peer can have; IPv4 inside IPv6 comes out as IPv4. Host names are not
/// looked up.
pub fn address(text: &[u8]) -> Option<IpAddr> {
    let ip = std::str::from_utf8(text).ok()?.trim().parse().ok()?;
    dialable(SocketAddr::new(ip, 1)).map(|there| there.ip())
}

/// The info hashes a scrape asks for, those of a wrong length left out; `None` = it names none,
/// and so asks for everything.
pub fn scraped_hashes(query: &[u8]) -> Option<Vec<InfoHash>> {
    let mut named = pairs(query).filter(|(key, _)| &**key == b"info_hash").peekable();
    named.peek()?;
    Some(named.filter_map(|(_, value)| InfoHash::from_bytes(&value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "info_hash=%41AAAAAAAAAAAAAAAAAAA&peer_id=-XX0001-aaaaaaaaaaaa&port=6881\
        &uploaded=0&downloaded=0&left=1000&compact=1&event=started&key=k&numwant=7&ip=9.8.7.6";

    fn with(change: &str) -> Result<Announce, Garbage> {
        // The first of repeated parameters counts, so a change in front wins.
        Announce::from_query(format!("{change}&{GOOD}").as_bytes())
    }

    #[test]
    fn reads_all_that_an_announce_says() {
        let a = Announce::from_query(GOOD.as_bytes()).unwrap();
        assert_eq!(a.info_hash, InfoHash([b'A'; 20]));
        assert_eq!((a.port, a.left, a.event), (6881, 1000, Told::Started));
        assert_eq!((a.wanted, a.given_ip), (Some(7), "9.8.7.6".parse().ok()));
        assert_eq!(a.key, Key::new(b"k"));
        assert!(a.compact && !a.no_peer_id && !a.from_tracker);
        assert_eq!(a.form(true), Some(Form::Compact));
    }

    #[test]
    fn says_what_is_wrong_in_the_originals_words() {
        let text = |change| with(change).unwrap_err().to_string();
        assert_eq!(text("info_hash="), "no info hash");
        assert_eq!(text("info_hash=a%00'"), r"invalid length for Infohash: b'a\x00\''");
        assert_eq!(text("peer_id=short"), "id not of length 20");
        assert_eq!(text("event=paused"), "invalid event");
        for port in ["port=x", "port=70000", "port=-1", "cryptoport="] {
            assert_eq!(text(port), "invalid port");
        }
        assert_eq!(text("left=-4"), "invalid amount left");
        assert_eq!(text("left=4.5"), "left is not a number");
        assert_eq!(text("compact=x"), "compact is not a number");
        assert_eq!(
            Announce::from_query(
                b"info_hash=AAAAAAAAAAAAAAAAAAAA&peer_id=aaaaaaaaaaaaaaaaaaaa&port=1"
            ),
            Err(Garbage::NoLeft)
        );
        assert_eq!(Announce::from_query(b""), Err(Garbage::NoInfoHash));
    }

    #[test]
    fn takes_what_the_original_stumbled_over() {
        assert_eq!(with("event=").unwrap().event, Told::Nothing);
        assert_eq!(with("numwant=-1").unwrap().wanted, None);
        assert_eq!(with("supportcrypto=0&requirecrypto=0").unwrap().crypto, Crypto::Plain);
        assert_eq!(with("requirecrypto=1").unwrap().form(true), Some(Form::CryptoOnly));
        assert_eq!(with("left=99999999999999999999").unwrap().left, u64::MAX / 2);
        assert_eq!(with("cryptoport=77").unwrap().port, 77);
        for nowhere in ["ip=", "ip=host.example", "ip=0.0.0.0", "ip=255.255.255.255", "ip=ff02::1"]
        {
            assert_eq!(with(nowhere).unwrap().given_ip, None, "{nowhere}");
        }
        assert_eq!(with("ip=::ffff:1.2.3.4").unwrap().given_ip, "1.2.3.4".parse().ok());
    }

    #[test]
    fn whoever_asks_for_no_compact_list_gets_dictionaries_or_is_refused() {
        assert_eq!(with("compact=0").unwrap().form(true), None);
        assert_eq!(with("compact=0").unwrap().form(false), Some(Form::Dicts));
        assert_eq!(with("compact=0&no_peer_id=1").unwrap().form(false), Some(Form::DictsWithoutId));
    }

    #[test]
    fn percent_signs_are_read_once_and_leniently() {
        assert_eq!(&*percent_decode(b"a%2541+%zz%4"), b"a%41 %zz%4");
        let all: Vec<_> = pairs(b"&a=1=2&&b&=c").collect();
        let all: Vec<(&[u8], &[u8])> = all.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(all, [(&b"a"[..], &b"1=2"[..]), (b"b", b""), (b"", b"c")]);
    }

    #[test]
    fn keys_of_any_length_are_told_apart() {
        let keys: Vec<_> = [&b"a"[..], b"12345678", b"123456789", b"123456780", &[7; 500]]
            .iter()
            .map(|k| Key::new(k).unwrap())
            .collect();
        for (n, key) in keys.iter().enumerate() {
            assert_eq!(keys.iter().filter(|k| *k == key).count(), 1, "{n}");
            assert_eq!(Key::new(key.as_bytes()), Some(*key), "what is saved comes back");
        }
        assert_eq!(Key::new(b""), None);
    }

    #[test]
    fn a_scrape_may_name_torrents() {
        let (a, b) = (InfoHash([b'a'; 20]), InfoHash([b'b'; 20]));
        assert_eq!(scraped_hashes(b"x=1"), None);
        assert_eq!(scraped_hashes(b"info_hash=zz"), Some(vec![]));
        assert_eq!(
            scraped_hashes(b"info_hash=aaaaaaaaaaaaaaaaaaaa&info_hash=bbbbbbbbbbbbbbbbbbbb"),
            Some(vec![a, b])
        );
    }

    #[test]
    fn understands_our_own_client_and_is_understood() {
        use crate::proto::announce::{Event, Request, ask};
        let (hash, id) = (InfoHash(*b" %&=+\0\x80\xff\r\nabcdefghij"), PeerId([b'~'; 20]));
        let mut request = Request::new(hash, id, 6881);
        request.left = 77;
        request.event = Some(Event::Completed);
        request.numwant = Some(0);
        request.key = "k&=".into();
        request.ip = Some("2001:db8::1".into());
        let url = ask::url("http://t/announce?pass=1", &request);
        let read = Announce::from_query(url.split_once('?').unwrap().1.as_bytes()).unwrap();
        assert_eq!((read.info_hash, read.peer_id, read.port, read.left), (hash, id, 6881, 77));
        assert_eq!(
            (read.event, read.wanted, read.key),
            (Told::Completed, Some(0), Key::new(b"k&="))
        );
        assert_eq!(read.given_ip, "2001:db8::1".parse().ok());
        assert_eq!(read.form(true).is_some(), read.compact, "it asks for compact lists");
        for form in [Form::Compact, Form::WithFlags, Form::Dicts, Form::DictsWithoutId] {
            let back = ask::reply(&reply::tests::reply(form)).unwrap();
            assert_eq!((back.complete, back.incomplete), (Some(1), Some(2)));
            let mut there: Vec<String> = back.peers.iter().map(|p| p.address.to_string()).collect();
            // Compact ones come first.
            there.sort_unstable();
            assert_eq!(there, ["1.2.3.4:258", "[::5]:258"], "{form:?}");
            assert_eq!(back.peers[0].id.is_some(), form == Form::Dicts);
        }
        let refused = ask::http_reply(400, &encode_failure("no")).unwrap_err().to_string();
        assert!(refused.contains("no"), "{refused}");
    }

    #[test]
    fn damaged_queries_never_panic() {
        let mut seed = 7u64;
        for round in 0..20_000 {
            let mut bytes = GOOD.as_bytes().to_vec();
            for _ in 0..=round % 4 {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (seed >> 33) as usize % bytes.len();
                bytes[at] = b"%&=+0-\xff\x00"[(seed >> 24) as usize % 8];
            }
            let _ = Announce::from_query(&bytes);
            let _ = scraped_hashes(&bytes);
        }
    }
}
