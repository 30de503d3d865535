//! Services by real connections: where each of them goes is seen on the wire, and held against the ways that the plan
//! leaves open.
//!
//! A packet to a Service is known by what address translation leaves alone: a SYN by its sequence number, a datagram by
//! the mark in it, an INIT of SCTP by the streams that it offers. What a node asks itself is translated before it is seen; there the packet is put back to what its
//! program sent. The first of the connections that reached an endpoint is compared frame by frame (new destination, new
//! source, lengths, tunnels); all of them are counted, and how often each endpoint was chosen is tested against equal
//! chances ([`chance`]).
//!
//! Nobody waits alone: the first packets of many paths are under way together, so that those that must not be answered
//! are silent together; and the ends of affinities are waited for together at the end.

mod association;
mod chance;
mod connect;
mod judge;
mod lab;
mod sight;
mod trial;

use std::net::IpAddr;

use super::Options;
use super::report::CheckReport;
use crate::error::Result;
use crate::kernel::features;
use crate::packet::Mark;
use crate::plan::Plan;
use crate::predict;
use lab::Lab;

/// A way to a Service that is to be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePath {
    /// What it is about: `service-cluster-ip`.
    pub name: String,
    /// The sender's name inside the cluster.
    pub from: String,
    /// The Service and its port, for the report.
    pub to: String,
    /// The address that is asked.
    pub address: IpAddr,
    /// The port that is asked.
    pub port: u16,
    /// By which protocol.
    pub protocol: Protocol,
    /// Whether to test how connections are spread over the endpoints.
    pub spread: bool,
    /// Whether to ask until the sender, an endpoint itself, is sent back to itself.
    pub hairpin: bool,
    /// Seconds for which a client keeps its endpoint (`sessionAffinity: ClientIP`).
    pub keeps: Option<u32>,
}

/// What is asked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A connection.
    Tcp,
    /// A datagram.
    Udp,
    /// An association; where the kernel has no sockets for it, its first packet alone.
    Sctp,
}

impl Protocol {
    /// Its name in reports, which tells the families apart.
    fn name(self, is_v6: bool) -> &'static str {
        match (self, is_v6) {
            (Protocol::Tcp, false) => "tcp",
            (Protocol::Tcp, true) => "tcp6",
            (Protocol::Udp, false) => "udp",
            (Protocol::Udp, true) => "udp6",
            (Protocol::Sctp, false) => "sctp",
            (Protocol::Sctp, true) => "sctp6",
        }
    }
}

impl ServicePath {
    /// The first words of its report: name, sender, receiver and protocol.
    fn words(&self) -> [String; 4] {
        let protocol = self.protocol.name(self.address.is_ipv6());
        [format!("{}/{protocol}", self.name), self.from.clone(), self.to.clone(), protocol.to_owned()]
    }
}

/// Tries every path.
///
/// # Errors
/// If a namespace cannot be entered, the capture lost frames, or the plan makes a packet do what [`predict`] has no model
/// of.
pub fn run(plan: &Plan, paths: &[ServicePath], options: &Options) -> Result<Vec<CheckReport>> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let made = predict::as_made(plan, features::kernel());
    let speaks_sctp = paths.iter().any(|path| path.protocol == Protocol::Sctp) && features::has_sctp()?;
    let mut lab = Lab::open(made.as_ref(), options.patience, speaks_sctp)?;
    let reports = trial::all(&mut lab, paths)?;
    lab.complete()?;
    Ok(reports)
}

/// The mark of a datagram: of this process and its `number`-th.
fn mark(number: u32) -> Mark {
    Mark(std::process::id() << 16 ^ number)
}
