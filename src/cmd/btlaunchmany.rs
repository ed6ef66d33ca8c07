//! `btlaunchmany`: shares all torrents of a folder, in one process, plain text.

use super::btdownloadheadless::end_at_once;
use super::downloading::events::{self, event, progress, seconds_left};
use super::downloading::{OPTIONS, maker, seconds, session};
use super::env::Env;
use super::json::{Nullable, Object, Text};
use super::options::{Kind, Opt, Parsed, joined};
use super::service::{Stamp, manager};
use super::{Command, Exit};
use crate::app::client::{Figures, Look, Phase, Report, StopSignals, TorrentId};
use crate::app::many::{Event, Maker, Many, ManySettings, Style, Torrent};
use crate::io::screen::Screen;
use crate::proto::sorted;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Those options of a client that say which torrent it is, and where its data goes.
const ABOUT_ONE: usize = 4;

/// The options of the other clients that are about more than one torrent.
pub const SHARED: &[Opt] = OPTIONS.split_at(ABOUT_ONE).1;

/// Those that are about a folder of torrents.
pub const FOLDER: &[Opt] = &[
    Opt::new(
        "saveas",
        Kind::Path,
        "",
        "folder for the data; without it the data goes to where its .torrent file is",
    )
    .arg("folder"),
    Opt::new(
        "saveas_style",
        Kind::Int { min: 1, max: 3 },
        "1",
        "how the data is named: 1 as the .torrent file without .torrent, 2 as the torrent says, 3 as \
         both: a single file goes into a folder named as the .torrent file",
    ),
    Opt::new(
        "parse_dir_interval",
        Kind::Float { min: 1.0, max: 86_400.0 },
        "60",
        "seconds between looks for new, changed and removed .torrent files",
    )
    .arg("seconds"),
    Opt::new(
        "display_path",
        Kind::Flag,
        "1",
        "name torrents by the paths of their .torrent files, not by the names in these",
    ),
];

/// Those of plain output.
const PLAIN: &[Opt] = &[
    Opt::new(
        "json",
        Kind::Flag,
        "0",
        "print an object a line, for programs (see below), in place of what people read",
    ),
    Opt::new("quiet", Kind::Flag, "0", "print nothing but what is wrong"),
];

const MANY: [Opt; SHARED.len() + FOLDER.len()] = joined(SHARED, FOLDER);
const ALL: [Opt; MANY.len() + PLAIN.len()] = joined(&MANY, PLAIN);

/// The last error of a torrent is shown in its line for so long.
const ERROR_SHOWN: Duration = Duration::from_secs(300);

/// The command.
pub const COMMAND: Command = Command {
    name: "btlaunchmany",
    aliases: &[],
    summary: "Downloads and shares all torrents of a folder at once, on one port and under one \
              limit. The folder is looked through now and then: new .torrent files are added, and \
              torrents whose files are removed are stopped; their data stays.",
    usage: &["FOLDER"],
    options: &ALL,
    notes: "Limits, the number of connections and that of open files count for all torrents\n\
            together. Stop it with Ctrl-C or SIGTERM; it ends within five seconds, at the\n\
            second signal at once. SIGHUP has the folder be looked through at once, unless\n\
            the output is a terminal; SIGUSR1 prints a line for each torrent.\n\
            It exits with 0 if it was stopped, with 1 if it failed, with 2 if it was called\n\
            wrongly.",
    run,
};

fn run(env: &mut Env, parsed: &Parsed) -> Exit {
    let folder = match folder(env, parsed) {
        Ok(folder) => folder,
        Err(exit) => return exit,
    };
    let (settings, make) = match settings(env, parsed, folder) {
        Ok(settings) => settings,
        Err(wrong) => return env.wrong_usage(wrong),
    };
    env.never_wait();
    let called = env.name.clone();
    let signals = match StopSignals::listen(move |haste| end_at_once(&called, haste)) {
        Ok(signals) => signals,
        Err(e) => return env.failed(e),
    };
    let many = match Many::start(settings, make) {
        Ok(many) => many,
        Err(e) => return env.failed(e),
    };
    signals.stop(many.stopper(!env.out_is_terminal));
    let face = Face::new(env, parsed, many.port());
    show(env, many, face)
}

