//! What the live kernel holds beside what the plan says.

use std::collections::BTreeSet;
use std::fs::File;
use std::process::{Command, Stdio};

use super::{netns, read};
use crate::error::{Error, Kind, Result};
use crate::plan::facts::{self, Drift};
use crate::plan::{Link, LinkKind, Namespace, Plan, restore};

/// Every difference between a plan and the kernel: links, addresses, routes, neighbours, sets and rules.
///
/// # Errors
/// If a namespace cannot be read for another reason than that it is gone; a namespace that is gone is a
/// difference.
pub fn of(plan: &Plan) -> Result<Vec<Drift>> {
    let mut drifts = Vec::new();
    for namespace in &plan.namespaces {
        let Ok(handle) = netns::open(&namespace.netns) else {
            let fact = format!("network namespace {}", namespace.netns);
            drifts.push(Drift::Missing { namespace: namespace.name.clone(), fact });
            continue;
        };
        let context = |e: Error| e.within(&namespace.name);
        let mut live = live_facts(namespace, handle.file()).map_err(context)?;
        let mut planned = facts::facts(namespace);
        if !namespace.tables.is_empty() || !namespace.sets.is_empty() {
            planned.extend(facts::numbered(&restore::iptables_restore(&namespace.tables)));
            planned.extend(members(&restore::ipset_restore(&namespace.sets)));
            live.extend(facts::numbered(&restore::normalised(&dump(&["iptables-save"], handle.file()).map_err(context)?)));
            live.extend(members(&dump(&["ipset", "save"], handle.file()).map_err(context)?));
        }
        drifts.extend(facts::compare(&namespace.name, &planned, &live));
    }
    Ok(drifts)
}

fn live_facts(namespace: &Namespace, ns: &File) -> Result<BTreeSet<String>> {
    let live = read::namespace(ns)?;
    let mut found = BTreeSet::new();
    for link in &live.links {
        let planned = namespace.link(&link.name);
        // What nobody asked for and is down is the kernel's own (`tunl0` where ipip is loaded).
        if planned.is_none() && !link.up {
            continue;
        }
        // Only what the plan decides is compared; the rest is the kernel's choice.
        let shown = Link {
            mac: link.mac.filter(|_| planned.is_none_or(|p| p.mac.is_some())),
            mtu: Some(link.mtu).filter(|_| planned.is_none_or(|p| p.mtu.is_some())),
            master: link.master.clone(),
            up: link.up,
            ..Link::new(&link.name, planned.map_or(LinkKind::Bridge, |p| p.kind.clone()))
        };
        found.insert(facts::link_fact(&shown));
        found.extend(link.addresses.iter().map(|address| facts::address_fact(&link.name, address)));
    }
    found.extend(live.routes.iter().map(facts::route_fact));
    found.extend(live.neighbours.iter().map(facts::neighbour_fact));
    Ok(found)
}

/// The members of sets as facts.
fn members(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| line.strip_prefix("add ")).map(|member| format!("set {member}")).collect()
}

/// The output of a tool that prints what a namespace holds.
fn dump(argv: &[&str], ns: &File) -> Result<String> {
    netns::inside(ns, || {
        let mut command = Command::new(argv[0]);
        let output = command.args(&argv[1..]).stdin(Stdio::null()).output();
        let output = output.map_err(|e| Error::new(Kind::Unsupported, format!("cannot run {}", argv[0])).because(e))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Error::new(Kind::Tool, format!("{} failed ({})", argv.join(" "), output.status)).because(words))
    })?
}
