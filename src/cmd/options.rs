//! Option tables: one table a command feeds the parser, the usage text and the tests.
//!
//! The grammar is the original's with what people expect added to it: a boolean takes a
//! following `0` or `1` and else means 1, every other option takes the next argument whatever it
//! looks like, `--name=value` works, `_` and `-` are alike in names, the last occurrence wins,
//! `--` ends the options, options and other arguments mix freely. [`parse`] brings the arguments
//! into one form for getopts, which knows nothing of this.

mod usage;
mod values;

use crate::proto::sorted;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

pub use usage::describe;
pub(crate) use usage::{WIDTH, wrapped};
#[cfg(test)]
pub(crate) use values::check_default;
use values::{check, number, whole};

/// One option of a command. Made with [`Opt::new`] and the methods after it, so that a table
/// reads as a table.
#[derive(Debug, Clone, Copy)]
pub struct Opt {
    /// Name without dashes, as the usage shows it.
    pub name: &'static str,
    /// Other names for the same; `_` and `-` are alike anyway.
    pub aliases: &'static [&'static str],
    /// One-letter form, if it has one.
    pub short: Option<char>,
    /// What values it takes.
    pub kind: Kind,
    /// Value when it is not given; empty for none.
    pub default: &'static str,
    /// What stands for the value in the usage.
    pub arg: &'static str,
    /// What it does and in which unit, for the usage.
    pub help: &'static str,
    /// Set for an option whose mechanism is gone: the option is accepted, and this is said as a
    /// warning.
    pub gone: Option<&'static str>,
}

/// What values an option takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A boolean: 0 or 1.
    Flag,
    /// A whole number, both ends allowed.
    Int {
        /// Least value.
        min: i64,
        /// Greatest value; `i64::MAX` for none.
        max: i64,
    },
    /// A finite number, both ends allowed.
    Float {
        /// Least value.
        min: f64,
        /// Greatest value; `f64::MAX` for none.
        max: f64,
    },
    /// Any text in UTF-8.
    Text,
    /// A path; any bytes.
    Path,
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl Opt {
    /// An option with one name.
    pub const fn new(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        help: &'static str,
    ) -> Opt {
        Opt { name, aliases: &[], short: None, kind, default, arg: "arg", help, gone: None }
    }

    /// The same, with other names too.
    pub const fn alias(mut self, aliases: &'static [&'static str]) -> Opt {
        self.aliases = aliases;
        self
    }

    /// The same, with a one-letter form too. A boolean takes no value in that form.
    pub const fn short(mut self, letter: char) -> Opt {
        self.short = Some(letter);
        self
    }

    /// The same, with another word for the value in the usage.
    pub const fn arg(mut self, arg: &'static str) -> Opt {
        self.arg = arg;
        self
    }

    /// The same, accepted but without effect; `why` is said when somebody uses it.
    pub const fn gone(mut self, why: &'static str) -> Opt {
        self.gone = Some(why);
        self
    }

    /// Whether `name` is one of its names.
    pub(super) fn is_called(&self, name: &[u8]) -> bool {
        std::iter::once(&self.name).chain(self.aliases).any(|own| alike(own.as_bytes(), name))
    }
}

/// Two tables as one, which has `N` options: as many as both.
pub const fn joined<const N: usize>(first: &[Opt], second: &[Opt]) -> [Opt; N] {
    assert!(first.len() + second.len() == N, "as many as both have");
    let mut all = [first[0]; N];
    let mut at = 0;
    while at < N {
        all[at] = if at < first.len() { first[at] } else { second[at - first.len()] };
        at += 1;
    }
    all
}

/// Whether two option names are the same: `_` and `-` are alike.
fn alike(a: &[u8], b: &[u8]) -> bool {
    let plain = |c: &u8| if *c == b'-' { b'_' } else { *c };
    a.iter().map(plain).eq(b.iter().map(plain))
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Asked {
    /// To run with these options.
    Run(Parsed),
    /// The usage text.
    Help,
    /// The version.
    Version,
}

/// A command line that breaks the grammar: the user has to correct it.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The option, with its dashes.
    pub option: String,
    /// What is wrong with it, naming the value.
    pub problem: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.option, self.problem)
    }
}

