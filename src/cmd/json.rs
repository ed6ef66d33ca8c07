//! JSON (RFC 8259) for scripts: the little that the commands write of it.

use std::fmt::{self, Write};

use crate::io::screen::unprintable;

/// A text as a JSON string, quotes included. What could harm a terminal is escaped beyond what
/// JSON asks for; any reader gets the same text.
pub struct Text<'t>(pub &'t str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if unprintable(c) => {
                    let mut units = [0; 2];
                    for unit in c.encode_utf16(&mut units) {
                        write!(f, "\\u{unit:04x}")?;
                    }
                }
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// Values as a JSON array, each written by its own `Display`.
pub struct Array<I>(pub I);

impl<I: Iterator<Item: fmt::Display> + Clone> fmt::Display for Array<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('[')?;
        for (n, value) in self.0.clone().enumerate() {
            if n > 0 {
                f.write_char(',')?;
            }
            value.fmt(f)?;
        }
        f.write_char(']')
    }
}

/// A JSON object that grows by an entry at a time, each written by its own `Display`. Nothing
/// sees to it that keys differ.
#[derive(Default)]
pub struct Object(String);

impl Object {
    /// The object with one more entry.
    pub fn with(mut self, key: &str, value: impl fmt::Display) -> Object {
        let comma = if self.0.is_empty() { "" } else { "," };
        write!(self.0, "{comma}{}:{value}", Text(key)).expect("a String takes every write");
        self
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", self.0)
    }
}

/// A value, or `null`.
pub struct Nullable<T>(pub Option<T>);

impl<T: fmt::Display> fmt::Display for Nullable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("null"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_comes_back_as_it_was() {
        let all: String = (0..0x11_0000).filter_map(char::from_u32).collect();
        let text = Text(&all).to_string();
        assert!(!text.chars().any(unprintable));
        assert!(serde_json::from_str::<String>(&text).is_ok_and(|back| back == all));
    }

    #[test]
    fn an_array_has_commas_between_its_values() {
        for length in 0..3 {
            let text = Array(0..length).to_string();
            let back: Vec<i32> = serde_json::from_str(&text).unwrap();
            assert!(back.into_iter().eq(0..length), "{text}");
        }
    }

    #[test]
    fn an_object_keeps_its_entries_and_says_null_for_nothing() {
        assert_eq!(Object::default().to_string(), "{}");
        let object = Object::default()
            .with("a\"b", Nullable(None::<u8>))
            .with("c", Nullable(Some(Text("d"))))
            .with("e", Object::default().with("f", i64::MIN));
        assert_eq!(object.to_string(), r#"{"a\"b":null,"c":"d","e":{"f":-9223372036854775808}}"#);
    }
}
