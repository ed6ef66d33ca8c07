//! Plain lines, or a block of lines that is redrawn in place on a terminal; in its rooms, a terminal
//! as a whole: `full` (taken and given back), `frame` (what is drawn), `keys` (what is pressed).
//!
//! Commands hand over what to draw on; nothing here knows what the lines mean, and nothing here
//! prints on its own. What strangers chose (names, messages of trackers) is made harmless.

pub mod frame;
pub mod full;
pub mod keys;

use std::borrow::Cow;
use std::io::Write;
use std::os::fd::AsFd;

use unicode_width::UnicodeWidthStr;

use crate::io::sys;

/// Columns and rows of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns, at least 1.
    pub columns: u16,
    /// Rows, at least 1.
    pub rows: u16,
}

impl Size {
    /// The size of a terminal; `None` if it is none, or will not say.
    pub fn of(terminal: impl AsFd) -> Option<Size> {
        sys::terminal_size(terminal).map(|(columns, rows)| Size { columns, rows })
    }
}

/// Where a command shows how it goes on.
///
/// Trouble with writing is not reported: a command goes on when nobody looks.
pub struct Screen {
    out: Box<dyn Write + Send>,
    /// `None` when the output is no terminal.
    size: Option<Size>,
    /// The block as drawn last, cut to the size it was drawn for. The cursor is below it, in the
    /// first column.
    block: Vec<String>,
}

impl Screen {
    /// A screen on `out`. With a size it is a terminal, and blocks are redrawn in place; without,
    /// they are printed one after the other.
    pub fn new(out: Box<dyn Write + Send>, size: Option<Size>) -> Screen {
        Screen { out, size, block: Vec::new() }
    }

    /// Tells the screen that the terminal has another size now. The next block is drawn for it.
    pub fn resize(&mut self, size: Size) {
        if self.size.is_some() {
            self.size = Some(size);
        }
    }

    /// Shows `lines` instead of those shown before; on a pipe, after those.
    pub fn show<S: AsRef<str>>(&mut self, lines: &[S]) {
        let lines = lines.iter().map(|line| printable(line.as_ref()));
        let Some(size) = self.size else {
            let text: String = lines.map(|line| format!("{line}\n")).collect();
            return self.write(&text);
        };
        let mut text = up(self.rows_drawn(size));
        // A row less than there are, since the cursor rests below; a column less, since a
        // terminal that has filled a row disagrees with others about where the cursor is.
        let columns = usize::from(size.columns) - 1;
        let rows = usize::from(size.rows) - 1;
        self.block = lines.take(rows).map(|line| cut(&line, columns).to_owned()).collect();
        for line in &self.block {
            text.push_str(&format!("{line}{CLEAR_LINE}\n"));
        }
        text.push_str(CLEAR_BELOW);
        self.write(&text);
    }

    /// Prints a line that stays, above the block.
    pub fn line(&mut self, line: &str) {
        let mut text = String::new();
        if let Some(size) = self.size {
            text.push_str(&up(self.rows_drawn(size)));
            text.push_str(CLEAR_BELOW);
        }
        text.push_str(&format!("{}\n", printable(line)));
        for line in &self.block {
            text.push_str(&format!("{line}\n"));
        }
        self.write(&text);
    }

    /// How many rows the block takes: after the terminal has become narrower, its lines have been
    /// broken, as most terminals do.
    fn rows_drawn(&self, size: Size) -> usize {
        let rows = |line: &String| line.width().div_ceil(size.columns.into()).max(1);
        self.block.iter().map(rows).sum()
    }

