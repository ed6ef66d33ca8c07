//! What a user sees of a download: BitTornado's labels, redrawn in place on a terminal; a line
//! when something changed into a pipe; or objects for programs.

use super::Looks;
use crate::app::client::{Figures, FileStatus, PeerStatus, Phase, Reached, Status};
use crate::cmd::downloading::events::{self, event, progress};
use crate::cmd::env::Env;
use crate::cmd::json::{Nullable, Object, Text};
use std::path::Path;

const MIB: f64 = 1024.0 * 1024.0;

/// The bar takes so many columns, if there are.
const BAR: usize = 40;

/// So many columns are beside it.
const BESIDE: usize = 25;

/// In which form it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// A block that is redrawn in place, on a terminal.
    Redrawn,
    /// A line when something changed.
    Lines,
    /// BitTornado's block of labelled lines when something changed.
    Labels,
    /// An object a line.
    Json,
    /// Not at all, but for what is wrong.
    Quiet,
}

impl Looks {
    /// Something a user may want to read, with its time.
    pub(super) fn notice(&mut self, env: &mut Env, text: &str) {
        match self.way {
            Way::Json => self.object(&event("notice").with("text", Text(text))),
            way => {
                if way == Way::Redrawn {
                    self.screen.show::<&str>(&[]);
                }
                env.error(format_args!("{}{text}", self.stamp.now()));
            }
        }
    }

    /// It has ended, and why, if that is a failure.
    pub(super) fn ended(&mut self, env: &mut Env, failure: Option<&str>) {
        if self.way == Way::Json {
            let ended = event("ended").with("ok", failure.is_none());
            return self.object(&ended.with("error", Nullable(failure.map(Text))));
        }
        let Some(failure) = failure else { return };
        if self.way == Way::Labels {
            let lines = ["", "ERROR:", failure, "", "time left:      Download Failed!"];
            self.screen.show(&lines);
        }
        env.error(failure);
    }

    fn object(&mut self, object: &Object) {
        self.screen.line(&object.to_string());
    }

    /// A line, where there are lines.
    fn line(&mut self, line: &str) {
        if matches!(self.way, Way::Lines) {
            self.screen.line(line);
        }
    }

    fn listening(&mut self, port: u16) {
        self.line(&format!("listening on port {port}"));
        self.told_port = true;
    }
}

/// What a user sees while the metadata of a magnet link is fetched.
pub(super) struct Waiting<'l> {
    looks: &'l mut Looks,
    name: String,
}

impl<'l> Waiting<'l> {
    pub(super) fn new(looks: &'l mut Looks, name: Option<&str>, port: u16) -> Waiting<'l> {
        looks.listening(port);
        Waiting { looks, name: name.unwrap_or_default().into() }
    }

    /// So many peers are connected.
    pub(super) fn peers(&mut self, peers: usize) {
        let s = if peers == 1 { "" } else { "s" };
        let line = format!("fetching metadata from {peers} peer{s}");
        match (self.looks.way, &*self.name) {
            (Way::Quiet | Way::Labels, _) => {}
            (Way::Lines, _) => self.looks.screen.line(&line),
            (Way::Json, _) => self.looks.object(&event("metadata").with("peers", peers)),
            (Way::Redrawn, "") => self.looks.screen.show(&[line]),
            (Way::Redrawn, name) => {
                self.looks.fit();
                self.looks.screen.show(&[format!("saving:         {name}"), line]);
            }
        }
    }

    /// Something a user may want to read.
    pub(super) fn notice(&mut self, env: &mut Env, text: &str) {
        self.looks.notice(env, text);
    }
}

/// A download's face.
pub(super) struct Face {
    pub(super) looks: Looks,
    name: String,
    total: u64,
    target: String,
    /// The last line printed, without its rates; or the last block.
    last: String,
    figures: Option<Figures>,
}

impl Face {
    /// One of a torrent of this name, hash and length.
    pub(super) fn new(
        mut looks: Looks,
        (name, hash, total): (&str, &str, u64),
        target: &Path,
        port: u16,
    ) -> Face {
        let target = target.display().to_string();
        looks.line(&format!("saving: {name} ({:.1} MB) to {target}", total as f64 / MIB));
        if !looks.told_port {
            looks.listening(port);
        }
        if looks.way == Way::Json {
            let started = event("started").with("version", Text(crate::cmd::VERSION));
            let started = started.with("name", Text(name)).with("info_hash", Text(hash));
            let started = started.with("length", total).with("target", Text(&target));
            looks.object(&started.with("port", port));
        }
        let (name, last, figures) = (name.into(), String::new(), None);
        Face { looks, name, total, target, last, figures }
    }

    /// The figures of now.
    pub(super) fn figures(&mut self, figures: &Figures) {
        match self.looks.way {
            Way::Quiet => {}
            Way::Json => self.looks.object(&events::figures(event("figures"), figures)),
            Way::Redrawn => {
                self.looks.fit();
                let block = self.block(figures);
                self.looks.screen.show(&block);
            }
            Way::Labels => {
                let block = self.block(figures);
                let text = block.join("\n");
                if text != self.last {
                    self.looks.screen.show(&[&[String::new()], &block[..]].concat());
                    self.last = text;
                }
            }
            Way::Lines => {
                let (change, rest) = line(figures);
                if change != self.last {
                    self.looks.screen.line(&format!("{change}{rest}"));
                    self.last = change;
                }
            }
        }
        self.figures = Some(figures.clone());
    }

