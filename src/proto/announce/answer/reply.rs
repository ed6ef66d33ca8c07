//! What the tracker answers: lists of peers, counts, refusals, in bencode (BEP 3, 7, 23, 24, 31, 48).

use crate::proto::order;
use std::net::IpAddr;
use std::sync::Arc;

use super::Crypto;
use crate::proto::bencode::{put_bytes, put_digits, put_int};
use crate::proto::ids::{InfoHash, PeerId};

/// The shapes of a peer list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Bytes (BEP 23), of peers that do not require crypto.
    Compact,
    /// Bytes, of peers that support crypto, with a flag 1 for each.
    CryptoOnly,
    /// Bytes, of all peers, with a flag for each: 1 = requires crypto.
    WithFlags,
    /// Dictionaries (BEP 3), of peers that do not require crypto.
    Dicts,
    /// The same without `peer id`.
    DictsWithoutId,
}

/// A peer in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Where to find it.
    pub ip: IpAddr,
    /// Its port, never 0.
    pub port: u16,
    /// How it stands to crypto.
    pub crypto: Crypto,
}

impl Listed {
    /// Appends addresses and ports in their compact form: 6 bytes, or 18.
    pub fn put_all(peers: &[Listed], out: &mut Vec<u8>) {
        if put_fours(peers, out) < peers.len() {
            put_sixes(peers, out);
        }
    }
}

/// Those of IPv4, and how many they are. Room for all at once, since this is done fifty times an
/// answer.
fn put_fours(peers: &[Listed], out: &mut Vec<u8>) -> usize {
    let start = out.len();
    let mut end = start;
    out.resize(end + 6 * peers.len(), 0);
    for peer in peers {
        if let IpAddr::V4(ip) = peer.ip {
            let ([a, b, c, d], [high, low]) = (ip.octets(), peer.port.to_be_bytes());
            out[end..end + 6].copy_from_slice(&[a, b, c, d, high, low]);
            end += 6;
        }
    }
    out.truncate(end);
    (end - start) / 6
}

fn put_sixes(peers: &[Listed], out: &mut Vec<u8>) {
    for peer in peers {
        if let IpAddr::V6(ip) = peer.ip {
            out.extend_from_slice(&ip.octets());
            out.extend_from_slice(&peer.port.to_be_bytes());
        }
    }
}

/// The answer to a good announce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Seeds known.
    pub complete: u32,
    /// Other peers known.
    pub incomplete: u32,
    /// Seconds until the next announce is due.
    pub interval: u32,
    /// The shape of the list.
    pub form: Form,
    /// The list.
    pub peers: Vec<Listed>,
    /// The names of these, in the same order, where the list tells them: in [`Form::Dicts`] alone.
    /// Apart, since fifty of twice the size are more than malloc gives out quickly.
    pub names: Vec<PeerId>,
    /// What few answers hold.
    pub more: More,
}

/// What an answer holds only where an option or the request asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct More {
    /// `external ip` (BEP 24): the address that the request came from.
    pub external_ip: Option<IpAddr>,
    /// `min interval`: seconds before which no further announce is welcome.
    pub min_interval: Option<u32>,
    /// `scrape`: the numbers of a scrape.
    pub scrape: Option<Scraped>,
    /// `seeded`: the dedicated seed is there.
    pub seeded: bool,
    /// `warning message`: what the client should show to people.
    pub warning: Option<Arc<str>>,
}

