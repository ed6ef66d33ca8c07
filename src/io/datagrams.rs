//! UDP sockets that hear beside others in a reactor: one for IPv4 and one for IPv6.
//!
//! For the client's parts that speak UDP. It knows nothing of what packets say.

use crate::io::origin::Origin;
use crate::io::reactor::{Interest, Reactor, Token};
use crate::io::sys;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Packets taken in one turn; more wait for the next.
const PACKETS_PER_TURN: usize = 32;

/// See the head of this file. The default are without sockets, and speak through any interface.
#[derive(Default)]
pub struct Datagrams {
    sockets: [Option<(Arc<OwnedFd>, Token)>; 2],
    origin: Origin,
}

impl Datagrams {
    /// Without sockets yet; they are to speak through this origin's interface alone, if it names
    /// one.
    pub fn new(origin: Origin) -> Datagrams {
        Datagrams { sockets: [None, None], origin }
    }

    /// Opens the socket of the address's family there, if there is none yet.
    ///
    /// # Errors
    /// The system has no socket for it there.
    pub fn open(&mut self, at: SocketAddr, reactor: &mut Reactor) -> io::Result<()> {
        self.open_as(at, false, reactor)
    }

    /// Like [`open`](Datagrams::open), at an address that others of this machine have too.
    ///
    /// # Errors
    /// As there.
    pub fn open_shared(&mut self, at: SocketAddr, reactor: &mut Reactor) -> io::Result<()> {
        self.open_as(at, true, reactor)
    }

    fn open_as(&mut self, at: SocketAddr, shared: bool, reactor: &mut Reactor) -> io::Result<()> {
        let place = &mut self.sockets[usize::from(at.is_ipv6())];
        if place.is_none() {
            let socket = self.origin.bind_udp(at, shared)?;
            sys::set_nonblocking(&socket)?;
            let socket = Arc::new(socket);
            let token = reactor.add(Arc::clone(&socket), Interest::READ);
            *place = Some((socket, token));
        }
        Ok(())
    }

    /// The socket of a family, if it is open.
    pub fn socket(&self, six: bool) -> Option<&OwnedFd> {
        self.sockets[usize::from(six)].as_ref().map(|(socket, _)| &**socket)
    }

    /// Takes what has come, into this space, if it is one of these that the token is of.
    pub fn hear(
        &self,
        token: Token,
        space: &mut [u8],
        mut take: impl FnMut(SocketAddr, &[u8]),
    ) -> bool {
        let own = |socket: &&(Arc<OwnedFd>, Token)| socket.1 == token;
        let Some((socket, _)) = self.sockets.iter().flatten().find(own) else { return false };
        for _ in 0..PACKETS_PER_TURN {
            match sys::recv_from(socket, space) {
                Ok((length, from)) => take(from, &space[..length]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                // What somebody could not be sent is no matter of this socket.
                Err(_) => {}
            }
        }
        true
    }

    /// Sends a packet. One for which there is no room is as good as lost on the way.
    ///
    /// # Errors
    /// The system refuses it, or no socket of that family is open.
    pub fn send(&self, to: SocketAddr, packet: &[u8]) -> io::Result<()> {
        let Some((socket, _)) = &self.sockets[usize::from(to.is_ipv6())] else {
            return Err(ErrorKind::NotConnected.into());
        };
        match sys::send_to(socket, packet, to) {
            Err(e) if e.kind() != ErrorKind::WouldBlock => Err(e),
            _ => Ok(()),
        }
    }

    /// Closes them.
    pub fn close(self, reactor: &mut Reactor) {
        self.sockets.into_iter().flatten().for_each(|(_, token)| reactor.remove(token));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::time::Duration;

    #[test]
    fn what_comes_is_told_with_its_sender_and_other_sockets_are_left_alone() {
        let mut reactor = Reactor::new().unwrap();
        let mut ours = Datagrams::default();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let theirs = UdpSocket::bind(any).unwrap();
        let to = theirs.local_addr().unwrap();
        assert_eq!(ours.send(to, b"x").unwrap_err().kind(), ErrorKind::NotConnected);
        ours.open(any, &mut reactor).unwrap();
        ours.send(to, b"ask").unwrap();
        let mut space = [0; 10];
        let (length, from) = theirs.recv_from(&mut space).unwrap();
        assert_eq!(&space[..length], b"ask");
        theirs.send_to(b"answer", from).unwrap();
        let (mut events, mut came) = (Vec::new(), Vec::new());
        reactor.turn(Some(Duration::from_secs(60)), &mut events).unwrap();
        let take = |from, packet: &[u8]| came.push((from, packet.to_vec()));
        assert!(ours.hear(events[0].token, &mut space, take));
        assert_eq!(came, [(to, b"answer".to_vec())]);
        let other = reactor.add(Arc::new(theirs.into()), Interest::READ);
        assert!(!ours.hear(other, &mut space, |_, _| unreachable!()));
    }
}
