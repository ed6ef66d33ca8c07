//! Who may use the tracker, and for what: the torrents that are allowed, and ranges of addresses.
//!
//! Made by `app/tracker` from what the operator wrote; asked at every announce.

use crate::proto::order;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::proto::ids::InfoHash;

/// What the operator said about a torrent that is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Torrent {
    /// Its name; `None` where only its hash is known.
    pub name: Option<Arc<str>>,
    /// Bytes of its content.
    pub length: u64,
    /// Its trackers, from its announce-list; empty if it has none.
    pub trackers: Vec<String>,
    /// Announces are refused with this text.
    pub failure: Option<Arc<str>>,
    /// Answers carry this text.
    pub warning: Option<Arc<str>>,
}

/// The torrents that are allowed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allowed {
    torrents: HashMap<InfoHash, Torrent>,
}

impl Allowed {
    /// Exactly these.
    pub fn new(torrents: HashMap<InfoHash, Torrent>) -> Allowed {
        Allowed { torrents }
    }

    /// What was said about a torrent; `None` if it is not allowed.
    pub fn get(&self, hash: &InfoHash) -> Option<&Torrent> {
        self.torrents.get(hash)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&InfoHash, &Torrent)> {
        self.torrents.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.torrents.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.torrents.is_empty()
    }
}

/// Reads a list of torrents: 40 hex digits a line; empty lines and those with `#` are skipped.
/// Also gives the lines that it does not understand.
pub fn torrent_list(text: &[u8]) -> (Allowed, Vec<String>) {
    let (mut torrents, mut odd) = (HashMap::new(), Vec::new());
    for line in lines(text) {
        match InfoHash::from_hex(&line) {
            Some(hash) => _ = torrents.insert(hash, Torrent::default()),
            None => odd.push(line),
        }
    }
    (Allowed::new(torrents), odd)
}

/// Lines that say something, without the blanks around them.
fn lines(text: &[u8]) -> impl Iterator<Item = String> {
    let lines = text.split(|b| *b == b'\n').map(|line| String::from_utf8_lossy(line.trim_ascii()));
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| line.into_owned())
}

/// A set of addresses; IPv4 inside IPv6 counts as IPv4.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ranges {
    /// First and last, in order and apart.
    four: Vec<(u32, u32)>,
    six: Vec<(u128, u128)>,
}

impl Ranges {
    /// Reads a list of addresses, one range a line: `ADDRESS`, `ADDRESS/LENGTH` or
    /// `ADDRESS-ADDRESS` as its first word, or behind the last colon of that word or of the line
    /// (`who it is:1.2.3.0-1.2.3.255`). Empty lines and those with `#` are skipped. Also gives the
    /// lines that it does not understand.
    pub fn read(text: &[u8]) -> (Ranges, Vec<String>) {
        let (mut ranges, mut odd) = (Ranges::default(), Vec::new());
        for line in lines(text) {
            match range_of(&line) {
                Some((IpAddr::V4(a), IpAddr::V4(b))) => ranges.four.push((a.into(), b.into())),
                Some((IpAddr::V6(a), IpAddr::V6(b))) => ranges.six.push((a.into(), b.into())),
                _ => odd.push(line),
            }
        }
        joined(&mut ranges.four);
        joined(&mut ranges.six);
        (ranges, odd)
    }

    /// Whether an address is in one of them.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => within(&self.four, ip.into()),
            IpAddr::V6(ip) => within(&self.six, ip.into()),
        }
    }
}

fn within<N: Ord + Copy>(ranges: &[(N, N)], n: N) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= n);
    behind > 0 && n <= ranges[behind - 1].1
}

/// Sorts ranges, and makes one of those that overlap.
fn joined<N: Ord + Copy>(ranges: &mut Vec<(N, N)>) {
    order::by(ranges, Ord::cmp);
    ranges.dedup_by(|next, before| {
        let overlaps = next.0 <= before.1;
        if overlaps {
            before.1 = before.1.max(next.1);
        }
        overlaps
    });
    ranges.shrink_to_fit();
}

fn range_of(line: &str) -> Option<(IpAddr, IpAddr)> {
    let word = line.split_whitespace().next()?;
    let behind_colon = |text: &str| range(text.rsplit_once(':')?.1.trim());
    range(word).or_else(|| behind_colon(word)).or_else(|| behind_colon(line))
}

