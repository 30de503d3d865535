//! A live cluster becomes another one, and only what differs is touched: between all built-in topologies, by one pod, and
//! back when something fails. Judged by the tools' dumps beside our own reading. Needs root; without it, or without
//! one of the programs, a test is counted as ignored, unless MINIK_REQUIRE is set.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod kernel;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use kernel::by_hand::{Lab, everything, healed, lines};
use kernel::{Outcome, Test, contains, shell, words};
use minik::kernel::change::change;
use minik::kernel::drift;
use minik::plan::{Plan, Role, Route};
use minik::topology::{Overrides, Source, builtin};

const TESTS: &[Test] = &[
    ("every_topology_becomes_the_next", &[], ring),
    ("there_and_back_is_as_if_nothing_had_been", &[], there_and_back),
    ("one_pod_more_touches_one_node", &["ping"], one_pod_more),
    ("a_change_that_fails_is_taken_back", &[], fails),
    ("experiments_are_left_alone", &[], experiments),
    ("what_is_lost_is_healed", &[], heals),
    ("one_service_of_many_touches_its_own_rules", &["iptables-nft", "iptables-legacy", "nft"], one_service),
];

fn main() {
    let needs = ["ip", "bridge", "tc", "iptables-save", "ip6tables-save", "ebtables-save", "ipset"];
    kernel::run(TESTS, &needs, Some(1));
}

fn planned(source: Source, tag: &str) -> Result<Plan, String> {
    kernel::planned(source, &format!("c{}{tag}", std::process::id()))
}

fn of_mode(name: &str, tag: &str) -> Result<Plan, String> {
    planned(kernel::builtin(name)?, tag)
}

impl Lab {
    /// Changes it to another plan and looks whether it is there.
    fn become_plan(&mut self, to: Plan) -> Outcome {
        change(&self.plan, &to).map_err(words)?;
        self.plan = to;
        self.no_drift()
    }

    /// The index of every link of every namespace, those left out that modules such as ipip put there.
    fn indexes(&self) -> Result<BTreeMap<String, String>, String> {
        let mut all = BTreeMap::new();
        for ns in &self.plan.namespaces {
            for line in self.exec(&ns.name, "ip -o link show")?.lines() {
                let mut parts = line.splitn(3, ": ");
                let (index, link) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                let link = link.split('@').next().unwrap_or_default();
                if ns.link(link).is_none() {
                    continue;
                }
                all.insert(format!("{} {link}", ns.name), index.to_owned());
            }
        }
        Ok(all)
    }
}

fn same(what: &str, before: &str, after: &str) -> Outcome {
    if before == after {
        return Ok(());
    }
    let lost = before.lines().filter(|line| !after.contains(line)).map(|line| format!("- {line}"));
    let new = after.lines().filter(|line| !before.contains(line)).map(|line| format!("+ {line}"));
    Err(format!("{what}:\n{}", lost.chain(new).collect::<Vec<_>>().join("\n")))
}

/// What the tools show, without tables in which nothing is: a table that was used once is still there when it is empty.
fn dump(lab: &Lab) -> Result<String, String> {
    let text = everything(lab)?;
    let empty = |line: &str| line.is_empty() || line.starts_with(['*', ':']) || line == "COMMIT";
    // The kernel adds it to a link that has a carrier, and a TUN device whose agent is not there has one for a moment only.
    let by_chance = |line: &str| line.starts_with("multicast ff00::/8 dev tunl0 ");
    Ok(text.lines().filter(|line| !empty(line) && !by_chance(line)).map(|line| format!("{line}\n")).collect())
}

fn ring() -> Outcome {
    let all: Vec<&str> = builtin::ALL.iter().map(|one| one.name).collect();
    let mut lab = Lab::up(of_mode(all[0], "r")?)?;
    let first = dump(&lab)?;
    for pair in all.windows(2) {
        lab.become_plan(of_mode(pair[1], "r")?).map_err(|e| format!("{} to {}: {e}", pair[0], pair[1]))?;
    }
    lab.become_plan(of_mode(all[0], "r")?).map_err(|e| format!("back to {}: {e}", all[0]))?;
    same("a cluster that was all others", &first, &dump(&lab)?)
}