impl std::error::Error for Wrong {}

/// The options and other arguments of one call, all checked against the table.
///
/// Asking for an option that is not in the table, or as another kind, is a mistake in the
/// program and panics.
#[derive(Debug)]
pub struct Parsed {
    table: &'static [Opt],
    values: sorted::Map<&'static str, (OsString, Origin)>,
    positionals: Vec<OsString>,
}

/// Where a value that is not the default comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// An option on the command line.
    CommandLine,
    /// An environment variable.
    Environment,
    /// A line of the file of settings, counted from 1.
    File(usize),
}

impl Parsed {
    /// A whole number, within the bounds of the table.
    pub fn int(&self, name: &str) -> i64 {
        let (opt, value) = self.value(name);
        assert!(matches!(opt.kind, Kind::Int { .. }), "--{name} is declared a whole number");
        whole(&value.to_string_lossy()).expect("checked when parsed, or by a test of the table")
    }

    /// A number, within the bounds of the table.
    pub fn float(&self, name: &str) -> f64 {
        let (opt, value) = self.value(name);
        assert!(matches!(opt.kind, Kind::Float { .. }), "--{name} is declared a number");
        number(&value.to_string_lossy()).expect("checked when parsed, or by a test of the table")
    }

    /// A boolean.
    pub fn flag(&self, name: &str) -> bool {
        let (opt, value) = self.value(name);
        assert!(matches!(opt.kind, Kind::Flag), "--{name} is declared a boolean");
        value == "1"
    }

    /// A text, or one of the words of a choice. Empty if not given and without default.
    pub fn text(&self, name: &str) -> &str {
        let (opt, value) = self.value(name);
        assert!(matches!(opt.kind, Kind::Text | Kind::Choice(_)), "--{name} is declared a text");
        value.to_str().expect("checked when parsed")
    }

    /// A path as given, not yet joined to the current folder. `None` if it is empty.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let (opt, value) = self.value(name);
        assert!(matches!(opt.kind, Kind::Path), "--{name} is declared a path");
        (!value.is_empty()).then(|| value.into())
    }

    /// Whether the user chose the value: the option is on the command line, with whatever value,
    /// or a file or the environment has another one than the default. (Files that are written by
    /// programs may have them all.)
    pub fn given(&self, name: &str) -> bool {
        let opt = self.declared(name);
        let chosen = |(value, origin): &(OsString, Origin)| {
            *origin == Origin::CommandLine || value != opt.default
        };
        self.values.get(opt.name).is_some_and(chosen)
    }

    /// Gives the option a value from elsewhere than the command line, unless it has one already.
    ///
    /// # Errors
    /// It takes no such value; what is wrong with it, naming the value.
    pub(super) fn preset(
        &mut self,
        opt: &'static Opt,
        value: OsString,
        origin: Origin,
    ) -> Result<(), String> {
        check(opt.kind, &value)?;
        self.values.entry(opt.name).or_insert((value, origin));
        Ok(())
    }

    /// Every option of the table, with its value and where that comes from; `None` for defaults.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static Opt, &OsStr, Option<Origin>)> {
        self.table.iter().map(|opt| match self.values.get(opt.name) {
            Some((value, origin)) => (opt, value.as_os_str(), Some(*origin)),
            None => (opt, OsStr::new(opt.default), None),
        })
    }

    /// The arguments that are no options, in order.
    pub fn positionals(&self) -> &[OsString] {
        &self.positionals
    }

    /// The options on the command line whose mechanism is gone, each with what to say.
    pub fn gone(&self) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
        let on_the_line = |(_, origin): &(OsString, Origin)| *origin == Origin::CommandLine;
        let given = self.table.iter();
        let given = given.filter(move |o| self.values.get(o.name).is_some_and(on_the_line));
        given.filter_map(|o| o.gone.map(|why| (o.name, why)))
    }

    fn declared(&self, name: &str) -> &'static Opt {
        let found = self.table.iter().find(|opt| opt.name == name);
        found.unwrap_or_else(|| panic!("--{name} is in the command's option table"))
    }

    fn value(&self, name: &str) -> (&'static Opt, &OsStr) {
        let opt = self.declared(name);
        let given = self.values.get(opt.name).map(|(value, _)| value.as_os_str());
        (opt, given.unwrap_or(OsStr::new(opt.default)))
    }
}

