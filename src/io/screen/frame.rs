//! A picture for a whole terminal, cell by cell, and what must be written to turn one picture into
//! the next.
//!
//! Drawing is plain arithmetic: no terminal is needed, and a test can read what a user would see.
//! Text of strangers is made harmless by whatever is drawn here. A character takes the columns
//! that `unicode-width` says; what joins or varies characters is left out, since terminals
//! disagree about it.

use super::{Size, printable};
use std::fmt::Write as _;
use unicode_width::UnicodeWidthChar;

/// The colours that every terminal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Colour {
    /// That of the terminal.
    #[default]
    Plain,
    /// Red.
    Red,
    /// Green.
    Green,
    /// Yellow.
    Yellow,
    /// Blue.
    Blue,
    /// Magenta.
    Magenta,
    /// Cyan.
    Cyan,
}

/// How text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    /// Its colour, where the terminal shows colours.
    pub colour: Colour,
    /// Brighter or thicker.
    pub bold: bool,
    /// Less bright.
    pub dim: bool,
    /// Text and ground change places.
    pub reverse: bool,
}

impl Style {
    /// Text as it is.
    pub const PLAIN: Style = Style::of(Colour::Plain);

    /// Text of a colour.
    pub const fn of(colour: Colour) -> Style {
        Style { colour, bold: false, dim: false, reverse: false }
    }

    /// The same, brighter or thicker.
    pub const fn bold(self) -> Style {
        Style { bold: true, ..self }
    }

    /// The same, less bright.
    pub const fn dim(self) -> Style {
        Style { dim: true, ..self }
    }

    /// The same with text and ground exchanged.
    pub const fn reverse(self) -> Style {
        Style { reverse: true, ..self }
    }
}

/// What a terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ways {
    /// Colours.
    pub colours: bool,
    /// Characters beyond ASCII; without, similar ones take their place.
    pub unicode: bool,
}

/// A part of a picture. One that is too small for something shows as much of it as fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// The first column.
    pub x: usize,
    /// The first row.
    pub y: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Area {
    /// One of its rows, counted from 0; empty if it has not so many.
    pub fn row(self, n: usize) -> Area {
        Area { y: self.y + n, height: usize::from(n < self.height), ..self }
    }

    /// Without so many rows at the top.
    pub fn below(self, rows: usize) -> Area {
        let rows = rows.min(self.height);
        Area { y: self.y + rows, height: self.height - rows, ..self }
    }

    /// So many rows at the top.
    pub fn above(self, rows: usize) -> Area {
        Area { height: rows.min(self.height), ..self }
    }

    /// Without so many columns at the left.
    pub fn after(self, columns: usize) -> Area {
        let columns = columns.min(self.width);
        Area { x: self.x + columns, width: self.width - columns, ..self }
    }

    /// So many columns at the left.
    pub fn first(self, columns: usize) -> Area {
        Area { width: columns.min(self.width), ..self }
    }

    /// So many columns at the right.
    pub fn last(self, columns: usize) -> Area {
        self.after(self.width.saturating_sub(columns))
    }

    /// Without a border of a cell all around.
    pub fn inside(self) -> Area {
        Area {
            x: self.x + 1,
            y: self.y + 1,
            width: self.width.saturating_sub(2),
            height: self.height.saturating_sub(2),
        }
    }
}

/// Marks that stand on one character at most.
const MARKS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    /// `COVERED` where the character before takes this column too.
    glyph: char,
    marks: [char; MARKS],
    style: Style,
}

const COVERED: char = '\0';
const BLANK: Cell = Cell { glyph: ' ', marks: [COVERED; MARKS], style: Style::PLAIN };

/// No picture is larger: a terminal that says so is wrong, and takes memory.
const MAX_SIDE: u16 = 1000;

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    width: usize,
    height: usize,
    cells: Vec<Cell>,
}

impl Frame {
    /// An empty picture.
    pub fn new(size: Size) -> Frame {
        let side = |length: u16| usize::from(length.min(MAX_SIDE));
        let (width, height) = (side(size.columns), side(size.rows));
        Frame { width, height, cells: vec![BLANK; width * height] }
    }

    /// All of it.
    pub fn area(&self) -> Area {
        Area { x: 0, y: 0, width: self.width, height: self.height }
    }

    /// Draws text into the first row of an area, as far as it fits. Gives back what is left of
    /// that row.
    pub fn text(&mut self, area: Area, text: &str, style: Style) -> Area {
        let mut rest = self.within(area);
        for c in printable(text).chars() {
            let columns = c.width().unwrap_or(0);
            if columns > rest.width || rest.height == 0 {
                break;
            }
            match columns {
                0 => self.mark(area.x, rest, c),
                _ => self.set(rest, c, columns, style),
            }
            rest = rest.after(columns);
        }
        Area { height: rest.height.min(1), ..rest }
    }

