//! Settings that a user keeps: from the environment, and from a file of the command's own.
//!
//! Every command whose table has `--save_options` gets them, by the one parser: an option counts
//! more than its variable (`BT_MAX_UPLOAD_RATE` for `--max_upload_rate`), that more than the
//! file, and the file more than the default. Values obey the same checks wherever they come from.
//!
//! The file is `$XDG_CONFIG_HOME/bittornado/COMMAND.ini`; where there is none, that of the
//! original, `~/.BitTornado/config.COMMAND.ini` (without the command's `bt`), is read and never
//! written.

mod ini;

use super::env::{Env, reason};
use super::options::{Kind, Opt, Origin, Parsed};
use super::{Command, Exit, VERSION};
use crate::io::save;
use crate::proto::order;
use ini::Line;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Options that name what a command is to work on, which else its arguments do.
const NAMING: &[&str] = &["metafile", "url", "dfile"];

/// In the table of each command that has settings.
pub(super) const SAVE_OPTIONS: Opt = Opt::new(
    "save_options",
    Kind::Flag,
    "0",
    "save all that differs from the defaults in the file of settings, for the next time, but for \
     what is about one torrent; where nothing is named that it could work on, that is all",
);

/// In the table of each command that has settings.
pub(super) const PRINT_CONFIG: Opt = Opt::new(
    "print_config",
    Kind::Flag,
    "0",
    "show all settings, and for each that is not the default whether an option, the environment or \
     a line of the file of settings says so, in the form of that file; and end",
);

/// More than this is no file of settings.
const MAX_FILE: u64 = 1024 * 1024;

/// What is about one torrent, or this call alone: options, and nothing else.
const ONCE: &[&str] =
    &["metafile", "url", "priority", "save_torrent", "save_options", "print_config"];

/// What is read, but not written down by `--save_options`: with a target that was kept, the next
/// torrent would go to the place of the last one.
const NOT_SAVED: &[&str] = &["saveas"];

/// Fills in what the command line leaves open, and does what `--print_config` and
/// `--save_options` ask for.
///
/// # Errors
/// The command is not to run: something is wrong, which has been said, or all is done.
pub(super) fn apply(env: &mut Env, command: &Command, parsed: &mut Parsed) -> Result<(), Exit> {
    if !command.options.iter().any(|opt| opt.name == "save_options") {
        return Ok(());
    }
    from_environment(env, command, parsed)?;
    let places = Places::of(env, command);
    let file = from_files(env, command, parsed, &places)?;
    if parsed.flag("print_config") {
        env.put(&printed(command, parsed, &places, file.as_ref()));
        return Err(Exit::Done);
    }
    if parsed.flag("save_options") {
        save(env, parsed, &places, file.as_ref())?;
        if is_all(command, parsed) {
            return Err(Exit::Done);
        }
    }
    Ok(())
}

/// Where a command's settings may stand.
struct Places {
    /// Read first, and written; `None` if the environment names no place.
    own: Option<PathBuf>,
    /// The original's.
    old: Option<PathBuf>,
}

