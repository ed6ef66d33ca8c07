//! Bounded channel and waker: how every worker reaches the reactor.
