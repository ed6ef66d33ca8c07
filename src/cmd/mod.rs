//! Floor 3: the table of commands, the dispatch on the program's name, exit codes.
//!
//! A new command is one file here and one line in [`COMMANDS`].

pub mod btcheck;
pub mod btcompletedir;
pub mod btcopyannounce;
pub mod btdownloadcurses;
pub mod btdownloadheadless;
pub mod btlaunchmany;
pub mod btlaunchmanycurses;
pub mod btmakemetafile;
pub mod btpublish;
pub mod btreannounce;
pub mod btrename;
pub mod btsethttpseeds;
pub mod btshowmetainfo;
pub mod bttrack;
mod completions;
mod config;
mod downloading;
mod editing;
pub mod env;
mod fullscreen;
mod install;
mod json;
mod making;
pub mod options;
mod progress;
mod service;

use std::process::ExitCode;

use env::Env;
use options::{Asked, Opt, Parsed, describe, parse, wrapped};

/// Every command, in the order in which they are listed.
#[rustfmt::skip]
pub const COMMANDS: &[&Command] = &[
    &btcheck::COMMAND,
    &btcompletedir::COMMAND,
    &btcopyannounce::COMMAND,
    &btdownloadcurses::COMMAND,
    &btdownloadheadless::COMMAND,
    &btlaunchmany::COMMAND,
    &btlaunchmanycurses::COMMAND,
    &btmakemetafile::COMMAND,
    &btpublish::COMMAND,
    &btreannounce::COMMAND,
    &btrename::COMMAND,
    &btsethttpseeds::COMMAND,
    &btshowmetainfo::COMMAND,
    &bttrack::COMMAND,
];

/// The program's name when it is not called as one of its commands.
const PROGRAM: &str = "bittornado";
/// What Debian's alternatives and the original's file names append to a command.
const SUFFIXES: [&str; 2] = [".bittornado", ".py"];
/// Version of the whole suite.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One command: everything its doors (parser, usage, installer) need to know.
pub struct Command {
    /// The name it is called by.
    pub name: &'static str,
    /// Other names for the same.
    pub aliases: &'static [&'static str],
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// What follows the options, one line for each way to call it; `&[""]` for nothing.
    pub usage: &'static [&'static str],
    /// Its options.
    pub options: &'static [Opt],
    /// What the usage says below the options, as it is to be printed; may be empty.
    pub notes: &'static str,
    /// Does the work.
    pub run: fn(&mut Env, &Parsed) -> Exit,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The work is done: 0.
    Done,
    /// It could not be done, and why has been said: 1.
    Failed,
    /// The command was called wrongly: 2.
    Usage,
    /// What was checked is damaged or missing: 6.
    Damaged,
}

impl Exit {
    /// The number the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Damaged => 6,
        }
    }
}

impl Command {
    /// The command's name and its other names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// Usage text under the name it was called by.
    pub fn help(&self, called: &str) -> String {
        let mut text = String::new();
        for (i, line) in self.usage.iter().enumerate() {
            let lead = if i == 0 { "usage:" } else { "      " };
            text.push_str(format!("{lead} {called} [OPTION]... {line}").trim_end());
            text.push('\n');
        }
        let summary = wrapped(self.summary, options::WIDTH).join("\n");
        text.push_str(&format!("\n{summary}\n\n{}", describe(self.options)));
        if !self.notes.is_empty() {
            text.push_str(self.notes.trim_end());
            text.push('\n');
        }
        text
    }

    fn start(&self, env: &mut Env) -> Exit {
        if env.args.is_empty() {
            env.put(self.help(&env.name).as_bytes());
            return Exit::Usage;
        }
        match parse(self.options, &env.args) {
            Err(wrong) => env.wrong_usage(wrong),
            Ok(Asked::Help) => {
                env.put(self.help(&env.name).as_bytes());
                Exit::Done
            }
            Ok(Asked::Version) => {
                env.say(format_args!("{} {VERSION} (BitTornado)", self.name));
                Exit::Done
            }
            Ok(Asked::Run(mut parsed)) => {
                if let Err(exit) = config::apply(env, self, &mut parsed) {
                    return exit;
                }
                for (name, why) in parsed.gone() {
                    env.error(format_args!("warning: --{name} has no effect: {why}"));
                }
                (self.run)(env, &parsed)
            }
        }
    }
}

/// Runs the command the program was called as.
pub fn main() -> ExitCode {
    let mut env = Env::real(std::env::args_os());
    ExitCode::from(run(&mut env).code())
}

/// Runs the command `env` asks for, by name or by first argument.
pub fn run(env: &mut Env) -> Exit {
    let exit = dispatch(env, COMMANDS);
    env.finish(exit)
}

