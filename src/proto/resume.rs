//! The form of saved state.
