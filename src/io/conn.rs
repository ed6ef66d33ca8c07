//! One non-blocking socket, its framer and its send queue.
//!
//! Receiving: [`Conn::fill`] is one `readv` to where the framer wants the bytes, [`Conn::next`]
//! gives what they make. Sending: messages and blocks are gathered and go out together in
//! [`Conn::flush`], once a turn. Where it is encrypted, what came is decrypted where it lies, and
//! what leaves is encrypted just before. Used by `app::client` on the reactor's thread; never
//! blocks.

mod opening;
mod outbox;

pub use opening::Door;
pub use outbox::{Outcome, Staging};

use crate::io::origin::Origin;
use crate::io::storage::Part;
use crate::io::sys;
use crate::proto::geometry::{BlockRef, Geometry};
use crate::proto::ids::InfoHash;
use crate::proto::mse::{Initiator, Methods, Random, Receive, Responder};
use crate::proto::resume::client::Stamp;
use crate::proto::wire::{Framer, Limits, Message, Next, PeerFault, Pool};
use opening::Opening;
use outbox::Outbox;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What [`Conn::fill`] got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// Bytes, and there may be more at once.
    Some,
    /// All there was, or nothing: wait for the next readiness.
    Drained,
    /// The peer has closed its side.
    Ended,
}

/// What becomes of the bytes that come in before the framer gets them.
#[derive(Debug)]
enum Inward {
    /// Nothing.
    Plain,
    /// They belong to the handshake of an encrypted stream, or may do so.
    Opening(Box<Opening>),
    /// They are decrypted.
    Encrypted(Box<Receive>),
}

/// One connection.
#[derive(Debug)]
pub struct Conn {
    socket: Arc<OwnedFd>,
    framer: Framer,
    outbox: Outbox,
    inward: Inward,
    was_encrypted: bool,
}

impl Conn {
    /// A connection that somebody opened to us, or that stands.
    pub fn new(socket: OwnedFd) -> Conn {
        // A refusal costs latency, nothing else.
        let _ = sys::set_nodelay(&socket);
        Conn {
            socket: Arc::new(socket),
            framer: Framer::new(),
            outbox: Outbox::new(),
            inward: Inward::Plain,
            was_encrypted: false,
        }
    }

    /// What comes in may be encrypted. From now on until it is known to be plain, or the
    /// handshake is over, [`fill_at_door`](Self::fill_at_door) takes it in.
    pub fn expect_encryption(&mut self, methods: Methods) {
        self.inward = Inward::Opening(Box::new(Opening::Theirs(Responder::new(methods))));
    }

    /// Begins an encrypted stream, instead of saying `first` in plain text. To be called when the
    /// connection stands and nothing was said on it.
    pub fn encrypt(&mut self, torrent: InfoHash, methods: Methods, first: &[u8], random: Random) {
        let mut initiator = None;
        self.outbox.gather(|out| {
            initiator = Some(Initiator::new(torrent, methods, first, random, out));
        });
        if let Some(initiator) = initiator {
            self.inward = Inward::Opening(Box::new(Opening::Ours(initiator)));
        }
    }

    /// Whether both sides have agreed on an encrypted stream, though it may be that the handshake
    /// alone was.
    pub fn was_encrypted(&self) -> bool {
        self.was_encrypted
    }

    /// Begins to connect. It stands, or has failed, when the socket is writable:
    /// [`connected`](Self::connected) tells which.
    ///
    /// # Errors
    /// What [`Origin::connect`] says at once.
    pub fn dial(address: SocketAddr, origin: &Origin) -> io::Result<Conn> {
        Ok(Conn::new(origin.connect(address)?))
    }

    /// Whether the connection came about.
    ///
    /// # Errors
    /// Why it did not.
    pub fn connected(&self) -> io::Result<()> {
        sys::take_error(&self.socket)
    }