    /// What is wanted is there; perhaps that is all there is.
    pub(super) fn done(&mut self, complete: bool) {
        let what = if complete { "" } else { " of the wanted files" };
        let line = format!("download complete, every piece{what} checked; now sharing it");
        match self.looks.way {
            Way::Json => self.looks.object(&event("done").with("complete", complete)),
            _ => self.looks.line(&line),
        }
    }

    /// It ends by itself.
    pub(super) fn enough(&mut self, goal: Reached) {
        match self.looks.way {
            Way::Json => {
                self.looks.object(&event("enough").with("goal", Text(&goal.to_string())));
            }
            Way::Redrawn | Way::Lines => self.looks.screen.line(&format!("{goal}: stopping")),
            Way::Labels | Way::Quiet => {}
        }
    }

    /// Somebody asked how it goes: the whole of it, and each peer.
    pub(super) fn peers(&mut self, peers: &[PeerStatus]) {
        let mut lines = match (self.looks.way, &self.figures) {
            (Way::Json, _) => {
                return self.looks.object(&events::peers(event("peers"), peers));
            }
            // It stands there.
            (Way::Redrawn, _) | (_, None) => Vec::new(),
            (_, Some(figures)) => self.block(figures),
        };
        lines.extend(peers.iter().map(peer));
        match self.looks.way {
            Way::Redrawn => lines.iter().for_each(|line| self.looks.screen.line(line)),
            _ => self.looks.screen.show(&lines),
        }
    }

    /// Somebody asked how it goes: each file.
    pub(super) fn files(&mut self, files: &[FileStatus]) {
        if self.looks.way == Way::Json {
            return self.looks.object(&events::files(event("files"), files));
        }
        let whole = files.iter().filter(|file| file.had == file.length).count();
        let line = format!("file status:    {whole} of {} complete", files.len());
        self.looks.screen.line(&line);
    }

    /// How it goes, in one line.
    pub(super) fn summary(&self) -> String {
        let (change, rest) = self.figures.as_ref().map(line).unwrap_or_default();
        change + &rest
    }

    fn block(&self, figures: &Figures) -> Vec<String> {
        let status = figures.status.as_ref();
        let seeding = figures.phase == Phase::Seeding;
        let rate = |rate: f64| format!("{:.1} kB/s", rate / 1024.0);
        let down = status.filter(|_| !seeding).map(|s| rate(s.download_rate)).unwrap_or_default();
        let when = if seeding { "seen recently" } else { "seen now" };
        vec![
            format!("saving:         {} ({:.1} MB)", self.name, self.total as f64 / MIB),
            match self.looks.way {
                Way::Redrawn => {
                    format!(
                        "percent done:   {:<5} {}",
                        percent(figures),
                        bar(progress(figures), self.looks.columns)
                    )
                }
                _ => format!("percent done:   {}", percent(figures)),
            },
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
}

/// A line for a pipe: the part whose change makes it worth printing, and the rest.
fn line(figures: &Figures) -> (String, String) {
    let whole = (progress(figures) * 100.0) as u32;
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

/// A peer in a line.
fn peer(peer: &PeerStatus) -> String {
    let way = if peer.incoming { "R" } else { "L" };
    let encrypted = if peer.encrypted { "+" } else { "" };
    format!(
        "peer:           {} {way}{encrypted} {}, {:.1}%, down {:.1} kB/s, up {:.1} kB/s",
        peer.address,
        peer.client,
        (peer.progress * 1000.0).floor() / 10.0,
        peer.download_rate / 1024.0,
        peer.upload_rate / 1024.0
    )
}

fn percent(figures: &Figures) -> String {
    if figures.phase == Phase::Seeding {
        return "100".into();
    }
    // Cut, not rounded: 100.0 is for what is complete.
    format!("{:.1}", (progress(figures) * 1000.0).floor() / 10.0)
}

fn bar(done: f64, columns: u16) -> String {
    let width = usize::from(columns).saturating_sub(BESIDE).min(BAR);
    let full = ((done * width as f64) as usize).min(width);
    format!("[{}{}]", "#".repeat(full), "-".repeat(width - full))
}

fn time_left(figures: &Figures) -> String {
    match figures.phase {
        Phase::Queued => "waiting for hash check".into(),
        Phase::Checking(_) => "checking existing data".into(),
        Phase::Allocating(_) => "allocating disk space".into(),
        Phase::Waiting => "waiting for the disk".into(),
        Phase::Paused => "paused".into(),
        Phase::Stopping => "shutting down".into(),
        Phase::Seeding => "Download Succeeded!".into(),
        Phase::Downloading => match events::seconds_left(figures) {
            Some(seconds) => clock(seconds),
            None => "connecting to peers".into(),
        },
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
        assert_eq!(bar(1.0, 80), format!("[{}]", "#".repeat(BAR)));
        assert_eq!((&*bar(0.5, 35), &*bar(0.5, 1)), ("[#####-----]", "[]"));
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
