//! Every option of every command keeps the promises of the table.

use bittornado::cmd::env::Env;
use bittornado::cmd::options::{Kind, Opt};
use bittornado::cmd::{COMMANDS, Command, Exit, run};

/// Every option there is, with its command.
fn options() -> impl Iterator<Item = (&'static Command, &'static Opt)> {
    COMMANDS.iter().flat_map(|command| command.options.iter().map(move |opt| (*command, opt)))
}

fn call(command: &Command, args: &[&str]) -> (Exit, String, String) {
    let (mut env, captured) = Env::captured(command.name, args, "/nonexistent");
    let exit = run(&mut env);
    (exit, captured.out(), captured.err())
}

/// Calls that are wrong must be seen to be wrong before anything is done.
#[track_caller]
fn is_refused(command: &Command, args: &[&str], problem: &str) {
    let (exit, out, err) = call(command, args);
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""), "{} {args:?}: {err}", command.name);
    assert_eq!(err, format!("{}: {problem}\n", command.name), "{args:?}");
}

#[test]
fn a_value_of_the_wrong_form_is_refused_by_name() {
    for (command, opt) in options() {
        let why = match opt.kind {
            Kind::Flag => "is not 0 or 1".into(),
            Kind::Int { .. } => "is not a whole number".into(),
            Kind::Float { .. } => "is not a number".into(),
            Kind::Choice(words) => format!("is not one of {}", words.join(", ")),
            Kind::Text | Kind::Path => continue,
        };
        let problem = format!("--{}: 'nonsense' {why}", opt.name);
        for name in [opt.name].iter().chain(opt.aliases) {
            let arg = format!("--{name}=nonsense");
            is_refused(command, &[&arg], &problem);
            is_refused(command, &["x", &arg.replace('_', "-")], &problem);
            is_refused(command, &[&arg.replacen('-', "_", 9).replacen("__", "--", 1)], &problem);
        }
    }
}

#[test]
fn a_number_out_of_bounds_is_refused_by_name() {
    for (command, opt) in options() {
        let Kind::Int { min, max } = opt.kind else { continue };
        for n in [min.checked_sub(1), max.checked_add(1)].into_iter().flatten() {
            let (exit, _, err) = call(command, &[&format!("--{}", opt.name), &n.to_string()]);
            assert_eq!(exit, Exit::Usage, "{} --{} {n}", command.name, opt.name);
            assert!(err.contains(&format!("--{}: '{n}' is ", opt.name)), "{err}");
        }
    }
}

#[test]
fn a_missing_value_is_refused_by_name() {
    for (command, opt) in options().filter(|(_, opt)| !matches!(opt.kind, Kind::Flag)) {
        let problem = format!("--{}: needs a value", opt.name);
        is_refused(command, &[&format!("--{}", opt.name)], &problem);
    }
}

#[test]
fn the_help_names_every_option_and_its_default() {
    for (command, opt) in options() {
        let (exit, out, _) = call(command, &["--help"]);
        assert_eq!(exit, Exit::Done);
        // At the head of its entry: usage and other entries may name it too.
        let name = format!("--{} ", opt.name);
        let is_head = |at: &usize| out[..*at].ends_with('\n') || out[..*at].ends_with(", ");
        let at = out.match_indices(&name).map(|(at, _)| at).find(is_head);
        let entry = &out[at.unwrap_or_else(|| panic!("{} --{}", command.name, opt.name))..];
        let entry = entry.split("\n\n").next().unwrap_or_default();
        let words: Vec<&str> = entry.split_whitespace().collect();
        if !opt.default.is_empty() && opt.gone.is_none() {
            let default = format!("(defaults to {})", opt.default);
            assert!(words.join(" ").ends_with(&default), "{entry}");
        }
    }
}
