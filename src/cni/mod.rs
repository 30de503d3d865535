//! From a cluster to its plan: one file per CNI mode. PURE.
//!
//! A mode is a function from [`Cluster`] to [`Plan`]. What modes share is in modules of its own: the `underlay`,
//! the Calico family (`calico`), the rules of Felix ([`felix`]). To add a mode: a variant of
//! [`Mode`], a file of the mode's name here, and a line in [`needs`] and `flavour`.

mod calico;
mod calico_ipip;
pub mod felix;
mod underlay;

use std::collections::BTreeMap;

use crate::error::{Error, Kind, Result};
use crate::ipam::Ipam;
use crate::names;
use crate::plan::{Datapath, Plan};
use crate::topology::{Cluster, Mode};

/// What a mode needs from the kernel and its tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// veth pairs.
    Veth,
    /// Bridges, for the underlay's switches.
    Bridge,
    /// iptables-restore with the matches that Felix uses.
    Iptables,
    /// ipset.
    Ipset,
    /// IP in IP devices; the agent's TUN engine can stand in.
    Ipip,
}

/// What `mode` needs from the kernel and its tools.
pub fn needs(mode: Mode) -> &'static [Need] {
    match mode {
        Mode::CalicoIpip => &[Need::Veth, Need::Bridge, Need::Iptables, Need::Ipset, Need::Ipip],
    }
}

/// The plan of a cluster, made by its CNI mode.
///
/// # Errors
/// `Topology` if addresses do not suffice, or two things would have the same name.
pub fn plan(cluster: &Cluster, datapath: Datapath) -> Result<Plan> {
    let plan = calico::plan(cluster, datapath, flavour(cluster.network.mode))?;
    check_names(&plan)?;
    Ok(plan)
}

/// The addresses of a cluster: its pools' blocks, whose they are, and what is in use.
///
/// # Errors
/// As [`plan`].
pub fn ipam(cluster: &Cluster) -> Result<Ipam> {
    calico::ipam(cluster, flavour(cluster.network.mode))
}

/// What makes a mode of Calico's that mode.
fn flavour(mode: Mode) -> &'static calico::Flavour {
    match mode {
        Mode::CalicoIpip => &calico_ipip::FLAVOUR,
    }
}

/// Refuses a plan in which two namespaces would share a name under /run/netns, or one is too long for a file.
fn check_names(plan: &Plan) -> Result<()> {
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for ns in &plan.namespaces {
        if ns.netns.len() > names::NETNS_NAME_MAX {
            let long = format!("{}: the namespace name {} is longer than {} bytes", ns.name, ns.netns, names::NETNS_NAME_MAX);
            return Err(Error::new(Kind::Topology, long).hint("shorten the name of the cluster or of the pod"));
        }
        if let Some(other) = taken.insert(&ns.netns, &ns.name) {
            let clash = format!("{other} and {} would both be the namespace {}", ns.name, ns.netns);
            return Err(Error::new(Kind::Topology, clash).hint("rename one of them"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
