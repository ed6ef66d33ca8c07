//! The picture of many torrents: the list above, the totals, and messages below.

use super::{By, Item, List};
use crate::app::client::{Figures, Phase};
use crate::cmd::VERSION;
use crate::cmd::fullscreen::draw::{bar, border, rule, sparkline};
use crate::cmd::fullscreen::{help, words};
use crate::io::screen::Size;
use crate::io::screen::frame::{Area, Colour, Frame, Style, width};

const BOLD: Style = Style::PLAIN.bold();
const DIM: Style = Style::PLAIN.dim();
const LABEL: Style = Style::of(Colour::Cyan);

/// With fewer columns or rows there is no border, and no room for messages.
const SMALL: (usize, usize) = (40, 12);

/// Rows of each torrent where there is room, as in the original.
const TALL: usize = 3;

/// Where the parts are.
struct Parts {
    head: Area,
    rows: Area,
    totals: Area,
    messages: Area,
    hints: Area,
}

fn is_small(all: Area) -> bool {
    all.width < SMALL.0 || all.height < SMALL.1
}

fn parts(all: Area) -> Parts {
    if is_small(all) {
        let rows = all.height.saturating_sub(2);
        let (totals, hints) = (all.row(rows), all.row(rows + 1));
        return Parts {
            head: all.above(0),
            rows: all.above(rows),
            totals,
            messages: all.above(0),
            hints,
        };
    }
    let inside = all.inside();
    // A third, but for the line between.
    let messages = inside.height / 3;
    let list = inside.height - messages - 1;
    Parts {
        head: inside.row(0),
        rows: inside.above(list - 1).below(1),
        totals: inside.row(list - 1),
        messages: inside.below(list + 1),
        hints: all.row(all.height - 1).after(2).first(all.width - 4),
    }
}

/// How many torrents can be seen at once, about.
pub(super) fn page(list: &List, size: Size) -> usize {
    let rows = parts(Frame::new(size).area()).rows.height;
    match list.items.len() * TALL <= rows {
        true => rows / TALL,
        false => rows.saturating_sub(TALL - 1),
    }
}

pub(super) fn draw(list: &List, size: Size) -> Frame {
    let mut frame = Frame::new(size);
    let all = frame.area();
    if list.help {
        help::list_help(&mut frame, all);
        return frame;
    }
    let parts = parts(all);
    if !is_small(all) {
        border(&mut frame, all);
        let title = format!(" BitTornado {VERSION} ");
        let rest = frame.text(all.row(0).after(2), &title, BOLD);
        let port = format!(" port {} ", list.port);
        let rest = Area { width: rest.width.saturating_sub(2), ..rest };
        let rest = frame.right(rest, &port, DIM);
        frame.fit(
            rest.after(1).first(rest.width.saturating_sub(2)),
            &format!(" {} ", list.folder.display()),
            DIM,
        );
        head(&mut frame, parts.head, list);
        let y = parts.messages.y - 1;
        rule(&mut frame, all, y);
        frame.text(all.row(y).after(2), " messages ", LABEL);
        messages(&mut frame, parts.messages, list);
    }
    rows(&mut frame, parts.rows, list);
    totals(&mut frame, parts.totals, list);
    hints(&mut frame, parts.hints, list, !is_small(all));
    frame
}

/// The columns behind the name, with their widths.
fn columns(room: usize) -> &'static [(&'static str, usize)] {
    match room {
        100.. => &[
            ("Size", 10),
            ("Done", 8),
            ("Status", 24),
            ("Download", 12),
            ("Upload", 12),
            ("Peers", 9),
        ],
        64.. => &[("Size", 10), ("Done", 8), ("Download", 12), ("Upload", 12)],
        44.. => &[("Done", 8), ("Download", 12)],
        _ => &[("Done", 8)],
    }
}

/// `# ` and the number.
const NUMBER: usize = 4;

