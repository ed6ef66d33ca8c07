//! `btcopyannounce`: gives .torrent files the trackers of another.

use crate::cmd::editing::{self, edit_all, misuse, old_trackers, read, tiers_text};
use crate::cmd::env::{Env, reason};
use crate::cmd::options::Parsed;
use crate::cmd::{Command, Exit};
use crate::io::screen::printable;
use crate::proto::metainfo::edit::Editor;

/// The command's entry in the table.
pub const COMMAND: Command = Command {
    name: "btcopyannounce",
    aliases: &[],
    summary: "Copies the trackers of the .torrent file SOURCE to others: announce and \
              announce-list. All else in them stays as it is, and so does the info hash.",
    usage: &["SOURCE FILE..."],
    options: &[editing::VERBOSE, editing::DRY_RUN, editing::OUTPUT],
    notes: "",
    run,
};

fn run(env: &mut Env, parsed: &Parsed) -> Exit {
    let [source, files @ ..] = parsed.positionals() else {
        return env.wrong_usage("needs the .torrent file to copy from and at least one other");
    };
    if let Some(wrong) = misuse(parsed, files) {
        return env.wrong_usage(wrong);
    }
    let shown = source.to_string_lossy();
    let bytes = match read(&env.cwd.join(source)) {
        Ok(bytes) => bytes,
        Err(e) => return env.failed(format_args!("cannot read '{shown}': {}", reason(&e))),
    };
    let source = match Editor::new(&bytes) {
        Ok(source) => source,
        Err(e) => return env.failed(format_args!("cannot read '{shown}': {e}")),
    };
    let Some(announce) = source.announce() else {
        return env.failed(format_args!("there is no tracker in '{shown}' to be copied"));
    };
    if parsed.flag("verbose") || parsed.flag("dry_run") {
        // Two blanks, as the original writes it.
        env.say(printable(&format!("new announce:  {announce}")));
        let tiers = source.announce_list();
        if !tiers.is_empty() {
            env.say(printable(&format!("new announce-list:  {}", tiers_text(&tiers))));
        }
    }
    edit_all(env, parsed, files, &|file, editor| {
        editor.copy_trackers(&source);
        Ok(old_trackers(file, editor))
    })
}
