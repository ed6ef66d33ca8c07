//! What the commands that download share: their options, and what a download is started with.

pub mod events;
mod options;

pub use options::{OPTIONS, PLAIN, SCREEN};

use super::Exit;
use super::env::Env;
use super::options::Parsed;
use crate::app::client::{
    Allocation, Bounds, Breakup, Config, DhtOptions, DiskOptions, Door, END, Encryption, Goal,
    JoinSettings, Keep, Limits, Locks, Origin, Priority, SessionSettings, Settings, Source, Way,
    address_of, priorities,
};
use crate::io::save;
use crate::proto::address::is_local;
use crate::proto::magnet::Magnet;
use crate::proto::metainfo::{Info, Metainfo, parse_nodes};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

const MIB: f64 = 1024.0 * 1024.0;

/// What a `piece` message has besides the block, in bytes.
const PIECE_OVERHEAD: i64 = 9;

/// Where the .torrent comes from: one option or the one argument, as in the original.
///
/// # Errors
/// None is named, or several are.
pub fn source(parsed: &Parsed, cwd: &Path) -> Result<Source, String> {
    let url = Some(parsed.text("url")).filter(|u| !u.is_empty());
    let file = parsed.path("metafile");
    match (file, url, parsed.positionals()) {
        (Some(file), None, []) => Ok(Source::File(cwd.join(file))),
        (None, Some(url), []) => Ok(Source::Url(url.into())),
        (None, None, [one]) => Ok(Source::of(one, cwd)),
        (None, None, []) => Err("need a .torrent file or URL".into()),
        (None, None, [_, extra, ..]) => {
            Err(format!("one torrent at a time, and '{}' is one too many", extra.to_string_lossy()))
        }
        _ => Err("need one .torrent: as argument, by --metafile or by --url, not several".into()),
    }
}

/// Where states are saved, if the user wants that and the environment names a place. If only the
/// place is missing, that is said.
fn keep(env: &mut Env, parsed: &Parsed) -> Option<Keep> {
    if !parsed.flag("selector_enabled") {
        return None;
    }
    let Some(dir) = state_dir(env) else {
        env.error("neither XDG_STATE_HOME nor HOME is set: the next start will check all the data");
        return None;
    };
    let days = parsed.int("expire_cache_data") as u64;
    let expire = Some(Duration::from_secs(days * 86_400)).filter(|age| !age.is_zero());
    Some(Keep { dir, expire })
}

/// What a download is started with, from its options.
///
/// # Errors
/// What is wrong with them, for one line.
pub fn settings(env: &mut Env, parsed: &Parsed, metainfo: Metainfo) -> Result<Settings, String> {
    let priorities = wishes(env, parsed, &metainfo.info);
    let saveas = parsed.path("saveas").unwrap_or_else(|| PathBuf::from(&metainfo.info.name));
    let saveas = env.cwd.join(saveas);
    let mut make = maker(env, parsed)?;
    Ok(Settings { priorities, ..make(metainfo, saveas) })
}

/// The same for any number of downloads, to places that their caller knows. A list of priorities
/// counts for those that it fits.
///
/// # Errors
/// What is wrong with the options, for one line.
pub fn maker(
    env: &mut Env,
    parsed: &Parsed,
) -> Result<impl FnMut(Metainfo, PathBuf) -> Settings + use<>, String> {
    let (config, dht, ports, bind) =
        (config(parsed)?, dht(env, parsed)?, ports(parsed)?, bind(parsed)?);
    let (device, disk, goal, keep) =
        (device(parsed), disk(parsed), goal(parsed), keep(env, parsed));
    let on_done = parsed.path("on_done").map(|program| here(program, &env.cwd));
    let (state_dir, list) = (state_dir(env), parsed.text("priority").to_string());
    let [shuffle_ports, lsd, utp, web_seeds, check_hashes] =
        ["random_port", "lsd", "utp", "web_seeds", "check_hashes"].map(|name| parsed.flag(name));
    let utp_nearby = parsed.given("utp");
    let [http_timeout, report_interval] =
        ["http_timeout", "display_interval"].map(|name| seconds(parsed, name));
    let slice_size = parsed.int("download_slice_size") as u32;
    let map_ports = map_ports(parsed);
    Ok(move |metainfo: Metainfo, saveas| Settings {
        slice_size,
        saveas,
        priorities: chosen(&list, &metainfo.info).flatten().unwrap_or_default(),
        ports: ports.clone(),
        shuffle_ports,
        bind: bind.clone(),
        device: device.clone(),
        config: config.clone(),
        disk: disk.clone(),
        goal: goal.clone(),
        on_done: on_done.clone(),
        state_dir: state_dir.clone(),
        dht: dht.clone(),
        map_ports,
        lsd,
        utp,
        utp_nearby,
        web_seeds,
        http_timeout,
        report_interval,
        keep: keep.clone(),
        check_hashes,
        company: None,
        metainfo,
    })
}

