//! `btcompletedir`: makes a .torrent for every entry of a folder that has none.

use crate::proto::sorted;
use std::ffi::OsString;
use std::path::Path;

use crate::app::maker::{self, Filter};
use crate::cmd::env::Env;
use crate::cmd::making::{self, Job, Manner, Output};
use crate::cmd::options::{Kind, Opt, Parsed};
use crate::cmd::{Command, Exit};

/// The command's entry in the table.
pub const COMMAND: Command = Command {
    name: "btcompletedir",
    aliases: &[],
    summary: "Makes a .torrent for each file and folder in each DIR: DIR/NAME.torrent for \
              DIR/NAME, unless it is there. Names that begin with a dot, and .torrent files, \
              get none.",
    usage: &["TRACKER-URL DIR...", "--no_tracker DIR..."],
    options: OPTIONS,
    notes: making::NOTES,
    run,
};

const OPTIONS: &[Opt] = &[
    making::ANNOUNCE_LIST,
    making::HTTPSEEDS,
    making::URL_LIST,
    making::NO_TRACKER,
    making::NODE,
    making::PRIVATE,
    making::SOURCE,
    making::VERSION_2,
    making::HYBRID,
    making::PIECE_SIZE_POW2,
    making::PIECE_SIZE,
    making::MAX_PIECES,
    making::COMMENT,
    making::CREATED_BY,
    making::NO_DATE,
    Opt::new("target", Kind::Path, "", "existing folder for the .torrent files, instead of DIR"),
    making::IGNORE,
    making::EXCLUDE,
    making::INCLUDE,
    making::QUIET,
    making::FILESYSTEM_ENCODING,
];

fn run(env: &mut Env, parsed: &Parsed) -> Exit {
    let recipe = match making::recipe(env, parsed) {
        Ok(recipe) => recipe,
        Err(wrong) => return env.wrong_usage(wrong),
    };
    let folders = match making::inputs(parsed, "folder") {
        Ok(folders) => folders,
        Err(wrong) => return env.wrong_usage(wrong),
    };
    let target = parsed.path("target").map(|target| env.cwd.join(target));
    if let Some(target) = target.as_ref().filter(|target| !target.is_dir()) {
        return env.wrong_usage(format_args!("--target: '{}' is no folder", target.display()));
    }
    // What has a .torrent needs none: nothing is ever replaced.
    let manner = Manner { quiet: parsed.flag("quiet"), force: false };
    let (jobs, planned) = plan(env, folders, target.as_deref(), &recipe.filter, manner);
    let made = making::make_all(env, &jobs, &recipe, manner);
    if planned == Exit::Done { made } else { planned }
}

/// What is to be made, and whether all of it can be. Refuses to write two to one place.
fn plan(
    env: &mut Env,
    folders: &[OsString],
    target: Option<&Path>,
    filter: &Filter,
    manner: Manner,
) -> (Vec<Job>, Exit) {
    let (mut jobs, mut taken, mut exit) = (Vec::new(), sorted::Set::new(), Exit::Done);
    for folder in folders {
        let folder = env.cwd.join(folder);
        let lacking = match maker::lacking(&folder, target.unwrap_or(&folder), filter) {
            Ok(lacking) => lacking,
            Err(e) => {
                exit = env.failed(e);
                continue;
            }
        };
        if !manner.quiet {
            lacking.left_out.iter().for_each(|skipped| env.error(skipped));
        }
        for (input, output) in lacking.entries {
            if taken.insert(output.clone()) {
                jobs.push(Job { input: Some(input), output: Output::File(output) });
                continue;
            }
            let (input, output) = (input.display(), output.display());
            let why = format!("'{input}' would overwrite '{output}', which is made here too");
            exit = env.failed(why);
        }
    }
    (jobs, exit)
}
