//! The files that `ip netns exec` and minik show a namespace's programs in place of the host's: resolv.conf,
//! hosts and hostname under /etc/netns/`<name>`.
//!
//! /etc is on a disk, so that only a link is there; the files are with the cluster's others under /run/minik.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{memory, state};
use crate::error::{Error, Result};
use crate::names;
use crate::plan::{self, Namespace, Plan};

/// The directory of all these files of a cluster.
pub(super) fn directory(cluster: &str) -> PathBuf {
    state::dir(cluster).join("etc")
}

/// The directory of one namespace's files.
fn kept(cluster: &str, netns: &str) -> PathBuf {
    directory(cluster).join(netns.strip_prefix(&names::netns_prefix(cluster)).unwrap_or(netns))
}

/// Writes the files of every namespace in the plan.
///
/// # Errors
/// If one cannot be written.
pub fn write(plan: &Plan) -> Result<()> {
    memory::make(&directory(&plan.cluster))?;
    plan.namespaces.iter().try_for_each(|namespace| write_one(&plan.cluster, namespace))
}

/// Writes the files of one namespace.
///
/// # Errors
/// As [`write()`].
pub fn write_one(cluster: &str, namespace: &Namespace) -> Result<()> {
    let dir = kept(cluster, &namespace.netns);
    let cannot = |e| Error::io(format!("cannot write {}", dir.display()), e);
    fs::create_dir_all(&dir).map_err(cannot)?;
    for (name, content) in plan::etc_files(namespace) {
        fs::write(dir.join(name), content).map_err(cannot)?;
    }
    link(&namespace.netns, &dir)
}

/// Makes `/etc/netns/<netns>` lead to `dir`, whatever was there of that name.
fn link(netns: &str, dir: &Path) -> Result<()> {
    let name = Path::new(names::ETC_NETNS_DIR).join(netns);
    let cannot = |e| Error::io(format!("cannot make {}", name.display()), e);
    match symlink(dir, &name) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            if fs::read_link(&name).is_ok_and(|there| there == dir) {
                return Ok(());
            }
            remove(netns)?;
            symlink(dir, &name).map_err(cannot)
        }
        made => made.map_err(cannot),
    }
}

/// Takes a namespace's files away from `/etc/netns`. Those of a cluster go with its other files, or by [`remove_kept`].
///
/// # Errors
/// If they cannot be removed.
pub fn remove(netns: &str) -> Result<()> {
    let name = Path::new(names::ETC_NETNS_DIR).join(netns);
    let removed = match fs::remove_file(&name) {
        // A directory, as the script of `minik plan --as shell` makes it.
        Err(e) if e.kind() == ErrorKind::IsADirectory => fs::remove_dir_all(&name),
        removed => removed,
    };
    gone(removed).map_err(|e| Error::io(format!("cannot remove {}", name.display()), e))
}

/// Removes the files of a namespace of a cluster that stays.
///
/// # Errors
/// As [`remove`].
pub fn remove_kept(cluster: &str, netns: &str) -> Result<()> {
    let kept = kept(cluster, netns);
    gone(fs::remove_dir_all(&kept)).map_err(|e| Error::io(format!("cannot remove {}", kept.display()), e))?;
    remove(netns)
}

/// The namespaces whose name begins with `prefix` and that have files, sorted.
///
/// # Errors
/// If the directory is there and cannot be read.
pub fn list(prefix: &str) -> Result<Vec<String>> {
    let entries = match fs::read_dir(names::ETC_NETNS_DIR) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| Error::io(format!("cannot read {}", names::ETC_NETNS_DIR), e))?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    names.sort();
    Ok(names)
}

fn gone(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