    fn write(&mut self, text: &str) {
        // In one piece, so that no half-drawn block is ever seen.
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

/// Clears from the cursor to the end of the row.
const CLEAR_LINE: &str = "\x1b[K";
/// Clears from the cursor to the end of the screen.
const CLEAR_BELOW: &str = "\x1b[J";

/// Moves the cursor up.
fn up(rows: usize) -> String {
    if rows == 0 { String::new() } else { format!("\x1b[{rows}A\r") }
}

/// As much of the start of `text` as fits in `columns`.
fn cut(text: &str, columns: usize) -> &str {
    if text.width() <= columns {
        return text;
    }
    let ends = text.char_indices().map(|(at, _)| at);
    let fits = ends.take_while(|at| text[..*at].width() <= columns).last();
    &text[..fits.unwrap_or(0)]
}

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
pub fn unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    /// A terminal as far as [`Screen`] needs one: what the user sees.
    struct Terminal {
        size: Size,
        rows: Vec<Vec<char>>,
        row: usize,
        column: usize,
        written: Arc<Mutex<Vec<u8>>>,
    }

    struct Wire(Arc<Mutex<Vec<u8>>>);

    impl Write for Wire {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Terminal {
        fn new(columns: u16, rows: u16) -> (Terminal, Screen) {
            let written = Arc::new(Mutex::new(Vec::new()));
            let size = Size { columns, rows };
            let screen = Screen::new(Box::new(Wire(written.clone())), Some(size));
            (Terminal { size, rows: vec![vec![]], row: 0, column: 0, written }, screen)
        }

        /// Takes what was written since, and says what is seen.
        fn sees(&mut self) -> String {
            let bytes = std::mem::take(&mut *self.written.lock().unwrap());
            let text = String::from_utf8(bytes).unwrap();
            let mut rest = text.chars();
            while let Some(c) = rest.next() {
                match c {
                    '\r' => self.column = 0,
                    '\n' => self.newline(),
                    '\x1b' => self.escape(&mut rest),
                    c => self.print(c),
                }
            }
            let shown = self.rows.iter().rev().take(self.size.rows.into()).rev();
            let text: Vec<String> = shown.map(|row| row.iter().collect()).collect();
            text.join("\n").trim_end_matches('\n').to_owned()
        }

        fn newline(&mut self) {
            self.row += 1;
            self.column = 0;
            if self.row == self.rows.len() {
                self.rows.push(vec![]);
            }
        }

        fn print(&mut self, c: char) {
            assert!(!c.is_control(), "{c:?} reached the terminal");
            if self.column == usize::from(self.size.columns) {
                self.newline();
            }
            let row = &mut self.rows[self.row];
            row.resize(row.len().max(self.column + 1), ' ');
            row[self.column] = c;
            self.column += 1;
        }

        fn escape(&mut self, rest: &mut std::str::Chars<'_>) {
            assert_eq!(rest.next(), Some('['));
            let mut number = 0;
            loop {
                match rest.next().unwrap() {
                    c if c.is_ascii_digit() => number = number * 10 + c as usize - '0' as usize,
                    'A' => {
                        let top = self.rows.len().saturating_sub(self.size.rows.into());
                        return self.row = self.row.saturating_sub(number).max(top);
                    }
                    'K' => return self.rows[self.row].truncate(self.column),
                    'J' => {
                        self.rows[self.row].truncate(self.column);
                        return self.rows[self.row + 1..].iter_mut().for_each(Vec::clear);
                    }
                    other => panic!("ESC [ {number} {other}"),
                }
            }
        }
    }

    #[test]
    fn a_block_is_redrawn_in_its_place() {
        let (mut terminal, mut screen) = Terminal::new(20, 10);
        screen.show(&["percent: 1", "peers: 10", "third"]);
        assert_eq!(terminal.sees(), "percent: 1\npeers: 10\nthird");
        screen.show(&["percent: 99", "peers: 2", "third"]);
        assert_eq!(terminal.sees(), "percent: 99\npeers: 2\nthird");
        screen.show(&["done"]);
        assert_eq!(terminal.sees(), "done");
        screen.show(&["a", "b"]);
        assert_eq!(terminal.sees(), "a\nb");
    }

    #[test]
    fn a_line_stays_above_the_block() {
        let (mut terminal, mut screen) = Terminal::new(20, 10);
        screen.line("first");
        screen.show(&["block", "more"]);
        screen.line("second, wider than 20 columns");
        assert_eq!(terminal.sees(), "first\nsecond, wider than 2\n0 columns\nblock\nmore");
        screen.show(&["other"]);
        assert_eq!(terminal.sees(), "first\nsecond, wider than 2\n0 columns\nother");
    }

    #[test]
    fn nothing_is_drawn_beyond_the_terminal() {
        let (mut terminal, mut screen) = Terminal::new(10, 4);
        screen.line("above");
        for n in 0..3 {
            screen.show(&[format!("{n} as wide as it gets").as_str(), "b", "c", "d", "e"]);
            assert_eq!(terminal.sees(), format!("{n} as wide\nb\nc"));
        }
        assert_eq!(terminal.rows.len(), 5, "nothing has scrolled away but the line above");
    }

    #[test]
    fn a_narrower_terminal_has_broken_the_lines_and_is_cleaned_up() {
        let (mut terminal, mut screen) = Terminal::new(20, 10);
        screen.line("stays");
        screen.show(&["0123456789abcdef", "b"]);
        terminal.sees();
        let size = Size { columns: 10, rows: 10 };
        terminal.size = size;
        let tail = terminal.rows[1].split_off(10);
        terminal.rows.insert(2, tail);
        terminal.row += 1;
        screen.resize(size);
        screen.show(&["0123456789abcdef", "c"]);
        assert_eq!(terminal.sees(), "stays\n012345678\nc");
    }

    #[test]
    fn the_smallest_terminal_is_no_trouble() {
        let (mut terminal, mut screen) = Terminal::new(1, 1);
        screen.show(&["abc", "def"]);
        screen.show(&["abc", "def"]);
        assert_eq!(terminal.sees(), "");
    }

    #[test]
    fn what_is_no_terminal_has_no_size() {
        assert_eq!(Size::of(std::fs::File::open("/dev/null").unwrap()), None);
    }

    #[test]
    fn wide_characters_are_cut_whole() {
        assert_eq!(cut("文文文", 6), "文文文");
        assert_eq!(cut("文文文", 5), "文文");
        assert_eq!(cut("文文文", 1), "");
        assert_eq!(cut("e\u{301}e\u{301}", 1), "e\u{301}");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn on_a_pipe_every_block_is_printed_as_it_is() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let mut screen = Screen::new(Box::new(Wire(written.clone())), None);
        screen.show(&["a", "b"]);
        screen.line("stays");
        screen.show(&["c"]);
        assert_eq!(*written.lock().unwrap(), b"a\nb\nstays\nc\n");
    }

    #[test]
    fn control_characters_of_strangers_are_escaped() {
        assert_eq!(printable("plain ünïcode 文"), "plain ünïcode 文");
        assert_eq!(printable("a\nb\tc\x1b[2J\x7f"), "a\\nb\\tc\\x1b[2J\\x7f");
        assert_eq!(printable("a\u{9b}2J\u{202e}b"), "a\\u{9b}2J\\u{202e}b");
    }
}
