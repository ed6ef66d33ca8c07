//! The tracker's side: swarms, announce, scrape, expiry.