impl Places {
    fn of(env: &Env, command: &Command) -> Places {
        let absolute = |name| env.var(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
        let home = absolute("HOME");
        let config = absolute("XDG_CONFIG_HOME").or_else(|| Some(home.clone()?.join(".config")));
        let bare = command.name.trim_start_matches("bt");
        Places {
            own: config.map(|dir| dir.join("bittornado").join(format!("{}.ini", command.name))),
            old: home.map(|dir| dir.join(format!(".BitTornado/config.{bare}.ini"))),
        }
    }
}

/// A file that was read.
struct File {
    path: PathBuf,
    bytes: Vec<u8>,
}

fn variable(opt: &Opt) -> String {
    format!("BT_{}", opt.name.replace('-', "_").to_ascii_uppercase())
}

/// What may be kept.
fn is_kept(opt: &Opt) -> bool {
    !ONCE.contains(&opt.name)
}

fn from_environment(env: &mut Env, command: &Command, parsed: &mut Parsed) -> Result<(), Exit> {
    for opt in command.options.iter().filter(|opt| is_kept(opt)) {
        let name = variable(opt);
        let Some(value) = env.var(&name) else { continue };
        if let Err(problem) = parsed.preset(opt, value, Origin::Environment) {
            return Err(env.wrong_usage(format_args!("{name}: {problem}")));
        }
    }
    Ok(())
}

/// The first file that is there counts alone.
fn from_files(
    env: &mut Env,
    command: &Command,
    parsed: &mut Parsed,
    places: &Places,
) -> Result<Option<File>, Exit> {
    for path in [&places.own, &places.old].into_iter().flatten() {
        match read(path) {
            Ok(bytes) => {
                let file = File { path: path.clone(), bytes };
                from_file(env, command, parsed, &file)?;
                return Ok(Some(file));
            }
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            // Somebody else's home: under setpriv and its like the variables are not changed.
            Err(e) if e.kind() == ErrorKind::PermissionDenied && path.metadata().is_err() => {}
            Err(e) if e.kind() == ErrorKind::PermissionDenied => {
                env.error(format_args!(
                    "warning: cannot read '{}': {}",
                    path.display(),
                    reason(&e)
                ));
            }
            Err(e) => {
                let why = format!("cannot read '{}': {}", path.display(), reason(&e));
                return Err(env.failed(why));
            }
        }
    }
    Ok(None)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if path.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::other("it is too long for a file of settings"));
    }
    Ok(bytes)
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|c| *c == b'\n')
}

