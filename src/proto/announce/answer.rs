//! The tracker's side: query to request, answer to bencoded bytes.
