//! What the makers of .torrent files share: their options, and one .torrent after the other.
//!
//! Used by the commands `btmakemetafile` and `btcompletedir`, which decide what is made and where
//! it goes.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::app::maker::{self, MakeError, Recipe};
use crate::cmd::Exit;
use crate::cmd::env::{Env, reason};
use crate::cmd::options::{Kind, Opt, Parsed};
use crate::cmd::progress::Progress;
use crate::io::save::{check, save};
use crate::proto::metainfo::{parse_tiers, parse_urls};

/// Further trackers.
pub const ANNOUNCE_LIST: Opt =
    Opt::new("announce-list", Kind::Text, "", "further trackers, in tiers; see below");
/// Http seeds.
pub const HTTPSEEDS: Opt = Opt::new("httpseeds", Kind::Text, "", "URLs of http seeds; see below");
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

The httpseeds are written url|url.
";

/// One .torrent to be made.
pub struct Job {
    /// The file or folder, absolute.
    pub input: PathBuf,
    /// The .torrent, absolute.
    pub output: PathBuf,
}

/// Makes one .torrent after the other. What fails is reported, and the others are made.
pub fn make_all(env: &mut Env, jobs: &[Job], recipe: &Recipe) -> Exit {
    let stop = match maker::stop_on_signals() {
        Ok(stop) => stop,
        Err(e) => return env.failed(format_args!("cannot listen for signals: {}", reason(&e))),
    };
    let mut exit = Exit::Done;
    for job in jobs {
        if let Err(why) = work(env, job, recipe, &stop) {
            exit = env.failed(why);
        }
    }
    exit
}

/// What goes into each .torrent, by the command line: its first argument is the tracker.
///
/// # Errors
/// A value that is wrong, in words for the user.
pub fn recipe(parsed: &Parsed) -> Result<Recipe, String> {
    let announce = parsed.positionals().first().and_then(|url| url.to_str());
    let power = parsed.int("piece_size_pow2");
    if power != 0 && power < LEAST_POWER {
        let bounds = format!("neither 0 nor between {LEAST_POWER} and {GREATEST_POWER}");
        return Err(format!("--piece_size_pow2: '{power}' is {bounds}"));
    }
    Ok(Recipe {
        announce: announce.ok_or("the tracker's URL is not UTF-8")?.to_string(),
        announce_list: parse_tiers(parsed.text("announce-list")),
        httpseeds: parse_urls(parsed.text("httpseeds")),
        comment: parsed.text("comment").to_string(),
        piece_length: (power != 0).then(|| 1 << power),
        ignore: parsed.text("ignore").split(',').map(OsString::from).collect(),
    })
}

fn work(env: &mut Env, job: &Job, recipe: &Recipe, stop: &AtomicBool) -> Result<(), String> {
    let stopped = || format!("stopped: '{}' is not written", job.output.display());
    if stop.load(Ordering::Relaxed) {
        return Err(stopped());
    }
    let prepared = maker::prepare(&job.input, recipe).map_err(|e| e.to_string())?;
    prepared.left_out().iter().for_each(|skipped| env.error(skipped));
    // What would fail after an hour of hashing should fail now.
    check(&job.output).map_err(|e| e.to_string())?;
    let mut progress = Progress::new(env.err_is_terminal);
    let made = prepared.make(stop, |done, total| progress.draw(&mut env.err, done, total));
    progress.clear(&mut env.err);
    let bytes = made.map_err(|e| match e {
        MakeError::Stopped => stopped(),
        e => e.to_string(),
    })?;
    save(&job.output, &bytes).map_err(|e| e.to_string())
}
