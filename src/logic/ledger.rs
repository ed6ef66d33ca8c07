//! The state of every piece and block, with one owner.