/// One range or network, given as text: `10.0.0.0/8`, `1.2.3.4-1.2.3.9`, `2001:db8::1`.
fn range(text: &str) -> Option<(IpAddr, IpAddr)> {
    let ip = |text: &str| text.trim().parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    if let Some((first, last)) = text.split_once('-') {
        let (first, last) = (ip(first)?, ip(last)?);
        return (first.is_ipv4() == last.is_ipv4() && first <= last).then_some((first, last));
    }
    let Some((address, length)) = text.split_once('/') else {
        return ip(text).map(|ip| (ip, ip));
    };
    let length: u32 = length.parse().ok()?;
    // Not the canonical form: the length counts the bits of the form that was written.
    match address.parse::<IpAddr>().ok()? {
        IpAddr::V4(v4) => {
            let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
            let network = u32::from(v4) & !hosts;
            let last = Ipv4Addr::from(network | hosts);
            (length <= 32).then_some((Ipv4Addr::from(network).into(), last.into()))
        }
        IpAddr::V6(v6) => {
            let hosts = u128::MAX.checked_shr(length).unwrap_or(0);
            let network = u128::from(v6) & !hosts;
            let last = Ipv6Addr::from(network | hosts);
            (length <= 128).then_some((Ipv6Addr::from(network).into(), last.into()))
        }
    }
}

/// All that is restricted.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The torrents that are tracked; `None` = all that anybody announces.
    pub torrents: Option<Arc<Allowed>>,
    /// The only addresses that are served; `None` = all.
    pub allowed_ips: Option<Arc<Ranges>>,
    /// Addresses that are not served.
    pub banned_ips: Option<Arc<Ranges>>,
}

impl Access {
    /// Whether an address is served.
    pub fn serves(&self, ip: IpAddr) -> bool {
        self.allowed_ips.as_ref().is_none_or(|ranges| ranges.contains(ip))
            && !self.banned_ips.as_ref().is_some_and(|ranges| ranges.contains(ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_in_all_the_forms_people_have_them() {
        let text = "# a comment\n\n127.0.0.0/24 us\r\n  10.1.2.3\n\
            level1:some one:1.2.3.4-1.2.3.9\nwith blanks in it:9.9.9.9\n2001:db8::/32 them\n\
            ::ffff:8.8.8.8\n1.2.3.7-1.2.4.0\n";
        let (ranges, odd) = Ranges::read(text.as_bytes());
        assert_eq!(odd, [""; 0]);
        let has = |ip: &str| ranges.contains(ip.parse().unwrap());
        for ip in ["127.0.0.0", "127.0.0.255", "10.1.2.3", "1.2.3.4", "1.2.3.255", "9.9.9.9"] {
            assert!(has(ip), "{ip}");
        }
        for ip in ["2001:db8::", "2001:db8:ffff::1", "8.8.8.8", "::ffff:10.1.2.3"] {
            assert!(has(ip), "{ip}");
        }
        for ip in ["127.0.1.0", "10.1.2.4", "1.2.3.3", "1.2.4.1", "9.9.9.8", "2001:db9::", "::1"] {
            assert!(!has(ip), "{ip}");
        }
        assert_eq!(ranges.four.len(), 5, "what overlaps is joined");
    }

    #[test]
    fn lines_that_are_no_range_are_told() {
        let text = "not-an-ip\n1.2.3.4/33\n1.2.3.9-1.2.3.4\n1.2.3.4-::1\n::/129\n1.2.3\n";
        assert_eq!(Ranges::read(text.as_bytes()).1.len(), 6);
        assert_eq!(Ranges::read(b"0.0.0.0/0\n::/0").1, [""; 0]);
        assert!(Ranges::read(b"0.0.0.0/0").0.contains("200.1.1.1".parse().unwrap()));
    }

    #[test]
    fn a_list_of_torrents_is_lines_of_hex_in_any_case() {
        let text = "5dcd210f6f0f94358e06e3004af9a98642748b87\r\nzz\n\n# x\n \
                    397C158BF4AEF3A98528DAAC57619B42175BAF5C";
        let (allowed, odd) = torrent_list(text.as_bytes());
        assert_eq!((allowed.len(), odd), (2, vec!["zz".to_owned()]));
        assert!(allowed.iter().any(|(hash, _)| hash.to_string().starts_with("397c")));
    }

    #[test]
    fn who_is_banned_is_not_served_even_if_allowed() {
        let list = |text: &str| Some(Arc::new(Ranges::read(text.as_bytes()).0));
        let access = Access {
            allowed_ips: list("127.0.0.0/24"),
            banned_ips: list("127.0.0.7"),
            ..Access::default()
        };
        let serves = |ip: &str| access.serves(ip.parse().unwrap());
        assert!(serves("127.0.0.8") && !serves("127.0.0.7") && !serves("127.0.1.8"));
        assert!(Access::default().serves("127.0.0.7".parse().unwrap()));
    }

    #[test]
    fn damaged_lists_never_panic() {
        let mut seed = 5u64;
        for _ in 0..20_000 {
            let mut text = b"a:1.2.3.4-1.2.3.9\n::1/64\n10.0.0.0/8\n".to_vec();
            for _ in 0..3 {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (seed >> 33) as usize % text.len();
                text[at] = b":/-.9f\n\xff"[(seed >> 24) as usize % 8];
            }
            let _ = (Ranges::read(&text), torrent_list(&text));
        }
    }
}
