//! The RC4 stream cipher. It is broken as a cipher, and in use here only because the protocol says
//! so: it hides what a stream is about from those who look at its bytes, not from those who attack.

/// The state of one direction of a stream.
#[derive(Clone)]
pub struct Rc4 {
    /// Bytes, each in a word of its own: a byte that was just stored is often loaded next, and
    /// where the load is as wide as the store the CPU need not wait for its cache.
    state: [u32; 256],
    i: u8,
    j: u8,
}

/// So many bytes of the stream are left out at its beginning, since they tell most of the key.
const DROPPED: usize = 1024;

impl Rc4 {
    /// The stream that belongs to `key`, behind its first 1024 bytes.
    pub fn new(key: [u8; 20]) -> Rc4 {
        let mut state = std::array::from_fn(|n| n as u32);
        let mut j = 0u8;
        for i in 0..256 {
            j = j.wrapping_add(state[i] as u8).wrapping_add(key[i % key.len()]);
            state.swap(i, usize::from(j));
        }
        let mut cipher = Rc4 { state, i: 0, j: 0 };
        (0..DROPPED).for_each(|_| _ = cipher.next());
        cipher
    }

    /// Encrypts or decrypts the next bytes of the stream, in place.
    pub fn apply(&mut self, bytes: &mut [u8]) {
        let mut words = bytes.chunks_exact_mut(8);
        for word in &mut words {
            // Written out, since the whole is built for size and loops are not unrolled then.
            let stream = [
                self.next(),
                self.next(),
                self.next(),
                self.next(),
                self.next(),
                self.next(),
                self.next(),
                self.next(),
            ];
            let plain = u64::from_ne_bytes((&*word).try_into().expect("chunks are of eight bytes"));
            word.copy_from_slice(&(plain ^ u64::from_ne_bytes(stream)).to_ne_bytes());
        }
        words.into_remainder().iter_mut().for_each(|byte| *byte ^= self.next());
    }

    #[inline(always)]
    fn next(&mut self) -> u8 {
        self.i = self.i.wrapping_add(1);
        let a = self.state[usize::from(self.i)];
        self.j = self.j.wrapping_add(a as u8);
        let b = self.state[usize::from(self.j)];
        self.state[usize::from(self.i)] = b;
        self.state[usize::from(self.j)] = a;
        self.state[usize::from((a as u8).wrapping_add(b as u8))] as u8
    }
}

impl std::fmt::Debug for Rc4 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rc4(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From a plain RC4 of ten lines in Python: the 20 bytes of the stream behind the first 1024,
    /// for the key 00 01 … 13, and the 8 bytes that lie 100,000 further.
    const STREAM: [u8; 20] = [
        0xcb, 0x84, 0xe3, 0xc9, 0x5e, 0xde, 0x7b, 0xb7, 0x65, 0x13, 0x90, 0x07, 0x8a, 0xe9, 0x77,
        0x77, 0xbd, 0xd3, 0xee, 0x89,
    ];
    const LATER: [u8; 8] = [0xcb, 0x3f, 0xdd, 0x45, 0x27, 0xd4, 0x68, 0xb4];

    fn key() -> [u8; 20] {
        std::array::from_fn(|n| n as u8)
    }

    #[test]
    fn the_stream_is_that_of_an_independent_computation() {
        let mut bytes = [0; 20];
        let mut cipher = Rc4::new(key());
        cipher.apply(&mut bytes);
        assert_eq!(bytes, STREAM);
        cipher.apply(&mut vec![0; 100_000]);
        let mut bytes = [0; 8];
        cipher.apply(&mut bytes);
        assert_eq!(bytes, LATER);
    }

    #[test]
    fn it_does_not_matter_how_the_bytes_are_cut() {
        let mut whole = [7; 100];
        Rc4::new(key()).apply(&mut whole);
        for cut in 0..=100 {
            let (mut bytes, mut cipher) = ([7; 100], Rc4::new(key()));
            let (first, second) = bytes.split_at_mut(cut);
            cipher.apply(first);
            cipher.apply(second);
            assert_eq!(bytes, whole, "cut at {cut}");
        }
    }
}
