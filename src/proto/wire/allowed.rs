//! Which pieces a peer may be given while it is choked (BEP 6).

use crate::proto::geometry::{Geometry, PieceIndex};
use crate::proto::hash::sha1;
use crate::proto::ids::InfoHash;
use std::net::Ipv4Addr;

/// The first `count` pieces, or all if there are fewer, of the order that BEP 6 derives from an
/// address and a torrent. All addresses of a /24 network have the same, so that it is of no use
/// to come again from another one.
pub fn allowed_fast(
    ip: Ipv4Addr,
    info_hash: InfoHash,
    geometry: &Geometry,
    count: usize,
) -> Vec<PieceIndex> {
    let pieces = geometry.piece_count();
    let count = count.min(pieces as usize);
    let [a, b, c, _] = ip.octets();
    let mut seed = [a, b, c, 0].to_vec();
    seed.extend_from_slice(&info_hash.0);
    let mut digest = sha1(&seed);
    let mut allowed = Vec::with_capacity(count);
    while allowed.len() < count {
        for word in digest.chunks_exact(4) {
            let number = u32::from_be_bytes(word.try_into().expect("chunks of four"));
            let piece = geometry.piece(number % pieces).expect("less than there are");
            if allowed.len() < count && !allowed.contains(&piece) {
                allowed.push(piece);
            }
        }
        digest = sha1(&digest);
    }
    allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_sets_that_bep_6_has_as_examples() {
        let geometry = Geometry::new(1, [1313]).unwrap();
        let set = |count| {
            let ip = Ipv4Addr::new(80, 4, 4, 200);
            let all = allowed_fast(ip, InfoHash([0xaa; 20]), &geometry, count);
            all.iter().map(|p| p.get()).collect::<Vec<_>>()
        };
        assert_eq!(set(7), [1059, 431, 808, 1217, 287, 376, 1188]);
        assert_eq!(set(9), [1059, 431, 808, 1217, 287, 376, 1188, 353, 508]);
    }

    #[test]
    fn a_small_torrent_has_a_small_set() {
        for (length, expected) in [(0, 0), (1, 1), (3, 3), (9, 5)] {
            let geometry = Geometry::new(1, [length]).unwrap();
            let ip = Ipv4Addr::new(1, 2, 3, 4);
            let set = allowed_fast(ip, InfoHash([1; 20]), &geometry, 5);
            assert_eq!(set.len(), expected);
        }
    }
}
