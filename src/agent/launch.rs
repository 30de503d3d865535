//! The starting side: how `up` starts an agent and hands it its orders.

#![expect(clippy::disallowed_methods, reason = "the door by which the agent is started")]

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Orders, control, log_path, orders_path};
use crate::error::{Error, Kind, Result};

/// How long the agent may take until everything is served: a thousand pods take less than one second.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// The agent's answer to its orders.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Answer {
    /// Everything is served.
    Ready,
    /// It could not be, and the agent ends.
    Failed(String),
}

/// An agent that was started and waits for its orders. Dropping this ends the agent.
#[derive(Debug)]
pub struct Launch {
    cluster: String,
    channel: UnixStream,
}

/// Starts the agent of a cluster; it loads and then waits for its orders. The cluster's directory must be there,
/// and the calling program must be minik, which is started again.
///
/// # Errors
/// If the process cannot be started.
pub fn spawn(cluster: &str) -> Result<Launch> {
    let path = log_path(cluster);
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
    let log = log.map_err(|e| Error::io(format!("cannot open {}", path.display()), e))?;
    let cannot = |e| Error::io(format!("cannot start the agent of cluster {cluster}"), e);
    let (channel, theirs) = UnixStream::pair().map_err(cannot)?;
    let [name, arguments @ ..] = control::agent_arguments(cluster);
    Command::new("/proc/self/exe")
        .arg0(name)
        .args(arguments)
        .stdin(OwnedFd::from(theirs))
        .stdout(log.try_clone().map_err(cannot)?)
        .stderr(log)
        .current_dir("/")
        .spawn()
        .map_err(cannot)?;
    Ok(Launch { cluster: cluster.to_owned(), channel })
}

impl Launch {
    /// Gives the agent its orders and returns when all of it is served: ports open, tunnels attached, programs
    /// started.
    ///
    /// # Errors
    /// If the agent cannot serve it, dies, or does not answer within a minute. The agent is gone then, or ends
    /// soon, see [`stop`](super::stop).
    pub fn serve(self, orders: &Orders) -> Result<()> {
        let cluster = &self.cluster;
        let cannot = |e: std::io::Error| Error::io(format!("cannot give the agent of cluster {cluster} its orders"), e);
        let mut line = serde_json::to_vec(orders)
            .map_err(|e| Error::new(Kind::Io, "cannot write the agent's orders").because(e))?;
        line.push(b'\n');
        self.channel.set_read_timeout(Some(DEADLINE)).map_err(cannot)?;
        if let Err(e) = (&self.channel).write_all(&line) {
            return Err(self.died().unwrap_or_else(|| cannot(e)));
        }
        let mut answer = String::new();
        match BufReader::new(&self.channel).read_line(&mut answer) {
            Ok(0) => Err(self.died().unwrap_or_else(|| Error::new(Kind::Io, self.ended()))),
            Ok(_) => self.judge(&answer),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                let waited = format!("the agent of cluster {cluster} did not say within {DEADLINE:?} that it serves");
                Err(Error::new(Kind::Io, waited).hint(format!("see {}", log_path(cluster).display())))
            }
            Err(e) => Err(self.died().unwrap_or_else(|| cannot(e))),
        }
    }

    fn judge(&self, answer: &str) -> Result<()> {
        match serde_json::from_str(answer) {
            Ok(Answer::Ready) => Ok(()),
            Ok(Answer::Failed(why)) => {
                Err(Error::new(Kind::Io, format!("the agent of cluster {}: {why}", self.cluster)))
            }
            Err(e) => Err(Error::new(Kind::Io, "cannot read the agent's answer").because(e)),
        }
    }

    fn ended(&self) -> String {
        format!("the agent of cluster {} ended before it served", self.cluster)
    }

    /// The error of an agent that died, with the last line of its log as the reason.
    fn died(&self) -> Option<Error> {
        let text = fs::read_to_string(log_path(&self.cluster)).ok()?;
        let last = text.lines().last()?.to_owned();
        Some(Error::new(Kind::Io, self.ended()).because(last))
    }
}

/// Ends a cluster's agent, if there is one, and starts another with the same orders.
///
/// # Errors
/// If the old one does not end, the orders cannot be read, or the new one cannot serve.
pub fn restart(cluster: &str) -> Result<()> {
    let path = orders_path(cluster);
    let text = fs::read_to_string(&path).map_err(|e| {
        Error::io(format!("cannot read {}", path.display()), e)
            .hint("the cluster was never fully built: `minik down`, then `minik up`")
    })?;
    let orders: Orders = serde_json::from_str(&text)
        .map_err(|e| Error::new(Kind::Io, format!("{} is not an agent's orders", path.display())).because(e))?;
    control::stop(cluster)?;
    spawn(cluster)?.serve(&orders)
}
