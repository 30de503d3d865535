//! `minik exec`: a program in a target's namespaces.
//!
//! minik does not start the program, it becomes it, as `ip netns exec` does: terminal, signals, standard input and exit
//! code are the program's own, and nothing of minik stays in memory.

#![expect(clippy::disallowed_methods, reason = "the door for programs that the user starts")]

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use super::args::Globals;
use super::inside_args::ExecArgs;
use super::session::{self, Session};
use super::target;
use crate::error::{Error, Kind, Result};
use crate::kernel::flavour;
use crate::kernel::place::Place;
use crate::plan::{Namespace, Role};

/// The exit codes of env(1) and shells for a program that is not there, or cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Becomes the program; returns only if that fails.
///
/// # Errors
/// If there is no such target, or its namespaces cannot be entered.
pub fn run(args: &ExecArgs, globals: &Globals) -> Result<ExitCode> {
    let session = session::open(globals.cluster_name())?;
    let ns = target::resolve(&session.cluster, &session.plan, &globals.namespace, &args.target)?;
    let mut words = args.command.iter();
    let program = words.next().ok_or_else(|| Error::new(Kind::Usage, "no program is given"))?;
    let mut command = Command::new(program);
    command.args(words);
    become_program(&session, ns, command)
}

/// Settles in a namespace and becomes `command` there, with the variables of the pod's first container.
pub(super) fn become_program(session: &Session, ns: &Namespace, mut command: Command) -> Result<ExitCode> {
    let cluster = &session.record.name;
    // Its iptables are of the node's flavour.
    command.envs(flavour::path(cluster, ns.backend)?.map(|path| ("PATH", path)));
    Place { netns: &ns.netns, hostname: &ns.hostname, cluster }.settle()?;
    if let Role::Pod { .. } = ns.role
        && let Some(container) =
            session.cluster.pods.iter().find(|pod| pod.key() == ns.name).and_then(|pod| pod.containers.first())
    {
        command.envs(container.env.iter().map(|(name, value)| (name, value)));
    }
    command.env("MINIK_CLUSTER", &session.record.name).env("MINIK_TARGET", &ns.name).env("HOSTNAME", &ns.hostname);
    let failure = command.exec();
    let name = command.get_program().to_string_lossy().into_owned();
    Ok(ExitCode::from(explain(&name, failure)?))
}

/// Says why a program could not be run, and gives the exit code that shells have for it.
fn explain(program: &str, failure: std::io::Error) -> Result<u8> {
    let code = match failure.kind() {
        std::io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    };
    let mut error = Error::io(format!("cannot run {program}"), failure);
    if code == NOT_FOUND {
        error = error.hint("a target has the programs of this machine, not those of an image");
    }
    super::print::error(&error);
    Ok(code)
}

/// Whether a variable of the environment is set to something.
pub(super) fn variable(name: impl AsRef<OsStr>) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