/// What torrents share that are downloaded in one process.
///
/// # Errors
/// What is wrong with the options, for one line.
pub fn session(env: &Env, parsed: &Parsed) -> Result<SessionSettings, String> {
    let (disk, config) = (disk(parsed), config(parsed)?);
    Ok(SessionSettings {
        door: Door {
            ports: ports(parsed)?,
            shuffle_ports: parsed.flag("random_port"),
            bind: bind(parsed)?,
            device: device(parsed),
        },
        config,
        dht: dht(env, parsed)?,
        lsd: parsed.flag("lsd"),
        map_ports: map_ports(parsed),
        utp: parsed.flag("utp"),
        utp_nearby: parsed.given("utp"),
        slice_size: parsed.int("download_slice_size") as u32,
        write_buffer: disk.write_buffer,
        max_files_open: disk.max_files_open,
        patience: END,
        ends_with_last: false,
    })
}

fn map_ports(parsed: &Parsed) -> Option<Way> {
    match parsed.int("upnp_nat_access") {
        0 => None,
        1 => Some(Way::Pcp),
        _ => Some(Way::Upnp),
    }
}

/// The same of the .torrent that `source` brings, which is saved if that was asked for.
///
/// # Errors
/// It cannot be had or saved, or the options are wrong, which has been said.
pub fn loaded_settings(env: &mut Env, parsed: &Parsed, source: &Source) -> Result<Settings, Exit> {
    let bounds = bounds(parsed).map_err(|wrong| env.wrong_usage(wrong))?;
    let loaded = source.load_exact(seconds(parsed, "http_timeout"), &bounds);
    let (metainfo, bytes) = loaded.map_err(|e| env.failed(e))?;
    let settings = settings(env, parsed, metainfo).map_err(|wrong| env.wrong_usage(wrong))?;
    save_torrent(env, parsed, &bytes).map_err(|e| env.failed(e))?;
    Ok(settings)
}

/// What the metadata of a magnet link is looked for with, from the options of a download.
///
/// # Errors
/// What is wrong with them, for one line: all that [`settings`] would find too.
pub fn join_settings(env: &Env, parsed: &Parsed, magnet: Magnet) -> Result<JoinSettings, String> {
    Ok(JoinSettings {
        magnet,
        door: Door {
            ports: ports(parsed)?,
            shuffle_ports: parsed.flag("random_port"),
            bind: bind(parsed)?,
            device: device(parsed),
        },
        config: config(parsed)?,
        dht: dht(env, parsed)?,
        lsd: parsed.flag("lsd"),
        map_ports: map_ports(parsed),
        utp: parsed.flag("utp"),
        utp_nearby: parsed.given("utp"),
        http_timeout: seconds(parsed, "http_timeout"),
        report_interval: seconds(parsed, "display_interval"),
    })
}

/// The files that a magnet link selects (BEP 53), unless the user says which; `None` for all.
/// A list that selects none of them is told and ignored.
pub fn selected(
    env: &mut Env,
    parsed: &Parsed,
    magnet: &Magnet,
    info: &Info,
) -> Option<Vec<Priority>> {
    magnet.select.as_ref().filter(|_| parsed.text("priority").trim().is_empty())?;
    let wanted = |n: u32| if magnet.selects(n) { Priority::Normal } else { Priority::Off };
    let all: Vec<Priority> = (0..).map(wanted).take(info.files.len()).collect();
    if all.iter().any(|priority| priority.is_wanted()) {
        return Some(all);
    }
    env.error(format_args!("the link selects none of the {} files, ignored", all.len()));
    None
}

/// Saves the .torrent, if that was asked for.
///
/// # Errors
/// It cannot be written.
pub fn save_torrent(env: &Env, parsed: &Parsed, bytes: &[u8]) -> Result<(), save::SaveError> {
    match parsed.path("save_torrent") {
        Some(path) => save::save(&env.cwd.join(path), bytes),
        None => Ok(()),
    }
}

/// How much each file is wanted. A list that does not fit is a warning only, as in the original:
/// scripts give the same one to all torrents.
fn wishes(env: &mut Env, parsed: &Parsed, info: &Info) -> Vec<Priority> {
    match chosen(parsed.text("priority"), info) {
        Some(Some(all)) => all,
        // As the last time, if there was one.
        None => Vec::new(),
        Some(None) => {
            env.error("--priority: bad priority list given, ignored");
            Vec::new()
        }
    }
}

