//! Processes that are not our children: held by a pidfd, so that a pid that was given to another process in
//! the meantime can never be hit.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

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
            Err(Errno::ESRCH | Errno::EINVAL) => Ok(None),
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
        bytes
            .split(|b| *b == 0)
            .filter(|word| !word.is_empty())
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect()
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
        self.signal(Signal::SIGKILL)
    }

    /// Sends it a signal; a process that has ended is no error.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let nothing = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: the descriptor is ours and open; a null siginfo asks for the default one.
        let sent =
            unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.fd.as_raw_fd(), signal as i32, nothing, 0) };
        match Errno::result(sent) {
            Ok(_) | Err(Errno::ESRCH) => Ok(()),
            Err(e) => Err(Error::new(Kind::Permission, format!("cannot end process {}", self.pid)).because(e)),
        }
    }
}

/// Gives memory back to the machine that was allocated and is free again.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) may be called at any time, by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Raises this process's limit of open files to what it may have: a shell's 1,024 are too few for a thousand
/// namespaces.
///
/// # Errors
/// If the kernel refuses.
pub fn raise_file_limit() -> Result<()> {
    let cannot = |e: Errno| Error::io("cannot raise the limit of open files", e);
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(cannot)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(cannot)
}

/// Root's processes with these arguments, the program's own name first.
///
/// # Errors
/// If /proc cannot be read.
pub fn of_arguments(arguments: &[&str]) -> Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").map_err(|e| Error::io("cannot read /proc", e))? {
        let entry = entry.map_err(|e| Error::io("cannot read /proc", e))?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // A process that ends just now has no owner to look at.
        if entry.metadata().is_ok_and(|there| there.uid() == 0) {
            found.extend(Process::open(pid)?.filter(|process| process.arguments() == arguments));
        }
    }
    Ok(found)
}

/// The processes that are in one of these named network namespaces, but for the calling one: programs of `exec`
/// and of containers, and whatever else was started in there.
///
/// # Errors
/// If /proc cannot be read.
pub fn inhabitants(names: &[String]) -> Result<Vec<Process>> {
    let place = |path: String| fs::metadata(path).ok().map(|there| (there.dev(), there.ino()));
    // A name whose namespace is not bound (yet, or any more) has nobody inside.
    let ours: BTreeSet<_> = names.iter().filter_map(|name| place(format!("{}/{name}", names::NETNS_DIR))).collect();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").map_err(|e| Error::io("cannot read /proc", e))? {
        let entry = entry.map_err(|e| Error::io("cannot read /proc", e))?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // Kernel threads and processes that end just now have no namespace to look at.
        let inside = || place(format!("/proc/{pid}/ns/net")).is_some_and(|there| ours.contains(&there));
        if pid.unsigned_abs() == std::process::id() || !inside() {
            continue;
        }
        // Looked at once more with the handle open: the pid may have passed to another process in between.
        found.extend(Process::open(pid)?.filter(|_| inside()));
    }
    Ok(found)
}
