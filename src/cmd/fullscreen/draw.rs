//! The picture of one torrent: the fields of BitTornado's screen above, a list below, help in the
//! last row. What is too much for a small terminal is left out, the least important first.

use super::graphs::graphs;
pub(super) use super::graphs::{bar, sparkline};
use super::help::help;
use super::panels;
use super::view::{Prompt, Tab, View};
use super::words;
use crate::cmd::VERSION;
use crate::io::screen::Size;
use crate::io::screen::frame::{Area, Colour, Frame, Style, width};

const LABEL: Style = Style::of(Colour::Cyan);
const BORDER: Style = Style::PLAIN.dim();
const BOLD: Style = Style::PLAIN.bold();

/// With fewer rows or columns there is no border, and what matters most has a few rows.
const SMALL: (usize, usize) = (34, 11);

/// Columns before a field, as in the original.
const LABEL_WIDTH: usize = 10;

/// From so many columns on there is a graph beside the fields, so wide at most.
const GRAPH_FROM: usize = 112;
const GRAPH: usize = 120;

/// From so many rows on the pieces are always shown, in so many rows.
const MAP_FROM: usize = 38;
const MAP: usize = 5;

/// The list below has so many rows at least.
const LEAST_LIST: usize = 3;

/// Where the parts of a picture are.
struct Parts {
    fields: Area,
    map: Area,
    list: Area,
}

pub(super) fn is_small(all: Area) -> bool {
    all.width < SMALL.0 || all.height < SMALL.1
}

/// `with_map`: if there is room for it.
fn parts(all: Area, with_map: bool) -> Parts {
    let inside = all.inside();
    let list = match inside.height {
        rows if rows >= MAP_FROM => LEAST_LIST + MAP + 2,
        _ => LEAST_LIST + 1,
    };
    let fields = FIELDS.min(inside.height.saturating_sub(list));
    let below = inside.below(fields + 1);
    match inside.height >= MAP_FROM && with_map {
        true => Parts {
            fields: inside.above(fields),
            map: below.above(MAP),
            list: below.below(MAP + 1),
        },
        false => Parts { fields: inside.above(fields), map: below.above(0), list: below },
    }
}

/// How many rows of a list can be seen at once.
pub fn page(view: &View, size: Size) -> usize {
    let all = Frame::new(size).area();
    let rows = match is_small(all) {
        true => all.below(SMALL_FIELDS + 1).height,
        false => parts(all, view.tab != Tab::Pieces).list.height,
    };
    match view.tab {
        Tab::Peers => rows.saturating_sub(2),
        _ => rows,
    }
}

/// Draws all of it.
pub fn draw(view: &View, size: Size) -> Frame {
    let mut frame = Frame::new(size);
    let all = frame.area();
    if view.help {
        help(&mut frame, all, view.is_one_of_many);
    } else if is_small(all) {
        small(&mut frame, all, view);
    } else {
        large(&mut frame, all, view);
    }
    frame
}

const FIELDS: usize = 10;

fn large(frame: &mut Frame, all: Area, view: &View) {
    let parts = parts(all, view.tab != Tab::Pieces);
    border(frame, all);
    let title = format!(" BitTornado {VERSION} ");
    frame.text(all.row(0).after(2), &title, BOLD);
    if view.port > 0 {
        frame.right(all.row(0).first(all.width - 2), &format!(" port {} ", view.port), BORDER);
    }
    let graph = match parts.fields.width {
        columns if columns >= GRAPH_FROM => (columns / 2).min(GRAPH),
        _ => 0,
    };
    let text = parts.fields.first(parts.fields.width - graph);
    fields(frame, text, view, graph == 0);
    if graph > 0 {
        let place = parts.fields.last(graph).after(2).first(graph - 3);
        graphs(frame, place, &view.rates);
    }
    let inside = all.inside();
    if parts.map.height > 0 {
        rule(frame, all, parts.map.y - 1);
        let title = Area { y: parts.map.y - 1, height: 1, ..inside };
        frame.text(title.after(1), " pieces ", LABEL);
        panels::pieces(frame, parts.map, view);
    }
    rule(frame, all, parts.list.y - 1);
    tabs(frame, Area { y: parts.list.y - 1, height: 1, ..inside }.after(1), view);
    list(frame, parts.list, view);
    let last = all.row(all.height - 1).after(2).first(all.width - 4);
    hints(frame, last, view, true);
}

