//! Handles of processes that cannot come to mean another process when a number is used again.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::error::{Error, Result};

/// A handle of the process `pid`; none if there is no such process. It can be polled: readable means ended.
///
/// # Errors
/// If the kernel refuses for another reason.
pub fn open(pid: u32) -> Result<Option<OwnedFd>> {
    // SAFETY: a system call with integers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
    match Errno::result(fd) {
        // SAFETY: the kernel has just given us this descriptor.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })),
        Err(Errno::ESRCH | Errno::EINVAL) => Ok(None),
        Err(e) => Err(Error::io(format!("cannot open process {pid}"), e)),
    }
}

/// Sends `signal`; a process that has ended is no error.
///
/// # Errors
/// If the kernel refuses.
pub fn signal(process: BorrowedFd<'_>, signal: Signal) -> Result<()> {
    let none: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: the descriptor is open and the null pointer asks for a plain signal.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal as i32, none, 0) };
    match Errno::result(result) {
        Ok(_) | Err(Errno::ESRCH) => Ok(()),
        Err(e) => Err(Error::io("cannot signal a process", e)),
    }
}
