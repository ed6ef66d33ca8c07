//! `btshowmetainfo`: prints what a .torrent says.
//!
//! Without options the labels are the original's, to the dot: scripts cut them out. The other
//! forms are in `forms`.

mod forms;

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use crate::app::client::{LoadError, Source};
use crate::cmd::env::{Env, reason};
use crate::cmd::options::{Kind, Opt, Parsed};
use crate::cmd::{Command, Exit};
use crate::io::screen::printable;
use crate::proto::magnet::{Magnet, PeerAddress};
use crate::proto::metainfo::{Info, Layout, MAX_SIZE, Metainfo};

/// The command's entry in the table.
pub const COMMAND: Command = Command {
    name: "btshowmetainfo",
    aliases: &[],
    summary: "Prints the content of .torrent files: info hash, names and lengths, trackers, \
              comment. Each is a FILE, an http or https URL, or - for standard input; of a magnet \
              link it prints what little that holds.",
    usage: &["FILE|URL|MAGNET-LINK|-..."],
    options: OPTIONS,
    notes: NOTES,
    run,
};

const OPTIONS: &[Opt] = &[
    Opt::new("json", Kind::Flag, "0", "print a JSON object a torrent, each on a line of its own"),
    Opt::new(
        "files",
        Kind::Flag,
        "0",
        "print a line a file: its path below the torrent's folder, a tab, and its bytes",
    ),
    Opt::new("tree", Kind::Flag, "0", "print folders and files as a tree, with their bytes"),
    Opt::new("magnet", Kind::Flag, "0", "print a magnet link a torrent"),
    Opt::new(
        "hash",
        Kind::Flag,
        "0",
        "print nothing but the info hash a torrent; that of version 2 only if there is no other",
    ),
];

const NOTES: &str = "\
One form of output at a time. The keys of --json, which are always there:
  file           the argument
  info_hash      40 hexadecimal digits; null in version 2 alone
  info_hash_v2   64 hexadecimal digits; null in version 1 alone
  name           of the file or folder
  multi_file     true if the name is that of a folder
  files          list of {path, length, pad}: path below the folder (the name
                 if there is none), bytes, and whether it is padding, which
                 --files and --tree leave out
  total          bytes of all files, padding included
  piece_length   bytes a piece
  pieces         how many
  announce       the tracker, or null
  announce_list  list of tiers, each a list of trackers
  httpseeds      list of web seeds (BEP 17)
  url_list       list of web seeds (BEP 19)
  comment        or null
  created_by     the program that made it, or null
  creation_date  seconds since 1970, or null
  private        true or false
  trailing       bytes after the end of the metainfo
";

/// What the original calls its version; part of the banner that scripts skip.
const BANNER: &str = "20130326 - decode BitTorrent metainfo files";

/// How long a server may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);

/// Prints a torrent, given what it is called on the command line.
type Form = fn(&mut Env, &OsStr, &Metainfo);

/// The forms of output that have an option.
const FORMS: [(&str, Form); 5] = [
    ("json", forms::json),
    ("files", forms::files),
    ("tree", forms::tree),
    ("magnet", |env, _, metainfo| env.say(metainfo.magnet())),
    ("hash", forms::hash),
];

fn run(env: &mut Env, parsed: &Parsed) -> Exit {
    let arguments = parsed.positionals();
    if arguments.is_empty() {
        return env.wrong_usage("needs at least one .torrent file");
    }
    if arguments.iter().filter(|a| *a == "-").count() > 1 {
        return env.wrong_usage("'-' is there twice, but standard input can only be read once");
    }
    let asked: Vec<_> = FORMS.iter().filter(|(name, _)| parsed.flag(name)).collect();
    let form = match asked[..] {
        [] => {
            env.say(format_args!("{} {BANNER}\n", env.name.clone()));
            ("", original as Form)
        }
        [form] => *form,
        [(one, _), (other, _), ..] => {
            return env.wrong_usage(format_args!("--{one} and --{other} cannot be used together"));
        }
    };
    let mut exit = Exit::Done;
    for argument in arguments {
        if let Err(why) = show(env, argument, form) {
            exit = env.failed(why);
        }
    }
    exit
}

fn show(env: &mut Env, argument: &OsStr, form: (&str, Form)) -> Result<(), String> {
    if let Some(magnet) = Source::of(argument, &env.cwd).magnet() {
        let magnet = magnet.map_err(|e| format!("bad magnet link: {e}"))?;
        return show_link(env, argument, &magnet, form.0);
    }
    let metainfo = load(env, argument)?;
    if metainfo.trailing > 0 {
        env.error(format_args!(
            "warning: '{}': bytes after the end of the metainfo",
            argument.to_string_lossy()
        ));
    }
    form.1(env, argument, &metainfo);
    Ok(())
}

