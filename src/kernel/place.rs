//! Where a program runs: a network namespace with the host name, /etc files and /sys that belong to it.
//!
//! The same as `ip netns exec` makes it (ip-netns(8)): files of /etc/netns/`<name>` stand in for those of /etc, and
//! /sys shows the devices of the namespace. Ours in addition are the host name, so that a program in a pod sees the
//! pod's name, and the files that a node has of its own ([`files`]).

#![expect(
    clippy::disallowed_methods,
    reason = "the door into a host name, a mount namespace and a network namespace together"
)]

use std::fs::{self, File};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::sethostname;

use super::{files, netns};
use crate::error::{Error, Kind, Result};
use crate::names;

/// The place of a program.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Name of its network namespace under /run/netns.
    pub netns: &'a str,
    /// What `hostname` says.
    pub hostname: &'a str,
    /// The cluster that it belongs to, whose files it has.
    pub cluster: &'a str,
}

/// The mounts as the host has them, kept so that one thread can settle in one place after another.
#[derive(Debug)]
pub struct HostMounts(File);

impl HostMounts {
    /// The mounts of the calling thread, which gets a root and working directory of its own: the kernel asks for
    /// that before a thread may change its mounts.
    ///
    /// # Errors
    /// If they cannot be held.
    pub fn of_this_thread() -> Result<HostMounts> {
        unshare(CloneFlags::CLONE_FS)
            .map_err(|e| Error::new(Kind::Permission, "cannot separate a thread's directories").because(e))?;
        let path = "/proc/thread-self/ns/mnt";
        File::open(path).map(HostMounts).map_err(|e| Error::io(format!("cannot open {path}"), e))
    }

    /// Moves the calling thread back to these mounts, before it settles elsewhere.
    ///
    /// # Errors
    /// If the kernel refuses, as it does for another thread than the one that made this.
    pub fn enter(&self) -> Result<()> {
        setns(&self.0, CloneFlags::CLONE_NEWNS)
            .map_err(|e| Error::new(Kind::Permission, "cannot enter the host's mount namespace").because(e))
    }
}

impl Place<'_> {
    /// Moves the calling thread here, for good: for a thread that then starts a program and ends, or a process
    /// that then becomes that program.
    ///
    /// # Errors
    /// If the namespace is not there, or the kernel refuses a step.
    pub fn settle(&self) -> Result<()> {
        let cannot = |step: &str, e: Errno| {
            let kind = if e == Errno::EPERM { Kind::Permission } else { Kind::Io };
            Error::new(kind, format!("cannot {step} for {}", self.netns)).because(e)
        };
        let ns = netns::open(self.netns)?;
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)
            .map_err(|e| cannot("make mount and host name namespaces", e))?;
        netns::enter(ns.file())?;
        sethostname(self.hostname).map_err(|e| cannot("set the host name", e))?;
        // Without this, what is mounted below would also be mounted on the host.
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none)
            .map_err(|e| cannot("separate the mounts", e))?;
        match umount2("/sys", MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(e) => return Err(cannot("unmount /sys", e)),
        }
        mount(Some(self.netns), "/sys", Some("sysfs"), MsFlags::empty(), none).map_err(|e| cannot("mount /sys", e))?;
        files::show(&files::directory(self.cluster, self.netns))?;
        self.bind_etc()
    }

    /// Binds every file of /etc/netns/`<name>` over the file of that name in /etc, where the host has one.
    fn bind_etc(&self) -> Result<()> {
        let directory = Path::new(names::ETC_NETNS_DIR).join(self.netns);
        let cannot = |e| Error::io(format!("cannot read {}", directory.display()), e);
        let entries = match fs::read_dir(&directory) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(cannot)?,
        };
        for entry in entries {
            let entry = entry.map_err(cannot)?;
            let target = Path::new("/etc").join(entry.file_name());
            // A file that the host does not have cannot be covered; a program finds nothing there, as on the host.
            if !target.exists() {
                continue;
            }
            mount(Some(&entry.path()), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>).map_err(|e| {
                Error::new(Kind::Io, format!("cannot bind {} over {}", entry.path().display(), target.display()))
                    .because(e)
            })?;
        }
        Ok(())
    }
}
