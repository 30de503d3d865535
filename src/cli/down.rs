//! `minik down`: nothing of a cluster is left, whatever state it was in.

use std::collections::BTreeSet;
use std::process::ExitCode;

use super::args::{DownArgs, Globals};
use crate::agent;
use crate::error::{Error, ErrorList, Kind, Result};
use crate::kernel::gone::Sentinel;
use crate::kernel::state::{self, Phase, Record};
use crate::kernel::{etc, features, host, netns, process, remove};
use crate::names;

/// Runs `minik down`.
///
/// # Errors
/// `Usage` if there is no such cluster; otherwise what could not be removed, when all the rest is.
pub fn run(args: &DownArgs, globals: &Globals) -> Result<ExitCode> {
    features::require_root()?;
    process::raise_file_limit()?;
    let clusters = if args.all { everything()? } else { vec![globals.cluster_name().to_owned()] };
    if !args.all && !is_there(globals.cluster_name())? {
        return Err(unknown(globals.cluster_name())?);
    }
    remove_all(&clusters, !args.no_wait)?;
    for cluster in &clusters {
        super::print::note(&format!("cluster {cluster} is gone"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes clusters, and with `wait` returns only when the kernel has freed everything of them. The calling process
/// must have one thread only.
///
/// # Errors
/// What could not be removed, when all the rest is.
pub fn remove_all(clusters: &[String], wait: bool) -> Result<()> {
    // The sentinel is set up first; it costs a millisecond and no wait.
    let sentinel = Sentinel::place()?;
    let mut errors = ErrorList::default();
    for cluster in clusters {
        errors.keep(remove(cluster));
    }
    errors.into_result()?;
    if wait { wait_freed(sentinel) } else { Ok(()) }
}

/// Waits until the kernel has freed everything. Where that cannot be seen, in a chroot or without user namespaces, it
/// happens all the same, a little after this command.
fn wait_freed(sentinel: Sentinel) -> Result<()> {
    match sentinel.wait() {
        Err(e) if e.kind() == Kind::Unsupported => super::print::note(&format!("note: {e}; not waiting for it")),
        outcome => outcome,
    }
}

/// Every cluster that has a directory under /run/minik, and those of which only namespaces are left.
fn everything() -> Result<Vec<String>> {
    let mut clusters = state::list()?;
    let lost = strays(&netns::list("minik-")?, &clusters);
    clusters.extend(lost);
    Ok(clusters)
}

/// Clusters to which the namespaces belong that no known cluster has. Where the cluster's name ends and that of the
/// namespace begins cannot be told, so the first word stands for all clusters that begin with it: what is left of them
/// goes together.
fn strays(namespaces: &[String], clusters: &[String]) -> BTreeSet<String> {
    let known: Vec<String> = clusters.iter().map(|cluster| names::netns_prefix(cluster)).collect();
    let lost = namespaces.iter().filter(|name| !known.iter().any(|prefix| name.starts_with(prefix)));
    let first_word = |name: &String| name.split('-').nth(1).map(str::to_owned);
    lost.filter_map(first_word).filter(|word| names::is_dns_label(word)).collect()
}

/// Whether there is anything of a cluster: files, or namespaces of its name.
///
/// # Errors
/// If the directories cannot be read.
pub fn is_there(cluster: &str) -> Result<bool> {
    let prefix = names::netns_prefix(cluster);
    let leftovers = |names: Result<Vec<String>>| remove::owned(cluster, names?).map(|names| !names.is_empty());
    // A reboot takes records and namespaces, and leaves the files in /etc/netns.
    Ok(state::dir(cluster).exists() || leftovers(netns::list(&prefix))? || leftovers(etc::list(&prefix))?)
}

fn unknown(cluster: &str) -> Result<Error> {
    // A `down` that was killed at its very end may have left the shared directories.
    host::release()?;
    let error = Error::new(Kind::Usage, format!("there is no cluster `{cluster}`"));
    let others = state::list()?;
    Ok(if others.is_empty() { error } else { error.hint(format!("there are: {}", others.join(", "))) })
}

/// Removes a cluster as soon as no other minik is at work on it.
///
/// # Errors
/// If another minik is still at work after a while; what could not be removed.
pub fn remove(cluster: &str) -> Result<()> {
    let _lock = state::lock(cluster)?;
    remove_locked(cluster)
}

/// Removes a cluster whose lock the caller has: the agent, the namespaces with all that is in them, the files.
///
/// # Errors
/// What could not be removed. The record then stays, so that it can be tried again.
pub fn remove_locked(cluster: &str) -> Result<()> {
    if let Ok(Some(record)) = state::load(cluster) {
        state::store(&Record { phase: Phase::Removing, ..record })?;
    }
    let mut errors = ErrorList::default();
    errors.keep(agent::stop(cluster));
    errors.keep(remove::namespaces(cluster));
    errors.into_result()?;
    state::remove(cluster)?;
    host::release()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_without_a_record_are_found_and_others_left_alone() {
        let names = |list: &[&str]| -> Vec<String> { list.iter().map(|name| (*name).to_owned()).collect() };
        let there =
            names(&["minik-a-node-1", "minik-a-b-node-1", "minik-lost-switch", "minik-lost-x-switch", "minik-"]);
        let lost = strays(&there, &names(&["a"]));
        assert_eq!(lost.into_iter().collect::<Vec<_>>(), ["lost"]);
        assert!(strays(&there[..2], &names(&["a"])).is_empty(), "a-b's may be a's");
    }
}