fn dispatch(env: &mut Env, table: &[&Command]) -> Exit {
    if let Some(command) = find(table, &env.name) {
        env.name = bare(&env.name).to_owned();
        return command.start(env);
    }
    let Some(first) = env.args.first().map(|arg| arg.to_string_lossy().into_owned()) else {
        env.put(program_help(&env.name, table).as_bytes());
        return Exit::Usage;
    };
    if let Some(command) = find(table, &first) {
        env.args.remove(0);
        env.name = bare(&first).to_owned();
        return command.start(env);
    }
    program(env, table, &first)
}

/// What the program does when it is not called as a command.
fn program(env: &mut Env, table: &[&Command], first: &str) -> Exit {
    let text = match first {
        "--install" => {
            let args = env.args.split_off(1);
            return install::install(env, table, &args);
        }
        "--completions" => match completion(env, table) {
            Ok(text) => text,
            Err(exit) => return exit,
        },
        _ if env.args.len() > 1 && first.starts_with('-') => {
            let extra = env.args[1].to_string_lossy().into_owned();
            return env.wrong_usage(format_args!("{first}: takes no argument, but got '{extra}'"));
        }
        "--list" => names(table).map(|name| format!("{name}\n")).collect(),
        "--version" => format!("{PROGRAM} {VERSION}\n"),
        "--help" | "-h" => program_help(&env.name, table),
        _ if first.starts_with('-') => {
            return env.wrong_usage(format_args!("{first}: there is no such option (try --help)"));
        }
        _ => {
            let list = names(table).collect::<Vec<_>>().join(", ");
            return env.wrong_usage(format_args!("there is no command '{first}', only {list}"));
        }
    };
    env.put(text.as_bytes());
    Exit::Done
}

/// The script that the one argument after `--completions` asks for.
fn completion(env: &mut Env, table: &[&Command]) -> Result<String, Exit> {
    let asked = match &env.args[1..] {
        [shell] => completions::SHELLS.iter().find(|(name, _)| shell == name),
        _ => None,
    };
    let shells: Vec<&str> = completions::SHELLS.iter().map(|(name, _)| *name).collect();
    let wrong = format!("--completions: needs a shell, one of {}", shells.join(", "));
    asked.map(|(_, made)| made(table)).ok_or_else(|| env.wrong_usage(wrong))
}

fn names<'a>(table: &'a [&Command]) -> impl Iterator<Item = &'static str> + 'a {
    table.iter().flat_map(|command| command.names())
}

fn find<'a>(table: &[&'a Command], called: &str) -> Option<&'a Command> {
    table.iter().find(|command| command.names().any(|name| name == bare(called))).copied()
}

fn bare(called: &str) -> &str {
    SUFFIXES.iter().find_map(|suffix| called.strip_suffix(suffix)).unwrap_or(called)
}