    /// As [`text`](Self::text), but text that is too long ends with an ellipsis.
    pub fn fit(&mut self, area: Area, text: &str, style: Style) -> Area {
        let columns = width(text);
        if columns <= area.width || area.width == 0 {
            return self.text(area, text, style);
        }
        let cut = self.text(area.first(area.width - 1), text, style);
        let end = Area { x: cut.x, width: area.x + area.width - cut.x, ..cut };
        self.text(end, "…", style)
    }

    /// As [`text`](Self::text), but of text that is too long the end is shown, behind an ellipsis:
    /// for paths.
    pub fn fit_end(&mut self, area: Area, text: &str, style: Style) -> Area {
        let columns = width(text);
        if columns <= area.width || area.width == 0 {
            return self.text(area, text, style);
        }
        let text = printable(text);
        let mut over = columns + 1 - area.width;
        let mut chars = text.chars();
        // A mark does not stand without its character.
        let is_more = |over: usize, rest: &str| {
            over > 0 || rest.chars().next().is_some_and(|c| c.width() == Some(0))
        };
        while is_more(over, chars.as_str()) {
            let Some(c) = chars.next() else { break };
            over = over.saturating_sub(c.width().unwrap_or(0));
        }
        let rest = self.text(area, "…", style);
        self.text(rest, chars.as_str(), style)
    }

    /// Draws text at the right end of the first row of an area. Gives back what is left before it.
    pub fn right(&mut self, area: Area, text: &str, style: Style) -> Area {
        let columns = width(text).min(area.width);
        self.text(area.last(columns), text, style);
        Area { height: area.height.min(1), ..area.first(area.width - columns) }
    }

    /// Fills an area.
    pub fn fill(&mut self, area: Area, glyph: char, style: Style) {
        let area = self.within(area);
        let line: String = std::iter::repeat_n(glyph, area.width).collect();
        for n in 0..area.height {
            self.text(area.row(n), &line, style);
        }
    }

    /// Changes how an area looks, and not what it says.
    pub fn restyle(&mut self, area: Area, change: impl Fn(Style) -> Style) {
        let area = self.within(area);
        for y in area.y..area.y + area.height {
            for x in area.x..area.x + area.width {
                let cell = &mut self.cells[y * self.width + x];
                cell.style = change(cell.style);
            }
        }
    }

    /// What is seen, row by row, without the blanks at the ends.
    pub fn rows(&self) -> Vec<String> {
        let rows = self.cells.chunks(self.width.max(1));
        let text = |row: &[Cell]| {
            let mut text = String::new();
            row.iter().for_each(|cell| cell.push(&mut text));
            text.trim_end().to_owned()
        };
        rows.map(text).collect()
    }

    /// What must be written to a terminal that shows `old`, or anything if that is of another size
    /// or is none, to have it show this.
    pub fn changes(&self, old: Option<&Frame>, ways: Ways) -> String {
        let old = old.filter(|old| (old.width, old.height) == (self.width, self.height));
        let mut pen = Pen { text: String::new(), at: None, style: None, ways };
        if old.is_none() {
            pen.text.push_str("\x1b[0m\x1b[2J");
        }
        let blank = vec![BLANK; self.width];
        for (y, row) in self.cells.chunks(self.width.max(1)).enumerate() {
            let before = old.map_or(&blank[..], |old| &old.cells[y * self.width..][..self.width]);
            pen.row(y, row, before);
        }
        if pen.style.is_some_and(|style| style != Style::PLAIN) {
            pen.text.push_str("\x1b[0m");
        }
        pen.text
    }

    fn within(&self, area: Area) -> Area {
        let (x, y) = (area.x.min(self.width), area.y.min(self.height));
        let (width, height) = (area.width.min(self.width - x), area.height.min(self.height - y));
        Area { x, y, width, height }
    }

    fn set(&mut self, at: Area, glyph: char, columns: usize, style: Style) {
        let first = at.y * self.width + at.x;
        // Half of a wide character is nothing.
        if self.cells[first].glyph == COVERED && at.x > 0 {
            self.cells[first - 1].glyph = ' ';
        }
        let end = first + columns;
        if at.x + columns < self.width && self.cells[end].glyph == COVERED {
            self.cells[end] = BLANK;
        }
        for (n, cell) in self.cells[first..end].iter_mut().enumerate() {
            *cell = Cell { glyph: if n == 0 { glyph } else { COVERED }, style, ..BLANK };
        }
    }

