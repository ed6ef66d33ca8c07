//! How a gateway is asked to let others in: `nat_pmp` (RFC 6886) and `pcp` (RFC 6887) are packets,
//! `upnp` is texts of XML, `gateway` finds whom to ask. Used by `logic::port_mapping`.
//!
//! What a gateway answers never panics, and allocates no more than it is long.

pub mod gateway;
pub mod nat_pmp;
pub mod pcp;
pub mod upnp;

/// The UDP port at which gateways take NAT-PMP and PCP.
pub const SERVER_PORT: u16 = 5351;

/// No answer of either kind is longer, in bytes (RFC 6887, section 7).
pub const MAX_ANSWER: usize = 1100;

/// What is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A port of the gateway that leads to one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// What is let in.
    pub protocol: Protocol,
    /// Our port.
    pub internal: u16,
    /// The gateway's; in a request the one that would be best.
    pub external: u16,
    /// How long it lasts, in seconds; 0 in a request removes it.
    pub lifetime: u32,
}

/// What a gateway says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// So it is.
    Granted(Mapping),
    /// No, with the protocol's number for the reason; for which of the mappings, if that is told.
    Refused(Option<Protocol>, u16),
    /// The gateway speaks another version.
    OtherVersion,
}

/// The number at an offset, if it is there.
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
