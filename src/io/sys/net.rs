//! Sockets that never block.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::addr::SocketAddrArg;
use rustix::net::{
    AddressFamily, MMsgHdr, RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, sockopt,
};

/// How many connections may wait to be accepted. Whoever finds no room asks again after a second;
/// so many come to a tracker while something else has its core.
const BACKLOG: i32 = 4096;

fn socket(address: &SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(family, kind, flags, None)?)
}

/// Starts to connect by TCP, from the given local address if there is one. The socket becomes
/// writable when the attempt is over; [`take_error`] then says how it ended.
///
/// # Errors
/// What can be told at once: no route, no such local address, out of descriptors.
pub fn connect(to: SocketAddr, from: Option<IpAddr>) -> io::Result<OwnedFd> {
    connect_through(to, from, None)
}

/// Like [`connect`], through the network interface of this name alone, if there is one.
///
/// # Errors
/// As there; and there is no such interface.
pub fn connect_through(
    to: SocketAddr,
    from: Option<IpAddr>,
    device: Option<&str>,
) -> io::Result<OwnedFd> {
    let socket = socket(&to, SocketType::STREAM)?;
    bind_device(&socket, device)?;
    if let Some(ip) = from {
        rustix::net::bind(&socket, &SocketAddr::new(ip, 0))?;
    }
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Connects to a Unix socket of this machine.
///
/// # Errors
/// Nobody listens there; `WouldBlock` when too many wait there to be accepted.
pub fn connect_unix(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Listens for TCP connections; an IPv6 address takes IPv6 connections only, so that both
/// families can have a listener on one port. `reuse` lets a server that was restarted have its
/// port back at once, while old connections linger.
///
/// # Errors
/// The port is taken, the address not ours, or the right to it missing.
pub fn listen(on: SocketAddr, reuse: bool) -> io::Result<OwnedFd> {
    listen_through(on, reuse, None)
}

/// Like [`listen`], for what comes through the network interface of this name alone, if there is
/// one.
///
/// # Errors
/// As there; and there is no such interface.
pub fn listen_through(on: SocketAddr, reuse: bool, device: Option<&str>) -> io::Result<OwnedFd> {
    let socket = bound(on, (reuse, device), SocketType::STREAM)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// A UDP socket at this address; `reuse` and IPv6 as for [`listen`].
///
/// # Errors
/// As for [`listen`].
pub fn bind_udp(on: SocketAddr, reuse: bool) -> io::Result<OwnedFd> {
    bind_udp_through(on, reuse, None)
}

/// Like [`bind_udp`], through the network interface of this name alone, if there is one.
///
/// # Errors
/// As there; and there is no such interface.
pub fn bind_udp_through(on: SocketAddr, reuse: bool, device: Option<&str>) -> io::Result<OwnedFd> {
    bound(on, (reuse, device), SocketType::DGRAM)
}

fn bound(
    on: SocketAddr,
    (reuse, device): (bool, Option<&str>),
    kind: SocketType,
) -> io::Result<OwnedFd> {
    let socket = socket(&on, kind)?;
    bind_device(&socket, device)?;
    sockopt::set_socket_reuseaddr(&socket, reuse)?;
    if on.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &on)?;
    Ok(socket)
}

/// Has a socket send and hear through the interface of this name alone, if there is one.
fn bind_device(socket: &OwnedFd, device: Option<&str>) -> io::Result<()> {
    match device {
        Some(name) => socket2::SockRef::from(socket).bind_device(Some(name.as_bytes())),
        None => Ok(()),
    }
}

/// What a socket of the internet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketKind {
    /// To listen for TCP connections.
    Listener,
    /// To take UDP packets.
    Datagrams,
}

/// What a descriptor is for; `None` if it is no such socket.
pub fn socket_kind(socket: impl AsFd) -> Option<SocketKind> {
    local_address(&socket).ok()?;
    match sockopt::socket_type(&socket).ok()? {
        SocketType::DGRAM => Some(SocketKind::Datagrams),
        SocketType::STREAM if sockopt::socket_acceptconn(&socket).ok()? => {
            Some(SocketKind::Listener)
        }
        _ => None,
    }
}

/// Has calls on a descriptor return at once, whatever it was opened with.
///
/// # Errors
/// It is no open descriptor.
pub fn set_nonblocking(descriptor: impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(&descriptor)?;
    Ok(rustix::fs::fcntl_setfl(&descriptor, flags | rustix::fs::OFlags::NONBLOCK)?)
}

/// Takes a connection that waits, and its other end's address.
///
/// # Errors
/// `WouldBlock` when none waits; else what accept(2) says. An error may concern that one
/// connection only or be a lack of descriptors, so a listener must outlive all of them.
pub fn accept(listener: impl AsFd) -> io::Result<(OwnedFd, SocketAddr)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, from) = retry_on_intr(|| rustix::net::acceptfrom_with(listener.as_fd(), flags))?;
    let from = from.ok_or(Errno::CONNABORTED)?;
    Ok((socket, SocketAddr::try_from(from)?))
}

