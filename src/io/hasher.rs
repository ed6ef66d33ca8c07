//! Hash workers for the makers and for checking data at start.
