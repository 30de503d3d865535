//! tcpdump on a device in a namespace of a cluster.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use super::lab::Cluster;
use super::words;

/// A tcpdump that listens.
pub struct Dump {
    child: Child,
    /// Kept open, for tcpdump counts its packets there when it ends.
    _errors: BufReader<ChildStderr>,
}

impl Dump {
    /// With these options (`-lnne`), on this device, until it has seen so many packets of the filter's.
    pub fn on(
        cluster: &Cluster,
        (ns, device): (&str, &str),
        options: &str,
        packets: u32,
        filter: &str,
    ) -> Result<Dump, String> {
        let seconds = super::patience(Duration::from_secs(20)).as_secs().to_string();
        let mut child = Command::new("ip")
            .args(["netns", "exec", &cluster.netns(ns), "timeout", &seconds, "tcpdump", options, "-i", device])
            .args(["-c", &packets.to_string()])
            .args(filter.split(' '))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot run tcpdump: {e}"))?;
        let mut errors = BufReader::new(child.stderr.take().ok_or("no stderr")?);
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            if errors.read_line(&mut line).map_err(words)? == 0 {
                return Err(format!("tcpdump on {device} in {ns} did not start"));
            }
        }
        Ok(Dump { child, _errors: errors })
    }

    /// What it printed, when it has seen its packets.
    pub fn text(self) -> Result<String, String> {
        Ok(String::from_utf8_lossy(&self.child.wait_with_output().map_err(words)?.stdout).into_owned())
    }
}
