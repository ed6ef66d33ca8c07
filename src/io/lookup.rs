//! Looks up the addresses of names, each on a thread of its own: the system's resolver may take its
//! time, and nobody here waits for it.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread;

use crate::io::mailbox::Post;
use crate::io::reason;

/// Address space of the thread; the system's resolver loads modules.
const STACK: usize = 256 * 1024;

/// What became of a look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookedUp {
    /// The asker's number.
    pub id: u64,
    /// Addresses, the best first; or the system's words.
    pub result: Result<Vec<SocketAddr>, String>,
}

/// Looks up the addresses of a host, and posts them with this port. How many are under way at a
/// time is the caller's to bound.
///
/// # Errors
/// The system has no thread for it.
pub fn start<E>(id: u64, host: String, port: u16, post: Post<E>) -> io::Result<()>
where
    E: From<LookedUp> + Send + 'static,
{
    let work = move || {
        let result = (host.as_str(), port).to_socket_addrs();
        let result = result.map(Iterator::collect).map_err(|e| reason(&e));
        post.send(LookedUp { id, result }.into());
    };
    thread::Builder::new().name("lookup".into()).stack_size(STACK).spawn(work).map(drop)
}