fn head(frame: &mut Frame, area: Area, list: &List) {
    let mut rest = area;
    for (title, width) in columns(area.width).iter().rev() {
        let cell = rest.last(*width);
        rest = rest.first(rest.width.saturating_sub(*width));
        let is_sorted = list.by.title() == title.to_lowercase();
        let style = if is_sorted { LABEL.bold() } else { LABEL };
        match *title {
            "Status" => _ = frame.text(cell.after(2), title, style),
            _ => _ = frame.right(cell, &format!("{title} "), style),
        };
    }
    let rest = frame.text(rest, "  #", LABEL);
    let style = if list.by == By::Name { LABEL.bold() } else { LABEL };
    let rest = frame.text(rest.after(1), "Filename", style);
    let order = match (list.by, list.reversed) {
        (By::Added, false) => String::new(),
        (by, false) => format!("  by {}", by.title()),
        (by, true) => format!("  by {}, reversed", by.title()),
    };
    frame.fit(rest, &order, DIM);
}

fn rows(frame: &mut Frame, area: Area, list: &List) {
    let shown = list.shown();
    let Some((at, _)) = list.place() else {
        let text = match list.items.is_empty() {
            true => "no torrents".into(),
            false => format!("no torrent has '{}' in its name", list.filter),
        };
        frame.fit(area.row(0).after(1), &text, DIM);
        return;
    };
    // Where not all have room for their three rows, only the chosen one has.
    let tall = shown.len() * TALL <= area.height;
    let extra = if !tall && area.height > 2 * TALL { TALL - 1 } else { 0 };
    let fit = if tall { area.height / TALL } else { area.height.saturating_sub(extra) };
    let first = at.saturating_sub(fit / 2).min(shown.len().saturating_sub(fit));
    let mut y = 0;
    for (n, id) in shown.iter().enumerate().skip(first) {
        let Some(item) = list.items.get(id) else { continue };
        if y >= area.height {
            break;
        }
        row(frame, area.row(y), (n, item), n == at);
        y += 1;
        if tall || n == at && extra > 0 {
            more(frame, area.below(y).above(TALL - 1), item);
            y += TALL - 1;
        }
    }
}

fn row(frame: &mut Frame, area: Area, (n, item): (usize, &Item), chosen: bool) {
    let figures = item.view.figures.as_ref();
    let status = figures.and_then(|figures| figures.status.as_ref());
    let style = match figures.map(|figures| figures.phase) {
        Some(Phase::Seeding) => Style::of(Colour::Green),
        Some(Phase::Waiting) => Style::of(Colour::Red),
        Some(Phase::Paused) => Style::of(Colour::Yellow),
        Some(Phase::Queued) | None => DIM,
        _ => Style::PLAIN,
    };
    let mut rest = area;
    for (title, width) in columns(area.width).iter().rev() {
        let cell = rest.last(*width);
        rest = rest.first(rest.width.saturating_sub(*width));
        let text = match *title {
            "Size" if item.view.size > 0 => words::bytes(item.view.size),
            "Size" => String::new(),
            "Done" => words::percent(figures.map_or(0.0, words::done)),
            "Download" => words::rate(status.map_or(0.0, |s| s.download_rate)),
            "Upload" => words::rate(status.map_or(0.0, |s| s.upload_rate)),
            "Peers" => status.map_or(String::new(), |s| format!("{}/{}", s.seeds, s.peers)),
            _ => {
                let doing = figures.map(doing).unwrap_or_default();
                frame.fit(cell.after(2), &doing, style);
                continue;
            }
        };
        frame.right(cell, &format!("{text} "), style);
    }
    let rest = frame.text(rest, &format!("{:>3} ", n + 1), style);
    frame.fit(rest.first(rest.width.saturating_sub(1)), &item.title, style.bold());
    if chosen {
        frame.restyle(area, Style::reverse);
    }
}

