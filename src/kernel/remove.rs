//! Removes every trace of a cluster, whatever state it is in and without its input.
//!
//! Everything is found by name: namespaces under /run/netns, their files under /etc/netns, the processes
//! inside. Links, routes and rules go with their namespaces, all at once: no link is deleted by hand, since
//! each such call waits for an RCU barrier.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::{etc, netns, pidfd, state};
use crate::error::{Error, ErrorList, Result};
use crate::names;

/// How long a process in a namespace may take to end after SIGTERM, so that a tcpdump can finish its file.
const GRACE: Duration = Duration::from_millis(500);
/// How long the kernel may take to end a process after SIGKILL.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// Ends all processes in the cluster's namespaces, then removes the namespaces and their files. What fails is
/// reported at the end; the rest is removed all the same.
///
/// # Errors
/// Everything that could not be removed.
pub fn namespaces(cluster: &str) -> Result<()> {
    let mut errors = ErrorList::default();
    let names = owned(cluster, netns::list(&names::netns_prefix(cluster))?)?;
    errors.keep(end_processes(&names));
    for name in &names {
        errors.keep(unname(name));
    }
    for name in owned(cluster, etc::list(&names::netns_prefix(cluster))?)? {
        errors.keep(etc::remove(&name));
    }
    errors.into_result()
}

/// Those of `names` that belong to `cluster` and not to another one whose name begins with its name: with
/// clusters `a` and `a-b`, `minik-a-b-node-1` is `a-b`'s.
///
/// # Errors
/// If the other clusters cannot be listed.
pub fn owned(cluster: &str, names: Vec<String>) -> Result<Vec<String>> {
    let longer: Vec<String> = state::list()?
        .into_iter()
        .filter(|other| other.starts_with(&format!("{cluster}-")))
        .map(|other| names::netns_prefix(&other))
        .collect();
    Ok(names.into_iter().filter(|name| !longer.iter().any(|prefix| name.starts_with(prefix.as_str()))).collect())
}

/// Takes a namespace's name away. The kernel frees the namespace when nobody uses it any more.
fn unname(name: &str) -> Result<()> {
    let path = Path::new(names::NETNS_DIR).join(name);
    loop {
        match umount2(&path, MntFlags::MNT_DETACH) {
            // Not a mount (any more): a build that was killed between making the file and binding it.
            Err(Errno::EINVAL | Errno::ENOENT) => break,
            Err(e) => return Err(Error::io(format!("cannot unmount {}", path.display()), e)),
            Ok(()) => {}
        }
    }
    match fs::remove_file(&path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io(format!("cannot remove {}", path.display()), e)),
        _ => Ok(()),
    }
}

/// Ends every process whose network namespace is one of these: SIGTERM, and SIGKILL after a grace period.
fn end_processes(names: &[String]) -> Result<()> {
    let inodes: BTreeSet<u64> = names
        .iter()
        .filter_map(|name| fs::metadata(Path::new(names::NETNS_DIR).join(name)).ok())
        .map(|meta| meta.ino())
        .collect();
    let mut deadline = Instant::now() + GRACE;
    let mut signal = Signal::SIGTERM;
    // Processes may start others before they end, so look again until none is left.
    loop {
        let inside = processes_in(&inodes)?;
        if inside.is_empty() {
            return Ok(());
        }
        for process in &inside {
            pidfd::signal(process.as_fd(), signal)?;
        }
        if !wait_all(&inside, deadline)? {
            if signal == Signal::SIGKILL {
                let what = format!("{} processes in the namespaces did not end", inside.len());
                return Err(Error::io(what, std::io::Error::from(ErrorKind::TimedOut)));
            }
            signal = Signal::SIGKILL;
            deadline = Instant::now() + KILL_DEADLINE;
        }
    }
}

fn processes_in(inodes: &BTreeSet<u64>) -> Result<Vec<OwnedFd>> {
    if inodes.is_empty() {
        return Ok(Vec::new());
    }
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").map_err(|e| Error::io("cannot read /proc", e))? {
        let name = entry.map_err(|e| Error::io("cannot read /proc", e))?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let inside = || fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|meta| inodes.contains(&meta.ino()));
        if pid == own || !inside() {
            continue;
        }
        // The number may have passed to another process before the handle was open, so look once more.
        if let Some(handle) = pidfd::open(pid)?
            && inside()
        {
            found.push(handle);
        }
    }
    Ok(found)
}

/// Waits until all processes have ended; false if `deadline` came first.
fn wait_all(processes: &[OwnedFd], deadline: Instant) -> Result<bool> {
    for process in processes {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) => return Ok(false),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(Error::io("cannot wait for processes to end", e)),
        }
    }
    Ok(true)
}
