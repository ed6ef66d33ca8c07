//! Looks up the addresses of names, each on a thread of its own: the system's resolver may take its
//! time, and nobody here waits for it.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use crate::io::mailbox::{Post, jobs};
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

/// Looks up the addresses of a host, and waits for it, but no longer than this; for those who have
/// no reactor yet.
///
/// # Errors
/// The system's words, or that it took too long.
pub fn wait(host: &str, patience: Duration) -> Result<Vec<IpAddr>, String> {
    let (answer, answers) = jobs(1);
    let host = host.to_string();
    let work = move || {
        let result = (host.as_str(), 0).to_socket_addrs();
        let result = result.map(|all| all.map(|at| at.ip()).collect()).map_err(|e| reason(&e));
        // Nobody may wait any more.
        answer.send(result);
    };
    let thread = thread::Builder::new().name("lookup".into()).stack_size(STACK);
    thread.spawn(work).map_err(|e| reason(&e))?;
    let late = || format!("no answer in {} seconds", patience.as_secs());
    answers.recv_within(patience).unwrap_or_else(|| Err(late()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_gets_the_addresses_or_why_there_are_none() {
        let soon = Duration::from_secs(60);
        let own = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(wait("127.0.0.1", soon), Ok(vec![own]));
        assert!(wait("no name", soon).is_err());
    }
}