    /// The socket, for the reactor.
    pub fn socket(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.socket)
    }

    /// Tells the measures of the torrent, as soon as it is known, and what is taken of a peer.
    pub fn attach(&mut self, geometry: Arc<Geometry>, limits: Limits) {
        self.framer.attach(geometry, limits);
    }

    /// Tells that the torrent is known, and its measures are not: see [`Framer::attach_named`].
    pub fn attach_named(&mut self, limits: Limits) {
        self.framer.attach_named(limits);
    }

    /// Reads once from the socket.
    ///
    /// # Errors
    /// The connection has failed.
    pub fn fill(&mut self) -> io::Result<Fill> {
        if let Inward::Opening(_) = self.inward {
            return self.open(None);
        }
        let (first, second) = self.framer.space();
        let room = first.len() + second.len();
        if room == 0 {
            return Ok(Fill::Drained);
        }
        let mut buffers = [IoSliceMut::new(first), IoSliceMut::new(second)];
        match sys::readv(&self.socket, &mut buffers) {
            Ok(0) => Ok(Fill::Ended),
            Ok(n) => {
                if let Inward::Encrypted(receive) = &mut self.inward {
                    let (first, second) = self.framer.space();
                    let in_first = first.len().min(n);
                    receive.apply(&mut first[..in_first]);
                    receive.apply(&mut second[..n - in_first]);
                    if receive.is_over() {
                        self.inward = Inward::Plain;
                    }
                }
                self.framer.filled(n);
                Ok(if n < room { Fill::Drained } else { Fill::Some })
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(Fill::Drained),
            Err(e) => Err(e),
        }
    }

    /// As [`fill`](Self::fill), where it is not yet known who has connected.
    ///
    /// # Errors
    /// The connection has failed; what came is no handshake; there were too many such lately.
    pub fn fill_at_door(&mut self, door: &mut Door) -> io::Result<Fill> {
        match self.inward {
            Inward::Opening(_) => self.open(Some(door)),
            _ => self.fill(),
        }
    }

    /// What came in, once it is whole.
    ///
    /// # Errors
    /// What the peer did wrong.
    pub fn next(&mut self, pool: &mut Pool) -> Result<Next, PeerFault> {
        self.framer.next(pool)
    }

    /// The same; blocks of which `is_asked` says no are passed over.
    ///
    /// # Errors
    /// What the peer did wrong.
    pub fn next_if(
        &mut self,
        pool: &mut Pool,
        is_asked: impl Fn(BlockRef) -> bool,
    ) -> Result<Next, PeerFault> {
        self.framer.next_if(pool, is_asked)
    }

    /// Whether it holds a half-filled block buffer.
    pub fn is_in_block(&self) -> bool {
        self.framer.is_in_block()
    }

    /// Gives a half-filled block buffer back, when the connection ends.
    pub fn release(&mut self, pool: &mut Pool) {
        self.framer.release(pool);
    }

    /// Queues bytes: a handshake.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.outbox.gather(|out| out.extend_from_slice(bytes));
    }

    /// Queues a message.
    pub fn push(&mut self, message: &Message) {
        self.outbox.gather(|out| message.encode_to(out));
    }

    /// Queues a block that lies in these parts of files. It is read when the socket takes it:
    /// where `may_wait` is not set, only if that needs no waiting for a disk.
    /// `looks` says how the files of the parts must look then, as far as that is known: what is
    /// read from a file that looks different is not sent.
    pub fn push_block(
        &mut self,
        block: BlockRef,
        parts: Vec<Part>,
        looks: Vec<Option<Stamp>>,
        may_wait: bool,
    ) {
        self.outbox.push_block(block, parts, looks, may_wait);
    }

    /// Whether anything waits for the socket to take it.
    pub fn is_sending(&self) -> bool {
        self.outbox.sendable() > 0
    }

    /// Bytes of memory that what waits takes: blocks that were not begun are places in files.
    pub fn queued(&self) -> usize {
        self.outbox.queued()
    }

    /// All bytes that the socket has taken so far.
    pub fn taken(&self) -> u64 {
        self.outbox.taken()
    }

    /// From now on blocks leave only as far as they are allowed to: so many bytes of them more.
    /// Messages before and between them go in any case.
    pub fn allow(&mut self, bytes: u64) {
        self.outbox.allow(bytes);
    }

    /// Sends as much as the socket takes, and adds to `outcome` what became of the blocks.
    ///
    /// # Errors
    /// The connection has failed; the peer reads so little that more than a megabyte of messages
    /// waits; a file became shorter than a block needs (`UnexpectedEof`): no byte of that block
    /// has left.
    pub fn flush(&mut self, staging: &mut Staging, outcome: &mut Outcome) -> io::Result<()> {
        self.outbox.flush(&self.socket, staging, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::wire::piece_head;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    fn pair() -> (Conn, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Conn::new(ours.into()), theirs)
    }

    /// An unlinked file with `length` bytes that tell their offset.
    fn file(name: &str, length: u32) -> Arc<File> {
        let path = std::env::temp_dir().join(format!("bt-conn-{name}-{}", std::process::id()));
        let bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, bytes).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        Arc::new(file)
    }

    fn block() -> BlockRef {
        Geometry::new(65_536, [65_536]).unwrap().range(0, 100, 40_000).unwrap()
    }

    fn parts(file: &Arc<File>) -> Vec<Part> {
        let part = |offset, length| Part { file: Arc::clone(file), offset, length };
        vec![part(100, 15_000), part(15_100, 25_000)]
    }

    /// Flushes until nothing waits; the other end reads `length` bytes meanwhile.
    fn flush_all(conn: &mut Conn, mut theirs: TcpStream, length: usize) -> (Vec<u8>, Outcome) {
        let reader = std::thread::spawn(move || {
            let mut got = vec![0; length];
            theirs.read_exact(&mut got).unwrap();
            got
        });
        let (mut staging, mut outcome) = (Staging::default(), Outcome::default());
        while conn.is_sending() {
            conn.flush(&mut staging, &mut outcome).unwrap();
        }
        (reader.join().unwrap(), outcome)
    }

    fn are_of_file(bytes: &[u8], offset: u32) -> bool {
        bytes.iter().zip(offset..).all(|(b, i)| *b == (i % 251) as u8)
    }

    #[test]
    fn a_block_follows_the_messages_before_it_and_says_when_it_left() {
        let (mut conn, theirs) = pair();
        conn.push(&Message::Unchoke);
        let file = file("order", 65_536);
        conn.push_block(block(), parts(&file), vec![], true);
        conn.push(&Message::Choke);
        let (got, outcome) = flush_all(&mut conn, theirs, 5 + 13 + 40_000 + 5);
        assert_eq!((outcome.sent, outcome.cold), (vec![block()], vec![]));
        assert_eq!(got[..5], [0, 0, 0, 1, 1]);
        assert_eq!(got[5..18], piece_head(block()));
        assert!(are_of_file(&got[18..40_018], 100));
        assert_eq!(got[40_018..], [0, 0, 0, 1, 0]);
    }

    #[test]
    fn many_blocks_leave_whole_and_in_order_through_a_socket_that_takes_parts() {
        const COUNT: u32 = 400;
        let (mut conn, theirs) = pair();
        let file = file("many", COUNT * 16_384);
        let total = u64::from(COUNT) * 16_384;
        let geometry = Geometry::new(1 << 20, [total]).unwrap();
        let begins = (0..COUNT).map(|n| (n / 64, n % 64 * 16_384));
        let block = |(piece, begin)| geometry.range(piece, begin, 16_384).unwrap();
        let blocks: Vec<BlockRef> = begins.map(block).collect();
        for (n, block) in (0u64..).zip(&blocks) {
            let part = Part { file: Arc::clone(&file), offset: n * 16_384, length: 16_384 };
            conn.push_block(*block, vec![part], vec![], true);
        }
        let (got, outcome) = flush_all(&mut conn, theirs, COUNT as usize * 16_397);
        assert!(outcome.sent == blocks && outcome.cold.is_empty());
        for ((n, block), bytes) in (0..).zip(&blocks).zip(got.chunks(16_397)) {
            assert_eq!(bytes[..13], piece_head(*block));
            assert!(are_of_file(&bytes[13..], n * 16_384), "block {n}");
        }
    }

    /// Nothing tells what of /proc could be read without waiting, so it counts as cold.
    fn cold_part(length: u64) -> Part {
        Part { file: Arc::new(File::open("/proc/cpuinfo").unwrap()), offset: 0, length }
    }

    #[test]
    fn a_cold_block_is_given_back_and_what_stands_before_and_behind_it_leaves() {
        let (mut conn, theirs) = pair();
        let geometry = Geometry::new(100, [200]).unwrap();
        let (warm, cold) = (geometry.range(0, 0, 10), geometry.range(1, 0, 10));
        let (warm, cold) = (warm.unwrap(), cold.unwrap());
        let file = file("warm", 10);
        let part = Part { file: Arc::clone(&file), offset: 0, length: 10 };
        conn.push_block(warm, vec![part], vec![], true);
        let uncached = cold_part(10);
        conn.push_block(cold, vec![uncached.clone()], vec![], false);
        conn.push(&Message::Choke);
        let (got, outcome) = flush_all(&mut conn, theirs, 23 + 5);
        assert_eq!((outcome.sent, outcome.cold), (vec![warm], vec![cold]));
        assert_eq!((&got[..13], &got[23..]), (&piece_head(warm)[..], &[0, 0, 0, 1, 0][..]));
        let (mut conn, theirs) = pair();
        conn.push_block(cold, vec![uncached.clone()], vec![], true);
        assert_eq!(flush_all(&mut conn, theirs, 23).1.sent, [cold], "when it may wait");
    }

    #[test]
    fn what_waits_keeps_no_file_open_and_is_given_back_when_it_was_closed() {
        let (mut conn, theirs) = pair();
        let file = file("closed", 65_536);
        conn.push_block(block(), parts(&file), vec![], true);
        assert_eq!(Arc::strong_count(&file), 1);
        drop(file);
        conn.push(&Message::Choke);
        let (got, outcome) = flush_all(&mut conn, theirs, 5);
        assert_eq!((outcome.sent, outcome.cold), (vec![], vec![block()]));
        assert_eq!(got, [0, 0, 0, 1, 0]);
    }

    #[test]
    fn a_paced_block_leaves_as_far_as_it_is_allowed_to() {
        let (mut conn, mut theirs) = pair();
        let (mut staging, mut outcome) = (Staging::default(), Outcome::default());
        conn.allow(0);
        conn.push(&Message::Unchoke);
        let file = file("paced", 65_536);
        conn.push_block(block(), parts(&file), vec![], true);
        conn.push(&Message::Choke);
        conn.flush(&mut staging, &mut outcome).unwrap();
        assert!(!conn.is_sending(), "nobody waits for a socket that is not to be used");
        // Over the border of both parts.
        for allowed in [14_990, 5_000, 10] {
            conn.allow(allowed);
            conn.flush(&mut staging, &mut outcome).unwrap();
        }
        let mut got = vec![0; 5 + 13 + 20_000];
        theirs.read_exact(&mut got).unwrap();
        assert_eq!(got[5..18], piece_head(block()));
        assert!(are_of_file(&got[18..], 100));
        theirs.set_nonblocking(true).unwrap();
        assert_eq!(theirs.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(outcome.sent, []);
        conn.allow(20_000);
        conn.flush(&mut staging, &mut outcome).unwrap();
        assert_eq!((outcome.sent, conn.is_sending()), (vec![block()], false));
    }

    #[test]
    fn sends_no_byte_of_a_block_whose_file_became_shorter() {
        let (mut conn, mut theirs) = pair();
        let file = file("cut", 65_536);
        conn.push_block(block(), parts(&file), vec![], true);
        file.set_len(40_099).unwrap();
        let (mut staging, mut outcome) = (Staging::default(), Outcome::default());
        let error = conn.flush(&mut staging, &mut outcome).unwrap_err();
        assert_eq!((error.kind(), outcome.sent), (ErrorKind::UnexpectedEof, vec![]));
        drop(conn);
        assert_eq!(theirs.read(&mut [0; 16]).unwrap(), 0);
    }

    #[test]
    fn a_block_of_a_file_that_looks_otherwise_by_now_is_given_back_and_not_sent() {
        let (mut conn, mut theirs) = pair();
        // One without a name never looks right.
        let path = std::env::temp_dir().join(format!("bt-conn-looks-{}", std::process::id()));
        std::fs::write(&path, (0..65_536u32).map(|i| (i % 251) as u8).collect::<Vec<u8>>())
            .unwrap();
        let file = Arc::new(File::options().read(true).write(true).open(&path).unwrap());
        let looks = vec![Some(sys::stamp(&*file).unwrap()); 2];
        conn.push_block(block(), parts(&file), looks, true);
        file.set_len(70_000).unwrap();
        let (mut staging, mut outcome) = (Staging::default(), Outcome::default());
        conn.flush(&mut staging, &mut outcome).unwrap();
        assert_eq!((outcome.sent, outcome.cold), (vec![], vec![block()]));
        theirs.set_nonblocking(true).unwrap();
        assert_eq!(theirs.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let looks = vec![Some(sys::stamp(&*file).unwrap()); 2];
        conn.push_block(block(), parts(&file), looks, true);
        theirs.set_nonblocking(false).unwrap();
        let (_, outcome) = flush_all(&mut conn, theirs, 13 + 40_000);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(outcome.sent, [block()]);
    }

    #[test]
    fn tells_drained_from_ended() {
        let (mut conn, mut theirs) = pair();
        assert_eq!(conn.fill().unwrap(), Fill::Drained);
        theirs.write_all(b"\x13BitTorrent").unwrap();
        drop(theirs);
        let mut pool = Pool::new(1);
        loop {
            match conn.fill().unwrap() {
                Fill::Ended => break,
                _ => assert_eq!(conn.next(&mut pool), Ok(Next::More)),
            }
        }
    }
}
