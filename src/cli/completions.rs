//! `minik completions`.

use std::process::ExitCode;

use clap::CommandFactory;

use super::args::{Cli, CompletionsArgs};
use super::print;
use crate::error::Result;

/// Prints the completion script of a shell.
///
/// # Errors
/// If it cannot be written.
pub fn run(args: &CompletionsArgs) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "minik", &mut script);
    print::text(&String::from_utf8_lossy(&script)).map(|()| ExitCode::SUCCESS)
}
