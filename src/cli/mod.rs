//! The command line: arguments in [`args`], one file for each command, output through [`mod@print`].

pub mod args;
pub mod check_args;
pub mod inside_args;
pub mod live_args;
pub mod print;

mod agent;
mod ages;
mod bgp;
mod completions;
mod daemons;
mod describe;
mod diff;
mod doctor;
mod down;
mod exec;
mod get;
mod heal;
mod images;
mod input;
mod kinds;
mod link;
mod live;
mod logs;
mod ls;
mod name_checks;
mod objects;
mod orders;
mod plan;
mod probe;
mod rules;
mod service_paths;
mod session;
mod shell;
mod stages;
mod status;
mod switch;
mod target;
mod topologies;
mod up;
mod verify;
mod version;
mod watch;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::error::Result;
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
        Command::Ls => ls::run(globals),
        Command::Get(args) => get::run(args, globals),
        Command::Bgp(args) => bgp::run(args, globals),
        Command::Describe(args) => describe::run(args, globals),
        Command::Exec(args) => exec::run(args, globals),
        Command::Shell(args) => shell::run(args, globals),
        Command::Logs(args) => logs::run(args, globals),
        Command::Apply(args) => objects::apply(args, globals),
        Command::Delete(args) => objects::delete(args, globals),
        Command::Scale(args) => objects::scale(args, globals),
        Command::Label(args) => objects::label(args, globals),
        Command::Ready(args) => objects::ready(args, globals),
        Command::Rules(args) => rules::run(args, globals),
        Command::Switch(args) => switch::run(args, globals),
        Command::Link(args) => link::run(args, globals),
        Command::Plan(args) => plan::run(args, globals),
        Command::Diff(args) => diff::run(args, globals),
        Command::Status => status::run(globals),
        Command::Watch => watch::run(globals),
        Command::Heal(args) => heal::run(args, globals),
        Command::Verify(args) => verify::run(args, globals),
        Command::Probe(args) => probe::run(args, globals),
        Command::Doctor => doctor::run(globals),
        Command::Topologies(args) => topologies::list(args, globals),
        Command::Show(args) => topologies::show(args),
        Command::Schema => topologies::schema(),
        Command::Completions(args) => completions::run(args),
        Command::Version => version::run(globals),
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