/// How much each file is wanted by a list: `None` if it is empty, `Some(None)` if it does not fit.
fn chosen(list: &str, info: &Info) -> Option<Option<Vec<Priority>>> {
    if list.trim().is_empty() {
        return None;
    }
    let words = list.split(',').map(str::trim);
    let given: Option<Vec<Priority>> =
        words.map(|w| w.parse().ok().and_then(Priority::from_number)).collect();
    Some(given.and_then(|given| priorities(info, &given)))
}

fn goal(parsed: &Parsed) -> Goal {
    let limit = |name| Some(parsed.float(name)).filter(|limit| *limit >= 0.0);
    Goal {
        exit_on_done: parsed.flag("exit_on_done"),
        seed_ratio: limit("seed_ratio"),
        seed_time: limit("seed_time").map(|minutes| Duration::from_secs_f64(minutes * 60.0)),
    }
}

/// A program as named by the user: below the current folder if there is something of that name,
/// else a name without a slash is one to be found in PATH.
fn here(program: PathBuf, cwd: &Path) -> PathBuf {
    let path = cwd.join(&program);
    let is_bare = program.components().count() == 1 && !program.has_root();
    if is_bare && !path.exists() { program } else { path }
}

fn ports(parsed: &Parsed) -> Result<RangeInclusive<u16>, String> {
    let port = |name| parsed.int(name) as u16;
    let (mut first, mut last) = (port("minport"), port("maxport"));
    // Who names only one end of the range, beyond the other's default, means just that port.
    if first > last && !parsed.given("maxport") {
        last = first;
    } else if first > last && !parsed.given("minport") {
        first = last;
    }
    if first > last {
        return Err(format!("--maxport: {last} is below --minport {first}"));
    }
    Ok(first..=last)
}

fn bind(parsed: &Parsed) -> Result<Vec<IpAddr>, String> {
    let six = parsed.flag("ipv6_enabled");
    let four = !six || parsed.flag("ipv6_binds_v4");
    let all = [
        four.then_some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        six.then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    ];
    let named = parsed.text("bind").split(',').map(str::trim).filter(|a| !a.is_empty());
    let named: Result<Vec<IpAddr>, String> = named
        .map(|a| a.parse().map_err(|_| format!("--bind: '{a}' is not an IP address")))
        .collect();
    named.map(|named| if named.is_empty() { all.into_iter().flatten().collect() } else { named })
}

fn device(parsed: &Parsed) -> Option<String> {
    Some(parsed.text("bind_device").to_string()).filter(|name| !name.is_empty())
}

/// How far what is fetched beforehand may come from.
///
/// # Errors
/// What is wrong with the options, for one line.
pub fn bounds(parsed: &Parsed) -> Result<Bounds, String> {
    let origin = Origin::new(&bind(parsed)?, device(parsed).as_deref());
    Ok(Bounds { local_only: parsed.flag("local_only"), origin })
}

/// Each of the three includes those before it, whatever these say.
fn encryption(parsed: &Parsed) -> Encryption {
    match ["crypto_stealth", "crypto_only", "crypto_allowed"].map(|name| parsed.flag(name)) {
        [true, ..] => Encryption::Stealth,
        [_, true, _] => Encryption::Only,
        [.., true] => Encryption::Allowed,
        [.., false] => Encryption::Never,
    }
}

