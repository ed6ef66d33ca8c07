//! The options of a table as text.

use super::{Kind, Opt};

/// Columns of the usage text, as the original has them.
pub(crate) const WIDTH: usize = 79;
/// How far a description is indented.
const INDENT: usize = 10;

/// The options of `table` as text: a line `--name <arg>`, its description, an empty line.
pub fn describe(table: &[Opt]) -> String {
    let (gone, kept): (Vec<&Opt>, Vec<&Opt>) = table.iter().partition(|opt| opt.gone.is_some());
    let mut text = String::new();
    for opt in kept {
        entry(&mut text, &heading(opt), &explanation(opt));
    }
    entry(&mut text, "--help", "show this text");
    let letters = table.iter().any(|opt| opt.short.is_some());
    entry(&mut text, if letters { "-V, --version" } else { "--version" }, "show the version");
    if !gone.is_empty() {
        text.push_str("Accepted from old scripts, without effect:\n\n");
    }
    for opt in gone {
        entry(&mut text, &heading(opt), opt.gone.unwrap_or_default());
    }
    text
}

fn heading(opt: &Opt) -> String {
    let short = opt.short.map(|c| format!("-{c}, ")).unwrap_or_default();
    let arg =
        if matches!(opt.kind, Kind::Flag) { "[0|1]".into() } else { format!("<{}>", opt.arg) };
    format!("{short}--{} {arg}", opt.name)
}

fn explanation(opt: &Opt) -> String {
    let mut text = opt.help.to_owned();
    if let Kind::Choice(words) = opt.kind {
        text.push_str(&format!(": {}", words.join(", ")));
    }
    if !opt.aliases.is_empty() {
        text.push_str(&format!(" (also --{})", opt.aliases.join(", --")));
    }
    if !opt.default.is_empty() {
        text.push_str(&format!(" (defaults to {})", opt.default));
    }
    text
}

fn entry(text: &mut String, heading: &str, explanation: &str) {
    text.push_str(heading);
    text.push('\n');
    for line in wrapped(explanation, WIDTH - INDENT) {
        text.push_str(&" ".repeat(INDENT));
        text.push_str(&line);
        text.push('\n');
    }
    text.push('\n');
}

/// `text` in lines of at most `width` columns, broken at blanks; a longer word stays whole.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
