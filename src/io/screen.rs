//! Plain lines, or a redrawn terminal.

use std::borrow::Cow;

/// `text` with its control characters escaped, so that a name chosen by a stranger cannot move
/// the cursor, hide a line or start a new one.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(unprintable) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => safe.extend(c.escape_default()),
            c if unprintable(c) && c.is_ascii() => safe.push_str(&format!("\\x{:02x}", c as u32)),
            c if unprintable(c) => safe.extend(c.escape_unicode()),
            c => safe.push(c),
        }
    }
    safe.into()
}

/// Control characters, and those that turn the direction of what follows.
fn unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_of_strangers_are_escaped() {
        assert_eq!(printable("plain ünïcode 文"), "plain ünïcode 文");
        assert_eq!(printable("a\nb\tc\x1b[2J\x7f"), "a\\nb\\tc\\x1b[2J\\x7f");
        assert_eq!(printable("a\u{9b}2J\u{202e}b"), "a\\u{9b}2J\\u{202e}b");
    }
}
