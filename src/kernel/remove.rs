//! Removes every trace of a cluster, whatever state it is in and without its input.
//!
//! Everything is found by name: namespaces under /run/netns, their files under /etc/netns, the processes
//! inside. Links, routes and rules go with their namespaces, all at once: no link is deleted by hand, since
//! each such call waits for an RCU barrier.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::Signal;

use super::{etc, netns, process, state};
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
    // Held until every name is gone and then let go together, so that the kernel frees them in one round. A
    // name without a namespace behind it, or more namespaces than descriptors, only make that less good.
    let held: Vec<File> =
        names.iter().filter_map(|name| File::open(Path::new(names::NETNS_DIR).join(name)).ok()).collect();
    for name in &names {
        errors.keep(unname(name));
    }
    for name in owned(cluster, etc::list(&names::netns_prefix(cluster))?)? {
        errors.keep(etc::remove(&name));
    }
    drop(held);
    errors.into_result()
}

/// Ends all processes in these namespaces of a cluster, then removes them and their files.
///
/// # Errors
/// Everything that could not be removed.
pub fn some(cluster: &str, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let mut errors = ErrorList::default();
    errors.keep(end_processes(names));
    for name in names {
        errors.keep(unname(name));
        errors.keep(etc::remove_kept(cluster, name));
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

/// Ends every process in these namespaces: SIGTERM, and SIGKILL after a grace period.
fn end_processes(names: &[String]) -> Result<()> {
    let (mut signal, mut patience) = (Signal::SIGTERM, GRACE);
    // Processes may start others before they end, so look again until none is left.
    loop {
        let inside = process::inhabitants(names)?;
        if inside.is_empty() {
            return Ok(());
        }
        inside.iter().try_for_each(|process| process.signal(signal))?;
        let deadline = Instant::now() + patience;
        let left = || deadline.saturating_duration_since(Instant::now());
        let ended = inside.iter().map(|process| process.wait(left())).collect::<Result<Vec<bool>>>()?;
        if ended.contains(&false) {
            if signal == Signal::SIGKILL {
                let what = format!("{} processes in the namespaces did not end", inside.len());
                return Err(Error::io(what, std::io::Error::from(ErrorKind::TimedOut)));
            }
            (signal, patience) = (Signal::SIGKILL, KILL_DEADLINE);
        }
    }
}
