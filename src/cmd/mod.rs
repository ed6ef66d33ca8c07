//! Floor 3: the table of commands, the dispatch on the program's name, exit codes.

pub mod btdownloadheadless;
pub mod btmakemetafile;
pub mod btshowmetainfo;
pub mod bttrack;
pub mod env;
pub mod options;

/// Runs the command the program was called as.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(2)
}