/// The address a socket has at our end.
///
/// # Errors
/// It is no internet socket.
pub fn local_address(socket: impl AsFd) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(rustix::net::getsockname(socket)?)?)
}

/// The address of ours from which packets would go there. Nothing is sent.
///
/// # Errors
/// There is no way there.
pub fn source_towards(to: SocketAddr) -> io::Result<IpAddr> {
    let socket = socket(&to, SocketType::DGRAM)?;
    rustix::net::connect(&socket, &to)?;
    Ok(local_address(&socket)?.ip())
}

/// How an attempt to connect ended, or what has gone wrong since.
///
/// # Errors
/// The socket's pending error, which is gone thereafter.
pub fn take_error(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::socket_error(socket)??)
}

/// Sends small writes at once instead of waiting for more.
///
/// # Errors
/// It is no TCP socket.
pub fn set_nodelay(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_tcp_nodelay(socket, true)?)
}

/// Ends our direction of a connection: the other side reads to the end of what was sent.
///
/// # Errors
/// The connection has gone already.
pub fn shutdown_write(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::shutdown(socket, rustix::net::Shutdown::Write)?)
}

/// Whether an error means that the process or the machine has no descriptor left.
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE].iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

/// What the system says when this process has no descriptor left, for those who keep some back.
pub fn out_of_descriptors() -> io::Error {
    Errno::MFILE.into()
}

/// Reads what has come, at most the buffer's length; 0 is the end of the stream.
///
/// # Errors
/// `WouldBlock` when nothing has come; else the connection's end.
pub fn recv(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let (length, _) =
        retry_on_intr(|| rustix::net::recv(socket.as_fd(), &mut *buffer, RecvFlags::empty()))?;
    Ok(length)
}

/// Like [`recv`], into several buffers, each filled before the next.
///
/// # Errors
/// As for [`recv`].
pub fn readv(socket: impl AsFd, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::io::readv(socket.as_fd(), buffers))?)
}

/// Sends as much as the socket takes now. `more` says that the next send follows at once, so a
/// packet may wait for it.
///
/// # Errors
/// `WouldBlock` when it takes nothing; `BrokenPipe` (never a signal) when the connection ended.
pub fn send(socket: impl AsFd, bytes: &[u8], more: bool) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::net::send(socket.as_fd(), bytes, send_flags(more)))?)
}

/// Like [`send`], from several buffers (the kernel takes at most 1024).
///
/// # Errors
/// As for [`send`].
pub fn writev(socket: impl AsFd, buffers: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
    Ok(retry_on_intr(|| {
        let mut control = SendAncillaryBuffer::default();
        rustix::net::sendmsg(socket.as_fd(), buffers, &mut control, send_flags(more))
    })?)
}

fn send_flags(more: bool) -> SendFlags {
    let mut flags = SendFlags::NOSIGNAL;
    flags.set(SendFlags::MORE, more);
    flags
}

