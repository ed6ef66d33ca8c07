//! `btdownloadheadless` (and `btdownload`): downloads and seeds one torrent, plain text.

mod face;

use super::downloading::{
    OPTIONS, PLAIN, join_settings, loaded_settings, save_torrent, selected, settings, source,
};
use super::env::Env;
use super::options::{Opt, Parsed, joined};
use super::service::{Stamp, manager};
use super::{Command, Exit};
use crate::app::client::{
    Client, Haste, JoinReport, Joined, Joining, Look, Phase, Report, Settings, StopSignals,
};
use crate::io::courier::Courier;
use crate::io::screen::{Screen, Size};
use crate::proto::magnet::Magnet;
use face::{Face, Waiting, Way};
use std::io::Write;
use std::time::Instant;

/// The options of all clients, and those of plain output.
const ALL: [Opt; OPTIONS.len() + PLAIN.len()] = joined(OPTIONS, PLAIN);

/// The command.
pub const COMMAND: Command = Command {
    name: "btdownloadheadless",
    aliases: &["btdownload"],
    summary: "Downloads the content of a torrent, checks every byte, and then shares it until it \
              is stopped. What is there already is checked first and not fetched again.",
    usage: &["FILE.torrent", "URL", "MAGNET-LINK"],
    options: &ALL,
    notes: "Stop it with Ctrl-C or SIGTERM; it ends within three seconds, at the second\n\
            signal at once. It ends with its terminal too, unless nohup started it.\n\
            It exits with 0 if the download was complete by then, else\n\
            with 1; with 2 if it was called wrongly.\n\n\
            The command of --on_done gets these variables, as transmission has them:\n\
            TR_APP_VERSION, TR_TIME_LOCALTIME, TR_TORRENT_BYTES_DOWNLOADED,\n\
            TR_TORRENT_DIR, TR_TORRENT_HASH, TR_TORRENT_ID, TR_TORRENT_LABELS,\n\
            TR_TORRENT_NAME, TR_TORRENT_PRIORITY, TR_TORRENT_TRACKERS. The data is at\n\
            DIR/NAME.",
    run,
};

fn run(env: &mut Env, parsed: &Parsed) -> Exit {
    let source = match source(parsed, &env.cwd) {
        Ok(source) => source,
        Err(wrong) => return env.wrong_usage(wrong),
    };
    match source.magnet() {
        Some(Ok(magnet)) => return run_magnet(env, parsed, magnet),
        Some(Err(wrong)) => return env.failed(format_args!("bad magnet link: {wrong}")),
        None => {}
    }
    let settings = match loaded_settings(env, parsed, &source) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    match listen(env) {
        Ok(signals) => download(env, settings, &signals, |env: &mut Env| Looks::new(env, parsed)),
        Err(exit) => exit,
    }
}

/// What is shown, and where.
struct Looks {
    screen: Screen,
    way: Way,
    stamp: Stamp,
    /// Of the terminal.
    columns: u16,
    /// The port was told already.
    told_port: bool,
}

impl Looks {
    fn new(env: &mut Env, parsed: &Parsed) -> Looks {
        let dumb = env.var("TERM").is_some_and(|term| term == "dumb");
        let is_terminal = env.out_is_terminal && !dumb;
        let size = if is_terminal { Size::of(std::io::stdout()) } else { None };
        let way = match ["json", "quiet", "labels"].map(|name| parsed.flag(name)) {
            [true, ..] => Way::Json,
            [_, true, _] => Way::Quiet,
            [.., true] => Way::Labels,
            _ if size.is_some() => Way::Redrawn,
            _ => Way::Lines,
        };
        let size = size.filter(|_| way == Way::Redrawn);
        let screen = Screen::new(env.take_out(), size);
        let columns = size.map_or(u16::MAX, |size| size.columns);
        Looks { screen, way, stamp: Stamp::new(env), columns, told_port: false }
    }

    /// The terminal may have another size by now.
    fn fit(&mut self) {
        if let Some(size) = Size::of(std::io::stdout()) {
            self.screen.resize(size);
            self.columns = size.columns;
        }
    }
}

/// From now on signals stop what is started then.
fn listen(env: &mut Env) -> Result<StopSignals, Exit> {
    env.never_wait();
    let called = env.name.clone();
    StopSignals::listen(move |haste| end_at_once(&called, haste)).map_err(|e| env.failed(e))
}

fn download(
    env: &mut Env,
    settings: Settings,
    signals: &StopSignals,
    looks: impl FnOnce(&mut Env) -> Looks,
) -> Exit {
    let (name, total) = (settings.metainfo.info.name.clone(), settings.metainfo.info.total());
    let hash = settings.metainfo.info_hash.to_string();
    let client = match Client::start(settings) {
        Ok(client) => client,
        Err(e) => return env.failed(e),
    };
    signals.stop(client.stopper());
    let looks = looks(env);
    let target = std::path::absolute(client.target()).unwrap_or(client.target().to_path_buf());
    let face = Face::new(looks, (&name, &hash, total), &target, client.port());
    show(env, &client, face)
}

