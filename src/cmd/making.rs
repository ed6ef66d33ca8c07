//! What the makers of .torrent files share: their options, and one .torrent after the other.
//!
//! Used by the commands `btmakemetafile` and `btcompletedir`, which decide what is made and where
//! it goes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fmt, fs, io};

use crate::app::maker::{self, Date, Filter, MakeError, Pieces, Recipe};
use crate::cmd::Exit;
use crate::cmd::editing::first_without_scheme;
use crate::cmd::env::{Env, reason};
use crate::cmd::options::{Kind, Opt, Parsed};
use crate::cmd::progress::Progress;
use crate::io::save::{check, save};
use crate::proto::metainfo::{Version, parse_nodes, parse_piece_length, parse_tiers, parse_urls};

/// Further trackers.
pub const ANNOUNCE_LIST: Opt =
    Opt::new("announce-list", Kind::Text, "", "further trackers, in tiers; see below");
/// Http seeds.
pub const HTTPSEEDS: Opt = Opt::new("httpseeds", Kind::Text, "", "URLs of http seeds; see below");
/// Web seeds.
pub const URL_LIST: Opt =
    Opt::new("url_list", Kind::Text, "", "URLs of web seeds (BEP 19); see below")
        .alias(&["web_seed"]);
/// Without tracker.
pub const NO_TRACKER: Opt = Opt::new(
    "no_tracker",
    Kind::Flag,
    "0",
    "make it without tracker: there is no TRACKER-URL then, and peers are found by --node, by web \
     seeds, or otherwise",
);
/// Nodes of the DHT.
pub const NODE: Opt =
    Opt::new("node", Kind::Text, "", "nodes of the DHT to begin with, host:port,host:port (BEP 5)");
/// Peers from the trackers alone.
pub const PRIVATE: Opt = Opt::new(
    "private",
    Kind::Flag,
    "0",
    "let clients take peers from the trackers alone (BEP 27); changes the info hash",
);
/// Whose torrent it is.
pub const SOURCE: Opt = Opt::new(
    "source",
    Kind::Text,
    "",
    "whose torrent it is, to tell it from the same content elsewhere; changes the info hash",
);
/// The program.
pub const CREATED_BY: Opt =
    Opt::new("created_by", Kind::Text, "", "program to name as the .torrent's maker");
/// No date.
pub const NO_DATE: Opt = Opt::new(
    "no_date",
    Kind::Flag,
    "0",
    "write no date; else it is that of SOURCE_DATE_EPOCH (seconds since 1970) in the \
     environment, or now",
);
/// Version 2 alone.
pub const VERSION_2: Opt = Opt::new(
    "version_2",
    Kind::Flag,
    "0",
    "make it of version 2 alone (BEP 52), with SHA-256; many clients do not take that yet, \
     neither do those of this suite",
);
/// Both versions.
pub const HYBRID: Opt = Opt::new(
    "hybrid",
    Kind::Flag,
    "0",
    "make it of versions 1 and 2 at once (BEP 52): every client takes it",
);
/// The size of the pieces in bytes.
pub const PIECE_SIZE: Opt = Opt::new(
    "piece_size",
    Kind::Text,
    "",
    "piece size, a power of two from 16KiB to 128MiB, in bytes or with KiB or MiB",
);
/// The size of the pieces by their number.
pub const MAX_PIECES: Opt = Opt::new(
    "max_pieces",
    Kind::Int { min: 0, max: i64::MAX },
    "0",
    "choose the smallest piece size, from 16KiB on, with which there are no more pieces than \
     this; 0 = by the size of the content",
);
/// What is left out, by patterns.
pub const EXCLUDE: Opt = Opt::new(
    "exclude",
    Kind::Text,
    "",
    "patterns of files and folders that are left out of a folder, separated by commas; see below",
);
/// What is taken, by patterns.
pub const INCLUDE: Opt = Opt::new(
    "include",
    Kind::Text,
    "",
    "take nothing out of a folder but what fits one of these patterns, separated by commas; \
     see below",
);
/// Says less.
pub const QUIET: Opt = Opt::new(
    "quiet",
    Kind::Flag,
    "0",
    "say nothing but errors: neither progress nor what is left out",
);
/// The size of the pieces.
pub const PIECE_SIZE_POW2: Opt = Opt::new(
    "piece_size_pow2",
    Kind::Int { min: 0, max: GREATEST_POWER },
    "0",
    "which power of 2 to set the piece size to: 14 to 27, or 0 = automatic, by the size of the \
     content",
);
/// The comment.
pub const COMMENT: Opt =
    Opt::new("comment", Kind::Text, "", "human-readable comment to put in the .torrent");
