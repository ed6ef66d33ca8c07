//! What the bytes of a terminal say about keys.
//!
//! Bytes may come in any portions. Nothing here waits: who reads tells by [`Decoder::pause`] that
//! nothing followed for a while, for only that tells the Escape key from the beginning of a
//! sequence. What is not understood is dropped, and never more than a few bytes are kept.

use std::collections::VecDeque;

/// A key that was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// A character that can be printed.
    Char(char),
    /// Ctrl and this small letter.
    Ctrl(char),
    /// Enter.
    Enter,
    /// Tab.
    Tab,
    /// Shift and Tab.
    BackTab,
    /// Backspace.
    Backspace,
    /// Delete.
    Delete,
    /// Escape.
    Escape,
    /// The arrow up.
    Up,
    /// The arrow down.
    Down,
    /// The arrow to the left.
    Left,
    /// The arrow to the right.
    Right,
    /// Home.
    Home,
    /// End.
    End,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
}

/// A sequence that is longer is none.
const LONGEST: usize = 24;

/// Keys that wait; more are dropped.
const MAX_KEYS: usize = 256;

/// Takes bytes, gives keys.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The beginning of something.
    bytes: Vec<u8>,
    keys: VecDeque<Key>,
}

/// What the bytes so far are.
enum Seen {
    /// The beginning of a key.
    Begun,
    /// All of a key, or of something that is none.
    Whole(Option<Key>),
    /// Nothing; the last byte is to be looked at by itself.
    Broken,
}

impl Decoder {
    /// Takes what was read.
    pub fn feed(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.take(*byte));
    }

    /// Nothing has followed for a while: what has come is all there will be.
    pub fn pause(&mut self) {
        if self.bytes == [ESCAPE] {
            self.push(Key::Escape);
        }
        self.bytes.clear();
    }

    /// Whether something has begun, and [`pause`](Self::pause) would make a difference.
    pub fn has_begun(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// The next key.
    pub fn next_key(&mut self) -> Option<Key> {
        self.keys.pop_front()
    }

    fn take(&mut self, byte: u8) {
        // Escape begins anew, whatever went before.
        if byte == ESCAPE && !self.bytes.is_empty() {
            self.pause();
        }
        self.bytes.push(byte);
        match look(&self.bytes) {
            Seen::Begun if self.bytes.len() < LONGEST => {}
            Seen::Begun => self.bytes.clear(),
            Seen::Whole(key) => {
                self.bytes.clear();
                key.into_iter().for_each(|key| self.push(key));
            }
            Seen::Broken => {
                let alone = self.bytes.len() == 1;
                if let [ESCAPE, _] = self.bytes[..] {
                    self.push(Key::Escape);
                }
                self.bytes.clear();
                if !alone {
                    self.take(byte);
                }
            }
        }
    }

    fn push(&mut self, key: Key) {
        if self.keys.len() < MAX_KEYS {
            self.keys.push_back(key);
        }
    }
}

const ESCAPE: u8 = 0x1b;

fn look(bytes: &[u8]) -> Seen {
    match bytes {
        [ESCAPE] => Seen::Begun,
        [ESCAPE, b'[' | b'O'] => Seen::Begun,
        [ESCAPE, b'O', last] => Seen::Whole(by_letter(*last)),
        // The console of Linux says F1 so.
        [ESCAPE, b'[', b'['] => Seen::Begun,
        [ESCAPE, b'[', b'[', _] => Seen::Whole(None),
        [ESCAPE, b'[', middle @ .., last] => control(middle, *last),
        // A key together with Alt, or two that came together: a slow line does that.
        [ESCAPE, _] => Seen::Broken,
        [byte] if *byte < 0x80 => Seen::Whole(plain(*byte)),
        [_, ..] => character(bytes),
        [] => Seen::Begun,
    }
}

