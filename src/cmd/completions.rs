//! `bittornado --completions SHELL`: a script that has bash, zsh or fish complete the commands'
//! options, made from their tables.

use super::Command;
use super::options::{Kind, Opt};
use std::fmt::Write;

/// Makes a shell's script for these commands.
type Writer = fn(&[&Command]) -> String;

/// The shells there is a script for.
pub const SHELLS: &[(&str, Writer)] = &[("bash", bash), ("fish", fish), ("zsh", zsh)];

/// The options that every command has beside those of its table.
const COMMON: [(&str, &str); 2] = [("help", "show the usage"), ("version", "show the version")];

/// The options that do something, each with all its names.
fn kept(command: &Command) -> impl Iterator<Item = (&Opt, Vec<&'static str>)> {
    let names = |opt: &Opt| std::iter::once(opt.name).chain(opt.aliases.iter().copied()).collect();
    command.options.iter().filter(|opt| opt.gone.is_none()).map(move |opt| (opt, names(opt)))
}

/// What an option is for, as short as shells show it.
fn gist(help: &str) -> &str {
    help.split([';', ':']).next().unwrap_or(help)
}

fn bash(table: &[&Command]) -> String {
    let mut text = String::from(
        "# Completion of BitTornado's commands, for bash.\n\
         _bittornado() {\n    \
             local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n    \
             local name=${COMP_WORDS[0]##*/} options= values=\n    \
             COMPREPLY=()\n    \
             if [ \"$name\" = bittornado ]; then\n        \
                 if [ \"$COMP_CWORD\" = 1 ]; then\n            \
                     mapfile -t COMPREPLY < <(compgen -W \"COMMANDS\" -- \"$word\")\n            \
                     return\n        \
                 fi\n        \
                 name=${COMP_WORDS[1]}\n    \
             fi\n    \
             case $name in\n",
    );
    let all: Vec<&str> = super::names(table).collect();
    text = text.replace("COMMANDS", &all.join(" "));
    for command in table {
        let names: Vec<&str> = command.names().collect();
        let options =
            kept(command).flat_map(|(_, names)| names).chain(COMMON.map(|(name, _)| name));
        let options: Vec<String> = options.map(|name| format!("--{name}")).collect();
        let _ = writeln!(text, "    {})\n        options='{}'", names.join("|"), options.join(" "));
        let choices = kept(command).filter_map(|(opt, names)| match opt.kind {
            Kind::Choice(words) => Some((names, words)),
            _ => None,
        });
        let choices: Vec<_> = choices.collect();
        if !choices.is_empty() {
            text.push_str("        case $before in\n");
            for (names, words) in choices {
                let names: Vec<String> = names.iter().map(|name| format!("--{name}")).collect();
                let (names, words) = (names.join("|"), words.join(" "));
                let _ = writeln!(text, "        {names}) values='{words}' ;;");
            }
            text.push_str("        esac\n");
        }
        text.push_str("        ;;\n");
    }
    // Whatever is neither is a file, which readline completes.
    text.push_str(
        "    esac\n    \
             if [ -n \"$values\" ]; then\n        \
                 mapfile -t COMPREPLY < <(compgen -W \"$values\" -- \"$word\")\n    \
             elif [ \"${word:0:1}\" = - ]; then\n        \
                 mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$word\")\n    \
             fi\n\
         }\n",
    );
    let _ = writeln!(text, "complete -o default -F _bittornado bittornado {}", all.join(" "));
    text
}

fn fish(table: &[&Command]) -> String {
    let mut text = String::from("# Completion of BitTornado's commands, for fish.\n");
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    for command in table {
        for name in command.names() {
            let _ = writeln!(
                text,
                "complete -c bittornado -n __fish_is_first_token -xa {name} -d {}",
                quoted(gist(command.summary.split(". ").next().unwrap_or_default()))
            );
            for (opt, names) in kept(command) {
                let long: String = names.iter().map(|name| format!(" -l {name}")).collect();
                let short = opt.short.map(|c| format!(" -s {c}")).unwrap_or_default();
                let value = match opt.kind {
                    Kind::Flag => String::new(),
                    Kind::Path => " -rF".into(),
                    Kind::Choice(words) => format!(" -xa '{}'", words.join(" ")),
                    Kind::Int { .. } | Kind::Float { .. } | Kind::Text => " -x".into(),
                };
                let gist = quoted(gist(opt.help));
                let _ = writeln!(text, "complete -c {name}{short}{long}{value} -d {gist}");
            }
            for (long, gist) in COMMON {
                let _ = writeln!(text, "complete -c {name} -l {long} -d {}", quoted(gist));
            }
        }
    }
    text
}

