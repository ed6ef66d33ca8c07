//! One non-blocking socket, its framer and its send queue.
//!
//! Receiving: [`Conn::fill`] is one `readv` to where the framer wants the bytes, [`Conn::next`]
//! gives what they make. Sending: messages are gathered and go out together in
//! [`Conn::flush`], once a turn; a block goes from the page cache to the socket by `sendfile`,
//! and is no copy in our memory. Two system calls a block either way. Used by `app::client` on
//! the reactor's thread; never blocks.

use crate::io::storage::Part;
use crate::io::sys;
use crate::proto::geometry::{BlockRef, Geometry};
use crate::proto::wire::{Framer, Limits, Message, Next, PeerFault, Pool, piece_head};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// More bytes of messages than this wait for no peer; who does not read is dropped.
const MAX_QUEUED: usize = 1024 * 1024;

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

/// One connection.
#[derive(Debug)]
pub struct Conn {
    socket: Arc<OwnedFd>,
    framer: Framer,
    outbox: Outbox,
}

impl Conn {
    /// A connection that somebody opened to us, or that stands.
    pub fn new(socket: OwnedFd) -> Conn {
        // A refusal costs latency, nothing else.
        let _ = sys::set_nodelay(&socket);
        Conn { socket: Arc::new(socket), framer: Framer::new(), outbox: Outbox::default() }
    }

