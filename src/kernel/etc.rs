//! The files that `ip netns exec` and minik show a namespace's programs in place of the host's: resolv.conf,
//! hosts and hostname under /etc/netns/`<name>`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::error::{Error, Result};
use crate::names;
use crate::plan::{self, Namespace, Plan};

/// Writes the files of every namespace in the plan.
///
/// # Errors
/// If one cannot be written.
pub fn write(plan: &Plan) -> Result<()> {
    plan.namespaces.iter().try_for_each(write_one)
}

/// Writes the files of one namespace.
///
/// # Errors
/// As [`write()`].
pub fn write_one(namespace: &Namespace) -> Result<()> {
    let dir = Path::new(names::ETC_NETNS_DIR).join(&namespace.netns);
    let cannot = |e| Error::io(format!("cannot write {}", dir.display()), e);
    fs::create_dir_all(&dir).map_err(cannot)?;
    for (name, content) in plan::etc_files(namespace) {
        fs::write(dir.join(name), content).map_err(cannot)?;
    }
    Ok(())
}

/// Removes a namespace's files, and the directory of all such files if it was the last.
///
/// # Errors
/// If they cannot be removed.
pub fn remove(netns: &str) -> Result<()> {
    let dir = Path::new(names::ETC_NETNS_DIR).join(netns);
    gone(fs::remove_dir_all(&dir)).map_err(|e| Error::io(format!("cannot remove {}", dir.display()), e))
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
