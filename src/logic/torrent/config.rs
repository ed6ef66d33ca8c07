//! What a user can set of a torrent's behaviour, with BitTornado's defaults.

use super::{Refused, is_exempt};
use crate::logic::candidates::Candidates;
use crate::logic::picker::{PRIORITY_CUTOFF, RAREST_FIRST_CUTOFF};
use crate::logic::rate::DEFAULT_WINDOW;
use crate::proto::address::is_local;
use crate::proto::announce::Request;
use crate::proto::mse::Methods;
use crate::proto::wire::Limits;
use std::net::SocketAddr;
use std::time::Duration;

/// To whom a seed tells what it has as a bitfield with gaps, and the gaps right behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breakup {
    /// To nobody.
    Never,
    /// To those who speak no fast extension; to the others one short message tells all.
    Plain,
    /// To everybody.
    Always,
}

/// Whether connections are encrypted (`crypto_allowed`, `crypto_only`, `crypto_stealth`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// None.
    Never,
    /// Those that the other side understands: we try that first.
    Allowed,
    /// All, in RC4. Who comes in plain text hears our handshake, as trackers do that ask whether
    /// we can be reached, and no more.
    Only,
    /// All, and who comes in plain text hears nothing at all.
    Stealth,
}

impl Encryption {
    /// The methods that we agree to; `None` for plain text alone.
    pub fn methods(self) -> Option<Methods> {
        match self {
            Encryption::Never => None,
            Encryption::Allowed => Some(Methods::Any),
            Encryption::Only | Encryption::Stealth => Some(Methods::Rc4),
        }
    }

    /// Whether to begin encrypted with one of whom it is known whether plain text is his turn.
    pub(in crate::logic) fn is_tried(self, plain: bool) -> bool {
        match self {
            Encryption::Never => false,
            Encryption::Allowed => !plain,
            Encryption::Only | Encryption::Stealth => true,
        }
    }

    /// Tells it to a tracker.
    pub(in crate::logic) fn tell(self, request: &mut Request) {
        request.supports_encryption = self != Encryption::Never;
        request.requires_encryption = self.is_required();
        if self == Encryption::Stealth {
            request.crypto_port = Some(std::mem::take(&mut request.port));
        }
    }

    /// Whether plain text is refused.
    pub fn is_required(self) -> bool {
        self.methods() == Some(Methods::Rc4)
    }
}

