//! SHA-1 and SHA-256: the CPU's instructions where it has them (feature `accel`), portable code
//! elsewhere.
//!
//! The only place that names the crates. Without `accel` there are `sha1_smol` and a SHA-256 of
//! our own; in the tests these are the reference that the fast path must agree with.

#[cfg(any(test, not(feature = "accel")))]
mod portable;

#[cfg(feature = "accel")]
type Engine = sha1::Sha1;
#[cfg(not(feature = "accel"))]
type Engine = sha1_smol::Sha1;

#[cfg(feature = "accel")]
type Engine256 = sha2::Sha256;
#[cfg(not(feature = "accel"))]
type Engine256 = portable::Sha256;

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

/// The CRC-32C (Castagnoli) of some bytes, bit by bit: it is asked for a few dozen of them.
pub fn crc32c<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> u32 {
    let shift = |crc: u32| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
    let add = |crc, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| shift(crc));
    !bytes.into_iter().fold(!0, add)
}

/// A running SHA-256. A clone goes on from the same state.
#[derive(Clone, Default)]
pub struct Sha256(Engine256);

impl Sha256 {
    /// The hash of nothing so far.
    pub fn new() -> Sha256 {
        Sha256::default()
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        #[cfg(feature = "accel")]
        sha2::Digest::update(&mut self.0, bytes);
        #[cfg(not(feature = "accel"))]
        self.0.update(bytes);
    }

    /// The hash of all bytes taken in.
    pub fn finish(self) -> [u8; 32] {
        #[cfg(feature = "accel")]
        return sha2::Digest::finalize(self.0).into();
        #[cfg(not(feature = "accel"))]
        return self.0.finish();
    }
}

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sha256(..)")
    }
}

/// The SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(bytes);
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(hash: impl AsRef<[u8]>) -> String {
        hash.as_ref().iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn checksums_are_those_of_castagnoli() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
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

    #[test]
    fn sha_256_agrees_with_the_examples_of_the_standard() {
        for (bytes, wanted) in [
            (&b""[..], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
            (
                &[b'a'; 1_000_000],
                "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
            ),
        ] {
            assert_eq!(hex(sha256(bytes)), wanted);
            let mut reference = portable::Sha256::default();
            reference.update(bytes);
            assert_eq!(hex(reference.finish()), wanted);
        }
    }

    #[test]
    fn both_agree_with_their_references_for_random_lengths_and_cuts() {
        let mut state = 0x5eed_u64;
        let mut below = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % n
        };
        for round in 0..200 {
            let bytes: Vec<u8> = (0..below(20_000)).map(|_| below(256) as u8).collect();
            let (mut one, mut two) = (Sha1::new(), Sha256::new());
            let mut reference = portable::Sha256::default();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (part, behind) = rest.split_at(1 + below(rest.len()));
                one.update(part);
                two.update(part);
                reference.update(part);
                rest = behind;
            }
            let wanted = sha1_smol::Sha1::from(&bytes).digest().bytes();
            assert_eq!(one.finish(), wanted, "round {round}, {} bytes", bytes.len());
            assert_eq!(two.finish(), reference.finish(), "round {round}, {} bytes", bytes.len());
        }
    }
}
