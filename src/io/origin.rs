//! From where we speak to others: the addresses and the network interface that the user named, if
//! any. Whatever speaks to peers, trackers and web servers gets its sockets here.

use crate::io::sys::{self, Interest, Watch};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// See the head of this file. The default is to speak from wherever the system likes.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// Our addresses; none if the system may choose.
    own: Vec<IpAddr>,
    device: Option<Arc<str>>,
}

impl Origin {
    /// From these addresses, or from any where one of them is unspecified; through this network
    /// interface alone, if one is named.
    pub fn new(bind: &[IpAddr], device: Option<&str>) -> Origin {
        let is_free = bind.iter().any(IpAddr::is_unspecified);
        let own = if is_free { Vec::new() } else { bind.to_vec() };
        Origin { own, device: device.map(Arc::from) }
    }

    /// Of these addresses that of each family, IPv4 first, that datagrams are best sent from: one
    /// that is no loopback address, if there is one.
    pub fn of_families(bind: &[IpAddr]) -> [Option<IpAddr>; 2] {
        [false, true].map(|six| {
            let of_family = || bind.iter().filter(|ip| ip.is_ipv6() == six);
            of_family().find(|ip| !ip.is_loopback()).or_else(|| of_family().next()).copied()
        })
    }

    /// Whether the system chooses everything.
    pub fn is_free(&self) -> bool {
        self.own.is_empty() && self.device.is_none()
    }

    /// The interface, if one is named.
    pub fn device(&self) -> Option<&str> {
        self.device.as_deref()
    }

    /// The address to speak to that one from; `None` if the system may choose.
    ///
    /// # Errors
    /// `AddrNotAvailable`: we are to speak from addresses of the other family alone.
    pub fn source(&self, to: IpAddr) -> io::Result<Option<IpAddr>> {
        let mut of_family = self.own.iter().filter(|own| own.is_ipv6() == to.is_ipv6());
        let nearest = of_family.clone().find(|own| own.is_loopback() == to.is_loopback());
        match nearest.or_else(|| of_family.next()) {
            Some(own) => Ok(Some(*own)),
            None if self.own.is_empty() => Ok(None),
            None => Err(ErrorKind::AddrNotAvailable.into()),
        }
    }

    /// Starts to connect by TCP, as [`sys::connect`] does.
    ///
    /// # Errors
    /// As there; and there is no such interface, or no address of ours for that one.
    pub fn connect(&self, to: SocketAddr) -> io::Result<OwnedFd> {
        sys::connect_through(to, self.source(to.ip())?, self.device())
    }

    /// Connects, and waits for it. The stream blocks.
    ///
    /// # Errors
    /// As [`connect`](Origin::connect); it is refused, or takes longer than this.
    pub fn connect_within(&self, to: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
        let deadline = Instant::now() + patience;
        let socket = self.connect(to)?;
        let (watch, mut is_over) = (Watch::new()?, false);
        watch.add(&socket, Interest::WRITE, 0)?;
        while !is_over {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            watch.wait(Some(left), |_, _| is_over = true)?;
        }
        watch.remove(&socket);
        sys::take_error(&socket)?;
        let stream = TcpStream::from(socket);
        stream.set_nonblocking(false)?;
        Ok(stream)
    }

    /// Listens for TCP connections, as [`sys::listen`] does.
    ///
    /// # Errors
    /// As there; and there is no such interface.
    pub fn listen(&self, on: SocketAddr, reuse: bool) -> io::Result<OwnedFd> {
        sys::listen_through(on, reuse, self.device())
    }

    /// A UDP socket, as [`sys::bind_udp`] makes it.
    ///
    /// # Errors
    /// As there; and there is no such interface.
    pub fn bind_udp(&self, on: SocketAddr, reuse: bool) -> io::Result<OwnedFd> {
        sys::bind_udp_through(on, reuse, self.device())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn each_is_spoken_to_from_the_address_that_is_nearest() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let source = |bind: &[&str], to| {
            let bind: Vec<IpAddr> = bind.iter().map(|text| ip(text)).collect();
            Origin::new(&bind, None).source(ip(to)).map_err(|e| e.kind())
        };
        assert_eq!(source(&["0.0.0.0"], "1.2.3.4"), Ok(None));
        assert_eq!(source(&["0.0.0.0"], "2001:db8::1"), Ok(None));
        let both = ["127.0.0.1", "192.0.2.1"];
        assert_eq!(source(&both, "1.2.3.4"), Ok(Some(ip("192.0.2.1"))));
        assert_eq!(source(&both, "127.0.0.9"), Ok(Some(ip("127.0.0.1"))));
        assert_eq!(source(&["192.0.2.1"], "127.0.0.9"), Ok(Some(ip("192.0.2.1"))));
        assert_eq!(source(&both, "2001:db8::1"), Err(ErrorKind::AddrNotAvailable));
    }

    #[test]
    fn datagrams_leave_from_where_they_get_farthest() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let best = |bind: &[&str]| {
            Origin::of_families(&bind.iter().map(|text| ip(text)).collect::<Vec<_>>())
        };
        assert_eq!(best(&["127.0.0.1", "192.0.2.1"]), [Some(ip("192.0.2.1")), None]);
        assert_eq!(best(&["::1", "127.0.0.1"]), [Some(ip("127.0.0.1")), Some(ip("::1"))]);
    }

    #[test]
    fn a_connection_comes_from_the_address_that_was_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let own: IpAddr = "127.0.0.77".parse().unwrap();
        let origin = Origin::new(&[own], None);
        let stream = origin.connect_within(to, Duration::from_secs(60)).unwrap();
        assert_eq!(listener.accept().unwrap().1, stream.local_addr().unwrap());
        assert_eq!(stream.local_addr().unwrap().ip(), own);
        drop(listener);
        let refused = origin.connect_within(to, Duration::from_secs(60)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error_and_another_leads_nowhere_else() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let through = |device: &str| Origin::new(&[], Some(device));
        assert_eq!(through("none0").connect(to).unwrap_err().raw_os_error(), Some(19));
        assert!(through("none0").listen(SocketAddr::new(to.ip(), 0), false).is_err());
        assert!(through("none0").bind_udp(SocketAddr::new(to.ip(), 0), false).is_err());
        through("lo").connect_within(to, Duration::from_secs(60)).unwrap();
    }
}
