//! How often an address may announce.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The time in which announces are counted.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Addresses counted at most. Others go uncounted until the next window: a limit that strangers
/// can fill must not turn everybody away.
const MAX_COUNTED: usize = 1 << 16;

/// Counts announces by address; IPv6 by network (/64), of which a host has as many addresses as it
/// likes.
#[derive(Debug)]
pub struct Limit {
    /// Announces an address may make in a window; 0 = as many as it likes.
    most: u32,
    began: Instant,
    counts: HashMap<u64, u32>,
}

impl Limit {
    /// Lets `most` through in each [`WINDOW`]; 0 = all.
    pub fn new(most: u32, now: Instant) -> Limit {
        Limit { most, began: now, counts: HashMap::new() }
    }

    /// Counts an announce, and says whether it is one too many.
    pub fn exceeded(&mut self, ip: IpAddr, now: Instant) -> bool {
        if self.most == 0 {
            return false;
        }
        if now.saturating_duration_since(self.began) >= WINDOW {
            self.began = now;
            self.counts.clear();
        }
        let network = match ip.to_canonical() {
            // No network of IPv6 that anybody has begins with zeros.
            IpAddr::V4(ip) => u64::from(u32::from(ip)),
            IpAddr::V6(ip) => (u128::from(ip) >> 64) as u64,
        };
        if self.counts.len() >= MAX_COUNTED && !self.counts.contains_key(&network) {
            return false;
        }
        let count = self.counts.entry(network).or_insert(0);
        *count = count.saturating_add(1);
        *count > self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_are_too_many_until_the_next_window() {
        let now = Instant::now();
        let mut limit = Limit::new(2, now);
        let mut asks = |ip: &str, second| {
            limit.exceeded(ip.parse().unwrap(), now + Duration::from_secs(second))
        };
        assert!(!asks("9.0.0.1", 0) && !asks("9.0.0.1", 1) && asks("9.0.0.1", 59));
        assert!(!asks("9.0.0.2", 59), "another address");
        assert!(!asks("9.0.0.1", 60));
        assert!(!asks("2001:db8::1", 61) && !asks("2001:db8::2", 61) && asks("2001:db8::3", 61));
        assert!(!asks("2001:db8:0:1::1", 61), "another network");
        assert!(!Limit::new(0, now).exceeded("9.0.0.1".parse().unwrap(), now));
    }

    #[test]
    fn what_is_counted_is_bounded() {
        let now = Instant::now();
        let mut limit = Limit::new(1, now);
        for n in 0..100_000u32 {
            limit.exceeded(std::net::Ipv4Addr::from(n).into(), now);
        }
        assert_eq!(limit.counts.len(), MAX_COUNTED);
        assert!(limit.exceeded(std::net::Ipv4Addr::from(5).into(), now));
    }
}
