//! `btdownloadheadless` (and `btdownload`): downloads and seeds one torrent, plain text.

mod face;

use super::downloading::{
    OPTIONS, join_settings, save_torrent, seconds, selected, settings, source,
};
use super::env::Env;
use super::options::Parsed;
use super::{Command, Exit};
use crate::app::client::{
    Client, Haste, JoinReport, Joined, Joining, Report, Settings, StopSignals,
};
use crate::io::courier::Courier;
use crate::io::screen::{Screen, Size};
use crate::proto::magnet::Magnet;
use face::{Face, Waiting};
use std::io::Write;

/// The command.
pub const COMMAND: Command = Command {
    name: "btdownloadheadless",
    aliases: &["btdownload"],
    summary: "Downloads the content of a torrent, checks every byte, and then shares it until it \
              is stopped. What is there already is checked first and not fetched again.",
    usage: &["FILE.torrent", "URL", "MAGNET-LINK"],
    options: OPTIONS,
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
    let (metainfo, bytes) =
        match source.load_exact(seconds(parsed, "http_timeout"), parsed.flag("local_only")) {
            Ok(loaded) => loaded,
            Err(e) => return env.failed(e),
        };
    let settings = match settings(env, parsed, metainfo) {
        Ok(settings) => settings,
        Err(wrong) => return env.wrong_usage(wrong),
    };
    if let Err(e) = save_torrent(env, parsed, &bytes) {
        return env.failed(e);
    }
    drop(bytes);
    match listen(env) {
        Ok(signals) => download(env, settings, &signals, Looks::new),
        Err(exit) => exit,
    }
}

/// What is shown, and where.
struct Looks {
    screen: Screen,
    terminal: bool,
    /// The port was told already.
    told_port: bool,
}

impl Looks {
    fn new(env: &mut Env) -> Looks {
        let size = if env.out_is_terminal { Size::of(std::io::stdout()) } else { None };
        let screen = Screen::new(env.take_out(), size);
        Looks { screen, terminal: size.is_some(), told_port: false }
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
    let client = match Client::start(settings) {
        Ok(client) => client,
        Err(e) => return env.failed(e),
    };
    signals.stop(client.stopper());
    let Looks { screen, terminal, told_port } = looks(env);
    let target = std::path::absolute(client.target()).unwrap_or(client.target().to_path_buf());
    let port = Some(client.port()).filter(|_| !told_port);
    let face = Face::new(screen, terminal, (&name, total), &target, port);
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
    let mut looks = Looks::new(env);
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
    let mut face = Waiting::new(&mut looks.screen, looks.terminal, name, joining.port());
    looks.told_port = true;
    while let Some(report) = joining.next_report() {
        match report {
            JoinReport::Peers(peers) => face.peers(peers),
            JoinReport::Notice(text) => {
                face.clear();
                env.error(text);
            }
            JoinReport::Ended(Ok(Some(joined))) => return Ok(joined),
            JoinReport::Ended(Ok(None)) => {
                return Err(env.failed("stopped before the metadata had come"));
            }
            JoinReport::Ended(Err(e)) => return Err(env.failed(e)),
        }
    }
    Err(env.failed("the search for the metadata has ended without a word"))
}

/// Ends the process, whatever hangs in it.
fn end_at_once(called: &str, haste: Haste) {
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

/// Shows what the client reports until it has ended.
fn show(env: &mut Env, client: &Client, mut face: Face) -> Exit {
    let mut complete = false;
    while let Some(report) = client.next_report() {
        match report {
            Report::Figures(figures) => face.figures(&figures),
            Report::Notice(text) => {
                face.clear();
                env.error(text);
            }
            Report::Complete => {
                complete = true;
                face.complete("every piece checked");
            }
            Report::Done => {
                complete = true;
                face.complete("every piece of the wanted files checked");
            }
            Report::Enough(goal) => face.enough(goal),
            // Nobody asked for them.
            Report::Peers(_) | Report::Files(_) | Report::Pieces(_) | Report::WebSeeds(_) => {}
            Report::Ended(Ok(())) if complete => return Exit::Done,
            Report::Ended(Ok(())) => return env.failed("stopped before the download was complete"),
            Report::Ended(Err(e)) => return env.failed(e),
        }
    }
    env.failed("the download has ended without a word")
}