    /// Begins to connect. It stands, or has failed, when the socket is writable:
    /// [`connected`](Self::connected) tells which.
    ///
    /// # Errors
    /// What `socket` or `connect` says at once.
    pub fn dial(address: SocketAddr) -> io::Result<Conn> {
        Ok(Conn::new(sys::connect(address, None)?))
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

    /// Reads once from the socket.
    ///
    /// # Errors
    /// The connection has failed.
    pub fn fill(&mut self) -> io::Result<Fill> {
        let (first, second) = self.framer.space();
        let room = first.len() + second.len();
        if room == 0 {
            return Ok(Fill::Drained);
        }
        let mut buffers = [IoSliceMut::new(first), IoSliceMut::new(second)];
        match sys::readv(&self.socket, &mut buffers) {
            Ok(0) => Ok(Fill::Ended),
            Ok(n) => {
                self.framer.filled(n);
                Ok(if n < room { Fill::Drained } else { Fill::Some })
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(Fill::Drained),
            Err(e) => Err(e),
        }
    }

    /// What came in, once it is whole.
    ///
    /// # Errors
    /// What the peer did wrong.
    pub fn next(&mut self, pool: &mut Pool) -> Result<Next, PeerFault> {
        self.framer.next(pool)
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

    /// Queues a block that lies in these parts of files, which are in the page cache.
    ///
    /// # Errors
    /// A file has become shorter than it must be: nothing is promised to the peer then.
    pub fn push_block(&mut self, block: BlockRef, parts: Vec<Part>) -> io::Result<()> {
        for part in &parts {
            if sys::length(&*part.file)? < part.offset + part.length {
                return Err(fell_short());
            }
        }
        self.outbox.gather(|out| out.extend_from_slice(&piece_head(block)));
        self.outbox.push_parts(block, parts);
        Ok(())
    }

    /// Whether anything waits to be sent.
    pub fn is_sending(&self) -> bool {
        !self.outbox.queue.is_empty()
    }

    /// Sends as much as the socket takes, and adds the blocks that have left to `sent`.
    ///
    /// # Errors
    /// The connection has failed, a file fell short in the middle of a block, or the peer reads
    /// so little that more than a megabyte of messages waits.
    pub fn flush(&mut self, sent: &mut Vec<BlockRef>) -> io::Result<()> {
        if self.outbox.queued > MAX_QUEUED {
            return Err(io::Error::new(ErrorKind::TimedOut, "the peer reads too little"));
        }
        self.outbox.flush(&self.socket, sent)
    }
}

fn fell_short() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the file became shorter")
}

/// What waits to be sent, in order.
#[derive(Debug, Default)]
struct Outbox {
    queue: VecDeque<Out>,
    /// Bytes from our memory that are not sent yet.
    queued: usize,
    /// A buffer that was sent, for the next one.
    spare: Vec<u8>,
}

#[derive(Debug)]
enum Out {
    /// Bytes from our memory; so many have been sent.
    Bytes { bytes: Vec<u8>, sent: usize },
    /// Bytes of a file.
    File { part: Part, ends: Option<BlockRef> },
}

impl Outbox {
    /// Adds to the bytes that go out with one call.
    fn gather(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if !matches!(self.queue.back(), Some(Out::Bytes { .. })) {
            let mut bytes = std::mem::take(&mut self.spare);
            bytes.clear();
            self.queue.push_back(Out::Bytes { bytes, sent: 0 });
        }
        let Some(Out::Bytes { bytes, .. }) = self.queue.back_mut() else { return };
        let before = bytes.len();
        write(bytes);
        self.queued += bytes.len() - before;
    }

    /// The last part carries the block: when it has left, the block has.
    fn push_parts(&mut self, block: BlockRef, parts: Vec<Part>) {
        let last = parts.len().saturating_sub(1);
        for (i, part) in parts.into_iter().enumerate() {
            let ends = (i == last).then_some(block);
            self.queue.push_back(Out::File { part, ends });
        }
    }

    fn flush(&mut self, socket: &OwnedFd, sent: &mut Vec<BlockRef>) -> io::Result<()> {
        loop {
            let follows = self.queue.len() > 1;
            let done = match self.queue.front_mut() {
                None => return Ok(()),
                Some(Out::Bytes { bytes, sent }) => {
                    let n = took(sys::send(socket, &bytes[*sent..], follows))?;
                    *sent += n;
                    self.queued -= n;
                    *sent == bytes.len()
                }
                Some(Out::File { part, .. }) => send_part(socket, part)?,
            };
            if !done {
                return Ok(());
            }
            match self.queue.pop_front() {
                Some(Out::Bytes { bytes, .. }) => self.spare = bytes,
                Some(Out::File { ends, .. }) => sent.extend(ends),
                None => {}
            }
        }
    }
}

/// Sends of a part what the socket takes; true when that was the rest of it.
fn send_part(socket: &OwnedFd, part: &mut Part) -> io::Result<bool> {
    let length = usize::try_from(part.length).unwrap_or(usize::MAX);
    let n = match sys::sendfile(socket, &*part.file, part.offset, length) {
        Ok(0) => return Err(fell_short()),
        // Some file systems refuse sendfile: then through our memory.
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            send_copied(socket, part)?
        }
        result => took(result)?,
    };
    part.offset += n as u64;
    part.length -= n as u64;
    Ok(part.length == 0)
}

fn send_copied(socket: &OwnedFd, part: &Part) -> io::Result<usize> {
    let mut buffer = [0; 16 * 1024];
    let wanted = buffer.len().min(usize::try_from(part.length).unwrap_or(usize::MAX));
    let n = sys::pread(&part.file, &mut buffer[..wanted], part.offset)?;
    if n == 0 {
        return Err(fell_short());
    }
    took(sys::send(socket, &buffer[..n], false))
}

/// A socket that takes nothing now took no bytes.
fn took(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[test]
    fn a_block_follows_the_messages_before_it_and_says_when_it_left() {
        let (mut conn, mut theirs) = pair();
        conn.push(&Message::Unchoke);
        conn.push_block(block(), parts(&file("order", 65_536))).unwrap();
        conn.push(&Message::Choke);
        let mut sent = vec![];
        let mut got = vec![0; 5 + 13 + 40_000 + 5];
        let reader = std::thread::spawn(move || {
            theirs.read_exact(&mut got).unwrap();
            got
        });
        while conn.is_sending() {
            conn.flush(&mut sent).unwrap();
        }
        let got = reader.join().unwrap();
        assert_eq!(sent, [block()]);
        assert_eq!(got[..5], [0, 0, 0, 1, 1]);
        assert_eq!(got[5..18], piece_head(block()));
        assert!((100..40_100u32).zip(&got[18..]).all(|(i, b)| *b == (i % 251) as u8));
        assert_eq!(got[40_018..], [0, 0, 0, 1, 0]);
    }

    #[test]
    fn promises_no_block_of_a_file_that_became_shorter() {
        let (mut conn, _theirs) = pair();
        let file = file("short", 40_099);
        let error = conn.push_block(block(), parts(&file)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert!(!conn.is_sending());
    }

    #[test]
    fn fails_when_a_promised_file_is_cut_in_the_meantime() {
        let (mut conn, _theirs) = pair();
        let file = file("cut", 65_536);
        conn.push_block(block(), parts(&file)).unwrap();
        file.set_len(50).unwrap();
        let mut sent = vec![];
        assert_eq!(conn.flush(&mut sent).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(sent, []);
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
