//! Reading, checking and building .torrent files (BEP 3, BEP 12).
