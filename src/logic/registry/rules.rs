//! How a tracker is run, and why it says no.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Who may scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scraping {
    /// Nobody.
    None,
    /// Whoever names the torrents.
    Specific,
    /// Everybody, for everything.
    Full,
}

/// How the tracker is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Seconds between announces that clients are told.
    pub interval: u32,
    /// Peers in an answer: the default and the most.
    pub response_size: u32,
    /// How long a peer may be silent: it is forgotten one to two such periods after its last
    /// announce.
    pub expiry: Duration,
    /// Torrents without peers stay in the records.
    pub keep_dead: bool,
    /// Clients that ask for no compact list are refused.
    pub compact_required: bool,
    /// Who may scrape.
    pub scraping: Scraping,
    /// Anybody may name the address it is listed by (`ip=`), not only the local network.
    pub believe_given_ip: bool,
    /// Torrents' names are told, where they are known.
    pub show_names: bool,
    /// Which trackers may ask for our peers.
    pub trackers: Trackers,
    /// Seconds between their requests that other trackers are told.
    pub tracker_interval: u32,
    /// Whether announces are only noted, for statistics.
    pub aggregator: Aggregator,
    /// The secret of dedicated seeds, if there are any.
    pub dedicated_seed_id: Option<Box<[u8]>>,
    /// Attempts to connect to a new peer before it is given up and never listed; 0 = all are
    /// listed at once.
    pub nat_checks: u8,
    /// Peers of the local network are connected to, too.
    pub check_local: bool,
    /// Torrents with peers, at most. Beyond, the emptiest make room.
    pub max_torrents: usize,
    /// Peers at most, in all torrents together. Beyond, silent ones of large torrents make room.
    pub max_peers: usize,
    /// Seconds at most that are added to the interval, at random.
    pub jitter: u32,
    /// Seconds between announces that clients are told not to fall short of.
    pub min_interval: Option<u32>,
    /// Clients are told the address that they come from (BEP 24).
    pub external_ip: bool,
}

impl Default for Settings {
    /// As the command has it without options.
    fn default() -> Settings {
        Settings {
            interval: 1800,
            response_size: 50,
            expiry: Duration::from_secs(2700),
            keep_dead: false,
            compact_required: true,
            scraping: Scraping::Full,
            believe_given_ip: true,
            show_names: true,
            trackers: Trackers::Autodetect,
            tracker_interval: 120,
            aggregator: Aggregator::No,
            dedicated_seed_id: None,
            nat_checks: 3,
            check_local: false,
            max_torrents: 131_072,
            max_peers: 1 << 20,
            jitter: 0,
            min_interval: None,
            external_ip: false,
        }
    }
}

/// Which trackers may ask for peers (`tracker=1`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trackers {
    /// None.
    None,
    /// Any, for torrents that are allowed and have an announce-list.
    Autodetect,
    /// Any, for all torrents.
    All,
}

/// Whether this is a tracker, or an aggregator, which notes what others forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aggregator {
    /// A tracker.
    No,
    /// An aggregator for everybody.
    Open,
    /// An aggregator for those who send this password.
    Password(Box<[u8]>),
}

/// Why a request that is well formed gets no answer. `Display` is the text for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The client asks for no compact list.
    OldClient,
    /// The address is banned, or not one of those that are served.
    Address,
    /// The torrent is not one of those that are allowed, or the password is wrong.
    NotAuthorized,
    /// The .torrent says so, in these words.
    Controlled(Arc<str>),
    /// Other trackers are not served.
    Tracker,
    /// Other trackers are not served with this torrent.
    NotMultitracker,
    /// The address announces more often than it may.
    TooOften,
    /// Scraping everything is not allowed.
    FullScrape,
    /// Scraping is not allowed.
    SpecificScrape,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::OldClient => "your client is outdated, please upgrade",
            Refused::Address => "your IP is not allowed on this tracker",
            Refused::NotAuthorized => {
                "Requested download is not authorized for use with this tracker."
            }
            Refused::Controlled(text) => text,
            Refused::Tracker => "disallowed",
            Refused::NotMultitracker => {
                "Requested download is not authorized for multitracker use."
            }
            Refused::TooOften => "too many announces from your address, try again later",
            Refused::FullScrape => "full scrape function is not available with this tracker.",
            Refused::SpecificScrape => {
                "specific scrape function is not available with this tracker."
            }
        })
    }
}
