//! Programs of the host that run as containers: started in their pod's place, watched, and killed with the agent.
//!
//! All of them are started by one thread that lives as long as the agent, because the kernel's parent death signal
//! goes by thread: if the agent dies, however it dies, its programs die too and hold no port that the next agent
//! needs.

#![expect(clippy::disallowed_methods, reason = "the door for programs in pods")]

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;

use crate::error::{Error, Kind, Result};
use crate::kernel::place::{HostMounts, Place};

/// A program to be started.
#[derive(Debug)]
pub(super) struct Program {
    /// Its cluster's name.
    pub(super) cluster: String,
    /// Name of the pod's namespace under /run/netns.
    pub(super) netns: String,
    /// The pod's host name.
    pub(super) hostname: String,
    /// The program and its arguments.
    pub(super) argv: Vec<String>,
    /// Variables beside those of the agent.
    pub(super) env: Vec<(String, String)>,
    /// The file that takes its output.
    pub(super) log: PathBuf,
}

/// Programs to start, and where to say what became of each.
type Batch = (Vec<Program>, mpsc::Sender<Vec<Result<Child>>>);

/// The thread that starts the programs. Dropping it kills those that still run.
#[derive(Debug)]
pub(super) struct Nursery {
    batches: mpsc::Sender<Batch>,
}

impl Nursery {
    /// The thread, with nothing to do yet.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(super) fn open(runtime: Handle) -> Result<Nursery> {
        let (batches, orders) = mpsc::channel::<Batch>();
        let work = move || {
            let _inside = runtime.enter();
            let host = HostMounts::of_this_thread();
            for (programs, report) in orders {
                let children = programs.iter().map(|program| start_one(program, host.as_ref())).collect();
                // Whoever asked goes away only with the agent itself; then there is nobody left to tell.
                let _ = report.send(children);
            }
        };
        std::thread::Builder::new()
            .name("minik-nursery".to_owned())
            .spawn(work)
            .map_err(|e| Error::io("cannot start a thread", e))?;
        Ok(Nursery { batches })
    }

    /// Starts programs; for each its process, or why it could not be started.
    ///
    /// # Errors
    /// If the thread is gone.
    pub(super) fn start(&self, programs: Vec<Program>) -> Result<Vec<Result<Child>>> {
        let gone = || Error::new(Kind::Io, "cannot start programs: the thread that does it is gone");
        let (report, started) = mpsc::channel();
        self.batches.send((programs, report)).map_err(|_| gone())?;
        started.recv().map_err(|_| gone())
    }
}

fn start_one(program: &Program, host: Result<&HostMounts, &Error>) -> Result<Child> {
    host.map_err(|e| Error::new(e.kind(), e.to_string()))?.enter()?;
    Place { netns: &program.netns, hostname: &program.hostname, cluster: &program.cluster }.settle()?;
    let log = open_log(&program.log)?;
    let again = log.try_clone().map_err(|e| Error::io("cannot share a log", e))?;
    let mut command = Command::new(&program.argv[0]);
    command
        .args(&program.argv[1..])
        .envs(program.env.iter().map(|(key, value)| (key, value)))
        .env("HOSTNAME", &program.hostname)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(again)
        .process_group(0);
    // SAFETY: prctl(2) is a plain system call, safe between fork and exec.
    unsafe { command.pre_exec(|| set_pdeathsig(Signal::SIGKILL).map_err(Into::into)) };
    command.spawn().map_err(|e| Error::io(format!("cannot run {}", program.argv[0]), e))
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, with this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl End {
    /// The exit code as a shell gives it: 128 and the signal's number for a signal.
    pub(super) fn code(self) -> i32 {
        match self {
            End::Code(code) => code,
            End::Signal(number) => 128 + number,
        }
    }
}

/// Waits for a program's end.
pub(super) async fn end_of(mut child: Child) -> std::io::Result<End> {
    let status = child.wait().await?;
    Ok(status.code().map_or_else(|| End::Signal(status.signal().unwrap_or_default()), End::Code))
}

/// Kills a program and all that it started in its process group.
pub(super) fn kill(pid: u32) {
    // It may have ended by itself in this moment.
    let _ = killpg(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
}

/// Writes into a container's log why its program could not be started.
pub(super) fn note(log: &Path, error: &Error) -> Result<()> {
    writeln!(open_log(log)?, "{error}").map_err(|e| Error::io(format!("cannot write {}", log.display()), e))
}

/// Opens a container's log for appending, making its directory.
fn open_log(path: &Path) -> Result<File> {
    let cannot = |e| Error::io(format!("cannot open {}", path.display()), e);
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(cannot)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(cannot)
}