fn program_help(called: &str, table: &[&Command]) -> String {
    let mut text = format!(
        "usage: {called} COMMAND [ARGUMENT]...\n       \
                {called} --install DIR [-f]\n       \
                {called} --completions bash|fish|zsh\n       \
                {called} --list | --version | --help\n\n\
         The commands, each of them also by a symlink of its name (--install makes\n\
         them in a folder, -f replaces what is there):\n\n"
    );
    for command in table {
        let names = command.names().collect::<Vec<_>>().join(", ");
        text.push_str(&format!("  {names}\n"));
        for line in wrapped(command.summary, options::WIDTH - 10) {
            text.push_str(&format!("          {line}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use env::Captured;
    use options::Kind;
    use std::collections::BTreeSet;

    const HEAR: Command = Command {
        name: "bthear",
        aliases: &["btlisten"],
        summary: "says what it hears",
        usage: &["WORD...", "--loud WORD"],
        options: &[
            Opt::new("loud", Kind::Flag, "0", "say it loudly"),
            Opt::new("encoding", Kind::Text, "", "encoding").gone("text is text"),
        ],
        notes: "WORD is a word.",
        run: |env, parsed| {
            for word in parsed.positionals() {
                env.say(word.to_string_lossy());
            }
            if parsed.flag("loud") { env.failed("too loud") } else { Exit::Done }
        },
    };
    const TABLE: &[&Command] = &[&HEAR];

    fn call(name: &str, args: &[&str]) -> (Exit, String, String) {
        let (mut env, captured): (Env, Captured) = Env::captured(name, args, "/");
        let exit = dispatch(&mut env, TABLE);
        (exit, captured.out(), captured.err())
    }

    #[test]
    fn a_command_answers_to_its_names_and_the_known_suffixes() {
        for name in ["bthear", "btlisten", "bthear.py", "btlisten.bittornado"] {
            assert_eq!(call(name, &["a"]), (Exit::Done, "a\n".into(), "".into()), "{name}");
            assert_eq!(call("bittornado", &[name, "a"]).1, "a\n", "{name}");
        }
    }

    #[test]
    fn what_is_not_exactly_a_name_is_no_command() {
        for name in ["xbthear", "bthear2", "BTHEAR", "bthea", "bthear.exe", "bthear.py.py", ""] {
            let (exit, out, err) = call("bittornado", &[name, "a"]);
            assert_eq!((exit, out.as_str()), (Exit::Usage, ""), "{name}");
            assert_eq!(
                err,
                format!("bittornado: there is no command '{name}', only bthear, btlisten\n")
            );
            assert_eq!(call(name, &["bthear", "b"]).1, "b\n");
        }
    }

    #[test]
    fn without_arguments_the_usage_is_on_standard_output_and_the_exit_is_2() {
        let (exit, out, err) = call("btlisten", &[]);
        assert_eq!((exit, err.as_str()), (Exit::Usage, ""));
        assert!(
            out.starts_with(
                "usage: btlisten [OPTION]... WORD...\n       btlisten [OPTION]... --loud WORD\n\n\
                 says what it hears\n\n--loud [0|1]\n"
            ),
            "{out}"
        );
        assert!(out.ends_with("WORD is a word.\n"), "{out}");
        let (exit, out, err) = call("bittornado", &[]);
        assert_eq!((exit, err.as_str()), (Exit::Usage, ""));
        assert!(out.starts_with("usage: bittornado COMMAND"), "{out}");
        assert_eq!(call("bittornado", &["bthear"]).0, Exit::Usage);
    }

    #[test]
    fn help_and_version_are_on_standard_output_and_exit_0() {
        let (exit, out, _) = call("bthear", &["--help"]);
        assert_eq!((exit, out), (Exit::Done, call("bthear", &[]).1));
        assert_eq!(call("bthear", &["--version"]).1, format!("bthear {VERSION} (BitTornado)\n"));
        assert_eq!(
            call("bittornado", &["--version"]),
            (Exit::Done, format!("bittornado {VERSION}\n"), "".into())
        );
        assert_eq!(call("bittornado", &["--help"]).0, Exit::Done);
        assert_eq!(call("bittornado", &["--list"]).1, "bthear\nbtlisten\n");
    }

    #[test]
    fn a_mistake_is_one_line_on_standard_error_and_exit_2() {
        assert_eq!(
            call("bthear", &["--loud=x"]),
            (Exit::Usage, "".into(), "bthear: --loud: 'x' is not 0 or 1\n".into())
        );
        for args in [
            &["--nosuch"][..],
            &["--list", "x"],
            &["--install"],
            &["--version", "-f"],
            &["--completions"],
            &["--completions", "tcsh"],
        ] {
            let (exit, out, err) = call("bittornado", args);
            assert_eq!((exit, out.as_str()), (Exit::Usage, ""), "{args:?}");
            assert_eq!(err.lines().count(), 1, "{args:?}: {err}");
            assert!(err.starts_with(&format!("bittornado: {}", args[0])), "{args:?}: {err}");
        }
    }

    #[test]
    fn an_option_without_effect_gives_one_warning_and_the_command_runs() {
        let (exit, out, err) = call("bthear", &["--encoding", "latin1", "--encoding=x", "a"]);
        assert_eq!((exit, out.as_str()), (Exit::Done, "a\n"));
        assert_eq!(err, "bthear: warning: --encoding has no effect: text is text\n");
    }

    #[test]
    fn every_table_is_sound() {
        let mut commands = BTreeSet::new();
        for command in COMMANDS {
            for name in command.names() {
                assert!(commands.insert(name), "{name} is there twice");
                assert_eq!(bare(name), name);
            }
            assert!(!command.summary.is_empty() && !command.usage.is_empty(), "{}", command.name);
            let mut names = BTreeSet::from(["help".to_owned(), "version".to_owned()]);
            let mut letters = BTreeSet::from(['h', 'V']);
            for opt in command.options {
                let place = format!("{} --{}", command.name, opt.name);
                for name in std::iter::once(&opt.name).chain(opt.aliases) {
                    assert!(name.len() > 1 && !name.contains(['=', ' ']), "{place}");
                    assert!(names.insert(name.replace('-', "_")), "{place}: {name} twice");
                }
                assert!(opt.short.is_none_or(|c| c.is_ascii() && letters.insert(c)), "{place}");
                assert!(!opt.help.is_empty() && !opt.arg.is_empty(), "{place}");
                assert_eq!(options::check_default(opt), Ok(()), "{place}");
            }
        }
    }
}
