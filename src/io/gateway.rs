//! Which gateway this machine is behind, as the kernel's table of routes says. Sends nothing.

use crate::proto::port_mapping::gateway::default_gateway;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// The kernel's table of IPv4 routes.
const ROUTES: &str = "/proc/net/route";

/// No more of it is read, in bytes.
const MAX_ROUTES: u64 = 1024 * 1024;

/// The IPv4 gateway to everywhere, and our address towards it: `own` if that is one. `None`: there
/// is no such gateway, or the system does not tell.
pub fn find(own: Ipv4Addr) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let mut table = String::new();
    File::open(ROUTES).ok()?.take(MAX_ROUTES).read_to_string(&mut table).ok()?;
    let gateway = default_gateway(&table)?;
    let socket = UdpSocket::bind((own, 0)).ok()?;
    // Of a socket for datagrams this only looks up the route.
    socket.connect((gateway, 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(own) => Some((gateway, own)),
        IpAddr::V6(_) => None,
    }
}
