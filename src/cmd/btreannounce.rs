//! `btreannounce`: gives .torrent files another tracker.

use crate::cmd::editing::{self, edit_all, first_without_scheme, old_trackers, trackers};
use crate::cmd::env::Env;
use crate::cmd::options::{Kind, Opt, Parsed};
use crate::cmd::{Command, Exit};
use crate::proto::metainfo::edit::Editor;
use crate::proto::metainfo::parse_tiers;

/// The command's entry in the table.
pub const COMMAND: Command = Command {
    name: "btreannounce",
    aliases: &[],
    summary: "Sets the tracker of .torrent files. All else in them stays as it is, and so does \
              the info hash.",
    usage: &["TRACKER-URL FILE...", "--replace TEXT --by TEXT FILE..."],
    options: OPTIONS,
    notes: NOTES,
    run,
};

const OPTIONS: &[Opt] = &[
    Opt::new(
        "announce_list",
        Kind::Text,
        "",
        "further trackers, in tiers; see below. Without it the .torrent files have none \
         afterwards",
    )
    .short('a')
    .arg("list"),
    Opt::new(
        "replace",
        Kind::Text,
        "",
        "text, such as a host or a passkey, that is replaced wherever it stands in the addresses \
         of the trackers; all else in them stays",
    )
    .arg("text"),
    Opt::new("by", Kind::Text, "", "what comes in the place of that text; may be empty")
        .arg("text"),
    editing::VERBOSE,
    editing::DRY_RUN,
    editing::OUTPUT,
];

const NOTES: &str = "\
The announce_list is written url,url|url,url: clients that know it ignore
TRACKER-URL and try the URLs before the first pipe, in any order, then those
before the next, and so on.
    http://a/announce|http://b/announce      b when a does not answer
    http://a/announce,http://b/announce      any of the two
";

fn run(env: &mut Env, parsed: &Parsed) -> Exit {
    match (parsed.given("replace"), parsed.given("by")) {
        (true, true) => return replace(env, parsed),
        (false, false) => {}
        _ => return env.wrong_usage("--replace and --by need each other"),
    }
    let [announce, files @ ..] = parsed.positionals() else {
        return env.wrong_usage("needs a tracker's URL and at least one .torrent file");
    };
    let Some(announce) = announce.to_str().map(str::to_string) else {
        return env.wrong_usage("the tracker's URL is not UTF-8");
    };
    let tiers = parse_tiers(parsed.text("announce_list"));
    if let Some(bad) = first_without_scheme([&announce].into_iter().chain(tiers.iter().flatten())) {
        return env.wrong_usage(format_args!("'{bad}' is not a tracker's URL"));
    }
    edit_all(env, parsed, files, &|file, editor| {
        editor.set_announce(&announce);
        editor.set_announce_list(&tiers);
        Ok(old_trackers(file, editor))
    })
}

/// Changes a part of all addresses, such as a host or a passkey.
fn replace(env: &mut Env, parsed: &Parsed) -> Exit {
    let (old, new) = (parsed.text("replace"), parsed.text("by"));
    if old.is_empty() {
        return env.wrong_usage("--replace: there is no text to look for");
    }
    if parsed.given("announce_list") {
        return env.wrong_usage("--announce_list: cannot be set while --replace changes it");
    }
    edit_all(env, parsed, parsed.positionals(), &|file, editor| {
        editor.replace_in_trackers(old, new);
        let mut lines = old_trackers(file, editor);
        let changed = editor.finish();
        let changed = Editor::new(&changed).map_err(|e| e.to_string())?;
        if trackers("old", file, &changed) != lines {
            lines.extend(trackers("new", file, &changed));
        }
        Ok(lines)
    })
}
