//! `bittornado --install DIR [-f]`: one symlink a command name, to this binary.
//!
//! Nothing is replaced without `-f`, a folder never; if anything is in the way, nothing at all is
//! made, and every obstacle is named.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::cmd::env::{Env, reason};
use crate::cmd::{Command, Exit};

/// Makes the symlinks for `table` as `args` (what follows `--install`) say.
pub fn install(env: &mut Env, table: &[&Command], args: &[OsString]) -> Exit {
    let force = args.iter().any(|arg| arg == "-f");
    let dirs: Vec<&OsString> = args.iter().filter(|arg| *arg != "-f").collect();
    let [dir] = dirs[..] else {
        return env.wrong_usage("--install: needs one folder, and -f to replace what is there");
    };
    let dir = env.cwd.join(dir);
    match plan(&dir, table, force) {
        Ok(plan) => make(env, &plan),
        Err(troubles) => {
            for trouble in troubles {
                env.error(trouble);
            }
            Exit::Failed
        }
    }
}

/// What links point to, and where they go.
struct Plan {
    target: PathBuf,
    links: Vec<PathBuf>,
}

fn plan(dir: &Path, table: &[&Command], force: bool) -> Result<Plan, Vec<String>> {
    let real = fs::canonicalize(dir)
        .map_err(|e| vec![format!("cannot install in '{}': {}", dir.display(), reason(&e))])?;
    if !real.is_dir() {
        return Err(vec![format!("cannot install in '{}': not a folder", dir.display())]);
    }
    let exe = std::env::current_exe()
        .and_then(fs::canonicalize)
        .map_err(|e| vec![format!("cannot find this program's own file: {}", reason(&e))])?;
    let names = table.iter().flat_map(|command| command.names());
    let links: Vec<PathBuf> = names.map(|name| dir.join(name)).collect();
    let troubles: Vec<String> =
        links.iter().filter_map(|link| obstacle(link, &exe, &real, force)).collect();
    if !troubles.is_empty() {
        return Err(troubles);
    }
    // Next to the binary a bare name does, and survives a move of the folder.
    let name = exe.file_name().filter(|_| exe.parent() == Some(&real));
    Ok(Plan { target: name.map_or_else(|| exe.clone(), PathBuf::from), links })
}

/// Why `link` cannot be made, if so.
fn obstacle(link: &Path, exe: &Path, dir: &Path, force: bool) -> Option<String> {
    let shown = link.display();
    let meta = match fs::symlink_metadata(link) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        Err(e) => return Some(format!("cannot look at '{shown}': {}", reason(&e))),
        Ok(meta) => meta,
    };
    let own_file = link.file_name().is_some_and(|name| dir.join(name) == exe);
    if meta.is_dir() {
        Some(format!("'{shown}' is a folder: it is not replaced"))
    } else if own_file {
        Some(format!("'{shown}' is this program's own file: it is not replaced"))
    } else if !force {
        Some(format!("'{shown}' exists already (-f replaces it)"))
    } else {
        None
    }
}

fn make(env: &mut Env, plan: &Plan) -> Exit {
    let mut exit = Exit::Done;
    for link in &plan.links {
        if let Err(e) = replace(&plan.target, link) {
            exit = env.failed(format_args!("cannot make '{}': {}", link.display(), reason(&e)));
        }
    }
    exit
}

/// Makes the link beside its place and moves it there, so that a command is never missing.
fn replace(target: &Path, link: &Path) -> io::Result<()> {
    let mut temporary = link.as_os_str().to_owned();
    temporary.push(format!(".{}.new", std::process::id()));
    symlink(target, &temporary)?;
    fs::rename(&temporary, link).inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}
