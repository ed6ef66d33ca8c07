//! What an option takes: whether a value is of its kind.

use super::Kind;
use std::ffi::OsStr;
use std::fmt;

/// Whether `value` fits `kind`; else what is wrong, naming the value.
pub(super) fn check(kind: Kind, value: &OsStr) -> Result<(), String> {
    let shown = value.to_string_lossy();
    let text = value.to_str().ok_or_else(|| format!("'{shown}' is not UTF-8"));
    match kind {
        Kind::Path => Ok(()),
        Kind::Text => text.map(drop),
        Kind::Flag if shown == "0" || shown == "1" => Ok(()),
        Kind::Flag => Err(format!("'{shown}' is not 0 or 1")),
        Kind::Choice(words) if words.contains(&&*shown) => Ok(()),
        Kind::Choice(words) => Err(format!("'{shown}' is not one of {}", words.join(", "))),
        Kind::Int { min, max } => {
            let n = whole(&shown).ok_or_else(|| format!("'{shown}' is not a whole number"))?;
            within(n, (min, max), max == i64::MAX)
        }
        Kind::Float { min, max } => {
            let n = number(&shown).ok_or_else(|| format!("'{shown}' is not a number"))?;
            within(n, (min, max), max == f64::MAX)
        }
    }
}

/// Whether an option's default is a value it would take.
#[cfg(test)]
pub(crate) fn check_default(opt: &super::Opt) -> Result<(), String> {
    match opt.kind {
        Kind::Path | Kind::Text => Ok(()),
        kind => check(kind, OsStr::new(opt.default)),
    }
}

fn within<N: PartialOrd + fmt::Display>(
    n: N,
    (min, max): (N, N),
    open: bool,
) -> Result<(), String> {
    match () {
        () if n < min && open => Err(format!("'{n}' is less than {min}")),
        () if n < min || n > max => Err(format!("'{n}' is not between {min} and {max}")),
        () => Ok(()),
    }
}

/// A whole number as the original reads it: blanks around it, a sign, `_` between digits.
pub(super) fn whole(text: &str) -> Option<i64> {
    plain_digits(text)?.parse().ok()
}

/// A finite number, with the same freedoms as [`whole`].
pub(super) fn number(text: &str) -> Option<f64> {
    plain_digits(text)?.parse().ok().filter(|n: &f64| n.is_finite())
}

fn plain_digits(text: &str) -> Option<String> {
    let text = text.trim();
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let stray = |at: usize| bytes[at] == b'_' && !(at > 0 && digit(at - 1) && digit(at + 1));
    (!(0..bytes.len()).any(stray)).then(|| text.replace('_', ""))
}
