//! Bytes in gzip's format (RFC 1952): the tracker's answers to those who ask for it, and answers
//! that come so.

use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::io::{self, Read, Write};

/// The bytes, compressed.
pub fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("a Vec takes every write");
    encoder.finish().expect("a Vec takes every write")
}

/// What compressed bytes were before; `None` if that is more than `limit` bytes, of which no more
/// are made. Nothing behind their end is looked at.
///
/// # Errors
/// They cannot be read, or are none of this format.
pub fn unpacked(packed: impl Read, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    GzDecoder::new(packed).take(most).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= limit).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_bytes_come_back_if_they_are_no_more_than_they_may_be() {
        let text = b"all the same ".repeat(100);
        let small = packed(&text);
        assert!(small.len() < 100);
        assert_eq!(unpacked(&small[..], text.len()).unwrap(), Some(text.clone()));
        assert_eq!(unpacked(&small[..], text.len() - 1).unwrap(), None);
        assert!(unpacked(&small[..20], text.len()).is_err());
        assert!(unpacked(&text[..], text.len()).is_err());
    }
}