/// What it is doing: `seeding`, `ETA in 0:00:27`.
fn doing(figures: &Figures) -> String {
    match figures.phase {
        Phase::Seeding => "seeding".into(),
        _ => match (words::short_activity(figures), words::is_timed(figures)) {
            (span, true) => format!("ETA in {span}"),
            (doing, false) => doing,
        },
    }
}

/// What the original has below the name: how it goes, and the last message.
fn more(frame: &mut Frame, area: Area, item: &Item) {
    let area = area.after(NUMBER);
    if let Some(figures) = &item.view.figures {
        let part = words::percent(words::done(figures));
        let mut text = format!("({part}) {}", doing(figures));
        if let Some(s) = &figures.status {
            let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1_048_576.0);
            text += &format!(" - {} up {} dn", mb(s.uploaded), mb(s.downloaded));
            let copies = s.distributed_copies;
            text += &format!(" - {} peers {} seeds {copies:.3} dist copies", s.peers, s.seeds);
        }
        let wide = area.width > 90;
        let rest = if wide { area.row(0).after(22) } else { area.row(0) };
        if wide {
            bar(frame, area.row(0).first(20), words::done(figures), Style::PLAIN);
        }
        frame.fit(rest, &text, Style::PLAIN);
    }
    if let Some(notice) = item.view.notices.back() {
        frame.fit(area.row(1), &notice.text, Style::of(Colour::Yellow));
    }
}

fn totals(frame: &mut Frame, area: Area, list: &List) {
    let (count, seeding, down, up) = list.totals();
    let (short_down, short_up) = (words::short_rate(down), words::short_rate(up));
    let (down, up) = (words::rate(down), words::rate(up));
    let text = match area.width {
        56.. => format!(" Totals: {count} torrents, {seeding} seeding, {down} down, {up} up"),
        _ => format!("{count}: ↓ {short_down} ↑ {short_up}"),
    };
    let rest = frame.fit(area, &text, BOLD);
    let half = rest.width.saturating_sub(3) / 2;
    if half >= 8 {
        let right = rest.last(half * 2 + 2);
        sparkline(frame, right.first(half), &list.rates, |(down, _)| *down, Colour::Green);
        let right = right.after(half + 1).first(half);
        sparkline(frame, right, &list.rates, |(_, up)| *up, Colour::Blue);
    }
}

/// The newest at the bottom.
fn messages(frame: &mut Frame, area: Area, list: &List) {
    let shown = list.notices.len().min(area.height);
    let newest = list.notices.iter().skip(list.notices.len() - shown);
    for (n, notice) in newest.enumerate() {
        let row = area.row(n).after(1).first(area.width.saturating_sub(2));
        let rest = match area.width {
            70.. => frame.text(row, &format!("{} - ", notice.time), DIM),
            _ => row,
        };
        let style = if notice.is_trouble { Style::of(Colour::Yellow) } else { Style::PLAIN };
        frame.fit(rest, &notice.text, style);
    }
}

fn hints(frame: &mut Frame, area: Area, list: &List, bordered: bool) {
    let question = Style::of(Colour::Yellow).bold().reverse();
    if list.asks_recheck {
        frame.text(area, " check all data of this torrent again? (y/n) ", question);
        return;
    }
    if list.typing {
        frame.text(area, &format!(" show those with: {}_ ", list.filter), question);
        return;
    }
    let mut rest = area;
    if !list.filter.is_empty() {
        rest = frame.text(rest, &format!(" /{} ", list.filter), question);
    }
    let keys = [
        ("q", "quit"),
        ("?", "help"),
        ("Enter", "details"),
        ("p", "pause"),
        ("o", "order"),
        ("/", "filter"),
        ("r", "recheck"),
        ("s", "scan"),
    ];
    for (key, what) in keys {
        if width(key) + width(what) + 4 > rest.width {
            break;
        }
        rest = frame.text(rest, &format!(" {key}"), BOLD);
        rest = frame.text(rest, &format!(" {what} "), Style::PLAIN);
        rest = frame.text(rest, if bordered { "─" } else { "" }, DIM);
    }
}
