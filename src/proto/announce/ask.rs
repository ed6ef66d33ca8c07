//! The client's side: request to query, bencoded bytes to reply.
