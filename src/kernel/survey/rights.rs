//! What the caller may do: each right is used once, where nobody else can see it.

#![expect(clippy::disallowed_methods, reason = "tries to make namespaces, on a thread that ends there")]

use std::fs;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use super::Outcome;
use super::catalogue::Right;
use super::devices;
use crate::kernel::netlink::Rtnetlink;

/// A setting of the calling thread's own namespace, and what it is in a new one.
const SETTING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Whether the caller has this right. Administration, raw sockets and settings are for a thread in a scratch namespace.
pub(super) fn attempt(right: Right) -> Outcome {
    let tried = match right {
        Right::Root => match nix::unistd::geteuid() {
            user if user.is_root() => Ok(String::new()),
            user => Err(format!("the user's number is {user}")),
        },
        Right::Namespaces => alone(|| Ok(())),
        Right::Mounts => may_mount_here().and_then(|()| alone(bind_a_namespace)),
        Right::Administration => {
            let up = Rtnetlink::open().and_then(|mut rtnetlink| devices::loopback_up(&mut rtnetlink));
            up.map(|()| String::new()).map_err(|error| error.to_string())
        }
        Right::RawSockets => packet_socket().map(|_| String::new()).map_err(|e| format!("no packet socket: {e}")),
        Right::Settings => {
            let write = fs::read(SETTING).and_then(|value| fs::write(SETTING, value));
            write.map(|()| String::new()).map_err(|e| format!("cannot write {SETTING}: {e}"))
        }
    };
    tried.map_err(|why| why.replace('\n', "; "))
}

/// What gives the right to somebody who lacks it.
pub(super) fn cure(right: Right) -> &'static str {
    match right {
        Right::Root => "run it as root, with sudo",
        Right::Namespaces => "it takes CAP_SYS_ADMIN; in a container start it with --privileged",
        Right::Mounts => "it takes CAP_SYS_ADMIN, and a sandbox that lets it mount",
        Right::Administration => "it takes CAP_NET_ADMIN",
        Right::RawSockets => "it takes CAP_NET_RAW",
        Right::Settings => "`mount -o remount,rw /proc/sys`; in a container start it with --privileged",
    }
}

/// Does `work` on a thread with namespaces of its own, of networks and of mounts.
fn alone(work: fn() -> nix::Result<()>) -> Outcome {
    let apart = CloneFlags::CLONE_NEWNET;
    let thread = std::thread::spawn(move || unshare(apart).and_then(|()| work()));
    match thread.join() {
        Ok(outcome) => outcome.map(|()| String::new()).map_err(|e| e.to_string()),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Whether the kernel lets the caller mount where it is: root of a user namespace may in a mount namespace of its own,
/// and not in that of the machine. Asked with a mount that lacks its source, which who may is told, and nothing happens.
fn may_mount_here() -> Result<(), String> {
    let none = None::<&str>;
    match mount(none, "/run", none, MsFlags::MS_BIND, none) {
        Err(Errno::EINVAL) => Ok(()),
        Err(e) => Err(format!("cannot mount: {e}")),
        Ok(()) => Err("the kernel took a mount without a source".to_owned()),
    }
}

/// Gives the thread's namespace a name as `up` does, by a mount that nobody else sees.
fn bind_a_namespace() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("minik"), "/run", Some("tmpfs"), MsFlags::empty(), none)?;
    let name = "/run/minik-probe";
    fs::write(name, "").map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))?;
    mount(Some("/proc/thread-self/ns/net"), name, Some("none"), MsFlags::MS_BIND, none)
}

fn packet_socket() -> nix::Result<OwnedFd> {
    socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None::<SockProtocol>)
}