/// The folder that is named, as the user wrote it: so are the paths in it shown.
///
/// # Errors
/// None is named, or it is none, which has been said.
pub fn folder(env: &mut Env, parsed: &Parsed) -> Result<PathBuf, Exit> {
    let folder = match parsed.positionals() {
        [folder] => PathBuf::from(folder),
        [] => return Err(env.wrong_usage("need a folder of .torrent files")),
        [_, extra, ..] => {
            let extra = extra.to_string_lossy();
            return Err(env.wrong_usage(format_args!("one folder, and '{extra}' is one too many")));
        }
    };
    match env.cwd.join(&folder).is_dir() {
        true => Ok(folder),
        false => Err(env.failed(format_args!("'{}' is not a directory", folder.display()))),
    }
}

type Made = (ManySettings, Maker);

/// What all torrents of a folder are shared with, from the options.
///
/// # Errors
/// What is wrong with them, for one line.
pub fn settings(env: &mut Env, parsed: &Parsed, folder: PathBuf) -> Result<Made, String> {
    let make = maker(env, parsed)?;
    let session = session(env, parsed)?;
    let settings = ManySettings {
        folder,
        saveas: parsed.path("saveas").map(|path| env.cwd.join(path)),
        style: match parsed.int("saveas_style") {
            1 => Style::File,
            2 => Style::Name,
            _ => Style::Both,
        },
        interval: seconds(parsed, "parse_dir_interval"),
        session,
    };
    Ok((settings, Box::new(make)))
}

