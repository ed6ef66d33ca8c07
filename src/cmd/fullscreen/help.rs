//! The page that explains the keys.

use super::draw::{border, is_small};
use crate::io::screen::frame::{Area, Colour, Frame, Style};

const LABEL: Style = Style::of(Colour::Cyan).bold();

/// Keys and what they do.
const KEYS: &[(&str, &str)] = &[
    ("q, Q", "stop sharing, and end; a second time at once"),
    ("Tab, 1-4", "the next view; messages, peers, files, pieces"),
    ("Up, Down, j, k", "scroll, or choose a file"),
    ("PgUp, PgDn", "scroll by a page"),
    ("Home, End", "go to the first, to the last"),
    ("p", "pause, and go on: nobody is served, nothing asked"),
    ("u, d", "limit upload, download, in kB/s; 0 for no limit"),
    ("r", "check all data again, while the rest goes on"),
    ("+, -", "of files: fetch it sooner, later or not at all"),
    ("Space", "of files: fetch it, or not"),
    ("Ctrl-L", "draw the screen anew"),
    ("Ctrl-Z", "stop the program for a while"),
    ("?, h", "this page; any key leaves it"),
];

const PEER_KEYS: &[(&str, &str)] = &[
    ("L R", "we connected to it, or it to us; + is encrypted"),
    ("I C S", "interested, choked, snubbed"),
    ("*", "first in turn for the optimistic slot"),
];

/// Of these a torrent that is one of many has others.
const ALONE: [&str; 2] = ["q, Q", "u, d"];

const LIST_KEYS: &[(&str, &str)] = &[
    ("q, Q", "stop sharing, and end; a second time at once"),
    ("Up, Down, j, k", "choose a torrent; PgUp, PgDn, Home, End go further"),
    ("Enter, Right", "its own screen, with peers, files and pieces"),
    ("Esc, q", "back from there"),
    ("p", "pause the chosen one, or have it go on"),
    ("r", "check all its data again, while the rest goes on"),
    ("o, O", "sort by something else; the other way round"),
    ("/", "show those alone with a word in their names; Esc: all"),
    ("s", "look through the folder at once"),
    ("Ctrl-L", "draw the screen anew"),
    ("Ctrl-Z", "stop the program for a while"),
    ("?, h", "this page; any key leaves it"),
];

/// The page for one torrent, which may be one of many.
pub fn help(frame: &mut Frame, all: Area, is_one_of_many: bool) {
    let own = KEYS.iter().filter(|(key, _)| !is_one_of_many || !ALONE.contains(key));
    let back = is_one_of_many.then_some(&("Esc, q", "back to the list"));
    let keys: Vec<_> = back.into_iter().chain(own).collect();
    let (area, y) = page(frame, all, &keys);
    if area.height <= y + PEER_KEYS.len() + 1 {
        return;
    }
    frame.text(area.row(y + 1), "in the list of peers:", Style::PLAIN);
    PEER_KEYS.iter().zip(y + 2..).for_each(|(sign, y)| explain(frame, area.row(y), sign));
}

/// The page for the list.
pub fn list_help(frame: &mut Frame, all: Area) {
    page(frame, all, &LIST_KEYS.iter().collect::<Vec<_>>());
}

/// Where it is, and its first row that is free.
fn page(frame: &mut Frame, all: Area, keys: &[&(&str, &str)]) -> (Area, usize) {
    let area = if is_small(all) { all } else { all.inside().after(1) };
    if !is_small(all) {
        border(frame, all);
        frame.text(all.row(0).after(2), " keys ", Style::PLAIN.bold());
        frame.text(all.row(all.height - 1).after(2), " any key goes back ", Style::PLAIN);
    }
    keys.iter().enumerate().for_each(|(n, key)| explain(frame, area.row(n), key));
    (area, keys.len())
}

fn explain(frame: &mut Frame, row: Area, (key, what): &(&str, &str)) {
    let width = if row.width < 50 { 9 } else { 17 };
    frame.fit(row.first(width - 1), key, LABEL);
    frame.fit(row.after(width), what, Style::PLAIN);
}
