//! `btcheck`: verifies the data of torrents, and mends it.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::app::checker::{self, Checker, FileReport, Mending, Ranges, Report, Source, State};
use crate::cmd::editing::read;
use crate::cmd::env::{Env, reason};
use crate::cmd::json::{Array, Nullable, Text};
use crate::cmd::options::{Kind, Opt, Parsed};
use crate::cmd::progress::Progress;
use crate::cmd::{Command, Exit};
use crate::io::screen::printable;
use crate::proto::glob::fits;
use crate::proto::metainfo::{Info, Metainfo};

/// The command's entry in the table.
pub const COMMAND: Command = Command {
    name: "btcheck",
    aliases: &[],
    summary: "Checks whether files are what .torrents say they are, and mends them if asked to. \
              PATH is where a download saved them; without it, the name in the .torrent, in the \
              current folder.",
    usage: &[
        "FILE.torrent [PATH] [FILE.torrent [PATH]]...",
        "FILE.torrent [PATH] --repair --from SOURCE",
    ],
    options: &[
        Opt::new("quick", Kind::Flag, "0", "look at the sizes of the files alone"),
        Opt::new(
            "file",
            Kind::Text,
            "",
            "check these files alone: * is any text, ? any character; without / the pattern is \
             about the file's name, else about its whole path in the torrent",
        )
        .arg("pattern"),
        Opt::new(
            "repair",
            Kind::Flag,
            "0",
            "replace what is damaged or missing by what --from has, if that is right; see below",
        ),
        Opt::new(
            "from",
            Kind::Path,
            "",
            "where --repair takes the data from: another copy, named as PATH is, or the http or \
             https URL of a web seed (BEP 19)",
        )
        .arg("source"),
        Opt::new("json", Kind::Flag, "0", "print the result as JSON; see below"),
        Opt::new("quiet", Kind::Flag, "0", "print nothing about what is ok, and no progress"),
    ],
    notes: NOTES,
    run,
};

const NOTES: &str = "\
The first argument is a .torrent. Of the others those that end in .torrent are
too, and any other is the PATH of the .torrent before it. For a PATH that ends
in .torrent name the folder it is in, or add a slash if it is a folder.

A line for each file says how it is:
    ok              all of it is right (with --quick: its size is)
    damaged         these pieces are wrong; where a piece lies in several
                    files, any of them may be the damaged one
    wrong size      it is shorter or longer than it should be
    missing         it is not there
    unverified      these pieces cannot be judged: parts of them are in other
                    files that are missing, too short or unreadable
    unreadable      the system does not let it be read
Pieces are counted from 0. With several .torrents a line with the name of each
comes before its files.

--repair writes no piece before it was found right, and nothing but bad pieces,
so it may be interrupted at any time. It makes what is missing, cuts no file
that is too long, and refuses to follow symbolic links (PATH itself may be one
to a folder). What it prints is how the files are afterwards.

Exits with 0 if all is ok, 6 if a file is damaged, missing, of the wrong size
or unverified, 1 if a .torrent or a file cannot be read, or cannot be written
or fetched for --repair, 2 if it was called wrongly. Of several the worst
counts: 1 before 6.

--json prints one object a .torrent, each on a line: torrent, info_hash and
info_hash_v2 (null if it is not of that version), name, path (where was
looked), quick, ok (of all), pieces and good_pieces (how many the files lie in,
and how many are right; 0 with --quick), repaired (list of [first, last] piece
that --repair wrote), files. Each of files has path, length and found (bytes;
null if there is none), status (as above, with _ for the blank), damaged and
unverified (lists of [first, last] piece; always empty with --quick), error
(null, or why it is unreadable). --quiet leaves nothing out.";

/// One torrent to be checked, and where the user says its data is.
struct Target<'a> {
    torrent: &'a OsStr,
    path: Option<&'a OsStr>,
}

fn run(env: &mut Env, parsed: &Parsed) -> Exit {
    let targets = match targets(parsed.positionals()) {
        Ok(targets) => targets,
        Err(wrong) => return env.wrong_usage(wrong),
    };
    if let Some(wrong) = misuse(parsed, targets.len()) {
        return env.wrong_usage(wrong);
    }
    let is_one = targets.len() == 1;
    let mut exit = Exit::Done;
    for target in &targets {
        let outcome = match check_one(env, parsed, target, is_one) {
            Ok(outcome) => outcome,
            Err(why) => env.failed(why),
        };
        exit = match (exit, outcome) {
            (Exit::Failed, _) | (_, Exit::Failed) => Exit::Failed,
            (Exit::Done, other) => other,
            (worse, _) => worse,
        };
    }
    exit
}

