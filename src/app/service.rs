//! What a service manager hears of a program that runs for long: that it is ready, how it goes,
//! that it lives, and that it ends.
//!
//! Used by the tracker's loop, and by `cmd` for the clients. Reads no environment, and decides
//! nothing: who never says that it lives is taken for dead by the manager.

use crate::io::service::Notifier;
use std::ffi::OsStr;
use std::time::{Duration, Instant};

/// So often it hears how it goes, if it does not want to hear more often that we live.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// While the figures change it may be told of them so often.
const NEWS_INTERVAL: Duration = Duration::from_secs(5);

/// The service manager, if there is one.
#[derive(Debug)]
pub struct Manager {
    notifier: Option<Notifier>,
    watchdog: Option<Duration>,
    /// It wants to hear of us then.
    next: Instant,
    /// When there was a look for news.
    told: Option<Instant>,
    status: String,
    ends: bool,
}

impl Manager {
    /// By the value of `NOTIFY_SOCKET`, and within which time it wants to hear that we live. One
    /// that cannot be reached is as if there were none.
    pub fn new(address: Option<&OsStr>, watchdog: Option<Duration>, now: Instant) -> Manager {
        let notifier = address.and_then(|address| Notifier::new(address).ok());
        let watchdog = watchdog.filter(|_| notifier.is_some()).map(|period| period / 2);
        Manager { notifier, watchdog, next: now, told: None, status: String::new(), ends: false }
    }

    /// Whether there is one.
    pub fn listens(&self) -> bool {
        self.notifier.is_some()
    }

    fn say(&self, words: &str) {
        self.notifier.iter().for_each(|notifier| notifier.say(words));
    }

    /// It works.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// It ends. Said once.
    pub fn stopping(&mut self) {
        if !std::mem::replace(&mut self.ends, true) {
            self.say("STOPPING=1");
        }
    }

    /// When it wants to hear how it goes; never if there is none.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.notifier.as_ref().map(|_| self.next)
    }

    /// Whether there is one that may want to hear how it goes by now.
    pub fn wants(&self, now: Instant) -> bool {
        let may_be_news = self.told.is_none_or(|told| told + NEWS_INTERVAL <= now);
        self.listens() && (self.next <= now || may_be_news)
    }

    /// The loop that does the work has just shown that it lives, and this is how it goes, in one
    /// line. Passed on if that is due, or if it is news and the last is some seconds old.
    pub fn alive(&mut self, status: &str, now: Instant) {
        if !self.wants(now) {
            return;
        }
        self.told = Some(now);
        if self.next > now && status == self.status {
            return;
        }
        let alive = if self.watchdog.is_some() { "\nWATCHDOG=1" } else { "" };
        // A line break would begin another word.
        let line = status.replace(char::is_control, "?");
        self.say(&format!("STATUS={line}{alive}"));
        self.status = status.into();
        self.next = now + self.watchdog.unwrap_or(TELL_INTERVAL).min(TELL_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    #[test]
    fn it_hears_of_life_in_time_and_of_news_now_and_then() {
        let name = format!("bittornado-manager-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        let hear = || {
            let mut buffer = [0; 100];
            let heard = socket.recv(&mut buffer).ok()?;
            Some(String::from_utf8(buffer[..heard].to_vec()).unwrap())
        };
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let address = format!("@{name}");
        let mut manager = Manager::new(Some(address.as_ref()), Some(20 * second), start);
        manager.ready();
        assert_eq!(hear().as_deref(), Some("READY=1"));
        assert_eq!(manager.next_deadline(), Some(start));
        manager.alive("1%", start);
        assert_eq!(hear().as_deref(), Some("STATUS=1%\nWATCHDOG=1"));
        for (after, status, heard) in [
            (4, "2%", None),
            (5, "3\n%", Some("STATUS=3?%\nWATCHDOG=1")),
            (14, "3\n%", None),
            (15, "3\n%", Some("STATUS=3?%\nWATCHDOG=1")),
        ] {
            manager.alive(status, start + after * second);
            assert_eq!(hear().as_deref(), heard, "after {after} s");
        }
        assert_eq!(manager.next_deadline(), Some(start + 25 * second));
        manager.stopping();
        manager.stopping();
        assert_eq!((hear().as_deref(), hear()), (Some("STOPPING=1"), None));
        let mut nobody = Manager::new(None, Some(second), start);
        nobody.alive("1%", start);
        assert_eq!((nobody.wants(start), nobody.next_deadline()), (false, None));
    }
}
