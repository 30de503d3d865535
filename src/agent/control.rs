//! The asking side of the control socket, and what is said over it: one line of JSON each way.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::launch::{self, Answer};
use super::orders::{Orders, Port};
use super::{lock_path, orders_path, socket_path};
use crate::error::{Error, Kind, Result};
use crate::kernel::process::{self, Process};
use crate::kernel::state;

/// How long an agent may take for an answer, and how long for its end before it is killed.
const DEADLINE: Duration = Duration::from_secs(5);

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "ask")]
pub(super) enum Request {
    /// A [`Status`].
    Status,
    /// To end; the answer is `{}`, and the process is gone soon after.
    Stop,
    /// To follow the orders that were written since; the answer is an [`Answer`].
    Reload,
}

/// How an agent is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its process.
    pub pid: u32,
    /// For how many seconds it has been serving.
    pub uptime: u64,
    /// The pods, in the order of the plan.
    pub pods: Vec<PodStatus>,
    /// The tunnels that it carries.
    pub tunnels: Vec<TunnelStatus>,
    /// The daemons of nodes that run as they are.
    #[serde(default)]
    pub daemons: Vec<DaemonStatus>,
    /// What daemons put back last, oldest first.
    #[serde(default)]
    pub healed: Vec<Healed>,
}

/// Something that was lost and that a daemon put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healed {
    /// How many such entries there were before this one since the agent's start, and one.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// The daemon whose work that is on a real node.
    pub daemon: String,
    /// The namespace's name inside the cluster.
    pub namespace: String,
    /// What, in the words of [`Drift`](crate::plan::facts::Drift).
    pub what: String,
    /// When it was lost, in milliseconds since 1970, if the agent saw that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
}

/// A daemon of a node that runs as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// The program: `bird`.
    pub name: String,
    /// The node's host name.
    pub node: String,
    /// Its process; none if it has ended.
    pub pid: Option<i32>,
    /// How it ended last, if it ever did: `signal 9`.
    pub end: Option<String>,
    /// How often it was started.
    pub starts: u32,
}

/// What runs in a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodStatus {
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its containers.
    pub containers: Vec<ContainerStatus>,
    /// The ports on which minik answers for it.
    pub answers: Vec<Port>,
}

/// How a container is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: State,
    /// The ports that its built-in app has open.
    pub ports: Vec<Port>,
}

/// How a container is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "is")]
pub enum State {
    /// A built-in app that listens, or nothing that could end.
    Running,
    /// A program of the host that runs.
    Program {
        /// Its process.
        pid: u32,
    },
    /// It never ran.
    Failed {
        /// Why.
        reason: String,
    },
    /// Its program ended.
    Exited {
        /// Its exit code; 128 and the signal's number if a signal ended it.
        code: i32,
    },
}

/// Counters of a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelStatus {
    /// Name of its namespace under /run/netns.
    pub netns: String,
    /// Its device.
    pub device: String,
    /// What it counted, by name.
    pub counters: Vec<(String, u64)>,
}

/// How a cluster's agent is; none if there is no agent.
///
/// # Errors
/// If an agent is there and does not answer.
pub fn status(cluster: &str) -> Result<Option<Status>> {
    let Some(line) = ask(cluster, Request::Status, DEADLINE)? else { return Ok(None) };
    serde_json::from_str(&line).map(Some).map_err(|e| {
        Error::new(Kind::Io, format!("cannot read the answer of the agent of cluster {cluster}")).because(e)
    })
}

