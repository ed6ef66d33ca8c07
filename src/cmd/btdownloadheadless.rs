//! `btdownloadheadless` (and `btdownload`): downloads and seeds one torrent, plain text.
