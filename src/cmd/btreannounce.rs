//! `btreannounce`: gives .torrent files another tracker.

use crate::cmd::editing::{self, edit_all, first_without_scheme, old_trackers};
use crate::cmd::env::Env;
use crate::cmd::options::{Kind, Opt, Parsed};
use crate::cmd::{Command, Exit};
use crate::proto::metainfo::parse_tiers;

/// The command's entry in the table.
pub const COMMAND: Command = Command {
    name: "btreannounce",
    aliases: &[],
    summary: "Sets the tracker of .torrent files. All else in them stays as it is, and so does \
              the info hash.",
    usage: &["TRACKER-URL FILE..."],
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
