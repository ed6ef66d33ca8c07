//! Connections of ureq that begin where the user wants: at an address of ours, at an interface.
//! Where it does not matter the library's own are used.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};

use super::MAX_TIMEOUT;
use crate::io::origin::Origin;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct FromOrigin(pub Origin);

impl<In: Transport> Connector<In> for FromOrigin {
    type Out = Either<In, Wire>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        if let Some(chained) = chained {
            return Ok(Some(Either::A(chained)));
        }
        let stream = self.connect_to_any(details)?;
        stream.set_nodelay(true)?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        let stream = Arc::new(stream);
        let handle: Weak<TcpStream> = Arc::downgrade(&stream);
        (details.register_shutdown)(handle)?;
        Ok(Some(Either::B(Wire { stream, buffers })))
    }
}

impl FromOrigin {
    /// The addresses of a host one after the other, each for a fair part of the time that is left.
    fn connect_to_any(&self, details: &ConnectionDetails) -> Result<TcpStream, Error> {
        let all = details.timeout.not_zero().map_or(MAX_TIMEOUT, |left| *left).min(MAX_TIMEOUT);
        let deadline = Instant::now() + all;
        let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
        for (i, address) in details.addrs.iter().enumerate() {
            let others = (details.addrs.len() - i) as u32;
            let left = deadline.saturating_duration_since(Instant::now());
            match self.0.connect_within(*address, left / others) {
                Ok(stream) => return Ok(stream),
                Err(e) => last = e,
            }
        }
        match last.kind() {
            ErrorKind::TimedOut => Err(Error::Timeout(details.timeout.reason)),
            _ => Err(last.into()),
        }
    }
}

/// A connection.
pub(super) struct Wire {
    stream: Arc<TcpStream>,
    buffers: LazyBuffers,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// What is to be done within so long; `None` for no limit.
fn limit(timeout: &NextTimeout) -> Option<Duration> {
    timeout.not_zero().map(|left| *left)
}

fn told(error: io::Error, timeout: &NextTimeout) -> Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => error.into(),
    }
}

impl Transport for Wire {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        self.stream.set_write_timeout(limit(&timeout))?;
        let output = &self.buffers.output()[..amount];
        (&*self.stream).write_all(output).map_err(|e| told(e, &timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        let deadline = limit(&timeout).map(|left| Instant::now() + left);
        loop {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(Error::Timeout(timeout.reason));
            }
            self.stream.set_read_timeout(left)?;
            match (&*self.stream).read(self.buffers.input_append_buf()) {
                Ok(amount) => {
                    self.buffers.input_appended(amount);
                    return Ok(amount > 0);
                }
                // A signal came, which is nothing to this one.
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(told(e, &timeout)),
            }
        }
    }

    fn is_open(&mut self) -> bool {
        // Whatever comes between two requests was not asked for.
        self.stream.set_nonblocking(true).is_ok()
            && matches!((&*self.stream).read(&mut [0]), Err(e) if e.kind() == ErrorKind::WouldBlock)
            && self.stream.set_nonblocking(false).is_ok()
    }
}
