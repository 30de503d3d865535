//! Services by SCTP, over IPv4 and IPv6: tried by `minik verify`, with socat and tcpdump as judges beside it.
//!
//! Where the kernel has sockets of SCTP, a pod answers on its SCTP ports and associations are made; where it has none,
//! their first packets go all the way, and are answered as a host answers what it does not speak.
//!
//! Needs root; without it every test is counted as ignored, with the reason in its name, unless MINIK_REQUIRE is set.

mod kernel;

use std::collections::BTreeMap;

use kernel::lab::{Cluster, of};
use kernel::tcpdump::Dump;
use libtest_mimic::{Arguments, Failed};
use minik::kernel::features;
use serde_json::Value;

/// Three pods on two nodes that declare a port of SCTP, and a Service of them.
const CALLS: &str = "
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: calls}
spec:
  replicas: 3
  selector: {matchLabels: {app: calls}}
  template:
    metadata: {labels: {app: calls}}
    spec:
      containers:
      - {name: c, image: pause, ports: [{name: s1ap, containerPort: 36412, protocol: SCTP}]}
---
apiVersion: v1
kind: Service
metadata: {name: calls}
spec:
  type: NodePort
  clusterIP: 10.96.7.9
  ipFamilyPolicy: PreferDualStack
  selector: {app: calls}
  ports: [{port: 2905, protocol: SCTP, targetPort: s1ap, nodePort: 30905}]
";

/// A pod whose app speaks TCP and UDP, so that SCTP is all that minik answers for it.
const BOTH: &str = "---
apiVersion: v1
kind: Pod
metadata: {name: both}
spec:
  containers: [{name: c, image: agnhost, args: [netexec], ports: [{containerPort: 5000, protocol: SCTP}]}]
";

/// Services of a port that none of them has, and of nobody.
const OTHERS: &str = "---
apiVersion: v1
kind: Service
metadata: {name: deaf}
spec: {ipFamilyPolicy: RequireDualStack, selector: {app: calls}, ports: [{port: 2905, protocol: SCTP, targetPort: 9999}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {ipFamilyPolicy: RequireDualStack, selector: {app: nothing}, ports: [{port: 2905, protocol: SCTP}]}
";

fn missing() -> Option<String> {
    kernel::not_root().or_else(|| kernel::lacking(&["socat", "tcpdump"]))
}

/// The exit code of `verify`, and its checks by SCTP.
fn verify(cluster: &Cluster) -> Result<(Option<i32>, Vec<Value>), String> {
    let (code, checks) = cluster.verify()?;
    let ours = |check: &Value| of(check, "protocol").starts_with("sctp");
    Ok((code, checks.into_iter().filter(ours).collect()))
}

fn lines(checks: &[Value]) -> String {
    let words = |check: &Value| {
        let words = ["name", "from", "to", "result", "reason"].map(|field| of(check, field).to_owned());
        format!("{} | {} | {}\n", words.join(" | "), check["expected"]["told"], check["expected"]["dropped"])
    };
    checks.iter().map(words).collect()
}

/// What is told of a check to a Service's name, in a family.
fn told<'a>(checks: &'a [Value], name: &str, to: &str) -> Vec<&'a str> {
    let alike = |check: &&Value| of(check, "name") == name && of(check, "to").contains(to);
    checks.iter().filter(alike).map(|check| check["expected"]["told"].as_str().unwrap_or_default()).collect()
}

