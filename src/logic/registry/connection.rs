//! Connection ids of UDP trackers (BEP 15): by one the asker proves that packets reach the address
//! it writes on its own.
//!
//! Nothing is remembered: an id is a hash of the address, the time and a secret.

use std::hash::{DefaultHasher, Hasher};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::proto::udp::LEAST_ID;

/// How long an id is given out. It is taken as long again.
const PERIOD: Duration = Duration::from_secs(120);

/// Makes ids, and knows them again.
#[derive(Debug)]
pub struct Ids {
    secret: [u64; 2],
    born: Instant,
}

impl Ids {
    /// Ids that nobody without the secret can guess.
    pub fn new(secret: [u64; 2], now: Instant) -> Ids {
        Ids { secret, born: now }
    }

    fn period(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.born).as_secs() / PERIOD.as_secs()
    }

    fn id(&self, ip: IpAddr, period: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.secret[0]);
        hasher.write_u64(period);
        match ip {
            IpAddr::V4(ip) => hasher.write(&ip.octets()),
            IpAddr::V6(ip) => hasher.write(&ip.octets()),
        }
        hasher.write_u64(self.secret[1]);
        hasher.finish() | LEAST_ID
    }

    /// The id for an address.
    pub fn give(&self, ip: IpAddr, now: Instant) -> u64 {
        self.id(ip, self.period(now))
    }

    /// Whether an id was given to this address not long ago.
    pub fn knows(&self, id: u64, ip: IpAddr, now: Instant) -> bool {
        let period = self.period(now);
        id == self.id(ip, period) || (period > 0 && id == self.id(ip, period - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_good_for_its_address_and_some_minutes() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let ids = Ids::new([1, 2], start);
        let (four, six) = ("9.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        for ip in [four, six] {
            let id = ids.give(ip, at(100));
            assert!(ids.knows(id, ip, at(100)) && ids.knows(id, ip, at(239)));
            assert!(id >= LEAST_ID);
            assert!(!ids.knows(id, ip, at(240)), "too old");
            assert!(!ids.knows(id, "9.0.0.2".parse().unwrap(), at(100)), "another's");
            assert!(!ids.knows(id + 1, ip, at(100)), "a guess");
            assert!(!Ids::new([1, 3], start).knows(id, ip, at(100)), "another secret");
        }
    }
}
