//! What the tools that change .torrent files share: their options, and one file after the other.
//!
//! Used by the commands `btreannounce`, `btcopyannounce`, `btrename` and `btsethttpseeds`, which
//! say what is changed. Files are written whole or not at all, and those that would stay the same
//! are not written.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::cmd::Exit;
use crate::cmd::env::{Env, reason};
use crate::cmd::options::{Kind, Opt, Parsed};
use crate::io::save::save;
use crate::io::screen::printable;
use crate::proto::metainfo::MAX_SIZE;
use crate::proto::metainfo::edit::Editor;

/// Tells what was there before.
pub const VERBOSE: Opt =
    Opt::new("verbose", Kind::Flag, "0", "print what was there before").short('v');
/// Writes nothing.
pub const DRY_RUN: Opt = Opt::new(
    "dry_run",
    Kind::Flag,
    "0",
    "write nothing, but print what --verbose prints and which files would be written",
);
/// Another place for the result.
pub const OUTPUT: Opt = Opt::new(
    "output",
    Kind::Path,
    "",
    "file to write instead of FILE, which must be the only one then; a file of that name is \
     replaced",
)
.arg("file");

/// Changes one .torrent and returns the lines for `--verbose`, or why it cannot be changed.
pub type Change<'c> = dyn Fn(&OsString, &mut Editor) -> Result<Vec<String>, String> + 'c;

/// Does the same to each of `files`. One that fails is reported, and the others are done.
pub fn edit_all(env: &mut Env, parsed: &Parsed, files: &[OsString], change: &Change) -> Exit {
    if let Some(wrong) = misuse(parsed, files) {
        return env.wrong_usage(wrong);
    }
    let mut exit = Exit::Done;
    for file in files {
        if let Err(why) = edit(env, parsed, file, change) {
            exit = env.failed(why);
        }
    }
    exit
}

/// What is wrong with the call, for those who have something to say before they change anything.
pub fn misuse(parsed: &Parsed, files: &[OsString]) -> Option<&'static str> {
    let output = parsed.given("output");
    match files.len() {
        0 => Some("needs at least one .torrent file to change"),
        // An empty variable in a script must not turn into a change in place.
        _ if output && parsed.path("output").is_none() => Some("--output: needs a file's name"),
        1 => None,
        _ if output => Some("--output: can only take one .torrent file"),
        _ => None,
    }
}

fn edit(env: &mut Env, parsed: &Parsed, file: &OsString, change: &Change) -> Result<(), String> {
    let shown = file.to_string_lossy();
    let (input, output) = (env.cwd.join(file), parsed.path("output"));
    let old = match output {
        None => check_replaceable(&input).and_then(|()| read(&input)),
        Some(_) => read(&input),
    };
    let old = old.map_err(|e| format!("cannot read '{shown}': {}", reason(&e)))?;
    let mut editor = Editor::new(&old).map_err(|e| format!("cannot read '{shown}': {e}"))?;
    let lines = change(file, &mut editor)?;
    let new = editor.finish();
    let hash = editor.info_hash();
    // Two of them at once would take twice the memory.
    drop(editor);
    // Nothing is written that could not be read again.
    let again = Editor::new(&new).map_err(|e| format!("cannot change '{shown}': {e}"))?;
    let hashes = (hash, again.info_hash());
    drop(again);
    let dry = parsed.flag("dry_run");
    let write = output.is_some() || new != old;
    let place = output.unwrap_or_else(|| PathBuf::from(file));
    if write && !dry {
        save(&env.cwd.join(&place), &new).map_err(|e| e.to_string())?;
    }
    if dry || parsed.flag("verbose") {
        lines.iter().for_each(|line| env.say(printable(line)));
    }
    if dry && write {
        env.say(printable(&format!("would write '{}'", place.display())));
    }
    if hashes.0 != hashes.1 {
        env.error(format_args!("'{shown}': the info hash {} becomes {}", hashes.0, hashes.1));
    }
    Ok(())
}

/// Reads no more than a .torrent may have, whatever the file's length claims to be.
///
/// # Errors
/// What the system refuses.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Refuses devices and pipes: there is nothing in them that could be replaced.
fn check_replaceable(path: &Path) -> io::Result<()> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_file() || kind.is_dir() {
        return Ok(());
    }
    Err(io::Error::other("not a regular file (--output names one to write)"))
}

/// What is no address at all, so that a forgotten argument does not make an address of a file.
pub fn first_without_scheme<'a>(urls: impl IntoIterator<Item = &'a String>) -> Option<&'a String> {
    urls.into_iter().find(|url| !url.contains("://"))
}

/// Tiers of trackers as users write them.
pub fn tiers_text(tiers: &[Vec<String>]) -> String {
    tiers.iter().map(|tier| tier.join(",")).collect::<Vec<_>>().join("|")
}

/// What `--verbose` says of the trackers a .torrent had, as the original says it.
pub fn old_trackers(file: &OsString, editor: &Editor) -> Vec<String> {
    trackers("old", file, editor)
}

/// The same under another word than "old".
pub fn trackers(word: &str, file: &OsString, editor: &Editor) -> Vec<String> {
    let shown = file.to_string_lossy();
    let mut lines = vec![match editor.announce() {
        Some(announce) => format!("{word} announce for {shown}: {announce}"),
        None => "No announce found.".into(),
    }];
    let tiers = editor.announce_list();
    if !tiers.is_empty() {
        lines.push(format!("{word} announce-list for {shown}: {}", tiers_text(&tiers)));
    }
    lines
}
