//! The handshake of an encrypted stream, on a socket.

use super::{Conn, Fill, Inward};
use crate::io::sys;
use crate::proto::mse::{Initiator, MseFault, Names, Progress, Random, Responder};
use std::io::{self, ErrorKind, IoSliceMut};

/// So many bytes are read at a time. With those that a machine may have kept before it knew that
/// they were no handshake, they fit into the empty buffer of a framer.
const PORTION: usize = 256;

/// Our side of it.
#[derive(Debug)]
pub(super) enum Opening {
    Ours(Initiator),
    Theirs(Responder),
}

/// What strangers are met with.
pub struct Door<'a> {
    /// The torrents they may come for.
    pub names: &'a Names,
    /// What keys and padding are made from.
    pub random: Random<'a>,
    /// With so many of them keys may still be exchanged, which costs time: one less each time.
    pub exchanges: &'a mut u32,
}

impl Conn {
    /// Reads once for the handshake. What came behind it goes to the framer.
    pub(super) fn open(&mut self, door: Option<&mut Door>) -> io::Result<Fill> {
        let mut buffer = [0; PORTION];
        let fill = match sys::readv(&self.socket, &mut [IoSliceMut::new(&mut buffer)]) {
            Ok(0) => return Ok(Fill::Ended),
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Fill::Drained),
            Err(e) => return Err(e),
        };
        let Inward::Opening(opening) = &mut self.inward else { return Ok(Fill::Drained) };
        let mut out = Vec::new();
        let progress = match (&mut **opening, door) {
            (Opening::Ours(ours), _) => ours.on_bytes(&buffer[..fill], &mut out).map_err(bad),
            (Opening::Theirs(theirs), Some(door)) => {
                welcome(theirs, &buffer[..fill], door, &mut out)
            }
            (Opening::Theirs(_), None) => Err(bad(MseFault::NoSync)),
        };
        if !out.is_empty() {
            self.outbox.gather(|queue| queue.append(&mut out));
        }
        self.go_on(progress?)?;
        Ok(if fill < PORTION { Fill::Drained } else { Fill::Some })
    }

    fn go_on(&mut self, progress: Progress) -> io::Result<()> {
        match progress {
            Progress::More | Progress::Key => Ok(()),
            Progress::Plain(first) => {
                self.inward = Inward::Plain;
                self.hand_on(&first)
            }
            Progress::Agreed(agreement) => {
                self.was_encrypted = true;
                self.inward = match agreement.receive.is_over() {
                    true => Inward::Plain,
                    false => Inward::Encrypted(Box::new(agreement.receive)),
                };
                if let Some(cipher) = agreement.send {
                    self.outbox.encrypt(cipher);
                }
                self.hand_on(&agreement.rest)
            }
        }
    }

    /// Gives bytes to the framer, which has had none yet.
    fn hand_on(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (space, _) = self.framer.space();
        let space = space.get_mut(..bytes.len()).ok_or(ErrorKind::InvalidData)?;
        space.copy_from_slice(bytes);
        self.framer.filled(bytes.len());
        Ok(())
    }
}

fn welcome(
    theirs: &mut Responder,
    bytes: &[u8],
    door: &mut Door,
    out: &mut Vec<u8>,
) -> io::Result<Progress> {
    match theirs.on_bytes(bytes, door.names, out).map_err(bad)? {
        Progress::Key if *door.exchanges == 0 => Err(ErrorKind::ConnectionRefused.into()),
        Progress::Key => {
            *door.exchanges -= 1;
            theirs.exchange(door.random, out);
            theirs.on_bytes(&[], door.names, out).map_err(bad)
        }
        other => Ok(other),
    }
}

