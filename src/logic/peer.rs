//! One connection's talk: stage, flags, request queue, timeouts.
