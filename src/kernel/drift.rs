//! What a live namespace has lost of its plan, or has beyond it: links, addresses, routes, neighbours, rules, sets.

#![expect(clippy::disallowed_methods, reason = "asks the tools for what the kernel has loaded")]

use std::collections::BTreeSet;
use std::process::Command;

use super::netns::{self, Netns};
use super::read::{self, Live, LiveLink};
use super::{files, ipvs as balancer, remove, restore as restore_tool};
use crate::error::{Error, Kind, Result};
use crate::names;
use crate::plan::facts::{self, Drift};
use crate::plan::{Family, Link, LinkKind, Namespace, Plan, aside, ebtables, ipvs, line, nft, restore};

/// The tables that iptables, arptables and ebtables make where they work by nf_tables.
const IPTABLES_TABLES: [&str; 6] = ["raw", "mangle", "nat", "filter", "security", "broute"];

/// Every difference between the plan and the kernel, namespace by namespace in the plan's order.
///
/// # Errors
/// If a namespace cannot be read; one that is not there is a difference and no error.
pub fn of(plan: &Plan) -> Result<Vec<Drift>> {
    let live = remove::owned(&plan.cluster, netns::list(&names::netns_prefix(&plan.cluster))?)?;
    let mut drift = Vec::new();
    for ns in &plan.namespaces {
        if live.contains(&ns.netns) {
            drift.extend(of_namespace(&plan.cluster, ns)?);
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
    let mut live = read::namespace(handle.file())?;
    let others = std::mem::take(&mut live.others);
    let mut live = live_facts(ns, live);
    live.extend(others);
    Ok(facts::compare(&ns.name, &facts::facts(ns), &live))
}

fn of_namespace(cluster: &str, ns: &Namespace) -> Result<Vec<Drift>> {
    let mut drift = of_routing(ns)?;
    drift.extend(of_rules(cluster, ns)?);
    Ok(drift)
}

/// The differences of one namespace's rules, sets and files alone.
///
/// # Errors
/// If the namespace is not there, or a tool fails.
pub fn of_rules(cluster: &str, ns: &Namespace) -> Result<Vec<Drift>> {
    let mut drift = Vec::new();
    if restore_tool::has_any(ns) {
        let live = netns::inside(netns::open(&ns.netns)?.file(), || loaded(ns))??;
        drift.extend(facts::compare(&ns.name, &planned_rules(ns), &live));
    }
    if !ns.files.is_empty() {
        let planned = ns.files.iter().map(facts::file_fact).collect();
        drift.extend(facts::compare(&ns.name, &planned, &files::facts(cluster, ns)?));
    }
    Ok(drift)
}

/// The facts of a plan's rules and sets, for the tools that it has anything for.
fn planned_rules(ns: &Namespace) -> BTreeSet<String> {
    let mut facts = rule_facts("", &restore::iptables_restore(&ns.tables));
    facts.extend(rule_facts("ip6 ", &restore::iptables_restore(&ns.tables6)));
    if !ns.ebtables.is_empty() {
        facts.extend(rule_facts("eb ", &ebtables::ebtables_restore(&ns.ebtables)));
    }
    facts.extend(facts::set_facts(&restore::ipset_restore(&ns.sets)));
    facts.extend(line::facts(ns));
    facts.extend(nft::facts::of_tables(&ns.nft));
    facts.extend(ns.ipvs.iter().flat_map(ipvs::facts));
    facts
}

/// The same of what is loaded, asked of the tools that the plan has anything for.
fn loaded(ns: &Namespace) -> Result<BTreeSet<String>> {
    let mut facts = BTreeSet::new();
    if !ns.tables.is_empty() || !ns.sets.is_empty() {
        facts.extend(rule_facts("", &restore::normalised(&dump(ns.backend.save(Family::Inet), &[])?)));
        facts.extend(facts::set_facts(&dump("ipset", &["save"])?));
    }
    if !ns.tables6.is_empty() {
        facts.extend(rule_facts("ip6 ", &restore::normalised(&dump(ns.backend.save(Family::Inet6), &[])?)));
    }
    if !ns.ebtables.is_empty() {
        facts.extend(rule_facts("eb ", &restore::normalised(&dump("ebtables-save", &[])?)));
    }
    if line::loses(ns) {
        facts.extend(line::facts_of(&dump("nft", &["list", "ruleset", "netdev"])?));
    }
    if let Some(planned) = &ns.ipvs {
        facts.extend(ipvs::live_facts(planned, &balancer::read()?));
    }
    if !ns.nft.is_empty() {
        facts.extend(nft_facts(ns)?);
    }
    Ok(facts)
}

/// The facts of the tables of nftables that are there; of those that the plan has not, that they are.
pub(super) fn nft_facts(ns: &Namespace) -> Result<BTreeSet<String>> {
    let mut facts = BTreeSet::new();
    for (table, is_planned) in nft_tables(ns)? {
        match is_planned {
            true => facts.extend(nft::facts::of_listing(&list_table(&table)?)),
            false => drop(facts.insert(format!("nft table {table}"))),
        }
    }
    Ok(facts)
}

/// The tables of nftables that are there, each with whether the plan has it; those of iptables and its like by nf_tables
/// are not among them.
fn nft_tables(ns: &Namespace) -> Result<Vec<(String, bool)>> {
    let planned: BTreeSet<String> = ns.nft.iter().map(nft::text::place).collect();
    let list = dump("nft", &["list", "tables"])?;
    let names = list.lines().filter_map(|line| line.strip_prefix("table "));
    // What loses a line's packets is of the family netdev, and read by itself.
    let others = |place: &str| {
        place.split_once(' ').is_some_and(|(family, name)| family == "netdev" || IPTABLES_TABLES.contains(&name))
    };
    Ok(names.filter(|name| !others(name)).map(|name| (name.to_owned(), planned.contains(name))).collect())
}

/// What `nft list table` prints of a table, of which it is known that it is there.
fn list_table(place: &str) -> Result<String> {
    let words: Vec<&str> = ["list", "table"].into_iter().chain(place.split(' ')).collect();
    dump("nft", &words)
}

/// What iptables-save, ip6tables-save, `ipset save`, `ipvsadm -Sn` and `nft list` print of a namespace, by the command's name; counters are zero.
///
/// # Errors
/// If the namespace is not there, or a tool is missing or fails.
pub fn saved(ns: &Namespace) -> Result<Vec<(String, String)>> {
    let handle = netns::open(&ns.netns)?;
    netns::inside(handle.file(), || {
        let rules = |tool: &str| Ok::<_, Error>((tool.to_owned(), restore::normalised(&dump(tool, &[])?)));
        let mut all = vec![rules(ns.backend.save(Family::Inet))?];
        if !ns.tables6.is_empty() {
            all.push(rules(ns.backend.save(Family::Inet6))?);
        }
        if !ns.sets.is_empty() {
            all.push(("ipset save".to_owned(), dump("ipset", &["save"])?));
        }
        if ns.ipvs.is_some() {
            all.push(("ipvsadm -Sn".to_owned(), balancer::read()?.restore()));
        }
        for (table, _) in if ns.nft.is_empty() { Vec::new() } else { nft_tables(ns)? } {
            all.push((format!("nft list table {table}"), list_table(&table)?));
        }
        Ok(all)
    })?
}

/// The facts of what was read, which say no more of each link than the plan does.
pub(super) fn live_facts(planned: &Namespace, live: Live) -> BTreeSet<String> {
    let quiet = !aside::addresses(planned).is_empty();
    let expected = |name: &str| quiet && aside::is_quiet(aside::MODULES_DEVICE, name);
    let links = live.links.into_iter().filter(|link| !expected(&link.name));
    let links = links.filter_map(|link| as_link(planned.link(&link.name), link)).collect();
    let Live { routes, neighbours, fdb, policy, .. } = live;
    // Not the plan's own copy: the rules of a node may be many, and are no part of this.
    let bare = Namespace::new("", &planned.name, &planned.hostname, planned.role.clone());
    facts::facts(&Namespace { links, routes, neighbours, fdb, policy, ..bare })
}

fn as_link(planned: Option<&Link>, live: LiveLink) -> Option<Link> {
    let Some(planned) = planned else {
        // Modules such as ipip put a device into every new namespace; it is down and has no address.
        let made_by_kernel = !live.up && live.addresses.is_empty();
        let kind = LinkKind::Bridge;
        return (!made_by_kernel).then(|| Link {
            up: live.up,
            qdisc: live.qdisc,
            addresses: live.addresses,
            ..Link::new(&live.name, kind)
        });
    };
    let kind = match (&planned.kind, live.vxlan) {
        (_, Some(vxlan)) => LinkKind::Vxlan(vxlan),
        (LinkKind::Vxlan(_), None) => LinkKind::Bridge,
        (kind, None) => kind.clone(),
    };
    Some(Link {
        kind,
        mtu: planned.mtu.map(|_| live.mtu),
        mac: planned.mac.and(live.mac),
        master: live.master,
        up: live.up,
        promiscuous: live.promiscuous,
        hairpin: live.hairpin,
        qdisc: live.qdisc,
        addresses: live.addresses,
        ..planned.clone()
    })
}

/// The rules of a dump by table and place in their chain, with `family` before the table's name, and the policies.
fn rule_facts(family: &str, rules: &str) -> BTreeSet<String> {
    let mut table = "";
    let mut placed = Vec::new();
    let mut policies = BTreeSet::new();
    for line in rules.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some(rest) = line.strip_prefix("-A ") {
            let chain = rest.split(' ').next().unwrap_or_default();
            placed.push((format!("{table} {chain}"), format!("{family}{table}: {line}")));
        } else if let Some((chain, "DROP")) = line.strip_prefix(':').map(policy) {
            policies.insert(format!("policy of {family}{table} {chain}: DROP"));
        }
    }
    let mut facts = facts::numbered(placed.iter().map(|(place, line)| (place.as_str(), line.as_str())));
    facts.extend(policies);
    facts
}

/// The chain and the policy of `FORWARD DROP [0:0]`.
fn policy(line: &str) -> (&str, &str) {
    let mut words = line.split(' ');
    (words.next().unwrap_or_default(), words.next().unwrap_or_default())
}

/// The output of a tool in the calling thread's namespace.
pub(super) fn dump(tool: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(tool).args(arguments).output().map_err(|e| restore_tool::missing(tool, e))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::new(Kind::Tool, format!("{tool} failed ({})", output.status)).because(words));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{facts, rule_facts};

    #[test]
    fn a_changed_order_and_a_changed_policy_are_differences() {
        let one = rule_facts("", "*nat\n:INPUT DROP [0:0]\n:a - [0:0]\n-A a -j x\n-A a -j y\nCOMMIT\n");
        let other = rule_facts("", "*nat\n:INPUT ACCEPT [0:0]\n:a - [0:0]\n-A a -j y\n-A a -j x\nCOMMIT\n");
        let differ: Vec<&str> = one.difference(&other).map(String::as_str).collect();
        assert_eq!(differ, ["policy of nat INPUT: DROP", "rule 1: nat: -A a -j x", "rule 2: nat: -A a -j y"]);
    }

    #[test]
    fn a_changed_member_is_a_difference_and_a_set_s_size_is_none() {
        let one = facts::set_facts("create s hash:net family inet\nadd s 10.0.0.0/8\n");
        let other = facts::set_facts("create s hash:net bucketsize 12\nadd s 10.0.0.0/9\n");
        assert_eq!(one.difference(&other).collect::<Vec<_>>(), ["set: add s 10.0.0.0/8"]);
    }
}