fn config(parsed: &Parsed) -> Result<Config, String> {
    let count = |name| parsed.int(name) as usize;
    let limit = |name| Some(parsed.int(name)).filter(|kb| *kb > 0).map(|kb| kb as u64 * 1000);
    let ip = own_address(parsed)?;
    let limits = limits(parsed)?;
    Ok(Config {
        max_uploads: count("max_uploads"),
        min_uploads: count("min_uploads"),
        round_robin_period: seconds(parsed, "round_robin_period"),
        keepalive_interval: seconds(parsed, "keepalive_interval"),
        timeout: seconds(parsed, "timeout"),
        snub_time: seconds(parsed, "snub_time"),
        request_backlog: count("request_backlog"),
        rarest_first_cutoff: parsed.int("rarest_first_cutoff") as u32,
        rarest_first_priority_cutoff: parsed.int("rarest_first_priority_cutoff") as u32,
        max_initiate: count("max_initiate"),
        max_connections: Some(count("max_connections")).filter(|n| *n > 0).unwrap_or(usize::MAX),
        min_peers: count("min_peers"),
        rerequest_interval: seconds(parsed, "rerequest_interval"),
        paused: false,
        upload_limit: limit("max_upload_rate"),
        auto_upload_limit: parsed.int("max_upload_rate") < 0,
        upload_unit_size: parsed.int("upload_unit_size") as u32,
        upload_rate_fudge: seconds(parsed, "upload_rate_fudge"),
        tcp_ack_fudge: parsed.float("tcp_ack_fudge"),
        download_limit: limit("max_download_rate"),
        rate_window: seconds(parsed, "max_rate_period"),
        security: parsed.flag("security"),
        super_seeder: parsed.flag("super_seeder"),
        auto_kick: parsed.flag("auto_kick"),
        timeout_check_interval: seconds(parsed, "timeout_check_interval"),
        breakup_seed_bitfield: match parsed.flag("breakup_seed_bitfield") {
            false => Breakup::Never,
            true if parsed.given("breakup_seed_bitfield") => Breakup::Always,
            true => Breakup::Plain,
        },
        limits,
        peer_exchange: parsed.flag("pex"),
        local_only: parsed.flag("local_only"),
        hash_table: parsed.flag("dht"),
        seed_id: Some(parsed.text("dedicated_seed_id")).filter(|id| !id.is_empty()).map(Into::into),
        encryption: encryption(parsed),
        ip: ip.map(|ip| ip.to_string()),
    })
}

/// The address to tell trackers, if one is given. A name is looked up now.
fn own_address(parsed: &Parsed) -> Result<Option<IpAddr>, String> {
    let (text, local_only) = (parsed.text("ip"), parsed.flag("local_only"));
    if text.is_empty() {
        return Ok(None);
    }
    let ip = match text.parse() {
        Ok(ip) => ip,
        Err(_) if local_only => {
            return Err(format!("--ip: '{text}' is a name, and --local_only is given"));
        }
        Err(_) => {
            address_of(text).map_err(|why| format!("--ip: cannot look up '{text}': {why}"))?
        }
    };
    match local_only && !is_local(ip) {
        true => Err(format!("--ip: '{text}' is no local address, and --local_only is given")),
        false => Ok(Some(ip)),
    }
}

fn limits(parsed: &Parsed) -> Result<Limits, String> {
    let slice_size = parsed.int("download_slice_size");
    let least = slice_size + PIECE_OVERHEAD;
    if parsed.int("max_message_length") < least {
        return Err(format!(
            "--max_message_length: a block of --download_slice_size {slice_size} needs {least}"
        ));
    }
    Ok(Limits {
        message_length: parsed.int("max_message_length") as u32,
        slice_length: parsed.int("max_slice_length") as u32,
    })
}

