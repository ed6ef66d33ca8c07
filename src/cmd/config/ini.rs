//! The form of a file of settings: that of BitTornado's `config.*.ini`, a `key = value` a line.
//!
//! Used by `config`; knows nothing of options. Values are bytes, since paths are.

/// A line of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Nothing is set: empty, a comment, or the head of a section.
    Idle,
    /// A key, without the blanks around it, and its value, without quotes.
    Entry(&'a [u8], &'a [u8]),
    /// Neither; it cannot be understood.
    Odd,
}

/// Reads a line: `key = value` or `key: value`. A value may stand in quotes, single or double;
/// behind it, or behind a blank in one without them, `#` begins a comment.
pub(super) fn read(line: &[u8]) -> Line<'_> {
    let line = line.trim_ascii();
    if matches!(line.first(), None | Some(b'#' | b';' | b'[')) {
        return Line::Idle;
    }
    match line.iter().position(|c| matches!(c, b'=' | b':')) {
        Some(at) if at > 0 => {
            Line::Entry(line[..at].trim_ascii(), bare(line[at + 1..].trim_ascii()))
        }
        _ => Line::Odd,
    }
}

fn bare(value: &[u8]) -> &[u8] {
    if let [quote @ (b'"' | b'\''), rest @ ..] = value {
        // The last one, so that quotes may stand within quotes: nothing escapes them.
        let last = rest.iter().rposition(|c| c == quote);
        let is_end = |at: &usize| matches!(rest[at + 1..].trim_ascii(), [] | [b'#', ..]);
        if let Some(end) = last.filter(is_end) {
            return &rest[..end];
        }
    }
    let starts_comment = |two: &[u8]| two[0].is_ascii_whitespace() && two[1] == b'#';
    match value.windows(2).position(starts_comment) {
        Some(at) => value[..at].trim_ascii(),
        None if value.starts_with(b"#") => b"",
        None => value,
    }
}

/// A line that [`read`] reads back. `None` if no line can hold the value: it has a line break.
pub(super) fn written(key: &str, value: &[u8], quoted: bool) -> Option<Vec<u8>> {
    let quote: &[u8] = if quoted { b"\"" } else { b"" };
    let line = [key.as_bytes(), b" = ", quote, value, quote].concat();
    (!value.contains(&b'\n') && read(&line) == Line::Entry(key.as_bytes(), value)).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_bittornado_reads_them() {
        for (line, key, value) in [
            ("max_uploads = 7", "max_uploads", "7"),
            ("  a: b c \r", "a", "b c"),
            ("a=b=c", "a", "b=c"),
            ("a: b=c", "a", "b=c"),
            ("bind = \"\"", "bind", ""),
            ("bind = ''", "bind", ""),
            ("a = \"b c \"  # why", "a", "b c "),
            ("a = \"say \"hi\"\"", "a", "say \"hi\""),
            ("a = 7 # not 8", "a", "7"),
            ("a = b#c", "a", "b#c"),
            ("a = \"b", "a", "\"b"),
            ("a = \"b\"c", "a", "\"b\"c"),
            ("a =", "a", ""),
            ("a = # none", "a", ""),
        ] {
            let expected = Line::Entry(key.as_bytes(), value.as_bytes());
            assert_eq!(read(line.as_bytes()), expected, "{line}");
        }
        for line in ["", "  ", "# a = b", " ; a = b", "[section]"] {
            assert_eq!(read(line.as_bytes()), Line::Idle, "{line}");
        }
        for line in ["max_uploads 7", "= 7"] {
            assert_eq!(read(line.as_bytes()), Line::Odd, "{line}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for value in ["", " x ", "a \"b\" c", "'", "\"", "a # b", "\" # \"", "\u{e4}", "a\rb"] {
            let line = written("key", value.as_bytes(), true).unwrap();
            assert_eq!(read(&line), Line::Entry(b"key", value.as_bytes()));
        }
        let line = written("key", b"/\xff", true).unwrap();
        assert_eq!(read(&line), Line::Entry(b"key", b"/\xff"));
        assert_eq!(written("key", b"0.5", false).unwrap(), b"key = 0.5");
        assert_eq!(written("key", b"a\nb = c", true), None);
    }
}
