//! Ranges of bytes as HTTP asks for them (RFC 9110, section 14).
//!
//! For the publisher's web seed. What is malformed is read as if it were not there, as the RFC
//! has it; what asks for too much to be meant well is unsatisfiable.

use std::ops::Range;

/// Ranges in one request, at most.
pub const MAX_RANGES: usize = 16;

/// What of a content a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All of it.
    Whole,
    /// These ranges, in the order they are asked for; none is empty.
    Parts(Vec<Range<u64>>),
    /// Nothing that there is, or more ranges than [`MAX_RANGES`], or more bytes than there are.
    Unsatisfiable,
}

/// Reads the value of the header `Range` for a content of `length` bytes. Never panics.
pub fn select(value: &[u8], length: u64) -> Selection {
    const UNIT: &[u8] = b"bytes=";
    let unit = value.get(..UNIT.len()).is_some_and(|unit| unit.eq_ignore_ascii_case(UNIT));
    if !unit {
        return Selection::Whole;
    }
    let specs = value[UNIT.len()..].split(|b| *b == b',').map(<[u8]>::trim_ascii);
    let specs: Vec<&[u8]> = specs.filter(|spec| !spec.is_empty()).take(MAX_RANGES + 1).collect();
    if specs.len() > MAX_RANGES {
        return Selection::Unsatisfiable;
    }
    let mut parts = Vec::with_capacity(specs.len());
    for spec in &specs {
        match range(spec, length) {
            None => return Selection::Whole,
            Some(range) if range.is_empty() => {}
            Some(range) => parts.push(range),
        }
    }
    let asked = parts.iter().fold(0u64, |sum, part| sum.saturating_add(part.end - part.start));
    match parts.is_empty() {
        true if specs.is_empty() => Selection::Whole,
        false if asked <= length => Selection::Parts(parts),
        _ => Selection::Unsatisfiable,
    }
}

/// One range, cut at the end; empty if nothing is there. `None`: it is malformed.
fn range(spec: &[u8], length: u64) -> Option<Range<u64>> {
    let dash = spec.iter().position(|b| *b == b'-')?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    match (first, last) {
        ([], []) => None,
        ([], last) => Some(length.saturating_sub(number(last)?)..length),
        (first, []) => Some(number(first)?.min(length)..length),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then(|| first.min(length)..last.saturating_add(1).min(length))
        }
    }
}

/// A decimal number; one that is too large is the largest.
fn number(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(
        digits
            .iter()
            .fold(0u64, |n, digit| n.saturating_mul(10).saturating_add(u64::from(digit - b'0'))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::damage::survived;

    fn parts(value: &str) -> Vec<(u64, u64)> {
        match select(value.as_bytes(), 1000) {
            Selection::Parts(parts) => parts.into_iter().map(|r| (r.start, r.end)).collect(),
            other => panic!("{value}: {other:?}"),
        }
    }

    #[test]
    fn ranges_are_read_and_cut_at_the_end() {
        assert_eq!(parts("bytes=0-0"), [(0, 1)]);
        assert_eq!(parts("Bytes=500-"), [(500, 1000)]);
        assert_eq!(parts("bytes=-5"), [(995, 1000)]);
        assert_eq!(parts("bytes=-5000"), [(0, 1000)]);
        assert_eq!(parts("bytes=10-99999999999999999999999"), [(10, 1000)]);
        assert_eq!(parts("bytes= 0-1 , ,900-, -1"), [(0, 2), (900, 1000), (999, 1000)]);
        assert_eq!(parts("bytes=2000-3000,1-2"), [(1, 3)], "what is not there is left out");
    }

    #[test]
    fn what_is_malformed_is_as_if_it_were_not_there() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=a-b",
            "bytes=5",
            "bytes=-",
            "bytes=5-4",
            "bytes=0-1,x",
            "bytes=+1-2",
            "items=0-1",
            "bytes=1-2-3",
        ] {
            assert_eq!(select(value.as_bytes(), 1000), Selection::Whole, "{value}");
        }
    }

    #[test]
    fn what_is_not_there_or_too_much_is_unsatisfiable() {
        let many = format!("bytes={}", "0-0,".repeat(MAX_RANGES + 1));
        for value in ["bytes=1000-", "bytes=-0", "bytes=5000-6000,1000-1001", "bytes=0-,0-", &many]
        {
            assert_eq!(select(value.as_bytes(), 1000), Selection::Unsatisfiable, "{value}");
        }
        assert_eq!(select(b"bytes=0-", 0), Selection::Unsatisfiable);
        assert_eq!(select(b"bytes=-1", 0), Selection::Unsatisfiable);
    }

    #[test]
    fn damaged_values_never_panic_nor_lead_outside() {
        let whole = b"bytes=0-99, 200-, -5,300-18446744073709551615";
        let taken = survived(
            20_000,
            |random| random.damage(whole, 3),
            |value, _| {
                let Selection::Parts(parts) = select(value, 400) else { return false };
                assert!(!parts.is_empty() && parts.len() <= MAX_RANGES);
                assert!(parts.iter().all(|r| r.start < r.end && r.end <= 400), "{parts:?}");
                true
            },
        );
        assert!(taken > 100, "{taken}");
    }
}
