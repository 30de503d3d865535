//! The two directories of the host that minik shares with `ip netns`: /run/netns and /etc/netns.
//!
//! They may not be there before the first cluster, and are then taken away again with the last one. A mark
//! beside the clusters' records says which of them minik made; a lock on the directory of records keeps an
//! `up` that begins from a `down` that ends.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

use super::{netns, state};
use crate::error::{Error, Result};
use crate::names;

/// Makes both directories, and remembers which of them were not there. The caller holds its cluster's lock,
/// so the directory of records exists.
///
/// # Errors
/// If one cannot be made.
pub fn prepare() -> Result<()> {
    let _guard = lock()?;
    for dir in [names::NETNS_DIR, names::ETC_NETNS_DIR] {
        if !Path::new(dir).exists() {
            let mark = mark(dir);
            fs::write(&mark, "").map_err(|e| Error::io(format!("cannot write {}", mark.display()), e))?;
        }
    }
    fs::create_dir_all(names::ETC_NETNS_DIR)
        .map_err(|e| Error::io(format!("cannot make {}", names::ETC_NETNS_DIR), e))?;
    netns::prepare_directory()
}

/// After a cluster's directory was removed: takes away what [`prepare`] made, if no cluster is left and nobody
/// else uses it.
///
/// # Errors
/// If a directory that is ours and empty cannot be removed.
pub fn release() -> Result<()> {
    if !Path::new(state::ROOT).exists() {
        return Ok(());
    }
    let _guard = lock()?;
    if !state::list()?.is_empty() {
        return Ok(());
    }
    for dir in [names::NETNS_DIR, names::ETC_NETNS_DIR] {
        let mark = mark(dir);
        if mark.exists() {
            if !remove_unused(dir)? {
                continue;
            }
            tolerate(fs::remove_file(&mark)).map_err(|e| Error::io(format!("cannot remove {}", mark.display()), e))?;
        }
    }
    tolerate(fs::remove_dir(state::ROOT)).map_err(|e| Error::io(format!("cannot remove {}", state::ROOT), e))
}

fn mark(dir: &str) -> PathBuf {
    Path::new(state::ROOT).join(format!("made{}", dir.replace('/', "-")))
}

fn lock() -> Result<File> {
    let cannot = |e| Error::io(format!("cannot lock {}", state::ROOT), e);
    let file = File::open(state::ROOT).map_err(cannot)?;
    file.lock().map_err(cannot)?;
    Ok(file)
}

/// Unmounts and removes a directory, unless something is in it: what is a cluster's will go yet, which gives false, and
/// what is others' makes the directory theirs.
fn remove_unused(dir: &str) -> Result<bool> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(true),
        entries => entries.map_err(|e| Error::io(format!("cannot read {dir}"), e))?,
    };
    let names: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    if !names.is_empty() {
        return Ok(!names.iter().any(|name| name.to_string_lossy().starts_with("minik-")));
    }
    // The open directory, closed by now, would keep its own mount busy. It is a mount on itself if `ip netns` or we made it one; a busy or plain directory stays as it is.
    while umount2(dir, MntFlags::empty()).is_ok() {}
    tolerate(fs::remove_dir(dir)).map(|()| true).map_err(|e| Error::io(format!("cannot remove {dir}"), e))
}

/// Takes "not there" and "somebody uses it" for success.
fn tolerate(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty | ErrorKind::ResourceBusy) => {
            Ok(())
        }
        result => result,
    }
}
