//! Where the tracker listens.

use std::io;
use std::time::Instant;

use crate::io::gate::Gate;
use crate::io::reactor::Reactor;
use crate::io::service::{self, Inherited};
use crate::io::sys;

use super::udp::Udp;
use super::{Notice, Settings, TrackerError};

/// Descriptors kept for other things than connections.
const RESERVED: u64 = 64;

/// Opens both doors where the settings say, or at sockets that were handed over.
///
/// # Errors
/// What the system refuses.
pub fn open(
    settings: &Settings,
    reactor: &mut Reactor,
    udp: &mut Udp,
    now: Instant,
) -> Result<(Gate, Vec<Notice>), TrackerError> {
    let room = sys::raise_descriptor_limit().saturating_sub(RESERVED).max(1);
    let mut gate_settings = settings.gate.clone();
    gate_settings.connections =
        gate_settings.connections.min(usize::try_from(room).unwrap_or(usize::MAX));
    let mut gate = Gate::new(gate_settings, now);
    let mut told = Vec::new();
    for socket in service::inherited(settings.inherited).map_err(TrackerError::Machine)? {
        told.push(adopt(socket, &mut gate, udp, reactor).map_err(TrackerError::Machine)?);
    }
    if !told.is_empty() {
        return Ok((gate, told));
    }
    let mut port = 0;
    for mut on in settings.listen.iter().copied() {
        if on.port() == 0 {
            on.set_port(port);
        }
        let refused = |e| TrackerError::Listen(on, e);
        let there = gate.listen(reactor, on).map_err(refused)?;
        port = there.port();
        told.push(Notice::Listening(there));
        if settings.udp {
            udp.listen(reactor, there).map_err(refused)?;
            told.push(Notice::ListeningUdp(there));
        }
    }
    Ok((gate, told))
}

fn adopt(
    socket: Inherited,
    gate: &mut Gate,
    udp: &mut Udp,
    reactor: &mut Reactor,
) -> io::Result<Notice> {
    match socket {
        Inherited::Listener(socket) => gate.adopt(reactor, socket).map(Notice::Listening),
        Inherited::Datagrams(socket) => {
            let on = sys::local_address(&socket)?;
            udp.adopt(reactor, socket).map(|()| Notice::ListeningUdp(on))
        }
    }
}
