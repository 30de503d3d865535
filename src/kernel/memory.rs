//! The many small files of a cluster lie in memory, as they do on a machine whose /run is a tmpfs.
//!
//! Where /run is on a disk, in a container for instance, thousands of them cost more than the namespaces that they are
//! for, to make and to remove; and they would outlive a reboot. A tmpfs of the cluster's own is then mounted over their
//! directory, and goes with it.

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use crate::error::{Error, Result};

/// Makes a directory whose files are in memory, if it is not there. Where the kernel refuses the mount they are on the
/// disk, which is only slower.
///
/// # Errors
/// If the directory cannot be made.
pub fn make(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(|e| Error::io(format!("cannot make {}", path.display()), e))?;
    if statfs(path).is_ok_and(|found| found.filesystem_type() != TMPFS_MAGIC) {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let _ = mount(Some("minik"), path, Some("tmpfs"), flags, Some("mode=755"));
    }
    Ok(())
}

/// Takes away what was mounted over such a directory. What is not there, or not mounted, is as it should be.
///
/// # Errors
/// If the kernel refuses.
pub fn release(path: &Path) -> Result<()> {
    loop {
        match umount2(path, MntFlags::MNT_DETACH) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(e) => return Err(Error::io(format!("cannot unmount {}", path.display()), e)),
        }
    }
}