fn there_and_back() -> Outcome {
    for (one, other) in [("calico-ipip", "kube-router"), ("kubenet", "calico-bgp"), ("bridge", "macvlan")] {
        let tag = "t";
        let mut lab = Lab::up(of_mode(one, tag)?)?;
        let (before, indexes) = (dump(&lab)?, lab.indexes()?);
        lab.become_plan(lab.plan.clone())?;
        same("nothing to do", &format!("{indexes:?}"), &format!("{:?}", lab.indexes()?))?;
        lab.become_plan(of_mode(other, tag)?).map_err(|e| format!("{one} to {other}: {e}"))?;
        lab.become_plan(of_mode(one, tag)?).map_err(|e| format!("{other} to {one}: {e}"))?;
        same(&format!("{one}, {other} and back"), &before, &dump(&lab)?)?;
    }
    Ok(())
}

fn scaled(pods: usize, tag: &str) -> Result<Plan, String> {
    let mut text = kernel::builtin("calico-ipip")?.text;
    text.push_str(&format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: many}}\nspec:\n  replicas: {pods}\n  \
         selector: {{matchLabels: {{app: many}}}}\n  template:\n    metadata: {{labels: {{app: many}}}}\n    \
         spec: {{containers: [{{name: c, image: nginx}}]}}\n"
    ));
    planned(Source { name: "scaled".into(), text }, tag)
}

fn one_pod_more() -> Outcome {
    let mut lab = Lab::up(scaled(40, "p")?)?;
    let more = scaled(41, "p")?;
    let before = lab.indexes()?;
    let began = Instant::now();
    change(&lab.plan, &more).map_err(words)?;
    let took = began.elapsed();
    eprintln!("one pod more: {:.1} ms", took.as_secs_f64() * 1000.0);
    let less = std::mem::replace(&mut lab.plan, more);
    lab.no_drift()?;
    let after = lab.indexes()?;
    let moved: Vec<&String> = before.keys().filter(|key| before.get(*key) != after.get(*key)).collect();
    if !moved.is_empty() || after.len() != before.len() + 3 {
        return Err(format!("other links: {moved:?}, {} and then {}", before.len(), after.len()));
    }
    let pod = |plan: &Plan| plan.pods().map(|pod| pod.name.clone()).collect::<BTreeSet<_>>();
    let new: Vec<String> = pod(&lab.plan).difference(&pod(&less)).cloned().collect();
    lab.exec(new.first().ok_or("no new pod")?, "ping -c 1 -W 2 10.1.10.9")?;
    lab.become_plan(less)?;
    let left = shell("ip netns list")?;
    if left.contains(&minik::names::netns(&lab.plan.cluster, &new[0])) {
        return Err(format!("{} is still there", new[0]));
    }
    same("one pod more and less", &format!("{before:?}"), &format!("{:?}", lab.indexes()?))
}

fn fails() -> Outcome {
    for (from, to) in [("calico-ipip", "kube-router"), ("kubenet", "bridge")] {
        let lab = Lab::up(of_mode(from, "f")?)?;
        let before = dump(&lab)?;
        let mut bad = of_mode(to, "f")?;
        let last = bad.namespaces.iter_mut().rfind(|ns| ns.role == Role::Node).ok_or("no node")?;
        let lan = "ens33";
        last.routes.push(Route::via(ipnet::Ipv4Net::new_assert([10, 99, 0, 0].into(), 16), [203, 0, 113, 7], lan));
        let error = change(&lab.plan, &bad).err().ok_or("a route to nowhere was taken")?.to_string();
        contains(&error, "add route 10.99.0.0/16 via 203.0.113.7 dev ens33")?;
        contains(&error, "invalid gateway")?;
        contains(&error, "nothing has changed")?;
        lab.no_drift()?;
        same("after a change that failed", &before, &dump(&lab)?)?;
    }
    Ok(())
}

fn experiments() -> Outcome {
    let mut lab = Lab::up(scaled(2, "x")?)?;
    lab.exec("node-1", "ip route del 10.100.247.0/26")?;
    lab.exec("node-1", "ip route add 10.9.9.0/24 via 10.1.10.2")?;
    change(&lab.plan, &scaled(4, "x")?).map_err(words)?;
    lab.plan = scaled(4, "x")?;
    let found = drift::of(&lab.plan).map_err(words)?;
    let text = lines(&found);
    contains(&text, "node-1: missing: route 10.100.247.0/26")?;
    contains(&text, "node-1: not in the plan: route 10.9.9.0/24")?;
    if found.len() == 2 { Ok(()) } else { Err(text) }
}