/// Reads a command line (without the program's name) by `table`. `--help` and `--version` win
/// over everything else.
pub fn parse(table: &'static [Opt], args: &[OsString]) -> Result<Asked, Wrong> {
    let normal = Normal::new(table, args);
    if normal.help {
        return Ok(Asked::Help);
    }
    if normal.version {
        return Ok(Asked::Version);
    }
    if let Some(wrong) = normal.unknown {
        return Err(wrong);
    }
    let mut getopts = getopts::Options::new();
    for opt in table {
        getopts.optmulti("", opt.name, "", "");
    }
    let matches = getopts.parse(&normal.args).map_err(complaint)?;
    let mut values = sorted::Map::new();
    for opt in table {
        // The last occurrence wins, but a wrong one before it is wrong all the same.
        for index in matches.opt_strs(opt.name) {
            let value = normal.values[index.parse::<usize>().expect("written by Normal")];
            check(opt.kind, value)
                .map_err(|problem| Wrong { option: format!("--{}", opt.name), problem })?;
            values.insert(opt.name, (value.to_owned(), Origin::CommandLine));
        }
    }
    Ok(Asked::Run(Parsed { table, values, positionals: normal.positionals }))
}

fn complaint(fail: getopts::Fail) -> Wrong {
    use getopts::Fail::*;
    let (ArgumentMissing(name)
    | UnrecognizedOption(name)
    | OptionMissing(name)
    | OptionDuplicated(name)
    | UnexpectedArgument(name)) = &fail;
    let option = format!("--{name}");
    match fail {
        ArgumentMissing(_) => Wrong { option, problem: "needs a value".into() },
        _ => Wrong { option, problem: "cannot be used like this".into() },
    }
}

/// A command line in the form getopts takes: `--name=INDEX` with the index of the value in
/// `values`, since getopts refuses values that are no UTF-8.
struct Normal<'a> {
    table: &'static [Opt],
    args: Vec<String>,
    values: Vec<&'a OsStr>,
    positionals: Vec<OsString>,
    help: bool,
    version: bool,
    unknown: Option<Wrong>,
}

