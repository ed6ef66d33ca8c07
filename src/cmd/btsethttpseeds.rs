//! `btsethttpseeds`: sets or strips the web seeds of .torrent files.

use crate::cmd::editing::{self, edit_all, first_without_scheme};
use crate::cmd::env::Env;
use crate::cmd::options::{Kind, Opt, Parsed};
use crate::cmd::{Command, Exit};
use crate::proto::metainfo::edit::Seeds;
use crate::proto::metainfo::parse_urls;

/// The command's entry in the table.
pub const COMMAND: Command = Command {
    name: "btsethttpseeds",
    aliases: &[],
    summary: "Sets the web seeds of .torrent files, or strips them. All else in them \
              stays as it is, and so does the info hash.",
    usage: &["LIST FILE...", "0 FILE..."],
    options: OPTIONS,
    notes: NOTES,
    run,
};

const OPTIONS: &[Opt] = &[
    Opt::new(
        "kind",
        Kind::Choice(&["httpseeds", "url_list"]),
        "httpseeds",
        "which web seeds are set or stripped, those of BEP 17 or of BEP 19",
    ),
    editing::VERBOSE,
    editing::DRY_RUN,
    editing::OUTPUT,
];

const NOTES: &str = "\
LIST is written url|url. A zero in its place strips all seeds of the kind. To
be told what was there, write -v before that zero, or --verbose behind it:
--verbose 0 means not to be told.
";

/// What stands for an empty list.
const NONE: &str = "0";

fn run(env: &mut Env, parsed: &Parsed) -> Exit {
    let [list, files @ ..] = parsed.positionals() else {
        return env.wrong_usage("needs a list of seeds (or 0) and at least one .torrent file");
    };
    let Some(list) = list.to_str() else {
        return env.wrong_usage("the list of seeds is not UTF-8");
    };
    let urls = if list == NONE { Vec::new() } else { parse_urls(list) };
    if let Some(bad) = first_without_scheme(&urls) {
        return env.wrong_usage(format_args!("'{bad}' is not a seed's URL"));
    }
    if urls.is_empty() && list != NONE {
        return env.wrong_usage("the list of seeds is empty (0 strips them)");
    }
    let (kind, label) = match parsed.text("kind") {
        "url_list" => (Seeds::Url, "url-list"),
        _ => (Seeds::Http, "http-seed list"),
    };
    edit_all(env, parsed, files, &|file, editor| {
        let old = editor.seeds(kind);
        editor.set_seeds(kind, &urls);
        let shown = file.to_string_lossy();
        let told = format!("old {label} for {shown}: {}", old.join("|"));
        Ok(if old.is_empty() { Vec::new() } else { vec![told] })
    })
}
