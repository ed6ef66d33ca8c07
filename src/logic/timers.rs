//! Deadlines as data.
