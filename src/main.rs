//! The command line of minik.

use std::process::ExitCode;

fn main() -> ExitCode {
    minik::cli::main()
}