    /// Puts a mark on the character before, if there is one from `start` on.
    fn mark(&mut self, start: usize, at: Area, mark: char) {
        if at.x == start || joins(mark) {
            return;
        }
        let row = at.y * self.width;
        let mut x = at.x - 1;
        while x > start && self.cells[row + x].glyph == COVERED {
            x -= 1;
        }
        let free = self.cells[row + x].marks.iter_mut().find(|place| **place == COVERED);
        free.into_iter().for_each(|place| *place = mark);
    }
}

/// Columns that text takes.
pub fn width(text: &str) -> usize {
    printable(text).chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// Of no width, and no mark on the character before: terminals disagree about what these do.
fn joins(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

impl Cell {
    fn push(&self, text: &mut String) {
        if self.glyph != COVERED {
            text.push(self.glyph);
            text.extend(self.marks.iter().filter(|mark| **mark != COVERED));
        }
    }

    /// Whether terminals may disagree about how far it moves the cursor.
    fn is_tricky(&self) -> bool {
        self.glyph != COVERED && (self.marks[0] != COVERED || self.glyph.width() != Some(1))
    }
}

/// Writes for a terminal, and knows what that has heard so far.
struct Pen {
    text: String,
    /// Where the cursor is, if that is certain.
    at: Option<(usize, usize)>,
    style: Option<Style>,
    ways: Ways,
}

/// To write so many cells again is no longer than to move the cursor over them.
const GAP: usize = 5;

impl Pen {
    /// Writes what differs in a row.
    fn row(&mut self, y: usize, row: &[Cell], before: &[Cell]) {
        let differs = |x: &usize| row[*x] != before[*x];
        // Of a character over two columns either both are written or none.
        let starts = |x: usize| (0..=x).rev().find(|x| row[*x].glyph != COVERED).unwrap_or(0);
        let mut x = 0;
        while let Some(next) = (x..row.len()).find(|x| differs(x)) {
            let mut end = next + 1;
            while let Some(more) = (end..row.len().min(end + GAP)).find(|x| differs(x)) {
                end = more + 1;
            }
            while end < row.len() && row[end].glyph == COVERED {
                end += 1;
            }
            let start = starts(next);
            (start..end).zip(&row[start..end]).for_each(|(at, cell)| self.cell(at, y, cell));
            x = end;
        }
    }

    fn cell(&mut self, x: usize, y: usize, cell: &Cell) {
        if cell.glyph == COVERED {
            return;
        }
        if self.at != Some((x, y)) {
            let _ = write!(self.text, "\x1b[{};{}H", y + 1, x + 1);
        }
        self.wear(cell.style);
        match self.ways.unicode {
            true => cell.push(&mut self.text),
            false => {
                let columns = cell.glyph.width().unwrap_or(1);
                self.text.extend(std::iter::repeat_n(in_ascii(cell.glyph), columns));
            }
        }
        let is_certain = !self.ways.unicode || !cell.is_tricky();
        let columns = if self.ways.unicode { 1 } else { cell.glyph.width().unwrap_or(1) };
        self.at = is_certain.then_some((x + columns, y));
    }

    fn wear(&mut self, style: Style) {
        if self.style == Some(style) {
            return;
        }
        self.style = Some(style);
        self.text.push_str("\x1b[0");
        for (is_set, code) in [(style.bold, ";1"), (style.dim, ";2"), (style.reverse, ";7")] {
            self.text.push_str(if is_set { code } else { "" });
        }
        let colour = match style.colour {
            _ if !self.ways.colours => "",
            Colour::Plain => "",
            Colour::Red => ";31",
            Colour::Green => ";32",
            Colour::Yellow => ";33",
            Colour::Blue => ";34",
            Colour::Magenta => ";35",
            Colour::Cyan => ";36",
        };
        self.text.push_str(colour);
        self.text.push('m');
    }
}

/// What stands for a character where there is ASCII alone.
fn in_ascii(c: char) -> char {
    match c {
        ' '..='~' => c,
        '─' | '━' | '▁' | '·' => '-',
        '│' | '┃' => '|',
        '┌' | '┐' | '└' | '┘' | '├' | '┤' | '┬' | '┴' | '┼' | '╭' | '╮' | '╰' | '╯' => {
            '+'
        }
        '░' | '▂' => '.',
        '▒' | '▃' => ':',
        '▄' => '=',
        '▓' | '▅' => '+',
        '▆' => '*',
        '▇' => '%',
        '█' => '#',
        '▏' | '▎' | '▍' | '▌' | '▋' | '▊' | '▉' => '=',
        '…' => '~',
        '▶' | '▸' | '→' => '>',
        '↓' | '▼' => 'v',
        '↑' | '▲' => '^',
        '•' | '●' | '■' => '*',
        _ => '?',
    }
}

#[cfg(test)]
mod tests;
