//! `bttrack`: the tracker.

mod options;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use crate::app::tracker::{
    self, Aggregator, Dealings, Door, InfoPage, Ranges, Rules, Scraping, Settings, Sources, Target,
    Tracker, Trackers,
};
use crate::cmd::env::{Env, reason};
use crate::cmd::options::Parsed;
use crate::cmd::{Command, Exit};

/// The command.
pub const COMMAND: Command = Command {
    name: "bttrack",
    aliases: &[],
    summary: "Tracks torrents: tells their peers of each other, and people what is shared.",
    usage: &["--dfile FILE"],
    options: options::OPTIONS,
    notes: "",
    run,
};

fn run(env: &mut Env, options: &Parsed) -> Exit {
    let settings = match settings(env, options) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    let mut tell = |notice| env.error(notice);
    match Tracker::start(settings, &mut tell).and_then(|tracker| tracker.run(&mut tell)) {
        Ok(()) => Exit::Done,
        Err(error) => env.failed(error),
    }
}

fn settings(env: &mut Env, options: &Parsed) -> Result<Settings, Exit> {
    if let Some(extra) = options.positionals().first() {
        let extra = extra.to_string_lossy().into_owned();
        return Err(env.wrong_usage(format_args!("'{extra}': only options are taken")));
    }
    let Some(dfile) = options.path("dfile") else {
        let message = "--dfile: it is required (the file in which the tracker keeps what it knows)";
        return Err(env.wrong_usage(message));
    };
    if options.flag("multitracker_enabled") && options.path("allowed_dir").is_none() {
        let why = "without --allowed_dir there is no announce-list to ask the trackers of";
        env.error(format_args!("warning: --multitracker_enabled: {why}"));
    }
    let listen = addresses(env, options)?;
    let trusted_proxies = trusted_proxies(env, options)?;
    let favicon = favicon(env, options);
    let seconds = |name| Duration::from_secs(options.int(name).unsigned_abs());
    let keep_alive = seconds("keepalive");
    let file = |name| options.path(name).map(|path| env.cwd.join(path));
    let sources = Sources {
        folder: file("allowed_dir"),
        list: file("allowed_list"),
        controls: options.flag("allowed_controls"),
        allowed_ips: file("allowed_ips"),
        banned_ips: file("banned_ips"),
    };
    if let (Some(_), Some(list)) = (&sources.folder, &sources.list) {
        let list = list.display().to_string();
        env.error(format_args!("warning: --allowed_list: '{list}' is not read, --allowed_dir is"));
    }
    let log = match options.path("logfile") {
        Some(path) if path.as_os_str() != "-" => Target::File(env.cwd.join(path)),
        _ => Target::Out(env.take_out()),
    };
    Ok(Settings {
        listen,
        udp: options.flag("udp"),
        inherited: handed_over(env),
        notify: env.var("NOTIFY_SOCKET").filter(|address| !address.is_empty()),
        watchdog: variable(env, "WATCHDOG_USEC").map(Duration::from_micros),
        gate: Door {
            timeout: seconds("socket_timeout"),
            check_interval: seconds("timeout_check_interval"),
            keep_alive: (!keep_alive.is_zero()).then_some(keep_alive),
            connections: count(options, "max_connections"),
        },
        registry: rules(options),
        dfile: env.cwd.join(dfile),
        save_interval: seconds("save_dfile_interval"),
        sources,
        parse_interval: seconds("parse_dir_interval"),
        allow_get: options.flag("allow_get"),
        dealings: dealings(options),
        announce_rate: number(options, "announce_rate"),
        log_nat_checks: options.flag("log_nat_checks"),
        info_page: match options.text("infopage_redirect") {
            _ if !options.flag("show_infopage") => InfoPage::Off,
            "" => InfoPage::Shown,
            url => InfoPage::Redirect(url.into()),
        },
        favicon,
        trusted_proxies,
        stats: options.flag("stats"),
        trust_forwarded: options.int("only_local_override_ip") == 0,
        log,
        zone: env.var("TZ"),
        flush_interval: Duration::from_secs_f64(options.float("min_time_between_log_flushes")),
        temporary: env.cwd.join(env.var("TMPDIR").unwrap_or_else(|| "/tmp".into())),
    })
}

fn number(options: &Parsed, name: &str) -> u32 {
    u32::try_from(options.int(name)).expect("the table has bounds")
}

fn count(options: &Parsed, name: &str) -> usize {
    usize::try_from(options.int(name)).expect("the table has bounds")
}

fn variable(env: &Env, name: &str) -> Option<u64> {
    env.var(name)?.to_str()?.parse().ok().filter(|n| *n > 0)
}

