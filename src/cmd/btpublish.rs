//! `btpublish`: shares files and folders, in one command.

mod face;
mod options;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::bttrack::handed_over;
use super::env::Env;
use super::options::Parsed;
use super::service::{Stamp, manager};
use super::{Command, Exit};
use crate::app::client::StopSignals;
use crate::app::publisher::{
    Date, Filter, Host, Notice, Peers, Pieces, PublishError, Publisher, Recipe, Settings, Until,
};
use crate::io::screen::{Screen, Size};
use face::Face;

/// The command.
pub const COMMAND: Command = Command {
    name: "btpublish",
    aliases: &[],
    summary: "Shares files and folders: makes their torrents, runs a tracker for them, seeds them, \
              and serves a page and the data itself by HTTP, until it is stopped.",
    usage: &["PATH..."],
    options: options::OPTIONS,
    notes: "The first line it prints is the address of the page. Others get what is\n\
            shared by btdownload ADDRESS, by any other BitTorrent client, or by a plain\n\
            browser. What changes at a PATH is shared anew; the torrent from before is\n\
            there for those who have begun with it, as long as its data is.\n\n\
            The data is only ever read. A torrent that was made is kept in\n\
            ~/.local/state/bittornado/published, so that the next start is quick.\n\n\
            Stop it with Ctrl-C or SIGTERM; it ends within three seconds, at the second\n\
            signal at once. SIGUSR1 has it say how it goes.\n\
            It exits with 0, or with 1 if a PATH could not be shared from the beginning.",
    run,
};

fn run(env: &mut Env, parsed: &Parsed) -> Exit {
    let settings = match settings(env, parsed) {
        Ok(settings) => settings,
        Err(wrong) => return env.wrong_usage(wrong),
    };
    env.never_wait();
    let called = env.name.clone();
    let at_once = move |haste| super::btdownloadheadless::end_at_once(&called, haste);
    let signals = match StopSignals::listen(at_once) {
        Ok(signals) => signals,
        Err(e) => return env.failed(e),
    };
    let mut face = face(env, parsed);
    let stamp = Stamp::new(env);
    let mut tell = |notice: Notice| {
        if let Some(text) = face.show(&notice) {
            env.error(format_args!("{}{text}", stamp.now()));
        }
    };
    let ended = Publisher::start(settings, &mut tell).and_then(|publisher| {
        signals.stop(publisher.stopper());
        publisher.run(&mut tell)
    });
    match ended {
        Ok(()) => Exit::Done,
        Err(e @ (PublishError::Start(_) | PublishError::Peers(_))) => env.failed(e),
        // Why has been said.
        Err(PublishError::Nothing | PublishError::Some) => Exit::Failed,
    }
}

fn face(env: &mut Env, parsed: &Parsed) -> Face {
    if parsed.flag("json") {
        return Face::json(env.take_out());
    }
    let size = if env.out_is_terminal { Size::of(std::io::stdout()) } else { None };
    let quiet = parsed.flag("quiet");
    Face::lines(Screen::new(env.take_out(), size), size.is_some(), quiet)
}

fn settings(env: &Env, parsed: &Parsed) -> Result<Settings, String> {
    let mut paths = Vec::new();
    if parsed.positionals().iter().any(|path| path.is_empty()) {
        return Err("a path is empty".into());
    }
    for path in parsed.positionals().iter().map(|path| env.cwd.join(path)) {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err("needs at least one file or folder to share".into());
    }
    let bind = addresses(parsed)?;
    let port = u16::try_from(parsed.int("port")).expect("the table has bounds");
    let host = match parsed.text("host") {
        "" => None,
        text => Some(Host::read(text).ok_or_else(|| {
            format!("--host: '{text}' is neither a name nor an address of a machine")
        })?),
    };
    let rate = parsed.int("upload_rate").unsigned_abs() * 1000;
    let state = super::downloading::state_dir(env);
    Ok(Settings {
        paths,
        listen: bind.iter().map(|ip| SocketAddr::new(*ip, port)).collect(),
        inherited: handed_over(env),
        manager: manager(env),
        host,
        recipe: recipe(parsed)?,
        cache: state.map(|dir| dir.join("published")),
        upload_limit: (rate > 0).then_some(rate),
        title: Some(parsed.text("title").to_owned()).filter(|title| !title.is_empty()),
        until: until(parsed)?,
        page: !parsed.flag("no_page"),
        local_only: parsed.flag("local_only"),
        peers: peers(parsed, bind)?,
        connections: usize::try_from(parsed.int("max_connections")).expect("the table has bounds"),
        rescan: Duration::from_secs_f64(parsed.float("rescan")),
    })
}

fn peers(parsed: &Parsed, bind: Vec<IpAddr>) -> Result<Peers, String> {
    let port = |name| u16::try_from(parsed.int(name)).expect("the table has bounds");
    let (first, last) = (port("minport"), port("maxport"));
    if first > last {
        return Err(format!("--maxport: '{last}' is less than --minport, {first}"));
    }
    Ok(Peers { ports: first..=last, shuffle_ports: parsed.flag("random_port"), bind })
}

