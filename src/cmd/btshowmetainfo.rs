//! `btshowmetainfo`: prints what a .torrent says.