/// The number of the network interface of this name.
///
/// # Errors
/// There is none.
pub fn interface_number(name: &str) -> io::Result<u32> {
    let flags = SocketFlags::CLOEXEC;
    let any = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    Ok(rustix::net::netdevice::name_to_index(any, name)?)
}

/// Has a UDP socket hear what is sent to a multicast group on the link of this interface, of which
/// an IPv4 address of ours may be said too.
///
/// # Errors
/// The interface has gone, or the system has no room for another membership.
pub fn join_group(
    socket: impl AsFd,
    group: IpAddr,
    (interface, own): (u32, Option<IpAddr>),
) -> io::Result<()> {
    let joined = match group {
        IpAddr::V4(group) => {
            sockopt::set_ip_add_membership_with_ifindex(socket, &group, &ipv4(own), interface)
        }
        IpAddr::V6(group) => sockopt::set_ipv6_add_membership(socket, &group, interface),
    };
    Ok(joined?)
}

/// Has what a UDP socket sends to multicast groups from now on leave there, and from that address.
///
/// # Errors
/// The interface has gone.
pub fn speak_to_group(
    socket: impl AsFd,
    six: bool,
    (interface, own): (u32, Option<IpAddr>),
) -> io::Result<()> {
    let any = Ipv4Addr::UNSPECIFIED;
    let set = match six {
        false => sockopt::set_ip_multicast_if_with_ifindex(socket, &any, &ipv4(own), interface),
        true => sockopt::set_ipv6_multicast_if(socket, interface),
    };
    Ok(set?)
}

fn ipv4(ip: Option<IpAddr>) -> Ipv4Addr {
    match ip {
        Some(IpAddr::V4(ip)) => ip,
        _ => Ipv4Addr::UNSPECIFIED,
    }
}

/// Two sockets that are connected with each other alone, as a stream.
///
/// # Errors
/// The system has no descriptors for them.
pub fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// Takes one datagram and its sender's address; what does not fit the buffer is lost.
///
/// # Errors
/// `WouldBlock` when none has come.
pub fn recv_from(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    let (length, _, from) =
        retry_on_intr(|| rustix::net::recvfrom(socket.as_fd(), &mut *buffer, RecvFlags::empty()))?;
    let from = from.ok_or(Errno::CONNABORTED)?;
    Ok((length, SocketAddr::try_from(from)?))
}

/// Has the kernel hold no more than about so many bytes that were sent and not taken.
///
/// # Errors
/// It is no socket.
pub fn limit_send_buffer(socket: impl AsFd, bytes: usize) -> io::Result<()> {
    Ok(sockopt::set_socket_send_buffer_size(socket, bytes)?)
}

/// Sends one datagram.
///
/// # Errors
/// `WouldBlock` when the socket's buffer is full; else what the network says.
pub fn send_to(socket: impl AsFd, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::net::sendto(socket.as_fd(), bytes, send_flags(false), &to))?)
}

