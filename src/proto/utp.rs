//! The packets of uTP (BEP 29): a stream over UDP that gives way to others.
//!
//! Reads what strangers sent: never panics, and allocates nothing; what is read points into the
//! packet.

/// Bytes of a packet before its extensions.
pub const HEADER_LENGTH: usize = 20;

/// The most bytes of bits that are written into one selective acknowledgement: 1,024 packets.
pub const MAX_SELECTIVE: usize = 128;

const VERSION: u8 = 1;

/// The number of the extension that acknowledges selectively.
const SELECTIVE: u8 = 1;

/// What a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes of the stream.
    Data,
    /// The last of the stream.
    Fin,
    /// An acknowledgement alone; takes no sequence number.
    State,
    /// The connection is unknown, or given up.
    Reset,
    /// The first of a connection.
    Syn,
}

const KINDS: [Kind; 5] = [Kind::Data, Kind::Fin, Kind::State, Kind::Reset, Kind::Syn];

/// What stands at the head of each packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What it is for.
    pub kind: Kind,
    /// Whose it is: the number under which its receiver knows the connection; in a
    /// [`Kind::Syn`] the one under which its sender will.
    pub connection: u16,
    /// When it was sent, in microseconds of the sender's clock, modulo 2^32.
    pub sent: u32,
    /// How long the last packet from the other side was under way, in microseconds, by the
    /// difference of both clocks too much; 0 = none has come.
    pub delay: u32,
    /// How many more bytes the sender has room for.
    pub window: u32,
    /// The packet's number; of a [`Kind::State`], that of the next one.
    pub seq: u16,
    /// The number up to which everything has come.
    pub ack: u16,
}

/// A packet as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its head.
    pub header: Header,
    /// One bit for a packet, the lowest of a byte first, beginning with number `ack` + 2: whether
    /// that has come too. Empty if nothing is said of that.
    pub selective: &'a [u8],
    /// The bytes of the stream.
    pub payload: &'a [u8],
}

/// Whether a packet that begins with this byte can be of uTP. None of the distributed hash table
/// (`d`) and of a UDP tracker (0) does.
pub fn begins(first: u8) -> bool {
    first & 15 == VERSION && usize::from(first >> 4) < KINDS.len()
}

/// Whether number `a` comes before `b`. Numbers wrap: it is the shorter way that counts.
pub fn is_before(a: u16, b: u16) -> bool {
    a != b && b.wrapping_sub(a) < 1 << 15
}

impl<'a> Packet<'a> {
    /// Reads a packet. Extensions that are not known are passed over. `None` if it is none of
    /// BEP 29's version 1, or is cut short.
    pub fn read(bytes: &'a [u8]) -> Option<Packet<'a>> {
        let (head, mut rest) = bytes.split_first_chunk::<HEADER_LENGTH>()?;
        if !begins(head[0]) {
            return None;
        }
        let u16_at = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) << 16 | u32::from(u16_at(at + 2));
        let header = Header {
            kind: KINDS[usize::from(head[0] >> 4)],
            connection: u16_at(2),
            sent: u32_at(4),
            delay: u32_at(8),
            window: u32_at(12),
            seq: u16_at(16),
            ack: u16_at(18),
        };
        let mut selective: &[u8] = &[];
        let mut extension = head[1];
        while extension != 0 {
            let ([next, length], after) = rest.split_first_chunk::<2>()?;
            let (data, after) = after.split_at_checked(usize::from(*length))?;
            if extension == SELECTIVE {
                selective = data;
            }
            (extension, rest) = (*next, after);
        }
        Some(Packet { header, selective, payload: rest })
    }

