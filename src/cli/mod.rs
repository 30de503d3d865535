//! The command line: arguments in [`args`], one file for each command, output through [`print`].

pub mod args;
pub mod print;

mod agent;
mod down;
mod images;
mod input;
mod orders;
mod up;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::error::{Error, Kind, Result};
use args::{Cli, Command, Globals};

/// Runs minik with the process's arguments: data on stdout, all else on stderr, and an exit code of the contract.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(report_bug));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return refuse(&usage),
    };
    match dispatch(&cli.command, &cli.globals) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            print::error(&error);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn dispatch(command: &Command, globals: &Globals) -> Result<ExitCode> {
    match command {
        Command::Up(args) => up::run(args, globals),
        Command::Down(args) => down::run(args, globals),
        Command::Agent(args) => agent::run(args, globals),
    }
}

/// Prints clap's message: help and version on stdout with code 0, a usage error on stderr with code 2.
fn refuse(usage: &clap::Error) -> ExitCode {
    match usage.print() {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2)),
    }
}

/// Whether a command ended because nobody reads its output any more (`minik get pods | head -1`).
fn is_closed_pipe(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    error.kind() == Kind::Io && source.is_some_and(|e| e.kind() == ErrorKind::BrokenPipe)
}

fn report_bug(panic: &std::panic::PanicHookInfo) {
    let mut stderr = std::io::stderr().lock();
    // If stderr is closed there is nobody to tell.
    let _ = writeln!(
        stderr,
        "error: this is a bug in minik {}: {panic}\nhint: please report it with the command that you ran; RUST_BACKTRACE=1 shows where it happened\n{}",
        env!("CARGO_PKG_VERSION"),
        std::backtrace::Backtrace::capture(),
    );
}
