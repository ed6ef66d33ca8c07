//! One non-blocking socket, its framer and its send queue.
