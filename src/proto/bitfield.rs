//! One bit a piece, as on the wire: the first piece is the highest bit of the first byte (BEP 3).

/// A fixed number of bits. Spare bits of the last byte are always zero.
#[derive(Clone, PartialEq, Eq)]
pub struct Bitfield {
    bytes: Box<[u8]>,
    len: u32,
    ones: u32,
}

impl Bitfield {
    /// `len` bits, all clear.
    pub fn new(len: u32) -> Bitfield {
        Bitfield { bytes: vec![0; Bitfield::byte_len(len)].into(), len, ones: 0 }
    }

    /// `len` bits, all set.
    pub fn full(len: u32) -> Bitfield {
        let mut bytes = vec![0xff; Bitfield::byte_len(len)];
        if let Some(last) = bytes.last_mut() {
            *last = !spare_mask(len);
        }
        Bitfield { bytes: bytes.into(), len, ones: len }
    }

    /// From the bytes of a `bitfield` message. `None` if the number of bytes is wrong or a spare
    /// bit is set: such a peer is to be dropped (BEP 3).
    pub fn from_bytes(bytes: &[u8], len: u32) -> Option<Bitfield> {
        if bytes.len() != Bitfield::byte_len(len) {
            return None;
        }
        if bytes.last().is_some_and(|last| last & spare_mask(len) != 0) {
            return None;
        }
        let ones = bytes.iter().map(|b| b.count_ones()).sum();
        Some(Bitfield { bytes: bytes.into(), len, ones })
    }

    /// How many bytes `len` bits take.
    pub fn byte_len(len: u32) -> usize {
        len.div_ceil(8) as usize
    }

    /// The bytes, as on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of bits.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are no bits at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of bits that are set.
    pub fn count(&self) -> u32 {
        self.ones
    }

    /// Whether every bit is set.
    pub fn is_full(&self) -> bool {
        self.ones == self.len
    }

    /// Bit `i`; bits from [`len`](Self::len) on are clear.
    pub fn get(&self, i: u32) -> bool {
        i < self.len && self.bytes[(i / 8) as usize] & (0x80 >> (i % 8)) != 0
    }

    /// Sets bit `i` to `on`, and tells whether that changed it. Bits from [`len`](Self::len) on
    /// stay clear.
    pub fn set(&mut self, i: u32, on: bool) -> bool {
        if i >= self.len || self.get(i) == on {
            return false;
        }
        self.bytes[(i / 8) as usize] ^= 0x80 >> (i % 8);
        if on {
            self.ones += 1;
        } else {
            self.ones -= 1;
        }
        true
    }

    /// The indices of the set bits, ascending.
    pub fn ones(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.len).filter(|i| self.get(*i))
    }
}

impl std::fmt::Debug for Bitfield {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bitfield({} of {})", self.ones, self.len)
    }
}

/// The bits of the last byte that stand for no piece.
fn spare_mask(len: u32) -> u8 {
    match len % 8 {
        0 => 0,
        used => 0xff >> used,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_piece_is_the_highest_bit() {
        let mut b = Bitfield::new(10);
        assert!(b.set(0, true) && b.set(9, true) && !b.set(9, true) && !b.set(10, true));
        assert_eq!(b.as_bytes(), [0x80, 0x40]);
        assert_eq!(b.ones().collect::<Vec<_>>(), [0, 9]);
        assert!(b.set(0, false));
        assert_eq!((b.count(), b.get(0), b.get(10)), (1, false, false));
    }

    #[test]
    fn refuses_wrong_length_and_spare_bits() {
        assert!(Bitfield::from_bytes(&[0xff, 0xc0], 10).unwrap().is_full());
        assert_eq!(Bitfield::from_bytes(&[0xff, 0xe0], 10), None);
        assert_eq!(Bitfield::from_bytes(&[0xff], 10), None);
        assert_eq!(Bitfield::from_bytes(&[0xff, 0xc0, 0], 10), None);
        assert_eq!(Bitfield::from_bytes(&[0xff], 8).unwrap().count(), 8);
    }

    #[test]
    fn full_has_no_spare_bits() {
        for len in 0..20 {
            let b = Bitfield::full(len);
            assert_eq!(Bitfield::from_bytes(b.as_bytes(), len), Some(b.clone()));
            assert!(b.is_full() && b.count() == len);
        }
    }
}