    /// Appends the packet. The bits of the acknowledgement are filled up to whole groups of four
    /// bytes, as BEP 29 wants them; what is above [`MAX_SELECTIVE`] is left out.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let Header { kind, connection, sent, delay, window, seq, ack } = self.header;
        let selective = &self.selective[..self.selective.len().min(MAX_SELECTIVE)];
        out.push((kind as u8) << 4 | VERSION);
        out.push(if selective.is_empty() { 0 } else { SELECTIVE });
        out.extend_from_slice(&connection.to_be_bytes());
        for number in [sent, delay, window] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&seq.to_be_bytes());
        out.extend_from_slice(&ack.to_be_bytes());
        if !selective.is_empty() {
            let length = selective.len().next_multiple_of(4);
            out.extend_from_slice(&[0, length as u8]);
            out.extend_from_slice(selective);
            out.resize(out.len() + length - selective.len(), 0);
        }
        out.extend_from_slice(self.payload);
    }

    /// The numbers that are acknowledged selectively, ascending.
    pub fn selected(&self) -> impl Iterator<Item = u16> + use<'a> {
        let (bits, first) = (self.selective, self.header.ack.wrapping_add(2));
        let is_set = |n: &usize| bits[n / 8] >> (n % 8) & 1 == 1;
        (0..bits.len() * 8).filter(is_set).map(move |n| first.wrapping_add(n as u16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::damage::survived;

    fn header(kind: Kind) -> Header {
        let (sent, delay, window) = (0x0102_0304, 0x0506_0708, 0x0010_0000);
        Header { kind, connection: 0xabcd, sent, delay, window, seq: 0xfffe, ack: 0xfffd }
    }

    fn written(packet: &Packet<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        packet.write_to(&mut bytes);
        bytes
    }

    #[test]
    fn a_packet_has_the_bytes_of_bep_29() {
        let state = Packet { header: header(Kind::State), selective: &[0b101], payload: b"" };
        assert_eq!(
            written(&state),
            [
                0x21, 1, 0xab, 0xcd, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0x10, 0, 0, 0xff, 0xfe, 0xff,
                0xfd, //
                0, 4, 0b101, 0, 0, 0,
            ]
        );
        assert_eq!(state.selected().collect::<Vec<_>>(), [0xffff, 1], "they wrap");
        for (kind, first) in KINDS.into_iter().zip([0x01, 0x11, 0x21, 0x31, 0x41]) {
            let packet = Packet { header: header(kind), selective: &[], payload: b"bytes" };
            let bytes = written(&packet);
            assert_eq!((bytes[0], bytes.len()), (first, 25));
            assert_eq!(Packet::read(&bytes), Some(packet));
        }
    }

    #[test]
    fn extensions_that_are_not_known_are_passed_over() {
        let mut bytes =
            written(&Packet { header: header(Kind::Data), selective: &[], payload: b"" });
        bytes[1] = 2;
        bytes.extend_from_slice(b"\x01\x03xyz\x09\x04\x01\x00\x00\x80\x00\x00payload");
        let packet = Packet::read(&bytes).unwrap();
        assert_eq!((packet.selective, packet.payload), (&[1, 0, 0, 0x80][..], &b"payload"[..]));
        assert_eq!(packet.selected().collect::<Vec<_>>(), [0xffff, 30], "beyond the wrap");
        bytes.truncate(30);
        assert_eq!(Packet::read(&bytes), None, "it ends within an extension");
    }

    #[test]
    fn other_packets_are_not_taken_for_ones_of_utp() {
        for first in [b'd', 0, 0x02, 0x51, 0xf1] {
            assert!(!begins(first), "{first:#x}");
            assert_eq!(Packet::read(&[first; 40]), None);
        }
        assert_eq!(Packet::read(&[0x01; 19]), None);
        assert_eq!(Packet::read(b""), None);
    }

    #[test]
    fn numbers_come_one_before_the_other_the_shorter_way_around() {
        assert!(is_before(1, 2) && is_before(0xffff, 0) && is_before(0, 0x7fff));
        assert!(!is_before(2, 1) && !is_before(7, 7) && !is_before(0, 0xffff));
        assert!(!is_before(0, 0x9000));
    }

    #[test]
    fn damaged_packets_never_panic_and_what_is_read_is_written_alike() {
        let selective = [0xff, 1, 2, 0x80, 0, 0, 0, 1];
        let whole = written(&Packet {
            header: header(Kind::Data),
            selective: &selective,
            payload: b"0123456789",
        });
        let took = survived(
            20_000,
            |random| {
                let changes = 1 + random.below(6);
                random.damage(&whole, changes)
            },
            |bytes, _| {
                let Some(packet) = Packet::read(bytes) else { return false };
                assert!(packet.selected().count() <= packet.selective.len() * 8);
                let again = written(&packet);
                let again = Packet::read(&again).expect("it was just written");
                assert_eq!((again.header, again.payload), (packet.header, packet.payload));
                true
            },
        );
        assert!((2_000..19_000).contains(&took), "{took}");
    }
}
