//! Announce and scrape over HTTP: query to value to bencoded reply, for client and tracker alike (BEP 3, 7, 23, 48).

pub mod answer;
pub mod ask;
