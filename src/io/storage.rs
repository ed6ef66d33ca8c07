//! The files of a torrent: names, creation, an open-file limit, reads and writes by range.
