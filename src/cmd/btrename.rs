//! `btrename`: changes the name that a .torrent suggests for its file or folder.

use std::ffi::OsString;
use std::path::Path;

use crate::cmd::editing::{self, edit_all};
use crate::cmd::env::Env;
use crate::cmd::options::{Kind, Opt, Parsed};
use crate::cmd::{Command, Exit};
use crate::proto::metainfo::edit::Editor;
use crate::proto::metainfo::is_safe_name;

/// The command's entry in the table.
pub const COMMAND: Command = Command {
    name: "btrename",
    aliases: &[],
    summary: "Changes the name of the file or folder in .torrent files. This makes it another \
              torrent: the info hash changes, and its old and new form are told.",
    usage: &["FILE NAME", "-m FILE..."],
    options: OPTIONS,
    notes: "",
    run,
};

const OPTIONS: &[Opt] = &[
    Opt::new("match", Kind::Flag, "0", "name each as its FILE is called, without .torrent")
        .short('m'),
    editing::VERBOSE,
    editing::DRY_RUN,
    editing::OUTPUT,
];

fn run(env: &mut Env, parsed: &Parsed) -> Exit {
    if parsed.flag("match") {
        return edit_all(env, parsed, parsed.positionals(), &|file, editor| {
            rename(file, editor, name_of(file)?)
        });
    }
    let [file, name] = parsed.positionals() else {
        return env.wrong_usage("needs one .torrent file and its new name (or --match and files)");
    };
    let Some(name) = name.to_str().filter(|name| is_safe_name(name)) else {
        let name = name.to_string_lossy();
        return env.wrong_usage(format_args!("name '{name}' disallowed for security reasons"));
    };
    edit_all(env, parsed, std::slice::from_ref(file), &|file, editor| rename(file, editor, name))
}

fn rename(file: &OsString, editor: &mut Editor, name: &str) -> Result<Vec<String>, String> {
    let shown = file.to_string_lossy();
    let fail = |e| format!("cannot rename '{shown}': {e}");
    let old = editor.name().map_err(fail)?;
    editor.set_name(name).map_err(fail)?;
    Ok(vec![format!("{shown}: {old} -> {name}")])
}

/// What a .torrent file is called, without folders and ending.
fn name_of(file: &OsString) -> Result<&str, String> {
    let base = Path::new(file).file_name().unwrap_or_default();
    let shown = file.to_string_lossy();
    let base = base.to_str().ok_or_else(|| format!("the name of '{shown}' is not UTF-8"))?;
    let name = base.strip_suffix(".torrent");
    name.ok_or_else(|| format!("{shown} does not appear to be a .torrent file"))
}
