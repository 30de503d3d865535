//! A procfs of minik's own, attached nowhere, through which the sysctls of many new namespaces are set.
//!
//! The kernel's cache of file names has one chain for the `net/ipv4` of all namespaces together, so that the first look
//! into the thousandth namespace's /proc/sys/net walks past the 999 others. A procfs that was just made has none in it,
//! and goes before they are many.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

/// Namespaces whose sysctls are set through one procfs; a new one costs as much as a namespace's own part of it.
const NAMESPACES_MAX: usize = 64;

/// `FSOPEN_CLOEXEC`, `FSMOUNT_CLOEXEC`, `FSCONFIG_CMD_CREATE` and the flags nosuid, nodev and noexec (linux/mount.h).
const CLOEXEC: libc::c_uint = 1;
const CMD_CREATE: libc::c_uint = 6;
const MOUNT_ATTRIBUTES: libc::c_uint = 0x2 | 0x4 | 0x8;

/// The procfs, or the machine's own where another cannot be had.
#[derive(Debug, Default)]
pub(super) struct Procfs {
    root: Option<OwnedFd>,
    namespaces: usize,
}

impl Procfs {
    /// From now on the sysctls of another namespace are meant.
    pub(super) fn next_namespace(&mut self) {
        if self.namespaces.is_multiple_of(NAMESPACES_MAX) {
            self.root = None;
            // Kernels before 5.2 have none of these calls, and a container may forbid them: /proc then does as well.
            self.root = make().ok();
        }
        self.namespaces += 1;
    }

    /// What a file of /proc holds, by its whole path, for the calling thread.
    pub(super) fn read(&self, path: &str) -> io::Result<String> {
        let mut text = String::new();
        self.open(path, OFlag::O_RDONLY)?.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Writes a file of /proc, by its whole path, for the calling thread.
    pub(super) fn write(&self, path: &str, value: &str) -> io::Result<()> {
        self.open(path, OFlag::O_WRONLY | OFlag::O_TRUNC)?.write_all(value.as_bytes())
    }

    fn open(&self, path: &str, how: OFlag) -> io::Result<File> {
        match (&self.root, path.strip_prefix("/proc/")) {
            (Some(root), Some(within)) => {
                Ok(openat(root.as_fd(), within, how | OFlag::O_CLOEXEC, Mode::empty())?.into())
            }
            _ => fs::OpenOptions::new().read(how == OFlag::O_RDONLY).write(how != OFlag::O_RDONLY).open(path),
        }
    }
}

fn make() -> io::Result<OwnedFd> {
    const PROC: &CStr = c"proc";
    // SAFETY: the string ends with a zero and outlives the call, which gives a new descriptor or -1.
    let context = unsafe { owned(libc::syscall(libc::SYS_fsopen, PROC.as_ptr(), CLOEXEC)) }?;
    let (raw, none) = (std::os::fd::AsRawFd::as_raw_fd(&context), std::ptr::null::<libc::c_void>());
    // SAFETY: this command takes neither key nor value.
    if unsafe { libc::syscall(libc::SYS_fsconfig, raw, CMD_CREATE, none, none, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: three numbers go in, and a new descriptor or -1 comes out.
    unsafe { owned(libc::syscall(libc::SYS_fsmount, raw, CLOEXEC, MOUNT_ATTRIBUTES)) }
}

/// The descriptor that a system call gave.
///
/// # Safety
/// It is nobody else's.
unsafe fn owned(given: libc::c_long) -> io::Result<OwnedFd> {
    match libc::c_int::try_from(given) {
        // SAFETY: the caller says so.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn says_what_proc_says() {
        let mut own = Procfs::default();
        let path = "/proc/sys/kernel/ostype";
        let plain = own.read(path).unwrap();
        own.next_namespace();
        assert_eq!((own.read(path).unwrap(), plain.trim()), (plain.clone(), "Linux"));
        assert_eq!(own.read("/proc/sys/kernel/none").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
