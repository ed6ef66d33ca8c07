//! `btshowmetainfo`: prints what a .torrent says.
//!
//! The labels are the original's, to the dot: scripts cut them out.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::Path;

use crate::cmd::editing::read;
use crate::cmd::env::{Env, reason};
use crate::cmd::options::Parsed;
use crate::cmd::{Command, Exit};
use crate::io::screen::printable;
use crate::proto::metainfo::{Info, Layout, Metainfo};

/// The command's entry in the table.
pub const COMMAND: Command = Command {
    name: "btshowmetainfo",
    aliases: &[],
    summary: "Prints the content of .torrent files: info hash, names and lengths, trackers, \
              comment.",
    usage: &["FILE..."],
    options: &[],
    notes: "",
    run,
};

/// What the original calls its version; part of the banner that scripts skip.
const BANNER: &str = "20130326 - decode BitTorrent metainfo files";

fn run(env: &mut Env, parsed: &Parsed) -> Exit {
    if parsed.positionals().is_empty() {
        return env.wrong_usage("needs at least one .torrent file");
    }
    env.say(format_args!("{} {BANNER}\n", env.name.clone()));
    let mut exit = Exit::Done;
    for file in parsed.positionals() {
        match load(&env.cwd.join(file)) {
            Ok(metainfo) => {
                if metainfo.trailing > 0 {
                    env.error(format_args!(
                        "warning: '{}': bytes after the end of the metainfo",
                        file.to_string_lossy()
                    ));
                }
                for line in describe(file, &metainfo) {
                    env.say(line);
                }
            }
            Err(why) => {
                exit = env.failed(format_args!("cannot read '{}': {why}", file.to_string_lossy()));
            }
        }
    }
    exit
}

fn load(path: &Path) -> Result<Metainfo, String> {
    let bytes = read(path).map_err(|e| reason(&e))?;
    Metainfo::decode(&bytes).map_err(|e| e.to_string())
}

fn describe(file: &OsString, metainfo: &Metainfo) -> Vec<String> {
    let base = Path::new(file).file_name().unwrap_or(file).to_string_lossy();
    let mut lines = vec![
        format!("metainfo file.: {}", printable(&base)),
        format!("info hash.....: {}", metainfo.info_hash),
    ];
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
            for file in &info.files {
                lines.push(format!("   {} ({})", printable(&file.path.join("/")), file.length));
            }
            lines.push(format!("archive size..: {sum}"));
        }
    }
}
