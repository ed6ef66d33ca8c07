use super::*;

const ALL: Ways = Ways { colours: true, unicode: true };

fn frame(columns: u16, rows: u16) -> Frame {
    Frame::new(Size { columns, rows })
}

/// What a terminal shows after it was written to: rows of cells, wide characters with a blank
/// behind them, and the styles as their codes.
struct Terminal {
    cells: Vec<Vec<(String, String)>>,
    x: usize,
    y: usize,
    style: String,
    written: usize,
}

impl Terminal {
    fn new(columns: usize, rows: usize) -> Terminal {
        let row = vec![("?".to_owned(), String::new()); columns];
        Terminal { cells: vec![row; rows], x: 0, y: 0, style: "0".into(), written: 0 }
    }

    fn take(&mut self, text: &str) {
        self.written = text.len();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c != '\x1b' {
                self.print(c);
                continue;
            }
            assert_eq!(chars.next(), Some('['));
            let code: String = chars.by_ref().take_while(|c| !c.is_ascii_alphabetic()).collect();
            // `take_while` has eaten the letter: it is known by the code.
            match code.split_once(';') {
                _ if code == "2" => self.cells.iter_mut().flatten().for_each(|cell| {
                    *cell = (" ".into(), "0".into());
                }),
                Some((y, x)) if text_is_move(text, chars.as_str()) => {
                    (self.y, self.x) =
                        (y.parse::<usize>().unwrap() - 1, x.parse::<usize>().unwrap() - 1);
                }
                _ => self.style = code,
            }
        }
    }

    fn print(&mut self, c: char) {
        assert!(!c.is_control());
        match c.width().unwrap() {
            0 => self.cells[self.y][self.x - 1].0.push(c),
            columns => {
                assert!(self.x + columns <= self.cells[0].len(), "beyond the last column");
                for n in 0..columns {
                    let text = if n == 0 { c.to_string() } else { String::new() };
                    self.cells[self.y][self.x + n] = (text, self.style.clone());
                }
                self.x += columns;
            }
        }
    }

    fn rows(&self) -> Vec<String> {
        let text = |row: &Vec<(String, String)>| {
            row.iter().map(|cell| cell.0.as_str()).collect::<String>().trim_end().to_owned()
        };
        self.cells.iter().map(text).collect()
    }
}

/// Whether the sequence that ends before `rest` moves the cursor.
fn text_is_move(all: &str, rest: &str) -> bool {
    all[..all.len() - rest.len()].ends_with('H')
}

#[test]
fn text_is_cut_at_the_end_of_its_area_and_wide_characters_are_whole() {
    let mut frame = frame(8, 3);
    let all = frame.area();
    let rest = frame.text(all.row(0).after(1).first(4), "文文文", Style::PLAIN);
    assert_eq!((rest.x, rest.width), (5, 0));
    frame.fit(all.row(1), "a long name", Style::PLAIN);
    frame.fit(all.row(2).first(6), "文文文文", Style::PLAIN);
    assert_eq!(frame.rows(), [" 文文", "a long …", "文文…"]);
    frame.fill(all, ' ', Style::PLAIN);
    frame.fit_end(all.row(0), "/a/path/to", Style::PLAIN);
    frame.fit_end(all.row(1), "文文文文文", Style::PLAIN);
    assert_eq!(frame.rows()[..2], ["…path/to", "…文文文"]);
    frame.fill(all, ' ', Style::PLAIN);
    frame.right(all.row(1), "42 %", Style::PLAIN);
    assert_eq!(frame.rows(), ["", "    42 %", ""]);
    // Over half of a wide character.
    frame.text(all, "文文", Style::PLAIN);
    frame.text(all.after(1).first(2), "ab", Style::PLAIN);
    assert_eq!(frame.rows()[0], " ab");
}

#[test]
fn what_strangers_say_moves_nothing() {
    let mut frame = frame(30, 2);
    let all = frame.area();
    frame.text(all, "a\x1b[2J\nb\u{202e}c\u{200d}\u{fe0f}", Style::PLAIN);
    assert_eq!(frame.rows()[0], "a\\x1b[2J\\nb\\u{202e}c");
    assert_eq!(width("a\nb\u{200d}"), 4);
}

#[test]
fn accents_stand_on_their_letters() {
    let mut frame = frame(6, 2);
    let all = frame.area();
    frame.text(all, "\u{301}e\u{301}\u{302}\u{303}a", Style::PLAIN);
    frame.fit_end(all.row(1), "aaaae\u{301}ee", Style::PLAIN);
    assert_eq!(frame.rows(), ["e\u{301}\u{302}a", "…aae\u{301}ee"]);
}

#[test]
fn nothing_is_drawn_beyond_the_picture() {
    let mut frame = frame(2, 1);
    let far = Area { x: 1, y: 0, width: 9, height: 9 };
    frame.fill(far, 'x', Style::PLAIN);
    frame.fill(Area { x: 5, y: 5, ..far }, 'y', Style::PLAIN);
    assert_eq!(frame.text(Area { y: 3, ..far }, "z", Style::PLAIN).height, 0);
    frame.restyle(far, Style::bold);
    assert_eq!(frame.rows(), [" x"]);
    let mut none = Frame::new(Size { columns: 0, rows: 0 });
    none.text(none.area(), "x", Style::PLAIN);
    assert_eq!(none.changes(None, ALL), "\x1b[0m\x1b[2J");
}

#[test]
fn a_terminal_shows_each_picture_and_little_is_written_for_a_small_change() {
    let styles = [Style::PLAIN, Style::of(Colour::Red), Style::of(Colour::Green).bold().reverse()];
    let glyphs = ["a", "b", " ", "文", "e\u{301}", "█"];
    let mut terminal = Terminal::new(30, 8);
    let mut rng = 1_u32;
    let mut random = |below: usize| {
        rng = rng.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (rng >> 8) as usize % below
    };
    let (mut old, mut now) = (None, frame(30, 8));
    for step in 0..300 {
        for _ in 0..random(6) {
            let area = Area { x: random(30), y: random(8), width: 1 + random(4), height: 1 };
            let style = styles[random(3)];
            now.text(area, &glyphs[random(6)].repeat(1 + random(3)), style);
        }
        terminal.take(&now.changes(old.as_ref(), ALL));
        assert_eq!(terminal.rows(), now.rows(), "step {step}");
        let codes = ["0", "0;31", "0;1;7;32"];
        for (x, cell) in now.cells.iter().enumerate().filter(|(_, cell)| cell.glyph != COVERED) {
            let code = codes[styles.iter().position(|style| *style == cell.style).unwrap()];
            assert_eq!(terminal.cells[x / 30][x % 30].1, code, "step {step}, cell {x}");
        }
        old = Some(now.clone());
    }
    assert_eq!(now.changes(old.as_ref(), ALL), "");
    let all = now.area();
    now.text(all.row(3), "1", Style::PLAIN);
    assert!(now.changes(old.as_ref(), ALL).len() < 40);
}

#[test]
fn a_terminal_without_colours_or_unicode_gets_neither() {
    let mut frame = frame(9, 1);
    let all = frame.area();
    let rest = frame.text(all, "█…─文", Style::of(Colour::Red).bold());
    frame.text(rest, "é!", Style::PLAIN);
    let plain = Ways { colours: false, unicode: false };
    let text = frame.changes(None, plain);
    assert_eq!(text, "\x1b[0m\x1b[2J\x1b[1;1H\x1b[0;1m#~-??\x1b[0m?!");
}
