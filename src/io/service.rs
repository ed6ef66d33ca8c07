//! What a service manager gives and wants to hear, as systemd has it: sockets that are open
//! already, and words about how it goes. No library of theirs is needed.
//!
//! Used by whatever runs as a service. Reads no environment: what stands there is an argument.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::io::sys;

/// Descriptors taken over at most.
const MAX_INHERITED: u32 = 64;

/// The first descriptor that is handed over.
const FIRST: i32 = 3;

/// Where the service manager listens.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    to: SocketAddr,
}

impl Notifier {
    /// By the value of `NOTIFY_SOCKET`: a path, or behind an `@` a name without a file.
    ///
    /// # Errors
    /// It is neither, or no socket is to be had.
    pub fn new(address: &OsStr) -> io::Result<Notifier> {
        let to = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(address)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Notifier { socket, to })
    }

    /// Says something, such as `READY=1`. Whether it was heard is nobody's concern.
    pub fn say(&self, words: &str) {
        let _ = self.socket.send_to_addr(words.as_bytes(), &self.to);
    }
}

/// A socket that was handed over.
#[derive(Debug)]
pub enum Inherited {
    /// Listens for TCP connections.
    Listener(OwnedFd),
    /// Takes UDP packets.
    Datagrams(OwnedFd),
}

/// The sockets that were handed over, by the number that `LISTEN_FDS` told, if `LISTEN_PID` named
/// this process. Others than those of the internet are passed over.
///
/// # Errors
/// The kernel (5.6 or later is needed) gives no handle of them.
pub fn inherited(count: u32) -> io::Result<Vec<Inherited>> {
    let mut all = Vec::new();
    for n in 0..count.min(MAX_INHERITED) {
        let socket = sys::own_descriptor(FIRST + n as i32)?;
        match sys::socket_kind(&socket) {
            Some(sys::SocketKind::Listener) => all.push(Inherited::Listener(socket)),
            Some(sys::SocketKind::Datagrams) => all.push(Inherited::Datagrams(socket)),
            None => {}
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_arrive_at_a_path_and_at_a_name() {
        let path = std::env::temp_dir().join(format!("notify-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let heard = UnixDatagram::bind(&path).unwrap();
        let name = format!("bittornado-notify-{}", std::process::id());
        let named = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let abstract_heard = UnixDatagram::bind_addr(&named).unwrap();
        for (address, heard) in
            [(path.clone().into_os_string(), &heard), (format!("@{name}").into(), &abstract_heard)]
        {
            Notifier::new(&address).unwrap().say("READY=1");
            let mut buffer = [0; 100];
            let n = heard.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..n], b"READY=1");
        }
        std::fs::remove_file(&path).unwrap();
        let nobody = Notifier::new(path.as_os_str()).unwrap();
        nobody.say("READY=1");
    }

    #[test]
    fn a_socket_of_ours_can_be_taken_by_its_number() {
        use std::os::fd::AsRawFd;
        let listener = sys::listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let again = sys::own_descriptor(listener.as_raw_fd()).unwrap();
        assert_eq!(sys::local_address(&again).unwrap(), sys::local_address(&listener).unwrap());
        assert_eq!(sys::socket_kind(&again), Some(sys::SocketKind::Listener));
        let packets = sys::bind_udp("127.0.0.1:0".parse().unwrap(), false).unwrap();
        assert_eq!(sys::socket_kind(&packets), Some(sys::SocketKind::Datagrams));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(sys::socket_kind(&file), None);
        assert!(sys::own_descriptor(9999).is_err());
    }
}
