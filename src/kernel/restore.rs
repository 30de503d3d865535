//! Loads a namespace's ipsets and iptables rules: one `ipset restore` and one `iptables-restore`, on stdin.

#![expect(clippy::disallowed_methods, reason = "the door for the restore tools")]

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::netns;
use crate::error::{Error, Kind, Result};
use crate::plan::{Namespace, restore};

/// Loads the sets and then the tables of `namespace` into `ns`, whose tables are empty.
///
/// # Errors
/// If a tool is not installed or rejects its input; its own words are in the error.
pub fn load(namespace: &Namespace, ns: impl AsFd + Send) -> Result<()> {
    let sets = restore::ipset_restore(&namespace.sets);
    let tables = restore::iptables_restore(&namespace.tables);
    netns::inside(ns, || {
        if !namespace.sets.is_empty() {
            feed(&["ipset", "restore"], &sets)?;
        }
        if !namespace.tables.is_empty() {
            feed(&["iptables-restore", "-w"], &tables)?;
        }
        Ok(())
    })?
}

/// Runs a tool in the calling thread's namespace with `input` on its stdin.
fn feed(argv: &[&str], input: &str) -> Result<()> {
    let name = argv.join(" ");
    let mut command = Command::new(argv[0]);
    command.args(&argv[1..]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    // SAFETY: prctl is safe to call between fork and exec. The tool must not outlive a minik that is killed.
    unsafe {
        command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?));
    }
    let mut child = command.spawn().map_err(|e| missing(argv[0], e))?;
    // A tool that gives up early closes the pipe; what it says then is worth more than our write error.
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(|e| Error::io(format!("cannot wait for {name}"), e))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::new(Kind::Tool, format!("{name} failed ({})", output.status)).because(words));
    }
    written.map_err(|e| Error::io(format!("cannot write to {name}"), e))
}

fn missing(tool: &str, e: std::io::Error) -> Error {
    let error = Error::new(Kind::Unsupported, format!("cannot run {tool}")).because(e);
    error.hint(match tool {
        "ipset" => "install the package ipset",
        _ => "install the package iptables",
    })
}
