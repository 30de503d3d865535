//! What a live namespace has lost of its plan, or has beyond it: links, addresses, routes, neighbours, rules, sets.

#![expect(clippy::disallowed_methods, reason = "asks the tools for what the kernel has loaded")]

use std::collections::BTreeSet;
use std::process::Command;

use super::netns::{self, Netns};
use super::read::{self, Live, LiveLink};
use super::{remove, restore as restore_tool};
use crate::error::{Error, Kind, Result};
use crate::names;
use crate::plan::facts::{self, Drift};
use crate::plan::{Link, LinkKind, Namespace, Plan, aside, restore};

/// Every difference between the plan and the kernel, namespace by namespace in the plan's order.
///
/// # Errors
/// If a namespace cannot be read; one that is not there is a difference and no error.
pub fn of(plan: &Plan) -> Result<Vec<Drift>> {
    let live = remove::owned(&plan.cluster, netns::list(&names::netns_prefix(&plan.cluster))?)?;
    let mut drift = Vec::new();
    for ns in &plan.namespaces {
        if live.contains(&ns.netns) {
            drift.extend(of_namespace(ns)?);
        } else {
            drift.push(Drift::Missing { namespace: ns.name.clone(), fact: format!("network namespace {}", ns.netns) });
        }
    }
    let planned: BTreeSet<&str> = plan.namespaces.iter().map(|ns| ns.netns.as_str()).collect();
    let extra = live.iter().filter(|name| !planned.contains(name.as_str()));
    drift.extend(extra.map(|name| Drift::Extra { namespace: name.clone(), fact: "network namespace".to_owned() }));
    Ok(drift)
}

/// The differences of one namespace's links, addresses, routes and neighbours alone, which needs no tool.
///
/// # Errors
/// If the namespace is not there or cannot be read.
pub fn of_routing(ns: &Namespace) -> Result<Vec<Drift>> {
    routing(ns, &netns::open(&ns.netns)?)
}

fn routing(ns: &Namespace, handle: &Netns) -> Result<Vec<Drift>> {
    let live = as_namespace(ns, read::namespace(handle.file())?);
    Ok(facts::compare(&ns.name, &facts::facts(ns), &facts::facts(&live)))
}

fn of_namespace(ns: &Namespace) -> Result<Vec<Drift>> {
    let handle = netns::open(&ns.netns)?;
    let mut drift = routing(ns, &handle)?;
    if !ns.tables.is_empty() || !ns.sets.is_empty() {
        let (rules, sets) = netns::inside(handle.file(), || (dump("iptables-save", &[]), dump("ipset", &["save"])))?;
        let planned = rule_facts(&restore::iptables_restore(&ns.tables), &restore::ipset_restore(&ns.sets));
        drift.extend(facts::compare(&ns.name, &planned, &rule_facts(&restore::normalised(&rules?), &sets?)));
    }
    Ok(drift)
}

/// What was read, as a namespace that says no more of each link than the plan does.
fn as_namespace(planned: &Namespace, live: Live) -> Namespace {
    let tunnels = || planned.links.iter().filter(|link| link.kind == LinkKind::Ipip);
    let unexpected = |name: &str| !tunnels().any(|tunnel| aside::is_quiet(&tunnel.name, name));
    let links = live.links.into_iter().filter(|link| unexpected(&link.name));
    let links = links.filter_map(|link| as_link(planned.link(&link.name), link)).collect();
    Namespace { links, routes: live.routes, neighbours: live.neighbours, ..planned.clone() }
}

fn as_link(planned: Option<&Link>, live: LiveLink) -> Option<Link> {
    let Some(planned) = planned else {
        // Modules such as ipip put a device into every new namespace; it is down and has no address.
        let made_by_kernel = !live.up && live.addresses.is_empty();
        let kind = LinkKind::Bridge;
        return (!made_by_kernel).then(|| Link {
            up: live.up,
            addresses: live.addresses,
            ..Link::new(&live.name, kind)
        });
    };
    Some(Link {
        mtu: planned.mtu.map(|_| live.mtu),
        mac: planned.mac.and(live.mac),
        master: live.master,
        up: live.up,
        addresses: live.addresses,
        ..planned.clone()
    })
}

/// The rules by table and place in their chain, and the members of the sets.
fn rule_facts(rules: &str, sets: &str) -> BTreeSet<String> {
    let mut table = "";
    let mut placed = Vec::new();
    for line in rules.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some(rest) = line.strip_prefix("-A ") {
            let chain = rest.split(' ').next().unwrap_or_default();
            placed.push((format!("{table} {chain}"), format!("{table}: {line}")));
        }
    }
    let mut facts = facts::numbered(placed.iter().map(|(place, line)| (place.as_str(), line.as_str())));
    // Sizes and hash seeds are the kernel's own affair.
    let words = |line: &str| line.split(' ').take(3).collect::<Vec<_>>().join(" ");
    facts.extend(sets.lines().filter(|line| !line.is_empty()).map(|line| format!("set: {}", words(line))));
    facts
}

/// The output of a tool in the calling thread's namespace.
fn dump(tool: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(tool).args(arguments).output().map_err(|e| restore_tool::missing(tool, e))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::new(Kind::Tool, format!("{tool} failed ({})", output.status)).because(words));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::rule_facts;

    #[test]
    fn a_changed_order_and_a_changed_member_are_differences() {
        let one =
            rule_facts("*nat\n-A a -j x\n-A a -j y\nCOMMIT\n", "create s hash:net family inet\nadd s 10.0.0.0/8\n");
        let other =
            rule_facts("*nat\n-A a -j y\n-A a -j x\nCOMMIT\n", "create s hash:net bucketsize 12\nadd s 10.0.0.0/9\n");
        let differ: Vec<&str> = one.difference(&other).map(String::as_str).collect();
        assert_eq!(differ, ["rule 1: nat: -A a -j x", "rule 2: nat: -A a -j y", "set: add s 10.0.0.0/8"]);
    }
}
