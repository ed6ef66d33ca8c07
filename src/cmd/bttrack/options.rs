//! The tracker's options.

use crate::cmd::config;
use crate::cmd::options::{Kind, Opt};

const SECONDS: Kind = Kind::Int { min: 1, max: u32::MAX as i64 };

/// The largest answer one may ask for: a kilobyte is 170 peers.
const MAX_RESPONSE: i64 = 10_000;

/// All of them.
pub const OPTIONS: &[Opt] = &[
    Opt::new("port", Kind::Int { min: 0, max: 65535 }, "80", "TCP port; 0 = any that is free"),
    Opt::new("dfile", Kind::Path, "", "file in which the tracker keeps what it knows; required")
        .arg("file"),
    Opt::new(
        "bind",
        Kind::Text,
        "",
        "addresses or host names to listen on, separated by commas; empty = all",
    ),
    Opt::new("udp", Kind::Flag, "0", "take UDP packets (BEP 15) too, at the same port number"),
    Opt::new("ipv6_enabled", Kind::Flag, "0", "listen on IPv6 too"),
    Opt::new(
        "ipv6_binds_v4",
        Kind::Flag,
        "1",
        "with --ipv6_enabled and an empty --bind listen on IPv4 beside IPv6; 0 = on IPv6 alone",
    ),
    Opt::new(
        "socket_timeout",
        SECONDS,
        "15",
        "seconds in which a request must have come; its answer may take that and the time that \
         its length needs at 16 KiB/s",
    ),
    Opt::new(
        "timeout_check_interval",
        SECONDS,
        "5",
        "seconds between looks for connections whose time is over",
    ),
    Opt::new(
        "keepalive",
        Kind::Int { min: 0, max: 3600 },
        "0",
        "seconds a connection may wait for a further request; 0 = one request, then close",
    ),
    Opt::new("save_dfile_interval", SECONDS, "300", "seconds between writings of the dfile"),
    Opt::new(
        "timeout_downloaders_interval",
        SECONDS,
        "2700",
        "seconds between expirations: a peer is forgotten one to two of them after its last announce",
    ),
    Opt::new(
        "reannounce_interval",
        SECONDS,
        "1800",
        "seconds that clients are told to wait between announces",
    ),
    Opt::new(
        "response_size",
        Kind::Int { min: 0, max: MAX_RESPONSE },
        "50",
        "peers in an answer: when the client does not say, and at most",
    ),
    Opt::new(
        "nat_check",
        Kind::Int { min: 0, max: 250 },
        "3",
        "attempts to connect to a new peer before it is given up, one an announce; until one \
         succeeds it is not listed; 0 = list everybody at once",
    ),
    Opt::new(
        "nat_check_local",
        Kind::Flag,
        "0",
        "connect to peers of the local network too, instead of listing them at once",
    ),
    Opt::new("log_nat_checks", Kind::Flag, "0", "log the results of connections to peers"),
    Opt::new(
        "only_local_override_ip",
        Kind::Int { min: 0, max: 2 },
        "2",
        "whose word on another address (ip=) counts: 1 = that of the local network; \
         0 = everybody's, and that of proxies too; 2 = everybody's with --nat_check, else 1",
    ),
    Opt::new(
        "max_torrents",
        Kind::Int { min: 1, max: 1 << 28 },
        "131072",
        "torrents with peers at most; beyond, the emptiest make room (some 200 bytes each; with \
         64 MB of memory take 32768)",
    ),
    Opt::new(
        "max_peers",
        Kind::Int { min: 1, max: 1 << 28 },
        "1048576",
        "peers at most; beyond, silent ones of large torrents make room (some 60 bytes each, and as much \
         again while they are saved: with 64 MB of memory take 262144)",
    ),
    Opt::new(
        "max_connections",
        Kind::Int { min: 1, max: 1 << 20 },
        "1000",
        "connections at once; beyond, the one that has been idle longest makes room",
    ),
    Opt::new(
        "announce_rate",
        Kind::Int { min: 0, max: u32::MAX as i64 },
        "0",
        "announces an address (IPv6: a /64) may make in a minute; 0 = as many as it likes",
    ),
    Opt::new(
        "interval_jitter",
        Kind::Int { min: 0, max: 86_400 },
        "0",
        "seconds at most that are added to the interval at random, so that clients do not all \
         come at once",
    ),
    Opt::new(
        "min_interval",
        Kind::Int { min: 0, max: 86_400 },
        "0",
        "tell clients ('min interval') not to announce again within so many seconds; 0 = do not",
    ),
    Opt::new(
        "trusted_proxies",
        Kind::Text,
        "",
        "addresses or networks, separated by commas, whose X-Forwarded-For is believed",
    )
    .arg("list"),
    Opt::new("stats", Kind::Flag, "1", "have figures for machines at /stats.json and /metrics"),
    Opt::new("external_ip", Kind::Flag, "0", "tell clients the address that they come from"),
    Opt::new("compact_reqd", Kind::Flag, "1", "refuse clients that do not ask for compact answers"),
    Opt::new("keep_dead", Kind::Flag, "0", "keep torrents without peers in scrape and info page"),
    Opt::new(
        "scrape_allowed",
        Kind::Choice(&["none", "specific", "full"]),
        "full",
        "scrape not at all, only of torrents that are named, or of everything",
    ),
    Opt::new(
        "allowed_dir",
        Kind::Path,
        "",
        "track only the torrents of the .torrent files in this folder; if it has none, of those \
         in its sub-folders, by the same rule",
    )
    .arg("folder"),
    Opt::new(
        "allowed_list",
        Kind::Path,
        "",
        "track only the torrents whose info hashes (40 hex digits) are the lines of this file",
    )
    .arg("file"),
    Opt::new(
        "allowed_controls",
        Kind::Flag,
        "0",
        "heed 'failure reason' and 'warning message' in the .torrent files of --allowed_dir",
    ),
    Opt::new(
        "allowed_ips",
        Kind::Path,
        "",
        "serve only the addresses in this file: an address, a network (10.0.0.0/8) or a range \
         (1.2.3.4-1.2.3.9) a line",
    )
    .arg("file"),
    Opt::new(
        "banned_ips",
        Kind::Path,
        "",
        "do not serve the addresses in this file, written like those of --allowed_ips or as \
         'who it is:range'",
    )
    .arg("file"),
    Opt::new(
        "parse_dir_interval",
        SECONDS,
        "60",
        "seconds between looks at --allowed_dir, --allowed_list, --allowed_ips and --banned_ips; \
         SIGHUP has them looked at at once",
    ),
    Opt::new(
        "allow_get",
        Kind::Flag,
        "0",
        "give the .torrent files of --allowed_dir to whoever asks: /file?info_hash=HASH",
    ),
    Opt::new(
        "show_names",
        Kind::Flag,
        "1",
        "show the names of the torrents of --allowed_dir in info page and scrape",
    ),
    Opt::new(
        "dedicated_seed_id",
        Kind::Text,
        "",
        "secret (seed_id=) by which a dedicated seed is known; clients that ask (check_seeded=1) \
         are told that it was there",
    )
    .arg("text"),
    Opt::new(
        "aggregator",
        Kind::Text,
        "0",
        "only take note of announces, for statistics: 1 = of everybody's, a password = of those \
         that bring it (password=)",
    ),
    Opt::new(
        "aggregate_forward",
        Kind::Text,
        "",
        "forward every good announce to this aggregator, with this password",
    )
    .arg("url[,password]"),
    Opt::new(
        "multitracker_enabled",
        Kind::Flag,
        "0",
        "ask the trackers in the announce-lists of --allowed_dir for peers, and pass these on",
    ),
    Opt::new(
        "multitracker_allowed",
        Kind::Choice(&["none", "autodetect", "all"]),
        "autodetect",
        "other trackers that may ask us: none, any for torrents with an announce-list, or all of \
         them",
    ),
    Opt::new(
        "multitracker_reannounce_interval",
        SECONDS,
        "120",
        "seconds between questions to other trackers, and those that they are told to wait",
    ),
    Opt::new(
        "multitracker_maxpeers",
        Kind::Int { min: 0, max: MAX_RESPONSE },
        "20",
        "peers that other trackers are asked for",
    ),
    Opt::new(
        "http_timeout",
        SECONDS,
        "60",
        "seconds that a request to another tracker or an aggregator may take; at most 60",
    ),
    Opt::new(
        "hupmonitor",
        Kind::Flag,
        "1",
        "historical: SIGHUP always reopens the log and reads the lists again",
    ),
    Opt::new("show_infopage", Kind::Flag, "1", "show what is tracked at /"),
    Opt::new("infopage_redirect", Kind::Text, "", "send visitors of / to this URL").arg("url"),
    Opt::new("favicon", Kind::Path, "", "icon for browsers (.ico)").arg("file"),
    Opt::new(
        "logfile",
        Kind::Path,
        "",
        "append the access log here instead of writing it to standard output; SIGHUP reopens it; \
         requests have the local time (TZ)",
    )
    .arg("file"),
    Opt::new(
        "min_time_between_log_flushes",
        Kind::Float { min: 0.0, max: 3600.0 },
        "3",
        "seconds that lines of the log may wait to be written",
    ),
    Opt::new(
        "min_time_between_cache_refreshes",
        Kind::Float { min: 0.0, max: f64::MAX },
        "600",
        "of no use any more",
    )
    .gone("peers are chosen anew for every answer"),
    config::SAVE_OPTIONS,
    config::PRINT_CONFIG,
];
