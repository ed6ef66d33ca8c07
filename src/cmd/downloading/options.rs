//! The options of a download: one table for every command that downloads.

use crate::cmd::config;
use crate::cmd::options::{Kind, Opt};

const SECONDS: Kind = Kind::Float { min: 1.0, max: 86_400.0 };
const COUNT: Kind = Kind::Int { min: 1, max: 10_000 };
const PORT: Kind = Kind::Int { min: 1, max: 65_535 };
const RATE: Kind = Kind::Int { min: 0, max: 100_000_000 };

/// The options of a download.
pub const OPTIONS: &[Opt] = &[
    Opt::new("metafile", Kind::Path, "", "the .torrent file").alias(&["responsefile"]),
    Opt::new(
        "url",
        Kind::Text,
        "",
        "where to fetch the .torrent from, by http or https; or a magnet link, whose metadata is \
         fetched from peers",
    ),
    Opt::new(
        "save_torrent",
        Kind::Path,
        "",
        "write the .torrent to this file, in place of what is there, as soon as it is known: that \
         of a magnet link once peers have given its metadata",
    )
    .arg("file"),
    Opt::new(
        "saveas",
        Kind::Path,
        "",
        "where to save the content: a file name, or for a torrent of several files a folder; \
         empty takes the name in the torrent, in the current folder",
    ),
    Opt::new(
        "priority",
        Kind::Text,
        "",
        "which files to fetch: a comma-separated list with one number for each, in the order of \
         btshowmetainfo: 0 first, 1 as usual, 2 last, -1 not at all; empty for what was said the last time, or all",
    )
    .arg("list"),
    Opt::new("minport", PORT, "6881", "first port to try to listen on"),
    Opt::new("maxport", PORT, "6889", "last port to try to listen on"),
    Opt::new("random_port", Kind::Flag, "0", "try the ports in random order"),
    Opt::new(
        "bind",
        Kind::Text,
        "",
        "comma-separated addresses to listen on, and to speak to peers, trackers and web servers \
         from; empty for all",
    ),
    Opt::new(
        "bind_device",
        Kind::Text,
        "",
        "the only network interface to speak and to listen through, such as that of a tunnel; \
         names are still looked up in the way of the system",
    )
    .arg("name"),
    Opt::new("ipv6_enabled", Kind::Flag, "0", "listen on IPv6 too, if bind is empty"),
    Opt::new(
        "ipv6_binds_v4",
        Kind::Flag,
        "1",
        "with ipv6_enabled and an empty bind listen on IPv4 beside IPv6; 0 to listen on IPv6 alone",
    ),
    Opt::new(
        "upnp_nat_access",
        Kind::Int { min: 0, max: 2 },
        "1",
        "1 to ask the router of a home network to let peers in at our port, by PCP, NAT-PMP or \
         UPnP, whatever it knows, and to end that at the exit; 2 by UPnP alone; 0 to leave it alone. Where we listen on loopback alone, or \
         with local_only, nobody is asked",
    ),
    Opt::new(
        "pex",
        Kind::Flag,
        "1",
        "tell peers of each other, and hear of others from them (BEP 11); never with private torrents",
    ),
    Opt::new(
        "lsd",
        Kind::Flag,
        "1",
        "look for peers on the same local network, and be found there (BEP 14), by multicast to its \
         hosts alone; never with private torrents, nor with local_only",
    ),
    Opt::new(
        "utp",
        Kind::Flag,
        "1",
        "share over UDP too, which gives way to other traffic (uTP, BEP 29): peers that do not \
         answer it within some seconds are dialled by TCP; and so are those with local addresses, \
         unless this is set to 1 explicitly",
    ),
    Opt::new(
        "dht",
        Kind::Flag,
        "1",
        "look for peers in the distributed hash table, and be found there (BEP 5); never with \
         private torrents",
    ),
    Opt::new(
        "dht_routers",
        Kind::Text,
        "router.bittorrent.com:6881,dht.transmissionbt.com:6881",
        "nodes to begin with, host:port,host:port, while the table knows hardly any other",
    )
    .arg("list"),
    Opt::new(
        "local_only",
        Kind::Flag,
        "0",
        "stay at home: deal with loopback, private and link-local addresses alone, and look no name \
         up; trackers, web seeds and peers elsewhere, or with names, are left out",
    ),
    Opt::new(
        "web_seeds",
        Kind::Flag,
        "1",
        "fetch from the web servers that the .torrent names, beside peers (BEP 17, BEP 19)",
    ),
    Opt::new(
        "dedicated_seed_id",
        Kind::Text,
        "",
        "secret by which a tracker that was started with the same one knows this as its \
         dedicated seed",
    ),
    Opt::new(
        "crypto_allowed",
        Kind::Flag,
        "1",
        "encrypt connections with those that understand it, in the way of other clients (MSE/PE), \
         and take plain ones from and to all others; it hides what is transferred from those who \
         look at it in passing, no more",
    ),
    Opt::new(
        "crypto_only",
        Kind::Flag,
        "0",
        "have encrypted connections only, with the whole stream encrypted; in plain text others \
         learn that we are here, as trackers do that try whether we can be reached",
    ),
    Opt::new(
        "crypto_stealth",
        Kind::Flag,
        "0",
        "as crypto_only, and do not even answer those who come in plain text; trackers are told \
         port 0 and where to come encrypted, which old ones do not understand",
    ),
    Opt::new(
        "ip",
        Kind::Text,
        "",
        "address to tell the tracker, if not the one it sees; of a name that which it has at the \
         start",
    ),
    Opt::new(
        "max_upload_rate",
        Kind::Int { min: -1, max: 100_000_000 },
        "0",
        "most to send, in kB (1000 bytes) a second; 0 for no limit, -1 to find it out by how long \
         peers take to answer",
    ),
    Opt::new(
        "max_download_rate",
        RATE,
        "0",
        "most to fetch, in kB (1000 bytes) a second; 0 for no limit",
    ),
    Opt::new(
        "upload_unit_size",
        Kind::Int { min: 1, max: 16_384 },
        "1460",
        "with a limit on sending, least bytes to hand to a connection at a time",
    ),
    Opt::new(
        "upload_rate_fudge",
        Kind::Float { min: 0.0, max: 3_600.0 },
        "5",
        "seconds' worth of data that the system is taken to buffer, in measuring upload rates",
    ),
    Opt::new(
        "tcp_ack_fudge",
        Kind::Float { min: 0.0, max: 1.0 },
        "0.03",
        "share of what comes in that counts as sent under a limit, for the acknowledgements; they \
         take half of the limit at most; 0 for none",
    ),
    Opt::new("max_uploads", COUNT, "7", "most peers to send to at a time"),
    Opt::new("min_uploads", COUNT, "4", "send to at least so many peers, if they want it"),
    Opt::new(
        "max_initiate",
        COUNT,
        "40",
        "open no more connections from this number on; half as many more as long as nobody has \
         connected to us",
    ),
    Opt::new(
        "max_connections",
        Kind::Int { min: 0, max: 10_000 },
        "200",
        "have no more connections than this; 0 for as many as the system allows",
    ),
    Opt::new("min_peers", COUNT, "20", "ask for more peers with fewer connections than this"),
    Opt::new("rerequest_interval", SECONDS, "300", "seconds between asking for more peers"),
    Opt::new("keepalive_interval", SECONDS, "120", "seconds between keep-alives to a peer"),
    Opt::new("timeout", SECONDS, "300", "seconds after which a silent peer is dropped"),
    Opt::new(
        "timeout_check_interval",
        SECONDS,
        "60",
        "seconds between looks for peers that are silent for too long",
    ),
    Opt::new(
        "auto_kick",
        Kind::Flag,
        "1",
        "drop peers that give bad pieces, and ban those that do it again and again",
    ),
    Opt::new(
        "super_seeder",
        Kind::Flag,
        "0",
        "when complete, offer every piece to one peer before any to a second: for the only seed \
         of something new, not for others",
    ),
    Opt::new(
        "snub_time",
        SECONDS,
        "30",
        "seconds after which a peer that sends nothing is snubbed",
    ),
    Opt::new("round_robin_period", SECONDS, "30", "seconds between changes of the lucky peer"),
    Opt::new(
        "request_backlog",
        Kind::Int { min: 1, max: 250 },
        "10",
        "never fewer requests than this at a peer that delivers; more where the link takes them",
    ),
    Opt::new(
        "rarest_first_cutoff",
        Kind::Int { min: 0, max: 1_000_000 },
        "2",
        "complete pieces before the rarest are fetched first; common ones come sooner at first",
    ),
    Opt::new(
        "rarest_first_priority_cutoff",
        Kind::Int { min: 0, max: 10_000 },
        "5",
        "peers that must have a piece for it to be common: a started piece is finished before \
         another common one is begun",
    ),
    Opt::new(
        "download_slice_size",
        Kind::Int { min: 1024, max: 131_072 },
        "16384",
        "bytes to ask for in one request; most peers answer no request for more than 16384",
    ),
    Opt::new(
        "max_slice_length",
        Kind::Int { min: 1024, max: 16_777_216 },
        "131072",
        "most bytes a peer may ask for in one request; who asks for more is dropped",
    ),
    Opt::new(
        "max_message_length",
        Kind::Int { min: 1024, max: 1_073_741_824 },
        "8388608",
        "most bytes a message of a peer may have; who announces a longer one is dropped",
    ),
    Opt::new(
        "breakup_seed_bitfield",
        Kind::Flag,
        "1",
        "when complete, tell a peer of two to four pieces later than of the others, against \
         networks that disturb those who seed; peers that know the fast extension are told all \
         in one word unless this is set to 1 explicitly",
    ),
    Opt::new("max_rate_period", SECONDS, "20", "seconds over which rates are measured"),
    Opt::new(
        "alloc_type",
        Kind::Choice(&["normal", "background", "pre-allocate", "sparse"]),
        "normal",
        "how files get their space on the disk: 'normal' as pieces come; 'sparse' the same, but \
         files have their full length from the start; 'background' claims it while pieces come, \
         as fast as alloc_rate says; 'pre-allocate' claims all of it first, and does not start \
         when there is too little",
    ),
    Opt::new(
        "alloc_rate",
        Kind::Float { min: 0.1, max: 1_000_000.0 },
        "2.0",
        "with alloc_type 'background', MiB (2^20 bytes) a second to claim",
    )
    .arg("MiB"),
    Opt::new(
        "max_files_open",
        Kind::Int { min: 0, max: 1_000_000 },
        "50",
        "have no more files open than this, and at most a quarter of what the system allows; \
         0 for just that quarter",
    ),
    Opt::new(
        "lock_files",
        Kind::Flag,
        "1",
        "lock the files that are being written, so that no two programs write one; a file that \
         is locked already ends the download with an error",
    ),
    Opt::new(
        "lock_while_reading",
        Kind::Flag,
        "0",
        "with lock_files, lock the files that are only read too, against those who would write",
    ),
    Opt::new(
        "double_check",
        Kind::Flag,
        "1",
        "check pieces again whose bytes moved on the disk: when a file that was not wanted before \
         is wanted now, some of its bytes are there already, kept aside",
    ),
    Opt::new(
        "triple_check",
        Kind::Flag,
        "0",
        "before a piece counts as had, bring it to the disk itself, read it back from there and \
         check it again",
    ),
    Opt::new(
        "auto_flush",
        Kind::Int { min: 0, max: 10_000 },
        "0",
        "every so many minutes bring what was written to the disk itself and close its files; \
         0 to leave that to the system",
    )
    .arg("minutes"),
    Opt::new(
        "write_buffer_size",
        Kind::Int { min: 0, max: 1024 },
        "2",
        "megabytes (2^20 bytes) of blocks that may wait to be written, and are then written \
         together; 0 to write each block by itself, at once",
    )
    .arg("MB"),
    Opt::new(
        "buffer_reads",
        Kind::Flag,
        "1",
        "when a part of a piece is to be sent, have the system read the rest of it too",
    ),
    Opt::new("http_timeout", SECONDS, "60", "seconds to wait for a tracker").arg("seconds"),
    Opt::new(
        "exit_on_done",
        Kind::Flag,
        "0",
        "exit with 0 once everything is there, written, and made known to a tracker",
    ),
    Opt::new(
        "seed_ratio",
        Kind::Float { min: -1.0, max: 1e9 },
        "-1",
        "exit when it is done and so many bytes were sent for each byte that was wanted (or for \
         each that came in, if that is more), earlier runs counted as far as they are remembered; \
         0 at once when done; -1 for no limit",
    )
    .arg("ratio"),
    Opt::new(
        "seed_time",
        Kind::Float { min: -1.0, max: 1e9 },
        "-1",
        "exit when it was shared for so many minutes after it was done; -1 for no limit",
    )
    .arg("minutes"),
    Opt::new(
        "on_done",
        Kind::Path,
        "",
        "program to run when the download has become complete: without a shell and without \
         arguments, values in its environment (see below). It shares the outputs; exits by the \
         options above wait for it, a minute at most",
    )
    .arg("program"),
    Opt::new("security", Kind::Flag, "1", "no more than one connection of a peer id, and one of a public address"),
    Opt::new(
        "check_hashes",
        Kind::Flag,
        "1",
        "check data that is there at the start, if no saved state vouches for it; 0 takes files \
         of full length as they are, and checks each piece before it is sent for the first time",
    ),
    Opt::new(
        "selector_enabled",
        Kind::Flag,
        "1",
        "remember what is there, in $XDG_STATE_HOME/bittornado (~/.local/state/bittornado), so \
         that the next start need not check it; 0 neither reads nor writes this",
    ),
    Opt::new(
        "expire_cache_data",
        Kind::Int { min: 0, max: 36_500 },
        "10",
        "days after which the saved states of torrents that were not used are removed; 0 for never",
    )
    .arg("days"),
    Opt::new(
        "display_interval",
        Kind::Float { min: 0.1, max: 86_400.0 },
        "0.5",
        "seconds between updates of the figures: where they are printed one after the other, a line \
         comes if there is something new, and no sooner",
    ),
    config::SAVE_OPTIONS,
    config::PRINT_CONFIG,
];

/// The options of those that print lines.
pub const PLAIN: &[Opt] = &[
    Opt::new(
        "json",
        Kind::Flag,
        "0",
        "print an object a line, for programs (see below), in place of what people read",
    ),
    Opt::new("quiet", Kind::Flag, "0", "print nothing but what is wrong"),
    Opt::new(
        "labels",
        Kind::Flag,
        "0",
        "print the original's block of labelled lines, 'percent done:' and so on, whenever one of \
         them changed, for scripts that read these",
    ),
    Opt::new("spew", Kind::Flag, "0", "show the peers")
        .gone("plain text has no table of peers; btdownloadcurses shows it"),
];

/// What those understand besides that have a full screen.
pub const SCREEN: &[Opt] =
    &[Opt::new("spew", Kind::Flag, "0", "begin with the table of peers, in place of the messages")];
