//! The lists below the fields: messages, peers, files, pieces.

use super::view::{Notice, View};
use super::words;
use crate::app::client::{PeerStatus, PieceStatus, Priority, WebSeedStatus};
use crate::io::screen::frame::{Area, Colour, Frame, Style, width};

const BOLD: Style = Style::PLAIN.bold();
const DIM: Style = Style::PLAIN.dim();

/// A row of a message.
struct Row<'a> {
    /// On the first row, if there is room for it.
    time: Option<&'a str>,
    /// Columns before the text.
    indent: usize,
    text: String,
}

/// What was told, the newest at the bottom.
pub fn messages(frame: &mut Frame, area: Area, view: &View) {
    if view.notices.is_empty() {
        frame.fit(area.row(0).after(1), "nothing to tell so far", DIM);
        return;
    }
    let newest = view.notices.iter().rev().skip(view.scroll);
    // From the bottom up, until there is no room.
    let mut rows: Vec<Row<'_>> = Vec::new();
    for notice in newest {
        let lines = lines(notice, area.width);
        if rows.len() + lines.len() > area.height && !rows.is_empty() {
            break;
        }
        rows.extend(lines.into_iter().rev());
    }
    rows.truncate(area.height);
    for (n, Row { time, indent, text }) in rows.iter().rev().enumerate() {
        let row = area.row(n).after(1);
        if let Some(time) = time {
            frame.text(row, &format!("[{time}]"), DIM);
        }
        frame.text(row.after(*indent), text, Style::PLAIN);
    }
}

/// A message as rows, the first with its time, unless that would take a third of them.
fn lines(notice: &Notice, columns: usize) -> Vec<Row<'_>> {
    let before = width(&notice.time) + "[] ".len();
    let is_timed = columns >= 3 * before;
    let indent = if is_timed { before } else { 1 };
    let room = columns.saturating_sub(indent + 2).max(1);
    let mut rows = vec![String::new()];
    for word in notice.text.split_whitespace() {
        let last = rows.last_mut().expect("there is one always");
        let space = usize::from(!last.is_empty());
        if width(last) + space + width(word) <= room {
            last.push_str(if space > 0 { " " } else { "" });
            last.push_str(word);
        } else if last.is_empty() {
            last.push_str(word);
        } else {
            rows.push(word.to_owned());
        }
    }
    let time = |n| (n == 0 && is_timed).then_some(notice.time.as_str());
    let row = |(n, text)| Row { time: time(n), indent, text };
    rows.into_iter().enumerate().map(row).collect()
}

/// A column of the table of peers: its title, its width, and whether it stands at the right end.
struct Column {
    title: &'static str,
    width: usize,
    cell: fn(&PeerStatus) -> String,
}

const ADDRESS: Column = Column { title: "IP", width: 22, cell: |p| p.address.ip().to_string() };
const UPLOAD: Column = Column {
    title: "Upload",
    width: 14,
    cell: |p| {
        let flags = [(p.wanting, 'I'), (p.choking, 'C')];
        format!("{:>10} {}", words::rate(p.upload_rate), signs(&flags))
    },
};
const DOWNLOAD: Column = Column {
    title: "Download",
    width: 15,
    cell: |p| {
        let flags = [(p.interested, 'I'), (p.choked, 'C'), (p.snubbed, 'S')];
        format!("{:>10} {}", words::rate(p.download_rate), signs(&flags))
    },
};
const COMPLETED: Column = Column {
    title: "Completed",
    width: 10,
    cell: |p| format!("{:>9}", words::percent(p.progress)),
};
const SPEED: Column =
    Column { title: "Speed", width: 11, cell: |p| format!("{:>10}", words::rate(p.gain_rate)) };
const TAKEN: Column =
    Column { title: "Taken", width: 11, cell: |p| format!("{:>10}", words::bytes(p.downloaded)) };
const GIVEN: Column =
    Column { title: "Given", width: 11, cell: |p| format!("{:>10}", words::bytes(p.uploaded)) };
const CLIENT: Column = Column { title: "Client", width: 18, cell: |p| p.client.clone() };

/// Columns for who connected to whom.
const WAY: usize = 3;

