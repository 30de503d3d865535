//! `minik shell`: an interactive shell in a target's namespaces, with a prompt that says where it is.

#![expect(clippy::disallowed_methods, reason = "the door for shells that the user starts")]

use std::path::Path;
use std::process::{Command, ExitCode};

use super::args::Globals;
use super::exec::{become_program, variable};
use super::inside_args::ShellArgs;
use super::{session, target};
use crate::error::Result;

/// Becomes the user's shell in the target's namespaces.
///
/// # Errors
/// If there is no such target, or its namespaces cannot be entered.
pub fn run(args: &ShellArgs, globals: &Globals) -> Result<ExitCode> {
    let session = session::open(globals.cluster_name())?;
    let ns = target::resolve(&session.cluster, &session.plan, &globals.namespace, &args.target)?;
    let shell = variable("SHELL").filter(|shell| Path::new(shell).exists()).unwrap_or_else(|| "/bin/sh".to_owned());
    let mut command = Command::new(&shell);
    // A start file would set its own prompt over ours, so bash and zsh are asked to skip theirs.
    match Path::new(&shell).file_name().and_then(|name| name.to_str()) {
        Some("bash") => {
            command.arg("--norc").env("PS1", format!("[{}] \\w\\$ ", ns.name));
        }
        Some("zsh") => {
            command.args(["-f"]).env("PS1", format!("[{}] %~%# ", ns.name));
        }
        _ => {
            command.env("PS1", format!("[{}] # ", ns.name));
        }
    }
    become_program(&session, ns, command)
}
