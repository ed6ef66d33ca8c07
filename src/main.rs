//! The one binary: finds out which command it was called as, and runs it.

use std::process::ExitCode;

fn main() -> ExitCode {
    bittornado::cmd::main()
}
