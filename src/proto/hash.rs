//! SHA-1: the CPU's instructions where it has them (feature `accel`), `sha1_smol` elsewhere.
//!
//! The only place that names the two crates. Without `accel` there is `sha1_smol` alone; in the
//! tests it is the reference that the fast path must agree with.

#[cfg(feature = "accel")]
type Engine = sha1::Sha1;
#[cfg(not(feature = "accel"))]
type Engine = sha1_smol::Sha1;

/// A running SHA-1. A clone goes on from the same state.
#[derive(Clone, Default)]
pub struct Sha1(Engine);

impl Sha1 {
    /// The hash of nothing so far.
    pub fn new() -> Sha1 {
        Sha1::default()
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        #[cfg(feature = "accel")]
        sha1::Digest::update(&mut self.0, bytes);
        #[cfg(not(feature = "accel"))]
        self.0.update(bytes);
    }

    /// The hash of all bytes taken in.
    pub fn finish(self) -> [u8; 20] {
        #[cfg(feature = "accel")]
        return sha1::Digest::finalize(self.0).into();
        #[cfg(not(feature = "accel"))]
        return self.0.digest().bytes();
    }
}

impl std::fmt::Debug for Sha1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sha1(..)")
    }
}

/// The SHA-1 of `bytes`.
pub fn sha1(bytes: &[u8]) -> [u8; 20] {
    let mut hash = Sha1::new();
    hash.update(bytes);
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(hash: [u8; 20]) -> String {
        hash.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn agrees_with_the_examples_of_the_standard() {
        assert_eq!(hex(sha1(b"")), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(hex(sha1(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
        let million = vec![b'a'; 1_000_000];
        assert_eq!(hex(sha1(&million)), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    }

    #[test]
    fn agrees_with_the_reference_for_every_length_and_cut() {
        let bytes: Vec<u8> = (0..400u32).map(|n| (n * 31 % 251) as u8).collect();
        for length in 0..bytes.len() {
            let whole = &bytes[..length];
            let wanted = sha1_smol::Sha1::from(whole).digest().bytes();
            assert_eq!(sha1(whole), wanted, "{length} bytes");
            let (a, b) = whole.split_at(length / 3);
            let mut cut = Sha1::new();
            cut.update(a);
            cut.update(b);
            assert_eq!(cut.finish(), wanted, "{length} bytes in two parts");
        }
    }

    #[test]
    fn a_clone_goes_its_own_way() {
        let mut one = Sha1::new();
        one.update(b"a");
        let mut other = one.clone();
        one.update(b"bc");
        other.update(b"xy");
        assert_eq!(one.finish(), sha1(b"abc"));
        assert_eq!(other.finish(), sha1(b"axy"));
    }
}