fn sound(proxy: &'static str) -> Result<(), Failed> {
    let speaks = features::has_sctp()?;
    let text = kernel::builtin("flannel-vxlan-dualstack")?.text + CALLS + OTHERS;
    let text = text.replacen("\nspec:\n", &format!("\nspec:\n  proxy: {{mode: {proxy}}}\n"), 1);
    let cluster = Cluster::up_text(&format!("s{}", &proxy[..2]), &text)?;
    let plan = cluster.plan()?;
    let pod = plan.pods().find(|pod| pod.name.starts_with("default/calls-")).ok_or("no pod")?;
    let (pod, address) = (&pod.name, pod.address().ok_or("no address")?);
    let dump = Dump::on(&cluster, (pod, "eth0"), "-nl", 1, "ip and sctp[12] == 1 and dst port 36412")?;
    let (code, checks) = verify(&cluster)?;
    if code != Some(0) || checks.iter().any(|check| of(check, "result") != "pass") {
        return Err(format!("verify ended with {code:?}\n{}", lines(&checks)).into());
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    checks.iter().for_each(|check| *counts.entry(of(check, "name")).or_default() += 1);
    // Three Services in two families, from a pod of each of two nodes and from these.
    let expected = [
        ("service-cluster-ip/sctp", 6),
        ("service-cluster-ip/sctp6", 6),
        ("service-from-node/sctp", 6),
        ("service-from-node/sctp6", 6),
        ("service-hairpin/sctp", 2),
        ("service-hairpin/sctp6", 2),
        ("service-node-port-by-loopback/sctp", 1),
        ("service-node-port/sctp", 2),
        ("service-node-port/sctp6", 2),
    ];
    let of_mode = |(name, _): &(&str, usize)| proxy == "iptables" || !name.contains("by-loopback");
    if counts != expected.into_iter().filter(of_mode).collect() {
        return Err(format!("{counts:?}\n{}", lines(&checks)).into());
    }
    // tcpdump reads the INIT at the pod with the pod's own port, and verify what becomes of it.
    let seen = dump.text()?;
    if !seen.contains(&format!("> {address}.36412: sctp (1) [INIT] ")) {
        return Err(format!("at {pod} tcpdump saw\n{seen}").into());
    }
    let unspoken = ("protocol 132 unreachable", "parameter problem, next header - octet 6");
    let abort = "SCTP abort: nobody listens on port 9999 of default/calls-";
    let (calls, deaf) = if speaks { (("", ""), (abort, abort)) } else { (unspoken, unspoken) };
    for (name, to, words) in [
        ("service-cluster-ip/sctp", "default/calls:", calls.0),
        ("service-node-port/sctp", "default/calls:30905", calls.0),
        ("service-node-port/sctp6", "default/calls:30905", calls.1),
        ("service-cluster-ip/sctp", "default/deaf:", deaf.0),
        ("service-from-node/sctp6", "default/deaf:", deaf.1),
        ("service-cluster-ip/sctp", "default/nobody:", "port unreachable at once"),
        ("service-from-node/sctp6", "default/nobody:", "unreachable port"),
    ] {
        let told = told(&checks, name, to);
        let is_right = |told: &&str| told.contains(words) && words.is_empty() == told.is_empty();
        if told.len() != 2 || !told.iter().all(is_right) {
            return Err(format!("{name} to {to}: {told:?}, not {words:?}\n{}", lines(&checks)).into());
        }
    }
    match speaks {
        true => answered(&cluster),
        false => Ok(()),
    }
}

/// socat gets a pod's name through the Service, from a pod and from outside. An association has no half that can be closed
/// by itself: `shut-none` keeps it until the answer is there.
fn answered(cluster: &Cluster) -> Result<(), Failed> {
    let (pod, _) = cluster.pod_on("node-2")?;
    for (from, to) in [(pod.as_str(), "10.96.7.9:2905"), ("client", "10.1.10.9:30905")] {
        let said = cluster.exec(from, &format!("echo hi | socat -t 3 - SCTP4-CONNECT:{to},shut-none"))?;
        if !said.starts_with("calls-") {
            return Err(format!("from {from}, {to} says {said:?}").into());
        }
    }
    Ok(())
}

/// Where minik answers for a pod is said if it does, and nothing where the kernel has no sockets for it.
fn told_where_it_answers(cluster: &Cluster) -> Result<(), Failed> {
    let said = cluster.minik(&["describe", "pod", "both"])?;
    let line = said.lines().find(|line| line.starts_with("Answers on"));
    let expected = features::has_sctp()?.then_some("Answers on:      5000/SCTP");
    if line != expected {
        return Err(format!("{line:?}, not {expected:?}\n{said}").into());
    }
    Ok(())
}

/// Of what breaks on node-1, verify names the packet that is missing.
fn caught() -> Result<(), Failed> {
    let cluster = Cluster::up_text("sbad", &(kernel::builtin("flannel-vxlan")?.text + CALLS + BOTH))?;
    told_where_it_answers(&cluster)?;
    cluster.exec("node-1", "iptables -t nat -I KUBE-SERVICES -p sctp -j RETURN")?;
    let (code, checks) = verify(&cluster)?;
    let failed = |check: &&Value| of(check, "result") == "fail";
    let untranslated = |check: &Value| {
        of(check, "name") == "service-cluster-ip/sctp" && of(check, "reason").contains("destination 10.96.7.9 seen")
    };
    // What node-2 sends comes by no rule of node-1's.
    let of_node_2 = |check: &Value| of(check, "from") == "node-2";
    if code == Some(1) && checks.iter().any(untranslated) && !checks.iter().filter(failed).any(of_node_2) {
        return Ok(());
    }
    Err(format!("verify ended with {code:?}\n{}", lines(&checks)).into())
}

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        kernel::trial("Services by SCTP, by iptables", missing(), || sound("iptables")),
        kernel::trial("Services by SCTP, by nftables", missing(), || sound("nftables")),
        kernel::trial("caught: an untranslated INIT", missing(), caught),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}