/// Sends datagrams, each to an address of its own, by one call if the kernel takes them all. What
/// finds no room or cannot be delivered is lost, as any datagram may be.
pub fn send_all_to(socket: impl AsFd, datagrams: &[(SocketAddr, Vec<u8>)]) {
    let parts: Vec<_> = datagrams.iter().map(|(_, bytes)| [IoSlice::new(bytes)]).collect();
    let addresses: Vec<_> = datagrams.iter().map(|(to, _)| to.as_any()).collect();
    let mut controls: Vec<_> = datagrams.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let each = addresses.iter().zip(&parts).zip(&mut controls);
    let mut messages: Vec<_> =
        each.map(|((to, part), control)| MMsgHdr::new_with_addr(to, part, control)).collect();
    let mut rest = &mut messages[..];
    while !rest.is_empty() {
        let gone = match rustix::net::sendmmsg(&socket, rest, send_flags(false)) {
            Ok(sent) => sent,
            Err(Errno::INTR) => 0,
            Err(Errno::AGAIN) => return,
            // Of the first: the others may go well.
            Err(_) => 1,
        };
        rest = &mut rest[gone..];
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Interest, Watch};
    use super::*;
    use std::io::ErrorKind;
    use std::time::Duration;

    const WAIT: Option<Duration> = Some(Duration::from_secs(30));

    fn wait(fd: &OwnedFd, interest: Interest) {
        let (mut found, watch) = (false, Watch::new().unwrap());
        watch.add(fd, interest, 0).unwrap();
        watch.wait(WAIT, |_, _| found = true).unwrap();
        assert!(found, "not ready in 5 s");
    }

    fn pair(on: &str) -> (OwnedFd, OwnedFd) {
        let listener = listen(on.parse().unwrap(), false).unwrap();
        let ours = connect(local_address(&listener).unwrap(), None).unwrap();
        wait(&listener, Interest::READ);
        let (theirs, from) = accept(&listener).unwrap();
        wait(&ours, Interest::WRITE);
        take_error(&ours).unwrap();
        assert_eq!(from, local_address(&ours).unwrap());
        (ours, theirs)
    }

    #[test]
    fn bytes_go_both_ways_and_empty_sockets_do_not_block() {
        for on in ["127.0.0.1:0", "[::1]:0"] {
            let (a, b) = pair(on);
            set_nodelay(&a).unwrap();
            let mut buffer = [0; 16];
            assert_eq!(recv(&b, &mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
            assert_eq!(send(&a, b"one ", true).unwrap(), 4);
            let parts = [IoSlice::new(b"two "), IoSlice::new(b"three")];
            assert_eq!(writev(&a, &parts, false).unwrap(), 9);
            wait(&b, Interest::READ);
            let (mut head, mut tail) = ([0; 4], [0; 16]);
            let mut parts = [IoSliceMut::new(&mut head), IoSliceMut::new(&mut tail)];
            assert_eq!(readv(&b, &mut parts).unwrap(), 13);
            assert_eq!((&head, &tail[..9]), (b"one ", &b"two three"[..]));
            drop(b);
            wait(&a, Interest::READ);
            assert_eq!(recv(&a, &mut buffer).unwrap(), 0);
        }
    }

    #[test]
    fn a_refused_connection_is_told_by_take_error() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let address = local_address(&listener).unwrap();
        drop(listener);
        let socket = connect(address, Some("127.0.0.1".parse().unwrap())).unwrap();
        wait(&socket, Interest::WRITE);
        assert_eq!(take_error(&socket).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_taken_port_is_an_error_and_both_families_share_one() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let port = local_address(&listener).unwrap().port();
        let again = listen(SocketAddr::new("127.0.0.1".parse().unwrap(), port), true);
        assert_eq!(again.unwrap_err().kind(), ErrorKind::AddrInUse);
        let everywhere = listen("[::1]:0".parse().unwrap(), true).unwrap();
        assert!(sockopt::ipv6_v6only(&everywhere).unwrap());
    }

    #[test]
    fn datagrams_tell_their_sender() {
        let a = bind_udp("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let b = bind_udp("127.0.0.1:0".parse().unwrap(), false).unwrap();
        send_to(&a, b"hello", local_address(&b).unwrap()).unwrap();
        wait(&b, Interest::READ);
        let mut buffer = [0; 16];
        assert_eq!(recv_from(&b, &mut buffer).unwrap(), (5, local_address(&a).unwrap()));
        assert_eq!(recv_from(&b, &mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn datagrams_sent_together_arrive_but_for_what_cannot_leave() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (ours, theirs) = (bind_udp(any, false).unwrap(), bind_udp(any, false).unwrap());
        let to = local_address(&theirs).unwrap();
        let nobody = SocketAddr::from(([127, 0, 0, 1], 0));
        let all = [(nobody, 0), (to, 1), (to, 2), (nobody, 3), (to, 4)];
        send_all_to(&ours, &all.map(|(to, n)| (to, vec![n; 10])));
        let (mut space, mut came) = ([0; 20], Vec::new());
        while let Ok((length, from)) = recv_from(&theirs, &mut space) {
            assert_eq!((length, from), (10, local_address(&ours).unwrap()));
            came.push(space[0]);
        }
        assert_eq!(came, [1, 2, 4]);
    }
}
