//! `btdownloadcurses`: downloads and seeds one torrent, on a screen of its own.

use super::downloading::{
    OPTIONS, SCREEN, join_settings, loaded_settings, save_torrent, selected, settings, source,
};
use super::env::Env;
use super::fullscreen::{self, Stage, Tab, View};
use super::options::{Opt, Parsed, joined};
use super::{Command, Exit};
use crate::app::client::{Client, Joining, Settings, StartError, StopSignals};
use crate::proto::magnet::Magnet;

/// The options of all clients, and those of a full screen.
const ALL: [Opt; OPTIONS.len() + SCREEN.len()] = joined(OPTIONS, SCREEN);

/// The command.
pub const COMMAND: Command = Command {
    name: "btdownloadcurses",
    aliases: &[],
    summary: "Downloads the content of a torrent, checks every byte, and then shares it until it \
              is stopped, all shown on a full screen with keys for what can be changed meanwhile.",
    usage: &["FILE.torrent", "URL", "MAGNET-LINK"],
    options: &ALL,
    notes: "q ends it, ? explains the other keys. It needs a terminal; btdownloadheadless\n\
            does the same in plain text. NO_COLOR in the environment keeps it from using\n\
            colours. It exits with 0 if the download was complete by then, else with 1;\n\
            with 2 if it was called wrongly.",
    run,
};

fn run(env: &mut Env, parsed: &Parsed) -> Exit {
    let source = match source(parsed, &env.cwd) {
        Ok(source) => source,
        Err(wrong) => return env.wrong_usage(wrong),
    };
    if let Err(exit) = fullscreen::check(env) {
        return exit;
    }
    match source.magnet() {
        Some(Ok(magnet)) => return run_magnet(env, parsed, magnet),
        Some(Err(wrong)) => return env.failed(format_args!("bad magnet link: {wrong}")),
        None => {}
    }
    let settings = match loaded_settings(env, parsed, &source) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    let mut view = View { tab: Tab::first(parsed.flag("spew")), ..View::default() };
    let signals = match fullscreen::signals(env) {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    let client = match start(settings, &mut view, &signals) {
        Ok(client) => client,
        Err(e) => return env.failed(e),
    };
    let mut stage = match Stage::open(env) {
        Ok(stage) => stage,
        Err(exit) => return exit,
    };
    let outcome = stage.follow(client, &mut view);
    drop(stage);
    close(env, &view, outcome)
}

fn start(settings: Settings, view: &mut View, signals: &StopSignals) -> Result<Client, StartError> {
    let info = &settings.metainfo.info;
    let names = fullscreen::files(info);
    (view.name, view.size, view.names) = (info.name.clone(), info.total(), names);
    view.limits = (settings.config.upload_limit, settings.config.download_limit);
    let client = Client::start(settings)?;
    signals.stop(client.stopper());
    let target = std::path::absolute(client.target());
    view.target = target.unwrap_or(client.target().to_path_buf()).display().to_string();
    view.port = client.port();
    Ok(client)
}

/// Fetches the metadata first.
fn run_magnet(env: &mut Env, parsed: &Parsed, magnet: Magnet) -> Exit {
    let wishes = magnet.clone();
    let hash = magnet.info_hash.to_string();
    let mut view = View {
        name: magnet.name.clone().unwrap_or(hash),
        joining: Some(0),
        tab: Tab::first(parsed.flag("spew")),
        ..View::default()
    };
    let join = match join_settings(env, parsed, magnet) {
        Ok(join) => join,
        Err(wrong) => return env.wrong_usage(wrong),
    };
    let signals = match fullscreen::signals(env) {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    let joining = match Joining::start(join) {
        Ok(joining) => joining,
        Err(e) => return env.failed(e),
    };
    signals.stop(joining.stopper());
    view.port = joining.port();
    let mut stage = match Stage::open(env) {
        Ok(stage) => stage,
        Err(exit) => return exit,
    };
    let joined = match stage.join(joining, &mut view) {
        Ok(joined) => *joined,
        Err(why) => {
            drop(stage);
            return close(env, &view, Err(why));
        }
    };
    if let Err(e) = save_torrent(env, parsed, &joined.bytes) {
        drop(stage);
        return env.failed(e);
    }
    let select = selected(env, parsed, &wishes, &joined.metainfo.info);
    let settings = settings(env, parsed, joined.metainfo).map(|settings| Settings {
        priorities: select.unwrap_or(settings.priorities),
        company: Some(joined.company),
        ..settings
    });
    let begun = settings.and_then(|s| start(s, &mut view, &signals).map_err(|e| e.to_string()));
    let outcome = begun.and_then(|client| stage.follow(client, &mut view));
    drop(stage);
    close(env, &view, outcome)
}

/// Tells what would else be lost with the screen, and how it ended.
fn close(env: &mut Env, view: &View, outcome: Result<(), String>) -> Exit {
    fullscreen::tell_trouble(env, view.notices.iter().filter(|notice| notice.is_trouble));
    match outcome {
        Ok(()) if view.complete => Exit::Done,
        Ok(()) => env.failed("stopped before the download was complete"),
        Err(why) => env.failed(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::options::{Asked, parse};

    #[test]
    fn without_a_terminal_it_says_so_and_names_the_one_for_plain_text() {
        let (mut env, said) = Env::captured("btdownloadcurses", [""; 0], "/");
        env.vars = Box::new(|name| (name == "TERM").then(|| "dumb".into()));
        let Ok(Asked::Run(parsed)) = parse(&ALL, &["x.torrent".into()]) else { panic!() };
        assert_eq!(run(&mut env, &parsed), Exit::Failed);
        let told = "standard output is no terminal; btdownloadheadless does the same in plain text";
        assert_eq!(said.err(), format!("btdownloadcurses: {told}\n"));
    }
}