/// Names that are left out.
pub const IGNORE: Opt = Opt::new(
    "ignore",
    Kind::Text,
    "core,CVS",
    "names of files and folders that are left out of a folder, separated by commas; empty keeps \
     all but those that begin with a dot",
);
/// Without effect.
pub const FILESYSTEM_ENCODING: Opt =
    Opt::new("filesystem_encoding", Kind::Text, "", "encoding of file names")
        .gone("file names are taken as they are, which must be UTF-8");

/// Smaller pieces than this make a .torrent that is large for nothing.
const LEAST_POWER: i64 = 14;
/// The largest piece that is read: 128 MiB.
const GREATEST_POWER: i64 = 27;

/// How the lists are written, for the usage text.
pub const NOTES: &str = "\
The announce-list is written url,url|url,url: clients that know it ignore
TRACKER-URL and try the URLs before the first pipe, in any order, then those
before the next, and so on.
    http://a/announce|http://b/announce      b when a does not answer
    http://a/announce,http://b/announce      any of the two

The httpseeds and the url_list are written url|url.

In patterns * is any text and ? any character. One without a slash is held
against names, one with a slash against paths below the folder. A folder
stands for all that is in it. What is left out is told.

With --no_tracker the first argument is a path like the others.

Only one of --piece_size_pow2, --piece_size and --max_pieces can be used.
";

/// One .torrent to be made.
pub struct Job {
    /// The file or folder, absolute; `None` for standard input.
    pub input: Option<PathBuf>,
    /// Where it goes.
    pub output: Output,
}

/// Where a .torrent goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Output {
    /// To this file, absolute.
    File(PathBuf),
    /// To standard output.
    Stdout,
    /// Nowhere: the input has no name to call the .torrent by.
    Nameless,
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Output::File(path) => write!(f, "'{}'", path.display()),
            Output::Stdout => f.write_str("what goes to standard output"),
            Output::Nameless => f.write_str("a .torrent without name"),
        }
    }
}

/// How the .torrents are made, besides what is in them.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Says nothing but errors.
    pub quiet: bool,
    /// Replaces files that are there.
    pub force: bool,
}

/// Makes one .torrent after the other. What fails is reported, and the others are made.
pub fn make_all(env: &mut Env, jobs: &[Job], recipe: &Recipe, manner: Manner) -> Exit {
    let stop = match maker::stop_on_signals() {
        Ok(stop) => stop,
        Err(e) => return env.failed(format_args!("cannot listen for signals: {}", reason(&e))),
    };
    let mut exit = Exit::Done;
    for job in jobs {
        if let Err(why) = work(env, job, recipe, manner, &stop) {
            exit = env.failed(why);
        }
    }
    exit
}

/// The arguments that say what is made, without the tracker's URL.
///
/// # Errors
/// Too few, in words for the user; `kind` is what they are.
pub fn inputs<'p>(parsed: &'p Parsed, kind: &str) -> Result<&'p [OsString], String> {
    match parsed.positionals() {
        [] if parsed.flag("no_tracker") => Err(format!("needs at least one {kind}")),
        all if parsed.flag("no_tracker") => Ok(all),
        [] => Err(format!("needs a tracker's URL and at least one {kind}")),
        [_] => Err(format!("needs at least one {kind} after the tracker's URL")),
        [_, inputs @ ..] => Ok(inputs),
    }
}

