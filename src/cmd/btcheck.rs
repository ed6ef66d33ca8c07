//! `btcheck`: verifies the data of a torrent.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use crate::app::checker::{self, Checker, FileReport, Ranges, Report, State};
use crate::cmd::editing::read;
use crate::cmd::env::{Env, reason};
use crate::cmd::json::{Array, Nullable, Text};
use crate::cmd::options::{Kind, Opt, Parsed};
use crate::cmd::progress::Progress;
use crate::cmd::{Command, Exit};
use crate::io::screen::printable;
use crate::proto::glob::fits;
use crate::proto::metainfo::Metainfo;

/// The command's entry in the table.
pub const COMMAND: Command = Command {
    name: "btcheck",
    aliases: &[],
    summary: "Checks whether files are what a .torrent says they are. Only reads. PATH is where a \
              download saved them; without it, the name in the .torrent, in the current folder.",
    usage: &["FILE.torrent [PATH]"],
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
        Opt::new("json", Kind::Flag, "0", "print the result as JSON; see below"),
        Opt::new("quiet", Kind::Flag, "0", "print nothing about what is ok, and no progress"),
    ],
    notes: NOTES,
    run,
};

const NOTES: &str = "\
A line for each file says how it is:
    ok              all of it is right (with --quick: its size is)
    damaged         these pieces are wrong; where a piece lies in several
                    files, any of them may be the damaged one
    wrong size      it is shorter or longer than it should be
    missing         it is not there
    unverified      these pieces cannot be judged: parts of them are in other
                    files that are missing, too short or unreadable
    unreadable      the system does not let it be read
Pieces are counted from 0.

Exits with 0 if all is ok, 6 if a file is damaged, missing, of the wrong size
or unverified, 1 if the .torrent or a file cannot be read, 2 if it was called
wrongly.

--json prints one object: torrent, info_hash and info_hash_v2 (null if it is not
of that version), name, path (where was looked), quick, ok (of all), pieces and good_pieces (how many the files lie in, and how
many are right; 0 with --quick), files. Each of files has path, length and
found (bytes; null if there is none), status (as above, with _ for the blank),
damaged and unverified (lists of [first, last] piece; always empty with
--quick), error (null, or why it is unreadable). --quiet leaves nothing out.
";

fn run(env: &mut Env, parsed: &Parsed) -> Exit {
    let (torrent, path) = match parsed.positionals() {
        [torrent] => (torrent, None),
        [torrent, path] => (torrent, Some(path)),
        [] => return env.wrong_usage("needs a .torrent file"),
        [_, _, extra, ..] => {
            let extra = extra.to_string_lossy();
            return env.wrong_usage(format_args!("one torrent at a time: '{extra}' is too many"));
        }
    };
    let shown = torrent.to_string_lossy();
    let metainfo = match load(&env.cwd.join(torrent)) {
        Ok(metainfo) => metainfo,
        Err(why) => return env.failed(format_args!("cannot read '{shown}': {why}")),
    };
    let info = &metainfo.info;
    let path = path.map_or_else(|| PathBuf::from(&info.name), PathBuf::from);
    let root = checker::find(info, &env.cwd.join(path));
    let pattern = parsed.text("file");
    let wanted = |path: &str| pattern.is_empty() || fits(pattern, path);
    let checker = Checker::new(info, root.clone(), wanted);
    if !pattern.is_empty() && checker.wanted() == 0 {
        return env.failed(format_args!("--file: no file of '{shown}' fits '{pattern}'"));
    }
    let report = check(env, checker, parsed);
    let outcome = Outcome { torrent: &shown, metainfo: &metainfo, root: &root, report: &report };
    match parsed.flag("json") {
        true => env.say(outcome.json(parsed.flag("quick"))),
        false => say(env, &report, parsed),
    }
    exit(env, &report)
}

fn load(path: &Path) -> Result<Metainfo, String> {
    let bytes = read(path).map_err(|e| reason(&e))?;
    Metainfo::decode_any(&bytes).map_err(|e| e.to_string())
}

fn check(env: &mut Env, checker: Checker, parsed: &Parsed) -> Report {
    if parsed.flag("quick") {
        return checker.quick();
    }
    let mut progress = Progress::new(env.err_is_terminal && !parsed.flag("quiet"));
    let report = checker.full(|done, total| progress.draw(&mut env.err, done, total));
    progress.clear(&mut env.err);
    report
}

fn exit(env: &mut Env, report: &Report) -> Exit {
    let mut exit = if all_good(report) { Exit::Done } else { Exit::Damaged };
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

fn say(env: &mut Env, report: &Report, parsed: &Parsed) {
    let quiet = parsed.flag("quiet");
    for file in &report.files {
        if !quiet || file.state != State::Good {
            env.say(format_args!("{}: {}", printable(&file.path), detail(file)));
        }
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
}

impl Outcome<'_> {
    fn json(&self, quick: bool) -> String {
        let (info, report) = (&self.metainfo.info, self.report);
        format!(
            "{{\"torrent\":{},\"info_hash\":{},\"info_hash_v2\":{},\"name\":{},\"path\":{},\"quick\":{quick},\
             \"ok\":{},\"pieces\":{},\"good_pieces\":{},\"files\":{}}}",
            Text(self.torrent),
            Nullable(self.metainfo.hash_v1().map(|hash| format!("\"{hash}\""))),
            Nullable(self.metainfo.info_hash_v2.map(|hash| format!("\"{hash}\""))),
            Text(&info.name),
            Text(&self.root.to_string_lossy()),
            all_good(report),
            report.pieces,
            report.good_pieces,
            Array(report.files.iter().map(Entry)),
        )
    }
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
        let pair = |(first, last)| format!("[{first},{last}]");
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