/// Shows what happens until it has ended, and tells the service manager.
fn show(env: &mut Env, mut many: Many, mut face: Face) -> Exit {
    let mut manager = manager(env);
    manager.ready();
    let mut asked = false;
    loop {
        // It is asked once: if it does not answer, nobody says for it that it lives.
        let deadline = manager.next_deadline().filter(|_| !asked);
        let Some(happened) = many.next(deadline) else {
            let first = many.torrents().next().map(|(id, _)| id);
            asked = first.is_some();
            match first {
                Some(id) => many.look(id, Look::Figures),
                None => manager.alive("no torrents", Instant::now()),
            }
            continue;
        };
        match happened {
            Event::Report(id, Report::Figures(figures)) => {
                asked = false;
                if let Some(torrent) = many.torrent(id) {
                    face.figures(id, torrent, figures);
                }
                if manager.wants(Instant::now()) {
                    manager.alive(&face.summary(), Instant::now());
                }
            }
            Event::Report(id, report) => {
                if let Some(torrent) = many.torrent(id) {
                    face.report(torrent, &report);
                }
            }
            Event::Added(id, torrent) => face.added(id, &torrent),
            Event::Dropped(id, torrent) => face.gone(id, &torrent, "dropped"),
            Event::Died(id, torrent, why) => face.died(env, id, (&torrent, &why)),
            Event::Notice(id, text) | Event::Remark(id, text) => {
                let torrent = id.and_then(|id| Some((id, many.torrent(id)?)));
                face.notice(env, torrent, &text);
            }
            Event::Show => face.all(&many),
            Event::Stopping => {
                manager.stopping();
                face.message("shutting down", event("stopping"));
            }
            Event::Ended(result) => return face.ended(env, result),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Lines,
    Json,
    Quiet,
}

/// What is known of a torrent.
#[derive(Default)]
struct Known {
    figures: Option<Figures>,
    /// What its last line said, but for what changes all the time.
    last: Option<(String, u32)>,
    error: Option<(Instant, String)>,
}

/// What a user sees.
struct Face {
    screen: Screen,
    way: Way,
    stamp: Stamp,
    by_path: bool,
    known: sorted::Map<TorrentId, Known>,
}

impl Face {
    fn new(env: &mut Env, parsed: &Parsed, port: u16) -> Face {
        let way = match ["json", "quiet"].map(|name| parsed.flag(name)) {
            [true, _] => Way::Json,
            [_, true] => Way::Quiet,
            _ => Way::Lines,
        };
        let (stamp, by_path) = (Stamp::new(env), parsed.flag("display_path"));
        let screen = Screen::new(env.take_out(), None);
        let mut face = Face { screen, way, stamp, by_path, known: sorted::Map::new() };
        let started = event("started").with("version", Text(super::VERSION)).with("port", port);
        face.message(&format!("listening on port {port}"), started);
        face
    }

    /// Something that happened.
    fn message(&mut self, text: &str, object: Object) {
        match self.way {
            Way::Lines => self.screen.line(&format!("### {text}")),
            Way::Json => self.screen.line(&object.to_string()),
            Way::Quiet => {}
        }
    }

    fn added(&mut self, id: TorrentId, torrent: &Torrent) {
        self.known.insert(id, Known::default());
        let object = about(event("added"), torrent).with("name", Text(&torrent.name));
        let target = std::path::absolute(&torrent.target).unwrap_or(torrent.target.clone());
        let object = object.with("target", Text(&target.display().to_string()));
        self.message(&format!("added \"{}\"", torrent.path.display()), object);
    }

    fn gone(&mut self, id: TorrentId, torrent: &Torrent, how: &str) {
        self.known.remove(&id);
        let text = format!("{how} \"{}\"", torrent.path.display());
        self.message(&text, about(event(how), torrent));
    }

    fn died(&mut self, env: &mut Env, id: TorrentId, (torrent, why): (&Torrent, &str)) {
        self.known.remove(&id);
        let text = format!("DIED: \"{}\"", torrent.path.display());
        self.message(&text, about(event("died"), torrent).with("error", Text(why)));
        if self.way != Way::Json {
            let (now, path) = (self.stamp.now(), torrent.path.display());
            env.error(format_args!("{now}\"{path}\": {why}"));
        }
    }

    fn notice(&mut self, env: &mut Env, torrent: Option<(TorrentId, &Torrent)>, text: &str) {
        if let Some(known) = torrent.and_then(|(id, _)| self.known.get_mut(&id)) {
            known.error = Some((Instant::now(), text.into()));
        }
        let torrent = torrent.map(|(_, torrent)| torrent);
        if self.way == Way::Json {
            let object = torrent.map_or_else(|| event("notice"), |t| about(event("notice"), t));
            return self.screen.line(&object.with("text", Text(text)).to_string());
        }
        let now = self.stamp.now();
        match torrent {
            Some(torrent) => env.error(format_args!("{now}\"{}\": {text}", torrent.path.display())),
            None => env.error(format_args!("{now}{text}")),
        }
    }

    /// A report that is none of figures.
    fn report(&mut self, torrent: &Torrent, report: &Report) {
        let (kind, text) = match report {
            Report::Complete => ("complete", "complete"),
            Report::Done => ("done", "complete but for files that are not wanted"),
            Report::Enough(_) => ("enough", "shared as much as was wished"),
            _ => return,
        };
        let line = format!("\"{}\": {text}", torrent.path.display());
        self.message(&line, about(event(kind), torrent));
    }

    fn figures(&mut self, id: TorrentId, torrent: &Torrent, figures: Figures) {
        let Some(known) = self.known.get_mut(&id) else { return };
        let percent = (progress(&figures) * 100.0) as u32;
        let key = (String::from(events::phase(&figures)), percent);
        let is_news = known.last.as_ref() != Some(&key);
        known.last = Some(key);
        let line = match self.way {
            Way::Lines if is_news => line(torrent, &figures, &known.error, self.by_path),
            Way::Json => events::figures(about(event("figures"), torrent), &figures).to_string(),
            _ => String::new(),
        };
        known.figures = Some(figures);
        if !line.is_empty() {
            self.screen.line(&line);
        }
    }

    /// A line for each torrent.
    fn all(&mut self, many: &Many) {
        for (id, torrent) in many.torrents() {
            let Some(known) = self.known.get(&id) else { continue };
            let Some(figures) = &known.figures else { continue };
            let line = match self.way {
                Way::Json => events::figures(about(event("figures"), torrent), figures).to_string(),
                _ => line(torrent, figures, &known.error, self.by_path),
            };
            self.screen.line(&line);
        }
        if self.known.is_empty() && self.way != Way::Json {
            self.screen.line("###  no torrents");
        }
    }

    /// How it goes, in a line.
    fn summary(&self) -> String {
        let all = || self.known.values().filter_map(|known| known.figures.as_ref());
        let seeding = all().filter(|figures| figures.phase == Phase::Seeding).count();
        let status = || all().filter_map(|figures| figures.status.as_ref());
        let down: f64 = status().map(|status| status.download_rate).sum();
        let up: f64 = status().map(|status| status.upload_rate).sum();
        let (count, kib) = (self.known.len(), 1024.0);
        format!(
            "{count} torrents, {seeding} seeding, {:.1} KiB/s down, {:.1} KiB/s up",
            down / kib,
            up / kib
        )
    }

    fn ended(&mut self, env: &mut Env, result: Result<(), String>) -> Exit {
        if self.way == Way::Json {
            let failure = result.as_ref().err();
            let object = event("ended").with("ok", failure.is_none());
            let object = object.with("error", Nullable(failure.map(|why| Text(why))));
            self.screen.line(&object.to_string());
        }
        match result {
            Ok(()) => Exit::Done,
            Err(why) => env.failed(why),
        }
    }
}

/// An event about a torrent.
fn about(event: Object, torrent: &Torrent) -> Object {
    let event = event.with("path", Text(&torrent.path.display().to_string()));
    event.with("info_hash", Text(&torrent.info_hash.to_string()))
}

/// A torrent's line, in the original's form.
fn line(
    torrent: &Torrent,
    figures: &Figures,
    error: &Option<(Instant, String)>,
    by_path: bool,
) -> String {
    let path = torrent.path.display().to_string();
    let name = if by_path { &path } else { &torrent.name };
    let percent = (progress(figures) * 1000.0).floor() / 10.0;
    let swarm = match &figures.status {
        None => String::from("0P0S0.000D u0.0K/s-d0.0K/s u0K-d0K"),
        Some(status) => {
            // Of a seed they are those that were seen lately.
            let mark = if figures.phase == Phase::Seeding { "s" } else { "S" };
            let (kb, kib) = (1000.0, 1024);
            format!(
                "{}P{}{mark}{:.3}D u{:.1}K/s-d{:.1}K/s u{}K-d{}K",
                status.peers,
                status.seeds,
                status.distributed_copies,
                status.upload_rate / kb,
                status.download_rate / kb,
                status.uploaded / kib,
                status.downloaded / kib
            )
        }
    };
    let recent = error.as_ref().filter(|(at, _)| at.elapsed() < ERROR_SHOWN);
    let said = recent.map_or("", |(_, text)| text.as_str());
    format!("\"{name}\": \"{}\" ({percent:.1}%) - {swarm} \"{said}\"", activity(figures))
}

fn activity(figures: &Figures) -> String {
    let peers = figures.status.as_ref().map_or(0, |status| status.peers + status.seeds);
    match figures.phase {
        Phase::Queued => "waiting for hash check".into(),
        Phase::Checking(_) => "checking existing data".into(),
        Phase::Allocating(_) => "allocating disk space".into(),
        Phase::Waiting => "waiting for the disk".into(),
        Phase::Paused => "paused".into(),
        Phase::Seeding => "seeding".into(),
        Phase::Stopping => "stopped".into(),
        Phase::Downloading => match seconds_left(figures) {
            Some(left) => {
                let left = left as u64;
                format!("{}:{:02}:{:02}", left / 3600, left / 60 % 60, left % 60)
            }
            None if peers == 0 => "connecting to peers".into(),
            None => "downloading".into(),
        },
    }
}
