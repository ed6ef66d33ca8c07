//! Which tracker to ask when: tiers, events, intervals, backoff (BEP 3, BEP 12).
