//! What a user sees of a publisher: lines that stay, and below them, on a terminal, one that is
//! redrawn. Or JSON, an object a line.

use crate::app::publisher::{Figures, Notice, Shared, Until};
use crate::cmd::downloading::events::event;
use crate::cmd::json::{Object, Text};
use crate::io::screen::Screen;
use std::io::Write;

/// A line of progress into a pipe, each time that so many percent have been read.
const STEP: u64 = 10;

/// The form in which it is told.
pub(super) enum Face {
    /// For people.
    Lines {
        screen: Screen,
        terminal: bool,
        quiet: bool,
        /// What was told last, without what changes all the time.
        last: String,
    },
    /// For programs.
    Json { out: Box<dyn Write + Send>, last: Option<Figures> },
}

impl Face {
    pub(super) fn lines(screen: Screen, terminal: bool, quiet: bool) -> Face {
        Face::Lines { screen, terminal, quiet, last: String::new() }
    }

    pub(super) fn json(out: Box<dyn Write + Send>) -> Face {
        Face::Json { out, last: None }
    }

    /// Shows what happens. What is for standard error comes back.
    pub(super) fn show(&mut self, notice: &Notice) -> Option<String> {
        let told = match notice {
            Notice::Told(text) | Notice::Status(text) => Some(text.clone()),
            Notice::Gone(path) => {
                Some(format!("'{}' is gone: it is not shared until it is back", path.display()))
            }
            _ => None,
        };
        match self {
            Face::Json { out, last } => {
                if let Some(object) = object(notice, last) {
                    let _ = writeln!(out, "{object}");
                    let _ = out.flush();
                }
            }
            Face::Lines { screen, terminal, quiet, last } => {
                if told.is_some() && *terminal {
                    // Makes room for a line of somebody else's.
                    screen.show::<&str>(&[]);
                }
                line(screen, (*terminal, *quiet), last, notice);
            }
        }
        told
    }
}

fn line(screen: &mut Screen, (terminal, quiet): (bool, bool), last: &mut String, notice: &Notice) {
    match notice {
        Notice::Listening(url) => screen.line(url),
        _ if quiet => {}
        Notice::Reading { name, done, total } => {
            let percent = done * 100 / (*total).max(1);
            let text = format!("reading '{name}': {percent}%");
            let step = format!("{name} {}", percent / STEP);
            match terminal {
                true => screen.show(&[text]),
                false if *last != step => {
                    *last = step;
                    screen.line(&text);
                }
                false => {}
            }
        }
        Notice::Shared(shared) => screen.line(&sentence(shared)),
        Notice::Figures(figures) => {
            let (change, rest) = live(figures);
            match terminal {
                true => screen.show(&[change + &rest]),
                false if *last != change && figures.torrents > 0 => {
                    screen.line(&(change.clone() + &rest));
                    *last = change;
                }
                false => {}
            }
        }
        Notice::Enough(Until::Downloads(n)) => {
            let (s, are) = if *n == 1 { ("", "is") } else { ("s", "are") };
            screen.line(&format!("{n} download{s} {are} completed: stopping"));
        }
        Notice::Enough(Until::Time(_)) => screen.line("the time is over: stopping"),
        Notice::Ended(figures) => {
            let Figures { completed, to_peers, by_http, .. } = figures;
            let (peers, web) = (bytes(*to_peers as f64), bytes(*by_http as f64));
            screen.show::<&str>(&[]);
            screen.line(&format!("ended: {completed} completed, {peers} to peers, {web} by HTTP"));
        }
        Notice::Told(_) | Notice::Status(_) | Notice::Gone(_) => {}
    }
}

fn sentence(shared: &Shared) -> String {
    let Shared { name, total, files, torrent, again, .. } = shared;
    let verb = if *again { "sharing anew" } else { "sharing" };
    let files = if *files == 1 { "1 file".into() } else { format!("{files} files") };
    format!("{verb}: {name} ({files}, {}) {torrent}", bytes(*total as f64))
}

/// The part whose change makes it worth a line, and the rest.
fn live(figures: &Figures) -> (String, String) {
    let Figures { seeds, peers, completed, rate, to_peers, by_http, .. } = figures;
    let s = if *seeds == 1 { "" } else { "s" };
    let change = format!("{seeds} seed{s}, {peers} downloading, {completed} completed");
    let sent = (bytes(*to_peers as f64), bytes(*by_http as f64));
    (change, format!(", {}/s, {} to peers, {} by HTTP", bytes(*rate), sent.0, sent.1))
}

fn bytes(count: f64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1000.0 {
        return format!("{count:.0} B");
    }
    let mut value = count / 1000.0;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// An event for programs; figures only where they are others than the last.
fn object(notice: &Notice, last: &mut Option<Figures>) -> Option<Object> {
    Some(match notice {
        Notice::Listening(url) => event("listening").with("url", Text(url)),
        Notice::Reading { name, done, total } => {
            event("reading").with("name", Text(name)).with("done", done).with("total", total)
        }
        Notice::Shared(shared) => event("shared")
            .with("path", Text(&shared.path.display().to_string()))
            .with("name", Text(&shared.name))
            .with("info_hash", Text(&shared.hash.to_string()))
            .with("size", shared.total)
            .with("files", shared.files)
            .with("torrent", Text(&shared.torrent))
            .with("magnet", Text(&shared.magnet))
            .with("again", shared.again),
        Notice::Gone(path) => event("gone").with("path", Text(&path.display().to_string())),
        Notice::Told(text) => event("notice").with("text", Text(text)),
        Notice::Status(text) => event("status").with("text", Text(text)),
        Notice::Figures(now) if *last == Some(*now) => return None,
        Notice::Figures(now) => {
            *last = Some(*now);
            figures(event("figures"), now)
        }
        Notice::Ended(now) => figures(event("ended"), now),
        Notice::Enough(Until::Downloads(n)) => event("enough").with("downloads", n),
        Notice::Enough(Until::Time(time)) => event("enough").with("seconds", time.as_secs()),
    })
}

fn figures(event: Object, figures: &Figures) -> Object {
    event
        .with("torrents", figures.torrents)
        .with("seeds", figures.seeds)
        .with("peers", figures.peers)
        .with("completed", figures.completed)
        .with("upload_rate", figures.rate as u64)
        .with("uploaded_to_peers", figures.to_peers)
        .with("uploaded_by_http", figures.by_http)
        .with("connections", figures.connections)
}
