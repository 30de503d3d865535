//! What this kernel and this caller can do, found out by trying.

#![expect(clippy::disallowed_methods, reason = "tries the kernel in a scratch namespace, on a thread that ends there")]

use netlink_packet_route::RouteNetlinkMessage as Message;
use nix::sched::{CloneFlags, unshare};

use super::messages::{self, CREATE};
use super::netlink::{Batch, Rtnetlink};
use crate::error::{Error, Kind, Result};
use crate::plan::{Link, LinkKind};

/// Refuses a caller who may not make or enter network namespaces, nor see whether there are clusters.
///
/// # Errors
/// `Permission`, with what to do.
pub fn require_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::new(Kind::Permission, "minik needs root for this: its clusters are network namespaces")
        .hint("try it with sudo"))
}

/// Whether the kernel has IP in IP devices, loading its module if need be.
///
/// # Errors
/// If a scratch namespace cannot be made.
pub fn has_ipip() -> Result<bool> {
    scratch(|| {
        let mut rtnetlink = Rtnetlink::open()?;
        let mut batch = Batch::default();
        let probe = Link::new("minik-probe", LinkKind::Ipip);
        batch.push(Message::NewLink(messages::ipip(&probe, 0)), CREATE, "make an ipip device");
        // A module that was just loaded has made tunl0, and refuses a second device without a remote end
        // (EEXIST); a kernel without ipip says EOPNOTSUPP.
        match rtnetlink.send(batch) {
            Ok(()) => Ok(true),
            Err(error) => Ok(error.errno() == Some(libc::EEXIST)),
        }
    })?
}

/// Runs `work` in a namespace that is made for it and gone after it.
///
/// # Errors
/// If the namespace cannot be made.
///
/// # Panics
/// If `work` panics.
pub fn scratch<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| unshare(CloneFlags::CLONE_NEWNET).map(|()| work()));
        match thread.join() {
            Ok(result) => {
                result.map_err(|e| Error::new(Kind::Permission, "cannot make a scratch network namespace").because(e))
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