/// What is listened on. No name is looked up.
fn addresses(parsed: &Parsed) -> Result<Vec<IpAddr>, String> {
    let mut all: Vec<IpAddr> = Vec::new();
    for name in parsed.text("bind").split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let literal = name.trim_start_matches('[').trim_end_matches(']');
        let ip = literal.parse().map_err(|_| format!("--bind: '{name}' is no address"))?;
        if !all.contains(&ip) {
            all.push(ip);
        }
    }
    if all.is_empty() {
        all.push(Ipv4Addr::UNSPECIFIED.into());
        all.extend(parsed.flag("ipv6_enabled").then_some(IpAddr::from(Ipv6Addr::UNSPECIFIED)));
    }
    Ok(all)
}

fn recipe(parsed: &Parsed) -> Result<Recipe, String> {
    let items = |name| parsed.text(name).split(',').filter(|item| !item.is_empty());
    let filter = Filter {
        ignore: items("ignore").map(OsString::from).collect(),
        exclude: items("exclude").map(str::to_string).collect(),
        include: items("include").map(str::to_string).collect(),
        // What they lead to may lie anywhere, and nothing outside of the paths is served.
        no_links: true,
    };
    Ok(Recipe {
        comment: parsed.text("comment").to_owned(),
        created_by: format!("BitTornado/{}", super::VERSION),
        date: Date::Now,
        private: parsed.flag("private"),
        source: parsed.text("source").to_owned(),
        pieces: match parsed.int("piece_size_pow2") {
            0 => Pieces::Automatic,
            power @ 14.. => Pieces::Of(1 << power),
            power => return Err(format!("--piece_size_pow2: '{power}' is neither 0 nor 14 to 27")),
        },
        filter,
        ..Recipe::default()
    })
}

/// When it ends: a number of downloads, or a time with its unit.
fn until(parsed: &Parsed) -> Result<Option<Until>, String> {
    let text = parsed.text("exit_after");
    let wrong = || format!("--exit_after: '{text}' is no number of downloads, nor a time like 30m");
    let unit = match text.as_bytes().last() {
        None => return Ok(None),
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 60 * 60,
        Some(b'd') => 24 * 60 * 60,
        Some(_) => 0,
    };
    let digits = if unit > 0 { &text[..text.len() - 1] } else { text };
    let number = digits.parse().ok().filter(|number| *number > 0);
    let number: u64 = number.filter(|_| !digits.starts_with('+')).ok_or_else(wrong)?;
    Ok(Some(match unit {
        0 => Until::Downloads(number),
        unit => Until::Time(Duration::from_secs(number.checked_mul(unit).ok_or_else(wrong)?)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(args: &[&str]) -> (Exit, String) {
        let mut all = vec!["btpublish"];
        all.extend(args);
        let (mut env, captured) = Env::captured("bittornado", all, "/nonexistent");
        (crate::cmd::run(&mut env), captured.err())
    }

    #[test]
    fn wrong_usage_names_option_and_value() {
        for (args, said) in [
            (&["--port", "0"][..], "at least one file or folder"),
            (&["x", ""], "a path is empty"),
            (&["x", "--host", "http://a/"], "--host: 'http://a/'"),
            (&["x", "--bind", "here"], "--bind: 'here'"),
            (&["x", "--exit_after", "soon"], "--exit_after: 'soon'"),
            (&["x", "--exit_after", "0"], "--exit_after: '0'"),
            (&["x", "--exit_after", "h"], "--exit_after: 'h'"),
            (&["x", "--minport", "9", "--maxport", "8"], "--maxport: '8'"),
            (&["x", "--piece_size_pow2", "5"], "--piece_size_pow2: '5'"),
        ] {
            let (exit, err) = called(args);
            assert_eq!(exit, Exit::Usage, "{args:?}: {err}");
            assert!(err.contains(said) && err.lines().count() == 1, "{args:?}: {err}");
        }
    }

    #[test]
    fn it_ends_after_downloads_or_a_time() {
        let asked = |text: &str| {
            let args: Vec<OsString> = ["--exit_after", text].map(OsString::from).into();
            let asked = crate::cmd::options::parse(COMMAND.options, &args);
            let Ok(crate::cmd::options::Asked::Run(parsed)) = asked else { panic!("{text}") };
            until(&parsed)
        };
        let time = |seconds| Ok(Some(Until::Time(Duration::from_secs(seconds))));
        assert_eq!(asked(""), Ok(None));
        assert_eq!(asked("20"), Ok(Some(Until::Downloads(20))));
        assert_eq!((asked("90s"), asked("2h")), (time(90), time(7200)));
        assert!(asked("99999999999999999999d").is_err() && asked("-1").is_err());
    }
}
