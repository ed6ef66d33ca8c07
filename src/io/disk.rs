//! Disk workers: write, hash, check, make ready for sending.
