//! `btmakemetafile`: makes one .torrent per named file or folder.

use crate::proto::sorted;
use std::path::Path;

use crate::app::maker::{self, Recipe};
use crate::cmd::env::Env;
use crate::cmd::making::{self, Job, Manner, Output};
use crate::cmd::options::{Kind, Opt, Parsed};
use crate::cmd::{Command, Exit};
use crate::proto::metainfo::is_safe_name;

/// The command's entry in the table.
pub const COMMAND: Command = Command {
    name: "btmakemetafile",
    aliases: &[],
    summary: "Makes a .torrent for each file or folder: PATH.torrent beside it. A file of that \
              name is only replaced with --force. - is what comes from standard input, and needs \
              --name: NAME.torrent is in the current folder then.",
    usage: &["TRACKER-URL PATH|-...", "--no_tracker PATH|-..."],
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
    Opt::new(
        "target",
        Kind::Path,
        "",
        "file for the .torrent, or existing folder for PATH.torrent; not beside PATH then; \
         - for standard output",
    ),
    Opt::new("name", Kind::Text, "", "name of the torrent instead of that of its only PATH"),
    making::IGNORE,
    making::EXCLUDE,
    making::INCLUDE,
    Opt::new("force", Kind::Flag, "0", "replace .torrent files that are there already"),
    making::QUIET,
    making::FILESYSTEM_ENCODING,
];

fn run(env: &mut Env, parsed: &Parsed) -> Exit {
    let jobs = match plan(env, parsed) {
        Ok(jobs) => jobs,
        Err(wrong) => return env.wrong_usage(wrong),
    };
    let name = match name(parsed, jobs.len()) {
        Ok(name) => name,
        Err(wrong) => return env.wrong_usage(wrong),
    };
    let manner = Manner { quiet: parsed.flag("quiet"), force: parsed.flag("force") };
    match making::recipe(env, parsed) {
        Ok(recipe) => making::make_all(env, &jobs, &Recipe { name, ..recipe }, manner),
        Err(wrong) => env.wrong_usage(wrong),
    }
}

/// The name for the only torrent.
fn name(parsed: &Parsed, torrents: usize) -> Result<Option<String>, String> {
    let name = parsed.text("name");
    match torrents {
        _ if !parsed.given("name") => Ok(None),
        _ if !is_safe_name(name) => Err(format!("--name: '{name}' is a name no client takes")),
        1 => Ok(Some(name.to_string())),
        _ => Err("--name: can only name one torrent".into()),
    }
}

/// Where each .torrent goes. Refuses what would write two to one place.
fn plan(env: &Env, parsed: &Parsed) -> Result<Vec<Job>, String> {
    let inputs = making::inputs(parsed, "file or folder")?;
    let target = parsed.path("target");
    let stdout = target.as_ref().is_some_and(|target| target.as_os_str() == "-");
    let target = target.map(|target| env.cwd.join(target));
    let folder = !stdout && target.as_ref().is_some_and(|target| target.is_dir());
    let (mut jobs, mut taken) = (Vec::new(), sorted::Set::new());
    for given in inputs {
        if given == "-" {
            jobs.push(stdin_job(env, parsed, target.as_deref(), stdout)?);
            continue;
        }
        let input = env.cwd.join(given);
        let place = match &target {
            Some(target) if folder => maker::name_of(&input).map(|mut name| {
                name.push(".torrent");
                target.join(name)
            }),
            Some(target) => Some(target.clone()),
            None => maker::beside(&input),
        };
        let output = match place {
            _ if stdout => Output::Stdout,
            Some(place) => Output::File(place),
            // Refused when its turn comes.
            None => Output::Nameless,
        };
        if !taken.insert(output.clone()) {
            let given = given.to_string_lossy();
            return Err(format!("'{given}' would overwrite {output}, which is made here too"));
        }
        jobs.push(Job { input: Some(input), output });
    }
    let stdins = jobs.iter().filter(|job| job.input.is_none()).count();
    // Its name is that of the only torrent, so there are no others.
    if stdins > 0 && jobs.len() > 1 {
        return Err("'-': standard input must be the only one".into());
    }
    Ok(jobs)
}

/// Where the .torrent of standard input goes.
fn stdin_job(
    env: &Env,
    parsed: &Parsed,
    target: Option<&Path>,
    stdout: bool,
) -> Result<Job, String> {
    if !parsed.given("name") {
        return Err("'-': standard input needs a --name".into());
    }
    let file = format!("{}.torrent", parsed.text("name"));
    let output = match target {
        _ if stdout => Output::Stdout,
        Some(target) if target.is_dir() => Output::File(target.join(file)),
        Some(target) => Output::File(target.to_path_buf()),
        None => Output::File(env.cwd.join(file)),
    };
    Ok(Job { input: None, output })
}