/// Ends a cluster's agent and waits until its process is gone: by asking it, then by SIGKILL. Says whether
/// there was one. An agent whose files somebody removed is found by its arguments.
///
/// # Errors
/// If the process cannot be ended.
pub fn stop(cluster: &str) -> Result<bool> {
    let lost = || Ok(process::of_arguments(&agent_arguments(cluster))?.into_iter().next());
    let Some(agent) = holder(cluster)?.map_or_else(lost, |agent| Ok(Some(agent)))? else { return Ok(false) };
    // An agent that cannot be asked (it has no orders yet, or hangs) is killed below.
    let asked = matches!(ask(cluster, Request::Stop, DEADLINE), Ok(Some(_)));
    if asked && agent.wait(DEADLINE)? {
        return Ok(true);
    }
    agent.kill()?;
    if agent.wait(DEADLINE)? {
        return Ok(true);
    }
    let waited = format!(
        "the agent of cluster {cluster} (process {}) was killed and is still there after {DEADLINE:?}",
        agent.pid()
    );
    Err(Error::new(Kind::Io, waited))
}

/// The arguments of an agent's process, as `spawn` gives them.
pub(super) fn agent_arguments(cluster: &str) -> [&str; 5] {
    ["minik", "agent", "serve", "--cluster", cluster]
}

/// The process that holds the agent's lock; none if nobody does.
fn holder(cluster: &str) -> Result<Option<Process>> {
    let path = lock_path(cluster);
    let cannot = |e| Error::io(format!("cannot read {}", path.display()), e);
    let started = Instant::now();
    loop {
        let file = match File::open(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.map_err(cannot)?,
        };
        match file.try_lock_shared() {
            Ok(()) => return Ok(None),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(e)) => return Err(cannot(e)),
        }
        let text = std::io::read_to_string(&file).map_err(cannot)?;
        if let Ok(pid) = text.trim().parse()
            && let Some(process) = Process::open(pid)?
            && process.arguments() == agent_arguments(cluster)
        {
            return Ok(Some(process));
        }
        // It took the lock a moment ago and has not yet written its pid, or is going.
        if started.elapsed() > DEADLINE {
            let waited =
                format!("{} is locked and names no agent of cluster {cluster} after {DEADLINE:?}", path.display());
            return Err(Error::new(Kind::Conflict, waited));
        }
        std::thread::yield_now();
    }
}

/// Takes the agent's lock for the calling process and writes its pid; none if another agent has it.
pub(super) fn take_lock(cluster: &str) -> Result<Option<File>> {
    let path = lock_path(cluster);
    let cannot = |e| Error::io(format!("cannot lock {}", path.display()), e);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(e)) => return Err(cannot(e)),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(cannot)?;
    Ok(Some(file))
}

/// Gives a running agent new orders, and returns when it serves them. What is the same in both goes on undisturbed.
/// Without an agent the orders wait for the next one.
///
/// # Errors
/// If the agent cannot serve them: what it could, it serves.
pub fn follow(orders: &Orders) -> Result<()> {
    let cluster = &orders.cluster;
    let text = serde_json::to_vec(orders).map_err(|e| Error::new(Kind::Io, "cannot write orders").because(e))?;
    state::write_whole(&orders_path(cluster), &text)?;
    let Some(line) = ask(cluster, Request::Reload, launch::DEADLINE)? else { return Ok(()) };
    match serde_json::from_str(&line) {
        Ok(Answer::Ready) => Ok(()),
        Ok(Answer::Failed(why)) => Err(Error::new(Kind::Io, format!("the agent of cluster {cluster}: {why}"))),
        Err(e) => Err(Error::new(Kind::Io, "cannot read the agent's answer").because(e)),
    }
}

/// Asks an agent; none if there is no agent.
fn ask(cluster: &str, request: Request, patience: Duration) -> Result<Option<String>> {
    let path = socket_path(cluster);
    let cannot = |e| Error::io(format!("cannot ask the agent of cluster {cluster}"), e);
    let stream = match UnixStream::connect(&path) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
        stream => stream.map_err(cannot)?,
    };
    stream.set_read_timeout(Some(patience)).map_err(cannot)?;
    let mut line = serde_json::to_vec(&request).map_err(|e| cannot(e.into()))?;
    line.push(b'\n');
    (&stream).write_all(&line).map_err(cannot)?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).map_err(cannot)?;
    Ok(Some(answer))
}
