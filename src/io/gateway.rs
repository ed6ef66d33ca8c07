//! Which gateway this machine is behind, as the kernel's table of routes says; and single requests
//! to it over TCP, each on a thread of its own, for a router may take its time.

use crate::io::mailbox::Post;
use crate::io::origin::Origin;
use crate::io::sys;
use crate::proto::port_mapping::gateway::default_gateway;
use crate::proto::port_mapping::upnp::MAX_ANSWER;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

/// The kernel's table of IPv4 routes.
const ROUTES: &str = "/proc/net/route";

/// No more of it is read, in bytes.
const MAX_ROUTES: u64 = 1024 * 1024;

/// A request takes no longer than this.
const PATIENCE: Duration = Duration::from_secs(5);

/// Address space of a thread.
const STACK: usize = 256 * 1024;

/// The IPv4 gateway to everywhere, and our address towards it: `own` if that is one. `None`: there
/// is no such gateway, or the system does not tell. With an interface the gateway there is meant.
/// Sends nothing.
pub fn find(own: Ipv4Addr, device: Option<&str>) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let mut table = String::new();
    File::open(ROUTES).ok()?.take(MAX_ROUTES).read_to_string(&mut table).ok()?;
    let gateway = default_gateway(&table, device)?;
    let socket = sys::bind_udp_through((own, 0).into(), false, device).ok()?;
    let socket = UdpSocket::from(socket);
    // Of a socket for datagrams this only looks up the route.
    socket.connect((gateway, 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(own) => Some((gateway, own)),
        IpAddr::V6(_) => None,
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchanged {
    /// The asker's number.
    pub number: u64,
    /// All that came, [`MAX_ANSWER`] bytes at most; `None` if there was no connection.
    pub answer: Option<Vec<u8>>,
}

/// Sends a request from there, and posts what came until the connection ended. How many
/// are under way at a time is the caller's to bound.
///
/// # Errors
/// The system has no thread for it.
pub fn exchange<E>(
    number: u64,
    (origin, host): (Origin, SocketAddrV4),
    request: Vec<u8>,
    post: Post<E>,
) -> io::Result<()>
where
    E: From<Exchanged> + Send + 'static,
{
    let work = move || {
        let answer = ask(&origin, host, &request).ok();
        post.send(Exchanged { number, answer }.into());
    };
    thread::Builder::new().name("gateway".into()).stack_size(STACK).spawn(work).map(drop)
}

fn ask(origin: &Origin, host: SocketAddrV4, request: &[u8]) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    let left = || -> io::Result<Option<Duration>> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    };
    let mut stream = origin.connect_within(host.into(), PATIENCE)?;
    stream.set_write_timeout(left()?)?;
    stream.write_all(request)?;
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    while answer.len() < MAX_ANSWER {
        // Who keeps the connection has said all by then.
        let Ok(left) = left() else { break };
        stream.set_read_timeout(left)?;
        match stream.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(length) => answer.extend(&part[..length]),
        }
    }
    answer.truncate(MAX_ANSWER);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::mailbox::mailbox;
    use crate::io::reactor::Reactor;
    use std::net::TcpListener;

    #[test]
    fn what_a_router_says_until_it_closes_is_posted_and_none_if_nobody_listens() {
        let mut reactor = Reactor::new().unwrap();
        let (post, mail) = mailbox::<Exchanged>(2, reactor.waker());
        let mut wait = || loop {
            let _ = reactor.turn(Some(Duration::from_secs(20)), &mut vec![]);
            if let Some(exchanged) = mail.try_recv() {
                return exchanged;
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let IpAddr::V4(own) = listener.local_addr().unwrap().ip() else { unreachable!() };
        let host = SocketAddrV4::new(own, listener.local_addr().unwrap().port());
        let origin = Origin::new(&[own.into()], None);
        exchange(7, (origin.clone(), host), b"ask".to_vec(), post.clone()).unwrap();
        let (mut router, _) = listener.accept().unwrap();
        let mut asked = [0; 3];
        router.read_exact(&mut asked).unwrap();
        router.write_all(b"answer").unwrap();
        drop((router, listener));
        assert_eq!(wait(), Exchanged { number: 7, answer: Some(b"answer".to_vec()) });
        exchange(8, (origin, host), b"ask".to_vec(), post).unwrap();
        assert_eq!(wait(), Exchanged { number: 8, answer: None });
    }
}