/// What a user can set. The names are those of the options of `btdownloadheadless`.
#[derive(Debug, Clone)]
pub struct Config {
    /// Upper bound of unchoked, interested peers.
    pub max_uploads: usize,
    /// Unchoke at least so many, if there are.
    pub min_uploads: usize,
    /// Rotation of the optimistic unchoke.
    pub round_robin_period: Duration,
    /// A keep-alive goes out after so much silence of ours.
    pub keepalive_interval: Duration,
    /// A connection silent for so long is closed.
    pub timeout: Duration,
    /// A peer that was asked and gave nothing for so long counts as snubbing.
    pub snub_time: Duration,
    /// Never fewer requests out than this, at a peer that delivers.
    pub request_backlog: usize,
    /// Complete pieces before rarest-first starts.
    pub rarest_first_cutoff: u32,
    /// From how many owners on a piece is common: see [`PRIORITY_CUTOFF`].
    pub rarest_first_priority_cutoff: u32,
    /// No more connections are opened from this number on; half as many more as long as nobody
    /// has connected to us.
    pub max_initiate: usize,
    /// No more connections at all from this number on.
    pub max_connections: usize,
    /// With fewer connections than this the tracker is asked for more peers.
    pub min_peers: usize,
    /// How often more peers are asked for then.
    pub rerequest_interval: Duration,
    /// It rests: see [`Torrent::is_paused`](super::Torrent::is_paused).
    pub paused: bool,
    /// Payload sent, bytes a second; `None` for no limit.
    pub upload_limit: Option<u64>,
    /// The upload limit finds itself, and with it how many peers are served; it begins with
    /// `upload_limit` (`max_upload_rate` -1).
    pub auto_upload_limit: bool,
    /// Under an upload limit a socket gets no less than so many bytes at a time.
    pub upload_unit_size: u32,
    /// Upload rates are measured as if bytes had gone for so much longer: the system's buffers
    /// take the first ones.
    pub upload_rate_fudge: Duration,
    /// This share of the bytes that come counts as sent under an upload limit, for it is what
    /// telling the peers of their arrival costs; 0 for none.
    pub tcp_ack_fudge: f64,
    /// Payload asked for, bytes a second; `None` for no limit.
    pub download_limit: Option<u64>,
    /// The window of all rate estimates.
    pub rate_window: Duration,
    /// One connection per peer id and per public address.
    pub security: bool,
    /// Offer every piece once before any twice, once all is here (BEP 16).
    pub super_seeder: bool,
    /// Part from peers that gave bad pieces, and ban those that do it again and again.
    pub auto_kick: bool,
    /// How often those are looked for that are silent too long.
    pub timeout_check_interval: Duration,
    /// How a seed tells what it has.
    pub breakup_seed_bitfield: Breakup,
    /// What is taken of a peer. Here for those who make the framers.
    pub limits: Limits,
    /// Tell peers of each other (BEP 11); not to be set for a private torrent (BEP 27).
    pub peer_exchange: bool,
    /// The secret by which a tracker knows the dedicated seed of a torrent.
    pub seed_id: Option<String>,
    /// Whether connections are encrypted.
    pub encryption: Encryption,
    /// Nobody outside this machine and its networks is dialled, taken or asked, and no name is
    /// looked up.
    pub local_only: bool,
    /// Whether peers tell each other where their nodes of the distributed hash table are (BEP 5).
    pub hash_table: bool,
    /// The address to tell the tracker, where it is not to take the one it sees.
    pub ip: Option<String>,
}

impl Config {
    /// Whether somebody who connected to us may stay, by its address and those of the others.
    pub(in crate::logic) fn admit(
        &self,
        address: SocketAddr,
        candidates: &Candidates,
        mut others: impl Iterator<Item = SocketAddr>,
    ) -> Result<(), Refused> {
        if self.local_only && !is_local(address.ip()) {
            return Err(Refused::Outside);
        }
        if candidates.is_banned(address.ip()) {
            return Err(Refused::Banned);
        }
        let is_alone = self.security && !is_exempt(address.ip());
        if is_alone && others.any(|other| other.ip() == address.ip()) {
            return Err(Refused::Duplicate);
        }
        Ok(())
    }

    /// Whether an address has all the connections already that it may have.
    pub(in crate::logic) fn is_taken(
        &self,
        address: SocketAddr,
        mut others: impl Iterator<Item = SocketAddr>,
    ) -> bool {
        match self.security && !is_exempt(address.ip()) {
            true => others.any(|other| other.ip() == address.ip()),
            false => others.any(|other| other == address),
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            max_uploads: 7,
            min_uploads: 4,
            round_robin_period: Duration::from_secs(30),
            keepalive_interval: Duration::from_secs(120),
            timeout: Duration::from_secs(300),
            snub_time: Duration::from_secs(30),
            request_backlog: 10,
            rarest_first_cutoff: RAREST_FIRST_CUTOFF,
            rarest_first_priority_cutoff: PRIORITY_CUTOFF,
            max_initiate: 40,
            max_connections: 200,
            min_peers: 20,
            rerequest_interval: Duration::from_secs(300),
            paused: false,
            upload_limit: None,
            auto_upload_limit: false,
            upload_unit_size: 1460,
            upload_rate_fudge: Duration::from_secs(5),
            tcp_ack_fudge: 0.03,
            download_limit: None,
            rate_window: DEFAULT_WINDOW,
            security: true,
            super_seeder: false,
            auto_kick: true,
            timeout_check_interval: Duration::from_secs(60),
            breakup_seed_bitfield: Breakup::Plain,
            limits: Limits::default(),
            peer_exchange: false,
            local_only: false,
            hash_table: false,
            seed_id: None,
            encryption: Encryption::Allowed,
            ip: None,
        }
    }
}
