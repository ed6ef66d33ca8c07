//! `bttrack`: the tracker.
