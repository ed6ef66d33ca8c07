//! The publisher's options.

use crate::cmd::config;
use crate::cmd::making;
use crate::cmd::options::{Kind, Opt};

const PORT: Kind = Kind::Int { min: 0, max: 65535 };

/// All of them.
pub const OPTIONS: &[Opt] = &[
    Opt::new(
        "port",
        PORT,
        "8000",
        "port of the page, the data and the tracker, by TCP, and of the tracker by UDP; 0 = any \
         that is free",
    ),
    Opt::new(
        "bind",
        Kind::Text,
        "",
        "addresses to listen on, separated by commas, for the page and for peers; empty = all",
    ),
    Opt::new("ipv6_enabled", Kind::Flag, "0", "listen on IPv6 too, if bind is empty"),
    Opt::new(
        "host",
        Kind::Text,
        "",
        "name or address of this machine that links and .torrent files name, with :PORT behind it \
         if others reach it at another one; empty = an address of this machine",
    )
    .arg("name"),
    Opt::new(
        "upload_rate",
        Kind::Int { min: 0, max: 100_000_000 },
        "0",
        "most to send, in kB (1000 bytes) a second, to peers and to web clients together, peers \
         first; 0 for no limit",
    )
    .alias(&["max_upload_rate"]),
    Opt::new("title", Kind::Text, "", "what the page is called; empty = what is shared"),
    Opt::new(
        "exit_after",
        Kind::Text,
        "",
        "end after so many completed downloads (3), or after a time (90s, 30m, 8h, 2d)",
    ),
    Opt::new(
        "no_page",
        Kind::Flag,
        "0",
        "serve no page; the .torrent files, the data and the tracker are there all the same",
    ),
    Opt::new("json", Kind::Flag, "0", "tell what happens as JSON, an object a line"),
    Opt::new("quiet", Kind::Flag, "0", "say nothing but the address, and what goes wrong"),
    making::PRIVATE,
    making::COMMENT,
    making::SOURCE,
    making::PIECE_SIZE_POW2,
    making::IGNORE,
    making::EXCLUDE,
    making::INCLUDE,
    Opt::new(
        "rescan",
        Kind::Float { min: 0.1, max: 86_400.0 },
        "2",
        "seconds between looks whether something has changed; more where a look takes long",
    )
    .arg("seconds"),
    Opt::new("minport", PORT, "6881", "first port to try to take peers at"),
    Opt::new("maxport", PORT, "6889", "last port to try to take peers at"),
    Opt::new("random_port", Kind::Flag, "0", "try the ports in random order"),
    Opt::new(
        "local_only",
        Kind::Flag,
        "0",
        "stay at home: serve and ask loopback, private and link-local addresses alone",
    ),
    Opt::new(
        "max_connections",
        Kind::Int { min: 2, max: 1_000_000 },
        "1000",
        "web connections at most; half of them can be had for data",
    ),
    config::SAVE_OPTIONS,
    config::PRINT_CONFIG,
];
