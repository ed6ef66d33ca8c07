//! Makes .torrent files out of files and folders.