/// Which of the arguments are .torrents, and which say where their data is.
fn targets(arguments: &[OsString]) -> Result<Vec<Target<'_>>, String> {
    let mut targets: Vec<Target> = Vec::new();
    for argument in arguments {
        let is_torrent = argument.as_bytes().ends_with(b".torrent");
        match targets.last_mut() {
            Some(last) if !is_torrent => {
                let (extra, torrent) = (argument.to_string_lossy(), last.torrent.to_string_lossy());
                if last.path.replace(argument).is_some() {
                    return Err(format!("'{extra}': '{torrent}' has a PATH already"));
                }
            }
            _ => targets.push(Target { torrent: argument, path: None }),
        }
    }
    if targets.is_empty() { Err("needs a .torrent file".into()) } else { Ok(targets) }
}

fn misuse(parsed: &Parsed, torrents: usize) -> Option<&'static str> {
    let (repair, from) = (parsed.flag("repair"), parsed.path("from").is_some());
    match () {
        () if repair && !from => Some("--repair: needs --from, where the data is taken from"),
        () if from && !repair => Some("--from: is only for --repair"),
        () if repair && parsed.flag("quick") => Some("--repair: cannot be used with --quick"),
        () if repair && torrents > 1 => Some("--repair: can only repair one torrent"),
        () => None,
    }
}

fn check_one(
    env: &mut Env,
    parsed: &Parsed,
    target: &Target,
    is_one: bool,
) -> Result<Exit, String> {
    let shown = target.torrent.to_string_lossy();
    let metainfo = load(&env.cwd.join(target.torrent))
        .map_err(|why| format!("cannot read '{shown}': {why}"))?;
    let info = &metainfo.info;
    let path = target.path.map_or_else(|| PathBuf::from(&info.name), PathBuf::from);
    let root = checker::find(info, &env.cwd.join(path));
    let pattern = parsed.text("file");
    let wanted = |path: &str| pattern.is_empty() || fits(pattern, path);
    let checker = match parsed.flag("repair") {
        true => Checker::for_repair(info, root.clone(), wanted),
        false => Checker::new(info, root.clone(), wanted),
    };
    if !pattern.is_empty() && checker.wanted() == 0 {
        return Err(format!("--file: no file of '{shown}' fits '{pattern}'"));
    }
    let (report, mending) = check(env, checker, info, parsed);
    let outcome = Outcome {
        torrent: &shown,
        metainfo: &metainfo,
        root: &root,
        report: &report,
        mending: &mending,
    };
    if parsed.flag("json") {
        env.say(outcome.json(parsed.flag("quick")));
    } else {
        if !is_one && (!parsed.flag("quiet") || !all_good(&report)) {
            env.say(format_args!("{}:", printable(&shown)));
        }
        say(env, &outcome, parsed);
    }
    Ok(exit(env, &report, &mending))
}

fn load(path: &Path) -> Result<Metainfo, String> {
    let bytes = read(path).map_err(|e| reason(&e))?;
    Metainfo::decode_any(&bytes).map_err(|e| e.to_string())
}

fn check(env: &mut Env, checker: Checker, info: &Info, parsed: &Parsed) -> (Report, Mending) {
    if parsed.flag("quick") {
        return (checker.quick(), Mending::default());
    }
    let mut progress = Progress::new(env, parsed.flag("quiet"));
    let draw = |done, total| progress.draw(&mut env.err, done, Some(total));
    let found = match parsed.path("from") {
        None => (checker.full(draw), Mending::default()),
        Some(from) => {
            let is_url = from.to_str().is_some_and(checker::is_url);
            let from = if is_url { from } else { env.cwd.join(from) };
            checker.repair(&Source::of(info, &from), draw)
        }
    };
    progress.clear(&mut env.err);
    found
}

fn exit(env: &mut Env, report: &Report, mending: &Mending) -> Exit {
    let mut exit = if all_good(report) { Exit::Done } else { Exit::Damaged };
    for why in &mending.troubles {
        env.error(why);
    }
    if mending.has_failed {
        exit = Exit::Failed;
    }
    for file in &report.files {
        if let State::Unreadable(why) = &file.state {
            exit = env.failed(format_args!("cannot read '{}': {why}", file.path));
        }
    }
    exit
}

