//! Option tables: parser, usage text.
