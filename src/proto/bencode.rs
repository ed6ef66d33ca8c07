//! Bencode (BEP 3): decoding with limits and spans, canonical encoding.
//!
//! The decoder never panics, borrows every string from its input, and bounds its memory by the
//! input: a value takes at least two bytes there and one [`Value`] here. What the original accepts
//! is accepted, and so are dictionaries whose keys are out of order, which old makers wrote;
//! repeated keys, leading zeros and `-0` are refused.

use crate::proto::order;
use crate::proto::sorted;
use std::fmt;
use std::ops::Range;

/// How deep lists and dictionaries may nest. Deeper than any real message or file tree (libtorrent
/// has the same limit), small enough for the stack of a worker thread.
pub const MAX_DEPTH: usize = 100;

/// The longest input in bytes; what is behind that is not looked at.
const MAX_INPUT: usize = u32::MAX as usize;

/// A decoded value and where it stood in the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value<'a> {
    /// What it is.
    pub kind: Kind<'a>,
    /// Where it stood in the input, which is never longer than this says: half of what two words
    /// would take, for there may be millions.
    start: u32,
    end: u32,
}

/// The four kinds of bencoded values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind<'a> {
    /// `i…e`.
    Int(i64),
    /// `n:…`, as raw bytes.
    Bytes(&'a [u8]),
    /// `l…e`.
    List(Vec<Value<'a>>),
    /// `d…e`, in the order of the input.
    Dict(Vec<(&'a [u8], Value<'a>)>),
}

impl<'a> Value<'a> {
    /// The bytes of the input it was read from.
    pub fn span(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The integer, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self.kind {
            Kind::Int(n) => Some(n),
            _ => None,
        }
    }

    /// The bytes, if it is a string.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match self.kind {
            Kind::Bytes(b) => Some(b),
            _ => None,
        }
    }

    /// The text, if it is a string of valid UTF-8.
    pub fn as_str(&self) -> Option<&'a str> {
        self.as_bytes().and_then(|b| std::str::from_utf8(b).ok())
    }

    /// The members, if it is a list.
    pub fn as_list(&self) -> Option<&[Value<'a>]> {
        match &self.kind {
            Kind::List(l) => Some(l),
            _ => None,
        }
    }

    /// The entries, if it is a dictionary.
    pub fn as_dict(&self) -> Option<&[(&'a [u8], Value<'a>)]> {
        match &self.kind {
            Kind::Dict(d) => Some(d),
            _ => None,
        }
    }

    /// The entry `key` of a dictionary; `None` where there is none, or this is no dictionary.
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.as_dict()?.iter().find(|(k, _)| *k == key.as_bytes()).map(|(_, v)| v)
    }

    /// An owned copy, ready to be changed and encoded.
    pub fn to_item(&self) -> Item {
        match &self.kind {
            Kind::Int(n) => Item::Int(*n),
            Kind::Bytes(b) => Item::Bytes(b.to_vec()),
            Kind::List(l) => Item::List(l.iter().map(Value::to_item).collect()),
            Kind::Dict(d) => Item::Dict(d.iter().map(|(k, v)| (k.to_vec(), v.to_item())).collect()),
        }
    }
}

/// Why bytes are not bencode, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    /// What is wrong.
    pub fault: Fault,
    /// The offset of the byte at which it was noticed.
    pub at: usize,
}

/// What can be wrong with bencoded bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The input ends inside a value.
    Truncated,
    /// A byte that can start no value, or stand at this place.
    Unexpected,
    /// An integer or length with a leading zero, `-0`, no digits, or more than 63 bits.
    BadNumber,
    /// A dictionary key that is no string, or stands there twice.
    BadKey,
    /// More than [`MAX_DEPTH`] levels.
    TooDeep,
    /// More values than the caller allows.
    TooMany,
    /// Bytes follow the value.
    Trailing,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.fault {
            Fault::Truncated => "it ends too early",
            Fault::Unexpected => "unexpected byte",
            Fault::BadNumber => "bad number",
            Fault::BadKey => "bad dictionary key",
            Fault::TooDeep => "nested too deep",
            Fault::TooMany => "too many values",
            Fault::Trailing => "bytes after the end",
        };
        write!(f, "bad bencoded data: {what} at byte {}", self.at)
    }
}

