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

/// The page of help, in one column of text or, if that is too long, the keys alone.
pub fn help(frame: &mut Frame, all: Area) {
    let area = if is_small(all) { all } else { all.inside().after(1) };
    if !is_small(all) {
        border(frame, all);
        frame.text(all.row(0).after(2), " keys ", Style::PLAIN.bold());
        frame.text(all.row(all.height - 1).after(2), " any key goes back ", Style::PLAIN);
    }
    let key_width = if area.width < 50 { 9 } else { 17 };
    let peers = PEER_KEYS.iter().filter(|_| area.height > KEYS.len() + PEER_KEYS.len() + 2);
    let mut y = 0;
    for (key, what) in KEYS {
        let row = area.row(y);
        frame.fit(row.first(key_width - 1), key, LABEL);
        frame.fit(row.after(key_width), what, Style::PLAIN);
        y += 1;
    }
    for (n, (sign, what)) in peers.enumerate() {
        if n == 0 {
            frame.text(area.row(y + 1), "in the list of peers:", Style::PLAIN);
            y += 2;
        }
        frame.fit(area.row(y).first(key_width - 1), sign, LABEL);
        frame.fit(area.row(y).after(key_width), what, Style::PLAIN);
        y += 1;
    }
}
