//! Thin safe wrappers over rustix: poll, non-blocking connect, sendfile, socket options.