fn zsh(table: &[&Command]) -> String {
    let all: Vec<&str> = super::names(table).collect();
    let mut text = format!("#compdef bittornado {}\n", all.join(" "));
    text.push_str("# Completion of BitTornado's commands, for zsh.\n\n_bittornado() {\n");
    let _ = write!(
        text,
        "    local name=$service\n    \
             if [[ $name = bittornado ]]; then\n        \
                 if (( CURRENT == 2 )); then\n            \
                     compadd {}\n            \
                     return\n        \
                 fi\n        \
                 name=$words[2]\n        \
                 shift words\n        \
                 (( CURRENT-- ))\n    \
             fi\n    \
             case $name in\n",
        all.join(" ")
    );
    for command in table {
        let names: Vec<&str> = command.names().collect();
        let _ = writeln!(text, "    {})\n        _arguments \\", names.join("|"));
        for (opt, names) in kept(command) {
            for name in names {
                text.push_str(&zsh_option(&format!("--{name}"), opt));
            }
            if let Some(letter) = opt.short {
                text.push_str(&zsh_option(&format!("-{letter}"), opt));
            }
        }
        for (long, gist) in COMMON {
            let _ = writeln!(text, "            '--{long}[{gist}]' \\");
        }
        text.push_str("            '*:file:_files'\n        ;;\n");
    }
    text.push_str("    esac\n}\n\n_bittornado \"$@\"\n");
    text
}

fn zsh_option(name: &str, opt: &Opt) -> String {
    let gist = gist(opt.help).replace('\'', "'\\''").replace('[', "\\[").replace(']', "\\]");
    let value = match opt.kind {
        Kind::Flag => String::new(),
        Kind::Path => format!(":{}:_files", opt.arg),
        Kind::Choice(words) => format!(":{}:({})", opt.arg, words.join(" ")),
        Kind::Int { .. } | Kind::Float { .. } | Kind::Text => format!(":{}: ", opt.arg),
    };
    format!("            '{name}[{gist}]{value}' \\\n")
}

#[cfg(test)]
mod tests {
    use super::super::COMMANDS;
    use super::*;
    use std::process::{Command as Program, Stdio};

    #[test]
    fn every_option_is_completed_but_those_that_do_nothing() {
        for (shell, made) in SHELLS {
            let script = made(COMMANDS);
            let dash = if *shell == "fish" { "-l " } else { "--" };
            for command in COMMANDS {
                for name in kept(command).flat_map(|(_, names)| names) {
                    assert!(script.contains(&format!("{dash}{name}")), "{shell}: {name}");
                }
            }
            assert!(!script.contains("filesystem_encoding"), "{shell}");
        }
    }

    /// What a shell prints that has the script for it in `FOLDER/_bittornado`.
    fn ask(shell: &str, args: &[&str], script: &str) -> String {
        let folder = std::env::temp_dir().join(format!("bt-{shell}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let made = SHELLS.iter().find(|(name, _)| *name == shell).unwrap().1(COMMANDS);
        std::fs::write(folder.join("_bittornado"), made).unwrap();
        let script = script.replace("FOLDER", folder.to_str().unwrap());
        // A shell that waits for what does not come is not waited for.
        let mut asked = Program::new("timeout");
        let asked = asked.arg("30").arg(shell).args(args).arg(script).env("TERM", "xterm");
        let asked = asked.stderr(Stdio::inherit()).output().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(asked.status.success(), "{asked:?}");
        String::from_utf8(asked.stdout).unwrap()
    }

    #[test]
    #[ignore = "needs bash"]
    fn bash_completes_commands_options_and_choices() {
        let complete = |words: &str| {
            let script = format!(
                ". FOLDER/_bittornado; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}}-1)); \
                 _bittornado; echo \"${{COMPREPLY[@]}}\""
            );
            ask("bash", &["--norc", "-uec"], &script).trim_end().to_owned()
        };
        assert_eq!(complete("bittornado btmake"), "btmakemetafile");
        assert_eq!(complete("btcheck --quie"), "--quiet");
        assert_eq!(complete("/usr/bin/btcheck --qu"), "--quick --quiet");
        assert_eq!(complete("bittornado btdownload --alloc_type pre"), "pre-allocate");
        assert_eq!(complete("btdownload --saveas /x"), "");
    }

    #[test]
    #[ignore = "needs fish"]
    fn fish_completes_commands_options_and_choices() {
        let complete = |words: &str| {
            let script = format!("source FOLDER/_bittornado; complete -C '{words}'");
            ask("fish", &["--no-config", "-c"], &script)
        };
        assert!(complete("btcheck --quie").contains("--quiet\tprint nothing"));
        assert!(complete("bittornado btmake").contains("btmakemetafile\tMakes a .torrent"));
        assert!(complete("btdownload --alloc_type pre").starts_with("pre-allocate"));
    }

    #[test]
    #[ignore = "needs zsh"]
    fn zsh_completes_commands_options_and_choices() {
        // A terminal of its own, in which TAB is pressed.
        let script = r"
            zmodload zsh/zpty
            zpty t zsh -f -i
            zpty -w t 'PS1=; fpath=(FOLDER $fpath); autoload -U compinit; compinit -u -D'
            zpty -w t 'zstyle \':completion:*\' insert-tab false; print REA\'\'DY'
            zpty -r t out '*READY*'
            zpty -w -n t $'btcheck --quie\t'
            zpty -r t out '*--quiet*' && print found
            zpty -w -n t $'\C-ubittornado btdownload --alloc_type pre\t'
            zpty -r t out '*pre-allocate*' && print found";
        let script = script.replace("\\'", "'\\''");
        assert_eq!(ask("zsh", &["-fc"], &script), "found\nfound\n");
    }
}
