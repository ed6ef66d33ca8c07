//! The HTTP door on the reactor: yields checked requests, writes answers.
