//! What a user sees of a download: BitTornado's labels, redrawn in place on a terminal; a line
//! when something changed into a pipe.

use crate::app::client::{Figures, Phase, Reached, Status};
use crate::io::screen::Screen;
use std::path::Path;

const MIB: f64 = 1024.0 * 1024.0;

/// The bar takes so many columns.
const BAR: usize = 40;

/// A download's face.
pub(super) struct Face {
    screen: Screen,
    terminal: bool,
    name: String,
    total: u64,
    target: String,
    /// The last line printed into a pipe, without its rates.
    last: String,
}

/// What a user sees while the metadata of a magnet link is fetched.
pub(super) struct Waiting<'s> {
    screen: &'s mut Screen,
    terminal: bool,
    name: String,
}

impl<'s> Waiting<'s> {
    pub(super) fn new(
        screen: &'s mut Screen,
        terminal: bool,
        name: Option<&str>,
        port: u16,
    ) -> Waiting<'s> {
        if !terminal {
            screen.line(&listening(port));
        }
        Waiting { screen, terminal, name: name.unwrap_or_default().into() }
    }

    /// So many peers are connected.
    pub(super) fn peers(&mut self, peers: usize) {
        let s = if peers == 1 { "" } else { "s" };
        let line = format!("fetching metadata from {peers} peer{s}");
        match (self.terminal, &*self.name) {
            (false, _) => self.screen.line(&line),
            (true, "") => self.screen.show(&[line]),
            (true, name) => self.screen.show(&[format!("saving:         {name}"), line]),
        }
    }

    /// Makes room for a line of somebody else's.
    pub(super) fn clear(&mut self) {
        if self.terminal {
            self.screen.show::<&str>(&[]);
        }
    }
}

fn listening(port: u16) -> String {
    format!("listening on port {port}")
}

impl Face {
    pub(super) fn new(
        mut screen: Screen,
        terminal: bool,
        (name, total): (&str, u64),
        target: &Path,
        port: Option<u16>,
    ) -> Face {
        let target = target.display().to_string();
        if !terminal {
            screen.line(&format!("saving: {name} ({:.1} MB) to {target}", total as f64 / MIB));
            port.into_iter().for_each(|port| screen.line(&listening(port)));
        }
        Face { screen, terminal, name: name.into(), total, target, last: String::new() }
    }

    /// The figures of now.
    pub(super) fn figures(&mut self, figures: &Figures) {
        if self.terminal {
            let block = self.block(figures);
            self.screen.show(&block);
            return;
        }
        let (change, rest) = self.line(figures);
        if change != self.last {
            self.screen.line(&format!("{change}{rest}"));
            self.last = change;
        }
    }

    /// What is wanted is there, and so much can be said of it.
    pub(super) fn complete(&mut self, what: &str) {
        if !self.terminal {
            self.screen.line(&format!("download complete, {what}; now sharing it"));
        }
    }

    /// It ends by itself.
    pub(super) fn enough(&mut self, goal: Reached) {
        self.screen.line(&format!("{goal}: stopping"));
    }

    /// Makes room for a line of somebody else's.
    pub(super) fn clear(&mut self) {
        if self.terminal {
            self.screen.show::<&str>(&[]);
        }
    }

    fn block(&self, figures: &Figures) -> Vec<String> {
        let status = figures.status.as_ref();
        let seeding = figures.phase == Phase::Seeding;
        let rate = |rate: f64| format!("{:.1} kB/s", rate / 1024.0);
        let down = status.filter(|_| !seeding).map(|s| rate(s.download_rate)).unwrap_or_default();
        let when = if seeding { "seen recently" } else { "seen now" };
        vec![
            format!("saving:         {} ({:.1} MB)", self.name, self.total as f64 / MIB),
            format!("percent done:   {:<5} {}", percent(figures), bar(done(figures))),
            format!("time left:      {}", time_left(figures)),
            format!("download to:    {}", self.target),
            format!("download rate:  {down}"),
            format!("upload rate:    {}", status.map(|s| rate(s.upload_rate)).unwrap_or_default()),
            format!("share rating:   {}", status.map(share_rating).unwrap_or_default()),
            format!(
                "seed status:    {} {when}, plus {:.3} distributed copies",
                status.map_or(0, |s| s.seeds),
                status.map_or(0.0, |s| s.distributed_copies)
            ),
            format!(
                "peer status:    {} seen now, {:.1}% done at {:.1} kB/s",
                status.map_or(0, |s| s.peers),
                status.map_or(0.0, |s| s.peers_progress * 100.0),
                status.map_or(0.0, |s| s.peers_rate / 1024.0)
            ),
        ]
    }