fn all_good(report: &Report) -> bool {
    report.files.iter().all(|file| file.state == State::Good)
}

fn status(state: &State) -> &'static str {
    match state {
        State::Good => "ok",
        State::Damaged => "damaged",
        State::WrongSize => "wrong size",
        State::Missing => "missing",
        State::Unverified => "unverified",
        State::Unreadable(_) => "unreadable",
    }
}

/// The states in the order in which they are counted.
const STATUSES: [&str; 6] = ["ok", "damaged", "wrong size", "missing", "unverified", "unreadable"];

fn say(env: &mut Env, outcome: &Outcome, parsed: &Parsed) {
    let report = outcome.report;
    let quiet = parsed.flag("quiet");
    for file in &report.files {
        if !quiet || file.state != State::Good {
            env.say(format_args!("{}: {}", printable(&file.path), detail(file)));
        }
    }
    let written = &outcome.mending.written;
    if !written.is_empty() && !quiet {
        env.say(format_args!("repaired: {}", numbers(written)));
    }
    if !quiet || !all_good(report) {
        env.say(summary(report, parsed.flag("quick")));
    }
}

fn detail(file: &FileReport) -> String {
    let status = status(&file.state);
    match &file.state {
        State::Good | State::Missing => status.into(),
        State::Damaged => format!("{status}, {}", numbers(&file.damaged)),
        State::Unverified => format!("{status}, {}", numbers(&file.unverified)),
        State::WrongSize => {
            let found = file.found.unwrap_or_default();
            format!("{status} ({found} bytes, should be {})", file.length)
        }
        State::Unreadable(why) => format!("{status} ({})", printable(why)),
    }
}

fn numbers(pieces: &Ranges) -> String {
    let range = |(first, last)| match first == last {
        true => format!("{first}"),
        false => format!("{first}-{last}"),
    };
    let ranges: Vec<String> = pieces.iter().map(range).collect();
    format!("pieces {}", ranges.join(", "))
}

fn summary(report: &Report, quick: bool) -> String {
    let count = |wanted| report.files.iter().filter(|file| status(&file.state) == wanted).count();
    let counts = STATUSES.map(|status| (count(status), status));
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, status)| format!("{count} {status}")).collect();
    let looked = match quick {
        true => "only sizes were looked at".into(),
        false => format!("{} of {} pieces ok", report.good_pieces, report.pieces),
    };
    let files = report.files.len();
    let noun = if files == 1 { "file" } else { "files" };
    format!("{files} {noun}: {}; {looked}", counts.join(", "))
}

/// What `--json` tells of.
struct Outcome<'a> {
    torrent: &'a str,
    metainfo: &'a Metainfo,
    root: &'a Path,
    report: &'a Report,
    mending: &'a Mending,
}

impl Outcome<'_> {
    fn json(&self, quick: bool) -> String {
        let (info, report) = (&self.metainfo.info, self.report);
        format!(
            "{{\"torrent\":{},\"info_hash\":{},\"info_hash_v2\":{},\"name\":{},\"path\":{},\"quick\":{quick},\
             \"ok\":{},\"pieces\":{},\"good_pieces\":{},\"repaired\":{},\"files\":{}}}",
            Text(self.torrent),
            Nullable(self.metainfo.hash_v1().map(|hash| format!("\"{hash}\""))),
            Nullable(self.metainfo.info_hash_v2.map(|hash| format!("\"{hash}\""))),
            Text(&info.name),
            Text(&self.root.to_string_lossy()),
            all_good(report),
            report.pieces,
            report.good_pieces,
            Array(self.mending.written.iter().map(pair)),
            Array(report.files.iter().map(Entry)),
        )
    }
}

/// A range of pieces in JSON.
fn pair((first, last): (u32, u32)) -> String {
    format!("[{first},{last}]")
}

/// One file in JSON.
struct Entry<'a>(&'a FileReport);

impl Display for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.0;
        let found = file.found.map_or("null".into(), |found| found.to_string());
        let error = match &file.state {
            State::Unreadable(why) => Text(why).to_string(),
            _ => "null".into(),
        };
        let status = status(&file.state).replace(' ', "_");
        write!(
            f,
            "{{\"path\":{},\"length\":{},\"found\":{found},\"status\":\"{status}\",\
             \"damaged\":{},\"unverified\":{},\"error\":{error}}}",
            Text(&file.path),
            file.length,
            Array(file.damaged.iter().map(pair)),
            Array(file.unverified.iter().map(pair)),
        )
    }
}
