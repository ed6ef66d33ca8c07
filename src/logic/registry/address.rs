//! Which address a peer is filed under, and which it is listed by.
//!
//! The rules of the original's `only_local_override_ip`; see [`super::Settings`].

use std::net::IpAddr;

use super::access::Ranges;
use crate::proto::address::is_local;
use crate::proto::announce::answer::address;

/// What proxies say about whom they speak for: the values of these headers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Forwarded<'a> {
    /// `X-Forwarded-For`.
    pub x_forwarded_for: Option<&'a [u8]>,
    /// `Client-IP`.
    pub client_ip: Option<&'a [u8]>,
    /// `Via`.
    pub via: Option<&'a [u8]>,
    /// `From`.
    pub from: Option<&'a [u8]>,
}

impl Forwarded<'_> {
    /// The first public address of the first of these headers that is there. That header decides
    /// even when what it says is of no use, as BitTornado does.
    pub fn address(&self) -> Option<IpAddr> {
        if let Some(list) = self.x_forwarded_for {
            return list.split(|b| *b == b',').filter_map(address).find(|ip| !is_local(*ip));
        }
        let value = match (self.client_ip, self.via, self.from) {
            (Some(ip), _, _) => ip,
            (None, Some(via), _) => behind_for(via),
            (None, None, from) => from?,
        };
        address(value).filter(|ip| !is_local(*ip))
    }
}

/// Whom a proxy speaks for: of the addresses in `X-Forwarded-For`, where each proxy adds the one
/// it heard, the last that is no trusted proxy itself. `None` if there is none that can be read.
pub fn behind_proxies(x_forwarded_for: &[u8], trusted: &Ranges) -> Option<IpAddr> {
    let mut heard = None;
    for part in x_forwarded_for.rsplit(|b| *b == b',') {
        heard = Some(address(without_port(part))?);
        if heard.is_some_and(|ip| !trusted.contains(ip)) {
            break;
        }
    }
    heard
}

/// Of `1.2.3.4:5` and `[2001:db8::1]:5`, as some proxies write, what stands before the port.
fn without_port(part: &[u8]) -> &[u8] {
    let part = part.trim_ascii();
    match part.strip_prefix(b"[") {
        Some(rest) => rest.split(|b| *b == b']').next().unwrap_or_default(),
        None if part.iter().filter(|b| **b == b':').count() == 1 => {
            part.split(|b| *b == b':').next().unwrap_or_default()
        }
        None => part,
    }
}

/// What follows the last word `for` of a `Via` header.
fn behind_for(via: &[u8]) -> &[u8] {
    let word = b"for ";
    let at = via.windows(word.len()).rposition(|w| w == word);
    at.map_or(&[], |at| &via[at + word.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_the_first_stranger_is_his_own_word() {
        let trusted = Ranges::read(b"10.0.0.0/8").0;
        let of = |text: &str| behind_proxies(text.as_bytes(), &trusted).map(|ip| ip.to_string());
        assert_eq!(of("6.6.6.6").as_deref(), Some("6.6.6.6"));
        assert_eq!(of("1.1.1.1, 6.6.6.6,10.0.0.2, 10.0.0.1").as_deref(), Some("6.6.6.6"));
        assert_eq!(of("10.0.0.3, 10.0.0.1").as_deref(), Some("10.0.0.3"));
        assert_eq!(of("1.1.1.1, 6.6.6.6:77, 10.0.0.1:8").as_deref(), Some("6.6.6.6"));
        assert_eq!(of("1.1.1.1, [2001:4860::1]:7").as_deref(), Some("2001:4860::1"));
        assert_eq!(of("2001:4860::1").as_deref(), Some("2001:4860::1"));
        assert_eq!(of("1.1.1.1, nonsense"), None);
        assert_eq!(of(""), None);
    }

    #[test]
    fn the_first_header_there_decides() {
        let of = |headers: Forwarded| headers.address().map(|ip| ip.to_string());
        let none = Forwarded::default();
        let list =
            |text: &'static str| Forwarded { x_forwarded_for: Some(text.as_bytes()), ..none };
        assert_eq!(of(none), None);
        assert_eq!(of(list("5.6.7.8")).as_deref(), Some("5.6.7.8"));
        assert_eq!(of(list("192.168.1.1, 7.7.7.7")).as_deref(), Some("7.7.7.7"));
        assert_eq!(of(list("10.0.0.1, unknown,7.7.7.7 , 8.8.8.8")).as_deref(), Some("7.7.7.7"));
        assert_eq!(of(Forwarded { client_ip: Some(b"8.8.4.4"), ..list("10.0.0.1") }), None);
        let via = Forwarded { via: Some(b"1.0 proxy for 9.9.9.9"), ..none };
        assert_eq!(of(via).as_deref(), Some("9.9.9.9"));
        assert_eq!(of(Forwarded { via: Some(b"1.0 proxy"), ..none }), None);
        assert_eq!(of(Forwarded { from: Some(b"4.4.4.4"), ..none }).as_deref(), Some("4.4.4.4"));
    }
}
