//! One process at a time: a name that only one of them can hold, until it lets go of it or ends,
//! however it ends. Two downloads to one place use it, so that the second does not start to write.
//!
//! The name is that of a socket without a file (Linux's abstract names): nothing is left behind
//! by a kill, and nothing has to be writable. It is as wide as the network namespace.

use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// A name that nobody else can have while this exists. Nobody can say anything to it that would be
/// heard.
#[derive(Debug)]
pub struct Sole(#[allow(dead_code, reason = "it is there to be held")] UnixDatagram);

/// Takes a name, of at most 100 bytes. `None`: somebody else has it.
///
/// # Errors
/// The system has no such names, or no descriptor.
pub fn take(name: &[u8]) -> io::Result<Option<Sole>> {
    let address = SocketAddr::from_abstract_name(name)?;
    match UnixDatagram::bind_addr(&address) {
        Ok(socket) => {
            // What others send is not kept for us.
            let _ = socket.shutdown(std::net::Shutdown::Read);
            Ok(Some(Sole(socket)))
        }
        Err(e) if e.kind() == ErrorKind::AddrInUse => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_held_once_and_free_again_when_it_is_let_go_of() {
        let name = format!("bittornado-test-{}", std::process::id());
        let held = take(name.as_bytes()).unwrap().unwrap();
        assert!(take(name.as_bytes()).unwrap().is_none());
        assert!(take(format!("{name}2").as_bytes()).unwrap().is_some());
        drop(held);
        assert!(take(name.as_bytes()).unwrap().is_some());
    }
}