/// What goes into each .torrent, by the command line and the environment: the first argument is
/// the tracker.
///
/// # Errors
/// A value that is wrong, in words for the user.
pub fn recipe(env: &Env, parsed: &Parsed) -> Result<Recipe, String> {
    let announce = match parsed.positionals().first() {
        _ if parsed.flag("no_tracker") => None,
        Some(url) => Some(url.to_str().ok_or("the tracker's URL is not UTF-8")?.to_string()),
        None => None,
    };
    if announce.is_none() && !parsed.text("announce-list").is_empty() {
        return Err("--announce-list: cannot be used together with --no_tracker".into());
    }
    let url_list = parse_urls(parsed.text("url_list"));
    if let Some(bad) = first_without_scheme(&url_list) {
        return Err(format!("--url_list: '{bad}' is not a URL"));
    }
    let nodes = parse_nodes(parsed.text("node"))
        .map_err(|bad| format!("--node: '{bad}' is not host:port"))?;
    let private = parsed.flag("private");
    if private && !nodes.is_empty() {
        return Err("--node: clients of a --private torrent use no DHT".into());
    }
    let items = |name| parsed.text(name).split(',').filter(|item| !item.is_empty());
    Ok(Recipe {
        announce,
        announce_list: parse_tiers(parsed.text("announce-list")),
        httpseeds: parse_urls(parsed.text("httpseeds")),
        url_list,
        nodes,
        comment: parsed.text("comment").to_string(),
        created_by: parsed.text("created_by").to_string(),
        date: date(env, parsed)?,
        name: None,
        private,
        source: parsed.text("source").to_string(),
        pieces: pieces(parsed)?,
        version: version(parsed)?,
        filter: Filter {
            ignore: items("ignore").map(OsString::from).collect(),
            exclude: items("exclude").map(str::to_string).collect(),
            include: items("include").map(str::to_string).collect(),
            no_links: false,
        },
    })
}

fn date(env: &Env, parsed: &Parsed) -> Result<Date, String> {
    const EPOCH: &str = "SOURCE_DATE_EPOCH";
    if parsed.flag("no_date") {
        return Ok(Date::Without);
    }
    let Some(epoch) = env.var(EPOCH) else { return Ok(Date::Now) };
    let seconds = epoch.to_str().and_then(|text| text.parse().ok()).filter(|n| *n >= 0);
    let wrong = || format!("{EPOCH}: '{}' is no count of seconds", epoch.to_string_lossy());
    seconds.map(Date::At).ok_or_else(wrong)
}

fn version(parsed: &Parsed) -> Result<Version, String> {
    match (parsed.flag("version_2"), parsed.flag("hybrid")) {
        (false, false) => Ok(Version::One),
        (true, false) => Ok(Version::Two),
        (false, true) => Ok(Version::Hybrid),
        (true, true) => Err("--hybrid: cannot be used together with --version_2".into()),
    }
}

fn pieces(parsed: &Parsed) -> Result<Pieces, String> {
    const WAYS: [&str; 3] = ["piece_size_pow2", "piece_size", "max_pieces"];
    let mut given = WAYS.into_iter().filter(|way| parsed.given(way));
    if let (Some(one), Some(other)) = (given.next(), given.next()) {
        return Err(format!("--{other}: cannot be used together with --{one}"));
    }
    if parsed.given("piece_size") {
        let text = parsed.text("piece_size");
        let wrong = || format!("--piece_size: '{text}' is no power of two from 16KiB to 128MiB");
        return parse_piece_length(text).map(Pieces::Of).ok_or_else(wrong);
    }
    let (power, most) = (parsed.int("piece_size_pow2"), parsed.int("max_pieces"));
    match power {
        0 if most > 0 => Ok(Pieces::AtMost(most.unsigned_abs())),
        0 => Ok(Pieces::Automatic),
        LEAST_POWER.. => Ok(Pieces::Of(1 << power)),
        _ => {
            let bounds = format!("neither 0 nor between {LEAST_POWER} and {GREATEST_POWER}");
            Err(format!("--piece_size_pow2: '{power}' is {bounds}"))
        }
    }
}

