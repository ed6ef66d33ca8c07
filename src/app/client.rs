//! Downloads and seeds one torrent: the reactor loop of the client.
