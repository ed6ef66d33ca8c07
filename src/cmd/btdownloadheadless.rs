//! `btdownloadheadless` (and `btdownload`): downloads and seeds one torrent, plain text.

mod face;

use super::downloading::{OPTIONS, seconds, settings, source};
use super::env::Env;
use super::options::Parsed;
use super::{Command, Exit};
use crate::app::client::{Client, Haste, Report, StopSignals};
use crate::io::courier::Courier;
use crate::io::screen::{Screen, Size};
use face::Face;
use std::io::Write;

/// The command.
pub const COMMAND: Command = Command {
    name: "btdownloadheadless",
    aliases: &["btdownload"],
    summary: "Downloads the content of a torrent, checks every byte, and then shares it until it \
              is stopped. What is there already is checked first and not fetched again.",
    usage: &["FILE.torrent", "URL"],
    options: OPTIONS,
    notes: "Stop it with Ctrl-C or SIGTERM; it ends within three seconds, at the second\n\
            signal at once. It ends with its terminal too, unless nohup started it.\n\
            It exits with 0 if the download was complete by then, else\n\
            with 1; with 2 if it was called wrongly.\n\n\
            The command of --on_done gets these variables, as transmission has them:\n\
            TR_APP_VERSION, TR_TIME_LOCALTIME (in UTC), TR_TORRENT_BYTES_DOWNLOADED,\n\
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
    let timeout = seconds(parsed, "http_timeout");
    let metainfo = match source.load(timeout) {
        Ok(metainfo) => metainfo,
        Err(e) => return env.failed(e),
    };
    let settings = match settings(env, parsed, metainfo) {
        Ok(settings) => settings,
        Err(wrong) => return env.wrong_usage(wrong),
    };
    let (name, total) = (settings.metainfo.info.name.clone(), settings.metainfo.info.total());
    env.never_wait();
    let called = env.name.clone();
    let started = StopSignals::listen(move |haste| end_at_once(&called, haste))
        .and_then(|signals| Client::start(settings).inspect(|client| signals.stop(client)));
    let client = match started {
        Ok(client) => client,
        Err(e) => return env.failed(e),
    };
    let size = if env.out_is_terminal { Size::of(std::io::stdout()) } else { None };
    let screen = Screen::new(env.take_out(), size);
    let target = std::path::absolute(client.target()).unwrap_or(client.target().to_path_buf());
    let face = Face::new(screen, size.is_some(), &name, total, &target, client.port());
    show(env, &client, face)
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
