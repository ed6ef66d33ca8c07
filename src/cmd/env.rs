//! What a command is given: arguments, streams and the current folder, as values.
