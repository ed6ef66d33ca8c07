//! One torrent's brain: puts ledger, picker, choker, candidates and peers together.
