//! Tokens with generations, readiness, one turn of the loop; knows descriptors, not peers.
