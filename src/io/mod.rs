//! Floor 1, the hands: touch sockets, files, threads and signals, and decide nothing.

pub mod conn;
pub mod courier;
pub mod datagrams;
pub mod disk;
pub mod fetch;
pub mod gate;
pub mod gateway;
#[cfg(feature = "gzip")]
pub mod gzip;
pub mod hasher;
pub mod hook;
pub mod lookup;
pub mod mailbox;
pub mod multicast;
pub mod origin;
pub mod pages;
pub mod plain;
pub mod reactor;
pub mod save;
pub mod screen;
pub mod service;
pub mod signals;
pub mod sole;
pub mod storage;
pub mod sys;
pub mod tree;

/// What an operating system error says, without its number, for messages to people.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(at) => text[..at].to_string(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_reason_has_no_error_number() {
        let error = std::io::Error::from_raw_os_error(2);
        assert_eq!(super::reason(&error), "No such file or directory");
    }
}