pub(super) fn border(frame: &mut Frame, all: Area) {
    for (y, ends) in [(0, ["┌", "┐"]), (all.height - 1, ["└", "┘"])] {
        frame.fill(all.row(y), '─', BORDER);
        frame.text(all.row(y), ends[0], BORDER);
        frame.text(all.row(y).last(1), ends[1], BORDER);
    }
    for y in 1..all.height - 1 {
        frame.text(all.row(y), "│", BORDER);
        frame.text(all.row(y).last(1), "│", BORDER);
    }
}

/// A line from border to border.
pub(super) fn rule(frame: &mut Frame, all: Area, y: usize) {
    frame.fill(all.row(y), '─', BORDER);
    frame.text(all.row(y), "├", BORDER);
    frame.text(all.row(y).last(1), "┤", BORDER);
}

/// The rows of the original. Where there are not enough for all, the last ones that are said here
/// go first.
fn fields(frame: &mut Frame, area: Area, view: &View, sparks: bool) {
    const LEAST_FIRST: [&str; FIELDS] = [
        "dest:",
        "size:",
        "sharing:",
        "peers:",
        "seeds:",
        "ul speed:",
        "file:",
        "progress:",
        "dl speed:",
        "status:",
    ];
    let left_out = &LEAST_FIRST[..FIELDS.saturating_sub(area.height)];
    let all = [
        "file:",
        "size:",
        "dest:",
        "progress:",
        "status:",
        "dl speed:",
        "ul speed:",
        "sharing:",
        "seeds:",
        "peers:",
    ];
    let shown = all.iter().filter(|label| !left_out.contains(label));
    for (n, label) in shown.enumerate() {
        let row = area.row(n).after(1);
        frame.text(row, label, LABEL);
        field(
            frame,
            row.after(LABEL_WIDTH).first(row.width.saturating_sub(LABEL_WIDTH + 1)),
            view,
            label,
        );
        if sparks {
            let spark =
                row.after(LABEL_WIDTH + 30).first(row.width.saturating_sub(LABEL_WIDTH + 31));
            match *label {
                "dl speed:" => {
                    sparkline(frame, spark, &view.rates, |(down, _)| *down, Colour::Green)
                }
                "ul speed:" => sparkline(frame, spark, &view.rates, |(_, up)| *up, Colour::Blue),
                _ => {}
            }
        }
    }
}

fn field(frame: &mut Frame, area: Area, view: &View, label: &str) {
    let room = area.width;
    let status = view.figures.as_ref().and_then(|figures| figures.status.as_ref());
    let text = match label {
        "file:" => {
            frame.fit(area, &view.name, BOLD);
            return;
        }
        "dest:" => {
            frame.fit_end(area, &view.target, Style::PLAIN);
            return;
        }
        "progress:" => return progress(frame, area, view),
        "status:" => {
            frame.fit(area, &activity(view), state_style(view));
            return;
        }
        "size:" if view.size > 0 => words::bytes(view.size),
        "size:" => String::new(),
        "dl speed:" => speed(status.map_or(0.0, |s| s.download_rate), view.limits.1),
        "ul speed:" => speed(status.map_or(0.0, |s| s.upload_rate), view.limits.0),
        "sharing:" => status.map(|s| words::sharing(s, room)).unwrap_or_default(),
        "seeds:" => status.map(|s| words::seeds(s, room)).unwrap_or_default(),
        _ => status.map(|s| words::peers(s, room)).unwrap_or_default(),
    };
    frame.fit(area, &text, Style::PLAIN);
}

fn speed(rate: f64, limit: Option<u64>) -> String {
    let limit = words::limit(limit);
    format!("{:<13}{limit}", words::rate(rate)).trim_end().to_owned()
}

fn activity(view: &View) -> String {
    match (&view.figures, view.joining) {
        (Some(figures), _) => words::activity(figures),
        (None, Some(1)) => "fetching metadata from 1 peer".into(),
        (None, Some(peers)) => format!("fetching metadata from {peers} peers"),
        (None, None) => "starting".into(),
    }
}

fn state_style(view: &View) -> Style {
    use crate::app::client::Phase;
    let colour = match view.figures.as_ref().map(|figures| figures.phase) {
        Some(Phase::Seeding) => Colour::Green,
        Some(Phase::Waiting) => Colour::Red,
        Some(Phase::Paused | Phase::Stopping) => Colour::Yellow,
        _ => Colour::Plain,
    };
    Style::of(colour).bold()
}

/// A bar, to an eighth of a column.
fn progress(frame: &mut Frame, area: Area, view: &View) {
    let done = view.figures.as_ref().map_or(0.0, words::done);
    bar(frame, area, done, state_style(view));
}

