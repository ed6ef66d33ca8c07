//! The tracker's loop: gate to registry and back.
