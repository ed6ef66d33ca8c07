//! Blocking HTTP(S) and name look-ups on a few threads.