fn signs(flags: &[(bool, char)]) -> String {
    flags.iter().map(|(is_set, sign)| if *is_set { *sign } else { ' ' }).collect()
}

/// Those that there is room for, the most important first.
fn columns(room: usize, longest: usize) -> Vec<Column> {
    // An address of IPv6 is long; where there is no room for it, its end is cut off.
    let address = longest.max(15).min((room / 3).max(15)) + WAY + 1;
    let address = Column { width: address, ..ADDRESS };
    let wish = [address, DOWNLOAD, UPLOAD, COMPLETED, SPEED, CLIENT, TAKEN, GIVEN];
    let mut left = room.saturating_sub(5);
    let mut taken = Vec::new();
    for column in wish {
        if column.width <= left {
            left -= column.width;
            taken.push(column);
        }
    }
    // The original has upload first.
    if taken.len() >= 3 {
        taken.swap(1, 2);
    }
    taken
}

/// The connections, as the original's spew.
pub fn peers(frame: &mut Frame, area: Area, view: &View) {
    let length = |peer: &PeerStatus| peer.address.ip().to_string().len();
    let columns = columns(area.width, view.peers.iter().map(length).max().unwrap_or(0));
    let mut head = frame.text(area.row(0), "   # ", BOLD);
    for column in &columns {
        let title = match column.title {
            "IP" | "Client" => format!("{:<1$}", column.title, column.width),
            title => format!("{title:>10}{:1$}", "", column.width.saturating_sub(10)),
        };
        frame.text(head.first(column.width), &title, BOLD);
        head = head.after(column.width);
    }
    let rows = area.below(1).above(area.height.saturating_sub(2));
    let all = view.peers.len() + view.web_seeds.len();
    let first = view.scroll.min(all.saturating_sub(rows.height));
    for (n, y) in (first..all).zip(0..rows.height) {
        let row = rows.row(y);
        match view.peers.get(n) {
            Some(peer) => peer_row(frame, row, (n, peer), &columns),
            None => web_row(frame, row, &view.web_seeds[n - view.peers.len()]),
        }
    }
    let last = area.row(area.height.saturating_sub(1));
    frame.fit(last.after(1), &totals(view), DIM);
}

fn peer_row(frame: &mut Frame, row: Area, (n, peer): (usize, &PeerStatus), columns: &[Column]) {
    let turn = if peer.optimistic { '*' } else { ' ' };
    let colour = match (peer.download_rate >= 1.0, peer.upload_rate >= 1.0) {
        _ if peer.snubbed => Colour::Red,
        (true, _) => Colour::Green,
        (_, true) => Colour::Blue,
        _ => Colour::Plain,
    };
    let mut rest = frame.text(row, &format!("{:>4}{turn}", n + 1), DIM);
    for column in columns {
        let mut cell = rest.first(column.width - 1);
        if column.title == ADDRESS.title {
            let way = if peer.incoming { 'R' } else { 'L' };
            let encrypted = if peer.encrypted { '+' } else { ' ' };
            cell = frame.right(cell, &format!(" {way}{encrypted}"), Style::of(colour));
        }
        frame.fit(cell, &(column.cell)(peer), Style::of(colour));
        rest = rest.after(column.width);
    }
}

fn web_row(frame: &mut Frame, row: Area, seed: &WebSeedStatus) {
    let state = match (seed.gone, seed.fetching) {
        (true, _) => "gone".into(),
        (_, true) => words::rate(seed.download_rate),
        _ => "---".into(),
    };
    let rest = frame.right(row, &format!(" {state} "), Style::PLAIN);
    frame.fit(rest.after(2), &format!("web {}", seed.url), Style::PLAIN);
}

fn totals(view: &View) -> String {
    let Some(pieces) = &view.pieces else { return String::new() };
    let had = pieces.had.iter().filter(|had| **had).count();
    format!(
        "downloading {} pieces, have {} fragments, {had} of {} pieces completed",
        pieces.started,
        pieces.blocks,
        pieces.had.len()
    )
}

