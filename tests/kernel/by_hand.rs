//! Clusters built from a plan without the program around it, and what foreign tools show of them.

use std::collections::{BTreeMap, BTreeSet};

use minik::kernel::heal::heal;
use minik::kernel::{apply, drift, host, remove, state};
use minik::plan::Plan;
use minik::plan::facts::Drift;

use super::{Outcome, shell, until, words};

/// A cluster of these namespaces that is removed when the test ends, however it ends.
pub struct Lab {
    /// What it was built from, or what it is now.
    pub plan: Plan,
}

impl Lab {
    /// Builds it.
    pub fn up(plan: Plan) -> Result<Lab, String> {
        let lab = Lab::named(plan);
        lab.build()?;
        Ok(lab)
    }

    /// Nothing of it is built yet.
    pub fn named(plan: Plan) -> Lab {
        Lab { plan }
    }

    /// Builds what is not built yet.
    pub fn build(&self) -> Outcome {
        state::try_lock(&self.plan.cluster).map_err(words)?.ok_or("the cluster is locked")?;
        host::prepare().map_err(words)?;
        apply::build(&self.plan, || Ok(())).map_err(words)
    }

    /// Runs a shell command in one of its namespaces.
    pub fn exec(&self, what: &str, command: &str) -> Result<String, String> {
        shell(&format!("ip netns exec {} {command}", minik::names::netns(&self.plan.cluster, what)))
    }

    /// Waits until what a command prints in a namespace holds `part`: a kernel may tell later what it knows already.
    pub fn shows(&self, what: &str, command: &str, part: &str) -> Outcome {
        until(&format!("{part} in {command}"), || self.exec(what, command).is_ok_and(|text| text.contains(part)))
    }

    /// Fails if the kernel differs from the plan.
    pub fn no_drift(&self) -> Outcome {
        let found = drift::of(&self.plan).map_err(words)?;
        if found.is_empty() { Ok(()) } else { Err(lines(&found)) }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = remove::namespaces(&self.plan.cluster);
        let _ = state::remove(&self.plan.cluster);
        let _ = host::release();
    }
}

/// Puts back what the kernel has lost of the plan: twice, since what is lost with a link is seen when the link is there.
pub fn healed(plan: &Plan) -> Outcome {
    for _ in 0..2 {
        let mut missing: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for one in drift::of(plan).map_err(words)? {
            if let Drift::Missing { namespace, fact } = one {
                missing.entry(namespace).or_default().insert(fact);
            }
        }
        for (namespace, facts) in missing {
            heal(plan, &namespace, &facts).map_err(words)?;
        }
    }
    Ok(())
}

/// One line for each.
pub fn lines(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// All that the tools show, without what differs from run to run.
pub fn everything(lab: &Lab) -> Result<String, String> {
    let mut text = String::new();
    for ns in &lab.plan.namespaces {
        let mut show = |command: &str| {
            let found = lab.exec(&ns.name, command)?;
            let lines = found.lines().filter(|line| !line.starts_with('#') && !line.contains("valid_lft"));
            // Indexes, queues and their numbers, and the links' group are the maker's choice.
            let plain = |line: &str| {
                let line = line.split_once(": ").map_or(line, |(number, rest)| match number.parse::<u32>() {
                    Ok(_) => rest,
                    Err(_) => line,
                });
                let words: Vec<&str> = line.split_whitespace().collect();
                let words = words.iter().filter(|word| {
                    // The kernel comes to an operational state in its own time.
                    !word.contains("@if") && !word.starts_with('[') && !matches!(**word, "UP" | "UNKNOWN" | "DOWN")
                });
                words.copied().collect::<Vec<_>>().join(" ")
            };
            // A TUN has its carrier and its queue from whoever serves it; IPv6's own addresses come when they come.
            let of_devices = matches!(command, "ip -br link" | "tc qdisc show");
            let tun = |line: &str| ["tun-", "flannel0 ", "tunl0 "].iter().any(|word| line.contains(word));
            let lines = lines.filter(|line| !(line.contains("fe80::") || of_devices && tun(line)));
            let lines = lines.map(|line| line.split(" direct_packets_stat").next().unwrap_or(line));
            let lines = lines.map(|line| line.replace("<NO-CARRIER,", "<"));
            // A MAC that the plan leaves to the kernel is another one each time.
            let chosen = |line: &str| {
                let link = ns.links.iter().find(|link| line.split([' ', '@']).next() == Some(&link.name));
                link.is_none_or(|link| link.mac.is_some())
            };
            let plain = |line: &str| match command == "ip -br link" && !chosen(line) {
                true => {
                    plain(line).split(' ').filter(|word| word.matches(':').count() != 5).collect::<Vec<_>>().join(" ")
                }
                false => plain(line),
            };
            let mut lines: Vec<String> = lines.map(|line| plain(&line)).collect();
            lines.sort();
            text.push_str(&format!("--- {} {command}\n{}\n", ns.name, lines.join("\n")));
            Ok::<(), String>(())
        };
        show("ip -br link")?;
        show("ip -4 -o address")?;
        show("ip -6 -o address show scope global")?;
        show("ip route show table all")?;
        show("ip -6 route show table main")?;
        show("ip rule")?;
        show("ip -6 rule")?;
        show("ip neigh show nud permanent")?;
        show("sh -c 'bridge fdb show | grep dst || true'")?;
        show("tc qdisc show")?;
        show("iptables-save")?;
        show("ip6tables-save")?;
        show("ebtables-save")?;
    }
    Ok(text)
}
