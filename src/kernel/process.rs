//! Processes that are not our children: held by a pidfd, so that a pid that was given to another process in
//! the meantime can never be hit.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::netns;
use crate::error::{Error, Kind, Result};
use crate::names;

/// A process of this machine.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    fd: OwnedFd,
}

impl Process {
    /// The process of this pid; none if there is none.
    ///
    /// # Errors
    /// If the kernel refuses a pidfd for another reason.
    pub fn open(pid: i32) -> Result<Option<Process>> {
        // SAFETY: the call takes two integers and touches no memory of ours.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        match Errno::result(fd) {
            // SAFETY: the kernel just gave us this descriptor, and nobody else knows it.
            Ok(fd) => Ok(Some(Process { pid, fd: unsafe { OwnedFd::from_raw_fd(fd as i32) } })),
            Err(Errno::ESRCH) => Ok(None),
            Err(e) => Err(Error::new(Kind::Io, format!("cannot watch process {pid}")).because(e)),
        }
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its command line; empty if it has ended.
    pub fn arguments(&self) -> Vec<String> {
        let bytes = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        bytes.split(|b| *b == 0).filter(|word| !word.is_empty()).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    /// Waits until it has ended, at most for `deadline`; says whether it has.
    ///
    /// # Errors
    /// If the kernel refuses to wait.
    pub fn wait(&self, deadline: Duration) -> Result<bool> {
        let timeout = PollTimeout::try_from(deadline).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut fds, timeout) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::EINTR) => {}
                Err(e) => return Err(Error::new(Kind::Io, format!("cannot wait for process {}", self.pid)).because(e)),
            }
        }
    }

    /// Sends it SIGKILL; a process that has ended is no error.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn kill(&self) -> Result<()> {
        let nothing = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: the descriptor is ours and open; a null siginfo asks for the default one.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.fd.as_raw_fd(), libc::SIGKILL, nothing, 0) };
        match Errno::result(sent) {
            Ok(_) | Err(Errno::ESRCH) => Ok(()),
            Err(e) => Err(Error::new(Kind::Permission, format!("cannot end process {}", self.pid)).because(e)),
        }
    }
}

/// The processes that are in a network namespace whose name under /run/netns begins with `prefix`, but for the
/// calling one: programs of `exec` and of containers, wherever their parents are.
///
/// # Errors
/// If /proc or /run/netns cannot be read.
pub fn inhabitants(prefix: &str) -> Result<Vec<Process>> {
    let mut ours = Vec::new();
    for name in netns::list(prefix)? {
        let path = format!("{}/{name}", names::NETNS_DIR);
        let there = fs::metadata(&path).map_err(|e| Error::io(format!("cannot look at {path}"), e))?;
        ours.push((there.dev(), there.ino()));
    }
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").map_err(|e| Error::io("cannot read /proc", e))? {
        let entry = entry.map_err(|e| Error::io("cannot read /proc", e))?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Some(process) = Process::open(pid)? else { continue };
        // Kernel threads and processes that end just now have no namespace to look at.
        let Ok(place) = fs::metadata(format!("/proc/{pid}/ns/net")) else { continue };
        if ours.contains(&(place.dev(), place.ino())) && pid.unsigned_abs() != std::process::id() {
            found.push(process);
        }
    }
    Ok(found)
}