/// The files, each with how much it is wanted.
pub fn files(frame: &mut Frame, area: Area, view: &View) {
    let shown = view.shown_files();
    if view.files.len() != view.names.len() || shown.is_empty() {
        frame.fit(area.row(0).after(1), "the files are not known yet", DIM);
        return;
    }
    let first = (view.chosen + 1).saturating_sub(area.height);
    // As few rows move as need to.
    let first = first.max(
        view.chosen.saturating_sub(area.height / 2).min(shown.len().saturating_sub(area.height)),
    );
    for (n, y) in (first..shown.len()).zip(0..area.height) {
        let (status, name) = (&view.files[shown[n]], &view.names[shown[n]]);
        let done = status.had as f64 / status.length.max(1) as f64;
        let done = if status.length == 0 { 1.0 } else { done };
        let style = match status.priority {
            Priority::Off => DIM,
            _ if done >= 1.0 => Style::of(Colour::Green),
            Priority::High => BOLD,
            _ => Style::PLAIN,
        };
        let mut rest = area.row(y);
        rest = frame.text(rest, if n == view.chosen { "▸ " } else { "  " }, BOLD);
        rest = frame.text(rest, &format!("{:<7}", wanted(status.priority)), style);
        rest = frame.text(rest, &format!("{:>6} ", words::percent(done)), style);
        if area.width >= 50 {
            rest = frame.text(rest, &format!("{:>9}  ", words::bytes(status.length)), style);
        }
        frame.fit_end(rest, &name.path, style);
        if n == view.chosen {
            frame.restyle(area.row(y), Style::reverse);
        }
    }
}

fn wanted(priority: Priority) -> &'static str {
    match priority {
        Priority::High => "first",
        Priority::Normal => "normal",
        Priority::Low => "last",
        Priority::Off => "off",
    }
}

/// The pieces as a map: each cell is one or several, in their order.
pub fn pieces(frame: &mut Frame, area: Area, view: &View) {
    let known = view.pieces.as_ref().filter(|pieces| !pieces.had.is_empty() && area.width > 2);
    let Some(pieces) = known else {
        frame.fit(area.row(0).after(1), "the pieces are not known yet", DIM);
        return;
    };
    let legend = usize::from(area.height > 2);
    let map = area.above(area.height - legend).after(1).first(area.width.saturating_sub(2));
    let count = pieces.had.len();
    let per_cell = count.div_ceil((map.width * map.height).max(1)).max(1);
    let cells = count.div_ceil(per_cell);
    for n in 0..cells {
        let range = n * per_cell..((n + 1) * per_cell).min(count);
        let (glyph, style) = cell(pieces, range);
        let place = map.row(n / map.width).after(n % map.width).first(1);
        frame.fill(place, glyph, style);
    }
    if legend == 0 {
        return;
    }
    let each = if per_cell == 1 { String::new() } else { format!("  ({per_cell} pieces a cell)") };
    let had = pieces.had.iter().filter(|had| **had).count();
    let mut rest = area.row(area.height - 1).after(1);
    rest = frame.text(rest, &format!("{had} of {count}{each}  "), DIM);
    for (glyph, style, what) in [
        ('█', HAD, "had"),
        ('▒', HAD, "partly"),
        ('░', ELSEWHERE, "elsewhere"),
        ('·', NOWHERE, "nowhere seen"),
    ] {
        rest = frame.text(rest, &glyph.to_string(), style);
        rest = frame.text(rest, &format!(" {what}  "), DIM);
    }
}

const HAD: Style = Style::of(Colour::Green);
const ELSEWHERE: Style = Style::of(Colour::Blue);
const NOWHERE: Style = Style::of(Colour::Red);

fn cell(pieces: &PieceStatus, range: std::ops::Range<usize>) -> (char, Style) {
    let count = range.len();
    let had = pieces.had[range.clone()].iter().filter(|had| **had).count();
    let lacking = range.filter(|n| !pieces.had[*n]);
    let rarest = lacking.map(|n| pieces.availability.get(n).copied().unwrap_or(0)).min();
    match (had, rarest) {
        _ if had == count => ('█', HAD),
        _ if had * 2 > count => ('▓', HAD),
        _ if had > 0 => ('▒', HAD),
        (_, Some(0)) => ('·', NOWHERE),
        _ => ('░', ELSEWHERE),
    }
}
