//! The manual pages of `man/`: their lists of options are made from the tables of the commands,
//! by `scripts/manuals`, which runs this file with `MANUALS=write`.

use bittornado::cmd::options::{Kind, Opt};
use bittornado::cmd::{COMMANDS, Command};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Program;

/// What stands between these lines is made here.
const BEGIN: &str = ".\\\" The options, made by scripts/manuals from the tables in src/cmd:\n";
const END: &str = ".\\\" The end of the options.\n";

/// Longest line of a page's source, in characters.
const WIDTH: usize = 78;

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("man").join(name)
}

fn read(name: &str) -> String {
    let path = page(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read '{}': {e}", path.display()))
}

/// A page as it ought to be: what is written by hand, and the options.
fn made(command: &Command) -> String {
    let text = read(&format!("{}.1", command.name));
    let (before, rest) = text.split_once(BEGIN).expect("a page has a place for its options");
    let (_, after) = rest.split_once(END).expect("the place has an end");
    format!("{before}{BEGIN}{}{END}{after}", options(command.options))
}

fn options(table: &[Opt]) -> String {
    let (gone, kept): (Vec<&Opt>, Vec<&Opt>) = table.iter().partition(|opt| opt.gone.is_some());
    let mut text = ".Bl -tag -width Ds\n".to_string();
    for opt in kept {
        text += &head(opt);
        text += &body(&sentence(opt.help, opt));
        text += &values(opt);
    }
    let letters = table.iter().any(|opt| opt.short.is_some());
    text += ".It Fl -help\nShow the usage, and end.\n";
    text += if letters { ".It Fl V , -version\n" } else { ".It Fl -version\n" };
    text += "Show the version, and end.\n.El\n";
    if !gone.is_empty() {
        text += ".Pp\nAccepted from old scripts, with a warning and without effect:\n";
        text += ".Bl -tag -width Ds\n";
        for opt in gone {
            text += &head(opt);
            text += &body(&sentence(opt.gone.unwrap_or_default(), opt));
        }
        text += ".El\n";
    }
    text
}

/// The names of an option and of its value.
fn head(opt: &Opt) -> String {
    let value = match opt.kind {
        Kind::Flag => " Op Ar 0 | 1".to_string(),
        _ => format!(" Ar {}", opt.arg),
    };
    let short = opt.short.map(|letter| format!("{letter} , ")).unwrap_or_default();
    let aliases: String = opt.aliases.iter().map(|alias| format!(" , -{alias}")).collect();
    format!(".It Fl {short}-{}{aliases}{value}\n", opt.name)
}

fn sentence(help: &str, opt: &Opt) -> String {
    let mut chars = help.chars();
    let first = chars.next().expect("every option is explained").to_uppercase();
    let words = match opt.kind {
        Kind::Choice(words) => format!(": {}", words.join(", ")),
        _ => String::new(),
    };
    format!("{first}{}{words}.", chars.as_str())
}

/// What an option takes, and what it is when it is not given.
fn values(opt: &Opt) -> String {
    let range = match opt.kind {
        Kind::Int { min, max: i64::MAX } => format!("{min} or more"),
        Kind::Int { min, max } => format!("{min} to {max}"),
        Kind::Float { min, max: f64::MAX } => format!("{min} or more"),
        Kind::Float { min, max } => format!("{min} to {max}"),
        _ => String::new(),
    };
    let default = match opt.default {
        "" => String::new(),
        default => format!("{default} by default"),
    };
    match [range, default].into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join("; ") {
        empty if empty.is_empty() => empty,
        values => body(&format!("({values})")),
    }
}

/// Text as lines of a page: each sentence begins one, and nothing in it is taken for markup.
fn body(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = word.replace('\\', "\\e").replace("--", "\\-\\-");
        match lines.last_mut() {
            Some(line) if !line.ends_with(['.', '?']) && line.len() + word.len() < WIDTH => {
                *line = format!("{line} {word}");
            }
            _ if word.starts_with(['.', '\'']) => lines.push(format!("\\&{word}")),
            _ => lines.push(word),
        }
    }
    lines.join("\n") + "\n"
}

#[test]
fn the_manuals_have_the_options_of_the_tables() {
    let write = std::env::var_os("MANUALS").is_some_and(|word| word == "write");
    for command in COMMANDS {
        let name = format!("{}.1", command.name);
        let made = made(command);
        if write {
            fs::write(page(&name), &made).unwrap();
        }
        assert!(read(&name) == made, "man/{name} is stale: run scripts/manuals");
    }
}

#[test]
fn every_name_has_a_manual_and_a_place_in_the_overview() {
    let overview = read("bittornado.7");
    for command in COMMANDS {
        for alias in command.aliases {
            let leads = fs::read_link(page(&format!("{alias}.1"))).unwrap();
            assert_eq!(leads, Path::new(&format!("{}.1", command.name)), "man/{alias}.1");
        }
        let text = read(&format!("{}.1", command.name));
        for part in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "EXAMPLES", "SEE ALSO"] {
            assert!(text.contains(&format!("\n.Sh {part}\n")), "{}.1 has no {part}", command.name);
        }
        for name in command.names() {
            assert!(overview.contains(&format!("Xr {name} 1")), "bittornado.7 lacks {name}");
        }
    }
}

#[test]
fn nothing_in_a_help_text_is_taken_for_markup() {
    assert_eq!(body("a. b"), "a.\nb\n");
    assert_eq!(body(".torrent 'x' \\n --udp 1"), "\\&.torrent 'x' \\en \\-\\-udp 1\n");
    let lines = body(&"word ".repeat(40));
    assert!(lines.lines().all(|line| line.len() <= WIDTH && !line.is_empty()), "{lines}");
}

#[test]
#[ignore = "needs mandoc"]
fn mandoc_finds_nothing_to_say_about_the_manuals() {
    let mut pages = fs::read_dir(page("")).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
    pages.sort();
    assert!(pages.len() > COMMANDS.len());
    // A page is not the less right where the others are not installed.
    let lint = Program::new("mandoc").args(["-T", "lint", "-W", "style"]).args(&pages).output();
    let lint = String::from_utf8(lint.unwrap().stdout).unwrap();
    let elsewhere = ["referenced manual not found", "outdated mandoc.db"];
    let ours = |line: &&str| !elsewhere.iter().any(|part| line.contains(part));
    let said: Vec<_> = lint.lines().filter(ours).collect();
    assert!(said.is_empty(), "{}", said.join("\n"));
}