impl<'a> Normal<'a> {
    fn new(table: &'static [Opt], args: &'a [OsString]) -> Normal<'a> {
        let mut normal = Normal {
            table,
            args: Vec::new(),
            values: Vec::new(),
            positionals: Vec::new(),
            help: false,
            version: false,
            unknown: None,
        };
        let mut rest = args.iter().map(OsString::as_os_str).peekable();
        while let Some(arg) = rest.next() {
            match arg.as_bytes() {
                b"--" => normal.positionals.extend(rest.by_ref().map(OsStr::to_owned)),
                [b'-', b'-', long @ ..] => normal.long(long, &mut rest),
                [b'-', letters @ ..] if normal.has_letters(letters) => {
                    normal.letters(letters, &mut rest);
                }
                _ => normal.positionals.push(arg.to_owned()),
            }
        }
        normal
    }

    /// Whether an argument with one dash is an option: the original takes it as a file name in
    /// commands that have no one-letter options. `-h` helps everywhere, and `-V` tells the version
    /// where one-letter options are known, as in the original's `btrename`.
    fn has_letters(&self, letters: &[u8]) -> bool {
        letters == b"h" || !letters.is_empty() && self.table.iter().any(|o| o.short.is_some())
    }

    fn long(&mut self, long: &'a [u8], rest: &mut Rest<'a, impl Iterator<Item = &'a OsStr>>) {
        let (name, inline) = match long.iter().position(|c| *c == b'=') {
            Some(at) => (&long[..at], Some(OsStr::from_bytes(&long[at + 1..]))),
            None => (long, None),
        };
        let called = self.table.iter().find(|opt| opt.is_called(name));
        let Some(opt) = called.or_else(|| self.abbreviated(name)) else {
            match (name, inline) {
                (b"help", None) => self.help = true,
                (b"version", None) => self.version = true,
                _ => self.unknown(format!("--{}", String::from_utf8_lossy(name))),
            }
            return;
        };
        let value = match opt.kind {
            _ if inline.is_some() => inline,
            Kind::Flag => Some(rest.next_if(|v| *v == "0" || *v == "1").unwrap_or(OsStr::new("1"))),
            _ => rest.next(),
        };
        self.push(opt, value);
    }

    /// The only option that begins like this, of those that have a letter too: these are the
    /// original's in the tools that let options be abbreviated.
    fn abbreviated(&self, name: &[u8]) -> Option<&'static Opt> {
        let begins =
            |opt: &&Opt| opt.name.as_bytes().get(..name.len()).is_some_and(|own| alike(own, name));
        let mut all = self.table.iter().filter(|opt| opt.short.is_some()).filter(begins);
        all.next().filter(|_| !name.is_empty() && all.next().is_none())
    }

    /// Letters behind one dash: booleans one after the other, or a value to the end of the
    /// argument or in the next.
    fn letters(&mut self, letters: &'a [u8], rest: &mut Rest<'a, impl Iterator<Item = &'a OsStr>>) {
        for (i, letter) in letters.iter().enumerate() {
            let opt = self.table.iter().find(|o| o.short == Some(char::from(*letter)));
            match opt {
                Some(opt) if matches!(opt.kind, Kind::Flag) => {
                    self.push(opt, Some(OsStr::new("1")))
                }
                Some(opt) => {
                    let inline = &letters[i + 1..];
                    let inline = (!inline.is_empty()).then(|| OsStr::from_bytes(inline));
                    let value = inline.or_else(|| rest.next());
                    return self.push(opt, value);
                }
                None if *letter == b'h' => self.help = true,
                None if *letter == b'V' => self.version = true,
                None => self.unknown(format!("-{}", char::from(*letter).escape_default())),
            }
        }
    }

    fn unknown(&mut self, option: String) {
        let problem = "there is no such option (--help lists them)".into();
        self.unknown.get_or_insert(Wrong { option, problem });
    }

    fn push(&mut self, opt: &Opt, value: Option<&'a OsStr>) {
        match value {
            Some(value) => {
                self.args.push(format!("--{}={}", opt.name, self.values.len()));
                self.values.push(value);
            }
            None => self.args.push(format!("--{}", opt.name)),
        }
    }
}

type Rest<'a, I> = std::iter::Peekable<I>;

#[cfg(test)]
mod tests {
    use super::*;

    const ANY_INT: Kind = Kind::Int { min: i64::MIN, max: i64::MAX };
    const TABLE: &[Opt] = &[
        Opt::new("port", Kind::Int { min: 0, max: 65_535 }, "80", "port to listen on").arg("port"),
        Opt::new("max_upload_rate", Kind::Int { min: -1, max: i64::MAX }, "0", "limit"),
        Opt::new("number", ANY_INT, "0", "any number"),
        Opt::new("timeout", Kind::Float { min: 0.0, max: f64::MAX }, "300.0", "seconds"),
        Opt::new("fraction", Kind::Float { min: 0.0, max: 1.0 }, "0.5", "part"),
        Opt::new("spew", Kind::Flag, "0", "show much").short('s'),
        Opt::new("keep", Kind::Flag, "1", "keep it").short('k'),
        Opt::new("metafile", Kind::Path, "", "the .torrent").alias(&["responsefile"]),
        Opt::new("announce-list", Kind::Text, "", "tiers").short('a'),
        Opt::new("alloc_type", Kind::Choice(&["normal", "sparse"]), "normal", "how"),
        Opt::new("filesystem_encoding", Kind::Text, "", "encoding").gone("paths are bytes"),
    ];
    const LONG_ONLY: &[Opt] = &[Opt::new("spew", Kind::Flag, "0", "show much")];