fn find(table: &'static [Opt], key: &[u8]) -> Option<&'static Opt> {
    table.iter().find(|opt| opt.is_called(&key.to_ascii_lowercase()))
}

fn from_file(
    env: &mut Env,
    command: &Command,
    parsed: &mut Parsed,
    file: &File,
) -> Result<(), Exit> {
    // The last of several counts.
    let mut entries: Vec<(usize, &'static Opt, &[u8])> = Vec::new();
    for (number, line) in (1..).zip(lines(&file.bytes)) {
        let place = || format!("'{}' line {number}", file.path.display());
        let (key, value) = match ini::read(line) {
            Line::Idle => continue,
            Line::Entry(key, value) => (key, value),
            Line::Odd => {
                return Err(env.wrong_usage(format_args!("{}: no 'key = value'", place())));
            }
        };
        let shown = String::from_utf8_lossy(key);
        match find(command.options, key) {
            Some(opt) if is_kept(opt) => entries.push((number, opt, value)),
            Some(_) => env.error(format_args!(
                "warning: {}: '{shown}' counts as an option alone, ignored",
                place()
            )),
            None => {
                env.error(format_args!("warning: {}: unknown key '{shown}', ignored", place()));
            }
        }
    }
    for (number, opt, value) in entries.into_iter().rev() {
        let value = OsString::from_vec(value.to_vec());
        if let Err(problem) = parsed.preset(opt, value, Origin::File(number)) {
            let place = format!("'{}' line {number}", file.path.display());
            return Err(env.wrong_usage(format_args!("{place}: {}: {problem}", opt.name)));
        }
    }
    Ok(())
}

fn is_quoted(opt: &Opt) -> bool {
    matches!(opt.kind, Kind::Text | Kind::Path | Kind::Choice(_))
}

/// Every setting in the form of the file, and where it comes from.
fn printed(command: &Command, parsed: &Parsed, places: &Places, file: Option<&File>) -> Vec<u8> {
    let mut text = format!("# Settings of {} (BitTornado {VERSION})\n", command.name).into_bytes();
    let told = match (file, &places.own) {
        (Some(file), _) => format!("# from '{}'", file.path.display()),
        (None, Some(path)) => format!("# no file; it could be '{}'", path.display()),
        (None, None) => "# no file: neither XDG_CONFIG_HOME nor HOME is set".into(),
    };
    text.extend(told.replace(char::is_control, "?").bytes());
    text.push(b'\n');
    let mut all: Vec<_> = parsed.all().filter(|(opt, ..)| is_kept(opt)).collect();
    order::by_key(&mut all, |(opt, ..)| opt.name);
    for (opt, value, origin) in all.into_iter().filter(|(opt, ..)| opt.gone.is_none()) {
        let from = match origin {
            None => String::new(),
            Some(Origin::CommandLine) => " # option".into(),
            Some(Origin::Environment) => format!(" # {}", variable(opt)),
            Some(Origin::File(line)) => format!(" # line {line}"),
        };
        match ini::written(opt.name, value.as_bytes(), is_quoted(opt)) {
            Some(line) => text.extend([&line[..], from.as_bytes(), b"\n"].concat()),
            None => text.extend(format!("# {} has a line break{from}\n", opt.name).bytes()),
        }
    }
    text
}

/// Whether there is nothing to do but to save: no torrent, folder, path or state file is named.
fn is_all(command: &Command, parsed: &Parsed) -> bool {
    let mut named = command.options.iter().filter(|opt| NAMING.contains(&opt.name));
    parsed.positionals().is_empty() && !named.any(|opt| parsed.given(opt.name))
}

/// Writes down what differs from the defaults.
fn save(env: &mut Env, parsed: &Parsed, places: &Places, read: Option<&File>) -> Result<(), Exit> {
    let Some(path) = &places.own else {
        return Err(env.failed("--save_options: neither XDG_CONFIG_HOME nor HOME is set"));
    };
    let old = read.filter(|file| file.path == *path).map(|file| &file.bytes[..]);
    let text = match updated(parsed, old) {
        Ok(text) => text,
        Err(name) => {
            let why = format!("--save_options: no file can hold the line break of --{name}");
            return Err(env.failed(why));
        }
    };
    if let Some(folder) = path.parent() {
        if let Err(e) = DirBuilder::new().recursive(true).mode(0o700).create(folder) {
            let why = format!("cannot make '{}': {}", folder.display(), reason(&e));
            return Err(env.failed(why));
        }
    }
    match save::save(path, &text) {
        Ok(()) => {
            env.error(format_args!("settings saved in '{}'", path.display()));
            Ok(())
        }
        Err(e) => Err(env.failed(e)),
    }
}

/// The text of the file with the values of now. Of an old one the order, the comments and what is
/// unknown stay.
///
/// # Errors
/// The option whose value cannot be written.
fn updated(parsed: &Parsed, old: Option<&[u8]>) -> Result<Vec<u8>, &'static str> {
    let is_saved = |opt: &Opt| is_kept(opt) && !NOT_SAVED.contains(&opt.name);
    let mut left: Vec<(&Opt, &OsStr)> = parsed
        .all()
        .filter(|(opt, ..)| is_saved(opt) && opt.gone.is_none())
        .map(|(opt, value, _)| (opt, value))
        .collect();
    order::by_key(&mut left, |(opt, _)| opt.name);
    let all = left.clone();
    let line = |(opt, value): (&Opt, &OsStr)| {
        ini::written(opt.name, value.as_bytes(), is_quoted(opt)).ok_or(opt.name)
    };
    let head = format!(
        "# Settings, written by --save_options of BitTornado {VERSION}: a 'key = value' a line,\n\
         # named as the options. What is not here is as --help says.\n"
    );
    let old = old.filter(|old| !old.trim_ascii().is_empty()).unwrap_or(head.as_bytes());
    let mut text = Vec::new();
    for raw in lines(old.strip_suffix(b"\n").unwrap_or(old)) {
        let known = match ini::read(raw) {
            Line::Entry(key, _) => {
                let key = key.to_ascii_lowercase();
                all.iter().find(|(opt, _)| opt.is_called(&key))
            }
            _ => None,
        };
        match known {
            Some(setting) => {
                text.extend(line(*setting)?);
                left.retain(|(opt, _)| opt.name != setting.0.name);
            }
            None => text.extend(raw),
        }
        text.push(b'\n');
    }
    for setting in left.into_iter().filter(|(opt, value)| *value != opt.default) {
        text.extend(line(setting)?);
        text.push(b'\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::run;

    /// What a client's call gives: exit, standard output, standard error.
    fn call(home: &Path, vars: &[(&str, &str)], args: &[&str]) -> (Exit, String, String) {
        call_of("btdownload", home, vars, args)
    }

    fn call_of(
        name: &str,
        home: &Path,
        vars: &[(&str, &str)],
        args: &[&str],
    ) -> (Exit, String, String) {
        let mut all = vec![name];
        all.extend(args);
        let (mut env, said) = Env::captured("bittornado", all, "/nonexistent");
        let vars: Vec<(String, OsString)> =
            vars.iter().map(|(name, value)| ((*name).into(), value.into())).collect();
        let home = home.as_os_str().to_owned();
        env.vars = Box::new(move |name| match name {
            "HOME" => Some(home.clone()),
            _ => vars.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone()),
        });
        let exit = run(&mut env);
        (exit, said.out(), said.err())
    }

    fn printed(home: &Path, vars: &[(&str, &str)], args: &[&str]) -> String {
        let (exit, out, err) = call(home, vars, &[args, &["--print_config"]].concat());
        assert_eq!((exit, err.as_str()), (Exit::Done, ""));
        out
    }

    /// A home of its own, removed at the end.
    struct Home(PathBuf);

    impl Home {
        fn new(name: &str) -> Home {
            let path =
                std::env::temp_dir().join(format!("bt-config-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(path.join(".config/bittornado")).unwrap();
            fs::create_dir_all(path.join(".BitTornado")).unwrap();
            Home(path)
        }

        fn own(&self) -> PathBuf {
            self.0.join(".config/bittornado/btdownloadheadless.ini")
        }

        fn old(&self) -> PathBuf {
            self.0.join(".BitTornado/config.downloadheadless.ini")
        }
    }

    impl Drop for Home {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn an_option_goes_before_a_variable_and_that_before_the_file() {
        let home = Home::new("order");
        fs::write(home.own(), "max_uploads = 9\nmin-uploads: 2\nBind = \"::1\"\nbind=127.0.0.1")
            .unwrap();
        fs::write(home.old(), "max_initiate = 3\n").unwrap();
        let vars = [("BT_MAX_UPLOADS", "8"), ("BT_SNUB_TIME", "20"), ("BT_URL", "http://x")];
        let text = printed(&home.0, &vars, &["--snub-time", "10"]);
        for line in [
            "snub_time = 10 # option",
            "max_uploads = 8 # BT_MAX_UPLOADS",
            "min_uploads = 2 # line 2",
            "bind = \"127.0.0.1\" # line 4",
            "max_initiate = 40",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("url"), "{text}");
        // What it prints is such a file again.
        fs::write(home.own(), &text).unwrap();
        let again = printed(&home.0, &[], &[]);
        assert!(again.contains("snub_time = 10 # line"), "{again}");
    }

    #[test]
    fn a_file_of_the_original_is_read() {
        let home = Home::new("original");
        fs::write(home.old(), ORIGINAL).unwrap();
        let (exit, out, err) = call(&home.0, &[], &["--print_config"]);
        assert_eq!(exit, Exit::Done, "{err}");
        assert!(out.contains("minport = 10000 # line"), "{out}");
        assert!(out.contains(".BitTornado/config.downloadheadless.ini'"), "{out}");
        // Only what differs from the default counts as the user's choice.
        let (mut env, _) = Env::captured("x", [""; 0], "/");
        let command = &crate::cmd::btdownloadheadless::COMMAND;
        let asked = super::super::options::parse(command.options, &[]);
        let Ok(super::super::options::Asked::Run(mut parsed)) = asked else { panic!() };
        let file = File { path: home.old(), bytes: ORIGINAL.into() };
        from_file(&mut env, command, &mut parsed, &file).unwrap();
        assert!(parsed.given("minport") && !parsed.given("breakup_seed_bitfield"));
    }

    #[test]
    fn what_is_wrong_is_told_with_file_and_line() {
        let home = Home::new("wrong");
        let own = home.own().display().to_string();
        for (text, said) in [
            ("\nmax_uploads = 0\n", "' line 2: max_uploads: '0' is not between 1 and 10000\n"),
            ("max_uploads\n", "' line 1: no 'key = value'\n"),
            ("max_uploads =", "' line 1: max_uploads: '' is not a whole number\n"),
        ] {
            fs::write(home.own(), text).unwrap();
            let (exit, _, err) = call(&home.0, &[], &["x.torrent"]);
            assert_eq!((exit, err), (Exit::Usage, format!("btdownload: '{own}{said}")));
        }
        fs::write(home.own(), "nosuch = 1\nurl = x\n").unwrap();
        let (exit, _, err) = call(&home.0, &[], &["--print_config"]);
        let lines = [
            format!("btdownload: warning: '{own}' line 1: unknown key 'nosuch', ignored\n"),
            format!(
                "btdownload: warning: '{own}' line 2: 'url' counts as an option alone, ignored\n"
            ),
        ];
        assert_eq!((exit, err), (Exit::Done, lines.concat()));
        let (exit, _, err) = call(&home.0, &[("BT_PEX", "yes")], &["--print_config"]);
        assert_eq!((exit, &*err), (Exit::Usage, "btdownload: BT_PEX: 'yes' is not 0 or 1\n"));
    }

    #[test]
    fn settings_are_saved_and_what_a_hand_wrote_stays() {
        let home = Home::new("save");
        fs::write(home.old(), "max_uploads = 9\n").unwrap();
        let args = ["--save_options", "--pex=0", "--on_done", "a \"b\"", "--saveas", "/x"];
        let (exit, _, err) = call(&home.0, &[], &args);
        assert_eq!(exit, Exit::Done, "{err}");
        let text = fs::read_to_string(home.own()).unwrap();
        let (_, settings) = text.split_once("says.\n").unwrap();
        assert_eq!(settings, "max_uploads = 9\non_done = \"a \"b\"\"\npex = 0\n");
        fs::write(home.own(), "# mine\nPEX: 0 # off\n\nnosuch = 1\nsaveas = /y").unwrap();
        let (exit, ..) = call(&home.0, &[], &["--save_options", "--pex", "--max_uploads", "8"]);
        assert_eq!(exit, Exit::Done);
        let text = fs::read_to_string(home.own()).unwrap();
        assert_eq!(text, "# mine\npex = 1\n\nnosuch = 1\nsaveas = /y\nmax_uploads = 8\n");
        let (exit, _, err) = call(&home.0, &[], &["--save_options", "--on_done", "a\nb"]);
        assert_eq!((exit, err.contains("--on_done")), (Exit::Failed, true), "{err}");
        assert_eq!(fs::read_to_string(home.own()).unwrap(), text);
    }

    #[test]
    fn where_nothing_is_named_to_work_on_all_commands_only_save() {
        let home = Home::new("bare");
        let saving = |c: &&&Command| c.options.iter().any(|opt| opt.name == "save_options");
        let names: Vec<&str> =
            super::super::COMMANDS.iter().filter(saving).map(|c| c.name).collect();
        assert!(names.len() > 4, "{names:?}");
        for name in names {
            let (exit, _, err) = call_of(name, &home.0, &[], &["--save_options"]);
            assert_eq!(exit, Exit::Done, "{name}: {err}");
        }
    }

    /// As the original writes it.
    const ORIGINAL: &str = r#"# Generated by BitTornado/T-0.4.1
# 11/23/26 04:00:00

alloc_rate = 2.0
alloc_type = "normal"
auto_flush = 0
auto_kick = 1
bind = ""
breakup_seed_bitfield = 1
buffer_reads = 1
check_hashes = 1
crypto_allowed = 1
crypto_only = 0
crypto_stealth = 0
dedicated_seed_id = ""
display_interval = 0.5
double_check = 1
download_slice_size = 16384
expire_cache_data = 10
http_timeout = 60
ip = ""
ipv6_binds_v4 = 0
ipv6_enabled = 0
keepalive_interval = 120.0
lock_files = 1
lock_while_reading = 0
max_connections = 0
max_download_rate = 0
max_files_open = 50
max_initiate = 40
max_message_length = 8388608
max_rate_period = 20.0
max_slice_length = 131072
max_upload_rate = 0
max_uploads = 7
maxport = 60000
min_peers = 20
min_uploads = 4
minport = 10000
random_port = 1
rarest_first_cutoff = 2
rarest_first_priority_cutoff = 5
request_backlog = 10
rerequest_interval = 300
round_robin_period = 30
saveas = ""
security = 1
selector_enabled = 1
snub_time = 30.0
spew = 0
super_seeder = 0
tcp_ack_fudge = 0.03
timeout = 300.0
timeout_check_interval = 60.0
triple_check = 0
upload_rate_fudge = 5.0
upload_unit_size = 1460
upnp_nat_access = 1
write_buffer_size = 4
"#;
}