fn tabs(frame: &mut Frame, area: Area, view: &View) {
    let mut rest = area;
    for (n, tab) in (1..).zip(Tab::ALL) {
        let count = match tab {
            Tab::Peers if !view.peers.is_empty() && view.tab == tab => view.peers.len(),
            Tab::Files => view.shown_files().len(),
            Tab::Messages => view.notices.len(),
            _ => 0,
        };
        let title = match count {
            0 => format!(" {n} {} ", tab.title()),
            _ => format!(" {n} {} ({count}) ", tab.title()),
        };
        // Where there is little room, only the one that is shown has its name.
        let title = if rest.width < 16 && tab != view.tab { format!(" {n} ") } else { title };
        let style = if tab == view.tab { BOLD.reverse() } else { Style::PLAIN };
        rest = frame.text(rest, &title, style);
        rest = frame.text(rest, "─", BORDER);
    }
}

fn list(frame: &mut Frame, area: Area, view: &View) {
    match view.tab {
        Tab::Messages => panels::messages(frame, area, view),
        Tab::Peers => panels::peers(frame, area, view),
        Tab::Files => panels::files(frame, area, view),
        Tab::Pieces => panels::pieces(frame, area, view),
    }
}

/// The last row: a question, or what keys there are.
fn hints(frame: &mut Frame, area: Area, view: &View, bordered: bool) {
    if let Some(prompt) = &view.prompt {
        let text = match prompt {
            Prompt::Recheck => " check all data again? (y/n) ".into(),
            Prompt::Upload(digits) => format!(" upload limit in kB/s (0: none): {digits}_ "),
            Prompt::Download(digits) => format!(" download limit in kB/s (0: none): {digits}_ "),
        };
        frame.text(area, &text, Style::of(Colour::Yellow).bold().reverse());
        return;
    }
    let pause = if view.is_paused() { "go on" } else { "pause" };
    let files = view.tab == Tab::Files;
    let leave = if view.is_one_of_many { ("Esc", "back") } else { ("q", "quit") };
    let mut keys = vec![leave, ("?", "help"), ("Tab", "view"), ("p", pause)];
    keys.extend(files.then_some([("+ -", "priority"), ("Space", "skip")]).into_iter().flatten());
    if !view.is_one_of_many {
        keys.extend([("u", "ul limit"), ("d", "dl limit")]);
    }
    keys.push(("r", "recheck"));
    let mut rest = area;
    for (key, what) in keys {
        if width(key) + width(what) + 4 > rest.width {
            break;
        }
        rest = frame.text(rest, &format!(" {key}"), BOLD);
        rest = frame.text(rest, &format!(" {what} "), Style::PLAIN);
        // Where there is a border, it goes on.
        rest = frame.text(rest, if bordered { "─" } else { "" }, BORDER);
    }
}

const SMALL_FIELDS: usize = 5;

/// For terminals of a few rows or columns.
fn small(frame: &mut Frame, all: Area, view: &View) {
    let status = view.figures.as_ref().and_then(|figures| figures.status.as_ref());
    let last = all.row(all.height.saturating_sub(1));
    let body = all.above(all.height.saturating_sub(1));
    frame.fit(body.row(0), &view.name, BOLD);
    let done = words::percent(view.figures.as_ref().map_or(0.0, words::done));
    let rest = frame.right(body.row(1), &format!(" {done}"), Style::PLAIN);
    progress(frame, rest, view);
    let doing = match &view.figures {
        Some(figures) => words::short_activity(figures),
        None => activity(view),
    };
    frame.fit(body.row(2), &doing, state_style(view));
    let rates = status.map_or((0.0, 0.0), |s| (s.download_rate, s.upload_rate));
    let rates = (words::short_rate(rates.0), words::short_rate(rates.1));
    frame.fit(body.row(3), &format!("↓ {} ↑ {}", rates.0, rates.1), Style::PLAIN);
    let (seeds, peers) = status.map_or((0, 0), |s| (s.seeds, s.peers));
    frame.fit(body.row(4), &format!("seeds {seeds}, peers {peers}"), Style::PLAIN);
    let list_area = body.below(SMALL_FIELDS);
    list_row(frame, list_area, view);
    match (&view.prompt, view.notices.back()) {
        (None, Some(notice))
            if list_area.height < 2 && view.tab == Tab::Messages && all.width >= 30 =>
        {
            let rest = frame.text(last, "?", BOLD);
            frame.fit(rest.after(1), &notice.text, Style::of(Colour::Yellow));
        }
        _ => hints(frame, last, view, false),
    }
}

/// The list of a small terminal, with its name above it.
fn list_row(frame: &mut Frame, area: Area, view: &View) {
    if area.height >= 2 {
        tabs(frame, area.row(0), view);
        list(frame, area.below(1), view);
    }
}

#[cfg(test)]
mod tests;