    fn asked(table: &'static [Opt], args: &[&str]) -> Result<Asked, Wrong> {
        parse(table, &args.iter().map(OsString::from).collect::<Vec<_>>())
    }

    fn run(args: &[&str]) -> Parsed {
        match asked(TABLE, args) {
            Ok(Asked::Run(parsed)) => parsed,
            other => panic!("{args:?} gave {other:?}"),
        }
    }

    fn wrong(args: &[&str]) -> String {
        asked(TABLE, args).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_given_has_its_default() {
        let parsed = run(&[]);
        assert_eq!(parsed.int("port"), 80);
        assert_eq!(parsed.float("timeout"), 300.0);
        assert!(!parsed.flag("spew"));
        assert!(parsed.flag("keep"));
        assert_eq!(parsed.text("announce-list"), "");
        assert_eq!(parsed.path("metafile"), None);
        assert_eq!(parsed.text("alloc_type"), "normal");
        assert!(!parsed.given("port"));
        assert!(parsed.positionals().is_empty());
    }

    #[test]
    fn a_boolean_takes_a_following_0_or_1_and_else_means_1() {
        for (args, value, rest) in [
            (&["--spew"][..], true, &[][..]),
            (&["--spew", "1"], true, &[]),
            (&["--spew", "0"], false, &[]),
            (&["--spew=0"], false, &[]),
            (&["--spew=1"], true, &[]),
            (&["--spew", "x"], true, &["x"]),
            (&["--spew", "01"], true, &["01"]),
            (&["--spew", "--spew", "0"], false, &[]),
            (&["--spew=1", "0"], true, &["0"]),
            (&["--spew", "--", "0"], true, &["0"]),
        ] {
            let parsed = run(args);
            assert_eq!(parsed.flag("spew"), value, "{args:?}");
            assert_eq!(parsed.positionals(), rest, "{args:?}");
        }
    }

    #[test]
    fn every_other_option_takes_the_next_argument_whatever_it_looks_like() {
        assert_eq!(run(&["--announce-list", "--port"]).text("announce-list"), "--port");
        assert_eq!(run(&["--announce-list", "--help"]).text("announce-list"), "--help");
        assert_eq!(run(&["--announce-list", "--"]).text("announce-list"), "--");
        assert_eq!(run(&["--max_upload_rate", "-1"]).int("max_upload_rate"), -1);
    }

    #[test]
    fn underscore_and_hyphen_are_alike_in_names_and_kept_in_values() {
        let parsed = run(&["--announce_list", "a_b-c", "--max-upload-rate=7"]);
        assert_eq!(parsed.text("announce-list"), "a_b-c");
        assert_eq!(parsed.int("max_upload_rate"), 7);
        assert!(parsed.given("announce-list"));
    }

    #[test]
    fn what_has_a_letter_may_be_abbreviated_too_where_that_is_clear() {
        assert_eq!(run(&["--ann=x"]).text("announce-list"), "x");
        assert_eq!(run(&["--announce_l", "y", "z"]).text("announce-list"), "y");
        assert!(run(&["--sp"]).flag("spew"));
        for unclear in ["--alloc=normal", "--s-=1", "--=1", "--spews"] {
            assert!(asked(TABLE, &[unclear]).is_err(), "{unclear}");
        }
        assert!(asked(LONG_ONLY, &["--spe"]).is_err());
    }

    #[test]
    fn a_value_may_be_empty_or_hold_an_equals_sign() {
        assert_eq!(run(&["--announce-list="]).text("announce-list"), "");
        assert_eq!(run(&["--announce-list=a=b"]).text("announce-list"), "a=b");
        assert!(run(&["--announce-list", ""]).given("announce-list"));
    }

    #[test]
    fn the_last_occurrence_wins_also_under_another_name() {
        assert_eq!(run(&["--port", "1", "--port=2"]).int("port"), 2);
        let parsed = run(&["--metafile", "a", "--responsefile", "b"]);
        assert_eq!(parsed.path("metafile"), Some("b".into()));
        assert_eq!(wrong(&["--port=x", "--port=2"]), "--port: 'x' is not a whole number");
    }

    #[test]
    fn options_and_other_arguments_mix_until_two_dashes() {
        let parsed = run(&["a", "--port", "1", "b", "--", "--port", "-", "--"]);
        assert_eq!(parsed.positionals(), ["a", "b", "--port", "-", "--"]);
        assert_eq!(parsed.int("port"), 1);
    }

    #[test]
    fn paths_and_other_arguments_need_not_be_utf8() {
        let odd = OsStr::from_bytes(b"a\xffb");
        let mut joined = OsString::from("--metafile=");
        joined.push(odd);
        for args in [vec!["--metafile".into(), odd.to_owned(), odd.to_owned()], vec![joined]] {
            let Ok(Asked::Run(parsed)) = parse(TABLE, &args) else { panic!("{args:?}") };
            assert_eq!(parsed.path("metafile"), Some(odd.into()));
            assert!(parsed.positionals().iter().all(|p| p == odd));
        }
        let text = parse(TABLE, &["--announce-list".into(), odd.to_owned()]);
        assert_eq!(text.unwrap_err().to_string(), "--announce-list: 'a\u{fffd}b' is not UTF-8");
    }

    #[test]
    fn numbers_are_read_as_the_original_reads_them() {
        assert_eq!(run(&["--number", " 1_000 "]).int("number"), 1000);
        assert_eq!(run(&["--number", "+5"]).int("number"), 5);
        assert_eq!(run(&["--timeout", "1e2"]).float("timeout"), 100.0);
        assert_eq!(run(&["--timeout", "7"]).float("timeout"), 7.0);
        for bad in ["", " ", "abc", "1_", "_1", "1__0", "0x10", "1.0", "9223372036854775808"] {
            assert!(wrong(&["--number", bad]).ends_with("is not a whole number"), "{bad:?}");
        }
        for bad in ["", "inf", "nan", "-inf", "1e999", "1,5"] {
            assert!(wrong(&["--timeout", bad]).ends_with("is not a number"), "{bad:?}");
        }
    }

    #[test]
    fn a_mistake_is_named_with_option_and_value() {
        for (args, text) in [
            (&["--port", "abc"][..], "--port: 'abc' is not a whole number"),
            (&["--port", "65536"], "--port: '65536' is not between 0 and 65535"),
            (&["--port", "-1"], "--port: '-1' is not between 0 and 65535"),
            (&["--max-upload-rate", "-2"], "--max_upload_rate: '-2' is less than -1"),
            (&["--fraction=1.5"], "--fraction: '1.5' is not between 0 and 1"),
            (&["--timeout=-1"], "--timeout: '-1' is less than 0"),
            (&["--spew=2"], "--spew: '2' is not 0 or 1"),
            (&["--spew="], "--spew: '' is not 0 or 1"),
            (&["--alloc_type", "x"], "--alloc_type: 'x' is not one of normal, sparse"),
            (&["--port"], "--port: needs a value"),
            (&["-a"], "--announce-list: needs a value"),
            (&["--nosuch", "1"], "--nosuch: there is no such option (--help lists them)"),
            (&["--nosuch=1"], "--nosuch: there is no such option (--help lists them)"),
            (&["--x"], "--x: there is no such option (--help lists them)"),
            (&["--=1"], "--: there is no such option (--help lists them)"),
            (&["--por", "1"], "--por: there is no such option (--help lists them)"),
            (&["-z"], "-z: there is no such option (--help lists them)"),
        ] {
            assert_eq!(wrong(args), text, "{args:?}");
        }
    }

    #[test]
    fn help_and_version_win_over_everything_else() {
        assert!(matches!(asked(TABLE, &["--nosuch", "--help"]), Ok(Asked::Help)));
        assert!(matches!(asked(TABLE, &["--version", "-h"]), Ok(Asked::Help)));
        assert!(matches!(asked(TABLE, &["--port=x", "--version"]), Ok(Asked::Version)));
        assert_eq!(run(&["--", "--help"]).positionals(), ["--help"]);
    }

    #[test]
    fn one_letter_options_join_and_take_values() {
        let parsed = run(&["-sk", "0", "-aX"]);
        assert!(parsed.flag("spew") && parsed.flag("keep"));
        assert_eq!(parsed.text("announce-list"), "X");
        assert_eq!(parsed.positionals(), ["0"]);
        assert_eq!(run(&["-sa", "-k"]).text("announce-list"), "-k");
    }

    #[test]
    fn without_one_letter_options_a_single_dash_begins_a_name() {
        let Ok(Asked::Run(parsed)) = asked(LONG_ONLY, &["-x", "-1", "-"]) else { panic!() };
        assert_eq!(parsed.positionals(), ["-x", "-1", "-"]);
        assert!(matches!(asked(LONG_ONLY, &["-h"]), Ok(Asked::Help)));
    }

    #[test]
    fn the_version_has_a_letter_where_others_have() {
        assert!(matches!(asked(TABLE, &["-sV"]), Ok(Asked::Version)));
        assert!(describe(TABLE).contains("-V, --version\n"));
        let Ok(Asked::Run(parsed)) = asked(LONG_ONLY, &["-V"]) else { panic!() };
        assert_eq!(parsed.positionals(), ["-V"]);
    }

    #[test]
    fn an_option_whose_mechanism_is_gone_is_told() {
        let parsed = run(&["--filesystem-encoding", "latin1"]);
        let gone: Vec<_> = parsed.gone().collect();
        assert_eq!(gone, [("filesystem_encoding", "paths are bytes")]);
        assert_eq!(run(&["--port", "1"]).gone().count(), 0);
    }

    #[test]
    #[should_panic(expected = "--nosuch is in the command's option table")]
    fn asking_for_an_option_outside_the_table_is_a_mistake_in_the_program() {
        run(&[]).int("nosuch");
    }

    #[test]
    fn no_command_line_panics() {
        let words = ["--spew", "--", "-", "--=", "-sk", "-a", "0", "--port=", "--help", "x", "-z"];
        for mut n in 0..words.len().pow(3) {
            let mut args = Vec::new();
            for _ in 0..3 {
                args.push(words[n % words.len()]);
                n /= words.len();
            }
            let _ = asked(TABLE, &args);
        }
    }

    #[test]
    fn the_description_is_wrapped_at_79_columns_and_ends_with_the_default() {
        const OPT: &[Opt] = &[
            Opt::new(
                "max_uploads",
                Kind::Int { min: 1, max: i64::MAX },
                "7",
                "the most peers that are served at once, not counting those that only look \
                 around; more of them make each one slower",
            )
            .alias(&["uploads"])
            .arg("n"),
            Opt::new("old", Kind::Flag, "0", "old").gone("the thing is gone"),
        ];
        assert_eq!(
            describe(OPT),
            "\
--max_uploads <n>
          the most peers that are served at once, not counting those that only
          look around; more of them make each one slower (also --uploads)
          (defaults to 7)

--help
          show this text

--version
          show the version

Accepted from old scripts, without effect:

--old [0|1]
          the thing is gone

"
        );
    }
}
