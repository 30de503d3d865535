//! The names under which programs on a node find the iptables of that node's flavour: links in a directory of the
//! cluster's, which comes first in their PATH.

use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::PathBuf;

use super::state;
use crate::error::{Error, Result};
use crate::plan::Backend;

/// The PATH of programs on a node whose iptables is of this flavour; none where it is the machine's own.
///
/// # Errors
/// If the links cannot be made.
pub fn path(cluster: &str, backend: Backend) -> Result<Option<String>> {
    let machines = std::env::var("PATH").unwrap_or_default();
    let names = backend.renamed();
    if names.is_empty() {
        return Ok(None);
    }
    let directory = state::dir(cluster).join(format!("iptables-{backend:?}").to_lowercase());
    let cannot = |e| Error::io(format!("cannot make {}", directory.display()), e);
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&directory).map_err(cannot)?;
    let find = |program: &str| -> Option<PathBuf> {
        std::env::split_paths(&machines).map(|directory| directory.join(program)).find(|path| path.is_file())
    };
    for (name, program) in names {
        // One that is not installed is not found under its own name either.
        let Some(program) = find(&program) else { continue };
        match symlink(program, directory.join(name)) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(cannot(e)),
            _ => {}
        }
    }
    Ok(Some(format!("{}:{machines}", directory.display())))
}