impl std::error::Error for Error {}

/// Decodes the one value that `input` holds.
///
/// # Errors
/// Anything that is not exactly one value, with the offset of the first bad byte.
pub fn decode(input: &[u8]) -> Result<Value<'_>, Error> {
    let (value, used) = decode_prefix(input)?;
    if used == input.len() { Ok(value) } else { Err(Error { fault: Fault::Trailing, at: used }) }
}

/// Decodes the value that `input` begins with, and tells how many bytes it took.
///
/// # Errors
/// As [`decode`], except that bytes may follow the value.
pub fn decode_prefix(input: &[u8]) -> Result<(Value<'_>, usize), Error> {
    decode_prefix_within(input, usize::MAX)
}

/// As [`decode_prefix`], but of at most `values` values: two bytes of input can cost a
/// [`Value`], so whoever takes megabytes from strangers names the number it can bear.
///
/// # Errors
/// As [`decode_prefix`], and [`Fault::TooMany`].
pub fn decode_prefix_within(input: &[u8], values: usize) -> Result<(Value<'_>, usize), Error> {
    let input = &input[..input.len().min(MAX_INPUT)];
    let mut reader = Reader { input, at: 0, left: values };
    let value = reader.value(0)?;
    Ok((value, reader.at))
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    /// How many more values may be read.
    left: usize,
}

impl<'a> Reader<'a> {
    fn fail<T>(&self, fault: Fault) -> Result<T, Error> {
        Err(Error { fault, at: self.at })
    }

    fn peek(&self) -> Result<u8, Error> {
        self.input.get(self.at).copied().ok_or(Error { fault: Fault::Truncated, at: self.at })
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, Error> {
        if depth > MAX_DEPTH {
            return self.fail(Fault::TooDeep);
        }
        self.left = match self.left.checked_sub(1) {
            Some(left) => left,
            None => return self.fail(Fault::TooMany),
        };
        let start = self.at;
        let kind = match self.peek()? {
            b'i' => {
                self.at += 1;
                Kind::Int(self.number(b'e')?)
            }
            b'0'..=b'9' => Kind::Bytes(self.string()?),
            b'l' => Kind::List(self.list(depth)?),
            b'd' => Kind::Dict(self.dict(depth)?),
            _ => return self.fail(Fault::Unexpected),
        };
        // Inputs are cut to what a u32 can say.
        Ok(Value { kind, start: start as u32, end: self.at as u32 })
    }

    /// A decimal number and the byte `end` behind it.
    fn number(&mut self, end: u8) -> Result<i64, Error> {
        let start = self.at;
        let stop = match self.input[start..].iter().position(|b| *b == end) {
            Some(n) => start + n,
            // Digits that run into the end of the input are a cut message, not a bad one.
            None if self.input[start..].iter().all(|b| b.is_ascii_digit() || *b == b'-') => {
                return Err(Error { fault: Fault::Truncated, at: self.input.len() });
            }
            None => return self.fail(Fault::BadNumber),
        };
        let digits = &self.input[start..stop];
        let bare = digits.strip_prefix(b"-").unwrap_or(digits);
        let canonical = !bare.is_empty()
            && bare.iter().all(u8::is_ascii_digit)
            && (bare[0] != b'0' || digits.len() == 1);
        let number = std::str::from_utf8(digits).ok().and_then(|s| s.parse().ok());
        match number {
            Some(n) if canonical => {
                self.at = stop + 1;
                Ok(n)
            }
            _ => self.fail(Fault::BadNumber),
        }
    }

    fn string(&mut self) -> Result<&'a [u8], Error> {
        let length = usize::try_from(self.number(b':')?).unwrap_or(usize::MAX);
        match self.input[self.at..].get(..length) {
            Some(bytes) => {
                self.at += length;
                Ok(bytes)
            }
            None => Err(Error { fault: Fault::Truncated, at: self.input.len() }),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Value<'a>>, Error> {
        self.at += 1;
        let mut members = Vec::new();
        while self.peek()? != b'e' {
            let member = self.value(depth + 1)?;
            push_tightly(&mut members, member);
        }
        self.at += 1;
        Ok(members)
    }

    fn dict(&mut self, depth: usize) -> Result<Vec<(&'a [u8], Value<'a>)>, Error> {
        self.at += 1;
        let mut entries: Vec<(&[u8], Value)> = Vec::new();
        let mut ascending = true;
        let start = self.at;
        while self.peek()? != b'e' {
            if !self.peek()?.is_ascii_digit() {
                return self.fail(Fault::BadKey);
            }
            let key_at = self.at;
            let key = self.string()?;
            match entries.last() {
                Some((last, _)) if *last == key => {
                    return Err(Error { fault: Fault::BadKey, at: key_at });
                }
                Some((last, _)) => ascending &= *last < key,
                None => {}
            }
            let value = self.value(depth + 1)?;
            push_tightly(&mut entries, (key, value));
        }
        if !ascending && has_repeated_key(&entries) {
            return Err(Error { fault: Fault::BadKey, at: start });
        }
        self.at += 1;
        Ok(entries)
    }
}

/// Most lists and dictionaries have one or two members, and a `Vec` takes room for four at once:
/// of a torrent of many files that would be half of all the memory its reading takes.
fn push_tightly<T>(members: &mut Vec<T>, member: T) {
    if members.len() == members.capacity() {
        members.reserve_exact(members.len().max(1));
    }
    members.push(member);
}

fn has_repeated_key(entries: &[(&[u8], Value)]) -> bool {
    if entries.windows(2).all(|w| w[0].0 < w[1].0) {
        return false;
    }
    let mut keys: Vec<&[u8]> = entries.iter().map(|(k, _)| *k).collect();
    order::by(&mut keys, Ord::cmp);
    keys.windows(2).any(|w| w[0] == w[1])
}

/// A value to be encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An integer.
    Int(i64),
    /// A string.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Item>),
    /// A dictionary; its keys come out in raw byte order.
    Dict(sorted::Map<Vec<u8>, Item>),
    /// Bytes that are bencode already and must come out as they are (an `info` to be kept).
    Raw(Vec<u8>),
}

