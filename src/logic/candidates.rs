//! Addresses we know of: where from, when to try again, banned or not.
