//! What a tracker is started with.

use super::{Dealings, Door, InfoPage, Ranges, Rules, Sources, Target};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How the tracker is run.
pub struct Settings {
    /// Where to listen. Port 0 lets the system choose; all others with port 0 then get the same.
    pub listen: Vec<SocketAddr>,
    /// Whether packets of UDP are taken there too.
    pub udp: bool,
    /// Listen at so many sockets that were handed over, instead of those addresses.
    pub inherited: u32,
    /// Where the service manager wants to hear how it goes.
    pub notify: Option<OsString>,
    /// How often it wants to hear that the tracker lives.
    pub watchdog: Option<Duration>,
    /// The HTTP door.
    pub gate: Door,
    /// The rules.
    pub registry: Rules,
    /// The state file.
    pub dfile: PathBuf,
    /// How often it is written, if anything has changed.
    pub save_interval: Duration,
    /// Where it is written what is allowed.
    pub sources: Sources,
    /// How often that is looked at again.
    pub parse_interval: Duration,
    /// Whether .torrent files can be had.
    pub allow_get: bool,
    /// How it deals with other trackers.
    pub dealings: Dealings,
    /// Announces that an address may make in a minute; 0 = as many as it likes.
    pub announce_rate: u32,
    /// Whether the results of connections to peers are logged.
    pub log_nat_checks: bool,
    /// What `/` shows.
    pub info_page: InfoPage,
    /// What `/favicon.ico` is.
    pub favicon: Option<Vec<u8>>,
    /// Whether proxies may say for whom they ask, whoever they are.
    pub trust_forwarded: bool,
    /// Proxies that may in any case.
    pub trusted_proxies: Option<Ranges>,
    /// Whether there are figures for machines.
    pub stats: bool,
    /// Where the access log goes.
    pub log: Target,
    /// Whose time its lines have: what the variable `TZ` says, if it is there.
    pub zone: Option<OsString>,
    /// How long lines of it may gather.
    pub flush_interval: Duration,
    /// Where a private folder may be made.
    pub temporary: PathBuf,
}

impl Settings {
    /// A tracker that listens on `listen`, keeps its state in the file `dfile`, tracks what anybody
    /// announces and logs nothing: all else is as the command has it without options.
    pub fn new(listen: SocketAddr, dfile: impl Into<PathBuf>) -> Settings {
        let seconds = Duration::from_secs;
        Settings {
            listen: vec![listen],
            udp: false,
            inherited: 0,
            notify: None,
            watchdog: None,
            gate: Door {
                timeout: seconds(15),
                check_interval: seconds(5),
                keep_alive: None,
                connections: 1000,
            },
            registry: Rules::default(),
            dfile: dfile.into(),
            save_interval: seconds(300),
            sources: Sources::default(),
            parse_interval: seconds(60),
            allow_get: false,
            dealings: Dealings {
                enabled: false,
                interval: seconds(120),
                max_peers: 20,
                forward: None,
                timeout: seconds(60),
            },
            announce_rate: 0,
            log_nat_checks: false,
            info_page: InfoPage::Shown,
            favicon: None,
            trust_forwarded: false,
            trusted_proxies: None,
            stats: true,
            log: Target::Out(Box::new(std::io::sink())),
            zone: None,
            flush_interval: seconds(3),
            temporary: std::env::temp_dir(),
        }
    }
}