/// A node with very many Services, one of which has this port.
fn many_services(port: u16, flavour: &str) -> Result<Plan, String> {
    let mut text = kernel::builtin("flannel-host-gw")?.text;
    for number in 0..100 {
        let port = if number == 50 { port } else { 80 };
        text.push_str(&format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{number}}}\nspec:\n  selector: {{app: test}}\n  \
             ports: [{{port: {port}, targetPort: 80}}]\n"
        ));
    }
    let overrides = Overrides {
        cluster_name: Some(format!("c{}s", std::process::id())),
        iptables: Some(flavour.to_owned()),
        ..Overrides::default()
    };
    let cluster = minik::topology::parse(&[Source { name: "services".into(), text }], &overrides).map_err(words)?;
    minik::compose::plan(&cluster, minik::plan::Datapath::Kernel).map_err(words)
}

/// One rule of KUBE-SERVICES goes and another comes, the others stay the same ones; and where somebody has spoiled the
/// chain before, it is written anew.
fn one_service() -> Outcome {
    for flavour in ["nft", "legacy"] {
        let mut lab = Lab::up(many_services(80, flavour)?)?;
        let nat = |lab: &Lab, words: &str| lab.exec("node-1", &format!("iptables-{flavour} -t nat {words}"));
        nat(&lab, "-R KUBE-SERVICES 1 -c 7 700 -d 192.0.2.1 -j RETURN")?;
        change(&lab.plan, &many_services(8080, flavour)?).map_err(words)?;
        lab.plan = many_services(8080, flavour)?;
        let counted = nat(&lab, "-L KUBE-SERVICES 1 -v -n -x")?;
        contains(&counted, "700").map_err(|e| format!("{flavour}: the first rule was written anew: {e}"))?;
        let rules = nat(&lab, "-S KUBE-SERVICES")?;
        let about: Vec<&str> = rules.lines().filter(|rule| rule.contains("default/s50 ")).collect();
        if about.len() != 1 || !about[0].contains("--dport 8080") {
            return Err(format!("{flavour}: {about:#?}"));
        }
        nat(&lab, "-F KUBE-SERVICES")?;
        lab.become_plan(many_services(8081, flavour)?).map_err(|e| format!("{flavour}, after a flush: {e}"))?;
        let anew = nat(&lab, "-S KUBE-SERVICES")?;
        let place = |rules: &str| rules.lines().position(|rule| rule.contains("default/s50 "));
        if place(&anew).is_none() || place(&anew) != place(&rules) {
            return Err(format!("{flavour}: at {:?}, then at {:?}", place(&rules), place(&anew)));
        }
    }
    Ok(())
}

fn heals() -> Outcome {
    let cases: &[(&str, &str, &str)] = &[
        ("calico-ipip", "node-1", "ip route del 10.100.247.0/26"),
        ("calico-ipip", "node-1", "ip link set tunl0 down"),
        ("calico-ipip", "node-1", "iptables -F cali-FORWARD"),
        ("calico-ipip", "node-1", "iptables -D FORWARD 1"),
        ("calico-ipip", "node-1", "ipset flush cali40masq-ipam-pools"),
        ("calico-ipip", "node-1", "ip address flush dev tunl0"),
        ("kube-router", "node-1", "ip link del kube-bridge"),
        ("kubenet", "node-1", "ip link set cbr0 promisc off"),
        ("kubenet", "node-1", "tc qdisc del dev cbr0 root"),
        ("kubenet", "node-1", "ebtables -F"),
        ("kubenet", "node-2", "ip link set ens33 mtu 1400"),
    ];
    for (mode, place, command) in cases {
        let lab = Lab::up(of_mode(mode, "h")?)?;
        lab.exec(place, command)?;
        healed(&lab.plan).map_err(|e| format!("{command}: {e}"))?;
        lab.no_drift().map_err(|e| format!("{mode}, {command}:\n{e}"))?;
    }
    Ok(())
}
