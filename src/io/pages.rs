//! tiny_http behind the gate, on a private Unix socket: pages for people.