fn bad(fault: MseFault) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::conn::{Outcome, Staging};
    use crate::io::storage::Part;
    use crate::proto::geometry::{BlockRef, Geometry};
    use crate::proto::ids::{InfoHash, PeerId};
    use crate::proto::mse::Methods;
    use crate::proto::wire::{Incoming, Limits, Message, Next, Pool, handshake};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    const NAME: InfoHash = InfoHash([9; 20]);

    fn random() -> impl FnMut() -> u64 {
        let mut n = 1u64;
        move || {
            n = n.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            n >> 13
        }
    }

    /// Two that are connected: one has dialled, the other expects encryption.
    fn pair(methods: Methods) -> [Conn; 2] {
        let (a, b) = UnixStream::pair().unwrap();
        a.set_nonblocking(true).unwrap();
        b.set_nonblocking(true).unwrap();
        let [a, mut b] = [a, b].map(|end| Conn::new(end.into()));
        b.expect_encryption(methods);
        [a, b]
    }

    /// Lets both send and hear until the first handshake has come out at the door.
    fn open([a, b]: &mut [Conn; 2], exchanges: u32) -> io::Result<Incoming> {
        let (mut staging, mut outcome) = (Staging::default(), Outcome::default());
        let (mut pool, names) = (Pool::new(40), Names::new([NAME]));
        let (mut exchanges, mut random) = (exchanges, random());
        for _ in 0..100 {
            a.flush(&mut staging, &mut outcome)?;
            b.flush(&mut staging, &mut outcome)?;
            let random = &mut random;
            b.fill_at_door(&mut Door { names: &names, random, exchanges: &mut exchanges })?;
            if let Ok(Next::Got(hello)) = b.next(&mut pool) {
                return Ok(hello);
            }
            a.fill()?;
        }
        panic!("no handshake came");
    }

    fn geometry() -> Arc<Geometry> {
        Arc::new(Geometry::new(1 << 20, [4 << 20]).unwrap())
    }

    /// Sends these blocks of a file through a socket that takes only parts, the messages between
    /// them, and gives what came.
    fn send_blocks(from: &mut Conn, to: &mut Conn, blocks: &[BlockRef], pace: Option<u64>) {
        let path = std::env::temp_dir().join(format!("bt-sealed-{}", std::process::id()));
        let bytes: Vec<u8> = (0..4 << 20).map(|n: u32| (n % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let file = Arc::new(std::fs::File::open(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        let place = |b: BlockRef| u64::from(b.piece().get()) << 20 | u64::from(b.begin());
        for block in blocks {
            let (offset, length) = (place(*block), block.length().into());
            let part = Part { file: Arc::clone(&file), offset, length };
            from.push_block(*block, vec![part], vec![], true);
            from.push(&Message::Unchoke);
        }
        let (mut staging, mut outcome) = (Staging::default(), Outcome::default());
        let (mut pool, mut came) = (Pool::new(40), Vec::new());
        while came.len() < blocks.len() {
            pace.into_iter().for_each(|bytes| from.allow(bytes));
            from.flush(&mut staging, &mut outcome).unwrap();
            assert!(from.queued() <= 4 * 16_397 + 500, "{} bytes are kept", from.queued());
            to.fill().unwrap();
            while let Next::Got(incoming) = to.next(&mut pool).unwrap() {
                let Incoming::Message(Message::Piece { block, data }) = incoming else { continue };
                let at = place(block) as usize;
                assert!(data[..] == bytes[at..at + data.len()], "block {}", came.len());
                came.push(block);
                pool.give(data);
            }
        }
        assert!(came == blocks && outcome.sent == blocks);
    }

    #[test]
    fn an_encrypted_stream_carries_blocks_and_messages_however_little_the_socket_takes() {
        let geometry = geometry();
        let of = |piece| (0..64).map(move |n| (piece, n));
        let all = geometry.pieces().flat_map(of).filter_map(|(piece, n)| geometry.block(piece, n));
        let all: Vec<BlockRef> = all.collect();
        for (methods, pace) in
            [(Methods::Any, None), (Methods::Rc4, None), (Methods::Rc4, Some(5_000))]
        {
            let mut ends = pair(methods);
            let ours = handshake(NAME, PeerId([1; 20]));
            ends[0].encrypt(NAME, Methods::Any, &ours, &mut random());
            let hello = open(&mut ends, 1).unwrap();
            assert!(matches!(hello, Incoming::Hello(h) if h.info_hash == NAME));
            let [a, b] = &mut ends;
            b.push_bytes(&handshake(NAME, PeerId([2; 20])));
            assert!(b.was_encrypted());
            b.flush(&mut Staging::default(), &mut Outcome::default()).unwrap();
            while !matches!(a.next(&mut Pool::new(1)), Ok(Next::Got(Incoming::Id(_)))) {
                a.fill().unwrap();
            }
            assert!(a.was_encrypted());
            ends.iter_mut().for_each(|end| end.attach(Arc::clone(&geometry), Limits::default()));
            let [a, b] = &mut ends;
            send_blocks(a, b, &all, pace);
            send_blocks(b, a, &all[..40], pace);
        }
    }

    #[test]
    fn one_in_plain_text_is_taken_as_he_is() {
        let mut ends = pair(Methods::Any);
        ends[0].push_bytes(&handshake(NAME, PeerId([1; 20])));
        assert!(matches!(open(&mut ends, 0), Ok(Incoming::Hello(_))));
        assert!(!ends[1].was_encrypted());
    }

    #[test]
    fn keys_are_exchanged_only_as_often_as_is_allowed() {
        let mut ends = pair(Methods::Any);
        ends[0].encrypt(NAME, Methods::Any, b"", &mut random());
        assert_eq!(open(&mut ends, 0).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}