/// Where we remember things of downloads, if the environment names a place.
pub(super) fn state_dir(env: &Env) -> Option<PathBuf> {
    let absolute = |name| env.var(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let home = || absolute("HOME").map(|home| home.join(".local/state"));
    absolute("XDG_STATE_HOME").or_else(home).map(|dir| dir.join("bittornado"))
}

/// How the distributed hash table is to be used, if it is.
fn dht(env: &Env, parsed: &Parsed) -> Result<Option<DhtOptions>, String> {
    let routers = parse_nodes(parsed.text("dht_routers"))
        .map_err(|node| format!("--dht_routers: '{node}' is not HOST:PORT"))?;
    let local_only = parsed.flag("local_only");
    let options = DhtOptions { routers, state_dir: state_dir(env), read_only: false, local_only };
    Ok(parsed.flag("dht").then_some(options))
}

fn disk(parsed: &Parsed) -> DiskOptions {
    let minutes = parsed.int("auto_flush") as u64;
    DiskOptions {
        allocation: match parsed.text("alloc_type") {
            "background" => {
                Allocation::Background { rate: (parsed.float("alloc_rate") * MIB) as u64 }
            }
            "pre-allocate" => Allocation::Full,
            "sparse" => Allocation::Sparse,
            _ => Allocation::Grow,
        },
        max_files_open: parsed.int("max_files_open") as usize,
        locks: match (parsed.flag("lock_files"), parsed.flag("lock_while_reading")) {
            (false, _) => Locks::None,
            (true, false) => Locks::Written,
            (true, true) => Locks::All,
        },
        double_check: parsed.flag("double_check") || parsed.flag("triple_check"),
        triple_check: parsed.flag("triple_check"),
        write_buffer: parsed.int("write_buffer_size") as usize * 1024 * 1024,
        read_ahead: parsed.flag("buffer_reads"),
        flush_every: (minutes > 0).then(|| Duration::from_secs(minutes * 60)),
        ..DiskOptions::default()
    }
}

/// The value of an option in seconds.
pub fn seconds(parsed: &Parsed, name: &str) -> Duration {
    Duration::from_secs_f64(parsed.float(name))
}

#[cfg(test)]
mod tests {
    use super::super::options::{Asked, parse};
    use super::*;
    use crate::app::client::{Client, Look, Report};
    use crate::proto::hash::sha1;
    use std::ffi::OsString;

    /// A torrent of two files of one piece.
    fn torrent(a: &[u8], b: &[u8]) -> Metainfo {
        let (lengths, hash) = ([a.len(), b.len()], sha1(&[a, b].concat()));
        let mut bytes = format!(
            "d4:infod5:filesld6:lengthi{}e4:pathl1:aeed6:lengthi{}e4:pathl1:beee4:name4:both\
             12:piece lengthi32768e6:pieces20:",
            lengths[0], lengths[1]
        )
        .into_bytes();
        bytes.extend(hash);
        bytes.extend(b"ee");
        Metainfo::decode(&bytes).unwrap()
    }

    fn parsed(args: &[&str]) -> Parsed {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        match parse(OPTIONS, &args).unwrap() {
            Asked::Run(parsed) => parsed,
            _ => panic!("no help was asked for"),
        }
    }

    #[test]
    fn a_list_of_priorities_that_does_not_fit_is_told_and_ignored() {
        use Priority::{High, Normal, Off};
        let metainfo = torrent(b"a", b"b");
        for (list, expected) in [
            ("1,1", vec![Normal, Normal]),
            (" 0 , -1", vec![High, Off]),
            ("1", vec![]),
            ("1,1,1", vec![]),
            ("1,3", vec![]),
            ("1,x", vec![]),
            ("1,", vec![]),
            ("", vec![]),
        ] {
            let (mut env, said) = Env::captured("btdownloadheadless", [""; 0], "/nonexistent");
            let wishes = wishes(&mut env, &parsed(&["--priority", list]), &metainfo.info);
            assert_eq!(wishes, expected, "{list}");
            let warning = "btdownloadheadless: --priority: bad priority list given, ignored\n";
            assert_eq!(
                said.err(),
                if expected.is_empty() && !list.is_empty() { warning } else { "" },
                "{list}"
            );
        }
    }

    #[test]
    fn both_families_are_listened_on_or_one() {
        let six = "--ipv6_enabled";
        for (args, on) in [
            (&[][..], &["0.0.0.0"][..]),
            (&[six], &["0.0.0.0", "::"]),
            (&[six, "--ipv6_binds_v4", "0"], &["::"]),
            (&["--ipv6_binds_v4", "0"], &["0.0.0.0"]),
            (&[six, "--ipv6_binds_v4", "0", "--bind", "127.0.0.1,::1"], &["127.0.0.1", "::1"]),
        ] {
            let on: Vec<IpAddr> = on.iter().map(|ip| ip.parse().unwrap()).collect();
            assert_eq!(bind(&parsed(args)), Ok(on), "{args:?}");
        }
    }

    #[test]
    fn who_asks_a_download_for_details_gets_them() {
        let dir = std::env::temp_dir().join(format!("bt-details-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("both")).unwrap();
        std::fs::write(dir.join("both/a"), [7; 1000]).unwrap();
        std::fs::write(dir.join("both/b"), [8; 500]).unwrap();
        let (mut env, _) = Env::captured("btdownloadheadless", [""; 0], &dir);
        let args = ["--bind", "127.0.0.1", "--minport", "10000", "--maxport", "60000"];
        let parsed = parsed(&[&args[..], &["--random_port", "1", "--priority", "0,-1"]].concat());
        let settings = settings(&mut env, &parsed, torrent(&[7; 1000], &[8; 500])).unwrap();
        let client = Client::start(settings).unwrap();
        let mut reports = std::iter::from_fn(|| client.next_report());
        assert!(reports.any(|report| matches!(report, Report::Complete)));
        for look in [Look::Files, Look::Pieces, Look::Peers] {
            client.look(look);
        }
        let answers = reports.filter(|report| !matches!(report, Report::Figures(_)));
        let answers: Vec<Report> = answers.take(3).collect();
        let [Report::Files(files), Report::Pieces(pieces), Report::Peers(peers)] = &answers[..]
        else {
            panic!("{answers:?}");
        };
        let files: Vec<(u64, Priority)> = files.iter().map(|f| (f.had, f.priority)).collect();
        assert_eq!(files, [(1000, Priority::High), (500, Priority::Off)]);
        assert_eq!(
            (pieces.had.as_slice(), pieces.availability.as_slice()),
            (&[true][..], &[0][..])
        );
        assert!(peers.is_empty());
        drop(client);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