impl Reply {
    /// Its bytes. `peers6` (BEP 7) is there only when the list has IPv6 peers; `crypto_flags` tell
    /// of the peers in `peers`.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96 + self.peers.len() * 8);
        out.push(b'd');
        put_count(&mut out, "complete", self.complete);
        if let Form::CryptoOnly | Form::WithFlags = self.form {
            let flags: Vec<u8> =
                self.peers.iter().filter(|p| p.ip.is_ipv4()).map(|p| self.flag(p)).collect();
            put_bytes(&mut out, b"crypto_flags");
            put_bytes(&mut out, &flags);
        }
        if let Some(ip) = self.more.external_ip {
            put_bytes(&mut out, b"external ip");
            match ip {
                IpAddr::V4(ip) => put_bytes(&mut out, &ip.octets()),
                IpAddr::V6(ip) => put_bytes(&mut out, &ip.octets()),
            }
        }
        put_count(&mut out, "incomplete", self.incomplete);
        put_count(&mut out, "interval", self.interval);
        if let Some(seconds) = self.more.min_interval {
            put_count(&mut out, "min interval", seconds);
        }
        put_bytes(&mut out, b"peers");
        match self.form {
            Form::Dicts | Form::DictsWithoutId => self.put_dicts(&mut out),
            _ => self.put_compact(&mut out),
        }
        if let Some(scraped) = &self.more.scrape {
            put_bytes(&mut out, b"scrape");
            scraped.put(&mut out);
        }
        if self.more.seeded {
            put_count(&mut out, "seeded", 1);
        }
        if let Some(text) = &self.more.warning {
            put_bytes(&mut out, b"warning message");
            put_bytes(&mut out, text.as_bytes());
        }
        out.push(b'e');
        out
    }

    fn flag(&self, peer: &Listed) -> u8 {
        u8::from(self.form == Form::CryptoOnly || peer.crypto == Crypto::Required)
    }

    fn put_compact(&self, out: &mut Vec<u8>) {
        let sixes = self.peers.iter().filter(|peer| peer.ip.is_ipv6()).count();
        // The lengths are known, so the lists need no place of their own before.
        put_length(out, (self.peers.len() - sixes) * 6);
        put_fours(&self.peers, out);
        if sixes == 0 {
            return;
        }
        put_bytes(out, b"peers6");
        put_length(out, sixes * 18);
        put_sixes(&self.peers, out);
    }

    fn put_dicts(&self, out: &mut Vec<u8>) {
        out.push(b'l');
        for (place, peer) in self.peers.iter().enumerate() {
            out.push(b'd');
            put_bytes(out, b"ip");
            put_bytes(out, peer.ip.to_string().as_bytes());
            if let Some(id) = self.names.get(place) {
                put_bytes(out, b"peer id");
                put_bytes(out, &id.0);
            }
            put_count(out, "port", peer.port.into());
            out.push(b'e');
        }
        out.push(b'e');
    }
}

/// Begins a string of this many bytes.
fn put_length(out: &mut Vec<u8>, bytes: usize) {
    put_digits(out, bytes as u64);
    out.push(b':');
}

fn put_count(out: &mut Vec<u8>, key: &str, n: u32) {
    put_bytes(out, key.as_bytes());
    put_int(out, n.into());
}

/// A refusal as clients show it to people: `d14:failure reason…e`.
pub fn encode_failure(reason: &str) -> Vec<u8> {
    let mut out = b"d14:failure reason".to_vec();
    put_bytes(&mut out, reason.as_bytes());
    out.push(b'e');
    out
}

/// A refusal that is over in some minutes (`retry in`, BEP 31).
pub fn encode_failure_for_now(reason: &str, minutes: u64) -> Vec<u8> {
    let mut out = encode_failure(reason);
    out.pop();
    put_bytes(&mut out, b"retry in");
    put_int(&mut out, i64::try_from(minutes).unwrap_or(i64::MAX));
    out.push(b'e');
    out
}

/// What a scrape tells of a torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Seeds.
    pub complete: u32,
    /// Completed downloads since the tracker's records begin.
    pub downloaded: u32,
    /// Other peers.
    pub incomplete: u32,
}

impl Counts {
    fn put(self, out: &mut Vec<u8>) {
        put_count(out, "complete", self.complete);
        put_count(out, "downloaded", self.downloaded);
        put_count(out, "incomplete", self.incomplete);
    }
}

/// A torrent in a scrape.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scraped {
    /// Its numbers.
    pub counts: Counts,
    /// Its name, where the tracker knows and tells it.
    pub name: Option<Arc<str>>,
}

impl Scraped {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(b'd');
        self.counts.put(out);
        if let Some(name) = &self.name {
            put_bytes(out, b"name");
            put_bytes(out, name.as_bytes());
        }
        out.push(b'e');
    }
}

/// The answer to a scrape (BEP 48). Puts `files` into the order bencode wants; of a hash that is
/// there twice the first counts.
pub fn encode_scrape(files: &mut Vec<(InfoHash, Scraped)>) -> Vec<u8> {
    order::by_key(files, |(hash, _)| *hash);
    files.dedup_by_key(|(hash, _)| *hash);
    let mut out = Vec::with_capacity(16 + files.len() * 72);
    out.extend_from_slice(b"d5:filesd");
    for (hash, scraped) in files {
        put_bytes(&mut out, &hash.0);
        scraped.put(&mut out);
    }
    out.extend_from_slice(b"ee");
    out
}