    /// A line for a pipe: the part whose change makes it worth printing, and the rest.
    fn line(&self, figures: &Figures) -> (String, String) {
        let whole = (done(figures) * 100.0) as u32;
        let Some(status) = &figures.status else {
            let activity = match figures.phase {
                Phase::Allocating(_) => "allocating",
                _ => "checking existing data",
            };
            return (format!("{activity}: {whole}%"), String::new());
        };
        let activity = match figures.phase {
            Phase::Seeding => "seeding",
            Phase::Stopping => "shutting down",
            Phase::Waiting => "waiting for the disk",
            Phase::Paused => "paused",
            _ => "downloading",
        };
        let peers = format!("{} seeds, {} peers", status.seeds, status.peers);
        let rates = format!(
            ", down {:.1} kB/s, up {:.1} kB/s, {:.1} MB up",
            status.download_rate / 1024.0,
            status.upload_rate / 1024.0,
            status.uploaded as f64 / MIB
        );
        let swarm = status.swarm.map_or(String::new(), |swarm| {
            format!(", of {} seeds and {} others in all", swarm.complete, swarm.incomplete)
        });
        (format!("{activity}: {whole}%, {peers}"), rates + &swarm)
    }
}

/// How far the present activity is, 0 to 1.
fn done(figures: &Figures) -> f64 {
    match figures.phase {
        Phase::Checking(done) | Phase::Allocating(done) => done,
        _ if figures.total == 0 => 1.0,
        _ => 1.0 - figures.left as f64 / figures.total as f64,
    }
}

fn percent(figures: &Figures) -> String {
    if figures.phase == Phase::Seeding {
        return "100".into();
    }
    // Cut, not rounded: 100.0 is for what is complete.
    format!("{:.1}", (done(figures) * 1000.0).floor() / 10.0)
}

fn bar(done: f64) -> String {
    let full = ((done * BAR as f64) as usize).min(BAR);
    format!("[{}{}]", "#".repeat(full), "-".repeat(BAR - full))
}

fn time_left(figures: &Figures) -> String {
    let rate = figures.status.as_ref().map_or(0.0, |s| s.download_rate);
    match figures.phase {
        Phase::Checking(_) => "checking existing data".into(),
        Phase::Allocating(_) => "allocating disk space".into(),
        Phase::Waiting => "waiting for the disk".into(),
        Phase::Paused => "paused".into(),
        Phase::Stopping => "shutting down".into(),
        Phase::Seeding => "Download Succeeded!".into(),
        Phase::Downloading if rate < 1.0 => "connecting to peers".into(),
        Phase::Downloading => clock(figures.left as f64 / rate),
    }
}

/// A span of time in words, as BitTornado writes it.
fn clock(seconds: f64) -> String {
    const SIXTY_DAYS: u64 = 60 * 24 * 3600;
    let all = seconds.ceil() as u64;
    let (hours, minutes, rest) = (all / 3600, all / 60 % 60, all % 60);
    match hours {
        _ if all >= SIXTY_DAYS => "<unknown>".into(),
        0 => format!("{minutes} min {rest:02} sec"),
        1 => format!("1 hour {minutes:02} min {rest:02} sec"),
        _ => format!("{hours} hours {minutes:02} min {rest:02} sec"),
    }
}

fn share_rating(status: &Status) -> String {
    let (up, down) = (status.uploaded as f64, status.downloaded as f64);
    let rating = match (status.uploaded, status.downloaded) {
        (0, 0) => "0.000".into(),
        _ if up > down * 100.0 => "oo".into(),
        _ => format!("{:.3}", up / down),
    };
    format!("{rating}   ({:.1} MB up / {:.1} MB down)", up / MIB, down / MIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(phase: Phase, left: u64) -> Figures {
        Figures { phase, total: 3000, left, status: None }
    }

    #[test]
    fn a_hundred_percent_is_only_for_what_is_complete() {
        assert_eq!(percent(&figures(Phase::Downloading, 1)), "99.9");
        assert_eq!(percent(&figures(Phase::Downloading, 3000)), "0.0");
        assert_eq!(percent(&figures(Phase::Seeding, 0)), "100");
        assert_eq!(bar(1.0).len(), BAR + 2);
    }

    #[test]
    fn spans_of_time_are_written_as_bittornado_writes_them() {
        assert_eq!(clock(59.2), "1 min 00 sec");
        assert_eq!(clock(5.0), "0 min 05 sec");
        assert_eq!(clock(3661.0), "1 hour 01 min 01 sec");
        assert_eq!(clock(7322.0), "2 hours 02 min 02 sec");
        assert_eq!(clock(1e9), "<unknown>");
    }
}