/// How many sockets a service manager handed over to this process.
pub(super) fn handed_over(env: &Env) -> u32 {
    let for_us = variable(env, "LISTEN_PID") == Some(std::process::id().into());
    let count = variable(env, "LISTEN_FDS").filter(|_| for_us).unwrap_or(0);
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn trusted_proxies(env: &mut Env, options: &Parsed) -> Result<Option<Ranges>, Exit> {
    let text = options.text("trusted_proxies");
    let (ranges, odd) = Ranges::read(text.replace(',', "\n").as_bytes());
    match odd.first() {
        Some(odd) => Err(env.wrong_usage(format_args!("--trusted_proxies: '{odd}' is no network"))),
        None => Ok((!text.trim().is_empty()).then_some(ranges)),
    }
}

fn dealings(options: &Parsed) -> Dealings {
    let forward = options.text("aggregate_forward");
    let (url, password) = match forward.split_once(',') {
        Some((url, password)) => (url, Some(password.to_owned())),
        None => (forward, None),
    };
    let seconds = |name| Duration::from_secs(number(options, name).into());
    Dealings {
        enabled: options.flag("multitracker_enabled"),
        interval: seconds("multitracker_reannounce_interval"),
        max_peers: number(options, "multitracker_maxpeers"),
        forward: (!url.is_empty()).then(|| (url.to_owned(), password)),
        timeout: seconds("http_timeout"),
    }
}

fn rules(options: &Parsed) -> Rules {
    let number = |name| number(options, name);
    let checked = options.int("nat_check") > 0 && matches!(options.text("aggregator"), "" | "0");
    Rules {
        interval: number("reannounce_interval"),
        response_size: number("response_size"),
        expiry: Duration::from_secs(number("timeout_downloaders_interval").into()),
        keep_dead: options.flag("keep_dead"),
        // An aggregator sends no lists, so there is no form to insist on.
        compact_required: options.flag("compact_reqd")
            && matches!(options.text("aggregator"), "" | "0"),
        scraping: match options.text("scrape_allowed") {
            "none" => Scraping::None,
            "specific" => Scraping::Specific,
            _ => Scraping::Full,
        },
        // A false address is found out by the connection.
        believe_given_ip: match options.int("only_local_override_ip") {
            2 => checked,
            whose => whose == 0,
        },
        nat_checks: u8::try_from(options.int("nat_check")).expect("the table has bounds"),
        check_local: options.flag("nat_check_local"),
        max_torrents: count(options, "max_torrents"),
        max_peers: count(options, "max_peers"),
        jitter: number("interval_jitter"),
        min_interval: Some(number("min_interval")).filter(|n| *n > 0),
        external_ip: options.flag("external_ip"),
        show_names: options.flag("show_names"),
        trackers: match options.text("multitracker_allowed") {
            "none" => Trackers::None,
            "all" => Trackers::All,
            _ => Trackers::Autodetect,
        },
        tracker_interval: number("multitracker_reannounce_interval"),
        aggregator: match options.text("aggregator") {
            "" | "0" => Aggregator::No,
            "1" => Aggregator::Open,
            password => Aggregator::Password(password.as_bytes().into()),
        },
        dedicated_seed_id: match options.text("dedicated_seed_id") {
            "" => None,
            id => Some(id.as_bytes().into()),
        },
    }
}

fn addresses(env: &mut Env, options: &Parsed) -> Result<Vec<SocketAddr>, Exit> {
    let port = u16::try_from(options.int("port")).expect("the table has bounds");
    let six = options.flag("ipv6_enabled");
    let mut all = Vec::new();
    for name in options.text("bind").split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let literal = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if let Ok(ip) = literal {
            all.push(SocketAddr::new(ip, port));
            continue;
        }
        match (name, port).to_socket_addrs() {
            Ok(found) => all.extend(found.filter(|a| six || a.is_ipv4())),
            Err(e) => {
                let message = format!("cannot listen on '{name}': {}", reason(&e));
                return Err(env.failed(message));
            }
        }
    }
    if options.text("bind").trim().is_empty() {
        let four = !six || options.flag("ipv6_binds_v4");
        all.extend(four.then_some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))));
        all.extend(six.then_some(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))));
    }
    let mut known = Vec::new();
    all.retain(|on| {
        !known.contains(on) && {
            known.push(*on);
            true
        }
    });
    if all.is_empty() {
        let message = format!("--bind: '{}' names no address", options.text("bind"));
        return Err(env.wrong_usage(message));
    }
    Ok(all)
}

/// The icon; one that cannot be read is no reason not to track.
fn favicon(env: &mut Env, options: &Parsed) -> Option<Vec<u8>> {
    let path = options.path("favicon")?;
    match tracker::icon(&env.cwd.join(&path)) {
        Ok(icon) => Some(icon),
        Err(e) => {
            let why = reason(&e);
            env.error(format_args!("warning: cannot read '{}': {why}", path.display()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(args: &[&str]) -> (Exit, String) {
        let mut all = vec!["bttrack"];
        all.extend(args);
        let (mut env, captured) = Env::captured("bittornado", all, "/nonexistent");
        (crate::cmd::run(&mut env), captured.err())
    }

    #[test]
    fn the_rules_of_the_library_are_those_of_the_options() {
        let asked = crate::cmd::options::parse(COMMAND.options, &[]);
        let Ok(crate::cmd::options::Asked::Run(parsed)) = asked else { panic!("no options") };
        assert_eq!(format!("{:?}", rules(&parsed)), format!("{:?}", Rules::default()));
    }

    #[test]
    fn wrong_usage_names_option_and_value() {
        for (args, said) in [
            (&["--port", "1"][..], "--dfile"),
            (&["--dfile", "d", "--nat_check", "-1"], "-1"),
            (&["--dfile", "d", "x"], "'x'"),
            (&["--dfile", "d", "--port", "65536"], "65536"),
            (&["--dfile", "d", "--bind", ","], "--bind: ','"),
        ] {
            let (exit, err) = called(args);
            assert_eq!(exit, Exit::Usage, "{args:?}: {err}");
            assert!(err.contains(said) && err.lines().count() == 1, "{args:?}: {err}");
        }
    }

    #[test]
    fn an_address_that_is_not_ours_or_a_folder_that_is_not_there_is_a_failure() {
        let (exit, err) = called(&["--dfile", "d", "--port", "0", "--bind", "127.0.0.1"]);
        assert_eq!((exit, err.contains("/nonexistent/d")), (Exit::Failed, true), "{err}");
        let (exit, err) = called(&["--dfile", "d", "--port", "0", "--bind", "192.0.2.1"]);
        assert_eq!(
            (exit, err.contains("cannot listen on 192.0.2.1:0: ")),
            (Exit::Failed, true),
            "{err}"
        );
    }
}
