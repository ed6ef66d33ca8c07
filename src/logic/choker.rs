//! Who may download from us.
