//! Local time: how far a place is from UTC at a moment, by the compiled files of the time zone
//! database (TZif, RFC 9636) or by a rule such as `CET-1CEST,M3.5.0,M10.5.0/3` (POSIX, `TZ`).
//!
//! Used for the access log. Reads no file and no clock; leap seconds are not counted, as Unix time
//! does not count them. Decoders never panic and never allocate more than their input justifies.

use std::fmt;

mod rule;

use rule::Rule;

/// What a file may hold at most; the longest of the database has some 4 KiB.
pub const MAX_ZONE: usize = 64 * 1024;

/// The length of a header.
const HEADER: usize = 44;

/// No place is further from UTC than this, in seconds, by either sign.
const MAX_OFFSET: i32 = 26 * 3600;

/// A place's distance from UTC through the ages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Zone {
    /// Before the first change, in seconds east of UTC.
    first: i32,
    /// From when on which offset counts: seconds since 1970, in order, and seconds east of UTC.
    changes: Vec<(i64, i32)>,
    /// What counts after the last change, if not its offset.
    rule: Option<Rule>,
}

/// Why something tells no time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZoneError {
    /// A file that is not of this kind, or cut short, or contradicts itself.
    File,
    /// A text that is no rule.
    Rule,
}

impl fmt::Display for ZoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ZoneError::File => "no file of the time zone database",
            ZoneError::Rule => "no rule of a time zone",
        })
    }
}

impl std::error::Error for ZoneError {}

impl Zone {
    /// UTC.
    pub fn utc() -> Zone {
        Zone::default()
    }

    /// By a rule as `TZ` may have it.
    ///
    /// # Errors
    /// It is none.
    pub fn from_rule(text: &[u8]) -> Result<Zone, ZoneError> {
        let rule = Rule::read(text).ok_or(ZoneError::Rule)?;
        Ok(Zone { first: 0, changes: Vec::new(), rule: Some(rule) })
    }

    /// From the bytes of a compiled file.
    ///
    /// # Errors
    /// They are none.
    pub fn decode(bytes: &[u8]) -> Result<Zone, ZoneError> {
        decode(bytes).ok_or(ZoneError::File)
    }

    /// Seconds east of UTC at a moment, which is seconds since 1970.
    pub fn offset(&self, moment: i64) -> i32 {
        let passed = self.changes.partition_point(|(from, _)| *from <= moment);
        match (&self.rule, passed.checked_sub(1)) {
            (Some(rule), _) if passed == self.changes.len() => rule.offset(moment),
            (_, Some(last)) => self.changes[last].1,
            (_, None) => self.first,
        }
    }
}

/// How many there are of each kind of entry in a block.
struct Counts {
    ut: usize,
    std: usize,
    leaps: usize,
    times: usize,
    types: usize,
    chars: usize,
}

impl Counts {
    /// From a header; also its version.
    fn read(bytes: &[u8]) -> Option<(Counts, u8)> {
        let header = bytes.get(..HEADER)?;
        if !header.starts_with(b"TZif") {
            return None;
        }
        let count = |n: usize| {
            let at = 20 + 4 * n;
            let word = header.get(at..at + 4)?.try_into().ok()?;
            usize::try_from(u32::from_be_bytes(word)).ok()
        };
        let counts = Counts {
            ut: count(0)?,
            std: count(1)?,
            leaps: count(2)?,
            times: count(3)?,
            types: count(4)?,
            chars: count(5)?,
        };
        Some((counts, header[4]))
    }

    /// Bytes of the block behind the header, where moments have so many bytes.
    fn length(&self, moment: usize) -> Option<usize> {
        let parts = [
            self.times.checked_mul(moment + 1)?,
            self.types.checked_mul(6)?,
            self.chars,
            self.leaps.checked_mul(moment + 4)?,
            self.std,
            self.ut,
        ];
        parts.into_iter().try_fold(0, usize::checked_add)
    }
}

fn decode(bytes: &[u8]) -> Option<Zone> {
    if bytes.len() > MAX_ZONE {
        return None;
    }
    let (counts, version) = Counts::read(bytes)?;
    let rest = &bytes[HEADER..];
    if version == 0 {
        return block(rest, &counts, 4).map(|(zone, _)| zone);
    }
    // The same once more, with longer moments and what comes after them.
    let bytes = rest.get(counts.length(4)?..)?;
    let (counts, _) = Counts::read(bytes)?;
    let (mut zone, rest) = block(&bytes[HEADER..], &counts, 8)?;
    let footer = rest.strip_prefix(b"\n")?;
    let text = &footer[..footer.iter().position(|b| *b == b'\n')?];
    if !text.is_empty() {
        zone.rule = Some(Rule::read(text)?);
    }
    Some(zone)
}

