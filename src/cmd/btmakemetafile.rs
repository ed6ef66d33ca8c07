//! `btmakemetafile`: makes one .torrent per named file or folder.
