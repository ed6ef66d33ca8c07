//! `btlaunchmanycurses`: shares all torrents of a folder, on a screen of its own.

use super::btlaunchmany::{FOLDER, SHARED, folder, settings};
use super::downloading::{SCREEN, bounds, seconds};
use super::env::Env;
use super::fullscreen::{self, List, Stage, Tab};
use super::options::{Opt, Parsed, joined};
use super::{Command, Exit};
use crate::app::client::Source;
use crate::app::many::Many;

/// The options of those that have a folder, and those of a full screen.
const MANY: [Opt; SHARED.len() + FOLDER.len()] = joined(SHARED, FOLDER);
const ALL: [Opt; MANY.len() + SCREEN.len()] = joined(&MANY, SCREEN);

/// The command.
pub const COMMAND: Command = Command {
    name: "btlaunchmanycurses",
    aliases: &[],
    summary: "Downloads and shares all torrents of a folder at once, as btlaunchmany does, all \
              shown in a list on a full screen, with keys to look at each of them.",
    usage: &["FOLDER"],
    options: &ALL,
    notes: "q ends it, ? explains the other keys. It needs a terminal; btlaunchmany does\n\
            the same in plain text. NO_COLOR in the environment keeps it from using\n\
            colours. It exits with 0 if it was stopped, with 1 if it failed, with 2 if it\n\
            was called wrongly.",
    run,
};

fn run(env: &mut Env, parsed: &Parsed) -> Exit {
    let folder = match folder(env, parsed) {
        Ok(folder) => folder,
        Err(exit) => return exit,
    };
    if let Err(exit) = fullscreen::check(env) {
        return exit;
    }
    let tab = Tab::first(parsed.flag("spew"));
    let mut list = List::new(&folder, parsed.flag("display_path"), tab);
    let patience = seconds(parsed, "http_timeout");
    let bounds = match bounds(parsed) {
        Ok(bounds) => bounds,
        Err(wrong) => return env.wrong_usage(wrong),
    };
    let (settings, make) = match settings(env, parsed, folder) {
        Ok(settings) => settings,
        Err(wrong) => return env.wrong_usage(wrong),
    };
    let signals = match fullscreen::signals(env) {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    let many = match Many::start(settings, make) {
        Ok(many) => many,
        Err(e) => return env.failed(e),
    };
    signals.stop(many.stopper(false));
    list.port = many.port();
    let mut stage = match Stage::open(env) {
        Ok(stage) => stage,
        Err(exit) => return exit,
    };
    let outcome = stage.follow_many(many, &mut list, |path| {
        let source = Source::File(path.to_path_buf());
        let loaded = source.load_exact(patience, &bounds);
        loaded.map(|(metainfo, _)| fullscreen::files(&metainfo.info)).unwrap_or_default()
    });
    drop(stage);
    fullscreen::tell_trouble(env, list.trouble());
    match outcome {
        Ok(()) => Exit::Done,
        Err(why) => env.failed(why),
    }
}
