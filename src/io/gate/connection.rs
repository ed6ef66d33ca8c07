//! One connection of the gate: its stages, and whether its time runs.

use std::hash::{BuildHasherDefault, Hasher};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use super::answer::{Outgoing, Wait};
use super::request::Version;

/// What a connection is at.
#[derive(Debug)]
pub(super) enum Stage {
    /// Reads a head.
    Head,
    /// The request is with the caller; this is how to answer it.
    Asked(Manner),
    /// The answer is on its way; whether the connection stays then.
    Answering(Outgoing, End),
    /// Waits for the other side to close.
    Lingering,
}

/// What of a request its answer depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    pub version: Version,
    pub head_only: bool,
    pub gzip: bool,
    pub end: End,
}

/// What becomes of a connection behind its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Stay,
    Close,
    Linger,
}

/// A connection, and what it may still take its time for.
#[derive(Debug)]
pub(super) struct Connection {
    pub socket: Arc<OwnedFd>,
    pub from: SocketAddr,
    pub stage: Stage,
    /// What has been read and not used.
    pub input: Vec<u8>,
    /// Whether the kernel may have more, or the end, that it has told of already.
    pub more: bool,
    pub deadline: Instant,
    /// When the present stage began.
    pub since: Instant,
    /// Bytes of the file that had not left when the deadline was set.
    pub left: u64,
}

impl Connection {
    /// Whether it is sent a file.
    pub fn is_streaming(&self) -> bool {
        matches!(&self.stage, Stage::Answering(outgoing, _) if outgoing.stream.is_some())
    }

    /// Whether it is waited for, so that its time runs.
    pub fn is_due(&self) -> bool {
        match &self.stage {
            Stage::Asked(_) => false,
            Stage::Answering(outgoing, _) => outgoing.wait == Wait::Socket,
            Stage::Head | Stage::Lingering => true,
        }
    }
}

/// Hashes tokens, which no stranger chooses, by one multiplication.
#[derive(Debug, Default)]
pub(super) struct Product(u64);

/// For tables by token.
pub(super) type Plain = BuildHasherDefault<Product>;

impl Hasher for Product {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u32((*b).into()));
    }

    fn write_u32(&mut self, n: u32) {
        let mixed = (self.0 ^ u64::from(n)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}
