//! Which block to ask of a peer next.