impl From<&str> for Item {
    fn from(text: &str) -> Item {
        Item::Bytes(text.as_bytes().to_vec())
    }
}

impl From<i64> for Item {
    fn from(n: i64) -> Item {
        Item::Int(n)
    }
}

impl Item {
    /// A dictionary of these entries.
    pub fn dict<const N: usize>(entries: [(&str, Item); N]) -> Item {
        // One by one: to collect them would be a sort of its own for each count of entries.
        let mut all = sorted::Map::new();
        for (key, value) in entries {
            all.insert(key.as_bytes().to_vec(), value);
        }
        Item::Dict(all)
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_to(&mut out);
        out
    }

    /// Appends the canonical bytes to `out`.
    pub fn encode_to(&self, out: &mut Vec<u8>) {
        match self {
            Item::Int(n) => put_int(out, *n),
            Item::Bytes(b) => put_bytes(out, b),
            Item::Raw(b) => out.extend_from_slice(b),
            Item::List(l) => {
                out.push(b'l');
                l.iter().for_each(|i| i.encode_to(out));
                out.push(b'e');
            }
            Item::Dict(d) => {
                out.push(b'd');
                for (k, v) in d {
                    put_bytes(out, k);
                    v.encode_to(out);
                }
                out.push(b'e');
            }
        }
    }
}

/// Appends an integer: for those who write a reply without building a tree first.
pub fn put_int(out: &mut Vec<u8>, n: i64) {
    out.push(b'i');
    put_decimal(out, n);
    out.push(b'e');
}

/// Appends a string.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_decimal(out, i64::try_from(bytes.len()).expect("no slice is longer than 2^63"));
    out.push(b':');
    out.extend_from_slice(bytes);
}

fn put_decimal(out: &mut Vec<u8>, n: i64) {
    if n < 0 {
        out.push(b'-');
    }
    put_digits(out, n.unsigned_abs());
}