/// A link holds much less than a .torrent; what it does is printed under the same labels.
fn show_link(env: &mut Env, argument: &OsStr, link: &Magnet, form: &str) -> Result<(), String> {
    if form == "hash" {
        env.say(link.info_hash);
        return Ok(());
    }
    if !form.is_empty() {
        return Err(LoadError::Magnet(argument.to_string_lossy().into()).to_string());
    }
    env.say(format_args!("info hash.....: {}", link.info_hash));
    if let Some(name) = &link.name {
        env.say(format_args!("file name.....: {}", printable(name)));
    }
    if let Some(length) = link.length {
        env.say(format_args!("file size.....: {length}"));
    }
    for tracker in &link.trackers {
        env.say(format_args!("announce url..: {}", printable(tracker)));
    }
    for seed in &link.web_seeds {
        env.say(format_args!("web seed......: {}", printable(seed)));
    }
    for peer in &link.peers {
        match peer {
            PeerAddress::At(address) => env.say(format_args!("peer..........: {address}")),
            PeerAddress::Named(host, port) => {
                env.say(format_args!("peer..........: {}:{port}", printable(host)));
            }
        }
    }
    Ok(())
}

fn load(env: &mut Env, argument: &OsStr) -> Result<Metainfo, String> {
    let shown = argument.to_string_lossy();
    let cannot = |why: String| format!("cannot read '{shown}': {why}");
    if argument == "-" {
        let mut bytes = Vec::new();
        let read = (&mut env.stdin).take(MAX_SIZE + 1).read_to_end(&mut bytes);
        read.map_err(|e| cannot(reason(&e)))?;
        return Metainfo::decode_any(&bytes).map_err(|e| cannot(e.to_string()));
    }
    Source::of(argument, &env.cwd).load_any(FETCH_TIMEOUT).map_err(|e| match e {
        // Under the name that the user gave.
        LoadError::File(_, e) => cannot(reason(&e)),
        LoadError::Invalid(_, e) => cannot(e.to_string()),
        e => e.to_string(),
    })
}

/// What the original prints.
fn original(env: &mut Env, argument: &OsStr, metainfo: &Metainfo) {
    for line in describe(argument, metainfo) {
        env.say(line);
    }
}

fn describe(file: &OsStr, metainfo: &Metainfo) -> Vec<String> {
    let base = Path::new(file).file_name().unwrap_or(file).to_string_lossy();
    let mut lines = vec![format!("metainfo file.: {}", printable(&base))];
    lines.extend(metainfo.hash_v1().map(|hash| format!("info hash.....: {hash}")));
    lines.extend(metainfo.info_hash_v2.map(|hash| format!("info hash v2..: {hash}")));
    describe_content(&metainfo.info, &mut lines);
    match &metainfo.announce {
        Some(announce) => lines.push(format!("announce url..: {}", printable(announce))),
        None => lines.push("announce url..: ***WARNING*** - no announce key".into()),
    }
    if !metainfo.announce_list.is_empty() {
        let tiers: Vec<String> = metainfo.announce_list.iter().map(|t| t.join(",")).collect();
        lines.push(format!("announce-list.: {}", printable(&tiers.join("|"))));
    }
    if !metainfo.httpseeds.is_empty() {
        lines.push(format!("http seeds....: {}", printable(&metainfo.httpseeds.join("|"))));
    }
    if let Some(comment) = &metainfo.comment {
        lines.push(format!("comment.......: {}", printable(comment)));
    }
    lines
}

fn describe_content(info: &Info, lines: &mut Vec<String>) {
    let name: Cow<str> = printable(&info.name);
    let length = u64::from(info.piece_length);
    let total = info.total();
    let sum = format!("{total} ({} * {length} + {})", total / length, total % length);
    match info.layout {
        Layout::Single => {
            lines.push(format!("file name.....: {name}"));
            lines.push(format!("file size.....: {sum}"));
        }
        Layout::Multi => {
            lines.push(format!("directory name: {name}"));
            lines.push("files.........:".into());
            for file in info.files.iter().filter(|f| !f.pad || info.version.has_one()) {
                lines.push(format!("   {} ({})", printable(&file.path.join("/")), file.length));
            }
            lines.push(format!("archive size..: {sum}"));
        }
    }
}