/// A block, and what follows it.
fn block<'a>(bytes: &'a [u8], counts: &Counts, moment: usize) -> Option<(Zone, &'a [u8])> {
    let length = counts.length(moment)?;
    let (block, rest) = (bytes.get(..length)?, &bytes[length..]);
    let (times, block) = block.split_at(counts.times * moment);
    let (kinds, block) = block.split_at(counts.times);
    let offsets = block[..counts.types * 6].chunks_exact(6).map(|kind| {
        let offset = i32::from_be_bytes(kind[..4].try_into().ok()?);
        (offset.abs() <= MAX_OFFSET).then_some(offset)
    });
    let offsets: Vec<i32> = offsets.collect::<Option<_>>()?;
    let times = times.chunks_exact(moment).map(|time| match <[u8; 8]>::try_from(time) {
        Ok(long) => i64::from_be_bytes(long),
        Err(_) => time.try_into().map_or(0, |short| i32::from_be_bytes(short).into()),
    });
    let change = |(time, kind): (i64, &u8)| Some((time, *offsets.get(usize::from(*kind))?));
    let changes: Vec<(i64, i32)> = times.zip(kinds).map(change).collect::<Option<_>>()?;
    let sorted = changes.windows(2).all(|pair| pair[0].0 < pair[1].0);
    let zone = Zone { first: *offsets.first()?, changes, rule: None };
    sorted.then_some((zone, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of version 2 with two changes, and a rule after them.
    fn file() -> Vec<u8> {
        let header = |times: u8, types: u8| {
            let mut header = b"TZif2".to_vec();
            header.resize(HEADER, 0);
            (header[35], header[39], header[43]) = (times, types, 4);
            header
        };
        let mut bytes = header(0, 1);
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, b'U', b'T', b'C', 0]);
        bytes.extend(header(2, 2));
        bytes.extend_from_slice(&(-100i64).to_be_bytes());
        bytes.extend_from_slice(&1000i64.to_be_bytes());
        bytes.extend_from_slice(&[1, 0]);
        for offset in [-60i32, 7200] {
            bytes.extend_from_slice(&offset.to_be_bytes());
            bytes.extend_from_slice(&[0, 0]);
        }
        bytes.extend_from_slice(b"UTC\0\n<+05>-5\n");
        bytes
    }

    #[test]
    fn a_file_tells_the_offset_before_between_and_after_its_changes() {
        let zone = Zone::decode(&file()).unwrap();
        let offsets = [-101, -100, 999, 1000, i64::MAX].map(|at| zone.offset(at));
        assert_eq!(offsets, [-60, 7200, 7200, 18_000, 18_000]);
        let text = file();
        let without = [&text[..text.len() - 8], b"\n"].concat();
        assert_eq!(Zone::decode(&without).unwrap().offset(1000), -60, "its last change counts on");
        let first = Zone::decode(&{
            let mut old = text;
            old[4] = 0;
            old
        });
        assert_eq!(first.unwrap().offset(0), 0, "of version 1 there is one block");
    }

    #[test]
    fn what_is_cut_short_or_contradicts_itself_is_refused() {
        let whole = file();
        for length in 0..whole.len() {
            assert_eq!(Zone::decode(&whole[..length]), Err(ZoneError::File), "{length}");
        }
        assert_eq!(Zone::decode(&vec![b'T'; MAX_ZONE + 1]), Err(ZoneError::File));
        assert!(Zone::from_rule(b"nonsense").is_err());
    }

    #[test]
    fn no_mutation_panics() {
        let mut seed = 36u64;
        for _ in 0..20_000 {
            let mut bytes = file();
            for _ in 0..1 + (seed >> 60) {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (seed >> 33) as usize % bytes.len();
                bytes[at] = (seed >> 24) as u8;
            }
            if let Ok(zone) = Zone::decode(&bytes) {
                for moment in [i64::MIN, -1, 0, 1_700_000_000, i64::MAX] {
                    assert!(zone.offset(moment).abs() <= MAX_OFFSET, "{bytes:?}");
                }
            }
        }
    }

    /// The files of this machine, where it has them, against dates that everybody can look up.
    #[test]
    fn real_places_are_right() {
        for (place, moment, hours) in [
            ("Europe/Berlin", 1_750_000_000, 2),
            ("Europe/Berlin", 1_765_000_000, 1),
            ("Europe/Dublin", 1_750_000_000, 1),
            ("Europe/Dublin", 1_765_000_000, 0),
            ("America/New_York", 1_750_000_000, -4),
            ("America/New_York", 4_000_000_000, -4),
            ("Australia/Sydney", 1_765_000_000, 11),
            ("Asia/Tokyo", -2_000_000_000, 9),
        ] {
            if let Ok(bytes) = std::fs::read(format!("/usr/share/zoneinfo/{place}")) {
                let zone = Zone::decode(&bytes).unwrap();
                assert_eq!(zone.offset(moment), hours * 3600, "{place} at {moment}");
            }
        }
    }
}