/// What an aggregator answers to an announce that it took note of.
pub fn encode_noted() -> Vec<u8> {
    b"d8:response2:OKe".to_vec()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::proto::bencode;
    use crate::proto::ids::PeerId;

    pub(in super::super) fn reply(form: Form) -> Vec<u8> {
        let peer = |ip: &str, crypto| Listed { ip: ip.parse().unwrap(), port: 258, crypto };
        let peers = vec![peer("::5", Crypto::Required), peer("1.2.3.4", Crypto::Plain)];
        let names = vec![PeerId([b'p'; 20]); if form == Form::Dicts { 2 } else { 0 }];
        let more = More::default();
        Reply { complete: 1, incomplete: 2, interval: 1800, form, peers, names, more }.encode()
    }

    #[test]
    fn writes_every_form_of_the_list() {
        assert_eq!(
            reply(Form::Compact),
            b"d8:completei1e10:incompletei2e8:intervali1800e5:peers6:\x01\x02\x03\x04\x01\x026:peers618:\
              \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\x01\x02e"
        );
        assert!(reply(Form::WithFlags).starts_with(b"d8:completei1e12:crypto_flags1:\x0010:inc"));
        assert!(reply(Form::CryptoOnly).starts_with(b"d8:completei1e12:crypto_flags1:\x0110:inc"));
        assert!(reply(Form::Dicts).ends_with(
            b"5:peersld2:ip3:::57:peer id20:pppppppppppppppppppp4:porti258eed2:ip7:1.2.3.4\
              7:peer id20:pppppppppppppppppppp4:porti258eeee"
        ));
        assert!(
            reply(Form::DictsWithoutId)
                .ends_with(b"5:peersld2:ip3:::54:porti258eed2:ip7:1.2.3.44:porti258eeee")
        );
        for form in [Form::Compact, Form::WithFlags, Form::Dicts] {
            let bytes = reply(form);
            assert_eq!(bencode::decode(&bytes).unwrap().to_item().encode(), bytes);
        }
    }

    #[test]
    fn a_scrape_names_each_torrent_once_and_in_order() {
        let counts = Counts { complete: 1, downloaded: 2, incomplete: 3 };
        let told = Scraped { counts, name: None };
        let (a, b) = (InfoHash([b'a'; 20]), InfoHash([b'b'; 20]));
        assert_eq!(
            encode_scrape(&mut vec![(b, told.clone()), (a, told), (b, Scraped::default())]),
            b"d5:filesd20:aaaaaaaaaaaaaaaaaaaad8:completei1e10:downloadedi2e10:incompletei3ee\
              20:bbbbbbbbbbbbbbbbbbbbd8:completei1e10:downloadedi2e10:incompletei3eeee"
        );
    }

    #[test]
    fn a_refusal_may_be_for_now() {
        let wanted = b"d14:failure reason2:no8:retry ini5ee";
        assert_eq!(encode_failure_for_now("no", 5), wanted);
        assert_eq!(bencode::decode(wanted).unwrap().to_item().encode(), wanted);
    }

    #[test]
    fn what_was_asked_for_besides_stands_in_its_order() {
        let more = More {
            external_ip: "1.2.3.4".parse().ok(),
            min_interval: Some(60),
            scrape: Some(Scraped { name: Some("n".into()), ..Scraped::default() }),
            seeded: true,
            warning: Some("w".into()),
        };
        let form = Form::Compact;
        let (peers, names) = (vec![], vec![]);
        let bytes = Reply { complete: 1, incomplete: 2, interval: 9, form, peers, names, more };
        let bytes = bytes.encode();
        assert_eq!(bencode::decode(&bytes).unwrap().to_item().encode(), bytes, "canonical");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.contains("11:external ip4:\u{1}\u{2}\u{3}\u{4}10:incomplete"), "{text}");
        assert!(text.contains("12:min intervali60e5:peers0:6:scraped8:completei0e"), "{text}");
        assert!(text.ends_with("4:name1:ne6:seededi1e15:warning message1:we"), "{text}");
    }
}
