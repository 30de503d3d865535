//! Waiting until the kernel has really freed network namespaces.
//!
//! A namespace without a name and without users still has its devices for some ten milliseconds, until the
//! kernel's one worker for that has come to it. Nothing tells when. But the worker takes namespaces in the
//! order in which they were given up, so a sentinel that is given up after all others is freed last, and a
//! user namespace's own limit (`user.max_net_namespaces`) shows when that is: while the sentinel counts,
//! another namespace is refused.

#![expect(clippy::disallowed_methods, reason = "makes the sentinel namespace, in processes of its own")]

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, pipe};

use crate::error::{Error, Kind, Result};

/// How long the kernel may take to free everything that was given up.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often the limit is tried, in milliseconds; a refusal costs a microsecond.
const STEP_MS: u8 = 1;

/// A namespace to be given up last, with a process that knows when it is gone.
#[derive(Debug)]
pub struct Sentinel {
    watcher: Pid,
    /// Closing it gives the sentinel up.
    hold: Option<OwnedFd>,
    /// The watcher writes a byte here when the sentinel is gone, or closes it when it cannot tell.
    word: OwnedFd,
}

impl Sentinel {
    /// Sets the sentinel up. The calling process must have one thread only.
    ///
    /// # Errors
    /// If the process cannot be made.
    pub fn place() -> Result<Sentinel> {
        let (hold_end, hold) = pipe().map_err(|e| Error::io("cannot make a pipe", e))?;
        let (word, word_end) = pipe().map_err(|e| Error::io("cannot make a pipe", e))?;
        // SAFETY: the process has one thread, so the child may do anything that the parent may.
        match unsafe { fork() }.map_err(|e| Error::io("cannot start a process", e))? {
            ForkResult::Parent { child } => Ok(Sentinel { watcher: child, hold: Some(hold), word }),
            ForkResult::Child => {
                drop((hold, word));
                let seen = end_with_parent().and_then(|()| watch(&hold_end)).is_some();
                if seen {
                    let _ = nix::unistd::write(&word_end, b"g");
                }
                // SAFETY: ends the child at once, without running the parent's exit handlers.
                unsafe { libc::_exit(0) }
            }
        }
    }

    /// Gives the sentinel up and waits until it is freed, and with it all that was given up before.
    ///
    /// # Errors
    /// If the kernel does not get there in a minute, or user namespaces are not to be had.
    pub fn wait(mut self) -> Result<()> {
        self.hold.take();
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.word.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
                Ok(0) => return Err(Error::new(Kind::Io, "the kernel has not freed the namespaces within 60 s")),
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(e) => return Err(Error::io("cannot wait for the namespaces to be freed", e)),
            }
        }
        let mut byte = [0u8; 1];
        let told = nix::unistd::read(&self.word, &mut byte).is_ok_and(|n| n == 1);
        if told { Ok(()) } else { Err(Error::new(Kind::Unsupported, "cannot watch namespaces being freed here")) }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.hold.take();
        let _ = waitpid(self.watcher, None);
    }
}

/// A killed `down` shall leave no process behind.
fn end_with_parent() -> Option<()> {
    set_pdeathsig(Signal::SIGKILL).ok()
}

/// In the watcher: makes the sentinel in a grandchild, lets it live until `hold` is closed, and tries the limit
/// until there is room again. None if the kernel does not allow this.
fn watch(hold: &OwnedFd) -> Option<()> {
    unshare(CloneFlags::CLONE_NEWUSER).ok()?;
    std::fs::write("/proc/sys/user/max_net_namespaces", "1").ok()?;
    let (ready, ready_end) = pipe().ok()?;
    // SAFETY: this process was made by fork and has one thread.
    match unsafe { fork() }.ok()? {
        ForkResult::Child => {
            if end_with_parent().is_some() && unshare(CloneFlags::CLONE_NEWNET).is_ok() {
                let _ = nix::unistd::write(&ready_end, b"r");
                wait_closed(hold);
            }
            // SAFETY: as above.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            drop(ready_end);
            let mut byte = [0u8; 1];
            let made = std::fs::File::from(ready).read(&mut byte).is_ok_and(|n| n == 1);
            waitpid(child, None).ok()?;
            if !made {
                return None;
            }
        }
    }
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        match unshare(CloneFlags::CLONE_NEWNET) {
            Ok(()) => return Some(()),
            Err(Errno::ENOSPC | Errno::EUSERS) => {
                let _ = poll(&mut [], PollTimeout::from(STEP_MS));
            }
            Err(_) => return None,
        }
    }
    None
}

/// Returns when the other end of a pipe is closed by everyone.
fn wait_closed(pipe: &OwnedFd) {
    let mut byte = [0u8; 1];
    // SAFETY: reads into a buffer of this size; the descriptor is open.
    while unsafe { libc::read(pipe.as_raw_fd(), byte.as_mut_ptr().cast(), 1) } < 0 && Errno::last() == Errno::EINTR {}
}
