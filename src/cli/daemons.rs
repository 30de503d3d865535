//! Daemons of nodes that run as they are: those that a plan wants and that are not there.

use crate::agent::{DaemonStatus, Status};
use crate::plan::Plan;
use crate::plan::facts::{self, Drift};

/// The processes that a plan's nodes lack. They run under the agent, so without one all of them are missing.
pub(super) fn lost(plan: &Plan, agent: Option<&Status>) -> Vec<Drift> {
    let runs = |node: &str, name: &str| {
        let here = |daemon: &DaemonStatus| daemon.node == node && daemon.name == name && daemon.pid.is_some();
        agent.is_some_and(|agent| agent.daemons.iter().any(here))
    };
    let wanted = plan.namespaces.iter().flat_map(|ns| ns.birds.iter().map(move |bird| (ns, bird.name())));
    let lost = wanted.filter(|(ns, name)| !runs(&ns.hostname, name));
    lost.map(|(ns, name)| Drift::Missing { namespace: ns.name.clone(), fact: facts::process_fact(name) }).collect()
}

/// `bird on node-1: process 4711, started 2 times, ended last with signal 9`.
pub(super) fn describe(daemon: &DaemonStatus) -> String {
    let now = daemon.pid.map_or_else(|| "not running".to_owned(), |pid| format!("process {pid}"));
    let again = if daemon.starts > 1 { format!(", started {} times", daemon.starts) } else { String::new() };
    let end = daemon.end.as_ref().map(|end| format!(", ended last with {end}")).unwrap_or_default();
    format!("{} on {}: {now}{again}{end}", daemon.name, daemon.node)
}