/// Appends a number in decimal: several times as fast as `write!`, and answers are full of them.
pub fn put_digits(out: &mut Vec<u8>, mut n: u64) {
    // As many as `u64::MAX` has.
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(bytes: &[u8]) -> (Fault, usize) {
        let e = decode(bytes).expect_err("should be refused");
        (e.fault, e.at)
    }

    #[test]
    fn reads_every_kind_with_its_span() {
        let v = decode(b"d1:ai-3e1:bl0:3:xyzee").unwrap();
        assert_eq!(v.get("a").unwrap().as_int(), Some(-3));
        assert_eq!(v.get("a").unwrap().span(), 4..8);
        let list = v.get("b").unwrap();
        assert_eq!(list.span(), 11..20);
        assert_eq!(list.as_list().unwrap()[1].as_str(), Some("xyz"));
        assert!(v.get("c").is_none());
    }

    #[test]
    fn refuses_what_is_not_bencode_and_says_where() {
        assert_eq!(fault(b""), (Fault::Truncated, 0));
        assert_eq!(fault(b"x"), (Fault::Unexpected, 0));
        assert_eq!(fault(b"i01e"), (Fault::BadNumber, 1));
        assert_eq!(fault(b"i-0e"), (Fault::BadNumber, 1));
        assert_eq!(fault(b"ie"), (Fault::BadNumber, 1));
        assert_eq!(fault(b"i9223372036854775808e"), (Fault::BadNumber, 1));
        assert_eq!(fault(b"i12"), (Fault::Truncated, 3));
        assert_eq!(fault(b"03:abc"), (Fault::BadNumber, 0));
        assert_eq!(fault(b"5:abc"), (Fault::Truncated, 5));
        assert_eq!(fault(b"99999999999999999:abc"), (Fault::Truncated, 21));
        assert_eq!(fault(b"li1e"), (Fault::Truncated, 4));
        assert_eq!(fault(b"di1ei2ee"), (Fault::BadKey, 1));
        assert_eq!(fault(b"d1:ai1e1:ai2ee"), (Fault::BadKey, 7));
        assert_eq!(fault(b"d1:bi1e1:ai2e1:bi2ee"), (Fault::BadKey, 1));
        assert_eq!(fault(b"i1ei2e"), (Fault::Trailing, 3));
        assert_eq!(fault("l".repeat(MAX_DEPTH + 2).as_bytes()).0, Fault::TooDeep);
    }

    #[test]
    fn takes_no_room_for_members_that_are_not_there() {
        let value = decode(b"d6:lengthi1e4:pathl1:aee").unwrap();
        let Kind::Dict(entries) = &value.kind else { panic!("{value:?}") };
        let Kind::List(members) = &entries[1].1.kind else { panic!("{value:?}") };
        assert_eq!((entries.capacity(), members.capacity()), (2, 1));
    }

    #[test]
    fn stops_at_the_number_of_values_allowed() {
        assert!(decode_prefix_within(b"li1ei2ee", 3).is_ok());
        let e = decode_prefix_within(b"li1ei2ee", 2).unwrap_err();
        assert_eq!((e.fault, e.at), (Fault::TooMany, 4));
    }

    #[test]
    fn takes_keys_out_of_order_and_writes_them_in_order() {
        let v = decode(b"d1:bi1e1:ai2ee").unwrap();
        assert_eq!(v.to_item().encode(), b"d1:ai2e1:bi1ee");
    }

    #[test]
    fn canonical_bytes_come_back_as_they_were() {
        for b in [&b"d0:le1:ad1:xi0eee"[..], b"li-9223372036854775808e0:e", b"i0e"] {
            assert_eq!(decode(b).unwrap().to_item().encode(), b);
        }
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let good = b"d8:announce9:http://a/4:infod5:filesld6:lengthi3e4:pathl1:aeee4:name1:nee";
        let mut seed = 1u64;
        for round in 0..20_000 {
            let mut bytes = good.to_vec();
            for _ in 0..1 + round % 3 {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (seed >> 33) as usize % bytes.len();
                bytes[at] = (seed >> 24) as u8;
                if seed & 7 == 0 {
                    bytes.truncate(at + 1);
                }
            }
            if let Ok(v) = decode(&bytes) {
                let again = v.to_item().encode();
                assert_eq!(decode(&again).unwrap().to_item(), v.to_item(), "round {round}");
            }
        }
    }
}
