//! `btmakemetafile`: makes one .torrent per named file or folder.

use std::collections::BTreeSet;

use crate::app::maker;
use crate::cmd::env::Env;
use crate::cmd::making::{self, Job};
use crate::cmd::options::{Kind, Opt, Parsed};
use crate::cmd::{Command, Exit};

/// The command's entry in the table.
pub const COMMAND: Command = Command {
    name: "btmakemetafile",
    aliases: &[],
    summary: "Makes a .torrent for each file or folder: PATH.torrent beside it. A file of that \
              name is replaced.",
    usage: &["TRACKER-URL PATH..."],
    options: OPTIONS,
    notes: making::NOTES,
    run,
};

const OPTIONS: &[Opt] = &[
    making::ANNOUNCE_LIST,
    making::HTTPSEEDS,
    making::PIECE_SIZE_POW2,
    making::COMMENT,
    Opt::new(
        "target",
        Kind::Path,
        "",
        "file for the .torrent, or existing folder for PATH.torrent; not beside PATH then",
    ),
    making::IGNORE,
    making::FILESYSTEM_ENCODING,
];

fn run(env: &mut Env, parsed: &Parsed) -> Exit {
    let jobs = match plan(env, parsed) {
        Ok(jobs) => jobs,
        Err(wrong) => return env.wrong_usage(wrong),
    };
    match making::recipe(parsed) {
        Ok(recipe) => making::make_all(env, &jobs, &recipe),
        Err(wrong) => env.wrong_usage(wrong),
    }
}

/// Where each .torrent goes. Refuses what would write two to one place.
fn plan(env: &Env, parsed: &Parsed) -> Result<Vec<Job>, String> {
    let [_, inputs @ ..] = parsed.positionals() else {
        return Err("needs a tracker's URL and at least one file or folder".into());
    };
    if inputs.is_empty() {
        return Err("needs at least one file or folder after the tracker's URL".into());
    }
    let target = parsed.path("target").map(|target| env.cwd.join(target));
    let folder = target.as_ref().is_some_and(|target| target.is_dir());
    let (mut jobs, mut taken) = (Vec::new(), BTreeSet::new());
    for given in inputs {
        let input = env.cwd.join(given);
        let output = match &target {
            Some(target) if folder => maker::name_of(&input).map(|mut name| {
                name.push(".torrent");
                target.join(name)
            }),
            Some(target) => Some(target.clone()),
            None => maker::beside(&input),
        };
        // What has no name is refused when its turn comes.
        let output = output.unwrap_or_default();
        if !taken.insert(output.clone()) {
            let (given, output) = (given.to_string_lossy(), output.display());
            return Err(format!("'{given}' would overwrite '{output}', which is made here too"));
        }
        jobs.push(Job { input, output });
    }
    Ok(jobs)
}
