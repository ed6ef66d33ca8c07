//! Rate meter and token bucket.
