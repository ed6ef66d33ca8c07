//! What the environment says of the service manager that started a command, for all that run for
//! long.

use super::env::Env;
use crate::app::clock::{Civil, zone};
use crate::app::service::Manager;
use crate::proto::zone::Zone;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant, SystemTime};

/// The manager that wants to hear how it goes, by `NOTIFY_SOCKET`, `WATCHDOG_USEC` and
/// `WATCHDOG_PID`.
pub fn manager(env: &Env) -> Manager {
    let number = |name| env.var(name)?.to_str()?.parse::<u64>().ok();
    let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let watchdog = number("WATCHDOG_USEC").filter(|period| ours && *period > 0);
    let watchdog = watchdog.map(Duration::from_micros);
    Manager::new(env.var("NOTIFY_SOCKET").as_deref(), watchdog, Instant::now())
}

/// The time before a message; none where it goes to a journal that notes it anyway.
pub struct Stamp(Option<Zone>);

impl Stamp {
    /// As standard error is, and the variable `TZ`.
    pub fn new(env: &Env) -> Stamp {
        Stamp((!is_journal(env)).then(|| zone(env.var("TZ").as_deref())))
    }

    /// `[03:04:05] `, or nothing.
    pub fn now(&self) -> String {
        let local = |zone| Civil::local(SystemTime::now(), zone).time();
        self.0.as_ref().map_or(String::new(), |zone| format!("[{}] ", local(zone)))
    }
}

/// Whether standard error is the journal's: `JOURNAL_STREAM` has its device and inode.
fn is_journal(env: &Env) -> bool {
    let Some(stream) = env.var("JOURNAL_STREAM") else { return false };
    let ours = std::io::stderr().as_fd().try_clone_to_owned().map(File::from);
    let about = ours.and_then(|file| file.metadata());
    about.is_ok_and(|about| *stream == *format!("{}:{}", about.dev(), about.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_gets_no_times() {
        let (mut env, _) = Env::captured("x", [""; 0], "/");
        let stderr = File::from(std::io::stderr().as_fd().try_clone_to_owned().unwrap());
        let about = stderr.metadata().unwrap();
        for (stream, stamped) in
            [(format!("{}:{}", about.dev(), about.ino()), false), ("1:2".into(), true)]
        {
            env.vars = Box::new(move |name| match name {
                "JOURNAL_STREAM" => Some(stream.clone().into()),
                "TZ" => Some("UTC".into()),
                _ => None,
            });
            let text = Stamp::new(&env).now();
            assert_eq!(text.is_empty(), !stamped, "{text}");
            assert!(text.is_empty() || text.len() == 11 && text.ends_with("] "), "{text}");
        }
    }
}
