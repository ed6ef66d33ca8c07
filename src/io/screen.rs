//! Plain lines, or a redrawn terminal.
