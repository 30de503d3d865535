//! The one door into network namespaces: everything that enters one, or opens a socket in one, does it here.
//!
//! No thread of the caller is ever moved. [`inside`] runs work on a throw-away thread that enters the
//! namespace and ends there, so that a panic or an early return cannot leave a thread in the wrong place. A
//! socket belongs for ever to the namespace in which it was opened, so it can be opened inside and used
//! outside.

use std::os::fd::AsFd;
use std::path::PathBuf;

use netns_rs::{Env, NetNs};
use nix::sched::{CloneFlags, setns};

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
    NetNs::get_from_env(name, RunNetns)
        .map_err(|e| Error::new(Kind::Io, format!("cannot open network namespace {name}")).because(e))
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

/// Moves the calling thread into `ns`, for good. Only for threads that end in it and for a child process
/// between fork and exec.
///
/// # Errors
/// If the kernel refuses, which it does without CAP_SYS_ADMIN.
pub fn enter(ns: impl AsFd) -> Result<()> {
    setns(ns, CloneFlags::CLONE_NEWNET)
        .map_err(|e| Error::new(Kind::Permission, "cannot enter a network namespace").because(e))
}