/// `ESC [`, numbers, a letter.
fn control(middle: &[u8], last: u8) -> Seen {
    match last {
        b'0'..=b'?' | b' '..=b'/' => Seen::Begun,
        b'~' => {
            // Behind a semicolon is what was held down with it.
            let number = middle.split(|byte| *byte == b';').next().unwrap_or_default();
            Seen::Whole(match number {
                b"1" | b"7" => Some(Key::Home),
                b"4" | b"8" => Some(Key::End),
                b"3" => Some(Key::Delete),
                b"5" => Some(Key::PageUp),
                b"6" => Some(Key::PageDown),
                _ => None,
            })
        }
        b'@'..=b'}' => Seen::Whole(by_letter(last)),
        _ => Seen::Broken,
    }
}

fn by_letter(letter: u8) -> Option<Key> {
    Some(match letter {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
        b'Z' => Key::BackTab,
        b'M' => Key::Enter,
        _ => return None,
    })
}

fn plain(byte: u8) -> Option<Key> {
    Some(match byte {
        b'\r' | b'\n' => Key::Enter,
        b'\t' => Key::Tab,
        0x08 | 0x7f => Key::Backspace,
        1..=26 => Key::Ctrl((byte - 1 + b'a').into()),
        b' '..=b'~' => Key::Char(byte.into()),
        _ => return None,
    })
}

fn character(bytes: &[u8]) -> Seen {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            let c = text.chars().next().filter(|c| !super::unprintable(*c));
            Seen::Whole(c.map(Key::Char))
        }
        Err(e) if e.error_len().is_none() => Seen::Begun,
        Err(_) => Seen::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut decoder = Decoder::default();
        decoder.feed(bytes);
        decoder.pause();
        std::iter::from_fn(|| decoder.next_key()).collect()
    }

    #[test]
    fn keys_are_what_terminals_send_for_them() {
        use Key::*;
        for (bytes, expected) in [
            (&b"qQ"[..], &[Char('q'), Char('Q')][..]),
            (b"\x0c\x03", &[Ctrl('l'), Ctrl('c')]),
            (b"\r\t\x7f\x1b[Z", &[Enter, Tab, Backspace, BackTab]),
            (b"\x1b[A\x1bOB\x1b[1;5C\x1b[D", &[Up, Down, Right, Left]),
            (b"\x1b[H\x1b[4~\x1b[1~\x1bOF\x1b[7~", &[Home, End, Home, End, Home]),
            (b"\x1b[5~\x1b[6;2~\x1b[3~", &[PageUp, PageDown, Delete]),
            ("äß文😀".as_bytes(), &[Char('ä'), Char('ß'), Char('文'), Char('😀')]),
            // F1 in two ways, F5, and a sequence nobody knows.
            (b"\x1bOP\x1b[[A\x1b[15~\x1b[?1;2cq", &[Char('q')]),
            (b"\x1bx\x1b\xc3\xa4", &[Escape, Char('x'), Escape, Char('ä')]),
            (b"\x1b", &[Escape]),
            (b"\x1b\x1b[A", &[Escape, Up]),
            (b"\xc3q\xff\xfeq", &[Char('q'), Char('q')]),
            (b"\x00\xc2\x9bq\xe2\x80\xae", &[Char('q')]),
        ] {
            assert_eq!(keys(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn portions_make_no_difference_but_a_pause_does() {
        let bytes = "a\x1b[1;5Aä文\x1b[6~\x1bOH".as_bytes();
        let whole = keys(bytes);
        assert_eq!(whole.len(), 6);
        let mut decoder = Decoder::default();
        let mut all = Vec::new();
        for byte in bytes {
            decoder.feed(&[*byte]);
            all.extend(decoder.next_key());
        }
        assert_eq!(all, whole);
        decoder.feed(b"\x1b");
        assert_eq!((decoder.next_key(), decoder.has_begun()), (None, true));
        decoder.pause();
        decoder.feed(b"[A");
        let rest: Vec<Key> = std::iter::from_fn(|| decoder.next_key()).collect();
        assert_eq!(rest, [Key::Escape, Key::Char('['), Key::Char('A')]);
    }

    #[test]
    fn nothing_that_comes_is_kept_for_long() {
        let mut decoder = Decoder::default();
        decoder.feed(&[b"\x1b[".as_slice(), &[b'1'; 10_000]].concat());
        assert!(decoder.bytes.len() < LONGEST);
        decoder.feed(&[b'x'; 10_000]);
        assert_eq!(decoder.keys.len(), MAX_KEYS);
    }
}
