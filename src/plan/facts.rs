//! A namespace's state as lines that can be compared: what a plan says against what a kernel holds.
//!
//! Each line is one fact in iproute2's words, so that a difference reads as what is missing or what is extra:
//! `route 10.100.247.0/26 via 10.1.10.10 dev tunl0 proto bird onlink`.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::{Address, FdbEntry, File, Link, LinkKind, Namespace, Neighbour, PolicyRule, Qdisc, Route};

/// The facts of one namespace that minik answers for: links, addresses, routes, neighbours, FDB entries, policy rules.
/// What the kernel makes by itself (connected routes, link-local addresses) is not among them.
pub fn facts(namespace: &Namespace) -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    for link in &namespace.links {
        facts.insert(link_fact(link));
        facts.extend(link.qdisc.as_ref().map(|qdisc| qdisc_fact(&link.name, qdisc)));
        facts.extend(link.addresses.iter().map(|address| address_fact(&link.name, address)));
    }
    facts.extend(namespace.routes.iter().map(route_fact));
    facts.extend(namespace.neighbours.iter().map(neighbour_fact));
    facts.extend(namespace.fdb.iter().map(fdb_fact));
    facts.extend(namespace.policy.iter().map(policy_fact));
    facts
}

/// `link eth0 mtu 1480 mac 02:… master br0 hairpin up`; what the plan leaves to the kernel is left out.
pub fn link_fact(link: &Link) -> String {
    let mut words = vec![format!("link {}", link.name)];
    if link.kind != LinkKind::Loopback {
        words.extend(link.mtu.map(|mtu| format!("mtu {mtu}")));
        words.extend(link.mac.map(|mac| format!("mac {mac}")));
        words.extend(link.master.as_ref().map(|master| format!("master {master}")));
        words.extend(link.hairpin.then(|| "hairpin".to_owned()));
        words.extend(link.promiscuous.then(|| "promisc".to_owned()));
        if let LinkKind::Vxlan(vxlan) = &link.kind {
            words.push(vxlan.to_string());
        }
    }
    words.push(if link.up { "up" } else { "down" }.to_owned());
    words.join(" ")
}

/// `address 10.100.84.128/32 dev tunl0`.
pub fn address_fact(link: &str, address: &Address) -> String {
    format!("address {} dev {link}", address.net)
}

/// As `ip route` prints it, with `route` before it.
pub fn route_fact(route: &Route) -> String {
    format!("route {route}")
}

/// `neighbour 10.1.10.10 lladdr 02:… dev ens33`.
pub fn neighbour_fact(neighbour: &Neighbour) -> String {
    format!("neighbour {neighbour}")
}

/// `fdb 02:… dst 10.1.10.10 self permanent dev flannel.1`.
pub fn fdb_fact(entry: &FdbEntry) -> String {
    format!("fdb {entry} dev {}", entry.dev)
}

/// `policy 32765: from 10.244.1.0/24 lookup 77`.
pub fn policy_fact(rule: &PolicyRule) -> String {
    format!("policy {}: {rule}", rule.priority)
}

/// `qdisc handle 1: htb default 0x30 dev cbr0`.
pub fn qdisc_fact(link: &str, qdisc: &Qdisc) -> String {
    format!("qdisc {qdisc} dev {link}")
}

/// `file /run/flannel/subnet.env 0644, 98 bytes, sha256 3b1d…`: enough to see that one was changed.
pub fn file_fact(file: &File) -> String {
    let hash: String = Sha256::digest(&file.content).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("file {} {:04o}, {} bytes, sha256 {hash}…", file.path, file.mode, file.content.len())
}

/// `process bird`.
pub fn process_fact(program: &str) -> String {
    format!("process {program}")
}

/// The sets of `ipset save` and their members; sizes and hash seeds are the kernel's own affair.
pub fn set_facts(sets: &str) -> BTreeSet<String> {
    let words = |line: &str| line.split(' ').take(3).collect::<Vec<_>>().join(" ");
    sets.lines().filter(|line| !line.is_empty()).map(|line| format!("set: {}", words(line))).collect()
}

/// One difference between a plan and a kernel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase", tag = "drift")]
pub enum Drift {
    /// The plan has it, the kernel has not.
    Missing {
        /// The namespace's name inside the cluster.
        namespace: String,
        /// The fact.
        fact: String,
    },
    /// The kernel has it, the plan has not.
    Extra {
        /// The namespace's name inside the cluster.
        namespace: String,
        /// The fact.
        fact: String,
    },
}

impl std::fmt::Display for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Drift::Missing { namespace, fact } => write!(f, "{namespace}: missing: {fact}"),
            Drift::Extra { namespace, fact } => write!(f, "{namespace}: not in the plan: {fact}"),
        }
    }
}

/// What differs between the facts of a plan and those of a kernel, missing ones first.
pub fn compare(namespace: &str, planned: &BTreeSet<String>, live: &BTreeSet<String>) -> Vec<Drift> {
    let named = |fact: &String| (namespace.to_owned(), fact.clone());
    let missing = planned.difference(live).map(named).map(|(namespace, fact)| Drift::Missing { namespace, fact });
    let extra = live.difference(planned).map(named).map(|(namespace, fact)| Drift::Extra { namespace, fact });
    missing.chain(extra).collect()
}

/// Lines of an ordered list (the rules of a chain) as facts: the number makes a changed order a difference.
pub fn numbered<'a>(lines: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeSet<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let fact = |(chain, line): (&'a str, &'a str)| {
        let count = counts.entry(chain).or_insert(0);
        *count += 1;
        format!("rule {count}: {line}")
    };
    lines.into_iter().map(fact).collect()
}
