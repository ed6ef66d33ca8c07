//! Walks a folder in the order a torrent lists it.
