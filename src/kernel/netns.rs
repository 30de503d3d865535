//! The one door into network namespaces: everything that enters one, or opens a socket in one, does it here.
//!
//! No thread of the caller is ever moved. [`inside`] runs work on a throw-away thread that enters the
//! namespace and ends there, so that a panic or an early return cannot leave a thread in the wrong place. A
//! socket belongs for ever to the namespace in which it was opened, so it can be opened inside and used
//! outside.

#![expect(clippy::disallowed_methods, reason = "the one door into network namespaces")]

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use netns_rs::{Env, NetNs};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::linkat;

use super::netlink::Rtnetlink;
use crate::error::{Error, Kind, Result};
use crate::names;

/// The directory of named namespaces that `ip netns` uses.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunNetns;

impl Env for RunNetns {
    fn persist_dir(&self) -> PathBuf {
        PathBuf::from(names::NETNS_DIR)
    }
}

/// An open, named network namespace.
pub type Netns = NetNs<RunNetns>;

/// Opens the namespace of this name under /run/netns.
///
/// # Errors
/// If there is none of that name, or it cannot be opened.
pub fn open(name: &str) -> Result<Netns> {
    NetNs::get_from_env(name, RunNetns).map_err(|e| {
        if !RunNetns.persist_dir().join(name).exists() {
            return Error::new(Kind::Io, format!("network namespace {name} is not there"))
                .hint("`minik status` says what else is missing, and `minik up --replace` builds the cluster anew");
        }
        Error::new(Kind::Io, format!("cannot open network namespace {name}")).because(e)
    })
}

/// Runs `work` in the namespace `ns`, on a thread made for it, and gives back its value.
///
/// # Errors
/// If the thread cannot be made or cannot enter the namespace. `work`'s own result comes back as it is.
///
/// # Panics
/// If `work` panics.
pub fn inside<T: Send>(ns: impl AsFd + Send, work: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("minik-inside".to_owned())
            .spawn_scoped(scope, || enter(ns).map(|()| work()))
            .map_err(|e| Error::io("cannot start a thread", e))?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Runs `work` for every one of `stops` in the namespace that `name` gives for it, one after the other on one
/// throw-away thread: for opening sockets in very many namespaces.
///
/// # Errors
/// If the thread cannot be made, or a namespace cannot be opened or entered; `work` was then done for those before
/// it, and what it returned is dropped.
///
/// # Panics
/// If `work` panics.
pub fn tour<S: Sync, T: Send>(
    stops: &[S],
    name: impl Fn(&S) -> &str + Send,
    mut work: impl FnMut(&S) -> T + Send,
) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let walk = move || stops.iter().map(|stop| enter(open(name(stop))?.file()).map(|()| work(stop))).collect();
        let thread = std::thread::Builder::new()
            .name("minik-tour".to_owned())
            .spawn_scoped(scope, walk)
            .map_err(|e| Error::io("cannot start a thread", e))?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Moves the calling thread into `ns`, for good. Only for threads that end in it and for a child process
/// between fork and exec.
///
/// # Errors
/// If the kernel refuses, which it does without CAP_SYS_ADMIN.
pub fn enter(ns: impl AsFd) -> Result<()> {
    setns(ns, CloneFlags::CLONE_NEWNET)
        .map_err(|e| Error::new(Kind::Permission, "cannot enter a network namespace").because(e))
}

/// A namespace that was just made: its name is bound under /run/netns and both handles are open.
#[derive(Debug)]
pub struct Fresh {
    /// The namespace itself.
    pub fd: OwnedFd,
    /// An rtnetlink socket that was opened in it.
    pub rtnetlink: Rtnetlink,
}

/// The empty files over which namespaces are mounted: one file with many names, since to make and remove a name costs
/// less than to make and remove a file, much less where /run is on a disk.
#[derive(Debug, Default)]
pub struct Places(Option<File>);

impl Places {
    fn make(&mut self, path: &Path) -> std::io::Result<()> {
        if let Some(first) = &self.0 {
            let open = format!("/proc/thread-self/fd/{}", first.as_raw_fd());
            match linkat(AT_FDCWD, open.as_str(), AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW) {
                Ok(()) => return Ok(()),
                Err(Errno::EEXIST) => return Err(Errno::EEXIST.into()),
                // A file system that does not know of such names, or only of so many.
                Err(_) => {}
            }
        }
        self.0 = Some(OpenOptions::new().write(true).create_new(true).mode(0o444).open(path)?);
        Ok(())
    }
}

/// Makes a namespace and moves the calling thread into it, for good: for a thread that makes namespaces one
/// after the other and then ends. Nothing has to enter them again later.
///
/// # Errors
/// If the name is taken, or the kernel refuses.
pub fn create_and_enter(name: &str, places: &mut Places) -> Result<Fresh> {
    let cannot = |step: &str, e: nix::Error| {
        let kind = if e == nix::Error::EPERM { Kind::Permission } else { Kind::Io };
        Error::new(kind, format!("cannot {step} network namespace {name}")).because(e)
    };
    let path = RunNetns.persist_dir().join(name);
    unshare(CloneFlags::CLONE_NEWNET).map_err(|e| cannot("make", e))?;
    places.make(&path).map_err(|e| Error::io(format!("cannot make {}", path.display()), e))?;
    let own = "/proc/thread-self/ns/net";
    mount(Some(own), &path, Some("none"), MsFlags::MS_BIND, None::<&str>).map_err(|e| cannot("name", e))?;
    let fd = File::open(own).map_err(|e| Error::io(format!("cannot open {own}"), e))?;
    Ok(Fresh { fd: fd.into(), rtnetlink: Rtnetlink::open()? })
}

/// Makes /run/netns ready for names, as `ip netns add` does: a directory that is a shared mount.
///
/// # Errors
/// If it cannot be made or mounted.
pub fn prepare_directory() -> Result<()> {
    RunNetns.init().map_err(|e| Error::new(Kind::Permission, format!("cannot prepare {}", names::NETNS_DIR)).because(e))
}

/// The names under /run/netns that begin with `prefix`, sorted.
///
/// # Errors
/// If the directory is there and cannot be read.
pub fn list(prefix: &str) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(names::NETNS_DIR) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| Error::io(format!("cannot read {}", names::NETNS_DIR), e))?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    names.sort();
    Ok(names)
}