fn work(
    env: &mut Env,
    job: &Job,
    recipe: &Recipe,
    manner: Manner,
    stop: &AtomicBool,
) -> Result<(), String> {
    let stopped = || match &job.output {
        Output::File(path) => format!("stopped: '{}' is not written", path.display()),
        _ => "stopped: nothing is written".into(),
    };
    if stop.load(Ordering::Relaxed) {
        return Err(stopped());
    }
    let bytes = made_of(env, job, recipe, manner, stop).map_err(|e| match e {
        Trouble::Make(MakeError::Stopped) => stopped(),
        Trouble::Make(e) => e.to_string(),
        Trouble::Place(why) => why,
    })?;
    let Output::File(path) = &job.output else {
        env.put(&bytes);
        return Ok(());
    };
    // Somebody may have put one there meanwhile.
    refuse_to_replace(path, manner)?;
    save(path, &bytes).map_err(|e| e.to_string())
}

/// Why there are no bytes to be written.
enum Trouble {
    Make(MakeError),
    /// They would have no place.
    Place(String),
}

impl From<MakeError> for Trouble {
    fn from(e: MakeError) -> Trouble {
        Trouble::Make(e)
    }
}

fn made_of(
    env: &mut Env,
    job: &Job,
    recipe: &Recipe,
    manner: Manner,
    stop: &AtomicBool,
) -> Result<Vec<u8>, Trouble> {
    let Some(input) = &job.input else { return of_stdin(env, job, recipe, manner, stop) };
    let prepared = maker::prepare(input, recipe)?;
    if !manner.quiet {
        prepared.left_out().iter().for_each(|skipped| env.error(skipped));
    }
    ready(env, job, manner).map_err(Trouble::Place)?;
    let mut progress = Progress::new(env, manner.quiet);
    let made = prepared.make(stop, |done, total| progress.draw(&mut env.err, done, Some(total)));
    progress.clear(&mut env.err);
    Ok(made?)
}

fn of_stdin(
    env: &mut Env,
    job: &Job,
    recipe: &Recipe,
    manner: Manner,
    stop: &AtomicBool,
) -> Result<Vec<u8>, Trouble> {
    ready(env, job, manner).map_err(Trouble::Place)?;
    let input = std::mem::replace(&mut env.stdin, Box::new(io::empty()));
    let mut progress = Progress::new(env, manner.quiet);
    let draw = |done| progress.draw(&mut env.err, done, None);
    let made = maker::make_of_stream(input, recipe, stop, draw);
    progress.clear(&mut env.err);
    Ok(made?)
}

/// Refuses now what would fail after an hour of hashing.
fn ready(env: &Env, job: &Job, manner: Manner) -> Result<(), String> {
    match &job.output {
        Output::File(path) => {
            refuse_to_replace(path, manner)?;
            check(path).map_err(|e| e.to_string())
        }
        Output::Stdout if env.out_is_terminal => {
            Err("a .torrent is not for a terminal: redirect standard output".into())
        }
        Output::Stdout => Ok(()),
        Output::Nameless => {
            let input = job.input.clone().unwrap_or_default();
            Err(MakeError::NoName(input).to_string())
        }
    }
}

/// Refuses what writing would replace; devices and pipes are written to.
fn refuse_to_replace(path: &Path, manner: Manner) -> Result<(), String> {
    let there = match fs::metadata(path) {
        Ok(old) => old.is_file(),
        Err(_) => fs::symlink_metadata(path).is_ok(),
    };
    if there && !manner.force {
        return Err(format!("'{}' exists already (--force replaces it)", path.display()));
    }
    Ok(())
}