/// Fetches the metadata first.
fn run_magnet(env: &mut Env, parsed: &Parsed, magnet: Magnet) -> Exit {
    let wishes = magnet.clone();
    let join = match join_settings(env, parsed, magnet) {
        Ok(join) => join,
        Err(wrong) => return env.wrong_usage(wrong),
    };
    let signals = match listen(env) {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    let joining = match Joining::start(join) {
        Ok(joining) => joining,
        Err(e) => return env.failed(e),
    };
    signals.stop(joining.stopper());
    let mut looks = Looks::new(env, parsed);
    let joined = match wait(env, &joining, &mut looks, wishes.name.as_deref()) {
        Ok(joined) => *joined,
        Err(exit) => return exit,
    };
    drop(joining);
    if let Err(e) = save_torrent(env, parsed, &joined.bytes) {
        return env.failed(e);
    }
    let select = selected(env, parsed, &wishes, &joined.metainfo.info);
    let mut settings = match settings(env, parsed, joined.metainfo) {
        Ok(settings) => settings,
        Err(wrong) => return env.wrong_usage(wrong),
    };
    settings.priorities = select.unwrap_or(settings.priorities);
    settings.company = Some(joined.company);
    download(env, settings, &signals, |_| looks)
}

/// Waits for the metadata, and shows how many are asked for it.
fn wait(
    env: &mut Env,
    joining: &Joining,
    looks: &mut Looks,
    name: Option<&str>,
) -> Result<Box<Joined>, Exit> {
    let mut face = Waiting::new(looks, name, joining.port());
    while let Some(report) = joining.next_report() {
        match report {
            JoinReport::Peers(peers) => face.peers(peers),
            JoinReport::Notice(text) => face.notice(env, &text),
            JoinReport::Ended(Ok(Some(joined))) => return Ok(joined),
            JoinReport::Ended(Ok(None)) => {
                return Err(failed(env, looks, "stopped before the metadata had come"));
            }
            JoinReport::Ended(Err(e)) => return Err(failed(env, looks, &e)),
        }
    }
    Err(failed(env, looks, "the search for the metadata has ended without a word"))
}

/// Ends the process, whatever hangs in it.
pub(super) fn end_at_once(called: &str, haste: Haste) {
    let why = match haste {
        Haste::Asked => "without telling the trackers",
        Haste::Late => "since something hangs, perhaps a disk",
    };
    // Somebody else may be waiting to write to standard error.
    let mut err = Courier::new(Box::new(std::io::stderr()));
    let _ = err.write_all(format!("{called}: stopped at once, {why}\n").as_bytes());
    drop(err);
    std::process::exit(Exit::Failed.code().into());
}

fn failed(env: &mut Env, looks: &mut Looks, why: &str) -> Exit {
    looks.ended(env, Some(why));
    Exit::Failed
}

/// Shows what the client reports until it has ended, and tells the service manager.
fn show(env: &mut Env, client: &Client, mut face: Face) -> Exit {
    let mut manager = manager(env);
    manager.ready();
    let (mut complete, mut asked) = (false, false);
    let why = loop {
        // It is asked once: if it does not answer, nobody says for it that it lives.
        let report = match manager.next_deadline().filter(|_| !asked) {
            Some(deadline) => client.next_report_by(deadline),
            None => Some(client.next_report()),
        };
        let Some(report) = report else {
            client.look(Look::Figures);
            asked = true;
            continue;
        };
        match report {
            Some(Report::Figures(figures)) => {
                asked = false;
                if figures.phase == Phase::Stopping {
                    manager.stopping();
                }
                face.figures(&figures);
                manager.alive(&face.summary(), Instant::now());
            }
            Some(Report::Notice(text) | Report::Remark(text)) => face.looks.notice(env, &text),
            Some(Report::Complete) => {
                complete = true;
                face.done(true);
            }
            Some(Report::Done) => {
                complete = true;
                face.done(false);
            }
            Some(Report::Enough(goal)) => face.enough(goal),
            Some(Report::Peers(peers)) => face.peers(&peers),
            Some(Report::Files(files)) => face.files(&files),
            // Nobody asked for them.
            Some(Report::Pieces(_) | Report::WebSeeds(_) | Report::Called(_)) => {}
            Some(Report::Ended(Ok(()))) if complete => {
                face.looks.ended(env, None);
                return Exit::Done;
            }
            Some(Report::Ended(Ok(()))) => {
                break "stopped before the download was complete".into();
            }
            Some(Report::Ended(Err(e))) => break e,
            None => break "the download has ended without a word".into(),
        }
    };
    failed(env, &mut face.looks, &why)
}
